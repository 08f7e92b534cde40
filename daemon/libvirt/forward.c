/*
 * See forward.h. Each client has a connection of its own to each daemon that is asked for it, so
 * that what one does there is in nobody's way. It is begun with the first call, as that client's
 * rights are: libvirtd itself refuses what a connection that only reads may not do. Serials there
 * are ours, and so are the numbers of callbacks that a client sees, since those of several daemons
 * and vmd's own would be the same.
 */
#include "daemon/libvirt/forward.h"

#include "daemon/libvirt/bridge_priv.h"
#include "daemon/libvirt/forward_priv.h"
#include "proto/rpc/stream.h"

enum { UNSENT_MOST = LIMIT_RPC_OUTQ, ANSWER_MOST = LIMIT_RPC_OUTQ / 2, AHEAD = 262144 };
enum { AUTH_POLKIT = 2, OPEN_READONLY = 1 << 0, NO_CALLBACK = -1 }; /* theirs count from 0 */

/* Procedures of which a callback's number is the result, and those that end one. */
static const int32_t registers[] = {313, 368, 374, 380}, deregisters[] = {314, 369, 375, 381};

struct forwarded {
    struct upstream *to[FORWARD_KINDS]; /* NULL: not connected */
};

/* A client's connection to one daemon. */
struct upstream {
    struct client *c;
    int kind;
    struct rpc_stream *stream;
    bool ready; /* it is opened there */
    uint32_t serial;
    GHashTable *calls;     /* struct passed by serial */
    GQueue waiting;        /* GByteArray: frames to be sent once it is ready */
    GQueue streams;        /* struct through */
    GHashTable *callbacks; /* a callback's number there to the client's */
};

/* A call that is answered there. */
struct passed {
    struct libvirt_request *request; /* NULL: our own, of opening */
    int32_t procedure, callback;
};

/* A stream through here. */
struct through {
    struct upstream *u;
    struct libvirt_stream *stream;
    uint32_t serial;
    int32_t procedure;
    GList link;
};

static bool among(const int32_t *all, size_t n, int32_t procedure)
{
    for (size_t i = 0; i < n; i++) {
        if (all[i] == procedure)
            return true;
    }
    return false;
}

/* --- frames there ----------------------------------------------------------------------------- */

static GByteArray *frame(int32_t procedure, int32_t type, int32_t status, uint32_t serial,
                         const uint8_t *bytes, size_t len)
{
    GByteArray *out = g_byte_array_sized_new((guint)(LIBVIRT_HEAD_BYTES + len));
    struct libvirt_head head = {.program = LIBVIRT_PROGRAM,
                                .version = 1,
                                .procedure = procedure,
                                .type = type,
                                .serial = serial,
                                .status = status};

    libvirt_frame_begin(out, &head);
    if (len)
        g_byte_array_append(out, bytes, (guint)len);
    libvirt_frame_end(out, 0);
    return out;
}

static void upstream_free(struct upstream *u, const char *why);

/* Sends OUT, which is taken. False: too much is unsent, and U is gone. */
static bool send_out(struct upstream *u, GByteArray *out)
{
    bool ok = rpc_stream_send(u->stream, (const char *)out->data, out->len, -1);

    g_byte_array_unref(out);
    if (!ok)
        upstream_free(u, "it does not take what is sent");
    return ok;
}

/* Keeps that REQUEST (NULL: ours) waits for the answer, whose serial is the result. */
static uint32_t expect(struct upstream *u, struct libvirt_request *request, int32_t procedure,
                       int32_t callback)
{
    struct passed *p = g_new(struct passed, 1);

    *p = (struct passed){request, procedure, callback};
    g_hash_table_insert(u->calls, GUINT_TO_POINTER(++u->serial), p);
    return u->serial;
}

/* --- opening ---------------------------------------------------------------------------------- */

static bool own_call(struct upstream *u, int32_t procedure, const uint8_t *bytes, size_t len)
{
    uint32_t serial = expect(u, NULL, procedure, NO_CALLBACK);

    return send_out(u, frame(procedure, LIBVIRT_CALL, LIBVIRT_OK, serial, bytes, len));
}

static bool may_write(const struct client *c)
{
    return rpc_conn_role(c->rpc) == RPC_ROLE_ADMIN && !libvirt_conn_readonly(c->conn);
}

