/*
 * Disks as logical units of the VM's SCSI adapter: where the guest's driver takes its events, a
 * disk comes and leaves in some milliseconds, on any instruction set. Linux flushes the disk's
 * cache then, and drops what it has not written to the disk yet.
 *
 * A unit is taken when the guest has read from it or written to it. The scan of a bus only asks
 * what a unit is; what has a disk's driver looks for partitions, as the last thing before it is
 * bound.
 *
 * A unit that the guest was asked to let go of serves on until then. The question cannot be taken
 * back: a guest that answers when its time is over has let go all the same, and the device goes.
 */
#include "vm/road.h"

#include "machine/virtio/scsi.h"

#include <linux/virtio_scsi.h>

struct scsi_road {
    struct road road;
    struct virtio_device *adapter; /* a device's of its own */
    bool first_choice;             /* the guest can hardly have a better road */
    struct vm_device *units[LIMIT_SCSI_LUNS];
};

static struct scsi_road *scsi_of(struct road *road)
{
    return container_of(road, struct scsi_road, road);
}

static void scsi_free(struct road *road)
{
    g_free(scsi_of(road));
}

static bool is_ready(const struct scsi_road *s)
{
    return virtio_running(s->adapter) && virtio_has_feature(s->adapter, VIRTIO_SCSI_F_HOTPLUG);
}

static int scsi_fitness(struct road *road, const struct device_spec *spec, const char **why)
{
    const struct scsi_road *s = scsi_of(road);

    *why = spec->kind != HOT_KIND_DISK                ? "it takes disks alone"
           : virtio_scsi_free_lun(s->adapter) < 0 ? "all units of the adapter are taken"
                                                  : "the guest's driver of the adapter takes its events";
    if (spec->kind != HOT_KIND_DISK)
        return ROAD_UNFIT;
    if (virtio_scsi_free_lun(s->adapter) < 0)
        return ROAD_FULL;
    /* Nobody is there: perhaps the guest is still to start. */
    return is_ready(s) ? 4 : s->first_choice ? 2 : 0;
}

static bool scsi_reserve(struct road *road, const struct device_spec *spec,
                         struct vm_device *device)
{
    int lun = virtio_scsi_free_lun(scsi_of(road)->adapter);

    if (lun < 0)
        return false;
    device->place = (unsigned)lun;
    return true;
}

static void scsi_drop(struct road *road, struct vm_device *device)
{
    scsi_of(road)->units[device->place] = NULL;
}

/* From within the adapter. */
static void unit_changed(void *opaque, unsigned lun, const struct virtio_scsi_status *status)
{
    struct vm_device *device = opaque;
    struct hotplug *h = device->hotplug;

    if (status->used && !device->taken) {
        device->taken = true;
        if (h)
            hotplug_signal(h, device, SLOT_EV_TAKEN, NULL);
    }
    if (!status->released)
        return;
    device->held = false;
    hotplug_released(device);
}

static bool scsi_publish(struct road *road, struct vm_device *device, GError **err)
{
    struct scsi_road *s = scsi_of(road);

    if (!disk_attach(device->disk, s->adapter, device->place, unit_changed, device, err))
        return false;
    s->units[device->place] = device;
    device->held = true;
    return true;
}

static void scsi_ask(struct road *road, struct vm_device *device)
{
    struct scsi_road *s = scsi_of(road);

    if (virtio_running(s->adapter) && !is_ready(s))
        hotplug_signal(road->hotplug, device, SLOT_EV_REFUSED,
                       "the guest's driver of the adapter takes no events");
    else
        virtio_scsi_detach(s->adapter, device->place);
}

static bool scsi_unask(struct road *road, struct vm_device *device)
{
    return true;
}

static void scsi_withdraw(struct road *road, struct vm_device *device)
{
    if (device->held)
        virtio_scsi_drop(scsi_of(road)->adapter, device->place);
}

static const char *scsi_leaving(struct road *road, const struct vm_device *device)
{
    return is_ready(scsi_of(road)) ? "the guest's driver of the adapter lets go of it at once; unmount it first"
                                   : "no driver of the adapter is in the guest that could let go of it";
}

static void scsi_describe(struct road *road, const struct vm_device *device,
                          struct device_info *info)
{
    g_free(info->bus);
    g_free(info->address);
    info->bus = g_strdup("scsi");
    info->address = g_strdup_printf("scsi0:0:%u", device->place);
}

static void add_row(const struct scsi_road *s, unsigned lun, GPtrArray *rows)
{
    struct slot_info *row = slot_info_new();

    row->name = g_strdup_printf("scsi0.%u", lun);
    row->road = DEVICE_ROAD_SCSI;
    row->use = is_ready(s) ? SLOT_USE_READY : SLOT_USE_BLIND;
    row->device = s->units[lun] ? g_strdup(s->units[lun]->id) : NULL;
    g_ptr_array_add(rows, row);
}

/* The units that there are, and the next. */
static void scsi_slots(struct road *road, GPtrArray *rows)
{
    const struct scsi_road *s = scsi_of(road);
    int next = virtio_scsi_free_lun(s->adapter);

    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS; lun++) {
        if (s->units[lun] || (int)lun == next)
            add_row(s, lun, rows);
    }
}

/* The driver took its units with it; another sees them anew. */
static void adapter_running(struct road *road, struct vm_device *adapter, bool on)
{
    const struct scsi_road *s = scsi_of(road);

    for (unsigned lun = 0; !on && lun < LIMIT_SCSI_LUNS; lun++) {
        struct vm_device *device = s->units[lun];
        if (!device)
            continue;
        device->taken = false;
        hotplug_signal(road->hotplug, device, SLOT_EV_LEFT, NULL);
    }
}

static const struct road_ops scsi_ops = {
    .road = DEVICE_ROAD_SCSI,
    .free = scsi_free,
    .fitness = scsi_fitness,
    .reserve = scsi_reserve,
    .drop = scsi_drop,
    .publish = scsi_publish,
    .ask = scsi_ask,
    .unask = scsi_unask,
    .withdraw = scsi_withdraw,
    .leaving = scsi_leaving,
    .describe = scsi_describe,
    .slots = scsi_slots,
    .carrier_running = adapter_running,
};

struct road *road_scsi_new(struct hotplug *h, struct vm_device *adapter, bool first_choice)
{
    struct scsi_road *s = g_new0(struct scsi_road, 1);

    *s = (struct scsi_road){.road = {&scsi_ops, h}, .adapter = adapter->frontend,
                             .first_choice = first_choice};
    adapter->carrier = &s->road;
    return &s->road;
}
