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
    [SF_F16] = {5, 10, 15},
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

static bool is_subnormal(enum sf_format f, const struct parts *p)
{
    return p->kind == NUMBER && p->exp < 1 - formats[f].bias;
}

/* An operand of arithmetic: SF_FZ takes subnormal singles and doubles for zero, SF_AHP what would be
 * no number for one. */
static struct parts operand(enum sf_format f, uint64_t a, enum sf_rm rm, uint8_t *flags)
{
    struct parts p = unpack(f, a);

    if ((rm & SF_FZ) && f != SF_F16 && is_subnormal(f, &p)) {
        p.kind = ZERO;
        *flags |= SF_ID;
    }
    if ((rm & SF_AHP) && f == SF_F16 && (p.kind == INFINITE || is_nan(&p))) {
        p.kind = NUMBER;
        p.exp = formats[f].bias + 1;
        p.sig = ((a & 0x3ff) | 0x400) << 53;
    }
    return p;
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

    switch (rm & SF_RM) {
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
    default:
        g_assert_not_reached();
    }
}

static uint64_t overflow(const struct format *t, bool sign, enum sf_rm rm, uint8_t *flags)
{
    bool to_infinity;

    rm &= SF_RM;
    to_infinity = rm == SF_RNE || rm == SF_RMM || rm == (sign ? SF_RDN : SF_RUP);
    *flags |= SF_OF | SF_NX;
    return with_sign(t, sign, exp_mask(t) - !to_infinity);
}

enum { HALF_MOST = 0x7fff }; /* with SF_AHP */

static uint64_t too_big_for_half(bool sign, uint8_t *flags)
{
    *flags |= SF_NV;
    return with_sign(&formats[SF_F16], sign, HALF_MOST);
}

/* Rounds sig * 2^(exp - 63), bit 63 of SIG set, its lowest bit sticky, to a number of format F. */
static uint64_t pack(enum sf_format f, bool sign, int exp, uint64_t sig, enum sf_rm rm,
                     uint8_t *flags)
{
    const struct format *t = &formats[f];
    int low = 63 - t->frac_bits, biased = exp + t->bias;
    uint64_t mask = (UINT64_C(1) << low) - 1;
    bool tiny = false;

    if (biased <= 0 && (rm & SF_FZ) && f != SF_F16) {
        *flags |= SF_UF;
        return with_sign(t, sign, 0);
    }
    if (biased <= 0) {
        /* Tiny unless rounding as if the exponent had no end reaches the least normal number; Arm
         * looks before it rounds. */
        tiny = biased < 0 || (rm & SF_ARM) || sig >> low != UINT64_MAX >> low ||
               !rounds_up(sig >> low, sig & mask, low, sign, rm);
        sig = shift_jam(sig, 1 - biased);
        biased = 1;
    }
    uint64_t kept = sig >> low, rest = sig & mask;
    kept += rounds_up(kept, rest, low, sign, rm);
    /* The hidden bit adds one to the exponent; a carry out of the fraction adds another. */
    uint64_t magnitude = ((uint64_t)(biased - 1) << t->frac_bits) + kept;
    if ((rm & SF_AHP) && f == SF_F16) {
        if (magnitude > HALF_MOST)
            return too_big_for_half(sign, flags);
    } else if (magnitude >= exp_mask(t)) {
        return overflow(t, sign, rm, flags);
    }
    if (rest)
        *flags |= SF_NX | (tiny ? SF_UF : 0);
    return with_sign(t, sign, magnitude);
}

static uint64_t invalid(enum sf_format f, uint8_t *flags)
{
    *flags |= SF_NV;
    return sf_default_nan(f);
}

static uint64_t quiet(enum sf_format f, uint64_t a)
{
    return a | UINT64_C(1) << (formats[f].frac_bits - 1);
}

/*
 * The result of an operation that had a NaN among its N operands: Arm takes the first signalling
 * one, else the first.
 */
static uint64_t pick_nan(enum sf_format f, const uint64_t *a, unsigned n, enum sf_rm rm,
                         uint8_t *flags)
{
    uint64_t first = 0;
    bool found = false;

    for (unsigned i = 0; i < n; i++) {
        if (sf_is_signalling(f, a[i])) {
            *flags |= SF_NV;
            first = a[i];
            found = true;
            break;
        }
        if (!found && sf_is_nan(f, a[i])) {
            first = a[i];
            found = true;
        }
    }
    return (rm & SF_ARM) && !(rm & SF_DN) ? quiet(f, first) : sf_default_nan(f);
}

