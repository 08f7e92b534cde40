/* See process_devices.h. */
#include "vm/process_devices.h"

#include "base/memfile.h"
#include "vm/disk.h"
#include "vm/gpu.h"
#include "vm/helper/client.h"
#include "vm/helper/protocol.h"
#include "vm/sandbox.h"

#include <errno.h>

/* --- opening for others ----------------------------------------------------------------------- */

void process_opener_clear(struct process_opener *opener)
{
    if (opener->paths)
        g_ptr_array_free(opener->paths, TRUE);
    opener->paths = NULL;
    for (unsigned i = 0; i < opener->n_host; i++)
        base__close_fd(&opener->host[i]);
    opener->n_host = 0;
}

void process_open_disk(struct process_opener *opener, struct rpc_call *call,
                       const struct vmi_open_disk_params *params)
{
    struct vmi_open_disk_result result = {0};
    GError *err = NULL;

    process_opener_clear(opener);
    opener->paths = g_ptr_array_new_with_free_func(g_free);
    opener->readonly = params->disk->readonly;
    if (!disk_paths(params->disk, opener->paths, &err)) {
        rpc_call_fail(call, err);
        return;
    }
    result.files = (char **)opener->paths->pdata;
    result.n_files = opener->paths->len;
    vmi_open_disk_reply(call, &result);
}

void process_open_host(struct process_opener *opener, struct rpc_call *call,
                       const struct vmi_open_host_params *params)
{
    const char *const names[] = {"/dev/vfio/vfio", "/dev/vfio", HELPER_SOCKET};
    struct vmi_open_host_result result = {0};
    struct helper_host host;
    GError *err = NULL;

    process_opener_clear(opener);
    if (!helper_open_host(HELPER_SOCKET, params->device, &host, &err)) {
        rpc_call_fail(call, err);
        return;
    }
    opener->host[0] = host.container;
    opener->host[1] = host.group;
    opener->host[2] = host.lease;
    opener->n_host = host.lease < 0 ? 2 : 3;
    result.files = (char **)names;
    result.n_files = opener->n_host;
    vmi_open_host_reply(call, &result);
}

void process_open_file(struct process_opener *opener, struct rpc_call *call,
                       const struct vmi_open_file_params *params)
{
    GError *err = NULL;

    if (params->index < opener->n_host && opener->host[params->index] >= 0) {
        vmi_open_file_reply(call, steal_fd(&opener->host[params->index]));
        return;
    }
    if (!opener->paths || params->index >= opener->paths->len) {
        rpc_call_error(call, VMD_ERROR_STATE, "no such file was opened");
        return;
    }
    /* Only the first is ever written. */
    int fd = block_file_open_fd(g_ptr_array_index(opener->paths, params->index),
                                params->index || opener->readonly, &err);
    if (fd < 0)
        rpc_call_fail(call, err);
    else
        vmi_open_file_reply(call, fd);
}

void process_open_tap(struct rpc_call *call, const struct vmi_open_tap_params *params)
{
    GError *err = NULL;
    int fd = helper_open_tap(HELPER_SOCKET, params->tap, &err);

    if (fd < 0)
        rpc_call_fail(call, err);
    else
        vmi_open_tap_reply(call, fd);
}

/* --- devices ---------------------------------------------------------------------------------- */

static int take(struct vmipc_server *server, uint64_t job, const char *what)
{
    g_autofree char *name = g_strdup_printf("%" G_GUINT64_FORMAT ".%s", job, what);

    return vmipc_server_take_fd(server, name);
}

/* What vmi.fd brought for the job, all of it; NULL with an error where a file is missing. */
static struct hotplug_files *take_files(struct vmipc_server *server,
                                        const struct vmi_device_add_params *params, GError **err)
{
    struct hotplug_files *files = hotplug_files_new();
    const char *missing = NULL;

    for (size_t i = 0; i < params->n_files; i++) {
        g_autofree char *what = g_strdup_printf("%zu", i);
        int fd = take(server, params->job, what);
        if (fd < 0) {
            missing = params->files[i];
            continue;
        }
        g_ptr_array_add(files->paths, g_strdup(params->files[i]));
        g_array_append_val(files->fds, fd);
    }
    files->tap = take(server, params->job, "tap");
    if (!missing)
        return files;
    vmd_fail(err, VMD_ERROR_STATE, "%s did not come with the device", missing);
    hotplug_files_free(files);
    return NULL;
}

void process_device_add(struct machine *m, struct vmipc_server *server, struct rpc_call *call,
                        const struct vmi_device_add_params *p)
{
    g_autofree char *id = NULL;
    GError *err = NULL;
    struct hotplug_files *files = take_files(server, p, &err);

    if (!files || !hotplug_add(machine_hotplug(m), p->job, p->device, p->mac,
                               p->until == DEVICE_UNTIL_VISIBLE, p->timeout_ms, files, &id, &err)) {
        rpc_call_fail(call, err);
        return;
    }
    const struct vmi_device_add_result result = {.device = id};
    vmi_device_add_reply(call, &result);
}

