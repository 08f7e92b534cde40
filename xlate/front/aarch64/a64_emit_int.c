/*
 * a64_emit_int.c: integer instructions without flags as their input.
 */
#include "xlate/front/aarch64/a64_emit.h"

/* --- addresses and constants ------------------------------------------------------------------ */

/* SHIFT is 12 for ADRP, whose address is a page's: the unit runs in page 0 of its displacements. */
void a64_emit_adr(struct a64_translation *t, const struct a64_insn *i, uint32_t shift)
{
    int64_t displacement = (int64_t)((uint64_t)(int64_t)i->imm << shift);

    a64_set_x(t, i->rd, ir_pcrel(t->unit, displacement + (shift ? 0 : t->pc)));
}

void a64_emit_mov_imm(struct a64_translation *t, const struct a64_insn *i, uint32_t row)
{
    unsigned at = 16u * i->hw;
    uint64_t imm = (uint64_t)(uint32_t)i->imm << at;

    if (row == A64_MOVK) {
        uint32_t rest = ir_bini(t->unit, IR_AND, IR_I64, a64_x(t, i->rd),
                                (int64_t)~(UINT64_C(0xffff) << at));
        uint32_t value = ir_bini(t->unit, IR_OR, IR_I64, rest, (int64_t)imm);
        a64_set_x(t, i->rd, i->sf ? value : ir_ext(t->unit, IR_ZEXT, IR_I64, value, 32));
        return;
    }
    if (row == A64_MOVN)
        imm = ~imm;
    a64_set_x(t, i->rd, ir_const(t->unit, IR_I64, i->sf ? (int64_t)imm : (int64_t)(uint32_t)imm));
}

/* --- sums ------------------------------------------------------------------------------------- */

static uint32_t sum(struct a64_translation *t, const struct a64_insn *i, uint32_t arg, uint32_t a,
                    uint32_t b)
{
    uint32_t value = ir_bin(t->unit, arg & ARG_SUB ? IR_SUB : IR_ADD, a64_type(i), a, b);

    if (arg & ARG_FLAGS)
        a64_set_flags(t, a64_type(i), arg & ARG_SUB, a, b, value);
    return value;
}

/* Register 31 as the result is the stack pointer, or none where flags are set. */
static void set_sum(struct a64_translation *t, const struct a64_insn *i, uint32_t arg, uint32_t value)
{
    if (arg & ARG_FLAGS)
        a64_set_r(t, i, i->rd, value);
    else
        a64_set_rsp(t, i, i->rd, value);
}

void a64_emit_addsub_imm(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum ir_type type = a64_type(i);
    uint32_t a = a64_rsp(t, i, i->rn);
    int64_t imm = (int64_t)i->imm << (i->sh ? 12 : 0);

    if (arg & ARG_FLAGS) {
        set_sum(t, i, arg, sum(t, i, arg, a, ir_const(t->unit, type, imm)));
        return;
    }
    set_sum(t, i, arg, ir_bini(t->unit, IR_ADD, type, a, arg & ARG_SUB ? -imm : imm));
}

/* Rm, shifted. */
static uint32_t shifted(struct a64_translation *t, const struct a64_insn *i)
{
    static const enum ir_op ops[] = {IR_SHL, IR_SHR, IR_SAR, IR_ROTR};
    uint32_t value = a64_r(t, i, i->rm);

    return i->amount ? ir_bini(t->unit, ops[i->shift], a64_type(i), value, i->amount) : value;
}

void a64_emit_addsub(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint32_t a = a64_r(t, i, i->rn);

    a64_set_r(t, i, i->rd, sum(t, i, arg, a, shifted(t, i)));
}

