/*
 * A qcow2 image becomes larger: its L1 table gets entries as far as the cluster in which it ends has room, then the
 * header tells the new size. A cut between the two leaves a table longer than the size needs, which is allowed.
 *
 * What is behind the old end has to read as zeroes: the rest of the last cluster may hold anything, and a backing
 * image that is longer shows through. Both are zeroed before the size changes, when no guest can reach them.
 */
#include "machine/block/qcow2.h"

#include <errno.h>

/* A big-endian number of BYTES into the header. */
static int grow__write_header(struct qcow2 *q, unsigned at, uint64_t value, unsigned bytes)
{
    uint64_t be = GUINT64_TO_BE(value << (64 - 8 * bytes));
    int r = block_file__write(q->img.file, at, &be, bytes);

    return r == 0 ? block_file__sync(q->img.file) : r;
}

/* Whether L1 can have ENTRIES where it is; with the lock held. -ENOTSUP: it cannot. */
static int grow__check_l1(struct qcow2 *q, uint64_t entries)
{
    uint64_t bytes = q->l1.n * 8, more = entries * 8 - bytes;
    g_autofree uint64_t *there = NULL;

    if (q->l1.n == 0 || entries * 8 > ALIGN_UP(bytes, q->cluster_size))
        return -ENOTSUP;
    there = g_malloc0(more);
    int r = block_file__read(q->img.file, q->l1.offset + bytes, there, more);
    for (uint64_t i = 0; r == 0 && i < more / 8; i++) {
        if (there[i])
            r = -ENOTSUP;
    }
    return r;
}

/* L1 gets as many as ENTRIES, all empty; with the lock held. */
static int grow__l1(struct qcow2 *q, uint64_t entries)
{
    uint64_t n = q->l1.n;

    if (entries <= n)
        return 0;
    int r = grow__check_l1(q, entries);
    if (r == 0)
        r = grow__write_header(q, QCOW2_AT_L1_ENTRIES, entries, 4);
    if (r < 0)
        return r;
    q->l1.entry = g_renew(uint64_t, q->l1.entry, entries);
    memset(q->l1.entry + n, 0, (entries - n) * 8);
    q->l1.dirty = g_realloc(q->l1.dirty, entries / 64 + 1);
    memset(q->l1.dirty + n / 64 + 1, 0, entries / 64 - n / 64);
    q->l1.n = entries;
    for (guint i = 0; i < q->fixed->len; i++) {
        struct extent *e = &g_array_index(q->fixed, struct extent, i);
        if (e->start == q->l1.offset)
            e->len = entries * 8;
    }
    return 0;
}

/* What is to read as zeroes behind the old end, as far as it could read as anything else. */
static int grow__clear(struct qcow2 *q, uint64_t from, uint64_t to)
{
    uint64_t end = MIN(to, ALIGN_UP(from, q->cluster_size));

    if (q->backing)
        end = MAX(end, MIN(to, q->backing->geometry.size));
    return from < end ? qcow2__zero(&q->img, from, end - from, true) : 0;
}

int qcow2__grow(struct block_image *img, uint64_t size)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);
    uint64_t per = q->cluster_size * q->l2_entries, entries = size / per + (size % per != 0);
    int r;

    if (q->snapshots)
        return -ENOTSUP;
    uv_mutex_lock(&q->lock);
    r = __atomic_load_n(&q->corrupt, __ATOMIC_ACQUIRE) ? -EIO : grow__l1(q, entries);
    uv_mutex_unlock(&q->lock);
    if (r == 0)
        r = grow__clear(q, img->geometry.size, size);
    if (r == 0)
        r = qcow2__commit(q);
    return r == 0 ? grow__write_header(q, QCOW2_AT_SIZE, size, 8) : r;
}
