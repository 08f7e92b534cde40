/* Streams of bytes that a VM process gives to its worker: programs that come by serial ports. */
#include "gpu/server/worker.h"
#include "tests/gpu/engine_test.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static struct {
    struct gpu_quota quota;
    struct gpu_backend_ops ops;
    struct session_env env;
    int vm, its; /* ends of the connection */
    GThread *thread;
} t;

/* Time, which tests can move on. */
static int64_t years;

int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
int __real_clock_gettime(clockid_t clock, struct timespec *out);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    int rc = __real_clock_gettime(clock, out);

    out->tv_sec += __atomic_load_n(&years, __ATOMIC_ACQUIRE) * 365 * 24 * 3600;
    return rc;
}

/* How often sessions looked at their device: also whenever an answer finds no room. */
static unsigned looks;

static bool look_again(struct gpu_quota *program)
{
    __atomic_fetch_add(&looks, 1, __ATOMIC_ACQ_REL);
    return false;
}

static void full(void *opaque)
{
    look_again(NULL);
}

/* A year goes by for an answer that finds no room: it is seen to be too long, or not. */
static void pass_a_year(void)
{
    __atomic_fetch_add(&years, 1, __ATOMIC_ACQ_REL);
    unsigned until = __atomic_load_n(&looks, __ATOMIC_ACQUIRE) + 2;
    while (__atomic_load_n(&looks, __ATOMIC_ACQUIRE) < until)
        g_usleep(1000);
}

static void *report_thread(void *opaque)
{
    struct worker_seats none = {0};

    worker_report(&t.env, &none, t.its);
    return NULL;
}

/* The worker reports; also that it is there still. */
static void expect_report(void)
{
    struct worker_report r;

    ck_assert_int_eq(recv(t.vm, &r, sizeof(r), MSG_WAITALL), (ssize_t)sizeof(r));
    ck_assert(r.magic == WORKER_MAGIC && r.size == sizeof(r));
}

static void setup(void)
{
    int pair[2];

    t.quota = (struct gpu_quota){.most = MIB(16)};
    t.env = (struct session_env){.backend = backend_queue_new(&engine_test), .quota = &t.quota};
    t.ops = *t.env.backend->ops;
    t.ops.meter_look = look_again;
    t.env.backend->ops = &t.ops;
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    t.vm = pair[0];
    t.its = pair[1];
    t.thread = g_thread_new("worker", report_thread, NULL);
    expect_report();
}

static void teardown(void)
{
    send(t.vm, (char[]){WORKER_ASK}, 1, 0);
    expect_report();
    close(t.vm);
    g_thread_join(t.thread);
    close(t.its);
}

/* Sends BYTE with descriptors; what is sent is the worker's then. */
static void give(char byte, const int *fds, unsigned n)
{
    char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = n ? control : NULL,
                         .msg_controllen = n ? CMSG_SPACE(n * sizeof(int)) : 0};

    if (n) {
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    ck_assert_int_eq(sendmsg(t.vm, &msg, 0), 1);
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
}

static int stream(void)
{
    int pair[2];

    ck_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    give(WORKER_STREAM, &pair[1], 1);
    return pair[0];
}

/* Whether the worker serves FD: it answers a hello, or the stream is over. */
static bool greets(int fd)
{
    const struct {
        struct gpu_call_head head;
        struct gpu_call_hello fields;
    } call = {{sizeof(call), GPU_OP_HELLO, 0, 5, 0}, {GPU_VERSION, GPU_OLDEST}};
    struct {
        struct gpu_answer_head head;
        struct gpu_answer_hello fields;
    } answer;

    if (send(fd, &call, sizeof(call), MSG_NOSIGNAL) != sizeof(call) ||
        recv(fd, &answer, sizeof(answer), MSG_WAITALL) != sizeof(answer))
        return false;
    ck_assert(answer.head.seq == 5 && !answer.head.result && !answer.fields.window);
    return true;
}

static bool is_over(int fd)
{
    char byte;

    return recv(fd, &byte, 1, 0) <= 0;
}

/* So many at once, and no more; those that are over count no more. */
START_TEST(many)
{
    int fds[WORKER_STREAMS];

    for (unsigned i = 0; i < WORKER_STREAMS; i++) {
        fds[i] = stream();
        ck_assert_msg(greets(fds[i]), "stream %u", i);
    }
    autofd more = stream();
    ck_assert(!greets(more));
    close(fds[0]);
    for (bool had = false; !had;) { /* its thread ends a moment later */
        fds[0] = stream();
        had = greets(fds[0]);
        if (!had)
            close(fds[0]);
    }
    for (unsigned i = 0; i < WORKER_STREAMS; i++)
        close(fds[i]);
}
END_TEST

/* What ends a stream, and nothing else. */
static const struct nonsense {
    const char *name;
    uint32_t words[6];
    unsigned bytes;
} nonsense[] = {
    {"no length", {0}, 24},
    {"a length that is too small", {8}, 24},
    {"one that is too large", {GPU_RECORD_MOST + 8}, 24},
    {"one that is odd", {17}, 24},
    {"a huge one", {UINT32_MAX}, 24},
    {"a payload that is not there", {24, GPU_OP_HELLO, 0, 4096}, 24},
};

