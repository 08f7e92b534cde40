/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * Images, the kernels and variables that a program's own code names, and launches. See hip.h.
 *
 * The compiler has a program register its images before main(): nothing is loaded then. What is
 * registered is loaded in a context when something of it is first used there. Contexts are never
 * another at the same address, so that one is known by it.
 */
#include "guest/hip/hip.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* An image in a context. */
struct loaded {
    struct loaded *next;
    const struct cu_context *context;
    CUmodule module;
};

/* An image that was registered. */
struct binary {
    struct binary *next;
    const void *image;
    struct loaded *loaded;
};

/* A function or a variable of the program, and what it stands for. */
struct named {
    struct named *next;
    const void *host;
    char *name;
    struct binary *binary;
    bool variable;
};

static struct binary *binaries;
static struct named *names;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- images ----------------------------------------------------------------------------------- */

/* Whether the code object at ELF ends, by its header, within MOST bytes. */
static bool elf_is_within(const char *elf, size_t most)
{
    enum { HEADER = 64 };
    uint64_t at;
    uint16_t size, n;

    if (most < HEADER)
        return false;
    memcpy(&at, elf + 40, sizeof(at));
    memcpy(&size, elf + 58, sizeof(size));
    memcpy(&n, elf + 60, sizeof(n));
    return at <= most && (uint64_t)size * n <= most - at;
}

/* The image for the current device in the bundle of at most *MOST bytes, and its bytes. */
static int choose(const void **image, size_t *most)
{
    char target[TARGET_BYTES];
    size_t offset, bytes;

    hip_target(cu_current()->device, target);
    switch (bundle_find(*image, *most, target, &offset, &bytes)) {
    case BUNDLE_FOUND:
        *image = (const char *)*image + offset;
        *most = bytes;
        return 0;
    case BUNDLE_NONE:
        return hipErrorNoBinaryForGpu;
    default:
        return hipErrorInvalidImage;
    }
}

int hip_image(const void **image, size_t most)
{
    static const char elf[] = "\177ELF";
    struct {
        uint32_t magic, version;
        const void *bundle;
    } wrapper;
    int rc = 0;

    memcpy(&wrapper.magic, *image, sizeof(wrapper.magic));
    if (wrapper.magic == BUNDLE_WRAPPER && most == HIP_IN_PROGRAM) {
        memcpy(&wrapper, *image, sizeof(wrapper));
        *image = wrapper.bundle;
    }
    if (memcmp(*image, BUNDLE_PACKED, strlen(BUNDLE_PACKED)) == 0)
        return hipErrorNotSupported;
    if (memcmp(*image, elf, strlen(elf)) != 0) {
        if (memcmp(*image, BUNDLE_MAGIC, strlen(BUNDLE_MAGIC)) != 0)
            return hipErrorInvalidImage;
        rc = choose(image, &most);
    }
    if (!rc && (!elf_is_within(*image, most) || memcmp(*image, elf, strlen(elf)) != 0))
        rc = hipErrorInvalidImage;
    return rc;
}

static int load(CUmodule *m, const void *image, size_t most)
{
    int rc = m && image ? hip_enter() : hipErrorInvalidValue;

    if (!rc)
        rc = hip_image(&image, most);
    return hip_left(rc ? rc : cuModuleLoadData(m, image));
}

HIP_API hipError_t hipModuleLoadData(CUmodule *m, const void *image)
{
    return load(m, image, HIP_IN_PROGRAM);
}

/* The options are of a compiler that has nothing to do. */
HIP_API hipError_t hipModuleLoadDataEx(CUmodule *m, const void *image, unsigned n, int *options,
                                       void **values)
{
    return load(m, image, HIP_IN_PROGRAM);
}

