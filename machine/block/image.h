/*
 * machine/block/image.h: what a format implements. An image is used by several workers at once;
 * every call may block. Ranges are checked by the caller: sector-aligned and within the size (reads
 * of a backing image as well: see block_image__read()). Errors are -errno.
 */
#ifndef MACHINE_BLOCK_IMAGE_H
#define MACHINE_BLOCK_IMAGE_H

#include "machine/block/block.h"
#include "machine/block/file.h"

struct block_image;

struct block_image_ops {
    enum block_format format;
    int (*read)(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n);
    int (*write)(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n);
    /* All that has completed goes to stable storage. */
    int (*flush)(struct block_image *img);
    int (*discard)(struct block_image *img, uint64_t offset, uint64_t len);
    int (*zero)(struct block_image *img, uint64_t offset, uint64_t len, bool unmap);
    /* The image is to have SIZE bytes, no fewer than it has, on stable storage; the new ones read as
     * zeroes. Nothing else is called meanwhile; the caller changes the geometry. */
    int (*grow)(struct block_image *img, uint64_t size);
    /* Whether completed writes would be lost by a kill of this process; NULL: never. Any thread,
     * does not block. */
    bool (*unsaved)(struct block_image *img);
    /* Why the image turned out to be damaged since it was opened, or NULL. Any thread. */
    const char *(*fault)(struct block_image *img);
    /* The image behind this one, or NULL; borrowed. NULL: the format has none. */
    struct block_image *(*backing)(struct block_image *img);
    /* What opening the image found or mended, for its owner, or NULL. */
    const char *(*notice)(struct block_image *img);
    /* Frees; nothing is written. */
    void (*close)(struct block_image *img);
};

/* The head of a format's own struct. */
struct block_image {
    const struct block_image_ops *ops;
    struct block_geometry geometry;
    struct block_file *file; /* owned by the format */
};

/* One image of a chain that is being opened, innermost first, to find loops and count links. */
struct block_chain {
    const struct block_chain *upper;
    const struct block_given *given;
    const struct block_file *file;
    unsigned depth; /* 1 for the image that the user named */
};

/*
 * Opens the file (one of GIVEN, or by PATH) and the format; FORMAT AUTO probes. UPPER is NULL, or the images over this one.
 * NULL with an error on failure.
 */
struct block_image *block_image__open(const char *path, enum block_format format, bool readonly,
                                      const struct block_given *given,
                                      const struct block_chain *upper, GError **err);
/* As block_probe(). */
bool block_image__probe(const char *path, const struct block_given *given, enum block_format *out,
                        GError **err);
void block_image__close(struct block_image *img);

/* Reads from an image whose size may be less than the range: what is behind it is zeroes. */
int block_image__read(struct block_image *img, uint64_t offset, const struct iovec *iov,
                      unsigned n);

/* The formats. Each takes FILE over, in success and in failure. */
struct block_image *block_raw__open(struct block_file *file, bool probed, GError **err);
struct block_image *block_qcow2__open(struct block_file *file, const struct block_chain *chain,
                                      GError **err);

#endif
