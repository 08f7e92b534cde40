/*
 * a64_emit_simd.c: integer SIMD. What is no operation of the IR is made of some.
 *
 * Bit 28 tells scalar forms, bit 30 whether all 128 bits are used, bits 23:22 the width of lanes.
 */
#include "xlate/front/aarch64/a64_simd.h"

static unsigned size_of(const struct a64_insn *i)
{
    return i->bits >> 22 & 3;
}

static unsigned flags_of(uint32_t arg)
{
    return arg >> 8 & 0x3fff;
}

unsigned a64_shape(const struct a64_insn *i)
{
    if (i->bits >> 28 & 1)
        return IR_V_SCALAR;
    return i->bits >> 30 & 1 ? 0 : IR_V_HALF;
}

/* Lane width and shape alone: of what has no signs and does not round. */
static unsigned plain(unsigned aux)
{
    return aux & (IR_V_LANE | IR_V_SCALAR | IR_V_HALF);
}

static uint32_t inverse(struct a64_translation *t, unsigned aux, uint32_t a)
{
    return a64_vec2(t, IR_VXOR, plain(aux), a, a64_splat(t, UINT64_MAX));
}

/* --- three registers -------------------------------------------------------------------------- */

static uint32_t distance(struct a64_translation *t, unsigned aux, uint32_t n, uint32_t m)
{
    uint32_t most = a64_vec2(t, IR_VMAX, aux, n, m), least = a64_vec2(t, IR_VMIN, aux, n, m);

    return a64_vec2(t, IR_VSUB, plain(aux), most, least);
}

/* Bits of A where MASK is 1, of B where it is 0. */
static uint32_t blend(struct a64_translation *t, unsigned aux, uint32_t mask, uint32_t a, uint32_t b)
{
    uint32_t ones = a64_vec2(t, IR_VAND, plain(aux), a, mask);
    uint32_t zeros = a64_vec2(t, IR_VANDN, plain(aux), b, mask);

    return a64_vec2(t, IR_VOR, plain(aux), ones, zeros);
}

static uint32_t product_sum(struct a64_translation *t, enum ir_op op, unsigned aux, uint32_t d,
                            uint32_t n, uint32_t m)
{
    return a64_vec2(t, op, plain(aux), d, a64_vec2(t, IR_VMUL, aux, n, m));
}

uint32_t a64_simd3(struct a64_translation *t, unsigned kind, unsigned aux, uint32_t d, uint32_t n,
                   uint32_t m)
{
    switch (kind) {
    case A64_V_CMGE:
        return inverse(t, aux, a64_vec2(t, IR_VCMPGT, aux, m, n));
    case A64_V_CMTST:
        return inverse(t, aux, a64_vec2(t, IR_VCMPEQ, aux, a64_vec2(t, IR_VAND, aux, n, m),
                                        a64_splat(t, 0)));
    case A64_V_ABD:
        return distance(t, aux, n, m);
    case A64_V_ABA:
        return a64_vec2(t, IR_VADD, plain(aux), d, distance(t, aux, n, m));
    case A64_V_MLA:
        return product_sum(t, IR_VADD, aux, d, n, m);
    case A64_V_MLS:
        return product_sum(t, IR_VSUB, aux, d, n, m);
    case A64_V_ORN:
        return a64_vec2(t, IR_VOR, aux, n, inverse(t, aux, m));
    case A64_V_BSL:
        return blend(t, aux, d, n, m);
    case A64_V_BIT:
        return blend(t, aux, m, n, d);
    case A64_V_BIF:
        return blend(t, aux, m, d, n);
    case A64_V_QRDMLA:
        return ir_vec(t->unit, IR_VQRDMLA, aux, 0, d, n, m);
    case A64_V_DOT:
        return ir_vec(t->unit, IR_VDOT, aux, 0, d, n, m);
    default:
        return a64_vec2(t, kind, aux, n, m);
    }
}

/* One lane of a register in all lanes: bits H, L and M number it. */
uint32_t a64_element(struct a64_translation *t, const struct a64_insn *i, unsigned lane)
{
    unsigned h = i->bits >> 11 & 1, l = i->bits >> 21 & 1, m = i->bits >> 20 & 1;
    unsigned reg = i->bits >> 16 & 15, number;

    if (lane == 1) {
        number = h << 2 | l << 1 | m;
    } else {
        reg |= m << 4;
        number = lane == 2 ? h << 1 | l : h;
    }
    return a64_vec1(t, IR_VLANE, lane, number, a64_v(t, reg));
}

static uint32_t second(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    return arg & ARG_ELEMENT ? a64_element(t, i, size_of(i)) : a64_v(t, i->bits >> 16 & 31);
}

