/*
 * gpu/server/worker: the sessions of one client VM, each on a thread of its own: one for each
 * channel of the shared window. And, for programs of the host, a socket to connect to.
 */
#ifndef GPU_SERVER_WORKER_H
#define GPU_SERVER_WORKER_H

#include "gpu/protocol/contract.h"
#include "gpu/server/session.h"

/* Receives the hello from socket FD; FDS get descriptors that are the caller's. */
bool worker_greet(int fd, struct worker_hello *hello, int fds[WORKER_FDS], GError **err);

/* A meter over the pages of gpu/protocol/share.h, the descriptors USE and GRANT, which are taken;
 * NULL with an error. */
struct meter *worker_meter(int use, int grant, GError **err);

/* The sessions of a VM, that can stand still together. */
struct worker_seats {
    struct hold *hold;
    bool loaded; /* or tried to: once is all */
    struct session_seat seats[GPU_CHANNELS];
};

/* Serves what FDS, which are taken, stand for. Returns once the threads run. SEATS stays as long as
 * they do. MOVED: they stand still, for another worker's sessions to be loaded. */
bool worker_start(const struct session_env *env, struct worker_seats *seats,
                  const int fds[WORKER_FDS], bool moved, GError **err);

/* Reports to the VM process at socket FD that this worker serves, and then does what it is told,
 * and serves the streams that it sends, until it is gone. */
void worker_report(const struct session_env *env, struct worker_seats *seats, int fd);

/* Serves a program at SOCKET, which is taken, by a stream of bytes. COUNT, which may be NULL, is of
 * such streams: one is taken from it at the end. */
bool worker_stream(const struct session_env *env, int socket, unsigned *count, GError **err);

/*
 * Has all sessions stand still, for what runs at most MS, and writes them to a new file: its
 * descriptor, the caller's, while they stand still until hold_end(). -1 with an error where that
 * cannot be, such as VMD_ERROR_TIMEOUT; then they go on.
 */
int worker_save(const struct session_env *env, struct worker_seats *seats, unsigned ms,
                GError **err);
/* Sessions that stand still are those of the image FD, from hold_end() on. On failure there are
 * none, and the worker is of no use any more. */
bool worker_load(const struct session_env *env, struct worker_seats *seats, int fd, GError **err);

/* Serves programs that connect to the listening socket FD, for ever. */
bool worker_listen(const struct session_env *env, int fd, GError **err);

#endif
