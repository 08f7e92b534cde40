/*
 * The program of a GPU in the guest of the hot-plug tests: it opens the first channel, makes a context, and
 * then fills memory without pause, a batch of posted calls and a wait for it. Nothing here waits: gpu_work()
 * does what can be done, and says "gpu works" when the first batch is through, "gpu lost" when the channel
 * is; it opens another one while the card is there. With gpu.kernels it runs a kernel on what it has instead,
 * and compares all of that with its own account of it after each batch. Included by guest.c alone, after machine.h.
 */
#ifndef TESTS_HOTPLUG_GPU_H
#define TESTS_HOTPLUG_GPU_H

#include "gpu/protocol/ring.h"

enum gpu_step { GPU_NONE, GPU_OPENS, GPU_GREETS, GPU_MAKES, GPU_ALLOCATES, GPU_LOADS, GPU_FINDS, GPU_WORKS };
enum { GPU_BATCH = 16, GPU_FILL_BYTES = 4096, GPU_CTX = 1, GPU_MOD = 2, GPU_KERNEL = 3, GPU_LAUNCHES = 4, GPU_WORDS = GPU_FILL_BYTES / 4, GPU_BLOCK = 128, GPU_RENUMBER_MS = 100, GPU_AGAIN_MS = 50 };

static struct {
    enum gpu_step step;
    uintptr_t registers, channel; /* 0: there is no card */
    bool asked, worked;
    uint32_t open, calls_tail, answers_head, seq;
    uint64_t opened_ms, lost_ms, address, turns;
    bool kernels;
    uint32_t words[GPU_WORDS]; /* what the kernel is to have made of them */
} gpu;

