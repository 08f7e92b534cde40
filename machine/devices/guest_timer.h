/*
 * machine/devices/guest_timer: timers in guest time, for devices.
 *
 * All timers of a board share one timerfd on the VM's loop, so they have nanosecond resolution
 * and can be set on any thread without waking the loop. They stand still while the clock is
 * paused.
 *
 * Locking: one lock for the set, the innermost: a device may set a timer under its own lock. A
 * timer's function runs on the loop's thread with no lock held. It may run late or once too
 * often (the timer was moved meanwhile), so it looks for itself whether its time has come.
 */
#ifndef MACHINE_DEVICES_GUEST_TIMER_H
#define MACHINE_DEVICES_GUEST_TIMER_H

#include "base/base.h"
#include "mem/clock.h"

#include <uv.h>

struct guest_timers;

/* A timer, embedded in its device. Fill FN and OPAQUE, then guest_timer_add(). */
struct guest_timer {
    void (*fn)(void *opaque);
    void *opaque;
    struct guest_timers *set;
    uint64_t deadline; /* guest ns; UINT64_MAX: not armed */
};

/* NULL with ERR set when the host gives no timer. On the loop's thread. */
struct guest_timers *guest_timers_new(uv_loop_t *loop, struct vm_clock *clock, GError **err);

/* Closes the handle; the loop's next turn frees it. Every timer has been removed. Takes NULL. */
void guest_timers_free(struct guest_timers *set);

/* The clock was paused, resumed or set. */
void guest_timers_clock_changed(struct guest_timers *set);

/* Guest nanoseconds now. */
uint64_t guest_timers_now(const struct guest_timers *set);

/* The time of day now, by the same clock: nanoseconds since 1970, UTC. */
uint64_t guest_timers_time_of_day(const struct guest_timers *set);

void guest_timer_add(struct guest_timers *set, struct guest_timer *timer);
/* On the loop's thread. */
void guest_timer_remove(struct guest_timer *timer);

/* Arms TIMER for guest time DEADLINE_NS; UINT64_MAX disarms. Any thread. */
void guest_timer_set(struct guest_timer *timer, uint64_t deadline_ns);

#endif
