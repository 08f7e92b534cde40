/*
 * The engine under the generated code: decode, encode, check, copy and free by table.
 *
 * A path to the present member is a list on the stack (struct path); it becomes text only for an
 * error. Every recursion follows the schema, whose nesting is finite, never the input's.
 */
#include "proto/schema/codec.h"
#include "proto/schema/api.h"

#include <arpa/inet.h>
#include <math.h>

struct path {
    const struct path *up;
    const char *name; /* NULL: an element */
    size_t index;
};

static void path_append(GString *s, const struct path *p)
{
    if (p->up)
        path_append(s, p->up);
    if (!p->name)
        g_string_append_printf(s, "[%zu]", p->index);
    else
        g_string_append_printf(s, "%s%s", p->up ? "." : "", p->name);
}

static bool fail_at(const struct path *p, GError **err, enum vmd_error code, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);

static bool fail_at(const struct path *p, GError **err, enum vmd_error code, const char *fmt, ...)
{
    GString *where = g_string_new(NULL);
    va_list ap;

    path_append(where, p);
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    vmd_fail(err, code, "%s: %s", where->str, text);
    g_string_free(where, TRUE);
    return false;
}

/* --- access to members --------------------------------------------------------------------- */

static void *at(const void *obj, uint32_t offset)
{
    return (char *)obj + offset;
}

static bool is_scalar(const struct codec_field *f)
{
    return f->kind <= CODEC_DOUBLE || f->kind == CODEC_ENUM;
}

static size_t element_size(const struct codec_field *f)
{
    return is_scalar(f) ? f->size : sizeof(void *);
}

static bool is_present(const struct codec_field *f, const void *obj)
{
    if (f->flags & CODEC_ARRAY)
        return true;
    if (f->kind == CODEC_JSON && !(f->flags & CODEC_OPTIONAL))
        return true; /* NULL is JSON's null */
    if (!is_scalar(f))
        return *(void **)at(obj, f->offset) != NULL;
    return !(f->flags & CODEC_OPTIONAL) || *(bool *)at(obj, f->aux);
}

static void store_uint(void *p, size_t size, uint64_t v)
{
    switch (size) {
    case 1:
        *(uint8_t *)p = (uint8_t)v;
        break;
    case 2:
        *(uint16_t *)p = (uint16_t)v;
        break;
    case 4:
        *(uint32_t *)p = (uint32_t)v;
        break;
    default:
        *(uint64_t *)p = v;
    }
}

static uint64_t load_uint(const void *p, size_t size)
{
    switch (size) {
    case 1:
        return *(const uint8_t *)p;
    case 2:
        return *(const uint16_t *)p;
    case 4:
        return *(const uint32_t *)p;
    default:
        return *(const uint64_t *)p;
    }
}

static int64_t load_int(const void *p, size_t size)
{
    return size == 4 ? *(const int32_t *)p : *(const int64_t *)p;
}

/* --- new and free -------------------------------------------------------------------------- */

static void set_default(const struct codec_field *f, void *obj)
{
    void *p = at(obj, f->offset);

    if (!(f->flags & CODEC_DEFAULT) || (f->flags & CODEC_ARRAY))
        return;
    switch (f->kind) {
    case CODEC_STRUCT:
        *(void **)p = codec_new(f->type);
        break;
    case CODEC_STRING:
        *(char **)p = g_strdup(f->def_text);
        break;
    default:
        store_uint(p, f->size, (uint64_t)f->def);
    }
}

void *codec_new(const struct codec_type *t)
{
    void *obj = g_malloc0(t->size);

    for (size_t i = 0; i < t->n; i++)
        set_default(&t->fields[i], obj);
    return obj;
}

static void free_element(const struct codec_field *f, void *p)
{
    if (f->kind == CODEC_STRING)
        g_free(*(char **)p);
    else if (f->kind == CODEC_STRUCT)
        codec_free(f->type, *(void **)p);
    else if (f->kind == CODEC_JSON)
        json_object_put(*(struct json_object **)p);
}

static void free_array(const struct codec_field *f, void *obj)
{
    char *base = *(char **)at(obj, f->offset);

    for (size_t i = 0; base && i < *(size_t *)at(obj, f->aux); i++)
        free_element(f, base + i * element_size(f));
    g_free(base);
}

