/*
 * The CPU interface, system registers ICC_* (IHI 0069, 12.2). Five bits of priority, all of which
 * can preempt, make one active-priorities register a group. The other registers of that kind are
 * not there.
 */
#include "machine/devices/gicv3_priv.h"

#define ICC(crn, crm, op2) (3 << 14 | (crn) << 7 | (crm) << 3 | (op2))

enum {
    CTLR_CBPR = 1 << 0,
    CTLR_EOIMODE = 1 << 1,
    CTLR_PRIBITS = 4 << 8, /* five */
    CTLR_A3V = 1 << 15,
    SRE_FIXED = 7, /* system registers, no bypass of FIQ or IRQ */
    BPR_LEAST = 2, /* with five bits; one more for group 1 */
};

struct access {
    struct gicv3 *gic;
    struct gic_cpu *c;
    unsigned cpu;
    bool group1; /* which of a pair of registers */
};

typedef uint64_t (*read_fn)(const struct access *a);
typedef void (*write_fn)(const struct access *a, uint64_t value);

/* --- acknowledge, end, deactivate ------------------------------------------------------------- */

/* The bank and bit of an interrupt that has an active state; NULL for others. */
static struct gic_bank *bank_of(const struct access *a, uint64_t intid)
{
    if (intid < GIC_BANK)
        return &a->c->bank;
    if (intid < GICV3_SPI_FIRST + GICV3_SPIS)
        return &a->gic->spi[(intid - GICV3_SPI_FIRST) / GIC_BANK];
    return NULL;
}

/* The highest active priority's bit number of both groups, or 32 when nothing is. */
static unsigned running(const struct gic_cpu *c)
{
    uint32_t busy = c->active[0] | c->active[1];

    return busy ? (unsigned)__builtin_ctz(busy) : 32;
}

static uint64_t read_iar(const struct access *a)
{
    struct gic_best best = gic__best(a->gic, a->cpu);

    if (!a->c->driven[a->group1 ? GICV3_IRQ : GICV3_FIQ] || best.group1 != a->group1)
        return GIC_SPURIOUS;
    struct gic_bank *bank = bank_of(a, best.intid);
    uint32_t bit = UINT32_C(1) << best.intid % GIC_BANK;
    if (bank) {
        bank->active |= bit;
        bank->latch &= ~bit;
    } else {
        gic__lpi_set(a->gic, a->cpu, best.intid, false);
    }
    /* The group priority, as preemption compares it. */
    a->c->active[a->group1] |= UINT32_C(1)
                               << ((best.priority & gic__group_mask(a->c, a->group1)) >> 3);
    gic__update(a->gic, a->cpu);
    return best.intid;
}

static void deactivate(const struct access *a, uint64_t intid)
{
    struct gic_bank *bank = bank_of(a, intid);

    if (!bank)
        return;
    bank->active &= ~(UINT32_C(1) << intid % GIC_BANK);
    if (intid >= GICV3_SPI_FIRST)
        gic__update_all(a->gic);
}

/* Drops the running priority, which must be one of this group, and deactivates unless that is
 * another register's. */
static void write_eoir(const struct access *a, uint64_t value)
{
    unsigned bit = running(a->c);

    value &= 0xffffff;
    if (value >= 1020 && value <= GIC_SPURIOUS)
        return;
    if (bit < 32 && a->c->active[a->group1] >> bit & 1)
        a->c->active[a->group1] &= ~(UINT32_C(1) << bit);
    if (!(a->c->control & CTLR_EOIMODE))
        deactivate(a, value);
}

static void write_dir(const struct access *a, uint64_t value)
{
    if (a->c->control & CTLR_EOIMODE)
        deactivate(a, value & 0xffffff);
}

static uint64_t read_hppir(const struct access *a)
{
    struct gic_best best = gic__best(a->gic, a->cpu);

    return best.group1 == a->group1 ? best.intid : GIC_SPURIOUS;
}

static uint64_t read_rpr(const struct access *a)
{
    unsigned bit = running(a->c);

    return bit < 32 ? bit << 3 : GIC_IDLE;
}

/* --- software-generated interrupts ------------------------------------------------------------ */

static void send(const struct access *a, unsigned cpu, unsigned intid, bool group1)
{
    struct gic_bank *bank = &a->gic->cpu[cpu].bank;

    if ((bank->group >> intid & 1) != group1)
        return;
    bank->latch |= UINT32_C(1) << intid;
    gic__update(a->gic, cpu);
}

