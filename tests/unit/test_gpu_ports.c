/*
 * The serial ports of a GPU: through a driver's eyes at one end, and those of a worker, which here
 * is sockets in the test's hands, at the other.
 */
#include "gpu/protocol/contract.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"
#include "vm/gpu_ports.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <sys/socket.h>

/* The first port is a console. */
enum { FIRST = 1, CONTROL_IN = 2, CONTROL_OUT, QUEUES = 2 * (FIRST + WORKER_PORTS) + 2 };
G_STATIC_ASSERT(QUEUES <= GUEST_QUEUES);
enum { BLOCK = 4096, MUCH = MIB(1) };

struct rig {
    struct guest g;
    struct driver d;
    struct gpu_ports *ports;
    int ends[64]; /* of streams, the worker's; -1: closed */
    unsigned joined;
    bool refuse;
    gpa_t control, messages, block; /* buffers for control both ways, and for bytes */
    unsigned offered, filled;
};

static unsigned in_queue(unsigned port)
{
    return 2 * (FIRST + port) + 2;
}

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

static void offer(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct piece p = {r->messages + 64 * (r->offered++ % 32), 64, true};
        driver_add(&r->d, CONTROL_IN, &p, 1);
    }
    driver_kick(&r->d, CONTROL_IN);
    guest_poll(&r->g);
}

/* Of a port, as all numbers here from the first of the GPU's. */
static void say(struct rig *r, uint32_t id, uint16_t event, uint16_t value)
{
    struct piece p = {r->control, 8, false};

    memcpy(guest_ptr(&r->g, r->control), &(struct virtio_console_control){FIRST + id, event, value},
           8);
    driver_do(&r->d, CONTROL_OUT, &p, 1);
    guest_poll(&r->g);
}

/* The next message of the device as "PORT EVENT VALUE [NAME]"; "" where there is none. Its buffer
 * is offered anew. */
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
        ck_assert_str_eq(next((r), text_, sizeof(text_)), want);                                   \
    } while (0)

static size_t console_output(void *opaque, const uint8_t *data, size_t n)
{
    return n;
}

static const struct virtio_console_ops console_ops = {.output = console_output};

/* As Linux does where ports come: it has them, and learns their names. Nobody is at the host's
 * ends. */
static void expect_ports(struct rig *r)
{
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        char want[32];
        snprintf(want, sizeof(want), "%u 1 1", i);
        expect_message(r, want);
    }
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        char want[32];
        say(r, i, VIRTIO_CONSOLE_PORT_READY, 1);
        snprintf(want, sizeof(want), "%u 7 1 org.vmd.gpu.%u", i, i);
        expect_message(r, want);
    }
    expect_message(r, "");
}

static void begin(struct rig *r)
{
    struct virtio_console_port ports[FIRST + WORKER_PORTS] = {{NULL, &console_ops, NULL}};

    *r = (struct rig){0};
    guest_init(&r->g, false);
    struct virtio_env env = guest_env(&r->g);
    r->ports = gpu_ports_new(&r->g.loop);
    gpu_ports_fill(r->ports, ports + FIRST);
    struct virtio_device *device = virtio_console_new(&env, ports, G_N_ELEMENTS(ports));
    gpu_ports_at(r->ports, device, FIRST);
    driver_attach(&r->d, &r->g, device, 1);
    driver_start(&r->d, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT), QUEUES);
    r->control = guest_alloc(&r->g, 16, false);
    r->messages = guest_alloc(&r->g, 2048, false);
    r->block = guest_alloc(&r->g, BLOCK, true);
    offer(r, 32);
    say(r, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
    expect_message(r, "-1 1 1");
    expect_message(r, ""); /* without a GPU there are none */
    gpu_ports_add(r->ports);
    expect_ports(r);
}

static void end(struct rig *r)
{
    driver_detach(&r->d);
    gpu_ports_at(r->ports, NULL, 0);
    gpu_ports_free(r->ports);
    guest_fini(&r->g);
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
    guest_poll(&r->g);
}

/* A worker is there, and the guest is told so. */
static void serve_first(struct rig *r)
{
    serve(r, true);
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        char want[32];
        snprintf(want, sizeof(want), "%u 6 1", i);
        expect_message(r, want);
    }
}

