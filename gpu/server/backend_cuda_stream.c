/* Streams and events of the CUDA backend, and what runs in streams. */
#include "gpu/server/backend_cuda_priv.h"

/* --- streams ---------------------------------------------------------------------------------- */

/*
 * A driver keeps whoever submits waiting where a queue of its own, of a thousand or so, is full;
 * and where that stands because of a function of the host, the word that lets it go on comes to
 * this very thread. Programs with vmd's library never submit so much behind one.
 */
static int submit(struct gpu_stream *s)
{
    enum { BEHIND_MOST = 900 };
    struct gpu_context *c = s->context;
    int rc = cuda__enter(c);

    if (rc)
        return rc;
    pthread_mutex_lock(&c->lock);
    s->behind = s->waiting ? s->behind + 1 : 0;
    pthread_mutex_unlock(&c->lock);
    return s->behind > BEHIND_MOST ? GPU_OUT_OF_RESOURCES : GPU_SUCCESS;
}

struct gpu_stream *cuda__stream_object(struct gpu_context *c, struct cuda_stream *handle)
{
    struct gpu_stream *s = g_new0(struct gpu_stream, 1);

    s->context = c;
    s->handle = handle;
    g_ptr_array_add(c->streams, s);
    return s;
}

int cuda__stream_new(struct gpu_context *c, unsigned flags, int priority, struct gpu_stream **out)
{
    struct cuda_stream *handle;
    int rc = cuda__enter(c);

    if (!rc)
        rc = cuda__result(c, c->d->stream_new(&handle, flags, priority));
    if (!rc)
        *out = cuda__stream_object(c, handle);
    return rc;
}

