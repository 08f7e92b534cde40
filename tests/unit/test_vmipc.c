/*
 * The link between vmd and a VM process, both ends on one loop: hello, calls, descriptors, and
 * events that survive the loss of a connection without being lost or doubled.
 */
#include "proto/vmipc/vmipc.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/socket.h>

enum { PATIENCE_S = 20 };

static struct rig {
    uv_loop_t loop;
    struct vmipc_server *server;
    struct vmipc_link *link;
    const char *vm_id; /* as the VM process says */
    unsigned ready, lost, attached, detached;
    int lost_kind;
    char *lost_text;
    GString *events; /* "SEQ TYPE;" of each that came */
    uint64_t acked;  /* as the VM process was told */
    bool ack_at_once;
    unsigned replies;
    int reply_kind; /* of the latest; -1: success */
    int reply_fd;
    uint64_t reply_bytes;
    struct rpc_call *held;
} rig;

/* --- the VM process's end ------------------------------------------------------------------ */

static void on_pause(struct rpc_call *call, struct vmi_pause_params *params)
{
    rig.held = call;
}

static void on_limit(struct rpc_call *call, struct vmi_xlate_limit_params *params)
{
    struct vmi_xlate_limit_result r = {.bytes = params->bytes + 1};

    vmi_xlate_limit_reply(call, &r);
}

static void on_attach_console(struct rpc_call *call, struct vmi_console_attach_params *params)
{
    struct vmi_console_attach_result r = {.console = params->console, .total = 0};
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    close(ends[1]);
    vmi_console_attach_reply(call, &r, ends[0]);
}

static const struct vmi_handlers handlers = {
    .vmi_pause = on_pause,
    .vmi_xlate_limit = on_limit,
    .vmi_console_attach = on_attach_console,
};

static void server_status(void *user, struct vmi_hello_result *out)
{
    out->state = VMI_STATE_RUNNING;
    out->vm_id = g_strdup(rig.vm_id);
}

static void server_acked(void *user, uint64_t seq)
{
    rig.acked = seq;
}

static void server_attached(void *user, bool attached)
{
    struct vmi_warning_event w = {.text = (char *)"attached"};

    if (!attached) {
        rig.detached++;
        return;
    }
    /* An event made here comes after all that were kept. */
    if (rig.attached++ == 1)
        vmipc_server_emit(rig.server, VMI_EVENT_WARNING, &w);
}

static const struct vmipc_server_ops server_ops = {
    .status = server_status, .acked = server_acked, .attached = server_attached};

/* --- vmd's end ----------------------------------------------------------------------------- */

static void link_ready(void *user, const struct vmi_hello_result *hello)
{
    ck_assert_uint_eq(hello->version, VMIPC_VERSION);
    ck_assert_uint_eq(hello->pid, (uint32_t)getpid());
    ck_assert_int_eq(hello->state, VMI_STATE_RUNNING);
    rig.ready++;
}

static void link_event(void *user, uint64_t seq, uint64_t time_ns, enum vmi_event event,
                       const void *data)
{
    g_string_append_printf(rig.events, "%" G_GUINT64_FORMAT " %s;", seq,
                           vmi_service.events[event].name);
    if (event == VMI_EVENT_STATE)
        ck_assert_int_eq(((const struct vmi_state_event *)data)->to, VMI_STATE_PAUSED);
    ck_assert_uint_gt(time_ns, 0);
    if (rig.ack_at_once)
        vmipc_link_ack(rig.link, seq);
}

static void link_lost(void *user, const GError *why)
{
    rig.lost++;
    rig.lost_kind = why->code;
    g_free(rig.lost_text);
    rig.lost_text = g_strdup(why->message);
}

static const struct vmipc_link_ops link_ops = {
    .ready = link_ready, .event = link_event, .lost = link_lost};

static void on_reply(void *arg, const void *result, int fd, const GError *err)
{
    rig.replies++;
    rig.reply_kind = err ? err->code : -1;
    rig.reply_fd = fd;
    if (result && arg)
        rig.reply_bytes = ((const struct vmi_xlate_limit_result *)result)->bytes;
}

/* --- the rig ------------------------------------------------------------------------------- */