static void set_open(struct rig *r, unsigned port, bool open)
{
    say(r, port, VIRTIO_CONSOLE_PORT_OPEN, open);
}

/* Adds TEXT to what PORT sends; whether it was taken. */
static bool write_text(struct rig *r, unsigned port, const char *text)
{
    struct piece p = {r->block, (uint32_t)strlen(text), false};

    memcpy(guest_ptr(&r->g, r->block), text, strlen(text));
    driver_add(&r->d, in_queue(port) + 1, &p, 1);
    driver_kick(&r->d, in_queue(port) + 1);
    guest_poll(&r->g);
    return driver_used(&r->d, in_queue(port) + 1, NULL, NULL);
}

/* What came to the worker's end, "" where it is over, "-" where there is nothing. */
static const char *heard(int fd, char *text, size_t size)
{
    ssize_t n = recv(fd, text, size - 1, MSG_DONTWAIT);

    if (n < 0) {
        ck_assert_int_eq(errno, EAGAIN);
        return "-";
    }
    text[n] = 0;
    return text;
}

#define expect_heard(fd, want)                                                                     \
    do {                                                                                           \
        char text_[80];                                                                            \
        ck_assert_str_eq(heard((fd), text_, sizeof(text_)), want);                                 \
    } while (0)

/* --- a stream's life -------------------------------------------------------------------------- */

START_TEST(joined)
{
    struct rig r;
    uint32_t length;

    begin(&r);
    serve_first(&r);
    set_open(&r, 1, true);
    ck_assert_uint_eq(r.joined, 1);
    ck_assert(write_text(&r, 1, "from the guest"));
    expect_heard(r.ends[0], "from the guest");
    struct piece in = {r.block, 64, true};
    driver_add(&r.d, in_queue(1), &in, 1);
    ck_assert_int_eq(send(r.ends[0], "from the worker", 15, 0), 15);
    guest_wait(&r.g, driver_used(&r.d, in_queue(1), NULL, &length));
    ck_assert(length == 15 && memcmp(guest_ptr(&r.g, r.block), "from the worker", 15) == 0);
    /* Another port is another program's. */
    set_open(&r, 3, true);
    ck_assert_uint_eq(r.joined, 2);
    ck_assert(write_text(&r, 3, "another"));
    expect_heard(r.ends[1], "another");
    expect_heard(r.ends[0], "-");
    set_open(&r, 1, false);
    expect_heard(r.ends[0], "");
    expect_heard(r.ends[1], "-");
    ck_assert(write_text(&r, 1, "after its end"));
    set_open(&r, 1, true);
    ck_assert_uint_eq(r.joined, 3);
    expect_heard(r.ends[2], "-");
    expect_message(&r, "");
    end(&r);
}
END_TEST

