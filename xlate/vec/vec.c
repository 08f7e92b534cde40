/*
 * xlate/vec/vec.c: lane by lane. A lane is a number of its width, zero-extended; what a lane function
 * returns is cut to that width.
 */
#include "xlate/softfp/softfp.h"
#include "xlate/vec/vec.h"

typedef __int128 i128;
typedef unsigned __int128 u128;

struct op {
    enum ir_op op;
    enum ir_type type, from;
    unsigned aux;
    unsigned log2, bits; /* of a lane */
    unsigned n;          /* lanes that are computed */
    unsigned imm;
    bool is_unsigned, high, round, alt;
    enum sf_rm rm;
    uint8_t *flags;
    const struct ir_v128 *a;
};

typedef uint64_t (*lane_fn)(const struct op *o, uint64_t a, uint64_t b, uint64_t c);

static uint64_t cut(uint64_t v, unsigned bits)
{
    return bits == 64 ? v : v & ((UINT64_C(1) << bits) - 1);
}

static int64_t sign_extend(uint64_t v, unsigned bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

static uint64_t get(const struct ir_v128 *v, unsigned log2, unsigned i)
{
    unsigned bits = 8u << log2, at = i * bits;

    return cut(v->d[at / 64] >> (at % 64), bits);
}

static void put(struct ir_v128 *v, unsigned log2, unsigned i, uint64_t x)
{
    unsigned bits = 8u << log2, at = i * bits;
    uint64_t mask = cut(UINT64_MAX, bits) << (at % 64);

    v->d[at / 64] = (v->d[at / 64] & ~mask) | (x << (at % 64) & mask);
}

/* A lane as the number that it is. */
static i128 number(const struct op *o, uint64_t v)
{
    return o->is_unsigned ? (i128)v : (i128)sign_extend(v, o->bits);
}

/* V, or the nearest number of BITS. */
static uint64_t saturate(const struct op *o, i128 v, unsigned bits, bool is_unsigned)
{
    i128 most = is_unsigned ? ((i128)1 << bits) - 1 : ((i128)1 << (bits - 1)) - 1;
    i128 least = is_unsigned ? 0 : -((i128)1 << (bits - 1));

    if (v >= least && v <= most)
        return (uint64_t)v;
    *o->flags |= IR_QC;
    return (uint64_t)(v < least ? least : most);
}

/* --- integer lanes ---------------------------------------------------------------------------- */

static uint64_t bitwise(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    switch (o->op) {
    case IR_VMOV:
        return a;
    case IR_VAND:
        return a & b;
    case IR_VOR:
        return a | b;
    case IR_VXOR:
        return a ^ b;
    default: /* IR_VANDN */
        return a & ~b;
    }
}

static uint64_t polynomial(uint64_t a, uint64_t b)
{
    return vec__clmul(a, b).d[0];
}

static uint64_t add(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    return a + b;
}

static uint64_t subtract(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    return a - b;
}

static uint64_t multiply(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    return o->alt ? polynomial(a, b) : a * b;
}

static uint64_t minmax(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    bool less = number(o, a) < number(o, b);

    return less == (o->op == IR_VMIN) ? a : b;
}

static uint64_t compare(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    return -(uint64_t)(o->op == IR_VCMPEQ ? a == b : number(o, a) > number(o, b));
}

static uint64_t shift_imm(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    if (o->op == IR_VSAR)
        return (uint64_t)(sign_extend(a, o->bits) >> MIN(o->imm, 63));
    if (o->imm >= o->bits)
        return 0;
    return o->op == IR_VSHL ? a << o->imm : a >> o->imm;
}

static uint64_t absolute(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    i128 v = sign_extend(a, o->bits);

    if (v < 0)
        v = -v;
    return o->op == IR_VQABS ? saturate(o, v, o->bits, false) : (uint64_t)v;
}

static uint64_t count(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    if (o->op == IR_VCNT)
        return (uint64_t)__builtin_popcountll(a);
    if (o->op == IR_VRBIT) { /* the multiplication spreads the bits, the remainder gathers them */
        return (a * UINT64_C(0x0202020202) & UINT64_C(0x010884422010)) % 1023;
    }
    if (o->alt)
        a = cut(a ^ (uint64_t)(sign_extend(a, o->bits) >> 1), o->bits) & cut(UINT64_MAX, o->bits) >> 1;
    return (a ? (uint64_t)__builtin_clzll(a) - (64 - o->bits) : o->bits) - o->alt;
}

static uint64_t half(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    i128 x = number(o, a), y = number(o, b);

    return (uint64_t)((o->alt ? x - y : x + y + o->round) >> 1);
}

static uint64_t add_saturating(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    struct op other = *o;
    i128 y;

    other.is_unsigned ^= o->alt;
    y = number(&other, b);
    return saturate(o, number(o, a) + (o->op == IR_VQSUB ? -y : y), o->bits, o->is_unsigned);
}

static uint64_t shift_left(const struct op *o, i128 v, unsigned count)
{
    bool saturates = o->aux & IR_V_SAT;

    if (!saturates)
        return count >= o->bits ? 0 : (uint64_t)((u128)v << count);
    if (count >= o->bits)
        v = v > 0 ? ((i128)1 << 100) : v < 0 ? -((i128)1 << 100) : 0;
    else
        v = (i128)((u128)v << count);
    if (o->is_unsigned && v < 0 && !o->alt) /* an unsigned lane of 64 bits, shifted by 63 */
        v = (i128)1 << 100;
    return saturate(o, v, o->bits, o->is_unsigned || o->alt);
}

static uint64_t shift(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    int count = (int8_t)b;
    i128 v = number(o, a);

    if (count >= 0)
        return shift_left(o, v, (unsigned)count);
    count = -count;
    if (!o->round)
        return (uint64_t)(v >> MIN(count, 127));
    return count > (int)o->bits ? 0 : (uint64_t)((v + ((i128)1 << (count - 1))) >> count);
}

/* The high half of twice the product, or of that and C. */
static uint64_t double_high(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    bool sums = o->op == IR_VQRDMLA;
    i128 product = 2 * (i128)sign_extend(sums ? b : a, o->bits) * sign_extend(sums ? c : b, o->bits);
    i128 v = sums ? sign_extend(a, o->bits) * ((i128)1 << o->bits) + (o->alt ? -product : product)
                  : product;

    if (o->round || sums)
        v += (i128)1 << (o->bits - 1);
    return saturate(o, v >> o->bits, o->bits, false);
}

static uint64_t dot(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    for (unsigned i = 0; i < 32; i += 8) {
        uint64_t x = b >> i & 0xff, y = c >> i & 0xff;
        a += o->is_unsigned ? x * y : (uint64_t)(sign_extend(x, 8) * sign_extend(y, 8));
    }
    return a;
}

/* --- floating-point lanes --------------------------------------------------------------------- */

static enum sf_format format(unsigned log2)
{
    return log2 == 1 ? SF_F16 : log2 == 2 ? SF_F32 : SF_F64;
}

static uint64_t arith(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    enum sf_format f = format(o->log2);

    switch (o->op) {
    case IR_VFADD:
        return sf_add(f, a, b, o->rm, o->flags);
    case IR_VFSUB:
        return sf_sub(f, a, b, o->rm, o->flags);
    case IR_VFMUL:
        return o->alt ? sf_mulx(f, a, b, o->rm, o->flags) : sf_mul(f, a, b, o->rm, o->flags);
    case IR_VFDIV:
        return sf_div(f, a, b, o->rm, o->flags);
    case IR_VFSQRT:
        return sf_sqrt(f, a, o->rm, o->flags);
    case IR_VFMA:
        return sf_fma(f, a, b, c, o->imm, o->rm, o->flags);
    case IR_VFSTEP:
        return sf_step(f, a, b, o->alt, o->rm, o->flags);
    case IR_VFROUND:
        return sf_round(f, a, o->alt, o->rm, o->flags);
    default: /* IR_VFMIN, IR_VFMAX */
        return sf_arm_min_max(f, a, b, o->op == IR_VFMAX, o->alt, o->rm, o->flags);
    }
}

static uint64_t fcompare(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t sign = o->alt ? UINT64_C(1) << (o->bits - 1) : 0;
    enum sf_relation r = sf_relation(format(o->log2), a & ~sign, b & ~sign, o->imm != IR_VEQ, o->rm,
                                     o->flags);

    return -(uint64_t)(o->imm == IR_VEQ ? r == SF_EQUAL
                                        : r == SF_GREATER || (o->imm == IR_VGE && r == SF_EQUAL));
}

static uint64_t estimate(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    switch (o->imm) {
    case IR_VEST_RECIPROCAL:
    case IR_VEST_ROOT:
        return sf_estimate(format(o->log2), a, o->imm == IR_VEST_ROOT, o->rm, o->flags);
    case IR_VEST_EXPONENT:
        return sf_reciprocal_exponent(format(o->log2), a, o->rm, o->flags);
    default:
        return sf_estimate32((uint32_t)a, o->imm == IR_VEST_INT_ROOT);
    }
}

static uint64_t to_integer(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    return sf_to_fixed(format(o->log2), a, o->bits, o->is_unsigned, (int)o->imm, o->rm, o->flags);
}

static uint64_t to_float(const struct op *o, uint64_t a, uint64_t b, uint64_t c)
{
    return sf_from_fixed(format(o->log2), a, o->bits, o->is_unsigned, (int)o->imm, o->rm, o->flags);
}

static const lane_fn lanes[IR_OP_COUNT] = {
    [IR_VMOV] = bitwise, [IR_VAND] = bitwise, [IR_VOR] = bitwise, [IR_VXOR] = bitwise,
    [IR_VANDN] = bitwise, [IR_VADD] = add, [IR_VSUB] = subtract, [IR_VMUL] = multiply,
    [IR_VMIN] = minmax, [IR_VMAX] = minmax, [IR_VCMPEQ] = compare, [IR_VCMPGT] = compare,
    [IR_VSHL] = shift_imm, [IR_VSHR] = shift_imm, [IR_VSAR] = shift_imm, [IR_VABS] = absolute,
    [IR_VCNT] = count, [IR_VCLZ] = count, [IR_VRBIT] = count, [IR_VHADD] = half, [IR_VDOT] = dot,
    [IR_VQABS] = absolute, [IR_VQADD] = add_saturating, [IR_VQSUB] = add_saturating,
    [IR_VSHIFT] = shift, [IR_VQDMULH] = double_high, [IR_VQRDMLA] = double_high,
    [IR_VFADD] = arith, [IR_VFSUB] = arith, [IR_VFMUL] = arith, [IR_VFDIV] = arith,
    [IR_VFSQRT] = arith, [IR_VFMIN] = arith, [IR_VFMAX] = arith, [IR_VFMA] = arith,
    [IR_VFSTEP] = arith, [IR_VFROUND] = arith, [IR_VFCMP] = fcompare, [IR_VFEST] = estimate,
    [IR_VFTOI] = to_integer, [IR_VITOF] = to_float,
};

/* --- operations that move lanes ---------------------------------------------------------------- */

static void reverse(const struct op *o, struct ir_v128 *out)
{
    unsigned group = (1u << o->imm) >> o->log2;

    for (unsigned i = 0; i < o->n; i++)
        put(out, o->log2, i, get(&o->a[0], o->log2, i ^ (group - 1)));
}

static void permute(const struct op *o, struct ir_v128 *out)
{
    unsigned half = o->n / 2;

    for (unsigned i = 0; i < o->n; i++) {
        unsigned from;
        bool second;
        if (o->op == IR_VZIP) {
            from = i / 2 + (o->high ? half : 0);
            second = i & 1;
        } else if (o->op == IR_VUZP) {
            from = 2 * (i % half) + o->high;
            second = i >= half;
        } else {
            from = (i & ~1u) + o->high;
            second = i & 1;
        }
        put(out, o->log2, i, get(&o->a[second], o->log2, from));
    }
}

static void extract_bytes(const struct op *o, struct ir_v128 *out)
{
    unsigned n = o->aux & IR_V_HALF ? 8 : 16;

    for (unsigned i = 0; i < n; i++) {
        unsigned from = i + o->imm;
        put(out, 0, i, get(&o->a[from >= n], 0, from % n));
    }
}

static void look_up(const struct op *o, struct ir_v128 *out)
{
    for (unsigned i = 0; i < o->n; i++) {
        uint64_t index = get(&o->a[1], 0, i);
        put(out, 0, i, index < 16 ? get(&o->a[0], 0, (unsigned)index) : 0);
    }
}

static void fill(const struct op *o, uint64_t v, struct ir_v128 *out)
{
    for (unsigned i = 0; i < o->n; i++)
        put(out, o->log2, i, v);
}

/* --- operations that change widths ------------------------------------------------------------- */

/* Lane I of the half that is widened. */
static uint64_t narrow_lane(const struct op *o, unsigned which, unsigned i)
{
    return get(&o->a[which], o->log2, i + (o->high ? 8u >> o->log2 : 0));
}

static uint64_t long_product(const struct op *o, uint64_t a, uint64_t b)
{
    if (o->op == IR_VQDMULL)
        return saturate(o, 2 * (i128)sign_extend(a, o->bits) * sign_extend(b, o->bits), 2 * o->bits,
                        false);
    return o->alt ? polynomial(a, b) : (uint64_t)(number(o, a) * number(o, b));
}

static void widen(const struct op *o, struct ir_v128 *out)
{
    unsigned n = o->aux & IR_V_SCALAR ? 1 : 8u >> o->log2;

    if (o->op == IR_VMULL && o->log2 == 3) {
        *out = vec__clmul(o->a[0].d[o->high], o->a[1].d[o->high]);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t a = narrow_lane(o, 0, i);
        put(out, o->log2 + 1, i,
            o->op == IR_VWIDEN ? (uint64_t)number(o, a) : long_product(o, a, narrow_lane(o, 1, i)));
    }
}

static void narrow(const struct op *o, struct ir_v128 *out)
{
    unsigned n = o->aux & IR_V_SCALAR ? 1 : 8u >> o->log2;
    struct op wide = *o;

    wide.bits = 2 * o->bits;
    wide.is_unsigned = o->is_unsigned && !o->alt;
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = get(&o->a[0], o->log2 + 1, i);
        if (o->aux & IR_V_SAT)
            v = saturate(o, number(&wide, v), o->bits, o->is_unsigned);
        put(out, o->log2, i, v);
    }
}

