/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Calls and their answers. See channel.h. */
#include "guest/cuda/channel.h"

#include "guest/cuda/transport.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LOST = 709,
    NOT_READY = 802,
    OUT_OF_MEMORY = 2,
    BLOCK = 64 * 1024, /* of the data window */
    BLOCKS = GPU_DATA_BYTES / BLOCK,
    PIECE = 8,    /* blocks that one copy takes at most */
    SPINS = 2000, /* looks before a waiter pauses */
    PAUSE_LEAST_NS = 5000,
    PAUSE_MOST_NS = 500000,
    OPEN_MS = 5000,   /* how long the host may take to open a channel */
    BEGUN_MOST = 256, /* answers that nobody waits for yet */
    URGENT_MOST = 2 * BEGUN_MOST,
    KEPT_MOST = 2 * URGENT_MOST, /* answers that came while a call was written */
};

/* Who waits for an answer. */
struct waiter {
    struct waiter *next;
    uint32_t seq;
    channel_done done;
    void *opaque;
};

/* An answer that came while there was no room for a call: the host reads on when it is rid of it.
 */
struct kept {
    struct kept *next;
    uint32_t length;
    uint8_t bytes[];
};

struct channel {
    struct transport t;
    volatile struct gpu_channel *shared;
    struct gpu_ring calls, answers;
    uint32_t open;
    pthread_mutex_t lock;
    uint32_t seq;
    struct waiter *waiters;
    unsigned begun;
    bool lost;
    bool handing; /* a thread hands an answer over: no other is taken before it is through */
    bool printed;
    int late;
    uint8_t used[BLOCKS];
    struct gpu_answer_hello hello;
    _Alignas(8) uint8_t record[GPU_RECORD_MOST]; /* of a call that is written */
    _Alignas(8) uint8_t in[GPU_RECORD_MOST];     /* what came of a stream's next answer */
    size_t have;
    struct kept *kept, **kept_end; /* of a stream, the oldest first */
    unsigned n_kept;
};

/* --- answers ---------------------------------------------------------------------------------- */

static __thread bool urgent;

void channel_urgent(bool is)
{
    urgent = is;
}

bool channel_is_urgent(void)
{
    return urgent;
}

/* Reads of a stream; the length of its next answer, once all of that is in C->in; 0: not yet; -1:
 * it is over. Locked. */
static int stream_answer(struct channel *c)
{
    uint32_t length;

    if (c->have < sizeof(c->in)) {
        ssize_t n = read(c->t.fd, c->in + c->have, sizeof(c->in) - c->have);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return -1;
        c->have += n > 0 ? (size_t)n : 0;
    }
    if (c->have < sizeof(struct gpu_answer_head))
        return 0;
    memcpy(&length, c->in, sizeof(length));
    if (length < sizeof(struct gpu_answer_head) || length > sizeof(c->in) || length % GPU_ALIGN)
        return -1;
    return c->have < length ? 0 : (int)length;
}

/* That answer, to BUF. */
static void stream_take(struct channel *c, uint8_t *buf, size_t length)
{
    memcpy(buf, c->in, length);
    c->have -= length;
    memmove(c->in, c->in + length, c->have);
}

/* Copies the next answer to BUF: its length; 0: none. Locked. */
static int next_answer(struct channel *c, uint8_t *buf)
{
    struct kept *k = c->kept;

    if (c->shared) {
        int n = channel_there(c) ? ring_get(&c->answers, buf) : -1;
        return n > 0 && !channel_there(c) ? -1 : n;
    }
    if (k) {
        int length = (int)k->length;
        memcpy(buf, k->bytes, k->length);
        c->kept = k->next;
        c->n_kept--;
        free(k);
        return length;
    }
    int n = stream_answer(c);
    if (n > 0)
        stream_take(c, buf, (size_t)n);
    return n;
}

/* Keeps answers of a stream that are there. False: it is over. Locked. */
static bool keep_answers(struct channel *c)
{
    int n = 0;

    while (c->n_kept < KEPT_MOST && (n = stream_answer(c)) > 0) {
        struct kept *k = malloc(sizeof(*k) + (size_t)n);
        if (!k)
            return false;
        k->next = NULL;
        k->length = (uint32_t)n;
        stream_take(c, k->bytes, (size_t)n);
        if (!c->kept)
            c->kept_end = &c->kept;
        *c->kept_end = k;
        c->kept_end = &k->next;
        c->n_kept++;
    }
    return n >= 0;
}

static struct waiter *take_waiter(struct channel *c, uint32_t seq)
{
    for (struct waiter **at = &c->waiters; *at; at = &(*at)->next) {
        struct waiter *w = *at;
        if (w->seq == seq) {
            *at = w->next;
            c->begun--;
            return w;
        }
    }
    return NULL;
}

