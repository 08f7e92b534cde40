/*
 * Graphs: made by hand and captured, instantiated, launched and changed; what is refused, and how a
 * capture becomes invalid. By rings, and again by a stream of bytes.
 */
#include "tests/gpu/rig.h"

#include <pthread.h>

enum { N = 256, BYTES = N * 4 };

/* Three arrays of the device, a kernel that adds two of them, and its arguments. */
struct sum {
    CUdeviceptr out, a, b;
    uint32_t n;
    CUfunction add;
    void *args[4];
};

static void sum_begin(struct sum *s)
{
    CU_OK(MemAlloc, &s->out, (size_t)BYTES);
    CU_OK(MemAlloc, &s->a, (size_t)BYTES);
    CU_OK(MemAlloc, &s->b, (size_t)BYTES);
    s->n = N;
    s->add = rig_kernel("add");
    s->args[0] = &s->out;
    s->args[1] = &s->a;
    s->args[2] = &s->b;
    s->args[3] = &s->n;
}

static CUDA_KERNEL_NODE_PARAMS kernel_params(struct sum *s)
{
    return (CUDA_KERNEL_NODE_PARAMS){.func = s->add,
                                     .gridDimX = 1,
                                     .gridDimY = 1,
                                     .gridDimZ = 1,
                                     .blockDimX = 32,
                                     .blockDimY = 1,
                                     .blockDimZ = 1,
                                     .kernelParams = s->args};
}

static CUDA_MEMSET_NODE_PARAMS fill_params(CUdeviceptr to, unsigned value)
{
    return (CUDA_MEMSET_NODE_PARAMS){
        .dst = to, .value = value, .elementSize = 4, .width = N, .height = 1};
}

static CUDA_MEMCPY3D to_host(void *to, CUdeviceptr from)
{
    return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                           .srcDevice = from,
                           .dstMemoryType = CU_MEMORYTYPE_HOST,
                           .dstHost = to,
                           .WidthInBytes = BYTES,
                           .Height = 1,
                           .Depth = 1};
}

static void all_are(const uint32_t *v, uint32_t want)
{
    for (int i = 0; i < N; i++)
        ck_assert_uint_eq(v[i], want);
}

static void count_call(void *data)
{
    __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST);
}

/* --- by hand ---------------------------------------------------------------------------------- */

/* Two fills, side by side, then a sum, then a copy to the host and a host function. */
struct diamond {
    CUgraph g;
    CUgraphNode fill[2], add, get, call;
    uint32_t got[N];
    int calls;
};

static void diamond_make(struct diamond *d, struct sum *s, CUcontext c)
{
    const CUDA_MEMSET_NODE_PARAMS a = fill_params(s->a, 5), b = fill_params(s->b, 7);
    const CUDA_KERNEL_NODE_PARAMS k = kernel_params(s);
    const CUDA_MEMCPY3D copy = to_host(d->got, s->out);
    const CUDA_HOST_NODE_PARAMS host = {count_call, &d->calls};

    CU_OK(GraphCreate, &d->g, 0);
    CU_OK(GraphAddMemsetNode, &d->fill[0], d->g, NULL, (size_t)0, &a, c);
    CU_OK(GraphAddMemsetNode, &d->fill[1], d->g, NULL, (size_t)0, &b, c);
    CU_OK(GraphAddKernelNode, &d->add, d->g, d->fill, (size_t)2, &k);
    CU_OK(GraphAddMemcpyNode, &d->get, d->g, &d->add, (size_t)1, &copy, c);
    CU_OK(GraphAddHostNode, &d->call, d->g, &d->get, (size_t)1, &host);
}

static void launch_and_wait(CUgraphExec e, CUstream s)
{
    CU_OK(GraphLaunch, e, s);
    CU_OK(StreamSynchronize, s);
}

