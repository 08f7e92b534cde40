/* See image.h. The format: QEMU's docs/interop/qcow2.txt, version 3. */
#include "daemon/image.h"

#include "base/imagelock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    COPY_BYTES = 1024 * 1024, /* at a time, where the host does not copy */
    PIECE_BYTES = 64 * 1024 * 1024, /* at a time, where it does: between looks at whether to go on */
    FULL_BYTES = 1 << 30, /* likewise, of what is taken at once */
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

/* --- headers ---------------------------------------------------------------------------------- */

/* Of a qcow2 image: what is looked at. */
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

/* False: FD is no qcow2 image. */
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
    return true;
}

static uint64_t whole_sectors(uint64_t bytes)
{
    return ALIGN_UP(bytes, (uint64_t)DISK_SECTOR);
}

/* --- sizes ------------------------------------------------------------------------------------ */

static bool measure(int fd, const char *path, struct image_state *out, GError **err)
{
    struct head head;
    struct stat st;
    uint64_t end;

    if (fd < 0 || fstat(fd, &st) < 0)
        return vmd_set_errno(err, errno, "%s", path);
    end = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &end) < 0)
        return vmd_set_errno(err, errno, "%s", path);
    *out = (struct image_state){
        .sizes = {end, S_ISBLK(st.st_mode) ? end : (uint64_t)st.st_blocks * STAT_BYTES, end},
        .qcow2 = read_head(fd, &head),
        .mode = st.st_mode,
        .uid = st.st_uid,
        .gid = st.st_gid};
    if (out->qcow2)
        out->sizes.capacity = head.capacity;
    return true;
}

bool image_peek(const char *path, bool check, uint64_t offset, void *to, size_t n, GError **err)
{
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct image_state now = {0};
    size_t done = 0;

    if (!measure(fd, path, &now, err))
        return false;
    if (check && now.qcow2)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "bytes of raw images are shown, and %s is qcow2", path);
    uint64_t end = whole_sectors(now.sizes.physical);
    if (offset > end || n > end - offset)
        return vmd_fail(err, VMD_ERROR_INVALID, "%zu bytes at %" G_GUINT64_FORMAT " are not all in the %" G_GUINT64_FORMAT
                        " of %s", n, offset, end, path);
    while (done < n) {
        ssize_t r = pread(fd, (char *)to + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR)
            continue;
        if (r == 0 && offset + done >= now.sizes.physical) {
            memset((char *)to + done, 0, n - done); /* as its guest reads it */
            break;
        }
        if (r <= 0)
            return vmd_set_errno(err, r < 0 ? errno : EIO, "%s", path);
        done += (size_t)r;
    }
    return true;
}

bool image_measure(const char *path, bool qcow2, struct image_sizes *out, GError **err)
{
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct image_state state = {0};

    if (!measure(fd, path, &state, err))
        return false;
    if (qcow2 && !state.qcow2)
        return vmd_fail(err, VMD_ERROR_INVALID, "%s is no qcow2 image", path);
    *out = state.sizes;
    if (!qcow2)
        out->capacity = out->physical; /* as a raw image, whatever is in it */
    return true;
}

/* A volume, opened; -1 with ERR. */
static int open_volume(const char *path, int access, GError **err)
{
    autofd fd = open(path, access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        vmd_set_errno(err, errno, "%s", path);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        vmd_fail(err, VMD_ERROR_INVALID, "%s is no regular file", path);
        return -1;
    }
    return steal_fd(&fd);
}

bool image_look(const char *path, struct image_state *out, GError **err)
{
    autofd fd = open_volume(path, O_RDONLY, err);

    return fd >= 0 && measure(fd, path, out, err);
}

int image_open(const char *path, bool readonly, GError **err)
{
    autofd fd = open_volume(path, readonly ? O_RDONLY : O_RDWR, err);

    if (fd < 0 || !imagelock_take(fd, path, readonly, err))
        return -1;
    return steal_fd(&fd);
}

bool image_remove(const char *path, GError **err)
{
    /* Its rights do not matter, nor does its content: the lock is that of a writer all the same. */
    autofd fd = open_volume(path, O_RDONLY, err);

    return fd >= 0 && imagelock_take(fd, path, false, err) &&
           (unlink(path) == 0 || vmd_set_errno(err, errno, "%s", path));
}

