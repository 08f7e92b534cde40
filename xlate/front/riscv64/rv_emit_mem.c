/*
 * rv_emit_mem.c: loads, stores, atomics, fences and cache-block operations.
 *
 * A reservation is what the load saw: its address and width (RV_SLOT_RES_TAG) and the value. A
 * store-conditional compares the address and exchanges if memory still has that value, so that no
 * other hart's store needs to be watched. Every SC ends the reservation.
 */
#include "xlate/front/riscv64/rv_emit.h"

uint32_t rv_address(struct rv_translation *t, const struct rv_insn *i, unsigned bytes, bool write,
                    int64_t *imm)
{
    uint32_t base = rv_x(t, i->rs1);

    if (t->unit->insn[base].op == IR_PCREL)
        t->unit->pattern[IR_PATTERN_PCREL_MEM]++;
    *imm = i->imm;
    return ir_address(t->unit, base, imm, bytes, write);
}

void rv_emit_load(struct rv_translation *t, const struct rv_insn *i, uint32_t mem)
{
    int64_t imm;
    uint32_t h = rv_address(t, i, 1u << (mem & IR_MEM_SIZE), false, &imm);

    rv_set_x(t, i->rd, ir_load(t->unit, IR_I64, mem, h, imm));
}

void rv_emit_store(struct rv_translation *t, const struct rv_insn *i, uint32_t mem)
{
    int64_t imm;
    uint32_t h = rv_address(t, i, 1u << (mem & IR_MEM_SIZE), true, &imm);

    ir_store(t->unit, IR_I64, mem, h, imm, rv_x(t, i->rs2));
}

/* --- atomics ---------------------------------------------------------------------------------- */

static unsigned order(const struct rv_insn *i)
{
    return IR_MEM_ALIGNED | (i->aq ? IR_MEM_ACQUIRE : 0) | (i->rl ? IR_MEM_RELEASE : 0);
}

unsigned rv_atomic_mem(const struct rv_insn *i)
{
    uint32_t log2 = rv_rows[i->op].arg;

    return log2 | order(i) | (log2 == 2 ? IR_MEM_SIGNED : 0);
}

static void amo(struct rv_translation *t, const struct rv_insn *i, uint32_t op, unsigned mem)
{
    int64_t imm;
    uint32_t h = rv_address(t, i, 1u << (mem & IR_MEM_SIZE), true, &imm);
    uint32_t operand = rv_x(t, i->rs2);

    rv_set_x(t, i->rd, ir_rmw(t->unit, op, IR_I64, mem | order(i), h, imm, operand));
}

void rv_emit_amow(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    amo(t, i, op, IR_MEM_SIGNED | 2);
}

void rv_emit_amod(struct rv_translation *t, const struct rv_insn *i, uint32_t op)
{
    amo(t, i, op, 3);
}

/* What RV_SLOT_RES_TAG holds for this instruction's address and width. */
static uint32_t reservation_tag(struct rv_translation *t, const struct rv_insn *i, uint32_t log2)
{
    uint32_t address = rv_x(t, i->rs1);

    return log2 == 3 ? ir_bini(t->unit, IR_OR, IR_I64, address, 1) : address;
}

uint32_t rv_load_reserved(struct rv_translation *t, const struct rv_insn *i)
{
    unsigned mem = rv_atomic_mem(i) | IR_MEM_RESERVE;
    int64_t imm;
    uint32_t h = rv_address(t, i, 1u << (mem & IR_MEM_SIZE), false, &imm);

    return ir_load(t->unit, IR_I64, mem, h, imm);
}

void rv_reserve(struct rv_translation *t, const struct rv_insn *i, uint32_t value)
{
    ir_set(t->unit, RV_SLOT_RES_TAG, reservation_tag(t, i, rv_rows[i->op].arg));
    ir_set(t->unit, RV_SLOT_RES_VALUE, value);
}

void rv_emit_lr(struct rv_translation *t, const struct rv_insn *i, uint32_t log2)
{
    uint32_t value = rv_load_reserved(t, i);

    rv_reserve(t, i, value);
    rv_set_x(t, i->rd, value);
}

void rv_emit_sc(struct rv_translation *t, const struct rv_insn *i, uint32_t log2)
{
    int64_t imm;
    uint32_t h = rv_address(t, i, 1u << log2, true, &imm);
    uint32_t cond = ir_cmp(t->unit, IR_EQ, IR_I64, ir_get(t->unit, IR_I64, RV_SLOT_RES_TAG),
                           reservation_tag(t, i, log2));
    uint32_t expected = ir_get(t->unit, IR_I64, RV_SLOT_RES_VALUE);
    uint32_t failed = ir_sc(t->unit, IR_I64, rv_atomic_mem(i), h, imm, cond, expected, rv_x(t, i->rs2));

    ir_set(t->unit, RV_SLOT_RES_TAG, ir_const(t->unit, IR_I64, (int64_t)RV_RES_NONE));
    rv_set_x(t, i->rd, failed);
}

/* --- order and caches ------------------------------------------------------------------------- */

enum { FENCE_WRITES = 1 | 4, FENCE_READS = 2 | 8 }; /* w, o; r, i */

void rv_emit_fence(struct rv_translation *t, const struct rv_insn *i, uint32_t tso)
{
    unsigned mask = 0;

    if (tso) {
        mask = IR_FENCE_RR | IR_FENCE_RW | IR_FENCE_WW;
    } else {
        if (i->pred & FENCE_READS)
            mask |= (i->succ & FENCE_READS ? IR_FENCE_RR : 0) |
                    (i->succ & FENCE_WRITES ? IR_FENCE_RW : 0);
        if (i->pred & FENCE_WRITES)
            mask |= (i->succ & FENCE_READS ? IR_FENCE_WR : 0) |
                    (i->succ & FENCE_WRITES ? IR_FENCE_WW : 0);
    }
    if (mask)
        ir_fence(t->unit, mask);
}

void rv_emit_cbo(struct rv_translation *t, const struct rv_insn *i, uint32_t helper)
{
    uint32_t address = rv_x(t, i->rs1), bits = ir_const(t->unit, IR_I64, i->bits);

    rv_call(t, helper, address, bits, IR_NONE, IR_NONE);
}
