/*
 * base/state.h: saved state as data.
 *
 * Each device and each vCPU declares the fields of its struct that make up its saved state, with
 * the version since which each is there. This one engine saves, restores and prints them, so a
 * device writes no code for snapshots, migration or debugging. No raw struct is ever written
 * out: the stream names each field, and integers are little-endian of their declared width.
 */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include "base/base.h"

enum state_type { STATE_U8, STATE_U16, STATE_U32, STATE_U64, STATE_STRUCT };

struct state_desc;

struct state_field {
    const char *name; /* of the member, at most 63 bytes */
    enum state_type type;
    uint32_t offset;
    uint32_t count; /* elements of an array; 1 for a scalar */
    uint16_t since; /* version of the table that brought it; kept as it is by older streams */
    const struct state_desc *sub; /* STATE_STRUCT: what an element is */
};

struct state_desc {
    const char *name;
    uint16_t version;
    uint32_t size; /* of one element, for arrays of structs */
    uint32_t n_fields;
    const struct state_field *fields;
};

#define STATE__COUNT(s, m, width) (sizeof(((s *)0)->m) / (width))
/* One row: STATE_FIELD(struct uart, ier, STATE_U8, 1, since). Arrays count themselves. */
#define STATE_FIELD(s, m, t, width, since_)                                                        \
    {                                                                                              \
        .name = #m, .type = (t), .offset = offsetof(s, m), .count = STATE__COUNT(s, m, width),     \
        .since = (since_),                                                                         \
    }
#define STATE_FIELD_U8(s, m, since)  STATE_FIELD(s, m, STATE_U8, 1, since)
#define STATE_FIELD_U16(s, m, since) STATE_FIELD(s, m, STATE_U16, 2, since)
#define STATE_FIELD_U32(s, m, since) STATE_FIELD(s, m, STATE_U32, 4, since)
#define STATE_FIELD_U64(s, m, since) STATE_FIELD(s, m, STATE_U64, 8, since)
/* A struct, or an array of them, of type ELEMENT, which DESC describes. */
#define STATE_FIELD_STRUCT(s, m, element, desc_, since_)                                           \
    {                                                                                              \
        .name = #m, .type = STATE_STRUCT, .offset = offsetof(s, m),                                \
        .count = STATE__COUNT(s, m, sizeof(element)), .since = (since_), .sub = &(desc_),          \
    }

/* Appends OBJECT, described by DESC, to OUT. */
void state_save(const struct state_desc *desc, const void *object, GByteArray *out);

/*
 * Reads one object back. Fields the stream lacks keep their value; a stream of a newer version,
 * of another table, cut short or with a field of the wrong shape is VMD_ERROR_INVALID, and then
 * OBJECT may be half-filled: reset it. USED gets the bytes consumed.
 */
bool state_load(const struct state_desc *desc, void *object, const uint8_t *data, size_t length,
                size_t *used, GError **err);

/* "name: field=0x1 field=[0x1 0x2]" over lines, for people; the caller frees. */
char *state_print(const struct state_desc *desc, const void *object);

#endif
