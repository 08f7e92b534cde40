/*
 * Memory of several kinds, limits, and what kernels print. By rings, and again by a stream of
 * bytes.
 */
#include "tests/gpu/rig.h"

#include <pthread.h>
#include <stdio.h>

enum { KIB64 = 64 << 10 };

enum { THRESHOLD = 4, RESERVED = 5, RESERVED_HIGH = 6, USED = 7, USED_HIGH = 8 };

static uint64_t attribute(CUmemoryPool p, int which)
{
    uint64_t value = 0;

    CU_OK(MemPoolGetAttribute, p, which, &value);
    return value;
}

/* What the worker holds when all is over: what a wait sets free is on its way then, and is gone
 * after another. */
static uint64_t held(void)
{
    CU_OK(CtxSynchronize);
    CU_OK(CtxSynchronize);
    return rig_used();
}

/* What is freed in a stream is had again by it at once, and goes when somebody waits. */
START_TEST(pools)
{
    CUcontext c = rig_begin(_i);
    CUmemoryPool pool = NULL;
    CUstream s[2];
    CUdeviceptr a, b;
    uint64_t most = UINT64_MAX, zero = 0;
    uint32_t got[2];

    CU_OK(DeviceGetDefaultMemPool, &pool, 0);
    for (int i = 0; i < 2; i++)
        CU_OK(StreamCreate, &s[i], 1);
    CU_OK(MemAllocAsync, &a, (size_t)KIB64, s[0]);
    ck_assert_uint_eq(attribute(pool, USED), KIB64);
    CU_OK(MemsetD32Async, a, 3, (size_t)2, s[0]);
    CU_OK(MemcpyDtoHAsync, got, a, sizeof(got), s[0]);
    CU_OK(MemFreeAsync, a, s[0]);
    ck_assert_uint_eq(attribute(pool, USED), 0);
    ck_assert_uint_eq(attribute(pool, RESERVED), KIB64);
    CU_OK(MemAllocAsync, &b, (size_t)KIB64 - 5, s[0]);
    ck_assert_uint_eq(b, a);
    CU_OK(MemFreeAsync, b, s[0]);
    CU_OK(StreamSynchronize, s[0]);
    ck_assert_uint_eq(got[1], 3);
    ck_assert_uint_eq(attribute(pool, RESERVED), 0);
    ck_assert_uint_eq(held(), 0);
    /* It is kept where the program wants that, and another stream has it after a wait. */
    CU_OK(MemPoolSetAttribute, pool, THRESHOLD, &most);
    CU_OK(MemAllocAsync, &a, (size_t)KIB64, s[0]);
    CU_OK(MemFreeAsync, a, s[0]);
    CU_OK(MemAllocAsync, &b, (size_t)KIB64, s[1]);
    ck_assert_uint_ne(a, b);
    CU_OK(StreamSynchronize, s[0]);
    CU_OK(MemFreeAsync, b, s[1]);
    CU_OK(MemAllocAsync, &b, (size_t)KIB64, s[1]);
    CU_OK(MemAllocAsync, &a, (size_t)KIB64, s[1]);
    ck_assert_uint_eq(attribute(pool, RESERVED), 2 * KIB64);
    ck_assert_uint_eq(attribute(pool, USED_HIGH), 2 * KIB64);
    CU_OK(MemFree, a);
    CU_OK(MemFreeAsync, b, s[1]);
    ck_assert_uint_eq(held(), 2 * KIB64);
    CU_OK(MemPoolTrimTo, pool, (size_t)KIB64);
    ck_assert_uint_eq(held(), KIB64);
    /* What is kept is given back where memory runs out. */
    CU_OK(MemAlloc, &a, (size_t)MIB(64));
    CU_IS(2, MemAllocAsync, &b, (size_t)KIB64, s[0]);
    CU_OK(MemFree, a);
    CU_OK(MemPoolSetAttribute, pool, USED_HIGH, &zero);
    ck_assert_uint_eq(attribute(pool, USED_HIGH), 0);
    CU_IS(1, MemPoolSetAttribute, pool, USED, &zero);
    CU_IS(1, MemPoolDestroy, pool);
    for (int i = 0; i < 2; i++)
        CU_OK(StreamDestroy, s[i]);
    CU_OK(CtxDestroy, c);
    ck_assert_uint_eq(rig_used(), 0);
}
END_TEST

