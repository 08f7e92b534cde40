/*
 * A session's batches: calls that a program has made once and wants made again, all by one record.
 *
 * A batch keeps whole records. They are checked like any when they come, and what they name is
 * looked up anew each time they are made: what was freed meanwhile is an error, as it would be of a
 * call of its own.
 */
#include "gpu/server/session_priv.h"

/* What may be in a batch, and where its stream is in its fields. */
static const struct {
    uint16_t op, stream_at;
} batched[] = {
    {GPU_OP_ON_DEVICE, offsetof(struct gpu_call_on_device, stream)},
    {GPU_OP_FILL, offsetof(struct gpu_call_fill, stream)},
    {GPU_OP_FREE_ON, offsetof(struct gpu_call_free_on, stream)},
    {GPU_OP_VALUE_WAIT, offsetof(struct gpu_call_value_wait, stream)},
    {GPU_OP_VALUE_WRITE, offsetof(struct gpu_call_value_write, stream)},
    {GPU_OP_EVENT_RECORD, offsetof(struct gpu_call_event_record, stream)},
    {GPU_OP_STREAM_WAIT, offsetof(struct gpu_call_stream_wait, stream)},
    {GPU_OP_LAUNCH, offsetof(struct gpu_call_launch, stream)},
};

enum { FIELDS_MOST = 64 };

/* Where the stream is in OP's fields; -1: none of OP can be in a batch. */
static int stream_at(unsigned op)
{
    for (size_t i = 0; i < G_N_ELEMENTS(batched); i++) {
        if (batched[i].op == op)
            return batched[i].stream_at;
    }
    return -1;
}

void session__batch_clear(struct session *s, struct object *o)
{
    s->batched -= o->batch->len;
    g_byte_array_free(o->batch, TRUE);
}

static int call_batch_new(struct session *s, struct call *c)
{
    const struct gpu_call_batch_new *in = FIELDS(c, batch_new);
    struct object *context = session__find(s, OBJECT_CONTEXT, in->ctx);
    int rc = GPU_SUCCESS;

    if (!context)
        return GPU_INVALID_CONTEXT;
    struct object *o = session__add(s, OBJECT_BATCH, in->batch, context, &rc);
    if (o)
        o->batch = g_byte_array_new();
    return rc;
}

/* The record at AT, of at most LEFT bytes: its length, or 0 where it cannot be in a batch. */
static uint32_t record_length(const uint8_t *at, uint32_t left)
{
    struct gpu_call_head head;
    const void *fields;
    const uint8_t *payload;

    if (left < sizeof(head))
        return 0;
    memcpy(&head, at, sizeof(head));
    if (head.bytes > left || stream_at(head.op) < 0 ||
        record_check_call(at, head.bytes, &fields, &payload) != RECORD_GOOD)
        return 0;
    return head.bytes;
}

static int call_batch_part(struct session *s, struct call *c)
{
    struct object *o = session__find(s, OBJECT_BATCH, FIELDS(c, batch_part)->batch);
    uint32_t bytes = 0;

    if (!o)
        return GPU_INVALID_HANDLE;
    while (bytes < c->payload_bytes) {
        uint32_t length = record_length(c->payload + bytes, c->payload_bytes - bytes);
        if (!length)
            return GPU_INVALID_VALUE;
        bytes += length;
    }
    if (s->batched + bytes > MIB(LIMIT_GPU_BATCHED_MIB))
        return GPU_OUT_OF_RESOURCES;
    s->batched += bytes;
    g_byte_array_append(o->batch, c->payload, bytes);
    return GPU_SUCCESS;
}

/* Makes the call of the record at AT, which is good, on STREAM where it names none. */
static int make(struct session *s, const uint8_t *at, uint64_t stream)
{
    const struct gpu_call_head *head = (const void *)at;
    const struct record_desc *desc = record_desc(head->op);
    int stream_field = stream_at(head->op);
    _Alignas(8) uint8_t fields[FIELDS_MOST];
    uint64_t named;

    g_assert(desc->call_bytes <= sizeof(fields) && stream_field >= 0);
    memcpy(fields, at + sizeof(*head), desc->call_bytes);
    memcpy(&named, fields + stream_field, sizeof(named));
    if (!named)
        memcpy(fields + stream_field, &stream, sizeof(stream));
    struct call c = {.op = head->op,
                     .async = true,
                     .fields = fields,
                     .payload = at + sizeof(*head) + desc->call_bytes,
                     .payload_bytes = head->payload};
    call_fn fn = session__memory_call(c.op);
    if (!fn)
        fn = session__stream_call(c.op);
    session__leave(s); /* it is watched as a call of its own */
    session__enter(s, c.op);
    return fn(s, &c);
}

static int call_batch_run(struct session *s, struct call *c)
{
    const struct gpu_call_batch_run *in = FIELDS(c, batch_run);
    const struct object *o = session__find(s, OBJECT_BATCH, in->batch);
    struct object *context;
    int rc = GPU_SUCCESS;

    if (!o || !session__stream(s, in->stream, &context) || context != o->context)
        return GPU_INVALID_HANDLE;
    for (guint at = 0; !rc && at < o->batch->len;) {
        rc = make(s, o->batch->data + at, in->stream);
        at += ((const struct gpu_call_head *)(const void *)(o->batch->data + at))->bytes;
    }
    return rc;
}

static int call_batch_free(struct session *s, struct call *c)
{
    struct object *o = session__find(s, OBJECT_BATCH, FIELDS(c, batch_free)->batch);

    if (!o)
        return GPU_INVALID_HANDLE;
    session__batch_clear(s, o);
    session__drop(s, o);
    return GPU_SUCCESS;
}

static const call_fn calls[GPU_OP_END] = {
    [GPU_OP_BATCH_NEW] = call_batch_new,
    [GPU_OP_BATCH_PART] = call_batch_part,
    [GPU_OP_BATCH_RUN] = call_batch_run,
    [GPU_OP_BATCH_FREE] = call_batch_free,
};

call_fn session__batch_call(unsigned op)
{
    return op < GPU_OP_END ? calls[op] : NULL;
}