/* Everybody who waits hears that the channel is lost. Locked; the lock is let go meanwhile. */
static void lose(struct channel *c)
{
    struct waiter *w;

    c->lost = true;
    while ((w = c->waiters)) {
        c->waiters = w->next;
        c->begun--;
        pthread_mutex_unlock(&c->lock);
        w->done(w->opaque, LOST, NULL, 0);
        free(w);
        pthread_mutex_lock(&c->lock);
    }
}

/* Takes one answer; false: there is none, or another thread is at it: what an answer brings is in
 * its place before a later answer is seen. Locked; the lock is let go meanwhile. */
static bool take_answer(struct channel *c)
{
    _Alignas(8) uint8_t buf[GPU_RECORD_MOST];
    struct gpu_answer_head head;
    const void *fields;
    const uint8_t *payload;
    int n = c->lost || c->handing ? 0 : next_answer(c, buf);

    if (n < 0 || (n && record_check_answer(buf, (size_t)n, &fields, &payload) != RECORD_GOOD)) {
        lose(c);
        return false;
    }
    if (n == 0)
        return false;
    memcpy(&head, buf, sizeof(head));
    if (head.late && !c->late)
        c->late = (int)head.late;
    if (head.flags & GPU_ANSWER_PRINTED)
        c->printed = true;
    struct waiter *w = take_waiter(c, head.seq);
    if (!w)
        return true;
    c->handing = true;
    pthread_mutex_unlock(&c->lock);
    w->done(w->opaque, (int)head.result, fields,
            fields ? (uint32_t)(payload - (const uint8_t *)fields) + head.payload : 0);
    free(w);
    pthread_mutex_lock(&c->lock);
    c->handing = false;
    return true;
}

/* Waits a while, the longer the more often it was asked. Without the lock. */
static void pause_a_while(struct channel *c, unsigned *times)
{
    struct timespec ts = {.tv_nsec = PAUSE_LEAST_NS};

    if (!c->shared) {
        struct pollfd fd = {.fd = c->t.fd, .events = POLLIN};
        poll(&fd, 1, 1);
        return;
    }
    if (++*times < SPINS)
        return;
    for (unsigned i = SPINS; i < *times && ts.tv_nsec < PAUSE_MOST_NS; i += 4)
        ts.tv_nsec *= 2;
    nanosleep(&ts, NULL);
}

void channel_poll(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    while (take_answer(c))
        ;
    pthread_mutex_unlock(&c->lock);
}

/* Takes an answer, or waits a while for one. */
static void take_or_pause(struct channel *c, unsigned *times)
{
    pthread_mutex_lock(&c->lock);
    bool took = take_answer(c);
    pthread_mutex_unlock(&c->lock);
    if (took)
        *times = 0;
    else
        pause_a_while(c, times);
}

void channel_wait(struct channel *c, const bool *flag)
{
    unsigned times = 0;

    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
        take_or_pause(c, &times);
}

