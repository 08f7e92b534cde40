/*
 * proto: a server over real sockets. Good and bad requests, batches, pipelining, slow clients,
 * descriptors, roles and idempotency keys. Each test runs the loop until what it waits for is
 * there.
 */
#include "proto/jsonrpc/json.h"
#include "proto/jsonrpc/rpc.h"
#include "proto/schema/api.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { PATIENCE_S = 20 };

/* One loop, one server, one client socket. */
static struct rig {
    uv_loop_t loop;
    struct rpc_server *server;
    struct rpc_conn *conn;
    int fd; /* the client's end; blocking reads are never used */
    GString *in;
    int got_fd;
    bool closed; /* the server's end told us */
    unsigned creates;
    struct rpc_call *waiting; /* of vm.wait and vm.start, until the test answers */
    bool cancelled;
    enum rpc_role role;
    unsigned remembered;
    GQueue held; /* calls of vm.reset, and of vm.peek */
} rig;

/* --- handlers ------------------------------------------------------------------------------ */

static void on_ping(struct rpc_call *call, struct system_ping_params *params)
{
    system_ping_reply(call);
}

static void on_create(struct rpc_call *call, struct vm_create_params *params)
{
    g_autoptr(vm_info) info = vm_info_new();

    rig.creates++;
    info->id = g_strdup_printf("id-%u", rig.creates);
    info->owner = g_strdup("me");
    info->name = g_strdup(params->config->name);
    info->config = g_steal_pointer(&params->config);
    if (strcmp(info->name, "taken") == 0)
        rpc_call_error(call, VMD_ERROR_EXISTS, "the name is taken");
    else
        vm_create_reply(call, info);
}

static void on_cancel(struct rpc_call *call, void *arg)
{
    rig.cancelled = true;
}

static void on_wait(struct rpc_call *call, struct vm_wait_params *params)
{
    ck_assert_ptr_null(rig.waiting);
    rig.waiting = call;
    rpc_call_on_cancel(call, on_cancel, NULL);
}

static void on_start(struct rpc_call *call, struct vm_start_params *params)
{
    rig.creates++;
    rig.waiting = call;
}

static void on_reset(struct rpc_call *call, struct vm_reset_params *params)
{
    g_queue_push_tail(&rig.held, call);
}

static void on_peek(struct rpc_call *call, struct vm_peek_params *params)
{
    g_queue_push_tail(&rig.held, call);
}

static void on_attach(struct rpc_call *call, struct console_attach_params *params)
{
    struct console_attach_result r = {.console = params->console, .total = 7};
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "hello", 5), 5);
    close(ends[1]);
    console_attach_reply(call, &r, ends[0]);
}

/* A long answer for a small question. */
static void on_log(struct rpc_call *call, struct console_log_params *params)
{
    g_autoptr(console_chunk) c = console_chunk_new();

    c->data = g_strnfill(100000, 'x');
    console_log_reply(call, c);
}

static const struct api_handlers handlers = {
    .system_ping = on_ping,
    .vm_create = on_create,
    .vm_wait = on_wait,
    .vm_start = on_start,
    .vm_reset = on_reset,
    .vm_peek = on_peek,
    .console_attach = on_attach,
    .console_log = on_log,
};

/* --- the rig ------------------------------------------------------------------------------- */

static bool rig_admit(void *user, const struct rpc_peer *peer, enum rpc_role *role, GError **err)
{
    ck_assert_uint_eq(peer->uid, geteuid());
    ck_assert_uint_eq(peer->gid, getegid());
    *role = rig.role;
    return true;
}

static bool rig_owns(void *user, struct rpc_conn *conn, const char *vm, GError **err)
{
    if (strcmp(vm, "none") == 0)
        return vmd_fail(err, VMD_ERROR_NOT_FOUND, "no VM none");
    return strcmp(vm, "mine") == 0 || vmd_fail(err, VMD_ERROR_DENIED, "%s is not yours", vm);
}

static void rig_closed(void *user, struct rpc_conn *conn)
{
    rig.closed = true;
    rig.conn = NULL;
}

static const struct rpc_server_ops ops = {
    .admit = rig_admit, .owns = rig_owns, .closed = rig_closed};

static void setup_as(enum rpc_role role)
{
    int ends[2];

    rig = (struct rig){.in = g_string_new(NULL), .got_fd = -1, .role = role};
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    rig.server = rpc_server_new(&rig.loop, &api_service, &handlers, &ops, &rig);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    rig.conn = rpc_server_adopt(rig.server, ends[0], NULL);
    ck_assert_ptr_nonnull(rig.conn);
    rig.fd = ends[1];
    fcntl(rig.fd, F_SETFL, O_NONBLOCK);
}

