/*
 * xlate/ir/unit.c: units, their arrays and blocks, the table of operations.
 *
 * Arrays double when full and are kept from unit to unit, so that translating allocates nothing in
 * the long run. Their size is bounded by what a front end puts into one unit (max_insns).
 */
#include "xlate/ir/ir.h"

#define F_PURE   IR_F_PURE
#define F_READ   IR_F_READ
#define F_WRITE  IR_F_WRITE
#define F_FAULT  IR_F_FAULT
#define F_TERM   IR_F_TERM
#define F_FPENV  IR_F_FPENV
#define R_NONE   IR_R_NONE
#define R_TYPE   IR_R_TYPE
#define R_I64    IR_R_I64
#define R_HANDLE IR_R_HANDLE

#define IR_OP(name, text, n, result, flags) [IR_##name] = {text, n, result, flags},
const struct ir_op_info ir_ops[IR_OP_COUNT] = {
#include "xlate/ir/ops.inc"
};
#undef IR_OP

#define IR_PATTERN(NAME, text, doc) [IR_PATTERN_##NAME] = text,
const char *const ir_pattern_names[IR_PATTERN_COUNT] = {
#include "xlate/ir/patterns.inc"
};
#undef IR_PATTERN

struct ir_unit *ir_unit_new(void)
{
    struct ir_unit *unit = g_new0(struct ir_unit, 1);

    unit->cap = 512;
    unit->insn = g_new(struct ir_insn, unit->cap);
    unit->cap_blocks = 8;
    unit->block = g_new(struct ir_block, unit->cap_blocks);
    unit->cap_param = 8;
    unit->param = g_new(uint32_t, unit->cap_param);
    unit->cap_side = 64;
    unit->side = g_new(struct ir_side, unit->cap_side);
    ir_unit_clear(unit);
    return unit;
}

/* By the library: for a size that it knows, gcc writes `rep stos`, which takes longer. */
static __attribute__((noinline, noclone)) void fill_none(uint32_t *at, size_t bytes)
{
    memset(at, 0xff, bytes);
}

/* What is known inside a block only. */
static void forget(struct ir_unit *unit)
{
    fill_none(unit->slot, sizeof(unit->slot));
    unit->barrier = unit->n;
    unit->zero = IR_NONE;
    unit->n_reach = unit->next_reach = 0;
}

void ir_unit_clear(struct ir_unit *unit)
{
    unit->n = unit->n_param = unit->n_side = 0;
    unit->n_blocks = 1;
    unit->block[0] = (struct ir_block){0};
    unit->start = 0;
    unit->bytes = unit->n_guest = unit->mode = 0;
    unit->cur = 0;
    unit->at = (struct ir_side){0};
    unit->at_side = IR_NONE;
    memset(unit->pattern, 0, sizeof(unit->pattern));
    fill_none(unit->set, sizeof(unit->set));
    forget(unit);
}

void ir_unit_free(struct ir_unit *unit)
{
    if (!unit)
        return;
    g_free(unit->insn);
    g_free(unit->block);
    g_free(unit->param);
    g_free(unit->side);
    g_free(unit);
}

void ir__grow(struct ir_unit *unit)
{
    unit->cap *= 2;
    unit->insn = g_renew(struct ir_insn, unit->insn, unit->cap);
}

uint32_t ir_append(struct ir_unit *unit, const struct ir_insn *insn)
{
    if (unlikely(unit->n == unit->cap))
        ir__grow(unit);
    unit->insn[unit->n] = *insn;
    unit->block[unit->cur].end = ++unit->n;
    return unit->n - 1;
}

void ir_at(struct ir_unit *unit, int32_t pc, unsigned length)
{
    unit->at = (struct ir_side){.pc = pc, .length = length, .index = unit->n_guest++};
    unit->at_side = IR_NONE;
}

uint32_t ir_block_reserve(struct ir_unit *unit)
{
    if (unit->n_blocks == unit->cap_blocks) {
        unit->cap_blocks *= 2;
        unit->block = g_renew(struct ir_block, unit->block, unit->cap_blocks);
    }
    unit->block[unit->n_blocks] = (struct ir_block){0};
    return unit->n_blocks++;
}

void ir_block_start(struct ir_unit *unit, uint32_t block)
{
    g_assert(block == unit->cur + 1 && block < unit->n_blocks);
    unit->cur = block;
    unit->block[block].first = unit->block[block].end = unit->n;
    forget(unit);
}

uint32_t ir_param(struct ir_unit *unit, enum ir_type type)
{
    struct ir_insn insn = {.op = IR_PARAM,
                           .type = type,
                           .arg = {IR_NONE, IR_NONE, IR_NONE, IR_NONE},
                           .side = IR_NONE,
                           .params = IR_NONE};

    unit->block[unit->cur].n_params++;
    return ir_append(unit, &insn);
}
