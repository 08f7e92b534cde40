/*
 * Self-hosted debug (D2): the guest's own breakpoints, watchpoints and software step.
 *
 * While MDSCR_EL1.MDE has breakpoints match at the present level, units are made in a mode of their
 * own (A64_MODE_BREAKS): each instruction asks A64_SLOT_BREAKS, by its place, whether one may be
 * here, so that what is set can change without a unit being made anew. Watchpoints are places that
 * the mmu keeps out of its fast TLB, in the modes of the levels that they are for. Where none is
 * set, nothing of it costs anything.
 *
 * There are no EL2, EL3 and AArch32: HMC and BAS of breakpoints have nothing to say. What is
 * reserved, as a choice of security states is here, never matches.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

/* DBGBCR and DBGWCR */
#define CR_E           BIT(0)
#define CR_PC_SHIFT    1 /* mask of levels: bit 0 is EL1, bit 1 EL0 */
#define CR_SSC         UINT64_C(0xc000)
#define CR_LBN_SHIFT   16
#define BCR_TYPE_SHIFT 20
#define WCR_LSC_SHIFT  3 /* bit 0: loads, bit 1: stores */
#define WCR_BAS_SHIFT  5
#define WCR_LINKED     BIT(20)
#define WCR_MASK_SHIFT 24

/* DBGBCR.BT */
enum break_type { ADDRESS, ADDRESS_LINKED, CONTEXT, CONTEXT_LINKED };

bool a64_debug_enabled(const struct a64_cpu *c, unsigned el)
{
    if (a64_debug_locked(c))
        return false;
    return el == A64_EL0 || ((c->mdscr & MDSCR_KDE) && !(c->cpu.slots[A64_SLOT_DAIF] & SPSR_D));
}

/* Is the breakpoint or watchpoint enabled for EL? */
static bool is_for(uint64_t cr, unsigned el)
{
    return (cr & CR_E) && !(cr & CR_SSC) && (cr >> CR_PC_SHIFT & (el == A64_EL0 ? 2 : 1));
}

/* Addresses in DBGBVR and DBGWVR: bits above 48 are copies of it (RESS). */
static gva_t address_of(uint64_t vr)
{
    return (gva_t)((int64_t)(vr << 15) >> 15) & ~UINT64_C(3);
}

/* --- contexts --------------------------------------------------------------------------------- */

static enum break_type type_of(const struct a64_cpu *c, unsigned n)
{
    return (enum break_type)(c->dbgbcr[n] >> BCR_TYPE_SHIFT & 0xf);
}

static bool context_matches(const struct a64_cpu *c, unsigned n)
{
    return n >= A64_BREAKPOINTS - A64_CONTEXTS && (uint32_t)c->dbgbvr[n] == c->contextidr;
}

/* Is the context that CR is linked with the present one? */
static bool linked_matches(const struct a64_cpu *c, uint64_t cr)
{
    unsigned n = cr >> CR_LBN_SHIFT & 0xf;

    return n < A64_BREAKPOINTS && (c->dbgbcr[n] & CR_E) && type_of(c, n) == CONTEXT_LINKED &&
           context_matches(c, n);
}

/* --- breakpoints ------------------------------------------------------------------------------ */

static bool matches(const struct a64_cpu *c, unsigned n, gva_t pc)
{
    if (!is_for(c->dbgbcr[n], c->el))
        return false;
    switch (type_of(c, n)) {
    case ADDRESS:
        return address_of(c->dbgbvr[n]) == pc;
    case ADDRESS_LINKED:
        return address_of(c->dbgbvr[n]) == pc && linked_matches(c, c->dbgbcr[n]);
    case CONTEXT:
        return context_matches(c, n);
    case CONTEXT_LINKED:
        break;
    }
    return false;
}

uint64_t a64_help_breakpoint(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);

    for (unsigned n = 0; n < A64_BREAKPOINTS && a64_debug_enabled(c, c->el); n++) {
        if (!matches(c, n, cpu->pc))
            continue;
        a64_raise(c, A64_EC_BREAKPOINT, A64_FSC_DEBUG);
        break;
    }
    return 0;
}

/* The places in A64_SLOT_BREAKS of the instructions at which number N may match. */
static uint64_t places(const struct a64_cpu *c, unsigned n)
{
    switch (type_of(c, n)) {
    case ADDRESS:
    case ADDRESS_LINKED:
        return BIT(c->dbgbvr[n] / 4 % 64);
    case CONTEXT:
        return UINT64_MAX;
    case CONTEXT_LINKED:
        break;
    }
    return 0;
}

static void update_breaks(struct a64_cpu *c)
{
    uint64_t all = 0;

    c->break_els = 0;
    for (unsigned n = 0; n < A64_BREAKPOINTS && (c->mdscr & MDSCR_MDE); n++) {
        for (unsigned el = A64_EL0; el <= A64_EL1; el++) {
            if (!is_for(c->dbgbcr[n], el) || !places(c, n))
                continue;
            c->break_els |= (uint8_t)(1 << el);
            all |= places(c, n);
        }
    }
    c->cpu.slots[A64_SLOT_BREAKS] = all;
}

