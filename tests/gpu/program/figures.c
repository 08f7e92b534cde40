/* What is compared between two ways to a GPU, a line a figure: "figure NAME VALUE". See program.h. */
#include "tests/gpu/program/program.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 5, LAUNCHES = 1000, WAITS = 200 };

/* The best of a few rounds: what stands in the way of one is not what is measured. */
static double least(double now, double before)
{
    return before == 0 || now < before ? now : before;
}

static void launches(void)
{
    float k = 1;
    int n = 1;
    CUdeviceptr x = program_put(NULL, 4), y = program_put(NULL, 4);
    void *params[] = {&k, &x, &y, &n};
    CUfunction f = program_kernel("saxpy");
    double posted = 0, waited = 0;

    for (int round = 0; round < ROUNDS; round++) {
        CU(cuCtxSynchronize());
        double start = program_seconds();
        for (int i = 0; i < LAUNCHES; i++)
            CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
        double mid = program_seconds();
        CU(cuCtxSynchronize());
        double idle = program_seconds();
        for (int i = 0; i < WAITS; i++) {
            CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
            CU(cuCtxSynchronize());
        }
        posted = least((mid - start) / LAUNCHES, posted);
        waited = least((program_seconds() - idle) / WAITS, waited);
    }
    printf("figure launch_us %.3f\nfigure launch_and_wait_us %.3f\n", posted * 1e6, waited * 1e6);
}

/* Copies of BYTES, of pinned memory, one after the other in a stream, and a wait for the last. */
static void copies(size_t bytes, void *host, CUdeviceptr device)
{
    enum { EACH = 64 << 20, MOST = 256 };
    size_t times = EACH / bytes;
    double to = 0, from = 0;

    times = times > MOST ? MOST : times < 2 ? 2 : times;
    for (int round = 0; round < ROUNDS; round++) {
        double start = program_seconds();
        for (size_t i = 0; i < times; i++)
            CU(cuMemcpyHtoDAsync_v2(device, host, bytes, NULL));
        CU(cuCtxSynchronize());
        double mid = program_seconds();
        for (size_t i = 0; i < times; i++)
            CU(cuMemcpyDtoHAsync_v2(host, device, bytes, NULL));
        CU(cuCtxSynchronize());
        to = least((mid - start) / (double)times, to);
        from = least((program_seconds() - mid) / (double)times, from);
    }
    printf("figure to_device_%zu %.1f\nfigure from_device_%zu %.1f\n", bytes, (double)bytes / to / 1e6,
           bytes, (double)bytes / from / 1e6);
    fflush(stdout);
}

/* Copies go up to GPU_FIGURES_MOST MiB, 1 GiB where that is not set. */
int figures_run(void)
{
    const char *most = getenv("GPU_FIGURES_MOST");
    size_t bytes = (most ? strtoull(most, NULL, 10) : 1024) << 20;
    CUdeviceptr device;
    void *host;

    program_begin("basic.sm_80.ptx");
    launches();
    CU(cuMemAlloc_v2(&device, bytes));
    CU(cuMemAllocHost_v2(&host, bytes));
    for (size_t i = 0; i < bytes; i += 4096)
        ((volatile char *)host)[i] = 1;
    for (size_t size = 4096; size <= bytes; size *= 4)
        copies(size, host, device);
    CU(cuMemFreeHost(host));
    program_end();
    puts("measured");
    return 0;
}
