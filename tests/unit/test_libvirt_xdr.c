/* libvirt's wire: frames and XDR items as golden bytes, and what a reader must refuse. */
#include "proto/libvirt/xdr.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

/* A call of procedure 23 (look up by name) with the name "alpha", serial 9. */
static const uint8_t lookup[] = {
    0, 0, 0, 40, 0x20, 0, 0x80, 0x86, 0, 0, 0, 1, 0,   0,   0,   23,  0,   0, 0, 0,
    0, 0, 0, 9,  0,    0, 0,    0,    0, 0, 0, 5, 'a', 'l', 'p', 'h', 'a', 0, 0, 0,
};

START_TEST(golden)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head = {.program = 0x20008086, .version = 1, .procedure = 23, .serial = 9};
    size_t start = libvirt_frame_begin(out, &head);

    xdr_put_string(out, "alpha");
    ck_assert_int_eq(libvirt_frame_end(out, start), 0);
    ck_assert_uint_eq(out->len, sizeof(lookup));
    ck_assert_mem_eq(out->data, lookup, sizeof(lookup));

    struct libvirt_head got;
    ck_assert_int_eq(libvirt_head_read(lookup, &got), 0);
    ck_assert_uint_eq(got.length, sizeof(lookup));
    ck_assert_uint_eq(got.program, 0x20008086);
    ck_assert_int_eq(got.procedure, 23);
    ck_assert_uint_eq(got.serial, 9);

    struct xdr_reader r = {lookup + LIBVIRT_HEAD_BYTES, lookup + sizeof(lookup), false};
    g_autofree char *name = xdr_string(&r, LIBVIRT_STRING_MAX);
    ck_assert_str_eq(name, "alpha");
    ck_assert(xdr_done(&r));
}
END_TEST

START_TEST(numbers)
{
    static const uint8_t wire[] = {0xff, 0xff, 0xff, 0xfe, 1, 2, 3, 4, 5, 6, 7, 8};
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct xdr_reader r = {wire, wire + sizeof(wire), false};

    xdr_put_u32(out, 0xfffffffe);
    xdr_put_u64(out, 0x0102030405060708);
    ck_assert_uint_eq(out->len, sizeof(wire));
    ck_assert_mem_eq(out->data, wire, sizeof(wire));
    ck_assert_uint_eq(xdr_u32(&r), 0xfffffffe);
    ck_assert_uint_eq(xdr_u64(&r), 0x0102030405060708);
    ck_assert(xdr_done(&r));
    ck_assert_uint_eq(xdr_u32(&r), 0);
    ck_assert(!xdr_done(&r));
}
END_TEST

static const struct bad_string {
    const char *name;
    uint8_t wire[12];
    size_t length;
} bad_strings[] = {
    {"no length", {0, 0, 0}, 3},
    {"longer than the bytes", {0, 0, 0, 5, 'a', 'b', 'c', 'd'}, 8},
    {"near 2^32", {0xff, 0xff, 0xff, 0xff, 'a', 'b', 'c', 'd'}, 8},
    {"over the bound", {0, 0, 0, 8, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}, 12},
    {"padding cut off", {0, 0, 0, 2, 'a', 'b'}, 6},
    {"padding not 0", {0, 0, 0, 2, 'a', 'b', 0, 1}, 8},
    {"a NUL within", {0, 0, 0, 3, 'a', 0, 'b', 0}, 8},
    {"no UTF-8", {0, 0, 0, 2, 0xc3, '(', 0, 0}, 8},
};

START_TEST(bad)
{
    const struct bad_string *c = &bad_strings[_i];
    struct xdr_reader r = {c->wire, c->wire + c->length, false};

    ck_assert_msg(xdr_string(&r, 7) == NULL && !xdr_done(&r), "%s", c->name);
}
END_TEST

START_TEST(lengths)
{
    struct libvirt_head head;
    uint8_t wire[LIBVIRT_HEAD_BYTES] = {0, 0, 0, LIBVIRT_HEAD_BYTES - 1};

    ck_assert_int_eq(libvirt_head_read(wire, &head), -EMSGSIZE);
    wire[3] = LIBVIRT_HEAD_BYTES;
    ck_assert_int_eq(libvirt_head_read(wire, &head), 0);
    memcpy(wire, (uint8_t[]){2, 0, 0, 4}, 4);
    ck_assert_int_eq(libvirt_head_read(wire, &head), 0);
    wire[3] = 5;
    ck_assert_int_eq(libvirt_head_read(wire, &head), -EMSGSIZE);
}
END_TEST

START_TEST(too_long)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct libvirt_head head = {.serial = 1};

    xdr_put_u32(out, 7);
    size_t start = libvirt_frame_begin(out, &head);
    g_byte_array_set_size(out, (guint)start + LIBVIRT_FRAME_MAX + 4);
    ck_assert_int_eq(libvirt_frame_end(out, start), -EMSGSIZE);
    ck_assert_uint_eq(out->len, 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("libvirt-xdr");
    TCase *tc = tcase_create("libvirt-xdr");

    tcase_add_test(tc, golden);
    tcase_add_test(tc, numbers);
    tcase_add_loop_test(tc, bad, 0, sizeof(bad_strings) / sizeof(bad_strings[0]));
    tcase_add_test(tc, lengths);
    tcase_add_test(tc, too_long);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
