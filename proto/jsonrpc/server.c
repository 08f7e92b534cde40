/*
 * The server: listening sockets, who is let in, and the end of it all.
 */
#include "proto/jsonrpc/rpc_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { ACCEPTS_AT_ONCE = 32, BACKLOG = 128, ACCEPT_PAUSE_MS = 100 };

struct rpc_listener {
    struct rpc_server *server;
    int fd;
    char *path; /* of the socket file that we made, or NULL */
    dev_t dev;
    ino_t ino;
    uv_poll_t poll;
    uv_timer_t pause; /* out of descriptors: don't spin */
    unsigned handles;
    GList link;
};

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

static bool admit(struct rpc_server *s, int fd, struct rpc_peer *peer, enum rpc_role *role,
                  GError **err)
{
    if (s->closing)
        return vmd_fail(err, VMD_ERROR_GONE, "the daemon ends");
    if (s->conns.length >= LIMIT_RPC_CLIENTS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "%d clients are connected, the most that may be",
                        LIMIT_RPC_CLIENTS);
    if (!rpc_peer_read(fd, peer, err))
        return false;
    return s->ops->admit ? s->ops->admit(s->user, peer, role, err) : admit_own(peer, role, err);
}

struct rpc_conn *rpc_server_adopt(struct rpc_server *s, int fd, GError **err)
{
    autofd own = fd;
    struct rpc_peer peer = {0};
    enum rpc_role role = RPC_ROLE_READ;
    g_autoptr(GError) why = NULL;

    if (!admit(s, fd, &peer, &role, &why)) {
        turn_away(fd, why);
        rpc_peer_clear(&peer);
        g_propagate_error(err, g_steal_pointer(&why));
        return NULL;
    }
    struct rpc_conn *conn = rpc_conn__new(s, steal_fd(&own), role, &peer, err);
    rpc_peer_clear(&peer);
    return conn;
}

static void on_incoming(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct rpc_listener *l = timer->data;

    uv_poll_start(&l->poll, UV_READABLE, on_incoming);
}

static void on_incoming(uv_poll_t *poll, int status, int events)
{
    struct rpc_listener *l = poll->data;

    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            rpc_server_adopt(l->server, fd, NULL);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            uv_poll_stop(&l->poll);
            uv_timer_start(&l->pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
            return;
        }
    }
}

/* --- listening ----------------------------------------------------------------------------- */

static void on_listener_closed(uv_handle_t *handle)
{
    struct rpc_listener *l = handle->data;

    if (--l->handles > 0)
        return;
    rpc_server__unref(l->server);
    g_free(l->path);
    g_free(l);
}

static void listener_close(struct rpc_listener *l)
{
    struct stat st;

    if (l->path && stat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    uv_close((uv_handle_t *)&l->poll, on_listener_closed);
    uv_close((uv_handle_t *)&l->pause, on_listener_closed);
    close(l->fd);
}

/* Takes FD. */
static bool listener_add(struct rpc_server *s, int fd, const char *path, GError **err)
{
    struct rpc_listener *l = g_new0(struct rpc_listener, 1);
    struct stat st;
    int rc = uv_poll_init(s->loop, &l->poll, fd);

    if (rc < 0) {
        close(fd);
        g_free(l);
        return vmd_set_errno(err, -rc, "watching a listening socket");
    }
    if (path && stat(path, &st) == 0) {
        l->path = g_strdup(path);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    uv_timer_init(s->loop, &l->pause);
    l->poll.data = l->pause.data = l;
    l->handles = 2;
    l->server = s;
    l->fd = fd;
    l->link.data = l;
    rpc_server__ref(s);
    g_queue_push_tail_link(&s->listeners, &l->link);
    uv_poll_start(&l->poll, UV_READABLE, on_incoming);
    return true;
}

bool rpc_server_listen_fd(struct rpc_server *s, int fd, GError **err)
{
    autofd own = fd;
    int on = 0;
    socklen_t len = sizeof(on);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) < 0 || !on)
        return vmd_fail(err, VMD_ERROR_INVALID, "descriptor %d is no listening socket", fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return vmd_set_errno(err, errno, "descriptor %d", fd);
    return listener_add(s, steal_fd(&own), NULL, err);
}

/* Removes a socket file that nobody answers at. */
static bool clear_path(const struct sockaddr_un *addr, GError **err)
{
    autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (fd < 0)
        return vmd_set_errno(err, errno, "making a socket");
    if (lstat(addr->sun_path, &st) < 0)
        return errno == ENOENT ? true : vmd_set_errno(err, errno, "%s", addr->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return vmd_fail(err, VMD_ERROR_EXISTS, "%s is there and is not a socket", addr->sun_path);
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
        return vmd_fail(err, VMD_ERROR_BUSY, "a daemon listens at %s already", addr->sun_path);
    if (errno != ECONNREFUSED && errno != ENOENT)
        return vmd_set_errno(err, errno, "%s", addr->sun_path);
    if (unlink(addr->sun_path) < 0 && errno != ENOENT)
        return vmd_set_errno(err, errno, "removing %s", addr->sun_path);
    return true;
}

bool rpc_server_listen(struct rpc_server *s, const char *path, mode_t mode, GError **err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    autofd fd = -1;

    if (strlen(path) >= sizeof(addr.sun_path))
        return vmd_fail(err, VMD_ERROR_LIMIT, "the socket's path %s has more than %zu bytes", path,
                        sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (!clear_path(&addr, err))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode holds from the first moment; the umask may only take from it, so it is set again. */
    if (fd < 0 || fchmod(fd, mode) < 0)
        return vmd_set_errno(err, errno, "making a socket");
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return errno == EADDRINUSE
                   ? vmd_fail(err, VMD_ERROR_BUSY, "a daemon listens at %s already", path)
                   : vmd_set_errno(err, errno, "listening at %s", path);
    if (chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
        int e = errno;
        unlink(path);
        return vmd_set_errno(err, e, "listening at %s", path);
    }
    return listener_add(s, steal_fd(&fd), path, err);
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
    g_queue_init(&s->listeners);
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

void rpc_server_close(struct rpc_server *s, void (*done)(void *arg), void *arg)
{
    struct rpc_listener *l;

    s->closing = true;
    s->done = done;
    s->done_arg = arg;
    while ((l = g_queue_peek_head(&s->listeners))) {
        g_queue_unlink(&s->listeners, &l->link);
        listener_close(l);
    }
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
