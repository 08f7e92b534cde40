/*
 * The VM process: serves vmi.* to vmd, holds one machine, and outlives its vmd.
 *
 * How it ends: the run's end is written to end.json in the runtime directory, told as the event
 * vmi.ended, and the process exits once vmd has acknowledged that, or after ORPHAN_MS without a
 * vmd; a vmd that comes later reads the file. A process that was not given a VM ends with the
 * connection that it was started with.
 */
#include "vm/process_priv.h"

#include "base/log.h"
#include "proto/consolelog.h"
#include "proto/jsonrpc/json.h"
#include "vm/accels.h"
#include "vm/devices.h"
#include "vm/sandbox.h"
#include "vm/stats.h"
#include "vm/warm.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

enum {
    CONSOLE_MS = 5000, /* how long clients of an ended console may take to read the rest */
    ORPHAN_MS = 30000, /* how long an ended process waits for a vmd to hear of it */
    WARM_FIRST_MS = 60000, /* when hot blocks are first written, and how often then */
    WARM_MS = 600000,
    TRIM_MS = 120000, /* code that did not run for so long, or twice, is given up */
};

struct process *process__of(struct rpc_call *call)
{
    return rpc_call_user(call);
}

/* PAUSE, which is copied, says why where TO is paused. */
static void set_paused_state(struct process *p, enum vmi_state to,
                             const struct vm_pause_info *pause)
{
    struct vmi_state_event event = {.from = p->state, .to = to, .pause = NULL};

    bool other_reason = pause && p->pause && pause->reason != p->pause->reason;

    if (p->state == to && !other_reason)
        return;
    p->state = to;
    vm_pause_info_free(p->pause);
    p->pause = event.pause = vm_pause_info_copy(pause);
    vmipc_server_emit(p->server, VMI_EVENT_STATE, &event);
}

static void set_state(struct process *p, enum vmi_state to)
{
    struct vm_pause_info asked = {.reason = VM_PAUSE_REASON_REQUEST,
                                  .text = (char *)"a client asked for it",
                                  .time_ns = (uint64_t)g_get_real_time() * 1000};

    set_paused_state(p, to, to == VMI_STATE_PAUSED ? &asked : NULL);
}

/* What the machine does, as it is to be seen. */
static void show_state(struct process *p)
{
    struct vm_pause_info held = {.reason = VM_PAUSE_REASON_DEBUGGER,
                                 .text = (char *)"a debugger holds the guest",
                                 .time_ns = (uint64_t)g_get_real_time() * 1000};

    if (machine_running(p->machine))
        set_state(p, VMI_STATE_RUNNING);
    else if (machine_held(p->machine))
        set_paused_state(p, VMI_STATE_PAUSED, &held);
    else if (machine_pause_info(p->machine))
        set_paused_state(p, VMI_STATE_PAUSED, machine_pause_info(p->machine));
    else
        set_state(p, VMI_STATE_PAUSED);
}

/* --- leaving ---------------------------------------------------------------------------------- */

static void close_walk(uv_handle_t *handle, void *arg)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void server_closed(void *arg)
{
    struct process *p = arg;

    uv_close((uv_handle_t *)&p->orphan, NULL);
    uv_close((uv_handle_t *)&p->warm, NULL);
    uv_close((uv_handle_t *)&p->trim, NULL);
    uv_close((uv_handle_t *)&p->rate_timer, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(p->signals); i++)
        uv_close((uv_handle_t *)&p->signals[i], NULL);
}

static void leave(struct process *p)
{
    if (p->leaving)
        return;
    p->leaving = true;
    vmipc_server_close(p->server, server_closed, p);
    p->server = NULL;
}

/* Leaves when nothing is left to do: the run is over, all is freed, and vmd knows. */
static void maybe_leave(struct process *p)
{
    if (p->leaving || p->state != VMI_STATE_ENDED || p->machine)
        return;
    if (vmipc_server_acked(p->server) >= vmipc_server_last(p->server))
        leave(p);
}

static void orphan_timeout(uv_timer_t *timer)
{
    struct process *p = timer->data;

    if (!p->attached && p->state == VMI_STATE_ENDED)
        leave(p);
}

/* Nobody may come for an ended process: it does not wait for ever. An idle one listens nowhere. */
static void watch_orphan(struct process *p)
{
    if (p->attached)
        return;
    if (!p->start)
        leave(p);
    else if (p->state == VMI_STATE_ENDED)
        uv_timer_start(&p->orphan, orphan_timeout, ORPHAN_MS, 0);
}

