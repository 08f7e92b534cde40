/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/protocol/record: what is in a record of the GPU ring, and whether one may be believed.
 *
 * A call is struct gpu_call_head, the fields of struct gpu_call_NAME, a payload of its own length,
 * and zeros up to a multiple of 8 bytes; its answer is the same with struct gpu_answer_head. Both
 * are made from records.txt. Numbers are little endian, as on every machine that this is compiled
 * for. A reader copies a record first and checks the copy, which the other side cannot change any
 * more. Nothing here needs more than the C library: guests compile it, too.
 */
#ifndef GPU_PROTOCOL_RECORD_H
#define GPU_PROTOCOL_RECORD_H

#include "gpu/protocol/records.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little endian");

struct gpu_call_head {
    uint32_t bytes; /* of all of it, a multiple of 8 */
    uint16_t op;
    uint16_t flags;   /* enum gpu_call_flag */
    uint32_t seq;     /* comes back in the answer */
    uint32_t payload; /* bytes behind the fields */
};

enum gpu_call_flag {
    GPU_CALL_ASYNC = 1 << 0, /* no answer; an error sticks to the context and shows later */
};

enum gpu_answer_flag {
    GPU_ANSWER_PRINTED = 1 << 0, /* kernels of the call's context printed something */
};

struct gpu_answer_head {
    uint32_t bytes;
    uint16_t op;
    uint16_t flags; /* enum gpu_answer_flag */
    uint32_t seq;
    uint32_t payload;
    uint32_t result; /* CUresult of this call */
    uint32_t late;   /* CUresult of the first asynchronous call that failed since the last answer */
};

/* A program in the answer to a usage record. */
struct gpu_usage_row {
    uint64_t id; /* of one run of a program: never that of another */
    uint64_t time, launches, memory;
    uint32_t pid, in_flight;
    char name[32]; /* printable ASCII, with a 0 behind it */
};

_Static_assert(sizeof(struct gpu_usage_row) == 72, "as on the wire");

enum {
    GPU_ALIGN = 8,
    GPU_RECORD_MOST = 40960, /* bytes of the longest record, either way */
};

struct record_field {
    uint64_t least, most;
    uint8_t width;
};

/* One row of records.txt. */
struct record_desc {
    const char *name;
    const struct record_field *fields;
    unsigned n_fields;
    uint32_t call_bytes, call_payload; /* of the fields; most of the payload */
    uint32_t answer_bytes, answer_payload;
    bool later;
};

/* The row of OP, or NULL. */
const struct record_desc *record_desc(unsigned op);

enum record_verdict {
    RECORD_GOOD,
    RECORD_UNKNOWN, /* another version's: to be answered so */
    RECORD_BOUNDS,  /* a field is out of its bounds: an invalid value */
    RECORD_BROKEN,  /* its sizes are wrong: nothing behind it can be believed */
};

/*
 * Judges the call in BUF, LENGTH bytes, which begins with a whole head. Any memory, any thread.
 * FIELDS and PAYLOAD get where they are where it is good.
 */
enum record_verdict record_check_call(const uint8_t *buf, size_t length, const void **fields,
                                      const uint8_t **payload);

/* The same of an answer to OP. Never RECORD_BOUNDS. */
enum record_verdict record_check_answer(const uint8_t *buf, size_t length, const void **fields,
                                        const uint8_t **payload);

/* Bytes of a call, or an answer, with fields of FIELDS bytes and PAYLOAD bytes behind them. */
static inline uint32_t record_call_bytes(uint32_t fields, uint32_t payload)
{
    return (uint32_t)((sizeof(struct gpu_call_head) + fields + payload + GPU_ALIGN - 1) &
                      ~(uint32_t)(GPU_ALIGN - 1));
}

static inline uint32_t record_answer_bytes(uint32_t fields, uint32_t payload)
{
    return (uint32_t)((sizeof(struct gpu_answer_head) + fields + payload + GPU_ALIGN - 1) &
                      ~(uint32_t)(GPU_ALIGN - 1));
}

#endif
