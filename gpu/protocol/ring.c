/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Rings of records in shared memory. See ring.h. */
#include "gpu/protocol/ring.h"

#include <string.h>

void ring_copy_in(volatile uint8_t *shared, const void *from, size_t length)
{
    const uint8_t *bytes = from;
    size_t i = 0;

    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, 8);
        *(volatile uint64_t *)(shared + i) = word;
    }
    for (; i < length; i++)
        shared[i] = bytes[i];
}

void ring_copy_out(void *to, const volatile uint8_t *shared, size_t length)
{
    uint8_t *bytes = to;
    size_t i = 0;

    for (; i + 8 <= length; i += 8) {
        uint64_t word = *(const volatile uint64_t *)(shared + i);
        memcpy(bytes + i, &word, 8);
    }
    for (; i < length; i++)
        bytes[i] = shared[i];
}

void ring_init(struct gpu_ring *ring, volatile uint8_t *bytes, uint32_t size,
               volatile uint32_t *theirs, volatile uint32_t *shown, uint32_t start)
{
    *ring = (struct gpu_ring){
        .bytes = bytes, .theirs = theirs, .shown = shown, .size = size, .mine = start};
}

uint32_t ring_room(const struct gpu_ring *ring)
{
    uint32_t used = ring->mine - gpu_load(ring->theirs);

    return used <= ring->size ? ring->size - used : 0;
}

bool ring_put(struct gpu_ring *ring, const void *record, uint32_t length)
{
    if (length % GPU_ALIGN || ring_room(ring) < length)
        return false;
    uint32_t at = ring->mine & (ring->size - 1);
    uint32_t first = length < ring->size - at ? length : ring->size - at;
    ring_copy_in(ring->bytes + at, record, first);
    ring_copy_in(ring->bytes, (const uint8_t *)record + first, length - first);
    ring->mine += length;
    gpu_store(ring->shown, ring->mine);
    return true;
}

int ring_get(struct gpu_ring *ring, uint8_t *buf)
{
    uint32_t waiting = gpu_load(ring->theirs) - ring->mine, length;

    if (!waiting)
        return 0;
    if (waiting > ring->size || waiting % GPU_ALIGN || waiting < sizeof(struct gpu_call_head))
        return -1;
    uint32_t at = ring->mine & (ring->size - 1);
    ring_copy_out(buf, ring->bytes + at,
                  8); /* a head's first word never wraps: all is a multiple of 8 */
    memcpy(&length, buf, sizeof(length));
    if (length < sizeof(struct gpu_call_head) || length > GPU_RECORD_MOST || length % GPU_ALIGN ||
        length > waiting)
        return -1;
    uint32_t first = length < ring->size - at ? length : ring->size - at;
    ring_copy_out(buf + 8, ring->bytes + at + 8, first - 8);
    ring_copy_out(buf + first, ring->bytes, length - first);
    ring->mine += length;
    gpu_store(ring->shown, ring->mine);
    return (int)length;
}
