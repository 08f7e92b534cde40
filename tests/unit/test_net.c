/*
 * Network backends: port-forward rules, checksums, and user networking through the loop against
 * servers on this host's loopback address. The guest here is a few functions that write frames.
 */
#include "machine/net/net.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <signal.h>

#define GUEST_IP   0x0a00020fu
#define GATEWAY_IP 0x0a000202u

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t gateway_mac[6] = {0x52, 0x55, 10, 0, 2, 2};

/* --- port-forward rules ----------------------------------------------------------------------- */

static const struct {
    const char *text, *formatted; /* NULL: refused */
    const char *why;
} rules[] = {
    {"tcp:2222:22", "tcp:127.0.0.1:2222-:22", NULL},
    {"udp:53:5353", "udp:127.0.0.1:53-:5353", NULL},
    {"tcp::2222-:22", "tcp::2222-:22", NULL},
    {"tcp:127.0.0.1:80-10.0.2.15:8080", "tcp:127.0.0.1:80-10.0.2.15:8080", NULL},
    {"udp:192.168.1.1:65535-:1", "udp:192.168.1.1:65535-:1", NULL},
    {"tcp:[::1]:80-[fec0::15]:8080", "tcp:[::1]:80-[fec0::15]:8080", NULL},
    {"tcp::80-[fec0::15]:8080", "tcp:[::]:80-[fec0::15]:8080", NULL},
    {"", NULL, "neither tcp: nor udp:"},
    {"tcp", NULL, "neither tcp: nor udp:"},
    {"sctp:1:2", NULL, "neither tcp: nor udp:"},
    {"tcp:", NULL, "no pair of ports"},
    {"tcp:80", NULL, "no pair of ports"},
    {"tcp:0:80", NULL, "no pair of ports"},
    {"tcp:80:0", NULL, "no pair of ports"},
    {"tcp:65536:80", NULL, "no pair of ports"},
    {"tcp:80:80x", NULL, "no pair of ports"},
    {"tcp:80:80:80", NULL, "no pair of ports"},
    {"tcp: 80:80", NULL, "no pair of ports"},
    {"tcp:0000000080:80", NULL, "no pair of ports"},
    {"tcp:host:80-:80", NULL, "the host's address is wrong"},
    {"tcp:1.2.3:80-:80", NULL, "the host's address is wrong"},
    {"tcp::-:80", NULL, "the host's port is wrong"},
    {"tcp::80-80", NULL, "the guest's address is wrong"},
    {"tcp::80-:", NULL, "the guest's port is wrong"},
    {"tcp::80-:80-", NULL, "the guest's port is wrong"},
    {"tcp:[::1:80-:80", NULL, "the host's address is wrong"},
    {"tcp:[::1]80-:80", NULL, "the host's address is wrong"},
    {"tcp:[::1]:80-:80", NULL, "the guest's address is missing"},
    {"tcp:[::1]:80-10.0.2.15:80", NULL, "different families"},
};

START_TEST(rule_rows)
{
    struct net_hostfwd rule;
    g_autoptr(GError) err = NULL;
    bool ok = net_hostfwd_parse(rules[_i].text, &rule, &err);

    ck_assert_msg(ok == (rules[_i].formatted != NULL), "'%s': %s", rules[_i].text,
                  err ? err->message : "taken");
    if (ok) {
        g_autofree char *text = net_hostfwd_format(&rule);
        ck_assert_str_eq(text, rules[_i].formatted);
    } else {
        ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
        ck_assert_msg(strstr(err->message, rules[_i].why), "'%s': %s", rules[_i].text,
                      err->message);
    }
}
END_TEST

/* --- writing frames --------------------------------------------------------------------------- */

/* The ones' complement sum of big-endian words, carried on from START. */
static uint32_t sum16(uint32_t start, const void *data, size_t n)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < n; i++)
        start += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    return start;
}

