/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Modules, libraries and their kernels. See cuda.h. */
#include "guest/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    JIT_INFO_LOG = 3,
    JIT_INFO_LOG_BYTES = 4,
    JIT_ERROR_LOG = 5,
    JIT_ERROR_LOG_BYTES = 6,
};

/* Bytes of an image: an ELF file, a fat binary, its wrapper, or text; 0: none of them. */
static size_t image_bytes(const void **image)
{
    struct {
        uint32_t magic, version;
        const void *data;
    } wrapper;
    uint32_t magic;
    uint16_t head;
    uint64_t bytes;

    memcpy(&magic, *image, 4);
    if (magic == 0x466243b1) {
        memcpy(&wrapper, *image, sizeof(wrapper));
        *image = wrapper.data;
        memcpy(&magic, *image, 4);
    }
    if (magic == 0xba55ed50) {
        memcpy(&head, (const char *)*image + 6, 2);
        memcpy(&bytes, (const char *)*image + 8, 8);
        return bytes <= GPU_IMAGE ? head + bytes : 0;
    }
    if (magic == 0x464c457f) { /* to the end of its section headers */
        const unsigned char *elf = *image;
        uint64_t at;
        uint16_t size, n;
        memcpy(&at, elf + 0x28, 8);
        memcpy(&size, elf + 0x3a, 2);
        memcpy(&n, elf + 0x3c, 2);
        return at <= GPU_IMAGE ? at + (uint64_t)size * n : 0;
    }
    return strnlen(*image, GPU_IMAGE);
}

static int send_image(struct channel *c, const char *image, size_t bytes)
{
    const struct gpu_call_image call = {.bytes = bytes};
    int rc = bytes && bytes <= GPU_IMAGE ? channel_post(c, GPU_OP_IMAGE, &call, NULL, 0)
                                         : CUDA_ERROR_INVALID_IMAGE;

    for (uint64_t at = 0; !rc && at < bytes; at += GPU_INLINE) {
        const struct gpu_call_image_part part = {.offset = at};
        uint32_t n = bytes - at < GPU_INLINE ? (uint32_t)(bytes - at) : GPU_INLINE;
        rc = channel_post(c, GPU_OP_IMAGE_PART, &part, image + at, n);
    }
    return rc;
}

/* Gives the log to whoever asked for it, and tells how long it is. */
static void give_log(const char *log, unsigned n, const int *options, void **values, bool failed)
{
    int text = failed ? JIT_ERROR_LOG : JIT_INFO_LOG, size = text + 1;
    char *to = NULL;
    size_t most = 0;

    for (unsigned i = 0; i < n; i++) {
        if (options[i] == text)
            to = values[i];
        else if (options[i] == size)
            most = (size_t)(uintptr_t)values[i];
    }
    if (to && most)
        snprintf(to, most, "%s", log);
    for (unsigned i = 0; i < n; i++) {
        if (options[i] == size)
            values[i] = (void *)(uintptr_t)(strlen(log) < most ? strlen(log) : most);
    }
}

/* One module at a time is on its way: its parts must not mix with another's. */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

int cu_image_begin(struct channel *c, const void *image, size_t bytes, unsigned op,
                   const void *fields, channel_done done, void *opaque)
{
    pthread_mutex_lock(&loading);
    int rc = send_image(c, image, bytes);
    if (!rc)
        rc = channel_begin(c, op, fields, NULL, 0, done, opaque);
    pthread_mutex_unlock(&loading);
    return rc;
}

static int load(struct cu_module **out, const void *image, unsigned n, const int *options,
                void **values)
{
    int rc;
    struct cu_context *c = cu_need(&rc);
    struct cu_module *m = c ? calloc(1, sizeof(*m)) : NULL;
    char log[GPU_LOG + 1] = "";

    if (!m)
        return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
    m->o = (struct cu_object){KIND_MODULE, cu_new_id(), c->o.channel};
    m->context = c;
    const struct gpu_call_module_new call = {.ctx = c->o.id, .module = m->o.id};
    struct channel_data data = {.out = log, .out_most = GPU_LOG};
    size_t bytes = image_bytes(&image);
    pthread_mutex_lock(&loading);
    rc = send_image(c->o.channel, image, bytes);
    if (!rc)
        rc = channel_call(c->o.channel, GPU_OP_MODULE_NEW, &call, &data);
    pthread_mutex_unlock(&loading);
    give_log(log, n, options, values, rc != 0);
    if (rc) {
        free(m);
        return rc;
    }
    pthread_mutex_lock(&c->lock);
    m->next = c->modules;
    c->modules = m;
    pthread_mutex_unlock(&c->lock);
    *out = m;
    return 0;
}

