/* What is around kernels: copies, streams and events, and the errors that CUDA has for mistakes. */
#include "tests/gpu/program/program.h"

#include <stdlib.h>
#include <string.h>

enum {
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_PTX = 218,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    ASSERTED = 710,
    MISALIGNED = 716,
};

/* More than the window of a channel, to memory of either kind of the host and back. */
static void copies(void)
{
    enum { BYTES = 9 << 20 };
    uint8_t *from = malloc(BYTES), *to = calloc(1, BYTES);
    void *pinned;

    SAME(from && to, 0);
    for (uint32_t i = 0; i < BYTES; i++)
        from[i] = (uint8_t)(i * 13 + i / 251);
    CUdeviceptr d = program_put(from, BYTES);
    program_get(to, d, BYTES);
    SAME(memcmp(from, to, BYTES) == 0, 1);
    CU(cuMemAllocHost_v2(&pinned, BYTES));
    CU(cuMemcpyDtoHAsync_v2(pinned, d, BYTES, NULL));
    CU(cuStreamSynchronize(NULL));
    SAME(memcmp(from, pinned, BYTES) == 0, 2);
    CU(cuMemFreeHost(pinned));
    program_get(to, d + 12345, 1);
    SAME(to[0] == from[12345], 3);
    CU(cuMemFree_v2(d));
    free(from);
    free(to);
}

/* Four streams work on parts of one array; a fifth begins when all of them are through. */
static void streams(void)
{
    enum { PARTS = 4, N = 4096, EACH = N / PARTS };
    static float x[N], y[N];
    CUstream s[PARTS + 1];
    CUevent begun, done[PARTS];
    float ms = -1, k = 3;
    int each = EACH, all = N;

    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    CUdeviceptr dx = program_put(NULL, sizeof(x)), dy = program_put(NULL, sizeof(y));
    CUfunction f = program_kernel("saxpy");
    for (int p = 0; p <= PARTS; p++)
        CU(cuStreamCreate(&s[p], 1));
    CU(cuEventCreate(&begun, 0));
    CU(cuEventRecord(begun, s[0]));
    for (size_t p = 0; p < PARTS; p++) {
        CUdeviceptr px = dx + p * EACH * 4, py = dy + p * EACH * 4;
        CU(cuEventCreate(&done[p], 0));
        CU(cuMemcpyHtoDAsync_v2(px, x + p * EACH, EACH * 4, s[p]));
        CU(cuLaunchKernel(f, 4, 1, 1, 256, 1, 1, 0, s[p], (void *[]){&k, &px, &py, &each}, NULL));
        CU(cuEventRecord(done[p], s[p]));
        CU(cuStreamWaitEvent(s[PARTS], done[p], 0));
    }
    CU(cuLaunchKernel(f, 16, 1, 1, 256, 1, 1, 0, s[PARTS], (void *[]){&k, &dx, &dy, &all}, NULL));
    CU(cuMemcpyDtoHAsync_v2(y, dy, sizeof(y), s[PARTS]));
    CU(cuStreamSynchronize(s[PARTS]));
    for (int i = 0; i < N; i++)
        SAME(y[i] == 6 * (float)i, i);
    CU(cuEventElapsedTime(&ms, begun, done[0]));
    SAME(ms >= 0, 0);
    CU(cuEventDestroy_v2(begun));
    for (int p = 0; p < PARTS; p++)
        CU(cuEventDestroy_v2(done[p]));
    for (int p = 0; p <= PARTS; p++)
        CU(cuStreamDestroy_v2(s[p]));
}

