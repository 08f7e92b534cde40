/*
 * The whole way of a call: a program with libcuda.so.1, its channel, a worker's session, streams,
 * and an engine whose kernels are C. By rings, and again by a stream of bytes.
 */
#include "tests/gpu/by_hand.h"
#include "tests/gpu/rig.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* Two numbers, added by the device: of 1 KiB (in records), and of more than the window has. */
START_TEST(add)
{
    enum { SMALL = 256, LARGE = 3 << 20 };
    CUcontext c = rig_begin(_i);
    CUfunction f = rig_kernel("add");

    for (uint32_t n = SMALL; n <= LARGE; n = n == LARGE ? n + 1 : LARGE) {
        g_autofree uint32_t *a = g_new(uint32_t, n), *b = g_new(uint32_t, n),
                            *out = g_new0(uint32_t, n);
        CUdeviceptr da, db, dout;
        for (uint32_t i = 0; i < n; i++) {
            a[i] = i * 7;
            b[i] = i ^ 0x5555;
        }
        CU_OK(MemAlloc, &da, (size_t)n * 4);
        CU_OK(MemAlloc, &db, (size_t)n * 4);
        CU_OK(MemAlloc, &dout, (size_t)n * 4);
        CU_OK(MemcpyHtoD, da, a, (size_t)n * 4);
        CU_OK(MemcpyHtoDAsync, db, b, (size_t)n * 4, NULL);
        CU_OK(LaunchKernel, f, 1, 1, 1, 32, 1, 1, 0, NULL, ((void *[]){&dout, &da, &db, &n}), NULL);
        CU_OK(MemcpyDtoH, out, dout, (size_t)n * 4);
        for (uint32_t i = 0; i < n; i++)
            a[i] += b[i];
        ck_assert(memcmp(out, a, (size_t)n * 4) == 0);
        CU_OK(MemFree, da);
        CU_OK(MemFree, db);
        CU_OK(MemFree, dout);
        CU_IS(1, MemFree, dout);
    }
    CU_OK(CtxDestroy, c);
    ck_assert_uint_eq(rig_used(), 0);
}
END_TEST

static const struct mistake {
    const char *name;
    int grid, block, rc;
} mistakes[] = {
    {"as it should be", 1, 512, 0},
    {"more threads than the kernel takes", 1, 1000, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES},
    {"more threads than the device has", 1, 1025, CUDA_ERROR_INVALID_VALUE},
    {"no blocks", 0, 1, CUDA_ERROR_INVALID_VALUE},
    {"no threads", 1, 0, CUDA_ERROR_INVALID_VALUE},
};

START_TEST(errors)
{
    CUmodule m;
    CUfunction f;
    CUdeviceptr d = 0;
    char log[64] = "", name_of[8];
    int options[] = {5, 6};
    void *values[] = {log, (void *)sizeof(log)};
    const char *name = NULL;

    rig_begin(_i);
    CU_IS(218, ModuleLoadDataEx, &m, "nonsense", 2, options, values);
    ck_assert_str_eq(log, "line 1: no kernels");
    f = rig_kernel("fault");
    CU_OK(FuncGetModule, &m, f);
    CU_IS(500, ModuleGetFunction, &f, m, "none");
    CU_IS(500, ModuleGetGlobal, &d, NULL, m, "none");
    f = rig_kernel("spin");
    for (size_t i = 1; i < G_N_ELEMENTS(mistakes); i++)
        ck_assert_msg(CU(LaunchKernel, f, mistakes[i].grid, 1, 1, mistakes[i].block, 1, 1, 0, NULL,
                         NULL, NULL) == mistakes[i].rc,
                      "%s", mistakes[i].name);
    CU_IS(2, MemAlloc, &d, (size_t)MIB(65));
    CU_IS(2, MemAlloc, &d, (size_t)1 << 60);
    CU_IS(1, MemcpyDtoH, name_of, (CUdeviceptr)4096, (size_t)8);
    CU_IS(801, ArrayDestroy, NULL);
    CU_OK(GetErrorName, 218, &name);
    ck_assert_str_eq(name, "CUDA_ERROR_INVALID_PTX");
    CU_OK(CtxSynchronize);
}
END_TEST

