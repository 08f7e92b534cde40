/* See vm_devices.h. */
#include "daemon/vm_devices_priv.h"

#include "daemon/attached.h"
#include "daemon/holdings.h"
#include "daemon/keeping.h"

struct vm_devices *vm_devices_new(struct vm *vm)
{
    struct vm_devices *d = g_new0(struct vm_devices, 1);

    d->vm = vm;
    d->holdings = holdings_new();
    d->keeping = keeping_new();
    d->attached = attached_new();
    d->after_move = g_array_new(FALSE, FALSE, sizeof(struct after_move));
    d->jobs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, device_job__free);
    d->alive = g_atomic_rc_box_new0(unsigned);
    *d->alive = 1;
    return d;
}

void vm_devices_free(struct vm_devices *d)
{
    if (!d)
        return;
    *d->alive = 0;
    g_atomic_rc_box_release(d->alive);
    g_hash_table_destroy(d->jobs);
    g_ptr_array_free(d->holdings, TRUE);
    g_ptr_array_free(d->keeping, TRUE);
    attached_free(d->attached);
    g_array_free(d->after_move, TRUE);
    g_free(d);
}

void vm_devices_news(struct vm_devices *d, const struct vmi_device_event *event)
{
    static const unsigned percent[] = {
        [DEVICE_STATE_REQUESTED] = 10, [DEVICE_STATE_VISIBLE] = 40,
        [DEVICE_STATE_ACKNOWLEDGED] = 90, [DEVICE_STATE_LEAVING] = 40,
        [DEVICE_STATE_RELEASING] = 80, [DEVICE_STATE_RELEASED] = 95,
    };
    struct device_job *j = event->has_job ? g_hash_table_lookup(d->jobs, &event->job) : NULL;
    g_autofree char *text = g_strdup_printf("device %s is %s", event->device,
                                            device_state_to_string(event->state));

    if (j)
        job_progress(j->job, percent[event->state], text);
    attached_news(d->attached, event);
    vm_devices__note_holding(d, event);
}

void vm_devices_resize(struct vm_devices *d, const struct vm_resize_params *params,
                       struct rpc_call *call)
{
    struct device_job *j =
        device_job__new(d, rpc_call_peer(call)->uid, "vm.resize", NULL, "asking the guest");
    struct job_ref ref = {.job = j->number};
    const struct vmi_resize_params p = {.job = j->number,
                                        .has_cpus = params->has_cpus,
                                        .cpus = params->cpus,
                                        .has_memory = params->has_memory,
                                        .memory = params->memory,
                                        .timeout_ms = params->timeout_s * 1000};

    j->sent = true; /* it waits for no other */
    /* Before the client knows of it, so that it outlives this daemon. */
    vm_call(d->vm, VMI_RESIZE, &p, job_call__begun, job_call__new(j));
    vm_resize_reply(call, &ref);
}

void vm_devices_save(const struct vm_devices *d, struct json_object *json)
{
    json_object_object_add(json, "holdings", holdings_encode(d->holdings));
    json_object_object_add(json, "keeping", keeping_encode(d->keeping));
    json_object_object_add(json, "attached", attached_encode(d->attached));
}

void vm_devices_load(struct vm_devices *d, struct json_object *json)
{
    holdings_decode(d->holdings, json_object_object_get(json, "holdings"));
    json_object_object_del(json, "holdings");
    keeping_decode(d->keeping, json_object_object_get(json, "keeping"));
    json_object_object_del(json, "keeping");
    attached_decode(d->attached, json_object_object_get(json, "attached"));
    json_object_object_del(json, "attached");
}

const struct vm_gpu_config *vm_devices_gpu(const struct vm_devices *d)
{
    return attached_gpu(d->attached, vm_config_of(d->vm));
}

void vm_devices_limit_gpu(struct vm_devices *d, uint32_t share, uint32_t launches)
{
    attached_limit_gpu(d->attached, share, launches);
    vm_store(d->vm);
}

void vm_devices_gpus(const struct vm_devices *d,
                     void (*each)(void *opaque, const struct vm_gpu_config *gpu), void *opaque)
{
    attached_gpus(d->attached, vm_config_of(d->vm), each, opaque);
}

struct vm_config *vm_devices_config(const struct vm_devices *d)
{
    return attached_apply(d->attached, vm_config_of(d->vm));
}
