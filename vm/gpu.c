/* The worker's other end. See gpu.h, gpu/protocol/contract.h. */
#include "vm/gpu.h"

#include "gpu/device/gpu_function.h"
#include "gpu/protocol/contract.h"

#include <errno.h>
#include <sys/socket.h>

enum {
    ASK_MS = 2000,       /* how often the worker is asked whether it is there */
    REPORTS_MOST = 16,   /* that are taken at once */
    UNANSWERED_MOST = 5, /* questions without an answer, after which it hangs */
};

struct gpu {
    uv_loop_t *loop;
    const struct vm_gpu_config *config;
    struct gpu_function *function;
    struct gpu_ports *ports; /* NULL: the VM has none */
    gpu_changed_fn changed;
    void *opaque;
    /* The connection; -1, NULL: there is none. The handles are freed by their closes. */
    int fd;
    uv_poll_t *poll;
    uv_timer_t *timer;
    bool serving, hung;
    bool told; /* STATE is: what was told last */
    enum gpu_worker_state state;
    uint64_t workers; /* that have served */
    uint64_t used;    /* of the quota */
    unsigned unanswered;
    struct worker_report report; /* what came of it so far */
    size_t have;
};

struct gpu *gpu_new(uv_loop_t *loop, const struct vm_gpu_config *config, struct gpu_ports *ports,
                    gpu_changed_fn changed, void *opaque, GError **err)
{
    struct gpu_function *function = gpu_function_new(err);

    if (!function)
        return NULL;
    struct gpu *g = g_new0(struct gpu, 1);
    *g = (struct gpu){.loop = loop,
                      .config = config,
                      .function = function,
                      .ports = ports,
                      .changed = changed,
                      .opaque = opaque,
                      .fd = -1};
    gpu_ports_add(ports);
    return g;
}

struct pci_function *gpu_pci(struct gpu *g)
{
    return gpu_function_pci(g->function);
}

void gpu_going(struct gpu *g)
{
    gpu_function_lost(g->function);
}

const struct mem_ram *gpu_window(const struct gpu *g)
{
    return gpu_function_window(g->function);
}

static void handle_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void disconnect(struct gpu *g)
{
    autofd fd = steal_fd(&g->fd); /* closed when nobody polls it any more */

    if (g->poll) {
        uv_poll_stop(g->poll);
        uv_close((uv_handle_t *)g->poll, handle_closed);
        uv_close((uv_handle_t *)g->timer, handle_closed);
    }
    g->poll = NULL;
    g->timer = NULL;
}

void gpu_free(struct gpu *g)
{
    if (!g)
        return;
    disconnect(g);
    gpu_ports_stop(g->ports, g);
    gpu_ports_remove(g->ports);
    gpu_function_free(g->function);
    g_free(g);
}

static void tell(struct gpu *g, enum gpu_worker_state state, const char *text)
{
    g->told = true;
    g->state = state;
    g->workers += state == GPU_WORKER_STATE_SERVING;
    g->used = 0;
    g->changed(g->opaque, state, text);
}

struct gpu_stats *gpu_counts(const struct gpu *g, const char *id)
{
    struct gpu_stats *s = gpu_stats_new();

    s->id = g_strdup(id);
    s->has_state = g->told;
    s->state = g->state;
    s->workers = g->workers;
    s->memory_bytes = g->config->memory;
    s->used_bytes = g->used;
    return s;
}

/* --- what the worker says --------------------------------------------------------------------- */

/* Its end is closed: so it ended, or vmd ends it on being told. */
static void lost(struct gpu *g, const char *text)
{
    disconnect(g);
    gpu_ports_stop(g->ports, g);
    gpu_function_lost(g->function);
    tell(g, GPU_WORKER_STATE_LOST, text);
}

/* It stays connected until vmd has ended it: until then it may write to the window. */
static void hang(struct gpu *g, const char *text)
{
    if (g->hung)
        return;
    g->hung = true;
    uv_timer_stop(g->timer);
    tell(g, GPU_WORKER_STATE_HUNG, text);
}

/* A stream of a program's, whose other end the worker has. One that does not read its connection
 * gets none. */