static void setup(void)
{
    setup_as(RPC_ROLE_ADMIN);
}

/* One turn of the loop; fails the test when it has waited too long. */
static void turn(int64_t until)
{
    ck_assert_msg(g_get_monotonic_time() < until, "nothing came in time");
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    g_usleep(200);
}

static int64_t patience(void)
{
    return g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
}

static void on_done(void *arg)
{
    *(bool *)arg = true;
}

static void teardown(void)
{
    int64_t until = patience();
    bool done = false;

    if (rig.fd >= 0)
        close(rig.fd);
    rpc_server_close(rig.server, on_done, &done);
    while (!done)
        turn(until);
    while (uv_run(&rig.loop, UV_RUN_NOWAIT))
        turn(until);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    g_string_free(rig.in, TRUE);
    if (rig.got_fd >= 0)
        close(rig.got_fd);
}

static void send_bytes(const char *text, size_t len)
{
    int64_t until = patience();

    while (len > 0) {
        ssize_t n = send(rig.fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EPIPE)
            return;
        ck_assert(n >= 0 || errno == EAGAIN);
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
        turn(until);
    }
}

static void send_line(const char *text)
{
    send_bytes(text, strlen(text));
    send_bytes("\n", 1);
}

/* Reads what is there; false at the end. */
static bool receive(void)
{
    char buf[65536];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(rig.fd, &msg, MSG_CMSG_CLOEXEC);

    if (n > 0) {
        g_string_append_len(rig.in, buf, n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        if (c)
            memcpy(&rig.got_fd, CMSG_DATA(c), sizeof(int));
    }
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* The next line; NULL when the server has closed the connection. The caller frees. */
static char *next_line(void)
{
    int64_t until = patience();

    for (;;) {
        char *lf = strchr(rig.in->str, '\n');
        if (lf) {
            char *line = g_strndup(rig.in->str, (gsize)(lf - rig.in->str));
            g_string_erase(rig.in, 0, lf + 1 - rig.in->str);
            return line;
        }
        if (!receive())
            return NULL;
        turn(until);
    }
}

static void expect(const char *want)
{
    g_autofree char *line = next_line();

    ck_assert_msg(line != NULL, "the connection is closed; expected %s", want);
    ck_assert_msg(strcmp(line, want) == 0, "%s\nexpected %s", line, want);
}

static struct json_object *next_json(void)
{
    g_autofree char *line = next_line();
    struct json_object *v = NULL;

    ck_assert_msg(line != NULL, "the connection is closed");
    ck_assert_msg(json_read(line, strlen(line), &v, NULL), "%s", line);
    return v;
}

/* The member at PATH, its names separated by '/'. */
static struct json_object *at(struct json_object *v, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, "/", -1);

    for (size_t i = 0; names[i]; i++)
        ck_assert_msg(json_object_object_get_ex(v, names[i], &v), "%s in %s", names[i], path);
    return v;
}

static void expect_error(int code, const char *kind)
{
    g_autoptr(json_object) v = next_json();

    ck_assert_msg(json_object_get_int(at(v, "error/code")) == code, "%s",
                  json_object_to_json_string(v));
    ck_assert_str_eq(json_object_get_string(at(v, "error/data/kind")), kind);
    ck_assert_str_ne(json_object_get_string(at(v, "error/data/hint")), "");
}

static void expect_closing(const char *kind)
{
    g_autoptr(json_object) v = next_json();

    ck_assert_str_eq(json_object_get_string(at(v, "method")), "rpc.closing");
    ck_assert_str_eq(json_object_get_string(at(v, "params/kind")), kind);
    ck_assert_ptr_null(next_line());
}

static void wait_for(const bool *flag)
{
    for (int64_t until = patience(); !*flag;)
        turn(until);
}

static void wait_for_call(void)
{
    for (int64_t until = patience(); !rig.waiting;)
        turn(until);
}

#define REQ(id, method, params)                                                                    \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":" params "}"
#define PONG(id) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":{}}"
#define PING(id) REQ(id, "system.ping", "{}")

/* --- requests ------------------------------------------------------------------------------ */

static const struct {
    const char *line;
    int code; /* 0: answered with a result; 1: not answered */
    const char *kind;
} lines[] = {
    {PING("1"), 0, NULL},
    {PING("\"a\""), 0, NULL},
    {PING("1.5"), 0, NULL},
    {PING("null"), 0, NULL},
    {" " PING("1") "\r", 0, NULL},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}", 0, NULL},
    {"{\"jsonrpc\":\"2.0\",\"method\":\"system.ping\"}", 1, NULL},
    {"{\"jsonrpc\":\"2.0\",\"method\":\"no.such\"}", 1, NULL},
    {"{\"jsonrpc\":\"2.0\",\"method\":\"vm.get\",\"params\":{}}", 1, NULL},
    {"", -32700, "invalid"},
    {"   ", -32700, "invalid"},
    {"GET / HTTP/1.1\r", -32700, "invalid"},
    {"{", -32700, "invalid"},
    {"\xff\xfe", -32700, "invalid"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"system.ping\"}", -32700, "invalid"},
    {PING("1") PING("2"), -32700, "invalid"},
    {PING("999999999999999999999999999"), -32700, "invalid"},
    {"1", -32600, "invalid"},
    {"null", -32600, "invalid"},
    {"\"x\"", -32600, "invalid"},
    {"{}", -32600, "invalid"},
    {"[]", -32600, "invalid"},
    {"{\"id\":1,\"method\":\"system.ping\"}", -32600, "invalid"},
    {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"system.ping\"}", -32600, "invalid"},
    {"{\"jsonrpc\":2,\"id\":1,\"method\":\"system.ping\"}", -32600, "invalid"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1}", -32600, "invalid"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -32600, "invalid"},
    {"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"system.ping\"}", -32600, "invalid"},
    {"{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"system.ping\"}", -32600, "invalid"},
    {REQ("1", "system.ping", "[]"), -32600, "invalid"},
    {REQ("1", "system.ping", "null"), -32600, "invalid"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\",\"extra\":1}", -32600, "invalid"},
    {REQ("1", "no.such", "{}"), -32601, "not-found"},
    {REQ("1", "", "{}"), -32601, "not-found"},
    {REQ("1", "system.ping", "{\"x\":1}"), -32602, "invalid"},
    {REQ("1", "vm.get", "{}"), -32602, "invalid"},
    {REQ("1", "vm.get", "{\"vm\":\"a b\"}"), -32602, "invalid"},
    {REQ("1", "vm.create", "{\"config\":{\"name\":\"a\",\"arch\":\"riscv64\",\"cpus\":9999}}"),
     -32006, "limit"},
    {REQ("1", "vm.create", "{\"config\":{\"name\":\"taken\",\"arch\":\"riscv64\"}}"), -32002,
     "exists"},
    {REQ("1", "vm.get", "{\"vm\":\"a\"}"), -32005, "unsupported"},
    {REQ("1", "system.ping", "{\"key\":\"k\"}"), -32602, "invalid"},
};

