/*
 * machine/block/qcow2.h: the inside of the qcow2 format (versions 2 and 3), shared by qcow2_*.c.
 *
 * What keeps an image whole
 * -------------------------
 * L1, L2 and refcount tables change in memory first: L1 and the refcount table are held entire, L2
 * tables and refcount blocks in slices of a cache of bounded size. A commit (qcow2__commit) brings
 * the changes to the file in an order in which a cut at any point leaks clusters at worst:
 *
 *   1. refcount blocks, then a sync, which also covers all data and all new, empty tables; where the
 *      refcount table changed, that next, and a sync;
 *   2. L2 slices and L1 entries, and a sync;
 *   3. only now are the clusters that these changes let go returned to the free ones.
 *
 * So an entry never refers to what is not there yet, and nothing is reused while an entry on the disk
 * still refers to it. Refcounts may be written early (too high is a leak), L2 and L1 only by a commit.
 * An L2 entry changes in memory only after the data that it refers to has been written to the file.
 *
 * Locking
 * -------
 * `ranges` of guest clusters: reads and writes in place share a range, what changes its mapping has it
 * alone, first come first served; so host clusters found by a lookup stay what they are until the range
 * is let go. `lock` guards the tables, the cache and the list of ranges; it is held for lookups and
 * changes and for reading metadata, not for moving data and not for the syncs of a commit.
 * `commit_lock` makes commits one at a time. Order: a range, commit_lock, lock.
 * `unpacked_lock` guards the decompressed clusters and is taken last, alone.
 *
 * Nothing in the image is trusted: what is read at open is checked there; L2 entries and refcounts are
 * checked whenever they are used. A contradiction gives -EIO, stops all writing and, in version 3,
 * marks the image corrupt.
 */
#ifndef MACHINE_BLOCK_QCOW2_H
#define MACHINE_BLOCK_QCOW2_H

#include "machine/block/image.h"

/* Bits of L1 and L2 entries. */
#define QCOW2_COPIED     (1ull << 63) /* refcount is 1: may be changed in place */
#define QCOW2_COMPRESSED (1ull << 62)
#define QCOW2_ZERO       (1ull << 0) /* version 3 */
#define QCOW2_OFFSET     0x00fffffffffffe00ull
#define QCOW2_RESERVED   0x3f000000000001feull

/* Incompatible features (version 3). */
#define QCOW2_INCOMPAT_DIRTY       (1ull << 0)
#define QCOW2_INCOMPAT_CORRUPT     (1ull << 1)
#define QCOW2_INCOMPAT_DATA_FILE   (1ull << 2)
#define QCOW2_INCOMPAT_COMPRESSION (1ull << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2 (1ull << 4)

/* Where fields of the header are, for those that are written. */
enum { QCOW2_AT_SIZE = 24, QCOW2_AT_L1_ENTRIES = 36, QCOW2_AT_REFTABLE = 48, QCOW2_AT_INCOMPAT = 72, QCOW2_AT_AUTOCLEAR = 88 };

enum { QCOW2_SLICE = 4096, QCOW2_UNPACKED = 8, QCOW2_FREES = 4096, QCOW2_FREE_CLUSTERS = 65536 };

enum slice_kind { SLICE_L2, SLICE_REFCOUNT };

/* A piece of an L2 table or of a refcount block, as it is in the file (big-endian). */
struct slice {
    uint64_t offset; /* in the file; the key */
    enum slice_kind kind;
    unsigned pins;   /* users under `lock` right now */
    bool dirty;      /* differs from the file */
    bool writing;    /* a commit is writing a copy of it */
    GList link;      /* in the queue of least recent use */
    uint8_t data[];  /* slice_size bytes */
};

/* A table that is held entire, in host order. */
struct table {
    uint64_t *entry;
    uint64_t n;
    uint64_t offset;  /* in the file */
    uint8_t *dirty;   /* a flag for every 64 entries (512 bytes) */
    bool any_dirty;
};

/* Clusters whose refcounts drop by one after the next commit. */
struct free_run {
    uint64_t cluster, n;
};