static uint64_t propagate(enum sf_format f, uint64_t a, uint64_t b, enum sf_rm rm, uint8_t *flags)
{
    return pick_nan(f, (const uint64_t[]){a, b}, 2, rm, flags);
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

/* The sum of two numbers whose 128-bit significands have bit 126 on top, times 2^SCALE. */
static uint64_t sum128(enum sf_format f, bool sign_a, int exp_a, u128 a, bool sign_b, int exp_b,
                       u128 b, int scale, enum sf_rm rm, uint8_t *flags)
{
    int exp = MAX(exp_a, exp_b);
    bool sign = sign_a;
    u128 sum;

    a = shift_jam128(a, exp - exp_a);
    b = shift_jam128(b, exp - exp_b);
    if (sign_a == sign_b) {
        sum = a + b;
    } else if (a == b) {
        return zero(f, (rm & SF_RM) == SF_RDN);
    } else {
        sign = a > b ? sign_a : sign_b;
        sum = a > b ? a - b : b - a;
    }
    uint64_t high = sum >> 64;
    int up = high ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)sum);
    sum <<= up;
    return pack(f, sign, exp + 1 - up + scale, (uint64_t)(sum >> 64) | ((uint64_t)sum != 0), rm, flags);
}

/* Finite operands, not both zero-free: the zero cases of a sum. */
static uint64_t sum_zeros(enum sf_format f, uint64_t b_bits, bool sign_a, bool sign_b, bool b_zero,
                          enum sf_rm rm)
{
    if (!b_zero)
        return b_bits;
    return zero(f, sign_a == sign_b ? sign_a : (rm & SF_RM) == SF_RDN);
}

