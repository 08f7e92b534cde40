/*
 * proto/libvirt/xdr: see xdr.h. Items are big-endian and take multiples of 4 bytes.
 */
#include "proto/libvirt/xdr.h"

#include <errno.h>
#include <string.h>

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int libvirt_head_read(const uint8_t bytes[LIBVIRT_HEAD_BYTES], struct libvirt_head *head)
{
    *head = (struct libvirt_head){
        .length = be32(bytes),
        .program = be32(bytes + 4),
        .version = be32(bytes + 8),
        .procedure = (int32_t)be32(bytes + 12),
        .type = (int32_t)be32(bytes + 16),
        .serial = be32(bytes + 20),
        .status = (int32_t)be32(bytes + 24),
    };
    return head->length < LIBVIRT_HEAD_BYTES || head->length > LIBVIRT_FRAME_MAX ? -EMSGSIZE : 0;
}

size_t libvirt_frame_begin(GByteArray *out, const struct libvirt_head *head)
{
    size_t start = out->len;

    xdr_put_u32(out, 0);
    xdr_put_u32(out, head->program);
    xdr_put_u32(out, head->version);
    xdr_put_u32(out, (uint32_t)head->procedure);
    xdr_put_u32(out, (uint32_t)head->type);
    xdr_put_u32(out, head->serial);
    xdr_put_u32(out, (uint32_t)head->status);
    return start;
}

int libvirt_frame_end(GByteArray *out, size_t start)
{
    size_t length = out->len - start;

    if (length > LIBVIRT_FRAME_MAX) {
        g_byte_array_set_size(out, (guint)start);
        return -EMSGSIZE;
    }
    uint32_t wire = GUINT32_TO_BE((uint32_t)length);
    memcpy(out->data + start, &wire, sizeof(wire));
    return 0;
}

const uint8_t *xdr_opaque(struct xdr_reader *r, uint32_t length)
{
    size_t padded = ((size_t)length + 3) & ~(size_t)3;
    const uint8_t *bytes = r->at;

    if (r->failed || (size_t)(r->end - r->at) < padded) {
        r->failed = true;
        return NULL;
    }
    for (size_t i = length; i < padded; i++) {
        if (bytes[i] != 0) {
            r->failed = true;
            return NULL;
        }
    }
    r->at += padded;
    return bytes;
}

uint32_t xdr_u32(struct xdr_reader *r)
{
    const uint8_t *p = xdr_opaque(r, 4);
    return p ? be32(p) : 0;
}

uint64_t xdr_u64(struct xdr_reader *r)
{
    const uint8_t *p = xdr_opaque(r, 8);
    return p ? (uint64_t)be32(p) << 32 | be32(p + 4) : 0;
}

char *xdr_string(struct xdr_reader *r, uint32_t max)
{
    uint32_t length = xdr_u32(r);

    if (length > max)
        r->failed = true;
    const char *text = (const char *)xdr_opaque(r, length);
    if (!text || !g_utf8_validate_len(text, length, NULL)) {
        r->failed = true;
        return NULL;
    }
    return g_strndup(text, length);
}

bool xdr_done(const struct xdr_reader *r)
{
    return !r->failed && r->at == r->end;
}

void xdr_put_u32(GByteArray *out, uint32_t value)
{
    uint32_t wire = GUINT32_TO_BE(value);
    g_byte_array_append(out, (const guint8 *)&wire, sizeof(wire));
}

void xdr_put_u64(GByteArray *out, uint64_t value)
{
    xdr_put_u32(out, (uint32_t)(value >> 32));
    xdr_put_u32(out, (uint32_t)value);
}

void xdr_put_opaque(GByteArray *out, const void *bytes, uint32_t length)
{
    static const guint8 zeros[3];

    if (length > 0)
        g_byte_array_append(out, bytes, length);
    g_byte_array_append(out, zeros, (4 - length % 4) % 4);
}

void xdr_put_string(GByteArray *out, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);

    xdr_put_u32(out, length);
    xdr_put_opaque(out, text, length);
}
