/*
 * The balloon. Memory goes back to the host by punching holes into the memfd behind RAM: the
 * guest reads zeros there afterwards, so such pages count as written.
 *
 * The statistics queue works the other way round: the driver leaves a filled buffer with the
 * device, which gives it back to ask for a fresh one. It is held until then.
 */
#include "machine/virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>

/*
 * The specification numbers the reporting queue 4 and leaves 3 to a feature that is not offered;
 * drivers that number only the queues they have use 3 for it. Both serve reports.
 */
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORT, QUEUE_REPORT_ALSO, QUEUES };

/* Drivers put 256 page numbers into a buffer; more than this of one buffer are passed over. */
#define PFNS_MAX 1024
/* After so many buffers the queue has had its turn. */
#define BUFFERS_A_TURN 16

struct balloon {
    struct virtio_device vdev;
    uint64_t reclaimed; /* bytes */
    struct virtqueue_element *stats;
    void (*poll_done)(void *opaque, const struct balloon_stats *stats);
    void *poll_opaque;
    void (*watch)(void *opaque); /* NULL: nobody */
    void *watch_opaque;
    uv_timer_t *timer; /* asks; NULL: not yet */
    unsigned every_s;  /* 0: it does not */
    struct balloon_stats latest;
    uint64_t latest_s; /* 0: none */
};

static const struct state_field balloon_fields[] = {
    STATE_FIELD_U64(struct balloon, reclaimed, 1),
};
static const struct state_desc balloon_state = {"virtio-balloon", 1, sizeof(struct balloon),
                                                G_N_ELEMENTS(balloon_fields), balloon_fields};

/* --- memory ----------------------------------------------------------------------------------- */

/* Gives [gpa, gpa + length) back to the host, as far as it is whole pages of writable RAM. */
static void reclaim(struct balloon *b, gpa_t gpa, uint64_t length)
{
    struct mem_map *mem = b->vdev.env.mem;
    uint64_t host_page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct mem_view v;

    mem_map_lookup(mem, gpa, &v);
    if (!mem_view_is_dma(&v, true))
        return;
    uint64_t offset = gpa - v.ram->gpa;
    uint64_t first = ALIGN_UP(offset, host_page);
    uint64_t end = ALIGN_DOWN(offset + MIN(length, v.length), host_page);
    if (first >= end)
        return;
    /* A device of the host that reaches RAM by itself would go on with the pages that went. */
    if (!mem_map_pinned(mem) && mem_ram_discard(v.ram, first, end - first))
        b->reclaimed += end - first;
    mem_map_written(mem, v.ram->gpa + first, end - first);
}

/* A buffer of page numbers; neighbours go back in one piece. */
static void inflate(struct balloon *b, const struct virtqueue_element *e)
{
    uint32_t pfns[PFNS_MAX];
    size_t n = iov_read(e->out, e->out_n, 0, pfns, sizeof(pfns)) / sizeof(pfns[0]);
    gpa_t start = 0;
    uint64_t length = 0;

    for (size_t i = 0; i < n; i++) {
        gpa_t gpa = (gpa_t)GUINT32_FROM_LE(pfns[i]) << VIRTIO_BALLOON_PFN_SHIFT;
        if (length && gpa == start + length) {
            length += MEM_PAGE_SIZE;
            continue;
        }
        if (length)
            reclaim(b, start, length);
        start = gpa;
        length = MEM_PAGE_SIZE;
    }
    if (length)
        reclaim(b, start, length);
}

static void report(struct balloon *b, const struct virtqueue_element *e)
{
    for (unsigned i = 0; i < e->in_n; i++)
        reclaim(b, e->in_gpa[i], e->in[i].iov_len);
}

/* --- statistics ------------------------------------------------------------------------------- */

/* Where each tag of the driver's goes. */
static const struct {
    uint16_t tag;
    size_t offset;
} stat_rows[] = {
    {VIRTIO_BALLOON_S_SWAP_IN, offsetof(struct balloon_stats, swap_in)},
    {VIRTIO_BALLOON_S_SWAP_OUT, offsetof(struct balloon_stats, swap_out)},
    {VIRTIO_BALLOON_S_MAJFLT, offsetof(struct balloon_stats, major_faults)},
    {VIRTIO_BALLOON_S_MINFLT, offsetof(struct balloon_stats, minor_faults)},
    {VIRTIO_BALLOON_S_MEMFREE, offsetof(struct balloon_stats, free)},
    {VIRTIO_BALLOON_S_MEMTOT, offsetof(struct balloon_stats, total)},
    {VIRTIO_BALLOON_S_AVAIL, offsetof(struct balloon_stats, available)},
    {VIRTIO_BALLOON_S_CACHES, offsetof(struct balloon_stats, caches)},
};

