/*
 * Conversions (PTX ISA, section 9.7.9.21): each lane's source becomes a 64-bit integer or a double, which the
 * destination's type rounds and bounds.
 */
#include "gpu/soft/exec/half.h"
#include "gpu/soft/exec/lanes.h"

#include <fenv.h>
#include <float.h>

struct cvt {
    char dk, sk;
    unsigned ds, ss, d_stride, s_stride, flags;
    enum soft_round round;
};

static bool is_float(char kind)
{
    return kind == 'f' || kind == 'g';
}

static double load_float(const struct cvt *c, const uint8_t *at)
{
    uint64_t v = 0;
    double d;

    memcpy(&v, at, c->ss);
    if (c->ss == 8)
        return bits_f64(v);
    d = c->ss == 4 ? bits_f32(v) : small_value(c->sk, v);
    if (c->flags & OP_FTZ && c->ss == 4 && fabs(d) < FLT_MIN)
        d = copysign(0, d);
    return d;
}

static int64_t load_int(const struct cvt *c, const uint8_t *at)
{
    uint64_t v = 0;

    memcpy(&v, at, c->ss);
    if (c->sk == 's' && c->ss < 8)
        v = (int64_t)(v << (64 - 8 * c->ss)) >> (64 - 8 * c->ss);
    return v;
}

static double round_integer(double v, enum soft_round round)
{
    switch (round) {
    case ROUND_ZERO:
        return trunc(v);
    case ROUND_DOWN:
        return floor(v);
    case ROUND_UP:
        return ceil(v);
    default:
        return rint(v);
    }
}

/* Out of range becomes the nearest number in range; NaN zero. */
static uint64_t float_to_int(const struct cvt *c, double v)
{
    unsigned bits = 8 * c->ds - (c->dk == 's');
    double top = ldexp(1, bits), low = c->dk == 's' ? -top : 0;

    v = round_integer(v, c->round);
    if (isnan(v))
        return 0;
    if (v >= top)
        return bits == 64 ? ~0ull : (1ull << bits) - 1;
    if (v < low)
        v = low;
    return c->dk == 's' ? (uint64_t)(int64_t)v : (uint64_t)v;
}

static uint64_t int_to_int(const struct cvt *c, int64_t v)
{
    unsigned bits = 8 * c->ds - (c->dk == 's');
    uint64_t top = bits == 64 ? ~0ull : (1ull << bits) - 1;

    if (!(c->flags & OP_SAT))
        return v;
    if (c->sk == 's' && v < 0)
        return c->dk != 's' ? 0 : v < -(int64_t)top - 1 ? ~top : (uint64_t)v;
    return MIN((uint64_t)v, top);
}

/* To a float of the destination's size, from what is exact in double. */
static uint64_t float_bits(const struct cvt *c, double v)
{
    if (c->flags & CVT_INTEGER && is_float(c->sk) && !isnan(v))
        v = round_integer(v, c->round);
    if (c->flags & OP_SAT)
        v = v > 0 ? MIN(v, 1.0) : 0;
    if (c->flags & CVT_RELU && v < 0)
        v = 0;
    if (c->ds == 8)
        return f64_bits(v);
    if (c->ds == 2)
        return small_bits(c->dk, v, c->round);
    float f = (float)v;

    if (f != f)
        return 0x7fffffff;
    if (c->flags & OP_FTZ && fabsf(f) < FLT_MIN)
        f = copysignf(0, f);
    return f32_bits(f);
}

/* Integers of 64 bits are rounded once, by the processor or to odd. */
static uint64_t int_to_float(const struct cvt *c, int64_t v)
{
    bool sign = c->sk == 's';

    if (c->ds == 8)
        return f64_bits(sign ? (double)v : (double)(uint64_t)v);
    if (c->ds == 4)
        return float_bits(c, sign ? (float)v : (float)(uint64_t)v);
    /* Beyond 2^32 bfloat16 still has numbers: the high half and the low one. */
    double high = sign ? (double)(v >> 32) : (double)((uint64_t)v >> 32), low = (double)(uint32_t)v;

    return float_bits(c, add_odd(high * 0x1p32, low));
}

static uint64_t convert(const struct cvt *c, const uint8_t *at)
{
    if (!is_float(c->sk))
        return is_float(c->dk) ? int_to_float(c, load_int(c, at)) : int_to_int(c, load_int(c, at));
    return is_float(c->dk) ? float_bits(c, load_float(c, at)) : float_to_int(c, load_float(c, at));
}

void exec_cvt(struct warp *w, const struct soft_op *op)
{
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    struct cvt c = {.dk = op->imm & 0xff, .ds = op->imm >> 8 & 0xff, .sk = op->imm >> 16 & 0xff,
                    .ss = op->imm >> 24 & 0xff, .d_stride = op->b, .s_stride = op->c, .flags = op->flags,
                    .round = (op->flags & OP_ROUND) >> OP_ROUND_SHIFT};
    const uint8_t *a = exec_reg(w, op->a);
    uint8_t *d = exec_reg(w, op->d);
    bool mode = c.round && is_float(c.dk) && !(c.flags & CVT_INTEGER) && c.ds >= 4;

    if (mode)
        fesetround(modes[c.round]);
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (!(w->exec >> i & 1))
            continue;
        uint64_t v = convert(&c, a + i * c.s_stride);

        /* A narrow integer fills a wider register by its sign. */
        if (c.dk == 's' && c.ds < 8)
            v = (int64_t)(v << (64 - 8 * c.ds)) >> (64 - 8 * c.ds);
        else if (c.ds < 8)
            v &= (1ull << 8 * c.ds) - 1;
        memcpy(d + i * c.d_stride, &v, c.d_stride);
    }
    if (mode)
        fesetround(FE_TONEAREST);
}
