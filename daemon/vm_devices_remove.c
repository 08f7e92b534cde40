/* Devices that leave a run. See vm_devices.h. */
#include "daemon/vm_devices_priv.h"

#include "daemon/keeping.h"

void device_job__begin_remove(struct device_job *j)
{
    struct vm_devices *d = j->devices;
    struct device_job *next = g_steal_pointer(&j->next);
    struct vmi_device_remove_params params = {
        .job = j->number, .device = j->device, .force = j->force, .timeout_ms = j->timeout_ms};

    j->sent = true;
    vm_call(d->vm, VMI_DEVICE_REMOVE, &params, job_call__begun, job_call__new(j));
    if (next)
        device_job__begin(next);
}

/* As add_job(). */
static struct device_job *
remove_job(struct vm_devices *d, const struct device_remove_params *params, struct rpc_call *call)
{
    GError *err = NULL;

    if (params->persistent && !keeping_check(d->vm, NULL, params->device, &err)) {
        rpc_call_fail(call, err);
        return NULL;
    }
    struct device_job *j = device_job__new(d, rpc_call_peer(call)->uid, "device.remove",
                                           params->device, "asking for the device");
    if (params->persistent) {
        keeping_begin(d->keeping, j->number, NULL, NULL, params->device);
        vm_store(d->vm);
    }
    j->force = params->force;
    j->timeout_ms = params->timeout_s * 1000;
    device_job__result(j->job, j->device, NULL);
    return j;
}

void vm_devices_remove(struct vm_devices *d, const struct device_remove_params *params,
                       struct rpc_call *call)
{
    struct device_job *before = vm_devices__latest_unsent(d, params->device);
    struct device_job *j = remove_job(d, params, call);

    if (!j)
        return;
    struct job_ref ref = {.job = j->number};
    /* Before the client knows of it, so that it outlives this daemon. */
    device_job__follow(before, j);
    device_remove_reply(call, &ref);
}

void vm_devices_detach_gpu(struct vm_devices *d, bool persistent, struct rpc_call *call)
{
    static char gpu[] = VM_GPU_ID;
    const struct device_remove_params params = {
        .device = gpu, .timeout_s = LIMIT_DEVICE_TIMEOUT_S, .persistent = persistent};
    struct device_job *before = vm_devices__latest_unsent(d, gpu);
    struct device_job *j = remove_job(d, &params, call);

    if (!j)
        return;
    j->caller = call;
    device_job__follow(before, j);
}
