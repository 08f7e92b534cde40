/*
 * Network ports that are always there, and whose link comes up when an interface is added: for guests that can
 * take no card while they run. The port, its driver and its address stay; what comes and goes is the network
 * behind it.
 */
#include "vm/road.h"

#include "machine/virtio/net.h"

struct link_road {
    struct road road;
    unsigned n;
    struct vm_device *ports[LIMIT_NICS];
    bool reserved[LIMIT_NICS];
};

static struct link_road *link_of(struct road *road)
{
    return container_of(road, struct link_road, road);
}

static struct vm_device *port_of(struct road *road, const struct vm_device *device)
{
    return link_of(road)->ports[device->place];
}

static void link_free(struct road *road)
{
    g_free(link_of(road));
}

/* A free port; one with a driver, where there is one. -1: none. */
static int free_port(const struct link_road *l)
{
    int found = -1;

    for (unsigned i = 0; i < l->n; i++) {
        if (!l->reserved[i] &&
            (found < 0 || (vm_device_taken(l->ports[i]) && !vm_device_taken(l->ports[found]))))
            found = (int)i;
    }
    return found;
}

static int link_fitness(struct road *road, const struct device_spec *spec, const char **why)
{
    const struct link_road *l = link_of(road);
    int i = free_port(l);

    *why = spec->kind != HOT_KIND_NIC             ? "it takes interfaces alone"
           : spec->nic->mac                       ? "the port's address is its own: give none"
           : spec->nic->kind == VM_NIC_KIND_NONE ? "an interface without a network leaves the link down"
           : i < 0                                ? "all ports are taken"
                                                  : "the guest's driver of the port sees its link";
    if (spec->kind != HOT_KIND_NIC || spec->nic->mac || spec->nic->kind == VM_NIC_KIND_NONE)
        return ROAD_UNFIT;
    if (i < 0)
        return ROAD_FULL;
    return vm_device_taken(l->ports[i]) ? 4 : 0;
}

static bool link_reserve(struct road *road, const struct device_spec *spec,
                         struct vm_device *device)
{
    struct link_road *l = link_of(road);
    int i = free_port(l);

    if (i < 0)
        return false;
    device->place = (unsigned)i;
    l->reserved[i] = true;
    return true;
}

static void link_drop(struct road *road, struct vm_device *device)
{
    link_of(road)->reserved[device->place] = false;
}

static bool link_publish(struct road *road, struct vm_device *device, GError **err)
{
    struct vm_device *port = port_of(road, device);

    if (!virtio_net_connect(port->frontend, device->net, err))
        return false;
    device->net = NULL;
    port->guest = device;
    device->taken = vm_device_taken(port);
    if (device->taken)
        hotplug_signal(road->hotplug, device, SLOT_EV_TAKEN, NULL);
    return true;
}

/* The guest is told by the link's going down; nothing of it is in the way of that. */
static void link_ask(struct road *road, struct vm_device *device)
{
    hotplug_signal(road->hotplug, device, SLOT_EV_LET_GO, NULL);
}

static bool link_unask(struct road *road, struct vm_device *device)
{
    return true;
}

static void link_withdraw(struct road *road, struct vm_device *device)
{
    struct vm_device *port = port_of(road, device);

    device->net = virtio_net_disconnect(port->frontend);
    port->guest = NULL;
}

static const char *link_leaving(struct road *road, const struct vm_device *device)
{
    return "the port stays; its link goes down at once";
}

static void link_describe(struct road *road, const struct vm_device *device,
                          struct device_info *info)
{
    g_free(info->bus);
    g_free(info->address);
    info->bus = g_strdup("link");
    info->address = g_strdup(port_of(road, device)->id);
}

static void link_slots(struct road *road, GPtrArray *rows)
{
    const struct link_road *l = link_of(road);

    for (unsigned i = 0; i < l->n; i++) {
        const struct vm_device *port = l->ports[i];
        struct slot_info *row = slot_info_new();
        row->name = g_strdup(port->id);
        row->road = DEVICE_ROAD_LINK;
        row->use = vm_device_taken(port) ? SLOT_USE_READY : SLOT_USE_BLIND;
        row->device = port->guest ? g_strdup(port->guest->id) : NULL;
        g_free(row->text);
        row->text = g_strdup(port->text);
        g_ptr_array_add(rows, row);
    }
}

static void port_running(struct road *road, struct vm_device *port, bool on)
{
    if (!port->guest)
        return;
    port->guest->taken = on;
    hotplug_signal(road->hotplug, port->guest, on ? SLOT_EV_TAKEN : SLOT_EV_LEFT, NULL);
}

static const struct road_ops link_ops = {
    .road = DEVICE_ROAD_LINK,
    .free = link_free,
    .fitness = link_fitness,
    .reserve = link_reserve,
    .drop = link_drop,
    .publish = link_publish,
    .ask = link_ask,
    .unask = link_unask,
    .withdraw = link_withdraw,
    .leaving = link_leaving,
    .describe = link_describe,
    .slots = link_slots,
    .carrier_running = port_running,
};

struct road *road_link_new(struct hotplug *h, struct devices *devices, unsigned n)
{
    struct link_road *l;

    if (!n)
        return NULL;
    l = g_new0(struct link_road, 1);
    *l = (struct link_road){.road = {&link_ops, h}, .n = n};
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *id = g_strdup_printf(LINK_ID "%u", i);
        l->ports[i] = devices_find(devices, id);
        l->ports[i]->carrier = &l->road;
    }
    return &l->road;
}
