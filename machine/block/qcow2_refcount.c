/*
 * Refcounts, and the allocation of clusters by them. All with the image's lock held.
 *
 * A refcount block that is missing is made at the first cluster of the range that it counts, which is
 * free by definition, and counts itself; so making one needs no other.
 */
#include "machine/block/qcow2.h"

#include <errno.h>

/* Host offsets in tables have 56 bits. */
#define CLUSTERS_END(q) ((uint64_t)1 << (56 - (q)->cluster_bits))

static uint64_t refs__get(const struct qcow2 *q, const uint8_t *data, unsigned i)
{
    unsigned order = q->refcount_order;

    switch (order) {
    case 0:
    case 1:
    case 2: {
        unsigned per = 8u >> order;
        return data[i / per] >> ((i % per) << order) & ((1u << (1u << order)) - 1);
    }
    case 3:
        return data[i];
    case 4:
        return GUINT16_FROM_BE(((const uint16_t *)data)[i]);
    case 5:
        return GUINT32_FROM_BE(((const uint32_t *)data)[i]);
    default:
        return GUINT64_FROM_BE(((const uint64_t *)data)[i]);
    }
}

void qcow2__refs_set(const struct qcow2 *q, uint8_t *data, unsigned i, uint64_t value)
{
    unsigned order = q->refcount_order;

    switch (order) {
    case 0:
    case 1:
    case 2: {
        unsigned per = 8u >> order, shift = (i % per) << order;
        uint8_t mask = (uint8_t)(((1u << (1u << order)) - 1) << shift);
        data[i / per] = (uint8_t)((data[i / per] & ~mask) | (value << shift & mask));
        break;
    }
    case 3:
        data[i] = (uint8_t)value;
        break;
    case 4:
        ((uint16_t *)data)[i] = GUINT16_TO_BE((uint16_t)value);
        break;
    case 5:
        ((uint32_t *)data)[i] = GUINT32_TO_BE((uint32_t)value);
        break;
    default:
        ((uint64_t *)data)[i] = GUINT64_TO_BE(value);
    }
}

static uint64_t refs__per_slice(const struct qcow2 *q)
{
    return ((uint64_t)q->slice_size << 3) >> q->refcount_order;
}

/*
 * The slice that counts CLUSTER, pinned, and the cluster's place in it; OUT is NULL where its block
 * does not exist.
 */
static int refs__slice(struct qcow2 *q, uint64_t cluster, struct slice **out, unsigned *index)
{
    uint64_t block = cluster / q->block_refs, in_block = cluster % q->block_refs;
    uint64_t per = refs__per_slice(q);

    *out = NULL;
    if (block >= q->reftable.n || q->reftable.entry[block] == 0)
        return 0;
    *index = (unsigned)(in_block % per);
    return qcow2__get(q, SLICE_REFCOUNT, q->reftable.entry[block] + in_block / per * q->slice_size,
                      out);
}

int qcow2__refcount(struct qcow2 *q, uint64_t cluster, uint64_t *out)
{
    struct slice *s;
    unsigned i = 0;
    int r = refs__slice(q, cluster, &s, &i);

    if (r < 0)
        return r;
    *out = s ? refs__get(q, s->data, i) : 0;
    if (s)
        qcow2__put(s);
    return 0;
}

int qcow2__refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
    struct slice *s;
    unsigned i = 0;
    int r = refs__slice(q, cluster, &s, &i);

    if (r < 0)
        return r;
    if (!s)
        return qcow2__corrupt(q, "no refcount block for cluster %" G_GUINT64_FORMAT, cluster);
    qcow2__refs_set(q, s->data, i, value);
    qcow2__slice_dirty(q, s);
    qcow2__put(s);
    return 0;
}

/*
 * Makes refcount block BLOCK. It goes to the file with its own count in it at once: a refcount table
 * that has it may get to the disk before the cache's changes to it do.
 */
