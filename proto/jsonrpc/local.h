/*
 * proto/jsonrpc/local.h: a client of a JSON-RPC server within the same program, on behalf of
 * somebody who came by another protocol. What it asks meets the same checks as what comes over a
 * socket: who is let in, roles, owners, params. Loop thread.
 */
#ifndef PROTO_JSONRPC_LOCAL_H
#define PROTO_JSONRPC_LOCAL_H

#include "proto/jsonrpc/client.h"
#include "proto/jsonrpc/rpc.h"

struct rpc_local_ops {
    /* A notification. PARAMS is borrowed. */
    void (*notify)(void *user, const char *method, struct json_object *params);
    /* The server ends, or wants this client gone: rpc_conn_leave() is to follow soon. */
    void (*leave)(void *user);
};

/* Lets the PEER (copied) in as admit() of the server's ops decides. NULL with ERR where it may not.
 * OPS is kept by reference. It counts as a connection until rpc_conn_leave(). */
struct rpc_conn *rpc_server_join(struct rpc_server *s, const struct rpc_peer *peer,
                                 const struct rpc_local_ops *ops, void *user, GError **err);

/* Ends CONN: its calls are answered with VMD_ERROR_GONE, then the server's closed() is called. */
void rpc_conn_leave(struct rpc_conn *conn);

/* Calls METHOD (a number of the service's enum) with PARAMS, its struct (NULL: no members). REPLY
 * is called exactly once, perhaps before this returns. */
void rpc_local_call(struct rpc_conn *conn, size_t method, const void *params,
                    rpc_client_reply reply, void *arg);

/* Those of rpc_conn_notify() and of an end that is wanted. */
void rpc_local__notify(struct rpc_conn *conn, const char *method, struct json_object *params);
/* The answer to a call of rpc_local_call(): RESULT or ERROR (borrowed), FD (taken). */
void rpc_local__answer(struct rpc_call *call, struct json_object *result, struct json_object *error,
                       int fd);

#endif
