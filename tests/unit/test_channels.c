/*
 * Channels: a driver's eyes at one end, and at the other the sockets that programs of the host
 * connect to.
 */
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"
#include "vm/channels.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The first port is a console. */
enum { FIRST = 1, CHANNELS = 2, CONTROL_IN = 2, CONTROL_OUT, QUEUES = 2 * (FIRST + CHANNELS) + 2 };
G_STATIC_ASSERT(QUEUES <= GUEST_QUEUES);
enum { MUCH = MIB(1), BLOCK = 4096 };

struct rig {
    struct guest g;
    struct driver d;
    struct channels *channels;
    char *dir;
    gpa_t control, messages, block;
    unsigned offered, filled;
};

static unsigned in_queue(unsigned channel)
{
    return 2 * (FIRST + channel) + 2;
}

static void offer(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct piece p = {r->messages + 64 * (r->offered++ % 32), 64, true};
        driver_add(&r->d, CONTROL_IN, &p, 1);
    }
    driver_kick(&r->d, CONTROL_IN);
    guest_poll(&r->g);
}

static void say(struct rig *r, uint32_t port, uint16_t event, uint16_t value)
{
    struct piece p = {r->control, 8, false};

    memcpy(guest_ptr(&r->g, r->control), &(struct virtio_console_control){port, event, value}, 8);
    driver_do(&r->d, CONTROL_OUT, &p, 1);
    guest_poll(&r->g);
}

/* The next message of the device as "CHANNEL EVENT VALUE [NAME]"; "" where there is none. */
static const char *next(struct rig *r, char *text, size_t size)
{
    uint32_t length;

    *text = '\0';
    if (!driver_used(&r->d, CONTROL_IN, NULL, &length))
        return text;
    const uint8_t *at = guest_ptr(&r->g, r->messages + 64 * (r->filled++ % 32));
    struct virtio_console_control c;
    memcpy(&c, at, sizeof(c));
    snprintf(text, size, "%d %u %u%s%.*s", (int)c.id - FIRST, c.event, c.value,
             length > sizeof(c) ? " " : "", (int)(length - sizeof(c)), at + sizeof(c));
    offer(r, 1);
    return text;
}

#define expect_message(r, want)                                                                    \
    do {                                                                                           \
        char text_[80];                                                                            \
        guest_wait(&(r)->g, *next((r), text_, sizeof(text_)));                                     \
        ck_assert_str_eq(text_, want);                                                             \
    } while (0)

static size_t console_output(void *opaque, const uint8_t *data, size_t n)
{
    return n;
}

static const struct virtio_console_ops console_ops = {.output = console_output};

