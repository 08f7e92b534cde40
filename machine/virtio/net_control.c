/* virtio-net: the receive filter and the control queue (virtio 1.2, 5.1.6.5). */
#include "machine/virtio/net_priv.h"

#include <linux/if_ether.h>

#define OFFLOADS_CLASS 5 /* VIRTIO_NET_CTRL_GUEST_OFFLOADS */

static const struct state_field filter_fields[] = {
    STATE_FIELD_U8(struct net_filter, promisc, 1),
    STATE_FIELD_U8(struct net_filter, allmulti, 1),
    STATE_FIELD_U8(struct net_filter, alluni, 1),
    STATE_FIELD_U8(struct net_filter, nomulti, 1),
    STATE_FIELD_U8(struct net_filter, nouni, 1),
    STATE_FIELD_U8(struct net_filter, nobcast, 1),
    STATE_FIELD_U8(struct net_filter, n_unicast, 1),
    STATE_FIELD_U8(struct net_filter, n_multicast, 1),
    STATE_FIELD_U8(struct net_filter, unicast_full, 1),
    STATE_FIELD_U8(struct net_filter, multicast_full, 1),
    STATE_FIELD_U8(struct net_filter, unicast, 1),
    STATE_FIELD_U8(struct net_filter, multicast, 1),
    STATE_FIELD_U32(struct net_filter, vlans, 1),
};
const struct state_desc net__filter_state = {"virtio-net-filter", 1, sizeof(struct net_filter),
                                             G_N_ELEMENTS(filter_fields), filter_fields};

/* --- the filter ------------------------------------------------------------------------------- */

void net__filter_reset(struct net_filter *f)
{
    *f = (struct net_filter){.promisc = 1};
}

bool net__filter_valid(const struct net_filter *f)
{
    return f->n_unicast <= NET_MAC_ADDRESSES && f->n_multicast <= NET_MAC_ADDRESSES;
}

static bool listed(const uint8_t *table, unsigned n, const uint8_t *mac)
{
    for (unsigned i = 0; i < n; i++) {
        if (memcmp(table + 6 * i, mac, 6) == 0)
            return true;
    }
    return false;
}

/* A driver that took CTRL_VLAN gets only the VLANs that it asked for. */
static bool vlan_passes(struct net_device *net, const uint8_t *frame, size_t length)
{
    if (!virtio_has_feature(&net->vdev, VIRTIO_NET_F_CTRL_VLAN) || length < 18 ||
        frame[12] != ETH_P_8021Q >> 8 || frame[13] != (ETH_P_8021Q & 0xff))
        return true;
    unsigned id = (frame[14] << 8 | frame[15]) & 0xfff;
    return net->filter.vlans[id / 32] >> id % 32 & 1;
}

bool net__filter_pass(struct net_device *net, const uint8_t *frame, size_t length)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct net_filter *f = &net->filter;
    uint8_t mac[6];

    if (!vlan_passes(net, frame, length))
        return false;
    if (f->promisc)
        return true;
    if (memcmp(frame, broadcast, 6) == 0)
        return !f->nobcast;
    if (frame[0] & 1)
        return !f->nomulti &&
               (f->allmulti || f->multicast_full || listed(f->multicast, f->n_multicast, frame));
    if (f->nouni)
        return false;
    virtio_config_get(&net->vdev, offsetof(struct virtio_net_config, mac), mac, sizeof(mac));
    return f->alluni || f->unicast_full || memcmp(frame, mac, 6) == 0 ||
           listed(f->unicast, f->n_unicast, frame);
}

/* --- commands --------------------------------------------------------------------------------- */

/* What follows class and command in the driver's buffer. */
struct request {
    struct net_device *net;
    const struct virtqueue_element *e;
    uint8_t command;
    size_t at;
};

static bool take(struct request *r, void *to, size_t n)
{
    size_t got = iov_read(r->e->out, r->e->out_n, r->at, to, n);

    r->at += got;
    return got == n;
}