/* What is in it goes on, and keeps the context at work. */
void cuda__stream_free(struct gpu_stream *s)
{
    struct gpu_context *c = s->context;
    struct gpu_event *end;

    if (cuda__stream_query(s) == GPU_NOT_READY &&
        cuda__event_new(c, CUDA_EVENT_NO_TIMING, &end) == GPU_SUCCESS) {
        cuda__event_record(end, s);
        g_ptr_array_add(c->leaving, end);
    }
    pthread_mutex_lock(&c->lock);
    for (struct cuda_host_call *call = c->calls; call; call = call->next) {
        if (call->stream == s)
            call->stream = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    c->d->ctx_set(c->handle);
    c->d->stream_free(s->handle);
    g_ptr_array_remove_fast(c->streams, s);
}

struct gpu_stream *cuda__stream_default(struct gpu_context *c)
{
    return c->first;
}

int cuda__stream_query(struct gpu_stream *s)
{
    struct gpu_context *c = s->context;
    int rc = cuda__enter(c);

    return rc ? rc : cuda__result(c, c->d->stream_query(s->handle));
}

int cuda__context_query(struct gpu_context *c)
{
    int rc = cuda__enter(c), some = GPU_SUCCESS;

    for (guint i = 0; !rc && i < c->streams->len; i++) {
        const struct gpu_stream *s = g_ptr_array_index(c->streams, i);
        rc = cuda__result(c, c->d->stream_query(s->handle));
        if (rc == GPU_NOT_READY) {
            some = rc;
            rc = GPU_SUCCESS;
        }
    }
    for (guint i = c->leaving->len; !rc && i-- > 0;) {
        struct gpu_event *end = g_ptr_array_index(c->leaving, i);
        rc = cuda__event_query(end);
        if (rc == GPU_NOT_READY) {
            some = rc;
            rc = GPU_SUCCESS;
        } else {
            cuda__event_free(end);
            g_ptr_array_remove_index_fast(c->leaving, i);
        }
    }
    if (!rc && !some)
        cuda__free_late(c);
    return rc ? rc : some;
}

bool cuda__settle(struct gpu_context *c)
{
    return c->d->ctx_sync && cuda__result(c, c->d->ctx_sync()) == GPU_SUCCESS;
}

int cuda__stream_wait(struct gpu_stream *s, struct gpu_event *e)
{
    struct gpu_context *c = s->context;
    int rc = submit(s);

    return rc ? rc : cuda__result(c, c->d->stream_wait(s->handle, e->handle, 0));
}

/* --- events ----------------------------------------------------------------------------------- */

int cuda__event_new(struct gpu_context *c, unsigned flags, struct gpu_event **out)
{
    enum { FLAGS = 3 }; /* of another process's none are made */
    struct cuda_event *handle;
    int rc = cuda__enter(c);

    if (rc)
        return rc;
    if (flags == CUDA_EVENT_NO_TIMING && c->spare->len) {
        handle = g_ptr_array_index(c->spare, c->spare->len - 1);
        g_ptr_array_set_size(c->spare, (int)c->spare->len - 1);
    } else {
        rc = cuda__result(c, c->d->event_new(&handle, flags & FLAGS));
    }
    if (rc)
        return rc;
    struct gpu_event *e = g_new0(struct gpu_event, 1);
    *e = (struct gpu_event){.context = c, .handle = handle, .flags = flags};
    *out = e;
    return GPU_SUCCESS;
}

void cuda__event_free(struct gpu_event *e)
{
    enum { SPARE_MOST = 64 };
    struct gpu_context *c = e->context;

    if (!c->handle) {
        g_free(e);
        return;
    }
    c->d->ctx_set(c->handle);
    /* One that was recorded and has come can be recorded again as if it were new. */
    if (e->flags == CUDA_EVENT_NO_TIMING && c->spare->len < SPARE_MOST && !c->error &&
        c->d->event_query(e->handle) == GPU_SUCCESS)
        g_ptr_array_add(c->spare, e->handle);
    else
        c->d->event_free(e->handle);
    g_free(e);
}

int cuda__event_record(struct gpu_event *e, struct gpu_stream *s)
{
    struct gpu_context *c = s->context;
    int rc = submit(s);

    if (!rc)
        rc = cuda__result(c, c->d->event_record(e->handle, s->handle));
    e->recorded |= !rc;
    if (!rc)
        e->moved_ns = 0;
    return rc;
}

int cuda__event_query(struct gpu_event *e)
{
    struct gpu_context *c = e->context;
    int rc = cuda__enter(c);

    return rc ? rc : cuda__result(c, c->d->event_query(e->handle));
}

/* Of two of which one was recorded before it moved here, as the driver knows neither. */
static int elapsed_since(struct gpu_event *start, struct gpu_event *end, uint64_t *ns)
{
    uint64_t from, to;
    int rc = cuda__event_since(start, &from);

    if (!rc)
        rc = cuda__event_since(end, &to);
    if (!rc)
        *ns = to > from ? to - from : 0;
    return rc;
}

int cuda__event_elapsed(struct gpu_event *start, struct gpu_event *end, uint64_t *ns)
{
    struct gpu_context *c = start->context;
    bool timed = !((start->flags | end->flags) & CUDA_EVENT_NO_TIMING);
    float ms = 0;
    int rc = cuda__enter(c);

    if (!rc && timed && start->recorded && end->recorded && (start->moved_ns || end->moved_ns))
        return elapsed_since(start, end, ns);
    if (!rc)
        rc = cuda__result(c, c->d->event_elapsed(&ms, start->handle, end->handle));
    if (!rc)
        *ns = ms > 0 ? (uint64_t)((double)ms * 1e6) : 0;
    return rc;
}

/* --- copies and fills ------------------------------------------------------------------------- */

static int copy_rows(struct gpu_stream *s, const struct gpu_copy *copy)
{
    struct cuda_rows rows = {
        .from_type = copy->kind == GPU_TO_DEVICE ? CUDA_HOST : CUDA_DEVICE,
        .from_host = copy->host,
        .from_device = copy->from,
        .from_pitch = copy->kind == GPU_TO_DEVICE ? copy->width : copy->from_pitch,
        .to_type = copy->kind == GPU_FROM_DEVICE ? CUDA_HOST : CUDA_DEVICE,
        .to_host = copy->host,
        .to_device = copy->to,
        .to_pitch = copy->kind == GPU_FROM_DEVICE ? copy->width : copy->to_pitch,
        .width = copy->width,
        .height = copy->height};

    return s->context->d->copy_rows(&rows, s->handle);
}

int cuda__copy(struct gpu_stream *s, const struct gpu_copy *copy)
{
    struct gpu_context *c = s->context;
    int rc = submit(s);

    if (rc)
        return rc;
    if (copy->height > 1)
        rc = copy_rows(s, copy);
    else if (copy->kind == GPU_TO_DEVICE)
        rc = c->d->to_device(copy->to, copy->host, copy->width, s->handle);
    else if (copy->kind == GPU_FROM_DEVICE)
        rc = c->d->from_device(copy->host, copy->from, copy->width, s->handle);
    else
        rc = c->d->on_device(copy->to, copy->from, copy->width, s->handle);
    return cuda__result(c, rc);
}

int cuda__fill(struct gpu_stream *s, const struct gpu_fill *f)
{
    struct gpu_context *c = s->context;
    uint64_t pitch = MAX(f->pitch, f->width), width = f->width / f->unit;
    int rc = submit(s);

    if (rc)
        return rc;
    if (f->unit == 1)
        rc = c->d->fill8(f->address, pitch, (unsigned char)f->value, width, f->height, s->handle);
    else if (f->unit == 2)
        rc = c->d->fill16(f->address, pitch, (unsigned short)f->value, width, f->height, s->handle);
    else
        rc = c->d->fill32(f->address, pitch, f->value, width, f->height, s->handle);
    return cuda__result(c, rc);
}

int cuda__value_write(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes)
{
    struct gpu_context *c = s->context;
    int rc = submit(s);

    if (rc)
        return rc;
    if (bytes == 4)
        rc = c->d->write32 ? c->d->write32(s->handle, address, (uint32_t)value, 0)
                           : GPU_NOT_SUPPORTED;
    else
        rc = c->d->write64 ? c->d->write64(s->handle, address, value, 0) : GPU_NOT_SUPPORTED;
    return cuda__result(c, rc);
}

int cuda__value_wait(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes,
                     unsigned compare)
{
    struct gpu_context *c = s->context;
    int rc = submit(s);

    if (rc)
        return rc;
    if (bytes == 4)
        rc = c->d->wait32 ? c->d->wait32(s->handle, address, (uint32_t)value, compare)
                          : GPU_NOT_SUPPORTED;
    else
        rc = c->d->wait64 ? c->d->wait64(s->handle, address, value, compare) : GPU_NOT_SUPPORTED;
    return cuda__result(c, rc);
}

/* --- launches --------------------------------------------------------------------------------- */

struct launching {
    struct gpu_stream *s;
    struct gpu_kernel *k;
    const struct gpu_launch *l;
    void **params;
};

static int launch_now(void *opaque)
{
    const struct launching *x = opaque;
    const struct gpu_launch *l = x->l;
    const struct cuda_driver *d = x->s->context->d;

    if (l->cooperative)
        return d->launch_cooperative(x->k->handle, l->grid[0], l->grid[1], l->grid[2], l->block[0],
                                     l->block[1], l->block[2], l->shared, x->s->handle, x->params);
    return d->launch(x->k->handle, l->grid[0], l->grid[1], l->grid[2], l->block[0], l->block[1],
                     l->block[2], l->shared, x->s->handle, x->params, NULL);
}

/* The session has seen that the parameters are all there. */
int cuda__launch(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *l)
{
    struct gpu_context *c = s->context;
    void *params[G_N_ELEMENTS(((struct gpu_kernel_info *)0)->params)];
    int rc = submit(s);

    if (rc)
        return rc;
    for (unsigned i = 0; i < k->n_params; i++)
        params[i] = (void *)(l->params + k->offsets[i]);
    struct launching x = {s, k, l, params};
    k->launched = true;
    return cuda__result(c, cuda__meter_launch(s, launch_now, &x));
}

/* --- functions of the host -------------------------------------------------------------------- */

/* Locked. */
static void call_over(struct cuda_host_call *call)
{
    call->over = true;
    if (call->stream)
        call->stream->waiting--;
}

/* On a thread of the driver's. */
static void host_call(void *opaque)
{
    struct cuda_host_call *call = opaque;
    struct gpu_context *c = call->context;

    pthread_mutex_lock(&c->lock);
    bool wanted = !c->dying;
    c->inside++;
    pthread_mutex_unlock(&c->lock);
    if (wanted)
        call->fn(call->opaque);
    pthread_mutex_lock(&c->lock);
    c->inside--;
    call_over(call);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

/* Forgets those that are over. Locked. */
static void sweep(struct gpu_context *c)
{
    struct cuda_host_call **at = &c->calls;

    while (*at) {
        struct cuda_host_call *call = *at;
        if (!call->over) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        g_free(call);
    }
}

int cuda__host(struct gpu_stream *s, void (*fn)(void *opaque), void *opaque)
{
    struct gpu_context *c = s->context;
    int rc = submit(s);

    if (rc)
        return rc;
    struct cuda_host_call *call = g_new0(struct cuda_host_call, 1);
    *call = (struct cuda_host_call){.context = c, .stream = s, .fn = fn, .opaque = opaque};
    pthread_mutex_lock(&c->lock);
    sweep(c);
    call->next = c->calls;
    c->calls = call;
    s->waiting++;
    pthread_mutex_unlock(&c->lock);
    rc = cuda__result(c, c->d->launch_host(s->handle, host_call, call));
    if (rc) {
        pthread_mutex_lock(&c->lock);
        call_over(call);
        pthread_mutex_unlock(&c->lock);
    }
    return rc;
}

void cuda__host_end(struct gpu_context *c)
{
    pthread_mutex_lock(&c->lock);
    c->dying = true;
    while (c->inside)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}