static void begin(struct rig *r)
{
    static char *const names[CHANNELS] = {(char *)"org.a.0", (char *)"org.b.0"};
    struct virtio_console_port ports[FIRST + CHANNELS] = {{NULL, &console_ops, NULL}};

    *r = (struct rig){0};
    guest_init(&r->g, false);
    struct virtio_env env = guest_env(&r->g);
    r->dir = g_dir_make_tmp("vmd-channels-XXXXXX", NULL);
    r->channels = channels_new(&r->g.loop, r->dir, names, CHANNELS, NULL);
    ck_assert_uint_eq(channels_fill(r->channels, ports + FIRST), CHANNELS);
    struct virtio_device *device = virtio_console_new(&env, ports, G_N_ELEMENTS(ports));
    channels_at(r->channels, device, FIRST);
    driver_attach(&r->d, &r->g, device, 1);
    driver_start(&r->d, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT), QUEUES);
    r->control = guest_alloc(&r->g, 16, false);
    r->messages = guest_alloc(&r->g, 2048, false);
    r->block = guest_alloc(&r->g, BLOCK, true);
    offer(r, 32);
    say(r, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
    expect_message(r, "-1 1 1");
    expect_message(r, "0 1 1");
    expect_message(r, "1 1 1");
    say(r, FIRST, VIRTIO_CONSOLE_PORT_READY, 1);
    say(r, FIRST + 1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_message(r, "0 7 1 org.a.0");
    expect_message(r, "1 7 1 org.b.0");
}

static void end(struct rig *r)
{
    driver_detach(&r->d);
    channels_at(r->channels, NULL, 0);
    channels_free(r->channels);
    guest_fini(&r->g);
    ck_assert_int_eq(rmdir(r->dir), 0); /* no socket stays */
    g_free(r->dir);
}

static int dial(struct rig *r, unsigned channel)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/channel%u", r->dir, channel);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void set_open(struct rig *r, unsigned channel, bool open)
{
    say(r, FIRST + channel, VIRTIO_CONSOLE_PORT_OPEN, open);
}

/* Adds TEXT to what the guest sends. */
static void write_text(struct rig *r, unsigned channel, const char *text)
{
    struct piece p = {r->block, (uint32_t)strlen(text), false};

    memcpy(guest_ptr(&r->g, r->block), text, strlen(text));
    driver_add(&r->d, in_queue(channel) + 1, &p, 1);
    driver_kick(&r->d, in_queue(channel) + 1);
    guest_wait(&r->g, driver_used(&r->d, in_queue(channel) + 1, NULL, NULL));
}

/* What came to FD in one piece; "" at its end. */
static const char *heard(struct rig *r, int fd, char *text, size_t size)
{
    ssize_t n;

    while ((n = recv(fd, text, size - 1, 0)) < 0) {
        ck_assert_int_eq(errno, EAGAIN);
        guest_poll(&r->g);
    }
    text[n] = 0;
    return text;
}

#define expect_heard(r, fd, want)                                                                  \
    do {                                                                                           \
        char text_[80];                                                                            \
        ck_assert_str_eq(heard((r), (fd), text_, sizeof(text_)), want);                            \
    } while (0)

START_TEST(both_ways)
{
    struct rig r;
    uint32_t length;

    begin(&r);
    set_open(&r, 1, true);
    write_text(&r, 1, "to nobody");
    int fd = dial(&r, 1);
    expect_message(&r, "1 6 1");
    write_text(&r, 1, "from the guest");
    expect_heard(&r, fd, "from the guest");
    /* One client at a time. */
    int other = dial(&r, 1);
    expect_heard(&r, other, "");
    close(other);
    g_autoptr(GError) err = NULL;
    ck_assert_int_eq(channels_attach(r.channels, "org.b.0", &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
    struct piece in = {r.block, 64, true};
    driver_add(&r.d, in_queue(1), &in, 1);
    ck_assert_int_eq(send(fd, "from the host", 13, MSG_NOSIGNAL), 13);
    guest_wait(&r.g, driver_used(&r.d, in_queue(1), NULL, &length));
    ck_assert(length == 13 && memcmp(guest_ptr(&r.g, r.block), "from the host", 13) == 0);
    /* What it sent last is delivered, then the guest hears that it is gone. */
    ck_assert_int_eq(send(fd, "last", 4, MSG_NOSIGNAL), 4);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.g);
    driver_add(&r.d, in_queue(1), &in, 1);
    driver_kick(&r.d, in_queue(1));
    guest_wait(&r.g, driver_used(&r.d, in_queue(1), NULL, &length));
    ck_assert(length == 4 && memcmp(guest_ptr(&r.g, r.block), "last", 4) == 0);
    expect_message(&r, "1 6 0");
    end(&r);
}
END_TEST

/* Clients before the guest has the port open: what one says waits, and what one said that left is
 * gone. */
START_TEST(early)
{
    struct rig r;
    uint32_t length;
    struct piece in;

    begin(&r);
    in = (struct piece){r.block, 64, true};
    int fd = dial(&r, 0);
    expect_message(&r, "0 6 1");
    ck_assert_int_eq(send(fd, "left", 4, MSG_NOSIGNAL), 4);
    close(fd);
    expect_message(&r, "0 6 0");
    g_autoptr(GError) err = NULL;
    fd = channels_attach(r.channels, "org.a.0", &err);
    ck_assert(fd >= 0);
    expect_message(&r, "0 6 1");
    ck_assert_int_eq(send(fd, "stays", 5, MSG_NOSIGNAL), 5);
    driver_add(&r.d, in_queue(0), &in, 1);
    driver_kick(&r.d, in_queue(0));
    for (int i = 0; i < 10; i++)
        guest_poll(&r.g);
    ck_assert(!driver_used(&r.d, in_queue(0), NULL, &length));
    set_open(&r, 0, true);
    guest_wait(&r.g, driver_used(&r.d, in_queue(0), NULL, &length));
    ck_assert(length == 5 && memcmp(guest_ptr(&r.g, r.block), "stays", 5) == 0);
    /* One that leaves while the guest takes nothing is gone when the guest closes the port. */
    ck_assert_int_eq(send(fd, "unread", 6, MSG_NOSIGNAL), 6);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.g);
    set_open(&r, 0, false);
    expect_message(&r, "0 6 0");
    ck_assert_int_eq(channels_attach(r.channels, "org.c.0", &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND));
    end(&r);
}
END_TEST

/* A client that is gone keeps no other away, though the guest takes nothing of what it said. */
START_TEST(left_behind)
{
    struct rig r;
    g_autoptr(GError) err = NULL;

    begin(&r);
    set_open(&r, 0, true);
    int fd = dial(&r, 0);
    expect_message(&r, "0 6 1");
    ck_assert_int_eq(send(fd, "unread", 6, MSG_NOSIGNAL), 6);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.g);
    int other = _i ? channels_attach(r.channels, "org.a.0", &err) : dial(&r, 0);
    expect_message(&r, "0 6 0");
    expect_message(&r, "0 6 1");
    fcntl(other, F_SETFL, O_NONBLOCK);
    write_text(&r, 0, "to the next");
    expect_heard(&r, other, "to the next");
    close(other);
    expect_message(&r, "0 6 0");
    end(&r);
}
END_TEST

