/* Links. See link.h. */
#include "gpu/server/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

enum {
    SPIN_NS = 20000,         /* how long an idle link is looked at before its thread sleeps */
    FULL_NS = 100000,        /* before a ring that is full is looked at again, at first */
    FULL_MOST_NS = 10000000, /* and later */
    FULL_MS = 10,            /* between looks at a stream that is */
};

struct link {
    int wake;
    int bound_ms; /* of a program that takes no answers; 0: none */
    /* Rings. */
    volatile uint8_t *channel;
    volatile struct gpu_channel *shared;
    int doorbell;
    bool quit;     /* atomic */
    uint32_t open; /* the number of the program that has it; 0: none */
    struct gpu_ring calls, answers;
    void (*on_wait)(void *opaque);
    void (*on_full)(void *opaque);
    void *full_opaque;
    bool full; /* an answer waits for room: atomic */
    void *opaque;
    /* A stream of bytes. */
    int fd;
    uint8_t in[GPU_RECORD_MOST];
    size_t have;
    bool ended;
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct link *link_new(void)
{
    struct link *l = g_new0(struct link, 1);

    l->fd = l->doorbell = -1;
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return l;
}

/* What is the host's in the page of counters; a guest can overwrite that too. */
static void present(volatile struct gpu_channel *shared)
{
    shared->magic = GPU_MAGIC;
    shared->version = GPU_VERSION;
    shared->ring_bytes = GPU_RING_BYTES;
    shared->data_bytes = GPU_DATA_BYTES;
}

struct link *link_ring(volatile uint8_t *channel, int doorbell)
{
    struct link *l = link_new();
    volatile struct gpu_channel *shared = (volatile struct gpu_channel *)channel;

    l->channel = channel;
    l->shared = shared;
    l->doorbell = doorbell;
    /* After another worker's death: the program that had the channel hears of that, and opens it
     * anew. */
    l->open = shared->generation ? gpu_load(&shared->guest_open) : 0;
    shared->host_open = 0;
    present(shared);
    gpu_store(&shared->generation, shared->generation + 1);
    return l;
}

struct link *link_moved(volatile uint8_t *channel, int doorbell)
{
    struct link *l = link_new();