void codec_free(const struct codec_type *t, void *obj)
{
    if (!obj)
        return;
    for (size_t i = 0; i < t->n; i++) {
        const struct codec_field *f = &t->fields[i];

        if (f->flags & CODEC_ARRAY)
            free_array(f, obj);
        else
            free_element(f, at(obj, f->offset));
    }
    g_free(obj);
}

/* --- formats ------------------------------------------------------------------------------- */

static bool all_of(const char *text, size_t len, const char *also)
{
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isalnum(text[i]) && !(text[i] && strchr(also, text[i])))
            return false;
    }
    return true;
}

static bool is_graph(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isgraph(text[i]))
            return false;
    }
    return true;
}

static bool is_filter(const char *text, size_t len)
{
    if (len == 1 && text[0] == '*')
        return true;
    if (len > 2 && strcmp(text + len - 2, ".*") == 0)
        len -= 2;
    return all_of(text, len, "._") && text[0] != '.';
}

static bool is_mac(const char *text, size_t len)
{
    if (len != 17)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !g_ascii_isxdigit(text[i]))
            return false;
    }
    return !(g_ascii_xdigit_value(text[1]) & 1);
}

static bool is_ip(const char *text)
{
    unsigned char buf[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, text, buf) == 1 || inet_pton(AF_INET6, text, buf) == 1;
}

bool codec_format_ok(enum codec_format format, const char *text, size_t len)
{
    switch (format) {
    case CODEC_FORMAT_ANY:
        return true;
    case CODEC_FORMAT_NAME:
        return len > 0 && g_ascii_isalnum(text[0]) && all_of(text, len, "._-");
    case CODEC_FORMAT_TOKEN:
        return is_graph(text, len);
    case CODEC_FORMAT_FILTER:
        return is_filter(text, len);
    case CODEC_FORMAT_PATH:
        return text[0] == '/';
    case CODEC_FORMAT_MAC:
        return is_mac(text, len);
    case CODEC_FORMAT_IFNAME:
        return is_graph(text, len) && !strpbrk(text, "/:%") && strcmp(text, ".") != 0 &&
               strcmp(text, "..") != 0;
    case CODEC_FORMAT_IP:
        return is_ip(text);
    }
    return false;
}

static const char *const format_texts[] = {
    [CODEC_FORMAT_ANY] = "text",
    [CODEC_FORMAT_NAME] = "a name of letters, digits, '.', '_' and '-' that begins with a letter "
                          "or digit",
    [CODEC_FORMAT_TOKEN] = "printable ASCII without spaces",
    [CODEC_FORMAT_FILTER] = "an event's name, or a namespace such as vm.*",
    [CODEC_FORMAT_PATH] = "an absolute path",
    [CODEC_FORMAT_MAC] = "a unicast Ethernet address such as 52:54:00:12:34:56",
    [CODEC_FORMAT_IFNAME] = "the name of a network interface",
    [CODEC_FORMAT_IP] = "an IPv4 or IPv6 address",
};

/* --- enums --------------------------------------------------------------------------------- */

const char *codec_enum_name(const struct codec_enum *e, unsigned v)
{
    return v < e->n ? e->values[v] : NULL;
}

