/*
 * virtio-blk (virtio 1.2, 5.2).
 *
 * A request is taken from a queue, its header and ranges are copied, and its data goes between guest
 * memory and the block layer without a copy. The block layer takes LIMIT_BLOCK_INFLIGHT requests; what
 * is beyond stays in the queue until one has completed. Where the driver has no way to flush, or has
 * turned the write cache off, every write is flushed before it completes.
 *
 * A request without room for its header or status breaks the device; any other that makes no sense
 * ends with IOERR or UNSUPP. What the host fails is told to the guest, or held (storage.h). Loop thread
 * throughout.
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
    struct storage storage;
    struct storage_disk disk;
    char serial[VIRTIO_BLK_ID_BYTES]; /* ends with a zero only where it is shorter */
    bool write_through;               /* for the driver that runs now */
    bool lost;
    uint64_t refused; /* requests since then */
};

struct blk_request {
    struct storage_request s;
    struct iov_part data;        /* what of the buffers is data, while IO runs */
    blk_range range[RANGES];     /* DISCARD and WRITE_ZEROES */
    unsigned ranges, next_range;
};

static struct virtio_blk *blk_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev);
}

static struct virtio_blk *blk_of_request(const struct blk_request *r)
{
    return blk_of(r->s.storage->dev);
}

/* --- ending a request ------------------------------------------------------------------------- */

static void request_end(struct blk_request *r, uint8_t status)
{
    struct virtqueue_element *e = &r->s.element;
    struct virtqueue *vq = e->vq;

    iov_part_end(&r->data);
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

unsigned virtio_blk_held(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev)->disk.held;
}

static void next_range(struct blk_request *r);

static void io_done(struct storage_request *s, int status)
{
    struct blk_request *r = container_of(s, struct blk_request, s);

    if (status == 0 && r->next_range < r->ranges && virtio_running(r->s.storage->dev))
        next_range(r);
    else
        request_end(r, status_of(r->next_range < r->ranges && status == 0 ? -EIO : status));
}

/* --- reads and writes ------------------------------------------------------------------------- */

static void transfer(struct blk_request *r, uint64_t sector, bool write)
{
    struct virtqueue_element *e = &r->s.element;
    struct block_req *io = &r->s.io;

    if (sector > UINT64_MAX / BLOCK_SECTOR) {
        request_end(r, VIRTIO_BLK_S_IOERR);
        return;
    }
    io->kind = write ? BLOCK_WRITE : BLOCK_READ;
    io->flags = write && blk_of_request(r)->write_through ? BLOCK_FUA : 0;
    io->offset = sector * BLOCK_SECTOR;
    if (write) {
        io->length = e->out_bytes - sizeof(struct virtio_blk_outhdr);
        iov_part_begin(&r->data, e->out, e->out_n, sizeof(struct virtio_blk_outhdr), io->length);
    } else {
        io->length = e->in_bytes - 1;
        iov_part_begin(&r->data, e->in, e->in_n, 0, io->length);
    }
    io->iov = r->data.iov;
    io->iovcnt = r->data.n;
    storage_submit(&r->s);
}

/* --- discard and write-zeroes ----------------------------------------------------------------- */

static void next_range(struct blk_request *r)
{
    const blk_range *range = &r->range[r->next_range++];

    r->s.io.offset = GUINT64_FROM_LE(range->sector) * BLOCK_SECTOR;
    r->s.io.length = (uint64_t)GUINT32_FROM_LE(range->num_sectors) * BLOCK_SECTOR;
    r->s.io.flags = blk_of_request(r)->write_through ? BLOCK_FUA : 0;
    if (GUINT32_FROM_LE(range->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
        r->s.io.flags |= BLOCK_UNMAP;
    storage_submit(&r->s);
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
    struct virtqueue_element *e = &r->s.element;
    uint64_t bytes = e->out_bytes - sizeof(struct virtio_blk_outhdr);
    uint8_t status = VIRTIO_BLK_S_OK;

    if (!virtio_has_feature(r->s.storage->dev,
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
    r->s.io.kind = zero ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD;
    next_range(r);
}

/* --- requests --------------------------------------------------------------------------------- */

static void request_begin(struct virtio_blk *blk, struct blk_request *r)
{
    struct virtqueue_element *e = &r->s.element;
    struct virtio_blk_outhdr header;

    r->s.storage = &blk->storage;
    r->s.disk = &blk->disk;
    if (iov_read(e->out, e->out_n, 0, &header, sizeof(header)) < sizeof(header) ||
        e->in_bytes == 0) {
        virtio_device_error(&blk->dev, "a disk request without header or status");
        virtqueue_push(e, 0);
        return;
    }
    if (blk->lost) {
        blk->refused++;
        request_end(r, VIRTIO_BLK_S_IOERR);
        return;
    }
    switch (GUINT32_FROM_LE(header.type)) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        transfer(r, GUINT64_FROM_LE(header.sector),
                 GUINT32_FROM_LE(header.type) == VIRTIO_BLK_T_OUT);
        break;
    case VIRTIO_BLK_T_FLUSH:
        r->s.io.kind = BLOCK_FLUSH;
        storage_submit(&r->s);
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
    if (blk->storage.held)
        return;
    while (block_inflight(blk->disk.block) < LIMIT_BLOCK_INFLIGHT) {
        r = virtqueue_pop(vq, sizeof(*r));
        if (!r)
            return;
        request_begin(blk, r);
    }
    blk->storage.stalled = true;
}

static bool is_any(const struct storage_request *s, const void *opaque)
{
    return true;
}

void virtio_blk_resized(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    const uint64_t capacity = GUINT64_TO_LE(block_size(blk->disk.block) / BLOCK_SECTOR);

    if (!blk->lost)
        virtio_config_set(dev, offsetof(struct virtio_blk_config, capacity), &capacity,
                          sizeof(capacity));
}

void virtio_blk_lose(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    const uint64_t capacity = 0;

    blk->lost = true;
    blk->disk.failed = NULL; /* what is under way is not held when it fails */
    virtio_config_set(dev, offsetof(struct virtio_blk_config, capacity), &capacity,
                      sizeof(capacity));
    storage_cancel(&blk->storage, is_any, NULL);
}

uint64_t virtio_blk_refused(const struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev)->refused;
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
    storage_drop(&blk_of(dev)->storage, vq);
    if (!vq)
        virtio_config_set(dev, offsetof(struct virtio_blk_config, wce), &wce, 1);
}

static void blk_resume(struct virtio_device *dev)
{
    storage_resume(&blk_of(dev)->storage);
}

static void blk_free(struct virtio_device *dev)
{
    storage_drop(&blk_of(dev)->storage, NULL);
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
    blk->storage = (struct storage){.dev = &blk->dev, .done = io_done};
    blk->disk = (struct storage_disk){
        .block = block, .failed = options->failed, .opaque = options->opaque};
    if (options->serial)
        memcpy(blk->serial, options->serial, strnlen(options->serial, sizeof(blk->serial)));
    virtio_device_init(&blk->dev, &blk_ops, env, blk_features(g, options->queues), options->queues,
                       sizes, offsetof(struct virtio_blk_config, max_secure_erase_sectors));
    blk_fill_config(&blk->dev, g, options->queues);
    return &blk->dev;
}
