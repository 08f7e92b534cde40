/*
 * machine/virtio: a console (virtio 1.2, 5.3): port 0 is the guest's hvc0; where there are more
 * ports they are offered by VIRTIO_CONSOLE_F_MULTIPORT, and a guest finds them by their names.
 * Ports other than that may come and go while the device stays; their queues are there throughout.
 *
 * Output goes to a port's backend, which may take less than it is given; the rest waits in the
 * guest's buffers. Loop thread throughout.
 */
#ifndef MACHINE_VIRTIO_CONSOLE_H
#define MACHINE_VIRTIO_CONSOLE_H

#include "machine/virtio/virtio.h"

#define VIRTIO_CONSOLE_PORTS 10 /* most ports of one device */
#define VIRTIO_CONSOLE_NAME  64 /* bytes of the longest name, with its end */

struct virtio_console_ops {
    /* Takes at most N bytes, returns how many; after fewer, virtio_console_ready() asks again. */
    size_t (*output)(void *opaque, const uint8_t *data, size_t n);
    /* virtio_console_input() would take bytes again, after it took fewer than given. */
    void (*input_room)(void *opaque);
    /* The guest opened the port, perhaps anew, or closed it, be it by a reset. All output from
     * before was given away, but for what the backend did not take. NULL for port 0. */
    void (*opened)(void *opaque, bool open);
    /* The guest has the port open, as its state was loaded that was saved elsewhere: what was at the
     * host's end then is not there. NULL: as if it were opened. */
    void (*restored)(void *opaque);
};

struct virtio_console_port {
    const char *name; /* NULL for port 0, which is a console */
    const struct virtio_console_ops *ops;
    void *opaque;
    bool absent; /* at first; see virtio_console_present() */
};

/* A console with N ports, of which the first is there for any driver. Names are copied; each OPS
 * and OPAQUE outlives the device. */
struct virtio_device *virtio_console_new(const struct virtio_env *env,
                                         const struct virtio_console_port *ports, unsigned n);

/* Input for the guest on PORT; returns how many of the N bytes were taken (0 while no driver runs).
 */
size_t virtio_console_input(struct virtio_device *dev, unsigned port, const uint8_t *data,
                            size_t n);

/* The backend of PORT takes output again. */
void virtio_console_ready(struct virtio_device *dev, unsigned port);

/*
 * Whether the guest has PORT, which is not the first: it is told. One that goes is closed, what the
 * guest wrote and the backend did not take is given to that as never before (it has to take all
 * then), and one that comes is another port under the same number.
 */
void virtio_console_present(struct virtio_device *dev, unsigned port, bool present);

/* Whether somebody is at the host's end of PORT; from the start everybody is. The guest is told. */
void virtio_console_connect(struct virtio_device *dev, unsigned port, bool connected);

/* Tells the guest the size of port 0's terminal; 0 by 0 is unknown. A driver of several ports does
 * not look at it. */
void virtio_console_resize(struct virtio_device *dev, uint16_t columns, uint16_t rows);

#endif
