/*
 * The compiler: a pass that finds where slots are wanted, one backwards that finds what is used where,
 * one that writes hot code insn by insn, and the cold pieces behind.
 */
#include "xlate/back/x86_64/back_priv.h"

#include <errno.h>

/* --- the first pass --------------------------------------------------------------------------- */

struct scan {
    struct back_compiler *c;
    uint32_t block, first;
    uint32_t barrier;           /* the last insn at which slots must be right */
    uint32_t touch[IR_SLOTS];   /* the last GET or SET of a slot */
};

/* Uses are found from the end on, so that the first one seen is the last. */
static void use(struct scan *s, uint32_t v, uint32_t at)
{
    struct value *value = &s->c->value[v];

    if (value->block != s->block)
        value->global = true;
    if (value->uses != UINT16_MAX)
        value->uses++;
    value->last = MAX(value->last, at);
}

/* The slot whose register has SLOT. */
static unsigned pinned_slot(const struct scan *s, unsigned slot)
{
    return s->c->back->high_of[slot] == NO_REG ? slot : slot - 1;
}

/* A SET tells its value's definition which register to aim at, unless something between the two
 * needs the slot as it was. */
static void hint(struct scan *s, const struct ir_insn *insn, uint32_t at)
{
    struct value *value = &s->c->value[insn->arg[0]];

    unsigned pin = s->c->back->pin_of[insn->aux];
    bool half = pin >= XMM && s->c->back->wide && insn->type != IR_V128;

    if (value->hint == NO_REG && pin != NO_REG && !half) {
        value->hint = (uint8_t)pin;
        value->hint_limit = MAX(s->barrier, MAX(s->touch[insn->aux], s->first));
    }
    s->touch[pinned_slot(s, insn->aux)] = at;
}

static void scan_insn(struct scan *s, uint32_t at)
{
    const struct ir_insn *insn = &s->c->unit->insn[at];

    s->c->value[at] = (struct value){
        .reg = NO_REG, .hint = NO_REG, .block = (uint8_t)s->block, .last = at,
        .home = insn->op == IR_CONST ? HOME_CONST : insn->op == IR_PCREL ? HOME_PCREL : HOME_NONE};
    if (insn->op == IR_SET)
        hint(s, insn, at);
    else if (insn->op == IR_GET)
        s->touch[pinned_slot(s, insn->aux)] = at;
    if (ir_ops[insn->op].flags & (IR_F_FAULT | IR_F_TERM))
        s->barrier = at;
}

/* What an insn uses, unless nothing uses what it makes. */
static void scan_uses(struct scan *s, uint32_t at)
{
    const struct ir_unit *unit = s->c->unit;
    const struct ir_insn *insn = &unit->insn[at];

    if ((ir_ops[insn->op].flags & IR_F_PURE) && !s->c->value[at].uses)
        return;
    for (unsigned i = 0, n = ir_n_args(insn); i < n; i++)
        use(s, insn->arg[i], at);
    if (insn->op >= IR_LOAD && insn->op <= IR_SC) { /* the address is used with the handle */
        struct value *address = &s->c->value[unit->insn[insn->arg[0]].arg[0]];
        address->last = MAX(address->last, at);
    }
    if (insn->op == IR_BR)
        for (uint32_t i = 0; i < unit->block[insn->block[0]].n_params; i++)
            use(s, unit->param[insn->params + i], at);
}

static void scan(struct back_compiler *c)
{
    struct scan s = {.c = c};
    uint32_t n_blocks = c->unit->n_blocks;

    memset(s.touch, 0, sizeof(s.touch));
    for (s.block = 0; s.block < n_blocks; s.block++) {
        const struct ir_block *block = &c->unit->block[s.block];
        s.first = s.barrier = block->first;
        for (uint32_t at = block->first; at < block->end; at++)
            scan_insn(&s, at);
    }
    for (s.block = n_blocks; s.block-- > 0;) {
        const struct ir_block *block = &c->unit->block[s.block];
        for (uint32_t at = block->end; at-- > block->first;)
            scan_uses(&s, at);
    }
}

/* --- the second pass -------------------------------------------------------------------------- */

struct cold *back__cold(struct back_compiler *c, enum cold_kind kind)
{
    if (c->n_cold == MOST_COLD) {
        c->full = true;
        c->n_cold = 0;
    }
    struct cold *cold = &c->cold[c->n_cold++];
    *cold = (struct cold){.kind = (uint8_t)kind, .dst = NO_REG, .a = NO_REG, .b = NO_REG};
    return cold;
}

