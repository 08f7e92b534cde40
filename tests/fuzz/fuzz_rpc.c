/*
 * A whole connection: a client sends the bytes and closes; the server answers or disconnects, and is
 * left with no client. No method has a handler here, so each request that is right gets an error.
 */
#include "proto/jsonrpc/rpc.h"
#include "proto/schema/api.h"
#include "tests/fuzz/fuzz.h"

#include <sys/socket.h>

static void send_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return;
        data += n;
        size -= (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct api_handlers none;
    uv_loop_t loop;
    int pair[2];

    g_assert(uv_loop_init(&loop) == 0);
    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    struct rpc_server *server = rpc_server_new(&loop, &api_service, &none, NULL, NULL);
    g_assert(rpc_server_adopt(server, pair[0], NULL));
    send_all(pair[1], data, size);
    g_assert(shutdown(pair[1], SHUT_WR) == 0);
    /* The server sees the end of input after all that came before it. */
    while (rpc_server_clients(server) > 0)
        uv_run(&loop, UV_RUN_ONCE);
    rpc_server_close(server, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    g_assert(uv_loop_close(&loop) == 0);
    close(pair[1]);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"vm.get\",\"params\":{\"vm\":\"x\"}}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vm.kill\",\"params\":{\"vm\":\"x\",\"key\":\"k\"}}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"vm.kill\",\"params\":{\"vm\":\"x\",\"key\":\"k\"}}\n",
        "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.discover\"},{\"jsonrpc\":\"2.0\",\"method\":\"x\"}]\n",
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"event.list\"}\nno json\n[]\n{",
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
