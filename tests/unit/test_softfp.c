/*
 * xlate/softfp against the host's FPU, in its four rounding modes, with random and edge operands;
 * what the host lacks (ties away, RISC-V's NaN rules, saturation) by rows and by bracketing.
 *
 * SOFTFP_ROUNDS sets how many operand sets each operation gets.
 */
#include "tests/unit/unit.h"
#include "xlate/softfp/softfp.h"

#include <fenv.h>
#include <math.h>

static uint64_t seed;

static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static unsigned rounds(void)
{
    const char *text = g_getenv("SOFTFP_ROUNDS");

    return text ? strtoul(text, NULL, 0) : 40000;
}

/* Exponents and fractions from the edges about half of the time. */
static uint64_t operand(enum sf_format f)
{
    int frac = f == SF_F32 ? 23 : 52, exps = f == SF_F32 ? 255 : 2047;
    uint64_t e = rnd() % (exps + 1), m = rnd() & ((UINT64_C(1) << frac) - 1), r = rnd();
    static const int16_t from_edge[] = {0, 1, 2, 3};

    if (r & 1)
        e = r & 2 ? from_edge[r >> 8 & 3] : exps - from_edge[r >> 8 & 3];
    else if (r & 4)
        e = exps / 2 + (int)(r >> 12 & 63) - 32;
    if ((r >> 20 & 3) == 0)
        m = r & 1 << 23 ? 0 : (UINT64_C(1) << frac) - 1;
    if ((r >> 20 & 3) == 1)
        m &= UINT64_MAX << (r >> 24) % frac;
    if ((r >> 20 & 15) == 7)
        m &= 7;
    return (r >> 63) << (f == SF_F32 ? 31 : 63) | e << frac | m;
}