/* --- watchpoints ------------------------------------------------------------------------------ */

/* The bytes that number N watches; false where there are none. */
static bool watched_bytes(const struct a64_cpu *c, unsigned n, struct mmu_watch *w)
{
    uint64_t wcr = c->dbgwcr[n], address = address_of(c->dbgwvr[n]);
    unsigned mask = wcr >> WCR_MASK_SHIFT & 0x1f, bas = wcr >> WCR_BAS_SHIFT & 0xff;

    if (mask >= 3) {
        w->first = address & ~(BIT(mask) - 1);
        w->last = w->first + (BIT(mask) - 1);
        return true;
    }
    if (address & 4)
        bas &= 0xf;
    if (mask || !bas)
        return false;
    /* Of bytes with a gap between them, which are not to be asked for, the first ones. */
    unsigned first = (unsigned)__builtin_ctz(bas);
    w->first = address + first;
    w->last = w->first + (unsigned)__builtin_ctz(~(bas >> first)) - 1;
    return true;
}

static bool watch_of(const struct a64_cpu *c, unsigned n, struct mmu_watch *w)
{
    uint64_t wcr = c->dbgwcr[n];
    bool el1 = is_for(wcr, A64_EL1) && (c->mdscr & MDSCR_KDE), el0 = is_for(wcr, A64_EL0);

    *w = (struct mmu_watch){
        .kind = (wcr >> WCR_LSC_SHIFT & 1 ? ACCEL_WATCH_READ : 0) |
                (wcr >> WCR_LSC_SHIFT & 2 ? ACCEL_WATCH_WRITE : 0),
        .modes = (uint8_t)((el0 ? 1 << A64_TLB_EL0 : 0) |
                           (el1 ? 1 << A64_TLB_EL1 | 1 << A64_TLB_EL1_PAN : 0)),
    };
    return (c->mdscr & MDSCR_MDE) && !a64_debug_locked(c) && w->kind && w->modes &&
           watched_bytes(c, n, w);
}

static void update_watches(struct a64_cpu *c)
{
    bool any = c->n_watches;

    c->n_watches = 0;
    for (unsigned n = 0; n < A64_WATCHPOINTS; n++) {
        if (!watch_of(c, n, &c->watches[c->n_watches]))
            continue;
        c->watchpoint[c->n_watches++] = (uint8_t)n;
    }
    if (any || c->n_watches)
        mmu_watch_own(&c->cpu, c->watches, c->n_watches);
}

bool a64_watched(struct xl_cpu *cpu, unsigned n, gva_t va, enum accel_watch kind)
{
    struct a64_cpu *c = a64_cpu(cpu);
    uint64_t wcr = c->dbgwcr[c->watchpoint[n]];
    bool loads = kind & c->watches[n].kind & ACCEL_WATCH_READ;

    if (!a64_debug_enabled(c, c->el) || ((wcr & WCR_LINKED) && !linked_matches(c, wcr)))
        return false;
    a64_raise_at(c, A64_EC_WATCHPOINT, A64_FSC_DEBUG | (loads ? 0 : ISS_WNR), va);
    return true;
}

/* --- what follows from the registers ---------------------------------------------------------- */

/* Software step (D2.12): of EL0 always, of EL1 where MDSCR_EL1.KDE and PSTATE.D say so. */
unsigned a64_debug_flags(const struct a64_cpu *c)
{
    unsigned flags = 0;

    if (likely(!(c->mdscr & (MDSCR_SS | MDSCR_MDE))) || !a64_debug_enabled(c, c->el))
        return 0;
    if (c->mdscr & MDSCR_SS)
        flags |= c->ss ? A64_MODE_STEP : A64_MODE_STEPPED;
    if (c->break_els >> c->el & 1)
        flags |= A64_MODE_BREAKS;
    return flags;
}

void a64_update_debug(struct a64_cpu *c)
{
    update_breaks(c);
    update_watches(c);
    a64_update_mode(c);
}

uint64_t *a64_debug_register(struct a64_cpu *c, unsigned number)
{
    unsigned n = number >> 3 & 15;

    switch (number & 7) {
    case 4:
        return &c->dbgbvr[n];
    case 5:
        return &c->dbgbcr[n];
    case 6:
        return &c->dbgwvr[n];
    default:
        return &c->dbgwcr[n];
    }
}

/* --- software step ---------------------------------------------------------------------------- */

uint64_t a64_help_stepped(struct xl_cpu *cpu)
{
    enum { ISV = 1 << 24 };

    a64_raise(a64_cpu(cpu), A64_EC_STEP, ISV | A64_FSC_DEBUG);
    return 0;
}

uint64_t a64_help_step_to(struct xl_cpu *cpu, uint64_t pc)
{
    cpu->pc = pc;
    return a64_help_step_end(cpu);
}

uint64_t a64_help_step_end(struct xl_cpu *cpu)
{
    a64_cpu(cpu)->ss = 0;
    a64_update_mode(a64_cpu(cpu));
    return 0;
}
