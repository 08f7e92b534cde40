/*
 * tests/diff/fp_a64.c: the forms of A64.
 *
 * Where the architecture and SoftFloat's ARM-VFPv2 part: of three operands of which some are NaNs,
 * SoftFloat takes the factors before the addend, A64 the addend first (FPProcessNaNs3 of FPMulAdd).
 */
#include "tests/diff/a64_machine.h"
#include "tests/diff/fp_diff.h"
#include "xlate/front/aarch64/a64_disasm.h"

#include <elf.h>

enum { DN = 1u << 25 };

/* FPCR.RMode by TestFloat's modes; what it has not is in the instruction. */
static const uint8_t rmode[FP_MODES] = {0, 3, 2, 1, 0, 0};

enum { DYN = 1 << FP_EVEN | 1 << FP_ZERO | 1 << FP_DOWN | 1 << FP_UP, ONCE = 1 << FP_EVEN };

struct row {
    const char *function; /* "_add": of f32, and of f64 with bit 22 of the vector words set */
    unsigned modes;       /* 1 << fp_mode each */
    enum fp_place place;
    unsigned flags;
    uint32_t words[FP_FORM_WORDS];
};

enum { FNEG_0 = 0x1e214000, FNEG_2 = 0x1e214042, FNEG_3 = 0x1e214063, FNEG_0_V = 0x6ea0f800 };
enum { ZIP_4 = 0x4e813804 /* v4 = v0 and v1, lane by lane */ };
enum { CSET_EQ = 0x9a9f17e5, CSET_MI = 0x9a9f57e5, CSET_LS = 0x9a9f87e5 };
enum { FCMP = 0x1e212000, FCMPE = 0x1e212010, FCCMP = 0x1e21e400, FCCMPE = 0x1e21e410 };

#define MODE(m) (1u << (m))

/* Conversions to integers: general registers' word, vector registers' word, without sign bits. */
#define TO_INT(mode, general, vector)                                                              \
    {"_to_i32", MODE(mode), FP_INTEGER, 0, {(general)}},                                           \
    {"_to_ui32", MODE(mode), FP_INTEGER, 0, {(general) | 1 << 16}},                                \
    {"_to_i64", MODE(mode), FP_INTEGER, 0, {(general) | 1u << 31}},                                \
    {"_to_ui64", MODE(mode), FP_INTEGER, 0, {(general) | 1u << 31 | 1 << 16}},                     \
    {"f32_to_i32", MODE(mode), FP_SCALAR, 0, {(vector) | 1u << 28}},                               \
    {"f32_to_i32", MODE(mode), FP_LANES, 0, {(vector)}},                                           \
    {"f32_to_ui32", MODE(mode), FP_SCALAR, 0, {(vector) | 1u << 28 | 1u << 29}},                   \
    {"f32_to_ui32", MODE(mode), FP_LANES, 0, {(vector) | 1u << 29}},                               \
    {"f64_to_i64", MODE(mode), FP_SCALAR, 0, {(vector) | 1u << 28 | 1u << 22}},                    \
    {"f64_to_i64", MODE(mode), FP_LANES, 0, {(vector) | 1u << 22}},                                \
    {"f64_to_ui64", MODE(mode), FP_SCALAR, 0, {(vector) | 1u << 28 | 1u << 29 | 1u << 22}},        \
    {"f64_to_ui64", MODE(mode), FP_LANES, 0, {(vector) | 1u << 29 | 1u << 22}}

