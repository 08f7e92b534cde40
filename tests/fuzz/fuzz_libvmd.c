/*
 * A daemon that answers anything: the bytes are what libvmd reads. Each call and each event ends
 * with a result or an error, and the connection's end is found.
 */
#include "proto/client/libvmd.h"
#include "tests/fuzz/fuzz.h"

#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vm_get_params get = {.vm = (char *)"a"};
    int ends[2];

    if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return 0;
    g_assert(send(ends[1], data, size, 0) == (ssize_t)size);
    shutdown(ends[1], SHUT_WR);
    g_autoptr(vmd_client) c = vmd_client_new_fd(ends[0]);
    for (int i = 0; i < 3; i++) {
        g_autoptr(vm_info) info = NULL;
        g_autoptr(GError) err = NULL;
        bool ok = vmd_client_invoke(c, API_VM_GET, &get, &info, NULL, &err);
        g_assert(ok ? info && !err : !info && err);
    }
    for (;;) {
        g_autoptr(event_delivery) d = NULL;
        g_autoptr(GError) err = NULL;
        if (!vmd_client_next_event(c, 0, &d, &err)) {
            g_assert(err);
            break;
        }
        g_assert(d); /* at the end of the file nothing is waited for */
    }
    close(ends[1]);
    return 0;
}

#define REPLY(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}\n"

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        REPLY("1",
              "{\"id\":\"i\",\"name\":\"a\",\"state\":\"running\",\"owner_uid\":0,"
              "\"owner\":\"root\",\"created_ns\":1,\"runs\":1,\"end\":{\"reason\":\"killed\","
              "\"text\":\"t\",\"time_ns\":5},\"config\":{\"name\":\"a\",\"arch\":\"riscv64\"}}")
            REPLY("2", "{}") REPLY("3", "null"),
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32001,\"message\":\"m\",\"data\":"
        "{\"kind\":\"not-found\",\"hint\":\"h\"}}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"subscription\":1,\"event\":"
        "{\"seq\":1,\"time_ns\":1,\"type\":\"vm.created\",\"vm\":\"a\",\"data\":{}}}}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"rpc.closing\",\"params\":{\"kind\":\"limit\","
        "\"reason\":\"r\"}}\n",
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
