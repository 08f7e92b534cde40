/*
 * A strict JSON reader (RFC 8259) that builds json-c objects.
 *
 * The text is checked as UTF-8 before the first byte is looked at. Recursion is bounded by
 * LIMIT_RPC_DEPTH, memory by the number of values. On an error nothing is kept.
 */
#include "proto/jsonrpc/json.h"

#include <errno.h>
#include <math.h>

enum { NUMBER_LENGTH = 64 };

struct reader {
    const char *start, *p, *end;
    size_t values; /* that may still be made */
    unsigned depth;
    GString *text; /* of the string that is read */
    GError **err;
};

static bool read_value(struct reader *r, struct json_object **out);

static bool fail(struct reader *r, const char *what)
{
    return vmd_fail(r->err, VMD_ERROR_INVALID, "bad JSON at byte %zu: %s",
                    (size_t)(r->p - r->start), what);
}

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool accept(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* --- strings ------------------------------------------------------------------------------- */

static int read_hex4(struct reader *r)
{
    int v = 0;

    if (r->end - r->p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int d = g_ascii_xdigit_value(*r->p++);
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* After "\u": one escape, or the two of a surrogate pair. */
static bool read_unicode(struct reader *r)
{
    int c = read_hex4(r);

    if (c < 0)
        return fail(r, "four hexadecimal digits belong after \\u");
    if (c == 0)
        return fail(r, "NUL in a string");
    if (c >= 0xdc00 && c <= 0xdfff)
        return fail(r, "half of a surrogate pair");
    if (c >= 0xd800 && c <= 0xdbff) {
        if (!accept(r, '\\') || !accept(r, 'u'))
            return fail(r, "half of a surrogate pair");
        int low = read_hex4(r);
        if (low < 0xdc00 || low > 0xdfff)
            return fail(r, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    g_string_append_unichar(r->text, (gunichar)c);
    return true;
}

static bool read_escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (r->p == r->end)
        return fail(r, "a string without its end");
    char c = *r->p++;
    if (c == 'u')
        return read_unicode(r);
    const char *at = strchr(from, c);
    if (!at || !c)
        return fail(r, "unknown escape");
    g_string_append_c(r->text, to[at - from]);
    return true;
}

/* After the opening quote; the result is in r->text. */
static bool read_string(struct reader *r)
{
    g_string_truncate(r->text, 0);
    for (;;) {
        const char *run = r->p;
        while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20)
            r->p++;
        g_string_append_len(r->text, run, r->p - run);
        if (r->p == r->end)
            return fail(r, "a string without its end");
        if (accept(r, '"'))
            return true;
        if (!accept(r, '\\'))
            return fail(r, "a control character in a string");
        if (!read_escape(r))
            return false;
    }
}

/* --- numbers ------------------------------------------------------------------------------- */

static bool digits(const char **p, const char *end)
{
    const char *from = *p;

    while (*p < end && g_ascii_isdigit(**p))
        ++*p;
    return *p > from;
}

/* Finds the number's end and whether it has a fraction or an exponent. */
static bool scan_number(struct reader *r, const char **end, bool *integer)
{
    const char *p = r->p;

    *integer = true;
    if (p < r->end && *p == '-')
        p++;
    if (p < r->end && *p == '0')
        p++;
    else if (!digits(&p, r->end))
        return false;
    if (p < r->end && *p == '.') {
        *integer = false;
        p++;
        if (!digits(&p, r->end))
            return false;
    }
    if (p < r->end && (*p == 'e' || *p == 'E')) {
        *integer = false;
        p++;
        if (p < r->end && (*p == '+' || *p == '-'))
            p++;
        if (!digits(&p, r->end))
            return false;
    }
    *end = p;
    return true;
}

static struct json_object *make_integer(const char *text)
{
    errno = 0;
    if (text[0] == '-') {
        int64_t v = g_ascii_strtoll(text, NULL, 10);
        return errno ? NULL : json_object_new_int64(v);
    }
    uint64_t v = g_ascii_strtoull(text, NULL, 10);
    if (errno)
        return NULL;
    return v <= INT64_MAX ? json_object_new_int64((int64_t)v) : json_object_new_uint64(v);
}

static bool read_number(struct reader *r, struct json_object **out)
{
    char text[NUMBER_LENGTH + 1];
    const char *end;
    bool integer;

    if (!scan_number(r, &end, &integer))
        return fail(r, "not a JSON value");
    size_t len = (size_t)(end - r->p);
    if (len > NUMBER_LENGTH)
        return fail(r, "a number of more than 64 characters");
    memcpy(text, r->p, len);
    text[len] = 0;
    if (integer) {
        *out = make_integer(text);
        if (!*out)
            return fail(r, "an integer beyond 64 bits");
    } else {
        double v = g_ascii_strtod(text, NULL);
        if (!isfinite(v))
            return fail(r, "a number out of range");
        *out = json_object_new_double_s(v, text);
    }
    r->p = end;
    return true;
}

/* --- arrays and objects -------------------------------------------------------------------- */

static bool read_elements(struct reader *r, struct json_object *array)
{
    skip_space(r);
    if (accept(r, ']'))
        return true;
    for (;;) {
        struct json_object *e = NULL;
        if (!read_value(r, &e))
            return false;
        json_object_array_add(array, e);
        skip_space(r);
        if (accept(r, ']'))
            return true;
        if (!accept(r, ','))
            return fail(r, "',' or ']' expected");
    }
}

static bool read_member(struct reader *r, struct json_object *object)
{
    struct json_object *value = NULL;

    skip_space(r);
    if (!accept(r, '"'))
        return fail(r, "a member's name in quotes expected");
    if (!read_string(r))
        return false;
    if (json_object_object_get_ex(object, r->text->str, NULL))
        return fail(r, "a member that was there before");
    g_autofree char *name = g_strdup(r->text->str);
    skip_space(r);
    if (!accept(r, ':'))
        return fail(r, "':' expected");
    if (!read_value(r, &value))
        return false;
    json_object_object_add(object, name, value);
    return true;
}

static bool read_members(struct reader *r, struct json_object *object)
{
    skip_space(r);
    if (accept(r, '}'))
        return true;
    for (;;) {
        if (!read_member(r, object))
            return false;
        skip_space(r);
        if (accept(r, '}'))
            return true;
        if (!accept(r, ','))
            return fail(r, "',' or '}' expected");
    }
}

static bool read_nested(struct reader *r, bool array, struct json_object **out)
{
    if (r->depth == LIMIT_RPC_DEPTH)
        return vmd_fail(r->err, VMD_ERROR_LIMIT, "JSON nested deeper than %d levels",
                        LIMIT_RPC_DEPTH);
    g_autoptr(json_object) v = array ? json_object_new_array_ext(4) : json_object_new_object();
    r->depth++;
    if (!(array ? read_elements(r, v) : read_members(r, v)))
        return false;
    r->depth--;
    *out = g_steal_pointer(&v);
    return true;
}

static bool read_word(struct reader *r, struct json_object **out)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(r->end - r->p) >= len && memcmp(r->p, words[i], len) == 0) {
            r->p += len;
            *out = i < 2 ? json_object_new_boolean(i == 0) : NULL;
            return true;
        }
    }
    return read_number(r, out);
}