/* Many launches that nobody waits for, and the sum of what they did. */
static void launches(void)
{
    enum { TIMES = 2000, N = 32 };
    float ones[N], got[N];

    for (int i = 0; i < N; i++)
        ones[i] = 1;
    CUdeviceptr x = program_put(ones, sizeof(ones)), y = program_put(NULL, sizeof(ones));
    float k = 1;
    int n = N;
    CUfunction f = program_kernel("saxpy");
    for (int i = 0; i < TIMES; i++)
        CU(cuLaunchKernel(f, 1, 1, 1, N, 1, 1, 0, NULL, (void *[]){&k, &x, &y, &n}, NULL));
    program_get(got, y, sizeof(got));
    for (int i = 0; i < N; i++)
        SAME(got[i] == TIMES, i);
}

static void mistakes(void)
{
    CUmodule m;
    CUdeviceptr d = program_put(NULL, 64), none;
    size_t bytes, total;
    char text[16];
    uint64_t args[] = {d, 1};
    void *params[] = {&args[0], &args[1]};

    CU_IS(INVALID_PTX, cuModuleLoadData(&m, ".version 8.0\n.target sm_80\nnonsense\n"));
    CUfunction f = program_kernel("collatz");
    CU_IS(NOT_FOUND, cuModuleGetFunction(&f, program_module(), "none"));
    CU_IS(INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1025, 1, 1, 0, NULL, params, NULL));
    CU_IS(INVALID_VALUE, cuLaunchKernel(f, 0, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    CU_IS(INVALID_VALUE, cuLaunchKernel(f, 1, 65536, 1, 32, 1, 1, 0, NULL, params, NULL));
    CU_IS(OUT_OF_MEMORY, cuMemAlloc_v2(&none, (size_t)1 << 46));
    CU(cuMemFree_v2(d));
    CU_IS(INVALID_VALUE, cuMemFree_v2(d));
    CU_IS(INVALID_VALUE, cuMemcpyDtoH_v2(text, d, sizeof(text)));
    CU(cuMemGetInfo_v2(&bytes, &total));
    SAME(bytes <= total, 0);
    CU(cuCtxSynchronize());
}

/* What a kernel does sticks to its context. */
static void break_with(CUresult rc, const char *kernel, int number)
{
    CUdeviceptr o = program_put(NULL, 64), more;

    LAUNCH(kernel, 1, 1, 2, 1, 0, o, (uint64_t)number);
    CU_IS(rc, cuCtxSynchronize());
    CU_IS(rc, cuMemAlloc_v2(&more, 16));
    CU_IS(rc, cuCtxSynchronize());
}

static void out_of_bounds(void)
{
    break_with(ILLEGAL_ADDRESS, "out_of_bounds", 1 << 20);
}

static void misaligned(void)
{
    break_with(MISALIGNED, "misaligned", 0);
}

static void asserted(void)
{
    CUdeviceptr more;

    LAUNCH("asserts", 1, 1, 2, 1, 0, 1);
    CU_IS(ASSERTED, cuCtxSynchronize());
    CU_IS(ASSERTED, cuMemAlloc_v2(&more, 16));
}

/* A pointer that was freed is no address any more. */
static void freed(void)
{
    CUdeviceptr o = program_put(NULL, 1 << 20);

    CU(cuMemFree_v2(o));
    LAUNCH("out_of_bounds", 1, 1, 1, 1, 0, o, 0);
    CU_IS(ILLEGAL_ADDRESS, cuCtxSynchronize());
}

/* A kernel that never ends goes with its context. */
static void endless(void)
{
    CUdeviceptr o = program_put(NULL, 64);

    LAUNCH("forever", 1, 1, 32, 1, 0, o);
}

#define BASIC "basic.sm_80.ptx"
#define FLOW  "flow.sm_80.ptx"

const struct program_case api_cases[] = {
    {"copies", NULL, copies, false},
    {"streams", BASIC, streams, false},
    {"launches", BASIC, launches, false},
    {"mistakes", FLOW, mistakes, false},
    {"out_of_bounds", FLOW, out_of_bounds, true},
    {"misaligned", FLOW, misaligned, true},
    {"asserted", FLOW, asserted, true},
    {"freed", FLOW, freed, true},
    {"endless", FLOW, endless, true},
    {0},
};
