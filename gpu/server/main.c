/*
 * vmd-gpu: the process that holds the GPU contexts of one VM. Started by vmd with a socket whose
 * other end the VM process has; with --listen it serves programs of the host, for tests and for
 * those who want to see how it works. With --compile it is what compiles for such a process, which
 * starts it itself.
 */
#include "base/log.h"
#include "gpu/server/backend_cuda.h"
#include "gpu/server/backend_hip.h"
#include "gpu/server/compile_serve.h"
#include "gpu/server/engine_soft.h"
#include "gpu/server/probe.h"
#include "gpu/server/sandbox.h"
#include "gpu/server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { ANSWERS_MS = 10000 /* for programs of the host; a VM may be paused for ever */ };

/* The backend NAME with its device DEVICE, and this process confined to what that takes. */
static struct gpu_backend *backend_named(const char *name, const char *device, GError **err)
{
    struct gpu_backend *b = NULL;

    if (strcmp(name, "soft") == 0) {
        b = backend_queue_new(&engine_soft);
        if (!sandbox_gpu(err))
            g_clear_pointer(&b, b->ops->close);
    } else if (strcmp(name, "cuda") == 0 || strcmp(name, "hip") == 0) {
        b = *name == 'c' ? backend_cuda_new(device, err) : backend_hip_new(device, err);
        if (b && !sandbox_gpu_driver(err))
            g_clear_pointer(&b, b->ops->close);
    } else {
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "there is no GPU backend '%s'", name);
    }
    return b;
}

/* A thread that the driver keeps cannot be ended but with the process: programs find another
 * worker. */
static void worker_hung(void *opaque, const char *what)
{
    const struct session_env *env = opaque;

    log_error("the backend %s does not come back from a call (%s): this worker ends",
              env->backend->ops->name, what);
    _exit(EXIT_FAILURE);
}

/* Until vmd, which has the other end of FD, knows this process for good. */
static bool wait_known(int fd, GError **err)
{
    char byte;
    ssize_t n;

    while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    close(fd);
    return n == 1 || vmd_fail(err, VMD_ERROR_GONE, "the vmd that started this worker is gone");
}

/* MORE is the first of three descriptors: a share's two pages, and what wait_known() reads; -1:
 * there are none. */
static bool serve_vm(int fd, int more, GError **err)
{
    struct worker_hello hello;
    struct worker_seats seats;
    int fds[WORKER_FDS];

    if (more >= 0 && !wait_known(more + 2, err))
        return false;
    if (!worker_greet(fd, &hello, fds, err))
        return false;
    struct gpu_quota quota = {.most = hello.memory};
    struct session_env env = {.backend = backend_named(hello.backend, hello.device, err),
                              .quota = &quota};
    if (!env.backend || !(env.watch = watch_new(worker_hung, &env, true, err)) ||
        !(env.meter = more < 0 ? meter_new(NULL, NULL) : worker_meter(more, more + 1, err)) ||
        !worker_start(&env, &seats, fds, hello.magic == WORKER_MOVED_MAGIC, err))
        return false;
    worker_report(&env, &seats, fd);
    _exit(EXIT_SUCCESS); /* sessions are not waited for: what they hold dies with this process */
}

static int listen_at(const char *path, GError **err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        vmd_fail(err, VMD_ERROR_INVALID, "%s: a socket's path has at most %zu bytes", path,
                 sizeof(address.sun_path) - 1);
        return -1;
    }
    strcpy(address.sun_path, path);
    umask(0077);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, 16) < 0) {
        vmd_set_errno(err, errno, "listening at %s", path);
        return -1;
    }
    return steal_fd(&fd);
}

static bool serve_host(const char *path, uint64_t memory, const char *backend, const char *device,
                       GError **err)
{
    struct gpu_quota quota = {.most = memory};
    autofd fd = listen_at(path, err);
    struct session_env env = {
        .quota = &quota, .meter = meter_new(NULL, NULL), .answers_ms = ANSWERS_MS};

    if (fd < 0)
        return false;
    env.backend = backend_named(backend, device, err);
    if (!env.backend || !(env.watch = watch_new(worker_hung, &env, true, err)))
        return false;
    puts("ready");
    fflush(stdout);
    return worker_listen(&env, fd, err);
}

static int usage(void)
{
    log_error(
        "usage: vmd-gpu --fd N [M], with N a socket connected to a VM process, M the first of "
        "two pages for a share and a pipe; vmd starts this program. Or vmd-gpu --listen SOCKET MEMORY "
        "[soft | cuda [DEVICE] | hip [DEVICE]]");
    return 2;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    uint64_t memory = 0;
    bool ok = false;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("vmd-gpu " VMD_VERSION);
        return EXIT_SUCCESS;
    }
    log_init("vmd-gpu");
    signal(SIGPIPE, SIG_IGN);
    bool serve = argc >= 3 && argc <= 4 && strcmp(argv[1], "--fd") == 0;
    bool compile = argc == 3 && strcmp(argv[1], "--compile") == 0;
    if (serve || compile || (argc == 3 && strcmp(argv[1], "--probe") == 0)) {
        int fd = atoi(argv[2]), more = argc == 4 ? atoi(argv[3]) : -1;
        if (fd < 3 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || (argc == 4 && more <= fd))
            return usage();
        if (!serve && !compile) {
            probe_tell(fd);
            return EXIT_SUCCESS;
        }
        ok = compile ? compile_serve(fd, &err) : serve_vm(fd, more, &err);
    } else if (argc >= 4 && argc <= 6 && strcmp(argv[1], "--listen") == 0) {
        ok =
            size_parse(argv[3], &memory, &err) &&
            serve_host(argv[2], memory, argc > 4 ? argv[4] : "soft", argc > 5 ? argv[5] : "", &err);
    } else {
        return usage();
    }
    if (!ok)
        log_error("%s", err->message);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
