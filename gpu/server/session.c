/*
 * A session: takes calls off its link, checks them, hands them to the backend, and answers.
 * Contexts, modules and kernels, memory and copies, streams and events, batches have files of their
 * own. See session_priv.h.
 */
#include "gpu/server/session_priv.h"

/* --- objects ---------------------------------------------------------------------------------- */

struct object *session__find(struct session *s, enum object_kind kind, uint64_t id)
{
    struct object *o = g_hash_table_lookup(s->objects, &id);

    return o && o->kind == kind ? o : NULL;
}

struct object *session__add(struct session *s, enum object_kind kind, uint64_t id,
                            struct object *context, int *rc)
{
    if (g_hash_table_contains(s->objects, &id)) {
        *rc = GPU_INVALID_HANDLE;
        return NULL;
    }
    if (g_hash_table_size(s->objects) >= LIMIT_GPU_HANDLES) {
        *rc = GPU_OUT_OF_RESOURCES;
        return NULL;
    }
    struct object *o = g_new0(struct object, 1);
    o->kind = kind;
    o->id = id;
    o->context = context ? context : o;
    g_hash_table_insert(s->objects, &o->id, o);
    return o;
}

void session__drop(struct session *s, struct object *o)
{
    g_hash_table_remove(s->objects, &o->id);
}

struct gpu_stream *session__stream(struct session *s, uint64_t id, struct object **context)
{
    struct object *o = g_hash_table_lookup(s->objects, &id);

    if (!o || (o->kind != OBJECT_STREAM && o->kind != OBJECT_CONTEXT))
        return NULL;
    *context = o->context;
    return o->kind == OBJECT_STREAM ? o->stream : OPS(s)->stream_default(o->ctx);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* The flags of an answer to what waited for CONTEXT, or for none. */
static uint16_t answer_flags(struct session *s, const struct object *context)
{
    bool printed = context && OPS(s)->printed && OPS(s)->printed(context->ctx, NULL, 0);

    return printed ? GPU_ANSWER_PRINTED : 0;
}

bool session__answer(struct session *s, uint16_t op, uint32_t seq, int result, const void *fields,
                     const uint8_t *payload, uint32_t payload_bytes, uint16_t flags)
{
    const struct record_desc *desc = record_desc(op);
    uint32_t fields_bytes = result || !desc ? 0 : desc->answer_bytes;
    if (!fields_bytes && result)
        payload_bytes = op == GPU_OP_MODULE_NEW ? payload_bytes : 0;
    if (payload_bytes)
        fields_bytes = desc->answer_bytes;
    uint32_t bytes = record_answer_bytes(fields_bytes, payload_bytes);
    g_autofree uint8_t *buf = g_malloc0(bytes);
    struct gpu_answer_head head = {.bytes = bytes,
                                   .op = op,
                                   .flags = flags,
                                   .seq = seq,
                                   .payload = payload_bytes,
                                   .result = (uint32_t)result,
                                   .late = (uint32_t)s->late};

    s->late = 0;
    memcpy(buf, &head, sizeof(head));
    if (fields_bytes && fields)
        memcpy(buf + sizeof(head), fields, fields_bytes);
    if (payload_bytes)
        memcpy(buf + sizeof(head) + fields_bytes, payload, payload_bytes);
    return link_post(s->link, buf, bytes);
}

struct pending *session__later(struct session *s, struct call *c, struct object *context)
{
    struct pending *p = g_new0(struct pending, 1);