uint64_t sf_add(enum sf_format f, uint64_t a_bits, uint64_t b_bits, enum sf_rm rm, uint8_t *flags)
{
    struct parts a = operand(f, a_bits, rm, flags), b = operand(f, b_bits, rm, flags);

    if (is_nan(&a) || is_nan(&b))
        return propagate(f, a_bits, b_bits, rm, flags);
    if (a.kind == INFINITE && b.kind == INFINITE && a.sign != b.sign)
        return invalid(f, flags);
    if (a.kind == INFINITE || b.kind == INFINITE)
        return infinity(f, a.kind == INFINITE ? a.sign : b.sign);
    if (a.kind == ZERO)
        return sum_zeros(f, b_bits, a.sign, b.sign, b.kind == ZERO, rm);
    if (b.kind == ZERO)
        return a_bits;
    return sum128(f, a.sign, a.exp, (u128)a.sig << 63, b.sign, b.exp, (u128)b.sig << 63, 0, rm,
                  flags);
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
    struct parts a = operand(f, a_bits, rm, flags), b = operand(f, b_bits, rm, flags);
    bool sign = a.sign != b.sign;

    if (is_nan(&a) || is_nan(&b))
        return propagate(f, a_bits, b_bits, rm, flags);
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
    struct parts a = operand(f, a_bits, rm, flags), b = operand(f, b_bits, rm, flags);
    bool sign = a.sign != b.sign;

    if (is_nan(&a) || is_nan(&b))
        return propagate(f, a_bits, b_bits, rm, flags);
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
    struct parts a = operand(f, a_bits, rm, flags);

    if (is_nan(&a))
        return propagate(f, a_bits, a_bits, rm, flags);
    if (a.kind == ZERO)
        return zero(f, a.sign);
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

/* A fused multiply-add times 2^SCALE of operands that are no NaNs, nor 0 and infinity. */
static uint64_t fuse(enum sf_format f, const struct parts *a, const struct parts *b, uint64_t c_bits,
                     const struct parts *c, bool sign, int scale, enum sf_rm rm, uint8_t *flags)
{
    bool product_infinite = a->kind == INFINITE || b->kind == INFINITE;
    int exp;

    if (product_infinite && c->kind == INFINITE && sign != c->sign)
        return invalid(f, flags);
    if (product_infinite || c->kind == INFINITE)
        return infinity(f, product_infinite ? sign : c->sign);
    if (a->kind == ZERO || b->kind == ZERO) {
        uint64_t magnitude = c_bits & ~with_sign(&formats[f], true, 0);

        if (scale && c->kind == NUMBER)
            return pack(f, c->sign, c->exp + scale, c->sig, rm, flags);
        return sum_zeros(f, with_sign(&formats[f], c->sign, magnitude), sign, c->sign,
                         c->kind == ZERO, rm);
    }
    u128 product = exact_product(a, b, &exp);
    if (c->kind == ZERO)
        return pack(f, sign, exp + scale, (uint64_t)(product >> 63) | ((uint64_t)product << 1 != 0),
                    rm, flags);
    return sum128(f, sign, exp, product, c->sign, c->exp, (u128)c->sig << 63, scale, rm, flags);
}

static bool is_zero_by_infinity(const struct parts *a, const struct parts *b)
{
    return (a->kind == INFINITE && b->kind == ZERO) || (a->kind == ZERO && b->kind == INFINITE);
}

/* The NaN of a fused multiply-add. Arm looks at the addend first, and changes signs before. */
static uint64_t fused_nan(enum sf_format f, uint64_t a, uint64_t b, uint64_t c, unsigned negate,
                          enum sf_rm rm, uint8_t *flags)
{
    uint64_t sign = with_sign(&formats[f], true, 0);

    return pick_nan(f, (const uint64_t[]){negate & SF_NEG_ADDEND ? c ^ sign : c,
                                          negate & SF_NEG_PRODUCT ? a ^ sign : a, b},
                    3, rm, flags);
}

uint64_t sf_fma(enum sf_format f, uint64_t a_bits, uint64_t b_bits, uint64_t c_bits, unsigned negate,
                enum sf_rm rm, uint8_t *flags)
{
    struct parts a = operand(f, a_bits, rm, flags), b = operand(f, b_bits, rm, flags);
    struct parts c = operand(f, c_bits, rm, flags);
    bool sign = (a.sign != b.sign) != !!(negate & SF_NEG_PRODUCT);

    c.sign ^= !!(negate & SF_NEG_ADDEND);
    if (is_zero_by_infinity(&a, &b)) {
        *flags |= SF_NV;
        return c.kind == SIGNALLING ? fused_nan(f, a_bits, b_bits, c_bits, negate, rm, flags)
                                    : sf_default_nan(f);
    }
    if (is_nan(&a) || is_nan(&b) || is_nan(&c))
        return fused_nan(f, a_bits, b_bits, c_bits, negate, rm, flags);
    return fuse(f, &a, &b, c_bits, &c, sign, 0, rm, flags);
}

uint64_t sf_step(enum sf_format f, uint64_t a_bits, uint64_t b_bits, bool root, enum sf_rm rm,
                 uint8_t *flags)
{
    const struct format *t = &formats[f];
    struct parts a = operand(f, a_bits, rm, flags), b = operand(f, b_bits, rm, flags);
    uint64_t two = (uint64_t)(t->bias + 1) << t->frac_bits;
    uint64_t from = root ? two | UINT64_C(1) << (t->frac_bits - 1) : two;
    struct parts c = unpack(f, from);

    if (is_nan(&a) || is_nan(&b))
        return propagate(f, a_bits ^ with_sign(t, true, 0), b_bits, rm, flags);
    if (is_zero_by_infinity(&a, &b)) /* 2, or 3 / 2 */
        return root ? from - (UINT64_C(1) << t->frac_bits) : two;
    return fuse(f, &a, &b, from, &c, a.sign == b.sign, -(int)root, rm, flags);
}

uint64_t sf_mulx(enum sf_format f, uint64_t a_bits, uint64_t b_bits, enum sf_rm rm, uint8_t *flags)
{
    const struct format *t = &formats[f];
    struct parts a = operand(f, a_bits, rm, flags), b = operand(f, b_bits, rm, flags);

    if (is_zero_by_infinity(&a, &b))
        return with_sign(t, a.sign != b.sign, (uint64_t)(t->bias + 1) << t->frac_bits);
    return sf_mul(f, a_bits, b_bits, rm, flags);
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
        propagate(f, a, b, SF_RNE, flags);
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
        propagate(f, a, b, SF_RNE, flags);
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

uint64_t sf_arm_min_max(enum sf_format f, uint64_t a, uint64_t b, bool max, bool numbers,
                        enum sf_rm rm, uint8_t *flags)
{
    struct parts p = operand(f, a, rm, flags), q = operand(f, b, rm, flags);

    if (numbers && p.kind == QUIET && !is_nan(&q))
        return q.kind == ZERO ? zero(f, q.sign) : b;
    if (numbers && q.kind == QUIET && !is_nan(&p))
        return p.kind == ZERO ? zero(f, p.sign) : a;
    if (is_nan(&p) || is_nan(&q))
        return propagate(f, a, b, rm, flags);
    a = p.kind == ZERO ? zero(f, p.sign) : a;
    b = q.kind == ZERO ? zero(f, q.sign) : b;
    return less(f, a, b, true) != max ? a : b;
}

enum sf_relation sf_relation(enum sf_format f, uint64_t a, uint64_t b, bool signalling,
                             enum sf_rm rm, uint8_t *flags)
{
    struct parts p = operand(f, a, rm, flags), q = operand(f, b, rm, flags);

    if (is_nan(&p) || is_nan(&q)) {
        if (signalling || p.kind == SIGNALLING || q.kind == SIGNALLING)
            *flags |= SF_NV;
        return SF_UNORDERED;
    }
    a = p.kind == ZERO ? 0 : a;
    b = q.kind == ZERO ? 0 : b;
    return a == b ? SF_EQUAL : less(f, a, b, false) ? SF_LESS : SF_GREATER;
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

/* The NaN A in another format: Arm keeps its sign and the top of its payload. */
static uint64_t convert_nan(enum sf_format to, enum sf_format from, uint64_t a, enum sf_rm rm,
                            uint8_t *flags)
{
    int shift = formats[to].frac_bits - formats[from].frac_bits;
    uint64_t frac = a & ((UINT64_C(1) << formats[from].frac_bits) - 1);

    if (sf_is_signalling(from, a))
        *flags |= SF_NV;
    if (!(rm & SF_ARM) || (rm & SF_DN))
        return sf_default_nan(to);
    frac = shift >= 0 ? frac << shift : frac >> -shift;
    return quiet(to, with_sign(&formats[to], unpack(from, a).sign, exp_mask(&formats[to]) | frac));
}

uint64_t sf_convert(enum sf_format to, enum sf_format from, uint64_t a, enum sf_rm rm,
                    uint8_t *flags)
{
    struct parts p = operand(from, a, rm, flags);
    bool numbers_alone = (rm & SF_AHP) && to == SF_F16;

    if (numbers_alone && p.kind == INFINITE)
        return too_big_for_half(p.sign, flags);
    if (numbers_alone && is_nan(&p)) {
        *flags |= SF_NV;
        return zero(to, p.sign);
    }
    switch (p.kind) {
    case ZERO:
        return zero(to, p.sign);
    case INFINITE:
        return infinity(to, p.sign);
    case NUMBER:
        return pack(to, p.sign, p.exp, p.sig, rm, flags);
    default:
        return convert_nan(to, from, a, rm, flags);
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

/* |P| in the high half rounded, REST saying what was cut off: P < 2^64. */
static u128 integral(const struct parts *p, enum sf_rm rm, uint64_t *rest)
{
    /* The integer part in the high half, the fraction in the low. */
    u128 fixed = p->exp >= 0 ? (u128)p->sig << (p->exp + 1)
                             : shift_jam128((u128)p->sig, -1 - p->exp);
    uint64_t magnitude = fixed >> 64;

    *rest = shift_jam(fixed, 1);
    return (u128)magnitude + rounds_up(magnitude, *rest, 63, p->sign, rm);
}

uint64_t sf_to_fixed(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, int scale,
                     enum sf_rm rm, uint8_t *flags)
{
    struct parts p = operand(f, a, rm, flags);
    uint64_t rest;

    if (p.kind == ZERO)
        return 0;
    if (is_nan(&p) && (rm & SF_ARM)) {
        *flags |= SF_NV;
        return 0;
    }
    if (is_nan(&p))
        return saturate(bits, is_unsigned, false, flags);
    p.exp += scale;
    if (p.kind == INFINITE || p.exp > 63)
        return saturate(bits, is_unsigned, p.sign, flags);
    u128 rounded = integral(&p, rm, &rest);
    u128 most = is_unsigned ? (p.sign ? 0 : UINT64_MAX >> (64 - bits))
                            : (UINT64_C(1) << (bits - 1)) - !p.sign;

    if (rounded > most)
        return saturate(bits, is_unsigned, p.sign, flags);
    if (rest)
        *flags |= SF_NX;
    return p.sign ? -(uint64_t)rounded : (uint64_t)rounded;
}

uint64_t sf_to_int(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, enum sf_rm rm,
                   uint8_t *flags)
{
    return sf_to_fixed(f, a, bits, is_unsigned, 0, rm, flags);
}

uint64_t sf_round(enum sf_format f, uint64_t a, bool exact, enum sf_rm rm, uint8_t *flags)
{
    struct parts p = operand(f, a, rm, flags);
    uint64_t rest;

    if (is_nan(&p))
        return propagate(f, a, a, rm, flags);
    if (p.kind != NUMBER)
        return p.kind == ZERO ? zero(f, p.sign) : a;
    if (p.exp >= formats[f].frac_bits)
        return a;
    uint64_t rounded = (uint64_t)integral(&p, rm, &rest);
    if (rest && exact)
        *flags |= SF_NX;
    if (!rounded)
        return zero(f, p.sign);
    int shift = __builtin_clzll(rounded);
    return pack(f, p.sign, 63 - shift, rounded << shift, rm, flags);
}

uint64_t sf_from_fixed(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, int scale,
                       enum sf_rm rm, uint8_t *flags)
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
    return pack(f, sign, 63 - shift - scale, v << shift, rm, flags);
}

uint64_t sf_from_int(enum sf_format f, uint64_t a, unsigned bits, bool is_unsigned, enum sf_rm rm,
                     uint8_t *flags)
{
    return sf_from_fixed(f, a, bits, is_unsigned, 0, rm, flags);
}

/* --- Arm's estimates -------------------------------------------------------------------------- */

/* 1 / a of 256..511 as 256..511, scaled. */
static unsigned reciprocal(unsigned a)
{
    unsigned b = (1u << 19) / (2 * a + 1);

    return (b + 1) / 2;
}

/* 1 / sqrt(a) of 128..511. */
static unsigned reciprocal_root(unsigned a)
{
    uint64_t b = 512;

    a = a < 256 ? 2 * a + 1 : ((a & ~1u) + 1) * 2;
    while (a * (b + 1) * (b + 1) < UINT64_C(1) << 28)
        b++;
    return (unsigned)(b + 1) / 2;
}

uint32_t sf_estimate32(uint32_t a, bool root)
{
    if (root)
        return a >> 30 ? reciprocal_root(a >> 23) << 23 : UINT32_MAX;
    return a >> 31 ? reciprocal(a >> 23) << 23 : UINT32_MAX;
}

/* Of a number too small for its reciprocal: as overflow() rounds. */
static uint64_t estimate_overflow(enum sf_format f, bool sign, enum sf_rm rm, uint8_t *flags)
{
    return overflow(&formats[f], sign, (rm & SF_RM) == SF_RMM ? SF_RNE : rm, flags);
}

static uint64_t estimate_reciprocal(enum sf_format f, const struct parts *p, enum sf_rm rm,
                                    uint8_t *flags)
{
    const struct format *t = &formats[f];
    int exp = -1 - p->exp + t->bias; /* of the result, biased */
    uint64_t frac;

    if (p->exp < -t->bias - 1)
        return estimate_overflow(f, p->sign, rm, flags);
    if ((rm & SF_FZ) && f != SF_F16 && exp <= 0) {
        *flags |= SF_UF;
        return zero(f, p->sign);
    }
    frac = (uint64_t)(reciprocal((unsigned)(p->sig >> 55)) & 255) << (t->frac_bits - 8);
    if (exp <= 0) {
        frac = (frac | UINT64_C(1) << t->frac_bits) >> (1 - exp);
        exp = 0;
    }
    return with_sign(t, p->sign, (uint64_t)exp << t->frac_bits | frac);
}

static uint64_t estimate_root(enum sf_format f, const struct parts *p)
{
    const struct format *t = &formats[f];
    /* The number scaled by a power of 4 to 0.25..1, in 512ths. */
    unsigned scaled = (unsigned)(p->sig >> (p->exp & 1 ? 55 : 56));
    uint64_t frac = (uint64_t)(reciprocal_root(scaled) & 255) << (t->frac_bits - 8);

    return (uint64_t)((2 * t->bias - 1 - p->exp) >> 1) << t->frac_bits | frac;
}

uint64_t sf_estimate(enum sf_format f, uint64_t a, bool root, enum sf_rm rm, uint8_t *flags)
{
    struct parts p = operand(f, a, rm, flags);

    if (is_nan(&p))
        return propagate(f, a, a, rm, flags);
    if (p.kind == ZERO) {
        *flags |= SF_DZ;
        return infinity(f, p.sign);
    }
    if (root && p.sign)
        return invalid(f, flags);
    if (p.kind == INFINITE)
        return zero(f, p.sign);
    return root ? estimate_root(f, &p) : estimate_reciprocal(f, &p, rm, flags);
}

uint64_t sf_reciprocal_exponent(enum sf_format f, uint64_t a, enum sf_rm rm, uint8_t *flags)
{
    const struct format *t = &formats[f];
    uint64_t exp = a & exp_mask(t);

    if (sf_is_nan(f, a))
        return propagate(f, a, a, rm, flags);
    operand(f, a, rm, flags);
    return (a & with_sign(t, true, 0)) |
           (exp ? ~exp & exp_mask(t) : exp_mask(t) - (UINT64_C(1) << t->frac_bits));
}
