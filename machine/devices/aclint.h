/*
 * machine/devices/aclint: the RISC-V ACLINT's MSWI and MTIMER devices in the layout of SiFive's
 * CLINT, for machines that run a firmware in M-mode.
 *
 * mtime is the guest's time register, which is the VM's clock, so writing it does nothing.
 * Locking: its own lock for msip; the timers have theirs.
 */
#ifndef MACHINE_DEVICES_ACLINT_H
#define MACHINE_DEVICES_ACLINT_H

#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "machine/devices/hart_irq.h"

struct aclint;

/* HZ: of mtime. The functions of TIMERS and SET_IRQ as in hart_timer.h. */
struct aclint *aclint_new(unsigned cpus, uint64_t hz, struct guest_timers *timers,
                          hart_irq_fn set_irq, void *opaque);

struct device *aclint_device(struct aclint *aclint);

#endif
