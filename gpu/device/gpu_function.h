/*
 * gpu/device: the PCI function by which a guest's programs reach their GPU worker.
 *
 * BAR 0 has registers and a doorbell for each channel, BAR 2 the window that guest and worker share
 * (gpu/protocol/ring.h). The device itself understands nothing of what is in the window, which is
 * RAM to the guest; it signals an eventfd when a doorbell is written. Saved state: none, as the
 * worker's end of a channel is not saved either; a program that was restored sees its context lost.
 */
#ifndef GPU_DEVICE_GPU_FUNCTION_H
#define GPU_DEVICE_GPU_FUNCTION_H

#include "gpu/protocol/ring.h"
#include "machine/bus/pci.h"

struct gpu_function;

/*
 * Makes the function over a window of its own, with a doorbell for each channel; the loop's thread.
 * NULL with VMD_ERROR_IO where the host has no memory.
 */
struct gpu_function *gpu_function_new(GError **err);
/* It has been removed from its bus. Takes NULL. */
void gpu_function_free(struct gpu_function *f);

/* To put on a bus; the function's own. */
struct pci_function *gpu_function_pci(struct gpu_function *f);

/* Its window, to be forgotten by vCPUs (mem_map_forget_ram()) before it is freed while some run. */
const struct mem_ram *gpu_function_window(const struct gpu_function *f);

/* Descriptors for a worker, which stay the function's: the window's memory, and CHANNEL's doorbell.
 */
int gpu_function_memory(const struct gpu_function *f);
int gpu_function_doorbell(const struct gpu_function *f, unsigned channel);

/* The worker is gone, or the function is about to be: programs that have a channel open see it lost.
 * A worker that runs opens it again only to who opens it anew. */
void gpu_function_lost(struct gpu_function *f);

#endif
