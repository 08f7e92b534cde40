/*
 * daemon/opener: opens the files of a device for a VM process that may open nothing any more. A process
 * without a VM does it, confined, since what it reads are images of others. Loop thread.
 */
#ifndef DAEMON_OPENER_H
#define DAEMON_OPENER_H

#include "daemon/daemon.h"
#include "proto/schema/types.h"

struct openers;
struct opener;

/* What was opened: a descriptor for each of PATHS, then one of a tap where the device has one. Who takes a
 * descriptor puts -1 in its place. */
struct opened {
    GPtrArray *paths; /* of char * */
    GArray *fds;      /* of int */
};

/* One of the daemon: from its first device on a process waits for the next one. */
struct openers *openers_new(struct daemon *daemon);
/* Whoever had an opener has freed it. Takes NULL. */
void openers_free(struct openers *all);

/*
 * Begins to open what SPEC, which is kept by reference, needs; then calls DONE once from the loop, with FILES
 * or ERR, both borrowed. NULL with an error where the process cannot be started.
 */
struct opener *opener_new(struct openers *all, const struct device_spec *spec,
                          void (*done)(void *opaque, const struct opened *files, const GError *err),
                          void *opaque, GError **err);
/* Also from within DONE; before that, DONE does not come. Takes NULL. */
void opener_free(struct opener *opener);

#endif
