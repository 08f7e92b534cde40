/* Writing what a session has to an image. See session.h, image.h, docs/gpu-migration.md. */
#include "gpu/server/session_priv.h"

enum { LIMITS = 8 /* of CUlimit's that are asked for */ };

static const struct gpu_call_head *head_at(const GByteArray *records, guint at)
{
    return (const void *)(records->data + at);
}

static void put_records(struct image *m, const GByteArray *records)
{
    for (guint at = 0; records && at < records->len; at += head_at(records, at)->bytes)
        image_put(m, IMAGE_RECORD, records->data + at, head_at(records, at)->bytes, NULL, 0);
}

/* A record of FIELDS and PAYLOAD. */
static void put_call(struct image *m, unsigned op, const void *fields, const void *payload,
                     uint32_t payload_bytes)
{
    uint32_t bytes = record_desc(op)->call_bytes;
    const struct gpu_call_head head = {.bytes = record_call_bytes(bytes, payload_bytes),
                                       .op = (uint16_t)op,
                                       .payload = payload_bytes};
    g_autofree uint8_t *record = g_malloc0(head.bytes);

    memcpy(record, &head, sizeof(head));
    memcpy(record + sizeof(head), fields, bytes);
    if (payload_bytes)
        memcpy(record + sizeof(head) + bytes, payload, payload_bytes);
    image_put(m, IMAGE_RECORD, record, head.bytes, NULL, 0);
}

/* --- contexts and what is in them --------------------------------------------------------------
 */

static gint by_address(gconstpointer a, gconstpointer b)
{
    uint64_t one = ((const struct gpu_place *)a)->address,
             two = ((const struct gpu_place *)b)->address;

    return one < two ? -1 : one > two;
}

static bool is_kept(const struct object *module, GError **err)
{
    return module->image ||
           vmd_fail(err, VMD_ERROR_LIMIT, "a program has modules of more than %d MiB",
                    LIMIT_GPU_KEPT_MIB);
}

/* All that modules of CONTEXT have, which are saved, by address. */
static bool places_of_modules(struct session *s, const struct object *context, GArray *places,
                              GError **err)
{
    g_autoptr(GArray) blocks = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    struct gpu_module_state state = {places, blocks, 0};
    GHashTableIter iter;
    struct object *o;
    bool ok = true;

    g_hash_table_iter_init(&iter, s->objects);
    while (ok && g_hash_table_iter_next(&iter, NULL, (gpointer *)&o)) {
        if (o->kind == OBJECT_MODULE && o->context == context)
            ok = is_kept(o, err) &&
                 OPS(s)->move->module_state(context->ctx, o->mod, o->image, &state, err);
    }
    g_array_sort(places, by_address);
    return ok;
}

/* Before its modules, of which a driver may have something at any other place. */
static bool put_allocs(struct session *s, struct image *m, const struct object *context,
                       GError **err)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    g_autoptr(GArray) modules = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    bool ok = places_of_modules(s, context, modules, err);

    OPS(s)->move->places(context->ctx, all);
    for (guint i = 0, next = 0; ok && i < all->len; i++) {
        const struct gpu_place *place = &g_array_index(all, struct gpu_place, i);
        const struct image_alloc alloc = {context->id, place->address, place->bytes};
        while (next < modules->len &&
               g_array_index(modules, struct gpu_place, next).address < place->address)
            next++;
        if (next == modules->len ||
            g_array_index(modules, struct gpu_place, next).address != place->address)
            image_put(m, IMAGE_ALLOC, &alloc, sizeof(alloc), NULL, 0);
    }
    return ok;
}

static bool put_context(struct session *s, struct image *m, const struct object *o, GError **err)
{
    put_records(m, o->made);
    for (unsigned i = 0; i < LIMITS && OPS(s)->limit; i++) {
        struct gpu_call_limit limit = {.ctx = o->id, .limit = i, .set = 1};
        if (OPS(s)->limit(o->ctx, i, false, &limit.value) == GPU_SUCCESS)
            put_call(m, GPU_OP_LIMIT, &limit, NULL, 0);
    }
    return put_allocs(s, m, o, err);
}

