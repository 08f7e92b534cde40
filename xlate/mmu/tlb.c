/*
 * The two levels of the TLB, and what empties them. See mmu_priv.h for the invariants.
 */
#include "xlate/mmu/mmu_priv.h"

#include <sys/random.h>

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

enum {
    CHUNK = XL_TLB_SIZE / 64,   /* fast entries a bit of touched stands for */
    RANGE_MOST = 64,            /* pages that are flushed one by one; more flush their space */
    FILTER_FULL = 1 << (MMU_FILTER_BITS - 1),
};

static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 32) * UINT64_C(0xd6e8feb86659fd93);
    v = (v ^ v >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return v ^ v >> 32;
}

/* --- fast entries ----------------------------------------------------------------------------- */

static void clear_fast(struct xl_tlb_entry *entry, uint64_t *touched)
{
    for (uint64_t left = *touched; left; left &= left - 1) {
        struct xl_tlb_entry *chunk = entry + __builtin_ctzll(left) * CHUNK;
        for (unsigned i = 0; i < CHUNK; i++)
            chunk[i].tag = XL_TLB_NONE;
    }
    *touched = 0;
}

void mmu__clear_fast(struct xl_cpu *cpu)
{
    for (unsigned mode = 0; mode < XL_TLB_MODES; mode++) {
        clear_fast(cpu->tlb[mode].load, &cpu->mmu->touched[mode][0]);
        clear_fast(cpu->tlb[mode].store, &cpu->mmu->touched[mode][1]);
    }
}

/* Drops the fast entries of one page, in every mode. */
static void clear_fast_page(struct xl_cpu *cpu, gva_t page)
{
    unsigned i = xl_tlb_index(page);
    uint64_t bit = UINT64_C(1) << (i / CHUNK);

    for (unsigned mode = 0; mode < XL_TLB_MODES; mode++) {
        if ((cpu->mmu->touched[mode][0] & bit) && cpu->tlb[mode].load[i].tag == page)
            cpu->tlb[mode].load[i].tag = XL_TLB_NONE;
        if ((cpu->mmu->touched[mode][1] & bit) && cpu->tlb[mode].store[i].tag == page)
            cpu->tlb[mode].store[i].tag = XL_TLB_NONE;
    }
}

void mmu__fill(struct xl_cpu *cpu, unsigned mode, gva_t va, uint8_t *host, bool store)
{
    unsigned i = xl_tlb_index(va);
    struct xl_tlb_entry *e = store ? &cpu->tlb[mode].store[i] : &cpu->tlb[mode].load[i];

    if (unlikely(cpu->mmu->watching) && mmu__page_watched(cpu->mmu, mode, va))
        return;
    e->tag = va & ~PAGE_MASK;
    e->delta = (uintptr_t)host - va;
    cpu->mmu->touched[mode][store] |= UINT64_C(1) << (i / CHUNK);
}

/* --- where code is ---------------------------------------------------------------------------- */

/* Forgets all of cpu->code_at, and with it which pages were fetched from. */
static void unmap_code(struct xl_cpu *cpu)
{
    xl_code_unmap(cpu, XL_TLB_NONE, true);
    memset(cpu->mmu->fetched, 0, sizeof(cpu->mmu->fetched));
    cpu->mmu->fetched_n = 0;
}

static bool was_fetched(const struct mmu *mmu, gva_t page)
{
    uint64_t h = mix(page) >> (64 - MMU_FILTER_BITS);

    return mmu->fetched[h / 64] >> (h % 64) & 1;
}

/* Most flushed pages never held code: the filter keeps those flushes from a search. */
static void note_fetched(struct xl_cpu *cpu, gva_t page)
{
    struct mmu *mmu = cpu->mmu;
    uint64_t h = mix(page) >> (64 - MMU_FILTER_BITS);

    if (was_fetched(mmu, page))
        return;
    if (mmu->fetched_n >= FILTER_FULL)
        unmap_code(cpu);
    mmu->fetched[h / 64] |= UINT64_C(1) << (h % 64);
    mmu->fetched_n++;
}

/* --- second level ----------------------------------------------------------------------------- */

static struct mmu_entry *set_of(struct mmu *mmu, gva_t va, unsigned shift)
{
    uint64_t page = va >> shift;

    return mmu->table[(page ^ page >> MMU_SET_BITS ^ shift) % MMU_SETS];
}

