/*
 * The virtio devices through a driver's eyes: entropy, balloon, network; and one of them
 * with a driver on a thread of its own, as vCPUs are.
 */
#include "machine/virtio/balloon.h"
#include "machine/virtio/net.h"
#include "machine/virtio/rng.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_pci.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#define EVENT VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)

/* --- entropy ---------------------------------------------------------------------------------- */

START_TEST(rng_fills)
{
    struct guest g;
    struct driver d;
    struct piece p[2];

    guest_init(&g, false);
    struct virtio_env env = guest_env(&g);
    driver_attach(&d, &g, virtio_rng_new(&env), 1);
    driver_start(&d, EVENT, 1);
    p[0] = (struct piece){guest_alloc(&g, 64, false), 64, true};
    p[1] = (struct piece){guest_alloc(&g, MIB(1), true), MIB(1), true};
    ck_assert_uint_eq(driver_do(&d, 0, p, 1), 64);
    unsigned zeros = 0;
    for (unsigned i = 0; i < 64; i++)
        zeros += ((uint8_t *)guest_ptr(&g, p[0].gpa))[i] == 0;
    ck_assert_uint_lt(zeros, 16);
    /* More than it gives at once; and nothing to write to is no error. */
    ck_assert_uint_eq(driver_do(&d, 0, p, 2), KIB(16));
    p[0].write = false;
    ck_assert_uint_eq(driver_do(&d, 0, p, 1), 0);
    /* Many at once come over several turns. */
    for (unsigned i = 0; i < 60; i++)
        driver_add(&d, 0, &p[1], 1);
    driver_kick(&d, 0);
    for (unsigned i = 0; i < 60; i++)
        guest_wait(&g, driver_used(&d, 0, NULL, NULL));
    guest_save_and_load(&g);
    ck_assert_uint_eq(driver_do(&d, 0, &p[1], 1), KIB(16));
    driver_detach(&d);
    guest_fini(&g);
}
END_TEST

/* --- balloon ---------------------------------------------------------------------------------- */

static void keep_stats(void *opaque, const struct balloon_stats *stats)
{
    struct balloon_stats *out = opaque;

    if (stats)
        *out = *stats;
    else
        out->free = 1234567;
}

static uint64_t blocks(struct guest *g)
{
    struct stat st;

    ck_assert_int_eq(fstat(g->ram->fd, &st), 0);
    return (uint64_t)st.st_blocks;
}

START_TEST(balloon_inflates)
{
    struct guest g;
    struct driver d;

    guest_init(&g, false);
    struct virtio_env env = guest_env(&g);
    struct virtio_device *dev = virtio_balloon_new(&env);
    driver_attach(&d, &g, dev, 1);
    driver_start(&d, driver_offered(&d), 5);
    virtio_balloon_set_target(dev, MIB(1));
    ck_assert_uint_eq(guest_read(&g, d.config, 4), 256);
    ck_assert_uint_eq(guest_read(&g, d.isr, 1) & 2, 2);
    guest_write(&g, d.config + 4, 4, 100);
    ck_assert_uint_eq(virtio_balloon_actual(dev), 100 * 4096);
    ck_assert_uint_eq(virtio_balloon_target(dev), MIB(1));

    gpa_t data = guest_alloc(&g, MIB(1), true), list = guest_alloc(&g, 4096, false);
    memset(guest_ptr(&g, data), 0x55, MIB(1));
    mem_page_set(g.ram, (data - GUEST_RAM) / 4096, MEM_PAGE_CODE);
    uint32_t *pfns = guest_ptr(&g, list);
    uint64_t before = blocks(&g);
    for (unsigned i = 0; i < 256; i++)
        pfns[i] = (uint32_t)(data >> 12) + i;
    pfns[3] = 7;          /* nowhere */
    pfns[4] = UINT32_MAX; /* far away */
    pfns[5] = GUEST_ROM >> 12;
    struct piece p = {list, 1024, false};
    driver_do(&d, 0, &p, 1);
    ck_assert_uint_eq(virtio_balloon_reclaimed(dev), 253 * 4096);
    ck_assert_uint_lt(blocks(&g), before);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t want = i >= 3 && i <= 5 ? 0x55 : 0;
        ck_assert_uint_eq(*(uint8_t *)guest_ptr(&g, data + i * 4096), want);
    }
    ck_assert(mem_page_flags(g.ram, (data - GUEST_RAM) / 4096) & MEM_PAGE_DIRTY);
    driver_do(&d, 1, &p, 1);

    /* Free pages that are reported, on either queue number. */
    for (unsigned q = 3; q <= 4; q++) {
        memset(guest_ptr(&g, data), 0x55, MIB(1));
        struct piece r[] = {{data, 8192, true}, {data + 16384 + 1, 8190, true}};
        driver_do(&d, q, r, 2);
        ck_assert_uint_eq(*(uint8_t *)guest_ptr(&g, data + 4096), 0);
        ck_assert_uint_eq(*(uint8_t *)guest_ptr(&g, data + 8192), 0x55);
        ck_assert_uint_eq(*(uint8_t *)guest_ptr(&g, data + 20479), 0x55); /* not a whole page */
    }
    guest_save_and_load(&g);
    ck_assert_uint_eq(virtio_balloon_actual(dev), 100 * 4096);
    driver_detach(&d);
    guest_fini(&g);
}
END_TEST