static const struct row rows[] = {
    {"_add", DYN, FP_SCALAR, 0, {0x1e212803}},
    {"_add", DYN, FP_LANES, 0, {0x4e21d403}},
    {"_add", DYN, FP_SCALAR, 0, {ZIP_4, 0x7e30d883}}, /* faddp */
    {"_add", DYN, FP_LANES, 0, {ZIP_4, 0x6e24d483}},
    {"_sub", DYN, FP_SCALAR, 0, {0x1e213803}},
    {"_sub", DYN, FP_LANES, 0, {0x4ea1d403}},
    {"_sub", DYN, FP_SCALAR, FP_ABSOLUTE, {0x7ea1d403}}, /* fabd */
    {"_sub", DYN, FP_LANES, FP_ABSOLUTE, {0x6ea1d403}},
    {"_mul", DYN, FP_SCALAR, 0, {0x1e210803}},
    {"_mul", DYN, FP_SCALAR, 0, {0x1e218803, FNEG_3}}, /* fnmul */
    {"_mul", DYN, FP_LANES, 0, {0x6e21dc03}},
    {"_mul", DYN, FP_SCALAR, 0, {0x5f819803}}, /* by element */
    {"_mul", DYN, FP_LANES, 0, {0x4f819803}},
    {"_div", DYN, FP_SCALAR, 0, {0x1e211803}},
    {"_div", DYN, FP_LANES, 0, {0x6e21fc03}},
    {"_sqrt", DYN, FP_SCALAR, 0, {0x1e21c003}},
    {"_sqrt", DYN, FP_LANES, 0, {0x6ea1f803}},
    {"_mulAdd", DYN, FP_SCALAR, 0, {0x1f010803}},
    {"_mulAdd", DYN, FP_SCALAR, 0, {FNEG_0, 0x1f018803}},         /* fmsub */
    {"_mulAdd", DYN, FP_SCALAR, 0, {FNEG_2, 0x1f218803}},         /* fnmsub */
    {"_mulAdd", DYN, FP_SCALAR, 0, {FNEG_0, FNEG_2, 0x1f210803}}, /* fnmadd */
    {"_mulAdd", DYN, FP_LANES, 0, {0x4e21cc03}},
    {"_mulAdd", DYN, FP_LANES, 0, {FNEG_0_V, 0x4ea1cc03}}, /* fmls */
    {"_mulAdd", DYN, FP_LANES, 0, {0x4f811803}},           /* by element */
    {"_mulAdd", DYN, FP_SCALAR, 0, {0x5f811803}},

    {"_eq", ONCE, FP_INTEGER, 0, {FCMP, CSET_EQ}},
    {"_eq", ONCE, FP_INTEGER, 0, {FCCMP, CSET_EQ}},
    {"_eq", ONCE, FP_SCALAR, FP_MASK, {0x5e21e403}},
    {"_eq", ONCE, FP_LANES, FP_MASK, {0x4e21e403}},
    {"_eq_signaling", ONCE, FP_INTEGER, 0, {FCMPE, CSET_EQ}},
    {"_eq_signaling", ONCE, FP_INTEGER, 0, {FCCMPE, CSET_EQ}},
    {"_lt", ONCE, FP_INTEGER, 0, {FCMPE, CSET_MI}},
    {"_lt", ONCE, FP_SCALAR, FP_MASK, {0x7ea0e423}}, /* fcmgt */
    {"_lt", ONCE, FP_LANES, FP_MASK, {0x6ea0e423}},
    {"_lt_quiet", ONCE, FP_INTEGER, 0, {FCMP, CSET_MI}},
    {"_lt_quiet", ONCE, FP_INTEGER, 0, {FCCMP, CSET_MI}},
    {"_le", ONCE, FP_INTEGER, 0, {FCMPE, CSET_LS}},
    {"_le", ONCE, FP_SCALAR, FP_MASK, {0x7e20e423}}, /* fcmge */
    {"_le", ONCE, FP_LANES, FP_MASK, {0x6e20e423}},
    {"_le_quiet", ONCE, FP_INTEGER, 0, {FCMP, CSET_LS}},

    TO_INT(FP_EVEN, 0x1e200005, 0x4e21a803),
    TO_INT(FP_UP, 0x1e280005, 0x4ea1a803),
    TO_INT(FP_DOWN, 0x1e300005, 0x4e21b803),
    TO_INT(FP_ZERO, 0x1e380005, 0x4ea1b803),
    TO_INT(FP_AWAY, 0x1e240005, 0x4e21c803),

    {"i32_to_f32", DYN, FP_SCALAR, 0, {0x1e220083}},
    {"i32_to_f32", DYN, FP_SCALAR, 0, {0x5e21d803}},
    {"i32_to_f32", DYN, FP_LANES, 0, {0x4e21d803}},
    {"ui32_to_f32", DYN, FP_SCALAR, 0, {0x1e230083}},
    {"ui32_to_f32", DYN, FP_SCALAR, 0, {0x7e21d803}},
    {"ui32_to_f32", DYN, FP_LANES, 0, {0x6e21d803}},
    {"i64_to_f32", DYN, FP_SCALAR, 0, {0x9e220083}},
    {"ui64_to_f32", DYN, FP_SCALAR, 0, {0x9e230083}},
    {"i32_to_f64", ONCE, FP_SCALAR, 0, {0x1e620083}},
    {"ui32_to_f64", ONCE, FP_SCALAR, 0, {0x1e630083}},
    {"i64_to_f64", DYN, FP_SCALAR, 0, {0x9e620083}},
    {"i64_to_f64", DYN, FP_SCALAR, 0, {0x5e61d803}},
    {"i64_to_f64", DYN, FP_LANES, 0, {0x4e61d803}},
    {"ui64_to_f64", DYN, FP_SCALAR, 0, {0x9e630083}},
    {"ui64_to_f64", DYN, FP_SCALAR, 0, {0x7e61d803}},
    {"ui64_to_f64", DYN, FP_LANES, 0, {0x6e61d803}},

    {"f16_to_f32", ONCE, FP_SCALAR, 0, {0x1ee24003}},
    {"f16_to_f32", ONCE, FP_LANES, 0, {0x0e217803}}, /* fcvtl, fcvtl2 */
    {"f16_to_f32", ONCE, FP_LANES, 0, {0x4e217803}},
    {"f16_to_f64", ONCE, FP_SCALAR, 0, {0x1ee2c003}},
    {"f32_to_f16", DYN, FP_SCALAR, 0, {0x1e23c003}},
    {"f32_to_f16", DYN, FP_LOW, 0, {0x0e216803}}, /* fcvtn, and with fcvtn2 */
    {"f32_to_f16", DYN, FP_LANES, 0, {0x0e216803, 0x4e216803}},
    {"f64_to_f16", DYN, FP_SCALAR, 0, {0x1e63c003}},
    {"f32_to_f64", ONCE, FP_SCALAR, 0, {0x1e22c003}},
    {"f32_to_f64", ONCE, FP_LANES, 0, {0x0e617803}},
    {"f32_to_f64", ONCE, FP_LANES, 0, {0x4e617803}},
    {"f64_to_f32", DYN, FP_SCALAR, 0, {0x1e624003}},
    {"f64_to_f32", DYN, FP_LOW, 0, {0x0e616803}},
    {"f64_to_f32", DYN, FP_LANES, 0, {0x0e616803, 0x4e616803}},
    {"f64_to_f32", MODE(FP_ODD), FP_SCALAR, 0, {0x7e616803}}, /* fcvtxn */
    {"f64_to_f32", MODE(FP_ODD), FP_LOW, 0, {0x2e616803}},
    {"f64_to_f32", MODE(FP_ODD), FP_LANES, 0, {0x2e616803, 0x6e616803}},
};

