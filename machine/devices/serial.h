/*
 * machine/devices/serial: what serial ports have in common, whatever their chip.
 *
 * What the guest sends is kept in a ring and given to the backend on the loop's thread, so a vCPU
 * never waits for it; while the ring is more than half full the port says that its transmitter is
 * busy. Input that the chip has no room for waits in a ring behind it. Line speed is not modelled.
 */
#ifndef MACHINE_DEVICES_SERIAL_H
#define MACHINE_DEVICES_SERIAL_H

#include "machine/devices/device.h"
#include "mem/irq.h"

#include <uv.h>

struct serial;

/* The backend; both on the loop's thread, no lock held. */
struct serial_ops {
    /* Takes at most N bytes, returns how many; after fewer, serial_ready() asks again. */
    size_t (*output)(void *opaque, const uint8_t *data, size_t n);
    /* serial_input() would take bytes again, after it took fewer than given. */
    void (*input_room)(void *opaque);
};

/* device_free() closes the loop's handles; the loop's next turn frees the memory. */
struct device *serial_device(struct serial *serial);

/* Input for the guest; returns how many of the N bytes were taken. Any thread. */
size_t serial_input(struct serial *serial, const uint8_t *data, size_t n);

/*
 * A break on the line, as a zero byte that comes with the break bit. False while the guest has not
 * read all input before it. Any thread.
 */
bool serial_break(struct serial *serial);

/* The backend takes output again. Any thread. */
void serial_ready(struct serial *serial);

/* Gives all waiting output to the backend now, as far as it takes it; within the backend's output(), that
 * goes on with it instead. On the loop's thread. */
void serial_flush(struct serial *serial);

/*
 * The port as firmware uses it, past the registers (any thread). transmit() returns how many of
 * the N bytes found room. receive() takes at most N bytes of waiting input, returns how many.
 */
size_t serial_transmit(struct serial *serial, const uint8_t *data, size_t n);
size_t serial_receive(struct serial *serial, uint8_t *data, size_t n);

#endif
