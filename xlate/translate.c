/*
 * From a guest address to a unit that can run: found in the cache, or translated into it.
 *
 * An instruction that crosses into the next page is a unit of its own, entered only from here, where
 * both pages are looked up. The cache has one unit for its address; where that was made with another
 * second page, the instruction is interpreted.
 */
#include "xlate/warm.h"

#include <errno.h>

enum {
    INSN_MOST = 16,  /* no guest instruction is longer */
    TRIES = 4,       /* translations of a page that is written meanwhile */
    INSNS_MOST = LIMIT_XLATE_BLOCK_INSNS,
    COPY_BYTES = 4 * LIMIT_XLATE_BLOCK_INSNS, /* of guest code that are looked at for one unit */
    KEPT = 4096,
    KEPT_BYTES = 128,
    KEPT_INSNS = 32,
};

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

/* Where the guest's bytes are. */
struct origin {
    struct mmu_fetched first, second;
    bool crosses;                     /* the first instruction goes on in SECOND */
    uint8_t bytes[COPY_BYTES] __attribute__((aligned(8)));
    uint32_t length;                  /* of what BYTES has */
    int32_t start;                    /* its place in its page */
};

static gva_t next_page(gva_t pc)
{
    return (pc | PAGE_MASK) + 1;
}

MEM_GUEST_RACES void xlate__copy_code(uint8_t *to, const uint8_t *from, uint32_t n)
{
    while (n && (uintptr_t)from % 8) {
        *to++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
        n--;
    }
    for (; n >= 8; n -= 8, from += 8, to += 8) {
        uint64_t word = __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_RELAXED);
        memcpy(to, &word, 8);
    }
    while (n--)
        *to++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
}

static void translate(struct runner *r, const struct origin *o, uint32_t max_insns)
{
    struct xl_source source = {.code = o->bytes, .length = o->length, .start = o->start,
                               .mode = r->cpu->mode, .max_insns = max_insns};

    if (unlikely(r->x->debug.on))
        xlate__debug_cut(r->x, o->first.gpa, &source);
    ir_unit_clear(r->unit);
    r->x->front->translate(&source, r->unit);
}

/*
 * Does the first instruction, which starts near its page's end, go on in the next page? What
 * follows it doesn't matter to the front end, so that zeros stand in for a page that can't be
 * fetched. False with cpu->fault set where it crosses into such a page.
 */
static bool look_across(struct runner *r, struct origin *o)
{
    struct xl_cpu *cpu = r->cpu;
    uint32_t left = (uint32_t)(next_page(cpu->pc) - cpu->pc);
    bool there;

    memset(o->bytes + left, 0, INSN_MOST);
    there = mmu_fetch(cpu, next_page(cpu->pc), &o->second);
    if (there)
        xlate__copy_code(o->bytes + left, o->second.host, INSN_MOST);
    o->length = left + INSN_MOST;
    translate(r, o, 1);
    o->crosses = r->unit->bytes > left;
    if (o->crosses)
        return there;
    cpu->fault = 0;
    o->length = left;
    return true;
}

/* Reads the code at cpu->pc, whose page was fetched already. False with cpu->fault set. */
static bool read_origin(struct runner *r, struct origin *o)
{
    uint32_t start = (uint32_t)(r->cpu->pc & PAGE_MASK), left = (uint32_t)MEM_PAGE_SIZE - start;

    o->crosses = false;
    o->start = (int32_t)start;
    o->length = MIN(left, COPY_BYTES);
    xlate__copy_code(o->bytes, o->first.host, o->length);
    return left >= INSN_MOST || look_across(r, o);
}

static enum xlate_found run_unit(struct runner *r, const struct ir_unit *unit, struct back_exit *out)
{
    struct xl_cpu *cpu = r->cpu;

