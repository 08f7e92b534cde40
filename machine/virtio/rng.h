/* machine/virtio: an entropy source (virtio 1.2, 5.4), fed by the host's generator. */
#ifndef MACHINE_VIRTIO_RNG_H
#define MACHINE_VIRTIO_RNG_H

#include "machine/virtio/virtio.h"

struct virtio_device *virtio_rng_new(const struct virtio_env *env);

#endif
