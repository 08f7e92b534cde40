/*
 * The core of every virtio device: its registers' life (virtio 1.2, 2.1 and 3), and how what
 * vCPUs write gets to the loop thread.
 *
 * A vCPU changes registers under dev->lock, sets `changed` and rings; the loop then brings itself
 * into line with the registers (sync). A doorbell sets a bit in `kicked` and rings, without a
 * lock; one that the host saw to, by an eventfd, counts for all queues. Resets end on the loop,
 * when the last element is back; only then the registers are cleared and the driver reads a status
 * of 0. A device that was never started is reset on the spot, since the loop has nothing of it.
 */
#include "machine/virtio/virtio_priv.h"

#include <sys/eventfd.h>

#define ROUNDS 8 /* turns that queues may have in one go */

/*
 * The loop's wake-up calls: one that we ring, and an eventfd that an accelerator may have the host
 * ring, for any of the queues; where this process has no descriptor left, we ring alone. It outlives the
 * device until the loop has closed both.
 */
struct virtio__bell {
    uv_async_t async;
    uv_poll_t poll;
    int fd; /* eventfd, or -1 */
    unsigned open;
    struct virtio_device *dev;
};

static const struct state_field device_fields[] = {
    STATE_FIELD_U64(struct virtio_device, features, 1),
    STATE_FIELD_U8(struct virtio_device, status, 1),
    STATE_FIELD_U8(struct virtio_device, generation, 1),
    STATE_FIELD_U8(struct virtio_device, config, 1),
    STATE_FIELD_U16(struct virtio_device, config_vector, 1),
    STATE_FIELD_U16(struct virtio_device, queue_select, 1),
    STATE_FIELD_U32(struct virtio_device, device_feature_select, 1),
    STATE_FIELD_U32(struct virtio_device, driver_feature_select, 1),
};
static const struct state_desc device_state = {"virtio", 1, sizeof(struct virtio_device),
                                               G_N_ELEMENTS(device_fields), device_fields};

static void rung(uv_async_t *async);
static void rung_by_host(uv_poll_t *poll, int status, int events);

static struct virtio__bell *bell_new(struct virtio_device *dev)
{
    struct virtio__bell *bell = g_new0(struct virtio__bell, 1);

    bell->dev = dev;
    bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bell->open = bell->fd >= 0 ? 2 : 1;
    int rc = uv_async_init(dev->env.loop, &bell->async, rung);
    if (rc == 0 && bell->fd >= 0)
        rc = uv_poll_init(dev->env.loop, &bell->poll, bell->fd);
    if (rc == 0 && bell->fd >= 0)
        rc = uv_poll_start(&bell->poll, UV_READABLE, rung_by_host);
    g_assert(rc == 0);
    bell->async.data = bell->poll.data = bell;
    return bell;
}

static void bell_closed(uv_handle_t *handle)
{
    struct virtio__bell *bell = handle->data;

    if (--bell->open)
        return;
    if (bell->fd >= 0)
        close(bell->fd);
    g_free(bell);
}

static void bell_free(struct virtio__bell *bell)
{
    bell->dev = NULL;
    uv_close((uv_handle_t *)&bell->async, bell_closed);
    if (bell->fd >= 0)
        uv_close((uv_handle_t *)&bell->poll, bell_closed);
}

int virtio__doorbell(const struct virtio_device *dev)
{
    return dev->bell->fd;
}

void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops,
                        const struct virtio_env *env, uint64_t features, unsigned n,
                        const uint16_t *sizes, uint32_t config_size)
{
    g_assert(n <= VIRTIO_QUEUES_MAX && config_size <= VIRTIO_CONFIG_MAX);
    dev->ops = ops;
    dev->env = *env;
    dev->offered = features | VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |
                   VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
                   VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_FEATURE(VIRTIO_F_RING_RESET);
    dev->config_size = config_size;
    dev->config_vector = VIRTIO_MSI_NO_VECTOR;
    pthread_mutex_init(&dev->lock, NULL);
    dev->queues = g_new0(struct virtqueue, n);
    dev->n_queues = n;
    for (unsigned i = 0; i < n; i++) {
        g_assert(sizes[i] && sizes[i] <= LIMIT_VIRTQUEUE_SIZE && !(sizes[i] & (sizes[i] - 1)));
        dev->queues[i] = (struct virtqueue){.dev = dev, .index = i, .max = sizes[i]};
        virtqueue__clear(&dev->queues[i]);
    }
    dev->bell = bell_new(dev);
}

void virtio_device_fini(struct virtio_device *dev)
{
    g_assert(!dev->in_flight);
    bell_free(dev->bell);
    g_free(dev->queues);
    pthread_mutex_destroy(&dev->lock);
}

void virtio_device_free(struct virtio_device *dev)
{
    if (dev)
        dev->ops->free(dev);
}

