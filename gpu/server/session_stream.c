/* A session's streams, events, gates and launches. */
#include "gpu/server/session_priv.h"

/* --- streams ---------------------------------------------------------------------------------- */

static int call_stream_new(struct session *s, struct call *c)
{
    const struct gpu_call_stream_new *in = FIELDS(c, stream_new);
    struct object *context = session__find(s, OBJECT_CONTEXT, in->ctx);
    int rc = GPU_SUCCESS;

    if (!context)
        return GPU_INVALID_CONTEXT;
    if (s->streams >= LIMIT_GPU_STREAMS)
        return GPU_OUT_OF_RESOURCES;
    struct object *o = session__add(s, OBJECT_STREAM, in->stream, context, &rc);
    if (!o)
        return rc;
    rc = OPS(s)->stream_new(context->ctx, in->flags, (int32_t)in->priority, &o->stream);
    if (rc)
        session__drop(s, o);
    else
        s->streams++;
    return rc;
}

static int call_stream_free(struct session *s, struct call *c)
{
    struct object *o = session__find(s, OBJECT_STREAM, FIELDS(c, stream_free)->stream);

    if (!o)
        return GPU_INVALID_HANDLE;
    for (guint i = 0; i < s->pending->len; i++) {
        struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->stream == o->stream) /* errors are the context's: any of its streams tells them */
            p->stream = OPS(s)->stream_default(o->context->ctx);
    }
    session__value_waits_end(s, o->stream, NULL);
    OPS(s)->stream_free(o->stream);
    session__drop(s, o);
    s->streams--;
    return GPU_SUCCESS;
}

static int call_stream_query(struct session *s, struct call *c)
{
    struct object *context;
    struct gpu_stream *stream = session__stream(s, FIELDS(c, stream_query)->stream, &context);

    return stream ? OPS(s)->stream_query(stream) : GPU_INVALID_HANDLE;
}

static int call_stream_sync(struct session *s, struct call *c)
{
    struct object *context;
    struct gpu_stream *stream = session__stream(s, FIELDS(c, stream_sync)->stream, &context);

    if (!stream)
        return GPU_INVALID_HANDLE;
    c->waited = context;
    int rc = OPS(s)->stream_query(stream);
    if (rc != GPU_NOT_READY)
        return rc;
    if (!session__may_wait(s))
        return GPU_OUT_OF_RESOURCES;
    return session__after(s, session__later(s, c, context), stream);
}

static int call_stream_wait(struct session *s, struct call *c)
{
    const struct gpu_call_stream_wait *in = FIELDS(c, stream_wait);
    const struct object *event = session__find(s, OBJECT_EVENT, in->event);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);

    if (!stream || !event || event->context != context)
        return GPU_INVALID_HANDLE;
    return OPS(s)->stream_wait(stream, event->event);
}

static int call_value_wait(struct session *s, struct call *c)
{
    const struct gpu_call_value_wait *in = FIELDS(c, value_wait);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);

    if (!stream)
        return GPU_INVALID_HANDLE;
    if ((in->bytes != 4 && in->bytes != 8) || in->address % in->bytes)
        return GPU_INVALID_VALUE;
    int rc = OPS(s)->value_wait(stream, in->address, in->value, in->bytes, in->compare);
    if (!rc)
        session__value_wait(s, stream, context);
    return rc;
}

static int call_value_write(struct session *s, struct call *c)
{
    const struct gpu_call_value_write *in = FIELDS(c, value_write);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);

    if (!stream)
        return GPU_INVALID_HANDLE;
    if ((in->bytes != 4 && in->bytes != 8) || in->address % in->bytes)
        return GPU_INVALID_VALUE;
    return OPS(s)->value_write(stream, in->address, in->value, in->bytes);
}

/* --- gates: the stream stands until the program has run a function of its own ------------------
 */

static void gate_reached(void *opaque)
{
    struct pending *p = opaque;
    struct session *s = p->session;

    __atomic_store_n(&p->done, true, __ATOMIC_RELEASE);
    link_wake(s->link);
    pthread_mutex_lock(&s->gates);
    while (!p->open)
        pthread_cond_wait(&s->gate_opened, &s->gates);
    p->passed = true;
    pthread_mutex_unlock(&s->gates);
    link_wake(s->link);
}

static int call_gate(struct session *s, struct call *c)
{
    const struct gpu_call_gate *in = FIELDS(c, gate);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);

    if (!stream)
        return GPU_INVALID_HANDLE;
    if (!session__may_wait(s))
        return GPU_OUT_OF_RESOURCES;
    struct pending *p = session__later(s, c, context);
    p->gate = in->gate;
    p->stream = stream;
    int rc = OPS(s)->host(stream, gate_reached, p);
    if (rc) {
        c->later = false;
        g_ptr_array_remove_index(s->pending, s->pending->len - 1);
    }
    return rc;
}

/* One that is not there any more went with its context meanwhile. */
static int call_gate_open(struct session *s, struct call *c)
{
    uint64_t gate = FIELDS(c, gate_open)->gate;
    bool found = false;

    pthread_mutex_lock(&s->gates);
    for (guint i = 0; !found && i < s->pending->len; i++) {
        struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->gate == gate && p->told) {
            p->open = true;
            found = true;
        }
    }
    pthread_cond_broadcast(&s->gate_opened);
    pthread_mutex_unlock(&s->gates);
    return GPU_SUCCESS;
}

