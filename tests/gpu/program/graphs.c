/* Graphs by hand and captured, memory in a stream's order, managed memory, functions of the host in
 * streams: kernels/basic.cu. */
#include "tests/gpu/program/program.h"

#include <stdio.h>
#include <string.h>

typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUmemPoolHandle_st *CUmemoryPool;

struct kernel_node {
    CUfunction func;
    unsigned grid[3], block[3], shared;
    void **params, **extra;
    void *kern;
    CUcontext ctx;
};

struct memset_node {
    CUdeviceptr to;
    size_t pitch;
    unsigned value, unit;
    size_t width, height;
};

struct host_node {
    void (*fn)(void *data);
    void *data;
};

/* CUDA_MEMCPY3D. */
struct box {
    size_t from_x, from_y, from_z, from_lod;
    int from_type;
    const void *from_host;
    CUdeviceptr from_device;
    void *from_array, *reserved0;
    size_t from_pitch, from_height, to_x, to_y, to_z, to_lod;
    int to_type;
    void *to_host;
    CUdeviceptr to_device;
    void *to_array, *reserved1;
    size_t to_pitch, to_height, width, height, depth;
};

enum { HOST = 1, DEVICE = 2 };

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device);
CUresult cuCtxGetCurrent(CUcontext *c);
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device);
CUresult cuGraphCreate(CUgraph *g, unsigned flags);
CUresult cuGraphDestroy(CUgraph g);
CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph g, const CUgraphNode *needs, size_t n,
                                 const struct kernel_node *p);
CUresult cuGraphAddMemcpyNode(CUgraphNode *node, CUgraph g, const CUgraphNode *needs, size_t n,
                              const struct box *p, CUcontext c);
CUresult cuGraphAddMemsetNode(CUgraphNode *node, CUgraph g, const CUgraphNode *needs, size_t n,
                              const struct memset_node *p, CUcontext c);
CUresult cuGraphAddHostNode(CUgraphNode *node, CUgraph g, const CUgraphNode *needs, size_t n,
                            const struct host_node *p);
CUresult cuGraphGetNodes(CUgraph g, CUgraphNode *nodes, size_t *n);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *e, CUgraph g, unsigned long long flags);
CUresult cuGraphLaunch(CUgraphExec e, CUstream stream);
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec e, CUgraphNode node,
                                           const struct kernel_node *p);
CUresult cuGraphExecDestroy(CUgraphExec e);
CUresult cuLaunchHostFunc(CUstream stream, void (*fn)(void *data), void *data);
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream);
CUresult cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned flags);
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream);
CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value);
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, CUstream stream);
CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
CUresult cuStreamEndCapture(CUstream stream, CUgraph *g);
CUresult cuStreamIsCapturing(CUstream stream, int *status);

enum { N = 4096, BYTES = N * 4, ROUNDS = 10 };

static float x[N], y[N];

static void count_call(void *data)
{
    ++*(int *)data;
}

static struct kernel_node saxpy_node(void **params)
{
    return (struct kernel_node){.func = program_kernel("saxpy"),
                                .grid = {16, 1, 1},
                                .block = {256, 1, 1},
                                .params = params};
}

