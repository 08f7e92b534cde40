/*
 * The sandbox of a VM process, of vmd and their lists: a child enters it and tries what a process that
 * was taken over would try, and what an honest one needs.
 */
#include "base/confine.h"
#include "base/log.h"
#include "daemon/confine.h"
#include "tests/unit/unit.h"
#include "vm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

/* Where a child tries things: a VM's folder, its disk, and what is another's. */
static struct {
    char *top, *folder, *disk, *image, *other;
} place;

/* --- attempts: 0, or the errno -------------------------------------------------------------------- */

static int result_of(long rc)
{
    return rc < 0 ? errno : 0;
}

static int end_child(pid_t pid)
{
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return result_of(pid);
}

static int try_fork(void)
{
    return end_child(fork());
}

static int try_raw_clone(void)
{
    return end_child((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int try_clone3(void)
{
    struct {
        uint64_t flags, rest[10];
    } args = {.flags = CLONE_NEWUSER};

    return end_child((pid_t)syscall(SYS_clone3, &args, sizeof(args)));
}

static int try_exec(void)
{
    return result_of(execl("/bin/true", "true", NULL));
}

static int try_kill_init(void)
{
    return result_of(kill(1, 0));
}

static int try_kill_parent(void)
{
    return result_of(kill(getppid(), 0));
}

static int try_kill_group(void)
{
    return result_of(kill(0, 0));
}

static int try_kill_self(void)
{
    return result_of(kill(getpid(), 0));
}

static int try_tgkill_parent(void)
{
    return result_of(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int queue_to(pid_t pid)
{
    siginfo_t info = {.si_signo = SIGURG, .si_code = SI_QUEUE};

    return result_of((int)syscall(SYS_rt_tgsigqueueinfo, pid, pid, SIGURG, &info));
}

static int try_queue_parent(void)
{
    return queue_to(getppid());
}

static int try_queue_self(void)
{
    return queue_to(getpid());
}

static int try_raise(void)
{
    signal(SIGUSR1, SIG_IGN);
    return raise(SIGUSR1);
}

static int try_ptrace(void)
{
    return result_of(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int try_vm_read(void)
{
    return result_of(syscall(SYS_process_vm_writev, getppid(), NULL, 0, NULL, 0, 0));
}

static int try_mount(void)
{
    return result_of(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int try_unshare(void)
{
    return result_of(unshare(CLONE_NEWUSER));
}

static int try_bpf(void)
{
    return result_of(syscall(SYS_bpf, 0, NULL, 0));
}

static int try_io_uring(void)
{
    char params[128] = {0};

    return result_of(syscall(SYS_io_uring_setup, 4, params));
}

static int try_handle(void)
{
    return result_of(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, O_RDONLY));
}

static int try_keys(void)
{
    return result_of(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}

static int try_other_limits(void)
{
    struct rlimit limit;

    return result_of(prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit));
}

static int try_limits(void)
{
    struct rlimit limit;

    return result_of(getrlimit(RLIMIT_NOFILE, &limit));
}

static int try_dumpable(void)
{
    return result_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int try_thread_name(void)
{
    return result_of(prctl(PR_SET_NAME, "tried", 0, 0, 0));
}

static int try_terminal_input(void)
{
    return result_of(ioctl(0, TIOCSTI, "x"));
}

static int try_nonblocking(void)
{
    int on = 0;

    return result_of(ioctl(0, FIONBIO, &on));
}

static int socket_of(int family, int type)
{
    autofd fd = socket(family, type, 0);

    return result_of(fd);
}

static int try_packet(void)
{
    return socket_of(AF_PACKET, SOCK_DGRAM);
}

static int try_netlink(void)
{
    return socket_of(AF_NETLINK, SOCK_RAW);
}

/* The kernel's news of devices. */
static int try_uevents(void)
{
    struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = 1};
    autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

    return fd < 0 ? errno : result_of(bind(fd, (struct sockaddr *)&at, sizeof(at)));
}

static int netlink_of(int protocol)
{
    autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

    return fd < 0 ? errno : 0;
}

static int try_netlink_audit(void)
{
    return netlink_of(NETLINK_AUDIT);
}

static int try_netlink_generic(void)
{
    return netlink_of(NETLINK_GENERIC);
}

static int try_netlink_usersock(void)
{
    return netlink_of(NETLINK_USERSOCK);
}

/* What is known of a device of the host. */
static int try_host_devices(void)
{
    autofd fd = open("/sys/class/net/lo/type", O_RDONLY | O_CLOEXEC);

    return fd < 0 ? errno : 0;
}

static int try_vsock(void)
{
    return socket_of(AF_VSOCK, SOCK_STREAM);
}

static int try_unix(void)
{
    return socket_of(AF_UNIX, SOCK_STREAM);
}

static int try_inet(void)
{
    return socket_of(AF_INET, SOCK_STREAM);
}

static int try_inet6(void)
{
    return socket_of(AF_INET6, SOCK_DGRAM);
}

static int try_raw(void)
{
    return socket_of(AF_INET, SOCK_RAW);
}

static int try_pair(void)
{
    int pair[2];

    return result_of(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
}

/* A pair of datagram sockets could send to any other. */
static int try_datagram_pair(void)
{
    int pair[2];

    return result_of(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
}

static int map_with(int protection)
{
    void *at = mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? errno : 0;
}

static int try_map_both(void)
{
    return map_with(PROT_READ | PROT_WRITE | PROT_EXEC);
}

static int try_map_code(void)
{
    return map_with(PROT_READ | PROT_EXEC);
}

static int open_for(const char *path, int flags)
{
    autofd fd = open(path, flags | O_CLOEXEC, 0600);

    return result_of(fd);
}

static int try_passwd(void)
{
    return open_for("/etc/passwd", O_RDONLY);
}

static int try_root_folder(void)
{
    return open_for("/", O_RDONLY | O_DIRECTORY);
}

static int try_environment(void)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/environ", (int)getppid());

    return open_for(path, O_RDONLY);
}

static int try_own_disk(void)
{
    return open_for(place.disk, O_RDWR);
}

static int try_image(void)
{
    return open_for(place.image, O_RDONLY);
}

static int try_write_image(void)
{
    return open_for(place.image, O_WRONLY);
}

static int try_other_disk(void)
{
    return open_for(place.other, O_RDONLY);
}

static int try_rename_out(void)
{
    g_autofree char *to = g_build_filename(place.top, "stolen", NULL);
    g_autofree char *from = g_build_filename(place.folder, "note", NULL);

    return result_of(rename(from, to));
}

static int try_own_file(void)
{
    g_autofree char *path = g_build_filename(place.folder, "made", NULL);
    g_autofree char *to = g_build_filename(place.folder, "renamed", NULL);
    int rc = open_for(path, O_RDWR | O_CREAT);

    if (!rc)
        rc = result_of(rename(path, to));
    return rc ? rc : result_of(unlink(to));
}

static int try_own_link(void)
{
    g_autofree char *path = g_build_filename(place.folder, "link", NULL);

    return result_of(symlink("/etc/passwd", path));
}

/* What KVM is asked by REQUEST, of a file that is none: the answer is of interest, not the deed. */
static int ask_kvm(unsigned long request)
{
    autofd fd = memfd_create("tried", MFD_CLOEXEC);

    return ioctl(fd, request, 0) < 0 && errno != ENOTTY ? errno : 0;
}

static int try_kvm_vm(void)
{
    return ask_kvm(KVM_CREATE_VM);
}

static int try_kvm_run(void)
{
    return ask_kvm(KVM_RUN);
}

static int try_chmod(void)
{
    return result_of(chmod(place.other, 0777));
}

static void *nothing(void *arg)
{
    return arg;
}

static int try_thread(void)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, nothing, NULL);

    return rc ? rc : pthread_join(thread, NULL);
}

static void *tried_by_thread(void *arg)
{
    int (*attempt)(void) = *(int (**)(void))arg;

    return GINT_TO_POINTER(attempt());
}

/* What holds for one thread holds for others. */
static int try_passwd_in_thread(void)
{
    int (*attempt)(void) = try_passwd;
    pthread_t thread;
    void *result;

    if (pthread_create(&thread, NULL, tried_by_thread, &attempt) || pthread_join(thread, &result))
        return 0;
    return GPOINTER_TO_INT(result);
}

static int try_memory(void)
{
    autofd fd = memfd_create("tried", MFD_CLOEXEC);

    return fd < 0 ? errno : result_of(ftruncate(fd, 4096));
}

static int try_time(void)
{
    struct timespec now;

    return result_of(clock_gettime(CLOCK_MONOTONIC, &now));
}

static int try_poll(void)
{
    return result_of(poll(NULL, 0, 0));
}

static int try_undo(void)
{
    struct rlimit limit = {0, 0};

    return result_of(syscall(SYS_seccomp, 0, 0, NULL)) ? EPERM : result_of(setrlimit(0, &limit));
}

/* --- the table ------------------------------------------------------------------------------------ */

/* Whom a row speaks of: a VM process that builds its machine, one that runs it, one that has user
 * networking too, vmd, and a VM process whose guest KVM runs. */
enum { START = 1 << 0, RUN = 1 << 1, NET = 1 << 2, DAEMON = 1 << 3, KVM = 1 << 4, PHASES = 5 };

#define RUNS (RUN | NET | KVM)
#define VM  (START | RUNS)
#define ALL (VM | DAEMON)
#define TRIES(name) #name, try_##name

static const struct {
    const char *name;
    int (*attempt)(void);
    unsigned refused, allowed; /* where; elsewhere nobody asks */
    const char *named;         /* the call that the log then names; NULL: refused in silence */
    bool by_landlock;
    bool widened; /* sanitizers need it */
} rows[] = {
    {TRIES(fork), VM, DAEMON, NULL, .widened = true},
    {TRIES(raw_clone), VM, DAEMON, NULL, .widened = true},
    {TRIES(clone3), ALL, 0, NULL},
    {TRIES(exec), VM, 0, "execve"},
    {TRIES(kill_init), VM, 0, "kill", .widened = true},
    {TRIES(kill_parent), VM, DAEMON, "kill", .widened = true},
    {TRIES(kill_group), VM, 0, "kill", .widened = true},
    {TRIES(kill_self), 0, ALL, NULL},
    {TRIES(tgkill_parent), VM, 0, "tgkill", .widened = true},
    {TRIES(queue_parent), VM, 0, "rt_tgsigqueueinfo", .widened = true},
    {TRIES(queue_self), 0, VM, NULL},
    {TRIES(raise), 0, ALL, NULL},
    {TRIES(ptrace), ALL, 0, "ptrace", .widened = true},
    {TRIES(vm_read), ALL, 0, "process_vm_writev"},
    {TRIES(mount), ALL, 0, "mount"},
    {TRIES(unshare), ALL, 0, "unshare"},
    {TRIES(bpf), ALL, 0, "bpf"},
    {TRIES(io_uring), ALL, 0, NULL},
    {TRIES(handle), ALL, 0, "open_by_handle_at"},
    {TRIES(keys), ALL, 0, "keyctl"},
    {TRIES(other_limits), VM, 0, "prlimit64", .widened = true},
    {TRIES(limits), 0, ALL, NULL},
    {TRIES(dumpable), VM, 0, "prctl", .widened = true},
    {TRIES(thread_name), 0, ALL, NULL},
    {TRIES(terminal_input), VM, 0, "ioctl"},
    {TRIES(nonblocking), 0, ALL, NULL},
    {TRIES(packet), ALL, 0, "socket"},
    {TRIES(netlink), VM, DAEMON, "socket"},
    {TRIES(uevents), VM, DAEMON, "socket"},
    {TRIES(netlink_audit), ALL, 0, "socket"},
    {TRIES(netlink_generic), ALL, 0, "socket"},
    {TRIES(netlink_usersock), ALL, 0, "socket"},
    {TRIES(vsock), ALL, 0, "socket"},
    {TRIES(unix), RUNS, START | DAEMON, "socket"},
    {TRIES(inet), RUN | KVM, START | NET | DAEMON, "socket"},
    {TRIES(inet6), RUN | KVM, START | NET | DAEMON, "socket"},
    {TRIES(raw), VM, 0, NULL},
    {TRIES(pair), 0, ALL, NULL},
    {TRIES(datagram_pair), VM, 0, "socketpair"},
    {TRIES(map_both), VM, 0, "mmap", .widened = true},
    {TRIES(map_code), 0, ALL, NULL},
    {TRIES(passwd), RUNS, START | DAEMON, NULL, .by_landlock = true},
    {TRIES(passwd_in_thread), RUNS, START | DAEMON, NULL, .by_landlock = true},
    {TRIES(root_folder), RUNS, START | DAEMON, NULL, .by_landlock = true},
    {TRIES(environment), RUNS, 0, NULL, .by_landlock = true, .widened = true},
    {TRIES(host_devices), RUNS, START | DAEMON, NULL, .by_landlock = true},
    {TRIES(own_disk), 0, ALL, NULL},
    {TRIES(image), 0, ALL, NULL},
    {TRIES(write_image), RUNS, START | DAEMON, NULL, .by_landlock = true},
    {TRIES(other_disk), RUNS, START | DAEMON, NULL, .by_landlock = true},
    {TRIES(rename_out), RUNS, 0, NULL, .by_landlock = true},
    {TRIES(own_file), 0, ALL, NULL},
    {TRIES(own_link), VM, 0, "symlink"},
    {TRIES(kvm_vm), RUNS, START, "ioctl"},
    {TRIES(kvm_run), RUN | NET, START | KVM, "ioctl"},
    {TRIES(chmod), RUNS, DAEMON, "chmod"},
    {TRIES(thread), 0, ALL, NULL},
    {TRIES(memory), 0, ALL, NULL},
    {TRIES(time), 0, ALL, NULL},
    {TRIES(poll), 0, ALL, NULL},
    {TRIES(undo), RUNS, 0, "seccomp"},
};

/* --- a child -------------------------------------------------------------------------------------- */

static bool enter(unsigned phase, GError **err)
{
    if (phase == DAEMON)
        return daemon_confine(err);
    struct sandbox_files *files = sandbox_files_new();
    sandbox_files_add(files, place.folder, SANDBOX_FOLDER);
    sandbox_files_add(files, place.disk, SANDBOX_CHANGE);
    sandbox_files_add(files, place.image, SANDBOX_READ);
    bool ok = sandbox_enter(err) &&
              (phase == START || (sandbox_confine_files(files, err) && sandbox_run(&(struct sandbox_have){.user_net = phase == NET, .kvm = phase == KVM}, err)));
    sandbox_files_free(files);
    return ok;
}

/* Runs row ROW in PHASE in a child; its answer, and what it said in SAID of N bytes. */
static int attempt(size_t row, unsigned phase, char *said, size_t n)
{
    int answer[2], words[2], result = -1;

    ck_assert_int_eq(pipe(answer), 0);
    ck_assert_int_eq(pipe(words), 0);
    pid_t pid = fork();
    if (pid == 0) {
        g_autoptr(GError) err = NULL;
        dup2(words[1], STDERR_FILENO);
        log_init("tried");
        if (!enter(phase, &err))
            log_error("%s", err->message);
        else
            result = rows[row].attempt();
        _exit(write(answer[1], &result, sizeof(result)) != sizeof(result));
    }
    close(answer[1]);
    close(words[1]);
    ssize_t got = read(answer[0], &result, sizeof(result));
    size_t at = 0;
    for (ssize_t more = 1; more > 0 && at < n - 1; at += (size_t)MAX(more, 0))
        more = read(words[0], said + at, n - 1 - at);
    said[at] = '\0';
    close(answer[0]);
    close(words[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    ck_assert_msg(got == sizeof(result) && status == 0, "%s in phase %u: status %#x, '%s'",
                  rows[row].name, phase, (unsigned)status, said);
    return result;
}

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static void check_row(size_t row, unsigned phase)
{
    bool allowed = rows[row].allowed & phase;
    char said[4096];

    if (!((rows[row].refused | rows[row].allowed) & phase))
        return;
    if (!allowed && ((CONFINE_SANITIZED && rows[row].widened) ||
                     (rows[row].by_landlock && !has_landlock())))
        return;
    int result = attempt(row, phase, said, sizeof(said));
    if (allowed) {
        ck_assert_msg(result == 0, "%s in phase %u: %s, '%s'", rows[row].name, phase,
                      g_strerror(result), said);
        return;
    }
    ck_assert_msg(result > 0, "%s in phase %u was not refused: %d, '%s'", rows[row].name, phase,
                  result, said);
    if (rows[row].named) {
        g_autofree char *line =
            g_strdup_printf("tried: the system call %s(", rows[row].named);
        ck_assert_msg(strstr(said, line) && strstr(said, "was refused"),
                      "%s in phase %u: the log does not name the call: '%s'", rows[row].name, phase,
                      said);
    }
}

START_TEST(attempts)
{
    for (unsigned i = 0; i < PHASES; i++)
        check_row((size_t)_i, 1u << i);
}
END_TEST

/* A refused call is named once, however often it is tried. */
START_TEST(named_once)
{
    int words[2];
    char said[4096];

    ck_assert_int_eq(pipe(words), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(words[1], STDERR_FILENO);
        log_init("tried");
        if (!sandbox_enter(NULL))
            _exit(2);
        for (unsigned i = 0; i < 1000; i++) {
            errno = 0;
            if (mount("none", "/tmp", "tmpfs", 0, NULL) != -1 || errno != EPERM)
                _exit(3);
        }
        _exit(0);
    }
    close(words[1]);
    ssize_t n = read(words[0], said, sizeof(said) - 1);
    ck_assert_int_gt(n, 0);
    said[n] = '\0';
    ck_assert_int_eq(read(words[0], said + n, sizeof(said) - (size_t)n - 1), 0);
    ck_assert_str_eq(strchr(said, '\n'), "\n");
    int status;
    waitpid(pid, &status, 0);
    ck_assert_int_eq(status, 0);
    close(words[0]);
}
END_TEST

/* --- the place ------------------------------------------------------------------------------------ */

static void make_file(char **path, const char *folder, const char *name)
{
    *path = g_build_filename(folder, name, NULL);
    ck_assert(g_file_set_contents(*path, name, -1, NULL));
}

static void make_place(void)
{
    char *note;

    place.top = g_dir_make_tmp("sandbox-XXXXXX", NULL);
    place.folder = g_build_filename(place.top, "own", NULL);
    ck_assert_int_eq(mkdir(place.folder, 0700), 0);
    make_file(&place.disk, place.top, "disk");
    make_file(&place.image, place.top, "image");
    make_file(&place.other, place.top, "other");
    make_file(&note, place.folder, "note");
    g_free(note);
}

static void remove_place(void)
{
    g_autofree char *note = g_build_filename(place.folder, "note", NULL);
    char **files[] = {&place.disk, &place.image, &place.other};

    unlink(note);
    for (unsigned i = 0; i < G_N_ELEMENTS(files); i++) {
        unlink(*files[i]);
        g_free(*files[i]);
    }
    rmdir(place.folder);
    rmdir(place.top);
    g_free(place.folder);
    g_free(place.top);
}

int main(void)
{
    Suite *suite = suite_create("sandbox");
    TCase *tc = tcase_create("sandbox");

    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, make_place, remove_place);
    tcase_add_loop_test(tc, attempts, 0, G_N_ELEMENTS(rows));
    tcase_add_test(tc, named_once);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
