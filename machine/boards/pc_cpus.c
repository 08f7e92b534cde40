/*
 * The processors of the pc machine in AML. They come and go: methods ask the registers of
 * machine/devices/cpu_plug.h, and the event device's method has those looked for about which there
 * is something to tell (CSCN).
 *
 * The registers are about the processor that was selected last, so whoever uses them holds CLCK.
 * Each processor's own methods are calls of a shared one with its number, since there may be a
 * thousand of them.
 *
 * Specification: ACPI 6.5, 5.2.12 (MADT), 6.2.10 (_MAT), 6.3 (removal), 8.4 (processors).
 */
#include "machine/boards/pc.h"

enum {
    MADT_LAPIC = 0,
    MADT_LAPIC_BYTES = 8,
    MADT_X2APIC = 9,
    MADT_X2APIC_BYTES = 16,
    MADT_ENABLED = 1,
};

enum { STA_THERE = 0xf }; /* present, enabled, shown, working */
enum { BYTES = 1, DWORDS = 3 };

static void put(GByteArray *out, uint64_t value, unsigned width)
{
    value = GUINT64_TO_LE(value);
    g_byte_array_append(out, (const guint8 *)&value, width);
}

void pc_put_lapic(GByteArray *out, unsigned id, uint32_t flags)
{
    if (id < PC_LAPIC_IDS) {
        put(out, MADT_LAPIC | MADT_LAPIC_BYTES << 8, 2);
        put(out, id | id << 8, 2); /* processor's and APIC's */
        put(out, flags, 4);
        return;
    }
    put(out, MADT_X2APIC | MADT_X2APIC_BYTES << 8, 4);
    put(out, id, 4);
    put(out, flags, 4);
    put(out, id, 4); /* processor's */
}

static void add_registers(struct aml *aml)
{
    aml_region(aml, "CREG", PC_CPUS, CPU_PLUG_SIZE);
    aml_field_of_zeros(aml, "CREG", DWORDS);
    aml_field_unit(aml, "CSEL", 32);
    aml_field_gap(aml, 32);
    aml_field_unit(aml, "CDAT", 32);
    aml_end(aml);
    aml_field_of_zeros(aml, "CREG", BYTES);
    aml_field_gap(aml, 8 * CPU_PLUG_FLAGS);
    aml_field_unit(aml, "CPEN", 1);
    aml_field_unit(aml, "CINS", 1);
    aml_field_unit(aml, "CRMV", 1);
    aml_field_unit(aml, "CEJ0", 1);
    aml_field_gap(aml, 4);
    aml_field_unit(aml, "CCMD", 8);
    aml_end(aml);
    aml_mutex(aml, "CLCK");
}

static void set_local0(struct aml *aml, uint64_t value)
{
    aml_op(aml, AML_STORE);
    aml_int(aml, value);
    aml_op(aml, AML_LOCAL0);
}

static void return_local0(struct aml *aml)
{
    aml_op(aml, AML_RETURN);
    aml_op(aml, AML_LOCAL0);
}

/* CSTA (processor): its _STA. */
static void add_status(struct aml *aml)
{
    aml_method(aml, "CSTA", 1, true);
    aml_acquire(aml, "CLCK");
    aml_store(aml, AML_ARG0, "CSEL");
    set_local0(aml, 0);
    aml_if(aml);
    aml_ref(aml, "CPEN");
    set_local0(aml, STA_THERE);
    aml_end(aml);
    aml_release(aml, "CLCK");
    return_local0(aml);
    aml_end(aml);
}

/* CEJE (processor): its _EJ0. */
static void add_eject(struct aml *aml)
{
    aml_method(aml, "CEJE", 1, true);
    aml_acquire(aml, "CLCK");
    aml_store(aml, AML_ARG0, "CSEL");
    aml_store_int(aml, 1, "CEJ0");
    aml_release(aml, "CLCK");
    aml_end(aml);
}

/* COST (processor, event, status): its _OST. */
static void add_answer(struct aml *aml)
{
    aml_method(aml, "COST", 3, true);
    aml_acquire(aml, "CLCK");
    aml_store(aml, AML_ARG0, "CSEL");
    aml_store_int(aml, CPU_PLUG_OST_EVENT, "CCMD");
    aml_store(aml, AML_ARG1, "CDAT");
    aml_store_int(aml, CPU_PLUG_OST_STATUS, "CCMD");
    aml_store(aml, AML_ARG2, "CDAT");
    aml_release(aml, "CLCK");
    aml_end(aml);
}

/* Byte AT of the buffer in Local0 gets OP's value. */
static void set_byte(struct aml *aml, enum aml_op op, unsigned at)
{
    aml_op(aml, AML_STORE);
    aml_op(aml, op);
    aml_op(aml, AML_INDEX);
    aml_op(aml, AML_LOCAL0);
    aml_int(aml, at);
    aml_nowhere(aml);
}

/* NAME (processor): its _MAT, an entry of MADT as it is when the processor is there. FIRST is the
 * lowest that this is for; LOW and HIGH are where halves of the number are, up to a zero. */
