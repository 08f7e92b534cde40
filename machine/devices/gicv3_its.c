/*
 * The interrupt translation service (IHI 0069, 5.3 and 12.12). Device and collection tables, and
 * each device's own table of events, lie in guest memory, where the guest gave them room; so
 * translating is three reads there and there is nothing else to save. An entry that is not in RAM,
 * or says what cannot be, is none: messages and commands that need it do nothing.
 *
 *   device entry      63 valid, 52..48 bits of EventID - 1, 43..0 address of its table >> 8
 *   collection entry  63 valid, 15..0 number of the redistributor
 *   event entry       63 valid, 47..32 collection, 31..0 INTID
 *
 * Commands run when GITS_CWRITER is written, on that vCPU's thread. One that is wrong is skipped,
 * as the architecture allows. Locking: the ITS's own lock, then the controller's.
 */
#include "machine/devices/gicv3_priv.h"

enum {
    REG_CTLR = 0x0000,
    REG_IIDR = 0x0004,
    REG_TYPER = 0x0008,
    REG_CBASER = 0x0080,
    REG_CWRITER = 0x0088,
    REG_CREADR = 0x0090,
    REG_BASER = 0x0100, /* eight of them */
    REG_PIDR2 = 0xffe8,

    CTLR_ENABLED = 1 << 0,
    CTLR_QUIESCENT = 1u << 31,

    COMMAND_BYTES = 32,
    ENTRY_BYTES = 8, /* of all three tables */
    EVENT_BITS = 16,
    DEVICE_BITS = 16,

    CMD_MOVI = 0x01,
    CMD_INT = 0x03,
    CMD_CLEAR = 0x04,
    CMD_SYNC = 0x05,
    CMD_MAPD = 0x08,
    CMD_MAPC = 0x09,
    CMD_MAPTI = 0x0a,
    CMD_MAPI = 0x0b,
    CMD_INV = 0x0c,
    CMD_INVALL = 0x0d,
    CMD_MOVALL = 0x0e,
    CMD_DISCARD = 0x0f,
};

enum { TABLE_DEVICES, TABLE_COLLECTIONS, TABLES };

#define VALID       (UINT64_C(1) << 63)
#define CBASER_MASK UINT64_C(0xb8effffffffffcff) /* all but reserved bits */
#define CBASER_ADDR UINT64_C(0x000ffffffffff000)
#define OFFSET_MASK UINT64_C(0xfffe0)
#define BASER_MASK  UINT64_C(0xb8e0ffffffffffff) /* what is not fixed: no two-level tables */
#define BASER_64K   UINT64_C(0x200) /* pages, until the guest says another size */
#define BASER_ADDR  UINT64_C(0x0000fffffffff000)
#define ITT_ADDR    UINT64_C(0x000fffffffffff00)

struct gicv3_its {
    struct device dev;
    struct gicv3 *gic;
    pthread_mutex_t lock;
    uint32_t ctlr;
    uint64_t cbaser, cwriter, creadr;
    uint64_t baser[TABLES];
};

struct command {
    uint64_t word[4];
};

/* --- tables in guest memory ------------------------------------------------------------------- */

static bool entry_read(struct gicv3_its *its, gpa_t at, uint64_t *entry)
{
    if (mem_map_read(its->gic->mem, at, entry, sizeof(*entry)) < 0)
        return false;
    *entry = GUINT64_FROM_LE(*entry);
    return *entry & VALID;
}

static void entry_write(struct gicv3_its *its, gpa_t at, uint64_t entry)
{
    entry = GUINT64_TO_LE(entry);
    mem_map_write(its->gic->mem, at, &entry, sizeof(entry));
}

/* Where entry INDEX of a table is; false when the guest gave it no room for that. */
static bool table_at(const struct gicv3_its *its, unsigned table, uint32_t index, gpa_t *at)
{
    static const uint32_t page_bytes[] = {KIB(4), KIB(16), KIB(64), KIB(64)};
    uint64_t baser = its->baser[table];
    uint64_t bytes = ((baser & 0xff) + 1) * page_bytes[baser >> 8 & 3];

    *at = (baser & BASER_ADDR) + (uint64_t)index * ENTRY_BYTES;
    return baser & VALID && (uint64_t)index < bytes / ENTRY_BYTES;
}

/* Where the entry of an event is; false when device or event are not mapped. */
static bool event_at(struct gicv3_its *its, uint32_t device, uint32_t event, gpa_t *at)
{
    uint64_t entry;

    if (!table_at(its, TABLE_DEVICES, device, at) || !entry_read(its, *at, &entry) ||
        event >> ((entry >> 48 & 31) + 1))
        return false;
    *at = ((entry << 8) & ITT_ADDR) + (uint64_t)event * ENTRY_BYTES;
    return true;
}