/* One image goes through the linker as it is; two are not joined. */
START_TEST(links)
{
    void *link = NULL, *image = NULL;
    size_t bytes = 0;
    CUmodule m;
    CUfunction f;

    rig_begin(_i);
    CU_OK(LinkCreate, 0, NULL, NULL, &link);
    CU_IS(200, LinkComplete, link, &image, &bytes);
    CU_OK(LinkAddData, link, 1, "kernels", (size_t)8, "name", 0, NULL, NULL);
    CU_IS(801, LinkAddData, link, 1, "kernels", (size_t)8, "name", 0, NULL, NULL);
    CU_OK(LinkComplete, link, &image, &bytes);
    ck_assert_uint_eq(bytes, 8);
    CU_OK(ModuleLoadData, &m, image);
    CU_OK(LinkDestroy, link);
    CU_OK(ModuleGetFunction, &f, m, "add");
    CU_IS(301, ModuleLoad, &m, "/nowhere");
}
END_TEST

/* The name of a function for a version of CUDA is that version's. */
static const struct lookup {
    const char *name;
    int version, rc, status;
    const char *symbol;
} lookups[] = {
    {"cuMemAlloc", 3020, 0, 0, "cuMemAlloc_v2"},
    {"cuCtxCreate", 11000, 0, 0, "cuCtxCreate_v2"},
    {"cuCtxCreate", 12000, 0, 0, "cuCtxCreate_v3"},
    {"cuCtxCreate", 13000, 0, 0, "cuCtxCreate_v4"},
    {"cuStreamGetCaptureInfo", 12000, 0, 0, "cuStreamGetCaptureInfo_v2"},
    {"cuStreamGetCaptureInfo", 13000, 0, 0, "cuStreamGetCaptureInfo_v3"},
    {"cuGraphInstantiate", 11040, 0, 0, "cuGraphInstantiate_v2"},
    {"cuGraphInstantiate", 12000, 0, 0, "cuGraphInstantiateWithFlags"},
    {"cuStreamWaitValue32", 8000, 500, 2, NULL},
    {"cuNothing", 13000, 500, 1, NULL},
};

START_TEST(lookups_by_version)
{
    rig_begin(_i);
    for (size_t i = 0; i < G_N_ELEMENTS(lookups); i++) {
        const struct lookup *l = &lookups[i];
        void *fn = NULL;
        int status = -1;
        int rc = CU(GetProcAddress_v2, l->name, &fn, l->version, (uint64_t)0, &status);
        ck_assert_msg(rc == l->rc && status == l->status, "%s: %d, %d", l->name, rc, status);
        ck_assert_msg(!l->symbol || fn == rig_function(l->symbol), "%s of %d", l->name, l->version);
    }
}
END_TEST

/* What a kernel did sticks to its context, and to no other. */
START_TEST(sticks)
{
    CUcontext bad = rig_begin(_i), good;
    CUdeviceptr d;
    CUfunction f = rig_kernel("fault");

    CU_OK(LaunchKernel, f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU_IS(700, CtxSynchronize);
    CU_IS(700, MemAlloc, &d, (size_t)16);
    CU_IS(700, CtxSynchronize);
    CU_OK(CtxDestroy, bad);
    CU_OK(CtxCreate_v2, &good, 0, 0);
    CU_OK(MemAlloc, &d, (size_t)16);
    CU_OK(CtxSynchronize);
}
END_TEST

/* There are not more than so many; those that were freed count no more. */
START_TEST(many_contexts)
{
    enum { MOST = LIMIT_GPU_CONTEXTS };
    CUcontext c[MOST], more;

    c[0] = rig_begin(_i);
    for (int n = 1; n < MOST; n++) {
        CU_OK(CtxCreate_v2, &c[n], 0, 0);
        CU_OK(CtxPopCurrent, NULL);
    }
    CU_IS(CUDA_ERROR_OUT_OF_MEMORY, CtxCreate_v2, &more, 0, 0);
    CU_OK(CtxDestroy, c[MOST - 1]);
    CU_OK(CtxCreate_v2, &more, 0, 0);
}
END_TEST

static void host_function(void *data)
{
    __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST);
}

