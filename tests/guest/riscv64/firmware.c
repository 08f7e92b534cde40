/*
 * M-mode as a firmware finds it: all harts start here, the ACLINT's software interrupts and
 * timers, the PLIC's M contexts. Prints "pass" and powers off by the finisher.
 */
#include "guest.h"

static volatile uint64_t timers[HARTS], softs[HARTS], externals[HARTS], seen[HARTS];

void guest_trap(uint64_t cause, uint64_t hart)
{
    switch (cause) {
    case CAUSE_IRQ | M_TIMER:
        timers[hart]++;
        write64(ACLINT + 0x4000 + 8 * hart, UINT64_MAX);
        break;
    case CAUSE_IRQ | M_SOFT:
        write32(ACLINT + 4 * hart, 0);
        softs[hart]++;
        break;
    case CAUSE_IRQ | M_EXT:
        check(read32(PLIC + 0x200004 + 0x2000 * hart), 10);
        check(read8(UART + 2) & 0xf, 2);
        write32(PLIC + 0x200004 + 0x2000 * hart, 10);
        externals[hart]++; /* hart 0 takes the enable bit away then: a completion would not count */
        break;
    default:
        check(cause, 0);
    }
}

/* Answers hart 0's software interrupt with one of its own timer, and then its line at the PLIC. */
void guest_hart(uint64_t hart, uint64_t fdt)
{
    seen[hart] = fdt;
    csr_set(mie, BIT(M_SOFT) | BIT(M_TIMER) | BIT(M_EXT));
    sleep_until(softs[hart]);
    write64(ACLINT + 0x4000 + 8 * hart, read64(ACLINT + 0xbff8) + 1000);
    for (;;)
        __asm__ volatile("wfi");
}

/* How many harts there are: beyond the last, mtimecmp reads as zero. */
static unsigned count_harts(void)
{
    unsigned n = 0;

    while (n < HARTS && read64(ACLINT + 0x4000 + 8 * n) != 0)
        n++;
    return n;
}

static void test_time(void)
{
    uint64_t a = read64(ACLINT + 0xbff8), b = now(), c = read64(ACLINT + 0xbff8);

    check(a <= b && b <= c, 1);
    csr_set(mie, BIT(M_TIMER) | BIT(M_SOFT) | BIT(M_EXT));
    irqs_on();
    write32(ACLINT + 0x4004, 0); /* by halves, as a 32-bit firmware does */
    write32(ACLINT + 0x4000, (uint32_t)c + 1000);
    wait_until(timers[0] == 1);
    check(now() < c + 1000, 0);
    write32(ACLINT, 1);
    wait_until(softs[0] == 1);
}

static void test_plic(uint64_t hart)
{
    write32(PLIC + 4 * 10, 1);
    write32(PLIC + 0x2000 + 0x100 * hart, 1 << 10);
    write8(UART + 1, 2);
    wait_until(externals[hart] == 1);
    write8(UART + 1, 0);
    write32(PLIC + 0x2000 + 0x100 * hart, 0);
}

void guest_main(uint64_t hart, uint64_t fdt)
{
    unsigned harts = count_harts();

    check(hart, 0);
    check(read32(fdt), 0xedfe0dd0); /* big-endian */
    test_time();
    for (unsigned i = 1; i < harts; i++) {
        wait_until(seen[i] == fdt);
        write32(ACLINT + 4 * i, 1);
        wait_until(timers[i] == 1);
        check(softs[i], 1);
    }
    for (unsigned i = 0; i < harts; i++)
        test_plic(i);
    print("pass\n");
    write32(SYSCON, 0x5555);
    for (;;)
        continue;
}
