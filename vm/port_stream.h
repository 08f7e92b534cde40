/*
 * vm/port_stream: a socket at the host's end of a port of the virtio console (virtio 1.2, 5.3).
 *
 * Nothing is understood of the bytes. What the socket does not take stays in the guest's buffers,
 * and of what the guest does not take one buffer is read: neither side can have the other hold
 * more, and nobody waits. Loop thread.
 */
#ifndef VM_PORT_STREAM_H
#define VM_PORT_STREAM_H

#include "machine/virtio/console.h"

#include <uv.h>

struct port_stream;

/*
 * One without a socket, and of no port. LOST: the socket's other end is gone; port_stream_end() is
 * to follow. Where it LINGERS, and the guest takes input, that is when the guest has what was sent
 * last, though the other end did not read all that there was for it.
 */
struct port_stream *port_stream_new(uv_loop_t *loop, bool lingers, void (*lost)(void *opaque),
                                    void *opaque);
/* Takes NULL. */
void port_stream_free(struct port_stream *stream);

/* It is at PORT of DEVICE; NULL: that is about to go, or not there yet. */
void port_stream_at(struct port_stream *stream, struct virtio_device *device, unsigned port);

/* Tells the guest whether somebody is there; output that was held has a place to go now. */
void port_stream_tell(struct port_stream *stream, bool connected);

/* Takes FD, which is to be a socket, also on error; the guest is told. 0 or -errno. */
int port_stream_begin(struct port_stream *stream, int fd);
/* Lets go of the socket, if there is one, and of what the guest did not take. The guest is not
 * told. */
void port_stream_end(struct port_stream *stream);

bool port_stream_has_socket(const struct port_stream *stream);
/* Whether the other end will send no more than is in the socket, or here. */
bool port_stream_is_leaving(const struct port_stream *stream);

/* Whether the guest takes input; at first it does not. */
void port_stream_set_taken(struct port_stream *stream, bool taken);

/* Operations of the port; without a socket output is gone. */
size_t port_stream_output(struct port_stream *stream, const uint8_t *data, size_t n);
void port_stream_input_room(struct port_stream *stream);

#endif