START_TEST(by_hand)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    struct diamond d = {0};
    CUgraphExec e;
    CUstream stream[2];
    size_t used = rig_used();

    sum_begin(&s);
    diamond_make(&d, &s, c);
    CU_OK(StreamCreate, &stream[0], 1);
    CU_OK(StreamCreate, &stream[1], 0);
    CU_OK(GraphInstantiateWithFlags, &e, d.g, (uint64_t)0);
    launch_and_wait(e, stream[0]);
    all_are(d.got, 12);
    ck_assert_int_eq(d.calls, 1);
    /* In another stream, and in the default one; again without anything in between. */
    memset(d.got, 0, BYTES);
    for (int i = 0; i < 50; i++)
        CU_OK(GraphLaunch, e, i % 3 == 2 ? NULL : stream[i % 3]);
    CU_OK(CtxSynchronize);
    all_are(d.got, 12);
    ck_assert_int_eq(d.calls, 51);
    /* A node of the executable graph is changed, and not the graph's own. */
    const CUDA_MEMSET_NODE_PARAMS ten = fill_params(s.a, 10);
    CU_OK(GraphExecMemsetNodeSetParams, e, d.fill[0], &ten, c);
    launch_and_wait(e, stream[1]);
    all_are(d.got, 17);
    CUDA_MEMSET_NODE_PARAMS told;
    CU_OK(GraphMemsetNodeGetParams, d.fill[0], &told);
    ck_assert_uint_eq(told.value, 5);
    CUDA_KERNEL_NODE_PARAMS k = kernel_params(&s);
    s.args[2] = &s.a; /* a + a */
    CU_OK(GraphExecKernelNodeSetParams, e, d.add, &k);
    launch_and_wait(e, stream[1]);
    all_are(d.got, 20);
    /* All of it as the graph has it. */
    CUgraphExecUpdateResultInfo info;
    CU_OK(GraphExecUpdate, e, d.g, &info);
    launch_and_wait(e, stream[0]);
    all_are(d.got, 12);
    /* Off and on. */
    unsigned on = 7;
    CU_OK(GraphNodeSetEnabled, e, d.fill[1], 0);
    CU_OK(MemsetD32, s.b, 1, (size_t)N);
    CU_OK(CtxSynchronize); /* the stream waits for no default stream */
    launch_and_wait(e, stream[0]);
    all_are(d.got, 6);
    CU_OK(GraphNodeGetEnabled, e, d.fill[1], &on);
    ck_assert_uint_eq(on, 0);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphDestroy, d.g);
    CU_IS(1, GraphLaunch, NULL, stream[0]);
    for (int i = 0; i < 2; i++)
        CU_OK(StreamDestroy, stream[i]);
    CU_OK(CtxDestroy, c);
    ck_assert_uint_eq(rig_used(), used);
}
END_TEST

START_TEST(asked)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    struct diamond d = {0};
    CUgraph copy, child;
    CUgraphNode nodes[8], to[8], node;
    size_t n = 8;
    int type;

    sum_begin(&s);
    diamond_make(&d, &s, c);
    CU_OK(GraphGetNodes, d.g, NULL, &n);
    ck_assert_uint_eq(n, 5);
    n = 2;
    CU_OK(GraphGetRootNodes, d.g, nodes, &n);
    ck_assert(n == 2 && nodes[0] == d.fill[0] && nodes[1] == d.fill[1]);
    n = 8;
    CU_OK(GraphGetEdges, d.g, nodes, to, NULL, &n);
    ck_assert_uint_eq(n, 4);
    ck_assert(nodes[0] == d.fill[0] && to[0] == d.add && to[3] == d.call && !to[4]);
    n = 8;
    CU_OK(GraphNodeGetDependencies, d.add, nodes, NULL, &n);
    ck_assert_uint_eq(n, 2);
    n = 8;
    CU_OK(GraphNodeGetDependentNodes, d.add, nodes, NULL, &n);
    ck_assert(n == 1 && nodes[0] == d.get);
    CU_OK(GraphNodeGetType, d.get, &type);
    ck_assert_int_eq(type, CU_GRAPH_NODE_TYPE_MEMCPY);
    CUDA_KERNEL_NODE_PARAMS k;
    CU_OK(GraphKernelNodeGetParams, d.add, &k);
    ck_assert(k.func == s.add && k.blockDimX == 32);
    ck_assert_uint_eq(*(uint64_t *)k.kernelParams[1], s.a);
    ck_assert_uint_eq(*(uint32_t *)k.kernelParams[3], N);
    /* A clone knows whose copy it is, and lives on. */
    CU_OK(GraphClone, &copy, d.g);
    CU_OK(GraphNodeFindInClone, &node, d.call, copy);
    ck_assert(node != d.call);
    CU_OK(GraphDestroy, d.g);
    /* In another graph, behind a node that does nothing. */
    CUgraphExec e;
    CU_OK(GraphCreate, &d.g, 0);
    CU_OK(GraphAddEmptyNode, &nodes[0], d.g, NULL, (size_t)0);
    CU_OK(GraphAddChildGraphNode, &nodes[1], d.g, nodes, (size_t)1, copy);
    CU_OK(GraphChildGraphNodeGetGraph, nodes[1], &child);
    ck_assert(child && child != copy);
    CU_IS(1, GraphDestroy, child);
    CU_OK(GraphDestroy, copy);
    CU_OK(GraphInstantiateWithFlags, &e, d.g, (uint64_t)0);
    launch_and_wait(e, NULL);
    all_are(d.got, 12);
    /* A node that goes takes its edges along. */
    CU_OK(GraphDestroyNode, nodes[0]);
    n = 8;
    CU_OK(GraphGetRootNodes, d.g, nodes, &n);
    ck_assert_uint_eq(n, 1);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphDestroy, d.g);
}
END_TEST

