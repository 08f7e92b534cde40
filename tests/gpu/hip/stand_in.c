/*
 * A library with the functions of ROCm's libamdhip64.so that vmd-gpu calls: for tests without an
 * AMD GPU. Streams and memory are those of the queueing backend; kernels of tests/gpu/code are C
 * here.
 *
 * It knows of a kernel what llvm-readelf says (VMD_HIP_TABLE names such a table), and nothing of
 * gpu/code: each launch's kernarg segment is looked at byte for byte, and the process ends where
 * one is not as it is to be.
 */
#include "gpu/code/hip_properties.h"
#include "gpu/server/engine.h"
#include "tests/gpu/engine_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define API __attribute__((visibility("default")))

enum { INVALID_VALUE = 1, NO_BINARY = 209, ARGS = 64, KERNELS = 32, GLOBAL_BYTES = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct gpu_backend *backend;
static struct gpu_context *context;
static struct gpu_quota quota = {.most = GIB(1)};

__attribute__((format(printf, 1, 2), noreturn)) static void wrong(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    fputs("HIP stand-in: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    abort();
}

/* --- what llvm-readelf says ------------------------------------------------------------------- */

struct arg {
    unsigned offset, size;
    char kind[48];
};

struct kernel {
    char name[64];
    unsigned bytes, group, threads, n_args, n_given;
    struct arg args[ARGS];
};

static struct kernel kernels[KERNELS];
static unsigned n_kernels, elf_flags;

static void read_line(const char *line)
{
    struct kernel *k = n_kernels ? &kernels[n_kernels - 1] : NULL;
    unsigned abi;

    if (sscanf(line, "object %u %x", &abi, &elf_flags) == 2)
        return;
    if (n_kernels < KERNELS && g_str_has_prefix(line, "kernel ")) {
        struct kernel *new = &kernels[n_kernels++];
        sscanf(line, "kernel %63s %u %*u %u %*u %*u %u", new->name, &new->bytes, &new->group,
               &new->threads);
        return;
    }
    struct arg *a = k && k->n_args < ARGS ? &k->args[k->n_args] : NULL;
    if (!a || sscanf(line, "arg %u %u %47s", &a->offset, &a->size, a->kind) != 3)
        wrong("the table has a line '%s'", line);
    k->n_args++;
    k->n_given += !g_str_has_prefix(a->kind, "hidden_");
}

static void read_table(void)
{
    const char *path = getenv("VMD_HIP_TABLE");
    char line[256];
    FILE *f = path ? fopen(path, "r") : NULL;

    if (!f)
        wrong("there is no table %s", path ? path : "named");
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = 0;
        read_line(line);
    }
    fclose(f);
}

/* --- modules and kernels ---------------------------------------------------------------------- */

struct gpu_module {
    struct gpu_engine *engine;
    uint64_t table;
};

struct gpu_kernel {
    const struct kernel *k;
};

static struct gpu_engine_ops engine;

static int module_new(struct gpu_engine *e, const uint8_t *image, size_t length, char *log,
                      size_t log_bytes, struct gpu_module **out)
{
    uint32_t its;

    if (memcmp(image, "\177ELF", 4) != 0)
        return GPU_INVALID_IMAGE;
    memcpy(&its, image + 48, sizeof(its));
    if (its != elf_flags)
        return NO_BINARY;
    struct gpu_module *m = g_new0(struct gpu_module, 1);
    m->engine = e;
    engine_test.alloc(e, GLOBAL_BYTES, &m->table);
    *out = m;
    return GPU_SUCCESS;
}

static void module_free(struct gpu_module *m)
{
    engine_test.free(m->engine, m->table);
    g_free(m);
}

static uint64_t module_bytes(const struct gpu_module *m)
{
    return GLOBAL_BYTES;
}

static int kernel(struct gpu_module *m, const char *name, struct gpu_kernel **out,
                  struct gpu_kernel_info *info)
{
    static struct gpu_kernel all[KERNELS];

