/*
 * Loading: kernels, firmware and initrds put where they belong, files that are no good refused
 * with a line that says why, and the device tree read back with libfdt.
 */
#include "machine/boards/virt_riscv64.h"
#include "machine/boot/image.h"
#include "machine/devices/hart_irq.h"
#include "tests/unit/board_rig.h"

#include <elf.h>
#include <fcntl.h>
#include <libfdt.h>
#include <zlib.h>
#include <zstd.h>

/* --- making files ------------------------------------------------------------------------- */

enum { PAYLOAD = 0x3000 }; /* bytes of the test kernel's file */

static void put32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_LE(v);
    memcpy(p, &v, 8);
}

/* A RISC-V Image with a PE header and one section, as an EFI stub has. */
static void make_image(uint8_t out[PAYLOAD])
{
    for (unsigned i = 0; i < PAYLOAD; i++)
        out[i] = (uint8_t)(i * 31 >> 3);
    memset(out, 0, 0x200);
    memcpy(out, "MZ", 2);
    put64(out + 8, 0x200000);
    put64(out + 16, 0x5000);
    put32(out + 32, 2);
    memcpy(out + 48, "RISCV\0\0", 8);
    memcpy(out + 56, "RSC\5", 4);
    put32(out + 60, 0x40);
    memcpy(out + 0x40, "PE\0\0\x64\x50\1\0", 8);
    put32(out + 0x40 + 20, 0xa0);
    put32(out + 0x40 + 24 + 0xa0 + 16, PAYLOAD - 0x1000); /* size of raw data */
    put32(out + 0x40 + 24 + 0xa0 + 20, 0x1000);           /* its offset */
}

/* An ELF64 with two segments at START (0x1000 bytes) and START + 0x10000 (0x800, of 0x2000). */
static void make_elf(uint8_t out[PAYLOAD], uint64_t virt, uint64_t phys)
{
    Elf64_Ehdr h = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_RISCV,
        .e_version = EV_CURRENT,
        .e_entry = virt + 0x10,
        .e_phoff = sizeof(h),
        .e_ehsize = sizeof(h),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    Elf64_Phdr ph[2] = {
        {PT_LOAD, PF_R | PF_X, 0x1000, virt, phys, 0x1000, 0x1000, 0x1000},
        {PT_LOAD, PF_R | PF_W, 0x2000, virt + 0x10000, phys + 0x10000, 0x800, 0x2000, 0x1000},
    };

    for (unsigned i = 0; i < PAYLOAD; i++)
        out[i] = (uint8_t)(i * 13 >> 2) | 1;
    memcpy(out, &h, sizeof(h));
    memcpy(out + sizeof(h), ph, sizeof(ph));
}

static GByteArray *gzip(const uint8_t *data, size_t n)
{
    GByteArray *out = g_byte_array_new();
    z_stream z = {.next_in = (Bytef *)data, .avail_in = (uInt)n};

    g_byte_array_set_size(out, (guint)n + 4096);
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = out->data;
    z.avail_out = out->len;
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    g_byte_array_set_size(out, (guint)z.total_out);
    deflateEnd(&z);
    return out;
}

static GByteArray *zstd(const uint8_t *data, size_t n)
{
    GByteArray *out = g_byte_array_new();

    g_byte_array_set_size(out, (guint)ZSTD_compressBound(n));
    size_t made = ZSTD_compress(out->data, out->len, data, n, 3);
    ck_assert(!ZSTD_isError(made));
    g_byte_array_set_size(out, (guint)made);
    return out;
}

/* An EFI zboot image around packed bytes, which it takes. */
static GByteArray *zboot(GByteArray *packed)
{
    GByteArray *out = g_byte_array_new();

    g_byte_array_set_size(out, 0x100);
    memset(out->data, 0, 0x100);
    memcpy(out->data, "MZ\0\0zimg", 8);
    put32(out->data + 8, 0x100);
    put32(out->data + 12, packed->len);
    g_byte_array_append(out, packed->data, packed->len);
    g_byte_array_append(out, (const guint8 *)"tail", 4);
    g_byte_array_free(packed, TRUE);
    return out;
}

/* --- what boots --------------------------------------------------------------------------- */