static uint16_t fold16(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* A frame as it grows. */
struct frame {
    uint8_t pad[2] __attribute__((aligned(8))); /* what follows the Ethernet header is aligned */
    uint8_t data[NET_FRAME_MAX];
    size_t n;
    struct virtio_net_hdr_v1 hdr;
};

static void add(struct frame *f, const void *data, size_t n)
{
    ck_assert_uint_le(f->n + n, sizeof(f->data));
    if (n)
        memcpy(f->data + f->n, data, n);
    f->n += n;
}

static void add_eth(struct frame *f, const uint8_t *to, uint16_t type)
{
    struct ether_header eth = {.ether_type = htons(type)};

    f->n = 0;
    f->hdr = (struct virtio_net_hdr_v1){0};
    memcpy(eth.ether_dhost, to, 6);
    memcpy(eth.ether_shost, guest_mac, 6);
    add(f, &eth, sizeof(eth));
}

static void add_ip(struct frame *f, uint32_t from, uint32_t to, uint8_t protocol, size_t payload)
{
    struct iphdr ip = {.version = 4,
                       .ihl = 5,
                       .tot_len = htons((uint16_t)(20 + payload)),
                       .ttl = 64,
                       .protocol = protocol,
                       .saddr = htonl(from),
                       .daddr = htonl(to)};

    ip.check = htons((uint16_t)~fold16(sum16(0, &ip, sizeof(ip))));
    add(f, &ip, sizeof(ip));
}

/* The sum of a pseudo header for PAYLOAD bytes. */
static uint32_t pseudo(uint32_t from, uint32_t to, uint8_t protocol, size_t payload)
{
    uint32_t addresses[2] = {htonl(from), htonl(to)};

    return sum16(protocol + (uint32_t)payload, addresses, sizeof(addresses));
}

static void make_udp(struct frame *f, uint32_t from, uint16_t from_port, uint32_t to,
                     uint16_t to_port, const void *data, size_t n)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct udphdr udp = {.uh_sport = htons(from_port),
                         .uh_dport = htons(to_port),
                         .uh_ulen = htons((uint16_t)(8 + n))};

    add_eth(f, to == UINT32_MAX ? broadcast : gateway_mac, ETHERTYPE_IP);
    add_ip(f, from, to, IPPROTO_UDP, 8 + n);
    add(f, &udp, sizeof(udp));
    add(f, data, n);
}

struct tcp_end {
    uint16_t port, peer_port;
    uint32_t peer_ip, seq, ack;
};

/* A segment with the checksum left to the interface. */
static void make_tcp(struct frame *f, const struct tcp_end *t, uint8_t flags, const void *data,
                     size_t n)
{
    struct tcphdr tcp = {.th_sport = htons(t->port),
                         .th_dport = htons(t->peer_port),
                         .th_seq = htonl(t->seq),
                         .th_ack = htonl(t->ack),
                         .th_off = 5,
                         .th_flags = flags,
                         .th_win = htons(65535)};

    add_eth(f, gateway_mac, ETHERTYPE_IP);
    add_ip(f, GUEST_IP, t->peer_ip, IPPROTO_TCP, sizeof(tcp) + n);
    tcp.th_sum = htons(fold16(pseudo(GUEST_IP, t->peer_ip, IPPROTO_TCP, sizeof(tcp) + n)));
    f->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    f->hdr.csum_start = GUINT16_TO_LE((uint16_t)f->n);
    f->hdr.csum_offset = GUINT16_TO_LE(offsetof(struct tcphdr, th_sum));
    add(f, &tcp, sizeof(tcp));
    add(f, data, n);
}

/* --- checksums -------------------------------------------------------------------------------- */

START_TEST(checksum_completed)
{
    struct tcp_end t = {1, 2, GATEWAY_IP, 3, 4};
    g_autofree struct frame *f = g_new0(struct frame, 1);
    g_autofree uint8_t *data = g_malloc(40000);

    for (unsigned i = 0; i < 40000; i++)
        data[i] = (uint8_t)(i * 7);
    static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 1459, 1460, 39999};
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        make_tcp(f, &t, TH_ACK, data, sizes[i]);
        ck_assert(net_complete_checksum(&f->hdr, f->data, f->n));
        uint32_t sum = pseudo(GUEST_IP, GATEWAY_IP, IPPROTO_TCP, 20 + sizes[i]);
        ck_assert_msg(fold16(sum16(sum, f->data + 34, f->n - 34)) == 0xffff, "%zu bytes", sizes[i]);
    }
}
END_TEST