START_TEST(streams)
{
    CUstream s[2];
    CUevent e[2];
    CUdeviceptr d;
    int called = 0;
    float ms = -1;
    uint32_t out[2] = {0};

    CUcontext c = rig_begin(_i);
    for (int i = 0; i < 2; i++) {
        CU_OK(StreamCreate, &s[i], 1);
        CU_OK(EventCreate, &e[i], 0);
    }
    CU_OK(MemAlloc, &d, (size_t)64);
    CU_OK(MemsetD32, d, 0, (size_t)16);
    CU_OK(EventRecord, e[0], s[0]);
    CU_OK(StreamWaitValue32, s[0], d, 5, 1); /* until the other stream has written */
    CU_OK(MemsetD32Async, d + 4, 7, (size_t)1, s[0]);
    CU_OK(EventRecord, e[1], s[0]);
    CU_IS(600, EventQuery, e[1]);
    CU_IS(600, StreamQuery, s[0]);
    CU_IS(600, EventElapsedTime, &ms, e[0], e[1]);
    CU_OK(LaunchHostFunc, s[1], host_function, &called);
    CU_OK(StreamWriteValue32, s[1], d, 5, 0);
    CU_OK(StreamWaitEvent, s[1], e[1], 0);
    CU_OK(MemcpyDtoHAsync, out, d, sizeof(out), s[1]);
    CU_OK(StreamSynchronize, s[1]);
    ck_assert_int_eq(called, 1);
    ck_assert_uint_eq(out[0], 5);
    ck_assert_uint_eq(out[1], 7);
    CU_OK(EventSynchronize, e[1]);
    CU_OK(EventElapsedTime, &ms, e[0], e[1]);
    ck_assert(ms >= 0);
    for (int i = 0; i < 2; i++) {
        CU_OK(StreamDestroy, s[i]);
        CU_OK(EventDestroy, e[i]);
    }
    CU_IS(400, EventQuery, NULL);
    CU_OK(CtxDestroy, c);
}
END_TEST

/* Rows with gaps on both sides, of lengths that fit nothing. */
START_TEST(rows)
{
    enum { WIDTH = 1001, PITCH = 1100, ROWS = 700 };
    g_autofree uint8_t *from = g_malloc0(PITCH * ROWS), *to = g_malloc0(PITCH * ROWS);
    CUdeviceptr d;
    size_t pitch = 0;

    rig_begin(_i);
    for (int i = 0; i < PITCH * ROWS; i++)
        from[i] = (uint8_t)(i * 13 + i / 256);
    CU_OK(MemAllocPitch, &d, &pitch, (size_t)WIDTH, (size_t)ROWS, 4);
    CUDA_MEMCPY2D in = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = from,
                        .srcPitch = PITCH,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                        .dstDevice = d,
                        .dstPitch = pitch,
                        .WidthInBytes = WIDTH,
                        .Height = ROWS};
    CUDA_MEMCPY2D out = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                         .srcDevice = d,
                         .srcPitch = pitch,
                         .dstMemoryType = CU_MEMORYTYPE_HOST,
                         .dstHost = to,
                         .dstPitch = PITCH,
                         .WidthInBytes = WIDTH,
                         .Height = ROWS};
    CU_OK(Memcpy2D, &in);
    CU_OK(Memcpy2D, &out);
    for (int y = 0; y < ROWS; y++) {
        ck_assert(memcmp(from + y * PITCH, to + y * PITCH, WIDTH) == 0);
        ck_assert_uint_eq(to[y * PITCH + WIDTH], 0);
    }
}
END_TEST

