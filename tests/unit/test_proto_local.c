/* A client of the server within the program: the same checks as over a socket, typed answers, and
 * its end. */
#include "proto/jsonrpc/local.h"
#include "proto/schema/api.h"
#include "tests/unit/unit.h"

static struct rig {
    uv_loop_t loop;
    struct rpc_server *server;
    struct rpc_conn *conn;
    enum rpc_role role;
    struct rpc_call *waiting; /* of vm.wait */
    unsigned answers;
    GError *err; /* of the latest answer */
    uint32_t pid, closed, leaves, notes;
    int fd;
} rig;

static void on_version(struct rpc_call *call, struct system_version_params *params)
{
    struct system_version_result r = {.version = (char *)"1", .api = (char *)"1", .pid = 7};

    ck_assert_ptr_eq(rpc_call_conn(call), rig.conn);
    system_version_reply(call, &r);
}

static void on_wait(struct rpc_call *call, struct vm_wait_params *params)
{
    rig.waiting = call;
}

static void on_attach(struct rpc_call *call, struct console_attach_params *params)
{
    struct console_attach_result r = {.console = params->console, .total = 1};

    console_attach_reply(call, &r, dup(0));
}

static const struct api_handlers handlers = {
    .system_version = on_version, .vm_wait = on_wait, .console_attach = on_attach};

static bool admit(void *user, const struct rpc_peer *peer, enum rpc_role *role, GError **err)
{
    if (peer->uid == 13)
        return vmd_fail(err, VMD_ERROR_DENIED, "not you");
    *role = rig.role;
    return true;
}

static bool owns(void *user, struct rpc_conn *conn, const char *vm, GError **err)
{
    return strcmp(vm, "mine") == 0 || vmd_fail(err, VMD_ERROR_DENIED, "%s is not yours", vm);
}

static void closed(void *user, struct rpc_conn *conn)
{
    rig.closed++;
}

static const struct rpc_server_ops ops = {.admit = admit, .owns = owns, .closed = closed};

static void note(void *user, const char *method, struct json_object *params)
{
    ck_assert_str_eq(method, "event");
    rig.notes++;
}

static void leave(void *user)
{
    rig.leaves++;
}

static const struct rpc_local_ops local_ops = {.notify = note, .leave = leave};

static void setup(void)
{
    struct rpc_peer peer = {.uid = 12};

    rig = (struct rig){.role = RPC_ROLE_OPERATE, .fd = -1};
    uv_loop_init(&rig.loop);
    rig.server = rpc_server_new(&rig.loop, &api_service, &handlers, &ops, NULL);
    rig.conn = rpc_server_join(rig.server, &peer, &local_ops, NULL, NULL);
    ck_assert_ptr_nonnull(rig.conn);
    ck_assert_uint_eq(rpc_conn_peer(rig.conn)->uid, 12);
    ck_assert_uint_eq(rpc_server_clients(rig.server), 1);
}

static void teardown(void)
{
    if (rig.conn)
        rpc_conn_leave(rig.conn);
    rpc_server_close(rig.server, NULL, NULL);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    g_clear_error(&rig.err);
}

static void answered(void *arg, const void *result, int fd, const GError *err)
{
    rig.answers++;
    g_clear_error(&rig.err);
    rig.err = err ? g_error_copy(err) : NULL;
    rig.fd = fd;
    if (arg && result)
        rig.pid = ((const struct system_version_result *)result)->pid;
}

START_TEST(typed)
{
    rpc_local_call(rig.conn, API_SYSTEM_VERSION, NULL, answered, &rig);
    ck_assert_uint_eq(rig.answers, 1);
    ck_assert_ptr_null(rig.err);
    ck_assert_uint_eq(rig.pid, 7);
}
END_TEST

/* Owner, role and params are checked as ever. */
START_TEST(checked)
{
    struct console_attach_params p = {.vm = (char *)"other", .console = (char *)"serial0"};

    rpc_local_call(rig.conn, API_CONSOLE_ATTACH, &p, answered, NULL);
    ck_assert(g_error_matches(rig.err, VMD_ERROR, VMD_ERROR_DENIED));
    p.vm = (char *)"not a name";
    rpc_local_call(rig.conn, API_CONSOLE_ATTACH, &p, answered, NULL);
    ck_assert(g_error_matches(rig.err, VMD_ERROR, VMD_ERROR_INVALID));
    rpc_local_call(rig.conn, API_SYSTEM_SHUTDOWN, NULL, answered, NULL);
    ck_assert(g_error_matches(rig.err, VMD_ERROR, VMD_ERROR_DENIED));
    p.vm = (char *)"mine";
    rpc_local_call(rig.conn, API_CONSOLE_ATTACH, &p, answered, NULL);
    ck_assert_ptr_null(rig.err);
    ck_assert_int_ge(rig.fd, 0);
    close(rig.fd);
}
END_TEST

START_TEST(refused)
{
    struct rpc_peer peer = {.uid = 13};
    GError *err = NULL;

    ck_assert_ptr_null(rpc_server_join(rig.server, &peer, &local_ops, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_DENIED));
    ck_assert_uint_eq(rpc_server_clients(rig.server), 1);
    g_error_free(err);
}
END_TEST

/* Whoever leaves hears that its calls are over; the handler's own answer is dropped. */
START_TEST(left)
{
    struct vm_wait_params p = {.vm = (char *)"mine"};

    rpc_local_call(rig.conn, API_VM_WAIT, &p, answered, NULL);
    ck_assert_uint_eq(rig.answers, 0);
    rpc_conn_leave(g_steal_pointer(&rig.conn));
    ck_assert(g_error_matches(rig.err, VMD_ERROR, VMD_ERROR_GONE));
    ck_assert_uint_eq(rig.closed, 1);
    ck_assert_ptr_null(rpc_call_conn(rig.waiting));
    rpc_call_error(rig.waiting, VMD_ERROR_TIMEOUT, "too late");
    ck_assert_uint_eq(rig.answers, 1);
}
END_TEST

START_TEST(told)
{
    rpc_conn_notify(rig.conn, "event", json_object_new_object());
    ck_assert_uint_eq(rig.notes, 1);
    rpc_conn_close(rig.conn, VMD_ERROR_LIMIT, "too slow");
    ck_assert_uint_eq(rig.leaves, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto_local");
    TCase *tc = tcase_create("rig");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, typed);
    tcase_add_test(tc, checked);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, left);
    tcase_add_test(tc, told);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
