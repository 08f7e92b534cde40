/*
 * vmd-vm: the process of one running VM. Started by vmd with a connected socket; people don't start
 * it. See vm/process.c. With --accels it tells what can run VMs instead.
 */
#include "base/log.h"
#include "vm/accels.h"
#include "vm/process.h"
#include "vm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* The number behind OPTION; -1 when the arguments are not "OPTION N" with N open. */
static int fd_argument(int argc, char **argv, const char *option)
{
    char *end;
    long fd;

    if (argc != 3 || strcmp(argv[1], option) != 0)
        return -1;
    fd = strtol(argv[2], &end, 10);
    if (*end || end == argv[2] || fd < 3 || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0)
        return -1;
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return (int)fd;
}

/* One line of JSON, struct vmi_accels, to FD. */
static bool tell_accels(int fd, GError **err)
{
    g_autoptr(vmi_accels) all = accels_measure();
    struct json_object *json = vmi_accels_encode(all);
    const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);
    size_t n = strlen(text);
    bool ok = write(fd, text, n) == (ssize_t)n;

    json_object_put(json);
    return ok || vmd_set_errno(err, errno, "telling what can run VMs");
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
    int accels = fd_argument(argc, argv, "--accels");
    fd = fd_argument(argc, argv, "--fd");
    if (fd < 0 && accels < 0) {
        log_error("usage: vmd-vm --fd N, with N a socket connected to vmd; vmd starts this program");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like any other */
    if (!sandbox_enter(&err) || !(fd < 0 ? tell_accels(accels, &err) : process_run(fd, &err))) {
        log_error("%s", err->message);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
