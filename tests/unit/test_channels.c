/*
 * Channels: a driver's eyes at one end, and at the other the sockets that programs of the host
 * connect to.
 */
#include "tests/unit/port_guest.h"
#include "tests/unit/unit.h"
#include "vm/channels.h"

#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { CHANNELS = 2, PORTS = PORT_FIRST + CHANNELS, MUCH = MIB(1) };

struct rig {
    struct port_guest p;
    struct channels *channels;
    char *dir;
};

static void begin(struct rig *r)
{
    static char *const names[CHANNELS] = {(char *)"org.a.0", (char *)"org.b.0"};
    struct virtio_console_port ports[PORTS];

    port_guest_init(&r->p, ports, PORTS);
    struct virtio_env env = guest_env(&r->p.g);
    r->dir = g_dir_make_tmp("vmd-channels-XXXXXX", NULL);
    r->channels = channels_new(&r->p.g.loop, r->dir, names, CHANNELS, NULL);
    ck_assert_uint_eq(channels_fill(r->channels, ports + PORT_FIRST), CHANNELS);
    struct virtio_device *device = virtio_console_new(&env, ports, PORTS);
    channels_at(r->channels, device, PORT_FIRST);
    port_guest_start(&r->p, device, PORTS);
    expect_message(&r->p, "0 1 1");
    expect_message(&r->p, "1 1 1");
    port_guest_say(&r->p, 0, VIRTIO_CONSOLE_PORT_READY, 1);
    port_guest_say(&r->p, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_message(&r->p, "0 7 1 org.a.0");
    expect_message(&r->p, "1 7 1 org.b.0");
}

static void end(struct rig *r)
{
    driver_detach(&r->p.d);
    channels_at(r->channels, NULL, 0);
    channels_free(r->channels);
    guest_fini(&r->p.g);
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

START_TEST(both_ways)
{
    struct rig r;

    begin(&r);
    port_guest_open(&r.p, 1, true);
    ck_assert(port_guest_write(&r.p, 1, "to nobody"));
    int fd = dial(&r, 1);
    await_message(&r.p, "1 6 1");
    ck_assert(port_guest_write(&r.p, 1, "from the guest"));
    await_heard(&r.p, fd, "from the guest");
    /* One client at a time. */
    int other = dial(&r, 1);
    await_heard(&r.p, other, "");
    close(other);
    g_autoptr(GError) err = NULL;
    ck_assert_int_eq(channels_attach(r.channels, "org.b.0", false, &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
    port_guest_offer(&r.p, 1, 64);
    ck_assert_int_eq(send(fd, "from the host", 13, MSG_NOSIGNAL), 13);
    expect_read(&r.p, 1, "from the host");
    /* What it sent last is delivered, then the guest hears that it is gone. */
    ck_assert_int_eq(send(fd, "last", 4, MSG_NOSIGNAL), 4);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.p.g);
    port_guest_offer(&r.p, 1, 64);
    expect_read(&r.p, 1, "last");
    await_message(&r.p, "1 6 0");
    end(&r);
}
END_TEST

/* Clients before the guest has the port open: what one says waits, and what one said that left is
 * gone. */
START_TEST(early)
{
    struct rig r;

    begin(&r);
    int fd = dial(&r, 0);
    await_message(&r.p, "0 6 1");
    ck_assert_int_eq(send(fd, "left", 4, MSG_NOSIGNAL), 4);
    close(fd);
    await_message(&r.p, "0 6 0");
    g_autoptr(GError) err = NULL;
    fd = channels_attach(r.channels, "org.a.0", false, &err);
    ck_assert(fd >= 0);
    await_message(&r.p, "0 6 1");
    ck_assert_int_eq(send(fd, "stays", 5, MSG_NOSIGNAL), 5);
    port_guest_offer(&r.p, 0, 64);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.p.g);
    ck_assert(!driver_used(&r.p.d, port_queue(0), NULL, NULL));
    port_guest_open(&r.p, 0, true);
    expect_read(&r.p, 0, "stays");
    /* One that leaves while the guest takes nothing is gone when the guest closes the port. */
    ck_assert_int_eq(send(fd, "unread", 6, MSG_NOSIGNAL), 6);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.p.g);
    port_guest_open(&r.p, 0, false);
    await_message(&r.p, "0 6 0");
    ck_assert_int_eq(channels_attach(r.channels, "org.c.0", false, &err), -1);
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
    port_guest_open(&r.p, 0, true);
    int fd = dial(&r, 0);
    await_message(&r.p, "0 6 1");
    ck_assert_int_eq(send(fd, "unread", 6, MSG_NOSIGNAL), 6);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.p.g);
    int other = _i ? channels_attach(r.channels, "org.a.0", false, &err) : dial(&r, 0);
    await_message(&r.p, "0 6 0");
    await_message(&r.p, "0 6 1");
    fcntl(other, F_SETFL, O_NONBLOCK);
    ck_assert(port_guest_write(&r.p, 0, "to the next"));
    await_heard(&r.p, other, "to the next");
    close(other);
    await_message(&r.p, "0 6 0");
    end(&r);
}
END_TEST

