/* See firmware.h. */
#include "machine/boards/firmware.h"

#include "machine/boot/image.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

void firmware_init(struct firmware *fw)
{
    *fw = (struct firmware){.vars = -1};
}

static bool make_vars(struct firmware *fw, uint64_t size, GError **err)
{
    fw->vars_are_lost = true;
    fw->vars = memfd_create("vars", MFD_CLOEXEC);
    if (fw->vars < 0 || ftruncate(fw->vars, (off_t)size) < 0)
        return vmd_set_errno(err, errno, "making room for the firmware's variables");
    fw->vars_size = size;
    return true;
}

static bool open_vars(struct firmware *fw, uint64_t most, uint64_t block, GError **err)
{
    const struct board_file *file = &fw->config->vars;

    if (!image_file_size(file->fd, file->name, most, &fw->vars_size, err))
        return false;
    if (fw->vars_size % block) {
        g_autofree char *unit = size_format(block);
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "'%s' does not hold a firmware's variables: its size is not a multiple of %s",
                        file->name, unit);
    }
    /* Nobody else's firmware changes them meanwhile; the lock goes with the descriptor. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(file->fd, F_OFD_SETLK, &lock) < 0) {
        return errno == EAGAIN || errno == EACCES
                   ? vmd_fail(err, VMD_ERROR_BUSY, "'%s' is in use by another VM", file->name)
                   : vmd_set_errno(err, errno, "locking the variables '%s'", file->name);
    }
    fw->vars = file->fd;
    return true;
}

bool firmware_open(struct firmware *fw, const struct board_config *config, uint64_t most,
                   uint64_t block, uint64_t lost, GError **err)
{
    const struct board_file *file = &config->firmware;

    fw->config = config;
    if (!image_file_size(file->fd, file->name, most, &fw->rom_size, err))
        return false;
    if (config->vars.fd >= 0)
        return open_vars(fw, most, block, err);
    return !lost || make_vars(fw, lost, err);
}

void firmware_close(struct firmware *fw)
{
    if (fw->vars >= 0 && fw->vars_are_lost)
        close(fw->vars);
    else if (fw->vars >= 0)
        fdatasync(fw->vars);
    firmware_init(fw);
}

bool firmware_add_rom(struct firmware *fw, gpa_t gpa, GError **err)
{
    uint64_t size = ALIGN_UP(fw->rom_size, MEM_PAGE_SIZE);

    fw->rom = mem_map_add_ram(fw->config->mem, gpa, size, "rom", true, err);
    return fw->rom != NULL;
}

/* Images are padded with zeros to the size of a flash, which need not be in memory. */
static void drop_zeros(struct mem_ram *rom)
{
    const uint64_t piece = KIB(64);

    for (uint64_t at = 0; at + piece <= rom->size; at += piece) {
        const uint8_t *bytes = rom->host + at;
        if (!bytes[0] && memcmp(bytes, bytes + 1, piece - 1) == 0)
            mem_ram_discard(rom, at, piece);
    }
}

bool firmware_load(struct firmware *fw, GError **err)
{
    const struct board_file *file = &fw->config->firmware;

    if (!image_file_read(file->fd, file->name, fw->rom->host, fw->rom_size, err))
        return false;
    drop_zeros(fw->rom);
    mem_map_written(fw->config->mem, fw->rom->gpa, fw->rom->size);
    return true;
}

static bool give_file(struct fw_cfg *items, unsigned size_key, unsigned key,
                      const struct board_file *file, uint64_t most, GError **err)
{
    uint64_t size;

    if (file->fd < 0)
        return true;
    if (!image_file_size(file->fd, file->name, MIN(most, UINT32_MAX), &size, err))
        return false;
    uint32_t le = GUINT32_TO_LE((uint32_t)size);
    fw_cfg_set_item(items, (uint16_t)size_key, &le, sizeof(le));
    fw_cfg_set_source(items, (uint16_t)key, file->fd, 0, (uint32_t)size);
    return true;
}

bool firmware_give_kernel(const struct firmware *fw, struct fw_cfg *items, GError **err)
{
    const struct board_config *c = fw->config;

    if (c->kernel.fd >= 0 && c->append) {
        uint32_t size = (uint32_t)strlen(c->append) + 1, le = GUINT32_TO_LE(size);
        fw_cfg_set_item(items, FW_CFG_APPEND_SIZE, &le, sizeof(le));
        fw_cfg_set_item(items, FW_CFG_APPEND, c->append, size);
    }
    return give_file(items, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL, &c->kernel, MIB(LIMIT_KERNEL_MIB), err) &&
           give_file(items, FW_CFG_INITRD_SIZE, FW_CFG_INITRD, &c->initrd, MIB(LIMIT_INITRD_MIB), err);
}