/* --- the machine's news ----------------------------------------------------------------------- */

static void answer_waiting(struct process *p, bool ok)
{
    struct rpc_call *call = g_steal_pointer(&p->waiting);

    if (!call)
        return;
    if (ok)
        rpc_call_reply_typed(call, NULL, NULL, -1);
    else
        rpc_call_error(call, VMD_ERROR_STATE, "the run has ended meanwhile");
}

static void write_end(struct process *p)
{
    g_autofree char *path = g_build_filename(p->start->runtime_dir, "end.json", NULL);
    g_autoptr(json_object) json = vm_end_encode(p->end);
    g_autofree char *text = json_write(json, NULL);
    g_autoptr(GError) err = NULL;

    if (!g_file_set_contents(path, text, -1, &err))
        log_error("how the run ended could not be written: %s", err->message);
}

/* The machine is freed, its disks are closed: the run is over for everybody. */
static void machine_gone(void *opaque)
{
    struct process *p = opaque;
    struct vmi_ended_event event = {.end = p->end};

    p->machine = NULL;
    answer_waiting(p, false);
    write_end(p);
    set_state(p, VMI_STATE_ENDED);
    vmipc_server_emit(p->server, VMI_EVENT_ENDED, &event);
    log_info("the run ended: %s", p->end->text);
    watch_orphan(p);
    maybe_leave(p);
}

static void on_ended(void *opaque, const struct vm_end *end)
{
    struct process *p = opaque;

    p->end = vm_end_copy(end);
    uv_timer_stop(&p->warm);
    uv_timer_stop(&p->trim);
    uv_timer_stop(&p->rate_timer);
    profile_close(g_steal_pointer(&p->profile));
    process__save_hot(p);
    machine_free(p->machine, CONSOLE_MS, machine_gone, p);
}

static void on_reset(void *opaque, bool by_guest)
{
    struct process *p = opaque;
    struct vmi_reset_event event = {.by_guest = by_guest};

    vmipc_server_emit(p->server, VMI_EVENT_RESET, &event);
}

static void on_warning(void *opaque, const char *text)
{
    struct process *p = opaque;
    struct vmi_warning_event event = {.text = (char *)text};

    log_warning("%s", text);
    vmipc_server_emit(p->server, VMI_EVENT_WARNING, &event);
}

static void on_disk_error(void *opaque, const struct vmi_disk_error_event *event)
{
    struct process *p = opaque;

    log_warning("disk %s: %s", event->disk, event->text);
    vmipc_server_emit(p->server, VMI_EVENT_DISK_ERROR, event);
}

static void on_paused(void *opaque, const struct vm_pause_info *why)
{
    struct process *p = opaque;

    log_warning("paused: %s", why->text);
    set_paused_state(p, VMI_STATE_PAUSED, why);
}

static void on_debugged(void *opaque)
{
    struct process *p = opaque;

    if (p->machine && !p->end)
        show_state(p);
}

static bool guest_runs(void *opaque)
{
    const struct process *p = opaque;

    return machine_running(p->machine);
}

static void on_gpu_worker(void *opaque, enum gpu_worker_state state, const char *text)
{
    struct process *p = opaque;
    struct vmi_gpu_worker_event event = {.state = state, .text = (char *)text};

    vmipc_server_emit(p->server, VMI_EVENT_GPU_WORKER, &event);
}

static void on_device(void *opaque, const struct vmi_device_event *event)
{
    struct process *p = opaque;

    vmipc_server_emit(p->server, VMI_EVENT_DEVICE, event);
}

static void on_job_ended(void *opaque, const struct vmi_job_ended_event *event)
{
    struct process *p = opaque;

    vmipc_server_emit(p->server, VMI_EVENT_JOB_ENDED, event);
}

static void on_wanted(void *opaque, const struct vmi_device_wanted_event *event)
{
    struct process *p = opaque;

    vmipc_server_emit(p->server, VMI_EVENT_DEVICE_WANTED, event);
}

static void on_resized(void *opaque, const struct vmi_size_event *event)
{
    struct process *p = opaque;

    vmipc_server_emit(p->server, VMI_EVENT_SIZE, event);
}

static void on_ballooned(void *opaque, const struct vmi_balloon_event *event)
{
    struct process *p = opaque;

    vmipc_server_emit(p->server, VMI_EVENT_BALLOON, event);
}

