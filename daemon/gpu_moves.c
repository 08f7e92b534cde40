/*
 * gpu.migrate, gpu.drain and gpu.undrain. See gpus.h and docs/gpu-migration.md.
 *
 * What is moved is moved by jobs of each VM (vm_devices_move_gpu()), which outlive this daemon. A
 * drain is this daemon's: it begins them one after the other. That its device is drained is kept.
 */
#include "daemon/gpus_priv.h"

#include "daemon/registry.h"
#include "daemon/vm_devices.h"

/* Why what VM has cannot be moved to INDEX; true: it may be tried. */
static bool check_move(const struct gpus *g, const struct vm *vm, int index, GError **err)
{
    const struct vm_gpu_config *gpu = vm_run_gpu(vm);
    g_autoptr(vm_gpu_config) then = gpus__at(g, index, gpu);
    g_autofree char *to = gpus__name(g, index);

    if (!vm_active(vm) || !vm_reachable(vm))
        return vmd_fail(err, VMD_ERROR_STATE, "VM %s is %s", vm_name(vm),
                        vm_state_to_string(vm_state(vm)));
    if (!gpu)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "VM %s has no GPU", vm_name(vm));
    if (gpu->backend == VM_GPU_BACKEND_HIP)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "VM %s: nothing can be moved from the backend hip", vm_name(vm));
    if (then->backend == VM_GPU_BACKEND_HIP)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "VM %s: nothing can be moved to %s, of the backend hip", vm_name(vm), to);
    if (index == gpus__index(g, gpu))
        return vmd_fail(err, VMD_ERROR_EXISTS, "VM %s has %s already", vm_name(vm), to);
    if (vm_devices_gpu_moves(vm_devices_of(vm)))
        return vmd_fail(err, VMD_ERROR_BUSY, "the GPU of VM %s is being moved already",
                        vm_name(vm));
    return gpus__takes(g, index, err) &&
           registry_check_gpu(gpus__daemon(g)->registry, vm, then, err);
}

/* --- gpu.migrate ------------------------------------------------------------------------------ */

/* What was asked for, while drivers are asked what there is. */
struct migrate {
    struct rpc_call *call;
    char *vm; /* its id */
    struct gpu_migrate_params *params;
};

static void migrate_free(struct migrate *m)
{
    gpu_migrate_params_free(m->params);
    g_free(m->vm);
    g_free(m);
}

/* Where VM's GPU is to go; GPUS_NONE with an error. */
static int migrate_to(struct gpus *g, const struct vm *vm, const struct migrate *m, GError **err)
{
    int index = GPUS_NONE;

    if (!vm)
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "the VM was deleted");
    else if (strcmp(m->params->gpu, VM_GPU_ID) != 0)
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "VM %s has no GPU %s: its GPU is " VM_GPU_ID,
                 vm_name(vm), m->params->gpu);
    else if (gpus__resolve(g, m->params->to, &index, err) && check_move(g, vm, index, err))
        return index;
    return GPUS_NONE;
}

static void migrate_known(struct gpus *g, void *arg, const GError *unknown)
{
    struct migrate *m = arg;
    struct vm *vm = unknown ? NULL : registry_find(gpus__daemon(g)->registry, m->vm);
    GError *err = unknown ? g_error_copy(unknown) : NULL;
    int index = err ? GPUS_NONE : migrate_to(g, vm, m, &err);
    struct job_ref ref;

    if (err) {
        rpc_call_fail(m->call, err);
    } else {
        g_autoptr(vm_gpu_config) to = gpus__at(g, index, vm_run_gpu(vm));
        /* Before the client knows of it, so that it outlives this daemon. */
        ref.job = vm_devices_move_gpu(vm_devices_of(vm), to, m->params->timeout_s,
                                      rpc_call_peer(m->call)->uid, NULL, NULL);
        gpu_migrate_reply(m->call, &ref);
    }
    migrate_free(m);
}

void gpus_migrate(struct gpus *g, struct vm *vm, const struct gpu_migrate_params *params,
                  struct rpc_call *call)
{
    struct migrate *m = g_new0(struct migrate, 1);

    *m = (struct migrate){call, g_strdup(vm_id(vm)), gpu_migrate_params_copy(params)};
    if (gpus__is_soft(params->to))
        migrate_known(g, m, NULL);
    else
        gpus__when_known(g, migrate_known, m);
}

/* --- gpu.drain -------------------------------------------------------------------------------- */

