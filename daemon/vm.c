/* A VM's life. See vm.h. */
#include "daemon/vm.h"

#include "base/log.h"
#include "daemon/gpus.h"
#include "daemon/hostdevs.h"
#include "daemon/registry.h"
#include "daemon/spawn.h"
#include "daemon/store.h"
#include "daemon/vm_devices.h"
#include "daemon/vm_gpu.h"
#include "daemon/waiters.h"
#include "daemon/warm.h"
#include "proto/jsonrpc/json.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>

enum {
    CALL_MS = 30000,   /* a VM process answers an ordinary call within this */
    START_MS = 60000,  /* and has its VM started within this */
    KILL_MS = 8000,    /* from vmi.quit to SIGKILL */
    LAST_WORDS = 8192, /* bytes of a dead process's log that are said again */
    REOPEN_MOST = 3,   /* times a broken link to a living process is opened again, a run */
};

/* Tags of waiters. */
enum { WAIT_END, WAIT_RUNNING, WAIT_KILLED, WAIT_DELETED };

struct vm {
    struct daemon *daemon;
    char *id;
    struct vm_config *config;
    struct vm_config *next; /* of the next run on; NULL: the same */
    uid_t uid;
    enum vm_state state;
    uint64_t created_ns, started_ns, runs;
    bool has_accel;
    enum vm_accel accel;
    char *accel_text; /* NULL: as one would expect */
    uint64_t acked;   /* latest stored event of the present process */
    uint64_t in_file; /* the latest that vm.json had, when it was read */
    struct vm_end *end;
    struct vm_pause_info *pause; /* why it is paused; NULL: it is not */
    struct resize_result *size;  /* what the run has now; NULL: what it began with */

    struct spawned process;
    struct vmipc_link *link;
    struct vm_devices *devices;
    struct vm_gpu *gpu;
    bool end_known;            /* of this run: vm->end is set, the process is leaving */
    bool killed;               /* a client wants this run over */
    bool leaving;              /* vm_free(): what is still asked of the process has no answer */
    unsigned reopened;         /* times the link broke and was opened again */
    bool starting_process;     /* vmi.start was not answered yet */
    bool awaits_gpus;          /* the host's GPUs are asked for before there is a process */
    struct rpc_call *starting; /* answered when the start is decided */
    GError *start_err;         /* why it fails; told when the process is gone */
    bool start_new;            /* forget the VM if it does not start */
    bool start_paused;
    const struct rpc_conn *maker; /* see vm_made_by() */
    struct waiters *waiters;
    struct job *stop_job;
    bool stop_force, deleting;
    bool rebooting; /* it is to be reset when the guest has powered off */
    uint32_t stop_timeout_s;
    uv_timer_t *timer; /* of the stop job, or of a kill; freed by its close */
};

static const char *const state_file = "vm.json";

static uint64_t now_ns(void)
{
    return (uint64_t)g_get_real_time() * 1000;
}

struct daemon *vm_daemon(const struct vm *vm)
{
    return vm->daemon;
}

struct vm_gpu *vm_gpu_of(const struct vm *vm)
{
    return vm->gpu;
}

struct vm_devices *vm_devices_of(const struct vm *vm)
{
    return vm->devices;
}

const char *vm_id(const struct vm *vm)
{
    return vm->id;
}

const char *vm_name(const struct vm *vm)
{
    return vm->config->name;
}

uid_t vm_owner(const struct vm *vm)
{
    return vm->uid;
}

enum vm_state vm_state(const struct vm *vm)
{
    return vm->state;
}

const struct vm_config *vm_config_of(const struct vm *vm)
{
    return vm->config;
}

const struct vm_gpu_config *vm_run_gpu(const struct vm *vm)
{
    return vm_active(vm) ? vm_devices_gpu(vm->devices) : vm->config->gpu;
}

bool vm_active(const struct vm *vm)
{
    return vm->state == VM_STATE_STARTING || vm->state == VM_STATE_RUNNING ||
           vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING;
}

pid_t vm_pid(const struct vm *vm)
{
    return vm->process.pid;
}

const struct vm_end *vm_end_of(const struct vm *vm)
{
    return vm->end;
}

const struct vm_pause_info *vm_pause_of(const struct vm *vm)
{
    return vm->pause;
}

const struct resize_result *vm_size_of(const struct vm *vm)
{
    return vm->size;
}

char *vm_log_dir(const struct vm *vm)
{
    return paths_vm_store(&vm->daemon->paths, vm->id);
}

static char *user_name(uid_t uid)
{
    struct passwd *pw = getpwuid(uid);

    return pw ? g_strdup(pw->pw_name) : g_strdup_printf("%u", (unsigned)uid);
}

struct vm_info *vm_describe(const struct vm *vm)
{
    struct vm_info *info = vm_info_new();

    info->id = g_strdup(vm->id);
    info->name = g_strdup(vm->config->name);
    info->state = vm->state;
    info->has_accel = vm->has_accel;
    info->accel = vm->accel;
    info->accel_text = g_strdup(vm->accel_text);
    info->owner_uid = vm->uid;
    info->owner = user_name(vm->uid);
    info->has_pid = vm_active(vm) && vm->process.pid > 0;
    info->pid = (uint32_t)vm->process.pid;
    info->created_ns = vm->created_ns;
    info->has_started_ns = vm->started_ns != 0;
    info->started_ns = vm->started_ns;
    info->runs = vm->runs;
    info->end = vm_end_copy(vm->end);
    info->pause = vm_pause_info_copy(vm->pause);
    info->size = vm_active(vm) ? resize_result_copy(vm->size) : NULL;
    vm_config_free(info->config);
    info->config = vm_config_copy(vm->config);
    info->next = vm_config_copy(vm->next);
    return info;
}

