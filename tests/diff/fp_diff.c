/*
 * tests/diff/fp_diff: the translator's floating point against Berkeley TestFloat's vectors.
 *
 *   fp_diff --testfloat PROGRAM --arch aarch64|riscv64 [--tier N]... [--oracle] [--qemu PROGRAM]
 *           [--level N] [--most N] [--function NAME]... [--exclude NAME]...
 *
 * PROGRAM is testfloat_gen, built with SoftFloat's part for the architecture (docs/testing.md).
 * Each vector of each function, rounding mode and exactness runs in each form that computes it, in
 * two passes, on a whole machine of the translator with each tier; with --oracle in QEMU's user
 * mode too. Prints a line a function, and of the first differences of each form and mode what
 * differs; the exit status is 1 then.
 */
#include "tests/diff/fp_diff.h"

#include <elf.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

enum { ORACLE = -1 /* in place of a tier */, REPORTS = 3 /* a form, mode and tier */ };

#define BASE UINT64_C(0x100000)

struct options {
    char *testfloat, *arch, *qemu;
    char **functions, **excluded, **tiers;
    int level;
    int64_t most;
    gboolean use_oracle;
    const struct fp_isa *isa;
    struct diff_oracle *oracle;
};

/* A function in a mode: its forms, and vectors of which a batch is at work. */
struct work {
    const struct options *o;
    struct fp_query query;
    struct fp_form forms[FP_FORMS_MAX];
    unsigned n_forms, n;
    struct fp_vector vectors[FP_BATCH];
    uint64_t reported[FP_FORMS_MAX], wrong;
};

void fp_put(GByteArray *code, uint32_t word)
{
    g_byte_array_append(code, (const uint8_t *)&word, 4);
}

uint64_t fp_repeat(uint64_t value, unsigned bits)
{
    for (; bits < 64; bits *= 2)
        value |= value << bits;
    return value;
}

bool fp_is_nan(enum fp_kind kind, uint64_t value)
{
    static const uint64_t infinity[] = {0x7c00, 0x7f800000, UINT64_C(0x7ff0000000000000)};

    return (value & (UINT64_MAX >> (64 - fp_kind_bits(kind)) >> 1)) > infinity[kind];
}

/* --- programs --------------------------------------------------------------------------------- */

static void put_inputs(const struct work *w, uint8_t *at)
{
    unsigned bits = fp_kind_bits(w->query.function->from);

    for (unsigned i = 0; i < w->n; i++) {
        struct fp_input input;

        for (unsigned k = 0; k < 3; k++) {
            bool used = k < w->query.function->operands;
            uint64_t value =
                used ? fp_repeat(w->vectors[i].operand[k], bits) : UINT64_C(0x5a5a5a5a5a5a5a5a);
            input.operand[k][0] = input.operand[k][1] = value;
        }
        memcpy(at + i * sizeof(input), &input, sizeof(input));
    }
}

/* The ELF file; the caller frees IMAGE->elf. */
static void make_image(const struct work *w, enum fp_pass pass, struct diff_image *image)
{
    const struct fp_isa *isa = w->o->isa;
    g_autoptr(GByteArray) code = g_byte_array_new();
    size_t size = FP_OUTPUT - BASE + (size_t)w->n * w->n_forms * sizeof(struct fp_output);
    const Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = (Elf64_Half)isa->machine,
        .e_version = EV_CURRENT,
        .e_entry = FP_CODE,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_flags = isa->machine == EM_RISCV ? 4 /* floats in D registers */ : 0,
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 1,
    };
    const Elf64_Phdr segment = {.p_type = PT_LOAD,
                                .p_flags = PF_R | PF_W | PF_X,
                                .p_vaddr = BASE,
                                .p_paddr = BASE,
                                .p_filesz = size,
                                .p_memsz = size,
                                .p_align = 4096};

    isa->program(code, w->forms, w->n_forms, w->n, pass);
    g_assert(FP_CODE + code->len <= FP_INPUT);
    uint8_t *elf = g_malloc0(size);
    memcpy(elf, &header, sizeof(header));
    memcpy(elf + sizeof(header), &segment, sizeof(segment));
    memcpy(elf + (FP_CODE - BASE), code->data, code->len);
    put_inputs(w, elf + (FP_INPUT - BASE));
    *image = (struct diff_image){elf, size, FP_CODE, FP_OUTPUT,
                                 (size_t)w->n * w->n_forms * sizeof(struct fp_output)};
}

/* --- comparing -------------------------------------------------------------------------------- */

