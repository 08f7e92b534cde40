/* Reading and changing a qcow2 image's contents. */
#include "machine/block/qcow2.h"

#include <errno.h>

/* --- ranges of guest clusters ------------------------------------------------------------- */

static bool range__clashes(const struct range *a, const struct range *b)
{
    return a->start < b->end && b->start < a->end && (a->exclusive || b->exclusive);
}

/* Waits for all earlier ranges that clash with this one, and takes it. */
static void range__lock(struct qcow2 *q, struct range *r, uint64_t offset, uint64_t len,
                        bool exclusive)
{
    struct range **at;

    *r = (struct range){offset >> q->cluster_bits,
                        (offset + len + q->cluster_size - 1) >> q->cluster_bits, exclusive, NULL};
    if (!q->writable)
        return;
    uv_mutex_lock(&q->lock);
    for (at = &q->ranges; *at; at = &(*at)->next)
        ;
    *at = r;
    for (struct range *e = q->ranges; e != r;) {
        if (range__clashes(e, r)) {
            uv_cond_wait(&q->ranges_changed, &q->lock);
            e = q->ranges;
        } else {
            e = e->next;
        }
    }
    uv_mutex_unlock(&q->lock);
}

static void range__unlock(struct qcow2 *q, struct range *r)
{
    if (!q->writable)
        return;
    uv_mutex_lock(&q->lock);
    for (struct range **at = &q->ranges; *at; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    uv_cond_broadcast(&q->ranges_changed);
    uv_mutex_unlock(&q->lock);
}

/* --- reading ------------------------------------------------------------------------------ */

/* Clusters that LEN bytes from OFFSET on touch. */
static uint64_t io__clusters(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
    return (qcow2__in_cluster(q, offset) + len + q->cluster_size - 1) >> q->cluster_bits;
}

/* LEN bytes of the file at HOST into IOV at SKIP; zeroes behind the file's end. */
static int io__read_host(struct qcow2 *q, uint64_t host, const struct iovec *iov, unsigned n,
                         uint64_t skip, uint64_t len)
{
    g_autofree struct iovec *part = g_new(struct iovec, n);
    unsigned pieces = block_iov__slice(iov, n, skip, len, part);
    int64_t got = block_file__readv(q->img.file, host, part, pieces);

    if (got < 0)
        return (int)got;
    block_iov__fill_zero(part, pieces, (uint64_t)got, len - (uint64_t)got);
    return 0;
}

static int io__read_backing(struct qcow2 *q, uint64_t offset, const struct iovec *iov, unsigned n,
                            uint64_t skip, uint64_t len)
{
    g_autofree struct iovec *part = g_new(struct iovec, n);

    return block_image__read(q->backing, offset, part, block_iov__slice(iov, n, skip, len, part));
}

/* Reads a range that the caller holds. */
static int io__read_range(struct qcow2 *q, uint64_t offset, const struct iovec *iov, unsigned n)
{
    uint64_t len = block_iov__length(iov, n), done = 0;
    struct mapping m;

    while (done < len) {
        uint64_t now = offset + done, in = qcow2__in_cluster(q, now);
        uv_mutex_lock(&q->lock);
        int r = qcow2__lookup(q, qcow2__cluster_of(q, now), io__clusters(q, now, len - done), &m);
        uv_mutex_unlock(&q->lock);
        if (r < 0)
            return r;
        uint64_t here = MIN(len - done, (m.n << q->cluster_bits) - in);
        if (m.kind == MAP_DATA)
            r = io__read_host(q, m.host + in, iov, n, done, here);
        else if (m.kind == MAP_COMPRESSED)
            r = qcow2__read_compressed(q, m.entry, in, here, iov, n, done);
        else if (m.kind == MAP_UNALLOCATED && q->backing)
            r = io__read_backing(q, now, iov, n, done, here);
        else
            block_iov__fill_zero(iov, n, done, here);
        if (r < 0)
            return r;
        done += here;
    }
    return 0;
}

int qcow2__read(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);
    struct range range;

    range__lock(q, &range, offset, block_iov__length(iov, n), false);
    int r = io__read_range(q, offset, iov, n);
    range__unlock(q, &range);
    return r;
}

/* --- writing ------------------------------------------------------------------------------ */