static bool alive(const struct mmu *mmu, const struct mmu_entry *e)
{
    return e->time >= mmu->floor &&
           (e->global || e->time >= mmu->space_floor[e->space % MMU_SPACE_SLOTS]);
}

/* Does E map VA at this size, as seen from SPACE? */
static bool maps(const struct mmu *mmu, const struct mmu_entry *e, gva_t va, unsigned shift,
                 uint32_t space)
{
    return e->page == (va & ~((UINT64_C(1) << shift) - 1)) && e->shift == shift &&
           (e->global || e->space == space || space == MMU_EVERY_SPACE) && alive(mmu, e);
}

struct mmu_entry *mmu__find(struct mmu *mmu, unsigned mode, gva_t va, enum xl_access access)
{
    for (uint64_t left = mmu->shifts; left; left &= left - 1) {
        unsigned shift = (unsigned)__builtin_ctzll(left);
        struct mmu_entry *set = set_of(mmu, va, shift);
        for (unsigned i = 0; i < MMU_WAYS; i++) {
            if (maps(mmu, &set[i], va, shift, mmu->space) && (set[i].allowed[access] >> mode & 1))
                return &set[i];
        }
    }
    return NULL;
}

/* The entry of its set that a walk of VA replaces: the same mapping, a dead one, or the next. */
static struct mmu_entry *choose(struct xl_cpu *cpu, gva_t va, unsigned shift, uint8_t modes)
{
    struct mmu *mmu = cpu->mmu;
    struct mmu_entry *set = set_of(mmu, va, shift), *dead = NULL, *small = NULL;

    for (unsigned n = 0; n < MMU_WAYS; n++) {
        struct mmu_entry *e = &set[(mmu->victim + n) % MMU_WAYS];
        if (!alive(mmu, e))
            dead = e;
        else if (maps(mmu, e, va, shift, mmu->space) && (e->modes & modes))
            return e;
        else if (e->shift == MEM_PAGE_SHIFT)
            small = e;
    }
    mmu->victim++;
    if (dead)
        return dead;
    if (small)
        return small;
    mmu__clear_fast(cpu); /* the invariant of superpages */
    unmap_code(cpu);
    return set;
}

static void remember(struct xl_cpu *cpu, gva_t va, const struct xl_walk *walk)
{
    struct mmu *mmu = cpu->mmu;
    unsigned shift = (unsigned)__builtin_ctzll(walk->page);
    struct mmu_entry *e = choose(cpu, va, shift, walk->modes);

    *e = (struct mmu_entry){
        .page = va & ~(walk->page - 1), .gpa = walk->gpa & ~(walk->page - 1), .time = mmu->time,
        .space = mmu->space & 0xffffff, .shift = shift & 0x7f, .global = walk->global,
        .modes = walk->modes,
        .allowed = {walk->allowed[0], walk->allowed[1], walk->allowed[2]}};
    mmu->shifts |= walk->page;
}

/* Drops the entries of every size that map VA for SPACE; true when one was a superpage. */
static bool forget(struct mmu *mmu, gva_t va, uint32_t space)
{
    bool large = false;

    for (uint64_t left = mmu->shifts; left; left &= left - 1) {
        unsigned shift = (unsigned)__builtin_ctzll(left);
        struct mmu_entry *set = set_of(mmu, va, shift);
        for (unsigned i = 0; i < MMU_WAYS; i++) {
            if (!maps(mmu, &set[i], va, shift, space) ||
                (set[i].global && space != MMU_EVERY_SPACE))
                continue;
            set[i].time = 0;
            large |= shift > MEM_PAGE_SHIFT;
        }
    }
    return large;
}

/* --- translation ------------------------------------------------------------------------------ */

struct mem_ram *mmu__ram(struct mmu *mmu, gpa_t gpa)
{
    struct mem_view view;

    if (mmu->ram && gpa - mmu->ram->gpa < mmu->ram->size &&
        mem_ram_has(mmu->ram, gpa - mmu->ram->gpa))
        return mmu->ram;
    mem_map_lookup(mmu->map, gpa, &view);
    if (view.kind != MEM_RAM)
        return NULL;
    if (!view.ram->shown) /* that may go */
        mmu->ram = view.ram;
    return view.ram;
}

bool mmu__resolve(struct xl_cpu *cpu, unsigned mode, gva_t va, enum xl_access access,
                  struct mmu_place *place)
{
    struct mmu *mmu = cpu->mmu;
    struct mmu_entry *e = mmu__find(mmu, mode, va, access);

