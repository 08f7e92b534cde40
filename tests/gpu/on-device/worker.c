/*
 * The GPU worker with the backend cuda and nothing else: no glib, no sandbox. It serves programs that connect to
 * a socket, as vmd-gpu --listen does.
 *
 *     worker SOCKET MIB [DEVICE]
 */
#include "base/log.h"
#include "gpu/server/backend_cuda_priv.h"
#include "gpu/server/worker.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Nobody tells it to save anything: the software device's loader, which that takes, is left out. */
const struct gpu_move_ops cuda__move = {0};

uint32_t cuda__printed(struct gpu_context *c, char *to, uint32_t most)
{
    return 0;
}

int cuda__event_since(struct gpu_event *e, uint64_t *ns)
{
    return GPU_NOT_SUPPORTED;
}

GQuark vmd_error_quark(void)
{
    return 1;
}

static bool set(GError **err, int code, const char *more, const char *fmt, va_list args)
{
    char text[1024];
    size_t n;

    if (!err)
        return false;
    vsnprintf(text, sizeof(text), fmt, args);
    n = strlen(text);
    snprintf(text + n, sizeof(text) - n, "%s%s", *more ? ": " : "", more);
    *err = g_new0(GError, 1);
    **err = (GError){1, code, g_strdup(text)};
    return false;
}

bool vmd_fail(GError **err, enum vmd_error code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set(err, (int)code, "", fmt, args);
    va_end(args);
    return false;
}

bool vmd_set_errno(GError **err, int errnum, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    set(err, VMD_ERROR_IO, strerror(errnum), fmt, args);
    va_end(args);
    return false;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    GError *err = NULL;

    if (argc < 3 || argc > 4 || strlen(argv[1]) >= sizeof(address.sun_path)) {
        fprintf(stderr, "usage: worker SOCKET MIB [DEVICE]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct gpu_quota quota = {.most = MIB(strtoull(argv[2], NULL, 10))};
    struct session_env env = {.quota = &quota, .backend = backend_cuda_new(argc > 3 ? argv[3] : "", &err)};
    strcpy(address.sun_path, argv[1]);
    if (env.backend) {
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
            vmd_fail(&err, VMD_ERROR_IO, "listening at %s", argv[1]);
        else
            worker_listen(&env, fd, &err);
    }
    fprintf(stderr, "worker: %s\n", err ? err->message : "nobody comes any more");
    return 1;
}
