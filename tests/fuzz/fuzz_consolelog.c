/*
 * The logs of consoles as any process finds them: whatever a guest printed and wherever a reader begins,
 * each piece is valid for JSON, is no longer than was asked for, and together they are all that is kept.
 * The input is the encoding, the length of a piece, the first offset, and the log.
 */
#include "base/seglog.h"
#include "proto/consolelog.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

enum { HEAD = 4 };

/* Reads on to the end; as base64 the bytes must be those of the log. */
static void read_all(uint64_t at, uint32_t limit, enum text_encoding encoding, const uint8_t *log)
{
    while (true) {
        g_autoptr(GError) err = NULL;
        g_autoptr(console_chunk) chunk =
            consolelog_read(fuzz_folder(), "serial0", &at, limit, encoding, &err);
        size_t n = 0;
        g_assert(chunk && !err && g_utf8_validate(chunk->data, -1, NULL));
        g_assert(chunk->offset >= at || at > chunk->total);
        g_assert(chunk->next >= chunk->offset && chunk->next - chunk->offset <= limit);
        if (encoding == TEXT_ENCODING_BASE64) {
            g_autofree uint8_t *bytes = consolelog_decode(chunk->data, encoding, &n, NULL);
            g_assert(bytes && n == chunk->next - chunk->offset);
            g_assert(n == 0 || memcmp(bytes, log + chunk->offset, n) == 0);
        }
        if (chunk->next == chunk->offset) {
            g_assert(chunk->next >= chunk->total);
            return;
        }
        at = chunk->next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return 0;
    /* Small pieces and a small log, so that both are cut in many places. */
    uint64_t keep = 64u << (data[0] >> 4), at = data[2] | (uint64_t)data[3] << 8;
    enum text_encoding encoding = data[0] & 1 ? TEXT_ENCODING_BASE64 : TEXT_ENCODING_TEXT;
    struct seglog *log = seglog_create(fuzz_folder(), "serial0", keep, NULL);
    size_t n = MIN(size - HEAD, 512), piece = 1 + data[1] % 61;

    g_assert(log);
    for (size_t i = 0; i < n; i += piece)
        g_assert(seglog_append(log, data + HEAD + i, MIN(piece, n - i)) == 0);
    g_assert(seglog_total(log) == n);
    read_all(at, 1 + data[1] % 200, encoding, data + HEAD);
    seglog_free(log);

    g_autofree char *text = g_strndup((const char *)data + HEAD, n);
    g_autofree uint8_t *decoded = consolelog_decode(text, encoding, &n, NULL);
    g_assert(decoded || encoding == TEXT_ENCODING_BASE64);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const texts[] = {
        "Linux version 6.12\r\nn\xc3\xa4\x63hste \xe2\x82\xac \xf0\x9f\x98\x80 \x1b[31mrot\x1b[0m\n",
        "\xff\xfe\xc3(\xe2\x82\xf0\x9f\x98",
        "aGVsbG8gd29ybGQ=",
    };
    static const uint8_t heads[][HEAD] = {{0, 7, 0, 0}, {1, 3, 5, 0}, {0x20, 200, 0, 1}};

    if (n >= 9)
        return false;
    g_byte_array_append(out, heads[n % 3], HEAD);
    for (unsigned i = 0; i < 4; i++)
        g_byte_array_append(out, (const guint8 *)texts[n / 3], (guint)strlen(texts[n / 3]));
    return true;
}
