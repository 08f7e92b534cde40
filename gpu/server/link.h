/*
 * gpu/server/link: how a session hears its program: by the rings of a channel, or by a stream of
 * bytes.
 *
 * A link belongs to its session's thread, but for link_wake().
 */
#ifndef GPU_SERVER_LINK_H
#define GPU_SERVER_LINK_H

#include "base/base.h"
#include "gpu/protocol/ring.h"

struct link;

/* Over the channel at CHANNEL, which stays mapped. DOORBELL is an eventfd, the caller's. */
struct link *link_ring(volatile uint8_t *channel, int doorbell);
/* Over the channel of another worker's link, of which nothing is changed; link_adopt() comes next.
 */
struct link *link_moved(volatile uint8_t *channel, int doorbell);
/* Over the socket or port FD, the caller's, which is made non-blocking. It has no data window. */
struct link *link_stream(int fd);
/* Takes NULL. */
void link_free(struct link *l);

/* How long a program may leave its answers lying, in milliseconds, before it is taken to be gone; 0,
 * as at first: for ever, as one of a VM has to, which may be paused. */
void link_bound(struct link *l, int ms);

/* Where a link over rings is: the number of the program that has it, and counters of bytes. */
struct link_state {
    uint32_t open, calls, answers;
};

void link_state(const struct link *l, struct link_state *out);
/* A link_moved() is where the other was. THERE: its program is served, else link_open() is next. */
void link_adopt(struct link *l, const struct link_state *state, bool there);
/* FN(OPAQUE) is called by link_open() and link_close() whenever they wait; it may block. */
void link_on_wait(struct link *l, void (*fn)(void *opaque), void *opaque);
/* The same, now and then, while link_post() waits; it may not. NULL: nobody. */
void link_on_full(struct link *l, void (*fn)(void *opaque), void *opaque);

/* Waits until a program opens the link; false: there will be none any more. */
bool link_open(struct link *l);
/* The program is told that this session is over; the link may be opened again, unless it is a
 * stream, which is over then. */
void link_close(struct link *l);

/* Copies the next call to BUF, of GPU_RECORD_MOST bytes: its length; 0: none now; -1: the program
 * is gone, or cannot be understood. */
int link_next(struct link *l, uint8_t *buf);
/* Sends an answer; waits while there is no room for it, see link_bound(). False: the program is
 * gone. */
bool link_post(struct link *l, const void *answer, uint32_t length);
/* Whether link_post() waits for room now. Any thread. */
bool link_full(const struct link *l);
/* Returns when there may be a call, or link_wake() was called; at the latest after MS (-1: never).
 */
void link_wait(struct link *l, int ms);
/* The same, without spinning, at the latest after NS nanoseconds. */
void link_doze(struct link *l, long ns);
/* Whether the program has closed its end, as far as that shows without reading. */
bool link_gone(struct link *l);
/* Any thread. */
void link_wake(struct link *l);
/* The link is opened no more. Any thread. */
void link_quit(struct link *l);

/* LENGTH bytes at OFFSET of the data window, or NULL where they are not all in it. */
void *link_window(struct link *l, uint64_t offset, uint64_t length);
uint64_t link_window_bytes(const struct link *l);

#endif
