/*
 * What interrupts are for whom, and the controller's life; see gicv3.h. A vCPU's candidates are its
 * own bank, the shared interrupts routed to it and its LPIs; the one of highest priority (the
 * lowest number) and then of lowest INTID goes first. The choice is made anew whenever something
 * changes: few interrupts are pending at a time.
 */
#include "machine/devices/gicv3_priv.h"

/* What of BANK may be given to a vCPU that takes the groups in GROUPS. */
static uint32_t ready(const struct gic_bank *bank, unsigned groups)
{
    uint32_t mask = (groups & GICD_ENABLE_GRP1 ? bank->group : 0) |
                    (groups & GICD_ENABLE_GRP0 ? ~bank->group : 0);

    return gic_pending(bank) & bank->enable & ~bank->active & mask;
}

static void consider(struct gic_best *best, const struct gic_bank *bank, unsigned n, uint32_t first)
{
    if (bank->priority[n] < best->priority)
        *best = (struct gic_best){first + n, bank->priority[n], bank->group >> n & 1};
}

struct gic_best gic__best(const struct gicv3 *gic, unsigned cpu)
{
    const struct gic_cpu *c = &gic->cpu[cpu];
    struct gic_best best = {.intid = GIC_SPURIOUS, .priority = GIC_IDLE};
    unsigned groups = gic->ctlr & (c->igrpen[0] | c->igrpen[1] << 1);

    for (uint32_t bits = ready(&c->bank, groups); bits; bits &= bits - 1)
        consider(&best, &c->bank, (unsigned)__builtin_ctz(bits), 0);
    for (unsigned b = 0; b < GIC_SPI_BANKS; b++) {
        for (uint32_t bits = ready(&gic->spi[b], groups); bits; bits &= bits - 1) {
            unsigned n = (unsigned)__builtin_ctz(bits);
            if (gic->target[b * GIC_BANK + n] == cpu)
                consider(&best, &gic->spi[b], n, GICV3_SPI_FIRST + b * GIC_BANK);
        }
    }
    if (groups & GICD_ENABLE_GRP1)
        gic__lpi_best(gic, c, &best);
    return best;
}

uint8_t gic__group_mask(const struct gic_cpu *c, bool group1)
{
    bool common = c->control & 1; /* CBPR: group 1 uses BPR0 too */
    unsigned bpr = group1 && !common ? c->bpr[1] - 1 : c->bpr[0];

    return (uint8_t)(UINT32_MAX << (bpr + 1));
}

static bool preempts(const struct gic_cpu *c, const struct gic_best *best)
{
    uint32_t busy = c->active[0] | c->active[1];

    if (best->intid == GIC_SPURIOUS || best->priority >= c->pmr)
        return false;
    return !busy || (best->priority & gic__group_mask(c, best->group1)) < __builtin_ctz(busy) << 3;
}

static void drive(struct gicv3 *gic, unsigned cpu, enum gicv3_input input, bool level)
{
    struct gic_cpu *c = &gic->cpu[cpu];

    if (c->driven[input] != level) {
        c->driven[input] = level;
        gic->set_irq(gic->opaque, cpu, input, level);
    }
}

void gic__update(struct gicv3 *gic, unsigned cpu)
{
    struct gic_best best = gic__best(gic, cpu);
    bool on = preempts(&gic->cpu[cpu], &best);

    drive(gic, cpu, GICV3_IRQ, on && best.group1);
    drive(gic, cpu, GICV3_FIQ, on && !best.group1);
}

void gic__update_all(struct gicv3 *gic)
{
    for (unsigned i = 0; i < gic->cpus; i++)
        gic__update(gic, i);
}

int gic__cpu_by_affinity(const struct gicv3 *gic, uint32_t affinity)
{
    for (unsigned i = 0; i < gic->cpus; i++) {
        if (gicv3_affinity(i) == affinity)
            return (int)i;
    }
    return -1;
}

void gic__route(struct gicv3 *gic, unsigned spi)
{
    uint64_t r = gic->route[spi];
    int cpu = gic__cpu_by_affinity(gic, (uint32_t)(r >> 32 & 0xff) << 24 | (r & 0xffffff));

    gic->target[spi] = cpu < 0 ? GIC_IDLE : (uint8_t)cpu;
}

/* --- lines ------------------------------------------------------------------------------------ */

static void set_level(struct gic_bank *bank, unsigned n, bool level)
{
    uint32_t bit = UINT32_C(1) << n;

    if (level && !(bank->level & bit) && bank->edge & bit)
        bank->latch |= bit;
    bank->level = level ? bank->level | bit : bank->level & ~bit;
}

