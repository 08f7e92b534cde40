/* What the program does beside its cases: measures, loses its worker, fills a quota. */
#include "tests/gpu/program/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* --- measure ---------------------------------------------------------------------------------- */

static void measure_copies(void)
{
    enum { MOST = 64 << 20 };
    uint8_t *host = calloc(1, MOST);
    CUdeviceptr d = program_put(NULL, MOST);

    SAME(host != NULL, 0);
    CU(cuCtxSynchronize()); /* zeros are written when somebody waits for them */
    for (size_t bytes = 4096; bytes <= MOST; bytes *= 8) {
        int times = bytes < 1 << 20 ? 50 : 2;
        double start = program_seconds();
        for (int i = 0; i < times; i++)
            CU(cuMemcpyHtoD_v2(d, host, bytes));
        double mid = program_seconds();
        for (int i = 0; i < times; i++)
            CU(cuMemcpyDtoH_v2(host, d, bytes));
        double total = (double)bytes * times / 1e6;
        printf("copy %zu bytes: to the device %.1f MB/s, from it %.1f MB/s\n", bytes,
               total / (mid - start), total / (program_seconds() - mid));
    }
    CU(cuMemFree_v2(d));
    free(host);
}

static void measure_launches(void)
{
    enum { TIMES = 1000 };
    float k = 1;
    int n = 1;
    CUdeviceptr x = program_put(NULL, 4), y = program_put(NULL, 4);
    void *params[] = {&k, &x, &y, &n};
    CUfunction f = program_kernel("saxpy");
    double start = program_seconds();

    for (int i = 0; i < TIMES; i++)
        CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    double posted = program_seconds();
    CU(cuCtxSynchronize());
    double all = program_seconds();
    for (int i = 0; i < TIMES / 10; i++) {
        CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
        CU(cuCtxSynchronize());
    }
    double each = program_seconds();
    printf("launch: %.1f us to post, %.1f us with its run, %.1f us with a wait for each\n",
           (posted - start) * 1e6 / TIMES, (all - start) * 1e6 / TIMES,
           (each - all) * 1e6 / (TIMES / 10));
}

int measure_run(void)
{
    program_begin("basic.sm_80.ptx");
    measure_copies();
    measure_launches();
    graphs_measure();
    program_end();
    puts("measured");
    return 0;
}

/* --- lost ------------------------------------------------------------------------------------- */

enum { CONTEXT_IS_DESTROYED = 709, TIMES_LOST = 3 };

/* Waits for its context to be lost, then opens another; as often as a program may have to. */
int lost_run(void)
{
    CUresult rc;

    for (int i = 1; i <= TIMES_LOST; i++) {
        program_begin("basic.sm_80.ptx");
        CUdeviceptr d = program_put(NULL, 1 << 20);
        basic_cases[0].run();
        printf("working %d\n", i);
        fflush(stdout);
        while (!(rc = cuCtxSynchronize()))
            ;
        CU_IS(CONTEXT_IS_DESTROYED, rc);
        double start = program_seconds();
        CU_IS(CONTEXT_IS_DESTROYED, cuMemFree_v2(d));
        program_end();
        program_begin("basic.sm_80.ptx");
        double took = program_seconds() - start;
        basic_cases[0].run();
        program_end();
        printf("lost %d, and a new context after %.0f ms\n", i, took * 1e3);
    }
    return 0;
}

/* --- gone ------------------------------------------------------------------------------------- */

enum { NO_DEVICE = 100, SYSTEM_NOT_READY = 802 };

/* A context, once there is a GPU again: until then it is said that there is none. */
static void wait_for_device(void)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    CUcontext c;
    CUresult rc;

    /* One that comes may be lost again while it is opened, or not have its addresses yet. */
    while ((rc = cuCtxCreate_v2(&c, 0, 0)) == NO_DEVICE || rc == SYSTEM_NOT_READY ||
           rc == CONTEXT_IS_DESTROYED)
        nanosleep(&pause, NULL);
    CU_IS(0, rc);
    cuCtxDestroy_v2(c);
}

