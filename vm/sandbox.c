/* The lists of a VM process. See sandbox.h. */
#include "vm/sandbox.h"

#include "base/confine.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/sockios.h>
#include <linux/vfio.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Until the machine is built; from then on; with user networking; with KVM; with functions of the host. */
enum { START = 1 << 0, RUN = 1 << 1, NET = 1 << 2, KVM = 1 << 3, HOST = 1 << 4 };

#define ALWAYS (START | RUN)

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NEW_FLAGS                                                                                  \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)
#define SOCKET_TYPE 0xf /* without SOCK_CLOEXEC and its like */

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 /* the C library names its mappings */
#endif

/* Memory is writable or executable, never both. */
#define MEMORY(call)                                                                               \
    {call, ALWAYS, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_WRITE | PROT_EXEC, 0)}},                   \
        {call, ALWAYS, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_WRITE | PROT_EXEC, PROT_WRITE)}},      \
        {call, ALWAYS, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_WRITE | PROT_EXEC, PROT_EXEC)}}

#define IOCTL(phases, request) {"ioctl", phases, CONFINE_ALLOW, {CONFINE_INT(1, request)}}
#define PRCTL(phases, option)  {"prctl", phases, CONFINE_ALLOW, {CONFINE_INT(0, option)}}
#define SOCKET(phases, family, type)                                                               \
    {"socket", phases, CONFINE_ALLOW, {CONFINE_INT(0, family), CONFINE_BITS(1, SOCKET_TYPE, type)}}

