/*
 * xlate/ir/fold.c: constants, identities and short patterns, found while building.
 *
 * Every rule looks at an operation and the insns that make its operands, no further.
 */
#include "xlate/ir/eval.h"
#include "xlate/ir/fold.h"

static uint32_t found(struct ir_unit *unit, enum ir_pattern pattern, uint32_t value)
{
    unit->pattern[pattern]++;
    return value;
}

static bool commutes(enum ir_op op)
{
    switch (op) {
    case IR_ADD:
    case IR_MUL:
    case IR_MULHS:
    case IR_MULHU:
    case IR_AND:
    case IR_OR:
    case IR_XOR:
        return true;
    default:
        return false;
    }
}

void ir_fold_order(const struct ir_unit *unit, enum ir_op op, uint32_t *a, uint32_t *b)
{
    if (ir_is_const(unit, *a) && !ir_is_const(unit, *b) && commutes(op)) {
        uint32_t t = *a;

        *a = *b;
        *b = t;
    }
}

/* --- one operand ------------------------------------------------------------------------------ */

uint32_t ir_fold_un(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a)
{
    const struct ir_insn *from = &unit->insn[a];

    switch (op) {
    case IR_CLZ:
    case IR_CTZ:
    case IR_POPCNT:
    case IR_BSWAP:
    case IR_ORCB:
        if (from->op == IR_CONST)
            return found(unit, IR_PATTERN_CONST,
                         ir_const(unit, type, ir_eval_un(op, type, from->imm)));
        return IR_NONE;
    case IR_TRUNC:
        if (from->op == IR_CONST)
            return found(unit, IR_PATTERN_CONST, ir_const(unit, IR_I32, from->imm));
        if ((from->op == IR_SEXT || from->op == IR_ZEXT) && from->imm == 32 &&
            ir_result_type(&unit->insn[from->arg[0]]) == IR_I32)
            return found(unit, IR_PATTERN_IDENTITY, from->arg[0]);
        return IR_NONE;
    case IR_UNBOX:
        return from->op == IR_BOX ? found(unit, IR_PATTERN_UNBOX, from->arg[0]) : IR_NONE;
    case IR_FBITS:
        if (from->op == IR_FBITS)
            return found(unit, IR_PATTERN_IDENTITY, from->arg[0]);
        if (from->op == IR_CONST)
            return found(unit, IR_PATTERN_CONST, ir_const(unit, type, from->imm));
        return IR_NONE;
    case IR_FCANON:
        return from->op == IR_FCANON ? found(unit, IR_PATTERN_CANON, a) : IR_NONE;
    default:
        return IR_NONE;
    }
}

/* True when the I64 value equals the sign extension of its own low 32 bits. */
static bool is_sign_extended(const struct ir_insn *from)
{
    unsigned size = from->mem & IR_MEM_SIZE;

    switch (from->op) {
    case IR_SEXT:
        return from->imm <= 32;
    case IR_ZEXT:
        return from->imm < 32;
    case IR_LOAD:
        return from->mem & IR_MEM_SIGNED ? size <= 2 : size < 2;
    case IR_RMW:
    case IR_CAS:
        return from->mem & IR_MEM_SIGNED && size <= 2;
    case IR_CMP:
    case IR_FCMP:
        return true;
    default:
        return false;
    }
}

static bool is_zero_extended(const struct ir_insn *from, unsigned bits)
{
    if (from->op == IR_ZEXT)
        return from->imm <= bits;
    if (from->op == IR_LOAD)
        return !(from->mem & IR_MEM_SIGNED) && 8u << (from->mem & IR_MEM_SIZE) <= bits;
    return from->op == IR_CMP || from->op == IR_FCMP;
}

