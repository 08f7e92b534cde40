/* The lists of a worker: on the CPU, or with a driver of the host. See sandbox.h, base/confine.h. */
#include "gpu/server/sandbox.h"

#include "gpu/server/sandbox_priv.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { SOFT = 1, DRIVER = 2, BOTH = 3 };

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NEW_FLAGS                                                                                  \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

/* Of an ioctl's number: those of sockets, by which a file gets an owner, whom signals go to. */
enum { SOCKETS = 0x8000 };

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

static const struct confine_rule rules[] = {
    /* Descriptors that are there: the window, doorbells, sockets. */
    {"read write readv writev close dup fstat newfstatat lseek poll ppoll eventfd2 sendmsg "
     "recvmsg sendto "
     "recvfrom accept4 accept setsockopt getsockopt shutdown ftruncate memfd_create",
     BOTH},
    SANDBOX_FCNTL(BOTH),
    {"ioctl", SOFT, ENOTTY, {CONFINE_INT(1, TCGETS)}},
    /* Landlock leaves what is named below and nothing else. */
    SANDBOX_OPEN(BOTH),
    {"access readlink", BOTH},
    {"getdents64", BOTH},
    /* Memory, never both writable and executable; a driver brings libraries in when it needs them.
     */
    {"mmap", BOTH, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_EXEC, 0)}},
    {"mmap",
     DRIVER,
     CONFINE_ALLOW,
     {CONFINE_BITS(2, PROT_EXEC | PROT_WRITE, PROT_EXEC), CONFINE_BITS(3, MAP_ANONYMOUS, 0)}},
    {"mprotect", BOTH, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_EXEC, 0)}},
    {"munmap mremap madvise brk membarrier", BOTH},
    /* Threads, and no processes. */
    {"clone", BOTH, CONFINE_ALLOW, {CONFINE_BITS(0, THREAD_FLAGS | NEW_FLAGS, THREAD_FLAGS)}},
    {"clone", BOTH, EPERM, {CONFINE_BITS(0, CLONE_THREAD, 0)}},
    {"fork vfork", BOTH, EPERM},
    {"clone3 io_uring_setup", BOTH, ENOSYS},
    {"exit exit_group futex set_robust_list rseq set_tid_address gettid getpid getppid sched_yield "
     "sched_getaffinity sysinfo getrandom getcpu getuid geteuid getgid getegid sched_getparam "
     "sched_getscheduler uname",
     BOTH},
    {"sched_setaffinity sched_setscheduler", BOTH, CONFINE_ALLOW, {CONFINE_INT(0, 0)}},
    {"prlimit64", BOTH, CONFINE_ALLOW, {CONFINE_INT(0, 0)}},
    {"prctl", BOTH, CONFINE_ALLOW, {CONFINE_INT(0, PR_SET_NAME)}},
    {"prctl", BOTH, CONFINE_ALLOW, {CONFINE_INT(0, PR_GET_NAME)}},
    {"prctl", BOTH, EINVAL, {CONFINE_INT(0, PR_SET_VMA)}},
    {"tgkill", BOTH, CONFINE_ALLOW, {{CONFINE_SELF, 0}}},
    {"rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall", BOTH},
    /* What NVIDIA's driver asks of the kernel besides: its devices, and where the host's memory is.
     */
    {"ioctl", DRIVER, CONFINE_ALLOW, {CONFINE_BITS(1, SOCKETS, 0)}},
    {"stat lstat statx statfs fstatfs access faccessat faccessat2 readlinkat pread64 pwrite64 "
     "pipe2 "
     "flock fadvise64 mincore mlock munlock msync mbind get_mempolicy set_mempolicy "
     "sched_get_priority_max sched_get_priority_min getpriority times getrusage epoll_create1 "
     "epoll_ctl epoll_wait epoll_pwait timerfd_create timerfd_settime",
     DRIVER},
    {"nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time", BOTH},
};

static bool give_up_dumps(GError **err)
{
    const struct rlimit none = {0, 0};

    return setrlimit(RLIMIT_CORE, &none) == 0 || vmd_set_errno(err, errno, "giving up core dumps");
}

bool sandbox_gpu(GError **err)
{
    static const struct confine_path paths[] = {{"/sys/devices/system/cpu", CONFINE_READ},
                                                {"/proc/meminfo", CONFINE_READ}};

    return give_up_dumps(err) && confine_files(paths, G_N_ELEMENTS(paths), err) &&
           confine_calls(rules, G_N_ELEMENTS(rules), SOFT, false, err);
}

/* The devices of the driver: those with a number, and those with a name. */
static GArray *driver_paths(GPtrArray *names)
{
    static const struct confine_path fixed[] = {
        {"/sys/devices", CONFINE_READ},
        {"/sys/bus/pci", CONFINE_READ},
        {"/sys/class", CONFINE_READ},
        {"/sys/module", CONFINE_READ},
        {"/proc/driver", CONFINE_READ},
        {"/proc/self", CONFINE_READ},
        {"/proc/devices", CONFINE_READ},
        {"/proc/cpuinfo", CONFINE_READ},
        {"/proc/meminfo", CONFINE_READ},
        {"/proc/modules", CONFINE_READ},
        {"/proc/sys/vm", CONFINE_READ},
        {"/usr/lib", CONFINE_READ},
        {"/usr/lib64", CONFINE_READ},
        {"/usr/local", CONFINE_READ},
        {"/lib", CONFINE_READ},
        {"/lib64", CONFINE_READ},
        {"/etc/ld.so.cache", CONFINE_READ},
        {"/etc/nvidia", CONFINE_READ},
        {"/opt", CONFINE_READ},
        {"/dev/shm", CONFINE_READ},
        {"/dev/null", CONFINE_READ | CONFINE_WRITE},
        {"/dev/zero", CONFINE_READ | CONFINE_WRITE},
        {"/dev/urandom", CONFINE_READ},
        {"/dev/nvidia-caps", CONFINE_READ | CONFINE_WRITE},
        {"/dev/kfd", CONFINE_READ | CONFINE_WRITE},
        {"/dev/dri", CONFINE_READ | CONFINE_WRITE},
    };
    GArray *paths = g_array_new(FALSE, FALSE, sizeof(struct confine_path));
    struct dirent *entry;
    DIR *dev = opendir("/dev");

    g_array_append_vals(paths, fixed, G_N_ELEMENTS(fixed));
    while (dev && (entry = readdir(dev))) {
        if (strncmp(entry->d_name, "nvidia", 6) != 0)
            continue;
        g_ptr_array_add(names, g_strconcat("/dev/", entry->d_name, NULL));
        const struct confine_path path = {g_ptr_array_index(names, names->len - 1),
                                          CONFINE_READ | CONFINE_WRITE};
        g_array_append_val(paths, path);
    }
    if (dev)
        closedir(dev);
    return paths;
}

bool sandbox_gpu_driver(GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) paths = driver_paths(names);

    return give_up_dumps(err) &&
           confine_files((const struct confine_path *)(void *)paths->data, paths->len, err) &&
           confine_calls(rules, G_N_ELEMENTS(rules), DRIVER, false, err);
}
