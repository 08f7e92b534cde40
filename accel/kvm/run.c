/*
 * The run loop: KVM_RUN, kicks, and the way to devices.
 *
 * No kick is lost. Who kicks sets `kicked`, then immediate_exit, then reads `tid` and signals that
 * thread if there is one. The vCPU's thread sets `tid` before its first KVM_RUN. So, by the order
 * of the two pairs, either the kicker sees the thread, or the thread's KVM_RUN sees immediate_exit.
 * Where the kicker sees it, the signal comes (a) before KVM_RUN looks at immediate_exit, which then
 * is set; or (b) later, and KVM does not enter the guest, or does not stay in it, while a signal is
 * pending. Either way KVM_RUN ends with EINTR, and `kicked` tells a kick from any other signal.
 * immediate_exit is cleared before `kicked` is taken: a kick in between is taken now and leaves
 * immediate_exit set, which costs the next run one turn of the loop.
 *
 * KVM_RUN finishes the access to a device that it left for before it looks at immediate_exit. Since
 * this loop goes back into KVM_RUN after each such exit and leaves by EINTR alone, a vCPU that does
 * not run has no access half done, and its state is whole.
 */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define KICK SIGRTMIN

enum { GO_ON = -1 }; /* beside enum vcpu_exit */

/* --- kicks ------------------------------------------------------------------------------------ */

static void on_kick(int signum)
{
}

bool kvm__catch_kicks(GError **err)
{
    struct sigaction action = {.sa_handler = on_kick};

    return sigaction(KICK, &action, NULL) == 0 ||
           vmd_set_errno(err, errno, "the signal that ends KVM_RUN");
}

static void let_kicks_in(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, KICK);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* A thread that has ended meanwhile is no error; that of another run would loop once. */
void kvm__vcpu_kick(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);

    __atomic_store_n(&v->kicked, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    pid_t tid = __atomic_load_n(&v->tid, __ATOMIC_SEQ_CST);
    if (tid)
        syscall(SYS_tgkill, getpid(), tid, KICK);
}

static bool take_kick(struct kvm_vcpu *v)
{
    __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    return __atomic_exchange_n(&v->kicked, 0, __ATOMIC_SEQ_CST);
}

/* --- devices ---------------------------------------------------------------------------------- */

/*
 * SIZE bytes, 1 to 8, at AT of MAP. What no device takes in one goes in halves, as a bus does it;
 * what no device takes at all reads ones, and writes go nowhere.
 */
static uint64_t device_read(struct mem_map *map, gpa_t at, unsigned size)
{
    uint64_t value;
    bool whole = size == 1 || size == 2 || size == 4 || size == 8;
    int rc = whole ? mem_map_device_read(map, at, size, &value) : -EINVAL;

    if (rc == 0)
        return value;
    if (rc != -EINVAL || size == 1)
        return UINT64_MAX;
    unsigned half = whole ? size / 2 : size > 4 ? 4 : size - 1;
    value = device_read(map, at, half) & (UINT64_MAX >> (64 - 8 * half));
    return value | device_read(map, at + half, size - half) << 8 * half;
}

static void device_write(struct mem_map *map, gpa_t at, unsigned size, uint64_t value)
{
    bool whole = size == 1 || size == 2 || size == 4 || size == 8;
    int rc = whole ? mem_map_device_write(map, at, size, value) : -EINVAL;

    if (rc != -EINVAL || size == 1)
        return;
    unsigned half = whole ? size / 2 : size > 4 ? 4 : size - 1;
    device_write(map, at, half, value & (UINT64_MAX >> (64 - 8 * half)));
    device_write(map, at + half, size - half, value >> 8 * half);
}

/* Both buses of which there are guests are little-endian. */
static uint64_t take(const uint8_t *data, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, data, size);
    return GUINT64_FROM_LE(value);
}

static void give(uint8_t *data, unsigned size, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    memcpy(data, &value, size);
}

static void mmio(struct kvm_vcpu *v, struct kvm_past *past)
{
    struct mem_map *mem = v->vcpu.accel->config.mem;
    struct kvm_run *run = v->run;
    unsigned size = MIN(run->mmio.len, 8);

    past->size = size;
    past->write = run->mmio.is_write;
    past->address = run->mmio.phys_addr;
    if (run->mmio.is_write) {
        past->value = take(run->mmio.data, size);
        device_write(mem, run->mmio.phys_addr, size, past->value);
    } else {
        past->value = device_read(mem, run->mmio.phys_addr, size);
        give(run->mmio.data, size, past->value);
    }
}

