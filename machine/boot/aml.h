/*
 * machine/boot/aml: writes ACPI machine language from top to bottom.
 *
 * A scope, device, method, package or list of resources is opened, filled and closed by aml_end(),
 * which puts its length in; so a table is written as a plain list of calls. Names are four
 * characters, or a path of them ("\\_SB.PCI0"). No locking.
 *
 * Specification: ACPI 6.5, chapters 6.4 (resources), 19 and 20 (AML).
 */
#ifndef MACHINE_BOOT_AML_H
#define MACHINE_BOOT_AML_H

#include "base/base.h"

enum { AML_DEPTH = 16 };

enum aml_block { AML_PLAIN, AML_RESOURCES };

struct aml {
    GByteArray *out; /* borrowed; what is written is appended */
    unsigned depth;
    struct {
        guint body; /* where the length goes */
        enum aml_block kind;
    } open[AML_DEPTH];
};

/* Writes to the end of OUT. */
void aml_begin(struct aml *aml, GByteArray *out);
/* Closes the innermost block. */
void aml_end(struct aml *aml);

/* --- blocks, each closed by aml_end() ------------------------------------------------------- */

void aml_scope(struct aml *aml, const char *path);
void aml_device(struct aml *aml, const char *name);
void aml_method(struct aml *aml, const char *name, unsigned args, bool serialized);
void aml_package(struct aml *aml, uint8_t elements);
/* The bits of region NAME, read and written in units of 1 << (WIDTH - 1) bytes. */
void aml_field(struct aml *aml, const char *name, unsigned width);
/* A list of resources, as the value of _CRS. */
void aml_resources(struct aml *aml);
/* The same, where a write of some bits writes the others as zeros. */
void aml_field_of_zeros(struct aml *aml, const char *name, unsigned width);
/* Runs where BITS of Local0 has one set. */
void aml_if_local0(struct aml *aml, uint64_t bits);
/* Run where, or while, what is written next is not zero; an else follows its if. */
void aml_if(struct aml *aml);
void aml_else(struct aml *aml);
void aml_while(struct aml *aml);
/* A buffer of these bytes. */
void aml_buffer(struct aml *aml, const uint8_t *bytes, uint8_t size);

/* --- terms, each before its operands, in the order of the specification's grammar -------------- */

enum aml_op {
    AML_LOCAL0 = 0x60,
    AML_LOCAL1,
    AML_ARG0 = 0x68,
    AML_ARG1,
    AML_ARG2,
    AML_STORE = 0x70,       /* source, target */
    AML_SUBTRACT = 0x74,    /* minuend, subtrahend, target */
    AML_SHIFT_RIGHT = 0x7a, /* value, bits, target */
    AML_AND = 0x7b,         /* value, value, target */
    AML_NOTIFY = 0x86,      /* device, value */
    AML_INDEX = 0x88,       /* buffer, byte, target */
    AML_EQUAL = 0x93,
    AML_RETURN = 0xa4,
    AML_BREAK = 0xa5,
};

void aml_op(struct aml *aml, enum aml_op op);
/* A name: of a value, a target, or of a method whose arguments follow. */
void aml_ref(struct aml *aml, const char *path);
/* Where a result goes nowhere else. */
void aml_nowhere(struct aml *aml);
void aml_mutex(struct aml *aml, const char *name);
void aml_acquire(struct aml *aml, const char *name);
void aml_release(struct aml *aml, const char *name);

/* --- objects and statements ------------------------------------------------------------------- */

/* Name (NAME, ...): the value is what is written next. */
void aml_name(struct aml *aml, const char *name);
void aml_int(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* A compressed identifier: "PNP0A08". */
void aml_eisa(struct aml *aml, const char *id);
void aml_name_int(struct aml *aml, const char *name, uint64_t value);
void aml_name_string(struct aml *aml, const char *name, const char *text);
void aml_name_eisa(struct aml *aml, const char *name, const char *id);
/* A SystemMemory operation region. */
void aml_region(struct aml *aml, const char *name, uint64_t base, uint64_t size);
void aml_field_unit(struct aml *aml, const char *name, unsigned bits);
/* Goes over so many bits. */
void aml_field_gap(struct aml *aml, unsigned bits);
/* Local0 = NAME */
void aml_load_local0(struct aml *aml, const char *name);
/* Store (VALUE, NAME), and Store (FROM, NAME) of a local or an argument. */
void aml_store_int(struct aml *aml, uint64_t value, const char *name);
void aml_store(struct aml *aml, enum aml_op from, const char *name);
void aml_notify(struct aml *aml, const char *path, uint64_t value);

/*
 * The method _OSC of a PCI Express host bridge: the operating system gets what it asks for of
 * CONTROL (PCI Firmware 3.3, 4.5.1), and is told when it asked for more. GRANTED: the name of a
 * value that gets what it has, or NULL.
 */
void aml_pci_osc(struct aml *aml, uint32_t control, const char *granted);

/* --- resources -------------------------------------------------------------------------------- */

/* Ports [base, base + size), fixed. */
void aml_io(struct aml *aml, uint16_t base, uint8_t size);
void aml_memory32(struct aml *aml, uint32_t base, uint32_t size);
void aml_interrupt(struct aml *aml, uint32_t gsi, bool edge);
/* Windows that a bridge forwards. */
void aml_window_buses(struct aml *aml, uint16_t first, uint16_t last);
void aml_window_io(struct aml *aml, uint16_t first, uint16_t last);
/* Ports from 0 on that lie in memory at BASE, a byte each. */
void aml_window_ports(struct aml *aml, uint32_t base, uint32_t ports);
void aml_window_memory(struct aml *aml, uint64_t base, uint64_t size, bool prefetch);

#endif
