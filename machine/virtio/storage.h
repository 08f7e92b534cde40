/*
 * machine/virtio/storage.h: what the devices that offer disks share: a request to a disk's image, and what
 * becomes of it where the host fails it. Loop thread only.
 *
 * What the host fails is told to the guest, or held where the disk's owner wants that: a held request is
 * parked with the core, keeps its buffers, and is submitted once more as it was when the device is resumed.
 * While one is held the device begins no other.
 */
#ifndef MACHINE_VIRTIO_STORAGE_H
#define MACHINE_VIRTIO_STORAGE_H

#include "machine/block/block.h"
#include "machine/virtio/virtio.h"

/*
 * The host failed REQ with ERROR (-errno; never for what the guest asked wrongly). True: the device keeps the
 * request, begins no other, and tries it again when it is resumed after a standstill; false: the guest is
 * told. Called from within the device.
 */
typedef bool (*storage_failed_fn)(void *opaque, const struct block_req *req, int error);

/* One disk of a device. */
struct storage_disk {
    struct block *block;
    storage_failed_fn failed; /* NULL: nothing is held */
    void *opaque;
    unsigned held; /* of its requests */
};

struct storage_request {
    struct virtqueue_element element;
    struct storage *storage;
    struct storage_disk *disk;
    struct block_req io;
    bool unheld;                  /* this one ends whatever fails */
    struct storage_request *next; /* held */
};

/* A device's part. */
struct storage {
    struct virtio_device *dev;
    struct storage_request *held; /* in order of failure */
    /* The image's part of a request is over with 0 or -errno. It ends the request, or submits it anew. */
    void (*done)(struct storage_request *r, int status);
    bool stalled; /* buffers wait for the block layer: the queues are kicked when a request is over */
};

/* Starts R->io on its disk; DONE is called later, or at once where the block layer takes no more (-EAGAIN). */
void storage_submit(struct storage_request *r);

/* Tries what was held once more: for the device's resume. */
void storage_resume(struct storage *s);
/* Lets go of what is held of queue VQ, or of all: for the device's reset. */
void storage_drop(struct storage *s, const struct virtqueue *vq);
/* Ends with -ECANCELED what is held and PICK wants: DONE is called for each. Where nothing is held then the
 * queues go on. */
void storage_cancel(struct storage *s, bool (*pick)(const struct storage_request *r, const void *opaque),
                    const void *opaque);

#endif