/* To the nearest, or the one of the two neighbours whose last bit is 1. */
static uint64_t convert_one(const struct op *o, uint64_t v)
{
    enum sf_rm rm = o->alt ? (o->rm & ~(unsigned)SF_RM) | SF_RTZ : o->rm;
    uint8_t flags = 0;
    uint64_t out = sf_convert(format(o->log2), format(o->imm), v, rm, &flags);

    *o->flags |= flags;
    return o->alt && (flags & SF_NX) ? out | 1 : out;
}

static void convert(const struct op *o, struct ir_v128 *out)
{
    unsigned n = 16u >> MAX(o->log2, o->imm);
    unsigned first = o->log2 > o->imm && o->high ? n : 0;

    if (o->aux & IR_V_SCALAR)
        n = 1;
    for (unsigned i = 0; i < n; i++)
        put(out, o->log2, i, convert_one(o, get(&o->a[0], o->imm, first + i)));
}

/* --- between vectors and integers -------------------------------------------------------------- */

static uint64_t flags_of_comparison(const struct op *o)
{
    static const uint32_t nzcv[] = {
        [SF_LESS] = IR_NZCV_N, [SF_EQUAL] = IR_NZCV_Z | IR_NZCV_C, [SF_GREATER] = IR_NZCV_C,
        [SF_UNORDERED] = IR_NZCV_C | IR_NZCV_V,
    };

    return nzcv[sf_relation(format(o->log2), get(&o->a[0], o->log2, 0), get(&o->a[1], o->log2, 0),
                            o->alt, o->rm, o->flags)];
}