void channel_wait_none(struct channel *c, const unsigned *count)
{
    unsigned times = 0;

    while (__atomic_load_n(count, __ATOMIC_ACQUIRE))
        take_or_pause(c, &times);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Puts the record that C->record holds. Locked. */
static bool put_record(struct channel *c, uint32_t bytes)
{
    if (c->shared) {
        if (!channel_there(c)) { /* another program may have what is there now */
            lose(c);
            return true;
        }
        if (!ring_put(&c->calls, c->record, bytes))
            return false;
        gpu_fence();
        if (gpu_load(&c->shared->host_asleep))
            transport_ring(&c->t);
        return true;
    }
    for (uint32_t at = 0; at < bytes;) {
        ssize_t n = write(c->t.fd, c->record + at, bytes - at);
        if (n > 0) {
            at += (uint32_t)n;
            continue;
        }
        /* The host may not read on before it is rid of its answers. */
        struct pollfd fd = {.fd = c->t.fd, .events = POLLOUT};
        if ((n < 0 && errno != EAGAIN && errno != EINTR) || !keep_answers(c)) {
            lose(c);
            return true;
        }
        poll(&fd, 1, 1);
    }
    return true;
}

/* Writes a record; where there is no room the answers are taken meanwhile. Locked. */
static int send_record(struct channel *c, unsigned op, const void *fields, const void *payload,
                       uint32_t bytes, uint32_t seq, bool async)
{
    const struct record_desc *desc = record_desc(op);
    struct gpu_call_head head = {.bytes = record_call_bytes(desc->call_bytes, bytes),
                                 .op = (uint16_t)op,
                                 .flags = async ? GPU_CALL_ASYNC : 0,
                                 .seq = seq,
                                 .payload = bytes};
    unsigned times = 0;

    for (;;) {
        if (c->lost)
            return LOST;
        memset(c->record + head.bytes - GPU_ALIGN, 0, GPU_ALIGN);
        memcpy(c->record, &head, sizeof(head));
        memcpy(c->record + sizeof(head), fields, desc->call_bytes);
        if (bytes)
            memcpy(c->record + sizeof(head) + desc->call_bytes, payload, bytes);
        if (put_record(c, head.bytes))
            return c->lost ? LOST : 0;
        if (!take_answer(c)) {
            pthread_mutex_unlock(&c->lock);
            pause_a_while(c, &times);
            pthread_mutex_lock(&c->lock);
        }
    }
}

int channel_post(struct channel *c, unsigned op, const void *fields, const void *payload,
                 uint32_t bytes)
{
    pthread_mutex_lock(&c->lock);
    int rc = send_record(c, op, fields, payload, bytes, ++c->seq, true);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int channel_begin(struct channel *c, unsigned op, const void *fields, const void *payload,
                  uint32_t bytes, channel_done done, void *opaque)
{
    struct waiter *w = malloc(sizeof(*w));
    unsigned times = 0;

    if (!w)
        return OUT_OF_MEMORY;
    pthread_mutex_lock(&c->lock);
    while (c->begun >= (urgent ? URGENT_MOST : BEGUN_MOST) && !c->lost) {
        if (!take_answer(c)) {
            pthread_mutex_unlock(&c->lock);
            pause_a_while(c, &times);
            pthread_mutex_lock(&c->lock);
        }
    }
    *w = (struct waiter){.next = c->waiters, .seq = ++c->seq, .done = done, .opaque = opaque};
    c->waiters = w;
    c->begun++;
    uint32_t seq = w->seq;
    int rc = send_record(c, op, fields, payload, bytes, seq, false);
    if (rc) /* where the channel was lost meanwhile, DONE was called: that is no failure of this
               call's */
        rc = (w = take_waiter(c, seq)) ? rc : 0;
    else
        w = NULL;
    pthread_mutex_unlock(&c->lock);
    free(w);
    return rc;
}

struct answer {
    struct channel_data *data;
    uint32_t fields_bytes;
    int result;
    bool done;
};

static void answered(void *opaque, int result, const void *payload, uint32_t bytes)
{
    struct answer *a = opaque;
    struct channel_data *data = a->data;

    if (data && bytes) {
        const uint8_t *at = payload;
        uint32_t rest = bytes - a->fields_bytes;
        if (data->answer && bytes >= a->fields_bytes)
            memcpy(data->answer, at, a->fields_bytes);
        data->out_bytes = rest < data->out_most ? rest : data->out_most;
        if (data->out)
            memcpy(data->out, at + a->fields_bytes, data->out_bytes);
    }
    a->result = result;
    __atomic_store_n(&a->done, true, __ATOMIC_RELEASE);
}

int channel_call(struct channel *c, unsigned op, const void *fields, struct channel_data *data)
{
    struct answer a = {.data = data, .fields_bytes = record_desc(op)->answer_bytes};
    int rc = channel_begin(c, op, fields, data ? data->payload : NULL, data ? data->bytes : 0,
                           answered, &a);

    if (rc)
        return rc;
    channel_wait(c, &a.done);
    return a.result;
}

int channel_late(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    int rc = c->late;
    c->late = 0;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* What sticks to a context is told by every call on it, and is not to be told of another. */
static bool sticks(int result)
{
    return result == 700 || result == 702 || (result >= LOST && result < 720);
}

void channel_fail(struct channel *c, int result)
{
    pthread_mutex_lock(&c->lock);
    if (!c->late && !sticks(result))
        c->late = result;
    pthread_mutex_unlock(&c->lock);
}

bool channel_printed(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    bool printed = c->printed;
    c->printed = false;
    pthread_mutex_unlock(&c->lock);
    return printed;
}

bool channel_lost(struct channel *c)
{
    channel_poll(c);
    return __atomic_load_n(&c->lost, __ATOMIC_ACQUIRE);
}

void channel_leave(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    transport_leave(&c->t);
    pthread_mutex_unlock(&c->lock);
}

/* --- the window ------------------------------------------------------------------------------- */

static int free_run(const struct channel *c, int want, int *run)
{
    int best = 0, best_at = -1;

    for (int i = 0, n = 0; i < BLOCKS && best < want; i++) {
        n = c->used[i] ? 0 : n + 1;
        if (n > best) {
            best = n;
            best_at = i - n + 1;
        }
    }
    *run = best < want ? best : want;
    return best_at;
}

bool channel_take(struct channel *c, uint64_t bytes, uint64_t *offset, uint64_t *got)
{
    uint64_t want = (bytes + BLOCK - 1) / BLOCK;
    unsigned times = 0;
    int run, at = -1;

    if (!c->hello.window)
        return false;
    pthread_mutex_lock(&c->lock);
    while (!c->lost && (at = free_run(c, want < PIECE ? (int)want : PIECE, &run)) < 0 && !urgent) {
        if (!take_answer(c)) {
            pthread_mutex_unlock(&c->lock);
            pause_a_while(c, &times);
            pthread_mutex_lock(&c->lock);
        }
    }
    if (at >= 0) {
        memset(c->used + at, 1, (size_t)run);
        *offset = (uint64_t)at * BLOCK;
        *got = (uint64_t)run * BLOCK < bytes ? (uint64_t)run * BLOCK : bytes;
    }
    pthread_mutex_unlock(&c->lock);
    return at >= 0;
}

void channel_give(struct channel *c, uint64_t offset, uint64_t bytes)
{
    pthread_mutex_lock(&c->lock);
    memset(c->used + offset / BLOCK, 0, (bytes + BLOCK - 1) / BLOCK);
    pthread_mutex_unlock(&c->lock);
}

volatile uint8_t *channel_window(struct channel *c, uint64_t offset)
{
    return c->t.shared + GPU_DATA_AT + offset;
}

bool channel_there(const struct channel *c)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* after what was read */
    return gpu_load(&c->shared->host_open) == c->open;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The host empties the rings when it sees a number that is new. */
static bool open_rings(struct channel *c)
{
    struct timespec pause = {.tv_nsec = 200000};
    int64_t until = now_ms() + OPEN_MS;
    volatile struct gpu_channel *s = c->shared;

    c->open = (uint32_t)getpid() ^ (uint32_t)time(NULL) << 12 ^ gpu_load(&s->guest_open);
    if (!c->open || c->open == gpu_load(&s->guest_open))
        c->open = gpu_load(&s->guest_open) + 1 ? gpu_load(&s->guest_open) + 1 : 1;
    s->calls_tail = 0;
    s->answers_head = 0;
    gpu_store(&s->guest_open, c->open);
    transport_ring(&c->t);
    for (int i = 0; gpu_load(&s->host_open) != c->open; i++) {
        if (now_ms() > until)
            return false;
        if (i % 500 ==
            499) { /* a worker that was just started takes an old number for a dead program's */
            c->open = c->open + 1 ? c->open + 1 : 1;
            gpu_store(&s->guest_open, c->open);
            transport_ring(&c->t);
        }
        nanosleep(&pause, NULL);
    }
    if (s->magic != GPU_MAGIC || s->ring_bytes != GPU_RING_BYTES || s->data_bytes != GPU_DATA_BYTES)
        return false;
    ring_init(&c->calls, c->t.shared + GPU_CALLS_AT, GPU_RING_BYTES, &s->calls_head, &s->calls_tail,
              0);
    ring_init(&c->answers, c->t.shared + GPU_ANSWERS_AT, GPU_RING_BYTES, &s->answers_tail,
              &s->answers_head, 0);
    return true;
}

const struct gpu_answer_hello *channel_hello(const struct channel *c)
{
    return &c->hello;
}

static struct channel *open_once(int *result)
{
    struct channel *c = calloc(1, sizeof(*c));
    const struct gpu_call_hello hello = {GPU_VERSION, GPU_OLDEST};

    if (!c) {
        *result = OUT_OF_MEMORY;
        return NULL;
    }
    pthread_mutex_init(&c->lock, NULL);
    *result = transport_open(&c->t);
    c->shared = (volatile struct gpu_channel *)c->t.shared;
    if (!*result && c->shared && !open_rings(c))
        *result = NOT_READY;
    if (!*result) {
        struct channel_data data = {.answer = &c->hello};
        *result = channel_call(c, GPU_OP_HELLO, &hello, &data);
    }
    if (*result) {
        channel_close(c);
        return NULL;
    }
    return c;
}

/* A way that was there may be a worker's that is just ending; nothing is lost with it yet. */
struct channel *channel_open(int *result)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int64_t until = now_ms() + OPEN_MS;
    struct channel *c;

    while (!(c = open_once(result)) && *result == LOST) {
        *result = NOT_READY;
        if (now_ms() >= until)
            break;
        nanosleep(&pause, NULL);
    }
    return c;
}

void channel_introduce(struct channel *c)
{
    enum { SINCE = 10001 };
    const struct gpu_call_program program = {.pid = (uint32_t)getpid()};
    const char *name = program_invocation_short_name;
    struct channel_data data = {.payload = name, .bytes = (uint32_t)strnlen(name, 255)};

    if (c->hello.version >= SINCE)
        channel_call(c, GPU_OP_PROGRAM, &program, &data);
}

void channel_close(struct channel *c)
{
    if (c->shared && c->open && gpu_load(&c->shared->guest_open) == c->open) {
        gpu_store(&c->shared->guest_open, 0);
        transport_ring(&c->t);
    }
    transport_close(&c->t);
    while (c->kept) {
        struct kept *k = c->kept;
        c->kept = k->next;
        free(k);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}
