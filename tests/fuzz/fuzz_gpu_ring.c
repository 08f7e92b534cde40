/* A ring that the other side filled, counter and all: whatever is taken from it lies inside the
 * copy. */
#include "gpu/protocol/ring.h"
#include "tests/fuzz/fuzz.h"

enum { RING = 4096 };

static void look(const uint8_t *record, int length)
{
    const void *fields = NULL;
    const uint8_t *payload = NULL;
    const struct gpu_call_head *head = (const void *)record;

    g_assert(length >= (int)sizeof(*head) && length <= GPU_RECORD_MOST);
    if (record_check_call(record, (size_t)length, &fields, &payload) == RECORD_GOOD) {
        const struct record_desc *desc = record_desc(head->op);
        g_assert(fields == record + sizeof(*head));
        g_assert(payload + head->payload <= record + length);
        g_assert(head->payload <= desc->call_payload);
    }
    if (record_check_answer(record, (size_t)length, &fields, &payload) == RECORD_GOOD && payload)
        g_assert(payload + ((const struct gpu_answer_head *)head)->payload <= record + length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t record[GPU_RECORD_MOST];
    _Alignas(8) uint8_t bytes[RING] = {0};
    uint32_t tail, head = 0;
    struct gpu_ring ring;
    int n;

    if (size < 4)
        return 0;
    memcpy(&tail, data, 4);
    memcpy(bytes, data + 4, MIN(size - 4, sizeof(bytes)));
    ring_init(&ring, bytes, sizeof(bytes), &tail, &head, 0);
    while ((n = ring_get(&ring, record)) > 0)
        look(record, n);
    return 0;
}

static void seed_call(GByteArray *out, unsigned op, uint32_t payload)
{
    const struct record_desc *desc = record_desc(op);
    uint32_t bytes = record_call_bytes(desc->call_bytes, payload);
    struct gpu_call_head head = {.bytes = bytes, .op = (uint16_t)op, .payload = payload};
    g_autofree uint8_t *record = g_malloc0(bytes);
    uint8_t *at = record + sizeof(head);

    memcpy(record, &head, sizeof(head));
    for (unsigned i = 0; i < desc->n_fields; i++) {
        memcpy(at, &desc->fields[i].least, desc->fields[i].width);
        at += desc->fields[i].width;
    }
    g_byte_array_append(out, record, bytes);
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    uint32_t tail = 0;

    if (n > 1)
        return false;
    g_byte_array_append(out, (const guint8 *)&tail, 4);
    for (unsigned op = n ? GPU_OP_ALLOC : 0; op < GPU_OP_END; op++) {
        if (record_desc(op))
            seed_call(out, op, record_desc(op)->call_payload ? 24 : 0);
    }
    tail = out->len - 4;
    memcpy(out->data, &tail, 4);
    return true;
}