static const int host_rm[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

static uint8_t host_flags(void)
{
    int e = fetestexcept(FE_ALL_EXCEPT);

    return (e & FE_INVALID ? SF_NV : 0) | (e & FE_DIVBYZERO ? SF_DZ : 0) |
           (e & FE_OVERFLOW ? SF_OF : 0) | (e & FE_UNDERFLOW ? SF_UF : 0) |
           (e & FE_INEXACT ? SF_NX : 0);
}

union bits {
    float f;
    double d;
    uint32_t w;
    uint64_t q;
};

enum { ADD, SUB, MUL, DIV, SQRT, FMA, CONVERT, OPS };
static const char *const op_names[] = {"add", "sub", "mul", "div", "sqrt", "fma", "convert"};

static uint64_t host32(int op, uint32_t a, uint32_t b, uint32_t c)
{
    volatile union bits x = {.w = a}, y = {.w = b}, z = {.w = c}, r = {.q = 0};

    switch (op) {
    case ADD: r.f = x.f + y.f; break;
    case SUB: r.f = x.f - y.f; break;
    case MUL: r.f = x.f * y.f; break;
    case DIV: r.f = x.f / y.f; break;
    case SQRT: r.f = sqrtf(x.f); break;
    case FMA: r.f = fmaf(x.f, y.f, z.f); break;
    default: r.d = x.f; return r.q;
    }
    return r.w;
}

static uint64_t host64(int op, uint64_t a, uint64_t b, uint64_t c)
{
    volatile union bits x = {.q = a}, y = {.q = b}, z = {.q = c}, r = {.q = 0};

    switch (op) {
    case ADD: r.d = x.d + y.d; break;
    case SUB: r.d = x.d - y.d; break;
    case MUL: r.d = x.d * y.d; break;
    case DIV: r.d = x.d / y.d; break;
    case SQRT: r.d = sqrt(x.d); break;
    case FMA: r.d = fma(x.d, y.d, z.d); break;
    default: r.f = x.d; return r.w;
    }
    return r.q;
}

static uint64_t ours(int op, enum sf_format f, const uint64_t *v, enum sf_rm rm, uint8_t *flags)
{
    switch (op) {
    case ADD: return sf_add(f, v[0], v[1], rm, flags);
    case SUB: return sf_sub(f, v[0], v[1], rm, flags);
    case MUL: return sf_mul(f, v[0], v[1], rm, flags);
    case DIV: return sf_div(f, v[0], v[1], rm, flags);
    case SQRT: return sf_sqrt(f, v[0], rm, flags);
    case FMA: return sf_fma(f, v[0], v[1], v[2], 0, rm, flags);
    default: return sf_convert(!f, f, v[0], rm, flags);
    }
}

static bool is_inf_times_zero(enum sf_format f, const uint64_t *v)
{
    unsigned a = sf_class(f, v[0]), b = sf_class(f, v[1]);

    return ((a & 0x81) && (b & 0x18)) || ((a & 0x18) && (b & 0x81));
}

static void compare_once(int op, enum sf_format f, enum sf_rm rm)
{
    uint64_t v[3] = {operand(f), operand(f), operand(f)}, want;
    enum sf_format to = op == CONVERT ? (enum sf_format)!f : f;
    uint8_t flags = 0;

    if (op == FMA && is_inf_times_zero(f, v)) /* the host is quiet then; see fma_rows */
        return;
    fesetround(host_rm[rm]);
    feclearexcept(FE_ALL_EXCEPT);
    want = f == SF_F32 ? host32(op, v[0], v[1], v[2]) : host64(op, v[0], v[1], v[2]);
    uint8_t want_flags = host_flags();
    fesetround(FE_TONEAREST);
    if (sf_is_nan(to, want))
        want = sf_default_nan(to);
    uint64_t got = ours(op, f, v, rm, &flags);
    ck_assert_msg(got == want && flags == want_flags,
                  "%s f%d rm %d of %" G_GINT64_MODIFIER "x %" G_GINT64_MODIFIER "x %"
                  G_GINT64_MODIFIER "x: %" G_GINT64_MODIFIER "x flags %x in place of %"
                  G_GINT64_MODIFIER "x %x",
                  op_names[op], f ? 64 : 32, rm, v[0], v[1], v[2], got, flags, want, want_flags);
}

START_TEST(like_host)
{
    int op = _i / 2;
    enum sf_format f = _i & 1;

    seed = 0x9e3779b97f4a7c15 + _i;
    for (unsigned n = rounds(); n; n--)
        compare_once(op, f, n & 3);
}
END_TEST

/* Integer conversions, where the host has the same meaning: signed, in range. */
START_TEST(to_int_like_host)
{
    seed = 77;
    for (unsigned n = rounds(); n; n--) {
        uint64_t a = operand(SF_F64);
        volatile union bits x = {.q = a};
        uint8_t flags = 0;

        fesetround(host_rm[n & 3]);
        feclearexcept(FE_ALL_EXCEPT);
        volatile int64_t want = llrint(x.d);
        uint8_t want_flags = host_flags();
        fesetround(FE_TONEAREST);
        uint64_t got = sf_to_int(SF_F64, a, 64, false, n & 3, &flags);
        if (flags & SF_NV) {
            ck_assert(want_flags == SF_NV);
            ck_assert(got == (sf_is_nan(SF_F64, a) || !(a >> 63) ? INT64_MAX : (uint64_t)INT64_MIN));
        } else {
            ck_assert_msg(got == (uint64_t)want && flags == want_flags,
                          "%" G_GINT64_MODIFIER "x rm %d: %" G_GINT64_MODIFIER "x", a, n & 3, got);
        }
    }
}
END_TEST

START_TEST(from_int_like_host)
{
    seed = 99;
    for (unsigned n = rounds(); n; n--) {
        volatile int64_t v = (int64_t)rnd() >> (rnd() & 63);
        volatile uint64_t u = v;
        volatile union bits d, f, ud;
        uint8_t flags = 0;

        fesetround(host_rm[n & 3]);
        feclearexcept(FE_ALL_EXCEPT);
        d.d = v;
        uint8_t want_flags = host_flags();
        f.f = v;
        fesetround(FE_TONEAREST);
        ud.d = u;
        ck_assert(sf_from_int(SF_F64, v, 64, false, n & 3, &flags) == d.q && flags == want_flags);
        ck_assert(sf_from_int(SF_F32, v, 64, false, n & 3, &flags) == f.w);
        ck_assert(sf_from_int(SF_F64, u, 64, true, SF_RNE, &flags) == ud.q);
        f.f = (int32_t)v;
        ck_assert(sf_from_int(SF_F32, v, 32, false, SF_RNE, &flags) == f.w);
        f.f = (uint32_t)v;
        ck_assert(sf_from_int(SF_F32, v, 32, true, SF_RNE, &flags) == f.w);
    }
}
END_TEST

/* Ties away: one of the two directed results; away from zero at a tie, else the nearest. */
START_TEST(ties_away)
{
    enum sf_format f = _i & 1;

    seed = 1234 + _i;
    for (unsigned n = rounds() * 4; n; n--) {
        int op = n % 3 == 0 ? ADD : n % 3 == 1 ? MUL : CONVERT;
        uint64_t v[3] = {operand(f), operand(f), 0};
        uint8_t flags = 0, even_flags = 0, other = 0;
        enum sf_format to = op == CONVERT ? (enum sf_format)!f : f;
        uint64_t away = ours(op, f, v, SF_RMM, &flags), even = ours(op, f, v, SF_RNE, &even_flags);
        uint64_t down = ours(op, f, v, SF_RTZ, &other);

        ck_assert((flags & ~SF_UF) == (even_flags & ~SF_UF));
        if (away == even)
            continue;
        /* They differ at ties alone, where the even one is the one towards zero. */
        ck_assert(even == down && away == even + 1 && !(even & 1));
        ck_assert(!sf_is_nan(to, away));
    }
}
END_TEST

static const struct {
    double v;
    enum sf_rm rm;
    int64_t want;
} roundings[] = {
    {2.5, SF_RMM, 3},  {-2.5, SF_RMM, -3}, {3.5, SF_RMM, 4},  {2.5, SF_RNE, 2},   {3.5, SF_RNE, 4},
    {2.49, SF_RMM, 2}, {0.5, SF_RMM, 1},   {-0.5, SF_RMM, -1}, {0.5, SF_RNE, 0},   {-0.5, SF_RDN, -1},
    {0.1, SF_RUP, 1},  {-0.9, SF_RTZ, 0},  {0.49999999999999994, SF_RMM, 0},
};

START_TEST(rounding_rows)
{
    union bits x = {.d = roundings[_i].v};
    uint8_t flags = 0;

    ck_assert_int_eq(sf_to_int(SF_F64, x.q, 64, false, roundings[_i].rm, &flags),
                     roundings[_i].want);
    ck_assert_int_eq(flags, SF_NX);
}
END_TEST

#define D(v) ((union bits){.d = (v)}.q)
#define QUIET UINT64_C(0x7ff8000000000000)
#define SIGNALLING UINT64_C(0x7ff0000000000001)
#define INFINITE  UINT64_C(0x7ff0000000000000)
#define MINUS  UINT64_C(0x8000000000000000)

static const struct {
    const char *name;
    uint64_t a;
    unsigned bits;
    bool is_unsigned;
    uint64_t want;
    uint8_t flags;
} saturations[] = {
    {"nan to w", QUIET, 32, false, INT32_MAX, SF_NV},
    {"-nan to w", QUIET | MINUS, 32, false, INT32_MAX, SF_NV},
    {"nan to lu", SIGNALLING, 64, true, UINT64_MAX, SF_NV},
    {"nan to wu", QUIET, 32, true, UINT32_MAX, SF_NV},
    {"-inf to w", INFINITE | MINUS, 32, false, (uint64_t)INT32_MIN, SF_NV},
    {"-inf to lu", INFINITE | MINUS, 64, true, 0, SF_NV},
    {"inf to lu", INFINITE, 64, true, UINT64_MAX, SF_NV},
};

START_TEST(saturation_rows)
{
    uint8_t flags = 0;

    ck_assert_msg(sf_to_int(SF_F64, saturations[_i].a, saturations[_i].bits,
                            saturations[_i].is_unsigned, SF_RTZ, &flags) == saturations[_i].want &&
                  flags == saturations[_i].flags, "%s", saturations[_i].name);
}
END_TEST

START_TEST(unsigned_edges)
{
    uint8_t flags = 0;

    ck_assert_uint_eq(sf_to_int(SF_F64, D(-0.5), 32, true, SF_RNE, &flags), 0);
    ck_assert_int_eq(flags, SF_NX);
    flags = 0;
    ck_assert_uint_eq(sf_to_int(SF_F64, D(-0.5), 32, true, SF_RDN, &flags), 0);
    ck_assert_int_eq(flags, SF_NV);
    flags = 0;
    ck_assert_uint_eq(sf_to_int(SF_F64, D(4294967295.5), 32, true, SF_RTZ, &flags), UINT32_MAX);
    ck_assert_int_eq(flags, SF_NX);
    flags = 0;
    ck_assert_uint_eq(sf_to_int(SF_F64, D(4294967295.5), 32, true, SF_RNE, &flags), UINT32_MAX);
    ck_assert_int_eq(flags, SF_NV);
    flags = 0;
    ck_assert_uint_eq(sf_to_int(SF_F64, D(-2147483648.0), 32, false, SF_RNE, &flags),
                      (uint64_t)INT32_MIN);
    ck_assert_int_eq(flags, 0);
    ck_assert_uint_eq(sf_to_int(SF_F64, D(-9223372036854775808.0), 64, false, SF_RNE, &flags),
                      (uint64_t)INT64_MIN);
    ck_assert_int_eq(flags, 0);
}
END_TEST

/* Invalid only for inf x 0 and signalling operands: a quiet addend alone raises nothing. */
static const struct {
    const char *name;
    uint64_t a, b, c;
    uint8_t flags;
} fmas[] = {
    {"inf x 0 + number", INFINITE, 0, QUIET - QUIET, SF_NV},
    {"inf x 0 + quiet", INFINITE, 0, QUIET, SF_NV},
    {"0 x inf + quiet", 0, INFINITE | MINUS, QUIET, SF_NV},
    {"1 x 1 + quiet", 0x3ff0000000000000, 0x3ff0000000000000, QUIET, 0},
    {"inf x 1 + quiet", INFINITE, 0x3ff0000000000000, QUIET, 0},
    {"max x max + quiet", INFINITE - 1, INFINITE - 1, QUIET, 0},
    {"quiet x 1 + 1", QUIET, 0x3ff0000000000000, 0x3ff0000000000000, 0},
    {"quiet x 1 + signalling", QUIET, 0x3ff0000000000000, SIGNALLING, SF_NV},
    {"inf x 1 - inf", INFINITE, 0x3ff0000000000000, INFINITE | MINUS, SF_NV},
};

START_TEST(fma_rows)
{
    uint8_t flags = 0;
    uint64_t got = sf_fma(SF_F64, fmas[_i].a, fmas[_i].b, fmas[_i].c, 0, SF_RNE, &flags);

    ck_assert_msg(got == QUIET && flags == fmas[_i].flags, "%s: %" G_GINT64_MODIFIER "x %x",
                  fmas[_i].name, got, flags);
}
END_TEST

START_TEST(fma_signs)
{
    uint8_t flags = 0;

    seed = 5;
    for (unsigned n = rounds(); n; n--) {
        uint64_t a = operand(SF_F64), b = operand(SF_F64), c = operand(SF_F64);

        if (sf_is_nan(SF_F64, a) || sf_is_nan(SF_F64, c))
            continue;
        ck_assert(sf_fma(SF_F64, a, b, c, SF_NEG_PRODUCT, n & 3, &flags) ==
                  sf_fma(SF_F64, a ^ MINUS, b, c, 0, n & 3, &flags));
        ck_assert(sf_fma(SF_F64, a, b, c, SF_NEG_ADDEND, n & 3, &flags) ==
                  sf_fma(SF_F64, a, b, c ^ MINUS, 0, n & 3, &flags));
    }
}
END_TEST

static const struct {
    const char *name;
    uint64_t a, b, min, max;
    uint8_t flags;
} mins[] = {
    {"-0 and 0", MINUS, 0, MINUS, 0, 0},
    {"0 and -0", 0, MINUS, MINUS, 0, 0},
    {"quiet and 1", QUIET, 0x3ff0000000000000, 0x3ff0000000000000, 0x3ff0000000000000, 0},
    {"1 and signalling", 0x3ff0000000000000, SIGNALLING, 0x3ff0000000000000, 0x3ff0000000000000, SF_NV},
    {"two quiet", QUIET | MINUS, QUIET | 5, QUIET, QUIET, 0},
    {"-inf and inf", INFINITE | MINUS, INFINITE, INFINITE | MINUS, INFINITE, 0},
    {"-1 and -2", 0xbff0000000000000, 0xc000000000000000, 0xc000000000000000, 0xbff0000000000000, 0},
};

START_TEST(min_rows)
{
    uint8_t flags = 0, more = 0;

    ck_assert_msg(sf_min(SF_F64, mins[_i].a, mins[_i].b, &flags) == mins[_i].min, "%s", mins[_i].name);
    ck_assert_msg(sf_max(SF_F64, mins[_i].a, mins[_i].b, &more) == mins[_i].max, "%s", mins[_i].name);
    ck_assert_msg(flags == mins[_i].flags && more == flags, "%s: flags", mins[_i].name);
}
END_TEST

START_TEST(comparisons)
{
    seed = 31;
    for (unsigned n = rounds(); n; n--) {
        union bits a = {.q = operand(SF_F64)}, b = {.q = operand(SF_F64)};
        bool nan = isnan(a.d) || isnan(b.d);
        bool snan = sf_is_signalling(SF_F64, a.q) || sf_is_signalling(SF_F64, b.q);
        uint8_t eq = 0, lt = 0, le = 0;

        if (n % 5 == 0)
            b.q = a.q ^ (n & 1 ? MINUS : 0);
        nan = isnan(a.d) || isnan(b.d);
        snan = sf_is_signalling(SF_F64, a.q) || sf_is_signalling(SF_F64, b.q);
        ck_assert(sf_eq(SF_F64, a.q, b.q, &eq) == (a.d == b.d) && eq == (snan ? SF_NV : 0));
        ck_assert(sf_lt(SF_F64, a.q, b.q, &lt) == (a.d < b.d) && lt == (nan ? SF_NV : 0));
        ck_assert(sf_le(SF_F64, a.q, b.q, &le) == (a.d <= b.d) && le == (nan ? SF_NV : 0));
    }
}
END_TEST

static const struct {
    uint64_t a;
    unsigned want;
} classes[] = {
    {INFINITE | MINUS, 1 << 0}, {0xbff0000000000000, 1 << 1}, {MINUS | 1, 1 << 2}, {MINUS, 1 << 3}, {0, 1 << 4},
    {1, 1 << 5}, {0x3ff0000000000000, 1 << 6}, {INFINITE, 1 << 7}, {SIGNALLING, 1 << 8}, {QUIET, 1 << 9},
    {SIGNALLING | MINUS, 1 << 8}, {QUIET | MINUS, 1 << 9},
};

START_TEST(class_rows)
{
    ck_assert_uint_eq(sf_class(SF_F64, classes[_i].a), classes[_i].want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("softfp");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, like_host, 0, OPS * 2);
    tcase_add_test(tc, to_int_like_host);
    tcase_add_test(tc, from_int_like_host);
    tcase_add_loop_test(tc, ties_away, 0, 2);
    tcase_add_loop_test(tc, rounding_rows, 0, G_N_ELEMENTS(roundings));
    tcase_add_loop_test(tc, saturation_rows, 0, G_N_ELEMENTS(saturations));
    tcase_add_test(tc, unsigned_edges);
    tcase_add_loop_test(tc, fma_rows, 0, G_N_ELEMENTS(fmas));
    tcase_add_test(tc, fma_signs);
    tcase_add_loop_test(tc, min_rows, 0, G_N_ELEMENTS(mins));
    tcase_add_test(tc, comparisons);
    tcase_add_loop_test(tc, class_rows, 0, G_N_ELEMENTS(classes));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
