/*
 * virtio-blk (virtio 1.2, 5.2).
 *
 * A request is taken from a queue, its header and ranges are copied, and its data goes between guest
 * memory and the block layer without a copy. The block layer takes LIMIT_BLOCK_INFLIGHT requests; what
 * is beyond stays in the queue until one has completed. Where the driver has no way to flush, or has
 * turned the write cache off, every write is flushed before it completes.
 *
 * A request without room for its header or status breaks the device; any other that makes no sense
 * ends with IOERR or UNSUPP. What the host fails is told to the guest, or held where the VM's owner wants
 * that (virtio_blk_options.failed): a held request is parked with the core, keeps its buffers, and is
 * submitted once more as it was when the device is resumed. While one is held no other is begun.
 * Loop thread throughout.
 */
#include "machine/virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>

enum {
    QUEUE_SIZE = 256,
    SEGMENTS = QUEUE_SIZE - 2, /* of data in one request */
    RANGES = 16,               /* in one discard or write-zeroes */
    DISCARD_SECTORS = 1 << 22, /* in one range: 2 GiB */
    ZERO_SECTORS = 1 << 19,    /* in one range: 256 MiB, as it may come to writing them */
};

typedef struct virtio_blk_discard_write_zeroes blk_range;

struct virtio_blk {
    struct virtio_device dev;
    struct block *block;
    char serial[VIRTIO_BLK_ID_BYTES]; /* ends with a zero only where it is shorter */
    bool write_through;               /* for the driver that runs now */
    bool stalled;                     /* buffers wait for the block layer */
    bool (*failed)(void *opaque, const struct block_req *req, int error);
    void *failed_opaque;
    struct blk_request *held; /* in order of failure */
    unsigned held_n;
};

struct blk_request {
    struct virtqueue_element element;
    struct virtio_blk *blk;
    struct block_req io;
    struct iovec *cut;           /* the buffer that the status byte was cut from, while IO runs */
    blk_range range[RANGES];     /* DISCARD and WRITE_ZEROES */
    unsigned ranges, next_range;
    struct blk_request *next; /* held */
};

static struct virtio_blk *blk_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev);
}

/* --- ending a request ------------------------------------------------------------------------- */

static void request_end(struct blk_request *r, uint8_t status)
{
    struct virtqueue_element *e = &r->element;
    struct virtqueue *vq = e->vq;

    if (r->cut)
        r->cut->iov_len++;
    iov_write(e->in, e->in_n, e->in_bytes - 1, &status, 1);
    virtqueue_push(e, (uint32_t)MIN(e->in_bytes, UINT32_MAX));
    virtqueue_notify(vq);
}

static uint8_t status_of(int error)
{
    if (error == 0)
        return VIRTIO_BLK_S_OK;
    return error == -ENOTSUP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* --- holding requests that the host failed ---------------------------------------------------- */

/* Whether ERROR is the host's: what the guest asked wrongly is told to it whatever the policy is. */
static bool is_hosts(int error)
{
    return error != -EINVAL && error != -EROFS && error != -ENOTSUP && error != -EPERM &&
           error != -EAGAIN;
}

/* Keeps R for another try; false: its request is to be ended. */
static bool hold(struct blk_request *r, int error)
{
    struct virtio_blk *blk = r->blk;
    struct blk_request **at;

    if (!blk->failed || !is_hosts(error) || !virtio_running(&blk->dev) ||
        !blk->failed(blk->failed_opaque, &r->io, error) || !virtqueue_park(&r->element))
        return false;
    for (at = &blk->held; *at; at = &(*at)->next)
        ;
    r->next = NULL;
    *at = r;
    blk->held_n++;
    return true;
}

/* Takes the held requests, or those of VQ, off the device's hands; returns them as a list. */
static struct blk_request *take_held(struct virtio_blk *blk, const struct virtqueue *vq)
{
    struct blk_request *taken = NULL, **to = &taken;

    for (struct blk_request **at = &blk->held; *at;) {
        struct blk_request *r = *at;
        if (vq && r->element.vq != vq) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->next = NULL;
        *to = r;
        to = &r->next;
        blk->held_n--;
        virtqueue_unpark(&r->element);
    }
    return taken;
}

static void drop_held(struct virtio_blk *blk, const struct virtqueue *vq)
{
    struct blk_request *next;

    for (struct blk_request *r = take_held(blk, vq); r; r = next) {
        next = r->next;
        virtqueue_drop(&r->element);
    }
}

unsigned virtio_blk_held(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev)->held_n;
}

