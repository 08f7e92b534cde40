/*
 * proto/libvirt/stream: bytes both ways within a connection, under the procedure and serial of the
 * call that began them. See server.h.
 */
#include "proto/libvirt/server_priv.h"

struct libvirt_stream {
    struct libvirt_conn *conn;
    struct libvirt_head
        head; /* of its frames, but for status, and type where those are passed on */
    const struct libvirt_stream_ops *ops;
    void *user;
    bool held; /* it takes no bytes now */
    GList link;
};

static void send_frame(struct libvirt_stream *s, int32_t type, int32_t status, const void *bytes,
                       size_t len)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head = s->head;

    head.type = type;
    head.status = status;
    libvirt_frame_begin(out, &head);
    if (len)
        g_byte_array_append(out, bytes, (guint)len);
    libvirt_conn__send(s->conn, g_steal_pointer(&out));
}

struct libvirt_stream *libvirt_stream_begin(struct libvirt_request *request,
                                            const struct libvirt_stream_ops *ops, void *user)
{
    struct libvirt_conn *conn = libvirt_request_conn(request);
    struct libvirt_head head = libvirt_request__head(request);

    if (conn && conn->streams.length == LIMIT_LIBVIRT_STREAMS) {
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_FAILED, LIBVIRT_FROM_RPC,
                     "this connection has %d streams already", LIMIT_LIBVIRT_STREAMS);
        return NULL;
    }
    libvirt_reply(request, NULL);
    if (!conn)
        return NULL;
    struct libvirt_stream *s = g_new0(struct libvirt_stream, 1);
    s->conn = conn;
    s->head = head;
    s->head.type = LIBVIRT_STREAM;
    s->ops = ops;
    s->user = user;
    s->link.data = s;
    g_queue_push_tail_link(&conn->streams, &s->link);
    return s;
}

/* Takes it off its connection. */
static void unlink_free(struct libvirt_stream *s)
{
    libvirt_stream_hold(s, false);
    g_queue_unlink(&s->conn->streams, &s->link);
    g_free(s);
}

/* S ends, and who has it is told. */
static void end(struct libvirt_stream *s)
{
    const struct libvirt_stream_ops *ops = s->ops;
    void *user = s->user;

    unlink_free(s);
    ops->closed(user);
}

void libvirt_stream_send(struct libvirt_stream *s, const void *bytes, size_t len)
{
    send_frame(s, LIBVIRT_STREAM, LIBVIRT_CONTINUE, bytes, len);
}

void libvirt_stream_fail(struct libvirt_stream *s, enum libvirt_code code,
                         enum libvirt_domain domain, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    libvirt_conn__send_error(s->conn, &s->head, (int)code, (int)domain, text);
    end(s);
}

bool libvirt_stream_full(const struct libvirt_stream *s)
{
    return !s->conn->stream || rpc_stream_queued(s->conn->stream) >= LIBVIRT_STREAM_AHEAD;
}

void libvirt_stream_hold(struct libvirt_stream *s, bool hold)
{
    if (s->held == hold)
        return;
    s->held = hold;
    s->conn->held += hold ? 1 : -1;
    if (!hold && s->conn->stream)
        rpc_stream_resume(s->conn->stream);
}

void libvirt_stream_pass(struct libvirt_stream *s, int32_t type, int32_t status,
                         const uint8_t *bytes, size_t len)
{
    send_frame(s, type, status, bytes, len);
    if (status != LIBVIRT_CONTINUE)
        end(s);
}

/* The client says that it is over, in order or not: so it is. */
static void over(struct libvirt_stream *s)
{
    send_frame(s, LIBVIRT_STREAM, LIBVIRT_OK, NULL, 0);
    end(s);
}

void libvirt_stream__frame(struct libvirt_conn *conn, const struct libvirt_head *head,
                           const uint8_t *bytes, size_t len)
{
    for (GList *l = conn->streams.head; l; l = l->next) {
        struct libvirt_stream *s = l->data;
        if (s->head.serial != head->serial || s->head.procedure != head->procedure)
            continue;
        if (s->ops->frame)
            s->ops->frame(s->user, head->type, head->status, bytes, len);
        else if (head->type == LIBVIRT_STREAM_HOLE)
            libvirt_stream_fail(s, LIBVIRT_ERR_NO_SUPPORT, LIBVIRT_FROM_RPC,
                                "vmd's streams have no holes");
        else if (head->status != LIBVIRT_CONTINUE)
            over(s);
        else if (len)
            s->ops->data(s->user, bytes, len);
        return;
    }
    /* Of one that has just ended: what was under way. */
}

void libvirt_stream__drained(struct libvirt_conn *conn)
{
    for (GList *l = conn->streams.head; l; l = l->next) {
        struct libvirt_stream *s = l->data;
        s->ops->drained(s->user);
    }
}

void libvirt_stream__end_all(struct libvirt_conn *conn)
{
    for (struct libvirt_stream *s; (s = g_queue_peek_head(&conn->streams));)
        end(s);
}