static bool enum_find(const struct codec_enum *e, const char *text, unsigned *out)
{
    for (unsigned i = 0; i < e->n; i++) {
        if (strcmp(text, e->values[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static char *enum_choices(const struct codec_enum *e)
{
    GString *s = g_string_new(NULL);

    for (size_t i = 0; i < e->n; i++)
        g_string_append_printf(s, "%s%s",
                               i == 0          ? ""
                               : i + 1 == e->n ? " or "
                                               : ", ",
                               e->values[i]);
    return g_string_free(s, FALSE);
}

bool codec_enum_parse(const struct codec_enum *e, const char *text, unsigned *out, GError **err)
{
    if (enum_find(e, text, out))
        return true;
    g_autofree char *choices = enum_choices(e);
    return vmd_fail(err, VMD_ERROR_INVALID, "'%.64s' is not %s", text, choices);
}

/* --- checks of one value ------------------------------------------------------------------- */

static bool check_string(const struct codec_field *f, const char *text, size_t len,
                         const struct path *p, GError **err)
{
    if (len > f->max)
        return fail_at(p, err, VMD_ERROR_LIMIT,
                       "%zu bytes, where %" G_GUINT64_FORMAT " are the most", len, f->max);
    if (len < (size_t)f->min)
        return fail_at(p, err, VMD_ERROR_INVALID,
                       len ? "shorter than %" G_GINT64_FORMAT " bytes" : "may not be empty",
                       f->min);
    if (memchr(text, 0, len))
        return fail_at(p, err, VMD_ERROR_INVALID, "NUL within a string");
    if (!codec_format_ok(f->format, text, len))
        return fail_at(p, err, VMD_ERROR_INVALID, "'%.64s' is not %s", text,
                       format_texts[f->format]);
    return true;
}

static bool check_uint(const struct codec_field *f, uint64_t v, const struct path *p, GError **err)
{
    if (v < (uint64_t)f->min)
        return fail_at(p, err, VMD_ERROR_INVALID,
                       "%" G_GUINT64_FORMAT " is below the least, %" G_GINT64_FORMAT, v, f->min);
    if (v > f->max)
        return fail_at(p, err, VMD_ERROR_LIMIT,
                       "%" G_GUINT64_FORMAT " is above the most, %" G_GUINT64_FORMAT, v, f->max);
    return true;
}

static bool check_int(const struct codec_field *f, int64_t v, const struct path *p, GError **err)
{
    if (v < f->min)
        return fail_at(p, err, VMD_ERROR_INVALID,
                       "%" G_GINT64_FORMAT " is below the least, %" G_GINT64_FORMAT, v, f->min);
    if (v > (int64_t)f->max)
        return fail_at(p, err, VMD_ERROR_LIMIT,
                       "%" G_GINT64_FORMAT " is above the most, %" G_GINT64_FORMAT, v,
                       (int64_t)f->max);
    return true;
}

static bool check_count(const struct codec_field *f, size_t n, const struct path *p, GError **err)
{
    if (n > f->most)
        return fail_at(p, err, VMD_ERROR_LIMIT, "%zu elements, where %u are the most", n, f->most);
    if (n < f->least)
        return fail_at(p, err, VMD_ERROR_INVALID, "%zu elements, where %u are the least", n,
                       f->least);
    return true;
}

/* --- decode -------------------------------------------------------------------------------- */

static void *decode_struct(const struct codec_type *t, struct json_object *json,
                           const struct path *p, GError **err);

static bool fail_type(struct json_object *json, const char *want, const struct path *p,
                      GError **err)
{
    const char *have = json ? json_type_to_name(json_object_get_type(json)) : "null";

    return fail_at(p, err, VMD_ERROR_INVALID, "%s expected, not %s", want, have);
}

/* json-c keeps integers above INT64_MAX as uint64 and saturates on get_int64. */
static bool decode_integer(const struct codec_field *f, struct json_object *json, void *dst,
                           const struct path *p, GError **err)
{
    bool is_int = json_object_is_type(json, json_type_int);

    if (json_object_is_type(json, json_type_double))
        return fail_at(p, err, VMD_ERROR_INVALID, "an integer expected, not %.32s",
                       json_object_get_string(json));
    if (!is_int)
        return fail_type(json, "an integer", p, err);
    int64_t s = json_object_get_int64(json);
    uint64_t u = json_object_get_uint64(json);
    if (f->kind == CODEC_UINT) {
        if (s < 0)
            return fail_at(p, err, VMD_ERROR_INVALID, "%" G_GINT64_FORMAT " is negative", s);
        if (!check_uint(f, u, p, err))
            return false;
        store_uint(dst, f->size, u);
        return true;
    }
    if (s == INT64_MAX && u > (uint64_t)INT64_MAX)
        return fail_at(p, err, VMD_ERROR_LIMIT, "%" G_GUINT64_FORMAT " is too large", u);
    if (!check_int(f, s, p, err))
        return false;
    store_uint(dst, f->size, (uint64_t)s);
    return true;
}

static bool decode_double(struct json_object *json, void *dst, const struct path *p, GError **err)
{
    if (!json_object_is_type(json, json_type_double) && !json_object_is_type(json, json_type_int))
        return fail_type(json, "a number", p, err);
    double v = json_object_get_double(json);
    if (!isfinite(v))
        return fail_at(p, err, VMD_ERROR_INVALID, "not a finite number");
    *(double *)dst = v;
    return true;
}

static bool decode_enum(const struct codec_field *f, struct json_object *json, void *dst,
                        const struct path *p, GError **err)
{
    unsigned v;

    if (!json_object_is_type(json, json_type_string))
        return fail_type(json, "a string", p, err);
    const char *text = json_object_get_string(json);
    if (!enum_find(f->values, text, &v)) {
        g_autofree char *choices = enum_choices(f->values);
        return fail_at(p, err, VMD_ERROR_INVALID, "'%.64s' is not %s", text, choices);
    }
    store_uint(dst, f->size, v);
    return true;
}

static bool decode_string(const struct codec_field *f, struct json_object *json, void *dst,
                          const struct path *p, GError **err)
{
    if (!json_object_is_type(json, json_type_string))
        return fail_type(json, "a string", p, err);
    const char *text = json_object_get_string(json);
    size_t len = (size_t)json_object_get_string_len(json);
    if (!check_string(f, text, len, p, err))
        return false;
    g_free(*(char **)dst);
    *(char **)dst = g_strndup(text, len);
    return true;
}

static bool decode_value(const struct codec_field *f, struct json_object *json, void *dst,
                         const struct path *p, GError **err)
{
    switch (f->kind) {
    case CODEC_BOOL:
        if (!json_object_is_type(json, json_type_boolean))
            return fail_type(json, "true or false", p, err);
        *(bool *)dst = json_object_get_boolean(json);
        return true;
    case CODEC_INT:
    case CODEC_UINT:
        return decode_integer(f, json, dst, p, err);
    case CODEC_DOUBLE:
        return decode_double(json, dst, p, err);
    case CODEC_ENUM:
        return decode_enum(f, json, dst, p, err);
    case CODEC_STRING:
        return decode_string(f, json, dst, p, err);
    case CODEC_STRUCT: {
        void *obj = decode_struct(f->type, json, p, err);
        if (obj) {
            codec_free(f->type, *(void **)dst);
            *(void **)dst = obj;
        }
        return obj != NULL;
    }
    case CODEC_JSON:
        *(struct json_object **)dst = json_object_get(json);
        return true;
    }
    return false;
}

static bool decode_array(const struct codec_field *f, struct json_object *json, void *obj,
                         const struct path *p, GError **err)
{
    if (!json_object_is_type(json, json_type_array))
        return fail_type(json, "an array", p, err);
    size_t n = json_object_array_length(json);
    if (!check_count(f, n, p, err))
        return false;
    /* One more, so that arrays of pointers end with NULL. */
    char *base = g_malloc0_n(n + 1, element_size(f));
    *(void **)at(obj, f->offset) = base;
    *(size_t *)at(obj, f->aux) = n;
    for (size_t i = 0; i < n; i++) {
        struct path q = {.up = p, .index = i};
        struct json_object *e = json_object_array_get_idx(json, i);
        if (!decode_value(f, e, base + i * element_size(f), &q, err))
            return false;
    }
    return true;
}

static const struct codec_field *find_field(const struct codec_type *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->fields[i].name, name) == 0)
            return &t->fields[i];
    }
    return NULL;
}

static bool check_members(const struct codec_type *t, struct json_object *json,
                          const struct path *p, GError **err)
{
    json_object_object_foreach(json, name, value)
    {
        if (!find_field(t, name)) {
            (void)value;
            return fail_at(p, err, VMD_ERROR_INVALID, "no member '%.64s' is known here", name);
        }
    }
    return true;
}

static bool decode_field(const struct codec_field *f, struct json_object *json, void *obj,
                         const struct path *p, GError **err)
{
    struct path q = {.up = p, .name = f->name};
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(json, f->name, &value)) {
        if (f->flags & (CODEC_OPTIONAL | CODEC_DEFAULT))
            return true;
        return fail_at(&q, err, VMD_ERROR_INVALID, "missing");
    }
    if (f->flags & CODEC_ARRAY)
        return decode_array(f, value, obj, &q, err);
    if (is_scalar(f) && (f->flags & CODEC_OPTIONAL))
        *(bool *)at(obj, f->aux) = true;
    return decode_value(f, value, at(obj, f->offset), &q, err);
}

static void *decode_struct(const struct codec_type *t, struct json_object *json,
                           const struct path *p, GError **err)
{
    if (!json_object_is_type(json, json_type_object)) {
        fail_type(json, "an object", p, err);
        return NULL;
    }
    if (!check_members(t, json, p, err))
        return NULL;
    void *obj = codec_new(t);
    for (size_t i = 0; i < t->n; i++) {
        if (!decode_field(&t->fields[i], json, obj, p, err)) {
            codec_free(t, obj);
            return NULL;
        }
    }
    return obj;
}

void *codec_decode(const struct codec_type *t, struct json_object *json, const char *root,
                   GError **err)
{
    struct path p = {.name = root};

    return decode_struct(t, json, &p, err);
}

/* --- encode -------------------------------------------------------------------------------- */

/* Short text that reads back as the same number for all practical rates; never NaN or infinite,
 * which JSON has no words for. */
static struct json_object *encode_double(double v)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    if (!isfinite(v))
        v = 0;
    g_ascii_formatd(text, sizeof(text), "%.15g", v);
    return json_object_new_double_s(v, text);
}