static void next_range(struct blk_request *r);

static void io_done(struct block_req *io, int status)
{
    struct blk_request *r = io->opaque;
    struct virtio_blk *blk = r->blk;

    if (blk->stalled) {
        blk->stalled = false;
        for (unsigned i = 0; i < blk->dev.n_queues; i++)
            virtqueue_kick(virtio_queue(&blk->dev, i));
    }
    if (status < 0 && hold(r, status))
        return;
    if (status == 0 && r->next_range < r->ranges && virtio_running(&blk->dev))
        next_range(r);
    else
        request_end(r, status_of(r->next_range < r->ranges && status == 0 ? -EIO : status));
}

static void submit(struct blk_request *r)
{
    r->io.done = io_done;
    r->io.opaque = r;
    int error = block_submit(r->blk->block, &r->io);
    if (error < 0)
        request_end(r, status_of(error));
}

/* --- reads and writes ------------------------------------------------------------------------- */

/* Leaves the first N bytes of a list out; returns the first buffer that is left. */
static struct iovec *skip_bytes(struct iovec *iov, unsigned *count, size_t n)
{
    while (n > 0) {
        size_t part = MIN(n, iov->iov_len);
        iov->iov_base = (char *)iov->iov_base + part;
        iov->iov_len -= part;
        n -= part;
        if (iov->iov_len == 0 && n > 0) {
            iov++;
            --*count;
        }
    }
    return iov;
}

/* Cuts the status byte off the list of what the device may write, until the request ends. */
static void cut_status(struct blk_request *r)
{
    unsigned last = r->element.in_n - 1;

    while (r->element.in[last].iov_len == 0)
        last--;
    r->cut = &r->element.in[last];
    r->cut->iov_len--;
}

static void transfer(struct blk_request *r, uint64_t sector, bool write)
{
    struct virtqueue_element *e = &r->element;
    unsigned count = e->out_n;

    if (sector > UINT64_MAX / BLOCK_SECTOR) {
        request_end(r, VIRTIO_BLK_S_IOERR);
        return;
    }
    r->io.kind = write ? BLOCK_WRITE : BLOCK_READ;
    r->io.flags = write && r->blk->write_through ? BLOCK_FUA : 0;
    r->io.offset = sector * BLOCK_SECTOR;
    if (write) {
        r->io.iov = skip_bytes(e->out, &count, sizeof(struct virtio_blk_outhdr));
        r->io.iovcnt = count;
        r->io.length = e->out_bytes - sizeof(struct virtio_blk_outhdr);
    } else {
        cut_status(r);
        r->io.iov = e->in;
        r->io.iovcnt = e->in_n;
        r->io.length = e->in_bytes - 1;
    }
    submit(r);
}

/* --- discard and write-zeroes ----------------------------------------------------------------- */