/* State is loaded that says that somebody is there, who is not: the guest hears so, without a word of
 * its own. */
START_TEST(saved)
{
    struct rig r;

    begin(&r);
    port_guest_open(&r.p, 0, true);
    int fd = dial(&r, 0);
    await_message(&r.p, "0 6 1");
    ck_assert_int_eq(send(fd, "unread", 6, MSG_NOSIGNAL), 6);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.p.g);
    expect_message(&r.p, ""); /* it lingers, until the reset in between */
    guest_save_and_load(&r.p.g);
    guest_poll(&r.p.g);
    expect_message(&r.p, "0 6 0");
    fd = dial(&r, 0);
    await_message(&r.p, "0 6 1");
    ck_assert(port_guest_write(&r.p, 0, "anew"));
    expect_heard(fd, "anew");
    /* Who is there stays, where it is the same process. */
    guest_save_and_load(&r.p.g);
    guest_poll(&r.p.g);
    expect_message(&r.p, "");
    ck_assert(port_guest_write(&r.p, 0, "still"));
    expect_heard(fd, "still");
    close(fd);
    await_message(&r.p, "0 6 0");
    end(&r);
}
END_TEST

/* Who comes by force has it: the guest hears of both, and of what the first said nothing that it
 * had not taken. */
START_TEST(displaced)
{
    struct rig r;
    g_autoptr(GError) err = NULL;

    begin(&r);
    port_guest_open(&r.p, 0, true);
    int fd = dial(&r, 0);
    await_message(&r.p, "0 6 1");
    ck_assert_int_eq(send(fd, "the first's", 11, MSG_NOSIGNAL), 11);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.p.g);
    ck_assert_int_eq(channels_attach(r.channels, "org.a.0", false, &err), -1);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY));
    expect_message(&r.p, "");
    int other = channels_attach(r.channels, "org.a.0", true, NULL);
    ck_assert_int_ge(other, 0);
    expect_message(&r.p, "0 6 0");
    expect_message(&r.p, "0 6 1");
    expect_heard(fd, "");
    port_guest_offer(&r.p, 0, 64);
    ck_assert_int_eq(send(other, "the second's", 12, MSG_NOSIGNAL), 12);
    expect_read(&r.p, 0, "the second's");
    ck_assert(port_guest_write(&r.p, 0, "to the second"));
    expect_heard(other, "to the second");
    close(fd);
    close(other);
    await_message(&r.p, "0 6 0");
    /* By force where nobody is. */
    other = channels_attach(r.channels, "org.a.0", true, NULL);
    ck_assert_int_ge(other, 0);
    expect_message(&r.p, "0 6 1");
    close(other);
    end(&r);
}
END_TEST

/* What a client said last is the guest's, though the client did not read what there was for it. */
START_TEST(reads_nothing)
{
    struct rig r;

    begin(&r);
    port_guest_open(&r.p, 0, true);
    int fd = dial(&r, 0);
    await_message(&r.p, "0 6 1");
    ck_assert(port_guest_write(&r.p, 0, "unread"));
    ck_assert_int_eq(send(fd, "last", 4, MSG_NOSIGNAL), 4);
    close(fd);
    for (int i = 0; i < 10; i++)
        guest_poll(&r.p.g);
    port_guest_offer(&r.p, 0, 64);
    expect_read(&r.p, 0, "last");
    await_message(&r.p, "0 6 0");
    end(&r);
}
END_TEST

/* A client that does not read has the guest's buffers wait, no more; and what it reads is whole. */
START_TEST(slow)
{
    struct rig r;

    begin(&r);
    port_guest_open(&r.p, 0, true);
    int fd = dial(&r, 0);
    await_message(&r.p, "0 6 1");
    port_drain(&r.p, fd, port_guest_flood(&r.p, 0, MUCH));
    close(fd);
    await_message(&r.p, "0 6 0");
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
    tcase_add_test(tc, saved);
    tcase_add_test(tc, displaced);
    tcase_add_test(tc, reads_nothing);
    tcase_add_test(tc, slow);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
