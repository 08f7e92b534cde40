/* Copying to and from lists of buffers. */
#include "machine/virtio/virtio.h"

size_t iov_size(const struct iovec *iov, unsigned n)
{
    size_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += iov[i].iov_len;
    return sum;
}

/* Copies between the list and FLAT; to the list if INTO. */
static size_t copy(const struct iovec *iov, unsigned n, size_t offset, char *flat, size_t length,
                   bool into)
{
    size_t done = 0;

    for (unsigned i = 0; i < n && done < length; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t part = MIN(iov[i].iov_len - offset, length - done);
        char *at = (char *)iov[i].iov_base + offset;
        memcpy(into ? at : flat + done, into ? flat + done : at, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t iov_read(const struct iovec *iov, unsigned n, size_t offset, void *to, size_t length)
{
    return copy(iov, n, offset, to, length, false);
}

size_t iov_write(const struct iovec *iov, unsigned n, size_t offset, const void *from,
                 size_t length)
{
    return copy(iov, n, offset, (char *)from, length, true);
}

void iov_part_begin(struct iov_part *p, struct iovec *iov, unsigned n, size_t offset, size_t length)
{
    *p = (struct iov_part){0};
    while (n > 0 && offset >= iov->iov_len) {
        offset -= iov->iov_len;
        iov++;
        n--;
    }
    if (length == 0)
        return;
    g_assert(n > 0);
    p->iov = iov;
    p->first = *iov;
    iov->iov_base = (char *)iov->iov_base + offset;
    iov->iov_len -= offset;
    for (p->n = 1; length > iov->iov_len; p->n++) {
        g_assert(p->n < n);
        length -= iov->iov_len;
        iov++;
    }
    p->last = *iov;
    iov->iov_len = length;
}

void iov_part_end(struct iov_part *p)
{
    if (p->n == 0)
        return;
    /* Where one buffer is both, what it was first comes last. */
    p->iov[p->n - 1] = p->last;
    p->iov[0] = p->first;
    p->n = 0;
}
