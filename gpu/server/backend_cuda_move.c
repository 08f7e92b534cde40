/*
 * What is saved of a context of the CUDA backend, for programs that move to the software device.
 * See move.h, docs/gpu-migration.md.
 *
 * A driver tells where variables are by their names, and no names. So modules are loaded once more,
 * by the software device's loader, into a space of no further use: that has the names, in the very
 * order in which the target will ask for places, and says what it does not run.
 */
#include "gpu/server/backend_cuda_priv.h"

#include "gpu/server/move.h"
#include "gpu/soft/soft.h"

#include <stdio.h>

enum { APART = 512, TOGETHER_NS = 1000000000 };

/* A save may follow, and times are told anew for each. */
static bool move_idle(struct gpu_context *c)
{
    c->epoch_ns = 0;
    return cuda__context_query(c) != GPU_NOT_READY;
}

static bool move_event_time(struct gpu_event *e, uint64_t *ns)
{
    struct gpu_context *c = e->context;
    uint64_t now = meter_now(), ago;

    *ns = e->moved_ns ? e->moved_ns : now;
    if (e->moved_ns || !e->recorded || (e->flags & CUDA_EVENT_NO_TIMING) || cuda__enter(c))
        return e->recorded;
    /* All that are saved at once are told from one moment, so that times between them are right. */
    if (!c->epoch && cuda__event_new(c, 0, &c->epoch))
        return true;
    if (now - c->epoch_ns > TOGETHER_NS) {
        if (cuda__event_record(c->epoch, c->first) || !cuda__settle(c))
            return true;
        c->epoch_ns = meter_now();
    }
    if (cuda__event_elapsed(e, c->epoch, &ago) == GPU_SUCCESS)
        *ns = c->epoch_ns - MIN(ago, c->epoch_ns);
    return true;
}

/* --- modules ---------------------------------------------------------------------------------- */

static bool refused(GError **err, const char *why, const char *more)
{
    return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                    "a program has a module that the software device cannot take over: %s%s", why,
                    more);
}

/* Where the driver has V; 0: it has dropped it. What of them is known here is saved: but one with
 * functions, which is there with a value of its own. */
static bool find(struct gpu_module *m, const struct soft_variable *v, uint64_t *address,
                 GError **err)
{
    struct cuda_range r = {.module = m};
    int rc = cuda__variable(m, v->name, &r.base, &r.bytes);

    if (rc == GPU_NOT_FOUND && !v->used)
        return true;
    if (rc == GPU_NOT_FOUND)
        return refused(err, "the driver does not tell where its variable is: ", v->name);
    if (rc)
        return vmd_fail(err, VMD_ERROR_IO, "asking for a variable of a module: error %d", rc);
    if (r.bytes != v->size)
        return refused(err, "what runs has another size of its variable ", v->name);
    *address = r.base;
    if (v->functions)
        g_array_append_val(m->functions, r.base);
    else if (!cuda__range_at(m->context, r.base))
        cuda__range_add(m->context, &r);
    return true;
}

static uint64_t nowhere(struct gpu_context *c, uint64_t bytes)
{
    uint64_t address = CUDA_NOWHERE + c->nowhere;

    c->nowhere += ALIGN_UP(bytes, (uint64_t)APART) + APART;
    return address;
}

/* Of a context with an error nobody sees any more where they are. */
static bool find_all(struct gpu_module *m, const struct soft_variable *variables, unsigned n,
                     GArray *places, GError **err)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    for (unsigned i = 0; i < n; i++) {
        const struct soft_variable *v = &variables[i];
        struct gpu_place place = {.bytes = v->size};
        if (v->name && !g_hash_table_add(names, (gpointer)v->name))
            return refused(err, "functions have several variables of one name: ", v->name);
        if (v->name && !m->context->error && !find(m, v, &place.address, err))
            return false;
        if (!place.address)
            place.address = nowhere(m->context, v->size);
        g_array_append_val(places, place);
    }
    return true;
}

