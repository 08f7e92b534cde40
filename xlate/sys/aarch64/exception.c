/*
 * Exceptions and interrupts, the return from them, and the instructions that wait or call out.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

#include <sched.h>

/* --- PSTATE ----------------------------------------------------------------------------------- */

uint64_t a64_nzcv_from_slot(uint64_t flags)
{
    return (flags & (IR_NZCV_N | IR_NZCV_Z)) << 16 | (flags & IR_NZCV_C) << 21 |
           (flags & IR_NZCV_V) << 28;
}

uint64_t a64_nzcv_to_slot(uint64_t spsr)
{
    return (spsr >> 16 & (IR_NZCV_N | IR_NZCV_Z)) | (spsr >> 21 & IR_NZCV_C) |
           (spsr >> 28 & IR_NZCV_V);
}

uint64_t a64_spsr(const struct a64_cpu *c)
{
    return a64_nzcv_from_slot(c->cpu.slots[A64_SLOT_NZCV]) | c->cpu.slots[A64_SLOT_DAIF] |
           (c->ss ? SPSR_SS : 0) | (c->pan ? SPSR_PAN : 0) | (c->uao ? SPSR_UAO : 0) |
           (uint64_t)c->el << SPSR_EL_SHIFT | c->spsel;
}

/* --- entering a handler ----------------------------------------------------------------------- */

/* Offsets in a group of vectors. */
enum vector { VECTOR_SYNC = 0x000, VECTOR_IRQ = 0x080, VECTOR_FIQ = 0x100 };

/* Takes the exception to EL1 (AArch64.TakeException()); SPSR is the PSTATE that it saves. */
static void enter(struct a64_cpu *c, enum vector vector, uint64_t spsr)
{
    uint64_t *slots = c->cpu.slots;
    unsigned group = c->el == A64_EL0 ? 0x400 : c->spsel ? 0x200 : 0x000;

    slots[A64_SLOT_SPSR_EL1] = spsr;
    slots[A64_SLOT_ELR_EL1] = c->cpu.pc;
    a64_set_el(c, A64_EL1, 1);
    slots[A64_SLOT_DAIF] = SPSR_DAIF;
    slots[A64_SLOT_EXCL_TAG] = A64_EXCL_NONE;
    c->ss = 0;
    c->uao = 0;
    if (!(c->sctlr & SCTLR_SPAN))
        c->pan = 1;
    c->cpu.pc = c->vbar + group + vector;
    a64_update_mode(c);
}

void a64_raise(struct a64_cpu *c, enum a64_ec ec, uint64_t iss)
{
    c->cpu.fault = (uint32_t)ec + 1;
    c->syndrome = (uint64_t)ec << ESR_EC_SHIFT | ESR_IL | iss;
    c->far_valid = 0;
}

void a64_raise_at(struct a64_cpu *c, enum a64_ec ec, uint64_t iss, uint64_t far)
{
    a64_raise(c, ec, iss);
    c->cpu.fault_value = far;
    c->far_valid = 1;
}

/* Classes that have a number of their own where they come from EL1. */
static bool tells_el(unsigned ec)
{
    return ec == A64_EC_FETCH_ABORT || ec == A64_EC_DATA_ABORT || ec == A64_EC_BREAKPOINT ||
           ec == A64_EC_STEP || ec == A64_EC_WATCHPOINT;
}

void a64_take_fault(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);
    uint32_t fault = cpu->fault;

    cpu->fault = 0;
    if (fault == A64_FAULT_TAGGED_PC) {
        cpu->pc = a64_untagged(c, cpu->pc);
        return;
    }
    if (c->el == A64_EL1 && tells_el(fault - 1))
        c->syndrome += BIT(ESR_EC_SHIFT);
    cpu->slots[A64_SLOT_ESR_EL1] = c->syndrome;
    if (c->far_valid)
        cpu->slots[A64_SLOT_FAR_EL1] = cpu->fault_value;
    enter(c, VECTOR_SYNC, a64_spsr(c));
}

/* --- interrupts ------------------------------------------------------------------------------- */

static uint32_t lines_of(const struct a64_cpu *c)
{
    return __atomic_load_n(&c->lines, __ATOMIC_SEQ_CST);
}

