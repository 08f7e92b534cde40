/*
 * The ACPI tables of pc: found through their pointers as a kernel finds them, checked field by
 * field, and taken apart and compiled again by iasl, which must have nothing to say against them.
 * The methods of processors are run by acpiexec, over registers that are memory.
 */
#include "machine/boards/pc.h"
#include "machine/boot/aml.h"
#include "tests/unit/acpi_rig.h"

static const struct {
    const char *name;
    unsigned cpus;
    uint64_t memory;
    unsigned lapics, x2apics;
    unsigned there; /* of processors that come and go, the first so many; 0: they do not */
    unsigned ports; /* with slots for cards, from slot 3 of the root bus on */
} machines[] = {
    {"one vCPU", 1, MIB(64), 1, 0},
    {"memory on both sides of the hole", 4, GIB(5), 4, 0},
    {"as many vCPUs as 8-bit ids allow", 255, GIB(3), 255, 0},
    {"one more", 256, GIB(3), 255, 1},
    {"many vCPUs, much memory", 300, GIB(1024), 255, 45},
    {"all are there, and may go", 2, MIB(64), 2, 0, 2, LIMIT_HOTPLUG_PORTS},
    {"one is there, and three may come", 4, MIB(64), 4, 0, 1},
    {"some of many", 300, GIB(3), 255, 45, 258, 4},
    {"as many as there may be", LIMIT_VCPUS, GIB(3), 255, LIMIT_VCPUS - 255, 1,
     LIMIT_HOTPLUG_PORTS},
};

static const struct cpu_plug_ops no_cpu_ops;
static const struct pci_plug_ops no_pci_ops;

static uint32_t make(struct acpi_set *set, unsigned i)
{
    struct pc_acpi config = {.cpus = machines[i].cpus, .memory = machines[i].memory};

    if (machines[i].there)
        config.plug = cpu_plug_new(config.cpus, &no_cpu_ops, NULL);
    for (unsigned cpu = 0; cpu < machines[i].there; cpu++)
        cpu_plug_set(config.plug, cpu, true);
    if (machines[i].ports)
        config.slots = pci_plug_new(&no_pci_ops, NULL);
    for (unsigned n = 1; n <= machines[i].ports; n++)
        pci_plug_add(config.slots, n, n + 2);
    acpi_begin(set);
    uint32_t rsdp = pc_acpi_make(set, &config);
    acpi_place(set, BASE);
    if (config.plug)
        device_free(cpu_plug_device(config.plug));
    if (config.slots)
        device_free(pci_plug_device(config.slots));
    return rsdp;
}

/* What MADT says of processor CPU: it is enabled, or may come. */
static unsigned flags_of(unsigned i, unsigned cpu)
{
    return !machines[i].there || cpu < machines[i].there ? 1 : 2;
}

START_TEST(test_madt)
{
    unsigned lapics = 0, x2apics = 0, ioapics = 0;
    struct acpi_set set;
    uint64_t at = find(&set, make(&set, (unsigned)_i), "APIC");
    uint64_t end = at + get(&set, at + 4, 4);

    ck_assert_uint_le(set.bytes->len, MIB(1) - BASE);
    ck_assert_uint_eq(get(&set, at + 36, 4), PC_LAPIC);
    for (uint64_t e = at + 44; e < end; e += get(&set, e + 1, 1)) {
        ck_assert_uint_ge(get(&set, e + 1, 1), 2);
        switch (get(&set, e, 1)) {
        case 0:
            ck_assert_uint_eq(get(&set, e + 3, 1), lapics);
            ck_assert_uint_eq(get(&set, e + 4, 4), flags_of((unsigned)_i, lapics));
            lapics++;
            break;
        case 1:
            ck_assert_uint_eq(get(&set, e + 4, 4), PC_IOAPIC);
            ioapics++;
            break;
        case 9:
            ck_assert_uint_eq(get(&set, e + 4, 4), 255 + x2apics);
            ck_assert_uint_eq(get(&set, e + 8, 4), flags_of((unsigned)_i, 255 + x2apics));
            x2apics++;
            break;
        }
    }
    ck_assert_msg(lapics == machines[_i].lapics && x2apics == machines[_i].x2apics && ioapics == 1,
                  "%s: %u local APICs, %u x2APICs", machines[_i].name, lapics, x2apics);
    acpi_clear(&set);
}
END_TEST