static struct json_object *encode_value(const struct codec_field *f, const void *p,
                                        unsigned version)
{
    switch (f->kind) {
    case CODEC_BOOL:
        return json_object_new_boolean(*(const bool *)p);
    case CODEC_INT:
        return json_object_new_int64(load_int(p, f->size));
    case CODEC_UINT:
        return json_object_new_uint64(load_uint(p, f->size));
    case CODEC_DOUBLE:
        return encode_double(*(const double *)p);
    case CODEC_ENUM:
        g_assert(load_uint(p, f->size) < f->values->n);
        return json_object_new_string(f->values->values[load_uint(p, f->size)]);
    case CODEC_STRING:
        return json_object_new_string(*(char *const *)p);
    case CODEC_STRUCT:
        return codec_encode(f->type, *(void *const *)p, version);
    case CODEC_JSON:
        return json_object_get(*(struct json_object *const *)p);
    }
    return NULL;
}

static struct json_object *encode_array(const struct codec_field *f, const void *obj,
                                        unsigned version)
{
    const char *base = *(char *const *)at(obj, f->offset);
    size_t n = *(size_t *)at(obj, f->aux);
    struct json_object *array = json_object_new_array_ext((int)MAX(n, 1));

    for (size_t i = 0; i < n; i++)
        json_object_array_add(array, encode_value(f, base + i * element_size(f), version));
    return array;
}

