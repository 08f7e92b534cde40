/*
 * The software GPU's half precision and bfloat16: kernels of nvcc and each rounding against an
 * oracle that searches all numbers of a format for the neighbours of an exact value.
 */
#include "gpu/soft/soft.h"
#include "tests/unit/unit.h"

#include <glib.h>
#include <math.h>
#include <string.h>

struct format {
    const char *name;
    int mant, bias;
    uint16_t inf;
};

static const struct format half = {"f16", 10, 15, 0x7c00}, bfloat = {"bf16", 7, 127, 0x7f80};

/* Magnitude H as a number; infinity counts as the number that would follow the largest. */
static double magnitude(const struct format *f, uint16_t h)
{
    int e = h >> f->mant, frac = h & ((1 << f->mant) - 1);

    return e ? ldexp((1 << f->mant) + frac, e - f->bias - f->mant)
             : ldexp(frac, 1 - f->bias - f->mant);
}

static double value(const struct format *f, uint16_t h)
{
    uint16_t m = h & 0x7fff;

    return copysign(m > f->inf ? NAN : m == f->inf ? INFINITY : magnitude(f, m), h >> 15 ? -1 : 1);
}

/* MODE: 'n' nearest, even at a tie; 'z' to zero; 'm' down; 'p' up. */
static uint16_t nearest(const struct format *f, double v, char mode)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0, lo = 0, hi = f->inf;
    double a = fabs(v);
    bool away;

    if (isnan(v))
        return 0x7fff;
    if (isinf(v))
        return sign | f->inf;
    while (hi - lo > 1) {
        uint16_t mid = (lo + hi) / 2;

        if (magnitude(f, mid) <= a)
            lo = mid;
        else
            hi = mid;
    }
    if (a == magnitude(f, lo))
        return sign | lo;
    if (a > magnitude(f, hi))
        a = magnitude(f, hi);
    double below = a - magnitude(f, lo), above = magnitude(f, hi) - a;
    away = mode == 'n'   ? below > above || (below == above && lo & 1)
           : mode == 'm' ? sign
           : mode == 'p' ? !sign
                         : false;
    return sign | (away ? hi : lo);
}

struct rig {
    struct soft_space *space;
    struct soft_module *module;
};

static void rig_load(struct rig *r, const char *image)
{
    g_autofree char *log = NULL;

    r->space = soft_space_new(64 << 20);
    int e = soft_module_load(r->space, image, strlen(image), &r->module, &log);
    ck_assert_msg(e == SOFT_OK, "%d: %s", e, log ? log : "");
}

static void rig_free(struct rig *r)
{
    soft_module_unload(r->module);
    soft_space_free(r->space);
}

static uint64_t put(struct rig *r, const void *data, uint64_t size)
{
    uint64_t addr;

    ck_assert_int_eq(soft_space_alloc(r->space, size, &addr), SOFT_OK);
    if (data)
        memcpy(soft_space_host(r->space, addr, size), data, size);
    return addr;
}

static void launch(struct rig *r, const char *name, uint32_t threads, const uint64_t *args)
{
    struct soft_launch l = {
        .grid = {(threads + 255) / 256, 1, 1}, .block = {256, 1, 1}, .threads = 2};
    uint8_t params[256] = {0};
    g_autofree char *log = NULL;
    struct soft_param p;

    ck_assert_msg(soft_module_function(r->module, name, &l.function) == SOFT_OK, "%s", name);
    for (unsigned i = 0; soft_function_param(l.function, i, &p) == SOFT_OK; i++)
        memcpy(params + p.offset, &args[i], p.size);
    l.params = params;
    l.param_bytes = sizeof(params);
    ck_assert_msg(soft_launch_run(&l, &log) == SOFT_OK, "%s: %s", name, log ? log : "");
}

static uint32_t mix(uint32_t i)
{
    i = (i ^ 61) ^ (i >> 16);
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ i >> 15;
}

static const char *const images[] = {"numbers.sm_80.ptx", "numbers.sm_90.ptx"};

enum { N = 4000 };

/* Finite numbers whose products and sums double holds exactly, of both signs. */
static uint16_t operand(const struct format *f, uint32_t i)
{
    return nearest(f, ((int)(mix(i) % 4001) - 2000) * 0x1p-6, 'n');
}

