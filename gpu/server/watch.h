/*
 * gpu/server/watch: sees whether the calls that sessions make of a backend come back.
 *
 * A session says when it goes into a call, and how many looks it may be seen in it; a thread of the
 * worker's looks at all sessions, once a second. Looks are counted and no clock is read: a worker
 * that was stopped, or that found no processor, has not been looked at either.
 *
 * While a call waits that may wait longer, or for ever, calls of other sessions may wait for it
 * inside the driver, and are given as long.
 */
#ifndef GPU_SERVER_WATCH_H
#define GPU_SERVER_WATCH_H

#include "base/base.h"

struct watch;

/* A session's, which is in one call at a time. All zeros: nobody watches. */
struct watched {
    struct watch *watch;
    const char *what; /* atomic, as are the next two */
    uint32_t most;    /* looks; 0: any number */
    uint32_t number;  /* of the call, odd while it is in it */
    uint32_t seen;    /* what NUMBER was at the last look */
    unsigned looks;   /* that saw the same call */
};

/* HUNG(OPAQUE, what) is called by watch_look() for the first call that does not come back; a
 * thread of it own looks each second where THREAD. */
struct watch *watch_new(void (*hung)(void *opaque, const char *what), void *opaque, bool thread,
                        GError **err);
/* Nobody is watched, and it has no thread. Takes NULL. */
void watch_free(struct watch *watch);

/* Nothing where WATCH is NULL. */
void watch_add(struct watch *watch, struct watched *watched);
void watch_remove(struct watched *watched);

/* The session goes into WHAT, a constant, for at most so many looks (0: any number), and is out
 * again. The session's thread. */
static inline void watch_enter(struct watched *w, const char *what, uint32_t most)
{
    __atomic_store_n(&w->what, what, __ATOMIC_RELAXED);
    __atomic_store_n(&w->most, most, __ATOMIC_RELAXED);
    __atomic_store_n(&w->number, w->number + 1, __ATOMIC_RELEASE);
}

static inline void watch_leave(struct watched *w)
{
    __atomic_store_n(&w->number, w->number + 1, __ATOMIC_RELEASE);
}

/* One look at all. */
void watch_look(struct watch *watch);

#endif
