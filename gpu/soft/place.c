/*
 * Modules that are to be where others were: their memory, and the blocks of their heaps.
 *
 * Loading is deterministic: the same image asks for the same sizes in the same order. So a plan of places is all that
 * it takes to have variables at the addresses that a program, or memory, knows them by.
 */
#include "gpu/soft/soft_priv.h"

unsigned soft_module_places(const struct soft_module *module, struct soft_place **places)
{
    unsigned n = module->owned->len;

    *places = g_new0(struct soft_place, n + 1);
    for (unsigned i = 0; i < n; i++)
        soft_space_range(module->space, g_array_index(module->owned, uint64_t, i), &(*places)[i].addr,
                         &(*places)[i].size);
    return n;
}

unsigned soft_module_variables(const struct soft_module *module, struct soft_variable **variables)
{
    unsigned n = module->variables->len;

    *variables = g_new0(struct soft_variable, n + 1);
    for (unsigned i = 0; i < n; i++) {
        const struct soft_global *g = module->variables->pdata[i];
        (*variables)[i] = (struct soft_variable){g->name, g->size, g->used, g->functions};
    }
    if (module->heap)
        (*variables)[n++] = (struct soft_variable){NULL, SOFT_HEAP, true, false};
    return n;
}

unsigned soft_function_uses(const struct soft_function *function)
{
    g_autofree bool *seen = g_new0(bool, function->module->functions->len);
    g_autoptr(GPtrArray) left = g_ptr_array_new();
    unsigned uses = 0;

    g_ptr_array_add(left, (void *)function);
    while (left->len) {
        const struct soft_function *fn = g_ptr_array_steal_index_fast(left, left->len - 1);

        if (seen[fn->index])
            continue;
        seen[fn->index] = true;
        uses |= fn->takes_functions ? SOFT_USES_FUNCTIONS : 0;
        uses |= fn->builtin == BUILTIN_MALLOC || fn->builtin == BUILTIN_FREE ? SOFT_USES_HEAP : 0;
        for (unsigned i = 0; i < fn->calls->len; i++) {
            const struct soft_call *call = fn->calls->pdata[i];

            if (call->callee)
                g_ptr_array_add(left, (void *)call->callee);
        }
    }
    return uses;
}

unsigned soft_module_uses(const struct soft_module *module)
{
    return atomic_load(&module->uses);
}

void soft_module_used(struct soft_module *module, unsigned uses)
{
    atomic_fetch_or(&module->uses, uses);
}

void soft_function_launched(const struct soft_function *function)
{
    atomic_bool *launched = &function->module->launched[function->index];

    if (!atomic_load_explicit(launched, memory_order_relaxed)) {
        soft_module_used(function->module, soft_function_uses(function));
        atomic_store_explicit(launched, true, memory_order_relaxed);
    }
}

unsigned soft_module_blocks(struct soft_module *module, struct soft_place **blocks)
{
    pthread_mutex_lock(&module->heap_lock);
    unsigned n = module->heap_used->len;
    *blocks = g_new(struct soft_place, n + 1);
    for (unsigned i = 0; i < n; i++) {
        const struct soft_global *g = &g_array_index(module->heap_used, struct soft_global, i);
        (*blocks)[i] = (struct soft_place){g->addr, g->size};
    }
    pthread_mutex_unlock(&module->heap_lock);
    return n;
}

/* Blocks are in the heap, one behind the other, in units of 16 bytes, as exec_malloc() has them. */
static bool take_blocks(struct soft_module *m, const struct soft_place *blocks, unsigned n)
{
    uint64_t from = m->heap, end = m->heap + SOFT_HEAP;

    if (n && !m->heap)
        return false;
    for (unsigned i = 0; i < n; i++) {
        const struct soft_global g = {.addr = blocks[i].addr, .size = blocks[i].size};
        if (g.addr < from || g.addr >= end || g.addr % 16 || !g.size || g.size % 16 || g.size > end - g.addr)
            return false;
        g_array_append_val(m->heap_used, g);
        from = g.addr + g.size;
    }
    return true;
}

int soft_module_load_at(struct soft_space *space, const void *image, size_t size,
                        const struct soft_place *places, unsigned n_places,
                        const struct soft_place *blocks, unsigned n_blocks, unsigned most,
                        struct soft_module **module, char **text, char **log)
{
    static const struct soft_place none;
    g_autofree char *edited = NULL;
    struct soft_module *m;

    soft_space_plan(space, places ? places : &none, n_places);
    int r = soft_module_load_text(space, image, size, most, &m, text ? &edited : NULL, log);
    bool all = soft_space_as_planned(space);
    soft_space_plan(space, NULL, 0);
    if (r)
        return r;
    if (!all || !take_blocks(m, blocks, n_blocks)) {
        soft_module_unload(m);
        return SOFT_INVALID_VALUE;
    }
    *module = m;
    if (text)
        *text = g_steal_pointer(&edited);
    return SOFT_OK;
}
