/* The cache of metadata slices, and commits: see qcow2.h for the order that they keep. */
#include "machine/block/qcow2.h"

#include <errno.h>

enum { TABLE_SECTOR = 64 /* entries */ };

static void cache__changed(struct qcow2 *q)
{
    __atomic_store_n(&q->unsaved, 1, __ATOMIC_RELEASE);
}

static void cache__drop(struct qcow2 *q, struct slice *s)
{
    g_assert(s->pins == 0 && !s->writing);
    if (s->dirty)
        q->dirty_slices--;
    g_hash_table_remove(q->slices, &s->offset);
    g_queue_unlink(&q->recent, &s->link);
    g_free(s);
}

/*
 * Makes room for one more slice if the cache is full. Where all is in use it grows by that slice
 * instead: qcow2__make_room() keeps the dirty ones to half, and pins are few and short.
 */
static void cache__evict(struct qcow2 *q)
{
    if (q->recent.length < q->slices_max)
        return;
    for (GList *l = q->recent.tail; l; l = l->prev) {
        struct slice *s = l->data;
        if (s->pins > 0 || s->writing || (s->dirty && s->kind == SLICE_L2))
            continue;
        if (s->dirty) {
            /* A refcount block may be written at any time. */
            if (block_file__write(q->img.file, s->offset, s->data, q->slice_size) < 0)
                continue;
        }
        cache__drop(q, s);
        return;
    }
}

int qcow2__get(struct qcow2 *q, enum slice_kind kind, uint64_t offset, struct slice **out)
{
    struct slice *s = g_hash_table_lookup(q->slices, &offset);

    if (!s) {
        cache__evict(q);
        s = g_malloc0(sizeof(*s) + q->slice_size);
        int r = block_file__read(q->img.file, offset, s->data, q->slice_size);
        if (r < 0) {
            g_free(s);
            return r;
        }
        s->offset = offset;
        s->kind = kind;
        s->link.data = s;
        g_hash_table_insert(q->slices, &s->offset, s);
        g_queue_push_head_link(&q->recent, &s->link);
    } else {
        /* A cluster that is an L2 table and a refcount block at once. */
        if (s->kind != kind)
            return qcow2__corrupt(q, "two kinds of tables at offset %" G_GUINT64_FORMAT, offset);
        g_queue_unlink(&q->recent, &s->link);
        g_queue_push_head_link(&q->recent, &s->link);
    }
    s->pins++;
    *out = s;
    return 0;
}

void qcow2__put(struct slice *s)
{
    g_assert(s->pins > 0);
    s->pins--;
}

void qcow2__slice_dirty(struct qcow2 *q, struct slice *s)
{
    if (!s->dirty && !s->writing)
        q->dirty_slices++;
    s->dirty = true;
    cache__changed(q);
}

int qcow2__forget(struct qcow2 *q, uint64_t offset)
{
    for (uint64_t at = offset; at < offset + q->cluster_size; at += q->slice_size) {
        struct slice *s = g_hash_table_lookup(q->slices, &at);
        if (!s)
            continue;
        if (s->dirty || s->writing || s->pins > 0)
            return qcow2__corrupt(q, "a table in use at offset %" G_GUINT64_FORMAT
                                     " is counted as free", offset);
        cache__drop(q, s);
    }
    return 0;
}

void qcow2__table_set(struct qcow2 *q, struct table *t, uint64_t i, uint64_t value)
{
    g_assert(i < t->n);
    t->entry[i] = value;
    t->dirty[i / TABLE_SECTOR] = 1;
    t->any_dirty = true;
    cache__changed(q);
}

void qcow2__free_later(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
    struct free_run run = {cluster, n};
    struct free_run *last =
        q->frees->len ? &g_array_index(q->frees, struct free_run, q->frees->len - 1) : NULL;

    if (last && last->cluster + last->n == cluster)
        last->n += n;
    else
        g_array_append_val(q->frees, run);
    q->free_clusters += n;
    cache__changed(q);
}

int qcow2__make_room(struct qcow2 *q)
{
    int r = 0;

    while (r == 0 && !__atomic_load_n(&q->corrupt, __ATOMIC_ACQUIRE) &&
           (q->dirty_slices > q->slices_max / 2 || q->frees->len > QCOW2_FREES ||
            q->free_clusters > QCOW2_FREE_CLUSTERS)) {
        uv_mutex_unlock(&q->lock);
        r = qcow2__commit(q);
        uv_mutex_lock(&q->lock);
    }
    if (__atomic_load_n(&q->corrupt, __ATOMIC_ACQUIRE))
        return -EIO;
    return r;
}

