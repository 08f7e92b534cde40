/*
 * A program of HIP's runtime and module API, as users write them and clang compiles them: it runs
 * with vmd's libamdhip64.so.6. What clang would add for kernels of the program's own, registering
 * them before main() and a function that launches each, is written out.
 *
 *   hip-program FOLDER [WHAT]      FOLDER has the code objects
 *
 * WHAT is, in place of all cases, what another program or its worker is to be seen to do; it says a
 * word where it waits for a line, and another then:
 *   none           there is to be no device
 *   leave          is idle, and then goes without freeing what it has
 *   hold           has a stream that waits, until the memory of one that left is back
 *   stuck          goes while a stream waits for ever
 *   lost TARGET    has lost its worker, and finds one whose device runs code for TARGET, or "none"
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/code/hip_properties.h"

typedef int hipError_t;
typedef struct stream *hipStream_t;
typedef struct event *hipEvent_t;
typedef struct module *hipModule_t;
typedef struct function *hipFunction_t;
typedef struct graph *hipGraph_t;
typedef struct graph_exec *hipGraphExec_t;
typedef struct graph_node *hipGraphNode_t;

struct dim3 {
    unsigned x, y, z;
};

enum { HOST_TO_DEVICE = 1, DEVICE_TO_HOST, DEVICE_TO_DEVICE, ANY };

hipError_t hipInit(unsigned flags);
hipError_t hipGetDeviceCount(int *count);
hipError_t hipSetDevice(int device);
hipError_t hipGetDevice(int *device);
hipError_t hipDeviceSynchronize(void);
hipError_t hipDeviceReset(void);
hipError_t hipGetDevicePropertiesR0600(struct hip_properties *p, int device);
hipError_t hipDeviceGetAttribute(int *value, int attribute, int device);
hipError_t hipRuntimeGetVersion(int *version);
hipError_t hipGetLastError(void);
hipError_t hipPeekAtLastError(void);
const char *hipGetErrorName(hipError_t rc);
const char *hipGetErrorString(hipError_t rc);
hipError_t hipMalloc(void **out, size_t bytes);
hipError_t hipMallocAsync(void **out, size_t bytes, hipStream_t stream);
hipError_t hipFreeAsync(void *at, hipStream_t stream);
hipError_t hipMallocPitch(void **out, size_t *pitch, size_t width, size_t height);
hipError_t hipFree(void *at);
hipError_t hipHostMalloc(void **out, size_t bytes, unsigned flags);
hipError_t hipHostFree(void *at);
hipError_t hipMemGetInfo(size_t *free, size_t *total);
hipError_t hipMemcpy(void *to, const void *from, size_t bytes, int kind);
hipError_t hipMemcpyAsync(void *to, const void *from, size_t bytes, int kind, hipStream_t stream);
hipError_t hipMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                       size_t height, int kind);
hipError_t hipMemset(void *to, int value, size_t bytes);
hipError_t hipMemset2D(void *to, size_t pitch, int value, size_t width, size_t height);
hipError_t hipMemsetD32Async(void *to, int value, size_t count, hipStream_t stream);
hipError_t hipMemcpyToSymbol(const void *symbol, const void *from, size_t bytes, size_t offset,
                             int kind);
hipError_t hipMemcpyFromSymbol(void *to, const void *symbol, size_t bytes, size_t offset, int kind);
hipError_t hipGetSymbolSize(size_t *bytes, const void *symbol);
hipError_t hipStreamCreate(hipStream_t *out);
hipError_t hipStreamDestroy(hipStream_t stream);
hipError_t hipStreamSynchronize(hipStream_t stream);
hipError_t hipStreamQuery(hipStream_t stream);
hipError_t hipStreamWaitEvent(hipStream_t stream, hipEvent_t event, unsigned flags);
hipError_t hipStreamWaitValue32(hipStream_t stream, void *at, uint32_t value, unsigned flags,
                                uint32_t mask);
hipError_t hipStreamWriteValue32(hipStream_t stream, void *at, uint32_t value, unsigned flags);
hipError_t hipStreamBeginCapture(hipStream_t stream, int mode);
hipError_t hipStreamEndCapture(hipStream_t stream, hipGraph_t *out);
hipError_t hipEventCreate(hipEvent_t *out);
hipError_t hipEventCreateWithFlags(hipEvent_t *out, unsigned flags);
hipError_t hipEventDestroy(hipEvent_t event);
hipError_t hipEventRecord(hipEvent_t event, hipStream_t stream);
hipError_t hipEventSynchronize(hipEvent_t event);
hipError_t hipEventElapsedTime(float *ms, hipEvent_t start, hipEvent_t end);
hipError_t hipLaunchHostFunc(hipStream_t stream, void (*fn)(void *data), void *data);
hipError_t hipModuleLoad(hipModule_t *out, const char *path);
hipError_t hipModuleLoadData(hipModule_t *out, const void *image);
hipError_t hipModuleUnload(hipModule_t module);
hipError_t hipModuleGetFunction(hipFunction_t *out, hipModule_t module, const char *name);
hipError_t hipModuleGetGlobal(void **address, size_t *bytes, hipModule_t module, const char *name);
hipError_t hipModuleLaunchKernel(hipFunction_t f, unsigned gx, unsigned gy, unsigned gz,
                                 unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                 hipStream_t stream, void **params, void **extra);
hipError_t hipModuleLaunchCooperativeKernel(hipFunction_t f, unsigned gx, unsigned gy, unsigned gz,
                                            unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                            hipStream_t stream, void **params);
hipError_t hipLaunchKernel(const void *function, struct dim3 grid, struct dim3 block, void **params,
                           size_t shared, hipStream_t stream);
hipError_t hipGraphCreate(hipGraph_t *out, unsigned flags);
hipError_t hipGraphDestroy(hipGraph_t g);
hipError_t hipGraphInstantiate(hipGraphExec_t *out, hipGraph_t g, hipGraphNode_t *bad, char *log,
                               size_t bytes);
hipError_t hipGraphLaunch(hipGraphExec_t e, hipStream_t stream);
hipError_t hipGraphExecDestroy(hipGraphExec_t e);
hipError_t hipCreateTextureObject(void);
hipError_t hipDeviceGetP2PAttribute(int *value, int attribute, int from, int to);
struct pointer {
    int type, device;
    void *device_pointer, *host_pointer;
    int managed;
    unsigned flags;
};
hipError_t hipPointerGetAttributes(struct pointer *out, const void *at);
/* HIP_MEMCPY3D */
struct box {
    struct {
        size_t x, y, z, lod;
        unsigned type;
        void *host, *device, *array;
        size_t pitch, height;
    } from, to;
    size_t width, height, depth;
};
hipError_t hipDrvMemcpy3D(const struct box *p);
hipError_t hipDrvMemcpy3DAsync(const struct box *p, hipStream_t stream);
hipError_t hipDrvGraphAddMemcpyNode(hipGraphNode_t *out, hipGraph_t g, const hipGraphNode_t *needs,
                                    size_t n, const struct box *p, void *context);