/* --- several threads ----------------------------------------------------------------------------
 */

enum { WORKERS = 4, WORK_ROUNDS = 40, WORK_N = 5000 };

struct work {
    CUcontext context;
    CUfunction add;
    uint32_t seed, bad;
    int calls;
};

/* Copies, kernels, events and host functions in a stream of its own; each round's result is the
 * last one's and the seed. */
static void *work(void *opaque)
{
    struct work *w = opaque;
    uint32_t *host = NULL, n = WORK_N;
    CUdeviceptr a, b;
    CUstream s;
    CUevent e;
    int rc = CU(CtxSetCurrent, w->context);

    rc |= CU(StreamCreate, &s, 1) | CU(EventCreate, &e, 0);
    rc |= CU(MemAllocHost, &host, (size_t)WORK_N * 4);
    rc |= CU(MemAllocAsync, &a, (size_t)WORK_N * 4, s);
    rc |= CU(MemAllocAsync, &b, (size_t)WORK_N * 4, s);
    rc |= CU(MemsetD32Async, b, w->seed, (size_t)WORK_N, s);
    memset(host, 0, WORK_N * 4);
    for (uint32_t round = 1; round <= WORK_ROUNDS && !rc; round++) {
        rc |= CU(MemcpyHtoDAsync, a, host, (size_t)WORK_N * 4, s);
        rc |= CU(LaunchKernel, w->add, 1, 1, 1, 32, 1, 1, 0, s, ((void *[]){&a, &a, &b, &n}), NULL);
        rc |= CU(MemcpyDtoHAsync, host, a, (size_t)WORK_N * 4, s);
        rc |= CU(LaunchHostFunc, s, host_function, &w->calls);
        rc |= CU(EventRecord, e, s);
        rc |= round % 2 ? CU(EventSynchronize, e) : CU(StreamSynchronize, s);
        for (int i = 0; i < WORK_N; i++)
            w->bad += host[i] != round * w->seed;
        w->bad += w->calls != (int)round;
    }
    rc |= CU(MemFreeAsync, a, s) | CU(MemFreeAsync, b, s);
    rc |= CU(StreamSynchronize, s);
    rc |= CU(StreamDestroy, s) | CU(EventDestroy, e) | CU(MemFreeHost, host);
    return GINT_TO_POINTER(rc);
}

START_TEST(threads)
{
    CUcontext c = rig_begin(_i);
    CUfunction f = rig_kernel("add");
    struct work w[WORKERS];
    GThread *thread[WORKERS];

    for (uint32_t i = 0; i < WORKERS; i++) {
        w[i] = (struct work){.context = c, .add = f, .seed = i + 3};
        thread[i] = g_thread_new("work", work, &w[i]);
    }
    for (int i = 0; i < WORKERS; i++) {
        ck_assert_int_eq(GPOINTER_TO_INT(g_thread_join(thread[i])), 0);
        ck_assert_uint_eq(w[i].bad, 0);
    }
    CU_OK(CtxDestroy, c);
    ck_assert_uint_eq(rig_used(), 0);
}
END_TEST

static int begin_retaining;

static void *retain(void *opaque)
{
    CUcontext c = NULL;

    while (!__atomic_load_n(&begin_retaining, __ATOMIC_ACQUIRE))
        ;
    return CU(DevicePrimaryCtxRetain, &c, 0) ? NULL : c;
}