/* Whatever a line holds, the next request is answered. */
START_TEST(request_rows)
{
    send_line(lines[_i].line);
    if (lines[_i].code == 0) {
        g_autoptr(json_object) v = next_json();
        ck_assert_msg(json_object_object_get_ex(v, "result", NULL), "%s", lines[_i].line);
    } else if (lines[_i].code != 1) {
        expect_error(lines[_i].code, lines[_i].kind);
    }
    send_line(PING("77"));
    expect(PONG("77"));
}
END_TEST

START_TEST(nesting)
{
    g_autofree char *deep = g_strnfill(200000, '[');

    send_line(deep);
    expect_error(-32700, "limit");
    send_line(PING("1"));
    expect(PONG("1"));
}
END_TEST

START_TEST(many_values)
{
    GString *s = g_string_new("[");

    for (int i = 0; i < LIMIT_RPC_VALUES; i++)
        g_string_append(s, i ? ",{}" : "{}");
    g_string_append_c(s, ']');
    send_line(s->str);
    g_string_free(s, TRUE);
    expect_error(-32700, "limit");
}
END_TEST

/* The longest line is read, one byte more ends the connection with a reason. */
START_TEST(line_length)
{
    g_autofree char *pad = g_strnfill(LIMIT_RPC_LINE - strlen(PING("1")), ' ');
    g_autofree char *most = g_strconcat(pad, PING("1"), NULL);
    g_autofree char *more = g_strconcat(" ", most, NULL);

    send_line(most);
    expect(PONG("1"));
    send_line(more);
    expect_closing("limit");
    wait_for(&rig.closed);
}
END_TEST

