/* Streams around an engine: contexts, modules, streams and events of a backend. See queue_priv.h.
 */
#include "gpu/server/queue_priv.h"

#include <time.h>

/* --- contexts --------------------------------------------------------------------------------- */

/* A stream is a thread: those of all programs together, and those that still end, are bounded. */
enum { STREAMS_MOST = 8 * LIMIT_GPU_STREAMS };

static int stream_make(struct gpu_context *c, unsigned flags, struct gpu_stream **out)
{
    unsigned *count = &gpu_quota_all(c->quota)->streams;
    pthread_t thread;

    if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) > STREAMS_MOST) {
        __atomic_fetch_sub(count, 1, __ATOMIC_RELAXED);
        return GPU_OUT_OF_RESOURCES;
    }
    struct gpu_stream *s = g_new0(struct gpu_stream, 1);
    s->context = c;
    s->flags = flags;
    g_queue_init(&s->ops);
    s->refs = 1;
    pthread_mutex_lock(&c->lock);
    bool runs = pthread_create(&thread, NULL, queue__stream_main, s) == 0;
    if (runs)
        g_ptr_array_add(c->streams, s);
    pthread_mutex_unlock(&c->lock);
    if (!runs) {
        __atomic_fetch_sub(count, 1, __ATOMIC_RELAXED);
        g_free(s);
        return GPU_OUT_OF_RESOURCES;
    }
    pthread_detach(thread);
    *out = s;
    return GPU_SUCCESS;
}

