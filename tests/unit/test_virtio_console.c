/*
 * The virtio console through a driver's eyes: alone, and with a second port and the control queues
 * that come with it.
 */
#include "machine/virtio/console.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_console.h>
#include <stdio.h>

/* --- one port --------------------------------------------------------------------------------- */

struct terminal {
    GString *text;
    size_t room; /* bytes it takes yet */
    unsigned rooms;
};

static size_t terminal_output(void *opaque, const uint8_t *data, size_t n)
{
    struct terminal *t = opaque;

    n = MIN(n, t->room);
    g_string_append_len(t->text, (const char *)data, (gssize)n);
    t->room -= n;
    return n;
}

static void terminal_room(void *opaque)
{
    ((struct terminal *)opaque)->rooms++;
}

static const struct virtio_console_ops terminal_ops = {terminal_output, terminal_room};

START_TEST(console_both_ways)
{
    struct guest g;
    struct driver d;
    struct terminal t = {g_string_new(NULL), 4, 0};
    const struct virtio_console_port port = {NULL, &terminal_ops, &t};

    guest_init(&g, false);
    struct virtio_env env = guest_env(&g);
    struct virtio_device *dev = virtio_console_new(&env, &port, 1);
    driver_attach(&d, &g, dev, 1);
    ck_assert_uint_eq(virtio_console_input(dev, 0, (const uint8_t *)"early", 5), 0);
    driver_start(&d, VIRTIO_FEATURE(0), 2);
    virtio_console_resize(dev, 80, 25);
    ck_assert_uint_eq(guest_read(&g, d.config, 4), 25 << 16 | 80);

    /* The terminal takes a part; the buffer comes back when it took all. */
    gpa_t text = guest_alloc(&g, 64, false);
    memcpy(guest_ptr(&g, text), "hello, world", 12);
    struct piece out[] = {{text, 5, false}, {text + 5, 7, false}};
    driver_add(&d, 1, out, 2);
    driver_kick(&d, 1);
    guest_wait(&g, t.text->len == 4);
    ck_assert(!driver_used(&d, 1, NULL, NULL));
    t.room = 3;
    virtio_console_ready(dev, 0);
    ck_assert_str_eq(t.text->str, "hello, ");
    guest_save_and_load(&g); /* in the middle of a buffer */
    ck_assert(!driver_used(&d, 1, NULL, NULL));
    t.room = 100;
    virtio_console_ready(dev, 0);
    ck_assert_str_eq(t.text->str, "hello, world");
    ck_assert(driver_used(&d, 1, NULL, NULL));

    /* Input finds a buffer, or asks again when there is one. */
    gpa_t keys = guest_alloc(&g, 16, false);
    struct piece in = {keys, 4, true};
    uint32_t length;
    driver_add(&d, 0, &in, 1);
    ck_assert_uint_eq(virtio_console_input(dev, 0, (const uint8_t *)"abcdef", 6), 4);
    ck_assert(driver_used(&d, 0, NULL, &length));
    ck_assert_uint_eq(length, 4);
    ck_assert_mem_eq(guest_ptr(&g, keys), "abcd", 4);
    unsigned rooms = t.rooms;
    driver_add(&d, 0, &in, 1);
    driver_kick(&d, 0);
    guest_wait(&g, t.rooms == rooms + 1);
    ck_assert_uint_eq(virtio_console_input(dev, 0, (const uint8_t *)"ef", 2), 2);

    /* A reset while the terminal is full. */
    t.room = 0;
    driver_add(&d, 1, out, 2);
    driver_kick(&d, 1);
    guest_poll(&g);
    driver_start(&d, 0, 2);
    t.room = 100;
    g_string_truncate(t.text, 0);
    memcpy(guest_ptr(&g, text), "again", 5);
    driver_do(&d, 1, out, 1);
    ck_assert_str_eq(t.text->str, "again");
    driver_detach(&d);
    guest_fini(&g);
    g_string_free(t.text, TRUE);
}
END_TEST

/* --- two ports -------------------------------------------------------------------------------- */

enum { CONTROL_IN = 2, CONTROL_OUT, AGENT_IN, AGENT_OUT };

struct port_end {
    struct terminal t;
    GString *openings; /* a letter each: o or c */
    struct driver *d;  /* whose message opens and closes it; NULL: nobody looks at that */
};

