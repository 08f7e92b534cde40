/*
 * Root ports: the bridge to the bus behind (type 1 header: bus numbers, windows) and the hot-plug
 * controller of its slot (PCI Express capability). All of a port's state is in its configuration
 * space and below, under the bus lock.
 *
 * Where the specification leaves a choice, this port makes the one with which a stock Linux driver
 * (pciehp) neither waits nor complains; docs/architecture/pci.md tells which and why. Two
 * invariants: presence and link follow the card alone, not the slot's power, so a guest that
 * switches power gets no event from it; and Presence Detect Changed is never left behind alone
 * where nobody is told of it, as pciehp would take it for a surprise removal at the next press of
 * the button.
 */
#include "machine/bus/pci_port.h"
#include "machine/bus/pci_priv.h"

#define PCIE_CAP_BYTES 0x3c /* version 2 of the capability */
#define PORT_MSIX_BAR  0

#define EVENTS (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC)
#define CONTROL_WRITABLE                                                                           \
    (PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_AIC |        \
     PCI_EXP_SLTCTL_PIC | PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_DLLSCE)
#define SLOT_CAPABILITIES                                                                          \
    (PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP | PCI_EXP_SLTCAP_PIP |           \
     PCI_EXP_SLTCAP_HPS | PCI_EXP_SLTCAP_HPC | PCI_EXP_SLTCAP_NCCS)
#define SLOT_WATTS 25u

/* 16 GT/s, 16 lanes. */
#define LINK_SPEED  4u
#define LINK_SPEEDS 0x1eu /* 2.5 to 16 GT/s */
#define LINK_WIDTH  (16u << 4)

struct pci_port {
    struct pci_host *host;
    struct pci_function *fn;
    const struct pci_port_ops *ops;
    void *opaque;
    unsigned cap;     /* of the PCI Express capability in FN's configuration space */
    uint16_t control; /* Slot Control as it was last looked at */
    bool raised;      /* an enabled event waits for the guest */

    uint8_t configured, held; /* held: the guest is not told of the card yet */
    uint8_t leaving;          /* the guest has yet to switch off for a card that was pulled out */
    uint32_t power_offs;
};

static const struct state_field port_fields[] = {
    STATE_FIELD_U8(struct pci_port, configured, 1),
    STATE_FIELD_U8(struct pci_port, held, 1),
    STATE_FIELD_U8(struct pci_port, leaving, 1),
    STATE_FIELD_U32(struct pci_port, power_offs, 1),
};
static const struct state_desc port_state = {"pci-port", 1, sizeof(struct pci_port),
                                             G_N_ELEMENTS(port_fields), port_fields};

static uint8_t *reg(const struct pci_port *port, unsigned offset)
{
    return port->fn->config + port->cap + offset;
}

static struct pci_function *card_of(const struct pci_port *port)
{
    return port->host->functions[port->fn->place + PCI_DEVFNS];
}

/* Whether the guest has numbered the bus behind, so that it knows the port. */
static bool enumerated(const struct pci_port *port)
{
    return port->fn->config[PCI_SECONDARY_BUS] != 0;
}

static void tell(struct pci_port *port)
{
    if (port->ops && port->ops->changed)
        port->ops->changed(port->opaque);
}

/* --- the bus behind --------------------------------------------------------------------------- */

static bool powered(const struct pci_port *port)
{
    return !(pci__get16(reg(port, PCI_EXP_SLTCTL)) & PCI_EXP_SLTCTL_PCC);
}

struct pci_function *pci__port_route(struct pci_host *host, unsigned bus)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        struct pci_function *fn = host->functions[slot * PCI_FUNCTIONS];
        if (!fn || !fn->port || fn->config[PCI_SECONDARY_BUS] != bus ||
            fn->config[PCI_SUBORDINATE_BUS] < bus)
            continue;
        bool reset = fn->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET;
        return powered(fn->port) && !reset ? card_of(fn->port) : NULL;
    }
    return NULL;
}