    p->session = s;
    p->op = c->op;
    p->seq = c->seq;
    p->silent = c->async;
    p->context = context;
    c->later = true;
    g_ptr_array_add(s->pending, p);
    return p;
}

static void pending_done(void *opaque)
{
    struct pending *p = opaque;
    struct session *s = p->session;

    __atomic_store_n(&p->done, true, __ATOMIC_RELEASE); /* P may be gone from here on */
    link_wake(s->link);
}

/* An event behind what is in the stream, which is asked for until it has come. */
static int after_event(struct session *s, struct pending *p, struct gpu_stream *stream)
{
    enum { NO_TIMING = 2 };

    if (OPS(s)->event_new(p->context->ctx, NO_TIMING, &p->event))
        return GPU_SUCCESS; /* without one it waits for all of the context */
    if (OPS(s)->event_record(p->event, stream)) {
        OPS(s)->event_free(p->event);
        p->event = NULL;
        return GPU_SUCCESS;
    }
    p->own_event = true;
    return GPU_SUCCESS;
}

int session__after(struct session *s, struct pending *p, struct gpu_stream *stream)
{
    p->stream = stream;
    if (OPS(s)->polled)
        return after_event(s, p, stream);
    p->by_host = true;
    int rc = OPS(s)->host(stream, pending_done, p);
    if (rc)
        p->done = true; /* it is answered with the context's error */
    return GPU_SUCCESS;
}

/* Where P stands: GPU_NOT_READY, or its result. */
static int pending_state(struct session *s, struct pending *p)
{
    bool by_host = p->by_host || p->op == GPU_OP_GATE;

    if (p->compile)
        return session__compile_state(p);
    if (by_host && !__atomic_load_n(&p->done, __ATOMIC_ACQUIRE))
        return GPU_NOT_READY;
    if (by_host) { /* its stream is at it, or the context has an error */
        int rc = OPS(s)->stream_query(p->stream);
        return rc == GPU_NOT_READY ? GPU_SUCCESS : rc;
    }
    int rc = p->event ? OPS(s)->event_query(p->event) : OPS(s)->context_query(p->context->ctx);
    return rc || !p->bytes ? rc : OPS(s)->alloc(p->context->ctx, p->bytes, &p->address);
}

uint8_t *session__buffer(struct session *s, const struct object *context, size_t bytes)
{
    return OPS(s)->buffer_new ? OPS(s)->buffer_new(context->ctx, bytes) : g_malloc0(bytes);
}

void session__buffer_free(struct session *s, const struct object *context, uint8_t *buffer)
{
    if (OPS(s)->buffer_free && buffer)
        OPS(s)->buffer_free(context->ctx, buffer);
    else
        g_free(buffer);
}

void session__keep(struct session *s, struct pending *p, uint8_t *buffer, uint32_t answered)
{
    p->payload = buffer;
    p->payload_bytes = answered;
    p->buffers = OPS(s)->buffer_free ? p->context->ctx : NULL;
}

void session__let_go(struct pending *p)
{
    struct session *s = p->session;

    if (p->own_event)
        OPS(s)->event_free(p->event);
    if (p->buffers && p->payload)
        OPS(s)->buffer_free(p->buffers, p->payload);
    else
        g_free(p->payload);
    p->own_event = false;
    p->event = NULL;
    p->payload = NULL;
}

static void pending_free(void *opaque)
{
    session__let_go(opaque);
    g_free(opaque);
}

static bool gate_passed(struct session *s, const struct pending *p)
{
    pthread_mutex_lock(&s->gates);
    bool passed = p->passed;
    pthread_mutex_unlock(&s->gates);
    return passed;
}

static void drop_pending(struct session *s, guint i)
{
    session__enter_query(s);
    g_ptr_array_remove_index(s->pending, i);
    session__leave(s);
}

bool session__answer_pending(struct session *s)
{
    bool over = false;

    if (!s->pending->len)
        return true;
    /* From the last to the first: where one is done, what came before it is seen to be. */
    session__enter_query(s);
    for (guint i = s->pending->len; i-- > 0;) {
        struct pending *p = g_ptr_array_index(s->pending, i);
        p->state = p->told ? GPU_NOT_READY : pending_state(s, p);
        over |= p->state != GPU_NOT_READY;
    }
    session__leave(s);
    if (over)
        session__idle(s);
    for (guint i = 0; i < s->pending->len;) {
        struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->told) {
            if (gate_passed(s, p))
                drop_pending(s, i);
            else
                i++;
            continue;
        }
        int rc = p->state;
        if (rc == GPU_NOT_READY) {
            i++;
            continue;
        }
        bool payload = p->op == GPU_OP_FROM_DEVICE && !rc;
        if (!p->silent &&
            !session__answer(s, p->op, p->seq, rc, p->compile ? &p->compiled : NULL, p->payload,
                             payload ? p->payload_bytes : 0, answer_flags(s, p->context)))
            return false;
        if (p->op == GPU_OP_GATE)
            p->told = true; /* it stays until it is opened */
        else
            drop_pending(s, i);
    }
    return true;
}

