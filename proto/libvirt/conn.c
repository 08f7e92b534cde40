/*
 * proto/libvirt/conn: one connection: frames become requests, answers and events become frames.
 *
 * Reading stops while LIMIT_RPC_INFLIGHT requests are unanswered or a lot is unsent, so that a
 * client cannot make the server work ahead of what it reads.
 */
#include "proto/libvirt/server_priv.h"

/* Bytes of unread answers at which a client's further requests wait. */
enum { UNREAD = LIMIT_RPC_OUTQ / 8 };
enum { LEVEL_ERROR = 2 };

struct libvirt_request {
    struct libvirt_conn *conn;
    const struct libvirt_call *call; /* NULL: there is none of that number */
    struct libvirt_head head;        /* as it came */
    void *args;
    bool alone;
};

/* --- output --- */

/* Who does not read is disconnected. */
void libvirt_conn__send(struct libvirt_conn *conn, GByteArray *frame)
{
    g_autoptr(GByteArray) out = frame;

    if (!conn->stream || rpc_stream_closing(conn->stream))
        return;
    if (libvirt_frame_end(out, 0) < 0 ||
        !rpc_stream_send_bytes(conn->stream, g_steal_pointer(&out))) {
        rpc_stream_discard(conn->stream);
        libvirt_conn_finish(conn);
    }
}

void libvirt_conn__send_error(struct libvirt_conn *conn, const struct libvirt_head *as, int code,
                              int domain, const char *text)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head = *as;
    struct libvirt_error error = {
        .code = code, .domain = domain, .message = (char *)text, .level = LEVEL_ERROR};

    head.status = LIBVIRT_ERROR;
    libvirt_frame_begin(out, &head);
    if (libvirt_write(&libvirt_error_layout, &error, out) == 0)
        libvirt_conn__send(conn, g_steal_pointer(&out));
}

/* The answer to CALL. */
static void send_error(struct libvirt_conn *conn, const struct libvirt_head *call, int code,
                       int domain, const char *text)
{
    struct libvirt_head head = *call;

    head.type = LIBVIRT_REPLY;
    libvirt_conn__send_error(conn, &head, code, domain, text);
}

void libvirt_conn_event(struct libvirt_conn *conn, int32_t procedure,
                        const struct libvirt_layout *layout, const void *message)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head = {
        .program = LIBVIRT_PROGRAM, .version = 1, .procedure = procedure, .type = LIBVIRT_MESSAGE};

    libvirt_frame_begin(out, &head);
    if (libvirt_write(layout, message, out) == 0)
        libvirt_conn__send(conn, g_steal_pointer(&out));
}

void libvirt_conn_event_raw(struct libvirt_conn *conn, int32_t procedure, const uint8_t *bytes,
                            size_t len)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head = {
        .program = LIBVIRT_PROGRAM, .version = 1, .procedure = procedure, .type = LIBVIRT_MESSAGE};

    libvirt_frame_begin(out, &head);
    g_byte_array_append(out, bytes, (guint)len);
    libvirt_conn__send(conn, g_steal_pointer(&out));
}

void libvirt_conn_finish(struct libvirt_conn *conn)
{
    if (conn->stream)
        rpc_stream_finish(conn->stream, LIBVIRT_LINGER_MS);
}

/* It broke the protocol: there is nothing that it would understand. */
static void drop(struct libvirt_conn *conn)
{
    if (!conn->stream)
        return;
    rpc_stream_discard(conn->stream);
    rpc_stream_finish(conn->stream, 0);
}

/* --- requests --- */

static void conn_unref(struct libvirt_conn *conn)
{
    if (--conn->refs > 0)
        return;
    rpc_peer_clear(&conn->peer);
    g_clear_error(&conn->refused);
    g_free(conn);
}

static void end_if_idle(struct libvirt_conn *conn)
{
    if (conn->half_closed && conn->calls == 0)
        libvirt_conn_finish(conn);
}

static void request_free(struct libvirt_request *r)
{
    struct libvirt_conn *conn = r->conn;

    if (r->args)
        libvirt_clear(r->call->args, r->args);
    conn->held -= r->alone;
    g_free(r->args);
    g_free(r);
    conn->calls--;
    end_if_idle(conn);
    if (conn->stream)
        rpc_stream_resume(conn->stream);
    conn_unref(conn);
}

const struct libvirt_call *libvirt_request_call(const struct libvirt_request *request)
{
    return request->call;
}

int32_t libvirt_request_procedure(const struct libvirt_request *request)
{
    return request->head.procedure;
}

