/* See the header. */
#include "machine/devices/pci_plug.h"

#include <pthread.h>

enum { UNKNOWN, NATIVE, ACPI }; /* what _OSC said */
enum { EJECT_REQUEST = 3, EJECTION = 0x103, CHECK = 1, INSERTION = 0x200 };
enum { IN_PROGRESS = 0x80, EJECTING = 0x83, EJECTING_TOO = 0x84 };

struct pci_plug {
    struct device dev;
    pthread_mutex_t lock;
    uint32_t look, ask, cards, let_go, refused, unsettled; /* bits of slots */
    uint32_t who;                                          /* UNKNOWN, NATIVE or ACPI */
    uint32_t slot, event;                                  /* of an answer */
    uint32_t status[LIMIT_HOTPLUG_PORTS];
    uint64_t since_ns[LIMIT_HOTPLUG_PORTS]; /* guest time from which it is unsettled */

    uint32_t there;                      /* bits of slots that there are */
    uint8_t places[LIMIT_HOTPLUG_PORTS]; /* of their ports, on the root bus */
    const struct pci_plug_ops *ops;
    void *opaque;
    pci_plug_heard_fn heard;
    void *heard_opaque;
};

G_STATIC_ASSERT(LIMIT_HOTPLUG_PORTS <= 32);

static uint32_t bit_of(unsigned number)
{
    g_assert(number >= 1 && number <= LIMIT_HOTPLUG_PORTS);
    return UINT32_C(1) << (number - 1);
}

static bool is_unsettled(const struct pci_plug *p, unsigned number)
{
    return p->unsettled & bit_of(number) && p->ops->now_ns(p->opaque) - p->since_ns[number - 1] <
                                                PCI_PLUG_SETTLE_MS * UINT64_C(1000000);
}

/* --- registers -------------------------------------------------------------------------------- */

static int plug_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pci_plug *p = opaque;

    pthread_mutex_lock(&p->lock);
    *value = offset == PCI_PLUG_LOOK    ? p->look
             : offset == PCI_PLUG_ASK   ? p->ask
             : offset == PCI_PLUG_CARDS ? p->cards
                                        : 0;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

/* The guest's answer. Of a card that is there, one to a check that went well says nothing: its
 * driver does; and one to a check from before the guest looked is about what was there then. */
static bool take_answer(struct pci_plug *p, uint32_t status)
{
    bool ejection = p->event == EJECT_REQUEST || p->event == EJECTION;
    bool insertion = p->event == CHECK || p->event == INSERTION;
    uint32_t bit = p->slot >= 1 && p->slot <= LIMIT_HOTPLUG_PORTS ? bit_of(p->slot) : 0;

    if (insertion && status != IN_PROGRESS && !(p->look & bit) && p->unsettled & bit) {
        p->unsettled &= ~bit;
        return true;
    }
    if (!(p->cards & bit) || !status || !(ejection || insertion) || (insertion && p->look & bit) ||
        (ejection && (status == EJECTING || status == EJECTING_TOO)) ||
        (insertion && status == IN_PROGRESS))
        return false;
    p->refused |= bit;
    p->status[p->slot - 1] = status;
    return true;
}

static bool write_register(struct pci_plug *p, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case PCI_PLUG_LOOK:
        p->look &= ~value;
        return false;
    case PCI_PLUG_ASK:
        p->ask &= ~value;
        return false;
    case PCI_PLUG_CARDS:
        p->let_go |= value & p->cards;
        p->cards &= ~value;
        return true;
    case PCI_PLUG_GRANTED:
        p->who = value & PCI_PLUG_NATIVE ? NATIVE : ACPI;
        return true;
    case PCI_PLUG_SLOT:
        p->slot = value;
        return false;
    case PCI_PLUG_EVENT:
        p->event = value;
        return false;
    case PCI_PLUG_STATUS:
        return take_answer(p, value);
    default:
        return false;
    }
}

static int plug_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_plug *p = opaque;

    pthread_mutex_lock(&p->lock);
    bool news = write_register(p, offset, (uint32_t)value);
    pthread_mutex_unlock(&p->lock);
    if (news && p->heard)
        p->heard(p->heard_opaque);
    return 0;
}

/* --- what the machine does -------------------------------------------------------------------- */

void pci_plug_add(struct pci_plug *p, unsigned number, unsigned slot)
{
    p->there |= bit_of(number);
    p->places[number - 1] = (uint8_t)slot;
}

unsigned pci_plug_next(const struct pci_plug *p, unsigned number, unsigned *slot)
{
    while (++number <= LIMIT_HOTPLUG_PORTS) {
        if (!(p->there & bit_of(number)))
            continue;
        *slot = p->places[number - 1];
        return number;
    }
    return 0;
}

void pci_plug_listen(struct pci_plug *p, pci_plug_heard_fn heard, void *opaque)
{
    p->heard = heard;
    p->heard_opaque = opaque;
}

