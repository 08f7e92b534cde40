/*
 * machine/devices/ged: what ACPI needs of a hardware-reduced machine. A generic event device that
 * tells of events (the power button, processors, cards), and the sleep and reset registers.
 *
 * Locking: one lock; the line is driven under it. FINISH is called without it.
 *
 * Specification: ACPI 6.5, 4.8.3.7 (sleep registers), 4.8.3.6 (reset), 5.6.9 (event device).
 */
#ifndef MACHINE_DEVICES_GED_H
#define MACHINE_DEVICES_GED_H

#include "machine/devices/device.h"
#include "mem/irq.h"

/* Registers: pending events (4 bytes; reading clears), the rest bytes. */
enum { GED_EVENTS = 0, GED_SLEEP_CONTROL = 4, GED_SLEEP_STATUS = 5, GED_RESET = 6, GED_SIZE = 8 };

/* Bits of GED_EVENTS. */
enum {
    GED_POWER_BUTTON = 1 << 0,
    GED_CPUS = 1 << 1,  /* processors come or go (cpu_plug.h) */
    GED_CARDS = 1 << 2, /* cards do (pci_plug.h) */
};

enum {
    GED_RESET_VALUE = 0x42, /* what the guest writes to GED_RESET */
    GED_S5 = 5,             /* the sleep type of power-off */
};

struct ged;

/* FINISH is called on the vCPU's thread: the guest powers off, or, REBOOT, resets. */
struct ged *ged_new(struct irq_line irq, void (*finish)(void *opaque, bool reboot), void *opaque);

struct device *ged_device(struct ged *ged);

/* Tells the guest of EVENT, a bit of GED_EVENTS. Any thread. */
void ged_raise(struct ged *ged, uint32_t event);

#endif