hipError_t hipDrvGraphMemcpyNodeGetParams(hipGraphNode_t node, struct box *p);
hipError_t hipCtxGetCurrent(void **out);
hipError_t hipGetProcAddress(const char *symbol, void **out, int version, uint64_t flags,
                             int *status);
void **__hipRegisterFatBinary(const void *wrapper);
void __hipUnregisterFatBinary(void **binary);
void __hipRegisterFunction(void **binary, const void *host, char *device_name, const char *name,
                           unsigned threads, void *tid, void *bid, struct dim3 *block,
                           struct dim3 *grid, int *warp);
void __hipRegisterVar(void **binary, void *host, char *host_name, char *name, int external,
                      size_t bytes, int constant, int global);
hipError_t __hipPushCallConfiguration(struct dim3 grid, struct dim3 block, size_t shared,
                                      hipStream_t stream);
hipError_t __hipPopCallConfiguration(struct dim3 *grid, struct dim3 *block, size_t *shared,
                                     hipStream_t *stream);

struct kernel_node {
    struct dim3 block;
    void **extra;
    void *function;
    struct dim3 grid;
    void **params;
    unsigned shared;
};
struct fill_node {
    void *to;
    unsigned element;
    size_t height, pitch;
    unsigned value;
    size_t width;
};
hipError_t hipGraphAddKernelNode(hipGraphNode_t *out, hipGraph_t g, const hipGraphNode_t *needs,
                                 size_t n, const struct kernel_node *p);
hipError_t hipGraphAddMemsetNode(hipGraphNode_t *out, hipGraph_t g, const hipGraphNode_t *needs,
                                 size_t n, const struct fill_node *p);
hipError_t hipGraphAddMemcpyNode1D(hipGraphNode_t *out, hipGraph_t g, const hipGraphNode_t *needs,
                                   size_t n, void *to, const void *from, size_t bytes, int kind);

static const char *folder, *running;

static void check(hipError_t got, hipError_t want, const char *call, int line)
{
    if (got == want)
        return;
    printf("failed %s: line %d: %s gives %d (%s), not %d\n", running, line, call, got,
           hipGetErrorName(got), want);
    exit(1);
}

