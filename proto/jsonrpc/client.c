/*
 * An asynchronous JSON-RPC client on a loop.
 *
 * Calls under way are found by id in a table. One timer serves the earliest deadline; calls made
 * after the end of the connection are given a deadline of now, so that their answer too comes from
 * the loop. The client's memory goes when its timer is closed, so a callback may free it.
 */
#include "proto/jsonrpc/client.h"
#include "proto/jsonrpc/json.h"
#include "proto/jsonrpc/rpc.h"
#include "proto/rpc/stream.h"

struct pending {
    uint64_t id;
    const struct rpc_method *method;
    rpc_client_reply reply;
    void *arg;
    uint64_t deadline; /* of uv_now(); 0: none */
    bool gone;         /* the connection had ended before */
    bool late;         /* its time was over; its answer is dropped when it comes */
};

struct rpc_client {
    uv_loop_t *loop;
    const struct rpc_service *service;
    const struct rpc_client_ops *ops;
    void *user;
    struct rpc_stream *stream; /* NULL once it has ended */
    GHashTable *pending;       /* id -> struct pending */
    uint64_t last_id;
    unsigned version;
    uv_timer_t timer;
    bool dead;
};

static void on_timer(uv_timer_t *timer);

static void arm(struct rpc_client *c)
{
    uint64_t first = 0, now = uv_now(c->loop);
    GHashTableIter it;
    void *v;

    g_hash_table_iter_init(&it, c->pending);
    while (g_hash_table_iter_next(&it, NULL, &v)) {
        const struct pending *p = v;
        if (p->deadline && (!first || p->deadline < first))
            first = p->deadline;
    }
    if (first)
        uv_timer_start(&c->timer, on_timer, first > now ? first - now : 0, 0);
    else
        uv_timer_stop(&c->timer);
}

/* Takes P out of the table and answers it. Takes FD. */
static void finish(struct rpc_client *c, struct pending *p, const void *result, int fd,
                   const GError *err)
{
    g_hash_table_steal(c->pending, &p->id);
    if (p->reply)
        p->reply(p->arg, result, fd, err);
    else if (fd >= 0)
        close(fd);
    g_free(p);
}

/* The answer may still come, and a descriptor with it: the call stays in the table. */
static void time_out(struct rpc_client *c, struct pending *p)
{
    g_autoptr(GError) err =
        g_error_new(VMD_ERROR, VMD_ERROR_TIMEOUT, "%s was not answered in time", p->method->name);
    rpc_client_reply reply = g_steal_pointer(&p->reply);

    p->late = true;
    p->deadline = 0;
    reply(p->arg, NULL, -1, err);
}

static void on_timer(uv_timer_t *timer)
{
    struct rpc_client *c = timer->data;
    uint64_t now = uv_now(c->loop);
    GHashTableIter it;
    void *v;

    for (;;) {
        struct pending *late = NULL;
        g_hash_table_iter_init(&it, c->pending);
        while (!late && g_hash_table_iter_next(&it, NULL, &v)) {
            struct pending *p = v;
            late = p->deadline && p->deadline <= now ? p : NULL;
        }
        if (!late)
            break;
        g_autoptr(GError) gone = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, "not connected");
        if (late->gone)
            finish(c, late, NULL, -1, gone);
        else
            time_out(c, late);
        if (c->dead)
            return;
    }
    arm(c);
}

/* Fails the calls under way, but not those that their callbacks begin meanwhile. */
static void fail_all(struct rpc_client *c, const GError *err)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter it;
    void *v;

    g_hash_table_iter_init(&it, c->pending);
    while (g_hash_table_iter_next(&it, &v, NULL))
        g_ptr_array_add(ids, g_memdup2(v, sizeof(uint64_t)));
    for (guint i = 0; i < ids->len; i++) {
        struct pending *p = g_hash_table_lookup(c->pending, ids->pdata[i]);
        if (p)
            finish(c, p, NULL, -1, err);
    }
}

static void lost(struct rpc_client *c, const GError *why)
{
    rpc_stream_free(g_steal_pointer(&c->stream));
    uv_timer_stop(&c->timer);
    fail_all(c, why);
    if (!c->dead)
        c->ops->closed(c->user, why);
}

static void broken(struct rpc_client *c, const char *what)
{
    g_autoptr(GError) err = g_error_new(VMD_ERROR, VMD_ERROR_INVALID,
                                        "the other side does not keep the protocol: %s", what);

    lost(c, err);
}

/* --- input --------------------------------------------------------------------------------- */

static void take_result(struct rpc_client *c, struct pending *p, struct json_object *json)
{
    autofd fd = p->method->flags & RPC_FD_OUT ? rpc_stream_take_fd(c->stream) : -1;
    g_autoptr(GError) err = NULL;
    void *result = NULL;

    if ((p->method->flags & RPC_FD_OUT) && fd < 0)
        vmd_fail(&err, VMD_ERROR_INTERNAL, "%s: the descriptor is missing", p->method->name);
    else if (p->method->result)
        result = codec_decode(p->method->result, json, "result", &err);
    const struct codec_type *type = p->method->result;
    finish(c, p, result, err ? -1 : steal_fd(&fd), err);
    if (result)
        codec_free(type, result);
}