/* --- names ------------------------------------------------------------------------------------ */

/* An image that is being made. */
struct fresh {
    const char *path;
    char *now; /* what it is called until it is whole */
    int fd;    /* locked */
};

static char *unfinished(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path), *name = g_path_get_basename(path);
    g_autofree char *hidden = g_strdup_printf(".%s.new", name);

    return g_build_filename(folder, hidden, NULL);
}

static bool taken(const char *path, GError **err)
{
    return vmd_fail(err, VMD_ERROR_EXISTS, "%s is there already", path);
}

/* What is at the name and locked by nobody was left by a daemon that died. */
static bool fresh_begin(struct fresh *f, const char *path, GError **err)
{
    struct stat st;

    *f = (struct fresh){.path = path, .fd = -1};
    if (lstat(path, &st) == 0)
        return taken(path, err);
    f->now = unfinished(path);
    if (lstat(f->now, &st) == 0 && !image_remove(f->now, err))
        return false;
    f->fd = open(f->now, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->fd < 0)
        return vmd_set_errno(err, errno, "%s", path);
    if (imagelock_take(f->fd, path, false, err))
        return true;
    close(steal_fd(&f->fd)); /* another has found it before it was locked, and removes it */
    return false;
}

/* Ends F; DONE: it is whole, and gets its name. Where it is not, ERR is set already. */
static bool fresh_end(struct fresh *f, bool done, GError **err)
{
    if (f->fd >= 0 && done && renameat2(AT_FDCWD, f->now, AT_FDCWD, f->path, RENAME_NOREPLACE) < 0) {
        /* Where the file system has no such renaming, a link does not replace either. */
        if (errno == EINVAL && link(f->now, f->path) == 0)
            unlink(f->now);
        else
            done = errno == EEXIST ? taken(f->path, err)
                                   : vmd_set_errno(err, errno, "%s", f->path);
    }
    if (f->fd >= 0 && !done)
        unlink(f->now);
    if (f->fd >= 0)
        close(f->fd);
    g_free(f->now);
    return done;
}

static bool go_on(const gint *stop, GError **err)
{
    return !stop || !g_atomic_int_get(stop) ||
           vmd_fail(err, VMD_ERROR_GONE, "the daemon ends, and what it was making is not kept");
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

static bool fill_raw(int fd, uint64_t capacity, uint64_t taken, const gint *stop, GError **err)
{
    if (ftruncate(fd, (off_t)capacity) < 0)
        return false;
    for (uint64_t at = 0; at < taken; at += FULL_BYTES) {
        if (!go_on(stop, err))
            return false;
        if (fallocate(fd, 0, (off_t)at, (off_t)MIN(FULL_BYTES, taken - at)) < 0)
            return errno == EOPNOTSUPP && taken < capacity; /* a part is a wish */
    }
    return true;
}

bool image_check_capacity(uint64_t capacity, GError **err)
{
    return capacity <= (uint64_t)LIMIT_IMAGE_TIB << 40 ||
           vmd_fail(err, VMD_ERROR_LIMIT, "an image has at most %d TiB", LIMIT_IMAGE_TIB);
}

bool image_create(const struct image_plan *p, const gint *stop, GError **err)
{
    g_autoptr(GError) why = NULL;
    struct fresh f;

    if (!image_check_capacity(p->capacity, err))
        return false;
    if (p->backing && (!p->qcow2 || strlen(p->backing) > BACKING_MOST))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "a qcow2 image lies over another, by a name of at most %d bytes",
                        BACKING_MOST);
    uint64_t capacity = whole_sectors(p->capacity);
    bool ok = fresh_begin(&f, p->path, &why);
    if (ok) {
        ok = p->qcow2 ? fill_qcow2(f.fd, capacity, p->backing, p->backing_qcow2)
                      : fill_raw(f.fd, capacity, MIN(p->taken, capacity), stop, &why);
        if (!ok && !why)
            vmd_set_errno(&why, errno, "%s", p->path);
    }
    ok = fresh_end(&f, ok, &why);
    if (why)
        g_propagate_error(err, g_steal_pointer(&why));
    return ok;
}

