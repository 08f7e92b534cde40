/* Lists of hot blocks: what is taken is within all bounds, and is written as it was read. */
#include "base/hotlist.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) err = NULL;
    struct hotlist *list = hotlist_decode(data, size, 0, &err);

    if (!list) {
        g_assert(err);
        return 0;
    }
    g_assert(list->pages->len <= LIMIT_XLATE_WARM_PAGES);
    g_autoptr(GByteArray) again = hotlist_encode(list);
    g_assert(again->len == size && memcmp(again->data, data, size) == 0);
    hotlist_free(hotlist_merge(list, list));
    hotlist_free(list);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    struct hotlist *list = hotlist_new(0);
    uint8_t digest[HOTLIST_DIGEST] = {0};

    for (unsigned i = 0; i < n * 2; i++) {
        digest[0] = (uint8_t)i;
        struct hotlist_page *page = hotlist_page(list, i / 2, digest, i * HOTLIST_PAGE);
        for (unsigned k = 0; k <= i; k++)
            hotlist_block(list, page, (uint16_t)(k * 2), k % 3, 1 + k);
    }
    g_autoptr(GByteArray) bytes = hotlist_encode(list);
    g_byte_array_append(out, bytes->data, bytes->len);
    hotlist_free(list);
    return n < 4;
}
