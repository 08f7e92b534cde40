/* Finding the daemon, starting one, and saying what went wrong. */
#include "vmctl/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
    START_MS = 10000,
    RETURN_MS = 30000, /* how long a daemon that went away may take to come back */
    RETRY_MS = 100,
};

/* A daemon that was started on demand ends by itself this long after its last client and VM. */
#define IDLE_S "60"

extern char **environ;

/* vmd beside this program, in the build tree, or where PATH has it. */
static char *find_daemon(void)
{
    static const char *const places[] = {"vmd", "../daemon/vmd", "../sbin/vmd"};
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self ? g_path_get_dirname(self) : NULL;

    for (size_t i = 0; dir && i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(dir, places[i], NULL);
        if (access(path, X_OK) == 0)
            return g_steal_pointer(&path);
    }
    return g_find_program_in_path("vmd");
}

/* A socket for sd_notify(3), by which the new daemon says that it is ready; NAME for its
 * environment. */
static int notify_socket(char **name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t n = sizeof(addr);
    autofd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    /* The kernel chooses an abstract name. */
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &n) < 0)
        return -1;
    *name = g_strdup_printf("NOTIFY_SOCKET=@%.*s",
                            (int)(n - offsetof(struct sockaddr_un, sun_path) - 1),
                            addr.sun_path + 1);
    return steal_fd(&fd);
}

static char **with_variable(const char *variable)
{
    GPtrArray *env = g_ptr_array_new();

    for (char **e = environ; *e; e++) {
        if (!g_str_has_prefix(*e, "NOTIFY_SOCKET="))
            g_ptr_array_add(env, *e);
    }
    g_ptr_array_add(env, (gpointer)variable);
    g_ptr_array_add(env, NULL);
    return (char **)g_ptr_array_free(env, FALSE);
}

static int launch(pid_t *pid, char *program, const char *log, char **env)
{
    char *argv[] = {program, (char *)"--user", (char *)"--idle", (char *)IDLE_S, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    int rc;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    rc = posix_spawn(pid, program, &files, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

/* Waits until the daemon PID says READY, or is dead: then another one may have been faster. */
static bool wait_ready(int fd, pid_t pid, const char *log, GError **err)
{
    for (int waited = 0; waited < START_MS; waited += 50) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char text[256];

        if (poll(&p, 1, 50) > 0) {
            ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
            text[MAX(n, 0)] = 0;
            if (strstr(text, "READY=1"))
                return true;
        }
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return vmd_fail(err, VMD_ERROR_NOT_FOUND, "the daemon did not start; see %s", log);
    }
    return vmd_fail(err, VMD_ERROR_TIMEOUT, "the daemon did not get ready; see %s", log);
}

static bool start_daemon(GError **err)
{
    g_autofree char *socket_path = vmd_socket_path_user();
    g_autofree char *dir = g_path_get_dirname(socket_path);
    g_autofree char *log = g_build_filename(dir, "vmd.log", NULL);
    g_autofree char *program = find_daemon();
    g_autofree char *variable = NULL;
    autofd fd = notify_socket(&variable);
    pid_t pid;

    if (!program)
        return vmd_fail(err, VMD_ERROR_NOT_FOUND, "no daemon listens, and there is no vmd to start");
    if (fd < 0)
        return vmd_set_errno(err, errno, "a socket to hear from the daemon");
    g_autofree char **env = with_variable(variable);
    int rc = launch(&pid, program, log, env);
    if (rc)
        return vmd_set_errno(err, rc, "starting %s", program);
    return wait_ready(fd, pid, log, err);
}

/* Under the lock. */
static struct vmd_client *connect_alone(GError **err)
{
    g_autoptr(GError) start_err = NULL;
    g_autoptr(GError) connect_err = NULL;
    struct vmd_client *c = vmd_client_connect(NULL, NULL);

    if (c)
        return c;
    bool started = start_daemon(&start_err);
    c = vmd_client_connect(NULL, &connect_err);
    if (!c)
        g_propagate_error(err, started ? g_steal_pointer(&connect_err)
                                       : g_steal_pointer(&start_err));
    return c;
}

/* Lets one vmctl at a time start a daemon. Held until the descriptor is closed. */
static int start_lock(const char *dir, GError **err)
{
    g_autofree char *path = g_build_filename(dir, "start.lock", NULL);
    autofd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        vmd_set_errno(err, errno, "locking %s", path);
        return -1;
    }
    return steal_fd(&fd);
}

/* Connects with a daemon that is started first, unless another vmctl was faster. */
static struct vmd_client *start_and_connect(GError **err)
{
    g_autofree char *socket_path = vmd_socket_path_user();
    g_autofree char *dir = g_path_get_dirname(socket_path);

    if (g_mkdir_with_parents(dir, 0700) < 0) {
        vmd_set_errno(err, errno, "making the directory %s", dir);
        return NULL;
    }
    autofd lock = start_lock(dir, err);
    return lock < 0 ? NULL : connect_alone(err);
}

struct vmd_client *connect_daemon(int *status)
{
    g_autoptr(GError) err = NULL;
    struct vmd_client *c = vmd_client_connect(NULL, &err);

    /* Who may not use the system's daemon has one of his own. */
    if (!c && !g_getenv("VMD_SOCKET") &&
        (g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND) ||
         g_error_matches(err, VMD_ERROR, VMD_ERROR_DENIED))) {
        g_clear_error(&err);
        c = start_and_connect(&err);
    }
    if (!c) {
        fprintf(stderr, "vmctl: %s\n", err->message);
        *status = g_error_matches(err, VMD_ERROR, VMD_ERROR_DENIED) ? VMCTL_EXIT_DENIED
                                                                   : VMCTL_EXIT_NO_DAEMON;
    }
    return c;
}

