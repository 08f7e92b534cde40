/*
 * a64_emit_fp.c: scalar floating point.
 *
 * Bit 22 says single or double. A number is lane 0 of a V register.
 */
#include "xlate/front/aarch64/a64_vec.h"

bool a64_fp_ready(struct a64_translation *t)
{
    if (t->mode & A64_MODE_FP)
        return true;
    a64_call(t, A64_HELPER_FP_TRAP, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    a64_end(t);
    return false;
}

static unsigned lane_of(const struct a64_insn *i)
{
    return 2 + (i->bits >> 22 & 1);
}

/* aux of an operation on this instruction's numbers. */
static unsigned shape(const struct a64_translation *t, const struct a64_insn *i)
{
    return lane_of(i) | IR_V_SCALAR | a64_fp_mode(t);
}

static unsigned rounding(unsigned rm)
{
    return rm << IR_V_RM_SHIFT;
}

/* --- arithmetic ------------------------------------------------------------------------------- */

/* ARG: operation, with flags of enum ir_vec << 8. */
void a64_emit_fop2(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), m = a64_v(t, i->rm);
    a64_set_v(t, i->rd, a64_vec2(t, arg & 0xff, shape(t, i) | arg >> 8, n, m));
}

void a64_emit_fop1(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, arg & 0xff, shape(t, i) | arg >> 8, 0, a64_v(t, i->rn)));
}

void a64_emit_fnmul(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), m = a64_v(t, i->rm);
    uint32_t product = a64_vec2(t, IR_VFMUL, shape(t, i), n, m);
    a64_set_v(t, i->rd, a64_vec2(t, IR_VXOR, lane_of(i) | IR_V_SCALAR, product,
                                 a64_signs(t, lane_of(i))));
}

/* NEGATE: mask of enum ir_fma. */
void a64_emit_fmadd(struct a64_translation *t, const struct a64_insn *i, uint32_t negate)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), m = a64_v(t, i->rm), a = a64_v(t, i->ra);
    a64_set_v(t, i->rd, ir_vec(t->unit, IR_VFMA, shape(t, i), negate, n, m, a));
}

/* ARG: IR_VXOR negates, IR_VANDN makes positive, IR_VMOV copies. */
void a64_emit_fsign(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = lane_of(i) | IR_V_SCALAR;

    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_v(t, i->rn);
    if (arg == IR_VMOV)
        a64_set_v(t, i->rd, a64_vec1(t, IR_VMOV, aux, 0, value));
    else
        a64_set_v(t, i->rd, a64_vec2(t, arg, aux, value, a64_signs(t, lane_of(i))));
}

void a64_emit_fround(struct a64_translation *t, const struct a64_insn *i, uint32_t rm)
{
    unsigned exact = rm & ARG_EXACT ? IR_V_ALT : 0;

    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VFROUND, shape(t, i) | rounding(rm & 7) | exact, 0,
                                     a64_v(t, i->rn)));
}

/* ARG: log2 of the result's bytes, of the operand's << 4. */
void a64_emit_fcvt(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VFCVT, (arg & 3) | IR_V_SCALAR | a64_convert_mode(t),
                                     arg >> 4, a64_v(t, i->rn)));
}

/* --- comparing and choosing ------------------------------------------------------------------- */

static uint32_t compared(struct a64_translation *t, const struct a64_insn *i, uint32_t a, uint32_t b,
                         bool signalling)
{
    unsigned aux = lane_of(i) | a64_fp_mode(t) | (signalling ? IR_V_ALT : 0);

    return ir_vec_int(t->unit, IR_VFNZCV, IR_I64, aux, 0, a, b);
}

/* ARG: 1 signals at any NaN, 2 compares with 0. */
void a64_emit_fcmp(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t a = a64_v(t, i->rn), b = arg & 2 ? a64_splat(t, 0) : a64_v(t, i->rm);
    a64_set_flags_value(t, compared(t, i, a, b, arg & 1));
}

