/* The code cache: what is found, linked, dropped and reused, and when; with threads at the end. */
#include "tests/unit/unit.h"
#include "xlate/cache/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define RAM UINT64_C(0x80000000)
#define MODE 8u /* fetch regime 1 */

struct bed {
    struct cache *cache;
    struct xl_cpu *cpu[8];
    struct cache_user *user[8];
    unsigned n;
    int kicks;
};

static void count_kick(void *opaque)
{
    struct bed *bed = opaque;

    __atomic_add_fetch(&bed->kicks, 1, __ATOMIC_RELAXED);
}

static void setup(struct bed *bed, unsigned n, uint64_t limit)
{
    struct cache_config config = {.limit = limit, .kick = count_kick, .opaque = bed};
    g_autoptr(GError) err = NULL;

    memset(bed, 0, sizeof(*bed));
    ck_assert_msg(cache_new(&config, &bed->cache, &err), "%s", err ? err->message : "");
    bed->n = n;
    for (unsigned i = 0; i < n; i++) {
        bed->cpu[i] = g_new0(struct xl_cpu, 1);
        bed->user[i] = cache_user_new(bed->cache, bed->cpu[i]);
        cache_join(bed->user[i]);
    }
}

static void teardown(struct bed *bed)
{
    for (unsigned i = 0; i < bed->n; i++) {
        cache_leave(bed->user[i]);
        cache_user_free(bed->user[i]);
        g_free(bed->cpu[i]);
    }
    cache_free(bed->cache);
}

/* A unit's first words name it; two links follow, the second leads to checked entries. */
static void fill(struct cache_place *place, uint32_t bytes)
{
    uint64_t name = place->gpa ^ (uint64_t)place->mode << 56;

    ck_assert_uint_ge(place->hot_room, bytes);
    for (uint32_t i = 0; i + 8 <= bytes; i += 8)
        memcpy(place->hot + i, &name, 8);
    place->hot_bytes = bytes;
    memset(place->cold, 0xcc, 32);
    place->cold_bytes = 32;
    place->checked = 0;
    place->entry = 16;
    place->n_guest = 3;
    place->n_links = 2;
    for (unsigned i = 0; i < 2; i++) {
        place->links[i].site = place->hot + 32 + 8 * i;
        place->links[i].unlinked = place->cold + 16 * i;
        place->links[i].checked = i;
        int32_t rel = (int32_t)(place->links[i].unlinked - (place->links[i].site + 4));
        memcpy(place->links[i].site, &rel, 4);
    }
}

static bool holds_its_name(const struct cache_unit *unit, gpa_t gpa, uint32_t mode)
{
    uint64_t name = gpa ^ (uint64_t)mode << 56, got;

    memcpy(&got, unit->entry, 8);
    return got == name;
}

static struct cache_unit *add(struct bed *bed, unsigned who, gpa_t gpa, gpa_t second, uint32_t mode)
{
    struct cache_place place;

    ck_assert_int_eq(cache_begin(bed->user[who], gpa, second, mode, &place), 0);
    fill(&place, 64);
    return cache_commit(bed->user[who], &place);
}

static const uint8_t *link_target(const struct cache_unit *unit, unsigned i)
{
    int32_t rel;

    memcpy(&rel, (const uint8_t *)unit->checked + 32 + 8 * i, 4);
    return (const uint8_t *)unit->checked + 36 + 8 * i + rel;
}

/* The number generated code would leave with. */
static uint32_t link_number(struct bed *bed, unsigned who, gpa_t gpa, unsigned i,
                            struct cache_unit **unit)
{
    struct cache_place place;

    ck_assert_int_eq(cache_begin(bed->user[who], gpa, CACHE_NO_PAGE, MODE, &place), 0);
    fill(&place, 64);
    *unit = cache_commit(bed->user[who], &place);
    return place.first_link + i;
}

START_TEST(finds_what_was_added)
{
    struct bed bed;

    setup(&bed, 1, 0);
    ck_assert_ptr_null(cache_lookup(bed.cache, RAM, MODE));
    struct cache_unit *a = add(&bed, 0, RAM + 2, CACHE_NO_PAGE, MODE);
    struct cache_unit *b = add(&bed, 0, RAM + 2, CACHE_NO_PAGE, MODE | 1);
    ck_assert_ptr_ne(a, b);
    ck_assert_ptr_eq(cache_lookup(bed.cache, RAM + 2, MODE), a);
    ck_assert_ptr_eq(cache_lookup(bed.cache, RAM + 2, MODE | 1), b);
    ck_assert_ptr_null(cache_lookup(bed.cache, RAM + 2, MODE | 2));
    ck_assert(holds_its_name(a, RAM + 2, MODE));
    ck_assert_uint_eq(a->page_id, b->page_id);
    ck_assert_ptr_eq(add(&bed, 0, RAM + 2, CACHE_NO_PAGE, MODE), a);
    /* Another fetch regime has another number. */
    ck_assert_uint_ne(add(&bed, 0, RAM + 2, CACHE_NO_PAGE, 0)->page_id, a->page_id);
    struct cache_stats stats;
    cache_stats(bed.cache, &stats);
    ck_assert_uint_eq(stats.units, 3);
    ck_assert_uint_eq(stats.translated_guest, 9);
    ck_assert_uint_eq(stats.code_bytes, 3 * 96);
    teardown(&bed);
}
END_TEST