/* A write under way: what of the request is still to be done. */
struct io {
    const struct iovec *iov;
    unsigned n;
    uint64_t offset; /* of the disk, now */
    uint64_t skip;   /* of IOV, now */
    uint64_t left;
    struct iovec *part; /* room for N + 2 pieces */
};

static void io__advance(struct io *io, uint64_t len)
{
    io->offset += len;
    io->skip += len;
    io->left -= len;
}

static int io__write_host(struct qcow2 *q, struct io *io, uint64_t host, uint64_t len)
{
    unsigned pieces = block_iov__slice(io->iov, io->n, io->skip, len, io->part);

    return block_file__writev(q->img.file, host, io->part, pieces);
}

/* Writes as far as clusters are there to be written in place, in a range that is held. */
static int io__write_in_place(struct qcow2 *q, struct io *io)
{
    struct mapping m;

    while (io->left > 0) {
        uint64_t in = qcow2__in_cluster(q, io->offset);
        uv_mutex_lock(&q->lock);
        int r = __atomic_load_n(&q->corrupt, __ATOMIC_ACQUIRE)
                    ? -EIO
                    : qcow2__lookup(q, qcow2__cluster_of(q, io->offset),
                                    io__clusters(q, io->offset, io->left), &m);
        uv_mutex_unlock(&q->lock);
        if (r < 0)
            return r;
        if (m.kind != MAP_DATA || !m.in_place)
            return 0;
        uint64_t here = MIN(io->left, (m.n << q->cluster_bits) - in);
        r = io__write_host(q, io, m.host + in, here);
        if (r < 0)
            return r;
        io__advance(io, here);
    }
    return 0;
}

/* Clusters in which a write is about to go. */
struct target {
    uint64_t host, n;
    bool allocated; /* for this write, else those of a zero cluster that has some */
    bool blank;     /* the file has never had anything there */
    bool zeroes;    /* what the guest clusters have until now is zeroes */
};

/* With the lock held: finds clusters for the guest clusters of M, of which WANT are written. */
static int io__find_target(struct qcow2 *q, const struct mapping *m, struct target *t)
{
    int64_t n;

    *t = (struct target){.host = m->host, .n = m->n};
    t->zeroes = m->kind == MAP_ZERO || (m->kind == MAP_UNALLOCATED && !q->backing);
    if (m->kind == MAP_ZERO && m->in_place)
        return 0;
    n = qcow2__alloc(q, m->n, &t->host);
    if (n < 0)
        return (int)n;
    t->n = (uint64_t)n;
    t->allocated = true;
    t->blank = t->host >= q->file_end;
    q->file_end = MAX(q->file_end, t->host + (t->n << q->cluster_bits));
    return 0;
}

/*
 * Writes LEN bytes into new clusters, with what the guest clusters have until now around them.
 */
static int io__write_target(struct qcow2 *q, struct io *io, const struct target *t, uint64_t len)
{
    uint64_t head = qcow2__in_cluster(q, io->offset);
    uint64_t tail = (t->n << q->cluster_bits) - head - len;
    unsigned pieces = block_iov__slice(io->iov, io->n, io->skip, len, io->part + 1);
    int r = 0;

    if (t->zeroes && t->blank)
        return block_file__writev(q->img.file, t->host + head, io->part + 1, pieces);
    g_autofree uint8_t *around = g_malloc0(head + tail + 1);
    struct iovec before = {around, head}, after = {around + head, tail};
    if (!t->zeroes && head)
        r = io__read_range(q, io->offset - head, &before, 1);
    /* The disk may end within its last cluster. */
    if (r == 0 && !t->zeroes && tail && io->offset + len < q->img.geometry.size) {
        after.iov_len = MIN(tail, q->img.geometry.size - io->offset - len);
        r = io__read_range(q, io->offset + len, &after, 1);
        after.iov_len = tail;
    }
    if (r < 0)
        return r;
    io->part[0] = before;
    io->part[pieces + 1] = after;
    return block_file__writev(q->img.file, t->host, io->part, pieces + 2);
}

