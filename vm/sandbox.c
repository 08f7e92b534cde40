/* No-new-privileges, a list of system calls, Landlock. See sandbox.h. */
#include "vm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Names the kernel does not know here are passed over; the others fail with EPERM. */
static const char *const allowed[] = {
    /* files and descriptors */
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
    "pwritev2", "open", "openat", "openat2", "close", "close_range", "dup", "dup2", "dup3", "pipe",
    "pipe2", "lseek", "fstat", "stat", "lstat", "newfstatat", "statx", "fstatfs", "statfs", "access",
    "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "getcwd", "fcntl", "flock",
    "ftruncate", "truncate", "fallocate", "fsync", "fdatasync", "sync_file_range", "fadvise64",
    "copy_file_range", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat",
    "umask", "fchmod", "chmod", "fchmodat", "utimensat", "ioctl", "splice", "sendfile",
    /* memory */
    "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "msync", "mlock", "munlock",
    "memfd_create", "membarrier", "pkey_mprotect", "mincore",
    /* threads, time and signals */
    "clone", "clone3", "exit", "exit_group", "futex", "futex_waitv", "set_robust_list",
    "get_robust_list", "rseq", "set_tid_address", "gettid", "getpid", "getppid", "getuid", "geteuid",
    "getgid", "getegid", "getgroups", "tgkill", "tkill", "kill", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "rt_sigtimedwait", "rt_sigsuspend", "rt_sigpending", "sigaltstack",
    "restart_syscall", "sched_yield", "sched_getaffinity", "sched_setaffinity",
    "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min",
    "sched_setscheduler", "getpriority", "setpriority", "nanosleep",
    "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "timer_create",
    "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "getitimer", "setitimer", "alarm", "getrusage", "times",
    "prctl", "arch_prctl", "prlimit64", "getrlimit", "sysinfo", "uname", "getrandom", "getcpu",
    /* the loop and sockets */
    "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_create", "epoll_ctl",
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "eventfd", "signalfd4",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "socket", "socketpair", "bind",
    "listen", "accept", "accept4", "connect", "getsockname", "getpeername", "getsockopt",
    "setsockopt", "shutdown", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
    /* giving up more */
    "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp",
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    /* the leak check of a sanitizer forks a tracer */
    "personality", "ptrace", "wait4", "process_vm_readv",
#endif
};

static bool filter_calls(GError **err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = ctx ? 0 : -ENOMEM;

    if (!rc)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!rc)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; !rc && i < G_N_ELEMENTS(allowed); i++) {
        int call = seccomp_syscall_resolve_name(allowed[i]);
        if (call == __NR_SCMP_ERROR)
            continue;
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 0);
        if (rc == -EDOM || rc == -EINVAL)
            rc = 0; /* not a call of this architecture */
    }
    if (!rc)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc == 0 || vmd_set_errno(err, -rc, "limiting the system calls of the VM process");
}

bool sandbox_enter(GError **err)
{
    const struct rlimit none = {0, 0};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return vmd_set_errno(err, errno, "giving up new privileges");
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return vmd_set_errno(err, errno, "giving up core dumps");
    return filter_calls(err);
}

/* --- Landlock --------------------------------------------------------------------------------- */

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

static const uint64_t DIR_WRITES =
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

static bool allow_below(int ruleset, const char *path, uint64_t file_writes, GError **err)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = file_writes};
    struct stat st;
    autofd fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT || vmd_set_errno(err, errno, "opening %s", path);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        rule.allowed_access |= DIR_WRITES;
    rule.parent_fd = fd;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return vmd_set_errno(err, errno, "confining the VM process to %s", path);
    return true;
}

bool sandbox_confine_writes(const char *const *paths, size_t n, GError **err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    uint64_t file_writes = LANDLOCK_ACCESS_FS_WRITE_FILE;
    struct landlock_ruleset_attr attr;

    if (abi < 1)
        return true;
    if (abi >= 3)
        file_writes |= LANDLOCK_ACCESS_FS_TRUNCATE;
    attr = (struct landlock_ruleset_attr){.handled_access_fs = DIR_WRITES | file_writes};
    autofd ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0)
        return vmd_set_errno(err, errno, "making a Landlock ruleset");
    for (size_t i = 0; i < n; i++) {
        if (!allow_below(ruleset, paths[i], file_writes, err))
            return false;
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return vmd_set_errno(err, errno, "confining the VM process");
    return true;
}