START_TEST(links_and_unlinks)
{
    struct bed bed;
    struct cache_unit *from;

    setup(&bed, 1, 0);
    uint32_t number = link_number(&bed, 0, RAM, 0, &from);
    const uint8_t *unlinked[2] = {link_target(from, 0), link_target(from, 1)};
    struct cache_unit *near = add(&bed, 0, RAM + 64, CACHE_NO_PAGE, MODE);
    struct cache_unit *far = add(&bed, 0, RAM + 4096, CACHE_NO_PAGE, MODE);
    struct cache_unit *other = add(&bed, 0, RAM + 64, CACHE_NO_PAGE, MODE | 1);
    struct cache_unit *crossing = add(&bed, 0, RAM + 4094, RAM + 4096, MODE);

    cache_link(bed.user[0], number, far); /* not a checked link, but another page */
    cache_link(bed.user[0], number, other);
    cache_link(bed.user[0], number + 1, crossing);
    ck_assert_ptr_eq(link_target(from, 0), unlinked[0]);
    ck_assert_ptr_eq(link_target(from, 1), unlinked[1]);
    cache_link(bed.user[0], number, near);
    cache_link(bed.user[0], number + 1, far);
    ck_assert_ptr_eq(link_target(from, 0), near->entry);
    ck_assert_ptr_eq(link_target(from, 1), far->checked);
    ck_assert_uint_eq(cache_invalidate_page(bed.cache, RAM + 4096), 2); /* far, crossing */
    ck_assert_ptr_eq(link_target(from, 0), near->entry);
    ck_assert_ptr_eq(link_target(from, 1), unlinked[1]);
    cache_link(bed.user[0], number + 1, far); /* gone */
    ck_assert_ptr_eq(link_target(from, 1), unlinked[1]);
    ck_assert_uint_eq(cache_invalidate_page(bed.cache, RAM + 123), 3);
    ck_assert_uint_eq(cache_invalidate_page(bed.cache, RAM), 0);
    struct cache_stats stats;
    cache_stats(bed.cache, &stats);
    ck_assert_uint_eq(stats.links_direct, 1);
    ck_assert_uint_eq(stats.links_cross, 1);
    ck_assert_uint_eq(stats.unlinks, 2);
    ck_assert_uint_eq(stats.linked, 0);
    ck_assert_uint_eq(stats.edges, 0);
    ck_assert_uint_eq(stats.units, 0);
    ck_assert_uint_eq(stats.invalidations, 2);
    teardown(&bed);
}
END_TEST

START_TEST(self_link_goes_with_its_unit)
{
    struct bed bed;
    struct cache_unit *unit;

    setup(&bed, 1, 0);
    uint32_t number = link_number(&bed, 0, RAM, 0, &unit);
    cache_link(bed.user[0], number, unit);
    cache_link(bed.user[0], number + 1, unit);
    ck_assert_ptr_eq(link_target(unit, 0), unit->entry);
    ck_assert_uint_eq(cache_invalidate_page(bed.cache, RAM), 1);
    teardown(&bed);
}
END_TEST

START_TEST(write_while_compiling)
{
    struct bed bed;
    struct cache_place place;

    setup(&bed, 1, 0);
    for (unsigned i = 0; i < 2; i++) { /* in its first page, in its second */
        ck_assert_int_eq(cache_begin(bed.user[0], RAM + 4094, RAM + 4096, MODE, &place), 0);
        fill(&place, 64);
        cache_invalidate_page(bed.cache, RAM + 4096 * i);
        ck_assert_ptr_null(cache_commit(bed.user[0], &place));
    }
    ck_assert_int_eq(cache_begin(bed.user[0], RAM + 4094, RAM + 4096, MODE, &place), 0);
    fill(&place, 64);
    cache_invalidate_page(bed.cache, RAM + 8192);
    ck_assert_ptr_nonnull(cache_commit(bed.user[0], &place));
    ck_assert_int_eq(cache_begin(bed.user[0], RAM, CACHE_NO_PAGE, MODE, &place), 0);
    fill(&place, 64);
    cache_clear(bed.cache);
    ck_assert_ptr_null(cache_commit(bed.user[0], &place));
    /* Both parts in one physical page, mapped twice in a row. */
    struct cache_unit *unit = add(&bed, 0, RAM + 4094, RAM, MODE);
    ck_assert(!unit->linkable);
    ck_assert_uint_eq(cache_invalidate_page(bed.cache, RAM), 1);
    teardown(&bed);
}
END_TEST

