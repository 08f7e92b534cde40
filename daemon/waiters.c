/* A list of calls, each with a timer of its own. */
#include "daemon/waiters.h"

struct waiters {
    uv_loop_t *loop;
    GPtrArray *list; /* struct waiter; freed by the close of its timer */
};

struct waiter {
    struct waiters *all;
    struct rpc_call *call;
    int tag;
    const char *text;
    uv_timer_t timer;
};

struct waiters *waiters_new(uv_loop_t *loop)
{
    struct waiters *w = g_new0(struct waiters, 1);

    w->loop = loop;
    w->list = g_ptr_array_new();
    return w;
}

static void closed(uv_handle_t *handle)
{
    g_free(container_of((uv_timer_t *)handle, struct waiter, timer));
}

/* Takes W off its list and returns its call. */
static struct rpc_call *take(struct waiter *w)
{
    g_ptr_array_remove(w->all->list, w);
    rpc_call_on_cancel(w->call, NULL, NULL);
    uv_close((uv_handle_t *)&w->timer, closed);
    return w->call;
}

void waiters_free(struct waiters *all)
{
    if (!all)
        return;
    while (all->list->len)
        rpc_call_error(take(g_ptr_array_index(all->list, 0)), VMD_ERROR_GONE,
                       "the daemon is ending");
    g_ptr_array_free(all->list, TRUE);
    g_free(all);
}

static void timeout(uv_timer_t *timer)
{
    struct waiter *w = container_of(timer, struct waiter, timer);
    const char *text = w->text;

    rpc_call_error(take(w), VMD_ERROR_TIMEOUT, "%s", text);
}

/* The client is gone; nobody waits any more. */
static void cancelled(struct rpc_call *call, void *arg)
{
    rpc_call_error(take(arg), VMD_ERROR_GONE, "the client has gone");
}

void waiters_add(struct waiters *all, struct rpc_call *call, int tag, uint64_t timeout_ms,
                 const char *text)
{
    struct waiter *w = g_new0(struct waiter, 1);

    w->all = all;
    w->call = call;
    w->tag = tag;
    w->text = text;
    uv_timer_init(all->loop, &w->timer);
    if (timeout_ms)
        uv_timer_start(&w->timer, timeout, timeout_ms, 0);
    g_ptr_array_add(all->list, w);
    /* What has a key is remembered, and so must come to its answer. */
    if (!rpc_call_key(call))
        rpc_call_on_cancel(call, cancelled, w);
}

void waiters_answer(struct waiters *all, int tag,
                    void (*answer)(struct rpc_call *call, void *opaque), void *opaque)
{
    for (guint i = 0; i < all->list->len;) {
        struct waiter *w = g_ptr_array_index(all->list, i);
        if (w->tag == tag)
            answer(take(w), opaque);
        else
            i++;
    }
}
