/* Memory that has one address for both sides, where the device has that: copies and fills of it by
 * whatever name, two threads, queries: kernels/basic.cu. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tests/gpu/program/program.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;

CUresult cuCtxGetCurrent(CUcontext *c);
CUresult cuCtxSetCurrent(CUcontext c);
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device);
CUresult cuGraphDestroy(CUgraph g);
CUresult cuGraphExecDestroy(CUgraphExec e);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *e, CUgraph g, unsigned long long flags);
CUresult cuGraphLaunch(CUgraphExec e, CUstream stream);
CUresult cuLaunchHostFunc(CUstream stream, void (*fn)(void *data), void *data);
CUresult cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned flags);
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes);
CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                      CUcontext from_context, size_t bytes);
CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t n);
CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
CUresult cuStreamEndCapture(CUstream stream, CUgraph *g);
CUresult cuStreamQuery(CUstream stream);

enum { N = 4096, BYTES = N * 4, ROUNDS = 200, NOT_READY = 600 };

/* Two arrays, X of ones and Y of zeros. */
struct both {
    CUdeviceptr dx, dy;
    float *x, *y;
    CUstream s;
    CUfunction f;
};

static bool both_begin(struct both *b)
{
    enum { MANAGED_MEMORY = 83, ATTACH_GLOBAL = 1 };
    CUdevice device;
    int has = 0;

    CU(cuDeviceGet(&device, 0));
    CU(cuDeviceGetAttribute(&has, MANAGED_MEMORY, device));
    if (!has) {
        program_lacks("managed memory");
        return false;
    }
    CU(cuMemAllocManaged(&b->dx, BYTES, ATTACH_GLOBAL));
    CU(cuMemAllocManaged(&b->dy, BYTES, ATTACH_GLOBAL));
    CU(cuStreamCreate(&b->s, 1));
    b->x = (float *)(uintptr_t)b->dx;
    b->y = (float *)(uintptr_t)b->dy;
    b->f = program_kernel("saxpy");
    for (int i = 0; i < N; i++) {
        b->x[i] = 1;
        b->y[i] = 0;
    }
    return true;
}

static void both_end(struct both *b)
{
    CU(cuStreamDestroy_v2(b->s));
    CU(cuMemFree_v2(b->dx));
    CU(cuMemFree_v2(b->dy));
}

/* Y += K X, in B's stream. */
static void add(struct both *b, float k)
{
    int n = N;

    CU(cuLaunchKernel(b->f, 16, 1, 1, 256, 1, 1, 0, b->s, (void *[]){&k, &b->dx, &b->dy, &n},
                      NULL));
}

static void all_are(const float *v, float want)
{
    for (int i = 0; i < N; i++)
        SAME(v[i] == want, i);
}

/* The program's name for it is as good as the device's, at both ends. */
static void copies(void)
{
    static float host[N];
    struct both b;
    CUcontext c;
    CUdeviceptr d = program_put(NULL, BYTES);

    if (!both_begin(&b))
        return;
    for (int i = 0; i < N; i++)
        host[i] = 5;
    CU(cuMemcpyHtoD_v2(d, host, BYTES));
    CU(cuMemcpyDtoH_v2(b.y, d, BYTES));
    all_are(b.y, 5);
    add(&b, 2);
    CU(cuStreamSynchronize(b.s));
    all_are(b.y, 7);
    CU(cuMemcpyDtoHAsync_v2(b.y, d, BYTES, b.s));
    CU(cuStreamSynchronize(b.s));
    all_are(b.y, 5);
    /* From it, after a kernel that nobody waited for. */
    add(&b, 3);
    CU(cuMemcpyHtoDAsync_v2(d, b.y, BYTES, b.s));
    CU(cuStreamSynchronize(b.s));
    CU(cuMemcpyDtoH_v2(host, d, BYTES));
    all_are(host, 8);
    /* Within it, and between contexts. */
    CU(cuMemcpyDtoD_v2(b.dx, b.dy, BYTES));
    CU(cuCtxSynchronize());
    all_are(b.x, 8);
    CU(cuMemsetD32_v2(d, 0, N));
    CU(cuCtxGetCurrent(&c));
    CU(cuMemcpyPeer(b.dx, c, d, c, BYTES));
    CU(cuCtxSynchronize());
    all_are(b.x, 0);
    CU(cuMemFree_v2(d));
    both_end(&b);
}

/* A graph's copies: up, a kernel, down, all by the program's name. */
static void graph_copies(void)
{
    static float host[N];
    struct both b;
    CUgraph g;
    CUgraphExec e;
    CUdeviceptr d = program_put(NULL, BYTES);

    if (!both_begin(&b))
        return;
    CU(cuCtxSynchronize());
    CU(cuStreamBeginCapture_v2(b.s, 0));
    CU(cuMemcpyHtoDAsync_v2(d, b.y, BYTES, b.s)); /* d = y */
    add(&b, 1);
    CU(cuMemcpyDtoHAsync_v2(b.x, d, BYTES, b.s)); /* x = d */
    CU(cuStreamEndCapture(b.s, &g));
    CU(cuGraphInstantiateWithFlags(&e, g, 0));
    CU(cuGraphLaunch(e, b.s)); /* y = 1, x = 0 */
    CU(cuGraphLaunch(e, b.s)); /* y = 1, x = 1 */
    CU(cuStreamSynchronize(b.s));
    all_are(b.y, 1);
    all_are(b.x, 1);
    CU(cuMemcpyDtoH_v2(host, d, BYTES));
    all_are(host, 1);
    CU(cuGraphExecDestroy(e));
    CU(cuGraphDestroy(g));
    CU(cuMemFree_v2(d));
    both_end(&b);
}