/* Compiles N more units, 8 bytes apart, behind the first of PLACES; how many found room. */
static unsigned follow(struct bed *bed, struct cache_place *places, unsigned n, unsigned bytes)
{
    for (unsigned i = 1; i < n; i++) {
        if (!cache_follow(bed->user[0], &places[i - 1], places[i - 1].gpa + 8, MODE, &places[i]))
            return i;
        fill(&places[i], bytes);
    }
    return n;
}

START_TEST(several_at_once)
{
    struct bed bed;
    struct cache_place place[4], other;
    struct cache_stats stats;

    setup(&bed, 2, 0);
    struct cache_unit *theirs, *units[4];
    ck_assert_int_eq(cache_begin(bed.user[0], RAM, CACHE_NO_PAGE, MODE, &place[0]), 0);
    fill(&place[0], 70);
    ck_assert_uint_eq(follow(&bed, place, 4, 70), 4);
    ck_assert(!cache_follow(bed.user[0], &place[3], RAM + 4096, MODE, &other));
    ck_assert(!cache_follow(bed.user[0], &place[3], RAM + 64, 0, &other)); /* fetch regime */
    theirs = add(&bed, 1, RAM + 8, CACHE_NO_PAGE, MODE);
    ck_assert_ptr_null(cache_lookup(bed.cache, RAM, MODE));
    ck_assert(cache_commit_all(bed.user[0], place, 4));
    for (unsigned i = 0; i < 4; i++) {
        units[i] = cache_lookup(bed.cache, RAM + 8 * i, MODE);
        ck_assert(units[i] && holds_its_name(units[i], RAM + 8 * i, MODE));
    }
    ck_assert_ptr_eq(units[1], theirs);
    cache_link(bed.user[0], place[3].first_link, units[2]);
    ck_assert_ptr_eq(link_target(units[3], 0), units[2]->entry);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_eq(stats.units, 4);
    ck_assert_uint_eq(stats.edges, 8);
    /* What comes next lies behind them. */
    ck_assert_int_eq(cache_begin(bed.user[0], RAM + 4094, RAM + 4096, MODE, &place[0]), 0);
    ck_assert_uint_ge((uintptr_t)place[0].hot, (uintptr_t)place[3].hot + 70);
    ck_assert_uint_ge((uintptr_t)place[0].cold, (uintptr_t)place[3].cold + 32);
    fill(&place[0], 64);
    ck_assert(!cache_follow(bed.user[0], &place[0], RAM + 4090, MODE, &other)); /* two pages */
    cache_abandon(bed.user[0]);
    ck_assert_uint_eq(cache_invalidate_page(bed.cache, RAM), 4);
    teardown(&bed);
}
END_TEST

START_TEST(several_are_refused_together)
{
    struct bed bed;
    struct cache_place place[3];

    setup(&bed, 1, 0);
    for (unsigned i = 0; i < 2; i++) { /* a write; everything dropped */
        ck_assert_int_eq(cache_begin(bed.user[0], RAM, CACHE_NO_PAGE, MODE, &place[0]), 0);
        fill(&place[0], 64);
        ck_assert_uint_eq(follow(&bed, place, 3, 64), 3);
        if (i)
            cache_clear(bed.cache);
        else
            cache_invalidate_page(bed.cache, RAM);
        ck_assert(!cache_commit_all(bed.user[0], place, 3));
        for (unsigned k = 0; k < 3; k++)
            ck_assert_ptr_null(cache_lookup(bed.cache, RAM + 8 * k, MODE));
    }
    teardown(&bed);
}
END_TEST

