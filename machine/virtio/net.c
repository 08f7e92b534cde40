/*
 * virtio-net: frames between the guest's queues and a backend.
 *
 * Nothing is held here: a frame that the backend has no room for goes back to its ring, and one
 * that the guest has no buffers for stays with the backend. The receive queue asks for doorbells
 * only while the backend waits for buffers.
 */
#include "machine/virtio/net_priv.h"

#define RX_SIZE      512
#define TX_SIZE      512
#define CONTROL_SIZE 64
#define PIECES_MAX   64 /* a frame in more is copied together first */

static const struct state_field net_fields[] = {
    {"filter", STATE_STRUCT, offsetof(struct net_device, filter), 1, 1, &net__filter_state},
    STATE_FIELD_U64(struct net_device, guest_offloads, 1),
    STATE_FIELD_U8(struct net_device, link, 1),
};
static const struct state_desc net_state = {"virtio-net", 1, sizeof(struct net_device),
                                            G_N_ELEMENTS(net_fields), net_fields};

/* Which offload of the backend each feature stands for. */
static const struct {
    uint8_t feature;
    bool to_guest;
    unsigned needs;
} offload_features[] = {
    {VIRTIO_NET_F_CSUM, false, NET_CSUM},
    {VIRTIO_NET_F_HOST_TSO4, false, NET_CSUM | NET_TSO4},
    {VIRTIO_NET_F_HOST_TSO6, false, NET_CSUM | NET_TSO6},
    {VIRTIO_NET_F_HOST_ECN, false, NET_CSUM | NET_ECN},
    {VIRTIO_NET_F_GUEST_CSUM, true, NET_CSUM},
    {VIRTIO_NET_F_GUEST_TSO4, true, NET_CSUM | NET_TSO4},
    {VIRTIO_NET_F_GUEST_TSO6, true, NET_CSUM | NET_TSO6},
    {VIRTIO_NET_F_GUEST_ECN, true, NET_CSUM | NET_ECN},
    {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, true, NET_CSUM | NET_TSO4},
};

/* --- guest to host ---------------------------------------------------------------------------- */

