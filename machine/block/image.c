/* Opening an image of any format. */
#include "machine/block/image.h"

#include <errno.h>

static bool image__in_chain(const struct block_chain *chain, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    for (; chain; chain = chain->upper) {
        if (S_ISREG(st.st_mode) && !chain->file->device && chain->file->dev == st.st_dev &&
            chain->file->ino == st.st_ino)
            return true;
        if (S_ISBLK(st.st_mode) && chain->file->device && chain->file->dev == st.st_rdev)
            return true;
    }
    return false;
}

struct block_image *block_image__open(const char *path, enum block_format format, bool readonly,
                                      const struct block_given *given,
                                      const struct block_chain *upper, GError **err)
{
    bool probed = format == BLOCK_FORMAT_AUTO;

    /* Before the file is locked, since the lock that it would meet may be our own. */
    if (image__in_chain(upper, path)) {
        vmd_fail(err, VMD_ERROR_INVALID, "disk image %s is among its own backing files", path);
        return NULL;
    }
    if (upper && upper->depth >= LIMIT_QCOW2_BACKING_DEPTH) {
        vmd_fail(err, VMD_ERROR_LIMIT, "more than %d images in a chain of backing files at %s",
                 LIMIT_QCOW2_BACKING_DEPTH, path);
        return NULL;
    }
    if (probed && !block_image__probe(path, given, &format, err))
        return NULL;

    struct block_file *file = block_file__open(path, readonly, given, err);
    if (!file)
        return NULL;
    if (format == BLOCK_FORMAT_RAW)
        return block_raw__open(file, probed, err);
    struct block_chain here = {upper, given, file, upper ? upper->depth + 1 : 1};
    return block_qcow2__open(file, &here, err);
}

void block_image__close(struct block_image *img)
{
    if (img)
        img->ops->close(img);
}

bool block_files(const char *path, enum block_format format, bool readonly, GPtrArray *out,
                 GError **err)
{
    struct block_image *top = block_image__open(path, format, readonly, NULL, NULL, err);

    if (!top)
        return false;
    for (struct block_image *img = top; img; img = img->ops->backing ? img->ops->backing(img) : NULL)
        g_ptr_array_add(out, g_strdup(img->file->path));
    block_image__close(top);
    return true;
}

int block_image__read(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n)
{
    uint64_t len = block_iov__length(iov, n);
    uint64_t inside = offset < img->geometry.size ? MIN(len, img->geometry.size - offset) : 0;

    if (inside < len)
        block_iov__fill_zero(iov, n, inside, len - inside);
    if (inside == 0)
        return 0;
    if (inside == len)
        return img->ops->read(img, offset, iov, n);
    g_autofree struct iovec *part = g_new(struct iovec, n);
    return img->ops->read(img, offset, part, block_iov__slice(iov, n, 0, inside, part));
}
