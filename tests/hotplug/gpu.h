/*
 * The program of a GPU in the guest of the hot-plug tests: it opens the first channel, makes a context, and
 * then fills memory without pause, a batch of posted calls and a wait for it. Nothing here waits: gpu_work()
 * does what can be done, and says "gpu works" when the first batch is through, "gpu lost" when the channel
 * is; it opens another one while the card is there. Included by guest.c alone, after machine.h.
 */
#ifndef TESTS_HOTPLUG_GPU_H
#define TESTS_HOTPLUG_GPU_H

#include "gpu/protocol/ring.h"

enum gpu_step { GPU_NONE, GPU_OPENS, GPU_GREETS, GPU_MAKES, GPU_ALLOCATES, GPU_WORKS };
enum { GPU_BATCH = 16, GPU_FILL_BYTES = 4096, GPU_CTX = 1, GPU_RENUMBER_MS = 100, GPU_AGAIN_MS = 50 };

static struct {
    enum gpu_step step;
    uintptr_t registers, channel; /* 0: there is no card */
    bool asked, worked;
    uint32_t open, calls_tail, answers_head, seq;
    uint64_t opened_ms, lost_ms, address, turns;
} gpu;

static volatile struct gpu_channel *gpu_shared(void)
{
    return (volatile struct gpu_channel *)gpu.channel;
}

static void gpu_ring_bell(void)
{
    write32(gpu.registers + GPU_REG_DOORBELL, 1);
}

/* A number that the host has not seen, for which it empties the rings. */
static void gpu_open(void)
{
    gpu.open++;
    gpu.opened_ms = machine_ms();
    gpu.calls_tail = gpu.answers_head = gpu.seq = 0;
    gpu.asked = gpu.worked = false;
    gpu_shared()->calls_tail = 0;
    gpu_shared()->answers_head = 0;
    gpu_store(&gpu_shared()->guest_open, gpu.open);
    gpu_ring_bell();
    gpu.step = GPU_OPENS;
}

static void gpu_begin(uintptr_t registers, uintptr_t channel)
{
    check(read32(registers + GPU_REG_MAGIC), (uint32_t)GPU_MAGIC);
    gpu.registers = registers;
    gpu.channel = channel;
    gpu_open();
}

/* Puts a call whose fields are N words. There is room for a batch, whose answer is waited for. */
static void gpu_put(unsigned op, const uint64_t *fields, unsigned n, bool async)
{
    const uint32_t bytes = 16 + 8 * n;
    uintptr_t ring = gpu.channel + GPU_CALLS_AT;

    for (unsigned i = 0; i < 2 + n; i++) {
        uint64_t word = i == 0   ? bytes | (uint64_t)op << 32 | (uint64_t)(async ? GPU_CALL_ASYNC : 0) << 48
                        : i == 1 ? ++gpu.seq
                                 : fields[i - 2];
        write64(ring + ((gpu.calls_tail + 8 * i) & (GPU_RING_BYTES - 1)), word);
    }
    gpu.calls_tail += bytes;
    gpu_store(&gpu_shared()->calls_tail, gpu.calls_tail);
    gpu_fence();
    if (gpu_load(&gpu_shared()->host_asleep))
        gpu_ring_bell();
}

static void gpu_ask(unsigned op, const uint64_t *fields, unsigned n)
{
    gpu_put(op, fields, n, false);
    gpu.asked = true;
}

/* The answer, if it is there; its first word of fields to *FIELD. */
static bool gpu_answer(uint64_t *field)
{
    uintptr_t ring = gpu.channel + GPU_ANSWERS_AT;
    uint64_t word[4];

    if (gpu_load(&gpu_shared()->answers_tail) == gpu.answers_head)
        return false;
    for (unsigned i = 0; i < 4; i++)
        word[i] = *(volatile uint64_t *)(ring + ((gpu.answers_head + 8 * i) & (GPU_RING_BYTES - 1)));
    /* What is read while the card is pulled out is nothing. */
    if (gpu_load(&gpu_shared()->host_open) != gpu.open)
        return false;
    check((uint32_t)word[1], gpu.seq);
    check(word[2], 0); /* neither it nor a call before it failed */
    gpu.answers_head += (uint32_t)word[0];
    gpu_store(&gpu_shared()->answers_head, gpu.answers_head);
    *field = word[3];
    gpu.asked = false;
    return true;
}

/* What is asked in each step; its answer leads to the next one. */
static void gpu_next(void)
{
    switch (gpu.step) {
    case GPU_GREETS:
        gpu_ask(GPU_OP_HELLO, (uint64_t[]){GPU_VERSION | (uint64_t)GPU_OLDEST << 32}, 1);
        break;
    case GPU_MAKES:
        gpu_ask(GPU_OP_CTX_NEW, (uint64_t[]){GPU_CTX, 0}, 2);
        break;
    case GPU_ALLOCATES:
        gpu_ask(GPU_OP_ALLOC, (uint64_t[]){GPU_CTX, GPU_FILL_BYTES}, 2);
        break;
    default:
        for (unsigned i = 0; i < GPU_BATCH; i++)
            gpu_put(GPU_OP_FILL,
                    (uint64_t[]){GPU_CTX, gpu.address, GPU_FILL_BYTES, GPU_FILL_BYTES, 1, i | 1ull << 32},
                    6, true);
        gpu_ask(GPU_OP_CTX_SYNC, (uint64_t[]){GPU_CTX}, 1);
    }
}

static void gpu_answered(uint64_t field)
{
    if (gpu.step == GPU_ALLOCATES)
        gpu.address = field;
    if (gpu.step < GPU_WORKS) {
        gpu.step++;
        return;
    }
    gpu.turns += GPU_BATCH;
    if (!gpu.worked)
        print("gpu works\n");
    gpu.worked = true;
}

/* Told once: a card may still answer when its channel is lost already, is opened again, and goes. */
static void gpu_lose(void)
{
    if (gpu.step > GPU_OPENS)
        print("gpu lost\n");
    gpu.step = GPU_NONE;
    gpu.lost_ms = machine_ms();
}

static void gpu_work(void)
{
    uint64_t field;

    if (gpu.step == GPU_NONE) {
        if (gpu.registers && machine_ms() > gpu.lost_ms + GPU_AGAIN_MS &&
            read32(gpu.registers + GPU_REG_MAGIC) == (uint32_t)GPU_MAGIC)
            gpu_open();
        return;
    }
    bool is_open = gpu_load(&gpu_shared()->host_open) == gpu.open;
    if (gpu.step == GPU_OPENS) {
        /* A worker that follows on a dead one takes an old number for a dead program's. */
        if (is_open)
            gpu.step = GPU_GREETS;
        else if (machine_ms() > gpu.opened_ms + GPU_RENUMBER_MS)
            gpu_open();
        return;
    }
    if (!is_open)
        gpu_lose();
    else if (!gpu.asked)
        gpu_next();
    else if (gpu_answer(&field))
        gpu_answered(field);
}

/* The card is gone, and where it was there are zeros: of a channel that was open that is the loss. */
static void gpu_gone(void)
{
    if (gpu.step > GPU_OPENS)
        check(gpu_load(&gpu_shared()->host_open), 0);
    if (gpu.step != GPU_NONE)
        gpu_lose();
    gpu.registers = 0;
}

#endif