/* A header that asks only for what was negotiated; anything else of it is not passed on. */
static struct virtio_net_hdr_v1 checked_header(struct net_device *net,
                                               const struct virtio_net_hdr_v1 *given)
{
    const struct virtio_device *dev = &net->vdev;
    struct virtio_net_hdr_v1 hdr = {0};
    bool tso4 = virtio_has_feature(dev, VIRTIO_NET_F_HOST_TSO4);
    bool tso6 = virtio_has_feature(dev, VIRTIO_NET_F_HOST_TSO6);
    uint8_t gso = given->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

    if (!virtio_has_feature(dev, VIRTIO_NET_F_CSUM) ||
        !(given->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
        return hdr;
    hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    hdr.csum_start = given->csum_start;
    hdr.csum_offset = given->csum_offset;
    if ((gso == VIRTIO_NET_HDR_GSO_TCPV4 && tso4) || (gso == VIRTIO_NET_HDR_GSO_TCPV6 && tso6)) {
        hdr.gso_type = gso;
        if (virtio_has_feature(dev, VIRTIO_NET_F_HOST_ECN))
            hdr.gso_type = given->gso_type;
        hdr.gso_size = given->gso_size;
        hdr.hdr_len = given->hdr_len;
    }
    return hdr;
}

/* The frame behind the element's header, as a list with room for HDR before it. */
static unsigned frame_pieces(struct net_device *net, const struct virtqueue_element *e,
                             struct virtio_net_hdr_v1 *hdr, struct iovec *iov)
{
    size_t skip = NET_HEADER;
    unsigned n = 1;

    iov[0] = (struct iovec){hdr, NET_HEADER};
    for (unsigned i = 0; i < e->out_n; i++) {
        size_t length = e->out[i].iov_len;
        if (skip >= length) {
            skip -= length;
            continue;
        }
        if (n == PIECES_MAX) {
            size_t total = e->out_bytes - NET_HEADER;
            iov_read(e->out, e->out_n, NET_HEADER, net->frame, total);
            iov[1] = (struct iovec){net->frame, total};
            return 2;
        }
        iov[n++] = (struct iovec){(char *)e->out[i].iov_base + skip, length - skip};
        skip = 0;
    }
    return n;
}

/* Sends one; false when the backend has no room. */
static bool transmit(struct net_device *net, const struct virtqueue_element *e)
{
    struct virtio_net_hdr_v1 given, hdr;
    struct iovec iov[PIECES_MAX];

    if (e->out_bytes < NET_HEADER + NET_FRAME_MIN || e->out_bytes > NET_HEADER + NET_FRAME_MAX ||
        !net->link) {
        net->counts.tx_dropped++;
        return true;
    }
    iov_read(e->out, e->out_n, 0, &given, NET_HEADER);
    hdr = checked_header(net, &given);
    unsigned n = frame_pieces(net, e, &hdr, iov);
    if (!net_send(net->backend, iov, n))
        return false;
    net->counts.tx_frames++;
    net->counts.tx_bytes += e->out_bytes - NET_HEADER;
    return true;
}

static void transmit_all(struct net_device *net, struct virtqueue *vq)
{
    struct virtqueue_element *e;

    while ((e = virtqueue_pop(vq, sizeof(*e)))) {
        if (!transmit(net, e)) {
            virtqueue_unpop(e); /* writable() kicks the queue */
            break;
        }
        virtqueue_push(e, 0);
    }
    virtqueue_notify(vq);
    net_send_end(net->backend);
}

static void backend_writable(void *opaque)
{
    virtqueue_kick(virtio_queue(opaque, NET_TX));
}

/* --- host to guest ---------------------------------------------------------------------------- */

/* Enough buffers for LENGTH bytes into E; their number, or 0 when there are not. */
static unsigned gather(struct virtqueue *vq, size_t length, struct virtqueue_element **e,
                       unsigned most)
{
    size_t room = 0;
    unsigned n = 0;

    while (room < length && n < most && (e[n] = virtqueue_pop(vq, sizeof(*e[n]))))
        room += e[n++]->in_bytes;
    if (room >= length)
        return n;
    bool starved = n < most;
    while (n)
        virtqueue_unpop(e[--n]);
    return starved ? 0 : UINT_MAX;
}

/* Header and frame over the buffers, which the driver then sees at once. */
static void scatter(struct virtqueue_element **e, unsigned n, struct virtio_net_hdr_v1 *hdr,
                    const uint8_t *frame, size_t length)
{
    uint32_t written[RX_SIZE];
    size_t at = 0;

    hdr->num_buffers = GUINT16_TO_LE((uint16_t)n);
    for (unsigned i = 0; i < n; i++) {
        size_t head = i == 0 ? iov_write(e[i]->in, e[i]->in_n, 0, hdr, NET_HEADER) : 0;
        size_t part = iov_write(e[i]->in, e[i]->in_n, head, frame + at, length - at);
        written[i] = (uint32_t)(head + part);
        at += part;
    }
    virtqueue_push_many(e, written, n);
}

static bool backend_receive(void *opaque, const struct virtio_net_hdr_v1 *given, const void *frame,
                            size_t length)
{
    struct net_device *net = opaque;
    struct virtqueue *vq = virtio_queue(&net->vdev, NET_RX);
    struct virtqueue_element *e[RX_SIZE];
    struct virtio_net_hdr_v1 hdr = *given;
    bool mergeable = virtio_has_feature(&net->vdev, VIRTIO_NET_F_MRG_RXBUF);

    if (!virtio_running(&net->vdev) || !net->link || !net__filter_pass(net, frame, length)) {
        net->counts.rx_dropped++;
        return true;
    }
    unsigned n = gather(vq, NET_HEADER + length, e, mergeable ? RX_SIZE : 1);
    if (n == 0) {
        net->rx_starved = true;
        virtqueue_want_notify(vq, true);
        return false;
    }
    /* A first buffer that cannot hold the header, or all too small for the frame: it is lost. */
    if (n == UINT_MAX || e[0]->in_bytes < NET_HEADER) {
        while (n != UINT_MAX && n)
            virtqueue_unpop(e[--n]);
        net->counts.rx_dropped++;
        return true;
    }
    scatter(e, n, &hdr, frame, length);
    net->counts.rx_frames++;
    net->counts.rx_bytes += length;
    return true;
}

static void backend_receive_end(void *opaque)
{
    virtqueue_notify(virtio_queue(opaque, NET_RX));
}

static const struct net_peer_ops peer_ops = {
    .receive = backend_receive,
    .receive_end = backend_receive_end,
    .writable = backend_writable,
};

/* Buffers came. */
static void receive_more(struct net_device *net, struct virtqueue *vq)
{
    virtqueue_want_notify(vq, false);
    if (!net->rx_starved)
        return;
    net->rx_starved = false;
    net_ready(net->backend);
}

/* --- the device ------------------------------------------------------------------------------- */

static void net_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct net_device *net = (struct net_device *)dev;

    switch (virtqueue_index(vq)) {
    case NET_RX:
        receive_more(net, vq);
        break;
    case NET_TX:
        transmit_all(net, vq);
        break;
    default:
        net__control(net, vq);
        break;
    }
}

void net__apply_offloads(struct net_device *net)
{
    unsigned offloads = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(offload_features); i++) {
        if (offload_features[i].to_guest && net->guest_offloads >> offload_features[i].feature & 1)
            offloads |= offload_features[i].needs;
    }
    net_set_offloads(net->backend, offloads);
}

