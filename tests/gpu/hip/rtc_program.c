/*
 * A program that has sources compiled by hiprtc, as users write them, with vmd's libhiprtc.so.6
 * and libamdhip64.so.6. What compiles is tests/gpu/hip/stand_in_rtc.c.
 *
 *   rtc-program [WHAT [WORD...]]
 *
 * WHAT is, in place of all cases:
 *   crash | late     the compiler dies, or takes too long, and the next source is compiled
 *   files            it makes too many files, or too large ones
 *   none TEXT        nothing can be compiled, and the log says TEXT
 *   no-device        nor where there is none
 *   loaded           the library is found as programs look for it at run time
 *   leave            goes while its source is compiled
 *   include A B...   which of these files a source can include
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/gpu/hip/rtc_cases.h"

typedef struct program *hiprtcProgram;
typedef int hiprtcResult;

hiprtcResult hiprtcCreateProgram(hiprtcProgram *out, const char *text, const char *name, int n,
                                 const char **texts, const char **names);
hiprtcResult hiprtcDestroyProgram(hiprtcProgram *p);
hiprtcResult hiprtcAddNameExpression(hiprtcProgram p, const char *expression);
hiprtcResult hiprtcCompileProgram(hiprtcProgram p, int n, const char **options);
hiprtcResult hiprtcGetProgramLogSize(hiprtcProgram p, size_t *bytes);
hiprtcResult hiprtcGetProgramLog(hiprtcProgram p, char *log);
hiprtcResult hiprtcGetCodeSize(hiprtcProgram p, size_t *bytes);
hiprtcResult hiprtcGetCode(hiprtcProgram p, char *code);
hiprtcResult hiprtcGetBitcodeSize(hiprtcProgram p, size_t *bytes);
hiprtcResult hiprtcGetLoweredName(hiprtcProgram p, const char *expression, const char **name);
hiprtcResult hiprtcVersion(int *major, int *minor);
const char *hiprtcGetErrorString(hiprtcResult rc);
hiprtcResult hiprtcLinkCreate(unsigned n, int *options, void **values, void **out);

int hipMalloc(void **out, size_t bytes);
int hipFree(void *at);
int hipMemcpy(void *to, const void *from, size_t bytes, int kind);
int hipDeviceSynchronize(void);
int hipModuleLoadData(void **out, const void *image);
int hipModuleUnload(void *module);
int hipModuleGetFunction(void **out, void *module, const char *name);
int hipModuleLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void *stream, void **params, void **extra);

enum {
    INVALID_INPUT = 3,
    INVALID_PROGRAM = 4,
    INVALID_OPTION = 5,
    COMPILATION = 6,
    NAME_NOT_VALID = 10,
    INTERNAL = 11,
    LINKING = 100,
};

static const char *running, *const *words;
static int n_words;

static void check(int got, int want, const char *call, int line)
{
    if (got == want)
        return;
    printf("failed %s: line %d: %s gives %d (%s), not %d\n", running, line, call, got,
           hiprtcGetErrorString(got) ? hiprtcGetErrorString(got) : "?", want);
    exit(1);
}

static void expect(bool so, const char *what, const char *text, int line)
{
    if (so)
        return;
    printf("failed %s: line %d: not so: %s: %s\n", running, line, what, text);
    exit(1);
}

#define OK(call)         check(call, 0, #call, __LINE__)
#define IS(rc, call)     check(call, rc, #call, __LINE__)
#define SAME(what, text) expect(what, #what, text, __LINE__)

/* --- steps ------------------------------------------------------------------------------------ */

static hiprtcProgram source(const char *name, const char *text)
{
    hiprtcProgram p;

    OK(hiprtcCreateProgram(&p, text, name, 0, NULL, NULL));
    return p;
}

/* As much as the library says there is, and nothing behind it. */
static char *log_of(hiprtcProgram p)
{
    size_t bytes = 99;

    OK(hiprtcGetProgramLogSize(p, &bytes));
    char *log = calloc(1, bytes + 2);
    memset(log, '#', bytes + 1);
    OK(hiprtcGetProgramLog(p, log));
    SAME(log[bytes] == '#' && (!bytes || strlen(log) == bytes - 1), log);
    log[bytes] = 0;
    return log;
}

static void log_is(hiprtcProgram p, const char *words_of_it)
{
    char *log = log_of(p);

    SAME(strstr(log, words_of_it), log);
    free(log);
}