START_TEST(balloon_statistics)
{
    struct guest g;
    struct driver d;
    struct balloon_stats stats = {0};

    guest_init(&g, false);
    struct virtio_env env = guest_env(&g);
    struct virtio_device *dev = virtio_balloon_new(&env);
    driver_attach(&d, &g, dev, 1);
    driver_start(&d, VIRTIO_FEATURE(VIRTIO_BALLOON_F_STATS_VQ), 3);
    ck_assert_int_eq(virtio_balloon_poll(dev, keep_stats, &stats), -EAGAIN);
    gpa_t at = guest_alloc(&g, 64, false);
    struct virtio_balloon_stat *rows = guest_ptr(&g, at);
    struct piece p = {at, 3 * sizeof(*rows), false};
    driver_add(&d, 2, &p, 1);
    driver_kick(&d, 2);
    guest_poll(&g);
    ck_assert(!driver_used(&d, 2, NULL, NULL)); /* the device keeps it */
    guest_save_and_load(&g);
    ck_assert_int_eq(virtio_balloon_poll(dev, keep_stats, &stats), 0);
    ck_assert_int_eq(virtio_balloon_poll(dev, keep_stats, &stats), -EBUSY);
    ck_assert(driver_used(&d, 2, NULL, NULL));
    rows[0] = (struct virtio_balloon_stat){VIRTIO_BALLOON_S_MEMFREE, 1000};
    rows[1] = (struct virtio_balloon_stat){VIRTIO_BALLOON_S_MEMTOT, 2000};
    rows[2] = (struct virtio_balloon_stat){999, 3000};
    driver_add(&d, 2, &p, 1);
    driver_kick(&d, 2);
    guest_wait(&g, stats.free);
    ck_assert_uint_eq(stats.free, 1000);
    ck_assert_uint_eq(stats.total, 2000);
    ck_assert_uint_eq(stats.swap_in, UINT64_MAX);
    /* A reset answers whoever waits. */
    ck_assert_int_eq(virtio_balloon_poll(dev, keep_stats, &stats), 0);
    driver_reset(&d);
    ck_assert_uint_eq(stats.free, 1234567);
    driver_detach(&d);
    guest_fini(&g);
}
END_TEST

static void count_call(void *opaque)
{
    ++*(unsigned *)opaque;
}

/* A guest that is asked now and then; what it said is kept until it is reset. */
START_TEST(balloon_asked)
{
    struct guest g;
    struct driver d;
    struct balloon_stats stats;
    uint64_t when = 0;
    unsigned changes = 0;

    guest_init(&g, false);
    struct virtio_env env = guest_env(&g);
    struct virtio_device *dev = virtio_balloon_new(&env);
    driver_attach(&d, &g, dev, 1);
    driver_start(&d, VIRTIO_FEATURE(VIRTIO_BALLOON_F_STATS_VQ), 3);
    virtio_balloon_watch(dev, count_call, &changes);
    guest_write(&g, d.config + 4, 4, 100);
    guest_wait(&g, changes == 1);
    gpa_t at = guest_alloc(&g, 64, false);
    struct virtio_balloon_stat *rows = guest_ptr(&g, at);
    struct piece p = {at, sizeof(*rows), false};
    driver_add(&d, 2, &p, 1);
    driver_kick(&d, 2);
    guest_poll(&g);
    ck_assert(!virtio_balloon_latest(dev, &stats, &when));
    virtio_balloon_ask_every(dev, 1);
    ck_assert_uint_eq(virtio_balloon_asked_every(dev), 1);
    guest_wait(&g, driver_used(&d, 2, NULL, NULL));
    rows[0] = (struct virtio_balloon_stat){VIRTIO_BALLOON_S_AVAIL, 5000};
    driver_add(&d, 2, &p, 1);
    driver_kick(&d, 2);
    guest_wait(&g, virtio_balloon_latest(dev, &stats, &when));
    ck_assert_uint_eq(stats.available, 5000);
    ck_assert_uint_eq(stats.total, UINT64_MAX);
    ck_assert_uint_gt(when, 1000000000);
    /* It is asked again. */
    guest_wait(&g, driver_used(&d, 2, NULL, NULL));
    virtio_balloon_ask_every(dev, 0);
    driver_reset(&d);
    ck_assert(!virtio_balloon_latest(dev, &stats, &when));
    ck_assert_uint_eq(changes, 2);
    driver_detach(&d);
    guest_fini(&g);
}
END_TEST