#define RUN_UNTIL(condition)                                                                       \
    do {                                                                                           \
        int64_t until_ = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;                     \
        while (!(condition)) {                                                                     \
            ck_assert_msg(g_get_monotonic_time() < until_, "never: " #condition);                  \
            uv_run(&rig.loop, UV_RUN_NOWAIT);                                                      \
            g_usleep(200);                                                                         \
        }                                                                                          \
    } while (0)

static void open_pair(struct vmipc_link *link)
{
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert(vmipc_server_adopt(rig.server, ends[0], NULL));
    ck_assert(vmipc_link_open_fd(link, ends[1], NULL));
}

static void setup(void)
{
    rig = (struct rig){.vm_id = "vm-1", .events = g_string_new(NULL), .reply_fd = -1};
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    rig.server = vmipc_server_new(&rig.loop, &handlers, &server_ops, &rig);
    rig.link = vmipc_link_new(&rig.loop, NULL, 0, &link_ops, &rig);
}

static void on_done(void *arg)
{
    *(bool *)arg = true;
}

static void teardown(void)
{
    bool done = false;

    vmipc_link_free(rig.link);
    vmipc_server_close(rig.server, on_done, &done);
    RUN_UNTIL(done);
    while (uv_run(&rig.loop, UV_RUN_NOWAIT))
        g_usleep(200);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    g_string_free(rig.events, TRUE);
    g_free(rig.lost_text);
    if (rig.reply_fd >= 0)
        close(rig.reply_fd);
}

static void emit_paused(void)
{
    struct vmi_state_event e = {.from = VMI_STATE_RUNNING, .to = VMI_STATE_PAUSED};

    vmipc_server_emit(rig.server, VMI_EVENT_STATE, &e);
}

static void emit_reset(void)
{
    struct vmi_reset_event e = {.by_guest = true};

    vmipc_server_emit(rig.server, VMI_EVENT_RESET, &e);
}

static void connected(void)
{
    open_pair(rig.link);
    RUN_UNTIL(rig.ready == 1 && rig.attached == 1);
}

/* --- calls --------------------------------------------------------------------------------- */

START_TEST(calls)
{
    struct vmi_xlate_limit_params p = {.bytes = MIB(8)};

    connected();
    ck_assert(vmipc_link_ready(rig.link));
    vmipc_link_call(rig.link, VMI_XLATE_LIMIT, &p, 0, on_reply, &rig);
    RUN_UNTIL(rig.replies == 1);
    ck_assert_int_eq(rig.reply_kind, -1);
    ck_assert_uint_eq(rig.reply_bytes, MIB(8) + 1);
    p.bytes = 1;
    vmipc_link_call(rig.link, VMI_XLATE_LIMIT, &p, 0, on_reply, NULL);
    RUN_UNTIL(rig.replies == 2);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_INVALID);
    vmipc_link_call(rig.link, VMI_STATS, NULL, 0, on_reply, NULL);
    RUN_UNTIL(rig.replies == 3);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_UNSUPPORTED);
}
END_TEST

START_TEST(descriptors)
{
    int ends[2], fd;

    connected();
    ck_assert_int_eq(pipe(ends), 0);
    vmipc_link_send_fd(rig.link, "net0", ends[1], on_reply, NULL);
    RUN_UNTIL(rig.replies == 1);
    ck_assert_int_eq(rig.reply_kind, -1);
    ck_assert_int_eq(vmipc_server_take_fd(rig.server, "net1"), -1);
    fd = vmipc_server_take_fd(rig.server, "net0");
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    ck_assert_int_eq(vmipc_server_take_fd(rig.server, "net0"), -1);
    close(fd);
    close(ends[0]);
    vmipc_link_call(rig.link, VMI_CONSOLE_ATTACH, NULL, 0, on_reply, NULL);
    RUN_UNTIL(rig.replies == 2);
    ck_assert_int_eq(rig.reply_kind, -1);
    ck_assert_int_ge(rig.reply_fd, 0);
}
END_TEST

