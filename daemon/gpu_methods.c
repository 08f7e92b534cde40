/* What clients do with the GPUs of VMs: attach, detach, stats, limits. See gpus.h. */
#include "daemon/gpus_priv.h"

#include "daemon/registry.h"
#include "daemon/vm_devices.h"
#include "daemon/vm_gpu.h"
#include "proto/schema/vmi.h"

/* --- attach and detach ------------------------------------------------------------------------ */

/* Gives VM CONFIG, which is taken, and answers with what it is then. */
static void reconfigure(struct gpus *g, struct vm *vm, struct vm_config *config,
                        struct rpc_call *call)
{
    GError *err = NULL;

    if (!registry_configure(gpus__daemon(g)->registry, vm, config, &err)) {
        rpc_call_fail(call, err);
        return;
    }
    g_autoptr(vm_info) described = vm_describe(vm);
    rpc_call_reply_typed(call, &vm_info_type, described, -1);
}

struct attachment {
    struct rpc_call *call;
    char *vm; /* its id */
    char *gpu;
    uint64_t memory;
};

/* What A asks for; NULL with an error. UNKNOWN: why the driver could not be asked. */
static struct vm_gpu_config *gpu_of(struct gpus *g, const struct attachment *a,
                                    const GError *unknown, GError **err)
{
    int index;

    if (unknown) {
        g_propagate_error(err, g_error_copy(unknown));
        return NULL;
    }
    if (!gpus__resolve(g, a->gpu, &index, err))
        return NULL;
    struct vm_gpu_config *gpu = gpus__at(g, index, NULL);
    gpu->memory = a->memory;
    return gpu;
}

/* Whether VM, which runs, can be given another GPU or none now; else CALL is answered with an
 * error. */
static bool reachable(struct rpc_call *call, const struct vm *vm)
{
    if (vm_reachable(vm))
        return true;
    rpc_call_error(call, VMD_ERROR_STATE, "VM %s is %s", vm_name(vm),
                   vm_state_to_string(vm_state(vm)));
    return false;
}

/* GPU is taken. */
static void attach(struct gpus *g, struct vm *vm, struct vm_gpu_config *gpu, struct rpc_call *call)
{
    const struct vm_config *next = vm_next_config_of(vm);

    if (vm_active(vm) ? vm_run_gpu(vm) != NULL : next->gpu != NULL) {
        rpc_call_error(call, VMD_ERROR_EXISTS, "VM %s has a GPU already; detach it first",
                       vm_name(vm));
    } else if (vm_active(vm)) {
        if (reachable(call, vm))
            vm_devices_attach_gpu(vm_devices_of(vm), gpu, !next->gpu && !next->ephemeral, call);
    } else {
        struct vm_config *config = vm_config_copy(next);
        config->gpu = g_steal_pointer(&gpu);
        reconfigure(g, vm, config, call);
    }
    vm_gpu_config_free(gpu);
}

static void attach_known(struct gpus *g, void *arg, const GError *unknown)
{
    struct attachment *a = arg;
    struct vm *vm = registry_find(gpus__daemon(g)->registry, a->vm);
    GError *err = NULL;
    struct vm_gpu_config *gpu = gpu_of(g, a, unknown, &err);

    if (!gpu) {
        rpc_call_fail(a->call, err);
    } else if (vm) {
        attach(g, vm, gpu, a->call);
    } else {
        rpc_call_error(a->call, VMD_ERROR_GONE, "the VM was deleted meanwhile");
        vm_gpu_config_free(gpu);
    }
    g_free(a->vm);
    g_free(a->gpu);
    g_free(a);
}

void gpus_attach(struct gpus *g, struct vm *vm, const struct gpu_attach_params *params,
                 struct rpc_call *call)
{
    struct attachment *a = g_new0(struct attachment, 1);

    a->call = call;
    a->vm = g_strdup(vm_id(vm));
    a->gpu = g_strdup(params->gpu);
    a->memory = params->memory;
    if (gpus__is_soft(params->gpu))
        attach_known(g, a, NULL);
    else
        gpus__when_known(g, attach_known, a);
}