enum wrapping { PLAIN, GZIP, ZSTD, ZBOOT_GZIP, ZBOOT_ZSTD };

static GByteArray *wrap(enum wrapping how, const uint8_t *data, size_t n)
{
    GByteArray *out;

    switch (how) {
    case GZIP:
        return gzip(data, n);
    case ZSTD:
        return zstd(data, n);
    case ZBOOT_GZIP:
        return zboot(gzip(data, n));
    case ZBOOT_ZSTD:
        return zboot(zstd(data, n));
    default:
        out = g_byte_array_new();
        g_byte_array_append(out, data, (guint)n);
        return out;
    }
}

static void check_memory(struct rig *r, gpa_t at, const void *expected, size_t n)
{
    const void *got = mem_map_host(r->mem, at, n, false);

    ck_assert(got != NULL);
    ck_assert_mem_eq(got, expected, n);
}

static void check_zero(struct rig *r, gpa_t at, size_t n)
{
    g_autofree uint8_t *zero = g_malloc0(n);

    check_memory(r, at, zero, n);
}

/* Makes the board, loads it, closes the files. */
static void load(struct rig *r, struct board_config *config)
{
    g_autoptr(GError) err = NULL;

    rig_make(r, config);
    ck_assert_msg(board_load(r->board, &err), "%s", err ? err->message : "");
}

static void close_files(struct board_config *config)
{
    const int fds[] = {config->kernel.fd, config->initrd.fd, config->firmware.fd};

    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

START_TEST(linux_image)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 2);
    uint8_t image[PAYLOAD];
    struct board_start start;

    make_image(image);
    g_autoptr(GByteArray) file = wrap((enum wrapping)_i, image, sizeof(image));
    config.kernel = rig_file("kernel", file->data, file->len);
    rig_make(&r, &config);
    /* Rubbish where bss goes, as after a reset. */
    uint8_t *ram = mem_map_host(r.mem, VIRT_RAM, MIB(4), true);
    memset(ram, 0xee, MIB(4));
    ck_assert(board_load(r.board, NULL));
    check_memory(&r, VIRT_RAM + 0x200000, image, sizeof(image));
    check_zero(&r, VIRT_RAM + 0x200000 + PAYLOAD, 0x5000 - PAYLOAD);
    ck_assert_uint_eq(ram[0x205000], 0xee);
    ck_assert(board_cpu_start(r.board, 0, &start));
    ck_assert_uint_eq(start.pc, VIRT_RAM + 0x200000);
    ck_assert_uint_eq(start.args[0], 0);
    ck_assert_int_eq(fdt_check_header(mem_map_host(r.mem, start.args[1], 64, false)), 0);
    ck_assert_uint_eq(start.args[1] % 8, 0);
    ck_assert(!board_cpu_start(r.board, 1, &start));
    ck_assert(!board_traits(r.board)->firmware_mode);
    close_files(&config);
    rig_end(&r);
}
END_TEST

/* The command line that a kernel finds, where some harts are for later. */
static const struct {
    const char *append;
    unsigned boot, later; /* harts at first, and after board_set_boot_cpus(); 0: all, not called */
    const char *line;
} lines[] = {
    {NULL, 0, 0, ""},
    {"quiet", 0, 0, "quiet"},
    {"quiet", 3, 0, "quiet"},
    {NULL, 1, 0, "maxcpus=1"},
    {"quiet maxcpus=2", 1, 0, "maxcpus=1 quiet maxcpus=2"},
    {"quiet", 1, 2, "maxcpus=2 quiet"},
    {"quiet", 1, 3, "quiet"},
};

START_TEST(harts_for_later)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 3);
    uint8_t image[PAYLOAD];
    struct board_start start;
    int len;

    make_image(image);
    config.kernel = rig_file("kernel", image, sizeof(image));
    config.boot_cpus = lines[_i].boot;
    config.append = lines[_i].append;
    rig_make(&r, &config);
    if (lines[_i].later)
        board_set_boot_cpus(r.board, lines[_i].later);
    ck_assert(board_load(r.board, NULL));
    board_cpu_start(r.board, 0, &start);
    const void *fdt = mem_map_host(r.mem, start.args[1], 65536, false);
    ck_assert_str_eq(fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "bootargs", &len), lines[_i].line);
    ck_assert_int_gt(fdt_path_offset(fdt, "/cpus/cpu@2"), 0);
    close_files(&config);
    rig_end(&r);
}
END_TEST

