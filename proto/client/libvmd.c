/*
 * libvmd: synchronous calls over one connection, with poll(2).
 *
 * While a call is sent or awaited, whatever else comes is taken in as well: events are kept for
 * vmd_client_next_event(), so that neither side can block the other. Replies to calls that timed
 * out are dropped when they come; of those that bring a descriptor the id is remembered, because
 * descriptors are matched to replies by their order.
 */
#include "proto/client/libvmd.h"
#include "proto/jsonrpc/json.h"
#include "proto/rpc/lines.h"
#include "proto/jsonrpc/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { FDS_MESSAGE = 16 };

struct vmd_client {
    int fd;
    char *path;
    int timeout; /* ms; -1: none */
    struct rpc_lines in;
    bool eof;
    uint64_t last_id, awaited; /* AWAITED: 0 while no call is under way */
    struct json_object *reply; /* to AWAITED, once it is there */
    GQueue events;             /* params of event notifications */
    GQueue fds;                /* descriptors that came in, not yet matched */
    GHashTable *late;          /* ids of timed-out calls whose reply brings a descriptor */
    GError *closing;           /* what rpc.closing said */
    char *hint;
};

/* --- time ---------------------------------------------------------------------------------- */

static int64_t deadline_of(int ms)
{
    return ms < 0 ? -1 : g_get_monotonic_time() + (int64_t)ms * 1000;
}

/* Milliseconds for poll(2), rounded up; -1 for no deadline. */
static int time_left(int64_t deadline)
{
    if (deadline < 0)
        return -1;
    int64_t us = deadline - g_get_monotonic_time();
    return us <= 0 ? 0 : (int)MIN((us + 999) / 1000, INT_MAX);
}

/* --- what comes in ------------------------------------------------------------------------- */

static void keep_fds(struct vmd_client *c, struct msghdr *msg)
{
    for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m; m = CMSG_NXTHDR(msg, m)) {
        if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(int));
            g_queue_push_tail(&c->fds, GINT_TO_POINTER(fd));
        }
    }
}

static int take_fd(struct vmd_client *c)
{
    return g_queue_is_empty(&c->fds) ? -1 : GPOINTER_TO_INT(g_queue_pop_head(&c->fds));
}

static const char *text_of(struct json_object *object, const char *name)
{
    struct json_object *v = NULL;

    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, name, &v) || !json_object_is_type(v, json_type_string))
        return NULL;
    return json_object_get_string(v);
}

static void take_closing(struct vmd_client *c, struct json_object *params)
{
    g_autoptr(json_object) e = json_object_new_object();
    g_autoptr(json_object) data = json_object_new_object();
    const char *kind = text_of(params, "kind"), *reason = text_of(params, "reason");

    json_object_object_add(data, "kind", json_object_new_string(kind ? kind : "gone"));
    json_object_object_add(e, "message",
                           json_object_new_string(reason ? reason : "no reason given"));
    json_object_object_add(e, "data", json_object_get(data));
    g_clear_error(&c->closing);
    c->closing = rpc_error_decode(e, NULL);
    g_prefix_error(&c->closing, "the daemon has closed the connection: ");
}

static bool take_notification(struct vmd_client *c, const char *method, struct json_object *params,
                              GError **err)
{
    if (strcmp(method, "rpc.closing") == 0) {
        take_closing(c, params);
    } else if (strcmp(method, "event") == 0) {
        if (c->events.length >= LIMIT_EVENTS_KEPT)
            return vmd_fail(err, VMD_ERROR_LIMIT, "%d events wait to be read, the most that may",
                            LIMIT_EVENTS_KEPT);
        g_queue_push_tail(&c->events, json_object_get(params));
    }
    return true;
}

static void take_reply(struct vmd_client *c, uint64_t id, struct json_object *message)
{
    if (id == c->awaited && !c->reply) {
        c->reply = json_object_get(message);
    } else if (g_hash_table_remove(c->late, &id) &&
               json_object_object_get_ex(message, "result", NULL)) {
        int fd = take_fd(c);
        if (fd >= 0)
            close(fd);
    }
}

