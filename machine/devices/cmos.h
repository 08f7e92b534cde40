/*
 * machine/devices/cmos: the clock and memory of a PC, an MC146818 with a century.
 *
 * Two ports: index and data. The time is the VM's time of day (UTC), plus what the guest set it
 * off by; it stands while the VM is paused, as all of the guest's time does. Alarm and update
 * interrupts are there, periodic ones are not. Locking: one lock; the line is driven under it.
 */
#ifndef MACHINE_DEVICES_CMOS_H
#define MACHINE_DEVICES_CMOS_H

#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "machine/devices/wall_clock.h"
#include "mem/irq.h"

enum { CMOS_PORTS = 2 };

struct cmos;

/* WALL: NULL for the time of day of TIMERS' clock. */
struct cmos *cmos_new(struct guest_timers *timers, struct irq_line irq, wall_clock_fn wall);

struct device *cmos_device(struct cmos *cmos);

#endif
