/* A driver of several ports. See port_guest.h. */
#include "tests/unit/port_guest.h"

#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <sys/socket.h>

enum { CONTROL_IN = 2, CONTROL_OUT, MESSAGES = 32, MESSAGE_BYTES = 64 };

unsigned port_queue(unsigned port)
{
    return 2 * (PORT_FIRST + port) + 2;
}

static size_t console_output(void *opaque, const uint8_t *data, size_t n)
{
    return n;
}

static const struct virtio_console_ops console_ops = {.output = console_output};

void port_guest_init(struct port_guest *p, struct virtio_console_port *ports, unsigned n)
{
    *p = (struct port_guest){0};
    memset(ports, 0, n * sizeof(*ports));
    ports[0].ops = &console_ops;
    guest_init(&p->g, false);
}

static void offer_messages(struct port_guest *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        gpa_t at = p->messages + MESSAGE_BYTES * (p->offered++ % MESSAGES);
        struct piece piece = {at, MESSAGE_BYTES, true};
        driver_add(&p->d, CONTROL_IN, &piece, 1);
    }
    driver_kick(&p->d, CONTROL_IN);
    guest_poll(&p->g);
}

/* Of a port, or of all. */
static void say(struct port_guest *p, uint32_t id, uint16_t event, uint16_t value)
{
    struct piece piece = {p->control, sizeof(struct virtio_console_control), false};

    memcpy(guest_ptr(&p->g, p->control), &(struct virtio_console_control){id, event, value},
           piece.length);
    driver_do(&p->d, CONTROL_OUT, &piece, 1);
    guest_poll(&p->g);
}

void port_guest_restart(struct port_guest *p, unsigned n)
{
    driver_start(&p->d, VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT), 2 * n + 2);
    p->offered = p->filled = 0;
    offer_messages(p, MESSAGES);
    say(p, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
}

void port_guest_start(struct port_guest *p, struct virtio_device *device, unsigned n)
{
    ck_assert_uint_le(2 * n + 2, GUEST_QUEUES);
    driver_attach(&p->d, &p->g, device, 1);
    p->control = guest_alloc(&p->g, 16, false);
    p->messages = guest_alloc(&p->g, MESSAGES * MESSAGE_BYTES, false);
    p->block = guest_alloc(&p->g, PORT_BLOCK, true);
    port_guest_restart(p, n);
    await_message(p, "-1 1 1");
}

void port_guest_say(struct port_guest *p, uint32_t port, uint16_t event, uint16_t value)
{
    say(p, PORT_FIRST + port, event, value);
}

void port_guest_open(struct port_guest *p, unsigned port, bool open)
{
    port_guest_say(p, port, VIRTIO_CONSOLE_PORT_OPEN, open);
}

const char *port_guest_next(struct port_guest *p, char *text, size_t size)
{
    struct virtio_console_control c;
    uint32_t length;

    *text = '\0';
    if (!driver_used(&p->d, CONTROL_IN, NULL, &length))
        return text;
    const uint8_t *at = guest_ptr(&p->g, p->messages + MESSAGE_BYTES * (p->filled++ % MESSAGES));
    memcpy(&c, at, sizeof(c));
    snprintf(text, size, "%d %u %u%s%.*s", (int)c.id - PORT_FIRST, c.event, c.value,
             length > sizeof(c) ? " " : "", (int)(length - sizeof(c)), at + sizeof(c));
    offer_messages(p, 1);
    return text;
}

/* --- bytes ------------------------------------------------------------------------------------ */

static bool write_block(struct port_guest *p, unsigned port, uint32_t length)
{
    struct piece piece = {p->block, length, false};

    driver_add(&p->d, port_queue(port) + 1, &piece, 1);
    driver_kick(&p->d, port_queue(port) + 1);
    guest_poll(&p->g);
    return driver_used(&p->d, port_queue(port) + 1, NULL, NULL);
}

bool port_guest_write(struct port_guest *p, unsigned port, const char *text)
{
    memcpy(guest_ptr(&p->g, p->block), text, strlen(text));
    return write_block(p, port, (uint32_t)strlen(text));
}

void port_guest_offer(struct port_guest *p, unsigned port, uint32_t length)
{
    struct piece piece = {p->block, length, true};

    driver_add(&p->d, port_queue(port), &piece, 1);
    driver_kick(&p->d, port_queue(port));
}

uint32_t port_guest_read(struct port_guest *p, unsigned port)
{
    uint32_t length;

    guest_wait(&p->g, driver_used(&p->d, port_queue(port), NULL, &length));
    return length;
}

const char *port_heard(int fd, char *text, size_t size)
{
    ssize_t n = recv(fd, text, size - 1, MSG_DONTWAIT);

    if (n < 0) {
        ck_assert_int_eq(errno, EAGAIN);
        return "-";
    }
    text[n] = 0;
    return text;
}

uint8_t port_pattern(uint64_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

uint64_t port_guest_flood(struct port_guest *p, unsigned port, uint64_t less_than)
{
    uint8_t *block = guest_ptr(&p->g, p->block);
    uint64_t sent = 0;
    bool taken = true;

    for (; taken; sent += PORT_BLOCK) {
        ck_assert_uint_lt(sent, less_than);
        for (unsigned i = 0; i < PORT_BLOCK; i++)
            block[i] = port_pattern(sent + i);
        taken = write_block(p, port, PORT_BLOCK);
    }
    return sent;
}

void port_drain(struct port_guest *p, int fd, uint64_t n)
{
    uint8_t bytes[PORT_BLOCK];

    for (uint64_t got = 0; got < n;) {
        ssize_t part = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        for (ssize_t i = 0; i < part; i++)
            ck_assert_uint_eq(bytes[i], port_pattern(got + (uint64_t)i));
        got += part > 0 ? (uint64_t)part : 0;
        guest_poll(&p->g);
    }
}