static const struct {
    const char *name;
    uint16_t start, offset;
    size_t length;
    bool ok;
} bad_checksums[] = {
    {"good", 34, 16, 60, true},
    {"field is the last", 34, 24, 60, true},
    {"field beyond the end", 34, 25, 60, false},
    {"start beyond the end", 60, 0, 60, false},
    {"start in the Ethernet header", 13, 16, 60, false},
    {"both huge", 65535, 65535, 60, false},
    {"offset huge", 34, 65535, 60, false},
};

START_TEST(checksum_rows)
{
    uint8_t frame[62] = {0};
    struct virtio_net_hdr_v1 hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .csum_start = GUINT16_TO_LE(bad_checksums[_i].start),
                                    .csum_offset = GUINT16_TO_LE(bad_checksums[_i].offset)};

    frame[60] = frame[61] = 0xaa;
    ck_assert_msg(net_complete_checksum(&hdr, frame, bad_checksums[_i].length) ==
                      bad_checksums[_i].ok,
                  "%s", bad_checksums[_i].name);
    ck_assert(frame[60] == 0xaa && frame[61] == 0xaa);
}
END_TEST

/* --- the guest's end of the wire -------------------------------------------------------------- */

struct wire {
    uv_loop_t loop;
    struct net_backend *b;
    GQueue frames; /* of GBytes: what came */
    bool full;     /* take no more */
    unsigned flags_seen;
    struct frame f;
};

static bool wire_receive(void *opaque, const struct virtio_net_hdr_v1 *hdr, const void *frame,
                         size_t length)
{
    struct wire *w = opaque;

    if (w->full)
        return false;
    w->flags_seen |= hdr->flags;
    g_queue_push_tail(&w->frames, g_bytes_new(frame, length));
    return true;
}

static void wire_nothing(void *opaque)
{
}

static const struct net_peer_ops wire_ops = {wire_receive, wire_nothing, wire_nothing};

static void send_frame(struct wire *w)
{
    struct iovec iov[4] = {{&w->f.hdr, NET_HEADER}};

    /* In pieces that no header ends with. */
    iov[1] = (struct iovec){w->f.data, MIN(w->f.n, 20)};
    iov[2] = (struct iovec){w->f.data + iov[1].iov_len, w->f.n - iov[1].iov_len};
    ck_assert(net_send(w->b, iov, 3));
    net_send_end(w->b);
}

/* The next frame that MATCH wants, into w->f; others are dropped. */
static void await(struct wire *w, bool (*match)(const struct frame *f))
{
    for (;;) {
        GBytes *bytes = g_queue_pop_head(&w->frames);
        if (!bytes) {
            uv_run(&w->loop, UV_RUN_ONCE);
            continue;
        }
        w->f.n = g_bytes_get_size(bytes);
        memcpy(w->f.data, g_bytes_get_data(bytes, NULL), w->f.n);
        g_bytes_unref(bytes);
        if (match(&w->f))
            return;
    }
}

static const void *payload(const struct frame *f, size_t at)
{
    ck_assert_uint_le(at, f->n);
    return f->data + at;
}

static bool is_arp(const struct frame *f)
{
    return f->data[12] == 8 && f->data[13] == 6;
}

static bool is_ip(const struct frame *f, uint8_t protocol)
{
    return f->data[12] == 8 && f->data[13] == 0 && f->n > 34 && f->data[23] == protocol;
}

static bool is_udp(const struct frame *f)
{
    return is_ip(f, IPPROTO_UDP);
}

static bool is_icmp(const struct frame *f)
{
    return is_ip(f, IPPROTO_ICMP);
}

static bool is_tcp(const struct frame *f)
{
    return is_ip(f, IPPROTO_TCP);
}

static void wire_init(struct wire *w)
{
    g_autoptr(GError) err = NULL;
    const struct net_user_config config = {.hostname = "guest"};

    signal(SIGPIPE, SIG_IGN);
    memset(w, 0, sizeof(*w));
    ck_assert_int_eq(uv_loop_init(&w->loop), 0);
    g_queue_init(&w->frames);
    w->b = net_user_new(&w->loop, &config, &err);
    ck_assert_msg(w->b != NULL, "%s", err ? err->message : "");
    net_attach(w->b, &wire_ops, w);
}