/* --- network ---------------------------------------------------------------------------------- */

/* A backend that keeps what it is sent. */
struct sink {
    struct net_backend base;
    bool full, freed;
    unsigned frames, ends, readies, offloads;
    struct virtio_net_hdr_v1 hdr;
    uint8_t frame[NET_FRAME_MAX];
    size_t length;
};

static bool sink_send(struct net_backend *b, const struct iovec *iov, unsigned n)
{
    struct sink *s = (struct sink *)b;

    if (s->full)
        return false;
    ck_assert_uint_eq(iov[0].iov_len, NET_HEADER);
    memcpy(&s->hdr, iov[0].iov_base, NET_HEADER);
    s->length = iov_read(iov + 1, n - 1, 0, s->frame, sizeof(s->frame));
    s->frames++;
    return true;
}

static void sink_end(struct net_backend *b)
{
    ((struct sink *)b)->ends++;
}

static void sink_ready(struct net_backend *b)
{
    ((struct sink *)b)->readies++;
}

static void sink_offloads(struct net_backend *b, unsigned offloads)
{
    ((struct sink *)b)->offloads = offloads;
}

static void sink_free(struct net_backend *b)
{
    ((struct sink *)b)->freed = true;
}

static const struct net_backend_ops sink_ops = {"sink",     sink_send,     sink_end,
                                                sink_ready, sink_offloads, sink_free};

static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

#define NET_FEATURES(bit) VIRTIO_FEATURE(VIRTIO_NET_F_##bit)

struct net_rig {
    struct guest g;
    struct driver d;
    struct virtio_device *dev;
    struct sink sink;
    gpa_t tx, rx, ctrl; /* 128 KiB, 128 KiB, 4 KiB */
};

static void net_init(struct net_rig *r, unsigned offloads)
{
    memset(&r->sink, 0, sizeof(r->sink));
    r->sink.base = (struct net_backend){
        .ops = &sink_ops, .tx_offloads = offloads, .rx_offloads = offloads, .mtu = 9000};
    guest_init(&r->g, false);
    struct virtio_env env = guest_env(&r->g);
    r->dev = virtio_net_new(&env, &r->sink.base, mac);
    driver_attach(&r->d, &r->g, r->dev, 1);
    r->tx = guest_alloc(&r->g, KIB(128), true);
    r->rx = guest_alloc(&r->g, KIB(128), true);
    r->ctrl = guest_alloc(&r->g, KIB(4), true);
}

static void net_fini(struct net_rig *r)
{
    driver_detach(&r->d);
    ck_assert(r->sink.freed);
    guest_fini(&r->g);
}

static const struct {
    const char *name;
    unsigned offloads;
    uint64_t there, not_there;
} offers[] = {
    {"none", 0,
     NET_FEATURES(MAC) | NET_FEATURES(STATUS) | NET_FEATURES(MRG_RXBUF) | NET_FEATURES(MTU),
     NET_FEATURES(CSUM) | NET_FEATURES(GUEST_CSUM) | NET_FEATURES(HOST_TSO4) |
         NET_FEATURES(GUEST_TSO4) | NET_FEATURES(CTRL_GUEST_OFFLOADS)},
    {"checksums", NET_CSUM, NET_FEATURES(CSUM) | NET_FEATURES(GUEST_CSUM),
     NET_FEATURES(HOST_TSO4) | NET_FEATURES(GUEST_TSO4)},
    {"all", NET_CSUM | NET_TSO4 | NET_TSO6,
     NET_FEATURES(HOST_TSO4) | NET_FEATURES(GUEST_TSO6) | NET_FEATURES(CTRL_GUEST_OFFLOADS),
     NET_FEATURES(HOST_ECN) | NET_FEATURES(MQ)},
};