static const struct {
    const char *name;
    uint64_t virt, phys, at; /* at: where it must be found */
} elfs[] = {
    {"linked where it runs", VIRT_RAM, VIRT_RAM, VIRT_RAM},
    {"with other virtual addresses", UINT64_C(0xffffffff80000000), VIRT_RAM + MIB(8),
     VIRT_RAM + MIB(8)},
    {"in the kernel's half", UINT64_C(0xffffffff80000000), UINT64_C(0xffffffff80000000),
     VIRT_RAM + MIB(2)},
};

START_TEST(elf_kernel)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    uint8_t elf[PAYLOAD];
    struct board_start start;

    make_elf(elf, elfs[_i].virt, elfs[_i].phys);
    config.kernel = rig_file(elfs[_i].name, elf, sizeof(elf));
    load(&r, &config);
    check_memory(&r, elfs[_i].at, elf + 0x1000, 0x1000);
    check_memory(&r, elfs[_i].at + 0x10000, elf + 0x2000, 0x800);
    check_zero(&r, elfs[_i].at + 0x10800, 0x1800);
    ck_assert(board_cpu_start(r.board, 0, &start));
    ck_assert_uint_eq(start.pc, elfs[_i].at + 0x10);
    close_files(&config);
    rig_end(&r);
}
END_TEST

START_TEST(firmware_and_kernel)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 2);
    uint8_t image[PAYLOAD], firmware[0x4321];
    struct board_start start;
    uint64_t info[6];

    make_image(image);
    memset(firmware, 0x13, sizeof(firmware));
    config.kernel = rig_file("kernel", image, sizeof(image));
    config.firmware = rig_file("firmware", firmware, sizeof(firmware));
    load(&r, &config);
    ck_assert(board_traits(r.board)->firmware_mode);
    check_memory(&r, VIRT_RAM, firmware, sizeof(firmware));
    check_memory(&r, VIRT_RAM + 0x200000, image, sizeof(image));
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(board_cpu_start(r.board, i, &start));
        ck_assert_uint_eq(start.pc, VIRT_RAM);
        ck_assert_uint_eq(start.args[0], i);
    }
    ck_assert_int_eq(fdt_check_header(mem_map_host(r.mem, start.args[1], 64, false)), 0);
    ck_assert_int_eq(mem_map_read(r.mem, start.args[2], info, sizeof(info)), 0);
    const uint64_t expected[6] = {0x4942534f, 2, VIRT_RAM + 0x200000, 1, 0, 0};
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(GUINT64_FROM_LE(info[i]), expected[i]);
    close_files(&config);
    rig_end(&r);
}
END_TEST

/* A firmware of 3 MiB moves the kernel up; an ELF kernel that would hit it is refused. */
START_TEST(large_firmware)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    uint8_t image[PAYLOAD];
    g_autofree uint8_t *firmware = g_malloc0(MIB(3));
    g_autoptr(GError) err = NULL;

    make_image(image);
    config.kernel = rig_file("kernel", image, sizeof(image));
    config.firmware = rig_file("firmware", firmware, MIB(3));
    load(&r, &config);
    check_memory(&r, VIRT_RAM + MIB(4), image, sizeof(image));
    make_elf(image, VIRT_RAM + MIB(2), VIRT_RAM + MIB(2));
    ck_assert_int_eq(pwrite(config.kernel.fd, image, sizeof(image), 0), sizeof(image));
    ck_assert(!board_load(r.board, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    close_files(&config);
    rig_end(&r);
}
END_TEST

START_TEST(initrd_place)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    uint8_t image[PAYLOAD];
    size_t size = 1234567;
    g_autofree uint8_t *initrd = g_malloc(size);
    struct board_start start;
    int len;

    for (size_t i = 0; i < size; i++)
        initrd[i] = (uint8_t)(i ^ i >> 8);
    make_image(image);
    config.kernel = rig_file("kernel", image, sizeof(image));
    config.initrd = rig_file("initrd", initrd, size);
    load(&r, &config);
    board_cpu_start(r.board, 0, &start);
    const void *fdt = mem_map_host(r.mem, start.args[1], 65536, false);
    int chosen = fdt_path_offset(fdt, "/chosen");
    const fdt64_t *from = fdt_getprop(fdt, chosen, "linux,initrd-start", &len);
    ck_assert_int_eq(len, 8);
    const fdt64_t *to = fdt_getprop(fdt, chosen, "linux,initrd-end", &len);
    ck_assert_int_eq(len, 8);
    ck_assert_uint_eq(fdt64_ld(to) - fdt64_ld(from), size);
    ck_assert_uint_eq(fdt64_ld(from) % 4096, 0);
    ck_assert_uint_le(fdt64_ld(to), start.args[1]);
    ck_assert_uint_ge(fdt64_ld(from), VIRT_RAM + 0x205000);
    check_memory(&r, fdt64_ld(from), initrd, size);
    close_files(&config);
    rig_end(&r);
}
END_TEST

