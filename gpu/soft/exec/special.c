/*
 * Special registers (PTX ISA, chapter 10).
 */
#include "gpu/soft/exec/exec.h"

#include <time.h>

enum {
    S_TID_X, S_TID_Y, S_TID_Z, S_NTID_X, S_NTID_Y, S_NTID_Z, S_CTAID_X, S_CTAID_Y, S_CTAID_Z,
    S_NCTAID_X, S_NCTAID_Y, S_NCTAID_Z, S_LANEID, S_WARPID, S_NWARPID, S_SMID, S_NSMID, S_GRIDID,
    S_CLOCK, S_CLOCK_HI, S_CLOCK64, S_GLOBALTIMER, S_GLOBALTIMER_LO, S_GLOBALTIMER_HI,
    S_MASK_EQ, S_MASK_LT, S_MASK_LE, S_MASK_GT, S_MASK_GE, S_DYNAMIC_SMEM, S_TOTAL_SMEM,
    S_ENV1, S_ENV2, S_ZERO, S_ONE,
};

static const struct {
    const char *name;
    int id;
} names[] = {
    {"%tid.x", S_TID_X}, {"%tid.y", S_TID_Y}, {"%tid.z", S_TID_Z},
    {"%ntid.x", S_NTID_X}, {"%ntid.y", S_NTID_Y}, {"%ntid.z", S_NTID_Z},
    {"%ctaid.x", S_CTAID_X}, {"%ctaid.y", S_CTAID_Y}, {"%ctaid.z", S_CTAID_Z},
    {"%nctaid.x", S_NCTAID_X}, {"%nctaid.y", S_NCTAID_Y}, {"%nctaid.z", S_NCTAID_Z},
    {"%laneid", S_LANEID}, {"%warpid", S_WARPID}, {"%nwarpid", S_NWARPID}, {"%smid", S_SMID},
    {"%nsmid", S_NSMID}, {"%gridid", S_GRIDID}, {"%clock", S_CLOCK}, {"%clock_hi", S_CLOCK_HI},
    {"%clock64", S_CLOCK64}, {"%globaltimer", S_GLOBALTIMER}, {"%globaltimer_lo", S_GLOBALTIMER_LO},
    {"%globaltimer_hi", S_GLOBALTIMER_HI}, {"%lanemask_eq", S_MASK_EQ}, {"%lanemask_lt", S_MASK_LT},
    {"%lanemask_le", S_MASK_LE}, {"%lanemask_gt", S_MASK_GT}, {"%lanemask_ge", S_MASK_GE},
    {"%dynamic_smem_size", S_DYNAMIC_SMEM}, {"%total_smem_size", S_TOTAL_SMEM},
    {"%envreg1", S_ENV1}, {"%envreg2", S_ENV2}, {"%is_explicit_cluster", S_ZERO},
    {"%clusterid.x", S_CTAID_X}, {"%clusterid.y", S_CTAID_Y}, {"%clusterid.z", S_CTAID_Z},
    {"%nclusterid.x", S_NCTAID_X}, {"%nclusterid.y", S_NCTAID_Y}, {"%nclusterid.z", S_NCTAID_Z},
    {"%cluster_ctaid.x", S_ZERO}, {"%cluster_ctaid.y", S_ZERO}, {"%cluster_ctaid.z", S_ZERO},
    {"%cluster_nctaid.x", S_ONE}, {"%cluster_nctaid.y", S_ONE}, {"%cluster_nctaid.z", S_ONE},
    {"%cluster_ctarank", S_ZERO}, {"%cluster_nctarank", S_ONE},
};

int exec_special_find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(names[i].name, name))
            return names[i].id;
    }
    return -1;
}

static uint64_t now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* What is the same for all lanes. */
static uint64_t uniform(const struct warp *w, unsigned id)
{
    const struct exec_block *b = w->block;
    const struct soft_launch *l = b->grid->launch;

    switch (id) {
    case S_WARPID:
        return w->index;
    case S_NWARPID:
        return b->n_warps;
    case S_SMID:
    case S_GRIDID:
    case S_ZERO:
        return 0;
    case S_NSMID:
    case S_ONE:
        return 1;
    case S_CLOCK:
    case S_CLOCK64:
        return now(CLOCK_MONOTONIC);
    case S_CLOCK_HI:
        return now(CLOCK_MONOTONIC) >> 32;
    case S_GLOBALTIMER:
    case S_GLOBALTIMER_LO:
        return now(CLOCK_REALTIME);
    case S_GLOBALTIMER_HI:
        return now(CLOCK_REALTIME) >> 32;
    case S_DYNAMIC_SMEM:
        return l->shared;
    case S_TOTAL_SMEM:
        return b->grid->shared_bytes;
    case S_ENV1: /* where a grid that waits for itself keeps its state */
        return b->grid->workspace_addr >> 32;
    case S_ENV2:
        return (uint32_t)b->grid->workspace_addr;
    default:
        break;
    }
    if (id >= S_NTID_X && id <= S_NTID_Z)
        return l->block[id - S_NTID_X];
    if (id >= S_CTAID_X && id <= S_CTAID_Z)
        return b->ctaid[id - S_CTAID_X];
    return l->grid[id - S_NCTAID_X];
}

static uint64_t value(const struct warp *w, unsigned id, unsigned lane)
{
    const uint32_t *dim = w->block->grid->launch->block;
    uint32_t t = w->index * SOFT_WARP + lane;

    switch (id) {
    case S_TID_X:
        return t % dim[0];
    case S_TID_Y:
        return t / dim[0] % dim[1];
    case S_TID_Z:
        return t / dim[0] / dim[1];
    case S_LANEID:
        return lane;
    case S_MASK_EQ:
        return 1u << lane;
    case S_MASK_LT:
        return (1u << lane) - 1;
    case S_MASK_LE:
        return (2u << lane) - 1;
    case S_MASK_GT:
        return ~((2u << lane) - 1);
    default:
        return ~((1u << lane) - 1);
    }
}

static bool by_lane(unsigned id)
{
    return id <= S_TID_Z || id == S_LANEID || (id >= S_MASK_EQ && id <= S_MASK_GE);
}

#define DEFINE_SPECIAL(width, T)                                                    \
    void exec_special_##width(struct warp *w, const struct soft_op *op)             \
    {                                                                               \
        bool each = by_lane(op->imm);                                               \
        T *d = exec_reg(w, op->d), all = each ? 0 : (T)uniform(w, op->imm);         \
                                                                                    \
        for (unsigned i = 0; i < SOFT_WARP; i++) {                                  \
            if (w->exec >> i & 1)                                                   \
                d[i] = each ? (T)value(w, op->imm, i) : all;                        \
        }                                                                           \
    }
DEFINE_SPECIAL(h, uint16_t)
DEFINE_SPECIAL(w, uint32_t)
DEFINE_SPECIAL(d, uint64_t)
