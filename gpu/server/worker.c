/* Sessions and their threads. See worker.h. */
#include "gpu/server/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* One session's thread; of a program of the host it owns what it serves. */
struct serving {
    const struct session_env *env;
    struct link *link;
    int socket, memory, doorbell;
    void *mapped;
    unsigned *count; /* atomic: of those of its kind; NULL */
};

/* Nobody waits for a session's thread: it ends with its program. */
static bool start_thread(void *(*fn)(void *opaque), void *s, GError **err)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, fn, s);

    if (rc)
        return vmd_set_errno(err, rc, "starting a session");
    pthread_detach(thread);
    return true;
}

static void *seat_thread(void *opaque)
{
    struct session_seat *seat = opaque;

    session_serve(seat);
    link_free(seat->link);
    return NULL;
}

/* --- of a VM ---------------------------------------------------------------------------------- */

/* What follows the size of a hello, which ends before the device where it is of an earlier vmd. */
static bool receive_rest(int fd, struct worker_hello *hello)
{
    size_t head = offsetof(struct worker_hello, memory), size = hello->size;

    if ((hello->magic != WORKER_MAGIC && hello->magic != WORKER_MOVED_MAGIC) ||
        (size != sizeof(*hello) && size != WORKER_HELLO_LEAST))
        return false;
    memset(hello->device, 0, sizeof(hello->device));
    ssize_t n = recv(fd, (uint8_t *)hello + head, size - head, MSG_WAITALL);
    return n == (ssize_t)(size - head) && !hello->backend[sizeof(hello->backend) - 1] &&
           !hello->device[sizeof(hello->device) - 1];
}

bool worker_greet(int fd, struct worker_hello *hello, int fds[WORKER_FDS], GError **err)
{
    char control[CMSG_SPACE(sizeof(int) * WORKER_FDS)] = {0};
    struct iovec iov = {hello, offsetof(struct worker_hello, memory)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
    struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

    if (n < 0)
        return vmd_set_errno(err, errno, "hearing what to serve");
    if (n != (ssize_t)iov.iov_len || !receive_rest(fd, hello))
        return vmd_fail(err, VMD_ERROR_INVALID, "the VM process speaks another version");
    if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int) * WORKER_FDS))
        return vmd_fail(err, VMD_ERROR_INVALID, "the VM process sent other descriptors");
    memcpy(fds, CMSG_DATA(c), sizeof(int) * WORKER_FDS);
    return true;
}

static void *map_shared(int fd, size_t bytes, GError **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_size < (off_t)bytes) {
        vmd_fail(err, VMD_ERROR_INVALID, "the window is smaller than its channels");
        return NULL;
    }
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        vmd_set_errno(err, errno, "mapping the window");
        return NULL;
    }
    return at;
}

struct meter *worker_meter(int use, int grant, GError **err)
{
    autofd written = use, told = grant;
    struct stat st[2];

    if (fstat(written, &st[0]) < 0 || fstat(told, &st[1]) < 0 || st[0].st_size < SHARE_PAGE ||
        st[1].st_size < SHARE_PAGE) {
        vmd_fail(err, VMD_ERROR_INVALID, "what vmd gave for a share of the device is no page");
        return NULL;
    }
    void *page = mmap(NULL, SHARE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, written, 0);
    void *granted = mmap(NULL, SHARE_PAGE, PROT_READ, MAP_SHARED, told, 0);
    if (page == MAP_FAILED || granted == MAP_FAILED) {
        vmd_set_errno(err, errno, "mapping the pages of a share of the device");
        return NULL;
    }
    return meter_new(page, granted);
}

bool worker_start(const struct session_env *env, struct worker_seats *seats,
                  const int fds[WORKER_FDS], bool moved, GError **err)
{
    uint8_t *window = map_shared(fds[0], GPU_SHARED_BYTES, err);

    if (!window)
        return false;
    close(fds[0]);
    seats->hold = hold_new(GPU_CHANNELS, moved);
    seats->loaded = false;
    for (unsigned i = 0; i < GPU_CHANNELS; i++) {
        uint8_t *channel = window + (size_t)i * GPU_CHANNEL_BYTES;
        struct session_seat *seat = &seats->seats[i];
        *seat = (struct session_seat){.env = env,
                                      .link = moved ? link_moved(channel, fds[1 + i])
                                                    : link_ring(channel, fds[1 + i]),
                                      .hold = seats->hold,
                                      .number = i};
        if (!start_thread(seat_thread, seat, err)) {
            link_free(seat->link);
            return false;
        }
    }
    return true;
}

