/* See the header. Numbers of the setup header and of boot_params are offsets in the zero page. */
#include "machine/boot/x86_boot.h"

enum {
    SETUP_SECTS = 0x1f1,
    BOOT_FLAG = 0x1fe,
    HEADER_JUMP = 0x201, /* the header's length beyond 0x202 */
    VERSION = 0x206,
    LOADER_TYPE = 0x210,
    LOAD_FLAGS = 0x211,
    INITRD = 0x218,
    INITRD_SIZE = 0x21c,
    COMMAND_POINTER = 0x228,
    INITRD_MAX = 0x22c,
    ALIGNMENT = 0x230,
    RELOCATABLE = 0x234,
    XLOADFLAGS = 0x236,
    COMMAND_SIZE = 0x238,
    SETUP_DATA = 0x250,
    PREFERRED = 0x258,
    INIT_SIZE = 0x260,
    HEADER_LEAST = 0x264, /* what version 2.12 has */
    /* of boot_params alone */
    RSDP = 0x70,
    E820_ENTRIES = 0x1e8,
    E820_TABLE = 0x2d0,
    E820_ENTRY = 20,
};

enum {
    SECTOR = 512,
    BOOT_MAGIC = 0xaa55,
    VERSION_LEAST = 0x20c,
    LOADED_HIGH = 1 << 0,
    XLF_KERNEL_64 = 1 << 0,
    ENTRY_64 = 0x200, /* after the start of the protected-mode kernel */
    LOADER_UNDEFINED = 0xff,
    HVM_MAGIC = 0x336ec578,
    NOTE_PHYS32_ENTRY = 18,
};

/* hvm_start_info with its lists behind it; offsets from X86_BOOT_PARAMS. */
enum { HVM_SIZE = 56, HVM_MODULES = 64, HVM_MAP = 128, HVM_MAP_ENTRY = 24 };

#define KERNEL_HOME     MIB(16) /* of an ELF file that can be anywhere */
#define INITRD_MAX_ELF  UINT32_C(0x7fffffff)
#define COMMAND_MAX_ELF 2047

static bool bad(GError **err, const char *name, const char *what)
{
    return vmd_fail(err, VMD_ERROR_INVALID, "'%s' %s", name, what);
}

static uint64_t get(const uint8_t *p, unsigned at, unsigned width)
{
    uint64_t value = 0;

    memcpy(&value, p + at, width);
    return GUINT64_FROM_LE(value);
}

static void put(uint8_t *p, unsigned at, uint64_t value, unsigned width)
{
    value = GUINT64_TO_LE(value);
    memcpy(p + at, &value, width);
}

/* --- bzImage -------------------------------------------------------------------------------- */

static bool check_header(const struct image *image, GError **err)
{
    const uint8_t *p = image->data;

    if (get(p, BOOT_FLAG, 2) != BOOT_MAGIC)
        return bad(err, image->name, "is a bzImage with a damaged boot sector");
    if (image->size < HEADER_LEAST)
        return bad(err, image->name, "is a bzImage cut short");
    if (get(p, VERSION, 2) < VERSION_LEAST)
        return bad(err, image->name, "is a bzImage of a boot protocol before 2.12");
    if (!(p[LOAD_FLAGS] & LOADED_HIGH) || !(get(p, XLOADFLAGS, 2) & XLF_KERNEL_64))
        return bad(err, image->name, "is a bzImage that can't be entered in 64-bit mode");
    if (HEADER_JUMP + 1u + p[HEADER_JUMP] < HEADER_LEAST)
        return bad(err, image->name, "is a bzImage with a damaged setup header");
    return true;
}

/* Where the kernel goes: where it prefers to be, or as low as it can. */
static bool choose_place(const struct image *image, uint64_t low_ram, uint64_t size, gpa_t *out,
                         GError **err)
{
    const uint8_t *p = image->data;
    uint64_t preferred = get(p, PREFERRED, 8), alignment = get(p, ALIGNMENT, 4);
    g_autofree char *need = size_format(size);

    if (alignment & (alignment - 1))
        return bad(err, image->name, "is a bzImage with an absurd alignment");
    if (preferred >= X86_KERNEL_LOW && preferred <= low_ram && size <= low_ram - preferred) {
        *out = preferred;
        return true;
    }
    gpa_t at = ALIGN_UP(X86_KERNEL_LOW, MAX(alignment, MEM_PAGE_SIZE));
    if (p[RELOCATABLE] && at <= low_ram && size <= low_ram - at) {
        *out = at;
        return true;
    }
    return vmd_fail(err, VMD_ERROR_INVALID, "'%s' needs %s of memory, more than there is for it",
                    image->name, need);
}

static bool load_bzimage(const struct image *image, struct mem_map *mem, uint64_t low_ram,
                         struct x86_kernel *out, GError **err)
{
    const uint8_t *p = image->data;
    gpa_t at = 0;

