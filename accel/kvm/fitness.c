/*
 * The guest: 32-bit protected mode, flat, without paging. It counts down, then runs int3, whose
 * handler halts. Where the processor runs it, the halt comes after some microseconds; where it is
 * emulated, the count takes milliseconds, and int3 may be more than the emulator knows.
 */
#include "accel/kvm/fitness.h"

#include "accel/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

static void say(struct kvm_fitness *f, enum kvm_fit fit, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static void say(struct kvm_fitness *f, enum kvm_fit fit, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    f->fit = fit;
    g_vsnprintf(f->text, sizeof(f->text), fmt, ap);
    va_end(ap);
}

static unsigned capability(int fd, unsigned cap)
{
    int rc = ioctl(fd, KVM_CHECK_EXTENSION, cap);

    return rc > 0 ? (unsigned)rc : 0;
}

static void take_limits(int device, struct kvm_fitness *f)
{
    f->vcpus = kvm_vcpus_most(device);
    f->memory_slots = capability(device, KVM_CAP_NR_MEMSLOTS);
    f->irqfd = capability(device, KVM_CAP_IRQFD);
    f->ioeventfd = capability(device, KVM_CAP_IOEVENTFD);
    f->dirty_ring = capability(device, KVM_CAP_DIRTY_LOG_RING) ||
                    capability(device, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
#ifdef KVM_CAP_SPLIT_IRQCHIP
    f->split_irqchip = capability(device, KVM_CAP_SPLIT_IRQCHIP);
#endif
}

#ifdef __x86_64__

enum {
    PAGE = 4096,
    LOOPS = 20000,
    GDT = 0x800,
    IDT = 0x900,
    CODE = 0x100,
    HANDLER = 0x180,
    CODE_SELECTOR = 8,
    DATA_SELECTOR = 16,
};

#define SLOW_NS 4000000 /* a processor takes 0.02 ms, an emulator 20 or more */

struct probe {
    int vm, vcpu;
    size_t run_bytes;
    struct kvm_run *run;
    uint8_t *page;
};

static void probe_close(struct probe *p)
{
    if (p->run)
        munmap(p->run, p->run_bytes);
    if (p->vcpu >= 0)
        close(p->vcpu);
    if (p->vm >= 0)
        close(p->vm);
    if (p->page)
        munmap(p->page, PAGE);
}

static void write_guest(uint8_t *page)
{
    static const uint64_t gdt[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    static const uint8_t handler[] = {0xf4}; /* hlt */
    /* mov $LOOPS,%ecx; 1: dec %ecx; jnz 1b; int3; hlt */
    uint8_t code[] = {0xb9, 0, 0, 0, 0, 0x49, 0x75, 0xfd, 0xcc, 0xf4};
    uint8_t gate[8] = {HANDLER & 0xff, HANDLER >> 8, CODE_SELECTOR, 0, 0, 0x8e, 0, 0};
    uint32_t loops = LOOPS;

    memcpy(code + 1, &loops, 4);
    memcpy(page + GDT, gdt, sizeof(gdt));
    memcpy(page + IDT + 3 * sizeof(gate), gate, sizeof(gate));
    memcpy(page + CODE, code, sizeof(code));
    memcpy(page + HANDLER, handler, sizeof(handler));
}

static bool set_registers(int vcpu)
{
    struct kvm_regs regs = {.rip = CODE, .rsp = PAGE, .rflags = 2};
    struct kvm_sregs sregs;

    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
        return false;
    struct kvm_segment data = {.limit = 0xffffffff,
                               .selector = DATA_SELECTOR,
                               .type = 3,
                               .present = 1,
                               .db = 1,
                               .s = 1,
                               .g = 1};
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cs = data;
    sregs.cs.selector = CODE_SELECTOR;
    sregs.cs.type = 11;
    sregs.gdt = (struct kvm_dtable){.base = GDT, .limit = 23};
    sregs.idt = (struct kvm_dtable){.base = IDT, .limit = 4 * 8 - 1};
    sregs.cr0 |= 1;
    return ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0 && ioctl(vcpu, KVM_SET_REGS, &regs) == 0;
}

/* False with errno. */
static bool probe_open(struct probe *p, int device)
{
    struct kvm_userspace_memory_region slot = {.memory_size = PAGE};
    int bytes = ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0);

    *p = (struct probe){.vm = -1, .vcpu = -1};
    if (bytes < 0)
        return false;
    p->run_bytes = (size_t)bytes;
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    p->page = page;
    write_guest(p->page);
    slot.userspace_addr = (uintptr_t)p->page;
    p->vm = ioctl(device, KVM_CREATE_VM, 0);
    if (p->vm < 0 || ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
        return false;
    p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
    if (p->vcpu < 0)
        return false;
    void *run = mmap(NULL, p->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
    if (run == MAP_FAILED)
        return false;
    p->run = run;
    return set_registers(p->vcpu);
}

static void on_time(int signum)
{
}

/* One KVM_RUN that ends: a signal comes after two seconds, and again, were it early. 0 or -errno.
 */
static int run_bounded(int vcpu)
{
    struct sigaction action = {.sa_handler = on_time}, before;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    struct itimerspec time = {.it_value = {.tv_sec = 2}, .it_interval = {.tv_nsec = 100000000}};
    sigset_t set, mask;
    timer_t timer;
    int rc;

    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (sigaction(SIGRTMIN, &action, &before) < 0)
        return -errno;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    pthread_sigmask(SIG_UNBLOCK, &set, &mask);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) {
        timer_settime(timer, 0, &time, NULL);
        do
            rc = ioctl(vcpu, KVM_RUN, 0) < 0 ? -errno : 0;
        while (rc == -EAGAIN);
        timer_delete(timer);
    } else {
        rc = -errno;
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    sigaction(SIGRTMIN, &before, NULL);
    return rc;
}

static int64_t thread_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void try_guest(int device, struct kvm_fitness *f)
{
    const char *pvm = access("/sys/module/kvm_pvm", F_OK) == 0 ? " (kvm_pvm)" : "";
    struct probe p;

    if (!probe_open(&p, device)) {
        say(f, KVM_REFUSED, "the host's KVM makes no VM: %s", g_strerror(errno));
        probe_close(&p);
        return;
    }
    int64_t begun = thread_ns();
    int rc = run_bounded(p.vcpu);
    int64_t taken = thread_ns() - begun;
    bool halted = rc == 0 && p.run->exit_reason == KVM_EXIT_HLT;

    if (rc == -EINTR)
        say(f, KVM_REFUSED, "the host's KVM does not get through ten instructions");
    else if (rc < 0)
        say(f, KVM_REFUSED, "the host's KVM runs nothing: %s", g_strerror(-rc));
    else if (!halted && p.run->exit_reason != KVM_EXIT_INTERNAL_ERROR)
        say(f, KVM_REFUSED, "the host's KVM fails a simple guest (exit %u)", p.run->exit_reason);
    else if (halted && taken < SLOW_NS)
        say(f, KVM_FIT, "the host's processor runs guests");
    else
        say(f, KVM_EMULATES,
            "the host's KVM%s emulates privileged code, at %.1f million instructions a second%s",
            pvm, 2e3 * LOOPS / (double)MAX(taken, 1), halted ? "" : " and not all of it");
    probe_close(&p);
}

#else

/* Other ISAs' KVM has no emulator that stands in for the processor: a VM that can be made is one.
 */
static void try_guest(int device, struct kvm_fitness *f)
{
    int vm = ioctl(device, KVM_CREATE_VM, 0);

    if (vm < 0) {
        say(f, KVM_REFUSED, "the host's KVM makes no VM: %s", g_strerror(errno));
        return;
    }
    close(vm);
    say(f, KVM_FIT, "the host's processor runs guests");
}

#endif

void kvm_measure_device(const char *path, struct kvm_fitness *out)
{
    autofd device = open(path, O_RDWR | O_CLOEXEC);

    *out = (struct kvm_fitness){0};
    if (device < 0 && errno == ENOENT) {
        say(out, KVM_ABSENT, "there is no %s", path);
    } else if (device < 0) {
        int error = errno;
        say(out, KVM_REFUSED, "%s: %s%s", path, g_strerror(error),
            error == EACCES ? " (membership of the group kvm gives it on Debian)" : "");
    } else {
        int version = ioctl(device, KVM_GET_API_VERSION, 0);
        if (version != KVM_API_VERSION) {
            say(out, KVM_REFUSED, "%s is no KVM of version %d", path, KVM_API_VERSION);
            return;
        }
        try_guest(device, out);
        if (out->fit == KVM_FIT || out->fit == KVM_EMULATES) {
            out->api_version = version;
            take_limits(device, out);
        }
    }
}

void kvm_measure(struct kvm_fitness *out)
{
    kvm_measure_device("/dev/kvm", out);
}