static void put_image(struct image *m, const uint8_t *data, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += GPU_INLINE) {
        const struct gpu_call_image_part part = {.offset = at};
        put_call(m, GPU_OP_IMAGE_PART, &part, data + at, MIN(bytes - at, (uint32_t)GPU_INLINE));
    }
}

static bool put_module(struct session *s, struct image *m, const struct object *o, GError **err)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    g_autoptr(GArray) blocks = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    struct gpu_module_state state = {places, blocks, 0};

    if (!is_kept(o, err) ||
        !OPS(s)->move->module_state(o->context->ctx, o->mod, o->image, &state, err))
        return false;
    const struct image_module head = {.context = o->context->id,
                                      .module = o->id,
                                      .places = places->len,
                                      .blocks = blocks->len,
                                      .uses = state.uses};
    const struct gpu_call_image image = {.bytes = o->image->len - 1};
    g_array_append_vals(places, blocks->data, blocks->len);
    size_t bytes = places->len * sizeof(struct gpu_place);
    if (bytes > IMAGE_ITEM_MOST / 2)
        return vmd_fail(err, VMD_ERROR_LIMIT, "a module has too many variables");
    put_call(m, GPU_OP_IMAGE, &image, NULL, 0);
    put_image(m, o->image->data, o->image->len - 1);
    image_put(m, IMAGE_MODULE, &head, sizeof(head), places->data, bytes);
    return true;
}

static void put_event(struct session *s, struct image *m, const struct object *o)
{
    struct image_event event = {.event = o->id};

    put_records(m, o->made);
    if (OPS(s)->move->event_time(o->event, &event.ns))
        image_put(m, IMAGE_EVENT, &event, sizeof(event), NULL, 0);
}

/* Parts of whole records, as the library sends them. */
static void put_batch(struct image *m, const struct object *o)
{
    const struct gpu_call_batch_part part = {.batch = o->id};

    put_records(m, o->made);
    for (guint from = 0, to; from < o->batch->len; from = to) {
        to = from;
        while (to < o->batch->len && to + head_at(o->batch, to)->bytes - from <= GPU_INLINE)
            to += head_at(o->batch, to)->bytes;
        put_call(m, GPU_OP_BATCH_PART, &part, o->batch->data + from, to - from);
    }
}

static bool put_object(struct session *s, struct image *m, const struct object *o, GError **err)
{
    switch (o->kind) {
    case OBJECT_CONTEXT:
        return put_context(s, m, o, err);
    case OBJECT_MODULE:
        return put_module(s, m, o, err);
    case OBJECT_KERNEL:
    case OBJECT_STREAM:
        put_records(m, o->made);
        break;
    case OBJECT_EVENT:
        put_event(s, m, o);
        break;
    case OBJECT_BATCH:
        put_batch(m, o);
        break;
    case OBJECT_COMPILE: /* of a backend whose sessions do not move */
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "a program has sources compiled");
    }
    return true;
}

/* What others are made of comes first. */
static gint by_kind(gconstpointer a, gconstpointer b)
{
    const struct object *one = *(const struct object *const *)a,
                        *two = *(const struct object *const *)b;

    if (one->kind != two->kind)
        return one->kind < two->kind ? -1 : 1;
    return one->id < two->id ? -1 : one->id > two->id;
}

static bool put_objects(struct session *s, struct image *m, GError **err)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    GHashTableIter iter;
    void *o;
    bool ok = true;

    g_hash_table_iter_init(&iter, s->objects);
    while (g_hash_table_iter_next(&iter, NULL, &o))
        g_ptr_array_add(all, o);
    g_ptr_array_sort(all, by_kind);
    for (guint i = 0; ok && i < all->len; i++)
        ok = put_object(s, m, g_ptr_array_index(all, i), err);
    return ok;
}

