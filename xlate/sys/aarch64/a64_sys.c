/*
 * A vCPU's life: reset state, translation mode, saved state, and the tables that the other parts of
 * the translator get.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

/* --- the translation mode --------------------------------------------------------------------- */

uint32_t a64_space(const struct a64_cpu *c, uint64_t asid)
{
    uint32_t off = 1u << 16; /* no translation: a space of its own */

    if (!(c->sctlr & SCTLR_M))
        return off;
    return (uint32_t)(asid & (c->tcr & TCR_AS ? 0xffff : 0xff));
}

static unsigned fp_flags(const struct a64_cpu *c)
{
    unsigned fpen = c->cpacr >> CPACR_FPEN_SHIFT & 3;
    unsigned flags = fpen == 3 || (fpen == 1 && c->el == A64_EL1) ? A64_MODE_FP : 0;

    return flags | (c->fpcr & FPCR_FZ ? A64_MODE_FZ : 0) | (c->fpcr & FPCR_AHP ? A64_MODE_AHP : 0) |
           (c->fpcr & FPCR_DN ? A64_MODE_DN : 0);
}

void a64_update_mode(struct a64_cpu *c)
{
    bool el0 = c->el == A64_EL0;
    unsigned tlb = el0 ? A64_TLB_EL0 : c->pan ? A64_TLB_EL1_PAN : A64_TLB_EL1;
    unsigned flags = fp_flags(c) | a64_debug_flags(c);

    if (!el0 && !c->spsel)
        flags |= A64_MODE_SP_EL0;
    if (c->uao)
        flags |= A64_MODE_UAO;
    if (c->sctlr & SCTLR_A)
        flags |= A64_MODE_ALIGN;
    if (c->sctlr & (el0 ? SCTLR_SA0 : SCTLR_SA))
        flags |= A64_MODE_SP;
    if (!el0 || (c->sctlr & SCTLR_DZE))
        flags |= A64_MODE_ZVA;
    if (el0 && (c->sctlr & SCTLR_UMA))
        flags |= A64_MODE_DAIF;
    mmu_set_context(&c->cpu, A64_MODE(tlb, c->el, flags), el0 ? A64_TLB_EL0 : A64_TLB_EL1,
                    a64_space(c, c->ttbr[!!(c->tcr & TCR_A1)] >> TTBR_ASID_SHIFT));
}

uint64_t *a64_sp(struct a64_cpu *c, unsigned el)
{
    bool uses_el1 = c->el == A64_EL1 && c->spsel;

    if (uses_el1 == (el == A64_EL1))
        return &c->cpu.slots[A64_SLOT_SP];
    return &c->cpu.slots[el == A64_EL1 ? A64_SLOT_SP_EL1 : A64_SLOT_SP_EL0];
}

void a64_set_el(struct a64_cpu *c, unsigned el, unsigned spsel)
{
    uint64_t sp_el0 = *a64_sp(c, A64_EL0), sp_el1 = *a64_sp(c, A64_EL1);

    c->el = (uint8_t)el;
    c->spsel = (uint8_t)spsel;
    *a64_sp(c, A64_EL0) = sp_el0;
    *a64_sp(c, A64_EL1) = sp_el1;
}

void a64_set_fpcr(struct a64_cpu *c, uint64_t value)
{
    static const uint8_t modes[] = {IR_RM_RNE, IR_RM_RUP, IR_RM_RDN, IR_RM_RTZ};

    c->fpcr = value & FPCR_WRITE;
    c->cpu.fp_rm = modes[c->fpcr >> FPCR_RMODE_SHIFT & 3];
    a64_update_mode(c);
}

/* --- life ------------------------------------------------------------------------------------- */

static void init(struct xl_cpu *cpu)
{
}

static void reset(struct xl_cpu *cpu, const struct vcpu_start *start)
{
    struct a64_cpu *c = a64_cpu(cpu);
    size_t after = offsetof(struct a64_cpu, el);
    uint8_t line[A64_TIMERS];

    /* Inputs and outputs are what they are: their other ends are told of changes alone. */
    for (unsigned i = 0; i < A64_TIMERS; i++)
        line[i] = c->timer[i].line;
    memset((char *)c + after, 0, sizeof(*c) - after);
    for (unsigned i = 0; i < A64_TIMERS; i++)
        c->timer[i].line = line[i];
    __atomic_store_n(&c->event, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&c->wfe, 0, __ATOMIC_RELAXED);
    memset(cpu->slots, 0, sizeof(cpu->slots));
    cpu->slots[A64_SLOT_EXCL_TAG] = A64_EXCL_NONE;
    cpu->slots[A64_SLOT_DAIF] = SPSR_DAIF;
    for (unsigned i = 0; i < G_N_ELEMENTS(start->args); i++)
        cpu->slots[A64_SLOT_X + i] = start->args[i];
    cpu->pc = start->pc;
    cpu->fault = 0;
    cpu->waiting = false;
    cpu->fp_flags = 0;
    c->el = A64_EL1;
    c->spsel = 1;
    c->sctlr = SCTLR_RES1 | SCTLR_SPAN | SCTLR_TSCXT;
    c->oslock = 1;
    mmu_watch_own(cpu, NULL, 0);
    mmu_flush_all(cpu);
    a64_update_debug(c);
    a64_set_fpcr(c, 0);
    a64_update_timers(c);
}

