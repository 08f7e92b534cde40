/*
 * libvirt's wire: any bytes as a frame's head, then as items, which the input's own bytes choose,
 * and as the arguments, result and error of the procedure that the head names. What was read well
 * must come out the same when it is written again.
 */
#include "proto/libvirt/calls.h"
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

/* Reads the bytes as a struct of LAYOUT. */
static void payload(const struct libvirt_layout *layout, const uint8_t *bytes, size_t size)
{
    union {
        uint64_t align;
        char bytes[256];
    } at;

    if (!layout)
        return;
    g_assert(layout->size <= sizeof(at));
    if (libvirt_read(layout, bytes, size, &at) < 0)
        return;
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_assert(libvirt_write(layout, &at, out) == 0);
    g_assert(out->len == size && (size == 0 || memcmp(out->data, bytes, size) == 0));
    libvirt_clear(layout, &at);
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
        g_assert(!out->len || memcmp(out->data, data + LIBVIRT_HEAD_BYTES, out->len) == 0);
    }

    const struct libvirt_call *call = libvirt_call_find(head.procedure);
    if (call) {
        payload(call->args, data + LIBVIRT_HEAD_BYTES, size - LIBVIRT_HEAD_BYTES);
        payload(call->result, data + LIBVIRT_HEAD_BYTES, size - LIBVIRT_HEAD_BYTES);
    }
    payload(&libvirt_error_layout, data + LIBVIRT_HEAD_BYTES, size - LIBVIRT_HEAD_BYTES);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    struct libvirt_dom dom = {.name = (char *)"alpha", .uuid = {1, 2, 3}, .id = 4};
    struct libvirt_doms doms = {.doms_count = 1, .doms = &dom, .count = 1};
    struct libvirt_error error = {.code = 42, .message = (char *)"none", .level = 2};
    struct libvirt_open open = {.name = (char *)"vmd:///session"};
    const struct {
        int32_t procedure;
        const struct libvirt_layout *layout;
        const void *value;
    } seeds[] = {
        {LIBVIRT_CONNECT_LIST_ALL_DOMAINS, &libvirt_doms_layout, &doms},
        {LIBVIRT_DOMAIN_CREATE, &libvirt_dom_layout, &dom},
        {LIBVIRT_DOMAIN_LOOKUP_BY_NAME, &libvirt_error_layout, &error},
        {LIBVIRT_CONNECT_OPEN, &libvirt_open_layout, &open},
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    struct libvirt_head head = {
        .program = 0x20008086, .version = 1, .procedure = seeds[n].procedure, .serial = 2};
    size_t start = libvirt_frame_begin(out, &head);
    return libvirt_write(seeds[n].layout, seeds[n].value, out) == 0 &&
           libvirt_frame_end(out, start) == 0;
}