    for (unsigned i = 0; i < n_kernels; i++) {
        if (strcmp(kernels[i].name, name) == 0) {
            all[i].k = &kernels[i];
            *out = &all[i];
            return GPU_SUCCESS;
        }
    }
    return GPU_NOT_FOUND;
}

static int global(struct gpu_module *m, const char *name, uint64_t *address, uint64_t *bytes)
{
    if (strcmp(name, "table") != 0)
        return GPU_NOT_FOUND;
    *address = m->table;
    *bytes = GLOBAL_BYTES;
    return GPU_SUCCESS;
}

/* --- what kernels do -------------------------------------------------------------------------- */

/* Argument I of the segment, as a number. */
static uint64_t number(const struct kernel *k, const uint8_t *segment, unsigned i)
{
    uint64_t v = 0;

    memcpy(&v, segment + k->args[i].offset, MIN(k->args[i].size, sizeof(v)));
    return v;
}

static void *memory(struct gpu_engine *e, uint64_t address, uint64_t bytes)
{
    return engine_test.host(e, address, bytes);
}

static int do_add(struct gpu_engine *e, const struct kernel *k, const uint8_t *s, uint32_t threads)
{
    uint64_t n = MIN((uint32_t)number(k, s, 3), threads);
    float *out = memory(e, number(k, s, 0), 4 * n);
    const float *a = memory(e, number(k, s, 1), 4 * n), *b = memory(e, number(k, s, 2), 4 * n);

    if (!out || !a || !b)
        return GPU_ILLEGAL_ADDRESS;
    for (uint64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
    return GPU_SUCCESS;
}

static int do_twice(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                    uint32_t threads)
{
    uint64_t n = MIN((uint32_t)number(k, s, 1), threads);
    uint32_t *v = memory(e, number(k, s, 0), 4 * n);

    if (!v)
        return GPU_ILLEGAL_ADDRESS;
    for (uint64_t i = 0; i < n; i++)
        v[i] *= 2;
    return GPU_SUCCESS;
}

/* The sum of all that it takes, whatever its type. */
static int do_mixed(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                    uint32_t threads)
{
    struct {
        int number;
        double value;
        short last;
    } wide;
    double d, *out = memory(e, number(k, s, 5), 8);
    float f, v[4];

    if (!out)
        return GPU_ILLEGAL_ADDRESS;
    memcpy(&d, s + k->args[1].offset, 8);
    memcpy(&f, s + k->args[3].offset, 4);
    memcpy(&wide, s + k->args[7].offset, sizeof(wide));
    memcpy(v, s + k->args[9].offset, 16);
    *out = (int8_t)number(k, s, 0) + d + (int16_t)number(k, s, 2) + (double)f +
           (int8_t)s[k->args[4].offset] + (double)(int64_t)number(k, s, 6) + wide.number +
           wide.value + wide.last + (double)number(k, s, 8) + (double)v[0] + (double)v[3] +
           (int32_t)number(k, s, 10);
    return GPU_SUCCESS;
}

static int do_large(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                    uint32_t threads)
{
    uint32_t *out = memory(e, number(k, s, 0), 4), which = (uint32_t)number(k, s, 2) % 200;

    if (!out)
        return GPU_ILLEGAL_ADDRESS;
    memcpy(out, s + k->args[1].offset + 4 * which, 4);
    return GPU_SUCCESS;
}

static int do_nothing(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                      uint32_t threads)
{
    return GPU_SUCCESS;
}

static int launch(struct gpu_engine *e, struct gpu_kernel *kernel, const struct gpu_launch *l)
{
    static const struct {
        const char *name;
        int (*run)(struct gpu_engine *e, const struct kernel *k, const uint8_t *s,
                   uint32_t threads);
    } known[] = {{"add", do_add},
                 {"twice", do_twice},
                 {"mixed", do_mixed},
                 {"large", do_large},
                 {"nothing", do_nothing}};
    const struct kernel *k = kernel->k;

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strcmp(known[i].name, k->name) == 0)
            return known[i].run(e, k, l->params, l->grid[0] * l->block[0]);
    }
    return GPU_LAUNCH_FAILED;
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
    read_table();
    engine = engine_test;
    engine.module_new = module_new;
    engine.module_free = module_free;
    engine.module_bytes = module_bytes;
    engine.kernel = kernel;
    engine.global = global;
    engine.launch = launch;
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
    memset(p, 0, sizeof(*p));
    strcpy(p->name, "AMD stand-in");
    strcpy(p->target, "gfx90a:sramecc+:xnack-");
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
    return CALL(OPS->alloc(context, bytes, address));
}

