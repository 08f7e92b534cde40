/*
 * Slots of PCI Express. Three roads share them: of a guest whose driver watches the slots (pciehp),
 * of one that has no such driver, where the agent has the bus searched, and of one that leaves
 * slots to ACPI: it is told by the machine's plug (machine/devices/pci_plug.h), and lets go there.
 *
 * A removal goes, where the driver watches: by the agent, which has the driver let go at once;
 * else, of a disk, by the attention button, after which the driver waits five seconds for a second
 * thought; else by taking the card out at once, as the slot says may happen at any time: what has
 * no data to write loses nothing by it. In each case the guest has let go when its driver says so
 * at the slot: it switches the slot, or its power indicator, off.
 */
#include "vm/road.h"

#include "machine/bus/pci_port.h"
#include "machine/devices/pci_plug.h"

#include <errno.h>

G_STATIC_ASSERT((int)PCI_PLUG_SETTLE_MS == (int)SLOT_GUEST_MS);

enum asked {
    ASKED_NOTHING,
    ASKED_SOON, /* once the guest is done with taking the card: until then it hears nothing */
    ASKED_AGENT,
    ASKED_BUTTON,
    ASKED_TORN,
};

struct port {
    struct ports *ports;
    struct pci_port *port;
    unsigned number;          /* from 1 */
    unsigned slot;            /* the port's, on the root bus */
    bool reserved;
    struct vm_device *device; /* that was put into it; NULL */
    struct pci_port_status seen;
    enum asked asked;
    bool stale;    /* the guest, where nobody watches the slot, thinks that the last card is in it
                      still */
    bool cleaning; /* the agent is asked to have it forgotten */
};

struct ports {
    struct road pcie, rescan, acpi;
    struct pci_plug *plug; /* NULL: there is no road acpi */
    uv_async_t *wake; /* freed by its close */
    unsigned users;   /* roads that are not freed */
    unsigned last;    /* port that was given a card last */
    unsigned n;
    struct port port[LIMIT_HOTPLUG_PORTS];
};

static struct ports *ports_of(struct road *road)
{
    switch (road->ops->road) {
    case DEVICE_ROAD_PCIE:
        return container_of(road, struct ports, pcie);
    case DEVICE_ROAD_RESCAN:
        return container_of(road, struct ports, rescan);
    default:
        return container_of(road, struct ports, acpi);
    }
}

static struct port *port_of(struct road *road, const struct vm_device *device)
{
    return &ports_of(road)->port[device->place];
}

/* --- what the guest does ---------------------------------------------------------------------- */

/* Any thread. */
static void port_changed(void *opaque)
{
    struct port *p = opaque;

    uv_async_send(p->ports->wake);
}

static const struct pci_port_ops port_ops = {.changed = port_changed};

static bool switched_off(const struct pci_port_status *before, const struct pci_port_status *now)
{
    return now->power_offs > before->power_offs ||
           (before->power_led != PCI_LED_OFF && now->power_led == PCI_LED_OFF);
}

static void ask_now(struct port *p);

/* What is used by programs has no driver that would say that it was taken: it is when the guest's
 * driver of the slot is done with it. */
static bool is_found(const struct port *p)
{
    return p->device->gpu && !p->device->taken && p->asked == ASKED_NOTHING &&
           p->seen.driven && p->seen.powered && p->seen.power_led == PCI_LED_ON;
}

static void let_go(struct road *road, struct vm_device *device)
{
    if (device->gpu)
        device->taken = false;
    hotplug_signal(road->hotplug, device, SLOT_EV_LET_GO, NULL);
}

/* A card that waited until somebody takes it goes the way that the guest has, once that is known.
 */
static void choose_road(struct port *p, const struct pci_plug_state *state)
{
    if (state->acpi && !p->seen.driven && p->device->road == DEVICE_ROAD_PCIE)
        p->device->road = DEVICE_ROAD_ACPI;
    else if (p->seen.driven && p->device->road == DEVICE_ROAD_ACPI)
        p->device->road = DEVICE_ROAD_PCIE;
}

/* What the guest said by ACPI. */
static void look_at_plug(struct port *p)
{
    struct pci_plug_state state;

    pci_plug_look(p->ports->plug, p->number, &state);
    choose_road(p, &state);
    if (p->device->road != DEVICE_ROAD_ACPI)
        return;
    if (state.let_go) {
        hotplug_signal(p->ports->acpi.hotplug, p->device, SLOT_EV_LET_GO, NULL);
    } else if (state.refused) {
        g_autofree char *why = g_strdup_printf(
            "the guest's kernel answers by ACPI that it will not (0x%x)", state.status);
        pci_plug_ask_back(p->ports->plug, p->number, false);
        hotplug_signal(p->ports->acpi.hotplug, p->device, SLOT_EV_REFUSED, why);
    }
}

