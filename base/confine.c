/* seccomp and Landlock. See confine.h. */
#include "base/confine.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

/* --- the line that names a refused call ------------------------------------------------------- */

enum { CALLS_MAX = 512, LINE_MAX_BYTES = 160 };

#if defined(__x86_64__)
#define CALL_RESULT(u) ((u)->uc_mcontext.gregs[REG_RAX])
#define CALL_ARG0(u)   ((uint64_t)(u)->uc_mcontext.gregs[REG_RDI])
#define CALL_ARG1(u)   ((uint64_t)(u)->uc_mcontext.gregs[REG_RSI])
#elif defined(__aarch64__)
#define CALL_RESULT(u) ((u)->uc_mcontext.regs[0])
#define CALL_ARG0(u)   ((uint64_t)(u)->uc_mcontext.regs[0])
#define CALL_ARG1(u)   ((uint64_t)(u)->uc_mcontext.regs[1])
#elif defined(__riscv)
#define CALL_RESULT(u) ((u)->uc_mcontext.__gregs[REG_A0])
#define CALL_ARG0(u)   ((uint64_t)(u)->uc_mcontext.__gregs[REG_A0])
#define CALL_ARG1(u)   ((uint64_t)(u)->uc_mcontext.__gregs[REG_A0 + 1])
#else
#error "no registers of system calls are known for this host"
#endif

/* All that the signal's handler needs, made before it can be called: a handler may not allocate. */
static struct {
    char prefix[32];
    char *names[CALLS_MAX];
    int said[CALLS_MAX]; /* atomic */
} refused;

/* A line in the making, without stdio. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
};

static void line_text(struct line *l, const char *text)
{
    while (*text && l->n < sizeof(l->text) - 1)
        l->text[l->n++] = *text++;
}

static void line_hex(struct line *l, uint64_t v)
{
    char digits[19] = "0x";
    unsigned n = 2;
    unsigned shift = 60;

    while (shift && !(v >> shift))
        shift -= 4;
    for (;; shift -= 4) {
        digits[n++] = "0123456789abcdef"[v >> shift & 15];
        if (!shift)
            break;
    }
    digits[n] = '\0';
    line_text(l, digits);
}

static void say(int call, const ucontext_t *u)
{
    struct line l = {.n = 0};
    const char *name = call >= 0 && call < CALLS_MAX ? refused.names[call] : NULL;

    line_text(&l, refused.prefix);
    line_text(&l, "the system call ");
    line_text(&l, name ? name : "number ");
    if (!name)
        line_hex(&l, (uint64_t)call);
    line_text(&l, "(");
    line_hex(&l, CALL_ARG0(u));
    line_text(&l, ", ");
    line_hex(&l, CALL_ARG1(u));
    line_text(&l, ", ...) was refused: it is not on this process's list\n");
    if (write(STDERR_FILENO, l.text, l.n) < 0) {
        /* Nowhere is left to say it. */
    }
}

static void on_refused(int signum, siginfo_t *info, void *context)
{
    int before = errno, call = info->si_syscall;
    ucontext_t *u = context;
    bool known = call >= 0 && call < CALLS_MAX;

    if (!known || !__atomic_exchange_n(&refused.said[call], 1, __ATOMIC_RELAXED))
        say(call, u);
    CALL_RESULT(u) = -EPERM;
    errno = before;
}

static bool watch_refused(GError **err)
{
    struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO};
    sigset_t set;

    if (*refused.prefix)
        return true;
    log_prefix(LOG_LEVEL_WARNING, refused.prefix, sizeof(refused.prefix));
    for (int i = 0; i < CALLS_MAX; i++)
        refused.names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    if (sigaction(SIGSYS, &action, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &set, NULL) < 0)
        return vmd_set_errno(err, errno, "watching for refused system calls");
    return true;
}

/* --- system calls ----------------------------------------------------------------------------- */

/* See confine.h: the leak check forks a tracer, and reports look at this process. The tracer lists
 * threads by the old getdents, with SIGSYS blocked: refused, it would die and leave the process waiting
 * for ever. */
static const struct confine_rule sanitizers[] = {
    {"clone fork vfork ptrace wait4 process_vm_readv personality prctl sched_getaffinity "
     "kill tgkill rt_sigaction sigaltstack readlink readlinkat mmap mprotect arch_prctl sysinfo "
     "open openat write pipe2 getrlimit prlimit64 getdents",
     ~0u, CONFINE_ALLOW, {{CONFINE_ANY}}},
};

static uint32_t action_of(int verdict)
{
    if (verdict == CONFINE_ALLOW)
        return SCMP_ACT_ALLOW;
    return verdict == CONFINE_DENY ? SCMP_ACT_TRAP : SCMP_ACT_ERRNO((uint16_t)verdict);
}

static struct scmp_arg_cmp comparison_of(const struct confine_test *t)
{
    switch (t->op) {
    case CONFINE_IS:
        return SCMP_CMP64(t->arg, SCMP_CMP_MASKED_EQ, t->mask, t->value);
    case CONFINE_FROM:
        return SCMP_CMP64(t->arg, SCMP_CMP_GE, t->value);
    default:
        return SCMP_CMP64(t->arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint64_t)getpid());
    }
}

