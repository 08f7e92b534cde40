/*
 * The redistributors' registers (IHI 0069, 12.10 and 12.11): a frame for control and LPIs and one
 * for the private interrupts, of each vCPU in turn.
 */
#include "machine/devices/gicv3_priv.h"

enum {
    FRAME = 0x10000,

    REG_CTLR = 0x0000,
    REG_IIDR = 0x0004,
    REG_TYPER = 0x0008,
    REG_WAKER = 0x0014,
    REG_PROPBASER = 0x0070,
    REG_PENDBASER = 0x0078,
    REG_PIDR2 = 0xffe8,

    CTLR_CES = 1 << 1, /* EnableLPIs can be cleared again */
    TYPER_PLPIS = 1 << 0,
    TYPER_LAST = 1 << 4,
    WAKER_SLEEP = 1 << 1,
    WAKER_ASLEEP = 1 << 2,
};

/* Address, attributes and the number of INTID bits; PTZ of PENDBASER reads as zero. */
#define PROPBASER_MASK UINT64_C(0x070fffffffffff9f)
#define PENDBASER_MASK UINT64_C(0x470fffffffff0f80)
#define PENDBASER_PTZ  (UINT64_C(1) << 62)

static uint64_t typer(const struct gicv3 *gic, unsigned cpu)
{
    return (uint64_t)gicv3_affinity(cpu) << 32 | cpu << 8 | TYPER_PLPIS |
           (cpu == gic->cpus - 1 ? TYPER_LAST : 0);
}

static uint32_t half(uint64_t value, uint64_t offset)
{
    return (uint32_t)(value >> (offset & 4 ? 32 : 0));
}

static uint32_t control_read(const struct gicv3 *gic, unsigned cpu, uint64_t offset)
{
    const struct gic_cpu *c = &gic->cpu[cpu];

    switch (offset) {
    case REG_CTLR:
        return c->ctlr | CTLR_CES;
    case REG_IIDR:
        return GIC_IIDR;
    case REG_TYPER:
    case REG_TYPER + 4:
        return half(typer(gic, cpu), offset);
    case REG_WAKER:
        return c->waker;
    case REG_PROPBASER:
    case REG_PROPBASER + 4:
        return half(c->propbaser, offset);
    case REG_PENDBASER:
    case REG_PENDBASER + 4:
        return half(c->pendbaser & ~PENDBASER_PTZ, offset);
    case REG_PIDR2:
        return GIC_PIDR2;
    default:
        return 0;
    }
}

static void write_ctlr(struct gicv3 *gic, unsigned cpu, uint32_t value)
{
    struct gic_cpu *c = &gic->cpu[cpu];
    uint32_t before = c->ctlr;

    c->ctlr = value & GICR_ENABLE_LPIS;
    if (c->ctlr != before)
        gic__lpi_enabled(gic, cpu);
}

/* The tables' places are fixed while LPIs are on. */
static void control_write(struct gicv3 *gic, unsigned cpu, uint64_t offset, uint32_t value)
{
    struct gic_cpu *c = &gic->cpu[cpu];
    bool fixed = c->ctlr & GICR_ENABLE_LPIS;

    switch (offset) {
    case REG_CTLR:
        write_ctlr(gic, cpu, value);
        break;
    case REG_WAKER:
        c->waker = value & WAKER_SLEEP ? WAKER_SLEEP | WAKER_ASLEEP : 0;
        break;
    case REG_PROPBASER:
    case REG_PROPBASER + 4:
        if (!fixed)
            gic__set_half(&c->propbaser, offset & 4, value);
        c->propbaser &= PROPBASER_MASK;
        break;
    case REG_PENDBASER:
    case REG_PENDBASER + 4:
        if (!fixed)
            gic__set_half(&c->pendbaser, offset & 4, value);
        c->pendbaser &= PENDBASER_MASK;
        break;
    default:
        break;
    }
}

/* The vCPU's bank, when AT is one of its registers. */
static struct gic_bank *private_bank(struct gicv3 *gic, unsigned cpu, const struct gic_place *at)
{
    return at->reg != GIC_REG_NONE && at->bank == 0 ? &gic->cpu[cpu].bank : NULL;
}

static uint32_t read_word(void *opaque, uint64_t offset)
{
    struct gicv3 *gic = opaque;
    unsigned cpu = (unsigned)(offset / GICV3_REDIST_BYTES);

    if (cpu >= gic->cpus)
        return 0;
    if (offset % GICV3_REDIST_BYTES < FRAME)
        return control_read(gic, cpu, offset % FRAME);
    struct gic_place at = gic__place(offset % FRAME);
    const struct gic_bank *bank = private_bank(gic, cpu, &at);
    return bank ? gic__bank_read(bank, &at) : 0;
}

static void write_word(void *opaque, uint64_t offset, uint32_t value, uint32_t mask)
{
    struct gicv3 *gic = opaque;
    unsigned cpu = (unsigned)(offset / GICV3_REDIST_BYTES);

    if (cpu >= gic->cpus)
        return;
    if (offset % GICV3_REDIST_BYTES < FRAME) {
        control_write(gic, cpu, offset % FRAME, value);
    } else {
        struct gic_place at = gic__place(offset % FRAME);
        struct gic_bank *bank = private_bank(gic, cpu, &at);
        /* Software-generated interrupts stay edges. */
        if (bank && (at.reg != GIC_REG_CONFIG || at.part == 1))
            gic__bank_write(bank, &at, value, mask);
    }
    gic__update(gic, cpu);
}

int gic__redist_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct gicv3 *gic = container_of((struct device *)opaque, struct gicv3, redist);

    pthread_mutex_lock(&gic->lock);
    *value = gic__read_words(read_word, gic, offset, size);
    pthread_mutex_unlock(&gic->lock);
    return 0;
}

int gic__redist_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct gicv3 *gic = container_of((struct device *)opaque, struct gicv3, redist);

    pthread_mutex_lock(&gic->lock);
    gic__write_words(write_word, gic, offset, size, value);
    pthread_mutex_unlock(&gic->lock);
    return 0;
}