/* y = 0; y = k x + y; y = k x + y; copied back; a function of the host. */
static void by_hand(void)
{
    CUgraph g;
    CUgraphExec e;
    CUgraphNode zero, up, first, second, down, call;
    CUcontext c;
    CUstream s;
    float k = 2;
    int n = N, calls = 0;
    CUdeviceptr dx = program_put(NULL, BYTES), dy = program_put(NULL, BYTES);
    void *params[] = {&k, &dx, &dy, &n};
    const struct memset_node fill = {.to = dy, .unit = 4, .width = N, .height = 1};
    const struct box in = {.from_type = HOST,
                           .from_host = x,
                           .to_type = DEVICE,
                           .to_device = dx,
                           .width = BYTES,
                           .height = 1,
                           .depth = 1};
    const struct box out = {.from_type = DEVICE,
                            .from_device = dy,
                            .to_type = HOST,
                            .to_host = y,
                            .width = BYTES,
                            .height = 1,
                            .depth = 1};
    const struct host_node host = {count_call, &calls};
    struct kernel_node kernel = saxpy_node(params);

    CU(cuCtxSynchronize()); /* zeros are written in the default stream's order */
    CU(cuCtxGetCurrent(&c));
    CU(cuStreamCreate(&s, 1));
    CU(cuGraphCreate(&g, 0));
    CU(cuGraphAddMemsetNode(&zero, g, NULL, 0, &fill, c));
    CU(cuGraphAddMemcpyNode(&up, g, NULL, 0, &in, c));
    CU(cuGraphAddKernelNode_v2(&first, g, (CUgraphNode[]){zero, up}, 2, &kernel));
    CU(cuGraphAddKernelNode_v2(&second, g, &first, 1, &kernel));
    CU(cuGraphAddMemcpyNode(&down, g, &second, 1, &out, c));
    CU(cuGraphAddHostNode(&call, g, &down, 1, &host));
    CU(cuGraphInstantiateWithFlags(&e, g, 0));
    CU(cuGraphDestroy(g));
    for (int round = 1; round <= ROUNDS; round++) { /* what is copied is what is there then */
        for (int i = 0; i < N; i++)
            x[i] = (float)(i + round);
        CU(cuGraphLaunch(e, s));
        CU(cuStreamSynchronize(s));
        for (int i = 0; i < N; i++)
            SAME(y[i] == 4 * x[i], i);
        SAME(calls == round, round);
    }
    CU(cuGraphExecDestroy(e));
    program_get(y, dy, BYTES);
    CU(cuStreamDestroy_v2(s));
}

/* A node gets other parameters between launches. */
static void changed(void)
{
    CUgraph g;
    CUgraphExec e;
    CUgraphNode node;
    float k = 1;
    int n = N;
    CUdeviceptr dx, dy = program_put(NULL, BYTES);
    void *params[] = {&k, &dx, &dy, &n};

    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    dx = program_put(x, BYTES);
    struct kernel_node kernel = saxpy_node(params);
    CU(cuGraphCreate(&g, 0));
    CU(cuGraphAddKernelNode_v2(&node, g, NULL, 0, &kernel));
    CU(cuGraphInstantiateWithFlags(&e, g, 0));
    for (int round = 1; round <= ROUNDS; round++) {
        k = (float)round;
        CU(cuGraphExecKernelNodeSetParams_v2(e, node, &kernel));
        CU(cuGraphLaunch(e, NULL));
    }
    program_get(y, dy, BYTES);
    for (int i = 0; i < N; i++)
        SAME(y[i] == (float)(ROUNDS * (ROUNDS + 1) / 2) * x[i], i);
    CU(cuGraphExecDestroy(e));
    CU(cuGraphDestroy(g));
}

/* Two streams that part and meet again, captured; then launched as often as one likes. */
static void captured(void)
{
    enum { LAUNCHES = 200 };
    CUgraph g;
    CUgraphExec e;
    CUstream s, t;
    CUevent fork, join;
    float k = 1;
    int half = N / 2, status = 7;
    size_t nodes = 0;
    CUdeviceptr dx, dy = program_put(NULL, BYTES), dx2, dy2 = dy + BYTES / 2;
    void *low[] = {&k, &dx, &dy, &half}, *high[] = {&k, &dx2, &dy2, &half};

    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    dx = program_put(x, BYTES);
    dx2 = dx + BYTES / 2;
    CUfunction f = program_kernel("saxpy");
    CU(cuStreamCreate(&s, 1));
    CU(cuStreamCreate(&t, 1));
    CU(cuEventCreate(&fork, 2));
    CU(cuEventCreate(&join, 2));
    CU(cuStreamBeginCapture_v2(s, 0));
    CU(cuEventRecord(fork, s));
    CU(cuStreamWaitEvent(t, fork, 0));
    CU(cuLaunchKernel(f, 4, 1, 1, 256, 1, 1, 0, s, low, NULL));
    CU(cuLaunchKernel(f, 4, 1, 1, 256, 1, 1, 0, t, high, NULL));
    CU(cuEventRecord(join, t));
    CU(cuStreamWaitEvent(s, join, 0));
    CU(cuStreamIsCapturing(s, &status));
    SAME(status == 1, status);
    CU(cuStreamEndCapture(s, &g));
    CU(cuGraphGetNodes(g, NULL, &nodes));
    SAME(nodes == 2, nodes);
    CU(cuGraphInstantiateWithFlags(&e, g, 0));
    for (int i = 0; i < LAUNCHES; i++)
        CU(cuGraphLaunch(e, i % 2 ? s : t));
    CU(cuCtxSynchronize());
    program_get(y, dy, BYTES);
    for (int i = 0; i < N; i++)
        SAME(y[i] == LAUNCHES * x[i], i);
    CU(cuGraphExecDestroy(e));
    CU(cuGraphDestroy(g));
    CU(cuEventDestroy_v2(fork));
    CU(cuEventDestroy_v2(join));
    CU(cuStreamDestroy_v2(s));
    CU(cuStreamDestroy_v2(t));
}

