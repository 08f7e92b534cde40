/* JSON: whatever is read must be written as text that reads as the same. */
#include "proto/jsonrpc/json.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(json_object) value = NULL;
    g_autoptr(json_object) again = NULL;
    g_autoptr(GError) err = NULL;
    size_t length;

    if (!json_read((const char *)data, size, &value, &err)) {
        g_assert(err && !value);
        return 0;
    }
    g_autofree char *text = json_write(value, &length);
    g_assert(!err && json_read(text, length, &again, NULL));
    g_autofree char *text_again = json_write(again, NULL);
    g_assert_cmpstr(text, ==, text_again);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        "null", "[1,-2,3.5e-7,true,false,null]", "{\"a\":{\"b\":[{}]},\"c\":\"\\u00e9\\ud83d\\ude00\\n\"}",
        "[9223372036854775807,18446744073709551615,-9223372036854775808]", "\"\\\"\\\\\\/\\b\\f\"",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    };

    if (n >= G_N_ELEMENTS(seeds))
        return false;
    g_byte_array_append(out, (const guint8 *)seeds[n], (guint)strlen(seeds[n]));
    return true;
}
