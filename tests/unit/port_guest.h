/*
 * A guest's driver of a virtio console with several ports, of which the first is a console whose
 * output goes nowhere. Ports are counted from the one after that. See virtio_guest.h.
 */
#ifndef TESTS_UNIT_PORT_GUEST_H
#define TESTS_UNIT_PORT_GUEST_H

#include "machine/virtio/console.h"
#include "tests/unit/virtio_guest.h"

enum { PORT_FIRST = 1, PORT_BLOCK = 4096 };

struct port_guest {
    struct guest g;
    struct driver d;
    gpa_t block;             /* PORT_BLOCK bytes, for what is written and read */
    gpa_t control, messages; /* buffers for control both ways */
    unsigned offered, filled;
};

/* A guest, as guest_init() makes it, for a console with N ports of which all but the first are to
 * be filled in. */
void port_guest_init(struct port_guest *p, struct virtio_console_port *ports, unsigned n);
/* Its driver takes DEVICE, which has N ports, and asks for them; the console is there. */
void port_guest_start(struct port_guest *p, struct virtio_device *device, unsigned n);
/* A driver begins anew. */
void port_guest_restart(struct port_guest *p, unsigned n);

/* The queue of what PORT gets; the one of what it sends is the next. */
unsigned port_queue(unsigned port);

/* Sends a message of control. */
void port_guest_say(struct port_guest *p, uint32_t port, uint16_t event, uint16_t value);
void port_guest_open(struct port_guest *p, unsigned port, bool open);
/* The next message of the device as "PORT EVENT VALUE [NAME]"; "" where there is none. Its buffer
 * is offered anew. */
const char *port_guest_next(struct port_guest *p, char *text, size_t size);

/* Adds TEXT to what PORT sends; whether it was taken. */
bool port_guest_write(struct port_guest *p, unsigned port, const char *text);
/* Offers BLOCK's first LENGTH bytes for what PORT gets. */
void port_guest_offer(struct port_guest *p, unsigned port, uint32_t length);
/* Waits for what PORT gets in BLOCK; returns how many bytes. */
uint32_t port_guest_read(struct port_guest *p, unsigned port);

/* That the next message is there, "" for none; or that it comes. */
#define expect_message(p, want)                                                                    \
    do {                                                                                           \
        char text_[80];                                                                            \
        ck_assert_str_eq(port_guest_next((p), text_, sizeof(text_)), want);                        \
    } while (0)
#define await_message(p, want)                                                                     \
    do {                                                                                           \
        char text_[80];                                                                            \
        guest_wait(&(p)->g, *port_guest_next((p), text_, sizeof(text_)));                          \
        ck_assert_str_eq(text_, want);                                                             \
    } while (0)
/* That what PORT gets next is TEXT, in a buffer that was offered. */
#define expect_read(p, port, text)                                                                 \
    do {                                                                                           \
        uint32_t length_ = port_guest_read((p), (port));                                           \
        ck_assert_uint_eq(length_, strlen(text));                                                  \
        ck_assert_mem_eq(guest_ptr(&(p)->g, (p)->block), (text), length_);                         \
    } while (0)

/* --- the host's ends -------------------------------------------------------------------------- */

/* What came to FD in one piece: "" where it is over, "-" where there is nothing. */
const char *port_heard(int fd, char *text, size_t size);

/* That what came is WANT, or that it comes. */
#define expect_heard(fd, want)                                                                     \
    do {                                                                                           \
        char text_[80];                                                                            \
        ck_assert_str_eq(port_heard((fd), text_, sizeof(text_)), want);                            \
    } while (0)
#define await_heard(p, fd, want)                                                                   \
    do {                                                                                           \
        char text_[80];                                                                            \
        guest_wait(&(p)->g, strcmp(port_heard((fd), text_, sizeof(text_)), "-") != 0);             \
        ck_assert_str_eq(text_, want);                                                             \
    } while (0)

/* A byte of a long text, by which an order is seen. */
uint8_t port_pattern(uint64_t at);
/* Has PORT send the pattern until one block is not taken; how many bytes there were, with that. */
uint64_t port_guest_flood(struct port_guest *p, unsigned port, uint64_t less_than);
/* Reads N bytes of the pattern at FD while the guest goes on. */
void port_drain(struct port_guest *p, int fd, uint64_t n);

#endif
