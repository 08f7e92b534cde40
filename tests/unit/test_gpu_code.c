/*
 * Code objects that clang made (tests/gpu/code): what is parsed, and what launches' arguments
 * become, against what llvm-readelf says of the same files (their tables); and files that are
 * damaged.
 */
#include "gpu/code/elf.h"
#include "gpu/code/kernarg.h"
#include "tests/unit/unit.h"

#include <stdio.h>

static const char *const files[] = {
    "gfx90a.v4",
    "gfx90a.v5",
    "gfx1030.v4",
    "gfx1030.v5",
    "gfx1100.v4",
    "gfx1100.v5",
    "gfx90asrameccxnack.v4",
    "gfx103generic.v6",
};

/* A file of the folder of code objects, with a 0 behind it; the caller frees. */
static uint8_t *read_file(const char *name, size_t *length)
{
    g_autofree char *path = g_build_filename(g_getenv("VMD_GPU_CODE"), name, NULL);
    char *text;

    ck_assert_msg(g_file_get_contents(path, &text, length, NULL), "%s", path);
    return (uint8_t *)text;
}

static uint8_t *read_object(const char *name, size_t *length)
{
    g_autofree char *file = g_strdup_printf("kernels.%s.co", name);

    return read_file(file, length);
}

/* --- the oracle ------------------------------------------------------------------------------- */

enum { SEGMENT_MOST = 4096, GUARD = 16 };

/* Bytes without a pattern. */
static uint8_t noise(unsigned i)
{
    return (uint8_t)((i * 2654435761u) >> 13) | 1;
}

static const struct kernarg_launch launch = {
    .grid = {0x01020304, 0x0506, 0x0708}, .block = {64, 4, 2}, .shared = 0x1234};

/* What a hidden argument is to be; 0 for those that the launch does not tell. */
static uint64_t hidden_value(const char *kind)
{
    static const struct {
        const char *kind;
        uint64_t value;
    } values[] = {
        {"hidden_block_count_x", 0x01020304},
        {"hidden_block_count_y", 0x0506},
        {"hidden_block_count_z", 0x0708},
        {"hidden_group_size_x", 64},
        {"hidden_group_size_y", 4},
        {"hidden_group_size_z", 2},
        {"hidden_grid_dims", 3},
        {"hidden_dynamic_lds_size", 0x1234},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        if (strcmp(kind, values[i].kind) == 0)
            return values[i].value;
    }
    return 0;
}

/* A kernel's lines of the table: what its segment is to be. */
struct oracle {
    char **lines;
    unsigned args, given;
    uint8_t expected[SEGMENT_MOST], values[64][1024];
    void *params[64];
};

static void oracle_arg(struct oracle *o, const struct code_kernel *k, const char *line)
{
    unsigned offset, size;
    char kind[64];

    ck_assert_int_eq(sscanf(line, "arg %u %u %63s", &offset, &size, kind), 3);
    ck_assert_uint_lt(o->args, k->n_args);
    ck_assert_uint_eq(k->args[o->args].offset, offset);
    ck_assert_uint_eq(k->args[o->args].size, size);
    if (g_str_has_prefix(kind, "hidden_")) {
        uint64_t value = hidden_value(kind);
        memcpy(o->expected + offset, &value, MIN(size, sizeof(value)));
    } else {
        uint8_t *value = o->values[o->given];
        for (unsigned i = 0; i < size; i++)
            value[i] = noise(o->given * 977 + i);
        memcpy(o->expected + offset, value, size);
        o->params[o->given++] = value;
    }
    o->args++;
}

static void compare(const struct oracle *o, const struct code_kernel *k)
{
    uint8_t got[SEGMENT_MOST + GUARD];

    memset(got, 0xa5, sizeof(got));
    kernarg_pack(k, &launch, o->params, got);
    for (unsigned i = 0; i < k->kernarg_bytes; i++)
        ck_assert_msg(got[i] == o->expected[i], "%s: byte %u is %#x, not %#x", k->name, i, got[i],
                      o->expected[i]);
    for (unsigned i = 0; i < GUARD; i++)
        ck_assert_uint_eq(got[k->kernarg_bytes + i], 0xa5);
}

