/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Contexts. See cuda.h. */
#include "guest/cuda/capture.h"
#include "guest/cuda/managed.h"
#include "guest/cuda/pool.h"

#include <stdlib.h>

enum { STACK = 32 };
static __thread struct cu_context *stack[STACK];
static __thread unsigned depth;

/* That something goes on is no news where something before it failed. */
static int settle(struct cu_context *c, int result, int (*down)(struct cu_context *c))
{
    int late = channel_late(c->o.channel);

    cu_prints(c->o.channel);
    if (!result && cu_managing())
        result = down(c);
    return late && (!result || result == CUDA_ERROR_NOT_READY) ? late : result;
}

int cu_settle(struct cu_context *c, int result)
{
    return settle(c, result, cu_managed_down);
}

int cu_settle_query(struct cu_context *c, int result)
{
    return settle(c, result, cu_managed_down_if_idle);
}

static int context_new(struct cu_context **out, unsigned flags, CUdevice device)
{
    int rc = cu_reopen();
    struct cu_context *c = rc ? NULL : calloc(1, sizeof(*c));

    if (!c)
        return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
    c->o = (struct cu_object){KIND_CONTEXT, cu_new_id(), cu.channel};
    c->device = device;
    c->flags = flags;
    pthread_mutex_init(&c->lock, NULL);
    const struct gpu_call_ctx_new call = {
        .ctx = c->o.id, .device = (uint32_t)device, .flags = flags};
    rc = cu_call(c->o.channel, GPU_OP_CTX_NEW, &call, NULL);
    if (rc) {
        free(c);
        return rc;
    }
    pthread_mutex_lock(&cu.lock);
    c->next = cu.contexts;
    cu.contexts = c;
    pthread_mutex_unlock(&cu.lock);
    *out = c;
    return 0;
}

/* The object stays, so that whoever still has it hears that it is no context. */
static int context_free(struct cu_context *c)
{
    const struct gpu_call_ctx_free call = {.ctx = c->o.id};

    cu_prints_of(c);
    cu_pool_forget(c);
    cu_managed_forget(c);
    cu_flow_end(&c->flow);
    c->o.kind = 0;
    cu_hold_forget(c);
    while (c->modules) {
        struct cu_module *m = c->modules;
        c->modules = m->next;
        cu_module_forget(m);
    }
    return cu_call(c->o.channel, GPU_OP_CTX_FREE, &call, NULL);
}

struct cu_context *cu_current(void)
{
    return depth ? stack[depth - 1] : NULL;
}

struct cu_context *cu_need(int *result)
{
    struct cu_context *c = cu_current();

    *result = !cu.ready ? CUDA_ERROR_NOT_INITIALIZED : c ? 0 : CUDA_ERROR_INVALID_CONTEXT;
    if (c && !cu_is(c, KIND_CONTEXT))
        *result = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return *result ? NULL : c;
}

CU_API CUresult cuCtxPushCurrent_v2(CUcontext c)
{
    if (!cu_is(c, KIND_CONTEXT) || depth == STACK)
        return CUDA_ERROR_INVALID_CONTEXT;
    stack[depth++] = c;
    return 0;
}

CU_API CUresult cuCtxPopCurrent_v2(CUcontext *c)
{
    if (!depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (c)
        *c = stack[depth];
    return 0;
}

CU_API CUresult cuCtxSetCurrent(CUcontext c)
{
    if (c && !cu_is(c, KIND_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (depth)
        depth--;
    if (c)
        stack[depth++] = c;
    return 0;
}

CU_API CUresult cuCtxGetCurrent(CUcontext *c)
{
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    *c = cu_current();
    return 0;
}

CU_API CUresult cuCtxCreate_v2(CUcontext *c, unsigned flags, CUdevice device)
{
    if (!c || !cu_device_of(device))
        return c ? cu_no_device() : CUDA_ERROR_INVALID_VALUE;
    int rc = depth == STACK ? CUDA_ERROR_OUT_OF_MEMORY : context_new(c, flags, device);
    return rc ? rc : cuCtxPushCurrent_v2(*c);
}

/* No context has a part of a device only. */
CU_API CUresult cuCtxCreate_v3(CUcontext *c, const void *affinity, int n, unsigned flags,
                               CUdevice device)
{
    return n ? CUDA_ERROR_NOT_SUPPORTED : cuCtxCreate_v2(c, flags, device);
}

struct create_params {
    const void *affinity;
    int n;
    const void *graphics;
};

CU_API CUresult cuCtxCreate_v4(CUcontext *c, const struct create_params *p, unsigned flags,
                               CUdevice device)
{
    if (p && (p->n || p->graphics))
        return CUDA_ERROR_NOT_SUPPORTED;
    return cuCtxCreate_v2(c, flags, device);
}

CU_API CUresult cuCtxDestroy_v2(CUcontext c)
{
    if (!cu_is(c, KIND_CONTEXT) || c->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (cu_current() == c)
        depth--;
    return context_free(c);
}

CU_API CUresult cuCtxGetDevice(CUdevice *device)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);

    if (c && device)
        *device = c->device;
    return c && !device ? CUDA_ERROR_INVALID_VALUE : rc;
}

CU_API CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext c)
{
    if (!c)
        return cuCtxGetDevice(device);
    if (!device || !cu_is(c, KIND_CONTEXT))
        return device ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
    *device = c->device;
    return 0;
}

CU_API CUresult cuCtxGetId(CUcontext c, unsigned long long *id)
{
    c = c ? c : cu_current();
    if (!id || !cu_is(c, KIND_CONTEXT))
        return id ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
    *id = c->o.id;
    return 0;
}

CU_API CUresult cuCtxSetFlags(unsigned flags)
{
    int rc;
    struct cu_context *c = cu_need(&rc);

    if (c)
        c->flags = flags;
    return rc;
}

CU_API CUresult cuCtxGetFlags(unsigned *flags)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);

    if (c && flags)
        *flags = c->flags;
    return c && !flags ? CUDA_ERROR_INVALID_VALUE : rc;
}

