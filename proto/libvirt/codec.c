/*
 * proto/libvirt/codec: see codec.h. Each of reading, writing and freeing walks a layout's fields.
 * Layouts are nested only as deep as the table, which cannot name a struct within itself.
 */
#include "proto/libvirt/codec.h"

#include <errno.h>
#include <string.h>

enum { UUID_BYTES = 16, LEAST_ITEM = 4 /* bytes of the smallest item on the wire */ };

static void read_struct(struct xdr_reader *r, const struct libvirt_layout *layout, char *out);
static bool write_struct(GByteArray *out, const struct libvirt_layout *layout, const char *in);

const struct libvirt_call *libvirt_call_find(int32_t number)
{
    for (size_t i = 0; i < libvirt_calls_count; i++) {
        if (libvirt_calls[i].number == number)
            return &libvirt_calls[i];
    }
    return NULL;
}

/* Bytes of one item in C. */
static size_t item_size(const struct libvirt_field *f)
{
    switch (f->kind) {
    case LIBVIRT_U32:
        return sizeof(uint32_t);
    case LIBVIRT_STRUCT:
        return f->of->size;
    case LIBVIRT_PARAM:
        return sizeof(struct libvirt_param);
    default:
        return sizeof(char *);
    }
}

/* Whether an optional item follows. */
static bool read_there(struct xdr_reader *r)
{
    uint32_t there = xdr_u32(r);

    r->failed |= there > 1;
    return there == 1 && !r->failed;
}

/* How a value of TYPE is written: bits, or 0 for text; -1: there is no such type. */
static int param_bits(uint32_t type)
{
    static const int bits[] = {-1, 32, 32, 64, 64, 64, 32, 0};

    return type < G_N_ELEMENTS(bits) ? bits[type] : -1;
}

static void read_param(struct xdr_reader *r, struct libvirt_param *out)
{
    out->field = xdr_string(r, LIBVIRT_STRING_MAX);
    out->type = xdr_u32(r);
    switch (param_bits(out->type)) {
    case 32:
        out->number = xdr_u32(r);
        break;
    case 64:
        out->number = xdr_u64(r);
        break;
    case 0:
        out->text = xdr_string(r, LIBVIRT_STRING_MAX);
        break;
    default:
        r->failed = true;
    }
}

static bool write_text(GByteArray *out, const char *text)
{
    if (strlen(text) > LIBVIRT_STRING_MAX)
        return false;
    xdr_put_string(out, text);
    return true;
}

static bool write_param(GByteArray *out, const struct libvirt_param *in)
{
    if (!write_text(out, in->field))
        return false;
    xdr_put_u32(out, in->type);
    switch (param_bits(in->type)) {
    case 32:
        xdr_put_u32(out, (uint32_t)in->number);
        return true;
    case 64:
        xdr_put_u64(out, in->number);
        return true;
    case 0:
        return write_text(out, in->text);
    }
    return false;
}

/* ASCII alone. */
static void read_chars(struct xdr_reader *r, char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t c = xdr_u32(r);
        r->failed |= c > 127;
        out[i] = (char)c;
    }
}

static void read_item(struct xdr_reader *r, const struct libvirt_field *f, char *at)
{
    const uint8_t *uuid;

    switch (f->kind) {
    case LIBVIRT_U32:
        *(uint32_t *)(void *)at = xdr_u32(r);
        break;
    case LIBVIRT_U64:
        *(uint64_t *)(void *)at = xdr_u64(r);
        break;
    case LIBVIRT_OPT_STRING:
        if (!read_there(r))
            break;
        G_GNUC_FALLTHROUGH;
    case LIBVIRT_STRING:
        *(char **)(void *)at = xdr_string(r, LIBVIRT_STRING_MAX);
        break;
    case LIBVIRT_UUID:
        uuid = xdr_opaque(r, UUID_BYTES);
        if (uuid)
            memcpy(at, uuid, UUID_BYTES);
        break;
    case LIBVIRT_STRUCT:
        read_struct(r, f->of, at);
        break;
    case LIBVIRT_CHARS:
        read_chars(r, at, f->count_offset);
        break;
    case LIBVIRT_PARAM:
        read_param(r, (struct libvirt_param *)(void *)at);
        break;
    case LIBVIRT_ABSENT:
        r->failed |= read_there(r);
        break;
    case LIBVIRT_BYTES: /* arrays alone */
        break;
    }
}

static void read_bytes(struct xdr_reader *r, const struct libvirt_field *f, char *out)
{
    uint32_t count = xdr_u32(r);
    const uint8_t *bytes = count <= f->max && !r->failed ? xdr_opaque(r, count) : NULL;

    r->failed |= !bytes;
    if (r->failed)
        return;
    *(void **)(void *)(out + f->offset) = g_memdup2(bytes, count);
    *(uint32_t *)(void *)(out + f->count_offset) = count;
}