static void line_set(void *opaque, unsigned intid, bool level)
{
    struct gicv3 *gic = opaque;
    unsigned spi = intid - GICV3_SPI_FIRST;

    pthread_mutex_lock(&gic->lock);
    set_level(&gic->spi[spi / GIC_BANK], spi % GIC_BANK, level);
    if (gic->target[spi] != GIC_IDLE)
        gic__update(gic, gic->target[spi]);
    pthread_mutex_unlock(&gic->lock);
}

struct irq_line gicv3_line(struct gicv3 *gic, unsigned intid)
{
    g_assert(intid >= GICV3_SPI_FIRST && intid < GICV3_SPI_FIRST + GICV3_SPIS);
    return (struct irq_line){.set = line_set, .opaque = gic, .number = intid};
}

void gicv3_set_ppi(struct gicv3 *gic, unsigned cpu, unsigned intid, bool level)
{
    g_assert(cpu < gic->cpus && intid >= GICV3_PPI_FIRST && intid < GICV3_SPI_FIRST);
    pthread_mutex_lock(&gic->lock);
    set_level(&gic->cpu[cpu].bank, intid, level);
    gic__update(gic, cpu);
    pthread_mutex_unlock(&gic->lock);
}

/* --- life ------------------------------------------------------------------------------------- */

/* Lines keep their level: they belong to the devices, which are reset on their own. */
static void reset_bank(struct gic_bank *bank, uint32_t edge)
{
    *bank = (struct gic_bank){.level = bank->level, .edge = edge};
}

static void reset_cpu(struct gic_cpu *c)
{
    reset_bank(&c->bank, 0xffff); /* software-generated ones are edges */
    c->ctlr = c->pmr = c->control = 0;
    c->waker = 6; /* asleep, and its interface too */
    c->propbaser = c->pendbaser = 0;
    memset(c->lpi_pending, 0, sizeof(c->lpi_pending));
    memset(c->lpi_summary, 0, sizeof(c->lpi_summary));
    c->bpr[0] = 2;
    c->bpr[1] = 3;
    for (unsigned g = 0; g < 2; g++)
        c->igrpen[g] = c->active[g] = 0;
}

static void gic_reset(struct device *dev)
{
    struct gicv3 *gic = container_of(dev, struct gicv3, dev);

    pthread_mutex_lock(&gic->lock);
    gic->ctlr = 0;
    for (unsigned b = 0; b < GIC_SPI_BANKS; b++)
        reset_bank(&gic->spi[b], 0);
    memset(gic->lpi_config, 0, sizeof(gic->lpi_config));
    for (unsigned i = 0; i < GICV3_SPIS; i++) {
        gic->route[i] = 0;
        gic__route(gic, i);
    }
    for (unsigned i = 0; i < gic->cpus; i++)
        reset_cpu(&gic->cpu[i]);
    gic__update_all(gic);
    pthread_mutex_unlock(&gic->lock);
}

static bool cpu_in_range(const struct gic_cpu *c)
{
    return c->pmr <= GIC_IDLE && c->bpr[0] >= 2 && c->bpr[0] <= 7 && c->bpr[1] >= 3 &&
           c->bpr[1] <= 7 && c->igrpen[0] <= 1 && c->igrpen[1] <= 1;
}

/* vCPUs' inputs are driven anew, whatever they were. */
static bool gic_restored(struct device *dev)
{
    struct gicv3 *gic = container_of(dev, struct gicv3, dev);
    bool ok = true;

    pthread_mutex_lock(&gic->lock);
    for (unsigned i = 0; i < gic->cpus; i++)
        ok &= cpu_in_range(&gic->cpu[i]);
    for (unsigned i = 0; ok && i < GICV3_SPIS; i++)
        gic__route(gic, i);
    for (unsigned i = 0; ok && i < gic->cpus; i++) {
        gic__lpi_restored(&gic->cpu[i]);
        for (unsigned input = GICV3_IRQ; input <= GICV3_FIQ; input++) {
            gic->cpu[i].driven[input] = false;
            gic->set_irq(gic->opaque, i, input, false);
        }
        gic__update(gic, i);
    }
    pthread_mutex_unlock(&gic->lock);
    return ok;
}

static void gic_free(struct device *dev)
{
    struct gicv3 *gic = container_of(dev, struct gicv3, dev);

    pthread_mutex_destroy(&gic->lock);
    g_free(gic);
}