/* --- hello and devices ------------------------------------------------------------------------ */

static int call_hello(struct session *s, struct call *c)
{
    const struct gpu_call_hello *in = FIELDS(c, hello);
    struct gpu_answer_hello *out = ANSWER(c, hello);

    if (in->version < in->oldest || in->oldest > GPU_VERSION || in->version < GPU_OLDEST)
        return GPU_NOT_SUPPORTED;
    s->greeted = true;
    out->version = MIN(in->version, GPU_VERSION);
    out->devices = MIN(OPS(s)->devices(s->env->backend), GPU_DEVICES);
    out->window = link_window_bytes(s->link);
    out->driver = (uint32_t)OPS(s)->driver_version(s->env->backend);
    out->platform = OPS(s)->target ? GPU_PLATFORM_HIP : GPU_PLATFORM_CUDA;
    return GPU_SUCCESS;
}

static int call_device(struct session *s, struct call *c)
{
    struct gpu_answer_device *out = ANSWER(c, device);
    struct gpu_device_info info;
    int rc = OPS(s)->device(s->env->backend, FIELDS(c, device)->device, &info);

    if (rc)
        return rc;
    out->memory = MIN(info.memory, s->env->quota->most);
    out->attributes = info.n_attributes;
    out->name = (uint32_t)strlen(info.name);
    memcpy(c->out, info.attributes, info.n_attributes * sizeof(int));
    memcpy(c->out + info.n_attributes * sizeof(int), info.name, out->name);
    c->out_bytes = info.n_attributes * (uint32_t)sizeof(int) + out->name;
    return GPU_SUCCESS;
}

static int call_target(struct session *s, struct call *c)
{
    if (!OPS(s)->target)
        return GPU_NOT_SUPPORTED;
    const char *name = OPS(s)->target(s->env->backend, FIELDS(c, target)->device);
    if (!name)
        return GPU_INVALID_DEVICE;
    c->out_bytes = (uint32_t)MIN(strlen(name), record_desc(c->op)->answer_payload);
    memcpy(c->out, name, c->out_bytes);
    return GPU_SUCCESS;
}

static int call_memory(struct session *s, struct call *c)
{
    const struct object *o = session__find(s, OBJECT_CONTEXT, FIELDS(c, memory)->ctx);
    struct gpu_answer_memory *out = ANSWER(c, memory);

    return o ? OPS(s)->memory(o->ctx, &out->free, &out->total) : GPU_INVALID_CONTEXT;
}

static int call_printed(struct session *s, struct call *c)
{
    const struct object *o = session__find(s, OBJECT_CONTEXT, FIELDS(c, printed)->ctx);

    if (!o)
        return GPU_INVALID_CONTEXT;
    if (!OPS(s)->printed)
        return GPU_SUCCESS;
    c->out_bytes = OPS(s)->printed(o->ctx, (char *)c->out, GPU_INLINE);
    ANSWER(c, printed)->left = OPS(s)->printed(o->ctx, NULL, 0);
    return GPU_SUCCESS;
}

static int call_limit(struct session *s, struct call *c)
{
    const struct gpu_call_limit *in = FIELDS(c, limit);
    const struct object *o = session__find(s, OBJECT_CONTEXT, in->ctx);
    uint64_t value = in->value;

    if (!o)
        return GPU_INVALID_CONTEXT;
    int rc =
        OPS(s)->limit ? OPS(s)->limit(o->ctx, in->limit, in->set, &value) : GPU_UNSUPPORTED_LIMIT;
    ANSWER(c, limit)->value = value;
    return rc;
}

static const call_fn calls[GPU_OP_END] = {
    [GPU_OP_HELLO] = call_hello,     [GPU_OP_DEVICE] = call_device, [GPU_OP_MEMORY] = call_memory,
    [GPU_OP_PRINTED] = call_printed, [GPU_OP_LIMIT] = call_limit,   [GPU_OP_TARGET] = call_target,
};

/* --- the loop --------------------------------------------------------------------------------- */

