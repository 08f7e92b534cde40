/*
 * The software GPU: kernels compiled by nvcc against the same work done here, errors of loading, faults.
 */
#include "gpu/soft/soft.h"
#include "tests/unit/unit.h"

#include <glib.h>
#include <math.h>
#include <string.h>

struct rig {
    struct soft_space *space;
    struct soft_module *module;
    GString *printed;
};

static void print(void *arg, const char *text, size_t len)
{
    g_string_append_len(arg, text, len);
}

static void rig_load(struct rig *r, const void *image, size_t size)
{
    g_autofree char *log = NULL;

    r->space = soft_space_new(64 << 20);
    r->printed = g_string_new(NULL);
    int e = soft_module_load(r->space, image, size, &r->module, &log);
    ck_assert_msg(e == SOFT_OK, "%d: %s", e, log ? log : "");
}

static void rig_file(struct rig *r, const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%s", g_getenv("VMD_GPU_KERNELS"), name);
    g_autofree char *text = NULL;
    gsize size;

    ck_assert_msg(g_file_get_contents(path, &text, &size, NULL), "%s", path);
    rig_load(r, text, size);
}

static void rig_free(struct rig *r)
{
    soft_module_unload(r->module);
    ck_assert_uint_eq(soft_space_used(r->space) >> 30, 0);
    soft_space_free(r->space);
    g_string_free(r->printed, true);
}

static uint64_t put(struct rig *r, const void *data, uint64_t size)
{
    uint64_t addr;

    ck_assert_int_eq(soft_space_alloc(r->space, size, &addr), SOFT_OK);
    if (data)
        memcpy(soft_space_host(r->space, addr, size), data, size);
    return addr;
}

#define AT(r, addr, type) ((type *)soft_space_host((r)->space, addr, 1))

/* Launches NAME over GRID x GRID_Y blocks of BLOCK x BLOCK_Y; parameters are 8 bytes each, cut to their size. */
static int launch_full(struct rig *r, const char *name, const uint32_t dim[4], uint32_t shared, const uint64_t *args,
                       const atomic_bool *cancel, char **log)
{
    struct soft_launch l = {.grid = {dim[0], dim[1], 1}, .block = {dim[2], dim[3], 1}, .shared = shared,
                            .threads = 2, .print = print, .arg = r->printed, .cancel = cancel};
    uint8_t params[256] = {0};
    struct soft_param p;

    ck_assert_msg(soft_module_function(r->module, name, &l.function) == SOFT_OK, "%s", name);
    for (unsigned i = 0; soft_function_param(l.function, i, &p) == SOFT_OK; i++)
        memcpy(params + p.offset, &args[i], p.size);
    l.params = params;
    l.param_bytes = sizeof(params);
    return soft_launch_run(&l, log);
}

static void launch(struct rig *r, const char *name, uint32_t gx, uint32_t gy, uint32_t bx, uint32_t by,
                   uint32_t shared, const uint64_t *args)
{
    g_autofree char *log = NULL;
    int e = launch_full(r, name, (uint32_t[]){gx, gy, bx, by}, shared, args, NULL, &log);

    ck_assert_msg(e == SOFT_OK, "%s: %d: %s", name, e, log ? log : "");
}

static uint64_t bits(float f)
{
    uint32_t v;

    memcpy(&v, &f, 4);
    return v;
}

static uint32_t mix(uint32_t i)
{
    i = (i ^ 61) ^ (i >> 16);
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ i >> 15;
}

static const char *const images[][3] = {
    {"basic.sm_80.ptx", "flow.sm_80.ptx", "numbers.sm_80.ptx"},
    {"basic.sm_90.ptx", "flow.sm_90.ptx", "numbers.sm_90.ptx"},
    {"basic.fatbin", "flow.sm_80.ptx", "numbers.sm_80.ptx"},
};

enum { N = 1000 };

START_TEST(basic)
{
    struct rig r;
    float fa[N], fb[N];
    int ia[1024], sum = 0;

    rig_file(&r, images[_i][0]);
    for (int i = 0; i < N; i++) {
        fa[i] = i * 0.37f - 100;
        fb[i] = mix(i) % 1000 * 0.01f;
    }
    for (int i = 0; i < 1024; i++)
        ia[i] = mix(i) % 20011 - 10000;
    uint64_t a = put(&r, fa, sizeof(fa)), b = put(&r, fb, sizeof(fb)), o = put(&r, NULL, sizeof(fa));
    uint64_t ints = put(&r, ia, sizeof(ia)), out = put(&r, NULL, sizeof(ia));

    launch(&r, "vector_add", 8, 1, 128, 1, 0, (uint64_t[]){a, b, o, N});
    for (int i = 0; i < N; i++)
        ck_assert(AT(&r, o, float)[i] == fa[i] + fb[i]);
    launch(&r, "saxpy", 3, 1, 96, 1, 0, (uint64_t[]){bits(2.5f), a, b, N});
    for (int i = 0; i < N; i++)
        ck_assert(AT(&r, b, float)[i] == fmaf(2.5f, fa[i], fb[i]));
    launch(&r, "stencil", 8, 1, 128, 1, 0, (uint64_t[]){a, o, N});
    for (int i = 1; i < N - 1; i++)
        ck_assert(fabsf(AT(&r, o, float)[i] - (0.25f * fa[i - 1] + 0.5f * fa[i] + 0.25f * fa[i + 1])) < 1e-4f);
    for (int i = 0; i < N; i++)
        sum += ia[i];
    launch(&r, "reduce_shared", 4, 1, 256, 1, 0, (uint64_t[]){ints, out, N});
    ck_assert_int_eq(*AT(&r, out, int), sum);
    launch(&r, "reduce_shuffle", 8, 1, 128, 1, 0, (uint64_t[]){ints, out, N});
    ck_assert_int_eq(*AT(&r, out, int), 2 * sum);
    launch(&r, "scan_block", 1, 1, 512, 1, 2048, (uint64_t[]){ints, out});
    for (int i = 0, s = 0; i < 512; i++) {
        s += ia[i];
        ck_assert_int_eq(AT(&r, out, int)[i], s);
    }
    launch(&r, "fill4", 2, 1, 32, 1, 0, (uint64_t[]){out, 7});
    for (int i = 0; i < 64; i++)
        ck_assert(AT(&r, out, int)[4 * i] == 7 && AT(&r, out, int)[4 * i + 1] == i &&
                  AT(&r, out, int)[4 * i + 2] == 7 + i && AT(&r, out, int)[4 * i + 3] == 7 - i);
    launch(&r, "transpose", 1, 1, 32, 8, 0, (uint64_t[]){ints, out, 32});
    for (int i = 0; i < 1024; i++)
        ck_assert_int_eq(AT(&r, out, int)[i], ia[i % 32 * 32 + i / 32]);
    launch(&r, "bitonic_sort", 1, 1, 1024, 1, 0, (uint64_t[]){ints});
    for (int i = 1; i < 1024; i++)
        ck_assert_int_le(AT(&r, ints, int)[i - 1], AT(&r, ints, int)[i]);
    rig_free(&r);
}
END_TEST

