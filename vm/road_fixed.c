/* The devices of the configuration: no hardware tells the guest that one of them is to leave, so only the
 * agent in the guest can let go of one. */
#include "vm/road.h"

static void fixed_free(struct road *road)
{
    g_free(road);
}

static void fixed_drop(struct road *road, struct vm_device *device)
{
}

static char *address_of(const struct vm_device *device)
{
    return g_strdup_printf("0000:00:%02x.0", device->place);
}

static void fixed_ask(struct road *road, struct vm_device *device)
{
    g_autofree char *address = address_of(device);
    const char *const words[] = {"pci-remove", address, NULL};

    if (!hotplug_ask_agent(road->hotplug, device, words, SLOT_EV_LET_GO))
        hotplug_signal(road->hotplug, device, SLOT_EV_REFUSED,
                       "it was there when the guest started: only the agent in the guest could let go of "
                       "it, or it is removed by force");
}

static bool fixed_unask(struct road *road, struct vm_device *device)
{
    return true;
}

static void fixed_withdraw(struct road *road, struct vm_device *device)
{
    devices_unplug(device);
}

static const char *fixed_leaving(struct road *road, const struct vm_device *device)
{
    return hotplug_agent_can(road->hotplug, "pci-remove")
               ? "it was there from the start; the agent in the guest can let go of it"
               : "it was there from the start; no agent in the guest could let go of it";
}

static void fixed_describe(struct road *road, const struct vm_device *device,
                           struct device_info *info)
{
    g_free(info->bus);
    g_free(info->address);
    info->bus = g_strdup("pci");
    info->address = g_strdup_printf("00:%02x.0", device->place);
}

static const struct road_ops fixed_ops = {
    .road = DEVICE_ROAD_FIXED,
    .free = fixed_free,
    .drop = fixed_drop,
    .ask = fixed_ask,
    .unask = fixed_unask,
    .withdraw = fixed_withdraw,
    .leaving = fixed_leaving,
    .describe = fixed_describe,
};

struct road *road_fixed_new(struct hotplug *h)
{
    struct road *road = g_new0(struct road, 1);

    *road = (struct road){&fixed_ops, h};
    return road;
}