bool virtio_running(const struct virtio_device *dev)
{
    return dev->started && !dev->error;
}

void virtio_watch_running(struct virtio_device *dev, void (*running)(void *opaque, bool on),
                          void *opaque)
{
    dev->running = running;
    dev->running_opaque = opaque;
}

static void tell_running(const struct virtio_device *dev, bool on)
{
    if (dev->running)
        dev->running(dev->running_opaque, on);
}

/* --- configuration ---------------------------------------------------------------------------- */

void virtio_config_writable(struct virtio_device *dev, unsigned offset, unsigned size)
{
    g_assert(offset + size <= dev->config_size);
    memset(dev->config_mask + offset, 0xff, size);
}

/* True when the driver is to be told. */
static bool config_set(struct virtio_device *dev, unsigned offset, const void *bytes, unsigned size)
{
    bool tell = false;

    g_assert(offset + size <= dev->config_size);
    pthread_mutex_lock(&dev->lock);
    if (memcmp(dev->config + offset, bytes, size) != 0) {
        memcpy(dev->config + offset, bytes, size);
        dev->generation++;
        dev->config_seen = false;
        tell = dev->active;
    }
    pthread_mutex_unlock(&dev->lock);
    return tell;
}

void virtio_config_set_silently(struct virtio_device *dev, unsigned offset, const void *bytes,
                                unsigned size)
{
    config_set(dev, offset, bytes, size);
}

void virtio_config_set(struct virtio_device *dev, unsigned offset, const void *bytes, unsigned size)
{
    if (config_set(dev, offset, bytes, size))
        dev->transport->interrupt(dev->transport_opaque, NULL);
}

bool virtio_config_seen(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    bool seen = dev->config_seen;
    pthread_mutex_unlock(&dev->lock);
    return seen;
}

void virtio_config_get(struct virtio_device *dev, unsigned offset, void *bytes, unsigned size)
{
    g_assert(offset + size <= dev->config_size);
    pthread_mutex_lock(&dev->lock);
    memcpy(bytes, dev->config + offset, size);
    pthread_mutex_unlock(&dev->lock);
}

void virtio_device_error(struct virtio_device *dev, const char *why)
{
    bool tell;

    if (dev->error)
        return;
    dev->error = why;
    pthread_mutex_lock(&dev->lock);
    dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    tell = dev->active;
    pthread_mutex_unlock(&dev->lock);
    if (tell)
        dev->transport->interrupt(dev->transport_opaque, NULL);
}

/* --- what vCPUs write ------------------------------------------------------------------------- */

static void ring_bell(struct virtio_device *dev)
{
    uv_async_send(&dev->bell->async);
}

void virtio__kick(struct virtio_device *dev, uint64_t queues)
{
    __atomic_fetch_or(&dev->kicked, queues, __ATOMIC_SEQ_CST);
    ring_bell(dev);
}

void virtio__kick_here(struct virtio_device *dev, uint64_t queues)
{
    __atomic_fetch_or(&dev->kicked, queues, __ATOMIC_SEQ_CST);
    if (!dev->catching_up)
        ring_bell(dev);
}

/* The loop has to look. dev->lock held. */
static void tell_loop(struct virtio_device *dev)
{
    dev->changed = true;
    ring_bell(dev);
}

/* All registers as after power-on. dev->lock held. */
static void clear_registers(struct virtio_device *dev)
{
    dev->status = dev->active = 0;
    dev->resetting = dev->config_dirty = false;
    dev->features = 0;
    dev->device_feature_select = dev->driver_feature_select = 0;
    dev->queue_select = 0;
    dev->config_vector = VIRTIO_MSI_NO_VECTOR;
    for (unsigned i = 0; i < dev->n_queues; i++)
        virtqueue__clear(&dev->queues[i]);
    dev->transport->reset(dev->transport_opaque);
}

static bool features_fit(const struct virtio_device *dev)
{
    return !(dev->features & ~dev->offered) && dev->features & VIRTIO_FEATURE(VIRTIO_F_VERSION_1) &&
           (!dev->ops->features_ok || dev->ops->features_ok(dev, dev->features));
}

void virtio__write_status(struct virtio_device *dev, uint8_t status)
{
    uint8_t now = dev->status;

    if (dev->resetting)
        return;
    if (status == 0) {
        if (dev->active) {
            dev->resetting = true;
            tell_loop(dev);
        } else {
            clear_registers(dev);
        }
        return;
    }
    /* Bits are only ever added (2.1.1); the two that mean something must be earned. */
    status = (uint8_t)(now | (status & ~VIRTIO_CONFIG_S_NEEDS_RESET));
    if (!(now & VIRTIO_CONFIG_S_FEATURES_OK) && status & VIRTIO_CONFIG_S_FEATURES_OK &&
        !features_fit(dev))
        status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
        status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
    dev->status = status;
    if (status & VIRTIO_CONFIG_S_DRIVER_OK && !dev->active) {
        dev->active = 1;
        tell_loop(dev);
    }
}