START_TEST(matrices)
{
    enum { M = 48, W = 64, H = 40 };
    struct rig r;
    float fa[M * M], fb[M * M];
    unsigned char text[5000];
    unsigned bins[256] = {0};

    rig_file(&r, images[_i][0]);
    for (int i = 0; i < M * M; i++) {
        fa[i] = mix(i) % 100 * 0.125f;
        fb[i] = mix(i + 7777) % 100 * 0.25f;
    }
    uint64_t a = put(&r, fa, sizeof(fa)), b = put(&r, fb, sizeof(fb)), c = put(&r, NULL, sizeof(fa));
    launch(&r, "matmul_tiled", M / 16, M / 16, 16, 16, 0, (uint64_t[]){a, b, c, M});
    for (int y = 0; y < M; y++) {
        for (int x = 0; x < M; x++) {
            float sum = 0;
            for (int k = 0; k < M; k++)
                sum = fmaf(fa[y * M + k], fb[k * M + x], sum);
            ck_assert(AT(&r, c, float)[y * M + x] == sum);
        }
    }
    for (unsigned i = 0; i < sizeof(text); i++)
        bins[text[i] = mix(i)]++;
    uint64_t t = put(&r, text, sizeof(text)), h = put(&r, NULL, sizeof(bins));
    launch(&r, "histogram", 5, 1, 256, 1, 0, (uint64_t[]){t, h, sizeof(text)});
    ck_assert_mem_eq(AT(&r, h, unsigned), bins, sizeof(bins));
    uint64_t m = put(&r, NULL, W * H * 4);
    launch(&r, "mandelbrot", W / 16, H / 8, 16, 8, 0, (uint64_t[]){m, W, H, 200});
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            volatile double cr = -2.0 + 3.0 * x / W, ci = -1.0 + 2.0 * y / H, zr = 0, zi = 0;
            int n = 0;
            while (n < 200 && zr * zr + zi * zi < 4.0) {
                double s = zr * zr - zi * zi + cr;
                zi = 2.0 * zr * zi + ci;
                zr = s;
                n++;
            }
            ck_assert_int_eq(AT(&r, m, int)[y * W + x], n);
        }
    }
    rig_free(&r);
}
END_TEST

