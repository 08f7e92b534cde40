/*
 * tests/diff/a64_diff: random A64 instructions in our translator and in QEMU's user mode.
 *
 *   a64_diff [--qemu PROGRAM] [--tier N]... [--count N] [--seed S] [--batch N] [--ext KIND]...
 *
 * Runs on a whole machine of the translator, once with each tier. KIND is an extension, "sequences" or
 * "exclusives". Prints a line a kind; of the first difference the instructions, the registers before it
 * and what differs. The exit status is 1 then.
 */
#include "tests/diff/a64_machine.h"
#include "tests/diff/a64_random.h"
#include "tests/diff/oracle.h"
#include "xlate/front/aarch64/a64_disasm.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

struct options {
    char *qemu, *cpu;
    char **kinds, **tiers;
    int64_t count, seed;
    int batch;
    struct diff_oracle *oracle;
};

enum { STATE = 8 * A64_STATE_WORDS };

/* The first test whose states differ; -1 if none. */
static int first_difference(const struct a64_program *p, const GByteArray *ours,
                            const GByteArray *theirs)
{
    const size_t most = MIN(ours->len, theirs->len);

    for (unsigned i = 0; i < p->tests->len; i++)
        if ((i + 1) * (size_t)STATE > most || memcmp(ours->data + i * STATE, theirs->data + i * STATE, STATE))
            return (int)i;
    return -1;
}

static void report(const struct a64_test *test, const uint64_t *ours, const uint64_t *theirs)
{
    char text[80], name[16];

    for (unsigned i = 0; i < test->n; i++) {
        a64_disassemble((const uint8_t *)&test->bits[i], 4, test->entry + 4 * i, text, sizeof(text));
        printf("%#" G_GINT64_MODIFIER "x: %08x  %s\n", test->entry + 4 * i, test->bits[i], text);
    }
    for (unsigned i = 0; i < A64_STATE_WORDS; i++)
        if (ours[i] != theirs[i])
            printf("  %-9s %016" G_GINT64_MODIFIER "x, the oracle has %016" G_GINT64_MODIFIER
                   "x; before %016" G_GINT64_MODIFIER "x\n",
                   a64_state_name(i, name), ours[i], theirs[i], test->before[i]);
    for (unsigned i = 0; i < 4; i++) { /* of single instructions: the registers that its fields name */
        unsigned number = test->bits[0] >> (const uint8_t[]){0, 5, 10, 16}[i] & 31;
        if (test->n == 1 && number < 31)
            printf("  x%-8u %016" G_GINT64_MODIFIER "x, v%u %016" G_GINT64_MODIFIER
                   "x %016" G_GINT64_MODIFIER "x before\n", number, test->before[A64_STATE_X + number],
                   number, test->before[2 * number + 1], test->before[2 * number]);
    }
    printf("  nzcv %#" G_GINT64_MODIFIER "x, fpcr %#" G_GINT64_MODIFIER "x before\n",
           test->before[A64_STATE_NZCV], test->before[A64_STATE_FPCR]);
}

/* 0: TIER has what THEIRS has; 1: a difference was reported; -1: ERR. */
static int compare(const struct a64_program *program, int tier, const GByteArray *theirs, GError **err)
{
    g_autoptr(GByteArray) ours = g_byte_array_new();

    const struct diff_image image = {program->image, program->size, program->entry, program->states,
                                     program->tests->len * (size_t)STATE};

    if (!a64_machine_run(&image, (unsigned)tier, ours, err))
        return -1;
    int at = first_difference(program, ours, theirs);
    if (at < 0)
        return 0;
    printf("test %d, tier %d:\n", at, tier);
    if (((size_t)at + 1) * STATE <= MIN(ours->len, theirs->len))
        report(&g_array_index(program->tests, struct a64_test, at),
               (const uint64_t *)(const void *)(ours->data + at * STATE),
               (const uint64_t *)(const void *)(theirs->data + at * STATE));
    return 1;
}

/* The same program with each tier. */
static int compare_all(const struct options *o, const struct a64_program *program, GError **err)
{
    g_autoptr(GByteArray) theirs = g_byte_array_new();
    int result = 0;

    if (!diff_oracle_run(o->oracle, program->image, program->size, theirs, err))
        return -1;
    for (char **tier = o->tiers; *tier && !result; tier++)
        result = compare(program, atoi(*tier), theirs, err);
    return result;
}

/* All batches of a kind. */
static int run_kind(const struct options *o, unsigned kind)
{
    g_autoptr(GError) err = NULL;

    for (int64_t done = 0, batch = 0; done < o->count; batch++) {
        unsigned n = (unsigned)MIN(o->batch, o->count - done);
        struct a64_program *program = a64_program_new(kind, n, (uint64_t)(o->seed + batch));
        int result = compare_all(o, program, &err);

        a64_program_free(program);
        if (result) {
            printf("%s: batch %" G_GINT64_FORMAT " of seed %" G_GINT64_FORMAT ": %s\n",
                   a64_kind_name(kind), batch, o->seed, err ? err->message : "differs");
            return 1;
        }
        done += n;
    }
    printf("%s: %" G_GINT64_FORMAT " tests, all equal\n", a64_kind_name(kind), o->count);
    fflush(stdout);
    return 0;
}

static bool kinds_exist(char **kinds, GError **err)
{
    for (; kinds && *kinds; kinds++) {
        unsigned kind = 0;

        while (kind < A64_KINDS && strcmp(*kinds, a64_kind_name(kind)))
            kind++;
        if (kind == A64_KINDS)
            return vmd_fail(err, VMD_ERROR_INVALID, "%s is nothing that can be compared", *kinds);
    }
    return true;
}

int main(int argc, char **argv)
{
    static char *default_tiers[] = {(char *)"0", (char *)"1", NULL};
    struct options o = {.count = 20000, .seed = 1, .batch = A64_TESTS_MAX};
    const GOptionEntry entries[] = {
        {"qemu", 0, 0, G_OPTION_ARG_STRING, &o.qemu, "the oracle", "PROGRAM"},
        {"cpu", 0, 0, G_OPTION_ARG_STRING, &o.cpu, "the oracle's CPU", "MODEL"},
        {"ext", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.kinds, "this kind of tests only", "KIND"},
        {"tier", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.tiers, "0 and 1 unless it is given", "N"},
        {"count", 0, 0, G_OPTION_ARG_INT64, &o.count, "tests a kind", "N"},
        {"batch", 0, 0, G_OPTION_ARG_INT, &o.batch, "tests a program", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &o.seed, "where to start", "S"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- random instructions against QEMU");
    g_autoptr(GError) err = NULL;
    int failed = 0;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) || !kinds_exist(o.kinds, &err) ||
        o.batch < 1 || o.batch > A64_TESTS_MAX) {
        fprintf(stderr, "%s\n", err ? err->message : "a batch has 1 to 20000 tests");
        return 2;
    }
    if (!o.tiers)
        o.tiers = g_strdupv(default_tiers);
    o.oracle = diff_oracle_new(o.qemu ? o.qemu : "qemu-aarch64-static", o.cpu ? o.cpu : "max,pauth=off");
    /* What one batch frees is there for the next, without a page fault a page. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    for (unsigned i = 0; i < A64_KINDS; i++)
        if (!o.kinds || g_strv_contains((const char *const *)o.kinds, a64_kind_name(i)))
            failed |= run_kind(&o, i);
    diff_oracle_free(o.oracle);
    g_free(o.qemu);
    g_free(o.cpu);
    g_strfreev(o.kinds);
    g_strfreev(o.tiers);
    return failed;
}