static const struct machine_ops machine_ops = {
    .hotplug = {.changed = on_device,
                .ended = on_job_ended,
                .wanted = on_wanted,
                .resized = on_resized,
                .ballooned = on_ballooned},
    .debugged = on_debugged,
    .ended = on_ended,
    .was_reset = on_reset,
    .disk_error = on_disk_error,
    .paused = on_paused,
    .gpu_worker = on_gpu_worker,
    .warning = on_warning,
};

/* --- methods: the run ------------------------------------------------------------------------- */

struct machine *process__machine(struct rpc_call *call)
{
    struct process *p = process__of(call);

    if (p->machine && !p->end)
        return p->machine;
    rpc_call_error(call, VMD_ERROR_STATE, p->start ? "the run is over" : "no VM was started here");
    return NULL;
}

static int take_file(void *opaque, const char *name)
{
    struct process *p = opaque;

    return vmipc_server_take_fd(p->server, name);
}

/* From here on this process opens only the files of its VM. */
static bool confine(struct process *p, GError **err)
{
    const struct vm_config *c = p->start->config;
    struct sandbox_files *files = sandbox_files_new();

    sandbox_files_add(files, p->start->runtime_dir, SANDBOX_FOLDER);
    sandbox_files_add(files, p->log_dir, SANDBOX_FOLDER);
    sandbox_files_add(files, c->kernel, SANDBOX_READ);
    sandbox_files_add(files, c->initrd, SANDBOX_READ);
    sandbox_files_add(files, c->firmware, SANDBOX_READ);
    sandbox_files_add(files, c->firmware_vars, SANDBOX_CHANGE);
    sandbox_files_add(files, "/proc/self/statm", SANDBOX_READ);
    if (p->start->accel == VM_ACCEL_KVM)
        sandbox_files_add(files, "/dev/kvm", SANDBOX_CHANGE);
    bool ok = devices_files(c, files, err) && sandbox_confine_files(files, err);
    sandbox_files_free(files);
    return ok;
}

static bool start_machine(struct process *p, GError **err)
{
    struct machine_files files = {
        .take = take_file, .opaque = p, .socket_dir = p->start->runtime_dir};
    struct vmi_start_params *s = p->start;
    struct hotlist *hot = NULL;

    if (!accels_choose(s->config->arch, s->accel, kvm_measure, &s->accel, &p->accel_text, err))
        return false;
    if (p->accel_text)
        log_info("%s: %s", vm_accel_to_string(s->accel), p->accel_text);

    p->log_dir = g_strdup(s->log_dir ? s->log_dir : s->runtime_dir);
    if (s->config->xlate->warm && s->accel == VM_ACCEL_XLATE)
        hot = warm_load(s->warm_list, (enum isa)s->config->arch);
    files.hot = hot;
    if (!confine(p, err)) {
        hotlist_free(hot);
        return false;
    }
    const struct sandbox_have have = {.user_net = devices_user_net(s->config),
                                      .kvm = s->accel == VM_ACCEL_KVM,
                                      .host = devices_host(s->config)};
    p->machine = machine_new(p->loop, s->config, s->accel, p->log_dir, &files, &machine_ops, p, err);
    hotlist_free(hot);
    if (!p->machine || !vmipc_server_listen(p->server, s->runtime_dir, err) ||
        !sandbox_run(&have, err))
        return false;
    return s->paused || machine_resume(p->machine, err);
}

static void start(struct rpc_call *call, struct vmi_start_params *params)
{
    struct process *p = process__of(call);
    struct vmi_start_result result = {0};
    GError *err = NULL;

    if (p->start) {
        rpc_call_error(call, VMD_ERROR_STATE, "this process has a VM already");
        return;
    }
    /* The decoded params outlive the call: the machine refers to the configuration. */
    p->start = vmi_start_params_copy(params);
    if (!start_machine(p, &err)) {
        p->end = vm_end_new();
        p->end->reason = VM_END_REASON_START_FAILED;
        p->end->text = g_strdup(err->message);
        p->end->time_ns = (uint64_t)g_get_real_time() * 1000;
        rpc_call_fail(call, err);
        machine_free(p->machine, 0, machine_gone, p);
        return;
    }
    uv_timer_start(&p->warm, process__warm_timeout, WARM_FIRST_MS, WARM_MS);
    uv_timer_start(&p->trim, process__trim_timeout, TRIM_MS, TRIM_MS);
    p->profile = profile_new(p->loop, machine_vcpus(p->machine), guest_runs, p);
    const struct vm_xlate_config *x = p->start->config->xlate;
    process__set_rates(p, x->has_least_hit_percent ? x->least_hit_percent : 0,
              x->has_least_link_percent ? x->least_link_percent : 0);
    p->started_ns = (uint64_t)g_get_real_time() * 1000;
    show_state(p);
    result.accel = p->start->accel;
    result.accel_text = p->accel_text;
    vmi_start_reply(call, &result);
}

