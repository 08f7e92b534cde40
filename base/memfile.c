/* See memfile.h. */
#include "base/memfile.h"

#include <errno.h>
#include <sys/mman.h>

int memfile_new(const void *bytes, size_t n, GError **err)
{
    autofd fd = memfd_create("bytes", MFD_CLOEXEC);
    size_t done = 0;

    while (fd >= 0 && done < n) {
        ssize_t r = write(fd, (const char *)bytes + done, n - done);
        if (r < 0 && errno != EINTR)
            break;
        done += r > 0 ? (size_t)r : 0;
    }
    if (fd >= 0 && done == n)
        return steal_fd(&fd);
    vmd_set_errno(err, errno, "a file in memory of %zu bytes", n);
    return -1;
}

uint8_t *memfile_read(int fd, size_t n, GError **err)
{
    g_autofree uint8_t *bytes = g_malloc(n ? n : 1);
    size_t done = 0;

    while (done < n) {
        ssize_t r = pread(fd, bytes + done, n - done, (off_t)done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            vmd_set_errno(err, r < 0 ? errno : EIO, "a file of %zu bytes", n);
            return NULL;
        }
        done += (size_t)r;
    }
    return g_steal_pointer(&bytes);
}