struct libvirt_head libvirt_request__head(const struct libvirt_request *request)
{
    return request->head;
}

void libvirt_request_alone(struct libvirt_request *request)
{
    request->conn->held += !request->alone;
    request->alone = true;
}

const void *libvirt_request_args(const struct libvirt_request *request)
{
    return request->args;
}

struct libvirt_conn *libvirt_request_conn(const struct libvirt_request *request)
{
    return request->conn->stream ? request->conn : NULL;
}

void libvirt_reply(struct libvirt_request *r, const void *result)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head = r->head;

    head.type = LIBVIRT_REPLY;
    libvirt_frame_begin(out, &head);
    if (r->call->result && libvirt_write(r->call->result, result, out) < 0)
        send_error(r->conn, &r->head, LIBVIRT_ERR_INTERNAL, LIBVIRT_FROM_RPC,
                   "the answer is longer than the protocol has");
    else
        libvirt_conn__send(r->conn, g_steal_pointer(&out));
    request_free(r);
}

void libvirt_reply_raw(struct libvirt_request *r, bool error, const uint8_t *bytes, size_t len)
{
    g_autoptr(GByteArray) out = g_byte_array_sized_new((guint)(LIBVIRT_HEAD_BYTES + len));
    struct libvirt_head head = r->head;

    head.type = LIBVIRT_REPLY;
    head.status = error ? LIBVIRT_ERROR : LIBVIRT_OK;
    libvirt_frame_begin(out, &head);
    if (len)
        g_byte_array_append(out, bytes, (guint)len);
    libvirt_conn__send(r->conn, g_steal_pointer(&out));
    request_free(r);
}

void libvirt_reply_written(struct libvirt_request *r, const GByteArray *result)
{
    libvirt_reply_raw(r, false, result->data, result->len);
}

void libvirt_fail(struct libvirt_request *r, enum libvirt_code code, enum libvirt_domain domain,
                  const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    send_error(r->conn, &r->head, (int)code, (int)domain, text);
    request_free(r);
}

static struct libvirt_request *request_new(struct libvirt_conn *conn,
                                           const struct libvirt_head *head)
{
    struct libvirt_request *r = g_new0(struct libvirt_request, 1);

    r->conn = conn;
    r->head = *head;
    r->call = libvirt_call_find(head->procedure);
    conn->refs++;
    conn->calls++;
    return r;
}

static void begin_call(struct libvirt_conn *conn, const struct libvirt_head *head,
                       const uint8_t *payload, size_t len)
{
    const struct libvirt_server_ops *ops = conn->server->ops;
    struct libvirt_request *r = request_new(conn, head);

    if (conn->refused) {
        libvirt_fail(r, LIBVIRT_ERR_AUTH_FAILED, LIBVIRT_FROM_RPC, "%s", conn->refused->message);
        libvirt_conn_finish(conn);
        return;
    }
    if (r->call && r->call->writes && conn->readonly) {
        libvirt_fail(r, LIBVIRT_ERR_OPERATION_DENIED, LIBVIRT_FROM_NONE,
                     "operation %s forbidden for read only access", r->call->name);
        return;
    }
    if (ops->pass && ops->pass(conn->server->user, r, payload, len))
        return;
    if (!r->call) {
        libvirt_fail(r, LIBVIRT_ERR_NO_SUPPORT, LIBVIRT_FROM_RPC,
                     "vmd does not offer the procedure %d", head->procedure);
        return;
    }
    void *args = r->call->args ? g_malloc0(r->call->args->size) : NULL;
    if (libvirt_read(r->call->args, payload, len, args) < 0) {
        g_free(args);
        libvirt_fail(r, LIBVIRT_ERR_RPC, LIBVIRT_FROM_RPC, "the arguments of %s are malformed",
                     r->call->name);
        return;
    }
    r->args = args;
    ops->call(conn->server->user, r);
}

/* --- input --- */

static void keepalive(struct libvirt_conn *conn, const struct libvirt_head *head)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head pong = *head;

    if (head->procedure != LIBVIRT_PING)
        return;
    pong.procedure = LIBVIRT_PONG;
    libvirt_frame_begin(out, &pong);
    libvirt_conn__send(conn, g_steal_pointer(&out));
}

static void unknown_program(struct libvirt_conn *conn, const struct libvirt_head *head)
{
    g_autofree char *text = g_strdup_printf("there is no program 0x%x of version %u here",
                                            head->program, head->version);

    send_error(conn, head, LIBVIRT_ERR_RPC, LIBVIRT_FROM_RPC, text);
}

