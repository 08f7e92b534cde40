/* base: sizes as people write them, errno kinds, the table of limits. */
#include "base/base.h"
#include "base/cpulist.h"
#include "base/large.h"
#include "base/seglog.h"
#include "base/state.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/mman.h>

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
    ck_assert_int_eq(LIMIT_XLATE_VCPUS, 8);
}
END_TEST

/* --- declared state --------------------------------------------------------------------------- */

struct inner {
    uint8_t a[3];
};
struct outer {
    uint16_t small;
    uint32_t word;
    uint64_t wide[2];
    struct inner in[2];
    uint32_t unsaved;
};

static const struct state_field inner_fields[] = {STATE_FIELD_U8(struct inner, a, 1)};
static const struct state_desc inner_desc = {"inner", 1, sizeof(struct inner), 1, inner_fields};
static const struct state_field outer_fields[] = {
    STATE_FIELD_U16(struct outer, small, 1),
    STATE_FIELD_U32(struct outer, word, 1),
    STATE_FIELD_U64(struct outer, wide, 1),
    STATE_FIELD_STRUCT(struct outer, in, struct inner, inner_desc, 2),
};
static const struct state_desc outer_desc = {"outer", 2, sizeof(struct outer), 4, outer_fields};
/* The table as version 1 had it. */
static const struct state_desc older_desc = {"outer", 1, sizeof(struct outer), 3, outer_fields};
/* And another one, with half of a field. */
struct oldest {
    uint64_t wide;
};
static const struct state_field oldest_fields[] = {STATE_FIELD_U64(struct oldest, wide, 1)};
static const struct state_desc oldest_desc = {"outer", 1, sizeof(struct oldest), 1, oldest_fields};
static const struct outer sample = {
    0x1234, 0xdeadbeef, {1, UINT64_MAX}, {{{1, 2, 3}}, {{4, 5, 6}}}, 77};

START_TEST(state_round_trip)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    struct outer got = {0};
    size_t used;

    state_save(&outer_desc, &sample, bytes);
    ck_assert(state_load(&outer_desc, &got, bytes->data, bytes->len, &used, NULL));
    ck_assert_uint_eq(used, bytes->len);
    ck_assert_uint_eq(got.unsaved, 0);
    got.unsaved = sample.unsaved;
    ck_assert_mem_eq(&got, &sample, sizeof(got));
    g_autofree char *text = state_print(&outer_desc, &sample);
    ck_assert_ptr_nonnull(strstr(text, "word=0xdeadbeef"));
}
END_TEST

