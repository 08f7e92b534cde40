/*
 * machine/virtio: the memory balloon (virtio 1.2, 5.5). The host asks for a size, the guest gives
 * pages, and their memory goes back to the host at once. Pages that the guest reports as free go
 * back too. Loop thread throughout.
 */
#ifndef MACHINE_VIRTIO_BALLOON_H
#define MACHINE_VIRTIO_BALLOON_H

#include "machine/virtio/virtio.h"

/* What the guest tells of its memory; bytes, or counts; UINT64_MAX: it did not say. */
struct balloon_stats {
    uint64_t swap_in, swap_out, major_faults, minor_faults;
    uint64_t free, total, available, caches;
};

struct virtio_device *virtio_balloon_new(const struct virtio_env *env);

/* Asks the guest to keep BYTES in the balloon, away from itself; whole pages of 4 KiB. */
void virtio_balloon_set_target(struct virtio_device *dev, uint64_t bytes);
/* What it was asked for, and what is there. */
uint64_t virtio_balloon_target(struct virtio_device *dev);
uint64_t virtio_balloon_actual(struct virtio_device *dev);
/* FN is called when the guest says that another size is there; NULL: nobody is. */
void virtio_balloon_watch(struct virtio_device *dev, void (*fn)(void *opaque), void *opaque);
/* Bytes given back to the host in all: from the balloon, and reported free. */
uint64_t virtio_balloon_reclaimed(const struct virtio_device *dev);

/*
 * Asks the guest for fresh statistics; DONE is called when they come, with STATS good for the
 * call. -EAGAIN where the driver has no buffer for them out, -EBUSY while a request waits. A
 * reset answers with NULL.
 */
int virtio_balloon_poll(struct virtio_device *dev,
                        void (*done)(void *opaque, const struct balloon_stats *stats),
                        void *opaque);

/* Asks the guest for statistics now and every so many SECONDS from then on; 0: no more. */
void virtio_balloon_ask_every(struct virtio_device *dev, unsigned seconds);
unsigned virtio_balloon_asked_every(const struct virtio_device *dev);
/* Its latest answer to these, and when that came, in seconds since 1970. False: there was none since the last reset. */
bool virtio_balloon_latest(const struct virtio_device *dev, struct balloon_stats *out, uint64_t *when);

#endif
