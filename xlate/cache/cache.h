/*
 * xlate/cache: translated code of one VM, by guest-physical address and translation mode.
 *
 * Code lies in segments of shared memory that is mapped twice: writable for compilers, executable for
 * vCPUs, never both. Each vCPU fills a segment of its own. A full cache evicts its oldest segment
 * as a whole; where what was evicted is soon translated again, it grows instead, up to its limit. The cache knows no ISA, guest or host: back ends give it bytes and say where the
 * patchable jumps are.
 *
 * Threads. Lookups take no lock. What changes the cache takes its lock for a short time; compiling
 * happens outside it. A unit that was dropped is found no more and no link leads to it, but vCPUs
 * may still be inside it: its bytes are reused when every vCPU has passed a safepoint since. There
 * each vCPU also forgets its own references (jump cache, return stack, code_at).
 *
 * The run loop:
 *
 *     if (!cache_safepoint(user)) link = none;
 *     unit = cache_lookup(cache, gpa, mode);
 *     if (!unit) {
 *         cache_begin(user, gpa, second, mode, &place)
 *             -EAGAIN: cache_wait(user), start again from the safepoint
 *         set MEM_PAGE_CODE, read the guest's bytes, translate to IR
 *         back_compile(.., &place)
 *             -E2BIG: translate fewer instructions
 *         unit = cache_commit(user, &place)
 *             NULL: the page was written meanwhile, start again
 *     }
 *     xl_code_map(cpu, unit->page_id, page of pc, global);
 *     if (there was a link) cache_link(user, link, unit); else cache_remember(user, pc, unit);
 *     cpu->pc_page = page of pc;
 *     back_enter(.., unit)
 */
#ifndef XLATE_CACHE_CACHE_H
#define XLATE_CACHE_CACHE_H

#include "base/large.h"
#include "mem/mem.h"
#include "xlate/cpu.h"

struct cache;
struct cache_user;
struct cache_link;
struct cache_page;

#define CACHE_NO_PAGE UINT64_MAX
#define CACHE_NO_LINK UINT32_MAX

enum {
    CACHE_UNIT_LINKS = 64,               /* most patchable jumps of a unit */
    CACHE_UNIT_BYTES = 48 * 1024,        /* most bytes of a unit, hot and cold each */
    CACHE_FIXED_BYTES = 64 * 1024,       /* the back end's own code and constants */
    CACHE_UNITS_AT = LARGE_PAGE,         /* units have theirs from there on */
    CACHE_LEAST_BYTES = 4 * 1024 * 1024, /* smallest limit */
    CACHE_DEFAULT_BYTES = 128 * 1024 * 1024,
};

/*
 * A translated unit. Units never move; one that was dropped stays readable until the vCPU's next
 * safepoint.
 */
struct cache_unit {
    gpa_t gpa;           /* of its first guest instruction */
    uint32_t mode;       /* translation mode */
    uint32_t page_id;    /* number of its page and fetch regime: cpu->code_at[page_id] */
    gpa_t second;        /* an address in its other page, or CACHE_NO_PAGE */
    const void *entry;   /* enter here with cpu->pc_page set */
    const void *checked; /* enter here with the guest address in a register: checks code_at */
    uint32_t hot_bytes, cold_bytes;
    const void *cold;
    uint16_t n_guest;    /* guest instructions */
    uint16_t n_links;
    bool linkable;       /* false: only the run loop may enter (it lies in two pages) */
    bool warm;           /* made by a compile thread, before any vCPU came to it */
    uint32_t heat;       /* times a vCPU found it or made it: cache_unit_found(); any thread */
    bool live;           /* found by lookups; under the lock, as all below but for next */
    struct cache_unit *next; /* of its hash chain; any thread */
    struct {
        struct cache_page *page;
        struct cache_unit *next, *prev;
    } in_page[2]; /* the pages it has bytes in */
    struct cache_link *in;    /* links that lead here */
    struct cache_link *links; /* its own */
};

/*
 * A jump that ends with a 32-bit displacement, 4-aligned in memory, which is patched while others
 * run. The back end fills site, unlinked and checked; the rest belongs to the cache.
 */
struct cache_link {
    struct cache_unit *from, *to;
    struct cache_link *in_next, **in_prev; /* of to->in */
    uint8_t *site;       /* write address of the displacement */
    uint8_t *unlinked;   /* write address of the code that it leads to while not linked */
    bool checked;        /* leads to the checked entry: another page, or a return */
};

/*
 * Where a unit is compiled to: cache_begin() fills the first part, the back end the second. Code is
 * written through hot and cold and runs at that address + run_delta. Cold is for what seldom runs.
 */
