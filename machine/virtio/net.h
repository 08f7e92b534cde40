/* machine/virtio: a network interface (virtio 1.2, 5.1) over a backend of machine/net. */
#ifndef MACHINE_VIRTIO_NET_H
#define MACHINE_VIRTIO_NET_H

#include "machine/net/net.h"
#include "machine/virtio/virtio.h"

/* An interface with address MAC. It owns BACKEND from then on. */
struct virtio_device *virtio_net_new(const struct virtio_env *env, struct net_backend *backend,
                                     const uint8_t mac[6]);

/* An interface whose cable is out, for virtio_net_connect(): it offers what user networking can. */
struct virtio_device *virtio_net_new_port(const struct virtio_env *env, const uint8_t mac[6]);

/* Puts such an interface's cable into BACKEND, which is taken then; the guest sees a carrier. False with
 * VMD_ERROR_UNSUPPORTED where BACKEND cannot do what the guest was offered. */
bool virtio_net_connect(struct virtio_device *dev, struct net_backend *backend, GError **err);
/* Takes the cable out again: the guest sees no carrier. The backend is the caller's; nothing reaches the
 * interface from it. */
struct net_backend *virtio_net_disconnect(struct virtio_device *dev);

/* The cable: while it is out the guest sees no carrier and nothing passes. */
void virtio_net_set_link(struct virtio_device *dev, bool up);

/* The backend, for port forwards and the like. */
struct net_backend *virtio_net_backend(struct virtio_device *dev);

struct virtio_net_counts {
    uint64_t rx_frames, rx_bytes, rx_dropped; /* towards the guest */
    uint64_t tx_frames, tx_bytes, tx_dropped;
};
void virtio_net_counts(const struct virtio_device *dev, struct virtio_net_counts *out);

#endif
