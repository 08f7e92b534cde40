/*
 * Streams around an engine: each stream is a queue of operations and a thread that does them in
 * order.
 *
 * An operation waits for what it depends on: the places ("tickets") in other streams that were last
 * when it was queued. That is how events work, and the default stream, which waits for all streams
 * that do not say otherwise and is waited for by them. One lock a context; operations run without
 * it.
 *
 * A stream's thread ends when the stream was freed and is empty, or its context dies; the object
 * stays as long as somebody names its tickets (REFS). Events live as long as their user and the
 * operations that record them.
 */
#include "gpu/server/engine.h"

#include <time.h>

enum op_kind {
    OP_COPY,
    OP_FILL,
    OP_LAUNCH,
    OP_EVENT,
    OP_FREE,
    OP_WRITE,
    OP_WAIT,
    OP_HOST,
    OP_JOIN
};

struct dependency {
    struct gpu_stream *stream;
    uint64_t ticket;
};

struct op {
    enum op_kind kind;
    uint64_t ticket;
    struct dependency *needs;
    unsigned n_needs;
    union {
        struct gpu_copy copy;
        struct gpu_fill fill;
        struct {
            struct gpu_kernel *kernel;
            struct gpu_launch launch;
        };
        struct {
            struct gpu_event *event;
            uint64_t generation;
        };
        struct {
            uint64_t address, value;
            unsigned bytes, compare;
        };
        struct {
            void (*fn)(void *opaque);
            void *opaque;
        };
    };
};

struct gpu_stream {
    struct gpu_context *context;
    unsigned flags;
    GQueue ops;
    uint64_t queued, done; /* tickets */
    unsigned refs;
    bool leaving;
};

struct gpu_event {
    struct gpu_context *context;
    unsigned flags;
    struct dependency at; /* the record that counts; no stream: none yet */
    uint64_t generation;
    uint64_t ns;
    unsigned refs;
};

struct queue_backend {
    struct gpu_backend base;
    const struct gpu_engine_ops *engine;
};