/* --- the store -------------------------------------------------------------------------------- */

static struct json_object *encode(const struct vm *vm)
{
    g_autoptr(vm_info) info = vm_describe(vm);
    struct json_object *json = vm_info_encode(info);

    json_object_object_add(json, "acked", json_object_new_uint64(vm->acked));
    vm_devices_save(vm->devices, json);
    json_object_object_add(json, "gpu_worker", vm_gpu_save(vm->gpu));
    json_object_object_add(json, "process_start", json_object_new_uint64(vm->process.start_time));
    return json;
}

/* SYNC for what must survive the host's crash: that a VM exists, and what it is. */
static bool save(struct vm *vm, bool sync, GError **err)
{
    g_autofree char *dir = paths_vm_store(&vm->daemon->paths, vm->id);
    g_autofree char *path = g_build_filename(dir, state_file, NULL);
    g_autoptr(json_object) json = encode(vm);

    return paths_make_dir(dir, err) && store_write(path, json, sync, err);
}

void vm_store(struct vm *vm)
{
    g_autoptr(GError) err = NULL;

    if (!save(vm, false, &err))
        log_error("VM %s: %s", vm->config->name, err->message);
}

static struct vm *vm_alloc(struct daemon *daemon)
{
    struct vm *vm = g_new0(struct vm, 1);

    vm->daemon = daemon;
    vm->waiters = waiters_new(daemon->loop);
    vm->devices = vm_devices_new(vm);
    vm->gpu = vm_gpu_new(vm);
    spawned_init(&vm->process);
    return vm;
}

struct vm *vm_new(struct daemon *daemon, const char *id, struct vm_config *config, uid_t uid,
                  GError **err)
{
    struct vm *vm = vm_alloc(daemon);

    vm->id = id ? g_strdup(id) : g_uuid_string_random();
    vm->config = config;
    vm->uid = uid;
    vm->created_ns = now_ns();
    vm->state = VM_STATE_DEFINED;
    if (!save(vm, true, err)) {
        vm_erase(vm);
        vm_free(vm);
        return NULL;
    }
    return vm;
}

static uint64_t take_number(struct json_object *json, const char *member)
{
    struct json_object *value = NULL;
    uint64_t n = 0;

    if (json_object_object_get_ex(json, member, &value))
        n = json_object_get_uint64(value);
    json_object_object_del(json, member);
    return n;
}

/* Of an end that was told the events know best: vm.json is written after them. */
static void take_told_end(struct vm *vm)
{
    const struct event_record *told = events_vm_ended(vm->daemon->events, vm->id);
    struct json_object *json = NULL;
    struct vm_end *end = NULL;

    if (!told || !json_object_object_get_ex(told->data, "end", &json) ||
        !vm_end_decode(json, &end, NULL))
        return;
    vm_end_free(vm->end);
    vm->end = end;
}

struct vm *vm_load(struct daemon *daemon, const char *id, GError **err)
{
    g_autofree char *dir = paths_vm_store(&daemon->paths, id);
    g_autofree char *path = g_build_filename(dir, state_file, NULL);
    g_autoptr(json_object) json = NULL;
    g_autoptr(vm_info) info = NULL;

    if (!store_read(path, &json, err))
        return NULL;
    if (!json || !json_object_is_type(json, json_type_object)) {
        vmd_fail(err, VMD_ERROR_INVALID, "%s is missing or empty", path);
        return NULL;
    }
    uint64_t acked = take_number(json, "acked");
    uint64_t process_start = take_number(json, "process_start");
    g_autoptr(json_object) worker = json_object_get(json_object_object_get(json, "gpu_worker"));
    json_object_object_del(json, "gpu_worker");
    struct vm *vm = vm_alloc(daemon);
    vm_devices_load(vm->devices, json);
    if (!vm_info_decode(json, &info, err)) {
        vm_free(vm);
        return NULL;
    }
    vm_gpu_load(vm->gpu, worker);
    vm->id = g_strdup(id);
    vm->config = g_steal_pointer(&info->config);
    vm->next = g_steal_pointer(&info->next);
    vm->uid = info->owner_uid;
    vm->state = info->state;
    events_vm_state(daemon->events, id, &vm->state);
    vm->created_ns = info->created_ns;
    vm->started_ns = info->started_ns;
    vm->runs = info->runs;
    vm->has_accel = info->has_accel;
    vm->accel = info->accel;
    vm->accel_text = g_steal_pointer(&info->accel_text);
    vm->end = g_steal_pointer(&info->end);
    vm->pause = g_steal_pointer(&info->pause);
    vm->size = g_steal_pointer(&info->size);
    take_told_end(vm);
    vm->in_file = acked;
    vm->acked = MAX(acked, events_vm_seq(daemon->events, id));
    if (info->has_pid)
        spawned_adopt(&vm->process, (pid_t)info->pid, process_start);
    return vm;
}

