/* Element-wise work, reductions, matrices: kernels/basic.cu. */
#include "tests/gpu/program/program.h"

#include <math.h>

enum { N = 5000, INTS = 1024 };

static float fa[N], fb[N], out[N];
static int ia[INTS], io[4 * INTS];

static void fill(void)
{
    for (int i = 0; i < N; i++) {
        fa[i] = (float)i * 0.37f - 100;
        fb[i] = (float)(program_mix((uint32_t)i) % 1000) * 0.01f;
    }
    for (int i = 0; i < INTS; i++)
        ia[i] = (int)(program_mix((uint32_t)i) % 20011) - 10000;
}

static void vector_add(void)
{
    fill();
    CUdeviceptr a = program_put(fa, sizeof(fa)), b = program_put(fb, sizeof(fb)),
                o = program_put(NULL, sizeof(out));
    LAUNCH("vector_add", (N + 127) / 128, 1, 128, 1, 0, a, b, o, N);
    program_get(out, o, sizeof(out));
    for (int i = 0; i < N; i++)
        SAME(out[i] == fa[i] + fb[i], i);
}

static void saxpy(void)
{
    fill();
    CUdeviceptr a = program_put(fa, sizeof(fa)), b = program_put(fb, sizeof(fb));
    LAUNCH("saxpy", 3, 1, 96, 1, 0, program_bits(2.5f), a, b, N);
    program_get(out, b, sizeof(out));
    for (int i = 0; i < N; i++)
        SAME(out[i] == fmaf(2.5f, fa[i], fb[i]), i);
}

static void stencil(void)
{
    fill();
    CUdeviceptr a = program_put(fa, sizeof(fa)), o = program_put(NULL, sizeof(out));
    LAUNCH("stencil", (N + 127) / 128, 1, 128, 1, 0, a, o, N);
    program_get(out, o, sizeof(out));
    for (int i = 1; i < N - 1; i++)
        SAME(fabsf(out[i] - (0.25f * fa[i - 1] + 0.5f * fa[i] + 0.25f * fa[i + 1])) < 1e-3f, i);
    SAME(out[0] == fa[0] && out[N - 1] == fa[N - 1], 0);
}

/* Both reductions add to the same number. */
static void reductions(void)
{
    int sum = 0;

    fill();
    CUdeviceptr a = program_put(ia, sizeof(ia)), o = program_put(NULL, sizeof(int));
    for (int i = 0; i < 1000; i++)
        sum += ia[i];
    LAUNCH("reduce_shared", 4, 1, 256, 1, 0, a, o, 1000);
    program_get(io, o, sizeof(int));
    SAME(io[0] == sum, 0);
    LAUNCH("reduce_shuffle", 8, 1, 128, 1, 0, a, o, 1000);
    program_get(io, o, sizeof(int));
    SAME(io[0] == 2 * sum, 1);
}

static void scan(void)
{
    int sum = 0;

    fill();
    CUdeviceptr a = program_put(ia, sizeof(ia)), o = program_put(NULL, sizeof(ia));
    LAUNCH("scan_block", 1, 1, 512, 1, 2048, a, o);
    program_get(io, o, sizeof(ia));
    for (int i = 0; i < 512; i++)
        SAME(io[i] == (sum += ia[i]), i);
}

static void fill4(void)
{
    CUdeviceptr o = program_put(NULL, sizeof(io));

    LAUNCH("fill4", 2, 1, 32, 1, 0, o, 7);
    program_get(io, o, sizeof(io));
    for (int i = 0; i < 64; i++)
        SAME(io[4 * i] == 7 && io[4 * i + 1] == i && io[4 * i + 2] == 7 + i &&
                 io[4 * i + 3] == 7 - i,
             i);
}

static void transpose(void)
{
    fill();
    CUdeviceptr a = program_put(ia, sizeof(ia)), o = program_put(NULL, sizeof(ia));
    LAUNCH("transpose", 1, 1, 32, 8, 0, a, o, 32);
    program_get(io, o, sizeof(ia));
    for (int i = 0; i < INTS; i++)
        SAME(io[i] == ia[i % 32 * 32 + i / 32], i);
}

static void sort(void)
{
    long before = 0, after = 0;

    fill();
    CUdeviceptr a = program_put(ia, sizeof(ia));
    LAUNCH("bitonic_sort", 1, 1, INTS, 1, 0, a);
    program_get(io, a, sizeof(ia));
    for (int i = 0; i < INTS; i++) {
        before += ia[i];
        after += io[i];
        SAME(!i || io[i - 1] <= io[i], i);
    }
    SAME(before == after, 0);
}

static void matmul(void)
{
    enum { M = 48 };

    fill();
    CUdeviceptr a = program_put(fa, M * M * 4), b = program_put(fb, M * M * 4),
                o = program_put(NULL, M * M * 4);
    LAUNCH("matmul_tiled", M / 16, M / 16, 16, 16, 0, a, b, o, M);
    program_get(out, o, M * M * 4);
    for (int i = 0; i < M * M; i++) {
        float sum = 0;
        for (int k = 0; k < M; k++)
            sum = fmaf(fa[i / M * M + k], fb[k * M + i % M], sum);
        SAME(out[i] == sum, i);
    }
}

static void histogram(void)
{
    static unsigned char text[5000];
    unsigned bins[256] = {0}, got[256];

    for (unsigned i = 0; i < sizeof(text); i++)
        bins[text[i] = (unsigned char)program_mix(i)]++;
    CUdeviceptr t = program_put(text, sizeof(text)), h = program_put(NULL, sizeof(bins));
    LAUNCH("histogram", 5, 1, 256, 1, 0, t, h, sizeof(text));
    program_get(got, h, sizeof(got));
    for (int i = 0; i < 256; i++)
        SAME(got[i] == bins[i], i);
}

static int escape(int x, int y, int w, int h, int most)
{
    volatile double cr = -2.0 + 3.0 * x / w, ci = -1.0 + 2.0 * y / h, zr = 0, zi = 0, a, b, c;
    int n = 0;

    while (a = zr * zr, b = zi * zi, c = a + b, n < most && c < 4.0) {
        c = a - b;
        a = 2.0 * zr;
        a = a * zi;
        zi = a + ci;
        zr = c + cr;
        n++;
    }
    return n;
}

static void mandelbrot(void)
{
    enum { W = 64, H = 40 };
    CUdeviceptr o = program_put(NULL, W * H * 4);

    LAUNCH("mandelbrot", W / 16, H / 8, 16, 8, 0, o, W, H, 100);
    program_get(io, o, W * H * 4);
    for (int i = 0; i < W * H; i++)
        SAME(io[i] == escape(i % W, i / W, W, H, 100), i);
}

#define PTX    "basic.sm_80.ptx"
#define FATBIN "basic.fatbin"

const struct program_case basic_cases[] = {
    {"vector_add", PTX, vector_add, false},
    {"saxpy", PTX, saxpy, false},
    {"stencil", PTX, stencil, false},
    {"reductions", PTX, reductions, false},
    {"scan", PTX, scan, false},
    {"fill4", PTX, fill4, false},
    {"transpose", PTX, transpose, false},
    {"sort", PTX, sort, false},
    {"matmul", PTX, matmul, false},
    {"histogram", PTX, histogram, false},
    {"mandelbrot", PTX, mandelbrot, false},
    {"fatbin", FATBIN, vector_add, false},
    {0},
};
