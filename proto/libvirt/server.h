/*
 * proto/libvirt/server: libvirt's RPC over unix sockets: frames, calls and their answers, several
 * under way on a connection, the keepalive program, events, and what a connection that may only
 * read is refused.
 *
 * A client that breaks the framing, does not finish a frame, or does not read what it asked for is
 * disconnected; one that asks for what is not offered gets an error. All of it runs on the loop's
 * thread. Requests and connections are owned by the server.
 */
#ifndef PROTO_LIBVIRT_SERVER_H
#define PROTO_LIBVIRT_SERVER_H

#include "proto/libvirt/calls.h"
#include "proto/rpc/peer.h"

#include <uv.h>

/* Codes of errors and where they come from, as the protocol numbers them. */
enum libvirt_code {
    LIBVIRT_ERR_INTERNAL = 1,
    LIBVIRT_ERR_NO_SUPPORT = 3,
    LIBVIRT_ERR_NO_CONNECT = 5,
    LIBVIRT_ERR_INVALID_ARG = 8,
    LIBVIRT_ERR_OPERATION_FAILED = 9,
    LIBVIRT_ERR_XML = 27,
    LIBVIRT_ERR_OPERATION_DENIED = 29,
    LIBVIRT_ERR_SYSTEM = 38,
    LIBVIRT_ERR_RPC = 39,
    LIBVIRT_ERR_NO_DOMAIN = 42,
    LIBVIRT_ERR_NO_NETWORK = 43,
    LIBVIRT_ERR_AUTH_FAILED = 45,
    LIBVIRT_ERR_NO_POOL = 49,
    LIBVIRT_ERR_NO_VOLUME = 50,
    LIBVIRT_ERR_OPERATION_INVALID = 55,
    LIBVIRT_ERR_CONFIG_UNSUPPORTED = 67,
    LIBVIRT_ERR_OPERATION_TIMEOUT = 68,
    LIBVIRT_ERR_NO_SNAPSHOT = 72,
    LIBVIRT_ERR_AUTH_CANCELLED = 79,
    LIBVIRT_ERR_NO_METADATA = 80,
    LIBVIRT_ERR_OPERATION_UNSUPPORTED = 84,
    LIBVIRT_ERR_BUSY = 87,
    LIBVIRT_ERR_ACCESS_DENIED = 88,
    LIBVIRT_ERR_AUTH_UNAVAILABLE = 94,
    LIBVIRT_ERR_DEVICE_MISSING = 99,
};
enum libvirt_domain {
    LIBVIRT_FROM_NONE = 0,
    LIBVIRT_FROM_RPC = 7,
    LIBVIRT_FROM_STORAGE = 18,
    LIBVIRT_FROM_NETWORK = 19,
    LIBVIRT_FROM_DOMAIN = 20,
    LIBVIRT_FROM_SNAPSHOT = 35,
    LIBVIRT_FROM_POLKIT = 60,
};

struct libvirt_server;
struct libvirt_conn;
struct libvirt_request;

/* What the program decides. USER is that of libvirt_server_new(). */
struct libvirt_server_ops {
    /* A client connected. False with ERR: its first call is answered with that, and it is
     * disconnected. */
    bool (*opened)(void *user, struct libvirt_conn *conn, GError **err);
    /* A call as it came, known here or not, that the connection may make: whether the program takes it, to
     * answer it by libvirt_reply_raw() or libvirt_fail(). BYTES are its arguments, borrowed. May be NULL. */
    bool (*pass)(void *user, struct libvirt_request *request, const uint8_t *bytes, size_t len);
    /* A call whose arguments are good and that the connection may make; to be answered once, now or
     * later. */
    void (*call)(void *user, struct libvirt_request *request);
    /* The connection is gone; its last use. */
    void (*closed)(void *user, struct libvirt_conn *conn);
};

/* A client that leaves a frame unfinished, or unread what was sent, for two periods of STALL_MS is
 * disconnected. */
struct libvirt_server *libvirt_server_new(uv_loop_t *loop, const struct libvirt_server_ops *ops,
                                          void *user, unsigned stall_ms);

/* Listens at PATH with file mode MODE; READONLY: connections by it may change nothing. */
bool libvirt_server_listen(struct libvirt_server *s, const char *path, mode_t mode, bool readonly,
                           GError **err);
/* Listens on a socket that is bound and listening. Takes FD, also on error. */
bool libvirt_server_listen_fd(struct libvirt_server *s, int fd, bool readonly, GError **err);
/* Serves one connected socket. Takes FD, also on error. */
bool libvirt_server_adopt(struct libvirt_server *s, int fd, bool readonly, GError **err);

