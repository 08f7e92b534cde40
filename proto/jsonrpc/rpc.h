/*
 * proto/jsonrpc/rpc.h: a JSON-RPC 2.0 server on unix sockets, driven by a service table.
 *
 * One JSON value a line; requests, notifications, batches and pipelining as in the specification
 * (https://www.jsonrpc.org/specification). For each request the server checks the JSON, finds the
 * method, decodes the params with the generated decoder, checks the caller's role, applies the
 * idempotency key, and calls the typed handler, which answers at once or later.
 *
 * A bad line gets an error reply. A line over LIMIT_RPC_LINE, or a client that does not read what
 * it asked for (over LIMIT_RPC_OUTQ), gets the notification rpc.closing and is disconnected.
 *
 * All of it runs on the loop's thread. Calls and connections are owned by the server.
 */
#ifndef PROTO_JSONRPC_RPC_H
#define PROTO_JSONRPC_RPC_H

#include "proto/rpc/peer.h"
#include "proto/schema/codec.h"

#include <uv.h>

struct rpc_server;
struct rpc_conn;
struct rpc_call;

/* What the program decides. Each may be NULL. USER is that of rpc_server_new(). */
struct rpc_server_ops {
    /* A client connected: sets its role (READ, OPERATE or ADMIN), or refuses it with ERR.
     * Without this, the server's own user and root are admin and all others are refused. */
    bool (*admit)(void *user, const struct rpc_peer *peer, enum rpc_role *role, GError **err);
    /* Whether the caller owns the VM that the params name; an unknown VM is VMD_ERROR_NOT_FOUND.
     * Asked for methods of role owner, unless the caller is admin. */
    bool (*owns)(void *user, struct rpc_conn *conn, const char *vm, GError **err);
    /* A connection is gone; drop what was kept for it. The last use of CONN. */
    void (*closed)(void *user, struct rpc_conn *conn);
};

/* SERVICE, HANDLERS (the service's struct of handlers) and OPS are kept by reference. */
struct rpc_server *rpc_server_new(uv_loop_t *loop, const struct rpc_service *service,
                                  const void *handlers, const struct rpc_server_ops *ops,
                                  void *user);

/*
 * Listens at PATH with file mode MODE. A socket file that nobody answers at is replaced; where a
 * server answers, VMD_ERROR_BUSY. The file is removed at rpc_server_close().
 */
bool rpc_server_listen(struct rpc_server *s, const char *path, mode_t mode, GError **err);

/* Listens on a socket that is bound and listening (socket activation). Takes FD, also on error. */
bool rpc_server_listen_fd(struct rpc_server *s, int fd, GError **err);

/* Serves one connected unix socket. Takes FD, also on error. NULL on error. */
struct rpc_conn *rpc_server_adopt(struct rpc_server *s, int fd, GError **err);

unsigned rpc_server_clients(const struct rpc_server *s);
void *rpc_server_user(const struct rpc_server *s);

/* Calls FN for each open connection. FN may close it. */
void rpc_server_each(struct rpc_server *s, void (*fn)(struct rpc_conn *conn, void *arg), void *arg);

/*
 * Stops listening, fails what is not yet answered with VMD_ERROR_GONE, sends what is queued for at
 * most two seconds, closes everything, frees the server, then calls DONE (which may be NULL).
 */
void rpc_server_close(struct rpc_server *s, void (*done)(void *arg), void *arg);

/* --- connections --------------------------------------------------------------------------- */

const struct rpc_peer *rpc_conn_peer(const struct rpc_conn *conn);
enum rpc_role rpc_conn_role(const struct rpc_conn *conn);
/* Gives it another: who it is was shown by other means than admit() has. For calls from here on. */
void rpc_conn_set_role(struct rpc_conn *conn, enum rpc_role role);
struct rpc_server *rpc_conn_server(const struct rpc_conn *conn);

/* What the program keeps for a connection; it frees it in ops.closed. */
void rpc_conn_set_data(struct rpc_conn *conn, void *data);
void *rpc_conn_data(const struct rpc_conn *conn);

/* Sends a notification. Takes PARAMS. May end the connection (a slow client), and then calls
 * ops.closed from the loop, never from inside. */
void rpc_conn_notify(struct rpc_conn *conn, const char *method, struct json_object *params);

/* The peer speaks this release: members newer than it are left out of replies (0: none are). */
void rpc_conn_set_version(struct rpc_conn *conn, unsigned version);

/* Sends rpc.closing with the reason and disconnects when it is sent. */
void rpc_conn_close(struct rpc_conn *conn, enum vmd_error kind, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/* --- calls ------------------------------------------------------------------------------------
 *
 * A call lives until it is answered, also when its connection closes before (the answer is then
 * dropped, and remembered where the call had an idempotency key). Each is answered exactly once.
 * The answer frees the params: a handler copies or reads what it needs of them before.
 */

/* Answers with RESULT, which is taken. NULL: JSON null. */
void rpc_call_reply(struct rpc_call *call, struct json_object *result);

/* Answers with the struct OBJ of TYPE (NULL: an empty object) and, unless it is -1, the file
 * descriptor FD, which is taken. The generated METHOD_reply() functions call this. */
void rpc_call_reply_typed(struct rpc_call *call, const struct codec_type *type, const void *obj,
                          int fd);

/* Answers with an error. Takes ERR; kinds outside VMD_ERROR become internal. */
void rpc_call_fail(struct rpc_call *call, GError *err);
void rpc_call_error(struct rpc_call *call, enum vmd_error kind, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/* The connection, or NULL once it is closed. */
struct rpc_conn *rpc_call_conn(const struct rpc_call *call);
const struct rpc_peer *rpc_call_peer(const struct rpc_call *call);
enum rpc_role rpc_call_role(const struct rpc_call *call);
/* The pointer given to rpc_server_new(). */
void *rpc_call_user(const struct rpc_call *call);
const struct rpc_method *rpc_call_method(const struct rpc_call *call);
/* The idempotency key, or NULL. */
const char *rpc_call_key(const struct rpc_call *call);
/* The file descriptor that came with the request, or -1; the caller owns it. */
int rpc_call_take_fd(struct rpc_call *call);

/* FN is called when the connection closes before the answer, so that a long wait can end. FN may
 * answer CALL; else it goes on and is answered as ever. */
void rpc_call_on_cancel(struct rpc_call *call, void (*fn)(struct rpc_call *call, void *arg),
                        void *arg);

/* --- idempotency keys -------------------------------------------------------------------------
 *
 * A changing request with a key is remembered by caller (uid), method and key, with its params and
 * its result; the latest LIMIT_IDEMPOTENCY_KEYS are kept. A repetition gets the same result; one
 * that comes while the first is under way waits for it; the same key with other params is
 * VMD_ERROR_INVALID. Errors are not remembered: a failed request may be tried again.
 */

/* All remembered results as JSON, and back, so that a program can keep them over a restart. */
struct json_object *rpc_server_keys_save(const struct rpc_server *s);
bool rpc_server_keys_load(struct rpc_server *s, struct json_object *keys, GError **err);
/* FN is called when a result was remembered, before the answer is sent. */
void rpc_server_keys_watch(struct rpc_server *s, void (*fn)(void *user));

/* --- errors on the wire ----------------------------------------------------------------------- */

/* {"code", "message", "data": {"kind", "hint"}} for ERR. */
struct json_object *rpc_error_encode(const GError *err);
/* Back into a GError of VMD_ERROR. HINT (may be NULL) gets a copy of the hint, or NULL. */
GError *rpc_error_decode(struct json_object *error, char **hint);

#endif