static void wire_fini(struct wire *w)
{
    net_free(w->b);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&w->loop), 0);
    g_queue_clear_full(&w->frames, (GDestroyNotify)g_bytes_unref);
}

/* Asks who the gateway is, which also tells it who we are. */
static void do_arp(struct wire *w)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct ether_arp arp = {
        .ea_hdr = {htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), 6, 4, htons(ARPOP_REQUEST)}};
    uint32_t from = htonl(GUEST_IP), to = htonl(GATEWAY_IP);

    memcpy(arp.arp_sha, guest_mac, 6);
    memcpy(arp.arp_spa, &from, 4);
    memcpy(arp.arp_tpa, &to, 4);
    add_eth(&w->f, broadcast, ETHERTYPE_ARP);
    add(&w->f, &arp, sizeof(arp));
    send_frame(w);
    await(w, is_arp);
    const struct ether_arp *reply = payload(&w->f, 14);
    ck_assert_uint_eq(ntohs(reply->ea_hdr.ar_op), ARPOP_REPLY);
    ck_assert_mem_eq(reply->arp_sha, gateway_mac, 6);
}

START_TEST(arp_and_ping)
{
    static struct wire w;
    struct icmphdr icmp = {.type = ICMP_ECHO};

    wire_init(&w);
    do_arp(&w);
    add_eth(&w.f, gateway_mac, ETHERTYPE_IP);
    add_ip(&w.f, GUEST_IP, GATEWAY_IP, IPPROTO_ICMP, sizeof(icmp));
    icmp.un.echo.id = 7;
    icmp.checksum = htons((uint16_t)~fold16(sum16(0, &icmp, sizeof(icmp))));
    add(&w.f, &icmp, sizeof(icmp));
    send_frame(&w);
    await(&w, is_icmp);
    const struct icmphdr *reply = payload(&w.f, 34);
    ck_assert_uint_eq(reply->type, ICMP_ECHOREPLY);
    ck_assert_uint_eq(reply->un.echo.id, 7);
    wire_fini(&w);
}
END_TEST

/* --- DHCP ------------------------------------------------------------------------------------- */

/* Sends a DHCP message of TYPE; the answer's options come back after its fixed part. */
static const uint8_t *dhcp(struct wire *w, uint8_t type, uint32_t *yours)
{
    uint8_t m[300] = {1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef};
    const uint8_t options[] = {99, 130, 83, 99, 53, 1, type, 50, 4, 10, 0, 2, 15, 255};

    memcpy(m + 28, guest_mac, 6);
    memcpy(m + 236, options, sizeof(options));
    make_udp(&w->f, 0, 68, UINT32_MAX, 67, m, sizeof(m));
    send_frame(w);
    await(w, is_udp);
    const uint8_t *reply = payload(&w->f, 42);
    ck_assert_uint_eq(reply[0], 2);
    memcpy(yours, reply + 16, 4);
    *yours = ntohl(*yours);
    return reply + 240;
}

static uint32_t dhcp_option(const struct wire *w, const uint8_t *at, uint8_t code)
{
    uint32_t v = 0;

    while (at < w->f.data + w->f.n && *at != 255) {
        if (*at == code) {
            memcpy(&v, at + 2, 4);
            return ntohl(v);
        }
        at += *at ? 2 + at[1] : 1;
    }
    return v;
}

START_TEST(dhcp_lease)
{
    static struct wire w;
    uint32_t yours;

    wire_init(&w);
    const uint8_t *offer = dhcp(&w, 1, &yours);
    ck_assert_uint_eq(dhcp_option(&w, offer, 53) >> 24, 2);
    ck_assert_uint_eq(yours, GUEST_IP);
    const uint8_t *ack = dhcp(&w, 3, &yours);
    ck_assert_uint_eq(dhcp_option(&w, ack, 53) >> 24, 5);
    ck_assert_uint_eq(yours, GUEST_IP);
    ck_assert_uint_eq(dhcp_option(&w, ack, 1), 0xffffff00);
    ck_assert_uint_eq(dhcp_option(&w, ack, 3), GATEWAY_IP);
    ck_assert_uint_eq(dhcp_option(&w, ack, 6), 0x0a000203);
    wire_fini(&w);
}
END_TEST

/* --- IPv6 ------------------------------------------------------------------------------------- */

