/*
 * daemon/spawn: VM processes and GPU workers, started by this daemon or by one before it.
 *
 * A process is known by its id and its start time, so that an id that the kernel gave to somebody
 * else is never signalled, and watched through a pidfd. Loop thread.
 */
#ifndef DAEMON_SPAWN_H
#define DAEMON_SPAWN_H

#include "base/base.h"

#include <sys/types.h>
#include <uv.h>

struct spawned {
    pid_t pid;           /* 0: none */
    uint64_t start_time; /* as in /proc/PID/stat */
    int pidfd;           /* -1: not watched */
    uv_poll_t *poll;     /* freed by its close */
    void (*gone)(void *opaque);
    void *opaque;
    bool exited; /* how is known, as it was our child: */
    int status, signal;
};

void spawned_init(struct spawned *p);

/*
 * Starts PROGRAM OPTION N in a session of its own, N one end of a new socket pair, its standard error
 * appended to the file LOG. Returns the other end, or -1. GONE is called once it is dead.
 */
int spawn_vm_process(struct spawned *p, uv_loop_t *loop, const char *program, const char *option,
                     const char *log, void (*gone)(void *opaque), void *opaque, GError **err);

/* The same with an end of a socket that there is already: SOCKET stays the caller's. */
bool spawn_process(struct spawned *p, uv_loop_t *loop, const char *program, const char *option,
                   const char *log, int socket, void (*gone)(void *opaque), void *opaque,
                   GError **err);

/* The same, with N more descriptors, which stay the caller's: PROGRAM OPTION N M, with M the first of
 * theirs. */
bool spawn_process_with(struct spawned *p, uv_loop_t *loop, const char *program, const char *option,
                        const char *log, int socket, const int *more, unsigned n,
                        void (*gone)(void *opaque), void *opaque, GError **err);

/* A process that an earlier daemon started. */
void spawned_adopt(struct spawned *p, pid_t pid, uint64_t start_time);
/* Begins to watch an adopted one; false if there is none (one that cannot be watched is killed). */
bool spawned_watch(struct spawned *p, uv_loop_t *loop, void (*gone)(void *opaque), void *opaque);

/* GONE is still to be called. */
bool spawned_watched(const struct spawned *p);
bool spawned_alive(const struct spawned *p);
void spawned_kill(struct spawned *p, int signal);
/* Watches it no longer; it may go on. */
void spawned_forget(struct spawned *p);

#endif
