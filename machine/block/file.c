/* The host file under an image: see file.h. */
#include "machine/block/file.h"

#include "base/imagelock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

/* Most bytes of one transfer: below what the kernel cuts short (MAX_RW_COUNT). */
#define TRANSFER_MAX MIB(256)

/* Opening some devices does something already, so PATH is looked at before and after. */
static bool file__fit(const char *path, const struct stat *st, GError **err)
{
    return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) ||
           vmd_fail(err, VMD_ERROR_INVALID, "disk image %s is neither a file nor a block device",
                    path);
}

int block_file_open_fd(const char *path, bool readonly, GError **err)
{
    const char *purpose = readonly ? "" : " for writing";
    struct stat st;

    if (stat(path, &st) < 0) {
        vmd_set_errno(err, errno, "opening disk image %s%s", path, purpose);
        return -1;
    }
    if (!file__fit(path, &st, err))
        return -1;
    /* Not blocking, should it have become a pipe; neither kind that we take minds it. */
    autofd fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        vmd_set_errno(err, errno, "opening disk image %s%s", path, purpose);
        return -1;
    }
    return file__fit(path, &st, err) ? steal_fd(&fd) : -1;
}

int block_file__open_fd(const char *path, bool readonly, const struct block_given *given,
                        GError **err)
{
    for (unsigned i = 0; given && i < given->n; i++) {
        if (strcmp(given->paths[i], path) != 0)
            continue;
        int fd = fcntl(given->fds[i], F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            vmd_set_errno(err, errno, "disk image %s", path);
        return fd;
    }
    return block_file_open_fd(path, readonly, err);
}

static bool file__identify(struct block_file *f, GError **err)
{
    struct stat st;
    unsigned physical = 0;

    if (fstat(f->fd, &st) < 0)
        return vmd_set_errno(err, errno, "disk image %s", f->path);
    f->device = S_ISBLK(st.st_mode);
    f->dev = f->device ? st.st_rdev : st.st_dev;
    f->ino = f->device ? 0 : st.st_ino;
    f->size = (uint64_t)st.st_size;
    f->block_size = (uint32_t)CLAMP(st.st_blksize, 512, 4096);
    if (f->device) {
        if (ioctl(f->fd, BLKGETSIZE64, &f->size) < 0)
            return vmd_set_errno(err, errno, "size of block device %s", f->path);
        if (ioctl(f->fd, BLKPBSZGET, &physical) == 0 && physical >= 512 && physical <= MIB(1))
            f->block_size = physical;
    }
    return true;
}

struct block_file *block_file__open(const char *path, bool readonly,
                                    const struct block_given *given, GError **err)
{
    struct block_file *f = g_new0(struct block_file, 1);

    f->path = g_strdup(path);
    f->readonly = readonly;
    f->fd = block_file__open_fd(path, readonly, given, err);
    if (f->fd >= 0 && file__identify(f, err) && imagelock_take(f->fd, path, readonly, err))
        return f;
    block_file__close(f);
    return NULL;
}

void block_file__close(struct block_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    g_free(f->path);
    g_free(f);
}

int64_t block_file__size(const struct block_file *f)
{
    struct stat st;

    if (f->device)
        return (int64_t)f->size;
    if (fstat(f->fd, &st) < 0)
        return -errno;
    return st.st_size;
}

/*
 * Moves all of IOV by FN (preadv or pwritev). Returns the bytes moved, less than asked only where
 * FN returns 0, or -errno.
 */
static int64_t file__transfer(struct block_file *f,
                              ssize_t (*fn)(int, const struct iovec *, int, off_t), uint64_t offset,
                              const struct iovec *iov, unsigned iovcnt)
{
    uint64_t total = block_iov__length(iov, iovcnt), moved = 0;
    const struct iovec *now = iov;
    unsigned n = iovcnt;
    g_autofree struct iovec *rest = NULL;

    while (moved < total) {
        if (moved > 0 || n > IOV_MAX || total > TRANSFER_MAX) {
            if (!rest)
                rest = g_new(struct iovec, iovcnt);
            n = block_iov__slice(iov, iovcnt, moved, MIN(total - moved, TRANSFER_MAX), rest);
            now = rest;
        }
        ssize_t got = fn(f->fd, now, (int)MIN(n, (unsigned)IOV_MAX), (off_t)(offset + moved));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        moved += (uint64_t)got;
    }
    return (int64_t)moved;
}

int64_t block_file__readv(struct block_file *f, uint64_t offset, const struct iovec *iov,
                          unsigned iovcnt)
{
    return file__transfer(f, preadv, offset, iov, iovcnt);
}

int block_file__read(struct block_file *f, uint64_t offset, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    int64_t got = block_file__readv(f, offset, &iov, 1);

    if (got < 0)
        return (int)got;
    memset((char *)buf + got, 0, len - (size_t)got);
    return 0;
}

int block_file__writev(struct block_file *f, uint64_t offset, const struct iovec *iov,
                       unsigned iovcnt)
{
    int64_t put = file__transfer(f, pwritev, offset, iov, iovcnt);

    if (put < 0)
        return (int)put;
    return (uint64_t)put == block_iov__length(iov, iovcnt) ? 0 : -EIO;
}

int block_file__write(struct block_file *f, uint64_t offset, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};

    return block_file__writev(f, offset, &iov, 1);
}