/* --- commits ------------------------------------------------------------------------------ */

/* A copy of changed metadata on its way to the file. */
struct update {
    uint64_t offset;
    uint32_t len;
    struct slice *slice; /* whose copy it is, or */
    struct table *table; /* of this table */
    uint64_t sector;
    uint8_t *data;
};

static void update__clear(void *u)
{
    g_free(((struct update *)u)->data);
}

static GArray *updates__new(void)
{
    GArray *a = g_array_new(FALSE, FALSE, sizeof(struct update));

    g_array_set_clear_func(a, update__clear);
    return a;
}

/* With the lock held: copies the dirty slices of KIND and takes them for clean. */
static void commit__take_slices(struct qcow2 *q, enum slice_kind kind, GArray *to)
{
    for (GList *l = q->recent.head; l; l = l->next) {
        struct slice *s = l->data;
        if (s->kind != kind || !s->dirty)
            continue;
        struct update u = {s->offset, q->slice_size, s, NULL, 0,
                           g_memdup2(s->data, q->slice_size)};
        g_array_append_val(to, u);
        s->dirty = false;
        s->writing = true;
    }
}

static void commit__take_table(struct table *t, GArray *to)
{
    if (!t->any_dirty)
        return;
    for (uint64_t sector = 0; sector * TABLE_SECTOR < t->n; sector++) {
        if (!t->dirty[sector])
            continue;
        uint64_t first = sector * TABLE_SECTOR, n = MIN(t->n - first, TABLE_SECTOR);
        uint64_t *copy = g_new(uint64_t, n);
        for (uint64_t i = 0; i < n; i++)
            copy[i] = GUINT64_TO_BE(t->entry[first + i]);
        struct update u = {t->offset + first * 8, (uint32_t)n * 8, NULL, t, sector,
                           (uint8_t *)copy};
        g_array_append_val(to, u);
        t->dirty[sector] = 0;
    }
    t->any_dirty = false;
}

static int commit__write(struct qcow2 *q, GArray *updates)
{
    for (guint i = 0; i < updates->len; i++) {
        struct update *u = &g_array_index(updates, struct update, i);
        int r = block_file__write(q->img.file, u->offset, u->data, u->len);
        if (r < 0)
            return r;
    }
    return 0;
}

/* With the lock held: the updates are written, or (FAILED) still to be. Frees them. */
static void commit__settle(struct qcow2 *q, GArray *updates, bool failed)
{
    for (guint i = 0; i < updates->len; i++) {
        struct update *u = &g_array_index(updates, struct update, i);
        if (u->slice) {
            u->slice->writing = false;
            u->slice->dirty |= failed;
            if (!u->slice->dirty)
                q->dirty_slices--;
        } else if (failed && u->sector * TABLE_SECTOR < u->table->n) {
            u->table->dirty[u->sector] = 1;
            u->table->any_dirty = true;
        }
    }
    if (failed && updates->len)
        cache__changed(q);
    g_array_free(updates, TRUE);
}

/* Steps 1 and 2 of a commit: refcounts, then what relies on them. */
static int commit__write_ordered(struct qcow2 *q, GArray *blocks, GArray *reftable, GArray *maps)
{
    int r = commit__write(q, blocks);

    if (r == 0 && reftable->len) {
        r = block_file__sync(q->img.file);
        if (r == 0)
            r = commit__write(q, reftable);
    }
    if (r == 0)
        r = block_file__sync(q->img.file);
    if (r < 0 || maps->len == 0)
        return r;
    r = commit__write(q, maps);
    return r == 0 ? block_file__sync(q->img.file) : r;
}

/*
 * Lowers the refcounts of RUNS, but collects those that would become 0 in LAST instead. With the lock
 * held.
 */
