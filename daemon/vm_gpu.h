/*
 * daemon/vm_gpu: the GPU worker of a running VM: vmd's side, which starts the process, ends one
 * that hangs, and starts another where it is gone, at once at first and then ever more slowly.
 *
 * The VM process has the worker's connection and tells how it does (vmi.gpu_worker); so a worker
 * goes on with its VM while there is no vmd, and the next vmd knows it by vm.json. Loop thread.
 */
#ifndef DAEMON_VM_GPU_H
#define DAEMON_VM_GPU_H

#include "daemon/vm.h"

struct vm_gpu;

struct vm_gpu *vm_gpu_new(struct vm *vm);
/* A worker goes on with its VM process where vmd ends, else it is ended. Takes NULL. */
void vm_gpu_free(struct vm_gpu *gpu);

/* The VM's run has begun, or was found again: it gets a worker where it wants one and has none. */
void vm_gpu_begin(struct vm_gpu *gpu);
/* Devices of the run came or went: the worker begins with the GPU, and ends with it. */
void vm_gpu_follow(struct vm_gpu *gpu);
/* The run is over. */
void vm_gpu_end(struct vm_gpu *gpu);
/* What the VM's configuration has of share and launches has changed. */
void vm_gpu_limit(struct vm_gpu *gpu);
/*
 * What the programs have moves to a worker on the device of TO, whose connection ends at SOCKET,
 * which stays the caller's: it is started, beside the one that serves.
 */
bool vm_gpu_launch_target(struct vm_gpu *gpu, const struct vm_gpu_config *to, int socket,
                          GError **err);
/* They have moved, and the one before ends; or they stay, and the other does. */
void vm_gpu_moved(struct vm_gpu *gpu);
void vm_gpu_stay(struct vm_gpu *gpu);
/* Fills in what the worker uses. */
void vm_gpu_describe(struct vm_gpu *gpu, struct vm_gpu_use *use);
/* News of the VM process. */
void vm_gpu_news(struct vm_gpu *gpu, const struct vmi_gpu_worker_event *event);

/* Which process the worker is, for vm.json. */
struct json_object *vm_gpu_save(const struct vm_gpu *gpu);
void vm_gpu_load(struct vm_gpu *gpu, struct json_object *json);

#endif
