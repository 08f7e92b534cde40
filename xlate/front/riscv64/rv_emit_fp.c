/*
 * rv_emit_fp.c: F and D.
 *
 * F registers are slots of 64 bits; a single lies in one NaN-boxed (BOX), and reads as the default
 * NaN where it is not (UNBOX). Arithmetic that may make a NaN is followed by FCANON.
 *
 * Floating point that is off makes every instruction here illegal. Where it is clean, what writes
 * a register or raises flags first marks it dirty, which ends the unit: the instruction then runs
 * in a unit of the other mode.
 */
#include "xlate/front/riscv64/rv_emit.h"

/* True where the instruction can go on; WRITES: an F register or the flags. */
static bool ready(struct rv_translation *t, const struct rv_insn *i, bool writes)
{
    enum rv_fs fs = rv_mode_fs(t->mode);

    if (fs == RV_FS_OFF) {
        rv_illegal(t, i);
        return false;
    }
    if (fs == RV_FS_CLEAN && writes) {
        rv_call(t, RV_HELPER_FP_DIRTY, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
        rv_leave(t);
        return false;
    }
    return true;
}

enum { RM_DYNAMIC = 7 };

/* The same for an instruction that rounds; RM gets how. */
static bool ready_to_round(struct rv_translation *t, const struct rv_insn *i, enum ir_rm *rm)
{
    enum rv_frm frm = rv_mode_frm(t->mode);

    if (i->rm == RM_DYNAMIC && frm == RV_FRM_INVALID && rv_mode_fs(t->mode) != RV_FS_OFF) {
        rv_illegal(t, i);
        return false;
    }
    if (i->rm == RM_DYNAMIC)
        *rm = frm == RV_FRM_RMM ? IR_RM_RMM : IR_RM_DYN;
    else
        *rm = IR_RM_RNE + i->rm;
    return ready(t, i, true);
}

static uint32_t get(struct rv_translation *t, enum ir_type type, unsigned number)
{
    uint32_t bits = ir_get(t->unit, IR_F64, RV_SLOT_F + number);

    return type == IR_F64 ? bits : ir_un(t->unit, IR_UNBOX, IR_F32, bits);
}

/* rs2, where A is rs1's value. */
static uint32_t get_second(struct rv_translation *t, enum ir_type type, const struct rv_insn *i,
                           uint32_t a)
{
    return i->rs2 == i->rs1 ? a : get(t, type, i->rs2);
}

static void set(struct rv_translation *t, enum ir_type type, unsigned number, uint32_t value)
{
    if (type == IR_F32)
        value = ir_un(t->unit, IR_BOX, IR_F64, value);
    ir_set(t->unit, RV_SLOT_F + number, value);
}

static void set_canonical(struct rv_translation *t, enum ir_type type, unsigned number,
                          uint32_t value)
{
    set(t, type, number, ir_un(t->unit, IR_FCANON, type, value));
}

/* --- memory and moves ------------------------------------------------------------------------- */

void rv_emit_fload(struct rv_translation *t, const struct rv_insn *i, uint32_t type)
{
    unsigned log2 = type == IR_F32 ? 2 : 3;

    if (!ready(t, i, true))
        return;
    int64_t imm;
    uint32_t h = rv_address(t, i, 1u << log2, false, &imm);
    set(t, type, i->rd, ir_load(t->unit, type, log2, h, imm));
}

/* The low half of a register is stored as it is, boxed or not. */
void rv_emit_fstore(struct rv_translation *t, const struct rv_insn *i, uint32_t type)
{
    unsigned log2 = type == IR_F32 ? 2 : 3;

    if (!ready(t, i, false))
        return;
    uint32_t value = ir_get(t->unit, type, RV_SLOT_F + i->rs2);
    int64_t imm;
    uint32_t h = rv_address(t, i, 1u << log2, true, &imm);
    ir_store(t->unit, type, log2, h, imm, value);
}

void rv_emit_fmv_x(struct rv_translation *t, const struct rv_insn *i, uint32_t type)
{
    if (!ready(t, i, false))
        return;
    uint32_t value = ir_get(t->unit, type, RV_SLOT_F + i->rs1);
    if (type == IR_F32)
        rv_set_w(t, i->rd, ir_un(t->unit, IR_FBITS, IR_I32, value));
    else
        rv_set_x(t, i->rd, ir_un(t->unit, IR_FBITS, IR_I64, value));
}

void rv_emit_fmv_f(struct rv_translation *t, const struct rv_insn *i, uint32_t type)
{
    if (!ready(t, i, true))
        return;
    uint32_t bits = type == IR_F32 ? rv_w(t, i->rs1) : rv_x(t, i->rs1);
    set(t, type, i->rd, ir_un(t->unit, IR_FBITS, type, bits));
}

/* --- arithmetic ------------------------------------------------------------------------------- */

static void fop(struct rv_translation *t, const struct rv_insn *i, enum ir_type type, enum ir_op op)
{
    enum ir_rm rm;

    if (!ready_to_round(t, i, &rm))
        return;
    uint32_t a = get(t, type, i->rs1), b = get_second(t, type, i, a);
    set_canonical(t, type, i->rd, ir_fp(t->unit, op, type, rm, a, b));
}

void rv_emit_fop_s(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    fop(t, i, IR_F32, op);
}

void rv_emit_fop_d(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    fop(t, i, IR_F64, op);
}

void rv_emit_fsqrt(struct rv_translation *t, const struct rv_insn *i, uint32_t type)
{
    enum ir_rm rm;

    if (!ready_to_round(t, i, &rm))
        return;
    uint32_t a = get(t, type, i->rs1);
    set_canonical(t, type, i->rd, ir_fp(t->unit, IR_FSQRT, type, rm, a, IR_NONE));
}

static void multiply_add(struct rv_translation *t, const struct rv_insn *i, enum ir_type type,
                         unsigned negate)
{
    enum ir_rm rm;

    if (!ready_to_round(t, i, &rm))
        return;
    uint32_t a = get(t, type, i->rs1), b = get_second(t, type, i, a), c = get(t, type, i->rs3);
    set_canonical(t, type, i->rd, ir_fma(t->unit, type, rm, negate, a, b, c));
}

void rv_emit_fma_s(struct rv_translation *t, const struct rv_insn *i, uint32_t negate)
{
    multiply_add(t, i, IR_F32, negate);
}

void rv_emit_fma_d(struct rv_translation *t, const struct rv_insn *i, uint32_t negate)
{
    multiply_add(t, i, IR_F64, negate);
}

/* Minimum and maximum: their NaN is the default one already. */
static void fminmax(struct rv_translation *t, const struct rv_insn *i, enum ir_type type,
                    enum ir_op op)
{
    if (!ready(t, i, true))
        return;
    uint32_t a = get(t, type, i->rs1), b = get_second(t, type, i, a);
    set(t, type, i->rd, ir_fp(t->unit, op, type, IR_RM_DYN, a, b));
}

void rv_emit_fminmax_s(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    fminmax(t, i, IR_F32, op);
}

void rv_emit_fminmax_d(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    fminmax(t, i, IR_F64, op);
}

/* Sign injection: bits only, no flags. */
static void fsgn(struct rv_translation *t, const struct rv_insn *i, enum ir_type type, enum ir_op op)
{
    if (!ready(t, i, true))
        return;
    uint32_t a = get(t, type, i->rs1), b = get_second(t, type, i, a);
    set(t, type, i->rd, ir_fp(t->unit, op, type, IR_RM_DYN, a, b));
}

void rv_emit_fsgn_s(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    fsgn(t, i, IR_F32, op);
}

void rv_emit_fsgn_d(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    fsgn(t, i, IR_F64, op);
}

/* --- comparison and conversion ---------------------------------------------------------------- */

static void fcmp(struct rv_translation *t, const struct rv_insn *i, enum ir_type type,
                 enum ir_fcond cond)
{
    if (!ready(t, i, true))
        return;
    uint32_t a = get(t, type, i->rs1), b = get_second(t, type, i, a);
    rv_set_x(t, i->rd, ir_fcmp(t->unit, cond, type, a, b));
}

void rv_emit_fcmp_s(struct rv_translation *t, const struct rv_insn *i, uint32_t cond)
{
    fcmp(t, i, IR_F32, cond);
}

void rv_emit_fcmp_d(struct rv_translation *t, const struct rv_insn *i, uint32_t cond)
{
    fcmp(t, i, IR_F64, cond);
}

void rv_emit_fclass(struct rv_translation *t, const struct rv_insn *i, uint32_t type)
{
    if (!ready(t, i, false))
        return;
    rv_set_x(t, i->rd, ir_un(t->unit, IR_FCLASS, type, get(t, type, i->rs1)));
}

/* Float to integer. A 32-bit result is sign-extended, an unsigned one too. */
void rv_emit_fcvt_i(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    enum ir_type to = arg & 15, from = arg >> 4 & 15;
    enum ir_rm rm;

    if (!ready_to_round(t, i, &rm))
        return;
    uint32_t value = ir_fcvt(t->unit, IR_FCVTFI, to, from, rm, arg >> 8, get(t, from, i->rs1));
    if (to == IR_I32)
        rv_set_w(t, i->rd, value);
    else
        rv_set_x(t, i->rd, value);
}

/* Integer to float. An int fits a double: no rounding. */
void rv_emit_fcvt_f(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    enum ir_type to = arg & 15, from = arg >> 4 & 15;
    enum ir_rm rm;

    if (!ready_to_round(t, i, &rm))
        return;
    if (to == IR_F64 && from == IR_I32)
        rm = IR_RM_DYN;
    uint32_t value = from == IR_I32 ? rv_w(t, i->rs1) : rv_x(t, i->rs1);
    set(t, to, i->rd, ir_fcvt(t->unit, IR_FCVTIF, to, from, rm, arg >> 8, value));
}

/* Between singles and doubles; widening is exact. */
void rv_emit_fcvt_ff(struct rv_translation *t, const struct rv_insn *i, uint32_t to)
{
    enum ir_type from = to == IR_F32 ? IR_F64 : IR_F32;
    enum ir_rm rm;

    if (!ready_to_round(t, i, &rm))
        return;
    if (to == IR_F64)
        rm = IR_RM_DYN;
    uint32_t value = ir_fcvt(t->unit, IR_FCVTFF, to, from, rm, false, get(t, from, i->rs1));
    set_canonical(t, to, i->rd, value);
}
