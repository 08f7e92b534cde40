/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Launches of kernels. See cuda.h. */
#include "guest/cuda/capture.h"

#include <string.h>

/* Puts the parameters together as the kernel has them, from their addresses or from one buffer. */
static int pack(const struct cu_function *f, void **params, void **extra, char *to)
{
    const void *buffer = NULL;
    size_t bytes = 0;

    if (params && extra)
        return CUDA_ERROR_INVALID_VALUE;
    for (; extra && *extra; extra += 2) {
        if ((uintptr_t)extra[0] == 1)
            buffer = extra[1];
        else if ((uintptr_t)extra[0] == 2)
            bytes = *(const size_t *)extra[1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (buffer) {
        if (bytes > GPU_PARAMS || bytes < f->params_bytes)
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(to, buffer, f->params_bytes);
        return 0;
    }
    if (f->info.params && !params)
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < f->info.params; i++)
        memcpy(to + f->params[i].offset, params[i], f->params[i].size);
    return 0;
}

/* What is wrong with a launch for this kernel on its device: CUDA says so before it begins. */
static int check_launch(const struct cu_function *f, const struct gpu_call_launch *l)
{
    const int *a = cu.device[f->module->context->device].attributes;
    uint64_t threads = (uint64_t)l->block_x * l->block_y * l->block_z;
    unsigned shared = f->info.static_shared + l->shared;
    unsigned most = (unsigned)a[8];

    if (f->dynamic_shared > 0 && f->info.static_shared + f->dynamic_shared > most)
        most = f->info.static_shared + f->dynamic_shared;
    if (!threads || !l->grid_x || !l->grid_y || !l->grid_z || l->block_x > (unsigned)a[2] ||
        l->block_y > (unsigned)a[3] || l->block_z > (unsigned)a[4] || l->grid_x > (unsigned)a[5] ||
        l->grid_y > (unsigned)a[6] || l->grid_z > (unsigned)a[7] || threads > (unsigned)a[1] ||
        shared > most)
        return CUDA_ERROR_INVALID_VALUE;
    return threads > f->info.max_threads ? CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES : 0;
}

int cu_launch_pack(const struct cu_function *f, struct gpu_call_launch *l, void **params,
                   void **extra, char to[GPU_PARAMS])
{
    int rc = check_launch(f, l);

    memset(to, 0, f->params_bytes);
    l->function = f->o.id;
    return rc ? rc : pack(f, params, extra, to);
}

static int launch(CUfunction f, CUstream stream, struct gpu_call_launch *l, void **params,
                  void **extra)
{
    char packed[GPU_PARAMS];
    struct cu_where w;

    if (!cu_is(f, KIND_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    int rc = cu_where(stream, &w);
    if (!rc && w.context != f->module->context)
        rc = CUDA_ERROR_INVALID_HANDLE;
    if (!rc)
        rc = cu_launch_pack(f, l, params, extra, packed);
    if (rc)
        return rc;
    if (w.capture) {
        const struct cu_graph_node node = {
            .type = CU_GRAPH_NODE_TYPE_KERNEL,
            .kernel = {.function = f, .launch = *l, .packed = packed}};
        return cu_capture(&w, &node);
    }
    l->stream = w.id;
    return cu_post(&w, GPU_OP_LAUNCH, l, packed, f->params_bytes);
}

CU_API CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                               unsigned by, unsigned bz, unsigned shared, CUstream stream,
                               void **params, void **extra)
{
    struct gpu_call_launch l = {.grid_x = gx,
                                .grid_y = gy,
                                .grid_z = gz,
                                .block_x = bx,
                                .block_y = by,
                                .block_z = bz,
                                .shared = shared};

    return launch(f, stream, &l, params, extra);
}

CU_API CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                                          unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                          CUstream stream, void **params)
{
    struct gpu_call_launch l = {.grid_x = gx,
                                .grid_y = gy,
                                .grid_z = gz,
                                .block_x = bx,
                                .block_y = by,
                                .block_z = bz,
                                .shared = shared,
                                .flags = 1};

    return launch(f, stream, &l, params, NULL);
}

/* What changes how a kernel runs and is not here is refused; what only hints is taken. */
static int launch_attribute(const struct cu_launch_attribute *a, struct gpu_call_launch *l)
{
    switch (a->id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        l->flags = a->value.cooperative != 0;
        return 0;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION: {
        const unsigned *c = a->value.cluster;
        return c[0] * c[1] * c[2] <= 1 ? 0 : CUDA_ERROR_NOT_SUPPORTED;
    }
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        return 0;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CU_API CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **params, void **extra)
{
    if (!c || (c->numAttrs && !c->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    struct gpu_call_launch l = {.grid_x = c->gridDimX,
                                .grid_y = c->gridDimY,
                                .grid_z = c->gridDimZ,
                                .block_x = c->blockDimX,
                                .block_y = c->blockDimY,
                                .block_z = c->blockDimZ,
                                .shared = c->sharedMemBytes};
    for (unsigned i = 0; i < c->numAttrs; i++) {
        int rc = launch_attribute(&c->attrs[i], &l);
        if (rc)
            return rc;
    }
    return launch(f, c->hStream, &l, params, extra);
}