static bool read_value(struct reader *r, struct json_object **out)
{
    skip_space(r);
    if (r->p == r->end)
        return fail(r, "it ends too early");
    if (r->values-- == 0)
        return vmd_fail(r->err, VMD_ERROR_LIMIT, "too many values in one JSON text");
    if (accept(r, '{'))
        return read_nested(r, false, out);
    if (accept(r, '['))
        return read_nested(r, true, out);
    if (!accept(r, '"'))
        return read_word(r, out);
    if (!read_string(r))
        return false;
    *out = json_object_new_string_len(r->text->str, (int)r->text->len);
    return true;
}

/* --- the module's face --------------------------------------------------------------------- */

bool json_read_limited(const char *text, size_t len, size_t values, struct json_object **out,
                       GError **err)
{
    struct reader r = {.start = text, .p = text, .end = text + len, .values = values, .err = err};
    g_autoptr(json_object) v = NULL;
    const char *bad;

    if (len > INT_MAX)
        return vmd_fail(err, VMD_ERROR_LIMIT, "a JSON text of more than 2 GiB");
    if (!g_utf8_validate_len(text, len, &bad)) {
        r.p = bad;
        return fail(&r, "not UTF-8");
    }
    r.text = g_string_new(NULL);
    bool ok = read_value(&r, &v);
    g_string_free(r.text, TRUE);
    if (!ok)
        return false;
    skip_space(&r);
    if (r.p != r.end)
        return fail(&r, "something follows the value");
    *out = g_steal_pointer(&v);
    return true;
}

bool json_read(const char *text, size_t len, struct json_object **out, GError **err)
{
    return json_read_limited(text, len, SIZE_MAX, out, err);
}

char *json_write(struct json_object *value, size_t *len)
{
    size_t n;
    const char *text = json_object_to_json_string_length(
        value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

    if (len)
        *len = n;
    return g_strndup(text, n);
}