/* What a capture does not allow, with CUDA's own results. */
static void not_captured(void)
{
    enum { ILLEGAL_STATE = 401, UNSUPPORTED = 900, INVALIDATED = 901, UNJOINED = 904 };
    CUgraph g;
    CUstream s, t;
    CUevent fork;
    CUdeviceptr d;

    CU(cuStreamCreate(&s, 1));
    CU(cuStreamCreate(&t, 1));
    CU(cuEventCreate(&fork, 2));
    CU_IS(ILLEGAL_STATE, cuStreamEndCapture(s, &g));
    CU_IS(UNSUPPORTED, cuStreamBeginCapture_v2(NULL, 0));
    CU(cuStreamBeginCapture_v2(s, 0));
    CU_IS(UNSUPPORTED, cuStreamSynchronize(s));
    CU_IS(INVALIDATED, cuStreamEndCapture(s, &g));
    CU(cuStreamBeginCapture_v2(s, 0));
    CU_IS(UNSUPPORTED, cuMemAlloc_v2(&d, 16));
    CU_IS(INVALIDATED, cuStreamEndCapture(s, &g));
    d = program_put(NULL, 64);
    CU(cuCtxSynchronize());
    CU(cuStreamBeginCapture_v2(s, 0));
    CU(cuEventRecord(fork, s));
    CU(cuStreamWaitEvent(t, fork, 0));
    CU(cuMemsetD32Async(d, 1, 16, t));
    CU_IS(UNJOINED, cuStreamEndCapture(s, &g));
    CU(cuMemsetD32Async(d, 7, 16, s)); /* all is as it was */
    CU(cuStreamSynchronize(s));
    program_get(x, d, 64);
    uint32_t first;
    memcpy(&first, x, 4);
    SAME(first == 7, first);
    CU(cuEventDestroy_v2(fork));
    CU(cuStreamDestroy_v2(s));
    CU(cuStreamDestroy_v2(t));
}

/* Memory that comes and goes in a stream's order, again and again. */
static void pools(void)
{
    enum { THRESHOLD = 4 };
    CUmemoryPool pool;
    CUstream s;
    CUdevice device;
    CUdeviceptr dx, dy;
    float k = 3;
    int n = N;
    uint64_t most = UINT64_MAX;
    void *params[] = {&k, &dx, &dy, &n};

    CU(cuDeviceGet(&device, 0));
    CU(cuDeviceGetDefaultMemPool(&pool, device));
    CU(cuStreamCreate(&s, 1));
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    CUfunction f = program_kernel("saxpy");
    for (int round = 0; round < 2 * ROUNDS; round++) {
        if (round == ROUNDS)
            CU(cuMemPoolSetAttribute(pool, THRESHOLD, &most));
        CU(cuMemAllocAsync(&dx, BYTES, s));
        CU(cuMemAllocAsync(&dy, BYTES, s));
        CU(cuMemcpyHtoDAsync_v2(dx, x, BYTES, s));
        CU(cuMemsetD32Async(dy, 0, N, s));
        CU(cuLaunchKernel(f, 16, 1, 1, 256, 1, 1, 0, s, params, NULL));
        CU(cuMemcpyDtoHAsync_v2(y, dy, BYTES, s));
        CU(cuMemFreeAsync(dx, s));
        CU(cuMemFreeAsync(dy, s));
        CU(cuStreamSynchronize(s));
        for (int i = 0; i < N; i++)
            SAME(y[i] == 3 * x[i], i);
    }
    most = 0;
    CU(cuMemPoolSetAttribute(pool, THRESHOLD, &most));
    CU(cuStreamDestroy_v2(s));
}

