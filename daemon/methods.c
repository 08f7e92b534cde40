/*
 * One short handler a method. Who may call is checked before by the server: by role, and for methods of
 * role owner by owns().
 */
#include "daemon/methods.h"

#include "base/log.h"
#include "daemon/accels.h"
#include "daemon/disks.h"
#include "daemon/gpus.h"
#include "daemon/image.h"
#include "daemon/host.h"
#include "daemon/hostdevs.h"
#include "daemon/registry.h"
#include "daemon/vm_devices.h"
#include "daemon/warm.h"
#include "proto/consolelog.h"
#include "proto/jsonrpc/json.h"

#include <grp.h>
#include <time.h>

static struct daemon *daemon_of(struct rpc_call *call)
{
    return rpc_call_user(call);
}

/* The VM that REF names, or NULL when CALL was answered with an error. */
static struct vm *need_vm(struct rpc_call *call, const char *ref)
{
    struct vm *vm = registry_find(daemon_of(call)->registry, ref);

    if (!vm)
        rpc_call_error(call, VMD_ERROR_NOT_FOUND, "there is no VM %s", ref);
    return vm;
}

/* --- rpc, system, host ------------------------------------------------------------------------ */

static void discover(struct rpc_call *call, struct rpc_discover_params *params)
{
    struct json_object *json = NULL;

    if (!json_read(api_service.discover, strlen(api_service.discover), &json, NULL))
        g_assert_not_reached();
    rpc_discover_reply(call, json);
}

static void version(struct rpc_call *call, struct system_version_params *params)
{
    struct system_version_result result = {
        .version = (char *)VMD_VERSION, .api = (char *)VMD_VERSION, .pid = (uint32_t)getpid()};

    system_version_reply(call, &result);
}

static void ping(struct rpc_call *call, struct system_ping_params *params)
{
    system_ping_reply(call);
}

static uint64_t monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fill_limits(struct system_info_result *r)
{
    const struct limit *rows = limits_table(&r->n_limits);

    r->limits = g_new0(struct limit_row *, r->n_limits);
    for (size_t i = 0; i < r->n_limits; i++) {
        r->limits[i] = limit_row_new();
        r->limits[i]->name = g_strdup(rows[i].name);
        r->limits[i]->value = rows[i].value;
        r->limits[i]->unit = g_strdup(rows[i].unit);
        r->limits[i]->doc = g_strdup(rows[i].doc);
    }
}

static void info(struct rpc_call *call, struct system_info_params *params)
{
    struct daemon *d = daemon_of(call);
    struct system_info_result *r = system_info_result_new();

    r->version = g_strdup(VMD_VERSION);
    r->pid = (uint32_t)getpid();
    r->system = d->paths.system;
    r->started_ns = d->started_ns;
    r->uptime_ns = monotonic_ns() - d->started_monotonic_ns;
    r->socket = g_strdup(d->paths.socket);
    r->store_dir = g_strdup(d->paths.store);
    r->runtime_dir = g_strdup(d->paths.runtime);
    r->vms = registry_count(d->registry, false);
    r->running = registry_count(d->registry, true);
    r->clients = rpc_server_clients(d->server);
    r->role = g_strdup(rpc_role_name(rpc_call_role(call)));
    fill_limits(r);
    system_info_reply(call, r);
    system_info_result_free(r);
}

static void shutdown_daemon(struct rpc_call *call, struct system_shutdown_params *params)
{
    struct daemon *d = daemon_of(call);

    system_shutdown_reply(call);
    d->leave(d);
}

static void host(struct rpc_call *call, struct host_info_params *params)
{
    g_autoptr(host_info_result) r = host_describe();

    host_info_reply(call, r);
}

static void capabilities(struct rpc_call *call, struct host_capabilities_params *params)
{
    accels_answer(daemon_of(call)->accels, call);
}

