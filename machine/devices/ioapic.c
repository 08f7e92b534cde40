/*
 * Registers are behind a window: an index at 0x00, the register at 0x10. Entry N, two registers
 * from 0x10 + 2N on, says what input N becomes: a message to local APICs. An edge is sent once and
 * is lost while the entry is masked. A level is sent, sets remote IRR, and is sent again at its end
 * while it lasts.
 */
#include "machine/devices/ioapic.h"

#include <pthread.h>

enum { SELECT = 0x00, WINDOW = 0x10, EOI = 0x40 };
enum { REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_ENTRIES = 0x10 };

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

#define ENTRY_VECTOR   UINT64_C(0xff)
#define ENTRY_DELIVERY UINT64_C(0x700)
#define ENTRY_LOGICAL  (UINT64_C(1) << 11)
#define ENTRY_BUSY     (UINT64_C(1) << 12) /* delivery status: never seen busy */
#define ENTRY_REMOTE   (UINT64_C(1) << 14)
#define ENTRY_LEVEL    (UINT64_C(1) << 15)
#define ENTRY_MASKED   (UINT64_C(1) << 16)
#define ENTRY_READ     (ENTRY_BUSY | ENTRY_REMOTE) /* the guest cannot write these */
#define ENTRY_BITS     (UINT64_C(0x1ffff) | UINT64_C(0xff) << 56)

#define MESSAGES UINT64_C(0xfee00000) /* messages' addresses, with the receiver from bit 12 on */

struct ioapic {
    struct device dev;
    pthread_mutex_t lock;
    uint32_t select, id;
    uint32_t lines; /* levels of the inputs */
    uint64_t entries[IOAPIC_PINS];

    uint64_t told[IOAPIC_PINS]; /* entry of which the owner has the route; 0: none */
    const struct ioapic_ops *ops;
    void *opaque;
};

/* --- messages: lock held ------------------------------------------------------------------------
 */

static uint64_t message_address(uint64_t entry)
{
    return MESSAGES | entry >> 56 << 12 | (entry & ENTRY_LOGICAL ? 1 << 2 : 0);
}

static uint32_t message_data(uint64_t entry)
{
    bool level = entry & ENTRY_LEVEL;

    return (uint32_t)(entry & (ENTRY_VECTOR | ENTRY_DELIVERY)) | (level ? 3u << 14 : 0);
}

/* A masked level keeps its route: what it sent before may be under way. */
static void tell_route(struct ioapic *io, unsigned pin)
{
    uint64_t entry = io->entries[pin];
    uint64_t route = entry & ENTRY_LEVEL ? entry & ~(ENTRY_READ | ENTRY_MASKED) : 0;

    if (route == io->told[pin])
        return;
    io->told[pin] = route;
    io->ops->route(io->opaque, pin, route != 0, message_address(route), message_data(route));
}

static void deliver(struct ioapic *io, unsigned pin)
{
    uint64_t *entry = &io->entries[pin];

    if (*entry & ENTRY_MASKED || (*entry & ENTRY_LEVEL && *entry & ENTRY_REMOTE))
        return;
    if (*entry & ENTRY_LEVEL)
        *entry |= ENTRY_REMOTE;
    io->ops->msi(io->opaque, message_address(*entry), message_data(*entry));
}

/* A level that lasts is sent where nothing holds it back any more. */
static void look_again(struct ioapic *io, unsigned pin)
{
    if (io->entries[pin] & ENTRY_LEVEL && io->lines >> pin & 1)
        deliver(io, pin);
}

static void end(struct ioapic *io, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *entry = &io->entries[pin];
        if (!(*entry & ENTRY_REMOTE) || (*entry & ENTRY_VECTOR) != vector)
            continue;
        *entry &= ~ENTRY_REMOTE;
        look_again(io, pin);
    }
}

void ioapic_set(struct ioapic *io, unsigned pin, bool level)
{
    uint32_t bit = UINT32_C(1) << pin;

    g_assert(pin < IOAPIC_PINS);
    pthread_mutex_lock(&io->lock);
    bool rises = level && !(io->lines & bit);
    io->lines = level ? io->lines | bit : io->lines & ~bit;
    if (rises)
        deliver(io, pin);
    pthread_mutex_unlock(&io->lock);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
    pthread_mutex_lock(&io->lock);
    end(io, vector);
    pthread_mutex_unlock(&io->lock);
}

/* --- registers
 * ------------------------------------------------------------------------------------ */

