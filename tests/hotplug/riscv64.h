/* The machine virt-riscv64, in S-mode with the built-in SBI; see machine.h. */
#ifndef TESTS_HOTPLUG_RISCV64_H
#define TESTS_HOTPLUG_RISCV64_H

#include "tests/guest/riscv64/guest.h"

#define ECAM     0x30000000ul
#define ROOT_MEM 0x48000000u
#define PORT_MEM 0x50000000u

enum { TICKS = 10000 }; /* a millisecond, of 10 MHz */

void guest(void);

static inline void sbi(uint64_t ext, uint64_t fn, uint64_t a, uint64_t b)
{
    register uint64_t a0 __asm__("a0") = a, a1 __asm__("a1") = b, a6 __asm__("a6") = fn,
                         a7 __asm__("a7") = ext;

    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
}

void guest_trap(uint64_t cause, uint64_t hart)
{
    fail("trap", 0, cause);
}

void guest_hart(uint64_t hart, uint64_t opaque)
{
}

void guest_main(uint64_t hart, uint64_t fdt)
{
    guest();
}

static inline void machine_start(void)
{
    csr_set(sie, BIT(S_TIMER));
}

static inline uint64_t machine_ms(void)
{
    return now() / TICKS;
}

static inline void machine_sleep(uint64_t until)
{
    while (machine_ms() < until) {
        sbi(0x54494d45, 0, until * TICKS, 0);
        __asm__ volatile("wfi" ::: "memory");
    }
}

static inline void machine_fence(void)
{
    __asm__ volatile("fence rw, rw" ::: "memory");
}

static inline int machine_hear(void)
{
    return read8(UART + 5) & 1 ? read8(UART) : -1;
}

static inline void machine_end(char how)
{
    if (how == 'C')
        fail("told to", 0, 0);
    sbi(0x53525354, 0, how == 'R', 0);
}

static inline void machine_look(char mode)
{
}

static inline bool machine_by_acpi(void)
{
    return false;
}

static inline bool machine_told(char letter)
{
    return false;
}

#endif