/* frint.: what is exact in TestFloat's words raises inexact. */
static const struct row integral[] = {
    {"_roundToInt", MODE(FP_EVEN), FP_SCALAR, 0, {0x1e244003}}, /* frintn */
    {"_roundToInt", MODE(FP_EVEN), FP_LANES, 0, {0x4e218803}},
    {"_roundToInt", MODE(FP_UP), FP_SCALAR, 0, {0x1e24c003}},
    {"_roundToInt", MODE(FP_UP), FP_LANES, 0, {0x4ea18803}},
    {"_roundToInt", MODE(FP_DOWN), FP_SCALAR, 0, {0x1e254003}},
    {"_roundToInt", MODE(FP_DOWN), FP_LANES, 0, {0x4e219803}},
    {"_roundToInt", MODE(FP_ZERO), FP_SCALAR, 0, {0x1e25c003}},
    {"_roundToInt", MODE(FP_ZERO), FP_LANES, 0, {0x4ea19803}},
    {"_roundToInt", MODE(FP_AWAY), FP_SCALAR, 0, {0x1e264003}},
    {"_roundToInt", MODE(FP_AWAY), FP_LANES, 0, {0x6e218803}},
    {"_roundToInt", DYN, FP_SCALAR, 0, {0x1e27c003}}, /* frinti */
    {"_roundToInt", DYN, FP_LANES, 0, {0x6ea19803}},
};
static const struct row integral_exact[] = {
    {"_roundToInt", DYN, FP_SCALAR, 0, {0x1e274003}}, /* frintx */
    {"_roundToInt", DYN, FP_LANES, 0, {0x6e219803}},
};