struct gpu_context {
    const struct gpu_engine_ops *ops;
    struct gpu_engine *engine;
    struct gpu_quota *quota;
    uint64_t used; /* of it */
    void (*wake)(void *opaque);
    void *opaque;
    GMutex lock;
    GCond changed;
    GPtrArray *streams; /* those with a thread */
    struct gpu_stream *first;
    int error;
    bool dying;
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool gpu_quota_take(struct gpu_quota *q, uint64_t bytes)
{
    uint64_t used = __atomic_load_n(&q->used, __ATOMIC_RELAXED);

    do {
        if (bytes > q->most || used > q->most - bytes)
            return false;
    } while (!__atomic_compare_exchange_n(&q->used, &used, used + bytes, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

void gpu_quota_give(struct gpu_quota *q, uint64_t bytes)
{
    __atomic_fetch_sub(&q->used, bytes, __ATOMIC_RELAXED);
}

/* --- doing ------------------------------------------------------------------------------------ */

/* Rows between memory of the device and memory of the host; both ends are looked up row by row. */
static int do_copy(struct gpu_context *c, const struct gpu_copy *copy)
{
    uint8_t *host = copy->host;

    for (uint64_t row = 0; row < copy->height; row++) {
        void *to = copy->kind == GPU_FROM_DEVICE
                       ? host + row * copy->width
                       : c->ops->host(c->engine, copy->to + row * copy->to_pitch, copy->width);
        const void *from =
            copy->kind == GPU_TO_DEVICE
                ? host + row * copy->width
                : c->ops->host(c->engine, copy->from + row * copy->from_pitch, copy->width);
        if (!to || !from)
            return GPU_ILLEGAL_ADDRESS;
        memmove(to, from, copy->width);
    }
    return GPU_SUCCESS;
}

static int do_fill(struct gpu_context *c, const struct gpu_fill *fill)
{
    for (uint64_t row = 0; row < fill->height; row++) {
        uint8_t *to = c->ops->host(c->engine, fill->address + row * fill->pitch, fill->width);
        if (!to)
            return GPU_ILLEGAL_ADDRESS;
        if (fill->unit == 1) {
            memset(to, (int)fill->value, fill->width);
            continue;
        }
        for (uint64_t i = 0; i + fill->unit <= fill->width; i += fill->unit)
            memcpy(to + i, &fill->value, fill->unit);
    }
    return GPU_SUCCESS;
}

static bool value_holds(const struct op *op, uint64_t now)
{
    uint64_t want = op->value;

    if (op->bytes == 4) {
        now = (uint32_t)now;
        want = (uint32_t)want;
    }
    switch (op->compare) {
    case 0:
        return op->bytes == 4 ? (int32_t)(now - want) >= 0 : (int64_t)(now - want) >= 0;
    case 1:
        return now == want;
    case 2:
        return (now & want) != 0;
    default:
        return (~(now | want) & (op->bytes == 4 ? UINT32_MAX : UINT64_MAX)) != 0;
    }
}

/* Another stream, or a copy, writes what is waited for; nothing tells, so it is looked at now and
 * then. */
static int do_wait(struct gpu_context *c, const struct op *op)
{
    for (;;) {
        uint64_t now = 0;
        void *at = c->ops->host(c->engine, op->address, op->bytes);
        if (!at)
            return GPU_ILLEGAL_ADDRESS;
        if (op->bytes == 4)
            now = __atomic_load_n((uint32_t *)at, __ATOMIC_ACQUIRE);
        else
            now = __atomic_load_n((uint64_t *)at, __ATOMIC_ACQUIRE);
        if (value_holds(op, now))
            return GPU_SUCCESS;
        g_mutex_lock(&c->lock);
        bool dying = c->dying || c->error;
        if (!dying)
            g_cond_wait_until(&c->changed, &c->lock, g_get_monotonic_time() + 100);
        g_mutex_unlock(&c->lock);
        if (dying)
            return GPU_SUCCESS;
    }
}

static int do_write(struct gpu_context *c, const struct op *op)
{
    void *at = c->ops->host(c->engine, op->address, op->bytes);

    if (!at)
        return GPU_ILLEGAL_ADDRESS;
    if (op->bytes == 4)
        __atomic_store_n((uint32_t *)at, (uint32_t)op->value, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint64_t *)at, op->value, __ATOMIC_RELEASE);
    return GPU_SUCCESS;
}

static void give_back(struct gpu_context *c, uint64_t bytes)
{
    g_mutex_lock(&c->lock);
    c->used -= bytes;
    g_mutex_unlock(&c->lock);
    gpu_quota_give(c->quota, bytes);
}

static int free_now(struct gpu_context *c, uint64_t address)
{
    uint64_t base, bytes;

    if (!c->ops->range(c->engine, address, &base, &bytes) || base != address)
        return GPU_INVALID_VALUE;
    int rc = c->ops->free(c->engine, address);
    if (!rc)
        give_back(c, bytes);
    return rc;
}

static void stream_unref(struct gpu_stream *s)
{
    if (s && !--s->refs)
        g_free(s);
}

static void event_unref(struct gpu_event *e)
{
    if (--e->refs)
        return;
    stream_unref(e->at.stream);
    g_free(e);
}

static int do_event(struct gpu_context *c, const struct op *op)
{
    g_mutex_lock(&c->lock);
    if (op->event->generation == op->generation)
        op->event->ns = now_ns();
    g_mutex_unlock(&c->lock);
    return GPU_SUCCESS;
}

static int do_op(struct gpu_context *c, const struct op *op)
{
    switch (op->kind) {
    case OP_COPY:
        return do_copy(c, &op->copy);
    case OP_FILL:
        return do_fill(c, &op->fill);
    case OP_LAUNCH:
        return c->ops->launch(c->engine, op->kernel, &op->launch);
    case OP_EVENT:
        return do_event(c, op);
    case OP_FREE:
        return free_now(c, op->address);
    case OP_WRITE:
        return do_write(c, op);
    case OP_WAIT:
        return do_wait(c, op);
    case OP_HOST:
        op->fn(op->opaque);
        return GPU_SUCCESS;
    case OP_JOIN:
        return GPU_SUCCESS;
    }
    return GPU_UNKNOWN;
}

/* Locked. */
static void op_free(struct op *op)
{
    for (unsigned i = 0; i < op->n_needs; i++)
        stream_unref(op->needs[i].stream);
    if (op->kind == OP_EVENT)
        event_unref(op->event);
    if (op->kind == OP_LAUNCH)
        g_free((void *)op->launch.params);
    g_free(op->needs);
    g_free(op);
}

static bool op_ready(const struct op *op)
{
    for (unsigned i = 0; i < op->n_needs; i++) {
        if (op->needs[i].stream->done < op->needs[i].ticket)
            return false;
    }
    return true;
}

/* The next operation that may run, or NULL at the end. Locked. */
static struct op *next_op(struct gpu_stream *s)
{
    for (;;) {
        struct op *op = g_queue_peek_head(&s->ops);
        if (op && (op_ready(op) || s->context->dying))
            return op;
        if (!op && s->leaving)
            return NULL;
        g_cond_wait(&s->context->changed, &s->context->lock);
    }
}

static void *stream_main(void *opaque)
{
    struct gpu_stream *s = opaque;
    struct gpu_context *c = s->context;
    struct gpu_quota *quota = c->quota;
    struct op *op;

    g_mutex_lock(&c->lock);
    while ((op = next_op(s))) {
        /* After an error nothing runs but what others wait for. */
        bool run = op->kind == OP_HOST || !(c->error || c->dying);
        g_mutex_unlock(&c->lock);
        int rc = run ? do_op(c, op) : GPU_SUCCESS;
        g_mutex_lock(&c->lock);
        if (rc && !c->error)
            c->error = rc;
        g_queue_pop_head(&s->ops);
        s->done = op->ticket;
        op_free(op);
        g_cond_broadcast(&c->changed);
        c->wake(c->opaque);
    }
    g_ptr_array_remove_fast(c->streams, s);
    g_cond_broadcast(&c->changed);
    stream_unref(s);
    g_mutex_unlock(&c->lock);
    __atomic_fetch_sub(&quota->streams, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* --- queueing --------------------------------------------------------------------------------- */

static void op_needs(struct op *op, struct gpu_stream *stream, uint64_t ticket)
{
    if (!stream || stream->done >= ticket)
        return;
    stream->refs++;
    op->needs = g_renew(struct dependency, op->needs, op->n_needs + 1);
    op->needs[op->n_needs++] = (struct dependency){stream, ticket};
}

/* The default stream and those that are not "non-blocking" take turns. Locked. */
static void op_take_turn(struct op *op, struct gpu_stream *s)
{
    struct gpu_context *c = s->context;

    if (s != c->first) {
        if (!(s->flags & 1))
            op_needs(op, c->first, c->first->queued);
        return;
    }
    for (guint i = 0; i < c->streams->len; i++) {
        struct gpu_stream *other = g_ptr_array_index(c->streams, i);
        if (other != s && !(other->flags & 1))
            op_needs(op, other, other->queued);
    }
}

/* Takes OP, where it is the last of its stream from here on. */
static int queue_op(struct gpu_stream *s, struct op *op)
{
    struct gpu_context *c = s->context;

    g_mutex_lock(&c->lock);
    int rc = c->error;
    if (!rc && s->queued - s->done >= LIMIT_GPU_QUEUED)
        rc = GPU_OUT_OF_RESOURCES;
    if (rc && op->kind != OP_HOST) {
        op_free(op);
        g_mutex_unlock(&c->lock);
        return rc;
    }
    op_take_turn(op, s);
    op->ticket = ++s->queued;
    if (op->kind == OP_EVENT) {
        op->generation = ++op->event->generation;
        stream_unref(op->event->at.stream);
        op->event->at = (struct dependency){s, op->ticket};
        s->refs++;
    }
    g_queue_push_tail(&s->ops, op);
    g_cond_broadcast(&c->changed);
    g_mutex_unlock(&c->lock);
    return GPU_SUCCESS;
}

static struct op *op_new(enum op_kind kind)
{
    struct op *op = g_new0(struct op, 1);

    op->kind = kind;
    return op;
}

/* --- contexts --------------------------------------------------------------------------------- */

/* A stream is a thread: those of all programs together, and those that still end, are bounded. */
enum { STREAMS_MOST = 8 * LIMIT_GPU_STREAMS };

static int stream_make(struct gpu_context *c, unsigned flags, struct gpu_stream **out)
{
    unsigned *count = &c->quota->streams;

    if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) > STREAMS_MOST) {
        __atomic_fetch_sub(count, 1, __ATOMIC_RELAXED);
        return GPU_OUT_OF_RESOURCES;
    }
    struct gpu_stream *s = g_new0(struct gpu_stream, 1);
    s->context = c;
    s->flags = flags;
    g_queue_init(&s->ops);
    s->refs = 1;
    g_mutex_lock(&c->lock);
    GThread *thread = g_thread_try_new("stream", stream_main, s, NULL);
    if (thread)
        g_ptr_array_add(c->streams, s);
    g_mutex_unlock(&c->lock);
    if (!thread) {
        __atomic_fetch_sub(count, 1, __ATOMIC_RELAXED);
        g_free(s);
        return GPU_OUT_OF_RESOURCES;
    }
    g_thread_unref(thread);
    *out = s;
    return GPU_SUCCESS;
}

static void queue_context_end(struct gpu_context *c)
{
    c->ops->cancel(c->engine);
    g_mutex_lock(&c->lock);
    c->dying = true;
    for (guint i = 0; i < c->streams->len; i++)
        ((struct gpu_stream *)g_ptr_array_index(c->streams, i))->leaving = true;
    g_cond_broadcast(&c->changed);
    while (c->streams->len)
        g_cond_wait(&c->changed, &c->lock);
    g_mutex_unlock(&c->lock);
}

static void queue_context_free(struct gpu_context *c)
{
    g_ptr_array_free(c->streams, TRUE);
    gpu_quota_give(c->quota, c->used);
    c->ops->close(c->engine);
    g_mutex_clear(&c->lock);
    g_cond_clear(&c->changed);
    g_free(c);
}

static int queue_context_new(struct gpu_backend *b, unsigned device, struct gpu_quota *quota,
                             void (*wake)(void *opaque), void *opaque, struct gpu_context **out)
{
    const struct queue_backend *q = container_of(b, struct queue_backend, base);
    struct gpu_engine *engine = device ? NULL : q->engine->open(quota->most);

    if (!engine)
        return device ? GPU_INVALID_DEVICE : GPU_OUT_OF_MEMORY;
    struct gpu_context *c = g_new0(struct gpu_context, 1);
    c->ops = q->engine;
    c->engine = engine;
    c->quota = quota;
    c->wake = wake;
    c->opaque = opaque;
    g_mutex_init(&c->lock);
    g_cond_init(&c->changed);
    c->streams = g_ptr_array_new();
    int rc = stream_make(c, 0, &c->first);
    if (rc) {
        queue_context_free(c);
        return rc;
    }
    *out = c;
    return GPU_SUCCESS;
}

static int queue_context_query(struct gpu_context *c)
{
    g_mutex_lock(&c->lock);
    int rc = c->error;
    for (guint i = 0; !rc && i < c->streams->len; i++) {
        const struct gpu_stream *s = g_ptr_array_index(c->streams, i);
        if (s->done < s->queued)
            rc = GPU_NOT_READY;
    }
    g_mutex_unlock(&c->lock);
    return rc;
}

static int queue_memory(struct gpu_context *c, uint64_t *free, uint64_t *total)
{
    uint64_t used = __atomic_load_n(&c->quota->used, __ATOMIC_RELAXED);

    *total = c->quota->most;
    *free = c->quota->most - MIN(used, c->quota->most);
    return GPU_SUCCESS;
}

static int queue_alloc(struct gpu_context *c, uint64_t bytes, uint64_t *address)
{
    g_mutex_lock(&c->lock);
    int rc = c->error;
    g_mutex_unlock(&c->lock);
    if (!rc && !gpu_quota_take(c->quota, bytes))
        rc = GPU_OUT_OF_MEMORY;
    if (rc)
        return rc;
    g_mutex_lock(&c->lock);
    c->used += bytes;
    g_mutex_unlock(&c->lock);
    rc = c->ops->alloc(c->engine, bytes, address);
    if (rc)
        give_back(c, bytes);
    return rc;
}

/* What was asked before is done first; nobody is kept waiting for that. */
static int queue_free(struct gpu_context *c, uint64_t address)
{
    uint64_t base, bytes;
    int rc = queue_context_query(c);

    if (!c->ops->range(c->engine, address, &base, &bytes) || base != address)
        return GPU_INVALID_VALUE;
    if (rc != GPU_NOT_READY)
        return free_now(c, address);
    struct op *op = op_new(OP_FREE);
    op->address = address;
    g_mutex_lock(&c->lock);
    for (guint i = 0; i < c->streams->len; i++) {
        struct gpu_stream *s = g_ptr_array_index(c->streams, i);
        if (s != c->first)
            op_needs(op, s, s->queued);
    }
    g_mutex_unlock(&c->lock);
    return queue_op(c->first, op);
}

static int queue_free_on(struct gpu_stream *s, uint64_t address)
{
    struct op *op = op_new(OP_FREE);

    op->address = address;
    return queue_op(s, op);
}

static int queue_range(struct gpu_context *c, uint64_t address, uint64_t *base, uint64_t *bytes)
{
    return c->ops->range(c->engine, address, base, bytes) ? GPU_SUCCESS : GPU_INVALID_VALUE;
}

/* --- modules ---------------------------------------------------------------------------------- */

static int queue_module_new(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                            size_t log_bytes, struct gpu_module **out)
{
    int rc = queue_context_query(c);

    if (rc && rc != GPU_NOT_READY)
        return rc;
    struct gpu_module *m;
    rc = c->ops->module_new(c->engine, image, length, log, log_bytes, &m);
    if (rc)
        return rc;
    uint64_t bytes = c->ops->module_bytes(m);
    if (!gpu_quota_take(c->quota, bytes)) {
        c->ops->module_free(m);
        return GPU_OUT_OF_MEMORY;
    }
    g_mutex_lock(&c->lock);
    c->used += bytes;
    g_mutex_unlock(&c->lock);
    *out = m;
    return GPU_SUCCESS;
}

static void queue_module_free(struct gpu_context *c, struct gpu_module *m)
{
    give_back(c, c->ops->module_bytes(m));
    c->ops->module_free(m);
}

static int queue_kernel(struct gpu_context *c, struct gpu_module *m, const char *name,
                        struct gpu_kernel **out, struct gpu_kernel_info *info)
{
    return c->ops->kernel(m, name, out, info);
}

/* The CPU has no cache to divide; what can be set changes nothing. */
static int queue_kernel_set(struct gpu_kernel *k, unsigned attribute, unsigned value)
{
    return GPU_SUCCESS;
}

static int queue_occupancy(struct gpu_context *c, struct gpu_kernel *k, unsigned block,
                           uint64_t shared, unsigned *blocks)
{
    enum { THREADS_MOST = 2048, SHARED_MOST = 100 * 1024, BLOCKS_MOST = 32 };
    unsigned n = THREADS_MOST / MAX(ALIGN_UP(block, 32), 32);

    if (shared)
        n = (unsigned)MIN(n, SHARED_MOST / shared);
    *blocks = MIN(n, BLOCKS_MOST);
    return GPU_SUCCESS;
}

static int queue_global(struct gpu_context *c, struct gpu_module *m, const char *name,
                        uint64_t *address, uint64_t *bytes)
{
    return c->ops->global(m, name, address, bytes);
}

/* --- streams and events ----------------------------------------------------------------------- */

static int queue_stream_new(struct gpu_context *c, unsigned flags, int priority,
                            struct gpu_stream **out)
{
    return stream_make(c, flags, out);
}

static void queue_stream_free(struct gpu_stream *s)
{
    struct gpu_context *c = s->context;

    g_mutex_lock(&c->lock);
    s->leaving = true;
    g_cond_broadcast(&c->changed);
    g_mutex_unlock(&c->lock);
}

static struct gpu_stream *queue_stream_default(struct gpu_context *c)
{
    return c->first;
}

static int queue_stream_query(struct gpu_stream *s)
{
    struct gpu_context *c = s->context;

    g_mutex_lock(&c->lock);
    int rc = c->error ? c->error : s->done < s->queued ? GPU_NOT_READY : GPU_SUCCESS;
    g_mutex_unlock(&c->lock);
    return rc;
}

static int queue_stream_wait(struct gpu_stream *s, struct gpu_event *e)
{
    struct op *op = op_new(OP_JOIN);

    g_mutex_lock(&e->context->lock);
    op_needs(op, e->at.stream, e->at.ticket);
    g_mutex_unlock(&e->context->lock);
    return queue_op(s, op);
}

static int queue_event_new(struct gpu_context *c, unsigned flags, struct gpu_event **out)
{
    struct gpu_event *e = g_new0(struct gpu_event, 1);

    e->context = c;
    e->flags = flags;
    e->refs = 1;
    *out = e;
    return GPU_SUCCESS;
}

static void queue_event_free(struct gpu_event *e)
{
    struct gpu_context *c = e->context;

    g_mutex_lock(&c->lock);
    event_unref(e);
    g_mutex_unlock(&c->lock);
}

static int queue_event_record(struct gpu_event *e, struct gpu_stream *s)
{
    struct op *op = op_new(OP_EVENT);

    op->event = e;
    g_mutex_lock(&e->context->lock);
    e->refs++;
    g_mutex_unlock(&e->context->lock);
    return queue_op(s, op);
}

static int event_state(const struct gpu_event *e)
{
    if (e->context->error)
        return e->context->error;
    return e->at.stream && e->at.stream->done < e->at.ticket ? GPU_NOT_READY : GPU_SUCCESS;
}

static int queue_event_query(struct gpu_event *e)
{
    g_mutex_lock(&e->context->lock);
    int rc = event_state(e);
    g_mutex_unlock(&e->context->lock);
    return rc;
}

static int queue_event_elapsed(struct gpu_event *start, struct gpu_event *end, uint64_t *ns)
{
    enum { DISABLE_TIMING = 2 };
    struct gpu_context *c = start->context;

    if ((start->flags | end->flags) & DISABLE_TIMING || c != end->context)
        return GPU_INVALID_HANDLE;
    g_mutex_lock(&c->lock);
    int rc = event_state(start);
    if (!rc)
        rc = event_state(end);
    if (!rc && (!start->at.stream || !end->at.stream))
        rc = GPU_INVALID_HANDLE;
    if (!rc)
        *ns = end->ns - start->ns;
    g_mutex_unlock(&c->lock);
    return rc;
}

/* --- what runs in streams --------------------------------------------------------------------- */

static int queue_copy(struct gpu_stream *s, const struct gpu_copy *copy)
{
    struct op *op = op_new(OP_COPY);

    op->copy = *copy;
    return queue_op(s, op);
}

static int queue_fill(struct gpu_stream *s, const struct gpu_fill *fill)
{
    struct op *op = op_new(OP_FILL);

    op->fill = *fill;
    return queue_op(s, op);
}

static int queue_value(struct gpu_stream *s, enum op_kind kind, uint64_t address, uint64_t value,
                       unsigned bytes, unsigned compare)
{
    struct op *op = op_new(kind);

    op->address = address;
    op->value = value;
    op->bytes = bytes;
    op->compare = compare;
    return queue_op(s, op);
}

static int queue_value_write(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes)
{
    return queue_value(s, OP_WRITE, address, value, bytes, 0);
}

static int queue_value_wait(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes,
                            unsigned compare)
{
    return queue_value(s, OP_WAIT, address, value, bytes, compare);
}

static int queue_launch(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *launch)
{
    struct op *op = op_new(OP_LAUNCH);

    op->kernel = k;
    op->launch = *launch;
    op->launch.params = g_memdup2(launch->params, launch->params_bytes);
    return queue_op(s, op);
}

static int queue_host(struct gpu_stream *s, void (*fn)(void *opaque), void *opaque)
{
    struct op *op = op_new(OP_HOST);

    op->fn = fn;
    op->opaque = opaque;
    return queue_op(s, op);
}

/* --- the backend ------------------------------------------------------------------------------ */

static void queue_close(struct gpu_backend *b)
{
    g_free(container_of(b, struct queue_backend, base));
}

static unsigned queue_devices(struct gpu_backend *b)
{
    return 1;
}

static int queue_driver_version(struct gpu_backend *b)
{
    return 12040; /* the calls that the guest's library offers are those of this driver */
}

static int queue_device(struct gpu_backend *b, unsigned device, struct gpu_device_info *out)
{
    if (device)
        return GPU_INVALID_DEVICE;
    return container_of(b, struct queue_backend, base)->engine->device(out);
}

static const struct gpu_backend_ops queue_ops = {
    .name = "soft",
    .close = queue_close,
    .devices = queue_devices,
    .driver_version = queue_driver_version,
    .device = queue_device,
    .context_new = queue_context_new,
    .context_end = queue_context_end,
    .context_free = queue_context_free,
    .context_query = queue_context_query,
    .memory = queue_memory,
    .alloc = queue_alloc,
    .free = queue_free,
    .free_on = queue_free_on,
    .range = queue_range,
    .module_new = queue_module_new,
    .module_free = queue_module_free,
    .kernel = queue_kernel,
    .kernel_set = queue_kernel_set,
    .occupancy = queue_occupancy,
    .global = queue_global,
    .stream_new = queue_stream_new,
    .stream_free = queue_stream_free,
    .stream_default = queue_stream_default,
    .stream_query = queue_stream_query,
    .stream_wait = queue_stream_wait,
    .event_new = queue_event_new,
    .event_free = queue_event_free,
    .event_record = queue_event_record,
    .event_query = queue_event_query,
    .event_elapsed = queue_event_elapsed,
    .copy = queue_copy,
    .fill = queue_fill,
    .value_write = queue_value_write,
    .value_wait = queue_value_wait,
    .launch = queue_launch,
    .host = queue_host,
};

struct gpu_backend *backend_queue_new(const struct gpu_engine_ops *engine)
{
    struct queue_backend *q = g_new0(struct queue_backend, 1);

    q->base.ops = &queue_ops;
    q->engine = engine;
    return &q->base;
}
