/*
 * Control and status registers: the table of rv_csrs.inc and what its functions do. Numbers and
 * fields follow the privileged manual's chapters "Machine-Level ISA" and "Supervisor-Level ISA",
 * and the Sstc and CMO extensions. WARL fields keep a legal value on an illegal write.
 */
#include "xlate/sys/riscv64/rv_hart.h"

/* IMAFDC, B, S and U, in 64 bits. */
#define RV_MISA                                                                                    \
    (UINT64_C(2) << 62 | BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(5) | BIT(8) | BIT(12) | BIT(18) | \
     BIT(20))

enum { COUNTER_TM = 1 };

#define NS_PER_S UINT64_C(1000000000)

struct csr {
    const char *name;
    bool (*get)(struct rv_hart *hart, unsigned csr, uint64_t *value); /* false: illegal */
    bool (*set)(struct rv_hart *hart, unsigned csr, uint64_t value);
    uint64_t value, mask; /* of a constant; what of a field can be written */
    uint32_t offset;      /* of a field; 0: no field */
};

/* --- time ------------------------------------------------------------------------------------- */

static const struct accel_config *config(const struct rv_hart *hart)
{
    return &hart->cpu.vcpu.accel->config;
}

uint64_t rv_time(const struct rv_hart *hart)
{
    return (uint64_t)((unsigned __int128)vm_clock_now(config(hart)->clock) *
                      config(hart)->timebase_hz / NS_PER_S);
}

