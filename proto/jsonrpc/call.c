/*
 * One call: from the checked request object to the answer.
 *
 * Order of checks: shape of the request, method, role, params, descriptor, owner, key. Only then
 * does the handler see it.
 */
#include "proto/jsonrpc/local.h"
#include "proto/jsonrpc/rpc_priv.h"

/* --- replies ------------------------------------------------------------------------------- */

static struct json_object *make_reply(struct json_object *id, const char *member,
                                      struct json_object *value)
{
    struct json_object *m = json_object_new_object();

    json_object_object_add(m, "jsonrpc", json_object_new_string("2.0"));
    json_object_object_add(m, "id", json_object_get(id));
    json_object_object_add(m, member, value);
    return m;
}

void rpc_batch__unref(struct rpc_conn *conn, struct rpc_batch *batch)
{
    if (--batch->open > 0)
        return;
    if (json_object_array_length(batch->replies) > 0)
        rpc_conn__send(conn, batch->replies, -1);
    json_object_put(batch->replies);
    g_free(batch);
}

/* Takes REPLY and FD. */
static void send_reply(struct rpc_conn *conn, struct rpc_batch *batch, struct json_object *reply,
                       int fd)
{
    if (batch) {
        json_object_array_add(batch->replies, reply);
        return;
    }
    rpc_conn__send(conn, reply, fd);
    json_object_put(reply);
}

void rpc_call__refuse(struct rpc_conn *conn, struct rpc_batch *batch, struct json_object *id,
                      struct json_object *error)
{
    send_reply(conn, batch, make_reply(id, "error", error), -1);
}

static void call_free(struct rpc_call *call)
{
    json_object_put(call->id);
    codec_free(call->method->params, call->params);
    if (call->fd >= 0)
        close(call->fd);
    g_free(call->key);
    g_free(call->key_id);
    rpc_conn__unref(call->conn);
    rpc_server__unref(call->server);
    g_free(call);
}

static bool brings_fd(const struct rpc_call *call)
{
    return call->method->flags & RPC_FD_OUT;
}

/* Puts the answer on the wire, once. Takes VALUE and FD. */
static void answer(struct rpc_call *call, const char *member, struct json_object *value, int fd)
{
    autofd own = fd;

    if (call->answered) {
        json_object_put(value);
        return;
    }
    call->answered = true;
    g_queue_unlink(&call->conn->calls, &call->link);
    call->conn->fds_due -= brings_fd(call);
    if (call->reply) {
        bool ok = strcmp(member, "result") == 0;
        rpc_local__answer(call, ok ? value : NULL, ok ? NULL : value, steal_fd(&own));
        json_object_put(value);
    } else if (call->notification) {
        json_object_put(value);
    } else {
        send_reply(call->conn, call->batch, make_reply(call->id, member, value), steal_fd(&own));
    }
    if (call->batch)
        rpc_batch__unref(call->conn, g_steal_pointer(&call->batch));
    rpc_conn__call_done(call->conn);
}

void rpc_call__finish(struct rpc_call *call, struct json_object *result, struct json_object *error,
                      int fd)
{
    if (call->key_id)
        rpc_keys__done(call->server->keys, call, fd < 0 && !error ? result : NULL, error);
    answer(call, error ? "error" : "result", error ? error : result, fd);
    call_free(call);
}

void rpc_call__abandon(struct rpc_call *call)
{
    g_autoptr(GError) gone = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, "the daemon ends");
    void (*cancel)(struct rpc_call *, void *) = g_steal_pointer(&call->cancel);

    answer(call, "error", rpc_error_encode(gone), -1);
    if (call->key && !call->key_id) {
        /* It waits for another call with its key; no handler knows it. */
        rpc_keys__forget(call->server->keys, call);
        call_free(call);
    } else if (cancel) {
        cancel(call, call->cancel_arg);
    }
}

void rpc_call_reply(struct rpc_call *call, struct json_object *result)
{
    rpc_call__finish(call, result, NULL, -1);
}

void rpc_call_reply_typed(struct rpc_call *call, const struct codec_type *type, const void *obj,
                          int fd)
{
    rpc_call__finish(call,
                     type ? codec_encode(type, obj, call->conn->version) : json_object_new_object(),
                     NULL, fd);
}