/* Whoever is first, a device has one primary context; it goes with the last who has it. */
START_TEST(primary)
{
    enum { ROUNDS = 20 };
    GThread *thread[WORKERS];
    unsigned flags;
    int active;

    rig_begin(_i);
    for (int round = 0; round < ROUNDS; round++) {
        CUcontext first = NULL;
        __atomic_store_n(&begin_retaining, 0, __ATOMIC_RELEASE);
        for (int i = 0; i < WORKERS; i++)
            thread[i] = g_thread_new("retain", retain, NULL);
        __atomic_store_n(&begin_retaining, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < WORKERS; i++) {
            CUcontext c = g_thread_join(thread[i]);
            first = i ? first : c;
            ck_assert(c && c == first);
        }
        for (int i = 0; i < WORKERS; i++) {
            CU_OK(DevicePrimaryCtxGetState, 0, &flags, &active);
            ck_assert_int_eq(active, 1);
            CU_OK(DevicePrimaryCtxRelease, 0);
        }
        CU_IS(201, DevicePrimaryCtxRelease, 0);
    }
}
END_TEST

/* --- records by hand ----------------------------------------------------------------------------
 */

/* As many equal records as fit into one part of a batch. */
static uint32_t fill_part(uint8_t *part, unsigned op, const void *fields)
{
    const struct record_desc *desc = record_desc(op);
    struct gpu_call_head head = {.bytes = record_call_bytes(desc->call_bytes, 0),
                                 .op = (uint16_t)op,
                                 .flags = GPU_CALL_ASYNC};
    uint32_t at = 0;

    for (; at + head.bytes <= GPU_INLINE; at += head.bytes) {
        memcpy(part + at, &head, sizeof(head));
        memcpy(part + at + sizeof(head), fields, desc->call_bytes);
    }
    return at;
}

enum { BATCH = 5, OTHER = 6, CONTEXT = 1 };

/* What batches take is bounded, and what cannot be in one is not taken. */
START_TEST(batches)
{
    struct by_hand h = {.env = {.backend = backend_queue_new(&engine_test), .quota = &rig_quota}};
    const struct gpu_call_hello hello = {GPU_VERSION, GPU_OLDEST};
    const struct gpu_call_ctx_new context = {.ctx = CONTEXT};
    const struct gpu_call_batch_new batch = {CONTEXT, BATCH}, other = {CONTEXT, OTHER};
    const struct gpu_call_batch_part part = {BATCH}, more = {OTHER};
    const struct gpu_call_batch_free gone = {BATCH};
    const struct gpu_call_value_write write = {.address = 4096, .bytes = 8};
    const struct gpu_call_ctx_sync sync = {CONTEXT};
    const struct gpu_call_batch_run run = {BATCH, CONTEXT};
    g_autofree uint8_t *records = g_malloc0(GPU_INLINE);
    uint64_t kept = 0;

    by_hand_begin(&h);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_HELLO, &hello, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_NEW, &batch, "", 0), GPU_INVALID_CONTEXT);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_CTX_NEW, &context, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_PART, &part, "", 0), GPU_INVALID_HANDLE);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_NEW, &batch, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_NEW, &batch, "", 0), GPU_INVALID_HANDLE);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_NEW, &other, "", 0), 0);
    uint32_t bytes = fill_part(records, GPU_OP_CTX_SYNC, &sync);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_PART, &part, records, bytes), GPU_INVALID_VALUE);
    bytes = fill_part(records, GPU_OP_VALUE_WRITE, &write);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_PART, &part, records, bytes - 8),
                     GPU_INVALID_VALUE);
    for (; kept + bytes <= MIB(LIMIT_GPU_BATCHED_MIB); kept += bytes)
        ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_PART, &part, records, bytes), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_PART, &more, records, bytes),
                     GPU_OUT_OF_RESOURCES);
    /* Nothing is at that address; and more than a stream takes is refused. */
    int rc = by_hand_ask(&h, GPU_OP_BATCH_RUN, &run, "", 0);
    ck_assert_msg(rc == GPU_OUT_OF_RESOURCES || rc == GPU_ILLEGAL_ADDRESS, "%d", rc);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_FREE, &gone, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_RUN, &run, "", 0), GPU_INVALID_HANDLE);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_BATCH_PART, &more, records, bytes), 0);
    by_hand_end(&h);
    h.env.backend->ops->close(h.env.backend);
}
END_TEST

