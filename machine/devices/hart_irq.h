/* The interrupt inputs of a RISC-V hart: bit numbers of mip (privileged specification, 3.1.9). */
#ifndef MACHINE_DEVICES_HART_IRQ_H
#define MACHINE_DEVICES_HART_IRQ_H

#include <stdbool.h>

enum hart_irq {
    HART_IRQ_S_SOFT = 1,
    HART_IRQ_M_SOFT = 3,
    HART_IRQ_S_TIMER = 5,
    HART_IRQ_M_TIMER = 7,
    HART_IRQ_S_EXT = 9,
    HART_IRQ_M_EXT = 11,
    HART_IRQ_NONE = 255, /* not wired */
};

/* Drives input IRQ of hart CPU. Any thread; called with a device's lock held. */
typedef void (*hart_irq_fn)(void *opaque, unsigned cpu, unsigned irq, bool level);

#endif