HIP_API hipError_t hipModuleLoad(CUmodule *m, const char *path)
{
    struct stat st;
    int fd = m && path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (!m || !path)
        return hip_left(hipErrorInvalidValue);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 64 || st.st_size >= HIP_IN_PROGRAM) {
        if (fd >= 0)
            close(fd);
        return hip_left(fd < 0 ? hipErrorFileNotFound : hipErrorInvalidImage);
    }
    void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return hip_left(hipErrorOutOfMemory);
    int rc = load(m, at, (size_t)st.st_size);
    munmap(at, (size_t)st.st_size);
    return rc;
}

/* --- what a program registers ----------------------------------------------------------------- */

HIP_API void **__hipRegisterFatBinary(const void *wrapper)
{
    struct binary *b = calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    b->image = wrapper;
    pthread_mutex_lock(&lock);
    b->next = binaries;
    binaries = b;
    pthread_mutex_unlock(&lock);
    return (void **)b;
}

static void add_name(struct binary *b, const void *host, const char *name, bool variable)
{
    struct named *n = b ? calloc(1, sizeof(*n)) : NULL;

    if (!n)
        return;
    *n = (struct named){.host = host, .name = strdup(name), .binary = b, .variable = variable};
    pthread_mutex_lock(&lock);
    n->next = names;
    names = n;
    pthread_mutex_unlock(&lock);
}

HIP_API void __hipRegisterFunction(void **binary, const void *host, char *device_name,
                                   const char *name, unsigned threads, void *tid, void *bid,
                                   struct dim3 *block, struct dim3 *grid, int *warp)
{
    add_name((struct binary *)binary, host, name, false);
}

HIP_API void __hipRegisterVar(void **binary, void *host, char *host_name, char *name, int external,
                              size_t bytes, int constant, int global)
{
    add_name((struct binary *)binary, host, name, true);
}

/* Managed variables are lacking: whoever asks for one hears that it is no symbol. */
HIP_API void __hipRegisterManagedVar(void *binary, void **pointer, void *init, const char *name,
                                     size_t bytes, unsigned align)
{
}

HIP_API void __hipRegisterTexture(void **binary, void *host, char *host_name, char *name, int type,
                                  int normalized, int external)
{
}

HIP_API void __hipRegisterSurface(void **binary, void *host, char *host_name, char *name, int type,
                                  int external)
{
}

/* Modules stay with their contexts: the program may be about to end, and its device gone. */
HIP_API void __hipUnregisterFatBinary(void **binary)
{
    struct binary *b = (struct binary *)binary;

    pthread_mutex_lock(&lock);
    for (struct named **n = &names; *n;) {
        struct named *one = *n;
        if (one->binary != b) {
            n = &one->next;
            continue;
        }
        *n = one->next;
        free(one->name);
        free(one);
    }
    struct binary **at = &binaries;
    while (*at && *at != b)
        at = &(*at)->next;
    if (*at) {
        *at = b->next;
        while (b->loaded) {
            struct loaded *l = b->loaded;
            b->loaded = l->next;
            free(l);
        }
        free(b);
    }
    pthread_mutex_unlock(&lock);
}

/* --- what is registered, in the current context ----------------------------------------------- */

/* The module of B in the current context. Locked. */
static int module_of(struct binary *b, CUmodule *out)
{
    const struct cu_context *c = cu_current();
    const void *image = b->image;
    struct loaded *l = b->loaded;

    while (l && l->context != c)
        l = l->next;
    if (l) {
        *out = l->module;
        return 0;
    }
    int rc = hip_image(&image, HIP_IN_PROGRAM);
    if (!rc)
        rc = cuModuleLoadData(out, image);
    l = rc ? NULL : calloc(1, sizeof(*l));
    if (l) {
        *l = (struct loaded){b->loaded, c, *out};
        b->loaded = l;
    }
    return rc;
}

/* What HOST stands for, with its module. Locked. */
static int find(const void *host, bool variable, const char **name, CUmodule *module)
{
    const struct named *n = names;

    while (n && (n->host != host || n->variable != variable))
        n = n->next;
    if (!n)
        return variable ? hipErrorInvalidSymbol : hipErrorInvalidDeviceFunction;
    *name = n->name;
    return module_of(n->binary, module);
}