static int refs__add_block(struct qcow2 *q, uint64_t block)
{
    uint64_t cluster = block * q->block_refs, offset = cluster << q->cluster_bits;
    g_autofree uint8_t *data = g_malloc0(q->cluster_size);

    if (qcow2__is_metadata(q, offset, q->cluster_size))
        return qcow2__corrupt(q, "metadata at offset %" G_GUINT64_FORMAT " has no refcount",
                              offset);
    qcow2__refs_set(q, data, 0, 1);
    int r = qcow2__forget(q, offset);
    if (r == 0)
        r = block_file__write(q->img.file, offset, data, q->cluster_size);
    q->file_end = MAX(q->file_end, offset + q->cluster_size);
    if (r < 0)
        return r;
    qcow2__table_set(q, &q->reftable, block, offset);
    g_hash_table_add(q->metadata, (void *)(uintptr_t)cluster);
    return 0;
}

/* --- growing the refcount table ----------------------------------------------------------- */

/* Where a longer refcount table goes: blocks that count it, then the table, in one row. */
struct growth {
    uint64_t first;  /* cluster of the row's start: the first that the old table cannot count */
    uint64_t blocks; /* refcount blocks */
    uint64_t table;  /* clusters of the table */
};

static void growth__plan(const struct qcow2 *q, uint64_t entries, struct growth *g)
{
    uint64_t blocks = 0;

    g->first = q->reftable.n * q->block_refs;
    do {
        g->blocks = blocks;
        g->table = (MAX(entries, q->reftable.n + blocks) * 8 + q->cluster_size - 1) >>
                   q->cluster_bits;
        blocks = (g->blocks + g->table + q->block_refs - 1) / q->block_refs;
    } while (blocks != g->blocks);
}

/* Writes the blocks and the new table with ENTRY's contents. */
static int growth__write(struct qcow2 *q, const struct growth *g, const uint64_t *entry, uint64_t n)
{
    uint64_t per = q->block_refs, total = g->blocks + g->table;
    uint64_t offset = g->first << q->cluster_bits;
    g_autofree uint8_t *block = g_malloc(q->cluster_size);
    g_autofree uint64_t *table = g_new(uint64_t, n);

    for (uint64_t b = 0; b < g->blocks; b++, offset += q->cluster_size) {
        memset(block, 0, q->cluster_size);
        for (uint64_t i = 0; i < per && b * per + i < total; i++)
            qcow2__refs_set(q, block, (unsigned)i, 1);
        int r = qcow2__forget(q, offset);
        if (r == 0)
            r = block_file__write(q->img.file, offset, block, q->cluster_size);
        if (r < 0)
            return r;
    }
    for (uint64_t i = 0; i < n; i++)
        table[i] = GUINT64_TO_BE(entry[i]);
    return block_file__write(q->img.file, offset, table, n * 8);
}

/* Makes the header refer to the new table; durable on return. */
static int growth__switch(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
    struct {
        uint64_t offset;
        uint32_t clusters;
    } __attribute__((packed)) field = {GUINT64_TO_BE(offset), GUINT32_TO_BE((uint32_t)clusters)};
    int r = block_file__sync(q->img.file);

    if (r == 0)
        r = block_file__write(q->img.file, QCOW2_AT_REFTABLE, &field, sizeof(field));
    return r == 0 ? block_file__sync(q->img.file) : r;
}

/* The refcount table gets half as many entries again, or as many as the limit leaves. */
static int refs__grow(struct qcow2 *q)
{
    struct table *t = &q->reftable;
    struct growth g;
    uint64_t start, n, old_offset = t->offset, old_clusters = t->n * 8 >> q->cluster_bits;

    growth__plan(q, t->n + t->n / 2, &g);
    if (g.table << q->cluster_bits > LIMIT_QCOW2_TABLE / 4)
        growth__plan(q, t->n + 1, &g);
    if (g.table << q->cluster_bits > LIMIT_QCOW2_TABLE / 4 ||
        g.first + g.blocks + g.table > CLUSTERS_END(q))
        return -EFBIG;
    start = g.first << q->cluster_bits;
    if (qcow2__is_metadata(q, start, (g.blocks + g.table) << q->cluster_bits))
        return qcow2__corrupt(q, "metadata behind what the refcount table counts");

    n = (g.table << q->cluster_bits) / 8;
    g_autofree uint64_t *entry = g_new0(uint64_t, n);
    memcpy(entry, t->entry, t->n * 8);
    for (uint64_t b = 0; b < g.blocks; b++)
        entry[t->n + b] = start + (b << q->cluster_bits);
    int r = growth__write(q, &g, entry, n);
    if (r == 0)
        r = growth__switch(q, start + (g.blocks << q->cluster_bits), g.table);
    if (r < 0)
        return r;

    for (uint64_t b = 0; b < g.blocks; b++)
        g_hash_table_add(q->metadata, (void *)(uintptr_t)(g.first + b));
    g_free(t->entry);
    g_free(t->dirty);
    t->entry = g_steal_pointer(&entry);
    t->n = n;
    t->offset = start + (g.blocks << q->cluster_bits);
    t->dirty = g_malloc0(n / 64 + 1);
    t->any_dirty = false;
    q->file_end = MAX(q->file_end, t->offset + (g.table << q->cluster_bits));
    /* A commit under way may still write to the old one, so it goes with the next. */
    qcow2__free_later(q, old_offset >> q->cluster_bits, old_clusters);
    return 0;
}

