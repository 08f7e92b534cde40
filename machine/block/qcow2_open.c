/*
 * Opening a qcow2 image: its header, tables and backing file are read and checked here, so that the
 * rest may rely on what struct qcow2 says is fixed. Follows QEMU's docs/interop/qcow2.txt.
 */
#include "machine/block/qcow2.h"

#include <errno.h>
#include <stdarg.h>

struct header {
    uint32_t magic;
    uint32_t version;
    uint64_t backing_offset;
    uint32_t backing_len;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_entries;
    uint64_t l1_offset;
    uint64_t reftable_offset;
    uint32_t reftable_clusters;
    uint32_t snapshots;
    uint64_t snapshots_offset;
    /* Version 3. */
    uint64_t incompatible;
    uint64_t compatible;
    uint64_t autoclear;
    uint32_t refcount_order;
    uint32_t header_len;
    uint8_t compression;
    uint8_t padding[7];
} __attribute__((packed));
G_STATIC_ASSERT(offsetof(struct header, size) == QCOW2_AT_SIZE);
G_STATIC_ASSERT(offsetof(struct header, l1_entries) == QCOW2_AT_L1_ENTRIES);
G_STATIC_ASSERT(offsetof(struct header, reftable_offset) == QCOW2_AT_REFTABLE);
G_STATIC_ASSERT(offsetof(struct header, incompatible) == QCOW2_AT_INCOMPAT);
G_STATIC_ASSERT(offsetof(struct header, autoclear) == QCOW2_AT_AUTOCLEAR);
G_STATIC_ASSERT(sizeof(struct header) == 112);

enum { HEADER_V2 = 72, HEADER_V3 = 104, BACKING_NAME_MAX = 1023, FEATURE_ROW = 48 };
enum { EXT_BACKING_FORMAT = 0xe2792aca, EXT_FEATURE_NAMES = 0x6803f857 };

/* What only opening needs. */
struct opening {
    struct qcow2 *q;
    struct header h;   /* in host order */
    uint8_t *cluster;  /* the first */
    char *backing_name, *backing_format;
    uint8_t *feature_names; /* FEATURE_ROW bytes each */
    uint32_t feature_rows;
    GArray *snapshots; /* struct extent: the snapshots' L1 tables, of a writable image */
    GError **err;
};