/* A string of accesses (rep ins, rep outs) comes as one exit. */
static void pio(struct kvm_vcpu *v, struct kvm_past *past)
{
    struct mem_map *ports = v->vcpu.accel->config.ports;
    const struct kvm_run *run = v->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size;

    past->size = size;
    past->write = run->io.direction == KVM_EXIT_IO_OUT;
    past->address = run->io.port;
    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        uint64_t value = UINT64_MAX;
        if (past->write) {
            value = take(data, size);
            if (ports)
                device_write(ports, run->io.port, size, value);
        } else {
            if (ports)
                value = device_read(ports, run->io.port, size);
            give(data, size, value);
        }
        if (i == 0)
            past->value = value;
    }
}

/* --- failures --------------------------------------------------------------------------------- */

#define EXIT_PREFIX "exit."

const char *kvm__exit_counter(unsigned reason)
{
    static const char *const names[KVM_EXIT_REASONS] = {
        [KVM_EXIT_UNKNOWN] = EXIT_PREFIX "unknown",
        [KVM_EXIT_EXCEPTION] = EXIT_PREFIX "exception",
        [KVM_EXIT_IO] = EXIT_PREFIX "io",
        [KVM_EXIT_HYPERCALL] = EXIT_PREFIX "hypercall",
        [KVM_EXIT_DEBUG] = EXIT_PREFIX "debug",
        [KVM_EXIT_HLT] = EXIT_PREFIX "hlt",
        [KVM_EXIT_MMIO] = EXIT_PREFIX "mmio",
        [KVM_EXIT_IRQ_WINDOW_OPEN] = EXIT_PREFIX "irq-window",
        [KVM_EXIT_SHUTDOWN] = EXIT_PREFIX "shutdown",
        [KVM_EXIT_FAIL_ENTRY] = EXIT_PREFIX "fail-entry",
        [KVM_EXIT_INTR] = EXIT_PREFIX "signal",
        [KVM_EXIT_NMI] = EXIT_PREFIX "nmi",
        [KVM_EXIT_INTERNAL_ERROR] = EXIT_PREFIX "internal-error",
        [KVM_EXIT_SYSTEM_EVENT] = EXIT_PREFIX "system-event",
        [KVM_EXIT_IOAPIC_EOI] = EXIT_PREFIX "eoi",
        [KVM_EXIT_ARM_NISV] = EXIT_PREFIX "no-syndrome",
        [KVM_EXIT_DIRTY_RING_FULL] = EXIT_PREFIX "dirty-ring-full",
        [KVM_EXIT_RISCV_SBI] = EXIT_PREFIX "sbi",
        [KVM_EXIT_RISCV_CSR] = EXIT_PREFIX "csr",
    };

    return reason < KVM_EXIT_REASONS && names[reason] ? names[reason] : EXIT_PREFIX "other";
}

static const char *exit_name(unsigned reason)
{
    return kvm__exit_counter(reason) + strlen(EXIT_PREFIX);
}

static void describe_past(const struct kvm_vcpu *v, GString *out)
{
    unsigned n = MIN(v->n_past, KVM_LAST_EXITS);

    for (unsigned i = v->n_past - n; i != v->n_past; i++) {
        const struct kvm_past *p = &v->past[i % KVM_LAST_EXITS];
        g_string_append_printf(out, "%s%s", i == v->n_past - n ? "\nlast exits:\n  " : "\n  ",
                               exit_name(p->reason));
        if (p->size)
            g_string_append_printf(out, " %s %u bytes at 0x%" PRIx64 ": 0x%" PRIx64,
                                   p->write ? "write" : "read", p->size, p->address, p->value);
    }
}

/* The text, then all that may help: registers, code and the last exits. */
static void set_error(struct kvm_vcpu *v, char *text)
{
    GString *report = g_string_new(text);

    g_free(text);
    kvm__arch_describe(v, report);
    describe_past(v, report);
    g_free(v->error);
    v->error = g_string_free(report, FALSE);
}

enum vcpu_exit kvm__vcpu_fail(struct kvm_vcpu *v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_error(v, g_strdup_vprintf(fmt, ap));
    va_end(ap);
    return VCPU_EXIT_ERROR;
}

static enum vcpu_exit internal_error(struct kvm_vcpu *v)
{
    const struct kvm_run *run = v->run;
    static const char *const what[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "an instruction it cannot emulate",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "an exception while it delivered another",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "an access to a device while it delivered an event",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit of the processor it does not know",
    };
    unsigned error = run->internal.suberror;
    g_autoptr(GString) data = g_string_new(NULL);