static int join(void *opaque)
{
    const struct gpu *g = opaque;
    int pair[2];

    if (g->hung || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    autofd ours = pair[0], theirs = pair[1];
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(char[]){WORKER_STREAM}, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &theirs, sizeof(int));
    return sendmsg(g->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? steal_fd(&ours) : -1;
}

static void reported(struct gpu *g)
{
    g->have = 0;
    g->unanswered = 0;
    if (g->hung)
        return;
    if (g->report.magic != WORKER_MAGIC || g->report.size != sizeof(g->report)) {
        hang(g, "the GPU worker does not make sense");
        return;
    }
    if (!g->serving) {
        g->serving = true;
        gpu_ports_serve(g->ports, join, g);
        tell(g, GPU_WORKER_STATE_SERVING, "the GPU worker serves");
    }
    g->used = g->report.used;
}

/* Takes what is there, of one that does not end a part; false: its end is closed. */
static bool take_reports(struct gpu *g, bool all)
{
    for (unsigned i = 0; all || i < REPORTS_MOST; i++) {
        uint8_t *at = (uint8_t *)&g->report + g->have;
        ssize_t n = recv(g->fd, at, sizeof(g->report) - g->have, MSG_DONTWAIT);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        g->have += (size_t)n;
        if (g->have == sizeof(g->report))
            reported(g);
    }
    return true;
}

/* After an error (STATUS) nobody polls any more, so all that there is has to be taken now. */
static void readable(uv_poll_t *poll, int status, int events)
{
    struct gpu *g = poll->data;

    if (!take_reports(g, status < 0) || status < 0)
        lost(g, g->serving ? "the GPU worker died" : "the GPU worker ended before it served");
}

/* A worker that begins has as long as one that serves. */
static void ask(uv_timer_t *timer)
{
    struct gpu *g = timer->data;

    if (g->unanswered == UNANSWERED_MOST) {
        hang(g, "the GPU worker does not answer");
        return;
    }
    g->unanswered++;
    (void)!send(g->fd, (char[]){WORKER_ASK}, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* --- connecting ------------------------------------------------------------------------------- */

static bool send_hello(const struct gpu *g, int fd, GError **err)
{
    struct worker_hello hello = {
        .magic = WORKER_MAGIC, .size = sizeof(hello), .memory = g->config->memory};
    int fds[WORKER_FDS] = {gpu_function_memory(g->function)};
    char control[CMSG_SPACE(sizeof(fds))] = {0};
    struct iovec iov = {&hello, sizeof(hello)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    g_strlcpy(hello.backend, vm_gpu_backend_to_string(g->config->backend), sizeof(hello.backend));
    g_strlcpy(hello.device, g->config->device ? g->config->device : "", sizeof(hello.device));
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        fds[1 + i] = gpu_function_doorbell(g->function, i);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    return sendmsg(fd, &msg, MSG_NOSIGNAL) == sizeof(hello) ||
           vmd_set_errno(err, errno, "telling a GPU worker what to serve");
}

static bool watch(struct gpu *g, int fd, GError **err)
{
    g->poll = g_new0(uv_poll_t, 1);
    int rc = uv_poll_init(g->loop, g->poll, fd);

    if (rc < 0) {
        g_clear_pointer(&g->poll, g_free);
        return vmd_set_errno(err, -rc, "watching a GPU worker");
    }
    g->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(g->loop, g->timer);
    g->poll->data = g->timer->data = g;
    uv_poll_start(g->poll, UV_READABLE, readable);
    uv_timer_start(g->timer, ask, ASK_MS, ASK_MS);
    return true;
}

int gpu_serve(struct gpu *g, GError **err)
{
    int pair[2];

    if (g->fd >= 0) {
        vmd_fail(err, VMD_ERROR_BUSY, "there is a GPU worker already");
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        vmd_set_errno(err, errno, "a socket for a GPU worker");
        return -1;
    }
    autofd ours = pair[0], theirs = pair[1];
    if (!send_hello(g, ours, err) || !watch(g, ours, err))
        return -1;
    g->fd = steal_fd(&ours);
    g->serving = g->hung = false;
    g->unanswered = 0;
    g->have = 0;
    return steal_fd(&theirs);
}