int hip_kernel(const void *function, CUfunction *out)
{
    const char *name;
    CUmodule module;

    if (!function)
        return hipErrorInvalidDeviceFunction;
    pthread_mutex_lock(&lock);
    int rc = find(function, false, &name, &module);
    if (!rc)
        rc = cuModuleGetFunction(out, module, name);
    pthread_mutex_unlock(&lock);
    return rc;
}

int hip_variable(const void *variable, CUdeviceptr *address, size_t *bytes)
{
    const char *name;
    CUmodule module;

    pthread_mutex_lock(&lock);
    int rc = find(variable, true, &name, &module);
    if (!rc)
        rc = cuModuleGetGlobal_v2(address, bytes, module, name);
    pthread_mutex_unlock(&lock);
    return rc;
}

HIP_API hipError_t hipGetFuncBySymbol(CUfunction *out, const void *function)
{
    int rc = out ? hip_enter() : hipErrorInvalidValue;

    return hip_left(rc ? rc : hip_kernel(function, out));
}

/* --- launches --------------------------------------------------------------------------------- */

HIP_API hipError_t hipModuleLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                                         unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                         CUstream stream, void **params, void **extra)
{
    enum { POINTER = 1, SIZE, END }; /* HIP_LAUNCH_PARAM_* */
    void *list[] = {(void *)POINTER, NULL, (void *)SIZE, NULL, NULL};
    int rc = hip_enter();

    if (!rc && extra) {
        if (params || (uintptr_t)extra[0] != POINTER || (uintptr_t)extra[2] != SIZE ||
            (uintptr_t)extra[4] != END)
            return hip_left(hipErrorInvalidValue);
        list[1] = extra[1];
        list[3] = extra[3];
    }
    if (!rc)
        rc = cuLaunchKernel(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra ? list : NULL);
    return hip_left(rc);
}

/* In threads, and with events around it. */
HIP_API hipError_t hipExtModuleLaunchKernel(CUfunction f, unsigned x, unsigned y, unsigned z,
                                            unsigned bx, unsigned by, unsigned bz, size_t shared,
                                            CUstream stream, void **params, void **extra,
                                            CUevent start, CUevent stop, unsigned flags)
{
    if (!bx || !by || !bz || x % bx || y % by || z % bz)
        return hip_left(hipErrorInvalidValue);
    int rc = hip_enter();
    if (!rc && start)
        rc = cuEventRecord(start, stream);
    if (rc)
        return hip_left(rc);
    rc = hipModuleLaunchKernel(f, x / bx, y / by, z / bz, bx, by, bz, (unsigned)shared, stream,
                               params, extra);
    return rc || !stop ? rc : hip_left(cuEventRecord(stop, stream));
}

HIP_API hipError_t hipHccModuleLaunchKernel(CUfunction f, unsigned x, unsigned y, unsigned z,
                                            unsigned bx, unsigned by, unsigned bz, size_t shared,
                                            CUstream stream, void **params, void **extra,
                                            CUevent start, CUevent stop)
{
    return hipExtModuleLaunchKernel(f, x, y, z, bx, by, bz, shared, stream, params, extra, start,
                                    stop, 0);
}

HIP_API hipError_t hipLaunchKernel(const void *function, struct dim3 grid, struct dim3 block,
                                   void **params, size_t shared, CUstream stream)
{
    CUfunction f;
    int rc = hip_enter();

    if (!rc)
        rc = hip_kernel(function, &f);
    if (!rc)
        rc = cuLaunchKernel(f, grid.x, grid.y, grid.z, block.x, block.y, block.z, (unsigned)shared,
                            stream, params, NULL);
    return hip_left(rc);
}