static bool is_advertisement(const struct frame *f)
{
    return f->data[12] == 0x86 && f->data[13] == 0xdd && f->n > 70 &&
           f->data[20] == IPPROTO_ICMPV6 && f->data[54] == ND_ROUTER_ADVERT;
}

START_TEST(router_advertised)
{
    static struct wire w;
    static const uint8_t all_routers[6] = {0x33, 0x33, 0, 0, 0, 2};
    struct ip6_hdr ip = {.ip6_flow = htonl(6u << 28), .ip6_plen = htons(16)};
    uint8_t rs[16] = {ND_ROUTER_SOLICIT, 0, 0, 0, 0, 0, 0, 0, 1, 1};

    wire_init(&w);
    ip.ip6_nxt = IPPROTO_ICMPV6;
    ip.ip6_hlim = 255;
    inet_pton(AF_INET6, "fe80::5054:ff:fe12:3456", &ip.ip6_src);
    inet_pton(AF_INET6, "ff02::2", &ip.ip6_dst);
    memcpy(rs + 10, guest_mac, 6);
    uint32_t sum = sum16(IPPROTO_ICMPV6 + 16, &ip.ip6_src, 32);
    uint16_t check = htons((uint16_t)~fold16(sum16(sum, rs, sizeof(rs))));
    memcpy(rs + 2, &check, 2);
    add_eth(&w.f, all_routers, ETHERTYPE_IPV6);
    add(&w.f, &ip, sizeof(ip));
    add(&w.f, rs, sizeof(rs));
    send_frame(&w);
    await(&w, is_advertisement);
    bool found = false;
    for (size_t at = 54 + 16; at + 32 <= w.f.n; at += 8u * w.f.data[at + 1]) {
        ck_assert_uint_ne(w.f.data[at + 1], 0);
        found |= w.f.data[at] == ND_OPT_PREFIX_INFORMATION && w.f.data[at + 16] == 0xfe &&
                 w.f.data[at + 17] == 0xc0;
    }
    ck_assert(found);
    wire_fini(&w);
}
END_TEST

/* --- UDP and TCP to a server on the host ------------------------------------------------------ */

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char room[65536];

    *buf = uv_buf_init(room, sizeof(room));
}

static void udp_echo(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                     unsigned flags)
{
    uv_buf_t answer = uv_buf_init(buf->base, (unsigned)n);

    if (n > 0)
        ck_assert_int_eq(uv_udp_try_send(udp, &answer, 1, from), n);
}

static uint16_t bound_port(const struct sockaddr_in *a)
{
    return ntohs(a->sin_port);
}

START_TEST(udp_round_trip)
{
    static struct wire w;
    uv_udp_t server;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int length = sizeof(any);
    g_autofree uint8_t *big = g_malloc0(9000);

    wire_init(&w);
    do_arp(&w);
    uv_udp_init(&w.loop, &server);
    ck_assert_int_eq(uv_udp_bind(&server, (struct sockaddr *)&any, 0), 0);
    uv_udp_getsockname(&server, (struct sockaddr *)&any, &length);
    uv_udp_recv_start(&server, give_buffer, udp_echo);
    big[8999] = 42;
    for (size_t n = 1; n <= 9000; n += 8999) {
        make_udp(&w.f, GUEST_IP, 4000, GATEWAY_IP, bound_port(&any), big, n);
        send_frame(&w);
        await(&w, is_udp);
        const struct udphdr *udp = payload(&w.f, 34);
        ck_assert_uint_eq(ntohs(udp->uh_sport), bound_port(&any));
        ck_assert_uint_eq(ntohs(udp->uh_dport), 4000);
        ck_assert_uint_eq(ntohs(udp->uh_ulen), 8 + n);
        ck_assert_mem_eq(payload(&w.f, 42), big, n);
    }
    uv_close((uv_handle_t *)&server, NULL);
    wire_fini(&w);
}
END_TEST

struct server {
    uv_tcp_t listener, client;
    size_t received, wrong;
    bool closed;
};

static void server_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct server *s = stream->data;

    if (n < 0) {
        s->closed = true;
        uv_close((uv_handle_t *)stream, NULL);
        return;
    }
    for (ssize_t i = 0; i < n; i++)
        s->wrong += (uint8_t)buf->base[i] != (uint8_t)((s->received + (size_t)i) * 7);
    s->received += (size_t)n;
}

