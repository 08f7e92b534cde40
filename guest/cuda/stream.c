/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Streams, events, host functions and launches. See cuda.h. */
#include "guest/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

int cu_where(CUstream stream, struct cu_where *out)
{
    int rc = 0;

    *out = (struct cu_where){0};
    if ((uintptr_t)stream <= 2) { /* none, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD */
        struct cu_context *c = cu_need(&rc);
        if (c)
            *out = (struct cu_where){c, c->o.channel, c->o.id, NULL};
        return rc;
    }
    if (!cu_is(stream, KIND_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    *out = (struct cu_where){stream->context, stream->o.channel, stream->o.id, stream->capture};
    return 0;
}

/* --- streams ---------------------------------------------------------------------------------- */

CU_API CUresult cuStreamCreateWithPriority(CUstream *out, unsigned flags, int priority)
{
    int rc;
    struct cu_context *c = cu_need(&rc);
    struct cu_stream *s = c && out && flags <= 1 ? calloc(1, sizeof(*s)) : NULL;

    if (!s)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    s->o = (struct cu_object){KIND_STREAM, cu_new_id(), c->o.channel};
    s->context = c;
    s->flags = flags;
    s->priority = priority;
    const struct gpu_call_stream_new call = {
        .ctx = c->o.id, .stream = s->o.id, .flags = flags, .priority = (uint32_t)priority};
    rc = cu_call(c->o.channel, GPU_OP_STREAM_NEW, &call, NULL);
    if (rc)
        free(s);
    else
        *out = s;
    return rc;
}

CU_API CUresult cuStreamCreate(CUstream *out, unsigned flags)
{
    return cuStreamCreateWithPriority(out, flags, 0);
}

CU_API CUresult cuStreamDestroy_v2(CUstream s)
{
    if (!cu_is(s, KIND_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct gpu_call_stream_free call = {.stream = s->o.id};
    int rc = cu_call(s->o.channel, GPU_OP_STREAM_FREE, &call, NULL);
    s->o.kind = 0;
    free(s);
    return rc;
}

CU_API CUresult cuStreamSynchronize(CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || w.capture)
        return rc ? rc : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    const struct gpu_call_stream_sync call = {.stream = w.id};
    return cu_settle(w.channel, cu_call(w.channel, GPU_OP_STREAM_SYNC, &call, NULL));
}

CU_API CUresult cuStreamQuery(CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || w.capture)
        return rc ? rc : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    const struct gpu_call_stream_query call = {.stream = w.id};
    return cu_settle(w.channel, cu_call(w.channel, GPU_OP_STREAM_QUERY, &call, NULL));
}

CU_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !cu_is(event, KIND_EVENT))
        return rc ? rc : CUDA_ERROR_INVALID_HANDLE;
    if (w.capture)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    const struct gpu_call_stream_wait call = {.stream = w.id, .event = event->o.id};
    return channel_post(w.channel, GPU_OP_STREAM_WAIT, &call, NULL, 0);
}

CU_API CUresult cuStreamGetPriority(CUstream s, int *priority)
{
    if (!priority || ((uintptr_t)s > 2 && !cu_is(s, KIND_STREAM)))
        return priority ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *priority = (uintptr_t)s > 2 ? s->priority : 0;
    return 0;
}

CU_API CUresult cuStreamGetFlags(CUstream s, unsigned *flags)
{
    if (!flags || ((uintptr_t)s > 2 && !cu_is(s, KIND_STREAM)))
        return flags ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *flags = (uintptr_t)s > 2 ? s->flags : 0;
    return 0;
}

CU_API CUresult cuStreamGetCtx(CUstream stream, CUcontext *c)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (!rc && c)
        *c = w.context;
    return rc ? rc : c ? 0 : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuStreamGetId(CUstream stream, unsigned long long *id)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (!rc && id)
        *id = w.id;
    return rc ? rc : id ? 0 : CUDA_ERROR_INVALID_VALUE;
}

/* --- values ----------------------------------------------------------------------------------- */

static int value_wait(CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags,
                      unsigned bytes)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || w.capture || flags > 3 || at % bytes)
        return rc          ? rc
               : w.capture ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
                           : CUDA_ERROR_INVALID_VALUE;
    const struct gpu_call_value_wait call = {
        .stream = w.id, .address = at, .value = value, .compare = flags, .bytes = bytes};
    return channel_post(w.channel, GPU_OP_VALUE_WAIT, &call, NULL, 0);
}

static int value_write(CUstream stream, CUdeviceptr at, uint64_t value, unsigned bytes)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || w.capture || at % bytes)
        return rc          ? rc
               : w.capture ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
                           : CUDA_ERROR_INVALID_VALUE;
    const struct gpu_call_value_write call = {
        .stream = w.id, .address = at, .value = value, .bytes = bytes};
    return channel_post(w.channel, GPU_OP_VALUE_WRITE, &call, NULL, 0);
}

CU_API CUresult cuStreamWaitValue32_v2(CUstream s, CUdeviceptr at, uint32_t value, unsigned flags)
{
    return value_wait(s, at, value, flags, 4);
}

CU_API CUresult cuStreamWaitValue64_v2(CUstream s, CUdeviceptr at, uint64_t value, unsigned flags)
{
    return value_wait(s, at, value, flags, 8);
}

CU_API CUresult cuStreamWriteValue32_v2(CUstream s, CUdeviceptr at, uint32_t value, unsigned flags)
{
    return value_write(s, at, value, 4);
}

CU_API CUresult cuStreamWriteValue64_v2(CUstream s, CUdeviceptr at, uint64_t value, unsigned flags)
{
    return value_write(s, at, value, 8);
}

/* --- events ----------------------------------------------------------------------------------- */

