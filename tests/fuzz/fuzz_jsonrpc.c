/*
 * A client that sends anything: the bytes go through a socket into a server of the public API, and
 * every line that comes back must be JSON: a reply, an array of replies, or rpc.closing.
 */
#include "proto/jsonrpc/json.h"
#include "proto/jsonrpc/rpc.h"
#include "proto/schema/api.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>

static void on_ping(struct rpc_call *call, struct system_ping_params *params)
{
    system_ping_reply(call);
}

/* What was accepted must encode, and decode again. */
static void on_create(struct rpc_call *call, struct vm_create_params *params)
{
    g_autoptr(json_object) json = vm_create_params_encode(params);
    g_autoptr(vm_create_params) again = NULL;
    g_autoptr(GError) err = NULL;

    g_assert(vm_create_params_decode(json, &again, &err));
    g_assert(codec_check(&vm_create_params_type, again, "params", &err));
    rpc_call_reply(call, json_object_get(json));
}

static const struct api_handlers handlers = {.system_ping = on_ping, .vm_create = on_create};

static bool admit(void *user, const struct rpc_peer *peer, enum rpc_role *role, GError **err)
{
    *role = RPC_ROLE_ADMIN;
    return true;
}

/* Reads until there is nothing more; false at the end of the connection. */
static bool drain(int fd, GByteArray *in)
{
    uint8_t buf[16384];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
        g_byte_array_append(in, buf, (guint)n);
    return n < 0 && errno == EAGAIN;
}

static void check_line(const char *line, size_t len)
{
    g_autoptr(json_object) v = NULL;
    g_autoptr(GError) err = NULL;

    g_assert(json_read(line, len, &v, &err));
    g_assert(json_object_is_type(v, json_type_object) || json_object_is_type(v, json_type_array));
}

static void check_output(GByteArray *in)
{
    const char *at = (const char *)in->data;
    size_t left = in->len;

    while (left > 0) {
        const char *lf = memchr(at, '\n', left);
        g_assert(lf);
        check_line(at, (size_t)(lf - at));
        left -= (size_t)(lf - at) + 1;
        at = lf + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rpc_server_ops ops = {.admit = admit};
    GByteArray *in = g_byte_array_new();
    uv_loop_t loop;
    int ends[2];

    /* All of it must fit into the socket at once. */
    if (size > 65536 || uv_loop_init(&loop) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return 0;
    struct rpc_service service = api_service;
    service.discover = "{\"methods\":[]}"; /* whatever is sent, it is the same, and takes 50 ms to read */
    struct rpc_server *s = rpc_server_new(&loop, &service, &handlers, &ops, NULL);
    g_assert(rpc_server_adopt(s, ends[0], NULL));
    g_assert(send(ends[1], data, size, 0) == (ssize_t)size);
    shutdown(ends[1], SHUT_WR);
    do
        uv_run(&loop, UV_RUN_NOWAIT);
    while (drain(ends[1], in));
    close(ends[1]);
    rpc_server_close(s, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    g_assert(uv_loop_close(&loop) == 0);
    check_output(in);
    g_byte_array_unref(in);
    return 0;
}

#define REQ(id, method, params)                                                                    \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":" params "}"

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        REQ("1", "system.ping", "{}") "\n" REQ("\"a\"", "system.ping", "{}") "\n",
        REQ("1", "vm.create",
            "{\"key\":\"k\",\"start\":false,\"config\":{\"name\":\"a\",\"arch\":\"riscv64\","
            "\"cpus\":2,\"memory\":1073741824,\"kernel\":\"/k\",\"append\":\"quiet\","
            "\"disks\":[{\"path\":\"/d\",\"format\":\"qcow2\",\"serial\":\"s\"}],\"nics\":[{"
            "\"mac\":\"52:54:00:12:34:56\",\"hostfwd\":[{\"host_addr\":\"::1\",\"host_port\":22,"
            "\"guest_port\":22}]}],\"devices\":{\"rng\":false},\"xlate\":{\"tier\":1}}}") "\n",
        "[" REQ("1", "system.ping", "{}") "," REQ("2", "vm.get", "{\"vm\":\"a\"}") ",7]\n",
        REQ("1", "event.subscribe", "{\"after\":7,\"types\":[\"vm.*\",\"*\"]}") "\n",
        REQ("-1.5e3", "console.log", "{\"vm\":\"a\",\"offset\":18446744073709551615}") "\n",
        REQ("null", "rpc.discover", "{}") "\n",
        REQ("1", "vm.kill", "{\"vm\":\"x\",\"key\":\"k\"}") "\n" REQ(
            "2", "vm.kill", "{\"vm\":\"x\",\"key\":\"k\"}") "\nno json\n[]\n{",
        "{\"jsonrpc\":\"2.0\",\"method\":\"console.attach\",\"params\":{\"vm\":\"\\ud83d\\ude00\"}}"
        "\n",
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