static void expect(bool so, const char *what, long i, int line)
{
    if (so)
        return;
    printf("failed %s: line %d: not so for %ld: %s\n", running, line, i, what);
    exit(1);
}

#define HIP(call)        check(call, 0, #call, __LINE__)
#define HIP_IS(rc, call) check(call, rc, #call, __LINE__)
#define SAME(what, i)    expect(what, #what, (long)(i), __LINE__)

static void *read_file(const char *name)
{
    char path[512];
    long n = -1;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    if (f && fseek(f, 0, SEEK_END) == 0)
        n = ftell(f);
    char *bytes = n < 0 ? NULL : malloc((size_t)n + 1);
    if (!bytes || fseek(f, 0, SEEK_SET) || fread(bytes, 1, (size_t)n, f) != (size_t)n) {
        printf("failed: reading %s\n", path);
        exit(1);
    }
    fclose(f);
    return bytes;
}

static uint32_t mix(uint32_t i)
{
    i = (i ^ 61) ^ (i >> 16);
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ i >> 15;
}

/* --- what clang makes of __global__ functions and __device__ variables ------------------------ */

static struct {
    uint32_t magic, version;
    const void *bundle;
    void *unused;
} wrapper = {0x48495046, 1, NULL, NULL};
static uint32_t table[16];

static void twice(uint32_t *v, uint32_t n)
{
    void *params[] = {&v, &n};
    struct dim3 grid, block;
    size_t shared;
    hipStream_t stream;

    HIP(__hipPopCallConfiguration(&grid, &block, &shared, &stream));
    HIP(hipLaunchKernel((const void *)twice, grid, block, params, shared, stream));
}

static void none_of_ours(void)
{
}

static void **begin_binary(void)
{
    wrapper.bundle = read_file("kernels.bundle");
    void **binary = __hipRegisterFatBinary(&wrapper);
    __hipRegisterFunction(binary, (const void *)twice, "twice", "twice", ~0u, NULL, NULL, NULL,
                          NULL, NULL);
    __hipRegisterVar(binary, table, "table", "table", 0, sizeof(table), 0, 0);
    return binary;
}

/* twice<<<grid, block, 0, stream>>>(v, n) */
static void launch_twice(unsigned grid, unsigned block, hipStream_t stream, uint32_t *v, uint32_t n)
{
    HIP(__hipPushCallConfiguration((struct dim3){grid, 1, 1}, (struct dim3){block, 1, 1}, 0,
                                   stream));
    twice(v, n);
}

/* --- cases ------------------------------------------------------------------------------------ */

static void devices(void)
{
    struct hip_properties p;
    int count = 0, device = 7, value = 0, version = 0;

    HIP(hipGetDeviceCount(&count));
    SAME(count == 1, count);
    HIP(hipGetDevice(&device));
    SAME(device == 0, device);
    HIP(hipSetDevice(0));
    HIP_IS(101, hipSetDevice(1));
    HIP(hipGetDevicePropertiesR0600(&p, 0));
    SAME(strcmp(p.name, "AMD stand-in") == 0, 0);
    SAME(strcmp(p.target, "gfx90a:sramecc+:xnack-") == 0, 0);
    SAME(p.warp == 64 && p.threads_per_block == 1024 && p.multiprocessors == 110, p.warp);
    SAME(p.block_most[2] == 64 && p.grid_most[1] == 65535, p.grid_most[1]);
    HIP(hipDeviceGetAttribute(&value, 87, 0));
    SAME(value == 64, value);
    HIP_IS(1, hipDeviceGetAttribute(&value, 9000, 0));
    HIP(hipRuntimeGetVersion(&version));
    SAME(version == 60342134, version);
    /* HIP's attributes are 0 to 3; a device is no peer of its own. */
    HIP_IS(101, hipDeviceGetP2PAttribute(&value, 0, 0, 0));
    HIP_IS(101, hipDeviceGetP2PAttribute(&value, 3, 0, 0));
    HIP_IS(1, hipDeviceGetP2PAttribute(&value, 4, 0, 0));
    HIP_IS(1, hipDeviceGetP2PAttribute(&value, -1, 0, 0));
    hipGetLastError();
}

