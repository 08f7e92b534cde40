/*
 * machine/devices/pci_ports: a PC's ports 0xcf8 to 0xcff: PCI configuration by address and data,
 * as mechanism 1 of the PCI Local Bus specification has it, and the reset control at 0xcf9.
 *
 * Accesses go on to ECAM through the memory map. Locking: the address is atomic, as two vCPUs
 * that use it at once are the guest's own business.
 */
#ifndef MACHINE_DEVICES_PCI_PORTS_H
#define MACHINE_DEVICES_PCI_PORTS_H

#include "machine/devices/device.h"

enum { PCI_PORTS = 8 };

struct pci_ports;

/* ECAM of bus 0 is at ECAM of MEM, which outlives the device. RESET is called on the vCPU's
 * thread. */
struct pci_ports *pci_ports_new(struct mem_map *mem, gpa_t ecam, void (*reset)(void *opaque),
                                void *opaque);

struct device *pci_ports_device(struct pci_ports *ports);

#endif