/* --- allocation --------------------------------------------------------------------------- */

/* The first cluster from FROM on that is free, with its refcount block in place. */
static int alloc__find(struct qcow2 *q, uint64_t from, uint64_t *out)
{
    for (uint64_t c = from; c < CLUSTERS_END(q);) {
        uint64_t block = c / q->block_refs;
        int r = 0;

        if (block >= q->reftable.n) {
            r = refs__grow(q);
        } else if (q->reftable.entry[block] == 0) {
            r = refs__add_block(q, block);
        } else {
            struct slice *s;
            unsigned i = 0;
            uint64_t per = refs__per_slice(q);
            r = refs__slice(q, c, &s, &i);
            if (r < 0)
                return r;
            while (i < per && refs__get(q, s->data, i) != 0)
                i++, c++;
            qcow2__put(s);
            if (i < per) {
                *out = c;
                return 0;
            }
        }
        if (r < 0)
            return r;
    }
    return -EFBIG;
}

/* Counts as used up to WANT free clusters from FIRST on that one slice counts. Returns how many. */
static int64_t alloc__take(struct qcow2 *q, uint64_t first, uint64_t want)
{
    struct slice *s;
    unsigned i = 0;
    uint64_t n = 0;
    int r = refs__slice(q, first, &s, &i);

    if (r < 0)
        return r;
    while (n < want && i < refs__per_slice(q) && refs__get(q, s->data, i) == 0) {
        qcow2__refs_set(q, s->data, i++, 1);
        n++;
    }
    qcow2__slice_dirty(q, s);
    qcow2__put(s);
    return (int64_t)n;
}

int64_t qcow2__alloc(struct qcow2 *q, uint64_t want, uint64_t *offset)
{
    uint64_t first = 0;
    int64_t n;
    int r = alloc__find(q, q->free_hint, &first);

    if (r < 0)
        return r;
    n = alloc__take(q, first, want);
    if (n < 0)
        return n;
    /* A run goes on over slices, as long as their blocks exist. */
    while ((uint64_t)n < want && (first + (uint64_t)n) / q->block_refs < q->reftable.n &&
           q->reftable.entry[(first + (uint64_t)n) / q->block_refs] != 0 &&
           (first + (uint64_t)n) % refs__per_slice(q) == 0) {
        int64_t more = alloc__take(q, first + (uint64_t)n, want - (uint64_t)n);
        if (more <= 0)
            break;
        n += more;
    }
    q->free_hint = first + (uint64_t)n;
    *offset = first << q->cluster_bits;
    if (qcow2__is_metadata(q, *offset, (uint64_t)n << q->cluster_bits))
        return qcow2__corrupt(q, "metadata at offset %" G_GUINT64_FORMAT " is counted as free",
                              *offset);
    return n;
}

void qcow2__unalloc(struct qcow2 *q, uint64_t offset, uint64_t n)
{
    uint64_t first = qcow2__cluster_of(q, offset);

    /* An error leaks what is left. */
    for (uint64_t c = first; c < first + n; c++) {
        if (qcow2__refcount_set(q, c, 0) < 0)
            return;
    }
    q->free_hint = MIN(q->free_hint, first);
}
