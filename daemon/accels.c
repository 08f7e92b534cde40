/* See accels.h. */
#include "daemon/accels.h"

#include "daemon/spawn.h"
#include "daemon/waiters.h"
#include "proto/jsonrpc/json.h"
#include "proto/schema/api.h"
#include "proto/schema/vmi.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

enum {
    FRESH_MS = 30000,
    MEASURE_MS = 10000, /* a hanging KVM is given up after three seconds */
    TEXT_MOST = 65536,
};

struct accels {
    uv_loop_t *loop;
    const char *vm_program;
    struct waiters *waiters;
    struct spawned process;
    int fd;                  /* what the process writes to; -1: none runs */
    struct vmi_accels *last; /* NULL: never measured */
    uint64_t last_ms;        /* of the loop's clock */
};

struct accels *accels_new(uv_loop_t *loop, const char *vm_program)
{
    struct accels *a = g_new0(struct accels, 1);

    a->loop = loop;
    a->vm_program = vm_program;
    a->waiters = waiters_new(loop);
    a->fd = -1;
    spawned_init(&a->process);
    return a;
}

void accels_free(struct accels *a)
{
    if (!a)
        return;
    waiters_free(a->waiters);
    if (a->fd >= 0) {
        spawned_kill(&a->process, SIGKILL);
        spawned_forget(&a->process);
        close(a->fd);
    }
    vmi_accels_free(a->last);
    g_free(a);
}

/* All that the process said, which is dead: it fits the socket. */
static struct vmi_accels *take(struct accels *a, GError **err)
{
    g_autofree char *text = g_malloc(TEXT_MOST);
    struct vmi_accels *all = NULL;
    size_t n = 0;
    ssize_t got;

    while (n < TEXT_MOST && (got = recv(a->fd, text + n, TEXT_MOST - n, MSG_DONTWAIT)) > 0)
        n += (size_t)got;
    struct json_object *json = NULL;
    if (!n)
        vmd_fail(err, VMD_ERROR_IO, "%s ended without a word of what can run VMs", a->vm_program);
    else if (json_read(text, n, &json, err))
        vmi_accels_decode(json, &all, err);
    json_object_put(json);
    return all;
}

static void reply(struct rpc_call *call, void *opaque)
{
    const struct accels *a = opaque;
    struct host_capabilities_result result = {.accels = a->last->accels,
                                              .n_accels = a->last->n_accels};

    host_capabilities_reply(call, &result);
}

static void refuse(struct rpc_call *call, void *opaque)
{
    rpc_call_fail(call, g_error_copy(opaque));
}

static void gone(void *opaque)
{
    struct accels *a = opaque;
    g_autoptr(GError) err = NULL;
    struct vmi_accels *all = take(a, &err);

    close(a->fd);
    a->fd = -1;
    if (!all) {
        waiters_answer(a->waiters, 0, refuse, err);
        return;
    }
    vmi_accels_free(a->last);
    a->last = all;
    a->last_ms = uv_now(a->loop);
    waiters_answer(a->waiters, 0, reply, a);
}

void accels_answer(struct accels *a, struct rpc_call *call)
{
    GError *err = NULL;

    if (a->last && uv_now(a->loop) - a->last_ms < FRESH_MS) {
        reply(call, a);
        return;
    }
    if (a->fd < 0)
        a->fd = spawn_vm_process(&a->process, a->loop, a->vm_program, "--accels", "/dev/null", gone, a, &err);
    if (a->fd < 0)
        rpc_call_fail(call, err);
    else
        waiters_add(a->waiters, call, 0, MEASURE_MS, "this host's KVM was not measured in time");
}
