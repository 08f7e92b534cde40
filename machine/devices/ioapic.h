/*
 * machine/devices/ioapic: an I/O APIC (82093AA, with the EOI register of later ones) for machines
 * whose accelerator has local APICs alone. Its inputs may be driven from any thread; it calls its
 * owner with its lock held.
 */
#ifndef MACHINE_DEVICES_IOAPIC_H
#define MACHINE_DEVICES_IOAPIC_H

#include "machine/devices/device.h"

#define IOAPIC_PINS 24
#define IOAPIC_SIZE 0x1000

struct ioapic;

struct ioapic_ops {
    /* Sends a message to the local APICs. */
    void (*msi)(void *opaque, uint64_t address, uint32_t data);
    /* The message of PIN is one whose end must be told (ioapic_eoi()), or there is none (USED
     * false). */
    void (*route)(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data);
};

/* OPS and OPAQUE must outlive it. */
struct ioapic *ioapic_new(const struct ioapic_ops *ops, void *opaque);
struct device *ioapic_device(struct ioapic *ioapic);

/* Drives input PIN. Any thread. */
void ioapic_set(struct ioapic *ioapic, unsigned pin, bool level);

/* A local APIC has seen the end of interrupt VECTOR. Any thread. */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

#endif