void virtio__write_features(struct virtio_device *dev, uint32_t value)
{
    unsigned shift = dev->driver_feature_select * 32;

    if (dev->driver_feature_select > 1 || dev->status & VIRTIO_CONFIG_S_FEATURES_OK)
        return;
    dev->features = (dev->features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

void virtio__enable_queue(struct virtio_device *dev, struct virtqueue *vq)
{
    if (vq->enabled || vq->resetting)
        return;
    vq->enabled = 1;
    if (dev->active)
        tell_loop(dev);
}

void virtio__reset_queue(struct virtio_device *dev, struct virtqueue *vq)
{
    if (!vq->enabled || vq->resetting || !(dev->features & VIRTIO_FEATURE(VIRTIO_F_RING_RESET)))
        return;
    if (dev->active) {
        vq->resetting = true;
        tell_loop(dev);
    } else {
        virtqueue__clear(vq);
    }
}

void virtio__write_config(struct virtio_device *dev, unsigned offset, uint8_t value)
{
    uint8_t mask = offset < dev->config_size ? dev->config_mask[offset] : 0;

    if (!mask)
        return;
    dev->config[offset] = (uint8_t)((dev->config[offset] & ~mask) | (value & mask));
    dev->config_dirty = true;
    tell_loop(dev);
}

/* --- the loop follows ------------------------------------------------------------------------- */

static void end_reset(struct virtio_device *dev)
{
    dev->reset_waiting = false;
    dev->error = NULL;
    for (unsigned i = 0; i < dev->n_queues; i++)
        dev->queues[i].reset_waiting = false;
    __atomic_store_n(&dev->kicked, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&dev->lock);
    clear_registers(dev);
    pthread_mutex_unlock(&dev->lock);
}

static void begin_reset(struct virtio_device *dev)
{
    bool was = dev->started;

    if (dev->reset_waiting)
        return;
    dev->started = false;
    for (unsigned i = 0; i < dev->n_queues; i++)
        dev->queues[i].running = false;
    if (was && dev->ops->reset)
        dev->ops->reset(dev, NULL);
    if (was)
        tell_running(dev, false);
    dev->reset_waiting = true;
    virtio__settled(dev);
}

static void begin_queue_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    if (vq->reset_waiting)
        return;
    vq->running = false;
    if (dev->started && dev->ops->reset)
        dev->ops->reset(dev, vq);
    vq->reset_waiting = true;
    virtio__settled(dev);
}

void virtio__settled(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->n_queues; i++) {
        struct virtqueue *vq = &dev->queues[i];
        if (likely(!vq->reset_waiting) || vq->in_flight)
            continue;
        vq->reset_waiting = false;
        pthread_mutex_lock(&dev->lock);
        virtqueue__clear(vq);
        pthread_mutex_unlock(&dev->lock);
    }
    if (likely(dev->in_flight > dev->parked))
        return;
    if (dev->reset_waiting && !dev->in_flight)
        end_reset(dev);
    /* Not told from here: whoever pushed the last element has an interrupt to raise yet. */
    if (dev->quiet_waiting)
        ring_bell(dev);
}

/* Starts queues that were enabled, begins queue resets that were asked for. */
static void sync_queues(struct virtio_device *dev)
{
    for (unsigned i = 0; i < dev->n_queues; i++) {
        struct virtqueue *vq = &dev->queues[i];
        pthread_mutex_lock(&dev->lock);
        bool enabled = vq->enabled, resetting = vq->resetting;
        pthread_mutex_unlock(&dev->lock);
        if (resetting)
            begin_queue_reset(dev, vq);
        else if (enabled && !vq->running && virtqueue__start(vq))
            __atomic_fetch_or(&dev->kicked, UINT64_C(1) << i, __ATOMIC_SEQ_CST);
        else if (enabled && !vq->running)
            virtio_device_error(dev, "a ring is not in RAM or not aligned");
    }
}

/* Brings the loop's view into line with the registers. */
static void sync_registers(struct virtio_device *dev)
{
    pthread_mutex_lock(&dev->lock);
    bool changed = dev->changed, active = dev->active, resetting = dev->resetting;
    bool written = dev->config_dirty;
    dev->changed = dev->config_dirty = false;
    pthread_mutex_unlock(&dev->lock);
    if (!changed)
        return;
    if (resetting) {
        begin_reset(dev);
        return;
    }
    if (active) {
        bool start = !dev->started;
        dev->started = true;
        sync_queues(dev);
        if (start && dev->ops->start)
            dev->ops->start(dev);
        if (start)
            tell_running(dev, true);
    }
    if (written && dev->ops->config_written)
        dev->ops->config_written(dev);
}