/* Where the condition does not hold, zeros are compared, which raises nothing. */
void a64_emit_fccmp(struct a64_translation *t, const struct a64_insn *i, uint32_t signalling)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t cond = a64_condition(t, i->cond), zero = a64_splat(t, 0);
    uint32_t a = ir_select(t->unit, IR_V128, cond, a64_v(t, i->rn), zero);
    uint32_t b = ir_select(t->unit, IR_V128, cond, a64_v(t, i->rm), zero);
    uint32_t other = ir_const(t->unit, IR_I64, a64_nzcv(i->nzcv));
    uint32_t flags = compared(t, i, a, b, signalling);
    a64_set_flags_value(t, ir_select(t->unit, IR_I64, cond, flags, other));
}

void a64_emit_fcsel(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t cond = a64_condition(t, i->cond);
    uint32_t n = a64_v(t, i->rn), m = a64_v(t, i->rm);
    uint32_t value = ir_select(t->unit, IR_V128, cond, n, m);
    a64_set_v(t, i->rd, a64_vec1(t, IR_VMOV, lane_of(i) | IR_V_SCALAR, 0, value));
}

/* --- moves and conversions -------------------------------------------------------------------- */

uint64_t a64_fp_immediate(unsigned imm8, bool is_double)
{
    uint64_t sign = imm8 >> 7, exp = imm8 >> 4 & 3, frac = imm8 & 15;
    bool low = imm8 >> 6 & 1; /* inverted, it is the exponent's top bit */

    if (is_double)
        return sign << 63 | (uint64_t)(low ? 0x3fc : 0x400) << 52 | exp << 52 | frac << 48;
    return sign << 31 | (low ? 0x7c : 0x80) << 23 | exp << 23 | frac << 19;
}

void a64_emit_fmov_imm(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (!a64_fp_ready(t))
        return;
    uint64_t bits = a64_fp_immediate(i->bits >> 13 & 0xff, lane_of(i) == 3);
    uint32_t value = ir_const(t->unit, IR_I64, (int64_t)bits);
    a64_set_v(t, i->rd, a64_vec1(t, IR_VZEXT, 3, 0, value));
}

/* ARG: log2 of the bytes; FMOV from a general register. */
void a64_emit_fmov_from(struct a64_translation *t, const struct a64_insn *i, uint32_t lane)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VZEXT, lane, 0, a64_x(t, i->rn)));
}

void a64_emit_fmov_to(struct a64_translation *t, const struct a64_insn *i, uint32_t lane)
{
    if (a64_fp_ready(t))
        a64_set_x(t, i->rd, ir_vec_int(t->unit, IR_VGET, IR_I64, lane | IR_V_UNSIGNED, 0,
                                       a64_v(t, i->rn), IR_NONE));
}

/* The upper half of a V register. */
void a64_emit_fmov_from_high(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, ir_vec(t->unit, IR_VPUT, 3, 1, a64_v(t, i->rd), a64_x(t, i->rn),
                                   IR_NONE));
}

void a64_emit_fmov_to_high(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_x(t, i->rd, ir_vec_int(t->unit, IR_VGET, IR_I64, 3, 1, a64_v(t, i->rn), IR_NONE));
}

/* The fraction's bits of a fixed-point form; bit 21 tells an integer. */
static int64_t fraction(const struct a64_insn *i)
{
    return i->bits >> 21 & 1 ? 0 : 64 - (int64_t)(i->bits >> 10 & 63);
}

/* ARG: enum ir_rm, ARG_UNSIGNED. */
void a64_emit_fcvt_to_int(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = lane_of(i) | a64_fp_mode(t) | rounding(arg & 7) |
                   (arg & ARG_UNSIGNED ? IR_V_UNSIGNED : 0);

    if (a64_fp_ready(t))
        a64_set_r(t, i, i->rd, ir_vec_int(t->unit, IR_VFTOX, a64_type(i), aux, fraction(i),
                                          a64_v(t, i->rn), IR_NONE));
}

void a64_emit_fcvt_from_int(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = shape(t, i) | (arg & ARG_UNSIGNED ? IR_V_UNSIGNED : 0);

    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_r(t, i, i->rn);
    a64_set_v(t, i->rd, ir_vec_from(t->unit, a64_type(i), aux, fraction(i), value));
}