/* --- what doesn't ------------------------------------------------------------------------- */

/* One change to a good file, and a word of the error that it must bring. */
struct damage {
    const char *name;
    unsigned at, width;
    uint64_t value;
    size_t size; /* of the file; 0: all of it */
    const char *word;
};

static const struct damage bad_images[] = {
    {"empty", 0, 0, 0, 0, "empty"}, /* the file is emptied by the test */
    {"only its first bytes", 0, 0, 0, 48, "not a kernel"},
    {"cut in a section", 0, 0, 0, PAYLOAD - 1, "cut short"},
    {"cut in the section table", 0, 0, 0, 0x100, "cut short"},
    {"PE header beyond the end", 60, 4, PAYLOAD, 0, "cut short"},
    {"PE header far away", 60, 4, 0xfffffff0, 0, "cut short"},
    {"section size of all ones", 0x40 + 24 + 0xa0 + 16, 4, 0xffffffff, 0, "cut short"},
    {"many sections", 0x46, 2, 0xffff, 0, "cut short"},
    {"big-endian", 24, 8, 1, 0, "big-endian"},
    {"absurd size", 16, 8, UINT64_MAX, 0, "absurd size"},
    {"larger than memory", 16, 8, MIB(100), 0, "memory"},
    {"fills memory", 16, 8, MIB(64) - 0x200000, 0, "does not fit"},
    {"absurd offset", 8, 8, UINT64_C(1) << 63, 0, "absurd load offset"},
    {"odd offset", 8, 8, 0x200010, 0, "absurd load offset"},
    {"no magic", 56, 4, 0, 0, "not a kernel"},
    {"of ARM", 56, 4, 0x644d5241, 0, "is for aarch64; this machine is riscv64"},
};

static const struct damage bad_elfs[] = {
    {"cut in the header", 0, 0, 0, 40, "cut short"},
    {"cut in the program headers", 0, 0, 0, 100, "program headers"},
    {"cut in a segment", 0, 0, 0, 0x27ff, "cut short"},
    {"of x86-64", 18, 2, EM_X86_64, 0, "is for x86_64; this machine is riscv64"},
    {"of ARM", 18, 2, EM_AARCH64, 0, "is for aarch64; this machine is riscv64"},
    {"of something else", 18, 2, 0x1234, 0, "ELF machine 4660"},
    {"32-bit", 4, 1, ELFCLASS32, 0, "32-bit"},
    {"big-endian", 5, 1, ELFDATA2MSB, 0, "big-endian"},
    {"entry outside", 24, 8, 0x1000, 0, "entry point"},
    {"program headers far away", 32, 8, UINT64_MAX - 8, 0, "program headers"},
    {"program headers of another size", 54, 2, 32, 0, "program headers"},
    {"too many program headers", 56, 2, 0xffff, 0, "program headers"},
    {"no program headers", 56, 2, 0, 0, "nothing to load"},
    {"file size beyond memory size", 64 + 40, 8, 0x10, 0, "damaged"},
    {"file offset far away", 64 + 8, 8, UINT64_MAX, 0, "damaged"},
    {"segment that wraps", 64 + 40, 8, UINT64_MAX, 0, "damaged"},
    {"segment of absurd size", 64 + 40, 8, GIB(4) + 1, 0, "absurd size"},
    {"segment larger than memory", 64 + 40, 8, MIB(1000), 0, "memory"},
    {"segment below memory", 64 + 24, 8, 0x1000, 0, "memory"},
};