struct cache_place {
    gpa_t gpa, second; /* second: an address in its other page, or CACHE_NO_PAGE */
    uint32_t mode, page_id;
    uint8_t *hot, *cold; /* hot: 16-aligned */
    uint32_t hot_room, cold_room;
    ptrdiff_t run_delta;
    struct cache_link *links; /* room for CACHE_UNIT_LINKS */
    uint32_t first_link;      /* number of links[0]; links[i] has first_link + i */
    uint32_t units_room;      /* units that the segment has room for, this one among them */
    uint64_t started;         /* host ns; 0: not timed */

    uint32_t hot_bytes, cold_bytes;
    uint32_t entry, checked; /* offsets from hot */
    uint16_t n_links;
    uint16_t n_guest;
    uint16_t patterns; /* patterns that were found in it */
};

typedef void (*cache_unit_fn)(void *opaque, uint32_t content, const struct cache_unit *unit);

struct cache_config {
    uint64_t limit; /* most bytes of code, CACHE_LEAST_BYTES..LIMIT_XLATE_CACHE_MIB; 0: default */
    /* Asks every vCPU to pass a safepoint soon. Any thread, the cache's lock held: may only set
     * flags and wake. */
    void (*kick)(void *opaque);
    /* UNIT, of a page that cache_name() named CONTENT, is being dropped; the cache's lock is held.
     * NULL: nobody wants to know. */
    cache_unit_fn dropped;
    void *opaque;
};

/*
 * Makes an empty cache. False with an error a person understands where the host refuses memory,
 * shared or executable mappings (noexec policies, seccomp), or the limit is out of range.
 */
bool cache_new(const struct cache_config *config, struct cache **out, GError **err);
/* Frees it; no vCPU runs and all users were freed. Takes NULL. */
void cache_free(struct cache *cache);

/* The back end's own CACHE_FIXED_BYTES: written through WRITE. Before any vCPU runs. */
void cache_fixed(struct cache *cache, uint8_t **write, ptrdiff_t *run_delta);

/* --- vCPUs ------------------------------------------------------------------------------------ */

/*
 * A vCPU's part. CPU must outlive it. It starts outside, as after cache_leave(). Any thread. With
 * CPU NULL it is a compile thread's: that only fills, and never at the cost of code that is there.
 */
struct cache_user *cache_user_new(struct cache *cache, struct xl_cpu *cpu);
/* Frees it, while outside. Takes NULL. */
void cache_user_free(struct cache_user *user);

/*
 * The vCPU's thread, outside generated code, holding no unit or code pointer: forgets references
 * to dropped units and lets their memory be reused. Cheap when nothing was dropped. False: something
 * was, and link numbers from before mean nothing any more.
 */
bool cache_safepoint(struct cache_user *user);
/* Any thread: was anything dropped since the safepoint that USER passed last, so that its vCPU may still run it? */
bool cache_is_behind(struct cache_user *user);
/* The vCPU stops running guest code for a while (idle, paused, out of the run loop): nobody waits
 * for its safepoints until it comes back with cache_join(), which is a safepoint. */
void cache_leave(struct cache_user *user);
void cache_join(struct cache_user *user);

/* --- lookup ----------------------------------------------------------------------------------- */

/* The unit that starts at GPA in MODE, or NULL. Good until the caller's next safepoint. Any vCPU's
 * thread, between cache_join() and cache_leave(). */
struct cache_unit *cache_lookup(struct cache *cache, gpa_t gpa, uint32_t mode);

/* --- filling: the user's own thread ----------------------------------------------------------- */

/*
 * Starts a unit: reserves room and, from now until cache_commit(), watches for writes to its
 * pages. SECOND: CACHE_NO_PAGE, or the guest-physical address of the page it runs on into.
 * 0; -EAGAIN: full, call cache_wait() with nothing held and start over.
 */
int cache_begin(struct cache_user *user, gpa_t gpa, gpa_t second, uint32_t mode,
                struct cache_place *place);
/* Publishes what was compiled. Another vCPU's equal unit wins. NULL: one of its pages was
 * invalidated since cache_begin(), or the cache was cleared; look again. */
struct cache_unit *cache_commit(struct cache_user *user, const struct cache_place *place);
/*
 * Room for one more unit before the commit, of the page and fetch regime that cache_begin() was
 * asked for, behind BEFORE, which is compiled and lies in one page. Takes no lock. False: GPA or
 * MODE are of another, or there is no room: commit, then begin again.
 */
bool cache_follow(const struct cache_user *user, const struct cache_place *before, gpa_t gpa,
                  uint32_t mode, struct cache_place *place);
/* Publishes N units, which cache_begin() and cache_follow() gave room for; other users' equal units
 * win. False: none was published, for the page was invalidated, or the cache cleared. */
