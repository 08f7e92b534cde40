/*
 * Runs a fuzz target without libFuzzer.
 *
 *   fuzz_NAME [--runs N] [--seed N] [--write-seeds FOLDER] [FILE]...
 *
 * Feeds the target its seeds, then N mutations of them, or just the FILEs. The target runs in a
 * child, whose present input lies in memory shared with this process: when the child dies, or one
 * input takes HANG_S of processor time or STUCK_S of any, that input is written to "crash-NAME" for
 * a later run by FILE. At the end it says which run took longest.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    INPUT_MAX = 1 << 16,
    HANG_S = 20,   /* of the processor: on a busy machine a run waits, and is not slow for that */
    STUCK_S = 600, /* of the clock, for what waits and does nothing */
};

struct shared {
    uint64_t run, longest_run, longest_ns;
    size_t size;
    uint8_t data[INPUT_MAX];
};

struct prng {
    uint64_t state; /* xorshift64*; not 0 */
};

static uint64_t prng_next(struct prng *p)
{
    p->state ^= p->state >> 12;
    p->state ^= p->state << 25;
    p->state ^= p->state >> 27;
    return p->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* Below LIMIT, which is not 0. */
static size_t prng_below(struct prng *p, size_t limit)
{
    return prng_next(p) % limit;
}

/* --- mutations: each changes the input of SIZE bytes in place and returns its new size ------- */

static size_t flip_bit(struct prng *p, uint8_t *data, size_t size)
{
    data[prng_below(p, size)] ^= (uint8_t)(1u << prng_below(p, 8));
    return size;
}

static size_t set_byte(struct prng *p, uint8_t *data, size_t size)
{
    data[prng_below(p, size)] = (uint8_t)prng_next(p);
    return size;
}

/* Numbers at the edges of their types, of any width and byte order. */
static size_t set_number(struct prng *p, uint8_t *data, size_t size)
{
    static const uint64_t edges[] = {0,          1,         0x7f,       0x80,
                                     0xff,       0x7fff,    0xffff,     0x10000,
                                     0x7fffffff, 0xfffffff, 0xffffffff, 0x100000000,
                                     INT64_MAX,  1,         UINT64_MAX, UINT64_MAX - 4095};
    uint64_t value = edges[prng_below(p, G_N_ELEMENTS(edges))] + prng_below(p, 3) - 1;
    size_t width = (size_t)1 << prng_below(p, 4);

    if (prng_next(p) & 1)
        value = GUINT64_SWAP_LE_BE(value) >> (64 - 8 * width);
    if (width > size)
        return size;
    memcpy(data + prng_below(p, size - width + 1), &value, width);
    return size;
}

static size_t cut(struct prng *p, uint8_t *data, size_t size)
{
    size_t at = prng_below(p, size), length = 1 + prng_below(p, size - at);

    memmove(data + at, data + at + length, size - at - length);
    return size - length;
}

static size_t repeat(struct prng *p, uint8_t *data, size_t size)
{
    size_t at = prng_below(p, size), length = 1 + prng_below(p, size - at);

    if (size + length > INPUT_MAX)
        return size;
    memmove(data + at + length, data + at, size - at);
    return size + length;
}

/* What text formats trip over. */
static size_t insert_text(struct prng *p, uint8_t *data, size_t size)
{
    static const char *const texts[] = {"[", "{", "\"", "\\u0000", "\\ud800", "-", "1e999", "null",
                                        "18446744073709551616", "\xff", "%n", ",", ":", "0x",
                                        "\xef\xbf\xbf", "]", "}", "\n", ".", " "};
    const char *text = texts[prng_below(p, G_N_ELEMENTS(texts))];
    size_t length = strlen(text), at = prng_below(p, size + 1);

    if (size + length > INPUT_MAX)
        return size;
    memmove(data + at + length, data + at, size - at);
    memcpy(data + at, text, length);
    return size + length;
}

static size_t mutate(struct prng *p, uint8_t *data, size_t size)
{
    static size_t (*const mutations[])(struct prng *, uint8_t *, size_t) = {
        flip_bit, set_byte, set_number, cut, repeat, insert_text,
    };

    for (size_t n = 1 + prng_below(p, 8); n > 0; n--) {
        if (size == 0)
            size = insert_text(p, data, size);
        else
            size = mutations[prng_below(p, G_N_ELEMENTS(mutations))](p, data, size);
    }
    return size;
}

/* --- runs ------------------------------------------------------------------------------------ */

static GPtrArray *read_inputs(char **files)
{
    GPtrArray *inputs = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);

    if (files) {
        for (; *files; files++) {
            g_autoptr(GError) err = NULL;
            char *text;
            gsize size;
            if (!g_file_get_contents(*files, &text, &size, &err)) {
                fprintf(stderr, "%s\n", err->message);
                exit(2);
            }
            g_ptr_array_add(inputs, g_byte_array_new_take((guint8 *)text, size));
        }
        return inputs;
    }
    for (unsigned n = 0;; n++) {
        GByteArray *input = g_byte_array_new();
        if (!fuzz_seed(n, input)) {
            g_byte_array_unref(input);
            return inputs;
        }
        g_ptr_array_add(inputs, input);
    }
}

