/*
 * LPIs (IHI 0069, chapter 5): message-based, edge-triggered, always of group 1, without an active
 * state. What is pending is kept in the redistributor; the configuration table of guest memory, a
 * byte an LPI, is kept as it was when it was last told to look (INV, INVALL). All redistributors
 * use the table of the one that switched LPIs on last: the architecture has them agree.
 */
#include "machine/devices/gicv3_priv.h"

#define TABLE_ADDRESS   UINT64_C(0x000ffffffffff000)
#define PENDING_ADDRESS UINT64_C(0x000fffffffff0000)
#define PENDBASER_PTZ   (UINT64_C(1) << 62)

bool gic__lpi_set(struct gicv3 *gic, unsigned cpu, uint32_t intid, bool pending)
{
    struct gic_cpu *c = &gic->cpu[cpu];
    uint32_t n = intid - GICV3_LPI_FIRST;

    if (intid < GICV3_LPI_FIRST || n >= GIC_LPIS || !(c->ctlr & GICR_ENABLE_LPIS))
        return false;
    uint64_t *word = &c->lpi_pending[n / 64], before = *word, bit = UINT64_C(1) << n % 64;
    *word = pending ? before | bit : before & ~bit;
    uint64_t *summary = &c->lpi_summary[n / 4096], mark = UINT64_C(1) << n / 64 % 64;
    *summary = *word ? *summary | mark : *summary & ~mark;
    return *word != before;
}

void gic__lpi_restored(struct gic_cpu *c)
{
    memset(c->lpi_summary, 0, sizeof(c->lpi_summary));
    for (unsigned w = 0; w < GIC_LPI_WORDS; w++) {
        if (c->lpi_pending[w])
            c->lpi_summary[w / 64] |= UINT64_C(1) << w % 64;
    }
}

/* Bytes of the tables that PROPBASER's number of INTID bits makes there be. */
static uint32_t lpis_of(const struct gic_cpu *c)
{
    unsigned bits = MIN((unsigned)(c->propbaser & 31) + 1, GICV3_ID_BITS);

    return bits > 13 ? (UINT32_C(1) << bits) - GICV3_LPI_FIRST : 0;
}

/* The redistributor whose table counts: any that has LPIs on. */
static const struct gic_cpu *table_owner(const struct gicv3 *gic)
{
    for (unsigned i = 0; i < gic->cpus; i++) {
        if (gic->cpu[i].ctlr & GICR_ENABLE_LPIS)
            return &gic->cpu[i];
    }
    return NULL;
}

/* A table that is not all in RAM configures nothing. */
void gic__lpi_reload(struct gicv3 *gic, uint32_t intid)
{
    const struct gic_cpu *c = table_owner(gic);
    uint32_t n = intid ? intid - GICV3_LPI_FIRST : 0, count = intid ? 1 : GIC_LPIS;

    if (!c || (intid && (intid < GICV3_LPI_FIRST || n >= GIC_LPIS)))
        return;
    memset(gic->lpi_config + n, 0, count);
    uint32_t there = lpis_of(c);
    if (n < there)
        mem_map_read(gic->mem, (c->propbaser & TABLE_ADDRESS) + n, gic->lpi_config + n,
                     MIN(count, there - n));
}

/* What the guest left pending in the table, unless it says that there is nothing. */
static void read_pending(struct gicv3 *gic, struct gic_cpu *c)
{
    gpa_t at = (c->pendbaser & PENDING_ADDRESS) + GICV3_LPI_FIRST / 8;

    if (c->pendbaser & PENDBASER_PTZ ||
        mem_map_read(gic->mem, at, c->lpi_pending, lpis_of(c) / 8) < 0)
        return;
    for (unsigned w = 0; w < GIC_LPI_WORDS; w++)
        c->lpi_pending[w] = GUINT64_FROM_LE(c->lpi_pending[w]);
}

void gic__lpi_enabled(struct gicv3 *gic, unsigned cpu)
{
    struct gic_cpu *c = &gic->cpu[cpu];

    memset(c->lpi_pending, 0, sizeof(c->lpi_pending));
    if (c->ctlr & GICR_ENABLE_LPIS) {
        gic__lpi_reload(gic, 0);
        read_pending(gic, c);
    }
    gic__lpi_restored(c);
}

void gic__lpi_move_all(struct gicv3 *gic, unsigned from, unsigned to)
{
    struct gic_cpu *f = &gic->cpu[from], *t = &gic->cpu[to];

    if (from == to || !(t->ctlr & GICR_ENABLE_LPIS))
        return;
    for (unsigned w = 0; w < GIC_LPI_WORDS; w++)
        t->lpi_pending[w] |= f->lpi_pending[w];
    memset(f->lpi_pending, 0, sizeof(f->lpi_pending));
    gic__lpi_restored(f);
    gic__lpi_restored(t);
}

static void consider_word(const struct gicv3 *gic, const struct gic_cpu *c, unsigned w,
                          struct gic_best *best)
{
    for (uint64_t bits = c->lpi_pending[w]; bits; bits &= bits - 1) {
        unsigned n = w * 64 + (unsigned)__builtin_ctzll(bits);
        uint8_t config = gic->lpi_config[n];
        uint8_t priority = config & GIC_PRIORITY_MASK;
        if (config & GIC_LPI_ENABLED && priority < best->priority)
            *best = (struct gic_best){GICV3_LPI_FIRST + n, priority, true};
    }
}

void gic__lpi_best(const struct gicv3 *gic, const struct gic_cpu *c, struct gic_best *best)
{
    if (!(c->ctlr & GICR_ENABLE_LPIS))
        return;
    for (unsigned s = 0; s < G_N_ELEMENTS(c->lpi_summary); s++) {
        for (uint64_t bits = c->lpi_summary[s]; bits; bits &= bits - 1)
            consider_word(gic, c, s * 64 + (unsigned)__builtin_ctzll(bits), best);
    }
}
