/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Judging records by the table. See record.h. */
#include "gpu/protocol/record.h"

#include <string.h>

_Static_assert(sizeof(struct gpu_call_head) == 16 && sizeof(struct gpu_answer_head) == 24,
               "fields begin at a multiple of 8");

/* Whether a record of LENGTH bytes, which says it has BYTES, has room for just HEAD, FIELDS,
 * PAYLOAD. */
static bool sizes_fit(size_t length, uint32_t bytes, size_t head, uint32_t fields, uint32_t payload,
                      uint32_t most)
{
    if (payload > most || bytes != length || bytes > GPU_RECORD_MOST)
        return false;
    size_t need = head + fields + payload;
    return bytes == ((need + GPU_ALIGN - 1) & ~(size_t)(GPU_ALIGN - 1));
}

static bool in_bounds(const struct record_desc *desc, const uint8_t *at)
{
    for (unsigned i = 0; i < desc->n_fields; i++) {
        const struct record_field *f = &desc->fields[i];
        uint64_t value = 0;
        memcpy(&value, at, f->width);
        if (value < f->least || value > f->most)
            return false;
        at += f->width;
    }
    return true;
}

enum record_verdict record_check_call(const uint8_t *buf, size_t length, const void **fields,
                                      const uint8_t **payload)
{
    struct gpu_call_head head;

    if (length < sizeof(head))
        return RECORD_BROKEN;
    memcpy(&head, buf, sizeof(head));
    const struct record_desc *desc = record_desc(head.op);
    if (!desc) /* its frame must still be right: what follows it is read */
        return head.bytes == length ? RECORD_UNKNOWN : RECORD_BROKEN;
    if (!sizes_fit(length, head.bytes, sizeof(head), desc->call_bytes, head.payload,
                   desc->call_payload))
        return RECORD_BROKEN;
    if (!in_bounds(desc, buf + sizeof(head)))
        return RECORD_BOUNDS;
    *fields = buf + sizeof(head);
    *payload = buf + sizeof(head) + desc->call_bytes;
    return RECORD_GOOD;
}

enum record_verdict record_check_answer(const uint8_t *buf, size_t length, const void **fields,
                                        const uint8_t **payload)
{
    struct gpu_answer_head head;

    if (length < sizeof(head))
        return RECORD_BROKEN;
    memcpy(&head, buf, sizeof(head));
    const struct record_desc *desc = record_desc(head.op);
    /* A call that failed is answered with a head alone. */
    bool bare = head.bytes == sizeof(head) && length == sizeof(head) && !head.payload;
    if (bare && (!desc || head.result)) {
        *fields = NULL;
        *payload = NULL;
        return desc ? RECORD_GOOD : RECORD_UNKNOWN;
    }
    if (!desc || !sizes_fit(length, head.bytes, sizeof(head), desc->answer_bytes, head.payload,
                            desc->answer_payload))
        return RECORD_BROKEN;
    *fields = buf + sizeof(head);
    *payload = buf + sizeof(head) + desc->answer_bytes;
    return RECORD_GOOD;
}
