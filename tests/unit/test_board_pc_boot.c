/*
 * Kernels for x86-64: where they and their initrds go, what they are told, field by field, and
 * what is said of files that are no good.
 */
#include "machine/boot/x86_boot.h"
#include "tests/unit/board_rig.h"

#include <elf.h>

enum { FILE_SIZE = 0x3000, SETUP = 0x400 };

#define MEMORY MIB(64)
#define HIGH   UINT64_C(0xffffffff80000000) /* what kernels are linked at */
#define RSDP   UINT64_C(0xe1230)

static const struct x86_range ranges[] = {
    {0, X86_LOW_END, X86_RANGE_RAM},
    {X86_LOW_END, MIB(1) - X86_LOW_END, X86_RANGE_RESERVED},
    {MIB(1), MEMORY - MIB(1), X86_RANGE_RAM},
};

/* --- making files --------------------------------------------------------------------------- */

static void put(uint8_t *p, unsigned at, uint64_t value, unsigned width)
{
    value = GUINT64_TO_LE(value);
    memcpy(p + at, &value, width);
}

static void fill(uint8_t out[FILE_SIZE])
{
    for (unsigned i = 0; i < FILE_SIZE; i++)
        out[i] = (uint8_t)(i * 31 >> 3 | 1);
}

static void make_bzimage(uint8_t out[FILE_SIZE])
{
    fill(out);
    memset(out, 0, SETUP);
    put(out, 0x1f1, SETUP / 512 - 1, 1);
    put(out, 0x1f4, (FILE_SIZE - SETUP) / 16, 4);
    put(out, 0x1fe, 0xaa55, 2);
    put(out, 0x200, 0x6aeb, 2);
    memcpy(out + 0x202, "HdrS", 4);
    put(out, 0x206, 0x20f, 2);
    put(out, 0x211, 1, 1);
    put(out, 0x22c, 0x2ffffff, 4); /* an initrd ends below 48 MiB */
    put(out, 0x230, MIB(2), 4);
    put(out, 0x234, 1, 1);
    put(out, 0x236, 1, 2);
    put(out, 0x238, 100, 4);
    put(out, 0x250, 0x1234, 8); /* to be cleared */
    put(out, 0x258, MIB(16), 8);
    put(out, 0x260, 0x8000, 4);
}

/* Linked high, entered at its physical address, with a PVH note of entry PVH unless that is 0. */
static void make_elf(uint8_t out[FILE_SIZE], uint64_t entry, uint32_t pvh)
{
    enum { NOTE_AT = 0x800, NOTE_SIZE = 40 };
    Elf64_Ehdr h = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = entry,
        .e_phoff = sizeof(h),
        .e_ehsize = sizeof(h),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = pvh ? 2 : 1,
    };
    Elf64_Phdr ph[2] = {
        {PT_LOAD, PF_R | PF_X, 0x1000, HIGH + MIB(16), MIB(16), 0x2000, 0x4000, 0x1000},
        {PT_NOTE, PF_R, NOTE_AT, 0, 0, NOTE_SIZE, NOTE_SIZE, 4},
    };

    fill(out);
    memcpy(out, &h, sizeof(h));
    memcpy(out + sizeof(h), ph, sizeof(ph));
    memcpy(out + NOTE_AT, "\4\0\0\0\4\0\0\0\2\0\0\0GNU\0abcd", 20);
    memcpy(out + NOTE_AT + 20, "\4\0\0\0\4\0\0\0\x12\0\0\0Xen", 16);
    put(out, NOTE_AT + 36, pvh, 4);
}

/* --- loading them --------------------------------------------------------------------------- */

static bool load(struct mem_map *mem, const void *kernel, size_t size, const char *append,
                 size_t initrd_size, struct x86_entry *out, GError **err)
{
    g_autofree uint8_t *initrd = g_malloc0(initrd_size + 1);
    autofd kernel_fd = rig_file("k", kernel, size).fd;
    autofd initrd_fd = -1;
    struct x86_boot boot = {
        .mem = mem,
        .low_ram = MEMORY,
        .ranges = ranges,
        .n_ranges = G_N_ELEMENTS(ranges),
        .rsdp = RSDP,
        .kernel_fd = kernel_fd,
        .initrd_fd = -1,
        .kernel_name = "k",
        .initrd_name = "i",
        .append = append,
    };

    memset(initrd, 0x5a, initrd_size);
    if (initrd_size)
        boot.initrd_fd = initrd_fd = rig_file("i", initrd, initrd_size).fd;
    return x86_boot_load(&boot, out, err);
}

static struct mem_map *make_memory(void)
{
    struct mem_map *mem = mem_map_new();

    ck_assert(mem_map_add_ram(mem, 0, MEMORY, "ram", false, NULL));
    return mem;
}

static uint64_t get(struct mem_map *mem, gpa_t at, unsigned width)
{
    uint64_t value = 0;

    ck_assert_int_eq(mem_map_read(mem, at, &value, width), 0);
    return GUINT64_FROM_LE(value);
}

