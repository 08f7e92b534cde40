/*
 * libvmd against a server on a thread of its own: calls, errors with hints, descriptors, events,
 * timeouts, and the end of the connection.
 */
#include "proto/client/libvmd.h"
#include "proto/jsonrpc/json.h"
#include "proto/jsonrpc/rpc.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <sys/socket.h>

enum { EVENTS_SENT = 50 };

static struct rig {
    GThread *thread;
    uv_loop_t loop;
    uv_async_t stop;
    struct rpc_server *server;
    struct rpc_call *waiting; /* of the server's thread */
    char *dir, *path;
    struct vmd_client *client;
} rig;

/* --- the server's thread ------------------------------------------------------------------- */

static void on_ping(struct rpc_call *call, struct system_ping_params *params)
{
    system_ping_reply(call);
}

static void on_get(struct rpc_call *call, struct vm_get_params *params)
{
    rpc_call_error(call, VMD_ERROR_NOT_FOUND, "no VM %s", params->vm);
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

/* Answers the call that came before, so that its reply is a late one. */
static void on_stats(struct rpc_call *call, struct vm_stats_params *params)
{
    struct console_attach_result r = {.console = (char *)"late"};

    if (rig.waiting)
        console_attach_reply(g_steal_pointer(&rig.waiting), &r, dup(STDOUT_FILENO));
    rpc_call_error(call, VMD_ERROR_STATE, "not running");
}

static void on_attach_held(struct rpc_call *call, struct console_attach_params *params)
{
    if (strcmp(params->vm, "held") == 0)
        rig.waiting = call;
    else
        on_attach(call, params);
}

/* The events come before the reply. */
static void on_subscribe(struct rpc_call *call, struct event_subscribe_params *params)
{
    struct event_subscribe_result r = {.subscription = 3, .seq = EVENTS_SENT};
    g_autoptr(json_object) none = json_object_new_object();
    struct event_record e = {.type = (char *)"system.started", .data = none};
    struct event_delivery d = {.subscription = 3, .event = &e};

    for (e.seq = 1; e.seq <= EVENTS_SENT; e.seq++)
        rpc_conn_notify(rpc_call_conn(call), "event", event_delivery_encode(&d));
    event_subscribe_reply(call, &r);
}

static void on_shutdown(struct rpc_call *call, struct system_shutdown_params *params)
{
    rpc_conn_close(rpc_call_conn(call), VMD_ERROR_BUSY, "the daemon is tired");
    rpc_call_error(call, VMD_ERROR_INTERNAL, "never seen");
}

static const struct api_handlers handlers = {
    .system_ping = on_ping,
    .vm_get = on_get,
    .vm_stats = on_stats,
    .console_attach = on_attach_held,
    .event_subscribe = on_subscribe,
    .system_shutdown = on_shutdown,
};

static void on_stop(uv_async_t *async)
{
    rpc_server_close(rig.server, NULL, NULL);
    if (rig.waiting)
        rpc_call_error(g_steal_pointer(&rig.waiting), VMD_ERROR_GONE, "the end");
    uv_close((uv_handle_t *)async, NULL);
}

static void *serve(void *arg)
{
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    return NULL;
}

static void setup(void)
{
    rig = (struct rig){.dir = g_dir_make_tmp("vmd-client-XXXXXX", NULL)};
    rig.path = g_build_filename(rig.dir, "s", NULL);
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    uv_async_init(&rig.loop, &rig.stop, on_stop);
    rig.server = rpc_server_new(&rig.loop, &api_service, &handlers, NULL, NULL);
    ck_assert(rpc_server_listen(rig.server, rig.path, 0600, NULL));
    rig.thread = g_thread_new("server", serve, NULL);
    rig.client = vmd_client_connect(rig.path, NULL);
    ck_assert_ptr_nonnull(rig.client);
    vmd_client_set_timeout(rig.client, 20000);
}

static void stop_server(void)
{
    if (!rig.thread)
        return;
    uv_async_send(&rig.stop);
    g_thread_join(g_steal_pointer(&rig.thread));
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
}

static void teardown(void)
{
    vmd_client_free(rig.client);
    stop_server();
    g_rmdir(rig.dir);
    g_free(rig.dir);
    g_free(rig.path);
}

/* --- calls --------------------------------------------------------------------------------- */

static void ping(void)
{
    g_autoptr(GError) err = NULL;

    ck_assert_msg(vmd_client_invoke(rig.client, API_SYSTEM_PING, NULL, NULL, NULL, &err), "%s",
                  err ? err->message : "");
}

START_TEST(calls)
{
    struct json_object *result = NULL;

    ck_assert_str_eq(vmd_client_path(rig.client), rig.path);
    ping();
    ck_assert(vmd_client_call(rig.client, "system.ping", NULL, &result, NULL, NULL));
    ck_assert(json_object_is_type(result, json_type_object));
    json_object_put(result);
}
END_TEST

START_TEST(errors)
{
    struct vm_get_params p = {.vm = (char *)"x"};
    g_autoptr(vm_info) info = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert(!vmd_client_invoke(rig.client, API_VM_GET, &p, &info, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND));
    ck_assert_str_eq(err->message, "no VM x");
    ck_assert_str_eq(vmd_client_hint(rig.client), rpc_error_row(VMD_ERROR_NOT_FOUND)->hint);
    ck_assert_ptr_null(info);
    ping();
    ck_assert_ptr_null(vmd_client_hint(rig.client));
}
END_TEST

/* The server answers what it cannot read without a number. */
START_TEST(not_text)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(json_object) result = NULL;
    struct json_object *params = json_object_new_object();

    json_object_object_add(params, "vm", json_object_new_string("a\xff"));
    ck_assert(!vmd_client_call(rig.client, "vm.get", params, &result, NULL, &err));
    ck_assert_msg(strstr(err->message, "not UTF-8"), "%s", err->message);
    ck_assert(vmd_client_invoke(rig.client, API_SYSTEM_PING, NULL, NULL, NULL, NULL));
}
END_TEST