static void host_devices(struct rpc_call *call, struct host_devices_params *params)
{
    hostdevs_answer(daemon_of(call)->hostdevs, call, params);
}

/* --- vm --------------------------------------------------------------------------------------- */

static void create(struct rpc_call *call, struct vm_create_params *params)
{
    GError *err = NULL;
    struct vm *vm =
        registry_create(daemon_of(call)->registry, params->id, g_steal_pointer(&params->config),
                        rpc_call_peer(call)->uid, &err);

    if (!vm) {
        rpc_call_fail(call, err);
    } else if (params->start) {
        vm_start_new(vm, call);
    } else {
        g_autoptr(vm_info) described = vm_describe(vm);
        vm_made_by(vm, rpc_call_conn(call));
        vm_create_reply(call, described);
    }
}

static void configure(struct rpc_call *call, struct vm_configure_params *params)
{
    struct vm *vm = need_vm(call, params->vm);
    GError *err = NULL;

    if (!vm)
        return;
    if (!registry_configure(daemon_of(call)->registry, vm, g_steal_pointer(&params->config),
                            &err)) {
        rpc_call_fail(call, err);
        return;
    }
    g_autoptr(vm_info) described = vm_describe(vm);
    vm_configure_reply(call, described);
}

static void list(struct rpc_call *call, struct vm_list_params *params)
{
    g_autoptr(GPtrArray) all = registry_list(daemon_of(call)->registry);
    struct vm_list_result *r = vm_list_result_new();

    r->vms = g_new0(struct vm_info *, all->len);
    for (guint i = 0; i < all->len; i++) {
        const struct vm *vm = g_ptr_array_index(all, i);
        if (!params->has_state || vm_state(vm) == params->state)
            r->vms[r->n_vms++] = vm_describe(vm);
    }
    vm_list_reply(call, r);
    vm_list_result_free(r);
}

static void get(struct rpc_call *call, struct vm_get_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm) {
        g_autoptr(vm_info) described = vm_describe(vm);
        vm_get_reply(call, described);
    }
}

static void start(struct rpc_call *call, struct vm_start_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_start(vm, params->paused, call);
}

static void stop(struct rpc_call *call, struct vm_stop_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_stop(vm, params, call);
}

static void reboot(struct rpc_call *call, struct vm_reboot_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_reboot(vm, params, call);
}

static void kill_vm(struct rpc_call *call, struct vm_kill_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_kill(vm, call);
}

/* A change of the machine that its own process makes, answered with the VM's description. */
struct change {
    struct rpc_call *call;
    char *id;
};

static void changed(void *arg, const void *result, int fd, const GError *err)
{
    struct change *c = arg;
    struct vm *vm = err ? NULL : registry_find(daemon_of(c->call)->registry, c->id);

    if (err) {
        rpc_call_fail(c->call, g_error_copy(err));
    } else if (!vm) {
        rpc_call_error(c->call, VMD_ERROR_GONE, "the VM was deleted meanwhile");
    } else {
        struct vm_info *described = vm_describe(vm);
        rpc_call_reply_typed(c->call, &vm_info_type, described, -1);
        vm_info_free(described);
    }
    g_free(c->id);
    g_free(c);
}

static void change(struct rpc_call *call, const char *ref, enum vmi_method method)
{
    struct vm *vm = need_vm(call, ref);

    if (!vm)
        return;
    struct change *c = g_new0(struct change, 1);
    c->call = call;
    c->id = g_strdup(vm_id(vm));
    vm_call(vm, method, NULL, changed, c);
}

static void pause_vm(struct rpc_call *call, struct vm_pause_params *params)
{
    change(call, params->vm, VMI_PAUSE);
}

static void resume(struct rpc_call *call, struct vm_resume_params *params)
{
    change(call, params->vm, VMI_RESUME);
}

static void reset(struct rpc_call *call, struct vm_reset_params *params)
{
    change(call, params->vm, VMI_RESET);
}

