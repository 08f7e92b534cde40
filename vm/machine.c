/*
 * What needs all of a machine to stand still: halt the vCPUs, stop the clock, quiesce the PCI
 * devices (which takes turns of the loop), act, go on. See machine_priv.h.
 */
#include "vm/machine_priv.h"

#include "base/cpulist.h"
#include "vm/stats.h"

#include <sys/resource.h>
#include <time.h>

uint64_t machine__ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- standing still --------------------------------------------------------------------------- */

static void finish_operation(struct machine *m);

static void quiet(void *opaque)
{
    finish_operation(opaque);
}

/* vCPUs and guest time stand, until both go on. */
static void stand(struct machine *m)
{
    vcpus_halt(m->vcpus);
    vm_clock_pause(m->clock);
}

/* Lets vCPUs and guest time go on, but for what still wants them to stand. */
static void go(struct machine *m)
{
    if (m->held || !m->running || m->end || m->op != OP_NONE)
        return;
    vm_clock_resume(m->clock);
    accel_clock_changed(m->accel);
    board_clock_changed(m->board);
    devices_clock_changed(m->devices);
    vcpus_resume(m->vcpus);
}

/* Begins OP: everything comes to rest, then finish_operation(). */
static void begin_operation(struct machine *m, enum operation op, machine_done_fn done,
                            void *opaque)
{
    m->op = op;
    m->done = done;
    m->done_opaque = opaque;
    sysrq_cancel(m->sysrq);
    stand(m);
    devices_quiesce(m->devices, quiet, m);
}

static bool may_begin(struct machine *m, GError **err)
{
    if (m->end)
        return vmd_fail(err, VMD_ERROR_STATE, "the run is over");
    if (m->op != OP_NONE)
        return vmd_fail(err, VMD_ERROR_BUSY, "the machine is being paused or reset");
    return true;
}

static void forget_pause(struct machine *m)
{
    vm_pause_info_free(m->pause);
    m->pause = NULL;
}

static void go_on(struct machine *m)
{
    m->running = true;
    forget_pause(m);
    devices_resume(m->devices);
    hotplug_hold(m->hotplug, false);
    resize_hold(m->resize, false);
    go(m);
}

void machine_hold(struct machine *m)
{
    if (m->held)
        return;
    m->held = true;
    stand(m);
    if (!m->end)
        m->ops->debugged(m->opaque);
}

void machine_release(struct machine *m)
{
    if (!m->held)
        return;
    m->held = false;
    go(m);
}

const struct vm_pause_info *machine_pause_info(const struct machine *m)
{
    return m->pause;
}

bool machine_held(const struct machine *m)
{
    return m->held;
}

void machine_tell_state(struct machine *m)
{
    if (!m->end)
        m->ops->debugged(m->opaque);
}

const char *machine_gdb_name(const struct machine *m)
{
    static const char *const names[] = {
        [VM_ARCH_RISCV64] = "riscv:rv64",
        [VM_ARCH_AARCH64] = "aarch64",
        [VM_ARCH_X86_64] = "i386:x86-64",
    };

    return names[m->config->arch];
}

/* All stands: puts the machine to its state after power-on. */
static void do_reset(struct machine *m)
{
    g_autoptr(GError) err = NULL;

    m->reset_until_ns = 0;
    vcpus_all_off(m->vcpus);
    board_reset(m->board);
    accel_reset(m->accel);
    hotplug_reset(m->hotplug);
    devices_memory_reset(m->devices);
    forget_pause(m); /* the reset dropped what the disk held */
    panic_reset(&m->panic);
    if (!machine__load(m, &err)) {
        machine_end(m, VM_END_REASON_START_FAILED, err->message);
        return;
    }
    m->ops->was_reset(m->opaque, m->by_guest);
    if (m->running)
        go_on(m);
}

static void free_now(struct machine *m);

static void finish_operation(struct machine *m)
{
    enum operation op = m->op;
    machine_done_fn done = m->done;
    void *opaque = m->done_opaque;

    m->op = OP_NONE;
    m->done = NULL;
    switch (op) {
    case OP_PAUSE:
        m->running = false;
        hotplug_hold(m->hotplug, true);
        resize_hold(m->resize, true);
        break;
    case OP_RESET:
        do_reset(m);
        break;
    case OP_END:
        m->running = false;
        debugger_ended(m->debugger, m->end && m->end->reason != VM_END_REASON_POWERED_OFF);
        board_console_flush(m->board);
        m->tell_end = true;
        break;
    case OP_NONE:
        g_assert_not_reached();
    }
    if (done)
        done(opaque);
    /* What came meanwhile. */
    uv_async_send(m->wake);
    if (m->freeing)
        free_now(m);
}