int block_file__sync(struct block_file *f)
{
    int r;

    if (__atomic_load_n(&f->sync_failed, __ATOMIC_ACQUIRE))
        return -EIO;
    do {
        r = fdatasync(f->fd);
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    r = -errno;
    __atomic_store_n(&f->sync_failed, 1, __ATOMIC_RELEASE);
    return r;
}

int block_file__grow(struct block_file *f, uint64_t size)
{
    uint64_t now = 0;
    int64_t has;
    int r;

    if (f->device) {
        if (ioctl(f->fd, BLKGETSIZE64, &now) < 0)
            return -errno;
        f->size = MAX(f->size, now);
        return now < size ? -ENOSPC : 0;
    }
    has = block_file__size(f);
    if (has < 0)
        return (int)has;
    if ((uint64_t)has < size && ftruncate(f->fd, (off_t)size) < 0)
        return -errno;
    r = block_file__sync(f);
    if (r == 0)
        f->size = MAX(f->size, size);
    return r;
}

/* fallocate(), with NO set and -ENOTSUP where this file cannot do it at all. */
static int file__fallocate(struct block_file *f, int *no, int mode, uint64_t offset, uint64_t len)
{
    int r;

    if (__atomic_load_n(no, __ATOMIC_RELAXED))
        return -ENOTSUP;
    do {
        r = fallocate(f->fd, mode, (off_t)offset, (off_t)len);
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != ENODEV)
        return -errno;
    __atomic_store_n(no, 1, __ATOMIC_RELAXED);
    return -ENOTSUP;
}

int block_file__discard(struct block_file *f, uint64_t offset, uint64_t len)
{
    if (f->device) {
        uint64_t range[2] = {offset, len};
        if (ioctl(f->fd, BLKDISCARD, range) == 0)
            return 0;
        return errno == EOPNOTSUPP || errno == EINVAL || errno == ENOTTY ? -ENOTSUP : -errno;
    }
    return file__fallocate(f, &f->no_punch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                           len);
}

/* Plain writes of zeroes. */
static int file__write_zeroes(struct block_file *f, uint64_t offset, uint64_t len)
{
    static const char zeroes[65536];
    struct iovec iov[16];

    while (len > 0) {
        uint64_t n = MIN(len, sizeof(zeroes) * G_N_ELEMENTS(iov)), left = n;
        unsigned pieces = 0;
        while (left > 0) {
            iov[pieces].iov_base = (void *)zeroes;
            iov[pieces].iov_len = MIN(left, sizeof(zeroes));
            left -= iov[pieces++].iov_len;
        }
        int r = block_file__writev(f, offset, iov, pieces);
        if (r < 0)
            return r;
        offset += n;
        len -= n;
    }
    return 0;
}

int block_file__zero(struct block_file *f, uint64_t offset, uint64_t len, bool unmap)
{
    int r = -ENOTSUP;
    int64_t size;

    if (unmap) {
        /* A hole cannot be punched behind the end, where a file must grow instead. */
        size = block_file__size(f);
        if (size < 0)
            return (int)size;
        if (offset + len <= (uint64_t)size)
            r = file__fallocate(f, &f->no_punch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                offset, len);
    }
    if (r == -ENOTSUP)
        r = file__fallocate(f, &f->no_zero_range,
                            f->device ? FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
                                      : FALLOC_FL_ZERO_RANGE,
                            offset, len);
    if (r == -ENOTSUP)
        r = file__write_zeroes(f, offset, len);
    return r;
}