START_TEST(net_offers)
{
    static struct net_rig r;

    net_init(&r, offers[_i].offloads);
    uint64_t got = driver_offered(&r.d);
    ck_assert_msg((got & offers[_i].there) == offers[_i].there, "%s", offers[_i].name);
    ck_assert_msg(!(got & offers[_i].not_there), "%s", offers[_i].name);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config, 4), 0x01005452);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 6, 2), 1);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 10, 2), 9000);
    ck_assert(!driver_negotiate(&r.d, NET_FEATURES(CTRL_RX))); /* needs the control queue */
    net_fini(&r);
}
END_TEST

static const struct {
    const char *name;
    uint64_t features;
    struct virtio_net_hdr_v1 given, passed;
} headers[] = {
    {"nothing", 0, {0}, {0}},
    {"checksum",
     NET_FEATURES(CSUM),
     {.flags = 1, .csum_start = 34, .csum_offset = 16},
     {.flags = 1, .csum_start = 34, .csum_offset = 16}},
    {"checksum not negotiated", 0, {.flags = 1, .csum_start = 34, .csum_offset = 16}, {0}},
    {"segments",
     NET_FEATURES(CSUM) | NET_FEATURES(HOST_TSO4),
     {.flags = 1, .gso_type = 1, .gso_size = 1448, .hdr_len = 66, .csum_start = 34},
     {.flags = 1, .gso_type = 1, .gso_size = 1448, .hdr_len = 66, .csum_start = 34}},
    {"segments not negotiated",
     NET_FEATURES(CSUM),
     {.flags = 1, .gso_type = 1, .gso_size = 1448, .csum_start = 34},
     {.flags = 1, .csum_start = 34}},
    {"segments of the other family",
     NET_FEATURES(CSUM) | NET_FEATURES(HOST_TSO4),
     {.flags = 1, .gso_type = 4, .gso_size = 1448},
     {.flags = 1}},
    {"segments without checksum",
     NET_FEATURES(CSUM) | NET_FEATURES(HOST_TSO4),
     {.gso_type = 1, .gso_size = 1448},
     {0}},
    {"ECN not negotiated",
     NET_FEATURES(CSUM) | NET_FEATURES(HOST_TSO4),
     {.flags = 1, .gso_type = 0x81, .gso_size = 1448},
     {.flags = 1, .gso_type = 1, .gso_size = 1448}},
    {"garbage",
     NET_FEATURES(CSUM) | NET_FEATURES(HOST_TSO4),
     {.flags = 0xfe, .gso_type = 0x7f, .num_buffers = 9},
     {0}},
};

START_TEST(net_headers)
{
    static struct net_rig r;

    net_init(&r, NET_CSUM | NET_TSO4 | NET_TSO6);
    driver_start(&r.d, headers[_i].features, 2);
    memcpy(guest_ptr(&r.g, r.tx), &headers[_i].given, NET_HEADER);
    struct piece p = {r.tx, NET_HEADER + 60, false};
    driver_do(&r.d, 1, &p, 1);
    ck_assert_uint_eq(r.sink.frames, 1);
    ck_assert_msg(memcmp(&r.sink.hdr, &headers[_i].passed, NET_HEADER) == 0, "%s",
                  headers[_i].name);
    net_fini(&r);
}
END_TEST

START_TEST(net_transmits)
{
    static struct net_rig r;
    struct piece p[63];
    struct virtio_net_counts counts;

    net_init(&r, 0);
    driver_start(&r.d, EVENT, 2);
    for (unsigned i = 0; i < KIB(64); i++)
        ((uint8_t *)guest_ptr(&r.g, r.tx))[i] = (uint8_t)(i % 251);
    /* However it is cut, header included, it comes out the same. */
    static const unsigned cuts[] = {1, 2, 3, 5, 63};
    for (unsigned k = 0; k < G_N_ELEMENTS(cuts); k++) {
        uint32_t total = 1512, each = total / cuts[k];
        for (unsigned i = 0; i < cuts[k]; i++)
            p[i] =
                (struct piece){r.tx + i * each, i + 1 == cuts[k] ? total - i * each : each, false};
        driver_do(&r.d, 1, p, cuts[k]);
        ck_assert_uint_eq(r.sink.length, 1500);
        ck_assert_mem_eq(r.sink.frame, guest_ptr(&r.g, r.tx + NET_HEADER), 1500);
    }
    ck_assert_uint_eq(r.sink.frames, 5);
    /* Too short, too long, without a cable: lost, and the buffer comes back. */
    static const uint32_t lengths[] = {0, 1, NET_HEADER, NET_HEADER + 13, 70000};
    for (unsigned k = 0; k < G_N_ELEMENTS(lengths); k++) {
        p[0] = (struct piece){r.tx, lengths[k], false};
        driver_do(&r.d, 1, p, 1);
    }
    virtio_net_set_link(r.dev, false);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 6, 2), 0);
    p[0].length = 100;
    driver_do(&r.d, 1, p, 1);
    virtio_net_set_link(r.dev, true);
    ck_assert_uint_eq(r.sink.frames, 5);
    virtio_net_counts(r.dev, &counts);
    ck_assert_uint_eq(counts.tx_frames, 5);
    ck_assert_uint_eq(counts.tx_bytes, 7500);
    ck_assert_uint_eq(counts.tx_dropped, 6);
    net_fini(&r);
}
END_TEST

