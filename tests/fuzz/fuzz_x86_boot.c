/*
 * Kernels for x86-64: whatever the bytes are, they are refused with a message or loaded above the
 * first mebibyte and inside RAM, with the entry point inside of what was loaded.
 */
#include "machine/boot/x86_boot.h"
#include "tests/fuzz/fuzz.h"

#include <elf.h>

#define RAM_SIZE MIB(4)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mem_map *mem;
    auto_image image = {0};
    struct x86_kernel kernel;
    g_autoptr(GError) err = NULL;

    if (!mem) {
        mem = mem_map_new();
        g_assert(mem_map_add_ram(mem, 0, RAM_SIZE, "ram", false, NULL));
    }
    if (!image_from_bytes(data, size, "input", ISA_X86_64, &image, &err) ||
        !x86_kernel_load(&image, mem, RAM_SIZE, &kernel, &err)) {
        g_assert(err && strstr(err->message, "input") && !strchr(err->message, '\n'));
        return 0;
    }
    g_assert(!err && kernel.place.start >= X86_KERNEL_LOW && kernel.place.end <= RAM_SIZE);
    g_assert(kernel.place.entry >= kernel.place.start && kernel.place.entry < kernel.place.end);
    g_assert(kernel.header_size <= sizeof(kernel.header));
    return 0;
}

static void bzimage_seed(uint8_t *p)
{
    p[0x1f1] = 1;    /* setup sectors */
    p[0x1f4] = 0x40; /* 1 KiB of kernel */
    memcpy(p + 0x1fe, "\x55\xaa\xeb\x66HdrS\x0f\x02", 10);
    p[0x211] = 1;
    p[0x231] = 0x10; /* alignment: 4 KiB */
    p[0x234] = 1;
    p[0x236] = 1;
    p[0x239] = 8;    /* command line */
    p[0x25a] = 0x20; /* prefers 2 MiB */
    p[0x261] = 0x20; /* 8 KiB */
}

static void elf_seed(uint8_t *p)
{
    static const uint8_t note[] = {4, 0, 0,   0,   4,   0, 0,    0, 18,   0,
                                   0, 0, 'X', 'e', 'n', 0, 0x10, 0, 0x20, 0};
    Elf64_Ehdr h = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_entry = MIB(2),
        .e_phoff = sizeof(h),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    Elf64_Phdr ph[2] = {
        {PT_LOAD, PF_X, 0x200, UINT64_C(0xffffffff80200000), MIB(2), 0x100, 0x200, 0x1000},
        {PT_NOTE, PF_R, 0x300, 0, 0, sizeof(note), sizeof(note), 4}};

    memcpy(p, &h, sizeof(h));
    memcpy(p + sizeof(h), ph, sizeof(ph));
    memcpy(p + 0x300, note, sizeof(note));
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    uint8_t bytes[0x800] = {0};

    if (n > 1)
        return false;
    if (n)
        elf_seed(bytes);
    else
        bzimage_seed(bytes);
    g_byte_array_append(out, bytes, sizeof(bytes));
    return true;
}