START_TEST(hostile)
{
    const struct nonsense *n = &nonsense[_i];
    autofd other = stream(), fd = stream();

    ck_assert(greets(other));
    ck_assert(greets(fd));
    ck_assert_int_eq(send(fd, n->words, n->bytes, 0), (ssize_t)n->bytes);
    ck_assert_msg(is_over(fd), "%s", n->name);
    ck_assert_msg(greets(other), "%s", n->name);
}
END_TEST

/* Random bytes, as much as is taken. */
START_TEST(noise)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    uint32_t words[64];

    for (unsigned round = 0; round < 200; round++) {
        autofd fd = stream();
        for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
            words[i] = g_rand_int(rand);
        if (round % 2) /* a head that is believed */
            words[0] = 24;
        (void)!send(fd, words, sizeof(words), MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        while (!is_over(fd))
            ;
    }
    ck_assert_uint_eq(t.quota.used, 0);
}
END_TEST

/* Words of the VM process that are none. */
START_TEST(odd)
{
    int pair[2];

    give(WORKER_STREAM, NULL, 0);
    expect_report();
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    give(WORKER_ASK, &pair[1], 1);
    expect_report();
    ck_assert(is_over(pair[0]));
    close(pair[0]);
}
END_TEST

/* --- answers that nobody takes ---------------------------------------------------------------- */

static const struct {
    struct gpu_call_head head;
    struct gpu_call_hello fields;
} hello = {{sizeof(hello), GPU_OP_HELLO, 0, 5, 0}, {GPU_VERSION, GPU_OLDEST}};

/* Says hello until nothing more is taken: how often; -1: the stream is over. */
static int say_much(int fd)
{
    struct pollfd out = {.fd = fd, .events = POLLOUT};
    int said = 0;

    for (;;) {
        ssize_t n = send(fd, &hello, sizeof(hello), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN && poll(&out, 1, 100) == 0)
            return said;
        if (n < 0 && errno != EAGAIN)
            return -1;
        said += n > 0;
        ck_assert(n < 0 || n == sizeof(hello));
    }
}

/* A VM may be paused for as long as it likes; a program of the host is taken to be gone. */
START_TEST(stalled)
{
    static struct session_env bounded;
    struct {
        struct gpu_answer_head head;
        struct gpu_answer_hello fields;
    } answer;
    autofd paused = stream();
    int pair[2], said = say_much(paused);

    ck_assert_int_gt(said, 0);
    pass_a_year();
    bounded = t.env;
    bounded.answers_ms = 1;
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    autofd leaves = pair[0];
    ck_assert(worker_stream(&bounded, pair[1], NULL, NULL));
    while (say_much(leaves) >= 0)
        ;
    /* The other one goes on where it was. */
    for (int i = 0; i < said; i++) {
        ck_assert_int_eq(recv(paused, &answer, sizeof(answer), MSG_WAITALL),
                         (ssize_t)sizeof(answer));
        ck_assert(answer.head.seq == 5 && !answer.head.result);
    }
    ck_assert(greets(paused));
    __atomic_store_n(&years, 0, __ATOMIC_RELEASE);
}
END_TEST

static void *post(void *opaque)
{
    const struct gpu_answer_head head = {.bytes = sizeof(head)};

    return GINT_TO_POINTER(link_post(opaque, &head, sizeof(head)));
}

/* The same over rings: full, with a bound and without. */
START_TEST(stalled_ring)
{
    g_autofree uint8_t *channel = g_malloc0(GPU_CHANNEL_BYTES);
    volatile struct gpu_channel *shared = (volatile struct gpu_channel *)channel;
    autofd bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct link *l = link_ring(channel, bell);
    struct gpu_ring answers;
    uint8_t record[GPU_RECORD_MOST];

    ring_init(&answers, channel + GPU_ANSWERS_AT, GPU_RING_BYTES, &shared->answers_tail,
              &shared->answers_head, 0);
    gpu_store(&shared->guest_open, 1);
    ck_assert(link_open(l));
    link_bound(l, 1);
    while (post(l))
        ;
    link_bound(l, 0);
    link_on_full(l, full, NULL);
    GThread *thread = g_thread_new("post", post, l);
    pass_a_year();
    ck_assert_int_eq(ring_get(&answers, record), (int)sizeof(struct gpu_answer_head));
    ck_assert_ptr_nonnull(g_thread_join(thread));
    /* And when the program goes it is over. */
    thread = g_thread_new("post", post, l);
    pass_a_year();
    ck_assert(link_full(l));
    gpu_store(&shared->guest_open, 0);
    ck_assert_ptr_null(g_thread_join(thread));
    ck_assert(!link_full(l));
    link_free(l);
    __atomic_store_n(&years, 0, __ATOMIC_RELEASE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-streams");
    TCase *tc = tcase_create("gpu-streams");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, many);
    tcase_add_loop_test(tc, hostile, 0, G_N_ELEMENTS(nonsense));
    tcase_add_test(tc, noise);
    tcase_add_test(tc, odd);
    tcase_add_test(tc, stalled);
    tcase_add_test(tc, stalled_ring);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