static void status(struct rpc_call *call, struct vmi_status_params *params)
{
    struct process *p = process__of(call);
    struct vmi_status_result result = {.state = p->state, .end = p->end};

    if (p->start) {
        result.vm_id = p->start->vm_id;
        result.has_accel = true;
        result.accel = p->start->accel;
        result.has_started_ns = p->started_ns != 0;
        result.started_ns = p->started_ns;
    }
    vmi_status_reply(call, &result);
}

static void paused(void *opaque)
{
    struct process *p = opaque;

    if (!p->end)
        show_state(p);
    answer_waiting(p, !p->end);
}

static void was_reset(void *opaque)
{
    struct process *p = opaque;

    answer_waiting(p, !p->end);
}

/* CALL is answered when BEGUN, which takes turns of the loop, is DONE. */
static void operate(struct rpc_call *call,
                    bool (*begun)(struct machine *m, machine_done_fn done, void *opaque, GError **err),
                    machine_done_fn done)
{
    struct process *p = process__of(call);
    struct machine *m = process__machine(call);
    GError *err = NULL;

    if (!m)
        return;
    if (p->waiting) {
        rpc_call_error(call, VMD_ERROR_BUSY, "the machine is being paused or reset");
        return;
    }
    p->waiting = call;
    if (!begun(m, done, p, &err)) {
        p->waiting = NULL;
        rpc_call_fail(call, err);
    }
}

static void pause_vm(struct rpc_call *call, struct vmi_pause_params *params)
{
    operate(call, machine_pause, paused);
}

static void resume(struct rpc_call *call, struct vmi_resume_params *params)
{
    struct machine *m = process__machine(call);
    GError *err = NULL;

    if (!m)
        return;
    if (!machine_resume(m, &err)) {
        rpc_call_fail(call, err);
        return;
    }
    show_state(process__of(call));
    vmi_resume_reply(call);
}

static void reset(struct rpc_call *call, struct vmi_reset_params *params)
{
    operate(call, machine_reset, was_reset);
}

static void powerdown(struct rpc_call *call, struct vmi_powerdown_params *params)
{
    struct machine *m = process__machine(call);
    GError *err = NULL;

    if (!m)
        return;
    if (!machine_powerdown(m, params->has_reset_ms ? params->reset_ms : 0, &err))
        rpc_call_fail(call, err);
    else
        vmi_powerdown_reply(call);
}

static void quit(struct rpc_call *call, struct vmi_quit_params *params)
{
    struct process *p = process__of(call);

    vmi_quit_reply(call);
    if (p->machine)
        machine_end(p->machine, VM_END_REASON_KILLED, "killed by a client");
    else if (!p->start)
        leave(p);
}

/* --- methods: what can be seen ---------------------------------------------------------------- */

static void stats(struct rpc_call *call, struct vmi_stats_params *params)
{
    struct machine *m = process__machine(call);

    if (m) {
        g_autoptr(vm_stats) s = machine_stats(m);
        vmi_stats_reply(call, s);
    }
}

static void devices(struct rpc_call *call, struct vmi_devices_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_devices(m, call);
}

static void slots(struct rpc_call *call, struct vmi_slots_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_slots(m, call);
}

static void device_add(struct rpc_call *call, struct vmi_device_add_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_device_add(m, process__of(call)->server, call, params);
}

static void device_remove(struct rpc_call *call, struct vmi_device_remove_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_device_remove(m, call, params);
}

static void peek(struct rpc_call *call, struct vmi_peek_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_peek(m, call, params);
}

static void device_resize(struct rpc_call *call, struct vmi_device_resize_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_device_resize(m, call, params);
}

static void device_cancel(struct rpc_call *call, struct vmi_device_cancel_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_device_cancel(m, call, params);
}

static void device_jobs(struct rpc_call *call, struct vmi_device_jobs_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_device_jobs(m, call);
}

static void resize(struct rpc_call *call, struct vmi_resize_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_resize(m, call, params);
}

/* A process that has a VM opens nothing for others: it cannot, and its guest may have taken it over. */
static bool need_idle(struct rpc_call *call)
{
    if (!process__of(call)->start)
        return true;
    rpc_call_error(call, VMD_ERROR_STATE, "this process has a VM");
    return false;
}

