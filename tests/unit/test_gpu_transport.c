/* How a guest's program finds a serial port: over a made-up sysfs, and ports that cannot be opened.
 */
#include "base/base.h"
#include "guest/cuda/transport.h"
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { NO_DEVICE = 100, NOT_PERMITTED = 800, SYSTEM_NOT_READY = 802, PORTS = 3 };

static char *root;        /* in the place of / for /sys */
static int errors[PORTS]; /* with which each port cannot be opened; 0: it can */
static unsigned lone;     /* how often one that is opened has nobody at its other end */
static unsigned pauses, opened;
static int other = -1; /* the other end */

DIR *__wrap_opendir(const char *path);
FILE *__wrap_fopen64(const char *path, const char *mode);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
DIR *__real_opendir(const char *path);
FILE *__real_fopen64(const char *path, const char *mode);
int __real_open64(const char *path, int flags, ...);

static char *moved(const char *path)
{
    return g_str_has_prefix(path, "/sys/") ? g_strconcat(root, path, NULL) : g_strdup(path);
}

DIR *__wrap_opendir(const char *path)
{
    g_autofree char *at = moved(path);

    return __real_opendir(at);
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
    g_autofree char *at = moved(path);

    return __real_fopen64(at, mode);
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list ap;
    unsigned port;

    va_start(ap, flags);
    int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
    va_end(ap);
    if (sscanf(path, "/dev/vport0p%u", &port) != 1)
        return __real_open64(path, flags, mode);
    ck_assert_uint_lt(port, PORTS);
    errno = errors[port];
    if (errors[port])
        return -1;
    if (opened++ < lone)
        return __real_open64("/dev/null", O_RDWR | O_CLOEXEC); /* of which 0 bytes are read */
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    other = pair[1];
    return pair[0];
}

/* Time does not pass, but it is seen that somebody waits. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    pauses++;
    return 0;
}

static const struct ports {
    const char *name;
    int errors[PORTS];
    int result;
    bool waits; /* until one is free, as long as that may take */
    unsigned lone;
} rows[] = {
    {"all busy", {EBUSY, EBUSY, EBUSY}, SYSTEM_NOT_READY, true},
    {"the first is", {EBUSY, EACCES, EACCES}, SYSTEM_NOT_READY, true},
    {"the second is", {EACCES, EBUSY, ENODEV}, SYSTEM_NOT_READY, true},
    {"the third is", {ENODEV, EACCES, EBUSY}, SYSTEM_NOT_READY, true},
    {"none may be opened", {EACCES, EACCES, EACCES}, NOT_PERMITTED, false},
    {"all have gone", {ENODEV, ENODEV, ENOENT}, NO_DEVICE, false},
    {"the host is there", {EBUSY, 0, EBUSY}, 0, false, 0},
    {"the host lost it while it was open", {EBUSY, 0, EBUSY}, 0, true, 1},
    {"again and again", {EBUSY, EBUSY, 0}, 0, true, 20},
    {"there is no worker", {0, EBUSY, EBUSY}, SYSTEM_NOT_READY, true, UINT_MAX},
};

static void remove_all(const char *path)
{
    const char *argv[] = {"rm", "-rf", path, NULL};

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
}

START_TEST(why)
{
    const struct ports *row = &rows[_i];
    struct transport t;

    unsetenv("VMD_GPU_SOCKET");
    setenv("VMD_GPU_STREAM", "1", 1);
    root = g_dir_make_tmp("vmd-transport-XXXXXX", NULL);
    for (unsigned i = 0; i < PORTS; i++) {
        g_autofree char *dir = g_strdup_printf("%s/sys/class/virtio-ports/vport0p%u", root, i);
        g_autofree char *name = g_build_filename(dir, "name", NULL);
        ck_assert_int_eq(g_mkdir_with_parents(dir, 0700), 0);
        ck_assert(g_file_set_contents(name, "org.vmd.gpu.0\n", -1, NULL));
        errors[i] = row->errors[i];
    }
    lone = row->lone;
    int rc = transport_open(&t);
    remove_all(root);
    ck_assert_msg(rc == row->result, "%s: %d", row->name, rc);
    ck_assert_msg(row->waits == (pauses > 0), "%s: %u pauses", row->name, pauses);
    ck_assert_msg(rc || opened == lone + 1, "%s: opened %u times", row->name, opened);
    /* What is opened anew comes long before the end of the wait, and not at each look. */
    ck_assert_msg(pauses <= 3001 && (rc || pauses <= 150 * lone), "%s: %u pauses", row->name,
                  pauses);
    ck_assert_msg(opened <= 31, "%s: opened %u times", row->name, opened);
    transport_close(&t);
    if (other >= 0)
        close(other);
    g_free(root);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-transport");
    TCase *tc = tcase_create("gpu-transport");

    tcase_add_loop_test(tc, why, 0, G_N_ELEMENTS(rows));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