uint32_t ir_fold_ext(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a,
                     unsigned bits)
{
    const struct ir_insn *from = &unit->insn[a];

    if (from->op == IR_CONST)
        return found(unit, IR_PATTERN_CONST,
                     ir_const(unit, type, ir_eval_ext(op, type, from->imm, bits)));
    if (from->op == IR_TRUNC) /* the low bits are those of the wide value */
        return ir_ext(unit, op, type, from->arg[0], bits);
    if (type != IR_I64 || ir_result_type(from) != IR_I64)
        return IR_NONE;
    if (op == IR_SEXT && bits == 32 && is_sign_extended(from))
        return found(unit, IR_PATTERN_IDENTITY, a);
    if (op == IR_ZEXT && is_zero_extended(from, bits))
        return found(unit, IR_PATTERN_IDENTITY, a);
    return IR_NONE;
}

/* --- two operands ----------------------------------------------------------------------------- */

/* x OP x. */
static uint32_t fold_equal(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a)
{
    switch (op) {
    case IR_SUB:
    case IR_XOR:
    case IR_ANDN:
        return found(unit, IR_PATTERN_CONST, ir_const(unit, type, 0));
    case IR_AND:
    case IR_OR:
        return found(unit, IR_PATTERN_IDENTITY, a);
    default:
        return IR_NONE;
    }
}

/* x OP 0. */
static uint32_t fold_zero(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a)
{
    switch (op) {
    case IR_ADD:
    case IR_SUB:
    case IR_OR:
    case IR_XOR:
    case IR_ANDN:
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROTL:
    case IR_ROTR:
    case IR_REMS:
    case IR_REMU:
        return found(unit, IR_PATTERN_IDENTITY, a);
    case IR_MUL:
    case IR_MULHS:
    case IR_MULHU:
    case IR_MULHSU:
    case IR_AND:
        return found(unit, IR_PATTERN_CONST, ir_const(unit, type, 0));
    case IR_DIVS:
    case IR_DIVU:
        return found(unit, IR_PATTERN_CONST, ir_const(unit, type, -1));
    default:
        return IR_NONE;
    }
}

/* SHR or SAR by COUNT of a value shifted left by as much: an extension. */
static uint32_t fold_extend(struct ir_unit *unit, enum ir_op op, uint32_t a, unsigned count)
{
    const struct ir_insn *from = &unit->insn[a];

    if (from->op != IR_SHL || !ir_is_const(unit, from->arg[1]) ||
        (count != 32 && count != 48 && count != 56) ||
        (unit->insn[from->arg[1]].imm & 63) != count)
        return IR_NONE;
    uint32_t x = from->arg[0];
    unit->pattern[IR_PATTERN_EXTEND]++;
    return ir_ext(unit, op == IR_SHR ? IR_ZEXT : IR_SEXT, IR_I64, x, 64 - count);
}

static bool is_integer(enum ir_op op)
{
    G_STATIC_ASSERT(IR_ADD < IR_ROTR && IR_ROTR - IR_ADD == 18);
    return op >= IR_ADD && op <= IR_ROTR;
}

uint32_t ir_fold_bini(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a,
                      int64_t imm)
{
    const struct ir_insn *from = &unit->insn[a];

    if (!is_integer(op)) /* its result hangs on the rounding mode */
        return IR_NONE;
    if (from->op == IR_CONST)
        return found(unit, IR_PATTERN_CONST,
                     ir_const(unit, type, ir_eval_bin(op, type, from->imm, imm)));
    if (imm == 0)
        return fold_zero(unit, op, type, a);
    if (from->op == IR_PCREL && (op == IR_ADD || op == IR_SUB)) {
        int64_t base = from->imm;

        return found(unit, IR_PATTERN_PCREL,
                     ir_pcrel(unit, (int64_t)ir_eval_bin(op, IR_I64, base, imm)));
    }
    if ((op == IR_AND || op == IR_OR) && imm == -1)
        return op == IR_AND ? found(unit, IR_PATTERN_IDENTITY, a)
                            : found(unit, IR_PATTERN_CONST, ir_const(unit, type, -1));
    if (op == IR_AND && type == IR_I64 && (imm == 0xff || imm == 0xffff || imm == 0xffffffff))
        return ir_ext(unit, IR_ZEXT, IR_I64, a, imm == 0xff ? 8 : imm == 0xffff ? 16 : 32);
    if ((op == IR_MUL || op == IR_DIVU || op == IR_DIVS) && imm == 1)
        return found(unit, IR_PATTERN_IDENTITY, a);
    if ((op == IR_SHR || op == IR_SAR) && type == IR_I64)
        return fold_extend(unit, op, a, imm & 63);
    return IR_NONE;
}

