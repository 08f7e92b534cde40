/*
 * machine/virtio: memory that comes and goes (virtio 1.2, 5.15). The host asks for a size; the guest plugs
 * and unplugs blocks of a sparse stretch of RAM until it has that. Blocks that are unplugged are no memory:
 * neither vCPUs nor devices find any there, and drivers that want to read them all the same are refused
 * (VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE). Loop thread throughout.
 */
#ifndef MACHINE_VIRTIO_MEMORY_H
#define MACHINE_VIRTIO_MEMORY_H

#include "machine/virtio/virtio.h"

/*
 * Bytes of a block where there is a stretch of SIZE bytes: a large page of most hosts and guests, or as many of
 * them as it takes for no more than LIMIT_MEMORY_BLOCKS.
 */
uint64_t virtio_mem_block_bytes(uint64_t size);

/* RAM is sparse, by blocks of virtio_mem_block_bytes(), and none of them is there. It is the map's, and outlives
 * the device. */
struct virtio_device *virtio_mem_new(const struct virtio_env *env, struct mem_ram *ram);

/* Bytes of a block. */
uint64_t virtio_mem_block(const struct virtio_device *dev);

/* Asks the guest to have BYTES, whole blocks, of it. */
void virtio_mem_request(struct virtio_device *dev, uint64_t bytes);
/* What it was asked for, and what it has plugged. */
uint64_t virtio_mem_requested(struct virtio_device *dev);
uint64_t virtio_mem_plugged(const struct virtio_device *dev);

/* CHANGED is called, on the thread of the change, when the guest has plugged or unplugged; NULL:
 * nothing is. */
void virtio_mem_watch(struct virtio_device *dev, void (*changed)(void *opaque), void *opaque);

/* The machine is reset, with no vCPU running: nothing is plugged any more. What is asked for stays. */
void virtio_mem_system_reset(struct virtio_device *dev);

#endif
