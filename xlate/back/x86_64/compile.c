/*
 * The compiler: a pass that finds where slots are wanted, one backwards that finds what is used where,
 * one that writes hot code insn by insn, and the cold pieces behind.
 */
#include "xlate/back/x86_64/back_priv.h"

#include <errno.h>

/* --- what is known of an operation, in a byte --------------------------------------------------- */

enum {
    OP_PURE = 1,
    OP_SEEN = 2,   /* slots must be right there: it may fault, or ends the block */
    OP_SLOT = 4,   /* GET, SET */
    OP_TR = 8,
    OP_MORE = 16,  /* may use more than two values */
    OP_HOME = 6,   /* from this bit on: enum home of its value */
};

#define F_PURE  OP_PURE
#define F_READ  0
#define F_WRITE 0
#define F_FAULT OP_SEEN
#define F_TERM  OP_SEEN
#define F_FPENV 0
#define IR_OP(name, text, n, result, flags)                                                        \
    [IR_##name] = (flags) | ((n) > 2 || IR_##name == IR_BR ? OP_MORE : 0) |                        \
                  (IR_##name == IR_GET || IR_##name == IR_SET ? OP_SLOT : 0) |                     \
                  (IR_##name == IR_TR ? OP_TR : 0) |                                               \
                  (IR_##name == IR_CONST ? HOME_CONST : IR_##name == IR_PCREL ? HOME_PCREL         \
                                                                              : HOME_NONE)         \
                      << OP_HOME,
G_STATIC_ASSERT(HOME_CONST < 4 && HOME_PCREL < 4);
static const uint8_t op_kind[IR_OP_COUNT] = {
#include "xlate/ir/ops.inc"
};
#undef IR_OP

/* --- the first pass --------------------------------------------------------------------------- */

struct scan {
    struct back_compiler *c;
    uint32_t block, first;
    uint32_t barrier;           /* the last insn at which slots must be right */
};

/* Uses are found from the end on, so that the first one seen is the last. */
static void use(struct scan *s, uint32_t v, uint32_t at)
{
    struct value *value = &s->c->value[v];

    value->global |= value->block != s->block;
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
static void hint(struct scan *s, const struct ir_insn *insn)
{
    struct value *value = &s->c->value[insn->arg[0]];

    unsigned pin = s->c->back->pin_of[insn->aux];
    bool half = pin >= XMM && s->c->back->wide && insn->type != IR_V128;

    if (value->hint == NO_REG && pin != NO_REG && !half) {
        value->hint = (uint8_t)pin;
        uint64_t touched = s->c->touch[insn->aux], base = s->c->touch_base;
        value->hint_limit = MAX(s->barrier, s->first);
        if (touched > base)
            value->hint_limit = MAX(value->hint_limit, (uint32_t)(touched - base));
    }
}

static void scan_insn(struct scan *s, uint32_t at)
{
    const struct ir_insn *insn = &s->c->unit->insn[at];
    unsigned kind = op_kind[insn->op];

    s->c->value[at] = (struct value){.reg = NO_REG, .home = (uint8_t)(kind >> OP_HOME),
                                     .block = (uint8_t)s->block, .hint = NO_REG, .last = at};
    if (kind & OP_SLOT) {
        if (insn->op == IR_SET)
            hint(s, insn);
        s->c->touch[pinned_slot(s, insn->aux)] = s->c->touch_base + at;
    }
    s->barrier = kind & OP_SEEN ? at : s->barrier;
}

/* What an insn uses, unless nothing uses what it makes. What it doesn't have is counted at the value of
 * IR_NONE, rather than asked for: no processor foresees how many there are. An address is used with
 * its handle. */
static void scan_uses(struct scan *s, uint32_t at)
{
    const struct ir_unit *unit = s->c->unit;
    const struct ir_insn *insn = &unit->insn[at];
    unsigned kind = op_kind[insn->op];
    uint32_t until = kind & OP_TR ? s->c->value[at].last : at;
    uint32_t none = unit->n, most = (kind & OP_PURE) && !s->c->value[at].uses ? 0 : none;

    use(s, most ? MIN(insn->arg[0], none) : none, until);
    use(s, most ? MIN(insn->arg[1], none) : none, until);
    if (!(kind & OP_MORE) || !most)
        return;
    use(s, MIN(insn->arg[2], unit->n), at);
    use(s, MIN(insn->arg[3], unit->n), at);
    if (insn->op == IR_BR)
        for (uint32_t i = 0; i < unit->block[insn->block[0]].n_params; i++)
            use(s, unit->param[insn->params + i], at);
}

static void scan(struct back_compiler *c)
{
    struct scan s = {.c = c};
    uint32_t n_blocks = c->unit->n_blocks;

    c->value[c->unit->n] = (struct value){0};
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
    c->touch_base += c->unit->n;
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

/* CONST, PCREL, PARAM are where they are used. */
static void nothing(struct back_compiler *c, const struct ir_insn *insn)
{
}

static void (*const emit_op[IR_OP_COUNT])(struct back_compiler *c, const struct ir_insn *insn) = {
    [IR_CONST ... IR_PCREL] = nothing,
    [IR_GET] = back__get,
    [IR_SET] = back__set,
    [IR_SET + 1 ... IR_SELECT] = back__int_op,
    [IR_SELECT + 1 ... IR_FENCE] = back__mem_op,
    [IR_FENCE + 1 ... IR_UNBOX] = back__fp_op,
    [IR_UNBOX + 1 ... IR_CALL - 1] = back__vec_op,
    [IR_CALL] = back__call,
    [IR_TRAP] = back__trap,
    [IR_TRAP + 1 ... IR_OP_COUNT - 1] = back__terminator,
};

static void compile_insn(struct back_compiler *c, const struct ir_insn *insn)
{
    bool unused = (op_kind[insn->op] & OP_PURE) && !c->value[c->idx].uses;

    c->locked = 0;
    emit_op[unused ? IR_CONST : insn->op](c, insn);
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
        if (unlikely(c->a.at + MOST_STEP > c->hot_end) &&
            c->a.at + most_bytes(c, &c->unit->insn[c->idx]) > c->hot_end)
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
        } else if (cold->kind == COLD_TRAP) {
            back__cold_trap(c, cold);
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
    if (unit->n >= c->cap) {
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