static const struct confine_rule rules[] = {
    /* Files. Landlock says which; modes, owners and links of files are nobody's business here. */
    {"read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat close "
     "close_range dup dup2 dup3 pipe pipe2 lseek fstat stat lstat newfstatat statx fstatfs statfs "
     "access faccessat faccessat2 readlink readlinkat getdents64 getcwd fcntl ftruncate fallocate "
     "fsync fdatasync sync_file_range fadvise64 rename renameat renameat2 unlink unlinkat umask "
     "fchmod",
     ALWAYS},
    {"chmod fchmodat mkdir mkdirat", START},
    IOCTL(ALWAYS, FIONBIO),
    IOCTL(ALWAYS, FIONREAD),
    IOCTL(ALWAYS, FIOCLEX),
    IOCTL(ALWAYS, BLKDISCARD),
    IOCTL(ALWAYS, BLKGETSIZE64),
    IOCTL(START, BLKPBSZGET),
    {"ioctl", ALWAYS, ENOTTY, {CONFINE_INT(1, TCGETS)}}, /* stdio asks whether it is a terminal */

    /* Memory. */
    MEMORY("mmap"),
    MEMORY("mprotect"),
    {"munmap mremap madvise brk msync mlock munlock memfd_create membarrier mincore", ALWAYS},

    /* Threads, and no processes: see base/confine.h for what is refused in silence. */
    {"clone", ALWAYS, CONFINE_ALLOW, {CONFINE_BITS(0, THREAD_FLAGS | NEW_FLAGS, THREAD_FLAGS)}},
    {"clone", ALWAYS, EPERM, {CONFINE_BITS(0, CLONE_THREAD, 0)}},
    {"fork vfork", ALWAYS, EPERM},
    {"clone3 io_uring_setup", ALWAYS, ENOSYS},
    {"exit exit_group futex futex_waitv set_robust_list get_robust_list rseq set_tid_address gettid "
     "getpid getppid getuid geteuid getgid getegid getgroups sched_yield sched_getparam "
     "sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority getrusage times "
     "sysinfo uname getrandom getcpu getrlimit sched_getaffinity",
     ALWAYS},
    {"sched_setaffinity sched_setscheduler", ALWAYS, CONFINE_ALLOW, {CONFINE_INT(0, 0)}},
    {"prlimit64", ALWAYS, CONFINE_ALLOW, {CONFINE_INT(0, 0)}},
    {"prlimit64", ALWAYS, CONFINE_ALLOW, {{CONFINE_SELF, 0}}},
    PRCTL(ALWAYS, PR_SET_NAME),
    PRCTL(ALWAYS, PR_GET_NAME),
    {"prctl", ALWAYS, EINVAL, {CONFINE_INT(0, PR_SET_VMA)}},
    PRCTL(START, PR_SET_NO_NEW_PRIVS),
    PRCTL(START, PR_SET_SECCOMP),
    PRCTL(START, PR_GET_SECCOMP),
    {"setrlimit seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self", START},

    /* Signals: to this process alone. */
    {"kill tgkill rt_tgsigqueueinfo", ALWAYS, CONFINE_ALLOW, {{CONFINE_SELF, 0}}},
    {"rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait rt_sigsuspend rt_sigpending "
     "sigaltstack restart_syscall",
     ALWAYS},

    /* Time. */
    {"nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time timer_create "
     "timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime "
     "timerfd_gettime",
     ALWAYS},

    /* The loop. */
    {"poll ppoll select pselect6 epoll_create1 epoll_create epoll_ctl epoll_wait epoll_pwait "
     "epoll_pwait2 eventfd2 eventfd signalfd4",
     ALWAYS},

    /* Sockets that are there: consoles' pairs, vmd's connections. */
    {"accept accept4 getsockname getpeername getsockopt setsockopt shutdown sendto recvfrom sendmsg "
     "recvmsg sendmmsg recvmmsg",
     ALWAYS},
    {"socketpair", ALWAYS, CONFINE_ALLOW,
     {CONFINE_INT(0, AF_UNIX), CONFINE_BITS(1, SOCKET_TYPE, SOCK_STREAM)}},
    /* To be made while the machine is built: to listen for vmd, to ask vmd-helper, to find a tap. */
    SOCKET(START, AF_UNIX, SOCK_STREAM),
    SOCKET(START, AF_UNIX, SOCK_SEQPACKET),
    SOCKET(START, AF_UNIX, SOCK_DGRAM),
    IOCTL(START, SIOCGIFINDEX),
    IOCTL(START, TUNSETIFF),
    IOCTL(ALWAYS, TUNGETIFF),
    IOCTL(ALWAYS, TUNSETVNETHDRSZ),
    IOCTL(ALWAYS, TUNSETOFFLOAD),
    /* And what slirp makes for its guest; a ping socket that the host does not give is tried raw. */
    SOCKET(START | NET, AF_INET, SOCK_STREAM),
    SOCKET(START | NET, AF_INET, SOCK_DGRAM),
    SOCKET(START | NET, AF_INET6, SOCK_STREAM),
    SOCKET(START | NET, AF_INET6, SOCK_DGRAM),
    {"socket", START | NET, EPERM,
     {CONFINE_INT(0, AF_INET), CONFINE_BITS(1, SOCKET_TYPE, SOCK_RAW)}},
    {"socket", START | NET, EPERM,
     {CONFINE_INT(0, AF_INET6), CONFINE_BITS(1, SOCKET_TYPE, SOCK_RAW)}},
    {"bind listen connect", START | NET},

    /* VFIO: a container, groups, and devices that come and go. */
    IOCTL(START | HOST, VFIO_GET_API_VERSION),
    IOCTL(START | HOST, VFIO_CHECK_EXTENSION),
    IOCTL(START | HOST, VFIO_SET_IOMMU),
    IOCTL(START | HOST, VFIO_IOMMU_MAP_DMA), /* the number of VFIO_DEVICE_PCI_HOT_RESET as well */
    IOCTL(START | HOST, VFIO_IOMMU_UNMAP_DMA),
    IOCTL(START | HOST, VFIO_GROUP_GET_STATUS),
    IOCTL(START | HOST, VFIO_GROUP_SET_CONTAINER),
    IOCTL(START | HOST, VFIO_GROUP_UNSET_CONTAINER),
    IOCTL(START | HOST, VFIO_GROUP_GET_DEVICE_FD),
    IOCTL(START | HOST, VFIO_DEVICE_GET_INFO),
    IOCTL(START | HOST, VFIO_DEVICE_GET_REGION_INFO),
    IOCTL(START | HOST, VFIO_DEVICE_GET_IRQ_INFO),
    IOCTL(START | HOST, VFIO_DEVICE_SET_IRQS),
    IOCTL(START | HOST, VFIO_DEVICE_RESET),
    IOCTL(START | HOST, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO),

    /* KVM: to look at it and to make a VM, */
    IOCTL(START, KVM_GET_API_VERSION),
    IOCTL(START, KVM_CHECK_EXTENSION),
    IOCTL(START, KVM_GET_VCPU_MMAP_SIZE),
    IOCTL(START, KVM_CREATE_VM),
    IOCTL(START, KVM_CREATE_VCPU),
    IOCTL(START, KVM_ENABLE_CAP),
    IOCTL(START, KVM_GET_STATS_FD),
    /* and to run it. */
    IOCTL(START | KVM, KVM_RUN),
    IOCTL(START | KVM, KVM_SET_USER_MEMORY_REGION),
    IOCTL(START | KVM, KVM_IOEVENTFD),
    IOCTL(START | KVM, KVM_GET_DIRTY_LOG),
    IOCTL(START | KVM, KVM_RESET_DIRTY_RINGS),
    IOCTL(START | KVM, KVM_IRQ_LINE),
    IOCTL(START | KVM, KVM_IRQFD),
    IOCTL(START | KVM, KVM_SIGNAL_MSI),
    IOCTL(START | KVM, KVM_SET_GSI_ROUTING),
    IOCTL(START | KVM, KVM_GET_MP_STATE),
    IOCTL(START | KVM, KVM_SET_MP_STATE),
#ifdef __x86_64__
    IOCTL(START, KVM_GET_SREGS),
    IOCTL(START, KVM_SET_SREGS),
    IOCTL(START, KVM_GET_SUPPORTED_CPUID),
    IOCTL(START, KVM_SET_CPUID2),
    IOCTL(START, KVM_GET_MSR_INDEX_LIST),
    IOCTL(START, KVM_GET_MSR_FEATURE_INDEX_LIST),
    IOCTL(START, KVM_SET_TSS_ADDR),
    IOCTL(START, KVM_SET_IDENTITY_MAP_ADDR),
    IOCTL(START, KVM_CREATE_IRQCHIP),
    IOCTL(START, KVM_CREATE_PIT2),
    IOCTL(START | KVM, KVM_SET_GUEST_DEBUG),
    IOCTL(START | KVM, KVM_GET_REGS),
    IOCTL(START | KVM, KVM_SET_REGS),
    IOCTL(START | KVM, KVM_GET_VCPU_EVENTS),
    IOCTL(START | KVM, KVM_SET_VCPU_EVENTS),
    IOCTL(START | KVM, KVM_TRANSLATE),
    IOCTL(START | KVM, KVM_GET_SREGS2),
    IOCTL(START | KVM, KVM_SET_SREGS2),
    IOCTL(START | KVM, KVM_GET_XSAVE),
    IOCTL(START | KVM, KVM_SET_XSAVE),
    IOCTL(START | KVM, KVM_GET_XCRS),
    IOCTL(START | KVM, KVM_SET_XCRS),
    IOCTL(START | KVM, KVM_GET_DEBUGREGS),
    IOCTL(START | KVM, KVM_SET_DEBUGREGS),
    IOCTL(START | KVM, KVM_GET_MSRS),
    IOCTL(START | KVM, KVM_SET_MSRS),
    IOCTL(START | KVM, KVM_GET_LAPIC),
    IOCTL(START | KVM, KVM_SET_LAPIC),
    IOCTL(START | KVM, KVM_GET_IRQCHIP),
    IOCTL(START | KVM, KVM_SET_IRQCHIP),
    IOCTL(START | KVM, KVM_GET_PIT2),
    IOCTL(START | KVM, KVM_SET_PIT2),
    IOCTL(START | KVM, KVM_GET_CLOCK),
    IOCTL(START | KVM, KVM_SET_CLOCK),
    IOCTL(START | KVM, KVM_GET_TSC_KHZ),
    IOCTL(START | KVM, KVM_KVMCLOCK_CTRL),
    IOCTL(START | KVM, KVM_GET_DEVICE_ATTR),
    IOCTL(START | KVM, KVM_SET_DEVICE_ATTR),
#else
    IOCTL(START, KVM_CREATE_DEVICE),
    IOCTL(START | KVM, KVM_GET_REG_LIST),
    IOCTL(START | KVM, KVM_GET_ONE_REG),
    IOCTL(START | KVM, KVM_SET_ONE_REG),
    IOCTL(START | KVM, KVM_GET_DEVICE_ATTR),
    IOCTL(START | KVM, KVM_SET_DEVICE_ATTR),
#endif
#ifdef __aarch64__
    IOCTL(START, KVM_ARM_PREFERRED_TARGET),
    IOCTL(START | KVM, KVM_ARM_VCPU_INIT),
#endif
#ifdef __riscv
    IOCTL(START | KVM, KVM_INTERRUPT),
#endif
};

