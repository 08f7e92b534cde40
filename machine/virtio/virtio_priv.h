/* machine/virtio: what virtio.c, virtqueue.c and virtio_pci.c share. */
#ifndef MACHINE_VIRTIO_VIRTIO_PRIV_H
#define MACHINE_VIRTIO_VIRTIO_PRIV_H

#include "machine/virtio/virtio.h"

#include <linux/virtio_pci.h>

struct virtqueue {
    struct virtio_device *dev;
    unsigned index;
    uint16_t max;

    /* Registers, under dev->lock. */
    uint16_t size;
    uint16_t vector; /* atomic: the loop reads it without the lock */
    uint8_t enabled;
    bool resetting; /* the driver asked for a reset of this queue, which has not ended */
    uint64_t desc, avail, used;

    /* The loop thread's. */
    bool running;
    bool reset_waiting; /* the reset ends with the last element */
    uint16_t num;       /* SIZE, while running */
    struct vring_desc *desc_host;
    struct vring_avail *avail_host;
    struct vring_used *used_host;
    struct mem_ram *used_ram; /* where the used ring is */
    uint16_t last_avail;      /* next entry of the available ring to take */
    uint16_t shadow_avail;    /* the driver's index as it was last seen */
    uint16_t used_idx;        /* next entry of the used ring to fill */
    uint16_t signalled;       /* USED_IDX at the last decision on an interrupt */
    bool quiet_ring;          /* the device does not want to be told of new buffers */
    bool in_turn;             /* queue_notify runs, with SHARE elements left to take */
    unsigned share;
    uint32_t in_flight;
};

/* --- virtqueue.c ---------------------------------------------------------------------------------
 */

/* Looks the rings up in RAM; false when they are not wholly there. Loop thread, lock not held. */
bool virtqueue__start(struct virtqueue *vq);
/* One call of queue_notify. Loop thread. */
void virtqueue__turn(struct virtqueue *vq);
/* Registers and positions of a queue no driver has touched. dev->lock held. */
void virtqueue__clear(struct virtqueue *vq);
extern const struct state_desc virtqueue__state;
/* Whether loaded registers make sense. */
bool virtqueue__loaded(struct virtqueue *vq, GError **err);

/* --- virtio.c ------------------------------------------------------------------------------------
 */

/* Writes of the common configuration that have consequences. vCPU thread, dev->lock held. */
void virtio__write_status(struct virtio_device *dev, uint8_t status);
void virtio__write_features(struct virtio_device *dev, uint32_t value);
void virtio__enable_queue(struct virtio_device *dev, struct virtqueue *vq);
void virtio__reset_queue(struct virtio_device *dev, struct virtqueue *vq);
/* A write to the device's configuration. vCPU thread, dev->lock held. */
void virtio__write_config(struct virtio_device *dev, unsigned offset, uint8_t value);

/* The eventfd that counts as a doorbell of any queue, the device's; or -1. */
int virtio__doorbell(const struct virtio_device *dev);
/* Sets kick bits and wakes the loop. Any thread, no lock. */
void virtio__kick(struct virtio_device *dev, uint64_t queues);

/* The same on the loop thread, which need not be woken while it sees to the device. */
void virtio__kick_here(struct virtio_device *dev, uint64_t queues);

/* An element came back: ends a reset or a quiesce that waited for it. Loop thread. */
void virtio__settled(struct virtio_device *dev);

/* The PCI function's operations of the same names. Loop thread. */
void virtio__reset(struct virtio_device *dev);
void virtio__quiesce(struct virtio_device *dev);
void virtio__resume(struct virtio_device *dev);
void virtio__save(struct virtio_device *dev, GByteArray *out);
bool virtio__load(struct virtio_device *dev, const uint8_t *data, size_t length, size_t *used,
                  GError **err);

#endif