CU_API CUresult cuCtxGetApiVersion(CUcontext c, unsigned *version)
{
    if (!version || (c && !cu_is(c, KIND_CONTEXT)))
        return version ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
    *version = 3020;
    return 0;
}

CU_API CUresult cuCtxSynchronize(void)
{
    int rc;
    struct cu_context *c = cu_need(&rc);

    if (!rc)
        rc = cu_capture_unsafe();
    if (rc)
        return rc;
    const uint64_t freed = cu_pool_freed();
    const struct gpu_call_ctx_sync call = {.ctx = c->o.id};
    rc = cu_call(c->o.channel, GPU_OP_CTX_SYNC, &call, NULL);
    if (!rc)
        cu_pool_settle(c, 0, freed);
    return cu_settle(c, rc);
}

CU_API CUresult cuCtxSynchronize_v2(CUcontext c)
{
    if (!c || c == cu_current())
        return cuCtxSynchronize();
    int rc = cuCtxPushCurrent_v2(c);
    if (rc)
        return rc;
    rc = cuCtxSynchronize();
    cuCtxPopCurrent_v2(NULL);
    return rc;
}

CU_API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    int rc;

    if (cu_need(&rc)) {
        if (least)
            *least = 0;
        if (greatest)
            *greatest = 0;
    }
    return rc;
}

/* --- primary contexts ------------------------------------------------------------------------- */

/* Over making and ending them, which is no one step with the state's lock. Taken before that. */
static pthread_mutex_t primary_lock = PTHREAD_MUTEX_INITIALIZER;

/* One that is lost is nobody's any more. Locked. */
static int primary_get(struct cu_device *d, CUdevice device, struct cu_context **c)
{
    int rc = cu_reopen();

    pthread_mutex_lock(&cu.lock);
    struct cu_context *p = d->primary;
    pthread_mutex_unlock(&cu.lock);
    if (!rc && !p) {
        rc = context_new(&p, d->primary_flags, device);
        if (!rc)
            p->primary = true;
    }
    if (rc)
        return rc;
    pthread_mutex_lock(&cu.lock);
    if (p->o.channel == cu.channel)
        d->primary = p;
    p->users++;
    pthread_mutex_unlock(&cu.lock);
    *c = p;
    return 0;
}

CU_API CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice device)
{
    struct cu_device *d = cu_device_of(device);

    if (!c || !d)
        return c ? cu_no_device() : CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&primary_lock);
    int rc = primary_get(d, device, c);
    pthread_mutex_unlock(&primary_lock);
    return rc;
}

static int primary_end(struct cu_device *d, bool all)
{
    struct cu_context *p = NULL;

    pthread_mutex_lock(&primary_lock);
    pthread_mutex_lock(&cu.lock);
    bool none = !d->primary;
    if (!none && (all || --d->primary->users == 0)) {
        p = d->primary;
        d->primary = NULL;
    }
    pthread_mutex_unlock(&cu.lock);
    int rc = p ? context_free(p) : none && !all ? CUDA_ERROR_INVALID_CONTEXT : 0;
    pthread_mutex_unlock(&primary_lock);
    return rc;
}

CU_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    struct cu_device *d = cu_device_of(device);

    return d ? primary_end(d, false) : cu_no_device();
}

CU_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    struct cu_device *d = cu_device_of(device);

    return d ? primary_end(d, true) : cu_no_device();
}

CU_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    struct cu_device *d = cu_device_of(device);

    if (!d)
        return cu_no_device();
    d->primary_flags = flags;
    return 0;
}

CU_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    const struct cu_device *d = cu_device_of(device);

    if (!d || !flags || !active)
        return d ? CUDA_ERROR_INVALID_VALUE : cu_no_device();
    *flags = d->primary_flags;
    *active = d->primary != NULL;
    return 0;
}