    if (e) {
        place->gpa = e->gpa + (va - e->page);
        place->global = e->global;
    } else {
        struct xl_walk walk;
        xl_count(&cpu->count.walks, 1);
        if (!mmu->sys->walk(cpu, mode, va, access, &walk))
            return false;
        remember(cpu, va, &walk);
        place->gpa = walk.gpa;
        place->global = walk.global;
    }
    place->ram = mmu__ram(mmu, place->gpa);
    place->host = NULL;
    if (place->ram) {
        uint64_t offset = place->gpa - place->ram->gpa;
        place->host = place->ram->host + offset;
        mem_ram_back(place->ram, offset >> MEM_PAGE_SHIFT);
    }
    return true;
}

void mmu__before_store(struct mmu *mmu, const struct mmu_place *place)
{
    uint64_t page = (place->gpa - place->ram->gpa) >> MEM_PAGE_SHIFT;

    mem_page_set(place->ram, page, MEM_PAGE_DIRTY);
    if (mem_page_flags(place->ram, page) & MEM_PAGE_CODE)
        mmu->code.page_written(mmu->code.opaque, place->ram, page);
}

void mmu__after_store(struct mmu *mmu, const struct mmu_place *place)
{
    uint64_t page = (place->gpa - place->ram->gpa) >> MEM_PAGE_SHIFT;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (mem_page_flags(place->ram, page) & MEM_PAGE_CODE)
        mmu->code.page_written(mmu->code.opaque, place->ram, page);
}

void *mmu_translate(struct xl_cpu *cpu, gva_t va, uint32_t span, uint32_t mem)
{
    struct mmu *mmu = cpu->mmu;
    unsigned mode = xl_tlb_mode(cpu->mode);
    bool store = mem & IR_MEM_WRITE;

    if ((va & PAGE_MASK) + span > MEM_PAGE_SIZE ||
        (unlikely(mmu->watching) && mmu__page_watched(mmu, mode, va)))
        return NULL;
    struct mmu_entry *e = mmu__find(mmu, mode, va, store ? XL_STORE : XL_LOAD);
    struct mem_ram *ram = e ? mmu__ram(mmu, e->gpa + (va - e->page)) : NULL;
    if (!ram)
        return NULL;
    uint64_t offset = e->gpa + (va - e->page) - ram->gpa;
    if (store) {
        if (ram->read_only || (mem_page_flags(ram, offset >> MEM_PAGE_SHIFT) & MEM_PAGE_CODE))
            return NULL;
        mem_page_set(ram, offset >> MEM_PAGE_SHIFT, MEM_PAGE_DIRTY);
    }
    mem_ram_back(ram, offset >> MEM_PAGE_SHIFT);
    xl_count(&cpu->count.tlb_misses, 1);
    mmu__fill(cpu, mode, va, ram->host + offset, store);
    return ram->host + offset;
}

bool mmu_fetch(struct xl_cpu *cpu, gva_t pc, struct mmu_fetched *out)
{
    struct mmu *mmu = cpu->mmu;
    struct mmu_place place;

    if (!mmu__resolve(cpu, mmu->fetch_mode, pc, XL_FETCH, &place))
        return false;
    if (!place.ram) {
        mmu->sys->access_fault(cpu, pc, XL_FETCH, false);
        return false;
    }
    note_fetched(cpu, pc & ~PAGE_MASK);
    *out = (struct mmu_fetched){
        .gpa = place.gpa, .host = place.host, .ram = place.ram, .global = place.global};
    return true;
}

/* --- what changes translations ---------------------------------------------------------------- */

void mmu_set_context(struct xl_cpu *cpu, uint32_t mode, unsigned fetch_mode, uint32_t space)
{
    struct mmu *mmu = cpu->mmu;

    if (space != mmu->space) {
        mmu__clear_fast(cpu);
        xl_code_unmap(cpu, XL_TLB_NONE, false);
        mmu->space = space;
    }
    mmu->fetch_mode = fetch_mode;
    if (mode != cpu->mode) {
        cpu->mode = mode;
        cpu->jump_salt = mix(mmu->secret ^ mode);
    }
}