void process_device_remove(struct machine *m, struct rpc_call *call,
                           const struct vmi_device_remove_params *p)
{
    GError *err = NULL;

    if (hotplug_remove(machine_hotplug(m), p->job, p->device, p->force, p->timeout_ms, &err))
        vmi_device_remove_reply(call);
    else
        rpc_call_fail(call, err);
}

void process_peek(struct machine *m, struct rpc_call *call, const struct vmi_peek_params *p)
{
    g_autofree uint8_t *bytes = g_malloc(p->bytes);
    autofd fd = -1;
    GError *err = NULL;
    int rc = p->address > UINT64_MAX - p->bytes
                 ? -EFAULT
                 : mem_map_peek(machine_memory(m), p->address, bytes, p->bytes);

    if (rc < 0 && rc != -EFAULT)
        vmd_set_errno(&err, -rc, "reading the guest's memory");
    else if (rc < 0)
        vmd_fail(&err, VMD_ERROR_INVALID,
                 "not all of the %u bytes at %#" PRIx64 " are the guest's memory", p->bytes, p->address);
    else
        fd = memfile_new(bytes, p->bytes, &err);
    if (fd < 0)
        rpc_call_fail(call, err);
    else
        vmi_peek_reply(call, steal_fd(&fd));
}

static void disk_grown(void *opaque, const GError *err)
{
    struct rpc_call *call = opaque;

    if (err)
        rpc_call_fail(call, g_error_copy(err));
    else
        vmi_device_resize_reply(call);
}

void process_device_resize(struct machine *m, struct rpc_call *call,
                           const struct vmi_device_resize_params *p)
{
    struct disk *disk = hotplug_disk(machine_hotplug(m), p->device);
    GError *err = NULL;

    if (!disk)
        rpc_call_error(call, VMD_ERROR_NOT_FOUND, "there is no disk %s", p->device);
    else if (!disk_grow(disk, p->bytes, disk_grown, call, &err))
        rpc_call_fail(call, err);
}

void process_device_cancel(struct machine *m, struct rpc_call *call,
                           const struct vmi_device_cancel_params *p)
{
    GError *err = NULL;

    if (resize_cancel(machine_resize(m), p->job) || gpu_move_cancel(machine_gpu(m), p->job) ||
        hotplug_cancel(machine_hotplug(m), p->job, &err))
        vmi_device_cancel_reply(call);
    else
        rpc_call_fail(call, err);
}

void process_gpu_move(struct machine *m, struct rpc_call *call,
                      const struct vmi_gpu_move_params *p)
{
    struct gpu *gpu = machine_gpu(m);
    GError *err = NULL;
    int fd;

    if (!gpu)
        rpc_call_error(call, VMD_ERROR_UNSUPPORTED, "the VM has no GPU");
    else if (!gpu_move(gpu, p->job, p->to, p->timeout_ms, &fd, &err))
        rpc_call_fail(call, err);
    else
        vmi_gpu_move_reply(call, fd);
}

void process_device_jobs(struct machine *m, struct rpc_call *call)
{
    GArray *jobs = hotplug_jobs(machine_hotplug(m));
    uint64_t sizing = resize_job(machine_resize(m)), moving = gpu_move_job(machine_gpu(m));

    if (sizing)
        g_array_append_val(jobs, sizing);
    if (moving)
        g_array_append_val(jobs, moving);
    const struct vmi_device_jobs_result result = {.jobs = (uint64_t *)(void *)jobs->data,
                                                  .n_jobs = jobs->len};

    vmi_device_jobs_reply(call, &result);
    g_array_free(jobs, TRUE);
}

void process_resize(struct machine *m, struct rpc_call *call, const struct vmi_resize_params *p)
{
    GError *err = NULL;

    if (resize_begin(machine_resize(m), p, &err))
        vmi_resize_reply(call);
    else
        rpc_call_fail(call, err);
}

void process_devices(struct machine *m, struct rpc_call *call)
{
    struct vmi_devices_result *result = vmi_devices_result_new();
    GPtrArray *rows = hotplug_devices(machine_hotplug(m));

    result->n_devices = rows->len;
    result->devices = (struct device_info **)g_ptr_array_free(rows, FALSE);
    vmi_devices_reply(call, result);
    vmi_devices_result_free(result);
}

void process_slots(struct machine *m, struct rpc_call *call)
{
    struct vmi_slots_result *result = vmi_slots_result_new();
    GPtrArray *rows = hotplug_slots(machine_hotplug(m));

    result->n_slots = rows->len;
    result->slots = (struct slot_info **)g_ptr_array_free(rows, FALSE);
    vmi_slots_reply(call, result);
    vmi_slots_result_free(result);
}
