/* A disk's image and frontend, its policy for errors of the host, and its counters. See disk.h. */
#include "vm/disk.h"

#include "machine/virtio/blk.h"

#include <errno.h>

enum { TELL_S = 10 }; /* the same error is told again after this time */

struct disk {
    const struct vm_disk_config *config;
    struct virtio_env env;
    unsigned cpus;
    struct block *block;
    struct virtio_device *frontend; /* the machine's; NULL before it is made */
    struct virtio_device *adapter;  /* whose unit it is, in the frontend's place; NULL: none's */
    unsigned lun;
    disk_unit_changed_fn changed;
    void *changed_opaque;
    char *text;
    bool closing;
    void (*grown)(void *opaque, const GError *err);
    void *grown_opaque;
    disk_failed_fn failed;
    void *opaque;
    char *error;     /* the latest of the host's; NULL: none yet */
    int told;        /* the error that was told last */
    int64_t told_us; /* and when, in monotonic time */
    bool damage_told;
    void (*closed)(void *opaque, const char *warning);
    void *closed_opaque;
};

struct operation {
    enum disk_operation as;
    const char *doing;
};

static const struct operation operations[] = {
    [BLOCK_READ] = {DISK_OPERATION_READ, "reading"},
    [BLOCK_WRITE] = {DISK_OPERATION_WRITE, "writing"},
    [BLOCK_FLUSH] = {DISK_OPERATION_FLUSH, "flushing"},
    [BLOCK_DISCARD] = {DISK_OPERATION_DISCARD, "discarding part of"},
    [BLOCK_WRITE_ZEROES] = {DISK_OPERATION_WRITE_ZEROES, "writing zeroes to"},
};

/* --- errors of the host ----------------------------------------------------------------------- */

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static bool is_held(const struct disk *d, int error)
{
    switch (d->config->onerror) {
    case VM_DISK_ONERROR_PAUSE:
        return true;
    case VM_DISK_ONERROR_ENOSPC:
        return is_full(error);
    case VM_DISK_ONERROR_REPORT:
        break;
    }
    return false;
}

/* Whether an event is due: for what is new, for a pause, and every now and then. */
static bool take_tell(struct disk *d, int error, bool held)
{
    int64_t now = g_get_monotonic_time();
    bool damaged = block_fault(d->block) != NULL;

    if (!held && error == d->told && damaged == d->damage_told &&
        now - d->told_us < TELL_S * G_USEC_PER_SEC)
        return false;
    d->told = error;
    d->told_us = now;
    d->damage_told = damaged;
    return true;
}

static uint64_t errors_of(const struct disk *d)
{
    struct block_stats b;
    uint64_t sum = 0;

    block_stats(d->block, &b);
    for (unsigned k = 0; k < BLOCK_KINDS; k++)
        sum += b.kind[k].errors;
    return sum;
}

static bool on_failed(void *opaque, const struct block_req *req, int error)
{
    struct disk *d = opaque;
    const struct operation *op = &operations[req->kind];
    const char *fault = block_fault(d->block);
    bool held = is_held(d, error);

    g_free(d->error);
    d->error = fault ? g_strdup(fault)
                     : g_strdup_printf("%s %s failed: %s", op->doing, d->config->path,
                                       g_strerror(-error));
    const struct disk_failure failure = {
        .event = {.disk = d->config->id,
                  .operation = op->as,
                  .held = held,
                  .errors = errors_of(d),
                  .text = d->error},
        .tell = take_tell(d, error, held),
        .pause = is_full(error) ? VM_PAUSE_REASON_DISK_FULL : VM_PAUSE_REASON_DISK_ERROR,
    };
    d->failed(d->opaque, &failure);
    return held;
}

/* --- making and ending ------------------------------------------------------------------------ */

static enum block_format format_of(const struct vm_disk_config *config)
{
    static const enum block_format formats[] = {
        [VM_DISK_FORMAT_AUTO] = BLOCK_FORMAT_AUTO,
        [VM_DISK_FORMAT_RAW] = BLOCK_FORMAT_RAW,
        [VM_DISK_FORMAT_QCOW2] = BLOCK_FORMAT_QCOW2,
    };

    return formats[config->format];
}