static int commit__lower(struct qcow2 *q, GArray *runs, GArray *last)
{
    for (guint i = 0; i < runs->len; i++) {
        struct free_run *run = &g_array_index(runs, struct free_run, i);
        for (uint64_t c = run->cluster; c < run->cluster + run->n; c++) {
            uint64_t count = 0;
            int r = qcow2__refcount(q, c, &count);
            if (r == 0 && count == 0)
                r = qcow2__corrupt(q, "cluster %" G_GUINT64_FORMAT " is used but counted as free",
                                   c);
            if (r == 0 && count > 1)
                r = qcow2__refcount_set(q, c, count - 1);
            if (r < 0)
                return r;
            if (count > 1)
                continue;
            struct free_run one = {c, 1};
            struct free_run *prev =
                last->len ? &g_array_index(last, struct free_run, last->len - 1) : NULL;
            if (prev && prev->cluster + prev->n == c)
                prev->n++;
            else
                g_array_append_val(last, one);
        }
    }
    return 0;
}

/* The clusters of RUNS become free. With the lock held. */
static int commit__release(struct qcow2 *q, GArray *runs)
{
    for (guint i = 0; i < runs->len; i++) {
        struct free_run *run = &g_array_index(runs, struct free_run, i);
        for (uint64_t c = run->cluster; c < run->cluster + run->n; c++) {
            uint64_t count = 0;
            int r = qcow2__refcount(q, c, &count);
            if (r == 0 && (count != 1 || qcow2__is_metadata(q, c << q->cluster_bits, 1)))
                r = qcow2__corrupt(q, "cluster %" G_GUINT64_FORMAT " is referred to more often "
                                      "than it is counted", c);
            if (r == 0)
                r = qcow2__refcount_set(q, c, 0);
            if (r < 0)
                return r;
            q->free_hint = MIN(q->free_hint, c);
        }
    }
    return 0;
}

/*
 * Step 3: nothing on the disk refers to RUNS any more. What becomes free is given back to the host
 * first, while nobody can allocate it. An error here only leaks clusters.
 */
static void commit__free(struct qcow2 *q, GArray *runs)
{
    g_autoptr(GArray) last = g_array_new(FALSE, FALSE, sizeof(struct free_run));
    GArray *blocks = updates__new();

    if (runs->len == 0) {
        g_array_free(blocks, TRUE);
        return;
    }
    uv_mutex_lock(&q->lock);
    int r = commit__lower(q, runs, last);
    uv_mutex_unlock(&q->lock);
    for (guint i = 0; r == 0 && i < last->len; i++) {
        struct free_run *run = &g_array_index(last, struct free_run, i);
        block_file__discard(q->img.file, run->cluster << q->cluster_bits,
                            run->n << q->cluster_bits);
    }
    uv_mutex_lock(&q->lock);
    if (r == 0)
        commit__release(q, last);
    commit__take_slices(q, SLICE_REFCOUNT, blocks);
    uv_mutex_unlock(&q->lock);
    r = commit__write(q, blocks);
    uv_mutex_lock(&q->lock);
    commit__settle(q, blocks, r < 0);
    uv_mutex_unlock(&q->lock);
}

int qcow2__commit(struct qcow2 *q)
{
    GArray *blocks = updates__new(), *reftable = updates__new(), *maps = updates__new();
    g_autoptr(GArray) frees = g_array_new(FALSE, FALSE, sizeof(struct free_run));
    int r = 0;

    uv_mutex_lock(&q->commit_lock);
    uv_mutex_lock(&q->lock);
    if (__atomic_load_n(&q->corrupt, __ATOMIC_ACQUIRE)) {
        r = -EIO;
    } else {
        __atomic_store_n(&q->unsaved, 0, __ATOMIC_RELEASE);
        commit__take_slices(q, SLICE_REFCOUNT, blocks);
        commit__take_table(&q->reftable, reftable);
        commit__take_slices(q, SLICE_L2, maps);
        commit__take_table(&q->l1, maps);
        g_array_append_vals(frees, q->frees->data, q->frees->len);
        g_array_set_size(q->frees, 0);
        q->free_clusters = 0;
    }
    uv_mutex_unlock(&q->lock);

    if (r == 0)
        r = commit__write_ordered(q, blocks, reftable, maps);

    uv_mutex_lock(&q->lock);
    commit__settle(q, blocks, r < 0);
    commit__settle(q, reftable, r < 0);
    commit__settle(q, maps, r < 0);
    for (guint i = 0; r < 0 && i < frees->len; i++) {
        struct free_run *run = &g_array_index(frees, struct free_run, i);
        qcow2__free_later(q, run->cluster, run->n);
    }
    uv_mutex_unlock(&q->lock);
    if (r == 0)
        commit__free(q, frees);
    uv_mutex_unlock(&q->commit_lock);
    return r;
}