/* ARG: an operation or enum a64_simd, flags of enum ir_vec << 8, ARG_PAIR, ARG_ELEMENT. */
void a64_emit_v3(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned shape = a64_shape(i), aux = size_of(i) | shape | flags_of(arg);

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), m = second(t, i, arg);
    if (arg & ARG_PAIR) {
        uint32_t even = a64_vec2(t, IR_VUZP, size_of(i) | shape, n, m);
        m = a64_vec2(t, IR_VUZP, size_of(i) | shape | IR_V_HIGH, n, m);
        n = even;
    }
    uint32_t d = a64_v(t, i->rd);
    a64_set_v(t, i->rd, a64_simd3(t, arg & 0xff, aux, d, n, m));
}

/* --- three registers of different widths ------------------------------------------------------ */

/* Lanes of N and M of width AUX become ones of twice the width. */
static uint32_t long_operation(struct a64_translation *t, unsigned kind, unsigned aux, uint32_t d,
                               uint32_t n, uint32_t m)
{
    unsigned wide = ((aux & IR_V_LANE) + 1) | (aux & IR_V_SCALAR);
    uint32_t value;

    switch (kind) {
    case A64_V_ADDL:
    case A64_V_SUBL:
        n = a64_vec1(t, IR_VWIDEN, aux, 0, n);
        return a64_vec2(t, kind == A64_V_ADDL ? IR_VADD : IR_VSUB, wide, n,
                        a64_vec1(t, IR_VWIDEN, aux, 0, m));
    case A64_V_ADDW:
    case A64_V_SUBW:
        return a64_vec2(t, kind == A64_V_ADDW ? IR_VADD : IR_VSUB, wide, n,
                        a64_vec1(t, IR_VWIDEN, aux, 0, m));
    case A64_V_ABDL:
    case A64_V_ABAL:
        value = distance(t, aux & (IR_V_LANE | IR_V_UNSIGNED), n, m);
        value = a64_vec1(t, IR_VWIDEN, aux | IR_V_UNSIGNED, 0, value);
        return kind == A64_V_ABDL ? value : a64_vec2(t, IR_VADD, wide, d, value);
    case A64_V_MULL:
        return a64_vec2(t, IR_VMULL, aux, n, m);
    case A64_V_MLAL:
    case A64_V_MLSL:
        value = a64_vec2(t, IR_VMULL, aux, n, m);
        return a64_vec2(t, kind == A64_V_MLAL ? IR_VADD : IR_VSUB, wide, d, value);
    case A64_V_QDMULL:
        return a64_vec2(t, IR_VQDMULL, aux, n, m);
    default: /* A64_V_QDMLAL, A64_V_QDMLSL */
        value = a64_vec2(t, IR_VQDMULL, aux, n, m);
        return a64_vec2(t, kind == A64_V_QDMLAL ? IR_VQADD : IR_VQSUB, wide, d, value);
    }
}

/* The half of a register that an instruction takes or makes: the upper one where bit 30 is set. */
static unsigned half_of(const struct a64_insn *i)
{
    if (i->bits >> 28 & 1)
        return IR_V_SCALAR;
    return i->bits >> 30 & 1 ? IR_V_HIGH : 0;
}

void a64_emit_vlong(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = size_of(i) | half_of(i) | flags_of(arg);

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), m = second(t, i, arg), d = a64_v(t, i->rd);
    a64_set_v(t, i->rd, long_operation(t, arg & 0xff, aux, d, n, m));
}

/* Results of half the width go to the low half, or, the low half kept, to the upper one. */
void a64_set_narrow(struct a64_translation *t, const struct a64_insn *i, uint32_t value)
{
    if (half_of(i) == IR_V_HIGH)
        value = a64_vec2(t, IR_VZIP, 3, a64_v(t, i->rd), value);
    a64_set_v(t, i->rd, value);
}

/* The upper halves of sums or differences, cut off or rounded. */
void a64_emit_vhigh(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = size_of(i), bits = 8u << lane;

    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_vec2(t, arg & 0xff, lane + 1, a64_v(t, i->rn), a64_v(t, i->rm));
    if (flags_of(arg) & IR_V_ROUND)
        value = a64_vec2(t, IR_VADD, lane + 1, value,
                         a64_splat(t, a64_repeat(UINT64_C(1) << (bits - 1), 2 * bits)));
    value = a64_vec1(t, IR_VSHR, lane + 1, bits, value);
    a64_set_narrow(t, i, a64_vec1(t, IR_VNARROW, lane, 0, value));
}

/* --- two registers ---------------------------------------------------------------------------- */