/* The segment ends, by bytes of code and by the number of units: nothing goes beyond it. */
START_TEST(several_end_with_the_segment)
{
    enum { MOST = 4096 / 8 };
    struct bed bed;
    struct cache_place *place = g_new0(struct cache_place, MOST);

    setup(&bed, 1, 0);
    for (unsigned bytes = 64; bytes <= 2048; bytes += 1984) {
        unsigned n, in_all = 0;
        bool ended = false;
        for (gpa_t page = RAM + bytes * 4096; in_all < 2 * MOST; page += 4096) {
            ck_assert(cache_safepoint(bed.user[0]));
            ck_assert_int_eq(cache_begin(bed.user[0], page, CACHE_NO_PAGE, MODE, &place[0]), 0);
            fill(&place[0], bytes);
            n = follow(&bed, place, MOST, bytes);
            ended |= n < MOST;
            for (unsigned i = 1; i < n; i++)
                ck_assert(place[i].hot >= place[i - 1].hot + bytes);
            ck_assert(place[n - 1].hot + bytes <= place[0].cold);
            ck_assert_uint_le(place[n - 1].first_link - place[0].first_link, 2 * MOST);
            ck_assert(cache_commit_all(bed.user[0], place, n));
            for (unsigned i = 0; i < n; i++)
                ck_assert(holds_its_name(cache_lookup(bed.cache, page + 8 * i, MODE), page + 8 * i,
                                         MODE));
            in_all += n;
        }
        ck_assert_msg(ended, "%u bytes: no segment ended", bytes);
    }
    g_free(place);
    teardown(&bed);
}
END_TEST

/* A compile thread's user: what it makes is warm, loses against a write, and drops nothing for room. */
START_TEST(compile_thread)
{
    struct bed bed;
    struct cache_place place;
    struct cache_stats stats;
    int full = 0;

    setup(&bed, 1, CACHE_LEAST_BYTES);
    struct cache_user *user = cache_user_new(bed.cache, NULL);
    cache_join(user);
    ck_assert_int_eq(cache_begin(user, RAM, CACHE_NO_PAGE, MODE, &place), 0);
    fill(&place, 64);
    cache_invalidate_page(bed.cache, RAM);
    ck_assert_ptr_null(cache_commit(user, &place));
    ck_assert_ptr_null(cache_lookup(bed.cache, RAM, MODE));
    ck_assert_int_eq(cache_begin(user, RAM, CACHE_NO_PAGE, MODE, &place), 0);
    fill(&place, 64);
    struct cache_unit *unit = cache_commit(user, &place);
    ck_assert_ptr_eq(cache_lookup(bed.cache, RAM, MODE), unit);
    ck_assert(unit->warm && cache_unit_found(unit) && !cache_unit_found(unit));
    unit = add(&bed, 0, RAM + 64, CACHE_NO_PAGE, MODE);
    ck_assert(!unit->warm && !cache_unit_found(unit));
    for (unsigned i = 1; i < 100000 && !full; i++) {
        cache_safepoint(user);
        full = cache_begin(user, RAM + i * 8192, CACHE_NO_PAGE, MODE, &place);
        if (full)
            break;
        fill(&place, 2048);
        ck_assert_ptr_nonnull(cache_commit(user, &place));
    }
    ck_assert_int_eq(full, -EAGAIN);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_eq(stats.evictions, 0);
    cache_leave(user);
    cache_user_free(user);
    teardown(&bed);
}
END_TEST

static void note_unit(void *opaque, uint32_t content, const struct cache_unit *unit)
{
    *(uint64_t *)opaque += content * 1000 + unit->gpa % MEM_PAGE_SIZE;
}

/* A page keeps its name until it is written; units that nobody came to are not told of. */
START_TEST(pages_have_names)
{
    struct bed bed;
    uint64_t sum = 0;

    setup(&bed, 1, 0);
    add(&bed, 0, RAM + 2, CACHE_NO_PAGE, MODE);
    ck_assert(cache_page_is_new(bed.user[0]));
    add(&bed, 0, RAM + 4, CACHE_NO_PAGE, MODE);
    ck_assert(!cache_page_is_new(bed.user[0]));
    ck_assert(cache_watch(bed.user[0], RAM + 100, MODE));
    cache_name(bed.user[0], 7);
    add(&bed, 0, RAM + 8, CACHE_NO_PAGE, MODE);
    add(&bed, 0, RAM + 8192, CACHE_NO_PAGE, MODE); /* of a page without a name */
    cache_each_named(bed.cache, note_unit, &sum);
    ck_assert_uint_eq(sum, 3 * 7000 + 14);
    sum = 0;
    ck_assert(cache_watch(bed.user[0], RAM, MODE));
    cache_invalidate_page(bed.cache, RAM);
    cache_name(bed.user[0], 9);
    add(&bed, 0, RAM + 2, CACHE_NO_PAGE, MODE);
    ck_assert(cache_page_is_new(bed.user[0]));
    cache_each_named(bed.cache, note_unit, &sum);
    ck_assert_uint_eq(sum, 0);
    teardown(&bed);
}
END_TEST

