/* The server of libvirt's RPC over a socket: frames as golden bytes, order, rights, and clients
 * that mean no good. */
#include "proto/libvirt/server.h"
#include "tests/unit/libvirt_rig.h"

enum { STALL_MS = 50 };

static struct rig {
    uv_loop_t loop;
    struct libvirt_server *server;
    struct libvirt_conn *conn; /* the latest */
    int fd;
    struct libvirt_stream *stream; /* the latest */
    GString *streamed;             /* what came by it */
    bool stream_closed;
    GQueue held; /* requests for connect_is_secure, until the test answers */
    unsigned closed;
    bool refuse, done;
    bool pass; /* what is called is kept as it came */
} rig;

static void on_data(void *user, const uint8_t *bytes, size_t len)
{
    g_string_append_len(rig.streamed, (const char *)bytes, (gssize)len);
}

static void on_drained(void *user)
{
}

static void on_stream_closed(void *user)
{
    rig.stream_closed = true;
}

static const struct libvirt_stream_ops stream_ops = {
    .data = on_data, .drained = on_drained, .closed = on_stream_closed};

static bool opened(void *user, struct libvirt_conn *conn, GError **err)
{
    rig.conn = conn;
    return !rig.refuse || vmd_fail(err, VMD_ERROR_DENIED, "not you");
}

static void called(void *user, struct libvirt_request *request)
{
    const struct libvirt_text *text = libvirt_request_args(request);

    switch (libvirt_request_call(request)->number) {
    case LIBVIRT_CONNECT_IS_SECURE:
        g_queue_push_tail(&rig.held, request);
        return;
    case LIBVIRT_DOMAIN_OPEN_CONSOLE:
        rig.stream = libvirt_stream_begin(request, &stream_ops, NULL);
        return;
    case LIBVIRT_CONNECT_GET_HOSTNAME:
        libvirt_reply(request, &(struct libvirt_text){.value = (char *)"host"});
        return;
    case LIBVIRT_DOMAIN_LOOKUP_BY_NAME:
        libvirt_fail(request, LIBVIRT_ERR_NO_DOMAIN, LIBVIRT_FROM_DOMAIN, "no %s", text->value);
        return;
    default:
        libvirt_reply(request, NULL);
    }
}

static void closed(void *user, struct libvirt_conn *conn)
{
    rig.closed++;
    rig.conn = NULL;
}

static bool passed(void *user, struct libvirt_request *request, const uint8_t *bytes, size_t len)
{
    if (rig.pass)
        g_queue_push_tail(&rig.held, request);
    return rig.pass;
}

static const struct libvirt_server_ops ops = {
    .opened = opened, .pass = passed, .call = called, .closed = closed};

static int join(bool readonly)
{
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert(libvirt_server_adopt(rig.server, ends[0], readonly, NULL));
    return ends[1];
}

static void setup(void)
{
    rig = (struct rig){.fd = -1, .streamed = g_string_new(NULL)};
    uv_loop_init(&rig.loop);
    rig.server = libvirt_server_new(&rig.loop, &ops, NULL, STALL_MS);
    rig.fd = join(false);
}

static void is_done(void *arg)
{
    rig.done = true;
}

static void teardown(void)
{
    libvirt_server_close(rig.server, is_done, NULL);
    for (int64_t until = rig_patience(); !rig.done;)
        rig_turn(&rig.loop, until);
    for (struct libvirt_request *r; (r = g_queue_pop_head(&rig.held));)
        libvirt_reply(r, &(struct libvirt_number){0});
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    g_string_free(rig.streamed, TRUE);
    close(rig.fd);
}

static void send_call(int32_t procedure, uint32_t serial, const struct libvirt_layout *layout,
                      const void *args)
{
    g_autoptr(GByteArray) out = g_byte_array_new();

    rig_call(out, procedure, serial, layout, args);
    rig_send(&rig.loop, rig.fd, out->data, out->len);
}

static void expect_closed(void)
{
    uint8_t byte;

    ck_assert(!rig_bytes(&rig.loop, rig.fd, &byte, 1));
    ck_assert_uint_eq(rig.closed, 1);
}

#define REMOTE 0x20, 0x00, 0x80, 0x86, 0, 0, 0, 1