static void open_there(struct upstream *u)
{
    bool system = forward__system(u->c->bridge->forward);
    g_autofree char *uri =
        g_strdup_printf("%s:///%s", forward__name(u->kind), system ? "system" : "session");
    struct libvirt_open a = {.name = uri, .flags = may_write(u->c) ? 0 : OPEN_READONLY};
    g_autoptr(GByteArray) args = g_byte_array_new();

    libvirt_write(&libvirt_open_layout, &a, args);
    own_call(u, LIBVIRT_CONNECT_OPEN, args->data, args->len);
}

/* The first way that is offered is the one to take. */
static void authenticate(struct upstream *u, const uint8_t *bytes, size_t len)
{
    struct libvirt_auth_types types = {0};
    int32_t first = 0;

    if (libvirt_read(&libvirt_auth_types_layout, bytes, len, &types) == 0 && types.types_count)
        first = types.types[0];
    libvirt_clear(&libvirt_auth_types_layout, &types);
    if (first == AUTH_POLKIT)
        own_call(u, LIBVIRT_AUTH_POLKIT, NULL, 0);
    else if (first == 0)
        open_there(u);
    else
        upstream_free(u, "it wants a user's name and password");
}

/* An answer to one of our own calls. */
static void opened_step(struct upstream *u, int32_t procedure, bool error, const uint8_t *bytes,
                        size_t len)
{
    struct libvirt_error why = {0};

    if (error) {
        bool read = libvirt_read(&libvirt_error_layout, bytes, len, &why) == 0;
        g_autofree char *text = g_strdup(read && why.message ? why.message : "it refuses");
        libvirt_clear(&libvirt_error_layout, &why);
        upstream_free(u, text);
    } else if (procedure == LIBVIRT_AUTH_LIST) {
        authenticate(u, bytes, len);
    } else if (procedure == LIBVIRT_AUTH_POLKIT) {
        open_there(u);
    } else {
        u->ready = true;
        for (GByteArray *out; (out = g_queue_pop_head(&u->waiting));) {
            if (!send_out(u, out))
                return;
        }
    }
}

/* --- streams ---------------------------------------------------------------------------------- */

static void through_frame(void *user, int32_t type, int32_t status, const uint8_t *bytes,
                          size_t len)
{
    struct through *t = user;
    struct upstream *u = t->u;

    if (send_out(u, frame(t->procedure, type, status, t->serial, bytes, len)) &&
        rpc_stream_queued(u->stream) >= AHEAD)
        libvirt_stream_hold(t->stream, true);
}

static void through_drained(void *user)
{
    struct through *t = user;

    rpc_stream_resume(t->u->stream);
}

/* The client's side has ended: by what came from there, or by its connection's end. */
static void through_closed(void *user)
{
    struct through *t = user;

    g_queue_unlink(&t->u->streams, &t->link);
    g_free(t);
}

static const struct libvirt_stream_ops through_ops = {
    .frame = through_frame, .drained = through_drained, .closed = through_closed};

static void begin_through(struct upstream *u, struct libvirt_request *request, uint32_t serial)
{
    struct through *t = g_new0(struct through, 1);

    t->u = u;
    t->serial = serial;
    t->procedure = libvirt_request_procedure(request);
    t->link.data = t;
    g_queue_push_tail_link(&u->streams, &t->link);
    t->stream = libvirt_stream_begin(request, &through_ops, t);
    if (t->stream)
        return;
    /* One too many for this client: there it ends at once. */
    int32_t procedure = t->procedure;
    through_closed(t);
    send_out(u, frame(procedure, LIBVIRT_STREAM, LIBVIRT_ERROR, serial, NULL, 0));
}

static void stream_from_there(struct upstream *u, const struct libvirt_head *head,
                              const uint8_t *bytes, size_t len)
{
    for (GList *l = u->streams.head; l; l = l->next) {
        struct through *t = l->data;
        if (t->serial == head->serial) {
            libvirt_stream_pass(t->stream, head->type, head->status, bytes, len);
            return;
        }
    }
}

/* --- answers and events ----------------------------------------------------------------------- */

/* REQUEST registers: the client's callback gets a number of ours. */
static void registered(struct upstream *u, struct libvirt_request *request, const uint8_t *bytes,
                       size_t len)
{
    struct libvirt_number there = {0}, here = {++u->c->last_callback};
    g_autoptr(GByteArray) out = g_byte_array_new();

    if (libvirt_read(&libvirt_number_layout, bytes, len, &there) == 0)
        g_hash_table_insert(u->callbacks, GINT_TO_POINTER(there.value),
                            GINT_TO_POINTER(here.value));
    libvirt_write(&libvirt_number_layout, &here, out);
    libvirt_reply_raw(request, false, out->data, out->len);
}

