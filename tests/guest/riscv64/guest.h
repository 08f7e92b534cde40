/*
 * What the bare guest programs share: start-up for each hart, traps, registers, a console, the end.
 *
 * A program defines guest_main(), which hart 0 enters with its stack; other harts enter
 * guest_hart(). Every trap goes to guest_trap(). A check that fails prints its line and ends the
 * guest with a failure.
 */
#ifndef TESTS_GUEST_RISCV64_GUEST_H
#define TESTS_GUEST_RISCV64_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#define HARTS 8

#define csr_read(csr)                                                                              \
    ({                                                                                             \
        uint64_t v_;                                                                               \
        __asm__ volatile("csrr %0, " #csr : "=r"(v_)::"memory");                                   \
        v_;                                                                                        \
    })
#define csr_write(csr, v) __asm__ volatile("csrw " #csr ", %0" ::"r"((uint64_t)(v)) : "memory")
#define csr_set(csr, v)   __asm__ volatile("csrs " #csr ", %0" ::"r"((uint64_t)(v)) : "memory")
#define csr_clear(csr, v) __asm__ volatile("csrc " #csr ", %0" ::"r"((uint64_t)(v)) : "memory")

#define BIT(n) (UINT64_C(1) << (n))

/* Interrupts of scause and mcause, and their bits of sie and mie. */
enum { S_SOFT = 1, M_SOFT = 3, S_TIMER = 5, M_TIMER = 7, S_EXT = 9, M_EXT = 11 };
#define CAUSE_IRQ BIT(63)

#define SYSCON 0x00100000
#define RTC    0x00101000
#define ACLINT 0x02000000
#define PLIC   0x0c000000
#define UART   0x10000000

void guest_main(uint64_t hart, uint64_t fdt);
void guest_hart(uint64_t hart, uint64_t opaque);
void guest_trap(uint64_t cause, uint64_t hart);

/* Where a hart starts, whether by HSM or as all do under a firmware. */
extern char _start[];

static inline uint8_t read8(uintptr_t at)
{
    return *(volatile uint8_t *)at;
}

static inline void write8(uintptr_t at, uint8_t value)
{
    *(volatile uint8_t *)at = value;
}

static inline uint32_t read32(uintptr_t at)
{
    return *(volatile uint32_t *)at;
}

static inline void write32(uintptr_t at, uint32_t value)
{
    *(volatile uint32_t *)at = value;
}

static inline uint64_t read64(uintptr_t at)
{
    return *(volatile uint64_t *)at;
}

static inline void write64(uintptr_t at, uint64_t value)
{
    *(volatile uint64_t *)at = value;
}

static inline uint64_t now(void)
{
    return csr_read(time);
}

static inline void print(const char *text)
{
    for (; *text; text++) {
        while (!(read8(UART + 5) & 0x20))
            continue;
        write8(UART, (uint8_t)*text);
    }
}

static inline void print_hex(uint64_t v)
{
    char text[17];

    for (int i = 15; i >= 0; i--, v >>= 4)
        text[i] = "0123456789abcdef"[v & 15];
    text[16] = 0;
    print(text);
}

/* Ends the guest with a failure. */
static inline void fail(const char *file, int line, uint64_t got)
{
    print(file);
    print(", line 0x");
    print_hex((uint64_t)line);
    print(": got ");
    print_hex(got);
    print("\n");
    write32(SYSCON, 0x3333 | (uint32_t)line << 16);
    for (;;)
        continue;
}

#define check(got, expected)                                                                       \
    do {                                                                                           \
        uint64_t got_ = (uint64_t)(got);                                                           \
        if (got_ != (uint64_t)(expected))                                                          \
            fail(__FILE__, __LINE__, got_);                                                        \
    } while (0)

/* Waits for an interrupt handler to make CONDITION true. */
#define wait_until(condition)                                                                      \
    do {                                                                                           \
        while (!(condition))                                                                       \
            __asm__ volatile("" ::: "memory");                                                     \
    } while (0)

/* Interrupts of this mode, on and off. */
#ifdef M_MODE
#define irqs_on()  __asm__ volatile("csrsi mstatus, 8" ::: "memory")
#define irqs_off() __asm__ volatile("csrci mstatus, 8" ::: "memory")
#else
#define irqs_on()  __asm__ volatile("csrsi sstatus, 2" ::: "memory")
#define irqs_off() __asm__ volatile("csrci sstatus, 2" ::: "memory")
#endif

/* The same asleep. With interrupts off between look and wfi, none can come there unseen. */
#define sleep_until(condition)                                                                     \
    do {                                                                                           \
        irqs_off();                                                                                \
        while (!(condition)) {                                                                     \
            __asm__ volatile("wfi" ::: "memory");                                                  \
            irqs_on();                                                                             \
            irqs_off();                                                                            \
        }                                                                                          \
        irqs_on();                                                                                 \
    } while (0)

#endif