static void stop_timer(struct vm *vm);
static void stop_over(struct vm *vm, bool cancelled, const GError *err);

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    vm->leaving = true;
    if (vm->starting)
        rpc_call_error(vm->starting, VMD_ERROR_GONE, "the daemon is ending");
    waiters_free(vm->waiters);
    vm_devices_free(vm->devices);
    stop_timer(vm);
    vmipc_link_free(g_steal_pointer(&vm->link));
    spawned_forget(&vm->process);
    vm_gpu_free(vm->gpu);
    g_clear_error(&vm->start_err);
    vm_config_free(vm->config);
    vm_config_free(vm->next);
    vm_end_free(vm->end);
    resize_result_free(vm->size);
    vm_pause_info_free(vm->pause);
    g_free(vm->accel_text);
    g_free(vm->id);
    g_free(vm);
}

void vm_erase(struct vm *vm)
{
    g_autofree char *store = paths_vm_store(&vm->daemon->paths, vm->id);
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);

    paths_remove_dir(store);
    paths_remove_dir(runtime);
}

/* --- news ------------------------------------------------------------------------------------- */

static void emit_from(struct vm *vm, enum api_event event, const void *data, uint64_t vm_seq,
                      uint64_t time_ns)
{
    struct event_source source = {.vm = vm->config->name, .vm_id = vm->id, .vm_seq = vm_seq};

    events_emit(vm->daemon->events, event, &source, time_ns, data);
}

static void emit(struct vm *vm, enum api_event event, const void *data)
{
    emit_from(vm, event, data, 0, 0);
}

/* PAUSE, which is copied, says why where TO is paused. */
static void set_paused_state(struct vm *vm, enum vm_state to, const struct vm_pause_info *pause)
{
    struct vm_pause_info *why = vm_pause_info_copy(pause);
    struct vm_state_event event = {.from = vm->state, .to = to, .pause = why};

    vm_pause_info_free(vm->pause);
    vm->pause = why;
    if (vm->state == to)
        return;
    if (to == VM_STATE_RUNNING)
        vm->maker = NULL;
    vm->state = to;
    emit(vm, API_EVENT_VM_STATE, &event);
    vm_store(vm);
}

static void set_state(struct vm *vm, enum vm_state to)
{
    set_paused_state(vm, to, NULL);
}

static void reply_info(struct rpc_call *call, void *opaque)
{
    struct vm_info *info = vm_describe(opaque);

    rpc_call_reply_typed(call, &vm_info_type, info, -1);
    vm_info_free(info);
}

static void reply_deleted(struct rpc_call *call, void *opaque)
{
    vm_delete_reply(call);
}

/* --- another configuration -------------------------------------------------------------------- */

const struct vm_config *vm_next_config_of(const struct vm *vm)
{
    return vm->next ? vm->next : vm->config;
}

/* A copy of CONFIG with what can change during a run as FROM has it. */
static struct vm_config *with_changes(const struct vm_config *config, const struct vm_config *from)
{
    struct vm_config *out = vm_config_copy(config);

    out->autostart = from->autostart;
    out->ephemeral = from->ephemeral;
    g_free(out->libvirt_xml);
    out->libvirt_xml = g_strdup(from->libvirt_xml);
    if (out->gpu && from->gpu) {
        out->gpu->share = from->gpu->share;
        out->gpu->launches = from->gpu->launches;
    }
    return out;
}

static bool same(const struct vm_config *a, const struct vm_config *b)
{
    g_autoptr(json_object) x = vm_config_encode(a), y = vm_config_encode(b);

    return json_object_equal(x, y);
}

bool vm_configure(struct vm *vm, struct vm_config *config, GError **err)
{
    struct vm_config *was = vm->config, *was_next = vm->next;

    vm->next = NULL;
    if (!vm_active(vm)) {
        vm->config = config;
    } else {
        vm->config = with_changes(was, config);
        vm->next = same(vm->config, config) ? NULL : config;
    }
    if (!save(vm, true, err)) {
        if (vm->config != config)
            vm_config_free(vm->config);
        vm->config = was;
        vm->next = was_next;
        return false;
    }
    if (vm->config != config && vm->next != config)
        vm_config_free(config);
    vm_gpu_limit(vm->gpu);
    if (!vm->config->ephemeral)
        vm->maker = NULL;
    vm_config_free(was);
    vm_config_free(was_next);
    emit(vm, API_EVENT_VM_CONFIGURED, &(struct vm_configured_event){.pending = vm->next != NULL});
    return true;
}

/* --- timers ----------------------------------------------------------------------------------- */

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void stop_timer(struct vm *vm)
{
    if (!vm->timer)
        return;
    uv_close((uv_handle_t *)vm->timer, timer_closed);
    vm->timer = NULL;
}

static void start_timer(struct vm *vm, uv_timer_cb cb, uint64_t ms)
{
    stop_timer(vm);
    vm->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(vm->daemon->loop, vm->timer);
    vm->timer->data = vm;
    uv_timer_start(vm->timer, cb, ms, 0);
}

static void kill_timeout(uv_timer_t *timer)
{
    struct vm *vm = timer->data;

    log_warning("VM %s: its process does not end; killing it", vm->config->name);
    stop_timer(vm);
    spawned_kill(&vm->process, SIGKILL);
}

/* --- the end of a run ------------------------------------------------------------------------- */

static void end_stop_job(struct vm *vm, bool cancelled, const GError *err)
{
    struct job *job = g_steal_pointer(&vm->stop_job);

    vm->rebooting = false;
    if (job)
        job_end(job, cancelled, err);
}

/* The run is over: what vm_configure() left holds. */
static void take_next(struct vm *vm)
{
    if (!vm->next)
        return;
    vm_config_free(vm->config);
    vm->config = g_steal_pointer(&vm->next);
}