static void server_connected(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    uv_buf_t hello = uv_buf_init("hello", 5);

    ck_assert_int_eq(status, 0);
    uv_tcp_init(listener->loop, &s->client);
    s->client.data = s;
    ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)&s->client), 0);
    uv_read_start((uv_stream_t *)&s->client, give_buffer, server_read);
    ck_assert_int_eq(uv_try_write((uv_stream_t *)&s->client, &hello, 1), 5);
}

static uint16_t server_start(struct server *s, struct wire *w)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int length = sizeof(any);

    *s = (struct server){0};
    uv_tcp_init(&w->loop, &s->listener);
    s->listener.data = s;
    ck_assert_int_eq(uv_tcp_bind(&s->listener, (struct sockaddr *)&any, 0), 0);
    ck_assert_int_eq(uv_listen((uv_stream_t *)&s->listener, 4, server_connected), 0);
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&any, &length);
    return bound_port(&any);
}

static const struct tcphdr *tcp_of(const struct frame *f)
{
    return payload(f, 34);
}

static size_t tcp_payload(const struct frame *f)
{
    const struct iphdr *ip = payload(f, 14);

    return ntohs(ip->tot_len) - 20u - 4u * tcp_of(f)->th_off;
}

/* Takes what came for the connection into account and acknowledges data. */
static void tcp_take(struct wire *w, struct tcp_end *t)
{
    size_t n = tcp_payload(&w->f) + (tcp_of(&w->f)->th_flags & TH_FIN ? 1 : 0);

    ck_assert_uint_eq(ntohs(tcp_of(&w->f)->th_dport), t->port);
    ck_assert(!(tcp_of(&w->f)->th_flags & TH_RST));
    if (n && ntohl(tcp_of(&w->f)->th_seq) == t->ack) {
        t->ack += (uint32_t)n;
        make_tcp(&w->f, t, TH_ACK, NULL, 0);
        send_frame(w);
    }
}

static void tcp_connect(struct wire *w, struct tcp_end *t)
{
    make_tcp(&w->f, t, TH_SYN, NULL, 0);
    send_frame(w);
    t->seq++;
    await(w, is_tcp);
    ck_assert_uint_eq(tcp_of(&w->f)->th_flags & (TH_SYN | TH_ACK | TH_RST), TH_SYN | TH_ACK);
    t->ack = ntohl(tcp_of(&w->f)->th_seq) + 1;
    make_tcp(&w->f, t, TH_ACK, NULL, 0);
    send_frame(w);
}

/* Large segments, checksums left out: what a guest with segmentation offload sends. */
START_TEST(tcp_out)
{
    static struct wire w;
    static struct server s;
    static uint8_t data[30000];
    struct tcp_end t = {.port = 5000, .peer_ip = GATEWAY_IP, .seq = 1000};

    wire_init(&w);
    do_arp(&w);
    net_set_offloads(w.b, NET_CSUM);
    t.peer_port = server_start(&s, &w);
    tcp_connect(&w, &t);
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = (uint8_t)((round * sizeof(data) + i) * 7);
        make_tcp(&w.f, &t, TH_ACK | TH_PUSH, data, sizeof(data));
        send_frame(&w);
        t.seq += sizeof(data);
        for (bool acked = false; !acked;) {
            await(&w, is_tcp);
            acked = ntohl(tcp_of(&w.f)->th_ack) == t.seq;
            tcp_take(&w, &t);
        }
    }
    make_tcp(&w.f, &t, TH_ACK | TH_FIN, NULL, 0);
    send_frame(&w);
    t.seq++;
    while (!s.closed)
        uv_run(&w.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(s.received, 20 * sizeof(data));
    ck_assert_uint_eq(s.wrong, 0);
    ck_assert(w.flags_seen & VIRTIO_NET_HDR_F_DATA_VALID);
    uv_close((uv_handle_t *)&s.listener, NULL);
    wire_fini(&w);
}
END_TEST

