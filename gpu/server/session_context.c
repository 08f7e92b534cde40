/* A session's contexts, with what ends along with them. */
#include "gpu/server/session_priv.h"

static void wake_session(void *opaque)
{
    link_wake(((struct session *)opaque)->link);
}

/* What a driver keeps for a context counts in no quota, so contexts are counted. One that was taken
 * in vain is given back, too. */
static bool take_context(struct gpu_quota *q)
{
    return __atomic_add_fetch(&gpu_quota_all(q)->contexts, 1, __ATOMIC_RELAXED) <=
           LIMIT_GPU_CONTEXTS;
}

static void give_context(struct gpu_quota *q)
{
    __atomic_fetch_sub(&gpu_quota_all(q)->contexts, 1, __ATOMIC_RELAXED);
}

static int call_ctx_new(struct session *s, struct call *c)
{
    const struct gpu_call_ctx_new *in = FIELDS(c, ctx_new);
    int rc = GPU_SUCCESS;
    struct object *o = session__add(s, OBJECT_CONTEXT, in->ctx, NULL, &rc);

    if (!o)
        return rc;
    rc = take_context(&s->quota)
             ? OPS(s)->context_new(s->env->backend, in->device, &s->quota, wake_session, s, &o->ctx)
             : GPU_OUT_OF_MEMORY;
    if (rc) {
        give_context(&s->quota);
        session__drop(s, o);
        return rc;
    }
    g_ptr_array_add(s->contexts, o);
    if (OPS(s)->window && link_window_bytes(s->link))
        OPS(s)->window(o->ctx, link_window(s->link, 0, link_window_bytes(s->link)),
                       link_window_bytes(s->link));
    return GPU_SUCCESS;
}

static void open_gates(struct session *s, const struct object *context)
{
    pthread_mutex_lock(&s->gates);
    for (guint i = 0; i < s->pending->len; i++) {
        struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->gate && p->context == context)
            p->open = true;
    }
    pthread_cond_broadcast(&s->gate_opened);
    pthread_mutex_unlock(&s->gates);
}

/* What waited for CONTEXT is told that it is gone; how long the program takes to hear that is no time of the
 * driver's. THERE: it hears anything. */
static void end_waits(struct session *s, const struct object *context, bool there)
{
    session__leave(s);
    for (guint i = s->pending->len; i-- > 0;) {
        const struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->context != context)
            continue;
        if (!p->silent && !p->told && there) /* one that takes no answer gets no more */
            there = session__answer(s, p->op, p->seq, GPU_CONTEXT_DESTROYED, NULL, NULL, 0, 0);
        g_ptr_array_remove_index(s->pending, i);
    }
    session__enter(s, GPU_OP_CTX_FREE);
}

/* Ends what runs in CONTEXT and frees all that is in it. */
static void context_end(struct session *s, struct object *context, bool there)
{
    GHashTableIter iter;
    struct object *o;

    open_gates(s, context);
    session__value_waits_end(s, NULL, context);
    g_hash_table_iter_init(&iter, s->objects);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&o)) {
        if (o->context != context || o == context || o->kind == OBJECT_MODULE)
            continue;
        if (o->kind == OBJECT_EVENT)
            OPS(s)->event_free(o->event);
        else if (o->kind == OBJECT_STREAM)
            s->streams--;
        else if (o->kind == OBJECT_BATCH)
            session__batch_clear(s, o);
        g_hash_table_iter_remove(&iter);
    }
    GPtrArray *modules = g_ptr_array_new();
    g_hash_table_iter_init(&iter, s->objects);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&o)) {
        if (o->context == context && o->kind == OBJECT_MODULE) {
            g_ptr_array_add(modules, o->mod);
            session__forget_image(s, o);
            g_hash_table_iter_remove(&iter);
        }
    }
    OPS(s)->context_end(context->ctx);
    for (guint i = 0; i < s->pending->len; i++) {
        struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->context == context)
            session__let_go(p);
    }
    for (guint i = 0; i < modules->len; i++)
        OPS(s)->module_free(context->ctx, g_ptr_array_index(modules, i));
    g_ptr_array_free(modules, TRUE);
    OPS(s)->context_free(context->ctx);
    end_waits(s, context, there);
    give_context(&s->quota);
    g_ptr_array_remove_fast(s->contexts, context);
    session__drop(s, context);
}

static int call_ctx_free(struct session *s, struct call *c)
{
    struct object *o = session__find(s, OBJECT_CONTEXT, FIELDS(c, ctx_free)->ctx);

    if (!o)
        return GPU_INVALID_CONTEXT;
    context_end(s, o, true);
    return GPU_SUCCESS;
}

static int call_ctx_sync(struct session *s, struct call *c)
{
    struct object *o = session__find(s, OBJECT_CONTEXT, FIELDS(c, ctx_sync)->ctx);

    if (!o)
        return GPU_INVALID_CONTEXT;
    c->waited = o;
    int rc = OPS(s)->context_query(o->ctx);
    if (rc != GPU_NOT_READY)
        return rc;
    if (!session__may_wait(s))
        return GPU_OUT_OF_RESOURCES;
    session__later(s, c, o);
    return GPU_SUCCESS;
}

void session__end_contexts(struct session *s)
{
    while (s->contexts->len) {
        session__enter(s, GPU_OP_CTX_FREE);
        context_end(s, g_ptr_array_index(s->contexts, s->contexts->len - 1), false);
        session__leave(s);
    }
}

static const call_fn calls[GPU_OP_END] = {
    [GPU_OP_CTX_NEW] = call_ctx_new,
    [GPU_OP_CTX_FREE] = call_ctx_free,
    [GPU_OP_CTX_SYNC] = call_ctx_sync,
};

call_fn session__context_call(unsigned op)
{
    return op < GPU_OP_END ? calls[op] : NULL;
}
