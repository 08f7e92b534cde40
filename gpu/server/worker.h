/*
 * gpu/server/worker: the sessions of one client VM, each on a thread of its own: one for each
 * channel of the shared window, and one for the stream of bytes that the VM has besides. And, for
 * programs of the host, a socket to connect to.
 */
#ifndef GPU_SERVER_WORKER_H
#define GPU_SERVER_WORKER_H

#include "gpu/server/session.h"

enum { WORKER_MAGIC = 0x31775547 };

/* What a VM process sends first over the socket that a worker is started with, with WORKER_FDS
 * descriptors: the window's memory, a doorbell (eventfd) for each channel, and the stream of bytes.
 * The worker ends when the other end of that socket is closed. */
struct worker_hello {
    uint32_t magic, size; /* of this struct */
    uint64_t memory;      /* quota in bytes */
    char backend[16];     /* "soft" or "cuda" */
};

enum { WORKER_FDS = 2 + GPU_CHANNELS };

/* Receives the hello from socket FD; FDS get descriptors that are the caller's. */
bool worker_greet(int fd, struct worker_hello *hello, int fds[WORKER_FDS], GError **err);

/* Serves what FDS, which are taken, stand for. Returns once the threads run. */
bool worker_start(const struct session_env *env, const int fds[WORKER_FDS], GError **err);

/* Serves programs that connect to the listening socket FD, for ever. */
bool worker_listen(const struct session_env *env, int fd, GError **err);

#endif
