/*
 * Kernels and firmware from files: whatever the bytes are, they are refused with a message or
 * loaded inside guest memory, with the entry point inside of what was loaded.
 */
#include "machine/boot/image.h"
#include "tests/fuzz/fuzz.h"

#include <elf.h>
#include <zlib.h>
#include <zstd.h>

#define RAM      UINT64_C(0x80000000)
#define RAM_SIZE MIB(3)

static bool load(const struct image *image, struct mem_map *mem, struct image_place *place,
                 GError **err)
{
    uint64_t offset, size;

    switch (image->format) {
    case IMAGE_ELF:
        return image_load_elf(image, mem, RAM + MIB(2), RAM, place, err);
    case IMAGE_LINUX:
        return image_linux_header(image, &offset, &size, err) &&
               image_load_flat(image, mem, RAM + MIB(2), size, place, err);
    default:
        return image_load_flat(image, mem, RAM, image->size, place, err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mem_map *mem;
    auto_image image = {0};
    struct image_place place;
    g_autoptr(GError) err = NULL;

    if (!mem) {
        mem = mem_map_new();
        g_assert(mem_map_add_ram(mem, RAM, RAM_SIZE, "ram", false, NULL));
    }
    if (!image_from_bytes(data, size, "input", ISA_RISCV64, &image, &err) ||
        !load(&image, mem, &place, &err)) {
        g_assert(err && strstr(err->message, "input") && !strchr(err->message, '\n'));
        return 0;
    }
    g_assert(!err && place.start >= RAM && place.end <= RAM + RAM_SIZE &&
             place.entry >= place.start && place.entry < place.end);
    return 0;
}

/* A Linux Image with one PE section, all of the file. */
static void linux_seed(uint8_t *p, size_t size)
{
    p[0] = 'M';
    p[1] = 'Z';
    p[10] = 0x20; /* loads at 2 MiB */
    p[17] = 0x80; /* takes 32 KiB */
    memcpy(p + 56, "RSC\5\x40\0\0\0", 8);
    memcpy(p + 0x40, "PE\0\0\x64\x50\1\0", 8);
    p[0x40 + 24 + 17] = (uint8_t)(size >> 8);
}

static void elf_seed(uint8_t *p)
{
    Elf64_Ehdr h = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_RISCV,
        .e_entry = RAM,
        .e_phoff = sizeof(h),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 1,
    };
    Elf64_Phdr ph = {PT_LOAD, PF_X, 0x100, RAM, RAM, 0x100, 0x200, 0x1000};

    memcpy(p, &h, sizeof(h));
    memcpy(p + sizeof(h), &ph, sizeof(ph));
}

static void gzip_seed(const uint8_t *from, size_t size, GByteArray *out)
{
    z_stream z = {.next_in = (Bytef *)from, .avail_in = (uInt)size};

    g_byte_array_set_size(out, (guint)size + 1024);
    deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    z.next_out = out->data;
    z.avail_out = out->len;
    deflate(&z, Z_FINISH);
    g_byte_array_set_size(out, (guint)z.total_out);
    deflateEnd(&z);
}

static void zstd_seed(const uint8_t *from, size_t size, GByteArray *out)
{
    g_byte_array_set_size(out, (guint)ZSTD_compressBound(size));
    size_t n = ZSTD_compress(out->data, out->len, from, size, 3);
    g_byte_array_set_size(out, (guint)n);
}

/* EFI zboot around what OUT holds. */
static void zboot_seed(GByteArray *out)
{
    uint8_t header[64] = "MZ\0\0zimg";

    header[8] = sizeof(header);
    header[12] = (uint8_t)out->len;
    header[13] = (uint8_t)(out->len >> 8);
    g_byte_array_prepend(out, header, sizeof(header));
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    enum { SIZE = 0x800 };
    uint8_t bytes[SIZE] = {0};

    if (n % 2)
        elf_seed(bytes);
    else
        linux_seed(bytes, SIZE);
    switch (n / 2) {
    case 0:
        g_byte_array_append(out, bytes, SIZE);
        return true;
    case 1:
        gzip_seed(bytes, SIZE, out);
        return true;
    case 2:
        zstd_seed(bytes, SIZE, out);
        return true;
    case 3:
        gzip_seed(bytes, SIZE, out);
        zboot_seed(out);
        return true;
    case 4:
        zstd_seed(bytes, SIZE, out);
        zboot_seed(out);
        return true;
    default:
        return false;
    }
}
