/* What a run's devices are on, and what becomes of a device whose host loses that or wants it back.
 * See vm_devices.h. */
#include "daemon/vm_devices_priv.h"

#include "daemon/attached.h"
#include "daemon/gpus.h"
#include "daemon/holdings.h"
#include "daemon/keeping.h"
#include "daemon/vm_gpu.h"

enum {
    WANTED_MS = 9000,        /* how long a guest may take to let go of what the host asks for */
    STILL_WANTED_MS = 30000, /* a request after that is another one */
};

bool vm_devices_run_begins(struct vm_devices *d, GError **err)
{
    const struct vm_config *c = vm_config_of(d->vm);
    bool ok = true;

    g_ptr_array_set_size(d->holdings, 0);
    attached_clear(d->attached);
    for (size_t i = 0; i < c->n_disks && ok; i++)
        ok = holdings_take(d->holdings, d->vm, c->disks[i]->id,
                           &(struct holding_of){.disk = c->disks[i]}, 0, err);
    for (size_t i = 0; i < c->n_nics && ok; i++)
        ok = holdings_take(d->holdings, d->vm, c->nics[i]->id,
                           &(struct holding_of){.nic = c->nics[i]}, 0, err);
    for (size_t i = 0; i < c->n_host_devices && ok; i++)
        ok = holdings_take(d->holdings, d->vm, c->host_devices[i]->id,
                           &(struct holding_of){.host = c->host_devices[i]}, 0, err);
    if (ok)
        vm_devices_gpus_known(d);
    return ok;
}

void vm_devices_gpus_known(struct vm_devices *d)
{
    const struct vm_gpu_config *gpu = vm_active(d->vm) ? vm_devices_gpu(d) : NULL;
    g_autofree char *host = gpu ? gpus_host_device(vm_daemon(d->vm)->gpus, gpu) : NULL;

    for (guint i = 0; host && i < d->holdings->len; i++) {
        const struct holding *h = g_ptr_array_index(d->holdings, i);
        if (g_strcmp0(h->device, VM_GPU_ID) == 0)
            return;
    }
    if (host)
        holdings_note(d->holdings, d->vm, VM_GPU_ID, host, 0);
}

/* Begins to: LOST, or since the host wants it back. */
static void take_away(struct vm_devices *d, struct holding *h, const char *text, bool lost,
                      bool force)
{
    struct device_job *j = device_job__new(d, vm_owner(d->vm), "device.remove", h->device, text);

    j->force = force;
    j->timeout_ms = force ? LIMIT_DEVICE_TIMEOUT_S * 1000 : WANTED_MS;
    device_job__result(j->job, j->device, NULL);
    *(lost ? &h->removing : &h->asking) = j->number;
    vm_store(d->vm);
    device_job__begin_remove(j);
}

/* Takes each device away from the guest that the host has not got any more, once. A VM that starts,
 * or is not found yet, is seen to later, and so is a device that its VM process has not made yet.
 */
void vm_devices__take_lost(struct vm_devices *d)
{
    for (guint i = 0; vm_reachable(d->vm) && i < d->holdings->len; i++) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (h->adding || h->removing || !holding_lost(h, d->vm))
            continue;
        g_autofree char *text = g_strdup_printf("the host lost %s", h->host);
        take_away(d, h, text, true, true);
    }
}

/* A removal that the VM process never heard of is begun anew; an addition that it never heard of
 * holds nothing. */
void vm_devices__take_lost_again(struct vm_devices *d)
{
    keeping_sweep(d->keeping, d->jobs);
    for (guint i = d->holdings->len; i-- > 0;) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (!g_hash_table_contains(d->jobs, &h->removing))
            h->removing = 0;
        if (h->adding && !g_hash_table_contains(d->jobs, &h->adding))
            holdings_drop(d->holdings, d->vm, i);
    }
    attached_keep(d->attached, d->jobs);
    if (!attached_moves_gpu(d->attached))
        vm_gpu_stay(vm_gpu_of(d->vm));
    vm_devices__take_lost(d);
}

/* What the device is on: it is there, or released. */
void vm_devices__note_holding(struct vm_devices *d, const struct vmi_device_event *event)
{
    for (guint i = d->holdings->len; i-- > 0;) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (h->adding && event->has_job && h->adding == event->job) {
            h->adding = 0;
            h->device = g_strdup(event->device);
        }
        if (!h->adding && event->state == DEVICE_STATE_RELEASED &&
            strcmp(h->device, event->device) == 0)
            holdings_drop(d->holdings, d->vm, i);
    }
    vm_devices__take_lost(d);
}

void vm_devices_host_lost(struct vm_devices *d)
{
    vm_devices__take_lost(d);
}

/* A host that waits for a device asks every ten seconds: who is asked in vain, as one that is
 * paused, or has failed, loses it. */
void vm_devices_wanted(struct vm_devices *d, const struct vmi_device_wanted_event *event)
{
    for (guint i = 0; i < d->holdings->len; i++) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        const struct device_job *asking = g_hash_table_lookup(d->jobs, &h->asking);
        if (h->adding || h->removing || (asking && asking->force) ||
            g_strcmp0(h->device, event->device) != 0)
            continue;
        uint64_t now_ms = uv_now(vm_daemon(d->vm)->loop);
        bool force = event->failed || (h->asking && now_ms - h->asked_ms < STILL_WANTED_MS);
        h->asked_ms = now_ms;
        g_autofree char *text = g_strdup_printf(
            event->failed ? "the host reports an error of %s" : "the host asks for %s", h->host);
        take_away(d, h, text, false, force);
        return; /* HOLDINGS may be another now */
    }
}

void vm_devices_host_renamed(struct vm_devices *d, const char *was, const struct host_device *now)
{
    for (guint i = 0; i < d->holdings->len; i++) {
        struct holding *h = g_ptr_array_index(d->holdings, i);
        if (strcmp(h->host, was) != 0 || h->incarnation != now->incarnation)
            continue;
        g_free(h->host);
        h->host = g_strdup(now->id);
        vm_store(d->vm);
    }
}
