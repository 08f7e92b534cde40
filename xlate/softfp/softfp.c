/*
 * xlate/softfp/softfp.c: numbers are taken apart into sign, exponent and a significand whose top
 * bit is bit 63 (value = sig * 2^(exp - 63)), operated on with enough bits below to round once, and
 * put together by pack(). Bits shifted out are kept as one sticky bit.
 */
#include "xlate/softfp/softfp.h"

typedef unsigned __int128 u128;

struct format {
    int exp_bits, frac_bits, bias;
};
static const struct format formats[] = {
    [SF_F32] = {8, 23, 127},
    [SF_F64] = {11, 52, 1023},
};

enum kind { ZERO, NUMBER, INFINITE, QUIET, SIGNALLING };

struct parts {
    enum kind kind;
    bool sign;
    int exp;
    uint64_t sig;
};

static uint64_t exp_mask(const struct format *t)
{
    return ((UINT64_C(1) << t->exp_bits) - 1) << t->frac_bits;
}

static uint64_t with_sign(const struct format *t, bool sign, uint64_t magnitude)
{
    return magnitude | (uint64_t)sign << (t->exp_bits + t->frac_bits);
}

uint64_t sf_default_nan(enum sf_format f)
{
    const struct format *t = &formats[f];

    return exp_mask(t) | UINT64_C(1) << (t->frac_bits - 1);
}

static struct parts unpack(enum sf_format f, uint64_t a)
{
    const struct format *t = &formats[f];
    uint64_t frac = a & ((UINT64_C(1) << t->frac_bits) - 1);
    int exp = (a & exp_mask(t)) >> t->frac_bits;
    struct parts p = {.sign = a >> (t->exp_bits + t->frac_bits) & 1};

    if (exp == (1 << t->exp_bits) - 1) {
        p.kind = frac == 0 ? INFINITE : frac >> (t->frac_bits - 1) ? QUIET : SIGNALLING;
    } else if (exp == 0 && frac == 0) {
        p.kind = ZERO;
    } else {
        int shift;

        p.kind = NUMBER;
        p.sig = exp ? frac | UINT64_C(1) << t->frac_bits : frac;
        shift = __builtin_clzll(p.sig);
        p.sig <<= shift;
        p.exp = (exp ? exp : 1) - t->bias + 63 - t->frac_bits - shift;
    }
    return p;
}

static bool is_nan(const struct parts *p)
{
    return p->kind >= QUIET;
}

bool sf_is_nan(enum sf_format f, uint64_t a)
{
    struct parts p = unpack(f, a);

    return is_nan(&p);
}

bool sf_is_signalling(enum sf_format f, uint64_t a)
{
    return unpack(f, a).kind == SIGNALLING;
}

/* --- rounding --------------------------------------------------------------------------------- */

static uint64_t shift_jam(uint64_t v, int n)
{
    if (n <= 0)
        return v;
    if (n > 63)
        return v != 0;
    return v >> n | (v << (64 - n) != 0);
}

static u128 shift_jam128(u128 v, int n)
{
    if (n <= 0)
        return v;
    if (n > 127)
        return v != 0;
    return v >> n | (v << (128 - n) != 0);
}

/* Whether the magnitude KEPT, of which REST (of LOW bits) was cut off, is rounded up. */
static bool rounds_up(uint64_t kept, uint64_t rest, int low, bool sign, enum sf_rm rm)
{
    uint64_t half = UINT64_C(1) << (low - 1);

    switch (rm) {
    case SF_RNE:
        return rest > half || (rest == half && (kept & 1));
    case SF_RTZ:
        return false;
    case SF_RDN:
        return sign && rest;
    case SF_RUP:
        return !sign && rest;
    case SF_RMM:
        return rest >= half;
    }
    g_assert_not_reached();
}