START_TEST(unknown_method)
{
    struct json_object *result = NULL;
    g_autoptr(GError) err = NULL;

    ck_assert(!vmd_client_call(rig.client, "no.such", NULL, &result, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND));
}
END_TEST

static void attach(void)
{
    struct console_attach_params p = {.vm = (char *)"a", .console = (char *)"serial0"};
    g_autoptr(console_attach_result) r = NULL;
    char buf[6] = "";
    autofd fd = -1;

    ck_assert(vmd_client_invoke(rig.client, API_CONSOLE_ATTACH, &p, &r, &fd, NULL));
    ck_assert_str_eq(r->console, "serial0");
    ck_assert_int_eq(read(fd, buf, 5), 5);
    ck_assert_str_eq(buf, "hello");
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

START_TEST(descriptors)
{
    attach();
    attach();
}
END_TEST

/* The reply to a call that timed out, and the descriptor with it, are not mistaken for later ones.
 */
START_TEST(time_out)
{
    struct console_attach_params p = {.vm = (char *)"held", .console = (char *)"serial0"};
    struct vm_stats_params q = {.vm = (char *)"a"};
    g_autoptr(GError) err = NULL;

    vmd_client_set_timeout(rig.client, 50);
    ck_assert(!vmd_client_invoke(rig.client, API_CONSOLE_ATTACH, &p, NULL, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_TIMEOUT));
    g_clear_error(&err);
    vmd_client_set_timeout(rig.client, 20000);
    ck_assert(!vmd_client_invoke(rig.client, API_VM_STATS, &q, NULL, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_STATE));
    attach();
}
END_TEST

/* --- events -------------------------------------------------------------------------------- */

START_TEST(events)
{
    struct event_subscribe_params p = {0};
    g_autoptr(event_subscribe_result) r = NULL;
    g_autoptr(event_delivery) none = NULL;

    ck_assert(vmd_client_invoke(rig.client, API_EVENT_SUBSCRIBE, &p, &r, NULL, NULL));
    ping();
    for (uint64_t seq = 1; seq <= EVENTS_SENT; seq++) {
        g_autoptr(event_delivery) d = NULL;
        ck_assert(vmd_client_next_event(rig.client, 20000, &d, NULL));
        ck_assert_ptr_nonnull(d);
        ck_assert_uint_eq(d->event->seq, seq);
        ck_assert_uint_eq(d->subscription, 3);
    }
    ck_assert(vmd_client_next_event(rig.client, 0, &none, NULL));
    ck_assert_ptr_null(none);
    struct pollfd f = {.fd = vmd_client_fd(rig.client), .events = POLLIN};
    ck_assert_int_eq(poll(&f, 1, 0), 0);
}
END_TEST

START_TEST(closed_with_reason)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(event_delivery) d = NULL;

    ck_assert(!vmd_client_invoke(rig.client, API_SYSTEM_SHUTDOWN, NULL, NULL, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
    ck_assert_msg(strstr(err->message, "the daemon is tired"), "%s", err->message);
    g_clear_error(&err);
    ck_assert(!vmd_client_next_event(rig.client, 0, &d, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
}
END_TEST

START_TEST(server_gone)
{
    g_autoptr(GError) err = NULL;

    stop_server();
    ck_assert(!vmd_client_invoke(rig.client, API_SYSTEM_PING, NULL, NULL, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_GONE));
}
END_TEST

/* --- finding the daemon -------------------------------------------------------------------- */

START_TEST(paths)
{
    g_setenv("VMD_SOCKET", "/a/b", TRUE);
    g_auto(GStrv) set = vmd_socket_paths();
    ck_assert_str_eq(set[0], "/a/b");
    ck_assert_ptr_null(set[1]);
    g_unsetenv("VMD_SOCKET");
    g_setenv("XDG_RUNTIME_DIR", "/run/user/7", TRUE);
    g_auto(GStrv) both = vmd_socket_paths();
    ck_assert_str_eq(both[0], "/run/user/7/vmd/vmd.sock");
    ck_assert_str_eq(both[1], "/run/vmd/vmd.sock");
    ck_assert_ptr_null(both[2]);
    g_unsetenv("XDG_RUNTIME_DIR");
    g_autofree char *own = vmd_socket_path_user();
    g_autofree char *want = g_strdup_printf("/tmp/vmd-%u/vmd.sock", getuid());
    ck_assert_str_eq(own, want);
}
END_TEST

START_TEST(nobody_listens)
{
    g_autoptr(GError) err = NULL;

    g_setenv("VMD_SOCKET", "/nonexistent/vmd.sock", TRUE);
    ck_assert_ptr_null(vmd_client_connect(NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND));
}
END_TEST

/* --- a server that does not keep the protocol ---------------------------------------------- */

static const struct {
    const char *reply;
    enum vmd_error kind;
} garbage[] = {
    {"hello\n", VMD_ERROR_INVALID},
    {"7\n", VMD_ERROR_INVALID},
    {"{}\n", VMD_ERROR_INVALID},
    {"{\"jsonrpc\":\"2.0\",\"id\":1}\n", VMD_ERROR_INVALID},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"version\":7}}\n", VMD_ERROR_INVALID},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"m\"}}\n",
     VMD_ERROR_INTERNAL},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":7}\n", VMD_ERROR_INTERNAL},
    {"{\"jsonrpc\":\"2.0\",\"method\":\"rpc.closing\"}\n", VMD_ERROR_GONE},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"resu", VMD_ERROR_GONE},
};