static bool inside(gpa_t gpa, uint64_t size, uint64_t base, uint64_t limit)
{
    return gpa >= base && gpa <= limit && size - 1 <= limit - gpa;
}

bool pci__port_forwards(const struct pci_host *host, const struct pci_function *fn, gpa_t gpa,
                        uint64_t size)
{
    if (fn->place < PCI_DEVFNS)
        return true;
    const uint8_t *c = host->functions[fn->place - PCI_DEVFNS]->config;
    uint64_t base = (uint32_t)(pci__get16(c + PCI_MEMORY_BASE) & 0xfff0) << 16;
    uint64_t limit = (uint32_t)(pci__get16(c + PCI_MEMORY_LIMIT) & 0xfff0) << 16 | 0xfffff;
    uint64_t pre_base = (uint32_t)(pci__get16(c + PCI_PREF_MEMORY_BASE) & 0xfff0) << 16 |
                        (uint64_t)pci__get32(c + PCI_PREF_BASE_UPPER32) << 32;
    uint64_t pre_limit = (uint32_t)(pci__get16(c + PCI_PREF_MEMORY_LIMIT) & 0xfff0) << 16 |
                         0xfffff | (uint64_t)pci__get32(c + PCI_PREF_LIMIT_UPPER32) << 32;
    return (c[PCI_COMMAND] & PCI_COMMAND_MEMORY) &&
           (inside(gpa, size, base, limit) || inside(gpa, size, pre_base, pre_limit));
}

void pci__port_card_command(struct pci_function *fn)
{
    struct pci_port *port = fn->host->functions[fn->place - PCI_DEVFNS]->port;

    if (port->configured || !(fn->config[PCI_COMMAND] & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)))
        return;
    port->configured = true;
    port->leaving = false;
    tell(port);
}

/* The card sends messages with the number of the bus it is on. */
static void set_requester(struct pci_port *port)
{
    struct pci_function *card = card_of(port);
    uint16_t bus = port->fn->config[PCI_SECONDARY_BUS];

    if (card)
        __atomic_store_n(&card->requester, (uint16_t)(bus << 8), __ATOMIC_RELAXED);
}

/* The slot lost its power or the bus is held in reset: the card forgets what it was told. */
static void reset_card(struct pci_port *port)
{
    struct pci_function *card = card_of(port);

    if (!card)
        return;
    pci__reset_config(port->host, card);
    pci__remap(port->host);
}

/* --- events ----------------------------------------------------------------------------------- */

/* Events that may interrupt, of those that have happened. */
static uint16_t pending(const struct pci_port *port)
{
    uint16_t control = pci__get16(reg(port, PCI_EXP_SLTCTL));
    uint16_t enabled = control & (PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE);

    G_STATIC_ASSERT(PCI_EXP_SLTCTL_ABPE == PCI_EXP_SLTSTA_ABP);
    G_STATIC_ASSERT(PCI_EXP_SLTCTL_PDCE == PCI_EXP_SLTSTA_PDC);
    if (control & PCI_EXP_SLTCTL_DLLSCE)
        enabled |= PCI_EXP_SLTSTA_DLLSC;
    return control & PCI_EXP_SLTCTL_HPIE ? pci__get16(reg(port, PCI_EXP_SLTSTA)) & enabled : 0;
}

/*
 * Makes the interrupt so (6.7.3.4): a line follows the events; a message goes out when the first
 * appears, and also for one that joins others (FRESH), for drivers that look only once.
 */
static void update_interrupt(struct pci_port *port, uint16_t fresh)
{
    uint16_t now = pending(port);
    bool message = now && (!port->raised || (now & fresh));
    bool msix = pci_function_msix_enabled(port->fn);

    port->raised = now != 0;
    pci_function_set_intx(port->fn, now && !msix);
    if (msix && message)
        pci_function_msix_notify(port->fn, 0);
}

