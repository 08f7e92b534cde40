/*
 * Traps and interrupts, the instructions that return from them, and those that wait or call out.
 */
#include "xlate/sys/riscv64/rv_hart.h"

#include "xlate/mmu/mmu.h"

#include <sched.h>

/* --- entering a handler ----------------------------------------------------------------------- */

/* Does CAUSE, from the present privilege, go to S-mode? */
static bool delegated(const struct rv_hart *hart, uint64_t cause)
{
    uint64_t deleg = cause & RV_CAUSE_INTERRUPT ? hart->mideleg : hart->medeleg;

    return hart->priv != RV_PRIV_M && (!hart->firmware || (deleg >> (cause & 63) & 1));
}

static uint64_t vector(uint64_t tvec, uint64_t cause)
{
    bool vectored = (tvec & 1) && (cause & RV_CAUSE_INTERRUPT);

    return (tvec & ~UINT64_C(3)) + (vectored ? 4 * (cause & 63) : 0);
}

static void enter_s(struct rv_hart *hart, uint64_t cause, uint64_t tval)
{
    uint64_t s = hart->mstatus & ~(MSTATUS_SPP | MSTATUS_SPIE | MSTATUS_SIE);

    hart->sepc = hart->cpu.pc;
    hart->scause = cause;
    hart->stval = tval;
    hart->mstatus = s | (hart->priv == RV_PRIV_S ? MSTATUS_SPP : 0) |
                    (hart->mstatus & MSTATUS_SIE ? MSTATUS_SPIE : 0);
    hart->priv = RV_PRIV_S;
    hart->cpu.pc = vector(hart->stvec, cause);
}

static void enter_m(struct rv_hart *hart, uint64_t cause, uint64_t tval)
{
    uint64_t s = hart->mstatus & ~(MSTATUS_MPP | MSTATUS_MPIE | MSTATUS_MIE);

    hart->mepc = hart->cpu.pc;
    hart->mcause = cause;
    hart->mtval = tval;
    hart->mstatus = s | (uint64_t)hart->priv << MSTATUS_MPP_SHIFT |
                    (hart->mstatus & MSTATUS_MIE ? MSTATUS_MPIE : 0);
    hart->priv = RV_PRIV_M;
    hart->cpu.pc = vector(hart->mtvec, cause);
}

void rv_trap(struct rv_hart *hart, uint64_t cause, uint64_t tval)
{
    if (delegated(hart, cause))
        enter_s(hart, cause, tval);
    else
        enter_m(hart, cause, tval);
    hart->cpu.slots[RV_SLOT_RES_TAG] = RV_RES_NONE;
    rv_update_mode(hart);
}

void rv_take_fault(struct xl_cpu *cpu)
{
    uint64_t cause = cpu->fault - 1;

    cpu->fault = 0;
    rv_trap(rv_hart(cpu), cause, cpu->fault_value);
}

/* --- interrupts ------------------------------------------------------------------------------- */

/* The highest of PENDING, in the manual's order, or -1. */
static int highest(uint64_t pending)
{
    static const uint8_t order[] = {RISCV_IRQ_M_EXT, RISCV_IRQ_M_SOFT, RISCV_IRQ_M_TIMER,
                                    RISCV_IRQ_S_EXT, RISCV_IRQ_S_SOFT, RISCV_IRQ_S_TIMER};

    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        if (pending & BIT(order[i]))
            return order[i];
    }
    return -1;
}

/* The interrupt that the hart takes now, or -1. Those for M-mode come first. STIP is as it was when
 * the clock was last looked at: the timer asks for that (rv_refresh()). */
static int choose(const struct rv_hart *hart)
{
    uint64_t pending = rv_pending(hart) & hart->mie;
    bool m_on = hart->priv != RV_PRIV_M || (hart->mstatus & MSTATUS_MIE);
    bool s_on = hart->priv == RV_PRIV_U || (hart->priv == RV_PRIV_S && (hart->mstatus & MSTATUS_SIE));
    int irq = m_on ? highest(pending & ~hart->mideleg) : -1;

    return irq < 0 && s_on ? highest(pending & hart->mideleg) : irq;
}

bool rv_poll(struct xl_cpu *cpu)
{
    struct rv_hart *hart = rv_hart(cpu);
    int irq = choose(hart);

    if (irq < 0)
        return false;
    cpu->waiting = false;
    xl_count(&cpu->count.interrupts, 1);
    rv_trap(hart, RV_CAUSE_INTERRUPT | (unsigned)irq, 0);
    return true;
}

