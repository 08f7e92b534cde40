/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* guest/cuda/transport: finds a channel: shared memory with a doorbell, or a stream of bytes. */
#ifndef GUEST_CUDA_TRANSPORT_H
#define GUEST_CUDA_TRANSPORT_H

#include "gpu/protocol/ring.h"

#include <stdbool.h>

struct transport {
    volatile uint8_t *shared; /* of one channel; NULL: FD is a stream of bytes */
    int fd;                   /* the stream; or what keeps the channel ours as long as it is open */
    int bell;                 /* eventfd of a doorbell, or -1 */
    volatile uint32_t *bell_register;
    void *mapped[2];
    size_t mapped_bytes[2];
};

/*
 * Opens what there is: the socket that VMD_GPU_SOCKET names (by a stream of bytes with
 * VMD_GPU_STREAM set), else a channel of the PCI function that nobody uses, else, where that is not
 * there or not permitted, or VMD_GPU_STREAM is set, a serial port that nobody uses. 0 or a
 * CUresult.
 */
int transport_open(struct transport *t);
void transport_close(struct transport *t);
/*
 * Lets go of a channel that is lost, for whoever opens one next; for threads that still come here
 * its memory stays, but is nobody else's any more; and a stream's descriptor, at whose end it is.
 */
void transport_leave(struct transport *t);
void transport_ring(const struct transport *t);

#endif
