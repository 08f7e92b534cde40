/*
 * base/seglog.h: a bounded log of bytes, kept as two segment files.
 *
 * The log NAME in DIR is made of files NAME.<offset>.log, where <offset> (16 hexadecimal digits)
 * is the log offset of the file's first byte. When the newest has grown to half of the bound, a
 * new one is begun and all but the newest two are removed: at least half of the bound is always
 * kept, and a reader needs nothing but the names. One writer; readers may be other processes.
 * Not thread-safe.
 */
#ifndef BASE_SEGLOG_H
#define BASE_SEGLOG_H

#include "base/base.h"

struct seglog;

/* Begins an empty log that keeps at most BYTES; removes an older log of the same name. */
struct seglog *seglog_create(const char *dir, const char *name, uint64_t bytes, GError **err);
/* Takes NULL. The files stay. */
void seglog_free(struct seglog *log);

/* Appends; -errno when the host refuses, and then nothing of DATA counts as written. */
int seglog_append(struct seglog *log, const void *data, size_t length);

/* Bytes written since the beginning, and the oldest offset that is still kept. */
uint64_t seglog_total(const struct seglog *log);
uint64_t seglog_first(const struct seglog *log);

/*
 * Reads at most LENGTH bytes at OFFSET (moved up to the oldest kept; OFFSET tells where it was
 * read). Returns bytes read, 0 at the end, or -errno.
 */
ssize_t seglog_read(const struct seglog *log, uint64_t *offset, void *data, size_t length);

/* A log as any process finds it on disk. */
struct seglog_extent {
    uint64_t first, total;
};
/* -ENOENT when there is no such log. */
int seglog_stat(const char *dir, const char *name, struct seglog_extent *out);
ssize_t seglog_pread(const char *dir, const char *name, uint64_t *offset, void *data,
                     size_t length);

#endif