static void answer(struct upstream *u, const struct libvirt_head *head, const uint8_t *bytes,
                   size_t len)
{
    gpointer key, value;

    if (!g_hash_table_steal_extended(u->calls, GUINT_TO_POINTER(head->serial), &key, &value))
        return;
    g_autofree struct passed *p = value;
    bool error = head->status != LIBVIRT_OK;
    if (!p->request)
        opened_step(u, p->procedure, error, bytes, len);
    else if (!error && (p->procedure == LIBVIRT_STORAGE_VOL_UPLOAD ||
                        p->procedure == LIBVIRT_STORAGE_VOL_DOWNLOAD))
        begin_through(u, p->request, head->serial);
    else if (!error && among(registers, G_N_ELEMENTS(registers), p->procedure))
        registered(u, p->request, bytes, len);
    else {
        if (!error && p->callback != NO_CALLBACK)
            g_hash_table_remove(u->callbacks, GINT_TO_POINTER(p->callback));
        libvirt_reply_raw(p->request, error, bytes, len);
    }
}

/* All begin with the callback. */
static void event(struct upstream *u, int32_t procedure, const uint8_t *bytes, size_t len)
{
    struct xdr_reader r = {bytes, bytes + len, false};
    gpointer here = g_hash_table_lookup(u->callbacks, GINT_TO_POINTER((int32_t)xdr_u32(&r)));
    g_autoptr(GByteArray) out = g_byte_array_new();

    if (r.failed || !here)
        return;
    xdr_put_u32(out, (uint32_t)GPOINTER_TO_INT(here));
    g_byte_array_append(out, r.at, (guint)(r.end - r.at));
    libvirt_conn_event_raw(u->c->conn, procedure, out->data, out->len);
}

static void on_message(void *user, const char *message, size_t size)
{
    struct upstream *u = user;
    const uint8_t *bytes = (const uint8_t *)message + LIBVIRT_HEAD_BYTES;
    struct libvirt_head head;

    if (size < LIBVIRT_HEAD_BYTES || libvirt_head_read((const uint8_t *)message, &head) < 0) {
        upstream_free(u, "it breaks the protocol");
        return;
    }
    size_t len = size - LIBVIRT_HEAD_BYTES;
    if (head.program != LIBVIRT_PROGRAM)
        return; /* pings come to those alone that have asked for them */
    if (head.type == LIBVIRT_REPLY)
        answer(u, &head, bytes, len);
    else if (head.type == LIBVIRT_STREAM || head.type == LIBVIRT_STREAM_HOLE)
        stream_from_there(u, &head, bytes, len);
    else if (head.type == LIBVIRT_MESSAGE)
        event(u, head.procedure, bytes, len);
}

/* --- the connection --------------------------------------------------------------------------- */

static bool on_ready(void *user)
{
    struct upstream *u = user;

    for (GList *l = u->streams.head; l; l = l->next) {
        if (libvirt_stream_full(((struct through *)l->data)->stream))
            return false;
    }
    return true;
}

static void on_half_closed(void *user)
{
    upstream_free(user, "it has ended the connection");
}

static void on_overlong(void *user)
{
    upstream_free(user, "its answer is longer than vmd takes");
}

static void on_drained(void *user)
{
    struct upstream *u = user;

    for (GList *l = u->streams.head; l; l = l->next)
        libvirt_stream_hold(((struct through *)l->data)->stream, false);
}

static void on_ended(void *user, int errnum)
{
    upstream_free(user, errnum ? g_strerror(errnum) : "it has ended the connection");
}

static const struct rpc_stream_ops upstream_ops = {.message = on_message,
                                                   .ready = on_ready,
                                                   .half_closed = on_half_closed,
                                                   .overlong = on_overlong,
                                                   .drained = on_drained,
                                                   .ended = on_ended};

static void fail(struct libvirt_request *request, int kind, const char *why)
{
    libvirt_fail(request, LIBVIRT_ERR_OPERATION_FAILED, LIBVIRT_FROM_RPC,
                 "the libvirt daemon for %s: %s", forward__name(kind), why);
}