START_TEST(safepoint_forgets)
{
    struct bed bed;

    setup(&bed, 2, 0);
    struct cache_unit *a = add(&bed, 0, RAM + 2, CACHE_NO_PAGE, MODE);
    struct cache_unit *b = add(&bed, 0, RAM + 4098, CACHE_NO_PAGE, MODE);
    struct xl_cpu *cpu = bed.cpu[1];

    cpu->jump_salt = UINT64_C(0x1234567890);
    cache_remember(bed.user[1], 0x5002, a); /* bit 12 set and clear: two entries */
    cache_remember(bed.user[1], 0x6002, a);
    cache_remember(bed.user[1], 0x7ffe, b);
    cpu->ras[3] = (struct xl_ras){.tag = 7, .code = (const uint8_t *)a->cold + 5};
    cpu->ras[4] = (struct xl_ras){.tag = 7, .code = (const uint8_t *)b->cold + 5};
    ck_assert(cache_safepoint(bed.user[1]));
    cache_invalidate_page(bed.cache, RAM);
    ck_assert_ptr_eq(cpu->jump[1].code, a->checked); /* its own thread forgets, nobody else */
    ck_assert(!cache_safepoint(bed.user[1]));
    ck_assert(cache_safepoint(bed.user[1]));
    ck_assert_ptr_null(cpu->jump[1].code);
    ck_assert_ptr_null(cpu->jump[2049].code);
    ck_assert_ptr_eq(cpu->jump[0x7ffe / 2 % XL_JUMP_SIZE].code, b->checked);
    ck_assert_ptr_null(cpu->ras[3].code);
    ck_assert_ptr_nonnull(cpu->ras[4].code);
    /* More at once than the log holds: everything goes. */
    cpu->code_at[5] = 0;
    xl_code_map(cpu, 5, 0x5000, true);
    for (unsigned i = 0; i < 400; i++)
        add(&bed, 0, RAM + 0x10000 + 2 * i, CACHE_NO_PAGE, MODE);
    ck_assert_uint_eq(cache_invalidate_page(bed.cache, RAM + 0x10000), 400);
    ck_assert(!cache_safepoint(bed.user[1]));
    ck_assert_ptr_null(cpu->jump[0x7ffe / 2 % XL_JUMP_SIZE].code);
    ck_assert_ptr_null(cpu->ras[4].code);
    ck_assert_uint_eq(cpu->code_at[5], XL_TLB_NONE);
    teardown(&bed);
}
END_TEST

START_TEST(outside_forgets_when_it_joins)
{
    struct bed bed;

    setup(&bed, 2, 0);
    struct cache_unit *a = add(&bed, 0, RAM, CACHE_NO_PAGE, MODE);
    cache_remember(bed.user[1], 0x5000, a);
    cache_leave(bed.user[1]);
    cache_clear(bed.cache);
    cache_safepoint(bed.user[0]);
    add(&bed, 0, RAM + 64, CACHE_NO_PAGE, MODE); /* may reuse the memory: nobody else is inside */
    ck_assert_ptr_nonnull(bed.cpu[1]->jump[0x5000 / 2 % XL_JUMP_SIZE].code);
    cache_join(bed.user[1]);
    ck_assert_ptr_null(bed.cpu[1]->jump[0x5000 / 2 % XL_JUMP_SIZE].code);
    teardown(&bed);
}
END_TEST

/* Fills the cache with big units until the user must wait. */
static unsigned fill_up(struct bed *bed, unsigned who, gpa_t gpa)
{
    struct cache_place place;
    unsigned n = 0;

    while (n < 100000 && cache_begin(bed->user[who], gpa + n * 64, CACHE_NO_PAGE, MODE, &place) == 0) {
        fill(&place, 4096);
        ck_assert_ptr_nonnull(cache_commit(bed->user[who], &place));
        n++;
    }
    return n;
}

START_TEST(memory_waits_for_safepoints)
{
    struct bed bed;
    struct cache_stats stats;

    setup(&bed, 2, CACHE_LEAST_BYTES);
    struct cache_unit *first = add(&bed, 0, RAM, CACHE_NO_PAGE, MODE);
    unsigned n = fill_up(&bed, 0, RAM + 0x100000);
    ck_assert_uint_gt(n, 525); /* 2.6 MiB for hot code, but for the reserve */
    ck_assert_uint_lt(n, 673);
    ck_assert_int_gt(bed.kicks, 0);
    ck_assert(holds_its_name(first, RAM, MODE)); /* evicted, but user 1 might be inside */
    ck_assert_ptr_null(cache_lookup(bed.cache, RAM, MODE));
    cache_safepoint(bed.user[0]);
    ck_assert_uint_eq(fill_up(&bed, 0, RAM + 0x200000), 0);
    cache_safepoint(bed.user[1]);
    n = fill_up(&bed, 0, RAM + 0x300000);
    ck_assert_uint_gt(n, 20);
    cache_leave(bed.user[1]); /* nobody is left to wait for */
    cache_wait(bed.user[0]);
    ck_assert_uint_gt(fill_up(&bed, 0, RAM + 0x400000), 20);
    cache_join(bed.user[1]);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_gt(stats.evictions, 2);
    ck_assert_uint_le(stats.used_bytes, stats.limit);
    ck_assert_uint_eq(stats.waits, 1);
    teardown(&bed);
}
END_TEST