HIP_API hipError_t hipExtLaunchKernel(const void *function, struct dim3 grid, struct dim3 block,
                                      void **params, size_t shared, CUstream stream, CUevent start,
                                      CUevent stop, int flags)
{
    int rc = hip_enter();

    if (!rc && start)
        rc = cuEventRecord(start, stream);
    if (rc)
        return hip_left(rc);
    rc = hipLaunchKernel(function, grid, block, params, shared, stream);
    return rc || !stop ? rc : hip_left(cuEventRecord(stop, stream));
}

HIP_API hipError_t hipLaunchCooperativeKernel(const void *function, struct dim3 grid,
                                              struct dim3 block, void **params, unsigned shared,
                                              CUstream stream)
{
    CUfunction f;
    int rc = hip_enter();

    if (!rc)
        rc = hip_kernel(function, &f);
    if (!rc)
        rc = cuLaunchCooperativeKernel(f, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared,
                                       stream, params);
    return hip_left(rc);
}

/* What stands in <<< >>>, between its evaluation and the launch; nested where arguments launch. */
enum { CONFIGURATIONS = 16 };
static __thread struct configuration {
    struct dim3 grid, block;
    size_t shared;
    CUstream stream;
} configurations[CONFIGURATIONS];
static __thread unsigned n_configurations;

HIP_API hipError_t __hipPushCallConfiguration(struct dim3 grid, struct dim3 block, size_t shared,
                                              CUstream stream)
{
    if (n_configurations == CONFIGURATIONS)
        return hip_left(hipErrorOutOfMemory);
    configurations[n_configurations++] = (struct configuration){grid, block, shared, stream};
    return 0;
}

HIP_API hipError_t __hipPopCallConfiguration(struct dim3 *grid, struct dim3 *block, size_t *shared,
                                             CUstream *stream)
{
    if (!n_configurations)
        return hip_left(hipErrorMissingConfiguration);
    const struct configuration *c = &configurations[--n_configurations];
    *grid = c->grid;
    *block = c->block;
    *shared = c->shared;
    *stream = c->stream;
    return 0;
}

/* --- kernels ---------------------------------------------------------------------------------- */

HIP_API hipError_t hipFuncGetAttributes(struct hip_function_attributes *out, const void *function)
{
    CUfunction f;
    int rc = out ? hip_enter() : hipErrorInvalidValue;

    if (!rc)
        rc = hip_kernel(function, &f);
    if (rc)
        return hip_left(rc);
    *out = (struct hip_function_attributes){.binary_version = (int)f->info.binary_version,
                                            .constant_bytes = f->info.constant,
                                            .local_bytes = f->info.local,
                                            .dynamic_shared_most =
                                                cu.device[cu_current()->device].attributes[8] -
                                                (int)f->info.static_shared,
                                            .threads_most = (int)f->info.max_threads,
                                            .registers = (int)f->info.registers,
                                            .shared_bytes = f->info.static_shared};
    return 0;
}

HIP_API hipError_t hipFuncSetAttribute(const void *function, int attribute, int value)
{
    CUfunction f;
    int rc = hip_enter();

    if (!rc)
        rc = hip_kernel(function, &f);
    return hip_left(rc ? rc : cuFuncSetAttribute(f, attribute, value));
}

static int prefer(const void *function)
{
    CUfunction f;
    int rc = hip_enter();

    return hip_left(rc ? rc : hip_kernel(function, &f));
}

HIP_API hipError_t hipFuncSetCacheConfig(const void *function, int config)
{
    return prefer(function);
}

HIP_API hipError_t hipFuncSetSharedMemConfig(const void *function, int config)
{
    return prefer(function);
}

HIP_API hipError_t hipOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks,
                                                                         const void *function,
                                                                         int block, size_t shared,
                                                                         unsigned flags)
{
    CUfunction f;
    int rc = hip_enter();

    if (!rc)
        rc = hip_kernel(function, &f);
    if (!rc)
        rc = cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, f, block, shared, flags);
    return hip_left(rc);
}

