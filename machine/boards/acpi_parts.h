/* What the ACPI tables of the boards share: pieces of their AML, and the files that a firmware makes
 * the tables of. */
#ifndef MACHINE_BOARDS_ACPI_PARTS_H
#define MACHINE_BOARDS_ACPI_PARTS_H

#include "machine/boot/acpi.h"
#include "machine/boot/aml.h"
#include "machine/devices/fw_cfg.h"

/* A device for each of N processors, whose _UID is its number. */
void acpi_processors(struct aml *aml, unsigned n);

/* Begins a PCIe host bridge with BUSES buses and its _CRS, which goes on with its windows and ends
 * before _PRT. GRANTED as of aml_pci_osc(). */
void acpi_pci_begin(struct aml *aml, unsigned buses, const char *granted);

/* What covers the configuration space of MCFG, at BASE: Linux believes it only where a device has it. */
void acpi_ecam(struct aml *aml, gpa_t base, unsigned buses);

/* _PRT of a host bridge: each pin of each slot is wired to one of four GSIs from GSI on, for good. */
void acpi_prt(struct aml *aml, uint32_t gsi);

/* An event of the generic event device that a method is called for. */
struct acpi_event {
    uint32_t bit;
    const char *method;
};

/* The generic event device at BASE, the power button that it tells of, and N more events. */
void acpi_ged(struct aml *aml, gpa_t base, uint32_t gsi, const struct acpi_event *events,
              unsigned n);

/* Gives FW a set that is finished, not placed: tables, RSDP and what to do with them. */
void acpi_give(struct fw_cfg *fw, const struct acpi_set *set, uint32_t rsdp);

#endif
