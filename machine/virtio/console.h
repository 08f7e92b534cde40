/*
 * machine/virtio: a console of one port (virtio 1.2, 5.3), the guest's hvc0.
 *
 * Output goes to a backend that may take less than it is given; the rest waits in the guest's
 * buffers. Loop thread throughout.
 */
#ifndef MACHINE_VIRTIO_CONSOLE_H
#define MACHINE_VIRTIO_CONSOLE_H

#include "machine/virtio/virtio.h"

struct virtio_console_ops {
    /* Takes at most N bytes, returns how many; after fewer, virtio_console_ready() asks again. */
    size_t (*output)(void *opaque, const uint8_t *data, size_t n);
    /* virtio_console_input() would take bytes again, after it took fewer than given. */
    void (*input_room)(void *opaque);
};

/* OPS and OPAQUE outlive the device. */
struct virtio_device *virtio_console_new(const struct virtio_env *env,
                                         const struct virtio_console_ops *ops, void *opaque);

/* Input for the guest; returns how many of the N bytes were taken (0 while no driver runs). */
size_t virtio_console_input(struct virtio_device *dev, const uint8_t *data, size_t n);

/* The backend takes output again. */
void virtio_console_ready(struct virtio_device *dev);

/* Tells the guest the terminal's size; 0 by 0 is unknown. */
void virtio_console_resize(struct virtio_device *dev, uint16_t columns, uint16_t rows);

#endif
