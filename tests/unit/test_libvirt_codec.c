/* Arguments, results and errors of libvirt's RPC as golden bytes, and what a reader must refuse. */
#include "proto/libvirt/calls.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#define UUID_1                                                                                     \
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f
#define ALPHA   0, 0, 0, 5, 'a', 'l', 'p', 'h', 'a', 0, 0, 0
#define MINUS_1 0xff, 0xff, 0xff, 0xff

static struct libvirt_dom alpha = {.name = (char *)"alpha", .uuid = {UUID_1}, .id = -1};
static int32_t one_id = 7;

static const struct libvirt_one_dom one_dom = {
    .dom = {.name = (char *)"alpha", .uuid = {UUID_1}, .id = -1}};
static const struct libvirt_doms doms = {.doms_count = 1, .doms = &alpha, .count = 1};
static const struct libvirt_ids ids = {.ids_count = 1, .ids = &one_id};
static const struct libvirt_open open_none = {.flags = 1};
static const struct libvirt_open open_empty = {.name = (char *)""};
static const struct libvirt_error no_domain = {
    .code = 42, .domain = 20, .message = (char *)"none", .level = 2, .int1 = -1};
static const struct libvirt_info info = {
    .state = 1, .max_memory = 1ULL << 32, .memory = 2, .vcpus = 4, .cpu_time = 5};

static const struct golden {
    const char *name;
    const struct libvirt_layout *layout;
    const void *value;
    size_t length;
    uint8_t wire[64];
} goldens[] = {
    {"a domain", &libvirt_one_dom_layout, &one_dom, 32, {ALPHA, UUID_1, MINUS_1}},
    {"domains", &libvirt_doms_layout, &doms, 40, {0, 0, 0, 1, ALPHA, UUID_1, MINUS_1, 0, 0, 0, 1}},
    {"ids", &libvirt_ids_layout, &ids, 8, {0, 0, 0, 1, 0, 0, 0, 7}},
    {"no name", &libvirt_open_layout, &open_none, 8, {0, 0, 0, 0, 0, 0, 0, 1}},
    {"an empty name", &libvirt_open_layout, &open_empty, 12, {0, 0, 0, 1}},
    {"an error", &libvirt_error_layout, &no_domain, 52, {0,   0,   0, 42, 0,      0, 0, 20,  0,
                                                         0,   0,   1, 0,  0,      0, 4, 'n', 'o',
                                                         'n', 'e', 0, 0,  0,      2, 0, 0,   0,
                                                         0,   0,   0, 0,  0,      0, 0, 0,   0,
                                                         0,   0,   0, 0,  MINUS_1}},
    {"info", &libvirt_info_layout, &info, 32, {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
                                               0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5}},
};

/* Each is written as its bytes, and these read and written again are the same. */
START_TEST(golden)
{
    const struct golden *c = &goldens[_i];
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GByteArray) again = g_byte_array_new();
    g_autofree char *got = g_malloc0(c->layout->size);

    ck_assert_int_eq(libvirt_write(c->layout, c->value, out), 0);
    ck_assert_msg(out->len == c->length, "%s: %u bytes", c->name, out->len);
    ck_assert_mem_eq(out->data, c->wire, c->length);
    ck_assert_int_eq(libvirt_read(c->layout, c->wire, c->length, got), 0);
    ck_assert_int_eq(libvirt_write(c->layout, got, again), 0);
    libvirt_clear(c->layout, got);
    ck_assert_uint_eq(again->len, c->length);
    ck_assert_mem_eq(again->data, c->wire, c->length);
}
END_TEST

/* One byte fewer, and four more, is no struct. */
START_TEST(cut)
{
    const struct golden *c = &goldens[_i];
    g_autofree char *got = g_malloc0(c->layout->size);

    for (size_t length = 0; length < c->length; length++)
        ck_assert_int_eq(libvirt_read(c->layout, c->wire, length, got), -EBADMSG);
    ck_assert_int_eq(libvirt_read(c->layout, c->wire, c->length + 4, got), -EBADMSG);
}
END_TEST

START_TEST(fields)
{
    struct libvirt_one_dom got;

    ck_assert_int_eq(libvirt_read(&libvirt_one_dom_layout, goldens[0].wire, 32, &got), 0);
    ck_assert_str_eq(got.dom.name, "alpha");
    ck_assert_mem_eq(got.dom.uuid, alpha.uuid, 16);
    ck_assert_int_eq(got.dom.id, -1);
    libvirt_clear(&libvirt_one_dom_layout, &got);
    ck_assert_ptr_null(got.dom.name);
}
END_TEST

static const struct refused {
    const char *name;
    const struct libvirt_layout *layout;
    size_t length;
    uint8_t wire[32];
} refusals[] = {
    {"an array near 2^32", &libvirt_doms_layout, 8, {0xff, 0xff, 0xff, 0xff}},
    {"more elements than bytes", &libvirt_ids_layout, 8, {0, 0, 0, 2}},
    {"an option that is 2", &libvirt_open_layout, 8, {0, 0, 0, 2}},
    {"bytes where none may be", NULL, 4, {0}},
};

START_TEST(refused)
{
    const struct refused *c = &refusals[_i];
    uint64_t got[16];

    ck_assert_msg(libvirt_read(c->layout, c->wire, c->length, got) == -EBADMSG, "%s", c->name);
}
END_TEST

