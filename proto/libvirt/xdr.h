/*
 * proto/libvirt/xdr: what libvirt's RPC is written in: XDR items (RFC 4506) and the frames around
 * them.
 *
 * A reader never leaves its bytes: the first item that does not fit, or breaks a bound, makes it
 * fail, and each later item reads as 0 or NULL. So a decoder reads all its items and asks once, at
 * the end. Nothing is allocated before its length is known to be there. No locks: each is one
 * thread's.
 */
#ifndef PROTO_LIBVIRT_XDR_H
#define PROTO_LIBVIRT_XDR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    LIBVIRT_LENGTH_BYTES = 4,
    LIBVIRT_HEAD_BYTES = 28,          /* the length and the header */
    LIBVIRT_FRAME_MAX = 33554432 + 4, /* bytes, with the length */
    LIBVIRT_STRING_MAX = 4194304,     /* bytes of a string */
};

/* Of a frame: whose it is, what it is, and how that went. */
enum { LIBVIRT_PROGRAM = 0x20008086, LIBVIRT_KEEPALIVE = 0x6b656570 };
enum libvirt_type {
    LIBVIRT_CALL,
    LIBVIRT_REPLY,
    LIBVIRT_MESSAGE,
    LIBVIRT_STREAM,
    LIBVIRT_STREAM_HOLE = 6, /* a stream's zeroes, by their number */
};
enum libvirt_status { LIBVIRT_OK, LIBVIRT_ERROR, LIBVIRT_CONTINUE };
/* Of the keepalive program. */
enum { LIBVIRT_PING = 1, LIBVIRT_PONG = 2 };

struct libvirt_head {
    uint32_t length; /* bytes of the whole frame, this number's own too */
    uint32_t program, version;
    int32_t procedure, type;
    uint32_t serial;
    int32_t status;
};

struct xdr_reader {
    const uint8_t *at, *end;
    bool failed;
};

/* Reads the LIBVIRT_HEAD_BYTES at BYTES. 0, or -EMSGSIZE where the length is none that a frame has.
 */
int libvirt_head_read(const uint8_t bytes[LIBVIRT_HEAD_BYTES], struct libvirt_head *head);

/* Begins a frame at the end of OUT; HEAD's length is ignored. The result is for
 * libvirt_frame_end(). */
size_t libvirt_frame_begin(GByteArray *out, const struct libvirt_head *head);

/* Writes the length of the frame begun at START. 0, or -EMSGSIZE, and the frame is taken out of
 * OUT. */
int libvirt_frame_end(GByteArray *out, size_t start);

/* The next item. */
uint32_t xdr_u32(struct xdr_reader *r);
uint64_t xdr_u64(struct xdr_reader *r);

/* The next string of at most MAX bytes, valid UTF-8 without NUL. The caller frees; NULL: failed. */
char *xdr_string(struct xdr_reader *r, uint32_t max);

/* LENGTH opaque bytes within the reader's, or NULL; the padding must be 0. */
const uint8_t *xdr_opaque(struct xdr_reader *r, uint32_t length);

/* Whether all items were read well and no byte is left. */
bool xdr_done(const struct xdr_reader *r);

/* Appends an item. TEXT is at most LIBVIRT_STRING_MAX bytes. */
void xdr_put_u32(GByteArray *out, uint32_t value);
void xdr_put_u64(GByteArray *out, uint64_t value);
void xdr_put_opaque(GByteArray *out, const void *bytes, uint32_t length);
void xdr_put_string(GByteArray *out, const char *text);

#endif