static uint64_t to_register(const struct op *o)
{
    unsigned bits = o->type == IR_I32 ? 32 : 64;
    uint64_t v = sf_to_fixed(format(o->log2), get(&o->a[0], o->log2, 0), bits, o->is_unsigned,
                             (int)o->imm, o->rm, o->flags);

    return (uint64_t)sign_extend(v, bits);
}

static uint64_t from_register(const struct op *o)
{
    return sf_from_fixed(format(o->log2), o->a[0].d[0], o->from == IR_I32 ? 32 : 64, o->is_unsigned,
                         (int)o->imm, o->rm, o->flags);
}

static void special(const struct op *o, struct ir_v128 *out)
{
    switch (o->op) {
    case IR_VZEXT:
        put(out, o->log2, 0, o->a[0].d[0]);
        break;
    case IR_VGET:
        out->d[0] = (uint64_t)number(o, get(&o->a[0], o->log2, o->imm));
        break;
    case IR_VPUT:
        *out = o->a[0];
        put(out, o->log2, o->imm, o->a[1].d[0]);
        break;
    case IR_VDUP:
        fill(o, o->a[0].d[0], out);
        break;
    case IR_VLANE:
        fill(o, get(&o->a[0], o->log2, o->imm), out);
        break;
    case IR_VREV:
        reverse(o, out);
        break;
    case IR_VZIP:
    case IR_VUZP:
    case IR_VTRN:
        permute(o, out);
        break;
    case IR_VEXTR:
        extract_bytes(o, out);
        break;
    case IR_VTBL:
        look_up(o, out);
        break;
    case IR_VWIDEN:
    case IR_VMULL:
    case IR_VQDMULL:
        widen(o, out);
        break;
    case IR_VCRYPT:
        vec__crypt(o->imm, o->a, out);
        break;
    case IR_VNARROW:
        narrow(o, out);
        break;
    case IR_VFCVT:
        convert(o, out);
        break;
    case IR_VFNZCV:
        out->d[0] = flags_of_comparison(o);
        break;
    case IR_VFTOX:
        out->d[0] = to_register(o);
        break;
    case IR_VXTOF:
        put(out, o->log2, 0, from_register(o));
        break;
    default:
        g_assert_not_reached();
    }
}