static void next_range(struct blk_request *r)
{
    const blk_range *range = &r->range[r->next_range++];

    r->io.offset = GUINT64_FROM_LE(range->sector) * BLOCK_SECTOR;
    r->io.length = (uint64_t)GUINT32_FROM_LE(range->num_sectors) * BLOCK_SECTOR;
    r->io.flags = r->blk->write_through ? BLOCK_FUA : 0;
    if (GUINT32_FROM_LE(range->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
        r->io.flags |= BLOCK_UNMAP;
    submit(r);
}

/* The status of a range that is refused, or OK. */
static uint8_t check_range(const blk_range *range, bool zero)
{
    uint32_t known = zero ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

    if (GUINT32_FROM_LE(range->flags) & ~known)
        return VIRTIO_BLK_S_UNSUPP;
    if (GUINT32_FROM_LE(range->num_sectors) > (zero ? ZERO_SECTORS : DISCARD_SECTORS) ||
        GUINT64_FROM_LE(range->sector) > UINT64_MAX / BLOCK_SECTOR)
        return VIRTIO_BLK_S_IOERR;
    return VIRTIO_BLK_S_OK;
}

static void erase(struct blk_request *r, bool zero)
{
    struct virtqueue_element *e = &r->element;
    uint64_t bytes = e->out_bytes - sizeof(struct virtio_blk_outhdr);
    uint8_t status = VIRTIO_BLK_S_OK;

    if (!virtio_has_feature(&r->blk->dev,
                            zero ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
        status = VIRTIO_BLK_S_UNSUPP;
    else if (bytes == 0 || bytes % sizeof(blk_range) || bytes > sizeof(r->range))
        status = VIRTIO_BLK_S_IOERR;
    else
        r->ranges = (unsigned)(iov_read(e->out, e->out_n, sizeof(struct virtio_blk_outhdr), r->range,
                                        bytes) / sizeof(blk_range));
    for (unsigned i = 0; i < r->ranges && status == VIRTIO_BLK_S_OK; i++)
        status = check_range(&r->range[i], zero);
    if (status != VIRTIO_BLK_S_OK) {
        request_end(r, status);
        return;
    }
    r->io.kind = zero ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD;
    next_range(r);
}

/* --- requests --------------------------------------------------------------------------------- */

static void request_begin(struct virtio_blk *blk, struct blk_request *r)
{
    struct virtqueue_element *e = &r->element;
    struct virtio_blk_outhdr header;

    r->blk = blk;
    if (iov_read(e->out, e->out_n, 0, &header, sizeof(header)) < sizeof(header) ||
        e->in_bytes == 0) {
        virtio_device_error(&blk->dev, "a disk request without header or status");
        virtqueue_push(e, 0);
        return;
    }
    switch (GUINT32_FROM_LE(header.type)) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        transfer(r, GUINT64_FROM_LE(header.sector),
                 GUINT32_FROM_LE(header.type) == VIRTIO_BLK_T_OUT);
        break;
    case VIRTIO_BLK_T_FLUSH:
        r->io.kind = BLOCK_FLUSH;
        submit(r);
        break;
    case VIRTIO_BLK_T_GET_ID:
        iov_write(e->in, e->in_n, 0, blk->serial, MIN(sizeof(blk->serial), e->in_bytes - 1));
        request_end(r, VIRTIO_BLK_S_OK);
        break;
    case VIRTIO_BLK_T_DISCARD:
        erase(r, false);
        break;
    case VIRTIO_BLK_T_WRITE_ZEROES:
        erase(r, true);
        break;
    default:
        request_end(r, VIRTIO_BLK_S_UNSUPP);
    }
}

static void blk_queue_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct virtio_blk *blk = blk_of(dev);
    struct blk_request *r;

    /* Whoever resumes the device has the queues notified anew. */
    if (blk->held)
        return;
    while (block_inflight(blk->block) < LIMIT_BLOCK_INFLIGHT) {
        r = virtqueue_pop(vq, sizeof(*r));
        if (!r)
            return;
        request_begin(blk, r);
    }
    blk->stalled = true;
}

/* --- the device ------------------------------------------------------------------------------- */

static void blk_config_written(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    uint8_t wce;

    virtio_config_get(dev, offsetof(struct virtio_blk_config, wce), &wce, 1);
    if (virtio_has_feature(dev, VIRTIO_BLK_F_CONFIG_WCE))
        blk->write_through = wce == 0;
    else
        blk->write_through = !virtio_has_feature(dev, VIRTIO_BLK_F_FLUSH);
}

static void blk_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    const uint8_t wce = 1;

    /* Requests under way end by themselves; the core waits for them. */
    drop_held(blk_of(dev), vq);
    if (!vq)
        virtio_config_set(dev, offsetof(struct virtio_blk_config, wce), &wce, 1);
}

/* Tries what was held once more. */
static void blk_resume(struct virtio_device *dev)
{
    struct blk_request *next;

    for (struct blk_request *r = take_held(blk_of(dev), NULL); r; r = next) {
        next = r->next;
        submit(r);
    }
}

static void blk_free(struct virtio_device *dev)
{
    drop_held(blk_of(dev), NULL);
    virtio_device_fini(dev);
    g_free(blk_of(dev));
}

static const struct virtio_ops blk_ops = {
    .name = "virtio-blk",
    .id = VIRTIO_ID_BLOCK,
    .pci_class = 0x010000, /* mass storage, SCSI: what drivers expect of virtio-blk */
    .start = blk_config_written,
    .queue_notify = blk_queue_notify,
    .config_written = blk_config_written,
    .reset = blk_reset,
    .resume = blk_resume,
    .free = blk_free,
};

static uint64_t blk_features(const struct block_geometry *g, unsigned queues)
{
    uint64_t f = VIRTIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIRTIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
                 VIRTIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) | VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH);

    f |= VIRTIO_FEATURE(g->readonly ? VIRTIO_BLK_F_RO : VIRTIO_BLK_F_CONFIG_WCE);
    if (g->discard)
        f |= VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD);
    if (g->write_zeroes)
        f |= VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
    return queues > 1 ? f | VIRTIO_FEATURE(VIRTIO_BLK_F_MQ) : f;
}