uint64_t rv_deadline(const struct rv_hart *hart)
{
    uint64_t hz = config(hart)->timebase_hz;
    unsigned __int128 ns = ((unsigned __int128)hart->stimecmp * NS_PER_S + hz - 1) / hz;

    return ns > INT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

static bool stce(const struct rv_hart *hart)
{
    return !hart->firmware || (hart->menvcfg & ENVCFG_STCE);
}

void rv_refresh(struct xl_cpu *cpu)
{
    struct rv_hart *hart = rv_hart(cpu);

    if (!hart->stip && hart->stimecmp != UINT64_MAX)
        rv_update_timer(hart);
}

void rv_update_timer(struct rv_hart *hart)
{
    bool on = stce(hart);

    hart->stip = on && rv_time(hart) >= hart->stimecmp;
    hart->cpu.host->timer(&hart->cpu, on && !hart->stip ? rv_deadline(hart) : UINT64_MAX);
}

/* --- counters -------------------------------------------------------------------------------------
 * Cycles are guest nanoseconds. Retired instructions are counted by generated code, one by one, from
 * the first time that the hart's software asks for them: code isn't slowed down for nothing. Up to
 * then they are nanoseconds too.
 */

/* May the present privilege read this counter? mcounteren and scounteren. */
static bool counter_allowed(const struct rv_hart *hart, unsigned csr)
{
    uint64_t bit = BIT(csr & 31);

    if (csr < 0xc00 || hart->priv == RV_PRIV_M)
        return true;
    return (!hart->firmware || (hart->mcounteren & bit)) &&
           (hart->priv == RV_PRIV_S || (hart->scounteren & bit));
}

/* Guest nanoseconds of the cycle counter, without what was written to it. */
static uint64_t cycles(const struct rv_hart *hart)
{
    return hart->mcountinhibit & MCOUNTINHIBIT_CY ? 0 : vm_clock_now(config(hart)->clock);
}

static bool get_cycle(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = cycles(hart) + hart->cycle_offset;
    return counter_allowed(hart, csr);
}

static bool get_instret(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->cpu.slots[RV_SLOT_INSTRET];
    return counter_allowed(hart, csr);
}

static bool get_time(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = rv_time(hart);
    return counter_allowed(hart, csr);
}

static bool get_zero(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = 0;
    return true;
}

static bool get_hpmcounter(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = 0;
    return counter_allowed(hart, csr);
}

static bool set_cycle(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    hart->cycle_offset = value - cycles(hart);
    return true;
}

static bool set_instret(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    hart->cpu.slots[RV_SLOT_INSTRET] = value;
    return true;
}

static bool get_mcountinhibit(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->mcountinhibit;
    return true;
}

static bool set_mcountinhibit(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    uint64_t cycle = cycles(hart) + hart->cycle_offset;

    hart->mcountinhibit = value & (MCOUNTINHIBIT_CY | MCOUNTINHIBIT_IR);
    return set_cycle(hart, csr, cycle);
}

/* --- status ----------------------------------------------------------------------------------- */

static uint64_t status(const struct rv_hart *hart)
{
    bool dirty = (hart->mstatus & MSTATUS_FS) == MSTATUS_FS;

    return hart->mstatus | MSTATUS_UXL | MSTATUS_SXL | (dirty ? MSTATUS_SD : 0);
}

static bool get_mstatus(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = status(hart);
    return true;
}

static bool get_sstatus(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = status(hart) & (SSTATUS_WRITE | MSTATUS_UXL | MSTATUS_SD);
    return true;
}

static bool set_mstatus(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    if ((value & MSTATUS_MPP) == UINT64_C(2) << MSTATUS_MPP_SHIFT)
        value = (value & ~MSTATUS_MPP) | (hart->mstatus & MSTATUS_MPP);
    hart->mstatus = (hart->mstatus & ~MSTATUS_WRITE) | (value & MSTATUS_WRITE);
    rv_update_mode(hart);
    return true;
}

static bool set_sstatus(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    hart->mstatus = (hart->mstatus & ~SSTATUS_WRITE) | (value & SSTATUS_WRITE);
    rv_update_mode(hart);
    return true;
}

void rv_set_frm(struct rv_hart *hart, unsigned frm)
{
    hart->frm = frm & 7;
    hart->cpu.fp_rm = (uint8_t)(hart->frm <= 4 ? IR_RM_RNE + hart->frm : IR_RM_RNE);
    rv_update_mode(hart);
}

/* --- interrupts ------------------------------------------------------------------------------- */

static uint64_t lines(const struct rv_hart *hart)
{
    return __atomic_load_n(&hart->lines, __ATOMIC_ACQUIRE);
}

uint64_t rv_pending(const struct rv_hart *hart)
{
    uint64_t mip = lines(hart) | hart->soft;

    if (!stce(hart))
        return mip;
    if (hart->firmware) /* STIP is stimecmp's alone */
        mip &= ~BIT(RISCV_IRQ_S_TIMER);
    return mip | (hart->stip ? BIT(RISCV_IRQ_S_TIMER) : 0);
}

uint64_t rv_mip(struct rv_hart *hart)
{
    if (!hart->stip)
        hart->stip = stce(hart) && rv_time(hart) >= hart->stimecmp;
    return rv_pending(hart);
}

/* The supervisor software interrupt latches in LINES. */
static void set_ssip(struct rv_hart *hart, bool on)
{
    if (on)
        __atomic_fetch_or(&hart->lines, (uint32_t)BIT(RISCV_IRQ_S_SOFT), __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&hart->lines, (uint32_t)~BIT(RISCV_IRQ_S_SOFT), __ATOMIC_SEQ_CST);
}

static bool get_mip(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = rv_mip(hart);
    return true;
}

static bool set_mip(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    uint64_t can = BIT(RISCV_IRQ_S_EXT) | (stce(hart) ? 0 : BIT(RISCV_IRQ_S_TIMER));

    set_ssip(hart, value & BIT(RISCV_IRQ_S_SOFT));
    hart->soft = (uint32_t)((hart->soft & ~can) | (value & can));
    return true;
}

static bool get_sip(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = rv_mip(hart) & hart->mideleg;
    return true;
}

static bool set_sip(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    if (hart->mideleg & BIT(RISCV_IRQ_S_SOFT))
        set_ssip(hart, value & BIT(RISCV_IRQ_S_SOFT));
    return true;
}

static bool get_sie(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->mie & hart->mideleg;
    return true;
}

static bool set_sie(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    hart->mie = (hart->mie & ~hart->mideleg) | (value & hart->mideleg);
    return true;
}

static bool get_mideleg(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->mideleg;
    return true;
}

static bool set_mideleg(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    hart->mideleg = value & RV_S_IRQS;
    return true;
}

/* Sstc: M-mode must allow S-mode both the timer and reading the time. */
static bool stimecmp_allowed(const struct rv_hart *hart)
{
    return hart->priv == RV_PRIV_M || (stce(hart) && counter_allowed(hart, 0xc00 + COUNTER_TM));
}

static bool get_stimecmp(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->stimecmp;
    return stimecmp_allowed(hart);
}

static bool set_stimecmp(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    if (!stimecmp_allowed(hart))
        return false;
    hart->stimecmp = value;
    rv_update_timer(hart);
    return true;
}

/* --- environment configuration ---------------------------------------------------------------- */

/* CBIE 2 is reserved: the field keeps its value. */
static uint64_t envcfg(uint64_t old, uint64_t value, uint64_t mask)
{
    if ((value & ENVCFG_CBIE) == BIT(5))
        mask &= ~ENVCFG_CBIE;
    return (old & ~mask) | (value & mask);
}

static bool get_menvcfg(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->menvcfg;
    return true;
}

static bool set_menvcfg(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    hart->menvcfg = envcfg(hart->menvcfg, value, MENVCFG_WRITE);
    rv_update_timer(hart);
    return true;
}

static bool get_senvcfg(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->senvcfg;
    return true;
}

static bool set_senvcfg(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    hart->senvcfg = envcfg(hart->senvcfg, value, SENVCFG_WRITE);
    return true;
}

/* --- translation and protection --------------------------------------------------------------- */

static bool tvm_traps(const struct rv_hart *hart)
{
    return hart->priv == RV_PRIV_S && (hart->mstatus & MSTATUS_TVM);
}

static bool get_satp(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->satp;
    return !tvm_traps(hart);
}

/* A write with a mode that isn't implemented has no effect at all. */
static bool set_satp(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    unsigned mode = (unsigned)(value >> SATP_MODE_SHIFT);

    if (tvm_traps(hart))
        return false;
    if (mode != RV_BARE && mode != RV_SV39 && mode != RV_SV48)
        return true;
    hart->satp = value;
    rv_update_mode(hart);
    return true;
}

static bool get_mhartid(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = hart->cpu.vcpu.index;
    return true;
}

enum { PMP_R = 1, PMP_W = 2, PMP_A = 3 << 3, PMP_NA4 = 2 << 3, PMP_TOR = 1 << 3, PMP_L = 1 << 7 };
/* Granularity of 4 KiB: G = 10. The low bits of addresses read as ones under NAPOT (one less of
 * them), as zeros otherwise. */
#define PMP_ADDR_MASK (BIT(54) - 1)
#define PMP_NAPOT_ONES (BIT(9) - 1)
#define PMP_OFF_ZEROS  (BIT(10) - 1)

static bool get_pmpcfg(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < 8; i++)
        *value |= (uint64_t)hart->pmpcfg[(csr - 0x3a0) * 4 + i] << (8 * i);
    return true;
}