/* Behind a function that never ends a program may wait so often, and no more. */
START_TEST(waits)
{
    struct by_hand h = {.env = {.backend = backend_queue_new(&engine_test), .quota = &rig_quota}};
    const struct gpu_call_hello hello = {GPU_VERSION, GPU_OLDEST};
    const struct gpu_call_ctx_new context = {.ctx = CONTEXT};
    const struct gpu_call_gate gate = {.stream = CONTEXT, .gate = 7};
    const struct gpu_call_ctx_sync all = {CONTEXT};
    const struct gpu_call_stream_sync one = {CONTEXT};

    by_hand_begin(&h);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_HELLO, &hello, "", 0), 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_CTX_NEW, &context, "", 0), 0);
    by_hand_say(&h, GPU_OP_GATE, GPU_CALL_ASYNC, &gate, "", 0);
    for (int i = 1; i < LIMIT_GPU_QUEUED; i++)
        by_hand_say(&h, GPU_OP_CTX_SYNC, GPU_CALL_ASYNC, &all, "", 0);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_CTX_SYNC, &all, "", 0), GPU_OUT_OF_RESOURCES);
    ck_assert_int_eq(by_hand_ask(&h, GPU_OP_STREAM_SYNC, &one, "", 0), GPU_OUT_OF_RESOURCES);
    by_hand_end(&h);
    h.env.backend->ops->close(h.env.backend);
}
END_TEST

/* A driver whose queue is full keeps the worker's thread that submits, which then does not hear of
 * a host function's end: so a program does not fill it behind one. */
static struct {
    bool inside;            /* a host function; atomic, as all of this */
    unsigned asked, behind; /* fills: by the program, and what of them came to the worker */
    int (*fill)(struct gpu_stream *s, const struct gpu_fill *fill);
} narrow;

enum { BEHIND_LEAST = 512, QUEUE = 1000 };

static int narrow_fill(struct gpu_stream *s, const struct gpu_fill *fill)
{
    if (__atomic_load_n(&narrow.inside, __ATOMIC_SEQ_CST))
        __atomic_add_fetch(&narrow.behind, 1, __ATOMIC_SEQ_CST);
    return narrow.fill(s, fill);
}

static void narrow_change(struct gpu_backend_ops *ops)
{
    narrow.fill = ops->fill;
    ops->fill = narrow_fill;
}

/* Waits for as many as there may be, and then a while for those that may not. */
static void stay_inside(void *data)
{
    unsigned *most = data;

    __atomic_store_n(&narrow.inside, true, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&narrow.asked, __ATOMIC_SEQ_CST) < BEHIND_LEAST)
        g_usleep(1000);
    for (int ms = 0; ms < 200 && __atomic_load_n(&narrow.behind, __ATOMIC_SEQ_CST) <= QUEUE; ms++)
        g_usleep(1000);
    *most = MAX(*most, __atomic_load_n(&narrow.behind, __ATOMIC_SEQ_CST));
    __atomic_store_n(&narrow.inside, false, __ATOMIC_SEQ_CST);
}

START_TEST(behind_a_host_function)
{
    enum { FILLS = 3000 };
    unsigned most = 0;
    CUdeviceptr d;
    CUcontext c;

    rig_change = narrow_change;
    c = rig_begin(_i);
    CU_OK(MemAlloc, &d, (size_t)64);
    for (unsigned round = 0; round < 3; round++) {
        narrow.asked = narrow.behind = 0;
        CU_OK(LaunchHostFunc, NULL, stay_inside, &most);
        for (unsigned i = 0; i < FILLS; i++) {
            __atomic_add_fetch(&narrow.asked, 1, __ATOMIC_SEQ_CST);
            CU_OK(MemsetD8Async, d, i % 256, (size_t)64, NULL);
        }
        CU_OK(CtxSynchronize);
    }
    ck_assert_uint_gt(most, 0);
    ck_assert_uint_le(most, QUEUE);
    CU_OK(CtxDestroy, c);
}
END_TEST

