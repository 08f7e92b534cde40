/* What a domain has of the host, changed while it runs or not: how large its disks are. */
#include "daemon/libvirt/bridge_priv.h"

enum { RESIZE_BYTES = 1 << 0, SECTOR = 512 };

/* --- disks --- */

static void block_resize(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_block_resize *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    uint64_t unit = a->flags & RESIZE_BYTES ? 1 : 1024;

    if (!vm || !bridge_flags(request, a->flags, RESIZE_BYTES))
        return;
    g_autoptr(vm_config) config = bridge_live_config(vm);
    const struct vm_disk_config *disk = bridge_find_disk(request, config, a->device);
    if (!disk)
        return;
    if (a->size > (uint64_t)INT64_MAX / unit - SECTOR) {
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "no disk has %" G_GUINT64_FORMAT " %s", a->size, unit == 1 ? "bytes" : "KiB");
        return;
    }
    /* Whole sectors, as images have them. */
    struct device_resize_params p = {.vm = (char *)vm_id(vm),
                                     .device = disk->id,
                                     .bytes = ALIGN_UP(a->size * unit, (uint64_t)SECTOR)};
    bridge_call(c, request, API_DEVICE_RESIZE, &p);
}

const struct bridge_row bridge_tuning_rows[] = {
    {LIBVIRT_DOMAIN_BLOCK_RESIZE, block_resize},
};
const size_t bridge_tuning_count = G_N_ELEMENTS(bridge_tuning_rows);
