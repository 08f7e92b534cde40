/*
 * What the lanes of a warp do together: shuffles, votes, matches, reductions (PTX ISA, section 9.7.9.5 on and
 * 9.7.14). The forms with a mask wait until the lanes it names are here.
 */
#include "gpu/soft/exec/exec.h"

/* The lanes that take part; 0: some are still to come, or the path stopped. */
static bool gather(struct warp *w, const struct soft_op *op, int32_t mask_at, uint32_t *lanes)
{
    *lanes = w->exec;
    if (!(op->flags & WARP_SYNC))
        return true;
    const uint32_t *mask = exec_reg(w, mask_at);
    uint32_t need = mask[__builtin_ctz(w->exec)];

    if (!exec_converge(w, op, need))
        return false;
    *lanes = w->exec;
    return true;
}

void exec_shfl(struct warp *w, const struct soft_op *op)
{
    const uint32_t *a = exec_reg(w, op->a), *bc = exec_reg(w, op->b);
    uint32_t *d = exec_reg(w, op->d), out[SOFT_WARP], lanes, ok = 0;

    if (!gather(w, op, (int32_t)op->imm, &lanes))
        return;
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        int b = bc[2 * i] & 31, clamp = bc[2 * i + 1] & 31, seg = bc[2 * i + 1] >> 8 & 31;
        int most = ((int)i & seg) | (clamp & ~seg), least = (int)i & seg, j;

        if (op->n == SHFL_UP)
            j = (int)i - b;
        else if (op->n == SHFL_DOWN)
            j = (int)i + b;
        else if (op->n == SHFL_BFLY)
            j = (int)i ^ b;
        else
            j = least | (b & ~seg);
        bool in = op->n == SHFL_UP ? j >= most : j <= most;

        j = in ? j : (int)i;
        out[i] = a[j & 31];
        ok |= (uint32_t)in << i;
    }
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (lanes >> i & 1)
            d[i] = out[i];
    }
    if (op->flags & WARP_PRED) {
        uint32_t *p = exec_pred(w, op->c);

        *p = (*p & ~lanes) | (ok & lanes);
    }
}

void exec_vote(struct warp *w, const struct soft_op *op)
{
    uint32_t lanes, votes, *d;

    if (!gather(w, op, (int32_t)op->imm, &lanes))
        return;
    votes = *exec_pred(w, op->a) & lanes;
    d = exec_reg(w, op->d);
    if (op->n == VOTE_BALLOT) {
        for (unsigned i = 0; i < SOFT_WARP; i++) {
            if (lanes >> i & 1)
                d[i] = votes;
        }
        return;
    }
    bool yes = op->n == VOTE_ALL   ? votes == lanes
               : op->n == VOTE_ANY ? votes != 0
                                   : votes == 0 || votes == lanes;

    *d = yes ? *d | lanes : *d & ~lanes;
}

void exec_match(struct warp *w, const struct soft_op *op)
{
    uint32_t lanes, *d = exec_reg(w, op->d), out[SOFT_WARP] = {0};
    uint64_t v[SOFT_WARP];

    if (!gather(w, op, (int32_t)op->imm, &lanes))
        return;
    for (unsigned i = 0; i < SOFT_WARP; i++)
        v[i] = op->flags & WARP_WIDE ? ((const uint64_t *)exec_reg(w, op->a))[i]
                                     : ((const uint32_t *)exec_reg(w, op->a))[i];
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        for (unsigned k = 0; k < SOFT_WARP; k++)
            out[i] |= (uint32_t)(v[i] == v[k] && (lanes >> k & 1)) << k;
    }
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (lanes >> i & 1)
            d[i] = op->flags & WARP_ALL && out[i] != lanes ? 0 : out[i];
    }
    if (op->flags & WARP_PRED) {
        uint32_t *p = exec_pred(w, op->b);

        *p = out[__builtin_ctz(lanes)] == lanes ? *p | lanes : *p & ~lanes;
    }
}

static uint32_t reduce(unsigned kind, bool sign, uint32_t a, uint32_t b)
{
    bool less = sign ? (int32_t)a < (int32_t)b : a < b;

    switch (kind) {
    case ATOM_ADD:
        return a + b;
    case ATOM_MIN:
        return less ? a : b;
    case ATOM_MAX:
        return less ? b : a;
    case ATOM_AND:
        return a & b;
    case ATOM_OR:
        return a | b;
    default:
        return a ^ b;
    }
}

void exec_redux(struct warp *w, const struct soft_op *op)
{
    const uint32_t *a = exec_reg(w, op->a);
    uint32_t lanes, *d = exec_reg(w, op->d), v = 0;
    bool first = true;

    if (!gather(w, op, (int32_t)op->imm, &lanes))
        return;
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (!(lanes >> i & 1))
            continue;
        v = first ? a[i] : reduce(op->n, op->flags & WARP_SIGNED, v, a[i]);
        first = false;
    }
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (lanes >> i & 1)
            d[i] = v;
    }
}

void exec_warpsync(struct warp *w, const struct soft_op *op)
{
    const uint32_t *mask = exec_reg(w, op->a);

    exec_converge(w, op, mask[__builtin_ctz(w->exec)]);
}

void exec_activemask(struct warp *w, const struct soft_op *op)
{
    uint32_t *d = exec_reg(w, op->d);

    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (w->exec >> i & 1)
            d[i] = w->mask;
    }
}

void exec_elect(struct warp *w, const struct soft_op *op)
{
    uint32_t lanes, *d = exec_reg(w, op->d), *p = exec_pred(w, op->a);

    if (!gather(w, op, (int32_t)op->imm, &lanes))
        return;
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (lanes >> i & 1)
            d[i] = __builtin_ctz(lanes);
    }
    *p = (*p & ~lanes) | (lanes & -lanes);
}