static void look(struct port *p)
{
    const struct pci_port_status before = p->seen;
    struct road *road;

    pci_port_status(p->port, &p->seen);
    if (!p->device || !p->device->shown || p->device->pull) /* one being pulled is asked no more */
        return;
    if (p->ports->plug)
        look_at_plug(p);
    if (!p->device || p->device->road == DEVICE_ROAD_ACPI)
        return;
    road = p->device->road == DEVICE_ROAD_PCIE ? &p->ports->pcie : &p->ports->rescan;
    if (p->seen.attention_led == PCI_LED_ON && before.attention_led != PCI_LED_ON &&
        p->asked == ASKED_NOTHING)
        hotplug_signal(road->hotplug, p->device, SLOT_EV_REFUSED,
                       "the guest's driver of the slot could not use the card");
    else if (switched_off(&before, &p->seen) || (p->asked == ASKED_TORN && !p->seen.powered))
        let_go(road, p->device);
    else if (p->asked == ASKED_BUTTON && before.power_led == PCI_LED_BLINK &&
             p->seen.power_led == PCI_LED_ON)
        hotplug_signal(road->hotplug, p->device, SLOT_EV_REFUSED,
                       "the guest's driver of the slot goes on with the card");
    else if (p->asked == ASKED_SOON && p->seen.power_led == PCI_LED_ON)
        ask_now(p);
    else if (road == &p->ports->pcie && is_found(p))
        hotplug_found(road->hotplug, p->device);
}

static void on_wake(uv_async_t *wake)
{
    struct ports *ports = wake->data;

    for (unsigned i = 0; i < ports->n; i++)
        look(&ports->port[i]);
}

static bool watched(const struct port *p)
{
    struct pci_port_status status;

    pci_port_status(p->port, &status);
    return status.driven;
}

/* --- cards that the guest does not know to be gone -------------------------------------------- */

static void clean_answered(void *opaque, const struct agent_reply *reply)
{
    struct port *p = opaque;

    p->cleaning = false;
    p->stale = reply->error != 0 && reply->error != ENOENT;
}

/* Has the agent remove what is left in the guest of a card that nobody saw go; until then the slot
 * takes no other, which a search of the bus would not find. */
static void clean(struct port *p)
{
    struct hotplug *h = p->ports->rescan.hotplug;
    struct pci_port_status status;

    if (!p->stale || p->cleaning || !hotplug_agent_can(h, "pci-remove"))
        return;
    pci_port_status(p->port, &status);
    g_autofree char *address = g_strdup_printf("0000:%02x:00.0", status.bus);
    const char *const words[] = {"pci-remove", address, NULL};
    p->cleaning = agent_ask(hotplug_agent(h), words, SLOT_GUEST_MS, clean_answered, p) >= 0;
}

/* --- coming ----------------------------------------------------------------------------------- */

/* The guest's driver still holds a card that was pulled out, and takes no other before it starts anew: it
 * switches an empty slot off. */
static bool is_stuck(const struct port *p)
{
    struct pci_port_status status;

    pci_port_status(p->port, &status);
    return status.driven && status.powered && !status.occupied;
}

/* The guest leaves the slot to ACPI. *UNSETTLED: it has yet to look that the last card is gone. */
static bool is_by_acpi(const struct port *p, bool *unsettled)
{
    struct pci_plug_state state = {0};

    if (p->ports->plug && !watched(p))
        pci_plug_look(p->ports->plug, p->number, &state);
    *unsettled = state.acpi && state.unsettled;
    return state.acpi;
}

static bool is_unsettled(const struct port *p)
{
    bool unsettled;

    is_by_acpi(p, &unsettled);
    return unsettled;
}

static bool is_free(const struct port *p)
{
    return !p->reserved && !p->stale && !is_stuck(p) && !is_unsettled(p);
}

/* A free port, one that the guest's driver watches where there is one; in turn, since such a driver looks at
 * no new card for a second after it let go of the last. */
static struct port *free_port(struct ports *ports)
{
    struct port *found = NULL;

