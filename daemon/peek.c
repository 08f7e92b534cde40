/* See peek.h. */
#include "daemon/peek.h"

#include "base/memfile.h"
#include "daemon/image.h"

/* Threads that may be held up; others use the loop's, too. */
enum { AT_ONCE = 2 };

struct peek {
    struct peeks *all;
    char *disk, *path;
    bool check; /* whether it is a qcow2 image */
    uint64_t offset;
    uint32_t bytes;
    peek_done done;
    void *arg;
    int fd; /* the result, or -1 with ERR */
    GError *err;
    uv_work_t work;
};

struct peeks {
    uv_loop_t *loop;
    GQueue waiting;
    unsigned under_way;
    bool closing;
};

struct peeks *peeks_new(uv_loop_t *loop)
{
    struct peeks *all = g_new0(struct peeks, 1);

    all->loop = loop;
    g_queue_init(&all->waiting);
    return all;
}

/* Tells what came of P, and frees it. */
static void finish(struct peek *p)
{
    p->done(p->arg, p->fd, p->err);
    g_free(p->disk);
    g_free(p->path);
    g_free(p);
}

/* In a worker thread. */
static void read_image(uv_work_t *work)
{
    struct peek *p = work->data;
    g_autofree uint8_t *buffer = g_malloc(p->bytes);

    if (image_peek(p->path, p->check, p->offset, buffer, p->bytes, &p->err))
        p->fd = memfile_new(buffer, p->bytes, &p->err);
    else
        g_prefix_error(&p->err, "disk %s: ", p->disk);
}

static void begin_next(struct peeks *all);

static void was_read(uv_work_t *work, int status)
{
    struct peek *p = work->data;
    struct peeks *all = p->all;

    all->under_way--;
    finish(p);
    if (all->closing && all->under_way == 0)
        g_free(all);
    else
        begin_next(all);
}

static void begin_next(struct peeks *all)
{
    while (all->under_way < AT_ONCE && !g_queue_is_empty(&all->waiting)) {
        struct peek *p = g_queue_pop_head(&all->waiting);
        all->under_way++;
        uv_queue_work(all->loop, &p->work, read_image, was_read);
    }
}

void peeks_disk(struct peeks *all, const struct vm_disk_config *disk, uint64_t offset,
                uint32_t bytes, peek_done done, void *arg)
{
    struct peek *p = g_new0(struct peek, 1);

    *p = (struct peek){.all = all,
                       .disk = g_strdup(disk->id),
                       .path = g_strdup(disk->path),
                       .check = disk->format == VM_DISK_FORMAT_AUTO,
                       .offset = offset,
                       .bytes = bytes,
                       .done = done,
                       .arg = arg,
                       .fd = -1};
    p->work.data = p;
    if (disk->format == VM_DISK_FORMAT_QCOW2) {
        vmd_fail(&p->err, VMD_ERROR_UNSUPPORTED,
                 "disk %s: bytes of raw images are shown, not of qcow2", disk->id);
        finish(p);
        return;
    }
    g_queue_push_tail(&all->waiting, p);
    begin_next(all);
}

void peeks_free(struct peeks *all)
{
    struct peek *p;

    if (!all)
        return;
    all->closing = true;
    while ((p = g_queue_pop_head(&all->waiting))) {
        vmd_fail(&p->err, VMD_ERROR_GONE, "the daemon ends");
        finish(p);
    }
    if (all->under_way == 0)
        g_free(all);
}