/* The driver has not got its message back: it writes nothing yet that comes after it. */
static void port_opened(void *opaque, bool open)
{
    struct port_end *end = opaque;

    if (end->d)
        ck_assert(!driver_used(end->d, CONTROL_OUT, NULL, NULL));
    g_string_append_c(end->openings, open ? 'o' : 'c');
}

static const struct virtio_console_ops port_ops = {terminal_output, terminal_room, port_opened};

/* A driver's side of the control queues. */
struct multiport {
    struct guest g;
    struct driver d;
    struct virtio_device *dev;
    struct port_end ends[2];
    gpa_t buffers; /* of 64 bytes; offered one after the other, filled in the same order */
    unsigned offered, filled;
};

static void multiport_offer(struct multiport *m, unsigned n, uint32_t length)
{
    for (unsigned i = 0; i < n; i++) {
        struct piece p = {m->buffers + 64 * (m->offered++ % 32), length, true};
        driver_add(&m->d, CONTROL_IN, &p, 1);
    }
    driver_kick(&m->d, CONTROL_IN);
    guest_poll(&m->g);
}

static void multiport_send(struct multiport *m, uint32_t id, uint16_t event, uint16_t value,
                           uint32_t length)
{
    gpa_t at = guest_alloc(&m->g, 16, false);
    struct piece p = {at, length, false};

    memcpy(guest_ptr(&m->g, at), &(struct virtio_console_control){id, event, value}, 8);
    driver_do(&m->d, CONTROL_OUT, &p, 1);
    guest_poll(&m->g);
}

/* The next message of the device as "PORT EVENT VALUE [NAME]"; "" where there is none. */
static const char *multiport_next(struct multiport *m, char *text, size_t size)
{
    uint32_t length;

    *text = '\0';
    if (!driver_used(&m->d, CONTROL_IN, NULL, &length))
        return text;
    const uint8_t *at = guest_ptr(&m->g, m->buffers + 64 * (m->filled++ % 32));
    struct virtio_console_control c;
    memcpy(&c, at, sizeof(c));
    ck_assert_uint_ge(length, sizeof(c));
    snprintf(text, size, "%u %u %u%s%.*s", c.id, c.event, c.value, length > sizeof(c) ? " " : "",
             (int)(length - sizeof(c)), at + sizeof(c));
    return text;
}

#define expect_message(m, want)                                                                    \
    do {                                                                                           \
        char text_[80];                                                                            \
        ck_assert_str_eq(multiport_next((m), text_, sizeof(text_)), want);                         \
    } while (0)

static void multiport_init(struct multiport *m, uint64_t features)
{
    *m = (struct multiport){0};
    guest_init(&m->g, false);
    struct virtio_env env = guest_env(&m->g);
    struct virtio_console_port ports[2] = {{NULL, &port_ops, &m->ends[0]},
                                           {"org.example", &port_ops, &m->ends[1]}};
    for (unsigned i = 0; i < 2; i++)
        m->ends[i] = (struct port_end){{g_string_new(NULL), 100, 0}, g_string_new(NULL), NULL};
    m->dev = virtio_console_new(&env, ports, 2);
    driver_attach(&m->d, &m->g, m->dev, 1);
    driver_start(&m->d, features, 6);
    m->buffers = guest_alloc(&m->g, 2048, false);
}

static void multiport_fini(struct multiport *m)
{
    driver_detach(&m->d);
    guest_fini(&m->g);
    for (unsigned i = 0; i < 2; i++) {
        g_string_free(m->ends[i].t.text, TRUE);
        g_string_free(m->ends[i].openings, TRUE);
    }
}

static void multiport_write(struct multiport *m, unsigned queue, const char *text, bool wait)
{
    gpa_t at = guest_alloc(&m->g, 64, false);
    struct piece p = {at, (uint32_t)strlen(text), false};

    memcpy(guest_ptr(&m->g, at), text, strlen(text));
    if (wait)
        driver_do(&m->d, queue, &p, 1);
    else
        driver_add(&m->d, queue, &p, 1);
}

#define MULTIPORT VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT)

