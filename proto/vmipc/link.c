/*
 * vmd's end of the link.
 *
 * The link outlives its connections: it remembers the latest event seen, so that what a new
 * connection sends again is not given twice. Calls made while hello is under way wait for its end.
 * A callback may free the link that called it; nothing of it is touched after ready(), event() and
 * lost().
 */
#include "proto/vmipc/vmipc.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { HELLO_TIMEOUT_MS = 10000 };

/* A call that waits for hello's answer. */
struct waiting {
    enum vmi_method method;
    void *params; /* a copy */
    int fd;       /* ours; -1: none */
    unsigned timeout_ms;
    rpc_client_reply reply;
    void *arg;
};

struct vmipc_link {
    uv_loop_t *loop;
    char *vm_id;
    uint64_t seen; /* latest event given to the owner */
    const struct vmipc_link_ops *ops;
    void *user;
    struct rpc_client *client;
    bool ready;
    bool freeing;
    GArray *waiting; /* struct waiting */
    char *closing; /* the reason that rpc.closing gave */
};

/* --- calls that wait ------------------------------------------------------------------------- */

static void add_waiting(struct vmipc_link *l, enum vmi_method method, const void *params, int fd,
                        unsigned timeout_ms, rpc_client_reply reply, void *arg)
{
    const struct waiting w = {
        .method = method,
        .params = params ? codec_copy(vmi_service.methods[method].params, params) : NULL,
        .fd = fd,
        .timeout_ms = timeout_ms,
        .reply = reply,
        .arg = arg,
    };

    g_array_append_val(l->waiting, w);
}

/* Sends those that wait, or, with WHY, fails them: what their callbacks call then does not wait. */
static void end_waiting(struct vmipc_link *l, const GError *why)
{
    g_autoptr(GArray) all = g_steal_pointer(&l->waiting);

    l->waiting = g_array_new(FALSE, FALSE, sizeof(struct waiting));
    for (guint i = 0; i < all->len; i++) {
        struct waiting *w = &g_array_index(all, struct waiting, i);
        if (!why)
            rpc_client_call(l->client, w->method, w->params, w->fd, w->timeout_ms, w->reply, w->arg);
        else if (w->fd >= 0)
            close(w->fd);
        if (why && w->reply)
            w->reply(w->arg, NULL, -1, why);
        if (w->params)
            codec_free(vmi_service.methods[w->method].params, w->params);
    }
}

static void lose(struct vmipc_link *l, const GError *why)
{
    g_autoptr(GError) err = g_error_copy(why);

    if (l->closing)
        g_prefix_error(&err, "%s: ", l->closing);
    g_clear_pointer(&l->closing, g_free);
    l->ready = false;
    rpc_client_free(g_steal_pointer(&l->client));
    g_autoptr(GError) gone = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, err->message);
    end_waiting(l, gone);
    l->ops->lost(l->user, err);
}

/* --- what comes in ------------------------------------------------------------------------- */

static int find_event(const char *type)
{
    for (size_t i = 0; i < vmi_service.n_events; i++) {
        if (strcmp(vmi_service.events[i].name, type) == 0)
            return (int)i;
    }
    return -1;
}

static void take_event(struct vmipc_link *l, struct json_object *params)
{
    g_autoptr(vmi_event_record) r = NULL;
    g_autoptr(GError) err = NULL;

    if (!vmi_event_record_decode(params, &r, &err)) {
        lose(l, err);
        return;
    }
    int event = find_event(r->type);
    if (r->seq <= l->seen)
        return;
    l->seen = r->seq;
    if (event < 0) /* of a release that we do not speak; nothing here depends on it */
        return;
    const struct codec_type *type = vmi_service.events[event].data;
    void *data = codec_decode(type, r->data, r->type, &err);
    if (!data) {
        lose(l, err);
        return;
    }
    l->ops->event(l->user, r->seq, r->time_ns, (enum vmi_event)event, data);
    codec_free(type, data);
}

static void on_notify(void *user, const char *method, struct json_object *params)
{
    struct vmipc_link *l = user;
    struct json_object *reason = NULL;

    if (strcmp(method, "vmi.event") == 0) {
        take_event(l, params);
    } else if (strcmp(method, "rpc.closing") == 0 &&
               json_object_is_type(params, json_type_object) &&
               json_object_object_get_ex(params, "reason", &reason)) {
        g_free(l->closing);
        l->closing = g_strdup(json_object_get_string(reason));
    }
}

static void on_closed(void *user, const GError *why)
{
    lose(user, why);
}