/* Rm's low bits, extended as OPTION says and shifted. */
static uint32_t extended(struct a64_translation *t, enum ir_type type, const struct a64_insn *i,
                         unsigned shift)
{
    enum ir_op op = i->option & 4 ? IR_SEXT : IR_ZEXT;
    unsigned bits = 8u << (i->option & 3);
    uint32_t value = a64_x(t, i->rm);

    if (bits < (type == IR_I64 ? 64 : 32))
        value = ir_ext(t->unit, op, type, value, bits);
    else if (type == IR_I32)
        value = ir_un(t->unit, IR_TRUNC, IR_I32, value);
    return shift ? ir_bini(t->unit, IR_SHL, type, value, shift) : value;
}

void a64_emit_addsub_ext(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint32_t a = a64_rsp(t, i, i->rn);

    set_sum(t, i, arg, sum(t, i, arg, a, extended(t, a64_type(i), i, i->amount3)));
}

/* A difference is a sum with the inverse. */
void a64_emit_addsub_carry(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum ir_type type = a64_type(i);
    uint32_t a = a64_r(t, i, i->rn), b = a64_r(t, i, i->rm);
    uint32_t carry = a64_condition(t, A64_COND_CS);

    if (arg & ARG_SUB)
        b = ir_bini(t->unit, IR_XOR, type, b, -1);
    uint32_t narrow = i->sf ? carry : ir_un(t->unit, IR_TRUNC, IR_I32, carry);
    uint32_t value = ir_bin(t->unit, IR_ADD, type, ir_bin(t->unit, IR_ADD, type, a, b), narrow);
    if (arg & ARG_FLAGS)
        a64_set_flags_value(t, ir_nzcv(t->unit, IR_NZCV_ADC, type, a, b, carry));
    a64_set_r(t, i, i->rd, value);
}

/* --- logic ------------------------------------------------------------------------------------ */

void a64_emit_logic_imm(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint64_t mask = 0;

    a64_bitmask(i->n, i->immr, i->imms, &mask);
    uint32_t value = ir_bini(t->unit, (enum ir_op)(arg & 0xff), a64_type(i), a64_r(t, i, i->rn),
                             (int64_t)mask);
    if (arg & ARG_FLAGS)
        a64_set_flags_logic(t, a64_type(i), value);
    set_sum(t, i, arg, value);
}

void a64_emit_logic(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum ir_type type = a64_type(i);
    enum ir_op op = (enum ir_op)(arg & 0xff);
    uint32_t a = a64_r(t, i, i->rn), b = shifted(t, i), value;

    if ((arg & ARG_NOT) && op == IR_AND) {
        value = ir_bin(t->unit, IR_ANDN, type, a, b);
    } else {
        if (arg & ARG_NOT)
            b = ir_bini(t->unit, IR_XOR, type, b, -1);
        value = ir_bin(t->unit, op, type, a, b);
    }
    if (arg & ARG_FLAGS)
        a64_set_flags_logic(t, type, value);
    a64_set_r(t, i, i->rd, value);
}

/* --- bit fields ------------------------------------------------------------------------------- */