static void damage(uint8_t file[PAYLOAD], const struct damage *d)
{
    uint64_t le = GUINT64_TO_LE(d->value);

    memcpy(file + d->at, &le, d->width);
}

/* The board's loader refuses FILE, of SIZE bytes, as KERNEL, and says WORD. */
static void refuse(const char *name, const uint8_t *file, size_t size, const char *word)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    g_autoptr(GError) err = NULL;

    config.kernel = rig_file("the-file", file, size);
    rig_make(&r, &config);
    ck_assert_msg(!board_load(r.board, &err), "%s: was loaded", name);
    ck_assert_msg(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID), "%s: %s", name, err->message);
    ck_assert_msg(strstr(err->message, "the-file") || strstr(word, "does not fit"), "%s: %s", name,
                  err->message);
    ck_assert_msg(strstr(err->message, word), "%s: '%s' lacks '%s'", name, err->message, word);
    ck_assert_msg(!strchr(err->message, '\n'), "%s: more than a line", name);
    close_files(&config);
    rig_end(&r);
}

START_TEST(image_refusals)
{
    const struct damage *d = &bad_images[_i];
    uint8_t file[PAYLOAD];

    make_image(file);
    damage(file, d);
    refuse(d->name, file, _i == 0 ? 0 : d->size ? d->size : sizeof(file), d->word);
}
END_TEST

START_TEST(elf_refusals)
{
    const struct damage *d = &bad_elfs[_i];
    uint8_t file[PAYLOAD];

    make_elf(file, VIRT_RAM, VIRT_RAM);
    damage(file, d);
    refuse(d->name, file, d->size ? d->size : sizeof(file), d->word);
}
END_TEST

/* Packed files: cut anywhere they are refused, whatever was cut. */
START_TEST(packed_refusals)
{
    uint8_t image[PAYLOAD];

    make_image(image);
    g_autoptr(GByteArray) file = wrap((enum wrapping)_i, image, sizeof(image));
    for (size_t n = 1; n < file->len - 4; n += 1 + file->len / 23)
        refuse("cut", file->data, n, "");
    /* zstd's bytes carry no checksum here, so that only gzip can tell of any damage. */
    memset(file->data + file->len / 2, 0xff, 16);
    if (_i == GZIP || _i == ZBOOT_GZIP)
        refuse("damaged", file->data, file->len, "damaged gzip");
}
END_TEST

START_TEST(zboot_refusals)
{
    uint8_t image[PAYLOAD];

    make_image(image);
    g_autoptr(GByteArray) file = wrap(ZBOOT_GZIP, image, sizeof(image));
    put32(file->data + 12, 0xffffffff);
    refuse("length", file->data, file->len, "cut short");
    put32(file->data + 12, 4);
    refuse("tiny payload", file->data, file->len, "neither gzip nor zstd");
    put32(file->data + 8, 0xfffffff0);
    refuse("offset", file->data, file->len, "cut short");
}
END_TEST