/* Twice is once too often, whoever has the block, and harms nobody. */
START_TEST(freed_twice)
{
    CUmemoryPool pool = NULL;
    CUstream s;
    CUdeviceptr a, b, other;
    uint64_t most = UINT64_MAX;

    rig_begin(_i);
    CU_OK(DeviceGetDefaultMemPool, &pool, 0);
    CU_OK(MemPoolSetAttribute, pool, THRESHOLD, &most);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(MemAllocAsync, &a, (size_t)KIB64, s);
    CU_OK(MemFreeAsync, a, s);
    CU_IS(1, MemFreeAsync, a, s);
    CU_IS(1, MemFree, a);
    CU_OK(StreamSynchronize, s);
    CU_OK(MemAllocAsync, &b, (size_t)KIB64, s);
    ck_assert_uint_eq(b, a);
    CU_OK(MemAlloc, &other, (size_t)KIB64);
    ck_assert_uint_ne(other, b);
    CU_OK(MemsetD8Async, b, 1, (size_t)KIB64, s);
    CU_OK(StreamSynchronize, s);
    CU_OK(MemFree, b);
    CU_IS(1, MemFree, b);
    CU_OK(MemFree, other);
    CU_OK(StreamDestroy, s);
    ck_assert_uint_eq(held(), KIB64);
}
END_TEST

static void wait_for_word(void *data)
{
    while (!__atomic_load_n((int *)data, __ATOMIC_ACQUIRE))
        g_usleep(100);
}

struct waiter {
    CUcontext c;
    CUstream s;
    int rc;
};

static void *wait_once(void *opaque)
{
    struct waiter *w = opaque;

    w->rc = CU(CtxSetCurrent, w->c);
    if (!w->rc)
        w->rc = CU(StreamSynchronize, w->s);
    return NULL;
}

/* A wait is for what was asked before it: a block that is freed while it lasts is not for all. */
START_TEST(freed_while_waiting)
{
    CUmemoryPool pool = NULL;
    struct waiter w = {.c = rig_begin(_i)};
    CUstream other;
    CUdeviceptr a, b;
    pthread_t waiting;
    uint64_t most = UINT64_MAX;
    int first = 0, second = 0;

    CU_OK(DeviceGetDefaultMemPool, &pool, 0);
    CU_OK(MemPoolSetAttribute, pool, THRESHOLD, &most);
    CU_OK(StreamCreate, &w.s, 1);
    CU_OK(StreamCreate, &other, 1);
    CU_OK(MemAllocAsync, &a, (size_t)KIB64, w.s);
    unsigned hosts = __atomic_load_n(&rig_hosts, __ATOMIC_ACQUIRE);
    CU_OK(LaunchHostFunc, w.s, wait_for_word, &first);
    ck_assert(pthread_create(&waiting, NULL, wait_once, &w) == 0);
    while (__atomic_load_n(&rig_hosts, __ATOMIC_ACQUIRE) < hosts + 2) /* that function, and the wait */
        g_usleep(100);
    CU_OK(LaunchHostFunc, w.s, wait_for_word, &second);
    CU_OK(MemsetD8Async, a, 1, (size_t)KIB64, w.s);
    CU_OK(MemFreeAsync, a, w.s);
    __atomic_store_n(&first, 1, __ATOMIC_RELEASE);
    pthread_join(waiting, NULL);
    ck_assert_int_eq(w.rc, 0);
    CU_OK(MemAllocAsync, &b, (size_t)KIB64, other);
    ck_assert_uint_ne(b, a);
    __atomic_store_n(&second, 1, __ATOMIC_RELEASE);
    CU_OK(StreamSynchronize, w.s);
    CU_OK(MemFreeAsync, b, other);
    CU_OK(StreamSynchronize, other);
    CU_OK(MemAllocAsync, &b, (size_t)KIB64, other); /* now both are */
    CU_OK(MemAllocAsync, &b, (size_t)KIB64, other);
    ck_assert_uint_eq(attribute(pool, RESERVED), 2 * KIB64);
    CU_OK(StreamDestroy, w.s);
    CU_OK(StreamDestroy, other);
}
END_TEST