struct drain {
    struct gpus *gpus;
    struct job *job;
    uid_t uid;
    char *gpu; /* its name: places change with what drivers find */
    char *to;  /* likewise; NULL: any of the backend soft */
    uint32_t timeout_s;
    GPtrArray *vms; /* ids, owned */
    guint next;     /* of them */
    char *name;     /* of the one that is moved now */
    struct json_object *moved, *left;
    bool cancelled;
};

static void drain_free(struct drain *d)
{
    g_ptr_array_free(d->vms, TRUE);
    g_free(d->gpu);
    g_free(d->to);
    g_free(d->name);
    json_object_put(d->moved);
    json_object_put(d->left);
    g_free(d);
}

/* VM, an id or a name, stays, since ERR. */
static void stays(struct drain *d, const char *vm, const GError *err)
{
    struct json_object *row = json_object_new_object();

    json_object_object_add(row, "vm", json_object_new_string(vm));
    json_object_object_add(row, "reason", json_object_new_string(err->message));
    json_object_array_add(d->left, row);
}

static void drain_end(struct drain *d)
{
    struct json_object *result = json_object_new_object();
    size_t left = json_object_array_length(d->left), moved = json_object_array_length(d->moved);
    g_autoptr(GError) err = NULL;

    if (left) {
        struct json_object *row = json_object_array_get_idx(d->left, 0);
        vmd_fail(&err, VMD_ERROR_STATE, "%zu of %zu VMs stay on %s, which takes no others: %s: %s",
                 left, left + moved, d->gpu,
                 json_object_get_string(json_object_object_get(row, "vm")),
                 json_object_get_string(json_object_object_get(row, "reason")));
    }
    json_object_object_add(result, "gpu", json_object_new_string(d->gpu));
    json_object_object_add(result, "moved", json_object_get(d->moved));
    json_object_object_add(result, "left", json_object_get(d->left));
    job_result(d->job, result);
    job_end(d->job, d->cancelled, d->cancelled ? NULL : err);
    gpus__drain_over(d->gpus, d);
    drain_free(d);
}

/* That which was named, or the software device with least memory promised; GPUS_NONE with an error.
 */
static int choose(struct drain *d, GError **err)
{
    struct gpus *g = d->gpus;
    uint64_t least = UINT64_MAX;
    int best = GPUS_NONE;

    if (d->to)
        return gpus__resolve(g, d->to, &best, err) ? best : GPUS_NONE;
    for (unsigned n = 0; n < gpus__daemon(g)->soft_gpus; n++) {
        int index = gpus__soft(n);
        g_autofree char *name = gpus__name(g, index);
        if (strcmp(name, d->gpu) == 0 || gpus__drained(g, name))
            continue;
        uint64_t promised = gpus__promised(g, index, NULL, NULL);
        if (promised < least) {
            least = promised;
            best = index;
        }
    }
    if (best == GPUS_NONE)
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the host has no other GPU that takes it");
    return best;
}

/* Whether VM, which may be NULL, has the device; where that is not known any more it may. */
static bool is_there(const struct drain *d, const struct vm *vm)
{
    const struct vm_gpu_config *gpu = vm && vm_active(vm) ? vm_run_gpu(vm) : NULL;
    int index = gpu ? gpus__index(d->gpus, gpu) : GPUS_NONE;
    g_autofree char *name = index == GPUS_NONE ? NULL : gpus__name(d->gpus, index);

    return gpu && (!name || strcmp(name, d->gpu) == 0);
}

static void drain_next(struct drain *d);

static void drain_moved(void *arg, const GError *err)
{
    struct drain *d = arg;
    struct registry *registry = gpus__daemon(d->gpus)->registry;

    if (!err)
        json_object_array_add(d->moved, json_object_new_string(d->name));
    else if (is_there(d, registry_find(registry, g_ptr_array_index(d->vms, d->next - 1))))
        stays(d, d->name, err);
    drain_next(d);
}

/* It is somewhere now, perhaps here. */
static void drain_again(void *arg)
{
    struct drain *d = arg;

    d->next--;
    drain_next(d);
}

/* Begins to move VM, of which drain_moved() hears, or waits for a move that is under way. False: it
 * stays, or has gone by itself. */
static bool drain_one(struct drain *d, struct vm *vm)
{
    g_autoptr(GError) err = NULL;

    if (vm_active(vm) && vm_devices_gpu_moves(vm_devices_of(vm))) {
        vm_devices_after_move(vm_devices_of(vm), drain_again, d);
        return true;
    }
    if (!is_there(d, vm))
        return false;
    g_free(d->name);
    d->name = g_strdup(vm_name(vm));
    int to = choose(d, &err);
    if (to == GPUS_NONE || !check_move(d->gpus, vm, to, &err)) {
        stays(d, d->name, err);
        return false;
    }
    g_autofree char *at = gpus__name(d->gpus, to);
    g_autofree char *text = g_strdup_printf("VM %s moves to %s", d->name, at);
    g_autoptr(vm_gpu_config) config = gpus__at(d->gpus, to, vm_run_gpu(vm));
    job_progress(d->job, 100 * (d->next - 1) / d->vms->len, text);
    vm_devices_move_gpu(vm_devices_of(vm), config, d->timeout_s, d->uid, drain_moved, d);
    return true;
}