START_TEST(unpacking_is_capped)
{
    g_autofree uint8_t *zeros = g_malloc0(MIB(LIMIT_KERNEL_MIB) + 1);
    g_autoptr(GByteArray) file = zstd(zeros, MIB(LIMIT_KERNEL_MIB) + 1);
    struct image image = {0};
    g_autoptr(GError) err = NULL;

    ck_assert(!image_from_bytes(file->data, file->len, "bomb", ISA_RISCV64, &image, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
}
END_TEST

START_TEST(x86_kernel)
{
    uint8_t file[0x400] = "MZ";

    memcpy(file + 0x202, "HdrS", 4);
    refuse("bzImage", file, sizeof(file), "is for x86_64; this machine is riscv64");
}
END_TEST

/* What a configuration lacks or has too much of. */
START_TEST(load_refusals)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    uint8_t image[PAYLOAD];
    g_autoptr(GError) none = NULL, large = NULL, folder = NULL, limit = NULL, kernel = NULL;

    make_image(image);
    rig_make(&r, &config);
    ck_assert(!board_load(r.board, &none));
    ck_assert(strstr(none->message, "neither kernel nor firmware"));
    rig_end(&r);

    config = rig_begin(&r, 1);
    config.kernel = rig_file("kernel", image, sizeof(image));
    config.initrd = rig_file("initrd", image, sizeof(image));
    ck_assert_int_eq(ftruncate(config.initrd.fd, (off_t)MIB(62)), 0);
    rig_make(&r, &config);
    ck_assert(!board_load(r.board, &large));
    ck_assert_msg(strstr(large->message, "'initrd' (62 MiB) does not fit"), "%s", large->message);
    ck_assert_int_eq(ftruncate(config.initrd.fd, (off_t)MIB(LIMIT_INITRD_MIB) + 1), 0);
    ck_assert(!board_load(r.board, &limit));
    ck_assert(g_error_matches(limit, VMD_ERROR, VMD_ERROR_LIMIT));
    close_files(&config);
    rig_end(&r);

    config = rig_begin(&r, 1);
    config.kernel = (struct board_file){open("/", O_RDONLY | O_DIRECTORY), "/"};
    rig_make(&r, &config);
    ck_assert(!board_load(r.board, &folder));
    ck_assert(strstr(folder->message, "not a regular file"));
    close_files(&config);
    rig_end(&r);

    config = rig_begin(&r, 1);
    config.firmware = rig_file("firmware", image, sizeof(image));
    rig_make(&r, &config);
    ck_assert(!board_load(r.board, &kernel));
    ck_assert(strstr(kernel->message, "a Linux kernel, not a firmware"));
    close_files(&config);
    rig_end(&r);
}
END_TEST

/* --- the device tree ---------------------------------------------------------------------- */

static uint8_t *make_tree(unsigned cpus, uint64_t memory, bool firmware_mode)
{
    struct virt_dt config = {.cpus = cpus,
                             .memory = memory,
                             .firmware_mode = firmware_mode,
                             .append = "console=ttyS0 quiet",
                             .chosen = {VIRT_RAM + MIB(16), VIRT_RAM + MIB(17)}};
    g_autoptr(GError) err = NULL;
    size_t size;
    uint8_t *fdt = virt_dt_make(&config, &size, &err);

    ck_assert_msg(fdt != NULL, "%s", err ? err->message : "");
    ck_assert_uint_eq(size, fdt_totalsize(fdt));
    return fdt;
}

/* A property as text: strings joined by ',', or cells in hexadecimal. */
static const struct {
    const char *path, *property, *text;
    bool cells;
} properties[] = {
    {"/", "compatible", "riscv-virtio", false},
    {"/aliases", "serial0", "/soc/serial@10000000", false},
    {"/chosen", "bootargs", "console=ttyS0 quiet", false},
    {"/chosen", "stdout-path", "/soc/serial@10000000:115200n8", false},
    {"/chosen", "linux,initrd-start", "0 81000000", true},
    {"/chosen", "linux,initrd-end", "0 81100000", true},
    {"/memory@80000000", "reg", "0 80000000 0 40000000", true},
    {"/cpus", "timebase-frequency", "989680", true},
    {"/cpus/cpu@1", "reg", "1", true},
    {"/cpus/cpu@1", "riscv,isa",
     "rv64imafdc_zicbom_zicboz_zicntr_zicsr_zifencei_zihintpause_zba_zbb_zbs_sstc_svvptc", false},
    {"/cpus/cpu@1", "riscv,isa-base", "rv64i", false},
    {"/cpus/cpu@1", "riscv,isa-extensions",
     "i,m,a,f,d,c,zicbom,zicboz,zicntr,zicsr,zifencei,zihintpause,zba,zbb,zbs,sstc,svvptc", false},
    {"/cpus/cpu@1", "riscv,cbom-block-size", "40", true},
    {"/cpus/cpu@1", "riscv,cboz-block-size", "40", true},
    {"/cpus/cpu@0/interrupt-controller", "compatible", "riscv,cpu-intc", false},
    {"/soc/interrupt-controller@c000000", "riscv,ndev", "60", true},
    {"/soc/interrupt-controller@c000000", "compatible", "sifive,plic-1.0.0,riscv,plic0", false},
    {"/soc/serial@10000000", "compatible", "ns16550a", false},
    {"/soc/serial@10000000", "interrupts", "a", true},
    {"/soc/rtc@101000", "interrupts", "b", true},
    {"/soc/test@100000", "compatible", "sifive,test1,sifive,test0,syscon", false},
    {"/poweroff", "value", "5555", true},
    {"/reboot", "value", "7777", true},
    {"/soc/pci@30000000", "reg", "0 30000000 0 10000000", true},
    {"/soc/pci@30000000", "bus-range", "0 ff", true},
    {"/soc/pci@30000000", "ranges", "2000000 0 40000000 0 40000000 0 40000000 43000000 4 0 4 0 4 0",
     true},
    {"/soc/pci@30000000", "interrupt-map-mask", "1800 0 0 7", true},
};

static char *property_text(const void *fdt, const char *path, const char *property, bool cells)
{
    int len, node = fdt_path_offset(fdt, path);
    const uint8_t *p = node < 0 ? NULL : fdt_getprop(fdt, node, property, &len);
    GString *s = g_string_new(NULL);

    ck_assert_msg(p != NULL, "%s has no %s", path, property);
    for (int i = 0; cells && i < len; i += 4)
        g_string_append_printf(s, "%s%x", i ? " " : "", fdt32_ld((const fdt32_t *)(p + i)));
    for (int i = 0; !cells && i < len - 1; i++)
        g_string_append_c(s, p[i] ? (char)p[i] : ',');
    return g_string_free(s, FALSE);
}

START_TEST(tree_properties)
{
    g_autofree uint8_t *fdt = make_tree(2, GIB(1), false);
    g_autofree char *text =
        property_text(fdt, properties[_i].path, properties[_i].property, properties[_i].cells);

    ck_assert_str_eq(text, properties[_i].text);
}
END_TEST

/* What each interrupt-parent leads to, PLIC contexts, and the PCI swizzle. */
START_TEST(tree_interrupts)
{
    g_autofree uint8_t *fdt = make_tree(2, GIB(1), _i);
    int plic = fdt_path_offset(fdt, "/soc/interrupt-controller@c000000");
    int pci = fdt_path_offset(fdt, "/soc/pci@30000000");
    int len;

    const fdt32_t *c = fdt_getprop(fdt, plic, "interrupts-extended", &len);
    ck_assert_int_eq(len, 2 * 2 * 8);
    for (unsigned i = 0; i < 4; i++) {
        int intc = fdt_node_offset_by_phandle(fdt, fdt32_to_cpu(c[2 * i]));
        g_autofree char *cpu = g_strdup_printf("/cpus/cpu@%u/interrupt-controller", i / 2);
        ck_assert_int_eq(intc, fdt_path_offset(fdt, cpu));
        uint32_t expected = i % 2 ? HART_IRQ_S_EXT : _i ? HART_IRQ_M_EXT : UINT32_MAX;
        ck_assert_uint_eq(fdt32_to_cpu(c[2 * i + 1]), expected);
    }
    ck_assert_int_eq(fdt_path_offset(fdt, "/soc/clint@2000000") >= 0, _i);

    const fdt32_t *map = fdt_getprop(fdt, pci, "interrupt-map", &len);
    ck_assert_int_eq(len, 16 * 6 * 4);
    for (unsigned i = 0; i < 16; i++, map += 6) {
        unsigned slot = i / 4, pin = i % 4 + 1;
        ck_assert_uint_eq(fdt32_to_cpu(map[0]), slot << 11);
        ck_assert_uint_eq(fdt32_to_cpu(map[3]), pin);
        ck_assert_uint_eq(fdt32_to_cpu(map[4]), fdt_get_phandle(fdt, plic));
        ck_assert_uint_eq(fdt32_to_cpu(map[5]), 0x20 + (slot + pin - 1) % 4);
    }
}
END_TEST

/* Every phandle is somebody's, once. */
START_TEST(tree_phandles)
{
    g_autofree uint8_t *fdt = make_tree(LIMIT_XLATE_VCPUS, GIB(1), true);
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    for (int n = 0, depth = 0; n >= 0; n = fdt_next_node(fdt, n, &depth)) {
        uint32_t phandle = fdt_get_phandle(fdt, n);
        if (phandle)
            ck_assert(g_hash_table_add(seen, GUINT_TO_POINTER(phandle)));
    }
    ck_assert_uint_eq(g_hash_table_size(seen), 2 + 2 * LIMIT_XLATE_VCPUS);
}
END_TEST

/* The window for 64-bit BARs stays clear of RAM, however much there is. */
START_TEST(tree_large_memory)
{
    const uint64_t sizes[] = {MIB(64), GIB(13), GIB(14), GIB(15), GIB(1024)};

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        gpa_t base = virt_mem64(sizes[i]);
        ck_assert_uint_ge(base, VIRT_RAM + sizes[i]);
        ck_assert_uint_eq(base % VIRT_MEM64_SIZE, 0);
    }
    ck_assert_uint_eq(virt_mem64(GIB(14)), GIB(16));
}
END_TEST