/* As Linux does it: ready, ports, what they are; then bytes and openings both ways. */
START_TEST(console_ports)
{
    struct multiport m;

    multiport_init(&m, MULTIPORT);
    ck_assert_uint_eq(guest_read(&m.g, m.d.config + 4, 4), 2);
    /* Nothing is said before there are buffers; nor unasked. */
    multiport_send(&m, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1, 8);
    multiport_offer(&m, 1, 64);
    expect_message(&m, "0 1 1");
    expect_message(&m, "");
    multiport_offer(&m, 8, 64);
    expect_message(&m, "1 1 1");
    expect_message(&m, "");
    guest_save_and_load(&m.g); /* with one port half told of */
    multiport_send(&m, 0, VIRTIO_CONSOLE_PORT_READY, 1, 8);
    expect_message(&m, "0 4 1");
    expect_message(&m, "0 6 1");
    multiport_send(&m, 1, VIRTIO_CONSOLE_PORT_READY, 1, 8);
    expect_message(&m, "1 7 1 org.example");
    expect_message(&m, "1 6 1");
    expect_message(&m, "");

    m.ends[1].d = &m.d;
    multiport_send(&m, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, 8);
    m.ends[1].d = NULL;
    ck_assert_str_eq(m.ends[1].openings->str, "o");
    multiport_write(&m, AGENT_OUT, "from port 1", true);
    multiport_write(&m, 1, "from port 0", true);
    ck_assert_str_eq(m.ends[1].t.text->str, "from port 1");
    ck_assert_str_eq(m.ends[0].t.text->str, "from port 0");
    struct piece in = {guest_alloc(&m.g, 64, false), 64, true};
    driver_add(&m.d, AGENT_IN, &in, 1);
    ck_assert_uint_eq(virtio_console_input(m.dev, 0, (const uint8_t *)"x", 1), 0);
    ck_assert_uint_eq(virtio_console_input(m.dev, 1, (const uint8_t *)"yes", 3), 3);
    ck_assert(driver_used(&m.d, AGENT_IN, NULL, NULL));

    /* The guest's last words come before it closes, though the control queue is seen to first. */
    multiport_write(&m, AGENT_OUT, ", bye", false);
    multiport_send(&m, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, 8);
    ck_assert_str_eq(m.ends[1].t.text->str, "from port 1, bye");
    ck_assert_str_eq(m.ends[1].openings->str, "oc");

    /* The host's end goes and comes; what is undone before the guest hears of it was nothing. */
    virtio_console_connect(m.dev, 1, false);
    virtio_console_connect(m.dev, 1, true);
    expect_message(&m, "1 6 0");
    expect_message(&m, "1 6 1");
    multiport_fini(&m);
}
END_TEST

START_TEST(console_ports_saved)
{
    struct multiport m;

    multiport_init(&m, MULTIPORT);
    multiport_send(&m, 0, VIRTIO_CONSOLE_DEVICE_READY, 1, 8);
    multiport_offer(&m, 2, 64);
    expect_message(&m, "0 1 1");
    expect_message(&m, "1 1 1");
    multiport_send(&m, 1, VIRTIO_CONSOLE_PORT_READY, 1, 8);
    multiport_send(&m, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, 8);
    m.ends[1].t.room = 2;
    multiport_write(&m, AGENT_OUT, "abcd", false);
    driver_kick(&m.d, AGENT_OUT);
    guest_wait(&m.g, m.ends[1].t.text->len == 2);
    /* Whoever loads it learns that the port is open; what was due is still. */
    guest_save_and_load(&m.g);
    ck_assert_str_eq(m.ends[1].openings->str, "oco");
    m.ends[1].t.room = 100;
    virtio_console_ready(m.dev, 1);
    ck_assert_str_eq(m.ends[1].t.text->str, "abcd");
    multiport_offer(&m, 8, 64);
    expect_message(&m, "1 7 1 org.example");
    expect_message(&m, "1 6 1");
    expect_message(&m, "");
    /* A reset closes it, and all begins anew. */
    driver_start(&m.d, MULTIPORT, 6);
    ck_assert_str_eq(m.ends[1].openings->str, "ococ");
    multiport_offer(&m, 8, 64);
    ck_assert(!driver_used(&m.d, CONTROL_IN, NULL, NULL));
    multiport_fini(&m);
}
END_TEST

