/* The process that starts compilers. See compile_serve.h. */
#include "gpu/server/compile_serve.h"

#include "base/log.h"
#include "gpu/server/compile_folder.h"
#include "gpu/server/compile_priv.h"
#include "gpu/server/compile_run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
    SOCKET = 3,
    LINES = 16, /* of the log: more would be said at a guest's will */
    LOOK_US = 500000,
};

/* A source that is compiled, or waits for it. */
struct job {
    uint64_t id;
    char target[TARGET_BYTES];
    int source, result, said, pidfd; /* owned; -1 */
    pid_t pid;                       /* 0: it waits */
    int64_t until;                   /* of g_get_monotonic_time() */
    bool ended;                      /* nobody wants what comes of it */
    const char *over;                /* why it was killed; NULL */
    char *folder;                    /* owned */
    uint64_t room;                   /* bytes that its file system had left as it began */
};

struct server {
    int socket;
    bool lost;    /* the worker does not read what it is told */
    char *folder; /* owned: what jobs' folders are in */
    int held;     /* owned: that, locked, by which those who clean up know that it is in use */
    unsigned seconds;
    char *late;      /* owned: what is said of one that took longer */
    unsigned lines;  /* that were logged */
    uint64_t made;   /* folders */
    int64_t looked;  /* into them, of g_get_monotonic_time() */
    GPtrArray *jobs; /* struct job, owned: those that run are the first ones that came */
};

/* --- starting it ------------------------------------------------------------------------------ */

G_GNUC_NORETURN static void become_server(int socket)
{
    char program[] = "/proc/self/exe", number[] = "3";
    char *const argv[] = {(char[]){"vmd-gpu"}, (char[]){"--compile"}, number, NULL};

    if (dup2(socket, SOCKET) >= 0 && fcntl(SOCKET, F_SETFD, 0) == 0 &&
        syscall(SYS_close_range, SOCKET + 1, ~0u, 0) == 0)
        execv(program, argv);
    _exit(EXIT_FAILURE);
}

int compile_start(GError **err)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        vmd_set_errno(err, errno, "making a socket to a compiler");
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0)
        become_server(ends[1]);
    close(ends[1]);
    if (pid > 0)
        return ends[0];
    vmd_set_errno(err, errno, "starting a compiler");
    close(ends[0]);
    return -1;
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void job_free(void *opaque)
{
    g_autoptr(GError) err = NULL;
    struct job *j = opaque;
    int *const files[] = {&j->source, &j->result, &j->said, &j->pidfd};

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        if (*files[i] >= 0)
            close(*files[i]);
    }
    if (j->folder && !compile_folder_remove(j->folder, &err))
        log_warning("a compiler's files are left: %s", err->message);
    g_free(j->folder);
    g_free(j);
}

/* Also of one that was ended: the worker counts it until then. */
static void report(struct server *s, const struct job *j, int result, const char *text)
{
    struct compile_report r = {.magic = COMPILE_MAGIC, .id = j->id, .result = (uint32_t)result};

    g_strlcpy(r.text, text, sizeof(r.text));
    if (compile__send(s->socket, &r, sizeof(r), *text ? -1 : j->result, MSG_DONTWAIT) < 0)
        s->lost = true;
}

/* The first line that its compiler wrote for people, as far as that is printable: after ": ", or
 * nothing. */
static const char *first_line(const struct job *j, char *out, size_t most)
{
    ssize_t n = j->said < 0 ? 0 : pread(j->said, out + 2, most - 3, 0);
    size_t i = 2;

    if (n <= 0)
        return "";
    memcpy(out, ": ", 2);
    for (; i < (size_t)n + 2 && out[i] != '\n'; i++)
        out[i] = out[i] >= ' ' && out[i] < 127 ? out[i] : '?';
    out[i] = 0;
    return out;
}

/* What went wrong is logged, and is the result. */
static void fail(struct server *s, const struct job *j, int result, const char *what)
{
    char line[256];
    g_autofree char *text = g_strdup_printf("the compiler on the host %s\n", what);

    if (s->lines < LINES)
        log_warning("a guest's source for %s: its compiler %s%s", j->target, what,
                    first_line(j, line, sizeof(line)));
    if (++s->lines == LINES)
        log_warning("nothing more is said of sources that are not compiled");
    report(s, j, result, text);
}

