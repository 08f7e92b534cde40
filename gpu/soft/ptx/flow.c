/*
 * Where lanes that part at a branch meet again: the immediate post-dominator, found over basic blocks by
 * the iterative algorithm of Cooper, Harvey and Kennedy ("A Simple, Fast Dominance Algorithm") on the reversed graph.
 *
 * The function's last two operations, a join and its return, are what every path that ends runs into; lanes
 * that exit are taken to go there as well. Blocks begin at joins and after branches.
 */
#include "gpu/soft/exec/exec.h"

#include <string.h>

struct flow {
    const struct soft_function *fn;
    unsigned n;             /* blocks; the last is the exit */
    uint32_t *start;        /* of each block; start[n] is the end */
    uint32_t *block_of;     /* of each operation */
    GArray *succ, *first;   /* successors of block b: succ[first[b] .. first[b + 1]) */
    GArray *pred, *pred_first;
    uint32_t *order, *number; /* post-order of the reversed graph */
    uint32_t *idom;
};

#define NONE UINT32_MAX

static bool ends_block(const struct soft_op *op)
{
    return op->run == exec_bra || op->run == exec_brx || (op->run == exec_exit && !op->guarded) ||
           (op->run == exec_trap && !op->guarded);
}

static void find_blocks(struct flow *f)
{
    const struct soft_function *fn = f->fn;

    f->start = g_new(uint32_t, fn->n_ops + 1);
    f->block_of = g_new(uint32_t, fn->n_ops);
    for (unsigned i = 0; i < fn->n_ops; i++) {
        if (i == 0 || (fn->ops[i].run == exec_join && i > f->start[f->n - 1]) || ends_block(&fn->ops[i - 1]))
            f->start[f->n++] = i;
        f->block_of[i] = f->n - 1;
    }
    f->start[f->n] = fn->n_ops;
}

static void add(struct flow *f, uint32_t op)
{
    uint32_t b = f->block_of[op];

    g_array_append_val(f->succ, b);
}

static void find_edges(struct flow *f)
{
    const struct soft_function *fn = f->fn;

    f->succ = g_array_new(false, false, sizeof(uint32_t));
    f->first = g_array_new(false, false, sizeof(uint32_t));
    for (unsigned b = 0; b < f->n; b++) {
        const struct soft_op *last = &fn->ops[f->start[b + 1] - 1];

        g_array_append_val(f->first, f->succ->len);
        if (b == f->n - 1)
            break;
        if (last->run == exec_brx) {
            GArray *table = fn->tables->pdata[last->imm];

            for (unsigned i = 0; i < table->len; i++)
                add(f, g_array_index(table, uint32_t, i));
        } else if (last->run == exec_bra) {
            add(f, last->imm);
        } else if (ends_block(last)) {
            add(f, fn->n_ops - 1);
        }
        if (!ends_block(last) || (last->run == exec_bra && last->guarded))
            add(f, f->start[b + 1]);
    }
    g_array_append_val(f->first, f->succ->len);
}

#define AT(array, i) g_array_index(array, uint32_t, i)

static void find_preds(struct flow *f)
{
    f->pred = g_array_sized_new(false, true, sizeof(uint32_t), f->succ->len);
    f->pred_first = g_array_sized_new(false, true, sizeof(uint32_t), f->n + 2);
    g_array_set_size(f->pred, f->succ->len);
    g_array_set_size(f->pred_first, f->n + 2);
    for (unsigned i = 0; i < f->succ->len; i++)
        AT(f->pred_first, AT(f->succ, i) + 2)++;
    for (unsigned b = 2; b < f->n + 2; b++)
        AT(f->pred_first, b) += AT(f->pred_first, b - 1);
    for (unsigned b = 0; b < f->n; b++) {
        for (unsigned i = AT(f->first, b); i < AT(f->first, b + 1); i++)
            AT(f->pred, AT(f->pred_first, AT(f->succ, i) + 1)++) = b;
    }
}

/* Post-order from the exit against the arrows, without recursion. */
static unsigned number_blocks(struct flow *f)
{
    g_autofree uint32_t *stack = g_new(uint32_t, f->n), *next = g_new(uint32_t, f->n);
    unsigned depth = 0, n = 0;

    f->order = g_new(uint32_t, f->n);
    f->number = g_new(uint32_t, f->n);
    memset(f->number, 0xff, f->n * sizeof(uint32_t));
    memset(next, 0xff, f->n * sizeof(uint32_t));
    stack[depth++] = f->n - 1;
    next[f->n - 1] = AT(f->pred_first, f->n - 1);
    while (depth) {
        uint32_t b = stack[depth - 1];

        if (next[b] < AT(f->pred_first, b + 1)) {
            uint32_t to = AT(f->pred, next[b]++);

            if (next[to] == NONE) {
                next[to] = AT(f->pred_first, to);
                stack[depth++] = to;
            }
        } else {
            f->number[b] = n;
            f->order[n++] = b;
            depth--;
        }
    }
    return n;
}

static uint32_t common(const struct flow *f, uint32_t a, uint32_t b)
{
    while (a != b) {
        while (f->number[a] < f->number[b])
            a = f->idom[a];
        while (f->number[b] < f->number[a])
            b = f->idom[b];
    }
    return a;
}

static void post_dominators(struct flow *f)
{
    unsigned n = number_blocks(f);
    bool changed = true;

    f->idom = g_new(uint32_t, f->n);
    memset(f->idom, 0xff, f->n * sizeof(uint32_t));
    f->idom[f->n - 1] = f->n - 1;
    while (changed) {
        changed = false;
        for (unsigned i = n - 1; i-- > 0;) {
            uint32_t b = f->order[i], to = NONE;

            for (unsigned k = AT(f->first, b); k < AT(f->first, b + 1); k++) {
                uint32_t s = AT(f->succ, k);

                if (f->idom[s] != NONE)
                    to = to == NONE ? s : common(f, s, to);
            }
            changed |= to != f->idom[b];
            f->idom[b] = to;
        }
    }
}

void ptx_flow(struct soft_function *fn)
{
    struct flow f = {.fn = fn};

    find_blocks(&f);
    find_edges(&f);
    find_preds(&f);
    post_dominators(&f);
    for (unsigned b = 0; b + 1 < f.n; b++) {
        struct soft_op *last = &fn->ops[f.start[b + 1] - 1];

        if (last->run != exec_bra && last->run != exec_brx)
            continue;
        /* From an endless loop there is no way to the end: its lanes never meet. */
        uint32_t meet = f.idom[b] == NONE ? f.n - 1 : f.idom[b];

        last->d = f.start[meet];
    }
    g_free(f.start);
    g_free(f.block_of);
    g_free(f.order);
    g_free(f.number);
    g_free(f.idom);
    g_array_unref(f.succ);
    g_array_unref(f.first);
    g_array_unref(f.pred);
    g_array_unref(f.pred_first);
}
