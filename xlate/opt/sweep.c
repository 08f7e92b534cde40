/*
 * xlate/opt/sweep.c: removes what has no effect, and closes the gaps.
 *
 * Backwards: a SET is dead where the slot is set again before anything can see it. What can fault,
 * leave or call a helper that reads slots sees all of them. Values that are then without a use go,
 * if making them has no effect. Forwards: the rest moves together and arguments are renumbered.
 */
#include "xlate/opt/opt.h"

G_STATIC_ASSERT(IR_SLOTS <= 128);

/* Slots that will be set again before anybody looks. */
struct doomed {
    uint64_t bits[2];
};

static void see_all(struct doomed *d)
{
    d->bits[0] = d->bits[1] = 0;
}

static bool is_doomed(const struct doomed *d, unsigned slot)
{
    return d->bits[slot / 64] >> (slot % 64) & 1;
}

static void doom(struct doomed *d, unsigned slot, bool yes)
{
    uint64_t bit = UINT64_C(1) << (slot % 64);

    d->bits[slot / 64] = yes ? d->bits[slot / 64] | bit : d->bits[slot / 64] & ~bit;
}

enum { DEAD = 0, LIVE = 1 };

/* Whether INSN stays; brings D to what it is before INSN. */
static bool stays(struct ir_unit *unit, const struct ir_insn *insn, bool used, struct doomed *d,
                  const struct ir_helper *helpers)
{
    unsigned flags = ir_ops[insn->op].flags;

    if (insn->op == IR_SET) {
        if (is_doomed(d, insn->aux)) {
            unit->pattern[IR_PATTERN_DEAD_SET]++;
            return false;
        }
        doom(d, insn->aux, true);
        return true;
    }
    if (!used && ((flags & IR_F_PURE && insn->op != IR_PARAM) || insn->op == IR_GET ||
                  insn->op == IR_TR)) {
        unit->pattern[IR_PATTERN_DEAD]++;
        return false;
    }
    if (insn->op == IR_GET)
        doom(d, insn->aux, false);
    else if (insn->op == IR_CALL && !(helpers[insn->aux].flags & (IR_CALL_FAULT | IR_CALL_READS)))
        return true;
    else if (flags & (IR_F_FAULT | IR_F_TERM))
        see_all(d);
    return true;
}

/* Marks what stays in LIVES; values in index order are made before they are used. */
static bool mark(struct ir_unit *unit, const struct ir_helper *helpers, uint32_t *lives)
{
    struct doomed d = {0};
    bool dead = false;

    memset(lives, DEAD, unit->n * sizeof(*lives));
    for (uint32_t i = unit->n; i-- > 0;) {
        const struct ir_insn *insn = &unit->insn[i];

        if (!stays(unit, insn, lives[i] == LIVE, &d, helpers)) {
            lives[i] = DEAD;
            dead = true;
            continue;
        }
        lives[i] = LIVE;
        for (unsigned a = 0; a < 4; a++)
            if (insn->arg[a] != IR_NONE)
                lives[insn->arg[a]] = LIVE;
        if (insn->op == IR_BR && insn->params != IR_NONE)
            for (uint32_t p = 0; p < unit->block[insn->block[0]].n_params; p++)
                lives[unit->param[insn->params + p]] = LIVE;
    }
    return dead;
}

/* Moves the living together; LIVES becomes the map from old numbers to new ones. */
static void compact(struct ir_unit *unit, uint32_t *lives)
{
    uint32_t to = 0;

    for (uint32_t b = 0; b < unit->n_blocks; b++) {
        struct ir_block *block = &unit->block[b];
        uint32_t first = to;

        for (uint32_t i = block->first; i < block->end; i++) {
            struct ir_insn *insn = &unit->insn[i];

            if (lives[i] == DEAD)
                continue;
            for (unsigned a = 0; a < 4; a++)
                if (insn->arg[a] != IR_NONE)
                    insn->arg[a] = lives[insn->arg[a]];
            lives[i] = to;
            if (to != i)
                unit->insn[to] = *insn;
            to++;
        }
        block->first = first;
        block->end = to;
    }
    for (uint32_t p = 0; p < unit->n_param; p++)
        unit->param[p] = lives[unit->param[p]];
    unit->n = to;
}

void opt_sweep(struct ir_unit *unit, const struct ir_helper *helpers)
{
    uint32_t few[1024];
    g_autofree uint32_t *many = unit->n > G_N_ELEMENTS(few) ? g_new(uint32_t, unit->n) : NULL;
    uint32_t *lives = many ? many : few;

    if (mark(unit, helpers, lives))
        compact(unit, lives);
}

void opt_unit(struct ir_unit *unit, const struct ir_helper *helpers)
{
    opt_merge(unit, helpers);
    opt_sweep(unit, helpers);
}
