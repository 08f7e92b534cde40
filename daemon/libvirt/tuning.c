/* How large a domain's disks are, and how often its guest is asked about its memory. */
#include "daemon/libvirt/bridge_priv.h"

enum { RESIZE_BYTES = 1 << 0 };

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
    if (a->size > (uint64_t)INT64_MAX / unit - DISK_SECTOR) {
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "no disk has %" G_GUINT64_FORMAT " %s", a->size, unit == 1 ? "bytes" : "KiB");
        return;
    }
    /* Whole sectors, as images have them. */
    struct device_resize_params p = {.vm = (char *)vm_id(vm),
                                     .device = disk->id,
                                     .bytes = ALIGN_UP(a->size * unit, (uint64_t)DISK_SECTOR)};
    bridge_call(c, request, API_DEVICE_RESIZE, &p);
}

/* --- memory --- */

static bool apply_period(struct vm_config *next, const struct bridge_wish *wish, GError **err)
{
    next->devices->memory_period_s = wish->period_s;
    return true;
}

static void set_memory_period(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_memory_period *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    uint32_t affects = vm ? bridge_affected(request, vm, a->flags) : 0;

    if (!affects)
        return;
    if (a->period < 0) {
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "%d seconds between questions", a->period);
        return;
    }
    struct change *ch = bridge_change_new(c, request, vm, affects);
    ch->apply = apply_period;
    ch->wish.period_s = (uint32_t)a->period;
    if (!(affects & BRIDGE_LIVE)) {
        bridge_change_definition(ch);
        return;
    }
    struct vm_ask_memory_params p = {.vm = ch->id, .period_s = (uint32_t)a->period};
    rpc_local_call(c->rpc, API_VM_ASK_MEMORY, &p, bridge_change_done, ch);
}

const struct bridge_row bridge_tuning_rows[] = {
    {LIBVIRT_DOMAIN_SET_MEMORY_STATS_PERIOD, set_memory_period},
    {LIBVIRT_DOMAIN_BLOCK_RESIZE, block_resize},
};
const size_t bridge_tuning_count = G_N_ELEMENTS(bridge_tuning_rows);
