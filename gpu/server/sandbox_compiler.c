/*
 * The lists of a process that compiles a guest's source. See sandbox.h, base/confine.h.
 *
 * What it may read its guest may know of: a source includes it, and has it in what comes of it. So
 * of /opt it is ROCm alone. Modes and times of files are no business of Landlock's: all calls that
 * change them are refused.
 */
#include "gpu/server/sandbox.h"

#include "gpu/server/sandbox_priv.h"

#include <errno.h>
#include <glob.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { COMPILER = 1 };

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NEW_FLAGS                                                                                  \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

static const struct confine_rule rules[] = {
    {"read write readv writev pread64 pwrite64 close dup dup2 dup3 lseek ftruncate poll ppoll "
     "fsync fdatasync copy_file_range sendfile pipe pipe2 flock fadvise64 "
     "fstat newfstatat stat lstat statx statfs fstatfs access faccessat faccessat2 readlink "
     "readlinkat getcwd getdents64",
     COMPILER},
    SANDBOX_FCNTL(COMPILER),
    {"ioctl", COMPILER, ENOTTY},
    /* Landlock leaves what is named below and nothing else. */
    SANDBOX_OPEN(COMPILER),
    {"rename renameat renameat2 rmdir unlink unlinkat", COMPILER},
    /* Folders that the process that removes them can list. */
    {"mkdir", COMPILER, CONFINE_ALLOW, {CONFINE_BITS(1, S_IRWXU, S_IRWXU)}},
    {"mkdirat", COMPILER, CONFINE_ALLOW, {CONFINE_BITS(2, S_IRWXU, S_IRWXU)}},
    {"umask", COMPILER, CONFINE_ALLOW, {CONFINE_BITS(0, S_IRWXU, 0)}},
    {"fallocate", COMPILER, EOPNOTSUPP},
    {"chmod fchmod fchmodat fchmodat2 utimensat utime utimes futimesat", COMPILER, EPERM},
    /* Memory, never both writable and executable; libraries bring others along. */
    {"mmap", COMPILER, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_EXEC, 0)}},
    {"mmap",
     COMPILER,
     CONFINE_ALLOW,
     {CONFINE_BITS(2, PROT_EXEC | PROT_WRITE, PROT_EXEC), CONFINE_BITS(3, MAP_ANONYMOUS, 0)}},
    {"mprotect", COMPILER, CONFINE_ALLOW, {CONFINE_BITS(2, PROT_EXEC, 0)}},
    {"munmap mremap madvise mincore brk membarrier", COMPILER},
    /* Threads, and no processes. */
    {"clone", COMPILER, CONFINE_ALLOW, {CONFINE_BITS(0, THREAD_FLAGS | NEW_FLAGS, THREAD_FLAGS)}},
    {"clone", COMPILER, EPERM, {CONFINE_BITS(0, CLONE_THREAD, 0)}},
    {"fork vfork execve execveat", COMPILER, EPERM},
    {"clone3 io_uring_setup", COMPILER, ENOSYS},
    {"exit exit_group futex set_robust_list rseq set_tid_address gettid getpid getppid sched_yield "
     "sched_getaffinity sysinfo getrandom getcpu getuid geteuid getgid getegid sched_getparam "
     "sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority times getrusage "
     "getrlimit uname",
     COMPILER},
    /* What it may take was told it for good. */
    {"prlimit64", COMPILER, CONFINE_ALLOW, {CONFINE_INT(0, 0), {CONFINE_IS, 2, UINT64_MAX, 0}}},
    {"prlimit64", COMPILER, EPERM, {{CONFINE_FROM, 2, 0, 1}}},
    {"setrlimit", COMPILER, EPERM},
    {"prctl", COMPILER, CONFINE_ALLOW, {CONFINE_INT(0, PR_SET_NAME)}},
    {"prctl", COMPILER, CONFINE_ALLOW, {CONFINE_INT(0, PR_GET_NAME)}},
    {"tgkill", COMPILER, CONFINE_ALLOW, {{CONFINE_SELF, 0}}},
    {"rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall", COMPILER},
    {"nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time", COMPILER},
};

static void add_path(GArray *paths, const char *path, unsigned access)
{
    const struct confine_path p = {path, access};

    g_array_append_val(paths, p);
}

/* ROCm is one or more folders of /opt, which its library may be in. */
static void add_rocm(GArray *paths, glob_t *found)
{
    if (glob("/opt/rocm*", GLOB_NOSORT, NULL, found) != 0)
        return;
    for (size_t i = 0; i < found->gl_pathc; i++)
        add_path(paths, found->gl_pathv[i], CONFINE_READ);
}

static bool confine_paths(const char *folder, const char *library, GError **err)
{
    static const char *const read[] = {"/usr/lib",      "/usr/lib64",    "/usr/include",
                                       "/lib",          "/lib64",        "/etc/ld.so.cache",
                                       "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
                                       "/dev/urandom"};
    g_autoptr(GArray) paths = g_array_new(FALSE, FALSE, sizeof(struct confine_path));
    glob_t found = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(read); i++)
        add_path(paths, read[i], CONFINE_READ);
    add_path(paths, "/dev/null", CONFINE_READ | CONFINE_WRITE);
    add_path(paths, library, CONFINE_READ);
    add_path(paths, folder, CONFINE_READ | CONFINE_WRITE | CONFINE_MAKE | CONFINE_FOLDERS);
    add_rocm(paths, &found);
    bool ok = confine_files((const struct confine_path *)(void *)paths->data, paths->len, err);
    globfree(&found);
    return ok;
}

bool sandbox_compiler(const char *folder, const char *library, GError **err)
{
    if (!confine_has_files())
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "this host's kernel has no Landlock, without which a guest's source could "
                        "include any file of the host");
    return confine_paths(folder, library, err) &&
           confine_calls(rules, G_N_ELEMENTS(rules), COMPILER, false, err);
}
