/* machine/devices/wall_clock.h: the time of day, for clocks of guests. */
#ifndef MACHINE_DEVICES_WALL_CLOCK_H
#define MACHINE_DEVICES_WALL_CLOCK_H

#include "machine/devices/guest_timer.h"

/* A source of the time of day that a test has in place of the VM's clock. */
typedef uint64_t (*wall_clock_fn)(void);

/* Nanoseconds since 1970, UTC, of the clock that TIMERS go by; of SOURCE where there is one. */
static inline uint64_t wall_clock_ns(wall_clock_fn source, const struct guest_timers *timers)
{
    return source ? source() : guest_timers_time_of_day(timers);
}

#endif
