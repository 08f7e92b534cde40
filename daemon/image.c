/* See image.h. The format: QEMU's docs/interop/qcow2.txt, version 3. */
#include "daemon/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    COPY_BYTES = 1024 * 1024, /* at a time, where the host does not copy */
    STAT_BYTES = 512,
    CLUSTER_BITS = 16,
    CLUSTER = 1 << CLUSTER_BITS,
    HEADER_BYTES = 104,
    SIZE_AT = 24,
    REFCOUNT_ORDER = 4, /* 16 bits */
    REFCOUNTS = CLUSTER / 2,
    BACKING_FORMAT = 0xe2792aca,
    BACKING_MOST = 1023,
};

static void store_be16(uint8_t *at, uint16_t value)
{
    value = GUINT16_TO_BE(value);
    memcpy(at, &value, sizeof(value));
}

static void store_be32(uint8_t *at, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    memcpy(at, &value, sizeof(value));
}

static void store_be64(uint8_t *at, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(at, &value, sizeof(value));
}

static const uint8_t magic[4] = {'Q', 'F', 'I', 0xfb};

/* --- sizes ------------------------------------------------------------------------------------ */

static bool head_of(int fd, uint8_t head[SIZE_AT + 8])
{
    return pread(fd, head, SIZE_AT + 8, 0) == SIZE_AT + 8 &&
           memcmp(head, magic, sizeof(magic)) == 0;
}

bool image_is_qcow2(const char *path)
{
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t head[SIZE_AT + 8];

    return fd >= 0 && head_of(fd, head);
}

bool image_measure(const char *path, bool qcow2, struct image_sizes *out, GError **err)
{
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t head[SIZE_AT + 8];
    struct stat st;
    uint64_t end;

    if (fd < 0 || fstat(fd, &st) < 0)
        return vmd_set_errno(err, errno, "%s", path);
    end = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &end) < 0)
        return vmd_set_errno(err, errno, "%s", path);
    *out = (struct image_sizes){end, S_ISBLK(st.st_mode) ? end : (uint64_t)st.st_blocks * STAT_BYTES,
                                end};
    if (!qcow2)
        return true;
    if (!head_of(fd, head))
        return vmd_fail(err, VMD_ERROR_INVALID, "%s is no qcow2 image", path);
    memcpy(&out->capacity, head + SIZE_AT, sizeof(out->capacity));
    out->capacity = GUINT64_FROM_BE(out->capacity);
    return true;
}

/* --- new ones --------------------------------------------------------------------------------- */

/* Where the parts of a new qcow2 image are, in clusters: the header, the table of refcount blocks, one such
 * block, then the table of level 1, whose entries are all 0. */
struct layout {
    uint32_t l1_entries, l1_clusters;
};
enum { TABLE = 1, BLOCK = 2, L1 = 3 };

static struct layout layout_of(uint64_t capacity)
{
    const uint64_t per_entry = (uint64_t)CLUSTER / 8 * CLUSTER;
    uint64_t entries = (capacity + per_entry - 1) / per_entry;

    return (struct layout){(uint32_t)entries, (uint32_t)((entries * 8 + CLUSTER - 1) / CLUSTER)};
}

static void put_header(uint8_t *at, uint64_t capacity, const struct layout *l, const char *backing,
                       bool backing_qcow2)
{
    const char *format = backing_qcow2 ? "qcow2" : "raw";
    uint32_t ext = HEADER_BYTES, name = HEADER_BYTES + 16 + 8;

    memcpy(at, magic, sizeof(magic));
    store_be32(at + 4, 3);
    if (backing) {
        store_be64(at + 8, name);
        store_be32(at + 16, (uint32_t)strlen(backing));
        store_be32(at + ext, BACKING_FORMAT);
        store_be32(at + ext + 4, (uint32_t)strlen(format));
        memcpy(at + ext + 8, format, strlen(format)); /* padded to 8; an end of extensions follows */
        memcpy(at + name, backing, strlen(backing));
    }
    store_be32(at + 20, CLUSTER_BITS);
    store_be64(at + SIZE_AT, capacity);
    store_be32(at + 36, l->l1_entries);
    store_be64(at + 40, (uint64_t)L1 * CLUSTER);
    store_be64(at + 48, (uint64_t)TABLE * CLUSTER);
    store_be32(at + 56, 1); /* clusters of the refcount table */
    store_be32(at + 96, REFCOUNT_ORDER);
    store_be32(at + 100, HEADER_BYTES);
}

