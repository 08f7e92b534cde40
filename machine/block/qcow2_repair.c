/*
 * Refcounts made anew, for an image whose last writer delayed them and was not able to end in order (the
 * dirty bit; specification, "incompatible_features").
 *
 * What refers to each cluster is counted from the header down. The counts go into new refcount blocks and
 * a new refcount table behind the end of the file, flags that say "changed in place" are brought into line,
 * and only when all that is on stable storage one write to the header makes the new table the image's and
 * clears the dirty bit. So a cut at any point leaves the old image, still dirty, or the new one. The clusters
 * of the old table and its blocks become free.
 */
#include "machine/block/qcow2.h"

#include <errno.h>

/* Most clusters of a file that are counted here: 256 MiB of counts. */
#define CLUSTERS_MAX (UINT64_C(64) << 20)

struct repair {
    struct qcow2 *q;
    uint32_t *refs; /* of each cluster of the file */
    uint64_t n;     /* clusters in the file */
    uint64_t blocks, table; /* clusters of the new refcount blocks, and of the table behind them */
    uint64_t *l2;           /* room for an L2 table */
    GError **err;
};

static bool repair__bad(struct repair *r, const char *what, uint64_t at)
{
    return vmd_fail(r->err, VMD_ERROR_INVALID,
                    "qcow2 image %s was not closed in order, and its refcounts cannot be rebuilt: %s "
                    "at offset %" G_GUINT64_FORMAT "; 'qemu-img check -r all' may know more",
                    r->q->img.file->path, what, at);
}

static bool repair__io(struct repair *r, int error)
{
    return error == 0 || vmd_set_errno(r->err, -error, "repairing qcow2 image %s",
                                       r->q->img.file->path);
}

/* --- counting ----------------------------------------------------------------------------- */

/* LEN bytes at OFFSET are referred to once more. */
static bool repair__use(struct repair *r, const char *what, uint64_t offset, uint64_t len)
{
    const struct qcow2 *q = r->q;

    if (offset == 0 || offset >= q->file_end || len > (r->n << q->cluster_bits) - offset)
        return repair__bad(r, what, offset);
    for (uint64_t c = qcow2__cluster_of(q, offset); c <= qcow2__cluster_of(q, offset + len - 1); c++)
        r->refs[c]++;
    return true;
}

static bool repair__count_entry(struct repair *r, uint64_t entry)
{
    const struct qcow2 *q = r->q;
    uint64_t host = entry & QCOW2_OFFSET, offset, len;

    if (entry & QCOW2_COMPRESSED) {
        qcow2__compressed_at(q, entry, &offset, &len);
        return repair__use(r, "compressed data are missing", offset, len);
    }
    if (host == 0)
        return true;
    if (qcow2__in_cluster(q, host))
        return repair__bad(r, "data are misplaced", host);
    return repair__use(r, "data are missing", host, q->cluster_size);
}

/* What the N entries of an L1 table refer to, in host order. */
static bool repair__count_l1(struct repair *r, const uint64_t *entry, uint64_t n)
{
    const struct qcow2 *q = r->q;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t table = entry[i] & QCOW2_OFFSET;
        if (table == 0)
            continue;
        if (qcow2__in_cluster(q, table))
            return repair__bad(r, "an L2 table is misplaced", table);
        if (!repair__use(r, "an L2 table is missing", table, q->cluster_size) ||
            !repair__io(r, block_file__read(q->img.file, table, r->l2, q->cluster_size)))
            return false;
        for (uint64_t j = 0; j < q->l2_entries; j++) {
            if (!repair__count_entry(r, GUINT64_FROM_BE(r->l2[j])))
                return false;
        }
    }
    return true;
}

static bool repair__count_snapshot(struct repair *r, const struct extent *l1)
{
    g_autofree uint64_t *entry = g_malloc(l1->len + 1);

    if (!repair__io(r, block_file__read(r->q->img.file, l1->start, entry, l1->len)))
        return false;
    for (uint64_t i = 0; i < l1->len / 8; i++)
        entry[i] = GUINT64_FROM_BE(entry[i]);
    return repair__count_l1(r, entry, l1->len / 8);
}

static bool repair__count(struct repair *r, const GArray *snapshots)
{
    struct qcow2 *q = r->q;

    if (!repair__count_l1(r, q->l1.entry, q->l1.n))
        return false;
    for (guint i = 0; i < snapshots->len; i++) {
        if (!repair__count_snapshot(r, &g_array_index(snapshots, struct extent, i)))
            return false;
    }
    /* The header, the L1 tables and the snapshots' table: nothing else may be there. */
    for (guint i = 0; i < q->fixed->len; i++) {
        struct extent *e = &g_array_index(q->fixed, struct extent, i);
        for (uint64_t c = qcow2__cluster_of(q, e->start);
             c <= qcow2__cluster_of(q, e->start + e->len - 1); c++) {
            if (c >= r->n || r->refs[c]++)
                return repair__bad(r, "its tables overlap", c << q->cluster_bits);
        }
    }
    return true;
}

/* --- what is written ---------------------------------------------------------------------- */

/* The new blocks count themselves and the table, too. */
static bool repair__plan(struct repair *r)
{
    struct qcow2 *q = r->q;
    uint64_t blocks = 0, most = q->refcount_order == 6 ? UINT64_MAX
                                                       : (1ull << (1u << q->refcount_order)) - 1;

    for (uint64_t c = 0; c < r->n; c++) {
        if (r->refs[c] > most)
            return repair__bad(r, "a cluster is shared more often than can be counted",
                               c << q->cluster_bits);
    }
    do {
        r->blocks = blocks;
        r->table = (r->blocks * 8 + q->cluster_size - 1) >> q->cluster_bits;
        blocks = (r->n + r->blocks + r->table + q->block_refs - 1) / q->block_refs;
    } while (blocks != r->blocks);
    if (r->table << q->cluster_bits > LIMIT_QCOW2_TABLE / 4)
        return repair__bad(r, "it is too large", r->n << q->cluster_bits);
    return true;
}

