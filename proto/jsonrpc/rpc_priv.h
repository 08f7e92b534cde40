/*
 * proto/jsonrpc/rpc_priv.h: what the files of the server share.
 *
 * Ownership: the server holds its connections; a connection is counted by the server and by each of
 * its calls; a call lives until its handler answers it, whatever happened to its connection. The
 * server itself is counted by connections and calls, and freed with the last of them.
 */
#ifndef PROTO_JSONRPC_RPC_PRIV_H
#define PROTO_JSONRPC_RPC_PRIV_H

#include "proto/jsonrpc/client.h"
#include "proto/jsonrpc/json.h"
#include "proto/jsonrpc/rpc.h"
#include "proto/rpc/listener.h"
#include "proto/rpc/stream.h"

/* Codes of the specification that no kind of error of ours has. */
enum { RPC_PARSE_ERROR = -32700, RPC_INVALID_REQUEST = -32600, RPC_METHOD_NOT_FOUND = -32601 };

enum { RPC_LINGER_MS = 2000, RPC_ID_LENGTH = 256 };

struct rpc_keys;
struct rpc_local_ops;

struct rpc_server {
    uv_loop_t *loop;
    const struct rpc_service *service;
    const void *handlers;
    const struct rpc_server_ops *ops;
    void *user;
    GList *listeners; /* struct rpc_listener */
    GQueue conns;     /* struct rpc_conn */
    struct rpc_keys *keys;
    bool take_fds; /* some method takes a descriptor */
    bool closing;
    uv_timer_t end; /* tells DONE from the loop */
    void (*done)(void *arg);
    void *done_arg;
    unsigned refs;
};

void rpc_server__ref(struct rpc_server *s);
void rpc_server__unref(struct rpc_server *s);
/* Whether PEER may come in, and with which role. */
bool rpc_server__admit(struct rpc_server *s, const struct rpc_peer *peer, enum rpc_role *role,
                       GError **err);
/* A connection has ended and is off the list. */
void rpc_server__conn_gone(struct rpc_server *s);

/* --- connections --- */

struct rpc_conn {
    struct rpc_server *server;
    struct rpc_stream *stream;         /* NULL once it has ended, or where LOCAL is set */
    const struct rpc_local_ops *local; /* a client within the program; NULL once it has left */
    void *local_user;
    struct rpc_peer peer;
    enum rpc_role role;
    unsigned version; /* release that the peer speaks; 0: the present one */
    GQueue calls;     /* not yet answered */
    unsigned fds_due; /* of them whose answer brings a descriptor */
    bool half_closed; /* end when the last call is answered */
    void *data;
    GList link;
    unsigned refs;
};

/* A connection that has neither stream nor local client yet, on the server's list. Takes PEER's
 * contents. */
struct rpc_conn *rpc_conn__alloc(struct rpc_server *s, enum rpc_role role, struct rpc_peer *peer);
/* It has ended: off the list; its calls are abandoned, the program is told. */
void rpc_conn__ended(struct rpc_conn *conn);
/* Takes STREAM's fd. NULL with ERR on failure. */
struct rpc_conn *rpc_conn__new(struct rpc_server *s, int fd, enum rpc_role role,
                               struct rpc_peer *peer, GError **err);
void rpc_conn__unref(struct rpc_conn *conn);
/* Queues one message; a client that does not read is disconnected. Takes FD. */
void rpc_conn__send(struct rpc_conn *conn, struct json_object *message, int fd);
/* A call was answered. */
void rpc_conn__call_done(struct rpc_conn *conn);
/* Answers all calls with GONE and finishes. */
void rpc_conn__shut_down(struct rpc_conn *conn);
/* {"jsonrpc": "2.0", "method": METHOD, "params": PARAMS}; takes PARAMS. */
struct json_object *rpc__notification(const char *method, struct json_object *params);
/* The notification rpc.closing. */
struct json_object *rpc__closing(enum vmd_error kind, const char *reason);

/* --- calls --- */

struct rpc_batch {
    struct json_object *replies;
    size_t open; /* not yet answered, and one while the batch is read */
};

struct rpc_call {
    struct rpc_server *server;
    struct rpc_conn *conn;
    struct rpc_batch *batch; /* NULL: a request of its own */
    struct json_object *id;
    bool notification;
    bool answered; /* on the wire; the handler's own answer is dropped */
    const struct rpc_method *method;
    size_t number;
    void *params;
    char *key;
    char *key_id; /* in the table of keys, when this call is the first with its key */
    int fd;
    rpc_client_reply reply; /* of a local client; NULL: the answer goes over the wire */
    void *reply_arg;
    void (*cancel)(struct rpc_call *call, void *arg);
    void *cancel_arg;
    GList link;
};

/* A call of METHOD's number, not carried out. */
struct rpc_call *rpc_call__new(struct rpc_conn *conn, struct rpc_batch *batch, size_t number);
/* All checks, then the handler. Borrows PARAMS. */
void rpc_call__carry_out(struct rpc_call *call, struct json_object *params);
/* One element of a batch, or a whole line. Borrows REQUEST. */
void rpc_call__begin(struct rpc_conn *conn, struct rpc_batch *batch, struct json_object *request);
/* Sends an error that belongs to no call. ID may be NULL. */
void rpc_call__refuse(struct rpc_conn *conn, struct rpc_batch *batch, struct json_object *id,
                      struct json_object *error);
void rpc_batch__unref(struct rpc_conn *conn, struct rpc_batch *batch);
/* The connection ends: answers with GONE on the wire, tells the handler's cancel function. */
void rpc_call__abandon(struct rpc_call *call);
/* Ends a call with a result or an error (one is NULL; both taken). */
void rpc_call__finish(struct rpc_call *call, struct json_object *result, struct json_object *error,
                      int fd);

/* --- keys --- */

enum rpc_keys_verdict {
    RPC_KEYS_RUN,  /* new: carry it out, then rpc_keys__done() */
    RPC_KEYS_WAIT, /* the first is under way; this call is answered with it */
    RPC_KEYS_DONE, /* answered from memory */
    RPC_KEYS_FAIL, /* other params; ERR is set */
};

struct rpc_keys *rpc_keys__new(void);
void rpc_keys__free(struct rpc_keys *k);
enum rpc_keys_verdict rpc_keys__enter(struct rpc_keys *k, struct rpc_call *call, GError **err);
/* The first call with its key ended; answers those that wait. RESULT is NULL for an error. */
void rpc_keys__done(struct rpc_keys *k, struct rpc_call *call, struct json_object *result,
                    struct json_object *error);
void rpc_keys__watch(struct rpc_keys *k, void (*fn)(void *user), void *user);
/* A waiting call is answered otherwise. */
void rpc_keys__forget(struct rpc_keys *k, struct rpc_call *call);
struct json_object *rpc_keys__save(const struct rpc_keys *k);
bool rpc_keys__load(struct rpc_keys *k, struct json_object *json, GError **err);

/* --- errors --- */

struct json_object *rpc__error_object(int code, enum vmd_error kind, const char *message);

#endif