static enum sf_rm rounding(unsigned aux, enum ir_rm dynamic)
{
    unsigned rm = (aux & IR_V_RM) >> IR_V_RM_SHIFT;

    return ((rm == IR_RM_DYN ? dynamic : rm) - IR_RM_RNE) | SF_ARM | (aux & IR_V_DN ? SF_DN : 0) |
           (aux & IR_V_FZ ? SF_FZ : 0) | (aux & IR_V_AHP ? SF_AHP : 0);
}

void vec_eval(uint64_t how, const struct ir_v128 a[3], struct ir_v128 *out, enum ir_rm rm,
              uint8_t *flags)
{
    unsigned aux = how >> 16 & 0xffff, log2 = aux & IR_V_LANE;
    struct op o = {
        .op = how & 0xff, .type = how >> 8 & 15, .from = how >> 12 & 15, .aux = aux,
        .log2 = log2, .bits = 8u << log2, .imm = how >> 32 & 0xff,
        .n = aux & IR_V_SCALAR ? 1 : (aux & IR_V_HALF ? 8u : 16u) >> log2,
        .is_unsigned = aux & IR_V_UNSIGNED, .high = aux & IR_V_HIGH, .round = aux & IR_V_ROUND,
        .alt = aux & IR_V_ALT, .rm = rounding(aux, rm), .flags = flags, .a = a,
    };

    *out = (struct ir_v128){{0, 0}};
    if (!lanes[o.op]) {
        special(&o, out);
        return;
    }
    for (unsigned i = 0; i < o.n; i++)
        put(out, log2, i, lanes[o.op](&o, get(&a[0], log2, i), get(&a[1], log2, i),
                                      get(&a[2], log2, i)));
}