static void on_message(void *user, const char *bytes, size_t len)
{
    struct libvirt_conn *conn = user;
    const uint8_t *frame = (const uint8_t *)bytes;
    struct libvirt_head head;

    if (len < LIBVIRT_HEAD_BYTES || libvirt_head_read(frame, &head) < 0) {
        drop(conn);
        return;
    }
    bool ours = head.program == LIBVIRT_PROGRAM && head.version == 1;
    conn->refs++;
    if (head.program == LIBVIRT_KEEPALIVE && head.version == 1 && head.type == LIBVIRT_MESSAGE)
        keepalive(conn, &head);
    else if (head.type == LIBVIRT_CALL && head.status == LIBVIRT_OK && ours)
        begin_call(conn, &head, frame + LIBVIRT_HEAD_BYTES, len - LIBVIRT_HEAD_BYTES);
    else if ((head.type == LIBVIRT_STREAM || head.type == LIBVIRT_STREAM_HOLE) && ours)
        libvirt_stream__frame(conn, &head, frame + LIBVIRT_HEAD_BYTES, len - LIBVIRT_HEAD_BYTES);
    else if (head.type == LIBVIRT_CALL && head.status == LIBVIRT_OK)
        unknown_program(conn, &head);
    else
        drop(conn);
    conn_unref(conn);
}

static bool on_ready(void *user)
{
    struct libvirt_conn *conn = user;

    return conn->calls < LIMIT_RPC_INFLIGHT && conn->held == 0 &&
           rpc_stream_queued(conn->stream) < UNREAD;
}

static void on_drained(void *user)
{
    libvirt_stream__drained(user);
}

static void on_overlong(void *user)
{
    drop(user);
}

static void on_half_closed(void *user)
{
    struct libvirt_conn *conn = user;

    conn->half_closed = true;
    end_if_idle(conn);
}

void libvirt_conn__watch(struct libvirt_conn *conn)
{
    if (!conn->stream)
        return;
    struct rpc_stream_counts now = rpc_stream_counts(conn->stream);
    size_t queued = rpc_stream_queued(conn->stream);
    bool unread = queued && conn->seen_queued && now.sent == conn->seen.sent;
    bool unfinished = now.left && conn->seen.left && now.came == conn->seen.came && on_ready(conn);

    conn->seen = now;
    conn->seen_queued = queued;
    if (unread || unfinished)
        drop(conn);
}

/* --- life --- */

static void on_ended(void *user, int errnum)
{
    struct libvirt_conn *conn = user;
    struct libvirt_server *s = conn->server;

    rpc_stream_free(g_steal_pointer(&conn->stream));
    libvirt_stream__end_all(conn);
    g_queue_unlink(&s->conns, &conn->link);
    s->ops->closed(s->user, conn);
    libvirt_server__conn_gone(s);
    conn_unref(conn);
}

struct libvirt_conn *libvirt_conn__new(struct libvirt_server *s, int fd, struct rpc_peer *peer,
                                       bool readonly, GError **err)
{
    static const struct rpc_stream_ops ops = {.message = on_message,
                                              .ready = on_ready,
                                              .half_closed = on_half_closed,
                                              .overlong = on_overlong,
                                              .drained = on_drained,
                                              .ended = on_ended};
    struct libvirt_conn *conn = g_new0(struct libvirt_conn, 1);

    conn->stream = rpc_stream_new(s->loop, fd, RPC_COUNTED, LIMIT_LIBVIRT_MESSAGE, LIMIT_RPC_OUTQ,
                                  false, &ops, conn, err);
    if (!conn->stream) {
        g_free(conn);
        return NULL;
    }
    conn->server = s;
    conn->peer = *peer;
    *peer = (struct rpc_peer){0};
    conn->readonly = readonly;
    conn->refs = 1;
    g_queue_init(&conn->streams);
    conn->link.data = conn;
    g_queue_push_tail_link(&s->conns, &conn->link);
    s->ops->opened(s->user, conn, &conn->refused);
    return conn;
}

const struct rpc_peer *libvirt_conn_peer(const struct libvirt_conn *conn)
{
    return &conn->peer;
}

void *libvirt_conn_user(const struct libvirt_conn *conn)
{
    return conn->server->user;
}

void libvirt_conn_set_data(struct libvirt_conn *conn, void *data)
{
    conn->data = data;
}

void *libvirt_conn_data(const struct libvirt_conn *conn)
{
    return conn->data;
}

void libvirt_conn_set_readonly(struct libvirt_conn *conn)
{
    conn->readonly = true;
}

bool libvirt_conn_readonly(const struct libvirt_conn *conn)
{
    return conn->readonly;
}
