/* machine/devices/uart16550: a 16550A serial port. */
#ifndef MACHINE_DEVICES_UART16550_H
#define MACHINE_DEVICES_UART16550_H

#include "machine/devices/serial.h"

#define UART16550_CLOCK_HZ 3686400 /* what the device tree says; nothing is derived from it */

/* NULL with ERR set when the loop gives no handle. On the loop's thread. */
struct serial *uart16550_new(uv_loop_t *loop, struct irq_line irq, const struct serial_ops *ops,
                             void *opaque, GError **err);

#endif
