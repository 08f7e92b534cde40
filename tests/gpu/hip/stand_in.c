/*
 * A library with the functions of ROCm's libamdhip64.so that vmd-gpu calls: for tests without an
 * AMD GPU. Streams and memory are those of the queueing backend; kernels of tests/gpu/code are C
 * here.
 *
 * It knows of a kernel what llvm-readelf says (VMD_HIP_TABLE names such a table), and nothing of
 * gpu/code: each launch's kernarg segment is looked at byte for byte, and the process ends where
 * one is not as it is to be (stand_in_kernels.c). VMD_HIP_TARGET is the device's target, where it
 * is not gfx90a's.
 *
 * As ROCm's library does, hipFree() waits for every stream there is, and hipStreamQuery() of the
 * default stream asks all of them. What is made and not freed yet is counted, in the file that
 * VMD_HIP_COUNTS names.
 */
#include "gpu/code/hip_properties.h"
#include "tests/gpu/engine_test.h"
#include "tests/gpu/hip/stand_in.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum { INVALID_VALUE = 1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct gpu_backend *backend;
static struct gpu_context *context;
static struct gpu_quota quota = {.most = GIB(1)};
static struct gpu_engine_ops engine;

/* What there is, for the test to see: numbers of 32 bits. */
enum { MEMORY, PINNED, STREAMS, EVENTS, MODULES, COUNTS };
static uint32_t no_counts[COUNTS], *counts = no_counts;

