/*
 * The ACPI tables of pc: found through their pointers as a kernel finds them, checked field by
 * field, and taken apart and compiled again by iasl, which must have nothing to say against them.
 */
#include "machine/boards/pc.h"
#include "machine/boot/aml.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <glib/gstdio.h>

#define BASE UINT64_C(0xe0000)

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

static uint64_t get(const struct acpi_set *set, uint64_t at, unsigned width)
{
    uint64_t value = 0;

    ck_assert_uint_le(at + width, set->bytes->len);
    memcpy(&value, set->bytes->data + at, width);
    return GUINT64_FROM_LE(value);
}

static void check_sum(const struct acpi_set *set, uint64_t at, uint64_t n)
{
    uint8_t sum = 0;

    ck_assert_uint_le(at + n, set->bytes->len);
    for (uint64_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + set->bytes->data[at + i]);
    ck_assert_uint_eq(sum, 0);
}

/* The offset of table SIGNATURE by way of the XSDT. */
static uint64_t find(const struct acpi_set *set, uint32_t rsdp, const char *signature)
{
    uint64_t xsdt = get(set, rsdp + 24, 8) - BASE, size = get(set, xsdt + 4, 4);

    check_sum(set, rsdp, 20);
    check_sum(set, rsdp, 36);
    check_sum(set, xsdt, size);
    for (uint64_t i = 36; i < size; i += 8) {
        uint64_t at = get(set, xsdt + i, 8) - BASE;
        check_sum(set, at, get(set, at + 4, 4));
        if (memcmp(set->bytes->data + at, signature, 4) == 0)
            return at;
    }
    ck_abort_msg("there is no table %s", signature);
}

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

/* Runs iasl in FOLDER; returns what it said, having ended well. */
static char *iasl(const char *folder, const char *option, const char *file)
{
    const char *argv[] = {"iasl", option, file, NULL};
    g_autofree char *errors = NULL;
    g_autoptr(GError) err = NULL;
    char *said = NULL;
    int status;

    if (!g_spawn_sync(folder, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &said, &errors,
                      &status, &err))
        ck_abort_msg("iasl (package acpica-tools): %s", err->message);
    char *all = g_strconcat(said, errors, NULL);
    g_free(said);
    ck_assert_msg(status == 0, "iasl %s %s: %s", option, file, all);
    return all;
}

/* Takes one table apart and, the DSDT, compiles it again. */
static void check_table(const struct acpi_set *set, uint64_t at, const char *folder)
{
    g_autofree char *signature = g_strndup((const char *)set->bytes->data + at, 4);
    g_autofree char *file = g_strconcat(signature, ".aml", NULL);
    g_autofree char *source = g_strconcat(signature, ".dsl", NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);
    g_autofree char *text_path = g_build_filename(folder, source, NULL);
    g_autofree char *text = NULL;

    ck_assert(g_file_set_contents(path, (const char *)set->bytes->data + at,
                                  (gssize)get(set, at + 4, 4), NULL));
    g_free(iasl(folder, "-d", file));
    ck_assert(g_file_get_contents(text_path, &text, NULL, NULL));
    ck_assert_msg(!strstr(text, "Invalid") && !strstr(text, "Incorrect checksum"), "%s: %s",
                  signature, text);
    g_autofree char *said = iasl(folder, "-we", source);
    if (strcmp(signature, "DSDT") == 0)
        ck_assert_msg(strstr(said, "0 Errors, 0 Warnings") != NULL, "%s", said);
    g_unlink(path);
    g_unlink(text_path);
}

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
