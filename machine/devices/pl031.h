/*
 * machine/devices/pl031: ARM's PrimeCell real time clock, revision r1p3 (DDI 0224): seconds since
 * 1970 and an alarm. It follows the VM's time of day, at the distance that the guest sets.
 */
#ifndef MACHINE_DEVICES_PL031_H
#define MACHINE_DEVICES_PL031_H

#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "machine/devices/wall_clock.h"
#include "mem/irq.h"

struct pl031;

/* WALL: NULL for the time of day of TIMERS' clock. On the loop's thread. */
struct pl031 *pl031_new(struct guest_timers *timers, struct irq_line irq, wall_clock_fn wall);

struct device *pl031_device(struct pl031 *rtc);

#endif