static void delete_vm(struct rpc_call *call, struct vm_delete_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_delete(vm, params->force, call);
}

static void wait_vm(struct rpc_call *call, struct vm_wait_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_wait(vm, params, call);
}

/* --- what the VM process answers -------------------------------------------------------------- */

static void forward(struct rpc_call *call, const char *ref, enum vmi_method method,
                    const void *params)
{
    struct vm *vm = need_vm(call, ref);

    if (vm)
        vm_forward(vm, method, params, call);
}

static void stats(struct rpc_call *call, struct vm_stats_params *params)
{
    forward(call, params->vm, VMI_STATS, NULL);
}

static void balloon(struct rpc_call *call, struct vm_balloon_params *params)
{
    struct vmi_balloon_params p = {.bytes = params->bytes};

    forward(call, params->vm, VMI_BALLOON, &p);
}

static void ask_memory(struct rpc_call *call, struct vm_ask_memory_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_ask_memory(vm, params->period_s, call);
}

static void devices(struct rpc_call *call, struct device_list_params *params)
{
    forward(call, params->vm, VMI_DEVICES, NULL);
}

static void slots(struct rpc_call *call, struct slot_list_params *params)
{
    forward(call, params->vm, VMI_SLOTS, NULL);
}

static void gpu_list(struct rpc_call *call, struct gpu_list_params *params)
{
    gpus_list(daemon_of(call)->gpus, call);
}

static void gpu_attach(struct rpc_call *call, struct gpu_attach_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        gpus_attach(daemon_of(call)->gpus, vm, params, call);
}

static void gpu_detach(struct rpc_call *call, struct gpu_detach_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        gpus_detach(daemon_of(call)->gpus, vm, call);
}

static void gpu_stats_method(struct rpc_call *call, struct gpu_stats_params *params)
{
    struct vm *vm = params->vm ? need_vm(call, params->vm) : NULL;

    if (vm || !params->vm)
        gpus_stats(daemon_of(call)->gpus, vm, call);
}

static void gpu_migrate(struct rpc_call *call, struct gpu_migrate_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        gpus_migrate(daemon_of(call)->gpus, vm, params, call);
}

static void gpu_drain(struct rpc_call *call, struct gpu_drain_params *params)
{
    gpus_drain(daemon_of(call)->gpus, params, call);
}

static void gpu_undrain(struct rpc_call *call, struct gpu_undrain_params *params)
{
    gpus_undrain(daemon_of(call)->gpus, params->gpu, call);
}

static void gpu_limits(struct rpc_call *call, struct gpu_limits_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        gpus_limits(daemon_of(call)->gpus, vm, params, call);
}

/* Its devices, where it runs; NULL when CALL was answered with an error. */
static struct vm_devices *need_devices(struct rpc_call *call, const char *ref)
{
    struct vm *vm = need_vm(call, ref);

    if (!vm)
        return NULL;
    if (vm_active(vm) && vm_state(vm) != VM_STATE_STARTING)
        return vm_devices_of(vm);
    rpc_call_error(call, VMD_ERROR_STATE, "VM %s is %s", vm_name(vm),
                   vm_state_to_string(vm_state(vm)));
    return NULL;
}

static void device_add(struct rpc_call *call, struct device_add_params *params)
{
    struct vm_devices *devices = need_devices(call, params->vm);

    if (devices)
        vm_devices_add(devices, params, call);
}

static void device_remove(struct rpc_call *call, struct device_remove_params *params)
{
    struct vm_devices *devices = need_devices(call, params->vm);

    if (devices)
        vm_devices_remove(devices, params, call);
}

static const struct vm_disk_config *find_disk(const struct vm_config *config, const char *id)
{
    for (size_t i = 0; i < config->n_disks; i++) {
        if (g_strcmp0(config->disks[i]->id, id) == 0)
            return config->disks[i];
    }
    return NULL;
}

