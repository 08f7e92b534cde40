/*
 * machine/devices/gicv3: ARM's generic interrupt controller, architecture version 3 (IHI 0069):
 * distributor, a redistributor and a CPU interface a vCPU, LPIs, and the interrupt translation
 * service (ITS) for messages of devices.
 *
 * One security state, affinity routing only, 5 bits of priority. Group 0 drives a vCPU's FIQ, group
 * 1 its IRQ. Not there: 1-of-N routing, extended ranges, virtualisation.
 *
 * Lines, messages and register accesses may come on any thread. One lock for the controller, under
 * which vCPUs' inputs are driven, so that their levels follow the controller's order of events;
 * the ITS has one of its own, taken before it.
 */
#ifndef MACHINE_DEVICES_GICV3_H
#define MACHINE_DEVICES_GICV3_H

#include "machine/devices/device.h"
#include "mem/irq.h"

enum {
    GICV3_PPI_FIRST = 16, /* INTIDs below are the software-generated ones */
    GICV3_SPI_FIRST = 32,
    GICV3_SPIS = 256,
    GICV3_LPI_FIRST = 8192,
    GICV3_ID_BITS = 16, /* INTIDs of LPIs end below 1 << this */

    GICV3_REDIST_BYTES = 0x20000, /* of one vCPU */
    GICV3_ITS_BYTES = 0x20000,
    GICV3_ITS_TRANSLATER = 0x10040, /* where messages go: offset from the ITS */
};

/* The vCPU inputs that it drives: numbers for gicv3_irq_fn. */
enum gicv3_input { GICV3_IRQ, GICV3_FIQ };

/* Drives INPUT of vCPU CPU. Any thread; called with the controller's lock held. */
typedef void (*gicv3_irq_fn)(void *opaque, unsigned cpu, unsigned input, bool level);

struct gicv3;
struct gicv3_its;

/* The affinity of vCPU CPU as MPIDR_EL1 has it: sixteen to a cluster, as one SGI reaches. */
static inline uint32_t gicv3_affinity(unsigned cpu)
{
    return cpu / 16 << 8 | cpu % 16;
}

/* CPUS: 1..LIMIT_XLATE_VCPUS. MEM outlives it: tables of LPIs lie in guest RAM. */
struct gicv3 *gicv3_new(unsigned cpus, struct mem_map *mem, gicv3_irq_fn set_irq, void *opaque);

/* The distributor, which has all of the saved state; freeing it frees the controller. */
struct device *gicv3_device(struct gicv3 *gic);

/* The redistributors' registers, GICV3_REDIST_BYTES a vCPU; no state of its own. */
struct device *gicv3_redist_device(struct gicv3 *gic);

/* The line of shared interrupt INTID, GICV3_SPI_FIRST and up. */
struct irq_line gicv3_line(struct gicv3 *gic, unsigned intid);

/* Drives private interrupt INTID (16..31) of vCPU CPU. Any thread. */
void gicv3_set_ppi(struct gicv3 *gic, unsigned cpu, unsigned intid, bool level);

/*
 * An access of vCPU CPU to system register ENCODING (op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 |
 * op2). False: not one of the CPU interface, or not that way, so that it is undefined.
 */
bool gicv3_sysreg(struct gicv3 *gic, unsigned cpu, uint32_t encoding, bool write, uint64_t *value);

/* The ITS of GIC, which outlives it. */
struct gicv3_its *gicv3_its_new(struct gicv3 *gic);
struct device *gicv3_its_device(struct gicv3_its *its);

/* Event EVENT of device DEVICE, as a write to GITS_TRANSLATER. Any thread. */
void gicv3_its_message(struct gicv3_its *its, uint32_t device, uint32_t event);

#endif
