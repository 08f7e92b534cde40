/*
 * The ACPI tables of the pc machine. It is hardware-reduced: no PM timer, no fixed events; the
 * power button comes through the generic event device, and so do processors and cards that come and
 * go; sleep and reset through its registers.
 */
#include "machine/boards/acpi_parts.h"
#include "machine/boards/pc.h"

enum {
    MADT_IOAPIC = 1,
    MADT_LAPIC_NMI = 4,
    MADT_X2APIC_NMI = 10,
    MADT_ALL_LAPICS = 0xff,
    MADT_ENABLED = 1,
    MADT_ONLINE_CAPABLE = 2, /* not there, and may come */
};

/* IA-PC boot architecture: 8042 is there; no VGA, no CMOS-less RTC. */
enum { BOOT_8042 = 1 << 1, BOOT_NO_VGA = 1 << 2 };

/* --- MADT ----------------------------------------------------------------------------------- */

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

static bool is_there(const struct pc_acpi *config, unsigned cpu)
{
    struct cpu_plug_state state = {.present = true};

    if (config->plug)
        cpu_plug_look(config->plug, cpu, &state);
    return state.present;
}

static void add_madt(struct acpi_set *set, const struct pc_acpi *config)
{
    acpi_table_begin(set, "APIC", 5);
    acpi_put(set, PC_LAPIC, 4);
    acpi_put(set, 0, 4); /* there is no pair of 8259 that must be masked */
    for (unsigned i = 0; i < config->cpus; i++)
        pc_put_lapic(set->bytes, i, is_there(config, i) ? MADT_ENABLED : MADT_ONLINE_CAPABLE);
    acpi_put(set, MADT_IOAPIC | 12 << 8, 2);
    acpi_put(set, 0, 2);
    acpi_put(set, PC_IOAPIC, 4);
    acpi_put(set, 0, 4); /* its first GSI */
    put_nmi(set, config->cpus > PC_LAPIC_IDS);
    acpi_table_end(set, true);
}

/* --- DSDT ----------------------------------------------------------------------------------- */

static bool has_slots(const struct pc_acpi *config)
{
    unsigned slot;

    return config->slots && pci_plug_next(config->slots, 0, &slot);
}

static void add_pci(struct aml *aml, const struct pc_acpi *config)
{
    bool slots = has_slots(config);

    if (slots)
        pc_slots_aml(aml, config->slots);
    acpi_pci_begin(aml, PC_PCI_BUSES, slots ? PC_SLOTS_GRANTED : NULL);
    aml_io(aml, 0xcf8, 8);
    aml_window_io(aml, 0, 0xcf7);
    aml_window_io(aml, 0xd00, 0xffff);
    aml_window_memory(aml, PC_MEM32, PC_MEM32_SIZE, false);
    aml_window_memory(aml, pc_mem64(config->memory), PC_MEM64_SIZE, true);
    aml_end(aml);
    acpi_prt(aml, PC_GSI_INTX);
    if (slots)
        pc_ports_aml(aml, config->slots);
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

static uint32_t add_dsdt(struct acpi_set *set, const struct pc_acpi *config)
{
    uint32_t at = acpi_table_begin(set, "DSDT", 2);
    struct acpi_event events[2];
    unsigned n_events = 0;
    struct aml aml;

    aml_begin(&aml, set->bytes);
    aml_scope(&aml, "\\_SB_");
    if (config->plug)
        pc_cpus_aml(&aml, config->cpus);
    else
        acpi_processors(&aml, config->cpus);
    add_pci(&aml, config);
    acpi_ecam(&aml, PC_ECAM, PC_PCI_BUSES);
    add_isa(&aml, "COM1", "PNP0501", PC_COM1, 8, PC_IRQ_COM1);
    add_isa(&aml, "RTC0", "PNP0B00", PC_RTC, 2, PC_IRQ_RTC);
    if (config->plug)
        events[n_events++] = (struct acpi_event){GED_CPUS, PC_CPUS_SCAN};
    if (has_slots(config))
        events[n_events++] = (struct acpi_event){GED_CARDS, PC_SLOTS_SCAN};
    acpi_ged(&aml, PC_GED, PC_GSI_GED, events, n_events);
    aml_end(&aml);
    add_s5(&aml);
    acpi_table_end(set, false);
    return at;
}

uint32_t pc_acpi_make(struct acpi_set *set, const struct pc_acpi *config)
{
    struct acpi_fadt fadt = {
        .sleep_control = PC_GED + GED_SLEEP_CONTROL,
        .sleep_status = PC_GED + GED_SLEEP_STATUS,
        .reset = PC_GED + GED_RESET,
        .reset_value = GED_RESET_VALUE,
        .century = PC_CENTURY,
        .boot_flags = BOOT_8042 | BOOT_NO_VGA,
        .dsdt = add_dsdt(set, config),
    };
    struct acpi_uart com1 = {
        .port = true, .base = PC_COM1, .width = 1, .irq = PC_IRQ_COM1, .gsi = PC_IRQ_COM1};

    acpi_add_fadt(set, &fadt);
    add_madt(set, config);
    acpi_add_mcfg(set, PC_ECAM, PC_PCI_BUSES);
    acpi_add_spcr(set, &com1);
    return acpi_finish(set);
}
