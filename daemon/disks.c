/* See disks.h. */
#include "daemon/disks.h"

#include "base/memfile.h"

/* Threads that may be held up; others use the loop's, too. */
enum { AT_ONCE = 2 };

struct task {
    struct disks *all;
    bool (*run)(struct task *t, GError **err); /* in a thread */
    char *disk, *path;
    enum vm_disk_format format;
    uint64_t offset;
    uint64_t bytes;
    struct disks_answer answer;
    disks_done done;
    void *arg;
    uv_work_t work;
};

struct disks {
    uv_loop_t *loop;
    GQueue waiting;
    unsigned under_way;
    bool closing;
};

struct disks *disks_new(uv_loop_t *loop)
{
    struct disks *all = g_new0(struct disks, 1);

    all->loop = loop;
    g_queue_init(&all->waiting);
    return all;
}

/* Tells what came of T, and frees it. */
static void finish(struct task *t)
{
    t->done(t->arg, &t->answer);
    if (t->answer.fd >= 0)
        close(t->answer.fd);
    g_clear_error(&t->answer.err);
    g_free(t->disk);
    g_free(t->path);
    g_free(t);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void run(uv_work_t *work)
{
    struct task *t = work->data;

    t->run(t, &t->answer.err);
}

static void begin_next(struct disks *all);

static void was_run(uv_work_t *work, int status)
{
    struct task *t = work->data;
    struct disks *all = t->all;

    all->under_way--;
    finish(t);
    if (all->closing && all->under_way == 0)
        g_free(all);
    else
        begin_next(all);
}

static void begin_next(struct disks *all)
{
    while (all->under_way < AT_ONCE && !g_queue_is_empty(&all->waiting)) {
        struct task *t = g_queue_pop_head(&all->waiting);
        all->under_way++;
        uv_queue_work(all->loop, &t->work, run, was_run);
    }
}

static struct task *task_new(struct disks *all, const struct vm_disk_config *disk, disks_done done,
                             void *arg)
{
    struct task *t = g_new0(struct task, 1);

    t->all = all;
    t->disk = g_strdup(disk->id);
    t->path = g_strdup(disk->path);
    t->format = disk->format;
    t->answer.fd = -1;
    t->done = done;
    t->arg = arg;
    t->work.data = t;
    return t;
}

static void begin(struct task *t, bool (*what)(struct task *t, GError **err))
{
    t->run = what;
    g_queue_push_tail(&t->all->waiting, t);
    begin_next(t->all);
}

void disks_free(struct disks *all)
{
    struct task *t;

    if (!all)
        return;
    all->closing = true;
    while ((t = g_queue_pop_head(&all->waiting))) {
        vmd_fail(&t->answer.err, VMD_ERROR_GONE, "the daemon ends");
        finish(t);
    }
    if (all->under_way == 0)
        g_free(all);
}

/* --- what they do ----------------------------------------------------------------------------- */

static bool peek(struct task *t, GError **err)
{
    g_autofree uint8_t *buffer = g_malloc(t->bytes);

    if (!image_peek(t->path, t->format == VM_DISK_FORMAT_AUTO, t->offset, buffer, t->bytes, err)) {
        g_prefix_error(err, "disk %s: ", t->disk);
        return false;
    }
    t->answer.fd = memfile_new(buffer, t->bytes, err);
    return t->answer.fd >= 0;
}

void disks_peek(struct disks *all, const struct vm_disk_config *disk, uint64_t offset,
                uint32_t bytes, disks_done done, void *arg)
{
    struct task *t = task_new(all, disk, done, arg);

    t->offset = offset;
    t->bytes = bytes;
    if (disk->format == VM_DISK_FORMAT_QCOW2) {
        vmd_fail(&t->answer.err, VMD_ERROR_UNSUPPORTED,
                 "disk %s: bytes of raw images are shown, not of qcow2", disk->id);
        finish(t);
        return;
    }
    begin(t, peek);
}

static bool measure(struct task *t, GError **err)
{
    return image_measure(t->path, t->format == VM_DISK_FORMAT_QCOW2, &t->answer.sizes, err);
}

void disks_measure(struct disks *all, const struct vm_disk_config *disk, disks_done done, void *arg)
{
    begin(task_new(all, disk, done, arg), measure);
}

static bool grow(struct task *t, GError **err)
{
    static const enum image_format formats[] = {[VM_DISK_FORMAT_AUTO] = IMAGE_AS_IT_LOOKS,
                                                [VM_DISK_FORMAT_RAW] = IMAGE_RAW,
                                                [VM_DISK_FORMAT_QCOW2] = IMAGE_QCOW2};

    return image_grow(t->path, formats[t->format], t->bytes, err);
}

void disks_grow(struct disks *all, const struct vm_disk_config *disk, uint64_t bytes,
                disks_done done, void *arg)
{
    struct task *t = task_new(all, disk, done, arg);

    t->bytes = bytes;
    begin(t, grow);
}
