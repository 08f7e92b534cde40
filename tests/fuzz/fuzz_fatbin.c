/*
 * Fat binaries: whatever their sizes say, what is read is within the image, and what comes out is
 * text of the size that was told. Both readers: that of the software GPU, and the one that judges
 * an image before a driver has it.
 */
#include "gpu/server/cuda_image.h"
#include "gpu/soft/soft_priv.h"
#include "tests/fuzz/fuzz.h"

#include <lz4.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Just as many bytes as there are, and the 0 that is promised behind them. */
    g_autofree uint8_t *image = g_malloc(size + 1);
    g_autofree char *text = NULL, *log = NULL;
    size_t length = 0;

    memcpy(image, data, size);
    image[size] = 0;
    cuda_image_is_whole(image, size);
    image = g_realloc(image, MAX(size, 1));
    int rc = soft_image_ptx(image, size, SOFT_TARGET, &text, &length, &log);
    g_assert((rc == SOFT_OK) == (text != NULL) && (rc == SOFT_OK) == (log == NULL));
    for (size_t i = 0; i < length; i++)
        g_assert(text[i]);
    return 0;
}

enum { PLAIN, LZ4, ZSTD, FORMS };

static void le(GByteArray *out, uint64_t v, unsigned size)
{
    v = GUINT64_TO_LE(v);
    g_byte_array_append(out, (const uint8_t *)&v, size);
}

/* An entry of kind KIND for TARGET that holds TEXT, packed as FORM says. */
static void entry(GByteArray *out, unsigned kind, unsigned target, unsigned form, const char *text)
{
    static const unsigned flags[FORMS] = {0, 0x2000, 0x8000};
    size_t length = strlen(text), packed = length;
    g_autofree char *data = g_malloc(2 * length + 64);

    if (form == LZ4)
        packed = (size_t)LZ4_compress_default(text, data, (int)length, (int)(2 * length + 64));
    else if (form == ZSTD)
        packed = ZSTD_compress(data, 2 * length + 64, text, length, 1);
    else
        memcpy(data, text, length);
    le(out, kind | 0x01010000, 4);
    le(out, 64, 4);
    le(out, packed, 8);
    le(out, form == PLAIN ? 0 : packed, 8);
    le(out, (uint64_t)target << 32, 8);
    le(out, 0, 8);
    le(out, flags[form], 8);
    le(out, 0, 8);
    le(out, form == PLAIN ? 0 : length, 8);
    g_byte_array_append(out, (const uint8_t *)data, (guint)packed);
}

/* One entry a form; several of other kinds and targets; none; and an ELF file. */
bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char text[] = ".version 8.0\n.target sm_80\n.address_size 64\n"
                               ".visible .entry k() { ret; }\n";
    g_autoptr(GByteArray) entries = g_byte_array_new();

    if (n > FORMS + 2)
        return false;
    if (n == FORMS + 2) {
        g_byte_array_append(out, (const uint8_t *)"\177ELF\2\1\1", 7);
        while (out->len < 128)
            le(out, out->len, 8);
        return true;
    }
    for (unsigned i = 0; n == FORMS && i < 6; i++)
        entry(entries, 1 + i % 2, 50 + 10 * i, i % FORMS, text);
    if (n < FORMS)
        entry(entries, 1, 80, n, text);
    le(out, 0xba55ed50, 4);
    le(out, 1, 2);
    le(out, 16, 2);
    le(out, entries->len, 8);
    g_byte_array_append(out, entries->data, entries->len);
    return true;
}
