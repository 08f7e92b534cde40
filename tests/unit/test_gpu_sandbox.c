/* The sandboxes of GPU workers and of compilers: a child enters one and tries what must be refused,
 * and what must work. */
#include "base/confine.h"
#include "base/log.h"
#include "gpu/server/compile_folder.h"
#include "gpu/server/sandbox.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { WORKER = 1, DRIVER = 2, COMPILER = 4, WORKERS = WORKER | DRIVER, ALL = 7 };

/* Sanitizers may open anything. */
enum { NOT_SANITIZED = CONFINE_SANITIZED ? 0 : ALL };

/* What there is before: a folder, a file in it that is open, a socket, which signals could come of.
 */
static struct {
    char *folder;
    int file, socket;
} place;

/* --- attempts: 0, or the errno ---------------------------------------------------------------- */

static int result_of(long rc)
{
    return rc < 0 ? errno : 0;
}

static int set_owner(void)
{
    return result_of(fcntl(place.socket, F_SETOWN, getppid()));
}

static int set_owner_ex(void)
{
    const struct f_owner_ex owner = {F_OWNER_PID, getppid()};

    return result_of(fcntl(place.socket, F_SETOWN_EX, &owner));
}

static int set_owner_by_ioctl(void)
{
    int parent = getppid();

    return result_of(ioctl(place.socket, FIOSETOWN, &parent));
}

static int set_group_by_ioctl(void)
{
    int parent = getppid();

    return result_of(ioctl(place.socket, SIOCSPGRP, &parent));
}

static int set_signal(void)
{
    return result_of(fcntl(place.socket, F_SETSIG, SIGKILL));
}

static int set_async(void)
{
    return result_of(fcntl(place.socket, F_SETFL, O_ASYNC | O_NONBLOCK));
}

static int set_nonblock(void)
{
    return result_of(fcntl(place.socket, F_SETFL, fcntl(place.socket, F_GETFL) | O_NONBLOCK));
}

static int set_lease(void)
{
    return result_of(fcntl(place.file, F_SETLEASE, F_WRLCK));
}

static int duplicate(void)
{
    return result_of(fcntl(place.file, F_DUPFD_CLOEXEC, 10));
}

static int lock_file(void)
{
    struct flock lock = {.l_type = F_WRLCK};

    return result_of(fcntl(place.file, F_SETLK, &lock));
}

static int set_cloexec(void)
{
    return result_of(fcntl(place.file, F_SETFD, FD_CLOEXEC));
}

static int seal(void)
{
    return result_of(
        fcntl(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING), F_ADD_SEALS, F_SEAL_WRITE));
}

/* A relative path: the child is in its folder. */
static int truncate_read(void)
{
    return result_of(open("file", O_RDONLY | O_TRUNC));
}

static int truncate_neither(void)
{
    return result_of(open("file", O_ACCMODE | O_TRUNC));
}

static int truncate_write(void)
{
    int rc = result_of(open("file", O_WRONLY | O_TRUNC));

    return rc ? rc : result_of(open("file", O_RDWR | O_TRUNC));
}

static int folder(void)
{
    int rc = result_of(mkdir("one", 0700));

    return rc ? rc : result_of(mkdirat(AT_FDCWD, "two", 0777));
}

static int secret_folder(void)
{
    return result_of(mkdir("three", 0300));
}

static int secret_folder_at(void)
{
    return result_of(mkdirat(AT_FDCWD, "three", 0500));
}

static int secret_mask(void)
{
    return umask(0400) == (mode_t)-1 ? errno : 0;
}

static int plain_mask(void)
{
    return umask(022) == (mode_t)-1 ? errno : 0;
}

static int allocate(void)
{
    return result_of(fallocate(place.file, 0, 0, 1 << 20));
}

static const struct attempt {
    const char *name;
    int (*attempt)(void);
    unsigned who;
    int want;
} attempts[] = {
    {"an owner", set_owner, ALL, EPERM},
    {"an owner of a kind", set_owner_ex, ALL, EPERM},
    {"an owner by ioctl", set_owner_by_ioctl, DRIVER, EPERM},
    {"a group by ioctl", set_group_by_ioctl, DRIVER, EPERM},
    {"an owner by ioctl", set_owner_by_ioctl, COMPILER, ENOTTY},
    {"a signal", set_signal, ALL, EPERM},
    {"O_ASYNC", set_async, ALL, EPERM},
    {"O_NONBLOCK", set_nonblock, ALL, 0},
    {"a lease", set_lease, ALL, EPERM},
    {"a duplicate", duplicate, ALL, 0},
    {"a lock", lock_file, ALL, 0},
    {"FD_CLOEXEC", set_cloexec, ALL, 0},
    {"a seal", seal, WORKERS, 0},
    {"truncating what is written", truncate_write, COMPILER, 0},
    {"truncating what is written", truncate_write, WORKERS, EACCES},
    {"a folder", folder, COMPILER, 0},
    {"a folder that cannot be read", secret_folder, COMPILER, EPERM},
    {"one in a folder", secret_folder_at, COMPILER, EPERM},
    {"a mask of the owner's", secret_mask, COMPILER, EPERM},
    {"a mask", plain_mask, COMPILER, 0},
    {"files without bytes", allocate, COMPILER, EOPNOTSUPP},
    {"truncating what is read", truncate_read, NOT_SANITIZED, EPERM},
    {"truncating what is neither", truncate_neither, NOT_SANITIZED, EPERM},
};

/* --- the tests -------------------------------------------------------------------------------- */

static bool enter(unsigned who)
{
    g_autoptr(GError) err = NULL;
    bool ok = who == WORKER   ? sandbox_gpu(&err)
              : who == DRIVER ? sandbox_gpu_driver(&err)
                              : sandbox_compiler(place.folder, "/usr/lib", &err);

    if (!ok)
        fprintf(stderr, "%s\n", err->message);
    return ok;
}

/* Those that went otherwise; what is refused is said on stderr, which nobody needs. */
static int try_all(unsigned who)
{
    int bad = 0;

    if (!enter(who))
        return 1;
    for (size_t i = 0; i < G_N_ELEMENTS(attempts); i++) {
        const struct attempt *a = &attempts[i];
        int got = a->who & who ? a->attempt() : a->want;
        if (got == a->want)
            continue;
        bad++;
        fprintf(stderr, "failed: sandbox %u: %s: %s, not %s\n", who, a->name, strerror(got),
                strerror(a->want));
    }
    return bad;
}

START_TEST(each)
{
    g_autoptr(GError) err = NULL;
    int fds[2], status;

    place.folder = g_dir_make_tmp("vmd-test-XXXXXX", NULL);
    ck_assert(place.folder);
    pid_t pid = fork();
    if (pid == 0) {
        ck_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        place.socket = fds[0];
        ck_assert(chdir(place.folder) == 0);
        place.file = open("file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        ck_assert_int_ge(place.file, 0);
        _exit(try_all(1u << _i));
    }
    ck_assert(waitpid(pid, &status, 0) == pid);
    ck_assert(compile_folder_remove(place.folder, &err));
    g_free(place.folder);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-sandbox");
    TCase *tc = tcase_create("gpu-sandbox");

    log_init("test_gpu_sandbox");
    tcase_add_loop_test(tc, each, 0, 3);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
