/* Doing what is queued in streams. See queue_priv.h. */
#include "gpu/server/queue_priv.h"

#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Until something changed in C, or NS nanoseconds are over. Locked. */
static void wait_change(struct gpu_context *c, uint64_t ns)
{
    uint64_t at_ns = now_ns() + ns;
    const struct timespec until = {.tv_sec = (time_t)(at_ns / 1000000000u),
                                   .tv_nsec = (long)(at_ns % 1000000000u)};

    pthread_cond_timedwait(&c->changed, &c->lock, &until);
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
    enum { PAUSE_NS = 100000 };

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
        pthread_mutex_lock(&c->lock);
        bool dying = c->dying || c->error;
        if (!dying)
            wait_change(c, PAUSE_NS);
        pthread_mutex_unlock(&c->lock);
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

bool queue__take(struct gpu_context *c, uint64_t bytes)
{
    if (!gpu_quota_take(c->quota, bytes))
        return false;
    pthread_mutex_lock(&c->lock);
    c->used += bytes;
    pthread_mutex_unlock(&c->lock);
    return true;
}

void queue__give_back(struct gpu_context *c, uint64_t bytes)
{
    pthread_mutex_lock(&c->lock);
    c->used -= bytes;
    pthread_mutex_unlock(&c->lock);
    gpu_quota_give(c->quota, bytes);
}

int queue__free_now(struct gpu_context *c, uint64_t address)
{
    uint64_t base, bytes;

    if (!c->ops->range(c->engine, address, &base, &bytes) || base != address)
        return GPU_INVALID_VALUE;
    int rc = c->ops->free(c->engine, address);
    if (!rc)
        queue__give_back(c, bytes);
    return rc;
}

void queue__stream_unref(struct gpu_stream *s)
{
    if (s && !--s->refs)
        g_free(s);
}

void queue__event_unref(struct gpu_event *e)
{
    if (--e->refs)
        return;
    queue__stream_unref(e->at.stream);
    g_free(e);
}

static int do_event(struct gpu_context *c, const struct op *op)
{
    pthread_mutex_lock(&c->lock);
    if (op->event->generation == op->generation)
        op->event->ns = now_ns();
    pthread_mutex_unlock(&c->lock);
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
        return queue__free_now(c, op->address);
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
        queue__stream_unref(op->needs[i].stream);
    if (op->kind == OP_EVENT)
        queue__event_unref(op->event);
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

static void set_held(struct gpu_stream *s, bool held)
{
    if (held && !s->held)
        meter_wait(s->context->quota->program);
    else if (!held && s->held)
        meter_wait_over(s->context->quota->program);
    s->held = held;
}

/* Whether OP, which depends on nothing any more, begins; a launch is counted from here on. Locked.
 */
static bool op_begin(struct gpu_stream *s, struct op *op)
{
    const struct gpu_context *c = s->context;
    bool metered = op->kind == OP_LAUNCH && !c->error && !c->dying;

    if (metered)
        op->began_ns = meter_begin(c->quota->program);
    set_held(s, metered && !op->began_ns);
    return !s->held;
}

/* OP is over, and off its stream. A launch that follows it waits from now on, so that a thread that
 * the host interrupts here is not taken for one without work. Locked. */
static void launch_over(struct gpu_stream *s, const struct op *op)
{
    const struct gpu_context *c = s->context;
    const struct op *next = g_queue_peek_head(&s->ops);

    if (op->kind != OP_LAUNCH || !op->began_ns)
        return;
    set_held(s, next && next->kind == OP_LAUNCH && op_ready(next) && !c->error && !c->dying);
    meter_end(c->quota->program, op->began_ns);
}

/* The next operation, which begins, or NULL at the end. Locked. */
static struct op *next_op(struct gpu_stream *s)
{
    enum { PAUSE_NS = 1000000 }; /* nobody tells that the meter lets more begin */
    struct gpu_context *c = s->context;

    for (;;) {
        struct op *op = g_queue_peek_head(&s->ops);
        bool ready = op && (op_ready(op) || c->dying);
        if (ready && op_begin(s, op))
            return op;
        if (!op && s->leaving)
            return NULL;
        if (ready)
            wait_change(c, PAUSE_NS);
        else
            pthread_cond_wait(&c->changed, &c->lock);
    }
}

void *queue__stream_main(void *opaque)
{
    struct gpu_stream *s = opaque;
    struct gpu_context *c = s->context;
    struct gpu_quota *quota = gpu_quota_all(c->quota);
    struct op *op;

    pthread_mutex_lock(&c->lock);
    while ((op = next_op(s))) {
        /* After an error nothing runs but what others wait for. */
        bool run = op->kind == OP_HOST || !(c->error || c->dying);
        pthread_mutex_unlock(&c->lock);
        int rc = run ? do_op(c, op) : GPU_SUCCESS;
        pthread_mutex_lock(&c->lock);
        if (rc && !c->error)
            c->error = rc;
        g_queue_pop_head(&s->ops);
        s->done = op->ticket;
        launch_over(s, op);
        op_free(op);
        pthread_cond_broadcast(&c->changed);
        c->wake(c->opaque);
    }
    /* Once the context has no streams it may go, and what it is charged to after it. */
    __atomic_fetch_sub(&quota->streams, 1, __ATOMIC_RELAXED);
    g_ptr_array_remove_fast(c->streams, s);
    pthread_cond_broadcast(&c->changed);
    queue__stream_unref(s);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* --- queueing --------------------------------------------------------------------------------- */

void queue__needs(struct op *op, struct gpu_stream *stream, uint64_t ticket)
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
            queue__needs(op, c->first, c->first->queued);
        return;
    }
    for (guint i = 0; i < c->streams->len; i++) {
        struct gpu_stream *other = g_ptr_array_index(c->streams, i);
        if (other != s && !(other->flags & 1))
            queue__needs(op, other, other->queued);
    }
}

/* Takes OP, where it is the last of its stream from here on. */
int queue__add(struct gpu_stream *s, struct op *op)
{
    struct gpu_context *c = s->context;

    pthread_mutex_lock(&c->lock);
    int rc = c->error;
    if (!rc && s->queued - s->done >= LIMIT_GPU_QUEUED)
        rc = GPU_OUT_OF_RESOURCES;
    if (rc && op->kind != OP_HOST) {
        op_free(op);
        pthread_mutex_unlock(&c->lock);
        return rc;
    }
    op_take_turn(op, s);
    op->ticket = ++s->queued;
    if (op->kind == OP_EVENT) {
        op->generation = ++op->event->generation;
        queue__stream_unref(op->event->at.stream);
        op->event->at = (struct dependency){s, op->ticket};
        s->refs++;
    }
    g_queue_push_tail(&s->ops, op);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return GPU_SUCCESS;
}

struct op *queue__op(enum op_kind kind)
{
    struct op *op = g_new0(struct op, 1);

    op->kind = kind;
    return op;
}
