/*
 * xlate/runner.h: what the files of the translator's top share: the accelerator and its runners, one
 * a vCPU.
 *
 * Inside and outside. A vCPU is inside while it runs guest code, helpers and device callbacks
 * included, and outside while it looks for code, translates, sleeps or is not in accel_vcpu_run().
 * Whoever goes inside looks at its requests after saying so, and comes out again if there are any;
 * so a fence is done for all that are outside as soon as it is queued, and waits only for those
 * inside. One that waits from inside (a hypercall) does its own fences meanwhile.
 *
 * Code pages. A page that is translated gets MEM_PAGE_CODE, and x->marks rises. vCPUs may still have
 * store entries for it; each drops them when it comes out, and if it had one, it may have written
 * unseen, and the page's units are dropped. Instruction fences wait for vCPUs inside that have not
 * come out since the last mark. Nothing waits when a page is marked.
 *
 * Lock order: runner.lock, xlate.sums_lock and xlate.lock are leaves but for each other (xlate.lock first); the
 * cache's lock is taken with none of them held.
 */
#ifndef XLATE_RUNNER_H
#define XLATE_RUNNER_H

#include "xlate/back/back.h"
#include "xlate/back/interp/interp.h"
#include "xlate/cache/cache.h"
#include "xlate/mmu/mmu.h"
#include "xlate/xlate_priv.h"

#include <pthread.h>

enum {
    FENCES_QUEUED = 16, /* of one vCPU; more become one that drops everything */
};

enum runner_place {
    RUNNER_OUTSIDE,
    RUNNER_INSIDE,
    RUNNER_LEAVING, /* soon outside: wait by spinning */
};

struct fence {
    enum accel_fence kind;
    struct accel_fence_range range;
};

/* What a debugger has set; see debug.c. */
struct debug {
    bool on; /* there are breakpoints */
    uint64_t generation; /* rises when POINTS change */
    gva_t points[LIMIT_DEBUG_POINTS];
    size_t n_points;
    uint64_t offsets[MEM_PAGE_SIZE / 64]; /* bits: the points' places in their pages */
    struct mmu_watch watches[LIMIT_DEBUG_POINTS];
    size_t n_watches;
    pthread_mutex_t lock;
    GHashTable *pages; /* guest-physical pages with breakpoints: generation they are good for */
};

/* What a signal's handler notes of a vCPU, for another thread to take. */
struct note {
    bool full; /* atomic */
    enum accel_activity activity;
    const void *code; /* in a unit, or NULL: PC says */
    uint64_t page;    /* cpu->pc_page */
    gva_t pc;
    uint32_t mode;
};

/* A vCPU and what runs it. */
struct runner {
    struct xlate *x;
    struct xl_cpu *cpu;
    struct cache_user *user;
    struct back_compiler *compiler; /* NULL: interprets */
    struct interp *interp;
    struct kept *kept; /* IR of units, where they are all interpreted; else NULL */
    struct ir_unit *unit;
    uint32_t link;     /* edge that left generated code for cpu->pc, or CACHE_NO_LINK */
    bool jumped;       /* an edge left it: not an exception or a change of mode */
    enum accel_step step; /* what is asked of the next run */
    bool stopped;      /* for the debugger; STOP says why */
    struct accel_stop stop;
    bool state_lent;   /* accel_vcpu_state() was called: the state may have been loaded */
    uint64_t patterns[IR_PATTERN_COUNT]; /* found in units that it made; read by any thread */

    /* Any thread. */
    uint32_t place;    /* enum runner_place; atomic */
    uint64_t seen;     /* x->marks, when store entries of code pages were last dropped; atomic */
    uint64_t done;     /* fences done; atomic */
    bool asleep;       /* atomic */
    struct note note;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* request became nonzero while asleep */
    struct fence queue[FENCES_QUEUED]; /* under lock, as the next two */
    unsigned queued;
    bool overflow;
    uint64_t posted;   /* fences ever queued; under lock */

    /* The timer: own thread. */
    uint64_t deadline; /* guest ns; UINT64_MAX: none */
    uint64_t armed;    /* host ns that timer_fd is set to; 0: off */
    bool timer_changed; /* deadline, or the clock */
    int timer_fd;
};

struct xlate {
    struct accel accel; /* first */
    const struct xl_front *front;
    const struct xl_sys *sys;
    struct cache *cache;
    struct back *back; /* NULL: tier 0 */
    struct warm *warm; /* NULL: no warm start */
    struct runner *runner[LIMIT_XLATE_VCPUS]; /* by index; filled before any runs */

    uint64_t marks;    /* times a page got MEM_PAGE_CODE; atomic */
    pthread_mutex_t lock;
    pthread_cond_t passed; /* a fence was done, or a vCPU came out; for those who wait */
    uint32_t waiters;  /* atomic */

    pthread_mutex_t sums_lock;
    GHashTable *sums; /* page with code, by its host address: its sum when it was marked. SUMS_LOCK */

    struct debug debug;

    int epoll_fd, stop_fd; /* of the timer thread */
    pthread_mutex_t timer_lock; /* the timer thread is at a runner; before runner.lock */
    pthread_t timer_thread;
    bool timer_running;
};

static inline struct xlate *xlate_of(const struct xl_cpu *cpu)
{
    return container_of(cpu->vcpu.accel, struct xlate, accel);
}

static inline struct runner *runner_of(const struct xl_cpu *cpu)
{
    return xlate_of(cpu)->runner[cpu->vcpu.index];
}

