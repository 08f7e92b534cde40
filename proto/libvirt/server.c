/* The server: listening sockets, who comes in, and the end of it all. See server.h. */
#include "proto/libvirt/server.h"

#include "proto/libvirt/server_priv.h"
#include "proto/rpc/listener.h"

/* One socket; the read-only ones are others. */
struct listener {
    struct libvirt_server *server;
    struct rpc_listener *socket;
    bool readonly;
};

static void on_incoming(void *user, int fd)
{
    struct listener *l = user;

    libvirt_server_adopt(l->server, fd, l->readonly, NULL);
}

static struct listener *listener_new(struct libvirt_server *s, bool readonly)
{
    struct listener *l = g_new0(struct listener, 1);

    l->server = s;
    l->readonly = readonly;
    return l;
}

static void listener_free(gpointer p)
{
    struct listener *l = p;

    rpc_listener_free(l->socket);
    g_free(l);
}

/* Takes L, whose socket is NULL after a failure. */
static bool keep(struct libvirt_server *s, struct listener *l)
{
    bool ok = l->socket != NULL;

    if (ok)
        s->listeners = g_list_prepend(s->listeners, l);
    else
        listener_free(l);
    return ok;
}

bool libvirt_server_listen(struct libvirt_server *s, const char *path, mode_t mode, bool readonly,
                           GError **err)
{
    struct listener *l = listener_new(s, readonly);

    l->socket = rpc_listener_new(s->loop, path, mode, on_incoming, l, err);
    return keep(s, l);
}

bool libvirt_server_listen_fd(struct libvirt_server *s, int fd, bool readonly, GError **err)
{
    struct listener *l = listener_new(s, readonly);

    l->socket = rpc_listener_take(s->loop, fd, on_incoming, l, err);
    return keep(s, l);
}

bool libvirt_server_adopt(struct libvirt_server *s, int fd, bool readonly, GError **err)
{
    autofd own = fd;
    struct rpc_peer peer = {0};

    /* Those who are refused are connected until they have heard why: they have a bound of their
     * own. */
    if (s->closing || s->conns.length >= 2 * LIMIT_RPC_CLIENTS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "too many clients are connected");
    if (!rpc_peer_read(fd, &peer, err))
        return false;
    struct libvirt_conn *conn = libvirt_conn__new(s, steal_fd(&own), &peer, readonly, err);
    rpc_peer_clear(&peer);
    return conn != NULL;
}

/* --- life --- */

static void on_watch(uv_timer_t *timer)
{
    struct libvirt_server *s = timer->data;

    for (GList *c = s->conns.head; c; c = c->next)
        libvirt_conn__watch(c->data);
}

struct libvirt_server *libvirt_server_new(uv_loop_t *loop, const struct libvirt_server_ops *ops,
                                          void *user, unsigned stall_ms)
{
    struct libvirt_server *s = g_new0(struct libvirt_server, 1);

    s->loop = loop;
    s->ops = ops;
    s->user = user;
    g_queue_init(&s->conns);
    uv_timer_init(loop, &s->watch);
    s->watch.data = s;
    uv_timer_start(&s->watch, on_watch, stall_ms, stall_ms);
    uv_unref((uv_handle_t *)&s->watch);
    return s;
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct libvirt_server *s = handle->data;
    void (*done)(void *) = s->done;
    void *arg = s->done_arg;

    g_free(s);
    if (done)
        done(arg);
}

void libvirt_server__conn_gone(struct libvirt_server *s)
{
    if (s->closing && s->conns.length == 0)
        uv_close((uv_handle_t *)&s->watch, on_watch_closed);
}

void libvirt_server_close(struct libvirt_server *s, void (*done)(void *arg), void *arg)
{
    s->closing = true;
    s->done = done;
    s->done_arg = arg;
    g_list_free_full(g_steal_pointer(&s->listeners), listener_free);
    for (GList *c = s->conns.head; c; c = c->next)
        libvirt_conn_finish(c->data);
    libvirt_server__conn_gone(s);
}
