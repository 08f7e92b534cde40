/*
 * Making a session again from an image. Whoever wrote that is not believed: all of it goes through
 * the checks of records, or its own. See session.h, image.h.
 */
#include "gpu/server/session_priv.h"

static bool bad(GError **err)
{
    return vmd_fail(err, VMD_ERROR_INVALID, "the image of a GPU's programs makes no sense");
}

static bool refused(GError **err, const char *what, int rc)
{
    return vmd_fail(err, rc == GPU_OUT_OF_MEMORY ? VMD_ERROR_LIMIT : VMD_ERROR_UNSUPPORTED,
                    "the other GPU does not take %s: error %d", what, rc);
}

/* Records that make objects, and of which no answer is put off. */
static bool load_record(struct session *s, const uint8_t *record, uint32_t bytes, GError **err)
{
    static const uint16_t makers[] = {GPU_OP_PROGRAM,      GPU_OP_CTX_NEW,    GPU_OP_LIMIT,
                                      GPU_OP_IMAGE,        GPU_OP_IMAGE_PART, GPU_OP_FUNCTION,
                                      GPU_OP_FUNCTION_SET, GPU_OP_STREAM_NEW, GPU_OP_EVENT_NEW,
                                      GPU_OP_BATCH_NEW,    GPU_OP_BATCH_PART};
    struct gpu_call_head head;
    bool known = false;

    if (bytes < sizeof(head))
        return bad(err);
    memcpy(&head, record, sizeof(head));
    for (size_t i = 0; i < G_N_ELEMENTS(makers); i++)
        known |= makers[i] == head.op;
    if (!known)
        return bad(err);
    int rc = session__replay(s, record, bytes);
    return !rc || refused(err, record_desc(head.op)->name, rc);
}

static bool load_module(struct session *s, const uint8_t *at, uint32_t bytes, GError **err)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    g_autoptr(GArray) blocks = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    struct gpu_module_state state = {places, blocks, 0};
    struct image_module head;
    int rc = GPU_SUCCESS;

    if (bytes < sizeof(head))
        return bad(err);
    memcpy(&head, at, sizeof(head));
    struct object *context = session__find(s, OBJECT_CONTEXT, head.context);
    if (!context ||
        bytes != sizeof(head) + ((uint64_t)head.places + head.blocks) * sizeof(struct gpu_place))
        return bad(err);
    g_array_append_vals(places, at + sizeof(head), head.places);
    g_array_append_vals(blocks, at + sizeof(head) + head.places * sizeof(struct gpu_place),
                        head.blocks);
    struct object *o = session__add(s, OBJECT_MODULE, head.module, context, &rc);
    if (!o)
        return refused(err, "a module", rc);
    guint length = s->image->len;
    g_byte_array_append(s->image, (const guint8 *)"", 1);
    session__enter(s, GPU_OP_MODULE_NEW);
    state.uses = head.uses;
    rc = OPS(s)->move->module_new(context->ctx, s->image->data, length, &state, &o->mod, err);
    session__leave(s);
    session__keep_image(s, rc ? NULL : o);
    if (rc)
        session__drop(s, o);
    return !rc || (err && *err) ? !rc : refused(err, "a module", rc);
}

static bool load_alloc(struct session *s, const uint8_t *at, uint32_t bytes, GError **err)
{
    struct image_alloc alloc;

    if (bytes != sizeof(alloc))
        return bad(err);
    memcpy(&alloc, at, sizeof(alloc));
    const struct object *o = session__find(s, OBJECT_CONTEXT, alloc.context);
    if (!o)
        return bad(err);
    int rc = OPS(s)->move->alloc(o->ctx, &(struct gpu_place){alloc.address, alloc.bytes});
    return !rc || refused(err, "an allocation at its address", rc);
}

static bool load_data(struct session *s, const uint8_t *at, uint32_t bytes, GError **err)
{
    struct image_data head;

    if (bytes < sizeof(head))
        return bad(err);
    memcpy(&head, at, sizeof(head));
    const struct object *o = session__find(s, OBJECT_CONTEXT, head.context);
    if (!o || !head.bytes || bytes - sizeof(head) != (head.zero ? 0 : head.bytes))
        return bad(err);
    int rc =
        OPS(s)->move->write(o->ctx, head.address, head.zero ? NULL : at + sizeof(head), head.bytes);
    return !rc || refused(err, "what was in memory", rc);
}

