/*
 * What is in a volume, up and down, by a stream. Files are read and written by the loop's threads, one piece at
 * a time; each way stops while the other end does not take what came.
 */
#include "daemon/image.h"
#include "daemon/libvirt/bridge_priv.h"

#include <unistd.h>

enum { PIECE = 262144 };

struct transfer {
    struct libvirt_stream *stream; /* NULL: it is over */
    uv_loop_t *loop;
    uv_fs_t fs;
    bool busy; /* FS is under way */
    bool down, said_all;
    int fd;
    uint64_t at, left; /* in the file */
    GByteArray *bytes; /* to be written; or the piece that is read */
};

static void free_if_over(struct transfer *t)
{
    if (t->stream || t->busy)
        return;
    close(t->fd);
    g_byte_array_unref(t->bytes);
    g_free(t);
}

static void fail(struct transfer *t, int errnum)
{
    if (t->stream)
        libvirt_stream_fail(t->stream, LIBVIRT_ERR_SYSTEM, LIBVIRT_FROM_STORAGE,
                            "the volume: %s", g_strerror(errnum));
}

static void go_on(struct transfer *t);

/* What was under way is dealt with. Until then T stays, though its stream may have ended meanwhile. */
static void over(struct transfer *t)
{
    t->busy = false;
    go_on(t);
    free_if_over(t);
}

/* --- down --- */

static void read_done(uv_fs_t *fs)
{
    struct transfer *t = fs->data;
    ssize_t n = fs->result;

    uv_fs_req_cleanup(fs);
    if (n < 0) {
        fail(t, (int)-n);
    } else if (t->stream) {
        t->said_all = n == 0;
        libvirt_stream_send(t->stream, t->bytes->data, (size_t)n); /* none are the end */
        t->at += (uint64_t)n;
        t->left -= (uint64_t)n;
        if (t->left == 0 && !t->said_all) {
            t->said_all = true;
            libvirt_stream_send(t->stream, NULL, 0);
        }
    }
    over(t);
}

static void read_piece(struct transfer *t)
{
    if (t->said_all || libvirt_stream_full(t->stream))
        return;
    g_byte_array_set_size(t->bytes, (guint)MIN(t->left, PIECE));
    uv_buf_t buf = uv_buf_init((char *)t->bytes->data, t->bytes->len);
    t->busy = uv_fs_read(t->loop, &t->fs, t->fd, &buf, 1, (int64_t)t->at, read_done) == 0;
}

/* --- up --- */

static void write_done(uv_fs_t *fs)
{
    struct transfer *t = fs->data;
    ssize_t n = fs->result;

    uv_fs_req_cleanup(fs);
    if (n < 0) {
        fail(t, (int)-n);
    } else {
        t->at += (uint64_t)n;
        g_byte_array_remove_range(t->bytes, 0, (guint)n);
    }
    over(t);
}

static void write_piece(struct transfer *t)
{
    uv_buf_t buf = uv_buf_init((char *)t->bytes->data, t->bytes->len);

    if (t->bytes->len)
        t->busy = uv_fs_write(t->loop, &t->fs, t->fd, &buf, 1, (int64_t)t->at, write_done) == 0;
    libvirt_stream_hold(t->stream, t->bytes->len > 0);
}

static void on_data(void *user, const uint8_t *bytes, size_t len)
{
    struct transfer *t = user;

    if (t->down)
        return;
    if (len > t->left) {
        libvirt_stream_fail(t->stream, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_STORAGE,
                            "more came than was said");
        return;
    }
    t->left -= len;
    /* The bytes under way are where they are until that is over: nothing else comes while it is. */
    g_byte_array_append(t->bytes, bytes, (guint)len);
    go_on(t);
}

/* --- both --- */

static void go_on(struct transfer *t)
{
    if (!t->stream || t->busy)
        return;
    if (t->down)
        read_piece(t);
    else
        write_piece(t);
}

static void on_drained(void *user)
{
    go_on(user);
}

static void on_closed(void *user)
{
    struct transfer *t = user;

    t->stream = NULL;
    free_if_over(t);
}

static const struct libvirt_stream_ops ops = {
    .data = on_data, .drained = on_drained, .closed = on_closed};

static void begin(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_vol_stream *a = args;
    bool down = libvirt_request_call(request)->number == LIBVIRT_STORAGE_VOL_DOWNLOAD;
    g_autofree char *path =
        bridge_need_admin(c, request) ? bridge_need_volume(c, request, &a->vol) : NULL;

    g_autoptr(GError) err = NULL;

    if (!path || !bridge_flags(request, a->flags, 0))
        return;
    int fd = image_open(path, down, &err);
    if (fd < 0) {
        bridge_fail_storage(request, err);
        return;
    }
    struct transfer *t = g_new0(struct transfer, 1);
    *t = (struct transfer){.loop = c->bridge->daemon->loop,
                           .down = down,
                           .fd = fd,
                           .at = MIN(a->offset, INT64_MAX),
                           .left = a->length ? MIN(a->length, INT64_MAX) : INT64_MAX,
                           .bytes = g_byte_array_new()};
    t->fs.data = t;
    t->stream = libvirt_stream_begin(request, &ops, t);
    go_on(t);
    free_if_over(t); /* where there is no stream */
}

const struct bridge_row bridge_transfer_rows[] = {
    {LIBVIRT_STORAGE_VOL_UPLOAD, begin},
    {LIBVIRT_STORAGE_VOL_DOWNLOAD, begin},
};
const size_t bridge_transfer_count = G_N_ELEMENTS(bridge_transfer_rows);