/* What everybody hears once the run is over. May free VM. */
static void tell_end(struct vm *vm)
{
    struct vm_ended_event event = {.end = vm->end};
    bool orderly = vm->end->reason == VM_END_REASON_POWERED_OFF ||
                   vm->end->reason == VM_END_REASON_RESET ||
                   vm->end->reason == VM_END_REASON_KILLED;
    bool go = vm->deleting || vm->config->ephemeral;

    stop_timer(vm);
    /* A daemon that was killed at this point has told it already. */
    if (!events_vm_ended(vm->daemon->events, vm->id))
        emit_from(vm, API_EVENT_VM_ENDED, &event, 0, vm->end->time_ns);
    set_state(vm, orderly ? VM_STATE_STOPPED : VM_STATE_CRASHED);
    end_stop_job(vm, false, NULL);
    vm_devices_run_over(vm->devices);
    waiters_answer(vm->waiters, WAIT_END, reply_info, vm);
    waiters_answer(vm->waiters, WAIT_RUNNING, reply_info, vm);
    waiters_answer(vm->waiters, WAIT_KILLED, reply_info, vm);
    take_next(vm);
    vm_store(vm);
    if (go)
        registry_drop(vm->daemon->registry, vm);
}

/* Cuts the connection to a process that is over. */
static void forget_process(struct vm *vm)
{
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);

    vmipc_link_free(g_steal_pointer(&vm->link));
    spawned_forget(&vm->process);
    vm_gpu_end(vm->gpu);
    hostdevs_end_run(vm->daemon->hostdevs, vm);
    warm_lists_take(vm->daemon->warm, vm->config->arch, vm->uid, runtime);
    paths_remove_dir(runtime);
}

static void set_end(struct vm *vm, enum vm_end_reason reason, const char *text)
{
    vm_end_free(vm->end);
    vm->end = vm_end_new();
    vm->end->reason = reason;
    vm->end->text = g_strndup(text, LONG_TEXT_MAX);
    vm->end->time_ns = now_ns();
}

/* The process is gone without a word over the link: end.json has it, or it crashed. */
static void find_end(struct vm *vm)
{
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);
    g_autofree char *path = g_build_filename(runtime, "end.json", NULL);
    g_autoptr(json_object) json = NULL;
    struct vm_end *end = NULL;

    if (vm->end_known)
        return;
    if (store_read(path, &json, NULL) && json && vm_end_decode(json, &end, NULL)) {
        vm_end_free(vm->end);
        vm->end = end;
        return;
    }
    if (vm->killed) {
        set_end(vm, VM_END_REASON_KILLED, "killed by a client");
        return;
    }
    set_end(vm, VM_END_REASON_VM_PROCESS_CRASHED, "the VM process died");
    if (!vm->process.exited)
        return;
    g_free(vm->end->text);
    if (vm->process.signal) {
        vm->end->has_signal = true;
        vm->end->signal = (uint32_t)vm->process.signal;
        vm->end->text = g_strdup_printf("the VM process was killed by signal %d (%s)",
                                        vm->process.signal, g_strsignal(vm->process.signal));
    } else {
        vm->end->has_status = true;
        vm->end->status = (uint32_t)vm->process.status;
        vm->end->text = g_strdup_printf("the VM process exited with status %d", vm->process.status);
    }
}

static void answer_failed_start(struct vm *vm)
{
    struct rpc_call *call = g_steal_pointer(&vm->starting);

    if (!call && vm->start_err)
        log_error("VM %s does not start: %s", vm->config->name, vm->start_err->message);
    if (call && vm->start_err)
        rpc_call_fail(call, g_steal_pointer(&vm->start_err));
    else if (call)
        rpc_call_error(call, VMD_ERROR_GONE, "%s", vm->end->text);
    g_clear_error(&vm->start_err);
    vm->deleting |= vm->start_new;
    vm->start_new = false;
}

/* A process that died left its reasons in a file, which goes with an ephemeral VM. */
static void say_crashed(const struct vm *vm)
{
    g_autofree char *store = paths_vm_store(&vm->daemon->paths, vm->id);
    g_autofree char *path = g_build_filename(store, "process.log", NULL);
    g_autofree char *last = store_last_lines(path, LAST_WORDS);
    g_auto(GStrv) lines = g_strsplit(last ? last : "", "\n", -1);

    log_warning("VM %s: %s", vm->config->name, vm->end->text);
    for (char **line = lines; *line; line++)
        log_warning("VM %s: its process's log: %s", vm->config->name, *line);
}

/* The process is gone, however. May free VM. */
static void process_gone(struct vm *vm)
{
    if (!vm_active(vm)) {
        forget_process(vm);
        return;
    }
    find_end(vm);
    vm->starting_process = vm->awaits_gpus = false;
    forget_process(vm);
    answer_failed_start(vm);
    if (vm->end->reason == VM_END_REASON_VM_PROCESS_CRASHED)
        say_crashed(vm);
    tell_end(vm);
}

/* The run will not come about, for the reason WHY (taken). What there is of a process is reaped
 * before anybody hears of it; VM may be free after this. */
static void fail_start(struct vm *vm, GError *why)
{
    if (!vm->end_known)
        set_end(vm, VM_END_REASON_START_FAILED, why->message);
    vm->end_known = true;
    g_clear_error(&vm->start_err);
    vm->start_err = why;
    if (spawned_watched(&vm->process))
        spawned_kill(&vm->process, SIGKILL);
    else
        process_gone(vm);
}

/* --- the link --------------------------------------------------------------------------------- */

static void process_exited(void *opaque)
{
    process_gone(opaque);
}

