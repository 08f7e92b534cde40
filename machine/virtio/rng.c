/*
 * Entropy: each buffer is filled from getrandom(). A turn of the queue fills at most TURN_BYTES
 * and a buffer gets at most BUFFER_BYTES (the device may fill less than was asked for), so that a
 * guest that asks without end does not keep the loop.
 */
#include "machine/virtio/rng.h"

#include <sys/random.h>

#define BUFFER_BYTES KIB(16)
#define TURN_BYTES   KIB(256)

/* Fills the element's memory from its start; returns how many bytes. */
static uint32_t fill(const struct virtqueue_element *e)
{
    size_t left = BUFFER_BYTES, done = 0;

    for (unsigned i = 0; i < e->in_n && left; i++) {
        size_t want = MIN(e->in[i].iov_len, left);
        for (size_t at = 0; at < want;) {
            /* getrandom gives up to 256 bytes whole; a signal may shorten more than that. */
            ssize_t n = getrandom((char *)e->in[i].iov_base + at, want - at, 0);
            if (n <= 0)
                return (uint32_t)done;
            at += (size_t)n;
            done += (size_t)n;
        }
        left -= want;
    }
    return (uint32_t)done;
}

static void rng_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct virtqueue_element *e;
    size_t given = 0;

    while (given < TURN_BYTES && (e = virtqueue_pop(vq, sizeof(*e)))) {
        uint32_t n = fill(e);
        virtqueue_push(e, n);
        given += n;
    }
    virtqueue_notify(vq);
    if (given >= TURN_BYTES)
        virtqueue_kick(vq);
}

static void rng_free(struct virtio_device *dev)
{
    virtio_device_fini(dev);
    g_free(dev);
}

static const struct virtio_ops rng_ops = {
    .name = "virtio-rng",
    .id = VIRTIO_ID_RNG,
    .pci_class = 0xff0000,
    .queue_notify = rng_notify,
    .free = rng_free,
};

struct virtio_device *virtio_rng_new(const struct virtio_env *env)
{
    static const uint16_t sizes[] = {64};
    struct virtio_device *dev = g_new0(struct virtio_device, 1);

    virtio_device_init(dev, &rng_ops, env, 0, 1, sizes, 0);
    return dev;
}
