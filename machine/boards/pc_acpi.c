/*
 * The ACPI tables of the pc machine. It is hardware-reduced: no PM timer, no fixed events; the
 * power button comes through the generic event device, sleep and reset through its registers.
 */
#include "machine/boards/acpi_parts.h"
#include "machine/boards/pc.h"

enum {
    MADT_LAPIC = 0,
    MADT_IOAPIC = 1,
    MADT_LAPIC_NMI = 4,
    MADT_X2APIC = 9,
    MADT_X2APIC_NMI = 10,
    MADT_ENABLED = 1,
    MADT_ALL_LAPICS = 0xff,
    LAPIC_IDS = 255, /* ids of local APICs that have 8 bits */
};

/* IA-PC boot architecture: 8042 is there; no VGA, no CMOS-less RTC. */
enum { BOOT_8042 = 1 << 1, BOOT_NO_VGA = 1 << 2 };

/* --- MADT ----------------------------------------------------------------------------------- */

static void put_lapic(struct acpi_set *set, unsigned id)
{
    acpi_put(set, MADT_LAPIC | 8 << 8, 2);
    acpi_put(set, id | id << 8, 2); /* processor's and APIC's */
    acpi_put(set, MADT_ENABLED, 4);
}

static void put_x2apic(struct acpi_set *set, unsigned id)
{
    acpi_put(set, MADT_X2APIC | 16 << 8, 4);
    acpi_put(set, id, 4);
    acpi_put(set, MADT_ENABLED, 4);
    acpi_put(set, id, 4); /* processor's */
}

/* LINT1 of every processor is NMI. */
static void put_nmi(struct acpi_set *set, bool x2apic)
{
    acpi_put(set, MADT_LAPIC_NMI | 6 << 8, 2);
    acpi_put(set, MADT_ALL_LAPICS, 1);
    acpi_put(set, 0, 2);
    acpi_put(set, 1, 1);
    if (!x2apic)
        return;
    acpi_put(set, MADT_X2APIC_NMI | 12 << 8, 4); /* flags 0 */
    acpi_put(set, UINT32_MAX, 4);
    acpi_put(set, 1, 4);
}

static void add_madt(struct acpi_set *set, unsigned cpus)
{
    acpi_table_begin(set, "APIC", 5);
    acpi_put(set, PC_LAPIC, 4);
    acpi_put(set, 0, 4); /* there is no pair of 8259 that must be masked */
    for (unsigned i = 0; i < cpus; i++) {
        if (i < LAPIC_IDS)
            put_lapic(set, i);
        else
            put_x2apic(set, i);
    }
    acpi_put(set, MADT_IOAPIC | 12 << 8, 2);
    acpi_put(set, 0, 2);
    acpi_put(set, PC_IOAPIC, 4);
    acpi_put(set, 0, 4); /* its first GSI */
    put_nmi(set, cpus > LAPIC_IDS);
    acpi_table_end(set, true);
}

/* --- DSDT ----------------------------------------------------------------------------------- */

static void add_pci(struct aml *aml, uint64_t memory)
{
    acpi_pci_begin(aml, PC_PCI_BUSES);
    aml_io(aml, 0xcf8, 8);
    aml_window_io(aml, 0, 0xcf7);
    aml_window_io(aml, 0xd00, 0xffff);
    aml_window_memory(aml, PC_MEM32, PC_MEM32_SIZE, false);
    aml_window_memory(aml, pc_mem64(memory), PC_MEM64_SIZE, true);
    aml_end(aml);
    acpi_prt(aml, PC_GSI_INTX);
    aml_end(aml);
}

/* A device of the old PC: its ports and its edge-triggered interrupt. */
static void add_isa(struct aml *aml, const char *name, const char *hid, uint16_t port, uint8_t size,
                    uint32_t gsi)
{
    aml_device(aml, name);
    aml_name_eisa(aml, "_HID", hid);
    aml_name_int(aml, "_UID", 0);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_io(aml, port, size);
    aml_interrupt(aml, gsi, true);
    aml_end(aml);
    aml_end(aml);
}

/* The value for S5 that the sleep control register takes. */
static void add_s5(struct aml *aml)
{
    aml_name(aml, "\\_S5_");
    aml_package(aml, 4);
    aml_int(aml, GED_S5);
    for (unsigned i = 0; i < 3; i++)
        aml_int(aml, 0);
    aml_end(aml);
}

static uint32_t add_dsdt(struct acpi_set *set, unsigned cpus, uint64_t memory)
{
    uint32_t at = acpi_table_begin(set, "DSDT", 2);
    struct aml aml;

    aml_begin(&aml, set->bytes);
    aml_scope(&aml, "\\_SB_");
    acpi_processors(&aml, cpus);
    add_pci(&aml, memory);
    acpi_ecam(&aml, PC_ECAM, PC_PCI_BUSES);
    add_isa(&aml, "COM1", "PNP0501", PC_COM1, 8, PC_IRQ_COM1);
    add_isa(&aml, "RTC0", "PNP0B00", PC_RTC, 2, PC_IRQ_RTC);
    acpi_ged(&aml, PC_GED, PC_GSI_GED);
    aml_end(&aml);
    add_s5(&aml);
    acpi_table_end(set, false);
    return at;
}

uint32_t pc_acpi_make(struct acpi_set *set, unsigned cpus, uint64_t memory)
{
    struct acpi_fadt fadt = {
        .sleep_control = PC_GED + GED_SLEEP_CONTROL,
        .sleep_status = PC_GED + GED_SLEEP_STATUS,
        .reset = PC_GED + GED_RESET,
        .reset_value = GED_RESET_VALUE,
        .century = PC_CENTURY,
        .boot_flags = BOOT_8042 | BOOT_NO_VGA,
        .dsdt = add_dsdt(set, cpus, memory),
    };
    struct acpi_uart com1 = {
        .port = true, .base = PC_COM1, .width = 1, .irq = PC_IRQ_COM1, .gsi = PC_IRQ_COM1};

    acpi_add_fadt(set, &fadt);
    add_madt(set, cpus);
    acpi_add_mcfg(set, PC_ECAM, PC_PCI_BUSES);
    acpi_add_spcr(set, &com1);
    return acpi_finish(set);
}
