/* The list of a worker on the CPU. See sandbox.h, base/confine.h. */
#include "gpu/server/sandbox.h"

#include "base/confine.h"

#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { RUN = 1 };

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NEW_FLAGS                                                                                  \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

static const struct confine_rule rules[] = {
    /* Descriptors that are there: the window, doorbells, sockets. */
    {"read write readv writev close dup fstat newfstatat lseek fcntl poll ppoll eventfd2 sendmsg "
     "recvmsg sendto "
     "recvfrom accept4 accept setsockopt getsockopt shutdown ftruncate memfd_create",
     RUN},
    {"ioctl", RUN, ENOTTY, {CONFINE_INT(1, TCGETS)}},
    {"openat open access readlink",
     RUN}, /* Landlock leaves the processors' number and nothing else */
    {"getdents64", RUN},
    /* Memory, never both writable and executable. */
    {"mmap", RUN, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_EXEC, 0)}},
    {"mprotect", RUN, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_EXEC, 0)}},
    {"munmap mremap madvise brk membarrier", RUN},
    /* Threads, and no processes. */
    {"clone", RUN, CONFINE_ALLOW, {CONFINE_BITS(0, THREAD_FLAGS | NEW_FLAGS, THREAD_FLAGS)}},
    {"clone", RUN, EPERM, {CONFINE_BITS(0, CLONE_THREAD, 0)}},
    {"fork vfork", RUN, EPERM},
    {"clone3 io_uring_setup", RUN, ENOSYS},
    {"exit exit_group futex set_robust_list rseq set_tid_address gettid getpid getppid sched_yield "
     "sched_getaffinity sysinfo getrandom getcpu getuid geteuid getgid getegid sched_getparam "
     "sched_getscheduler uname",
     RUN},
    {"sched_setaffinity sched_setscheduler", RUN, CONFINE_ALLOW, {CONFINE_INT(0, 0)}},
    {"prlimit64", RUN, CONFINE_ALLOW, {CONFINE_INT(0, 0)}},
    {"prctl", RUN, CONFINE_ALLOW, {CONFINE_INT(0, PR_SET_NAME)}},
    {"prctl", RUN, CONFINE_ALLOW, {CONFINE_INT(0, PR_GET_NAME)}},
    {"prctl", RUN, EINVAL, {CONFINE_INT(0, PR_SET_VMA)}},
    {"tgkill", RUN, CONFINE_ALLOW, {{CONFINE_SELF, 0}}},
    {"rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall", RUN},
    {"nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time", RUN},
};

bool sandbox_gpu(GError **err)
{
    static const struct confine_path paths[] = {{"/sys/devices/system/cpu", CONFINE_READ},
                                                {"/proc/meminfo", CONFINE_READ}};
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return vmd_set_errno(err, errno, "giving up core dumps");
    return confine_files(paths, G_N_ELEMENTS(paths), err) &&
           confine_calls(rules, G_N_ELEMENTS(rules), RUN, false, err);
}
