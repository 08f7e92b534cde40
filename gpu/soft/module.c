/*
 * Modules: an image parsed into functions and variables of a space.
 */
#include "gpu/soft/ptx/edit.h"

#include <string.h>

/* Of names, lists and constants of a function or variable: about. */
enum { FUNCTION_BYTES = 1024 };

static void function_free(void *data)
{
    struct soft_function *fn = data;

    g_free(fn->name);
    g_array_unref(fn->params);
    g_array_unref(fn->rets);
    g_ptr_array_unref(fn->calls);
    g_ptr_array_unref(fn->tables);
    g_free(fn->ops);
    g_aligned_free(fn->consts);
    g_free(fn);
}

static void global_free(void *data)
{
    struct soft_global *g = data;

    g_free(g->name);
    g_free(g);
}

static struct soft_module *module_new(struct soft_space *space)
{
    struct soft_module *m = g_new0(struct soft_module, 1);

    m->space = space;
    m->functions = g_ptr_array_new_with_free_func(function_free);
    m->variables = g_ptr_array_new_with_free_func(global_free);
    m->globals = g_hash_table_new(g_str_hash, g_str_equal);
    m->owned = g_array_new(false, false, sizeof(uint64_t));
    m->heap_used = g_array_new(false, false, sizeof(struct soft_global));
    pthread_mutex_init(&m->heap_lock, NULL);
    return m;
}

void soft_module_unload(struct soft_module *module)
{
    if (!module)
        return;
    for (unsigned i = 0; i < module->owned->len; i++)
        soft_space_release_own(module->space, g_array_index(module->owned, uint64_t, i));
    g_ptr_array_unref(module->functions);
    g_hash_table_unref(module->globals);
    g_ptr_array_unref(module->variables);
    g_array_unref(module->owned);
    g_array_unref(module->heap_used);
    g_free(module->launched);
    pthread_mutex_destroy(&module->heap_lock);
    g_free(module);
}

static uint64_t function_bytes(const struct soft_function *fn)
{
    uint64_t bytes = sizeof(*fn) + FUNCTION_BYTES + fn->n_ops * sizeof(struct soft_op) +
                     fn->calls->len * sizeof(struct soft_call);

    for (unsigned i = 0; i < fn->tables->len; i++)
        bytes += ((const GArray *)fn->tables->pdata[i])->len * sizeof(uint32_t);
    return bytes;
}

uint64_t soft_module_bytes(const struct soft_module *module)
{
    uint64_t bytes = sizeof(*module), base, size;

    bytes += module->variables->len * (sizeof(struct soft_global) + FUNCTION_BYTES);
    for (unsigned i = 0; i < module->owned->len; i++) {
        uint64_t addr = g_array_index(module->owned, uint64_t, i);
        if (soft_space_range(module->space, addr, &base, &size) == SOFT_OK)
            bytes += size;
    }
    for (unsigned i = 0; i < module->functions->len; i++)
        bytes += function_bytes(module->functions->pdata[i]);
    return bytes;
}

/* Kernels that call malloc() have a heap. */
static int heap(struct soft_module *m)
{
    for (unsigned i = 0; i < m->functions->len; i++) {
        const struct soft_function *fn = m->functions->pdata[i];

        if (fn->builtin != BUILTIN_MALLOC)
            continue;
        if (soft_space_alloc_own(m->space, SOFT_HEAP, &m->heap))
            return SOFT_OUT_OF_MEMORY;
        g_array_append_val(m->owned, m->heap);
        return SOFT_OK;
    }
    return SOFT_OK;
}

int soft_module_load_text(struct soft_space *space, const void *image, size_t size, unsigned most,
                          struct soft_module **module, char **edited, char **log)
{
    g_autofree char *text = NULL, *why = NULL;
    struct ptx_edits edits;
    struct soft_module *m;
    size_t len;
    int r;

    if (log)
        *log = NULL;
    r = soft_image_ptx(image, size, MIN(most, (unsigned)SOFT_TARGET), &text, &len, &why);
    if (!r) {
        m = module_new(space);
        ptx_edits_init(&edits);
        r = ptx_parse(m, text, len, edited ? &edits : NULL, &why);
        if (!r)
            r = heap(m);
        if (!r && edited)
            *edited = ptx_edits_apply(&edits, text, len);
        ptx_edits_clear(&edits);
        m->launched = g_new0(atomic_bool, m->functions->len + 1);
        if (r)
            soft_module_unload(m);
        else
            *module = m;
    }
    if (log)
        *log = g_steal_pointer(&why);
    return r;
}

int soft_module_load(struct soft_space *space, const void *image, size_t size,
                     struct soft_module **module, char **log)
{
    return soft_module_load_text(space, image, size, SOFT_TARGET, module, NULL, log);
}

const struct soft_function *soft_module_kernel(struct soft_module *module, unsigned n)
{
    for (unsigned i = 0; i < module->functions->len; i++) {
        const struct soft_function *fn = module->functions->pdata[i];

        if (fn->entry && fn->defined && n-- == 0)
            return fn;
    }
    return NULL;
}

int soft_module_function(struct soft_module *module, const char *name,
                         const struct soft_function **function)
{
    const struct soft_function *fn;

    for (unsigned i = 0; (fn = soft_module_kernel(module, i)); i++) {
        if (!strcmp(fn->name, name)) {
            *function = fn;
            return SOFT_OK;
        }
    }
    return SOFT_NOT_FOUND;
}

int soft_module_global(struct soft_module *module, const char *name, uint64_t *addr,
                       uint64_t *size)
{
    const struct soft_global *g = g_hash_table_lookup(module->globals, name);

    if (!g)
        return SOFT_NOT_FOUND;
    *addr = g->addr;
    *size = g->size;
    if (g->functions)
        soft_module_used(module, SOFT_USES_FUNCTIONS);
    return SOFT_OK;
}

void soft_function_attributes(const struct soft_function *function, struct soft_attributes *out)
{
    *out = (struct soft_attributes){
        .name = function->name,
        .max_threads = function->max_threads,
        .shared = function->shared,
        .constant = function->module->const_bytes,
        .local = function->local,
        .registers = function->registers,
        .ptx_version = function->module->version,
        .target = function->module->target,
        .params = function->params->len,
        .param_bytes = function->param_bytes,
    };
    memcpy(out->required, function->required, sizeof(out->required));
}

int soft_function_param(const struct soft_function *function, unsigned n, struct soft_param *out)
{
    if (n >= function->params->len)
        return SOFT_INVALID_VALUE;
    const struct soft_formal *f = &g_array_index(function->params, struct soft_formal, n);

    *out = (struct soft_param){f->offset, f->size, f->align};
    return SOFT_OK;
}