/* What goes in and what comes out, byte by byte. */
static const struct golden {
    const char *name;
    size_t in_length, out_length;
    uint8_t in[64], out[128];
} goldens[] = {
    {"a call and its result",
     28,
     36,
     {0, 0, 0, 28, REMOTE, 0, 0, 0, 59, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0},
     {0, 0, 0, 36, REMOTE, 0, 0, 0, 59, 0, 0,   0,   1,   0,  0,
      0, 9, 0, 0,  0,      0, 0, 0, 0,  4, 'h', 'o', 's', 't'}},
    {"a call without a result",
     28,
     28,
     {0, 0, 0, 28, REMOTE, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
     {0, 0, 0, 28, REMOTE, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}},
    {"an error",
     36,
     80,
     {0, 0, 0, 36, REMOTE, 0, 0, 0, 23, 0, 0,   0, 0, 0, 0,
      0, 2, 0, 0,  0,      0, 0, 0, 0,  1, 'a', 0, 0, 0},
     {0, 0,  0, 80, REMOTE, 0,  0, 0, 23, 0, 0, 0, 1, 0, 0,   0,   2,   0,   0, 0, 1, 0, 0,
      0, 42, 0, 0,  0,      20, 0, 0, 0,  1, 0, 0, 0, 4, 'n', 'o', ' ', 'a', 0, 0, 0, 2}},
    {"are you there",
     28,
     28,
     {0, 0, 0, 28, 0x6b, 0x65, 0x65, 0x70, 0, 0, 0, 1, 0, 0,
      0, 1, 0, 0,  0,    2,    0,    0,    0, 0, 0, 0, 0, 0},
     {0, 0, 0, 28, 0x6b, 0x65, 0x65, 0x70, 0, 0, 0, 1, 0, 0,
      0, 2, 0, 0,  0,    2,    0,    0,    0, 0, 0, 0, 0, 0}},
};

START_TEST(golden)
{
    const struct golden *c = &goldens[_i];
    uint8_t got[128];

    rig_send(&rig.loop, rig.fd, c->in, c->in_length);
    ck_assert(rig_bytes(&rig.loop, rig.fd, got, c->out_length));
    ck_assert_msg(memcmp(got, c->out, c->out_length) == 0, "%s", c->name);
}
END_TEST

static void answer_last(uint32_t serial)
{
    struct libvirt_head head;

    libvirt_reply(g_queue_pop_tail(&rig.held), &(struct libvirt_number){1});
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_uint_eq(head.serial, serial);
    ck_assert_int_eq(head.status, 0);
}

/* Calls wait for no other, and each answer has its call's serial; one too many waits for room. */
START_TEST(outstanding)
{
    struct libvirt_head head;

    for (uint32_t serial = 1; serial <= LIMIT_RPC_INFLIGHT; serial++)
        send_call(LIBVIRT_CONNECT_IS_SECURE, serial, NULL, NULL);
    for (int64_t until = rig_patience(); rig.held.length < LIMIT_RPC_INFLIGHT;)
        rig_turn(&rig.loop, until);
    send_call(LIBVIRT_CONNECT_GET_HOSTNAME, 1000, NULL, NULL);
    answer_last(LIMIT_RPC_INFLIGHT);
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_uint_eq(head.serial, 1000);
    for (uint32_t serial = LIMIT_RPC_INFLIGHT - 1; serial > 0; serial--)
        answer_last(serial);
}
END_TEST

START_TEST(refusals)
{
    static const uint8_t lxc[28] = {0, 0, 0, 28, 0x20, 0x00, 0x80, 0x88, 0, 0, 0, 1, 0, 0, 0, 3};
    int32_t number = 3;

    rig_send(&rig.loop, rig.fd, lxc, sizeof(lxc));
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_RPC, "no program 0x20008088");
    send_call(9999, 1, NULL, NULL);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_NO_SUPPORT, "9999");
    send_call(LIBVIRT_DOMAIN_CREATE, 2, &libvirt_number_layout, &number);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_RPC, "malformed");
    send_call(LIBVIRT_CONNECT_GET_HOSTNAME, 3, &libvirt_number_layout, &number);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_RPC, "malformed");
    ck_assert_uint_eq(rig.closed, 0);
}
END_TEST