static void errors(void)
{
    void *at;
    int status;

    HIP_IS(101, hipSetDevice(9));
    SAME(hipPeekAtLastError() == 101 && hipGetLastError() == 101 && hipGetLastError() == 0, 0);
    SAME(strcmp(hipGetErrorName(209), "hipErrorNoBinaryForGpu") == 0, 0);
    SAME(strcmp(hipGetErrorString(2), "out of memory") == 0, 0);
    HIP_IS(801, hipCreateTextureObject());
    HIP_IS(2, hipMalloc(&at, (size_t)1 << 46));
    HIP_IS(21, hipMemcpy(&at, &at, 8, 17));
    HIP_IS(400, hipStreamSynchronize((hipStream_t)&folder));
    HIP(hipGetProcAddress("hipMalloc", &at, 6000, 0, &status));
    SAME(at == (void *)hipMalloc && status == 0, status);
    HIP_IS(1, hipGetProcAddress("hipNothing", &at, 6000, 0, &status));
    hipGetLastError();
}

static void memory(void)
{
    enum { N = 100000, W = 300, H = 20 };
    static uint8_t from[N], to[N];
    uint8_t *a, *b;
    size_t pitch, free_before, free_now, total;

    for (unsigned i = 0; i < N; i++)
        from[i] = (uint8_t)mix(i);
    HIP(hipMemGetInfo(&free_before, &total));
    HIP(hipMalloc((void **)&a, N));
    HIP(hipMalloc((void **)&b, N));
    HIP(hipMemGetInfo(&free_now, &total));
    SAME(free_before - free_now >= 2 * N, free_now);
    HIP(hipMemcpy(a, from, N, HOST_TO_DEVICE));
    HIP(hipMemcpy(b, a, N, DEVICE_TO_DEVICE));
    HIP(hipMemcpy(to, b, N, ANY));
    SAME(memcmp(to, from, N) == 0, 0);
    HIP(hipMemset(b + 1, 0x5a, N - 2));
    HIP(hipMemcpy(to, b, N, DEVICE_TO_HOST));
    SAME(to[0] == from[0] && to[1] == 0x5a && to[N - 2] == 0x5a && to[N - 1] == from[N - 1], to[1]);
    HIP(hipFree(a));
    HIP(hipFree(b));
    HIP(hipFree(NULL));
    HIP(hipMallocPitch((void **)&a, &pitch, W, H));
    SAME(pitch >= W, pitch);
    HIP(hipMemset2D(a, pitch, 7, W, H));
    HIP(hipMemcpy2D(a + 2 * pitch, pitch, from, W, W, H - 4, HOST_TO_DEVICE));
    HIP(hipMemcpy2D(to, W, a, pitch, W, H, DEVICE_TO_HOST));
    for (unsigned i = 0; i < W * H; i++)
        SAME(to[i] == (i < 2 * W || i >= (H - 2) * W ? 7 : from[i - 2 * W]), i);
    HIP(hipFree(a));
    HIP(hipHostMalloc((void **)&a, N, 0));
    HIP(hipMallocAsync((void **)&b, N, NULL));
    memcpy(a, from, N);
    HIP(hipMemcpyAsync(b, a, N, HOST_TO_DEVICE, NULL));
    memset(a, 0, N);
    HIP(hipMemcpyAsync(a, b, N, ANY, NULL));
    HIP(hipDeviceSynchronize());
    SAME(memcmp(a, from, N) == 0, 0);
    HIP(hipFreeAsync(b, NULL));
    HIP(hipHostFree(a));
}

/* Boxes, as records of HIP's driver API tell them. */
static void boxes(void)
{
    enum { W = 24, H = 5, D = 3, HOST = 1, DEVICE = 2, ARRAY = 10, UNIFIED = 11 };
    static uint8_t from[W * H * D], to[W * H * D];
    struct box up = {.from = {.type = HOST, .host = from, .pitch = W, .height = H},
                     .to = {.x = 3, .y = 1, .z = 1, .type = DEVICE, .pitch = 64, .height = H + 2},
                     .width = W,
                     .height = H,
                     .depth = D},
               down = {.from = up.to,
                       .to = {.type = HOST, .host = to, .pitch = W, .height = H},
                       .width = W,
                       .height = H,
                       .depth = D},
               got;
    uint8_t *at, one;
    hipGraph_t g;
    hipGraphNode_t node;
    hipGraphExec_t e;
    void *context;

    for (unsigned i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)mix(i);
    HIP(hipMalloc((void **)&at, 64 * (H + 2) * (D + 1)));
    HIP(hipMemset(at, 0, 64 * (H + 2) * (D + 1)));
    up.to.device = down.from.device = at;
    down.from.type = UNIFIED;
    HIP(hipDrvMemcpy3D(&up));
    HIP(hipMemcpy(&one, at + 64 * (H + 2) + 64 + 3, 1, DEVICE_TO_HOST));
    SAME(one == from[0], one);
    HIP(hipDrvMemcpy3DAsync(&down, NULL));
    HIP(hipDeviceSynchronize());
    SAME(memcmp(to, from, sizeof(to)) == 0, to[0]);
    memset(to, 0, sizeof(to));
    HIP(hipCtxGetCurrent(&context));
    HIP(hipGraphCreate(&g, 0));
    HIP(hipDrvGraphAddMemcpyNode(&node, g, NULL, 0, &down, context));
    HIP(hipDrvGraphMemcpyNodeGetParams(node, &got));
    SAME(got.to.host == to && got.to.pitch == W && got.from.device == at && got.depth == D, 0);
    HIP(hipGraphInstantiate(&e, g, NULL, NULL, 0));
    HIP(hipGraphLaunch(e, NULL));
    HIP(hipDeviceSynchronize());
    SAME(memcmp(to, from, sizeof(to)) == 0, to[0]);
    HIP(hipGraphExecDestroy(e));
    HIP(hipGraphDestroy(g));
    up.to.type = ARRAY;
    HIP_IS(801, hipDrvMemcpy3D(&up));
    up.to.type = 7;
    HIP_IS(1, hipDrvMemcpy3D(&up));
    HIP(hipFree(at));
    hipGetLastError();
}

