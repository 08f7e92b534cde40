/*
 * tests/diff/fp_rv.c: the forms of riscv64: F and D, with the mode in frm and in the instruction.
 */
#include "tests/diff/fp_diff.h"
#include "tests/diff/rv_machine.h"
#include "xlate/front/riscv64/rv_disasm.h"

#include <elf.h>

enum { RM_DYN = 7 << 12, DOUBLE = 1 << 25 };

/* frm by TestFloat's modes; none rounds to odd. */
static const uint8_t frm[FP_MODES] = {0, 1, 2, 3, 4, 5};

struct row {
    const char *function; /* "_add": of f32, and of f64 with its format set */
    enum fp_place place;
    unsigned flags;
    uint32_t words[FP_FORM_WORDS];
};

enum { FNEG_0 = 0x20001053, FNEG_2 = 0x20211153 };

static const struct row rows[] = {
    {"_add", FP_SCALAR, 0, {0x001001d3}},
    {"_sub", FP_SCALAR, 0, {0x081001d3}},
    {"_mul", FP_SCALAR, 0, {0x101001d3}},
    {"_div", FP_SCALAR, 0, {0x181001d3}},
    {"_sqrt", FP_SCALAR, 0, {0x580001d3}},
    {"_mulAdd", FP_SCALAR, 0, {0x101001c3}},
    {"_mulAdd", FP_SCALAR, 0, {FNEG_2, 0x101001c7}},         /* fmsub */
    {"_mulAdd", FP_SCALAR, 0, {FNEG_0, 0x101001cb}},         /* fnmsub */
    {"_mulAdd", FP_SCALAR, 0, {FNEG_0, FNEG_2, 0x101001cf}}, /* fnmadd */
    {"_eq", FP_INTEGER, FP_NO_ROUND, {0xa01027d3}},
    {"_lt", FP_INTEGER, FP_NO_ROUND, {0xa01017d3}},
    {"_le", FP_INTEGER, FP_NO_ROUND, {0xa01007d3}},
    {"_to_i32", FP_INTEGER, 0, {0xc00007d3}},
    {"_to_ui32", FP_INTEGER, 0, {0xc01007d3}},
    {"_to_i64", FP_INTEGER, 0, {0xc02007d3}},
    {"_to_ui64", FP_INTEGER, 0, {0xc03007d3}},
    {"i32_to_f32", FP_SCALAR, 0, {0xd00701d3}},
    {"ui32_to_f32", FP_SCALAR, 0, {0xd01701d3}},
    {"i64_to_f32", FP_SCALAR, 0, {0xd02701d3}},
    {"ui64_to_f32", FP_SCALAR, 0, {0xd03701d3}},
    {"i32_to_f64", FP_SCALAR, FP_NO_ROUND, {0xd20701d3}},
    {"ui32_to_f64", FP_SCALAR, FP_NO_ROUND, {0xd21701d3}},
    {"i64_to_f64", FP_SCALAR, 0, {0xd22701d3}},
    {"ui64_to_f64", FP_SCALAR, 0, {0xd23701d3}},
    {"f32_to_f64", FP_SCALAR, FP_NO_ROUND, {0x420001d3}},
    {"f64_to_f32", FP_SCALAR, 0, {0x401001d3}},
};

/* --- forms ------------------------------------------------------------------------------------ */

/* The rounding mode is the last word's; the words before it negate operands. */
static void fill(struct fp_form *form, const struct row *r, const struct fp_function *f,
                 unsigned rm)
{
    bool wide = r->function[0] == '_' && f->from == FP_F64;

    form->from = f->from;
    form->place = r->place;
    form->flags = r->flags;
    for (form->n = 0; form->n < FP_FORM_WORDS && r->words[form->n]; form->n++)
        form->words[form->n] = r->words[form->n] | (wide ? DOUBLE : 0);
    form->words[form->n - 1] |= rm;
}

static unsigned rv_forms(const struct fp_function *f, enum fp_mode mode, bool exact,
                         struct fp_form forms[FP_FORMS_MAX])
{
    bool to_integer = f->to == FP_I32 || f->to == FP_U32 || f->to == FP_I64 || f->to == FP_U64;
    unsigned n = 0;