bool disk_paths(const struct vm_disk_config *config, GPtrArray *paths, GError **err)
{
    if (block_files(config->path, format_of(config), config->readonly, paths, err))
        return true;
    if (config->id)
        g_prefix_error(err, "disk %s: ", config->id);
    else
        g_prefix_error(err, "disk: ");
    return false;
}

bool disk_files(const struct vm_disk_config *config, struct sandbox_files *files, GError **err)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);

    if (!disk_paths(config, paths, err))
        return false;
    /* Only the first is ever written. */
    for (guint n = 0; n < paths->len; n++)
        sandbox_files_add(files, g_ptr_array_index(paths, n),
                          n || config->readonly ? SANDBOX_READ : SANDBOX_CHANGE);
    return true;
}

static char *text_of(const struct disk *d)
{
    g_autofree char *size = size_format(block_size(d->block));

    return g_strdup_printf("%s, %s, %s%s", d->config->path,
                           block_format_name(block_format(d->block)), size,
                           d->config->readonly ? ", read-only" : "");
}

struct disk *disk_new(const struct vm_disk_config *config, const struct virtio_env *env,
                      unsigned cpus, const struct block_given *given, disk_failed_fn failed,
                      void *opaque, GError **err)
{
    struct block *block =
        block_open(config->path, format_of(config), config->readonly, env->loop, given, err);

    if (!block) {
        g_prefix_error(err, "disk %s: ", config->id);
        return NULL;
    }
    if (block_size(block) == 0) {
        vmd_fail(err, VMD_ERROR_INVALID,
                 "disk %s: disk image %s has no bytes: give it a size, with 'truncate -s 10G' or "
                 "'qemu-img resize'", config->id, config->path);
        block_close(block, NULL, NULL);
        return NULL;
    }
    struct disk *d = g_new0(struct disk, 1);
    d->config = config;
    d->env = *env;
    d->cpus = cpus;
    d->block = block;
    d->failed = failed;
    d->opaque = opaque;
    d->text = text_of(d);
    return d;
}

struct virtio_device *disk_frontend(struct disk *d)
{
    const struct virtio_blk_options options = {
        .serial = d->config->serial ? d->config->serial : d->config->id,
        .queues = MIN(d->cpus, LIMIT_BLK_QUEUES),
        .failed = on_failed,
        .opaque = d,
    };

    g_assert(!d->frontend);
    d->frontend = virtio_blk_new(&d->env, d->block, &options);
    return d->frontend;
}

static void on_changed(void *opaque, unsigned lun, const struct virtio_scsi_status *status)
{
    struct disk *d = opaque;

    if (status->released)
        d->adapter = NULL;
    if (d->changed)
        d->changed(d->changed_opaque, lun, status);
}

bool disk_attach(struct disk *d, struct virtio_device *adapter, unsigned lun,
                 disk_unit_changed_fn changed, void *opaque, GError **err)
{
    const struct virtio_scsi_unit unit = {
        .block = d->block,
        .serial = d->config->serial ? d->config->serial : d->config->id,
        .product = "virtual disk",
        .failed = on_failed,
        .changed = on_changed,
        .opaque = d,
    };

    g_assert(!d->frontend && !d->adapter);
    d->changed = changed;
    d->changed_opaque = opaque;
    if (!virtio_scsi_attach(adapter, lun, &unit, err)) {
        g_prefix_error(err, "disk %s: ", d->config->id);
        return false;
    }
    d->adapter = adapter;
    d->lun = lun;
    return true;
}

const char *disk_text(const struct disk *d)
{
    return d->text;
}

const char *disk_notice(const struct disk *d)
{
    return block_notice(d->block);
}

void disk_lose(struct disk *d)
{
    virtio_blk_lose(d->frontend);
}

bool disk_busy(const struct disk *d, uint64_t *refused)
{
    *refused = virtio_blk_refused(d->frontend);
    return block_inflight(d->block) > 0;
}

bool disk_loss_seen(const struct disk *d)
{
    return virtio_config_seen(d->frontend);
}

static void on_closed(void *opaque, int status)
{
    struct disk *d = opaque;
    g_autofree char *warning =
        status < 0 ? g_strdup_printf("disk %s: %s could not be flushed at its end: %s",
                                     d->config->id, d->config->path, g_strerror(-status))
                   : NULL;

    d->closed(d->closed_opaque, warning);
    g_free(d->text);
    g_free(d->error);
    g_free(d);
}

