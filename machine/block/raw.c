/*
 * Raw images: the disk is the file. A file whose length is no multiple of a sector reads as if zeroes
 * followed, and grows to the whole sector when that is written.
 */
#include "machine/block/image.h"

#include <errno.h>

struct raw {
    struct block_image img;
    bool probed; /* nobody said that it is raw: keep it from becoming anything else */
};

static int raw_read(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n)
{
    uint64_t len = block_iov__length(iov, n);
    int64_t got = block_file__readv(img->file, offset, iov, n);

    if (got < 0)
        return (int)got;
    if ((uint64_t)got < len) {
        /* Somebody cut the file while it was open, unless it always ended here. */
        if (offset + (uint64_t)got < img->file->size)
            return -EIO;
        block_iov__fill_zero(iov, n, (uint64_t)got, len - (uint64_t)got);
    }
    return 0;
}

/*
 * A write at the start of a disk whose format was guessed. The first sector is copied before it is
 * looked at, since the guest can change its memory at any time.
 */
static int raw__write_guarded(struct block_image *img, const struct iovec *iov, unsigned n)
{
    static const char magic[4] = {'Q', 'F', 'I', (char)0xfb};
    g_autofree struct iovec *copy = g_new(struct iovec, n + 1);
    char sector[BLOCK_SECTOR];
    unsigned pieces = block_iov__slice(iov, n, 0, sizeof(sector), copy);
    size_t at = 0;

    for (unsigned i = 0; i < pieces; i++) {
        memcpy(sector + at, copy[i].iov_base, copy[i].iov_len);
        at += copy[i].iov_len;
    }
    if (memcmp(sector, magic, sizeof(magic)) == 0)
        return -EPERM;
    copy[0] = (struct iovec){sector, sizeof(sector)};
    pieces = block_iov__slice(iov, n, sizeof(sector), UINT64_MAX, copy + 1);
    return block_file__writev(img->file, 0, copy, pieces + 1);
}

static int raw_write(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n)
{
    if (offset == 0 && container_of(img, struct raw, img)->probed)
        return raw__write_guarded(img, iov, n);
    return block_file__writev(img->file, offset, iov, n);
}

static int raw_flush(struct block_image *img)
{
    return img->file->readonly ? 0 : block_file__sync(img->file);
}

static int raw_discard(struct block_image *img, uint64_t offset, uint64_t len)
{
    int r = block_file__discard(img->file, offset, len);

    return r == -ENOTSUP ? 0 : r;
}

static int raw_zero(struct block_image *img, uint64_t offset, uint64_t len, bool unmap)
{
    return block_file__zero(img->file, offset, len, unmap);
}

static int raw_grow(struct block_image *img, uint64_t size)
{
    return block_file__grow(img->file, size);
}

static void raw_close(struct block_image *img)
{
    block_file__close(img->file);
    g_free(container_of(img, struct raw, img));
}

static const struct block_image_ops raw_ops = {
    .format = BLOCK_FORMAT_RAW,
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .discard = raw_discard,
    .zero = raw_zero,
    .grow = raw_grow,
    .close = raw_close,
};

struct block_image *block_raw__open(struct block_file *file, bool probed, GError **err)
{
    if (file->size > (uint64_t)INT64_MAX - BLOCK_SECTOR) {
        vmd_fail(err, VMD_ERROR_LIMIT, "disk image %s is too large", file->path);
        block_file__close(file);
        return NULL;
    }
    struct raw *raw = g_new0(struct raw, 1);
    raw->img.ops = &raw_ops;
    raw->img.file = file;
    raw->img.geometry = (struct block_geometry){
        .size = ALIGN_UP(file->size, BLOCK_SECTOR),
        .logical_block = BLOCK_SECTOR,
        .physical_block = file->block_size,
        .discard_alignment = file->block_size,
        .readonly = file->readonly,
        .discard = !file->readonly,
        .write_zeroes = !file->readonly,
    };
    raw->probed = probed;
    return &raw->img;
}