/* At the bound of an array, and one past it, on both ways. */
START_TEST(bounds)
{
    g_autofree int32_t *many = g_new0(int32_t, 21);
    struct libvirt_auth_types types = {.types_count = 20, .types = many};
    struct libvirt_auth_types got;
    g_autoptr(GByteArray) out = g_byte_array_new();

    ck_assert_int_eq(libvirt_write(&libvirt_auth_types_layout, &types, out), 0);
    ck_assert_int_eq(libvirt_read(&libvirt_auth_types_layout, out->data, out->len, &got), 0);
    ck_assert_uint_eq(got.types_count, 20);
    libvirt_clear(&libvirt_auth_types_layout, &got);
    xdr_put_u32(out, 0);
    out->data[3] = 21;
    ck_assert_int_eq(libvirt_read(&libvirt_auth_types_layout, out->data, out->len, &got), -EBADMSG);

    guint before = out->len;
    types.types_count = 21;
    ck_assert_int_eq(libvirt_write(&libvirt_auth_types_layout, &types, out), -EMSGSIZE);
    ck_assert_uint_eq(out->len, before);
}
END_TEST

/* A typed value of each kind, after an empty domain: its type and what follows. */
static const struct {
    struct libvirt_param param;
    size_t length;
    uint8_t wire[16];
} params[] = {
    {{.type = 1, .number = 0xffffffff}, 8, {0, 0, 0, 1, MINUS_1}},
    {{.type = 2, .number = 7}, 8, {0, 0, 0, 2, 0, 0, 0, 7}},
    {{.type = 3, .number = 1ULL << 40}, 12, {0, 0, 0, 3, 0, 0, 1}},
    {{.type = 4, .number = 5}, 12, {0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5}},
    {{.type = 5, .number = 0x3ff0000000000000}, 12, {0, 0, 0, 5, 0x3f, 0xf0}},
    {{.type = 6, .number = 1}, 8, {0, 0, 0, 6, 0, 0, 0, 1}},
    {{.type = 7, .text = (char *)"abc"}, 12, {0, 0, 0, 7, 0, 0, 0, 3, 'a', 'b', 'c'}},
};

START_TEST(typed)
{
    struct libvirt_param param = params[_i].param;
    struct libvirt_domain_stats stats = {
        .dom = {.name = (char *)""}, .params_count = 1, .params = &param};
    struct libvirt_domain_stats got;
    g_autoptr(GByteArray) out = g_byte_array_new();
    const size_t before = 4 + 16 + 4 + 4 + 8; /* the domain, the count, the name "f" */

    param.field = (char *)"f";
    ck_assert_int_eq(libvirt_write(&libvirt_domain_stats_layout, &stats, out), 0);
    ck_assert_uint_eq(out->len, before + params[_i].length);
    ck_assert_mem_eq(out->data + before, params[_i].wire, params[_i].length);
    ck_assert_int_eq(libvirt_read(&libvirt_domain_stats_layout, out->data, out->len, &got), 0);
    ck_assert_str_eq(got.params[0].field, "f");
    ck_assert_uint_eq(got.params[0].type, param.type);
    ck_assert_uint_eq(got.params[0].number, param.number);
    libvirt_clear(&libvirt_domain_stats_layout, &got);
    out->data[before + 3] = 8; /* no type */
    ck_assert_int_eq(libvirt_read(&libvirt_domain_stats_layout, out->data, out->len, &got),
                     -EBADMSG);
    param.type = 0;
    ck_assert_int_eq(libvirt_write(&libvirt_domain_stats_layout, &stats, out), -EMSGSIZE);
}
END_TEST

/* Characters take four bytes each. */
START_TEST(chars)
{
    struct libvirt_node_info node = {.model = "ab", .memory = 1, .threads = 2}, got;
    g_autoptr(GByteArray) out = g_byte_array_new();

    ck_assert_int_eq(libvirt_write(&libvirt_node_info_layout, &node, out), 0);
    ck_assert_uint_eq(out->len, 32 * 4 + 8 + 6 * 4);
    ck_assert_mem_eq(out->data, ((uint8_t[]){0, 0, 0, 'a', 0, 0, 0, 'b', 0, 0, 0, 0}), 12);
    ck_assert_int_eq(libvirt_read(&libvirt_node_info_layout, out->data, out->len, &got), 0);
    ck_assert_str_eq(got.model, "ab");
    ck_assert_int_eq(got.threads, 2);
    out->data[3] = 200;
    ck_assert_int_eq(libvirt_read(&libvirt_node_info_layout, out->data, out->len, &got), -EBADMSG);
}
END_TEST

START_TEST(calls)
{
    const struct libvirt_call *lookup = libvirt_call_find(23);
    const struct libvirt_call *destroy = libvirt_call_find(LIBVIRT_DOMAIN_DESTROY);

    ck_assert_ptr_nonnull(lookup);
    ck_assert_str_eq(lookup->name, "domain_lookup_by_name");
    ck_assert_ptr_eq(lookup->args, &libvirt_text_layout);
    ck_assert_ptr_eq(lookup->result, &libvirt_one_dom_layout);
    ck_assert(!lookup->writes);
    ck_assert_ptr_nonnull(destroy);
    ck_assert(destroy->writes);
    ck_assert_ptr_null(destroy->result);
    ck_assert_ptr_null(libvirt_call_find(0));
    ck_assert_ptr_null(libvirt_call_find(-1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libvirt-codec");
    TCase *tc = tcase_create("libvirt-codec");

    tcase_add_loop_test(tc, golden, 0, G_N_ELEMENTS(goldens));
    tcase_add_loop_test(tc, cut, 0, G_N_ELEMENTS(goldens));
    tcase_add_test(tc, fields);
    tcase_add_loop_test(tc, refused, 0, G_N_ELEMENTS(refusals));
    tcase_add_test(tc, bounds);
    tcase_add_test(tc, calls);
    tcase_add_loop_test(tc, typed, 0, G_N_ELEMENTS(params));
    tcase_add_test(tc, chars);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
