/* What guests in C have: ports, the local APIC, interrupt gates, and calls to the test around them.
 */
#ifndef TESTS_GUEST_X86_64_GUEST_H
#define TESTS_GUEST_X86_64_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#define PORT_CALL 0xf0         /* a word: asks the test for something; reads its answer */
#define PORT_END  0xf4         /* a word: 0, or the line of what does not hold */
#define DEVICE    0xd0000000ul /* the test's device */

#define APIC_ID       0x20
#define APIC_EOI      0xb0
#define APIC_SPURIOUS 0xf0
#define APIC_ICR      0x300
#define APIC_ICR_HIGH 0x310
#define APIC_TIMER    0x320
#define APIC_INITIAL  0x380
#define APIC_CURRENT  0x390
#define APIC_DIVIDE   0x3e0

#define IRQ __attribute__((interrupt))
struct frame; /* what an interrupt pushes */

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

/* Asks the test. */
static inline uint32_t call(uint32_t number)
{
    outl(PORT_CALL, number);
    return inl(PORT_CALL);
}

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            outl(PORT_END, __LINE__);                                                              \
            for (;;)                                                                               \
                ;                                                                                  \
        }                                                                                          \
    } while (0)

static inline void wrmsr(uint32_t index, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static inline uint64_t rdmsr(uint32_t index)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (uint64_t)high << 32 | low;
}

static inline uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static inline uint32_t apic_read(unsigned reg)
{
    return *(volatile uint32_t *)(0xfee00000ul + reg);
}

static inline void apic_write(unsigned reg, uint32_t value)
{
    *(volatile uint32_t *)(0xfee00000ul + reg) = value;
}

struct gate {
    uint16_t low, selector;
    uint8_t ist, type;
    uint16_t middle;
    uint32_t high, zero;
};

/* Has VECTOR come to HANDLER. */
static inline void set_gate(struct gate *idt, unsigned vector, void *handler)
{
    uint64_t at = (uintptr_t)handler;

    idt[vector] = (struct gate){.low = (uint16_t)at,
                                .selector = 0x10,
                                .type = 0x8e,
                                .middle = (uint16_t)(at >> 16),
                                .high = (uint32_t)(at >> 32)};
}

static inline void load_idt(const struct gate *idt)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {256 * sizeof(*idt) - 1, (uintptr_t)idt};

    __asm__ volatile("lidt %0" ::"m"(pointer));
}

static inline void enable_apic(void)
{
    apic_write(APIC_SPURIOUS, 0x1ff);
}

static inline void irq_on(void)
{
    __asm__ volatile("sti" ::: "memory");
}

static inline void irq_off(void)
{
    __asm__ volatile("cli" ::: "memory");
}

/* Sleeps until an interrupt; on again when it comes back. */
static inline void sleep_once(void)
{
    __asm__ volatile("sti; hlt" ::: "memory");
}

#endif