static void open_disk(struct rpc_call *call, struct vmi_open_disk_params *params)
{
    if (need_idle(call))
        process_open_disk(&process__of(call)->opener, call, params);
}

static void open_host(struct rpc_call *call, struct vmi_open_host_params *params)
{
    if (need_idle(call))
        process_open_host(&process__of(call)->opener, call, params);
}

static void open_tap(struct rpc_call *call, struct vmi_open_tap_params *params)
{
    if (need_idle(call))
        process_open_tap(call, params);
}

static void open_file(struct rpc_call *call, struct vmi_open_file_params *params)
{
    if (need_idle(call))
        process_open_file(&process__of(call)->opener, call, params);
}

static void balloon(struct rpc_call *call, struct vmi_balloon_params *params)
{
    struct machine *m = process__machine(call);
    struct vmi_balloon_result result = {0};
    GError *err = NULL;

    if (!m)
        return;
    if (machine_balloon(m, params->bytes, &result.target_bytes, &result.balloon_bytes, &err))
        vmi_balloon_reply(call, &result);
    else
        rpc_call_fail(call, err);
}

static void ask_memory(struct rpc_call *call, struct vmi_ask_memory_params *params)
{
    struct machine *m = process__machine(call);
    GError *err = NULL;

    if (!m)
        return;
    if (machine_ask_memory(m, params->period_s, &err))
        vmi_ask_memory_reply(call);
    else
        rpc_call_fail(call, err);
}

static void pin(struct rpc_call *call, struct vmi_pin_params *params)
{
    struct machine *m = process__machine(call);
    GError *err = NULL;

    if (!m)
        return;
    if (machine_pin(m, params->vcpu, params->cpus, &err))
        vmi_pin_reply(call);
    else
        rpc_call_fail(call, err);
}

static void gpu_serve_method(struct rpc_call *call, struct vmi_gpu_serve_params *params)
{
    struct machine *m = process__machine(call);
    GError *err = NULL;

    if (!m)
        return;
    int fd = machine_gpu_serve(m, &err);
    if (fd < 0)
        rpc_call_fail(call, err);
    else
        vmi_gpu_serve_reply(call, fd);
}

static void gpu_move_method(struct rpc_call *call, struct vmi_gpu_move_params *params)
{
    struct machine *m = process__machine(call);

    if (m)
        process_gpu_move(m, call, params);
}

static struct console *need_console(struct rpc_call *call, const char *name)
{
    struct machine *m = process__machine(call);
    struct console *c = m ? machine_console(m, name) : NULL;

    if (m && !c)
        rpc_call_error(call, VMD_ERROR_NOT_FOUND, "there is no console %s", name);
    return c;
}

/* A channel is had whole, and has no past that could be played again. */
static int attach_channel(struct machine *m, const struct vmi_console_attach_params *p, GError **err)
{
    if (!p->readonly || !machine_has_channel(m, p->console))
        return machine_channel(m, p->console, p->force, err);
    vmd_fail(err, VMD_ERROR_INVALID, "%s is no console: a channel cannot be watched only",
             p->console);
    return -1;
}

static void console_attach_method(struct rpc_call *call, struct vmi_console_attach_params *params)
{
    struct machine *m = process__machine(call);
    GError *err = NULL;

    if (!m)
        return;
    struct console *c = machine_console(m, params->console);
    int fd = c ? console_attach(c, params->readonly, params->replay, &err)
               : attach_channel(m, params, &err);
    if (fd < 0) {
        rpc_call_fail(call, err);
        return;
    }
    struct vmi_console_attach_result result = {.console = params->console,
                                               .total = c ? console_total(c) : 0};
    vmi_console_attach_reply(call, &result, fd);
}

static void console_log_method(struct rpc_call *call, struct vmi_console_log_params *params)
{
    struct process *p = process__of(call);
    GError *err = NULL;

    if (!p->start) {
        rpc_call_error(call, VMD_ERROR_STATE, "no VM was started here");
        return;
    }
    g_autoptr(console_chunk) chunk =
        consolelog_read(p->log_dir, params->console, params->has_offset ? &params->offset : NULL,
                        params->limit, params->encoding, &err);
    if (chunk)
        vmi_console_log_reply(call, chunk);
    else
        rpc_call_fail(call, err);
}