/* What an address is of. */
static void pointers(void)
{
    struct pointer p;
    void *device, *host;
    int plain;

    HIP(hipMalloc(&device, 256));
    HIP(hipHostMalloc(&host, 256, 0));
    HIP(hipPointerGetAttributes(&p, device));
    SAME(p.type == 2 && p.device == 0 && p.device_pointer == device, p.type);
    HIP(hipPointerGetAttributes(&p, host));
    SAME(p.type == 1 && p.device == 0 && p.host_pointer == host, p.type);
    HIP(hipPointerGetAttributes(&p, &plain));
    SAME(p.type == 0 && p.device == -2 && !p.device_pointer && !p.host_pointer, p.type);
    SAME(hipPeekAtLastError() == 0, 0);
    HIP_IS(1, hipPointerGetAttributes(&p, NULL));
    HIP(hipFree(device));
    HIP(hipHostFree(host));
    hipGetLastError();
}

struct wide {
    int number;
    double value;
    short last;
};

struct __attribute__((aligned(16))) vec {
    float x, y, z, w;
};

/* Arguments of every size, one by one and as one buffer. */
static void arguments(void)
{
    char c = -3;
    double d = 1.5, sum = 0;
    short s = -300;
    float f = 0.25f;
    struct {
        char bytes[3];
    } odd = {{9, 8, 7}};
    long long l = -1234567;
    struct wide w = {.number = 77, .value = 2.125, .last = -5};
    bool b = true;
    struct vec v = {1.5f, 2, 3, 4.25f};
    int last = 1000;
    double *out,
        want = -3 + 1.5 - 300 + 0.25 + 9 - 1234567 + 77 + 2.125 - 5 + 1 + 1.5 + 4.25 + 1000;
    hipModule_t m;
    hipFunction_t mixed, large;
    struct {
        uint32_t v[200];
    } many;
    uint32_t which = 123, got;

    void *image = read_file("kernels.gfx90a.v5.co");
    HIP(hipModuleLoadData(&m, image));
    free(image);
    HIP(hipModuleGetFunction(&mixed, m, "mixed"));
    HIP(hipMalloc((void **)&out, 8));
    void *params[] = {&c, &d, &s, &f, &odd, &out, &l, &w, &b, &v, &last};
    HIP(hipModuleLaunchKernel(mixed, 3, 2, 1, 64, 2, 1, 512, NULL, params, NULL));
    HIP(hipMemcpy(&sum, out, 8, DEVICE_TO_HOST));
    SAME(sum == want, sum);
    HIP(hipMemset(out, 0, 8));
    HIP(hipModuleLaunchCooperativeKernel(mixed, 1, 1, 1, 64, 1, 1, 0, NULL, params));
    HIP(hipMemcpy(&sum, out, 8, DEVICE_TO_HOST));
    SAME(sum == want, sum);
    for (unsigned i = 0; i < 200; i++)
        many.v[i] = mix(i);
    struct {
        void *out;
        uint32_t many[200], which;
    } buffer = {.out = out, .which = which};
    memcpy(buffer.many, many.v, sizeof(many.v));
    size_t bytes = offsetof(__typeof__(buffer), which) + 4;
    void *extra[] = {(void *)1, &buffer, (void *)2, &bytes, (void *)3};
    HIP(hipModuleGetFunction(&large, m, "large"));
    HIP(hipModuleLaunchKernel(large, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    HIP(hipMemcpy(&got, out, 4, DEVICE_TO_HOST));
    SAME(got == many.v[123], got);
    bytes--;
    HIP_IS(1, hipModuleLaunchKernel(large, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    HIP_IS(1, hipModuleLaunchKernel(large, 1, 1, 1, 1, 1, 1, 0, NULL, params, extra));
    HIP_IS(1, hipModuleLaunchKernel(large, 0, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    HIP(hipModuleUnload(m));
    HIP(hipFree(out));
    hipGetLastError();
}

static void modules(void)
{
    char path[512];
    hipModule_t m;
    hipFunction_t f;
    void *at;
    size_t bytes;

    snprintf(path, sizeof(path), "%s/kernels.bundle", folder);
    HIP(hipModuleLoad(&m, path));
    HIP_IS(500, hipModuleGetFunction(&f, m, "no such kernel"));
    HIP(hipModuleGetGlobal(&at, &bytes, m, "table"));
    SAME(bytes == 64, bytes);
    HIP(hipModuleUnload(m));
    void *image = read_file("kernels.gfx1030.v5.co");
    HIP_IS(209, hipModuleLoadData(&m, image));
    free(image);
    HIP_IS(200, hipModuleLoadData(&m, ".version 8.0 is PTX, which no AMD GPU runs"));
    image = read_file("kernels.gfx90a.v5.co");
    ((uint8_t *)image)[18] = 0x3e; /* not for a GPU */
    HIP_IS(200, hipModuleLoadData(&m, image));
    free(image);
    HIP_IS(301, hipModuleLoad(&m, "/nowhere/kernels.co"));
    hipGetLastError();
}

/* The first MOST bytes of a file of the folder are a file of their own, which is loaded. */
static hipError_t load_part(const char *name, size_t most)
{
    char path[] = "/tmp/hip-program-XXXXXX";
    char *image = read_file(name);
    hipModule_t m;

    mkdir("/tmp", 0777); /* small guests have none */
    int fd = mkstemp(path);
    SAME(fd >= 0 && write(fd, image, most) == (ssize_t)most, most);
    close(fd);
    free(image);
    hipError_t rc = hipModuleLoad(&m, path);
    unlink(path);
    return rc;
}

/* Files that end too early. */
static void cut_files(void)
{
    static const size_t parts[] = {1, 63, 64, 100, 4096, 4097};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        HIP_IS(200, load_part("kernels.gfx90a.v5.co", parts[i]));
        HIP_IS(200, load_part("kernels.bundle", parts[i]));
    }
    hipGetLastError();
}

static void own_kernels(void)
{
    enum { N = 1000 };
    static uint32_t v[N];
    uint32_t *at, numbers[16], back[16];
    size_t bytes;
    void *params[] = {&at, &bytes};

    for (unsigned i = 0; i < N; i++)
        v[i] = mix(i);
    HIP(hipMalloc((void **)&at, sizeof(v)));
    HIP(hipMemcpy(at, v, sizeof(v), HOST_TO_DEVICE));
    launch_twice((N + 255) / 256, 256, NULL, at, N);
    HIP(hipMemcpy(v, at, sizeof(v), DEVICE_TO_HOST));
    for (unsigned i = 0; i < N; i++)
        SAME(v[i] == 2 * mix(i), i);
    HIP_IS(98, hipLaunchKernel((const void *)none_of_ours, (struct dim3){1, 1, 1},
                               (struct dim3){1, 1, 1}, params, 0, NULL));
    for (unsigned i = 0; i < 16; i++)
        numbers[i] = mix(i + 7);
    HIP(hipGetSymbolSize(&bytes, table));
    SAME(bytes == 64, bytes);
    HIP(hipMemcpyToSymbol(table, numbers, 64, 0, HOST_TO_DEVICE));
    HIP(hipMemcpyFromSymbol(back, table, 32, 16, DEVICE_TO_HOST));
    SAME(memcmp(back, numbers + 4, 32) == 0, 0);
    HIP_IS(1, hipMemcpyFromSymbol(back, table, 64, 16, DEVICE_TO_HOST));
    HIP_IS(13, hipGetSymbolSize(&bytes, numbers));
    HIP(hipFree(at));
    hipGetLastError();
}

static void set_flag(void *data)
{
    *(int *)data = 1;
}

static void streams(void)
{
    enum { N = 4096 };
    uint32_t *v, *host;
    hipStream_t a, b;
    hipEvent_t start, end;
    float ms = -1;
    int called = 0;

    HIP(hipStreamCreate(&a));
    HIP(hipStreamCreate(&b));
    HIP(hipEventCreate(&start));
    HIP(hipEventCreateWithFlags(&end, 0x40000000));
    HIP(hipMalloc((void **)&v, 4 * N));
    HIP(hipHostMalloc((void **)&host, 4 * N, 0x80000000u));
    HIP(hipEventRecord(start, a));
    HIP(hipMemsetD32Async(v, 3, N, a));
    for (int i = 0; i < 5; i++)
        launch_twice(N / 64, 64, a, v, N);
    HIP(hipEventRecord(end, a));
    HIP(hipStreamWaitEvent(b, end, 0));
    HIP(hipMemcpyAsync(host, v, 4 * N, DEVICE_TO_HOST, b));
    HIP(hipLaunchHostFunc(b, set_flag, &called));
    HIP(hipStreamSynchronize(b));
    for (unsigned i = 0; i < N; i++)
        SAME(host[i] == 96, i);
    SAME(called == 1, called);
    HIP(hipEventSynchronize(end));
    HIP(hipEventElapsedTime(&ms, start, end));
    SAME(ms >= 0, 0);
    HIP(hipMemsetD32Async(v, 0, 1, a));
    HIP(hipStreamSynchronize(a));
    HIP(hipStreamWaitValue32(b, v, 5, 1, UINT32_MAX));
    HIP(hipStreamWriteValue32(a, v, 5, 0));
    HIP(hipStreamSynchronize(b));
    HIP(hipStreamQuery(b));
    HIP_IS(801, hipStreamWaitValue32(b, v, 5, 1, 0xff));
    HIP(hipEventDestroy(start));
    HIP(hipEventDestroy(end));
    HIP(hipStreamDestroy(a));
    HIP(hipStreamDestroy(b));
    HIP(hipFree(v));
    HIP(hipHostFree(host));
    hipGetLastError();
}

/* By hand, and captured. */
static void graphs(void)
{
    enum { N = 256 };
    uint32_t *v, host[N], n = N;
    hipGraph_t g;
    hipGraphNode_t fill, kernel, copy;
    hipGraphExec_t e;
    hipStream_t s;

    HIP(hipMalloc((void **)&v, sizeof(host)));
    void *params[] = {&v, &n};
    const struct fill_node filled = {.to = v, .element = 4, .height = 1, .value = 21, .width = N};
    const struct kernel_node doubled = {
        .block = {64, 1, 1}, .function = (void *)twice, .grid = {N / 64, 1, 1}, .params = params};
    HIP(hipGraphCreate(&g, 0));
    HIP(hipGraphAddMemsetNode(&fill, g, NULL, 0, &filled));
    HIP(hipGraphAddKernelNode(&kernel, g, &fill, 1, &doubled));
    HIP(hipGraphAddMemcpyNode1D(&copy, g, &kernel, 1, host, v, sizeof(host), DEVICE_TO_HOST));
    HIP(hipGraphInstantiate(&e, g, NULL, NULL, 0));
    for (int i = 0; i < 3; i++) {
        memset(host, 0, sizeof(host));
        HIP(hipGraphLaunch(e, NULL));
        HIP(hipDeviceSynchronize());
        for (unsigned j = 0; j < N; j++)
            SAME(host[j] == 42, j);
    }
    HIP(hipGraphExecDestroy(e));
    HIP(hipGraphDestroy(g));
    HIP(hipStreamCreate(&s));
    HIP(hipStreamBeginCapture(s, 0));
    launch_twice(N / 64, 64, s, v, N);
    launch_twice(N / 64, 64, s, v, N);
    HIP(hipStreamEndCapture(s, &g));
    HIP(hipGraphInstantiate(&e, g, NULL, NULL, 0));
    HIP(hipGraphLaunch(e, s));
    HIP(hipStreamSynchronize(s));
    HIP(hipMemcpy(host, v, sizeof(host), DEVICE_TO_HOST));
    for (unsigned j = 0; j < N; j++)
        SAME(host[j] == 168, j);
    HIP(hipGraphExecDestroy(e));
    HIP(hipGraphDestroy(g));
    HIP(hipStreamDestroy(s));
    HIP(hipFree(v));
}

/* What was held is gone with the device's context, and the next call makes another. */
static void reset(void)
{
    size_t before, now, total;
    void *at;

    HIP(hipMemGetInfo(&before, &total));
    HIP(hipMalloc(&at, 1 << 20));
    HIP(hipDeviceReset());
    HIP(hipMemGetInfo(&now, &total));
    SAME(now >= before, now);
    own_kernels();
}

/* --- beside other programs, and other workers ------------------------------------------------- */

enum { MIB = 1 << 20 };

static const char *target; /* the argument of "lost" */

static void await_line(const char *word)
{
    char line[16];

    puts(word);
    fflush(stdout);
    SAME(fgets(line, sizeof(line), stdin) != NULL, 0);
}

static void leave(void)
{
    void *first, *second;
    hipStream_t s;
    hipEvent_t e;
    hipModule_t m;
    void *image = read_file("kernels.gfx90a.v5.co");

    HIP(hipMalloc(&first, MIB));
    HIP(hipMalloc(&second, MIB));
    HIP(hipStreamCreate(&s));
    HIP(hipEventCreate(&e));
    HIP(hipEventRecord(e, s));
    HIP(hipModuleLoadData(&m, image));
    HIP(hipMemset(first, 1, MIB));
    HIP(hipDeviceSynchronize());
    free(image);
    await_line("idle");
    HIP(hipFree(first)); /* with the other program's stream at work */
}

/* V is 0, and the stream waits for it to be 5. */
static uint32_t *begin_wait(hipStream_t *out)
{
    uint32_t *v;

    HIP(hipStreamCreate(out));
    HIP(hipMalloc((void **)&v, 4));
    HIP(hipMemsetD32Async(v, 0, 1, *out));
    HIP(hipStreamSynchronize(*out));
    HIP(hipStreamWaitValue32(*out, v, 5, 1, UINT32_MAX));
    HIP_IS(600, hipStreamQuery(*out));
    return v;
}

static void hold(void)
{
    enum { PAUSE_US = 1000, TRIES = 100 * 1000 };
    hipStream_t waits, writes;
    size_t before, now = 0, total;

    HIP(hipStreamCreate(&writes));
    uint32_t *v = begin_wait(&waits);
    HIP(hipMemGetInfo(&before, &total));
    await_line("held");
    for (int i = 0; now < before + 2 * MIB; i++) {
        SAME(i < TRIES, now);
        usleep(PAUSE_US);
        HIP(hipMemGetInfo(&now, &total));
    }
    HIP_IS(600, hipStreamQuery(waits));
    HIP(hipStreamWriteValue32(writes, v, 5, 0));
    HIP(hipStreamSynchronize(waits));
    HIP(hipFree(v));
}

static void stuck(void)
{
    hipStream_t s;

    begin_wait(&s);
}

static void lost(void)
{
    struct hip_properties p;
    void *at;

    signal(SIGPIPE, SIG_IGN); /* the worker's socket is no serial port */
    HIP(hipMalloc(&at, MIB));
    own_kernels();
    await_line("ready");
    SAME(hipMalloc(&at, MIB) != 0, 0);
    if (strcmp(target, "none") == 0) {
        HIP_IS(100, hipDeviceReset());
        return;
    }
    HIP(hipDeviceReset());
    HIP(hipGetDevicePropertiesR0600(&p, 0));
    SAME(strcmp(p.target, target) == 0, 0);
    own_kernels();
}

static void none(void)
{
    int count = 7;

    HIP_IS(100, hipInit(0));
    HIP_IS(100, hipGetDeviceCount(&count));
    SAME(count == 0 && hipGetLastError() == 100, count);
}

static const struct {
    const char *name;
    void (*run)(void);
    const char *after;
} parts[] = {{"none", none, "hip: no device, as was to be"},
             {"leave", leave, "left"},
             {"hold", hold, "released"},
             {"stuck", stuck, "gone"},
             {"lost", lost, "found"}};

/* --- all cases -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {{"devices", devices}, {"errors", errors},       {"memory", memory},
             {"boxes", boxes},     {"pointers", pointers},   {"arguments", arguments},
             {"modules", modules}, {"cut_files", cut_files}, {"own_kernels", own_kernels},
             {"streams", streams}, {"graphs", graphs},       {"reset", reset}};

static int run_part(const char *name)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strcmp(parts[i].name, name) == 0) {
            running = name;
            parts[i].run();
            puts(parts[i].after);
            return 0;
        }
    }
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: hip-program FOLDER [WHAT [TARGET]]\n");
        return 2;
    }
    folder = argv[1];
    target = argc > 3 ? argv[3] : "none";
    running = "beginning";
    void **binary = begin_binary();
    if (argc > 2)
        return run_part(argv[2]);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        running = cases[i].name;
        cases[i].run();
        HIP(hipDeviceSynchronize());
        HIP(hipGetLastError());
        printf("ok %s\n", running);
        fflush(stdout);
    }
    __hipUnregisterFatBinary(binary);
    printf("hip: %zu cases, all well\n", sizeof(cases) / sizeof(cases[0]));
    return 0;
}
