/*
 * machine/devices/i8042: a PC's keyboard controller without keyboard and mouse.
 *
 * Guests probe it, and reset the machine through it. Ports 0x60 to 0x64. Locking: one lock, not
 * held while the reset is asked for.
 */
#ifndef MACHINE_DEVICES_I8042_H
#define MACHINE_DEVICES_I8042_H

#include "machine/devices/device.h"

enum { I8042_PORTS = 5 };

struct i8042;

/* RESET is called on the vCPU's thread when the guest pulls the processor's reset line. */
struct i8042 *i8042_new(void (*reset)(void *opaque), void *opaque);

struct device *i8042_device(struct i8042 *i8042);

#endif
