/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/protocol/source: a source that a guest wants to be compiled, with all that belongs to it, as
 * the bytes of an image: struct gpu_source_head and strings, each with a 0 behind it. Nothing here
 * needs more than the C library: guests compile it, too.
 */
#ifndef GPU_PROTOCOL_SOURCE_H
#define GPU_PROTOCOL_SOURCE_H

#include "gpu/protocol/record.h"

enum { GPU_SOURCE_MAGIC = 0x43525347 };

struct gpu_source_head {
    uint32_t magic, headers, names, options;
};

_Static_assert(sizeof(struct gpu_source_head) == 16, "as on the wire");

/* The strings in their order: the source's name, which may be empty, and its text; names of the
 * headers, and texts of the headers; name expressions; options. */
struct gpu_source {
    uint32_t headers, names, options;
    const char *strings[GPU_SOURCE_STRINGS];
};

enum { GPU_SOURCE_NAME, GPU_SOURCE_TEXT, GPU_SOURCE_REST };

static inline const char **gpu_source_header_names(struct gpu_source *s)
{
    return s->strings + GPU_SOURCE_REST;
}

static inline const char **gpu_source_header_texts(struct gpu_source *s)
{
    return s->strings + GPU_SOURCE_REST + s->headers;
}

static inline const char **gpu_source_names(struct gpu_source *s)
{
    return s->strings + GPU_SOURCE_REST + 2 * s->headers;
}

static inline const char **gpu_source_options(struct gpu_source *s)
{
    return s->strings + GPU_SOURCE_REST + 2 * s->headers + s->names;
}

/* How many strings those numbers make; 0: more than there may be. */
uint32_t gpu_source_strings(uint32_t headers, uint32_t names, uint32_t options);

/* What the LENGTH bytes, which stay, say; false where that is not just a source. */
bool gpu_source_read(const void *bytes, size_t length, struct gpu_source *out);

/* Bytes of S, of which all strings are set; and those bytes. */
size_t gpu_source_bytes(const struct gpu_source *s);
void gpu_source_write(const struct gpu_source *s, void *to);

#endif
