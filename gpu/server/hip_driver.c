/*
 * HIP's library as a driver: devices, modules and launches. See hip_driver.h.
 *
 * Functions of the table know no driver they are of: HIP is the process's own, like CUDA's.
 */
#include "gpu/code/kernarg.h"
#include "gpu/server/hip_priv.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct cuda_module {
    void *handle;
    uint8_t *image; /* owned: the driver may look at it as long as the module is there */
    struct code_object *code;
    GPtrArray *functions; /* struct cuda_function, owned */
};

struct cuda_function {
    void *handle;
    const struct code_kernel *kernel;
};

struct hip_library hip__library;

/* --- devices ---------------------------------------------------------------------------------- */

/* A device's attributes: CUDA's numbers of them, and HIP's. */
static const struct {
    int cuda, hip;
} attributes[] = {
    {1, 56},  {2, 26},  {3, 27},  {4, 28},  {5, 29},   {6, 30},   {7, 31},   {8, 74},
    {9, 83},  {10, 87}, {11, 58}, {12, 71}, {13, 5},   {14, 81},  {15, 12},  {16, 63},
    {17, 18}, {18, 16}, {20, 6},  {31, 8},  {32, 0},   {36, 60},  {37, 59},  {38, 19},
    {39, 57}, {40, 2},  {41, 85}, {75, 23}, {76, 61},  {78, 78},  {79, 14},  {80, 20},
    {81, 76}, {82, 72}, {95, 10}, {97, 75}, {106, 25}, {111, 73}, {115, 88}, {122, 10013},
};

/* What the ring's records bound of a launch: blocks in y and z, threads in z. */
static int most_of(int attribute)
{
    enum { BLOCK_Z = 4, GRID_Y = 6, GRID_Z = 7 };

    return attribute == BLOCK_Z ? 64 : attribute == GRID_Y || attribute == GRID_Z ? 65535 : INT_MAX;
}

/* What is not in the list no program in a guest could use. */
static int device_attribute(int *value, int attribute, int device)
{
    int rc = GPU_INVALID_VALUE;

    for (size_t i = 0; i < G_N_ELEMENTS(attributes); i++) {
        if (attributes[i].cuda == attribute)
            rc = hip__library.attribute(value, attributes[i].hip, device);
    }
    if (!rc)
        *value = MIN(*value, most_of(attribute));
    return rc;
}

bool hip_driver_target(int device, char out[TARGET_BYTES])
{
    g_autofree struct hip_properties *p = g_new0(struct hip_properties, 1);

    if (hip__library.properties(p, device) || !memchr(p->target, 0, TARGET_BYTES) || !p->target[0])
        return false;
    strcpy(out, p->target);
    return true;
}

/* --- modules and kernels ---------------------------------------------------------------------- */

void hip__module_drop(void *opaque)
{
    struct cuda_module *m = opaque;

    hip__library.module_unload(m->handle);
    g_free(m->image);
    g_ptr_array_free(m->functions, TRUE);
    code_object_free(m->code);
    g_free(m);
}

/* What the current context's device is given, of an image that may be for several. */
static struct code_object *parse(const uint8_t *image, size_t length, uint8_t **copy, GError **err)
{
    char target[TARGET_BYTES];
    size_t offset, bytes;

    if (!hip_driver_target(hip__current->device, target)) {
        vmd_fail(err, VMD_ERROR_IO, "the HIP driver does not say what the device runs");
        return NULL;
    }
    if (!code_object_choose(image, length, target, &offset, &bytes, err))
        return NULL;
    struct code_object *code = code_object_new(image + offset, bytes, err);
    if (code)
        *copy = g_memdup2(image + offset, bytes);
    return code;
}

static int load(const struct cuda_driver *d, const uint8_t *image, size_t length, char *log,
                size_t log_bytes, struct cuda_module **out)
{
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *own_image = NULL;
    struct code_object *code = parse(image, length, &own_image, &err);
    void *handle;

    if (!code) {
        g_strlcpy(log, err->message, log_bytes);
        return err->code == VMD_ERROR_INVALID ? GPU_INVALID_IMAGE : GPU_NO_BINARY;
    }
    int rc = hip__library.module_load(&handle, own_image);
    if (rc) {
        g_strlcpy(log, "the HIP driver refuses the code object", log_bytes);
        code_object_free(code);
        return rc;
    }
    struct cuda_module *m = g_new0(struct cuda_module, 1);
    *m = (struct cuda_module){.handle = handle,
                              .image = g_steal_pointer(&own_image),
                              .code = code,
                              .functions = g_ptr_array_new_with_free_func(g_free)};
    g_hash_table_add(hip__current->modules, m);
    *out = m;
    return GPU_SUCCESS;
}

static int module_free(struct cuda_module *m)
{
    g_hash_table_remove(hip__current->modules, m);
    return GPU_SUCCESS;
}

static int module_kernel(struct cuda_function **out, struct cuda_module *m, const char *name)
{
    const struct code_kernel *k = code_object_kernel(m->code, name);
    void *handle;
    int rc = k ? hip__library.module_kernel(&handle, m->handle, name) : GPU_NOT_FOUND;

    if (rc)
        return rc;
    struct cuda_function *f = g_new0(struct cuda_function, 1);
    *f = (struct cuda_function){handle, k};
    g_ptr_array_add(m->functions, f);
    *out = f;
    return GPU_SUCCESS;
}

