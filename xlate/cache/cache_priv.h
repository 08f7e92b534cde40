/*
 * What the files of the code cache share.
 *
 * Life of a segment: unused (no memory) -> free -> filling (a user's) -> full -> dead (dropped, but
 * vCPUs may still run in it) -> free. A dead segment becomes free when every user has published an
 * epoch that is not older than the segment's death; a user publishes the present epoch at its
 * safepoints, having forgotten all it knew of what was dropped until then.
 *
 * One lock guards everything but the chains of the hash table, which are read without it: a unit is
 * published with its next set, and keeps its next when it is taken out.
 */
#ifndef XLATE_CACHE_CACHE_PRIV_H
#define XLATE_CACHE_CACHE_PRIV_H

#include "xlate/cache/cache.h"

#include <pthread.h>

enum { CACHE_HOST_LINE = 64 };
#define HOST_LINE_ALIGNED __attribute__((aligned(CACHE_HOST_LINE)))

enum {
    SEGMENT_BYTES = 256 * 1024,
    SEGMENT_HOT =
        168 * 1024, /* of them for hot code; cold code, about half as much, comes behind */
    /* As many as code has that fills a segment, in nine cases of ten, and as TABLE_BYTES hold. */
    SEGMENT_UNITS = 1024,
    SEGMENT_LINKS = 1900,
    TABLE_BYTES = 256 * 1024,
    BLOCK_SEGMENTS =
        LARGE_PAGE / SEGMENT_BYTES, /* their code is one large page, their tables another */
    SEGMENTS = LIMIT_XLATE_CACHE_MIB * 4,
    LINK_BITS = 11, /* a link's number: segment << LINK_BITS | index */
    HASH_BITS = 18,
    PAGE_HASH_BITS = 12,
    LOG_SIZE = 256,      /* dropped units remembered one by one; a user further behind drops all */
    RESERVE = 2,         /* segments kept free or dying, so that nobody waits */
    FREE_MOST = 4,       /* segments kept free with their memory */
    FIRST_SEGMENTS = 64, /* the size a cache begins with, and is trimmed to: 16 MiB */
    GROW_PART = 20,      /* one in so many translations is of evicted code: the cache grows */
    GHOST_BITS = 16,
    PLACE_BITS = 9,         /* of a hash: an address's place in its page */
    TIMED = 16,             /* one in so many translations is timed; power of two */
    ROOM_LEAST = 12 * 1024, /* a segment with less in either part is full */
};
G_STATIC_ASSERT(SEGMENT_LINKS <= 1 << LINK_BITS);
G_STATIC_ASSERT(2 * SEGMENT_UNITS <= LIMIT_XLATE_CODE_ROWS); /* hot and cold */
G_STATIC_ASSERT((uint64_t)SEGMENTS << LINK_BITS < CACHE_NO_LINK);
G_STATIC_ASSERT(SEGMENT_UNITS * sizeof(struct cache_unit) +
                    SEGMENT_LINKS * sizeof(struct cache_link) <=
                TABLE_BYTES);
G_STATIC_ASSERT(TABLE_BYTES == SEGMENT_BYTES && SEGMENTS % BLOCK_SEGMENTS == 0);

enum segment_state { SEGMENT_UNUSED, SEGMENT_FREE, SEGMENT_FILLING, SEGMENT_FULL, SEGMENT_DEAD };

struct segment {
    enum segment_state state;
    uint32_t hot_used, cold_used, n_units, n_links;
    bool backed;              /* there is memory for it: its own, or its block's */
    struct cache_unit *units; /* SEGMENT_UNITS; NULL while unused */
    struct cache_link *links; /* SEGMENT_LINKS */
    uint64_t order;           /* filling, full: age, smaller is older */
    uint64_t died;            /* dead: the epoch */
    struct cache_user *owner; /* filling */
    uint64_t heat;            /* full: of its units, when it was last looked at; 0: not yet */
};

/* A guest-physical page in one fetch regime; its number is its index in cache->page. */
struct cache_page {
    gpa_t gpa;
    uint8_t regime;
    bool used;
    bool asked;               /* its first unit since it was written was told of */
    uint32_t content;         /* what cache_name() said; 0: nothing */
    uint32_t n_begun;         /* commits under way */
    struct cache_unit *units; /* linked by in_page[] */
    struct cache_page *next;  /* of its hash chain, or of the free or the dying ones */
    uint64_t died;
};

/* What a user must know of a dropped unit, which may be gone by the time it looks. */
struct dropped {
    const void *checked, *cold;
    uint32_t cold_bytes;
    uint32_t offset; /* in its page */
};

struct cache_user {
    struct cache *cache;
    struct xl_cpu *cpu; /* NULL: a compile thread's */
    struct cache_user *next;
    uint64_t epoch;    /* published; UINT64_MAX while outside */
    uint64_t log_seen; /* how much of the log it has worked through */
    struct segment *segment;
    struct cache_page *begun[2]; /* between begin and commit */
    bool stale;                  /* one of them was invalidated */
    bool page_is_new;            /* cache_page_is_new() */
    uint64_t remembered;         /* jump-cache entries; own thread, read by any */
    uint32_t begun_units;        /* times that it began */
} HOST_LINE_ALIGNED;

