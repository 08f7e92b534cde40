/*
 * vmd-vm: the process of one running VM. Started by vmd with a connected socket; people don't start
 * it. See vm/process.c.
 */
#include "base/log.h"
#include "vm/process.h"
#include "vm/sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* The number behind --fd; -1 when the arguments are not "--fd N" with N open. */
static int fd_argument(int argc, char **argv)
{
    char *end;
    long fd;

    if (argc != 3 || strcmp(argv[1], "--fd") != 0)
        return -1;
    fd = strtol(argv[2], &end, 10);
    if (*end || end == argv[2] || fd < 3 || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0)
        return -1;
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return (int)fd;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    int fd;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("vmd-vm " VMD_VERSION);
        return EXIT_SUCCESS;
    }
    log_init("vmd-vm");
    fd = fd_argument(argc, argv);
    if (fd < 0) {
        log_error("usage: vmd-vm --fd N, with N a socket connected to vmd; vmd starts this program");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like any other */
    if (!sandbox_enter(&err) || !process_run(fd, &err)) {
        log_error("%s", err->message);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