/* A request's claim on guest clusters; lives on the worker's stack. */
struct range {
    uint64_t start, end;
    bool exclusive;
    struct range *next; /* in order of arrival */
};

struct extent {
    uint64_t start, len; /* bytes of the file that hold metadata */
};

struct unpacked {
    uint64_t entry; /* the compressed cluster's L2 entry, 0: none */
    uint8_t *data;
};

struct qcow2 {
    struct block_image img;
    struct block_image *backing; /* or NULL */

    /* Fixed at open. */
    unsigned version;
    unsigned cluster_bits;
    uint64_t cluster_size;
    unsigned refcount_order; /* refcounts are 1 << order bits wide */
    bool zstd;
    bool writable;
    uint32_t snapshots;
    uint32_t slice_size;
    unsigned slices_max;
    uint64_t block_refs; /* refcounts in a refcount block */
    uint64_t l2_entries; /* in an L2 table */
    GArray *fixed;       /* struct extent, sorted: header, L1 and snapshots of a writable image */

    uv_mutex_t lock;
    struct table l1;
    struct table reftable; /* writable images only */
    GHashTable *slices;    /* by offset */
    GQueue recent;         /* most recent first */
    unsigned dirty_slices; /* dirty or writing */
    GArray *frees;         /* struct free_run */
    uint64_t free_clusters; /* in all of frees */
    uint64_t free_hint;    /* no cluster below is free */
    uint64_t file_end;     /* bytes; nothing was ever written or promised behind */
    GHashTable *metadata;  /* cluster numbers of active L2 tables and refcount blocks */
    uint64_t incompatible; /* the header's feature bits */
    struct range *ranges;
    uv_cond_t ranges_changed;
    int corrupt;  /* atomic */
    int unsaved;  /* atomic: changes that only memory has */
    char *fault;  /* atomic: why it is corrupt; set once */
    char *notice; /* what opening it found or did, for its owner; NULL: nothing */

    uv_mutex_t commit_lock;

    uv_mutex_t unpacked_lock;
    struct unpacked unpacked[QCOW2_UNPACKED];
    unsigned unpacked_max, unpacked_next;
};

static inline uint64_t qcow2__cluster_of(const struct qcow2 *q, uint64_t offset)
{
    return offset >> q->cluster_bits;
}

static inline uint64_t qcow2__in_cluster(const struct qcow2 *q, uint64_t offset)
{
    return offset & (q->cluster_size - 1);
}

/* --- qcow2_open.c ------------------------------------------------------------------------- */

/* With the lock held: the image contradicts itself; writing ends. Returns -EIO. */
int qcow2__corrupt(struct qcow2 *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* With the lock held: whether a byte of the file's range holds metadata. */
bool qcow2__is_metadata(struct qcow2 *q, uint64_t offset, uint64_t len);

/* --- qcow2_cache.c ------------------------------------------------------------------------ */

/* All with the lock held. */

/* The slice at OFFSET into OUT, read if need be and pinned until qcow2__put(). */
int qcow2__get(struct qcow2 *q, enum slice_kind kind, uint64_t offset, struct slice **out);
void qcow2__put(struct slice *s);
void qcow2__slice_dirty(struct qcow2 *q, struct slice *s);
/* A newly allocated cluster gets its contents by other means: drops what the cache has of it. */
int qcow2__forget(struct qcow2 *q, uint64_t offset);
void qcow2__table_set(struct qcow2 *q, struct table *t, uint64_t i, uint64_t value);
/* Puts clusters on the list of those that the next commit lets go. */
void qcow2__free_later(struct qcow2 *q, uint64_t cluster, uint64_t n);
/*
 * To be called before a change: commits if the cache or the list of frees is half full, letting go of
 * the lock meanwhile. -EIO for a corrupt image.
 */
int qcow2__make_room(struct qcow2 *q);

/* Without the lock. */

/* Brings all changes to stable storage, in order. */
int qcow2__commit(struct qcow2 *q);

/* --- qcow2_refcount.c --------------------------------------------------------------------- */

/* All with the lock held. */

int qcow2__refcount(struct qcow2 *q, uint64_t cluster, uint64_t *out);
int qcow2__refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value);
/*
 * Allocates up to WANT contiguous clusters. Returns how many (at least 1) and the file offset of the
 * first, or -errno.
 */