static uint64_t overflow(const struct format *t, bool sign, enum sf_rm rm, uint8_t *flags)
{
    bool to_infinity = rm == SF_RNE || rm == SF_RMM || rm == (sign ? SF_RDN : SF_RUP);

    *flags |= SF_OF | SF_NX;
    return with_sign(t, sign, exp_mask(t) - !to_infinity);
}

/* Rounds sig * 2^(exp - 63), bit 63 of SIG set, its lowest bit sticky, to a number of format F. */
static uint64_t pack(enum sf_format f, bool sign, int exp, uint64_t sig, enum sf_rm rm,
                     uint8_t *flags)
{
    const struct format *t = &formats[f];
    int low = 63 - t->frac_bits, biased = exp + t->bias;
    uint64_t mask = (UINT64_C(1) << low) - 1;
    bool tiny = false;

    if (biased <= 0) {
        /* Tiny unless rounding as if the exponent had no end reaches the least normal number. */
        tiny = biased < 0 || sig >> low != UINT64_MAX >> low ||
               !rounds_up(sig >> low, sig & mask, low, sign, rm);
        sig = shift_jam(sig, 1 - biased);
        biased = 1;
    }
    uint64_t kept = sig >> low, rest = sig & mask;
    kept += rounds_up(kept, rest, low, sign, rm);
    /* The hidden bit adds one to the exponent; a carry out of the fraction adds another. */
    uint64_t magnitude = ((uint64_t)(biased - 1) << t->frac_bits) + kept;
    if (magnitude >= exp_mask(t))
        return overflow(t, sign, rm, flags);
    if (rest)
        *flags |= SF_NX | (tiny ? SF_UF : 0);
    return with_sign(t, sign, magnitude);
}

static uint64_t invalid(enum sf_format f, uint8_t *flags)
{
    *flags |= SF_NV;
    return sf_default_nan(f);
}

/* The result of an operation that had a NaN among its operands. */
static uint64_t propagate(enum sf_format f, const struct parts *a, const struct parts *b,
                          uint8_t *flags)
{
    if (a->kind == SIGNALLING || b->kind == SIGNALLING)
        *flags |= SF_NV;
    return sf_default_nan(f);
}

static uint64_t infinity(enum sf_format f, bool sign)
{
    return with_sign(&formats[f], sign, exp_mask(&formats[f]));
}

static uint64_t zero(enum sf_format f, bool sign)
{
    return with_sign(&formats[f], sign, 0);
}

/* --- sums ------------------------------------------------------------------------------------- */

/* The sum of two numbers whose 128-bit significands have bit 126 on top. */
static uint64_t sum128(enum sf_format f, bool sign_a, int exp_a, u128 a, bool sign_b, int exp_b,
                       u128 b, enum sf_rm rm, uint8_t *flags)
{
    int exp = MAX(exp_a, exp_b);
    bool sign = sign_a;
    u128 sum;

    a = shift_jam128(a, exp - exp_a);
    b = shift_jam128(b, exp - exp_b);
    if (sign_a == sign_b) {
        sum = a + b;
    } else if (a == b) {
        return zero(f, rm == SF_RDN);
    } else {
        sign = a > b ? sign_a : sign_b;
        sum = a > b ? a - b : b - a;
    }
    uint64_t high = sum >> 64;
    int up = high ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)sum);
    sum <<= up;
    return pack(f, sign, exp + 1 - up, (uint64_t)(sum >> 64) | ((uint64_t)sum != 0), rm, flags);
}

/* Finite operands, not both zero-free: the zero cases of a sum. */
static uint64_t sum_zeros(enum sf_format f, uint64_t b_bits, bool sign_a, bool sign_b, bool b_zero,
                          enum sf_rm rm)
{
    if (!b_zero)
        return b_bits;
    return zero(f, sign_a == sign_b ? sign_a : rm == SF_RDN);
}

