/* Putting a machine together. See machine_priv.h. */
#include "vm/machine_priv.h"

#include "accel/kvm/kvm.h"
#include "machine/devices/cpu_plug.h"
#include "machine/virtio/memory.h"
#include "vm/warm.h"
#include "xlate/xlate.h"

#include <errno.h>
#include <fcntl.h>

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
        .cpu_ops = &machine__cpu_ops,
        .cpu_opaque = m,
        .console_ops = &machine__board_console_ops,
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

/* Where the configuration wants vCPUs to run. */
static bool pin_vcpus(struct machine *m, GError **err)
{
    for (size_t i = 0; i < m->config->n_pins; i++) {
        const struct vm_pin_config *pin = m->config->pins[i];
        if (!machine_pin(m, pin->vcpu, pin->cpus, err))
            return false;
    }
    return true;
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
    m->vcpus = vcpus_new(m->accel, machine__vcpu_failed, m, err);
    if (!m->vcpus)
        return false;
    vcpus_on_stop(m->vcpus, machine__vcpu_stopped);
    vcpus_grant(m->vcpus, m->config->cpus);
    return pin_vcpus(m, err);
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

static void gpu_moved(void *opaque, uint64_t job, bool cancelled, const GError *err)
{
    static char gpu[] = GPU_ID;
    struct machine *m = opaque;
    g_autofree char *kind = err ? g_strdup(vmd_error_name((enum vmd_error)err->code)) : NULL;
    const struct vmi_job_ended_event event = {
        .job = job,
        .device = gpu,
        .outcome = cancelled ? DEVICE_OUTCOME_CANCELLED
                   : err     ? DEVICE_OUTCOME_REFUSED
                             : DEVICE_OUTCOME_DONE,
        .kind = kind,
        .text = err ? err->message : (char *)"the GPU's programs were moved",
    };

    m->ops->hotplug.ended(m->opaque, &event);
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
    m->pause->time_ns = machine__ns(CLOCK_REALTIME);
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
        .socket_dir = files ? files->socket_dir : NULL,
        .files = files,
        .warning = machine_warning,
        .disk_failed = disk_failed,
        .gpu = {.changed = gpu_worker, .moved = gpu_moved},
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

bool machine__load(struct machine *m, GError **err)
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
            machine__cpu_start(m, i, &start);
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

static bool build(struct machine *m, enum vm_accel accel, const char *log_dir,
                  const struct machine_files *files, GError **err)
{
    const struct vm_config *c = m->config;

    m->serial = console_new(m->loop, "serial0", log_dir, &machine__serial_ops, m, err);
    return m->serial &&
           open_boot_file(m, 0, files, "kernel", c->kernel, err) &&
           open_boot_file(m, 1, files, "initrd", c->initrd, err) &&
           open_boot_file(m, 2, files, "firmware", c->firmware, err) &&
           open_boot_file(m, FILE_VARS, files, "variables", c->firmware_vars, err) &&
           build_board(m, err) &&
           build_accel(m, accel, files ? files->hot : NULL, err) &&
           build_devices(m, log_dir, files, err) &&
           machine__load(m, err) && build_debugger(m, err);
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
    uv_async_init(loop, m->wake, machine__wake);
    m->wake->data = m;
    for (unsigned i = 0; i < G_N_ELEMENTS(m->files); i++)
        m->files[i] = -1;
    m->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    m->sysrq = sysrq_new(loop, &machine__sysrq_ops, m);
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
