/*
 * daemon/libvirt/polkit: questions to the system's polkit, by D-Bus: whether who has connected may do something.
 * The one that answers is org.freedesktop.PolicyKit1 on the system's bus
 * (https://www.freedesktop.org/software/polkit/docs/latest/eggdbus-interface-org.freedesktop.PolicyKit1.Authority.html).
 * Loop thread.
 */
#ifndef DAEMON_LIBVIRT_POLKIT_H
#define DAEMON_LIBVIRT_POLKIT_H

#include "proto/rpc/peer.h"

#include <uv.h>

struct polkit;
struct polkit_question;

enum polkit_answer {
    POLKIT_YES,
    POLKIT_NO,
    POLKIT_NOBODY,    /* somebody would have to be asked, and no agent is there to ask */
    POLKIT_DISMISSED, /* who was asked did not want to answer */
    POLKIT_FAILED,    /* polkit cannot be reached, or makes no sense */
};

/* NULL where the system has no bus, or no polkit on it. Waits for the bus, two seconds at most. */
struct polkit *polkit_open(uv_loop_t *loop);
/* No question is there any more. Takes NULL. */
void polkit_free(struct polkit *p);

/* Asks whether PEER may do ACTION; people may be asked, for five minutes. DONE is called once from the loop, with
 * WHY (borrowed) where the answer is POLKIT_FAILED. */
struct polkit_question *polkit_ask(struct polkit *p, const struct rpc_peer *peer, const char *action,
                                   void (*done)(void *arg, enum polkit_answer answer, const char *why),
                                   void *arg);
/* Before DONE, which does not come then: nobody waits for the answer any more. */
void polkit_forget(struct polkit_question *q);

#endif