bool machine_resume(struct machine *m, GError **err)
{
    if (!may_begin(m, err))
        return false;
    if (m->running)
        return vmd_fail(err, VMD_ERROR_STATE,
                        m->held ? "a debugger holds the guest: continue it there, or detach"
                                : "the guest runs already");
    if (!m->started)
        m->started_ns = machine__ns(CLOCK_MONOTONIC);
    m->started = true;
    go_on(m);
    return true;
}

bool machine_pause(struct machine *m, machine_done_fn done, void *opaque, GError **err)
{
    if (!may_begin(m, err))
        return false;
    if (!m->running)
        return vmd_fail(err, VMD_ERROR_STATE, "the guest is paused already");
    begin_operation(m, OP_PAUSE, done, opaque);
    return true;
}

bool machine_reset(struct machine *m, machine_done_fn done, void *opaque, GError **err)
{
    if (!may_begin(m, err))
        return false;
    m->by_guest = false;
    begin_operation(m, OP_RESET, done, opaque);
    return true;
}

bool machine_powerdown(struct machine *m, uint32_t reset_ms, GError **err)
{
    if (!may_begin(m, err))
        return false;
    if (!m->running || m->held)
        return vmd_fail(err, VMD_ERROR_STATE,
                        m->held ? "a debugger holds the guest" : "the guest is paused");
    m->reset_until_ns =
        reset_ms ? machine__ns(CLOCK_MONOTONIC) + (uint64_t)reset_ms * 1000000 : 0;
    if (!board_power_button(m->board))
        sysrq_power_off(m->sysrq);
    return true;
}

void machine_end(struct machine *m, enum vm_end_reason reason, const char *text)
{
    if (m->end)
        return;
    m->end = vm_end_new();
    m->end->reason = reason;
    m->end->text = g_strdup(text);
    m->end->time_ns = machine__ns(CLOCK_REALTIME);
    /* An operation under way is overtaken: its caller is answered, and then the end told. */
    machine_done_fn done = m->done;
    void *opaque = m->done_opaque;
    bool standing = m->op == OP_NONE;
    m->op = OP_END;
    m->done = NULL;
    if (standing)
        begin_operation(m, OP_END, NULL, NULL);
    if (done)
        done(opaque);
}

bool machine_running(const struct machine *m)
{
    return m->running && !m->held && !m->end;
}

/* --- what the guest asks for ------------------------------------------------------------------ */

static void take_poweroff(struct machine *m, const struct board_request *r)
{
    g_autofree char *text = NULL;

    if (m->panic.state != PANIC_NONE) {
        machine_end(m, VM_END_REASON_GUEST_PANIC, m->panic.text);
        return;
    }
    if (r->kind == BOARD_REQUEST_FAILED) {
        text = g_strdup_printf("the guest powered off with failure code %u (%s)", r->code,
                               r->source);
        machine_end(m, VM_END_REASON_GUEST_PANIC, text);
        m->end->has_guest_code = true;
        m->end->guest_code = r->code;
        return;
    }
    text = g_strdup_printf("the guest powered off (%s)", r->source);
    machine_end(m, VM_END_REASON_POWERED_OFF, text);
}

/* Whether the power-off R is the first half of a reboot. */
static bool is_reboot(const struct machine *m, const struct board_request *r)
{
    return r->kind != BOARD_REQUEST_FAILED && m->panic.state == PANIC_NONE &&
           machine__ns(CLOCK_MONOTONIC) < m->reset_until_ns;
}

static void take_request(struct machine *m, const struct request *r)
{
    if (r->failed) {
        machine_end(m, VM_END_REASON_GUEST_PANIC, r->text);
    } else if (r->board.kind != BOARD_REQUEST_REBOOT && !is_reboot(m, &r->board)) {
        take_poweroff(m, &r->board);
    } else if (m->panic.state != PANIC_NONE) {
        machine_end(m, VM_END_REASON_GUEST_PANIC, m->panic.text);
    } else if (m->config->on_reset == VM_ON_RESET_END) {
        machine_end(m, VM_END_REASON_RESET, "the guest asked for a reset");
    } else {
        m->by_guest = true;
        begin_operation(m, OP_RESET, NULL, NULL);
    }
}

