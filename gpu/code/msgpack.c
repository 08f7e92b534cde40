/* MessagePack. See msgpack.h. */
#include "gpu/code/msgpack.h"

/* What is told by the first byte, where that has no number in it: its type and the bytes of the
 * number that follows. */
static const struct {
    uint8_t type, bytes;
    bool sign;
} forms[] = {
    /* 0xc0 */ {MSGPACK_NIL, 0, false},
    {UINT8_MAX, 0, false}, /* never used */
    {MSGPACK_BOOL, 0, false},
    {MSGPACK_BOOL, 0, false},
    /* 0xc4 */ {MSGPACK_BIN, 1, false},
    {MSGPACK_BIN, 2, false},
    {MSGPACK_BIN, 4, false},
    /* 0xc7 */ {MSGPACK_EXT, 1, false},
    {MSGPACK_EXT, 2, false},
    {MSGPACK_EXT, 4, false},
    /* 0xca */ {MSGPACK_FLOAT, 4, false},
    {MSGPACK_FLOAT, 8, false},
    /* 0xcc */ {MSGPACK_UINT, 1, false},
    {MSGPACK_UINT, 2, false},
    {MSGPACK_UINT, 4, false},
    {MSGPACK_UINT, 8, false},
    /* 0xd0 */ {MSGPACK_UINT, 1, true},
    {MSGPACK_UINT, 2, true},
    {MSGPACK_UINT, 4, true},
    {MSGPACK_UINT, 8, true},
    /* 0xd4: ext of 1, 2, 4, 8, 16 bytes */ {MSGPACK_EXT, 0, false},
    {MSGPACK_EXT, 0, false},
    {MSGPACK_EXT, 0, false},
    {MSGPACK_EXT, 0, false},
    {MSGPACK_EXT, 0, false},
    /* 0xd9 */ {MSGPACK_STR, 1, false},
    {MSGPACK_STR, 2, false},
    {MSGPACK_STR, 4, false},
    /* 0xdc */ {MSGPACK_ARRAY, 2, false},
    {MSGPACK_ARRAY, 4, false},
    /* 0xde */ {MSGPACK_MAP, 2, false},
    {MSGPACK_MAP, 4, false},
};

enum { FIRST_FORM = 0xc0, FIXEXT = 0xd4 };

_Static_assert(G_N_ELEMENTS(forms) == 0xe0 - FIRST_FORM, "a row for each first byte");

static bool number(struct msgpack *m, unsigned bytes, uint64_t *out)
{
    uint64_t v = 0;

    if ((size_t)(m->end - m->at) < bytes)
        return false;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | m->at[i];
    m->at += bytes;
    *out = v;
    return true;
}

/* The first byte has the number, or the length, in it. */
static bool read_fixed(uint8_t first, struct msgpack_value *v)
{
    if (first < 0x80)
        *v = (struct msgpack_value){.type = MSGPACK_UINT, .number = first};
    else if (first < 0x90)
        *v = (struct msgpack_value){.type = MSGPACK_MAP, .length = first & 0xf};
    else if (first < 0xa0)
        *v = (struct msgpack_value){.type = MSGPACK_ARRAY, .length = first & 0xf};
    else if (first < 0xc0)
        *v = (struct msgpack_value){.type = MSGPACK_STR, .length = first & 0x1f};
    else if (first >= 0xe0)
        *v = (struct msgpack_value){.type = MSGPACK_INT, .number = UINT64_MAX << 8 | first};
    else
        return false;
    return true;
}

static bool read_form(struct msgpack *m, uint8_t first, struct msgpack_value *v)
{
    unsigned i = first - FIRST_FORM, bits = 8 * forms[i].bytes;
    uint64_t n = 0;

    if (forms[i].type == UINT8_MAX || !number(m, forms[i].bytes, &n))
        return false;
    *v = (struct msgpack_value){.type = forms[i].type};
    switch (v->type) {
    case MSGPACK_NIL:
        break;
    case MSGPACK_BOOL:
        v->number = first & 1;
        break;
    case MSGPACK_UINT:
        v->number = n;
        if (forms[i].sign && n >> (bits - 1)) {
            v->type = MSGPACK_INT;
            v->number = bits < 64 ? n | UINT64_MAX << bits : n;
        }
        break;
    case MSGPACK_FLOAT:
        v->number = n;
        break;
    case MSGPACK_EXT:
        v->length = bits ? (uint32_t)n : 1u << (first - FIXEXT);
        return number(m, 1, &v->number);
    default:
        v->length = (uint32_t)n;
    }
    return true;
}

bool msgpack_read(struct msgpack *m, struct msgpack_value *out)
{
    struct msgpack r = *m;
    struct msgpack_value v;

    if (r.at == r.end)
        return false;
    uint8_t first = *r.at++;
    if (!read_fixed(first, &v) && !read_form(&r, first, &v))
        return false;
    if (v.type == MSGPACK_STR || v.type == MSGPACK_BIN || v.type == MSGPACK_EXT) {
        if (v.length > (size_t)(r.end - r.at))
            return false;
        v.bytes = r.at;
        r.at += v.length;
    } else if (v.type == MSGPACK_ARRAY || v.type == MSGPACK_MAP) {
        /* Each element has a byte at least: what can be counted is there to be read. */
        uint64_t least = v.type == MSGPACK_MAP ? 2 * (uint64_t)v.length : v.length;
        if (least > (uint64_t)(r.end - r.at))
            return false;
    }
    *m = r;
    *out = v;
    return true;
}

bool msgpack_skip(struct msgpack *m)
{
    struct msgpack r = *m;
    struct msgpack_value v;

    for (uint64_t left = 1; left; left--) {
        if (!msgpack_read(&r, &v))
            return false;
        if (v.type == MSGPACK_ARRAY || v.type == MSGPACK_MAP)
            left += v.type == MSGPACK_MAP ? 2 * (uint64_t)v.length : v.length;
        if (left - 1 > (uint64_t)(r.end - r.at))
            return false;
    }
    *m = r;
    return true;
}

bool msgpack_is(const struct msgpack_value *v, const char *text)
{
    return v->type == MSGPACK_STR && v->length == strlen(text) &&
           memcmp(v->bytes, text, v->length) == 0;
}