static void report(const struct work *w, const struct fp_form *form, enum fp_pass pass, int tier,
                   const struct fp_vector *v, const struct fp_output *ours,
                   const struct fp_output *right)
{
    char text[80];

    printf("%s, mode %s%s, %s%d, pass %d:", w->query.function->name, fp_mode_name(w->query.mode),
           w->query.exact ? ", exact" : "", tier == ORACLE ? "oracle " : "tier ", tier, pass);
    for (unsigned i = 0; i < form->n; i++) {
        w->o->isa->disassemble((const uint8_t *)&form->words[i], 4, 0, text, sizeof(text));
        printf(" %s;", text);
    }
    for (unsigned i = 0; i < w->query.function->operands; i++)
        printf(" %#" G_GINT64_MODIFIER "x", v->operand[i]);
    if (form->place == FP_INTEGER)
        printf("\n  gives %#" G_GINT64_MODIFIER "x, TestFloat %#" G_GINT64_MODIFIER "x",
               ours->integer, right->integer);
    else
        printf("\n  gives %016" G_GINT64_MODIFIER "x:%016" G_GINT64_MODIFIER
               "x, TestFloat %016" G_GINT64_MODIFIER "x:%016" G_GINT64_MODIFIER "x",
               ours->vector[1], ours->vector[0], right->vector[1], right->vector[0]);
    printf("; flags %#" G_GINT64_MODIFIER "x, %#" G_GINT64_MODIFIER "x\n", ours->flags,
           right->flags);
}

static bool same(const struct fp_form *form, const struct fp_output *a, const struct fp_output *b)
{
    bool result = form->place == FP_INTEGER
                      ? a->integer == b->integer
                      : a->vector[0] == b->vector[0] && a->vector[1] == b->vector[1];

    return result && a->flags == b->flags;
}

static void compare(struct work *w, enum fp_pass pass, int tier, const struct fp_output *ours)
{
    for (unsigned f = 0; f < w->n_forms; f++)
        for (unsigned i = 0; i < w->n; i++) {
            const struct fp_output *output = &ours[(size_t)f * w->n + i];
            struct fp_output right = {.integer = 0};

            w->o->isa->expect(w->query.function, &w->forms[f], pass, &w->vectors[i], &right);
            if (same(&w->forms[f], output, &right))
                continue;
            w->wrong++;
            if (w->reported[f]++ < REPORTS)
                report(w, &w->forms[f], pass, tier, &w->vectors[i], output, &right);
        }
}

static bool run_on(struct work *w, const struct diff_image *image, enum fp_pass pass, int tier,
                   GError **err)
{
    g_autoptr(GByteArray) output = g_byte_array_new();
    bool ok = tier == ORACLE ? diff_oracle_run(w->o->oracle, image->elf, image->size, output, err)
                             : w->o->isa->run(image, (unsigned)tier, output, err);

    if (!ok)
        return false;
    if (output->len != image->output_size)
        return vmd_fail(err, VMD_ERROR_INTERNAL, "%u bytes came of a program", output->len);
    compare(w, pass, tier, (const struct fp_output *)(const void *)output->data);
    return true;
}

/* --- running ---------------------------------------------------------------------------------- */

static bool run_batch(struct work *w, GError **err)
{
    for (enum fp_pass pass = 0; pass < FP_PASSES; pass++) {
        struct diff_image image;
        bool ok = true;

        make_image(w, pass, &image);
        for (char **tier = w->o->tiers; *tier && ok; tier++)
            ok = run_on(w, &image, pass, atoi(*tier), err);
        if (ok && w->o->use_oracle)
            ok = run_on(w, &image, pass, ORACLE, err);
        g_free((void *)image.elf);
        if (!ok)
            return false;
    }
    return true;
}

/* All vectors of a function in a mode; DONE grows by their number. */
static bool run_vectors(struct work *w, uint64_t *done, GError **err)
{
    struct fp_stream *stream = fp_stream_open(&w->query, err);
    uint64_t before = *done, most = w->o->most ? (uint64_t)w->o->most : UINT64_MAX;
    bool ok = stream != NULL;
    int n = 1;

    while (ok && n && *done - before < most) {
        n = fp_stream_read(stream, w->vectors, (unsigned)MIN(FP_BATCH, most - (*done - before)),
                           err);
        w->n = n > 0 ? (unsigned)n : 0;
        ok = n >= 0 && (!n || run_batch(w, err));
        *done += w->n;
    }
    if (stream && (!ok || n)) /* it was not read to its end, and may say so */
        fp_stream_close(stream, NULL);
    else if (stream)
        ok = fp_stream_close(stream, err);
    if (ok && *done == before)
        ok = vmd_fail(err, VMD_ERROR_INVALID, "no vectors of %s came", w->query.function->name);
    return ok;
}