struct json_object *codec_encode(const struct codec_type *t, const void *obj, unsigned version)
{
    struct json_object *json = json_object_new_object();

    for (size_t i = 0; i < t->n; i++) {
        const struct codec_field *f = &t->fields[i];

        if (!is_present(f, obj) || (version && f->since > version))
            continue;
        json_object_object_add(json, f->name,
                               f->flags & CODEC_ARRAY
                                   ? encode_array(f, obj, version)
                                   : encode_value(f, at(obj, f->offset), version));
    }
    return json;
}

/* --- check what was built in C -------------------------------------------------------------- */

static bool check_struct(const struct codec_type *t, const void *obj, const struct path *p,
                         GError **err);

static bool check_value(const struct codec_field *f, const void *v, const struct path *p,
                        GError **err)
{
    switch (f->kind) {
    case CODEC_INT:
        return check_int(f, load_int(v, f->size), p, err);
    case CODEC_UINT:
        return check_uint(f, load_uint(v, f->size), p, err);
    case CODEC_ENUM:
        if (load_uint(v, f->size) >= f->values->n)
            return fail_at(p, err, VMD_ERROR_INVALID, "no value of %s", f->values->name);
        return true;
    case CODEC_STRING: {
        const char *text = *(char *const *)v;
        if (!text)
            return fail_at(p, err, VMD_ERROR_INVALID, "missing");
        if (!g_utf8_validate(text, -1, NULL))
            return fail_at(p, err, VMD_ERROR_INVALID, "not UTF-8");
        return check_string(f, text, strlen(text), p, err);
    }
    case CODEC_STRUCT:
        if (!*(void *const *)v)
            return fail_at(p, err, VMD_ERROR_INVALID, "missing");
        return check_struct(f->type, *(void *const *)v, p, err);
    default:
        return true;
    }
}

