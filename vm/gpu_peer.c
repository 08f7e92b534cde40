/* Connections to workers. See gpu_priv.h. */
#include "vm/gpu_priv.h"

#include <errno.h>
#include <sys/socket.h>

static void handle_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void drop_with(struct gpu_peer *p)
{
    autofd dropped = steal_fd(&p->with);
}

void gpu__disconnect(struct gpu_peer *p)
{
    autofd fd = steal_fd(&p->fd); /* closed when nobody polls it any more */

    if (p->poll) {
        uv_poll_stop(p->poll);
        uv_close((uv_handle_t *)p->poll, handle_closed);
        uv_close((uv_handle_t *)p->timer, handle_closed);
    }
    drop_with(p);
    *p = (struct gpu_peer){.fd = -1, .with = -1};
}

/* --- speaking --------------------------------------------------------------------------------- */

static bool send_with(int fd, const void *data, size_t bytes, const int *fds, size_t n, int flags)
{
    char control[CMSG_SPACE(sizeof(int) * WORKER_FDS)] = {0};
    struct iovec iov = {(void *)data, bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL | flags) == (ssize_t)bytes;
}

bool gpu__order(const struct gpu_peer *p, const void *order, size_t bytes, int with)
{
    return p->fd >= 0 && send_with(p->fd, order, bytes, &with, with >= 0, MSG_DONTWAIT);
}

static bool send_hello(const struct gpu *g, int fd, uint32_t magic,
                       const struct vm_gpu_config *place, GError **err)
{
    struct worker_hello hello = {
        .magic = magic, .size = sizeof(hello), .memory = g->config->memory};
    int fds[WORKER_FDS] = {gpu_function_memory(g->function)};

    g_strlcpy(hello.backend, vm_gpu_backend_to_string(place->backend), sizeof(hello.backend));
    g_strlcpy(hello.device, place->device ? place->device : "", sizeof(hello.device));
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        fds[1 + i] = gpu_function_doorbell(g->function, i);
    return send_with(fd, &hello, sizeof(hello), fds, WORKER_FDS, 0) ||
           vmd_set_errno(err, errno, "telling a GPU worker what to serve");
}

/* --- connecting ------------------------------------------------------------------------------- */

static bool watch(struct gpu *g, struct gpu_peer *p, int fd, uv_poll_cb readable, uv_timer_cb tick,
                  GError **err)
{
    p->poll = g_new0(uv_poll_t, 1);
    int rc = uv_poll_init(g->loop, p->poll, fd);

    if (rc < 0) {
        g_clear_pointer(&p->poll, g_free);
        return vmd_set_errno(err, -rc, "watching a GPU worker");
    }
    p->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(g->loop, p->timer);
    p->poll->data = p->timer->data = g;
    uv_poll_start(p->poll, UV_READABLE, readable);
    uv_timer_start(p->timer, tick, GPU_ASK_MS, GPU_ASK_MS);
    return true;
}

int gpu__connect(struct gpu *g, struct gpu_peer *p, uint32_t magic,
                 const struct vm_gpu_config *place, uv_poll_cb readable, uv_timer_cb tick,
                 GError **err)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        vmd_set_errno(err, errno, "a socket for a GPU worker");
        return -1;
    }
    autofd ours = pair[0], theirs = pair[1];
    *p = (struct gpu_peer){.fd = -1, .with = -1};
    if (!send_hello(g, ours, magic, place, err) || !watch(g, p, ours, readable, tick, err))
        return -1;
    p->fd = steal_fd(&ours);
    return steal_fd(&theirs);
}

/* --- hearing ---------------------------------------------------------------------------------- */

/* How long what is said is, as far as it is known; 0: it makes no sense. */
static size_t said_size(const struct gpu_peer *p)
{
    if (p->have < sizeof(p->said.head))
        return sizeof(p->said.head);
    if (p->said.head.magic == WORKER_MAGIC && p->said.head.size == sizeof(p->said.report))
        return sizeof(p->said.report);
    if (p->said.head.magic == WORKER_MOVED_MAGIC && p->said.head.size == sizeof(p->said.moved))
        return sizeof(p->said.moved);
    return 0;
}

/* At most BYTES, and the descriptor that comes along; as recv(). */
static ssize_t receive(struct gpu_peer *p, size_t bytes)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(uint8_t *)&p->said + p->have, bytes};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = CMSG_LEN(sizeof(int))}; /* there is no room for two */
    ssize_t n = recvmsg(p->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) {
        drop_with(p);
        memcpy(&p->with, CMSG_DATA(c), sizeof(int));
    }
    return n;
}

enum gpu_heard gpu__hear(struct gpu_peer *p)
{
    if (!p->have)
        drop_with(p);
    for (;;) {
        size_t size = said_size(p);
        if (!size) {
            p->have = 0;
            return GPU_HEARD_NONSENSE;
        }
        if (p->have == size) {
            p->have = 0;
            return p->said.head.magic == WORKER_MAGIC ? GPU_HEARD_REPORT : GPU_HEARD_MOVED;
        }
        ssize_t n = receive(p, size - p->have);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR) ? GPU_HEARD_NOTHING : GPU_HEARD_END;
        p->have += (size_t)n;
    }
}
