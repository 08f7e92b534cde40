/*
 * rv_emit_lrsc.c: a loop of load-reserved and store-conditional, recognised and made one piece.
 *
 *     again: lr  value, (address)
 *            at most one conditional branch out, at most LRSC_BODY computations
 *            sc  failed, new, (address)
 *            bnez failed, again
 *
 * As separate units LR and SC look the reservation up in memory. In one piece it is known: the address is the
 * same and the value is what LR saw, so SC is a compare-and-swap. Where the new value is one operation on the old
 * one and nothing else leaves the loop, that is a locked operation, which cannot fail: code goes on behind the
 * loop without a branch.
 *
 * All else stays as it is instruction by instruction. LR loads and may fault as a load at its own address;
 * SC may fault as a store at its own, with LR's value and the computations' in their registers. The reservation is
 * noted all the same: for who branches out, and for an SC that is left at a watchpoint and run alone then.
 */
#include "xlate/front/riscv64/rv_emit.h"

enum { LRSC_BODY = 4, PAGE = 4096 };

struct lrsc {
    struct rv_insn lr, sc, back;
    struct rv_insn body[LRSC_BODY + 1]; /* in their order, the branch among them */
    unsigned n, branch;                 /* branch: which of the body; n where there is none */
    uint32_t bytes;
};

static bool is_computation(const struct rv_insn *i)
{
    rv_emit_fn emit = rv_rows[i->op].emit;

    return emit == rv_emit_op || emit == rv_emit_opi || emit == rv_emit_opw || emit == rv_emit_opiw ||
           emit == rv_emit_op_not || emit == rv_emit_lui || emit == rv_emit_minmax;
}

/* Reads the loop that begins with LR at OFFSET, all of it in one page; false where it is none. */
static bool read_loop(const struct rv_translation *t, const struct xl_source *source, uint32_t offset,
                      const struct rv_insn *lr, struct lrsc *loop)
{
    uint32_t width = rv_rows[lr->op].arg;
    struct rv_insn i;

    *loop = (struct lrsc){.lr = *lr, .branch = UINT32_MAX, .bytes = lr->length};
    for (;;) {
        if (!rv_fetch(source, offset + loop->bytes, &i) || !i.row || t->pc + (int32_t)loop->bytes + i.length > PAGE)
            return false;
        loop->bytes += i.length;
        if (rv_rows[i.op].emit == rv_emit_sc)
            break;
        if (loop->n == LRSC_BODY + 1)
            return false;
        if (rv_rows[i.op].emit == rv_emit_branch && loop->branch == UINT32_MAX)
            loop->branch = loop->n;
        else if (!is_computation(&i) || i.rd == lr->rs1)
            return false;
        loop->body[loop->n++] = i;
    }
    loop->sc = i;
    if (rv_rows[i.op].arg != width || i.rs1 != lr->rs1 || lr->rd == lr->rs1 || !i.rd || i.rd == lr->rs1)
        return false;
    if (!rv_fetch(source, offset + loop->bytes, &loop->back) || !loop->back.row ||
        t->pc + (int32_t)loop->bytes + loop->back.length > PAGE)
        return false;
    loop->branch = MIN(loop->branch, loop->n);
    bool again = loop->back.op == RV_BNE && loop->back.rs1 == i.rd && !loop->back.rs2 &&
                 loop->back.imm == -(int32_t)loop->bytes;
    loop->bytes += loop->back.length;
    return again;
}

/* --- what is one locked operation ------------------------------------------------------------- */

/* What the body does to memory; its operand is a register's value, an immediate, or the negation of the former. */
struct locked {
    enum ir_rmw op;
    unsigned reg;
    int64_t imm;
    bool immediate, negate;
};

static const struct {
    uint16_t row;
    uint8_t op; /* enum ir_rmw */
    bool immediate, negate;
} locked_rows[] = {
    {RV_ADD, IR_RMW_ADD, false, false},  {RV_ADDW, IR_RMW_ADD, false, false}, {RV_SUB, IR_RMW_ADD, false, true},
    {RV_SUBW, IR_RMW_ADD, false, true},  {RV_AND, IR_RMW_AND, false, false},  {RV_OR, IR_RMW_OR, false, false},
    {RV_XOR, IR_RMW_XOR, false, false},  {RV_ADDI, IR_RMW_ADD, true, false},  {RV_ADDIW, IR_RMW_ADD, true, false},
    {RV_ANDI, IR_RMW_AND, true, false},  {RV_ORI, IR_RMW_OR, true, false},    {RV_XORI, IR_RMW_XOR, true, false},
};

/* The value that was loaded, LOOP's lr.rd, and another register: which. */
static bool other_of(const struct lrsc *loop, const struct rv_insn *i, bool ordered, unsigned *reg)
{
    unsigned value = loop->lr.rd;

    if (i->rs1 == value && i->rs2 != value)
        *reg = i->rs2;
    else if (!ordered && i->rs2 == value && i->rs1 != value)
        *reg = i->rs1;
    else
        return false;
    return *reg != i->rd && (*reg != loop->sc.rd || !*reg);
}

