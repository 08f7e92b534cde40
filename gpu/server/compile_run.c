/*
 * A compile. See compile_run.h.
 *
 * The library is loaded while the process still may; then it is bound to its folder and to what
 * compilers read, and only then the source is looked at. The files that it may read are those that
 * a source can include, and so make known to its guest: what belongs to systems and to ROCm, and
 * nothing of the host's own.
 */
#include "gpu/server/compile_run.h"

#include "base/confine.h"
#include "gpu/protocol/source.h"
#include "gpu/server/compile_options.h"
#include "gpu/server/compile_priv.h"
#include "gpu/server/sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static struct {
#define CALL(name, symbol, args) int(*name) args;
#include "gpu/server/hiprtc_calls.inc"
#undef CALL
} rtc;

/* Where files are in this process, which has no others. */
enum { SOURCE = 3, RESULT, OTHERS };

/* --- what came of it -------------------------------------------------------------------------- */

static bool write_all(const void *at, size_t bytes)
{
    ssize_t n = 0;

    for (size_t done = 0; done < bytes; done += (size_t)n) {
        n = write(RESULT, (const uint8_t *)at + done, bytes - done);
        if (n <= 0)
            return false;
    }
    return true;
}

G_GNUC_NORETURN static void finish(int result, const GByteArray *const parts[COMPILE_PARTS],
                                   int status)
{
    struct compile_file head = {.magic = COMPILE_MAGIC, .result = (uint32_t)result};
    bool ok = true;

    for (unsigned i = 0; i < COMPILE_PARTS; i++)
        head.bytes[i] = parts[i]->len;
    ok = write_all(&head, sizeof(head));
    for (unsigned i = 0; ok && i < COMPILE_PARTS; i++)
        ok = write_all(parts[i]->data, parts[i]->len);
    _exit(ok ? status : EXIT_FAILURE);
}

G_GNUC_NORETURN static void finish_with_log(int result, const char *log, int status)
{
    g_autoptr(GByteArray) text = g_byte_array_new(), none = g_byte_array_new();
    const GByteArray *const parts[COMPILE_PARTS] = {text, none, none};

    g_byte_array_append(text, (const guint8 *)log, (guint)strlen(log));
    finish(result, parts, status);
}

/* It cannot be done on this host: LOG is for the guest, what was said for people here. */
G_GNUC_NORETURN static void give_up(const char *log)
{
    finish_with_log(COMPILE_INTERNAL, log, COMPILE_GAVE_UP);
}

/* --- the library ------------------------------------------------------------------------------ */

static void *open_library(void)
{
    static const char *const names[] = {"libhiprtc.so.7", "libhiprtc.so.6",
                                        "/opt/rocm/lib/libhiprtc.so.7",
                                        "/opt/rocm/lib/libhiprtc.so.6"};
    const char *other = getenv("VMD_HIPRTC");
    void *library = other ? dlopen(other, RTLD_NOW | RTLD_LOCAL) : NULL;

    for (size_t i = 0; !other && !library && i < G_N_ELEMENTS(names); i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

static void load_library(void)
{
    static const struct {
        const char *symbol;
        void **to;
    } calls[] = {
#define CALL(name, symbol, args) {symbol, (void **)&rtc.name},
#include "gpu/server/hiprtc_calls.inc"
#undef CALL
    };
    void *library = open_library();

    if (!library) {
        fprintf(stderr, "there is no hiprtc: %s\n", dlerror());
        give_up("the host has no hiprtc: nothing can be compiled there\n");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        *calls[i].to = dlsym(library, calls[i].symbol);
        if (!*calls[i].to) {
            fprintf(stderr, "hiprtc has no %s\n", calls[i].symbol);
            give_up("the host's hiprtc is not one that is known\n");
        }
    }
}

/* The folder that the library is in, where it brings others along. */
static char *library_folder(void)
{
    Dl_info info;
    char path[PATH_MAX];

    if (!dladdr((void *)rtc.create, &info) || !realpath(info.dli_fname, path))
        return g_strdup("/usr/lib");
    return g_path_get_dirname(path);
}

/* --- rights ----------------------------------------------------------------------------------- */

static bool limit(int what, uint64_t most, GError **err)
{
    const struct rlimit l = {most, what == RLIMIT_CPU ? most + 1 : most}; /* SIGXCPU comes first */

    return setrlimit(what, &l) == 0 || vmd_set_errno(err, errno, "limiting what a compiler takes");
}

/* Its files are the source and the result, and what it says goes to the file SAID. */
static bool own_files(const struct compile_task *t, GError **err)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int source = fcntl(t->source, F_DUPFD, OTHERS), result = fcntl(t->result, F_DUPFD, OTHERS);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(t->said, STDERR_FILENO) < 0 || dup2(source, SOURCE) < 0 || dup2(result, RESULT) < 0 ||
        syscall(SYS_close_range, OTHERS, ~0u, 0) < 0)
        return vmd_set_errno(err, errno, "setting a compiler's files up");
    return true;
}