/* A disk holds what the host failed, and all stands now. */
static void paused_for_disk(void *opaque)
{
    struct machine *m = opaque;

    if (!m->end && m->pause)
        m->ops->paused(m->opaque, m->pause);
}

/* On the loop: pauses for a disk, or takes a pending request, unless an operation must end first. */
void machine__wake(uv_async_t *async)
{
    struct machine *m = async->data;
    struct request r;

    if (m->tell_end && !m->freeing) {
        m->tell_end = false;
        m->ops->ended(m->opaque, m->end);
        return;
    }
    if (m->end || m->op != OP_NONE || !m->vcpus || m->freeing)
        return;
    if (m->pause && m->running) {
        begin_operation(m, OP_PAUSE, paused_for_disk, m);
        return;
    }
    pthread_mutex_lock(&m->request_lock);
    r = m->request;
    m->request.pending = false;
    bool stopped = m->stopped;
    m->stopped = false;
    pthread_mutex_unlock(&m->request_lock);
    if (r.pending)
        take_request(m, &r);
    if (stopped && m->debugger && !m->end)
        debugger_stopped(m->debugger);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void async_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void free_rest(struct machine *m)
{
    machine_done_fn freed = m->freed;
    void *opaque = m->freed_opaque;

    sysrq_free(m->sysrq);
    console_free(m->serial);
    for (unsigned i = 0; i < G_N_ELEMENTS(m->files); i++) {
        if (m->files[i] >= 0)
            close(m->files[i]);
    }
    if (m->statm >= 0)
        close(m->statm);
    vm_end_free(m->end);
    forget_pause(m);
    pthread_mutex_destroy(&m->request_lock);
    uv_close((uv_handle_t *)m->wake, async_closed);
    g_free(m);
    if (freed)
        freed(opaque);
}

static void console_drained(void *opaque)
{
    free_rest(opaque);
}

/* Devices are closed: what they used goes. */
static void devices_gone(void *opaque)
{
    struct machine *m = opaque;

    m->devices = NULL;
    hotplug_free(m->hotplug);
    m->hotplug = NULL;
    accel_free(m->accel);
    board_free(m->board);
    m->board = NULL;
    mem_map_free(m->mem);
    if (m->ports)
        mem_map_free(m->ports);
    vm_clock_free(m->clock);
    if (m->serial)
        console_drain(m->serial, m->console_ms, console_drained, m);
    else
        free_rest(m);
}

/* Everything stands: frees from the vCPUs down. */
static void free_now(struct machine *m)
{
    debugger_free(m->debugger);
    m->debugger = NULL;
    resize_free(m->resize);
    m->resize = NULL;
    hotplug_detach(m->hotplug); /* its ports raise interrupts */
    vcpus_free(m->vcpus);
    m->vcpus = NULL;
    devices_free(m->devices, m->console_ms, devices_gone, m);
}

void machine_free(struct machine *m, unsigned console_ms, machine_done_fn done, void *opaque)
{
    if (!m) {
        if (done)
            done(opaque);
        return;
    }
    m->freeing = true;
    m->console_ms = console_ms;
    m->freed = done;
    m->freed_opaque = opaque;
    if (m->op != OP_NONE)
        return; /* finish_operation() goes on from here */
    if (m->vcpus && m->devices)
        begin_operation(m, OP_PAUSE, NULL, NULL);
    else
        free_now(m);
}

/* --- what can be asked ------------------------------------------------------------------------ */

int machine_channel(struct machine *m, const char *name, bool force, GError **err)
{
    return channels_attach(m->devices ? devices_channels(m->devices) : NULL, name, force, err);
}

bool machine_has_channel(struct machine *m, const char *name)
{
    return m->devices && channels_has(devices_channels(m->devices), name);
}

struct console *machine_console(struct machine *m, const char *name)
{
    if (strcmp(name, console_name(m->serial)) == 0)
        return m->serial;
    return m->devices ? devices_console(m->devices, name) : NULL;
}

struct accel *machine_accel(struct machine *m)
{
    return m->accel;
}

struct mem_map *machine_memory(struct machine *m)
{
    return m->mem;
}

struct vcpus *machine_vcpus(struct machine *m)
{
    return m->vcpus;
}

/* Bytes of host memory that this process holds. */
static uint64_t resident_bytes(const struct machine *m)
{
    char text[128] = "";
    uint64_t pages = 0;
    ssize_t n = pread(m->statm, text, sizeof(text) - 1, 0);
    const char *second = n > 0 ? strchr(text, ' ') : NULL;

    if (second)
        pages = g_ascii_strtoull(second, NULL, 10);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct vcpu_stats *vcpu_row(struct machine *m, unsigned index)
{
    struct vcpu_stats *row = vcpu_stats_new();
    struct accel_vcpu_info info;
    struct vcpu_times times;
    cpu_set_t cpus;

    accel_vcpu_info(vcpus_get(m->vcpus, index), &info);
    vcpus_times(m->vcpus, index, &times);
    row->index = index;
    row->cpu_ns = times.cpu_ns;
    row->exits = times.exits;
    if (vcpus_pinned(m->vcpus, index, &cpus))
        row->cpus = cpulist_format(&cpus);
    stats_exits(vcpus_get(m->vcpus, index), row);
    row->interrupts = info.interrupts;
    if (vcpus_power(m->vcpus, index) == VCPU_OFF)
        row->state = VCPU_STATE_OFF;
    else if (!machine_running(m))
        row->state = VCPU_STATE_PAUSED;
    else
        row->state = info.halted ? VCPU_STATE_HALTED : VCPU_STATE_RUNNING;
    return row;
}

struct vm_stats *machine_stats(struct machine *m)
{
    struct vm_stats *s = vm_stats_new();

    s->uptime_ns = m->started ? machine__ns(CLOCK_MONOTONIC) - m->started_ns : 0;
    s->guest_ns = vm_clock_now(m->clock);
    s->cpu_ns = machine__ns(CLOCK_PROCESS_CPUTIME_ID);
    s->cpus = vcpus_granted(m->vcpus);
    s->memory_bytes = m->config->memory;
    s->resident_bytes = resident_bytes(m);
    s->vcpus = g_new0(struct vcpu_stats *, vcpus_count(m->vcpus));
    for (unsigned i = 0; i < vcpus_count(m->vcpus); i++)
        s->vcpus[s->n_vcpus++] = vcpu_row(m, i);
    devices_stats(m->devices, s);
    return s;
}

bool machine_ask_memory(struct machine *m, unsigned seconds, GError **err)
{
    return devices_ask_memory(m->devices, seconds) ||
           vmd_fail(err, VMD_ERROR_UNSUPPORTED, "VM %s has no balloon", m->config->name);
}

bool machine_pin(struct machine *m, unsigned vcpu, const char *cpus, GError **err)
{
    cpu_set_t set;

    if (vcpu >= vcpus_count(m->vcpus))
        return vmd_fail(err, VMD_ERROR_INVALID, "VM %s has no vCPU %u", m->config->name, vcpu);
    return (!cpus || cpulist_parse(cpus, &set, err)) &&
           vcpus_pin(m->vcpus, vcpu, cpus ? &set : NULL, err);
}

bool machine_balloon(struct machine *m, uint64_t bytes, uint64_t *target, uint64_t *actual,
                     GError **err)
{
    if (bytes >= m->config->memory)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "params.bytes: the balloon holds less than the VM's memory");
    return devices_balloon(m->devices, bytes, target, actual) ||
           vmd_fail(err, VMD_ERROR_UNSUPPORTED, "VM %s has no balloon", m->config->name);
}

int machine_gpu_serve(struct machine *m, GError **err)
{
    struct gpu *gpu = devices_gpu(m->devices);

    if (gpu)
        return gpu_serve(gpu, err);
    vmd_fail(err, VMD_ERROR_UNSUPPORTED, "VM %s has no GPU", m->config->name);
    return -1;
}

struct gpu *machine_gpu(struct machine *m)
{
    return devices_gpu(m->devices);
}

struct hotplug *machine_hotplug(struct machine *m)
{
    return m->hotplug;
}

struct resize *machine_resize(struct machine *m)
{
    return m->resize;
}