struct pool_props {
    int alloc_type, handle_types, location_type, device;
    void *security;
    size_t most;
    char rest[64];
};

START_TEST(own_pools)
{
    struct pool_props props = {.alloc_type = 1, .location_type = 1, .most = KIB64}, bad = props;
    CUmemoryPool pool, other, now;
    CUstream s;
    CUdeviceptr a, b;

    rig_begin(_i);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(MemPoolCreate, &pool, &props);
    bad.device = 5;
    CU_IS(1, MemPoolCreate, &other, &bad);
    bad.device = 0;
    bad.handle_types = 1;
    CU_IS(801, MemPoolCreate, &other, &bad);
    CU_OK(MemAllocFromPoolAsync, &a, (size_t)KIB64, pool, s);
    CU_IS(2, MemAllocFromPoolAsync, &b, (size_t)1, pool, s);
    CU_OK(PointerGetAttribute, &now, 17, a + 100);
    ck_assert_ptr_eq(now, pool);
    CU_OK(DeviceSetMemPool, 0, pool);
    CU_OK(DeviceGetMemPool, &now, 0);
    ck_assert_ptr_eq(now, pool);
    CU_IS(2, MemAllocAsync, &b, (size_t)1, s);
    /* It goes with its last block. */
    CU_OK(MemPoolDestroy, pool);
    CU_OK(DeviceGetMemPool, &now, 0);
    ck_assert_ptr_ne(now, pool);
    CU_IS(1, MemPoolTrimTo, pool, (size_t)0);
    CU_OK(MemsetD8Async, a, 1, (size_t)KIB64, s);
    CU_OK(MemFreeAsync, a, s);
    CU_OK(StreamDestroy, s);
    ck_assert_uint_eq(held(), 0);
}
END_TEST

/* A graph's memory has one address and stays as long as the graph does. */
START_TEST(pools_captured)
{
    CUstream s;
    CUdeviceptr d = 0;
    CUgraph g;
    CUgraphExec e;
    uint32_t got[4] = {0};

    rig_begin(_i);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(StreamBeginCapture_v2, s, 0);
    CU_OK(MemAllocAsync, &d, (size_t)KIB64, s);
    CU_OK(MemsetD32Async, d, 9, (size_t)4, s);
    CU_OK(MemcpyDtoHAsync, got, d, sizeof(got), s);
    CU_OK(MemFreeAsync, d, s);
    CU_OK(StreamEndCapture, s, &g);
    CU_OK(GraphInstantiateWithFlags, &e, g, (uint64_t)1);
    CU_OK(GraphDestroy, g);
    CU_OK(GraphLaunch, e, s);
    CU_OK(GraphLaunch, e, s);
    CU_OK(StreamSynchronize, s);
    ck_assert_uint_eq(got[3], 9);
    ck_assert_uint_eq(held(), KIB64);
    CU_OK(GraphExecDestroy, e);
    CU_OK(StreamDestroy, s);
    ck_assert_uint_eq(held(), 0);
}
END_TEST

/* A captured allocation of KIB64 that is filled with VALUE, instantiated with FLAGS. */
static CUgraphExec alloc_graph(CUstream s, unsigned value, uint64_t flags, CUdeviceptr *d)
{
    CUgraph g;
    CUgraphExec e;

    CU_OK(StreamBeginCapture_v2, s, 0);
    CU_OK(MemAllocAsync, d, (size_t)KIB64, s);
    CU_OK(MemsetD32Async, *d, value, (size_t)4, s);
    CU_OK(StreamEndCapture, s, &g);
    CU_OK(GraphInstantiateWithFlags, &e, g, flags);
    CU_OK(GraphDestroy, g);
    return e;
}

