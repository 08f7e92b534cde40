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

/* Serves what FDS, which are taken, stand for. Returns once the threads run. */
bool worker_start(const struct session_env *env, const int fds[WORKER_FDS], GError **err);

/* Reports to the VM process at socket FD that this worker serves, and then whenever it asks, and
 * serves the streams that it sends, until it is gone. */
void worker_report(const struct session_env *env, int fd);

/* Serves programs that connect to the listening socket FD, for ever. */
bool worker_listen(const struct session_env *env, int fd, GError **err);

#endif