static void drain_next(struct drain *d)
{
    struct registry *registry = gpus__daemon(d->gpus)->registry;

    while (!d->cancelled && d->next < d->vms->len) {
        struct vm *vm = registry_find(registry, g_ptr_array_index(d->vms, d->next++));
        if (vm && drain_one(d, vm))
            return;
    }
    drain_end(d);
}

/* It ends with the VM that is moved now. */
static void drain_cancel(void *opaque)
{
    struct drain *d = opaque;

    d->cancelled = true;
}

void gpus__drain_free(struct drain *d)
{
    drain_free(d);
}

/* What was asked for, while drivers are asked what there is. */
struct asked {
    struct rpc_call *call;
    struct gpu_drain_params *params; /* of gpu.undrain too, */
    bool undrain;                    /* which this is then */
};

/* The device is INDEX. */
static void drain_begin(struct gpus *g, const struct asked *a, int index, int to)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    char *gpu = gpus__name(g, index);
    g_autofree char *text = g_strdup_printf("the GPU %s takes no VM any more", gpu);
    uid_t uid = rpc_call_peer(a->call)->uid;
    struct drain *d = g_new0(struct drain, 1);

    *d = (struct drain){.gpus = g,
                        .uid = uid,
                        .gpu = gpu,
                        .to = to == GPUS_NONE ? NULL : gpus__name(g, to),
                        .timeout_s = a->params->timeout_s,
                        .vms = g_ptr_array_new_with_free_func(g_free),
                        .moved = json_object_new_array(),
                        .left = json_object_new_array()};
    gpus__promised(g, index, NULL, names);
    for (guint i = 0; i < names->len; i++) {
        const struct vm *vm = registry_find(gpus__daemon(g)->registry, g_ptr_array_index(names, i));
        if (vm)
            g_ptr_array_add(d->vms, g_strdup(vm_id(vm)));
    }
    d->job = jobs_begin(gpus__daemon(g)->jobs, "gpu.drain", NULL, NULL, uid, text, drain_cancel, d);
    struct job_ref ref = {.job = job_id(d->job)};
    gpus__drain_began(g, d);
    gpu_drain_reply(a->call, &ref);
    drain_next(d);
}

static void drain_known(struct gpus *g, void *arg, const GError *unknown)
{
    struct asked *a = arg;
    g_autofree char *name = NULL;
    int index = GPUS_NONE, to = GPUS_NONE;
    GError *err = NULL;

    if (a->undrain && gpus__drained(g, a->params->gpu)) /* it may be there no more */
        name = g_strdup(a->params->gpu);
    else if (unknown)
        err = g_error_copy(unknown);
    else if (gpus__resolve(g, a->params->gpu, &index, &err))
        name = gpus__name(g, index);
    if (!name || (a->params->to && !gpus__resolve(g, a->params->to, &to, &err)))
        ;
    else if (a->params->to && to == index)
        vmd_fail(&err, VMD_ERROR_INVALID, "params.to: %s is what is drained", a->params->to);
    else
        gpus__drain(g, name, !a->undrain, &err);
    if (err)
        rpc_call_fail(a->call, err);
    else if (a->undrain)
        gpu_undrain_reply(a->call);
    else
        drain_begin(g, a, index, to);
    gpu_drain_params_free(a->params);
    g_free(a);
}

static void drain_ask(struct gpus *g, const struct gpu_drain_params *params, bool undrain,
                      struct rpc_call *call)
{
    struct asked *a = g_new0(struct asked, 1);

    *a = (struct asked){call, gpu_drain_params_copy(params), undrain};
    if (gpus__is_soft(params->gpu) && (!params->to || gpus__is_soft(params->to)))
        drain_known(g, a, NULL);
    else
        gpus__when_known(g, drain_known, a);
}

void gpus_drain(struct gpus *g, const struct gpu_drain_params *params, struct rpc_call *call)
{
    drain_ask(g, params, false, call);
}

void gpus_undrain(struct gpus *g, const char *gpu, struct rpc_call *call)
{
    const struct gpu_drain_params params = {.gpu = (char *)gpu};

    drain_ask(g, &params, true, call);
}
