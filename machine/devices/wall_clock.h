/* machine/devices/wall_clock.h: the host's time of day, for clocks of guests. */
#ifndef MACHINE_DEVICES_WALL_CLOCK_H
#define MACHINE_DEVICES_WALL_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since 1970, UTC. */
static inline uint64_t wall_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A source of the time of day; tests have one of their own. */
typedef uint64_t (*wall_clock_fn)(void);

#endif