static void disk_grown(void *arg, struct disks_answer *answer)
{
    struct rpc_call *call = arg;

    if (answer->err)
        rpc_call_fail(call, g_steal_pointer(&answer->err));
    else
        device_resize_reply(call);
}

/* Of a VM that does not run. */
static void grow_image(const struct vm *vm, const struct device_resize_params *params,
                       struct rpc_call *call)
{
    struct daemon *d = rpc_call_user(call);
    const struct vm_disk_config *disk = find_disk(vm_config_of(vm), params->device);

    if (!disk)
        rpc_call_error(call, VMD_ERROR_NOT_FOUND, "there is no disk %s", params->device);
    else if (disk->readonly)
        rpc_call_error(call, VMD_ERROR_STATE, "disk %s is read-only", params->device);
    else if (params->bytes % DISK_SECTOR)
        rpc_call_error(call, VMD_ERROR_INVALID, "params.bytes is not a multiple of 512");
    else
        disks_grow(d->disks, disk, params->bytes, disk_grown, call);
}

static void device_resize(struct rpc_call *call, struct device_resize_params *params)
{
    struct vm *vm = need_vm(call, params->vm);
    GError *err = NULL;

    if (!vm)
        return;
    if (!image_check_capacity(params->bytes, &err))
        rpc_call_fail(call, err);
    else if (vm_active(vm))
        vm_resize_disk(vm, params->device, params->bytes, call);
    else
        grow_image(vm, params, call);
}

static void disk_peeked(void *arg, struct disks_answer *answer)
{
    struct rpc_call *call = arg;

    if (answer->err)
        rpc_call_fail(call, g_steal_pointer(&answer->err));
    else
        device_peek_reply(call, steal_fd(&answer->fd));
}

static void device_peek(struct rpc_call *call, struct device_peek_params *params)
{
    struct daemon *d = rpc_call_user(call);
    struct vm *vm = need_vm(call, params->vm);

    if (!vm)
        return;
    g_autoptr(vm_config) config =
        vm_active(vm) ? vm_devices_config(vm_devices_of(vm)) : vm_config_copy(vm_config_of(vm));
    const struct vm_disk_config *disk = find_disk(config, params->device);
    if (disk)
        disks_peek(d->disks, disk, params->offset, params->bytes, disk_peeked, call);
    else
        rpc_call_error(call, VMD_ERROR_NOT_FOUND, "there is no disk %s", params->device);
}

static void peek(struct rpc_call *call, struct vm_peek_params *params)
{
    struct vmi_peek_params p = {.address = params->address, .bytes = params->bytes};

    forward(call, params->vm, VMI_PEEK, &p);
}

static void resize(struct rpc_call *call, struct vm_resize_params *params)
{
    struct vm_devices *devices = need_devices(call, params->vm);

    if (devices)
        vm_devices_resize(devices, params, call);
}

static void pin(struct rpc_call *call, struct vm_pin_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_pin(vm, params, call);
}

static void xlate_stats(struct rpc_call *call, struct xlate_stats_params *params)
{
    forward(call, params->vm, VMI_XLATE_STATS, NULL);
}

static void xlate_clear(struct rpc_call *call, struct xlate_clear_params *params)
{
    forward(call, params->vm, VMI_XLATE_CLEAR, NULL);
}

static void xlate_limit(struct rpc_call *call, struct xlate_limit_params *params)
{
    struct vmi_xlate_limit_params p = {.bytes = params->bytes};

    forward(call, params->vm, VMI_XLATE_LIMIT, &p);
}

static void xlate_warm(struct rpc_call *call, struct xlate_warm_params *params)
{
    struct vm *vm = need_vm(call, params->vm);

    if (vm)
        vm_warm(vm, call);
}

static void xlate_watch(struct rpc_call *call, struct xlate_watch_params *params)
{
    struct vmi_xlate_watch_params p = {
        .has_hit_percent = params->has_hit_percent, .hit_percent = params->hit_percent,
        .has_link_percent = params->has_link_percent, .link_percent = params->link_percent};

    forward(call, params->vm, VMI_XLATE_WATCH, &p);
}

