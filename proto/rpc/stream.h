/*
 * proto/rpc/stream.h: messages and file descriptors over a connected unix socket, on a loop.
 *
 * Reading stops while the owner is not ready, and while the peer has several descriptors to get
 * yet; writing is queued up to a bound. Callbacks come from the loop, never from inside a function
 * of this header, and none comes after rpc_stream_free(). Internal to the servers and clients of
 * proto.
 */
#ifndef PROTO_RPC_STREAM_H
#define PROTO_RPC_STREAM_H

#include "proto/rpc/lines.h"

#include <uv.h>

struct rpc_stream;

struct rpc_stream_ops {
    /* A message: a line without its line feed, or a frame with its length. BYTES are borrowed. */
    void (*message)(void *user, const char *bytes, size_t len);
    /* Whether another message may be given now; after a "no", call rpc_stream_resume(). */
    bool (*ready)(void *user);
    /* The peer sends no more, but still reads: answer what is under way, then finish. */
    void (*half_closed)(void *user);
    /* A message over the bound; reading has stopped. */
    void (*overlong)(void *user);
    /* All is sent, after a time in which rpc_stream_queued() was not 0. May be NULL. */
    void (*drained)(void *user);
    /* The connection is gone: ERRNUM, or 0 when it ended in order or by rpc_stream_finish(). */
    void (*ended)(void *user, int errnum);
};

/* Takes FD (made non-blocking and close-on-exec), also on error. MAX_MESSAGE and MAX_QUEUE in
 * bytes.
 */
struct rpc_stream *rpc_stream_new(uv_loop_t *loop, int fd, enum rpc_framing framing,
                                  size_t max_message, size_t max_queue, bool take_fds,
                                  const struct rpc_stream_ops *ops, void *user, GError **err);

/* Queues TEXT (LEN bytes, and a line feed where messages are lines) and FD (-1: none). Both are
 * copied or taken, always. False: over the bound, nothing was queued. */
bool rpc_stream_send(struct rpc_stream *s, const char *text, size_t len, int fd);
/* Queues just BYTES, which are taken, always. False: over the bound. */
bool rpc_stream_send_bytes(struct rpc_stream *s, GByteArray *bytes);

/* The oldest file descriptor that came in, or -1. The caller owns it. */
int rpc_stream_take_fd(struct rpc_stream *s);

/* The owner may be ready again. */
void rpc_stream_resume(struct rpc_stream *s);

/* Bytes queued and not yet sent. */
size_t rpc_stream_queued(const struct rpc_stream *s);

/* Bytes that were sent and came, ever; and those that came of a message that is not complete, or
 * not given. */
struct rpc_stream_counts {
    uint64_t sent, came;
    size_t left;
};
struct rpc_stream_counts rpc_stream_counts(const struct rpc_stream *s);

/* Drops what is queued and not yet begun. */
void rpc_stream_discard(struct rpc_stream *s);

/* Reads no more; ends when all is sent, or after MS milliseconds. */
void rpc_stream_finish(struct rpc_stream *s, unsigned ms);

/* Whether it was finished or has ended. */
bool rpc_stream_closing(const struct rpc_stream *s);

/* Closes at once and frees, from anywhere. Takes NULL. */
void rpc_stream_free(struct rpc_stream *s);

#endif
