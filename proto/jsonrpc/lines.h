/*
 * proto/jsonrpc/lines.h: bytes in, lines out; the framing shared by the loop's streams and libvmd.
 */
#ifndef PROTO_JSONRPC_LINES_H
#define PROTO_JSONRPC_LINES_H

#include "base/base.h"

struct rpc_lines {
    GByteArray *buf;
    size_t given;   /* bytes of BUF that the owner has had */
    size_t scanned; /* bytes of BUF that hold no further line feed */
    size_t max;     /* longest line, without its line feed */
};

enum { RPC_LINES_CHUNK = 65536 };

void rpc_lines_init(struct rpc_lines *l, size_t max);
void rpc_lines_clear(struct rpc_lines *l);

/* Room for RPC_LINES_CHUNK bytes; say with rpc_lines_added() how many came. Lines given before are
 * no longer valid. */
void *rpc_lines_room(struct rpc_lines *l);
void rpc_lines_added(struct rpc_lines *l, size_t n);

/* 1: the next line, without its line feed, valid until the next rpc_lines_room(). 0: there is no
 * complete one. -EMSGSIZE: it is longer than allowed. */
int rpc_lines_next(struct rpc_lines *l, const char **line, size_t *len);

#endif