/* A backend without room leaves frames in the ring, in order. */
START_TEST(net_waits_for_backend)
{
    static struct net_rig r;
    struct piece p;

    net_init(&r, 0);
    driver_start(&r.d, EVENT, 2);
    r.sink.full = true;
    for (unsigned i = 0; i < 10; i++) {
        p = (struct piece){r.tx + 100 * i, NET_HEADER + 60, false};
        memset(guest_ptr(&r.g, p.gpa + NET_HEADER), (int)i, 60);
        driver_add(&r.d, 1, &p, 1);
    }
    driver_kick(&r.d, 1);
    guest_poll(&r.g);
    ck_assert(!driver_used(&r.d, 1, NULL, NULL));
    guest_save_and_load(&r.g);
    r.sink.full = false;
    r.sink.base.peer->writable(r.sink.base.peer_opaque);
    for (unsigned i = 0; i < 10; i++)
        guest_wait(&r.g, driver_used(&r.d, 1, NULL, NULL));
    ck_assert_uint_eq(r.sink.frames, 10);
    ck_assert_uint_eq(r.sink.frame[0], 9);
    net_fini(&r);
}
END_TEST

/* Gives the guest a frame of N bytes for ADDRESS; whether it was taken. */
static bool deliver(struct net_rig *r, const uint8_t *address, size_t n)
{
    static uint8_t frame[NET_FRAME_MAX];
    struct virtio_net_hdr_v1 hdr = {.flags = VIRTIO_NET_HDR_F_DATA_VALID};

    memcpy(frame, address, 6);
    for (size_t i = 6; i < n; i++)
        frame[i] = (uint8_t)(i % 253);
    bool ok = r->sink.base.peer->receive(r->sink.base.peer_opaque, &hdr, frame, n);
    r->sink.base.peer->receive_end(r->sink.base.peer_opaque);
    return ok;
}

START_TEST(net_receives_merged)
{
    static struct net_rig r;
    struct piece p;
    uint32_t length, total = 0;
    unsigned used = 0;

    net_init(&r, 0);
    driver_start(&r.d, EVENT | NET_FEATURES(MRG_RXBUF), 2);
    guest_poll(&r.g);
    for (unsigned i = 0; i < 10; i++) {
        p = (struct piece){r.rx + 1000 * i, 1000, true};
        driver_add(&r.d, 0, &p, 1);
    }
    ck_assert(deliver(&r, mac, 5000));
    while (driver_used(&r.d, 0, NULL, &length)) {
        total += length;
        used++;
    }
    ck_assert_uint_eq(used, 6);
    ck_assert_uint_eq(total, 5012);
    const struct virtio_net_hdr_v1 *hdr = guest_ptr(&r.g, r.rx);
    ck_assert_uint_eq(hdr->num_buffers, 6);
    ck_assert_uint_eq(hdr->flags, VIRTIO_NET_HDR_F_DATA_VALID);
    for (size_t i = 6; i < 5000; i++)
        ck_assert_uint_eq(*(uint8_t *)guest_ptr(&r.g, r.rx + NET_HEADER + i), i % 253);
    /* Four are left: not enough for the next, which waits; nothing is used meanwhile. */
    ck_assert(!deliver(&r, mac, 5000));
    ck_assert(!driver_used(&r.d, 0, NULL, NULL));
    guest_save_and_load(&r.g);
    ck_assert(!deliver(&r, mac, 5000));
    unsigned readies = r.sink.readies;
    for (unsigned i = 0; i < 4; i++)
        driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0);
    guest_wait(&r.g, r.sink.readies > readies);
    ck_assert(deliver(&r, mac, 5000));
    net_fini(&r);
}
END_TEST

