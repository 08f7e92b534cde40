/*
 * rv_emit_sys.c: CSRs, traps and what else the privileged part does by helper.
 */
#include "xlate/front/riscv64/rv_emit.h"

#define RV_HELPER(NAME, name, n_args, result, flags) [RV_HELPER_##NAME] = {result, flags},
static const struct {
    bool result;
    uint8_t flags;
} helpers[] = {
#include "xlate/front/riscv64/rv_helpers.inc"
};
#undef RV_HELPER

uint32_t rv_call(struct rv_translation *t, enum rv_helper helper, uint32_t a, uint32_t b,
                 uint32_t c, uint32_t d)
{
    const uint32_t args[4] = {a, b, c, d};

    return ir_call(t->unit, helper, helpers[helper].flags,
                   helpers[helper].result ? IR_I64 : IR_VOID, args);
}

static void call_with_bits(struct rv_translation *t, const struct rv_insn *i, enum rv_helper helper)
{
    rv_call(t, helper, ir_const(t->unit, IR_I64, i->bits), IR_NONE, IR_NONE, IR_NONE);
}

static void call_and_leave(struct rv_translation *t, enum rv_helper helper)
{
    rv_call(t, helper, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    rv_leave(t);
}

void rv_illegal(struct rv_translation *t, const struct rv_insn *i)
{
    call_with_bits(t, i, RV_HELPER_ILLEGAL);
    rv_leave(t);
}

void rv_emit_ecall(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    call_and_leave(t, RV_HELPER_ECALL);
}

void rv_emit_ebreak(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    call_and_leave(t, RV_HELPER_EBREAK);
}

void rv_emit_sret(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    call_with_bits(t, i, RV_HELPER_SRET);
    rv_end(t);
}

void rv_emit_mret(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    call_with_bits(t, i, RV_HELPER_MRET);
    rv_end(t);
}

void rv_emit_wfi(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    call_with_bits(t, i, RV_HELPER_WFI);
    rv_end(t);
}

void rv_emit_pause(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    rv_call(t, RV_HELPER_PAUSE, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
}

void rv_emit_fence_i(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    rv_call(t, RV_HELPER_FENCE_I, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    rv_end(t);
}

void rv_emit_sfence_vma(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    int64_t which = (i->rs1 ? 1 : 0) | (i->rs2 ? 2 : 0) | (int64_t)i->bits << 8;
    uint32_t va = rv_x(t, i->rs1), asid = rv_x(t, i->rs2);

    rv_call(t, RV_HELPER_SFENCE_VMA, va, asid, ir_const(t->unit, IR_I64, which), IR_NONE);
    rv_end(t);
}

/* --- CSRs ------------------------------------------------------------------------------------- */

/* CSRs whose writes change nothing but themselves: scratch, epc, cause, tval of S and M. */
static bool is_plain(unsigned csr)
{
    return (csr & ~0x200u) >= 0x140 && (csr & ~0x200u) <= 0x143;
}

/* Those whose accesses have to do with counting instructions, which the first of them begins. */
static bool is_count(unsigned csr)
{
    return csr == RV_CSR_INSTRET || csr == RV_CSR_MINSTRET || csr == RV_CSR_MCOUNTINHIBIT;
}

static void read_count(struct rv_translation *t, const struct rv_insn *i)
{
    rv_set_x(t, i->rd, rv_call(t, RV_HELPER_COUNT_READ, ir_const(t->unit, IR_I64, i->csr),
                               ir_const(t->unit, IR_I64, i->bits), IR_NONE, IR_NONE));
    rv_end(t);
}

static void read_csr(struct rv_translation *t, const struct rv_insn *i)
{
    uint32_t number = ir_const(t->unit, IR_I64, i->csr);
    uint32_t value;

    if (i->csr >= RV_CSR_FFLAGS && i->csr <= RV_CSR_FCSR)
        value = rv_call(t, RV_HELPER_FCSR_READ, number, IR_NONE, IR_NONE, IR_NONE);
    else
        value = rv_call(t, RV_HELPER_CSR_READ, number, ir_const(t->unit, IR_I64, i->bits), IR_NONE,
                        IR_NONE);
    rv_set_x(t, i->rd, value);
}

/* fflags, frm and fcsr; the hart's floating point is marked dirty before. */
static void write_fcsr(struct rv_translation *t, const struct rv_insn *i, uint32_t op,
                       uint32_t operand)
{
    bool flags_only = i->csr == RV_CSR_FFLAGS;

    if (rv_mode_fs(t->mode) == RV_FS_CLEAN) {
        call_and_leave(t, RV_HELPER_FP_DIRTY);
        return;
    }
    uint32_t number = ir_const(t->unit, IR_I64, i->csr), how = ir_const(t->unit, IR_I64, op);
    rv_set_x(t, i->rd, rv_call(t, flags_only ? RV_HELPER_FFLAGS_WRITE : RV_HELPER_FCSR_WRITE,
                               number, operand, how, IR_NONE));
    if (!flags_only)
        rv_end(t);
}

static void write_csr(struct rv_translation *t, const struct rv_insn *i, uint32_t op,
                      uint32_t operand)
{
    uint32_t number = ir_const(t->unit, IR_I64, i->csr), how = ir_const(t->unit, IR_I64, op);
    uint32_t bits = ir_const(t->unit, IR_I64, i->bits);
    bool plain = is_plain(i->csr);
    enum rv_helper helper = plain ? RV_HELPER_CSR_WRITE_PLAIN
                            : is_count(i->csr) ? RV_HELPER_COUNT_WRITE
                                               : RV_HELPER_CSR_WRITE;

    rv_set_x(t, i->rd, rv_call(t, helper, number, operand, how, bits));
    if (!plain)
        rv_end(t);
}

/* SOURCE: rs1's number or the immediate; set and clear with 0 only read (Zicsr). */
static void access_csr(struct rv_translation *t, const struct rv_insn *i, uint32_t op,
                       unsigned source, uint32_t operand)
{
    bool writes = op == RV_CSR_SWAP || source;
    unsigned needs = i->csr >> 8 & 3;
    bool read_only = i->csr >> 10 == 3;
    bool is_fcsr = i->csr >= RV_CSR_FFLAGS && i->csr <= RV_CSR_FCSR;

    if (needs > rv_mode_priv(t->mode) || (writes && read_only) ||
        (is_fcsr && rv_mode_fs(t->mode) == RV_FS_OFF))
        rv_illegal(t, i);
    else if (!writes && is_count(i->csr))
        read_count(t, i);
    else if (!writes)
        read_csr(t, i);
    else if (is_fcsr)
        write_fcsr(t, i, op, operand);
    else
        write_csr(t, i, op, operand);
}

void rv_emit_csr(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    access_csr(t, i, op, i->rs1, rv_x(t, i->rs1));
}

void rv_emit_csri(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    access_csr(t, i, op, i->imm, ir_const(t->unit, IR_I64, i->imm));
}
