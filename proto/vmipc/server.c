/*
 * The VM process's end of the link.
 *
 * Events are kept, oldest first, until vmd acknowledges them; a new connection gets all that its
 * hello does not name as stored. While vmd is away at most LIMIT_EVENTS_KEPT are kept; what was
 * dropped shows as a gap in the numbers (first_seq of the next hello).
 */
#include "proto/vmipc/vmipc.h"

enum { FDS_KEPT = LIMIT_DISKS + LIMIT_NICS + 8 };

struct kept {
    uint64_t seq;
    struct json_object *record;
};

struct vmipc_server {
    struct rpc_server *rpc;
    struct rpc_service service; /* vmi_service with our dispatch in front */
    const struct vmi_handlers *handlers;
    const struct vmipc_server_ops *ops;
    void *user;
    struct rpc_conn *conn; /* the vmd that said hello last, or NULL */
    GQueue events;         /* struct kept */
    uint64_t last, acked;
    GHashTable *fds; /* name -> descriptor */
    void (*done)(void *arg);
    void *done_arg;
};

/* --- events -------------------------------------------------------------------------------- */

static void kept_free(struct kept *k)
{
    json_object_put(k->record);
    g_free(k);
}

static void drop_acked(struct vmipc_server *s, uint64_t seq)
{
    struct kept *k;

    s->acked = MAX(s->acked, seq);
    while ((k = g_queue_peek_head(&s->events)) && k->seq <= seq)
        kept_free(g_queue_pop_head(&s->events));
}

void vmipc_server_emit(struct vmipc_server *s, enum vmi_event event, const void *data)
{
    const struct rpc_event *row = &vmi_service.events[event];
    struct vmi_event_record r = {
        .seq = ++s->last, .time_ns = (uint64_t)g_get_real_time() * 1000, .type = (char *)row->name};
    g_autoptr(json_object) payload =
        data ? codec_encode(row->data, data, 0) : json_object_new_object();
    struct kept *k = g_new0(struct kept, 1);

    r.data = payload;
    k->seq = r.seq;
    k->record = vmi_event_record_encode(&r);
    g_queue_push_tail(&s->events, k);
    if (s->events.length > LIMIT_EVENTS_KEPT)
        kept_free(g_queue_pop_head(&s->events));
    if (s->conn)
        rpc_conn_notify(s->conn, "vmi.event", json_object_get(k->record));
}

uint64_t vmipc_server_last(const struct vmipc_server *s)
{
    return s->last;
}

uint64_t vmipc_server_acked(const struct vmipc_server *s)
{
    return s->acked;
}

/* --- the methods answered here ------------------------------------------------------------- */

/* What a vmd sent for a call that it did not come to make is for nobody. */
static void forget_fds(struct vmipc_server *s)
{
    g_hash_table_remove_all(s->fds);
}

/* Events that are kept go out before any new one can be made. */
static void attach(struct vmipc_server *s, struct rpc_conn *conn)
{
    if (s->conn && s->conn != conn) {
        forget_fds(s);
        rpc_conn_set_data(s->conn, NULL);
        rpc_conn_close(s->conn, VMD_ERROR_STATE, "another daemon has taken over");
    }
    s->conn = conn;
    rpc_conn_set_data(conn, s);
    for (GList *l = s->events.head; l; l = l->next)
        rpc_conn_notify(conn, "vmi.event", json_object_get(((struct kept *)l->data)->record));
    if (s->ops->attached)
        s->ops->attached(s->user, true);
}

static bool check_hello(struct vmipc_server *s, const struct vmi_hello_params *p,
                        const struct vmi_hello_result *r, GError **err)
{
    if (r->version < MAX(p->oldest, VMIPC_VERSION_OLDEST))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "vmd speaks versions %u to %u of the link, this process %d to %d",
                        p->oldest, p->version, VMIPC_VERSION_OLDEST, VMIPC_VERSION);
    if (p->vm_id && r->vm_id && strcmp(p->vm_id, r->vm_id) != 0)
        return vmd_fail(err, VMD_ERROR_STATE, "this process runs %s, not %s", r->vm_id, p->vm_id);
    if (p->acked > s->last)
        return vmd_fail(err, VMD_ERROR_STATE,
                        "event %" G_GUINT64_FORMAT
                        " was never sent; the last is %" G_GUINT64_FORMAT,
                        p->acked, s->last);
    return true;
}

