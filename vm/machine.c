/*
 * Putting a machine together, and the operations that need all of it to stand still: halt the
 * vCPUs, stop the clock, quiesce the PCI devices (which takes turns of the loop), act, go on.
 */
#include "vm/machine.h"

#include "accel/kvm/kvm.h"
#include "machine/boards/board.h"
#include "machine/bus/pci.h"
#include "machine/devices/cpu_plug.h"
#include "machine/virtio/memory.h"
#include "vm/debugger.h"
#include "vm/devices.h"
#include "vm/panic.h"
#include "vm/stats.h"
#include "vm/sysrq.h"
#include "vm/vcpus.h"
#include "vm/warm.h"
#include "xlate/xlate.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

/* What the machine does that takes turns of the loop. */
enum operation { OP_NONE, OP_PAUSE, OP_RESET, OP_END };

/* What a vCPU or device asks of the loop. */
struct request {
    bool pending;
    struct board_request board;
    bool failed; /* a vCPU cannot go on; TEXT says why */
    enum vcpu_exit why;
    char text[LONG_TEXT_MAX];
};

enum { FILE_VARS = 3 }; /* in files[] */

struct machine {
    uv_loop_t *loop;
    const struct vm_config *config;
    const struct machine_ops *ops;
    void *opaque;

    struct mem_map *mem, *ports; /* ports: NULL where the ISA has none */
    struct vm_clock *clock;
    struct board *board;
    struct accel *accel;
    struct vcpus *vcpus;
    struct devices *devices;
    struct hotplug *hotplug;
    struct resize *resize;
    struct console *serial;
    struct panic_watch panic;
    struct sysrq *sysrq;
    struct debugger *debugger; /* NULL: none may connect */
    int files[4]; /* kernel, initrd, firmware and its variables: kept open for resets */
    int statm;    /* /proc/self/statm: once the process is confined, /proc is out of reach */

    bool started;  /* has run */
    bool running;  /* vCPUs may run, but for an operation under way, or a debugger */
    bool held;     /* by a debugger */
    bool by_guest; /* OP_RESET: who asked */
    uint64_t reset_until_ns; /* a power-off before that is a reset; CLOCK_MONOTONIC */
    struct vm_end *end; /* how the run ended; nothing runs from then on */
    bool tell_end;      /* all stands: machine_ops.ended is due */
    enum operation op;
    struct vm_pause_info *pause; /* a pause that a disk wants, or has had; NULL: none does */
    machine_done_fn done;
    void *done_opaque;
    bool freeing;
    unsigned console_ms; /* of machine_free() */
    machine_done_fn freed;
    void *freed_opaque;
    uint64_t started_ns; /* CLOCK_MONOTONIC */

    uv_async_t *wake; /* a request is pending; freed by its close */
    pthread_mutex_t request_lock;
    struct request request;
    bool stopped; /* a vCPU has, for the debugger */
};

static uint64_t monotonic_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- what the board asks of vCPUs ------------------------------------------------------------- */

static void cpu_set_irq(void *opaque, unsigned cpu, unsigned irq, bool level)
{
    struct machine *m = opaque;

    if (m->vcpus) /* else the machine is being taken apart */
        accel_vcpu_set_irq(vcpus_get(m->vcpus, cpu), irq, level);
}

static void cpu_gsi(void *opaque, unsigned gsi, bool level)
{
    struct machine *m = opaque;

    accel_gsi(m->accel, gsi, level);
}

static void cpu_msi(void *opaque, uint64_t address, uint32_t data)
{
    struct machine *m = opaque;

    accel_msi(m->accel, address, data);
}

static void cpu_route(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data)
{
    const struct accel_route route = {.address = address, .data = data};
    struct machine *m = opaque;

    accel_route(m->accel, pin, used ? &route : NULL);
}

static int cpu_start(void *opaque, unsigned cpu, const struct board_start *start)
{
    static const enum vcpu_mode modes[] = {
        [BOARD_MODE_RESET] = VCPU_MODE_RESET,
        [BOARD_MODE_PVH] = VCPU_MODE_PVH,
        [BOARD_MODE_LONG] = VCPU_MODE_LONG,
    };
    struct machine *m = opaque;
    struct vcpu_start s = {.pc = start->pc, .mode = modes[start->mode], .cr3 = start->cr3};

    memcpy(s.args, start->args, sizeof(s.args));
    return vcpus_start(m->vcpus, cpu, &s);
}