/* By the socket, and by what the client said; reading goes on. */
START_TEST(read_only)
{
    struct libvirt_one_dom dom = {.dom = {.name = (char *)"a", .id = -1}};
    struct libvirt_head head;

    if (_i == 0) {
        close(rig.fd);
        rig.fd = join(true);
    } else {
        libvirt_conn_set_readonly(rig.conn);
    }
    send_call(LIBVIRT_DOMAIN_DESTROY, 1, &libvirt_one_dom_layout, &dom);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_OPERATION_DENIED,
              "operation domain_destroy forbidden for read only access");
    send_call(LIBVIRT_CONNECT_GET_HOSTNAME, 2, NULL, NULL);
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_int_eq(head.status, 0);
}
END_TEST

/* Whoever is not let in hears why, once. */
START_TEST(refused)
{
    close(rig.fd);
    for (int64_t until = rig_patience(); !rig.closed;)
        rig_turn(&rig.loop, until);
    rig.closed = 0;
    rig.refuse = true;
    rig.fd = join(false);
    send_call(LIBVIRT_AUTH_LIST, 1, NULL, NULL);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_AUTH_FAILED, "not you");
    expect_closed();
}
END_TEST

START_TEST(event)
{
    struct libvirt_number message = {.value = 5};
    struct libvirt_head head;

    libvirt_conn_event(rig.conn, 362, &libvirt_number_layout, &message);
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_int_eq(head.procedure, 362);
    ck_assert_int_eq(head.type, 2);
    ck_assert_uint_eq(head.serial, 0);
    ck_assert_mem_eq(got->data, ((uint8_t[]){0, 0, 0, 5}), 4);
}
END_TEST

/* Bytes that end the connection. */
static const struct {
    const char *name;
    size_t length;
    uint8_t bytes[32];
} hostile[] = {
    {"garbage", 8, "GET / HT"},
    {"shorter than its length", 4, {0, 0, 0, 3}},
    {"shorter than a head", 8, {0, 0, 0, 8, 1, 2, 3, 4}},
    {"32 MiB", 28, {2, 0, 0, 4, REMOTE, 0, 0, 0, 59}},
    {"a reply", 28, {0, 0, 0, 28, REMOTE, 0, 0, 0, 59, 0, 0, 0, 1}},
    {"a call that failed", 28, {0, 0, 0, 28, REMOTE, 0, 0, 0, 59, 0, 0,
                                0, 0, 0, 0,  0,      0, 0, 0, 0,  1}},
    {"with descriptors", 28, {0, 0, 0, 28, REMOTE, 0, 0, 0, 59, 0, 0, 0, 4}},
    {"half a frame, and no more", 20, {0, 0, 0, 28, REMOTE, 0, 0, 0, 59}},
    {"half a length, and no more", 2, {0, 0}},
};

START_TEST(hostile_bytes)
{
    rig_send(&rig.loop, rig.fd, hostile[_i].bytes, hostile[_i].length);
    expect_closed();
}
END_TEST

/* Asks for ever and reads nothing: it is stopped, then disconnected; the rest is served. */
START_TEST(never_reads)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    int other = join(false);
    struct libvirt_head head;
    size_t at = 0;

    rig_call(out, LIBVIRT_CONNECT_GET_HOSTNAME, 1, NULL, NULL);
    for (int64_t until = rig_patience(); !rig.closed; rig_turn(&rig.loop, until)) {
        ssize_t n = send(rig.fd, out->data + at, out->len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        at = n > 0 ? (at + (size_t)n) % out->len : at;
    }
    rig_send(&rig.loop, other, out->data, out->len);
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, other, &head);
    ck_assert_ptr_nonnull(got);
    close(other);
}
END_TEST

/* The message bound, and one byte beyond it. */
START_TEST(longest)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autofree char *name = g_strnfill(LIMIT_LIBVIRT_MESSAGE - LIBVIRT_HEAD_BYTES - 4, 'a');
    struct libvirt_text text = {.value = name};

    send_call(LIBVIRT_DOMAIN_LOOKUP_BY_NAME, 1, &libvirt_text_layout, &text);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_NO_DOMAIN, "no aaaa");
    rig_call(out, LIBVIRT_CONNECT_GET_HOSTNAME, 1, NULL, NULL);
    out->data[1] = LIMIT_LIBVIRT_MESSAGE >> 16 & 0xff;
    out->data[3] = 1;
    rig_send(&rig.loop, rig.fd, out->data, out->len);
    expect_closed();
}
END_TEST