void rpc_call_fail(struct rpc_call *call, GError *err)
{
    rpc_call__finish(call, NULL, rpc_error_encode(err), -1);
    g_error_free(err);
}

void rpc_call_error(struct rpc_call *call, enum vmd_error kind, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    GError *err = g_error_new_valist(VMD_ERROR, (int)kind, fmt, ap);
    va_end(ap);
    rpc_call_fail(call, err);
}

/* --- the request object -------------------------------------------------------------------- */

static const char *fault_of_member(const char *name, struct json_object *v)
{
    enum json_type type = json_object_get_type(v);

    if (strcmp(name, "jsonrpc") == 0)
        return type == json_type_string && strcmp(json_object_get_string(v), "2.0") == 0
                   ? NULL
                   : "the member jsonrpc must be \"2.0\"";
    if (strcmp(name, "method") == 0)
        return type == json_type_string ? NULL : "the member method must be a string";
    if (strcmp(name, "params") == 0)
        return type == json_type_object ? NULL : "the member params must be an object";
    if (strcmp(name, "id") == 0) {
        if (type == json_type_string && json_object_get_string_len(v) > RPC_ID_LENGTH)
            return "the member id is too long";
        return type == json_type_string || type == json_type_int || type == json_type_double || !v
                   ? NULL
                   : "the member id must be a string, a number or null";
    }
    return "a request has the members jsonrpc, id, method and params only";
}

/* What is wrong with the request, or NULL. */
static const char *fault_of_request(struct json_object *request)
{
    if (!json_object_is_type(request, json_type_object))
        return "a request is an object";
    json_object_object_foreach(request, name, value)
    {
        const char *fault = fault_of_member(name, value);
        if (fault)
            return fault;
    }
    if (!json_object_object_get_ex(request, "jsonrpc", NULL))
        return "the member jsonrpc is missing";
    if (!json_object_object_get_ex(request, "method", NULL))
        return "the member method is missing";
    return NULL;
}

/* The id to answer a faulty request with: its own where it has a proper one, else null. */
static struct json_object *id_of_faulty(struct json_object *request)
{
    struct json_object *id = NULL;

    if (!json_object_is_type(request, json_type_object))
        return NULL;
    json_object_object_get_ex(request, "id", &id);
    return fault_of_member("id", id) ? NULL : id;
}

/* --- the way to the handler ---------------------------------------------------------------- */

static bool check_role(struct rpc_call *call, GError **err)
{
    enum rpc_role need = call->method->role, have = call->conn->role;

    if (need == RPC_ROLE_OWNER)
        need = RPC_ROLE_OPERATE;
    if (have >= need)
        return true;
    return vmd_fail(err, VMD_ERROR_DENIED, "%s needs the role %s; the caller's is %s",
                    call->method->name, rpc_role_name(need), rpc_role_name(have));
}

static bool check_owner(struct rpc_call *call, struct json_object *params, GError **err)
{
    const struct rpc_server_ops *ops = call->server->ops;
    struct json_object *vm = NULL;

    if (call->method->role != RPC_ROLE_OWNER || call->conn->role == RPC_ROLE_ADMIN)
        return true;
    json_object_object_get_ex(params, "vm", &vm);
    if (!ops->owns)
        return vmd_fail(err, VMD_ERROR_DENIED, "only an administrator may call %s",
                        call->method->name);
    return ops->owns(call->server->user, call->conn, json_object_get_string(vm), err);
}

static bool check_fd(struct rpc_call *call, GError **err)
{
    unsigned flags = call->method->flags;

    if ((flags & (RPC_FD_IN | RPC_FD_OUT)) && call->batch)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s can't be part of a batch",
                        call->method->name);
    if (flags & RPC_FD_IN) {
        call->fd = call->conn->stream ? rpc_stream_take_fd(call->conn->stream) : -1;
        if (call->fd < 0)
            return vmd_fail(err, VMD_ERROR_INVALID, "%s needs a file descriptor",
                            call->method->name);
    }
    return true;
}

static bool check_call(struct rpc_call *call, struct json_object *params, GError **err)
{
    struct json_object *key = NULL;

    if (!check_role(call, err) || !check_fd(call, err))
        return false;
    call->params = codec_decode(call->method->params, params, "params", err);
    if (!call->params || !check_owner(call, params, err))
        return false;
    if ((call->method->flags & RPC_CHANGES) && json_object_object_get_ex(params, "key", &key))
        call->key = g_strdup(json_object_get_string(key));
    return true;
}

