/* See peek.h. */
#include "daemon/peek.h"

#include "base/memfile.h"
#include "daemon/image.h"
#include "daemon/vm_devices.h"

static int peek(const struct vm_disk_config *disk, uint64_t offset, uint32_t bytes, GError **err)
{
    g_autofree uint8_t *buffer = NULL;

    if (disk->format == VM_DISK_FORMAT_QCOW2) {
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "disk %s: bytes of raw images are shown, not of qcow2",
                 disk->id);
        return -1;
    }
    buffer = g_malloc(bytes);
    if (!image_peek(disk->path, disk->format == VM_DISK_FORMAT_AUTO, offset, buffer, bytes, err)) {
        g_prefix_error(err, "disk %s: ", disk->id);
        return -1;
    }
    return memfile_new(buffer, bytes, err);
}

int peek_disk(const struct vm *vm, const char *id, uint64_t offset, uint32_t bytes, GError **err)
{
    g_autoptr(vm_config) config =
        vm_active(vm) ? vm_devices_config(vm_devices_of(vm)) : vm_config_copy(vm_config_of(vm));

    for (size_t i = 0; i < config->n_disks; i++) {
        if (g_strcmp0(config->disks[i]->id, id) == 0)
            return peek(config->disks[i], offset, bytes, err);
    }
    vmd_fail(err, VMD_ERROR_NOT_FOUND, "there is no disk %s", id);
    return -1;
}