/* Of the environment there is what a compiler looks for. */
static void own_environment(void)
{
    static const char *const names[] = {
        "PATH", "LANG", "LC_ALL", "ROCM_PATH", "HIP_PATH", "HIP_DEVICE_LIB_PATH", "VMD_HIPRTC"};
    char *values[G_N_ELEMENTS(names)];

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        values[i] = g_strdup(getenv(names[i]));
    clearenv();
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (values[i])
            setenv(names[i], values[i], 1);
        g_free(values[i]);
    }
}

/* The first to go where the host has no memory, and behind others for a processor; threads have few
 * heaps, which are address space. What of that does not work is done without. */
static void stand_back(void)
{
    enum { NICE = 5, HEAPS = 4 };
    static const char most[] = "1000";
    autofd score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (score >= 0 && write(score, most, strlen(most)) < 0) {
        /* It counts as others do. */
    }
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE);
    mallopt(M_ARENA_MAX, HEAPS);
}

static bool own_folder(const char *folder, GError **err)
{
    static const char *const names[] = {"TMPDIR", "HOME", "XDG_CACHE_HOME"};

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        setenv(names[i], folder, 1);
    return chdir(folder) == 0 || vmd_set_errno(err, errno, "entering %s", folder);
}

static bool confine(const struct compile_task *t, GError **err)
{
    enum { FILES = 64 };
    g_autofree char *library = library_folder();

    if (!CONFINE_SANITIZED) /* whose leak check looks into it */
        prctl(PR_SET_DUMPABLE, 0);
    return own_folder(t->folder, err) && limit(RLIMIT_CPU, t->seconds, err) &&
           limit(RLIMIT_FSIZE, MIB(LIMIT_GPU_COMPILED_MIB) + sizeof(struct compile_file), err) &&
           limit(RLIMIT_NOFILE, FILES, err) &&
           (CONFINE_SANITIZED || limit(RLIMIT_AS, MIB(LIMIT_GPU_COMPILE_MIB), err)) &&
           sandbox_compiler(t->folder, library, err);
}

/* --- compiling -------------------------------------------------------------------------------- */

static struct gpu_source *read_source(void)
{
    struct gpu_source *s = g_new0(struct gpu_source, 1);
    struct stat st;

    if (fstat(SOURCE, &st) < 0 || st.st_size > (off_t)GPU_IMAGE)
        _exit(EXIT_FAILURE);
    size_t bytes = (size_t)st.st_size;
    uint8_t *at = g_malloc(bytes + 1); /* as long as the process */
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(SOURCE, at + done, bytes - done, (off_t)done);
        if (n <= 0)
            _exit(EXIT_FAILURE);
        done += (size_t)n;
    }
    if (!gpu_source_read(at, bytes, s))
        _exit(EXIT_FAILURE);
    return s;
}

static bool names_target(const char *option)
{
    return g_str_has_prefix(option, "--offload-arch") ||
           g_str_has_prefix(option, "--gpu-architecture");
}

