/* The machine virt-arm64, at EL1 with translation off; see machine.h. */
#ifndef TESTS_HOTPLUG_AARCH64_H
#define TESTS_HOTPLUG_AARCH64_H

#include <stdbool.h>
#include <stdint.h>

#define ECAM     0x4010000000ul
#define ROOT_MEM 0x18000000u
#define PORT_MEM 0x20000000u

#define UART   0x09000000ul /* PL011 */
#define DIST   0x08000000ul /* GICv3: distributor, and the first processor's redistributor */
#define REDIST 0x080a0000ul

enum {
    UART_FLAGS = 0x18,
    UART_LINE = 0x2c,
    UART_CONTROL = 0x30,
    UART_FULL = 0x20,
    UART_EMPTY = 0x10
};
enum { TIMER = 27 }; /* the virtual timer's interrupt */

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

static inline void print(const char *text)
{
    for (; *text; text++) {
        while (read32(UART + UART_FLAGS) & UART_FULL)
            continue;
        write32(UART, (uint8_t)*text);
    }
}

/* As Linux says it, so that it ends the VM's run. */
static inline void fail(const char *file, int line, uint64_t got)
{
    char where[2] = {0};

    print("Kernel panic - not syncing: ");
    print(file);
    print(", line ");
    for (int unit = 1000; unit; unit /= 10) {
        where[0] = (char)('0' + line / unit % 10);
        print(where);
    }
    print("\n---[ end Kernel panic - not syncing ]---\n");
    for (;;)
        __asm__ volatile("wfi");
}

#define check(got, expected)                                                                       \
    do {                                                                                           \
        uint64_t got_ = (uint64_t)(got);                                                           \
        if (got_ != (uint64_t)(expected))                                                          \
            fail(__FILE__, __LINE__, got_);                                                        \
    } while (0)

#define sysreg_read(name)                                                                          \
    ({                                                                                             \
        uint64_t v_;                                                                               \
        __asm__ volatile("mrs %0, " #name : "=r"(v_)::"memory");                                   \
        v_;                                                                                        \
    })
#define sysreg_write(name, v) __asm__ volatile("msr " #name ", %0" ::"r"((uint64_t)(v)) : "memory")

/* The timer's interrupt ends WFI and is never taken: it stays masked. */
static inline void machine_start(void)
{
    write32(UART + UART_LINE, 0x70);
    write32(UART + UART_CONTROL, 0x301);
    write32(DIST, 0x12);
    write32(REDIST + 0x14, 0);
    write32(REDIST + 0x10080, UINT32_MAX);
    write32(REDIST + 0x10100, UINT32_C(1) << TIMER);
    sysreg_write(s3_0_c12_c12_5, 1);  /* ICC_SRE_EL1 */
    sysreg_write(s3_0_c4_c6_0, 0xff); /* ICC_PMR_EL1 */
    sysreg_write(s3_0_c12_c12_7, 1);  /* ICC_IGRPEN1_EL1 */
    __asm__ volatile("isb");
}

static inline uint64_t machine_ms(void)
{
    return sysreg_read(cntvct_el0) / (sysreg_read(cntfrq_el0) / 1000);
}

static inline void machine_sleep(uint64_t until)
{
    while (machine_ms() < until) {
        sysreg_write(cntv_cval_el0, until * (sysreg_read(cntfrq_el0) / 1000));
        sysreg_write(cntv_ctl_el0, 1);
        __asm__ volatile("isb\n wfi" ::: "memory");
        sysreg_write(cntv_ctl_el0, 0);
    }
}

static inline void machine_fence(void)
{
    __asm__ volatile("dmb sy" ::: "memory");
}

static inline int machine_hear(void)
{
    return read32(UART + UART_FLAGS) & UART_EMPTY ? -1 : (int)(read32(UART) & 0xff);
}

static inline void machine_end(char how)
{
    register uint64_t x0 __asm__("x0") = how == 'R' ? 0x84000009 : 0x84000008; /* PSCI */

    if (how == 'C')
        fail("told to", 0, 0);
    __asm__ volatile("hvc #0" : "+r"(x0)::"x1", "x2", "x3", "memory");
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