static bool write_at(int fd, const void *bytes, size_t n, uint64_t offset)
{
    return pwrite(fd, bytes, n, (off_t)offset) == (ssize_t)n;
}

static bool fill_qcow2(int fd, uint64_t capacity, const char *backing, bool backing_qcow2)
{
    struct layout l = layout_of(capacity);
    g_autofree uint8_t *cluster = g_malloc0(CLUSTER);
    uint8_t block[8];

    put_header(cluster, capacity, &l, backing, backing_qcow2);
    store_be64(block, (uint64_t)BLOCK * CLUSTER);
    if (ftruncate(fd, (off_t)(L1 + l.l1_clusters) * CLUSTER) < 0 ||
        !write_at(fd, cluster, CLUSTER, 0) ||
        !write_at(fd, block, sizeof(block), (uint64_t)TABLE * CLUSTER))
        return false;
    memset(cluster, 0, CLUSTER);
    for (uint32_t i = 0; i < L1 + l.l1_clusters; i++)
        store_be16(cluster + i * 2, 1);
    return write_at(fd, cluster, CLUSTER, (uint64_t)BLOCK * CLUSTER);
}

static bool fill_raw(int fd, uint64_t capacity, bool full)
{
    return ftruncate(fd, (off_t)capacity) == 0 &&
           (!full || capacity == 0 || fallocate(fd, 0, 0, (off_t)capacity) == 0);
}

bool image_create(const char *path, bool qcow2, uint64_t capacity, const char *backing,
                  bool backing_qcow2, bool full, GError **err)
{
    capacity = (capacity + STAT_BYTES - 1) & ~(uint64_t)(STAT_BYTES - 1);
    if (capacity > (uint64_t)LIMIT_IMAGE_TIB << 40)
        return vmd_fail(err, VMD_ERROR_LIMIT, "an image has at most %d TiB", LIMIT_IMAGE_TIB);
    if (backing && (!qcow2 || strlen(backing) > BACKING_MOST))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "a qcow2 image lies over another, by a name of at most %d bytes",
                        BACKING_MOST);
    autofd fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST)
        return vmd_fail(err, VMD_ERROR_EXISTS, "%s is there already", path);
    if (fd < 0)
        return vmd_set_errno(err, errno, "%s", path);
    if (qcow2 ? fill_qcow2(fd, capacity, backing, backing_qcow2) : fill_raw(fd, capacity, full))
        return true;
    int why = errno;
    unlink(path);
    return vmd_set_errno(err, why, "%s", path);
}

/* --- other sizes ------------------------------------------------------------------------------ */

/* Of a header: what a resize looks at. */
struct head {
    uint32_t version, cluster_bits, l1_entries, snapshots;
    uint64_t capacity, l1_at, features; /* that must be understood */
};

static uint64_t big(const uint8_t *at, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        value = value << 8 | at[i];
    return value;
}

static bool read_head(int fd, struct head *out)
{
    uint8_t at[80];

    if (pread(fd, at, sizeof(at), 0) != sizeof(at) || memcmp(at, magic, sizeof(magic)) != 0)
        return false;
    *out = (struct head){.version = (uint32_t)big(at + 4, 4),
                         .cluster_bits = (uint32_t)big(at + 20, 4),
                         .capacity = big(at + SIZE_AT, 8),
                         .l1_entries = (uint32_t)big(at + 36, 4),
                         .l1_at = big(at + 40, 8),
                         .snapshots = (uint32_t)big(at + 60, 4)};
    out->features = out->version >= 3 ? big(at + 72, 8) : 0;
    return out->version >= 2 && out->version <= 3 && out->cluster_bits >= 9 &&
           out->cluster_bits <= 21;
}

