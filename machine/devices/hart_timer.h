/*
 * machine/devices/hart_timer: one compare register a hart against guest time, driving one
 * interrupt input of each. It is the ACLINT's mtimecmp (M-timer) and the firmware's SBI timer
 * (S-timer).
 *
 * Locking: its own lock, under which the hart's input is driven. Any thread.
 */
#ifndef MACHINE_DEVICES_HART_TIMER_H
#define MACHINE_DEVICES_HART_TIMER_H

#include "machine/devices/guest_timer.h"
#include "machine/devices/hart_irq.h"

struct hart_timer;

struct hart_timer_config {
    unsigned cpus; /* at most LIMIT_XLATE_VCPUS */
    enum hart_irq irq;
    uint64_t hz; /* of the time register; a divisor of 10^9 */
    struct guest_timers *timers;
    hart_irq_fn set_irq;
    void *opaque;
};

struct hart_timer *hart_timer_new(const struct hart_timer_config *config);
/* On the loop's thread. Takes NULL. */
void hart_timer_free(struct hart_timer *timer);

/* The time register now, in ticks. */
uint64_t hart_timer_now(const struct hart_timer *timer);

/* The input of CPU is high from time TICKS on; UINT64_MAX: never. Takes effect before return. */
void hart_timer_set(struct hart_timer *timer, unsigned cpu, uint64_t ticks);
uint64_t hart_timer_get(struct hart_timer *timer, unsigned cpu);

/* The same from saved state: drives the input whatever it was. */
void hart_timer_restore(struct hart_timer *timer, unsigned cpu, uint64_t ticks);

/* No timer is set. */
void hart_timer_reset(struct hart_timer *timer);

#endif
