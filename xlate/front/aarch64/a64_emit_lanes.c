/*
 * a64_emit_lanes.c: SIMD that moves lanes and bytes, immediates, cryptography.
 */
#include "xlate/front/aarch64/a64_simd.h"

/* --- single lanes ----------------------------------------------------------------------------- */

/* imm5: its lowest one says the width, what is above it the lane. */
static unsigned imm5(const struct a64_insn *i)
{
    return i->bits >> 16 & 31;
}

static unsigned imm5_lane(const struct a64_insn *i)
{
    return (unsigned)__builtin_ctz(imm5(i));
}

static unsigned imm5_number(const struct a64_insn *i)
{
    return imm5(i) >> (imm5_lane(i) + 1);
}

void a64_emit_vdup(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VDUP, imm5_lane(i) | a64_shape(i), 0, a64_x(t, i->rn)));
}

void a64_emit_vdup_lane(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VLANE, imm5_lane(i) | a64_shape(i), imm5_number(i),
                                     a64_v(t, i->rn)));
}

/* SMOV and UMOV. */
void a64_emit_vmov_lane(struct a64_translation *t, const struct a64_insn *i, uint32_t flags)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t value = ir_vec_int(t->unit, IR_VGET, IR_I64, imm5_lane(i) | flags, imm5_number(i),
                                a64_v(t, i->rn), IR_NONE);
    if (!(i->bits >> 30 & 1) && !flags)
        value = ir_ext(t->unit, IR_ZEXT, IR_I64, value, 32);
    a64_set_x(t, i->rd, value);
}

static void put_lane(struct a64_translation *t, const struct a64_insn *i, uint32_t value)
{
    a64_set_v(t, i->rd, ir_vec(t->unit, IR_VPUT, imm5_lane(i), imm5_number(i), a64_v(t, i->rd), value,
                               IR_NONE));
}

void a64_emit_vins(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        put_lane(t, i, a64_x(t, i->rn));
}

void a64_emit_vins_lane(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = imm5_lane(i), number = (i->bits >> 11 & 15) >> lane;

    if (a64_fp_ready(t))
        put_lane(t, i, ir_vec_int(t->unit, IR_VGET, IR_I64, lane | IR_V_UNSIGNED, number,
                                  a64_v(t, i->rn), IR_NONE));
}

/* --- bytes ------------------------------------------------------------------------------------ */

void a64_emit_vext(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, ir_vec(t->unit, IR_VEXTR, a64_shape(i), i->bits >> 11 & 15,
                                   a64_v(t, i->rn), a64_v(t, i->rm), IR_NONE));
}

/* A table of several registers is looked up in each, the places less its number of bytes. ARG: 1 keeps
 * what is out of range. */
void a64_emit_vtbl(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned shape = a64_shape(i), n = (i->bits >> 13 & 3) + 1;

    if (!a64_fp_ready(t))
        return;
    uint32_t places = a64_v(t, i->rm), value = IR_NONE;
    for (unsigned k = 0; k < n; k++) {
        uint32_t here = k ? a64_vec2(t, IR_VSUB, 0, places, a64_splat(t, a64_repeat(16 * k, 8)))
                          : places;
        uint32_t found = a64_vec2(t, IR_VTBL, shape, a64_v(t, (i->rn + k) % 32), here);
        value = k ? a64_vec2(t, IR_VOR, 0, value, found) : found;
    }
    if (arg) {
        uint32_t last = a64_splat(t, a64_repeat(16 * n - 1, 8));
        uint32_t outside = a64_vec2(t, IR_VCMPGT, IR_V_UNSIGNED, places, last);
        value = a64_vec2(t, IR_VOR, 0, value,
                         a64_vec2(t, IR_VAND, shape, outside, a64_v(t, i->rd)));
    }
    a64_set_v(t, i->rd, value);
}

/* --- immediates ------------------------------------------------------------------------------- */

/* Each bit of IMM8 as a byte of ones. */
static uint64_t spread_bits(unsigned imm8)
{
    uint64_t out = 0;

    for (unsigned k = 0; k < 8; k++)
        out |= imm8 >> k & 1 ? UINT64_C(0xff) << (8 * k) : 0;
    return out;
}

/* AdvSIMDExpandImm(), with the inverse of MVNI and BIC. */
static uint64_t simd_immediate(uint32_t bits)
{
    unsigned imm8 = (bits >> 16 & 7) << 5 | (bits >> 5 & 31), cmode = bits >> 12 & 15;
    bool op = bits >> 29 & 1;
    uint64_t value;

    if (cmode < 8)
        value = a64_repeat((uint64_t)imm8 << (cmode / 2 * 8), 32);
    else if (cmode < 12)
        value = a64_repeat((uint64_t)imm8 << (cmode & 2 ? 8 : 0), 16);
    else if (cmode < 14)
        value = a64_repeat((uint64_t)imm8 << (cmode & 1 ? 16 : 8) | (cmode & 1 ? 0xffff : 0xff), 32);
    else if (cmode == 14)
        return op ? spread_bits(imm8) : a64_repeat(imm8, 8);
    else
        return op ? a64_fp_immediate(imm8, true) : a64_repeat(a64_fp_immediate(imm8, false), 32);
    return op ? ~value : value;
}

/* ARG: 1 combines it with the register: ORR, or BIC, whose inverse is at hand. */
void a64_emit_vimm(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned shape = a64_shape(i);
    bool clears = i->bits >> 29 & 1;

    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_splat(t, simd_immediate(i->bits));
    if (arg)
        value = a64_vec2(t, clears ? IR_VAND : IR_VOR, shape, a64_v(t, i->rd), value);
    else if (shape)
        value = a64_vec1(t, IR_VMOV, shape, 0, value);
    a64_set_v(t, i->rd, value);
}

/* --- cryptography ----------------------------------------------------------------------------- */

void a64_emit_crypt2(struct a64_translation *t, const struct a64_insn *i, uint32_t what)
{
    bool alone = what == IR_AESMC || what == IR_AESIMC || what == IR_SHA1H;

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), d = alone ? n : a64_v(t, i->rd);
    a64_set_v(t, i->rd, ir_vec(t->unit, IR_VCRYPT, 0, what, d, n, n));
}

void a64_emit_crypt3(struct a64_translation *t, const struct a64_insn *i, uint32_t what)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, ir_vec(t->unit, IR_VCRYPT, 0, what, a64_v(t, i->rd), a64_v(t, i->rn),
                                   a64_v(t, i->rm)));
}
