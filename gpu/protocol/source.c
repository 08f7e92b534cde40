/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Sources as bytes. See source.h. */
#include "gpu/protocol/source.h"

#include <string.h>

uint32_t gpu_source_strings(uint32_t headers, uint32_t names, uint32_t options)
{
    uint64_t n = GPU_SOURCE_REST + 2 * (uint64_t)headers + names + options;

    return n <= GPU_SOURCE_STRINGS ? (uint32_t)n : 0;
}

bool gpu_source_read(const void *bytes, size_t length, struct gpu_source *out)
{
    struct gpu_source_head head;
    const char *at = (const char *)bytes + sizeof(head), *end = (const char *)bytes + length;

    if (length < sizeof(head))
        return false;
    memcpy(&head, bytes, sizeof(head));
    uint32_t n = gpu_source_strings(head.headers, head.names, head.options);
    if (head.magic != GPU_SOURCE_MAGIC || !n)
        return false;
    out->headers = head.headers;
    out->names = head.names;
    out->options = head.options;
    for (uint32_t i = 0; i < n; i++) {
        const char *zero = memchr(at, 0, (size_t)(end - at));
        if (!zero)
            return false;
        out->strings[i] = at;
        at = zero + 1;
    }
    return at == end;
}

size_t gpu_source_bytes(const struct gpu_source *s)
{
    size_t bytes = sizeof(struct gpu_source_head);

    for (uint32_t i = 0, n = gpu_source_strings(s->headers, s->names, s->options); i < n; i++)
        bytes += strlen(s->strings[i]) + 1;
    return bytes;
}

void gpu_source_write(const struct gpu_source *s, void *to)
{
    const struct gpu_source_head head = {GPU_SOURCE_MAGIC, s->headers, s->names, s->options};
    char *at = (char *)to + sizeof(head);

    memcpy(to, &head, sizeof(head));
    for (uint32_t i = 0, n = gpu_source_strings(s->headers, s->names, s->options); i < n; i++) {
        size_t bytes = strlen(s->strings[i]) + 1;
        memcpy(at, s->strings[i], bytes);
        at += bytes;
    }
}
