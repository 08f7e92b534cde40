/*
 * machine/devices/goldfish_rtc: the Goldfish real-time clock, in nanoseconds since 1970.
 *
 * It shows the VM's time of day, plus what the guest set it off by; it stands while the VM is
 * paused, as all of the guest's time does. Locking: one lock; the interrupt line is driven under it.
 */
#ifndef MACHINE_DEVICES_GOLDFISH_RTC_H
#define MACHINE_DEVICES_GOLDFISH_RTC_H

#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "machine/devices/wall_clock.h"
#include "mem/irq.h"

struct goldfish_rtc;

/* WALL: NULL for the time of day of TIMERS' clock. */
struct goldfish_rtc *goldfish_rtc_new(struct guest_timers *timers, struct irq_line irq,
                                      wall_clock_fn wall);

struct device *goldfish_rtc_device(struct goldfish_rtc *rtc);

#endif