CU_API CUresult cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned n, int *options,
                                   void **values)
{
    if (!m || !image || (n && (!options || !values)))
        return CUDA_ERROR_INVALID_VALUE;
    return load(m, image, n, options, values);
}

CU_API CUresult cuModuleLoadData(CUmodule *m, const void *image)
{
    return cuModuleLoadDataEx(m, image, 0, NULL, NULL);
}

CU_API CUresult cuModuleLoadFatBinary(CUmodule *m, const void *image)
{
    return cuModuleLoadDataEx(m, image, 0, NULL, NULL);
}

/* The file's bytes with a 0 behind them, or NULL with *RESULT. */
static char *read_file(const char *path, int *result)
{
    FILE *f = fopen(path, "re");
    char *bytes = NULL;
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;

    *result = f ? CUDA_ERROR_INVALID_IMAGE : CUDA_ERROR_FILE_NOT_FOUND;
    if (size > 64 && size <= (long)GPU_IMAGE && (bytes = calloc(1, (size_t)size + 1))) {
        rewind(f);
        if (fread(bytes, 1, (size_t)size, f) != (size_t)size) {
            free(bytes);
            bytes = NULL;
        }
    }
    if (f)
        fclose(f);
    return bytes;
}

CU_API CUresult cuModuleLoad(CUmodule *m, const char *path)
{
    int rc;

    if (!m || !path)
        return CUDA_ERROR_INVALID_VALUE;
    char *image = read_file(path, &rc);
    if (!image)
        return rc;
    rc = cuModuleLoadData(m, image);
    free(image);
    return rc;
}

void cu_module_forget(struct cu_module *m)
{
    while (m->functions) {
        struct cu_function *f = m->functions;
        m->functions = f->next;
        free(f->name);
        free(f->params);
        free(f);
    }
    m->o.kind = 0;
    free(m);
}