static void on_vmi_state(struct vm *vm, const struct vmi_state_event *event)
{
    if (event->to == VMI_STATE_PAUSED)
        set_paused_state(vm, VM_STATE_PAUSED, event->pause);
    else if (event->to == VMI_STATE_RUNNING)
        set_state(vm, vm->stop_job && !vm->rebooting ? VM_STATE_STOPPING : VM_STATE_RUNNING);
    if (vm->state == VM_STATE_RUNNING)
        waiters_answer(vm->waiters, WAIT_RUNNING, reply_info, vm);
}

/* The guest has another size than it was given. */
static void on_size(struct vm *vm, const struct vmi_size_event *event)
{
    if (!vm->size)
        vm->size = resize_result_new();
    vm->size->cpus = event->cpus;
    vm->size->memory = event->memory;
}

/* The run is over. It is told when the process, which leaves once it has our acknowledgement, is
 * gone: then its disks and ports are free. */
static void on_ended(struct vm *vm, const struct vmi_ended_event *event, uint64_t seq)
{
    vm_end_free(vm->end);
    vm->end = vm_end_copy(event->end);
    vm->end_known = true;
    vmipc_link_ack(vm->link, seq);
    start_timer(vm, kill_timeout, KILL_MS);
}

static void on_event(void *user, uint64_t seq, uint64_t time_ns, enum vmi_event type,
                     const void *data)
{
    struct vm *vm = user;

    vm->acked = seq;
    switch (type) {
    case VMI_EVENT_STATE:
        on_vmi_state(vm, data);
        break;
    case VMI_EVENT_ENDED:
        on_ended(vm, data, seq);
        return;
    case VMI_EVENT_RESET:
        if (vm->rebooting)
            stop_over(vm, false, NULL);
        emit_from(vm, API_EVENT_VM_RESET,
                  &(struct vm_reset_event){((const struct vmi_reset_event *)data)->by_guest}, seq,
                  time_ns);
        break;
    case VMI_EVENT_WARNING:
        emit_from(vm, API_EVENT_VM_WARNING,
                  &(struct vm_warning_event){((const struct vmi_warning_event *)data)->text}, seq,
                  time_ns);
        break;
    case VMI_EVENT_DISK_ERROR: {
        const struct vmi_disk_error_event *d = data;
        emit_from(vm, API_EVENT_DISK_ERROR,
                  &(struct disk_error_event){d->disk, d->operation, d->held, d->errors, d->text},
                  seq, time_ns);
        break;
    }
    case VMI_EVENT_BALLOON: {
        const struct vmi_balloon_event *b = data;
        if (vm->size)
            vm->size->memory = b->memory_bytes;
        emit_from(vm, API_EVENT_VM_BALLOON,
                  &(struct vm_balloon_event){b->balloon_bytes, b->memory_bytes}, seq, time_ns);
        break;
    }
    case VMI_EVENT_XLATE_RATE: {
        const struct vmi_xlate_rate_event *d = data;
        emit_from(vm, API_EVENT_XLATE_RATE,
                  &(struct xlate_rate_event){d->rate, d->low, d->percent, d->threshold, d->counted},
                  seq, time_ns);
        break;
    }
    case VMI_EVENT_GPU_WORKER: {
        const struct vmi_gpu_worker_event *g = data;
        emit_from(vm, API_EVENT_GPU_WORKER, &(struct gpu_worker_event){g->state, g->text}, seq,
                  time_ns);
        vm_gpu_news(vm->gpu, g);
        break;
    }
    case VMI_EVENT_DEVICE: {
        const struct vmi_device_event *d = data;
        emit_from(vm, API_EVENT_DEVICE_CHANGED,
                  &(struct device_changed_event){.device = d->device,
                                                 .state = d->state,
                                                 .has_road = d->has_road,
                                                 .road = d->road,
                                                 .has_job = d->has_job,
                                                 .job = d->job,
                                                 .text = d->text},
                  seq, time_ns);
        vm_devices_news(vm->devices, d);
        vm_gpu_follow(vm->gpu);
        break;
    }
    case VMI_EVENT_DEVICE_WANTED:
        vm_devices_wanted(vm->devices, data);
        break;
    case VMI_EVENT_SIZE:
        on_size(vm, data);
        break;
    case VMI_EVENT_JOB_ENDED: {
        const struct vmi_job_ended_event *e = data;
        if (e->resize) {
            resize_result_free(vm->size);
            vm->size = resize_result_copy(e->resize);
        }
        vm_devices_job_ended(vm->devices, e);
        break;
    }
    }
    vm_store(vm);
    vmipc_link_ack(vm->link, seq);
}

static void started(void *arg, const void *result, int fd, const GError *err);

static void call_start(struct vm *vm)
{
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);
    g_autofree char *logs = vm_log_dir(vm);
    g_autofree char *warm = warm_lists_path(vm->daemon->warm, vm->config->arch, vm->uid);
    struct vmi_start_params params = {
        .vm_id = vm->id,
        .config = vm->config,
        .accel = vm->config->accel,
        .runtime_dir = runtime,
        .log_dir = logs,
        .paused = vm->start_paused,
        .warm_list = warm,
    };

    vmipc_link_call(vm->link, VMI_START, &params, START_MS, started, vm);
}