/* Nodes that wait for one another, of other graphs, twice the same. */
START_TEST(edges)
{
    CUgraph g, other;
    CUgraphNode a, b, c;
    CUgraphExec e;

    rig_begin(_i);
    CU_OK(GraphCreate, &g, 0);
    CU_OK(GraphCreate, &other, 0);
    CU_OK(GraphAddEmptyNode, &a, g, NULL, (size_t)0);
    CU_OK(GraphAddEmptyNode, &b, g, &a, (size_t)1);
    CU_OK(GraphAddEmptyNode, &c, other, NULL, (size_t)0);
    CU_IS(1, GraphAddEmptyNode, &c, g, &c, (size_t)1);
    CU_IS(1, GraphAddDependencies, g, &a, &c, NULL, (size_t)1);
    CU_IS(1, GraphAddDependencies, g, &a, &b, NULL, (size_t)1);
    CU_IS(1, GraphAddDependencies, g, &a, &a, NULL, (size_t)1);
    CU_OK(GraphAddDependencies, g, &b, &a, NULL, (size_t)1);
    CU_IS(1, GraphInstantiateWithFlags, &e, g, (uint64_t)0);
    CUDA_GRAPH_INSTANTIATE_PARAMS p = {.flags = 0};
    CU_IS(1, GraphInstantiateWithParams, &e, g, &p);
    ck_assert_int_eq(p.result_out, CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE);
    CU_OK(GraphRemoveDependencies, g, &b, &a, NULL, (size_t)1);
    CU_OK(GraphInstantiateWithParams, &e, g, &p);
    ck_assert_int_eq(p.result_out, 0);
    CU_IS(801, GraphInstantiateWithFlags, &e, g, (uint64_t)4);
    launch_and_wait(e, NULL);
    /* Another shape is no update. */
    CUgraphExecUpdateResultInfo info;
    CU_IS(910, GraphExecUpdate, e, other, &info);
    ck_assert_int_eq(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphDestroy, g);
    CU_OK(GraphDestroy, other);
}
END_TEST

/* All kinds of nodes by one function, and memory that comes with its graph. */
START_TEST(any_node)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    CUgraph g;
    CUgraphExec e;
    CUgraphNode node[6];
    CUdeviceptr d;
    int calls = 0, type;
    uint32_t got[N];

    sum_begin(&s);
    uint64_t used = rig_used();
    CU_OK(GraphCreate, &g, 0);
    CUgraphNodeParams p = {
        .type = CU_GRAPH_NODE_TYPE_MEM_ALLOC,
        .alloc = {.pool = {.alloc_type = 1, .location_type = 1}, .bytesize = BYTES}};
    CU_OK(GraphAddNode, &node[0], g, NULL, NULL, (size_t)0, &p);
    ck_assert_uint_ne(p.alloc.dptr, 0);
    s.b = p.alloc.dptr;
    p = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_MEMSET,
                            .memset.params = fill_params(s.b, 3)};
    CU_OK(GraphAddNode, &node[1], g, node, NULL, (size_t)1, &p);
    p = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_MEMSET,
                            .memset = {.params = fill_params(s.a, 4), .ctx = c}};
    CU_OK(GraphAddNode, &node[2], g, NULL, NULL, (size_t)0, &p);
    p = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_KERNEL, .kernel = kernel_params(&s)};
    CU_OK(GraphAddNode, &node[3], g, node + 1, NULL, (size_t)2, &p);
    p = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_MEM_FREE, .address = s.b};
    CU_OK(GraphAddNode, &node[4], g, node + 3, NULL, (size_t)1, &p);
    CU_OK(GraphMemFreeNodeGetParams, node[4], &d);
    ck_assert_uint_eq(d, s.b);
    CU_IS(1, GraphAddMemFreeNode, &node[5], g, NULL, (size_t)0, s.a);
    p = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_HOST, .host = {count_call, &calls}};
    CU_OK(GraphAddNode, &node[5], g, node + 3, NULL, (size_t)1, &p);
    CU_OK(GraphNodeGetType, node[5], &type);
    ck_assert_int_eq(type, CU_GRAPH_NODE_TYPE_HOST);
    CU_OK(GraphInstantiateWithFlags, &e, g, (uint64_t)0);
    launch_and_wait(e, NULL);
    CU_OK(MemcpyDtoH, got, s.out, (size_t)BYTES);
    all_are(got, 7);
    ck_assert_int_eq(calls, 1);
    /* Changed in the graph, and in what was made of it. */
    p = (CUgraphNodeParams){.type = CU_GRAPH_NODE_TYPE_MEMSET,
                            .memset.params = fill_params(s.a, 6)};
    CU_OK(GraphExecNodeSetParams, e, node[2], &p);
    launch_and_wait(e, NULL);
    CU_OK(MemcpyDtoH, got, s.out, (size_t)BYTES);
    all_are(got, 9);
    CU_OK(GraphNodeSetParams, node[2], &p);
    CU_IS(1, GraphNodeSetParams, node[3], &p);
    p.type = 13;
    CU_IS(801, GraphNodeSetParams, node[3], &p);
    CU_IS(801, GraphAddNode, &node[0], g, NULL, NULL, (size_t)0, &p);
    CU_OK(GraphDestroy, g);
    ck_assert_uint_eq(rig_used(), used + BYTES);
    CU_OK(GraphExecDestroy, e);
    CU_OK(CtxSynchronize);
    ck_assert_uint_eq(rig_used(), used);
}
END_TEST

