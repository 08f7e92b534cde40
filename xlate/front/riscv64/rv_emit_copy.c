/*
 * rv_emit_copy.c: loops that copy or fill memory, one element each time.
 *
 *     again: load  value, (from)      not where it fills
 *            store value, (to)
 *            addi  from, to, a counter: up to RV_COPY_STEPS, between the others in any order
 *            branch counter, end, again
 *
 * The unit stays what it is; before it comes a comparison, and where many iterations are left, a helper does
 * as many as it can: all but the last, within the pages that the addresses are in. What is left (the last one,
 * elements that cross pages, devices, watched pages, faults) is the unit's, instruction by instruction.
 * Between two calls the unit polls.
 */
#include "xlate/front/riscv64/rv_emit.h"

enum {
    INSNS_MOST = 3 + RV_COPY_STEPS,
    ITERATIONS_LEAST = 32, /* for which the helper pays */
};

/* As far as the loop has been read. */
struct reading {
    union rv_copy_loop *copy;
    struct rv_insn load, store; /* length 0: not met yet */
    unsigned n_steps;
};

static int step_of(const union rv_copy_loop *copy, unsigned reg)
{
    for (unsigned i = 0; reg && i < RV_COPY_STEPS; i++)
        if (copy->reg[i] == reg)
            return copy->step[i];
    return 0;
}

static bool read_insn(struct reading *r, const struct rv_insn *i)
{
    rv_emit_fn emit = rv_rows[i->op].emit;

    if (emit == rv_emit_load) {
        if (r->load.length || r->store.length)
            return false;
        r->load = *i;
        r->copy->from_offset = (int16_t)(i->imm + step_of(r->copy, i->rs1));
        return true;
    }
    if (emit == rv_emit_store) {
        if (r->store.length)
            return false;
        r->store = *i;
        r->copy->to_offset = (int16_t)(i->imm + step_of(r->copy, i->rs1));
        return true;
    }
    if (i->op != RV_ADDI || !i->rd || i->rd != i->rs1 || !i->imm || r->n_steps == RV_COPY_STEPS ||
        step_of(r->copy, i->rd))
        return false;
    r->copy->reg[r->n_steps] = i->rd;
    r->copy->step[r->n_steps++] = (int16_t)i->imm;
    return true;
}

/* The accesses: an element each time, the next one every time, and its value goes nowhere else. */
static bool read_accesses(const struct reading *r)
{
    union rv_copy_loop *copy = r->copy;
    const struct rv_insn *from = &r->load, *to = &r->store;
    uint32_t size = rv_rows[to->op].arg;

    if (!to->length || step_of(copy, to->rs1) != 1 << size || step_of(copy, to->rs2))
        return false;
    copy->to = to->rs1;
    copy->value = to->rs2;
    copy->mem = (uint8_t)size;
    if (!from->length)
        return true;
    copy->from = from->rs1;
    copy->mem = (uint8_t)rv_rows[from->op].arg;
    return from->rd && from->rd == to->rs2 && (copy->mem & IR_MEM_SIZE) == size &&
           step_of(copy, from->rs1) == 1 << size;
}

static bool read_branch(union rv_copy_loop *copy, const struct rv_insn *i)
{
    bool swap = i->op == RV_BNE && !step_of(copy, i->rs1);
    int step;

    copy->counter = swap ? i->rs2 : i->rs1;
    copy->end = swap ? i->rs1 : i->rs2;
    step = step_of(copy, copy->counter);
    copy->test = i->op == RV_BNE ? IR_NE : i->op == RV_BLTU ? IR_LTU : IR_LTS;
    if (i->op != RV_BNE && ((i->op != RV_BLTU && i->op != RV_BLT) || step < 0))
        return false;
    return step && !step_of(copy, copy->end) && (!copy->from || copy->end != copy->value);
}

bool rv_find_copy(const struct xl_source *source, union rv_copy_loop *copy)
{
    struct reading r = {.copy = copy};
    uint32_t offset = 0;
    struct rv_insn i;

    *copy = (union rv_copy_loop){0};
    for (copy->insns = 1; copy->insns <= INSNS_MOST; copy->insns++) {
        if (!rv_fetch(source, offset, &i) || !i.row)
            return false;
        if (rv_rows[i.op].emit == rv_emit_branch)
            return i.imm == -(int32_t)offset && read_accesses(&r) && read_branch(copy, &i);
        if (!read_insn(&r, &i))
            return false;
        offset += i.length;
    }
    return false;
}

uint32_t rv_begin_copy(struct rv_translation *t, const union rv_copy_loop *copy)
{
    struct ir_unit *unit = t->unit;
    uint32_t counter = rv_x(t, copy->counter), end = rv_x(t, copy->end), at;
    int16_t step = rv_copy_step(copy);
    uint32_t left = step > 0 ? ir_bin(unit, IR_SUB, IR_I64, end, counter)
                             : ir_bin(unit, IR_SUB, IR_I64, counter, end);
    uint32_t many = ir_cmp(unit, IR_GEU, IR_I64, left,
                           ir_const(unit, IR_I64, ITERATIONS_LEAST * ABS(step)));
    uint32_t body = ir_block_reserve(unit);

    unit->pattern[copy->from ? IR_PATTERN_COPY_LOOP : IR_PATTERN_FILL_LOOP]++;
    at = unit->n;
    ir_brif(unit, many, 2, body, body); /* until the block of the call has a number */
    ir_block_start(unit, body);
    return at;
}

/* Behind all else, out of the way of who doesn't call. */
void rv_end_copy(struct rv_translation *t, const union rv_copy_loop *copy, uint32_t at)
{
    struct ir_unit *unit = t->unit;
    uint32_t body = unit->insn[at].block[1], call = ir_block_reserve(unit), word[3];

    unit->insn[at].block[0] = call;
    ir_block_start(unit, call);
    for (unsigned k = 0; k < G_N_ELEMENTS(word); k++)
        word[k] = ir_const(unit, IR_I64, (int64_t)copy->word[k]);
    rv_call(t, RV_HELPER_COPY_LOOP, word[0], word[1], word[2], IR_NONE);
    ir_br(unit, body, NULL, 0);
}