static void cpu_stop(void *opaque, unsigned self)
{
    struct machine *m = opaque;

    vcpus_stop_self(m->vcpus, self);
}

static enum board_cpu_status cpu_status(void *opaque, unsigned cpu)
{
    static const enum board_cpu_status status[] = {
        [VCPU_OFF] = BOARD_CPU_STOPPED,
        [VCPU_STARTING] = BOARD_CPU_STARTING,
        [VCPU_ON] = BOARD_CPU_STARTED,
        [VCPU_STOPPING] = BOARD_CPU_STOPPING,
    };
    struct machine *m = opaque;

    return status[vcpus_power(m->vcpus, cpu)];
}

static void cpu_ejected(void *opaque, unsigned cpu)
{
    struct machine *m = opaque;

    vcpus_grant_one(m->vcpus, cpu, false);
    vcpus_stop(m->vcpus, cpu);
    resize_changed(m->resize);
}

static void cpu_fence(void *opaque, unsigned from, uint64_t mask, enum board_fence kind,
                      const struct board_fence_range *range)
{
    static const enum accel_fence kinds[] = {
        [BOARD_FENCE_CODE] = ACCEL_FENCE_CODE,
        [BOARD_FENCE_TLB] = ACCEL_FENCE_TLB,
        [BOARD_FENCE_TLB_ASID] = ACCEL_FENCE_TLB_ASID,
    };
    struct machine *m = opaque;
    struct accel_fence_range r = {.start = range->start, .size = range->size, .asid = range->asid};

    accel_fence(m->accel, vcpus_get(m->vcpus, from), mask, kinds[kind], &r);
}

/* Keeps the first request until the loop takes it, and stops the guest meanwhile. Any thread. */
static void post_request(struct machine *m, const struct request *r)
{
    pthread_mutex_lock(&m->request_lock);
    if (!m->request.pending) {
        m->request = *r;
        m->request.pending = true;
    }
    pthread_mutex_unlock(&m->request_lock);
    vcpus_halt_async(m->vcpus);
    uv_async_send(m->wake);
}

static void cpu_request(void *opaque, const struct board_request *request)
{
    struct request r = {.board = *request};

    post_request(opaque, &r);
}

static const struct board_cpu_ops cpu_ops = {
    .set_irq = cpu_set_irq,
    .gsi = cpu_gsi,
    .msi = cpu_msi,
    .route = cpu_route,
    .start = cpu_start,
    .stop = cpu_stop,
    .status = cpu_status,
    .ejected = cpu_ejected,
    .fence = cpu_fence,
    .request = cpu_request,
};

static void vcpu_failed(void *opaque, unsigned index, enum vcpu_exit why, const char *text)
{
    struct request r = {.failed = true, .why = why};

    g_snprintf(r.text, sizeof(r.text), "vCPU %u cannot go on: %s", index, text ? text : "unknown");
    post_request(opaque, &r);
}

static void vcpu_stopped(void *opaque)
{
    struct machine *m = opaque;

    pthread_mutex_lock(&m->request_lock);
    m->stopped = true;
    pthread_mutex_unlock(&m->request_lock);
    uv_async_send(m->wake);
}

/* --- the serial console ----------------------------------------------------------------------- */

static size_t serial_output(void *opaque, const uint8_t *data, size_t n)
{
    struct machine *m = opaque;

    console_output(m->serial, data, n);
    return n;
}

static void serial_input_room(void *opaque)
{
    struct machine *m = opaque;

    console_input_room(m->serial);
}

static const struct board_console_ops board_console_ops = {
    .output = serial_output,
    .input_room = serial_input_room,
};

static size_t serial_input(void *opaque, const uint8_t *data, size_t n)
{
    struct machine *m = opaque;

    return m->board && !m->end ? board_console_input(m->board, data, n) : n;
}

static void serial_seen(void *opaque, const uint8_t *data, size_t n)
{
    struct machine *m = opaque;

    sysrq_seen(m->sysrq, data, n);
    if (panic_feed(&m->panic, data, n) == PANIC_END && !m->end)
        machine_end(m, VM_END_REASON_GUEST_PANIC, m->panic.text);
}