/* The inputs, as ISR_EL1 and DAIF have them. */
static uint64_t pending(const struct a64_cpu *c)
{
    uint32_t lines = lines_of(c);

    return (lines >> ARM_IRQ_IRQ & 1 ? SPSR_I : 0) | (lines >> ARM_IRQ_FIQ & 1 ? SPSR_F : 0);
}

bool a64_poll(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);
    uint64_t irqs = pending(c) & ~cpu->slots[A64_SLOT_DAIF];
    uint32_t mode = cpu->mode;

    if (likely(!irqs)) {
        if (unlikely(c->mdscr & MDSCR_KDE)) /* PSTATE.D may have been cleared */
            a64_update_mode(c);
        return cpu->mode != mode;
    }
    cpu->waiting = false;
    __atomic_store_n(&c->wfe, 0, __ATOMIC_RELAXED);
    xl_count(&cpu->count.interrupts, 1);
    enter(c, irqs & SPSR_F ? VECTOR_FIQ : VECTOR_IRQ, a64_spsr(c));
    return true;
}

/* Called under a lock: an output that is due is left to the look at the clock that is asked for. */
bool a64_idle(struct xl_cpu *cpu, uint64_t *deadline)
{
    struct a64_cpu *c = a64_cpu(cpu);

    if (__atomic_load_n(&c->wfe, __ATOMIC_RELAXED))
        return !(pending(c) & ~cpu->slots[A64_SLOT_DAIF]) && a64_wfe_idle(c, deadline);
    if (pending(c))
        return false;
    if (!a64_timer_due(c, deadline))
        return true;
    __atomic_fetch_or(&cpu->request, (uint32_t)XL_REQ_IRQ, __ATOMIC_SEQ_CST);
    return false;
}

void a64_set_irq(struct xl_cpu *cpu, unsigned irq, bool level)
{
    struct a64_cpu *c = a64_cpu(cpu);
    uint32_t bit = 1u << (irq & 31), old;

    if (!level) {
        __atomic_fetch_and(&c->lines, ~bit, __ATOMIC_SEQ_CST);
        return;
    }
    old = __atomic_fetch_or(&c->lines, bit, __ATOMIC_SEQ_CST);
    if (!(old & bit))
        cpu->host->attend(cpu);
}

uint64_t a64_help_unmasked(struct xl_cpu *cpu, uint64_t daif)
{
    struct a64_cpu *c = a64_cpu(cpu);
    bool debugged =
        (c->mdscr & (MDSCR_SS | MDSCR_MDE)) && (c->mdscr & MDSCR_KDE) && !(daif & SPSR_D);

    if ((pending(c) & ~daif) || debugged)
        __atomic_fetch_or(&cpu->request, (uint32_t)XL_REQ_IRQ, __ATOMIC_SEQ_CST);
    return 0;
}

/* --- returning -------------------------------------------------------------------------------- */

/* AArch32, an exception level that is not there, or SP_EL1 for EL0. */
static bool illegal_return(uint64_t spsr)
{
    unsigned el = spsr >> SPSR_EL_SHIFT & 3;

    return (spsr & (SPSR_MODE & ~UINT64_C(0xf))) || (spsr & 2) || el > A64_EL1 ||
           (el == A64_EL0 && (spsr & SPSR_SPSEL));
}

/* PSTATE.SS is the saved one where the step that it asks for begins with this return (D2.12.3). */
static bool step_begins(const struct a64_cpu *c, uint64_t spsr)
{
    return (c->mdscr & MDSCR_SS) && !a64_debug_locked(c) && !a64_debug_enabled(c, c->el) &&
           (spsr & SPSR_SS);
}