    for (unsigned i = 1; i <= ports->n; i++) {
        struct port *p = &ports->port[(ports->last + i) % ports->n];
        if (is_free(p) && (!found || (watched(p) && !watched(found))))
            found = p;
    }
    return found;
}

/*
 * The same for a guest whose agent has the bus searched. What needs a port's windows made anew has
 * the port removed before (forget_port()), which must be the last one: the search numbers buses by
 * the order in which ports were found, and would mistake one port's bus for another's (Linux 6.12,
 * pci_scan_bridge_extend() where all buses are assigned).
 */
static struct port *free_to_search(struct ports *ports, const struct device_spec *spec)
{
    struct port *last = ports->n ? &ports->port[ports->n - 1] : NULL;

    return !spec->gpu ? free_port(ports) : last && is_free(last) ? last : NULL;
}

static const char taken_text[] = "all slots are taken";
static const char last_taken_text[] =
    "the last slot, the one whose windows a search makes large enough, is taken";
static const char last_stale_text[] =
    "the last slot, the one whose windows a search makes large enough, takes no card before the "
    "agent has had the guest forget the one that was taken by force";

/* What a guest watches of its slots is settled before its agent runs: where that is there, a slot
 * that nobody watches would take a card that nobody sees. */
static bool is_blind(const struct road *road, const struct port *p)
{
    return !watched(p) && hotplug_agent_can(road->hotplug, "pci-rescan");
}

static int pcie_fitness(struct road *road, const struct device_spec *spec, const char **why)
{
    const struct port *p = free_port(ports_of(road));

    *why = !p                  ? taken_text
           : is_blind(road, p) ? "nothing in the guest watches the slots"
                               : "the guest's driver watches the slots";
    if (!p)
        return ports_of(road)->n ? ROAD_FULL : ROAD_UNFIT;
    if (is_blind(road, p))
        return ROAD_UNFIT;
    /* Nobody watches: perhaps the guest is still to start. */
    if (!watched(p))
        return 1;
    /* A disk leaves faster by another road than by the button. */
    return spec->kind == HOT_KIND_DISK && !hotplug_agent_can(road->hotplug, "slot-power") ? 3 : 5;
}

static int rescan_fitness(struct road *road, const struct device_spec *spec, const char **why)
{
    struct ports *ports = ports_of(road);

    for (unsigned i = 0; i < ports->n; i++)
        clean(&ports->port[i]);
    const struct port *p = free_to_search(ports, spec);
    bool stale = spec->gpu && ports->n && ports->port[ports->n - 1].stale;
    bool searches = hotplug_agent_can(road->hotplug, "pci-rescan");

    *why = p && watched(p) ? "the guest's driver watches the slots: it needs no search"
           : !searches     ? "no agent in the guest could have the bus searched"
           : stale         ? last_stale_text
           : spec->gpu     ? last_taken_text
                           : taken_text;
    if (!p)
        return ports->n && searches ? ROAD_FULL : ROAD_UNFIT;
    return !watched(p) && searches ? 2 : ROAD_UNFIT;
}

/* A guest that takes no cards at all says the same by _OSC: one whose agent can search is better
 * served so. */
static int acpi_fitness(struct road *road, const struct device_spec *spec, const char **why)
{
    struct ports *ports = ports_of(road);

    for (unsigned i = 0; i < ports->n; i++)
        pci_plug_look_again(ports->plug, ports->port[i].number);
    const struct port *p = free_port(ports);
    struct pci_plug_state state = {0};

    if (p)
        pci_plug_look(ports->plug, p->number, &state);
    *why = !p            ? taken_text
           : watched(p)  ? "the guest's driver watches the slots: it needs no telling by ACPI"
           : !state.acpi ? "the guest has not said that it leaves slots to ACPI"
                         : "the guest leaves slots to ACPI, which tells it of cards";
    if (!p)
        return ports->n ? ROAD_FULL : ROAD_UNFIT;
    if (watched(p) || !state.acpi)
        return ROAD_UNFIT;
    return hotplug_agent_can(road->hotplug, "pci-rescan") ? 1 : 2;
}

static bool port_reserve(struct road *road, const struct device_spec *spec,
                         struct vm_device *device)
{
    struct ports *ports = ports_of(road);
    struct port *p = road == &ports->rescan ? free_to_search(ports, spec) : free_port(ports);

    if (!p)
        return false;
    device->place = ports->last = (unsigned)(p - ports->port);
    p->asked = ASKED_NOTHING;
    p->reserved = true;
    return true;
}

