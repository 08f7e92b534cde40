/* machine/devices/pl011: ARM's PrimeCell UART, revision r1p5 (DDI 0183). */
#ifndef MACHINE_DEVICES_PL011_H
#define MACHINE_DEVICES_PL011_H

#include "machine/devices/serial.h"

#define PL011_CLOCK_HZ 24000000 /* what the device tree says; nothing is derived from it */

/* NULL with ERR set when the loop gives no handle. On the loop's thread. */
struct serial *pl011_new(uv_loop_t *loop, struct irq_line irq, const struct serial_ops *ops,
                         void *opaque, GError **err);

#endif