/* The vCPU that collection ID goes to, or -1. */
static int collection_cpu(struct gicv3_its *its, uint32_t id)
{
    uint64_t entry;
    gpa_t at;

    if (!table_at(its, TABLE_COLLECTIONS, id, &at) || !entry_read(its, at, &entry) ||
        (entry & 0xffff) >= its->gic->cpus)
        return -1;
    return entry & 0xffff;
}

/* What an event is: its INTID and where it goes. */
struct target {
    gpa_t at;
    uint64_t entry;
    uint32_t intid;
    unsigned cpu;
};

static bool event_target(struct gicv3_its *its, uint32_t device, uint32_t event, struct target *t)
{
    if (!event_at(its, device, event, &t->at) || !entry_read(its, t->at, &t->entry))
        return false;
    int cpu = collection_cpu(its, t->entry >> 32 & 0xffff);
    t->intid = (uint32_t)t->entry;
    t->cpu = (unsigned)cpu;
    return cpu >= 0;
}

static void set_pending(struct gicv3_its *its, const struct target *t, bool pending)
{
    struct gicv3 *gic = its->gic;

    pthread_mutex_lock(&gic->lock);
    if (gic__lpi_set(gic, t->cpu, t->intid, pending))
        gic__update(gic, t->cpu);
    pthread_mutex_unlock(&gic->lock);
}

/* --- commands --------------------------------------------------------------------------------- */

static uint32_t cmd_device(const struct command *c)
{
    return (uint32_t)(c->word[0] >> 32);
}

static uint32_t cmd_event(const struct command *c)
{
    return (uint32_t)c->word[1];
}

static void do_mapd(struct gicv3_its *its, const struct command *c)
{
    uint64_t bits = MIN(c->word[1] & 31, (uint64_t)EVENT_BITS - 1);
    gpa_t at;

    if (table_at(its, TABLE_DEVICES, cmd_device(c), &at))
        entry_write(its, at,
                    c->word[2] & VALID ? VALID | bits << 48 | (c->word[2] & ITT_ADDR) >> 8 : 0);
}

static void do_mapc(struct gicv3_its *its, const struct command *c)
{
    uint64_t cpu = c->word[2] >> 16 & 0xffff;
    gpa_t at;

    if (table_at(its, TABLE_COLLECTIONS, c->word[2] & 0xffff, &at))
        entry_write(its, at, c->word[2] & VALID ? VALID | cpu : 0);
}

static void map_event(struct gicv3_its *its, const struct command *c, uint32_t intid)
{
    gpa_t at;

    if (intid >= GICV3_LPI_FIRST && intid < 1 << GICV3_ID_BITS &&
        event_at(its, cmd_device(c), cmd_event(c), &at))
        entry_write(its, at, VALID | (c->word[2] & 0xffff) << 32 | intid);
}

static void do_mapti(struct gicv3_its *its, const struct command *c)
{
    map_event(its, c, (uint32_t)(c->word[1] >> 32));
}

static void do_mapi(struct gicv3_its *its, const struct command *c)
{
    map_event(its, c, cmd_event(c));
}

static void do_int(struct gicv3_its *its, const struct command *c)
{
    struct target t;

    if (event_target(its, cmd_device(c), cmd_event(c), &t))
        set_pending(its, &t, true);
}

static void do_clear(struct gicv3_its *its, const struct command *c)
{
    struct target t;

    if (event_target(its, cmd_device(c), cmd_event(c), &t))
        set_pending(its, &t, false);
}

static void do_discard(struct gicv3_its *its, const struct command *c)
{
    gpa_t at;

    do_clear(its, c);
    if (event_at(its, cmd_device(c), cmd_event(c), &at))
        entry_write(its, at, 0);
}

/* What is pending goes with the event to its new collection. */
static void do_movi(struct gicv3_its *its, const struct command *c)
{
    struct gicv3 *gic = its->gic;
    struct target t;
    int to = collection_cpu(its, c->word[2] & 0xffff);

    if (to < 0 || !event_target(its, cmd_device(c), cmd_event(c), &t))
        return;
    entry_write(its, t.at, VALID | (c->word[2] & 0xffff) << 32 | t.intid);
    pthread_mutex_lock(&gic->lock);
    if (t.cpu != (unsigned)to && gic__lpi_set(gic, t.cpu, t.intid, false))
        gic__lpi_set(gic, (unsigned)to, t.intid, true);
    gic__update(gic, t.cpu);
    gic__update(gic, (unsigned)to);
    pthread_mutex_unlock(&gic->lock);
}

