/*
 * rv_emit_int.c: integer instructions (I, M, Zba, Zbb, Zbs).
 */
#include "xlate/front/riscv64/rv_emit.h"

void rv_emit_lui(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    rv_set_x(t, i->rd, ir_const(t->unit, IR_I64, i->imm));
}

void rv_emit_auipc(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    rv_set_x(t, i->rd, ir_pcrel(t->unit, (int64_t)t->pc + i->imm));
}

/* --- two operands ----------------------------------------------------------------------------- */

void rv_emit_op(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    uint32_t a = rv_x(t, i->rs1), b = rv_x(t, i->rs2);

    rv_set_x(t, i->rd, ir_bin(t->unit, op, IR_I64, a, b));
}

void rv_emit_opi(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    rv_set_x(t, i->rd, ir_bini(t->unit, op, IR_I64, rv_x(t, i->rs1), i->imm));
}

/* On low halves; the result is sign-extended. */
void rv_emit_opw(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    uint32_t a = rv_w(t, i->rs1), b = rv_w(t, i->rs2);

    rv_set_w(t, i->rd, ir_bin(t->unit, op, IR_I32, a, b));
}

void rv_emit_opiw(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    if (i->imm == 0) { /* sext.w: nothing where the value is extended already */
        rv_emit_sext(t, i, 32);
        return;
    }
    rv_set_w(t, i->rd, ir_bini(t->unit, op, IR_I32, rv_w(t, i->rs1), i->imm));
}

/* rs1 OP ~rs2. */
void rv_emit_op_not(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    uint32_t a = rv_x(t, i->rs1);
    uint32_t b = ir_bini(t->unit, IR_XOR, IR_I64, rv_x(t, i->rs2), -1);

    rv_set_x(t, i->rd, ir_bin(t->unit, op, IR_I64, a, b));
}

void rv_emit_slt(struct rv_translation *t, const struct rv_insn *i, uint32_t cond)
{
    uint32_t a = rv_x(t, i->rs1), b = rv_x(t, i->rs2);

    rv_set_x(t, i->rd, ir_cmp(t->unit, cond, IR_I64, a, b));
}

void rv_emit_slti(struct rv_translation *t, const struct rv_insn *i, uint32_t cond)
{
    uint32_t a = rv_x(t, i->rs1), b = ir_const(t->unit, IR_I64, i->imm);

    rv_set_x(t, i->rd, ir_cmp(t->unit, cond, IR_I64, a, b));
}

void rv_emit_minmax(struct rv_translation *t, const struct rv_insn *i, uint32_t cond)
{
    uint32_t a = rv_x(t, i->rs1), b = rv_x(t, i->rs2);
    uint32_t first = ir_cmp(t->unit, cond, IR_I64, a, b);

    rv_set_x(t, i->rd, ir_select(t->unit, IR_I64, first, a, b));
}

/* --- shift and add ---------------------------------------------------------------------------- */

static void shift_add(struct rv_translation *t, const struct rv_insn *i, uint32_t a, uint32_t count)
{
    uint32_t shifted = ir_bini(t->unit, IR_SHL, IR_I64, a, count);

    rv_set_x(t, i->rd, ir_bin(t->unit, IR_ADD, IR_I64, rv_x(t, i->rs2), shifted));
}

void rv_emit_shadd(struct rv_translation *t, const struct rv_insn *i, uint32_t count)
{
    shift_add(t, i, rv_x(t, i->rs1), count);
}

void rv_emit_shadd_uw(struct rv_translation *t, const struct rv_insn *i, uint32_t count)
{
    shift_add(t, i, ir_ext(t->unit, IR_ZEXT, IR_I64, rv_x(t, i->rs1), 32), count);
}

void rv_emit_slli_uw(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    uint32_t a = ir_ext(t->unit, IR_ZEXT, IR_I64, rv_x(t, i->rs1), 32);

    rv_set_x(t, i->rd, ir_bini(t->unit, IR_SHL, IR_I64, a, i->imm));
}

/* --- one operand ------------------------------------------------------------------------------ */

void rv_emit_un(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    rv_set_x(t, i->rd, ir_un(t->unit, op, IR_I64, rv_x(t, i->rs1)));
}

void rv_emit_unw(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    rv_set_w(t, i->rd, ir_un(t->unit, op, IR_I32, rv_w(t, i->rs1)));
}

void rv_emit_sext(struct rv_translation *t, const struct rv_insn *i, uint32_t bits)
{
    rv_set_x(t, i->rd, ir_ext(t->unit, IR_SEXT, IR_I64, rv_x(t, i->rs1), bits));
}

void rv_emit_zext(struct rv_translation *t, const struct rv_insn *i, uint32_t bits)
{
    rv_set_x(t, i->rd, ir_ext(t->unit, IR_ZEXT, IR_I64, rv_x(t, i->rs1), bits));
}

/* --- single bits ------------------------------------------------------------------------------ */

/* rs1 OP (1 << rs2). */
void rv_emit_bit(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    uint32_t a = rv_x(t, i->rs1), one = ir_const(t->unit, IR_I64, 1);
    uint32_t bit = ir_bin(t->unit, IR_SHL, IR_I64, one, rv_x(t, i->rs2));

    rv_set_x(t, i->rd, ir_bin(t->unit, op, IR_I64, a, bit));
}

void rv_emit_biti(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    rv_set_x(t, i->rd,
             ir_bini(t->unit, op, IR_I64, rv_x(t, i->rs1), (int64_t)(UINT64_C(1) << i->imm)));
}

static void extract_bit(struct rv_translation *t, const struct rv_insn *i, uint32_t count)
{
    uint32_t shifted = ir_bin(t->unit, IR_SHR, IR_I64, rv_x(t, i->rs1), count);

    rv_set_x(t, i->rd, ir_bini(t->unit, IR_AND, IR_I64, shifted, 1));
}

void rv_emit_bext(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    extract_bit(t, i, rv_x(t, i->rs2));
}

void rv_emit_bexti(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    extract_bit(t, i, ir_const(t->unit, IR_I64, i->imm));
}