static void check_string(struct mem_map *mem, gpa_t at, const char *text)
{
    ck_assert_str_eq(mem_map_host(mem, at, strlen(text) + 1, false), text);
}

/* What the page tables at CR3 make of VA, which they map. */
static gpa_t translate(struct mem_map *mem, gpa_t cr3, uint64_t va)
{
    gpa_t table = cr3;

    for (unsigned shift = 39; shift > 21; shift -= 9) {
        uint64_t entry = get(mem, table + (va >> shift & 511) * 8, 8);
        ck_assert_uint_eq(entry & 0x83, 3);
        table = entry & ~UINT64_C(0xfff);
    }
    uint64_t entry = get(mem, table + (va >> 21 & 511) * 8, 8);
    ck_assert_uint_eq(entry & 0x83, 0x83);
    return (entry & ~(MIB(2) - 1)) + (va & (MIB(2) - 1));
}

static void check_e820(struct mem_map *mem, gpa_t table, unsigned stride)
{
    for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
        ck_assert_uint_eq(get(mem, table + i * stride, 8), ranges[i].start);
        ck_assert_uint_eq(get(mem, table + i * stride + 8, 8), ranges[i].size);
        ck_assert_uint_eq(get(mem, table + i * stride + 16, 4), ranges[i].kind);
    }
}

static void check_boot_params(struct mem_map *mem, const struct x86_entry *entry, gpa_t initrd,
                              size_t initrd_size)
{
    gpa_t p = entry->arg;

    ck_assert_int_eq(entry->mode, X86_MODE_LONG);
    ck_assert_uint_eq(get(mem, p + 0x1fe, 2), 0xaa55);
    ck_assert_uint_eq(get(mem, p + 0x202, 4), 0x53726448);
    ck_assert_uint_eq(get(mem, p + 0x210, 1), 0xff);
    ck_assert_uint_eq(get(mem, p + 0x218, 4), initrd);
    ck_assert_uint_eq(get(mem, p + 0x21c, 4), initrd_size);
    ck_assert_uint_eq(get(mem, p + 0x250, 8), 0);
    ck_assert_uint_eq(get(mem, p + 0x70, 8), RSDP);
    ck_assert_uint_eq(get(mem, p + 0x1e8, 1), G_N_ELEMENTS(ranges));
    check_e820(mem, p + 0x2d0, 20);
    check_string(mem, get(mem, p + 0x228, 4), "console=ttyS0");
    static const uint64_t mapped[] = {0, 0x12345, MIB(16), 0xfee00000, 0xffffffff};
    for (size_t i = 0; i < G_N_ELEMENTS(mapped); i++)
        ck_assert_uint_eq(translate(mem, entry->cr3, mapped[i]), mapped[i]);
}

START_TEST(test_bzimage)
{
    struct mem_map *mem = make_memory();
    uint8_t file[FILE_SIZE];
    struct x86_entry entry;

    make_bzimage(file);
    ck_assert(load(mem, file, FILE_SIZE, "console=ttyS0", 5000, &entry, NULL));
    ck_assert_uint_eq(entry.pc, MIB(16) + 0x200);
    ck_assert_mem_eq(mem_map_host(mem, MIB(16), FILE_SIZE - SETUP, false), file + SETUP,
                     FILE_SIZE - SETUP);
    check_boot_params(mem, &entry, MIB(48) - 0x2000, 5000);
    ck_assert_uint_eq(get(mem, MIB(48) - 0x2000, 1), 0x5a);
    ck_assert_uint_eq(get(mem, entry.arg + 0x206, 2), 0x20f); /* the rest of the header too */
    ck_assert_uint_eq(get(mem, entry.arg + 0x260, 4), 0x8000);
    mem_map_free(mem);
}
END_TEST

START_TEST(test_relocated)
{
    struct mem_map *mem = make_memory();
    uint8_t file[FILE_SIZE];
    struct x86_entry entry;

    make_bzimage(file);
    put(file, 0x258, MIB(64), 8); /* prefers what is no RAM */
    ck_assert(load(mem, file, FILE_SIZE, NULL, 0, &entry, NULL));
    ck_assert_uint_eq(entry.pc, MIB(2) + 0x200);
    ck_assert_uint_eq(get(mem, entry.arg + 0x21c, 4), 0);
    mem_map_free(mem);
}
END_TEST

START_TEST(test_elf)
{
    struct mem_map *mem = make_memory();
    uint8_t file[FILE_SIZE];
    struct x86_entry entry;

    make_elf(file, MIB(16) + 0x40, 0);
    ck_assert(load(mem, file, FILE_SIZE, "console=ttyS0", 0, &entry, NULL));
    ck_assert_uint_eq(entry.pc, MIB(16) + 0x40);
    check_boot_params(mem, &entry, 0, 0);
    mem_map_free(mem);
}
END_TEST

