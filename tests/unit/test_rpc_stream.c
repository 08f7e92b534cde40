/* Messages over a socket whose peer reads late. */
#include "proto/rpc/stream.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { MANY = 1 << 20, PATIENCE_S = 60 };

static struct rig {
    uv_loop_t loop;
    struct rpc_stream *stream;
    int peer;
    unsigned drained;
    bool answers; /* each message with SIZE bytes */
    bool files;   /* and with a descriptor */
    size_t size;
    unsigned messages;
    unsigned looks, reads_at; /* looks at what it has not read; it reads after every so many */
} rig;

static void on_message(void *user, const char *bytes, size_t len)
{
    g_autofree char *text = g_malloc0(rig.size);
    int fd = rig.files ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;

    rig.messages++;
    ck_assert(fd >= 0 || !rig.files);
    if (rig.answers)
        ck_assert(rpc_stream_send(rig.stream, text, rig.size, fd));
}

static bool always(void *user)
{
    return true;
}

static void nothing(void *user)
{
}

static void on_drained(void *user)
{
    ck_assert_uint_eq(rpc_stream_queued(rig.stream), 0);
    rig.drained++;
}

static void on_ended(void *user, int errnum)
{
    ck_abort_msg("it ended: %s", strerror(errnum));
}

static const struct rpc_stream_ops ops = {
    .message = on_message,
    .ready = always,
    .half_closed = nothing,
    .overlong = nothing,
    .drained = on_drained,
    .ended = on_ended,
};

static void setup(void)
{
    int ends[2];

    rig = (struct rig){0};
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    rig.peer = ends[1];
    fcntl(rig.peer, F_SETFL, O_NONBLOCK);
    rig.stream =
        rpc_stream_new(&rig.loop, ends[0], RPC_LINES, MANY, 4 * MANY, false, &ops, NULL, NULL);
    ck_assert_ptr_nonnull(rig.stream);
}

static void teardown(void)
{
    rpc_stream_free(rig.stream);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    close(rig.peer);
}

static void send_bytes(size_t len)
{
    g_autofree char *text = g_malloc0(len);

    ck_assert(rpc_stream_send(rig.stream, text, len, -1));
}

static void peer_reads(void)
{
    static char text[MANY];

    while (read(rig.peer, text, sizeof(text)) > 0)
        ;
    ck_assert_int_eq(errno, EAGAIN);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;

    va_start(ap, request);
    int rc = __real_ioctl(fd, request, va_arg(ap, void *));
    va_end(ap);
    if (request == SIOCOUTQ && rig.reads_at && ++rig.looks % rig.reads_at == 0)
        peer_reads();
    return rc;
}