/* Bytes that are left where the folders are. *MOST: that there are at all. */
static uint64_t room_left(const struct server *s, uint64_t *most)
{
    struct statvfs v;

    if (statvfs(s->folder, &v) < 0)
        return *most = UINT64_MAX;
    *most = (uint64_t)v.f_blocks * v.f_frsize;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

static bool prepare(struct server *s, struct job *j)
{
    uint64_t most;

    j->room = room_left(s, &most);
    j->folder = g_strdup_printf("%s/%" G_GUINT64_FORMAT, s->folder, s->made++);
    j->result = memfd_create("gpu-compiled", MFD_CLOEXEC);
    j->said = memfd_create("gpu-compiler-said", MFD_CLOEXEC);
    return j->result >= 0 && j->said >= 0 && mkdir(j->folder, 0700) == 0;
}

/* False: it is over, as it could not be begun. */
static bool start(struct server *s, struct job *j)
{
    const struct compile_task task = {
        .target = j->target, .seconds = s->seconds, .parent = getpid()};

    if (!prepare(s, j)) {
        fail(s, j, COMPILE_INTERNAL, "has no folder to write in, or no memory");
        return false;
    }
    j->until = g_get_monotonic_time() + s->seconds * G_USEC_PER_SEC;
    j->pid = fork();
    if (j->pid == 0) {
        struct compile_task t = task;
        t.folder = j->folder;
        t.source = j->source;
        t.result = j->result;
        t.said = j->said;
        compile_run(&t);
    }
    if (j->pid > 0)
        j->pidfd = (int)syscall(SYS_pidfd_open, j->pid, 0);
    if (j->pidfd >= 0)
        return true;
    if (j->pid > 0) {
        kill(j->pid, SIGKILL);
        waitpid(j->pid, NULL, 0);
    }
    fail(s, j, COMPILE_INTERNAL, "cannot be started");
    return false;
}

static void start_some(struct server *s)
{
    for (guint i = 0; i < s->jobs->len && i < LIMIT_GPU_COMPILERS;) {
        struct job *j = g_ptr_array_index(s->jobs, i);
        if (!j->pid && !start(s, j))
            g_ptr_array_remove_index(s->jobs, i);
        else
            i++;
    }
}

/* The process of J ended with STATUS. */
static void judge(struct server *s, const struct job *j, int status)
{
    g_autofree char *what = NULL;

    if (j->ended) {
        report(s, j, COMPILE_ERROR, "it was ended\n");
        return;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) {
        report(s, j, COMPILE_SUCCESS, "");
        return;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == COMPILE_GAVE_UP) {
        char line[256];
        if (s->lines++ < 1)
            log_warning("sources of guests cannot be compiled%s",
                        first_line(j, line, sizeof(line)));
        report(s, j, COMPILE_INTERNAL, "");
        return;
    }
    if (j->over || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU))
        what = g_strdup(j->over ? j->over : s->late);
    else if (WIFSIGNALED(status))
        what = g_strdup_printf("died of signal %d", WTERMSIG(status));
    else
        what = g_strdup_printf("ended with %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    fail(s, j, COMPILE_ERROR, what);
}

/* Files that were removed while they are open, or mapped, are in no folder: then it is their file
 * system that tells. */
static bool fills_up(const struct server *s, const struct job *j)
{
    enum { LEFT = 16 };
    uint64_t most, left = room_left(s, &most);

    return left < most / LEFT && left < j->room &&
           j->room - left > MIB(LIMIT_GPU_COMPILE_FILES_MIB);
}

static bool has_many_threads(const struct job *j)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)j->pid);
    struct stat st;

    return stat(path, &st) == 0 && st.st_nlink > LIMIT_GPU_COMPILE_THREADS + 2;
}

/* Why J is to be ended; NULL: it is not. INTO its folder, too. */
static const char *too_much(const struct server *s, const struct job *j, bool into)
{
    if (g_get_monotonic_time() >= j->until)
        return s->late;
    if (has_many_threads(j))
        return "made too many threads and was ended";
    if (into && (!compile_folder_is_within(j->folder) || fills_up(s, j)))
        return "made too many files, or too large ones, and was ended";
    return NULL;
}

/* Those that are over are reported, those that took too much are ended. */
static void look(struct server *s)
{
    int64_t now = g_get_monotonic_time();
    bool into = now - s->looked >= LOOK_US;
    int status;

    s->looked = into ? now : s->looked;
    for (guint i = 0; i < s->jobs->len;) {
        struct job *j = g_ptr_array_index(s->jobs, i);
        if (j->pid && waitpid(j->pid, &status, WNOHANG) == j->pid) {
            judge(s, j, status);
            g_ptr_array_remove_index(s->jobs, i);
            continue;
        }
        if (j->pid && !j->over && (j->over = too_much(s, j, into)))
            kill(j->pid, SIGKILL);
        i++;
    }
}

/* --- the worker ------------------------------------------------------------------------------- */