/* What a launch allocates is the program's until it frees it, whatever becomes of the graph. */
START_TEST(left_by_a_graph)
{
    CUstream s;
    CUdeviceptr d, kept;
    CUgraph g;
    CUgraphExec e, f;
    CUcontext c = rig_begin(_i);
    uint32_t got[4] = {0};

    CU_OK(StreamCreate, &s, 1);
    e = alloc_graph(s, 9, 0, &d);
    CU_IS(1, MemFreeAsync, d, s); /* nothing has allocated it */
    CU_OK(GraphLaunch, e, s);
    CU_IS(1, GraphLaunch, e, s);
    CU_OK(MemFree, d);
    CU_IS(1, MemFree, d);
    CU_OK(GraphLaunch, e, s);
    CU_OK(GraphExecDestroy, e);
    ck_assert_uint_eq(held(), KIB64);
    CU_OK(MemcpyDtoH, got, d, sizeof(got));
    ck_assert_uint_eq(got[3], 9);
    /* Another graph frees it, in its order. */
    CU_OK(StreamBeginCapture_v2, s, 0);
    CU_IS(1, MemFreeAsync, d + 4, s);
    CU_OK(MemcpyDtoHAsync, got, d, sizeof(got), s);
    CU_OK(MemFreeAsync, d, s);
    CU_OK(StreamEndCapture, s, &g);
    CU_OK(GraphInstantiateWithFlags, &f, g, (uint64_t)0);
    CU_OK(GraphLaunch, f, s);
    ck_assert_uint_eq(held(), 0);
    CU_IS(1, GraphLaunch, f, s);
    CU_OK(GraphExecDestroy, f);
    CU_OK(GraphDestroy, g);
    /* One that frees it when it is launched again; and the context goes with what is left. */
    e = alloc_graph(s, 5, 1, &kept);
    CU_OK(GraphLaunch, e, s);
    CU_OK(GraphLaunch, e, s);
    CU_OK(GraphExecDestroy, e);
    ck_assert_uint_eq(held(), KIB64);
    CU_OK(MemcpyDtoH, got, kept, sizeof(got));
    ck_assert_uint_eq(got[0], 5);
    CU_OK(CtxDestroy, c);
    ck_assert_uint_eq(rig_used(), 0);
    CU_OK(CtxCreate_v2, &c, 0, 0);
    CU_IS(1, MemFree, kept);
    CU_IS(400, StreamDestroy, s);
}
END_TEST

/* --- boxes and peers -------------------------------------------------------------------------- */

enum { W = 100, H = 7, D = 5, PITCH = 128, ROWS = 9 };

static uint8_t mark(int x, int y, int z)
{
    return (uint8_t)(x * 3 + y * 17 + z * 31 + 1);
}

/* A box out of the middle of one into the middle of another. */
START_TEST(boxes)
{
    g_autofree uint8_t *from = g_malloc0(PITCH * ROWS * D), *to = g_malloc0(PITCH * ROWS * D);
    CUdeviceptr a, b;

    rig_begin(_i);
    for (int z = 0; z < D; z++) {
        for (int y = 0; y < H; y++) {
            for (int x = 0; x < W; x++)
                from[(z * ROWS + y) * PITCH + x] = mark(x, y, z);
        }
    }
    CU_OK(MemAlloc, &a, (size_t)W * H * D);
    CU_OK(MemAlloc, &b, (size_t)PITCH * ROWS * D);
    CU_OK(MemsetD8, b, 0, (size_t)PITCH * ROWS * D);
    CUDA_MEMCPY3D up = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                        .srcHost = from,
                        .srcPitch = PITCH,
                        .srcHeight = ROWS,
                        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                        .dstDevice = a,
                        .dstPitch = W,
                        .dstHeight = H,
                        .WidthInBytes = W,
                        .Height = H,
                        .Depth = D};
    CU_OK(Memcpy3D, &up);
    CUDA_MEMCPY3D over = {.srcXInBytes = 10,
                          .srcY = 1,
                          .srcZ = 2,
                          .srcMemoryType = CU_MEMORYTYPE_DEVICE,
                          .srcDevice = a,
                          .srcPitch = W,
                          .srcHeight = H,
                          .dstXInBytes = 20,
                          .dstY = 3,
                          .dstZ = 1,
                          .dstMemoryType = CU_MEMORYTYPE_UNIFIED,
                          .dstDevice = b,
                          .dstPitch = PITCH,
                          .dstHeight = ROWS,
                          .WidthInBytes = 50,
                          .Height = 4,
                          .Depth = 3};
    CU_OK(Memcpy3DAsync, &over, NULL);
    CU_OK(Memcpy, (CUdeviceptr)(uintptr_t)to + 0 * b, b, (size_t)0);
    CU_OK(MemcpyDtoH, to, b, (size_t)PITCH * ROWS * D);
    for (int z = 0; z < D; z++) {
        for (int y = 0; y < ROWS; y++) {
            for (int x = 0; x < PITCH; x++) {
                bool in = x >= 20 && x < 70 && y >= 3 && y < 7 && z >= 1 && z < 4;
                uint8_t want = in ? mark(x - 20 + 10, y - 3 + 1, z - 1 + 2) : 0;
                ck_assert_uint_eq(to[(z * ROWS + y) * PITCH + x], want);
            }
        }
    }
    over.dstPitch = 40;
    CU_IS(1, Memcpy3D, &over);
    over.dstMemoryType = 3;
    CU_IS(801, Memcpy3D, &over);
}
END_TEST