/* Runs the loop until it is told that all is sent, and then until nothing comes any more. */
static void until_drained(bool reading)
{
    int64_t until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

    while (!rig.drained) {
        ck_assert_msg(g_get_monotonic_time() < until, "it was not told");
        if (reading)
            peer_reads();
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    for (unsigned i = 0; i < 10; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(rig.drained, 1);
}

START_TEST(what_is_sent_at_once_drains_nothing)
{
    send_bytes(100);
    for (unsigned i = 0; i < 10; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(rig.drained, 0);
}
END_TEST

START_TEST(what_waits_is_drained_by_the_loop)
{
    send_bytes(MANY);
    ck_assert_uint_gt(rpc_stream_queued(rig.stream), 0);
    until_drained(true);
}
END_TEST

/* The rest goes with later messages, and the loop never sees that there is room. */
START_TEST(what_waits_is_drained_by_a_later_message)
{
    send_bytes(MANY);
    ck_assert_uint_gt(rpc_stream_queued(rig.stream), 0);
    while (rpc_stream_queued(rig.stream) > 0) {
        peer_reads();
        send_bytes(1);
    }
    ck_assert_uint_eq(rig.drained, 0);
    until_drained(false);
}
END_TEST

START_TEST(what_waits_is_drained_when_it_is_dropped)
{
    send_bytes(MANY);
    send_bytes(MANY);
    rpc_stream_discard(rig.stream);
    ck_assert_uint_lt(rpc_stream_queued(rig.stream), MANY);
    until_drained(true);
}
END_TEST

/* Few are kept open for a peer that asks for many and reads none, be they queued here or all in the
 * kernel; all come to one that reads. */
static const size_t sizes[] = {65536, 10};

START_TEST(descriptors_hold_back_what_asks_for_more)
{
    enum { ASKED = 200, SOME = 40 };
    int64_t until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

    rig.answers = rig.files = true;
    rig.size = sizes[_i];
    for (unsigned i = 0; i < ASKED; i++)
        ck_assert_int_eq(write(rig.peer, "{}\n", 3), 3);
    for (unsigned i = 0; i < 100; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_uint_gt(rig.messages, 0);
    ck_assert_uint_lt(rig.messages, SOME);
    while (rig.messages < ASKED) {
        ck_assert_msg(g_get_monotonic_time() < until, "%u were asked for", rig.messages);
        peer_reads();
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
}
END_TEST

/* Asks N times in one write. */
static void peer_asks(unsigned n)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < n; i++)
        g_string_append(text, "{}\n");
    ck_assert_int_eq(write(rig.peer, text->str, text->len), (ssize_t)text->len);
}

static void until_messages(unsigned n)
{
    int64_t until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

    while (rig.messages < n) {
        ck_assert_msg(g_get_monotonic_time() < until, "%u of %u were given", rig.messages, n);
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
}

/* What was held back is given, whenever the peer reads: after a look at the next message, or at
 * whether to read. */
START_TEST(descriptors_are_got_between_looks)
{
    enum { ASKED = 60 };

    rig.answers = rig.files = true;
    rig.size = 10;
    rig.reads_at = (unsigned)_i;
    peer_asks(ASKED);
    until_messages(ASKED);
    ck_assert_uint_gt(rig.looks, 0);
}
END_TEST

enum { ROUNDS = 300, A_ROUND = 20, ANSWER = 10 };

static void *read_all(void *arg)
{
    size_t left = (size_t)ROUNDS * A_ROUND * (ANSWER + 1);
    char text[4096];

    while (left > 0) {
        poll(&(struct pollfd){.fd = rig.peer, .events = POLLIN}, 1, -1);
        ssize_t n = read(rig.peer, text, sizeof(text));
        left -= (size_t)MAX(n, 0);
    }
    return NULL;
}

START_TEST(descriptors_are_got_at_any_time)
{
    pthread_t reader;

    rig.answers = rig.files = true;
    rig.size = ANSWER;
    ck_assert_int_eq(pthread_create(&reader, NULL, read_all, NULL), 0);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        peer_asks(A_ROUND);
        until_messages(i * A_ROUND);
    }
    pthread_join(reader, NULL);
}
END_TEST

/* Answers to messages that came together are queued until all of them are given. */
START_TEST(answers_are_drained_after_the_messages)
{
    rig.answers = true;
    rig.size = 100;
    ck_assert_int_eq(write(rig.peer, "1\n2\n3\n", 6), 6);
    until_drained(false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rpc_stream");
    TCase *tc = tcase_create("stream");

    tcase_set_timeout(tc, 2 * PATIENCE_S);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_is_sent_at_once_drains_nothing);
    tcase_add_test(tc, what_waits_is_drained_by_the_loop);
    tcase_add_test(tc, what_waits_is_drained_by_a_later_message);
    tcase_add_test(tc, what_waits_is_drained_when_it_is_dropped);
    tcase_add_loop_test(tc, descriptors_hold_back_what_asks_for_more, 0, G_N_ELEMENTS(sizes));
    tcase_add_loop_test(tc, descriptors_are_got_between_looks, 1, 4);
    tcase_add_test(tc, descriptors_are_got_at_any_time);
    tcase_add_test(tc, answers_are_drained_after_the_messages);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