CU_API CUresult cuEventCreate(CUevent *out, unsigned flags)
{
    int rc;
    struct cu_context *c = cu_need(&rc);
    struct cu_event *e = c && out && flags <= 3 ? calloc(1, sizeof(*e)) : NULL;

    if (!e) /* those for other processes are none of ours */
        return rc ? rc : flags & 4 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
    e->o = (struct cu_object){KIND_EVENT, cu_new_id(), c->o.channel};
    e->context = c;
    e->flags = flags;
    const struct gpu_call_event_new call = {.ctx = c->o.id, .event = e->o.id, .flags = flags};
    rc = channel_post(c->o.channel, GPU_OP_EVENT_NEW, &call, NULL, 0);
    if (rc)
        free(e);
    else
        *out = e;
    return rc;
}

CU_API CUresult cuEventDestroy_v2(CUevent e)
{
    if (!cu_is(e, KIND_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct gpu_call_event_free call = {.event = e->o.id};
    int rc = channel_post(e->o.channel, GPU_OP_EVENT_FREE, &call, NULL, 0);
    e->o.kind = 0;
    free(e);
    return rc;
}

CU_API CUresult cuEventRecord(CUevent e, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !cu_is(e, KIND_EVENT))
        return rc ? rc : CUDA_ERROR_INVALID_HANDLE;
    if (w.capture)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (w.context != e->context)
        return CUDA_ERROR_INVALID_HANDLE;
    const struct gpu_call_event_record call = {.event = e->o.id, .stream = w.id};
    return channel_post(w.channel, GPU_OP_EVENT_RECORD, &call, NULL, 0);
}

CU_API CUresult cuEventRecordWithFlags(CUevent e, CUstream stream, unsigned flags)
{
    return flags ? CUDA_ERROR_NOT_SUPPORTED : cuEventRecord(e, stream);
}

CU_API CUresult cuEventQuery(CUevent e)
{
    if (!cu_is(e, KIND_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct gpu_call_event_query call = {.event = e->o.id};
    return cu_settle(e->o.channel, cu_call(e->o.channel, GPU_OP_EVENT_QUERY, &call, NULL));
}

CU_API CUresult cuEventSynchronize(CUevent e)
{
    if (!cu_is(e, KIND_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct gpu_call_event_sync call = {.event = e->o.id};
    return cu_settle(e->o.channel, cu_call(e->o.channel, GPU_OP_EVENT_SYNC, &call, NULL));
}

CU_API CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
    struct gpu_answer_event_elapsed answer;

    if (!ms || !cu_is(start, KIND_EVENT) || !cu_is(end, KIND_EVENT))
        return ms ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    const struct gpu_call_event_elapsed call = {.start = start->o.id, .end = end->o.id};
    int rc = cu_call(end->o.channel, GPU_OP_EVENT_ELAPSED, &call, &answer);
    if (!rc)
        *ms = (float)((double)(int64_t)answer.ns * 1e-6);
    return rc;
}

/* --- host functions: a thread of the program's runs them, and the stream stands meanwhile ------
 */

struct host_call {
    struct channel *channel;
    uint64_t gate;
    CUhostFn fn;
    CUstreamCallback callback;
    CUstream stream;
    void *data;
    bool reached;
    int result;
};

static void gate_reached(void *opaque, int result, const void *payload, uint32_t bytes)
{
    struct host_call *h = opaque;

    h->result = result;
    __atomic_store_n(&h->reached, true, __ATOMIC_RELEASE);
}

static void *host_thread(void *opaque)
{
    struct host_call *h = opaque;
    const struct gpu_call_gate_open call = {.gate = h->gate};

    channel_wait(h->channel, &h->reached);
    if (h->callback)
        h->callback(h->stream, h->result, h->data);
    else if (!h->result)
        h->fn(h->data);
    cu_call(h->channel, GPU_OP_GATE_OPEN, &call, NULL);
    free(h);
    return NULL;
}

static int host_call(CUstream stream, const struct host_call *what)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);
    struct host_call *h = rc || w.capture ? NULL : malloc(sizeof(*h));
    pthread_t thread;

    if (!h)
        return rc          ? rc
               : w.capture ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
                           : CUDA_ERROR_OUT_OF_MEMORY;
    *h = *what;
    h->channel = w.channel;
    h->gate = cu_new_id();
    h->stream = stream;
    const struct gpu_call_gate call = {.stream = w.id, .gate = h->gate};
    rc = channel_begin(w.channel, GPU_OP_GATE, &call, NULL, 0, gate_reached, h);
    if (rc) {
        free(h);
        return rc;
    }
    if (pthread_create(&thread, NULL, host_thread, h))
        host_thread(h); /* no thread is to be had: the caller is one */
    else
        pthread_detach(thread);
    return 0;
}

CU_API CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *data)
{
    const struct host_call what = {.fn = fn, .data = data};

    return fn ? host_call(stream, &what) : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback fn, void *data,
                                    unsigned flags)
{
    const struct host_call what = {.callback = fn, .data = data};

    return fn && !flags ? host_call(stream, &what) : CUDA_ERROR_INVALID_VALUE;
}

/* --- launches --------------------------------------------------------------------------------- */

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
    if (!rc && w.capture)
        rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!rc)
        rc = check_launch(f, l);
    memset(packed, 0, f->params_bytes);
    if (!rc)
        rc = pack(f, params, extra, packed);
    l->stream = w.id;
    l->function = f->o.id;
    return rc ? rc : channel_post(w.channel, GPU_OP_LAUNCH, l, packed, f->params_bytes);
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
        if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            l.flags = c->attrs[i].value.cooperative != 0;
        else if (c->attrs[i].id != CU_LAUNCH_ATTRIBUTE_IGNORE)
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    return launch(f, c->hStream, &l, params, extra);
}