uint64_t net__negotiated_offloads(const struct virtio_device *dev)
{
    return dev->features &
           (VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_CSUM) | VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_TSO4) |
            VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_TSO6) | VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_ECN));
}

#define OFFLOADS_UNSAID UINT64_MAX

static void net_start(struct virtio_device *dev)
{
    struct net_device *net = (struct net_device *)dev;

    if (net->guest_offloads == OFFLOADS_UNSAID)
        net->guest_offloads = net__negotiated_offloads(dev);
    net__apply_offloads(net);
}

static void forget_driver(struct net_device *net)
{
    net__filter_reset(&net->filter);
    net->guest_offloads = OFFLOADS_UNSAID;
}

static void net_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    struct net_device *net = (struct net_device *)dev;

    if (vq)
        return;
    forget_driver(net);
    net_set_offloads(net->backend, 0);
    if (net->rx_starved) {
        net->rx_starved = false;
        net_ready(net->backend); /* what waits is for nobody, and is lost */
    }
}

/* A driver needs what its features rest on (5.1.3.1). */
static bool net_features_ok(const struct virtio_device *dev, uint64_t features)
{
    static const struct {
        uint8_t feature, needs;
    } rules[] = {
        {VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_VQ},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (features >> rules[i].feature & 1 && !(features >> rules[i].needs & 1))
            return false;
    }
    return true;
}

static bool net_loaded(struct virtio_device *dev, GError **err)
{
    struct net_device *net = (struct net_device *)dev;

    if (!net__filter_valid(&net->filter))
        return vmd_fail(err, VMD_ERROR_INVALID, "saved filter of 'virtio-net' is out of range");
    if (net->guest_offloads != OFFLOADS_UNSAID)
        net->guest_offloads &= net__negotiated_offloads(dev);
    net->link = net->link != 0;
    return true;
}

static void net_device_free(struct virtio_device *dev)
{
    struct net_device *net = (struct net_device *)dev;

    net_attach(net->backend, NULL, NULL);
    net_free(net->backend);
    virtio_device_fini(dev);
    g_free(net);
}

static const struct virtio_ops net_ops = {
    .name = "virtio-net",
    .id = VIRTIO_ID_NET,
    .pci_class = 0x020000,
    .state = &net_state,
    .features_ok = net_features_ok,
    .start = net_start,
    .queue_notify = net_notify,
    .reset = net_reset,
    .loaded = net_loaded,
    .free = net_device_free,
};