static bool take_message(struct vmd_client *c, struct json_object *m, GError **err)
{
    struct json_object *v = NULL;
    const char *method = text_of(m, "method");

    if (method) {
        json_object_object_get_ex(m, "params", &v);
        return take_notification(c, method, v, err);
    }
    if (!json_object_is_type(m, json_type_object) || !json_object_object_get_ex(m, "id", &v))
        return vmd_fail(err, VMD_ERROR_INVALID, "the daemon sent neither reply nor notification");
    if (json_object_is_type(v, json_type_int))
        take_reply(c, json_object_get_uint64(v), m);
    else if (!v && c->awaited) /* what was sent could not be read: JSON-RPC 2.0, 5 */
        take_reply(c, c->awaited, m);
    return true;
}

static bool take_lines(struct vmd_client *c, GError **err)
{
    const char *line;
    size_t len;
    int rc;

    while ((rc = rpc_lines_next(&c->in, &line, &len)) > 0) {
        g_autoptr(json_object) m = NULL;
        if (!json_read(line, len, &m, err) || !take_message(c, m, err))
            return false;
    }
    if (rc < 0)
        return vmd_fail(err, VMD_ERROR_LIMIT, "the daemon sent a message that is too long");
    return true;
}

/* Reads what is there, without waiting. */
static bool receive(struct vmd_client *c, GError **err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MESSAGE * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = rpc_lines_room(&c->in), .iov_len = RPC_LINES_CHUNK};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    int errnum = errno;

    rpc_lines_added(&c->in, n > 0 ? (size_t)n : 0);
    /* A daemon that hangs up before it has read all resets: an end like any other, perhaps with words
     * before it. */
    bool ended = n == 0 || (n < 0 && errnum == ECONNRESET);
    if (n < 0 && !ended)
        return errnum == EAGAIN || errnum == EINTR ||
               vmd_set_errno(err, errnum, "reading from the daemon");
    if (n > 0)
        keep_fds(c, &msg);
    c->eof = c->eof || ended;
    return take_lines(c, err);
}

static bool fail_eof(struct vmd_client *c, GError **err)
{
    if (c->closing) {
        g_propagate_error(err, g_error_copy(c->closing));
        return false;
    }
    return vmd_fail(err, VMD_ERROR_GONE, "the daemon has closed the connection");
}

/* Waits for EVENTS or the deadline and takes in what came. OUT gets the events, 0 for the deadline.
 */
static bool wait_for(struct vmd_client *c, short events, int64_t deadline, short *out, GError **err)
{
    struct pollfd p = {.fd = c->fd, .events = events};
    int rc = poll(&p, 1, time_left(deadline));

    if (rc < 0 && errno != EINTR)
        return vmd_set_errno(err, errno, "waiting for the daemon");
    *out = rc > 0 ? p.revents : rc < 0 ? POLLIN : 0;
    if (rc > 0 && (p.revents & (POLLIN | POLLHUP | POLLERR)))
        return receive(c, err);
    return true;
}

/* --- calls --------------------------------------------------------------------------------- */

static bool send_text(struct vmd_client *c, const char *text, size_t len, int64_t deadline,
                      GError **err)
{
    while (len > 0) {
        ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            text += n;
            len -= (size_t)n;
            continue;
        }
        if (errno == EPIPE) {
            /* What the daemon said last may tell why. */
            while (!c->eof && receive(c, NULL))
                ;
            return fail_eof(c, err);
        }
        if (errno != EAGAIN && errno != EINTR)
            return vmd_set_errno(err, errno, "writing to the daemon");
        short got;
        if (!wait_for(c, POLLIN | POLLOUT, deadline, &got, err))
            return false;
        if (!got) {
            /* Half a message is out: nothing can follow it. */
            shutdown(c->fd, SHUT_RDWR);
            return vmd_fail(err, VMD_ERROR_TIMEOUT, "the daemon does not read");
        }
    }
    return true;
}