int64_t qcow2__alloc(struct qcow2 *q, uint64_t want, uint64_t *offset);
/* Takes back an allocation that nothing refers to. */
void qcow2__unalloc(struct qcow2 *q, uint64_t offset, uint64_t n);

/* Refcount I of a refcount block, or of a piece of one, becomes VALUE. Needs no lock. */
void qcow2__refs_set(const struct qcow2 *q, uint8_t *data, unsigned i, uint64_t value);

/* --- qcow2_repair.c ----------------------------------------------------------------------- */

/* Where a refcount table is. */
struct qcow2_reftable_at {
    uint64_t offset;
    uint32_t clusters;
};

/*
 * While an image is opened for writing, with L1 and `fixed` there: counts all references, writes a new
 * refcount table, says where in OUT, and clears the dirty bit. SNAPSHOTS has the extents of their L1 tables.
 * An error leaves the image as it was.
 */
bool qcow2__rebuild_refcounts(struct qcow2 *q, const GArray *snapshots,
                              struct qcow2_reftable_at *out, GError **err);

/* --- qcow2_map.c -------------------------------------------------------------------------- */

enum mapping_kind {
    MAP_UNALLOCATED, /* the backing image's, or zeroes */
    MAP_ZERO,
    MAP_DATA,
    MAP_COMPRESSED,
};

/* What some guest clusters are mapped to. */
struct mapping {
    enum mapping_kind kind;
    bool in_place; /* host clusters are this image's alone */
    uint64_t host; /* file offset of the first cluster; 0: none (MAP_ZERO may have one) */
    uint64_t entry; /* the first L2 entry as it is */
    uint64_t n;    /* clusters that continue alike: same kind, host clusters in a row */
};

/*
 * With the lock held: finds the mapping of guest cluster CLUSTER and of at most MAX - 1 after it, as
 * far as one slice goes.
 */
int qcow2__lookup(struct qcow2 *q, uint64_t cluster, uint64_t max, struct mapping *out);
/*
 * With the lock held: the L2 slice of guest cluster CLUSTER to be changed, its table made or copied if
 * need be; pinned. INDEX gets the entry's place in it.
 */
int qcow2__l2_for_change(struct qcow2 *q, uint64_t cluster, struct slice **out, unsigned *index);
uint64_t qcow2__slice_entry(const struct slice *s, unsigned index);
/* Changes an entry and lists what the old one referred to (but not host cluster KEEP) as to be freed. */
void qcow2__slice_change(struct qcow2 *q, struct slice *s, unsigned index, uint64_t entry,
                         uint64_t keep);
/* Entries in a slice. */
static inline unsigned qcow2__slice_entries(const struct qcow2 *q)
{
    return q->slice_size / 8;
}
/* Where a compressed cluster's bytes are, by its L2 entry. */
void qcow2__compressed_at(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *len);

/* --- qcow2_compress.c --------------------------------------------------------------------- */

/* Without the lock: copies LEN bytes at AT of the compressed cluster of ENTRY into IOV at SKIP. */
int qcow2__read_compressed(struct qcow2 *q, uint64_t entry, uint64_t at, uint64_t len,
                           const struct iovec *iov, unsigned n, uint64_t skip);
void qcow2__unpacked_free(struct qcow2 *q);

/* --- qcow2_io.c --------------------------------------------------------------------------- */

int qcow2__read(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n);
int qcow2__write(struct block_image *img, uint64_t offset, const struct iovec *iov, unsigned n);
int qcow2__discard(struct block_image *img, uint64_t offset, uint64_t len);
int qcow2__zero(struct block_image *img, uint64_t offset, uint64_t len, bool unmap);

/* --- qcow2_grow.c ------------------------------------------------------------------------- */

int qcow2__grow(struct block_image *img, uint64_t size);

#endif
