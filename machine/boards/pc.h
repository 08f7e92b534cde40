/*
 * The address map of the pc machine, and what is made from it: the ACPI tables.
 *
 * RAM has a hole from 3 GiB to 4 GiB for PCI, interrupt controllers and firmware; what does not fit
 * below it goes on at 4 GiB.
 */
#ifndef MACHINE_BOARDS_PC_H
#define MACHINE_BOARDS_PC_H

#include "machine/boot/acpi.h"
#include "machine/boot/aml.h"
#include "machine/devices/cpu_plug.h"
#include "machine/devices/ged.h"
#include "machine/devices/pci_plug.h"

#define PC_LOW_MOST   UINT64_C(0xc0000000) /* most RAM below the hole */
#define PC_HIGH       UINT64_C(0x100000000)
#define PC_ECAM       PC_LOW_MOST
#define PC_PCI_BUSES  256
#define PC_MEM32      UINT64_C(0xd0000000) /* up to the I/O APIC, below which SeaBIOS puts BARs */
#define PC_MEM32_SIZE (PC_IOAPIC - PC_MEM32)
#define PC_MEM64_SIZE GIB(16)
#define PC_IOAPIC     UINT64_C(0xfec00000)
#define PC_GED        UINT64_C(0xfec10000)
#define PC_CPUS       UINT64_C(0xfec20000)
#define PC_SLOTS      UINT64_C(0xfec30000)
#define PC_LAPIC      UINT64_C(0xfee00000)

#define PC_COM1      0x3f8
#define PC_COM_PORTS 8
#define PC_FW_CFG    0x510
#define PC_I8042     0x60
#define PC_PCI_PORTS 0xcf8
#define PC_IRQ_COM1  4
#define PC_RTC       0x70
#define PC_IRQ_RTC   8
#define PC_CENTURY   0x32 /* index in the RTC memory */
#define PC_GSI_INTX  16   /* to 19 */
#define PC_GSI_GED   20

static inline uint64_t pc_low_ram(uint64_t memory)
{
    return MIN(memory, PC_LOW_MOST);
}

/* RAM from 4 GiB on. */
static inline uint64_t pc_high_ram(uint64_t memory)
{
    return memory - pc_low_ram(memory);
}

/* The window for 64-bit BARs. */
static inline gpa_t pc_mem64(uint64_t memory)
{
    return ALIGN_UP(PC_HIGH + pc_high_ram(memory), PC_MEM64_SIZE);
}

/* What the tables tell that differs between two of these machines. */
struct pc_acpi {
    unsigned cpus;
    struct cpu_plug *plug; /* which of them are there; NULL: all, for good */
    struct pci_plug *slots;
    uint64_t memory;
};

/* Adds all tables of a machine to an empty set; returns the RSDP's offset. */
uint32_t pc_acpi_make(struct acpi_set *set, const struct pc_acpi *config);

/* The processors, that come and go, in AML: pc_cpus.c. PC_CPUS_SCAN is its method that looks for
 * those. */
#define PC_CPUS_SCAN "\\_SB_.CPUS.CSCN"
void pc_cpus_aml(struct aml *aml, unsigned n);

/* The slots of cards in AML, pc_slots.c: registers and methods, inside \_SB, and the ports, inside
 * PCI0. */
#define PC_SLOTS_SCAN    "\\_SB_.PSCN"
#define PC_SLOTS_GRANTED "\\_SB_.PGRT"
void pc_slots_aml(struct aml *aml, const struct pci_plug *plug);
void pc_ports_aml(struct aml *aml, const struct pci_plug *plug);

/* Of 8-bit local APIC ids; processors from here on have x2APIC ids in the tables. */
enum { PC_LAPIC_IDS = 255 };

/* Appends the MADT's entry of processor ID with these flags. */
void pc_put_lapic(GByteArray *out, unsigned id, uint32_t flags);

#endif
