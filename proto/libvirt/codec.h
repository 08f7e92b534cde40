/*
 * proto/libvirt/codec: arguments, results and errors of libvirt's RPC, from C structs to XDR and
 * back. calls.table says what there is, gen.py makes the structs and their layouts (calls.h).
 *
 * A struct that was read owns its strings and arrays until libvirt_clear(). No locks: tables are
 * constant, the rest is the caller's.
 */
#ifndef PROTO_LIBVIRT_CODEC_H
#define PROTO_LIBVIRT_CODEC_H

#include "proto/libvirt/xdr.h"

enum libvirt_kind {
    LIBVIRT_U32,
    LIBVIRT_U64,
    LIBVIRT_STRING,
    LIBVIRT_OPT_STRING, /* NULL: not there */
    LIBVIRT_UUID,
    LIBVIRT_STRUCT,
    LIBVIRT_CHARS,  /* an array of char in C, each an item of its own on the wire; count_offset is
                       its length */
    LIBVIRT_PARAM,  /* struct libvirt_param */
    LIBVIRT_BYTES,  /* an array of bytes, packed on the wire */
    LIBVIRT_ABSENT, /* an optional member that never is there: nothing in C */
};

/* A value with its name. TYPE: 1 and 2 are 32 bits, with a sign and without; 3 and 4 so of 64 bits;
 * 5 a double, whose bits are NUMBER; 6 a truth; 7 TEXT. */
struct libvirt_param {
    char *field;
    uint32_t type;
    uint64_t number;
    char *text;
};

struct libvirt_layout;

struct libvirt_field {
    enum libvirt_kind kind;
    size_t offset;
    const struct libvirt_layout *of; /* of LIBVIRT_STRUCT */
    uint32_t max;                    /* most elements of an array; 0: no array */
    size_t count_offset;             /* of an array */
};

struct libvirt_layout {
    size_t size, fields_count;
    const struct libvirt_field *fields;
};

/* A procedure: what it takes and gives (NULL: nothing), and whether it changes anything. */
struct libvirt_call {
    int32_t number;
    const char *name;
    bool writes;
    const struct libvirt_layout *args, *result;
};

extern const struct libvirt_call libvirt_calls[];
extern const size_t libvirt_calls_count;

/* The procedure NUMBER, or NULL where the table has none. */
const struct libvirt_call *libvirt_call_find(int32_t number);

/* Reads LENGTH BYTES, no more and no fewer, into OUT, a struct of LAYOUT (NULL: no bytes may be
 * there). 0, or -EBADMSG, and OUT is untouched. The caller calls libvirt_clear(). */
int libvirt_read(const struct libvirt_layout *layout, const uint8_t *bytes, size_t length,
                 void *out);

/* Appends the struct IN of LAYOUT to OUT. 0, or -EMSGSIZE where a string or an array is longer
 * than the protocol has, and OUT is as before. */
int libvirt_write(const struct libvirt_layout *layout, const void *in, GByteArray *out);

/* Frees what the struct AT of LAYOUT owns, and zeroes it. */
void libvirt_clear(const struct libvirt_layout *layout, void *at);

#endif
