/* From guest clusters to host clusters: L1 and L2 tables. All with the image's lock held. */
#include "machine/block/qcow2.h"

#include <errno.h>

void qcow2__compressed_at(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *len)
{
    /* qcow2 specification, "Compressed Clusters Descriptor". */
    unsigned x = 62 - (q->cluster_bits - 8);
    uint64_t sectors = entry >> x & ((1ull << (q->cluster_bits - 8)) - 1);

    *offset = entry & ((1ull << x) - 1);
    *len = (sectors + 1) * 512 - (*offset & 511);
}

uint64_t qcow2__slice_entry(const struct slice *s, unsigned index)
{
    return GUINT64_FROM_BE(((const uint64_t *)s->data)[index]);
}

/* Whether host bytes that an entry refers to are in the file and no metadata. */
static int map__check_host(struct qcow2 *q, uint64_t cluster, uint64_t offset, uint64_t len)
{
    if (offset >= q->file_end) {
        /* The image may have grown since: an entry of ours is never ahead of the file. */
        return qcow2__corrupt(q, "guest cluster %" G_GUINT64_FORMAT " is mapped to offset %"
                                 G_GUINT64_FORMAT ", behind the end", cluster, offset);
    }
    if (qcow2__is_metadata(q, offset, len))
        return qcow2__corrupt(q, "guest cluster %" G_GUINT64_FORMAT " is mapped to metadata at %"
                                 G_GUINT64_FORMAT, cluster, offset);
    return 0;
}

/* Checks ENTRY, of guest cluster CLUSTER, and says what it means. */
static int map__decode(struct qcow2 *q, uint64_t cluster, uint64_t entry, struct mapping *m)
{
    uint64_t len;
    bool zero = entry & QCOW2_ZERO;

    *m = (struct mapping){.kind = MAP_UNALLOCATED, .entry = entry, .n = 1};
    if (entry & QCOW2_COMPRESSED) {
        m->kind = MAP_COMPRESSED;
        qcow2__compressed_at(q, entry, &m->host, &len);
        if (entry & QCOW2_COPIED)
            return qcow2__corrupt(q, "guest cluster %" G_GUINT64_FORMAT
                                     " is compressed and writable at once", cluster);
        return map__check_host(q, cluster, m->host, len);
    }
    m->host = entry & QCOW2_OFFSET;
    if ((entry & QCOW2_RESERVED) || (zero && q->version < 3) || qcow2__in_cluster(q, m->host))
        return qcow2__corrupt(q, "guest cluster %" G_GUINT64_FORMAT " has a malformed entry 0x%"
                                 G_GINT64_MODIFIER "x", cluster, entry);
    m->in_place = (entry & QCOW2_COPIED) != 0;
    if (zero)
        m->kind = MAP_ZERO;
    else if (m->host)
        m->kind = MAP_DATA;
    if (m->host)
        return map__check_host(q, cluster, m->host, q->cluster_size);
    m->in_place = false;
    return 0;
}

/* The copied flag of an image with snapshots is not taken on trust. */
static int map__verify_in_place(struct qcow2 *q, struct mapping *m)
{
    uint64_t count;

    if (!m->in_place || !q->writable || q->snapshots == 0)
        return 0;
    int r = qcow2__refcount(q, qcow2__cluster_of(q, m->host), &count);
    if (r == 0 && count == 0)
        r = qcow2__corrupt(q, "cluster at offset %" G_GUINT64_FORMAT
                              " is used but counted as free", m->host);
    if (r == 0)
        m->in_place = count == 1;
    return r;
}

static bool map__continues(const struct qcow2 *q, const struct mapping *m,
                           const struct mapping *next)
{
    if (next->kind != m->kind || next->in_place != m->in_place || m->kind == MAP_COMPRESSED)
        return false;
    return m->host ? next->host == m->host + (m->n << q->cluster_bits) : next->host == 0;
}

