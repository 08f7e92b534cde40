/* Sources of guests: what is read is within the bytes, and written again it is just those. */
#include "gpu/protocol/source.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *bytes = g_memdup2(data, MAX(size, 1));
    g_autofree uint8_t *again = g_malloc(size + 1);
    g_autofree struct gpu_source *s = g_new0(struct gpu_source, 1);

    if (!gpu_source_read(bytes, size, s))
        return 0;
    uint32_t n = gpu_source_strings(s->headers, s->names, s->options);
    g_assert(n >= GPU_SOURCE_REST && n <= GPU_SOURCE_STRINGS);
    g_assert(gpu_source_options(s) + s->options == s->strings + n);
    g_assert(gpu_source_bytes(s) == size);
    gpu_source_write(s, again);
    g_assert(memcmp(again, data, size) == 0);
    return 0;
}

#define STRINGS(text) text, sizeof(text)

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const struct {
        struct gpu_source_head head;
        const char *strings;
        guint bytes;
    } seeds[] = {
        {{GPU_SOURCE_MAGIC, 0, 0, 0}, STRINGS("\0text")},
        {{GPU_SOURCE_MAGIC, 1, 2, 1}, STRINGS("a.hip\0#include <h>\0h\0int i;\0f<int>\0g\0-O3")},
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const uint8_t *)&seeds[n].head, sizeof(seeds[n].head));
    g_byte_array_append(out, (const uint8_t *)seeds[n].strings, seeds[n].bytes);
    return true;
}