bool cache_commit_all(struct cache_user *user, const struct cache_place *places, unsigned n);
/* Gives up what cache_begin() started. */
void cache_abandon(struct cache_user *user);
/* Waits until there is room: until the other vCPUs have passed safepoints. A safepoint itself. */
void cache_wait(struct cache_user *user);

/*
 * Makes LINK (a number that generated code left with) lead to UNIT, which is what the link's target
 * address is now. Not after a cache_wait(), or a cache_safepoint() that returned false. Does nothing if either unit was dropped, the modes
 * differ, it was linked meanwhile, or UNIT is not linkable.
 */
void cache_link(struct cache_user *user, uint32_t link, struct cache_unit *unit);
/* Puts UNIT, found at guest address PC, into the vCPU's jump cache, if it is linkable. */
void cache_remember(struct cache_user *user, gva_t pc, const struct cache_unit *unit);

/* A vCPU found UNIT: counts that. True when it is the first to come to a unit made ahead. */
static inline bool cache_unit_found(struct cache_unit *unit)
{
    uint32_t heat = __atomic_load_n(&unit->heat, __ATOMIC_RELAXED);

    __atomic_store_n(&unit->heat, heat + (heat < UINT32_MAX), __ATOMIC_RELAXED);
    return !heat && unit->warm;
}

/* --- the content of pages ---------------------------------------------------------------------
 * Whoever knows pages by content gives that a number. It stays with the page until it is written.
 */

/* Was the unit just committed the first of its page since that was written, with nobody having
 * named the page yet? The user's own thread. */
bool cache_page_is_new(const struct cache_user *user);
/* Watches the page at GPA in MODE's fetch regime for writes, as cache_begin() does but with no room
 * for a unit. False: no page number is free. */
bool cache_watch(struct cache_user *user, gpa_t gpa, uint32_t mode);
/* Ends that; the page is named CONTENT (0: nothing) if nobody wrote it. */
void cache_name(struct cache_user *user, uint32_t content);
/* Calls FN for the live units of named pages that vCPUs came to, the cache locked for a segment's
 * length each time. */
void cache_each_named(struct cache *cache, cache_unit_fn fn, void *opaque);

/* --- dropping: any thread --------------------------------------------------------------------- */

/* Drops the units that have bytes in the page at GPA, in every mode; their number. Commits under
 * way of units in that page will fail. */
unsigned cache_invalidate_page(struct cache *cache, gpa_t gpa);
/* Drops everything, and gives the memory back once vCPUs have passed safepoints. */
void cache_clear(struct cache *cache);
/*
 * Drops segments to whose units no vCPU came since the call before, as far as the cache is larger than
 * what it began with, and gives memory back: of what was dropped at the next call, where vCPUs have
 * yet to pass safepoints.
 */
void cache_trim(struct cache *cache);
/* Sets the limit; a smaller one drops the oldest code. False with VMD_ERROR_INVALID out of range. */
bool cache_set_limit(struct cache *cache, uint64_t bytes, GError **err);

/* --- statistics: any thread ------------------------------------------------------------------- */

struct cache_stats {
    /* What each translation counts, a line of the host's cache. */
    uint64_t units, code_bytes;  /* live now */
    uint64_t edges;              /* of live units: patchable exits */
    uint64_t translated_units, translated_guest, translated_bytes; /* ever */
    uint64_t translation_ns; /* from cache_begin() to the commit; some are timed, for all */
    uint64_t pattern_hits;

    uint64_t linked;             /* edges that are patched */
    uint64_t used_bytes, limit;  /* memory of segments in use; the most of it */
    uint64_t size;               /* the most of it now: adapted to what runs */
    uint64_t grown, shrunk;      /* times that SIZE was adapted */
    uint64_t links_direct, links_cross; /* patched ever: within a page; across pages and returns */
    uint64_t links_indirect;            /* jump-cache entries filled */
    uint64_t unlinks;
    uint64_t evictions, evicted_units;           /* evictions: of segments */
    uint64_t retranslated_units;                 /* made again soon after */
    uint64_t invalidations, invalidated_units;   /* invalidations: of pages with units */
    uint64_t clears;
    uint64_t waits;              /* cache_wait() */
};
void cache_stats(struct cache *cache, struct cache_stats *out);

/* Calls FN with the live units of PART, the cache locked meanwhile. Begin with 0; what is returned is
 * the next part that has some, 0 after the last. Any thread. */
unsigned cache_each_unit(struct cache *cache, unsigned part,
                         void (*fn)(void *opaque, const struct cache_unit *unit), void *opaque);

/* For people: calls FN with the live unit that host address CODE lies in, the cache locked
 * meanwhile. False if there is none. */
bool cache_find_code(struct cache *cache, const void *code,
                     void (*fn)(void *opaque, const struct cache_unit *unit), void *opaque);

#endif
