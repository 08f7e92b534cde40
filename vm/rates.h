/*
 * vm/rates: tells when a rate of the translator falls below what its owner set, and when it is back.
 *
 * Rates are looked at in windows: counters that only rise over the time since the window began, gauges as
 * they are. A window with less than LIMIT_XLATE_RATE_LEAST counts goes on. Between falling and
 * recovering lies RATES_MARGIN, so that a rate at its threshold tells nothing twice. Loop thread.
 */
#ifndef VM_RATES_H
#define VM_RATES_H

#include "base/base.h"

enum {
    RATES_WINDOW_MS = 2000, /* least length of a window */
    RATES_MARGIN = 1,       /* percent points above the threshold (100 at most) to recover */
};

enum rate_news { RATE_AS_BEFORE, RATE_FELL, RATE_RECOVERED };

struct rate {
    unsigned threshold; /* percent; 0: nobody wants to know */
    bool low;
    uint64_t part, whole; /* counters when the window began */
    double percent;       /* of the latest whole window, of COUNTED */
    uint64_t counted;
};

/* Sets the threshold; what was low is as yet unknown under a new one. */
void rate_set(struct rate *rate, unsigned threshold);
/* PART of WHOLE as counted since the beginning. */
enum rate_news rate_feed(struct rate *rate, uint64_t part, uint64_t whole);
/* PART of WHOLE as it is now. */
enum rate_news rate_feed_gauge(struct rate *rate, uint64_t part, uint64_t whole);

#endif