/* The source's options, and the target where none of them names one. */
static GPtrArray *options_of(struct gpu_source *s, const char *target)
{
    GPtrArray *options = g_ptr_array_new();
    bool named = false;

    for (uint32_t i = 0; i < s->options; i++) {
        const char *option = gpu_source_options(s)[i];
        named |= names_target(option);
        g_ptr_array_add(options, (void *)(uintptr_t)option);
    }
    if (!named)
        g_ptr_array_add(options, g_strconcat("--offload-arch=", target, NULL));
    return options;
}

/* What a pair of the library's functions tells of PROGRAM. */
static GByteArray *bytes_of(void *program, int (*size)(void *program, size_t *bytes),
                            int (*get)(void *program, char *to))
{
    GByteArray *out = g_byte_array_new();
    size_t bytes = 0;

    if (size(program, &bytes) || !bytes)
        return out;
    if (bytes > MIB(LIMIT_GPU_COMPILED_MIB))
        _exit(EXIT_FAILURE);
    g_byte_array_set_size(out, (guint)bytes);
    memset(out->data, 0, bytes);
    if (get(program, (char *)out->data))
        g_byte_array_set_size(out, 0);
    return out;
}

/* Each with a 0 behind it; one that there is not is empty. */
static GByteArray *lowered_names(void *program, struct gpu_source *s)
{
    GByteArray *out = g_byte_array_new();

    for (uint32_t i = 0; i < s->names; i++) {
        const char *name = NULL;
        if (rtc.lowered(program, gpu_source_names(s)[i], &name) || !name)
            name = "";
        g_byte_array_append(out, (const guint8 *)name, (guint)strlen(name) + 1);
    }
    return out;
}

static int compile(void *program, struct gpu_source *s, const char *target)
{
    g_autoptr(GPtrArray) options = options_of(s, target);
    int rc = 0;

    for (uint32_t i = 0; !rc && i < s->names; i++)
        rc = rtc.add_name(program, gpu_source_names(s)[i]);
    return rc ? rc : rtc.compile(program, (int)options->len, (const char **)options->pdata);
}

/* None of the options has the compiler load what its guest may have written. */
static void check_options(struct gpu_source *s)
{
    for (uint32_t i = 0; i < s->options; i++) {
        const char *option = gpu_source_options(s)[i];
        if (!compile_option_is_refused(option))
            continue;
        g_autofree char *log = g_strdup_printf(
            "error: the option '%s' is not for guests: it loads code, names another program, or a "
            "file of options\n",
            option);
        finish_with_log(COMPILE_INVALID_OPTION, log, EXIT_SUCCESS);
    }
}

/* A process of its own, but for its end, which is its parent's, too. */
static void become(const struct compile_task *t)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != t->parent)
        _exit(EXIT_FAILURE);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
        signal(signals[i], SIG_DFL);
    own_environment();
}

void compile_run(const struct compile_task *t)
{
    g_autoptr(GError) err = NULL;
    void *program = NULL;

    become(t);
    if (!own_files(t, &err)) {
        fprintf(stderr, "%s\n", err->message);
        _exit(EXIT_FAILURE);
    }
    stand_back();
    load_library();
    if (!confine(t, &err)) {
        fprintf(stderr, "%s\n", err->message);
        give_up("the host cannot confine a compiler: nothing can be compiled there\n");
    }
    struct gpu_source *s = read_source();
    check_options(s);
    const char *name = s->strings[GPU_SOURCE_NAME];
    int rc = rtc.create(&program, s->strings[GPU_SOURCE_TEXT], *name ? name : NULL, (int)s->headers,
                        gpu_source_header_texts(s), gpu_source_header_names(s));
    GByteArray *none = g_byte_array_new();
    if (rc)
        finish(rc, (const GByteArray *const[]){none, none, none}, EXIT_SUCCESS);
    rc = compile(program, s, t->target);
    const GByteArray *const parts[COMPILE_PARTS] = {
        [COMPILE_LOG] = bytes_of(program, rtc.log_bytes, rtc.log),
        [COMPILE_CODE] = rc ? none : bytes_of(program, rtc.code_bytes, rtc.code),
        [COMPILE_NAMES] = rc ? none : lowered_names(program, s)};
    finish(rc, parts, EXIT_SUCCESS);
}
