/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * Host functions: a thread of the program runs them, and the stream stands at a gate meanwhile.
 * What else has to happen on the program's side in a stream's order is such a function, too.
 */
#include "guest/cuda/capture.h"
#include "guest/cuda/managed.h"

#include <stdlib.h>

static unsigned writers;

unsigned cu_writers(void)
{
    return __atomic_load_n(&writers, __ATOMIC_ACQUIRE);
}

void cu_writer(int add)
{
    __atomic_add_fetch(&writers, (unsigned)add, __ATOMIC_ACQ_REL);
}

struct host_call {
    struct cu_host_work work;
    struct channel *channel;
    struct cu_context *context;
    uint64_t gate;
    bool reached;
    int result;
};

static void gate_reached(void *opaque, int result, const void *payload, uint32_t bytes)
{
    struct host_call *h = opaque;

    h->result = result;
    __atomic_store_n(&h->reached, true, __ATOMIC_RELEASE);
}

/* The gate is opened by a call that waits for nothing: what the program has begun may all stand
 * behind it. */
static void *host_thread(void *opaque)
{
    struct host_call *h = opaque;
    const struct gpu_call_gate_open call = {.gate = h->gate};

    channel_urgent(true);
    channel_wait(h->channel, &h->reached);
    if (h->work.ours)
        h->work.ours(h->work.data, h->result);
    else if (h->work.callback)
        h->work.callback(h->work.stream, h->result, h->work.data);
    else if (!h->result)
        h->work.fn(h->work.data);
    cu_writer(-1);
    channel_post(h->channel, GPU_OP_GATE_OPEN, &call, NULL, 0);
    __atomic_sub_fetch(&h->context->gates, 1, __ATOMIC_ACQ_REL);
    channel_urgent(false); /* the thread may be the caller's */
    free(h);
    return NULL;
}

int cu_host_call(const struct cu_where *w, const struct cu_host_work *work)
{
    struct host_call *h = calloc(1, sizeof(*h));
    pthread_t thread;

    if (!h)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *h = (struct host_call){
        .work = *work, .channel = w->channel, .context = w->context, .gate = cu_new_id()};
    const struct gpu_call_gate call = {.stream = w->id, .gate = h->gate};
    cu_posting(w, 1);
    cu_writer(1);
    __atomic_add_fetch(&w->context->gates, 1, __ATOMIC_ACQ_REL);
    int rc = 0;
    bool due = work->ours && cu_managed_ask(w, &rc);
    if (!rc)
        rc = channel_begin(w->channel, GPU_OP_GATE, &call, NULL, 0, gate_reached, h);
    cu_managed_asked(due);
    if (rc) {
        cu_writer(-1);
        __atomic_sub_fetch(&w->context->gates, 1, __ATOMIC_ACQ_REL);
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
    const struct cu_host_work work = {.fn = fn, .data = data};
    struct cu_where w;
    int rc = fn ? cu_where(stream, &w) : CUDA_ERROR_INVALID_VALUE;

    if (rc)
        return rc;
    if (w.capture) {
        const struct cu_graph_node node = {.type = CU_GRAPH_NODE_TYPE_HOST, .host = {fn, data}};
        return cu_capture(&w, &node);
    }
    return cu_host_call(&w, &work);
}

CU_API CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback fn, void *data,
                                    unsigned flags)
{
    const struct cu_host_work work = {.callback = fn, .stream = stream, .data = data};
    struct cu_where w;
    int rc = fn && !flags ? cu_where(stream, &w) : CUDA_ERROR_INVALID_VALUE;

    if (rc)
        return rc;
    return w.capture ? cu_capture_refuse(&w) : cu_host_call(&w, &work);
}