/* A program is there before the worker is. */
START_TEST(early)
{
    struct rig r;

    begin(&r);
    set_open(&r, 0, true);
    ck_assert(!write_text(&r, 0, "early"));
    serve_first(&r);
    ck_assert_uint_eq(r.joined, 1);
    ck_assert(driver_used(&r.d, in_queue(0) + 1, NULL, NULL));
    expect_heard(r.ends[0], "early");
    /* And one that is gone before. */
    serve(&r, false);
    set_open(&r, 0, false);
    set_open(&r, 0, true);
    ck_assert(!write_text(&r, 0, "lost"));
    set_open(&r, 0, false);
    ck_assert(driver_used(&r.d, in_queue(0) + 1, NULL, NULL));
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
    set_open(&r, 2, true);
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
        guest_poll(&r.g);
        told = strcmp(next(&r, text, sizeof(text)), "2 6 0") == 0;
        ck_assert_msg(!strchr(text, '7'), "%s: %s", name, text);
    }
    /* Until it is closed it is nobody's. */
    unsigned had = r.joined;
    ck_assert_msg(write_text(&r, 2, "to nobody"), "%s", name);
    ck_assert_msg(r.joined == had, "%s", name);
    set_open(&r, 2, false);
    bool again = false;
    while (*next(&r, text, sizeof(text)))
        again |= strcmp(text, "2 6 1") == 0;
    ck_assert_msg(again, "%s", name);
    set_open(&r, 2, true);
    ck_assert_msg(r.joined == had + 1, "%s", name);
    ck_assert_msg(write_text(&r, 2, "anew"), "%s", name);
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
    set_open(&r, 1, true);
    ck_assert(write_text(&r, 1, "before"));
    expect_heard(r.ends[0], "before");
    if (!worker) {
        serve(&r, false);
        expect_message(&r, "0 6 0");
        expect_message(&r, "1 6 0");
        expect_message(&r, "2 6 0");
        expect_message(&r, "3 6 0");
    }
    guest_save_and_load(&r.g);
    guest_poll(&r.g);
    expect_heard(r.ends[0], "");
    if (worker)
        expect_message(&r, "1 6 0");
    expect_message(&r, "");
    if (!worker) {
        serve(&r, true);
        expect_message(&r, "0 6 1");
        expect_message(&r, "2 6 1");
        expect_message(&r, "3 6 1");
    }
    ck_assert(write_text(&r, 1, "to nobody"));
    ck_assert_uint_eq(r.joined, 1);
    set_open(&r, 1, false);
    expect_message(&r, "1 6 1");
    set_open(&r, 1, true);
    ck_assert_uint_eq(r.joined, 2);
    ck_assert(write_text(&r, 1, "anew"));
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
    set_open(&r, 0, true);
    driver_reset(&r.d);
    guest_poll(&r.g);
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
    set_open(&r, 1, true);
    ck_assert(write_text(&r, 1, "to the first"));
    expect_heard(r.ends[0], "to the first");
    serve(&r, false);
    gpu_ports_remove(r.ports);
    guest_poll(&r.g);
    expect_heard(r.ends[0], "");
    expect_message(&r, "0 6 0");
    expect_message(&r, "1 6 0");
    expect_message(&r, "2 6 0");
    expect_message(&r, "3 6 0");
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        snprintf(text, sizeof(text), "%u 2 1", i);
        expect_message(&r, text);
    }
    expect_message(&r, "");
    gpu_ports_add(r.ports);
    serve(&r, true);
    /* What is said before the guest has the new port is of the one that went. */
    ck_assert(write_text(&r, 1, "late"));
    set_open(&r, 1, true);
    ck_assert_uint_eq(r.joined, 1);
    ck_assert(write_text(&r, 1, "later"));
    for (unsigned i = 0; i < WORKER_PORTS; i++) {
        snprintf(text, sizeof(text), "%u 1 1", i);
        expect_message(&r, text);
    }
    say(&r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_message(&r, "1 7 1 org.vmd.gpu.1");
    expect_message(&r, "1 6 1");
    set_open(&r, 1, true);
    ck_assert_uint_eq(r.joined, 2);
    ck_assert(write_text(&r, 1, "to the second"));
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
    set_open(&r, 0, true);
    gpu_ports_add(r.ports);
    gpu_ports_stop(r.ports, "another worker");
    gpu_ports_remove(r.ports);
    ck_assert(write_text(&r, 0, "still"));
    expect_heard(r.ends[0], "still");
    serve(&r, true); /* by another worker */
    expect_heard(r.ends[0], "");
    ck_assert_uint_eq(r.joined, 1);
    set_open(&r, 0, false);
    set_open(&r, 0, true);
    ck_assert_uint_eq(r.joined, 2);
    end(&r);
}
END_TEST

/* --- how much is held ------------------------------------------------------------------------- */

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