START_TEST(test_fadt)
{
    struct acpi_set set;
    uint32_t rsdp = make(&set, 1);
    uint64_t at = find(&set, rsdp, "FACP"), dsdt = get(&set, at + 140, 8) - BASE;

    ck_assert_uint_eq(get(&set, at + 4, 4), 276);
    ck_assert_uint_eq(get(&set, at + 108, 1), PC_CENTURY);
    ck_assert_uint_eq(get(&set, at + 112, 4) & 1 << 20, 1 << 20);
    ck_assert_uint_eq(get(&set, at + 120, 8), PC_GED + GED_RESET);
    ck_assert_uint_eq(get(&set, at + 128, 1), GED_RESET_VALUE);
    ck_assert_uint_eq(get(&set, at + 248, 8), PC_GED + GED_SLEEP_CONTROL);
    ck_assert_uint_eq(get(&set, at + 260, 8), PC_GED + GED_SLEEP_STATUS);
    ck_assert_mem_eq(set.bytes->data + dsdt, "DSDT", 4);
    check_sum(&set, dsdt, get(&set, dsdt + 4, 4));
    at = find(&set, rsdp, "MCFG");
    ck_assert_uint_eq(get(&set, at + 44, 8), PC_ECAM);
    ck_assert_uint_eq(get(&set, at + 55, 1), PC_PCI_BUSES - 1);
    acpi_clear(&set);
}
END_TEST

/* --- lengths -------------------------------------------------------------------------------- */

static const struct {
    unsigned body; /* bytes inside the scope */
    unsigned bytes;
    uint8_t length[4];
} lengths[] = {
    {62, 1, {0x3f}},
    {63, 2, {0x41, 0x04}},
    {4093, 2, {0x4f, 0xff}},
    {4094, 3, {0x81, 0x00, 0x01}},
};

START_TEST(test_length)
{
    GByteArray *out = g_byte_array_new();
    struct aml aml;

    aml_begin(&aml, out);
    aml_scope(&aml, "ABCD");
    for (unsigned i = 4; i < lengths[_i].body; i++)
        aml_int(&aml, 1);
    aml_end(&aml);
    ck_assert_uint_eq(out->len, 1 + lengths[_i].bytes + lengths[_i].body);
    ck_assert_mem_eq(out->data + 1, lengths[_i].length, lengths[_i].bytes);
    g_byte_array_free(out, TRUE);
}
END_TEST

/* --- iasl ----------------------------------------------------------------------------------- */

START_TEST(test_iasl)
{
    static const char *const listed[] = {"FACP", "APIC", "MCFG", "SPCR"};
    g_autofree char *folder = g_dir_make_tmp("vmd-acpi-XXXXXX", NULL);
    struct acpi_set set;
    uint32_t rsdp = make(&set, (unsigned)_i);

    check_table(&set, get(&set, find(&set, rsdp, "FACP") + 140, 8) - BASE, folder);
    for (size_t i = 0; i < G_N_ELEMENTS(listed); i++)
        check_table(&set, find(&set, rsdp, listed[i]), folder);
    ck_assert_int_eq(g_rmdir(folder), 0);
    acpi_clear(&set);
}
END_TEST

/* --- acpiexec --------------------------------------------------------------------------------- */

/* The registers are memory here: what is written is read. RUN puts a row's flags and number there,
 * evaluates, and gives back what the registers are then. Bytes as in machine/devices/cpu_plug.h. */