static call_fn handler_of(const struct session *s, unsigned op)
{
    static call_fn (*const others[])(unsigned op) = {
        session__module_call,  session__memory_call, session__stream_call, session__batch_call,
        session__context_call, session__usage_call,  session__compile_call};
    call_fn fn = op < GPU_OP_END ? calls[op] : NULL;

    if (!s->greeted && op != GPU_OP_HELLO)
        return NULL;
    for (size_t i = 0; !fn && i < G_N_ELEMENTS(others); i++)
        fn = others[i](op);
    return fn;
}

/* What sticks to a context is told by every call on it, and is not to be told of another. */
static bool sticks(int rc)
{
    return rc == GPU_ILLEGAL_ADDRESS || rc == GPU_LAUNCH_TIMEOUT ||
           (rc >= GPU_CONTEXT_DESTROYED && rc < 720);
}

/* One call, which is good. False: the program is gone. */
static bool handle(struct session *s, const struct gpu_call_head *head, const void *fields,
                   const uint8_t *payload)
{
    const struct record_desc *desc = record_desc(head->op);
    _Alignas(8) uint8_t answer_fields[64] = {0};
    g_autofree uint8_t *out = desc->answer_payload ? g_malloc0(desc->answer_payload + 1) : NULL;
    struct call c = {.op = head->op,
                     .seq = head->seq,
                     .async = head->flags & GPU_CALL_ASYNC,
                     .fields = fields,
                     .payload = payload,
                     .payload_bytes = head->payload,
                     .answer = answer_fields,
                     .out = out};
    call_fn fn = handler_of(s, head->op);

    g_assert(desc->answer_bytes <= sizeof(answer_fields));
    session__enter(s, c.op);
    int rc = fn ? fn(s, &c) : GPU_NOT_INITIALIZED;
    session__leave(s);
    if (c.later && !rc)
        return true;
    if (!rc && s->seat)
        session__remember(s, head, fields, payload);
    if (c.waited && !rc)
        session__idle(s);
    /* What was done before this call was judged is told before it: copies that its answer vouches
     * for. */
    if (!c.async && !session__answer_pending(s))
        return false;
    if (!c.async)
        return session__answer(s, c.op, c.seq, rc, answer_fields, out, c.out_bytes,
                               answer_flags(s, c.waited));
    if (rc && !s->late && !sticks(rc))
        s->late = rc;
    return true;
}

int session__replay(struct session *s, const uint8_t *record, size_t length)
{
    const void *fields;
    const uint8_t *payload;
    struct gpu_call_head head;
    _Alignas(8) uint8_t answer[64] = {0};

    if (record_check_call(record, length, &fields, &payload) != RECORD_GOOD)
        return GPU_INVALID_VALUE;
    memcpy(&head, record, sizeof(head));
    g_autofree uint8_t *out = g_malloc0(record_desc(head.op)->answer_payload + 1);
    struct call c = {.op = head.op,
                     .fields = fields,
                     .payload = payload,
                     .payload_bytes = head.payload,
                     .answer = answer,
                     .out = out};
    call_fn fn = handler_of(s, head.op);
    session__enter(s, c.op);
    int rc = fn ? fn(s, &c) : GPU_NOT_INITIALIZED;
    session__leave(s);
    g_assert(!c.later);
    if (!rc && s->seat)
        session__remember(s, &head, fields, payload);
    return rc;
}

bool session__take(struct session *s, const uint8_t *record, int length)
{
    const void *fields;
    const uint8_t *payload;
    struct gpu_call_head head;

    memcpy(&head, record, sizeof(head));
    switch (record_check_call(record, (size_t)length, &fields, &payload)) {
    case RECORD_GOOD:
        return handle(s, &head, fields, payload);
    case RECORD_UNKNOWN:
        return session__answer(s, head.op, head.seq, GPU_NOT_SUPPORTED, NULL, NULL, 0, 0);
    case RECORD_BOUNDS:
        if (!(head.flags & GPU_CALL_ASYNC))
            return session__answer(s, head.op, head.seq, GPU_INVALID_VALUE, NULL, NULL, 0, 0);
        s->late = s->late ? s->late : GPU_INVALID_VALUE;
        return true;
    case RECORD_BROKEN:
        break;
    }
    return false;
}

/* Nobody tells when what is waited for is over: it is asked for at once at first, then, after a
 * while without an answer, with pauses. */