uint64_t sf_add(enum sf_format f, uint64_t a_bits, uint64_t b_bits, enum sf_rm rm, uint8_t *flags)
{
    struct parts a = unpack(f, a_bits), b = unpack(f, b_bits);

    if (is_nan(&a) || is_nan(&b))
        return propagate(f, &a, &b, flags);
    if (a.kind == INFINITE && b.kind == INFINITE && a.sign != b.sign)
        return invalid(f, flags);
    if (a.kind == INFINITE || b.kind == INFINITE)
        return infinity(f, a.kind == INFINITE ? a.sign : b.sign);
    if (a.kind == ZERO)
        return sum_zeros(f, b_bits, a.sign, b.sign, b.kind == ZERO, rm);
    if (b.kind == ZERO)
        return a_bits;
    return sum128(f, a.sign, a.exp, (u128)a.sig << 63, b.sign, b.exp, (u128)b.sig << 63, rm, flags);
}

uint64_t sf_sub(enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm, uint8_t *flags)
{
    uint64_t sign = with_sign(&formats[f], true, 0);

    if (!sf_is_nan(f, b))
        b ^= sign;
    return sf_add(f, a, b, rm, flags);
}

/* --- products, quotients, roots --------------------------------------------------------------- */

uint64_t sf_mul(enum sf_format f, uint64_t a_bits, uint64_t b_bits, enum sf_rm rm, uint8_t *flags)
{
    struct parts a = unpack(f, a_bits), b = unpack(f, b_bits);
    bool sign = a.sign != b.sign;

    if (is_nan(&a) || is_nan(&b))
        return propagate(f, &a, &b, flags);
    if ((a.kind == INFINITE && b.kind == ZERO) || (a.kind == ZERO && b.kind == INFINITE))
        return invalid(f, flags);
    if (a.kind == INFINITE || b.kind == INFINITE)
        return infinity(f, sign);
    if (a.kind == ZERO || b.kind == ZERO)
        return zero(f, sign);
    u128 product = (u128)a.sig * b.sig;
    int exp = a.exp + b.exp + 1;
    if (!(product >> 127)) {
        product <<= 1;
        exp--;
    }
    return pack(f, sign, exp, (uint64_t)(product >> 64) | ((uint64_t)product != 0), rm, flags);
}

uint64_t sf_div(enum sf_format f, uint64_t a_bits, uint64_t b_bits, enum sf_rm rm, uint8_t *flags)
{
    struct parts a = unpack(f, a_bits), b = unpack(f, b_bits);
    bool sign = a.sign != b.sign;

    if (is_nan(&a) || is_nan(&b))
        return propagate(f, &a, &b, flags);
    if (a.kind == b.kind && a.kind != NUMBER) /* inf / inf, 0 / 0 */
        return invalid(f, flags);
    if (a.kind == INFINITE)
        return infinity(f, sign);
    if (a.kind == ZERO || b.kind == INFINITE)
        return zero(f, sign);
    if (b.kind == ZERO) {
        *flags |= SF_DZ;
        return infinity(f, sign);
    }
    bool less = a.sig < b.sig;
    u128 dividend = (u128)a.sig << (less ? 64 : 63);
    uint64_t quotient = dividend / b.sig;
    bool inexact = dividend % b.sig != 0;
    return pack(f, sign, a.exp - b.exp - less, quotient | inexact, rm, flags);
}

/* The root of V, whose top bit is bit 126 or 127, rounded down. */
static uint64_t root128(u128 v)
{
    uint64_t root = 0;

    for (int bit = 63; bit >= 0; bit--) {
        uint64_t next = root | UINT64_C(1) << bit;

        if ((u128)next * next <= v)
            root = next;
    }
    return root;
}

uint64_t sf_sqrt(enum sf_format f, uint64_t a_bits, enum sf_rm rm, uint8_t *flags)
{
    struct parts a = unpack(f, a_bits);

    if (is_nan(&a))
        return propagate(f, &a, &a, flags);
    if (a.kind == ZERO)
        return a_bits;
    if (a.sign)
        return invalid(f, flags);
    if (a.kind == INFINITE)
        return a_bits;
    bool odd = a.exp & 1;
    u128 v = (u128)a.sig << (odd ? 64 : 63);
    uint64_t root = root128(v);
    bool inexact = (u128)root * root != v;
    return pack(f, false, (a.exp - odd) / 2, root | inexact, rm, flags);
}