static void read_stats(const struct virtqueue_element *e, struct balloon_stats *stats)
{
    struct virtio_balloon_stat row;

    memset(stats, 0xff, sizeof(*stats));
    for (size_t at = 0; at < 64 * sizeof(row); at += sizeof(row)) {
        if (iov_read(e->out, e->out_n, at, &row, sizeof(row)) < sizeof(row))
            break;
        for (unsigned i = 0; i < G_N_ELEMENTS(stat_rows); i++) {
            if (GUINT16_FROM_LE(row.tag) == stat_rows[i].tag)
                *(uint64_t *)((char *)stats + stat_rows[i].offset) = GUINT64_FROM_LE(row.val);
        }
    }
}

static void answer(struct balloon *b, const struct balloon_stats *stats)
{
    void (*done)(void *opaque, const struct balloon_stats *s) = b->poll_done;

    b->poll_done = NULL;
    if (done)
        done(b->poll_opaque, stats);
}

static void keep_latest(void *opaque, const struct balloon_stats *stats)
{
    struct balloon *b = opaque;

    b->latest_s = stats ? (uint64_t)(g_get_real_time() / G_USEC_PER_SEC) : 0;
    if (stats)
        b->latest = *stats;
}

/* What a driver says when it begins answers no question, and is as good as an answer. */
static void take_stats(struct balloon *b, struct virtqueue *vq)
{
    struct balloon_stats stats;
    struct virtqueue_element *e;

    while ((e = virtqueue_pop(vq, sizeof(*e)))) {
        if (b->stats) /* one too many: not what drivers do */
            virtqueue_push(b->stats, 0);
        b->stats = e;
        read_stats(e, &stats);
        if (b->every_s)
            keep_latest(b, &stats);
        answer(b, &stats);
    }
}

int virtio_balloon_poll(struct virtio_device *dev,
                        void (*done)(void *opaque, const struct balloon_stats *stats), void *opaque)
{
    struct balloon *b = (struct balloon *)dev;
    struct virtqueue *vq = virtio_queue(dev, QUEUE_STATS);

    if (b->poll_done)
        return -EBUSY;
    if (!b->stats)
        return -EAGAIN;
    b->poll_done = done;
    b->poll_opaque = opaque;
    virtqueue_push(b->stats, 0);
    b->stats = NULL;
    virtqueue_notify(vq);
    return 0;
}

/* A driver that has not answered yet, or has no buffer out, is asked the next time. */
static void ask(uv_timer_t *timer)
{
    virtio_balloon_poll(timer->data, keep_latest, timer->data);
}

void virtio_balloon_ask_every(struct virtio_device *dev, unsigned seconds)
{
    struct balloon *b = (struct balloon *)dev;

    b->every_s = seconds;
    if (!b->timer && seconds) {
        b->timer = g_new0(uv_timer_t, 1);
        uv_timer_init(dev->env.loop, b->timer);
        b->timer->data = dev;
    }
    if (seconds)
        uv_timer_start(b->timer, ask, 0, (uint64_t)seconds * 1000);
    else if (b->timer)
        uv_timer_stop(b->timer);
}

unsigned virtio_balloon_asked_every(const struct virtio_device *dev)
{
    return ((const struct balloon *)dev)->every_s;
}

bool virtio_balloon_latest(const struct virtio_device *dev, struct balloon_stats *out, uint64_t *when)
{
    const struct balloon *b = (const struct balloon *)dev;

    if (!b->latest_s)
        return false;
    *out = b->latest;
    *when = b->latest_s;
    return true;
}

/* --- the device ------------------------------------------------------------------------------- */

