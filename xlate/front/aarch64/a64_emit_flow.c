/*
 * a64_emit_flow.c: branches, and how units end.
 */
#include "xlate/front/aarch64/a64_emit.h"

void a64_end(struct a64_translation *t)
{
    if (t->mode & A64_MODE_STEP)
        a64_call(t, A64_HELPER_STEP_END, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    ir_exit_state(t->unit);
    t->done = true;
}

/* A stepped instruction goes on at TARGET in another mode. */
static void step_to(struct a64_translation *t, uint32_t target)
{
    a64_call(t, A64_HELPER_STEP_TO, target, IR_NONE, IR_NONE, IR_NONE);
    ir_exit_state(t->unit);
    t->done = true;
}

void a64_go(struct a64_translation *t, int64_t displacement, unsigned flags, int32_t ret)
{
    if (t->mode & A64_MODE_STEP) {
        step_to(t, ir_pcrel(t->unit, displacement));
        return;
    }
    if (displacement <= t->pc)
        flags |= IR_EXIT_POLL;
    ir_exit(t->unit, flags, (int32_t)displacement, ret);
    t->done = true;
}

/* To pc + the immediate where TEST is 1. */
static void branch_if(struct a64_translation *t, const struct a64_insn *i, uint32_t test)
{
    int64_t target = (int64_t)t->pc + i->imm;

    if (ir_is_const(t->unit, test)) {
        a64_go(t, t->unit->insn[test].imm ? target : t->next, 0, 0);
        return;
    }
    uint32_t taken = ir_block_reserve(t->unit), not_taken = ir_block_reserve(t->unit);
    ir_brif(t->unit, test, target <= t->pc ? 1 : 0, taken, not_taken);
    ir_block_start(t->unit, taken);
    a64_go(t, target, 0, 0);
    ir_block_start(t->unit, not_taken);
    a64_go(t, t->next, 0, 0);
}

void a64_emit_b(struct a64_translation *t, const struct a64_insn *i, uint32_t link)
{
    if (link)
        a64_set_x(t, 30, ir_pcrel(t->unit, t->next));
    a64_go(t, (int64_t)t->pc + i->imm, link ? IR_EXIT_CALL : 0, link ? t->next : 0);
}

void a64_emit_b_cond(struct a64_translation *t, const struct a64_insn *i, uint32_t arg)
{
    branch_if(t, i, a64_condition(t, i->cond));
}

void a64_emit_cb(struct a64_translation *t, const struct a64_insn *i, uint32_t cond)
{
    enum ir_type type = a64_type(i);

    branch_if(t, i, ir_cmp(t->unit, (enum ir_cond)cond, type, a64_r(t, i, i->rt),
                           ir_const(t->unit, type, 0)));
}

void a64_emit_tb(struct a64_translation *t, const struct a64_insn *i, uint32_t cond)
{
    uint64_t bit = UINT64_C(1) << (i->b5 << 5 | i->b40);
    uint32_t zero = ir_const(t->unit, IR_I64, 0), value = a64_x(t, i->rt);

    if (bit >> 63) /* the sign: no mask is needed */
        branch_if(t, i, ir_cmp(t->unit, cond == IR_EQ ? IR_GES : IR_LTS, IR_I64, value, zero));
    else
        branch_if(t, i, ir_cmp(t->unit, (enum ir_cond)cond, IR_I64,
                               ir_bini(t->unit, IR_AND, IR_I64, value, (int64_t)bit), zero));
}

/* FLAGS: IR_EXIT_CALL of BLR, IR_EXIT_RETURN of RET. */
void a64_emit_br(struct a64_translation *t, const struct a64_insn *i, uint32_t flags)
{
    uint32_t target = a64_x(t, i->rn);
    bool call = flags & IR_EXIT_CALL;

    if (call)
        a64_set_x(t, 30, ir_pcrel(t->unit, t->next));
    if (t->mode & A64_MODE_STEP) {
        step_to(t, target);
        return;
    }
    ir_exit_ind(t->unit, flags | IR_EXIT_POLL, target, call ? t->next : 0);
    t->done = true;
}