static int add_call(scmp_filter_ctx ctx, const struct confine_rule *r, const char *name)
{
    struct scmp_arg_cmp tests[G_N_ELEMENTS(r->tests)];
    unsigned n = 0;
    int call = seccomp_syscall_resolve_name(name);

    if (call == __NR_SCMP_ERROR)
        return 0;
    while (n < G_N_ELEMENTS(r->tests) && r->tests[n].op != CONFINE_ANY) {
        tests[n] = comparison_of(&r->tests[n]);
        n++;
    }
    int rc = seccomp_rule_add_array(ctx, action_of(r->verdict), call, n, tests);
    /* Not a call of this architecture; or what the list does with all others. */
    return rc == -EDOM || rc == -EINVAL || rc == -EACCES ? 0 : rc;
}

static int add_rule(scmp_filter_ctx ctx, const struct confine_rule *r)
{
    g_auto(GStrv) names = g_strsplit(r->calls, " ", -1);
    int rc = 0;

    for (unsigned i = 0; !rc && names[i]; i++)
        rc = *names[i] ? add_call(ctx, r, names[i]) : 0;
    return rc;
}

static int fill(scmp_filter_ctx ctx, const struct confine_rule *rules, size_t n, unsigned phase)
{
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);

    if (!rc)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!rc)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; !rc && i < n; i++) {
        if (rules[i].phases & phase)
            rc = add_rule(ctx, &rules[i]);
    }
    return rc;
}

bool confine_calls(const struct confine_rule *rules, size_t n, unsigned phase, bool others,
                   GError **err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return vmd_set_errno(err, errno, "giving up new privileges");
    if (!watch_refused(err))
        return false;
    scmp_filter_ctx ctx = seccomp_init(others ? SCMP_ACT_ALLOW : SCMP_ACT_TRAP);
    int rc = ctx ? 0 : -ENOMEM;
    /* First: an unconditional row swallows those with tests. */
    if (!rc && CONFINE_SANITIZED && !others)
        rc = fill(ctx, sanitizers, G_N_ELEMENTS(sanitizers), phase);
    if (!rc)
        rc = fill(ctx, rules, n, phase);
    if (!rc)
        rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return rc == 0 || vmd_set_errno(err, -rc, "limiting the system calls of this process");
}

/* --- files ------------------------------------------------------------------------------------ */

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

enum { SCOPE_ABSTRACT_SOCKETS = 1 << 0, SCOPE_SIGNALS = 1 << 1 };

/* The kernel's struct as of its sixth version; older kernels are given less of it. */
struct ruleset {
    uint64_t files, network, scoped;
};

static const uint64_t FILE_RIGHTS =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;
static const uint64_t FOLDER_RIGHTS =
    LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
    LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
    LANDLOCK_ACCESS_FS_MAKE_SYM;

static uint64_t rights_of(unsigned access)
{
    uint64_t rights = 0;

    if (access & CONFINE_READ)
        rights |= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    if (access & CONFINE_WRITE)
        rights |= LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;
    if (access & CONFINE_MAKE)
        rights |= LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                  LANDLOCK_ACCESS_FS_REMOVE_FILE;
    if (access & CONFINE_FOLDERS)
        rights |=
            LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER;
    return rights;
}

static bool allow_path(int ruleset, const struct confine_path *p, uint64_t handled, GError **err)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = rights_of(p->access) & handled};
    struct stat st;
    autofd fd = open(p->path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT || vmd_set_errno(err, errno, "opening %s", p->path);
    if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
        rule.allowed_access &= FILE_RIGHTS;
    rule.parent_fd = fd;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return vmd_set_errno(err, errno, "confining this process to %s", p->path);
    return true;
}

/* See confine.h: programs, for the names in a report, and /proc. */
static bool allow_sanitizers(int ruleset, uint64_t handled, GError **err)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self ? g_path_get_dirname(self) : g_strdup("/proc");
    const struct confine_path paths[] = {
        {"/proc", CONFINE_READ}, {"/usr", CONFINE_READ},   {"/lib", CONFINE_READ},
        {folder, CONFINE_READ},  {"/lib64", CONFINE_READ},
    };

    for (size_t i = 0; CONFINE_SANITIZED && i < G_N_ELEMENTS(paths); i++) {
        if (!allow_path(ruleset, &paths[i], handled, err))
            return false;
    }
    return true;
}

static long landlock_abi(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

bool confine_has_files(void)
{
    return landlock_abi() >= 1;
}

bool confine_files(const struct confine_path *paths, size_t n, GError **err)
{
    long abi = landlock_abi();
    struct ruleset attr = {.files = LANDLOCK_ACCESS_FS_EXECUTE | FOLDER_RIGHTS | FILE_RIGHTS};

    if (abi < 1)
        return true;
    if (abi < 3)
        attr.files &= ~LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 2)
        attr.files |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 6)
        attr.scoped = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS;
    autofd ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr,
                                  abi >= 6 ? sizeof(attr) : sizeof(attr.files), 0);
    if (ruleset < 0)
        return vmd_set_errno(err, errno, "making a Landlock ruleset");
    for (size_t i = 0; i < n; i++) {
        if (!allow_path(ruleset, &paths[i], attr.files, err))
            return false;
    }
    if (!allow_sanitizers(ruleset, attr.files, err))
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return vmd_set_errno(err, errno, "confining this process's files");
    return true;
}