static bool load_event(struct session *s, const uint8_t *at, uint32_t bytes, GError **err)
{
    struct image_event event;

    if (bytes != sizeof(event))
        return bad(err);
    memcpy(&event, at, sizeof(event));
    const struct object *o = session__find(s, OBJECT_EVENT, event.event);
    if (!o)
        return bad(err);
    OPS(s)->move->event_set(o->event, event.ns);
    return true;
}

static bool load_printed(struct session *s, const uint8_t *at, uint32_t bytes, GError **err)
{
    uint64_t context;

    if (bytes < sizeof(context))
        return bad(err);
    memcpy(&context, at, sizeof(context));
    const struct object *o = session__find(s, OBJECT_CONTEXT, context);
    if (!o || (OPS(s)->printed && OPS(s)->printed(o->ctx, NULL, 0) > MIB(16)))
        return bad(err);
    OPS(s)->move->print_back(o->ctx, (const char *)at + sizeof(context), bytes - sizeof(context));
    return true;
}

static bool load_error(struct session *s, const uint8_t *at, uint32_t bytes, GError **err)
{
    struct image_error error;

    if (bytes != sizeof(error))
        return bad(err);
    memcpy(&error, at, sizeof(error));
    const struct object *o = session__find(s, OBJECT_CONTEXT, error.context);
    if (!o || !error.result || error.result == GPU_NOT_READY || error.result > GPU_UNKNOWN)
        return bad(err);
    OPS(s)->move->fail(o->ctx, (int)error.result);
    return true;
}

typedef bool (*load_fn)(struct session *s, const uint8_t *at, uint32_t bytes, GError **err);

/* Items until the session's end. */
static bool load_items(struct session *s, struct image *m, GError **err)
{
    static const load_fn loads[] = {
        [IMAGE_RECORD] = load_record, [IMAGE_MODULE] = load_module, [IMAGE_ALLOC] = load_alloc,
        [IMAGE_DATA] = load_data,     [IMAGE_EVENT] = load_event,   [IMAGE_PRINTED] = load_printed,
        [IMAGE_ERROR] = load_error};
    struct image_item item;
    const uint8_t *payload;
    bool ok = true;

    while (ok && image_next(m, &item, &payload)) {
        if (item.kind == IMAGE_SESSION_END)
            return true;
        load_fn load = s && item.kind < G_N_ELEMENTS(loads) ? loads[item.kind] : NULL;
        ok = load ? load(s, payload, item.bytes, err) : bad(err);
    }
    return ok ? bad(err) : false;
}

static bool all_loaded(struct session *s, GError **err)
{
    int rc = GPU_SUCCESS;

    for (guint i = 0; !rc && OPS(s)->move->loaded && i < s->contexts->len; i++)
        rc = OPS(s)->move->loaded(((struct object *)g_ptr_array_index(s->contexts, i))->ctx);
    return !rc || refused(err, "what the programs have", rc);
}

bool session_load(void *opaque, void *move)
{
    struct session_seat *seat = opaque;
    const struct session_move *how = move;
    struct image *m = how->image;
    GError **err = how->err;
    struct image_session head;
    struct image_item item;
    const uint8_t *payload;

    if (!seat->env->backend->ops->move || !seat->env->backend->ops->move->alloc)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "nothing can be moved to the backend %s",
                        seat->env->backend->ops->name);
    if (seat->env->backend->ops->move->takes &&
        !seat->env->backend->ops->move->takes(seat->env->backend, err))
        return false;
    if (!image_next(m, &item, &payload) || item.kind != IMAGE_SESSION || item.bytes != sizeof(head))
        return bad(err);
    memcpy(&head, payload, sizeof(head));
    const struct link_state state = {head.open, head.calls, head.answers};
    if (head.channel != seat->number || head.calls % GPU_ALIGN || head.answers % GPU_ALIGN ||
        (head.there && !head.open))
        return bad(err);
    link_adopt(seat->link, &state, head.there);
    if (!head.there)
        return load_items(NULL, m, err);
    if (how->major < head.major || (how->major == head.major && how->minor < head.minor))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the GPU has compute capability %u.%u, a program has begun with %u.%u",
                        how->major, how->minor, head.major, head.minor);
    seat->session = session__new(seat->env, seat->link, seat);
    seat->session->greeted = head.greeted;
    seat->session->major = head.major;
    seat->session->minor = head.minor;
    seat->session->late = (int)head.late;
    if (load_items(seat->session, m, err) && all_loaded(seat->session, err))
        return true;
    g_clear_pointer(&seat->session, session__free);
    return false;
}