/* The I32 value that is shifted by a constant, or the wide one whose low half it is; COUNT. */
static uint32_t shifted(const struct ir_unit *unit, uint32_t v, enum ir_op op, enum ir_type type,
                        unsigned *count)
{
    const struct ir_insn *insn = &unit->insn[v];

    if (insn->op != op || insn->type != type || !ir_is_const(unit, insn->arg[1]))
        return IR_NONE;
    *count = (unsigned)unit->insn[insn->arg[1]].imm & (type == IR_I64 ? 63 : 31);
    v = insn->arg[0];
    return type == IR_I32 && unit->insn[v].op == IR_TRUNC ? unit->insn[v].arg[0] : v;
}

/* x << n combined with x >> (width - n): the bits are disjoint, so OR, XOR and ADD are the same. */
static uint32_t fold_rotate(struct ir_unit *unit, enum ir_type type, uint32_t a, uint32_t b)
{
    unsigned left, right;
    uint32_t x = shifted(unit, a, IR_SHL, type, &left), low = a;

    if (x == IR_NONE) {
        x = shifted(unit, b, IR_SHL, type, &left);
        low = b;
        b = a;
    }
    if (x == IR_NONE || !left || shifted(unit, b, IR_SHR, type, &right) != x ||
        left + right != (type == IR_I64 ? 64 : 32))
        return IR_NONE;
    unit->pattern[IR_PATTERN_ROTATE]++;
    return ir_bini(unit, IR_ROTL, type, unit->insn[low].arg[0], left);
}

/* The same of two sign-extended words. */
static uint32_t fold_rotate_word(struct ir_unit *unit, uint32_t a, uint32_t b)
{
    const struct ir_insn *x = &unit->insn[a], *y = &unit->insn[b];

    if (x->op != IR_SEXT || y->op != IR_SEXT || x->imm != 32 || y->imm != 32 ||
        ir_result_type(&unit->insn[x->arg[0]]) != IR_I32 ||
        ir_result_type(&unit->insn[y->arg[0]]) != IR_I32)
        return IR_NONE;
    uint32_t word = fold_rotate(unit, IR_I32, x->arg[0], y->arg[0]);
    return word == IR_NONE ? IR_NONE : ir_ext(unit, IR_SEXT, IR_I64, word, 32);
}

uint32_t ir_fold_bin(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, uint32_t b)
{
    if (op == IR_OR || op == IR_XOR || op == IR_ADD) {
        uint32_t same = fold_rotate(unit, type, a, b);
        if (same == IR_NONE && type == IR_I64)
            same = fold_rotate_word(unit, a, b);
        if (same != IR_NONE)
            return same;
    }
    if (ir_is_const(unit, b))
        return ir_fold_bini(unit, op, type, a, unit->insn[b].imm);
    if (a == b)
        return fold_equal(unit, op, type, a);
    return IR_NONE;
}

/* --- comparisons ------------------------------------------------------------------------------ */

static enum ir_cond mirrored(enum ir_cond cond)
{
    static const uint8_t mirror[] = {
        [IR_EQ] = IR_EQ,   [IR_NE] = IR_NE,   [IR_LTS] = IR_GTS, [IR_GES] = IR_LES,
        [IR_LTU] = IR_GTU, [IR_GEU] = IR_LEU, [IR_GTS] = IR_LTS, [IR_LES] = IR_GES,
        [IR_GTU] = IR_LTU, [IR_LEU] = IR_GEU,
    };

    return mirror[cond];
}

static enum ir_cond inverted(enum ir_cond cond)
{
    static const uint8_t inverse[] = {
        [IR_EQ] = IR_NE,   [IR_NE] = IR_EQ,   [IR_LTS] = IR_GES, [IR_GES] = IR_LTS,
        [IR_LTU] = IR_GEU, [IR_GEU] = IR_LTU, [IR_GTS] = IR_LES, [IR_LES] = IR_GTS,
        [IR_GTU] = IR_LEU, [IR_LEU] = IR_GTU,
    };