/* What a driver may say that makes no sense, after DEVICE_READY unless it is the first. */
static const struct {
    const char *name;
    uint32_t id;
    uint16_t event, value;
    uint32_t length; /* of the message */
    uint32_t room;   /* of the buffers for answers */
    bool early;      /* before DEVICE_READY */
    bool error;      /* it needs a reset then */
} control_rows[] = {
    {"cut short", 0, VIRTIO_CONSOLE_PORT_READY, 1, 7, 64, false, true},
    {"longer", 0, VIRTIO_CONSOLE_PORT_READY, 1, 16, 64, false, false},
    {"of no port", 2, VIRTIO_CONSOLE_PORT_READY, 1, 8, 64, false, false},
    {"of port -1", UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1, 8, 64, false, false},
    {"of no event", 1, 99, 1, 8, 64, false, false},
    {"the device's own", 1, VIRTIO_CONSOLE_PORT_ADD, 1, 8, 64, false, false},
    {"ready too early", 1, VIRTIO_CONSOLE_PORT_READY, 1, 8, 64, true, false},
    {"open too early", 1, VIRTIO_CONSOLE_PORT_OPEN, 1, 8, 64, true, false},
    {"port not ready", 1, VIRTIO_CONSOLE_PORT_READY, 0, 8, 64, false, false},
    {"small buffers", 1, VIRTIO_CONSOLE_PORT_READY, 1, 8, 7, false, true},
    {"no room for the name", 1, VIRTIO_CONSOLE_PORT_READY, 1, 8, 18, false, true},
};

START_TEST(console_control_rows)
{
    const char *name = control_rows[_i].name;
    struct multiport m;

    multiport_init(&m, MULTIPORT);
    if (!control_rows[_i].early)
        multiport_send(&m, 0, VIRTIO_CONSOLE_DEVICE_READY, 1, 8);
    multiport_offer(&m, 8, control_rows[_i].room);
    bool error = driver_status(&m.d) & VIRTIO_CONFIG_S_NEEDS_RESET;
    if (!error) {
        gpa_t at = guest_alloc(&m.g, 16, false);
        struct piece p = {at, control_rows[_i].length, false};
        struct virtio_console_control c = {control_rows[_i].id, control_rows[_i].event,
                                           control_rows[_i].value};
        memcpy(guest_ptr(&m.g, at), &c, 8);
        for (unsigned n = 0; n < 3; n++) {
            driver_add(&m.d, CONTROL_OUT, &p, 1);
            driver_kick(&m.d, CONTROL_OUT);
            guest_poll(&m.g);
        }
        error = driver_status(&m.d) & VIRTIO_CONFIG_S_NEEDS_RESET;
    }
    ck_assert_msg(error == control_rows[_i].error, "%s: %d", name, error);
    ck_assert_msg(m.ends[1].openings->len == 0, "%s: %s", name, m.ends[1].openings->str);
    /* It works for the next driver. */
    driver_start(&m.d, MULTIPORT, 6);
    m.offered = m.filled = 0;
    multiport_offer(&m, 2, 64);
    multiport_send(&m, 0, VIRTIO_CONSOLE_DEVICE_READY, 1, 8);
    expect_message(&m, "0 1 1");
    expect_message(&m, "1 1 1");
    multiport_fini(&m);
}
END_TEST

/* A driver that knows of one port only finds the console that it knows. */
START_TEST(console_single_driver)
{
    struct multiport m;

    multiport_init(&m, 0);
    multiport_write(&m, 1, "plain", true);
    ck_assert_str_eq(m.ends[0].t.text->str, "plain");
    multiport_offer(&m, 2, 64);
    multiport_send(&m, 0, VIRTIO_CONSOLE_DEVICE_READY, 1, 8);
    multiport_send(&m, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, 8);
    expect_message(&m, "");
    ck_assert_str_eq(m.ends[1].openings->str, "");
    multiport_fini(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("virtio_console");
    TCase *tc = tcase_create("console");

    tcase_add_test(tc, console_both_ways);
    tcase_add_test(tc, console_ports);
    tcase_add_test(tc, console_ports_saved);
    tcase_add_loop_test(tc, console_control_rows, 0, G_N_ELEMENTS(control_rows));
    tcase_add_test(tc, console_single_driver);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