START_TEST(net_receives_single)
{
    static struct net_rig r;
    struct piece p = {0, 1514 + NET_HEADER, true};
    struct virtio_net_counts counts;
    uint32_t length;

    net_init(&r, 0);
    driver_start(&r.d, 0, 2);
    guest_poll(&r.g);
    p.gpa = r.rx;
    ck_assert(!deliver(&r, mac, 60)); /* no buffer: it waits */
    driver_add(&r.d, 0, &p, 1);
    ck_assert(deliver(&r, mac, 1515)); /* no buffer of that driver will hold it: lost */
    ck_assert(!driver_used(&r.d, 0, NULL, NULL));
    ck_assert(deliver(&r, mac, 1514));
    ck_assert(driver_used(&r.d, 0, NULL, &length));
    ck_assert_uint_eq(length, 1526);
    ck_assert_uint_eq(((struct virtio_net_hdr_v1 *)guest_ptr(&r.g, r.rx))->num_buffers, 1);
    driver_reset(&r.d);
    ck_assert(deliver(&r, mac, 60)); /* no driver: lost */
    virtio_net_counts(r.dev, &counts);
    ck_assert_uint_eq(counts.rx_frames, 1);
    ck_assert_uint_eq(counts.rx_dropped, 2);
    net_fini(&r);
}
END_TEST

/* --- the control queue ------------------------------------------------------------------------ */

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t other[6] = {0x52, 0x54, 0, 9, 9, 9}, group[6] = {1, 0, 0x5e, 0, 0, 1};

/* Sends a command; whether it was taken. */
static bool control(struct net_rig *r, uint8_t class, uint8_t command, const void *data, size_t n)
{
    uint8_t *at = guest_ptr(&r->g, r->ctrl);
    struct piece p[] = {
        {r->ctrl, 2, false}, {r->ctrl + 2, (uint32_t)n, false}, {r->ctrl + 4000, 1, true}};

    at[0] = class;
    at[1] = command;
    if (n)
        memcpy(at + 2, data, n);
    at[4000] = 77;
    ck_assert_uint_eq(driver_do(&r->d, 2, p, 3), 1);
    ck_assert(at[4000] == VIRTIO_NET_OK || at[4000] == VIRTIO_NET_ERR);
    return at[4000] == VIRTIO_NET_OK;
}

static bool passes(struct net_rig *r, const uint8_t *address)
{
    struct virtio_net_counts before, after;

    virtio_net_counts(r->dev, &before);
    deliver(r, address, 60);
    virtio_net_counts(r->dev, &after);
    return after.rx_dropped == before.rx_dropped;
}

static bool flag(struct net_rig *r, uint8_t command, uint8_t on)
{
    return control(r, VIRTIO_NET_CTRL_RX, command, &on, 1);
}

#define CONTROL_FEATURES                                                                           \
    (NET_FEATURES(CTRL_VQ) | NET_FEATURES(CTRL_RX) | NET_FEATURES(CTRL_VLAN) |                     \
     NET_FEATURES(CTRL_MAC_ADDR))

START_TEST(net_filters)
{
    static struct net_rig r;
    uint8_t table[4 + 6 + 4 + 6] = {1};

    net_init(&r, 0);
    driver_start(&r.d, CONTROL_FEATURES, 3);
    guest_poll(&r.g);
    ck_assert(passes(&r, other)); /* as a driver finds it: all pass */
    ck_assert(flag(&r, VIRTIO_NET_CTRL_RX_PROMISC, 0));
    ck_assert(passes(&r, mac) && passes(&r, broadcast));
    ck_assert(!passes(&r, other) && !passes(&r, group));
    ck_assert(flag(&r, VIRTIO_NET_CTRL_RX_ALLMULTI, 1));
    ck_assert(passes(&r, group) && !passes(&r, other));
    ck_assert(flag(&r, VIRTIO_NET_CTRL_RX_ALLMULTI, 0));
    memcpy(table + 4, other, 6);
    table[10] = 1;
    memcpy(table + 14, group, 6);
    ck_assert(control(&r, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 20));
    ck_assert(passes(&r, group) && passes(&r, other));
    guest_save_and_load(&r.g);
    ck_assert(passes(&r, group) && passes(&r, other));
    ck_assert(flag(&r, VIRTIO_NET_CTRL_RX_NOUNI, 1) && flag(&r, VIRTIO_NET_CTRL_RX_NOBCAST, 1) &&
              flag(&r, VIRTIO_NET_CTRL_RX_NOMULTI, 1));
    ck_assert(!passes(&r, mac) && !passes(&r, broadcast) && !passes(&r, group));
    driver_start(&r.d, CONTROL_FEATURES, 3);
    guest_poll(&r.g);
    ck_assert(passes(&r, group) && passes(&r, broadcast)); /* a reset forgets all that */
    ck_assert(control(&r, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6));
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 4, 2), 0x0909);
    net_fini(&r);
}
END_TEST