/* A line without an end is not carried out. */
START_TEST(half_line)
{
    send_bytes(PING("1"), strlen(PING("1")));
    shutdown(rig.fd, SHUT_WR);
    ck_assert_ptr_null(next_line());
    wait_for(&rig.closed);
}
END_TEST

START_TEST(byte_by_byte)
{
    static const char text[] = PING("1") "\n" PING("2") "\n";

    for (size_t i = 0; i < sizeof(text) - 1; i++)
        send_bytes(text + i, 1);
    expect(PONG("1"));
    expect(PONG("2"));
}
END_TEST

/* Far more requests than may be under way, sent at once, are answered in order; the end of file
 * does not lose the last ones. */
START_TEST(pipelining)
{
    GString *s = g_string_new(NULL);
    enum { N = 5000 };

    for (int i = 0; i < N; i++)
        g_string_append_printf(s, PING("%d") "\n", i);
    send_bytes(s->str, s->len);
    shutdown(rig.fd, SHUT_WR);
    for (int i = 0; i < N; i++) {
        g_autofree char *want = g_strdup_printf(PONG("%d"), i);
        expect(want);
    }
    ck_assert_ptr_null(next_line());
    g_string_free(s, TRUE);
}
END_TEST

/* So many calls are taken unanswered; the next one waits until there is room. */
START_TEST(in_flight)
{
    struct rpc_call *call;

    for (int i = 0; i < LIMIT_RPC_INFLIGHT + 2; i++)
        send_line(REQ("1", "vm.reset", "{\"vm\":\"mine\"}"));
    for (int i = 0; i < 50; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(rig.held.length, LIMIT_RPC_INFLIGHT);
    rpc_call_reply(g_queue_pop_head(&rig.held), NULL);
    for (int64_t until = patience(); rig.held.length < LIMIT_RPC_INFLIGHT;)
        turn(until);
    for (int i = 0; i < 50; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(rig.held.length, LIMIT_RPC_INFLIGHT);
    while ((call = g_queue_pop_head(&rig.held)))
        rpc_call_reply(call, NULL);
    for (int64_t until = patience(); rig.held.length < 1;)
        turn(until);
    rpc_call_reply(g_queue_pop_head(&rig.held), NULL);
}
END_TEST

/* Of those whose answers bring descriptors there are fewer. */
START_TEST(few_fds_in_flight)
{
    enum { ASKED = 32, FEW = 8 };
    unsigned answered = 0;

    for (int i = 0; i < ASKED; i++)
        send_line(REQ("1", "vm.peek", "{\"vm\":\"mine\",\"address\":0,\"bytes\":1}"));
    while (answered < ASKED) {
        for (int i = 0; i < 50; i++)
            uv_run(&rig.loop, UV_RUN_NOWAIT);
        for (int64_t until = patience(); rig.held.length == 0;)
            turn(until);
        ck_assert_uint_le(rig.held.length, FEW);
        for (; rig.held.length; answered++) {
            vm_peek_reply(g_queue_pop_head(&rig.held), dup(STDIN_FILENO));
            g_free(next_line());
        }
    }
}
END_TEST

START_TEST(out_of_order)
{
    g_autoptr(vm_info) info = vm_info_new();

    info->id = g_strdup("i");
    info->name = g_strdup("mine");
    info->owner = g_strdup("me");
    info->config = vm_config_new();
    info->config->name = g_strdup("mine");
    send_line(REQ("1", "vm.wait", "{\"vm\":\"mine\"}"));
    send_line(PING("2"));
    expect(PONG("2"));
    wait_for_call();
    vm_wait_reply(rig.waiting, info);
    g_autoptr(json_object) v = next_json();
    ck_assert_int_eq(json_object_get_int(at(v, "id")), 1);
    ck_assert_str_eq(json_object_get_string(at(v, "result/name")), "mine");
}
END_TEST

/* --- batches ------------------------------------------------------------------------------- */

START_TEST(batch)
{
    send_line("[" PING("1") ",7," REQ(
        "2", "no.such", "{}") ","
                              "{\"jsonrpc\":\"2.0\",\"method\":\"system.ping\"}," PING("3") "]");
    g_autoptr(json_object) v = next_json();
    ck_assert_uint_eq(json_object_array_length(v), 4);
    ck_assert_int_eq(json_object_get_int(at(json_object_array_get_idx(v, 1), "error/code")),
                     -32600);
    ck_assert_int_eq(json_object_get_int(at(json_object_array_get_idx(v, 2), "error/code")),
                     -32601);
    send_line("[{\"jsonrpc\":\"2.0\",\"method\":\"system.ping\"}]");
    send_line(PING("9"));
    expect(PONG("9"));
}
END_TEST

START_TEST(batch_waits)
{
    send_line("[" PING("1") "," REQ("2", "vm.wait", "{\"vm\":\"mine\"}") "]");
    send_line(PING("3"));
    expect(PONG("3"));
    rpc_call_error(rig.waiting, VMD_ERROR_TIMEOUT, "too long");
    g_autoptr(json_object) v = next_json();
    ck_assert_uint_eq(json_object_array_length(v), 2);
}
END_TEST

static char *make_batch(unsigned n)
{
    GString *s = g_string_new("[");

    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(s, "%s" PING("%u"), i ? "," : "", i);
    g_string_append_c(s, ']');
    return g_string_free(s, FALSE);
}

START_TEST(batch_length)
{
    g_autofree char *most = make_batch(LIMIT_RPC_BATCH), *more = make_batch(LIMIT_RPC_BATCH + 1);

    send_line(most);
    g_autoptr(json_object) v = next_json();
    ck_assert_uint_eq(json_object_array_length(v), LIMIT_RPC_BATCH);
    send_line(more);
    expect_error(-32600, "limit");
}
END_TEST

START_TEST(batch_without_fds)
{
    send_line("[" REQ("1", "console.attach", "{\"vm\":\"mine\"}") "]");
    g_autoptr(json_object) v = next_json();
    ck_assert_int_eq(json_object_get_int(at(json_object_array_get_idx(v, 0), "error/code")),
                     -32005);
}
END_TEST

/* --- descriptors, slow clients, the end ---------------------------------------------------- */

START_TEST(fd_passing)
{
    char buf[6] = "";

    send_line(REQ("1", "console.attach", "{\"vm\":\"mine\"}"));
    expect("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"console\":\"serial0\",\"total\":7}}");
    ck_assert_int_ge(rig.got_fd, 0);
    ck_assert_int_eq(read(rig.got_fd, buf, 5), 5);
    ck_assert_str_eq(buf, "hello");
}
END_TEST

/* A client that asks and never reads: the server stops reading it, then goes on. */
START_TEST(unread_replies)
{
    enum { N = 60 };

    for (int i = 0; i < N; i++)
        send_line(REQ("1", "console.log", "{\"vm\":\"mine\"}"));
    for (int i = 0; i < 100; i++)
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    ck_assert(!rig.closed);
    for (int i = 0; i < N; i++) {
        g_autoptr(json_object) v = next_json();
        ck_assert_int_eq(json_object_get_string_len(at(v, "result/data")), 100000);
    }
}
END_TEST

/* A listener that does not read its events is told so and disconnected. */
START_TEST(slow_listener)
{
    g_autofree char *text = g_strnfill(LIMIT_RPC_OUTQ / 16, 'e');
    struct rpc_conn *conn = rig.conn;

    for (int i = 0; i < 20; i++) {
        struct json_object *p = json_object_new_object();
        json_object_object_add(p, "text", json_object_new_string(text));
        rpc_conn_notify(conn, "event", p);
        ck_assert(!rig.closed); /* never from inside */
    }
    /* The message that was begun is complete, the rest is dropped, the reason comes last. */
    g_autoptr(json_object) first = next_json();
    ck_assert_str_eq(json_object_get_string(at(first, "method")), "event");
    expect_closing("limit");
    wait_for(&rig.closed);
}
END_TEST

/* One that does not even read the reason is cut off after the linger time. */
START_TEST(dead_listener)
{
    g_autofree char *text = g_strnfill(LIMIT_RPC_OUTQ / 4, 'e');

    for (int i = 0; i < 8; i++)
        rpc_conn_notify(rig.conn, "event", json_object_new_string(text));
    wait_for(&rig.closed);
}
END_TEST

START_TEST(closed_with_calls)
{
    send_line(REQ("1", "vm.wait", "{\"vm\":\"mine\"}"));
    wait_for_call();
    close(rig.fd);
    rig.fd = -1;
    wait_for(&rig.closed);
    ck_assert(rig.cancelled);
    ck_assert_ptr_null(rpc_call_conn(rig.waiting));
    ck_assert_uint_eq(rpc_call_peer(rig.waiting)->uid, geteuid());
    rpc_call_error(rig.waiting, VMD_ERROR_TIMEOUT, "nobody hears this");
}
END_TEST

START_TEST(server_ends)
{
    bool done = false;
    struct rpc_server *next = rpc_server_new(&rig.loop, &api_service, &handlers, &ops, NULL);

    send_line(REQ("1", "vm.wait", "{\"vm\":\"mine\"}"));
    wait_for_call();
    rpc_server_close(rig.server, on_done, &done);
    expect_error(-32010, "gone");
    ck_assert_ptr_null(next_line());
    wait_for(&done);
    rpc_call_error(rig.waiting, VMD_ERROR_TIMEOUT, "nobody hears this");
    rig.server = next;
}
END_TEST

START_TEST(discover)
{
    send_line(REQ("1", "rpc.discover", "{}"));
    g_autoptr(json_object) v = next_json();
    ck_assert_uint_eq(json_object_array_length(at(v, "result/methods")), api_service.n_methods);
}
END_TEST

/* --- roles --------------------------------------------------------------------------------- */

static const struct {
    enum rpc_role role;
    const char *line;
    int code; /* 0: let through */
} roles[] = {
    {RPC_ROLE_READ, PING("1"), 0},
    {RPC_ROLE_READ, REQ("1", "vm.create", "{\"config\":{\"name\":\"a\",\"arch\":\"riscv64\"}}"),
     -32004},
    {RPC_ROLE_READ, REQ("1", "console.attach", "{\"vm\":\"mine\"}"), -32004},
    {RPC_ROLE_READ, REQ("1", "system.shutdown", "{}"), -32004},
    {RPC_ROLE_OPERATE, REQ("1", "vm.create", "{\"config\":{\"name\":\"a\",\"arch\":\"riscv64\"}}"),
     0},
    {RPC_ROLE_OPERATE, REQ("1", "console.attach", "{\"vm\":\"mine\"}"), 0},
    {RPC_ROLE_OPERATE, REQ("1", "console.attach", "{\"vm\":\"other\"}"), -32004},
    {RPC_ROLE_OPERATE, REQ("1", "console.attach", "{\"vm\":\"none\"}"), -32001},
    {RPC_ROLE_OPERATE, REQ("1", "system.shutdown", "{}"), -32004},
    {RPC_ROLE_ADMIN, REQ("1", "console.attach", "{\"vm\":\"other\"}"), 0},
    {RPC_ROLE_ADMIN, REQ("1", "system.shutdown", "{}"), -32005}, /* no handler here */
};

START_TEST(role_rows)
{
    setup_as(roles[_i].role);
    send_line(roles[_i].line);
    g_autoptr(json_object) v = next_json();
    if (roles[_i].code == 0)
        ck_assert_msg(json_object_object_get_ex(v, "result", NULL), "%s",
                      json_object_to_json_string(v));
    else
        ck_assert_int_eq(json_object_get_int(at(v, "error/code")), roles[_i].code);
    teardown();
}
END_TEST

/* --- idempotency keys ---------------------------------------------------------------------- */

#define CREATE(id, key, name)                                                                      \
    REQ(id, "vm.create",                                                                           \
        "{\"key\":\"" key "\",\"config\":{\"name\":\"" name "\",\"arch\":\"riscv64\"}}")

static void on_remembered(void *user)
{
    ((struct rig *)user)->remembered++;
}

static char *result_id(void)
{
    g_autoptr(json_object) v = next_json();

    return g_strdup(json_object_get_string(at(v, "result/id")));
}

START_TEST(key_repeated)
{
    rpc_server_keys_watch(rig.server, on_remembered);
    send_line(CREATE("1", "k", "a"));
    g_autofree char *first = result_id();
    send_line(CREATE("2", "k", "a"));
    g_autofree char *second = result_id();
    /* The order of members and defaults that are written out make no difference. */
    send_line(REQ("3", "vm.create",
                  "{\"start\":false,\"config\":{\"arch\":\"riscv64\",\"name\":\"a\"},"
                  "\"key\":\"k\"}"));
    g_autofree char *third = result_id();
    ck_assert_str_eq(first, second);
    ck_assert_str_eq(first, third);
    ck_assert_uint_eq(rig.creates, 1);
    ck_assert_uint_eq(rig.remembered, 1);
    send_line(CREATE("4", "k", "b"));
    expect_error(-32602, "invalid");
    send_line(CREATE("5", "l", "a"));
    g_autofree char *other = result_id();
    ck_assert_str_ne(first, other);
}
END_TEST

START_TEST(key_after_error)
{
    send_line(CREATE("1", "k", "taken"));
    expect_error(-32002, "exists");
    send_line(CREATE("2", "k", "taken"));
    expect_error(-32002, "exists");
    ck_assert_uint_eq(rig.creates, 2);
}
END_TEST

#define START(id) REQ(id, "vm.start", "{\"vm\":\"mine\",\"key\":\"k\"}")

/* A repetition while the first is under way waits for it. */
START_TEST(key_under_way)
{
    send_line(START("1"));
    wait_for_call();
    send_line(START("2"));
    send_line(PING("3"));
    expect(PONG("3"));
    ck_assert_uint_eq(rig.creates, 1);
    rpc_call_reply(rig.waiting, json_object_new_string("done"));
    expect("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"done\"}");
    expect("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"done\"}");
}
END_TEST

START_TEST(key_fails_under_way)
{
    send_line(START("1"));
    send_line(START("2"));
    send_line(PING("3"));
    expect(PONG("3"));
    rpc_call_error(rig.waiting, VMD_ERROR_STATE, "no");
    expect_error(-32003, "state");
    expect_error(-32003, "state");
}
END_TEST

/* The client goes while both the first and the repetition are under way. */
START_TEST(key_client_gone)
{
    send_line(START("1"));
    send_line(START("2"));
    send_line(PING("3"));
    expect(PONG("3"));
    close(rig.fd);
    rig.fd = -1;
    wait_for(&rig.closed);
    rpc_call_reply(rig.waiting, json_object_new_string("done"));
    g_autoptr(json_object) kept = rpc_server_keys_save(rig.server);
    ck_assert_uint_eq(json_object_array_length(kept), 1);
}
END_TEST

START_TEST(keys_over_restart)
{
    struct rpc_server *old = rig.server;
    bool done = false;

    send_line(CREATE("1", "k", "a"));
    g_autofree char *first = result_id();
    g_autoptr(json_object) kept = rpc_server_keys_save(old);
    rpc_server_close(old, on_done, &done);
    wait_for(&done);
    close(rig.fd);
    while (uv_run(&rig.loop, UV_RUN_NOWAIT))
        ;
    uv_loop_close(&rig.loop);
    g_string_free(rig.in, TRUE);
    setup();
    ck_assert(rpc_server_keys_load(rig.server, kept, NULL));
    send_line(CREATE("2", "k", "a"));
    g_autofree char *second = result_id();
    ck_assert_str_eq(first, second);
    ck_assert_uint_eq(rig.creates, 0);
    g_autoptr(json_object) bad = json_object_new_object();
    ck_assert(!rpc_server_keys_load(rig.server, bad, NULL));
}
END_TEST

START_TEST(keys_are_bounded)
{
    for (int i = 0; i < LIMIT_IDEMPOTENCY_KEYS + 5; i++) {
        g_autofree char *line = g_strdup_printf(CREATE("1", "k%d", "a"), i);
        send_line(line);
        g_autofree char *id = result_id();
    }
    g_autoptr(json_object) kept = rpc_server_keys_save(rig.server);
    ck_assert_uint_eq(json_object_array_length(kept), LIMIT_IDEMPOTENCY_KEYS);
}
END_TEST

/* Long results push out older ones before there are too many of them. */
START_TEST(keys_are_bounded_in_bytes)
{
    g_autofree char *path = g_strnfill(4000, 'p');
    GString *disks = g_string_new(NULL);
    enum { N = LIMIT_IDEMPOTENCY_BYTES / (4000 * LIMIT_DISKS) + 2 };

    for (int i = 0; i < LIMIT_DISKS; i++)
        g_string_append_printf(disks, "%s{\"path\":\"/%s\"}", i ? "," : "", path);
    for (int i = 0; i < N; i++) {
        g_autofree char *line =
            g_strdup_printf(REQ("1", "vm.create",
                                "{\"key\":\"k%d\",\"config\":{\"name\":\"a\",\"arch\":\"riscv64\","
                                "\"disks\":[%s]}}"),
                            i, disks->str);
        send_line(line);
        g_autofree char *id = result_id();
    }
    g_string_free(disks, TRUE);
    g_autoptr(json_object) kept = rpc_server_keys_save(rig.server);
    ck_assert_uint_lt(json_object_array_length(kept), N);
    ck_assert_uint_gt(json_object_array_length(kept), N / 2);
}
END_TEST

/* --- listening ----------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

START_TEST(listening)
{
    g_autofree char *dir = g_dir_make_tmp("vmd-rpc-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autoptr(GError) err = NULL;
    struct rpc_server *other = rpc_server_new(&rig.loop, &api_service, &handlers, &ops, NULL);
    struct stat st;
    bool done = false;

    ck_assert(rpc_server_listen(rig.server, path, 0600, &err));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert(!rpc_server_listen(other, path, 0600, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
    int fd = connect_to(path);
    ck_assert_int_ge(fd, 0);
    for (int64_t until = patience(); rpc_server_clients(rig.server) < 2;)
        turn(until);
    close(fd);
    rpc_server_close(other, on_done, &done);
    wait_for(&done);
    ck_assert_int_eq(stat(path, &st), 0); /* not the other's to remove */
    done = false;
    rpc_server_close(rig.server, on_done, &done);
    wait_for(&done);
    ck_assert_int_lt(stat(path, &st), 0);
    rig.server = rpc_server_new(&rig.loop, &api_service, &handlers, &ops, NULL);
    g_rmdir(dir);
}
END_TEST

/* A socket file left behind by a daemon that was killed is replaced; another file is not. */
START_TEST(stale_socket)
{
    g_autofree char *dir = g_dir_make_tmp("vmd-rpc-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autofree char *file = g_build_filename(dir, "f", NULL);
    g_autofree char *tail = g_strnfill(200, 'x');
    g_autofree char *longest = g_build_filename(dir, tail, NULL);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(fd);
    ck_assert(rpc_server_listen(rig.server, path, 0660, NULL));
    ck_assert(g_file_set_contents(file, "x", 1, NULL));
    ck_assert(!rpc_server_listen(rig.server, file, 0660, NULL));
    ck_assert(!rpc_server_listen(rig.server, longest, 0660, NULL));
    g_unlink(file);
    g_unlink(path);
    g_rmdir(dir);
}
END_TEST

START_TEST(too_many_clients)
{
    int ends[LIMIT_RPC_CLIENTS][2];
    GError *err = NULL;

    for (int i = 1; i < LIMIT_RPC_CLIENTS; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]), 0);
        ck_assert_ptr_nonnull(rpc_server_adopt(rig.server, ends[i][0], NULL));
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[0]), 0);
    ck_assert_ptr_null(rpc_server_adopt(rig.server, ends[0][0], &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
    g_clear_error(&err);
    close(rig.fd);
    rig.fd = ends[0][1];
    fcntl(rig.fd, F_SETFL, O_NONBLOCK);
    expect_closing("limit");
    for (int i = 1; i < LIMIT_RPC_CLIENTS; i++)
        close(ends[i][1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto_rpc");
    TCase *tc = tcase_create("rig"), *own = tcase_create("own");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, request_rows, 0, G_N_ELEMENTS(lines));
    tcase_add_test(tc, nesting);
    tcase_add_test(tc, many_values);
    tcase_add_test(tc, line_length);
    tcase_add_test(tc, half_line);
    tcase_add_test(tc, byte_by_byte);
    tcase_add_test(tc, pipelining);
    tcase_add_test(tc, in_flight);
    tcase_add_test(tc, few_fds_in_flight);
    tcase_add_test(tc, out_of_order);
    tcase_add_test(tc, batch);
    tcase_add_test(tc, batch_waits);
    tcase_add_test(tc, batch_length);
    tcase_add_test(tc, batch_without_fds);
    tcase_add_test(tc, fd_passing);
    tcase_add_test(tc, unread_replies);
    tcase_add_test(tc, slow_listener);
    tcase_add_test(tc, dead_listener);
    tcase_add_test(tc, closed_with_calls);
    tcase_add_test(tc, server_ends);
    tcase_add_test(tc, discover);
    tcase_add_test(tc, key_repeated);
    tcase_add_test(tc, key_after_error);
    tcase_add_test(tc, key_under_way);
    tcase_add_test(tc, key_fails_under_way);
    tcase_add_test(tc, key_client_gone);
    tcase_add_test(tc, keys_over_restart);
    tcase_add_test(tc, keys_are_bounded);
    tcase_add_test(tc, keys_are_bounded_in_bytes);
    tcase_add_test(tc, listening);
    tcase_add_test(tc, stale_socket);
    tcase_add_test(tc, too_many_clients);
    suite_add_tcase(s, tc);
    tcase_set_timeout(own, 60);
    tcase_add_loop_test(own, role_rows, 0, G_N_ELEMENTS(roles));
    suite_add_tcase(s, own);
    return unit_run(s);
}
