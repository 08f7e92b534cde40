/*
 * a64_emit_flags.c: flags, conditions and what depends on them.
 */
#include "xlate/front/aarch64/a64_emit.h"

/* --- setting ---------------------------------------------------------------------------------- */

void a64_set_flags(struct a64_translation *t, enum ir_type type, bool difference, uint32_t a,
                   uint32_t b, uint32_t value)
{
    uint32_t flags = ir_nzcv(t->unit, difference ? IR_NZCV_SUB : IR_NZCV_ADD, type, a, b, IR_NONE);

    ir_set(t->unit, A64_SLOT_NZCV, flags);
    t->flags = (struct a64_flags){.from = difference ? A64_FLAGS_DIFFERENCE : A64_FLAGS_SUM,
                                  .type = type, .a = a, .b = b, .value = value, .guard = IR_NONE};
}

void a64_set_flags_logic(struct a64_translation *t, enum ir_type type, uint32_t value)
{
    uint32_t zero = ir_const(t->unit, type, 0);

    ir_set(t->unit, A64_SLOT_NZCV, ir_nzcv(t->unit, IR_NZCV_ADD, type, value, zero, IR_NONE));
    t->flags = (struct a64_flags){.from = A64_FLAGS_LOGIC, .type = type, .value = value,
                                  .guard = IR_NONE};
}

void a64_set_flags_value(struct a64_translation *t, uint32_t value)
{
    ir_set(t->unit, A64_SLOT_NZCV, value);
    t->flags = (struct a64_flags){.from = A64_FLAGS_SLOT, .guard = IR_NONE};
}

void a64_guard_flags(struct a64_translation *t, uint32_t cond_value, unsigned otherwise)
{
    uint32_t flags = ir_get(t->unit, IR_I64, A64_SLOT_NZCV);
    uint32_t other = ir_const(t->unit, IR_I64, otherwise);

    ir_set(t->unit, A64_SLOT_NZCV, ir_select(t->unit, IR_I64, cond_value, flags, other));
    t->flags.guard = cond_value;
    t->flags.otherwise = otherwise;
}

unsigned a64_nzcv(unsigned field)
{
    return (field & 8 ? IR_NZCV_N : 0) | (field & 4 ? IR_NZCV_Z : 0) | (field & 2 ? IR_NZCV_C : 0) |
           (field & 1 ? IR_NZCV_V : 0);
}

/* --- conditions ------------------------------------------------------------------------------- */

/* Does COND, an even one, hold for FLAGS? */
static bool holds(enum a64_cond cond, unsigned flags)
{
    bool n = flags & IR_NZCV_N, z = flags & IR_NZCV_Z, c = flags & IR_NZCV_C, v = flags & IR_NZCV_V;

    switch (cond) {
    case A64_COND_EQ:
        return z;
    case A64_COND_CS:
        return c;
    case A64_COND_MI:
        return n;
    case A64_COND_VS:
        return v;
    case A64_COND_HI:
        return c && !z;
    case A64_COND_GE:
        return n == v;
    default: /* A64_COND_GT */
        return n == v && !z;
    }
}

/* Are the bits of MASK in FLAGS those of WANTED? */
static uint32_t bits_are(struct a64_translation *t, uint32_t flags, unsigned mask, unsigned wanted)
{
    uint32_t bits = ir_bini(t->unit, IR_AND, IR_I64, flags, mask);

    return ir_cmp(t->unit, IR_EQ, IR_I64, bits, ir_const(t->unit, IR_I64, wanted));
}

/* COND, an even one, of the flags in the slot. */
static uint32_t from_slot(struct a64_translation *t, enum a64_cond cond)
{
    uint32_t flags = ir_get(t->unit, IR_I64, A64_SLOT_NZCV);
    struct ir_unit *unit = t->unit;

    switch (cond) {
    case A64_COND_EQ:
        return bits_are(t, flags, IR_NZCV_Z, IR_NZCV_Z);
    case A64_COND_CS:
        return bits_are(t, flags, IR_NZCV_C, IR_NZCV_C);
    case A64_COND_MI:
        return bits_are(t, flags, IR_NZCV_N, IR_NZCV_N);
    case A64_COND_VS:
        return bits_are(t, flags, IR_NZCV_V, IR_NZCV_V);
    case A64_COND_HI:
        return bits_are(t, flags, IR_NZCV_C | IR_NZCV_Z, IR_NZCV_C);
    default:
        break;
    }
    /* N moved onto V: 0 where they are equal, and Z beside it. */
    uint32_t n = ir_bini(unit, IR_SHR, IR_I64, flags, 15);
    uint32_t differ = ir_bin(unit, IR_XOR, IR_I64, n, flags);
    if (cond == A64_COND_GE)
        return bits_are(t, differ, IR_NZCV_V, 0);
    return bits_are(t, differ, IR_NZCV_V | IR_NZCV_Z, 0);
}
G_STATIC_ASSERT(IR_NZCV_N >> 15 == IR_NZCV_V && IR_NZCV_N >> 15 != IR_NZCV_Z);

static uint32_t against_zero(struct a64_translation *t, enum ir_cond cond)
{
    uint32_t zero = ir_const(t->unit, t->flags.type, 0);

    return ir_cmp(t->unit, cond, t->flags.type, t->flags.value, zero);
}