/* --- captured --------------------------------------------------------------------------------- */

struct captured {
    CUstream s, t;
    CUevent fork, join;
    uint32_t in[N], got[N];
    int calls;
};

static void captured_begin(struct captured *x)
{
    CU_OK(StreamCreate, &x->s, 1);
    CU_OK(StreamCreate, &x->t, 1);
    CU_OK(EventCreate, &x->fork, 2);
    CU_OK(EventCreate, &x->join, 2);
}

static void captured_end(struct captured *x)
{
    CU_OK(StreamDestroy, x->s);
    CU_OK(StreamDestroy, x->t);
    CU_OK(EventDestroy, x->fork);
    CU_OK(EventDestroy, x->join);
}

/* A copy from the host in one stream, a fill in another, their sum, and a copy back. */
START_TEST(captures)
{
    struct sum s;
    struct captured x = {0};
    CUgraph g;
    CUgraphExec e;
    int status;
    uint64_t id = 0;
    size_t n = 0;

    rig_begin(_i);
    sum_begin(&s);
    captured_begin(&x);
    CU_OK(StreamIsCapturing, x.s, &status);
    ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
    CU_OK(StreamBeginCapture_v2, x.s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_OK(EventRecord, x.fork, x.s);
    CU_OK(StreamWaitEvent, x.t, x.fork, 0);
    CU_OK(MemcpyHtoDAsync, s.a, x.in, (size_t)BYTES, x.s);
    CU_OK(MemsetD32Async, s.b, 100, (size_t)N, x.t);
    CU_OK(EventRecord, x.join, x.t);
    CU_OK(StreamGetCaptureInfo_v2, x.t, &status, &id, NULL, NULL, &n);
    ck_assert(status == CU_STREAM_CAPTURE_STATUS_ACTIVE && id && n == 1);
    CU_OK(StreamWaitEvent, x.s, x.join, 0);
    CU_OK(LaunchKernel, s.add, 1, 1, 1, 32, 1, 1, 0, x.s, s.args, NULL);
    CU_OK(MemcpyDtoHAsync, x.got, s.out, (size_t)BYTES, x.s);
    CU_OK(LaunchHostFunc, x.s, count_call, &x.calls);
    CU_OK(StreamEndCapture, x.s, &g);
    CU_OK(GraphGetNodes, g, NULL, &n);
    ck_assert_uint_eq(n, 5);
    ck_assert_int_eq(x.calls, 0); /* nothing of it was done */
    CU_OK(GraphInstantiateWithFlags, &e, g, (uint64_t)0);
    CU_OK(GraphDestroy, g);
    for (uint32_t round = 1; round <= 20; round++) {
        for (int i = 0; i < N; i++)
            x.in[i] = round;
        launch_and_wait(e, x.s);
        all_are(x.got, 100 + round);
        ck_assert_int_eq(x.calls, (int)round);
    }
    CU_OK(StreamQuery, x.t); /* it is as it was */
    CU_OK(GraphExecDestroy, e);
    captured_end(&x);
}
END_TEST

/* A launch of a graph that is captured is a graph within the other. */
START_TEST(nested)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    struct diamond d = {0};
    CUgraph g;
    CUgraphExec e, outer;
    CUstream stream;
    size_t n = 0;

    sum_begin(&s);
    diamond_make(&d, &s, c);
    CU_OK(GraphInstantiateWithFlags, &e, d.g, (uint64_t)0);
    CU_OK(StreamCreate, &stream, 0);
    CU_OK(StreamBeginCapture_v2, stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    CU_OK(GraphLaunch, e, stream);
    CU_OK(GraphLaunch, e, stream);
    CU_OK(StreamEndCapture, stream, &g);
    CU_OK(GraphGetNodes, g, NULL, &n);
    ck_assert_uint_eq(n, 2);
    CU_OK(GraphInstantiateWithFlags, &outer, g, (uint64_t)0);
    launch_and_wait(outer, stream);
    all_are(d.got, 12);
    ck_assert_int_eq(d.calls, 2);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphExecDestroy, outer);
    CU_OK(GraphDestroy, g);
    CU_OK(GraphDestroy, d.g);
    CU_OK(StreamDestroy, stream);
}
END_TEST

