/*
 * daemon/accels: what can run VMs on this host. The daemon runs no guest code, so a process of vmd-vm
 * measures and tells. Loop thread.
 */
#ifndef DAEMON_ACCELS_H
#define DAEMON_ACCELS_H

#include "proto/jsonrpc/rpc.h"

#include <uv.h>

struct accels;

/* VM_PROGRAM is borrowed. */
struct accels *accels_new(uv_loop_t *loop, const char *vm_program);
/* Fails those that still wait. Takes NULL. */
void accels_free(struct accels *accels);

/* Answers CALL, of host.capabilities: at once by a measurement of the last half minute, else by a new one. */
void accels_answer(struct accels *accels, struct rpc_call *call);

#endif
