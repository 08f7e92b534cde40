/*
 * machine/devices/syscon: the SiFive test finisher, by which a guest powers off, reboots or tells
 * of a failure. It holds no state and needs no lock.
 */
#ifndef MACHINE_DEVICES_SYSCON_H
#define MACHINE_DEVICES_SYSCON_H

#include "machine/devices/device.h"

struct syscon;

enum {
    SYSCON_FAIL = 0x3333,
    SYSCON_POWEROFF = 0x5555,
    SYSCON_REBOOT = 0x7777,
};

/* FINISH is called on the vCPU's thread with one of the above and, for a failure, its code. */
struct syscon *syscon_new(void (*finish)(void *opaque, unsigned what, unsigned code), void *opaque);

struct device *syscon_device(struct syscon *syscon);

#endif
