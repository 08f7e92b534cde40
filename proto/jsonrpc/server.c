/*
 * The server: listening sockets, who is let in, and the end of it all.
 */
#include "proto/jsonrpc/rpc_priv.h"

#include <sys/socket.h>

/* --- counting ------------------------------------------------------------------------------ */

void rpc_server__ref(struct rpc_server *s)
{
    s->refs++;
}

void rpc_server__unref(struct rpc_server *s)
{
    if (--s->refs > 0)
        return;
    rpc_keys__free(s->keys);
    g_free(s);
}

/* --- letting clients in -------------------------------------------------------------------- */

static bool admit_own(const struct rpc_peer *peer, enum rpc_role *role, GError **err)
{
    if (peer->uid != geteuid() && peer->uid != 0)
        return vmd_fail(err, VMD_ERROR_DENIED, "this daemon serves the user %u only", geteuid());
    *role = RPC_ROLE_ADMIN;
    return true;
}

/* Tells a client that is not served why. It may not read it; then it sees the end only. */
static void turn_away(int fd, const GError *why)
{
    g_autoptr(json_object) m = rpc__closing(why->code, why->message);
    g_autofree char *text = json_write(m, NULL);
    g_autofree char *line = g_strconcat(text, "\n", NULL);

    if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        /* It is gone already. */
    }
}

bool rpc_server__admit(struct rpc_server *s, const struct rpc_peer *peer, enum rpc_role *role,
                       GError **err)
{
    if (s->closing)
        return vmd_fail(err, VMD_ERROR_GONE, "the daemon ends");
    if (s->conns.length >= LIMIT_RPC_CLIENTS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "%d clients are connected, the most that may be",
                        LIMIT_RPC_CLIENTS);
    return s->ops->admit ? s->ops->admit(s->user, peer, role, err) : admit_own(peer, role, err);
}

struct rpc_conn *rpc_server_adopt(struct rpc_server *s, int fd, GError **err)
{
    autofd own = fd;
    struct rpc_peer peer = {0};
    enum rpc_role role = RPC_ROLE_READ;
    g_autoptr(GError) why = NULL;

    if (!rpc_peer_read(fd, &peer, &why) || !rpc_server__admit(s, &peer, &role, &why)) {
        turn_away(fd, why);
        rpc_peer_clear(&peer);
        g_propagate_error(err, g_steal_pointer(&why));
        return NULL;
    }
    struct rpc_conn *conn = rpc_conn__new(s, steal_fd(&own), role, &peer, err);
    rpc_peer_clear(&peer);
    return conn;
}

static void on_incoming(void *user, int fd)
{
    rpc_server_adopt(user, fd, NULL);
}

/* --- listening ----------------------------------------------------------------------------- */

/* Takes L; NULL is a failure. */
static bool keep(struct rpc_server *s, struct rpc_listener *l)
{
    if (l)
        s->listeners = g_list_prepend(s->listeners, l);
    return l != NULL;
}

bool rpc_server_listen_fd(struct rpc_server *s, int fd, GError **err)
{
    return keep(s, rpc_listener_take(s->loop, fd, on_incoming, s, err));
}

bool rpc_server_listen(struct rpc_server *s, const char *path, mode_t mode, GError **err)
{
    return keep(s, rpc_listener_new(s->loop, path, mode, on_incoming, s, err));
}

/* --- life ---------------------------------------------------------------------------------- */

struct rpc_server *rpc_server_new(uv_loop_t *loop, const struct rpc_service *service,
                                  const void *handlers, const struct rpc_server_ops *ops,
                                  void *user)
{
    static const struct rpc_server_ops none;
    struct rpc_server *s = g_new0(struct rpc_server, 1);

    s->loop = loop;
    s->service = service;
    s->handlers = handlers;
    s->ops = ops ? ops : &none;
    s->user = user;
    s->keys = rpc_keys__new();
    s->refs = 1; /* the timer's, which is there until the end */
    uv_timer_init(loop, &s->end);
    s->end.data = s;
    uv_unref((uv_handle_t *)&s->end);
    g_queue_init(&s->conns);
    for (size_t i = 0; i < service->n_methods; i++)
        s->take_fds = s->take_fds || (service->methods[i].flags & RPC_FD_IN);
    return s;
}

static void on_end_closed(uv_handle_t *handle)
{
    rpc_server__unref(handle->data);
}

static void on_end(uv_timer_t *timer)
{
    struct rpc_server *s = timer->data;

    uv_close((uv_handle_t *)timer, on_end_closed);
    if (s->done)
        s->done(s->done_arg);
}

void rpc_server__conn_gone(struct rpc_server *s)
{
    if (s->closing && s->conns.length == 0) {
        uv_ref((uv_handle_t *)&s->end);
        uv_timer_start(&s->end, on_end, 0, 0);
    }
}

static void free_listener(gpointer listener)
{
    rpc_listener_free(listener);
}

void rpc_server_close(struct rpc_server *s, void (*done)(void *arg), void *arg)
{
    s->closing = true;
    s->done = done;
    s->done_arg = arg;
    g_list_free_full(g_steal_pointer(&s->listeners), free_listener);
    for (GList *c = s->conns.head, *next; c; c = next) {
        next = c->next;
        rpc_conn__shut_down(c->data);
    }
    rpc_server__conn_gone(s);
}

unsigned rpc_server_clients(const struct rpc_server *s)
{
    return s->conns.length;
}

void *rpc_server_user(const struct rpc_server *s)
{
    return s->user;
}

void rpc_server_each(struct rpc_server *s, void (*fn)(struct rpc_conn *conn, void *arg), void *arg)
{
    for (GList *l = s->conns.head, *next; l; l = next) {
        next = l->next;
        fn(l->data, arg);
    }
}

struct json_object *rpc_server_keys_save(const struct rpc_server *s)
{
    return rpc_keys__save(s->keys);
}

bool rpc_server_keys_load(struct rpc_server *s, struct json_object *keys, GError **err)
{
    return rpc_keys__load(s->keys, keys, err);
}

void rpc_server_keys_watch(struct rpc_server *s, void (*fn)(void *user))
{
    rpc_keys__watch(s->keys, fn, s->user);
}