/* --- other sizes ------------------------------------------------------------------------------ */

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

    if (!read_head(fd, &h) || h.version < 2 || h.version > 3 || h.cluster_bits < 9 ||
        h.cluster_bits > 21)
        return vmd_fail(err, VMD_ERROR_INVALID, "%s is no qcow2 image of a known version", path);
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

/* Gives FD, which is locked, CAPACITY bytes. */
static bool set_capacity(int fd, const char *path, bool qcow2, uint64_t capacity, GError **err)
{
    if (!image_check_capacity(capacity, err))
        return false;
    capacity = whole_sectors(capacity);
    if (qcow2)
        return grow_qcow2(fd, path, capacity, err);
    return ftruncate(fd, (off_t)capacity) == 0 || vmd_set_errno(err, errno, "%s", path);
}

bool image_resize(const char *path, uint64_t capacity, unsigned flags, GError **err)
{
    autofd fd = image_open(path, false, err);
    bool shrink = flags & IMAGE_SHRINK;
    struct image_state now = {0};

    if (fd < 0 || !measure(fd, path, &now, err))
        return false;
    uint64_t has = now.sizes.capacity, to = capacity;
    if (flags & IMAGE_BY)
        to = shrink ? has - MIN(capacity, has) : has + MIN(capacity, UINT64_MAX - has);
    if (to < has && !shrink)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "the volume is larger, and shrinks only when asked");
    return set_capacity(fd, path, now.qcow2, to, err);
}

bool image_grow(const char *path, enum image_format format, uint64_t capacity, GError **err)
{
    autofd fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct image_state now = {0};

    if (fd < 0)
        return vmd_set_errno(err, errno, "%s", path);
    if (!imagelock_take(fd, path, false, err) || !measure(fd, path, &now, err))
        return false;
    if (!S_ISREG(now.mode))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s is no regular file, and has the size that the host gives it",
                        path);
    if (format == IMAGE_QCOW2 && !now.qcow2)
        return vmd_fail(err, VMD_ERROR_INVALID, "%s is no qcow2 image", path);
    bool qcow2 = format != IMAGE_RAW && now.qcow2;
    uint64_t has = qcow2 ? now.sizes.capacity : now.sizes.physical;
    if (capacity < has)
        return vmd_fail(err, VMD_ERROR_INVALID, "%s has %" G_GUINT64_FORMAT " bytes, and a disk does not shrink",
                        path, has);
    return set_capacity(fd, path, qcow2, capacity, err);
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

/* What IN has up to END, holes being left out. False with ERR, or with errno where that is not set. */
static bool copy_data(int in, int out, off_t end, const gint *stop, GError **err)
{
    for (off_t at = 0; at < end;) {
        off_t data = lseek(in, at, SEEK_DATA), hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);
        if (data < 0 && errno == ENXIO)
            return true; /* a hole up to the end */
        if (hole < 0)
            return false;
        while (data < hole) {
            if (!go_on(stop, err))
                return false;
            ssize_t n = copy_piece(in, out, data, (size_t)MIN(hole - data, (off_t)PIECE_BYTES));
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

static bool copy_into(struct fresh *f, int in, const char *from, uint64_t capacity, bool qcow2,
                      const gint *stop, GError **err)
{
    struct image_state now = {0};

    if (!measure(in, from, &now, err))
        return false;
    if (now.qcow2 != qcow2)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "a copy has the format of what is copied");
    off_t end = (off_t)now.sizes.physical;
    if (ftruncate(f->fd, end) < 0 || !copy_data(in, f->fd, end, stop, err))
        return *err ? false : vmd_set_errno(err, errno, "%s", f->path);
    return capacity <= now.sizes.capacity || set_capacity(f->fd, f->path, qcow2, capacity, err);
}

bool image_copy(const char *from, const char *to, uint64_t capacity, bool qcow2, const gint *stop,
                GError **err)
{
    autofd in = image_open(from, true, err);
    g_autoptr(GError) why = NULL;
    struct fresh f;

    if (in < 0)
        return false;
    bool ok = fresh_begin(&f, to, &why) && copy_into(&f, in, from, capacity, qcow2, stop, &why);
    ok = fresh_end(&f, ok, &why);
    if (why)
        g_propagate_error(err, g_steal_pointer(&why));
    return ok;
}
