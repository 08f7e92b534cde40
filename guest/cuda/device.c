/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* The library's beginning, devices, and contexts. See cuda.h. */
#include "guest/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

struct cu_state cu = {.lock = PTHREAD_MUTEX_INITIALIZER};

enum { STACK = 32 };
static __thread struct cu_context *stack[STACK];
static __thread unsigned depth;

uint64_t cu_new_id(void)
{
    static uint64_t last;

    return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

int cu_call(struct channel *c, unsigned op, const void *fields, void *answer)
{
    struct channel_data data = {.answer = answer};

    return channel_call(c, op, fields, &data);
}

int cu_settle(struct channel *c, int result)
{
    int late = channel_late(c);

    return result ? result : late;
}

/* --- the beginning ---------------------------------------------------------------------------- */

static int read_device(int i)
{
    struct cu_device *d = &cu.device[i];
    const struct gpu_call_device call = {.device = (uint32_t)i};
    struct gpu_answer_device answer;
    char out[2048];
    struct channel_data data = {.answer = &answer, .out = out, .out_most = sizeof(out)};
    int rc = channel_call(cu.channel, GPU_OP_DEVICE, &call, &data);

    if (rc)
        return rc;
    uint32_t bytes = answer.attributes * (uint32_t)sizeof(int);
    if (answer.attributes > GPU_ATTRIBUTES || bytes + answer.name > data.out_bytes ||
        answer.name >= sizeof(d->name))
        return CUDA_ERROR_INVALID_DEVICE;
    memcpy(d->attributes, out, bytes);
    memcpy(d->name, out + bytes, answer.name);
    d->memory = answer.memory;
    return 0;
}

/* Locked. */
static int begin(void)
{
    int rc;

    cu.channel = channel_open(&rc);
    if (!cu.channel)
        return rc;
    const struct gpu_answer_hello *hello = channel_hello(cu.channel);
    cu.driver = (int)hello->driver;
    cu.devices = (int)(hello->devices <= GPU_DEVICES ? hello->devices : GPU_DEVICES);
    for (int i = 0; !rc && i < cu.devices; i++)
        rc = read_device(i);
    cu.ready = !rc;
    return rc;
}

CU_API CUresult cuInit(unsigned flags)
{
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&cu.lock);
    int rc = cu.ready ? 0 : begin();
    pthread_mutex_unlock(&cu.lock);
    return rc;
}

/* A lost channel is never closed: objects of it are still around. */
int cu_reopen(void)
{
    int rc = 0;

    pthread_mutex_lock(&cu.lock);
    if (cu.ready && channel_lost(cu.channel)) {
        channel_leave(cu.channel);
        struct channel *c = channel_open(&rc);
        if (c) {
            cu.channel = c;
            for (int i = 0; i < cu.devices; i++)
                cu.device[i].primary = NULL;
        }
    }
    pthread_mutex_unlock(&cu.lock);
    return cu.ready ? rc : CUDA_ERROR_NOT_INITIALIZED;
}

CU_API CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = cu.ready ? cu.driver : 12040;
    return 0;
}

/* --- devices ---------------------------------------------------------------------------------- */

static struct cu_device *device_of(CUdevice i)
{
    return cu.ready && i >= 0 && i < cu.devices ? &cu.device[i] : NULL;
}

static int no_device(void)
{
    return cu.ready ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_NOT_INITIALIZED;
}

CU_API CUresult cuDeviceGetCount(int *count)
{
    if (!count || !cu.ready)
        return cu.ready ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_INITIALIZED;
    *count = cu.devices;
    return 0;
}

CU_API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    if (!device || !device_of(ordinal))
        return device ? no_device() : CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return 0;
}

CU_API CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    const struct cu_device *d = device_of(device);

    if (!name || length <= 0 || !d)
        return d ? CUDA_ERROR_INVALID_VALUE : no_device();
    strncpy(name, d->name, (size_t)length - 1);
    name[length - 1] = 0;
    return 0;
}

CU_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    const struct cu_device *d = device_of(device);

    if (!bytes || !d)
        return d ? CUDA_ERROR_INVALID_VALUE : no_device();
    *bytes = d->memory;
    return 0;
}

CU_API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    const struct cu_device *d = device_of(device);

    if (!value || !d || attribute < 1 || attribute >= (int)GPU_ATTRIBUTES)
        return d ? CUDA_ERROR_INVALID_VALUE : no_device();
    *value = d->attributes[attribute];
    return 0;
}

CU_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    int rc = cuDeviceGetAttribute(major, 75, device);

    return rc ? rc : cuDeviceGetAttribute(minor, 76, device);
}

/* Of this library's own making: the device has none that a guest may see. */
CU_API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
    if (!uuid || !device_of(device))
        return uuid ? no_device() : CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid->bytes, "vmd-gpu\0\0\0\0\0\0\0\0", 16);
    uuid->bytes[15] = (unsigned char)device;
    return 0;
}

CU_API CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device)
{
    if (!id || length < 13 || !device_of(device))
        return id ? no_device() : CUDA_ERROR_INVALID_VALUE;
    memcpy(id, "0000:00:00.0", 13);
    id[9] = (char)('0' + device % 10);
    return 0;
}

CU_API CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    if (!can || !device_of(device) || !device_of(peer))
        return can ? no_device() : CUDA_ERROR_INVALID_VALUE;
    *can = 0;
    return 0;
}

/* --- contexts --------------------------------------------------------------------------------- */

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

    c->o.kind = 0;
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
    if (!c || !device_of(device))
        return c ? no_device() : CUDA_ERROR_INVALID_VALUE;
    int rc = depth == STACK ? CUDA_ERROR_OUT_OF_MEMORY : context_new(c, flags, device);
    return rc ? rc : cuCtxPushCurrent_v2(*c);
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
    const struct cu_context *c = cu_need(&rc);

    if (!c)
        return rc;
    const struct gpu_call_ctx_sync call = {.ctx = c->o.id};
    return cu_settle(c->o.channel, cu_call(c->o.channel, GPU_OP_CTX_SYNC, &call, NULL));
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

CU_API CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice device)
{
    struct cu_device *d = device_of(device);
    int rc = 0;

    if (!c || !d)
        return c ? no_device() : CUDA_ERROR_INVALID_VALUE;
    rc = cu_reopen();
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
    d->primary = p;
    p->users++;
    pthread_mutex_unlock(&cu.lock);
    *c = p;
    return 0;
}

static int primary_end(struct cu_device *d, bool all)
{
    struct cu_context *p = NULL;

    pthread_mutex_lock(&cu.lock);
    bool none = !d->primary;
    if (!none && (all || --d->primary->users == 0)) {
        p = d->primary;
        d->primary = NULL;
    }
    pthread_mutex_unlock(&cu.lock);
    if (p)
        return context_free(p);
    return none && !all ? CUDA_ERROR_INVALID_CONTEXT : 0;
}

CU_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    struct cu_device *d = device_of(device);

    return d ? primary_end(d, false) : no_device();
}

CU_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    struct cu_device *d = device_of(device);

    return d ? primary_end(d, true) : no_device();
}

CU_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    struct cu_device *d = device_of(device);

    if (!d)
        return no_device();
    d->primary_flags = flags;
    return 0;
}

CU_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    const struct cu_device *d = device_of(device);

    if (!d || !flags || !active)
        return d ? CUDA_ERROR_INVALID_VALUE : no_device();
    *flags = d->primary_flags;
    *active = d->primary != NULL;
    return 0;
}