/* Stops listening, sends what is queued for at most two seconds, closes all, frees the server, then
 * calls DONE. */
void libvirt_server_close(struct libvirt_server *s, void (*done)(void *arg), void *arg);

/* --- connections --- */

const struct rpc_peer *libvirt_conn_peer(const struct libvirt_conn *conn);
void *libvirt_conn_user(const struct libvirt_conn *conn);
/* What the program keeps for a connection; it frees it in closed(). */
void libvirt_conn_set_data(struct libvirt_conn *conn, void *data);
void *libvirt_conn_data(const struct libvirt_conn *conn);
/* From here on it may change nothing. */
void libvirt_conn_set_readonly(struct libvirt_conn *conn);
bool libvirt_conn_readonly(const struct libvirt_conn *conn);
/* Sends the event PROCEDURE with MESSAGE, a struct of LAYOUT. */
void libvirt_conn_event(struct libvirt_conn *conn, int32_t procedure,
                        const struct libvirt_layout *layout, const void *message);
/* The same with a message that was written elsewhere. */
void libvirt_conn_event_raw(struct libvirt_conn *conn, int32_t procedure, const uint8_t *bytes,
                            size_t len);
/* Sends what is queued, then disconnects. closed() comes from the loop. */
void libvirt_conn_finish(struct libvirt_conn *conn);

/* --- requests ---
 *
 * A request lives until it is answered, also where its connection has ended: the answer is dropped
 * then. */

/* NULL in pass() where the table has no such call. */
const struct libvirt_call *libvirt_request_call(const struct libvirt_request *request);
int32_t libvirt_request_procedure(const struct libvirt_request *request);
/* No other call is taken from its client until this one is answered. */
void libvirt_request_alone(struct libvirt_request *request);
/* The struct of arguments; NULL where the call has none. */
const void *libvirt_request_args(const struct libvirt_request *request);
/* Its connection; NULL where that has ended. */
struct libvirt_conn *libvirt_request_conn(const struct libvirt_request *request);

/* Answers with RESULT, the call's struct of results; NULL where it has none. */
void libvirt_reply(struct libvirt_request *request, const void *result);
/* The same with a result that was written before. */
void libvirt_reply_written(struct libvirt_request *request, const GByteArray *result);
/* The same, or where ERROR the same with an error, for a request that was passed on. */
void libvirt_reply_raw(struct libvirt_request *request, bool error, const uint8_t *bytes,
                       size_t len);
void libvirt_fail(struct libvirt_request *request, enum libvirt_code code,
                  enum libvirt_domain domain, const char *fmt, ...) G_GNUC_PRINTF(4, 5);

/* --- streams: bytes both ways, begun by a request --- */

struct libvirt_stream;

struct libvirt_stream_ops {
    /* Bytes of the client's, borrowed. */
    void (*data)(void *user, const uint8_t *bytes, size_t len);
    /* Where it is not NULL the client's frames come here as they are, instead of data(), with type and status
     * of the protocol; then only libvirt_stream_pass() and libvirt_stream_fail() send and end it. */
    void (*frame)(void *user, int32_t type, int32_t status, const uint8_t *bytes, size_t len);
    /* All that was sent on the connection is taken: there may be more. */
    void (*drained)(void *user);
    /* The client has ended it, or its connection is gone; the stream is freed. */
    void (*closed)(void *user);
};

/* Answers REQUEST, whose call has no results, and begins its stream. NULL: the connection has
 * ended, or has LIMIT_LIBVIRT_STREAMS already, and the answer was that. */
struct libvirt_stream *libvirt_stream_begin(struct libvirt_request *request,
                                            const struct libvirt_stream_ops *ops, void *user);
/* Ends it with an error; closed() is called. */
void libvirt_stream_fail(struct libvirt_stream *stream, enum libvirt_code code,
                         enum libvirt_domain domain, const char *fmt, ...) G_GNUC_PRINTF(4, 5);
/* No bytes are the end of what the server has to say. */
void libvirt_stream_send(struct libvirt_stream *stream, const void *bytes, size_t len);
/* Sends a frame of a stream that has frame(). One that ends it, by its STATUS, ends STREAM: closed() is called. */
void libvirt_stream_pass(struct libvirt_stream *stream, int32_t type, int32_t status,
                         const uint8_t *bytes, size_t len);
/* Whether to wait for drained() before more is sent. */
bool libvirt_stream_full(const struct libvirt_stream *stream);
/* While HOLD nothing of the connection is read. */
void libvirt_stream_hold(struct libvirt_stream *stream, bool hold);

#endif