START_TEST(net_vlans)
{
    static struct net_rig r;
    uint8_t frame[60] = {0x52, 0x54, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0x81, 0, 0x20, 42};
    struct virtio_net_hdr_v1 hdr = {0};
    struct virtio_net_counts counts;
    uint16_t id = 42;

    net_init(&r, 0);
    driver_start(&r.d, CONTROL_FEATURES, 3);
    guest_poll(&r.g);
    ck_assert(r.sink.base.peer->receive(r.sink.base.peer_opaque, &hdr, frame, 60));
    virtio_net_counts(r.dev, &counts);
    ck_assert_uint_eq(counts.rx_dropped, 1);
    ck_assert(control(&r, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &id, 2));
    ck_assert(!r.sink.base.peer->receive(r.sink.base.peer_opaque, &hdr, frame, 60));
    ck_assert(control(&r, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, &id, 2));
    ck_assert(r.sink.base.peer->receive(r.sink.base.peer_opaque, &hdr, frame, 60));
    net_fini(&r);
}
END_TEST

static const struct {
    const char *name;
    uint8_t class, command, length;
    uint8_t data[24];
} bad_commands[] = {
    {"class", 77, 0, 1, {0}},
    {"rx command", VIRTIO_NET_CTRL_RX, 6, 1, {0}},
    {"rx without data", VIRTIO_NET_CTRL_RX, 0, 0, {0}},
    {"mac command", VIRTIO_NET_CTRL_MAC, 2, 6, {0}},
    {"mac too short", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 5, {0}},
    {"table cut", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 9, {1}},
    {"second table missing", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 10, {1}},
    {"table huge", VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 24, {255, 255, 255, 255}},
    {"vlan too high", VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 2, {0, 16}},
    {"vlan command", VIRTIO_NET_CTRL_VLAN, 2, 2, {1, 0}},
    {"offloads not negotiated", 5, 0, 8, {0}},
    {"multiqueue", VIRTIO_NET_CTRL_MQ, 0, 2, {1, 0}},
};

START_TEST(net_bad_commands)
{
    static struct net_rig r;

    net_init(&r, 0);
    driver_start(&r.d, CONTROL_FEATURES, 3);
    ck_assert_msg(!control(&r, bad_commands[_i].class, bad_commands[_i].command,
                           bad_commands[_i].data, bad_commands[_i].length),
                  "%s", bad_commands[_i].name);
    ck_assert_ptr_null(r.dev->error);
    net_fini(&r);
}
END_TEST

/* More addresses than are kept: all of that kind pass. */
START_TEST(net_table_overflows)
{
    static struct net_rig r;
    uint8_t table[4 + 65 * 6 + 4] = {65};

    net_init(&r, 0);
    driver_start(&r.d, CONTROL_FEATURES, 3);
    guest_poll(&r.g);
    ck_assert(flag(&r, VIRTIO_NET_CTRL_RX_PROMISC, 0));
    ck_assert(
        control(&r, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)));
    ck_assert(passes(&r, other) && !passes(&r, group));
    net_fini(&r);
}
END_TEST

START_TEST(net_offloads_told)
{
    static struct net_rig r;
    uint64_t bits = NET_FEATURES(GUEST_CSUM);

    net_init(&r, NET_CSUM | NET_TSO4 | NET_TSO6);
    driver_start(&r.d,
                 NET_FEATURES(GUEST_CSUM) | NET_FEATURES(GUEST_TSO4) | NET_FEATURES(CTRL_VQ) |
                     NET_FEATURES(CTRL_GUEST_OFFLOADS),
                 3);
    guest_wait(&r.g, r.sink.offloads == (NET_CSUM | NET_TSO4));
    ck_assert(control(&r, 5, 0, &bits, 8));
    ck_assert_uint_eq(r.sink.offloads, NET_CSUM);
    guest_save_and_load(&r.g);
    ck_assert_uint_eq(r.sink.offloads, NET_CSUM);
    bits = NET_FEATURES(GUEST_TSO6);
    ck_assert(!control(&r, 5, 0, &bits, 8));
    driver_reset(&r.d);
    ck_assert_uint_eq(r.sink.offloads, 0);
    net_fini(&r);
}
END_TEST

/* --- user networking behind a device ---------------------------------------------------------- */