static bool repair__write_counts(struct repair *r)
{
    struct qcow2 *q = r->q;
    uint64_t first = r->n << q->cluster_bits, total = r->n + r->blocks + r->table;
    g_autofree uint64_t *table = g_malloc0(r->table << q->cluster_bits);
    g_autofree uint8_t *block = g_malloc(q->cluster_size);

    for (uint64_t b = 0; b < r->blocks; b++) {
        memset(block, 0, q->cluster_size);
        for (uint64_t i = 0; i < q->block_refs && b * q->block_refs + i < total; i++) {
            uint64_t c = b * q->block_refs + i;
            qcow2__refs_set(q, block, (unsigned)i, c < r->n ? r->refs[c] : 1);
        }
        uint64_t at = first + (b << q->cluster_bits);
        table[b] = GUINT64_TO_BE(at);
        if (!repair__io(r, block_file__write(q->img.file, at, block, q->cluster_size)))
            return false;
    }
    return repair__io(r, block_file__write(q->img.file, first + (r->blocks << q->cluster_bits),
                                           table, r->table << q->cluster_bits));
}

/* ENTRY with the flag that its cluster, at HOST, deserves. */
static uint64_t repair__flag(const struct repair *r, uint64_t entry, uint64_t host)
{
    bool alone = r->refs[qcow2__cluster_of(r->q, host)] == 1;

    return alone ? entry | QCOW2_COPIED : entry & ~QCOW2_COPIED;
}

static bool repair__flag_l2(struct repair *r, uint64_t table)
{
    struct qcow2 *q = r->q;
    bool changed = false;

    if (!repair__io(r, block_file__read(q->img.file, table, r->l2, q->cluster_size)))
        return false;
    for (uint64_t i = 0; i < q->l2_entries; i++) {
        uint64_t old = GUINT64_FROM_BE(r->l2[i]), entry = old;
        if (!(old & QCOW2_COMPRESSED) && (old & QCOW2_OFFSET))
            entry = repair__flag(r, old, old & QCOW2_OFFSET);
        changed |= entry != old;
        r->l2[i] = GUINT64_TO_BE(entry);
    }
    return !changed ||
           repair__io(r, block_file__write(q->img.file, table, r->l2, q->cluster_size));
}

/* The flags of the active tables. Those of snapshots mean nothing. */
static bool repair__write_flags(struct repair *r)
{
    struct qcow2 *q = r->q;
    g_autofree uint64_t *l1 = g_new(uint64_t, q->l1.n + 1);
    bool changed = false;

    for (uint64_t i = 0; i < q->l1.n; i++) {
        uint64_t table = q->l1.entry[i] & QCOW2_OFFSET, old = q->l1.entry[i];
        if (table && !repair__flag_l2(r, table))
            return false;
        if (table)
            q->l1.entry[i] = repair__flag(r, old, table);
        changed |= q->l1.entry[i] != old;
        l1[i] = GUINT64_TO_BE(q->l1.entry[i]);
    }
    return !changed ||
           repair__io(r, block_file__write(q->img.file, q->l1.offset, l1, q->l1.n * 8));
}

/* One write, within a sector: the new table, and the feature bits without the dirty one. */
static bool repair__switch(struct repair *r, struct qcow2_reftable_at *out)
{
    struct qcow2 *q = r->q;
    uint8_t header[QCOW2_AT_INCOMPAT + 8 - QCOW2_AT_REFTABLE];
    uint64_t offset, bits;
    uint32_t clusters;
    int e = block_file__read(q->img.file, QCOW2_AT_REFTABLE, header, sizeof(header));

    *out = (struct qcow2_reftable_at){(r->n + r->blocks) << q->cluster_bits, (uint32_t)r->table};
    q->incompatible &= ~QCOW2_INCOMPAT_DIRTY;
    offset = GUINT64_TO_BE(out->offset);
    clusters = GUINT32_TO_BE(out->clusters);
    bits = GUINT64_TO_BE(q->incompatible);
    memcpy(header, &offset, 8);
    memcpy(header + 8, &clusters, 4);
    memcpy(header + (QCOW2_AT_INCOMPAT - QCOW2_AT_REFTABLE), &bits, 8);
    if (e == 0)
        e = block_file__sync(q->img.file);
    if (e == 0)
        e = block_file__write(q->img.file, QCOW2_AT_REFTABLE, header, sizeof(header));
    if (e == 0)
        e = block_file__sync(q->img.file);
    return repair__io(r, e);
}

bool qcow2__rebuild_refcounts(struct qcow2 *q, const GArray *snapshots,
                              struct qcow2_reftable_at *out, GError **err)
{
    struct repair r = {.q = q, .err = err};
    bool ok;

    r.n = (q->file_end + q->cluster_size - 1) >> q->cluster_bits;
    if (r.n > CLUSTERS_MAX)
        return repair__bad(&r, "it has too many clusters", q->file_end);
    r.refs = g_new0(uint32_t, r.n);
    r.l2 = g_malloc(q->cluster_size);
    ok = repair__count(&r, snapshots) && repair__plan(&r) && repair__write_counts(&r) &&
         repair__write_flags(&r) && repair__switch(&r, out);
    if (ok)
        q->file_end = (r.n + r.blocks + r.table) << q->cluster_bits;
    g_free(r.refs);
    g_free(r.l2);
    return ok;
}