static void xlate_sample(struct rpc_call *call, struct xlate_sample_params *params)
{
    struct vmi_xlate_sample_params p = {.rate_hz = params->rate_hz, .seconds = params->seconds};

    forward(call, params->vm, VMI_XLATE_SAMPLE, &p);
}

static void take_profile(struct rpc_call *call, struct xlate_profile_params *params)
{
    forward(call, params->vm, VMI_XLATE_PROFILE, NULL);
}

static void xlate_code(struct rpc_call *call, struct xlate_code_params *params)
{
    struct vmi_xlate_code_params p = {.part = params->part};

    forward(call, params->vm, VMI_XLATE_CODE, &p);
}

static void xlate_forget(struct rpc_call *call, struct xlate_forget_params *params)
{
    struct daemon *d = rpc_call_user(call);

    warm_lists_forget(d->warm, params->arch, rpc_call_peer(call)->uid);
    xlate_forget_reply(call);
}

static void attach(struct rpc_call *call, struct console_attach_params *params)
{
    struct vmi_console_attach_params p = {.console = params->console,
                                          .readonly = params->readonly,
                                          .replay = params->replay,
                                          .force = params->force};

    forward(call, params->vm, VMI_CONSOLE_ATTACH, &p);
}

static void type(struct rpc_call *call, struct console_write_params *params)
{
    struct vmi_console_write_params p = {
        .console = params->console, .data = params->data, .encoding = params->encoding};

    forward(call, params->vm, VMI_CONSOLE_WRITE, &p);
}

/* The log is on disk: it is there also when the process is not. */
static void console_log(struct rpc_call *call, struct console_log_params *params)
{
    struct vm *vm = need_vm(call, params->vm);
    GError *err = NULL;

    if (!vm)
        return;
    g_autofree char *dir = vm_log_dir(vm);
    g_autoptr(console_chunk) chunk =
        consolelog_read(dir, params->console, params->has_offset ? &params->offset : NULL,
                        params->limit, params->encoding, &err);
    if (chunk)
        console_log_reply(call, chunk);
    else
        rpc_call_fail(call, err);
}

/* --- events and jobs -------------------------------------------------------------------------- */

/* Resolves the optional VM of CALL's params into ID; false when CALL was answered with an error. */
static bool optional_vm(struct rpc_call *call, const char *ref, const char **id)
{
    *id = NULL;
    if (!ref)
        return true;
    struct vm *vm = need_vm(call, ref);
    if (vm)
        *id = vm_id(vm);
    return vm != NULL;
}

static void subscribe(struct rpc_call *call, struct event_subscribe_params *params)
{
    const char *id;

    if (optional_vm(call, params->vm, &id))
        events_subscribe(daemon_of(call)->events, call, params, id);
}

static void unsubscribe(struct rpc_call *call, struct event_unsubscribe_params *params)
{
    events_unsubscribe(daemon_of(call)->events, call, params->subscription);
}

static void list_events(struct rpc_call *call, struct event_list_params *params)
{
    const char *id;

    if (optional_vm(call, params->vm, &id))
        events_list(daemon_of(call)->events, call, params, id);
}

static void list_jobs(struct rpc_call *call, struct job_list_params *params)
{
    jobs_list(daemon_of(call)->jobs, call, params);
}

static void get_job(struct rpc_call *call, struct job_get_params *params)
{
    jobs_get(daemon_of(call)->jobs, call, params->job);
}

static void cancel_job(struct rpc_call *call, struct job_cancel_params *params)
{
    jobs_cancel(daemon_of(call)->jobs, call, params->job);
}

static void wait_job(struct rpc_call *call, struct job_wait_params *params)
{
    jobs_wait(daemon_of(call)->jobs, call, params);
}