static bool check_array(const struct codec_field *f, const void *obj, const struct path *p,
                        GError **err)
{
    const char *base = *(char *const *)at(obj, f->offset);
    size_t n = *(size_t *)at(obj, f->aux);

    if (!check_count(f, n, p, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct path q = {.up = p, .index = i};
        if (!check_value(f, base + i * element_size(f), &q, err))
            return false;
    }
    return true;
}

static bool check_struct(const struct codec_type *t, const void *obj, const struct path *p,
                         GError **err)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct codec_field *f = &t->fields[i];
        struct path q = {.up = p, .name = f->name};

        if (f->flags & CODEC_ARRAY) {
            if (!check_array(f, obj, &q, err))
                return false;
        } else if (is_present(f, obj)) {
            if (!check_value(f, at(obj, f->offset), &q, err))
                return false;
        } else if (!(f->flags & CODEC_OPTIONAL)) {
            return fail_at(&q, err, VMD_ERROR_INVALID, "missing");
        }
    }
    return true;
}

bool codec_check(const struct codec_type *t, const void *obj, const char *root, GError **err)
{
    struct path p = {.name = root};

    return check_struct(t, obj, &p, err);
}

/* --- copy ---------------------------------------------------------------------------------- */

static void copy_element(const struct codec_field *f, void *dst, const void *src)
{
    if (f->kind == CODEC_STRING)
        *(char **)dst = g_strdup(*(char *const *)src);
    else if (f->kind == CODEC_STRUCT)
        *(void **)dst = codec_copy(f->type, *(void *const *)src);
    else if (f->kind == CODEC_JSON)
        *(struct json_object **)dst = json_object_get(*(struct json_object *const *)src);
}

static void copy_array(const struct codec_field *f, void *to, const void *from)
{
    const char *src = *(char *const *)at(from, f->offset);
    size_t n = *(size_t *)at(from, f->aux), size = element_size(f);
    char *dst = g_malloc0_n(n + 1, size);

    if (n && is_scalar(f))
        memcpy(dst, src, n * size);
    for (size_t i = 0; i < n; i++)
        copy_element(f, dst + i * size, src + i * size);
    *(void **)at(to, f->offset) = dst;
}

void *codec_copy(const struct codec_type *t, const void *obj)
{
    if (!obj)
        return NULL;
    void *to = g_memdup2(obj, t->size);
    for (size_t i = 0; i < t->n; i++) {
        const struct codec_field *f = &t->fields[i];

        if (f->flags & CODEC_ARRAY)
            copy_array(f, to, obj);
        else
            copy_element(f, at(to, f->offset), at(obj, f->offset));
    }
    return to;
}

/* --- services ------------------------------------------------------------------------------ */

int rpc_service_find(const struct rpc_service *s, const char *method)
{
    for (size_t i = 0; i < s->n_methods; i++) {
        if (strcmp(s->methods[i].name, method) == 0)
            return (int)i;
    }
    return -1;
}

const struct rpc_error_row *rpc_error_row(enum vmd_error kind)
{
    G_STATIC_ASSERT(G_N_ELEMENTS(api_errors) == VMD_ERROR_GONE + 1);
    return (unsigned)kind < G_N_ELEMENTS(api_errors) ? &api_errors[kind]
                                                     : &api_errors[VMD_ERROR_INTERNAL];
}

const char *rpc_role_name(enum rpc_role role)
{
    static const char *const names[] = {
        [RPC_ROLE_READ] = "read",
        [RPC_ROLE_OPERATE] = "operate",
        [RPC_ROLE_OWNER] = "owner",
        [RPC_ROLE_ADMIN] = "admin",
    };
    return names[role];
}
