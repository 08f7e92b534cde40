/* Kernarg segments. See kernarg.h. */
#include "gpu/code/kernarg.h"

/* What the launch tells of a hidden argument. */
static uint64_t value_of(enum code_arg_kind kind, const struct kernarg_launch *l)
{
    enum { DIMENSIONS = 3 }; /* of every launch of HIP's */

    switch (kind) {
    case CODE_ARG_BLOCK_COUNT_X:
    case CODE_ARG_BLOCK_COUNT_Y:
    case CODE_ARG_BLOCK_COUNT_Z:
        return l->grid[kind - CODE_ARG_BLOCK_COUNT_X];
    case CODE_ARG_GROUP_SIZE_X:
    case CODE_ARG_GROUP_SIZE_Y:
    case CODE_ARG_GROUP_SIZE_Z:
        return l->block[kind - CODE_ARG_GROUP_SIZE_X];
    case CODE_ARG_GRID_DIMS:
        return DIMENSIONS;
    case CODE_ARG_DYNAMIC_LDS:
        return l->shared;
    default:
        return 0;
    }
}

static void pack_hidden(const struct code_kernel *k, const struct kernarg_launch *l, uint8_t *to)
{
    for (unsigned i = k->n_given; i < k->n_args; i++) {
        const struct code_arg *a = &k->args[i];
        uint64_t value = GUINT64_TO_LE(value_of(a->kind, l));
        memcpy(to + a->offset, &value, MIN(a->size, sizeof(value)));
    }
}

void kernarg_pack(const struct code_kernel *k, const struct kernarg_launch *l, void *const *params,
                  uint8_t *to)
{
    memset(to, 0, k->kernarg_bytes);
    for (unsigned i = 0; i < k->n_given; i++)
        memcpy(to + k->args[i].offset, params[i], k->args[i].size);
    pack_hidden(k, l, to);
}