static const struct api_handlers handlers = {
    .rpc_discover = discover,
    .system_version = version,
    .system_ping = ping,
    .system_info = info,
    .system_shutdown = shutdown_daemon,
    .host_info = host,
    .host_capabilities = capabilities,
    .host_devices = host_devices,
    .gpu_list = gpu_list,
    .gpu_attach = gpu_attach,
    .gpu_detach = gpu_detach,
    .gpu_stats = gpu_stats_method,
    .gpu_migrate = gpu_migrate,
    .gpu_drain = gpu_drain,
    .gpu_undrain = gpu_undrain,
    .gpu_limits = gpu_limits,
    .vm_create = create,
    .vm_configure = configure,
    .vm_list = list,
    .vm_get = get,
    .vm_start = start,
    .vm_stop = stop,
    .vm_reboot = reboot,
    .vm_kill = kill_vm,
    .vm_pause = pause_vm,
    .vm_resume = resume,
    .vm_reset = reset,
    .vm_delete = delete_vm,
    .vm_wait = wait_vm,
    .vm_stats = stats,
    .vm_balloon = balloon,
    .vm_ask_memory = ask_memory,
    .device_list = devices,
    .vm_resize = resize,
    .vm_pin = pin,
    .device_add = device_add,
    .device_remove = device_remove,
    .vm_peek = peek,
    .device_peek = device_peek,
    .device_resize = device_resize,
    .slot_list = slots,
    .console_attach = attach,
    .console_log = console_log,
    .console_write = type,
    .event_subscribe = subscribe,
    .event_unsubscribe = unsubscribe,
    .event_list = list_events,
    .job_list = list_jobs,
    .job_get = get_job,
    .job_cancel = cancel_job,
    .job_wait = wait_job,
    .xlate_stats = xlate_stats,
    .xlate_clear = xlate_clear,
    .xlate_limit = xlate_limit,
    .xlate_warm = xlate_warm,
    .xlate_watch = xlate_watch,
    .xlate_sample = xlate_sample,
    .xlate_profile = take_profile,
    .xlate_code = xlate_code,
    .xlate_forget = xlate_forget,
};

/* --- who may come in -------------------------------------------------------------------------- */

/*
 * The daemon's own user and root do all. On the system's daemon the group vmd operates VMs, and whom
 * else the socket's own permissions let in may look. A user's daemon is nobody else's.
 */
static bool admit(void *user, const struct rpc_peer *peer, enum rpc_role *role, GError **err)
{
    struct daemon *d = user;
    struct group *group = d->paths.system ? getgrnam("vmd") : NULL;

    if (peer->uid == 0 || peer->uid == geteuid())
        *role = RPC_ROLE_ADMIN;
    else if (group && rpc_peer_in_group(peer, group->gr_gid))
        *role = RPC_ROLE_OPERATE;
    else if (d->paths.system)
        *role = RPC_ROLE_READ;
    else
        return vmd_fail(err, VMD_ERROR_DENIED, "this daemon is another user's");
    return true;
}

static bool owns(void *user, struct rpc_conn *conn, const char *ref, GError **err)
{
    struct daemon *d = user;
    struct vm *vm = registry_find(d->registry, ref);

    if (!vm)
        return vmd_fail(err, VMD_ERROR_NOT_FOUND, "there is no VM %s", ref);
    if (vm_owner(vm) != rpc_conn_peer(conn)->uid)
        return vmd_fail(err, VMD_ERROR_DENIED, "VM %s belongs to another user", ref);
    return true;
}

static void closed(void *user, struct rpc_conn *conn)
{
    struct daemon *d = user;

    events_forget(d->events, conn);
    if (!d->leaving)
        registry_connection_gone(d->registry, conn);
}

static const struct rpc_server_ops ops = {.admit = admit, .owns = owns, .closed = closed};

struct rpc_server *methods_server(struct daemon *daemon)
{
    return rpc_server_new(daemon->loop, &api_service, &handlers, &ops, daemon);
}