START_TEST(tcp_refused)
{
    static struct wire w;
    static struct server s;
    struct tcp_end t = {.port = 5000, .peer_ip = GATEWAY_IP, .seq = 1000};

    wire_init(&w);
    do_arp(&w);
    t.peer_port = server_start(&s, &w);
    uv_close((uv_handle_t *)&s.listener, NULL);
    uv_run(&w.loop, UV_RUN_NOWAIT);
    make_tcp(&w.f, &t, TH_SYN, NULL, 0);
    send_frame(&w);
    await(&w, is_tcp);
    ck_assert(tcp_of(&w.f)->th_flags & TH_RST);
    wire_fini(&w);
}
END_TEST

/* --- port forwards ---------------------------------------------------------------------------- */

/* A rule for a port that is free now, or for HOST_PORT. */
static struct net_hostfwd rule_for(uint16_t host_port)
{
    struct net_hostfwd rule;
    g_autofree char *text = g_strdup_printf("tcp:%u:80", host_port);

    ck_assert(net_hostfwd_parse(text, &rule, NULL));
    return rule;
}

static uint16_t add_free_port(struct wire *w)
{
    for (unsigned i = 0; i < 100; i++) {
        uint16_t port = (uint16_t)(20000 + (getpid() * 37 + (int)i * 101) % 20000);
        struct net_hostfwd rule = rule_for(port);
        if (net_user_add_hostfwd(w->b, &rule, NULL))
            return port;
    }
    ck_abort_msg("no port is free");
    return 0;
}

static void client_up(uv_connect_t *req, int status)
{
    uv_buf_t hello = uv_buf_init("hello", 5);

    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(uv_try_write(req->handle, &hello, 1), 5);
    uv_read_start(req->handle, give_buffer, server_read);
}