static void ask_again(struct session *s, int64_t *since)
{
    enum { AT_ONCE_US = 200, PAUSE_NS = 50000, COMPILE_PAUSE_NS = 2000000 };
    int64_t now = g_get_monotonic_time();

    if (!*since)
        *since = now;
    if (now - *since > AT_ONCE_US)
        link_doze(s->link, session__only_compiles(s) ? COMPILE_PAUSE_NS : PAUSE_NS);
}

static void serve(struct session *s)
{
    g_autofree uint8_t *record = g_malloc(GPU_RECORD_MOST);
    enum { LOOK_MS = 5 };
    int64_t idle_since = 0;
    int held = 0; /* the length of the record that waits for the meter */

    for (;;) {
        int n;
        if (!held && s->seat && hold_wanted(s->seat->hold) && !session__rest(s, record))
            return;
        while ((n = held ? held : link_next(s->link, record)) > 0) {
            held = session__hold(s, record) ? n : 0;
            if (held)
                break;
            if (!session__take(s, record, n))
                return;
            idle_since = 0;
            if (s->seat && hold_wanted(s->seat->hold))
                break;
        }
        if (n > 0 && !held)
            continue;
        if (n < 0)
            return;
        bool looks = session__look(s);
        guint waiting = s->pending->len;
        if (!session__answer_pending(s))
            return;
        if (s->pending->len != waiting)
            idle_since = 0;
        else if (held && !session__hold_pause(s))
            return;
        else if (!held && OPS(s)->polled && waiting)
            ask_again(s, &idle_since);
        else if (!held)
            link_wait(s->link, looks ? LOOK_MS : -1);
    }
}

static void object_free(void *opaque)
{
    struct object *o = opaque;

    if (o->made)
        g_byte_array_free(o->made, TRUE);
    if (o->image)
        g_byte_array_free(o->image, TRUE);
    if (o->kind == OBJECT_COMPILE)
        compile_free(o->compile);
    g_free(o);
}

/* What is over is seen also while the program takes no answers: it has the device no longer. */
static void answers_full(void *opaque)
{
    session__look(opaque);
}

struct session *session__new(const struct session_env *env, struct link *link,
                             struct session_seat *seat)
{
    struct session *s = g_new0(struct session, 1);

    s->env = env;
    s->link = link;
    link_on_full(link, answers_full, s);
    s->seat = seat;
    s->quota.of = env->quota;
    s->quota.program = meter_program_new(env->meter);
    watch_add(env->watch, &s->watched);
    s->objects = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, object_free);
    s->contexts = g_ptr_array_new();
    s->pending = g_ptr_array_new_with_free_func(pending_free);
    s->image = g_byte_array_new();
    s->value_waits = g_array_new(FALSE, FALSE, sizeof(struct value_wait));
    pthread_mutex_init(&s->gates, NULL);
    pthread_cond_init(&s->gate_opened, NULL);
    return s;
}

void session__free(struct session *s)
{
    session__hold_end(s);
    session__end_contexts(s);
    link_on_full(s->link, NULL, NULL);
    meter_program_free(s->quota.program);
    watch_remove(&s->watched);
    g_hash_table_destroy(s->objects);
    g_ptr_array_free(s->contexts, TRUE);
    g_ptr_array_free(s->pending, TRUE);
    g_byte_array_free(s->image, TRUE);
    g_array_free(s->value_waits, TRUE);
    if (s->program)
        g_byte_array_free(s->program, TRUE);
    pthread_mutex_destroy(&s->gates);
    pthread_cond_destroy(&s->gate_opened);
    g_free(s);
}

void session_run(const struct session_env *env, struct link *link)
{
    while (link_open(link)) {
        struct session *s = session__new(env, link, NULL);
        serve(s);
        session__free(s);
        link_close(link);
    }
}

static void rest_without_session(void *opaque)
{
    struct session_seat *seat = opaque;

    if (hold_wanted(seat->hold))
        hold_park(seat->hold, seat->number, seat);
}

void session_serve(struct session_seat *seat)
{
    rest_without_session(seat); /* where one is to be loaded */
    link_on_wait(seat->link, rest_without_session, seat);
    while (seat->session || link_open(seat->link)) {
        if (!seat->session)
            seat->session = session__new(seat->env, seat->link, seat);
        serve(seat->session);
        g_clear_pointer(&seat->session, session__free);
        link_close(seat->link);
    }
}