static bool open__bad(struct opening *o, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* The image is malformed. Returns false. */
static bool open__bad(struct opening *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return vmd_fail(o->err, VMD_ERROR_INVALID, "qcow2 image %s is damaged: %s",
                    o->q->img.file->path, why);
}

int qcow2__corrupt(struct qcow2 *q, const char *fmt, ...)
{
    va_list ap;

    if (__atomic_exchange_n(&q->corrupt, 1, __ATOMIC_ACQ_REL))
        return -EIO;
    va_start(ap, fmt);
    g_autofree char *why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    __atomic_store_n(&q->fault,
                     g_strdup_printf("qcow2 image %s is damaged: %s", q->img.file->path, why),
                     __ATOMIC_RELEASE);
    if (q->writable && q->version >= 3) {
        /* For the next program that opens it; the error counts more than whether this works. */
        uint64_t bits = GUINT64_TO_BE(q->incompatible | QCOW2_INCOMPAT_CORRUPT);
        block_file__write(q->img.file, QCOW2_AT_INCOMPAT, &bits, sizeof(bits));
    }
    return -EIO;
}

/* --- the header --------------------------------------------------------------------------- */

static void header__to_host(struct header *h)
{
    h->magic = GUINT32_FROM_BE(h->magic);
    h->version = GUINT32_FROM_BE(h->version);
    h->backing_offset = GUINT64_FROM_BE(h->backing_offset);
    h->backing_len = GUINT32_FROM_BE(h->backing_len);
    h->cluster_bits = GUINT32_FROM_BE(h->cluster_bits);
    h->size = GUINT64_FROM_BE(h->size);
    h->crypt_method = GUINT32_FROM_BE(h->crypt_method);
    h->l1_entries = GUINT32_FROM_BE(h->l1_entries);
    h->l1_offset = GUINT64_FROM_BE(h->l1_offset);
    h->reftable_offset = GUINT64_FROM_BE(h->reftable_offset);
    h->reftable_clusters = GUINT32_FROM_BE(h->reftable_clusters);
    h->snapshots = GUINT32_FROM_BE(h->snapshots);
    h->snapshots_offset = GUINT64_FROM_BE(h->snapshots_offset);
    h->incompatible = GUINT64_FROM_BE(h->incompatible);
    h->compatible = GUINT64_FROM_BE(h->compatible);
    h->autoclear = GUINT64_FROM_BE(h->autoclear);
    h->refcount_order = GUINT32_FROM_BE(h->refcount_order);
    h->header_len = GUINT32_FROM_BE(h->header_len);
}

static bool header__read(struct opening *o)
{
    struct header *h = &o->h;
    struct iovec iov = {h, sizeof(*h)};
    int64_t got = block_file__readv(o->q->img.file, 0, &iov, 1);

    if (got < 0)
        return vmd_set_errno(o->err, (int)-got, "reading disk image %s", o->q->img.file->path);
    header__to_host(h);
    if (h->magic != 0x514649fb)
        return vmd_fail(o->err, VMD_ERROR_INVALID, "disk image %s is not in qcow2 format",
                        o->q->img.file->path);
    if (got < HEADER_V2)
        return open__bad(o, "its header is cut short");
    if (h->version != 2 && h->version != 3)
        return vmd_fail(o->err, VMD_ERROR_UNSUPPORTED,
                        "disk image %s has qcow version %u: only 2 and 3 are supported",
                        o->q->img.file->path, h->version);
    if (h->version == 2) {
        h->incompatible = h->compatible = h->autoclear = 0;
        h->refcount_order = 4;
        h->header_len = HEADER_V2;
    } else if (got < HEADER_V3 || h->header_len < HEADER_V3) {
        return open__bad(o, "its header is too short");
    }
    if (h->header_len <= offsetof(struct header, compression))
        h->compression = 0;
    return true;
}

static bool header__check(struct opening *o)
{
    const struct header *h = &o->h;

    if (h->cluster_bits < 9 || h->cluster_bits > 21)
        return open__bad(o, "clusters of 2^%u bytes", h->cluster_bits);
    if (h->refcount_order > 6)
        return open__bad(o, "refcounts of 2^%u bits", h->refcount_order);
    if (h->header_len > 1u << h->cluster_bits)
        return open__bad(o, "its header is longer than a cluster");
    if (h->size > (uint64_t)INT64_MAX - BLOCK_SECTOR)
        return open__bad(o, "a disk of %" G_GUINT64_FORMAT " bytes", h->size);
    if (h->crypt_method)
        return vmd_fail(o->err, VMD_ERROR_UNSUPPORTED,
                        "qcow2 image %s is encrypted, which is not supported",
                        o->q->img.file->path);
    return true;
}

/* Reads the first cluster and the header extensions in it. */
static bool header__extensions(struct opening *o)
{
    const struct header *h = &o->h;
    uint64_t size = o->q->cluster_size, at = h->header_len, end = size;
    int r;

    o->cluster = g_malloc(size);
    r = block_file__read(o->q->img.file, 0, o->cluster, size);
    if (r < 0)
        return vmd_set_errno(o->err, -r, "reading disk image %s", o->q->img.file->path);
    if (h->backing_offset)
        end = MIN(end, h->backing_offset);
    while (at + 8 <= end) {
        uint32_t type, len;
        memcpy(&type, o->cluster + at, 4);
        memcpy(&len, o->cluster + at + 4, 4);
        type = GUINT32_FROM_BE(type);
        len = GUINT32_FROM_BE(len);
        at += 8;
        if (type == 0)
            break;
        if (len > end - at)
            return open__bad(o, "a header extension is too long");
        if (type == (uint32_t)EXT_BACKING_FORMAT && !o->backing_format)
            o->backing_format = g_strndup((char *)o->cluster + at, len);
        if (type == EXT_FEATURE_NAMES) {
            o->feature_names = o->cluster + at;
            o->feature_rows = len / FEATURE_ROW;
        }
        at += ALIGN_UP((uint64_t)len, 8);
    }
    return true;
}

/* The name of incompatible feature BIT, as the image or else its number says. */
static char *header__feature(const struct opening *o, unsigned bit)
{
    for (uint32_t i = 0; i < o->feature_rows; i++) {
        const uint8_t *row = o->feature_names + (size_t)i * FEATURE_ROW;
        if (row[0] == 0 && row[1] == bit) {
            g_autofree char *name = g_strndup((const char *)row + 2, FEATURE_ROW - 2);
            return g_utf8_make_valid(name, -1);
        }
    }
    return g_strdup_printf("feature bit %u", bit);
}

static bool header__features(struct opening *o)
{
    const char *path = o->q->img.file->path;
    uint64_t known = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_COMPRESSION;
    uint64_t unknown = o->h.incompatible & ~known;
    bool marked = o->h.incompatible & QCOW2_INCOMPAT_COMPRESSION;

    if (unknown) {
        g_autofree char *name = header__feature(o, (unsigned)__builtin_ctzll(unknown));
        return vmd_fail(o->err, VMD_ERROR_UNSUPPORTED,
                        "qcow2 image %s uses '%s', which is not supported", path, name);
    }
    if ((o->h.incompatible & QCOW2_INCOMPAT_CORRUPT) && o->q->writable)
        return vmd_fail(o->err, VMD_ERROR_INVALID,
                        "qcow2 image %s is marked corrupt, and can only be used read-only: repair it "
                        "with 'qemu-img check -r all'", path);
    if (o->h.incompatible & QCOW2_INCOMPAT_CORRUPT)
        o->q->notice = g_strdup_printf("qcow2 image %s is marked corrupt: what is read from it may be "
                                       "wrong", path);
    if (o->h.compression > 1)
        return vmd_fail(o->err, VMD_ERROR_UNSUPPORTED,
                        "qcow2 image %s has compression type %u, which is not supported", path,
                        o->h.compression);
    if (marked != (o->h.compression != 0))
        return open__bad(o, "its compression type and feature bits disagree");
    return true;
}

static void header__take(struct qcow2 *q, const struct header *h)
{
    q->version = h->version;
    q->cluster_bits = h->cluster_bits;
    q->cluster_size = 1ull << h->cluster_bits;
    q->refcount_order = h->refcount_order;
    q->zstd = h->compression == 1;
    q->snapshots = h->snapshots;
    q->incompatible = h->incompatible;
    q->slice_size = (uint32_t)MIN(q->cluster_size, QCOW2_SLICE);
    q->slices_max = LIMIT_QCOW2_CACHE / q->slice_size;
    q->block_refs = q->cluster_size * 8 >> h->refcount_order;
    q->l2_entries = q->cluster_size / 8;
    q->unpacked_max = (unsigned)CLAMP(KIB(512) >> q->cluster_bits, 1, QCOW2_UNPACKED);
    q->img.geometry = (struct block_geometry){
        .size = ALIGN_UP(h->size, BLOCK_SECTOR),
        .logical_block = BLOCK_SECTOR,
        .physical_block = (uint32_t)MIN(q->cluster_size, q->img.file->block_size),
        .discard_alignment = (uint32_t)q->cluster_size,
        .readonly = !q->writable,
        .discard = q->writable,
        .write_zeroes = q->writable,
    };
}

/* --- tables ------------------------------------------------------------------------------- */

static int extent__compare(gconstpointer a, gconstpointer b)
{
    uint64_t x = ((const struct extent *)a)->start, y = ((const struct extent *)b)->start;

    return (x > y) - (x < y);
}

bool qcow2__is_metadata(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    uint64_t lo = 0, hi = q->fixed->len;

    if (q->reftable.n && offset < q->reftable.offset + q->reftable.n * 8 &&
        q->reftable.offset < offset + len)
        return true;
    /* The first extent that ends behind OFFSET. */
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        struct extent *e = &g_array_index(q->fixed, struct extent, mid);
        if (e->start + e->len <= offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < q->fixed->len && g_array_index(q->fixed, struct extent, lo).start < offset + len)
        return true;
    for (uint64_t c = qcow2__cluster_of(q, offset); c <= qcow2__cluster_of(q, offset + len - 1); c++)
        if (g_hash_table_contains(q->metadata, (void *)(uintptr_t)c))
            return true;
    return false;
}

/* Whether LEN bytes at OFFSET are aligned and in the file, whose last cluster may be cut short. */
static bool table__in_file(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
    uint64_t end = ALIGN_UP(q->file_end, q->cluster_size);

    return offset && qcow2__in_cluster(q, offset) == 0 && offset < q->file_end &&
           len <= end - offset;
}

static bool table__load(struct opening *o, struct table *t, uint64_t offset, uint64_t n,
                        const char *what)
{
    struct qcow2 *q = o->q;

    if (n > LIMIT_QCOW2_TABLE / 8)
        return vmd_fail(o->err, VMD_ERROR_LIMIT,
                        "qcow2 image %s has %s of %" G_GUINT64_FORMAT " entries: at most %d are "
                        "supported", q->img.file->path, what, n, LIMIT_QCOW2_TABLE / 8);
    if (n && !table__in_file(q, offset, n * 8))
        return open__bad(o, "%s is not in the file", what);
    t->entry = g_new0(uint64_t, n);
    t->dirty = g_malloc0(n / 64 + 1);
    t->n = n;
    t->offset = offset;
    int r = n ? block_file__read(q->img.file, offset, t->entry, n * 8) : 0;
    if (r < 0)
        return vmd_set_errno(o->err, -r, "reading disk image %s", q->img.file->path);
    for (uint64_t i = 0; i < n; i++)
        t->entry[i] = GUINT64_FROM_BE(t->entry[i]);
    return true;
}

static bool table__load_l1(struct opening *o)
{
    struct qcow2 *q = o->q;
    uint64_t per = q->cluster_size * q->l2_entries;
    uint64_t need = o->h.size / per + (o->h.size % per != 0);

    if (o->h.l1_entries < need)
        return open__bad(o, "its L1 table is too short for its size");
    if (!table__load(o, &q->l1, o->h.l1_offset, o->h.l1_entries, "an L1 table"))
        return false;
    for (uint64_t i = 0; i < q->l1.n; i++) {
        uint64_t entry = q->l1.entry[i];
        if ((entry & ~(QCOW2_OFFSET | QCOW2_COPIED)) ||
            ((entry & QCOW2_OFFSET) &&
             !table__in_file(q, entry & QCOW2_OFFSET, q->cluster_size)) ||
            entry == QCOW2_COPIED)
            return open__bad(o, "L1 entry %" G_GUINT64_FORMAT " is malformed", i);
    }
    return true;
}

/* --- what must not be overwritten --------------------------------------------------------- */

static void fixed__add(struct qcow2 *q, uint64_t start, uint64_t len)
{
    struct extent e = {start, len};

    if (len)
        g_array_append_val(q->fixed, e);
}

/* The snapshot table and the snapshots' L1 tables (specification, "Snapshots"). */
static bool fixed__add_snapshots(struct opening *o)
{
    struct qcow2 *q = o->q;
    uint64_t at = o->h.snapshots_offset;

    if (q->snapshots > LIMIT_QCOW2_SNAPSHOTS)
        return vmd_fail(o->err, VMD_ERROR_LIMIT, "qcow2 image %s has more than %d snapshots",
                        q->img.file->path, LIMIT_QCOW2_SNAPSHOTS);
    if (q->snapshots && !table__in_file(q, at, 1))
        return open__bad(o, "its snapshot table is not in the file");
    for (uint32_t i = 0; i < q->snapshots; i++) {
        struct {
            uint64_t l1_offset;
            uint32_t l1_entries;
            uint16_t id_len, name_len;
            uint32_t date_s, date_ns;
            uint64_t clock;
            uint32_t state_len, extra_len;
        } __attribute__((packed)) s;
        int r = block_file__read(q->img.file, at, &s, sizeof(s));
        if (r < 0)
            return vmd_set_errno(o->err, -r, "reading disk image %s", q->img.file->path);
        uint64_t l1 = GUINT64_FROM_BE(s.l1_offset);
        uint64_t l1_len = (uint64_t)GUINT32_FROM_BE(s.l1_entries) * 8;
        if (l1_len > LIMIT_QCOW2_TABLE || (l1_len && !table__in_file(q, l1, l1_len)) ||
            at + sizeof(s) > q->file_end)
            return open__bad(o, "snapshot %u is malformed", i);
        fixed__add(q, l1, l1_len);
        struct extent table = {l1, l1_len};
        g_array_append_val(o->snapshots, table);
        at += ALIGN_UP(sizeof(s) + (uint64_t)GUINT32_FROM_BE(s.extra_len) +
                           GUINT16_FROM_BE(s.id_len) + GUINT16_FROM_BE(s.name_len),
                       8);
    }
    fixed__add(q, o->h.snapshots_offset, q->snapshots ? at - o->h.snapshots_offset : 0);
    return true;
}

static bool fixed__collect(struct opening *o)
{
    struct qcow2 *q = o->q;

    fixed__add(q, 0, q->cluster_size);
    fixed__add(q, q->l1.offset, q->l1.n * 8);
    if (!fixed__add_snapshots(o))
        return false;
    g_array_sort(q->fixed, extent__compare);
    for (guint i = 1; i < q->fixed->len; i++) {
        struct extent *a = &g_array_index(q->fixed, struct extent, i - 1);
        if (g_array_index(q->fixed, struct extent, i).start < a->start + a->len)
            return open__bad(o, "its tables overlap at offset %" G_GUINT64_FORMAT, a->start);
    }
    return true;
}

/* Notes that a cluster of the file holds metadata, which no other does. */
static bool fixed__claim(struct opening *o, uint64_t offset)
{
    struct qcow2 *q = o->q;

    if (qcow2__is_metadata(q, offset, q->cluster_size))
        return open__bad(o, "its tables overlap at offset %" G_GUINT64_FORMAT, offset);
    g_hash_table_add(q->metadata, (void *)(uintptr_t)qcow2__cluster_of(q, offset));
    return true;
}

static bool reftable__load(struct opening *o)
{
    struct qcow2 *q = o->q;
    uint64_t len = (uint64_t)o->h.reftable_clusters << q->cluster_bits;
    struct table t = {0};

    if (len == 0 || len > LIMIT_QCOW2_TABLE / 4)
        return open__bad(o, "a refcount table of %u clusters", o->h.reftable_clusters);
    bool ok = table__load(o, &t, o->h.reftable_offset, len / 8, "a refcount table");
    if (ok && qcow2__is_metadata(q, t.offset, len))
        ok = open__bad(o, "its tables overlap at offset %" G_GUINT64_FORMAT, t.offset);
    q->reftable = t;
    if (ok && t.entry[0] == 0)
        ok = open__bad(o, "its first refcount block is missing");
    for (uint64_t i = 0; ok && i < t.n; i++) {
        if (t.entry[i] == 0)
            continue;
        if (!table__in_file(q, t.entry[i], q->cluster_size))
            ok = open__bad(o, "refcount table entry %" G_GUINT64_FORMAT " is malformed", i);
        else
            ok = fixed__claim(o, t.entry[i]);
    }
    return ok;
}

/* Its last writer delayed refcounts and could not write them in the end. */
static bool reftable__rebuild(struct opening *o)
{
    struct qcow2 *q = o->q;
    struct qcow2_reftable_at now;

    if (!(q->incompatible & QCOW2_INCOMPAT_DIRTY))
        return true;
    if (!qcow2__rebuild_refcounts(q, o->snapshots, &now, o->err))
        return false;
    o->h.reftable_offset = now.offset;
    o->h.reftable_clusters = now.clusters;
    q->notice = g_strdup_printf("qcow2 image %s was not closed in order by the program that wrote to "
                                "it last; its refcounts were rebuilt", q->img.file->path);
    return true;
}

/* What only a writer needs: refcounts, and the knowledge of where all metadata is. */
static bool open__for_writing(struct opening *o)
{
    struct qcow2 *q = o->q;
    uint64_t none = 0;
    int r = 0;

    if (!fixed__collect(o) || !reftable__rebuild(o) || !reftable__load(o))
        return false;
    for (uint64_t i = 0; i < q->l1.n; i++) {
        uint64_t offset = q->l1.entry[i] & QCOW2_OFFSET;
        if (offset && !fixed__claim(o, offset))
            return false;
    }
    /* Whoever wrote the data behind these bits cannot rely on it after us: the specification says to
     * clear what one does not know. */
    if (o->h.autoclear) {
        r = block_file__write(q->img.file, QCOW2_AT_AUTOCLEAR, &none, sizeof(none));
        if (r == 0)
            r = block_file__sync(q->img.file);
    }
    return r == 0 || vmd_set_errno(o->err, -r, "writing disk image %s", q->img.file->path);
}

/* --- the backing file --------------------------------------------------------------------- */

/* The file that the image's name for its backing file means. */
static char *backing__path(struct opening *o)
{
    const char *name = o->backing_name, *colon = strchr(name, ':'), *slash = strchr(name, '/');

    if (g_str_has_prefix(name, "file:"))
        name += strlen("file:");
    else if (colon && (!slash || colon < slash)) {
        vmd_fail(o->err, VMD_ERROR_UNSUPPORTED,
                 "qcow2 image %s has backing file '%s': only local files are supported",
                 o->q->img.file->path, name);
        return NULL;
    }
    if (g_path_is_absolute(name))
        return g_strdup(name);
    g_autofree char *folder = g_path_get_dirname(o->q->img.file->path);
    return g_build_filename(folder, name, NULL);
}

static bool backing__open(struct opening *o, const struct block_chain *chain)
{
    const struct header *h = &o->h;
    enum block_format format;

    if (h->backing_offset == 0 || h->backing_len == 0)
        return true;
    if (h->backing_len > MIN(BACKING_NAME_MAX, o->q->cluster_size) ||
        h->backing_offset < h->header_len ||
        h->backing_offset > o->q->cluster_size - h->backing_len)
        return open__bad(o, "the name of its backing file is not in its header");
    o->backing_name = g_strndup((char *)o->cluster + h->backing_offset, h->backing_len);
    g_autofree char *shown = g_utf8_make_valid(o->backing_name, -1);
    if (!o->backing_format)
        return vmd_fail(o->err, VMD_ERROR_INVALID,
                        "qcow2 image %s does not say which format its backing file '%s' has, and "
                        "guessing is not safe: set it with 'qemu-img rebase -u -F FORMAT -b'",
                        o->q->img.file->path, shown);
    if (!block_format_parse(o->backing_format, &format, NULL) || format == BLOCK_FORMAT_AUTO) {
        g_autofree char *name = g_utf8_make_valid(o->backing_format, -1);
        return vmd_fail(o->err, VMD_ERROR_UNSUPPORTED,
                        "qcow2 image %s has a backing file of format '%s', which is not supported",
                        o->q->img.file->path, name);
    }
    g_autofree char *path = backing__path(o);
    if (!path)
        return false;
    o->q->backing = block_image__open(path, format, true, chain->given, chain, o->err);
    if (!o->q->backing) {
        g_prefix_error(o->err, "backing file of %s: ", o->q->img.file->path);
        return false;
    }
    return true;
}

/* --- the image ---------------------------------------------------------------------------- */

static void table__clear(struct table *t)
{
    g_free(t->entry);
    g_free(t->dirty);
}

static void qcow2_close(struct block_image *img)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);
    GList *link;

    while ((link = g_queue_pop_head_link(&q->recent)))
        g_free(link->data);
    g_hash_table_destroy(q->slices);
    g_hash_table_destroy(q->metadata);
    g_array_free(q->frees, TRUE);
    g_array_free(q->fixed, TRUE);
    table__clear(&q->l1);
    table__clear(&q->reftable);
    qcow2__unpacked_free(q);
    g_free(q->fault);
    g_free(q->notice);
    uv_cond_destroy(&q->ranges_changed);
    uv_mutex_destroy(&q->lock);
    uv_mutex_destroy(&q->commit_lock);
    uv_mutex_destroy(&q->unpacked_lock);
    block_image__close(q->backing);
    block_file__close(img->file);
    g_free(q);
}

