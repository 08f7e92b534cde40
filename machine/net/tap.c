/*
 * A tap interface. With IFF_VNET_HDR the kernel takes and gives virtio headers, so that checksums
 * and segmentation pass through; without it frames are complete in both directions.
 *
 * A frame that the guest has no room for stays in `frame`, and reading stops until there is room.
 */
#include "machine/net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#define FRAMES_A_TURN 64

struct net_tap {
    struct net_backend base;
    int fd;
    bool vnet_hdr;
    bool want_write;
    bool gone; /* deleted: what the guest sends is lost, and nothing comes */
    uv_poll_t poll;
    size_t waiting; /* bytes in FRAME, header included, that the peer refused */
    uint8_t frame[NET_HEADER + NET_FRAME_MAX];
};

static void polled(uv_poll_t *poll, int status, int mask);

static void watch(struct net_tap *t)
{
    int mask = (t->waiting ? 0 : UV_READABLE) | (t->want_write ? UV_WRITABLE : 0);

    if (mask && !t->gone)
        uv_poll_start(&t->poll, mask, polled);
    else
        uv_poll_stop(&t->poll);
}

/* Gives the frame in hand to the peer; false: it must wait. */
static bool give(struct net_tap *t, size_t length)
{
    struct virtio_net_hdr_v1 hdr;

    memcpy(&hdr, t->frame, NET_HEADER);
    hdr.num_buffers = GUINT16_TO_LE(1);
    if (!t->base.peer)
        return true;
    return t->base.peer->receive(t->base.peer_opaque, &hdr, t->frame + NET_HEADER,
                                 length - NET_HEADER);
}

/* Reads until there is nothing, the peer is full, or the turn is over. */
static void read_frames(struct net_tap *t)
{
    size_t skip = t->vnet_hdr ? 0 : NET_HEADER;

    for (unsigned i = 0; i < FRAMES_A_TURN && !t->waiting; i++) {
        memset(t->frame, 0, NET_HEADER);
        ssize_t n = read(t->fd, t->frame + skip, sizeof(t->frame) - skip);
        if (n < 0)
            break;
        size_t length = (size_t)n + skip;
        if (length >= NET_HEADER + NET_FRAME_MIN && !give(t, length))
            t->waiting = length;
    }
    if (t->base.peer)
        t->base.peer->receive_end(t->base.peer_opaque);
}

static void polled(uv_poll_t *poll, int status, int mask)
{
    struct net_tap *t = container_of(poll, struct net_tap, poll);

    /* The interface was deleted under us, which the descriptor reports for ever. */
    if (status < 0) {
        t->gone = true;
        uv_poll_stop(poll);
        return;
    }
    if (mask & UV_WRITABLE) {
        t->want_write = false;
        if (t->base.peer)
            t->base.peer->writable(t->base.peer_opaque);
    }
    if (mask & UV_READABLE && !t->waiting)
        read_frames(t);
    watch(t);
}

static void tap_ready(struct net_backend *b)
{
    struct net_tap *t = (struct net_tap *)b;

    if (!t->waiting || !give(t, t->waiting))
        return;
    t->waiting = 0;
    t->base.peer->receive_end(t->base.peer_opaque);
    watch(t);
}

static bool tap_send(struct net_backend *b, const struct iovec *iov, unsigned n)
{
    struct net_tap *t = (struct net_tap *)b;
    ssize_t done;

    if (t->vnet_hdr)
        done = writev(t->fd, iov, (int)n);
    else
        done = writev(t->fd, iov + 1, (int)n - 1);
    if (done >= 0 || t->gone || (errno != EAGAIN && errno != ENOBUFS)) {
        t->base.dropped += done < 0; /* a frame the kernel does not want, or a link that is down */
        return true;
    }
    t->want_write = true;
    watch(t);
    return false;
}

static void tap_send_end(struct net_backend *b)
{
}

static void tap_set_offloads(struct net_backend *b, unsigned offloads)
{
    struct net_tap *t = (struct net_tap *)b;
    unsigned long flags = 0;

    if (!t->vnet_hdr)
        return;
    flags |= offloads & NET_CSUM ? TUN_F_CSUM : 0;
    flags |= offloads & NET_TSO4 ? TUN_F_TSO4 : 0;
    flags |= offloads & NET_TSO6 ? TUN_F_TSO6 : 0;
    flags |= offloads & NET_ECN && flags & (TUN_F_TSO4 | TUN_F_TSO6) ? TUN_F_TSO_ECN : 0;
    ioctl(t->fd, TUNSETOFFLOAD, flags);
}

static void closed(uv_handle_t *handle)
{
    struct net_tap *t = container_of(handle, struct net_tap, poll);

    close(t->fd);
    g_free(t);
}

static void tap_free(struct net_backend *b)
{
    uv_close((uv_handle_t *)&((struct net_tap *)b)->poll, closed);
}

static const struct net_backend_ops tap_ops = {
    .name = "tap",
    .send = tap_send,
    .send_end = tap_send_end,
    .ready = tap_ready,
    .set_offloads = tap_set_offloads,
    .free = tap_free,
};

/* Looks at what FD is and prepares it; VNET_HDR gets whether it takes headers. */
static bool prepare(int fd, bool *vnet_hdr, GError **err)
{
    struct ifreq ifr = {0};
    int size = NET_HEADER;

    if (ioctl(fd, TUNGETIFF, &ifr) < 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "the descriptor is no tap interface");
    if (!(ifr.ifr_flags & IFF_TAP) || !(ifr.ifr_flags & IFF_NO_PI))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "interface '%s' does not carry plain Ethernet frames", ifr.ifr_name);
    *vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
    if (*vnet_hdr && ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
        return vmd_set_errno(err, errno, "interface '%s'", ifr.ifr_name);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return vmd_set_errno(err, errno, "interface '%s'", ifr.ifr_name);
    return true;
}

struct net_backend *net_tap_new(uv_loop_t *loop, int tap, GError **err)
{
    autofd fd = tap;
    bool vnet_hdr = false;

    if (!prepare(fd, &vnet_hdr, err))
        return NULL;
    struct net_tap *t = g_new0(struct net_tap, 1);
    int rc = uv_poll_init(loop, &t->poll, fd);
    if (rc < 0) {
        g_free(t);
        vmd_set_errno(err, -rc, "watching a tap interface");
        return NULL;
    }
    t->base.ops = &tap_ops;
    t->vnet_hdr = vnet_hdr;
    if (vnet_hdr)
        t->base.tx_offloads = t->base.rx_offloads = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
    t->fd = steal_fd(&fd);
    tap_set_offloads(&t->base, 0);
    watch(t);
    return &t->base;
}
