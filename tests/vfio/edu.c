/*
 * A guest that has QEMU's teaching device to itself: its registers, its DMA both ways, and its
 * interrupt line as far as the interrupt controller. Specification: docs/specs/edu.txt of QEMU.
 */
#include "tests/hotplug/machine.h"

enum { DEVICE = 0x11e81234, MEMORY_AND_MASTER = 6 };
enum { ID = 0x00, LIVENESS = 0x04, FACTORIAL = 0x08, STATUS = 0x20, IRQ_STATUS = 0x24 };
enum {
    IRQ_RAISE = 0x60,
    IRQ_ACK = 0x64,
    SOURCE = 0x80,
    TARGET = 0x88,
    COUNT = 0x90,
    COMMAND = 0x98
};
enum { START = 1, TO_RAM = 2 };
/* The device has 4,096 bytes, and takes a transfer that ends with the last of them for one beyond
 * (QEMU 7.2). */
enum { BUFFER = 0x40000, BYTES = 4088, PATIENCE_MS = 60000 };
enum {
    INTX = 32,
    PENDING = 0x1000
}; /* of the PLIC: its first source that is a line of PCI; pending bits */

static uint8_t out[BYTES] __attribute__((aligned(4096)));
static volatile uint8_t back[BYTES] __attribute__((aligned(4096)));

static uintptr_t find(unsigned *slot)
{
    for (*slot = 1; *slot < 32; ++*slot) {
        uintptr_t config = ECAM + (*slot << 15);
        if (read32(config) == DEVICE)
            return config;
    }
    fail("no edu", __LINE__, 0);
    return 0;
}

static void await(uintptr_t at, uint32_t mask, uint32_t value, int line)
{
    uint64_t end = machine_ms() + PATIENCE_MS;

    while ((read32(at) & mask) != value) {
        if (machine_ms() > end)
            fail("edu", line, read32(at));
    }
}

static void move(uintptr_t edu, uint64_t source, uint64_t target, unsigned how)
{
    machine_fence();
    write64(edu + SOURCE, source);
    write64(edu + TARGET, target);
    write64(edu + COUNT, BYTES);
    write64(edu + COMMAND, START | how);
    await(edu + COMMAND, START, 0, __LINE__);
    machine_fence();
}

static void check_dma(uintptr_t edu, unsigned turn)
{
    for (unsigned i = 0; i < BYTES; i++) {
        out[i] = (uint8_t)(i * 31 + i / 256 + turn);
        back[i] = 0;
    }
    move(edu, (uintptr_t)out, BUFFER, 0);
    move(edu, BUFFER, (uintptr_t)back, TO_RAM);
    for (unsigned i = 0; i < BYTES; i++)
        check(back[i], out[i]);
}

/* Whether LINE of PCI waits at the interrupt controller. */
static bool is_pending(unsigned line)
{
    return read32(PLIC + PENDING + (INTX + line) / 32 * 4) >> (INTX + line) % 32 & 1;
}

static void check_line(uintptr_t edu, unsigned line)
{
    uint64_t end = machine_ms() + PATIENCE_MS;

    check(is_pending(line), false);
    write32(edu + IRQ_RAISE, 4);
    while (!is_pending(line))
        check(machine_ms() < end, true);
    check(read32(edu + IRQ_STATUS), 4);
    write32(edu + IRQ_ACK, 4);
    check(read32(edu + IRQ_STATUS), 0);
}

void guest(void)
{
    unsigned slot;

    machine_start();
    uintptr_t config = find(&slot), edu = ROOT_MEM;
    write32(config + 0x10, ROOT_MEM);
    write16(config + 4, MEMORY_AND_MASTER);
    check(read32(edu + ID) & 0xff, 0xed);
    write32(edu + LIVENESS, 0x12345678);
    check(read32(edu + LIVENESS), ~0x12345678u);
    write32(edu + FACTORIAL, 8);
    await(edu + STATUS, 1, 0, __LINE__);
    check(read32(edu + FACTORIAL), 40320);
    for (unsigned turn = 0; turn < 3; turn++)
        check_dma(edu, turn);
    check_line(edu, slot & 3);
    print("edu: registers, DMA both ways and its line\n");
    machine_end('P');
}