static bool serial_break(void *opaque)
{
    struct machine *m = opaque;

    return board_console_break(m->board);
}

static void serial_type(void *opaque, char key)
{
    struct machine *m = opaque;

    board_console_input(m->board, (const uint8_t *)&key, 1);
}

static const struct sysrq_ops sysrq_ops = {.send_break = serial_break, .type = serial_type};

static const struct console_ops serial_ops = {.input = serial_input, .seen = serial_seen};

/* --- building --------------------------------------------------------------------------------- */

/* Opens what the machine boots from: a file handed over under NAME, or PATH. */
static bool open_boot_file(struct machine *m, unsigned index, const struct machine_files *files,
                           const char *name, const char *path, GError **err)
{
    m->files[index] = files ? files->take(files->opaque, name) : -1;
    if (m->files[index] >= 0 || !path)
        return true;
    m->files[index] = open(path, (index == FILE_VARS ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
    return m->files[index] >= 0 || vmd_set_errno(err, errno, "opening the %s %s", name, path);
}

static enum isa isa_of(enum vm_arch arch)
{
    static const enum isa isas[] = {
        [VM_ARCH_RISCV64] = ISA_RISCV64,
        [VM_ARCH_AARCH64] = ISA_AARCH64,
        [VM_ARCH_X86_64] = ISA_X86_64,
    };

    return isas[arch];
}

static bool wants_split(const struct vm_config *c)
{
    return c->has_irqchip && c->irqchip == VM_IRQCHIP_SPLIT;
}

static unsigned most_cpus(const struct vm_config *c)
{
    return c->has_max_cpus ? c->max_cpus : c->cpus;
}

static bool build_board(struct machine *m, GError **err)
{
    const struct vm_config *c = m->config;
    uint64_t room = c->has_max_memory && c->max_memory > c->memory ? c->max_memory - c->memory : 0;
    struct board_config bc = {
        .isa = isa_of(c->arch),
        .cpus = most_cpus(c),
        .boot_cpus = c->cpus,
        .memory = c->memory,
        .room = room,
        .room_block = virtio_mem_block_bytes(room),
        .mem = m->mem,
        .ports = m->ports,
        .split_irqchip = wants_split(m->config),
        .clock = m->clock,
        .loop = m->loop,
        .kernel = {m->files[0], c->kernel},
        .initrd = {m->files[1], c->initrd},
        .firmware = {m->files[2], c->firmware},
        .vars = {m->files[FILE_VARS], c->firmware_vars},
        .append = c->append,
        .cpu_ops = &cpu_ops,
        .cpu_opaque = m,
        .console_ops = &board_console_ops,
        .console_opaque = m,
    };

    m->board = board_new(&bc, err);
    return m->board != NULL;
}

/* A vCPU's output has changed: of an ARM one. */
static void cpu_line(void *board, unsigned cpu, enum arm_line line, bool level)
{
    static const enum board_cpu_line lines[] = {
        [ARM_LINE_VIRTUAL_TIMER] = BOARD_LINE_VIRTUAL_TIMER,
        [ARM_LINE_PHYSICAL_TIMER] = BOARD_LINE_PHYSICAL_TIMER,
    };

    board_cpu_line(board, cpu, lines[line], level);
}

static bool build_accel(struct machine *m, enum vm_accel accel, const struct hotlist *hot,
                        GError **err)
{
    const struct board_traits *traits = board_traits(m->board);
    const struct vm_xlate_config *x = m->config->xlate;
    bool split = wants_split(m->config);
    struct accel_config ac = {
        .isa = isa_of(m->config->arch),
        .vcpus = most_cpus(m->config),
        .mem = m->mem,
        .ports = m->ports,
        .clock = m->clock,
        .timebase_hz = traits->timebase_hz,
        .firmware_mode = traits->firmware_mode,
        .hypercall = board_hypercall,
        .hypercall_opaque = m->board,
        .sysreg = board_sysreg,
        .line = cpu_line,
        .split_irqchip = split,
        .eoi = board_eoi,
        .pit = m->ports && !split,
        .machine_opaque = m->board,
        .cpu = m->config->cpu,
        .code_cache_bytes = x && x->has_cache_bytes ? x->cache_bytes : 0,
        .tier = x ? x->tier : 2,
        .warm_threads = !x || x->warm ? warm_threads(m->config->cpus) : 0,
        .hot = hot,
    };

    if (accel == VM_ACCEL_KVM && ac.vcpus > m->config->cpus && !board_cpu_plug(m->board))
        return vmd_fail(
            err, VMD_ERROR_UNSUPPORTED,
            "%s guests on KVM have the same processors always: max_cpus needs the translator",
            vm_arch_to_string(m->config->arch));
    if (accel == VM_ACCEL_KVM && board_room(m->board))
        return vmd_fail(
            err, VMD_ERROR_UNSUPPORTED,
            "guests on KVM have the same memory always: max_memory needs the translator");
    if (!accel_create(accel == VM_ACCEL_KVM ? &kvm_accel_ops : &xlate_accel_ops, &ac, &m->accel, err))
        return false;
    m->vcpus = vcpus_new(m->accel, vcpu_failed, m, err);
    if (!m->vcpus)
        return false;
    vcpus_on_stop(m->vcpus, vcpu_stopped);
    vcpus_grant(m->vcpus, m->config->cpus);
    return true;
}

static void machine_warning(void *opaque, const char *text)
{
    struct machine *m = opaque;

    m->ops->warning(m->opaque, text);
}

static void gpu_worker(void *opaque, enum gpu_worker_state state, const char *text)
{
    struct machine *m = opaque;

    m->ops->gpu_worker(m->opaque, state, text);
}

/* The disk, which is in the middle of something, is let finish that before the machine is paused. */
static void disk_failed(void *opaque, const struct disk_failure *f)
{
    struct machine *m = opaque;

    if (f->tell)
        m->ops->disk_error(m->opaque, &f->event);
    if (!f->event.held || m->pause || !m->running)
        return;
    m->pause = vm_pause_info_new();
    m->pause->reason = f->pause;
    m->pause->text = g_strdup_printf("disk %s: %s", f->event.disk, f->event.text);
    m->pause->disk = g_strdup(f->event.disk);
    m->pause->time_ns = monotonic_ns(CLOCK_REALTIME);
    uv_async_send(m->wake);
}

static bool build_devices(struct machine *m, const char *log_dir, const struct machine_files *files,
                          GError **err)
{
    const struct devices_env env = {
        .loop = m->loop,
        .mem = m->mem,
        .clock = m->clock,
        .pci = board_pci(m->board),
        .room = board_room(m->board),
        .log_dir = log_dir,
        .files = files,
        .warning = machine_warning,
        .disk_failed = disk_failed,
        .gpu_changed = gpu_worker,
        .opaque = m,
    };

    m->devices = devices_new(m->config, &env, err);
    if (!m->devices)
        return false;
    m->resize = resize_new(m->loop, m->config, m->vcpus, board_cpu_plug(m->board), m->devices,
                           &m->ops->hotplug, m->opaque);
    m->hotplug =
        hotplug_new(m->loop, m->config, m->devices, board_pci(m->board), board_pci_plug(m->board),
                    devices_agent(m->devices), &m->ops->hotplug, m->opaque, err);
    return m->hotplug != NULL;
}

/* Loads the machine's memory and switches the vCPUs on that start with it; the others of an x86 machine wait
 * for INIT and SIPI inside the accelerator. */
static bool load(struct machine *m, GError **err)
{
    static const struct vcpu_start waiting = {.mode = VCPU_MODE_WAIT};
    struct board_start start;

    struct cpu_plug *plug = board_cpu_plug(m->board);

    board_set_boot_cpus(m->board, vcpus_granted(m->vcpus));
    for (unsigned i = 0; plug && i < vcpus_count(m->vcpus); i++)
        cpu_plug_set(plug, i, vcpus_is_granted(m->vcpus, i));
    if (!board_load(m->board, err))
        return false;
    for (unsigned i = 0; i < vcpus_count(m->vcpus); i++) {
        if (board_cpu_start(m->board, i, &start))
            cpu_start(m, i, &start);
        else if (m->config->arch == VM_ARCH_X86_64)
            vcpus_start(m->vcpus, i, &waiting);
    }
    return true;
}

static bool build_debugger(struct machine *m, GError **err)
{
    const struct vm_gdb_config *gdb = m->config->gdb;

    if (!gdb)
        return true;
    if (!m->accel->ops->debug)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "guests on %s have no debugger's port",
                        m->accel->ops->name);
    m->debugger = debugger_new(m->loop, m, gdb, err);
    m->held = m->debugger && gdb->wait;
    return m->debugger != NULL;
}

static void wake(uv_async_t *async);

static bool build(struct machine *m, enum vm_accel accel, const char *log_dir,
                  const struct machine_files *files, GError **err)
{
    const struct vm_config *c = m->config;

    m->serial = console_new(m->loop, "serial0", log_dir, &serial_ops, m, err);
    return m->serial &&
           open_boot_file(m, 0, files, "kernel", c->kernel, err) &&
           open_boot_file(m, 1, files, "initrd", c->initrd, err) &&
           open_boot_file(m, 2, files, "firmware", c->firmware, err) &&
           open_boot_file(m, FILE_VARS, files, "variables", c->firmware_vars, err) &&
           build_board(m, err) &&
           build_accel(m, accel, files ? files->hot : NULL, err) &&
           build_devices(m, log_dir, files, err) &&
           load(m, err) && build_debugger(m, err);
}

struct machine *machine_new(uv_loop_t *loop, const struct vm_config *config, enum vm_accel accel,
                            const char *log_dir, const struct machine_files *files,
                            const struct machine_ops *ops, void *opaque, GError **err)
{
    struct machine *m = g_new0(struct machine, 1);

    m->loop = loop;
    m->config = config;
    m->ops = ops;
    m->opaque = opaque;
    pthread_mutex_init(&m->request_lock, NULL);
    m->wake = g_new0(uv_async_t, 1);
    uv_async_init(loop, m->wake, wake);
    m->wake->data = m;
    for (unsigned i = 0; i < G_N_ELEMENTS(m->files); i++)
        m->files[i] = -1;
    m->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    m->sysrq = sysrq_new(loop, &sysrq_ops, m);
    m->mem = mem_map_new();
    m->ports = config->arch == VM_ARCH_X86_64 ? mem_map_new() : NULL;
    m->clock = vm_clock_new(0);
    vm_clock_pause(m->clock);
    if (!build(m, accel, log_dir, files, err)) {
        machine_free(m, 0, NULL, NULL);
        return NULL;
    }
    return m;
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
    if (!load(m, &err)) {
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
        m->started_ns = monotonic_ns(CLOCK_MONOTONIC);
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
        reset_ms ? monotonic_ns(CLOCK_MONOTONIC) + (uint64_t)reset_ms * 1000000 : 0;
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
    m->end->time_ns = monotonic_ns(CLOCK_REALTIME);
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
           monotonic_ns(CLOCK_MONOTONIC) < m->reset_until_ns;
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
static void wake(uv_async_t *async)
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

    accel_vcpu_info(vcpus_get(m->vcpus, index), &info);
    vcpus_times(m->vcpus, index, &times);
    row->index = index;
    row->cpu_ns = times.cpu_ns;
    row->exits = times.exits;
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

    s->uptime_ns = m->started ? monotonic_ns(CLOCK_MONOTONIC) - m->started_ns : 0;
    s->guest_ns = vm_clock_now(m->clock);
    s->cpu_ns = monotonic_ns(CLOCK_PROCESS_CPUTIME_ID);
    s->cpus = vcpus_granted(m->vcpus);
    s->memory_bytes = m->config->memory;
    s->resident_bytes = resident_bytes(m);
    s->vcpus = g_new0(struct vcpu_stats *, vcpus_count(m->vcpus));
    for (unsigned i = 0; i < vcpus_count(m->vcpus); i++)
        s->vcpus[s->n_vcpus++] = vcpu_row(m, i);
    devices_stats(m->devices, s);
    return s;
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

struct hotplug *machine_hotplug(struct machine *m)
{
    return m->hotplug;
}

struct resize *machine_resize(struct machine *m)
{
    return m->resize;
}