/* --- memory ----------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *data, size_t bytes)
{
    return !bytes || (!data[0] && !memcmp(data, data + 1, bytes - 1));
}

static bool put_data(struct session *s, struct image *m, const struct object *context,
                     const struct gpu_place *place, GError **err)
{
    g_autofree uint8_t *data = g_malloc(IMAGE_CHUNK);
    struct image_data zeros = {.context = context->id, .zero = 1}, head = {.context = context->id};

    for (uint64_t at = 0; at < place->bytes && !m->error; at += head.bytes) {
        head.address = place->address + at;
        head.bytes = MIN(place->bytes - at, (uint64_t)IMAGE_CHUNK);
        int rc = OPS(s)->move->read(context->ctx, head.address, data, head.bytes);
        if (rc)
            return vmd_fail(err, VMD_ERROR_IO, "reading a GPU's memory: error %d", rc);
        bool zero = is_zero(data, head.bytes);
        if (zeros.bytes && !zero) {
            image_put(m, IMAGE_DATA, &zeros, sizeof(zeros), NULL, 0);
            zeros.bytes = 0;
        }
        if (!zero) {
            image_put(m, IMAGE_DATA, &head, sizeof(head), data, head.bytes);
        } else {
            zeros.address = zeros.bytes ? zeros.address : head.address;
            zeros.bytes += head.bytes;
        }
    }
    if (zeros.bytes)
        image_put(m, IMAGE_DATA, &zeros, sizeof(zeros), NULL, 0);
    return image_written(m, err);
}

static bool put_memory(struct session *s, struct image *m, const struct object *context,
                       GError **err)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    bool ok = true;

    OPS(s)->move->places(context->ctx, all);
    for (guint i = 0; ok && i < all->len; i++)
        ok = put_data(s, m, context, &g_array_index(all, struct gpu_place, i), err);
    return ok;
}

/* Taking is the only way to see it. */
static void put_printed(struct session *s, struct image *m, const struct object *context)
{
    uint32_t bytes = OPS(s)->printed ? OPS(s)->printed(context->ctx, NULL, 0) : 0;
    g_autofree char *text = g_malloc(bytes + 1);

    if (!bytes)
        return;
    OPS(s)->printed(context->ctx, text, bytes);
    OPS(s)->move->print_back(context->ctx, text, bytes);
    /* The last piece first, as each is put before those that are there. */
    for (uint32_t left = bytes; left;) {
        uint32_t n = MIN(left, (uint32_t)IMAGE_CHUNK);
        left -= n;
        image_put(m, IMAGE_PRINTED, &context->id, sizeof(context->id), text + left, n);
    }
}

static bool put_context_state(struct session *s, struct image *m, const struct object *context,
                              GError **err)
{
    int rc = OPS(s)->context_query(context->ctx);
    const struct image_error error = {.context = context->id, .result = (uint32_t)rc};

    /* Of a context with an error nothing can be read any more, also by its program. */
    if (!rc && !put_memory(s, m, context, err))
        return false;
    put_printed(s, m, context);
    if (rc)
        image_put(m, IMAGE_ERROR, &error, sizeof(error), NULL, 0);
    return true;
}

bool session_save(void *opaque, void *move)
{
    struct session_seat *seat = opaque;
    struct session *s = seat->session;
    const struct session_move *how = move;
    struct image *m = how->image;
    GError **err = how->err;
    struct link_state state;
    bool ok = true, from_elsewhere = s && s->major;

    link_state(seat->link, &state);
    const struct image_session head = {.channel = seat->number,
                                       .open = state.open,
                                       .calls = state.calls,
                                       .answers = state.answers,
                                       .there = s != NULL,
                                       .greeted = s && s->greeted,
                                       .late = s ? (uint32_t)s->late : 0,
                                       .major = from_elsewhere ? s->major : how->major,
                                       .minor = from_elsewhere ? s->minor : how->minor};
    image_put(m, IMAGE_SESSION, &head, sizeof(head), NULL, 0);
    if (s) {
        put_records(m, s->program);
        ok = put_objects(s, m, err);
        for (guint i = 0; ok && i < s->contexts->len; i++)
            ok = put_context_state(s, m, g_ptr_array_index(s->contexts, i), err);
        put_image(m, s->image->data, s->image->len);
    }
    image_put(m, IMAGE_SESSION_END, NULL, 0, NULL, 0);
    return ok && image_written(m, err);
}