START_TEST(kernels)
{
    g_autofree char *path = g_strdup_printf("%s/%s", g_getenv("VMD_GPU_KERNELS"), images[_i]);
    g_autofree char *text = NULL;
    uint16_t x[N], y[N], bx[N], by[N];
    const float k = 1.7f;
    uint32_t kbits;
    struct rig r;

    ck_assert_msg(g_file_get_contents(path, &text, NULL, NULL), "%s", path);
    rig_load(&r, text);
    memcpy(&kbits, &k, 4);
    for (uint32_t i = 0; i < N; i++) {
        x[i] = operand(&half, i);
        y[i] = operand(&half, i + N);
        bx[i] = operand(&bfloat, i);
        by[i] = operand(&bfloat, i + N);
    }
    uint64_t a = put(&r, x, sizeof(x)), b = put(&r, y, sizeof(y)), c = put(&r, y, sizeof(y));
    uint64_t ba = put(&r, bx, sizeof(bx)), bb = put(&r, by, sizeof(by));
    launch(&r, "half_axpy", N, (uint64_t[]){a, b, kbits, N});
    launch(&r, "half2_mul", N / 2, (uint64_t[]){a, c, N / 2});
    launch(&r, "bfloat_sum", N, (uint64_t[]){ba, bb, N});
    const uint16_t *axpy = soft_space_host(r.space, b, sizeof(y)),
                   *mul = soft_space_host(r.space, c, sizeof(y));
    const uint16_t *sum = soft_space_host(r.space, bb, sizeof(by));
    double kh = value(&half, nearest(&half, k, 'n'));
    for (unsigned i = 0; i < N; i++) {
        double xv = value(&half, x[i]), yv = value(&half, y[i]);
        double two = value(&half, nearest(&half, xv * yv, 'n')) + 1;
        uint16_t want = nearest(&half, kh * xv + yv, 'n');

        /* A negative zero of a sum is the processor's: both operands have to be negative zeroes. */
        ck_assert_msg(axpy[i] == want, "%u: %g * %g + %g = %#x, not %#x", i, kh, xv, yv, axpy[i],
                      want);
        /* nvcc may fuse the multiplication and the addition. */
        ck_assert_msg(mul[i] == nearest(&half, two, 'n') ||
                          mul[i] == nearest(&half, xv * yv + 1, 'n'),
                      "%u: %#x", i, mul[i]);
        want = nearest(&bfloat, value(&bfloat, bx[i]) + value(&bfloat, by[i]), 'n');
        ck_assert_msg(sum[i] == want, "%u: %#x, not %#x", i, sum[i], want);
    }
    rig_free(&r);
}
END_TEST

/* Every number of the format, the middles to their neighbours and floats just beside those, and
 * some of any kind. */
static GArray *inputs(const struct format *f)
{
    GArray *a = g_array_new(false, false, sizeof(float));

    for (unsigned h = 0; h <= f->inf; h += h < 64 || h > f->inf - 64u ? 1 : 29) {
        double low = magnitude(f, h), mid = (low + magnitude(f, h + 1)) / 2;
        float v[] = {
            low,      mid, nextafterf(mid, 0), nextafterf(mid, INFINITY), nextafterf(low, 0), NAN,
            INFINITY, 0};

        for (unsigned i = 0; i < G_N_ELEMENTS(v); i++) {
            float minus = -v[i];

            g_array_append_val(a, v[i]);
            g_array_append_val(a, minus);
        }
    }
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t bits = mix(i);

        g_array_append_val(a, bits);
    }
    return a;
}

static const struct {
    const struct format *format;
    const char *cvt;
    char mode;
} roundings[] = {
    {&half, "cvt.rn.f16.f32", 'n'},    {&half, "cvt.rz.f16.f32", 'z'},
    {&half, "cvt.rm.f16.f32", 'm'},    {&half, "cvt.rp.f16.f32", 'p'},
    {&bfloat, "cvt.rn.bf16.f32", 'n'}, {&bfloat, "cvt.rz.bf16.f32", 'z'},
};

/* The kernel narrows, widens again, and stores both. */
START_TEST(rounding)
{
    const struct format *f = roundings[_i].format;
    g_autoptr(GArray) in = inputs(f);
    g_autofree char *text = g_strdup_printf(
        ".version 8.0\n.target sm_90\n.address_size 64\n"
        ".visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n) {\n"
        ".reg .b64 %%d<6>; .reg .b32 %%r<6>; .reg .f32 %%f<3>; .reg .b16 %%h; .reg .pred %%p;\n"
        "ld.param.u64 %%d1, [in]; ld.param.u64 %%d2, [out]; ld.param.u32 %%r1, [n];\n"
        "mov.u32 %%r2, %%tid.x; mov.u32 %%r3, %%ctaid.x; mov.u32 %%r4, %%ntid.x; mad.lo.u32 %%r2, "
        "%%r3, %%r4, %%r2;\n"
        "setp.ge.u32 %%p, %%r2, %%r1; @%%p ret;\n"
        "mad.wide.u32 %%d3, %%r2, 4, %%d1; mad.wide.u32 %%d4, %%r2, 8, %%d2;\n"
        "ld.global.f32 %%f1, [%%d3]; %s %%h, %%f1; cvt.f32.%s %%f2, %%h;\n"
        "cvt.u32.u16 %%r5, %%h; st.global.u32 [%%d4], %%r5; st.global.f32 [%%d4+4], %%f2; ret; }\n",
        roundings[_i].cvt, f->name);
    struct rig r;

    rig_load(&r, text);
    uint64_t a = put(&r, in->data, in->len * 4ull), o = put(&r, NULL, in->len * 8ull);
    launch(&r, "k", in->len, (uint64_t[]){a, o, in->len});
    const uint32_t *out = soft_space_host(r.space, o, in->len * 8ull);
    for (unsigned i = 0; i < in->len; i++) {
        float v = g_array_index(in, float, i), back, wide;
        uint16_t want = nearest(f, v, roundings[_i].mode);

        ck_assert_msg(out[2 * i] == want, "%s %a: %#x, not %#x", roundings[_i].cvt, v, out[2 * i],
                      want);
        memcpy(&back, &out[2 * i + 1], 4);
        wide = value(f, want);
        ck_assert_msg(isnan(wide) ? isnan(back) : !memcmp(&back, &wide, 4), "%#x is not %a", want,
                      back);
    }
    rig_free(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu_soft_half");
    TCase *tc = tcase_create("half");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, kernels, 0, G_N_ELEMENTS(images));
    tcase_add_loop_test(tc, rounding, 0, G_N_ELEMENTS(roundings));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
