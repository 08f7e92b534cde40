/* Math functions, half precision, wide integers, atomics: kernels/numbers.cu. */
#include "tests/gpu/program/program.h"

#include <math.h>
#include <string.h>

static bool near(double got, double want, double tolerance)
{
    return fabs(got - want) <= tolerance * (1 + fabs(want));
}

static void math_functions(void)
{
    enum { N = 200 };
    static float in[N], out[8 * N];

    for (int i = 0; i < N; i++)
        in[i] = (float)(i - 100) * 0.21f;
    in[0] = 1e6f; /* argument reduction of the long kind */
    CUdeviceptr a = program_put(in, sizeof(in)), o = program_put(NULL, sizeof(out));
    LAUNCH("math_functions", 2, 1, 128, 1, 0, a, o, N);
    program_get(out, o, sizeof(out));
    for (int i = 0; i < N; i++) {
        const float *v = out + i * 8;
        double x = in[i];
        SAME(near(v[0], sin(x), 1e-5) && near(v[1], cos(x), 1e-5), i);
        SAME(i == 0 ? isinf(v[2]) : near(v[2], exp(x), 1e-5), i);
        SAME(near(v[3], log(fabs(x) + 1), 1e-5) && near(v[4], pow(fabs(x), 1.5), 1e-5), i);
        SAME(near(v[5], sqrt(fabs(x)), 1e-6) && near(v[6], tanh(x), 1e-5), i);
        SAME(near(v[7], 1 / sqrt(fabs(x) + 1), 1e-5), i);
    }
}

static void math_double(void)
{
    enum { N = 200 };
    static double in[N], out[4 * N];

    for (int i = 0; i < N; i++)
        in[i] = (i - 100) * 0.17;
    CUdeviceptr a = program_put(in, sizeof(in)), o = program_put(NULL, sizeof(out));
    LAUNCH("math_double", 2, 1, 128, 1, 0, a, o, N);
    program_get(out, o, sizeof(out));
    for (int i = 0; i < N; i++) {
        const double *v = out + i * 4;
        double x = in[i];
        SAME(near(v[0], sin(x), 1e-14) && near(v[1], exp(x), 1e-14), i);
        SAME(near(v[2], log(fabs(x) + 1) / (x * x + 1), 1e-14), i);
        SAME(near(v[3], pow(fabs(x), 2.5), 1e-14), i);
    }
}

static float draw(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) * (1.0f / 16777216.0f);
}

static void monte_carlo(void)
{
    unsigned hits = 0, got;
    CUdeviceptr h = program_put(NULL, sizeof(got));

    LAUNCH("monte_carlo", 2, 1, 64, 1, 0, h, 5, 20);
    program_get(&got, h, sizeof(got));
    for (unsigned t = 0; t < 128; t++) {
        unsigned s = 5 + t;
        for (int k = 0; k < 20; k++) {
            volatile float x = draw(&s), y = draw(&s), xx = x * x, yy = y * y, sum = xx + yy;
            hits += sum < 1.0f;
        }
    }
    SAME(got == hits, got);
}

/* V, which is one of a format's normal numbers or 0, with MANTISSA bits and so much of a BIAS. */
static uint16_t narrow(float v, int mantissa, int bias)
{
    uint32_t b = (uint32_t)program_bits(v);

    if (v == 0)
        return 0;
    int exponent = (int)(b >> 23 & 0xff) - 127 + bias;
    return (uint16_t)(b >> 16 & 0x8000) |
           (uint16_t)(exponent << mantissa | (int)((b & 0x7fffff) >> (23 - mantissa)));
}

static uint16_t half(float v)
{
    return narrow(v, 10, 15);
}

static void half_axpy(void)
{
    enum { N = 64 };
    uint16_t x[N], y[N];

    for (int i = 0; i < N; i++) {
        x[i] = half((float)i);
        y[i] = half((float)i * 0.25f - 4);
    }
    CUdeviceptr a = program_put(x, sizeof(x)), b = program_put(y, sizeof(y));
    LAUNCH("half_axpy", 1, 1, N, 1, 0, a, b, program_bits(2), N);
    program_get(y, b, sizeof(y));
    for (int i = 0; i < N; i++)
        SAME(y[i] == half((float)i * 2.25f - 4), i);
}

static void half2_mul(void)
{
    enum { N = 32 };
    uint16_t x[2 * N], y[2 * N];

    for (int i = 0; i < 2 * N; i++) {
        x[i] = half((float)(i & 31));
        y[i] = half((float)(i & 15) * 0.5f);
    }
    CUdeviceptr a = program_put(x, sizeof(x)), b = program_put(y, sizeof(y));
    LAUNCH("half2_mul", 1, 1, N, 1, 0, a, b, N);
    program_get(y, b, sizeof(y));
    for (int i = 0; i < 2 * N; i++)
        SAME(y[i] == half((float)((i & 31) * (i & 15)) * 0.5f + 1), i);
}

