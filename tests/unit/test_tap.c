/*
 * tap interfaces and vmd-helper with rights, in a network namespace of the test's own. Needs root
 * and /dev/net/tun; is skipped without. VMD_HELPER names the program.
 */
#include "machine/net/net.h"
#include "machine/net/tap_open.h"
#include "tests/unit/unit.h"
#include "vm/helper/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SKIPPED  77 /* to meson */
#define HOST_IP  "10.9.9.1"
#define GUEST_IP "10.9.9.2"

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3};

/* --- opening ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool valid;
} names[] = {
    {"tap0", true},        {"a", true},    {"br-lan.100_x", true}, {"fifteen-letters", true},
    {"", false},           {".", false},   {"..", false},          {"sixteen-letters-", false},
    {"tap%d", false},      {"a b", false}, {"a/b", false},         {"a:1", false},
    {"t\xc3\xa4p", false},
};

START_TEST(name_rows)
{
    ck_assert_msg(tap_name_valid(names[_i].name) == names[_i].valid, "'%s'", names[_i].name);
}
END_TEST

static void check_open(const char *name, bool create, enum vmd_error want)
{
    g_autoptr(GError) err = NULL;

    ck_assert_int_eq(tap_open(name, create, &err), -1);
    ck_assert_msg(g_error_matches(err, VMD_ERROR, (gint)want), "'%s': %s", name, err->message);
}

START_TEST(open_errors)
{
    check_open("a/b", true, VMD_ERROR_INVALID);
    check_open("lo", true, VMD_ERROR_INVALID);
    check_open("tapgone", false, VMD_ERROR_NOT_FOUND);
    int fd = tap_open("tapbusy", true, NULL);
    ck_assert_int_ge(fd, 0);
    check_open("tapbusy", true, VMD_ERROR_BUSY);
    close(fd);
    check_open("tapbusy", false, VMD_ERROR_NOT_FOUND); /* it went with its descriptor */
    ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
    check_open("tapdenied", true, VMD_ERROR_DENIED);
}
END_TEST

START_TEST(not_a_tap)
{
    uv_loop_t loop;
    g_autoptr(GError) err = NULL;
    int fd = open("/dev/null", O_RDWR);

    uv_loop_init(&loop);
    ck_assert_ptr_null(net_tap_new(&loop, fd, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    ck_assert(fcntl(fd, F_GETFD) < 0 && errno == EBADF); /* it was taken over */
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* --- traffic ---------------------------------------------------------------------------------- */

struct wire {
    uv_loop_t loop;
    struct net_backend *b;
    GQueue frames; /* GBytes: header and frame */
    bool full;
    int sock; /* the host's end: UDP */
};

static bool wire_receive(void *opaque, const struct virtio_net_hdr_v1 *hdr, const void *frame,
                         size_t length)
{
    struct wire *w = opaque;
    g_autofree uint8_t *both = g_malloc(NET_HEADER + length);

    if (w->full)
        return false;
    memcpy(both, hdr, NET_HEADER);
    memcpy(both + NET_HEADER, frame, length);
    g_queue_push_tail(&w->frames, g_bytes_new(both, NET_HEADER + length));
    return true;
}

static void wire_nothing(void *opaque)
{
}

static const struct net_peer_ops wire_ops = {wire_receive, wire_nothing, wire_nothing};

static void set_address(const char *name, unsigned long request, const char *text)
{
    struct ifreq ifr = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&ifr.ifr_addr;
    autofd fd = socket(AF_INET, SOCK_DGRAM, 0);

    g_strlcpy(ifr.ifr_name, name, IFNAMSIZ);
    in->sin_family = AF_INET;
    inet_pton(AF_INET, text, &in->sin_addr);
    ck_assert_int_eq(ioctl(fd, request, &ifr), 0);
}

static void wire_init(struct wire *w)
{
    g_autoptr(GError) err = NULL;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(7)};

    *w = (struct wire){0};
    g_queue_init(&w->frames);
    uv_loop_init(&w->loop);
    int fd = tap_open("tap0", true, &err);
    ck_assert_msg(fd >= 0 && tap_set_up("tap0", NULL, &err), "%s", err ? err->message : "");
    set_address("tap0", SIOCSIFADDR, HOST_IP);
    set_address("tap0", SIOCSIFNETMASK, "255.255.255.0");
    w->b = net_tap_new(&w->loop, fd, &err);
    ck_assert_msg(w->b != NULL, "%s", err ? err->message : "");
    net_attach(w->b, &wire_ops, w);
    w->sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, HOST_IP, &here.sin_addr);
    ck_assert_int_eq(bind(w->sock, (struct sockaddr *)&here, sizeof(here)), 0);
}

static void wire_fini(struct wire *w)
{
    close(w->sock);
    net_free(w->b);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&w->loop), 0);
    g_queue_clear_full(&w->frames, (GDestroyNotify)g_bytes_unref);
}