static int module_global(uint64_t *address, size_t *bytes, struct cuda_module *m, const char *name)
{
    return hip__library.module_global(address, bytes, m->handle, name);
}

/* By CUfunction_attribute, from the metadata. */
static int kernel_attribute(int *value, int attribute, struct cuda_function *f)
{
    const struct code_kernel *k = f->kernel;
    const uint32_t values[] = {k->max_threads, k->group_bytes, 0, k->private_bytes, k->vgprs, 0, 0};

    if (attribute < 0 || attribute >= (int)G_N_ELEMENTS(values))
        return GPU_INVALID_VALUE;
    *value = (int)values[attribute];
    return GPU_SUCCESS;
}

/* LDS needs no leave, and no cache is divided. */
static int kernel_set(struct cuda_function *f, int attribute, int value)
{
    return GPU_SUCCESS;
}

static int kernel_param(struct cuda_function *f, size_t i, size_t *offset, size_t *bytes)
{
    if (i >= f->kernel->n_given)
        return GPU_INVALID_VALUE;
    *offset = f->kernel->args[i].offset;
    *bytes = f->kernel->args[i].size;
    return GPU_SUCCESS;
}

static int occupancy(int *blocks, struct cuda_function *f, int block, size_t shared)
{
    return hip__library.occupancy(blocks, f->handle, block, shared);
}

static int launch(struct cuda_function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                  unsigned by, unsigned bz, unsigned shared, struct cuda_stream *stream,
                  void **params, void **unused)
{
    enum { BUFFER = 1, SIZE, END };
    const struct kernarg_launch l = {{gx, gy, gz}, {bx, by, bz}, shared};
    uint8_t segment[CODE_KERNARG];
    size_t bytes = f->kernel->kernarg_bytes;
    void *extra[] = {(void *)BUFFER, segment, (void *)SIZE, &bytes, (void *)END};

    kernarg_pack(f->kernel, &l, params, segment);
    return hip__asked(stream, hip__library.launch(f->handle, gx, gy, gz, bx, by, bz, shared, stream,
                                                  NULL, extra));
}

/* Cooperative launches have no buffer: the driver puts the arguments together by itself. */
static int launch_cooperative(struct cuda_function *f, unsigned gx, unsigned gy, unsigned gz,
                              unsigned bx, unsigned by, unsigned bz, unsigned shared,
                              struct cuda_stream *stream, void **params)
{
    return hip__asked(stream, hip__library.launch_cooperative(f->handle, gx, gy, gz, bx, by, bz,
                                                              shared, stream, params));
}

/* --- the library ------------------------------------------------------------------------------ */

static const struct cuda_driver own = {
    .name = "HIP",
    .backend = "hip",
    .uuid_is_text = true,
    .load = load,
    .device_attribute = device_attribute,
    .module_free = module_free,
    .module_kernel = module_kernel,
    .module_global = module_global,
    .kernel_attribute = kernel_attribute,
    .kernel_set = kernel_set,
    .kernel_param = kernel_param,
    .occupancy = occupancy,
    .launch = launch,
    .launch_cooperative = launch_cooperative,
};

/* Looks all of it up; false with what is missing. */
static bool bind_calls(void *library, GError **err)
{
    const struct {
        const char *symbol;
        void **to;
    } calls[] = {
#define SAME(name, symbol)       {symbol, (void **)&hip__library.table.name},
#define CALL(name, symbol, args) {symbol, (void **)&hip__library.name},
#include "gpu/server/hip_calls.inc"
#undef SAME
#undef CALL
    };

    hip__library.table = own;
    hip__context_calls(&hip__library.table);
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        *calls[i].to = dlsym(library, calls[i].symbol);
        if (!*calls[i].to)
            return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                            "the HIP driver has no %s: it is not ROCm's of version 6 or later",
                            calls[i].symbol);
    }
    return true;
}

static void *open_library(GError **err)
{
    static const char *const names[] = {"libamdhip64.so.7", "libamdhip64.so.6",
                                        "/opt/rocm/lib/libamdhip64.so.7",
                                        "/opt/rocm/lib/libamdhip64.so.6"};
    const char *other = getenv("VMD_HIP_DRIVER");
    void *library = other ? dlopen(other, RTLD_NOW | RTLD_LOCAL) : NULL;

    for (size_t i = 0; !other && !library && i < G_N_ELEMENTS(names); i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "there is no HIP driver: %s", dlerror());
    return library;
}

/* Whether the driver, of which all is bound, can be used. */
static bool begin(GError **err)
{
    enum { OLDEST = 60000000 };
    int count = 0, rc = hip__library.table.driver_version(&hip__library.table.version);

    if (!rc && hip__library.table.version < OLDEST)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the HIP driver is of version %d, older than 6",
                        hip__library.table.version / 10000000);
    if (!rc)
        rc = hip__library.table.init(0);
    if (!rc)
        rc = hip__library.table.device_count(&count);
    return !rc || vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                           rc == GPU_NO_DEVICE ? "the HIP driver finds no GPU"
                                               : "the HIP driver does not begin: error %d",
                           rc);
}

/* A library that may have threads by now is not closed any more. */
const struct cuda_driver *hip_driver_open(GError **err)
{
    void *library = open_library(err);

    if (!library)
        return NULL;
    if (!bind_calls(library, err)) {
        dlclose(library);
        return NULL;
    }
    return begin(err) ? &hip__library.table : NULL;
}