static void bfloat_sum(void)
{
    enum { N = 64 };
    uint16_t x[N], y[N];

    for (int i = 0; i < N; i++) {
        x[i] = narrow((float)i, 7, 127);
        y[i] = narrow((float)(N - 2 * i), 7, 127);
    }
    CUdeviceptr a = program_put(x, sizeof(x)), b = program_put(y, sizeof(y));
    LAUNCH("bfloat_sum", 1, 1, N, 1, 0, a, b, N);
    program_get(y, b, sizeof(y));
    for (int i = 0; i < N; i++)
        SAME(y[i] == narrow((float)(N - i), 7, 127), i);
}

static uint64_t reversed(uint64_t v)
{
    uint64_t r = 0;

    for (int k = 0; k < 64; k++)
        r |= (v >> k & 1) << (63 - k);
    return r;
}

static void wide_integers(void)
{
    uint64_t a[32], b[32], out[6 * 32];

    for (uint32_t i = 0; i < 32; i++) {
        a[i] = (uint64_t)program_mix(i) << 32 | program_mix(i + 99);
        b[i] = i < 4 ? (uint64_t)i : (uint64_t)program_mix(i + 7) << i | program_mix(i + 3);
    }
    CUdeviceptr da = program_put(a, sizeof(a)), db = program_put(b, sizeof(b)),
                o = program_put(NULL, sizeof(out));
    LAUNCH("wide_integers", 1, 1, 32, 1, 0, da, db, o);
    program_get(out, o, sizeof(out));
    for (int i = 0; i < 32; i++) {
        const uint64_t *v = out + i * 6;
        unsigned __int128 p = (unsigned __int128)a[i] * b[i];
        SAME(v[0] == (uint64_t)(p >> 64) && v[1] == a[i] / (b[i] | 1), i);
        SAME(v[2] == a[i] % (b[i] | 1), i);
        SAME(v[3] == reversed(a[i]) + (unsigned)__builtin_popcountll(b[i]) +
                         (a[i] ? (unsigned)__builtin_clzll(a[i]) : 64) +
                         (unsigned)__builtin_ffsll((long long)b[i]),
             i);
        SAME(v[4] == (uint64_t)((p + a[i]) >> 64), i);
        SAME(v[5] == (uint64_t)((int64_t)a[i] >> (b[i] & 63)), i);
    }
}

static void bytes(void)
{
    uint32_t a[32], b[32], out[4 * 32];

    for (uint32_t i = 0; i < 32; i++) {
        a[i] = program_mix(i);
        b[i] = program_mix(i + 1000);
    }
    CUdeviceptr da = program_put(a, sizeof(a)), db = program_put(b, sizeof(b)),
                o = program_put(NULL, sizeof(out));
    LAUNCH("bytes", 1, 1, 32, 1, 0, da, db, o);
    program_get(out, o, sizeof(out));
    for (int i = 0; i < 32; i++) {
        const uint32_t *v = out + i * 4;
        uint32_t sum = 0, dot = 7;
        for (int k = 0; k < 32; k += 8) {
            sum |= (((a[i] >> k) + (b[i] >> k)) & 0xff) << k;
            dot += (uint32_t)((int8_t)(a[i] >> k) * (int8_t)(b[i] >> k));
        }
        SAME(v[0] == ((a[i] & 0xff) | (a[i] >> 16 & 0xff) << 8 | (b[i] & 0xff) << 16 |
                      (b[i] >> 16 & 0xff) << 24),
             i);
        SAME(v[1] == dot && v[3] == sum, i);
        SAME(v[2] == (uint32_t)(((uint64_t)b[i] << 32 | a[i]) << i >> 32), i);
    }
}

static void float_atomics(void)
{
    struct {
        float f;
        uint32_t pad;
        double d;
        uint32_t u[3], pad2;
    } got;
    CUdeviceptr o = program_put(NULL, sizeof(got));

    LAUNCH("float_atomics", 2, 1, 96, 1, 0, o, o + 8, o + 16);
    program_get(&got, o, sizeof(got));
    SAME(got.f == 192 && got.d == 96, 0);
    SAME(got.u[0] == 95 && got.u[1] == 192 % 10 && got.u[2] == 0, 1);
}

#define NUMBERS "numbers.sm_80.ptx"

const struct program_case number_cases[] = {
    {"math_functions", NUMBERS, math_functions, false},
    {"math_double", NUMBERS, math_double, false},
    {"monte_carlo", NUMBERS, monte_carlo, false},
    {"half_axpy", NUMBERS, half_axpy, false},
    {"half2_mul", NUMBERS, half2_mul, false},
    {"bfloat_sum", NUMBERS, bfloat_sum, false},
    {"wide_integers", NUMBERS, wide_integers, false},
    {"bytes", NUMBERS, bytes, false},
    {"float_atomics", NUMBERS, float_atomics, false},
    {0},
};
