/* The machine pc, in long mode; see machine.h. Its processors come and go as ACPI has it: x86_64.c.
 */
#ifndef TESTS_HOTPLUG_X86_64_H
#define TESTS_HOTPLUG_X86_64_H

#include <stdbool.h>
#include <stdint.h>

#define ECAM     0xc0000000ul
#define ROOT_MEM 0xd8000000u
#define PORT_MEM 0xe0000000u

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

static inline void write64(uintptr_t at, uint64_t value)
{
    *(volatile uint64_t *)at = value;
}

void print(const char *text);
_Noreturn void fail(const char *file, int line, uint64_t got);

#define check(got, expected)                                                                       \
    do {                                                                                           \
        uint64_t got_ = (uint64_t)(got);                                                           \
        if (got_ != (uint64_t)(expected))                                                          \
            fail(__FILE__, __LINE__, got_);                                                        \
    } while (0)

void machine_start(void);
uint64_t machine_ms(void);
void machine_sleep(uint64_t until);
int machine_hear(void);
void machine_end(char how);
void machine_look(char mode);
bool machine_by_acpi(void);
bool machine_told(char letter);

static inline void machine_fence(void)
{
    __asm__ volatile("lock addl $0, (%%rsp)" ::: "memory");
}

#endif
