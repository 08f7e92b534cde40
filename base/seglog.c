/* Two segments: the one being written and the one before it. */
#include "base/seglog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

struct seglog {
    char *dir, *name;
    uint64_t bound;
    uint64_t previous, current; /* offsets of the two segments; equal while there is one */
    uint64_t total;
    int fd; /* of the current segment */
};

static char *segment_path(const char *dir, const char *name, uint64_t offset)
{
    return g_strdup_printf("%s/%s.%016" G_GINT64_MODIFIER "x.log", dir, name, offset);
}

/* Calls FN with the offset of each segment of the log, in no order. 0 or -errno. */
static int each_segment(const char *dir, const char *name, void (*fn)(void *, uint64_t),
                        void *opaque)
{
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    size_t n = strlen(name);
    const char *entry;

    if (!d)
        return -ENOENT;
    while ((entry = g_dir_read_name(d))) {
        char *end;
        if (strncmp(entry, name, n) != 0 || entry[n] != '.' || strlen(entry) != n + 21)
            continue;
        uint64_t offset = g_ascii_strtoull(entry + n + 1, &end, 16);
        if (end == entry + n + 17 && strcmp(end, ".log") == 0)
            fn(opaque, offset);
    }
    return 0;
}

static void collect(void *opaque, uint64_t offset)
{
    g_array_append_val((GArray *)opaque, offset);
}

static gint by_offset(gconstpointer a, gconstpointer b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The offsets of the log's segments, rising; empty where there is none. */
static GArray *segments(const char *dir, const char *name)
{
    GArray *found = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    each_segment(dir, name, collect, found);
    g_array_sort(found, by_offset);
    return found;
}

static int begin_segment(struct seglog *log)
{
    g_autofree char *path = segment_path(log->dir, log->name, log->total);
    autofd fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    if (log->fd >= 0)
        close(log->fd);
    log->fd = steal_fd(&fd);
    if (log->previous != log->current) {
        g_autofree char *old = segment_path(log->dir, log->name, log->previous);
        unlink(old);
    }
    log->previous = log->current;
    log->current = log->total;
    return 0;
}

struct seglog *seglog_create(const char *dir, const char *name, uint64_t bytes, GError **err)
{
    g_autoptr(GArray) old = segments(dir, name);
    struct seglog *log;
    int rc;

    for (guint i = 0; i < old->len; i++) {
        g_autofree char *path = segment_path(dir, name, g_array_index(old, uint64_t, i));
        unlink(path);
    }
    log = g_new0(struct seglog, 1);
    log->dir = g_strdup(dir);
    log->name = g_strdup(name);
    log->bound = bytes;
    log->fd = -1;
    rc = begin_segment(log);
    if (rc < 0) {
        vmd_set_errno(err, -rc, "beginning the log %s in %s", name, dir);
        seglog_free(log);
        return NULL;
    }
    return log;
}

void seglog_free(struct seglog *log)
{
    if (!log)
        return;
    if (log->fd >= 0)
        close(log->fd);
    g_free(log->dir);
    g_free(log->name);
    g_free(log);
}

int seglog_append(struct seglog *log, const void *data, size_t length)
{
    const char *at = data;
    size_t left = length;

    if (log->total - log->current >= log->bound / 2) {
        int rc = begin_segment(log);
        if (rc < 0)
            return rc;
    }
    while (left) {
        ssize_t n = write(log->fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int rc = -errno;
            /* Take back a part that was written, so that offsets stay true. */
            if (ftruncate(log->fd, (off_t)(log->total - log->current)) < 0)
                return -errno;
            return rc;
        }
        at += n;
        left -= (size_t)n;
    }
    log->total += length;
    return 0;
}

uint64_t seglog_total(const struct seglog *log)
{
    return log->total;
}

uint64_t seglog_first(const struct seglog *log)
{
    return log->previous;
}

/* Reads from the segment that begins at BEGIN. */
static ssize_t read_segment(const char *dir, const char *name, uint64_t begin, uint64_t offset,
                            void *data, size_t length)
{
    g_autofree char *path = segment_path(dir, name, begin);
    autofd fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    ssize_t n = pread(fd, data, length, (off_t)(offset - begin));
    return n < 0 ? -errno : n;
}

ssize_t seglog_read(const struct seglog *log, uint64_t *offset, void *data, size_t length)
{
    if (*offset < log->previous)
        *offset = log->previous;
    if (*offset >= log->total)
        return 0;
    if (*offset < log->current)
        return read_segment(log->dir, log->name, log->previous, *offset, data,
                            MIN(length, log->current - *offset));
    ssize_t n = pread(log->fd, data, length, (off_t)(*offset - log->current));
    return n < 0 ? -errno : n;
}

int seglog_stat(const char *dir, const char *name, struct seglog_extent *out)
{
    g_autoptr(GArray) found = segments(dir, name);
    struct stat st;

    if (found->len == 0)
        return -ENOENT;
    uint64_t last = g_array_index(found, uint64_t, found->len - 1);
    g_autofree char *path = segment_path(dir, name, last);
    if (stat(path, &st) < 0)
        return -errno;
    out->first = g_array_index(found, uint64_t, 0);
    out->total = last + (uint64_t)st.st_size;
    return 0;
}

ssize_t seglog_pread(const char *dir, const char *name, uint64_t *offset, void *data, size_t length)
{
    g_autoptr(GArray) found = segments(dir, name);

    for (guint i = 0; i < found->len; i++) {
        uint64_t begin = g_array_index(found, uint64_t, i);
        uint64_t end =
            i + 1 < found->len ? g_array_index(found, uint64_t, i + 1) : UINT64_MAX;
        if (*offset < begin)
            *offset = begin;
        if (*offset < end)
            return read_segment(dir, name, begin, *offset, data, MIN(length, end - *offset));
    }
    return found->len ? 0 : -ENOENT;
}
