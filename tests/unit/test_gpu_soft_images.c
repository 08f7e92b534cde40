/*
 * Fat binaries as the software GPU takes them: entries plain, of zstd and of LZ4; which entry is
 * chosen; sizes that do not fit; machine code without PTX.
 */
#include "gpu/soft/soft.h"
#include "tests/unit/unit.h"

#include <glib.h>
#include <lz4.h>
#include <string.h>
#include <zstd.h>

enum { PTX = 1, ELF = 2, PLAIN = 0, LZ4 = 0x2000, ZSTD = 0x8000, ENTRY = 64 };

static void le(GByteArray *a, uint64_t v, unsigned size)
{
    v = GUINT64_TO_LE(v);
    g_byte_array_append(a, (const uint8_t *)&v, size);
}

static void start(GByteArray *a)
{
    le(a, 0xba55ed50, 4);
    le(a, 1, 2);
    le(a, 16, 2);
    le(a, 0, 8);
}

/* Packs TEXT as FLAGS say and appends it as an entry that claims to be CLAIM bytes unpacked (0:
 * what it is). */
static void entry(GByteArray *a, unsigned kind, unsigned target, unsigned flags, const char *text,
                  uint64_t claim)
{
    size_t len = strlen(text), room = 2 * len + 1024, packed = len;
    g_autofree char *out = g_malloc0(room);

    if (flags & ZSTD)
        packed = ZSTD_compress(out, room, text, len, 3);
    else if (flags & LZ4)
        packed = LZ4_compress_default(text, out, len, room);
    else
        memcpy(out, text, len);
    size_t padded = (packed + 7) & ~7ull;
    le(a, kind, 2);
    le(a, 0x101, 2);
    le(a, ENTRY, 4);
    le(a, padded, 8);
    le(a, flags ? packed : 0, 4);
    le(a, 0, 8);
    le(a, target, 4);
    le(a, 0, 8);
    le(a, flags, 8);
    le(a, 0, 8);
    le(a, flags ? claim ? claim : len : 0, 8);
    g_byte_array_append(a, (const uint8_t *)out, padded);
    uint64_t total = GUINT64_TO_LE(a->len - 16ull);
    memcpy(a->data + 8, &total, 8);
}

static int load(const GByteArray *a, char **log, char *kernel, size_t size)
{
    struct soft_space *space = soft_space_new(1 << 20);
    struct soft_module *m = NULL;
    struct soft_attributes attributes;
    int e = soft_module_load(space, a->data, a->len, &m, log);

    ck_assert((e == SOFT_OK) == (m != NULL) && (e == SOFT_OK) == (*log == NULL));
    if (m) {
        soft_function_attributes(soft_module_kernel(m, 0), &attributes);
        g_strlcpy(kernel, attributes.name, size);
    }
    soft_module_unload(m);
    soft_space_free(space);
    return e;
}

static char *ptx(const char *target, const char *kernel)
{
    return g_strdup_printf(
        ".version 8.0\n.target %s\n.address_size 64\n.visible .entry %s() { ret; }\n", target,
        kernel);
}

static const struct {
    const char *name;
    unsigned flags, kind, target,
        damage; /* the byte of the entry's payload that is turned over, from 1 on */
    uint64_t claim;
    int error;
    const char *says;
} cases[] = {
    {"plain", PLAIN, PTX, 80, 0, 0, SOFT_OK, NULL},
    {"zstd", ZSTD, PTX, 80, 0, 0, SOFT_OK, NULL},
    {"LZ4", LZ4, PTX, 80, 0, 0, SOFT_OK, NULL},
    {"damaged zstd", ZSTD, PTX, 80, 1, 0, SOFT_INVALID_IMAGE, "damaged zstd"},
    {"damaged LZ4", LZ4, PTX, 80, 1, 0, SOFT_INVALID_IMAGE, "damaged LZ4"},
    {"zstd beyond its size", ZSTD, PTX, 80, 0, 10, SOFT_INVALID_IMAGE, "damaged zstd"},
    {"LZ4 beyond its size", LZ4, PTX, 80, 0, 10, SOFT_INVALID_IMAGE, "damaged LZ4"},
    {"zstd short of its size", ZSTD, PTX, 80, 0, 4096, SOFT_INVALID_IMAGE, "do not fit"},
    {"LZ4 short of its size", LZ4, PTX, 80, 0, 4096, SOFT_INVALID_IMAGE, "do not fit"},
    {"huge zstd", ZSTD, PTX, 80, 0, SOFT_MAX_IMAGE + 1ull, SOFT_INVALID_IMAGE, "do not fit"},
    {"huge LZ4", LZ4, PTX, 80, 0, 1ull << 40, SOFT_INVALID_IMAGE, "do not fit"},
    {"endless LZ4", LZ4, PTX, 80, 0, UINT64_MAX, SOFT_INVALID_IMAGE, "do not fit"},
    {"machine code", PLAIN, ELF, 90, 0, 0, SOFT_NO_BINARY_FOR_GPU, "no PTX for this device"},
    {"too new", PLAIN, PTX, 100, 0, 0, SOFT_NO_BINARY_FOR_GPU, "no PTX for this device"},
};