/* A process that an earlier daemon started says where it is. */
static void recovered(struct vm *vm, const struct vmi_hello_result *hello)
{
    log_info("VM %s: found again, process %u", vm->config->name, hello->pid);
    if (hello->state == VMI_STATE_RUNNING)
        set_state(vm, VM_STATE_RUNNING);
    else if (hello->state == VMI_STATE_PAUSED)
        set_paused_state(vm, VM_STATE_PAUSED, hello->pause);
    /* Of an ended one the event comes; of an idle one nothing will. */
    vm_devices_recovered(vm->devices);
    vm_gpu_begin(vm->gpu);
    if (hello->state == VMI_STATE_IDLE)
        vmipc_link_call(vm->link, VMI_QUIT, NULL, CALL_MS, NULL, NULL);
}

/* Events that the VM process had to drop while nobody took them are told as missing. */
static void tell_gap(struct vm *vm, const struct vmi_hello_result *hello)
{
    if (hello->first_seq <= vm->acked + 1)
        return;
    g_autofree char *text =
        g_strdup_printf("%" G_GUINT64_FORMAT " events of the VM were lost while no daemon ran",
                        hello->first_seq - vm->acked - 1);
    struct vm_warning_event event = {.text = text};
    log_warning("VM %s: %s", vm->config->name, text);
    emit(vm, API_EVENT_VM_WARNING, &event);
}

static void on_ready(void *user, const struct vmi_hello_result *hello)
{
    struct vm *vm = user;

    tell_gap(vm, hello);
    if (vm->starting_process)
        call_start(vm);
    else
        recovered(vm, hello);
}

/* The link broke. Either the process is leaving, and its death will be told, or it is there still
 * and can be called again. */
static void on_lost(void *user, const GError *why)
{
    struct vm *vm = user;
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);
    g_autoptr(GError) err = NULL;

    log_debug("VM %s: connection lost: %s", vm->config->name, why->message);
    if (vm->starting_process)
        spawned_kill(&vm->process, SIGKILL);
    else if (!vm->end_known && spawned_alive(&vm->process) &&
             (vm->reopened++ >= REOPEN_MOST || !vmipc_link_open(vm->link, runtime, &err)))
        start_timer(vm, kill_timeout, KILL_MS);
}

static const struct vmipc_link_ops link_ops = {
    .ready = on_ready,
    .event = on_event,
    .lost = on_lost,
};

/* --- starting --------------------------------------------------------------------------------- */

/* The answer to vmi.start. */
static void started(void *arg, const void *result, int fd, const GError *err)
{
    struct vm *vm = arg;

    if (vm->leaving)
        return;
    if (g_error_matches(err, VMD_ERROR, VMD_ERROR_GONE)) {
        /* It died over it, which says more; on_lost() sees to it that it did. */
        return;
    }
    vm->starting_process = false;
    if (err) {
        fail_start(vm, g_error_copy(err));
        return;
    }
    const struct vmi_start_result *r = result;
    vm->has_accel = true;
    vm->accel = r->accel;
    vm->accel_text = g_strdup(r->accel_text);
    vm_store(vm);
    vm->start_new = false;
    struct rpc_call *call = g_steal_pointer(&vm->starting);
    if (call)
        reply_info(call, vm);
    vm_devices_host_lost(vm->devices);
    vm_gpu_begin(vm->gpu);
}

static bool launch(struct vm *vm, GError **err)
{
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);
    g_autofree char *store = paths_vm_store(&vm->daemon->paths, vm->id);
    g_autofree char *log = g_build_filename(store, "process.log", NULL);
    int fd;

    paths_remove_dir(runtime);
    if (!paths_make_dir(runtime, err))
        return false;
    fd = spawn_vm_process(&vm->process, vm->daemon->loop, vm->daemon->paths.vm_program, "--fd", log,
                          process_exited, vm, err);
    if (fd < 0)
        return false;
    vm->link = vmipc_link_new(vm->daemon->loop, vm->id, 0, &link_ops, vm);
    /* A process that the store does not know would be lost with this daemon. */
    return vmipc_link_open_fd(vm->link, fd, err) && save(vm, false, err);
}

static void check_and_launch(struct vm *vm)
{
    g_autoptr(GError) err = NULL;

    vm->awaits_gpus = false;
    if (!registry_check_start(vm->daemon->registry, vm, &err) ||
        !vm_devices_run_begins(vm->devices, &err) || !launch(vm, &err))
        fail_start(vm, g_steal_pointer(&err));
}

void vm_gpus_known(struct vm *vm)
{
    if (vm->awaits_gpus)
        check_and_launch(vm);
}

void vm_start(struct vm *vm, bool paused, struct rpc_call *call)
{
    if (vm_active(vm)) {
        rpc_call_error(call, VMD_ERROR_STATE, "VM %s is %s", vm->config->name,
                       vm_state_to_string(vm->state));
        return;
    }
    if (!call || rpc_call_conn(call) != vm->maker)
        vm->maker = NULL;
    vm->starting = call;
    vm->starting_process = true;
    vm->start_paused = paused;
    vm->has_accel = false;
    g_clear_pointer(&vm->accel_text, g_free);
    g_clear_pointer(&vm->size, resize_result_free);
    vm->started_ns = now_ns();
    vm->runs++;
    vm->acked = 0;
    vm->reopened = 0;
    vm->end_known = vm->killed = false;
    forget_process(vm);
    set_state(vm, VM_STATE_STARTING);
    vm->awaits_gpus = gpus_ask_for(vm->daemon->gpus, vm);
    if (!vm->awaits_gpus)
        check_and_launch(vm);
}

void vm_autostart(struct vm *vm)
{
    vm_start(vm, false, NULL);
}

void vm_start_new(struct vm *vm, struct rpc_call *call)
{
    vm->start_new = true;
    vm_start(vm, false, call);
}