/* The guest writes and nobody reads: it waits in the guest's buffers, and comes in order. */
START_TEST(output_waits)
{
    struct rig r;
    uint64_t sent = 0, got = 0;
    unsigned queue = in_queue(1) + 1;
    uint8_t bytes[BLOCK];
    struct piece p;

    begin(&r);
    serve_first(&r);
    set_open(&r, 1, true);
    p = (struct piece){r.block, BLOCK, false};
    do {
        for (unsigned i = 0; i < BLOCK; i++)
            ((uint8_t *)guest_ptr(&r.g, r.block))[i] = pattern(sent + i);
        driver_add(&r.d, queue, &p, 1);
        driver_kick(&r.d, queue);
        guest_poll(&r.g);
        sent += BLOCK;
        ck_assert_uint_lt(sent, MUCH);
    } while (driver_used(&r.d, queue, NULL, NULL));
    while (got < sent) {
        ssize_t n = recv(r.ends[0], bytes, sizeof(bytes), MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++)
            ck_assert_uint_eq(bytes[i], pattern(got + (uint64_t)i));
        got += n > 0 ? (uint64_t)n : 0;
        guest_poll(&r.g);
    }
    ck_assert(driver_used(&r.d, queue, NULL, NULL));
    end(&r);
}
END_TEST

/* What waits when a port is closed is not the next program's. */
START_TEST(output_dropped)
{
    struct rig r;
    char text[8];
    unsigned n = 0;

    begin(&r);
    serve_first(&r);
    set_open(&r, 0, true);
    struct piece p = {r.block, BLOCK, false};
    do {
        driver_add(&r.d, in_queue(0) + 1, &p, 1);
        driver_kick(&r.d, in_queue(0) + 1);
        guest_poll(&r.g);
        ck_assert_uint_lt(++n, MUCH / BLOCK);
    } while (driver_used(&r.d, in_queue(0) + 1, NULL, NULL));
    set_open(&r, 0, false);
    ck_assert(driver_used(&r.d, in_queue(0) + 1, NULL, NULL));
    set_open(&r, 0, true);
    ck_assert(write_text(&r, 0, "new"));
    ck_assert_str_eq(heard(r.ends[1], text, sizeof(text)), "new");
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
    set_open(&r, 1, true);
    for (unsigned idle = 0; idle < 3;) {
        for (unsigned i = 0; i < BLOCK; i++)
            bytes[i] = pattern(sent + i);
        n = send(r.ends[0], bytes, sizeof(bytes), MSG_DONTWAIT);
        idle = n < 0 ? idle + 1 : 0;
        sent += n > 0 ? (uint64_t)n : 0;
        ck_assert_uint_lt(sent, MUCH);
        guest_poll(&r.g);
    }
    struct piece p = {r.block, BLOCK, true};
    while (got < sent) {
        driver_add(&r.d, in_queue(1), &p, 1);
        driver_kick(&r.d, in_queue(1));
        guest_wait(&r.g, driver_used(&r.d, in_queue(1), NULL, &length));
        for (uint32_t i = 0; i < length; i++)
            ck_assert_uint_eq(((uint8_t *)guest_ptr(&r.g, r.block))[i], pattern(got + i));
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
        struct piece in = {r.block, (uint32_t)g_rand_int_range(rand, 1, 64), true};
        switch (g_rand_int_range(rand, 0, 9)) {
        case 0:
            serve(&r, g_rand_boolean(rand));
            break;
        case 1:
            say(&r, (uint32_t)g_rand_int_range(rand, 0, WORKER_PORTS + 2),
                (uint16_t)g_rand_int_range(rand, 0, 9), (uint16_t)g_rand_int_range(rand, 0, 2));
            break;
        case 2:
        case 3:
            set_open(&r, port, g_rand_boolean(rand));
            break;
        case 4:
            write_text(&r, port, "some text of a program");
            break;
        case 5:
            driver_add(&r.d, in_queue(port), &in, 1);
            driver_kick(&r.d, in_queue(port));
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
                    say(&r, i, VIRTIO_CONSOLE_PORT_READY, 1);
            }
            break;
        }
        guest_poll(&r.g);
        while (*next(&r, text, sizeof(text)))
            ;
        for (unsigned i = 0; i < WORKER_PORTS; i++) { /* rings are small */
            while (driver_used(&r.d, in_queue(i), NULL, NULL))
                ;
            while (driver_used(&r.d, in_queue(i) + 1, NULL, NULL))
                ;
        }
        if (step % 25 == 24) { /* buffers in flight stay few */
            driver_start(&r.d, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT), QUEUES);
            r.offered = r.filled = 0;
            offer(&r, 32);
            say(&r, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
        }
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
