/* The CPU's engine: a context is a space of gpu/soft, which has all that matters. */
#include "gpu/server/engine_soft.h"

#include "gpu/soft/soft.h"

#include <stdio.h>
#include <sys/sysinfo.h>

struct gpu_engine {
    struct soft_space *space;
    atomic_bool cancel;
};

/* By CUdevice_attribute. */
static const struct {
    unsigned attribute;
    int value;
} attributes[] = {
    {1, SOFT_MAX_THREADS},
    {2, SOFT_MAX_THREADS},
    {3, SOFT_MAX_THREADS},
    {4, SOFT_MAX_BLOCK_Z},
    {5, INT32_MAX},
    {6, SOFT_MAX_GRID_YZ},
    {7, SOFT_MAX_GRID_YZ},
    {8, 48 << 10},
    {9, 64 << 10},
    {10, SOFT_WARP},
    {11, INT32_MAX},
    {12, 65536},
    {13, 1000000},
    {14, 512},
    {15, 1},
    {16, 1},
    {20, 0},
    {31, 1},
    {36, 1000000},
    {37, 64},
    {38, 1 << 20},
    {39, 2048},
    {40, 1},
    {41, 1},
    {75, SOFT_COMPUTE_MAJOR},
    {76, SOFT_COMPUTE_MINOR},
    {78, 1},
    {81, SOFT_MAX_SHARED},
    {82, 65536},
    {83, 1},
    {95, 1},
    {97, SOFT_MAX_SHARED},
    {106, 32},
    {111, 1024},
    {115, 1},
    {122, 1},
};

static int soft_device(struct gpu_device_info *out)
{
    struct sysinfo host;

    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "vmd software GPU");
    out->memory = sysinfo(&host) == 0 ? (uint64_t)host.totalram * host.mem_unit : GIB(1);
    out->n_attributes = G_N_ELEMENTS(out->attributes);
    for (size_t i = 0; i < G_N_ELEMENTS(attributes); i++)
        out->attributes[attributes[i].attribute] = attributes[i].value;
    out->attributes[16] = (int)g_get_num_processors();
    return GPU_SUCCESS;
}

static struct gpu_engine *soft_open(uint64_t memory_most)
{
    struct gpu_engine *e = g_new0(struct gpu_engine, 1);

    e->space = soft_space_new(memory_most);
    return e;
}

static void soft_close(struct gpu_engine *e)
{
    soft_space_free(e->space);
    g_free(e);
}

static void soft_cancel(struct gpu_engine *e)
{
    atomic_store(&e->cancel, true);
}

static int soft_alloc(struct gpu_engine *e, uint64_t bytes, uint64_t *address)
{
    return soft_space_alloc(e->space, bytes, address);
}

static int soft_alloc_at(struct gpu_engine *e, uint64_t address, uint64_t bytes)
{
    return soft_space_alloc_at(e->space, address, bytes);
}

static int soft_free(struct gpu_engine *e, uint64_t address)
{
    return soft_space_release(e->space, address);
}

static bool soft_may_free(struct gpu_engine *e, uint64_t address)
{
    return soft_space_releasable(e->space, address);
}

static bool soft_range(struct gpu_engine *e, uint64_t address, uint64_t *base, uint64_t *bytes)
{
    return soft_space_range(e->space, address, base, bytes) == SOFT_OK;
}

static void *soft_host(struct gpu_engine *e, uint64_t address, uint64_t length)
{
    return soft_space_host(e->space, address, length);
}

static int soft_load(struct gpu_engine *e, const uint8_t *image, size_t length, char *log,
                     size_t log_bytes, struct gpu_module **out)
{
    struct soft_module *module;
    g_autofree char *text = NULL;
    int rc = soft_module_load(e->space, image, length, &module, &text);

    g_strlcpy(log, text ? text : "", log_bytes);
    if (!rc)
        *out = (struct gpu_module *)module;
    return rc;
}

static void soft_unload(struct gpu_module *m)
{
    soft_module_unload((struct soft_module *)m);
}

static uint64_t soft_bytes(const struct gpu_module *m)
{
    return soft_module_bytes((const struct soft_module *)m);
}

static int soft_kernel(struct gpu_module *m, const char *name, struct gpu_kernel **out,
                       struct gpu_kernel_info *info)
{
    const struct soft_function *f;
    struct soft_attributes a;
    struct soft_param param;
    int rc = soft_module_function((struct soft_module *)m, name, &f);

