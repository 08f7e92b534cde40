/* Folders of compilers: how much may be in them, and that all of it can be removed, also by users
 * who may not read it. */
#include "gpu/server/compile_folder.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { NOBODY = 65534, NAME = 200 };

/* --- what a compiler leaves ------------------------------------------------------------------- */

static void make_file(int in, const char *name, const char *text)
{
    autofd fd = openat(in, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0000);

    ck_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static int make_folder(int in, const char *name)
{
    ck_assert(mkdirat(in, name, 0700) == 0);
    int fd = openat(in, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void few(int in)
{
    autofd sub = make_folder(in, "sub");

    make_file(in, "a", "text");
    make_file(sub, "b", "text");
    ck_assert(symlinkat("/etc", sub, "etc") == 0);
    ck_assert(mkfifoat(sub, "pipe", 0) == 0);
}

/* Folders of DEPTH within each other, with names that make a path of them too long for any call. */
static void deep(int in, int depth)
{
    char name[NAME + 1] = "";
    int at = dup(in);

    memset(name, 'x', NAME);
    for (int i = 0; i < depth; i++) {
        int below = make_folder(at, name);
        make_file(at, "file", "");
        close(at);
        at = below;
    }
    close(at);
}

static void as_deep(int in)
{
    deep(in, LIMIT_GPU_COMPILE_DEPTH);
}

static void too_deep(int in)
{
    deep(in, LIMIT_GPU_COMPILE_DEPTH + 1);
}

static void far_too_deep(int in)
{
    deep(in, 1500);
}

static void files(int in, int n)
{
    char name[32];

    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%d", i);
        make_file(in, name, "");
    }
}

static void as_many(int in)
{
    files(in, LIMIT_GPU_COMPILE_FILES);
}

static void too_many(int in)
{
    files(in, LIMIT_GPU_COMPILE_FILES + 1);
}

/* Names that those below would get as they come up. */
static void same_names(int in)
{
    autofd sub = make_folder(in, "0");
    autofd below = make_folder(sub, "1");
    autofd more = make_folder(sub, "0");

    make_file(in, "1", "");
    make_file(below, "2", "");
    make_file(more, "3", "");
    autofd other = make_folder(in, "2");
    make_file(other, "0", "");
}

/* Folders that cannot be listed, entered or written. */
static void shut(int in)
{
    autofd one = make_folder(in, "one"), two = make_folder(one, "two");

    make_file(two, "file", "");
    ck_assert(fchmod(two, 0) == 0 && fchmod(one, 0300) == 0);
}

static const struct {
    const char *name;
    void (*make)(int in);
    bool within;
} cases[] = {{"few", few, true},
             {"as deep as it may be", as_deep, true},
             {"too deep", too_deep, false},
             {"far too deep", far_too_deep, false},
             {"as many as may be", as_many, true},
             {"too many", too_many, false},
             {"the same names", same_names, true}};

/* --- the tests -------------------------------------------------------------------------------- */

static char *new_folder(int *in)
{
    char *path = g_dir_make_tmp("vmd-test-XXXXXX", NULL);

    ck_assert(path);
    *in = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(*in, 0);
    return path;
}

static void remove_it(const char *path, const char *name)
{
    g_autoptr(GError) err = NULL;
    struct stat st;

    ck_assert_msg(compile_folder_remove(path, &err), "%s: %s", name, err ? err->message : "");
    ck_assert(stat(path, &st) < 0 && errno == ENOENT);
}

START_TEST(each)
{
    int in;
    g_autofree char *path = new_folder(&in);

    cases[_i].make(in);
    close(in);
    ck_assert_msg(compile_folder_is_within(path) == cases[_i].within, "%s", cases[_i].name);
    remove_it(path, cases[_i].name);
}
END_TEST

START_TEST(large)
{
    enum { PIECE = 1 << 20 };
    int in;
    g_autofree char *path = new_folder(&in), *piece = g_malloc0(PIECE);
    autofd fd = openat(in, "large", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    ck_assert(ftruncate(fd, 1ll << 30) == 0); /* of nothing */
    ck_assert(compile_folder_is_within(path));
    for (int i = 0; i <= LIMIT_GPU_COMPILE_FILES_MIB; i++)
        ck_assert_int_eq(write(fd, piece, PIECE), PIECE);
    ck_assert(!compile_folder_is_within(path));
    close(in);
    remove_it(path, "large");
}
END_TEST

/* By a user who has no right but an owner's. */
START_TEST(as_user)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        int in;
        if (getuid() == 0)
            ck_assert(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
        g_autofree char *path = new_folder(&in);
        few(in);
        shut(in);
        same_names(in);
        far_too_deep(in);
        ck_assert(fchmod(in, 0) == 0);
        close(in);
        ck_assert(!compile_folder_is_within(path));
        remove_it(path, "a user's");
        _exit(0);
    }
    ck_assert(waitpid(pid, &status, 0) == pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(none)
{
    g_autoptr(GError) err = NULL;

    ck_assert(!compile_folder_is_within("/nowhere/at/all"));
    ck_assert(!compile_folder_remove("/nowhere/at/all", &err));
    ck_assert(err);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("compile-folder");
    TCase *tc = tcase_create("compile-folder");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, each, 0, G_N_ELEMENTS(cases));
    tcase_add_test(tc, large);
    tcase_add_test(tc, as_user);
    tcase_add_test(tc, none);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
