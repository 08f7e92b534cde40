/*
 * machine/devices/uart16550: a 16550A serial port.
 *
 * What the guest sends is kept in a ring and given to the backend on the loop's thread, so a vCPU
 * never waits for it; while the ring is more than half full the port says that its transmitter is
 * busy. Input that doesn't fit the 16-byte FIFO waits in a ring behind it. Line speed is not
 * modelled: the transmitter is empty at once and a character timeout comes at once.
 */
#ifndef MACHINE_DEVICES_UART16550_H
#define MACHINE_DEVICES_UART16550_H

#include "machine/devices/device.h"
#include "mem/irq.h"

#include <uv.h>

#define UART16550_CLOCK_HZ 3686400 /* what the device tree says; nothing is derived from it */

struct uart16550;

/* The backend; both on the loop's thread, no lock held. */
struct uart16550_ops {
    /* Takes at most N bytes, returns how many; after fewer, uart16550_ready() asks again. */
    size_t (*output)(void *opaque, const uint8_t *data, size_t n);
    /* uart16550_input() would take bytes again, after it took fewer than given. */
    void (*input_room)(void *opaque);
};

/* NULL with ERR set when the loop gives no handle. On the loop's thread. */
struct uart16550 *uart16550_new(uv_loop_t *loop, struct irq_line irq,
                                const struct uart16550_ops *ops, void *opaque, GError **err);

/* device_free() closes the loop's handle; the loop's next turn frees the memory. */
struct device *uart16550_device(struct uart16550 *uart);

/* Input for the guest; returns how many of the N bytes were taken. Any thread. */
size_t uart16550_input(struct uart16550 *uart, const uint8_t *data, size_t n);

/*
 * A break on the line, as a zero byte that comes with the break bit. False while the guest has not
 * read all input before it. Any thread.
 */
bool uart16550_break(struct uart16550 *uart);

/* The backend takes output again. Any thread. */
void uart16550_ready(struct uart16550 *uart);

/* Gives all waiting output to the backend now, as far as it takes it. On the loop's thread. */
void uart16550_flush(struct uart16550 *uart);

/*
 * The port as firmware uses it, past the registers (any thread). transmit() returns how many of
 * the N bytes found room. receive() takes at most N bytes of waiting input, returns how many.
 */
size_t uart16550_transmit(struct uart16550 *uart, const uint8_t *data, size_t n);
size_t uart16550_receive(struct uart16550 *uart, uint8_t *data, size_t n);

#endif
