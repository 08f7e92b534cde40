/*
 * The slots of PCI Express in AML, for guests that do not drive them themselves: each root port,
 * and behind it the device of its card, with what an operating system needs to look for it and to
 * let go of it. The event device's method has those looked for about which there is something to
 * tell (PSCN). A guest that drives slots itself takes no notice of all this.
 *
 * Specification: ACPI 6.5, 6.1 (_ADR, _SUN), 6.3 (_EJ0, _OST, _STA), 5.6.6 (notifications).
 */
#include "machine/boards/pc.h"

enum { DWORDS = 3, STA_THERE = 0xf, CHECK = 1, EJECT_REQUEST = 3 };

static uint32_t bit_of(unsigned number)
{
    return UINT32_C(1) << (number - 1);
}

static void add_registers(struct aml *aml)
{
    static const char *const names[] = {"PLOK", "PASK", "PCRD", "PGRT", "PSLT", "PEVT", "PSTS"};

    aml_region(aml, "PREG", PC_SLOTS, PCI_PLUG_SIZE);
    aml_field_of_zeros(aml, "PREG", DWORDS);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        aml_field_unit(aml, names[i], 32);
    aml_end(aml);
    aml_mutex(aml, "PLCK");
}

static void card_of(char path[24], unsigned number)
{
    g_snprintf(path, 24, "\\_SB_.PCI0.HP%02X.CARD", number & 0xff);
}

/* What register NAME has is told as VALUE, and taken back as seen. */
static void tell(struct aml *aml, const struct pci_plug *plug, const char *name, unsigned value)
{
    unsigned slot;

    aml_load_local0(aml, name);
    aml_store(aml, AML_LOCAL0, name);
    for (unsigned n = 0; (n = pci_plug_next(plug, n, &slot));) {
        char path[24];
        card_of(path, n);
        aml_if_local0(aml, bit_of(n));
        aml_notify(aml, path, value);
        aml_end(aml);
    }
}

/* PSTA (bit): _STA of a card. */
static void add_status(struct aml *aml)
{
    aml_method(aml, "PSTA", 1, true);
    aml_if(aml);
    aml_op(aml, AML_AND);
    aml_ref(aml, "PCRD");
    aml_op(aml, AML_ARG0);
    aml_nowhere(aml);
    aml_op(aml, AML_RETURN);
    aml_int(aml, STA_THERE);
    aml_end(aml);
    aml_op(aml, AML_RETURN);
    aml_int(aml, 0);
    aml_end(aml);
}

/* POST (slot, event, status): _OST of a card. */
static void add_answer(struct aml *aml)
{
    aml_method(aml, "POST", 3, true);
    aml_acquire(aml, "PLCK");
    aml_store(aml, AML_ARG0, "PSLT");
    aml_store(aml, AML_ARG1, "PEVT");
    aml_store(aml, AML_ARG2, "PSTS");
    aml_release(aml, "PLCK");
    aml_end(aml);
}

void pc_slots_aml(struct aml *aml, const struct pci_plug *plug)
{
    add_registers(aml);
    add_status(aml);
    add_answer(aml);
    aml_method(aml, "PSCN", 0, true);
    tell(aml, plug, "PLOK", CHECK);
    tell(aml, plug, "PASK", EJECT_REQUEST);
    aml_end(aml);
}

static void add_card(struct aml *aml, unsigned number)
{
    aml_device(aml, "CARD");
    aml_name_int(aml, "_ADR", 0);
    aml_name_int(aml, "_SUN", number);
    aml_method(aml, "_STA", 0, true);
    aml_op(aml, AML_RETURN);
    aml_ref(aml, "\\_SB_.PSTA");
    aml_int(aml, bit_of(number));
    aml_end(aml);
    aml_method(aml, "_EJ0", 1, true);
    aml_store_int(aml, bit_of(number), "\\_SB_.PCRD");
    aml_end(aml);
    aml_method(aml, "_OST", 3, true);
    aml_ref(aml, "\\_SB_.POST");
    aml_int(aml, number);
    aml_op(aml, AML_ARG0);
    aml_op(aml, AML_ARG1);
    aml_end(aml);
    aml_end(aml);
}

void pc_ports_aml(struct aml *aml, const struct pci_plug *plug)
{
    unsigned slot;

    for (unsigned n = 0; (n = pci_plug_next(plug, n, &slot));) {
        char name[5];
        g_snprintf(name, sizeof(name), "HP%02X", n & 0xff);
        aml_device(aml, name);
        aml_name_int(aml, "_ADR", (uint64_t)slot << 16);
        add_card(aml, n);
        aml_end(aml);
    }
}
