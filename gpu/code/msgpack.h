/*
 * gpu/code/msgpack: reads MessagePack (its specification of 2013 and later), a value at a time,
 * out of bytes that nobody vouches for. Nothing is allocated; any thread.
 */
#ifndef GPU_CODE_MSGPACK_H
#define GPU_CODE_MSGPACK_H

#include "base/base.h"

enum msgpack_type {
    MSGPACK_NIL,
    MSGPACK_BOOL,
    MSGPACK_UINT,
    MSGPACK_INT, /* below zero */
    MSGPACK_FLOAT,
    MSGPACK_STR,
    MSGPACK_BIN,
    MSGPACK_ARRAY,
    MSGPACK_MAP,
    MSGPACK_EXT,
};

/* Where a reader is; values are read from AT on. */
struct msgpack {
    const uint8_t *at, *end;
};

struct msgpack_value {
    enum msgpack_type type;
    uint64_t number;      /* of a number or a bool; of a float its bits, of an ext its type */
    const uint8_t *bytes; /* of a string, bin or ext, within what is read; no 0 ends them */
    uint32_t length;      /* bytes of those; elements of an array; pairs of a map */
};

/*
 * Reads the head of the next value to OUT: of an array or a map its elements follow as values of
 * their own. False, with the reader where it was, at the end and for bytes that are no value.
 */
bool msgpack_read(struct msgpack *m, struct msgpack_value *out);

/* Goes past the next value with all that is in it, however deep; false as above. */
bool msgpack_skip(struct msgpack *m);

/* Whether V is the string TEXT. */
bool msgpack_is(const struct msgpack_value *v, const char *text);

#endif
