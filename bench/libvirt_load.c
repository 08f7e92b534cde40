/*
 * Asks a daemon for its list of domains over libvirt's RPC: many connections, each with several
 * calls outstanding all the time, and tells how long an answer took.
 *
 *     bench_libvirt SOCKET [CONNECTIONS [OUTSTANDING [ROUNDS]]]
 *
 * The first rounds of each connection, in which buffers grow on both sides, are not counted. One
 * thread, poll(2). Prints one line: calls, calls a second, and the 50th, 99th and last percentile
 * in milliseconds.
 */
#include "proto/libvirt/calls.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096, ROOM = 1 << 18, WARM_ROUNDS = 5 };

struct conn {
    int fd;
    uint32_t sent, got;
    uint64_t *began; /* by serial */
    uint8_t *in;
    size_t have;
};

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void put_call(GByteArray *out, int32_t procedure, uint32_t serial,
                     const struct libvirt_layout *layout, const void *args)
{
    struct libvirt_head head = {
        .program = 0x20008086, .version = 1, .procedure = procedure, .serial = serial};
    size_t start = libvirt_frame_begin(out, &head);

    libvirt_write(layout, args, out);
    libvirt_frame_end(out, start);
}

static void send_all(int fd, const void *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0)
            die("send");
        bytes = (const char *)bytes + n;
        len -= (size_t)n;
    }
}

static void ask(struct conn *c, uint32_t count)
{
    static const struct libvirt_list_all args = {.need_results = 1};
    g_autoptr(GByteArray) out = g_byte_array_new();

    for (uint32_t i = 0; i < count; i++) {
        c->began[c->sent] = now_ns();
        put_call(out, LIBVIRT_CONNECT_LIST_ALL_DOMAINS, c->sent++, &libvirt_list_all_layout, &args);
    }
    if (out->len)
        send_all(c->fd, out->data, out->len);
}

static void join(struct conn *c, const char *path, uint32_t calls)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct libvirt_open open = {.name = (char *)"vmd:///system"};
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint8_t head[LIBVIRT_HEAD_BYTES];

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        die(path);
    put_call(out, LIBVIRT_CONNECT_OPEN, 0, &libvirt_open_layout, &open);
    send_all(c->fd, out->data, out->len);
    if (recv(c->fd, head, sizeof(head), MSG_WAITALL) != sizeof(head) || head[27] != 0)
        die("opening");
    c->began = g_new0(uint64_t, calls);
    c->in = g_malloc(ROOM);
    memset(c->in, 0, ROOM); /* the first answers are not to pay for its pages */
}

/* Takes in what is there; a time a call from number FIRST on goes to TIMES. */
static uint32_t take(struct conn *c, uint32_t first, GArray *times)
{
    ssize_t n = recv(c->fd, c->in + c->have, ROOM - c->have, MSG_DONTWAIT);
    uint32_t count = 0;
    size_t at = 0;

    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("the daemon has disconnected");
    c->have += (size_t)MAX(n, 0);
    while (c->have - at >= LIBVIRT_HEAD_BYTES) {
        struct libvirt_head head;
        if (libvirt_head_read(c->in + at, &head) < 0 || head.status != 0)
            die("a bad answer");
        if (c->have - at < head.length)
            break;
        uint64_t took = now_ns() - c->began[head.serial];
        if (head.serial >= first)
            g_array_append_val(times, took);
        at += head.length;
        count++;
    }
    memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
    c->got += count;
    return count;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static unsigned number(int argc, char **argv, int i, unsigned usual)
{
    unsigned n = i < argc ? (unsigned)atoi(argv[i]) : usual;

    return n > 0 && n <= MOST ? n : usual;
}

static void run(struct conn *conns, unsigned n, unsigned outstanding, uint32_t calls, GArray *times)
{
    g_autofree struct pollfd *polls = g_new0(struct pollfd, n);

    for (unsigned i = 0; i < n; i++) {
        polls[i] = (struct pollfd){.fd = conns[i].fd, .events = POLLIN};
        ask(&conns[i], outstanding);
    }
    while (times->len < n * (calls - WARM_ROUNDS * outstanding)) {
        if (poll(polls, n, -1) < 0)
            die("poll");
        for (unsigned i = 0; i < n; i++) {
            uint32_t more =
                polls[i].revents ? take(&conns[i], WARM_ROUNDS * outstanding, times) : 0;
            ask(&conns[i], MIN(more, calls - conns[i].sent));
        }
    }
}

int main(int argc, char **argv)
{
    unsigned n = number(argc, argv, 2, 200), outstanding = number(argc, argv, 3, 20);
    uint32_t calls = outstanding * (WARM_ROUNDS + number(argc, argv, 4, 25));
    g_autofree struct conn *conns = g_new0(struct conn, n);
    g_autoptr(GArray) times = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    if (argc < 2) {
        fprintf(stderr, "usage: %s SOCKET [CONNECTIONS [OUTSTANDING [ROUNDS]]]\n", argv[0]);
        return 2;
    }
    for (unsigned i = 0; i < n; i++)
        join(&conns[i], argv[1], calls);
    uint64_t start = now_ns();
    run(conns, n, outstanding, calls, times);
    double seconds = (double)(now_ns() - start) / 1e9;
    qsort(times->data, times->len, sizeof(uint64_t), by_size);
    const uint64_t *t = (const uint64_t *)(const void *)times->data;
    printf("%u calls, %.0f a second, p50 %.2f ms, p99 %.2f ms, last %.2f ms\n", times->len,
           n * calls / seconds, (double)t[times->len / 2] / 1e6,
           (double)t[times->len - times->len / 100 - 1] / 1e6, (double)t[times->len - 1] / 1e6);
    return 0;
}
