/*
 * Branches, joins, exits, calls and barriers.
 */
#include "gpu/soft/exec/exec.h"

#include <string.h>

void exec_nop(struct warp *w, const struct soft_op *op)
{
}

void exec_trap(struct warp *w, const struct soft_op *op)
{
    exec_fault(w, op, SOFT_LAUNCH_FAILED, "trap");
}

void exec_sleep(struct warp *w, const struct soft_op *op)
{
    w->stop = true; /* others may run */
}

/* A jump back may be a loop that waits for others. */
static void jump(struct warp *w, uint32_t pc)
{
    if (pc < w->pc && --w->budget <= 0)
        w->stop = true;
    w->pc = pc;
}

void exec_bra(struct warp *w, const struct soft_op *op)
{
    if (w->exec == w->mask)
        jump(w, op->imm);
    else
        exec_diverge(w, w->exec, op->imm, op->d);
}

void exec_brx(struct warp *w, const struct soft_op *op)
{
    const GArray *table = w->frame->fn->tables->pdata[op->imm];
    const uint32_t *a = exec_reg(w, op->a);

    for (;;) {
        uint32_t index = a[__builtin_ctz(w->mask)], same = 0;

        if (index >= table->len) {
            exec_fault(w, op, SOFT_ILLEGAL_INSTRUCTION, "brx.idx: no target %u", index);
            return;
        }
        for (unsigned i = 0; i < SOFT_WARP; i++)
            same |= (uint32_t)(a[i] == index) << i;
        same &= w->mask;
        if (same == w->mask) {
            jump(w, g_array_index(table, uint32_t, index));
            return;
        }
        exec_diverge(w, same, g_array_index(table, uint32_t, index), op->d);
    }
}

/* The path's lanes have come to join J, or left for good (ARRIVED 0): where they go on when all are there. */
static void path_end(struct warp *w)
{
    w->path->mask = 0;
    w->path = NULL;
    w->stop = true;
}

void exec_join(struct warp *w, const struct soft_op *op)
{
    struct exec_join *j = w->path->join;
    uint32_t here = w->pc - 1;

    while (j && j->pc == here && j->frame == w->frame) {
        j->arrived |= w->mask;
        if (j->arrived != j->expected) {
            path_end(w);
            return;
        }
        w->path->mask = w->mask = j->expected;
        w->path->join = j->up;
        g_free(j);
        j = w->path->join;
    }
}

/* The path has no lanes left: joins that waited for it alone go on. */
static void path_exit(struct warp *w)
{
    struct exec_join *j = w->path->join;
    struct exec_path *p = w->path;

    while (j && !j->expected) {
        struct exec_join *up = j->up;

        g_free(j);
        j = up;
    }
    path_end(w);
    if (!j || j->arrived != j->expected)
        return;
    *p = (struct exec_path){.mask = j->expected, .pc = j->pc, .frame = j->frame, .join = j->up};
    g_free(j);
}

void exec_exit(struct warp *w, const struct soft_op *op)
{
    struct exec_block *b = w->block;
    uint32_t gone = w->exec;

    w->live &= ~gone;
    b->live -= __builtin_popcount(gone);
    for (struct exec_join *j = w->path->join; j; j = j->up)
        j->expected &= ~gone;
    w->mask &= ~gone;
    w->path->mask = w->mask;
    /* Who waited for these lanes looks again. */
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (w->paths[i].mask && w->paths[i].state == PATH_WARPSYNC) {
            w->paths[i].state = PATH_READY;
            w->paths[i].pc--;
        }
    }
    if (!w->mask)
        path_exit(w);
    for (unsigned i = 0; i < EXEC_BARRIERS; i++)
        exec_barrier_check(b, i);
}

/* ---- Calls ---- */

static void copy_bytes(struct warp *w, uint8_t *to, unsigned to_stride, const uint8_t *from,
                       unsigned from_stride, unsigned size)
{
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (w->mask >> i & 1)
            memcpy(to + i * to_stride, from + i * from_stride, size);
    }
}

void exec_ret(struct warp *w, const struct soft_op *op)
{
    struct exec_frame *f = w->frame, *up = f->up;

    if (!up) {
        exec_exit(w, op);
        return;
    }
    for (unsigned i = 0; i < f->call->rets; i++)
        copy_bytes(w, up->pmem + f->call->ret[i].offset, up->fn->pmem,
                   f->pmem + g_array_index(f->fn->rets, struct soft_formal, i).offset, f->fn->pmem,
                   f->call->ret[i].size);
    w->frame = w->path->frame = up;
    w->regs = up->regs;
    w->consts = up->fn->consts;
    w->pc = f->ret_pc;
    exec_frame_free(w, f);
}

static void enter(struct warp *w, const struct soft_op *op, const struct soft_function *fn, const struct soft_call *call)
{
    struct exec_frame *f, *up = w->frame;

    if (fn->builtin) {
        exec_builtin(w, op, call, fn->builtin);
        return;
    }
    if (up->depth + 1 >= LIMIT_DEPTH || up->local_base + up->fn->local + fn->local > SOFT_MAX_LOCAL) {
        exec_fault(w, op, SOFT_HARDWARE_STACK_ERROR, "calls are too deep");
        return;
    }
    f = exec_frame_new(w, fn);
    f->up = up;
    f->call = call;
    f->depth = up->depth + 1;
    f->local_base = (up->local_base + up->fn->local + 15) & ~15u;
    f->ret_pc = w->pc;
    for (unsigned i = 0; i < call->args; i++)
        copy_bytes(w, f->pmem + g_array_index(fn->params, struct soft_formal, i).offset, fn->pmem,
                   up->pmem + call->arg[i].offset, up->fn->pmem, call->arg[i].size);
    w->frame = w->path->frame = f;
    w->regs = f->regs;
    w->consts = fn->consts;
    w->pc = 0;
    if (--w->budget <= 0)
        w->stop = true;
}

