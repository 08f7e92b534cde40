/* base: sizes as people write them, errno kinds, the table of limits. */
#include "base/base.h"
#include "tests/unit/unit.h"

#include <errno.h>

static const struct {
    const char *text;
    bool ok;
    uint64_t bytes;
} sizes[] = {
    {"0", true, 0},
    {"512", true, 512},
    {"512K", true, KIB(512)},
    {"64MiB", true, MIB(64)},
    {"1G", true, GIB(1)},
    {"1.5g", true, MIB(1536)},
    {"2T", true, GIB(2048)},
    {"", false, 0},
    {"-1", false, 0},
    {"G", false, 0},
    {"1GG", false, 0},
    {"0x10", false, 0},
    {"99999999999T", false, 0},
    {"1 G", false, 0},
};

START_TEST(size_rows)
{
    uint64_t got = 42;
    g_autoptr(GError) err = NULL;
    bool ok = size_parse(sizes[_i].text, &got, &err);

    ck_assert_msg(ok == sizes[_i].ok, "'%s': parsed %d", sizes[_i].text, ok);
    ck_assert_msg(got == (ok ? sizes[_i].bytes : 42), "'%s': %" G_GUINT64_FORMAT, sizes[_i].text,
                  got);
    ck_assert_msg(ok == (err == NULL), "'%s': error and result disagree", sizes[_i].text);
}
END_TEST

START_TEST(size_text)
{
    g_autofree char *a = size_format(GIB(1)), *b = size_format(MIB(1536)), *c = size_format(77);

    ck_assert_str_eq(a, "1 GiB");
    ck_assert_str_eq(b, "1.5 GiB");
    ck_assert_str_eq(c, "77 B");
}
END_TEST

START_TEST(errno_kinds)
{
    g_autoptr(GError) err = NULL;

    ck_assert(!vmd_set_errno(&err, ENOENT, "opening %s", "x"));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND));
    ck_assert(g_str_has_prefix(err->message, "opening x: "));
    ck_assert_str_eq(vmd_error_name(VMD_ERROR_NOT_FOUND), "not-found");
}
END_TEST

START_TEST(limits_have_names)
{
    size_t n;
    const struct limit *rows = limits_table(&n);

    ck_assert_uint_gt(n, 0);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(rows[i].value > 0, "%s", rows[i].name);
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(strcmp(rows[i].name, rows[j].name), "%s twice", rows[i].name);
    }
    ck_assert_int_eq(LIMIT_VCPUS, 8);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, size_rows, 0, G_N_ELEMENTS(sizes));
    tcase_add_test(tc, size_text);
    tcase_add_test(tc, errno_kinds);
    tcase_add_test(tc, limits_have_names);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
