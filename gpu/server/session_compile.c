/* What a session has compiled: sources of its program, for the device of its backend. See
 * compiler.h. */
#include "gpu/protocol/source.h"
#include "gpu/server/session_priv.h"

G_STATIC_ASSERT(LIMIT_GPU_COMPILES == GPU_COMPILES);

/* Whether what was sent as an image is a source; it is no image any more. */
static GByteArray *take_source(struct session *s)
{
    g_autofree struct gpu_source *source = g_new0(struct gpu_source, 1);
    GByteArray *bytes = g_steal_pointer(&s->image);

    s->image = g_byte_array_new();
    if (gpu_source_read(bytes->data, bytes->len, source))
        return bytes;
    g_byte_array_free(bytes, TRUE);
    return NULL;
}

static int begin(struct session *s, struct object *o, const char *target)
{
    struct compiler *compiler = OPS(s)->compiler(s->env->backend);
    GByteArray *source = take_source(s);
    int rc = GPU_INVALID_VALUE;

    if (!source)
        return rc;
    o->compile = compiler_begin(compiler, target, source->data, source->len, &rc);
    g_byte_array_free(source, TRUE);
    return o->compile ? GPU_SUCCESS : rc;
}

static int call_compile(struct session *s, struct call *c)
{
    const struct gpu_call_compile *in = FIELDS(c, compile);
    const char *target = OPS(s)->compiler ? OPS(s)->target(s->env->backend, in->device) : NULL;
    int rc = GPU_SUCCESS;

    if (!target)
        return OPS(s)->compiler ? GPU_INVALID_DEVICE : GPU_NOT_SUPPORTED;
    if (s->compiles >= LIMIT_GPU_COMPILES || !session__may_wait(s))
        return GPU_OUT_OF_RESOURCES;
    struct object *o = session__add(s, OBJECT_COMPILE, in->compile, NULL, &rc);
    if (!o)
        return rc;
    rc = begin(s, o, target);
    if (rc) {
        session__drop(s, o);
        return rc;
    }
    s->compiles++;
    session__later(s, c, NULL)->compile = o->compile;
    return GPU_SUCCESS;
}

int session__compile_state(struct pending *p)
{
    struct compile_told told;

    if (!compile_over(p->compile, &told))
        return GPU_NOT_READY;
    p->compiled = (struct gpu_answer_compile){.result = told.result,
                                              .log = told.bytes[COMPILE_LOG],
                                              .code = told.bytes[COMPILE_CODE],
                                              .names = told.bytes[COMPILE_NAMES]};
    return GPU_SUCCESS;
}

bool session__only_compiles(const struct session *s)
{
    for (guint i = 0; i < s->pending->len; i++) {
        if (!((const struct pending *)g_ptr_array_index(s->pending, i))->compile)
            return false;
    }
    return true;
}

static int call_compiled(struct session *s, struct call *c)
{
    const struct gpu_call_compiled *in = FIELDS(c, compiled);
    struct object *o = session__find(s, OBJECT_COMPILE, in->compile);
    struct compile_told told;

    if (!o)
        return GPU_INVALID_HANDLE;
    if (!compile_over(o->compile, &told))
        return GPU_NOT_READY;
    c->out_bytes =
        compile_read(o->compile, (enum compile_part)in->part, in->offset, c->out, GPU_INLINE);
    return GPU_SUCCESS;
}

/* Whoever waits for COMPILE hears that it is none; how long that takes is no time of the backend's.
 * A program that is gone is noticed by the call's own answer. */
static void end_wait(struct session *s, const struct compile *compile)
{
    session__leave(s);
    for (guint i = s->pending->len; i-- > 0;) {
        const struct pending *p = g_ptr_array_index(s->pending, i);
        if (p->compile != compile)
            continue;
        if (!p->silent)
            session__answer(s, p->op, p->seq, GPU_INVALID_HANDLE, NULL, NULL, 0, 0);
        g_ptr_array_remove_index(s->pending, i);
    }
    session__enter(s, GPU_OP_COMPILE_FREE);
}

static int call_compile_free(struct session *s, struct call *c)
{
    struct object *o = session__find(s, OBJECT_COMPILE, FIELDS(c, compile_free)->compile);

    if (!o)
        return GPU_INVALID_HANDLE;
    end_wait(s, o->compile);
    s->compiles--;
    session__drop(s, o);
    return GPU_SUCCESS;
}

static const call_fn calls[GPU_OP_END] = {
    [GPU_OP_COMPILE] = call_compile,
    [GPU_OP_COMPILED] = call_compiled,
    [GPU_OP_COMPILE_FREE] = call_compile_free,
};

call_fn session__compile_call(unsigned op)
{
    return op < GPU_OP_END ? calls[op] : NULL;
}