/* The same name twice is refused, and so is a request whose descriptor did not come. */
START_TEST(descriptors_refused)
{
    struct vmi_fd_params p = {.name = (char *)"net0"};

    connected();
    vmipc_link_send_fd(rig.link, "net0", dup(STDOUT_FILENO), on_reply, NULL);
    vmipc_link_send_fd(rig.link, "net0", dup(STDOUT_FILENO), on_reply, NULL);
    RUN_UNTIL(rig.replies == 2);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_INVALID);
    vmipc_link_call(rig.link, VMI_FD, &p, 0, on_reply, NULL);
    RUN_UNTIL(rig.replies == 3);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_INVALID);
}
END_TEST

/* What a vmd sent and did not come to use goes with its connection, also where the next one replaces it. */
START_TEST(descriptors_left)
{
    int ends[2];

    connected();
    vmipc_link_send_fd(rig.link, "net0", dup(STDOUT_FILENO), on_reply, NULL);
    RUN_UNTIL(rig.replies == 1);
    vmipc_link_free(rig.link);
    RUN_UNTIL(rig.detached == 1);
    ck_assert_int_eq(vmipc_server_take_fd(rig.server, "net0"), -1);
    rig.link = vmipc_link_new(&rig.loop, "vm-1", 0, &link_ops, &rig);
    open_pair(rig.link);
    vmipc_link_send_fd(rig.link, "net1", dup(STDOUT_FILENO), on_reply, NULL);
    RUN_UNTIL(rig.replies == 2);
    struct vmipc_link *other = vmipc_link_new(&rig.loop, NULL, 0, &link_ops, &rig);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert(vmipc_server_adopt(rig.server, ends[0], NULL));
    ck_assert(vmipc_link_open_fd(other, ends[1], NULL));
    RUN_UNTIL(rig.lost == 1);
    ck_assert_int_eq(vmipc_server_take_fd(rig.server, "net1"), -1);
    vmipc_link_free(other);
    RUN_UNTIL(rig.detached == 2);
}
END_TEST

START_TEST(time_out)
{
    struct vmi_xlate_limit_params p = {.bytes = MIB(8)};

    connected();
    vmipc_link_call(rig.link, VMI_PAUSE, NULL, 20, on_reply, NULL);
    RUN_UNTIL(rig.replies == 1);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_TIMEOUT);
    RUN_UNTIL(rig.held);
    /* The late answer is dropped, the link goes on. */
    vmi_pause_reply(rig.held);
    vmipc_link_call(rig.link, VMI_XLATE_LIMIT, &p, 0, on_reply, NULL);
    RUN_UNTIL(rig.replies == 2);
    ck_assert_int_eq(rig.reply_kind, -1);
    ck_assert_uint_eq(rig.lost, 0);
}
END_TEST

START_TEST(not_connected)
{
    vmipc_link_call(rig.link, VMI_PAUSE, NULL, 0, on_reply, NULL);
    ck_assert_uint_eq(rig.replies, 1);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_GONE);
}
END_TEST

/* Calls that are made while hello is under way wait for its answer. */
START_TEST(waits_for_hello)
{
    struct vmi_xlate_limit_params p = {.bytes = MIB(8)};
    int fd;

    open_pair(rig.link);
    vmipc_link_call(rig.link, VMI_XLATE_LIMIT, &p, 0, on_reply, &rig);
    vmipc_link_send_fd(rig.link, "net0", dup(STDOUT_FILENO), on_reply, NULL);
    vmipc_link_call(rig.link, VMI_STATS, NULL, 0, NULL, NULL);
    p.bytes = 1;
    ck_assert_uint_eq(rig.replies, 0);
    RUN_UNTIL(rig.replies == 2);
    ck_assert_int_eq(rig.reply_kind, -1);
    ck_assert_uint_eq(rig.reply_bytes, MIB(8) + 1);
    fd = vmipc_server_take_fd(rig.server, "net0");
    ck_assert_int_ge(fd, 0);
    close(fd);
}
END_TEST

/* They fail where there is none, and where the link is freed meanwhile. */
START_TEST(waits_in_vain)
{
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert(vmipc_link_open_fd(rig.link, ends[1], NULL));
    vmipc_link_send_fd(rig.link, "net0", dup(STDOUT_FILENO), on_reply, NULL);
    if (_i == 0) {
        close(ends[0]);
        RUN_UNTIL(rig.lost == 1);
    } else {
        vmipc_link_free(g_steal_pointer(&rig.link));
        close(ends[0]);
    }
    ck_assert_uint_eq(rig.replies, 1);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_GONE);
}
END_TEST

