/*
 * One connection: lines become requests and batches, replies and notifications become lines.
 *
 * Reading stops while LIMIT_RPC_INFLIGHT calls are unanswered, or a few whose answers bring
 * descriptors, or a lot is unsent, so a client can't make the server work ahead of what it reads.
 */
#include "proto/jsonrpc/local.h"
#include "proto/jsonrpc/rpc_priv.h"

enum {
    UNREAD_REPLIES = LIMIT_RPC_OUTQ / 8, /* bytes at which a client's further requests wait */
    FDS_DUE = 8,                         /* likewise; each may be a file's memory */
};

struct json_object *rpc__notification(const char *method, struct json_object *params)
{
    struct json_object *m = json_object_new_object();

    json_object_object_add(m, "jsonrpc", json_object_new_string("2.0"));
    json_object_object_add(m, "method", json_object_new_string(method));
    if (params)
        json_object_object_add(m, "params", params);
    return m;
}

struct json_object *rpc__closing(enum vmd_error kind, const char *reason)
{
    struct json_object *p = json_object_new_object();

    json_object_object_add(p, "kind", json_object_new_string(vmd_error_name(kind)));
    json_object_object_add(p, "reason", json_object_new_string(reason));
    return rpc__notification("rpc.closing", p);
}

/* --- output -------------------------------------------------------------------------------- */

/* Drops what is queued, says why, and ends when that is sent. */
static void disconnect(struct rpc_conn *conn, enum vmd_error kind, const char *reason)
{
    if (conn->local)
        conn->local->leave(conn->local_user);
    if (!conn->stream || rpc_stream_closing(conn->stream))
        return;
    g_autoptr(json_object) m = rpc__closing(kind, reason);
    size_t len;
    g_autofree char *text = json_write(m, &len);

    rpc_stream_discard(conn->stream);
    rpc_stream_send(conn->stream, text, len, -1);
    rpc_stream_finish(conn->stream, RPC_LINGER_MS);
}

void rpc_conn__send(struct rpc_conn *conn, struct json_object *message, int fd)
{
    autofd own = fd;
    size_t len;

    if (!conn->stream || rpc_stream_closing(conn->stream))
        return;
    g_autofree char *text = json_write(message, &len);
    if (!rpc_stream_send(conn->stream, text, len, steal_fd(&own)))
        disconnect(conn, VMD_ERROR_LIMIT,
                   "this client does not read its replies and events fast enough");
}

void rpc_conn_notify(struct rpc_conn *conn, const char *method, struct json_object *params)
{
    if (conn->local) {
        rpc_local__notify(conn, method, params);
        return;
    }
    g_autoptr(json_object) m = rpc__notification(method, params);
    rpc_conn__send(conn, m, -1);
}

void rpc_conn_close(struct rpc_conn *conn, enum vmd_error kind, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *reason = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    disconnect(conn, kind, reason);
}

/* --- input --------------------------------------------------------------------------------- */

static void read_batch(struct rpc_conn *conn, struct json_object *array)
{
    size_t n = json_object_array_length(array);

    if (n == 0 || n > LIMIT_RPC_BATCH) {
        g_autofree char *text =
            n ? g_strdup_printf("a batch of %zu requests, where %d are the most", n,
                                LIMIT_RPC_BATCH)
              : g_strdup("an empty batch");
        rpc_call__refuse(
            conn, NULL, NULL,
            rpc__error_object(RPC_INVALID_REQUEST, n ? VMD_ERROR_LIMIT : VMD_ERROR_INVALID, text));
        return;
    }
    struct rpc_batch *batch = g_new0(struct rpc_batch, 1);
    batch->replies = json_object_new_array();
    batch->open = 1;
    for (size_t i = 0; i < n; i++)
        rpc_call__begin(conn, batch, json_object_array_get_idx(array, i));
    rpc_batch__unref(conn, batch);
}

static void on_line(void *user, const char *text, size_t len)
{
    struct rpc_conn *conn = user;
    g_autoptr(json_object) v = NULL;
    g_autoptr(GError) err = NULL;

    conn->refs++;
    if (!json_read_limited(text, len, LIMIT_RPC_VALUES, &v, &err))
        rpc_call__refuse(conn, NULL, NULL,
                         rpc__error_object(RPC_PARSE_ERROR, err->code, err->message));
    else if (json_object_is_type(v, json_type_array))
        read_batch(conn, v);
    else
        rpc_call__begin(conn, NULL, v);
    rpc_conn__unref(conn);
}