/* Bits 0..COUNT-1. */
static uint64_t ones(unsigned count)
{
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* The low COUNT bits of VALUE, extended. */
static uint32_t low_bits(struct a64_translation *t, enum ir_type type, bool is_signed, uint32_t value,
                         unsigned count)
{
    unsigned width = type == IR_I64 ? 64 : 32;

    if (count == width)
        return value;
    if (count == 8 || count == 16 || count == 32)
        return ir_ext(t->unit, is_signed ? IR_SEXT : IR_ZEXT, type, value, count);
    if (!is_signed)
        return ir_bini(t->unit, IR_AND, type, value, (int64_t)ones(count));
    value = ir_bini(t->unit, IR_SHL, type, value, width - count);
    return ir_bini(t->unit, IR_SAR, type, value, width - count);
}

/* SBFM and UBFM: a field of bits immr..imms to the bottom, or one of bits 0..imms up by -immr. */
static uint32_t move_field(struct a64_translation *t, const struct a64_insn *i, bool is_signed)
{
    enum ir_type type = a64_type(i);
    unsigned width = i->sf ? 64 : 32;
    uint32_t value = a64_r(t, i, i->rn);

    if (i->imms >= i->immr) {
        if (i->imms == width - 1u)
            return i->immr ? ir_bini(t->unit, is_signed ? IR_SAR : IR_SHR, type, value, i->immr)
                           : value;
        if (i->immr)
            value = ir_bini(t->unit, IR_SHR, type, value, i->immr);
        return low_bits(t, type, is_signed, value, i->imms - i->immr + 1u);
    }
    if (is_signed || i->imms + 1u + width - i->immr != width)
        value = low_bits(t, type, is_signed, value, i->imms + 1u);
    return ir_bini(t->unit, IR_SHL, type, value, width - i->immr);
}

/* BFM: the same bits into those of the old value. */
static uint32_t insert_field(struct a64_translation *t, const struct a64_insn *i)
{
    enum ir_type type = a64_type(i);
    unsigned width = i->sf ? 64 : 32;
    bool down = i->imms >= i->immr;
    unsigned to = down ? 0 : width - i->immr;
    uint64_t mask = ones(down ? i->imms - i->immr + 1u : i->imms + 1u) << to;
    uint32_t value = a64_r(t, i, i->rn), old = a64_r(t, i, i->rd);

    if (down && i->immr)
        value = ir_bini(t->unit, IR_SHR, type, value, i->immr);
    else if (to)
        value = ir_bini(t->unit, IR_SHL, type, value, to);
    value = ir_bini(t->unit, IR_AND, type, value, (int64_t)mask);
    old = ir_bini(t->unit, IR_AND, type, old, (int64_t)~mask);
    return ir_bin(t->unit, IR_OR, type, old, value);
}

void a64_emit_bitfield(struct a64_translation *t, const struct a64_insn *i, uint32_t row)
{
    a64_set_r(t, i, i->rd, row == A64_BFM ? insert_field(t, i) : move_field(t, i, row == A64_SBFM));
}

void a64_emit_extr(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum ir_type type = a64_type(i);
    unsigned width = i->sf ? 64 : 32;
    uint32_t high = a64_r(t, i, i->rn), low = a64_r(t, i, i->rm);

    if (!i->imms) {
        a64_set_r(t, i, i->rd, low);
    } else if (i->rn == i->rm) {
        a64_set_r(t, i, i->rd, ir_bini(t->unit, IR_ROTR, type, low, i->imms));
    } else {
        low = ir_bini(t->unit, IR_SHR, type, low, i->imms);
        high = ir_bini(t->unit, IR_SHL, type, high, width - i->imms);
        a64_set_r(t, i, i->rd, ir_bin(t->unit, IR_OR, type, high, low));
    }
}

/* --- two and three operands ------------------------------------------------------------------- */

void a64_emit_op(struct a64_translation *t, const struct a64_insn *i, uint32_t op)
{
    uint32_t a = a64_r(t, i, i->rn), b = a64_r(t, i, i->rm);

    a64_set_r(t, i, i->rd, ir_bin(t->unit, (enum ir_op)op, a64_type(i), a, b));
}

/* By zero: zero. */
void a64_emit_div(struct a64_translation *t, const struct a64_insn *i, uint32_t op)
{
    enum ir_type type = a64_type(i);
    uint32_t a = a64_r(t, i, i->rn), b = a64_r(t, i, i->rm), zero = ir_const(t->unit, type, 0);
    uint32_t quotient = ir_bin(t->unit, (enum ir_op)op, type, a, b);
    uint32_t by_zero = ir_cmp(t->unit, IR_EQ, type, b, zero);

    a64_set_r(t, i, i->rd, ir_select(t->unit, type, by_zero, zero, quotient));
}

static void multiply_add(struct a64_translation *t, const struct a64_insn *i, enum ir_type type,
                         enum ir_op op, uint32_t a, uint32_t b, uint32_t addend)
{
    uint32_t product = ir_bin(t->unit, IR_MUL, type, a, b);

    ir_set(t->unit, A64_SLOT_X + i->rd,
           type == IR_I64 ? ir_bin(t->unit, op, type, addend, product)
                          : ir_ext(t->unit, IR_ZEXT, IR_I64,
                                   ir_bin(t->unit, op, type, addend, product), 32));
}

void a64_emit_madd(struct a64_translation *t, const struct a64_insn *i, uint32_t op)
{
    uint32_t a = a64_r(t, i, i->rn), b = a64_r(t, i, i->rm), addend = a64_r(t, i, i->ra);

    if (i->rd != 31)
        multiply_add(t, i, a64_type(i), (enum ir_op)op, a, b, addend);
}

/* ARG: the operation, and IR_SEXT or IR_ZEXT << 8. */
void a64_emit_madd_long(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum ir_op extend = (enum ir_op)(arg >> 8);
    uint32_t a = ir_ext(t->unit, extend, IR_I64, a64_x(t, i->rn), 32);
    uint32_t b = ir_ext(t->unit, extend, IR_I64, a64_x(t, i->rm), 32);

    if (i->rd != 31)
        multiply_add(t, i, IR_I64, (enum ir_op)(arg & 0xff), a, b, a64_x(t, i->ra));
}

void a64_emit_crc32(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum a64_helper helper = arg & ARG_CRC32C ? A64_HELPER_CRC32C : A64_HELPER_CRC32;
    uint32_t log2 = ir_const(t->unit, IR_I64, arg & 3);

    a64_set_x(t, i->rd, a64_call(t, helper, a64_x(t, i->rn), a64_x(t, i->rm), log2, IR_NONE));
}

/* --- one operand ------------------------------------------------------------------------------ */

void a64_emit_un(struct a64_translation *t, const struct a64_insn *i, uint32_t op)
{
    a64_set_r(t, i, i->rd, ir_un(t->unit, (enum ir_op)op, a64_type(i), a64_r(t, i, i->rn)));
}

/* Bits of MASK change places with those COUNT above them. */
static uint32_t exchange(struct a64_translation *t, enum ir_type type, uint32_t value, uint64_t mask,
                         unsigned count)
{
    uint32_t up = ir_bini(t->unit, IR_AND, type, value, (int64_t)mask);
    uint32_t down = ir_bini(t->unit, IR_SHR, type, value, count);

    up = ir_bini(t->unit, IR_SHL, type, up, count);
    down = ir_bini(t->unit, IR_AND, type, down, (int64_t)mask);
    return ir_bin(t->unit, IR_OR, type, up, down);
}

void a64_emit_rbit(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum ir_type type = a64_type(i);
    uint32_t value = ir_un(t->unit, IR_BSWAP, type, a64_r(t, i, i->rn));

    value = exchange(t, type, value, UINT64_C(0x0f0f0f0f0f0f0f0f), 4);
    value = exchange(t, type, value, UINT64_C(0x3333333333333333), 2);
    a64_set_r(t, i, i->rd, exchange(t, type, value, UINT64_C(0x5555555555555555), 1));
}

void a64_emit_rev16(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint32_t value = a64_r(t, i, i->rn);

    a64_set_r(t, i, i->rd, exchange(t, a64_type(i), value, UINT64_C(0x00ff00ff00ff00ff), 8));
}

void a64_emit_rev32(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    uint32_t value = ir_un(t->unit, IR_BSWAP, IR_I64, a64_x(t, i->rn));

    a64_set_x(t, i->rd, ir_bini(t->unit, IR_ROTR, IR_I64, value, 32));
}

/* Leading bits that equal the sign: zeros of the value xor its sign, but for the sign itself. */
void a64_emit_cls(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    enum ir_type type = a64_type(i);
    uint32_t value = a64_r(t, i, i->rn);
    uint32_t sign = ir_bini(t->unit, IR_SAR, type, value, i->sf ? 63 : 31);
    uint32_t zeros = ir_un(t->unit, IR_CLZ, type, ir_bin(t->unit, IR_XOR, type, value, sign));

    a64_set_r(t, i, i->rd, ir_bini(t->unit, IR_ADD, type, zeros, -1));
}
