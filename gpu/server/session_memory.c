/* A session's memory: what is allocated, and what is copied between the window, the device and
 * itself. */
#include "gpu/server/session_priv.h"

/* --- allocations ------------------------------------------------------------------------------ */

/* Where memory that was freed is not to be had while something runs, it is waited for. */
static int alloc(struct session *s, struct call *c, struct object *context, uint64_t bytes,
                 uint64_t *address)
{
    int rc = OPS(s)->alloc(context->ctx, bytes, address);

    if (rc != GPU_NOT_READY)
        return rc;
    if (!session__may_wait(s))
        return GPU_OUT_OF_RESOURCES;
    session__later(s, c, context)->bytes = bytes;
    return GPU_SUCCESS;
}

static int call_alloc(struct session *s, struct call *c)
{
    const struct gpu_call_alloc *in = FIELDS(c, alloc);
    struct object *o = session__find(s, OBJECT_CONTEXT, in->ctx);

    return o ? alloc(s, c, o, in->bytes, &ANSWER(c, alloc)->address) : GPU_INVALID_CONTEXT;
}

static int call_alloc_at(struct session *s, struct call *c)
{
    const struct gpu_call_alloc_at *in = FIELDS(c, alloc_at);
    struct object *o = session__find(s, OBJECT_CONTEXT, in->ctx);

    if (!o || in->address % 4096)
        return o ? GPU_INVALID_VALUE : GPU_INVALID_CONTEXT;
    return OPS(s)->alloc_at ? OPS(s)->alloc_at(o->ctx, in->address, in->bytes) : GPU_NOT_SUPPORTED;
}

static int call_free(struct session *s, struct call *c)
{
    const struct gpu_call_free *in = FIELDS(c, free);
    struct object *o = session__find(s, OBJECT_CONTEXT, in->ctx);

    return o ? OPS(s)->free(o->ctx, in->address) : GPU_INVALID_CONTEXT;
}

/* Memory of a stream is there at once; only its end is in the stream's order. */
static int call_alloc_on(struct session *s, struct call *c)
{
    const struct gpu_call_alloc_on *in = FIELDS(c, alloc_on);
    struct object *context;

    if (!session__stream(s, in->stream, &context))
        return GPU_INVALID_HANDLE;
    return alloc(s, c, context, in->bytes, &ANSWER(c, alloc_on)->address);
}

static int call_free_on(struct session *s, struct call *c)
{
    const struct gpu_call_free_on *in = FIELDS(c, free_on);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);

    return stream ? OPS(s)->free_on(stream, in->address) : GPU_INVALID_HANDLE;
}

static int call_range(struct session *s, struct call *c)
{
    const struct gpu_call_range *in = FIELDS(c, range);
    struct gpu_answer_range *out = ANSWER(c, range);
    struct object *o = session__find(s, OBJECT_CONTEXT, in->ctx);

    return o ? OPS(s)->range(o->ctx, in->address, &out->base, &out->bytes) : GPU_INVALID_CONTEXT;
}

/* --- copies ----------------------------------------------------------------------------------- */

/* Bytes of HEIGHT rows of WIDTH that lie PITCH apart, or 0 where no device has them. */
static uint64_t extent(uint64_t pitch, uint64_t width, uint64_t height)
{
    uint64_t bytes;

    if ((height > 1 && pitch < width) || __builtin_mul_overflow(pitch, height - 1, &bytes) ||
        __builtin_add_overflow(bytes, width, &bytes) || bytes > GIB(1 << 18))
        return 0;
    return bytes;
}

/* Whether rows are in one allocation: what is not is said when it is asked, and sticks to nothing.
 */
static bool is_there(struct session *s, const struct object *context, uint64_t address,
                     uint64_t bytes)
{
    uint64_t base = 0, size = 0;

    if (!bytes || OPS(s)->range(context->ctx, address, &base, &size))
        return false;
    return address - base <= size && bytes <= size - (address - base);
}

/* Bytes of a copy to or from the host: rows without gaps. */
static uint64_t packed(uint64_t width, uint64_t height)
{
    uint64_t bytes;

    return __builtin_mul_overflow(width, height, &bytes) ? 0 : bytes;
}