    return inverse[cond];
}

/* A condition compared with zero again. */
static uint32_t fold_condition(struct ir_unit *unit, enum ir_cond cond, uint32_t a)
{
    const struct ir_insn *from = &unit->insn[a];

    if (from->op != IR_CMP && from->op != IR_FCMP)
        return IR_NONE;
    if (cond == IR_NE || cond == IR_GTU || cond == IR_GTS)
        return found(unit, IR_PATTERN_IDENTITY, a);
    if ((cond == IR_EQ || cond == IR_LES || cond == IR_LEU) && from->op == IR_CMP) {
        struct ir_insn c = *from;

        return found(unit, IR_PATTERN_IDENTITY,
                     ir_cmp(unit, inverted(c.aux), c.type, c.arg[0], c.arg[1]));
    }
    return IR_NONE;
}

uint32_t ir_fold_cmp(struct ir_unit *unit, enum ir_cond cond, enum ir_type type, uint32_t a,
                     uint32_t b)
{
    const struct ir_insn *x = &unit->insn[a], *y = &unit->insn[b];

    if (a == b)
        return found(unit, IR_PATTERN_CONST,
                     ir_const(unit, IR_I64, ir_eval_cmp(cond, type, 0, 0)));
    if (x->op == IR_CONST && y->op == IR_CONST)
        return found(unit, IR_PATTERN_CONST,
                     ir_const(unit, IR_I64, ir_eval_cmp(cond, type, x->imm, y->imm)));
    if (x->op == IR_CONST)
        return ir_cmp(unit, mirrored(cond), type, b, a);
    if (y->op != IR_CONST)
        return IR_NONE;
    if (y->imm == 1 && (cond == IR_LTU || cond == IR_GEU))
        return ir_cmp(unit, cond == IR_LTU ? IR_EQ : IR_NE, type, a, ir_const(unit, type, 0));
    if (y->imm == 0 && (cond == IR_GTU || cond == IR_LEU))
        return ir_cmp(unit, cond == IR_GTU ? IR_NE : IR_EQ, type, a, b);
    if (y->imm == 0 && (cond == IR_LTU || cond == IR_GEU))
        return found(unit, IR_PATTERN_CONST, ir_const(unit, IR_I64, cond == IR_GEU));
    if (y->imm == 0 && type == IR_I64)
        return fold_condition(unit, cond, a);
    return IR_NONE;
}

uint32_t ir_fold_select(struct ir_unit *unit, uint32_t cond, uint32_t a, uint32_t b)
{
    if (a == b)
        return found(unit, IR_PATTERN_IDENTITY, a);
    if (ir_is_const(unit, cond))
        return found(unit, IR_PATTERN_IDENTITY, unit->insn[cond].imm ? a : b);
    return IR_NONE;
}

/* --- floating point --------------------------------------------------------------------------- */

uint32_t ir_fold_sign(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a,
                      uint32_t b)
{
    if (a != b)
        return IR_NONE;
    if (op == IR_FSGNJ)
        return found(unit, IR_PATTERN_IDENTITY, a);
    if (op == IR_FSGNJN)
        return found(unit, IR_PATTERN_SIGN, ir_un(unit, IR_FNEG, type, a));
    if (op == IR_FSGNJX)
        return found(unit, IR_PATTERN_SIGN, ir_un(unit, IR_FABS, type, a));
    return IR_NONE;
}

/* Arithmetic on a NaN gives a NaN whose bits are made canonical again after it. */
uint32_t ir_fold_nan(struct ir_unit *unit, uint32_t a)
{
    if (a == IR_NONE || unit->insn[a].op != IR_FCANON)
        return a;
    uint32_t x = unit->insn[a].arg[0];
    enum ir_op op = unit->insn[x].op;

    if ((op < IR_FADD || op > IR_FMA) && op != IR_FCVTFF) /* x may be a signalling NaN */
        return a;
    return found(unit, IR_PATTERN_CANON, x);
}
