/*
 * a64_emit_simd_fp.c: floating-point SIMD, and the scalar forms of its encodings. Bit 22 says singles
 * or doubles.
 */
#include "xlate/front/aarch64/a64_simd.h"

static unsigned lane_of(const struct a64_insn *i)
{
    return 2 + (i->bits >> 22 & 1);
}

static unsigned flags_of(uint32_t arg)
{
    return arg >> 8 & 0x3fff;
}

static unsigned shape(const struct a64_translation *t, const struct a64_insn *i)
{
    return lane_of(i) | a64_shape(i) | a64_fp_mode(t);
}

/* Lane width and shape alone. */
static unsigned plain(unsigned aux)
{
    return aux & (IR_V_LANE | IR_V_SCALAR | IR_V_HALF);
}

/* --- three registers -------------------------------------------------------------------------- */

static uint32_t compare(struct a64_translation *t, unsigned kind, unsigned aux, uint32_t n, uint32_t m)
{
    switch (kind) {
    case A64_V_FCMEQ:
        return ir_vec(t->unit, IR_VFCMP, aux, IR_VEQ, n, m, IR_NONE);
    case A64_V_FCMGE:
        return ir_vec(t->unit, IR_VFCMP, aux, IR_VGE, n, m, IR_NONE);
    case A64_V_FCMGT:
        return ir_vec(t->unit, IR_VFCMP, aux, IR_VGT, n, m, IR_NONE);
    case A64_V_FCMLE:
        return ir_vec(t->unit, IR_VFCMP, aux, IR_VGE, m, n, IR_NONE);
    default: /* A64_V_FCMLT */
        return ir_vec(t->unit, IR_VFCMP, aux, IR_VGT, m, n, IR_NONE);
    }
}

static uint32_t simd3(struct a64_translation *t, unsigned kind, unsigned aux, uint32_t d, uint32_t n,
                      uint32_t m)
{
    switch (kind) {
    case A64_V_FMLA:
        return ir_vec(t->unit, IR_VFMA, aux, 0, n, m, d);
    case A64_V_FMLS:
        return ir_vec(t->unit, IR_VFMA, aux, IR_FMA_NEG_PRODUCT, n, m, d);
    case A64_V_FABD:
        return a64_vec2(t, IR_VANDN, plain(aux), a64_vec2(t, IR_VFSUB, aux, n, m),
                        a64_signs(t, aux & IR_V_LANE));
    case A64_V_FCMEQ: case A64_V_FCMGE: case A64_V_FCMGT: case A64_V_FCMLE: case A64_V_FCMLT:
        return compare(t, kind, aux, n, m);
    default:
        return a64_vec2(t, kind, aux, n, m);
    }
}

void a64_emit_fv3(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lanes = lane_of(i) | a64_shape(i);

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn);
    uint32_t m = arg & ARG_ELEMENT ? a64_element(t, i, lane_of(i)) : a64_v(t, i->bits >> 16 & 31);
    if (arg & ARG_PAIR) {
        uint32_t even = a64_vec2(t, IR_VUZP, lanes, n, m);
        m = a64_vec2(t, IR_VUZP, lanes | IR_V_HIGH, n, m);
        n = even;
    }
    uint32_t d = a64_v(t, i->rd);
    a64_set_v(t, i->rd, simd3(t, arg & 0xff, shape(t, i) | flags_of(arg), d, n, m));
}

/* --- two registers ---------------------------------------------------------------------------- */

void a64_emit_fv1(struct a64_translation *t, const struct a64_insn *i, uint32_t op)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, op, shape(t, i), 0, a64_v(t, i->rn)));
}

/* Compared with 0. */
void a64_emit_fv0(struct a64_translation *t, const struct a64_insn *i, uint32_t kind)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, compare(t, kind, shape(t, i), a64_v(t, i->rn), a64_splat(t, 0)));
}

/* IR_VXOR or IR_VANDN with the signs. */
void a64_emit_fvsign(struct a64_translation *t, const struct a64_insn *i, uint32_t op)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec2(t, op, plain(shape(t, i)), a64_v(t, i->rn),
                                     a64_signs(t, lane_of(i))));
}

void a64_emit_fvround(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = shape(t, i) | (arg & 7) << IR_V_RM_SHIFT | (arg & ARG_EXACT ? IR_V_ALT : 0);

    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VFROUND, aux, 0, a64_v(t, i->rn)));
}

/* KIND: enum ir_vest. Estimates of integers are of words. */
void a64_emit_fvest(struct a64_translation *t, const struct a64_insn *i, uint32_t kind)
{
    unsigned aux = kind >= IR_VEST_INT ? 2 | a64_shape(i) : shape(t, i);

    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VFEST, aux, kind, a64_v(t, i->rn)));
}