/* One kernel and the lines of its arguments, from LINE on; the first that is not of it. */
static char **check_kernel(const struct code_object *object, char **line)
{
    g_autofree struct oracle *o = g_new0(struct oracle, 1);
    unsigned bytes, align, group, private, wavefront, threads;
    char name[256];

    ck_assert_int_eq(sscanf(*line, "kernel %255s %u %u %u %u %u %u", name, &bytes, &align, &group,
                            &private, &wavefront, &threads),
                     7);
    const struct code_kernel *k = code_object_kernel(object, name);
    ck_assert_msg(k != NULL, "%s", name);
    ck_assert_uint_eq(k->kernarg_bytes, bytes);
    ck_assert_uint_eq(k->kernarg_align, align);
    ck_assert_uint_eq(k->group_bytes, group);
    ck_assert_uint_eq(k->private_bytes, private);
    ck_assert_uint_eq(k->wavefront, wavefront);
    ck_assert_uint_eq(k->max_threads, threads);
    for (line++; *line && g_str_has_prefix(*line, "arg "); line++)
        oracle_arg(o, k, *line);
    ck_assert_uint_eq(o->args, k->n_args);
    ck_assert_uint_eq(o->given, k->n_given);
    compare(o, k);
    return line;
}

START_TEST(oracle)
{
    g_autofree char *table = g_strdup_printf("kernels.%s.table", files[_i]);
    g_autoptr(GError) err = NULL;
    size_t length, table_length;
    g_autofree uint8_t *image = read_object(files[_i], &length);
    g_autofree uint8_t *text = read_file(table, &table_length);
    g_auto(GStrv) lines = g_strsplit(g_strstrip((char *)text), "\n", -1);
    unsigned abi, flags, kernels = 0;
    char target[64];

    struct code_object *o = code_object_new(image, length, &err);
    ck_assert_msg(o != NULL, "%s: %s", files[_i], err ? err->message : "");
    memset(image, 0, length); /* it keeps nothing of it */
    ck_assert_int_eq(sscanf(lines[0], "object %u %x amdgcn-amd-amdhsa--%63s", &abi, &flags, target),
                     3);
    ck_assert_uint_eq(code_object_version(o), abi + 2);
    ck_assert_str_eq(code_object_target(o), target);
    for (char **line = lines + 1; *line; kernels++)
        line = check_kernel(o, line);
    ck_assert_uint_eq(kernels, code_object_kernels(o));
    ck_assert_uint_ge(kernels, 10);
    ck_assert_ptr_null(code_object_kernel(o, "no such kernel"));
    code_object_free(o);
}
END_TEST

/* --- damage ----------------------------------------------------------------------------------- */

/* Nothing that is cut short is taken for whole; and none is read past its end (under ASan). */
START_TEST(cut)
{
    size_t length;
    g_autofree uint8_t *image = read_object("gfx90a.v5", &length);

    for (size_t less = 0; less < length; less += less < 4096 ? 1 : 61) {
        g_autofree uint8_t *part = g_memdup2(image, MAX(less, 1));
        g_autoptr(GError) err = NULL;
        struct code_object *o = code_object_new(part, less, &err);
        ck_assert_msg(!o, "cut at %zu", less);
        ck_assert_msg(err != NULL, "cut at %zu: no words", less);
    }
}
END_TEST

