/* The linker's --wrap (sync_counter in meson.build) lets a test count each fdatasync(), and fail
 * writes. For one file of a program. */
#ifndef TESTS_UNIT_BLOCK_WRAP_H
#define TESTS_UNIT_BLOCK_WRAP_H

#include <errno.h>
#include <sys/uio.h>

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);

static unsigned wrap_syncs;  /* atomic */
static int wrap_write_error; /* atomic: what writes fail with; 0: they work */

int __wrap_fdatasync(int fd)
{
    __atomic_fetch_add(&wrap_syncs, 1, __ATOMIC_SEQ_CST);
    return __real_fdatasync(fd);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
    int error = __atomic_load_n(&wrap_write_error, __ATOMIC_SEQ_CST);

    if (error == 0)
        return __real_pwritev64(fd, iov, n, offset);
    errno = error;
    return -1;
}

static inline void wrap_fail_writes(int error)
{
    __atomic_store_n(&wrap_write_error, error, __ATOMIC_SEQ_CST);
}

static inline unsigned wrap_count(void)
{
    return __atomic_load_n(&wrap_syncs, __ATOMIC_SEQ_CST);
}

#endif