START_TEST(tcp_in)
{
    static struct wire w;
    static struct server s;
    uv_connect_t connect;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const uint8_t answer[] = {0, 7, 14, 21, 28, 35};

    wire_init(&w);
    do_arp(&w);
    to.sin_port = htons(add_free_port(&w));
    s = (struct server){0};
    uv_tcp_init(&w.loop, &s.client);
    s.client.data = &s;
    uv_tcp_connect(&connect, &s.client, (struct sockaddr *)&to, client_up);
    await(&w, is_tcp);
    ck_assert_uint_eq(tcp_of(&w.f)->th_flags, TH_SYN);
    ck_assert_uint_eq(ntohs(tcp_of(&w.f)->th_dport), 80);
    struct tcp_end t = {.port = 80,
                        .peer_port = ntohs(tcp_of(&w.f)->th_sport),
                        .peer_ip = ntohl(((const struct iphdr *)payload(&w.f, 14))->saddr),
                        .seq = 5,
                        .ack = ntohl(tcp_of(&w.f)->th_seq) + 1};
    make_tcp(&w.f, &t, TH_SYN | TH_ACK, NULL, 0);
    send_frame(&w);
    t.seq++;
    do {
        await(&w, is_tcp);
    } while (tcp_payload(&w.f) == 0);
    ck_assert_mem_eq(payload(&w.f, 34 + 4u * tcp_of(&w.f)->th_off), "hello", 5);
    tcp_take(&w, &t);
    make_tcp(&w.f, &t, TH_ACK | TH_FIN, answer, sizeof(answer));
    send_frame(&w);
    while (!s.closed)
        uv_run(&w.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(s.received, sizeof(answer));
    ck_assert_uint_eq(s.wrong, 0);
    wire_fini(&w);
}
END_TEST

START_TEST(rules_added_and_removed)
{
    static struct wire w;
    static struct server s;
    g_autoptr(GError) taken = NULL, gone = NULL, limit = NULL;

    wire_init(&w);
    uint16_t port = server_start(&s, &w);
    struct net_hostfwd rule = rule_for(port);
    ck_assert(!net_user_add_hostfwd(w.b, &rule, &taken));
    ck_assert_msg(g_error_matches(taken, VMD_ERROR, VMD_ERROR_EXISTS), "%s", taken->message);
    ck_assert(strstr(taken->message, "taken"));
    ck_assert(!net_user_remove_hostfwd(w.b, &rule, &gone));
    ck_assert(g_error_matches(gone, VMD_ERROR, VMD_ERROR_NOT_FOUND));
    port = add_free_port(&w);
    rule = rule_for(port);
    ck_assert(net_user_remove_hostfwd(w.b, &rule, NULL));
    ck_assert(net_user_add_hostfwd(w.b, &rule, NULL)); /* it is free again */
    for (unsigned i = 1; i < LIMIT_HOSTFWDS; i++)
        add_free_port(&w);
    rule = rule_for(1234);
    ck_assert(!net_user_add_hostfwd(w.b, &rule, &limit));
    ck_assert(g_error_matches(limit, VMD_ERROR, VMD_ERROR_LIMIT));
    uv_close((uv_handle_t *)&s.listener, NULL);
    wire_fini(&w);
}
END_TEST

/* --- a guest without room --------------------------------------------------------------------- */

START_TEST(backlog_waits)
{
    static struct wire w;
    struct icmphdr icmp = {.type = ICMP_ECHO};

    wire_init(&w);
    do_arp(&w);
    w.full = true;
    for (unsigned i = 0; i < 1500; i++) {
        add_eth(&w.f, gateway_mac, ETHERTYPE_IP);
        add_ip(&w.f, GUEST_IP, GATEWAY_IP, IPPROTO_ICMP, sizeof(icmp));
        icmp.un.echo.sequence = htons((uint16_t)i);
        icmp.checksum = 0;
        icmp.checksum = htons((uint16_t)~fold16(sum16(0, &icmp, sizeof(icmp))));
        add(&w.f, &icmp, sizeof(icmp));
        send_frame(&w);
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    ck_assert(g_queue_is_empty(&w.frames));
    ck_assert_uint_eq(w.b->dropped, 1500 - 1024); /* what waits is bounded */
    w.full = false;
    net_ready(w.b);
    for (unsigned i = 0; i < 1024; i++) { /* in order, none twice */
        await(&w, is_icmp);
        const struct icmphdr *reply = payload(&w.f, 34);
        ck_assert_uint_eq(ntohs(reply->un.echo.sequence), i);
    }
    do_arp(&w);
    wire_fini(&w);
}
END_TEST

/* Frames that make no sense do no harm. */
START_TEST(garbage_frames)
{
    static struct wire w;
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);

    wire_init(&w);
    do_arp(&w);
    for (unsigned i = 0; i < 20000; i++) {
        static const uint16_t types[] = {ETHERTYPE_IP, ETHERTYPE_IPV6, ETHERTYPE_ARP, 0x1234};
        add_eth(&w.f, gateway_mac, types[i & 3]);
        w.f.hdr.flags = (uint8_t)g_rand_int(rand);
        w.f.hdr.csum_start = (uint16_t)g_rand_int_range(rand, 0, 100);
        w.f.hdr.csum_offset = (uint16_t)g_rand_int_range(rand, 0, 100);
        size_t n = (size_t)g_rand_int_range(rand, 7, 120);
        for (size_t k = 0; k < n; k++)
            w.f.data[w.f.n++] = (uint8_t)g_rand_int(rand);
        /* Often enough it looks right at first. */
        if (i & 4) {
            w.f.data[14] = (i & 3) == 1 ? 0x60 : 0x45;
            w.f.data[23] = (const uint8_t[]){1, 6, 17, 58}[i >> 3 & 3];
        }
        send_frame(&w);
        if (i % 64 == 0) {
            uv_run(&w.loop, UV_RUN_NOWAIT);
            g_queue_clear_full(&w.frames, (GDestroyNotify)g_bytes_unref);
        }
    }
    do_arp(&w);
    wire_fini(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("net");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, rule_rows, 0, G_N_ELEMENTS(rules));
    tcase_add_test(tc, checksum_completed);
    tcase_add_loop_test(tc, checksum_rows, 0, G_N_ELEMENTS(bad_checksums));
    tcase_add_test(tc, arp_and_ping);
    tcase_add_test(tc, dhcp_lease);
    tcase_add_test(tc, router_advertised);
    tcase_add_test(tc, udp_round_trip);
    tcase_add_test(tc, tcp_out);
    tcase_add_test(tc, tcp_refused);
    tcase_add_test(tc, tcp_in);
    tcase_add_test(tc, rules_added_and_removed);
    tcase_add_test(tc, backlog_waits);
    tcase_add_test(tc, garbage_frames);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