bool sandbox_enter(GError **err)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return vmd_set_errno(err, errno, "giving up core dumps");
    return confine_calls(rules, G_N_ELEMENTS(rules), START, false, err);
}

bool sandbox_run(const struct sandbox_have *have, GError **err)
{
    unsigned phases = RUN | (have->user_net ? NET : 0) | (have->kvm ? KVM : 0) |
                      (have->host ? HOST : 0);

    return confine_calls(rules, G_N_ELEMENTS(rules), phases, false, err);
}

/* --- files ------------------------------------------------------------------------------------ */

struct sandbox_files {
    GArray *rows; /* struct confine_path, whose paths are ours */
};

static void path_clear(void *p)
{
    g_free((char *)((struct confine_path *)p)->path);
}

struct sandbox_files *sandbox_files_new(void)
{
    struct sandbox_files *files = g_new0(struct sandbox_files, 1);

    files->rows = g_array_new(FALSE, FALSE, sizeof(struct confine_path));
    g_array_set_clear_func(files->rows, path_clear);
    return files;
}

void sandbox_files_free(struct sandbox_files *files)
{
    if (!files)
        return;
    g_array_free(files->rows, TRUE);
    g_free(files);
}

void sandbox_files_add(struct sandbox_files *files, const char *path, enum sandbox_use use)
{
    static const unsigned access[] = {
        [SANDBOX_READ] = CONFINE_READ,
        [SANDBOX_CHANGE] = CONFINE_READ | CONFINE_WRITE,
        [SANDBOX_FOLDER] = CONFINE_READ | CONFINE_WRITE | CONFINE_MAKE,
    };
    struct confine_path row = {.path = g_strdup(path), .access = access[use]};

    if (path)
        g_array_append_val(files->rows, row);
}

void sandbox_files_add_resolver(struct sandbox_files *files)
{
    static const char link[] = "/etc/resolv.conf";
    g_autofree char *real = realpath(link, NULL);
    g_autofree char *folder = real ? g_path_get_dirname(real) : NULL;

    sandbox_files_add(files, link, SANDBOX_READ);
    /* A resolver that keeps the file in a folder of its own replaces it there now and then. */
    if (folder && strcmp(folder, "/etc") != 0 && g_str_has_prefix(folder, "/run/"))
        sandbox_files_add(files, folder, SANDBOX_READ);
}

bool sandbox_confine_files(const struct sandbox_files *files, GError **err)
{
    return confine_files((const struct confine_path *)files->rows->data, files->rows->len, err);
}