void exec_call(struct warp *w, const struct soft_op *op)
{
    const struct soft_call *call = w->frame->fn->calls->pdata[op->imm];

    enter(w, op, call->callee, call);
}

static bool fits(const struct soft_function *fn, const struct soft_call *call)
{
    if (fn->params->len != call->args || fn->rets->len != call->rets)
        return false;
    for (unsigned i = 0; i < call->args; i++) {
        if (g_array_index(fn->params, struct soft_formal, i).size != call->arg[i].size)
            return false;
    }
    for (unsigned i = 0; i < call->rets; i++) {
        if (g_array_index(fn->rets, struct soft_formal, i).size != call->ret[i].size)
            return false;
    }
    return true;
}

void exec_call_indirect(struct warp *w, const struct soft_op *op)
{
    const struct soft_module *m = w->block->grid->fn->module;
    const struct soft_call *call = w->frame->fn->calls->pdata[op->imm];
    const uint64_t *a = exec_reg(w, op->a);
    uint64_t target = a[__builtin_ctz(w->mask)], n = (target - SOFT_CODE_BASE) / SOFT_CODE_STEP;
    const struct soft_function *fn = n < m->functions->len ? m->functions->pdata[n] : NULL;
    uint32_t same = 0;

    if (target % SOFT_CODE_STEP || !fn || fn->entry || (!fn->defined && !fn->builtin) || !fits(fn, call)) {
        exec_fault(w, op, SOFT_INVALID_PC, "call of 0x%" PRIx64 ", which is no such function", target);
        return;
    }
    for (unsigned i = 0; i < SOFT_WARP; i++)
        same |= (uint32_t)(a[i] == target) << i;
    /* Lanes that call another function do so on a path of their own; the join comes right after. */
    if (w->mask & ~same)
        exec_diverge(w, w->mask & ~same, w->pc - 1, w->pc);
    enter(w, op, fn, call);
}

/* ---- Barriers ---- */

static uint32_t first_lane(const struct warp *w, int32_t at)
{
    return ((const uint32_t *)exec_reg(w, at))[__builtin_ctz(w->exec)];
}

/* The result of a reduction for a path that waited. */
static void give(struct exec_barrier *bar, struct exec_path *p)
{
    const struct soft_op *op = &p->frame->fn->ops[p->pc - 1];
    uint32_t *d = (uint32_t *)(p->frame->regs + op->d);

    if (op->n == BAR_POPC) {
        for (unsigned i = 0; i < SOFT_WARP; i++) {
            if (p->mask >> i & 1)
                d[i] = bar->popc;
        }
    } else if (op->n == BAR_AND || op->n == BAR_OR) {
        *d = (op->n == BAR_AND ? bar->all : bar->any) ? *d | p->mask : *d & ~p->mask;
    }
}

void exec_barrier_check(struct exec_block *block, unsigned id)
{
    struct exec_barrier *bar = &block->barriers[id];

    if (!bar->arrived || bar->arrived < (bar->expected ? bar->expected : block->live))
        return;
    for (unsigned i = 0; i < block->n_warps; i++) {
        for (unsigned k = 0; k < SOFT_WARP; k++) {
            struct exec_path *p = &block->warps[i].paths[k];

            if (!p->mask || p->state != PATH_BARRIER || p->barrier != id)
                continue;
            give(bar, p);
            p->state = PATH_READY;
        }
    }
    *bar = (struct exec_barrier){0};
}

void exec_bar(struct warp *w, const struct soft_op *op)
{
    uint32_t id = first_lane(w, op->a), count = op->b ? first_lane(w, op->b) : 0;
    unsigned lanes = __builtin_popcount(w->exec);
    struct exec_barrier *bar;

    if (id >= EXEC_BARRIERS || count % SOFT_WARP) {
        exec_fault(w, op, SOFT_ILLEGAL_INSTRUCTION, "barrier %u of %u threads", id, count);
        return;
    }
    bar = &w->block->barriers[id];
    if (!bar->arrived)
        bar->all = true;
    /* A count is one of whole warps: the last one's missing lanes count as well. */
    bar->arrived += count && w->exec == w->live ? SOFT_WARP : lanes;
    bar->expected = count;
    if (op->n >= BAR_POPC) {
        uint32_t votes = *exec_pred(w, op->c) & w->exec;

        bar->popc += __builtin_popcount(votes);
        bar->all &= votes == w->exec;
        bar->any |= votes != 0;
    }
    if (op->n != BAR_ARRIVE) {
        w->path->state = PATH_BARRIER;
        w->path->barrier = id;
        w->path->pc = w->pc;
        w->path->frame = w->frame;
        w->stop = true;
    }
    exec_barrier_check(w->block, id);
}