/* An event of the log, of which vm.json does not know. */
static void told_before(void *opaque, const struct event_record *record)
{
    struct vm *vm = opaque;
    g_autoptr(device_changed_event) changed = NULL;

    if (strcmp(record->type, api_service.events[API_EVENT_DEVICE_CHANGED].name) != 0 ||
        !device_changed_event_decode(record->data, &changed, NULL))
        return;
    vm_devices_news(vm->devices, &(struct vmi_device_event){.device = changed->device,
                                                            .state = changed->state,
                                                            .has_road = changed->has_road,
                                                            .road = changed->road,
                                                            .has_job = changed->has_job,
                                                            .job = changed->job,
                                                            .text = changed->text});
}

void vm_recover(struct vm *vm)
{
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);
    g_autoptr(GError) err = NULL;

    vm_devices_take(vm->devices);
    events_vm_after(vm->daemon->events, vm->id, vm->in_file, told_before, vm);
    if (!vm_active(vm)) {
        vm_devices_run_over(vm->devices);
        if (vm->config->ephemeral)
            registry_drop(vm->daemon->registry, vm);
        return;
    }
    vm->link = vmipc_link_new(vm->daemon->loop, vm->id, vm->acked, &link_ops, vm);
    if (!spawned_watch(&vm->process, vm->daemon->loop, process_exited, vm)) {
        process_gone(vm);
    } else if (!vmipc_link_open(vm->link, runtime, &err)) {
        log_warning("VM %s: its process does not answer: %s", vm->config->name, err->message);
        spawned_kill(&vm->process, SIGKILL);
    }
}

/* --- stopping --------------------------------------------------------------------------------- */

static void kill_now(struct vm *vm)
{
    vm->killed = true;
    if (vm->awaits_gpus) {
        fail_start(vm, g_error_new(VMD_ERROR, VMD_ERROR_GONE, "VM %s was killed as it started",
                                   vm->config->name));
        return;
    }
    start_timer(vm, kill_timeout, KILL_MS);
    if (vm->link && vmipc_link_ready(vm->link) && !vm->starting_process)
        vmipc_link_call(vm->link, VMI_QUIT, NULL, CALL_MS, NULL, NULL);
    else
        spawned_kill(&vm->process, SIGKILL);
}

static bool need_active(struct vm *vm, struct rpc_call *call)
{
    if (vm_active(vm))
        return true;
    rpc_call_error(call, VMD_ERROR_STATE, "VM %s is not running", vm->config->name);
    return false;
}

void vm_kill(struct vm *vm, struct rpc_call *call)
{
    if (!need_active(vm, call))
        return;
    waiters_add(vm->waiters, call, WAIT_KILLED, 0, "");
    kill_now(vm);
}

static void stop_over(struct vm *vm, bool cancelled, const GError *err)
{
    stop_timer(vm);
    end_stop_job(vm, cancelled, err);
    if (vm->state == VM_STATE_STOPPING)
        set_state(vm, VM_STATE_RUNNING);
}

static void stop_timeout(uv_timer_t *timer)
{
    struct vm *vm = timer->data;

    if (vm->stop_force) {
        job_progress(vm->stop_job, 90, "the guest did not power off; killing it");
        kill_now(vm);
        return;
    }
    g_autoptr(GError) err =
        g_error_new(VMD_ERROR, VMD_ERROR_TIMEOUT,
                    "the guest of VM %s was asked to power off and has not done so in "
                    "%u s; it goes on",
                    vm->config->name, vm->stop_timeout_s);
    stop_over(vm, false, err);
}

static void stop_cancelled(void *opaque)
{
    stop_over(opaque, true, NULL);
}

static void powerdown_answered(void *arg, const void *result, int fd, const GError *err)
{
    struct vm *vm = arg;

    if (!vm->stop_job || vm->leaving)
        return;
    if (!err) {
        job_progress(vm->stop_job, 10, "the guest was asked to power off");
    } else if (vm->stop_force) {
        job_progress(vm->stop_job, 90, "the guest cannot be asked to power off; killing it");
        kill_now(vm);
    } else {
        stop_over(vm, false, err);
    }
}

/* Begins the job KIND of asking the guest to power off, which CALL is answered with by REPLY. */
static bool begin_stop(struct vm *vm, const char *kind, uint32_t timeout_s, struct rpc_call *call,
                       void (*reply)(struct rpc_call *call, const struct job_ref *ref))
{
    if (!need_active(vm, call))
        return false;
    if (vm->stop_job || vm->state == VM_STATE_STARTING) {
        rpc_call_error(call, VMD_ERROR_STATE, "VM %s is %s", vm->config->name,
                       vm->rebooting ? "being rebooted" : vm_state_to_string(vm->state));
        return false;
    }
    vm->stop_job =
        jobs_begin(vm->daemon->jobs, kind, vm->config->name, vm->id, rpc_call_peer(call)->uid,
                   "asking the guest to power off", stop_cancelled, vm);
    struct job_ref ref = {.job = job_id(vm->stop_job)};
    vm->stop_timeout_s = timeout_s;
    reply(call, &ref);
    start_timer(vm, stop_timeout, (uint64_t)timeout_s * 1000);
    return true;
}

void vm_stop(struct vm *vm, const struct vm_stop_params *params, struct rpc_call *call)
{
    bool force = params->force; /* the answer frees PARAMS */

    if (!begin_stop(vm, "vm.stop", params->timeout_s, call, vm_stop_reply))
        return;
    vm->stop_force = force;
    vm->rebooting = false;
    if (vm->state == VM_STATE_RUNNING)
        set_state(vm, VM_STATE_STOPPING);
    vmipc_link_call(vm->link, VMI_POWERDOWN, NULL, CALL_MS, powerdown_answered, vm);
}