static const char helper[] =
    "DefinitionBlock (\"\", \"SSDT\", 2, \"VMD\", \"TEST\", 1) {\n"
    "  OperationRegion (TREG, SystemMemory, 0xfec20000, 12)\n"
    "  Field (TREG, DWordAcc, NoLock, Preserve) { TSEL, 32, TFLG, 32, TDAT, 32 }\n"
    "  OperationRegion (GREG, SystemMemory, 0xfec10000, 4)\n"
    "  Field (GREG, DWordAcc, NoLock, Preserve) { GEVT, 32 }\n"
    "  External (\\_SB.GED0._EVT, MethodObj)\n"
    "  External (\\_SB.CPUS.CSCN, MethodObj)\n"
    "  External (\\_SB.CPUS.COST, MethodObj)\n"
    "  External (\\_SB.CPUS.CEJE, MethodObj)\n"
    "  External (\\_SB.CPUS.CSTA, MethodObj)\n"
    "  Method (SCAN, 2, Serialized) { TFLG = Arg0 TDAT = Arg1 \\_SB.CPUS.CSCN () Return (TFLG) }\n"
    "  Method (EVNT, 3, Serialized) { TFLG = Arg1 TDAT = Arg2 GEVT = Arg0 \\_SB.GED0._EVT (20) }\n"
    "  Method (EJEC, 1, Serialized) { \\_SB.CPUS.CEJE (Arg0) Return (TFLG | TSEL << 8) }\n"
    "  Method (STAT, 2, Serialized) { TFLG = Arg1 Return (\\_SB.CPUS.CSTA (Arg0) | TSEL << 8) }\n"
    "  Method (ANSW, 3, Serialized) { \\_SB.CPUS.COST (Arg0, Arg1, Arg2)\n"
    "    Return (TDAT | TSEL << 8 | TFLG << 16) }\n"
    "  OperationRegion (SREG, SystemMemory, 0xfec30000, 28)\n"
    "  Field (SREG, DWordAcc, NoLock, Preserve) { SLOK, 32, SASK, 32, SCRD, 32, SGRT, 32,\n"
    "    SSLT, 32, SEVT, 32, SSTS, 32 }\n"
    "  External (\\_SB.PCI0._OSC, MethodObj)\n"
    "  External (\\_SB.PCI0.HP02.CARD._STA, MethodObj)\n"
    "  External (\\_SB.PCI0.HP03.CARD._EJ0, MethodObj)\n"
    "  External (\\_SB.PCI0.HP04.CARD._OST, MethodObj)\n"
    "  Method (CRDS, 1, Serialized) { SCRD = Arg0 Return (\\_SB.PCI0.HP02.CARD._STA ()) }\n"
    "  Method (CRDE, 0, Serialized) { \\_SB.PCI0.HP03.CARD._EJ0 (1) Return (SCRD) }\n"
    "  Method (CRDO, 2, Serialized) { \\_SB.PCI0.HP04.CARD._OST (Arg0, Arg1, Buffer (1) {})\n"
    "    Return (SSLT | SEVT << 8 | SSTS << 16) }\n"
    "  Method (CRDN, 2, Serialized) { SLOK = Arg0 SASK = Arg1 GEVT = 4 \\_SB.GED0._EVT (20)\n"
    "    Return (SLOK | SASK << 8) }\n"
    "  Method (OSCR, 1, Serialized) { Local0 = Buffer (12) {} CreateDWordField (Local0, 8, TCTL)\n"
    "    TCTL = Arg0\n"
    "    \\_SB.PCI0._OSC (ToUUID (\"33DB4D5B-1FF7-401C-9657-7441C03DD766\"), 1, 3, Local0)\n"
    "    Return (SGRT) }\n"
    "}\n";

/* A command of acpiexec, and what its output must have. The machine is the one of 300. */
static const struct {
    const char *name, *command, *expect, *expect_not, *about;
} runs[] = {
    /* Select 3; the flags' byte is zero but for what is written. */
    {"a processor that is there", "evaluate STAT 3 1", "= 000000000000030F", NULL},
    {"one that is not", "evaluate STAT 7 0", "= 0000000000000700", NULL},
    {"the method of a processor", "evaluate \\_SB.CPUS.C005._STA", "= 0000000000000000", NULL},
    {"its ejection is written alone", "evaluate EJEC 5", "= 0000000000000508", NULL},
    {"an answer goes as event and status", "evaluate ANSW 4 3 0x81", "= 0000000002000481", NULL},
    {"one that comes is checked", "evaluate SCAN 2 4", "Value 0x01 (Device Check)", "Value 0x03",
     "on [C004]"},
    {"one that goes is asked back", "evaluate SCAN 4 0x102", "Value 0x03 (Eject Request)",
     "Value 0x01", "on [C102]"},
    {"the event is taken back as seen", "evaluate SCAN 4 2", "= 0000000000000004", NULL},
    {"nothing is told of others", "evaluate SCAN 1 2", "= 0000000000000001", "Value 0x0"},
    {"the event device has them looked for", "evaluate EVNT 2 2 6", "Value 0x01 (Device Check)",
     "Value 0x80", "on [C006]"},
    {"and not for the power button", "evaluate EVNT 1 2 6", "Value 0x80", "on [C006]", "on [PWRB]"},
    {"the entry of a local APIC", "evaluate \\_SB.CPUS.C003._MAT", "00 08 03 03 01 00 00 00", NULL},
    {"of an x2APIC", "evaluate \\_SB.CPUS.C102._MAT",
     "09 10 00 00 02 01 00 00 01 00 00 00 02 01 00 00", NULL},
    {"a card that is there", "evaluate CRDS 2", "= 000000000000000F", NULL},
    {"others that are, and it is not", "evaluate CRDS 0xd", "= 0000000000000000", NULL},
    {"a card is let go of", "evaluate CRDE", "= 0000000000000004", NULL},
    {"an answer about a card", "evaluate CRDO 3 0x81", "= 0000000000810304", NULL},
    {"a card is looked for", "evaluate CRDN 2 0", "Value 0x01 (Device Check)", "Value 0x03",
     "on [CARD]"},
    {"a card is asked back", "evaluate CRDN 0 8", "Value 0x03 (Eject Request)", "Value 0x01",
     "on [CARD]"},
    {"both are taken back as seen", "evaluate CRDN 1 2", "= 0000000000000201", NULL},
    {"slots that are not there are nobody's", "evaluate CRDN 0x10 0x20", "= 0000000000002010",
     "on [CARD]"},
    {"_OSC tells who drives slots", "evaluate OSCR 0x1d", "= 0000000000000015", NULL},
    {"and who does not", "evaluate OSCR 0x1c", "= 0000000000000014", NULL},
    {"the first has no ejection", "evaluate \\_SB.CPUS.C000._EJ0 1", "AE_NOT_FOUND", NULL},
    {"the last has", "evaluate \\_SB.CPUS.C12B._EJ0 1", "No object was returned", "AE_"},
};