/* 0 where all is equal, 1 where something differs or ERR was printed. */
static int run_function(const struct options *o, const struct fp_function *f)
{
    g_autofree struct work *w = g_new(struct work, 1);
    uint64_t vectors = 0, runs = 0, wrong = 0;

    for (unsigned i = 0; i < 2 * FP_MODES; i++) {
        g_autoptr(GError) err = NULL;
        uint64_t before = vectors;

        memset(w, 0, sizeof(*w));
        w->o = o;
        w->query = (struct fp_query){o->testfloat, f,     (unsigned)o->level,
                                     i / 2,        i & 1, o->isa->tininess_before};
        w->n_forms = o->isa->forms(f, w->query.mode, w->query.exact, w->forms);
        if (!w->n_forms)
            continue;
        if (!run_vectors(w, &vectors, &err)) {
            printf("%s, mode %s: %s\n", f->name, fp_mode_name(w->query.mode), err->message);
            return 1;
        }
        runs +=
            (vectors - before) * w->n_forms * FP_PASSES * (g_strv_length(o->tiers) + o->use_oracle);
        wrong += w->wrong;
    }
    if (!vectors) { /* an error where it was asked for */
        printf("%s: no instruction computes it\n", f->name);
        return o->functions != NULL;
    }
    printf("%s: %" G_GUINT64_FORMAT " vectors, %" G_GUINT64_FORMAT " runs, ", f->name, vectors,
           runs);
    if (wrong)
        printf("%" G_GUINT64_FORMAT " differ\n", wrong);
    else
        printf("all equal\n");
    fflush(stdout);
    return wrong > 0;
}

static bool chosen(const struct options *o, const char *name)
{
    return (!o->functions || g_strv_contains((const char *const *)o->functions, name)) &&
           !(o->excluded && g_strv_contains((const char *const *)o->excluded, name));
}

static bool names_exist(char **names, GError **err)
{
    for (; names && *names; names++) {
        unsigned i = 0;

        while (fp_function(i) && strcmp(fp_function(i)->name, *names))
            i++;
        if (!fp_function(i))
            return vmd_fail(err, VMD_ERROR_INVALID, "%s is no function that can be compared",
                            *names);
    }
    return true;
}

static bool settle(struct options *o, GError **err)
{
    static char *default_tiers[] = {(char *)"0", (char *)"1", NULL};

    o->isa = !g_strcmp0(o->arch, fp_a64.name)  ? &fp_a64
             : !g_strcmp0(o->arch, fp_rv.name) ? &fp_rv
                                               : NULL;
    if (!o->testfloat || !o->isa || o->level < 1 || o->level > 2)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "--testfloat is needed, --arch is aarch64 or riscv64, --level 1 or 2");
    if (!o->tiers)
        o->tiers = g_strdupv(default_tiers);
    o->oracle = diff_oracle_new(o->qemu ? o->qemu : o->isa->qemu, o->isa->cpu);
    return names_exist(o->functions, err) && names_exist(o->excluded, err);
}

int main(int argc, char **argv)
{
    struct options o = {.level = 1};
    const GOptionEntry entries[] = {
        {"testfloat", 0, 0, G_OPTION_ARG_FILENAME, &o.testfloat, "testfloat_gen", "PROGRAM"},
        {"arch", 0, 0, G_OPTION_ARG_STRING, &o.arch, "aarch64 or riscv64", "NAME"},
        {"tier", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.tiers, "0 and 1 unless it is given", "N"},
        {"oracle", 0, 0, G_OPTION_ARG_NONE, &o.use_oracle, "QEMU's user mode, too", NULL},
        {"qemu", 0, 0, G_OPTION_ARG_STRING, &o.qemu, "the oracle", "PROGRAM"},
        {"level", 0, 0, G_OPTION_ARG_INT, &o.level, "TestFloat's, 1 unless it is given", "N"},
        {"most", 0, 0, G_OPTION_ARG_INT64, &o.most, "vectors a function and mode", "N"},
        {"function", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.functions, "this one only", "NAME"},
        {"exclude", 0, 0, G_OPTION_ARG_STRING_ARRAY, &o.excluded, "not this one", "NAME"},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- floating point against TestFloat");
    g_autoptr(GError) err = NULL;
    int failed = 0;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err) || !settle(&o, &err)) {
        fprintf(stderr, "%s\n", err->message);
        return 2;
    }
    /* What one batch frees is there for the next, without a page fault a page. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    for (unsigned i = 0; fp_function(i); i++)
        if (chosen(&o, fp_function(i)->name))
            failed |= run_function(&o, fp_function(i));
    diff_oracle_free(o.oracle);
    g_strfreev(o.functions);
    g_strfreev(o.excluded);
    g_strfreev(o.tiers);
    g_free(o.testfloat);
    g_free(o.arch);
    g_free(o.qemu);
    return failed;
}