CU_API CUresult cuModuleUnload(CUmodule m)
{
    if (!cu_is(m, KIND_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    struct cu_context *c = m->context;
    const struct gpu_call_ctx_sync sync = {.ctx = c->o.id};
    const struct gpu_call_module_free call = {.module = m->o.id};
    cu_call(m->o.channel, GPU_OP_CTX_SYNC, &sync, NULL);
    int rc = cu_call(m->o.channel, GPU_OP_MODULE_FREE, &call, NULL);
    if (rc)
        return rc;
    pthread_mutex_lock(&c->lock);
    struct cu_module **at = &c->modules;
    while (*at && *at != m)
        at = &(*at)->next;
    if (*at)
        *at = m->next;
    pthread_mutex_unlock(&c->lock);
    cu_module_forget(m);
    return 0;
}

/* --- kernels ---------------------------------------------------------------------------------- */

static int ask_function(struct cu_module *m, const char *name, struct cu_function **out)
{
    struct cu_function *f = calloc(1, sizeof(*f));

    if (!f)
        return CUDA_ERROR_OUT_OF_MEMORY;
    f->params = calloc(GPU_LAUNCH_PARAMS, sizeof(*f->params));
    f->name = strdup(name);
    if (!f->params || !f->name) {
        free(f->params);
        free(f->name);
        free(f);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    f->o = (struct cu_object){KIND_FUNCTION, cu_new_id(), m->o.channel};
    f->module = m;
    const struct gpu_call_function call = {.module = m->o.id, .function = f->o.id};
    struct channel_data data = {.payload = name,
                                .bytes = (uint32_t)strlen(name),
                                .answer = &f->info,
                                .out = f->params,
                                .out_most = GPU_LAUNCH_PARAMS * sizeof(*f->params)};
    int rc = channel_call(m->o.channel, GPU_OP_FUNCTION, &call, &data);
    if (!rc && data.out_bytes < f->info.params * sizeof(*f->params))
        rc = CUDA_ERROR_INVALID_IMAGE;
    for (uint32_t i = 0; !rc && i < f->info.params; i++) {
        uint64_t end = (uint64_t)f->params[i].offset + f->params[i].size;
        if (end > GPU_PARAMS)
            rc = CUDA_ERROR_NOT_SUPPORTED;
        else if (end > f->params_bytes)
            f->params_bytes = (uint32_t)end;
    }
    if (rc) {
        free(f->name);
        free(f->params);
        free(f);
    } else {
        *out = f;
    }
    return rc;
}

CU_API CUresult cuModuleGetFunction(CUfunction *out, CUmodule m, const char *name)
{
    int rc = 0;

    if (!out || !name || !*name || strlen(name) > GPU_NAME)
        return CUDA_ERROR_INVALID_VALUE;
    if (!cu_is(m, KIND_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&m->context->lock);
    struct cu_function *f = m->functions;
    while (f && strcmp(f->name, name) != 0)
        f = f->next;
    if (!f && !(rc = ask_function(m, name, &f))) {
        f->next = m->functions;
        m->functions = f;
    }
    pthread_mutex_unlock(&m->context->lock);
    if (!rc)
        *out = f;
    return rc;
}

CU_API CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule m,
                                     const char *name)
{
    struct gpu_answer_global answer;

    if (!name || !*name || strlen(name) > GPU_NAME)
        return CUDA_ERROR_INVALID_VALUE;
    if (!cu_is(m, KIND_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct gpu_call_global call = {.module = m->o.id};
    struct channel_data data = {
        .payload = name, .bytes = (uint32_t)strlen(name), .answer = &answer};
    int rc = channel_call(m->o.channel, GPU_OP_GLOBAL, &call, &data);
    if (rc)
        return rc;
    if (address)
        *address = answer.address;
    if (bytes)
        *bytes = answer.bytes;
    return 0;
}

CU_API CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction f)
{
    if (!value || !cu_is(f, KIND_FUNCTION))
        return value ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    const int values[] = {(int)f->info.max_threads,    (int)f->info.static_shared,
                          (int)f->info.constant,       (int)f->info.local,
                          (int)f->info.registers,      (int)f->info.ptx_version,
                          (int)f->info.binary_version, 0,
                          (int)f->dynamic_shared,      -1};
    if (attribute < 0 || attribute >= (int)(sizeof(values) / sizeof(values[0])))
        return CUDA_ERROR_INVALID_VALUE;
    *value = values[attribute];
    return 0;
}

CU_API CUresult cuFuncSetAttribute(CUfunction f, int attribute, int value)
{
    enum { MAX_DYNAMIC_SHARED = 8, CARVEOUT = 9 };

    if (!cu_is(f, KIND_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    if ((attribute != MAX_DYNAMIC_SHARED && attribute != CARVEOUT) || value < -1 ||
        (attribute == MAX_DYNAMIC_SHARED &&
         value + (int)f->info.static_shared > cu.device[f->module->context->device].attributes[97]))
        return CUDA_ERROR_INVALID_VALUE;
    const struct gpu_call_function_set call = {
        .function = f->o.id, .attribute = (uint32_t)attribute, .value = (uint32_t)value};
    int rc = cu_call(f->o.channel, GPU_OP_FUNCTION_SET, &call, NULL);
    if (!rc && attribute == MAX_DYNAMIC_SHARED)
        f->dynamic_shared = (unsigned)value;
    return rc;
}

CU_API CUresult cuFuncSetCacheConfig(CUfunction f, int config)
{
    return cu_is(f, KIND_FUNCTION) ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

CU_API CUresult cuFuncGetModule(CUmodule *m, CUfunction f)
{
    if (!m || !cu_is(f, KIND_FUNCTION))
        return m ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *m = f->module;
    return 0;
}

CU_API CUresult cuFuncGetName(const char **name, CUfunction f)
{
    if (!name || !cu_is(f, KIND_FUNCTION))
        return name ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *name = f->name;
    return 0;
}

CU_API CUresult cuFuncGetParamInfo(CUfunction f, size_t i, size_t *offset, size_t *size)
{
    if (!cu_is(f, KIND_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!offset || i >= f->info.params)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = f->params[i].offset;
    if (size)
        *size = f->params[i].size;
    return 0;
}

/* What is loaded is there at once. */
CU_API CUresult cuModuleGetLoadingMode(int *mode)
{
    enum { EAGER = 1 };

    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = EAGER;
    return 0;
}

CU_API CUresult cuFuncIsLoaded(int *state, CUfunction f)
{
    if (!state || !cu_is(f, KIND_FUNCTION))
        return state ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *state = 1;
    return 0;
}

CU_API CUresult cuFuncLoad(CUfunction f)
{
    return cu_is(f, KIND_FUNCTION) ? 0 : CUDA_ERROR_INVALID_HANDLE;
}

CU_API CUresult cuFuncSetSharedMemConfig(CUfunction f, int config)
{
    return cu_is(f, KIND_FUNCTION) ? 0 : CUDA_ERROR_INVALID_HANDLE;
}
