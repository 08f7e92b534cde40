/*
 * base/confine: what a process gives up: system calls by a list, files by Landlock.
 *
 * A list is data: a row names calls and says whether they are allowed, for which of the process's
 * phases, and with which arguments. What a list refuses does not happen; the caller gets EPERM, and
 * the first time that a call is refused a line of the log names it with its arguments. Rows with an
 * error of their own answer with that, and without a line: calls that libraries try and do without
 * (clone3, io_uring), and fork(), which glibc makes with all signals blocked, so that there is nobody
 * to say it.
 *
 * Lists only ever get narrower: a later one is applied on top of the earlier ones, and both hold for
 * all threads and for what the process starts.
 */
#ifndef BASE_CONFINE_H
#define BASE_CONFINE_H

#include "base/base.h"

enum confine_op {
    CONFINE_ANY,  /* no test: ends the row's tests */
    CONFINE_IS,   /* argument & MASK == VALUE */
    CONFINE_FROM, /* argument >= VALUE */
    CONFINE_SELF, /* the argument is this process's id */
};

struct confine_test {
    enum confine_op op;
    unsigned arg; /* 0 to 5 */
    uint64_t mask, value;
};

/* Tests of an argument of 32 bits. */
#define CONFINE_INT(arg_, value_) {CONFINE_IS, (arg_), UINT32_MAX, (value_)}
#define CONFINE_BITS(arg_, mask_, value_) {CONFINE_IS, (arg_), (mask_), (value_)}

enum { CONFINE_ALLOW = 0, CONFINE_DENY = -1 };

struct confine_rule {
    const char *calls; /* names, with blanks between; those that this host does not have count not */
    unsigned phases;   /* bits, the program's own */
    int verdict;       /* CONFINE_ALLOW, CONFINE_DENY, or the errno that answers the call quietly */
    struct confine_test tests[3]; /* all must hold; none: any arguments */
};

/*
 * Puts those of the N RULES into force that have a bit of PHASE; OTHERS says whether calls that no row
 * names are allowed. Needs no right: new privileges are given up with it. For all threads.
 */
bool confine_calls(const struct confine_rule *rules, size_t n, unsigned phase, bool others,
                   GError **err);

enum confine_access {
    CONFINE_READ = 1 << 0,    /* of the file, or of all in the directory */
    CONFINE_WRITE = 1 << 1,   /* also truncate */
    CONFINE_MAKE = 1 << 2,    /* in the directory: make, rename and remove files and sockets */
    CONFINE_FOLDERS = 1 << 3, /* the same of directories, also from one to another */
};

struct confine_path {
    const char *path; /* one that does not exist is passed over */
    unsigned access;  /* enum confine_access */
};

/*
 * From here on this thread, and those that it starts, open only what PATHS allow; what is open stays
 * so. Nothing can be executed. Signals and abstract sockets reach only processes under the same rules,
 * where the kernel knows how. True, and nothing done, where the kernel has no Landlock.
 */
bool confine_files(const struct confine_path *paths, size_t n, GError **err);

/* Whether the kernel has Landlock. */
bool confine_has_files(void);

/*
 * Builds with AddressSanitizer or ThreadSanitizer: their leak check starts a process that looks into
 * this one, and their reports read programs and /proc. What that takes is added to every list and to
 * every set of paths, here and nowhere else.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONFINE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONFINE_SANITIZED 1
#endif
#endif
#ifndef CONFINE_SANITIZED
#define CONFINE_SANITIZED 0
#endif

#endif
