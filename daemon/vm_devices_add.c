/* Devices that come to a run: what they are on is taken and opened, then the VM process is asked.
 * See vm_devices.h. */
#include "daemon/vm_devices_priv.h"

#include "daemon/attached.h"
#include "daemon/gpus.h"
#include "daemon/holdings.h"
#include "daemon/keeping.h"
#include "daemon/opener.h"
#include "daemon/registry.h"

static void add_begun(void *arg, const void *result, int fd, const GError *err)
{
    const struct vmi_device_add_result *r = result;
    struct job_call *c = arg;
    struct device_job *j = *c->alive ? g_hash_table_lookup(c->devices->jobs, &c->number) : NULL;

    if (j && !err)
        device_job__result(j->job, r->device, NULL);
    job_call__begun(arg, result, fd, err);
}

/* All that the device needs is open: FILES are sent ahead of the request, in the order of the link.
 */
static void send_add(struct device_job *j, const struct opened *files)
{
    struct vmi_device_add_params params = {
        .job = j->number,
        .device = j->spec,
        .until = j->until,
        .timeout_ms = j->timeout_ms,
        .mac = j->mac,
        .files = files ? (char **)files->paths->pdata : NULL,
        .n_files = files ? files->paths->len : 0,
    };

    for (guint i = 0; files && i < files->fds->len; i++) {
        g_autofree char *name = i < files->paths->len
                                    ? g_strdup_printf("%" G_GUINT64_FORMAT ".%u", j->number, i)
                                    : g_strdup_printf("%" G_GUINT64_FORMAT ".tap", j->number);
        vm_send_fd(j->devices->vm, name, g_array_index(files->fds, int, i), job_call__ignore, NULL);
        g_array_index(files->fds, int, i) = -1;
    }
    j->sent = true;
    vm_call(j->devices->vm, VMI_DEVICE_ADD, &params, add_begun, job_call__new(j));
}

/* Why what the addition is on cannot be used; NULL: it can. */
static GError *lost_meanwhile(const struct device_job *j)
{
    for (guint i = 0; i < j->devices->holdings->len; i++) {
        const struct holding *h = g_ptr_array_index(j->devices->holdings, i);
        if (h->adding == j->number && holding_lost(h, j->devices->vm))
            return g_error_new(VMD_ERROR, VMD_ERROR_GONE, "the host lost %s", h->host);
    }
    return NULL;
}

static void opened(void *opaque, const struct opened *files, const GError *err)
{
    struct device_job *j = opaque;
    struct opener *opener = g_steal_pointer(&j->opener); /* it has FILES and ERR */
    g_autoptr(GError) lost = lost_meanwhile(j);
    struct device_job *next = err || lost ? NULL : g_steal_pointer(&j->next);

    if (err || lost)
        device_job__refuse(j, err ? err : lost);
    else
        send_add(j, files);
    opener_free(opener);
    if (next)
        device_job__begin(next);
}

/* What a definition leaves open is filled in, and what it has wrong refused. */
static bool settle(struct vm_devices *d, struct device_spec *spec, GError **err)
{
    struct registry *registry = vm_daemon(d->vm)->registry;

    return (!spec->disk || registry_settle_disk(registry, d->vm, spec->disk, err)) &&
           (!spec->nic || registry_check_nic(spec->nic, err)) &&
           (!spec->host || registry_check_host(spec->host, err));
}

static bool needs_opening(const struct device_spec *spec)
{
    return spec->disk || spec->host || (spec->nic && spec->nic->kind == VM_NIC_KIND_TAP);
}

/* All that is needed is there. */
static void send_add_alone(struct device_job *j)
{
    struct device_job *next = g_steal_pointer(&j->next);

    send_add(j, NULL);
    if (next)
        device_job__begin(next);
}