/* Between contexts, which are no peers. */
START_TEST(peers)
{
    enum { LARGE = 9 << 20 };
    CUcontext one = rig_begin(_i), two;
    g_autofree uint8_t *in = g_malloc(LARGE), *out = g_malloc0(LARGE);
    CUdeviceptr a, b;
    CUstream s;
    int can = 7;

    for (int i = 0; i < LARGE; i++)
        in[i] = (uint8_t)(i * 7 + i / 1000);
    CU_OK(MemAlloc, &a, (size_t)LARGE);
    CU_OK(MemcpyHtoD, a, in, (size_t)LARGE);
    CU_OK(CtxCreate_v2, &two, 0, 0);
    CU_OK(MemAlloc, &b, (size_t)LARGE);
    CU_OK(StreamCreate, &s, 1);
    CU_OK(DeviceCanAccessPeer, &can, 0, 0);
    ck_assert_int_eq(can, 0);
    CU_IS(217, CtxEnablePeerAccess, one, 0);
    CU_IS(705, CtxDisablePeerAccess, one);
    CU_OK(MemcpyPeer, b, two, a, one, (size_t)LARGE);
    CU_OK(MemcpyDtoH, out, b, (size_t)LARGE);
    ck_assert(memcmp(in, out, LARGE) == 0);
    CU_OK(MemsetD8, b, 0, (size_t)LARGE);
    CU_OK(CtxSynchronize);
    CU_OK(MemcpyPeerAsync, b + 100, two, a, one, (size_t)5000, s);
    CU_OK(StreamSynchronize, s);
    CU_OK(MemcpyDtoH, out, b, (size_t)LARGE);
    ck_assert(!out[99] && !out[5100] && memcmp(in, out + 100, 5000) == 0);
    CU_OK(StreamDestroy, s);
    CU_OK(CtxDestroy, two);
    CU_IS(201, MemcpyPeer, b, two, a, one, (size_t)16);
}
END_TEST

START_TEST(pinned)
{
    uint8_t *host = NULL, mine[64];
    unsigned type = 0, flags = 9, managed = 1;
    CUdeviceptr d, base, managed_at;
    size_t bytes;
    int ordinal = 4;

    rig_begin(_i);
    CU_OK(MemHostAlloc, &host, (size_t)100, 1);
    CU_OK(MemHostGetFlags, &flags, host);
    ck_assert_uint_eq(flags, 1);
    CU_OK(PointerGetAttribute, &type, 2, (CUdeviceptr)(uintptr_t)host);
    ck_assert_uint_eq(type, CU_MEMORYTYPE_HOST);
    CU_OK(MemHostRegister, mine, sizeof(mine), 0);
    CU_IS(712, MemHostRegister, mine, sizeof(mine), 0);
    CU_OK(MemHostUnregister, mine);
    CU_IS(713, MemHostUnregister, mine);
    CU_IS(801, MemHostAlloc, &host, (size_t)100, 2);
    CU_IS(2, MemHostAlloc, &host, SIZE_MAX, 1);
    CU_OK(MemAlloc, &d, (size_t)1000);
    CU_OK(PointerGetAttribute, &type, 2, d + 5);
    ck_assert_uint_eq(type, CU_MEMORYTYPE_DEVICE);
    CU_OK(PointerGetAttributes, 2, ((int[]){8, 9}), ((void *[]){&managed, &ordinal}), d);
    ck_assert(managed == 0 && ordinal == 0);
    CU_OK(MemGetAddressRange, &base, &bytes, d + 999);
    ck_assert(base == d && bytes == 1000);
    CU_IS(1, PointerGetAttribute, &type, 2, (CUdeviceptr)(uintptr_t)mine);
    /* This engine's device has none. */
    CU_IS(801, MemAllocManaged, &managed_at, (size_t)4096, 1);
    CU_OK(MemFreeHost, host);
    CU_IS(1, MemFreeHost, host);
}
END_TEST

