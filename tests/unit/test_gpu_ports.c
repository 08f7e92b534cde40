/*
 * The serial ports of a GPU: through a driver's eyes at one end, and those of a worker, which here
 * is sockets in the test's hands, at the other.
 */
#include "gpu/protocol/contract.h"
#include "tests/unit/port_guest.h"
#include "tests/unit/unit.h"
#include "vm/gpu_ports.h"

#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <sys/socket.h>

enum { PORTS = PORT_FIRST + WORKER_PORTS, BLOCK = PORT_BLOCK, MUCH = MIB(1) };

struct rig {
    struct port_guest p;
    struct gpu_ports *ports;
    int ends[64]; /* of streams, the worker's; -1: closed */
    unsigned joined;
    bool refuse;
};

static int join(void *opaque)
{
    struct rig *r = opaque;
    int pair[2];

    if (r->refuse || r->joined == G_N_ELEMENTS(r->ends))
        return -1;
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    r->ends[r->joined++] = pair[1];
    return pair[0];
}

/* As Linux does where ports come: it has them, and learns their names. Nobody is at the host's
 * ends. */
static void expect_ports(struct rig *r)
{
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        char want[32];
        snprintf(want, sizeof(want), "%u 1 1", i);
        expect_message(&r->p, want);
    }
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        char want[32];
        port_guest_say(&r->p, i, VIRTIO_CONSOLE_PORT_READY, 1);
        snprintf(want, sizeof(want), "%u 7 1 org.vmd.gpu.%u", i, i);
        expect_message(&r->p, want);
    }
    expect_message(&r->p, "");
}

static void begin(struct rig *r)
{
    struct virtio_console_port ports[PORTS];

    *r = (struct rig){0};
    port_guest_init(&r->p, ports, PORTS);
    struct virtio_env env = guest_env(&r->p.g);
    r->ports = gpu_ports_new(&r->p.g.loop);
    gpu_ports_fill(r->ports, ports + PORT_FIRST);
    struct virtio_device *device = virtio_console_new(&env, ports, PORTS);
    gpu_ports_at(r->ports, device, PORT_FIRST);
    port_guest_start(&r->p, device, PORTS);
    expect_message(&r->p, ""); /* without a GPU there are none */
    gpu_ports_add(r->ports);
    expect_ports(r);
}

static void end(struct rig *r)
{
    driver_detach(&r->p.d);
    gpu_ports_at(r->ports, NULL, 0);
    gpu_ports_free(r->ports);
    guest_fini(&r->p.g);
    for (unsigned i = 0; i < r->joined; i++) {
        if (r->ends[i] >= 0)
            close(r->ends[i]);
    }
}

static void serve(struct rig *r, bool is)
{
    if (is)
        gpu_ports_serve(r->ports, join, r);
    else
        gpu_ports_stop(r->ports, r);
    guest_poll(&r->p.g);
}

/* A worker is there, and the guest is told so. */
static void serve_first(struct rig *r)
{
    serve(r, true);
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        char want[32];
        snprintf(want, sizeof(want), "%u 6 1", i);
        expect_message(&r->p, want);
    }
}

/* --- a stream's life -------------------------------------------------------------------------- */

START_TEST(joined)
{
    struct rig r;

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 1, true);
    ck_assert_uint_eq(r.joined, 1);
    ck_assert(port_guest_write(&r.p, 1, "from the guest"));
    expect_heard(r.ends[0], "from the guest");
    port_guest_offer(&r.p, 1, 64);
    ck_assert_int_eq(send(r.ends[0], "from the worker", 15, 0), 15);
    expect_read(&r.p, 1, "from the worker");
    /* Another port is another program's. */
    port_guest_open(&r.p, 3, true);
    ck_assert_uint_eq(r.joined, 2);
    ck_assert(port_guest_write(&r.p, 3, "another"));
    expect_heard(r.ends[1], "another");
    expect_heard(r.ends[0], "-");
    port_guest_open(&r.p, 1, false);
    expect_heard(r.ends[0], "");
    expect_heard(r.ends[1], "-");
    ck_assert(port_guest_write(&r.p, 1, "after its end"));
    port_guest_open(&r.p, 1, true);
    ck_assert_uint_eq(r.joined, 3);
    expect_heard(r.ends[2], "-");
    expect_message(&r.p, "");
    end(&r);
}
END_TEST