void cuda__note_uses(struct gpu_module *m, struct soft_module *soft)
{
    const struct soft_function *f;
    struct soft_attributes a;

    m->uses = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (unsigned i = 0; (f = soft_module_kernel(soft, i)); i++) {
        soft_function_attributes(f, &a);
        g_hash_table_insert(m->uses, g_strdup(a.name), GUINT_TO_POINTER(soft_function_uses(f)));
    }
}

/* What the software device says of M's image. */
static bool look(struct gpu_module *m, const GByteArray *image, GError **err)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    struct soft_space *space = soft_space_new(UINT64_MAX);
    g_autofree struct soft_variable *variables = NULL;
    struct soft_module *soft = NULL;
    g_autofree char *log = NULL;
    int rc = soft_module_load(space, image->data, image->len - 1, &soft, &log);
    bool ok = !rc || refused(err, log ? log : "there is no memory for it", "");
    unsigned n = ok ? soft_module_variables(soft, &variables) : 0;

    g_clear_pointer(&m->functions, g_array_unref);
    m->functions = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    ok = ok && find_all(m, variables, n, places, err);
    if (ok) {
        cuda__note_uses(m, soft);
        m->places = g_steal_pointer(&places);
    }
    soft_module_unload(soft);
    soft_space_free(space);
    return ok;
}

/* What the program may have in memory, or in such a variable, that is a device's own. */
static bool check_uses(struct gpu_module *m, GError **err)
{
    if (m->asked)
        return refused(err, "it may have changed pointers to functions", "");
    for (guint i = 0; i < m->functions->len; i++) {
        if (cuda__range_at(m->context, g_array_index(m->functions, uint64_t, i)))
            return refused(err, "it may have changed pointers to functions", "");
    }
    for (guint i = 0; i < m->kernels->len; i++) {
        const struct gpu_kernel *k = g_ptr_array_index(m->kernels, i);
        unsigned uses = GPOINTER_TO_UINT(g_hash_table_lookup(m->uses, k->name));
        if (k->launched && (uses & SOFT_USES_HEAP))
            return refused(err, "malloc() has used the driver's heap in ", k->name);
        if (k->launched && (uses & SOFT_USES_FUNCTIONS))
            return refused(err, "pointers to functions, which are others there, are in ", k->name);
    }
    return true;
}

static bool move_module_state(struct gpu_context *c, struct gpu_module *m, const GByteArray *image,
                              struct gpu_module_state *state, GError **err)
{
    if (!m->places && !look(m, image, err))
        return false;
    if (!c->error && !check_uses(m, err))
        return false;
    g_array_append_vals(state->places, m->places->data, m->places->len);
    return true;
}

/* --- memory ----------------------------------------------------------------------------------- */

static void move_places(struct gpu_context *c, GArray *places)
{
    /* Until then a driver may keep what kernels printed, and this process what the driver did. */
    if (!cuda__enter(c) && cuda__settle(c))
        fflush(stdout);
    for (size_t i = 0; i < c->n_ranges; i++) {
        const struct gpu_place place = {c->ranges[i].base, c->ranges[i].bytes};
        if (!c->error || !c->ranges[i].module)
            g_array_append_val(places, place);
    }
}

static int move_read(struct gpu_context *c, uint64_t address, void *data, uint64_t bytes)
{
    int rc = cuda__enter(c);

    if (!rc)
        rc = c->d->read ? cuda__result(c, c->d->read(data, address, bytes)) : GPU_NOT_SUPPORTED;
    return rc;
}

const struct gpu_move_ops cuda__move = {
    .takes = cuda__takes,
    .idle = move_idle,
    .places = move_places,
    .alloc = cuda__move_alloc,
    .read = move_read,
    .write = cuda__move_write,
    .module_state = move_module_state,
    .module_new = cuda__move_module_new,
    .event_time = move_event_time,
    .event_set = cuda__move_event_set,
    .print_back = cuda__move_print_back,
    .fail = cuda__move_fail,
    .loaded = cuda__move_loaded,
};
