/*
 * tests/diff/rv_diff: random instructions in our translator and in QEMU's user mode.
 *
 *   rv_diff [--qemu PROGRAM] [--tier N] [--count N] [--seed S] [--batch N] [--ext NAME]... [--sequences]
 *
 * With a tier, on a whole machine of the translator; else in front end and interpreter alone.
 * Prints a line an extension. A difference is reduced to its instruction, which is printed with
 * what it read and what differs; the exit status is 1 then.
 */
#include "tests/diff/rv_machine.h"
#include "tests/diff/rv_random.h"
#include "tests/diff/rv_user.h"
#include "xlate/front/riscv64/rv_disasm.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct options {
    char *qemu, *cpu;
    char **extensions;
    int64_t count, seed;
    int batch, tier;
    gboolean sequences;
};

/* Runs PROGRAM in QEMU; what it wrote. NULL with an error. */
static char *oracle(const struct options *o, const struct rv_program *program, size_t *length,
                    GError **err)
{
    g_autofree char *file = NULL, *text = NULL, *errors = NULL;
    int fd = g_file_open_tmp("rv-diff-XXXXXX", &file, err);
    int status = 0;

    if (fd < 0)
        return NULL;
    bool written = write(fd, program->image, program->size) == (ssize_t)program->size &&
                   fchmod(fd, 0700) == 0;
    close(fd);
    g_autofree char *out = g_strdup_printf("%s.out", file);
    g_autofree char *command = g_strdup_printf("exec \"$0\" -cpu \"$1\" \"$2\" >\"$3\"");
    char *argv[] = {(char *)"/bin/sh", (char *)"-c", command, o->qemu, o->cpu, file, out, NULL};
    bool ok = written && g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, &text, &errors, &status, err);
    if (ok && status) {
        vmd_fail(err, VMD_ERROR_INTERNAL, "%s ended with status %#x: %s", o->qemu, status, errors);
        ok = false;
    }
    char *data = NULL;
    if (ok && !g_file_get_contents(out, &data, length, err))
        data = NULL;
    g_unlink(file);
    g_unlink(out);
    return data;
}

/* The first test whose dumps differ; -1 if none. */
static int first_difference(const struct rv_program *p, const uint64_t *a, size_t a_bytes,
                            const uint64_t *b, size_t b_bytes)
{
    for (unsigned i = 0; i < p->tests->len; i++) {
        size_t end = (i + 1) * RV_DUMP_WORDS * 8;

        if (end > a_bytes || end > b_bytes ||
            memcmp(a + i * RV_DUMP_WORDS, b + i * RV_DUMP_WORDS, RV_DUMP_WORDS * 8))
            return i;
    }
    return -1;
}

static void report(const struct rv_test *test, const uint64_t *ours, const uint64_t *theirs)
{
    char text[80], name[16];

    for (unsigned i = 0; i < test->n; i++) {
        rv_disassemble((const uint8_t *)&test->bits[i], 4, test->address, text, sizeof(text));
        printf("%#" G_GINT64_MODIFIER "x: %08x  %s\n", test->address, test->bits[i], text);
    }
    if (!test->sequence)
        printf("  read %#" G_GINT64_MODIFIER "x, %#" G_GINT64_MODIFIER "x, %#" G_GINT64_MODIFIER
               "x; frm %u; memory %#" G_GINT64_MODIFIER "x %#" G_GINT64_MODIFIER "x\n",
               test->input[0], test->input[1], test->input[2], (unsigned)test->input[3],
               test->input[4], test->input[5]);
    for (unsigned i = 0; i < RV_DUMP_WORDS; i++)
        if (ours[i] != theirs[i])
            printf("  %-8s %016" G_GINT64_MODIFIER "x, the oracle has %016" G_GINT64_MODIFIER "x\n",
                   rv_dump_name(i, name), ours[i], theirs[i]);
}

static bool run_ours(const struct options *o, const struct rv_program *program, GByteArray *out,
                     GError **err)
{
    if (o->tier < 0)
        return rv_user_run(program, out, err);
    return rv_machine_run(program, o->tier, out, err);
}

/* Runs PROGRAM in both. The first test that differs, -1 if none, -2 with ERR; OURS and THEIRS get
 * what was written. */
static int run_both(const struct options *o, const struct rv_program *program, GByteArray *ours,
                    char **theirs, GError **err)
{
    size_t length = 0;

    if (!run_ours(o, program, ours, err) || !(*theirs = oracle(o, program, &length, err)))
        return -2;
    return first_difference(program, (const uint64_t *)ours->data, ours->len,
                            (const uint64_t *)*theirs, length);
}