/* Whether the cluster in which the level 1 table of H ends has room for ENTRIES, and nothing behind them. */
static bool has_room(int fd, const struct head *h, uint64_t entries)
{
    uint64_t cluster = (uint64_t)1 << h->cluster_bits, bytes = (uint64_t)h->l1_entries * 8;
    uint64_t there = (bytes + cluster - 1) & ~(cluster - 1);
    uint8_t entry[8];

    if (entries * 8 > there)
        return false;
    for (uint64_t at = bytes; at < entries * 8; at += sizeof(entry)) {
        if (pread(fd, entry, sizeof(entry), (off_t)(h->l1_at + at)) == sizeof(entry) &&
            big(entry, 8) != 0)
            return false;
    }
    return true;
}

static bool grow_qcow2(int fd, const char *path, uint64_t capacity, GError **err)
{
    struct head h;
    uint8_t size[8], l1[4];

    if (!read_head(fd, &h))
        return vmd_fail(err, VMD_ERROR_INVALID, "%s is no qcow2 image", path);
    uint64_t per_entry = (uint64_t)1 << (2 * h.cluster_bits - 3);
    uint64_t entries = (capacity + per_entry - 1) / per_entry;
    if (capacity < h.capacity || h.snapshots || h.features || !has_room(fd, &h, entries))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "%s: a qcow2 image grows where it has no snapshots and was closed in order, "
                        "as far as its table has room",
                        path);
    store_be64(size, capacity);
    store_be32(l1, (uint32_t)MAX(entries, h.l1_entries));
    if (write_at(fd, l1, sizeof(l1), 36) && write_at(fd, size, sizeof(size), SIZE_AT))
        return true;
    return vmd_set_errno(err, errno, "%s", path);
}

bool image_resize(const char *path, bool qcow2, uint64_t capacity, GError **err)
{
    autofd fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return vmd_set_errno(err, errno, "%s", path);
    if (capacity > (uint64_t)LIMIT_IMAGE_TIB << 40)
        return vmd_fail(err, VMD_ERROR_LIMIT, "an image has at most %d TiB", LIMIT_IMAGE_TIB);
    capacity = (capacity + STAT_BYTES - 1) & ~(uint64_t)(STAT_BYTES - 1);
    if (qcow2)
        return grow_qcow2(fd, path, capacity, err);
    return ftruncate(fd, (off_t)capacity) == 0 || vmd_set_errno(err, errno, "%s", path);
}

/* --- copies ----------------------------------------------------------------------------------- */

/* At most N bytes at AT, by the host where it does that for these two files. How many; -1: an error. */
static ssize_t copy_piece(int in, int out, off_t at, size_t n)
{
    off_t from = at, to = at;
    ssize_t done = copy_file_range(in, &from, out, &to, n, 0);

    if (done >= 0 || (errno != EXDEV && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
        return done;
    g_autofree uint8_t *bytes = g_malloc(COPY_BYTES);
    done = pread(in, bytes, MIN(n, (size_t)COPY_BYTES), at);
    return done <= 0 ? done : pwrite(out, bytes, (size_t)done, at);
}

/* The part of IN from AT on that has data, or the end of it all. False: an error. */
static bool copy_data(int in, int out, off_t end)
{
    for (off_t at = 0; at < end;) {
        off_t data = lseek(in, at, SEEK_DATA), hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
        if (data < 0 && errno == ENXIO)
            return true; /* a hole up to the end */
        if (hole < 0)
            return false;
        while (data < hole) {
            ssize_t n = copy_piece(in, out, data, (size_t)(hole - data));
            if (n <= 0) {
                errno = n ? errno : EIO; /* it became shorter */
                return false;
            }
            data += n;
        }
        at = hole;
    }
    return true;
}

bool image_copy(const char *from, const char *to, GError **err)
{
    autofd in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (in < 0 || fstat(in, &st) < 0)
        return vmd_set_errno(err, errno, "%s", from);
    autofd out = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0 && errno == EEXIST)
        return vmd_fail(err, VMD_ERROR_EXISTS, "%s is there already", to);
    if (out < 0)
        return vmd_set_errno(err, errno, "%s", to);
    if (ftruncate(out, st.st_size) == 0 && copy_data(in, out, st.st_size))
        return true;
    int why = errno;
    unlink(to);
    return vmd_set_errno(err, why, "%s", to);
}