static void compile_insn(struct back_compiler *c, const struct ir_insn *insn)
{
    const struct ir_op_info *info = &ir_ops[insn->op];

    c->locked = 0;
    if ((info->flags & IR_F_PURE) && !c->value[c->idx].uses)
        return;
    if (insn->op == IR_GET)
        back__get(c, insn);
    else if (insn->op == IR_SET)
        back__set(c, insn);
    else if (insn->op <= IR_SET) /* CONST, PCREL, PARAM are where they are used */
        ;
    else if (insn->op <= IR_SELECT)
        back__int_op(c, insn);
    else if (insn->op <= IR_FENCE)
        back__mem_op(c, insn);
    else if (insn->op <= IR_UNBOX)
        back__fp_op(c, insn);
    else if (ir_is_vec(insn->op))
        back__vec_op(c, insn);
    else if (insn->op == IR_CALL)
        back__call(c, insn);
    else
        back__terminator(c, insn);
}

/* Parameters have homes before any block is compiled: branches store there. */
static void place_params(struct back_compiler *c)
{
    for (uint32_t b = 0; b < c->unit->n_blocks; b++) {
        for (uint32_t i = 0; i < c->unit->block[b].n_params; i++) {
            uint32_t v = c->unit->block[b].first + i;
            c->value[v].global = true;
            back__stack_home(c, v);
        }
    }
}

static uint32_t most_bytes(const struct back_compiler *c, const struct ir_insn *insn)
{
    if (insn->op == IR_CALL)
        return CALL_STEP;
    if (insn->op == IR_BR)
        return HOT_STEP + PARAM_STEP * c->unit->block[insn->block[0]].n_params;
    return HOT_STEP;
}

static void compile_block(struct back_compiler *c)
{
    const struct ir_block *block = &c->unit->block[c->block];

    back__regs_block(c);
    c->block_at[c->block] = c->a.at;
    for (c->idx = block->first; c->idx < block->end && !c->full; c->idx++) {
        c->skip_next = false;
        if (c->a.at + most_bytes(c, &c->unit->insn[c->idx]) > c->hot_end)
            c->full = true;
        else
            compile_insn(c, &c->unit->insn[c->idx]);
    }
}

static void write_cold(struct back_compiler *c)
{
    struct cache_place *place = c->place;

    c->a.at = place->cold;
    for (uint32_t i = 0; i < c->n_cold && !c->full; i++) { /* landings add their links' */
        struct cold *cold = &c->cold[i];
        if (c->a.at + COLD_STEP > place->cold + place->cold_room) {
            c->full = true;
            return;
        }
        for (unsigned j = 0; j < G_N_ELEMENTS(cold->from); j++)
            if (cold->from[j])
                asm_patch(cold->from[j], c->a.at);
        if (cold->kind == COLD_ACCESS) {
            back__cold_access(c, cold);
        } else if (cold->kind == COLD_TR) {
            asm_movi(&c->a, cold->dst, 1);
            asm_jmp_to(&c->a, cold->back);
        } else if (cold->kind == COLD_DIV) {
            back__cold_div(c, cold);
        } else if (cold->kind == COLD_VEC) {
            back__cold_vec(c, cold);
        } else if (cold->kind >= COLD_POLL) {
            back__cold_edge(c, cold);
        } else {
            back__cold_fp(c, cold);
        }
    }
    place->cold_bytes = (uint32_t)(c->a.at - place->cold);
}

static void begin(struct back_compiler *c, const struct ir_unit *unit, struct cache_place *place)
{
    c->unit = unit;
    c->place = place;
    c->a.at = place->hot;
    c->hot_end = place->hot + place->hot_room;
    c->full = unit->n_blocks > MOST_BLOCKS;
    c->n_cold = c->n_fixups = c->n_stack = 0;
    c->block = c->idx = c->linked_block = 0;
    place->n_links = 0;
    place->patterns = 0;
    place->n_guest = (uint16_t)unit->n_guest;
    for (unsigned i = 0; i < IR_PATTERN_COUNT; i++)
        place->patterns = (uint16_t)(place->patterns + unit->pattern[i]);
    if (unit->n > c->cap) {
        c->cap = unit->n * 2;
        g_free(c->value);
        c->value = g_new(struct value, c->cap);
    }
}

int back_compile(struct back_compiler *c, const struct ir_unit *unit, struct cache_place *place)
{
    begin(c, unit, place);
    if (c->full)
        return -E2BIG;
    scan(c);
    place_params(c);
    back__entry(c);
    for (c->block = 0; c->block < unit->n_blocks && !c->full; c->block++)
        if (!c->block || c->block != c->linked_block)
            compile_block(c);
    for (uint32_t i = 0; i < c->n_fixups && !c->full; i++)
        asm_patch(c->fixup[i].site, c->block_at[c->fixup[i].block]);
    place->hot_bytes = (uint32_t)(c->a.at - place->hot);
    if (!c->full)
        write_cold(c);
    return c->full ? -E2BIG : 0;
}

struct back_compiler *back_compiler_new(struct back *back)
{
    struct back_compiler *c = g_new0(struct back_compiler, 1);

    c->back = back;
    return c;
}

void back_compiler_free(struct back_compiler *compiler)
{
    if (!compiler)
        return;
    g_free(compiler->value);
    g_free(compiler);
}