static bool control_rx(struct request *r)
{
    struct net_filter *f = &r->net->filter;
    uint8_t *const flags[] = {&f->promisc, &f->allmulti, &f->alluni,
                              &f->nomulti, &f->nouni,    &f->nobcast};
    uint8_t on;

    if (r->command >= G_N_ELEMENTS(flags) || !take(r, &on, 1))
        return false;
    *flags[r->command] = on != 0;
    return true;
}

/* One of the two tables of MAC_TABLE_SET: a count and that many addresses. */
static bool take_table(struct request *r, uint8_t *table, uint8_t *n, uint8_t *full)
{
    uint32_t entries;

    if (!take(r, &entries, 4))
        return false;
    entries = GUINT32_FROM_LE(entries);
    if (entries > (r->e->out_bytes - r->at) / 6)
        return false;
    *full = entries > NET_MAC_ADDRESSES;
    *n = *full ? 0 : (uint8_t)entries;
    if (!take(r, table, 6u * *n))
        return false;
    r->at += *full ? 6 * (size_t)entries : 0;
    return true;
}

static bool control_mac(struct request *r)
{
    struct net_filter f = r->net->filter;
    uint8_t mac[6];

    switch (r->command) {
    case VIRTIO_NET_CTRL_MAC_ADDR_SET:
        if (!take(r, mac, sizeof(mac)))
            return false;
        virtio_config_set(&r->net->vdev, offsetof(struct virtio_net_config, mac), mac, 6);
        return true;
    case VIRTIO_NET_CTRL_MAC_TABLE_SET:
        if (!take_table(r, f.unicast, &f.n_unicast, &f.unicast_full) ||
            !take_table(r, f.multicast, &f.n_multicast, &f.multicast_full))
            return false;
        r->net->filter = f;
        return true;
    default:
        return false;
    }
}

static bool control_vlan(struct request *r)
{
    uint16_t id;

    if (r->command > VIRTIO_NET_CTRL_VLAN_DEL || !take(r, &id, 2))
        return false;
    id = GUINT16_FROM_LE(id);
    if (id >= 4096)
        return false;
    if (r->command == VIRTIO_NET_CTRL_VLAN_ADD)
        r->net->filter.vlans[id / 32] |= 1u << id % 32;
    else
        r->net->filter.vlans[id / 32] &= ~(1u << id % 32);
    return true;
}

/* Offloads can be given up, and taken again, among those that were negotiated. */
static bool control_offloads(struct request *r)
{
    uint64_t bits;

    if (r->command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || !take(r, &bits, 8))
        return false;
    bits = GUINT64_FROM_LE(bits);
    if (bits & ~net__negotiated_offloads(&r->net->vdev))
        return false;
    r->net->guest_offloads = bits;
    net__apply_offloads(r->net);
    return true;
}

static const struct {
    uint8_t class;
    uint8_t feature;
    bool (*serve)(struct request *r);
} classes[] = {
    {VIRTIO_NET_CTRL_RX, VIRTIO_NET_F_CTRL_RX, control_rx},
    {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_F_CTRL_MAC_ADDR, control_mac},
    {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_F_CTRL_VLAN, control_vlan},
    {OFFLOADS_CLASS, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, control_offloads},
};

static bool serve(struct net_device *net, const struct virtqueue_element *e)
{
    struct request r = {.net = net, .e = e};
    uint8_t class;

    if (!take(&r, &class, 1) || !take(&r, &r.command, 1))
        return false;
    for (unsigned i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (classes[i].class == class)
            return virtio_has_feature(&net->vdev, classes[i].feature) && classes[i].serve(&r);
    }
    return false;
}

void net__control(struct net_device *net, struct virtqueue *vq)
{
    struct virtqueue_element *e;

    while ((e = virtqueue_pop(vq, sizeof(*e)))) {
        uint8_t ack = serve(net, e) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
        virtqueue_push(e, (uint32_t)iov_write(e->in, e->in_n, 0, &ack, 1));
    }
    virtqueue_notify(vq);
}