static void begin_counts(void)
{
    const char *path = getenv("VMD_HIP_COUNTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (!path)
        return;
    counts = fd < 0 ? MAP_FAILED
                    : mmap(NULL, sizeof(no_counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (counts == MAP_FAILED)
        wrong("counting in %s fails", path);
    close(fd);
}

/* Counts what a call with result RC made (1) or freed (-1). RC. */
static int count(int rc, unsigned what, int by)
{
    if (!rc)
        __atomic_add_fetch(&counts[what], by, __ATOMIC_RELAXED);
    return rc;
}

/* --- the library ------------------------------------------------------------------------------ */

#define OPS (backend->ops)
/* One call at a time, as the backend wants it. */
#define CALL(what)                                                                                 \
    ({                                                                                             \
        pthread_mutex_lock(&lock);                                                                 \
        int call_rc = (what);                                                                      \
        pthread_mutex_unlock(&lock);                                                               \
        call_rc;                                                                                   \
    })

static struct gpu_stream *stream_of(void *stream)
{
    return stream ? stream : OPS->stream_default(context);
}

static void wake(void *opaque)
{
}

API int hipInit(unsigned zero)
{
    if (zero)
        wrong("hipInit(%u)", zero);
    if (context)
        return 0;
    stand_in_read_table();
    begin_counts();
    engine = engine_test;
    stand_in_set_engine(&engine);
    backend = backend_queue_new(&engine);
    return OPS->context_new(backend, 0, &quota, wake, NULL, &context);
}

API int hipDriverGetVersion(int *version)
{
    const char *other = getenv("VMD_HIP_VERSION");

    *version = other ? atoi(other) : 60342134;
    return 0;
}

API int hipGetDeviceCount(int *count)
{
    *count = 1;
    return 0;
}

API int hipDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal ? 101 : 0;
}

API int hipDeviceGetName(char *name, int length, int device)
{
    snprintf(name, (size_t)length, "AMD stand-in");
    return 0;
}

API int hipDeviceTotalMem(size_t *bytes, int device)
{
    *bytes = GIB(1);
    return 0;
}

API int hipDeviceGetUuid(char uuid[16], int device)
{
    memcpy(uuid, "AMD-STAND-IN-001", 16);
    return 0;
}

API int hipDeviceGetPCIBusId(char *id, int length, int device)
{
    snprintf(id, (size_t)length, "0000:03:00.0");
    return 0;
}

/* hipDeviceAttribute_t's numbers. */
API int hipDeviceGetAttribute(int *value, int attribute, int device)
{
    static const int known[][2] = {
        {5, 1700000}, {8, 1},        {10, 1},       {19, 8 << 20}, {23, 9},       {26, 1024},
        {27, 1024},   {28, 1024},    {29, 1 << 30}, {30, 65536},   {31, 65536},   {56, 1024},
        {57, 2048},   {58, 1 << 30}, {59, 4096},    {60, 1600000}, {61, 0},       {63, 110},
        {71, 65536},  {74, 65536},   {75, 65536},   {76, 65536},   {83, 1 << 30}, {85, 1},
        {87, 64},     {88, 1},       {10013, 1}};

    *value = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (known[i][0] == attribute)
            *value = known[i][1];
    }
    return 0;
}

API int hipGetDevicePropertiesR0600(struct hip_properties *p, int device)
{
    const char *other = getenv("VMD_HIP_TARGET");

    memset(p, 0, sizeof(*p));
    strcpy(p->name, "AMD stand-in");
    g_strlcpy(p->target, other ? other : "gfx90a:sramecc+:xnack-", sizeof(p->target));
    return device ? 101 : 0;
}

API int hipSetDevice(int device)
{
    return device ? 101 : 0;
}

API int hipMemGetInfo(size_t *free_bytes, size_t *total)
{
    uint64_t left, all;
    int rc = CALL(OPS->memory(context, &left, &all));

    *free_bytes = left;
    *total = all;
    return rc;
}

API int hipMalloc(uint64_t *address, size_t bytes)
{
    return count(CALL(OPS->alloc(context, bytes, address)), MEMORY, 1);
}

API int hipFree(uint64_t address)
{
    while (CALL(OPS->context_query(context)) == GPU_NOT_READY)
        g_usleep(1000);
    return count(CALL(OPS->free(context, address)), MEMORY, -1);
}

API int hipMemGetAddressRange(uint64_t *base, size_t *bytes, uint64_t address)
{
    return CALL(OPS->range(context, address, base, (uint64_t *)bytes));
}

API int hipHostMalloc(void **out, size_t bytes, unsigned portable)
{
    *out = aligned_alloc(4096, ALIGN_UP(bytes, (size_t)4096));
    return count(portable == 1 && *out ? 0 : INVALID_VALUE, PINNED, 1);
}

API int hipHostFree(void *at)
{
    free(at);
    return count(0, PINNED, -1);
}

API int hipHostRegister(void *at, size_t bytes, unsigned portable)
{
    return count(0, PINNED, 1);
}

API int hipHostUnregister(void *at)
{
    return count(0, PINNED, -1);
}

API int hipModuleLoadData(struct gpu_module **out, const void *image)
{
    char log[64];

    return count(CALL(OPS->module_new(context, image, 64, log, sizeof(log), out)), MODULES, 1);
}

API int hipModuleUnload(struct gpu_module *m)
{
    pthread_mutex_lock(&lock);
    OPS->module_free(context, m);
    pthread_mutex_unlock(&lock);
    return count(0, MODULES, -1);
}

API int hipModuleGetFunction(struct gpu_kernel **out, struct gpu_module *m, const char *name)
{
    struct gpu_kernel_info info;

    return CALL(OPS->kernel(context, m, name, out, &info));
}

API int hipModuleGetGlobal(uint64_t *address, size_t *bytes, struct gpu_module *m, const char *name)
{
    return CALL(OPS->global(context, m, name, address, (uint64_t *)bytes));
}

API int hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, struct gpu_kernel *k,
                                                           int block, size_t shared)
{
    *blocks = 2048 / block;
    return 0;
}

API int hipStreamCreateWithPriority(struct gpu_stream **out, unsigned flags, int priority)
{
    return count(CALL(OPS->stream_new(context, flags, priority, out)), STREAMS, 1);
}