static void do_movall(struct gicv3_its *its, const struct command *c)
{
    struct gicv3 *gic = its->gic;
    uint64_t from = c->word[2] >> 16 & 0xffff, to = c->word[3] >> 16 & 0xffff;

    if (from >= gic->cpus || to >= gic->cpus)
        return;
    pthread_mutex_lock(&gic->lock);
    gic__lpi_move_all(gic, (unsigned)from, (unsigned)to);
    gic__update(gic, (unsigned)from);
    gic__update(gic, (unsigned)to);
    pthread_mutex_unlock(&gic->lock);
}

/* INTID 0: of every LPI, as a collection's are not listed anywhere. */
static void reload(struct gicv3_its *its, uint32_t intid)
{
    pthread_mutex_lock(&its->gic->lock);
    gic__lpi_reload(its->gic, intid);
    gic__update_all(its->gic);
    pthread_mutex_unlock(&its->gic->lock);
}

static void do_inv(struct gicv3_its *its, const struct command *c)
{
    struct target t;

    if (event_target(its, cmd_device(c), cmd_event(c), &t))
        reload(its, t.intid);
}

static void do_invall(struct gicv3_its *its, const struct command *c)
{
    reload(its, 0);
}

/* All before it has been done. */
static void do_sync(struct gicv3_its *its, const struct command *c)
{
}

static void run_command(struct gicv3_its *its, const struct command *c)
{
    static void (*const commands[])(struct gicv3_its *, const struct command *) = {
        [CMD_MOVI] = do_movi,     [CMD_INT] = do_int,       [CMD_CLEAR] = do_clear,
        [CMD_SYNC] = do_sync,     [CMD_MAPD] = do_mapd,     [CMD_MAPC] = do_mapc,
        [CMD_MAPTI] = do_mapti,   [CMD_MAPI] = do_mapi,     [CMD_INV] = do_inv,
        [CMD_INVALL] = do_invall, [CMD_MOVALL] = do_movall, [CMD_DISCARD] = do_discard,
    };
    uint8_t code = (uint8_t)c->word[0];

    if (code < G_N_ELEMENTS(commands) && commands[code])
        commands[code](its, c);
}

static uint64_t queue_bytes(const struct gicv3_its *its)
{
    return ((its->cbaser & 0xff) + 1) * KIB(4);
}

/* A queue of at most 1 MiB, each command of which is a few accesses of memory. */
static void run_commands(struct gicv3_its *its)
{
    struct command c;

    if (!(its->ctlr & CTLR_ENABLED) || !(its->cbaser & VALID) || its->cwriter >= queue_bytes(its))
        return;
    while (its->creadr != its->cwriter) {
        if (mem_map_read(its->gic->mem, (its->cbaser & CBASER_ADDR) + its->creadr, &c, sizeof(c)) <
            0)
            return;
        for (unsigned i = 0; i < G_N_ELEMENTS(c.word); i++)
            c.word[i] = GUINT64_FROM_LE(c.word[i]);
        run_command(its, &c);
        its->creadr = (its->creadr + COMMAND_BYTES) % queue_bytes(its);
    }
}

/* --- registers -------------------------------------------------------------------------------- */

static uint64_t typer(void)
{
    return 1 /* physical LPIs */ | (ENTRY_BYTES - 1) << 4 | (EVENT_BITS - 1) << 8 |
           (DEVICE_BITS - 1) << 13 | UINT64_C(15) << 32 /* bits of collections */ |
           UINT64_C(1) << 36 /* which are as many as said */;
}

/* What is fixed of GITS_BASERn: type and size of entries. */
static uint64_t baser_fixed(unsigned table)
{
    return (table == TABLE_DEVICES ? UINT64_C(1) : UINT64_C(4)) << 56 | (uint64_t)(ENTRY_BYTES - 1)
                                                                            << 48;
}

/* The register that OFFSET, a multiple of 8, is; NULL for those that are computed or not there. */
static uint64_t *wide_reg(struct gicv3_its *its, uint64_t offset)
{
    switch (offset) {
    case REG_CBASER:
        return &its->cbaser;
    case REG_CWRITER:
        return &its->cwriter;
    case REG_CREADR:
        return &its->creadr;
    case REG_BASER:
        return &its->baser[TABLE_DEVICES];
    case REG_BASER + 8:
        return &its->baser[TABLE_COLLECTIONS];
    default:
        return NULL;
    }
}

static uint32_t read_word(void *opaque, uint64_t offset)
{
    struct gicv3_its *its = opaque;
    const uint64_t *wide = wide_reg(its, offset & ~UINT64_C(7));

    if (wide)
        return (uint32_t)(*wide >> (offset & 4 ? 32 : 0));
    switch (offset) {
    case REG_CTLR:
        return its->ctlr | CTLR_QUIESCENT;
    case REG_IIDR:
        return GIC_IIDR;
    case REG_TYPER:
        return (uint32_t)typer();
    case REG_TYPER + 4:
        return (uint32_t)(typer() >> 32);
    case REG_PIDR2:
        return GIC_PIDR2;
    default:
        return 0;
    }
}

