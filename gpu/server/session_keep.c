/*
 * What a session keeps of its objects to make them again elsewhere: the records that made them, and
 * images of modules, which drivers do not give back.
 */
#include "gpu/server/session_priv.h"

/* Where the object's handle is in the fields of those that make one. */
static const struct {
    uint16_t op, handle_at;
} makers[] = {
    {GPU_OP_CTX_NEW, offsetof(struct gpu_call_ctx_new, ctx)},
    {GPU_OP_STREAM_NEW, offsetof(struct gpu_call_stream_new, stream)},
    {GPU_OP_EVENT_NEW, offsetof(struct gpu_call_event_new, event)},
    {GPU_OP_FUNCTION, offsetof(struct gpu_call_function, function)},
    {GPU_OP_BATCH_NEW, offsetof(struct gpu_call_batch_new, batch)},
};

static void append(GByteArray *to, const struct gpu_call_head *head, const void *fields,
                   const uint8_t *payload)
{
    const struct record_desc *desc = record_desc(head->op);
    guint at = to->len;

    g_byte_array_set_size(to, at + head->bytes);
    memset(to->data + at, 0, head->bytes);
    memcpy(to->data + at, head, sizeof(*head));
    memcpy(to->data + at + sizeof(*head), fields, desc->call_bytes);
    if (head->payload)
        memcpy(to->data + at + sizeof(*head) + desc->call_bytes, payload, head->payload);
}

/* The last value of each attribute counts. */
static void remember_attribute(struct session *s, const struct gpu_call_head *head,
                               const struct gpu_call_function_set *in)
{
    struct object *o = session__find(s, OBJECT_KERNEL, in->function);
    struct gpu_call_head before;
    struct gpu_call_function_set set;

    if (!o || !o->made)
        return;
    for (guint at = 0; at < o->made->len; at += before.bytes) {
        memcpy(&before, o->made->data + at, sizeof(before));
        if (before.op != GPU_OP_FUNCTION_SET)
            continue;
        memcpy(&set, o->made->data + at + sizeof(before), sizeof(set));
        if (set.attribute == in->attribute) {
            memcpy(o->made->data + at + sizeof(before), in, sizeof(*in));
            return;
        }
    }
    append(o->made, head, in, NULL);
}

void session__remember(struct session *s, const struct gpu_call_head *head, const void *fields,
                       const uint8_t *payload)
{
    uint64_t id;

    if (head->op == GPU_OP_FUNCTION_SET)
        remember_attribute(s, head, fields);
    if (head->op == GPU_OP_PROGRAM) {
        s->program = s->program ? s->program : g_byte_array_new();
        g_byte_array_set_size(s->program, 0);
        append(s->program, head, fields, payload);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(makers); i++) {
        if (makers[i].op != head->op)
            continue;
        memcpy(&id, (const uint8_t *)fields + makers[i].handle_at, sizeof(id));
        struct object *o = g_hash_table_lookup(s->objects, &id);
        if (o && !o->made) {
            o->made = g_byte_array_new();
            append(o->made, head, fields, payload);
        }
    }
}

/* It ends with a 0 that is not counted. */
void session__keep_image(struct session *s, struct object *o)
{
    GByteArray *image = g_steal_pointer(&s->image);

    s->image = g_byte_array_new();
    if (o && s->seat && s->kept + image->len <= MIB(LIMIT_GPU_KEPT_MIB)) {
        s->kept += image->len;
        o->image = image;
    } else {
        g_byte_array_free(image, TRUE);
    }
}

void session__forget_image(struct session *s, struct object *o)
{
    if (!o->image)
        return;
    s->kept -= o->image->len;
    g_clear_pointer(&o->image, g_byte_array_unref);
}
