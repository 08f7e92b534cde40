/* machine/virtio/blk.h: a disk (virtio 1.2, 5.2). */
#ifndef MACHINE_VIRTIO_BLK_H
#define MACHINE_VIRTIO_BLK_H

#include "machine/block/block.h"
#include "machine/virtio/virtio.h"

struct virtio_blk_options {
    const char *serial; /* what the guest finds in /dev/disk/by-id, up to 20 bytes; or NULL */
    unsigned queues;    /* request queues, 1 to LIMIT_BLK_QUEUES; one a vCPU is best */
    /*
     * The host failed REQ with ERROR (-errno; never for what the guest asked wrongly). True: the device
     * keeps the request, begins no other, and tries it again when it is resumed after a standstill;
     * false: the guest is told. NULL: it always is. Called on the loop, from within the device.
     */
    bool (*failed)(void *opaque, const struct block_req *req, int error);
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

#endif
