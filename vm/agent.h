/*
 * vm/agent: the host's side of vmd-agent, a program in the guest that does what only the guest can
 * do (docs/architecture/agent.md).
 *
 * It talks to the agent over a port of the virtio console; the protocol's lines are
 * guest/agent/line.h's. When the guest opens the port it is asked who it is; once it has answered,
 * it is present and can be asked more. Whatever it says is hostile: it speaks only when it is
 * asked, in bounded lines, and is cut off for LIMIT_AGENT_PAUSE_MS when it does otherwise. Times
 * are guest time: they stand while the VM does. Loop thread only.
 */
#ifndef VM_AGENT_H
#define VM_AGENT_H

#include "base/base.h"
#include "mem/clock.h"

#include <uv.h>

struct agent;

struct agent_ops {
    /* Bytes for the guest; returns how many of the N were taken. After fewer agent_room() is due.
     */
    size_t (*send)(void *opaque, const uint8_t *data, size_t n);
    /* Tells the guest that somebody listens at the port, or that nobody does any more. */
    void (*connect)(void *opaque, bool connected);
    /* It came or went: agent_present() says which. May be NULL. */
    void (*changed)(void *opaque);
};

/* OPS and OPAQUE outlive it. It listens from the start: the port is to be made connected. */
struct agent *agent_new(uv_loop_t *loop, struct vm_clock *clock, const struct agent_ops *ops,
                        void *opaque);
/* Drops questions without a reply. Not from a reply. Handles are freed by the loop's next turns.
 * Takes NULL. */
void agent_free(struct agent *agent);

/* --- from the port -------------------------------------------------------------------------- */

/* The guest opened the port, or closed it (as a reset of the guest or of its driver does). */
void agent_opened(struct agent *agent, bool open);
/* The guest wrote: all of it is taken. */
void agent_input(struct agent *agent, const uint8_t *data, size_t n);
/* The port takes bytes again. */
void agent_room(struct agent *agent);
/* Guest time goes on after it stood. */
void agent_clock_changed(struct agent *agent);

/* --- to the agent --------------------------------------------------------------------------- */

/* Whether it is there and has said who it is. */
bool agent_present(const struct agent *agent);
/* Whether it is there and knows VERB. */
bool agent_can(const struct agent *agent, const char *verb);
/* Its version and the guest's kernel as it tells them, printable and short; NULL while it is not
 * there. */
const char *agent_version(const struct agent *agent);
const char *agent_kernel(const struct agent *agent);
/* Why it was last cut off; NULL: it was not. Static. */
const char *agent_fault(const struct agent *agent);

struct agent_reply {
    /* 0: done. Else an errno: the guest's, or ETIMEDOUT (no answer in time; the guest may do it
     * yet), ECONNRESET (the agent went away, same), EPROTO (it was cut off). */
    int error;
    const char *text; /* of an error, printable; the guest's words where the guest answered */
    unsigned n;       /* words of a good answer, decoded: any bytes but 0 */
    const char *const *words; /* NULL after the last; until the callback returns */
};
typedef void (*agent_reply_fn)(void *opaque, const struct agent_reply *reply);

/*
 * Asks WORDS (a verb, then its arguments, then NULL). REPLY is called exactly once, never from
 * within, unless the question is cancelled first. Returns the question's number, for
 * agent_cancel(), or -ENOTCONN (not present), -EOPNOTSUPP (it does not know the verb), -EBUSY
 * (LIMIT_AGENT_QUESTIONS are unanswered), -E2BIG (longer than a line).
 */
int64_t agent_ask(struct agent *agent, const char *const *words, unsigned timeout_ms,
                  agent_reply_fn reply, void *opaque);

/* REPLY of question NUMBER will not be called; nothing where it was already. The guest may do it
 * all the same. */
void agent_cancel(struct agent *agent, int64_t number);

#endif