START_TEST(test_pvh)
{
    struct mem_map *mem = make_memory();
    uint8_t file[FILE_SIZE];
    struct x86_entry entry;
    gpa_t module;

    make_elf(file, MIB(16), (uint32_t)MIB(16) + 0x80);
    ck_assert(load(mem, file, FILE_SIZE, "quiet", 4096, &entry, NULL));
    ck_assert_int_eq(entry.mode, X86_MODE_PVH);
    ck_assert_uint_eq(entry.pc, MIB(16) + 0x80);
    ck_assert_uint_eq(get(mem, entry.arg, 4), 0x336ec578);
    ck_assert_uint_eq(get(mem, entry.arg + 4, 4), 1);
    ck_assert_uint_eq(get(mem, entry.arg + 12, 4), 1);
    module = get(mem, entry.arg + 16, 8);
    ck_assert_uint_eq(get(mem, module, 8), MEMORY - 4096);
    ck_assert_uint_eq(get(mem, module + 8, 8), 4096);
    check_string(mem, get(mem, entry.arg + 24, 8), "quiet");
    ck_assert_uint_eq(get(mem, entry.arg + 32, 8), RSDP);
    ck_assert_uint_eq(get(mem, entry.arg + 48, 4), G_N_ELEMENTS(ranges));
    check_e820(mem, get(mem, entry.arg + 40, 8), 24);
    mem_map_free(mem);
}
END_TEST

/* --- files that are no good ----------------------------------------------------------------- */

enum kind { BZIMAGE, ELF, RAW };

static const struct {
    const char *name;
    enum kind kind;
    unsigned at, width; /* what is changed, and to what; WIDTH 0: nothing */
    uint64_t value;
    size_t size, initrd;
    const char *says;
} refused[] = {
    {"no kernel at all", RAW, 0, 0, 0, FILE_SIZE, 0, "'k' is not a kernel: neither"},
    {"no boot flag", BZIMAGE, 0x1fe, 2, 0, FILE_SIZE, 0, "damaged boot sector"},
    {"an old protocol", BZIMAGE, 0x206, 2, 0x20b, FILE_SIZE, 0, "protocol before 2.12"},
    {"a 32-bit kernel", BZIMAGE, 0x236, 2, 0, FILE_SIZE, 0, "can't be entered in 64-bit mode"},
    {"a zImage", BZIMAGE, 0x211, 1, 0, FILE_SIZE, 0, "can't be entered in 64-bit mode"},
    {"a header too short", BZIMAGE, 0x201, 1, 4, FILE_SIZE, 0, "damaged setup header"},
    {"cut in the header", BZIMAGE, 0, 0, 0, 0x240, 0, "cut short"},
    {"cut in the kernel", BZIMAGE, 0, 0, 0, 0x2000, 0, "cut short"},
    {"setup sectors alone", BZIMAGE, 0x1f1, 1, 255, FILE_SIZE, 0, "cut short"},
    {"an alignment of 3", BZIMAGE, 0x230, 4, 3, FILE_SIZE, 0, "absurd alignment"},
    {"more than there is", BZIMAGE, 0x260, 4, UINT32_MAX, FILE_SIZE, 0, "needs 4.0 GiB of memory"},
    {"a long command line", BZIMAGE, 0x238, 4, 3, FILE_SIZE, 0, "command line of at most 3 bytes"},
    {"an initrd out of reach", BZIMAGE, 0x22c, 4, 99, FILE_SIZE, 100, "'i' (100 B) does not fit"},
    {"an initrd too large", BZIMAGE, 0, 0, 0, FILE_SIZE, MIB(40), "does not fit beside"},
    {"a PVH entry elsewhere", ELF, 0x800 + 36, 4, 0x1000, FILE_SIZE, 0, "PVH entry point"},
    {"an entry elsewhere", ELF, 24, 8, 0x1000, FILE_SIZE, 0, "entry point is outside"},
    {"an ELF cut short", ELF, 0, 0, 0, 0x1800, 0, "cut short or damaged"},
};

START_TEST(test_refused)
{
    struct mem_map *mem = make_memory();
    g_autoptr(GError) err = NULL;
    uint8_t file[FILE_SIZE];
    struct x86_entry entry;

    if (refused[_i].kind == BZIMAGE)
        make_bzimage(file);
    else if (refused[_i].kind == ELF)
        make_elf(file, MIB(16), (uint32_t)MIB(16));
    else
        fill(file);
    if (refused[_i].width)
        put(file, refused[_i].at, refused[_i].value, refused[_i].width);
    ck_assert_msg(!load(mem, file, refused[_i].size, "quiet", refused[_i].initrd, &entry, &err),
                  "%s: loaded", refused[_i].name);
    ck_assert_msg(strstr(err->message, refused[_i].says) && !strchr(err->message, '\n'),
                  "%s: said '%s'", refused[_i].name, err->message);
    mem_map_free(mem);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("board_pc_boot");
    TCase *tc = tcase_create("boot");

    tcase_add_test(tc, test_bzimage);
    tcase_add_test(tc, test_relocated);
    tcase_add_test(tc, test_elf);
    tcase_add_test(tc, test_pvh);
    tcase_add_loop_test(tc, test_refused, 0, G_N_ELEMENTS(refused));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
