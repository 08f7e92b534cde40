/*
 * daemon/daemon: what all parts of vmd share: one of each. Loop thread.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "daemon/events.h"
#include "daemon/jobs.h"
#include "daemon/paths.h"

#include <uv.h>

struct accels;
struct gpus;
struct gpu_shares;
struct hostdevs;
struct openers;
struct disks;
struct registry;
struct warm_lists;

struct daemon {
    uv_loop_t *loop;
    struct paths paths;
    struct events *events;
    struct jobs *jobs;
    struct accels *accels;
    struct gpus *gpus;
    struct gpu_shares *gpu_shares;
    struct registry *registry;
    struct hostdevs *hostdevs;
    struct warm_lists *warm;
    struct disks *disks;
    struct openers *openers;
    struct rpc_server *server;
    unsigned soft_gpus; /* devices of the backend soft */
    uint64_t started_ns, started_monotonic_ns;
    bool leaving;
    void (*leave)(struct daemon *daemon); /* ends the daemon; VMs go on */
};

#endif