/* --- fused multiply-add ----------------------------------------------------------------------- */

/* The product of two numbers with bit 126 on top, exact: significands have 53 bits at most. */
static u128 exact_product(const struct parts *a, const struct parts *b, int *exp)
{
    u128 product = (u128)a->sig * b->sig;

    *exp = a->exp + b->exp;
    if (product >> 127) {
        product >>= 1;
        ++*exp;
    }
    return product;
}

uint64_t sf_fma(enum sf_format f, uint64_t a_bits, uint64_t b_bits, uint64_t c_bits, unsigned negate,
                enum sf_rm rm, uint8_t *flags)
{
    struct parts a = unpack(f, a_bits), b = unpack(f, b_bits), c = unpack(f, c_bits);
    bool sign = (a.sign != b.sign) != !!(negate & SF_NEG_PRODUCT);
    int exp;

    c.sign ^= !!(negate & SF_NEG_ADDEND);
    if ((a.kind == INFINITE && b.kind == ZERO) || (a.kind == ZERO && b.kind == INFINITE)) {
        propagate(f, &c, &c, flags);
        return invalid(f, flags);
    }
    if (is_nan(&a) || is_nan(&b) || is_nan(&c)) {
        propagate(f, &a, &b, flags);
        return propagate(f, &c, &c, flags);
    }
    bool product_infinite = a.kind == INFINITE || b.kind == INFINITE;
    if (product_infinite && c.kind == INFINITE && sign != c.sign)
        return invalid(f, flags);
    if (product_infinite || c.kind == INFINITE)
        return infinity(f, product_infinite ? sign : c.sign);
    if (a.kind == ZERO || b.kind == ZERO) {
        uint64_t magnitude = c_bits & ~with_sign(&formats[f], true, 0);

        return sum_zeros(f, with_sign(&formats[f], c.sign, magnitude), sign, c.sign,
                         c.kind == ZERO, rm);
    }
    u128 product = exact_product(&a, &b, &exp);
    if (c.kind == ZERO)
        return pack(f, sign, exp, (uint64_t)(product >> 63) | ((uint64_t)product << 1 != 0), rm,
                    flags);
    return sum128(f, sign, exp, product, c.sign, c.exp, (u128)c.sig << 63, rm, flags);
}

/* --- comparisons ------------------------------------------------------------------------------ */

/* a < b of two that are no NaNs; -0 is less than +0 where ZEROS is set, else equal to it. */
static bool less(enum sf_format f, uint64_t a, uint64_t b, bool zeros)
{
    uint64_t sign = with_sign(&formats[f], true, 0);

    if (!zeros && !((a | b) & ~sign))
        return false;
    if ((a ^ b) & sign)
        return a & sign;
    return a & sign ? a > b : a < b;
}

bool sf_eq(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags)
{
    struct parts p = unpack(f, a), q = unpack(f, b);

    if (is_nan(&p) || is_nan(&q)) {
        propagate(f, &p, &q, flags);
        return false;
    }
    return a == b || (p.kind == ZERO && q.kind == ZERO);
}

bool sf_lt(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags)
{
    if (sf_is_nan(f, a) || sf_is_nan(f, b)) {
        *flags |= SF_NV;
        return false;
    }
    return less(f, a, b, false);
}

bool sf_le(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags)
{
    if (sf_is_nan(f, a) || sf_is_nan(f, b)) {
        *flags |= SF_NV;
        return false;
    }
    return !less(f, b, a, false);
}

