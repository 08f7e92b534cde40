/* Listening sockets. See listener.h. Memory is released when the last libuv handle is closed. */
#include "proto/rpc/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { ACCEPTS_AT_ONCE = 32, BACKLOG = 128, ACCEPT_PAUSE_MS = 100 };

struct rpc_listener {
    rpc_listener_fn fn;
    void *user;
    int fd;
    char *path; /* of the socket file that we made, or NULL */
    dev_t dev;
    ino_t ino;
    uv_poll_t poll;
    uv_timer_t pause; /* out of descriptors: don't spin */
    unsigned handles;
};

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
            l->fn(l->user, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            uv_poll_stop(&l->poll);
            uv_timer_start(&l->pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
            return;
        }
    }
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct rpc_listener *l = handle->data;

    if (--l->handles > 0)
        return;
    g_free(l->path);
    g_free(l);
}

void rpc_listener_free(struct rpc_listener *l)
{
    struct stat st;

    if (!l)
        return;
    if (l->path && stat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->pause, on_closed);
    close(l->fd);
}

/* Takes FD, also on error. */
static struct rpc_listener *listener_new(uv_loop_t *loop, int fd, const char *path,
                                         rpc_listener_fn fn, void *user, GError **err)
{
    struct rpc_listener *l = g_new0(struct rpc_listener, 1);
    struct stat st;
    int rc = uv_poll_init(loop, &l->poll, fd);

    if (rc < 0) {
        close(fd);
        g_free(l);
        vmd_set_errno(err, -rc, "watching a listening socket");
        return NULL;
    }
    if (path && stat(path, &st) == 0) {
        l->path = g_strdup(path);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    uv_timer_init(loop, &l->pause);
    l->poll.data = l->pause.data = l;
    l->handles = 2;
    l->fn = fn;
    l->user = user;
    l->fd = fd;
    uv_poll_start(&l->poll, UV_READABLE, on_incoming);
    return l;
}

struct rpc_listener *rpc_listener_take(uv_loop_t *loop, int fd, rpc_listener_fn fn, void *user,
                                       GError **err)
{
    autofd own = fd;
    int on = 0;
    socklen_t len = sizeof(on);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) < 0 || !on) {
        vmd_fail(err, VMD_ERROR_INVALID, "descriptor %d is no listening socket", fd);
        return NULL;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        vmd_set_errno(err, errno, "descriptor %d", fd);
        return NULL;
    }
    return listener_new(loop, steal_fd(&own), NULL, fn, user, err);
}

/* --- the file ------------------------------------------------------------------------------ */

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

/* A socket that listens at ADDR, or -1. */
static int bind_path(const struct sockaddr_un *addr, mode_t mode, GError **err)
{
    autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const char *path = addr->sun_path;

    /* The mode holds from the first moment; the umask may only take from it, so it is set again. */
    if (fd < 0 || fchmod(fd, mode) < 0) {
        vmd_set_errno(err, errno, "making a socket");
        return -1;
    }
    if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
        if (errno == EADDRINUSE)
            vmd_fail(err, VMD_ERROR_BUSY, "a daemon listens at %s already", path);
        else
            vmd_set_errno(err, errno, "listening at %s", path);
        return -1;
    }
    if (chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
        int e = errno;
        unlink(path);
        vmd_set_errno(err, e, "listening at %s", path);
        return -1;
    }
    return steal_fd(&fd);
}

struct rpc_listener *rpc_listener_new(uv_loop_t *loop, const char *path, mode_t mode,
                                      rpc_listener_fn fn, void *user, GError **err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(addr.sun_path)) {
        vmd_fail(err, VMD_ERROR_LIMIT, "the socket's path %s has more than %zu bytes", path,
                 sizeof(addr.sun_path) - 1);
        return NULL;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (!clear_path(&addr, err))
        return NULL;
    int fd = bind_path(&addr, mode, err);
    return fd < 0 ? NULL : listener_new(loop, fd, path, fn, user, err);
}
