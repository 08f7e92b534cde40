/* A session on a thread, and records that a test writes by hand. */
#ifndef TESTS_GPU_BY_HAND_H
#define TESTS_GPU_BY_HAND_H

#include "gpu/server/session.h"

struct by_hand {
    struct session_env env;
    int fd;          /* the program's end of its stream */
    int its;         /* the session's */
    GThread *thread; /* by_hand.c's own */
};

/* Begins a session of ENV, over a stream of bytes. */
void by_hand_begin(struct by_hand *h);
/* The program goes, the session with it. */
void by_hand_end(struct by_hand *h);

/* Says a record. */
void by_hand_say(const struct by_hand *h, unsigned op, uint16_t flags, const void *fields,
                 const void *payload, uint32_t bytes);
/* Says a record, and gives the result that is answered. */
int by_hand_ask(const struct by_hand *h, unsigned op, const void *fields, const void *payload,
                uint32_t bytes);

#endif