    for (unsigned i = 0; i < MIN(run->internal.ndata, G_N_ELEMENTS(run->internal.data)); i++)
        g_string_append_printf(data, "%s0x%" PRIx64, i ? " " : ", data ",
                               (uint64_t)run->internal.data[i]);
    return kvm__vcpu_fail(v, "KVM gave vCPU %u up: %s (suberror %u%s)", v->vcpu.index,
                          error < G_N_ELEMENTS(what) && what[error] ? what[error]
                                                                    : "internal error",
                          error, data->str);
}

static enum vcpu_exit shut_down(struct kvm_vcpu *v)
{
    kvm__vcpu_fail(v, "vCPU %u shut down: a fault while it delivered a double fault (triple fault)",
                   v->vcpu.index);
    return VCPU_EXIT_SHUTDOWN;
}

/* --- the loop --------------------------------------------------------------------------------- */

static int other_exit(struct kvm_vcpu *v)
{
    const struct kvm_run *run = v->run;
    int why = GO_ON;

    switch (run->exit_reason) {
    case KVM_EXIT_INTR:
        return GO_ON;
    case KVM_EXIT_DIRTY_RING_FULL:
        kvm__memory_ring_full(v->kvm);
        return GO_ON;
    case KVM_EXIT_SHUTDOWN:
        return (int)shut_down(v);
    case KVM_EXIT_INTERNAL_ERROR:
        return (int)internal_error(v);
    case KVM_EXIT_FAIL_ENTRY:
        return (int)kvm__vcpu_fail(
            v, "the processor refused to enter vCPU %u: hardware reason 0x%" PRIx64, v->vcpu.index,
            (uint64_t)run->fail_entry.hardware_entry_failure_reason);
    default:
        if (kvm__arch_exit(v, &why))
            return why;
        return (int)kvm__vcpu_fail(v, "vCPU %u left KVM for a reason that vmd does not know: %u",
                                   v->vcpu.index, run->exit_reason);
    }
}

/* GO_ON, or an enum vcpu_exit. */
static int handle(struct kvm_vcpu *v)
{
    uint32_t reason = v->run->exit_reason;
    uint32_t row = reason < KVM_EXIT_REASONS ? reason : KVM_EXIT_UNKNOWN;
    struct kvm_past *past = &v->past[v->n_past++ % KVM_LAST_EXITS];

    __atomic_store_n(&v->exits[row], v->exits[row] + 1, __ATOMIC_RELAXED);
    *past = (struct kvm_past){.reason = reason};
    switch (reason) {
    case KVM_EXIT_MMIO:
        mmio(v, past);
        return GO_ON;
    case KVM_EXIT_IO:
        pio(v, past);
        return GO_ON;
    default:
        return other_exit(v);
    }
}

/* Between two runs: whether another vCPU has started this one, which KVM tells in no other way. */
static void look_if_started(struct kvm_vcpu *v)
{
    struct kvm_mp_state state;
    bool started = ioctl(v->fd, KVM_GET_MP_STATE, &state) == 0 &&
                   state.mp_state != KVM_MP_STATE_UNINITIALIZED &&
                   state.mp_state != KVM_MP_STATE_INIT_RECEIVED &&
                   state.mp_state != KVM_MP_STATE_STOPPED;

    if (started)
        __atomic_store_n(&v->waiting, false, __ATOMIC_RELAXED);
}

static int run(struct kvm_vcpu *v)
{
    int rc = ioctl(v->fd, KVM_RUN, NULL), error = errno;

    if (__atomic_load_n(&v->waiting, __ATOMIC_RELAXED))
        look_if_started(v);
    if (rc == 0)
        return handle(v);
    if (error == EINTR) {
        if (!take_kick(v))
            return GO_ON;
        const char *failed = __atomic_load_n(&v->kvm->failed, __ATOMIC_SEQ_CST);
        return (int)(failed ? kvm__vcpu_fail(v, "%s", failed) : VCPU_EXIT_KICKED);
    }
    if (error == EAGAIN) /* an AP was woken, by INIT or for nothing */
        return GO_ON;
    return (int)kvm__vcpu_fail(v, "KVM_RUN of vCPU %u: %s", v->vcpu.index, g_strerror(error));
}

enum vcpu_exit kvm__vcpu_run(struct vcpu *vcpu)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);
    int why;

    let_kicks_in();
    __atomic_store_n(&v->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&v->kvm->failed, __ATOMIC_SEQ_CST))
        kvm__vcpu_kick(vcpu);
    do
        why = run(v);
    while (why == GO_ON);
    __atomic_store_n(&v->tid, 0, __ATOMIC_SEQ_CST);
    return (enum vcpu_exit)why;
}
