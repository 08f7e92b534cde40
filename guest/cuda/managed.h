/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/managed: memory that has one address for the program and for the device.
 *
 * It is twice there, at the same address, and belongs to one side at a time: as a device without
 * concurrent managed access has it. Before the device is asked to do something, all of a context's
 * goes to it; when the program has waited, all of it comes back, after everything that the context
 * does is over.
 */
#ifndef GUEST_CUDA_MANAGED_H
#define GUEST_CUDA_MANAGED_H

#include "guest/cuda/cuda.h"

extern unsigned cu_managed; /* how many such allocations there are */

static inline bool cu_managing(void)
{
    return __atomic_load_n(&cu_managed, __ATOMIC_ACQUIRE) != 0;
}

/* C's managed memory goes to the device, and comes back. */
int cu_managed_up(struct cu_context *c);
int cu_managed_down(struct cu_context *c);
/* The context goes. */
void cu_managed_forget(struct cu_context *c);
/* Frees the program's side of what begins at ADDRESS, if it is managed. */
void cu_managed_free(CUdeviceptr address);
bool cu_is_managed(CUdeviceptr address);

#endif