/* Gives each queue that was rung for its turn. Those that go on having buffers get a few more
 * before the loop sees to others, which saves waking it by itself. */
static void catch_up(struct virtio_device *dev)
{
    uint64_t kicked;

    sync_registers(dev);
    dev->catching_up = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        kicked = __atomic_exchange_n(&dev->kicked, 0, __ATOMIC_SEQ_CST);
        if (!kicked || !dev->started)
            break;
        for (; kicked; kicked &= kicked - 1) {
            unsigned i = (unsigned)__builtin_ctzll(kicked);
            if (i < dev->n_queues)
                virtqueue__turn(&dev->queues[i]);
        }
    }
    dev->catching_up = false;
    if (__atomic_load_n(&dev->kicked, __ATOMIC_SEQ_CST) && dev->started)
        ring_bell(dev);
}

/* The device's last act: who hears of it may free it. */
static void tell_quiet(struct virtio_device *dev)
{
    if (!dev->quiet_waiting || dev->in_flight > dev->parked)
        return;
    dev->quiet_waiting = false;
    dev->transport->quiet(dev->transport_opaque);
}

static void rung(uv_async_t *async)
{
    struct virtio_device *dev = container_of(async, struct virtio__bell, async)->dev;

    if (!dev)
        return;
    catch_up(dev);
    tell_quiet(dev);
}

/* The host does not say which queue it was. */
static void rung_by_host(uv_poll_t *poll, int status, int events)
{
    struct virtio__bell *bell = poll->data;
    eventfd_t times;

    if (!bell->dev || eventfd_read(bell->fd, &times) < 0)
        return;
    __atomic_fetch_or(&bell->dev->kicked, UINT64_MAX, __ATOMIC_SEQ_CST);
    catch_up(bell->dev);
    tell_quiet(bell->dev);
}

/* --- quiet, reset, saved state ---------------------------------------------------------------- */

void virtio__reset(struct virtio_device *dev)
{
    begin_reset(dev);
}

void virtio__quiesce(struct virtio_device *dev)
{
    catch_up(dev);
    dev->quiescing = true;
    if (dev->started && dev->ops->quiesce)
        dev->ops->quiesce(dev);
    dev->quiet_waiting = true;
    virtio__settled(dev);
    tell_quiet(dev);
}

void virtio__resume(struct virtio_device *dev)
{
    dev->quiescing = false;
    if (dev->started && dev->ops->resume)
        dev->ops->resume(dev);
    pthread_mutex_lock(&dev->lock);
    dev->changed = true;
    pthread_mutex_unlock(&dev->lock);
    virtio__kick(dev, UINT64_MAX);
}

void virtio__save(struct virtio_device *dev, GByteArray *out)
{
    g_assert(!dev->in_flight);
    pthread_mutex_lock(&dev->lock);
    state_save(&device_state, dev, out);
    for (unsigned i = 0; i < dev->n_queues; i++)
        state_save(&virtqueue__state, &dev->queues[i], out);
    pthread_mutex_unlock(&dev->lock);
    if (dev->ops->state)
        state_save(dev->ops->state, dev, out);
}

/* Loads the tables one after another; what they say is not believed yet. */
static bool load_tables(struct virtio_device *dev, const uint8_t *data, size_t length, size_t *used,
                        GError **err)
{
    size_t n;

    if (!state_load(&device_state, dev, data, length, used, err))
        return false;
    for (unsigned i = 0; i < dev->n_queues; i++) {
        if (!state_load(&virtqueue__state, &dev->queues[i], data + *used, length - *used, &n, err))
            return false;
        *used += n;
    }
    if (!dev->ops->state)
        return true;
    if (!state_load(dev->ops->state, dev, data + *used, length - *used, &n, err))
        return false;
    *used += n;
    return true;
}

bool virtio__load(struct virtio_device *dev, const uint8_t *data, size_t length, size_t *used,
                  GError **err)
{
    bool ok;

    begin_reset(dev); /* quiet, so it ends here */
    pthread_mutex_lock(&dev->lock);
    ok = load_tables(dev, data, length, used, err);
    if (ok && dev->status & VIRTIO_CONFIG_S_FEATURES_OK && !features_fit(dev))
        ok = vmd_fail(err, VMD_ERROR_INVALID, "saved '%s' has features that this one lacks",
                      dev->ops->name);
    for (unsigned i = 0; ok && i < dev->n_queues; i++)
        ok = virtqueue__loaded(&dev->queues[i], err);
    dev->active = ok && dev->status & VIRTIO_CONFIG_S_DRIVER_OK;
    dev->changed = true;
    if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        dev->error = "it needed a reset when it was saved";
    pthread_mutex_unlock(&dev->lock);
    return ok && (!dev->ops->loaded || dev->ops->loaded(dev, err));
}