/* A client that sends its calls and no more still gets the answers. */
START_TEST(half_closed)
{
    struct libvirt_head head;

    send_call(LIBVIRT_CONNECT_IS_SECURE, 1, NULL, NULL);
    shutdown(rig.fd, SHUT_WR);
    for (int64_t until = rig_patience(); rig.held.length == 0;)
        rig_turn(&rig.loop, until);
    libvirt_reply(g_queue_pop_tail(&rig.held), &(struct libvirt_number){1});
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_uint_eq(head.serial, 1);
    expect_closed();
}
END_TEST

/* An answer after the client has gone is dropped. */
START_TEST(gone)
{
    send_call(LIBVIRT_CONNECT_IS_SECURE, 1, NULL, NULL);
    for (int64_t until = rig_patience(); rig.held.length == 0;)
        rig_turn(&rig.loop, until);
    close(rig.fd);
    for (int64_t until = rig_patience(); !rig.closed;)
        rig_turn(&rig.loop, until);
    struct libvirt_request *request = g_queue_pop_head(&rig.held);
    ck_assert_ptr_null(libvirt_request_conn(request));
    libvirt_reply(request, &(struct libvirt_number){1});
    rig.fd = join(false);
}
END_TEST

#define STREAM(status) REMOTE, 0, 0, 0, 201, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, status
static const uint8_t to_server[] = {0, 0, 0, 30, STREAM(2), 'h', 'i'};
static const uint8_t to_client[] = {0, 0, 0, 31, STREAM(2), 'y', 'e', 's'};
static const uint8_t end_of_output[] = {0, 0, 0, 28, STREAM(2)};
static const uint8_t finish[] = {0, 0, 0, 28, STREAM(0)};
static const uint8_t strays[] = {0, 0, 0, 29, REMOTE, 0, 0, 0, 201, 0, 0,
                                 0, 3, 0, 0,  0,      6, 0, 0, 0,   2, 'x'};

static void begin_stream(void)
{
    struct libvirt_open_console a = {.dom = {.name = (char *)"a", .id = -1}};
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head;

    rig_call(out, LIBVIRT_DOMAIN_OPEN_CONSOLE, 5, &libvirt_open_console_layout, &a);
    rig_send(&rig.loop, rig.fd, out->data, out->len);
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_int_eq(head.type, 1);
    ck_assert_uint_eq(got->len, 0);
    ck_assert_ptr_nonnull(rig.stream);
}

static void expect_bytes(const uint8_t *want, size_t len)
{
    uint8_t got[64];

    ck_assert(rig_bytes(&rig.loop, rig.fd, got, len));
    ck_assert_mem_eq(got, want, len);
}

/* The answer to the call, then frames of its procedure and serial; others' are passed over. */
START_TEST(stream)
{
    begin_stream();
    rig_send(&rig.loop, rig.fd, strays, sizeof(strays));
    rig_send(&rig.loop, rig.fd, to_server, sizeof(to_server));
    for (int64_t until = rig_patience(); rig.streamed->len < 2;)
        rig_turn(&rig.loop, until);
    ck_assert_str_eq(rig.streamed->str, "hi");
    libvirt_stream_send(rig.stream, "yes", 3);
    expect_bytes(to_client, sizeof(to_client));
    libvirt_stream_send(rig.stream, NULL, 0);
    expect_bytes(end_of_output, sizeof(end_of_output));
    rig_send(&rig.loop, rig.fd, finish, sizeof(finish));
    expect_bytes(finish, sizeof(finish));
    ck_assert(rig.stream_closed);
}
END_TEST