static void add_entry(struct aml *aml, const char *name, unsigned first, const uint8_t *low,
                      const uint8_t *high)
{
    g_autoptr(GByteArray) entry = g_byte_array_new();

    pc_put_lapic(entry, first, MADT_ENABLED);
    aml_method(aml, name, 1, true);
    aml_op(aml, AML_STORE);
    aml_buffer(aml, entry->data, (uint8_t)entry->len);
    aml_op(aml, AML_LOCAL0);
    for (; *low; low++)
        set_byte(aml, AML_ARG0, *low);
    if (*high) {
        aml_op(aml, AML_SHIFT_RIGHT);
        aml_op(aml, AML_ARG0);
        aml_int(aml, 8);
        aml_op(aml, AML_LOCAL1);
    }
    for (; *high; high++)
        set_byte(aml, AML_LOCAL1, *high);
    return_local0(aml);
    aml_end(aml);
}

/* Looks at one processor that has an event, tells of it and takes it back as seen. */
static void tell(struct aml *aml, const char *event, unsigned value)
{
    aml_ref(aml, "CTFY");
    aml_ref(aml, "CDAT");
    aml_int(aml, value);
    aml_store_int(aml, 1, event);
}

/* CSCN: tells of all that have an event; of each at most once, so that it ends. */
static void add_scan(struct aml *aml, unsigned n)
{
    aml_method(aml, "CSCN", 0, true);
    aml_acquire(aml, "CLCK");
    set_local0(aml, n);
    aml_while(aml);
    aml_op(aml, AML_LOCAL0);
    aml_store_int(aml, CPU_PLUG_NEXT, "CCMD");
    aml_if(aml);
    aml_ref(aml, "CINS");
    tell(aml, "CINS", CPU_PLUG_CHECK);
    aml_end(aml);
    aml_else(aml);
    aml_if(aml);
    aml_ref(aml, "CRMV");
    tell(aml, "CRMV", CPU_PLUG_EJECT_REQUEST);
    aml_end(aml);
    aml_else(aml);
    aml_op(aml, AML_BREAK);
    aml_end(aml);
    aml_end(aml);
    aml_op(aml, AML_SUBTRACT);
    aml_op(aml, AML_LOCAL0);
    aml_int(aml, 1);
    aml_op(aml, AML_LOCAL0);
    aml_end(aml);
    aml_release(aml, "CLCK");
    aml_end(aml);
}

static void name_of(char name[5], unsigned cpu)
{
    g_snprintf(name, 5, "C%03X", cpu & 0xfff);
}

/* CTFY (processor, value): notifies it. */
static void add_notify(struct aml *aml, unsigned n)
{
    aml_method(aml, "CTFY", 2, true);
    for (unsigned i = 0; i < n; i++) {
        char name[5];
        name_of(name, i);
        aml_if(aml);
        aml_op(aml, AML_EQUAL);
        aml_op(aml, AML_ARG0);
        aml_int(aml, i);
        aml_op(aml, AML_NOTIFY);
        aml_ref(aml, name);
        aml_op(aml, AML_ARG1);
        aml_end(aml);
    }
    aml_end(aml);
}

/* Method NAME is a call of TO with the processor's number. */
static void call(struct aml *aml, const char *name, const char *to, unsigned cpu, bool returns)
{
    aml_method(aml, name, returns ? 0 : 1, true);
    if (returns)
        aml_op(aml, AML_RETURN);
    aml_ref(aml, to);
    aml_int(aml, cpu);
    aml_end(aml);
}

static void add_processor(struct aml *aml, unsigned cpu)
{
    char name[5];

    name_of(name, cpu);
    aml_device(aml, name);
    aml_name_string(aml, "_HID", "ACPI0007");
    aml_name_int(aml, "_UID", cpu);
    call(aml, "_STA", "CSTA", cpu, true);
    call(aml, "_MAT", cpu < PC_LAPIC_IDS ? "CMAT" : "CMAX", cpu, true);
    if (cpu) /* the first is there for good */
        call(aml, "_EJ0", "CEJE", cpu, false);
    aml_method(aml, "_OST", 3, true);
    aml_ref(aml, "COST");
    aml_int(aml, cpu);
    aml_op(aml, AML_ARG0);
    aml_op(aml, AML_ARG1);
    aml_end(aml);
    aml_end(aml);
}

void pc_cpus_aml(struct aml *aml, unsigned n)
{
    static const uint8_t lapic_low[] = {2, 3, 0}, x2apic_low[] = {4, 12, 0};
    static const uint8_t x2apic_high[] = {5, 13, 0}, none[] = {0};

    aml_device(aml, "CPUS");
    aml_name_string(aml, "_HID", "ACPI0010");
    aml_name_eisa(aml, "_CID", "PNP0A05");
    add_registers(aml);
    add_status(aml);
    add_eject(aml);
    add_answer(aml);
    add_entry(aml, "CMAT", 0, lapic_low, none);
    if (n > PC_LAPIC_IDS)
        add_entry(aml, "CMAX", PC_LAPIC_IDS, x2apic_low, x2apic_high);
    for (unsigned i = 0; i < n; i++)
        add_processor(aml, i);
    add_notify(aml, n);
    add_scan(aml, n);
    aml_end(aml);
}
