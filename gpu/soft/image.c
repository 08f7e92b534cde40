/*
 * Images: PTX text, or fat binaries that hold it, as nvcc writes them.
 *
 * A fat binary is a header of 16 bytes (magic 0xba55ed50, version 1, size of the header, size of what follows) and
 * entries: kind (1 PTX, 2 ELF), size of the entry's header and of its payload, compressed size, compute
 * capability, flags, size unpacked. All numbers are little endian and from the guest: each is checked before use.
 */
#include "gpu/soft/soft_priv.h"

#include <lz4.h>
#include <string.h>
#include <zstd.h>

enum {
    FAT_MAGIC = 0xba55ed50,
    FAT_HEADER = 16,
    ENTRY_HEADER = 64,
    KIND_PTX = 1,
    FLAG_LZ4 = 0x2000,
    FLAG_ZSTD = 0x8000,
    FAT_ENTRIES = 256,
};

struct entry {
    const uint8_t *data;
    uint32_t kind, target;
    uint64_t size, packed, flags, unpacked;
};

static uint64_t read_le(const uint8_t *at, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, at, size);
    return GUINT64_FROM_LE(v);
}

static int refuse(int error, char **log, const char *text)
{
    *log = g_strdup(text);
    return error;
}

/* The entry at AT of LEFT bytes; its whole length in *LEN. */
static bool read_entry(const uint8_t *at, uint64_t left, struct entry *e, uint64_t *len)
{
    uint32_t header;

    if (left < ENTRY_HEADER)
        return false;
    header = read_le(at + 4, 4);
    e->kind = read_le(at, 2);
    e->size = read_le(at + 8, 8);
    e->packed = read_le(at + 16, 4);
    e->target = read_le(at + 28, 4);
    e->flags = read_le(at + 40, 8);
    e->unpacked = read_le(at + 56, 8);
    if (header < ENTRY_HEADER || header > left || e->size > left - header)
        return false;
    e->data = at + header;
    *len = header + e->size;
    return true;
}

static int unpack(const struct entry *e, char **text, size_t *len, char **log)
{
    uint64_t packed = e->packed ? e->packed : e->size;
    g_autofree char *out = NULL;
    size_t got;

    if (!(e->flags & (FLAG_LZ4 | FLAG_ZSTD))) {
        *text = g_malloc(e->size + 1);
        memcpy(*text, e->data, e->size);
        *len = e->size;
        return SOFT_OK;
    }
    if (packed > e->size || e->unpacked > SOFT_MAX_IMAGE || !e->unpacked)
        return refuse(SOFT_INVALID_IMAGE, log, "fat binary: sizes that do not fit");
    out = g_try_malloc(e->unpacked + 1);
    if (!out)
        return refuse(SOFT_OUT_OF_MEMORY, log, "fat binary: no memory to unpack it");
    if (e->flags & FLAG_ZSTD) {
        got = ZSTD_decompress(out, e->unpacked, e->data, packed);
        if (ZSTD_isError(got))
            return refuse(SOFT_INVALID_IMAGE, log, "fat binary: damaged zstd data");
    } else {
        int n = LZ4_decompress_safe((const char *)e->data, out, packed, e->unpacked);

        if (n < 0)
            return refuse(SOFT_INVALID_IMAGE, log, "fat binary: damaged LZ4 data");
        got = n;
    }
    if (got != e->unpacked)
        return refuse(SOFT_INVALID_IMAGE, log, "fat binary: sizes that do not fit");
    *text = g_steal_pointer(&out);
    *len = got;
    return SOFT_OK;
}

/* The PTX of the highest target up to MOST. */
static int fat_ptx(const uint8_t *image, size_t size, unsigned most, char **text, size_t *len,
                   char **log)
{
    uint64_t header = read_le(image + 6, 2), total = read_le(image + 8, 8), at, entry_len;
    struct entry e, best = {0};
    unsigned n = 0;

    if (header < FAT_HEADER || header > size || total > size - header)
        return refuse(SOFT_INVALID_IMAGE, log, "fat binary: longer than the image");
    for (at = header; at < header + total && n < FAT_ENTRIES; at += entry_len, n++) {
        if (!read_entry(image + at, header + total - at, &e, &entry_len))
            return refuse(SOFT_INVALID_IMAGE, log, "fat binary: an entry that does not fit");
        if (e.kind == KIND_PTX && e.target <= most && (!best.data || e.target > best.target))
            best = e;
    }
    if (!best.data)
        return refuse(SOFT_NO_BINARY_FOR_GPU, log, "fat binary: no PTX for this device");
    return unpack(&best, text, len, log);
}

int soft_image_ptx(const void *image, size_t size, unsigned most, char **text, size_t *len,
                   char **log)
{
    const uint8_t *bytes = image;
    int r = SOFT_OK;

    if (size > SOFT_MAX_IMAGE)
        return refuse(SOFT_INVALID_IMAGE, log, "the image is too large");
    if (size >= FAT_HEADER && read_le(bytes, 4) == FAT_MAGIC) {
        r = fat_ptx(bytes, size, most, text, len, log);
    } else if (size >= 4 && !memcmp(bytes, "\177ELF", 4)) {
        return refuse(SOFT_NO_BINARY_FOR_GPU, log, "a cubin holds no PTX: this device runs PTX only");
    } else {
        *text = g_malloc(size + 1);
        memcpy(*text, image, size);
        *len = size;
    }
    if (r)
        return r;
    *len = strnlen(*text, *len);
    if (*len == 0) {
        g_clear_pointer(text, g_free);
        return refuse(SOFT_INVALID_IMAGE, log, "the image is empty");
    }
    return SOFT_OK;
}
