/*
 * tests/diff/rv_diff: random instructions in our translator and in QEMU's user mode.
 *
 *   rv_diff [--qemu PROGRAM] [--tier N]... [--count N] [--seed S] [--batch N] [--ext KIND]...
 *
 * With tiers, on a whole machine of the translator, once with each; else in front end and
 * interpreter alone. KIND is an extension, "sequences" or "Zicntr". Prints a line a kind. A
 * difference is reduced to its instruction, which is printed with what it read and what differs; the
 * exit status is 1 then.
 */
#include "tests/diff/oracle.h"
#include "tests/diff/rv_machine.h"
#include "tests/diff/rv_random.h"
#include "tests/diff/rv_user.h"
#include "xlate/front/riscv64/rv_disasm.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

enum { ALONE = -1 /* in place of a tier: without a machine */ };

struct options {
    char *qemu, *cpu;
    char **kinds, **tiers;
    int64_t count, seed;
    int batch;
    struct diff_oracle *oracle;
};

/* The first test whose states differ; -1 if none. */
static int first_difference(const struct rv_program *p, const GByteArray *ours,
                            const GByteArray *theirs)
{
    const size_t size = RV_STATE_WORDS * 8, most = MIN(ours->len, theirs->len);

    if (most == p->tests->len * size && !memcmp(ours->data, theirs->data, most))
        return -1;
    for (unsigned i = 0; i < p->tests->len; i++)
        if ((i + 1) * size > most || memcmp(ours->data + i * size, theirs->data + i * size, size))
            return i;
    return -1;
}

static void report_operands(const struct rv_test *test)
{
    struct rv_insn insn;

    rv_decode(test->bits[0], &insn);
    const unsigned numbers[] = {insn.rs1, insn.rs2, insn.rs3};
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
        if (numbers[i])
            printf("  x%-7u %016" G_GINT64_MODIFIER "x, f%-3u %016" G_GINT64_MODIFIER "x before\n",
                   numbers[i], test->before[RV_STATE_X + numbers[i] - 1], numbers[i],
                   test->before[RV_STATE_F + numbers[i]]);
}

static void report(const struct rv_test *test, const uint64_t *ours, const uint64_t *theirs)
{
    char text[80], name[16];

    for (unsigned i = 0; i < test->n; i++) {
        rv_disassemble((const uint8_t *)&test->bits[i], 4, test->address, text, sizeof(text));
        printf("%#" G_GINT64_MODIFIER "x: %08x  %s\n", test->address, test->bits[i], text);
    }
    if (test->n == 1)
        report_operands(test);
    for (unsigned i = 0; i < RV_STATE_WORDS; i++)
        if (ours[i] != theirs[i])
            printf("  %-8s %016" G_GINT64_MODIFIER "x, the oracle has %016" G_GINT64_MODIFIER
                   "x; before %016" G_GINT64_MODIFIER "x\n",
                   rv_state_name(i, name), ours[i], theirs[i], test->before[i]);
}

static bool run_ours(const struct rv_program *program, int tier, GByteArray *out, GError **err)
{
    const struct diff_image image = {program->image, program->size, program->entry, program->states,
                                     program->tests->len * RV_STATE_WORDS * 8};

    if (tier == ALONE)
        return rv_user_run(program, out, err);
    return rv_machine_run(&image, (unsigned)tier, out, err);
}

/* Does TEST alone differ? It is printed then, if REPORTS. */
static bool differs_alone(const struct options *o, const struct rv_test *test, int tier,
                          bool reports)
{
    struct rv_program *one = rv_program_of(test);
    g_autoptr(GByteArray) ours = g_byte_array_new(), theirs = g_byte_array_new();
    bool ran = diff_oracle_run(o->oracle, one->image, one->size, theirs, NULL) && run_ours(one, tier, ours, NULL);
    bool differs = !ran || first_difference(one, ours, theirs) == 0;

    if (reports && ran && theirs->len == ours->len)
        report(&g_array_index(one->tests, struct rv_test, 0), (const uint64_t *)ours->data,
               (const uint64_t *)theirs->data);
    rv_program_free(one);
    return differs;
}

/* Drops from a sequence what the difference does not need; two instructions stay. A loop stays whole, as what is left of
 * one might not end. */
static void reduce(const struct options *o, struct rv_test *test, int tier)
{
    unsigned kept = rv_loop_length(test);

    for (unsigned i = test->n; test->n > 2 && i-- > kept;) {
        struct rv_test less = *test;

        memmove(&less.bits[i], &less.bits[i + 1], (less.n - i - 1) * sizeof(less.bits[0]));
        less.n--;
        if (differs_alone(o, &less, tier, false))
            *test = less;
    }
}