static void flush_space(struct xl_cpu *cpu, uint32_t space)
{
    struct mmu *mmu = cpu->mmu;

    mmu->time++;
    if (space == MMU_EVERY_SPACE) {
        mmu->floor = mmu->time;
        mmu->shifts = 0;
        mmu__clear_fast(cpu);
        unmap_code(cpu);
        return;
    }
    mmu->space_floor[space % MMU_SPACE_SLOTS] = mmu->time;
    /* Spaces that share a slot of space_floor lose their entries together, and with them the
     * superpages behind fast entries. */
    if (space % MMU_SPACE_SLOTS == mmu->space % MMU_SPACE_SLOTS) {
        mmu__clear_fast(cpu);
        xl_code_unmap(cpu, XL_TLB_NONE, false);
    }
}

static void flush_page(struct xl_cpu *cpu, gva_t page, uint32_t space)
{
    if (forget(cpu->mmu, page, space)) {
        mmu__clear_fast(cpu);
        unmap_code(cpu);
        return;
    }
    clear_fast_page(cpu, page);
    if (was_fetched(cpu->mmu, page))
        xl_code_unmap(cpu, page, space == MMU_EVERY_SPACE);
}

void mmu_flush(struct xl_cpu *cpu, gva_t start, uint64_t size, uint32_t space)
{
    gva_t first = start & ~PAGE_MASK;
    uint64_t last = start + size - 1; /* of bytes */

    if (!size)
        return;
    if (last < start || (last - first) / MEM_PAGE_SIZE >= RANGE_MOST) {
        flush_space(cpu, space);
        return;
    }
    for (uint64_t i = 0; i <= (last - first) / MEM_PAGE_SIZE; i++)
        flush_page(cpu, first + i * MEM_PAGE_SIZE, space);
}

void mmu_flush_all(struct xl_cpu *cpu)
{
    flush_space(cpu, MMU_EVERY_SPACE);
}

/* What mmu_drop_code_stores() does in one stretch of RAM. */
struct drop {
    struct xl_cpu *cpu;
    bool wrote;
};

static void drop_entry(const struct drop *d, struct mem_ram *ram, struct xl_tlb_entry *e)
{
    uint64_t offset = e->tag + e->delta - (uintptr_t)ram->host;
    uint64_t page = offset >> MEM_PAGE_SHIFT;

    if (e->tag == XL_TLB_NONE || offset >= ram->size || !(mem_page_flags(ram, page) & MEM_PAGE_CODE))
        return;
    e->tag = XL_TLB_NONE;
    if (d->wrote)
        d->cpu->mmu->code.page_written(d->cpu->mmu->code.opaque, ram, page);
}

static void drop_in_ram(void *opaque, struct mem_ram *ram)
{
    const struct drop *d = opaque;

    for (unsigned mode = 0; mode < XL_TLB_MODES; mode++) {
        for (uint64_t left = d->cpu->mmu->touched[mode][1]; left; left &= left - 1) {
            struct xl_tlb_entry *chunk = d->cpu->tlb[mode].store + __builtin_ctzll(left) * CHUNK;
            for (unsigned i = 0; i < CHUNK; i++)
                drop_entry(d, ram, &chunk[i]);
        }
    }
}

void mmu_drop_code_stores(struct xl_cpu *cpu, bool wrote)
{
    struct drop d = {cpu, wrote};

    mem_map_each_ram(cpu->mmu->map, drop_in_ram, &d);
}

/* --- life ------------------------------------------------------------------------------------- */

void mmu_init(struct xl_cpu *cpu, struct mem_map *map, const struct xl_sys *sys,
              const struct mmu_code_ops *code)
{
    struct mmu *mmu = g_new0(struct mmu, 1);

    mmu->map = map;
    mmu->sys = sys;
    mmu->code = *code;
    mmu->time = 1;
    mmu->floor = 1;
    if (getrandom(&mmu->secret, sizeof(mmu->secret), 0) != sizeof(mmu->secret))
        mmu->secret = mix((uintptr_t)mmu ^ (uint64_t)g_get_monotonic_time());
    memset(mmu->touched, 0xff, sizeof(mmu->touched));
    cpu->mmu = mmu;
    cpu->jump_salt = mix(mmu->secret ^ cpu->mode);
    for (unsigned i = 0; i < XL_CODE_PAGES; i++)
        cpu->code_at[i] = XL_TLB_NONE;
    mmu_flush_all(cpu);
}

void mmu_fini(struct xl_cpu *cpu)
{
    g_free(cpu->mmu);
    cpu->mmu = NULL;
}
