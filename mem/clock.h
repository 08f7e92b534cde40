/*
 * mem/clock.h: guest time, one object a VM.
 *
 * Monotonic nanoseconds since the machine was made; stands still while paused; an offset serves
 * restored machines. The time of day goes with it: the host's when the clock was made, and as long
 * after that as guest time says. Devices and vCPUs ask it and never the host. Reading is lock-free and safe
 * on any thread; pausing is for the VM's control thread.
 */
#ifndef MEM_CLOCK_H
#define MEM_CLOCK_H

#include "base/base.h"

struct vm_clock;

/* A running clock that shows START_NS now. */
struct vm_clock *vm_clock_new(uint64_t start_ns);
void vm_clock_free(struct vm_clock *clock);

/* Guest nanoseconds now. */
uint64_t vm_clock_now(const struct vm_clock *clock);

/* The time of day at guest time NOW_NS: nanoseconds since 1970, UTC. */
uint64_t vm_clock_time_of_day(const struct vm_clock *clock, uint64_t now_ns);

/* Stops and restarts time; pausing twice is the same as once. */
void vm_clock_pause(struct vm_clock *clock);
void vm_clock_resume(struct vm_clock *clock);

/*
 * When the guest time GUEST_NS comes, in nanoseconds of the host's CLOCK_MONOTONIC; UINT64_MAX
 * while paused or where that is beyond 64 bits. For arming timers, which must be armed again
 * after a resume.
 */
uint64_t vm_clock_host_deadline(const struct vm_clock *clock, uint64_t guest_ns);

#endif
