/*
 * vm/gpu_ports: serial ports by which programs of a guest reach the GPU worker, where they cannot
 * map the PCI function: each program has one port, and its worker a stream of its bytes.
 *
 * They are ports of the VM's console device, beside the agent's, so that they take no slot of a
 * bus; the guest has them while there is a GPU. Nothing is understood of the bytes here. What the
 * worker does not take stays in the guest's buffers, and of what the guest does not take one buffer
 * is read: neither side can have the other hold more, and nobody waits. A port whose stream has
 * ended is closed at the host's end until the guest has closed it as well, so that no two programs
 * are ever one to the worker. Loop thread.
 */
#ifndef VM_GPU_PORTS_H
#define VM_GPU_PORTS_H

#include "gpu/protocol/contract.h"
#include "machine/virtio/console.h"

#include <uv.h>

struct gpu_ports;

struct gpu_ports *gpu_ports_new(uv_loop_t *loop);
/* Takes NULL, as all that follow do where GPUs are concerned. */
void gpu_ports_free(struct gpu_ports *ports);

/* --- whose device they are ports of ----------------------------------------------------------- */

/* What that is to be made with. */
void gpu_ports_fill(struct gpu_ports *ports, struct virtio_console_port out[WORKER_PORTS]);
/* They are ports FIRST and on of DEVICE; NULL: that is about to go. */
void gpu_ports_at(struct gpu_ports *ports, struct virtio_device *device, unsigned first);

/* --- for GPUs --------------------------------------------------------------------------------- */

/* One more, or one less: one that goes may still be there when the next one comes. */
void gpu_ports_add(struct gpu_ports *ports);
void gpu_ports_remove(struct gpu_ports *ports);

/*
 * There is a worker: JOIN(OPAQUE) gives a socket on whose other end it serves, or -1; ports that
 * are open already are joined at once. Streams to another worker end.
 */
typedef int (*gpu_join_fn)(void *opaque);
void gpu_ports_serve(struct gpu_ports *ports, gpu_join_fn join, void *opaque);
/* There is none any more; nothing where it was not OPAQUE's. */
void gpu_ports_stop(struct gpu_ports *ports, const void *opaque);

#endif