/* --- conversions ------------------------------------------------------------------------------ */

/* Lanes of a fixed-point form are as wide as the shift's encoding says. */
static unsigned number_lane(const struct a64_insn *i, uint32_t arg)
{
    return arg & ARG_FIXED ? 2 + (i->bits >> 22 & 1) : lane_of(i);
}

static int64_t fraction(const struct a64_insn *i, uint32_t arg)
{
    return arg & ARG_FIXED ? (int64_t)a64_right_count(i) : 0;
}

/* ARG: enum ir_rm, ARG_UNSIGNED, ARG_FIXED. Scalars pass through an integer, here and below. */
void a64_emit_fv_to_int(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = number_lane(i, arg), mode = a64_fp_mode(t) | (arg & 7) << IR_V_RM_SHIFT |
                                                (arg & ARG_UNSIGNED ? IR_V_UNSIGNED : 0);
    int64_t scale = fraction(i, arg);

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), value;
    if (a64_shape(i) != IR_V_SCALAR) {
        value = a64_vec1(t, IR_VFTOI, lane | a64_shape(i) | mode, scale, n);
    } else {
        enum ir_type type = lane == 3 ? IR_I64 : IR_I32;
        value = ir_vec_int(t->unit, IR_VFTOX, type, lane | mode, scale, n, IR_NONE);
        if (lane == 2)
            value = ir_ext(t->unit, IR_ZEXT, IR_I64, value, 32);
        value = a64_vec1(t, IR_VZEXT, lane, 0, value);
    }
    a64_set_v(t, i->rd, value);
}

void a64_emit_fv_from_int(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = number_lane(i, arg);
    unsigned mode = a64_fp_mode(t) | (arg & ARG_UNSIGNED ? IR_V_UNSIGNED : 0);

    if (!a64_fp_ready(t))
        return;
    if (a64_shape(i) != IR_V_SCALAR) {
        a64_set_v(t, i->rd, a64_vec1(t, IR_VITOF, lane | a64_shape(i) | mode, fraction(i, arg),
                                     a64_v(t, i->rn)));
        return;
    }
    enum ir_type from = lane == 3 ? IR_I64 : IR_I32;
    uint32_t value = ir_vec_int(t->unit, IR_VGET, IR_I64, lane | IR_V_UNSIGNED, 0, a64_v(t, i->rn),
                                IR_NONE);
    if (lane == 2)
        value = ir_un(t->unit, IR_TRUNC, IR_I32, value);
    a64_set_v(t, i->rd, ir_vec_from(t->unit, from, lane | mode, fraction(i, arg), value));
}

/* FCVTN and FCVTXN (IR_V_ALT); the scalar form has IR_V_SCALAR. */
void a64_emit_fvnarrow(struct a64_translation *t, const struct a64_insn *i, uint32_t flags)
{
    unsigned lane = 1 + (i->bits >> 22 & 1);

    if (a64_fp_ready(t))
        a64_set_narrow(t, i, a64_vec1(t, IR_VFCVT, lane | flags | a64_convert_mode(t), lane + 1,
                                      a64_v(t, i->rn)));
}

void a64_emit_fvlong(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned high = i->bits >> 30 & 1 ? IR_V_HIGH : 0;

    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VFCVT, lane_of(i) | high | a64_convert_mode(t),
                                     lane_of(i) - 1, a64_v(t, i->rn)));
}

/* --- across lanes ----------------------------------------------------------------------------- */

/* Four singles: neighbours first. */
void a64_emit_fvacross(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = 2 | a64_fp_mode(t) | flags_of(arg);

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn);
    uint32_t pairs = a64_vec2(t, arg & 0xff, aux | IR_V_HALF, a64_vec2(t, IR_VUZP, 2, n, n),
                              a64_vec2(t, IR_VUZP, 2 | IR_V_HIGH, n, n));
    uint32_t other = a64_vec1(t, IR_VLANE, 2, 1, pairs);
    a64_set_v(t, i->rd, a64_vec2(t, arg & 0xff, aux | IR_V_SCALAR, pairs, other));
}

/* Lanes 0 and 1. */
void a64_emit_fvpair(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = lane_of(i) | IR_V_SCALAR | a64_fp_mode(t) | flags_of(arg);

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn);
    a64_set_v(t, i->rd, a64_vec2(t, arg & 0xff, aux, n, a64_vec1(t, IR_VLANE, lane_of(i), 1, n)));
}
