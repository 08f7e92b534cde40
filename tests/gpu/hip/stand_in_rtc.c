/*
 * A library with the functions of ROCm's libhiprtc.so that vmd-gpu calls: for tests without it. It
 * compiles nothing: it looks at every byte that it is given, and gives a code object of
 * tests/gpu/code, or does what the source's name says, in what a compiler may do, too.
 *
 * What is not as it is to be is a compile error whose log says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/confine.h"
#include "tests/gpu/hip/rtc_cases.h"

#define API __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_INPUT = 3, COMPILATION = 6, NAME_NOT_VALID = 10, NAMES = 8 };

__asm__(".section .rodata\n.global rtc_code\n.global rtc_code_end\n.hidden rtc_code\n"
        ".hidden rtc_code_end\n.balign 16\nrtc_code:\n.incbin \"" RTC_CODE "\"\nrtc_code_end:\n"
        ".previous\n");
extern const char rtc_code[], rtc_code_end[];

struct program {
    const char *text, *name, *const *texts, *const *names;
    int n;
    const char *expressions[NAMES];
    char lowered[NAMES][64];
    int n_expressions;
    bool compiled;
    char log[4096];
};

static void say(struct program *p, const char *format, ...)
{
    size_t have = strlen(p->log);
    va_list args;

    va_start(args, format);
    vsnprintf(p->log + have, sizeof(p->log) - have, format, args);
    va_end(args);
}

/* --- what sources are to be ------------------------------------------------------------------- */

static bool same(struct program *p, const char *what, const char *got, const char *want)
{
    if (strcmp(got, want) == 0)
        return true;
    say(p, "%s is '%s', not '%s'\n", what, got, want);
    return false;
}

static bool check_options(struct program *p, int n, const char *const *options, int n_want,
                          const char *const *want)
{
    bool ok = n == n_want;

    if (!ok)
        say(p, "%d options, not %d\n", n, n_want);
    for (int i = 0; ok && i < n; i++)
        ok = same(p, "an option", options[i], want[i]);
    return ok;
}

/* The source of the case "all", with all that belongs to it. */
static int do_all(struct program *p, int n, const char *const *options)
{
    static const char *const want[] = {"-O3", "-DX=\"a b\"",
                                       "--offload-arch=gfx90a:sramecc+:xnack-"};
    bool ok = same(p, "the text", p->text, RTC_TEXT) && check_options(p, n, options, 3, want);

    if (ok && p->n != 2) {
        say(p, "%d headers\n", p->n);
        ok = false;
    }
    ok = ok && same(p, "a name", p->names[0], "first.h") &&
         same(p, "a name", p->names[1], "dir/second.h") &&
         same(p, "a header", p->texts[0], RTC_FIRST) && same(p, "a header", p->texts[1], "");
    if (ok && p->n_expressions != 2) {
        say(p, "%d expressions\n", p->n_expressions);
        ok = false;
    }
    ok = ok && same(p, "an expression", p->expressions[0], "twice") &&
         same(p, "an expression", p->expressions[1], "f<int>");
    if (!ok)
        return COMPILATION;
    strcpy(p->lowered[0], "twice");
    strcpy(p->lowered[1], "_Z1fIiEvv");
    say(p, "warning: all is well");
    return SUCCESS;
}

/* A target that is named is left as it is; a source without a name has none. */
static int do_plain(struct program *p, int n, const char *const *options)
{
    static const char *const want[] = {"--gpu-architecture=gfx90a"};

    return same(p, "the text", p->text, "plain") && check_options(p, n, options, 1, want)
               ? SUCCESS
               : COMPILATION;
}

static int do_error(struct program *p, int n, const char *const *options)
{
    for (int i = 0; i < 60; i++)
        say(p, "error.hip:%d:1: error: unknown type name 'flaot'\n", i);
    return COMPILATION;
}

static int do_large(struct program *p, int n, const char *const *options)
{
    size_t length = strlen(p->text);

    for (size_t i = 0; i < length; i++) {
        if (p->text[i] != 'a' + (char)(i % 23)) {
            say(p, "byte %zu is %d\n", i, p->text[i]);
            return COMPILATION;
        }
    }
    say(p, "%zu bytes", length);
    return SUCCESS;
}

