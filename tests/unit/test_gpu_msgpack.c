/* MessagePack: each form of a value, those that are none, and what is skipped. */
#include "gpu/code/msgpack.h"
#include "tests/unit/unit.h"

#define BYTES(text) (text), sizeof(text) - 1

static const struct form {
    const char *name, *bytes;
    size_t length;
    enum msgpack_type type;
    uint64_t number;
    uint32_t elements, left; /* bytes behind the head */
} forms[] = {
    {"nil", BYTES("\xc0"), MSGPACK_NIL, 0, 0, 0},
    {"false", BYTES("\xc2"), MSGPACK_BOOL, 0, 0, 0},
    {"true", BYTES("\xc3"), MSGPACK_BOOL, 1, 0, 0},
    {"0", BYTES("\x00"), MSGPACK_UINT, 0, 0, 0},
    {"127", BYTES("\x7f"), MSGPACK_UINT, 127, 0, 0},
    {"-1", BYTES("\xff"), MSGPACK_INT, UINT64_MAX, 0, 0},
    {"-32", BYTES("\xe0"), MSGPACK_INT, (uint64_t)-32, 0, 0},
    {"uint8", BYTES("\xcc\xff"), MSGPACK_UINT, 255, 0, 0},
    {"uint16", BYTES("\xcd\x12\x34"), MSGPACK_UINT, 0x1234, 0, 0},
    {"uint32", BYTES("\xce\x12\x34\x56\x78"), MSGPACK_UINT, 0x12345678, 0, 0},
    {"uint64", BYTES("\xcf\xff\x02\x03\x04\x05\x06\x07\x08"), MSGPACK_UINT, 0xff02030405060708, 0,
     0},
    {"int8", BYTES("\xd0\x80"), MSGPACK_INT, (uint64_t)-128, 0, 0},
    {"int8, positive", BYTES("\xd0\x7f"), MSGPACK_UINT, 127, 0, 0},
    {"int16", BYTES("\xd1\xff\xfe"), MSGPACK_INT, (uint64_t)-2, 0, 0},
    {"int32", BYTES("\xd2\x80\x00\x00\x00"), MSGPACK_INT, (uint64_t)INT32_MIN, 0, 0},
    {"int64", BYTES("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), MSGPACK_INT, (uint64_t)INT64_MIN, 0,
     0},
    {"float32", BYTES("\xca\x3f\x80\x00\x00"), MSGPACK_FLOAT, 0x3f800000, 0, 0},
    {"float64", BYTES("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"), MSGPACK_FLOAT, 0x3ff0000000000000, 0,
     0},
    {"fixstr",
     BYTES("\xa3"
           "abc"),
     MSGPACK_STR, 0, 3, 0},
    {"fixstr, empty", BYTES("\xa0"), MSGPACK_STR, 0, 0, 0},
    {"str8",
     BYTES("\xd9\x03"
           "abcd"),
     MSGPACK_STR, 0, 3, 1},
    {"str16",
     BYTES("\xda\x00\x03"
           "abc"),
     MSGPACK_STR, 0, 3, 0},
    {"str32",
     BYTES("\xdb\x00\x00\x00\x03"
           "abc"),
     MSGPACK_STR, 0, 3, 0},
    {"bin8",
     BYTES("\xc4\x02"
           "ab"),
     MSGPACK_BIN, 0, 2, 0},
    {"bin16",
     BYTES("\xc5\x00\x02"
           "ab"),
     MSGPACK_BIN, 0, 2, 0},
    {"bin32",
     BYTES("\xc6\x00\x00\x00\x02"
           "ab"),
     MSGPACK_BIN, 0, 2, 0},
    {"fixext1",
     BYTES("\xd4\x07"
           "a"),
     MSGPACK_EXT, 7, 1, 0},
    {"fixext16",
     BYTES("\xd8\x07"
           "abcdefghijklmnop"),
     MSGPACK_EXT, 7, 16, 0},
    {"ext8",
     BYTES("\xc7\x02\x07"
           "ab"),
     MSGPACK_EXT, 7, 2, 0},
    {"ext32",
     BYTES("\xc9\x00\x00\x00\x02\x07"
           "ab"),
     MSGPACK_EXT, 7, 2, 0},
    {"fixarray", BYTES("\x92\x01\x02"), MSGPACK_ARRAY, 0, 2, 2},
    {"array16", BYTES("\xdc\x00\x02\x01\x02"), MSGPACK_ARRAY, 0, 2, 2},
    {"array32", BYTES("\xdd\x00\x00\x00\x02\x01\x02"), MSGPACK_ARRAY, 0, 2, 2},
    {"fixmap", BYTES("\x81\x01\x02"), MSGPACK_MAP, 0, 1, 2},
    {"map16", BYTES("\xde\x00\x01\x01\x02"), MSGPACK_MAP, 0, 1, 2},
    {"map32", BYTES("\xdf\x00\x00\x00\x01\x01\x02"), MSGPACK_MAP, 0, 1, 2},
};

START_TEST(form)
{
    const struct form *f = &forms[_i];
    struct msgpack_value v;

    for (size_t less = 0; less < f->length - (f->left == 1); less++) {
        g_autofree uint8_t *part = g_memdup2(f->bytes, MAX(less, 1));
        struct msgpack m = {part, part + less};
        ck_assert_msg(!msgpack_skip(&m), "%s cut at %zu", f->name, less);
        ck_assert(m.at == part);
    }
    struct msgpack m = {(const uint8_t *)f->bytes, (const uint8_t *)f->bytes + f->length};
    struct msgpack whole = m;
    ck_assert_msg(msgpack_read(&m, &v), "%s", f->name);
    ck_assert_msg(v.type == f->type && v.number == f->number && v.length == f->elements, "%s: %d",
                  f->name, v.type);
    ck_assert_msg((size_t)(m.end - m.at) == f->left, "%s", f->name);
    ck_assert(msgpack_skip(&whole));
    ck_assert_msg(whole.at == whole.end - (f->left == 1), "%s", f->name);
    if (f->type == MSGPACK_STR && f->elements)
        ck_assert(msgpack_is(&v, "abc") && !msgpack_is(&v, "ab") && !msgpack_is(&v, "abcd"));
}
END_TEST

START_TEST(none)
{
    static const struct {
        const char *bytes;
        size_t length;
    } bad[] = {
        {BYTES("")},
        {BYTES("\xc1")},
        {BYTES("\x92\x01\xc1")},
        {BYTES("\xdd\xff\xff\xff\xff"
               "abc")},
        {BYTES("\xdf\x80\x00\x00\x00"
               "abc")},
        {BYTES("\xdb\xff\xff\xff\xff"
               "abc")},
        {BYTES("\x91\x92\x01")},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        const uint8_t *at = (const uint8_t *)bad[i].bytes;
        struct msgpack m = {at, at + bad[i].length};
        ck_assert_msg(!msgpack_skip(&m) && m.at == at, "%zu", i);
    }
}
END_TEST

/* Arrays in arrays take no stack. */
START_TEST(deep)
{
    enum { DEEP = 1 << 20 };
    g_autofree uint8_t *bytes = g_malloc(DEEP);

    memset(bytes, 0x91, DEEP);
    struct msgpack m = {bytes, bytes + DEEP};
    ck_assert(!msgpack_skip(&m));
    bytes[DEEP - 1] = 0xc0;
    ck_assert(msgpack_skip(&m) && m.at == m.end);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-msgpack");
    TCase *tc = tcase_create("gpu-msgpack");

    tcase_add_loop_test(tc, form, 0, G_N_ELEMENTS(forms));
    tcase_add_test(tc, none);
    tcase_add_test(tc, deep);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