static uint64_t min_max(enum sf_format f, uint64_t a, uint64_t b, bool max, uint8_t *flags)
{
    struct parts p = unpack(f, a), q = unpack(f, b);

    if (is_nan(&p) || is_nan(&q)) {
        propagate(f, &p, &q, flags);
        return is_nan(&p) && is_nan(&q) ? sf_default_nan(f) : is_nan(&p) ? b : a;
    }
    return less(f, a, b, true) != max ? a : b;
}

uint64_t sf_min(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags)
{
    return min_max(f, a, b, false, flags);
}

uint64_t sf_max(enum sf_format f, uint64_t a, uint64_t b, uint8_t *flags)
{
    return min_max(f, a, b, true, flags);
}

unsigned sf_class(enum sf_format f, uint64_t a)
{
    struct parts p = unpack(f, a);
    bool subnormal = p.kind == NUMBER && !(a & exp_mask(&formats[f]));
    unsigned from_zero;

    if (is_nan(&p))
        return p.kind == SIGNALLING ? 1u << 8 : 1u << 9;
    from_zero = p.kind == INFINITE ? 3 : p.kind == ZERO ? 0 : subnormal ? 1 : 2;
    return p.sign ? 1u << (3 - from_zero) : 1u << (4 + from_zero);
}

/* --- conversions ------------------------------------------------------------------------------ */

uint64_t sf_convert(enum sf_format to, enum sf_format from, uint64_t a, enum sf_rm rm,
                    uint8_t *flags)
{
    struct parts p = unpack(from, a);

    switch (p.kind) {
    case ZERO:
        return zero(to, p.sign);
    case INFINITE:
        return infinity(to, p.sign);
    case NUMBER:
        return pack(to, p.sign, p.exp, p.sig, rm, flags);
    default:
        return propagate(to, &p, &p, flags);
    }
}

/* What an integer conversion gives that is out of range. */
static uint64_t saturate(unsigned bits, bool is_unsigned, bool low, uint8_t *flags)
{
    *flags |= SF_NV;
    if (is_unsigned)
        return low ? 0 : UINT64_MAX >> (64 - bits);
    return low ? (uint64_t)(INT64_MIN >> (64 - bits)) : (uint64_t)(INT64_MAX >> (64 - bits));
}

uint64_t sf_to_int(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, enum sf_rm rm,
                   uint8_t *flags)
{
    struct parts p = unpack(f, a);

    if (p.kind == ZERO)
        return 0;
    if (is_nan(&p))
        return saturate(bits, is_unsigned, false, flags);
    if (p.kind == INFINITE || p.exp > 63)
        return saturate(bits, is_unsigned, p.sign, flags);
    /* The integer part in the high half, the fraction in the low. */
    u128 fixed = p.exp >= 0 ? (u128)p.sig << (p.exp + 1) : shift_jam128((u128)p.sig, -1 - p.exp);
    uint64_t magnitude = fixed >> 64, rest = shift_jam(fixed, 1);
    u128 rounded = (u128)magnitude + rounds_up(magnitude, rest, 63, p.sign, rm);
    u128 most = is_unsigned ? (p.sign ? 0 : UINT64_MAX >> (64 - bits))
                            : (UINT64_C(1) << (bits - 1)) - !p.sign;

    if (rounded > most)
        return saturate(bits, is_unsigned, p.sign, flags);
    if (rest)
        *flags |= SF_NX;
    return p.sign ? -(uint64_t)rounded : (uint64_t)rounded;
}

uint64_t sf_from_int(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, enum sf_rm rm,
                     uint8_t *flags)
{
    uint64_t v = is_unsigned ? a << (64 - bits) >> (64 - bits)
                             : (uint64_t)((int64_t)(a << (64 - bits)) >> (64 - bits));
    bool sign = !is_unsigned && v >> 63;
    int shift;

    if (sign)
        v = -v;
    if (v == 0)
        return zero(f, false);
    shift = __builtin_clzll(v);
    return pack(f, sign, 63 - shift, v << shift, rm, flags);
}