/* --- fence.c ---------------------------------------------------------------------------------- */

/* Any thread: sets REQUEST (mask of enum xl_request) and wakes the vCPU if it sleeps. */
void xlate__request(struct runner *r, uint32_t request);

/* struct xl_host.attend. */
void xlate__attend(struct xl_cpu *cpu);
/* struct xl_host.each. */
void xlate__each(struct xl_cpu *cpu, void (*fn)(struct xl_cpu *each));

/* Goes inside; false when there are requests: still outside then. */
bool xlate__enter(struct runner *r);
void xlate__leave(struct runner *r);

/* Does the fences that are queued for R. Its own thread. */
void xlate__do_fences(struct runner *r);

void xlate__fence(struct accel *accel, struct vcpu *from, uint64_t vcpu_mask,
                  enum accel_fence kind, const struct accel_fence_range *range);
/* struct xl_host.fence_code. */
void xlate__fence_code(struct xl_cpu *cpu);
/* Asks all vCPUs for a fence, each at its next safepoint, and waits for none. Any thread, with any
 * lock. */
void xlate__fence_soon(struct xlate *x, enum accel_fence kind,
                       const struct accel_fence_range *range);
/* struct xl_host.fence_code_all. */
void xlate__fence_code_all(struct xl_cpu *cpu);

/* Flags PAGE of RAM as one that is translated, from R's thread, outside. */
void xlate__mark_code(struct runner *r, struct mem_ram *ram, uint64_t page);
/* Drops store entries of pages that were marked meanwhile. WROTE: R may have stored through them. */
void xlate__catch_up_marks(struct runner *r, bool wrote);
/* struct mmu_code_ops.page_written; OPAQUE is the struct xlate. */
void xlate__page_written(void *opaque, struct mem_ram *ram, uint64_t page);
/* struct mem_listener.code_written. */
void xlate__code_written(void *opaque, gpa_t gpa, uint64_t length);

/* --- foreign.c -------------------------------------------------------------------------------- */

/* PAGE of RAM was flagged, and was not read yet. */
void xlate__foreign_marked(struct xlate *x, const struct mem_ram *ram, uint64_t page);
/* struct xl_host.code_foreign. */
void xlate__foreign(struct xl_cpu *cpu, const void *host);

/* --- timer.c ---------------------------------------------------------------------------------- */

/* Takes R from the timer thread and from x->runner. */
void xlate__timer_free(struct runner *r);
/* Starts the thread that turns timers into XL_REQ_IRQ. */
bool xlate__timers_start(struct xlate *x, GError **err);
void xlate__timers_stop(struct xlate *x);
bool xlate__timer_new(struct runner *r, GError **err);
/* struct xl_host.timer. */
void xlate__timer_set(struct xl_cpu *cpu, uint64_t guest_ns);
/* Before going inside: brings the host's timer in line with the deadline. */
void xlate__timer_arm(struct runner *r);
/* Sleeps until there is a request, sys->idle() says no, or its deadline passed. */
void xlate__sleep(struct runner *r);

/* --- translate.c ------------------------------------------------------------------------------ */

enum xlate_found {
    XLATE_UNIT,        /* *UNIT is for cpu->pc */
    XLATE_INTERPRETED, /* it was run already; *EXIT says how it ended */
    XLATE_STOPPED,     /* at a breakpoint */
    XLATE_AGAIN,       /* look at requests, then try again */
    XLATE_FAULTED,     /* cpu->fault is set */
};

/* Copies guest code, which others may write meanwhile: what is read is what gets translated. */
void xlate__copy_code(uint8_t *to, const uint8_t *from, uint32_t n);

struct kept *xlate__kept_new(void);
/* Takes NULL. */
void xlate__kept_free(struct kept *kept);

/* Finds or makes the unit for cpu->pc and mode. */
enum xlate_found xlate__find(struct runner *r, struct cache_unit **unit, struct back_exit *out);
/* Interprets the one instruction at cpu->pc, whatever breakpoints there are. */
enum xlate_found xlate__one(struct runner *r, struct back_exit *out);

/* --- debug.c ---------------------------------------------------------------------------------- */

enum debug_place {
    DEBUG_FREE,
    DEBUG_ALONE, /* a breakpoint of another address falls here: begins no unit */
    DEBUG_STOP,  /* a breakpoint is here */
};

void xlate__debug_init(struct xlate *x);
void xlate__debug_fini(struct xlate *x);
/* Where breakpoints are: what holds for R's pc, whose code lies at GPA. */
enum debug_place xlate__debug_look(struct runner *r, gpa_t gpa);
/* Ends SOURCE, whose first byte lies at GPA, before the next breakpoint. */
void xlate__debug_cut(struct xlate *x, gpa_t gpa, struct xl_source *source);
/* Of struct accel_ops. */
bool xlate__debug(struct accel *accel, const struct accel_debug *debug);
void xlate__step(struct vcpu *vcpu, enum accel_step step);
void xlate__stop(struct vcpu *vcpu, struct accel_stop *out);

/* --- profile.c --------------------------------------------------------------------------------- */

/* Of struct accel_ops. */
unsigned xlate__code_each(struct accel *accel, unsigned part, accel_code_fn fn, void *opaque);
void xlate__interrupted(struct vcpu *vcpu, const void *context);
bool xlate__sample(struct vcpu *vcpu, struct accel_sample *out);

/* --- run.c ------------------------------------------------------------------------------------ */

enum vcpu_exit xlate__run(struct vcpu *vcpu);

#endif
