/* A GPU that moves during a run. See vm_devices.h. */
#include "daemon/vm_devices_priv.h"

#include "base/log.h"
#include "daemon/attached.h"
#include "daemon/gpus.h"
#include "daemon/holdings.h"
#include "daemon/vm_gpu.h"

/* Whether a worker that does not begin is told by the VM process, whose connection to it is closed.
 */
static void move_begun(void *arg, const void *result, int fd, const GError *err)
{
    struct device_job *j = job_call__end(arg);
    autofd socket = fd;
    g_autoptr(GError) why = NULL;

    if (j && err && !job_call__may_have_begun(err)) {
        device_job__refuse(j, err);
    } else if (j && socket >= 0) {
        job_progress(j->job, 20, "a worker begins at the target");
        if (!vm_gpu_launch_target(vm_gpu_of(j->devices->vm), j->to, socket, &why))
            log_warning("VM %s: no GPU worker at the target: %s", vm_name(j->devices->vm),
                        why->message);
    }
}

void device_job__begin_move(struct device_job *j)
{
    struct vm_devices *d = j->devices;
    struct device_job *next = g_steal_pointer(&j->next);
    const struct vmi_gpu_move_params params = {
        .job = j->number, .to = j->to, .timeout_ms = j->timeout_ms};
    g_autoptr(GError) err = NULL;

    if (attached_moves_gpu(d->attached))
        vmd_fail(&err, VMD_ERROR_BUSY, "the GPU of VM %s is being moved already", vm_name(d->vm));
    if (err || !gpus_takes(vm_daemon(d->vm)->gpus, j->to, &err)) {
        device_job__refuse(j, err);
    } else {
        attached_move_gpu(d->attached, j->to, j->number);
        j->sent = true;
        vm_store(d->vm);
        vm_call(d->vm, VMI_GPU_MOVE, &params, move_begun, job_call__new(j));
    }
    if (next)
        device_job__begin(next);
}

uint64_t vm_devices_move_gpu(struct vm_devices *d, const struct vm_gpu_config *to,
                             uint32_t timeout_s, uid_t uid, vm_devices_moved_fn done, void *arg)
{
    struct device_job *before = vm_devices__latest_unsent(d, VM_GPU_ID);
    struct device_job *j =
        device_job__new(d, uid, "gpu.migrate", VM_GPU_ID, "asking for the target");
    uint64_t number = j->number;

    j->to = vm_gpu_config_copy(to);
    j->moved = done;
    j->moved_arg = arg;
    j->timeout_ms = timeout_s * 1000;
    device_job__result(j->job, VM_GPU_ID, NULL);
    device_job__follow(before, j);
    return number;
}

/* The run has its GPU elsewhere. */
void vm_devices__gpu_moved(struct vm_devices *d)
{
    const struct vm_gpu_config *gpu = vm_devices_gpu(d);
    g_autofree char *host = gpu ? gpus_host_device(vm_daemon(d->vm)->gpus, gpu) : NULL;

    for (guint i = d->holdings->len; i-- > 0;) {
        const struct holding *h = g_ptr_array_index(d->holdings, i);
        if (g_strcmp0(h->device, VM_GPU_ID) == 0 && g_strcmp0(h->host, host) != 0)
            holdings_drop(d->holdings, d->vm, i);
    }
    vm_devices_gpus_known(d);
    vm_gpu_moved(vm_gpu_of(d->vm));
}

void vm_devices__tell_after_move(struct vm_devices *d)
{
    if (attached_moves_gpu(d->attached))
        return;
    g_autoptr(GArray) all = g_steal_pointer(&d->after_move);
    d->after_move = g_array_new(FALSE, FALSE, sizeof(struct after_move));
    for (guint i = 0; i < all->len; i++) {
        const struct after_move *a = &g_array_index(all, struct after_move, i);
        a->done(a->arg);
    }
}

void vm_devices_after_move(struct vm_devices *d, void (*done)(void *arg), void *arg)
{
    const struct after_move a = {done, arg};

    g_array_append_val(d->after_move, a);
}

bool vm_devices_gpu_moves(const struct vm_devices *d)
{
    return attached_moves_gpu(d->attached);
}
