/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Batches that are put together, record by record. See graph.h. */
#include "guest/cuda/graph.h"

#include <string.h>

static int part_end(struct cu_sink *s)
{
    const struct gpu_call_batch_part call = {.batch = s->batch};
    int rc = s->used ? channel_post(s->channel, GPU_OP_BATCH_PART, &call, s->part, s->used) : 0;

    s->used = 0;
    return rc;
}

int cu_sink_put(struct cu_sink *s, unsigned op, const void *fields, const void *payload,
                uint32_t bytes)
{
    const struct record_desc *desc = record_desc(op);
    const struct gpu_call_head head = {.bytes = record_call_bytes(desc->call_bytes, bytes),
                                       .op = (uint16_t)op,
                                       .flags = GPU_CALL_ASYNC,
                                       .payload = bytes};
    uint8_t *at;
    int rc = s->used + head.bytes > sizeof(s->part) ? part_end(s) : 0;

    if (rc)
        return rc;
    at = s->part + s->used;
    memset(at + head.bytes - GPU_ALIGN, 0, GPU_ALIGN);
    memcpy(at, &head, sizeof(head));
    memcpy(at + sizeof(head), fields, desc->call_bytes);
    if (bytes)
        memcpy(at + sizeof(head) + desc->call_bytes, payload, bytes);
    s->used += head.bytes;
    s->calls++;
    return 0;
}

int cu_sink_begin(struct cu_sink *s, const struct cu_context *c)
{
    const struct gpu_call_batch_new call = {.ctx = c->o.id, .batch = cu_new_id()};

    s->channel = c->o.channel;
    s->batch = call.batch;
    s->calls = 0;
    s->used = 0;
    return channel_post(c->o.channel, GPU_OP_BATCH_NEW, &call, NULL, 0);
}

int cu_sink_end(struct cu_sink *s)
{
    return part_end(s);
}
