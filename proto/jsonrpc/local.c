/* Clients within the program. See local.h. They have a connection without a stream. */
#include "proto/jsonrpc/local.h"

#include "proto/jsonrpc/rpc_priv.h"

struct rpc_conn *rpc_server_join(struct rpc_server *s, const struct rpc_peer *peer,
                                 const struct rpc_local_ops *ops, void *user, GError **err)
{
    struct rpc_peer own;
    enum rpc_role role = RPC_ROLE_READ;

    if (!rpc_server__admit(s, peer, &role, err))
        return NULL;
    rpc_peer_copy(peer, &own);
    struct rpc_conn *conn = rpc_conn__alloc(s, role, &own);
    conn->local = ops;
    conn->local_user = user;
    return conn;
}

void rpc_conn_leave(struct rpc_conn *conn)
{
    conn->local = NULL;
    rpc_conn__ended(conn);
}

void rpc_local_call(struct rpc_conn *conn, size_t method, const void *params,
                    rpc_client_reply reply, void *arg)
{
    const struct rpc_method *m = &conn->server->service->methods[method];
    g_autoptr(json_object) json =
        params ? codec_encode(m->params, params, 0) : json_object_new_object();
    struct rpc_call *call = rpc_call__new(conn, NULL, method);

    call->reply = reply;
    call->reply_arg = arg;
    rpc_call__carry_out(call, json);
}

void rpc_local__notify(struct rpc_conn *conn, const char *method, struct json_object *params)
{
    g_autoptr(json_object) own = params;

    conn->local->notify(conn->local_user, method, own);
}

void rpc_local__answer(struct rpc_call *call, struct json_object *result, struct json_object *error,
                       int fd)
{
    const struct codec_type *type = call->method->result;
    g_autoptr(GError) err = error ? rpc_error_decode(error, NULL) : NULL;
    void *out = !err && type ? codec_decode(type, result, "result", &err) : NULL;
    autofd own = fd;

    call->reply(call->reply_arg, out, err ? -1 : steal_fd(&own), err);
    if (out)
        codec_free(type, out);
}