static void fini(struct xl_cpu *cpu)
{
}

/* --- saved state ------------------------------------------------------------------------------ */

#define U64(member) STATE_FIELD_U64(struct a64_cpu, member, 1)
#define U32(member) STATE_FIELD_U32(struct a64_cpu, member, 1)
#define U8(member)  STATE_FIELD_U8(struct a64_cpu, member, 1)
static const struct state_field fields[] = {
    U64(cpu.pc), U64(cpu.slots), U8(cpu.fp_flags), U8(cpu.waiting), U32(lines), U32(event), U32(wfe), U8(el), U8(spsel),
    U8(pan), U8(uao), U8(ss), U64(sctlr), U64(actlr), U64(cpacr), U64(ttbr), U64(tcr), U64(mair),
    U64(amair), U64(afsr0), U64(afsr1), U64(par), U64(vbar), U64(contextidr), U64(cntkctl),
    U64(csselr), U64(scxtnum), U64(mdscr), U64(mdccint), U64(oslock), U64(osdlr), U64(dbgclaim), U64(dbgbvr),
    U64(dbgbcr), U64(dbgwvr), U64(dbgwcr), U64(fpcr), U64(timer[A64_TIMER_VIRTUAL].cval),
    U64(timer[A64_TIMER_VIRTUAL].ctl), U8(timer[A64_TIMER_VIRTUAL].line),
    U64(timer[A64_TIMER_PHYSICAL].cval), U64(timer[A64_TIMER_PHYSICAL].ctl),
    U8(timer[A64_TIMER_PHYSICAL].line),
    STATE_FIELD_U64(struct a64_cpu, scxtnum_el0, 2), STATE_FIELD_U64(struct a64_cpu, dtrrx, 2),
    STATE_FIELD_U64(struct a64_cpu, dtrtx, 2), STATE_FIELD_U64(struct a64_cpu, oseccr, 2),
};
#undef U64
#undef U32
#undef U8

static const struct state_desc state = {
    .name = "aarch64-cpu",
    .version = 2,
    .size = sizeof(struct a64_cpu),
    .n_fields = G_N_ELEMENTS(fields),
    .fields = fields,
};

/* Loaded state may say anything: fields are brought to legal values, and what follows from them is
 * computed. */
static void loaded(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);

    c->el = c->el == A64_EL0 ? A64_EL0 : A64_EL1;
    c->spsel = c->el == A64_EL1 && c->spsel;
    c->sctlr = (c->sctlr & SCTLR_WRITE) | SCTLR_RES1;
    c->tagged = 1; /* who knows */
    cpu->slots[A64_SLOT_DAIF] &= SPSR_DAIF;
    cpu->slots[A64_SLOT_NZCV] &= IR_NZCV_N | IR_NZCV_Z | IR_NZCV_C | IR_NZCV_V;
    cpu->fault = 0;
    cpu->fp_flags &= 0x7f;
    mmu_flush_all(cpu);
    a64_update_debug(c);
    a64_set_fpcr(c, c->fpcr);
    a64_update_timers(c);
}

/* --- tables ----------------------------------------------------------------------------------- */

#define A64_HELPER(NAME, name_, n_args_, result_, flags_)                                          \
    [A64_HELPER_##NAME] = {.name = #name_, .fn = (void (*)(void))a64_help_##name_,                 \
                           .n_args = (n_args_), .result = (result_), .flags = (flags_)},
static const struct ir_helper helpers[] = {
#include "xlate/front/aarch64/a64_helpers.inc"
};
#undef A64_HELPER

const struct xl_sys aarch64_sys = {
    .isa = ISA_AARCH64,
    .cpu_size = sizeof(struct a64_cpu),
    .helpers = helpers,
    .state = &state,
    .init = init,
    .reset = reset,
    .fini = fini,
    .loaded = loaded,
    .walk = a64_walk,
    .access_fault = a64_access_fault,
    .watched = a64_watched,
    .take_fault = a64_take_fault,
    .refresh = a64_refresh,
    .poll = a64_poll,
    .idle = a64_idle,
    .tlb_fence = a64_tlb_fence,
    .set_irq = a64_set_irq,
    .look = a64_look,
    .registers = a64_registers,
    .n_registers = A64_REGISTERS,
    .register_get = a64_register_get,
    .register_set = a64_register_set,
    .mode_name = a64_mode_name,
};