/* A program is there before the worker is. */
START_TEST(early)
{
    struct rig r;

    begin(&r);
    port_guest_open(&r.p, 0, true);
    ck_assert(!port_guest_write(&r.p, 0, "early"));
    serve_first(&r);
    ck_assert_uint_eq(r.joined, 1);
    ck_assert(driver_used(&r.p.d, port_queue(0) + 1, NULL, NULL));
    expect_heard(r.ends[0], "early");
    /* And one that is gone before. */
    serve(&r, false);
    port_guest_open(&r.p, 0, false);
    port_guest_open(&r.p, 0, true);
    ck_assert(!port_guest_write(&r.p, 0, "lost"));
    port_guest_open(&r.p, 0, false);
    ck_assert(driver_used(&r.p.d, port_queue(0) + 1, NULL, NULL));
    serve(&r, true);
    ck_assert_uint_eq(r.joined, 1);
    end(&r);
}
END_TEST

/* How streams end that the guest did not end. */
static const char *const losses[] = {"the worker is gone", "it closed the stream", "it takes none"};

START_TEST(lost)
{
    struct rig r;
    const char *name = losses[_i];

    begin(&r);
    serve_first(&r);
    r.refuse = _i == 2;
    port_guest_open(&r.p, 2, true);
    if (_i == 0) {
        serve(&r, false);
        expect_heard(r.ends[0], "");
        serve(&r, true); /* the next one is there before the guest has seen that */
    } else if (_i == 1) {
        close(r.ends[0]);
        r.ends[0] = -1;
    }
    r.refuse = false;
    char text[80];
    for (bool told = false; !told;) {
        guest_poll(&r.p.g);
        told = strcmp(port_guest_next(&r.p, text, sizeof(text)), "2 6 0") == 0;
        ck_assert_msg(!strchr(text, '7'), "%s: %s", name, text);
    }
    /* Until it is closed it is nobody's. */
    unsigned had = r.joined;
    ck_assert_msg(port_guest_write(&r.p, 2, "to nobody"), "%s", name);
    ck_assert_msg(r.joined == had, "%s", name);
    port_guest_open(&r.p, 2, false);
    bool again = false;
    while (*port_guest_next(&r.p, text, sizeof(text)))
        again |= strcmp(text, "2 6 1") == 0;
    ck_assert_msg(again, "%s", name);
    port_guest_open(&r.p, 2, true);
    ck_assert_msg(r.joined == had + 1, "%s", name);
    ck_assert_msg(port_guest_write(&r.p, 2, "anew"), "%s", name);
    expect_heard(r.ends[had], "anew");
    end(&r);
}
END_TEST

/* State is loaded in which programs have ports open: they hear that it is over, whichever worker is
 * there now. */
START_TEST(saved)
{
    struct rig r;
    bool worker = _i;

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 1, true);
    ck_assert(port_guest_write(&r.p, 1, "before"));
    expect_heard(r.ends[0], "before");
    if (!worker) {
        serve(&r, false);
        expect_message(&r.p, "0 6 0");
        expect_message(&r.p, "1 6 0");
        expect_message(&r.p, "2 6 0");
        expect_message(&r.p, "3 6 0");
    }
    guest_save_and_load(&r.p.g);
    guest_poll(&r.p.g);
    expect_heard(r.ends[0], "");
    if (worker)
        expect_message(&r.p, "1 6 0");
    expect_message(&r.p, "");
    if (!worker) {
        serve(&r, true);
        expect_message(&r.p, "0 6 1");
        expect_message(&r.p, "2 6 1");
        expect_message(&r.p, "3 6 1");
    }
    ck_assert(port_guest_write(&r.p, 1, "to nobody"));
    ck_assert_uint_eq(r.joined, 1);
    port_guest_open(&r.p, 1, false);
    expect_message(&r.p, "1 6 1");
    port_guest_open(&r.p, 1, true);
    ck_assert_uint_eq(r.joined, 2);
    ck_assert(port_guest_write(&r.p, 1, "anew"));
    expect_heard(r.ends[1], "anew");
    end(&r);
}
END_TEST

