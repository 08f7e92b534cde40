/*
 * rv_emit_flow.c: branches and jumps, and how units end.
 */
#include "xlate/front/riscv64/rv_emit.h"

void rv_retire(struct rv_translation *t)
{
    if (t->mode & RV_MODE_COUNT)
        ir_set(t->unit, RV_SLOT_INSTRET,
               ir_bini(t->unit, IR_ADD, IR_I64, ir_get(t->unit, IR_I64, RV_SLOT_INSTRET), 1));
}

void rv_leave(struct rv_translation *t)
{
    ir_exit_state(t->unit);
    t->done = true;
}

void rv_end(struct rv_translation *t)
{
    rv_retire(t);
    rv_leave(t);
}

void rv_go(struct rv_translation *t, int64_t displacement, unsigned flags, int32_t ret)
{
    if (displacement == (int32_t)displacement) {
        if (displacement <= t->pc)
            flags |= IR_EXIT_POLL;
        ir_exit(t->unit, flags, displacement, ret);
    } else {
        ir_exit_ind(t->unit, flags | IR_EXIT_POLL, ir_pcrel(t->unit, displacement), ret);
    }
    t->done = true;
}

void rv_emit_branch(struct rv_translation *t, const struct rv_insn *i, uint32_t cond)
{
    uint32_t a = rv_x(t, i->rs1), b = rv_x(t, i->rs2);
    uint32_t test = ir_cmp(t->unit, cond, IR_I64, a, b);
    int64_t target = (int64_t)t->pc + i->imm;

    rv_retire(t);
    if (ir_is_const(t->unit, test)) {
        rv_go(t, t->unit->insn[test].imm ? target : t->next, 0, 0);
        return;
    }
    t->loops = target == t->unit->start;
    uint32_t taken = ir_block_reserve(t->unit), not_taken = ir_block_reserve(t->unit);
    ir_brif(t->unit, test, target <= t->pc ? 1 : 0, taken, not_taken);
    ir_block_start(t->unit, taken);
    rv_go(t, target, 0, 0);
    ir_block_start(t->unit, not_taken);
    rv_go(t, t->next, 0, 0);
}

/* x1 and x5 hold return addresses (unprivileged manual, 2.5.1). */
static bool is_link(unsigned number)
{
    return number == 1 || number == 5;
}

void rv_emit_jal(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    rv_retire(t);
    if (i->rd)
        rv_set_x(t, i->rd, ir_pcrel(t->unit, t->next));
    rv_go(t, (int64_t)t->pc + i->imm, is_link(i->rd) ? IR_EXIT_CALL : 0,
          is_link(i->rd) ? t->next : 0);
}

void rv_emit_jalr(struct rv_translation *t, const struct rv_insn *i, uint32_t arg)
{
    bool call = is_link(i->rd);
    unsigned flags = call ? IR_EXIT_CALL : is_link(i->rs1) ? IR_EXIT_RETURN : 0;
    uint32_t target = ir_bini(t->unit, IR_ADD, IR_I64, rv_x(t, i->rs1), i->imm);
    const struct ir_insn *from = &t->unit->insn[target];
    bool known = from->op == IR_PCREL;
    int64_t displacement = from->imm & ~INT64_C(1);

    rv_retire(t);
    if (!known)
        target = ir_bini(t->unit, IR_AND, IR_I64, target, -2);
    if (i->rd)
        rv_set_x(t, i->rd, ir_pcrel(t->unit, t->next));
    if (known) {
        t->unit->pattern[IR_PATTERN_FAR_JUMP]++;
        rv_go(t, displacement, flags & IR_EXIT_CALL, call ? t->next : 0);
        return;
    }
    ir_exit_ind(t->unit, flags | IR_EXIT_POLL, target, call ? t->next : 0);
    t->done = true;
}