/* 0: TIER has what THEIRS has; 1: a difference was reported; -1: ERR. */
static int compare(const struct options *o, const struct rv_program *program, int tier,
                   const GByteArray *theirs, GError **err)
{
    g_autoptr(GByteArray) ours = g_byte_array_new();

    if (!run_ours(program, tier, ours, err))
        return -1;
    int at = first_difference(program, ours, theirs);
    if (at < 0)
        return 0;
    struct rv_test test = g_array_index(program->tests, struct rv_test, at);
    size_t size = RV_STATE_WORDS * 8;

    if (tier == ALONE)
        printf("test %d, without a machine:\n", at);
    else
        printf("test %d, tier %d:\n", at, tier);
    if (differs_alone(o, &test, tier, false)) {
        reduce(o, &test, tier);
        differs_alone(o, &test, tier, true);
    } else if ((at + 1) * size <= MIN(ours->len, theirs->len)) {
        report(&test, (const uint64_t *)(ours->data + at * size),
               (const uint64_t *)(theirs->data + at * size));
    }
    return 1;
}

/* The same program with each tier. */
static int compare_all(const struct options *o, const struct rv_program *program, GError **err)
{
    g_autoptr(GByteArray) theirs = g_byte_array_new();
    int result = 0;

    if (!diff_oracle_run(o->oracle, program->image, program->size, theirs, err))
        return -1;
    if (!o->tiers)
        return compare(o, program, ALONE, theirs, err);
    for (char **tier = o->tiers; *tier && !result; tier++)
        result = compare(o, program, atoi(*tier), theirs, err);
    return result;
}

static bool wanted(const struct options *o, unsigned kind)
{
    if (!o->kinds)
        return rv_kind_runs(kind);
    return g_strv_contains((const char *const *)o->kinds, rv_kind_name(kind));
}

/* All batches of a kind. */
static int run_kind(const struct options *o, unsigned kind)
{
    g_autoptr(GError) err = NULL;

    for (int64_t done = 0, batch = 0; done < o->count; batch++) {
        unsigned n = MIN(o->batch, o->count - done);
        struct rv_program *program = rv_program_new(kind, n, o->seed + batch);
        int result = compare_all(o, program, &err);

        rv_program_free(program);
        if (result) {
            printf("%s: batch %" G_GINT64_FORMAT " of seed %" G_GINT64_FORMAT ": %s\n",
                   rv_kind_name(kind), batch, o->seed, err ? err->message : "differs");
            return 1;
        }
        done += n;
    }
    printf("%s: %" G_GINT64_FORMAT " tests, all equal\n", rv_kind_name(kind), o->count);
    fflush(stdout);
    return 0;
}

static bool kinds_exist(char **kinds, GError **err)
{
    for (; kinds && *kinds; kinds++) {
        unsigned kind = 0;

        while (kind < RV_KINDS && strcmp(*kinds, rv_kind_name(kind)))
            kind++;
        if (kind == RV_KINDS || !rv_kind_runs(kind))
            return vmd_fail(err, VMD_ERROR_INVALID, "%s is nothing that can be compared", *kinds);
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {.count = 20000, .seed = 1, .batch = RV_TESTS_MAX};
    const GOptionEntry entries[] = {
        {"qemu", 0, 0, G_OPTION_ARG_STRING, &o.qemu, "the oracle", "PROGRAM"},
        {"cpu", 0, 0, G_OPTION_ARG_STRING, &o.cpu, "the oracle's CPU", "MODEL"},
        {"ext", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.kinds, "this kind of tests only", "KIND"},
        {"tier", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.tiers, "a whole machine's", "N"},
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
        o.batch < 1 || o.batch > RV_TESTS_MAX) {
        fprintf(stderr, "%s\n", err ? err->message : "a batch has 1 to 20000 tests");
        return 2;
    }
    if (!o.qemu)
        o.qemu = g_strdup("qemu-riscv64-static");
    if (!o.cpu)
        o.cpu = g_strdup("rv64,zba=true,zbb=true,zbs=true");
    o.oracle = diff_oracle_new(o.qemu, o.cpu);
    /* What one batch frees is there for the next, without a page fault a page. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    for (unsigned i = 0; i < RV_KINDS; i++)
        if (wanted(&o, i))
            failed |= run_kind(&o, i);
    diff_oracle_free(o.oracle);
    g_free(o.qemu);
    g_free(o.cpu);
    g_strfreev(o.kinds);
    g_strfreev(o.tiers);
    return failed;
}