/* Bytes of the first 16 MiB for code that the host holds. */
static uint64_t code_memory(struct cache *cache)
{
    static unsigned char there[MIB(16) / MEM_PAGE_SIZE];
    uint8_t *write;
    ptrdiff_t run_delta;
    uint64_t bytes = 0;

    cache_fixed(cache, &write, &run_delta);
    ck_assert_int_eq(mincore(write + CACHE_UNITS_AT, MIB(16), there), 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(there); i++)
        bytes += (there[i] & 1) * MEM_PAGE_SIZE;
    return bytes;
}

START_TEST(limits)
{
    struct bed bed;
    struct cache_stats stats;
    g_autoptr(GError) err = NULL;
    struct cache *none = NULL;
    struct cache_config config = {.limit = CACHE_LEAST_BYTES - 1, .kick = count_kick};

    ck_assert(!cache_new(&config, &none, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    g_clear_error(&err);
    setup(&bed, 1, MIB(16));
    ck_assert(!cache_set_limit(bed.cache, MIB(LIMIT_XLATE_CACHE_MIB) + 1, &err));
    ck_assert(cache_set_limit(bed.cache, MIB(LIMIT_XLATE_CACHE_MIB), NULL));
    ck_assert(cache_set_limit(bed.cache, MIB(16), NULL));
    ck_assert_uint_gt(fill_up(&bed, 0, RAM), 1800);
    ck_assert_uint_gt(code_memory(bed.cache), MIB(7));
    ck_assert(cache_set_limit(bed.cache, CACHE_LEAST_BYTES, NULL));
    cache_safepoint(bed.user[0]);
    cache_wait(bed.user[0]);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_le(stats.used_bytes, CACHE_LEAST_BYTES);
    ck_assert_uint_le(code_memory(bed.cache), CACHE_LEAST_BYTES + LARGE_PAGE);
    ck_assert_uint_gt(stats.units, 0);
    cache_clear(bed.cache);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_eq(stats.units, 0);
    ck_assert_uint_eq(stats.code_bytes, 0);
    ck_assert_uint_eq(stats.clears, 1);
    teardown(&bed);
}
END_TEST

/* Comes to the unit at GPA, of 4 KiB, as a vCPU does; true where it had to be made. */
static bool visit(struct bed *bed, gpa_t gpa)
{
    struct cache_unit *unit;
    struct cache_place place;

    cache_safepoint(bed->user[0]);
    unit = cache_lookup(bed->cache, gpa, MODE);
    if (unit) {
        cache_unit_found(unit);
        return false;
    }
    while (cache_begin(bed->user[0], gpa, CACHE_NO_PAGE, MODE, &place) == -EAGAIN)
        cache_wait(bed->user[0]);
    fill(&place, 4096);
    ck_assert_ptr_nonnull(cache_commit(bed->user[0], &place));
    return true;
}

/* Comes to N units in turn; how many had to be made. */
static unsigned round_of(struct bed *bed, unsigned n)
{
    unsigned made = 0;

    for (unsigned i = 0; i < n; i++)
        made += visit(bed, RAM + i * 256);
    return made;
}

enum {
    UNITS_PER_MIB = 4 * (168 - 16) / 4, /* at least: a segment of 256 KiB has 168 for hot code */
    SMALL = 12 * UNITS_PER_MIB,
    LARGE = 40 * UNITS_PER_MIB,
};

START_TEST(size_follows_what_runs)
{
    struct bed bed;
    struct cache_stats stats;

    setup(&bed, 1, 0);
    cache_stats(bed.cache, &stats);
    uint64_t first = stats.size;
    ck_assert_uint_lt(first, stats.limit);
    /* A small working set keeps the cache small, and all of it. */
    ck_assert_uint_eq(round_of(&bed, SMALL), SMALL);
    ck_assert_uint_eq(round_of(&bed, SMALL), 0);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_eq(stats.size, first);
    ck_assert_uint_eq(stats.evictions, 0);
    /* A large one grows it, and little of that is made twice. */
    round_of(&bed, LARGE);
    round_of(&bed, LARGE);
    round_of(&bed, LARGE);
    ck_assert_uint_eq(round_of(&bed, LARGE), 0);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_gt(stats.grown, 0);
    ck_assert_uint_ge(stats.size, stats.used_bytes);
    ck_assert_uint_lt(stats.size, 2 * stats.used_bytes);
    ck_assert_uint_gt(stats.retranslated_units, 0);
    ck_assert_uint_lt(stats.retranslated_units, LARGE);
    teardown(&bed);
}
END_TEST

/* What runs once is not worth a larger cache. */
START_TEST(size_stays_for_a_stream)
{
    struct bed bed;
    struct cache_stats stats;

    setup(&bed, 1, 0);
    ck_assert_uint_eq(round_of(&bed, LARGE), LARGE);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_gt(stats.evictions, 0);
    ck_assert_uint_eq(stats.grown, 0);
    ck_assert_uint_eq(stats.retranslated_units, 0);
    ck_assert_uint_le(stats.used_bytes, stats.size);
    teardown(&bed);
}
END_TEST

/* The limit holds, whatever runs. */
START_TEST(size_ends_at_the_limit)
{
    struct bed bed;
    struct cache_stats stats;

    setup(&bed, 1, MIB(20));
    for (unsigned i = 0; i < 3; i++)
        round_of(&bed, LARGE);
    cache_stats(bed.cache, &stats);
    ck_assert_uint_eq(stats.size, MIB(20));
    ck_assert_uint_le(stats.used_bytes, MIB(20));
    teardown(&bed);
}
END_TEST

static uint64_t shared_kib(void)
{
    g_autofree char *text = NULL;

    ck_assert(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    const char *row = strstr(text, "RssShmem:");
    ck_assert_ptr_nonnull(row);
    return g_ascii_strtoull(row + strlen("RssShmem:"), NULL, 10);
}

START_TEST(trim_gives_memory_back)
{
    struct bed bed;
    struct cache_stats before, after;

    setup(&bed, 1, 0);
    for (unsigned i = 0; i < 4; i++)
        round_of(&bed, LARGE);
    cache_trim(bed.cache);
    round_of(&bed, LARGE);
    cache_trim(bed.cache); /* all of it ran */
    cache_stats(bed.cache, &before);
    ck_assert_uint_eq(before.shrunk, 0);
    ck_assert_uint_eq(round_of(&bed, SMALL), 0);
    uint64_t kib = shared_kib();
    cache_trim(bed.cache);
    cache_safepoint(bed.user[0]); /* only now is nobody in what was dropped */
    cache_trim(bed.cache);
    cache_stats(bed.cache, &after);
    ck_assert_uint_gt(after.shrunk, 0);
    ck_assert_uint_lt(after.size, before.size);
    ck_assert_uint_lt(after.used_bytes, before.used_bytes / 2);
    ck_assert_uint_lt(shared_kib(), kib - (before.used_bytes - after.used_bytes) / 1024 / 2);
    ck_assert_uint_eq(round_of(&bed, SMALL), 0); /* what ran is still there */
    teardown(&bed);
}
END_TEST

START_TEST(page_numbers_come_back)
{
    struct bed bed;
    struct cache_place place;

    setup(&bed, 1, 0);
    for (unsigned i = 0; i < XL_CODE_PAGES; i++) {
        ck_assert_ptr_nonnull(add(&bed, 0, RAM + i * 4096, CACHE_NO_PAGE, MODE));
        if (i != 7)
            cache_invalidate_page(bed.cache, RAM + i * 4096);
    }
    ck_assert_int_eq(cache_begin(bed.user[0], 0, CACHE_NO_PAGE, MODE, &place), -EAGAIN);
    cache_wait(bed.user[0]);
    ck_assert_ptr_nonnull(add(&bed, 0, 0, CACHE_NO_PAGE, MODE));
    ck_assert_ptr_nonnull(cache_lookup(bed.cache, RAM + 7 * 4096, MODE)); /* it had a unit */
    /* All pages have code: the oldest goes. */
    for (unsigned i = 0; i < XL_CODE_PAGES - 2; i++)
        ck_assert_ptr_nonnull(add(&bed, 0, i * 4096 + 4096, CACHE_NO_PAGE, MODE));
    ck_assert_int_eq(cache_begin(bed.user[0], RAM, CACHE_NO_PAGE, MODE, &place), -EAGAIN);
    cache_wait(bed.user[0]);
    ck_assert_ptr_nonnull(add(&bed, 0, RAM, CACHE_NO_PAGE, MODE));
    teardown(&bed);
}
END_TEST

static void count_unit(void *opaque, const struct cache_unit *unit)
{
    *(gpa_t *)opaque = unit->gpa;
}

START_TEST(code_has_a_unit)
{
    struct bed bed;
    gpa_t gpa = 0;

    setup(&bed, 1, 0);
    struct cache_unit *a = add(&bed, 0, RAM + 6, CACHE_NO_PAGE, MODE);
    ck_assert(cache_find_code(bed.cache, (const uint8_t *)a->entry + 5, count_unit, &gpa));
    ck_assert_uint_eq(gpa, RAM + 6);
    ck_assert(cache_find_code(bed.cache, (const uint8_t *)a->cold + 31, count_unit, &gpa));
    ck_assert(!cache_find_code(bed.cache, (const uint8_t *)a->cold + 32, count_unit, &gpa));
    ck_assert(!cache_find_code(bed.cache, &gpa, count_unit, &gpa));
    teardown(&bed);
}
END_TEST

/* --- threads ---------------------------------------------------------------------------------- */

enum { THREADS = 3, ROUNDS = 6000 };

struct runner {
    struct bed *bed;
    unsigned who;
    unsigned bad, found, added;
};

static void run_once(struct runner *r, unsigned *seed, struct cache_unit **last, uint32_t *link)
{
    struct cache_user *user = r->bed->user[r->who];
    gpa_t gpa = RAM + (unsigned)rand_r(seed) % 512 * 1024;
    struct cache_place place;
    struct cache_unit *unit = cache_lookup(r->bed->cache, gpa, MODE);

    if (unit) {
        r->found++;
    } else if (cache_begin(user, gpa, CACHE_NO_PAGE, MODE, &place) < 0) {
        cache_wait(user);
        *last = NULL;
        return;
    } else {
        fill(&place, 4096 + 8 * ((unsigned)rand_r(seed) % 500));
        unit = cache_commit(user, &place);
        if (unit && *last)
            cache_link(user, *link, unit);
        /* Another thread may have made it meanwhile: then the place, and its links, are not used. */
        *last = unit && unit->links == place.links ? unit : NULL;
        *link = place.first_link + 1;
        r->added++;
    }
    if (unit && !holds_its_name(unit, gpa, MODE))
        r->bad++;
    if (unit)
        cache_remember(user, gpa, unit);
}

static void *run(void *opaque)
{
    struct runner *r = opaque;
    unsigned seed = r->who + 1;
    struct cache_unit *last = NULL;
    uint32_t link = 0;

    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!cache_safepoint(r->bed->user[r->who]))
            last = NULL;
        run_once(r, &seed, &last, &link);
        if (i % 64 == 63)
            cache_invalidate_page(r->bed->cache, RAM + (unsigned)rand_r(&seed) % 128 * 4096);
        if (i % 1000 == 999) {
            cache_leave(r->bed->user[r->who]);
            cache_join(r->bed->user[r->who]);
            last = NULL;
        }
        if (i % 2500 == 2499 && r->who == 0)
            cache_clear(r->bed->cache);
    }
    cache_leave(r->bed->user[r->who]);
    return NULL;
}

START_TEST(threads)
{
    struct bed bed;
    struct runner r[THREADS];
    pthread_t thread[THREADS];
    struct cache_stats stats;

    setup(&bed, THREADS, CACHE_LEAST_BYTES);
    for (unsigned i = 0; i < THREADS; i++) {
        r[i] = (struct runner){.bed = &bed, .who = i};
        ck_assert_int_eq(pthread_create(&thread[i], NULL, run, &r[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_uint_eq(r[i].bad, 0);
        ck_assert_uint_gt(r[i].found, 100);
        ck_assert_uint_gt(r[i].added, 100);
    }
    cache_stats(bed.cache, &stats);
    ck_assert_uint_gt(stats.evictions, 5);
    ck_assert_uint_gt(stats.links_cross, 0);
    teardown(&bed);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cache");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, finds_what_was_added);
    tcase_add_test(tc, links_and_unlinks);
    tcase_add_test(tc, self_link_goes_with_its_unit);
    tcase_add_test(tc, write_while_compiling);
    tcase_add_test(tc, several_at_once);
    tcase_add_test(tc, several_are_refused_together);
    tcase_add_test(tc, several_end_with_the_segment);
    tcase_add_test(tc, compile_thread);
    tcase_add_test(tc, pages_have_names);
    tcase_add_test(tc, safepoint_forgets);
    tcase_add_test(tc, outside_forgets_when_it_joins);
    tcase_add_test(tc, memory_waits_for_safepoints);
    tcase_add_test(tc, limits);
    tcase_add_test(tc, size_follows_what_runs);
    tcase_add_test(tc, size_stays_for_a_stream);
    tcase_add_test(tc, size_ends_at_the_limit);
    tcase_add_test(tc, trim_gives_memory_back);
    tcase_add_test(tc, page_numbers_come_back);
    tcase_add_test(tc, code_has_a_unit);
    tcase_add_test(tc, threads);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