    if (mode == FP_ODD || exact != to_integer)
        return 0;
    for (const struct row *r = rows; r < rows + G_N_ELEMENTS(rows); r++) {
        bool rounds = !(r->flags & FP_NO_ROUND);

        if (strcmp(r->function, f->name + (r->function[0] == '_' ? 3 : 0)) ||
            (!rounds && mode != FP_EVEN))
            continue;
        forms[n].control = frm[mode];
        fill(&forms[n++], r, f, rounds ? RM_DYN : 0);
        if (!rounds)
            continue;
        forms[n].control = (frm[mode] + 1u) % 5; /* is not the one that is used */
        fill(&forms[n++], r, f, (unsigned)frm[mode] << 12);
    }
    return n;
}

/* --- the program ------------------------------------------------------------------------------ */

enum { A0 = 10, A1, A2, A3, A7 = 17, T2 = 7, T3 = 28 };

static void put_constant(GByteArray *code, unsigned rd, uint64_t value)
{
    uint32_t high = ((uint32_t)value + 0x800) & 0xfffff000;

    fp_put(code, 0x37 | rd << 7 | high);
    fp_put(code, 0x1b | rd << 7 | rd << 15 | ((uint32_t)value - high) << 20); /* addiw */
}

static void put_system_call(GByteArray *code, unsigned number)
{
    put_constant(code, A7, number);
    fp_put(code, 0x73);
}

/* bnez a3 back to START. */
static void put_branch(GByteArray *code, unsigned start)
{
    uint32_t by = start - code->len;

    fp_put(code, 0x00069063 | (by >> 12 & 1) << 31 | (by >> 5 & 63) << 25 | (by >> 1 & 15) << 8 |
                     (by >> 11 & 1) << 7);
}

static void put_loop(GByteArray *code, const struct fp_form *form, bool wide)
{
    unsigned start = code->len, width = wide ? 3 << 12 : 2 << 12;

    fp_put(code, 0x00058007 | width); /* fl[wd] f0, 0(a1) */
    fp_put(code, 0x01058087 | width); /* fl[wd] f1, 16(a1) */
    fp_put(code, 0x02058107 | width); /* fl[wd] f2, 32(a1) */
    fp_put(code, 0x0005b703);         /* ld a4, 0(a1) */
    fp_put(code, 0x00139073);         /* csrw fflags, t2 */
    for (unsigned i = 0; i < form->n; i++)
        fp_put(code, form->words[i]);
    fp_put(code, 0x00102873); /* csrr a6, fflags */
    fp_put(code, 0x00363027); /* fsd f3, 0(a2) */
    fp_put(code, 0x00f63823); /* sd a5, 16(a2) */
    fp_put(code, 0x01063c23); /* sd a6, 24(a2) */
    fp_put(code, 0x03058593); /* addi a1, a1, 48 */
    fp_put(code, 0x02060613); /* addi a2, a2, 32 */
    fp_put(code, 0xfff68693); /* addi a3, a3, -1 */
    put_branch(code, start);
}

static void rv_program(GByteArray *code, const struct fp_form *forms, unsigned n_forms, unsigned n,
                       enum fp_pass pass)
{
    put_constant(code, A2, FP_OUTPUT);
    put_constant(code, T2, pass == FP_PASS_SET ? 0x1f : 0);
    for (unsigned i = 0; i < n_forms; i++) {
        put_constant(code, T3, forms[i].control);
        fp_put(code, 0x002e1073); /* csrw frm, t3 */
        put_constant(code, A1, FP_INPUT);
        put_constant(code, A3, n);
        put_loop(code, &forms[i], forms[i].from == FP_F64);
    }
    put_constant(code, A0, 1);
    put_constant(code, A1, FP_OUTPUT);
    put_constant(code, A2, n * n_forms * sizeof(struct fp_output));
    put_system_call(code, 64);
    put_constant(code, A0, 0);
    put_system_call(code, 93);
}

/* --- what is right ---------------------------------------------------------------------------- */

static void rv_expect(const struct fp_function *f, const struct fp_form *form, enum fp_pass pass,
                      const struct fp_vector *v, struct fp_output *out)
{
    out->flags = v->flags | (pass == FP_PASS_SET ? 0x1f : 0);
    if (form->place == FP_INTEGER)
        out->integer =
            f->to == FP_I32 || f->to == FP_U32 ? (uint64_t)(int64_t)(int32_t)v->result : v->result;
    else
        out->vector[0] = f->to == FP_F32 ? v->result | UINT64_C(0xffffffff00000000) : v->result;
}

const struct fp_isa fp_rv = {
    .name = "riscv64",
    .qemu = "qemu-riscv64-static",
    .cpu = "rv64",
    .machine = EM_RISCV,
    .forms = rv_forms,
    .program = rv_program,
    .expect = rv_expect,
    .run = rv_machine_run,
    .disassemble = rv_disassemble,
};
