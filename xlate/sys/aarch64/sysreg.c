/*
 * System registers: the table of a64_sysregs.inc, what its functions do, and who may access what.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

struct sysreg {
    uint64_t (*get)(struct a64_cpu *c, unsigned number);
    void (*set)(struct a64_cpu *c, unsigned number, uint64_t value);
    uint64_t value, mask; /* of a constant; what of a field can be written */
    uint32_t offset;      /* of a field; 0: no field */
    bool constant, ignores_writes;
};

/* --- identification --------------------------------------------------------------------------- */

static uint64_t get_mpidr(struct a64_cpu *c, unsigned number)
{
    return arm_mpidr(c->cpu.vcpu.index);
}

/* Of the cache that CSSELR_EL1 names: lines of 64 bytes; LineSize, Associativity, NumSets. */
static uint64_t get_ccsidr(struct a64_cpu *c, unsigned number)
{
    enum { L1_SETS = 128, L1_WAYS = 4, L2_SETS = 1024, L2_WAYS = 16, LINE = 2, L2 = 2 };
    bool l2 = c->csselr == L2;

    return (uint64_t)((l2 ? L2_SETS : L1_SETS) - 1) << 13 | ((l2 ? L2_WAYS : L1_WAYS) - 1) << 3 | LINE;
}

/* Lines of 64 bytes; data needs no cleaning before code is fetched (IDC), code has to be invalidated. */
static uint64_t get_ctr(struct a64_cpu *c, unsigned number)
{
    return 0x9444c004;
}

/* --- control and translation ------------------------------------------------------------------ */

static uint64_t get_sctlr(struct a64_cpu *c, unsigned number)
{
    return c->sctlr;
}

static void set_sctlr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    uint64_t old = c->sctlr;

    c->sctlr = (value & SCTLR_WRITE) | SCTLR_RES1;
    if ((old ^ c->sctlr) & (SCTLR_M | SCTLR_WXN))
        mmu_flush_all(&c->cpu);
    a64_update_mode(c);
}

static uint64_t get_cpacr(struct a64_cpu *c, unsigned number)
{
    return c->cpacr;
}

static void set_cpacr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    c->cpacr = value & UINT64_C(3) << CPACR_FPEN_SHIFT;
    a64_update_mode(c);
}

static uint64_t get_ttbr(struct a64_cpu *c, unsigned number)
{
    return c->ttbr[number & 1];
}

static void set_ttbr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    c->ttbr[number & 1] = value;
    a64_update_mode(c);
}

static uint64_t get_tcr(struct a64_cpu *c, unsigned number)
{
    return c->tcr;
}

static void set_tcr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    bool changes = c->tcr != value;

    c->tcr = value;
    if (changes)
        mmu_flush_all(&c->cpu);
    a64_update_mode(c);
}

/* --- exceptions ------------------------------------------------------------------------------- */

static uint64_t get_isr(struct a64_cpu *c, unsigned number)
{
    uint32_t lines = __atomic_load_n(&c->lines, __ATOMIC_SEQ_CST);

    return (lines >> ARM_IRQ_IRQ & 1 ? SPSR_I : 0) | (lines >> ARM_IRQ_FIQ & 1 ? SPSR_F : 0);
}

/* --- PSTATE ----------------------------------------------------------------------------------- */

enum { SPSEL = A64_SYSREG(3, 0, 4, 2, 0), PAN = A64_SYSREG(3, 0, 4, 2, 3) };

static uint64_t get_pstate(struct a64_cpu *c, unsigned number)
{
    if (number == SPSEL)
        return c->spsel;
    return number == PAN ? (c->pan ? SPSR_PAN : 0) : (c->uao ? SPSR_UAO : 0);
}

static void set_pstate(struct a64_cpu *c, unsigned number, uint64_t value)
{
    if (number == SPSEL)
        a64_set_el(c, c->el, value & 1);
    else if (number == PAN)
        c->pan = !!(value & SPSR_PAN);
    else
        c->uao = !!(value & SPSR_UAO);
    a64_update_mode(c);
}

uint64_t a64_help_msr_pstate(struct xl_cpu *cpu, uint64_t field, uint64_t value)
{
    struct a64_cpu *c = a64_cpu(cpu);

    if (field == A64_PSTATE_SPSEL)
        a64_set_el(c, c->el, (unsigned)value);
    else if (field == A64_PSTATE_PAN)
        c->pan = (uint8_t)value;
    else
        c->uao = (uint8_t)value;
    a64_update_mode(c);
    cpu->pc += 4;
    return 0;
}

/* --- floating point --------------------------------------------------------------------------- */

static uint64_t get_fpcr(struct a64_cpu *c, unsigned number)
{
    return c->fpcr;
}