/* The VM process dies with a call under way. */
START_TEST(process_gone)
{
    bool done = false;

    connected();
    vmipc_link_call(rig.link, VMI_PAUSE, NULL, 0, on_reply, NULL);
    RUN_UNTIL(rig.held);
    vmipc_server_close(rig.server, on_done, &done);
    RUN_UNTIL(done && rig.lost == 1);
    ck_assert_uint_eq(rig.replies, 1);
    ck_assert_int_eq(rig.reply_kind, VMD_ERROR_GONE);
    ck_assert(!vmipc_link_ready(rig.link));
    vmi_pause_reply(rig.held);
    rig.server = vmipc_server_new(&rig.loop, &handlers, &server_ops, &rig);
}
END_TEST

/* --- hello --------------------------------------------------------------------------------- */

START_TEST(other_vm)
{
    struct vmipc_link *l = vmipc_link_new(&rig.loop, "vm-2", 0, &link_ops, &rig);

    open_pair(l);
    RUN_UNTIL(rig.lost == 1);
    ck_assert_int_eq(rig.lost_kind, VMD_ERROR_STATE);
    vmipc_link_free(l);
}
END_TEST

START_TEST(unknown_event_acked)
{
    struct vmipc_link *l = vmipc_link_new(&rig.loop, NULL, 5, &link_ops, &rig);

    open_pair(l);
    RUN_UNTIL(rig.lost == 1);
    ck_assert_int_eq(rig.lost_kind, VMD_ERROR_STATE);
    vmipc_link_free(l);
}
END_TEST

static const struct {
    const char *version;
    const char *code; /* within the reply */
} versions[] = {
    {"\"version\":100,\"oldest\":100", "\"version\":100"},
    {"\"version\":90000,\"oldest\":100", "\"version\":100"},
    {"\"version\":90000,\"oldest\":80000", "\"code\":-32005"},
    {"\"version\":99,\"oldest\":1", "\"code\":-32005"},
};

START_TEST(version_rows)
{
    g_autofree char *hello =
        g_strdup_printf("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vmi.hello\",\"params\":{%s}}\n",
                        versions[_i].version);
    char buf[4096] = "";
    int ends[2];
    ssize_t n = -1;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert(vmipc_server_adopt(rig.server, ends[0], NULL));
    ck_assert_int_gt(write(ends[1], hello, strlen(hello)), 0);
    RUN_UNTIL((n = recv(ends[1], buf, sizeof(buf) - 1, MSG_DONTWAIT)) > 0);
    ck_assert_msg(strstr(buf, versions[_i].code), "%s: %s", versions[_i].version, buf);
    close(ends[1]);
}
END_TEST

START_TEST(hello_first)
{
    static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vmi.status\"}\n";
    char buf[4096] = "";
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert(vmipc_server_adopt(rig.server, ends[0], NULL));
    ck_assert_int_gt(write(ends[1], text, strlen(text)), 0);
    RUN_UNTIL(recv(ends[1], buf, sizeof(buf) - 1, MSG_DONTWAIT) > 0);
    ck_assert_msg(strstr(buf, "-32003"), "%s", buf);
    close(ends[1]);
}
END_TEST

/* --- events -------------------------------------------------------------------------------- */

START_TEST(events_in_order)
{
    rig.ack_at_once = true;
    emit_paused(); /* before anybody is there */
    connected();
    emit_reset();
    vmipc_server_emit(rig.server, VMI_EVENT_RESET, NULL);
    RUN_UNTIL(rig.events->len >= strlen("1 vmi.state;2 vmi.reset;"));
    ck_assert(g_str_has_prefix(rig.events->str, "1 vmi.state;2 vmi.reset;"));
    RUN_UNTIL(rig.acked >= 2);
    ck_assert_uint_ge(vmipc_server_acked(rig.server), 2);
}
END_TEST

