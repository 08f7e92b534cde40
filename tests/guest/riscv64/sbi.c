/*
 * S-mode on the built-in SBI: timers of both kinds, harts started and stopped, IPIs, remote
 * fences, and interrupts of serial port and clock through the PLIC. Prints "pass" and powers off
 * by SRST.
 */
#include "guest.h"

struct sbi_result {
    int64_t error;
    uint64_t value;
};

static struct sbi_result sbi(uint64_t ext, uint64_t fn, uint64_t a, uint64_t b, uint64_t c)
{
    register uint64_t a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c,
                         a3 __asm__("a3") = 0, a6 __asm__("a6") = fn, a7 __asm__("a7") = ext;

    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a6), "r"(a7) : "memory");
    return (struct sbi_result){(int64_t)a0, a1};
}

enum { BASE = 0x10, TIME = 0x54494d45, IPI = 0x735049, RFENCE = 0x52464e43, HSM = 0x48534d };
enum { SRST = 0x53525354, DBCN = 0x4442434e };
enum { STARTED, STOPPED };

static volatile uint64_t timers[HARTS], softs[HARTS], externals[HARTS], opaques[HARTS];
static volatile uint32_t last_source;
static unsigned harts;

/* The context of hart's S-mode at the PLIC. */
static uintptr_t claim_of(uint64_t hart)
{
    return PLIC + 0x200004 + 0x1000 * (2 * hart + 1);
}

static uintptr_t enable_of(uint64_t hart)
{
    return PLIC + 0x2000 + 0x80 * (2 * hart + 1);
}

static void serve_external(uint64_t hart)
{
    uint32_t source = read32(claim_of(hart));

    if (source == 10) /* the serial port: what it shows, it forgets */
        check(read8(UART + 2) & 0xf, 2);
    else if (source == 11)
        write32(RTC + 0x1c, 1);
    else
        check(source, 0);
    last_source = source;
    externals[hart]++;
    write32(claim_of(hart), source);
}

void guest_trap(uint64_t cause, uint64_t hart)
{
    switch (cause) {
    case CAUSE_IRQ | S_TIMER:
        timers[hart]++;
        csr_write(0x14d, UINT64_MAX); /* stimecmp */
        sbi(TIME, 0, UINT64_MAX, 0, 0);
        break;
    case CAUSE_IRQ | S_SOFT:
        csr_clear(sip, BIT(S_SOFT));
        softs[hart]++;
        break;
    case CAUSE_IRQ | S_EXT:
        serve_external(hart);
        break;
    default:
        check(cause, 0);
    }
}

static void test_base(uint64_t fdt)
{
    check(read32(fdt), 0xedfe0dd0); /* big-endian */
    check(fdt % 8, 0);
    check(sbi(BASE, 0, 0, 0, 0).value, 0x2000000);
    check(sbi(BASE, 3, HSM, 0, 0).value, 1);
    check(sbi(BASE, 99, 0, 0, 0).error, -2);
    check(sbi(0x99, 0, 0, 0, 0).error, -2);
    check(sbi(DBCN, 0, 4, (uint64_t) "sbi\n", 0).value, 4);
}

static void test_timers(void)
{
    uint64_t start = now(), want = timers[0];

    csr_set(sie, BIT(S_TIMER));
    irqs_on();
    csr_write(0x14d, start + 2000);
    wait_until(timers[0] != want);
    check(now() - start < 2000, 0);
    start = now();
    want = timers[0];
    sbi(TIME, 0, start + 2000, 0, 0);
    wait_until(timers[0] != want);
    check(now() - start < 2000, 0);
    /* A time past fires at once, also when the hart waits for it. */
    want = timers[0];
    csr_write(0x14d, now() + 1000);
    sleep_until(timers[0] != want);
}

void guest_hart(uint64_t hart, uint64_t opaque)
{
    opaques[hart] = opaque;
    csr_set(sie, BIT(S_SOFT));
    sleep_until(softs[hart]);
    irqs_off();
    softs[hart] = 0;
    sbi(HSM, 1, 0, 0, 0);
    check(hart, UINT64_MAX); /* a stopped hart does not return */
}

static uint64_t hart_status(uint64_t hart)
{
    struct sbi_result r = sbi(HSM, 2, hart, 0, 0);

    check(r.error, 0);
    return r.value;
}

/* How many harts there are: those whose status is told. */
static unsigned count_harts(void)
{
    unsigned n = 0;

    while (sbi(HSM, 2, n, 0, 0).error == 0)
        n++;
    return n;
}

static void test_harts(uint64_t round)
{
    uint64_t others = (BIT(harts) - 1) & ~UINT64_C(1);

    for (uint64_t i = 1; i < harts; i++) {
        check(hart_status(i), STOPPED);
        check(sbi(HSM, 0, i, (uint64_t)_start, round + i).error, 0);
        check(sbi(HSM, 0, i, (uint64_t)_start, 0).error, -6);
    }
    for (uint64_t i = 1; i < harts; i++) {
        wait_until(opaques[i] == round + i);
        check(hart_status(i), STARTED);
    }
    check(sbi(RFENCE, 0, 0, UINT64_MAX, 0).error, 0);
    check(sbi(RFENCE, 1, others, 0, 0).error, 0);
    check(sbi(IPI, 0, others, 0, 0).error, 0);
    for (uint64_t i = 1; i < harts; i++)
        wait_until(hart_status(i) == STOPPED);
}

static void test_ipi_to_self(void)
{
    csr_set(sie, BIT(S_SOFT));
    check(sbi(IPI, 0, 1, 0, 0).error, 0);
    wait_until(softs[0] == 1);
    irqs_off();
    check(sbi(IPI, 0, 0, UINT64_MAX, 0).error, 0);
    check(csr_read(sip) >> S_SOFT & 1, 1);
    csr_clear(sip, BIT(S_SOFT));
    irqs_on();
    check(softs[0], 1);
}

static void test_plic(void)
{
    uint64_t want = externals[0];

    write32(PLIC + 4 * 10, 1);
    write32(PLIC + 4 * 11, 2);
    write32(enable_of(0), 1 << 10 | 1 << 11);
    write32(claim_of(0) - 4, 0);
    csr_set(sie, BIT(S_EXT));
    write8(UART + 1, 2); /* the transmitter is empty */
    wait_until(externals[0] != want);
    check(last_source, 10);
    write8(UART + 1, 0);

    want = externals[0];
    write32(RTC + 0x10, 1);
    uint64_t at = read32(RTC), high = read32(RTC + 4);
    at = (at | high << 32) + 500000;
    write32(RTC + 0x0c, (uint32_t)(at >> 32));
    write32(RTC + 0x08, (uint32_t)at);
    sleep_until(externals[0] != want);
    check(last_source, 11);
    check(externals[0], want + 1);
}

void guest_main(uint64_t hart, uint64_t fdt)
{
    check(hart, 0);
    test_base(fdt);
    test_timers();
    harts = count_harts();
    test_harts(100);
    test_harts(200);
    test_ipi_to_self();
    test_plic();
    print("pass\n");
    sbi(SRST, 0, 0, 0, 0);
    check(0, 1);
}