/* The next frame of ETHERTYPE (and, for IP, UDP); its header goes to HDR. Free it. */
static uint8_t *await(struct wire *w, uint16_t ethertype, struct virtio_net_hdr_v1 *hdr, size_t *n)
{
    for (;;) {
        GBytes *bytes = g_queue_pop_head(&w->frames);
        if (!bytes) {
            uv_run(&w->loop, UV_RUN_ONCE);
            continue;
        }
        gsize length;
        uint8_t *data = g_bytes_unref_to_data(bytes, &length);
        const uint8_t *f = data + NET_HEADER;
        if ((f[12] << 8 | f[13]) == ethertype &&
            (ethertype != ETHERTYPE_IP || f[23] == IPPROTO_UDP)) {
            memcpy(hdr, data, NET_HEADER);
            *n = length - NET_HEADER;
            memmove(data, f, *n);
            return data;
        }
        g_free(data);
    }
}

static void send_frame(struct wire *w, struct virtio_net_hdr_v1 *hdr, void *frame, size_t n)
{
    struct iovec iov[] = {{hdr, NET_HEADER}, {frame, n}};

    ck_assert(net_send(w->b, iov, 2));
    net_send_end(w->b);
}

static void host_sends(struct wire *w, uint8_t byte)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    uint8_t data[64];

    memset(data, byte, sizeof(data));
    inet_pton(AF_INET, GUEST_IP, &to.sin_addr);
    ck_assert_int_eq(sendto(w->sock, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)),
                     sizeof(data));
}

/* Lets the host find the guest's address. */
static void answer_arp(struct wire *w)
{
    struct virtio_net_hdr_v1 hdr, none = {0};
    size_t n;

    host_sends(w, 0);
    g_autofree uint8_t *f = await(w, ETHERTYPE_ARP, &hdr, &n);
    struct ether_arp arp;
    memcpy(&arp, f + 14, sizeof(arp));
    arp.ea_hdr.ar_op = htons(ARPOP_REPLY);
    memcpy(arp.arp_tha, arp.arp_sha, 6);
    uint8_t host[4];
    memcpy(host, arp.arp_spa, 4);
    memcpy(arp.arp_spa, arp.arp_tpa, 4);
    memcpy(arp.arp_tpa, host, 4);
    memcpy(arp.arp_sha, guest_mac, 6);
    memcpy(f, arp.arp_tha, 6);
    memcpy(f + 6, guest_mac, 6);
    memcpy(f + 14, &arp, sizeof(arp));
    send_frame(w, &none, f, 42);
    g_free(await(w, ETHERTYPE_IP, &hdr, &n)); /* what the host had wanted to say */
}