/* The parts lie in lines of the host's cache of their own: what one thread writes all the time is
 * not what another reads. */
struct cache {
    /* Set once. */
    void (*kick)(void *opaque);
    cache_unit_fn dropped;
    void *opaque;
    uint8_t *write; /* of it, after a LARGE_PAGE with the fixed code, the segments' */
    const uint8_t *run;
    size_t mapped;
    uint8_t *tables; /* of units and links, TABLE_BYTES for each segment */
    ptrdiff_t run_delta;
    struct segment *segment;  /* SEGMENTS */
    void *index;              /* memory of hash, page and ghost */
    struct cache_unit **hash; /* 1 << HASH_BITS */
    struct cache_page *page;  /* XL_CODE_PAGES */
    struct cache_page **page_hash;
    uint32_t *ghost; /* 1 << GHOST_BITS: tags of units that were evicted */

    uint64_t epoch HOST_LINE_ALIGNED; /* rises with every drop; any thread reads */

    pthread_mutex_t lock HOST_LINE_ALIGNED;
    uint64_t recent,
        recent_again; /* units made since the size was looked at; evicted ones of them */
    struct cache_stats stats HOST_LINE_ALIGNED;

    pthread_cond_t passed; /* a user published an epoch, while someone waits */
    unsigned waiting;
    uint8_t block_used[SEGMENTS / BLOCK_SEGMENTS]; /* segments with memory */
    bool block_backing[SEGMENTS / BLOCK_SEGMENTS]; /* cache__segment_back() is at it */
    bool released;          /* a segment was, and cache__give_back() is due */
    unsigned n_segments;    /* with memory */
    unsigned max_segments;  /* the owner's limit */
    unsigned size_segments; /* what it may have now: adapted, at most the limit */
    unsigned n_free, n_dead;
    uint64_t next_order;
    struct cache_page *free_pages, *dying_pages;
    struct cache_user *users;
    struct dropped log[LOG_SIZE];
    uint64_t log_head;
    uint64_t log_floor; /* whoever has seen less than this drops all */
};

/* Has it units that may be found? */
static inline bool cache__segment_in_use(const struct segment *segment)
{
    return segment->state == SEGMENT_FILLING || segment->state == SEGMENT_FULL;
}

static inline uint8_t *cache__segment_code(const struct cache *cache, const struct segment *segment)
{
    return cache->write + CACHE_UNITS_AT + (size_t)(segment - cache->segment) * SEGMENT_BYTES;
}

/* A hash of BITS that keeps units of one page together: who meets one meets others there soon. */
static inline uint32_t cache__hash(gpa_t gpa, uint32_t mode, unsigned bits)
{
    uint64_t page = (gpa >> MEM_PAGE_SHIFT ^ (uint64_t)mode << 40) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t place = (uint32_t)(gpa >> (MEM_PAGE_SHIFT - PLACE_BITS)) & ((1u << PLACE_BITS) - 1);

    return (uint32_t)(page >> (64 - (bits - PLACE_BITS))) << PLACE_BITS | place;
}

static inline struct cache_unit **cache__bucket(const struct cache *cache, gpa_t gpa, uint32_t mode)
{
    return &cache->hash[cache__hash(gpa, mode, HASH_BITS)];
}

/* memory.c: the two mappings and segments' memory. */
bool cache__map(struct cache *cache, GError **err);
void cache__unmap(struct cache *cache);
/* An unused segment; one of a block that another thread is getting memory for only where there is
 * no other: pages that come there meanwhile keep it from being a large one. */
struct segment *cache__segment_unused(struct cache *cache);
void cache__segment_alloc(struct cache *cache, struct segment *segment);
/*
 * Memory for a segment, with all of its block if it is the first there and the host has large
 * pages. It may take a millisecond, for which the lock is let go of.
 */
void cache__segment_back(struct cache *cache, struct segment *segment);
void cache__segment_release(struct cache *cache, struct segment *segment);
/* The memory of what was released goes back to the host. */
void cache__give_back(struct cache *cache);

/* drop.c, lock held. */
/* Calls FN (or NULL) with UNIT if its page has a name and a vCPU came to it. */
void cache__tell(struct cache *cache, const struct cache_unit *unit, cache_unit_fn fn,
                 void *opaque);
void cache__drop_unit(struct cache *cache, struct cache_unit *unit);
/* A unit for GPA in MODE was made: was one evicted, not long ago? */
bool cache__was_evicted(struct cache *cache, gpa_t gpa, uint32_t mode);
/* Drops the oldest segment; false when there is none. */
bool cache__evict(struct cache *cache);
/* Drops a segment that is filling or full. */
void cache__kill(struct cache *cache, struct segment *segment);
/* Frees what no user can be inside any more. */
void cache__reclaim(struct cache *cache);
/* Brings a user up to the present epoch. */
void cache__catch_up(struct cache_user *user);
/* Takes page numbers back from pages without units; they are free after the next safepoints. */
void cache__recycle_pages(struct cache *cache);

#endif
