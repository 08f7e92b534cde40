/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/channel: calls to vmd-gpu, over what there is: the PCI function's window, the serial
 * port, or, for programs of the host, a socket.
 *
 * One lock covers a channel. A thread that waits for its answer takes others' answers, too, and
 * hands them over; nobody sleeps with the lock held. A channel that is lost (its worker died) stays
 * so: every call gives CUDA_ERROR_CONTEXT_IS_DESTROYED, and a new one may be opened beside it.
 */
#ifndef GUEST_CUDA_CHANNEL_H
#define GUEST_CUDA_CHANNEL_H

#include "gpu/protocol/ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;

/* Opens one, with *RESULT where there is none: no device, or one that speaks another version. */
struct channel *channel_open(int *result);
/* Tells what the program is called and which process it is, for people who look at who uses the
 * device; nothing where the host's side is too old to hear it. */
void channel_introduce(struct channel *c);
/* What the host said at first. */
const struct gpu_answer_hello *channel_hello(const struct channel *c);
bool channel_lost(struct channel *c);
/* Of a lost one: somebody else may have the host's side of it. Threads may still come here. */
void channel_leave(struct channel *c);
/* No thread uses it any more. */
void channel_close(struct channel *c);

/* A call's payload and what its answer brings. */
struct channel_data {
    const void *payload;
    uint32_t bytes;
    void *answer; /* its fields; NULL: not wanted */
    void *out;    /* its payload, of at most OUT_MOST bytes; NULL */
    uint32_t out_most, out_bytes;
};

/* Asks OP with FIELDS, waits, and returns the result: a CUresult. DATA may be NULL. */
int channel_call(struct channel *c, unsigned op, const void *fields, struct channel_data *data);
/* Asks without waiting; an error shows in a later answer. */
int channel_post(struct channel *c, unsigned op, const void *fields, const void *payload,
                 uint32_t bytes);
/* The first error of a post since this was last asked, or 0. */
int channel_late(struct channel *c);
/* RESULT is one of those, where there is none yet. */
void channel_fail(struct channel *c, int result);
/* Whether kernels printed something since this was last asked. */
bool channel_printed(struct channel *c);
/* Takes answers that are there. */
void channel_poll(struct channel *c);

/*
 * Asks OP and calls DONE(OPAQUE, result, payload, bytes) when the answer comes, on the thread that
 * takes it and without the lock; also when the channel is lost. A result that is not 0 is returned,
 * and DONE not called, where it could not be asked.
 */
typedef void (*channel_done)(void *opaque, int result, const void *payload, uint32_t bytes);
int channel_begin(struct channel *c, unsigned op, const void *fields, const void *payload,
                  uint32_t bytes, channel_done done, void *opaque);
/* Takes answers until *FLAG, which a DONE sets, is true. */
void channel_wait(struct channel *c, const bool *flag);
/* The same until *COUNT is 0. */
void channel_wait_none(struct channel *c, const unsigned *count);

/* Whether the calling thread is one that streams wait for: it never waits for what the program has
 * begun, which may stand behind it. */
void channel_urgent(bool urgent);
bool channel_is_urgent(void);

/* A piece of at most BYTES of the data window, of *GOT; waits while it is all in use. False: there
 * is no window, or a thread that may not wait finds none. */
bool channel_take(struct channel *c, uint64_t bytes, uint64_t *offset, uint64_t *got);
void channel_give(struct channel *c, uint64_t offset, uint64_t bytes);
volatile uint8_t *channel_window(struct channel *c, uint64_t offset);
/* Whether the window is still the one that was opened: what was read before then is the host's. */
bool channel_there(const struct channel *c);

#endif