    l->channel = channel;
    l->shared = (volatile struct gpu_channel *)channel;
    l->doorbell = doorbell;
    return l;
}

/* The rings, with what was read and written of them so far. */
static void begin_rings(struct link *l, uint32_t calls, uint32_t answers)
{
    ring_init(&l->calls, l->channel + GPU_CALLS_AT, GPU_RING_BYTES, &l->shared->calls_tail,
              &l->shared->calls_head, calls);
    ring_init(&l->answers, l->channel + GPU_ANSWERS_AT, GPU_RING_BYTES, &l->shared->answers_head,
              &l->shared->answers_tail, answers);
}

void link_state(const struct link *l, struct link_state *out)
{
    *out = (struct link_state){l->open, l->calls.mine, l->answers.mine};
}

void link_adopt(struct link *l, const struct link_state *state, bool there)
{
    l->open = state->open;
    if (there)
        begin_rings(l, state->calls, state->answers);
}

void link_on_wait(struct link *l, void (*fn)(void *opaque), void *opaque)
{
    l->on_wait = fn;
    l->opaque = opaque;
}

void link_on_full(struct link *l, void (*fn)(void *opaque), void *opaque)
{
    l->on_full = fn;
    l->full_opaque = opaque;
}

struct link *link_stream(int fd)
{
    struct link *l = link_new();

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    l->fd = fd;
    return l;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    close(l->wake);
    g_free(l);
}

void link_bound(struct link *l, int ms)
{
    l->bound_ms = ms;
}

void link_quit(struct link *l)
{
    __atomic_store_n(&l->quit, true, __ATOMIC_RELEASE);
    link_wake(l);
}

void link_wake(struct link *l)
{
    uint64_t one = 1;

    (void)!write(l->wake, &one, sizeof(one));
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* Something that a sleeper would be told of is there. */
static bool link_ready(struct link *l)
{
    uint32_t open = gpu_load(&l->shared->guest_open);

    return open != l->open || (l->open && ring_waiting(&l->calls));
}

static void drain(int fd)
{
    uint64_t count;

    (void)!read(fd, &count, sizeof(count));
}

static void sleep_for(struct link *l, int fd, const struct timespec *most)
{
    struct pollfd fds[2] = {{.fd = l->wake, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

    if (ppoll(fds, 2, most, NULL) <= 0)
        return;
    if (fds[0].revents)
        drain(l->wake);
    if (fds[1].revents && l->shared)
        drain(fd);
}

static void sleep_on(struct link *l, int fd, int ms)
{
    const struct timespec most = {ms / 1000, ms % 1000 * 1000000L};

    sleep_for(l, fd, ms < 0 ? NULL : &most);
}

void link_doze(struct link *l, long ns)
{
    const struct timespec most = {.tv_nsec = ns};

    if (!l->shared) {
        sleep_for(l, l->fd, &most);
        return;
    }
    gpu_store(&l->shared->host_asleep, 1);
    gpu_fence();
    if (!link_ready(l))
        sleep_for(l, l->doorbell, &most);
    gpu_store(&l->shared->host_asleep, 0);
}

void link_wait(struct link *l, int ms)
{
    uint64_t until = now_ns() + SPIN_NS;

    if (!l->shared) {
        sleep_on(l, l->fd, ms);
        return;
    }
    while (l->open && now_ns() < until) {
        if (link_ready(l))
            return;
    }
    gpu_store(&l->shared->host_asleep, 1);
    gpu_fence();
    if (!link_ready(l))
        sleep_on(l, l->doorbell, ms);
    gpu_store(&l->shared->host_asleep, 0);
}

/* Until the doorbell rings, unless the number of the program is another already. */
static void wait_asleep(struct link *l)
{
    if (l->on_wait)
        l->on_wait(l->opaque);
    gpu_store(&l->shared->host_asleep, 1);
    gpu_fence();
    if (gpu_load(&l->shared->guest_open) == l->open)
        sleep_on(l, l->doorbell, -1);
    gpu_store(&l->shared->host_asleep, 0);
}

bool link_gone(struct link *l)
{
    struct pollfd fd = {.fd = l->fd, .events = POLLRDHUP};

    if (l->shared)
        return gpu_load(&l->shared->guest_open) != l->open;
    return l->ended || poll(&fd, 1, 0) > 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

bool link_open(struct link *l)
{
    if (!l->shared)
        return !l->ended;
    while (l->open && gpu_load(&l->shared->guest_open) == l->open)
        wait_asleep(l);
    while (!(l->open = gpu_load(&l->shared->guest_open))) {
        if (__atomic_load_n(&l->quit, __ATOMIC_ACQUIRE))
            return false;
        if (l->on_wait)
            l->on_wait(l->opaque);
        link_wait(l, -1);
    }
    if (__atomic_load_n(&l->quit, __ATOMIC_ACQUIRE))
        return false;
    present(l->shared);
    l->shared->calls_head = 0;
    l->shared->answers_tail = 0;
    begin_rings(l, 0, 0);
    gpu_store(&l->shared->host_open, l->open);
    return true;
}

void link_close(struct link *l)
{
    if (!l->shared) {
        l->ended = true; /* what is left of it is of no other program */
        return;
    }
    gpu_store(&l->shared->host_open, 0);
    /* Whoever is still there has to close before anybody opens again. */
    while (gpu_load(&l->shared->guest_open) == l->open)
        wait_asleep(l);
    l->open = 0;
}

/* --- records ---------------------------------------------------------------------------------- */

/* Fills the buffer; false at the end of the stream. */
static bool stream_fill(struct link *l)
{
    while (l->have < sizeof(l->in)) {
        ssize_t n = read(l->fd, l->in + l->have, sizeof(l->in) - l->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        l->have += (size_t)n;
    }
    return true;
}

static int stream_next(struct link *l, uint8_t *buf)
{
    uint32_t length;

    if (!l->ended && !stream_fill(l))
        l->ended = true;
    if (l->have < sizeof(struct gpu_call_head))
        return l->ended ? -1 : 0;
    memcpy(&length, l->in, sizeof(length));
    if (length < sizeof(struct gpu_call_head) || length > GPU_RECORD_MOST || length % GPU_ALIGN) {
        l->ended = true; /* where the next record would begin is not known */
        return -1;
    }
    if (l->have < length)
        return l->ended ? -1 : 0;
    memcpy(buf, l->in, length);
    l->have -= length;
    memmove(l->in, l->in + length, l->have);
    return (int)length;
}

int link_next(struct link *l, uint8_t *buf)
{
    if (!l->shared)
        return stream_next(l, buf);
    if (gpu_load(&l->shared->guest_open) != l->open)
        return -1;
    return ring_get(&l->calls, buf);
}

/* There has been no room for an answer since BEGAN, 0 at first; false: it is too long. */
static bool full(struct link *l, uint64_t *began)
{
    if (!*began)
        *began = now_ns();
    __atomic_store_n(&l->full, true, __ATOMIC_RELAXED);
    if (l->on_full)
        l->on_full(l->full_opaque);
    return !l->bound_ms || now_ns() - *began <= (uint64_t)l->bound_ms * 1000000;
}

static bool stream_post(struct link *l, const uint8_t *at, size_t length)
{
    uint64_t began = 0;

    while (length) {
        ssize_t n = write(l->fd, at, length);
        struct pollfd fd = {.fd = l->fd, .events = POLLOUT};
        if (n < 0 && errno == EAGAIN) {
            if (poll(&fd, 1, FULL_MS) > 0 || full(l, &began))
                continue;
        } else if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            l->ended = true;
            return false;
        }
        at += n;
        length -= (size_t)n;
        began = 0;
    }
    return true;
}

static bool ring_post(struct link *l, const void *answer, uint32_t length)
{
    struct timespec pause = {.tv_nsec = FULL_NS};
    uint64_t began = 0;

    while (!ring_put(&l->answers, answer, length)) {
        if (gpu_load(&l->shared->guest_open) != l->open || !full(l, &began))
            return false;
        nanosleep(&pause, NULL);
        pause.tv_nsec = MIN(pause.tv_nsec * 2, FULL_MOST_NS);
    }
    return true;
}

bool link_post(struct link *l, const void *answer, uint32_t length)
{
    bool posted = l->shared ? ring_post(l, answer, length) : stream_post(l, answer, length);

    __atomic_store_n(&l->full, false, __ATOMIC_RELAXED);
    return posted;
}

bool link_full(const struct link *l)
{
    return __atomic_load_n(&l->full, __ATOMIC_RELAXED);
}

/* --- the window ------------------------------------------------------------------------------- */

uint64_t link_window_bytes(const struct link *l)
{
    return l->shared ? GPU_DATA_BYTES : 0;
}

void *link_window(struct link *l, uint64_t offset, uint64_t length)
{
    uint64_t size = link_window_bytes(l);

    if (offset > size || length > size - offset)
        return NULL;
    return (void *)(l->channel + GPU_DATA_AT + offset);
}
