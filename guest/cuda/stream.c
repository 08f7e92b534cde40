/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Streams and events. See cuda.h. */
#include "guest/cuda/capture.h"
#include "guest/cuda/managed.h"
#include "guest/cuda/pool.h"

#include <stdlib.h>

int cu_where_plain(CUstream stream, struct cu_where *out)
{
    int rc = 0;

    *out = (struct cu_where){0};
    if ((uintptr_t)stream <= 2) { /* none, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD */
        struct cu_context *c = cu_need(&rc);
        if (c)
            *out = (struct cu_where){.context = c, .channel = c->o.channel, .id = c->o.id};
        return rc;
    }
    if (!cu_is(stream, KIND_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    *out = (struct cu_where){.context = stream->context,
                             .channel = stream->o.channel,
                             .id = stream->o.id,
                             .stream = stream,
                             .capture = stream->capture};
    return 0;
}

int cu_where(CUstream stream, struct cu_where *out)
{
    int rc = cu_where_plain(stream, out);

    return rc || !cu_capturing() ? rc : cu_capture_where(out);
}

/* --- posts ------------------------------------------------------------------------------------ */

enum {
    FLOW = 2048,  /* calls between two looks; a stream takes LIMIT_GPU_QUEUED */
    BEHIND = 512, /* calls behind host functions: a driver's queue is full with twice as many */
};

/* The worker's thread would stand in the driver, and not hear that a host function is over. Those
 * threads that run such functions post what streams need to go on. */
void cu_posting(const struct cu_where *w, unsigned calls)
{
    struct cu_context *c = w->context;

    if (!__atomic_load_n(&c->gates, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&c->behind, 0, __ATOMIC_RELAXED);
        return;
    }
    if (channel_is_urgent() || __atomic_add_fetch(&c->behind, calls, __ATOMIC_RELAXED) <= BEHIND)
        return;
    channel_wait_none(w->channel, &c->gates);
}

/* Two know it: the stream, and the answer that is on its way. */
struct cu_fence {
    bool over;
    unsigned users;
};

static void fence_put(struct cu_fence *f)
{
    if (__atomic_sub_fetch(&f->users, 1, __ATOMIC_ACQ_REL) == 0)
        free(f);
}

static void fence_over(void *opaque, int result, const void *payload, uint32_t bytes)
{
    struct cu_fence *f = opaque;

    __atomic_store_n(&f->over, true, __ATOMIC_RELEASE);
    fence_put(f);
}

void cu_flow_end(struct cu_flow *flow)
{
    struct cu_fence *f = __atomic_exchange_n(&flow->fence, NULL, __ATOMIC_ACQ_REL);

    if (f)
        fence_put(f);
}

void cu_posted(const struct cu_where *w, unsigned calls)
{
    struct cu_flow *flow = w->stream ? &w->stream->flow : &w->context->flow;
    const struct gpu_call_stream_sync call = {.stream = w->id};

    if (__atomic_add_fetch(&flow->posted, calls, __ATOMIC_RELAXED) < FLOW)
        return;
    __atomic_store_n(&flow->posted, 0, __ATOMIC_RELAXED);
    struct cu_fence *f = calloc(1, sizeof(*f));
    if (f) {
        f->users = 2;
        if (channel_begin(w->channel, GPU_OP_STREAM_SYNC, &call, NULL, 0, fence_over, f)) {
            free(f);
            f = NULL;
        }
    }
    struct cu_fence *old = __atomic_exchange_n(&flow->fence, f, __ATOMIC_ACQ_REL);
    if (old) {
        channel_wait(w->channel, &old->over);
        fence_put(old);
    }
}

int cu_post(const struct cu_where *w, unsigned op, const void *fields, const void *payload,
            uint32_t bytes)
{
    if (w->sink)
        return cu_sink_put(w->sink, op, fields, payload, bytes);
    cu_posting(w, 1);
    int rc = 0;
    bool due = cu_managed_ask(w, &rc);
    if (!rc)
        rc = channel_post(w->channel, op, fields, payload, bytes);
    cu_managed_asked(due);
    if (!rc)
        cu_posted(w, 1);
    return rc;
}

int cu_ask(const struct cu_where *w, unsigned op, const void *fields)
{
    cu_posting(w, 1);
    int rc = 0;
    bool due = cu_managed_ask(w, &rc);

    if (!rc)
        rc = cu_call(w->channel, op, fields, NULL);
    cu_managed_asked(due);
    return !rc && due ? cu_managed_down(w->context) : rc;
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
    if (cu_capturing() && cu_capture_stops(s))
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    const struct gpu_call_stream_free call = {.stream = s->o.id};
    cu_flow_end(&s->flow);
    cu_pool_gone(s->o.id);
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
        return rc ? rc : cu_capture_refuse(&w);
    const uint64_t freed = cu_pool_freed();
    const struct gpu_call_stream_sync call = {.stream = w.id};
    rc = cu_call(w.channel, GPU_OP_STREAM_SYNC, &call, NULL);
    if (!rc)
        cu_pool_settle(w.context, w.id, freed);
    return cu_settle(w.context, rc);
}

CU_API CUresult cuStreamQuery(CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || w.capture)
        return rc ? rc : cu_capture_refuse(&w);
    const struct gpu_call_stream_query call = {.stream = w.id};
    return cu_settle_query(w.context, cu_call(w.channel, GPU_OP_STREAM_QUERY, &call, NULL));
}

enum { WAIT_EXTERNAL = 1, RECORD_EXTERNAL = 1 };

CU_API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !cu_is(event, KIND_EVENT) || flags > 1)
        return rc ? rc : flags > 1 ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    if (w.capture && flags == WAIT_EXTERNAL) {
        const struct cu_graph_node node = {.type = CU_GRAPH_NODE_TYPE_WAIT_EVENT, .event = event};
        return cu_capture(&w, &node);
    }
    if (w.capture || event->capture)
        return cu_capture_join(&w, event);
    const struct gpu_call_stream_wait call = {.stream = w.id, .event = event->o.id};
    return cu_post(&w, GPU_OP_STREAM_WAIT, &call, NULL, 0);
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
    int rc = cu_where_plain(stream, &w);

    if (!rc && c)
        *c = w.context;
    return rc ? rc : c ? 0 : CUDA_ERROR_INVALID_VALUE;
}