static uint32_t simd2(struct a64_translation *t, const struct a64_insn *i, unsigned kind, unsigned aux,
                      uint32_t n)
{
    uint32_t zero = a64_splat(t, 0);

    switch (kind) {
    case A64_V_NOT:
        return inverse(t, aux, n);
    case A64_V_NEG:
        return a64_vec2(t, IR_VSUB, aux, zero, n);
    case A64_V_QNEG:
        return a64_vec2(t, IR_VQSUB, aux, zero, n);
    case A64_V_ADD_OTHER:
        return a64_vec2(t, IR_VQADD, aux | IR_V_ALT, a64_v(t, i->rd), n);
    case A64_V_CMGT0:
        return a64_vec2(t, IR_VCMPGT, aux, n, zero);
    case A64_V_CMGE0:
        return inverse(t, aux, a64_vec2(t, IR_VCMPGT, aux, zero, n));
    case A64_V_CMEQ0:
        return a64_vec2(t, IR_VCMPEQ, aux, n, zero);
    case A64_V_CMLE0:
        return inverse(t, aux, a64_vec2(t, IR_VCMPGT, aux, n, zero));
    case A64_V_CMLT0:
        return a64_vec2(t, IR_VCMPGT, aux, zero, n);
    default:
        return a64_vec1(t, kind, aux, 0, n);
    }
}

void a64_emit_v2(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned aux = size_of(i) | a64_shape(i) | flags_of(arg);

    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, simd2(t, i, arg & 0xff, aux, a64_v(t, i->rn)));
}

void a64_emit_vrbit(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VRBIT, a64_shape(i), 0, a64_v(t, i->rn)));
}

/* GROUP: log2 of the bytes whose lanes change places. */
void a64_emit_vrev(struct a64_translation *t, const struct a64_insn *i, uint32_t group)
{
    if (a64_fp_ready(t))
        a64_set_v(t, i->rd, a64_vec1(t, IR_VREV, size_of(i) | a64_shape(i), group, a64_v(t, i->rn)));
}

/* Sums of neighbours, of twice the width. */
static uint32_t sums_of_pairs(struct a64_translation *t, unsigned lane, unsigned shape,
                              bool is_unsigned, uint32_t n)
{
    enum ir_op right = is_unsigned ? IR_VSHR : IR_VSAR;
    unsigned aux = (lane + 1) | shape, bits = 8u << lane;
    uint32_t low = a64_vec1(t, right, aux, bits, a64_vec1(t, IR_VSHL, aux, bits, n));

    return a64_vec2(t, IR_VADD, aux, low, a64_vec1(t, right, aux, bits, n));
}

/* ARG: 1 adds to the destination. */
void a64_emit_vaddlp(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = size_of(i);

    if (!a64_fp_ready(t))
        return;
    uint32_t sums = sums_of_pairs(t, lane, a64_shape(i), flags_of(arg) & IR_V_UNSIGNED,
                                  a64_v(t, i->rn));
    if (arg & 1)
        sums = a64_vec2(t, IR_VADD, (lane + 1) | a64_shape(i), a64_v(t, i->rd), sums);
    a64_set_v(t, i->rd, sums);
}

/* --- shifts by a constant --------------------------------------------------------------------- */

static unsigned immh_immb(const struct a64_insn *i)
{
    return i->bits >> 16 & 127;
}

/* Of a shift by a constant: the highest bit of immh says the width. */
static unsigned shift_lane(const struct a64_insn *i)
{
    return 31 - (unsigned)__builtin_clz(immh_immb(i) >> 3);
}

unsigned a64_right_count(const struct a64_insn *i)
{
    return (16u << shift_lane(i)) - immh_immb(i);
}

static unsigned left_count(const struct a64_insn *i)
{
    return immh_immb(i) - (8u << shift_lane(i));
}

/* N shifted right, and half of what was cut off added where AUX says so. */
static uint32_t shift_right(struct a64_translation *t, unsigned aux, unsigned count, uint32_t n)
{
    unsigned lanes = plain(aux), bits = 8u << (aux & IR_V_LANE);
    uint32_t value = a64_vec1(t, aux & IR_V_UNSIGNED ? IR_VSHR : IR_VSAR, lanes, count, n);

    if (!(aux & IR_V_ROUND))
        return value;
    uint32_t half = a64_vec1(t, IR_VSHR, lanes, count - 1, n);
    half = a64_vec2(t, IR_VAND, lanes, half, a64_splat(t, a64_repeat(1, bits)));
    return a64_vec2(t, IR_VADD, lanes, value, half);
}

/* Bits of VALUE where MASK, of one lane, has ones; elsewhere of D. */
static uint32_t insert(struct a64_translation *t, unsigned aux, uint64_t mask, uint32_t value,
                       uint32_t d)
{
    uint32_t ones = a64_splat(t, a64_repeat(mask, 8u << (aux & IR_V_LANE)));

    return a64_vec2(t, IR_VOR, plain(aux), value, a64_vec2(t, IR_VANDN, plain(aux), d, ones));
}