/* Does TEST alone differ? It is printed then, if REPORTS. */
static bool differs_alone(const struct options *o, const struct rv_test *test, bool reports)
{
    struct rv_program *one = rv_program_of(test);
    GByteArray *ours = g_byte_array_new();
    g_autofree char *theirs = NULL;
    int at = run_both(o, one, ours, &theirs, NULL);

    if (at == 0 && reports)
        report(&g_array_index(one->tests, struct rv_test, 0), (const uint64_t *)ours->data,
               (const uint64_t *)theirs);
    g_byte_array_free(ours, TRUE);
    rv_program_free(one);
    return at != -1;
}

/* Drops from a sequence what the difference does not need. */
static void reduce(const struct options *o, struct rv_test *test)
{
    for (unsigned i = test->n; test->n > 1 && i-- > 0;) {
        struct rv_test less = *test;

        memmove(&less.bits[i], &less.bits[i + 1], (less.n - i - 1) * sizeof(less.bits[0]));
        less.n--;
        if (differs_alone(o, &less, false))
            *test = less;
    }
}

/* 0: equal; 1: a difference was reported; -1: ERR. */
static int compare(const struct options *o, const struct rv_program *program, GError **err)
{
    GByteArray *ours = g_byte_array_new();
    g_autofree char *theirs = NULL;
    int at = run_both(o, program, ours, &theirs, err);

    if (at >= 0) {
        struct rv_test test = g_array_index(program->tests, struct rv_test, at);

        if (differs_alone(o, &test, false)) {
            reduce(o, &test);
            differs_alone(o, &test, true);
        } else {
            report(&test, (const uint64_t *)ours->data + at * RV_DUMP_WORDS,
                   (const uint64_t *)theirs + at * RV_DUMP_WORDS);
        }
    }
    g_byte_array_free(ours, TRUE);
    return at == -1 ? 0 : at >= 0 ? 1 : -1;
}

static bool wanted(const struct options *o, unsigned extension)
{
    if (o->sequences && !o->extensions)
        return false;
    if (!o->extensions)
        return rv_extension_runs(extension);
    return g_strv_contains((const char *const *)o->extensions, rv_extension_names[extension]);
}

/* All batches of an extension, or of sequences where it is RV_EXTENSIONS. */
static int run_extension(const struct options *o, unsigned extension)
{
    bool sequences = extension == RV_EXTENSIONS;
    const char *name = sequences ? "sequences" : rv_extension_names[extension];
    g_autoptr(GError) err = NULL;

    for (int64_t done = 0, batch = 0; done < o->count; batch++) {
        unsigned n = MIN(o->batch, o->count - done);
        struct rv_program *program = sequences ? rv_program_sequences(n, o->seed + batch)
                                               : rv_program_new(extension, n, o->seed + batch);
        int result = compare(o, program, &err);

        rv_program_free(program);
        if (result) {
            printf("%s: batch %" G_GINT64_FORMAT " of seed %" G_GINT64_FORMAT ": %s\n", name, batch,
                   o->seed, err ? err->message : "differs");
            return 1;
        }
        done += n;
    }
    printf("%s: %" G_GINT64_FORMAT " tests, all equal\n", name, o->count);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.count = 20000, .seed = 1, .batch = 2000, .tier = -1};
    const GOptionEntry entries[] = {
        {"qemu", 0, 0, G_OPTION_ARG_STRING, &o.qemu, "the oracle", "PROGRAM"},
        {"cpu", 0, 0, G_OPTION_ARG_STRING, &o.cpu, "the oracle's CPU", "MODEL"},
        {"ext", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.extensions, "this extension only", "NAME"},
        {"tier", 0, 0, G_OPTION_ARG_INT, &o.tier, "a whole machine's", "N"},
        {"sequences", 0, 0, G_OPTION_ARG_NONE, &o.sequences, "sequences alone", NULL},
        {"count", 0, 0, G_OPTION_ARG_INT64, &o.count, "tests an extension", "N"},
        {"batch", 0, 0, G_OPTION_ARG_INT, &o.batch, "tests a program", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &o.seed, "where to start", "S"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- random instructions against QEMU");
    g_autoptr(GError) err = NULL;
    int failed = 0;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) || o.batch < 1) {
        fprintf(stderr, "%s\n", err ? err->message : "a batch has at least one instruction");
        return 2;
    }
    if (!o.qemu)
        o.qemu = g_strdup("qemu-riscv64-static");
    if (!o.cpu)
        o.cpu = g_strdup("rv64,zba=true,zbb=true,zbs=true");
    for (unsigned i = 0; i < RV_EXTENSIONS; i++)
        if (wanted(&o, i))
            failed |= run_extension(&o, i);
    if (o.sequences || !o.extensions)
        failed |= run_extension(&o, RV_EXTENSIONS);
    g_free(o.qemu);
    g_free(o.cpu);
    g_strfreev(o.extensions);
    return failed;
}
