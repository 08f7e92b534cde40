/*
 * What moved to a context of the CUDA backend. See move.h, docs/gpu-migration.md.
 *
 * A driver places a module's variables where it likes. So it is given another text of the module, in
 * which they are addresses: the software device's loader, which knows what is one in an image, writes
 * that. The variables are memory as allocations are, and what they hold comes with the rest.
 */
#include "gpu/server/backend_cuda_priv.h"

#include "gpu/soft/soft.h"

int cuda__move_alloc(struct gpu_context *c, const struct gpu_place *place)
{
    return cuda__place(c, place, NULL);
}

int cuda__move_write(struct gpu_context *c, uint64_t address, const void *data, uint64_t bytes)
{
    uint64_t base, size;
    int rc = cuda__enter(c);

    if (rc)
        return rc;
    if (cuda__range(c, address, &base, &size) || bytes > size - (address - base))
        return GPU_ILLEGAL_ADDRESS;
    if (data)
        return c->d->write ? cuda__result(c, c->d->write(address, data, bytes)) : GPU_NOT_SUPPORTED;
    return c->d->clear ? cuda__result(c, c->d->clear(address, 0, bytes)) : GPU_NOT_SUPPORTED;
}

/* --- modules ---------------------------------------------------------------------------------- */

static int refused(GError **why, int rc, const char *text)
{
    vmd_fail(why, rc == GPU_OUT_OF_MEMORY ? VMD_ERROR_LIMIT : VMD_ERROR_UNSUPPORTED,
             "a program has a module that the GPU cannot take over: %s", text);
    return rc;
}

/* Loads what is to be the module's text into the driver. */
static int load_text(struct gpu_context *c, const char *text, struct gpu_module **out, GError **why)
{
    enum { LOG_BYTES = 4096 };
    g_autofree char *log = g_malloc0(LOG_BYTES);
    int rc = cuda__module_moved(c, (const uint8_t *)text, strlen(text), log, LOG_BYTES, out);

    log[LOG_BYTES - 1] = 0;
    return rc ? refused(why, rc, *log ? log : "the driver does not load it") : rc;
}

/* All of PLACES, as M's; none of them where one cannot be had. */
static int place_all(struct gpu_context *c, const struct gpu_module *m, const GArray *places)
{
    int rc = GPU_SUCCESS;

    for (guint i = 0; !rc && i < places->len; i++)
        rc = cuda__place(c, &g_array_index(places, struct gpu_place, i), m);
    if (rc)
        cuda__ranges_drop(c, m);
    return rc;
}

static void give_places(struct gpu_context *c, const struct gpu_module *m, const GArray *places)
{
    for (guint i = 0; i < places->len; i++)
        cuda__range_at(c, g_array_index(places, struct gpu_place, i).address)->module = m;
}

static void note_variables(struct gpu_module *m, const struct soft_module *soft,
                           const GArray *places)
{
    g_autofree struct soft_variable *variables = NULL;
    unsigned n = soft_module_variables(soft, &variables);

    m->variables = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (unsigned i = 0; i < n && variables[i].name; i++) {
        const struct cuda_variable v = {g_array_index(places, struct gpu_place, i),
                                        variables[i].functions};
        g_hash_table_replace(m->variables, g_strdup(variables[i].name),
                             g_memdup2(&v, sizeof(v)));
    }
    m->functions = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    m->places = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    g_array_append_vals(m->places, places->data, places->len);
}

static int module_at(struct gpu_context *c, const struct soft_module *soft, const char *text,
                     const GArray *places, struct gpu_module **out, GError **why)
{
    const struct gpu_module none = {.context = c}; /* what the driver has, comes where these are not */
    int rc = place_all(c, &none, places);

    if (rc)
        return refused(why, rc,
                       rc == GPU_OUT_OF_MEMORY ? "there is no memory for its variables"
                                               : "something is where its variables are");
    rc = load_text(c, text, out, why);
    if (rc) {
        cuda__ranges_drop(c, &none);
        return rc;
    }
    give_places(c, *out, places);
    note_variables(*out, soft, places);
    cuda__note_uses(*out, (struct soft_module *)soft);
    return GPU_SUCCESS;
}

int cuda__move_module_new(struct gpu_context *c, const uint8_t *image, size_t length,
                          const struct gpu_module_state *state, struct gpu_module **out,
                          GError **why)
{
    g_autofree char *text = NULL, *log = NULL;
    struct soft_module *soft = NULL;

    if (state->blocks->len)
        return refused(why, GPU_NOT_SUPPORTED, "kernels have memory of malloc()");
    if (state->uses & GPU_USES_FUNCTIONS)
        return refused(why, GPU_NOT_SUPPORTED,
                       "pointers to functions, which are others there, may be in memory");
    struct soft_space *space = soft_space_new(UINT64_MAX);
    int rc = soft_module_load_at(space, image, length, (const void *)state->places->data,
                                 state->places->len, NULL, 0, &soft, &text, &log);
    if (rc)
        refused(why, rc, log ? log : "its variables are not those of its image");
    else
        rc = module_at(c, soft, text, state->places, out, why);
    soft_module_unload(soft);
    soft_space_free(space);
    return rc;
}

/* --- the rest --------------------------------------------------------------------------------- */

void cuda__move_event_set(struct gpu_event *e, uint64_t ns)
{
    e->recorded = true;
    e->moved_ns = MAX(ns, 1);
}

/* The driver's own prints are in the worker's log; these were another device's, for the program. */
void cuda__move_print_back(struct gpu_context *c, const char *text, size_t length)
{
    g_byte_array_prepend(c->printed, (const guint8 *)text, (guint)length);
}

uint32_t cuda__printed(struct gpu_context *c, char *to, uint32_t most)
{
    uint32_t n = to ? MIN(c->printed->len, most) : c->printed->len;

    if (to && n) {
        memcpy(to, c->printed->data, n);
        g_byte_array_remove_range(c->printed, 0, n);
    }
    return n;
}

void cuda__move_fail(struct gpu_context *c, int rc)
{
    c->error = rc;
}