START_TEST(one_entry)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    g_autofree char *text = ptx("sm_80", "k"), *log = NULL;
    char kernel[16] = "";

    start(a);
    entry(a, cases[_i].kind, cases[_i].target, cases[_i].flags, text, cases[_i].claim);
    if (cases[_i].damage)
        a->data[16 + ENTRY + cases[_i].damage - 1] ^= 0xff;
    int e = load(a, &log, kernel, sizeof(kernel));
    ck_assert_msg(e == cases[_i].error, "%s: %d: %s", cases[_i].name, e, log ? log : "");
    if (cases[_i].says)
        ck_assert_msg(strstr(log, cases[_i].says) != NULL, "%s: %s", cases[_i].name, log);
    else
        ck_assert_str_eq(kernel, "k");
}
END_TEST

/* The newest target that the device has, beside machine code and newer ones, wherever it stands. */
START_TEST(chosen)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    g_autofree char *old = ptx("sm_75", "old"), *best = ptx("sm_90", "best"),
                    *new = ptx("sm_100", "new"), *log = NULL;
    char kernel[16] = "";

    start(a);
    entry(a, ELF, 90, PLAIN, "\177ELF-machine-code", 0);
    entry(a, PTX, 75, LZ4, old, 0);
    entry(a, PTX, 90, ZSTD, best, 0);
    entry(a, PTX, 100, PLAIN, new, 0);
    ck_assert_msg(load(a, &log, kernel, sizeof(kernel)) == SOFT_OK, "%s", log);
    ck_assert_str_eq(kernel, "best");
}
END_TEST

/* A fat binary cut anywhere is refused. */
START_TEST(cut)
{
    g_autoptr(GByteArray) a = g_byte_array_new();
    g_autofree char *text = ptx("sm_80", "k");
    char kernel[16] = "";

    start(a);
    entry(a, PTX, 80, _i ? ZSTD : LZ4, text, 0);
    for (unsigned len = a->len - 1; len > 0; len--) {
        g_autofree char *log = NULL;

        g_byte_array_set_size(a, len);
        ck_assert_msg(load(a, &log, kernel, sizeof(kernel)) != SOFT_OK, "%u bytes", len);
    }
}
END_TEST

/* A bomb: zeroes pack a thousand to one; what is unpacked stops at the size that the entry owns to.
 */
START_TEST(bomb)
{
    g_autofree char *zeroes = g_malloc(SOFT_MAX_IMAGE + 2), *log = NULL;
    g_autoptr(GByteArray) a = g_byte_array_new();
    char kernel[16] = "";

    memset(zeroes, ' ', SOFT_MAX_IMAGE + 1);
    zeroes[SOFT_MAX_IMAGE + 1] = 0;
    start(a);
    entry(a, PTX, 80, _i ? ZSTD : LZ4, zeroes, 4096);
    ck_assert_int_eq(load(a, &log, kernel, sizeof(kernel)), SOFT_INVALID_IMAGE);
    ck_assert_msg(strstr(log, "damaged") != NULL, "%s", log);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu_soft_images");
    TCase *tc = tcase_create("images");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, one_entry, 0, G_N_ELEMENTS(cases));
    tcase_add_test(tc, chosen);
    tcase_add_loop_test(tc, cut, 0, 2);
    tcase_add_loop_test(tc, bomb, 0, 2);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