/* Much is asked while much is answered: each side takes what the other says while it has more to
 * say itself. */
START_TEST(both_ways)
{
    enum { BYTES = 32768, TIMES = 200, FILLS = 6000 };
    uint8_t *from = NULL;
    CUdeviceptr d, other;
    CUcontext c = rig_begin(_i);

    CU_OK(MemAllocHost_v2, &from, (size_t)BYTES * TIMES);
    CU_OK(MemAlloc, &d, (size_t)BYTES * TIMES);
    CU_OK(MemAlloc, &other, (size_t)64);
    CU_OK(MemsetD8, d, 0x5a, (size_t)BYTES * TIMES);
    for (unsigned i = 0; i < TIMES; i++)
        CU_OK(MemcpyDtoHAsync, from + (size_t)i * BYTES, d + (size_t)i * BYTES, (size_t)BYTES,
              NULL);
    for (unsigned i = 0; i < FILLS; i++)
        CU_OK(MemsetD8Async, other, i % 256, (size_t)64, NULL);
    CU_OK(CtxSynchronize);
    unsigned right = 0; /* an assertion for each byte takes minutes */
    for (unsigned i = 0; i < BYTES * TIMES; i++)
        right += from[i] == 0x5a;
    ck_assert_uint_eq(right, BYTES * TIMES);
    CU_OK(CtxDestroy, c);
}
END_TEST

/* A worker that ends as a program comes is not the program's loss: it comes again. */
START_TEST(comes_again)
{
    CUcontext c;

    rig_lose = 3;
    signal(SIGPIPE, SIG_IGN); /* a port has none */
    c = rig_begin(1);
    CU_OK(CtxDestroy, c);
}
END_TEST