static int qcow2_flush(struct block_image *img)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);

    return q->writable ? qcow2__commit(q) : 0;
}

static bool qcow2_unsaved(struct block_image *img)
{
    struct qcow2 *q = container_of(img, struct qcow2, img);

    return __atomic_load_n(&q->unsaved, __ATOMIC_ACQUIRE) &&
           !__atomic_load_n(&q->corrupt, __ATOMIC_ACQUIRE);
}

static const char *qcow2_fault(struct block_image *img)
{
    return __atomic_load_n(&container_of(img, struct qcow2, img)->fault, __ATOMIC_ACQUIRE);
}

static struct block_image *qcow2_backing(struct block_image *img)
{
    return container_of(img, struct qcow2, img)->backing;
}

static const char *qcow2_notice(struct block_image *img)
{
    return container_of(img, struct qcow2, img)->notice;
}

static const struct block_image_ops qcow2_ops = {
    .format = BLOCK_FORMAT_QCOW2,
    .read = qcow2__read,
    .write = qcow2__write,
    .flush = qcow2_flush,
    .discard = qcow2__discard,
    .zero = qcow2__zero,
    .grow = qcow2__grow,
    .unsaved = qcow2_unsaved,
    .fault = qcow2_fault,
    .backing = qcow2_backing,
    .notice = qcow2_notice,
    .close = qcow2_close,
};