static void port_drop(struct road *road, struct vm_device *device)
{
    struct port *p = port_of(road, device);

    p->device = NULL;
    p->reserved = false;
}

static bool port_publish(struct road *road, struct vm_device *device, GError **err)
{
    struct port *p = port_of(road, device);

    if (!pci_port_insert(p->port, vm_device_function(device), err))
        return false;
    pci_port_status(p->port, &p->seen);
    p->device = device;
    if (p->ports->plug)
        pci_plug_offer(p->ports->plug, p->number);
    return true;
}

/* Has the agent search the bus for DEVICE. Where it went away meanwhile the guest never takes it,
 * and that is told. A card that was let go of, and is there still, is found again. */
static void search(struct ports *ports, struct vm_device *device)
{
    static const char *const words[] = {"pci-rescan", NULL};

    for (unsigned i = 0; i < ports->n; i++) {
        if (ports->port[i].device)
            ports->port[i].device->removed = false;
    }
    hotplug_ask_agent(ports->rescan.hotplug, device, words,
                      device->gpu ? SLOT_EV_TAKEN : SLOT_EVENTS);
}

static void forgotten(void *opaque, const struct agent_reply *reply)
{
    const struct port *p = opaque;

    if (p->device && p->device->gpu)
        search(p->ports, p->device);
}

/*
 * Has the agent remove the port, which is empty to its guest and the last one, before the bus is
 * searched. A search leaves a port's windows as they are, which are too small for a large BAR; of a
 * port that is found anew they are made for what is behind it (Linux 6.12, pbus_size_mem()).
 */
static bool forget_port(struct port *p)
{
    g_autofree char *address = g_strdup_printf("0000:00:%02x.0", p->slot);
    const char *const words[] = {"pci-remove", address, NULL};
    struct agent *agent = hotplug_agent(p->ports->rescan.hotplug);

    return agent && agent_ask(agent, words, SLOT_GUEST_MS, forgotten, p) >= 0;
}

static bool rescan_publish(struct road *road, struct vm_device *device, GError **err)
{
    if (!port_publish(road, device, err))
        return false;
    if (!device->gpu || !forget_port(port_of(road, device)))
        search(ports_of(road), device);
    return true;
}

/* --- leaving ---------------------------------------------------------------------------------- */

/* Whether the guest has nothing of the card. */
static bool is_unused(const struct port *p, const struct vm_device *device)
{
    struct pci_port_status status;

    pci_port_status(p->port, &status);
    return !status.configured && !vm_device_taken(device);
}

/* What it has, of the guest's, goes with it: a function of the host may be a disk. */
static bool holds_data(const struct vm_device *device)
{
    return device->disk != NULL || device->host != NULL;
}

static void ask_now(struct port *p)
{
    g_autofree char *number = g_strdup_printf("%u", p->number);
    const char *const words[] = {"slot-power", number, "off", NULL};

    if (hotplug_ask_agent(p->ports->pcie.hotplug, p->device, words, SLOT_EVENTS)) {
        p->asked = ASKED_AGENT;
    } else if (holds_data(p->device)) {
        p->asked = ASKED_BUTTON;
        pci_port_press(p->port);
    } else {
        p->asked = ASKED_TORN;
        if (p->device->gpu)
            gpu_going(p->device->gpu);
        pci_port_withdraw(p->port);
    }
}

static void pcie_ask(struct road *road, struct vm_device *device)
{
    struct port *p = port_of(road, device);

    pci_port_status(p->port, &p->seen);
    if (is_unused(p, device) || !p->seen.powered)
        hotplug_signal(road->hotplug, device, SLOT_EV_LET_GO, NULL);
    else if (!p->seen.driven)
        hotplug_signal(road->hotplug, device, SLOT_EV_REFUSED,
                       "nothing in the guest watches the slot any more");
    else if (p->seen.power_led == PCI_LED_ON)
        ask_now(p);
    else
        p->asked = ASKED_SOON;
}

static bool pcie_unask(struct road *road, struct vm_device *device)
{
    struct port *p = port_of(road, device);
    enum asked asked = p->asked;

    p->asked = ASKED_NOTHING;
    if (asked == ASKED_BUTTON)
        pci_port_press(p->port); /* the second takes the first back */
    return asked != ASKED_TORN;
}