    if (!check_header(image, err))
        return false;
    uint64_t setup = ((p[SETUP_SECTS] ? p[SETUP_SECTS] : 4) + UINT64_C(1)) * SECTOR;
    /* syssize counts units of 16 bytes; what follows them is a signature, not the kernel. */
    uint64_t length = get(p, 0x1f4, 4) * 16;
    if (setup >= image->size || length <= ENTRY_64 || length - 15 > image->size - setup)
        return bad(err, image->name, "is a bzImage cut short");
    length = MIN(length, image->size - setup);
    uint64_t size = MAX(get(p, INIT_SIZE, 4), length);
    if (!choose_place(image, low_ram, size, &at, err))
        return false;
    struct image kernel = {.name = image->name, .data = image->data + setup, .size = length};
    if (!image_load_flat(&kernel, mem, at, size, &out->place, err))
        return false;
    out->place.entry = at + ENTRY_64;
    out->mode = X86_MODE_LONG;
    out->initrd_max = get(p, INITRD_MAX, 4);
    out->command_max = (uint32_t)get(p, COMMAND_SIZE, 4);
    out->header_size = HEADER_JUMP + 1u + p[HEADER_JUMP] - SETUP_SECTS;
    out->header_size = MIN(out->header_size, MIN(sizeof(out->header), image->size - SETUP_SECTS));
    memcpy(out->header, p + SETUP_SECTS, out->header_size);
    return true;
}

/* --- ELF ------------------------------------------------------------------------------------ */

static bool load_elf(const struct image *image, struct mem_map *mem, struct x86_kernel *out,
                     GError **err)
{
    uint64_t entry;

    if (!image_load_elf(image, mem, KERNEL_HOME, X86_KERNEL_LOW, &out->place, err))
        return false;
    out->mode = X86_MODE_LONG;
    out->initrd_max = INITRD_MAX_ELF;
    out->command_max = COMMAND_MAX_ELF;
    if (!image_elf_note(image, "Xen", NOTE_PHYS32_ENTRY, &entry))
        return true;
    if (entry < out->place.start || entry >= out->place.end || entry > UINT32_MAX)
        return bad(err, image->name, "is an ELF file whose PVH entry point is outside of it");
    out->place.entry = entry;
    out->mode = X86_MODE_PVH;
    return true;
}

bool x86_kernel_load(const struct image *image, struct mem_map *mem, uint64_t low_ram,
                     struct x86_kernel *out, GError **err)
{
    *out = (struct x86_kernel){0};
    switch (image->format) {
    case IMAGE_BZIMAGE:
        return load_bzimage(image, mem, low_ram, out, err);
    case IMAGE_ELF:
        return load_elf(image, mem, out, err);
    default:
        return bad(err, image->name, "is not a kernel: neither a bzImage nor an ELF file");
    }
}

/* --- what the kernel is told ---------------------------------------------------------------- */

static bool load_initrd(const struct x86_boot *boot, const struct x86_kernel *kernel,
                        struct image_place *out, GError **err)
{
    uint64_t size, end = MIN(boot->low_ram, kernel->initrd_max + 1);
    gpa_t floor = ALIGN_UP(kernel->place.end, MEM_PAGE_SIZE);

    if (boot->initrd_fd < 0)
        return true;
    if (!image_file_size(boot->initrd_fd, boot->initrd_name, MIB(LIMIT_INITRD_MIB), &size, err))
        return false;
    gpa_t start = ALIGN_DOWN(end - size, MEM_PAGE_SIZE);
    void *to = size <= end && start >= floor ? mem_map_host(boot->mem, start, size, true) : NULL;
    if (!to) {
        g_autofree char *need = size_format(size);
        return vmd_fail(err, VMD_ERROR_INVALID, "'%s' (%s) does not fit beside the kernel",
                        boot->initrd_name, need);
    }
    if (!image_file_read(boot->initrd_fd, boot->initrd_name, to, size, err))
        return false;
    mem_map_written(boot->mem, start, size);
    *out = (struct image_place){.start = start, .end = start + size};
    return true;
}

static void write_at(const struct x86_boot *boot, gpa_t at, const void *from, size_t n)
{
    int rc = mem_map_write(boot->mem, at, from, n);

    g_assert(rc == 0); /* a machine has RAM below 640 KiB */
}

static bool write_command(const struct x86_boot *boot, const struct x86_kernel *kernel,
                          GError **err)
{
    const char *text = boot->append ? boot->append : "";

    if (strlen(text) > kernel->command_max)
        return vmd_fail(err, VMD_ERROR_LIMIT, "'%s' takes a command line of at most %u bytes",
                        boot->kernel_name, kernel->command_max);
    write_at(boot, X86_COMMAND, text, strlen(text) + 1);
    return true;
}

