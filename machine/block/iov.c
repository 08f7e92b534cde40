/* Helpers for vectors of buffers. */
#include "machine/block/file.h"

uint64_t block_iov__length(const struct iovec *iov, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += iov[i].iov_len;
    return sum;
}

unsigned block_iov__slice(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len,
                          struct iovec *out)
{
    unsigned used = 0;

    for (unsigned i = 0; i < n && len > 0; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        out[used].iov_base = (char *)iov[i].iov_base + skip;
        out[used].iov_len = MIN(iov[i].iov_len - skip, len);
        len -= out[used++].iov_len;
        skip = 0;
    }
    return used;
}

void block_iov__fill_zero(const struct iovec *iov, unsigned n, uint64_t skip, uint64_t len)
{
    for (unsigned i = 0; i < n && len > 0; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t here = MIN(iov[i].iov_len - skip, len);
        memset((char *)iov[i].iov_base + skip, 0, here);
        len -= here;
        skip = 0;
    }
}