enum { RUNS_ON = 7 }; /* of machines[] */

static void run_in(const char *folder, const char *const *argv, char **said)
{
    g_autoptr(GError) err = NULL;
    int status;

    if (!g_spawn_sync(folder, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, said, NULL, &status, &err))
        ck_abort_msg("%s (package acpica-tools): %s", argv[0], err->message);
}

static void save(const char *folder, const char *name, const void *bytes, gssize n)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    ck_assert(g_file_set_contents(path, bytes, n, NULL));
}

START_TEST(test_methods)
{
    static const char *const files[] = {"dsdt.aml", "test.aml", "test.dsl"};
    g_autofree char *folder = g_dir_make_tmp("vmd-acpi-XXXXXX", NULL), *compiled = NULL,
                    *said = NULL;
    const char *const compile[] = {"iasl", "test.dsl", NULL};
    const char *const execute[] = {"acpiexec", "-b",       runs[_i].command,
                                   "dsdt.aml", "test.aml", NULL};
    struct acpi_set set;
    uint32_t rsdp = make(&set, RUNS_ON);
    uint64_t dsdt = get(&set, find(&set, rsdp, "FACP") + 140, 8) - BASE;

    save(folder, files[0], set.bytes->data + dsdt, (gssize)get(&set, dsdt + 4, 4));
    save(folder, files[2], helper, -1);
    run_in(folder, compile, &compiled);
    ck_assert_msg(strstr(compiled, "0 Errors") != NULL, "%s", compiled);
    run_in(folder, execute, &said);
    const char *end = said + MAX(strlen(said), 500) - 500;
    ck_assert_msg(strstr(said, runs[_i].expect) != NULL, "%s: not '%s' in:\n%s", runs[_i].name,
                  runs[_i].expect, end);
    ck_assert_msg(!runs[_i].about || strstr(said, runs[_i].about), "%s: not '%s' in:\n%s",
                  runs[_i].name, runs[_i].about, end);
    ck_assert_msg(!runs[_i].expect_not || !strstr(said, runs[_i].expect_not), "%s: '%s' in:\n%s",
                  runs[_i].name, runs[_i].expect_not, end);
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(folder, files[i], NULL);
        g_unlink(path);
    }
    ck_assert_int_eq(g_rmdir(folder), 0);
    acpi_clear(&set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("board_pc_acpi");
    TCase *tc = tcase_create("acpi");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_madt, 0, G_N_ELEMENTS(machines));
    tcase_add_test(tc, test_fadt);
    tcase_add_loop_test(tc, test_length, 0, G_N_ELEMENTS(lengths));
    tcase_add_loop_test(tc, test_iasl, 0, G_N_ELEMENTS(machines));
    tcase_add_loop_test(tc, test_methods, 0, G_N_ELEMENTS(runs));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