START_TEST(state_versions)
{
    g_autoptr(GByteArray) old = g_byte_array_new(), now = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    struct outer got = {.in = {{{9, 9, 9}}}};
    size_t used;

    state_save(&older_desc, &sample, old);
    ck_assert(state_load(&outer_desc, &got, old->data, old->len, &used, NULL));
    ck_assert_uint_eq(got.in[0].a[0], 9);
    state_save(&outer_desc, &sample, now);
    ck_assert(!state_load(&older_desc, &got, now->data, now->len, &used, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    g_clear_error(&err);
    /* What an older version had in another shape is said to be that. */
    g_byte_array_set_size(old, 0);
    state_save(&oldest_desc, &(struct oldest){7}, old);
    ck_assert(!state_load(&outer_desc, &got, old->data, old->len, &used, &err));
    ck_assert_msg(strstr(err->message, "version 1, which is too old"), "%s", err->message);
}
END_TEST

START_TEST(state_cut_short)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    struct outer got;
    size_t used;

    state_save(&outer_desc, &sample, bytes);
    for (guint n = 0; n < bytes->len; n++)
        ck_assert_msg(!state_load(&outer_desc, &got, bytes->data, n, &used, NULL), "%u bytes", n);
}
END_TEST

/* --- segmented logs --------------------------------------------------------------------------- */

START_TEST(seglog_keeps_half_of_its_bound)
{
    g_autofree char *dir = g_dir_make_tmp("vmd-test-XXXXXX", NULL);
    struct seglog *log = seglog_create(dir, "x", 1000, NULL);
    struct seglog_extent extent;
    char got[64];

    ck_assert_int_eq(seglog_stat(dir, "y", &extent), -ENOENT);
    for (unsigned i = 0; i < 500; i++) {
        g_autofree char *line = g_strdup_printf("%08u\n", i);
        ck_assert_int_eq(seglog_append(log, line, 9), 0);
        ck_assert_uint_ge(seglog_total(log) - seglog_first(log), MIN((i + 1) * 9, 500));
        ck_assert_uint_lt(seglog_total(log) - seglog_first(log), 1018);
    }
    ck_assert_int_eq(seglog_stat(dir, "x", &extent), 0);
    ck_assert_uint_eq(extent.first, seglog_first(log));
    ck_assert_uint_eq(extent.total, 4500);
    /* Every byte that is kept is at its offset, by both ways of reading. */
    for (uint64_t at = extent.first; at < extent.total; at++) {
        g_autofree char *line = g_strdup_printf("%08u\n", (unsigned)(at / 9));
        uint64_t offset = at;
        ck_assert_int_ge(seglog_read(log, &offset, got, 1), 1);
        ck_assert_uint_eq(offset, at);
        ck_assert_int_eq(got[0], line[at % 9]);
        ck_assert_int_ge(seglog_pread(dir, "x", &offset, got, 1), 1);
        ck_assert_int_eq(got[0], line[at % 9]);
    }
    uint64_t offset = 0;
    ck_assert_int_gt(seglog_read(log, &offset, got, sizeof(got)), 0);
    ck_assert_uint_eq(offset, extent.first);
    seglog_free(log);
    /* A new log of the name begins empty and removes the segments of the old one. */
    log = seglog_create(dir, "x", 1000, NULL);
    ck_assert_int_eq(seglog_stat(dir, "x", &extent), 0);
    ck_assert_uint_eq(extent.total, 0);
    seglog_free(log);
    g_autofree char *path = g_strdup_printf("%s/x.%016x.log", dir, 0);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(large_private)
{
    enum { BYTES = LARGE_PAGE + 100 };
    uint8_t *at = large_alloc(BYTES);

    ck_assert_ptr_nonnull(at);
    ck_assert_uint_eq((uintptr_t)at % LARGE_PAGE, 0);
    for (unsigned i = 0; i < BYTES; i += 512)
        ck_assert_uint_eq(at[i], 0);
    memset(at, 1, BYTES);
    large_free(at, BYTES);
    large_free(NULL, BYTES);
}
END_TEST

/* What is there stays, and others see the same memory, whether the host gave a large page or not.
 */
START_TEST(large_shared)
{
    enum { PAGE = 4096, OTHER = LARGE_PAGE - PAGE };
    autofd fd = memfd_create("large", MFD_CLOEXEC);
    unsigned char there[2 * LARGE_PAGE / PAGE];
    unsigned n = 0;

    ck_assert_int_eq(ftruncate(fd, 2 * LARGE_PAGE), 0);
    uint8_t *at = large_map(2 * LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    uint8_t *same = mmap(NULL, 2 * LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert(at != MAP_FAILED && same != MAP_FAILED);
    ck_assert_uint_eq((uintptr_t)at % LARGE_PAGE, 0);
    memset(same + OTHER, 7, PAGE);
    bool large = large_back_shared(at);
    ck_assert_int_eq(mincore(at, 2 * LARGE_PAGE, there), 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(there); i++)
        n += there[i] & 1;
    if (large)
        ck_assert_uint_eq(n, LARGE_PAGE / PAGE);
    else
        ck_assert_uint_le(n, 2);
    ck_assert_uint_eq(at[OTHER - 1], 0);
    ck_assert_uint_eq(at[OTHER], 7);
    same[5] = 9;
    ck_assert_uint_eq(at[5], 9);
    munmap(at, 2 * LARGE_PAGE);
    munmap(same, 2 * LARGE_PAGE);
}
END_TEST

/* A host that refuses is asked no more for ever, and nothing breaks. */
START_TEST(large_refused)
{
    uint8_t *at = large_map(LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

    ck_assert(at != MAP_FAILED);
    mprotect(at, LARGE_PAGE, PROT_NONE);
    for (unsigned i = 0; i < 40; i++)
        ck_assert(!large_back_shared(at));
    munmap(at, LARGE_PAGE);
    errno = 0;
    ck_assert(large_map(LARGE_PAGE, PROT_READ, MAP_SHARED, -1) == MAP_FAILED);
    ck_assert_int_eq(errno, EBADF);
}
END_TEST

static const struct {
    const char *text, *same; /* NULL: none */
} lists[] = {
    {"0", "0"},           {"0-3,8", "0-3,8"}, {"8,0-3,2", "0-3,8"}, {"0-7,^3", "0-2,4-7"},
    {"0-7,^3-5", "0-2,6-7"}, {"1023", "1023"}, {"0-1023", "0-1023"}, {"^1,1", "1"},
    {"", NULL},           {"a", NULL},        {"1024", NULL},       {"3-1", NULL},
    {"0,", NULL},         {",0", NULL},       {"0 1", NULL},        {"0-", NULL},
    {"-1", NULL},         {"0-1,^0-1", NULL}, {"99999999999999999999999", NULL}, {"0x1", NULL},
};

START_TEST(cpulists)
{
    g_autoptr(GError) err = NULL;
    cpu_set_t set;

    bool ok = cpulist_parse(lists[_i].text, &set, &err);
    ck_assert_msg(ok == (lists[_i].same != NULL), "'%s'", lists[_i].text);
    if (!ok) {
        ck_assert_int_eq(err->code, VMD_ERROR_INVALID);
        return;
    }
    g_autofree char *text = cpulist_format(&set);
    ck_assert_str_eq(text, lists[_i].same);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *tc = tcase_create("all");

    tcase_add_loop_test(tc, size_rows, 0, G_N_ELEMENTS(sizes));
    tcase_add_test(tc, size_text);
    tcase_add_loop_test(tc, cpulists, 0, G_N_ELEMENTS(lists));
    tcase_add_test(tc, errno_kinds);
    tcase_add_test(tc, limits_have_names);
    tcase_add_test(tc, state_round_trip);
    tcase_add_test(tc, state_versions);
    tcase_add_test(tc, state_cut_short);
    tcase_add_test(tc, seglog_keeps_half_of_its_bound);
    tcase_add_test(tc, large_private);
    tcase_add_test(tc, large_shared);
    tcase_add_test(tc, large_refused);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
