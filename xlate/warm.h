/*
 * xlate/warm: warm start. Pages that ran before, known by content from a list, have their hot
 * blocks compiled by threads beside the vCPUs; and the list of what runs now is kept.
 *
 * Two ways lead to a page. A vCPU that translated the first unit of a page asks for it. And a list page
 * has a place where it was last seen: from each page that matched, those that ran after it in an
 * earlier run are looked for at their places, before any vCPU gets there.
 *
 * Compile threads touch code alone: no TLB, no guest register. They read guest bytes as vCPUs do when
 * these translate (word by word, after MEM_PAGE_CODE was set and cache_begin() watches the page), so a
 * page that is written meanwhile wins: the unit is refused. What is compiled is what the page holds
 * then, whatever the list says. A page that a compile thread flags counts in x->marks like any other:
 * vCPUs drop their store entries for it when they next come out, and if they had one, its units.
 *
 * While there are breakpoints nothing is compiled ahead: a page where one matters loses its units when
 * a vCPU comes to it, and whoever begins after that sees that they are set.
 *
 * The lock of a struct warm is a leaf, taken under the cache's lock too.
 */
#ifndef XLATE_WARM_H
#define XLATE_WARM_H

#include "base/hotlist.h"
#include "xlate/runner.h"

struct warm;

struct warm_stats {
    uint64_t listed;    /* blocks in the list it works from */
    uint64_t blocks;    /* blocks compiled ahead */
    uint64_t used;      /* of them, those that a vCPU came to */
    uint64_t pages;     /* pages whose content was in the list */
    uint64_t unmatched; /* pages first run whose content was not */
    uint64_t refused;   /* blocks given up: the page was written meanwhile */
    uint64_t ns;        /* time of compile threads */
};

/* Starts THREADS compile threads (1..LIMIT_XLATE_WARM_THREADS) for X, whose cache and back end stand.
 * LIST (taken; may be NULL) is of an earlier run. */
bool xlate__warm_new(struct xlate *x, struct hotlist *list, unsigned threads, struct warm **out,
                     GError **err);
/* Ends the threads. No vCPU runs. Takes NULL. */
void xlate__warm_free(struct warm *w);

/* Memory was loaded: looks for the list's first pages. Any thread. */
void xlate__warm_again(struct warm *w);
/* A vCPU translated the first unit of the page at GPA. Any thread; never waits for a compile. */
void xlate__warm_ask(struct warm *w, gpa_t gpa, uint32_t mode);
/* A vCPU came to a unit that was made ahead. */
void xlate__warm_used(struct warm *w);
/* struct cache_config.dropped; OPAQUE is the struct xlate. */
void xlate__warm_dropped(void *opaque, uint32_t content, const struct cache_unit *unit);

/* The list of what this run has seen so far; the caller frees. Any thread. */
struct hotlist *xlate__warm_collect(struct warm *w);
/* Waits until the compile threads have nothing to do. */
void xlate__warm_drain(struct warm *w);
void xlate__warm_stats(struct warm *w, struct warm_stats *out);
/* Blocks with pattern P that they found. */
uint64_t xlate__warm_patterns(struct warm *w, unsigned p);

#endif
