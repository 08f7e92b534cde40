/*
 * machine/boot/psci: the firmware that an ARM64 kernel calls by HVC or SMC.
 *
 * SMC Calling Convention 1.1 (DEN 0028): Power State Coordination Interface 1.1 (DEN 0022) and the
 * True Random Number Generator interface 1.0 (DEN 0098). It has no state. Calls come on vCPU
 * threads and lock nothing.
 */
#ifndef MACHINE_BOOT_PSCI_H
#define MACHINE_BOOT_PSCI_H

#include "machine/boards/board.h"

struct psci_config {
    unsigned cpus;
    struct mem_map *mem;
    uint32_t (*affinity)(unsigned cpu); /* as MPIDR_EL1 has it */
    const struct board_cpu_ops *cpu_ops;
    void *cpu_opaque;
};

/* A call of vCPU CPU: args[0] the function, args[0..3] the results; see board_hypercall(). */
bool psci_call(const struct psci_config *config, unsigned cpu, uint64_t args[8]);

#endif
