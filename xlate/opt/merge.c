/*
 * xlate/opt/merge.c: one TR for several accesses off one base.
 *
 * A base is a value, or that value plus a constant (a pointer that was stepped on). The first TR of
 * a base grows over the ranges of later ones, up to OPT_TR_SPAN, and accesses are moved to it. TRs
 * of loads and of stores share: in straight code the store comes for certain, so that the page will
 * be one that can be stored to. A call that may change translations ends all sharing.
 */
#include "xlate/opt/opt.h"

enum { RECENT = 8 }; /* TRs that may still grow */

struct recent {
    uint32_t tr;
    uint32_t root;  /* the base, without a constant added to it */
    int64_t offset; /* base - root */
};

struct merge {
    struct ir_unit *unit;
    struct recent recent[RECENT];
    unsigned n, next; /* used entries; the one to be replaced next */
};

static void find_root(const struct ir_unit *unit, uint32_t base, struct recent *out)
{
    const struct ir_insn *insn = &unit->insn[base];

    out->root = base;
    out->offset = 0;
    if (insn->op == IR_ADD && unit->insn[insn->arg[1]].op == IR_CONST) {
        out->root = insn->arg[0];
        out->offset = unit->insn[insn->arg[1]].imm;
    }
}

/* Grows TR over [from, to) relative to its base if the span allows. */
static bool grow(struct ir_insn *tr, int64_t from, int64_t to)
{
    int64_t low = MIN(tr->imm, from), high = MAX(tr->imm + tr->aux, to);

    if (high - low > OPT_TR_SPAN)
        return false;
    tr->imm = low;
    tr->aux = high - low;
    return true;
}

/* Lets the TR at AT stand for an older one: side is the older TR (TRs have no side entry) and imm
 * what accesses add. Returns false where there is none. */
static bool join(struct merge *m, uint32_t at)
{
    struct ir_insn *insn = &m->unit->insn[at];
    struct recent here = {.tr = at};

    find_root(m->unit, insn->arg[0], &here);
    for (unsigned i = 0; i < m->n; i++) {
        struct recent *r = &m->recent[i];
        struct ir_insn *old = &m->unit->insn[r->tr];
        int64_t step = here.offset - r->offset;

        if (r->root != here.root || step > OPT_TR_SPAN || step < -OPT_TR_SPAN ||
            !grow(old, insn->imm + step, insn->imm + step + insn->aux))
            continue;
        old->mem |= insn->mem;
        insn->side = r->tr;
        insn->imm = step;
        m->unit->pattern[IR_PATTERN_MERGED_TR]++;
        return true;
    }
    m->recent[m->next] = here;
    m->next = (m->next + 1) % RECENT;
    m->n = MIN(m->n + 1, (unsigned)RECENT);
    return false;
}

/* Moves an access to the TR that stands in for its own. */
static void redirect(struct ir_unit *unit, struct ir_insn *insn)
{
    const struct ir_insn *tr = &unit->insn[insn->arg[0]];

    if (tr->side == IR_NONE)
        return;
    insn->imm += tr->imm;
    insn->arg[0] = tr->side;
}

/* Joined TRs are nothing now but unused; they become constants that the sweep removes. */
static void clean(struct ir_unit *unit)
{
    for (uint32_t i = 0; i < unit->n; i++) {
        struct ir_insn *insn = &unit->insn[i];

        if (insn->op == IR_TR && insn->side != IR_NONE)
            *insn = (struct ir_insn){.op = IR_CONST, .type = IR_I64, .side = IR_NONE,
                                     .arg = {IR_NONE, IR_NONE, IR_NONE, IR_NONE},
                                     .params = IR_NONE};
    }
}

void opt_merge(struct ir_unit *unit, const struct ir_helper *helpers)
{
    bool joined = false;

    for (uint32_t b = 0; b < unit->n_blocks; b++) {
        struct merge m = {.unit = unit};

        for (uint32_t i = unit->block[b].first; i < unit->block[b].end; i++) {
            struct ir_insn *insn = &unit->insn[i];

            if (insn->op == IR_TR)
                joined |= join(&m, i);
            else if (insn->op >= IR_LOAD && insn->op <= IR_SC)
                redirect(unit, insn);
            else if (insn->op == IR_CALL && helpers[insn->aux].flags & IR_CALL_MMU)
                m.n = m.next = 0;
        }
    }
    if (joined)
        clean(unit);
}