uint64_t a64_help_eret(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);
    uint64_t spsr = cpu->slots[A64_SLOT_SPSR_EL1];

    __atomic_store_n(&c->event, 1, __ATOMIC_RELAXED);
    c->ss = step_begins(c, spsr);
    cpu->pc = cpu->slots[A64_SLOT_ELR_EL1];
    cpu->slots[A64_SLOT_NZCV] = a64_nzcv_to_slot(spsr);
    cpu->slots[A64_SLOT_DAIF] = spsr & SPSR_DAIF;
    cpu->slots[A64_SLOT_EXCL_TAG] = A64_EXCL_NONE;
    c->pan = !!(spsr & SPSR_PAN);
    c->uao = !!(spsr & SPSR_UAO);
    if (illegal_return(spsr) || (spsr & SPSR_IL)) { /* the next instruction is not run */
        if (!illegal_return(spsr))
            a64_set_el(c, spsr >> SPSR_EL_SHIFT & 3, spsr & SPSR_SPSEL);
        cpu->slots[A64_SLOT_ESR_EL1] = (uint64_t)A64_EC_ILLEGAL_STATE << ESR_EC_SHIFT | ESR_IL;
        enter(c, VECTOR_SYNC, a64_spsr(c) | SPSR_IL);
        return 0;
    }
    a64_set_el(c, spsr >> SPSR_EL_SHIFT & 3, spsr & SPSR_SPSEL);
    a64_update_mode(c);
    return 0;
}

/* --- calling out ------------------------------------------------------------------------------ */

uint64_t a64_help_svc(struct xl_cpu *cpu, uint64_t imm)
{
    struct a64_cpu *c = a64_cpu(cpu);

    cpu->pc += 4; /* the one exception that returns behind its instruction */
    cpu->slots[A64_SLOT_ESR_EL1] = (uint64_t)A64_EC_SVC << ESR_EC_SHIFT | ESR_IL | imm;
    c->ss = 0;
    enter(c, VECTOR_SYNC, a64_spsr(c));
    return 0;
}

/* SMCCC: arguments in x0..x7, results in x0..x3. */
uint64_t a64_help_hvc(struct xl_cpu *cpu, uint64_t imm)
{
    const struct accel_config *config = &cpu->vcpu.accel->config;
    uint64_t *x = &cpu->slots[A64_SLOT_X], args[8];

    memcpy(args, x, sizeof(args));
    cpu->pc += 4;
    if (!config->hypercall(config->hypercall_opaque, cpu->vcpu.index, args))
        __atomic_fetch_or(&cpu->request, (uint32_t)XL_REQ_KICK, __ATOMIC_SEQ_CST);
    memcpy(x, args, 4 * sizeof(args[0]));
    return 0;
}

uint64_t a64_help_brk(struct xl_cpu *cpu, uint64_t imm)
{
    a64_raise(a64_cpu(cpu), A64_EC_BRK, imm);
    return 0;
}

uint64_t a64_help_undefined(struct xl_cpu *cpu)
{
    a64_raise(a64_cpu(cpu), A64_EC_UNKNOWN, 0);
    return 0;
}

uint64_t a64_help_pc_alignment(struct xl_cpu *cpu)
{
    a64_raise_at(a64_cpu(cpu), A64_EC_PC_ALIGNMENT, 0, cpu->pc);
    return 0;
}

/* FAR_EL1 has nothing to tell. */
uint64_t a64_help_sp_alignment(struct xl_cpu *cpu)
{
    a64_raise(a64_cpu(cpu), A64_EC_SP_ALIGNMENT, 0);
    return 0;
}

/* ISS: the condition is "always", as A64 has it. */
uint64_t a64_help_fp_trap(struct xl_cpu *cpu)
{
    a64_raise(a64_cpu(cpu), A64_EC_FP, BIT(24) | UINT64_C(0xe) << 20);
    return 0;
}

/* ISS: the condition is "always". */
void a64_trap_wait(struct a64_cpu *c, bool is_wfe)
{
    a64_raise(c, A64_EC_WFX, BIT(24) | UINT64_C(0xe) << 20 | is_wfe);
}

/* EL0 may wait where SCTLR_EL1 says so. */
uint64_t a64_help_wfi(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);

    if (c->el == A64_EL0 && !(c->sctlr & SCTLR_NTWI)) {
        a64_trap_wait(c, false);
        return 0;
    }
    cpu->pc += 4;
    cpu->waiting = true;
    __atomic_store_n(&c->wfe, 0, __ATOMIC_RELAXED);
    return 0;
}

/* A spinning vCPU lets the one it waits for run, where host CPUs are fewer than vCPUs. */
uint64_t a64_help_yield(struct xl_cpu *cpu)
{
    if (cpu->vcpu.accel->config.vcpus > 1)
        sched_yield();
    return 0;
}