static const struct state_field bank_fields[] = {
    STATE_FIELD_U32(struct gic_bank, group, 1),   STATE_FIELD_U32(struct gic_bank, enable, 1),
    STATE_FIELD_U32(struct gic_bank, latch, 1),   STATE_FIELD_U32(struct gic_bank, level, 1),
    STATE_FIELD_U32(struct gic_bank, edge, 1),    STATE_FIELD_U32(struct gic_bank, active, 1),
    STATE_FIELD_U8(struct gic_bank, priority, 1),
};

static const struct state_desc bank_state = {
    .name = "gicv3-bank",
    .version = 1,
    .size = sizeof(struct gic_bank),
    .n_fields = G_N_ELEMENTS(bank_fields),
    .fields = bank_fields,
};

static const struct state_field cpu_fields[] = {
    STATE_FIELD_STRUCT(struct gic_cpu, bank, struct gic_bank, bank_state, 1),
    STATE_FIELD_U32(struct gic_cpu, ctlr, 1),
    STATE_FIELD_U32(struct gic_cpu, waker, 1),
    STATE_FIELD_U64(struct gic_cpu, propbaser, 1),
    STATE_FIELD_U64(struct gic_cpu, pendbaser, 1),
    STATE_FIELD_U64(struct gic_cpu, lpi_pending, 1),
    STATE_FIELD_U32(struct gic_cpu, pmr, 1),
    STATE_FIELD_U32(struct gic_cpu, control, 1),
    STATE_FIELD_U32(struct gic_cpu, bpr, 1),
    STATE_FIELD_U32(struct gic_cpu, igrpen, 1),
    STATE_FIELD_U32(struct gic_cpu, active, 1),
};

static const struct state_desc cpu_state = {
    .name = "gicv3-cpu",
    .version = 1,
    .size = sizeof(struct gic_cpu),
    .n_fields = G_N_ELEMENTS(cpu_fields),
    .fields = cpu_fields,
};

static const struct state_field gic_fields[] = {
    STATE_FIELD_U32(struct gicv3, ctlr, 1),
    STATE_FIELD_STRUCT(struct gicv3, spi, struct gic_bank, bank_state, 1),
    STATE_FIELD_U64(struct gicv3, route, 1),
    STATE_FIELD_U8(struct gicv3, lpi_config, 1),
    STATE_FIELD_STRUCT(struct gicv3, cpu, struct gic_cpu, cpu_state, 1),
};

static const struct state_desc gic_state = {
    .name = "gicv3",
    .version = 1,
    .size = sizeof(struct gicv3),
    .n_fields = G_N_ELEMENTS(gic_fields),
    .fields = gic_fields,
};

static const struct device_class dist_class = {
    .name = "gicv3",
    .size = 0x10000,
    .regs = {.read = gic__dist_read, .write = gic__dist_write, .sizes = 1 | 4 | 8},
    .state = &gic_state,
    .reset = gic_reset,
    .restored = gic_restored,
    .free = gic_free,
};

/* The redistributors' window is a device for its registers alone: the rest goes with the
 * distributor, of which it is a part. */
static const struct state_desc redist_state = {.name = "gicv3-redist", .version = 1};

static void redist_reset(struct device *dev)
{
}

static bool redist_restored(struct device *dev)
{
    return true;
}

static void redist_free(struct device *dev)
{
}

static const struct device_class redist_class = {
    .name = "gicv3-redist",
    .size = (uint64_t)LIMIT_XLATE_VCPUS * GICV3_REDIST_BYTES,
    .regs = {.read = gic__redist_read, .write = gic__redist_write, .sizes = 1 | 4 | 8},
    .state = &redist_state,
    .reset = redist_reset,
    .restored = redist_restored,
    .free = redist_free,
};

struct gicv3 *gicv3_new(unsigned cpus, struct mem_map *mem, gicv3_irq_fn set_irq, void *opaque)
{
    struct gicv3 *gic = g_new0(struct gicv3, 1);

    g_assert(cpus >= 1 && cpus <= LIMIT_XLATE_VCPUS);
    gic->dev.class = &dist_class;
    gic->redist.class = &redist_class;
    pthread_mutex_init(&gic->lock, NULL);
    gic->cpus = cpus;
    gic->mem = mem;
    gic->set_irq = set_irq;
    gic->opaque = opaque;
    return gic;
}

struct device *gicv3_device(struct gicv3 *gic)
{
    return &gic->dev;
}

struct device *gicv3_redist_device(struct gicv3 *gic)
{
    return &gic->redist;
}