START_TEST(garbage_rows)
{
    g_autoptr(system_version_result) r = NULL;
    g_autoptr(GError) err = NULL;
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    g_autoptr(vmd_client) c = vmd_client_new_fd(ends[0]);
    const char *text = garbage[_i].reply;
    ck_assert_int_eq(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    shutdown(ends[1], SHUT_WR);
    /* The reply is there before the call; id 1 is the first. */
    ck_assert(!vmd_client_invoke(c, API_SYSTEM_VERSION, NULL, &r, NULL, &err));
    ck_assert_msg(g_error_matches(err, VMD_ERROR, garbage[_i].kind), "%s: %s", text, err->message);
    close(ends[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("libvmd");
    TCase *tc = tcase_create("server"), *own = tcase_create("own");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, calls);
    tcase_add_test(tc, errors);
    tcase_add_test(tc, not_text);
    tcase_add_test(tc, unknown_method);
    tcase_add_test(tc, descriptors);
    tcase_add_test(tc, time_out);
    tcase_add_test(tc, events);
    tcase_add_test(tc, closed_with_reason);
    tcase_add_test(tc, server_gone);
    suite_add_tcase(s, tc);
    tcase_add_test(own, paths);
    tcase_add_test(own, nobody_listens);
    tcase_add_loop_test(own, garbage_rows, 0, G_N_ELEMENTS(garbage));
    suite_add_tcase(s, own);
    return unit_run(s);
}