static bool set_pmpcfg(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *cfg = &hart->pmpcfg[(csr - 0x3a0) * 4 + i], new = value >> (8 * i) & 0x9f;
        if (*cfg & PMP_L)
            continue;
        if ((new & (PMP_R | PMP_W)) == PMP_W) /* reserved: the rights stay */
            new = (new & ~7) | (*cfg & 7);
        if ((new & PMP_A) == PMP_NA4) /* not with this granularity */
            new = (uint8_t)((new & ~PMP_A) | (*cfg & PMP_A));
        *cfg = new;
    }
    rv_update_pmp(hart);
    return true;
}

static bool get_pmpaddr(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    unsigned i = csr - 0x3b0;
    bool napot = (hart->pmpcfg[i] & PMP_A) == PMP_A;

    *value = napot ? hart->pmpaddr[i] | PMP_NAPOT_ONES : hart->pmpaddr[i] & ~PMP_OFF_ZEROS;
    return true;
}

static bool set_pmpaddr(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    unsigned i = csr - 0x3b0;
    uint8_t next = i + 1 < RV_PMP_ENTRIES ? hart->pmpcfg[i + 1] : 0;

    if ((hart->pmpcfg[i] & PMP_L) || ((next & PMP_L) && (next & PMP_A) == PMP_TOR))
        return true;
    hart->pmpaddr[i] = value & PMP_ADDR_MASK;
    rv_update_pmp(hart);
    return true;
}

/* --- the table -------------------------------------------------------------------------------- */

