/* See acpi_parts.h. */
#include "machine/boards/acpi_parts.h"

#include "machine/bus/pci.h"
#include "machine/devices/ged.h"

/* What _OSC hands over: Linux takes native hot-plug only together with the capability's registers.
 */
enum { OSC_HOTPLUG = 1 << 0, OSC_PME = 1 << 2, OSC_CAPABILITY = 1 << 4 };

void acpi_processors(struct aml *aml, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("C%03X", i);

        aml_device(aml, name);
        aml_name_string(aml, "_HID", "ACPI0007");
        aml_name_int(aml, "_UID", i);
        aml_end(aml);
    }
}

void acpi_pci_begin(struct aml *aml, unsigned buses, const char *granted)
{
    aml_device(aml, "PCI0");
    aml_name_eisa(aml, "_HID", "PNP0A08");
    aml_name_eisa(aml, "_CID", "PNP0A03");
    aml_name_int(aml, "_UID", 0);
    aml_name_int(aml, "_SEG", 0);
    aml_name_int(aml, "_BBN", 0);
    aml_name_int(aml, "_CCA", 1);
    aml_pci_osc(aml, OSC_HOTPLUG | OSC_PME | OSC_CAPABILITY, granted);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_window_buses(aml, 0, buses - 1);
}

void acpi_ecam(struct aml *aml, gpa_t base, unsigned buses)
{
    aml_device(aml, "ECAM");
    aml_name_eisa(aml, "_HID", "PNP0C02");
    aml_name_int(aml, "_UID", 0);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_window_memory(aml, base, buses * PCI_ECAM_BUS, false);
    aml_end(aml);
    aml_end(aml);
}

void acpi_prt(struct aml *aml, uint32_t gsi)
{
    aml_name(aml, "_PRT");
    aml_package(aml, PCI_SLOTS * 4);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 1; pin <= 4; pin++) {
            aml_package(aml, 4);
            aml_int(aml, (uint64_t)slot << 16 | 0xffff);
            aml_int(aml, pin - 1);
            aml_int(aml, 0);
            aml_int(aml, gsi + pci_intx_line(slot, pin));
            aml_end(aml);
        }
    }
    aml_end(aml);
}

/* Reading the events clears them, and so lowers the line. */
void acpi_ged(struct aml *aml, gpa_t base, uint32_t gsi, const struct acpi_event *events,
              unsigned n)
{
    aml_device(aml, "GED0");
    aml_name_string(aml, "_HID", "ACPI0013");
    aml_name_int(aml, "_UID", 0);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_interrupt(aml, gsi, false);
    aml_end(aml);
    aml_region(aml, "EREG", base + GED_EVENTS, 4);
    aml_field(aml, "EREG", 3);
    aml_field_unit(aml, "ESEL", 32);
    aml_end(aml);
    aml_method(aml, "_EVT", 1, true);
    aml_load_local0(aml, "ESEL");
    aml_if_local0(aml, GED_POWER_BUTTON);
    aml_notify(aml, "PWRB", 0x80);
    aml_end(aml);
    for (unsigned i = 0; i < n; i++) {
        aml_if_local0(aml, events[i].bit);
        aml_ref(aml, events[i].method);
        aml_end(aml);
    }
    aml_end(aml);
    aml_end(aml);
    aml_device(aml, "PWRB");
    aml_name_eisa(aml, "_HID", "PNP0C0C");
    aml_name_int(aml, "_UID", 0);
    aml_end(aml);
}

void acpi_give(struct fw_cfg *fw, const struct acpi_set *set, uint32_t rsdp)
{
    g_autoptr(GByteArray) commands = g_byte_array_new();

    acpi_commands(set, rsdp, commands);
    fw_cfg_set_file(fw, "etc/acpi/tables", set->bytes->data, rsdp);
    fw_cfg_set_file(fw, "etc/acpi/rsdp", set->bytes->data + rsdp, set->bytes->len - rsdp);
    fw_cfg_set_file(fw, "etc/table-loader", commands->data, commands->len);
}