static void queue_context_end(struct gpu_context *c)
{
    c->ops->cancel(c->engine);
    pthread_mutex_lock(&c->lock);
    c->dying = true;
    for (guint i = 0; i < c->streams->len; i++)
        ((struct gpu_stream *)g_ptr_array_index(c->streams, i))->leaving = true;
    pthread_cond_broadcast(&c->changed);
    while (c->streams->len)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void queue_context_free(struct gpu_context *c)
{
    g_ptr_array_free(c->streams, TRUE);
    g_string_free(c->printed, TRUE);
    gpu_quota_give(c->quota, c->used);
    c->ops->close(c->engine);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    g_free(c);
}

static const uint64_t limits_first[QUEUE_LIMITS] = {
    [QUEUE_LIMIT_STACK] = KIB(1), [QUEUE_LIMIT_PRINTED] = MIB(1), [QUEUE_LIMIT_HEAP] = MIB(8)};
static const uint64_t limits_most[QUEUE_LIMITS] = {
    [QUEUE_LIMIT_STACK] = KIB(256), [QUEUE_LIMIT_PRINTED] = MIB(16), [QUEUE_LIMIT_HEAP] = MIB(8)};

static int queue_context_new(struct gpu_backend *b, unsigned device, struct gpu_quota *quota,
                             void (*wake)(void *opaque), void *opaque, struct gpu_context **out)
{
    const struct queue_backend *q = container_of(b, struct queue_backend, base);
    struct gpu_engine *engine = device ? NULL : q->engine->open(gpu_quota_all(quota)->most);
    pthread_condattr_t monotonic;

    if (!engine)
        return device ? GPU_INVALID_DEVICE : GPU_OUT_OF_MEMORY;
    struct gpu_context *c = g_new0(struct gpu_context, 1);
    c->ops = q->engine;
    c->engine = engine;
    c->quota = quota;
    c->wake = wake;
    c->opaque = opaque;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->streams = g_ptr_array_new();
    c->printed = g_string_new(NULL);
    memcpy(c->limits, limits_first, sizeof(c->limits));
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
    pthread_mutex_lock(&c->lock);
    int rc = c->error;
    for (guint i = 0; !rc && i < c->streams->len; i++) {
        const struct gpu_stream *s = g_ptr_array_index(c->streams, i);
        if (s->done < s->queued)
            rc = GPU_NOT_READY;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int queue_memory(struct gpu_context *c, uint64_t *free, uint64_t *total)
{
    const struct gpu_quota *all = gpu_quota_all(c->quota);
    uint64_t used = __atomic_load_n(&all->used, __ATOMIC_RELAXED);

    *total = all->most;
    *free = all->most - MIN(used, all->most);
    return GPU_SUCCESS;
}

/* AT 0: anywhere. */
static int alloc(struct gpu_context *c, uint64_t at, uint64_t bytes, uint64_t *address)
{
    pthread_mutex_lock(&c->lock);
    int rc = c->error;
    pthread_mutex_unlock(&c->lock);
    if (!rc && !queue__take(c, bytes))
        rc = GPU_OUT_OF_MEMORY;
    if (rc)
        return rc;
    rc = at ? c->ops->alloc_at(c->engine, at, bytes) : c->ops->alloc(c->engine, bytes, address);
    if (rc)
        queue__give_back(c, bytes);
    return rc;
}

static int queue_alloc(struct gpu_context *c, uint64_t bytes, uint64_t *address)
{
    return alloc(c, 0, bytes, address);
}

static int queue_alloc_at(struct gpu_context *c, uint64_t address, uint64_t bytes)
{
    return c->ops->alloc_at ? alloc(c, address, bytes, NULL) : GPU_NOT_SUPPORTED;
}

/* What was asked before is done first; nobody is kept waiting for that. */
static int queue_free(struct gpu_context *c, uint64_t address)
{
    int rc = queue_context_query(c);

    if (!c->ops->may_free(c->engine, address))
        return GPU_INVALID_VALUE;
    if (rc != GPU_NOT_READY)
        return queue__free_now(c, address);
    struct op *op = queue__op(OP_FREE);
    op->address = address;
    pthread_mutex_lock(&c->lock);
    for (guint i = 0; i < c->streams->len; i++) {
        struct gpu_stream *s = g_ptr_array_index(c->streams, i);
        if (s != c->first)
            queue__needs(op, s, s->queued);
    }
    pthread_mutex_unlock(&c->lock);
    return queue__add(c->first, op);
}

static int queue_free_on(struct gpu_stream *s, uint64_t address)
{
    struct gpu_context *c = s->context;

    if (!c->ops->may_free(c->engine, address))
        return GPU_INVALID_VALUE;
    struct op *op = queue__op(OP_FREE);
    op->address = address;
    return queue__add(s, op);
}

static int queue_range(struct gpu_context *c, uint64_t address, uint64_t *base, uint64_t *bytes)
{
    return c->ops->range(c->engine, address, base, bytes) ? GPU_SUCCESS : GPU_INVALID_VALUE;
}

/* Kernels have as much stack and heap as there can be, whatever a program asks for. */
static int queue_limit(struct gpu_context *c, unsigned limit, bool set, uint64_t *value)
{
    int rc = limit >= QUEUE_LIMITS                ? GPU_UNSUPPORTED_LIMIT
             : set && *value > limits_most[limit] ? GPU_INVALID_VALUE
                                                  : GPU_SUCCESS;

    if (rc)
        return rc;
    pthread_mutex_lock(&c->lock);
    if (set)
        c->limits[limit] = *value;
    *value = c->limits[limit];
    pthread_mutex_unlock(&c->lock);
    return GPU_SUCCESS;
}

static uint32_t queue_printed(struct gpu_context *c, char *to, uint32_t most)
{
    pthread_mutex_lock(&c->lock);
    uint32_t bytes = (uint32_t)(to ? MIN(c->printed->len, most) : c->printed->len);
    if (to) {
        memcpy(to, c->printed->str, bytes);
        g_string_erase(c->printed, 0, bytes);
    }
    pthread_mutex_unlock(&c->lock);
    return bytes;
}

/* The oldest goes where there is more than fits. */
static void context_print(void *opaque, const char *text, size_t length)
{
    struct gpu_context *c = opaque;

    pthread_mutex_lock(&c->lock);
    g_string_append_len(c->printed, text, (gssize)length);
    if (c->printed->len > c->limits[QUEUE_LIMIT_PRINTED])
        g_string_erase(c->printed, 0, (gssize)(c->printed->len - c->limits[QUEUE_LIMIT_PRINTED]));
    pthread_mutex_unlock(&c->lock);
}

/* --- modules ---------------------------------------------------------------------------------- */

int queue__own_module(struct gpu_context *c, struct gpu_module *m, struct gpu_module **out)
{
    if (!queue__take(c, c->ops->module_bytes(m))) {
        c->ops->module_free(m);
        return GPU_OUT_OF_MEMORY;
    }
    *out = m;
    return GPU_SUCCESS;
}

static int queue_module_new(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                            size_t log_bytes, struct gpu_module **out)
{
    int rc = queue_context_query(c);

    if (rc && rc != GPU_NOT_READY)
        return rc;
    struct gpu_module *m;
    rc = c->ops->module_new(c->engine, image, length, log, log_bytes, &m);
    return rc ? rc : queue__own_module(c, m, out);
}

static void queue_module_free(struct gpu_context *c, struct gpu_module *m)
{
    queue__give_back(c, c->ops->module_bytes(m));
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

    pthread_mutex_lock(&c->lock);
    s->leaving = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static struct gpu_stream *queue_stream_default(struct gpu_context *c)
{
    return c->first;
}

static int queue_stream_query(struct gpu_stream *s)
{
    struct gpu_context *c = s->context;

    pthread_mutex_lock(&c->lock);
    int rc = c->error ? c->error : s->done < s->queued ? GPU_NOT_READY : GPU_SUCCESS;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int queue_stream_wait(struct gpu_stream *s, struct gpu_event *e)
{
    struct op *op = queue__op(OP_JOIN);

    pthread_mutex_lock(&e->context->lock);
    queue__needs(op, e->at.stream, e->at.ticket);
    pthread_mutex_unlock(&e->context->lock);
    return queue__add(s, op);
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

    pthread_mutex_lock(&c->lock);
    queue__event_unref(e);
    pthread_mutex_unlock(&c->lock);
}

static int queue_event_record(struct gpu_event *e, struct gpu_stream *s)
{
    struct op *op = queue__op(OP_EVENT);

    op->event = e;
    pthread_mutex_lock(&e->context->lock);
    e->refs++;
    pthread_mutex_unlock(&e->context->lock);
    return queue__add(s, op);
}

static int event_state(const struct gpu_event *e)
{
    if (e->context->error)
        return e->context->error;
    return e->at.stream && e->at.stream->done < e->at.ticket ? GPU_NOT_READY : GPU_SUCCESS;
}

static int queue_event_query(struct gpu_event *e)
{
    pthread_mutex_lock(&e->context->lock);
    int rc = event_state(e);
    pthread_mutex_unlock(&e->context->lock);
    return rc;
}

static int queue_event_elapsed(struct gpu_event *start, struct gpu_event *end, uint64_t *ns)
{
    enum { DISABLE_TIMING = 2 };
    struct gpu_context *c = start->context;

    if ((start->flags | end->flags) & DISABLE_TIMING || c != end->context)
        return GPU_INVALID_HANDLE;
    pthread_mutex_lock(&c->lock);
    int rc = event_state(start);
    if (!rc)
        rc = event_state(end);
    if (!rc && (!start->at.stream || !end->at.stream))
        rc = GPU_INVALID_HANDLE;
    if (!rc)
        *ns = end->ns - start->ns;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* --- what runs in streams --------------------------------------------------------------------- */

static int queue_copy(struct gpu_stream *s, const struct gpu_copy *copy)
{
    struct op *op = queue__op(OP_COPY);

    op->copy = *copy;
    return queue__add(s, op);
}

static int queue_fill(struct gpu_stream *s, const struct gpu_fill *fill)
{
    struct op *op = queue__op(OP_FILL);

    op->fill = *fill;
    return queue__add(s, op);
}

static int queue_value(struct gpu_stream *s, enum op_kind kind, uint64_t address, uint64_t value,
                       unsigned bytes, unsigned compare)
{
    struct op *op = queue__op(kind);

    op->address = address;
    op->value = value;
    op->bytes = bytes;
    op->compare = compare;
    return queue__add(s, op);
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
    struct op *op = queue__op(OP_LAUNCH);

    op->kernel = k;
    op->launch = *launch;
    op->launch.params = g_memdup2(launch->params, launch->params_bytes);
    op->launch.print = context_print;
    op->launch.opaque = s->context;
    return queue__add(s, op);
}

static int queue_host(struct gpu_stream *s, void (*fn)(void *opaque), void *opaque)
{
    struct op *op = queue__op(OP_HOST);

    op->fn = fn;
    op->opaque = opaque;
    return queue__add(s, op);
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
    .limit = queue_limit,
    .printed = queue_printed,
    .alloc = queue_alloc,
    .alloc_at = queue_alloc_at,
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
    .move = &queue__move,
};

struct gpu_backend *backend_queue_new(const struct gpu_engine_ops *engine)
{
    struct queue_backend *q = g_new0(struct queue_backend, 1);

    q->base.ops = &queue_ops;
    q->engine = engine;
    return &q->base;
}