API int hipStreamDestroy(struct gpu_stream *s)
{
    pthread_mutex_lock(&lock);
    OPS->stream_free(s);
    pthread_mutex_unlock(&lock);
    return count(0, STREAMS, -1);
}

API int hipStreamQuery(void *s)
{
    return CALL(s ? OPS->stream_query(s) : OPS->context_query(context));
}

API int hipStreamWaitEvent(void *s, struct gpu_event *e, unsigned zero)
{
    return CALL(OPS->stream_wait(stream_of(s), e));
}

API int hipEventCreateWithFlags(struct gpu_event **out, unsigned flags)
{
    return count(CALL(OPS->event_new(context, flags, out)), EVENTS, 1);
}

API int hipEventDestroy(struct gpu_event *e)
{
    pthread_mutex_lock(&lock);
    OPS->event_free(e);
    pthread_mutex_unlock(&lock);
    return count(0, EVENTS, -1);
}

API int hipEventRecord(struct gpu_event *e, void *s)
{
    return CALL(OPS->event_record(e, stream_of(s)));
}

API int hipEventQuery(struct gpu_event *e)
{
    return CALL(OPS->event_query(e));
}

API int hipEventElapsedTime(float *ms, struct gpu_event *start, struct gpu_event *end)
{
    uint64_t ns = 0;
    int rc = CALL(OPS->event_elapsed(start, end, &ns));

    *ms = (float)ns / 1e6f;
    return rc;
}

static int copy(void *s, const struct gpu_copy *c)
{
    return CALL(OPS->copy(stream_of(s), c));
}

API int hipMemcpyHtoDAsync(uint64_t to, void *from, size_t bytes, void *s)
{
    const struct gpu_copy c = {
        .kind = GPU_TO_DEVICE, .host = from, .to = to, .width = bytes, .height = 1};

    return copy(s, &c);
}

API int hipMemcpyDtoHAsync(void *to, uint64_t from, size_t bytes, void *s)
{
    const struct gpu_copy c = {
        .kind = GPU_FROM_DEVICE, .host = to, .from = from, .width = bytes, .height = 1};

    return copy(s, &c);
}

API int hipMemcpyDtoDAsync(uint64_t to, uint64_t from, size_t bytes, void *s)
{
    const struct gpu_copy c = {
        .kind = GPU_ON_DEVICE, .to = to, .from = from, .width = bytes, .height = 1};

    return copy(s, &c);
}

/* hip_Memcpy2D */
struct rows {
    size_t from_x, from_y;
    unsigned from_type;
    const void *from_host;
    uint64_t from_device;
    void *from_array;
    size_t from_pitch, to_x, to_y;
    unsigned to_type;
    void *to_host;
    uint64_t to_device;
    void *to_array;
    size_t to_pitch, width, height;
};

API int hipMemcpyParam2DAsync(const struct rows *r, void *s)
{
    enum { HOST = 1, DEVICE = 2 };
    bool up = r->from_type == HOST, down = r->to_type == HOST;
    const struct gpu_copy c = {.kind = up     ? GPU_TO_DEVICE
                                       : down ? GPU_FROM_DEVICE
                                              : GPU_ON_DEVICE,
                               .host = up ? (void *)r->from_host : r->to_host,
                               .to = r->to_device,
                               .to_pitch = r->to_pitch,
                               .from = r->from_device,
                               .from_pitch = r->from_pitch,
                               .width = r->width,
                               .height = r->height};

    if ((r->from_type != HOST && r->from_type != DEVICE) || (up && down) || r->from_x || r->to_x)
        wrong("a copy of rows from %u to %u", r->from_type, r->to_type);
    if ((up ? r->from_pitch : down ? r->to_pitch : r->width) != r->width)
        wrong("rows of the host are not without gaps");
    return copy(s, &c);
}

static int fill(uint64_t to, uint32_t value, unsigned unit, size_t count, void *s)
{
    const struct gpu_fill f = {
        .address = to, .width = count * unit, .height = 1, .value = value, .unit = unit};

    return CALL(OPS->fill(stream_of(s), &f));
}