static bool await_reply(struct vmd_client *c, int64_t deadline, GError **err)
{
    while (!c->reply) {
        short got;
        if (c->eof)
            return fail_eof(c, err);
        if (!wait_for(c, POLLIN, deadline, &got, err))
            return false;
        if (!got)
            return vmd_fail(err, VMD_ERROR_TIMEOUT, "the daemon did not answer in time");
    }
    return true;
}

static bool exchange(struct vmd_client *c, const char *method, struct json_object *params,
                     bool brings_fd, GError **err)
{
    g_autoptr(json_object) r = json_object_new_object();
    int64_t deadline = deadline_of(c->timeout);
    GError *why = NULL;
    size_t len;

    json_object_object_add(r, "jsonrpc", json_object_new_string("2.0"));
    c->awaited = ++c->last_id;
    json_object_object_add(r, "id", json_object_new_uint64(c->awaited));
    json_object_object_add(r, "method", json_object_new_string(method));
    if (params)
        json_object_object_add(r, "params", params);
    g_autofree char *text = json_write(r, &len);
    text[len] = '\n'; /* in place of the terminator */
    bool ok = send_text(c, text, len + 1, deadline, &why) && await_reply(c, deadline, &why);
    c->awaited = 0;
    if (ok)
        return true;
    g_clear_pointer(&c->reply, json_object_put);
    if (brings_fd && why->code == VMD_ERROR_TIMEOUT)
        g_hash_table_add(c->late, g_memdup2(&c->last_id, sizeof(c->last_id)));
    g_propagate_error(err, why);
    return false;
}

bool vmd_client_call(struct vmd_client *c, const char *method, struct json_object *params,
                     struct json_object **result, int *fd, GError **err)
{
    int number = rpc_service_find(&api_service, method);
    bool brings_fd = number >= 0 && (api_service.methods[number].flags & RPC_FD_OUT);
    struct json_object *v = NULL;
    autofd got = -1;

    g_clear_pointer(&c->hint, g_free);
    if (!exchange(c, method, params, brings_fd, err))
        return false;
    g_autoptr(json_object) reply = g_steal_pointer(&c->reply);
    if (json_object_object_get_ex(reply, "error", &v)) {
        g_propagate_error(err, rpc_error_decode(v, &c->hint));
        return false;
    }
    if (!json_object_object_get_ex(reply, "result", &v))
        return vmd_fail(err, VMD_ERROR_INVALID, "a reply without a result");
    if (brings_fd)
        got = take_fd(c);
    if (brings_fd && got < 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "%s: the descriptor is missing", method);
    if (fd)
        *fd = steal_fd(&got);
    *result = json_object_get(v);
    return true;
}

bool vmd_client_invoke(struct vmd_client *c, enum api_method method, const void *params,
                       void *result, int *fd, GError **err)
{
    const struct rpc_method *m = &api_service.methods[method];
    struct json_object *in = params ? codec_encode(m->params, params, 0) : NULL;
    g_autoptr(json_object) json = NULL;
    autofd got = -1;

    if (!vmd_client_call(c, m->name, in, &json, &got, err))
        return false;
    if (m->result_any && result) {
        *(struct json_object **)result = json_object_get(json);
    } else if (m->result && result) {
        void *obj = codec_decode(m->result, json, "result", err);
        if (!obj)
            return false;
        *(void **)result = obj;
    }
    if (fd)
        *fd = steal_fd(&got);
    return true;
}

const char *vmd_client_hint(const struct vmd_client *c)
{
    return c->hint;
}

/* --- events -------------------------------------------------------------------------------- */