/* What a client said last is the guest's, though the client did not read what there was for it. */
START_TEST(reads_nothing)
{
    struct rig r;
    uint32_t length;

    begin(&r);
    struct piece in = {r.block, 64, true};
    set_open(&r, 0, true);
    int fd = dial(&r, 0);
    expect_message(&r, "0 6 1");
    write_text(&r, 0, "unread");
    ck_assert_int_eq(send(fd, "last", 4, MSG_NOSIGNAL), 4);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.g);
    driver_add(&r.d, in_queue(0), &in, 1);
    driver_kick(&r.d, in_queue(0));
    guest_wait(&r.g, driver_used(&r.d, in_queue(0), NULL, &length));
    ck_assert(length == 4 && memcmp(guest_ptr(&r.g, r.block), "last", 4) == 0);
    expect_message(&r, "0 6 0");
    end(&r);
}
END_TEST

/* A client that does not read has the guest's buffers wait, no more; and what it reads is whole. */
START_TEST(slow)
{
    struct rig r;
    struct piece out;
    size_t sent = 0, got = 0;
    char *buffer = g_malloc(BLOCK);

    begin(&r);
    out = (struct piece){r.block, BLOCK, false};
    set_open(&r, 0, true);
    int fd = dial(&r, 0);
    expect_message(&r, "0 6 1");
    for (size_t at = 0; at < BLOCK; at++)
        ((char *)guest_ptr(&r.g, r.block))[at] = (char)('a' + at % 23);
    for (bool taken = true; taken && sent < MUCH; sent += BLOCK) {
        driver_add(&r.d, in_queue(0) + 1, &out, 1);
        driver_kick(&r.d, in_queue(0) + 1);
        for (int i = 0; i < 5; i++)
            guest_poll(&r.g);
        taken = driver_used(&r.d, in_queue(0) + 1, NULL, NULL);
    }
    ck_assert_uint_lt(sent, MUCH);
    while (got < sent) {
        ssize_t n = recv(fd, buffer, BLOCK, MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++)
            ck_assert_int_eq(buffer[i], 'a' + (char)((got + (size_t)i) % BLOCK % 23));
        got += n > 0 ? (size_t)n : 0;
        guest_poll(&r.g);
    }
    close(fd);
    expect_message(&r, "0 6 0");
    g_free(buffer);
    end(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channels");
    TCase *tc = tcase_create("channels");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, both_ways);
    tcase_add_test(tc, early);
    tcase_add_loop_test(tc, left_behind, 0, 2);
    tcase_add_test(tc, reads_nothing);
    tcase_add_test(tc, slow);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