HIP_API hipError_t hipOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function,
                                                                int block, size_t shared)
{
    return hipOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block, shared,
                                                                 0);
}

HIP_API hipError_t hipModuleOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block,
                                                                    CUfunction f, size_t shared,
                                                                    int most, unsigned flags)
{
    int rc = hip_enter();

    if (!rc)
        rc = cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, f, NULL, shared, most, flags);
    return hip_left(rc);
}

HIP_API hipError_t hipModuleOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction f,
                                                           size_t shared, int most)
{
    return hipModuleOccupancyMaxPotentialBlockSizeWithFlags(grid, block, f, shared, most, 0);
}

HIP_API hipError_t hipOccupancyMaxPotentialBlockSize(int *grid, int *block, const void *function,
                                                     size_t shared, int most)
{
    CUfunction f;
    int rc = hip_enter();

    if (!rc)
        rc = hip_kernel(function, &f);
    return rc ? hip_left(rc)
              : hipModuleOccupancyMaxPotentialBlockSize(grid, block, f, shared, most);
}

/* --- graphs' kernels -------------------------------------------------------------------------- */

/* A node's kernel may be one of a module, too. */
static int node_kernel(const struct hip_kernel_node *p, CUDA_KERNEL_NODE_PARAMS *out)
{
    CUfunction f;
    int rc = p ? hip_enter() : hipErrorInvalidValue;

    if (!rc && p->extra)
        rc = hipErrorNotSupported;
    if (!rc)
        rc = hip_kernel(p->function, &f);
    if (rc == hipErrorInvalidDeviceFunction && cu_is(p->function, KIND_FUNCTION)) {
        f = p->function;
        rc = 0;
    }
    if (!rc)
        *out = (CUDA_KERNEL_NODE_PARAMS){.func = f,
                                         .gridDimX = p->grid.x,
                                         .gridDimY = p->grid.y,
                                         .gridDimZ = p->grid.z,
                                         .blockDimX = p->block.x,
                                         .blockDimY = p->block.y,
                                         .blockDimZ = p->block.z,
                                         .sharedMemBytes = p->shared,
                                         .kernelParams = p->params};
    return rc;
}

HIP_API hipError_t hipGraphAddKernelNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                         size_t n, const struct hip_kernel_node *p)
{
    CUDA_KERNEL_NODE_PARAMS c;
    int rc = node_kernel(p, &c);

    return hip_left(rc ? rc : cuGraphAddKernelNode(out, g, needs, n, &c));
}

HIP_API hipError_t hipGraphKernelNodeSetParams(CUgraphNode node, const struct hip_kernel_node *p)
{
    CUDA_KERNEL_NODE_PARAMS c;
    int rc = node_kernel(p, &c);

    return hip_left(rc ? rc : cuGraphKernelNodeSetParams(node, &c));
}

HIP_API hipError_t hipGraphExecKernelNodeSetParams(CUgraphExec e, CUgraphNode node,
                                                   const struct hip_kernel_node *p)
{
    CUDA_KERNEL_NODE_PARAMS c;
    int rc = node_kernel(p, &c);

    return hip_left(rc ? rc : cuGraphExecKernelNodeSetParams(e, node, &c));
}

/* The kernel is told as one of a module. */
HIP_API hipError_t hipGraphKernelNodeGetParams(CUgraphNode node, struct hip_kernel_node *p)
{
    CUDA_KERNEL_NODE_PARAMS c;
    int rc = p ? cuGraphKernelNodeGetParams(node, &c) : hipErrorInvalidValue;

    if (!rc)
        *p = (struct hip_kernel_node){.block = {c.blockDimX, c.blockDimY, c.blockDimZ},
                                      .function = c.func,
                                      .grid = {c.gridDimX, c.gridDimY, c.gridDimZ},
                                      .params = c.kernelParams,
                                      .shared = c.sharedMemBytes};
    return hip_left(rc);
}