bool rv_idle(struct xl_cpu *cpu, uint64_t *deadline)
{
    struct rv_hart *hart = rv_hart(cpu);

    if (rv_mip(hart) & hart->mie)
        return false;
    *deadline = hart->mie & BIT(RISCV_IRQ_S_TIMER) ? rv_deadline(hart) : UINT64_MAX;
    return true;
}

/* The supervisor software interrupt latches: the guest clears it. */
void rv_set_irq(struct xl_cpu *cpu, unsigned irq, bool level)
{
    struct rv_hart *hart = rv_hart(cpu);
    uint32_t bit = 1u << (irq & 31), old;

    if (!level) {
        if (irq != RISCV_IRQ_S_SOFT)
            __atomic_fetch_and(&hart->lines, ~bit, __ATOMIC_SEQ_CST);
        return;
    }
    old = __atomic_fetch_or(&hart->lines, bit, __ATOMIC_SEQ_CST);
    if (!(old & bit))
        cpu->host->attend(cpu);
}

/* --- returning -------------------------------------------------------------------------------- */

uint64_t rv_help_sret(struct xl_cpu *cpu, uint64_t insn)
{
    struct rv_hart *hart = rv_hart(cpu);
    uint64_t s = hart->mstatus;

    if (hart->priv == RV_PRIV_U || (hart->priv == RV_PRIV_S && (s & MSTATUS_TSR))) {
        rv_raise(hart, RV_ILLEGAL, insn);
        return 0;
    }
    hart->priv = s & MSTATUS_SPP ? RV_PRIV_S : RV_PRIV_U;
    hart->mstatus = (s & ~(MSTATUS_SIE | MSTATUS_SPP | MSTATUS_MPRV)) | MSTATUS_SPIE |
                    (s & MSTATUS_SPIE ? MSTATUS_SIE : 0);
    cpu->pc = hart->sepc;
    rv_update_mode(hart);
    return 0;
}

uint64_t rv_help_mret(struct xl_cpu *cpu, uint64_t insn)
{
    struct rv_hart *hart = rv_hart(cpu);
    uint64_t s = hart->mstatus;
    unsigned to = (unsigned)(s >> MSTATUS_MPP_SHIFT & 3);

    if (hart->priv != RV_PRIV_M) {
        rv_raise(hart, RV_ILLEGAL, insn);
        return 0;
    }
    hart->priv = (uint8_t)to;
    s = (s & ~(MSTATUS_MIE | MSTATUS_MPP)) | MSTATUS_MPIE | (s & MSTATUS_MPIE ? MSTATUS_MIE : 0);
    hart->mstatus = to == RV_PRIV_M ? s : s & ~MSTATUS_MPRV;
    cpu->pc = hart->mepc;
    rv_update_mode(hart);
    return 0;
}

/* --- calling out ------------------------------------------------------------------------------ */

/* A call of S-mode code to the machine's built-in firmware, which stands in for M-mode. */
static void hypercall(struct rv_hart *hart)
{
    const struct accel_config *config = &hart->cpu.vcpu.accel->config;
    uint64_t *a0 = &hart->cpu.slots[RV_SLOT_X + 10], args[8];

    memcpy(args, a0, sizeof(args));
    hart->cpu.pc += 4;
    if (!config->hypercall(config->hypercall_opaque, hart->cpu.vcpu.index, args))
        __atomic_fetch_or(&hart->cpu.request, (uint32_t)XL_REQ_KICK, __ATOMIC_SEQ_CST);
    memcpy(a0, args, 2 * sizeof(args[0]));
}

uint64_t rv_help_ecall(struct xl_cpu *cpu)
{
    struct rv_hart *hart = rv_hart(cpu);

    if (hart->priv == RV_PRIV_S && !hart->firmware)
        hypercall(hart);
    else
        rv_raise(hart, (enum rv_cause)(RV_ECALL + hart->priv), 0);
    return 0;
}

uint64_t rv_help_ebreak(struct xl_cpu *cpu)
{
    rv_raise(rv_hart(cpu), RV_BREAKPOINT, cpu->pc);
    return 0;
}

uint64_t rv_help_illegal(struct xl_cpu *cpu, uint64_t insn)
{
    rv_raise(rv_hart(cpu), RV_ILLEGAL, insn);
    return 0;
}

