/*
 * What the tests of disk images share: a scratch folder, a loop, requests that are waited for, a
 * seeded generator, and images checked against a copy in memory.
 */
#ifndef TESTS_UNIT_BLOCK_RIG_H
#define TESTS_UNIT_BLOCK_RIG_H

#include "machine/block/block.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <sys/statvfs.h>

struct rig {
    uv_loop_t loop;
    char *folder;
};

/* In memory where there is room: some file systems write a file out when it is made anew. */
static inline char *rig_make_folder(void)
{
    struct statvfs fs;
    g_autofree char *shm = g_strdup("/dev/shm/vmd-block-XXXXXX");

    if (statvfs("/dev/shm", &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= MIB(256) &&
        g_mkdtemp(shm))
        return g_steal_pointer(&shm);
    return g_dir_make_tmp("vmd-block-XXXXXX", NULL);
}

static inline void rig_open(struct rig *rig)
{
    rig->folder = rig_make_folder();
    ck_assert_ptr_nonnull(rig->folder);
    ck_assert_int_eq(uv_loop_init(&rig->loop), 0);
}

static inline void rig_close(struct rig *rig)
{
    const char *name;
    GDir *d = g_dir_open(rig->folder, 0, NULL);

    uv_run(&rig->loop, UV_RUN_DEFAULT);
    ck_assert_msg(uv_loop_close(&rig->loop) == 0, "handles are left on the loop");
    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(rig->folder, name, NULL);
        g_unlink(path);
    }
    if (d)
        g_dir_close(d);
    g_rmdir(rig->folder);
    g_free(rig->folder);
}

static inline char *rig_path(struct rig *rig, const char *name)
{
    return g_build_filename(rig->folder, name, NULL);
}

/* A file of SIZE zero bytes. */
static inline char *rig_file(struct rig *rig, const char *name, uint64_t size)
{
    char *path = rig_path(rig, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    close(fd);
    return path;
}

/* A file with those contents; unlike GLib's, without a sync. */
static inline void rig_write(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "we");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

static inline struct block *rig_block(struct rig *rig, const char *path, enum block_format format,
                                      bool readonly)
{
    g_autoptr(GError) err = NULL;
    struct block *b = block_open(path, format, readonly, &rig->loop, NULL, &err);

    ck_assert_msg(b != NULL, "%s: %s", path, err ? err->message : "no error set");
    return b;
}

/* The image does not open, with an error of that kind that has TEXT in it. */
static inline void rig_refused(struct rig *rig, const char *path, enum block_format format,
                               bool readonly, enum vmd_error code, const char *text)
{
    g_autoptr(GError) err = NULL;
    struct block *b = block_open(path, format, readonly, &rig->loop, NULL, &err);

    ck_assert_msg(b == NULL, "opens, in place of: %s", text);
    ck_assert_msg(err != NULL, "no error set: %s", text);
    ck_assert_msg(err->code == (int)code && strstr(err->message, text), "%s: '%s', not '%s'",
                  vmd_error_name((enum vmd_error)err->code), err->message, text);
}

struct rig_wait {
    bool done;
    int status;
};

/* Of block_grow(). */
static inline void rig_done(void *opaque, int status)
{
    struct rig_wait *w = opaque;

    w->done = true;
    w->status = status;
}

static inline void rig_req_done(struct block_req *req, int status)
{
    struct rig_wait *w = req->opaque;

    w->done = true;
    w->status = status;
}

static inline void rig_closed(void *opaque, int status)
{
    struct rig_wait *w = opaque;

    w->done = true;
    w->status = status;
}

static inline int rig_wait(struct rig *rig, struct rig_wait *w)
{
    while (!w->done)
        uv_run(&rig->loop, UV_RUN_ONCE);
    return w->status;
}

/* Runs one request to its end. */
static inline int rig_io(struct rig *rig, struct block *b, enum block_kind kind, uint64_t offset,
                         void *buf, uint64_t len, unsigned flags)
{
    struct rig_wait w = {0};
    struct iovec iov = {buf, len};
    struct block_req req = {.kind = kind, .flags = flags, .offset = offset, .length = len,
                            .iov = &iov, .iovcnt = 1, .done = rig_req_done, .opaque = &w};

    ck_assert_int_eq(block_submit(b, &req), 0);
    ck_assert_msg(!w.done, "done within block_submit()");
    return rig_wait(rig, &w);
}

static inline int rig_close_block(struct rig *rig, struct block *b)
{
    struct rig_wait w = {0};

    block_close(b, rig_closed, &w);
    return rig_wait(rig, &w);
}

/* A small generator (xorshift64*), so that a seed tells all. */
static inline uint64_t rig_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

static inline void rig_fill(uint64_t *state, uint8_t *buf, size_t len)
{
    uint64_t v = rig_random(state);

    /* Words that differ, cheap to make. */
    for (size_t i = 0; i < len; i++)
        buf[i] = (uint8_t)((v >> (i & 7) * 8) + i / 8);
}

/* The contents that the disk must have are MODEL's. */
static inline void rig_verify(struct rig *rig, struct block *b, const uint8_t *model, uint64_t size,
                              const char *when)
{
    g_autofree uint8_t *buf = g_malloc(MIB(1));

    for (uint64_t at = 0; at < size; at += MIB(1)) {
        uint64_t n = MIN(MIB(1), size - at);
        ck_assert_int_eq(rig_io(rig, b, BLOCK_READ, at, buf, n, 0), 0);
        if (memcmp(buf, model + at, n) == 0)
            continue;
        for (uint64_t i = 0; i < n; i++)
            if (buf[i] != model[at + i])
                ck_abort_msg("%s: byte %" G_GUINT64_FORMAT " is %02x, not %02x", when, at + i,
                             buf[i], model[at + i]);
    }
}

#endif