static void read_array(struct xdr_reader *r, const struct libvirt_field *f, char *out)
{
    if (f->kind == LIBVIRT_BYTES) {
        read_bytes(r, f, out);
        return;
    }
    uint32_t count = xdr_u32(r);

    if (count > f->max || count > (size_t)(r->end - r->at) / LEAST_ITEM)
        r->failed = true;
    if (r->failed || count == 0)
        return;
    char *items = g_malloc0_n(count, item_size(f));
    *(char **)(void *)(out + f->offset) = items;
    *(uint32_t *)(void *)(out + f->count_offset) = count;
    for (uint32_t i = 0; i < count && !r->failed; i++)
        read_item(r, f, items + i * item_size(f));
}

static void read_struct(struct xdr_reader *r, const struct libvirt_layout *layout, char *out)
{
    for (size_t i = 0; i < layout->fields_count && !r->failed; i++) {
        const struct libvirt_field *f = &layout->fields[i];
        if (f->max > 0)
            read_array(r, f, out);
        else
            read_item(r, f, out + f->offset);
    }
}

int libvirt_read(const struct libvirt_layout *layout, const uint8_t *bytes, size_t length,
                 void *out)
{
    struct xdr_reader r = {bytes, bytes + length, false};

    if (!layout)
        return length == 0 ? 0 : -EBADMSG;
    g_autofree char *got = g_malloc0(layout->size);
    read_struct(&r, layout, got);
    if (!xdr_done(&r)) {
        libvirt_clear(layout, got);
        return -EBADMSG;
    }
    memcpy(out, got, layout->size);
    return 0;
}

static bool write_item(GByteArray *out, const struct libvirt_field *f, const char *at)
{
    const char *text;

    switch (f->kind) {
    case LIBVIRT_U32:
        xdr_put_u32(out, *(const uint32_t *)(const void *)at);
        return true;
    case LIBVIRT_U64:
        xdr_put_u64(out, *(const uint64_t *)(const void *)at);
        return true;
    case LIBVIRT_OPT_STRING:
        text = *(char *const *)(const void *)at;
        xdr_put_u32(out, text != NULL);
        if (!text)
            return true;
        G_GNUC_FALLTHROUGH;
    case LIBVIRT_STRING:
        text = *(char *const *)(const void *)at;
        return write_text(out, text);
    case LIBVIRT_UUID:
        xdr_put_opaque(out, at, UUID_BYTES);
        return true;
    case LIBVIRT_STRUCT:
        return write_struct(out, f->of, at);
    case LIBVIRT_CHARS:
        for (size_t i = 0; i < f->count_offset; i++)
            xdr_put_u32(out, (uint8_t)at[i]);
        return true;
    case LIBVIRT_PARAM:
        return write_param(out, (const struct libvirt_param *)(const void *)at);
    case LIBVIRT_ABSENT:
        xdr_put_u32(out, 0);
        return true;
    case LIBVIRT_BYTES:
        break;
    }
    return false;
}

static bool write_array(GByteArray *out, const struct libvirt_field *f, const char *in)
{
    uint32_t count = *(const uint32_t *)(const void *)(in + f->count_offset);
    const char *items = *(char *const *)(const void *)(in + f->offset);

    if (count > f->max)
        return false;
    xdr_put_u32(out, count);
    if (f->kind == LIBVIRT_BYTES) {
        xdr_put_opaque(out, items, count);
        return true;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!write_item(out, f, items + i * item_size(f)))
            return false;
    }
    return true;
}

static bool write_struct(GByteArray *out, const struct libvirt_layout *layout, const char *in)
{
    for (size_t i = 0; i < layout->fields_count; i++) {
        const struct libvirt_field *f = &layout->fields[i];
        if (f->max > 0 ? !write_array(out, f, in) : !write_item(out, f, in + f->offset))
            return false;
    }
    return true;
}

int libvirt_write(const struct libvirt_layout *layout, const void *in, GByteArray *out)
{
    guint before = out->len;

    if (write_struct(out, layout, in))
        return 0;
    g_byte_array_set_size(out, before);
    return -EMSGSIZE;
}

static void clear_item(const struct libvirt_field *f, char *at)
{
    if (f->kind == LIBVIRT_PARAM) {
        struct libvirt_param *param = (struct libvirt_param *)(void *)at;
        g_free(param->field);
        g_free(param->text);
    }
    if (f->kind == LIBVIRT_STRING || f->kind == LIBVIRT_OPT_STRING)
        g_free(*(char **)(void *)at);
    else if (f->kind == LIBVIRT_STRUCT)
        libvirt_clear(f->of, at);
}

void libvirt_clear(const struct libvirt_layout *layout, void *at)
{
    char *base = at;

    for (size_t i = 0; i < layout->fields_count; i++) {
        const struct libvirt_field *f = &layout->fields[i];
        if (f->max == 0) {
            clear_item(f, base + f->offset);
            continue;
        }
        char *items = *(char **)(void *)(base + f->offset);
        uint32_t count = *(uint32_t *)(void *)(base + f->count_offset);
        for (uint32_t n = 0; n < count && f->kind != LIBVIRT_BYTES; n++)
            clear_item(f, items + n * item_size(f));
        g_free(items);
    }
    memset(at, 0, layout->size);
}
