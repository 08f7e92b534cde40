/*
 * machine/devices/pl061: ARM's PrimeCell GPIO, eight pins (DDI 0190). Nothing is wired to its
 * outputs; inputs are keys that the machine presses.
 */
#ifndef MACHINE_DEVICES_PL061_H
#define MACHINE_DEVICES_PL061_H

#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "mem/irq.h"

struct pl061;

/* On the loop's thread. */
struct pl061 *pl061_new(struct guest_timers *timers, struct irq_line irq);

struct device *pl061_device(struct pl061 *gpio);

/* Holds pin PIN (0..7) high for as long as a driver that debounces a key needs. False where no
 * driver has asked for the pin's interrupt. Any thread. */
bool pl061_press(struct pl061 *gpio, unsigned pin);

#endif