static int do_crash(struct program *p, int n, const char *const *options)
{
    fprintf(stderr, "stand-in: out of its mind\033[1m\n");
    signal(SIGABRT, SIG_DFL);
    abort();
}

static int do_endless(struct program *p, int n, const char *const *options)
{
    while (p)
        sleep(1000);
    return SUCCESS;
}

/* Folders within folders, with names that make a path longer than any may be; each as it comes. */
static int do_deep(struct program *p)
{
    char name[200];
    int in = AT_FDCWD;

    memset(name, 'd', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    for (int i = 0; i < 1000; i++) {
        int fd = mkdirat(in, name, 0700) ? -1 : openat(in, name, O_RDONLY | O_DIRECTORY);
        if (fd < 0) {
            say(p, "folder %d: %s\n", i, strerror(errno));
            return COMPILATION;
        }
        if (in >= 0)
            close(in);
        in = fd;
    }
    return do_endless(p, 0, NULL);
}

static void *wait_long(void *opaque)
{
    sleep(1000);
    return opaque;
}

static int do_threads(struct program *p)
{
    enum { STACK = 64 << 10, THREADS = 1000 };
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&thread, &attr, wait_long, NULL)) {
            say(p, "thread %d\n", i);
            return COMPILATION;
        }
    }
    return do_endless(p, 0, NULL);
}

/* Files until it is ended: a few large ones, or many; or what else the text says. */
static int do_files(struct program *p, int n, const char *const *options)
{
    if (strcmp(p->text, "deep") == 0)
        return do_deep(p);
    if (strcmp(p->text, "threads") == 0)
        return do_threads(p);
    enum { LARGE = 60 << 20 };
    off_t bytes = strcmp(p->text, "large") == 0 ? LARGE : 0;
    char name[32];

    for (int i = 0; i < (bytes ? 5 : 5000); i++) {
        snprintf(name, sizeof(name), "file-%d", i);
        int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd < 0 || (bytes && posix_fallocate(fd, 0, bytes))) {
            say(p, "file %d: %s\n", i, strerror(errno));
            return COMPILATION;
        }
        close(fd);
    }
    return do_endless(p, n, options);
}

/* Lines of the text: files that a source would include; each is to be there, or not. */
static int do_include(struct program *p, int n, const char *const *options)
{
    char path[512], bytes[32];

    for (const char *at = p->text; sscanf(at, "#include \"%500[^\"]\"", path) == 1;
         at = strchr(at, '\n') + 1) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
        say(p, "%s: %s\n", path, got > 0 ? "read" : strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    return COMPILATION;
}

static void tried(struct program *p, const char *what, bool done)
{
    if (done)
        say(p, "%s can be done\n", what);
}

/* What a compiler may do, and a source that has taken it over would like to. */
static int do_rights(struct program *p, int n, const char *const *options)
{
    const char *folder = getenv("TMPDIR");
    char path[512], own[512];
    struct stat st;
    int parent = getppid();

    if (!folder || !getcwd(own, sizeof(own)) || strcmp(own, folder) || mkdir("sub", 0700) ||
        stat(folder, &st) || (st.st_mode & 077)) {
        say(p, "its folder is none: %s\n", strerror(errno));
        return COMPILATION;
    }
    snprintf(path, sizeof(path), "%s/sub/file", folder);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || rename(path, "renamed") || unlink("renamed") ||
        rmdir("sub") || open("left", O_CREAT | O_WRONLY, 0600) < 0) {
        say(p, "it cannot write: %s\n", strerror(errno));
        return COMPILATION;
    }
    snprintf(path, sizeof(path), "%s/../beside", folder);
    tried(p, "making a file beside its folder", open(path, O_CREAT | O_WRONLY, 0600) >= 0);
    snprintf(path, sizeof(path), "%s/..", folder);
    tried(p, "listing others' folders", open(path, O_RDONLY | O_DIRECTORY) >= 0);
    tried(p, "changing a mode", fchmod(fd, 0777) == 0 || chmod(folder, 0777) == 0);
    tried(p, "a folder that cannot be listed",
          mkdir("secret", 0300) == 0 || mkdirat(AT_FDCWD, "secret", 0) == 0);
    tried(p, "a mask of modes", umask(0700) != (mode_t)-1 || umask(0300) != (mode_t)-1);
    tried(p, "files without bytes", fallocate(fd, 0, 0, 4096) == 0);
    tried(p, "an owner of signals",
          fcntl(fd, F_SETOWN, getppid()) == 0 || ioctl(fd, FIOSETOWN, &parent) == 0);
    tried(p, "other signals", fcntl(fd, F_SETSIG, SIGKILL) == 0);
    tried(p, "signals of a file", fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0);
    tried(p, "a lease", fcntl(fd, F_SETLEASE, F_WRLCK) == 0);
    tried(p, "the environment", getenv("VMD_HIP_DRIVER"));
    if (!CONFINE_SANITIZED) /* which opens what it likes */
        tried(p, "truncating what is read",
              open("left", O_RDONLY | O_TRUNC) >= 0 || open("left", O_ACCMODE | O_TRUNC) >= 0);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) || umask(022) == (mode_t)-1 ||
        close(open("left", O_RDWR | O_TRUNC)) || close(open("left", O_WRONLY | O_TRUNC)) ||
        close(fcntl(fd, F_DUPFD_CLOEXEC, 10)))
        say(p, "what compilers do is refused: %s\n", strerror(errno));
    tried(p, "a socket",
          socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
    tried(p, "another program", execl("/bin/true", "true", (char *)NULL) == 0);
    if (!CONFINE_SANITIZED) { /* whose leak check starts processes, too */
        tried(p, "another process", fork() >= 0);
        tried(p, "a signal to its parent", kill(getppid(), 0) == 0);
    }
    for (int i = 3; i < 64; i++)
        tried(p, "a file that nobody gave",
              i > 4 && i != fd && i != fd + 1 && fcntl(i, F_GETFD) >= 0);
    return COMPILATION;
}