/* A new driver begins with all ports closed. */
START_TEST(reset)
{
    struct rig r;

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 0, true);
    driver_reset(&r.p.d);
    guest_poll(&r.p.g);
    expect_heard(r.ends[0], "");
    end(&r);
}
END_TEST

/* The GPU goes and another comes: programs have to look for ports anew. */
START_TEST(gone)
{
    struct rig r;
    char text[80];

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 1, true);
    ck_assert(port_guest_write(&r.p, 1, "to the first"));
    expect_heard(r.ends[0], "to the first");
    serve(&r, false);
    gpu_ports_remove(r.ports);
    guest_poll(&r.p.g);
    expect_heard(r.ends[0], "");
    expect_message(&r.p, "0 6 0");
    expect_message(&r.p, "1 6 0");
    expect_message(&r.p, "2 6 0");
    expect_message(&r.p, "3 6 0");
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        snprintf(text, sizeof(text), "%u 2 1", i);
        expect_message(&r.p, text);
    }
    expect_message(&r.p, "");
    gpu_ports_add(r.ports);
    serve(&r, true);
    /* What is said before the guest has the new port is of the one that went. */
    ck_assert(port_guest_write(&r.p, 1, "late"));
    port_guest_open(&r.p, 1, true);
    ck_assert_uint_eq(r.joined, 1);
    ck_assert(port_guest_write(&r.p, 1, "later"));
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        snprintf(text, sizeof(text), "%u 1 1", i);
        expect_message(&r.p, text);
    }
    port_guest_say(&r.p, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_message(&r.p, "1 7 1 org.vmd.gpu.1");
    expect_message(&r.p, "1 6 1");
    port_guest_open(&r.p, 1, true);
    ck_assert_uint_eq(r.joined, 2);
    ck_assert(port_guest_write(&r.p, 1, "to the second"));
    expect_heard(r.ends[1], "to the second");
    end(&r);
}
END_TEST

/* One comes before the other has gone; what is no more the guest need not hear of. */
START_TEST(overlap)
{
    struct rig r;

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 0, true);
    gpu_ports_add(r.ports);
    gpu_ports_stop(r.ports, "another worker");
    gpu_ports_remove(r.ports);
    ck_assert(port_guest_write(&r.p, 0, "still"));
    expect_heard(r.ends[0], "still");
    serve(&r, true); /* by another worker */
    expect_heard(r.ends[0], "");
    ck_assert_uint_eq(r.joined, 1);
    port_guest_open(&r.p, 0, false);
    port_guest_open(&r.p, 0, true);
    ck_assert_uint_eq(r.joined, 2);
    end(&r);
}
END_TEST

/* --- how much is held ------------------------------------------------------------------------- */

/* The guest writes and nobody reads: it waits in the guest's buffers, and comes in order. */
START_TEST(output_waits)
{
    struct rig r;

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 1, true);
    uint64_t sent = port_guest_flood(&r.p, 1, MUCH);
    port_drain(&r.p, r.ends[0], sent);
    ck_assert(driver_used(&r.p.d, port_queue(1) + 1, NULL, NULL));
    end(&r);
}
END_TEST

/* What waits when a port is closed is not the next program's. */
START_TEST(output_dropped)
{
    struct rig r;

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 0, true);
    port_guest_flood(&r.p, 0, MUCH);
    port_guest_open(&r.p, 0, false);
    ck_assert(driver_used(&r.p.d, port_queue(0) + 1, NULL, NULL));
    port_guest_open(&r.p, 0, true);
    ck_assert(port_guest_write(&r.p, 0, "new"));
    expect_heard(r.ends[1], "new");
    end(&r);
}
END_TEST

