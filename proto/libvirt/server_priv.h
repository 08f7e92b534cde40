/*
 * proto/libvirt/server_priv.h: what the files of the server share.
 *
 * The server counts its connections, a connection is counted by the server and by each of its
 * requests.
 */
#ifndef PROTO_LIBVIRT_SERVER_PRIV_H
#define PROTO_LIBVIRT_SERVER_PRIV_H

#include "proto/libvirt/server.h"
#include "proto/rpc/stream.h"

enum {
    LIBVIRT_LINGER_MS = 2000,
    LIBVIRT_STREAM_AHEAD = 262144, /* bytes unsent at which streams wait */
};

struct libvirt_server {
    uv_loop_t *loop;
    const struct libvirt_server_ops *ops;
    void *user;
    GList *listeners; /* struct listener of server.c */
    GQueue conns;     /* struct libvirt_conn */
    bool closing;
    uv_timer_t watch; /* looks for clients that stall */
    void (*done)(void *arg);
    void *done_arg;
};

struct libvirt_conn {
    struct libvirt_server *server;
    struct rpc_stream *stream; /* NULL once it has ended */
    struct rpc_peer peer;
    bool readonly, half_closed;
    GError *refused;               /* why nothing is done for it */
    GQueue streams;                /* struct libvirt_stream */
    unsigned held; /* of them that take nothing now, and calls that are to be alone */
    unsigned calls;                /* requests under way */
    struct rpc_stream_counts seen; /* when the watch looked last */
    size_t seen_queued;
    void *data;
    GList link;
    unsigned refs;
};

/* Takes FD, and PEER's contents. NULL with ERR on failure. */
struct libvirt_conn *libvirt_conn__new(struct libvirt_server *s, int fd, struct rpc_peer *peer,
                                       bool readonly, GError **err);
/* Disconnects it where nothing went on since the last time, and something should have. */
void libvirt_conn__watch(struct libvirt_conn *conn);
/* Ends the frame, which is taken, and queues it. Who does not read is disconnected. */
void libvirt_conn__send(struct libvirt_conn *conn, GByteArray *frame);
/* Sends an error in a frame with HEAD, which is a reply's or a stream's. */
void libvirt_conn__send_error(struct libvirt_conn *conn, const struct libvirt_head *head, int code,
                              int domain, const char *text);
/* As it came. */
struct libvirt_head libvirt_request__head(const struct libvirt_request *request);
/* A frame of a stream came; all is sent; the connection is gone. */
void libvirt_stream__frame(struct libvirt_conn *conn, const struct libvirt_head *head,
                           const uint8_t *bytes, size_t len);
void libvirt_stream__drained(struct libvirt_conn *conn);
void libvirt_stream__end_all(struct libvirt_conn *conn);
/* A connection has ended and is off the list. */
void libvirt_server__conn_gone(struct libvirt_server *s);

#endif