static const struct {
    const char *name;
    int (*run)(struct program *p, int n, const char *const *options);
} sources[] = {{"all.hip", do_all},         {"", do_plain},
               {"error.hip", do_error},     {"large.hip", do_large},
               {"crash.hip", do_crash},     {"endless.hip", do_endless},
               {"include.hip", do_include}, {"rights.hip", do_rights},
               {"files.hip", do_files}};

/* --- the library ------------------------------------------------------------------------------ */

API int hiprtcCreateProgram(struct program **out, const char *text, const char *name, int n,
                            const char *const *texts, const char *const *names)
{
    struct program *p = calloc(1, sizeof(*p));

    if (!p || !text || n < 0 || (name && !*name))
        return INVALID_INPUT;
    *p = (struct program){
        .text = text, .name = name ? name : "", .texts = texts, .names = names, .n = n};
    *out = p;
    return SUCCESS;
}

API int hiprtcAddNameExpression(struct program *p, const char *expression)
{
    if (p->compiled || p->n_expressions == NAMES)
        return INVALID_INPUT;
    p->expressions[p->n_expressions++] = expression;
    return SUCCESS;
}

API int hiprtcCompileProgram(struct program *p, int n, const char *const *options)
{
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (strcmp(sources[i].name, p->name) == 0) {
            int rc = sources[i].run(p, n, options);
            p->compiled = !rc;
            return rc;
        }
    }
    say(p, "nobody knows the source '%s'\n", p->name);
    return COMPILATION;
}

API int hiprtcGetProgramLogSize(struct program *p, size_t *bytes)
{
    *bytes = strlen(p->log) + 1;
    return SUCCESS;
}

API int hiprtcGetProgramLog(struct program *p, char *log)
{
    strcpy(log, p->log);
    return SUCCESS;
}

API int hiprtcGetCodeSize(struct program *p, size_t *bytes)
{
    *bytes = (size_t)(rtc_code_end - rtc_code);
    return p->compiled ? SUCCESS : INVALID_INPUT;
}

API int hiprtcGetCode(struct program *p, char *code)
{
    memcpy(code, rtc_code, (size_t)(rtc_code_end - rtc_code));
    return SUCCESS;
}

API int hiprtcGetLoweredName(struct program *p, const char *expression, const char **name)
{
    for (int i = 0; i < p->n_expressions; i++) {
        if (strcmp(p->expressions[i], expression) == 0 && p->lowered[i][0]) {
            *name = p->lowered[i];
            return SUCCESS;
        }
    }
    return NAME_NOT_VALID;
}