/* --- forms ------------------------------------------------------------------------------------ */

/* A word of ROW for FUNCTION: bit 22 is the format's in rows of two formats, in A64's encodings of
 * SIMD and floating point. */
static uint32_t word_for(const struct row *row, const struct fp_function *f, uint32_t word)
{
    bool wide = row->function[0] == '_' && f->from == FP_F64;

    return wide && (word >> 25 & 7) == 7 ? word | 1u << 22 : word;
}

static unsigned choose(const struct row *table, unsigned n, const struct fp_function *f,
                       enum fp_mode mode, struct fp_form *forms)
{
    unsigned found = 0;

    for (const struct row *r = table; r < table + n; r++) {
        if (strcmp(r->function, f->name + (r->function[0] == '_' ? 3 : 0)) ||
            !(r->modes >> mode & 1))
            continue;
        g_assert(found < FP_FORMS_MAX);
        struct fp_form *form = &forms[found++];
        /* An instruction that has its own mode gets another one in FPCR. */
        *form = (struct fp_form){.from = f->from, .place = r->place, .flags = r->flags,
                                 .control = r->modes == DYN ? rmode[mode] : (rmode[mode] + 1u) & 3};
        while (form->n < FP_FORM_WORDS && r->words[form->n]) {
            form->words[form->n] = word_for(r, f, r->words[form->n]);
            form->n++;
        }
    }
    return found;
}

static unsigned a64_forms(const struct fp_function *f, enum fp_mode mode, bool exact,
                          struct fp_form forms[FP_FORMS_MAX])
{
    bool to_integer = f->to == FP_I32 || f->to == FP_U32 || f->to == FP_I64 || f->to == FP_U64;

    if (g_str_has_suffix(f->name, "_roundToInt"))
        return exact ? choose(integral_exact, G_N_ELEMENTS(integral_exact), f, mode, forms)
                     : choose(integral, G_N_ELEMENTS(integral), f, mode, forms);
    return exact == to_integer ? choose(rows, G_N_ELEMENTS(rows), f, mode, forms) : 0;
}

/* --- the program ------------------------------------------------------------------------------ */

static void put_constant(GByteArray *code, unsigned rd, uint64_t value)
{
    fp_put(code, 0xd2800000 | (uint32_t)(value & 0xffff) << 5 | rd);
    fp_put(code, 0xf2a00000 | (uint32_t)(value >> 16 & 0xffff) << 5 | rd);
}

static void put_system_call(GByteArray *code, unsigned number)
{
    put_constant(code, 8, number);
    fp_put(code, 0xd4000001);
}

static void put_loop(GByteArray *code, const struct fp_form *form)
{
    unsigned start = code->len;

    fp_put(code, 0xad400420); /* ldp q0, q1, [x1] */
    fp_put(code, 0x3dc00822); /* ldr q2, [x1, #32] */
    fp_put(code, 0xf8430424); /* ldr x4, [x1], #48 */
    fp_put(code, 0x4ea21c43); /* mov v3, v2 */
    fp_put(code, 0xd51b4427); /* msr fpsr, x7 */
    for (unsigned i = 0; i < form->n; i++)
        fp_put(code, form->words[i]);
    fp_put(code, 0xd53b4426); /* mrs x6, fpsr */
    fp_put(code, 0x3c820443); /* str q3, [x2], #32 */
    fp_put(code, 0xa93f1845); /* stp x5, x6, [x2, #-16] */
    fp_put(code, 0xf1000463); /* subs x3, x3, #1 */
    fp_put(code, 0x54000001 | ((0u - (code->len - start) / 4) & 0x7ffff) << 5); /* b.ne */
}