/* U-mode may not wait (no bounded wait is offered), nor S-mode where TW says so. */
uint64_t rv_help_wfi(struct xl_cpu *cpu, uint64_t insn)
{
    struct rv_hart *hart = rv_hart(cpu);

    if (hart->priv == RV_PRIV_U || (hart->priv == RV_PRIV_S && (hart->mstatus & MSTATUS_TW))) {
        rv_raise(hart, RV_ILLEGAL, insn);
        return 0;
    }
    cpu->waiting = true;
    cpu->pc += 4;
    return 0;
}

/* A spinning hart lets the one it waits for run, where host CPUs are fewer than vCPUs. */
uint64_t rv_help_pause(struct xl_cpu *cpu)
{
    if (cpu->vcpu.accel->config.vcpus > 1)
        sched_yield();
    return 0;
}

/* --- fences ----------------------------------------------------------------------------------- */

enum { SFENCE_VA = 1, SFENCE_ASID = 2 };

uint64_t rv_help_sfence_vma(struct xl_cpu *cpu, uint64_t va, uint64_t asid, uint64_t which)
{
    struct rv_hart *hart = rv_hart(cpu);
    uint32_t space = MMU_EVERY_SPACE;

    if (hart->priv == RV_PRIV_U || (hart->priv == RV_PRIV_S && (hart->mstatus & MSTATUS_TVM))) {
        rv_raise(hart, RV_ILLEGAL, which >> 8);
        return 0;
    }
    if (which & SFENCE_ASID)
        space = rv_space(hart, asid);
    if (which & SFENCE_VA)
        mmu_flush(cpu, va, 1, space);
    else
        mmu_flush(cpu, 0, UINT64_MAX, space);
    cpu->pc += 4;
    return 0;
}

void rv_tlb_fence(struct xl_cpu *cpu, gva_t start, uint64_t size, uint64_t asid, bool one_space)
{
    mmu_flush(cpu, start, size, one_space ? rv_space(rv_hart(cpu), asid) : MMU_EVERY_SPACE);
}

uint64_t rv_help_fence_i(struct xl_cpu *cpu)
{
    cpu->host->code_foreign(cpu, NULL);
    cpu->host->fence_code(cpu);
    cpu->pc += 4;
    return 0;
}

/* --- cache blocks ----------------------------------------------------------------------------- */

enum { BLOCK = 64 };

/* Is FIELD (of menvcfg and senvcfg) nonzero for the present privilege? */
static bool envcfg_on(const struct rv_hart *hart, uint64_t field)
{
    return (hart->priv == RV_PRIV_M || !hart->firmware || (hart->menvcfg & field)) &&
           (hart->priv != RV_PRIV_U || (hart->senvcfg & field));
}

/* Memory is coherent, so that only the checks are left. A block that may be read or written may be
 * cleaned; what may not, faults as a store (CMO, "Cache-Block Management Instructions"). */
static uint64_t manage(struct xl_cpu *cpu, gva_t va, uint64_t insn, uint64_t field)
{
    if (!envcfg_on(rv_hart(cpu), field)) {
        rv_raise(rv_hart(cpu), RV_ILLEGAL, insn);
        return 0;
    }
    if (!mmu_probe(cpu, va, XL_LOAD)) {
        cpu->fault = 0;
        mmu_probe(cpu, va, XL_STORE);
    }
    return 0;
}

uint64_t rv_help_cbo_inval(struct xl_cpu *cpu, uint64_t va, uint64_t insn)
{
    return manage(cpu, va, insn, ENVCFG_CBIE);
}

uint64_t rv_help_cbo_clean(struct xl_cpu *cpu, uint64_t va, uint64_t insn)
{
    return manage(cpu, va, insn, ENVCFG_CBCFE);
}

uint64_t rv_help_cbo_flush(struct xl_cpu *cpu, uint64_t va, uint64_t insn)
{
    return manage(cpu, va, insn, ENVCFG_CBCFE);
}

uint64_t rv_help_cbo_zero(struct xl_cpu *cpu, uint64_t va, uint64_t insn)
{
    struct rv_hart *hart = rv_hart(cpu);
    void *host;

    if (!envcfg_on(hart, ENVCFG_CBZE)) {
        rv_raise(hart, RV_ILLEGAL, insn);
        return 0;
    }
    host = mmu_range(cpu, va & ~(gva_t)(BLOCK - 1), BLOCK, XL_STORE);
    if (host)
        memset(host, 0, BLOCK);
    else
        cpu->fault_value = va;
    return 0;
}
