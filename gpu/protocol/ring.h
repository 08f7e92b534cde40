/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/protocol/ring: a channel in shared memory: two rings of records and a window for bulk data.
 *
 * A window of memory that guest and host share holds GPU_CHANNELS channels of GPU_CHANNEL_BYTES
 * each. A channel begins with a page of struct gpu_channel, of which each member has one writer;
 * then come the ring of calls, the ring of answers, and the data window. Counters of bytes run
 * freely; a ring's size is a power of two. One thread a side and ring at a time.
 *
 * A guest's memory may be a PCI BAR behind which a hypervisor sees each access: everything shared
 * is moved by aligned words of 4 or 8 bytes, and never by an atomic read-modify-write.
 *
 * Opening: a program takes a channel of its own (how is the transport's business), writes a number
 * that is not 0 to guest_open, rings the doorbell and waits until host_open has it; both sides then
 * begin with empty rings. Closing: 0 in guest_open. When the host's worker is started anew,
 * GENERATION grows and host_open is 0: whoever had the channel open sees its context lost, and may
 * open it again.
 *
 * Doorbell: a side that is about to sleep says so (host_asleep), looks once more, and sleeps. Who
 * adds a record rings only when the other sleeps. Guests poll, with pauses that grow.
 */
#ifndef GPU_PROTOCOL_RING_H
#define GPU_PROTOCOL_RING_H

#include "gpu/protocol/record.h"

#define GPU_MAGIC UINT64_C(0x3155504744564d56)

enum {
    GPU_CHANNELS = 8,
    GPU_RING_BYTES = 256 * 1024,
    GPU_CHANNEL_BYTES = 8 * 1024 * 1024,
    GPU_CALLS_AT = 4096,
    GPU_ANSWERS_AT = GPU_CALLS_AT + GPU_RING_BYTES,
    GPU_DATA_AT = 1024 * 1024,
    GPU_DATA_BYTES = GPU_CHANNEL_BYTES - GPU_DATA_AT,
    GPU_SHARED_BYTES = GPU_CHANNELS * GPU_CHANNEL_BYTES,
};

/* Registers of the PCI function's BAR 0: a number of struct gpu_channel's, and doorbells of 4
 * bytes. */
enum {
    GPU_REG_MAGIC = 0,     /* low word of GPU_MAGIC */
    GPU_REG_CHANNELS = 4,  /* GPU_CHANNELS */
    GPU_REG_DOORBELL = 64, /* 4 bytes a channel: any write */
    GPU_REG_BYTES = 4096,
};

enum {
    GPU_PCI_VENDOR = 0x1b36, /* as the virtual PCI ports have it */
    GPU_PCI_DEVICE = 0x0c75,
};

struct gpu_channel {
    /* The host's. */
    uint64_t magic;
    uint32_t version, generation;
    uint32_t ring_bytes, data_bytes;
    uint32_t host_open, host_asleep;
    uint8_t pad0[32];
    uint32_t calls_head, pad1[15];
    uint32_t answers_tail, pad2[15];
    /* The guest's. */
    uint32_t guest_open, pad3[15];
    uint32_t calls_tail, pad4[15];
    uint32_t answers_head, pad5[15];
};

_Static_assert(sizeof(struct gpu_channel) == 6 * 64, "a cache line for each writer and use");

/* One side's view of one ring. */
struct gpu_ring {
    volatile uint8_t *bytes;
    volatile uint32_t *theirs; /* the other side's counter */
    volatile uint32_t *shown;  /* ours, as they see it */
    uint32_t size, mine;
};

static inline uint32_t gpu_load(const volatile uint32_t *at)
{
    uint32_t value = __atomic_load_n(at, __ATOMIC_RELAXED);

    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return value;
}

static inline void gpu_store(volatile uint32_t *at, uint32_t value)
{
    __atomic_thread_fence(__ATOMIC_RELEASE);
#ifdef __riscv
    *at = value; /* compilers make an atomic swap of the other, which a card that is gone does not take */
#else
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
#endif
}

/* What was stored is seen before what is loaded next. */
static inline void gpu_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* LENGTH bytes to, or from, shared memory that is aligned to 8 bytes; a word too many is never
 * touched. */
void ring_copy_in(volatile uint8_t *shared, const void *from, size_t length);
void ring_copy_out(void *to, const volatile uint8_t *shared, size_t length);

/* A ring of BYTES with both counters at START. */
void ring_init(struct gpu_ring *ring, volatile uint8_t *bytes, uint32_t size,
               volatile uint32_t *theirs, volatile uint32_t *shown, uint32_t start);

/* Writer: bytes that can be put now. More than the ring's size is never told. */
uint32_t ring_room(const struct gpu_ring *ring);

/* Writer: puts a record of LENGTH bytes, a multiple of 8, in one piece. False: no room for it now.
 */
bool ring_put(struct gpu_ring *ring, const void *record, uint32_t length);

/*
 * Reader: copies the next record to BUF, of GPU_RECORD_MOST bytes. Its length; 0: there is none;
 * -1: what the other side wrote cannot be a ring.
 */
int ring_get(struct gpu_ring *ring, uint8_t *buf);

/* Reader: whether there is something. */
static inline bool ring_waiting(const struct gpu_ring *ring)
{
    return gpu_load(ring->theirs) != ring->mine;
}

#endif
