/*
 * tests/diff/fp_vectors.c: see fp_vectors.h. A line has the operands, the result and the flags, in
 * hexadecimal.
 */
#include "tests/diff/fp_vectors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct fp_function functions[] = {
#define OF(f, F)                                                                                   \
    {#f "_add", F, F, 2}, {#f "_sub", F, F, 2}, {#f "_mul", F, F, 2}, {#f "_div", F, F, 2},        \
        {#f "_sqrt", F, F, 1}, {#f "_mulAdd", F, F, 3}, {#f "_roundToInt", F, F, 1},               \
        {#f "_eq", F, FP_BOOL, 2}, {#f "_eq_signaling", F, FP_BOOL, 2}, {#f "_lt", F, FP_BOOL, 2}, \
        {#f "_lt_quiet", F, FP_BOOL, 2}, {#f "_le", F, FP_BOOL, 2},                                \
        {#f "_le_quiet", F, FP_BOOL, 2}, {#f "_to_i32", F, FP_I32, 1},                             \
        {#f "_to_ui32", F, FP_U32, 1}, {#f "_to_i64", F, FP_I64, 1},                               \
        {#f "_to_ui64", F, FP_U64, 1}, {"i32_to_" #f, FP_I32, F, 1},                               \
        {"ui32_to_" #f, FP_U32, F, 1}, {"i64_to_" #f, FP_I64, F, 1},                               \
    {                                                                                              \
        "ui64_to_" #f, FP_U64, F, 1                                                                \
    }
    OF(f32, FP_F32),
    OF(f64, FP_F64),
#undef OF
    {"f16_to_f32", FP_F16, FP_F32, 1},
    {"f16_to_f64", FP_F16, FP_F64, 1},
    {"f32_to_f16", FP_F32, FP_F16, 1},
    {"f64_to_f16", FP_F64, FP_F16, 1},
    {"f32_to_f64", FP_F32, FP_F64, 1},
    {"f64_to_f32", FP_F64, FP_F32, 1},
};

static const char *const mode_names[FP_MODES] = {
    "near_even", "minMag", "min", "max", "near_maxMag", "odd",
};

struct fp_stream {
    FILE *pipe;
    const struct fp_function *function;
};

const struct fp_function *fp_function(unsigned index)
{
    return index < G_N_ELEMENTS(functions) ? &functions[index] : NULL;
}

unsigned fp_kind_bits(enum fp_kind kind)
{
    static const uint8_t bits[] = {16, 32, 64, 32, 32, 64, 64, 1};

    return bits[kind];
}

const char *fp_mode_name(enum fp_mode mode)
{
    return mode_names[mode];
}

struct fp_stream *fp_stream_open(const struct fp_query *q, GError **err)
{
    g_autofree char *program = g_shell_quote(q->program);
    g_autofree char *command = g_strdup_printf(
        "%s -level %u -r%s %s %s %s", program, q->level, mode_names[q->mode],
        q->exact ? "-exact" : "-notexact",
        q->tininess_before ? "-tininessbefore" : "-tininessafter", q->function->name);
    FILE *pipe = popen(command, "re");

    if (!pipe) {
        vmd_fail(err, VMD_ERROR_INTERNAL, "%s: %s", command, g_strerror(errno));
        return NULL;
    }
    struct fp_stream *stream = g_new0(struct fp_stream, 1);
    *stream = (struct fp_stream){pipe, q->function};
    return stream;
}

/* LINE's next number, of BITS at most. */
static bool number(const char **line, unsigned bits, uint64_t *value)
{
    const char *p = *line;
    unsigned digits = 0;

    for (*value = 0; g_ascii_isxdigit(*p); p++, digits++)
        *value = *value << 4 | (uint64_t)g_ascii_xdigit_value(*p);
    bool ok =
        digits && digits <= 16 && (bits == 64 || !(*value >> bits)) && (*p == ' ' || *p == '\n');
    *line = p + 1;
    return ok;
}

static bool parse(const struct fp_function *f, const char *line, struct fp_vector *v)
{
    uint64_t flags;

    *v = (struct fp_vector){.result = 0};
    for (unsigned i = 0; i < f->operands; i++)
        if (!number(&line, fp_kind_bits(f->from), &v->operand[i]))
            return false;
    if (!number(&line, fp_kind_bits(f->to), &v->result) || !number(&line, 5, &flags))
        return false;
    v->flags = (unsigned)flags;
    return !*line;
}

int fp_stream_read(struct fp_stream *s, struct fp_vector *vectors, unsigned most, GError **err)
{
    unsigned n = 0;
    char line[96];

    for (; n < most && fgets(line, sizeof(line), s->pipe); n++)
        if (!parse(s->function, line, &vectors[n])) {
            vmd_fail(err, VMD_ERROR_INVALID, "%s: not a vector: %s", s->function->name, line);
            return -1;
        }
    return (int)n;
}

bool fp_stream_close(struct fp_stream *s, GError **err)
{
    const char *name = s->function->name;
    int status = pclose(s->pipe);

    g_free(s);
    return !status || vmd_fail(err, VMD_ERROR_INTERNAL, "testfloat_gen ended with status %#x at %s",
                               (unsigned)status, name);
}