static uint64_t offered_features(const struct net_backend *backend)
{
    uint64_t features =
        VIRTIO_FEATURE(VIRTIO_NET_F_MAC) | VIRTIO_FEATURE(VIRTIO_NET_F_STATUS) |
        VIRTIO_FEATURE(VIRTIO_NET_F_MRG_RXBUF) | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VQ) |
        VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_RX) | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_RX_EXTRA) |
        VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VLAN) | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_MAC_ADDR);

    if (backend->mtu)
        features |= VIRTIO_FEATURE(VIRTIO_NET_F_MTU);
    for (unsigned i = 0; i < G_N_ELEMENTS(offload_features); i++) {
        unsigned has = offload_features[i].to_guest ? backend->rx_offloads : backend->tx_offloads;
        if ((offload_features[i].needs & ~has) == 0)
            features |= VIRTIO_FEATURE(offload_features[i].feature);
    }
    return features;
}

void virtio_net_set_link(struct virtio_device *dev, bool up)
{
    struct net_device *net = (struct net_device *)dev;
    uint16_t status = GUINT16_TO_LE(up ? VIRTIO_NET_S_LINK_UP : 0);

    net->link = up;
    virtio_config_set(dev, offsetof(struct virtio_net_config, status), &status, sizeof(status));
}

/* --- the cable comes later -------------------------------------------------------------------- */

#define PORT_TX (NET_CSUM | NET_TSO4 | NET_TSO6)
#define PORT_RX NET_CSUM

/* Leads nowhere, and takes what a port offers. */
static struct net_backend *no_cable(void)
{
    struct net_backend *b = net_null_new();

    b->tx_offloads = PORT_TX;
    b->rx_offloads = PORT_RX;
    return b;
}

struct virtio_device *virtio_net_new_port(const struct virtio_env *env, const uint8_t mac[6])
{
    struct virtio_device *dev = virtio_net_new(env, no_cable(), mac);

    virtio_net_set_link(dev, false);
    return dev;
}

/* Puts BACKEND in the place of the one there is, which is returned. */
static struct net_backend *change_cable(struct net_device *net, struct net_backend *backend)
{
    struct net_backend *before = net->backend;

    net_attach(before, NULL, NULL);
    net->backend = backend;
    net->rx_starved = false;
    net_attach(backend, &peer_ops, net);
    if (virtio_running(&net->vdev))
        net__apply_offloads(net);
    return before;
}

bool virtio_net_connect(struct virtio_device *dev, struct net_backend *backend, GError **err)
{
    struct net_device *net = (struct net_device *)dev;

    if ((PORT_TX & ~backend->tx_offloads) || (PORT_RX & ~backend->rx_offloads))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the interface cannot complete the guest's checksums, as the port has promised: it "
                        "has no packet headers (IFF_VNET_HDR)");
    net_free(change_cable(net, backend));
    virtio_net_set_link(dev, true);
    virtqueue_kick(virtio_queue(dev, NET_TX));
    return true;
}

struct net_backend *virtio_net_disconnect(struct virtio_device *dev)
{
    virtio_net_set_link(dev, false);
    return change_cable((struct net_device *)dev, no_cable());
}

struct net_backend *virtio_net_backend(struct virtio_device *dev)
{
    return ((struct net_device *)dev)->backend;
}

void virtio_net_counts(const struct virtio_device *dev, struct virtio_net_counts *out)
{
    const struct net_device *net = (const struct net_device *)dev;

    *out = net->counts;
    out->rx_dropped += net->backend->dropped;
}

struct virtio_device *virtio_net_new(const struct virtio_env *env, struct net_backend *backend,
                                     const uint8_t mac[6])
{
    static const uint16_t sizes[NET_QUEUES] = {RX_SIZE, TX_SIZE, CONTROL_SIZE};
    struct net_device *net = g_new0(struct net_device, 1);
    const uint16_t pairs = GUINT16_TO_LE(1), mtu = GUINT16_TO_LE(backend->mtu);
    struct virtio_device *dev = &net->vdev;

    net->backend = backend;
    virtio_device_init(dev, &net_ops, env, offered_features(backend), NET_QUEUES, sizes, 12);
    virtio_config_set(dev, offsetof(struct virtio_net_config, mac), mac, 6);
    virtio_config_set(dev, offsetof(struct virtio_net_config, max_virtqueue_pairs), &pairs, 2);
    virtio_config_set(dev, offsetof(struct virtio_net_config, mtu), &mtu, 2);
    virtio_net_set_link(dev, true);
    forget_driver(net);
    net_attach(backend, &peer_ops, net);
    return dev;
}