API int hipMemsetD8Async(uint64_t to, unsigned char value, size_t count, void *s)
{
    return fill(to, value, 1, count, s);
}

API int hipMemsetD16Async(uint64_t to, unsigned short value, size_t count, void *s)
{
    return fill(to, value, 2, count, s);
}

API int hipMemsetD32Async(uint64_t to, int value, size_t count, void *s)
{
    return fill(to, (uint32_t)value, 4, count, s);
}

API int hipStreamWriteValue32(void *s, uint64_t at, uint32_t value, unsigned zero)
{
    return CALL(OPS->value_write(stream_of(s), at, value, 4));
}

API int hipStreamWriteValue64(void *s, uint64_t at, uint64_t value, unsigned zero)
{
    return CALL(OPS->value_write(stream_of(s), at, value, 8));
}

API int hipStreamWaitValue32(void *s, uint64_t at, uint32_t value, unsigned how, uint32_t mask)
{
    if (mask != UINT32_MAX)
        wrong("a mask of %#x", mask);
    return CALL(OPS->value_wait(stream_of(s), at, value, 4, how));
}

API int hipStreamWaitValue64(void *s, uint64_t at, uint64_t value, unsigned how, uint64_t mask)
{
    if (mask != UINT64_MAX)
        wrong("a mask that is not whole");
    return CALL(OPS->value_wait(stream_of(s), at, value, 8, how));
}

API int hipLaunchHostFunc(void *s, void (*fn)(void *opaque), void *opaque)
{
    return CALL(OPS->host(stream_of(s), fn, opaque));
}

/* --- launches ----------------------------------------------------------------------------------
 */

static int start(struct gpu_kernel *kernel, const uint32_t grid[3], const uint32_t block[3],
                 uint32_t shared, void *s, const uint8_t *segment)
{
    const struct kernel *k = kernel->k;
    const struct gpu_launch l = {.grid = {grid[0], grid[1], grid[2]},
                                 .block = {block[0], block[1], block[2]},
                                 .shared = shared,
                                 .params = segment,
                                 .params_bytes = MAX(k->bytes, 1)};

    if (!block[0] || block[0] * block[1] * block[2] > k->threads)
        wrong("%s is launched with %u x %u x %u threads", k->name, block[0], block[1], block[2]);
    return CALL(OPS->launch(stream_of(s), kernel, &l));
}

API int hipModuleLaunchKernel(struct gpu_kernel *kernel, unsigned gx, unsigned gy, unsigned gz,
                              unsigned bx, unsigned by, unsigned bz, unsigned shared, void *s,
                              void **params, void **extra)
{
    const uint32_t grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};

    if (params || !extra || extra[0] != (void *)1 || extra[2] != (void *)2 || extra[4] != (void *)3)
        wrong("%s is launched without a buffer", kernel->k->name);
    if (*(const size_t *)extra[3] != kernel->k->bytes)
        wrong("%s's segment has %zu bytes, not %u", kernel->k->name, *(const size_t *)extra[3],
              kernel->k->bytes);
    stand_in_check_segment(kernel->k, extra[1], grid, block, shared);
    return start(kernel, grid, block, shared, s, extra[1]);
}

API int hipModuleLaunchCooperativeKernel(struct gpu_kernel *kernel, unsigned gx, unsigned gy,
                                         unsigned gz, unsigned bx, unsigned by, unsigned bz,
                                         unsigned shared, void *s, void **params)
{
    const uint32_t grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    const struct kernel *k = kernel->k;
    g_autofree uint8_t *segment = g_malloc0(MAX(k->bytes, 1));

    for (unsigned i = 0; i < k->n_given; i++)
        memcpy(segment + k->args[i].offset, params[i], k->args[i].size);
    return start(kernel, grid, block, shared, s, segment);
}