START_TEST(net_user_answers)
{
    struct guest g;
    struct driver d;
    const struct net_user_config config = {0};
    static const uint8_t arp[60] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2,  3, 8, 6, 0, 1, 8, 0,  6, 4, 0,
        1,    0x52, 0x54, 0,    1,    2,    3,    10,   0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2};
    uint32_t length;

    signal(SIGPIPE, SIG_IGN);
    guest_init(&g, false);
    struct virtio_env env = guest_env(&g);
    struct net_backend *b = net_user_new(&g.loop, &config, NULL);
    ck_assert_ptr_nonnull(b);
    driver_attach(&d, &g, virtio_net_new(&env, b, mac), 1);
    driver_start(&d, EVENT | NET_FEATURES(MRG_RXBUF) | NET_FEATURES(MTU), 2);
    gpa_t tx = guest_alloc(&g, 128, false), rx = guest_alloc(&g, 2048, false);
    memcpy(guest_ptr(&g, tx + NET_HEADER), arp, sizeof(arp));
    struct piece out = {tx, NET_HEADER + sizeof(arp), false}, in = {rx, 2048, true};
    driver_add(&d, 0, &in, 1);
    driver_do(&d, 1, &out, 1);
    guest_wait(&g, driver_used(&d, 0, NULL, &length));
    const uint8_t *reply = guest_ptr(&g, rx + NET_HEADER);
    ck_assert_uint_ge(length, NET_HEADER + 42);
    ck_assert_mem_eq(reply, mac, 6);
    ck_assert_uint_eq(reply[21], 2);
    driver_detach(&d);
    guest_fini(&g);
}
END_TEST

/* --- a driver on a thread --------------------------------------------------------------------- */

/* What a vCPU does while the loop runs elsewhere: no call of the driver's waits by the loop. */
static void *driver_thread(void *opaque)
{
    struct driver *d = opaque;
    struct piece p = {GUEST_RAM + MIB(1), 16, true};

    for (unsigned round = 0; round < 20; round++) {
        guest_write(d->g, d->common + VIRTIO_PCI_COMMON_STATUS, 1, 0);
        while (guest_read(d->g, d->common + VIRTIO_PCI_COMMON_STATUS, 1))
            sched_yield();
        driver_start(d, round & 1 ? EVENT : 0, 1);
        for (unsigned i = 0; i < 50; i++) {
            driver_add(d, 0, &p, 1);
            driver_kick(d, 0);
            while (!driver_used(d, 0, NULL, NULL))
                sched_yield();
            guest_read(d->g, d->isr, 1);
        }
        guest_config_write(d->g, d->slot, 0x10, 4, (uint32_t)(GUEST_WINDOW + MIB(32)));
        guest_config_write(d->g, d->slot, 0x10, 4, (uint32_t)(d->common & ~0x3fffull));
    }
    return NULL;
}

static void stop_loop(uv_async_t *async)
{
    uv_stop(async->loop);
}

struct thread_run {
    struct driver *d;
    uv_async_t done;
};

static void *run_and_tell(void *opaque)
{
    struct thread_run *run = opaque;

    driver_thread(run->d);
    uv_async_send(&run->done);
    return NULL;
}

START_TEST(driver_on_a_thread)
{
    struct guest g;
    struct driver d;
    pthread_t thread;

    guest_init(&g, false);
    struct virtio_env env = guest_env(&g);
    driver_attach(&d, &g, virtio_rng_new(&env), 1);
    struct thread_run run = {.d = &d};
    uv_async_init(&g.loop, &run.done, stop_loop);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_and_tell, &run), 0);
    uv_run(&g.loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    uv_close((uv_handle_t *)&run.done, NULL);
    driver_detach(&d);
    guest_fini(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio-devices");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, rng_fills);
    tcase_add_test(tc, balloon_inflates);
    tcase_add_test(tc, balloon_statistics);
    tcase_add_test(tc, balloon_asked);
    tcase_add_loop_test(tc, net_offers, 0, G_N_ELEMENTS(offers));
    tcase_add_loop_test(tc, net_headers, 0, G_N_ELEMENTS(headers));
    tcase_add_test(tc, net_transmits);
    tcase_add_test(tc, net_waits_for_backend);
    tcase_add_test(tc, net_receives_merged);
    tcase_add_test(tc, net_receives_single);
    tcase_add_test(tc, net_filters);
    tcase_add_test(tc, net_vlans);
    tcase_add_loop_test(tc, net_bad_commands, 0, G_N_ELEMENTS(bad_commands));
    tcase_add_test(tc, net_table_overflows);
    tcase_add_test(tc, net_offloads_told);
    tcase_add_test(tc, net_user_answers);
    tcase_add_test(tc, driver_on_a_thread);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