static void balloon_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct balloon *b = (struct balloon *)dev;
    struct virtqueue_element *e;
    unsigned n = 0;

    if (virtqueue_index(vq) == QUEUE_STATS) {
        take_stats(b, vq);
        virtqueue_notify(vq);
        return;
    }
    while (n++ < BUFFERS_A_TURN && (e = virtqueue_pop(vq, sizeof(*e)))) {
        if (virtqueue_index(vq) == QUEUE_INFLATE)
            inflate(b, e);
        else if (virtqueue_index(vq) >= QUEUE_REPORT)
            report(b, e);
        virtqueue_push(e, 0); /* pages that leave the balloon need nothing: they fault in */
    }
    virtqueue_notify(vq);
    if (n > BUFFERS_A_TURN)
        virtqueue_kick(vq);
}

static uint32_t config_u32(struct virtio_device *dev, unsigned offset)
{
    uint32_t v;

    virtio_config_get(dev, offset, &v, sizeof(v));
    return GUINT32_FROM_LE(v);
}

void virtio_balloon_set_target(struct virtio_device *dev, uint64_t bytes)
{
    uint64_t pages = MIN(bytes >> VIRTIO_BALLOON_PFN_SHIFT, UINT32_MAX);
    uint32_t le = GUINT32_TO_LE((uint32_t)pages);

    virtio_config_set(dev, offsetof(struct virtio_balloon_config, num_pages), &le, sizeof(le));
}

uint64_t virtio_balloon_target(struct virtio_device *dev)
{
    return (uint64_t)config_u32(dev, offsetof(struct virtio_balloon_config, num_pages))
           << VIRTIO_BALLOON_PFN_SHIFT;
}

uint64_t virtio_balloon_actual(struct virtio_device *dev)
{
    return (uint64_t)config_u32(dev, offsetof(struct virtio_balloon_config, actual))
           << VIRTIO_BALLOON_PFN_SHIFT;
}

void virtio_balloon_watch(struct virtio_device *dev, void (*fn)(void *opaque), void *opaque)
{
    struct balloon *b = (struct balloon *)dev;

    b->watch = fn;
    b->watch_opaque = opaque;
}

static void tell_watch(struct virtio_device *dev)
{
    struct balloon *b = (struct balloon *)dev;

    if (b->watch)
        b->watch(b->watch_opaque);
}

uint64_t virtio_balloon_reclaimed(const struct virtio_device *dev)
{
    return ((const struct balloon *)dev)->reclaimed;
}

static void balloon_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    struct balloon *b = (struct balloon *)dev;
    const uint32_t none = 0;

    if (!vq) {
        virtio_config_set(dev, offsetof(struct virtio_balloon_config, actual), &none, 4);
        b->latest_s = 0;
        tell_watch(dev);
    }
    if (vq && virtqueue_index(vq) != QUEUE_STATS)
        return;
    if (b->stats)
        virtqueue_drop(b->stats);
    b->stats = NULL;
    answer(b, NULL);
}

static void balloon_quiesce(struct virtio_device *dev)
{
    struct balloon *b = (struct balloon *)dev;

    if (b->stats)
        virtqueue_unpop(b->stats);
    b->stats = NULL;
}

static void timer_closed(uv_handle_t *timer)
{
    g_free(timer);
}

static void balloon_free(struct virtio_device *dev)
{
    struct balloon *b = (struct balloon *)dev;

    answer(b, NULL);
    if (b->timer)
        uv_close((uv_handle_t *)b->timer, timer_closed);
    virtio_device_fini(dev);
    g_free(dev);
}

static const struct virtio_ops balloon_ops = {
    .name = "virtio-balloon",
    .id = VIRTIO_ID_BALLOON,
    .pci_class = 0xff0000,
    .state = &balloon_state,
    .queue_notify = balloon_notify,
    .config_written = tell_watch,
    .reset = balloon_reset,
    .quiesce = balloon_quiesce,
    .free = balloon_free,
};

struct virtio_device *virtio_balloon_new(const struct virtio_env *env)
{
    static const uint16_t sizes[QUEUES] = {128, 128, 32, 32, 32};
    struct balloon *b = g_new0(struct balloon, 1);
    uint64_t features = VIRTIO_FEATURE(VIRTIO_BALLOON_F_STATS_VQ) |
                        VIRTIO_FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
                        VIRTIO_FEATURE(VIRTIO_BALLOON_F_REPORTING);

    virtio_device_init(&b->vdev, &balloon_ops, env, features, QUEUES, sizes,
                       sizeof(struct virtio_balloon_config));
    virtio_config_writable(&b->vdev, offsetof(struct virtio_balloon_config, actual), 4);
    return &b->vdev;
}