/* The machine's reset is the end of it (on_event()). */
void vm_reboot(struct vm *vm, const struct vm_reboot_params *params, struct rpc_call *call)
{
    struct vmi_powerdown_params p = {.has_reset_ms = true, .reset_ms = params->timeout_s * 1000};

    if (!begin_stop(vm, "vm.reboot", params->timeout_s, call, vm_reboot_reply))
        return;
    vm->stop_force = false;
    vm->rebooting = true;
    vmipc_link_call(vm->link, VMI_POWERDOWN, &p, CALL_MS, powerdown_answered, vm);
}

void vm_wait(struct vm *vm, const struct vm_wait_params *params, struct rpc_call *call)
{
    bool end = params->until == VM_WAIT_FOR_END;

    if (end ? !vm_active(vm) : vm->state == VM_STATE_RUNNING)
        reply_info(call, vm);
    else if (params->has_timeout_ms && params->timeout_ms == 0)
        rpc_call_error(call, VMD_ERROR_TIMEOUT, "VM %s is %s", vm->config->name,
                       vm_state_to_string(vm->state));
    else
        waiters_add(vm->waiters, call, end ? WAIT_END : WAIT_RUNNING,
                    params->has_timeout_ms ? params->timeout_ms : 0,
                    "the VM has not reached that state in the time allowed");
}

void vm_delete(struct vm *vm, bool force, struct rpc_call *call)
{
    if (!vm_active(vm)) {
        registry_drop(vm->daemon->registry, vm);
        vm_delete_reply(call);
        return;
    }
    if (!force) {
        rpc_call_error(call, VMD_ERROR_STATE, "VM %s is %s; stop it first, or use force",
                       vm->config->name, vm_state_to_string(vm->state));
        return;
    }
    vm->deleting = true;
    waiters_add(vm->waiters, call, WAIT_DELETED, 0, "");
    kill_now(vm);
}

void vm_made_by(struct vm *vm, const struct rpc_conn *conn)
{
    if (vm->config->ephemeral)
        vm->maker = conn;
}

void vm_connection_gone(struct vm *vm, const struct rpc_conn *conn)
{
    if (vm->maker != conn)
        return;
    log_info("VM %s: who made it is gone before its run began", vm->config->name);
    vm->maker = NULL;
    if (!vm_active(vm)) {
        registry_drop(vm->daemon->registry, vm);
        return;
    }
    vm->deleting = true;
    kill_now(vm);
}

void vm_deleted(struct vm *vm)
{
    emit(vm, API_EVENT_VM_DELETED, NULL);
    waiters_answer(vm->waiters, WAIT_DELETED, reply_deleted, vm);
    forget_process(vm);
    hostdevs_forget(vm->daemon->hostdevs, vm);
    vm_erase(vm);
}

/* --- passing on ------------------------------------------------------------------------------- */

static void forwarded(void *arg, const void *result, int fd, const GError *err)
{
    struct rpc_call *call = arg;

    if (err)
        rpc_call_fail(call, g_error_copy(err));
    else
        rpc_call_reply_typed(call, rpc_call_method(call)->result, result, fd);
}

bool vm_reachable(const struct vm *vm)
{
    return vm_active(vm) && vm->state != VM_STATE_STARTING && vm->link &&
           vmipc_link_ready(vm->link) && !vm->end_known;
}

void vm_call(struct vm *vm, enum vmi_method method, const void *params, rpc_client_reply reply,
             void *arg)
{
    if (vm_active(vm) && vm->link && vm->state != VM_STATE_STARTING) {
        vmipc_link_call(vm->link, method, params, CALL_MS, reply, arg);
        return;
    }
    g_autoptr(GError) err = g_error_new(VMD_ERROR, VMD_ERROR_STATE, "VM %s is %s", vm->config->name,
                                        vm_state_to_string(vm->state));
    reply(arg, NULL, -1, err);
}

void vm_send_fd(struct vm *vm, const char *name, int fd, rpc_client_reply reply, void *arg)
{
    if (vm->link) {
        vmipc_link_send_fd(vm->link, name, fd, reply, arg);
        return;
    }
    g_autoptr(GError) err = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, "the VM is over");
    close(fd);
    reply(arg, NULL, -1, err);
}

void vm_forward(struct vm *vm, enum vmi_method method, const void *params, struct rpc_call *call)
{
    vm_call(vm, method, params, forwarded, call);
}

struct warm_call {
    struct vm *vm;
    struct rpc_call *call;
};

/* The VM process has written its list: VM is there, or there would be an error. */
static void warm_written(void *arg, const void *result, int fd, const GError *err)
{
    struct warm_call *w = arg;

    if (!err) {
        g_autofree char *runtime = paths_vm_runtime(&w->vm->daemon->paths, w->vm->id);
        warm_lists_take(w->vm->daemon->warm, w->vm->config->arch, w->vm->uid, runtime);
    }
    forwarded(w->call, result, fd, err);
    g_free(w);
}

void vm_warm(struct vm *vm, struct rpc_call *call)
{
    struct warm_call *w = g_new0(struct warm_call, 1);

    *w = (struct warm_call){.vm = vm, .call = call};
    vm_call(vm, VMI_XLATE_WARM, NULL, warm_written, w);
}