/* What does not take its bytes holds the connection, and is over with it. */
START_TEST(stream_held)
{
    begin_stream();
    libvirt_stream_hold(rig.stream, true);
    rig_send(&rig.loop, rig.fd, to_server, sizeof(to_server));
    for (int i = 0; i < 20; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(rig.streamed->len, 0);
    libvirt_stream_hold(rig.stream, false);
    for (int64_t until = rig_patience(); rig.streamed->len < 2;)
        rig_turn(&rig.loop, until);
    close(rig.fd);
    for (int64_t until = rig_patience(); !rig.stream_closed;)
        rig_turn(&rig.loop, until);
    rig.fd = join(false);
}
END_TEST

/* A connection has so many streams and no more; one that has ended makes room. */
START_TEST(streams_most)
{
    struct libvirt_open_console a = {.dom = {.name = (char *)"a", .id = -1}};
    g_autoptr(GByteArray) out = g_byte_array_new();

    for (int i = 0; i < LIMIT_LIBVIRT_STREAMS; i++)
        begin_stream();
    rig_call(out, LIBVIRT_DOMAIN_OPEN_CONSOLE, 9, &libvirt_open_console_layout, &a);
    rig_send(&rig.loop, rig.fd, out->data, out->len);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_OPERATION_FAILED, "streams already");
    ck_assert_ptr_null(rig.stream);
    rig_send(&rig.loop, rig.fd, finish, sizeof(finish));
    expect_bytes(finish, sizeof(finish));
    begin_stream();
}
END_TEST

/* A hole ends a stream that has none, and that alone. */
START_TEST(stream_hole)
{
    static const uint8_t hole[] = {0, 0, 0, 40, REMOTE, 0, 0, 0, 201, 0, 0, 0, 6, 0, 0, 0, 5, 0, 0,
                                   0, 2, 0, 0,  0,      0, 0, 0, 0,   16, 0, 0, 0, 0};
    struct libvirt_head head;

    begin_stream();
    rig_send(&rig.loop, rig.fd, hole, sizeof(hole));
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_ptr_nonnull(got);
    ck_assert_int_eq(head.type, 3);
    ck_assert_int_eq(head.status, 1);
    ck_assert(rig.stream_closed);
    send_call(LIBVIRT_CONNECT_GET_HOSTNAME, 2, NULL, NULL);
    g_autoptr(GByteArray) host = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_int_eq(head.procedure, LIBVIRT_CONNECT_GET_HOSTNAME);
}
END_TEST

/* A call that is passed on, known here or not, is answered by bytes as they are; its stream's frames come as
 * they are. */
START_TEST(passed_on)
{
    static const uint8_t bytes[] = {1, 2, 3, 4};
    struct libvirt_head head;

    rig.pass = true;
    send_call(41, 3, NULL, NULL);
    for (int64_t until = rig_patience(); rig.held.length == 0;)
        rig_turn(&rig.loop, until);
    struct libvirt_request *request = g_queue_pop_head(&rig.held);
    ck_assert_ptr_null(libvirt_request_call(request));
    ck_assert_int_eq(libvirt_request_procedure(request), 41);
    libvirt_reply_raw(request, false, bytes, sizeof(bytes));
    g_autoptr(GByteArray) got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_int_eq(head.procedure, 41);
    ck_assert_uint_eq(head.serial, 3);
    ck_assert_int_eq(head.type, 1);
    ck_assert_int_eq(head.status, 0);
    ck_assert_uint_eq(got->len, sizeof(bytes));
    ck_assert_mem_eq(got->data, bytes, sizeof(bytes));

    libvirt_conn_event_raw(rig.conn, 315, bytes, sizeof(bytes));
    g_autoptr(GByteArray) told = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_int_eq(head.procedure, 315);
    ck_assert_int_eq(head.type, 2);
    ck_assert_uint_eq(told->len, sizeof(bytes));

    /* What a connection that only reads may not do, is not passed on either. */
    close(rig.fd);
    rig.fd = join(true);
    send_call(LIBVIRT_STORAGE_POOL_DESTROY, 4, NULL, NULL);
    rig_error(&rig.loop, rig.fd, LIBVIRT_ERR_OPERATION_DENIED, "read only");
    ck_assert_uint_eq(rig.held.length, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("libvirt_server");
    TCase *tc = tcase_create("rig");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, golden, 0, G_N_ELEMENTS(goldens));
    tcase_add_test(tc, outstanding);
    tcase_add_test(tc, refusals);
    tcase_add_loop_test(tc, read_only, 0, 2);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, event);
    tcase_add_loop_test(tc, hostile_bytes, 0, G_N_ELEMENTS(hostile));
    tcase_add_test(tc, never_reads);
    tcase_add_test(tc, longest);
    tcase_add_test(tc, half_closed);
    tcase_add_test(tc, gone);
    tcase_add_test(tc, stream);
    tcase_add_test(tc, stream_held);
    tcase_add_test(tc, streams_most);
    tcase_add_test(tc, stream_hole);
    tcase_add_test(tc, passed_on);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