/* Each connection is lost after one acknowledgement; the next one gets what is not acknowledged. */
START_TEST(reconnected)
{
    connected();
    emit_paused();
    emit_reset();
    RUN_UNTIL(strcmp(rig.events->str, "1 vmi.state;2 vmi.reset;") == 0);
    vmipc_link_ack(rig.link, 1);
    RUN_UNTIL(rig.acked == 1);
    vmipc_link_free(rig.link);
    RUN_UNTIL(rig.detached == 1);
    emit_reset();
    /* A restarted vmd has stored the first event only. */
    g_string_truncate(rig.events, 0);
    rig.link = vmipc_link_new(&rig.loop, "vm-1", 1, &link_ops, &rig);
    open_pair(rig.link);
    RUN_UNTIL(strcmp(rig.events->str, "2 vmi.reset;3 vmi.reset;4 vmi.warning;") == 0);
    ck_assert_uint_eq(vmipc_server_last(rig.server), 4);
}
END_TEST

/* The same link opened again sees nothing twice, though nothing was acknowledged. */
START_TEST(nothing_twice)
{
    int ends[2];

    connected();
    emit_reset();
    RUN_UNTIL(strcmp(rig.events->str, "1 vmi.reset;") == 0);
    /* Another vmd takes over; this link is told and opens again. */
    struct vmipc_link *other = vmipc_link_new(&rig.loop, NULL, 0, &link_ops, &rig);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert(vmipc_server_adopt(rig.server, ends[0], NULL));
    ck_assert(vmipc_link_open_fd(other, ends[1], NULL));
    RUN_UNTIL(rig.lost == 1);
    ck_assert_msg(strstr(rig.lost_text, "another daemon has taken over"), "%s", rig.lost_text);
    RUN_UNTIL(strcmp(rig.events->str, "1 vmi.reset;1 vmi.reset;2 vmi.warning;") == 0);
    vmipc_link_free(other);
    RUN_UNTIL(rig.detached == 1);
    g_string_truncate(rig.events, 0);
    open_pair(rig.link);
    RUN_UNTIL(strcmp(rig.events->str, "2 vmi.warning;") == 0);
}
END_TEST

START_TEST(events_are_bounded)
{
    for (int i = 0; i < LIMIT_EVENTS_KEPT + 10; i++)
        emit_reset();
    connected();
    g_autofree char *last = g_strdup_printf(";%d vmi.reset;", LIMIT_EVENTS_KEPT + 10);
    RUN_UNTIL(g_str_has_suffix(rig.events->str, last));
    ck_assert(g_str_has_prefix(rig.events->str, "11 vmi.reset;12 vmi.reset;"));
}
END_TEST

/* --- the listening socket ------------------------------------------------------------------ */

START_TEST(found_again)
{
    g_autofree char *dir = g_dir_make_tmp("vmd-vmipc-XXXXXX", NULL);
    g_autoptr(GError) err = NULL;

    ck_assert(!vmipc_link_open(rig.link, dir, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_NOT_FOUND);
    ck_assert(vmipc_server_listen(rig.server, dir, NULL));
    ck_assert(vmipc_link_open(rig.link, dir, NULL));
    RUN_UNTIL(rig.ready == 1);
    g_autofree char *path = g_build_filename(dir, VMIPC_SOCKET_NAME, NULL);
    g_unlink(path);
    g_rmdir(dir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vmipc");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, calls);
    tcase_add_test(tc, descriptors);
    tcase_add_test(tc, descriptors_refused);
    tcase_add_test(tc, descriptors_left);
    tcase_add_test(tc, time_out);
    tcase_add_test(tc, not_connected);
    tcase_add_test(tc, waits_for_hello);
    tcase_add_loop_test(tc, waits_in_vain, 0, 2);
    tcase_add_test(tc, process_gone);
    tcase_add_test(tc, other_vm);
    tcase_add_test(tc, unknown_event_acked);
    tcase_add_loop_test(tc, version_rows, 0, G_N_ELEMENTS(versions));
    tcase_add_test(tc, hello_first);
    tcase_add_test(tc, events_in_order);
    tcase_add_test(tc, reconnected);
    tcase_add_test(tc, nothing_twice);
    tcase_add_test(tc, events_are_bounded);
    tcase_add_test(tc, found_again);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