/* A context that is busy for ever can be ended. */
START_TEST(ends)
{
    CUcontext c = rig_begin(_i);
    CUfunction f = rig_kernel("spin");

    CU_OK(LaunchKernel, f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU_IS(600, StreamQuery, NULL);
    CU_OK(CtxDestroy, c);
    CU_IS(201, CtxSynchronize);
}
END_TEST

static const char saxpy[] =
    ".version 7.0\n.target sm_52\n.address_size 64\n"
    ".visible .entry saxpy(.param .u64 y, .param .u64 x, .param .f32 a, .param .u32 n)\n{\n"
    ".reg .pred %p;\n.reg .b32 %r<6>;\n.reg .f32 %f<4>;\n.reg .b64 %rd<6>;\n"
    "ld.param.u64 %rd1, [y];\nld.param.u64 %rd2, [x];\nld.param.f32 %f1, [a];\nld.param.u32 %r1, "
    "[n];\n"
    "mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmov.u32 %r4, %tid.x;\nmad.lo.s32 %r5, %r2, "
    "%r3, %r4;\n"
    "setp.ge.u32 %p, %r5, %r1;\n@%p bra DONE;\nmul.wide.u32 %rd3, %r5, 4;\nadd.s64 %rd4, %rd1, "
    "%rd3;\n"
    "add.s64 %rd5, %rd2, %rd3;\nld.global.f32 %f2, [%rd5];\nld.global.f32 %f3, [%rd4];\n"
    "fma.rn.f32 %f3, %f1, %f2, %f3;\nst.global.f32 [%rd4], %f3;\nDONE:\nret;\n}\n";

/* Variables and code of modules count like any memory, of 64 MiB here. */
static void quota_of_modules(void)
{
    static const char large[] = ".version 7.0\n.target sm_52\n.address_size 64\n"
                                ".visible .global .align 4 .b8 large[16777216];\n";
    CUmodule m[4] = {NULL};
    size_t before, during, after, total;
    int n = 0, rc = 0;

    CU_OK(MemGetInfo, &before, &total);
    while (n < 4 && !(rc = CU(ModuleLoadData, &m[n], large)))
        n++;
    ck_assert_int_eq(rc, CUDA_ERROR_OUT_OF_MEMORY);
    ck_assert_int_eq(n, 3);
    CU_OK(MemGetInfo, &during, &total);
    ck_assert_uint_ge(before - during, 3 * MIB(16));
    while (n)
        CU_OK(ModuleUnload, m[--n]);
    CU_OK(MemGetInfo, &after, &total);
    ck_assert_uint_eq(after, before);
}

/* The installed worker, confined, in a process of its own, with PTX on the CPU. Its death is a lost
 * context. */
START_TEST(worker)
{
    enum { N = 5000 };
    const char *argv[] = {g_getenv("VMD_GPU"), "--listen", rig_path, "64M", NULL};
    float x[N], y[N], a = 3;
    uint32_t n = N;
    CUcontext c;
    CUmodule m;
    CUfunction f;
    CUdeviceptr dx, dy;
    GPid pid;
    int out;
    char ready[6];

    snprintf(rig_path, sizeof(rig_path), "/tmp/test-gpu-%d", getpid());
    unlink(rig_path);
    ck_assert(g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                                       NULL, &pid, NULL, &out, NULL, NULL));
    ck_assert(read(out, ready, 6) == 6 && memcmp(ready, "ready\n", 6) == 0);
    rig_load(_i != 0);
    CU_OK(Init, 0);
    CU_OK(CtxCreate_v2, &c, 0, 0);
    CU_OK(ModuleLoadData, &m, saxpy);
    CU_OK(ModuleGetFunction, &f, m, "saxpy");
    CU_OK(MemAlloc, &dx, sizeof(x));
    CU_OK(MemAlloc, &dy, sizeof(y));
    for (int i = 0; i < N; i++) {
        x[i] = (float)i;
        y[i] = 1;
    }
    CU_OK(MemcpyHtoD, dx, x, sizeof(x));
    CU_OK(MemcpyHtoD, dy, y, sizeof(y));
    CU_OK(LaunchKernel, f, 40, 1, 1, 128, 1, 1, 0, NULL, ((void *[]){&dy, &dx, &a, &n}), NULL);
    CU_OK(MemcpyDtoH, y, dy, sizeof(y));
    for (int i = 0; i < N; i++) {
        if (y[i] != 3 * (float)i + 1)
            ck_abort_msg("%d: %f", i, (double)y[i]);
    }
    quota_of_modules();
    n = N * 1000; /* out of bounds */
    CU_OK(LaunchKernel, f, 40000, 1, 1, 128, 1, 1, 0, NULL, ((void *[]){&dy, &dx, &a, &n}), NULL);
    CU_IS(700, CtxSynchronize);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-server");
    TCase *tc = tcase_create("gpu-server");

    tcase_add_checked_fixture(tc, NULL, rig_end);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, add, 0, 2);
    tcase_add_loop_test(tc, errors, 0, 2);
    tcase_add_loop_test(tc, links, 0, 2);
    tcase_add_loop_test(tc, lookups_by_version, 0, 1);
    tcase_add_loop_test(tc, sticks, 0, 2);
    tcase_add_loop_test(tc, many_contexts, 0, 1);
    tcase_add_loop_test(tc, streams, 0, 2);
    tcase_add_loop_test(tc, rows, 0, 2);
    tcase_add_loop_test(tc, threads, 0, 2);
    tcase_add_loop_test(tc, primary, 0, 2);
    tcase_add_loop_test(tc, batches, 0, 1);
    tcase_add_loop_test(tc, waits, 0, 1);
    tcase_add_loop_test(tc, behind_a_host_function, 0, 2);
    tcase_add_loop_test(tc, both_ways, 0, 2);
    tcase_add_test(tc, comes_again);
    tcase_add_loop_test(tc, ends, 0, 2);
    tcase_add_loop_test(tc, worker, 0, 2);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