static void *code_of(hiprtcProgram p)
{
    size_t bytes = 0;

    OK(hiprtcGetCodeSize(p, &bytes));
    SAME(bytes > 1000, "code");
    char *code = malloc(bytes + 1);
    code[bytes] = '#';
    OK(hiprtcGetCode(p, code));
    SAME(code[bytes] == '#' && memcmp(code, "\177ELF", 4) == 0, "code");
    return code;
}

/* The source without a name. */
static void compile_plain(void)
{
    const char *options[] = {"--gpu-architecture=gfx90a"};
    hiprtcProgram p = source(NULL, "plain");

    OK(hiprtcCompileProgram(p, 1, options));
    free(code_of(p));
    OK(hiprtcDestroyProgram(&p));
}

/* --- cases ------------------------------------------------------------------------------------ */

/* CODE's kernel "twice" does what it is to. */
static void launch(const void *code, const char *kernel)
{
    enum { N = 256, TO_DEVICE = 1, FROM_DEVICE };
    uint32_t v[N], n = N;
    void *module, *function, *at;
    void *params[] = {&at, &n};

    for (uint32_t i = 0; i < N; i++)
        v[i] = i;
    OK(hipModuleLoadData(&module, code));
    OK(hipModuleGetFunction(&function, module, kernel));
    OK(hipMalloc(&at, sizeof(v)));
    OK(hipMemcpy(at, v, sizeof(v), TO_DEVICE));
    OK(hipModuleLaunchKernel(function, N / 64, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
    OK(hipMemcpy(v, at, sizeof(v), FROM_DEVICE));
    for (uint32_t i = 0; i < N; i++)
        SAME(v[i] == 2 * i, "a number");
    OK(hipFree(at));
    OK(hipModuleUnload(module));
}

/* All that belongs to a source arrives as it was given, and what comes of it can be run. */
static void all(void)
{
    char first[] = RTC_FIRST;
    const char *texts[] = {first, ""}, *names[] = {"first.h", "dir/second.h"};
    const char *options[] = {"-O3", "-DX=\"a b\""}, *name;
    hiprtcProgram p;

    OK(hiprtcCreateProgram(&p, RTC_TEXT, "all.hip", 2, texts, names));
    memset(first, '?', sizeof(first) - 1); /* it was copied */
    OK(hiprtcAddNameExpression(p, "twice"));
    OK(hiprtcAddNameExpression(p, "f<int>"));
    IS(NAME_NOT_VALID, hiprtcGetLoweredName(p, "twice", &name));
    OK(hiprtcCompileProgram(p, 2, options));
    log_is(p, "warning: all is well");
    OK(hiprtcGetLoweredName(p, "f<int>", &name));
    SAME(strcmp(name, "_Z1fIiEvv") == 0, name);
    OK(hiprtcGetLoweredName(p, "&twice", &name));
    SAME(strcmp(name, "twice") == 0, name);
    IS(NAME_NOT_VALID, hiprtcGetLoweredName(p, "f<long>", &name));
    OK(hiprtcAddNameExpression(p, "g")); /* for the next compile */
    IS(NAME_NOT_VALID, hiprtcGetLoweredName(p, "g", &name));
    void *code = code_of(p);
    launch(code, "twice");
    free(code);
    OK(hiprtcDestroyProgram(&p));
    SAME(!p, "a program that was destroyed");
}

static void plain(void)
{
    compile_plain();
}

/* A log that takes several records, no code, and the same program once more. */
static void error(void)
{
    hiprtcProgram p = source("error.hip", "flaot f;");
    size_t bytes = 7;

    for (int i = 0; i < 2; i++) {
        IS(COMPILATION, hiprtcCompileProgram(p, 0, NULL));
        log_is(p, "error.hip:59:1: error: unknown type name 'flaot'\n");
        OK(hiprtcGetCodeSize(p, &bytes));
        SAME(bytes == 0, "no code");
    }
    OK(hiprtcDestroyProgram(&p));
}

/* A text of many records, and one that is too large. */
static void large(void)
{
    enum { BYTES = 3 << 20, TOO_LARGE = 65 << 20 };
    char *text = malloc(TOO_LARGE + 1), length[32];

    for (size_t i = 0; i < TOO_LARGE; i++)
        text[i] = 'a' + (char)(i % 23);
    text[TOO_LARGE] = 0;
    hiprtcProgram p = source("large.hip", text);
    IS(INTERNAL, hiprtcCompileProgram(p, 0, NULL));
    log_is(p, "the source is too large");
    OK(hiprtcDestroyProgram(&p));
    text[BYTES] = 0;
    p = source("large.hip", text);
    OK(hiprtcCompileProgram(p, 0, NULL));
    snprintf(length, sizeof(length), "%d bytes", BYTES);
    log_is(p, length);
    OK(hiprtcDestroyProgram(&p));
    free(text);
}

static void wrong_arguments(void)
{
    const char *rdc[] = {"-O3", "-fgpu-rdc"}, *none[] = {NULL}, *name;
    hiprtcProgram p;
    size_t bytes;
    int major = 0, minor = 7;

    IS(INVALID_PROGRAM, hiprtcCreateProgram(NULL, "", NULL, 0, NULL, NULL));
    IS(INVALID_INPUT, hiprtcCreateProgram(&p, NULL, NULL, 0, NULL, NULL));
    IS(INVALID_INPUT, hiprtcCreateProgram(&p, "", NULL, -1, NULL, NULL));
    IS(INVALID_INPUT, hiprtcCreateProgram(&p, "", NULL, 1, NULL, NULL));
    IS(INVALID_INPUT, hiprtcCreateProgram(&p, "", NULL, 1, none, none));
    IS(INVALID_INPUT, hiprtcCreateProgram(&p, "", NULL, 5000, none, none));
    p = source("", "");
    IS(INVALID_INPUT, hiprtcAddNameExpression(p, NULL));
    IS(INVALID_INPUT, hiprtcAddNameExpression(p, ""));
    IS(INVALID_INPUT, hiprtcCompileProgram(p, 1, NULL));
    IS(INVALID_INPUT, hiprtcCompileProgram(p, 1, none));
    IS(INVALID_INPUT, hiprtcCompileProgram(p, -1, rdc));
    IS(INVALID_OPTION, hiprtcCompileProgram(p, 2, rdc));
    IS(INVALID_PROGRAM, hiprtcCompileProgram(NULL, 0, NULL));
    IS(INVALID_INPUT, hiprtcGetLoweredName(p, "x", NULL));
    IS(NAME_NOT_VALID, hiprtcGetLoweredName(p, "x", &name));
    IS(INVALID_INPUT, hiprtcGetCodeSize(p, NULL));
    IS(INVALID_PROGRAM, hiprtcGetBitcodeSize(p, &bytes));
    IS(LINKING, hiprtcLinkCreate(0, NULL, NULL, NULL));
    IS(INVALID_INPUT, hiprtcVersion(&major, NULL));
    OK(hiprtcVersion(&major, &minor));
    SAME(major == 9 && minor == 0, "a version");
    SAME(strcmp(hiprtcGetErrorString(6), "HIPRTC_ERROR_COMPILATION") == 0, "a name");
    SAME(strcmp(hiprtcGetErrorString(100), "HIPRTC_ERROR_LINKING") == 0, "a name");
    SAME(!hiprtcGetErrorString(50) && !hiprtcGetErrorString(-1), "a name");
    OK(hiprtcDestroyProgram(&p));
    OK(hiprtcDestroyProgram(&p));
    IS(INVALID_INPUT, hiprtcDestroyProgram(NULL));
}

/* Options that load code are refused before there is a compiler. */
static void refused(void)
{
    const char *options[] = {"-O3", "-Xclang", "-load", "-Xclang", "/tmp/x.so"};
    hiprtcProgram p = source(NULL, "plain");

    IS(INVALID_OPTION, hiprtcCompileProgram(p, 5, options));
    log_is(p, "the option '-load' is not for guests");
    OK(hiprtcDestroyProgram(&p));
}

static void *compile_large(void *opaque)
{
    hiprtcProgram p = opaque;

    for (int i = 0; i < 3; i++) {
        OK(hiprtcCompileProgram(p, 0, NULL));
        log_is(p, "7 bytes");
        free(code_of(p));
    }
    return NULL;
}

/* More than the host has at once, from threads of one program. */
static void together(void)
{
    enum { THREADS = 12 };
    pthread_t threads[THREADS];
    hiprtcProgram p[THREADS];

    for (int i = 0; i < THREADS; i++) {
        p[i] = source("large.hip", "abcdefg");
        SAME(pthread_create(&threads[i], NULL, compile_large, p[i]) == 0, "a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        OK(hiprtcDestroyProgram(&p[i]));
    }
}

static void rights(void)
{
    hiprtcProgram p = source("rights.hip", "");

    IS(COMPILATION, hiprtcCompileProgram(p, 0, NULL));
    char *log = log_of(p);
    SAME(!*log, log);
    free(log);
    OK(hiprtcDestroyProgram(&p));
}

/* --- what other programs, or the worker, are to be seen to do ----------------------------------
 */

static void fails(const char *name, const char *text, const char *log)
{
    hiprtcProgram p = source(name, text);

    IS(COMPILATION, hiprtcCompileProgram(p, 0, NULL));
    log_is(p, log);
    OK(hiprtcDestroyProgram(&p));
    compile_plain();
}

static void crash(void)
{
    fails("crash.hip", "", "the compiler on the host died of signal 6\n");
}

static void *compile_endless(void *opaque)
{
    fails("endless.hip", "", "the compiler on the host took more than 1 s and was ended\n");
    return NULL;
}

/* Other calls are answered meanwhile, and other sources compiled. */
static void late(void)
{
    pthread_t thread;

    SAME(pthread_create(&thread, NULL, compile_endless, NULL) == 0, "a thread");
    OK(hipDeviceSynchronize());
    compile_plain();
    pthread_join(thread, NULL);
}

static void files(void)
{
    static const char log[] =
        "the compiler on the host made too many files, or too large ones, and was ended\n";

    fails("files.hip", "large", log);
    fails("files.hip", "many", log);
    fails("files.hip", "deep", log);
    fails("files.hip", "threads", "the compiler on the host made too many threads and was ended\n");
}

static void none(void)
{
    hiprtcProgram p = source("all.hip", "");

    for (int i = 0; i < 2; i++) {
        IS(INTERNAL, hiprtcCompileProgram(p, 0, NULL));
        log_is(p, words[0]);
    }
    OK(hiprtcDestroyProgram(&p));
    OK(hipDeviceSynchronize());
}

static void no_device(void)
{
    hiprtcProgram p = source("all.hip", "");

    IS(INTERNAL, hiprtcCompileProgram(p, 0, NULL));
    log_is(p, "there is no device to compile for");
    OK(hiprtcDestroyProgram(&p));
}

static void loaded(void)
{
    void *library = dlopen("libhiprtc.so.6", RTLD_NOW | RTLD_LOCAL);

    SAME(library, "libhiprtc.so.6");
    SAME(dlsym(library, "hiprtcCompileProgram") == (void *)hiprtcCompileProgram, "its function");
    SAME(dlsym(library, "hiprtcVersion") == (void *)hiprtcVersion, "its function");
    compile_plain();
}

static void leave(void)
{
    hiprtcProgram p = source("endless.hip", "");

    puts("compiling");
    fflush(stdout);
    hiprtcCompileProgram(p, 0, NULL);
}

static void include(void)
{
    char text[4096] = "";
    size_t n = 0;

    for (int i = 0; i < n_words; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "#include \"%s\"\n", words[i]);
    hiprtcProgram p = source("include.hip", text);
    IS(COMPILATION, hiprtcCompileProgram(p, 0, NULL));
    char *log = log_of(p);
    fputs(log, stdout);
    free(log);
    OK(hiprtcDestroyProgram(&p));
}

struct part {
    const char *name;
    void (*run)(void);
};

static const struct part cases[] = {{"all", all},         {"plain", plain},
                                    {"error", error},     {"large", large},
                                    {"rights", rights},   {"wrong_arguments", wrong_arguments},
                                    {"refused", refused}, {"together", together}},
                         parts[] = {{"crash", crash}, {"late", late},           {"none", none},
                                    {"files", files}, {"no-device", no_device}, {"loaded", loaded},
                                    {"leave", leave}, {"include", include}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int main(int argc, char **argv)
{
    words = (const char *const *)argv + 2;
    n_words = argc - 2;
    for (size_t i = 0; argc > 1 && i < COUNT(parts); i++) {
        if (strcmp(parts[i].name, argv[1]) == 0) {
            running = argv[1];
            parts[i].run();
            printf("%s: well\n", running);
            return 0;
        }
    }
    for (size_t i = 0; argc == 1 && i < COUNT(cases); i++) {
        running = cases[i].name;
        cases[i].run();
        printf("ok %s\n", running);
        fflush(stdout);
    }
    if (argc == 1)
        printf("rtc: %zu cases, all well\n", COUNT(cases));
    return argc == 1 ? 0 : 2;
}