static void blk_fill_config(struct virtio_device *dev, const struct block_geometry *g,
                            unsigned queues)
{
    struct virtio_blk_config c = {
        .capacity = GUINT64_TO_LE(g->size / BLOCK_SECTOR),
        .seg_max = GUINT32_TO_LE(SEGMENTS),
        .blk_size = GUINT32_TO_LE(g->logical_block),
        .physical_block_exp = (uint8_t)g_bit_storage(g->physical_block / g->logical_block) - 1,
        .min_io_size = GUINT16_TO_LE((uint16_t)(g->physical_block / g->logical_block)),
        .wce = 1,
        .num_queues = GUINT16_TO_LE((uint16_t)queues),
        .max_discard_sectors = GUINT32_TO_LE(DISCARD_SECTORS),
        .max_discard_seg = GUINT32_TO_LE(RANGES),
        .discard_sector_alignment = GUINT32_TO_LE(g->discard_alignment / BLOCK_SECTOR),
        .max_write_zeroes_sectors = GUINT32_TO_LE(ZERO_SECTORS),
        .max_write_zeroes_seg = GUINT32_TO_LE(RANGES),
        .write_zeroes_may_unmap = 1,
    };

    virtio_config_set(dev, 0, &c, dev->config_size);
    if (!g->readonly)
        virtio_config_writable(dev, offsetof(struct virtio_blk_config, wce), 1);
}

struct virtio_device *virtio_blk_new(const struct virtio_env *env, struct block *block,
                                     const struct virtio_blk_options *options)
{
    struct virtio_blk *blk = g_new0(struct virtio_blk, 1);
    const struct block_geometry *g = block_geometry(block);
    uint16_t sizes[LIMIT_BLK_QUEUES];

    g_assert(options->queues >= 1 && options->queues <= LIMIT_BLK_QUEUES);
    for (unsigned i = 0; i < options->queues; i++)
        sizes[i] = QUEUE_SIZE;
    blk->block = block;
    blk->failed = options->failed;
    blk->failed_opaque = options->opaque;
    if (options->serial)
        memcpy(blk->serial, options->serial, strnlen(options->serial, sizeof(blk->serial)));
    virtio_device_init(&blk->dev, &blk_ops, env, blk_features(g, options->queues), options->queues,
                       sizes, offsetof(struct virtio_blk_config, max_secure_erase_sectors));
    blk_fill_config(&blk->dev, g, options->queues);
    return &blk->dev;
}
