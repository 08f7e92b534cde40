/*
 * A hart's life: reset state, translation mode, saved state, and the tables that the other parts of
 * the translator get.
 */
#include "xlate/sys/riscv64/rv_hart.h"

#include "xlate/mmu/mmu.h"

/* --- the translation mode --------------------------------------------------------------------- */

static unsigned data_tlb(const struct rv_hart *hart)
{
    static const uint8_t tlb[2][3] = {
        /* U, S, S with SUM */
        {RV_TLB_U, RV_TLB_S, RV_TLB_S_SUM},
        {RV_TLB_U_MXR, RV_TLB_S_MXR, RV_TLB_S_SUM_MXR},
    };
    unsigned priv = hart->priv;

    if (priv == RV_PRIV_M && (hart->mstatus & MSTATUS_MPRV))
        priv = (unsigned)(hart->mstatus >> MSTATUS_MPP_SHIFT & 3);
    if (priv == RV_PRIV_M)
        return RV_TLB_PHYS;
    unsigned sum = priv == RV_PRIV_S && (hart->mstatus & MSTATUS_SUM);
    return tlb[!!(hart->mstatus & MSTATUS_MXR)][priv + sum];
}

static enum rv_fs fs_mode(const struct rv_hart *hart)
{
    unsigned fs = (unsigned)((hart->mstatus & MSTATUS_FS) >> MSTATUS_FS_SHIFT);

    return fs == 0 ? RV_FS_OFF : fs == 3 ? RV_FS_DIRTY : RV_FS_CLEAN;
}

static enum rv_frm frm_mode(const struct rv_hart *hart)
{
    return hart->frm < 4 ? RV_FRM_HOST : hart->frm == 4 ? RV_FRM_RMM : RV_FRM_INVALID;
}

uint32_t rv_space(const struct rv_hart *hart, uint64_t asid)
{
    return (uint32_t)(hart->satp >> SATP_MODE_SHIFT << 16 | (asid & SATP_ASID_MASK));
}

void rv_update_mode(struct rv_hart *hart)
{
    static const uint8_t fetch[] = {[RV_PRIV_U] = RV_TLB_U, [RV_PRIV_S] = RV_TLB_S,
                                    [RV_PRIV_M] = RV_TLB_PHYS};
    uint32_t mode = RV_MODE(data_tlb(hart), hart->priv, fs_mode(hart), frm_mode(hart));

    if (hart->counting && !(hart->mcountinhibit & MCOUNTINHIBIT_IR))
        mode |= RV_MODE_COUNT;
    mmu_set_context(&hart->cpu, mode, fetch[hart->priv],
                    rv_space(hart, hart->satp >> SATP_ASID_SHIFT));
}

/* --- life ------------------------------------------------------------------------------------- */

static void init(struct xl_cpu *cpu)
{
    rv_hart(cpu)->firmware = cpu->vcpu.accel->config.firmware_mode;
}

/* What a firmware would have set up before it enters a supervisor. */
static void reset_supervisor(struct rv_hart *hart)
{
    hart->priv = RV_PRIV_S;
    hart->medeleg = 0xb3ff;
    hart->mideleg = RV_S_IRQS;
    hart->mcounteren = 0xffffffff;
    hart->scounteren = 7;
    hart->menvcfg = ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE | ENVCFG_STCE;
}

static void reset(struct xl_cpu *cpu, const struct vcpu_start *start)
{
    struct rv_hart *hart = rv_hart(cpu);
    size_t after = offsetof(struct rv_hart, soft);

    /* Inputs belong to whoever drives them; only the latch is the hart's own. */
    __atomic_fetch_and(&hart->lines, (uint32_t)~BIT(RISCV_IRQ_S_SOFT), __ATOMIC_SEQ_CST);
    memset((char *)hart + after, 0, sizeof(*hart) - after);
    memset(cpu->slots, 0, sizeof(cpu->slots));
    cpu->slots[RV_SLOT_RES_TAG] = RV_RES_NONE;
    for (unsigned i = 0; i < G_N_ELEMENTS(start->args); i++)
        cpu->slots[RV_SLOT_X + 10 + i] = start->args[i];
    cpu->pc = start->pc;
    cpu->fault = 0;
    cpu->waiting = false;
    cpu->fp_flags = 0;
    hart->stimecmp = UINT64_MAX;
    hart->stip = 0;
    hart->priv = RV_PRIV_M;
    if (!hart->firmware)
        reset_supervisor(hart);
    rv_update_pmp(hart);
    mmu_flush_all(cpu);
    rv_set_frm(hart, 0);
    rv_update_timer(hart);
}