/* --- limits and prints ------------------------------------------------------------------------ */

static const struct limit_case {
    const char *name;
    int limit, rc;
    size_t value;
} limit_cases[] = {
    {"a stack", 0, 0, 4096},
    {"more of it than there can be", 0, 1, (size_t)1 << 40},
    {"what is printed", 1, 0, 8},
    {"a heap", 2, 0, 1 << 20},
    {"a limit that is none here", 6, 215, 0},
    {"a limit of nobody's", 1000, 215, 0},
};

START_TEST(limits)
{
    size_t value = 0;

    rig_begin(_i);
    CU_OK(CtxGetLimit, &value, 1);
    ck_assert_uint_eq(value, 1 << 20);
    for (size_t i = 0; i < G_N_ELEMENTS(limit_cases); i++) {
        const struct limit_case *l = &limit_cases[i];
        ck_assert_msg(CU(CtxSetLimit, l->limit, l->value) == l->rc, "%s", l->name);
        if (l->rc)
            continue;
        CU_OK(CtxGetLimit, &value, l->limit);
        ck_assert_msg(value == l->value, "%s", l->name);
    }
}
END_TEST

/* All that the standard output, a file, has until now. */
static char *printed(void)
{
    char *text = g_malloc0(4096);

    fflush(stdout);
    ck_assert(pread(STDOUT_FILENO, text, 4095, 0) >= 0);
    return text;
}

/* At the next wait, all of it, as far as the limit goes; not before. */
START_TEST(prints)
{
    CUfunction say;
    CUevent e;

    CUcontext c = rig_begin(_i);
    FILE *file = tmpfile();
    ck_assert(file && dup2(fileno(file), STDOUT_FILENO) >= 0);
    say = rig_kernel("say");
    CU_OK(LaunchKernel, say, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU_OK(LaunchKernel, say, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU_OK(CtxSynchronize);
    g_autofree char *first = printed();
    ck_assert_str_eq(first, "said\nsaid\n");
    CU_OK(EventCreate, &e, 0);
    CU_OK(LaunchKernel, say, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU_OK(EventRecord, e, NULL);
    CU_OK(EventSynchronize, e);
    CU_OK(CtxSynchronize);
    g_autofree char *second = printed();
    ck_assert_str_eq(second, "said\nsaid\nsaid\n");
    CU_OK(CtxSetLimit, 1, (size_t)8);
    for (int i = 0; i < 3; i++)
        CU_OK(LaunchKernel, say, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    CU_OK(StreamSynchronize, NULL);
    g_autofree char *third = printed();
    ck_assert_str_eq(third, "said\nsaid\nsaid\nid\nsaid\n");
    CU_OK(EventDestroy, e);
    CU_OK(CtxDestroy, c);
    fclose(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-memory");
    TCase *tc = tcase_create("gpu-memory");

    tcase_add_checked_fixture(tc, NULL, rig_end);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, pools, 0, 2);
    tcase_add_loop_test(tc, freed_twice, 0, 2);
    tcase_add_loop_test(tc, freed_while_waiting, 0, 2);
    tcase_add_loop_test(tc, own_pools, 0, 2);
    tcase_add_loop_test(tc, pools_captured, 0, 2);
    tcase_add_loop_test(tc, left_by_a_graph, 0, 2);
    tcase_add_loop_test(tc, boxes, 0, 2);
    tcase_add_loop_test(tc, peers, 0, 2);
    tcase_add_loop_test(tc, pinned, 0, 2);
    tcase_add_loop_test(tc, limits, 0, 2);
    tcase_add_loop_test(tc, prints, 0, 2);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