static int fib(int n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void check_switched(const int *out, int n)
{
    for (int i = 0; i < 64; i++) {
        int v[] = {i + n, i * n, i - n, i ^ n, i / (n + 1), i | n, i << (n & 3), i % (n + 1), ~i};

        ck_assert_int_eq(out[i], v[i % 9]);
    }
}

START_TEST(flow)
{
    struct rig r;
    static const int weights[] = {3, 5, 7, 11};

    rig_file(&r, images[_i][1]);
    uint64_t o = put(&r, NULL, 4096);
    launch(&r, "recursion", 1, 1, 40, 1, 0, (uint64_t[]){o});
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(AT(&r, o, int)[i], fib(i % 12));
    launch(&r, "indirect", 2, 1, 64, 1, 0, (uint64_t[]){o});
    for (int i = 0; i < 128; i++) {
        int v = i + 1, f[] = {2 * v, v * v, -v};
        ck_assert_int_eq(AT(&r, o, int)[i], f[i % 3] + weights[i & 3]);
    }
    launch(&r, "collatz", 2, 1, 256, 1, 0, (uint64_t[]){o});
    for (unsigned i = 0; i < 512; i++) {
        int n = 0;
        for (uint64_t v = i + 1; v != 1; n++)
            v = v & 1 ? 3 * v + 1 : v / 2;
        ck_assert_int_eq(AT(&r, o, int)[i], n);
    }
    launch(&r, "switched", 1, 1, 64, 1, 0, (uint64_t[]){o, 13});
    check_switched(AT(&r, o, int), 13);
    launch(&r, "spin_lock", 1, 1, 96, 1, 0, (uint64_t[]){o, 5});
    ck_assert_int_eq(*AT(&r, o, int), 480);
    launch(&r, "ballots", 1, 1, 32, 1, 0, (uint64_t[]){o});
    unsigned odd3 = 0;
    for (unsigned i = 1; i < 32; i += 2)
        odd3 |= (unsigned)(i % 3 == 0) << i;
    for (unsigned i = 0; i < 32; i++)
        ck_assert_uint_eq(AT(&r, o, unsigned)[i], (i & 1 ? odd3 : 0x55555555) + 4 + 496);
    launch(&r, "local_array", 1, 1, 64, 1, 0, (uint64_t[]){o, 20});
    for (int t = 0; t < 64; t++) {
        int sum = 0;
        for (int i = 0; i < 20; i++)
            sum += ((i * 7 + t) & 31) * 20 + t;
        ck_assert_int_eq(AT(&r, o, int)[t], sum);
    }
    launch(&r, "heap", 3, 1, 64, 1, 0, (uint64_t[]){o});
    for (int t = 0; t < 64; t++)
        ck_assert_int_eq(AT(&r, o, int)[t], 4 * t + 6);
    launch(&r, "barrier_in_branch", 1, 1, 64, 1, 0, (uint64_t[]){o});
    for (int t = 0; t < 64; t++)
        ck_assert_int_eq(AT(&r, o, int)[t], (63 - t) + (63 - t < 32 ? 0 : 100) + 32);
    launch(&r, "prints", 1, 1, 2, 1, 0, (uint64_t[]){2});
    ck_assert_str_eq(r.printed->str, "thread 0 of 2:  0.00 text abcdef0123 x%\nthread 1 of 2:  0.50 text abcdef0123 x%\n");
    rig_free(&r);
}
END_TEST

static bool near(double got, double want, double tolerance)
{
    return fabs(got - want) <= tolerance * (1 + fabs(want));
}

START_TEST(numbers)
{
    struct rig r;
    float in[200];
    double din[200];

    rig_file(&r, images[_i][2]);
    for (int i = 0; i < 200; i++) {
        in[i] = (i - 100) * 0.21f;
        din[i] = (i - 100) * 0.17;
    }
    in[0] = 1e6f; /* argument reduction of the long kind */
    uint64_t a = put(&r, in, sizeof(in)), o = put(&r, NULL, 200 * 64), d = put(&r, din, sizeof(din));
    launch(&r, "math_functions", 2, 1, 128, 1, 0, (uint64_t[]){a, o, 200});
    for (int i = 0; i < 200; i++) {
        const float *v = AT(&r, o, float) + i * 8;
        double x = in[i];
        ck_assert_msg(near(v[0], sin(x), 1e-5) && near(v[1], cos(x), 1e-5), "sin/cos %g: %g %g", x, v[0], v[1]);
        ck_assert_msg(i == 0 ? isinf(v[2]) : near(v[2], exp(x), 1e-5), "exp %g: %g", x, v[2]);
        ck_assert_msg(near(v[3], log(fabs(x) + 1), 1e-5) && near(v[4], pow(fabs(x), 1.5), 1e-5), "log/pow %g", x);
        ck_assert(near(v[5], sqrt(fabs(x)), 1e-6) && near(v[6], tanh(x), 1e-5) && near(v[7], 1 / sqrt(fabs(x) + 1), 1e-5));
    }
    launch(&r, "math_double", 2, 1, 128, 1, 0, (uint64_t[]){d, o, 200});
    for (int i = 0; i < 200; i++) {
        const double *v = AT(&r, o, double) + i * 4;
        double x = din[i];
        ck_assert_msg(near(v[0], sin(x), 1e-14) && near(v[1], exp(x), 1e-14), "%g: %g %g", x, v[0], v[1]);
        ck_assert(near(v[2], log(fabs(x) + 1) / (x * x + 1), 1e-14) && near(v[3], pow(fabs(x), 2.5), 1e-14));
    }
    unsigned hits = 0;
    for (unsigned t = 0; t < 128; t++) {
        unsigned s = 5 + t;
        for (int k = 0; k < 20; k++) {
            volatile float x = ((s = s * 1664525u + 1013904223u) >> 8) * (1.0f / 16777216.0f);
            volatile float y = ((s = s * 1664525u + 1013904223u) >> 8) * (1.0f / 16777216.0f);
            volatile float x2 = x * x, y2 = y * y, sum = x2 + y2;
            hits += sum < 1.0f;
        }
    }
    uint64_t h = put(&r, NULL, 16);
    launch(&r, "monte_carlo", 2, 1, 64, 1, 0, (uint64_t[]){h, 5, 20});
    ck_assert_uint_eq(*AT(&r, h, unsigned), hits);
    rig_free(&r);
}
END_TEST

START_TEST(integers)
{
    struct rig r;
    uint64_t va[32], vb[32];
    uint32_t wa[32], wb[32];

    rig_file(&r, images[_i][2]);
    for (int i = 0; i < 32; i++) {
        va[i] = (uint64_t)mix(i) << 32 | mix(i + 99);
        vb[i] = i < 4 ? (uint64_t)i : (uint64_t)mix(i + 7) << (i & 31) | mix(i + 3);
        wa[i] = va[i];
        wb[i] = vb[i];
    }
    uint64_t a = put(&r, va, sizeof(va)), b = put(&r, vb, sizeof(vb)), o = put(&r, NULL, 4096);
    launch(&r, "wide_integers", 1, 1, 32, 1, 0, (uint64_t[]){a, b, o});
    for (int i = 0; i < 32; i++) {
        const uint64_t *v = AT(&r, o, uint64_t) + i * 6;
        unsigned __int128 p = (unsigned __int128)va[i] * vb[i];
        uint64_t rev = 0;
        for (int k = 0; k < 64; k++)
            rev |= (va[i] >> k & 1) << (63 - k);
        ck_assert(v[0] == (uint64_t)(p >> 64) && v[1] == va[i] / (vb[i] | 1) && v[2] == va[i] % (vb[i] | 1));
        ck_assert(v[3] == rev + __builtin_popcountll(vb[i]) + (va[i] ? __builtin_clzll(va[i]) : 64) + __builtin_ffsll(vb[i]));
        ck_assert(v[4] == (uint64_t)((p + va[i]) >> 64) && v[5] == (uint64_t)((int64_t)va[i] >> (vb[i] & 63)));
    }
    a = put(&r, wa, sizeof(wa));
    b = put(&r, wb, sizeof(wb));
    launch(&r, "bytes", 1, 1, 32, 1, 0, (uint64_t[]){a, b, o});
    for (int i = 0; i < 32; i++) {
        const uint32_t *v = AT(&r, o, uint32_t) + i * 4;
        uint32_t sum = 0, dot = 7;
        for (int k = 0; k < 32; k += 8) {
            sum |= (((wa[i] >> k) + (wb[i] >> k)) & 0xff) << k;
            dot += (int8_t)(wa[i] >> k) * (int8_t)(wb[i] >> k);
        }
        ck_assert_uint_eq(v[0], (wa[i] & 0xff) | (wa[i] >> 16 & 0xff) << 8 | (wb[i] & 0xff) << 16 | (wb[i] >> 16 & 0xff) << 24);
        ck_assert_uint_eq(v[1], dot);
        ck_assert_uint_eq(v[2], (uint32_t)(((uint64_t)wb[i] << 32 | wa[i]) << i >> 32));
        ck_assert_uint_eq(v[3], sum);
    }
    memset(AT(&r, o, uint8_t), 0, 64);
    launch(&r, "float_atomics", 2, 1, 96, 1, 0, (uint64_t[]){o, o + 8, o + 16});
    ck_assert(AT(&r, o, float)[0] == 192 && AT(&r, o, double)[1] == 96);
    ck_assert(AT(&r, o, unsigned)[4] == 95 && AT(&r, o, unsigned)[5] == 192 % 10 && AT(&r, o, unsigned)[6] == 0);
    rig_free(&r);
}
END_TEST

/* ---- Faults: what CUDA's driver would say, and whom it names ---- */

static const struct {
    const char *kernel;
    uint32_t dim[4], shared;
    int64_t arg; /* the second parameter */
    int error;
    const char *says;
} faults[] = {
    {"out_of_bounds", {1, 1, 1, 1}, 0, 4096, SOFT_ILLEGAL_ADDRESS, "out_of_bounds"},
    {"out_of_bounds", {1, 1, 1, 1}, 0, -1, SOFT_ILLEGAL_ADDRESS, "0x"},
    {"misaligned", {1, 1, 1, 1}, 0, 0, SOFT_MISALIGNED_ADDRESS, "not aligned"},
    {"collatz", {1, 1, 1025, 1}, 0, 0, SOFT_INVALID_VALUE, NULL},
    {"collatz", {0, 1, 32, 1}, 0, 0, SOFT_INVALID_VALUE, NULL},
    {"collatz", {1, 1, 32, 1}, SOFT_MAX_SHARED + 1, 0, SOFT_INVALID_VALUE, NULL},
    {"collatz", {1, 65536, 32, 1}, 0, 0, SOFT_INVALID_VALUE, NULL},
};

START_TEST(fault)
{
    g_autofree char *log = NULL;
    struct rig r;

    rig_file(&r, "flow.sm_80.ptx");
    uint64_t o = put(&r, NULL, 4096);
    int e = launch_full(&r, faults[_i].kernel, faults[_i].dim, faults[_i].shared,
                        (uint64_t[]){o, faults[_i].arg}, NULL, &log);
    ck_assert_msg(e == faults[_i].error, "%s: %d %s", faults[_i].kernel, e, log ? log : "");
    if (faults[_i].says)
        ck_assert_msg(log && strstr(log, faults[_i].says), "%s", log ? log : "no log");
    rig_free(&r);
}
END_TEST

START_TEST(asserts)
{
    g_autofree char *log = NULL;
    struct rig r;

    rig_file(&r, "flow.sm_80.ptx");
    ck_assert_int_eq(launch_full(&r, "asserts", (uint32_t[]){1, 1, 2, 1}, 0, (uint64_t[]){1}, NULL, &log), SOFT_ASSERT);
    ck_assert_msg(strstr(r.printed->str, "thread: [1,0,0] Assertion `n > (int)threadIdx.x` failed."), "%s", r.printed->str);
    rig_free(&r);
}
END_TEST

START_TEST(cancelled)
{
    const atomic_bool cancel = true;
    struct rig r;

    rig_file(&r, "flow.sm_80.ptx");
    uint64_t o = put(&r, NULL, 4);
    ck_assert_int_eq(launch_full(&r, "forever", (uint32_t[]){1, 1, 64, 1}, 0, (uint64_t[]){o}, &cancel, NULL),
                     SOFT_LAUNCH_TIMEOUT);
    rig_free(&r);
}
END_TEST

/* ---- Loading ---- */

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"
#define BODY(text) HEAD ".visible .entry k() {\n" text "\nret;\n}\n"

static const struct {
    const char *name, *text;
    int error;
    const char *says;
} loads[] = {
    {"empty", "", SOFT_INVALID_IMAGE, "empty"},
    {"no version", ".target sm_80\n", SOFT_INVALID_PTX, "line 1, column 1"},
    {"new version", ".version 99.0\n.target sm_80\n", SOFT_UNSUPPORTED_PTX_VERSION, "99.0"},
    {"new target", ".version 8.0\n.target sm_120\n", SOFT_NO_BINARY_FOR_GPU, "sm_120"},
    {"ELF", "\177ELF-whatever", SOFT_NO_BINARY_FOR_GPU, "cubin"},
    {"fine", BODY(""), SOFT_OK, NULL},
    {"unknown opcode", BODY("frob.u32 %r1, %r2;"), SOFT_INVALID_PTX, "line 5, column 1: error: unknown instruction"},
    {"unknown register", BODY("mov.u32 %r1, 1;"), SOFT_INVALID_PTX, "expected a register"},
    {"register count", BODY(".reg .b32 %r<3>; mov.u32 %r3, 1;"), SOFT_INVALID_PTX, "expected a register"},
    {"width", BODY(".reg .b64 %d; add.u32 %d, 1, 2;"), SOFT_INVALID_PTX, "width"},
    {"operands", BODY(".reg .b32 %r; add.u32 %r, 1;"), SOFT_INVALID_PTX, "takes 3 operands"},
    {"label", BODY("bra away;"), SOFT_INVALID_PTX, "no label 'away'"},
    {"guard", BODY(".reg .b32 %r; @%r ret;"), SOFT_INVALID_PTX, "predicate"},
    {"no brace", HEAD ".visible .entry k() {", SOFT_INVALID_PTX, "begins no statement"},
    {"texture", BODY("tex.2d.v4.f32.s32 {a,b,c,d}, [t, {x,y}];"), SOFT_NOT_SUPPORTED, ""},
    {"wmma", BODY("wmma.load;"), SOFT_NOT_SUPPORTED, "wmma"},
    {"modifier", BODY(".reg .b32 %r; add.ftz.u32 %r, 1, 2;"), SOFT_INVALID_PTX, "modifier"},
    {"call", BODY("call away, ();"), SOFT_INVALID_PTX, "unknown function"},
    {"unresolved", HEAD ".extern .func f();\n.visible .entry k() { call f; ret; }", SOFT_INVALID_PTX, "unresolved function 'f'"},
    {"signature", HEAD ".func f(.param .b32 a) { ret; }\n.visible .entry k() { call f; ret; }", SOFT_INVALID_PTX, "arguments"},
    {"redeclared", BODY(".reg .b32 %r; .reg .b32 %r;"), SOFT_INVALID_PTX, "twice"},
    {"shared size", BODY(".shared .b8 s[9999999];"), SOFT_INVALID_PTX, "shared memory"},
    {"registers", BODY(".reg .b64 %d<99999999>;"), SOFT_INVALID_PTX, ""},
    {"huge global", HEAD ".global .b8 g[99999999999];", SOFT_INVALID_PTX, "size"},
    {"no memory", HEAD ".global .b8 g[999999999];", SOFT_OUT_OF_MEMORY, "memory"},
    {"initialiser", HEAD ".global .b8 g[2] = {1, 2, 3};", SOFT_INVALID_PTX, "more values"},
    {"number", BODY(".reg .b32 %r; mov.u32 %r, 99999999999999999999999;"), SOFT_INVALID_PTX, "no token"},
    {"store to const", HEAD ".const .b32 c;\n.visible .entry k() { st.const.u32 [c], 1; ret; }", SOFT_INVALID_PTX, "read only"},
};

START_TEST(load)
{
    struct soft_space *space = soft_space_new(1 << 20);
    struct soft_module *m = NULL;
    g_autofree char *log = NULL;
    int e = soft_module_load(space, loads[_i].text, strlen(loads[_i].text), &m, &log);

    ck_assert_msg(e == loads[_i].error, "%s: %d: %s", loads[_i].name, e, log ? log : "");
    ck_assert_msg((e != 0) == (log != NULL), "%s", loads[_i].name);
    if (loads[_i].says)
        ck_assert_msg(strstr(log, loads[_i].says) != NULL, "%s: %s", loads[_i].name, log);
    soft_module_unload(m);
    ck_assert_uint_eq(soft_space_used(space), 0);
    soft_space_free(space);
}
END_TEST

START_TEST(spaces)
{
    struct soft_space *s = soft_space_new(10000);
    uint64_t a, b, base, size;
    int mine[4] = {1, 2, 3, 4};

    ck_assert_int_eq(soft_space_alloc(s, 0, &a), SOFT_INVALID_VALUE);
    ck_assert_int_eq(soft_space_alloc(s, 6000, &a), SOFT_OK);
    ck_assert_int_eq(soft_space_alloc(s, 6000, &b), SOFT_OUT_OF_MEMORY);
    ck_assert_int_eq(soft_space_alloc_at(s, 0x20000, 4001), SOFT_OUT_OF_MEMORY);
    ck_assert_int_eq(soft_space_alloc_at(s, 0x20010, 64), SOFT_INVALID_VALUE);
    ck_assert_int_eq(soft_space_alloc_at(s, 0, 64), SOFT_INVALID_VALUE);
    ck_assert_int_eq(soft_space_alloc_at(s, 1ull << 48, 64), SOFT_INVALID_VALUE);
    ck_assert_int_eq(soft_space_alloc_at(s, 0x20000, 4000), SOFT_OK);
    ck_assert_int_eq(soft_space_alloc_at(s, 0x20000, 0), SOFT_INVALID_VALUE);
    ck_assert_uint_eq(*(uint8_t *)soft_space_host(s, 0x20000 + 3999, 1), 0);
    ck_assert_ptr_null(soft_space_host(s, 0x20000 + 3999, 2));
    ck_assert_int_eq(soft_space_release(s, 0x20000), SOFT_OK);
    ck_assert_int_eq(soft_space_alloc(s, 3000, &b), SOFT_OK);
    ck_assert_int_eq(soft_space_alloc_at(s, b / 4096 * 4096, 64), SOFT_INVALID_VALUE);
    ck_assert_int_eq(soft_space_release(s, b), SOFT_OK);
    ck_assert_int_eq(soft_space_alloc(s, 4000, &b), SOFT_OK);
    ck_assert(a % 512 == 0 && b % 512 == 0 && (b >= a + 6000 || a >= b + 4000));
    ck_assert_ptr_nonnull(soft_space_host(s, a + 5999, 1));
    ck_assert_ptr_null(soft_space_host(s, a + 5999, 2));
    ck_assert_int_eq(soft_space_range(s, a + 10, &base, &size), SOFT_OK);
    ck_assert(base == a && size == 6000);
    ck_assert_int_eq(soft_space_map(s, a + 8, mine, sizeof(mine)), SOFT_INVALID_VALUE);
    ck_assert_int_eq(soft_space_map(s, 0x10000, mine, sizeof(mine)), SOFT_OK);
    ck_assert_ptr_eq(soft_space_host(s, 0x10004, 4), &mine[1]);
    ck_assert_int_eq(soft_space_release(s, 0x10004), SOFT_INVALID_VALUE);
    ck_assert_int_eq(soft_space_release(s, 0x10000), SOFT_OK);
    ck_assert_int_eq(soft_space_release(s, a), SOFT_OK);
    ck_assert_uint_eq(soft_space_used(s), 4000);
    soft_space_free(s);
}
END_TEST

/* --- modules that are where another device had them -------------------------------------------- */

static const char moved[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".extern .func (.param .b64 r) malloc (.param .b64 n);\n"
    ".func twice() { ret; }\n"
    ".func allocates() { .reg .b64 %p; .param .b64 a; .param .b64 b; mov.u64 %p, 8; st.param.b64 [a], %p;\n"
    "  call (b), malloc, (a); ret; }\n"
    ".global .align 1 .b8 letter[3] = {1, 2, 3};\n"
    ".global .align 8 .u64 table = twice;\n"
    ".global .align 8 .u64 table_at = table;\n"
    ".global .align 8 .u64 wide = 7;\n"
    ".const .align 4 .u32 idle = 5;\n"
    ".visible .entry plain() { .reg .b64 %a, %v; mov.u64 %a, letter; mov.u64 %a, wide;\n"
    "  atom.global.add.u64 %v, [%a], 1; ret; }\n"
    ".visible .entry deep() { call allocates; ret; }\n"
    ".visible .entry takes() { .reg .b64 %f; mov.u64 %f, twice; ret; }\n"
    ".visible .entry reads() { .reg .b64 %f; ld.global.u64 %f, [table_at]; ret; }\n";

/* Another device has variables close together, at no more than their own alignment. */
START_TEST(placed)
{
    static const struct soft_variable want[] = {{"letter", 3, true, false}, {"table", 8, true, true},
                                                {"table_at", 8, true, true}, {"wide", 8, true, false},
                                                {"idle", 4, false, false},   {NULL, SOFT_HEAP, true, false}};
    static const struct soft_place places[] = {{0x7f0000000001, 3}, {0x7f0000000008, 8}, {0x7f0000000010, 8},
                                               {0x7f0000000018, 8}, {1ull << 47, 4},     {0x7f0000001000, SOFT_HEAP}};
    static const struct {
        const char *kernel;
        unsigned uses;
    } kernels[] = {{"plain", 0}, {"deep", SOFT_USES_HEAP}, {"takes", SOFT_USES_FUNCTIONS}, {"reads", SOFT_USES_FUNCTIONS}};
    g_autofree struct soft_variable *variables = NULL;
    struct rig r = {.space = soft_space_new(64 << 20), .printed = g_string_new(NULL)};
    const struct soft_function *f;
    g_autofree char *log = NULL;

    int e = soft_module_load_at(r.space, moved, sizeof(moved) - 1, places, G_N_ELEMENTS(places),
                                NULL, 0, SOFT_TARGET, &r.module, NULL, &log);
    ck_assert_msg(e == SOFT_OK, "%d: %s", e, log ? log : "");
    ck_assert_uint_eq(soft_module_variables(r.module, &variables), G_N_ELEMENTS(want));
    for (unsigned i = 0; i < G_N_ELEMENTS(want); i++) {
        ck_assert_pstr_eq(variables[i].name, want[i].name);
        ck_assert_uint_eq(variables[i].size, want[i].size);
        ck_assert_msg(variables[i].used == want[i].used && variables[i].functions == want[i].functions, "%u", i);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(kernels); i++) {
        ck_assert_int_eq(soft_module_function(r.module, kernels[i].kernel, &f), SOFT_OK);
        ck_assert_msg(soft_function_uses(f) == kernels[i].uses, "%s: %u", kernels[i].kernel, soft_function_uses(f));
    }
    ck_assert_uint_eq((uintptr_t)soft_space_host(r.space, 0x7f0000000018, 8) % 8, 0);
    ck_assert_int_eq(memcmp(soft_space_host(r.space, 0x7f0000000001, 3), "\1\2\3", 3), 0);
    ck_assert_int_eq(soft_module_function(r.module, "plain", &f), SOFT_OK);
    const struct soft_launch launch = {.function = f, .grid = {1, 1, 1}, .block = {64, 1, 1}};
    ck_assert_int_eq(soft_launch_run(&launch, NULL), SOFT_OK);
    ck_assert_uint_eq(*AT(&r, 0x7f0000000018, uint64_t), 7 + 64);
    rig_free(&r);
}
END_TEST

/* What a device that places variables itself is to be told, and that it does the same. */
static const char edited_from[] =
    ".version 7.0\n.target sm_70, debug\n.address_size 64\n"
    ".func twice() { ret; }\n"
    "/* .const */ .visible .global .align 4 .u32 sum = 5, other;\n"
    ".const .align 4 .u32 weights[2] = {10, 20};\n"
    ".global .u64 at = generic(weights)+4;\n"
    ".visible .const .u64 calls[2] = {twice, generic(at)};\n"
    "\t.file 1 \"sum.cu\"\n"
    ".visible .entry k(.param .u64 .ptr .const .align 4 p) {\n"
    "  .loc 1 2 3, function_name $name, inlined_at 1 4 5\n"
    "  .reg .b64 %a<4>; .reg .b32 %r<4>; .reg .pred %q;\n"
    "  .global .u32 mine = 7;\n"
    "  setp.eq.u32 %q, 0, 0;\n"
    "  { .reg .b32 weights; mov.u32 weights, 1; add.u32 %r3, weights, 0; }\n"
    "  mov.u64 %a1, weights+4;\n"
    "  @%q ld.const.u32 %r1, [weights]; ld.const.u32 %r2, [%a1];\n"
    "  add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3;\n"
    "  ld.global.u64 %a2, [at]; ld.u32 %r2, [%a2]; add.u32 %r1, %r1, %r2;\n"
    "  cvta.global.u64 %a3, mine; ld.u32 %r2, [%a3]; add.u32 %r1, %r1, %r2;\n"
    "  ld.const.u64 %a3, [calls+8]; ld.global.u64 %a3, [%a3+0]; ld.u32 %r2, [%a3]; add.u32 %r1, "
    "%r1, %r2;\n"
    "  atom.global.add.u32 %r2, [sum+0], %r1; st.global.u32 [other], %r2; ret;\n"
    "}\n"
    ".visible .entry first() {st.global.u32 [sum], 1; ret; }\n"
    ".visible .entry second() {.global .u32 own = 9; st.global.u32 [own], 1; ret; }\n"
    ".section .debug_str { $name: .b8 115,117,109,0 }\n";

static const struct soft_place edited_places[] = {
    {0x710000000000, 4},  {0x710000000004, 4}, {0x710000000010, 8}, {0x710000000020, 8},
    {0x710000000030, 16}, {0x710000000040, 4}, {0x710000000044, 4}};

static void expect_text(const char *text, const char *part, bool there)
{
    ck_assert_msg((strstr(text, part) != NULL) == there, "%s\"%s\" in:\n%s", there ? "no " : "", part, text);
}

START_TEST(edited)
{
    struct rig r = {.space = soft_space_new(64 << 20), .printed = g_string_new(NULL)};
    struct soft_space *other = soft_space_new(64 << 20);
    struct soft_module *m = NULL;
    const struct soft_function *f;
    g_autofree char *text = NULL, *log = NULL;
    uint64_t addr, size;

    int e = soft_module_load_at(r.space, edited_from, sizeof(edited_from) - 1, edited_places,
                                G_N_ELEMENTS(edited_places), NULL, 0, SOFT_TARGET, &r.module, &text,
                                &log);
    ck_assert_msg(e == SOFT_OK, "%d: %s", e, log ? log : "");
    expect_text(text, "sum", false); /* nor other, of one declaration; nor names for debuggers */
    expect_text(text, ".loc", false);
    expect_text(text, ".section", false);
    expect_text(text, ".file", false);
    expect_text(text, "mine", false);
    expect_text(text, "debug", false);
    expect_text(text, "first() {\n.reg .b64 %vmd_place_<1>;\nmov.u64", true);
    expect_text(text, "second() {\n.reg .b64 %vmd_place_<1>;\n\n ", true);
    expect_text(text, "ld.const", false);
    expect_text(text, "weights, 1", true); /* a register of that name */
    expect_text(text, ".ptr .global", true);
    expect_text(text, ".visible .global .u64 calls[2] = {twice, 0x710000000020", true);
    expect_text(text, "@%q ld.global.u32 %r1, [%vmd_place_0]", true);
    expect_text(text, "mov.u64 %vmd_place_0, 0x710000000014;", true);
    expect_text(text, ".reg .b64 %vmd_place_<1>;", true);

    /* Another device: what was at these places is there already, its own variable is elsewhere. */
    for (unsigned i = 0; i < G_N_ELEMENTS(edited_places); i++)
        ck_assert_int_eq(soft_space_restore(other, edited_places[i].addr & ~0xffull, 256), i ? SOFT_INVALID_VALUE : SOFT_OK);
    memcpy(soft_space_host(other, 0x710000000000, 0x44), soft_space_host(r.space, 0x710000000000, 4), 4);
    for (unsigned i = 1; i < G_N_ELEMENTS(edited_places); i++)
        memcpy(soft_space_host(other, edited_places[i].addr, edited_places[i].size),
               soft_space_host(r.space, edited_places[i].addr, edited_places[i].size), edited_places[i].size);
    g_free(log);
    e = soft_module_load(other, text, strlen(text), &m, &log);
    ck_assert_msg(e == SOFT_OK, "%d: %s\n%s", e, log ? log : "", text);
    ck_assert_int_eq(soft_module_global(m, "weights", &addr, &size), SOFT_NOT_FOUND);
    ck_assert_int_eq(soft_module_global(m, "calls", &addr, &size), SOFT_OK);
    ck_assert(size == 16 && (addr < 0x710000000000 || addr >= 0x710000000100));
    ck_assert_int_eq(soft_module_function(m, "k", &f), SOFT_OK);
    const struct soft_launch launch = {.function = f, .grid = {1, 1, 1}, .block = {1, 1, 1}, .params = &addr, .param_bytes = 8};
    ck_assert_int_eq(soft_launch_run(&launch, NULL), SOFT_OK);
    ck_assert_uint_eq(*(uint32_t *)soft_space_host(other, 0x710000000000, 4), 5 + 10 + 20 + 1 + 20 + 7 + 20);
    ck_assert_uint_eq(*(uint32_t *)soft_space_host(other, 0x710000000004, 4), 5);
    soft_module_unload(m);
    soft_space_free(other);
    rig_free(&r);
}
END_TEST

/* Of one declaration with both kinds, or of a table that has its own address, no text can be made. */
START_TEST(not_edited)
{
    static const char *const texts[] = {
        ".version 7.0\n.target sm_70\n.address_size 64\n.func f() { ret; }\n.global .u64 plain = 1, table = f;\n",
        ".version 7.0\n.target sm_70\n.address_size 64\n.func f() { ret; }\n.global .u64 table[2] = {table, f};\n"};
    const struct soft_place places[] = {{0x710000000000, _i ? 16 : 8}, {0x710000000010, 8}};
    struct soft_space *space = soft_space_new(1 << 20);
    struct soft_module *m = NULL;
    char *text = NULL;
    g_autofree char *log = NULL;

    ck_assert_int_eq(soft_module_load_at(space, texts[_i], strlen(texts[_i]), places, _i ? 1 : 2,
                                         NULL, 0, SOFT_TARGET, &m, &text, &log),
                     SOFT_NOT_SUPPORTED);
    ck_assert_ptr_nonnull(strstr(log, "has addresses of functions"));
    ck_assert(!m && !text);
    ck_assert_int_eq(soft_module_load_at(space, texts[_i], strlen(texts[_i]), places, _i ? 1 : 2,
                                         NULL, 0, SOFT_TARGET, &m, NULL, NULL),
                     SOFT_OK);
    soft_module_unload(m);
    soft_space_free(space);
}
END_TEST

/* What kernels that were launched may have in memory is known; and what has been noted of another device's. */
START_TEST(used)
{
    struct rig r = {.space = soft_space_new(64 << 20), .printed = g_string_new(NULL)};
    const struct soft_function *f;
    uint64_t addr, size;

    ck_assert_int_eq(soft_module_load(r.space, moved, sizeof(moved) - 1, &r.module, NULL), SOFT_OK);
    ck_assert_uint_eq(soft_module_uses(r.module), 0);
    ck_assert_int_eq(soft_module_global(r.module, "wide", &addr, &size), SOFT_OK);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(soft_module_function(r.module, i ? "deep" : "plain", &f), SOFT_OK);
        const struct soft_launch launch = {.function = f, .grid = {1, 1, 1}, .block = {1, 1, 1}};
        ck_assert_int_eq(soft_launch_run(&launch, NULL), SOFT_OK);
        ck_assert_uint_eq(soft_module_uses(r.module), i ? SOFT_USES_HEAP : 0);
    }
    ck_assert_int_eq(soft_module_global(r.module, "table_at", &addr, &size), SOFT_OK);
    ck_assert_uint_eq(soft_module_uses(r.module), SOFT_USES_HEAP | SOFT_USES_FUNCTIONS);
    rig_free(&r);
}
END_TEST

/* All programs of a worker share one space where they move to. */
START_TEST(parts)
{
    struct soft_space *s[3];
    uint64_t first, a, b, c;

    for (unsigned i = 0; i < 3; i++)
        s[i] = soft_space_new(1 << 30);
    ck_assert_int_eq(soft_space_alloc(s[0], 4096, &a), SOFT_OK);
    first = a;
    ck_assert_int_eq(soft_space_alloc(s[1], 4096, &b), SOFT_OK);
    ck_assert_uint_ge(b, a + (1ull << 38));
    ck_assert_int_eq(soft_space_alloc(s[0], 4096, &a), SOFT_OK);
    ck_assert_uint_eq(a, first + 4608);
    /* One that came from elsewhere, and has something in the next part, begins in the one after that. */
    ck_assert_int_eq(soft_space_restore(s[2], first + 2 * (1ull << 38), 512), SOFT_OK);
    ck_assert_int_eq(soft_space_alloc(s[2], 512, &c), SOFT_OK);
    ck_assert_uint_eq(c, first + 3 * (1ull << 38));
    soft_space_free(s[0]);
    s[0] = soft_space_new(1 << 20);
    ck_assert_int_eq(soft_space_alloc(s[0], 512, &a), SOFT_OK);
    ck_assert_uint_eq(a, first);
    for (unsigned i = 0; i < 3; i++)
        soft_space_free(s[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu_soft");
    TCase *tc = tcase_create("soft");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, basic, 0, 3);
    tcase_add_loop_test(tc, matrices, 0, 3);
    tcase_add_loop_test(tc, flow, 0, 2);
    tcase_add_loop_test(tc, numbers, 0, 2);
    tcase_add_loop_test(tc, integers, 0, 2);
    tcase_add_loop_test(tc, fault, 0, G_N_ELEMENTS(faults));
    tcase_add_test(tc, asserts);
    tcase_add_test(tc, placed);
    tcase_add_test(tc, edited);
    tcase_add_loop_test(tc, not_edited, 0, 2);
    tcase_add_test(tc, used);
    tcase_add_test(tc, parts);
    tcase_add_test(tc, cancelled);
    tcase_add_loop_test(tc, load, 0, G_N_ELEMENTS(loads));
    tcase_add_test(tc, spaces);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
