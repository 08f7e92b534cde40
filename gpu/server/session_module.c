/* A session's modules, and the kernels and variables in them. */
#include "gpu/server/session_priv.h"

static int call_image(struct session *s, struct call *c)
{
    g_byte_array_set_size(s->image, 0);
    return FIELDS(c, image)->bytes <= GPU_IMAGE ? GPU_SUCCESS : GPU_INVALID_VALUE;
}

/* Parts come in order, so that an image takes as much memory as was sent of it. */
static int call_image_part(struct session *s, struct call *c)
{
    if (FIELDS(c, image_part)->offset != s->image->len ||
        s->image->len + c->payload_bytes > GPU_IMAGE)
        return GPU_INVALID_VALUE;
    g_byte_array_append(s->image, c->payload, c->payload_bytes);
    return GPU_SUCCESS;
}

static int call_module_new(struct session *s, struct call *c)
{
    const struct gpu_call_module_new *in = FIELDS(c, module_new);
    struct object *context = session__find(s, OBJECT_CONTEXT, in->ctx);
    int rc = GPU_SUCCESS;

    if (!context)
        return GPU_INVALID_CONTEXT;
    struct object *o = session__add(s, OBJECT_MODULE, in->module, context, &rc);
    if (!o)
        return rc;
    guint length = s->image->len;
    g_byte_array_append(s->image, (const guint8 *)"", 1);
    rc = OPS(s)->module_new(context->ctx, s->image->data, length, (char *)c->out, GPU_LOG, &o->mod);
    c->out_bytes = (uint32_t)strlen((const char *)c->out);
    session__keep_image(s, rc ? NULL : o);
    if (rc)
        session__drop(s, o);
    return rc;
}

static int call_module_free(struct session *s, struct call *c)
{
    struct object *module = session__find(s, OBJECT_MODULE, FIELDS(c, module_free)->module), *o;
    GHashTableIter iter;

    if (!module)
        return GPU_INVALID_HANDLE;
    /* Programs synchronise first, as the library does; one that does not keeps its module. */
    if (OPS(s)->context_query(module->context->ctx) == GPU_NOT_READY)
        return GPU_NOT_READY;
    g_hash_table_iter_init(&iter, s->objects);
    while (g_hash_table_iter_next(&iter, NULL, (gpointer *)&o)) {
        if (o->kind == OBJECT_KERNEL && o->module == module)
            g_hash_table_iter_remove(&iter);
    }
    OPS(s)->module_free(module->context->ctx, module->mod);
    session__forget_image(s, module);
    session__drop(s, module);
    return GPU_SUCCESS;
}

/* The name in the payload; NULL where it is none. */
static char *payload_name(const struct call *c)
{
    bool whole = c->payload_bytes && !memchr(c->payload, 0, c->payload_bytes);

    return whole ? g_strndup((const char *)c->payload, c->payload_bytes) : NULL;
}

static int call_function(struct session *s, struct call *c)
{
    const struct gpu_call_function *in = FIELDS(c, function);
    struct gpu_answer_function *out = ANSWER(c, function);
    struct object *module = session__find(s, OBJECT_MODULE, in->module);
    g_autofree char *name = payload_name(c);
    g_autofree struct gpu_kernel_info *info = g_new0(struct gpu_kernel_info, 1);
    int rc = GPU_SUCCESS;

    if (!module || !name)
        return module ? GPU_INVALID_VALUE : GPU_INVALID_HANDLE;
    struct object *o = session__add(s, OBJECT_KERNEL, in->function, module->context, &rc);
    if (!o)
        return rc;
    o->module = module;
    rc = OPS(s)->kernel(module->context->ctx, module->mod, name, &o->kernel, info);
    if (rc) {
        session__drop(s, o);
        return rc;
    }
    *out = (struct gpu_answer_function){info->max_threads, info->static_shared, info->local,
                                        info->constant,    info->registers,     info->n_params,
                                        info->ptx_version, info->binary_version};
    for (unsigned i = 0; i < info->n_params; i++)
        o->params_bytes = MAX(o->params_bytes, info->params[i].offset + info->params[i].size);
    o->max_threads = info->max_threads;
    c->out_bytes = info->n_params * (uint32_t)sizeof(info->params[0]);
    memcpy(c->out, info->params, c->out_bytes);
    return GPU_SUCCESS;
}

static int call_global(struct session *s, struct call *c)
{
    struct object *module = session__find(s, OBJECT_MODULE, FIELDS(c, global)->module);
    struct gpu_answer_global *out = ANSWER(c, global);
    g_autofree char *name = payload_name(c);

    if (!module || !name)
        return module ? GPU_INVALID_VALUE : GPU_INVALID_HANDLE;
    return OPS(s)->global(module->context->ctx, module->mod, name, &out->address, &out->bytes);
}

static int call_function_set(struct session *s, struct call *c)
{
    const struct gpu_call_function_set *in = FIELDS(c, function_set);
    const struct object *o = session__find(s, OBJECT_KERNEL, in->function);

    return o ? OPS(s)->kernel_set(o->kernel, in->attribute, in->value) : GPU_INVALID_HANDLE;
}

static int call_occupancy(struct session *s, struct call *c)
{
    const struct gpu_call_occupancy *in = FIELDS(c, occupancy);
    struct object *o = session__find(s, OBJECT_KERNEL, in->function);

    if (!o)
        return GPU_INVALID_HANDLE;
    return OPS(s)->occupancy(o->context->ctx, o->kernel, in->block, in->shared,
                             &ANSWER(c, occupancy)->blocks);
}

static const call_fn calls[GPU_OP_END] = {
    [GPU_OP_IMAGE] = call_image,
    [GPU_OP_IMAGE_PART] = call_image_part,
    [GPU_OP_MODULE_NEW] = call_module_new,
    [GPU_OP_MODULE_FREE] = call_module_free,
    [GPU_OP_FUNCTION] = call_function,
    [GPU_OP_GLOBAL] = call_global,
    [GPU_OP_FUNCTION_SET] = call_function_set,
    [GPU_OP_OCCUPANCY] = call_occupancy,
};

call_fn session__module_call(unsigned op)
{
    return op < GPU_OP_END ? calls[op] : NULL;
}