#define CSR_FIELD(number, name, field, mask) ROW_##name,
#define CSR_CONST(number, name, value)       ROW_##name,
#define CSR_FN(number, name, get, set)       ROW_##name,
#define CSR_FNS(first, last, name, get, set) ROW_##name,
enum {
    ROW_NONE,
#include "xlate/sys/riscv64/rv_csrs.inc"
};
#undef CSR_FIELD
#undef CSR_CONST
#undef CSR_FN
#undef CSR_FNS

#define CSR_FIELD(number, name, field, mask_)                                                      \
    [ROW_##name] = {#name, .offset = offsetof(struct rv_hart, field), .mask = (mask_)},
#define CSR_CONST(number, name, value_)        [ROW_##name] = {#name, .value = (value_)},
#define CSR_FN(number, name, get_, set_)       [ROW_##name] = {#name, .get = (get_), .set = (set_)},
#define CSR_FNS(first, last, name, get_, set_) CSR_FN(first, name, get_, set_)
static const struct csr rows[] = {
#include "xlate/sys/riscv64/rv_csrs.inc"
};
#undef CSR_FIELD
#undef CSR_CONST
#undef CSR_FN
#undef CSR_FNS

#define CSR_FIELD(number, name, field, mask) [number] = ROW_##name,
#define CSR_CONST(number, name, value)       [number] = ROW_##name,
#define CSR_FN(number, name, get, set)       [number] = ROW_##name,
#define CSR_FNS(first, last, name, get, set) [first... last] = ROW_##name,
static const uint8_t row_of[4096] = {
#include "xlate/sys/riscv64/rv_csrs.inc"
};

const char *rv_csr_name(unsigned csr)
{
    return rows[row_of[csr & 4095]].name;
}

static const uint64_t *field_of(const struct rv_hart *hart, const struct csr *row)
{
    return (const uint64_t *)(const void *)((const char *)hart + row->offset);
}

bool rv_csr_get(struct rv_hart *hart, unsigned csr, uint64_t *value)
{
    const struct csr *row = &rows[row_of[csr & 4095]];

    if (!row->name)
        return false;
    if (row->get)
        return row->get(hart, csr, value);
    *value = row->offset ? *field_of(hart, row) : row->value;
    return true;
}

bool rv_csr_set(struct rv_hart *hart, unsigned csr, uint64_t value)
{
    const struct csr *row = &rows[row_of[csr & 4095]];

    if (!row->name)
        return false;
    if (row->set)
        return row->set(hart, csr, value);
    if (row->offset) {
        uint64_t *field = (uint64_t *)field_of(hart, row);
        *field = (*field & ~row->mask) | (value & row->mask);
    }
    return true;
}

/* --- helpers ---------------------------------------------------------------------------------- */

uint64_t rv_help_csr_read(struct xl_cpu *cpu, uint64_t csr, uint64_t insn)
{
    uint64_t value = 0;

    if (!rv_csr_get(rv_hart(cpu), (unsigned)csr, &value))
        rv_raise(rv_hart(cpu), RV_ILLEGAL, insn);
    return value;
}

static uint64_t combine(uint64_t old, uint64_t operand, enum rv_csr_op op)
{
    return op == RV_CSR_SWAP ? operand : op == RV_CSR_SET ? old | operand : old & ~operand;
}

/* Reads and writes; false and a fault when that is illegal. */
static bool csr_write(struct rv_hart *hart, unsigned csr, uint64_t operand, enum rv_csr_op op,
                      uint64_t insn, uint64_t *old)
{
    if (rv_csr_get(hart, csr, old)) {
        uint64_t base = *old;
        /* A set or clear of mip keeps what M-mode wrote to SEIP, whatever the input adds. */
        if (row_of[csr & 4095] == ROW_mip && op != RV_CSR_SWAP) {
            base &= ~BIT(RISCV_IRQ_S_EXT);
            base |= hart->soft & BIT(RISCV_IRQ_S_EXT);
        }
        if (rv_csr_set(hart, csr, combine(base, operand, op)))
            return true;
    }
    rv_raise(hart, RV_ILLEGAL, insn);
    return false;
}

uint64_t rv_help_csr_write(struct xl_cpu *cpu, uint64_t csr, uint64_t operand, uint64_t op,
                           uint64_t insn)
{
    uint64_t old = 0;

    if (csr_write(rv_hart(cpu), (unsigned)csr, operand, (enum rv_csr_op)op, insn, &old))
        cpu->pc += 4;
    return old;
}

uint64_t rv_help_csr_write_plain(struct xl_cpu *cpu, uint64_t csr, uint64_t operand, uint64_t op,
                                 uint64_t insn)
{
    uint64_t old = 0;

    csr_write(rv_hart(cpu), (unsigned)csr, operand, (enum rv_csr_op)op, insn, &old);
    return old;
}

/* The first access of the count: until now it went by as many instructions as nanoseconds. */
static void begin_count(struct rv_hart *hart)
{
    if (!hart->counting)
        hart->cpu.slots[RV_SLOT_INSTRET] = vm_clock_now(config(hart)->clock);
    hart->counting = 1;
}

/*
 * A unit of mode UNIT, which adds one for its instruction or doesn't, has accessed CSR: a read counts
 * from the first on, what was written is what the next instruction finds, and a change of the inhibit
 * bit is for the instructions after it.
 */
static void count_access(struct rv_hart *hart, uint64_t csr, uint32_t unit, bool written)
{
    uint64_t *instret = &hart->cpu.slots[RV_SLOT_INSTRET];
    bool counts = unit & RV_MODE_COUNT;

    if (written && csr == RV_CSR_MINSTRET)
        *instret -= counts;
    else if (!written && !counts && !(hart->mcountinhibit & MCOUNTINHIBIT_IR))
        *instret += 1;
    rv_update_mode(hart);
}

uint64_t rv_help_count_read(struct xl_cpu *cpu, uint64_t csr, uint64_t insn)
{
    begin_count(rv_hart(cpu));
    uint64_t value = rv_help_csr_read(cpu, csr, insn);
    if (cpu->fault)
        return 0;
    count_access(rv_hart(cpu), csr, cpu->mode, false);
    cpu->pc += 4;
    return value;
}

uint64_t rv_help_count_write(struct xl_cpu *cpu, uint64_t csr, uint64_t operand, uint64_t op,
                             uint64_t insn)
{
    struct rv_hart *hart = rv_hart(cpu);
    uint32_t unit = cpu->mode;
    uint64_t old = 0;

    begin_count(hart);
    if (!csr_write(hart, (unsigned)csr, operand, (enum rv_csr_op)op, insn, &old))
        return 0;
    count_access(hart, csr, unit, true);
    cpu->pc += 4;
    return old;
}

static uint64_t fcsr(const struct rv_hart *hart, uint64_t csr)
{
    switch (csr) {
    case RV_CSR_FFLAGS:
        return hart->cpu.fp_flags;
    case RV_CSR_FRM:
        return hart->frm;
    default:
        return (uint64_t)hart->frm << 5 | hart->cpu.fp_flags;
    }
}

uint64_t rv_help_fcsr_read(struct xl_cpu *cpu, uint64_t csr)
{
    return fcsr(rv_hart(cpu), csr);
}

uint64_t rv_help_fflags_write(struct xl_cpu *cpu, uint64_t csr, uint64_t operand, uint64_t op)
{
    uint64_t old = cpu->fp_flags;

    cpu->fp_flags = combine(old, operand, (enum rv_csr_op)op) & 0x1f;
    return old;
}

uint64_t rv_help_fcsr_write(struct xl_cpu *cpu, uint64_t csr, uint64_t operand, uint64_t op)
{
    struct rv_hart *hart = rv_hart(cpu);
    uint64_t old = fcsr(hart, csr), value = combine(old, operand, (enum rv_csr_op)op);

    if (csr == RV_CSR_FCSR)
        cpu->fp_flags = value & 0x1f;
    hart->mstatus |= MSTATUS_FS;
    rv_set_frm(hart, (unsigned)(csr == RV_CSR_FCSR ? value >> 5 : value) & 7);
    cpu->pc += 4;
    return old;
}

uint64_t rv_help_fp_dirty(struct xl_cpu *cpu)
{
    rv_hart(cpu)->mstatus |= MSTATUS_FS;
    rv_update_mode(rv_hart(cpu));
    return 0;
}