static void fini(struct xl_cpu *cpu)
{
}

/* --- saved state ------------------------------------------------------------------------------ */

#define U64(member) STATE_FIELD_U64(struct rv_hart, member, 1)
#define U32(member) STATE_FIELD_U32(struct rv_hart, member, 1)
#define U8(member)  STATE_FIELD_U8(struct rv_hart, member, 1)
static const struct state_field fields[] = {
    U64(cpu.pc), U64(cpu.slots), U8(cpu.fp_flags), U8(cpu.waiting), U8(priv), U8(frm), U32(lines),
    U32(soft), U64(mstatus), U64(mie), U64(medeleg), U64(mideleg), U64(mtvec), U64(mepc),
    U64(mcause), U64(mtval), U64(mscratch), U64(stvec), U64(sepc), U64(scause), U64(stval),
    U64(sscratch), U64(satp), U64(menvcfg), U64(senvcfg), U64(mcounteren), U64(scounteren),
    U64(mcountinhibit), U64(cycle_offset), U8(counting), U64(stimecmp), U64(pmpaddr), U8(pmpcfg),
};
#undef U64
#undef U32
#undef U8

static const struct state_desc state = {
    .name = "riscv64-hart",
    .version = 1,
    .size = sizeof(struct rv_hart),
    .n_fields = G_N_ELEMENTS(fields),
    .fields = fields,
};

/* Loaded state may say anything: fields are brought to legal values, and what follows from them is
 * computed. */
static void loaded(struct xl_cpu *cpu)
{
    struct rv_hart *hart = rv_hart(cpu);

    if (hart->priv == 2 || hart->priv > RV_PRIV_M || (hart->priv == RV_PRIV_M && !hart->firmware))
        hart->priv = hart->firmware ? RV_PRIV_M : RV_PRIV_S;
    if ((hart->mstatus & MSTATUS_MPP) == UINT64_C(2) << MSTATUS_MPP_SHIFT)
        hart->mstatus &= ~MSTATUS_MPP;
    hart->mstatus &= MSTATUS_WRITE;
    uint64_t mode = hart->satp >> SATP_MODE_SHIFT;
    if (mode != RV_BARE && mode != RV_SV39 && mode != RV_SV48)
        hart->satp = 0;
    cpu->pc &= ~UINT64_C(1);
    cpu->fault = 0;
    cpu->fp_flags &= 0x1f;
    rv_update_pmp(hart);
    mmu_flush_all(cpu);
    rv_set_frm(hart, hart->frm);
    rv_update_timer(hart);
}

/* --- tables ----------------------------------------------------------------------------------- */

#define RV_HELPER(NAME, name_, n_args_, result_, flags_)                                           \
    [RV_HELPER_##NAME] = {.name = #name_, .fn = (void (*)(void))rv_help_##name_,                   \
                          .n_args = (n_args_), .result = (result_), .flags = (flags_)},
static const struct ir_helper helpers[] = {
#include "xlate/front/riscv64/rv_helpers.inc"
};
#undef RV_HELPER

const struct xl_sys riscv64_sys = {
    .isa = ISA_RISCV64,
    .cpu_size = sizeof(struct rv_hart),
    .helpers = helpers,
    .state = &state,
    .init = init,
    .reset = reset,
    .fini = fini,
    .loaded = loaded,
    .walk = rv_walk,
    .access_fault = rv_access_fault,
    .take_fault = rv_take_fault,
    .refresh = rv_refresh,
    .poll = rv_poll,
    .idle = rv_idle,
    .tlb_fence = rv_tlb_fence,
    .set_irq = rv_set_irq,
    .look = rv_look,
    .registers = rv_registers,
    .n_registers = RV_REGISTERS,
    .register_get = rv_register_get,
    .register_set = rv_register_set,
    .mode_name = rv_mode_name,
};