static void on_hello(struct vmipc_server *s, struct rpc_call *call, struct vmi_hello_params *p)
{
    g_autoptr(vmi_hello_result) r = vmi_hello_result_new();
    struct rpc_conn *conn = rpc_call_conn(call);
    GError *err = NULL;

    s->ops->status(s->user, r);
    r->version = MIN(p->version, VMIPC_VERSION);
    r->pid = (uint32_t)getpid();
    r->release = g_strdup(VMD_RELEASE);
    if (!check_hello(s, p, r, &err)) {
        rpc_call_fail(call, err);
        return;
    }
    drop_acked(s, p->acked);
    const struct kept *first = g_queue_peek_head(&s->events);
    r->first_seq = first ? first->seq : s->last + 1;
    r->last_seq = s->last;
    rpc_conn_set_version(conn, r->version);
    vmi_hello_reply(call, r);
    attach(s, conn);
}

static void on_ack(struct vmipc_server *s, struct rpc_call *call, struct vmi_ack_params *p)
{
    uint64_t seq = p->seq;

    if (seq > s->last) {
        rpc_call_error(call, VMD_ERROR_INVALID,
                       "params.seq: no event %" G_GUINT64_FORMAT " was sent", seq);
        return;
    }
    drop_acked(s, seq);
    vmi_ack_reply(call);
    if (s->ops->acked)
        s->ops->acked(s->user, s->acked);
}

static void on_fd(struct vmipc_server *s, struct rpc_call *call, struct vmi_fd_params *p)
{
    autofd fd = rpc_call_take_fd(call);

    if (g_hash_table_size(s->fds) >= FDS_KEPT) {
        rpc_call_error(call, VMD_ERROR_LIMIT, "%d descriptors wait to be used, the most that may",
                       FDS_KEPT);
        return;
    }
    if (g_hash_table_contains(s->fds, p->name)) {
        rpc_call_error(call, VMD_ERROR_INVALID, "params.name: %s is there already", p->name);
        return;
    }
    g_hash_table_insert(s->fds, g_strdup(p->name), GINT_TO_POINTER(steal_fd(&fd)));
    vmi_fd_reply(call);
}

int vmipc_server_take_fd(struct vmipc_server *s, const char *name)
{
    void *key, *fd;

    if (!g_hash_table_steal_extended(s->fds, name, &key, &fd))
        return -1;
    g_free(key);
    return GPOINTER_TO_INT(fd);
}

static bool dispatch(const void *handlers, size_t method, struct rpc_call *call, void *params)
{
    struct vmipc_server *s = (struct vmipc_server *)handlers;

    if (method == VMI_HELLO) {
        on_hello(s, call, params);
        return true;
    }
    if (rpc_call_conn(call) != s->conn) {
        rpc_call_error(call, VMD_ERROR_STATE, "vmi.hello comes first");
        return true;
    }
    switch (method) {
    case VMI_ACK:
        on_ack(s, call, params);
        return true;
    case VMI_FD:
        on_fd(s, call, params);
        return true;
    default:
        return vmi_service.dispatch(s->handlers, method, call, params);
    }
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_conn_closed(void *user, struct rpc_conn *conn)
{
    struct vmipc_server *s = rpc_conn_data(conn);

    if (!s || (s->conn && s->conn != conn))
        return;
    s->conn = NULL;
    forget_fds(s);
    if (s->ops->attached)
        s->ops->attached(s->user, false);
}

static void close_kept_fd(void *fd)
{
    close(GPOINTER_TO_INT(fd));
}

struct vmipc_server *vmipc_server_new(uv_loop_t *loop, const struct vmi_handlers *handlers,
                                      const struct vmipc_server_ops *ops, void *user)
{
    static const struct rpc_server_ops rpc_ops = {.closed = on_conn_closed};
    struct vmipc_server *s = g_new0(struct vmipc_server, 1);

    s->service = vmi_service;
    s->service.dispatch = dispatch;
    s->handlers = handlers;
    s->ops = ops;
    s->user = user;
    g_queue_init(&s->events);
    s->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_kept_fd);
    s->rpc = rpc_server_new(loop, &s->service, s, &rpc_ops, user);
    return s;
}

bool vmipc_server_adopt(struct vmipc_server *s, int fd, GError **err)
{
    struct rpc_conn *conn = rpc_server_adopt(s->rpc, fd, err);

    if (conn)
        rpc_conn_set_data(conn, s); /* its end is told also where no hello came */
    return conn != NULL;
}

bool vmipc_server_listen(struct vmipc_server *s, const char *dir, GError **err)
{
    g_autofree char *path = g_build_filename(dir, VMIPC_SOCKET_NAME, NULL);

    return rpc_server_listen(s->rpc, path, 0600, err);
}

static void on_rpc_closed(void *arg)
{
    struct vmipc_server *s = arg;
    struct kept *k;

    while ((k = g_queue_pop_head(&s->events)))
        kept_free(k);
    g_hash_table_unref(s->fds);
    if (s->done)
        s->done(s->done_arg);
    g_free(s);
}

void vmipc_server_close(struct vmipc_server *s, void (*done)(void *arg), void *arg)
{
    s->done = done;
    s->done_arg = arg;
    rpc_server_close(s->rpc, on_rpc_closed, s);
}
