/*
 * machine/devices/plic: the RISC-V platform-level interrupt controller, specification 1.0.0.
 *
 * Level-triggered sources 1..n, 7 priorities, up to LIMIT_XLATE_VCPUS * 2 contexts. Lines may be driven
 * from any thread. One lock, under which harts' inputs are driven, so that their levels follow
 * the controller's order of events.
 */
#ifndef MACHINE_DEVICES_PLIC_H
#define MACHINE_DEVICES_PLIC_H

#include "machine/devices/device.h"
#include "machine/devices/hart_irq.h"
#include "mem/irq.h"

#define PLIC_SOURCES 96 /* as riscv,ndev tells; source 0 does not exist */

struct plic;

/* Which input of which hart a context drives. */
struct plic_context {
    unsigned cpu;
    enum hart_irq irq;
};

/* CONTEXTS is copied; N at most 2 * LIMIT_XLATE_VCPUS. */
struct plic *plic_new(const struct plic_context *contexts, unsigned n, hart_irq_fn set_irq,
                      void *opaque);

struct device *plic_device(struct plic *plic);

/* The line of source NUMBER, 1..PLIC_SOURCES. */
struct irq_line plic_line(struct plic *plic, unsigned number);

#endif