API int hipFree(uint64_t address)
{
    return CALL(OPS->free(context, address));
}

API int hipMemGetAddressRange(uint64_t *base, size_t *bytes, uint64_t address)
{
    return CALL(OPS->range(context, address, base, (uint64_t *)bytes));
}

API int hipHostMalloc(void **out, size_t bytes, unsigned portable)
{
    *out = aligned_alloc(4096, ALIGN_UP(bytes, (size_t)4096));
    return portable == 1 && *out ? 0 : INVALID_VALUE;
}

API int hipHostFree(void *at)
{
    free(at);
    return 0;
}

API int hipHostRegister(void *at, size_t bytes, unsigned portable)
{
    return 0;
}

API int hipHostUnregister(void *at)
{
    return 0;
}

API int hipModuleLoadData(struct gpu_module **out, const void *image)
{
    char log[64];

    return CALL(OPS->module_new(context, image, 64, log, sizeof(log), out));
}

API int hipModuleUnload(struct gpu_module *m)
{
    pthread_mutex_lock(&lock);
    OPS->module_free(context, m);
    pthread_mutex_unlock(&lock);
    return 0;
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
    return CALL(OPS->stream_new(context, flags, priority, out));
}

API int hipStreamDestroy(struct gpu_stream *s)
{
    pthread_mutex_lock(&lock);
    OPS->stream_free(s);
    pthread_mutex_unlock(&lock);
    return 0;
}

API int hipStreamQuery(void *s)
{
    return CALL(OPS->stream_query(stream_of(s)));
}

API int hipStreamWaitEvent(void *s, struct gpu_event *e, unsigned zero)
{
    return CALL(OPS->stream_wait(stream_of(s), e));
}

API int hipEventCreateWithFlags(struct gpu_event **out, unsigned flags)
{
    return CALL(OPS->event_new(context, flags, out));
}

API int hipEventDestroy(struct gpu_event *e)
{
    pthread_mutex_lock(&lock);
    OPS->event_free(e);
    pthread_mutex_unlock(&lock);
    return 0;
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

/* --- launches --------------------------------------------------------------------------------- */

/* What a hidden argument is to be: of those that the launch tells. */
static uint64_t hidden(const char *kind, const uint32_t grid[3], const uint32_t block[3],
                       uint32_t shared)
{
    if (g_str_has_prefix(kind, "hidden_block_count_"))
        return grid[kind[19] - 'x'];
    if (g_str_has_prefix(kind, "hidden_group_size_"))
        return block[kind[18] - 'x'];
    if (strcmp(kind, "hidden_grid_dims") == 0)
        return 3;
    return strcmp(kind, "hidden_dynamic_lds_size") == 0 ? shared : 0;
}

/* Every byte that no argument given by the program has. */
static void check_segment(const struct kernel *k, const uint8_t *segment, const uint32_t grid[3],
                          const uint32_t block[3], uint32_t shared)
{
    g_autofree uint8_t *expected = g_memdup2(segment, MAX(k->bytes, 1));
    unsigned end = 0;

    for (unsigned i = 0; i <= k->n_args; i++) {
        const struct arg *a = i < k->n_args ? &k->args[i] : NULL;
        unsigned begin = a ? a->offset : k->bytes;
        memset(expected + end, 0, begin - end);
        if (a && i >= k->n_given) {
            uint64_t value = hidden(a->kind, grid, block, shared);
            memset(expected + begin, 0, a->size);
            memcpy(expected + begin, &value, MIN(a->size, sizeof(value)));
        }
        end = a ? a->offset + a->size : 0;
    }
    for (unsigned i = 0; i < k->bytes; i++) {
        if (segment[i] != expected[i])
            wrong("byte %u of %s's segment is %#x, not %#x", i, k->name, segment[i], expected[i]);
    }
}

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
    check_segment(kernel->k, extra[1], grid, block, shared);
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
