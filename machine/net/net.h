/*
 * machine/net: where a guest's network interface is plugged in.
 *
 * A backend carries Ethernet frames between a peer (a device) and the host. Each frame has a
 * virtio_net_hdr_v1 (little-endian, 12 bytes) with it, which says what is left to do: checksums,
 * segmentation. A side never gives the other what that side did not say it can do.
 *
 * Loop thread throughout: a backend is driven by the VM's libuv loop.
 */
#ifndef MACHINE_NET_NET_H
#define MACHINE_NET_NET_H

#include "base/base.h"

#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <sys/uio.h>
#include <uv.h>

#define NET_HEADER    ((size_t)12) /* bytes of virtio_net_hdr_v1 */
#define NET_FRAME_MIN 14u          /* an Ethernet header */
#define NET_FRAME_MAX 65553u       /* one with a tag and the largest IP packet */

/* What a side can take of the other beyond complete frames. */
enum net_offload {
    NET_CSUM = 1 << 0, /* frames whose checksum is still to be completed (or known to be good) */
    NET_TSO4 = 1 << 1, /* TCP segments beyond the MTU, over IPv4 */
    NET_TSO6 = 1 << 2,
    NET_ECN = 1 << 3, /* the two above with ECN marks */
};

struct net_backend;

/* The device at the other end. */
struct net_peer_ops {
    /*
     * A frame of LENGTH bytes for the guest. False: there is no room; the backend keeps it and
     * gives it again after net_ready().
     */
    bool (*receive)(void *opaque, const struct virtio_net_hdr_v1 *hdr, const void *frame,
                    size_t length);
    /* A batch of receive() is over. */
    void (*receive_end)(void *opaque);
    /* send() takes frames again, after it refused one. */
    void (*writable)(void *opaque);
};

struct net_backend_ops {
    const char *name;
    /*
     * Takes a frame of the guest: IOV[0] is the header, the rest the frame, at most
     * NET_FRAME_MAX bytes. False: no room; the peer keeps it and waits for writable().
     */
    bool (*send)(struct net_backend *b, const struct iovec *iov, unsigned n);
    /* A batch of send() is over. */
    void (*send_end)(struct net_backend *b);
    /* The peer has room again, after it refused a frame. */
    void (*ready)(struct net_backend *b);
    /* The peer takes OFFLOADS (of RX_OFFLOADS) from now on. */
    void (*set_offloads)(struct net_backend *b, unsigned offloads);
    void (*free)(struct net_backend *b);
};

struct net_backend {
    const struct net_backend_ops *ops;
    unsigned tx_offloads; /* enum net_offload: what send() takes */
    unsigned rx_offloads; /* what it can give, where the peer takes it */
    uint16_t mtu;         /* what guests should use; 0: it does not say */
    const struct net_peer_ops *peer;
    void *peer_opaque;
    uint64_t dropped; /* frames lost between the two for want of room */
};

static inline void net_attach(struct net_backend *b, const struct net_peer_ops *ops, void *opaque)
{
    b->peer = ops;
    b->peer_opaque = opaque;
}

static inline bool net_send(struct net_backend *b, const struct iovec *iov, unsigned n)
{
    return b->ops->send(b, iov, n);
}

static inline void net_send_end(struct net_backend *b)
{
    b->ops->send_end(b);
}

static inline void net_ready(struct net_backend *b)
{
    b->ops->ready(b);
}

static inline void net_set_offloads(struct net_backend *b, unsigned offloads)
{
    b->ops->set_offloads(b, offloads & b->rx_offloads);
}

/* Frees the backend; handles of the loop are closed and freed by its next turns. Takes NULL. */
static inline void net_free(struct net_backend *b)
{
    if (b)
        b->ops->free(b);
}

/*
 * Completes the checksum that HDR asks for in a frame of LENGTH bytes; false when HDR makes no
 * sense for it. Afterwards the frame needs nothing.
 */
bool net_complete_checksum(const struct virtio_net_hdr_v1 *hdr, uint8_t *frame, size_t length);

/* --- user networking -------------------------------------------------------------------------- */

/*
 * A port of the host that leads to one of the guest. Text is "tcp:HOSTPORT:PORT", which listens
 * on the host's loopback address, or "tcp:[ADDR]:HOSTPORT-[GUEST]:PORT" where an empty ADDR is
 * every address of the host and an empty GUEST is the guest's first lease. "udp" likewise. IPv6
 * addresses go in brackets.
 */
struct net_hostfwd {
    bool udp;
    struct sockaddr_storage host, guest; /* of one family */
};

bool net_hostfwd_parse(const char *text, struct net_hostfwd *out, GError **err);
/* The same rule as text of the long form; the caller frees. */
char *net_hostfwd_format(const struct net_hostfwd *rule);

struct net_user_config {
    bool restricted;      /* no way out but port forwards */
    const char *hostname; /* told by DHCP; NULL: none */
    uint16_t mtu;         /* 1280..65520; 0: 32768 */
};

/*
 * A network behind a NAT in this process, without rights: 10.0.2.0/24 and fec0::/64 with gateway
 * .2, name server .3, DHCP from .15 on.
 */
struct net_backend *net_user_new(uv_loop_t *loop, const struct net_user_config *config,
                                 GError **err);
/* VMD_ERROR_EXISTS when the host's port is taken, VMD_ERROR_LIMIT beyond LIMIT_HOSTFWDS. */
bool net_user_add_hostfwd(struct net_backend *b, const struct net_hostfwd *rule, GError **err);
bool net_user_remove_hostfwd(struct net_backend *b, const struct net_hostfwd *rule, GError **err);

/* --- none ------------------------------------------------------------------------------------- */

/* A cable that leads nowhere: drops what it is sent. */
struct net_backend *net_null_new(void);

/* --- tap -------------------------------------------------------------------------------------- */

/*
 * A tap interface that was opened for us (by vmd-helper); FD is taken over, also on failure.
 * VMD_ERROR_INVALID when it is not a tap without packet information. Offloads are used where
 * the interface was opened with IFF_VNET_HDR.
 */
struct net_backend *net_tap_new(uv_loop_t *loop, int fd, GError **err);

#endif