/* Bytes of the file that are FROM become TO; every one of them. */
static const struct damage {
    const char *name, *from, *to, *says;
    unsigned at; /* without FROM: where TO is put */
    unsigned bytes;
} damages[] = {
    {"not ELF", NULL,
     "\x7f"
     "ELG",
     "is no code object", 0, 4},
    {"32 bits", NULL, "\1", "not for AMD's GPUs", 4, 1},
    {"another OS", NULL, "\3", "not for AMD's GPUs", 7, 1},
    {"another machine", NULL, "\x3e", "not for AMD's GPUs", 18, 1},
    {"an old ABI", NULL, "\0", "ABI version 0", 8, 1},
    {"a later ABI", NULL, "\x9", "ABI version 9", 8, 1},
    {"no processor", NULL, "\xff", "processor that is not known", 48, 1},
    {"another processor", NULL, "\x36", "not for gfx1030", 48, 1},
    {"segments elsewhere", NULL, "\xff\xff\xff", "not within it", 32, 3},
    {"sections elsewhere", NULL, "\xff\xff\xff\xff\xff\xff\xff\xff", "not within it", 40, 8},
    {"segments of another size", NULL, "\x20", "not within it", 54, 1},
    {"too many sections", NULL, "\xff\xff", "not within it", 60, 2},
    {"no metadata", "AMDGPU", "AMDGPV", "has no metadata", 0, 6},
    {"no symbols", "add.kd", "add.kx", "has no descriptor", 0, 6},
    {"a kind that is none", "by_value", "by_valux", "offset, size or kind", 0, 8},
    {"no offsets", ".offset", ".offsex", "offset, size or kind", 0, 7},
    {"no version", "amdhsa.version", "amdhsa.versiox", "has no version", 0, 14},
    {"no names", ".name", ".namx", "no name or no symbol", 0, 5},
    {"no wavefront", ".wavefront_size", ".wavefront_sizx", "wavefront", 0, 15},
    {"another triple", "amdgcn-amd-amdhsa--", "amdgcn-amd-amdhsb--", "not for gfx90a", 0, 19},
    {"a segment that is another", ".kernarg_segment_size", ".kernarg_segment_sizx",
     "within the segment", 0, 21},
    {"LDS that is not told", ".group_segment_fixed_size", ".group_segment_fixed_sizx",
     "not what the metadata says", 0, 25},
};

START_TEST(damage)
{
    const struct damage *d = &damages[_i];
    g_autoptr(GError) err = NULL;
    size_t length;
    g_autofree uint8_t *image = read_object("gfx90a.v5", &length);
    unsigned changed = !d->from;

    if (!d->from)
        memcpy(image + d->at, d->to, d->bytes);
    for (size_t i = 0; d->from && i + d->bytes <= length; i++) {
        if (memcmp(image + i, d->from, d->bytes) == 0) {
            memcpy(image + i, d->to, d->bytes);
            changed++;
        }
    }
    ck_assert_uint_gt(changed, 0);
    struct code_object *o = code_object_new(image, length, &err);
    ck_assert_msg(!o, "%s", d->name);
    ck_assert_msg(strstr(err->message, d->says) != NULL, "%s: %s", d->name, err->message);
}
END_TEST

/* --- hostile files ---------------------------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    memcpy(at, &value, bytes);
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t v = 0;

    memcpy(&v, at, bytes);
    return v;
}

/* The first section of TYPE, in the file's own table. */
static uint8_t *section_of(uint8_t *image, uint32_t type)
{
    uint8_t *s = image + get(image + 40, 8);

    for (unsigned n = (unsigned)get(image + 60, 2); n > 0; n--, s += 64) {
        if (get(s + 4, 4) == type)
            return s;
    }
    ck_abort_msg("no section of type %u", type);
}

static void refused(const uint8_t *image, size_t length, const char *says)
{
    g_autoptr(GError) err = NULL;

    ck_assert(!code_object_new(image, length, &err));
    ck_assert_msg(strstr(err->message, says) != NULL, "%s", err->message);
}

/* The driver is told no length: it adds one up from where the tables and sections say they are,
 * those without bytes among them. */