START_TEST(traffic)
{
    struct wire w;
    struct virtio_net_hdr_v1 hdr;
    size_t n;
    uint8_t reply[64];

    wire_init(&w);
    ck_assert_uint_eq(w.b->tx_offloads, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN);
    answer_arp(&w);
    host_sends(&w, 1);
    g_autofree uint8_t *whole = await(&w, ETHERTYPE_IP, &hdr, &n);
    ck_assert_uint_eq(n, 14 + 20 + 8 + 64);
    ck_assert_uint_eq(hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
    ck_assert_uint_eq(hdr.num_buffers, 1);
    net_set_offloads(w.b, NET_CSUM);
    host_sends(&w, 2);
    g_autofree uint8_t *f = await(&w, ETHERTYPE_IP, &hdr, &n);
    ck_assert_uint_eq(hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    ck_assert_uint_eq(hdr.csum_start, 34);
    /* Sent back with the checksum still missing: the kernel completes it. */
    uint8_t swap[12];
    memcpy(swap, f, 12);
    memcpy(f, swap + 6, 6);
    memcpy(f + 6, swap, 6);
    memcpy(swap, f + 26, 8);
    memcpy(f + 26, swap + 4, 4);
    memcpy(f + 30, swap, 4);
    memcpy(swap, f + 34, 4);
    memcpy(f + 34, swap + 2, 2);
    memcpy(f + 36, swap, 2);
    send_frame(&w, &hdr, f, n);
    struct pollfd come = {.fd = w.sock, .events = POLLIN};
    ck_assert_int_eq(poll(&come, 1, -1), 1);
    ssize_t got = recv(w.sock, reply, sizeof(reply), 0);
    ck_assert_int_eq(got, 64);
    ck_assert_uint_eq(reply[63], 2);
    wire_fini(&w);
}
END_TEST

/* A peer without room: frames stay with the interface and come in order. */
START_TEST(waits_for_room)
{
    struct wire w;
    struct virtio_net_hdr_v1 hdr;
    size_t n;

    wire_init(&w);
    answer_arp(&w);
    w.full = true;
    for (uint8_t i = 1; i <= 20; i++) {
        host_sends(&w, i);
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    ck_assert(g_queue_is_empty(&w.frames));
    w.full = false;
    net_ready(w.b);
    for (uint8_t i = 1; i <= 20; i++) {
        g_autofree uint8_t *f = await(&w, ETHERTYPE_IP, &hdr, &n);
        ck_assert_uint_eq(f[n - 1], i);
    }
    wire_fini(&w);
}
END_TEST

/* Deletes an interface, as an administrator may at any time. */
static void delete_link(const char *name)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
    } request = {
        .head = {.nlmsg_len = sizeof(request),
                 .nlmsg_type = RTM_DELLINK,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .info = {.ifi_index = (int)if_nametoindex(name)},
    };
    char reply[1024];
    autofd fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

    ck_assert_int_eq(send(fd, &request, sizeof(request), 0), sizeof(request));
    ck_assert_int_gt(recv(fd, reply, sizeof(reply), 0), 0);
    ck_assert_uint_eq(if_nametoindex(name), 0);
}

/* Afterwards frames are lost, and the loop does not spin: it has nothing left to watch. */
START_TEST(interface_deleted)
{
    struct wire w;
    struct virtio_net_hdr_v1 hdr = {0};
    uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2, 3, 0x12, 0x34};

    wire_init(&w);
    delete_link("tap0");
    while (uv_loop_alive(&w.loop))
        uv_run(&w.loop, UV_RUN_ONCE);
    send_frame(&w, &hdr, frame, sizeof(frame));
    ck_assert_uint_eq(w.b->dropped, 1);
    net_ready(w.b);
    ck_assert(!uv_loop_alive(&w.loop));
    wire_fini(&w);
}
END_TEST

/* --- the helper ------------------------------------------------------------------------------- */

struct helper {
    char *folder, *socket, *rules;
    pid_t pid;
};

/* Starts it and waits until it listens: it says "ready" on standard error. */
static void helper_start(struct helper *h, const char *rules)
{
    int said[2];
    char text[256] = "";
    size_t n = 0;

    h->folder = g_dir_make_tmp("helper-XXXXXX", NULL);
    ck_assert_int_eq(chmod(h->folder, 0755), 0);
    h->socket = g_build_filename(h->folder, "sock", NULL);
    h->rules = g_build_filename(h->folder, "rules", NULL);
    ck_assert(g_file_set_contents(h->rules, rules, -1, NULL));
    ck_assert_int_eq(pipe(said), 0);
    h->pid = fork();
    if (h->pid == 0) {
        dup2(said[1], 2);
        close(said[0]);
        execl(getenv("VMD_HELPER"), "vmd-helper", "--listen", h->socket, "--rules", h->rules, NULL);
        _exit(127);
    }
    close(said[1]);
    while (!strstr(text, "ready")) {
        ssize_t got = read(said[0], text + n, sizeof(text) - 1 - n);
        ck_assert_msg(got > 0, "the helper said '%s'", text);
        n += (size_t)got;
    }
    close(said[0]);
}

static void helper_end(struct helper *h)
{
    int status;

    ck_assert_int_eq(kill(h->pid, SIGTERM), 0);
    ck_assert_int_eq(waitpid(h->pid, &status, 0), h->pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    unlink(h->socket);
    unlink(h->rules);
    rmdir(h->folder);
    g_free(h->folder);
    g_free(h->socket);
    g_free(h->rules);
}

/* What a user without rights gets; in a process of its own. 0: a tap that works, else the error
 * plus one. */
static int as_nobody(const struct helper *h, const char *name)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        g_autoptr(GError) err = NULL;
        uv_loop_t loop;
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
            _exit(100);
        int fd = helper_open_tap(h->socket, name, &err);
        if (fd < 0)
            _exit(1 + err->code);
        uv_loop_init(&loop);
        _exit(net_tap_new(&loop, fd, NULL) ? 0 : 101);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

START_TEST(helper_gives)
{
    struct helper h;
    g_autoptr(GError) err = NULL;

    helper_start(&h, "65534 vm-*\n");
    ck_assert_int_eq(as_nobody(&h, "vm-1"), 0);
    ck_assert_int_eq(as_nobody(&h, "vm-1"), 0); /* again: the first went with its user */
    ck_assert_int_eq(as_nobody(&h, "other"), 1 + VMD_ERROR_DENIED);
    int fd = tap_open("vm-2", true, NULL);
    ck_assert_int_eq(as_nobody(&h, "vm-2"), 1 + VMD_ERROR_BUSY);
    close(fd);
    ck_assert_int_eq(as_nobody(&h, "lo"), 1 + VMD_ERROR_DENIED);
    /* What it gives is up. */
    fd = helper_open_tap(h.socket, "mine", &err);
    ck_assert_msg(fd >= 0, "%s", err ? err->message : "");
    struct ifreq ifr = {.ifr_name = "mine"};
    autofd sock = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(ioctl(sock, SIOCGIFFLAGS, &ifr), 0);
    ck_assert(ifr.ifr_flags & IFF_UP);
    close(fd);
    helper_end(&h);
}
END_TEST

START_TEST(helper_missing)
{
    struct helper h = {.socket = "/nonexistent/sock"};
    g_autoptr(GError) err = NULL;

    ck_assert_int_eq(as_nobody(&h, "tap7"), 1 + VMD_ERROR_DENIED);
    ck_assert_int_eq(helper_open_tap(h.socket, "tap7", &err), -1);
    ck_assert(strstr(err->message, "vmd-helper") && strstr(err->message, "CAP_NET_ADMIN"));
}
END_TEST

static bool have_namespace(void)
{
    autofd fd = open("/dev/net/tun", O_RDWR);
    autofd sock = -1;
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};

    if (geteuid() != 0 || fd < 0 || !getenv("VMD_HELPER") || unshare(CLONE_NEWNET) < 0)
        return false;
    sock = socket(AF_INET, SOCK_DGRAM, 0);
    return ioctl(sock, SIOCSIFFLAGS, &ifr) == 0;
}

int main(void)
{
    Suite *s = suite_create("tap");
    TCase *tc = tcase_create("all");

    if (!have_namespace()) {
        puts("skipped: needs root, /dev/net/tun and network namespaces");
        return SKIPPED;
    }
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, name_rows, 0, G_N_ELEMENTS(names));
    tcase_add_test(tc, open_errors);
    tcase_add_test(tc, not_a_tap);
    tcase_add_test(tc, traffic);
    tcase_add_test(tc, waits_for_room);
    tcase_add_test(tc, interface_deleted);
    tcase_add_test(tc, helper_gives);
    tcase_add_test(tc, helper_missing);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