/* Places are fixed while the service is on. */
static void write_wide(struct gicv3_its *its, uint64_t offset, uint32_t value)
{
    uint64_t reg = offset & ~UINT64_C(7), *wide = wide_reg(its, reg);
    bool on = its->ctlr & CTLR_ENABLED;

    if (!wide || reg == REG_CREADR || (on && reg != REG_CWRITER))
        return;
    gic__set_half(wide, offset & 4, value);
    if (reg == REG_CWRITER) {
        its->cwriter &= OFFSET_MASK;
        run_commands(its);
    } else if (reg == REG_CBASER) {
        its->cbaser &= CBASER_MASK;
        its->creadr = 0;
    } else {
        unsigned table = reg == REG_BASER ? TABLE_DEVICES : TABLE_COLLECTIONS;
        *wide = (*wide & BASER_MASK) | baser_fixed(table);
    }
}

static void write_word(void *opaque, uint64_t offset, uint32_t value, uint32_t mask)
{
    struct gicv3_its *its = opaque;

    if (offset == REG_CTLR) {
        its->ctlr = value & CTLR_ENABLED;
        run_commands(its);
    } else {
        write_wide(its, offset, value);
    }
}

static int its_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct gicv3_its *its = container_of((struct device *)opaque, struct gicv3_its, dev);

    pthread_mutex_lock(&its->lock);
    *value = gic__read_words(read_word, its, offset, size);
    pthread_mutex_unlock(&its->lock);
    return 0;
}

/* What vCPUs write to GITS_TRANSLATER has no device's number: it is dropped. */
static int its_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct gicv3_its *its = container_of((struct device *)opaque, struct gicv3_its, dev);

    pthread_mutex_lock(&its->lock);
    gic__write_words(write_word, its, offset, size, value);
    pthread_mutex_unlock(&its->lock);
    return 0;
}

void gicv3_its_message(struct gicv3_its *its, uint32_t device, uint32_t event)
{
    struct target t;

    pthread_mutex_lock(&its->lock);
    if (its->ctlr & CTLR_ENABLED && event_target(its, device, event, &t))
        set_pending(its, &t, true);
    pthread_mutex_unlock(&its->lock);
}

/* --- life ------------------------------------------------------------------------------------- */

static void its_reset(struct device *dev)
{
    struct gicv3_its *its = container_of(dev, struct gicv3_its, dev);

    pthread_mutex_lock(&its->lock);
    its->ctlr = 0;
    its->cbaser = its->cwriter = its->creadr = 0;
    for (unsigned i = 0; i < TABLES; i++)
        its->baser[i] = baser_fixed(i) | BASER_64K;
    pthread_mutex_unlock(&its->lock);
}

static bool its_restored(struct device *dev)
{
    const struct gicv3_its *its = container_of(dev, struct gicv3_its, dev);

    return !(its->cwriter & ~OFFSET_MASK) && !(its->creadr & ~OFFSET_MASK) &&
           its->creadr < queue_bytes(its);
}

static void its_free(struct device *dev)
{
    struct gicv3_its *its = container_of(dev, struct gicv3_its, dev);

    pthread_mutex_destroy(&its->lock);
    g_free(its);
}

static const struct state_field its_fields[] = {
    STATE_FIELD_U32(struct gicv3_its, ctlr, 1),    STATE_FIELD_U64(struct gicv3_its, cbaser, 1),
    STATE_FIELD_U64(struct gicv3_its, cwriter, 1), STATE_FIELD_U64(struct gicv3_its, creadr, 1),
    STATE_FIELD_U64(struct gicv3_its, baser, 1),
};

static const struct state_desc its_state = {
    .name = "gicv3-its",
    .version = 1,
    .size = sizeof(struct gicv3_its),
    .n_fields = G_N_ELEMENTS(its_fields),
    .fields = its_fields,
};

static const struct device_class its_class = {
    .name = "gicv3-its",
    .size = GICV3_ITS_BYTES,
    .regs = {.read = its_read, .write = its_write, .sizes = 4 | 8},
    .state = &its_state,
    .reset = its_reset,
    .restored = its_restored,
    .free = its_free,
};

struct gicv3_its *gicv3_its_new(struct gicv3 *gic)
{
    struct gicv3_its *its = g_new0(struct gicv3_its, 1);

    its->dev.class = &its_class;
    pthread_mutex_init(&its->lock, NULL);
    its->gic = gic;
    return its;
}

struct device *gicv3_its_device(struct gicv3_its *its)
{
    return &its->dev;
}