static uint32_t register_read(const struct ioapic *io)
{
    unsigned entry = (io->select - REG_ENTRIES) / 2;

    switch (io->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return io->id << 24;
    case REG_VERSION:
        return VERSION;
    default:
        if (io->select < REG_ENTRIES || entry >= IOAPIC_PINS)
            return 0;
        return (uint32_t)(io->entries[entry] >> (io->select & 1 ? 32 : 0));
    }
}

/* Turned to an edge, an entry forgets what it waited for: so guests clear remote IRR without an
 * EOI. */
static void entry_write(struct ioapic *io, unsigned pin, bool high, uint32_t value)
{
    uint64_t old = io->entries[pin];
    uint64_t mixed = high ? (uint64_t)value << 32 | (uint32_t)old : (old >> 32 << 32) | value;

    io->entries[pin] = (mixed & ENTRY_BITS & ~ENTRY_READ) | (old & ENTRY_READ);
    if (!(io->entries[pin] & ENTRY_LEVEL))
        io->entries[pin] &= ~ENTRY_REMOTE;
    tell_route(io, pin);
    look_again(io, pin);
}

static void register_write(struct ioapic *io, uint32_t value)
{
    unsigned entry = (io->select - REG_ENTRIES) / 2;

    if (io->select == REG_ID)
        io->id = value >> 24 & 0xf;
    else if (io->select >= REG_ENTRIES && entry < IOAPIC_PINS)
        entry_write(io, entry, io->select & 1, value);
}

static int ioapic_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct ioapic *io = opaque;

    pthread_mutex_lock(&io->lock);
    *value = offset == SELECT ? io->select : offset == WINDOW ? register_read(io) : 0;
    pthread_mutex_unlock(&io->lock);
    return 0;
}

static int ioapic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *io = opaque;

    pthread_mutex_lock(&io->lock);
    if (offset == SELECT)
        io->select = value & 0xff;
    else if (offset == WINDOW)
        register_write(io, (uint32_t)value);
    else if (offset == EOI)
        end(io, (uint8_t)value);
    pthread_mutex_unlock(&io->lock);
    return 0;
}

/* --- the device
 * ------------------------------------------------------------------------------------ */

/* The lines are their drivers', and stay. */
static void ioapic_reset(struct device *dev)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);

    pthread_mutex_lock(&io->lock);
    io->select = io->id = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        io->entries[pin] = ENTRY_MASKED;
        tell_route(io, pin);
    }
    pthread_mutex_unlock(&io->lock);
}

/* Nothing is sent: what was under way is in the local APICs' own state. */
static bool ioapic_restored(struct device *dev)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);
    bool good = io->select <= 0xff && io->id <= 0xf && io->lines < 1u << IOAPIC_PINS;

    pthread_mutex_lock(&io->lock);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        good &= !(io->entries[pin] & ~ENTRY_BITS);
        tell_route(io, pin);
    }
    pthread_mutex_unlock(&io->lock);
    return good;
}

static void ioapic_free(struct device *dev)
{
    struct ioapic *io = container_of(dev, struct ioapic, dev);

    pthread_mutex_destroy(&io->lock);
    g_free(io);
}

static const struct state_field ioapic_fields[] = {
    STATE_FIELD_U32(struct ioapic, select, 1),
    STATE_FIELD_U32(struct ioapic, id, 1),
    STATE_FIELD_U32(struct ioapic, lines, 1),
    STATE_FIELD_U64(struct ioapic, entries, 1),
};

static const struct state_desc ioapic_state = {
    .name = "ioapic",
    .version = 1,
    .size = sizeof(struct ioapic),
    .n_fields = G_N_ELEMENTS(ioapic_fields),
    .fields = ioapic_fields,
};

static const struct device_class ioapic_class = {
    .name = "ioapic",
    .size = IOAPIC_SIZE,
    .regs = {.read = ioapic_read, .write = ioapic_write, .sizes = 4},
    .state = &ioapic_state,
    .reset = ioapic_reset,
    .restored = ioapic_restored,
    .free = ioapic_free,
};

struct ioapic *ioapic_new(const struct ioapic_ops *ops, void *opaque)
{
    struct ioapic *io = g_new0(struct ioapic, 1);

    io->dev.class = &ioapic_class;
    pthread_mutex_init(&io->lock, NULL);
    io->ops = ops;
    io->opaque = opaque;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        io->entries[pin] = ENTRY_MASKED;
    return io;
}

struct device *ioapic_device(struct ioapic *io)
{
    return &io->dev;
}
