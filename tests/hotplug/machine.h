/*
 * What the guest of the hot-plug tests asks of its machine, one of riscv64, aarch64 and x86_64:
 *
 *   ECAM                configuration space
 *   ROOT_MEM, PORT_MEM  32-bit addresses for BARs, on the root bus and behind ports
 *   read8(), write8() and so on, print(), fail(), check()
 *   machine_start()     before anything else
 *   machine_ms()        milliseconds since then
 *   machine_sleep()     until machine_ms() is at least what is given
 *   machine_fence()     devices see what was written before, before what is written after
 *   machine_hear()      a character from the serial port, or -1
 *   machine_end()       'R' reboots, 'P' powers off, 'C' crashes
 *   machine_look()      does what else this machine can do, in a mode; once a turn
 *   machine_by_acpi()   slots are left to ACPI, and not looked at
 *   machine_told()      a letter that may be for the machine alone; false: it is not
 */
#ifndef TESTS_HOTPLUG_MACHINE_H
#define TESTS_HOTPLUG_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__riscv)
#include "tests/hotplug/riscv64.h"
#elif defined(__aarch64__)
#include "tests/hotplug/aarch64.h"
#else
#include "tests/hotplug/x86_64.h"
#endif

/* Entered on the first processor, with its stack. */
void guest(void);

/* For machine_look(), about slot NUMBER: its card is there or not; it is let go of. */
void guest_check(unsigned number);
void guest_detach(unsigned number);

static inline uint16_t read16(uintptr_t at)
{
    return *(volatile uint16_t *)at;
}

static inline void write16(uintptr_t at, uint16_t value)
{
    *(volatile uint16_t *)at = value;
}

static inline void print_number(uint64_t n)
{
    char text[21], *at = text + sizeof(text) - 1;

    *at = 0;
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    print(at);
}

#endif