static void set_fpcr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    a64_set_fpcr(c, value);
}

/* Sticky flags: enum ir_fflag and the register's bits. */
static const struct {
    uint8_t flag, bit;
} fpsr_flags[] = {{IR_NV, 0}, {IR_DZ, 1}, {IR_OF, 2}, {IR_UF, 3}, {IR_NX, 4}, {IR_ID, 7},
                  {IR_QC, 27}};

uint64_t a64_fpsr(const struct a64_cpu *c)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(fpsr_flags); i++)
        if (c->cpu.fp_flags & fpsr_flags[i].flag)
            value |= BIT(fpsr_flags[i].bit);
    return value;
}

void a64_set_fpsr(struct a64_cpu *c, uint64_t value)
{
    c->cpu.fp_flags = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(fpsr_flags); i++)
        if (value & BIT(fpsr_flags[i].bit))
            c->cpu.fp_flags |= fpsr_flags[i].flag;
}

static uint64_t get_fpsr(struct a64_cpu *c, unsigned number)
{
    return a64_fpsr(c);
}

static void set_fpsr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    a64_set_fpsr(c, value);
}

/* --- timers ----------------------------------------------------------------------------------- */

enum { TIMER_TVAL, TIMER_CTL, TIMER_CVAL, TIMER_CTL_WRITE = 3 };

static uint64_t get_cntfrq(struct a64_cpu *c, unsigned number)
{
    return a64_config(c)->timebase_hz;
}

static uint64_t get_count(struct a64_cpu *c, unsigned number)
{
    return a64_count(c);
}

/* CRm 2 is the physical timer, 3 the virtual one. */
static struct a64_timer *timer_of(struct a64_cpu *c, unsigned number)
{
    return &c->timer[number >> 3 & 1 ? A64_TIMER_VIRTUAL : A64_TIMER_PHYSICAL];
}

static uint64_t get_timer(struct a64_cpu *c, unsigned number)
{
    const struct a64_timer *timer = timer_of(c, number);

    switch (number & 7) {
    case TIMER_TVAL:
        return (uint32_t)(timer->cval - a64_count(c));
    case TIMER_CTL:
        return a64_timer_ctl(c, timer);
    default:
        return timer->cval;
    }
}

static void set_timer(struct a64_cpu *c, unsigned number, uint64_t value)
{
    struct a64_timer *timer = timer_of(c, number);

    switch (number & 7) {
    case TIMER_TVAL:
        timer->cval = a64_count(c) + (uint64_t)(int64_t)(int32_t)value;
        break;
    case TIMER_CTL:
        timer->ctl = value & TIMER_CTL_WRITE;
        break;
    default:
        timer->cval = value;
        break;
    }
    a64_update_timers(c);
}

/* --- debug ------------------------------------------------------------------------------------ */

static uint64_t get_mdscr(struct a64_cpu *c, unsigned number)
{
    return c->mdscr;
}

/* Whether the channel's registers are full can be written while the OS lock is locked. */
static void set_mdscr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    uint64_t full = MDSCR_TXFULL | MDSCR_RXFULL, flags = (c->oslock ? value : c->mdscr) & full;

    c->mdscr = (value & (MDSCR_SS | MDSCR_KDE | MDSCR_MDE | MDSCR_TDCC)) | flags;
    a64_update_debug(c);
}

/* --- the debug communications channel: what is written stays, as nobody takes it (H4.3) --- */

enum { DBGDTR_EL0 = A64_SYSREG(2, 3, 0, 4, 0) };

static uint64_t get_mdccsr(struct a64_cpu *c, unsigned number)
{
    return c->mdscr & (MDSCR_TXFULL | MDSCR_RXFULL);
}

static uint64_t get_dtr(struct a64_cpu *c, unsigned number)
{
    c->mdscr &= ~MDSCR_RXFULL;
    return number == DBGDTR_EL0 ? c->dtrtx << 32 | c->dtrrx : c->dtrrx;
}

static void set_dtr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    if (number == DBGDTR_EL0)
        c->dtrrx = value >> 32;
    c->dtrtx = (uint32_t)value;
    c->mdscr |= MDSCR_TXFULL;
}

/* DBGBVR, DBGBCR, DBGWVR, DBGWCR. A DBGBVR may hold a context, of which all bits count. */
static uint64_t get_debug(struct a64_cpu *c, unsigned number)
{
    return *a64_debug_register(c, number);
}

static void set_debug(struct a64_cpu *c, unsigned number, uint64_t value)
{
    static const uint64_t masks[] = {UINT64_MAX, 0x00ffe1e7, ~UINT64_C(3), 0x1f1fffff};

    *a64_debug_register(c, number) = value & masks[number & 3];
    a64_update_debug(c);
}