/* --- events ----------------------------------------------------------------------------------- */

static int call_event_new(struct session *s, struct call *c)
{
    const struct gpu_call_event_new *in = FIELDS(c, event_new);
    struct object *context = session__find(s, OBJECT_CONTEXT, in->ctx);
    int rc = GPU_SUCCESS;

    if (!context)
        return GPU_INVALID_CONTEXT;
    struct object *o = session__add(s, OBJECT_EVENT, in->event, context, &rc);
    if (!o)
        return rc;
    rc = OPS(s)->event_new(context->ctx, in->flags, &o->event);
    if (rc)
        session__drop(s, o);
    return rc;
}

static int call_event_free(struct session *s, struct call *c)
{
    struct object *o = session__find(s, OBJECT_EVENT, FIELDS(c, event_free)->event);

    if (!o)
        return GPU_INVALID_HANDLE;
    for (guint i = 0; i < s->pending->len; i++) {
        struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->event == o->event) /* it waits for the context then, which is longer */
            p->event = NULL;
    }
    OPS(s)->event_free(o->event);
    session__drop(s, o);
    return GPU_SUCCESS;
}

static int call_event_record(struct session *s, struct call *c)
{
    const struct gpu_call_event_record *in = FIELDS(c, event_record);
    const struct object *event = session__find(s, OBJECT_EVENT, in->event);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);

    if (!stream || !event || event->context != context)
        return GPU_INVALID_HANDLE;
    return OPS(s)->event_record(event->event, stream);
}

static int call_event_query(struct session *s, struct call *c)
{
    const struct object *event = session__find(s, OBJECT_EVENT, FIELDS(c, event_query)->event);

    return event ? OPS(s)->event_query(event->event) : GPU_INVALID_HANDLE;
}

static int call_event_sync(struct session *s, struct call *c)
{
    const struct object *event = session__find(s, OBJECT_EVENT, FIELDS(c, event_sync)->event);

    if (!event)
        return GPU_INVALID_HANDLE;
    c->waited = event->context;
    int rc = OPS(s)->event_query(event->event);
    if (rc != GPU_NOT_READY)
        return rc;
    if (!session__may_wait(s))
        return GPU_OUT_OF_RESOURCES;
    session__later(s, c, event->context)->event = event->event;
    return GPU_SUCCESS;
}

static int call_event_elapsed(struct session *s, struct call *c)
{
    const struct gpu_call_event_elapsed *in = FIELDS(c, event_elapsed);
    const struct object *start = session__find(s, OBJECT_EVENT, in->start);
    const struct object *end = session__find(s, OBJECT_EVENT, in->end);

    if (!start || !end || start->context != end->context)
        return GPU_INVALID_HANDLE;
    return OPS(s)->event_elapsed(start->event, end->event, &ANSWER(c, event_elapsed)->ns);
}

/* --- launches --------------------------------------------------------------------------------- */

static int call_launch(struct session *s, struct call *c)
{
    const struct gpu_call_launch *in = FIELDS(c, launch);
    const struct object *kernel = session__find(s, OBJECT_KERNEL, in->function);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);
    const struct gpu_launch launch = {.grid = {in->grid_x, in->grid_y, in->grid_z},
                                      .block = {in->block_x, in->block_y, in->block_z},
                                      .shared = in->shared,
                                      .cooperative = in->flags & 1,
                                      .params = c->payload,
                                      .params_bytes = c->payload_bytes};

    if (!stream || !kernel || kernel->context != context)
        return GPU_INVALID_HANDLE;
    if ((uint64_t)in->block_x * in->block_y * in->block_z > kernel->max_threads ||
        c->payload_bytes < kernel->params_bytes)
        return GPU_INVALID_VALUE;
    return OPS(s)->launch(stream, kernel->kernel, &launch);
}

static const call_fn calls[GPU_OP_END] = {
    [GPU_OP_STREAM_NEW] = call_stream_new,       [GPU_OP_STREAM_FREE] = call_stream_free,
    [GPU_OP_STREAM_QUERY] = call_stream_query,   [GPU_OP_STREAM_SYNC] = call_stream_sync,
    [GPU_OP_STREAM_WAIT] = call_stream_wait,     [GPU_OP_VALUE_WAIT] = call_value_wait,
    [GPU_OP_VALUE_WRITE] = call_value_write,     [GPU_OP_GATE] = call_gate,
    [GPU_OP_GATE_OPEN] = call_gate_open,         [GPU_OP_EVENT_NEW] = call_event_new,
    [GPU_OP_EVENT_FREE] = call_event_free,       [GPU_OP_EVENT_RECORD] = call_event_record,
    [GPU_OP_EVENT_QUERY] = call_event_query,     [GPU_OP_EVENT_SYNC] = call_event_sync,
    [GPU_OP_EVENT_ELAPSED] = call_event_elapsed, [GPU_OP_LAUNCH] = call_launch,
};

call_fn session__stream_call(unsigned op)
{
    return op < GPU_OP_END ? calls[op] : NULL;
}