bool vmd_client_next_event(struct vmd_client *c, int timeout_ms, struct event_delivery **out,
                           GError **err)
{
    int64_t deadline = deadline_of(timeout_ms);
    short got = POLLIN;

    while (g_queue_is_empty(&c->events)) {
        if (c->eof)
            return fail_eof(c, err);
        if (!got) {
            *out = NULL;
            return true;
        }
        if (!wait_for(c, POLLIN, deadline, &got, err))
            return false;
    }
    g_autoptr(json_object) params = g_queue_pop_head(&c->events);
    return event_delivery_decode(params, out, err);
}

int vmd_client_fd(const struct vmd_client *c)
{
    return c->fd;
}

/* --- life ---------------------------------------------------------------------------------- */

struct vmd_client *vmd_client_new_fd(int fd)
{
    struct vmd_client *c = g_new0(struct vmd_client, 1);

    fcntl(fd, F_SETFD, FD_CLOEXEC);
    c->fd = fd;
    c->timeout = -1;
    rpc_lines_init(&c->in, RPC_LINES, LIMIT_RPC_OUTQ);
    g_queue_init(&c->events);
    g_queue_init(&c->fds);
    c->late = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    return c;
}

/* Below /tmp anyone can make the directory: a user's own daemon must be the user's. */
static bool check_server(int fd, const char *path, GError **err)
{
    g_autofree char *own = vmd_socket_path_user();
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (!g_str_has_prefix(own, "/tmp/") || strcmp(own, path) != 0)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return vmd_set_errno(err, errno, "reading the daemon's credentials");
    if (cred.uid != getuid())
        return vmd_fail(err, VMD_ERROR_DENIED, "the daemon at %s is the user %u's", path, cred.uid);
    return true;
}

static int connect_to(const char *path, GError **err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        vmd_set_errno(err, errno, "making a socket");
        return -1;
    }
    if (strlen(path) >= sizeof(addr.sun_path)) {
        vmd_fail(err, VMD_ERROR_LIMIT, "the socket's path %s has more than %zu bytes", path,
                 sizeof(addr.sun_path) - 1);
        return -1;
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return check_server(fd, path, err) ? steal_fd(&fd) : -1;
    if (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED)
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "no daemon listens at %s", path);
    else
        vmd_set_errno(err, errno, "connecting to %s", path);
    return -1;
}

static struct vmd_client *connect_first(char *const *paths, GError **err)
{
    g_autoptr(GError) first = NULL;

    for (size_t i = 0; paths[i]; i++) {
        g_autoptr(GError) why = NULL;
        int fd = connect_to(paths[i], &why);
        if (fd >= 0) {
            struct vmd_client *c = vmd_client_new_fd(fd);
            c->path = g_strdup(paths[i]);
            return c;
        }
        /* A refusal says more than an absence. */
        if (!first || (first->code == VMD_ERROR_NOT_FOUND && why->code != VMD_ERROR_NOT_FOUND)) {
            g_clear_error(&first);
            first = g_steal_pointer(&why);
        }
    }
    g_propagate_error(err, g_steal_pointer(&first));
    return NULL;
}

struct vmd_client *vmd_client_connect(const char *path, GError **err)
{
    g_auto(GStrv) paths = vmd_socket_paths();
    char *only[] = {(char *)path, NULL};

    return connect_first(path ? only : paths, err);
}

void vmd_client_set_timeout(struct vmd_client *c, int ms)
{
    c->timeout = ms;
}

const char *vmd_client_path(const struct vmd_client *c)
{
    return c->path;
}

void vmd_client_free(struct vmd_client *c)
{
    struct json_object *e;
    int fd;

    if (!c)
        return;
    while ((e = g_queue_pop_head(&c->events)))
        json_object_put(e);
    while ((fd = take_fd(c)) >= 0)
        close(fd);
    json_object_put(c->reply);
    g_hash_table_unref(c->late);
    rpc_lines_clear(&c->in);
    g_clear_error(&c->closing);
    g_free(c->hint);
    g_free(c->path);
    close(c->fd);
    g_free(c);
}
