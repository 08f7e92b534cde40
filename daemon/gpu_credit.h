/*
 * daemon/gpu_credit: how far each of several users of one device may go, so that those that have
 * work waiting get its time in proportion to their weights.
 *
 * Each has a virtual time, which passes with the time that it used, divided by its weight. The one
 * that is behind all others with work always may go on, and the others as far as to be WINDOW ahead
 * of it. So proportions hold whatever the host's load is and however late a round comes: time is
 * only ever compared with time that was used. Who oversteps, as a launch is never broken off, is
 * ahead for as long; who is alone is not bounded.
 *
 * Who has no work leaves the device to the others. Programs run out of it for a moment, as they or
 * their guest are interrupted: what others do in a pause of less than a second is made up for
 * later, up to two seconds of the device's time. After that who has no work is behind by a WINDOW
 * at most, and claims no more.
 *
 * What a user says is not believed: one that says it has work, has leave to do it, and leaves the
 * device idle while others wait for it, stops counting for the others: but for a moment, it has to
 * use a quarter of such time. Pure arithmetic; no threads.
 */
#ifndef DAEMON_GPU_CREDIT_H
#define DAEMON_GPU_CREDIT_H

#include "base/base.h"

/* Beyond any time that a device was used, with room for sums. */
#define CREDIT_USED_MOST (UINT64_C(1) << 60)

struct credit {
    /* The caller's, before a round: */
    uint32_t weight;  /* from 1 */
    uint64_t used_ns; /* a count that grows, below CREDIT_USED_MOST; one that is less than before
                         begins anew */
    bool wants;       /* it has work that runs or waits */
    /* What came of it: launches may begin while used_ns is less. UINT64_MAX: no bound. */
    uint64_t until_ns;
    bool counts; /* its wants do */
    /* The rounds' own; 0 at first. */
    uint64_t last_ns, passed, stalled_ns, paused_ns; /* PASSED: virtual time */
    uint64_t did_ns; /* since the round before */
};

/* One device's. */
struct credit_device {
    uint64_t idle_ns;
};

/* A round, PASSED_NS after the one before, of the N that share a device. How many have work: less
 * than two are not bounded. */
unsigned credit_round(struct credit_device *d, struct credit *const *all, unsigned n,
                      uint64_t passed_ns);

#endif