/* Each ends its capture invalid, or is refused, with a result of CUDA's own. */
static void sync_captured(struct captured *x, struct sum *s)
{
    CU_IS(900, StreamSynchronize, x->s);
}

static void query_captured(struct captured *x, struct sum *s)
{
    CU_IS(900, StreamQuery, x->s);
}

static void allocate(struct captured *x, struct sum *s)
{
    CUdeviceptr d;

    CU_IS(900, MemAlloc, &d, (size_t)16);
}

static void sync_context(struct captured *x, struct sum *s)
{
    CU_IS(900, CtxSynchronize);
}

static void event_query(struct captured *x, struct sum *s)
{
    CU_OK(EventRecord, x->fork, x->s);
    CU_IS(907, EventQuery, x->fork);
}

static void uncaptured_event(struct captured *x, struct sum *s)
{
    CU_OK(EventRecord, x->fork, x->t);
    CU_IS(905, StreamWaitEvent, x->s, x->fork, 0);
}

static void merge(struct captured *x, struct sum *s)
{
    CUgraph g;

    CU_OK(StreamBeginCapture_v2, x->t, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_OK(EventRecord, x->fork, x->t);
    CU_IS(902, StreamWaitEvent, x->s, x->fork, 0);
    CU_IS(901, StreamEndCapture, x->t, &g);
}

static void callback(struct captured *x, struct sum *s)
{
    CU_IS(900, StreamAddCallback, x->s, count_call, NULL, 0);
}

static void destroy(struct captured *x, struct sum *s)
{
    CU_IS(900, StreamDestroy, x->s);
}

static const struct invalid {
    const char *name;
    void (*fn)(struct captured *x, struct sum *s);
} invalids[] = {
    {"synchronize", sync_captured},  {"query", query_captured},
    {"allocate", allocate},          {"synchronize the context", sync_context},
    {"ask an event", event_query},   {"wait for what is not captured", uncaptured_event},
    {"join another capture", merge}, {"a callback", callback},
    {"destroy the stream", destroy},
};

START_TEST(invalid)
{
    struct sum s;
    CUgraph g;
    int status;

    rig_begin(_i);
    sum_begin(&s);
    for (size_t i = 0; i < G_N_ELEMENTS(invalids); i++) {
        struct captured x = {0};
        g_autofree char *what = g_strdup(invalids[i].name);
        captured_begin(&x);
        CU_OK(StreamBeginCapture_v2, x.s, CU_STREAM_CAPTURE_MODE_GLOBAL);
        CU_OK(MemsetD32Async, s.a, 1, (size_t)N, x.s);
        invalids[i].fn(&x, &s);
        CU_OK(StreamIsCapturing, x.s, &status);
        ck_assert_msg(status == CU_STREAM_CAPTURE_STATUS_INVALIDATED, "%s", what);
        CU_IS(901, MemsetD32Async, s.a, 1, (size_t)N, x.s);
        CU_IS(901, StreamEndCapture, x.s, &g);
        ck_assert_ptr_null(g);
        CU_OK(StreamIsCapturing, x.s, &status);
        ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
        CU_OK(StreamSynchronize, x.s);
        captured_end(&x);
    }
}
END_TEST

/* A context's captures are in nobody's way once it is destroyed. */
START_TEST(outlived)
{
    CUcontext c = rig_begin(_i);
    CUgraph g;
    CUstream s;
    CUdeviceptr d;
    int status;

    CU_OK(StreamCreate, &s, 1);
    CU_OK(StreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_OK(CtxDestroy, c);
    CU_OK(CtxCreate_v2, &c, 0, 0);
    CU_OK(MemAlloc, &d, (size_t)16);
    CU_OK(CtxSynchronize);
    CU_OK(StreamIsCapturing, s, &status);
    ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    CU_IS(901, MemsetD32Async, d, 1, (size_t)4, s);
    CU_IS(901, StreamEndCapture, s, &g);
    CU_IS(400, StreamDestroy, s);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(StreamBeginCapture_v2, s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_OK(CtxDestroy, c);
    CU_IS(400, StreamDestroy, s); /* it went with its context */
    CU_OK(CtxCreate_v2, &c, 0, 0);
    CU_OK(MemAlloc, &d, (size_t)16);
    CU_OK(CtxDestroy, c);
}
END_TEST

/* A graph that cannot be instantiated leaves nothing in the worker, however often it is tried. */
START_TEST(tried)
{
    enum { TIMES = 70000 /* more than LIMIT_GPU_HANDLES */ };
    CUcontext c = rig_begin(_i);
    CUgraph g, child;
    CUgraphNode fill, in[2], node;
    CUgraphExec e;
    CUdeviceptr d;

    CU_OK(MemAlloc, &d, (size_t)BYTES);
    const CUDA_MEMSET_NODE_PARAMS p = fill_params(d, 1);
    CU_OK(GraphCreate, &g, 0);
    CU_OK(GraphCreate, &child, 0);
    CU_OK(GraphAddMemsetNode, &fill, g, NULL, (size_t)0, &p, c);
    for (int i = 0; i < 2; i++)
        CU_OK(GraphAddEmptyNode, &in[i], child, NULL, (size_t)0);
    CU_OK(GraphAddDependencies, child, &in[0], &in[1], NULL, (size_t)1);
    CU_OK(GraphAddDependencies, child, &in[1], &in[0], NULL, (size_t)1); /* in a circle */
    CU_OK(GraphAddChildGraphNode, &node, g, &fill, (size_t)1, child);
    int (*instantiate)() = (int (*)())rig_function("cuGraphInstantiateWithFlags");
    for (int i = 0; i < TIMES; i++)
        ck_assert_int_eq(instantiate(&e, g, (uint64_t)0), 1);
    CU_OK(CtxSynchronize);
    CU_OK(GraphDestroyNode, node);
    CU_OK(GraphInstantiateWithFlags, &e, g, (uint64_t)0);
    launch_and_wait(e, NULL);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphDestroy, g);
    CU_OK(GraphDestroy, child);
}
END_TEST

static CUgraph ended_elsewhere;

static void *end_elsewhere(void *stream)
{
    return GINT_TO_POINTER(CU(StreamEndCapture, stream, &ended_elsewhere));
}

START_TEST(misuses)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    struct captured x = {0};
    CUstream blocking;
    CUgraph g;
    CUdeviceptr d;
    pthread_t t;
    void *ended;
    int status, mode;

    sum_begin(&s);
    captured_begin(&x);
    CU_OK(StreamCreate, &blocking, 0);
    CU_IS(900, StreamBeginCapture_v2, NULL, 0);
    CU_IS(1, StreamBeginCapture_v2, x.s, 3);
    CU_IS(401, StreamEndCapture, x.s, &g);
    /* Twice; in a stream that joined; with a branch left over. */
    CU_OK(StreamBeginCapture_v2, x.s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    CU_IS(401, StreamBeginCapture_v2, x.s, 0);
    CU_OK(EventRecord, x.fork, x.s);
    CU_OK(StreamWaitEvent, x.t, x.fork, 0);
    CU_OK(MemsetD32Async, s.a, 1, (size_t)N, x.t);
    CU_IS(904, StreamEndCapture, x.s, &g);
    CU_OK(StreamBeginCapture_v2, x.s, 0);
    CU_OK(EventRecord, x.fork, x.s);
    CU_OK(StreamWaitEvent, x.t, x.fork, 0);
    CU_IS(903, StreamEndCapture, x.t, &g);
    CU_IS(901, StreamEndCapture, x.s, &g);
    /* An event of a capture that is over. */
    CU_IS(907, StreamWaitEvent, x.t, x.fork, 0);
    /* From another thread: not unless the capture is a relaxed one. */
    CU_OK(StreamBeginCapture_v2, x.s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    ck_assert_int_eq(pthread_create(&t, NULL, end_elsewhere, x.s), 0);
    ck_assert_int_eq(pthread_join(t, &ended), 0);
    ck_assert_int_eq(GPOINTER_TO_INT(ended), 908);
    CU_IS(901, StreamEndCapture, x.s, &g);
    CU_OK(StreamBeginCapture_v2, x.s, CU_STREAM_CAPTURE_MODE_RELAXED);
    CU_OK(MemAlloc, &d, (size_t)16); /* nor does it forbid anything */
    ck_assert_int_eq(pthread_create(&t, NULL, end_elsewhere, x.s), 0);
    ck_assert_int_eq(pthread_join(t, &ended), 0);
    ck_assert_int_eq(GPOINTER_TO_INT(ended), 0);
    CU_OK(GraphDestroy, ended_elsewhere);
    /* A thread that says it knows what it does. */
    mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    CU_OK(ThreadExchangeStreamCaptureMode, &mode);
    ck_assert_int_eq(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_OK(StreamBeginCapture_v2, x.s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_OK(MemAlloc, &d, (size_t)16);
    CU_OK(StreamEndCapture, x.s, &g);
    CU_OK(GraphDestroy, g);
    CU_OK(ThreadExchangeStreamCaptureMode, &mode);
    /* The default stream waits for streams that block, and for no others. */
    CU_OK(StreamBeginCapture_v2, x.s, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_OK(MemsetD32Async, s.a, 1, (size_t)N, NULL);
    CU_OK(StreamEndCapture, x.s, &g);
    CU_OK(GraphDestroy, g);
    CU_OK(StreamBeginCapture_v2, blocking, CU_STREAM_CAPTURE_MODE_GLOBAL);
    CU_IS(906, StreamIsCapturing, NULL, &status);
    CU_IS(906, MemsetD32Async, s.a, 1, (size_t)N, NULL);
    CU_IS(901, StreamEndCapture, blocking, &g);
    CU_OK(StreamDestroy, blocking);
    captured_end(&x);
    CU_OK(CtxDestroy, c);
}
END_TEST

/* --- order ------------------------------------------------------------------------------------ */

/* A launch is over before anything of it is done, also where it has the program's work in it. */
START_TEST(launches_do_not_wait)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    struct diamond d = {0};
    CUgraphExec e;
    CUstream stream;
    CUdeviceptr flag;

    sum_begin(&s);
    diamond_make(&d, &s, c);
    CU_OK(MemAlloc, &flag, (size_t)4);
    CU_OK(MemsetD32, flag, 0, (size_t)1);
    CU_OK(CtxSynchronize);
    CU_OK(StreamCreate, &stream, 1);
    CU_OK(GraphInstantiateWithFlags, &e, d.g, (uint64_t)0);
    CU_OK(StreamWaitValue32, stream, flag, 1, 1);
    for (int i = 0; i < 20; i++)
        CU_OK(GraphLaunch, e, stream);
    CU_IS(600, StreamQuery, stream);
    ck_assert_int_eq(d.calls, 0);
    CU_OK(StreamWriteValue32, NULL, flag, 1, 0);
    CU_OK(StreamSynchronize, stream);
    ck_assert_int_eq(d.calls, 20);
    all_are(d.got, 12);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphDestroy, d.g);
    CU_OK(StreamDestroy, stream);
}
END_TEST

/* More than any stream takes at once. */
START_TEST(many_launches)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    CUgraph g;
    CUgraphExec e;
    CUgraphNode node[3];
    uint32_t got[N];
    enum { LAUNCHES = 2 * LIMIT_GPU_QUEUED / 3 };

    sum_begin(&s);
    const CUDA_MEMSET_NODE_PARAMS one = fill_params(s.b, 1);
    const CUDA_KERNEL_NODE_PARAMS k = kernel_params(&s);
    CU_OK(MemsetD32, s.a, 0, (size_t)N);
    CU_OK(GraphCreate, &g, 0);
    CU_OK(GraphAddMemsetNode, &node[0], g, NULL, (size_t)0, &one, c);
    s.out = s.a; /* a += b */
    CU_OK(GraphAddKernelNode, &node[1], g, node, (size_t)1, &k);
    CU_OK(GraphAddKernelNode, &node[2], g, node + 1, (size_t)1, &k);
    CU_OK(GraphInstantiateWithFlags, &e, g, (uint64_t)0);
    for (int i = 0; i < LAUNCHES; i++)
        CU_OK(GraphLaunch, e, NULL);
    CU_OK(MemcpyDtoH, got, s.a, (size_t)BYTES);
    all_are(got, 2 * LAUNCHES);
    for (int i = 0; i < 2 * LIMIT_GPU_QUEUED; i++)
        CU_OK(LaunchKernel, s.add, 1, 1, 1, 32, 1, 1, 0, NULL, s.args, NULL);
    CU_OK(MemcpyDtoH, got, s.a, (size_t)BYTES);
    all_are(got, 2 * LAUNCHES + 2 * LIMIT_GPU_QUEUED);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphDestroy, g);
}
END_TEST

static void write_host(void *data)
{
    uint32_t *v = data;

    g_usleep(2000);
    for (int i = 0; i < N; i++)
        v[i]++;
}

/* What the program's side does in a stream is in its order, with copies of the same memory. */
START_TEST(host_order)
{
    CUstream s;
    CUdeviceptr a, b;
    uint32_t *host, *back;

    rig_begin(_i);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(MemAlloc, &a, (size_t)BYTES);
    CU_OK(MemAlloc, &b, (size_t)BYTES);
    CU_OK(MemAllocHost, &host, (size_t)BYTES);
    CU_OK(MemAllocHost, &back, (size_t)BYTES);
    memset(host, 0, BYTES);
    for (uint32_t round = 1; round <= 10; round++) {
        CU_OK(LaunchHostFunc, s, write_host, host);
        CU_OK(MemcpyHtoDAsync, a, host, (size_t)BYTES, s);
        CU_OK(MemcpyDtoHAsync, back, a, (size_t)BYTES, s);
        CU_OK(MemcpyHtoDAsync, b, back, (size_t)BYTES, s);
        CU_OK(MemsetD32Async, a, 0, (size_t)N, s);
        CU_OK(MemcpyDtoHAsync, host, b, (size_t)BYTES, s);
        CU_OK(StreamSynchronize, s);
        all_are(host, round);
    }
    CU_OK(StreamDestroy, s);
}
END_TEST

/* Many copies stand behind a host function, and nobody waits for ever. */
START_TEST(behind_a_host_function)
{
    enum { COPIES = 600, LARGE = 64 * 1024 };
    g_autofree uint32_t *one = g_malloc0(LARGE);
    CUstream s;
    CUdeviceptr d;
    uint8_t *host;

    rig_begin(_i);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(MemAlloc, &d, (size_t)LARGE);
    CU_OK(MemsetD8, d, 7, (size_t)LARGE);
    CU_OK(MemAllocHost, &host, (size_t)LARGE);
    for (int i = 0; i < 3; i++) {
        CU_OK(LaunchHostFunc, s, write_host, one);
        CU_OK(MemcpyHtoDAsync, d, host, (size_t)1, s);
    }
    for (int i = 0; i < COPIES; i++)
        CU_OK(MemcpyDtoHAsync, host, d, (size_t)LARGE, s);
    CU_OK(StreamSynchronize, s);
    ck_assert_uint_eq(host[LARGE - 1], 7);
    ck_assert_uint_eq(one[0], 3);
    CU_OK(StreamDestroy, s);
}
END_TEST

static void wait_for_word(void *data)
{
    while (!__atomic_load_n((int *)data, __ATOMIC_ACQUIRE))
        g_usleep(100);
}

/* What failed is told by the next question, though its answer is that something goes on. */
START_TEST(late)
{
    CUstream s;
    CUdeviceptr d;
    int word = 0;

    rig_begin(_i);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(MemAlloc, &d, (size_t)BYTES);
    CU_OK(MemFree, d);
    CU_OK(LaunchHostFunc, s, wait_for_word, &word);
    CU_OK(MemsetD32Async, d, 1, (size_t)N, NULL);
    CU_IS(1, StreamQuery, s);
    CU_IS(600, StreamQuery, s);
    __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
    CU_OK(StreamSynchronize, s);
    CU_OK(StreamDestroy, s);
}
END_TEST

/* A worker that has errors, and a context that goes, end what graphs there are. */
START_TEST(errors)
{
    CUcontext c = rig_begin(_i);
    struct sum s;
    struct diamond d = {0};
    CUgraphExec e;

    sum_begin(&s);
    diamond_make(&d, &s, c);
    CU_OK(GraphInstantiateWithFlags, &e, d.g, (uint64_t)0);
    CU_OK(MemFree, s.a); /* the launch is asked, and what it needs is not there any more */
    CU_OK(GraphLaunch, e, NULL);
    CU_IS(1, CtxSynchronize);
    CU_OK(LaunchKernel, rig_kernel("fault"), 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU_OK(GraphLaunch, e, NULL);
    CU_IS(700, CtxSynchronize);
    CU_OK(CtxDestroy, c);
    CU_OK(GraphExecDestroy, e);
    CU_OK(GraphDestroy, d.g);
    CU_OK(CtxCreate_v2, &c, 0, 0);
    CU_OK(CtxSynchronize);
    ck_assert_int_eq(d.calls, 1); /* no host function is called after the fault */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-graph");
    TCase *tc = tcase_create("gpu-graph");

    tcase_add_checked_fixture(tc, NULL, rig_end);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, by_hand, 0, 2);
    tcase_add_loop_test(tc, asked, 0, 2);
    tcase_add_loop_test(tc, edges, 0, 2);
    tcase_add_loop_test(tc, any_node, 0, 2);
    tcase_add_loop_test(tc, captures, 0, 2);
    tcase_add_loop_test(tc, nested, 0, 2);
    tcase_add_loop_test(tc, invalid, 0, 2);
    tcase_add_loop_test(tc, outlived, 0, 2);
    tcase_add_loop_test(tc, tried, 0, 2);
    tcase_add_loop_test(tc, misuses, 0, 2);
    tcase_add_loop_test(tc, launches_do_not_wait, 0, 2);
    tcase_add_loop_test(tc, many_launches, 0, 2);
    tcase_add_loop_test(tc, host_order, 0, 2);
    tcase_add_loop_test(tc, behind_a_host_function, 0, 2);
    tcase_add_loop_test(tc, late, 0, 2);
    tcase_add_loop_test(tc, errors, 0, 2);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
