/*
 * machine/devices/goldfish_rtc: the Goldfish real-time clock, in nanoseconds since 1970.
 *
 * It shows the host's time of day, plus what the guest set it off by; it goes on while the VM is
 * paused, as a clock on a battery does. Locking: one lock; the interrupt line is driven under it.
 */
#ifndef MACHINE_DEVICES_GOLDFISH_RTC_H
#define MACHINE_DEVICES_GOLDFISH_RTC_H

#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "mem/irq.h"

struct goldfish_rtc;

/* WALL_NS gives nanoseconds since 1970; NULL for the host's time of day. */
struct goldfish_rtc *goldfish_rtc_new(struct guest_timers *timers, struct irq_line irq,
                                      uint64_t (*wall_ns)(void));

struct device *goldfish_rtc_device(struct goldfish_rtc *rtc);

#endif