static uint64_t lane_ones(unsigned bits)
{
    return bits ? UINT64_MAX >> (64 - bits) : 0;
}

void a64_emit_vshift(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = shift_lane(i), aux = lane | a64_shape(i) | flags_of(arg), bits = 8u << lane;
    unsigned left = left_count(i), right = a64_right_count(i);

    if (!a64_fp_ready(t))
        return;
    uint32_t n = a64_v(t, i->rn), d = a64_v(t, i->rd), value;
    switch (arg & 0xff) {
    case A64_V_RIGHT:
        value = shift_right(t, aux, right, n);
        break;
    case A64_V_RIGHT_ADD:
        value = a64_vec2(t, IR_VADD, plain(aux), d, shift_right(t, aux, right, n));
        break;
    case A64_V_RIGHT_INSERT:
        value = insert(t, aux, lane_ones(bits - right), a64_vec1(t, IR_VSHR, plain(aux), right, n), d);
        break;
    case A64_V_LEFT:
        value = a64_vec1(t, IR_VSHL, plain(aux), left, n);
        break;
    case A64_V_LEFT_INSERT:
        value = insert(t, aux, lane_ones(bits) << left & lane_ones(bits),
                       a64_vec1(t, IR_VSHL, plain(aux), left, n), d);
        break;
    default: /* A64_V_LEFT_SAT */
        value = a64_vec2(t, IR_VSHIFT, aux | IR_V_SAT, n, a64_splat(t, a64_repeat(left, bits)));
    }
    a64_set_v(t, i->rd, value);
}

/* ARG: 0 by the width of a lane, 1 by a constant. */
void a64_emit_vshll(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = arg & 1 ? shift_lane(i) : size_of(i);
    unsigned count = arg & 1 ? left_count(i) : 8u << lane;

    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_vec1(t, IR_VWIDEN, lane | half_of(i) | flags_of(arg), 0, a64_v(t, i->rn));
    a64_set_v(t, i->rd, a64_vec1(t, IR_VSHL, lane + 1, count, value));
}

/* ARG: 1 shifts by a constant first. ALT: of signed lanes, whose shift that is. */
void a64_emit_vnarrow(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = arg & 1 ? shift_lane(i) : size_of(i), flags = flags_of(arg);
    unsigned scalar = a64_shape(i) & IR_V_SCALAR;
    unsigned shift = flags & (IR_V_ROUND | (flags & IR_V_ALT ? 0 : IR_V_UNSIGNED));

    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_v(t, i->rn);
    if (arg & 1)
        value = shift_right(t, (lane + 1) | scalar | shift, a64_right_count(i), value);
    value = a64_vec1(t, IR_VNARROW, lane | scalar | (flags & ~(unsigned)IR_V_ROUND), 0, value);
    a64_set_narrow(t, i, value);
}

/* --- across lanes ----------------------------------------------------------------------------- */

/* Combines the lanes of N, of which there are 1 << STEPS, into lane 0. */
uint32_t a64_combine_lanes(struct a64_translation *t, enum ir_op op, unsigned aux, unsigned steps,
                           uint32_t n)
{
    while (steps-- > 0)
        n = a64_vec2(t, op, aux, n,
                     ir_vec(t->unit, IR_VEXTR, 0, (1u << steps) << (aux & IR_V_LANE), n, n, IR_NONE));
    return n;
}

void a64_emit_vacross(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = size_of(i), steps = (i->bits >> 30 & 1 ? 4 : 3) - lane;

    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_combine_lanes(t, arg & 0xff, lane | flags_of(arg), steps, a64_v(t, i->rn));
    a64_set_v(t, i->rd, a64_vec1(t, IR_VMOV, lane | IR_V_SCALAR, 0, value));
}

/* The sum of all lanes, of twice their width. */
void a64_emit_vaddlv(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    unsigned lane = size_of(i), steps = (i->bits >> 30 & 1 ? 4 : 3) - lane;

    if (!a64_fp_ready(t))
        return;
    uint32_t value = sums_of_pairs(t, lane, 0, flags_of(arg) & IR_V_UNSIGNED, a64_v(t, i->rn));
    value = a64_combine_lanes(t, IR_VADD, lane + 1, steps - 1, value);
    a64_set_v(t, i->rd, a64_vec1(t, IR_VMOV, (lane + 1) | IR_V_SCALAR, 0, value));
}

void a64_emit_vpair(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    if (!a64_fp_ready(t))
        return;
    uint32_t value = a64_combine_lanes(t, IR_VADD, 3, 1, a64_v(t, i->rn));
    a64_set_v(t, i->rd, a64_vec1(t, IR_VMOV, 3 | IR_V_SCALAR, 0, value));
}