static void console_write_method(struct rpc_call *call, struct vmi_console_write_params *params)
{
    struct console *c = need_console(call, params->console);
    GError *err = NULL;
    size_t n;

    if (!c)
        return;
    g_autofree uint8_t *data = consolelog_decode(params->data, params->encoding, &n, &err);
    if (!data) {
        rpc_call_fail(call, err);
        return;
    }
    struct vmi_console_write_result result = {.written = (uint32_t)console_write(c, data, n)};
    vmi_console_write_reply(call, &result);
}

static const struct vmi_handlers handlers = {
    .vmi_start = start,
    .vmi_status = status,
    .vmi_pause = pause_vm,
    .vmi_resume = resume,
    .vmi_reset = reset,
    .vmi_powerdown = powerdown,
    .vmi_quit = quit,
    .vmi_stats = stats,
    .vmi_devices = devices,
    .vmi_slots = slots,
    .vmi_open_disk = open_disk,
    .vmi_open_host = open_host,
    .vmi_open_tap = open_tap,
    .vmi_open_file = open_file,
    .vmi_device_add = device_add,
    .vmi_device_remove = device_remove,
    .vmi_peek = peek,
    .vmi_device_resize = device_resize,
    .vmi_device_cancel = device_cancel,
    .vmi_device_jobs = device_jobs,
    .vmi_resize = resize,
    .vmi_balloon = balloon,
    .vmi_ask_memory = ask_memory,
    .vmi_pin = pin,
    .vmi_gpu_serve = gpu_serve_method,
    .vmi_gpu_move = gpu_move_method,
    .vmi_console_attach = console_attach_method,
    .vmi_console_log = console_log_method,
    .vmi_console_write = console_write_method,
    .vmi_xlate_stats = process_xlate_stats,
    .vmi_xlate_clear = process_xlate_clear,
    .vmi_xlate_limit = process_xlate_limit,
    .vmi_xlate_warm = process_xlate_warm,
    .vmi_xlate_watch = process_xlate_watch,
    .vmi_xlate_sample = process_xlate_sample,
    .vmi_xlate_profile = process_xlate_profile,
    .vmi_xlate_code = process_xlate_code,
};

/* --- the link --------------------------------------------------------------------------------- */

static void hello_status(void *user, struct vmi_hello_result *out)
{
    struct process *p = user;

    out->state = p->state;
    out->vm_id = p->start ? g_strdup(p->start->vm_id) : NULL;
    out->pause = vm_pause_info_copy(p->pause);
}

static void acked(void *user, uint64_t seq)
{
    maybe_leave(user);
}

static void attached(void *user, bool on)
{
    struct process *p = user;

    p->attached = on;
    if (on)
        uv_timer_stop(&p->orphan);
    else
        watch_orphan(p);
}

static const struct vmipc_server_ops link_ops = {
    .status = hello_status,
    .acked = acked,
    .attached = attached,
};

/* SIGTERM and SIGINT: the host shuts down, or somebody wants this VM gone. */
static void on_signal(uv_signal_t *handle, int signum)
{
    struct process *p = handle->data;

    log_info("ended by signal %d", signum);
    if (p->machine)
        machine_end(p->machine, VM_END_REASON_KILLED, "the VM process was asked to end");
    else
        leave(p);
}

static void catch_signals(struct process *p)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        uv_signal_init(p->loop, &p->signals[i]);
        p->signals[i].data = p;
        uv_signal_start(&p->signals[i], on_signal, numbers[i]);
    }
}

bool process_run(int fd, GError **err)
{
    struct process p = {.state = VMI_STATE_IDLE, .attached = true};
    uv_loop_t loop;

    uv_loop_init(&loop);
    p.loop = &loop;
    uv_timer_init(&loop, &p.orphan);
    p.orphan.data = &p;
    uv_timer_init(&loop, &p.warm);
    p.warm.data = &p;
    uv_timer_init(&loop, &p.trim);
    p.trim.data = &p;
    uv_timer_init(&loop, &p.rate_timer);
    p.rate_timer.data = &p;
    p.server = vmipc_server_new(&loop, &handlers, &link_ops, &p);
    catch_signals(&p);
    bool ok = vmipc_server_adopt(p.server, fd, err);
    if (!ok)
        leave(&p);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_walk(&loop, close_walk, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    vmi_start_params_free(p.start);
    process_opener_clear(&p.opener);
    vm_end_free(p.end);
    vm_pause_info_free(p.pause);
    g_free(p.log_dir);
    g_free(p.accel_text);
    return ok;
}