    if (rc)
        return rc;
    soft_function_attributes(f, &a);
    *info = (struct gpu_kernel_info){.max_threads = a.max_threads,
                                     .static_shared = a.shared,
                                     .local = a.local,
                                     .constant = a.constant,
                                     .registers = a.registers,
                                     .ptx_version = a.ptx_version,
                                     .binary_version = a.target};
    if (a.params > G_N_ELEMENTS(info->params))
        return GPU_NOT_SUPPORTED;
    for (; info->n_params < a.params; info->n_params++) {
        soft_function_param(f, info->n_params, &param);
        info->params[info->n_params] = (struct gpu_param){param.offset, param.size};
    }
    *out = (struct gpu_kernel *)f;
    return GPU_SUCCESS;
}

static int soft_global(struct gpu_module *m, const char *name, uint64_t *address, uint64_t *bytes)
{
    return soft_module_global((struct soft_module *)m, name, address, bytes);
}

static int soft_run(struct gpu_engine *e, struct gpu_kernel *k, const struct gpu_launch *l)
{
    const struct soft_launch launch = {.function = (const struct soft_function *)k,
                                       .grid = {l->grid[0], l->grid[1], l->grid[2]},
                                       .block = {l->block[0], l->block[1], l->block[2]},
                                       .shared = l->shared,
                                       .params = l->params,
                                       .param_bytes = l->params_bytes,
                                       .cooperative = l->cooperative,
                                       .cancel = &e->cancel,
                                       .print = l->print,
                                       .arg = l->opaque};

    return soft_launch_run(&launch, NULL);
}

/* --- moving ----------------------------------------------------------------------------------- */

/* The same, by other names: 16 bytes each. */
_Static_assert(sizeof(struct soft_place) == sizeof(struct gpu_place) &&
                   offsetof(struct soft_place, size) == offsetof(struct gpu_place, bytes),
               "places are copied");

static void append(GArray *to, struct soft_place *places, unsigned n)
{
    g_array_append_vals(to, places, n);
    g_free(places);
}

static void soft_places(struct gpu_engine *e, GArray *places)
{
    struct soft_place *all;
    unsigned n = soft_space_places(e->space, &all);

    append(places, all, n);
}

static int soft_restore(struct gpu_engine *e, uint64_t address, uint64_t bytes)
{
    return soft_space_restore(e->space, address, bytes);
}

_Static_assert(GPU_USES_HEAP == (int)SOFT_USES_HEAP &&
                   GPU_USES_FUNCTIONS == (int)SOFT_USES_FUNCTIONS,
               "uses are copied");

static void soft_module_state(struct gpu_module *m, struct gpu_module_state *state)
{
    struct soft_module *module = (struct soft_module *)m;
    struct soft_place *all;
    unsigned n = soft_module_places(module, &all);

    append(state->places, all, n);
    n = soft_module_blocks(module, &all);
    append(state->blocks, all, n);
    state->uses |= soft_module_uses(module);
}

static int soft_module_at(struct gpu_engine *e, const uint8_t *image, size_t length,
                          const struct gpu_module_state *state, struct gpu_module **out)
{
    const GArray *places = state->places, *blocks = state->blocks;
    struct soft_module *module;
    int rc = soft_module_load_at(e->space, image, length, (const void *)places->data, places->len,
                                 (const void *)blocks->data, blocks->len, SOFT_TARGET, &module,
                                 NULL, NULL);

    if (rc)
        return rc;
    soft_module_used(module, state->uses);
    *out = (struct gpu_module *)module;
    return GPU_SUCCESS;
}

const struct gpu_engine_ops engine_soft = {
    .name = "soft",
    .device = soft_device,
    .open = soft_open,
    .close = soft_close,
    .cancel = soft_cancel,
    .alloc = soft_alloc,
    .alloc_at = soft_alloc_at,
    .free = soft_free,
    .may_free = soft_may_free,
    .range = soft_range,
    .host = soft_host,
    .module_new = soft_load,
    .module_free = soft_unload,
    .module_bytes = soft_bytes,
    .kernel = soft_kernel,
    .global = soft_global,
    .launch = soft_run,
    .places = soft_places,
    .restore = soft_restore,
    .module_state = soft_module_state,
    .module_at = soft_module_at,
};
