/* A run of a VM: its process is started or found again, told of, and lost. See vm_priv.h. */
#include "daemon/vm_priv.h"

#include "base/log.h"
#include "daemon/gpus.h"
#include "daemon/hostdevs.h"
#include "daemon/registry.h"
#include "daemon/store.h"
#include "daemon/warm.h"

#include <signal.h>

/* --- news ------------------------------------------------------------------------------------- */

static void emit_from(struct vm *vm, enum api_event event, const void *data, uint64_t vm_seq,
                      uint64_t time_ns)
{
    struct event_source source = {.vm = vm->config->name, .vm_id = vm->id, .vm_seq = vm_seq};

    events_emit(vm->daemon->events, event, &source, time_ns, data);
}

void vm__emit(struct vm *vm, enum api_event event, const void *data)
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
    vm__emit(vm, API_EVENT_VM_STATE, &event);
    vm_store(vm);
}

void vm__set_state(struct vm *vm, enum vm_state to)
{
    set_paused_state(vm, to, NULL);
}

void vm__reply_info(struct rpc_call *call, void *opaque)
{
    struct vm_info *info = vm_describe(opaque);

    rpc_call_reply_typed(call, &vm_info_type, info, -1);
    vm_info_free(info);
}

void vm__reply_deleted(struct rpc_call *call, void *opaque)
{
    vm_delete_reply(call);
}

/* --- timers ----------------------------------------------------------------------------------- */

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle);
}

void vm__stop_timer(struct vm *vm)
{
    if (!vm->timer)
        return;
    uv_close((uv_handle_t *)vm->timer, timer_closed);
    vm->timer = NULL;
}

void vm__start_timer(struct vm *vm, uv_timer_cb cb, uint64_t ms)
{
    vm__stop_timer(vm);
    vm->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(vm->daemon->loop, vm->timer);
    vm->timer->data = vm;
    uv_timer_start(vm->timer, cb, ms, 0);
}

void vm__kill_timeout(uv_timer_t *timer)
{
    struct vm *vm = timer->data;

    log_warning("VM %s: its process does not end; killing it", vm->config->name);
    vm__stop_timer(vm);
    spawned_kill(&vm->process, SIGKILL);
}

/* --- the end of a run ------------------------------------------------------------------------- */

void vm__end_stop_job(struct vm *vm, bool cancelled, const GError *err)
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

    vm__stop_timer(vm);
    /* A daemon that was killed at this point has told it already. */
    if (!events_vm_ended(vm->daemon->events, vm->id))
        emit_from(vm, API_EVENT_VM_ENDED, &event, 0, vm->end->time_ns);
    vm__set_state(vm, orderly ? VM_STATE_STOPPED : VM_STATE_CRASHED);
    vm__end_stop_job(vm, false, NULL);
    vm_devices_run_over(vm->devices);
    waiters_answer(vm->waiters, WAIT_END, vm__reply_info, vm);
    waiters_answer(vm->waiters, WAIT_RUNNING, vm__reply_info, vm);
    waiters_answer(vm->waiters, WAIT_KILLED, vm__reply_info, vm);
    take_next(vm);
    vm_store(vm);
    if (go)
        registry_drop(vm->daemon->registry, vm);
}

/* Cuts the connection to a process that is over. */
void vm__forget_process(struct vm *vm)
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
    vm->end->time_ns = vm__now_ns();
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
        vm__forget_process(vm);
        return;
    }
    find_end(vm);
    vm->starting_process = vm->awaits_gpus = false;
    vm__forget_process(vm);
    answer_failed_start(vm);
    if (vm->end->reason == VM_END_REASON_VM_PROCESS_CRASHED)
        say_crashed(vm);
    tell_end(vm);
}

/* The run will not come about, for the reason WHY (taken). What there is of a process is reaped
 * before anybody hears of it; VM may be free after this. */
void vm__fail_start(struct vm *vm, GError *why)
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
        vm__set_state(vm, vm->stop_job && !vm->rebooting ? VM_STATE_STOPPING : VM_STATE_RUNNING);
    if (vm->state == VM_STATE_RUNNING)
        waiters_answer(vm->waiters, WAIT_RUNNING, vm__reply_info, vm);
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
    vm__start_timer(vm, vm__kill_timeout, KILL_MS);
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
            vm__stop_over(vm, false, NULL);
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
        on_size(vm, &(struct vmi_size_event){vm->size ? vm->size->cpus : vm->config->cpus,
                                             b->memory_bytes});
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
        vm__set_state(vm, VM_STATE_RUNNING);
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
    vm__emit(vm, API_EVENT_VM_WARNING, &event);
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
        vm__start_timer(vm, vm__kill_timeout, KILL_MS);
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
        vm__fail_start(vm, g_error_copy(err));
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
        vm__reply_info(call, vm);
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
    return vmipc_link_open_fd(vm->link, fd, err) && vm__save(vm, false, err);
}

static void check_and_launch(struct vm *vm)
{
    g_autoptr(GError) err = NULL;

    vm->awaits_gpus = false;
    if (!registry_check_start(vm->daemon->registry, vm, &err) ||
        !vm_devices_run_begins(vm->devices, &err) || !launch(vm, &err))
        vm__fail_start(vm, g_steal_pointer(&err));
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
    g_clear_pointer(&vm->pins, vm_pins_free);
    vm->has_memory_period = false;
    vm->started_ns = vm__now_ns();
    vm->runs++;
    vm->acked = 0;
    vm->reopened = 0;
    vm->end_known = vm->killed = false;
    vm__forget_process(vm);
    vm__set_state(vm, VM_STATE_STARTING);
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