/* The worker writes and the guest takes nothing: it is the worker who waits. */
START_TEST(input_waits)
{
    struct rig r;
    uint64_t sent = 0, got = 0;
    uint8_t bytes[BLOCK];
    uint32_t length;
    ssize_t n;

    begin(&r);
    serve_first(&r);
    port_guest_open(&r.p, 1, true);
    for (unsigned idle = 0; idle < 3;) {
        for (unsigned i = 0; i < BLOCK; i++)
            bytes[i] = port_pattern(sent + i);
        n = send(r.ends[0], bytes, sizeof(bytes), MSG_DONTWAIT);
        idle = n < 0 ? idle + 1 : 0;
        sent += n > 0 ? (uint64_t)n : 0;
        ck_assert_uint_lt(sent, MUCH);
        guest_poll(&r.p.g);
    }
    while (got < sent) {
        port_guest_offer(&r.p, 1, BLOCK);
        length = port_guest_read(&r.p, 1);
        for (uint32_t i = 0; i < length; i++)
            ck_assert_uint_eq(((uint8_t *)guest_ptr(&r.p.g, r.p.block))[i], port_pattern(got + i));
        got += length;
    }
    ck_assert_uint_eq(got, sent);
    end(&r);
}
END_TEST

/* --- anything --------------------------------------------------------------------------------- */

/* Both ends do what they like, in any order. */
START_TEST(random_steps)
{
    struct rig r;
    g_autoptr(GRand) rand = g_rand_new_with_seed(20261127u + (guint32)_i);
    char text[80];

    begin(&r);
    for (unsigned step = 0; step < 3000; step++) {
        unsigned port = (unsigned)g_rand_int_range(rand, 0, WORKER_PORTS);
        unsigned stream = r.joined ? (unsigned)g_rand_int_range(rand, 0, (gint32)r.joined) : 0;
        uint32_t length = (uint32_t)g_rand_int_range(rand, 1, 64);
        switch (g_rand_int_range(rand, 0, 9)) {
        case 0:
            serve(&r, g_rand_boolean(rand));
            break;
        case 1:
            port_guest_say(&r.p, (uint32_t)g_rand_int_range(rand, 0, WORKER_PORTS + 2),
                           (uint16_t)g_rand_int_range(rand, 0, 9),
                           (uint16_t)g_rand_int_range(rand, 0, 2));
            break;
        case 2:
        case 3:
            port_guest_open(&r.p, port, g_rand_boolean(rand));
            break;
        case 4:
            port_guest_write(&r.p, port, "some text of a program");
            break;
        case 5:
            port_guest_offer(&r.p, port, length);
            break;
        case 6:
            if (r.joined && r.ends[stream] >= 0)
                send(r.ends[stream], "some text of a worker", 21, MSG_DONTWAIT | MSG_NOSIGNAL);
            break;
        case 7:
            if (r.joined && r.ends[stream] >= 0)
                close(r.ends[stream]);
            if (r.joined)
                r.ends[stream] = r.ends[--r.joined];
            break;
        case 8:
            if (g_rand_int_range(rand, 0, 4) == 0) {
                gpu_ports_remove(r.ports);
                gpu_ports_add(r.ports);
                for (unsigned i = 0; i < WORKER_PORTS; i++)
                    port_guest_say(&r.p, i, VIRTIO_CONSOLE_PORT_READY, 1);
            }
            break;
        }
        guest_poll(&r.p.g);
        while (*port_guest_next(&r.p, text, sizeof(text)))
            ;
        for (unsigned i = 0; i < WORKER_PORTS; i++) { /* rings are small */
            while (driver_used(&r.p.d, port_queue(i), NULL, NULL))
                ;
            while (driver_used(&r.p.d, port_queue(i) + 1, NULL, NULL))
                ;
        }
        if (step % 25 == 24) /* buffers in flight stay few */
            port_guest_restart(&r.p, PORTS);
    }
    end(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-ports");
    TCase *tc = tcase_create("gpu-ports");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, joined);
    tcase_add_test(tc, early);
    tcase_add_loop_test(tc, lost, 0, G_N_ELEMENTS(losses));
    tcase_add_loop_test(tc, saved, 0, 2);
    tcase_add_test(tc, reset);
    tcase_add_test(tc, gone);
    tcase_add_test(tc, overlap);
    tcase_add_test(tc, output_waits);
    tcase_add_test(tc, output_dropped);
    tcase_add_test(tc, input_waits);
    tcase_add_loop_test(tc, random_steps, 0, 4);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