START_TEST(tree_longest_command_line)
{
    g_autofree char *append = g_strnfill(LIMIT_APPEND, 'x');
    struct virt_dt config = {
        .cpus = LIMIT_XLATE_VCPUS, .memory = GIB(1), .firmware_mode = true, .append = append};
    g_autoptr(GError) err = NULL;
    size_t size;
    g_autofree uint8_t *fdt = virt_dt_make(&config, &size, &err);

    ck_assert_msg(fdt != NULL, "%s", err ? err->message : "");
}
END_TEST

/* The device tree compiler has nothing to say against it. */
START_TEST(tree_for_dtc)
{
    g_autofree uint8_t *fdt = make_tree(4, GIB(1), _i);
    g_autofree char *dtc = g_find_program_in_path("dtc");
    g_autofree char *complaints = NULL;
    g_autofree char *path = NULL;
    int status, fd;

    ck_assert_msg(dtc != NULL, "no dtc: tools/setup test installs it");
    fd = g_file_open_tmp("vmd-XXXXXX.dtb", &path, NULL);
    ck_assert_int_eq(write(fd, fdt, fdt_totalsize(fdt)), fdt_totalsize(fdt));
    close(fd);
    char *argv[] = {dtc, "-I", "dtb", "-O", "dtb", "-o", "/dev/null", path, NULL};
    ck_assert(g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, NULL, &complaints, &status, NULL));
    unlink(path);
    ck_assert_msg(status == 0 && !*complaints, "%s", complaints);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("board_boot");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, linux_image, PLAIN, ZBOOT_ZSTD + 1);
    tcase_add_loop_test(tc, harts_for_later, 0, G_N_ELEMENTS(lines));
    tcase_add_loop_test(tc, elf_kernel, 0, G_N_ELEMENTS(elfs));
    tcase_add_test(tc, firmware_and_kernel);
    tcase_add_test(tc, large_firmware);
    tcase_add_test(tc, initrd_place);
    tcase_add_loop_test(tc, image_refusals, 0, G_N_ELEMENTS(bad_images));
    tcase_add_loop_test(tc, elf_refusals, 0, G_N_ELEMENTS(bad_elfs));
    tcase_add_loop_test(tc, packed_refusals, GZIP, ZBOOT_ZSTD + 1);
    tcase_add_test(tc, zboot_refusals);
    tcase_add_test(tc, unpacking_is_capped);
    tcase_add_test(tc, x86_kernel);
    tcase_add_test(tc, load_refusals);
    tcase_add_loop_test(tc, tree_properties, 0, G_N_ELEMENTS(properties));
    tcase_add_loop_test(tc, tree_interrupts, 0, 2);
    tcase_add_test(tc, tree_phandles);
    tcase_add_test(tc, tree_large_memory);
    tcase_add_test(tc, tree_longest_command_line);
    tcase_add_loop_test(tc, tree_for_dtc, 0, 2);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