/* A fill that waits is seen by both sides, whichever has the memory. */
static void fills(void)
{
    struct both b;
    uint32_t bits = (uint32_t)program_bits(3);

    if (!both_begin(&b))
        return;
    CU(cuMemsetD32_v2(b.dy, bits, N));
    CU(cuCtxSynchronize());
    all_are(b.y, 3);
    add(&b, 1);
    CU(cuCtxSynchronize());
    all_are(b.y, 4);
    b.y[0] = 9;
    CU(cuMemsetD32_v2(b.dy + 4, bits, N - 1));
    CU(cuCtxSynchronize());
    SAME(b.y[0] == 9 && b.y[1] == 3 && b.y[N - 1] == 3, 0);
    both_end(&b);
}

static void wait_for_word(void *data)
{
    while (!__atomic_load_n((int *)data, __ATOMIC_ACQUIRE))
        ;
}

/* To ask is not to wait, even where another stream stands; what is through is there once all is. */
static void queries(void)
{
    struct both b;
    CUstream other;
    CUresult rc;
    int word = 0;

    if (!both_begin(&b))
        return;
    CU(cuStreamCreate(&other, 1));
    CU(cuLaunchHostFunc(other, wait_for_word, &word));
    add(&b, 2);
    while ((rc = cuStreamQuery(b.s)) == NOT_READY)
        ;
    CU(rc);
    CU_IS(NOT_READY, cuStreamQuery(other));
    __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
    CU(cuStreamSynchronize(other));
    all_are(b.y, 2);
    add(&b, 2);
    while ((rc = cuStreamQuery(b.s)) == NOT_READY)
        ;
    CU(rc);
    all_are(b.y, 4); /* nothing else goes on */
    CU(cuStreamDestroy_v2(other));
    both_end(&b);
}

struct waiter {
    CUcontext c;
    CUstream s;
    bool over;
};

/* Waits for a stream that has nothing to do, again and again. */
static void *wait_always(void *opaque)
{
    struct waiter *w = opaque;

    CU(cuCtxSetCurrent(w->c));
    while (!__atomic_load_n(&w->over, __ATOMIC_ACQUIRE))
        CU(cuStreamSynchronize(w->s));
    return NULL;
}

/* One thread has kernels write, while others wait. */
static void threads(void)
{
    enum { WAITERS = 4 };
    struct both b;
    struct waiter w = {0};
    pthread_t thread[WAITERS];

    if (!both_begin(&b))
        return;
    CU(cuCtxGetCurrent(&w.c));
    CU(cuStreamCreate(&w.s, 1));
    for (int i = 0; i < WAITERS; i++)
        SAME(pthread_create(&thread[i], NULL, wait_always, &w) == 0, i);
    for (int round = 1; round <= ROUNDS; round++) {
        add(&b, 1);
        CU(cuStreamSynchronize(b.s));
        all_are(b.y, (float)round);
    }
    __atomic_store_n(&w.over, true, __ATOMIC_RELEASE);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(thread[i], NULL);
    CU(cuStreamDestroy_v2(w.s));
    both_end(&b);
}

static void set_word(void *data)
{
    *(int *)data = 1;
}

/* Where no thread can be had, the calling one runs the function, and is as it was before. */
static void no_thread(void)
{
    pthread_attr_t usual, huge;
    struct both b;
    int word = 0;

    if (!both_begin(&b))
        return;
    SAME(pthread_getattr_default_np(&usual) == 0 && pthread_attr_init(&huge) == 0, 0);
    SAME(pthread_attr_setstacksize(&huge, (size_t)1 << 46) == 0, 1);
    SAME(pthread_setattr_default_np(&huge) == 0, 2);
    CU(cuLaunchHostFunc(b.s, set_word, &word));
    SAME(pthread_setattr_default_np(&usual) == 0, 3);
    CU(cuStreamSynchronize(b.s));
    SAME(word == 1, 4);
    add(&b, 1);
    CU(cuStreamSynchronize(b.s));
    all_are(b.y, 1);
    pthread_attr_destroy(&usual);
    pthread_attr_destroy(&huge);
    both_end(&b);
}

#define BASIC "basic.sm_80.ptx"

const struct program_case managed_cases[] = {
    {"managed_copies", BASIC, copies, false},
    {"managed_graph", BASIC, graph_copies, false},
    {"managed_fills", BASIC, fills, false},
    {"managed_queries", BASIC, queries, false},
    {"managed_threads", BASIC, threads, false},
    {"managed_no_thread", BASIC, no_thread, false},
    {0},
};