static void write_boot_params(const struct x86_boot *boot, const struct x86_kernel *kernel,
                              const struct image_place *initrd)
{
    uint8_t page[MEM_PAGE_SIZE] = {0};

    memcpy(page + SETUP_SECTS, kernel->header, kernel->header_size);
    put(page, BOOT_FLAG, BOOT_MAGIC, 2);
    memcpy(page + 0x202, "HdrS", 4);
    page[LOADER_TYPE] = LOADER_UNDEFINED;
    put(page, SETUP_DATA, 0, 8);
    put(page, RSDP, boot->rsdp, 8);
    put(page, INITRD, initrd->start, 4);
    put(page, INITRD_SIZE, initrd->end - initrd->start, 4);
    put(page, COMMAND_POINTER, X86_COMMAND, 4);
    page[E820_ENTRIES] = (uint8_t)boot->n_ranges;
    for (unsigned i = 0; i < boot->n_ranges; i++) {
        unsigned at = E820_TABLE + i * E820_ENTRY;
        put(page, at, boot->ranges[i].start, 8);
        put(page, at + 8, boot->ranges[i].size, 8);
        put(page, at + 16, boot->ranges[i].kind, 4);
    }
    write_at(boot, X86_BOOT_PARAMS, page, sizeof(page));
}

static void write_start_info(const struct x86_boot *boot, const struct image_place *initrd)
{
    uint8_t info[HVM_MAP + X86_RANGES * HVM_MAP_ENTRY] = {0};
    bool module = initrd->end != 0;

    put(info, 0, HVM_MAGIC, 4);
    put(info, 4, 1, 4); /* version; flags follow */
    put(info, 12, module, 4);
    put(info, 16, module ? X86_BOOT_PARAMS + HVM_MODULES : 0, 8);
    put(info, 24, X86_COMMAND, 8);
    put(info, 32, boot->rsdp, 8);
    put(info, 40, X86_BOOT_PARAMS + HVM_MAP, 8);
    put(info, 48, boot->n_ranges, 4);
    put(info, HVM_MODULES, initrd->start, 8);
    put(info, HVM_MODULES + 8, initrd->end - initrd->start, 8);
    for (unsigned i = 0; i < boot->n_ranges; i++) {
        unsigned at = HVM_MAP + i * HVM_MAP_ENTRY;
        put(info, at, boot->ranges[i].start, 8);
        put(info, at + 8, boot->ranges[i].size, 8);
        put(info, at + 16, boot->ranges[i].kind, 4);
    }
    write_at(boot, X86_BOOT_PARAMS, info, sizeof(info));
}

/* PML4, one page of 1 GiB entries' tables, four of 2 MiB pages: addresses below 4 GiB. */
static void write_page_tables(const struct x86_boot *boot)
{
    enum { PRESENT = 1, WRITABLE = 2, LARGE = 1 << 7, ENTRIES = 512, DIRECTORIES = 4 };
    uint64_t table[ENTRIES] = {GUINT64_TO_LE((X86_PAGE_TABLES + 0x1000) | PRESENT | WRITABLE)};

    write_at(boot, X86_PAGE_TABLES, table, sizeof(table));
    for (unsigned i = 0; i < DIRECTORIES; i++)
        table[i] = GUINT64_TO_LE((X86_PAGE_TABLES + 0x2000 + i * 0x1000) | PRESENT | WRITABLE);
    write_at(boot, X86_PAGE_TABLES + 0x1000, table, sizeof(table));
    for (unsigned d = 0; d < DIRECTORIES; d++) {
        for (unsigned i = 0; i < ENTRIES; i++)
            table[i] = GUINT64_TO_LE((GIB(d) + MIB(2) * i) | PRESENT | WRITABLE | LARGE);
        write_at(boot, X86_PAGE_TABLES + 0x2000 + d * 0x1000, table, sizeof(table));
    }
}

bool x86_boot_load(const struct x86_boot *boot, struct x86_entry *out, GError **err)
{
    struct image_place initrd = {0};
    auto_image image = {0};
    struct x86_kernel kernel;

    g_assert(boot->n_ranges <= X86_RANGES && boot->low_ram > X86_KERNEL_LOW);
    if (!image_read(boot->kernel_fd, boot->kernel_name, ISA_X86_64, &image, err) ||
        !x86_kernel_load(&image, boot->mem, boot->low_ram, &kernel, err) ||
        !load_initrd(boot, &kernel, &initrd, err) || !write_command(boot, &kernel, err))
        return false;
    *out = (struct x86_entry){kernel.mode, kernel.place.entry, X86_BOOT_PARAMS, 0};
    if (kernel.mode == X86_MODE_PVH) {
        write_start_info(boot, &initrd);
        return true;
    }
    write_boot_params(boot, &kernel, &initrd);
    write_page_tables(boot);
    out->cr3 = X86_PAGE_TABLES;
    return true;
}
