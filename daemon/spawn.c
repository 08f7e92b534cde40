/* posix_spawn, pidfds and /proc. */
#include "daemon/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { CHILD_FD = 3, MORE_MOST = 3 };

extern char **environ;

void spawned_init(struct spawned *p)
{
    *p = (struct spawned){.pidfd = -1};
}

/* The start time of PID in clock ticks since boot; 0 when there is no such process, or only what is
 * left of one until its parent asks. */
static uint64_t start_time_of(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = NULL;
    char *at;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    /* The name in parentheses may hold anything; field 22 counts from behind the last one. */
    at = strrchr(text, ')');
    if (!at || strlen(at) < 3 || at[2] == 'Z' || at[2] == 'X')
        return 0;
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        if (at)
            at++;
    }
    return at ? g_ascii_strtoull(at, NULL, 10) : 0;
}

static void poll_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void stop_watching(struct spawned *p)
{
    if (p->poll) {
        uv_poll_stop(p->poll);
        uv_close((uv_handle_t *)p->poll, poll_closed);
        p->poll = NULL;
    }
    if (p->pidfd >= 0)
        close(p->pidfd);
    p->pidfd = -1;
}

static void died(uv_poll_t *poll, int status, int events)
{
    struct spawned *p = poll->data;
    int how;

    stop_watching(p);
    if (waitpid(p->pid, &how, WNOHANG) == p->pid) {
        p->exited = true;
        p->signal = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
        p->status = WIFEXITED(how) ? WEXITSTATUS(how) : 0;
    }
    p->gone(p->opaque);
}

static int watch(struct spawned *p, uv_loop_t *loop)
{
    int rc;

    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (p->pidfd < 0)
        return -errno;
    fcntl(p->pidfd, F_SETFD, FD_CLOEXEC);
    p->poll = g_new0(uv_poll_t, 1);
    rc = uv_poll_init(loop, p->poll, p->pidfd);
    if (rc < 0) {
        g_clear_pointer(&p->poll, g_free);
        return rc;
    }
    p->poll->data = p;
    return uv_poll_start(p->poll, UV_READABLE, died);
}

/* The child's files: nothing in, nothing out, errors to LOG, the socket at CHILD_FD and MORE behind
 * it. All are numbers that the child's are not. */
static int launch(pid_t *pid, const char *program, const char *option, const char *log, int socket,
                  const int *more, unsigned n)
{
    char *const argv[] = {(char *)program, (char *)option, (char *)"3", n ? (char *)"4" : NULL,
                          NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    int rc;

    G_STATIC_ASSERT(CHILD_FD == 3);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&files, socket, CHILD_FD);
    for (unsigned i = 0; i < n; i++)
        posix_spawn_file_actions_adddup2(&files, more[i], CHILD_FD + 1 + (int)i);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    rc = posix_spawn(pid, program, &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

/* Copies of SOCKET and MORE that none of the child's numbers is taken by; false with errno. */
static bool out_of_the_way(int *copies, int socket, const int *more, unsigned n)
{
    for (unsigned i = 0; i <= n; i++) {
        copies[i] = fcntl(i ? more[i - 1] : socket, F_DUPFD_CLOEXEC, CHILD_FD + 1 + MORE_MOST);
        if (copies[i] < 0)
            return false;
    }
    return true;
}

static int launch_with(pid_t *pid, const char *program, const char *option, const char *log,
                       int socket, const int *more, unsigned n)
{
    int copies[1 + MORE_MOST] = {-1, -1, -1, -1};
    int rc;

    g_assert(n <= MORE_MOST);
    rc = out_of_the_way(copies, socket, more, n)
             ? launch(pid, program, option, log, copies[0], copies + 1, n)
             : errno;
    for (unsigned i = 0; i < G_N_ELEMENTS(copies); i++) {
        if (copies[i] >= 0)
            close(copies[i]);
    }
    return rc;
}

bool spawn_process(struct spawned *p, uv_loop_t *loop, const char *program, const char *option,
                   const char *log, int socket, void (*gone)(void *opaque), void *opaque,
                   GError **err)
{
    return spawn_process_with(p, loop, program, option, log, socket, NULL, 0, gone, opaque, err);
}

bool spawn_process_with(struct spawned *p, uv_loop_t *loop, const char *program, const char *option,
                        const char *log, int socket, const int *more, unsigned n,
                        void (*gone)(void *opaque), void *opaque, GError **err)
{
    spawned_init(p);
    int rc = launch_with(&p->pid, program, option, log, socket, more, n);

    if (rc) {
        p->pid = 0;
        return vmd_set_errno(err, rc, "starting %s", program);
    }
    p->start_time = start_time_of(p->pid);
    p->gone = gone;
    p->opaque = opaque;
    rc = watch(p, loop);
    if (rc < 0) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
        spawned_init(p);
        return vmd_set_errno(err, -rc, "watching %s", program);
    }
    return true;
}

int spawn_vm_process(struct spawned *p, uv_loop_t *loop, const char *program, const char *option,
                     const char *log, void (*gone)(void *opaque), void *opaque, GError **err)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        vmd_set_errno(err, errno, "a socket for the VM process");
        return -1;
    }
    autofd ours = pair[0];
    autofd theirs = pair[1];
    if (!spawn_process(p, loop, program, option, log, theirs, gone, opaque, err))
        return -1;
    return steal_fd(&ours);
}

void spawned_adopt(struct spawned *p, pid_t pid, uint64_t start_time)
{
    spawned_init(p);
    p->pid = pid;
    p->start_time = start_time;
}

bool spawned_watch(struct spawned *p, uv_loop_t *loop, void (*gone)(void *opaque), void *opaque)
{
    p->gone = gone;
    p->opaque = opaque;
    if (!spawned_alive(p))
        return false;
    if (watch(p, loop) == 0)
        return true;
    stop_watching(p);
    spawned_kill(p, SIGKILL);
    return false;
}

bool spawned_watched(const struct spawned *p)
{
    return p->poll != NULL;
}

bool spawned_alive(const struct spawned *p)
{
    return p->pid > 0 && !p->exited && p->start_time && start_time_of(p->pid) == p->start_time;
}

void spawned_kill(struct spawned *p, int signal)
{
    if (p->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0);
    else if (spawned_alive(p))
        kill(p->pid, signal);
}

void spawned_forget(struct spawned *p)
{
    stop_watching(p);
    if (p->pid > 0 && !p->exited)
        waitpid(p->pid, NULL, WNOHANG);
    spawned_init(p);
}