    if (!xlate__enter(r))
        return XLATE_AGAIN;
    cpu->pc_page = cpu->pc & ~PAGE_MASK;
    xl_count(&cpu->count.interpreted, unit->n_guest);
    *out = (struct back_exit){.leave = interp_run(r->interp, cpu, unit), .link = CACHE_NO_LINK};
    xlate__leave(r);
    return XLATE_INTERPRETED;
}

static enum xlate_found interpret(struct runner *r, const struct origin *o, struct back_exit *out)
{
    translate(r, o, o->crosses ? 1 : INSNS_MOST);
    return run_unit(r, r->unit, out);
}

/* --- tier 0 alone ---------------------------------------------------------------------------------------
 * Units are kept as IR. One is good while the guest's bytes are what it was made from, so that
 * nothing needs to tell when they change.
 */

struct kept {
    struct ir_unit *unit; /* NULL: empty */
    gpa_t gpa;
    uint8_t bytes[KEPT_BYTES];
};

struct kept *xlate__kept_new(void)
{
    return g_new0(struct kept, KEPT);
}

void xlate__kept_free(struct kept *kept)
{
    for (unsigned i = 0; kept && i < KEPT; i++)
        ir_unit_free(kept[i].unit);
    g_free(kept);
}

/* A page boundary is looked across each time: what lies there isn't kept. */
static enum xlate_found interpret_kept(struct runner *r, struct origin *o, struct back_exit *out)
{
    uint64_t hash = (o->first.gpa >> 1 ^ o->first.gpa >> MEM_PAGE_SHIFT) + r->cpu->mode;
    struct kept *k = &r->kept[hash % KEPT];
    uint32_t left = (uint32_t)(next_page(r->cpu->pc) - r->cpu->pc);
    uint8_t bytes[KEPT_BYTES] = {0};

    xlate__copy_code(bytes, o->first.host, MIN(KEPT_BYTES, left));
    if (k->unit && k->gpa == o->first.gpa && k->unit->mode == r->cpu->mode &&
        !memcmp(k->bytes, bytes, k->unit->bytes))
        return run_unit(r, k->unit, out);
    if (!read_origin(r, o))
        return XLATE_FAULTED;
    if (left < INSN_MOST)
        return interpret(r, o, out);
    /* BYTES are older than what is translated: had they changed, they would match no more. */
    translate(r, o, KEPT_INSNS);
    if (r->unit->bytes > KEPT_BYTES)
        return run_unit(r, r->unit, out);
    struct ir_unit *made = r->unit;
    r->unit = k->unit ? k->unit : ir_unit_new();
    k->unit = made;
    k->gpa = o->first.gpa;
    memcpy(k->bytes, bytes, KEPT_BYTES);
    return run_unit(r, made, out);
}

/* --- translating ------------------------------------------------------------------------------ */

static uint64_t ram_page(const struct mmu_fetched *f)
{
    return (f->gpa - f->ram->gpa) >> MEM_PAGE_SHIFT;
}

static bool is_marked(const struct mmu_fetched *f)
{
    return mem_page_flags(f->ram, ram_page(f)) & MEM_PAGE_CODE;
}

/* Compiles as many instructions as fit. */
static void compile(struct runner *r, const struct origin *o, struct cache_place *place)
{
    uint32_t insns = o->crosses ? 1 : INSNS_MOST;

    for (;;) {
        translate(r, o, insns);
        if (!back_compile(r->compiler, r->unit, place))
            return;
        insns = MIN(insns, r->unit->n_guest) / 2;
        g_assert(insns); /* one instruction always fits */
    }
}

/* One try: NULL when a page was written meanwhile, or there is no room (ROOM is false then). */
static struct cache_unit *make_once(struct runner *r, struct origin *o, bool *room)
{
    struct cache_place place;
    struct cache_unit *unit;
    bool crosses = o->crosses;

