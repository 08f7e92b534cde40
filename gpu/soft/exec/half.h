/*
 * Half precision and bfloat16 as numbers of C: exact one way, rounded once the other.
 */
#ifndef GPU_SOFT_EXEC_HALF_H
#define GPU_SOFT_EXEC_HALF_H

#include "gpu/soft/soft_priv.h"

#include <math.h>
#include <string.h>

static inline double bits_f64(uint64_t v)
{
    double d;

    memcpy(&d, &v, 8);
    return d;
}

static inline uint64_t f64_bits(double d)
{
    uint64_t v;

    memcpy(&v, &d, 8);
    return v;
}

static inline float bits_f32(uint32_t v)
{
    float f;

    memcpy(&f, &v, 4);
    return f;
}

static inline uint32_t f32_bits(float f)
{
    uint32_t v;

    memcpy(&v, &f, 4);
    return v;
}

/* A double rounded to a format of MANT explicit mantissa and EXP exponent bits, as bits. NaN becomes the
 * format's canonical one (all bits but the sign). */
static inline uint32_t round_small(double d, unsigned mant, unsigned exp, enum soft_round mode)
{
    uint64_t v = f64_bits(d), frac = v & 0xfffffffffffffull, rest, half;
    int bias = (1 << (exp - 1)) - 1, e = (int)(v >> 52 & 0x7ff) - 1023;
    uint32_t sign = v >> 63, inf = ((1u << exp) - 1) << mant, r;
    unsigned drop = 52 - mant;
    bool up;

    if (isnan(d))
        return (1u << (exp + mant)) - 1;
    sign <<= exp + mant;
    if (isinf(d))
        return sign | inf;
    if (d == 0)
        return sign;
    if (e > -1023)
        frac |= 1ull << 52;
    if (e < 1 - bias) {
        unsigned more = 1 - bias - e;

        drop = MIN(drop + more, 63);
        e = -bias;
        r = frac >> drop;
    } else {
        r = ((uint32_t)(e + bias) << mant) + ((uint32_t)(frac >> drop) - (1u << mant));
    }
    rest = frac & ((1ull << drop) - 1);
    half = 1ull << (drop - 1);
    up = mode == ROUND_NEAREST ? rest > half || (rest == half && (r & 1))
         : mode == ROUND_UP    ? rest && !sign
         : mode == ROUND_DOWN  ? rest && sign
                               : false;
    if (e > bias) /* too large: infinity, or the largest number where that is not rounded to */
        return sign | (mode == ROUND_ZERO || (mode == ROUND_UP && sign) || (mode == ROUND_DOWN && !sign) ? inf - 1 : inf);
    return sign | MIN(r + up, inf);
}

static inline double half_value(uint16_t h)
{
    unsigned e = h >> 10 & 31, frac = h & 0x3ff;
    double v = e == 31 ? (frac ? NAN : INFINITY) : e ? ldexp(1024 + frac, (int)e - 25) : ldexp(frac, -24);

    return h >> 15 ? -v : v;
}

static inline double bfloat_value(uint16_t h)
{
    return bits_f32((uint32_t)h << 16);
}

/* Kind f or g, as in struct ptx_type. */
static inline double small_value(char kind, uint16_t bits)
{
    return kind == 'g' ? bfloat_value(bits) : half_value(bits);
}

static inline uint16_t small_bits(char kind, double v, enum soft_round mode)
{
    return kind == 'g' ? round_small(v, 7, 8, mode) : round_small(v, 10, 5, mode);
}

/* A + B, rounded to odd where it is inexact, so that a second rounding to fewer bits is right. */
static inline double add_odd(double a, double b)
{
    double s = a + b, bb = s - a, err = (a - (s - bb)) + (b - bb);
    uint64_t v = f64_bits(s);

    if (!isfinite(s) || err == 0 || (v & 1))
        return s;
    return bits_f64((err > 0) == (s > 0) ? v + 1 : v - 1);
}

#endif