void gpus_detach(struct gpus *g, struct vm *vm, struct rpc_call *call)
{
    const struct vm_config *next = vm_next_config_of(vm);

    if (vm_active(vm) && vm_run_gpu(vm)) {
        if (reachable(call, vm))
            vm_devices_detach_gpu(vm_devices_of(vm), next->gpu && !next->ephemeral, call);
        return;
    }
    if (!next->gpu) {
        rpc_call_error(call, VMD_ERROR_NOT_FOUND, "VM %s has no GPU", vm_name(vm));
        return;
    }
    struct vm_config *config = vm_config_copy(next);
    g_clear_pointer(&config->gpu, vm_gpu_config_free);
    reconfigure(g, vm, config, call);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void fill_limits(struct gpu_limits_result *r)
{
    size_t n;
    const struct limit *rows = limits_table(&n);

    r->limits = g_new0(struct limit_row *, n);
    for (size_t i = 0; i < n; i++) {
        if (!g_str_has_prefix(rows[i].name, "GPU_") || g_str_has_prefix(rows[i].name, "GPU_MEMORY"))
            continue;
        struct limit_row *row = limit_row_new();
        row->name = g_strdup(rows[i].name);
        row->value = rows[i].value;
        row->unit = g_strdup(rows[i].unit);
        row->doc = g_strdup(rows[i].doc);
        r->limits[r->n_limits++] = row;
    }
}

/* Sets the memory of VM's GPU; false where CALL was answered with an error. */
static bool set_memory(struct gpus *g, struct vm *vm, uint64_t memory, struct rpc_call *call)
{
    GError *err = NULL;

    if (vm_active(vm)) {
        rpc_call_error(call, VMD_ERROR_STATE,
                       "VM %s is %s: the limit of its GPU stays as long as the run", vm_name(vm),
                       vm_state_to_string(vm_state(vm)));
        return false;
    }
    struct vm_config *config = vm_config_copy(vm_next_config_of(vm));
    config->gpu->memory = memory;
    if (registry_configure(gpus__daemon(g)->registry, vm, config, &err))
        return true;
    rpc_call_fail(call, err);
    return false;
}

/* Sets what is given of share and launches, of the run and of those that follow where they have a
 * GPU; false where CALL was answered with an error. */
static bool set_share(struct gpus *g, struct vm *vm, const struct gpu_limits_params *params,
                      struct rpc_call *call)
{
    const struct vm_gpu_config *had = vm_run_gpu(vm);
    uint32_t share = params->has_share ? params->share : had->share;
    uint32_t launches = params->has_launches ? params->launches : had->launches;
    GError *err = NULL;

    if (vm_next_config_of(vm)->gpu) {
        struct vm_config *config = vm_config_copy(vm_next_config_of(vm));
        config->gpu->share = share;
        config->gpu->launches = launches;
        if (!registry_configure(gpus__daemon(g)->registry, vm, config, &err)) {
            rpc_call_fail(call, err);
            return false;
        }
    }
    if (vm_active(vm)) {
        vm_devices_limit_gpu(vm_devices_of(vm), share, launches);
        vm_gpu_limit(vm_gpu_of(vm));
    }
    return true;
}

void gpus_limits(struct gpus *g, struct vm *vm, const struct gpu_limits_params *params,
                 struct rpc_call *call)
{
    g_autoptr(gpu_limits_result) r = gpu_limits_result_new();

    if (!vm_run_gpu(vm)) {
        rpc_call_error(call, VMD_ERROR_UNSUPPORTED, "VM %s has no GPU", vm_name(vm));
        return;
    }
    if (params->has_memory && !set_memory(g, vm, params->memory, call))
        return;
    if ((params->has_share || params->has_launches) && !set_share(g, vm, params, call))
        return;
    r->memory_bytes = vm_run_gpu(vm)->memory;
    r->share = vm_run_gpu(vm)->share;
    r->launches = vm_run_gpu(vm)->launches;
    fill_limits(r);
    gpu_limits_reply(call, r);
}

/* --- stats ------------------------------------------------------------------------------------ */

/* Counters that come from VM processes, each when it likes. */
struct gathering {
    struct rpc_call *call;
    struct gpu_stats_result *result;
    unsigned waiting;
};

struct asked {
    struct gathering *gathering;
    struct registry *registry;
    char *vm, *gpu;
};

static void gathered(struct gathering *x)
{
    if (--x->waiting)
        return;
    gpu_stats_reply(x->call, x->result);
    gpu_stats_result_free(x->result);
    g_free(x);
}

/* A VM that ended meanwhile has no counters. */
static void counted(void *arg, const void *result, int fd, const GError *err)
{
    struct asked *a = arg;
    const struct vm_stats *stats = result;
    struct gpu_stats_result *r = a->gathering->result;

    if (!err && stats->gpu) {
        struct vm_gpu_use *use = vm_gpu_use_new();
        use->vm = g_steal_pointer(&a->vm);
        use->gpu = g_steal_pointer(&a->gpu);
        use->stats = gpu_stats_copy(stats->gpu);
        const struct vm *vm = registry_find(a->registry, use->vm);
        if (vm)
            vm_gpu_describe(vm_gpu_of(vm), use);
        /* By name, whatever the order in which they come. */
        size_t at = r->n_gpus++;
        for (; at > 0 && strcmp(r->gpus[at - 1]->vm, use->vm) > 0; at--)
            r->gpus[at] = r->gpus[at - 1];
        r->gpus[at] = use;
    }
    gathered(a->gathering);
    g_free(a->vm);
    g_free(a->gpu);
    g_free(a);
}

static void count(struct gathering *x, struct vm *vm)
{
    const struct vm_gpu_config *gpu = vm_run_gpu(vm);
    struct asked *a = g_new0(struct asked, 1);

    a->gathering = x;
    a->registry = vm_daemon(vm)->registry;
    a->vm = g_strdup(vm_name(vm));
    a->gpu = gpus_ref(vm_daemon(vm)->gpus, gpu);
    x->waiting++;
    vm_call(vm, VMI_STATS, NULL, counted, a);
}

void gpus_stats(struct gpus *g, struct vm *vm, struct rpc_call *call)
{
    g_autoptr(GPtrArray) all = registry_list(gpus__daemon(g)->registry);

    if (vm && (!vm_run_gpu(vm) || !vm_reachable(vm))) {
        bool has = vm_run_gpu(vm);
        rpc_call_error(call, has ? VMD_ERROR_STATE : VMD_ERROR_UNSUPPORTED, "VM %s %s", vm_name(vm),
                       has ? "does not run" : "has no GPU");
        return;
    }
    struct gathering *x = g_new0(struct gathering, 1);
    x->call = call;
    x->result = gpu_stats_result_new();
    x->result->gpus = g_new0(struct vm_gpu_use *, all->len + 1);
    x->waiting = 1; /* this function's own */
    for (guint i = 0; i < all->len; i++) {
        struct vm *one = g_ptr_array_index(all, i);
        if ((!vm || vm == one) && vm_run_gpu(one) && vm_reachable(one))
            count(x, one);
    }
    gathered(x);
}