    xlate__mark_code(r, o->first.ram, ram_page(&o->first));
    if (crosses)
        xlate__mark_code(r, o->second.ram, ram_page(&o->second));
    *room = cache_begin(r->user, o->first.gpa, crosses ? o->second.gpa : CACHE_NO_PAGE, r->cpu->mode,
                        &place) == 0;
    if (!*room)
        return NULL;
    /* Only now are the bytes read: whoever writes them from here on is noticed. */
    if (!is_marked(&o->first) || (crosses && !is_marked(&o->second)) || !read_origin(r, o) ||
        o->crosses != crosses) {
        cache_abandon(r->user);
        return NULL;
    }
    compile(r, o, &place);
    unit = cache_commit(r->user, &place);
    if (unit && r->x->warm && cache_page_is_new(r->user))
        xlate__warm_ask(r->x->warm, o->first.gpa, r->cpu->mode);
    for (unsigned i = 0; unit && i < IR_PATTERN_COUNT; i++)
        xl_count(&r->patterns[i], r->unit->pattern[i]);
    return unit;
}

static enum xlate_found make(struct runner *r, struct origin *o, struct cache_unit **unit,
                             struct back_exit *out)
{
    bool at_end = next_page(r->cpu->pc) - r->cpu->pc < INSN_MOST, room;

    o->crosses = false;
    for (unsigned i = 0; i < TRIES; i++) {
        if (at_end && !read_origin(r, o)) /* does it cross? */
            return XLATE_FAULTED;
        *unit = make_once(r, o, &room);
        if (*unit)
            return XLATE_UNIT;
        if (!room) {
            cache_wait(r->user);
            r->link = CACHE_NO_LINK;
            return XLATE_AGAIN;
        }
        if (r->cpu->fault)
            return XLATE_FAULTED;
    }
    return read_origin(r, o) ? interpret(r, o, out) : XLATE_FAULTED;
}

/* --- finding ---------------------------------------------------------------------------------- */

/* Is UNIT, of a crossing instruction, made of the page that follows now? */
static bool second_matches(struct runner *r, const struct cache_unit *unit, struct origin *o)
{
    return mmu_fetch(r->cpu, next_page(r->cpu->pc), &o->second) && o->second.gpa == unit->second;
}

enum xlate_found xlate__one(struct runner *r, struct back_exit *out)
{
    struct origin o;

    if (!mmu_fetch(r->cpu, r->cpu->pc, &o.first) || !read_origin(r, &o))
        return XLATE_FAULTED;
    translate(r, &o, 1);
    return run_unit(r, r->unit, out);
}

enum xlate_found xlate__find(struct runner *r, struct cache_unit **unit, struct back_exit *out)
{
    struct xl_cpu *cpu = r->cpu;
    enum xlate_found found = XLATE_UNIT;
    struct origin o;

    if (!mmu_fetch(cpu, cpu->pc, &o.first))
        return XLATE_FAULTED;
    if (unlikely(r->x->debug.on)) {
        enum debug_place place = xlate__debug_look(r, o.first.gpa);
        if (place == DEBUG_STOP)
            return XLATE_STOPPED;
        if (place == DEBUG_ALONE || !r->compiler)
            return xlate__one(r, out);
    }
    if (!r->compiler)
        return interpret_kept(r, &o, out);
    xl_count(&cpu->count.lookups, 1);
    *unit = cache_lookup(r->x->cache, o.first.gpa, cpu->mode);
    if (*unit) {
        xl_count(&cpu->count.hits, 1);
        if (unlikely(cache_unit_found(*unit)) && r->x->warm)
            xlate__warm_used(r->x->warm);
    }
    if (*unit && !(*unit)->linkable && !second_matches(r, *unit, &o)) {
        if (cpu->fault)
            return XLATE_FAULTED;
        return read_origin(r, &o) ? interpret(r, &o, out) : XLATE_FAULTED;
    }
    if (!*unit)
        found = make(r, &o, unit, out);
    if (found == XLATE_UNIT)
        xl_code_map(cpu, (*unit)->page_id, cpu->pc & ~PAGE_MASK, o.first.global);
    return found;
}