static void take_reply(struct rpc_client *c, struct json_object *id, struct json_object *reply)
{
    uint64_t number = json_object_get_uint64(id);
    struct pending *p = g_hash_table_lookup(c->pending, &number);
    struct json_object *v = NULL;

    if (!p) {
        broken(c, "a reply to no call");
        return;
    }
    if (json_object_object_get_ex(reply, "error", &v)) {
        g_autoptr(GError) err = rpc_error_decode(v, NULL);
        finish(c, p, NULL, -1, err);
    } else if (json_object_object_get_ex(reply, "result", &v)) {
        take_result(c, p, v);
    } else {
        broken(c, "a reply without a result");
    }
}

static void on_line(void *user, const char *text, size_t len)
{
    struct rpc_client *c = user;
    g_autoptr(json_object) m = NULL;
    struct json_object *v = NULL, *params = NULL;

    if (!json_read(text, len, &m, NULL) || !json_object_is_type(m, json_type_object)) {
        broken(c, "a message that is not a JSON object");
        return;
    }
    if (json_object_object_get_ex(m, "method", &v) && json_object_is_type(v, json_type_string)) {
        json_object_object_get_ex(m, "params", &params);
        c->ops->notify(c->user, json_object_get_string(v), params);
    } else if (json_object_object_get_ex(m, "id", &v) && json_object_is_type(v, json_type_int)) {
        take_reply(c, v, m);
    } else {
        broken(c, "neither a reply nor a notification");
    }
}

static bool on_ready(void *user)
{
    return true;
}

static void on_half_closed(void *user)
{
    struct rpc_client *c = user;

    rpc_stream_finish(c->stream, 0);
}

static void on_overlong(void *user)
{
    broken(user, "a message that is too long");
}

static void on_ended(void *user, int errnum)
{
    g_autoptr(GError) err = NULL;

    if (errnum)
        vmd_set_errno(&err, errnum, "the connection has ended");
    else
        vmd_fail(&err, VMD_ERROR_GONE, "the other side has closed the connection");
    err->code = VMD_ERROR_GONE;
    lost(user, err);
}

/* --- calls --------------------------------------------------------------------------------- */

static struct json_object *make_request(struct rpc_client *c, const struct rpc_method *m,
                                        const void *params, uint64_t id)
{
    struct json_object *r = json_object_new_object();

    json_object_object_add(r, "jsonrpc", json_object_new_string("2.0"));
    if (id)
        json_object_object_add(r, "id", json_object_new_uint64(id));
    json_object_object_add(r, "method", json_object_new_string(m->name));
    if (params)
        json_object_object_add(r, "params", codec_encode(m->params, params, c->version));
    return r;
}

static void add_pending(struct rpc_client *c, const struct rpc_method *m, unsigned timeout_ms,
                        bool gone, rpc_client_reply reply, void *arg)
{
    struct pending *p = g_new0(struct pending, 1);

    p->id = c->last_id;
    p->method = m;
    p->reply = reply;
    p->arg = arg;
    p->gone = gone;
    if (gone || timeout_ms)
        p->deadline = MAX(uv_now(c->loop) + (gone ? 0 : timeout_ms), 1);
    g_hash_table_insert(c->pending, &p->id, p);
    if (p->deadline)
        arm(c);
}

void rpc_client_call(struct rpc_client *c, size_t method, const void *params, int fd,
                     unsigned timeout_ms, rpc_client_reply reply, void *arg)
{
    const struct rpc_method *m = &c->service->methods[method];
    autofd own = fd;
    bool gone = !c->stream || rpc_stream_closing(c->stream);

    if (!gone) {
        g_autoptr(json_object) request = make_request(c, m, params, reply ? ++c->last_id : 0);
        size_t len;
        g_autofree char *text = json_write(request, &len);
        gone = !rpc_stream_send(c->stream, text, len, steal_fd(&own));
    } else {
        c->last_id++;
    }
    if (reply)
        add_pending(c, m, timeout_ms, gone, reply, arg);
}

void rpc_client_set_version(struct rpc_client *c, unsigned version)
{
    c->version = version;
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct rpc_client *c = handle->data;

    g_hash_table_unref(c->pending);
    g_free(c);
}

void rpc_client_free(struct rpc_client *c)
{
    if (!c || c->dead)
        return;
    g_autoptr(GError) err = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, "disconnected");
    c->dead = true;
    rpc_stream_free(g_steal_pointer(&c->stream));
    fail_all(c, err);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

struct rpc_client *rpc_client_new(uv_loop_t *loop, int fd, const struct rpc_service *service,
                                  const struct rpc_client_ops *ops, void *user, GError **err)
{
    static const struct rpc_stream_ops stream_ops = {.message = on_line,
                                                     .ready = on_ready,
                                                     .half_closed = on_half_closed,
                                                     .overlong = on_overlong,
                                                     .ended = on_ended};
    struct rpc_client *c = g_new0(struct rpc_client, 1);

    c->stream = rpc_stream_new(loop, fd, RPC_LINES, LIMIT_RPC_OUTQ, LIMIT_RPC_OUTQ, true,
                               &stream_ops, c, err);
    if (!c->stream) {
        g_free(c);
        return NULL;
    }
    c->loop = loop;
    c->service = service;
    c->ops = ops;
    c->user = user;
    c->pending = g_hash_table_new(g_int64_hash, g_int64_equal);
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    return c;
}
