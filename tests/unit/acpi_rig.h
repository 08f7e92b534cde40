/* What the tests of boards' ACPI tables share: a placed set, looked at as a kernel does, and by iasl. */
#ifndef TESTS_UNIT_ACPI_RIG_H
#define TESTS_UNIT_ACPI_RIG_H

#include "machine/boot/acpi.h"
#include "tests/unit/unit.h"

#include <glib/gstdio.h>

#define BASE UINT64_C(0xe0000) /* where the set was placed */

static inline uint64_t get(const struct acpi_set *set, uint64_t at, unsigned width)
{
    uint64_t value = 0;

    ck_assert_uint_le(at + width, set->bytes->len);
    memcpy(&value, set->bytes->data + at, width);
    return GUINT64_FROM_LE(value);
}

static inline void check_sum(const struct acpi_set *set, uint64_t at, uint64_t n)
{
    uint8_t sum = 0;

    ck_assert_uint_le(at + n, set->bytes->len);
    for (uint64_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + set->bytes->data[at + i]);
    ck_assert_uint_eq(sum, 0);
}

/* The offset of table SIGNATURE by way of the XSDT. */
static inline uint64_t find(const struct acpi_set *set, uint32_t rsdp, const char *signature)
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

/* Runs iasl in FOLDER; returns what it said, having ended well. */
static inline char *iasl(const char *folder, const char *option, const char *file)
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
static inline void check_table(const struct acpi_set *set, uint64_t at, const char *folder)
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

#endif