static void on_hello(void *arg, const void *result, int fd, const GError *err)
{
    const struct vmi_hello_result *r = result;
    struct vmipc_link *l = arg;

    if (l->freeing || g_error_matches(err, VMD_ERROR, VMD_ERROR_GONE))
        return; /* on_closed() tells it */
    if (err) {
        lose(l, err);
        return;
    }
    if (r->version < VMIPC_VERSION_OLDEST || r->version > VMIPC_VERSION) {
        g_autoptr(GError) bad =
            g_error_new(VMD_ERROR, VMD_ERROR_UNSUPPORTED,
                        "the VM process speaks version %u of the link", r->version);
        lose(l, bad);
        return;
    }
    if (!l->vm_id)
        l->vm_id = g_strdup(r->vm_id);
    rpc_client_set_version(l->client, r->version);
    l->ready = true;
    end_waiting(l, NULL);
    l->ops->ready(l->user, r);
}

/* --- opening ------------------------------------------------------------------------------- */

bool vmipc_link_open_fd(struct vmipc_link *l, int fd, GError **err)
{
    static const struct rpc_client_ops ops = {.notify = on_notify, .closed = on_closed};
    struct vmi_hello_params hello = {.version = VMIPC_VERSION,
                                     .oldest = VMIPC_VERSION_OLDEST,
                                     .vm_id = l->vm_id,
                                     .acked = l->seen};

    if (l->client) {
        close(fd);
        return vmd_fail(err, VMD_ERROR_STATE, "the link is open already");
    }
    l->client = rpc_client_new(l->loop, fd, &vmi_service, &ops, l, err);
    if (!l->client)
        return false;
    rpc_client_call(l->client, VMI_HELLO, &hello, -1, HELLO_TIMEOUT_MS, on_hello, l);
    return true;
}

bool vmipc_link_open(struct vmipc_link *l, const char *dir, GError **err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    g_autofree char *path = g_build_filename(dir, VMIPC_SOCKET_NAME, NULL);
    autofd fd = -1;

    if (strlen(path) >= sizeof(addr.sun_path))
        return vmd_fail(err, VMD_ERROR_LIMIT, "the path %s has more than %zu bytes", path,
                        sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vmd_set_errno(err, errno, "making a socket");
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        if (errno == ECONNREFUSED)
            return vmd_fail(err, VMD_ERROR_GONE, "nobody listens at %s", path);
        return vmd_set_errno(err, errno, "connecting to %s", path);
    }
    return vmipc_link_open_fd(l, steal_fd(&fd), err);
}

/* --- calls --------------------------------------------------------------------------------- */

static void call(struct vmipc_link *l, enum vmi_method method, const void *params, int fd,
                 unsigned timeout_ms, rpc_client_reply reply, void *arg)
{
    g_autoptr(GError) err = NULL;

    if (l->ready) {
        rpc_client_call(l->client, method, params, fd, timeout_ms, reply, arg);
        return;
    }
    if (l->client) {
        add_waiting(l, method, params, fd, timeout_ms, reply, arg);
        return;
    }
    if (fd >= 0)
        close(fd);
    vmd_fail(&err, VMD_ERROR_GONE, "the VM process is not connected");
    if (reply)
        reply(arg, NULL, -1, err);
}

void vmipc_link_call(struct vmipc_link *l, enum vmi_method method, const void *params,
                     unsigned timeout_ms, rpc_client_reply reply, void *arg)
{
    call(l, method, params, -1, timeout_ms, reply, arg);
}

void vmipc_link_send_fd(struct vmipc_link *l, const char *name, int fd, rpc_client_reply reply,
                        void *arg)
{
    struct vmi_fd_params p = {.name = (char *)name};

    call(l, VMI_FD, &p, fd, 0, reply, arg);
}

void vmipc_link_ack(struct vmipc_link *l, uint64_t seq)
{
    struct vmi_ack_params p = {.seq = seq};

    if (l->ready)
        rpc_client_call(l->client, VMI_ACK, &p, -1, 0, NULL, NULL);
}

/* --- life ---------------------------------------------------------------------------------- */

struct vmipc_link *vmipc_link_new(uv_loop_t *loop, const char *vm_id, uint64_t acked,
                                  const struct vmipc_link_ops *ops, void *user)
{
    struct vmipc_link *l = g_new0(struct vmipc_link, 1);

    l->loop = loop;
    l->vm_id = g_strdup(vm_id);
    l->seen = acked;
    l->ops = ops;
    l->user = user;
    l->waiting = g_array_new(FALSE, FALSE, sizeof(struct waiting));
    return l;
}

bool vmipc_link_ready(const struct vmipc_link *l)
{
    return l->ready;
}

void vmipc_link_free(struct vmipc_link *l)
{
    if (!l)
        return;
    g_autoptr(GError) err = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, "disconnected");
    l->freeing = true;
    rpc_client_free(g_steal_pointer(&l->client));
    end_waiting(l, err);
    g_array_free(l->waiting, TRUE);
    g_free(l->vm_id);
    g_free(l->closing);
    g_free(l);
}