/* With the lock held: the guest clusters from CLUSTER on are now at T. */
static int io__map_target(struct qcow2 *q, uint64_t cluster, const struct target *t)
{
    struct slice *s;
    unsigned index;
    int r = qcow2__l2_for_change(q, cluster, &s, &index);

    if (r < 0)
        return r;
    for (uint64_t i = 0; i < t->n; i++) {
        uint64_t host = t->host + (i << q->cluster_bits);
        qcow2__slice_change(q, s, index + (unsigned)i, host | QCOW2_COPIED, host);
    }
    qcow2__put(s);
    return 0;
}

/* One step of a write that allocates, in a range held alone. */
static int io__write_new(struct qcow2 *q, struct io *io)
{
    uint64_t cluster = qcow2__cluster_of(q, io->offset), len;
    struct mapping m;
    struct target t;

    uv_mutex_lock(&q->lock);
    int r = qcow2__make_room(q);
    if (r == 0)
        r = qcow2__lookup(q, cluster, io__clusters(q, io->offset, io->left), &m);
    /* The entries are changed in one slice. */
    if (r == 0)
        m.n = MIN(m.n, qcow2__slice_entries(q) - cluster % qcow2__slice_entries(q));
    if (r == 0 && !(m.kind == MAP_DATA && m.in_place))
        r = io__find_target(q, &m, &t);
    uv_mutex_unlock(&q->lock);
    if (r < 0 || (m.kind == MAP_DATA && m.in_place))
        return r < 0 ? r : io__write_in_place(q, io);

    len = MIN(io->left, (t.n << q->cluster_bits) - qcow2__in_cluster(q, io->offset));
    r = io__write_target(q, io, &t, len);
    uv_mutex_lock(&q->lock);
    if (r == 0)
        r = io__map_target(q, cluster, &t);
    if (r < 0 && t.allocated)
        qcow2__unalloc(q, t.host, t.n);
    uv_mutex_unlock(&q->lock);
    if (r == 0)
        io__advance(io, len);
    return r;
}

int qcow2__write(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);
    g_autofree struct iovec *part = g_new(struct iovec, n + 2);
    struct io io = {iov, n, offset, 0, block_iov__length(iov, n), part};
    struct range range;

    range__lock(q, &range, io.offset, io.left, false);
    int r = io__write_in_place(q, &io);
    range__unlock(q, &range);
    if (r < 0 || io.left == 0)
        return r;
    range__lock(q, &range, io.offset, io.left, true);
    while (r == 0 && io.left > 0)
        r = io__write_new(q, &io);
    range__unlock(q, &range);
    return r;
}

/* --- discarding and zeroing --------------------------------------------------------------- */

enum erase { ERASE_DISCARD, ERASE_ZERO, ERASE_ZERO_UNMAP };

/* The entry that mapping M gets; false: it stays. */
static bool erase__entry(const struct qcow2 *q, const struct mapping *m, enum erase how,
                         uint64_t *entry)
{
    bool has_host = m->host != 0;

    *entry = q->version >= 3 && (q->backing || how != ERASE_DISCARD) ? QCOW2_ZERO : 0;
    if (how == ERASE_DISCARD)
        return has_host && (*entry || !q->backing);
    if (m->kind == MAP_UNALLOCATED)
        return q->backing != NULL;
    if (m->kind == MAP_ZERO)
        return how == ERASE_ZERO_UNMAP && has_host;
    return true;
}

/* With the lock held: erases the guest clusters of M, the first of which is CLUSTER. */
static int erase__run(struct qcow2 *q, uint64_t cluster, const struct mapping *m, enum erase how)
{
    bool keep = how == ERASE_ZERO && m->kind == MAP_DATA && m->in_place && q->version >= 3;
    struct slice *s;
    unsigned index;
    uint64_t entry;

    if (!erase__entry(q, m, how, &entry))
        return 0;
    for (uint64_t i = 0; i < m->n;) {
        int r = qcow2__l2_for_change(q, cluster + i, &s, &index);
        if (r < 0)
            return r;
        for (; i < m->n && index < qcow2__slice_entries(q); i++, index++) {
            uint64_t host = m->host + (i << q->cluster_bits);
            qcow2__slice_change(q, s, index, keep ? entry | host | QCOW2_COPIED : entry,
                                keep ? host : 0);
        }
        qcow2__put(s);
    }
    return 0;
}