/* Copies to and fro until the GPU is gone, and checks what it gets: the error that tells of it. */
static CUresult use_until_gone(void)
{
    enum { BYTES = 1 << 20 };
    static uint8_t host[BYTES];
    CUcontext c = NULL;
    CUdeviceptr d = 0;
    CUresult rc = cuCtxCreate_v2(&c, 0, 0);

    if (!rc)
        rc = cuMemAlloc_v2(&d, BYTES);
    if (!rc) {
        puts("working");
        fflush(stdout);
    }
    for (int i = 0; !rc; i++) {
        rc = cuMemsetD8_v2(d, (unsigned char)i, BYTES);
        if (!rc)
            rc = cuMemcpyDtoH_v2(host, d, BYTES);
        for (int at = 0; !rc && at < BYTES; at += 4096)
            SAME(host[at] == (uint8_t)i, at);
        if (!rc)
            rc = cuMemcpyHtoD_v2(d, host, BYTES);
    }
    if (c)
        cuCtxDestroy_v2(c);
    return rc;
}

/* Uses GPUs that come and go, as often as TIMES of the environment says. */
int gone_run(void)
{
    const char *times = getenv("TIMES");

    for (int i = 0; i < (times ? atoi(times) : 3); i++) {
        wait_for_device();
        CUresult rc = use_until_gone();
        SAME(rc == CONTEXT_IS_DESTROYED || rc == NO_DEVICE, rc);
        printf("gone %d\n", i + 1);
        fflush(stdout);
    }
    return 0;
}

/* --- hang ------------------------------------------------------------------------------------- */

/* Asks what the driver of tests/gpu/hanging.c does not come back from. */
int hang_run(void)
{
    enum { HANGING = 3145739 };
    CUdeviceptr d;

    program_begin("basic.sm_80.ptx");
    basic_cases[0].run();
    puts("the driver is asked");
    fflush(stdout);
    CU_IS(CONTEXT_IS_DESTROYED, cuMemAlloc_v2(&d, HANGING));
    double start = program_seconds();
    program_end();
    program_begin("basic.sm_80.ptx");
    double took = program_seconds() - start;
    basic_cases[0].run();
    program_end();
    printf("the driver hung, and a new context after %.0f ms\n", took * 1e3);
    return 0;
}

/* --- quota ------------------------------------------------------------------------------------ */

/* Takes all memory that there is, a MiB at a time, and holds it until a line comes. */
int quota_run(void)
{
    enum { MOST = 4096, PIECE = 1 << 20, OUT_OF_MEMORY = 2 };
    static CUdeviceptr pieces[MOST];
    size_t free_bytes, total;
    CUdeviceptr one;
    char line[16];
    CUresult rc = 0;
    int n = 0;

    program_begin(NULL);
    CU(cuMemGetInfo_v2(&free_bytes, &total));
    while (n < MOST && !(rc = cuMemAlloc_v2(&pieces[n], PIECE)))
        n++;
    CU_IS(OUT_OF_MEMORY, rc);
    printf("got %d MiB of %zu MiB, %zu MiB were free\n", n, total >> 20, free_bytes >> 20);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        return 1;
    CU(cuMemFree_v2(pieces[0]));
    CU(cuMemAlloc_v2(&one, PIECE));
    program_end();
    puts("gave all back");
    return 0;
}

/* --- through ---------------------------------------------------------------------------------- */

/* Moves more than any buffer on the way holds, of an odd size, to the device, within it and back.
 */
int through_run(void)
{
    enum { BYTES = (7 << 20) + 12345 };
    uint8_t *there = malloc(BYTES), *back = calloc(1, BYTES);
    CUdeviceptr one, other;
    uint32_t x = 7;

    SAME(there && back, 0);
    for (int i = 0; i < BYTES; i++) {
        x = x * 1664525 + 1013904223;
        there[i] = (uint8_t)(x >> 24);
    }
    program_begin(NULL);
    CU(cuMemAlloc_v2(&one, BYTES));
    CU(cuMemAlloc_v2(&other, BYTES));
    CU(cuMemcpyHtoD_v2(one, there, BYTES));
    CU(cuMemcpyDtoD_v2(other, one, BYTES));
    CU(cuMemcpyDtoH_v2(back, other, BYTES));
    for (int i = 0; i < BYTES; i++)
        SAME(there[i] == back[i], i);
    program_end();
    free(there);
    free(back);
    printf("through: %d bytes, all the same\n", BYTES);
    return 0;
}
