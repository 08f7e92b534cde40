/*
 * machine/boot/acpi: ACPI tables for hardware-reduced machines of any ISA.
 *
 * A set is one run of bytes that may be put anywhere: which fields point at other tables and
 * which are checksums is kept beside it. acpi_place() puts it at an address for a kernel that is
 * entered directly; a firmware that places tables itself gets the same as commands (the fields
 * of struct acpi_set). Tables are begun, filled with acpi_put*() and ended. No locking.
 *
 * Specification: ACPI 6.5, chapter 5; PCI Firmware 3.3 (MCFG); Microsoft's SPCR, revision 2.
 */
#ifndef MACHINE_BOOT_ACPI_H
#define MACHINE_BOOT_ACPI_H

#include "base/base.h"
#include "mem/mem.h"

/* A 64-bit field at AT that holds an offset into the set, to become an address. */
struct acpi_pointer {
    uint32_t at;
};

/* A byte at AT that makes the sum of [start, start + length) zero. */
struct acpi_checksum {
    uint32_t at, start, length;
};

struct acpi_set {
    GByteArray *bytes;
    GArray *pointers;  /* of struct acpi_pointer */
    GArray *checksums; /* of struct acpi_checksum, in the order to be made */
    GArray *tables;    /* offsets (uint32_t) of what the XSDT lists */
    uint32_t open;     /* where the table being made begins */
};

/* A register of hardware-reduced machines: a byte in memory; 0: there is none. */
struct acpi_fadt {
    gpa_t sleep_control, sleep_status, reset;
    uint8_t reset_value;
    uint8_t century;     /* index of the CMOS clock's century; 0: it has none */
    uint16_t boot_flags; /* IA-PC boot architecture flags */
    uint16_t arm_flags;  /* ARM boot architecture flags */
    uint32_t dsdt;       /* the offset of the DSDT in the set */
};

struct acpi_uart {
    uint8_t type; /* SPCR interface type: 0 is a full 16550, 3 a PL011 */
    bool port;    /* BASE is a port, not memory */
    bool gic;     /* GSI is a GIC's, not an I/O APIC's */
    uint64_t base;
    unsigned width; /* bytes of a register: 1 or 4 */
    uint8_t irq;    /* of a PC-AT interrupt controller */
    uint32_t gsi;
};

void acpi_begin(struct acpi_set *set);
/* Frees what acpi_begin() allocated. */
void acpi_clear(struct acpi_set *set);

/* Begins table SIGNATURE (four characters); returns its offset. */
uint32_t acpi_table_begin(struct acpi_set *set, const char *signature, uint8_t revision);
/* Fills in length and checksum. LISTED: the XSDT has it (all tables but the DSDT). */
void acpi_table_end(struct acpi_set *set, bool listed);

/* Appends VALUE, WIDTH bytes (1..8) little-endian. */
void acpi_put(struct acpi_set *set, uint64_t value, unsigned width);
void acpi_put_zeros(struct acpi_set *set, unsigned n);
/* Appends a 64-bit pointer to OFFSET of the set. */
void acpi_put_pointer(struct acpi_set *set, uint32_t offset);

void acpi_add_fadt(struct acpi_set *set, const struct acpi_fadt *fadt);
/* ECAM of segment 0, buses 0 to BUSES - 1. */
void acpi_add_mcfg(struct acpi_set *set, gpa_t ecam, unsigned buses);
void acpi_add_spcr(struct acpi_set *set, const struct acpi_uart *uart);

/* Adds the XSDT of all tables so far, then the RSDP; returns the RSDP's offset. */
uint32_t acpi_finish(struct acpi_set *set);

/*
 * For a firmware that places the tables itself: appends to OUT the commands (128 bytes each) that
 * make them of the files "etc/acpi/tables" and "etc/acpi/rsdp", which are the set's bytes before
 * and from RSDP on, not placed.
 */
void acpi_commands(const struct acpi_set *set, uint32_t rsdp, GByteArray *out);

/* Makes the set one that is at BASE: pointers become addresses, checksums are filled in. */
void acpi_place(struct acpi_set *set, gpa_t base);

#endif
