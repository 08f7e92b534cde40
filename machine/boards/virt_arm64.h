/*
 * The address map and interrupt numbers of virt-arm64, and its device tree. They are those of
 * QEMU's arm "virt" machine, so that stock firmware and boot loaders find what they expect.
 */
#ifndef MACHINE_BOARDS_VIRT_ARM64_H
#define MACHINE_BOARDS_VIRT_ARM64_H

#include "machine/boot/acpi.h"
#include "machine/boot/linux_boot.h"
#include "machine/devices/gicv3.h"

#define ARM_TIMEBASE_HZ UINT64_C(62500000)

#define ARM_ROM        UINT64_C(0) /* a firmware, where vCPUs then start */
#define ARM_FLASH      UINT64_C(0x04000000)
#define ARM_GIC_DIST   UINT64_C(0x08000000)
#define ARM_GIC_ITS    UINT64_C(0x08080000)
#define ARM_GIC_REDIST UINT64_C(0x080a0000)
#define ARM_UART       UINT64_C(0x09000000)
#define ARM_RTC        UINT64_C(0x09010000)
#define ARM_FW_CFG     UINT64_C(0x09020000)
#define ARM_GPIO       UINT64_C(0x09030000)
#define ARM_GED        UINT64_C(0x09080000)
#define ARM_MEM32      UINT64_C(0x10000000)
#define ARM_PCI_IO     UINT64_C(0x3eff0000)
#define ARM_RAM        UINT64_C(0x40000000)
#define ARM_ECAM       UINT64_C(0x4010000000)

#define ARM_FLASH_MOST  MIB(64) /* of firmware and of its variables */
#define ARM_FLASH_BLOCK KIB(256)
#define ARM_MEM32_SIZE (ARM_PCI_IO - ARM_MEM32)
#define ARM_PCI_PORTS  UINT64_C(0x10000)
#define ARM_MEM64_SIZE GIB(512)
#define ARM_PCI_BUSES  256
/* Where the windows above RAM begin, and so the most RAM: the rest of it would lie in their way. */
#define ARM_RAM_MOST (ARM_ECAM - ARM_RAM)
#define ARM_MEM64    UINT64_C(0x8000000000)

/* Numbers of shared interrupts, as in a device tree: the INTID less GICV3_SPI_FIRST. */
enum {
    ARM_SPI_UART = 1,
    ARM_SPI_RTC = 2,
    ARM_SPI_INTX = 3, /* INTA; B to D follow */
    ARM_SPI_GPIO = 7,
    ARM_SPI_GED = 9,
};

/* Private interrupts, of the performance monitor and of the generic timers: INTIDs. */
enum {
    ARM_PPI_PMU = 23,
    ARM_PPI_HYP_TIMER = 26,
    ARM_PPI_VIRTUAL_TIMER = 27,
    ARM_PPI_SECURE_TIMER = 29,
    ARM_PPI_PHYSICAL_TIMER = 30,
};

enum { ARM_FLASH_WIDTH = 4, ARM_FLASH_CHIPS = 2 };

enum { ARM_GPIO_POWER = 3 }; /* the pin of the power key */

/* What a device tree tells that differs between two of these machines. */
struct arm_dt {
    unsigned cpus;
    uint64_t memory;
    const char *append; /* or NULL */
    uint64_t flash;     /* bytes of a firmware's variables; 0: there is no firmware */
    struct boot_chosen chosen;
};

/* The tree; the caller frees it. */
uint8_t *arm_dt_make(const struct arm_dt *config, size_t *size, GError **err);

/* Adds all tables to an empty set; returns the RSDP's offset. */
uint32_t arm_acpi_make(struct acpi_set *set, unsigned cpus);

#endif
