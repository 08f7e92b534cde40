/* Virtual time. See gpu_credit.h. */
#include "daemon/gpu_credit.h"

#define MS             UINT64_C(1000000)
#define WINDOW_NS      (20 * MS)   /* of the device's time, all users together */
#define STALLED_MOST   (200 * MS)  /* how long others may be kept waiting for an idle device, */
#define USE_COUNTS     3           /* beyond so many times what was used */
#define PASSED_MOST    (100 * MS)  /* between rounds, of which more is a host that stood still */
#define PAUSE_NS       (1000 * MS) /* without work, after which a user's claim is forgotten */
#define CLAIM_NS       (2000 * MS) /* of the device's time, which a claim is about at most */
#define FORGET_NS      (1000 * MS) /* of a device without work, after which all are alike */
#define VIRTUAL_MOST   (UINT64_C(1) << 62)
#define VIRTUAL_SECOND UINT64_C(1000) /* virtual nanoseconds of one at weight 1 */

static uint64_t add(uint64_t a, uint64_t b)
{
    return a + MIN(b, VIRTUAL_MOST - MIN(a, VIRTUAL_MOST));
}

static uint64_t to_virtual(uint64_t ns, uint64_t weight)
{
    return ns * VIRTUAL_SECOND / weight;
}

/* What was used since the round before: all of it, in nanoseconds. No device runs more than a
 * thousand launches at once. */
static uint64_t take_use(struct credit *const *all, unsigned n, uint64_t passed)
{
    enum { AT_ONCE = 1024 };
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++) {
        struct credit *c = all[i];
        c->did_ns = c->used_ns > c->last_ns ? c->used_ns - c->last_ns : 0;
        c->did_ns = MIN(c->did_ns, AT_ONCE * MAX(passed, MS));
        sum = add(sum, c->did_ns);
        c->passed = add(c->passed, to_virtual(c->did_ns, c->weight));
    }
    return sum;
}

/* Whether somebody with work waited for leave, but for what is too little to count as use. */
static bool somebody_waits(struct credit *const *all, unsigned n, uint64_t passed)
{
    bool waits = false;

    for (unsigned i = 0; i < n; i++)
        waits |= all[i]->wants && all[i]->did_ns < passed / (USE_COUNTS + 1) &&
                 all[i]->used_ns >= all[i]->until_ns;
    return waits;
}

/*
 * Whether the wants of C count. IDLE is how long the device had nothing to do while somebody waited:
 * it is laid to those that had work, and leave for it. So one whose launches take long to begin
 * since the others' are in the way does not lose by that: when it holds the others back, they are
 * not.
 */
static void judge(struct credit *c, uint64_t idle, uint64_t passed)
{
    uint64_t leave = c->until_ns > c->last_ns ? c->until_ns - c->last_ns : 0;
    uint64_t unused = leave > c->did_ns ? leave - c->did_ns : 0;

    if (c->wants)
        c->stalled_ns = MIN(c->stalled_ns + MIN(idle, unused), 2 * STALLED_MOST);
    c->stalled_ns -= MIN(c->stalled_ns, USE_COUNTS * c->did_ns);
    c->last_ns = c->used_ns;
    c->counts = c->wants && c->stalled_ns < STALLED_MOST;
    c->paused_ns = c->counts ? 0 : MIN(c->paused_ns + passed, PAUSE_NS);
}

/* The least of those that have work (WANTING), or that did some. */
static uint64_t least(struct credit *const *all, unsigned n, bool wanting)
{
    uint64_t passed = VIRTUAL_MOST;

    for (unsigned i = 0; i < n; i++) {
        if (all[i]->counts || (!wanting && all[i]->did_ns))
            passed = MIN(passed, all[i]->passed);
    }
    return passed;
}

/* How far C may go: a window beyond the last of the others that have work. */
static uint64_t bound(const struct credit *c, struct credit *const *all, unsigned n,
                      uint64_t window)
{
    uint64_t last = VIRTUAL_MOST;

    for (unsigned i = 0; i < n; i++) {
        if (all[i] != c && all[i]->counts)
            last = MIN(last, all[i]->passed);
    }
    uint64_t lead = c->passed < last + window ? last + window - c->passed : 0;
    return add(c->used_ns, lead / VIRTUAL_SECOND * c->weight);
}

/* Who has no work is not further behind than a window, or than its claim where it only pauses: than
 * those that have some, or else than those that had some between the rounds. WEIGHTS are theirs. */
static void catch_up(struct credit *const *all, unsigned n, uint64_t window, uint64_t weights)
{
    uint64_t waiting = least(all, n, true), busy = least(all, n, false);

    for (unsigned i = 0; i < n; i++) {
        struct credit *c = all[i];
        uint64_t to = waiting < VIRTUAL_MOST ? waiting : c->did_ns ? 0 : busy;
        uint64_t claim = to_virtual(CLAIM_NS, weights + c->weight);
        uint64_t most = c->paused_ns < PAUSE_NS ? MAX(claim, window) : window;
        if (!c->counts && to > most)
            c->passed = MAX(c->passed, to - most);
    }
}

/* Virtual time begins with who is last. */
static void rebase(struct credit *const *all, unsigned n)
{
    uint64_t first = VIRTUAL_MOST;

    for (unsigned i = 0; i < n; i++)
        first = MIN(first, all[i]->passed);
    for (unsigned i = 0; i < n; i++)
        all[i]->passed -= first;
}

unsigned credit_round(struct credit_device *d, struct credit *const *all, unsigned n,
                      uint64_t passed_ns)
{
    uint64_t passed = MIN(passed_ns, PASSED_MOST), weights = 0;
    uint64_t used = take_use(all, n, passed);
    uint64_t idle = passed > used && somebody_waits(all, n, passed) ? passed - used : 0;
    unsigned wanting = 0;

    for (unsigned i = 0; i < n; i++) {
        judge(all[i], idle, passed);
        wanting += all[i]->counts;
        weights += all[i]->counts || all[i]->did_ns ? all[i]->weight : 0;
    }
    d->idle_ns = weights ? 0 : MIN(d->idle_ns + passed, FORGET_NS);
    uint64_t window = weights ? to_virtual(WINDOW_NS, weights) : 0;
    if (weights)
        catch_up(all, n, window, weights);
    rebase(all, n);
    for (unsigned i = 0; i < n; i++) {
        struct credit *c = all[i];
        if (d->idle_ns == FORGET_NS)
            c->passed = 0;
        c->until_ns = wanting < 2 ? UINT64_MAX : bound(c, all, n, window);
    }
    return wanting;
}