static int call_to_device(struct session *s, struct call *c)
{
    const struct gpu_call_to_device *in = FIELDS(c, to_device);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);
    uint64_t bytes = packed(in->width, in->height);
    bool inlined = in->window == GPU_NO_WINDOW;
    void *from = inlined ? NULL : link_window(s->link, in->window, bytes);

    if (!stream)
        return GPU_INVALID_HANDLE;
    if (!bytes || !is_there(s, context, in->address, extent(in->pitch, in->width, in->height)) ||
        (inlined ? bytes != c->payload_bytes : !from))
        return GPU_INVALID_VALUE;
    if (s->pending->len >= LIMIT_GPU_PENDING)
        return GPU_OUT_OF_RESOURCES;
    uint8_t *copied = inlined ? session__buffer(s, context, bytes) : NULL;
    if (inlined && !copied)
        return GPU_OUT_OF_MEMORY;
    if (inlined)
        memcpy(copied, c->payload, bytes);
    const struct gpu_copy copy = {.kind = GPU_TO_DEVICE,
                                  .host = inlined ? copied : from,
                                  .to = in->address,
                                  .to_pitch = in->pitch,
                                  .width = in->width,
                                  .height = in->height};
    int rc = OPS(s)->copy(stream, &copy);
    if (rc) {
        session__buffer_free(s, context, copied);
        return rc;
    }
    struct pending *p = session__later(s, c, context);
    session__keep(s, p, copied, 0);
    return session__after(s, p, stream);
}

static int call_from_device(struct session *s, struct call *c)
{
    const struct gpu_call_from_device *in = FIELDS(c, from_device);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);
    uint64_t bytes = packed(in->width, in->height);
    bool inlined = in->window == GPU_NO_WINDOW;
    void *to = inlined ? NULL : link_window(s->link, in->window, bytes);

    if (!stream)
        return GPU_INVALID_HANDLE;
    if (!bytes || !is_there(s, context, in->address, extent(in->pitch, in->width, in->height)) ||
        (inlined ? bytes > GPU_INLINE : !to))
        return GPU_INVALID_VALUE;
    if (s->pending->len >= LIMIT_GPU_PENDING)
        return GPU_OUT_OF_RESOURCES;
    uint8_t *copied = inlined ? session__buffer(s, context, bytes) : NULL;
    if (inlined && !copied)
        return GPU_OUT_OF_MEMORY;
    const struct gpu_copy copy = {.kind = GPU_FROM_DEVICE,
                                  .host = inlined ? copied : to,
                                  .from = in->address,
                                  .from_pitch = in->pitch,
                                  .width = in->width,
                                  .height = in->height};
    int rc = OPS(s)->copy(stream, &copy);
    if (rc) {
        session__buffer_free(s, context, copied);
        return rc;
    }
    struct pending *p = session__later(s, c, context);
    session__keep(s, p, copied, inlined ? (uint32_t)bytes : 0);
    return session__after(s, p, stream);
}

static int call_on_device(struct session *s, struct call *c)
{
    const struct gpu_call_on_device *in = FIELDS(c, on_device);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);
    const struct gpu_copy copy = {.kind = GPU_ON_DEVICE,
                                  .to = in->to,
                                  .to_pitch = in->to_pitch,
                                  .from = in->from,
                                  .from_pitch = in->from_pitch,
                                  .width = in->width,
                                  .height = in->height};

    if (!stream)
        return GPU_INVALID_HANDLE;
    if (!is_there(s, context, in->to, extent(in->to_pitch, in->width, in->height)) ||
        !is_there(s, context, in->from, extent(in->from_pitch, in->width, in->height)))
        return GPU_INVALID_VALUE;
    return OPS(s)->copy(stream, &copy);
}

static int call_fill(struct session *s, struct call *c)
{
    const struct gpu_call_fill *in = FIELDS(c, fill);
    struct object *context;
    struct gpu_stream *stream = session__stream(s, in->stream, &context);
    const struct gpu_fill fill = {.address = in->address,
                                  .pitch = in->pitch,
                                  .width = in->width,
                                  .height = in->height,
                                  .value = in->value,
                                  .unit = in->unit};

    if (!stream)
        return GPU_INVALID_HANDLE;
    if (in->unit == 3 || in->width % in->unit || in->address % in->unit ||
        !is_there(s, context, in->address, extent(in->pitch, in->width, in->height)))
        return GPU_INVALID_VALUE;
    return OPS(s)->fill(stream, &fill);
}

static const call_fn calls[GPU_OP_END] = {
    [GPU_OP_ALLOC] = call_alloc,         [GPU_OP_ALLOC_AT] = call_alloc_at,
    [GPU_OP_FREE] = call_free,           [GPU_OP_ALLOC_ON] = call_alloc_on,
    [GPU_OP_FREE_ON] = call_free_on,     [GPU_OP_RANGE] = call_range,
    [GPU_OP_TO_DEVICE] = call_to_device, [GPU_OP_FROM_DEVICE] = call_from_device,
    [GPU_OP_ON_DEVICE] = call_on_device, [GPU_OP_FILL] = call_fill,
};

call_fn session__memory_call(unsigned op)
{
    return op < GPU_OP_END ? calls[op] : NULL;
}