static struct qcow2 *qcow2__new(struct block_file *file)
{
    struct qcow2 *q = g_new0(struct qcow2, 1);

    q->img.ops = &qcow2_ops;
    q->img.file = file;
    q->writable = !file->readonly;
    q->file_end = file->size;
    q->slices = g_hash_table_new(g_int64_hash, g_int64_equal);
    q->metadata = g_hash_table_new(NULL, NULL);
    q->frees = g_array_new(FALSE, FALSE, sizeof(struct free_run));
    q->fixed = g_array_new(FALSE, FALSE, sizeof(struct extent));
    uv_mutex_init(&q->lock);
    uv_mutex_init(&q->commit_lock);
    uv_mutex_init(&q->unpacked_lock);
    uv_cond_init(&q->ranges_changed);
    return q;
}

static bool qcow2__load(struct opening *o, const struct block_chain *chain)
{
    if (!header__read(o) || !header__check(o))
        return false;
    header__take(o->q, &o->h);
    return header__extensions(o) && header__features(o) && table__load_l1(o) &&
           backing__open(o, chain) && (!o->q->writable || open__for_writing(o));
}

struct block_image *block_qcow2__open(struct block_file *file, const struct block_chain *chain,
                                      GError **err)
{
    g_autoptr(GArray) snapshots = g_array_new(FALSE, FALSE, sizeof(struct extent));
    struct opening o = {.q = qcow2__new(file), .snapshots = snapshots, .err = err};
    bool ok = qcow2__load(&o, chain);

    g_free(o.cluster);
    g_free(o.backing_name);
    g_free(o.backing_format);
    if (ok)
        return &o.q->img;
    qcow2_close(&o.q->img);
    return NULL;
}