/* --- streams of bytes ------------------------------------------------------------------------- */

static void *stream_thread(void *opaque)
{
    struct serving *s = opaque;

    session_run(s->env, s->link);
    link_free(s->link);
    close(s->socket);
    if (s->count)
        __atomic_fetch_sub(s->count, 1, __ATOMIC_RELAXED);
    g_free(s);
    return NULL;
}

bool worker_stream(const struct session_env *env, int socket, unsigned *count, GError **err)
{
    struct serving *s = g_new0(struct serving, 1);

    *s =
        (struct serving){.env = env, .socket = socket, .link = link_stream(socket), .count = count};
    link_bound(s->link, env->answers_ms);
    if (start_thread(stream_thread, s, err))
        return true;
    link_free(s->link);
    close(socket);
    g_free(s);
    return false;
}

/* --- of programs of the host ------------------------------------------------------------------ */

/* When the socket is closed, the program is gone, whatever it left in its channel. */
static void *watch_thread(void *opaque)
{
    struct serving *s = opaque;
    struct pollfd fd = {.fd = s->socket, .events = POLLIN | POLLRDHUP};
    volatile struct gpu_channel *shared = s->mapped;

    while (poll(&fd, 1, -1) < 0 && errno == EINTR)
        ;
    link_quit(s->link);
    gpu_store(&shared->guest_open, 0);
    link_wake(s->link);
    return NULL;
}

static void *channel_thread(void *opaque)
{
    struct serving *s = opaque;
    pthread_t watcher;
    bool watched = pthread_create(&watcher, NULL, watch_thread, s) == 0;

    if (watched) { /* a program that is gone would not be heard of else */
        session_run(s->env, s->link);
        pthread_join(watcher, NULL);
    }
    link_free(s->link);
    munmap(s->mapped, GPU_CHANNEL_BYTES);
    close(s->socket);
    close(s->doorbell);
    g_free(s);
    return NULL;
}

/* Gives the program at SOCKET a channel of its own. Takes SOCKET. */
static bool give_channel(const struct session_env *env, int socket, GError **err)
{
    autofd taken = socket;
    autofd memory = memfd_create("gpu-channel", MFD_CLOEXEC);
    autofd bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int fds[2] = {memory, bell};
    char control[CMSG_SPACE(sizeof(fds))] = {0};
    struct iovec iov = {(char[]){'R'}, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    if (memory < 0 || bell < 0 || ftruncate(memory, GPU_CHANNEL_BYTES) < 0)
        return vmd_set_errno(err, errno, "making a channel");
    void *mapped = map_shared(memory, GPU_CHANNEL_BYTES, err);
    if (!mapped)
        return false;
    struct serving *s = g_new0(struct serving, 1);
    *s = (struct serving){.env = env, .mapped = mapped, .doorbell = bell};
    s->link = link_ring(mapped, bell);
    link_bound(s->link, env->answers_ms);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    bool runs = false;
    if (sendmsg(socket, &msg, MSG_NOSIGNAL) != 1)
        vmd_set_errno(err, errno, "giving a program its channel");
    else {
        s->socket = steal_fd(&taken);
        runs = start_thread(channel_thread, s, err);
    }
    if (!runs) {
        link_free(s->link);
        munmap(mapped, GPU_CHANNEL_BYTES);
        if (s->socket > 0)
            close(s->socket);
        g_free(s);
        return false;
    }
    steal_fd(&bell);
    return true;
}

/* A program connected, and says in a byte what it wants. Takes SOCKET. */
static bool admit(const struct session_env *env, int socket, GError **err)
{
    autofd taken = socket;
    char want = 0;
    struct timeval most = {.tv_sec = 1};

    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    if (recv(socket, &want, 1, 0) != 1 || (want != 'R' && want != 'S'))
        return vmd_fail(err, VMD_ERROR_INVALID, "a program did not say what it wants");
    if (want == 'R')
        return give_channel(env, steal_fd(&taken), err);
    return worker_stream(env, steal_fd(&taken), NULL, err);
}

bool worker_listen(const struct session_env *env, int fd, GError **err)
{
    for (;;) {
        int socket = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (socket < 0 && errno != EINTR && errno != ECONNABORTED)
            return vmd_set_errno(err, errno, "waiting for programs");
        g_autoptr(GError) why = NULL;
        if (socket >= 0 && !admit(env, socket, &why))
            continue; /* that program's loss */
    }
}