static void write_sgi(const struct access *a, uint64_t value)
{
    uint32_t cluster = (uint32_t)(value >> 16 & 0xff) << 8 | (uint32_t)(value >> 32 & 0xff) << 16 |
                       (uint32_t)(value >> 48 & 0xff) << 24;
    unsigned intid = value >> 24 & 15, range = value >> 44 & 15;
    bool others = value >> 40 & 1; /* all vCPUs but this one */

    for (unsigned i = 0; i < a->gic->cpus; i++) {
        uint32_t affinity = gicv3_affinity(i), aff0 = affinity & 0xff;
        bool named =
            (affinity & ~UINT32_C(0xff)) == cluster && aff0 / 16 == range && value >> aff0 % 16 & 1;
        if (others ? i != a->cpu : named)
            send(a, i, intid, a->group1);
    }
}

/* --- the rest --------------------------------------------------------------------------------- */

static uint64_t read_pmr(const struct access *a)
{
    return a->c->pmr;
}

static void write_pmr(const struct access *a, uint64_t value)
{
    a->c->pmr = value & GIC_PRIORITY_MASK;
}

static uint64_t read_bpr(const struct access *a)
{
    if (a->group1 && a->c->control & CTLR_CBPR)
        return MIN(a->c->bpr[0] + 1, 7u);
    return a->c->bpr[a->group1];
}

static void write_bpr(const struct access *a, uint64_t value)
{
    uint32_t least = BPR_LEAST + (a->group1 ? 1u : 0u);

    if (!a->group1 || !(a->c->control & CTLR_CBPR))
        a->c->bpr[a->group1] = MAX((uint32_t)(value & 7), least);
}

static uint64_t read_active(const struct access *a)
{
    return a->c->active[a->group1];
}

static void write_active(const struct access *a, uint64_t value)
{
    a->c->active[a->group1] = (uint32_t)value;
}

static uint64_t read_ctlr(const struct access *a)
{
    return a->c->control | CTLR_PRIBITS | CTLR_A3V;
}

static void write_ctlr(const struct access *a, uint64_t value)
{
    a->c->control = value & (CTLR_CBPR | CTLR_EOIMODE);
}

static uint64_t read_sre(const struct access *a)
{
    return SRE_FIXED;
}

/* Writes of what is fixed, and interrupts of a security state that is not there. */
static void ignore(const struct access *a, uint64_t value)
{
}

static uint64_t read_igrpen(const struct access *a)
{
    return a->c->igrpen[a->group1];
}

static void write_igrpen(const struct access *a, uint64_t value)
{
    a->c->igrpen[a->group1] = value & 1;
}

static const struct reg {
    uint32_t encoding;
    bool group1;
    read_fn read; /* NULL: write-only */
    write_fn write;
} regs[] = {
    {ICC(12, 12, 0), true, read_iar, NULL},
    {ICC(12, 12, 1), true, NULL, write_eoir},
    {ICC(12, 11, 1), false, NULL, write_dir},
    {ICC(12, 11, 5), true, NULL, write_sgi},
    {ICC(4, 6, 0), false, read_pmr, write_pmr},
    {ICC(12, 8, 0), false, read_iar, NULL},
    {ICC(12, 8, 1), false, NULL, write_eoir},
    {ICC(12, 8, 2), false, read_hppir, NULL},
    {ICC(12, 8, 3), false, read_bpr, write_bpr},
    {ICC(12, 8, 4), false, read_active, write_active},
    {ICC(12, 9, 0), true, read_active, write_active},
    {ICC(12, 11, 3), false, read_rpr, NULL},
    {ICC(12, 11, 6), true, NULL, ignore},
    {ICC(12, 11, 7), false, NULL, write_sgi},
    {ICC(12, 12, 2), true, read_hppir, NULL},
    {ICC(12, 12, 3), true, read_bpr, write_bpr},
    {ICC(12, 12, 4), false, read_ctlr, write_ctlr},
    {ICC(12, 12, 5), false, read_sre, ignore},
    {ICC(12, 12, 6), false, read_igrpen, write_igrpen},
    {ICC(12, 12, 7), true, read_igrpen, write_igrpen},
};

static const struct reg *reg_by_encoding(uint32_t encoding)
{
    for (size_t i = 0; i < G_N_ELEMENTS(regs); i++) {
        if (regs[i].encoding == encoding)
            return &regs[i];
    }
    return NULL;
}

bool gicv3_sysreg(struct gicv3 *gic, unsigned cpu, uint32_t encoding, bool write, uint64_t *value)
{
    const struct reg *reg = reg_by_encoding(encoding);

    g_assert(cpu < gic->cpus);
    if (!reg || (write ? !reg->write : !reg->read))
        return false;
    struct access a = {gic, &gic->cpu[cpu], cpu, reg->group1};
    pthread_mutex_lock(&gic->lock);
    if (write) {
        reg->write(&a, *value);
        gic__update(gic, cpu);
    } else {
        *value = reg->read(&a);
    }
    pthread_mutex_unlock(&gic->lock);
    return true;
}
