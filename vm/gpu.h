/*
 * vm/gpu: the GPU of a VM: the function that its guest finds, and the connection to the worker that
 * runs its kernels.
 *
 * The worker is a process of its own, which vmd starts with a socket that it gets here. Window and
 * doorbells stay the VM process's, so that a worker may die and another take its place: programs
 * that had a channel open see it lost. A worker that does not answer for a while is told as hung.
 * Loop thread.
 */
#ifndef VM_GPU_H
#define VM_GPU_H

#include "machine/bus/pci.h"
#include "proto/schema/types.h"
#include "vm/gpu_ports.h"

#include <uv.h>

struct gpu;

struct gpu_ops {
    /* The worker is in another state. */
    void (*changed)(void *opaque, enum gpu_worker_state state, const char *text);
    /* The move that is the job JOB is over; ERR, borrowed, says why it was not made, and then
     * all goes on where it was. NULL: it was. */
    void (*moved)(void *opaque, uint64_t job, bool cancelled, const GError *err);
};

/* Without a worker at first. CONFIG is kept by reference, and PORTS, another way to the worker,
 * which may be NULL. NULL where the host has no memory. */
struct gpu *gpu_new(uv_loop_t *loop, const struct vm_gpu_config *config, struct gpu_ports *ports,
                    const struct gpu_ops *ops, void *opaque, GError **err);
/* Ends the connection, and with it the worker. The function is on no bus. Takes NULL. */
void gpu_free(struct gpu *gpu);

struct pci_function *gpu_pci(struct gpu *gpu);
/* It is about to be taken off its bus: programs that have it open see it lost, before any of its
 * memory is found no more. */
void gpu_going(struct gpu *gpu);
/* The memory of its function, of which vCPUs that run are to forget where it was before it is freed. */
const struct mem_ram *gpu_window(const struct gpu *gpu);

/* What there is to count, of the device ID; the caller's. */
struct gpu_stats *gpu_counts(const struct gpu *gpu, const char *id);

/*
 * The end of a new connection for a worker, which finds there all that it has to know; the
 * caller's. -1 with VMD_ERROR_BUSY while there is a worker, or VMD_ERROR_IO.
 */
int gpu_serve(struct gpu *gpu, GError **err);

/*
 * Begins to move what the guest's programs have to another worker, on the device of TO; what runs
 * has TIMEOUT_MS to end. FD is the end of that worker's connection, the caller's; -1 where there is
 * nothing to be moved, since there is no worker: the next one is at TO. moved() tells the end, in a
 * later turn of the loop where FD is not -1. False with VMD_ERROR_BUSY while there is a move,
 * VMD_ERROR_STATE or VMD_ERROR_IO.
 */
bool gpu_move(struct gpu *gpu, uint64_t job, const struct vm_gpu_config *to, uint32_t timeout_ms,
              int *fd, GError **err);
/* The move JOB is to end, and soon does; false: there is no such. */
bool gpu_move_cancel(struct gpu *gpu, uint64_t job);
/* The job of the move under way; 0: none is. GPU may be NULL. */
uint64_t gpu_move_job(const struct gpu *gpu);

#endif