static uint64_t processor_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Has the target take the present input. */
static void run_one(struct shared *shared)
{
    const struct itimerval limit = {.it_value = {.tv_sec = HANG_S}};
    /* A copy of the exact size, so that AddressSanitizer sees a read beyond it. */
    g_autofree uint8_t *data = g_memdup2(shared->data, shared->size);

    setitimer(ITIMER_PROF, &limit, NULL);
    alarm(STUCK_S);
    uint64_t took = processor_ns();
    LLVMFuzzerTestOneInput(data ? data : (const uint8_t *)"", shared->size);
    took = processor_ns() - took;
    if (took > shared->longest_ns) {
        shared->longest_ns = took;
        shared->longest_run = shared->run;
    }
}

/* The child: every input as it is, then RUNS mutations. */
static void run_inputs(struct shared *shared, GPtrArray *inputs, uint64_t runs, uint64_t seed)
{
    struct prng p = {seed | 1};

    for (uint64_t run = 0; run < inputs->len + runs; run++) {
        bool whole = run < inputs->len;
        GByteArray *input = inputs->pdata[whole ? run : prng_below(&p, inputs->len)];

        shared->run = run;
        shared->size = MIN(input->len, INPUT_MAX);
        if (shared->size)
            memcpy(shared->data, input->data, shared->size);
        if (!whole)
            shared->size = mutate(&p, shared->data, shared->size);
        run_one(shared);
    }
}

static int write_seeds(GPtrArray *inputs, const char *folder)
{
    for (guint i = 0; i < inputs->len; i++) {
        g_autofree char *path = g_strdup_printf("%s/seed-%u", folder, i);
        g_autoptr(GError) err = NULL;
        GByteArray *input = inputs->pdata[i];
        if (!g_file_set_contents(path, (const char *)input->data, input->len, &err)) {
            fprintf(stderr, "%s\n", err->message);
            return 2;
        }
    }
    return 0;
}

/* Says how the child ended and keeps the input that ended it. */
static int report(const struct shared *shared, int status, uint64_t seed)
{
    g_autofree char *path = g_strdup_printf("crash-%s", g_get_prgname());
    g_autoptr(GError) err = NULL;
    int by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

    if (by)
        fprintf(stderr, "%s by signal %d (%s)", g_get_prgname(), by,
                by == SIGALRM || by == SIGPROF ? "a hang" : g_strsignal(by));
    else
        fprintf(stderr, "%s with status %d", g_get_prgname(), WEXITSTATUS(status));
    fprintf(stderr, ", run %" G_GUINT64_FORMAT " of seed %" G_GUINT64_FORMAT "; input in %s\n",
            shared->run, seed, path);
    if (!g_file_set_contents(path, (const char *)shared->data, (gssize)shared->size, &err))
        fprintf(stderr, "%s\n", err->message);
    return 1;
}

int main(int argc, char **argv)
{
    gint64 runs = 20000, seed = 1;
    g_autofree char *seeds_folder = NULL;
    g_auto(GStrv) files = NULL;
    const GOptionEntry entries[] = {
        {"runs", 0, 0, G_OPTION_ARG_INT64, &runs, "mutations to try", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "of the random numbers", "N"},
        {"write-seeds", 0, 0, G_OPTION_ARG_FILENAME, &seeds_folder, "a corpus for libFuzzer", "FOLDER"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &files, NULL, "[FILE]..."},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) err = NULL;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err)) {
        fprintf(stderr, "%s\n", err->message);
        return 2;
    }
    g_autoptr(GPtrArray) inputs = read_inputs(files);
    if (seeds_folder)
        return write_seeds(inputs, seeds_folder);

    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || inputs->len == 0)
        return 2;
    pid_t child = fork();
    if (child < 0)
        return 2;
    if (child == 0) {
        run_inputs(shared, inputs, files ? 0 : (uint64_t)runs, (uint64_t)seed);
        exit(0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status != 0)
        return report(shared, status, (uint64_t)seed);
    printf("%" G_GUINT64_FORMAT " runs; run %" G_GUINT64_FORMAT " took longest, %.1f ms\n",
           shared->run + 1, shared->longest_run, (double)shared->longest_ns / 1e6);
    return 0;
}