static void a64_program(GByteArray *code, const struct fp_form *forms, unsigned n_forms, unsigned n,
                        enum fp_pass pass)
{
    put_constant(code, 2, FP_OUTPUT);
    put_constant(code, 7, pass == FP_PASS_SET ? 0x1f : 0);
    for (unsigned i = 0; i < n_forms; i++) {
        put_constant(code, 9, forms[i].control << 22 | (pass == FP_PASS_SET ? DN : 0));
        fp_put(code, 0xd51b4409); /* msr fpcr, x9 */
        put_constant(code, 1, FP_INPUT);
        put_constant(code, 3, n);
        put_loop(code, &forms[i]);
    }
    put_constant(code, 0, 1);
    put_constant(code, 1, FP_OUTPUT);
    put_constant(code, 2, n * n_forms * sizeof(struct fp_output));
    put_system_call(code, 64);
    put_constant(code, 0, 0);
    put_system_call(code, 93);
}

/* --- what is right ---------------------------------------------------------------------------- */

static uint64_t quiet_bit(enum fp_kind kind)
{
    return kind == FP_F16 ? 1u << 9 : kind == FP_F32 ? 1u << 22 : UINT64_C(1) << 51;
}

static uint64_t default_nan(enum fp_kind kind)
{
    return kind == FP_F16 ? 0x7e00 : kind == FP_F32 ? 0x7fc00000 : UINT64_C(0x7ff8000000000000);
}

static bool is_infinity(enum fp_kind kind, uint64_t v)
{
    uint64_t most = UINT64_MAX >> (64 - fp_kind_bits(kind)) >> 1; /* all but the sign */

    return (v & most) == (default_nan(kind) ^ quiet_bit(kind));
}

/* FPMulAdd's NaN: infinity times zero plus a quiet NaN is the default one; else the first
 * signalling one of addend and factors, else the first quiet one. */
static uint64_t three_nans(enum fp_kind kind, const uint64_t operand[3])
{
    static const uint8_t order[] = {2, 0, 1};
    uint64_t sign = UINT64_C(1) << (fp_kind_bits(kind) - 1), quiet = quiet_bit(kind);
    bool invalid = (is_infinity(kind, operand[0]) && !(operand[1] & ~sign)) ||
                   (is_infinity(kind, operand[1]) && !(operand[0] & ~sign));

    for (unsigned i = 0; i < 3; i++)
        if (fp_is_nan(kind, operand[order[i]]) && !(operand[order[i]] & quiet))
            return operand[order[i]] | quiet;
    for (unsigned i = 0; i < 3 && !invalid; i++)
        if (fp_is_nan(kind, operand[order[i]]))
            return operand[order[i]];
    return default_nan(kind);
}

/* FPSR has TestFloat's flags the other way round. */
static uint64_t reversed(unsigned flags)
{
    return (flags & 1) << 4 | (flags & 2) << 2 | (flags & 4) | (flags & 8) >> 2 | (flags & 16) >> 4;
}

static void a64_expect(const struct fp_function *f, const struct fp_form *form, enum fp_pass pass,
                       const struct fp_vector *v, struct fp_output *out)
{
    enum fp_kind kind = form->flags & FP_MASK ? f->from : f->to;
    unsigned bits = fp_kind_bits(kind);
    uint64_t value = v->result;

    if (f->to <= FP_F64 && fp_is_nan(f->to, value)) {
        value = f->operands == 3 ? three_nans(f->to, v->operand) : value;
        value = pass == FP_PASS_SET ? default_nan(f->to) : value;
    }
    if (form->flags & FP_ABSOLUTE)
        value &= UINT64_MAX >> (64 - bits) >> 1;
    if (form->flags & FP_MASK)
        value = value ? UINT64_MAX >> (64 - bits) : 0;
    out->flags = reversed(v->flags) | (pass == FP_PASS_SET ? 0x1f : 0);
    if (form->place == FP_INTEGER) {
        out->integer = value;
        return;
    }
    out->vector[0] = form->place == FP_SCALAR ? value : fp_repeat(value, bits);
    out->vector[1] = form->place == FP_LANES ? fp_repeat(value, bits) : 0;
}

const struct fp_isa fp_a64 = {
    .name = "aarch64", .qemu = "qemu-aarch64-static", .cpu = "max,pauth=off", .machine = EM_AARCH64,
    .tininess_before = true, .forms = a64_forms, .program = a64_program, .expect = a64_expect,
    .run = a64_machine_run, .disassemble = a64_disassemble,
};
