/* machine/virtio/blk.h: a disk (virtio 1.2, 5.2). */
#ifndef MACHINE_VIRTIO_BLK_H
#define MACHINE_VIRTIO_BLK_H

#include "machine/virtio/storage.h"

struct virtio_blk_options {
    const char *serial; /* what the guest finds in /dev/disk/by-id, up to 20 bytes; or NULL */
    unsigned queues;    /* request queues, 1 to LIMIT_BLK_QUEUES; one a vCPU is best */
    storage_failed_fn failed; /* NULL: the guest always is told */
    void *opaque;
};

/*
 * A disk over BLOCK, which was opened on the loop of ENV, is used by nobody else, and is closed by its
 * owner after the device is freed. Loop thread.
 */
struct virtio_device *virtio_blk_new(const struct virtio_env *env, struct block *block,
                                     const struct virtio_blk_options *options);

/* Requests that the device keeps until it is resumed. Loop thread. */
unsigned virtio_blk_held(const struct virtio_device *dev);

/* The image has another size, which is told to a driver that runs. Loop thread. */
void virtio_blk_resized(struct virtio_device *dev);

/* The host has the disk no longer: whatever the driver asks for from here on fails, what is held
 * fails now, and the capacity is zero, which is told to a driver that runs: its system then asks
 * for nothing more. Loop thread. */
void virtio_blk_lose(struct virtio_device *dev);
/* Requests that failed for that. Loop thread. */
uint64_t virtio_blk_refused(const struct virtio_device *dev);

#endif