static void add_events(struct pci_port *port, uint16_t events)
{
    uint8_t *status = reg(port, PCI_EXP_SLTSTA);

    pci__set16(status, pci__get16(status) | events);
    update_interrupt(port, events);
}

static void set_bits(uint8_t *at, uint16_t bits, bool on)
{
    pci__set16(at, on ? pci__get16(at) | bits : pci__get16(at) & (uint16_t)~bits);
}

/* Presence and link as the card is. A guest that does not know the port yet finds the LED right. */
static void show_card(struct pci_port *port)
{
    bool here = card_of(port) != NULL;
    uint8_t *control = reg(port, PCI_EXP_SLTCTL);

    set_bits(reg(port, PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDS, here);
    set_bits(reg(port, PCI_EXP_LNKSTA), PCI_EXP_LNKSTA_DLLLA, here);
    if (!enumerated(port)) {
        set_bits(control, PCI_EXP_SLTCTL_PIC, false);
        set_bits(control, here ? PCI_EXP_SLTCTL_PWR_IND_ON : PCI_EXP_SLTCTL_PWR_IND_OFF, true);
    }
    port->control = pci__get16(control);
}

/* --- what the guest writes -------------------------------------------------------------------- */

/* A reserved value of an indicator leaves it as it was. */
static uint16_t keep_led(uint16_t now, uint16_t before, uint16_t led)
{
    return now & led ? now : now | (before & led);
}

static void control_written(struct pci_port *port)
{
    uint16_t before = port->control, now = pci__get16(reg(port, PCI_EXP_SLTCTL));

    now = keep_led(now, before, PCI_EXP_SLTCTL_PIC);
    now = keep_led(now, before, PCI_EXP_SLTCTL_AIC);
    pci__set16(reg(port, PCI_EXP_SLTCTL), now);
    port->control = now;
    if (now & ~before & PCI_EXP_SLTCTL_PCC) {
        port->power_offs += !port->leaving;
        port->leaving = false;
        reset_card(port);
    }
    bool off = now & PCI_EXP_SLTCTL_PCC;
    bool busy = off && (now & PCI_EXP_SLTCTL_HPIE) &&
                (now & PCI_EXP_SLTCTL_PIC) != PCI_EXP_SLTCTL_PWR_IND_OFF;
    if (port->held && !busy) {
        port->held = false;
        if (off || !(now & PCI_EXP_SLTCTL_HPIE))
            add_events(port, PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
    }
    if (now != before)
        tell(port);
}

static bool touches(unsigned offset, unsigned size, unsigned at, unsigned length)
{
    return offset < at + length && at < offset + size;
}

static void config_written(void *opaque, unsigned offset, unsigned size)
{
    struct pci_port *port = opaque;

    if (touches(offset, size, PCI_PRIMARY_BUS, 3))
        set_requester(port);
    if (touches(offset, size, PCI_PREF_BASE_UPPER32, 8))
        pci__remap(port->host); /* the others are where BARs are, which the caller looks at */
    if (touches(offset, size, PCI_BRIDGE_CONTROL, 1) &&
        (port->fn->config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET))
        reset_card(port);
    if (touches(offset, size, port->cap + PCI_EXP_SLTCTL, 2))
        control_written(port);
    update_interrupt(port, 0);
}

/* --- reset and saved state -------------------------------------------------------------------- */

static void port_reset(void *opaque)
{
    struct pci_port *port = opaque;

    pthread_mutex_lock(&port->host->lock);
    port->raised = false;
    port->held = port->configured = port->leaving = 0;
    set_requester(port);
    show_card(port);
    tell(port);
    pthread_mutex_unlock(&port->host->lock);
}

static void port_save(void *opaque, GByteArray *out)
{
    state_save(&port_state, opaque, out);
}

static bool port_load(void *opaque, const uint8_t *data, size_t length, size_t *used, GError **err)
{
    struct pci_port *port = opaque;

    if (!state_load(&port_state, port, data, length, used, err))
        return false;
    pthread_mutex_lock(&port->host->lock);
    port->configured = port->configured != 0;
    port->held = port->held && card_of(port);
    port->leaving = port->leaving != 0;
    set_requester(port);
    show_card(port);
    port->raised = pending(port) != 0;
    tell(port);
    pthread_mutex_unlock(&port->host->lock);
    return true;
}

static const struct pci_function_ops port_ops = {
    .config_written = config_written, .reset = port_reset, .save = port_save, .load = port_load};

/* --- making one ------------------------------------------------------------------------------- */

static void init_bridge(struct pci_function *fn)
{
    uint8_t *c = fn->config, *w = fn->writable;

    c[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
    memset(w + PCI_PRIMARY_BUS, 0xff, 3);
    pci__set16(w + PCI_MEMORY_BASE, 0xfff0);
    pci__set16(w + PCI_MEMORY_LIMIT, 0xfff0);
    c[PCI_PREF_MEMORY_BASE] = c[PCI_PREF_MEMORY_LIMIT] = PCI_PREF_RANGE_TYPE_64;
    pci__set16(w + PCI_PREF_MEMORY_BASE, 0xfff0);
    pci__set16(w + PCI_PREF_MEMORY_LIMIT, 0xfff0);
    memset(w + PCI_PREF_BASE_UPPER32, 0xff, 8);
    w[PCI_BRIDGE_CONTROL] = PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_BUS_RESET;
}

/* The PCI Express capability; offsets are of its registers. */
static void init_express(struct pci_port *port, unsigned number)
{
    uint8_t c[PCIE_CAP_BYTES] = {0}, w[PCIE_CAP_BYTES] = {0};

    pci__set16(c + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT);
    pci__set32(c + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER);
    pci__set16(c + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_READRQ_512B);
    pci__set16(w + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
                                       PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE |
                                       PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ);
    pci__set32(c + PCI_EXP_LNKCAP, LINK_SPEED | LINK_WIDTH | PCI_EXP_LNKCAP_DLLLARC | 1u << 22 |
                                       (number & 0xff) << 24); /* bit 22: 7.5.3.6, always set */
    w[PCI_EXP_LNKCTL] = PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES;
    pci__set16(c + PCI_EXP_LNKSTA, (uint16_t)(LINK_SPEED | LINK_WIDTH | PCI_EXP_LNKSTA_SLC));
    pci__set32(c + PCI_EXP_SLTCAP, SLOT_CAPABILITIES | SLOT_WATTS << 7 | number << 19);
    pci__set16(c + PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_ATTN_IND_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    pci__set16(w + PCI_EXP_SLTCTL, CONTROL_WRITABLE);
    w[PCI_EXP_RTCTL] =
        PCI_EXP_RTCTL_SECEE | PCI_EXP_RTCTL_SENFEE | PCI_EXP_RTCTL_SEFEE | PCI_EXP_RTCTL_PMEIE;
    pci__set32(c + PCI_EXP_LNKCAP2, LINK_SPEEDS);
    c[PCI_EXP_LNKCTL2] = LINK_SPEED;
    w[PCI_EXP_LNKCTL2] = PCI_EXP_LNKCTL2_TLS;
    port->cap = pci_function_add_capability(port->fn, PCI_CAP_ID_EXP, c + 2, w + 2, sizeof(c) - 2);
    pci__set16(port->fn->clears + port->cap + PCI_EXP_SLTSTA, EVENTS);
}

struct pci_port *pci_port_new(struct pci_host *host, unsigned slot, unsigned number,
                              const struct pci_port_ops *ops, void *opaque, GError **err)
{
    static const struct pci_id id = {
        /* the generic root port that guests know */
        .vendor = 0x1b36,
        .device = 0x000c,
        .class_code = 0x060400,
        .intx = true,
    };
    struct pci_port *port = g_new0(struct pci_port, 1);
    g_autofree char *name = g_strdup_printf("pci-port-%u", number);

    g_assert(number >= 1 && number <= PCI_PORT_NUMBER_MAX);
    port->host = host;
    port->ops = ops;
    port->opaque = opaque;
    port->fn = pci_function_new(name, &id, &port_ops, port);
    port->fn->port = port;
    init_bridge(port->fn);
    init_express(port, number);
    pci_function_add_msix(port->fn, PORT_MSIX_BAR, 1);
    if (!pci_host_add(host, port->fn, slot, 0, err)) {
        pci_function_free(port->fn);
        g_free(port);
        return NULL;
    }
    port->control = pci__get16(reg(port, PCI_EXP_SLTCTL));
    return port;
}

void pci_port_free(struct pci_port *port)
{
    if (!port)
        return;
    g_assert(!card_of(port));
    pci_host_remove(port->fn);
    pci_function_free(port->fn);
    g_free(port);
}

/* --- what the slot's manager does ------------------------------------------------------------- */

bool pci_port_insert(struct pci_port *port, struct pci_function *fn, GError **err)
{
    struct pci_function *card = card_of(port);

    if (card)
        return vmd_fail(err, VMD_ERROR_EXISTS, "the slot of '%s' is taken by '%s'", port->fn->name,
                        card->name);
    pci__attach(port->host, fn, port->fn->place + PCI_DEVFNS);
    pthread_mutex_lock(&port->host->lock);
    port->configured = false;
    port->power_offs = 0;
    set_requester(port);
    show_card(port);
    /* Linux forgets what happens between its power-off and the LED's, a second later. */
    port->held = enumerated(port) && !powered(port) && (port->control & PCI_EXP_SLTCTL_HPIE) &&
                 (port->control & PCI_EXP_SLTCTL_PIC) != PCI_EXP_SLTCTL_PWR_IND_OFF;
    if (enumerated(port) && !port->held)
        add_events(port, PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
    pthread_mutex_unlock(&port->host->lock);
    return true;
}

/* What the guest is told of a card that has gone. */
static uint16_t withdrawal_events(const struct pci_port *port)
{
    if (!enumerated(port) || port->held)
        return 0;
    if (powered(port) || !port->power_offs)
        return PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC;
    return port->control & PCI_EXP_SLTCTL_PDCE ? PCI_EXP_SLTSTA_PDC : 0;
}

void pci_port_withdraw(struct pci_port *port)
{
    struct pci_function *card = card_of(port);

    if (!card)
        return;
    pci_host_remove(card);
    pthread_mutex_lock(&port->host->lock);
    uint16_t events = withdrawal_events(port);
    show_card(port);
    port->held = false;
    port->leaving |= events && powered(port) && (port->control & PCI_EXP_SLTCTL_HPIE);
    if (events)
        add_events(port, events);
    pthread_mutex_unlock(&port->host->lock);
}

void pci_port_press(struct pci_port *port)
{
    pthread_mutex_lock(&port->host->lock);
    if (enumerated(port))
        add_events(port, PCI_EXP_SLTSTA_ABP);
    pthread_mutex_unlock(&port->host->lock);
}

static enum pci_led led(unsigned bits)
{
    return bits == 1 ? PCI_LED_ON : bits == 2 ? PCI_LED_BLINK : PCI_LED_OFF;
}

void pci_port_status(struct pci_port *port, struct pci_port_status *out)
{
    pthread_mutex_lock(&port->host->lock);
    *out = (struct pci_port_status){
        .driven = port->control & PCI_EXP_SLTCTL_HPIE,
        .occupied = card_of(port) != NULL,
        .powered = powered(port),
        .configured = port->configured,
        .power_led = led((port->control & PCI_EXP_SLTCTL_PIC) >> 8),
        .attention_led = led((port->control & PCI_EXP_SLTCTL_AIC) >> 6),
        .bus = port->fn->config[PCI_SECONDARY_BUS],
        .power_offs = port->power_offs,
    };
    pthread_mutex_unlock(&port->host->lock);
}

struct pci_function *pci_port_card(struct pci_port *port)
{
    return card_of(port);
}
