/*
 * gpu/server/compile_serve: the process that has guests' sources compiled by ROCm's hiprtc. The
 * HIP backend starts it before its worker gives up its rights, and it ends with the worker.
 *
 * It looks into no source itself: each is compiled by a process of its own (compile_run.h), with a
 * folder for what compilers write, which is removed; one that takes too long is killed, and what
 * goes wrong is the result of that compile alone.
 */
#ifndef GPU_SERVER_COMPILE_SERVE_H
#define GPU_SERVER_COMPILE_SERVE_H

#include "base/base.h"

/* Starts it, as this program with --compile. Returns the socket to it, the caller's; -1 with an
 * error. */
int compile_start(GError **err);

/* Serves at the socket FD until the other end is closed. */
bool compile_serve(int fd, GError **err);

#endif