static bool find_locked(const struct lrsc *loop, struct locked *out)
{
    const struct rv_insn *i = &loop->body[0];

    *out = (struct locked){.op = IR_RMW_SWAP, .reg = loop->sc.rs2};
    if (loop->branch < loop->n || loop->n > 1 || !loop->lr.rd)
        return false;
    if (loop->n == 0)
        return loop->sc.rs2 != loop->lr.rd && (loop->sc.rs2 != loop->sc.rd || !loop->sc.rs2);
    if (!i->rd || loop->sc.rs2 != i->rd)
        return false;
    for (size_t k = 0; k < G_N_ELEMENTS(locked_rows); k++) {
        if (locked_rows[k].row != i->op)
            continue;
        if (rv_rows[loop->sc.op].arg == 3 && rv_rows[i->op].emit != rv_emit_op && rv_rows[i->op].emit != rv_emit_opi)
            return false; /* of low halves, which only those of words are */
        *out = (struct locked){locked_rows[k].op, 0, i->imm, locked_rows[k].immediate, locked_rows[k].negate};
        return out->immediate ? i->rs1 == loop->lr.rd : other_of(loop, i, out->negate, &out->reg);
    }
    return false;
}

/* --- emission --------------------------------------------------------------------------------- */

/* Begins the next instruction of the unit. */
static void begin(struct rv_translation *t, const struct rv_insn *i)
{
    t->pc = t->next;
    t->next += i->length;
    ir_at(t->unit, t->pc, i->length);
}

static void emit(struct rv_translation *t, const struct rv_insn *i)
{
    rv_rows[i->op].emit(t, i, rv_rows[i->op].arg);
}

/* Leaves the loop where the branch is taken. False: it always is. */
static bool emit_way_out(struct rv_translation *t, const struct lrsc *loop)
{
    const struct rv_insn *i = &loop->body[loop->branch];
    uint32_t a = rv_x(t, i->rs1), b = rv_x(t, i->rs2), cond = rv_rows[i->op].arg;
    uint32_t test = ir_cmp(t->unit, cond, IR_I64, a, b);
    bool known = ir_is_const(t->unit, test);

    rv_retire(t);
    if (known && !t->unit->insn[test].imm)
        return true;
    uint32_t taken = 0, stays = 0;
    if (!known) {
        taken = ir_block_reserve(t->unit);
        stays = ir_block_reserve(t->unit);
        ir_brif(t->unit, test, 0, taken, stays);
        ir_block_start(t->unit, taken);
    }
    rv_go(t, (int64_t)t->pc + i->imm, 0, 0);
    if (known)
        return false;
    t->done = false;
    ir_block_start(t->unit, stays);
    return true;
}

static void emit_locked(struct rv_translation *t, const struct lrsc *loop, const struct locked *op)
{
    unsigned mem = rv_atomic_mem(&loop->sc) | rv_atomic_mem(&loop->lr);
    uint32_t operand = op->immediate ? ir_const(t->unit, IR_I64, op->imm) : rv_x(t, op->reg);
    int64_t imm;

    if (op->negate)
        operand = ir_bin(t->unit, IR_SUB, IR_I64, ir_const(t->unit, IR_I64, 0), operand);
    uint32_t h = rv_address(t, &loop->sc, 1u << (mem & IR_MEM_SIZE), true, &imm);
    uint32_t old = ir_rmw(t->unit, op->op, IR_I64, mem, h, imm, operand);
    rv_set_x(t, loop->lr.rd, old);
    if (loop->n)
        emit(t, &loop->body[0]);
    ir_set(t->unit, RV_SLOT_RES_TAG, ir_const(t->unit, IR_I64, (int64_t)RV_RES_NONE));
    rv_set_x(t, loop->sc.rd, ir_const(t->unit, IR_I64, 0));
}

static void emit_swap(struct rv_translation *t, const struct lrsc *loop, uint32_t value)
{
    unsigned mem = rv_atomic_mem(&loop->sc);
    uint32_t always = ir_const(t->unit, IR_I64, 1);
    int64_t imm;
    uint32_t h = rv_address(t, &loop->sc, 1u << (mem & IR_MEM_SIZE), true, &imm);
    uint32_t failed = ir_sc(t->unit, IR_I64, mem, h, imm, always, value, rv_x(t, loop->sc.rs2));

    ir_set(t->unit, RV_SLOT_RES_TAG, ir_const(t->unit, IR_I64, (int64_t)RV_RES_NONE));
    rv_set_x(t, loop->sc.rd, failed);
}

unsigned rv_emit_lrsc(struct rv_translation *t, const struct xl_source *source, uint32_t offset,
                      const struct rv_insn *lr, uint32_t most)
{
    struct lrsc loop;
    struct locked op;

    if (!read_loop(t, source, offset, lr, &loop) || loop.n + 3 > most)
        return 0;
    bool locked = find_locked(&loop, &op);
    t->unit->pattern[locked ? IR_PATTERN_LRSC_LOCKED : IR_PATTERN_LRSC_CAS]++;
    uint32_t value = rv_load_reserved(t, lr);
    rv_reserve(t, lr, value);
    rv_set_x(t, lr->rd, value);
    rv_retire(t);
    for (unsigned k = 0; k < loop.n; k++) {
        begin(t, &loop.body[k]);
        if (k == loop.branch) {
            if (!emit_way_out(t, &loop))
                return loop.bytes;
        } else {
            emit(t, &loop.body[k]);
            rv_retire(t);
        }
    }
    begin(t, &loop.sc);
    if (locked)
        emit_locked(t, &loop, &op);
    else
        emit_swap(t, &loop, value);
    rv_retire(t);
    begin(t, &loop.back);
    if (locked)
        rv_retire(t); /* it never goes back */
    else
        emit(t, &loop.back);
    return loop.bytes;
}