static void rescan_ask(struct road *road, struct vm_device *device)
{
    struct port *p = port_of(road, device);
    struct pci_port_status status;

    pci_port_status(p->port, &status);
    g_autofree char *address = g_strdup_printf("0000:%02x:00.0", status.bus);
    const char *const words[] = {"pci-remove", address, NULL};
    if (is_unused(p, device))
        hotplug_signal(road->hotplug, device, SLOT_EV_LET_GO, NULL);
    else if (!hotplug_ask_agent(road->hotplug, device, words, SLOT_EV_LET_GO))
        hotplug_signal(road->hotplug, device, SLOT_EV_REFUSED,
                       "the agent in the guest, which could let go of it, is not there");
}

static bool rescan_unask(struct road *road, struct vm_device *device)
{
    return true;
}

static void acpi_ask(struct road *road, struct vm_device *device)
{
    struct port *p = port_of(road, device);
    struct pci_plug_state state;

    pci_plug_look(ports_of(road)->plug, p->number, &state);
    if (state.let_go || is_unused(p, device)) {
        hotplug_signal(road->hotplug, device, SLOT_EV_LET_GO, NULL);
        return;
    }
    pci_plug_ask_back(ports_of(road)->plug, p->number, true);
}

static bool acpi_unask(struct road *road, struct vm_device *device)
{
    struct port *p = port_of(road, device);

    pci_plug_ask_back(ports_of(road)->plug, p->number, false);
    return true;
}

static void port_withdraw(struct road *road, struct vm_device *device)
{
    struct port *p = port_of(road, device);

    if (p->asked != ASKED_TORN)
        pci_port_withdraw(p->port);
    if (p->ports->plug)
        pci_plug_withdraw(p->ports->plug, p->number);
    p->device = NULL;
    p->stale = !watched(p) && device->road != DEVICE_ROAD_ACPI && !device->removed &&
               (device->road == DEVICE_ROAD_RESCAN || vm_device_taken(device));
    if (device->hotplug || device->leaver) /* else the machine ends */
        clean(p);
}

/* --- what can be asked ------------------------------------------------------------------------ */

static const char *pcie_leaving(struct road *road, const struct vm_device *device)
{
    struct port *p = port_of(road, device);

    if (!watched(p))
        return "nothing in the guest watches its slot yet";
    if (hotplug_agent_can(road->hotplug, "slot-power"))
        return "the guest watches its slot; with the agent's help it leaves at once";
    return holds_data(device) ? "the guest watches its slot, and waits five seconds before it lets go"
                              : "the guest watches its slot, and lets go at once";
}

static const char *pcie_late(struct road *road, const struct vm_device *device)
{
    return watched(port_of(road, device)) ? NULL
                                          : "nothing in it watches the slot (pciehp), and no agent "
                                            "there could have the bus searched";
}

static const char *rescan_leaving(struct road *road, const struct vm_device *device)
{
    return "the agent in the guest had the bus searched, and can let go of it";
}

static const char *acpi_leaving(struct road *road, const struct vm_device *device)
{
    return "the guest is asked by ACPI, and lets go at once";
}

static void port_describe(struct road *road, const struct vm_device *device,
                          struct device_info *info)
{
    struct pci_port_status status;

    pci_port_status(port_of(road, device)->port, &status);
    g_free(info->bus);
    g_free(info->address);
    info->bus = g_strdup("pci");
    info->address = g_strdup_printf("%02x:00.0", status.bus);
}

/* Why a slot without a device takes none; "" where it does. Static. */
static const char *slot_text(const struct port *p)
{
    if (p->stale)
        return "the guest knows its last card still: the agent has to have that removed";
    if (!p->device && is_unsettled(p))
        return "the guest, asked by ACPI, has not looked yet that its last card is gone";
    return !p->device && is_stuck(p)
               ? "the guest's driver holds on to its last card until it is reset"
               : "";
}

static void pcie_slots(struct road *road, GPtrArray *rows)
{
    struct ports *ports = ports_of(road);

    for (unsigned i = 0; i < ports->n; i++) {
        const struct port *p = &ports->port[i];
        struct slot_info *row = slot_info_new();
        row->name = g_strdup_printf("pcie%u", p->number);
        bool unsettled, acpi = is_by_acpi(p, &unsettled);
        row->road = p->device ? p->device->road : acpi ? DEVICE_ROAD_ACPI : DEVICE_ROAD_PCIE;
        row->use = watched(p) || acpi ? SLOT_USE_READY : SLOT_USE_BLIND;
        row->device = p->device ? g_strdup(p->device->id) : NULL;
        g_free(row->text);
        row->text = g_strdup(slot_text(p));
        g_ptr_array_add(rows, row);
    }
}

