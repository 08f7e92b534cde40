/* Sizes as people write them: whatever is taken must be a number that reads back. */
#include "base/base.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) err = NULL;
    uint64_t bytes = 42;

    if (size_parse(text, &bytes, &err)) {
        g_autofree char *shown = size_format(bytes);
        g_assert(!err && bytes <= INT64_MAX && shown[0]);
    } else {
        g_assert(err && bytes == 42);
    }
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {"512", "1.5G", "64MiB", "9223372036854775807", "0K", "7T"};

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
