/*
 * The ACPI tables of pc: found through their pointers as a kernel finds them, checked field by
 * field, and taken apart and compiled again by iasl, which must have nothing to say against them.
 */
#include "machine/boards/pc.h"
#include "machine/boot/aml.h"
#include "tests/unit/acpi_rig.h"

static const struct {
    const char *name;
    unsigned cpus;
    uint64_t memory;
    unsigned lapics, x2apics;
} machines[] = {
    {"one vCPU", 1, MIB(64), 1, 0},
    {"memory on both sides of the hole", 4, GIB(5), 4, 0},
    {"as many vCPUs as 8-bit ids allow", 255, GIB(3), 255, 0},
    {"one more", 256, GIB(3), 255, 1},
    {"many vCPUs, much memory", 300, GIB(1024), 255, 45},
};

static uint32_t make(struct acpi_set *set, unsigned cpus, uint64_t memory)
{
    acpi_begin(set);
    uint32_t rsdp = pc_acpi_make(set, cpus, memory);
    acpi_place(set, BASE);
    return rsdp;
}

START_TEST(test_madt)
{
    unsigned lapics = 0, x2apics = 0, ioapics = 0;
    struct acpi_set set;
    uint64_t at = find(&set, make(&set, machines[_i].cpus, machines[_i].memory), "APIC");
    uint64_t end = at + get(&set, at + 4, 4);

    ck_assert_uint_eq(get(&set, at + 36, 4), PC_LAPIC);
    for (uint64_t e = at + 44; e < end; e += get(&set, e + 1, 1)) {
        ck_assert_uint_ge(get(&set, e + 1, 1), 2);
        switch (get(&set, e, 1)) {
        case 0:
            ck_assert_uint_eq(get(&set, e + 3, 1), lapics);
            lapics++;
            break;
        case 1:
            ck_assert_uint_eq(get(&set, e + 4, 4), PC_IOAPIC);
            ioapics++;
            break;
        case 9:
            ck_assert_uint_eq(get(&set, e + 4, 4), 255 + x2apics);
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
    uint32_t rsdp = make(&set, 2, GIB(1));
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
    uint32_t rsdp = make(&set, machines[_i].cpus, machines[_i].memory);

    check_table(&set, get(&set, find(&set, rsdp, "FACP") + 140, 8) - BASE, folder);
    for (size_t i = 0; i < G_N_ELEMENTS(listed); i++)
        check_table(&set, find(&set, rsdp, listed[i]), folder);
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
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
