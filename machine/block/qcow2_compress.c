/* Compressed clusters: read only; a write to one makes it an ordinary cluster. */
#include "machine/block/qcow2.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

/* Raw deflate with a window of 4 KiB (specification, "compression_type" 0). */
static int unpack__zlib(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    z_stream z = {.next_in = (Bytef *)in,
                  .avail_in = (uInt)in_len,
                  .next_out = out,
                  .avail_out = (uInt)out_len};
    int r = inflateInit2(&z, -12);

    if (r != Z_OK)
        return -ENOMEM;
    r = inflate(&z, Z_FINISH);
    /* The length that the entry gives is in sectors, so that garbage may follow. */
    bool good = (r == Z_STREAM_END || r == Z_BUF_ERROR) && z.avail_out == 0;
    inflateEnd(&z);
    return good ? 0 : -EIO;
}

static int unpack__zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_inBuffer from = {in, in_len, 0};
    ZSTD_outBuffer to = {out, out_len, 0};

    if (!ctx)
        return -ENOMEM;
    ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, 27);
    while (to.pos < to.size) {
        size_t in_before = from.pos, out_before = to.pos;
        size_t r = ZSTD_decompressStream(ctx, &to, &from);
        if (ZSTD_isError(r) || (from.pos == in_before && to.pos == out_before))
            break;
    }
    ZSTD_freeDCtx(ctx);
    return to.pos == to.size ? 0 : -EIO;
}

/* Copies from a cluster that is kept unpacked; false where it is not. */
static bool unpacked__copy(struct qcow2 *q, uint64_t entry, uint64_t at, const struct iovec *iov,
                           unsigned n)
{
    bool found = false;

    uv_mutex_lock(&q->unpacked_lock);
    for (unsigned i = 0; i < q->unpacked_max && !found; i++) {
        if (q->unpacked[i].entry != entry)
            continue;
        for (unsigned j = 0; j < n; j++) {
            memcpy(iov[j].iov_base, q->unpacked[i].data + at, iov[j].iov_len);
            at += iov[j].iov_len;
        }
        found = true;
    }
    uv_mutex_unlock(&q->unpacked_lock);
    return found;
}

/*
 * Keeps DATA as the contents of ENTRY; takes it over. What an entry refers to never changes: where the
 * cluster is freed, its host clusters may become others', but nothing here makes compressed ones.
 */
static void unpacked__keep(struct qcow2 *q, uint64_t entry, uint8_t *data)
{
    uv_mutex_lock(&q->unpacked_lock);
    struct unpacked *u = &q->unpacked[q->unpacked_next++ % q->unpacked_max];
    g_free(u->data);
    *u = (struct unpacked){entry, data};
    uv_mutex_unlock(&q->unpacked_lock);
}

void qcow2__unpacked_free(struct qcow2 *q)
{
    for (unsigned i = 0; i < QCOW2_UNPACKED; i++)
        g_free(q->unpacked[i].data);
}

int qcow2__read_compressed(struct qcow2 *q, uint64_t entry, uint64_t at, uint64_t len,
                           const struct iovec *iov, unsigned n, uint64_t skip)
{
    g_autofree struct iovec *part = g_new(struct iovec, n);
    unsigned pieces = block_iov__slice(iov, n, skip, len, part);
    uint64_t offset, packed_len;

    if (unpacked__copy(q, entry, at, part, pieces))
        return 0;
    qcow2__compressed_at(q, entry, &offset, &packed_len);
    g_autofree uint8_t *packed = g_malloc(packed_len);
    g_autofree uint8_t *data = g_malloc(q->cluster_size);
    int r = block_file__read(q->img.file, offset, packed, packed_len);
    if (r == 0)
        r = (q->zstd ? unpack__zstd : unpack__zlib)(packed, packed_len, data, q->cluster_size);
    if (r < 0)
        return r;
    uint64_t from = at;
    for (unsigned i = 0; i < pieces; i++) {
        memcpy(part[i].iov_base, data + from, part[i].iov_len);
        from += part[i].iov_len;
    }
    unpacked__keep(q, entry, g_steal_pointer(&data));
    return 0;
}