bool reconnect_daemon(struct vmd_client **client, int *status)
{
    vmd_client_free(g_steal_pointer(client));
    for (int waited = 0; waited < RETURN_MS; waited += RETRY_MS) {
        *client = vmd_client_connect(NULL, NULL);
        if (*client)
            return true;
        g_usleep(RETRY_MS * 1000);
    }
    *client = connect_daemon(status);
    return *client != NULL;
}

static int status_of_error(const GError *err)
{
    static const int statuses[] = {
        [VMD_ERROR_INVALID] = VMCTL_EXIT_USAGE,     [VMD_ERROR_NOT_FOUND] = VMCTL_EXIT_NOT_FOUND,
        [VMD_ERROR_DENIED] = VMCTL_EXIT_DENIED,     [VMD_ERROR_EXISTS] = VMCTL_EXIT_STATE,
        [VMD_ERROR_STATE] = VMCTL_EXIT_STATE,       [VMD_ERROR_BUSY] = VMCTL_EXIT_STATE,
        [VMD_ERROR_TIMEOUT] = VMCTL_EXIT_TIMEOUT,   [VMD_ERROR_GONE] = VMCTL_EXIT_NO_DAEMON,
        [VMD_ERROR_INTERNAL] = VMCTL_EXIT_ERROR,    [VMD_ERROR_IO] = VMCTL_EXIT_ERROR,
        [VMD_ERROR_UNSUPPORTED] = VMCTL_EXIT_ERROR, [VMD_ERROR_LIMIT] = VMCTL_EXIT_ERROR,
    };

    if (err->domain != VMD_ERROR || (size_t)err->code >= G_N_ELEMENTS(statuses))
        return VMCTL_EXIT_ERROR;
    return statuses[err->code];
}

int fail(struct vmd_client *client, GError *err)
{
    const char *hint = client ? vmd_client_hint(client) : NULL;
    int status = status_of_error(err);

    fprintf(stderr, "vmctl: %s\n", err->message);
    if (hint)
        fprintf(stderr, "  %s\n", hint);
    g_error_free(err);
    return status;
}

int usage_error(const struct command *command, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fprintf(stderr, "vmctl %s: %s\n  See 'vmctl help %s'.\n", command->name, text, command->name);
    return VMCTL_EXIT_USAGE;
}

static int no_such_part(const struct arguments *args, const struct part_row *parts, size_t n)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < n; i++)
        g_string_append_printf(names, "%s%s", i ? ", " : "", parts[i].name);
    return usage_error(args->command, "'%s' is not one of %s", arguments_at(args, 0), names->str);
}

int run_part(const struct arguments *args, const struct part_row *parts, size_t n)
{
    int status;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(parts[i].name, arguments_at(args, 0)) != 0)
            continue;
        if (args->positional->len > parts[i].most)
            return usage_error(args->command, "too many arguments");
        struct vmd_client *c = connect_daemon(&status);
        if (!c)
            return status;
        status = parts[i].run(c, args);
        vmd_client_free(c);
        return status;
    }
    return no_such_part(args, parts, n);
}

int status_of_end(const struct vm_end *end)
{
    static const int statuses[VM_END_REASON_COUNT] = {
        [VM_END_REASON_POWERED_OFF] = VMCTL_EXIT_OK,
        [VM_END_REASON_RESET] = VMCTL_EXIT_RESET,
        [VM_END_REASON_GUEST_PANIC] = VMCTL_EXIT_PANIC,
        [VM_END_REASON_KILLED] = VMCTL_EXIT_KILLED,
        [VM_END_REASON_VM_PROCESS_CRASHED] = VMCTL_EXIT_CRASHED,
        [VM_END_REASON_START_FAILED] = VMCTL_EXIT_START_FAILED,
    };

    return end ? statuses[end->reason] : VMCTL_EXIT_ERROR;
}
