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

/* Whether it is of a variable that is not in memory, or not here. */
static bool is_absent(const struct gpu_context *c, uint64_t address, uint64_t bytes)
{
    for (guint i = 0; i < c->absent->len; i++) {
        const struct gpu_place *p = &g_array_index(c->absent, struct gpu_place, i);
        if (address >= p->address && address - p->address < p->bytes)
            return bytes <= p->bytes - (address - p->address);
    }
    return false;
}

int cuda__move_write(struct gpu_context *c, uint64_t address, const void *data, uint64_t bytes)
{
    uint64_t base, size;
    int rc = cuda__enter(c);

    if (rc)
        return rc;
    if (is_absent(c, address, bytes))
        return GPU_SUCCESS;
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

/* What has addresses of functions is where the driver has it; and what was nowhere before is so
 * here. */
static bool has_place(const struct soft_variable *v, const struct gpu_place *p)
{
    return !v->functions && p->address < CUDA_NOWHERE;
}

/* Those of PLACES, of VARIABLES, that have one, as M's; none of them where one cannot be had. */
static int place_all(struct gpu_context *c, const struct gpu_module *m,
                     const struct soft_variable *variables, const GArray *places)
{
    guint absent = c->absent->len;
    int rc = GPU_SUCCESS;

    for (guint i = 0; !rc && i < places->len; i++) {
        const struct gpu_place *p = &g_array_index(places, struct gpu_place, i);
        if (has_place(&variables[i], p))
            rc = cuda__place(c, p, m);
        else
            g_array_append_val(c->absent, *p);
    }
    if (rc) {
        cuda__ranges_drop(c, m);
        g_array_set_size(c->absent, absent);
    }
    return rc;
}

static void give_places(struct gpu_context *c, const struct gpu_module *m, const GArray *places)
{
    for (guint i = 0; i < places->len; i++) {
        struct cuda_range *r =
            cuda__range_at(c, g_array_index(places, struct gpu_place, i).address);
        if (r)
            r->module = m;
    }
}

static void note_variables(struct gpu_module *m, const struct soft_variable *variables,
                           const GArray *places)
{
    m->variables = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (guint i = 0; i < places->len && variables[i].name; i++) {
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
    g_autofree struct soft_variable *variables = NULL;
    unsigned n = soft_module_variables(soft, &variables);
    int rc = n == places->len ? place_all(c, &none, variables, places) : GPU_INVALID_VALUE;

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
    note_variables(*out, variables, places);
    cuda__note_uses(*out, (struct soft_module *)soft);
    return GPU_SUCCESS;
}

/* As PTX has it; 0: the driver does not tell. */
static unsigned target_of(const struct gpu_context *c)
{
    enum { MAJOR = 75, MINOR = 76 }; /* CUdevice_attribute */
    int major = 0, minor = 0;

    if (c->d->device_attribute(&major, MAJOR, c->backend->device) ||
        c->d->device_attribute(&minor, MINOR, c->backend->device))
        return 0;
    return (unsigned)(10 * major + minor);
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
                                 state->places->len, NULL, 0, target_of(c), &soft, &text, &log);
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

int cuda__event_since(struct gpu_event *e, uint64_t *ns)
{
    struct gpu_context *c = e->context;
    float ms = 0;

    *ns = e->moved_ns;
    if (e->moved_ns)
        return GPU_SUCCESS;
    if (!c->arrived)
        return GPU_INVALID_HANDLE;
    int rc = cuda__result(c, c->d->event_elapsed(&ms, c->arrived->handle, e->handle));
    if (!rc)
        *ns = c->arrived_ns + (ms > 0 ? (uint64_t)((double)ms * 1e6) : 0);
    return rc;
}

/* Nothing runs yet: a driver may still copy. */
int cuda__move_loaded(struct gpu_context *c)
{
    if (cuda__enter(c))
        return GPU_SUCCESS; /* that sticks, and is told with each call */
    int rc = cuda__event_new(c, 0, &c->arrived);
    if (!rc)
        rc = cuda__event_record(c->arrived, c->first);
    if (!rc && !cuda__settle(c))
        rc = c->error ? c->error : GPU_NOT_SUPPORTED;
    c->arrived_ns = meter_now();
    return rc;
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