/* Erases clusters [CLUSTER, END) as far as one lookup goes. Returns how many, or -errno. */
static int64_t erase__step(struct qcow2 *q, uint64_t cluster, uint64_t end, enum erase how)
{
    uint64_t span = MIN(end - cluster, q->l2_entries - cluster % q->l2_entries);
    struct mapping m;
    struct range range;

    range__lock(q, &range, cluster << q->cluster_bits, span << q->cluster_bits, true);
    uv_mutex_lock(&q->lock);
    int r = qcow2__make_room(q);
    if (r == 0)
        r = qcow2__lookup(q, cluster, span, &m);
    if (r == 0) {
        /* Where a whole L2 table is missing and entries are to be made, a slice at a time. */
        uint64_t per = qcow2__slice_entries(q);
        if (m.kind == MAP_UNALLOCATED && q->backing && how != ERASE_DISCARD)
            m.n = MIN(m.n, per - cluster % per);
        r = erase__run(q, cluster, &m, how);
    }
    uv_mutex_unlock(&q->lock);
    range__unlock(q, &range);
    return r < 0 ? r : (int64_t)m.n;
}

static int erase__clusters(struct qcow2 *q, uint64_t cluster, uint64_t end, enum erase how)
{
    while (cluster < end) {
        int64_t n = erase__step(q, cluster, end, how);
        if (n < 0)
            return (int)n;
        cluster += (uint64_t)n;
    }
    return 0;
}

/* The whole clusters in a range of the disk; its end counts as a cluster's. */
static void erase__whole(const struct qcow2 *q, uint64_t offset, uint64_t len, uint64_t *first,
                         uint64_t *end)
{
    *first = (offset + q->cluster_size - 1) >> q->cluster_bits;
    *end = (offset + len) >> q->cluster_bits;
    if (offset + len == q->img.geometry.size)
        *end = (offset + len + q->cluster_size - 1) >> q->cluster_bits;
    *end = MAX(*end, *first);
}

int qcow2__discard(struct block_image *img, uint64_t offset, uint64_t len)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);
    uint64_t first, end;

    erase__whole(q, offset, len, &first, &end);
    return erase__clusters(q, first, end, ERASE_DISCARD);
}

/* Whether part of a cluster reads as zeroes without being written; or -errno. */
static int zero__already(struct qcow2 *q, uint64_t offset)
{
    struct mapping m;

    uv_mutex_lock(&q->lock);
    int r = qcow2__lookup(q, qcow2__cluster_of(q, offset), 1, &m);
    uv_mutex_unlock(&q->lock);
    if (r < 0)
        return r;
    return m.kind == MAP_ZERO || (m.kind == MAP_UNALLOCATED && !q->backing);
}

static int zero__write(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    static const char zeroes[65536];

    while (len > 0) {
        uint64_t here = MIN(len, sizeof(zeroes) - (offset & (sizeof(zeroes) - 1)));
        struct iovec iov = {(void *)zeroes, here};
        int r = qcow2__write(&q->img, offset, &iov, 1);
        if (r < 0)
            return r;
        offset += here;
        len -= here;
    }
    return 0;
}

/* Zeroes part of one cluster. */
static int zero__part(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    int r = len ? zero__already(q, offset) : 1;

    return r == 0 ? zero__write(q, offset, len) : MIN(r, 0);
}

int qcow2__zero(struct block_image *img, uint64_t offset, uint64_t len, bool unmap)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);
    uint64_t first, end, from, to;
    int r;

    /* Without an entry for zeroes, a backing file can only be hidden by data. */
    if (q->version < 3 && q->backing)
        return zero__write(q, offset, len);
    erase__whole(q, offset, len, &first, &end);
    from = first << q->cluster_bits;
    to = end << q->cluster_bits;
    if (first == end && qcow2__cluster_of(q, offset) == qcow2__cluster_of(q, offset + len - 1))
        return zero__part(q, offset, len);
    r = zero__part(q, offset, from - offset);
    if (r == 0)
        r = erase__clusters(q, first, end, unmap ? ERASE_ZERO_UNMAP : ERASE_ZERO);
    if (r == 0 && to < offset + len)
        r = zero__part(q, to, offset + len - to);
    return r;
}
