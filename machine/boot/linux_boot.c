/* See the header for the layout. */
#include "machine/boot/linux_boot.h"

#include "machine/boot/image.h"

#define KERNEL_ALIGN MIB(2)
#define LOW_END      (UINT64_C(3) << 30) /* what 32-bit DMA and early mappings reach */
#define FDT_ALIGN    MIB(2)
#define FDT_ROOM     KIB(64) /* the tree, room for a firmware to add to it, fw_dynamic's record */
#define FDT_MOST     KIB(32)

/* OpenSBI, include/sbi/fw_dynamic.h; all fields are of the guest's long. */
struct fw_dynamic_info {
    uint64_t magic, version, next_addr, next_mode, options, boot_hart;
};
#define FW_DYNAMIC_MAGIC   UINT64_C(0x4942534f)
#define FW_DYNAMIC_VERSION UINT64_C(2)
#define FW_DYNAMIC_S_MODE  UINT64_C(1)

struct layout {
    const struct linux_boot *boot;
    gpa_t ram_end;
    struct image_place firmware, kernel;
    gpa_t fdt;
    struct boot_chosen chosen;
};

static bool load_firmware(struct layout *l, GError **err)
{
    const struct board_file *file = &l->boot->firmware;
    auto_image image = {0};

    if (file->fd < 0)
        return true;
    if (!image_read(file->fd, file->name, l->boot->isa, &image, err))
        return false;
    if (image.format == IMAGE_LINUX)
        return vmd_fail(err, VMD_ERROR_INVALID, "'%s' is a Linux kernel, not a firmware",
                        file->name);
    if (image.format == IMAGE_ELF)
        return image_load_elf(&image, l->boot->mem, l->boot->ram_base, l->boot->ram_base,
                              &l->firmware, err);
    return image_load_flat(&image, l->boot->mem, l->boot->ram_base, image.size, &l->firmware, err);
}

static bool load_linux(struct layout *l, const struct image *image, gpa_t floor, GError **err)
{
    uint64_t offset, size;

    if (!image_linux_header(image, &offset, &size, err))
        return false;
    gpa_t at = ALIGN_UP(MAX(floor, l->boot->ram_base + offset) - offset, KERNEL_ALIGN) + offset;
    return image_load_flat(image, l->boot->mem, at, size, &l->kernel, err);
}

static bool load_kernel(struct layout *l, GError **err)
{
    const struct board_file *file = &l->boot->kernel;
    gpa_t floor = l->firmware.end ? l->firmware.end : l->boot->ram_base;
    auto_image image = {0};

    if (file->fd < 0)
        return true;
    if (!image_read(file->fd, file->name, l->boot->isa, &image, err))
        return false;
    switch (image.format) {
    case IMAGE_LINUX:
        return load_linux(l, &image, floor, err);
    case IMAGE_ELF:
        return image_load_elf(&image, l->boot->mem,
                              ALIGN_UP(MAX(floor, l->boot->ram_base + KERNEL_ALIGN), KERNEL_ALIGN),
                              floor, &l->kernel, err);
    default:
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "'%s' is not a kernel: neither a %s Linux Image nor an ELF file", file->name,
                        l->boot->isa == ISA_RISCV64 ? "riscv64" : "aarch64");
    }
}

/* The first byte that neither firmware nor kernel takes. */
static gpa_t loaded_end(const struct layout *l)
{
    return MAX(MAX(l->firmware.end, l->kernel.end), l->boot->ram_base);
}

static bool too_small(const struct layout *l, const char *what, uint64_t size, GError **err)
{
    g_autofree char *need = size_format(size), *ram = size_format(l->boot->ram_size);

    return vmd_fail(err, VMD_ERROR_INVALID,
                    "%s (%s) does not fit beside the kernel in %s of memory", what, need, ram);
}

static bool place_fdt(struct layout *l, GError **err)
{
    l->fdt = ALIGN_DOWN(MIN(l->ram_end, LOW_END) - FDT_ROOM, FDT_ALIGN);
    return l->fdt >= loaded_end(l) || too_small(l, "the device tree", FDT_ROOM, err);
}

static bool load_initrd(struct layout *l, GError **err)
{
    const struct board_file *file = &l->boot->initrd;
    uint64_t size;
    gpa_t start;

    if (file->fd < 0)
        return true;
    if (!image_file_size(file->fd, file->name, MIB(LIMIT_INITRD_MIB), &size, err))
        return false;
    g_autofree char *what = g_strdup_printf("'%s'", file->name);
    gpa_t floor = ALIGN_UP(loaded_end(l), MEM_PAGE_SIZE);
    start = ALIGN_DOWN(l->fdt - size, MEM_PAGE_SIZE);
    if (size > l->fdt || start < floor) {
        floor = MAX(floor, l->fdt + FDT_ROOM);
        start = ALIGN_DOWN(l->ram_end - size, MEM_PAGE_SIZE);
        if (size > l->ram_end || start < floor)
            return too_small(l, what, size, err);
    }
    void *to = mem_map_host(l->boot->mem, start, size, true);
    if (!to)
        return too_small(l, what, size, err);
    mem_map_back(l->boot->mem, start, size);
    if (!image_file_read(file->fd, file->name, to, size, err))
        return false;
    mem_map_written(l->boot->mem, start, size);
    l->chosen = (struct boot_chosen){start, start + size};
    return true;
}

static bool load_fdt(struct layout *l, GError **err)
{
    size_t size;
    g_autofree uint8_t *fdt = l->boot->make_fdt(l->boot->opaque, &l->chosen, &size, err);

    if (!fdt)
        return false;
    if (size > FDT_MOST || mem_map_write(l->boot->mem, l->fdt, fdt, size) < 0)
        return vmd_fail(err, VMD_ERROR_LIMIT, "the device tree is too large");
    return true;
}

/* Writes fw_dynamic's record behind the tree; returns where. */
static gpa_t write_dynamic_info(const struct layout *l)
{
    gpa_t at = l->fdt + FDT_MOST;
    struct fw_dynamic_info info = {
        .magic = GUINT64_TO_LE(FW_DYNAMIC_MAGIC),
        .version = GUINT64_TO_LE(FW_DYNAMIC_VERSION),
        .next_addr = GUINT64_TO_LE(l->kernel.entry),
        .next_mode = GUINT64_TO_LE(FW_DYNAMIC_S_MODE),
    };

    int rc = mem_map_write(l->boot->mem, at, &info, sizeof(info));
    g_assert(rc == 0); /* place_fdt() made sure that this is RAM */
    return at;
}

bool linux_boot_load(const struct linux_boot *boot, struct boot_entry *out, GError **err)
{
    struct layout l = {.boot = boot, .ram_end = boot->ram_base + boot->ram_size};

    if (boot->kernel.fd < 0 && boot->firmware.fd < 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "nothing to boot: neither kernel nor firmware");
    if (!load_firmware(&l, err) || !load_kernel(&l, err) || !place_fdt(&l, err) ||
        !load_initrd(&l, err) || !load_fdt(&l, err))
        return false;
    *out = (struct boot_entry){.pc = l.kernel.entry, .fdt = l.fdt};
    if (boot->firmware.fd >= 0) {
        out->pc = l.firmware.entry;
        out->info = write_dynamic_info(&l);
    }
    return true;
}
