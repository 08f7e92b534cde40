/* Calls, divergence, locks, and threads that work together: kernels/flow.cu, kernels/together.cu.
 */
#include "tests/gpu/program/program.h"

static int out[1024];

static int fib(int n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

/* Launches NAME with memory for its results as the first argument, and a number. */
static void results(const char *name, unsigned grid, unsigned block, int number)
{
    CUdeviceptr o = program_put(NULL, sizeof(out));

    LAUNCH(name, grid, 1, block, 1, 0, o, (uint64_t)number);
    program_get(out, o, sizeof(out));
}

static void recursion(void)
{
    results("recursion", 1, 40, 0);
    for (int i = 0; i < 40; i++)
        SAME(out[i] == fib(i % 12), i);
}

static void indirect(void)
{
    static const int weights[] = {3, 5, 7, 11};

    results("indirect", 2, 64, 0);
    for (int i = 0; i < 128; i++) {
        int v = i + 1, f[] = {2 * v, v * v, -v};
        SAME(out[i] == f[i % 3] + weights[i & 3], i);
    }
}

static void collatz(void)
{
    results("collatz", 2, 256, 0);
    for (int i = 0; i < 512; i++) {
        int n = 0;
        for (uint64_t v = (uint64_t)i + 1; v != 1; n++)
            v = v & 1 ? 3 * v + 1 : v / 2;
        SAME(out[i] == n, i);
    }
}

static void switched(void)
{
    enum { K = 13 };

    results("switched", 1, 64, K);
    for (int i = 0; i < 64; i++) {
        int v[] = {i + K, i * K, i - K, i ^ K, i / (K + 1), i | K, i << (K & 3), i % (K + 1), ~i};
        SAME(out[i] == v[i % 9], i);
    }
}

static void spin_lock(void)
{
    results("spin_lock", 1, 96, 5);
    SAME(out[0] == 480, 0);
}

static void ballots(void)
{
    unsigned odd = 0;

    for (unsigned i = 1; i < 32; i += 2)
        odd |= (unsigned)(i % 3 == 0) << i;
    results("ballots", 1, 32, 0);
    for (unsigned i = 0; i < 32; i++)
        SAME((unsigned)out[i] == (i & 1 ? odd : 0x55555555) + 4 + 496, i);
}

static void local_array(void)
{
    results("local_array", 1, 64, 20);
    for (int t = 0; t < 64; t++) {
        int sum = 0;
        for (int i = 0; i < 20; i++)
            sum += ((i * 7 + t) & 31) * 20 + t;
        SAME(out[t] == sum, t);
    }
}

static void heap(void)
{
    results("heap", 3, 64, 0);
    for (int t = 0; t < 64; t++)
        SAME(out[t] == 4 * t + 6, t);
}

static void barrier(void)
{
    results("barrier_in_branch", 1, 64, 0);
    for (int t = 0; t < 64; t++)
        SAME(out[t] == (63 - t) + (63 - t < 32 ? 0 : 100) + 32, t);
}

/* What it prints goes where the device's output goes; that it may is enough here. */
static void prints(void)
{
    LAUNCH("prints", 1, 1, 2, 1, 0, 2);
}

static void grid(void)
{
    enum { N = 256, ROUNDS = 5 };
    int data[N];

    for (int i = 0; i < N; i++)
        data[i] = i * i;
    CUdeviceptr d = program_put(data, sizeof(data));
    uint64_t args[] = {d, N, ROUNDS};
    void *params[] = {&args[0], &args[1], &args[2]};
    CU(cuLaunchCooperativeKernel(program_kernel("grid_rounds"), 4, 1, 1, N / 4, 1, 1, 0, NULL,
                                 params));
    program_get(out, d, sizeof(data));
    for (int i = 0; i < N; i++)
        SAME(out[i] == data[(i + ROUNDS) % N] + ROUNDS, i);
}

static void tiles(void)
{
    results("tiles", 1, 64, 0);
    for (int i = 0; i < 64; i++)
        SAME(out[i] == 8 * (i & ~7) + 28 + (i & 1 ? 16000 : 0), i);
}

static void staged(void)
{
    enum { N = 512 };
    int in[N];

    for (int i = 0; i < N; i++)
        in[i] = 7 * i - 1000;
    CUdeviceptr a = program_put(in, sizeof(in)), o = program_put(NULL, sizeof(in));
    LAUNCH("staged", N / 256, 1, 256, 1, 0, a, o);
    program_get(out, o, sizeof(in));
    for (int i = 0; i < N; i++)
        SAME(out[i] == in[(i & ~255) + 255 - (i & 255)], i);
}

#define FLOW     "flow.sm_80.ptx"
#define TOGETHER "together.sm_80.ptx"

const struct program_case flow_cases[] = {
    {"recursion", FLOW, recursion, false},     {"indirect", FLOW, indirect, false},
    {"collatz", FLOW, collatz, false},         {"switched", FLOW, switched, false},
    {"spin_lock", FLOW, spin_lock, false},     {"ballots", FLOW, ballots, false},
    {"local_array", FLOW, local_array, false}, {"heap", FLOW, heap, false},
    {"barrier", FLOW, barrier, false},         {"prints", FLOW, prints, false},
    {"grid", TOGETHER, grid, false},           {"tiles", TOGETHER, tiles, false},
    {"staged", TOGETHER, staged, false},       {0},
};