/* words[i] = (words[i] ^ i) * 1664525 + 1013904223 */
static const char gpu_step_ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry step(.param .u64 words)\n{\n"
    "    .reg .u32 %i, %b, %v;\n    .reg .u64 %a, %o;\n"
    "    mov.u32 %i, %tid.x;\n    mov.u32 %b, %ctaid.x;\n"
    "    mad.lo.u32 %i, %b, 128, %i;\n"
    "    ld.param.u64 %a, [words];\n    mul.wide.u32 %o, %i, 4;\n    add.u64 %a, %a, %o;\n"
    "    ld.global.u32 %v, [%a];\n    xor.b32 %v, %v, %i;\n"
    "    mad.lo.u32 %v, %v, 1664525, 1013904223;\n    st.global.u32 [%a], %v;\n    ret;\n}\n";

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

/* The word at OFFSET of LENGTH bytes, with zeros behind them. */
static uint64_t gpu_payload(const char *payload, unsigned length, unsigned offset)
{
    uint64_t word = 0;

    for (unsigned i = 0; i < 8 && offset + i < length; i++)
        word |= (uint64_t)(uint8_t)payload[offset + i] << (8 * i);
    return word;
}

/* Puts a call whose fields are N words, with LENGTH bytes of PAYLOAD behind them. There is room for a batch,
 * whose answer is waited for. */
static void gpu_put_with(unsigned op, const uint64_t *fields, unsigned n, bool async, const char *payload,
                         unsigned length)
{
    const unsigned words = 2 + n + (length + 7) / 8;
    const uint32_t bytes = 8 * words;
    uintptr_t ring = gpu.channel + GPU_CALLS_AT;

    for (unsigned i = 0; i < words; i++) {
        uint64_t word = i == 0      ? bytes | (uint64_t)op << 32 | (uint64_t)(async ? GPU_CALL_ASYNC : 0) << 48
                        : i == 1    ? ++gpu.seq | (uint64_t)length << 32
                        : i < 2 + n ? fields[i - 2]
                                    : gpu_payload(payload, length, 8 * (i - 2 - n));
        write64(ring + ((gpu.calls_tail + 8 * i) & (GPU_RING_BYTES - 1)), word);
    }
    gpu.calls_tail += bytes;
    gpu_store(&gpu_shared()->calls_tail, gpu.calls_tail);
    gpu_fence();
    if (gpu_load(&gpu_shared()->host_asleep))
        gpu_ring_bell();
}

static void gpu_put(unsigned op, const uint64_t *fields, unsigned n, bool async)
{
    gpu_put_with(op, fields, n, async, (const char *)0, 0);
}

static void gpu_ask(unsigned op, const uint64_t *fields, unsigned n)
{
    gpu_put(op, fields, n, false);
    gpu.asked = true;
}

/* What the answer brought of the memory, from its word 3 on, into COPY. */
static void gpu_take_words(uintptr_t ring, uint32_t *copy)
{
    for (unsigned i = 0; i < GPU_WORDS; i++)
        copy[i] = *(volatile uint32_t *)(ring + ((gpu.answers_head + 24 + 4 * i) & (GPU_RING_BYTES - 1)));
}

/* A batch of kernels was run. */
static void gpu_compare(const uint32_t *copy)
{
    for (unsigned i = 0; i < GPU_WORDS; i++) {
        for (unsigned n = 0; n < GPU_LAUNCHES; n++)
            gpu.words[i] = (gpu.words[i] ^ i) * 1664525u + 1013904223u;
        check(copy[i], gpu.words[i]);
    }
}

/* The answer, if it is there; its first word of fields to *FIELD. */
static bool gpu_answer(uint64_t *field)
{
    uintptr_t ring = gpu.channel + GPU_ANSWERS_AT;
    const bool brings = gpu.kernels && gpu.step == GPU_WORKS;
    static uint32_t copy[GPU_WORDS];
    uint64_t word[4];

    if (gpu_load(&gpu_shared()->answers_tail) == gpu.answers_head)
        return false;
    for (unsigned i = 0; i < 4; i++)
        word[i] = *(volatile uint64_t *)(ring + ((gpu.answers_head + 8 * i) & (GPU_RING_BYTES - 1)));
    if (brings)
        gpu_take_words(ring, copy);
    /* What is read while the card is pulled out is nothing. */
    if (gpu_load(&gpu_shared()->host_open) != gpu.open)
        return false;
    check((uint32_t)word[1], gpu.seq);
    check(word[2], 0); /* neither it nor a call before it failed */
    if (brings)
        gpu_compare(copy);
    gpu.answers_head += (uint32_t)word[0];
    gpu_store(&gpu_shared()->answers_head, gpu.answers_head);
    *field = word[3];
    gpu.asked = false;
    return true;
}

static void gpu_run_fills(void)
{
    for (unsigned i = 0; i < GPU_BATCH; i++)
        gpu_put(GPU_OP_FILL,
                (uint64_t[]){GPU_CTX, gpu.address, GPU_FILL_BYTES, GPU_FILL_BYTES, 1, i | 1ull << 32},
                6, true);
    gpu_ask(GPU_OP_CTX_SYNC, (uint64_t[]){GPU_CTX}, 1);
}

static void gpu_run_kernels(void)
{
    for (unsigned i = 0; i < GPU_LAUNCHES; i++)
        gpu_put_with(GPU_OP_LAUNCH,
                     (uint64_t[]){GPU_CTX, GPU_KERNEL, GPU_WORDS / GPU_BLOCK | 1ull << 32, 1 | (uint64_t)GPU_BLOCK << 32,
                                  1 | 1ull << 32, 0},
                     6, true, (const char *)&gpu.address, sizeof(gpu.address));
    gpu_ask(GPU_OP_FROM_DEVICE,
            (uint64_t[]){GPU_CTX, gpu.address, GPU_FILL_BYTES, GPU_FILL_BYTES, 1, GPU_NO_WINDOW}, 6);
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
    case GPU_LOADS:
        for (unsigned i = 0; i < GPU_WORDS; i++)
            gpu.words[i] = 0;
        gpu_put(GPU_OP_FILL, (uint64_t[]){GPU_CTX, gpu.address, GPU_FILL_BYTES, GPU_FILL_BYTES, 1, 1ull << 32},
                6, true);
        gpu_put(GPU_OP_IMAGE, (uint64_t[]){sizeof(gpu_step_ptx) - 1}, 1, true);
        gpu_put_with(GPU_OP_IMAGE_PART, (uint64_t[]){0}, 1, true, gpu_step_ptx, sizeof(gpu_step_ptx) - 1);
        gpu_ask(GPU_OP_MODULE_NEW, (uint64_t[]){GPU_CTX, GPU_MOD}, 2);
        break;
    case GPU_FINDS:
        gpu_put_with(GPU_OP_FUNCTION, (uint64_t[]){GPU_MOD, GPU_KERNEL}, 2, false, "step", 4);
        gpu.asked = true;
        break;
    default:
        if (gpu.kernels)
            gpu_run_kernels();
        else
            gpu_run_fills();
    }
}

static void gpu_answered(uint64_t field)
{
    if (gpu.step == GPU_ALLOCATES)
        gpu.address = field;
    if (gpu.step < GPU_WORKS) {
        gpu.step = gpu.step == GPU_ALLOCATES && !gpu.kernels ? GPU_WORKS : gpu.step + 1;
        return;
    }
    gpu.turns += gpu.kernels ? GPU_LAUNCHES : GPU_BATCH;
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
