/*
 * machine/block/file.h: the host file or block device under an image.
 *
 * All calls block and may be made from several threads at once. Reads and writes are complete or an
 * error: short transfers and EINTR are dealt with here. Errors are -errno.
 *
 * A failed fdatasync() is final: the kernel then drops what it could not write, so that a second
 * call that succeeds would prove nothing. Every later sync of that file fails with -EIO.
 */
#ifndef MACHINE_BLOCK_FILE_H
#define MACHINE_BLOCK_FILE_H

#include "machine/block/block.h"

#include <sys/stat.h>
#include <sys/uio.h>

struct block_file {
    int fd;
    char *path;
    bool readonly;
    bool device; /* a block device, else a regular file */
    dev_t dev;   /* identity, to find loops in chains of images */
    ino_t ino;
    uint64_t size; /* at open, or what it was grown to */
    uint32_t block_size; /* st_blksize, or a device's physical block */
    int sync_failed;     /* atomic; set for good by a failed sync */
    int no_zero_range;   /* atomic; set where the file system cannot */
    int no_punch;        /* atomic; set where the file system cannot */
};

/* As block_file_open_fd(), but for one of GIVEN (may be NULL), which gets another descriptor. */
int block_file__open_fd(const char *path, bool readonly, const struct block_given *given,
                        GError **err);
/* Opens and locks the file (base/imagelock.h). NULL with an error on failure. */
struct block_file *block_file__open(const char *path, bool readonly,
                                    const struct block_given *given, GError **err);
/* Unlocks, closes and frees; NULL is fine. */
void block_file__close(struct block_file *f);

/* The size now, or -errno. */
int64_t block_file__size(const struct block_file *f);

/* Reads all of IOV. Returns the bytes read, less than asked only at the end of the file. */
int64_t block_file__readv(struct block_file *f, uint64_t offset, const struct iovec *iov,
                          unsigned iovcnt);
/* As readv; what is behind the end of the file reads as zeroes. Returns 0 or -errno. */
int block_file__read(struct block_file *f, uint64_t offset, void *buf, size_t len);

int block_file__writev(struct block_file *f, uint64_t offset, const struct iovec *iov,
                       unsigned iovcnt);
int block_file__write(struct block_file *f, uint64_t offset, const void *buf, size_t len);

/* fdatasync(). */
int block_file__sync(struct block_file *f);

/* The file ends at SIZE at least, on stable storage. -ENOSPC where a block device is smaller. */
int block_file__grow(struct block_file *f, uint64_t size);

/* Gives the range's storage back; contents are zeroes or unchanged. -ENOTSUP where it cannot. */
int block_file__discard(struct block_file *f, uint64_t offset, uint64_t len);
/* Makes the range read as zeroes, by whatever means is cheapest. Grows a file at need. */
int block_file__zero(struct block_file *f, uint64_t offset, uint64_t len, bool unmap);

/* --- helpers for vectors ------------------------------------------------------------------ */

/* Bytes in all. */
uint64_t block_iov__length(const struct iovec *iov, unsigned n);

/*
 * The pieces of IOV that cover [SKIP, SKIP + LEN) into OUT, which has room for N pieces. Returns
 * how many.
 */
unsigned block_iov__slice(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len,
                          struct iovec *out);
void block_iov__fill_zero(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len);

#endif