START_TEST(far_sections)
{
    enum { NOTE = 7, NO_BITS = 8 };
    size_t length;
    g_autofree uint8_t *image = read_object("gfx90a.v5", &length);
    uint8_t *s = section_of(image, NOTE);

    put(s + 4, NO_BITS, 4);
    ck_assert(elf_is_whole(image, length));
    put(s + 24, length, 8);
    put(s + 32, UINT64_C(1) << 40, 8);
    ck_assert(elf_is_whole(image, length));
    put(s + 24, length + 1, 8);
    refused(image, length, "not within it");
    put(s + 24, UINT64_C(1) << 40, 8);
    refused(image, length, "not within it");
}
END_TEST

START_TEST(uncounted_tables)
{
    size_t length;
    g_autofree uint8_t *image = read_object("gfx90a.v5", &length);

    put(image + 60, 0, 2);
    put(image + 62, 0, 2);
    refused(image, length, "not within it");
    put(image + 40, UINT64_C(1) << 40, 8);
    refused(image, length, "not within it");
}
END_TEST

/* IMAGE of LENGTH bytes with a section table of N behind it: all of them like its first of TYPE.
 * The caller frees. */
static uint8_t *with_sections(uint8_t *image, size_t length, uint32_t type, unsigned n)
{
    const uint8_t *s = section_of(image, type);
    size_t at = ALIGN_UP(length, (size_t)8);
    uint8_t *big = g_malloc0(at + n * 64);

    memcpy(big, image, length);
    for (unsigned i = 0; i < n; i++)
        memcpy(big + at + i * 64, s, 64);
    put(big + 40, at, 8);
    put(big + 60, n, 2);
    put(big + 62, 0, 2);
    return big;
}

/* Sections, segments, notes and symbols are as many as linkers make: work does not grow with the
 * square of what a guest sends. */
START_TEST(too_many)
{
    enum { SYMBOLS = 2, NOTE = 7, MANY = (1 << 18) + 1 };
    size_t length;
    g_autofree uint8_t *image = read_object("gfx90a.v5", &length);
    g_autofree uint8_t *sections = with_sections(image, length, NOTE, 60000);

    refused(sections, ALIGN_UP(length, (size_t)8) + 60000 * 64, "many sections");
    /* A section of so many symbols is the file's first. */
    g_autofree uint8_t *symbols = g_malloc0(length + MANY * 24);
    memcpy(symbols, image, length);
    uint8_t *s = section_of(symbols, SYMBOLS);
    put(s + 24, length, 8);
    put(s + 32, MANY * 24, 8);
    refused(symbols, length + MANY * 24, "too many symbols");
    /* Notes without names and bytes. */
    g_autofree uint8_t *notes = g_malloc0(length + 2000 * 12);
    memcpy(notes, image, length);
    uint8_t *p = notes + get(notes + 32, 8);
    while (get(p, 4) != 4)
        p += 56;
    put(p + 8, length, 8);
    put(p + 32, 2000 * 12, 8);
    refused(notes, length + 2000 * 12, "many notes");
}
END_TEST

/* --- bundles ---------------------------------------------------------------------------------- */

static const struct match {
    const char *image, *device;
    bool runs;
} matches[] = {
    {"gfx90a", "gfx90a:sramecc+:xnack-", true},
    {"gfx90a:xnack-", "gfx90a:sramecc+:xnack-", true},
    {"gfx90a:sramecc+:xnack-", "gfx90a:sramecc+:xnack-", true},
    {"gfx90a:xnack+", "gfx90a:sramecc+:xnack-", false},
    {"gfx90a:sramecc-", "gfx90a:sramecc+:xnack-", false},
    {"gfx90a:xnack+", "gfx90a", false},
    {"gfx90", "gfx90a", false},
    {"gfx90a", "gfx90", false},
    {"gfx1030", "gfx1030", true},
    {"gfx1030", "gfx1031", false},
    {"gfx10-3-generic", "gfx1030", true},
    {"gfx10-3-generic", "gfx1036", true},
    {"gfx10-3-generic", "gfx103", false},
    {"gfx10-3-generic", "gfx1013", false},
    {"gfx9-generic", "gfx90a:sramecc+:xnack-", false},
    {"gfx9-4-generic:xnack-", "gfx942:sramecc+:xnack-", true},
    {"gfx9-4-generic:xnack+", "gfx942:sramecc+:xnack-", false},
    {"", "gfx90a", false},
    {":", "gfx90a", false},
    {"gfx90a:", "gfx90a:sramecc+", false},
};