/* Ends U: what waits for it fails with WHY. */
static void upstream_free(struct upstream *u, const char *why)
{
    GHashTableIter iter;
    gpointer value;

    u->c->forwarded->to[u->kind] = NULL;
    g_hash_table_iter_init(&iter, u->calls);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const struct passed *p = value;
        if (p->request)
            fail(p->request, u->kind, why);
    }
    for (struct through *t; (t = g_queue_peek_head(&u->streams));)
        libvirt_stream_fail(t->stream, LIBVIRT_ERR_OPERATION_FAILED, LIBVIRT_FROM_RPC,
                            "the libvirt daemon for %s: %s", forward__name(u->kind), why);
    rpc_stream_free(u->stream);
    g_queue_clear_full(&u->waiting, (GDestroyNotify)g_byte_array_unref);
    g_hash_table_unref(u->calls);
    g_hash_table_unref(u->callbacks);
    g_free(u);
}

static struct upstream *upstream_new(struct client *c, int kind, GError **err)
{
    int fd = forward__connect(c->bridge->forward, kind);
    struct upstream *u = g_new0(struct upstream, 1);

    if (fd < 0)
        vmd_set_errno(err, -fd, "it does not answer");
    else
        u->stream = rpc_stream_new(c->bridge->daemon->loop, fd, RPC_COUNTED, ANSWER_MOST,
                                   UNSENT_MOST, false, &upstream_ops, u, err);
    if (!u->stream) {
        g_free(u);
        return NULL;
    }
    u->c = c;
    u->kind = kind;
    u->calls = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    u->callbacks = g_hash_table_new(NULL, NULL);
    g_queue_init(&u->waiting);
    g_queue_init(&u->streams);
    c->forwarded->to[kind] = u;
    return u;
}

/* --- a client's ------------------------------------------------------------------------------- */

/* The number there of the client's callback HERE, or NO_CALLBACK. */
static int32_t callback_there(struct upstream *u, int32_t here)
{
    GHashTableIter iter;
    gpointer there, value;

    g_hash_table_iter_init(&iter, u->callbacks);
    while (g_hash_table_iter_next(&iter, &there, &value)) {
        if (GPOINTER_TO_INT(value) == here)
            return GPOINTER_TO_INT(there);
    }
    return NO_CALLBACK;
}

/* Passes REQUEST on to U. */
static void pass(struct upstream *u, struct libvirt_request *request, const uint8_t *bytes,
                 size_t len)
{
    int32_t procedure = libvirt_request_procedure(request), callback = NO_CALLBACK;
    g_autoptr(GByteArray) args = NULL;
    struct libvirt_number a = {0};

    if (among(deregisters, G_N_ELEMENTS(deregisters), procedure)) {
        if (libvirt_read(&libvirt_number_layout, bytes, len, &a) == 0)
            callback = callback_there(u, a.value);
        if (callback == NO_CALLBACK) {
            libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_RPC,
                         "this connection has no callback %d", a.value);
            return;
        }
        args = g_byte_array_new();
        xdr_put_u32(args, (uint32_t)callback);
        bytes = args->data;
        len = args->len;
    }
    uint32_t serial = expect(u, request, procedure, callback);
    GByteArray *out = frame(procedure, LIBVIRT_CALL, LIBVIRT_OK, serial, bytes, len);
    if (u->ready)
        send_out(u, out);
    else
        g_queue_push_tail(&u->waiting, out);
}

bool forward_pass(struct client *c, struct libvirt_request *request, const uint8_t *bytes,
                  size_t len)
{
    int kind = forward__kind(c->bridge->forward, libvirt_request_procedure(request));
    g_autoptr(GError) err = NULL;

    if (kind < 0)
        return false;
    if (!c->forwarded)
        c->forwarded = g_new0(struct forwarded, 1);
    struct upstream *u = c->forwarded->to[kind];
    if (!u && (u = upstream_new(c, kind, &err)) && !own_call(u, LIBVIRT_AUTH_LIST, NULL, 0))
        u = NULL;
    if (u)
        pass(u, request, bytes, len);
    else
        fail(request, kind, err ? err->message : "it does not take what is sent");
    return true;
}

void forward_end(struct client *c)
{
    for (int k = 0; c->forwarded && k < FORWARD_KINDS; k++) {
        if (c->forwarded->to[k])
            upstream_free(c->forwarded->to[k], "the client has left");
    }
    g_clear_pointer(&c->forwarded, g_free);
}