/* A GPU is promised from here on. */
static void gpu_checked(void *arg, const GError *err)
{
    struct device_job *j = job_call__end(arg);

    if (j && err) {
        device_job__refuse(j, err);
    } else if (j) {
        struct vm_devices *d = j->devices;
        g_autofree char *host = gpus_host_device(vm_daemon(d->vm)->gpus, j->spec->gpu);
        if (host)
            holdings_note(d->holdings, d->vm, NULL, host, j->number);
        attached_begin(d->attached, j->spec, NULL, j->number);
        vm_store(d->vm);
        send_add_alone(j);
    }
}

void device_job__begin_add(struct device_job *j)
{
    struct vm_devices *d = j->devices;
    g_autoptr(GError) err = NULL;

    if (j->spec->gpu) {
        gpus_check_add(vm_daemon(d->vm)->gpus, d->vm, j->spec->gpu, gpu_checked, job_call__new(j));
        return;
    }
    const struct holding_of of = {j->spec->disk, j->spec->nic, j->spec->host};
    if (!holdings_take(d->holdings, d->vm, NULL, &of, j->number, &err)) {
        device_job__refuse(j, err);
        return;
    }
    attached_begin(d->attached, j->spec, j->mac, j->number);
    vm_store(d->vm);
    if (!needs_opening(j->spec)) {
        send_add_alone(j);
        return;
    }
    j->opener = opener_new(vm_daemon(j->devices->vm)->openers, j->spec, opened, j, &err);
    if (!j->opener)
        device_job__refuse(j, err);
}

/* What SPEC is to be called; NULL: the VM process says. */
static const char *name_of(const struct device_spec *spec)
{
    return spec->id     ? spec->id
           : spec->disk ? spec->disk->id
           : spec->nic  ? spec->nic->id
           : spec->host ? spec->host->id
           : spec->gpu  ? VM_GPU_ID
                        : NULL;
}

/* A job of an addition, which is not begun. NULL, and CALL was answered with an error. */
static struct device_job *add_job(struct vm_devices *d, const struct device_add_params *params,
                                  struct rpc_call *call)
{
    g_autoptr(device_spec) spec = device_spec_copy(params->device);
    g_autofree char *mac = spec->nic && !spec->nic->mac ? registry_new_mac() : NULL;
    GError *err = NULL;

    if (!settle(d, spec, &err) || (params->persistent && !keeping_check(d->vm, spec, NULL, &err))) {
        rpc_call_fail(call, err);
        return NULL;
    }
    struct device_job *j = device_job__new(d, rpc_call_peer(call)->uid, "device.add", name_of(spec),
                                           "making the device");
    if (params->persistent)
        keeping_begin(d->keeping, j->number, spec, mac, NULL);
    j->spec = g_steal_pointer(&spec);
    j->mac = g_steal_pointer(&mac);
    j->until = params->until;
    j->timeout_ms = params->timeout_s * 1000;
    return j;
}

void vm_devices_add(struct vm_devices *d, const struct device_add_params *params,
                    struct rpc_call *call)
{
    const char *name = name_of(params->device);
    struct device_job *before = vm_devices__latest_unsent(d, name);
    struct device_job *j = add_job(d, params, call);

    if (!j)
        return;
    struct job_ref ref = {.job = j->number};
    device_add_reply(call, &ref);
    device_job__follow(before, j);
}

void vm_devices_attach_gpu(struct vm_devices *d, const struct vm_gpu_config *gpu, bool persistent,
                           struct rpc_call *call)
{
    struct device_spec spec = {.kind = HOT_KIND_GPU, .gpu = (struct vm_gpu_config *)gpu};
    const struct device_add_params params = {.device = &spec,
                                             .until = DEVICE_UNTIL_ACKNOWLEDGED,
                                             .timeout_s = LIMIT_DEVICE_TIMEOUT_S,
                                             .persistent = persistent};
    struct device_job *before = vm_devices__latest_unsent(d, VM_GPU_ID);
    struct device_job *j = add_job(d, &params, call);

    if (!j)
        return;
    j->caller = call;
    device_job__follow(before, j);
}