static void begin(struct server *s, const struct compile_order_record *order, int source)
{
    struct job *j = g_new0(struct job, 1);

    *j = (struct job){.id = order->id, .source = source, .result = -1, .said = -1, .pidfd = -1};
    g_strlcpy(j->target, order->target, sizeof(j->target));
    if (s->jobs->len < LIMIT_GPU_COMPILES_ALL) {
        g_ptr_array_add(s->jobs, j);
        return;
    }
    fail(s, j, COMPILE_INTERNAL, "has too many sources already");
    job_free(j);
}

static void end(struct server *s, uint64_t id)
{
    for (guint i = 0; i < s->jobs->len; i++) {
        struct job *j = g_ptr_array_index(s->jobs, i);
        if (j->id != id)
            continue;
        j->ended = true;
        if (j->pid) {
            kill(j->pid, SIGKILL); /* it is waited for like others */
            return;
        }
        report(s, j, COMPILE_ERROR, "it was ended\n");
        g_ptr_array_remove_index(s->jobs, i);
        return;
    }
}

static bool is_target(const char *target)
{
    return *target && !target[strspn(target, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789:+-_.")];
}

/* False: the worker is gone, or says what makes no sense. */
static bool obey(struct server *s)
{
    struct compile_order_record order;
    int file, rc = compile__receive(s->socket, &order, sizeof(order), &file, MSG_DONTWAIT);

    if (rc == -EAGAIN)
        return true;
    bool good = rc > 0 && order.magic == COMPILE_MAGIC;
    order.target[good ? sizeof(order.target) - 1 : 0] = 0;
    if (good && order.order == COMPILE_BEGIN && file >= 0 && is_target(order.target)) {
        begin(s, &order, file);
        return true;
    }
    if (file >= 0)
        close(file);
    if (good && order.order == COMPILE_END)
        end(s, order.id);
    return good && order.order == COMPILE_END;
}

/* Until there is an order, a process ends, or one takes too long; not where the worker is lost. */
static void await(struct server *s)
{
    struct pollfd fds[1 + LIMIT_GPU_COMPILERS] = {{.fd = s->socket, .events = POLLIN}};
    int64_t now = g_get_monotonic_time(), until = INT64_MAX;
    nfds_t n = 1;

    for (guint i = 0; i < s->jobs->len && n < G_N_ELEMENTS(fds); i++) {
        const struct job *j = g_ptr_array_index(s->jobs, i);
        if (!j->pid)
            continue;
        fds[n++] = (struct pollfd){.fd = j->pidfd, .events = POLLIN};
        until = j->over ? until : MIN(until, MIN(j->until, now + LOOK_US));
    }
    if (s->lost)
        return;
    int64_t ms = until == INT64_MAX ? -1 : until > now ? (until - now) / 1000 + 1 : 0;
    poll(fds, n, (int)MIN(ms, INT_MAX));
}

static unsigned seconds_allowed(void)
{
    const char *other = getenv("VMD_HIPRTC_SECONDS");
    int seconds = other ? atoi(other) : LIMIT_GPU_COMPILE_S;

    return (unsigned)CLAMP(seconds, 1, LIMIT_GPU_COMPILE_S);
}

static void end_all(struct server *s)
{
    g_autoptr(GError) err = NULL;

    for (guint i = 0; i < s->jobs->len; i++) {
        const struct job *j = g_ptr_array_index(s->jobs, i);
        if (j->pid) {
            kill(j->pid, SIGKILL);
            waitpid(j->pid, NULL, 0);
        }
    }
    g_ptr_array_free(s->jobs, TRUE);
    if (!compile_folder_remove(s->folder, &err))
        log_warning("compilers' files are left: %s", err->message);
    close(s->held);
    g_free(s->folder);
    g_free(s->late);
}

/* Signals are for the worker, with which this process ends: its folder is removed in any case. */
static void ignore_signals(void)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        signal(signals[i], SIG_IGN);
}

static bool make_folder(struct server *s, GError **err)
{
    umask(S_IRWXG | S_IRWXO);
    s->folder = g_dir_make_tmp("vmd-hiprtc-XXXXXX", err);
    if (!s->folder)
        return false;
    s->held = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->held >= 0 && flock(s->held, LOCK_SH) == 0)
        return true;
    vmd_set_errno(err, errno, "locking %s", s->folder);
    rmdir(s->folder);
    return false;
}

bool compile_serve(int fd, GError **err)
{
    const struct rlimit none = {0, 0};
    struct server s = {.socket = fd, .seconds = seconds_allowed()};

    ignore_signals();
    setrlimit(RLIMIT_CORE, &none);
    if (!make_folder(&s, err))
        return false;
    s.late = g_strdup_printf("took more than %u s and was ended", s.seconds);
    s.jobs = g_ptr_array_new_with_free_func(job_free);
    for (await(&s); !s.lost && obey(&s); await(&s)) {
        look(&s);
        start_some(&s);
    }
    end_all(&s);
    return true;
}
