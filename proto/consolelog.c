/* Bytes of a serial line into JSON strings and back. */
#include "proto/consolelog.h"

#include "base/seglog.h"

/* How many bytes at the end of DATA begin a UTF-8 character that is not complete. */
static size_t incomplete_tail(const char *data, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)data[n - back];
        size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

        if ((c & 0xc0) == 0x80)
            continue;
        return need > back ? back : 0;
    }
    return 0;
}

/* UTF-8 without NUL: both kinds of byte that have no place in it become U+FFFD. */
static char *as_text(const char *data, size_t n)
{
    GString *out = g_string_sized_new(n);

    while (n) {
        size_t run = strnlen(data, n);
        g_autofree char *valid = g_utf8_make_valid(data, (gssize)run);
        g_string_append(out, valid);
        data += run;
        n -= run;
        if (n) {
            g_string_append(out, "\xef\xbf\xbd");
            data++;
            n--;
        }
    }
    return g_string_free(out, FALSE);
}

struct console_chunk *consolelog_read(const char *dir, const char *name, const uint64_t *offset,
                                      uint32_t limit, enum text_encoding encoding, GError **err)
{
    g_autofree char *buf = g_malloc(limit);
    struct seglog_extent extent;
    uint64_t at = offset ? *offset : 0;

    if (seglog_stat(dir, name, &extent) < 0) {
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "there is no log of console %s", name);
        return NULL;
    }
    at = CLAMP(at, extent.first, extent.total);
    ssize_t n = seglog_pread(dir, name, &at, buf, limit);
    if (n < 0) {
        vmd_set_errno(err, (int)-n, "reading the log of console %s", name);
        return NULL;
    }
    size_t use = (size_t)n;
    if (encoding == TEXT_ENCODING_TEXT && use > 3)
        use -= incomplete_tail(buf, use);

    struct console_chunk *chunk = console_chunk_new();
    chunk->data = encoding == TEXT_ENCODING_TEXT ? as_text(buf, use)
                                                 : g_base64_encode((guchar *)buf, use);
    chunk->encoding = encoding;
    chunk->offset = at;
    chunk->next = at + use;
    chunk->first = extent.first;
    chunk->total = MAX(extent.total, chunk->next);
    return chunk;
}

uint8_t *consolelog_decode(const char *text, enum text_encoding encoding, size_t *length,
                           GError **err)
{
    size_t n = strlen(text);

    if (encoding == TEXT_ENCODING_TEXT) {
        *length = n;
        return g_memdup2(text, n + 1);
    }
    if (n % 4 || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") !=
                     n) {
        vmd_fail(err, VMD_ERROR_INVALID, "params.data is not base64");
        return NULL;
    }
    return n ? g_base64_decode(text, length) : (*length = 0, g_malloc0(1));
}