/* Whether the call still is to be carried out. */
static bool enter_key(struct rpc_call *call)
{
    GError *err = NULL;

    if (!call->key)
        return true;
    switch (rpc_keys__enter(call->server->keys, call, &err)) {
    case RPC_KEYS_RUN:
        return true;
    case RPC_KEYS_FAIL:
        rpc_call_fail(call, err);
        return false;
    case RPC_KEYS_WAIT:
    case RPC_KEYS_DONE:
        return false;
    }
    return false;
}

static void dispatch(struct rpc_call *call)
{
    const struct rpc_service *service = call->server->service;
    struct json_object *doc = NULL;

    if (service->dispatch(call->server->handlers, call->number, call, call->params))
        return;
    if (strcmp(call->method->name, "rpc.discover") == 0 &&
        json_read(service->discover, strlen(service->discover), &doc, NULL))
        rpc_call_reply(call, doc);
    else
        rpc_call_error(call, VMD_ERROR_UNSUPPORTED, "%s is not offered here", call->method->name);
}

struct rpc_call *rpc_call__new(struct rpc_conn *conn, struct rpc_batch *batch, size_t number)
{
    struct rpc_call *call = g_new0(struct rpc_call, 1);

    call->server = conn->server;
    call->conn = conn;
    call->batch = batch;
    call->number = number;
    call->method = &conn->server->service->methods[number];
    call->fd = -1;
    call->link.data = call;
    if (batch)
        batch->open++;
    conn->refs++;
    rpc_server__ref(conn->server);
    g_queue_push_tail_link(&conn->calls, &call->link);
    conn->fds_due += brings_fd(call);
    return call;
}

void rpc_call__carry_out(struct rpc_call *call, struct json_object *params)
{
    GError *err = NULL;

    if (!check_call(call, params, &err))
        rpc_call_fail(call, err);
    else if (enter_key(call))
        dispatch(call);
}

void rpc_call__begin(struct rpc_conn *conn, struct rpc_batch *batch, struct json_object *request)
{
    const char *fault = fault_of_request(request);
    struct json_object *v = NULL;

    if (fault) {
        rpc_call__refuse(conn, batch, id_of_faulty(request),
                         rpc__error_object(RPC_INVALID_REQUEST, VMD_ERROR_INVALID, fault));
        return;
    }
    json_object_object_get_ex(request, "method", &v);
    int number = rpc_service_find(conn->server->service, json_object_get_string(v));
    if (number < 0) {
        if (json_object_object_get_ex(request, "id", &v))
            rpc_call__refuse(conn, batch, v,
                             rpc__error_object(RPC_METHOD_NOT_FOUND, VMD_ERROR_NOT_FOUND,
                                               "no such method; rpc.discover lists them"));
        return;
    }
    struct rpc_call *call = rpc_call__new(conn, batch, (size_t)number);
    g_autoptr(json_object) none = json_object_new_object();
    call->notification = !json_object_object_get_ex(request, "id", &v);
    call->id = call->notification ? NULL : json_object_get(v);
    if (!json_object_object_get_ex(request, "params", &v))
        v = none;
    rpc_call__carry_out(call, v);
}

/* --- what handlers ask --------------------------------------------------------------------- */

struct rpc_conn *rpc_call_conn(const struct rpc_call *call)
{
    return call->conn->stream || call->conn->local ? call->conn : NULL;
}

const struct rpc_peer *rpc_call_peer(const struct rpc_call *call)
{
    return &call->conn->peer;
}

enum rpc_role rpc_call_role(const struct rpc_call *call)
{
    return call->conn->role;
}

void *rpc_call_user(const struct rpc_call *call)
{
    return call->server->user;
}

const struct rpc_method *rpc_call_method(const struct rpc_call *call)
{
    return call->method;
}

const char *rpc_call_key(const struct rpc_call *call)
{
    return call->key;
}

int rpc_call_take_fd(struct rpc_call *call)
{
    return steal_fd(&call->fd);
}

void rpc_call_on_cancel(struct rpc_call *call, void (*fn)(struct rpc_call *call, void *arg),
                        void *arg)
{
    call->cancel = fn;
    call->cancel_arg = arg;
}
