/*
 * proto/jsonrpc/client.h: an asynchronous JSON-RPC 2.0 client on a loop, driven by a service table.
 * vmd uses it towards its VM processes. All of it runs on the loop's thread.
 */
#ifndef PROTO_JSONRPC_CLIENT_H
#define PROTO_JSONRPC_CLIENT_H

#include "proto/schema/codec.h"

#include <uv.h>

struct rpc_client;

struct rpc_client_ops {
    /* A notification came. PARAMS is borrowed; it is NULL where there are none. */
    void (*notify)(void *user, const char *method, struct json_object *params);
    /* The connection is gone. Calls under way have been answered with VMD_ERROR_GONE before. */
    void (*closed)(void *user, const GError *why);
};

/*
 * The answer to a call: RESULT is the decoded struct of the method's result type (NULL for an empty
 * result and for errors), borrowed; FD is the descriptor that came with it, or -1, and is taken;
 * ERR is NULL on success, else borrowed.
 */
typedef void (*rpc_client_reply)(void *arg, const void *result, int fd, const GError *err);

/* Takes FD, a connected unix socket, also on error. OPS is kept by reference. */
struct rpc_client *rpc_client_new(uv_loop_t *loop, int fd, const struct rpc_service *service,
                                  const struct rpc_client_ops *ops, void *user, GError **err);

/*
 * Calls METHOD (a number of the service's enum) with PARAMS, its struct (NULL: no members), and FD
 * (-1: none; taken). REPLY is called exactly once, from the loop; NULL sends a notification.
 * TIMEOUT_MS 0 waits without end, else the answer is VMD_ERROR_TIMEOUT when it is over.
 */
void rpc_client_call(struct rpc_client *c, size_t method, const void *params, int fd,
                     unsigned timeout_ms, rpc_client_reply reply, void *arg);

/* Members newer than this release are left out of params (0: none are). */
void rpc_client_set_version(struct rpc_client *c, unsigned version);

/* Fails calls under way with VMD_ERROR_GONE and frees the client. Takes NULL. */
void rpc_client_free(struct rpc_client *c);

#endif
