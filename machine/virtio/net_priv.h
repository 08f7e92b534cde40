/* machine/virtio: what net.c (frames) and net_control.c (the control queue) share. */
#ifndef MACHINE_VIRTIO_NET_PRIV_H
#define MACHINE_VIRTIO_NET_PRIV_H

#include "machine/virtio/net.h"

#define NET_MAC_ADDRESSES 64 /* of the filter, of both kinds; more of one kind: all pass */

enum net_queue { NET_RX, NET_TX, NET_CONTROL, NET_QUEUES };

/* What the receive filter lets pass (5.1.6.5.1); each is 0 or 1. */
struct net_filter {
    uint8_t promisc, allmulti, alluni, nomulti, nouni, nobcast;
    uint8_t n_unicast, n_multicast; /* addresses of each kind in the tables */
    uint8_t unicast_full, multicast_full;
    uint8_t unicast[NET_MAC_ADDRESSES * 6], multicast[NET_MAC_ADDRESSES * 6];
    uint32_t vlans[4096 / 32]; /* bit a VLAN */
};

struct net_device {
    struct virtio_device vdev;
    struct net_backend *backend;
    struct net_filter filter;
    uint64_t guest_offloads; /* feature bits of what the driver takes, as it last said */
    uint8_t link;
    bool rx_starved; /* the backend waits for buffers */
    struct virtio_net_counts counts;
    uint8_t frame[NET_FRAME_MAX]; /* a guest's frame that came in many pieces */
};

extern const struct state_desc net__filter_state;

/* The filter as a new driver finds it: all pass. */
void net__filter_reset(struct net_filter *f);
/* Whether a frame (of at least NET_FRAME_MIN bytes) passes to the guest. */
bool net__filter_pass(struct net_device *net, const uint8_t *frame, size_t length);
/* Whether a loaded filter makes sense. */
bool net__filter_valid(const struct net_filter *f);
/* Serves the control queue. */
void net__control(struct net_device *net, struct virtqueue *vq);
/* Feature bits of the offloads towards the guest that were negotiated. */
uint64_t net__negotiated_offloads(const struct virtio_device *dev);
/* Tells the backend what the driver takes. */
void net__apply_offloads(struct net_device *net);

#endif