static void set_oslar(struct a64_cpu *c, unsigned number, uint64_t value)
{
    c->oslock = value & 1;
    a64_update_debug(c);
}

static uint64_t get_osdlr(struct a64_cpu *c, unsigned number)
{
    return c->osdlr;
}

static void set_osdlr(struct a64_cpu *c, unsigned number, uint64_t value)
{
    c->osdlr = value & 1;
    a64_update_debug(c);
}

/* OSLM: the lock is there. */
static uint64_t get_oslsr(struct a64_cpu *c, unsigned number)
{
    return BIT(3) | c->oslock << 1;
}

/* --- the table -------------------------------------------------------------------------------- */

#define A64_FIELD(op0, op1, crn, crm, op2, name, field, mask)  ROW_##name,
#define A64_CONST(op0, op1, crn, crm, op2, name, value)        ROW_##name,
#define A64_IGNORE(op0, op1, crn, crm, op2, name, value)       ROW_##name,
#define A64_FN(op0, op1, crn, crm, op2, name, get, set)        ROW_##name,
enum row {
#include "xlate/sys/aarch64/a64_sysregs.inc"
    ROWS
};
#undef A64_FIELD
#undef A64_CONST
#undef A64_IGNORE
#undef A64_FN

#define A64_FIELD(op0, op1, crn, crm, op2, name, field, mask_)                                     \
    [ROW_##name] = {.offset = offsetof(struct a64_cpu, field), .mask = (mask_)},
#define A64_CONST(op0, op1, crn, crm, op2, name, value_)                                           \
    [ROW_##name] = {.constant = true, .value = (value_)},
#define A64_IGNORE(op0, op1, crn, crm, op2, name, value_)                                          \
    [ROW_##name] = {.constant = true, .ignores_writes = true, .value = (value_)},
#define A64_FN(op0, op1, crn, crm, op2, name, get_, set_) [ROW_##name] = {.get = (get_), .set = (set_)},
static const struct sysreg rows[ROWS] = {
#include "xlate/sys/aarch64/a64_sysregs.inc"
};
#undef A64_FIELD
#undef A64_CONST
#undef A64_IGNORE
#undef A64_FN

#define CASE(op0, op1, crn, crm, op2, name)                                                        \
    case A64_SYSREG(op0, op1, crn, crm, op2):                                                      \
        return &rows[ROW_##name];
#define A64_FIELD(op0, op1, crn, crm, op2, name, field, mask) CASE(op0, op1, crn, crm, op2, name)
#define A64_CONST(op0, op1, crn, crm, op2, name, value)       CASE(op0, op1, crn, crm, op2, name)
#define A64_IGNORE(op0, op1, crn, crm, op2, name, value)      CASE(op0, op1, crn, crm, op2, name)
#define A64_FN(op0, op1, crn, crm, op2, name, get, set)       CASE(op0, op1, crn, crm, op2, name)
static const struct sysreg *find(unsigned number)
{
    static const struct sysreg unknown_id = {.constant = true};

    switch (number) {
#include "xlate/sys/aarch64/a64_sysregs.inc"
    default:
        /* ID space: op0 3, op1 0, CRn 0, CRm 1..7 */
        return number >= A64_SYSREG(3, 0, 0, 1, 0) && number <= A64_SYSREG(3, 0, 0, 7, 7) ? &unknown_id
                                                                                          : NULL;
    }
}
#undef A64_FIELD
#undef A64_CONST
#undef A64_IGNORE
#undef A64_FN

/* --- access ----------------------------------------------------------------------------------- */

/* What CNTKCTL_EL1 has to have for EL0 to name a timer's register. */
static uint64_t timer_bits(unsigned number)
{
    switch (number >> 3 & 15) {
    case 0:
        switch (number & 7) {
        case 0:
            return CNTKCTL_EL0PCTEN | CNTKCTL_EL0VCTEN; /* either */
        case 1:
            return CNTKCTL_EL0PCTEN;
        default:
            return CNTKCTL_EL0VCTEN;
        }
    case 2:
        return CNTKCTL_EL0PTEN;
    default:
        return CNTKCTL_EL0VTEN;
    }
}

/* May EL0 access a register that it may name and that is there? */
static bool allowed_at_el0(const struct a64_cpu *c, unsigned number)
{
    unsigned crn = number >> 7 & 15;

    if (crn == 14)
        return c->cntkctl & timer_bits(number);
    switch (number) {
    case A64_SYSREG(3, 3, 0, 0, 1): /* CTR_EL0 */
        return c->sctlr & SCTLR_UCT;
    case A64_SYSREG(3, 3, 13, 0, 7): /* SCXTNUM_EL0 */
        return !(c->sctlr & SCTLR_TSCXT);
    case A64_SYSREG(2, 3, 0, 1, 0): /* MDCCSR_EL0 */
    case A64_SYSREG(2, 3, 0, 5, 0): /* DBGDTRRX_EL0, DBGDTRTX_EL0 */
    case DBGDTR_EL0:
        return !(c->mdscr & MDSCR_TDCC);
    default:
        return true;
    }
}

/* Common to reads and writes: the register's row, where the machine has none of this number. */
static enum a64_access_result look_up(struct a64_cpu *c, unsigned number, const struct sysreg **r)
{
    *r = find(number);
    if (!*r)
        return A64_IS_UNDEFINED;
    return c->el == A64_EL0 && !allowed_at_el0(c, number) ? A64_TRAPS : A64_OK;
}

/* Registers of the machine: the interrupt controller's. */
static bool machine_access(struct a64_cpu *c, unsigned number, bool write, uint64_t *value)
{
    const struct accel_config *config = a64_config(c);

    return c->el == A64_EL1 && config->sysreg &&
           config->sysreg(config->machine_opaque, c->cpu.vcpu.index, number, write, value);
}

enum a64_access_result a64_sysreg_read(struct a64_cpu *c, unsigned number, uint64_t *value)
{
    const struct sysreg *r;
    enum a64_access_result result = look_up(c, number, &r);

    if (result == A64_IS_UNDEFINED)
        return machine_access(c, number, false, value) ? A64_OK : result;
    if (result != A64_OK)
        return result;
    if (r->offset)
        *value = *(const uint64_t *)((const char *)c + r->offset);
    else if (r->constant)
        *value = r->value;
    else if (r->get)
        *value = r->get(c, number);
    else
        return A64_IS_UNDEFINED;
    return A64_OK;
}

enum a64_access_result a64_sysreg_write(struct a64_cpu *c, unsigned number, uint64_t value)
{
    const struct sysreg *r;
    enum a64_access_result result = look_up(c, number, &r);

    if (result == A64_IS_UNDEFINED)
        return machine_access(c, number, true, &value) ? A64_OK : result;
    if (result != A64_OK)
        return result;
    if (r->offset)
        *(uint64_t *)((char *)c + r->offset) = value & r->mask;
    else if (r->set)
        r->set(c, number, value);
    else if (!r->ignores_writes)
        return A64_IS_UNDEFINED;
    return A64_OK;
}

void a64_trap_sysreg(struct a64_cpu *c, unsigned number, unsigned rt, bool reads)
{
    uint64_t op0 = number >> 14, op1 = number >> 11 & 7, crn = number >> 7 & 15;
    uint64_t crm = number >> 3 & 15, op2 = number & 7;

    a64_raise(c, A64_EC_SYSREG,
              op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | (uint64_t)rt << 5 | crm << 1 | reads);
}

/* --- helpers ---------------------------------------------------------------------------------- */

/* Raises what RESULT says; true where that is nothing. */
static bool passes(struct a64_cpu *c, enum a64_access_result result, uint64_t number, uint64_t rt,
                   bool reads)
{
    if (result == A64_IS_UNDEFINED)
        a64_raise(c, A64_EC_UNKNOWN, 0);
    else if (result == A64_TRAPS)
        a64_trap_sysreg(c, (unsigned)number, (unsigned)rt, reads);
    return result == A64_OK;
}

uint64_t a64_help_mrs(struct xl_cpu *cpu, uint64_t number, uint64_t rt)
{
    struct a64_cpu *c = a64_cpu(cpu);
    uint64_t value = 0;

    passes(c, a64_sysreg_read(c, (unsigned)number, &value), number, rt, true);
    return value;
}

uint64_t a64_help_msr_plain(struct xl_cpu *cpu, uint64_t number, uint64_t value, uint64_t rt)
{
    struct a64_cpu *c = a64_cpu(cpu);

    passes(c, a64_sysreg_write(c, (unsigned)number, value), number, rt, false);
    return 0;
}

uint64_t a64_help_msr(struct xl_cpu *cpu, uint64_t number, uint64_t value, uint64_t rt)
{
    struct a64_cpu *c = a64_cpu(cpu);

    if (passes(c, a64_sysreg_write(c, (unsigned)number, value), number, rt, false))
        cpu->pc += 4;
    return 0;
}

uint64_t a64_help_trap_sysreg(struct xl_cpu *cpu, uint64_t number, uint64_t how)
{
    a64_trap_sysreg(a64_cpu(cpu), (unsigned)number, (unsigned)(how >> 1), how & 1);
    return 0;
}