/* No stream is of a part of a device. */
CU_API CUresult cuStreamGetCtx_v2(CUstream stream, CUcontext *c, void **green)
{
    if (green)
        *green = NULL;
    return cuStreamGetCtx(stream, c);
}

CU_API CUresult cuStreamGetId(CUstream stream, unsigned long long *id)
{
    struct cu_where w;
    int rc = cu_where_plain(stream, &w);

    if (!rc && id)
        *id = w.id;
    return rc ? rc : id ? 0 : CUDA_ERROR_INVALID_VALUE;
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
    int rc = cu_is(e->context, KIND_CONTEXT)
                 ? channel_post(e->o.channel, GPU_OP_EVENT_FREE, &call, NULL, 0)
                 : 0; /* it went with its context */
    e->o.kind = 0;
    free(e->tails.nodes);
    free(e);
    return rc;
}

CU_API CUresult cuEventRecordWithFlags(CUevent e, CUstream stream, unsigned flags)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !cu_is(e, KIND_EVENT) || flags > 1)
        return rc ? rc : flags > 1 ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    if (w.context != e->context)
        return CUDA_ERROR_INVALID_HANDLE;
    if (w.capture && flags == RECORD_EXTERNAL) {
        const struct cu_graph_node node = {.type = CU_GRAPH_NODE_TYPE_EVENT_RECORD, .event = e};
        return cu_capture(&w, &node);
    }
    if (w.capture)
        return cu_capture_event(&w, e);
    e->recorded = true;
    e->capture = 0;
    const struct gpu_call_event_record call = {.event = e->o.id, .stream = w.id};
    return cu_post(&w, GPU_OP_EVENT_RECORD, &call, NULL, 0);
}

CU_API CUresult cuEventRecord(CUevent e, CUstream stream)
{
    return cuEventRecordWithFlags(e, stream, 0);
}

CU_API CUresult cuEventQuery(CUevent e)
{
    if (!cu_is(e, KIND_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    if (e->capture)
        return cu_capture_of_event(e);
    const struct gpu_call_event_query call = {.event = e->o.id};
    return cu_settle_query(e->context, cu_call(e->o.channel, GPU_OP_EVENT_QUERY, &call, NULL));
}

CU_API CUresult cuEventSynchronize(CUevent e)
{
    if (!cu_is(e, KIND_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    if (e->capture)
        return cu_capture_of_event(e);
    const struct gpu_call_event_sync call = {.event = e->o.id};
    return cu_settle(e->context, cu_call(e->o.channel, GPU_OP_EVENT_SYNC, &call, NULL));
}

CU_API CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
    struct gpu_answer_event_elapsed answer;

    if (!ms || !cu_is(start, KIND_EVENT) || !cu_is(end, KIND_EVENT))
        return ms ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    if (start->capture || end->capture)
        return cu_capture_of_event(start->capture ? start : end);
    const struct gpu_call_event_elapsed call = {.start = start->o.id, .end = end->o.id};
    int rc = cu_call(end->o.channel, GPU_OP_EVENT_ELAPSED, &call, &answer);
    if (!rc)
        *ms = (float)((double)(int64_t)answer.ns * 1e-6);
    return rc;
}
