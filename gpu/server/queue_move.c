/* What of a context is looked at, and set, when it moves. See move.h. */
#include "gpu/server/queue_priv.h"

static bool move_idle(struct gpu_context *c)
{
    bool idle = true;

    pthread_mutex_lock(&c->lock);
    for (guint i = 0; idle && i < c->streams->len; i++) {
        const struct gpu_stream *s = g_ptr_array_index(c->streams, i);
        idle = s->done == s->queued;
    }
    pthread_mutex_unlock(&c->lock);
    return idle;
}

static void move_places(struct gpu_context *c, GArray *places)
{
    c->ops->places(c->engine, places);
}

static int move_alloc(struct gpu_context *c, const struct gpu_place *place)
{
    if (!queue__take(c, place->bytes))
        return GPU_OUT_OF_MEMORY;
    int rc = c->ops->restore(c->engine, place->address, place->bytes);
    if (rc)
        queue__give_back(c, place->bytes);
    return rc;
}

static int move_read(struct gpu_context *c, uint64_t address, void *data, uint64_t bytes)
{
    const void *from = c->ops->host(c->engine, address, bytes);

    if (!from)
        return GPU_ILLEGAL_ADDRESS;
    memcpy(data, from, bytes);
    return GPU_SUCCESS;
}

/* Memory that nobody touched takes none of the host's: zeros are not written where there are some.
 */
static void clear(uint8_t *to, uint64_t bytes)
{
    static const uint8_t zeros[4096];

    for (uint64_t n; bytes; to += n, bytes -= n) {
        n = MIN(bytes, sizeof(zeros));
        if (memcmp(to, zeros, n) != 0)
            memset(to, 0, n);
    }
}

static int move_write(struct gpu_context *c, uint64_t address, const void *data, uint64_t bytes)
{
    void *to = c->ops->host(c->engine, address, bytes);

    if (!to)
        return GPU_ILLEGAL_ADDRESS;
    if (data)
        memcpy(to, data, bytes);
    else
        clear(to, bytes);
    return GPU_SUCCESS;
}

static bool move_module_state(struct gpu_context *c, struct gpu_module *m, const GByteArray *image,
                              struct gpu_module_state *state, GError **err)
{
    c->ops->module_state(m, state);
    return true;
}

static int move_module_new(struct gpu_context *c, const uint8_t *image, size_t length,
                           const struct gpu_module_state *state, struct gpu_module **out,
                           GError **why)
{
    struct gpu_module *m;
    int rc = c->ops->module_at(c->engine, image, length, state, &m);

    return rc ? rc : queue__own_module(c, m, out);
}

static bool move_event_time(struct gpu_event *e, uint64_t *ns)
{
    pthread_mutex_lock(&e->context->lock);
    bool recorded = e->at.stream != NULL;
    *ns = e->ns;
    pthread_mutex_unlock(&e->context->lock);
    return recorded;
}

/* It was recorded in the default stream, before all that is there. */
static void move_event_set(struct gpu_event *e, uint64_t ns)
{
    struct gpu_context *c = e->context;

    pthread_mutex_lock(&c->lock);
    queue__stream_unref(e->at.stream);
    e->at = (struct dependency){c->first, 0};
    c->first->refs++;
    e->ns = ns;
    pthread_mutex_unlock(&c->lock);
}

static void move_print_back(struct gpu_context *c, const char *text, size_t length)
{
    pthread_mutex_lock(&c->lock);
    g_string_prepend_len(c->printed, text, (gssize)length);
    pthread_mutex_unlock(&c->lock);
}

static void move_fail(struct gpu_context *c, int rc)
{
    pthread_mutex_lock(&c->lock);
    c->error = rc;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

const struct gpu_move_ops queue__move = {
    .idle = move_idle,
    .places = move_places,
    .alloc = move_alloc,
    .read = move_read,
    .write = move_write,
    .module_state = move_module_state,
    .module_new = move_module_new,
    .event_time = move_event_time,
    .event_set = move_event_set,
    .print_back = move_print_back,
    .fail = move_fail,
};
