/*
 * machine/devices/cmos: the clock and memory of a PC, an MC146818 with a century.
 *
 * Two ports: index and data. The time is the host's time of day (UTC), plus what the guest set it
 * off by; it goes on while the VM is paused, as a clock on a battery does. Alarm and update
 * interrupts are there, periodic ones are not. Locking: one lock; the line is driven under it.
 */
#ifndef MACHINE_DEVICES_CMOS_H
#define MACHINE_DEVICES_CMOS_H

#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "mem/irq.h"

enum { CMOS_PORTS = 2 };

struct cmos;

/* WALL_NS gives nanoseconds since 1970; NULL for the host's time of day. */
struct cmos *cmos_new(struct guest_timers *timers, struct irq_line irq, uint64_t (*wall_ns)(void));

struct device *cmos_device(struct cmos *cmos);

#endif
