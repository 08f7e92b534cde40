/*
 * vm/channels: serial ports by which programs of the host and of the guest speak, as a guest's agent
 * does: each has a name, by which the guest finds it, and a listening socket in the VM's runtime
 * directory.
 *
 * They are ports of the VM's console device (virtio 1.2, 5.3). One client has a channel at a time: who
 * connects meanwhile is closed at once. The guest is told whether somebody is there. Nothing is
 * understood of the bytes, and none are kept: what the guest writes while nobody is there is gone, and
 * of what a side does not take one buffer is read. A client that shuts down its sending side is gone
 * when the guest has what it sent, or closes the port. Loop thread.
 */
#ifndef VM_CHANNELS_H
#define VM_CHANNELS_H

#include "machine/virtio/console.h"

#include <uv.h>

struct channels;

/*
 * N channels with NAMES (copied), at most LIMIT_CHANNELS. DIR is the folder of their sockets, channel0
 * and on, of mode 0600; NULL: they have none, and only channels_attach() brings clients. NULL with ERR.
 */
struct channels *channels_new(uv_loop_t *loop, const char *dir, char *const *names, size_t n,
                              GError **err);
/* Takes NULL, as all that follow do. */
void channels_free(struct channels *channels);

/* How many there are, and what a console device is to be made with for them. */
unsigned channels_fill(struct channels *channels, struct virtio_console_port *out);
/* They are ports FIRST and on of DEVICE; NULL: that is about to go. */
void channels_at(struct channels *channels, struct virtio_device *device, unsigned first);

/* ALL may be NULL. */
bool channels_has(struct channels *all, const char *name);
/*
 * A client's end of a new socket pair, the caller's. -1 with ERR: VMD_ERROR_NOT_FOUND where no
 * channel is named NAME, VMD_ERROR_BUSY where one has a client, unless it is lost by FORCE.
 */
int channels_attach(struct channels *channels, const char *name, bool force, GError **err);

#endif