void pci_plug_offer(struct pci_plug *p, unsigned number)
{
    uint32_t bit = bit_of(number);

    pthread_mutex_lock(&p->lock);
    bool tell = p->who == ACPI;
    p->cards |= bit;
    p->look |= tell ? bit : 0;
    p->ask &= ~bit;
    p->let_go &= ~bit;
    p->refused &= ~bit;
    p->unsettled &= ~bit;
    pthread_mutex_unlock(&p->lock);
    if (tell)
        p->ops->changed(p->opaque);
}

void pci_plug_ask_back(struct pci_plug *p, unsigned number, bool ask)
{
    uint32_t bit = bit_of(number);

    pthread_mutex_lock(&p->lock);
    ask &= (p->cards & bit) != 0;
    p->ask = ask ? p->ask | bit : p->ask & ~bit;
    p->refused &= ~bit;
    pthread_mutex_unlock(&p->lock);
    if (ask)
        p->ops->changed(p->opaque);
}

void pci_plug_withdraw(struct pci_plug *p, unsigned number)
{
    uint32_t bit = bit_of(number);

    pthread_mutex_lock(&p->lock);
    bool tell = p->who == ACPI && p->cards & bit;
    bool known = tell && !(p->look & bit); /* else it has not looked for the card yet */
    p->cards &= ~bit;
    p->ask &= ~bit;
    p->let_go &= ~bit;
    p->look = tell ? p->look | bit : p->look & ~bit;
    p->unsettled = known ? p->unsettled | bit : p->unsettled & ~bit;
    p->since_ns[number - 1] = known ? p->ops->now_ns(p->opaque) : 0;
    pthread_mutex_unlock(&p->lock);
    if (tell)
        p->ops->changed(p->opaque);
}

void pci_plug_look_again(struct pci_plug *p, unsigned number)
{
    uint32_t bit = bit_of(number);

    pthread_mutex_lock(&p->lock);
    bool tell = p->who == ACPI && is_unsettled(p, number);
    p->look |= tell ? bit : 0;
    pthread_mutex_unlock(&p->lock);
    if (tell)
        p->ops->changed(p->opaque);
}

void pci_plug_look(struct pci_plug *p, unsigned number, struct pci_plug_state *out)
{
    uint32_t bit = bit_of(number);

    pthread_mutex_lock(&p->lock);
    *out = (struct pci_plug_state){
        .acpi = p->who == ACPI,
        .let_go = p->let_go & bit,
        .unsettled = is_unsettled(p, number),
        .refused = p->refused & bit,
        .status = p->refused & bit ? p->status[number - 1] : 0,
    };
    pthread_mutex_unlock(&p->lock);
}

/* --- the device ------------------------------------------------------------------------------- */

/* Cards stay: the next kernel finds them. */
static void plug_reset(struct device *dev)
{
    struct pci_plug *p = container_of(dev, struct pci_plug, dev);

    pthread_mutex_lock(&p->lock);
    p->look = p->ask = p->let_go = p->refused = p->unsettled = p->slot = p->event = 0;
    p->who = UNKNOWN;
    pthread_mutex_unlock(&p->lock);
}

static bool plug_restored(struct device *dev)
{
    const struct pci_plug *p = container_of(dev, struct pci_plug, dev);

    return !((p->look | p->ask | p->cards | p->let_go | p->refused | p->unsettled) & ~p->there) &&
           p->who <= ACPI;
}

static void plug_free(struct device *dev)
{
    struct pci_plug *p = container_of(dev, struct pci_plug, dev);

    pthread_mutex_destroy(&p->lock);
    g_free(p);
}

static const struct state_field plug_fields[] = {
    STATE_FIELD_U32(struct pci_plug, look, 1),     STATE_FIELD_U32(struct pci_plug, ask, 1),
    STATE_FIELD_U32(struct pci_plug, cards, 1),    STATE_FIELD_U32(struct pci_plug, let_go, 1),
    STATE_FIELD_U32(struct pci_plug, refused, 1),  STATE_FIELD_U32(struct pci_plug, who, 1),
    STATE_FIELD_U32(struct pci_plug, slot, 1),     STATE_FIELD_U32(struct pci_plug, event, 1),
    STATE_FIELD_U32(struct pci_plug, status, 1),   STATE_FIELD_U32(struct pci_plug, unsettled, 1),
    STATE_FIELD_U64(struct pci_plug, since_ns, 2),
};

static const struct state_desc plug_state = {
    .name = "pci-plug",
    .version = 2,
    .size = sizeof(struct pci_plug),
    .n_fields = G_N_ELEMENTS(plug_fields),
    .fields = plug_fields,
};

static const struct device_class plug_class = {
    .name = "pci-plug",
    .size = PCI_PLUG_SIZE,
    .regs = {.read = plug_read, .write = plug_write, .sizes = 4},
    .state = &plug_state,
    .reset = plug_reset,
    .restored = plug_restored,
    .free = plug_free,
};

struct pci_plug *pci_plug_new(const struct pci_plug_ops *ops, void *opaque)
{
    struct pci_plug *p = g_new0(struct pci_plug, 1);

    p->dev.class = &plug_class;
    pthread_mutex_init(&p->lock, NULL);
    p->ops = ops;
    p->opaque = opaque;
    return p;
}

struct device *pci_plug_device(struct pci_plug *p)
{
    return &p->dev;
}