/* One address for both sides, where the device has that. */
static void managed(void)
{
    enum { MANAGED_MEMORY = 83, ATTACH_GLOBAL = 1 };
    CUdevice device;
    CUdeviceptr dx, dy;
    int has = 0;

    CU(cuDeviceGet(&device, 0));
    CU(cuDeviceGetAttribute(&has, MANAGED_MEMORY, device));
    if (!has) {
        program_lacks("managed memory");
        return;
    }
    CU(cuMemAllocManaged(&dx, BYTES, ATTACH_GLOBAL));
    CU(cuMemAllocManaged(&dy, BYTES, ATTACH_GLOBAL));
    float *mx = (float *)(uintptr_t)dx, *my = (float *)(uintptr_t)dy;
    for (int i = 0; i < N; i++) {
        mx[i] = (float)i;
        my[i] = 1;
    }
    for (int round = 1; round <= ROUNDS; round++) {
        LAUNCH("saxpy", 16, 1, 256, 1, 0, program_bits(2), dx, dy, N);
        CU(cuCtxSynchronize());
        for (int i = 0; i < N; i++) {
            SAME(my[i] == 2 * mx[i] + 1, i);
            mx[i] += 1;
            my[i] = 1;
        }
    }
    CU(cuMemFree_v2(dx));
    CU(cuMemFree_v2(dy));
    printf("managed: %d rounds\n", ROUNDS);
}

static void double_all(void *data)
{
    float *v = data;

    for (int i = 0; i < N; i++)
        v[i] *= 2;
}

/* A function of the host changes what is copied next. */
static void host_functions(void)
{
    CUstream s;
    void *host;
    CUdeviceptr d = program_put(NULL, BYTES);

    CU(cuMemAllocHost_v2(&host, BYTES));
    CU(cuStreamCreate(&s, 1));
    CU(cuCtxSynchronize());
    float *v = host;
    for (int i = 0; i < N; i++)
        v[i] = 1;
    for (int round = 0; round < ROUNDS; round++) {
        CU(cuLaunchHostFunc(s, double_all, host));
        CU(cuMemcpyHtoDAsync_v2(d, host, BYTES, s));
        CU(cuMemcpyDtoHAsync_v2(host, d, BYTES, s));
    }
    CU(cuStreamSynchronize(s));
    for (int i = 0; i < N; i++)
        SAME(v[i] == (float)(1 << ROUNDS), i);
    program_get(y, d, BYTES);
    SAME(memcmp(y, host, BYTES) == 0, 0);
    CU(cuMemFreeHost(host));
    CU(cuStreamDestroy_v2(s));
}

/* What a launch of many kernels costs, one by one and as a graph. */
void graphs_measure(void)
{
    enum { NODES = 100, TIMES = 15 };
    CUgraph g;
    CUgraphExec e;
    CUstream s;
    float k = 1;
    int n = 1;
    CUdeviceptr dx = program_put(NULL, 4), dy = program_put(NULL, 4);
    void *params[] = {&k, &dx, &dy, &n};
    CUfunction f = program_kernel("saxpy");

    CU(cuStreamCreate(&s, 1));
    CU(cuStreamBeginCapture_v2(s, 0));
    for (int i = 0; i < NODES; i++)
        CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, params, NULL));
    CU(cuStreamEndCapture(s, &g));
    CU(cuGraphInstantiateWithFlags(&e, g, 0));
    CU(cuCtxSynchronize());
    double start = program_seconds();
    for (int i = 0; i < TIMES * NODES; i++)
        CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, params, NULL));
    double posted = program_seconds() - start;
    CU(cuCtxSynchronize());
    start = program_seconds();
    for (int i = 0; i < TIMES; i++)
        CU(cuGraphLaunch(e, s));
    double launched = program_seconds() - start;
    printf("graph: %d launches take %.1f us to post, %.1f us as a graph\n", NODES,
           posted * 1e6 / TIMES, launched * 1e6 / TIMES);
    CU(cuGraphExecDestroy(e));
    CU(cuGraphDestroy(g));
    CU(cuStreamDestroy_v2(s));
}

#define BASIC "basic.sm_80.ptx"

const struct program_case graph_cases[] = {
    {"graph", BASIC, by_hand, false},
    {"graph_changed", BASIC, changed, false},
    {"graph_captured", BASIC, captured, false},
    {"not_captured", BASIC, not_captured, false},
    {"pools", BASIC, pools, false},
    {"managed", BASIC, managed, false},
    {"host_functions", BASIC, host_functions, false},
    {0},
};