static void pcie_reset(struct road *road)
{
    struct ports *ports = ports_of(road);

    for (unsigned i = 0; i < ports->n; i++) {
        struct port *p = &ports->port[i];
        pci_port_status(p->port, &p->seen);
        p->stale = false;
        if (p->device && p->device->gpu)
            p->device->taken = false;
    }
}

/* --- the roads -------------------------------------------------------------------------------- */

static void wake_closed(uv_handle_t *handle)
{
    g_free(handle);
}

/* Any thread. */
static void plug_heard(void *opaque)
{
    struct ports *ports = opaque;

    uv_async_send(ports->wake);
}

static void ports_free(struct ports *ports)
{
    if (ports->plug)
        pci_plug_listen(ports->plug, NULL, NULL);
    for (unsigned i = 0; i < ports->n; i++)
        pci_port_free(ports->port[i].port);
    uv_close((uv_handle_t *)ports->wake, wake_closed);
    g_free(ports);
}

static void port_road_free(struct road *road)
{
    struct ports *ports = ports_of(road);

    if (--ports->users == 0)
        ports_free(ports);
}

static const struct road_ops pcie_ops = {
    .road = DEVICE_ROAD_PCIE,
    .frontend = true,
    .free = port_road_free,
    .fitness = pcie_fitness,
    .reserve = port_reserve,
    .drop = port_drop,
    .publish = port_publish,
    .ask = pcie_ask,
    .unask = pcie_unask,
    .withdraw = port_withdraw,
    .leaving = pcie_leaving,
    .late = pcie_late,
    .describe = port_describe,
    .slots = pcie_slots,
    .reset = pcie_reset,
};

static const struct road_ops acpi_ops = {
    .road = DEVICE_ROAD_ACPI,
    .frontend = true,
    .free = port_road_free,
    .fitness = acpi_fitness,
    .reserve = port_reserve,
    .drop = port_drop,
    .publish = port_publish,
    .ask = acpi_ask,
    .unask = acpi_unask,
    .withdraw = port_withdraw,
    .leaving = acpi_leaving,
    .describe = port_describe,
};

static const struct road_ops rescan_ops = {
    .road = DEVICE_ROAD_RESCAN,
    .frontend = true,
    .free = port_road_free,
    .fitness = rescan_fitness,
    .reserve = port_reserve,
    .drop = port_drop,
    .publish = rescan_publish,
    .ask = rescan_ask,
    .unask = rescan_unask,
    .withdraw = port_withdraw,
    .leaving = rescan_leaving,
    .describe = port_describe,
};

static void give_roads(struct ports *ports, struct road **roads)
{
    roads[DEVICE_ROAD_PCIE] = &ports->pcie;
    roads[DEVICE_ROAD_RESCAN] = &ports->rescan;
    if (!ports->plug)
        return;
    roads[DEVICE_ROAD_ACPI] = &ports->acpi;
    ports->users++;
    pci_plug_listen(ports->plug, plug_heard, ports);
}

bool road_pcie_new(struct hotplug *h, uv_loop_t *loop, struct pci_host *pci, struct pci_plug *plug,
                   unsigned n, struct road **roads, GError **err)
{
    struct ports *ports = g_new0(struct ports, 1);

    ports->pcie = (struct road){&pcie_ops, h};
    ports->rescan = (struct road){&rescan_ops, h};
    ports->acpi = (struct road){&acpi_ops, h};
    ports->plug = plug;
    ports->users = 2;
    ports->wake = g_new0(uv_async_t, 1);
    uv_async_init(loop, ports->wake, on_wake);
    ports->wake->data = ports;
    for (; ports->n < n; ports->n++) {
        struct port *p = &ports->port[ports->n];
        int slot = pci_host_free_slot(pci);
        *p = (struct port){
            .ports = ports, .number = ports->n + 1, .slot = slot < 0 ? 0 : (unsigned)slot};
        if (slot < 0)
            vmd_fail(err, VMD_ERROR_LIMIT, "no PCI slot is free for %u slots of PCI Express", n);
        else
            p->port = pci_port_new(pci, (unsigned)slot, p->number, &port_ops, p, err);
        if (!p->port) {
            ports_free(ports);
            return false;
        }
        if (plug)
            pci_plug_add(plug, p->number, (unsigned)slot);
    }
    give_roads(ports, roads);
    return true;
}