static bool on_ready(void *user)
{
    struct rpc_conn *conn = user;

    return conn->calls.length < LIMIT_RPC_INFLIGHT && conn->fds_due < FDS_DUE &&
           rpc_stream_queued(conn->stream) < UNREAD_REPLIES;
}

static void on_overlong(void *user)
{
    rpc_conn_close(user, VMD_ERROR_LIMIT, "a message of more than %d bytes", LIMIT_RPC_LINE);
}

static void end_if_idle(struct rpc_conn *conn)
{
    if (conn->half_closed && conn->calls.length == 0 && conn->stream)
        rpc_stream_finish(conn->stream, RPC_LINGER_MS);
}

static void on_half_closed(void *user)
{
    struct rpc_conn *conn = user;

    conn->half_closed = true;
    end_if_idle(conn);
}

void rpc_conn__call_done(struct rpc_conn *conn)
{
    end_if_idle(conn);
    if (conn->stream)
        rpc_stream_resume(conn->stream);
}

/* --- life ---------------------------------------------------------------------------------- */

static void abandon_calls(struct rpc_conn *conn)
{
    /* A cancel function may answer its call, or any other one of this connection. */
    for (struct rpc_call *call; (call = g_queue_peek_head(&conn->calls));)
        rpc_call__abandon(call);
}

void rpc_conn__ended(struct rpc_conn *conn)
{
    struct rpc_server *s = conn->server;

    g_queue_unlink(&s->conns, &conn->link);
    abandon_calls(conn);
    if (s->ops->closed)
        s->ops->closed(s->user, conn);
    rpc_server__conn_gone(s);
    rpc_conn__unref(conn);
}

static void on_ended(void *user, int errnum)
{
    struct rpc_conn *conn = user;

    rpc_stream_free(g_steal_pointer(&conn->stream));
    rpc_conn__ended(conn);
}

void rpc_conn__shut_down(struct rpc_conn *conn)
{
    conn->refs++;
    abandon_calls(conn);
    if (conn->stream)
        rpc_stream_finish(conn->stream, RPC_LINGER_MS);
    else if (conn->local)
        conn->local->leave(conn->local_user);
    rpc_conn__unref(conn);
}

void rpc_conn__unref(struct rpc_conn *conn)
{
    if (--conn->refs > 0)
        return;
    rpc_peer_clear(&conn->peer);
    rpc_server__unref(conn->server);
    g_free(conn);
}

struct rpc_conn *rpc_conn__alloc(struct rpc_server *s, enum rpc_role role, struct rpc_peer *peer)
{
    struct rpc_conn *conn = g_new0(struct rpc_conn, 1);

    conn->server = s;
    rpc_server__ref(s);
    conn->peer = *peer;
    *peer = (struct rpc_peer){0};
    conn->role = role;
    conn->refs = 1;
    g_queue_init(&conn->calls);
    conn->link.data = conn;
    g_queue_push_tail_link(&s->conns, &conn->link);
    return conn;
}

struct rpc_conn *rpc_conn__new(struct rpc_server *s, int fd, enum rpc_role role,
                               struct rpc_peer *peer, GError **err)
{
    static const struct rpc_stream_ops ops = {.message = on_line,
                                              .ready = on_ready,
                                              .half_closed = on_half_closed,
                                              .overlong = on_overlong,
                                              .ended = on_ended};
    struct rpc_conn *conn = rpc_conn__alloc(s, role, peer);

    conn->stream = rpc_stream_new(s->loop, fd, RPC_LINES, LIMIT_RPC_LINE, LIMIT_RPC_OUTQ,
                                  s->take_fds, &ops, conn, err);
    if (conn->stream)
        return conn;
    g_queue_unlink(&s->conns, &conn->link);
    rpc_conn__unref(conn);
    return NULL;
}

const struct rpc_peer *rpc_conn_peer(const struct rpc_conn *conn)
{
    return &conn->peer;
}

enum rpc_role rpc_conn_role(const struct rpc_conn *conn)
{
    return conn->role;
}

void rpc_conn_set_role(struct rpc_conn *conn, enum rpc_role role)
{
    conn->role = role;
}

struct rpc_server *rpc_conn_server(const struct rpc_conn *conn)
{
    return conn->server;
}

void rpc_conn_set_data(struct rpc_conn *conn, void *data)
{
    conn->data = data;
}

void *rpc_conn_data(const struct rpc_conn *conn)
{
    return conn->data;
}

void rpc_conn_set_version(struct rpc_conn *conn, unsigned version)
{
    conn->version = version;
}