START_TEST(match)
{
    const struct match *m = &matches[_i];

    ck_assert_msg((target_match(m->image, strlen(m->image), m->device) > 0) == m->runs, "%s on %s",
                  m->image, m->device);
}
END_TEST

START_TEST(nearest)
{
    static const char device[] = "gfx942:sramecc+:xnack-";
    static const char *const by_nearness[] = {"gfx9-4-generic", "gfx9-4-generic:xnack-", "gfx942",
                                              "gfx942:xnack-", "gfx942:sramecc+:xnack-"};
    int last = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(by_nearness); i++) {
        int score = target_match(by_nearness[i], strlen(by_nearness[i]), device);
        ck_assert_msg(score > last, "%s", by_nearness[i]);
        last = score;
    }
}
END_TEST

START_TEST(bundle)
{
    static const char *const devices[] = {"gfx90a:sramecc+:xnack-", "gfx1030", "gfx1100"};
    static const char *const targets[] = {"gfx90a", "gfx1030", "gfx1100"};
    g_autoptr(GError) err = NULL;
    size_t length, at, bytes;
    g_autofree uint8_t *image = read_file("kernels.bundle", &length);

    for (int i = 0; i < 3; i++) {
        ck_assert(code_object_choose(image, length, devices[i], &at, &bytes, NULL));
        struct code_object *o = code_object_new(image + at, bytes, NULL);
        ck_assert(o != NULL);
        ck_assert_str_eq(code_object_target(o), targets[i]);
        code_object_free(o);
    }
    ck_assert(!code_object_choose(image, length, "gfx906", &at, &bytes, &err));
    ck_assert_msg(strstr(err->message, "no code object for gfx906") != NULL, "%s", err->message);
    for (size_t less = 0; less < length; less += less < 600 ? 1 : 509) {
        g_autofree uint8_t *part = g_memdup2(image, MAX(less, 1));
        if (code_object_choose(part, less, devices[2], &at, &bytes, NULL))
            ck_assert_msg(at <= less && bytes <= less - at, "cut at %zu", less);
    }
}
END_TEST

START_TEST(chosen)
{
    g_autoptr(GError) err = NULL;
    size_t length, at, bytes;
    g_autofree uint8_t *image = read_object("gfx1030.v5", &length);

    ck_assert(code_object_choose(image, length, "gfx1030", &at, &bytes, NULL));
    ck_assert(at == 0 && bytes == length);
    ck_assert(!code_object_choose(image, length, "gfx1100", &at, &bytes, &err));
    ck_assert_msg(strstr(err->message, "is for gfx1030, the device is gfx1100") != NULL, "%s",
                  err->message);
    g_clear_error(&err);
    ck_assert(!code_object_choose((const uint8_t *)"CCOB\2\0", 6, "gfx1100", &at, &bytes, &err));
    ck_assert_msg(strstr(err->message, "compressed") != NULL, "%s", err->message);
    g_clear_error(&err);
    ck_assert(
        !code_object_choose((const uint8_t *)".version 8.0", 12, "gfx1100", &at, &bytes, &err));
    ck_assert_msg(strstr(err->message, "no code object") != NULL, "%s", err->message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-code");
    TCase *tc = tcase_create("gpu-code");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, oracle, 0, G_N_ELEMENTS(files));
    tcase_add_test(tc, cut);
    tcase_add_loop_test(tc, damage, 0, G_N_ELEMENTS(damages));
    tcase_add_test(tc, far_sections);
    tcase_add_test(tc, uncounted_tables);
    tcase_add_test(tc, too_many);
    tcase_add_loop_test(tc, match, 0, G_N_ELEMENTS(matches));
    tcase_add_test(tc, nearest);
    tcase_add_test(tc, bundle);
    tcase_add_test(tc, chosen);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
