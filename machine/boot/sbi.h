/*
 * machine/boot/sbi: the firmware that a RISC-V kernel in S-mode calls when no firmware was given.
 *
 * RISC-V Supervisor Binary Interface 2.0: base, TIME, IPI, RFENCE, HSM, SRST, DBCN, and of the
 * legacy calls those that have no newer form everywhere (set_timer, console_putchar,
 * console_getchar, shutdown). To its board it is a device without registers whose state is the
 * harts' timers. Calls come on vCPU threads and lock nothing of their own.
 */
#ifndef MACHINE_BOOT_SBI_H
#define MACHINE_BOOT_SBI_H

#include "machine/boards/board.h"
#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "machine/devices/serial.h"

#define SBI_IMPL_ID      0x766d64 /* none of the assigned ones */
#define SBI_IMPL_VERSION 1

struct sbi;

struct sbi_config {
    unsigned cpus;
    uint64_t timebase_hz;
    struct mem_map *mem;
    struct guest_timers *timers;
    struct serial *console; /* the debug console is the serial port */
    const struct board_cpu_ops *cpu_ops;
    void *cpu_opaque;
};

/* CONFIG is copied; what it points at outlives the firmware. */
struct sbi *sbi_new(const struct sbi_config *config);

struct device *sbi_device(struct sbi *sbi);

/* A call of hart CPU: args[7] the extension, args[6] the function; see board_hypercall(). */
bool sbi_call(struct sbi *sbi, unsigned cpu, uint64_t args[8]);

#endif
