/*
 * proto/rpc/lines.h: bytes in, messages out; the framing shared by the loop's streams and libvmd. A
 * message is a line, or a frame that begins with its own length.
 */
#ifndef PROTO_RPC_LINES_H
#define PROTO_RPC_LINES_H

#include "base/base.h"

enum rpc_framing {
    RPC_LINES,   /* each message ends with a line feed, which is not part of it */
    RPC_COUNTED, /* each begins with the number of its bytes, these four included, big-endian */
};

struct rpc_lines {
    enum rpc_framing framing;
    GByteArray *buf;
    size_t given;   /* bytes of BUF that the owner has had */
    size_t scanned; /* bytes of BUF that hold no further line feed */
    size_t max;     /* longest message, without its line feed */
};

enum { RPC_LINES_CHUNK = 65536 };

void rpc_lines_init(struct rpc_lines *l, enum rpc_framing framing, size_t max);
void rpc_lines_clear(struct rpc_lines *l);

/* Room for RPC_LINES_CHUNK bytes; say with rpc_lines_added() how many came. Lines given before are
 * no longer valid. */
void *rpc_lines_room(struct rpc_lines *l);
void rpc_lines_added(struct rpc_lines *l, size_t n);

/* 1: the next message, valid until the next rpc_lines_room(). 0: there is no complete one.
 * -EMSGSIZE: it is longer than allowed, or says that it is shorter than its length's own four
 * bytes. */
int rpc_lines_next(struct rpc_lines *l, const char **line, size_t *len);

/* Bytes that came and were not given: of a message that is not complete, or was not asked for. */
size_t rpc_lines_left(const struct rpc_lines *l);

#endif