/* Of a - b. */
static uint32_t from_difference(struct a64_translation *t, enum a64_cond cond)
{
    static const uint8_t conds[] = {[A64_COND_EQ] = IR_EQ, [A64_COND_CS] = IR_GEU,
                                    [A64_COND_HI] = IR_GTU, [A64_COND_GE] = IR_GES,
                                    [A64_COND_GT] = IR_GTS};

    if (cond == A64_COND_VS)
        return from_slot(t, cond);
    if (cond == A64_COND_MI)
        return against_zero(t, IR_LTS);
    return ir_cmp(t->unit, conds[cond], t->flags.type, t->flags.a, t->flags.b);
}

/* Of a + b: the carry is a sum below an operand. */
static uint32_t from_sum(struct a64_translation *t, enum a64_cond cond)
{
    switch (cond) {
    case A64_COND_EQ:
        return against_zero(t, IR_EQ);
    case A64_COND_MI:
        return against_zero(t, IR_LTS);
    case A64_COND_CS:
        return ir_cmp(t->unit, IR_LTU, t->flags.type, t->flags.value, t->flags.a);
    default:
        return from_slot(t, cond);
    }
}

/* Of a value with C and V clear. */
static uint32_t from_logic(struct a64_translation *t, enum a64_cond cond)
{
    switch (cond) {
    case A64_COND_EQ:
        return against_zero(t, IR_EQ);
    case A64_COND_MI:
        return against_zero(t, IR_LTS);
    case A64_COND_GE:
        return against_zero(t, IR_GES);
    case A64_COND_GT:
        return against_zero(t, IR_GTS);
    default:
        return ir_const(t->unit, IR_I64, 0);
    }
}

static uint32_t invert(struct a64_translation *t, uint32_t value)
{
    return ir_cmp(t->unit, IR_EQ, IR_I64, value, ir_const(t->unit, IR_I64, 0));
}

/* Flags that are only there where the guard is 1: what came of the slot alone knows it already. */
static uint32_t guarded(struct a64_translation *t, enum a64_cond cond, uint32_t value)
{
    uint32_t guard = t->flags.guard;

    if (holds(cond, t->flags.otherwise))
        return ir_bin(t->unit, IR_OR, IR_I64, value, invert(t, guard));
    return ir_bin(t->unit, IR_AND, IR_I64, value, guard);
}

uint32_t a64_condition(struct a64_translation *t, enum a64_cond cond)
{
    enum a64_cond even = cond & ~1u;
    uint32_t value;

    if (even == A64_COND_AL)
        return ir_const(t->unit, IR_I64, 1);
    if (t->flags.guard != IR_NONE && t->flags.from != A64_FLAGS_DIFFERENCE)
        t->flags.from = A64_FLAGS_SLOT;
    if (t->flags.from == A64_FLAGS_DIFFERENCE)
        value = from_difference(t, even);
    else if (t->flags.from == A64_FLAGS_SUM)
        value = from_sum(t, even);
    else if (t->flags.from == A64_FLAGS_LOGIC)
        value = from_logic(t, even);
    else
        value = from_slot(t, even);
    if (t->flags.guard != IR_NONE && t->flags.from == A64_FLAGS_DIFFERENCE && even != A64_COND_VS)
        value = guarded(t, even, value);
    return cond & 1 ? invert(t, value) : value;
}

/* --- instructions ----------------------------------------------------------------------------- */

static void compare_if(struct a64_translation *t, const struct a64_insn *i, uint32_t arg, uint32_t b)
{
    bool difference = arg & ARG_SUB;
    uint32_t a = a64_r(t, i, i->rn), cond = a64_condition(t, i->cond);
    uint32_t value = ir_bin(t->unit, difference ? IR_SUB : IR_ADD, a64_type(i), a, b);

    a64_set_flags(t, a64_type(i), difference, a, b, value);
    if (!ir_is_const(t->unit, cond))
        a64_guard_flags(t, cond, a64_nzcv(i->nzcv));
    else if (!t->unit->insn[cond].imm)
        a64_set_flags_value(t, ir_const(t->unit, IR_I64, a64_nzcv(i->nzcv)));
}

void a64_emit_ccmp(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    compare_if(t, i, arg, a64_r(t, i, i->rm));
}

void a64_emit_ccmp_imm(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    compare_if(t, i, arg, ir_const(t->unit, a64_type(i), i->imm));
}

void a64_emit_csel(struct a64_translation *t, const struct a64_insn *i, uint32_t row)
{
    enum ir_type type = a64_type(i);
    uint32_t cond = a64_condition(t, i->cond);
    uint32_t a = a64_r(t, i, i->rn), b = a64_r(t, i, i->rm);

    if (row == A64_CSINC)
        b = ir_bini(t->unit, IR_ADD, type, b, 1);
    else if (row == A64_CSINV)
        b = ir_bini(t->unit, IR_XOR, type, b, -1);
    else if (row == A64_CSNEG)
        b = ir_bin(t->unit, IR_SUB, type, ir_const(t->unit, type, 0), b);
    a64_set_r(t, i, i->rd, ir_select(t->unit, type, cond, a, b));
}