void disk_close(struct disk *d, void (*closed)(void *opaque, const char *warning), void *opaque)
{
    d->closed = closed;
    d->closed_opaque = opaque;
    d->closing = true;
    block_close(d->block, on_closed, d);
}

/* --- another size ------------------------------------------------------------------------------ */

static GError *why_not_grown(const struct disk *d, int status)
{
    GError *err = NULL;

    if (status == -ENOTSUP)
        vmd_fail(&err, VMD_ERROR_UNSUPPORTED,
                 "disk %s: a qcow2 image grows where it has no snapshots, as far as its table has room",
                 d->config->id);
    else if (status == -ENOSPC)
        vmd_set_errno(&err, -status, "disk %s: the host has no room for it, or the block device is smaller",
                      d->config->id);
    else
        vmd_set_errno(&err, -status, "disk %s: %s", d->config->id, d->config->path);
    return err;
}

static void on_grown(void *opaque, int status)
{
    struct disk *d = opaque;
    void (*grown)(void *, const GError *) = d->grown;
    g_autoptr(GError) err = status < 0 ? why_not_grown(d, status) : NULL;

    d->grown = NULL;
    if (!err) {
        g_free(d->text);
        d->text = text_of(d);
    }
    if (!err && !d->closing && d->frontend)
        virtio_blk_resized(d->frontend);
    else if (!err && !d->closing && d->adapter)
        virtio_scsi_resized(d->adapter, d->lun);
    grown(d->grown_opaque, err);
}

bool disk_grow(struct disk *d, uint64_t bytes, void (*grown)(void *opaque, const GError *err),
               void *opaque, GError **err)
{
    uint64_t now = block_size(d->block);
    int r = -EBUSY;

    if (bytes < now)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "disk %s has %" G_GUINT64_FORMAT " bytes, and does not shrink while a guest has it",
                        d->config->id, now);
    if (!d->grown && !d->closing)
        r = block_grow(d->block, bytes, on_grown, d);
    if (r == 0) {
        d->grown = grown;
        d->grown_opaque = opaque;
    }
    if (r == -EROFS)
        return vmd_fail(err, VMD_ERROR_STATE, "disk %s is read-only", d->config->id);
    if (r == -EBUSY)
        return vmd_fail(err, VMD_ERROR_BUSY, "disk %s is being given another size, or leaves",
                        d->config->id);
    if (r == -EINVAL)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "disk %s: a size is a multiple of 512 bytes, and less than 8 EiB", d->config->id);
    return r == 0;
}

/* --- what can be asked ------------------------------------------------------------------------ */

struct disk_stats *disk_stats_of(const struct disk *d)
{
    struct disk_stats *s = disk_stats_new();
    const char *fault = block_fault(d->block), *text = fault ? fault : d->error;
    struct block_stats b;

    block_stats(d->block, &b);
    s->id = g_strdup(d->config->id);
    s->reads = b.kind[BLOCK_READ].requests;
    s->writes = b.kind[BLOCK_WRITE].requests + b.kind[BLOCK_WRITE_ZEROES].requests;
    s->flushes = b.kind[BLOCK_FLUSH].requests;
    s->discards = b.kind[BLOCK_DISCARD].requests;
    s->read_bytes = b.kind[BLOCK_READ].bytes;
    s->write_bytes = b.kind[BLOCK_WRITE].bytes + b.kind[BLOCK_WRITE_ZEROES].bytes;
    s->errors = errors_of(d);
    s->has_size_bytes = true;
    s->size_bytes = block_size(d->block);
    s->inflight = block_inflight(d->block);
    s->held = d->frontend  ? virtio_blk_held(d->frontend)
              : d->adapter ? virtio_scsi_held(d->adapter, d->lun)
                           : 0;
    s->state = fault      ? DISK_STATE_DAMAGED
               : s->held  ? DISK_STATE_HELD
               : d->error ? DISK_STATE_FAILED
                          : DISK_STATE_OK;
    s->text = text ? g_strndup(text, LONG_TEXT_MAX) : NULL;
    return s;
}
