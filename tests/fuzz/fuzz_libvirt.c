/*
 * libvirt's wire: any bytes as a frame's head and then as items, which the input's own bytes
 * choose. What was read well must come out the same when it is written again.
 */
#include "proto/libvirt/xdr.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Reads the next item, of the kind KIND, and writes it to OUT. */
static void item(struct xdr_reader *r, uint32_t kind, GByteArray *out)
{
    if (kind % 3 == 0) {
        xdr_put_u32(out, xdr_u32(r));
    } else if (kind % 3 == 1) {
        xdr_put_u64(out, xdr_u64(r));
    } else {
        g_autofree char *text = xdr_string(r, LIBVIRT_STRING_MAX);
        g_assert(text || r->failed);
        if (text)
            xdr_put_string(out, text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct libvirt_head head;

    if (size < LIBVIRT_HEAD_BYTES)
        return 0;
    if (libvirt_head_read(data, &head) == 0)
        g_assert(head.length >= LIBVIRT_HEAD_BYTES && head.length <= LIBVIRT_FRAME_MAX);

    g_autoptr(GByteArray) out = g_byte_array_new();
    struct xdr_reader r = {data + LIBVIRT_HEAD_BYTES, data + size, false};
    for (uint32_t kinds = head.serial; !r.failed && r.at < r.end; kinds = kinds / 3 + 1)
        item(&r, kinds, out);
    if (xdr_done(&r)) {
        g_assert(out->len == size - LIBVIRT_HEAD_BYTES);
        g_assert(memcmp(out->data, data + LIBVIRT_HEAD_BYTES, out->len) == 0 || out->len == 0);
    }
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    struct libvirt_head head = {.program = 0x20008086, .version = 1, .procedure = 23, .serial = 2};

    if (n >= 2)
        return false;
    size_t start = libvirt_frame_begin(out, &head);
    xdr_put_string(out, n == 0 ? "alpha" : "");
    return libvirt_frame_end(out, start) == 0;
}