/* Decodes up to MAX entries of S from INDEX on; L1_COPIED: the table is this image's alone. */
static int map__scan(struct qcow2 *q, const struct slice *s, unsigned index, uint64_t cluster,
                     uint64_t max, bool l1_copied, struct mapping *out)
{
    struct mapping next;

    for (uint64_t i = 0; i < max && index + i < qcow2__slice_entries(q); i++) {
        int r = map__decode(q, cluster + i, qcow2__slice_entry(s, (unsigned)(index + i)), &next);
        next.in_place &= l1_copied;
        if (r == 0)
            r = map__verify_in_place(q, &next);
        if (r < 0)
            return r;
        if (i == 0)
            *out = next;
        else if (map__continues(q, out, &next))
            out->n++;
        else
            break;
    }
    return 0;
}

/* File offset of the slice of an L2 table at TABLE that has guest cluster CLUSTER's entry. */
static uint64_t map__slice_at(const struct qcow2 *q, uint64_t table, uint64_t cluster)
{
    return table + cluster % q->l2_entries / qcow2__slice_entries(q) * q->slice_size;
}

int qcow2__lookup(struct qcow2 *q, uint64_t cluster, uint64_t max, struct mapping *out)
{
    uint64_t l1 = cluster / q->l2_entries;
    uint64_t entry = q->l1.entry[l1], table = entry & QCOW2_OFFSET;
    struct slice *s;

    if (table == 0) {
        *out = (struct mapping){.kind = MAP_UNALLOCATED,
                                .n = MIN(max, q->l2_entries - cluster % q->l2_entries)};
        return 0;
    }
    int r = qcow2__get(q, SLICE_L2, map__slice_at(q, table, cluster), &s);
    if (r < 0)
        return r;
    r = map__scan(q, s, (unsigned)(cluster % qcow2__slice_entries(q)), cluster, max,
                  entry & QCOW2_COPIED, out);
    qcow2__put(s);
    return r;
}

/* Gives L1 entry L1 an L2 table of its own: empty, or a copy of the one that it shares. */
static int map__new_table(struct qcow2 *q, uint64_t l1)
{
    uint64_t old = q->l1.entry[l1] & QCOW2_OFFSET, offset;
    g_autofree uint8_t *data = g_malloc0(q->cluster_size);
    int r = old ? block_file__read(q->img.file, old, data, q->cluster_size) : 0;

    if (r < 0)
        return r;
    int64_t n = qcow2__alloc(q, 1, &offset);
    if (n < 0)
        return (int)n;
    r = qcow2__forget(q, offset);
    if (r == 0)
        r = block_file__write(q->img.file, offset, data, q->cluster_size);
    if (r < 0) {
        qcow2__unalloc(q, offset, 1);
        return r;
    }
    q->file_end = MAX(q->file_end, offset + q->cluster_size);
    g_hash_table_add(q->metadata, (void *)(uintptr_t)qcow2__cluster_of(q, offset));
    qcow2__table_set(q, &q->l1, l1, offset | QCOW2_COPIED);
    if (old) {
        g_hash_table_remove(q->metadata, (void *)(uintptr_t)qcow2__cluster_of(q, old));
        qcow2__free_later(q, qcow2__cluster_of(q, old), 1);
    }
    return 0;
}

int qcow2__l2_for_change(struct qcow2 *q, uint64_t cluster, struct slice **out, unsigned *index)
{
    uint64_t l1 = cluster / q->l2_entries;
    int r = q->l1.entry[l1] & QCOW2_COPIED ? 0 : map__new_table(q, l1);

    if (r < 0)
        return r;
    *index = (unsigned)(cluster % qcow2__slice_entries(q));
    return qcow2__get(q, SLICE_L2, map__slice_at(q, q->l1.entry[l1] & QCOW2_OFFSET, cluster), out);
}

void qcow2__slice_change(struct qcow2 *q, struct slice *s, unsigned index, uint64_t entry,
                         uint64_t keep)
{
    uint64_t old = qcow2__slice_entry(s, index), first, len;

    ((uint64_t *)s->data)[index] = GUINT64_TO_BE(entry);
    qcow2__slice_dirty(q, s);
    if (old & QCOW2_COMPRESSED) {
        qcow2__compressed_at(q, old, &first, &len);
        uint64_t last = qcow2__cluster_of(q, first + len - 1);
        first = qcow2__cluster_of(q, first);
        qcow2__free_later(q, first, last - first + 1);
    } else if ((old & QCOW2_OFFSET) && (old & QCOW2_OFFSET) != keep) {
        qcow2__free_later(q, qcow2__cluster_of(q, old & QCOW2_OFFSET), 1);
    }
}
