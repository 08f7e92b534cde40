/*
 * The stream of one object: u16 version, u16 fields, u8 length and bytes of the table's name, then
 * a field each: u8 length and bytes of its name, u8 type, u32 count, the elements. Struct elements
 * are objects of the same shape.
 */
#include "base/state.h"

static const uint8_t widths[] = {
    [STATE_U8] = 1, [STATE_U16] = 2, [STATE_U32] = 4, [STATE_U64] = 8, [STATE_STRUCT] = 0};

static void put_uint(GByteArray *out, uint64_t v, unsigned width)
{
    uint64_t le = GUINT64_TO_LE(v);

    g_byte_array_append(out, (const guint8 *)&le, width);
}

static void put_name(GByteArray *out, const char *name)
{
    size_t n = strlen(name);

    g_assert(n < 64);
    put_uint(out, n, 1);
    g_byte_array_append(out, (const guint8 *)name, (guint)n);
}

static uint64_t get_host(const void *p, unsigned width)
{
    switch (width) {
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

static void set_host(void *p, unsigned width, uint64_t v)
{
    switch (width) {
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
        break;
    }
}

void state_save(const struct state_desc *desc, const void *object, GByteArray *out)
{
    put_uint(out, desc->version, 2);
    put_uint(out, desc->n_fields, 2);
    put_name(out, desc->name);
    for (uint32_t i = 0; i < desc->n_fields; i++) {
        const struct state_field *f = &desc->fields[i];
        const char *at = (const char *)object + f->offset;

        put_name(out, f->name);
        put_uint(out, f->type, 1);
        put_uint(out, f->count, 4);
        for (uint32_t k = 0; k < f->count; k++) {
            if (f->type == STATE_STRUCT)
                state_save(f->sub, at + (size_t)k * f->sub->size, out);
            else
                put_uint(out, get_host(at + (size_t)k * widths[f->type], widths[f->type]),
                         widths[f->type]);
        }
    }
}

/* A cursor over the stream; every read checks what is left. */
struct reader {
    const uint8_t *at, *end;
};

static bool get_uint(struct reader *r, unsigned width, uint64_t *v)
{
    uint64_t le = 0;

    if ((size_t)(r->end - r->at) < width)
        return false;
    memcpy(&le, r->at, width);
    r->at += width;
    *v = GUINT64_FROM_LE(le);
    return true;
}

static bool get_name(struct reader *r, char name[64])
{
    uint64_t n;

    if (!get_uint(r, 1, &n) || n > 63 || (size_t)(r->end - r->at) < n)
        return false;
    memcpy(name, r->at, n);
    name[n] = 0;
    r->at += n;
    return true;
}

static const struct state_field *field_named(const struct state_desc *desc, const char *name)
{
    for (uint32_t i = 0; i < desc->n_fields; i++) {
        if (strcmp(desc->fields[i].name, name) == 0)
            return &desc->fields[i];
    }
    return NULL;
}

/* VERSION is of what is read. */
static bool load_field(const struct state_desc *desc, uint64_t version, struct reader *r,
                       void *object, GError **err)
{
    char name[64];
    uint64_t type, count, v;

    if (!get_name(r, name) || !get_uint(r, 1, &type) || !get_uint(r, 4, &count))
        return vmd_fail(err, VMD_ERROR_INVALID, "state of '%s' is cut short", desc->name);
    const struct state_field *f = field_named(desc, name);
    if ((!f || f->type != type || f->count != count) && version < desc->version)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "state of '%s' is of version %u, which is too old for this vmd: its field "
                        "'%s' is another now",
                        desc->name, (unsigned)version, name);
    if (!f || f->type != type || f->count != count)
        return vmd_fail(err, VMD_ERROR_INVALID, "state of '%s' has an unknown field '%s'",
                        desc->name, name);
    for (uint32_t k = 0; k < f->count; k++) {
        char *at = (char *)object + f->offset;

        if (f->type == STATE_STRUCT) {
            size_t used;
            if (!state_load(f->sub, at + (size_t)k * f->sub->size, r->at,
                            (size_t)(r->end - r->at), &used, err))
                return false;
            r->at += used;
        } else {
            if (!get_uint(r, widths[f->type], &v))
                return vmd_fail(err, VMD_ERROR_INVALID, "state of '%s' is cut short", desc->name);
            set_host(at + (size_t)k * widths[f->type], widths[f->type], v);
        }
    }
    return true;
}

bool state_load(const struct state_desc *desc, void *object, const uint8_t *data, size_t length,
                size_t *used, GError **err)
{
    struct reader r = {data, data + length};
    uint64_t version, n;
    char name[64];

    if (!get_uint(&r, 2, &version) || !get_uint(&r, 2, &n) || !get_name(&r, name))
        return vmd_fail(err, VMD_ERROR_INVALID, "state of '%s' is cut short", desc->name);
    if (strcmp(name, desc->name) != 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "state of '%s' where '%s' was expected", name,
                        desc->name);
    if (version > desc->version)
        return vmd_fail(err, VMD_ERROR_INVALID, "state of '%s' is of version %u, newer than %u",
                        name, (unsigned)version, desc->version);
    for (uint64_t i = 0; i < n; i++) {
        if (!load_field(desc, version, &r, object, err))
            return false;
    }
    *used = (size_t)(r.at - data);
    return true;
}

static void print_into(const struct state_desc *desc, const void *object, GString *out)
{
    g_string_append_printf(out, "%s {", desc->name);
    for (uint32_t i = 0; i < desc->n_fields; i++) {
        const struct state_field *f = &desc->fields[i];
        const char *at = (const char *)object + f->offset;

        g_string_append_printf(out, " %s=", f->name);
        for (uint32_t k = 0; k < f->count; k++) {
            if (k)
                g_string_append_c(out, ',');
            if (f->type == STATE_STRUCT)
                print_into(f->sub, at + (size_t)k * f->sub->size, out);
            else
                g_string_append_printf(
                    out, "0x%" G_GINT64_MODIFIER "x",
                    get_host(at + (size_t)k * widths[f->type], widths[f->type]));
        }
    }
    g_string_append(out, " }");
}

char *state_print(const struct state_desc *desc, const void *object)
{
    GString *out = g_string_new(NULL);

    print_into(desc, object, out);
    return g_string_free(out, FALSE);
}
