/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/managed: memory that has one address for the program and for the device.
 *
 * It is twice there, at the same address, and belongs to one side at a time: as a device without
 * concurrent managed access has it. Before the device is asked to do something, all of a context's
 * goes to it; when the program has waited, all of it comes back, after everything that the context
 * does is over.
 *
 * One turn at a time: a thread that asks the device has it from the memory going up until the
 * device is asked, one that brings the memory back from when the context is idle until all is back.
 * Threads that streams wait for need none: their gate was asked for with the memory up, which stays
 * there until the gate is open.
 */
#ifndef GUEST_CUDA_MANAGED_H
#define GUEST_CUDA_MANAGED_H

#include "guest/cuda/cuda.h"

extern unsigned cu_managed; /* how many such allocations there are */

static inline bool cu_managing(void)
{
    return __atomic_load_n(&cu_managed, __ATOMIC_ACQUIRE) != 0;
}

/* The managed memory of W's context goes to the device, which is about to be asked something in W's
 * stream. True: cu_managed_asked() is due when it was. *RESULT is left alone where all is well. */
bool cu_managed_ask(const struct cu_where *w, int *result);
void cu_managed_asked(bool due);
/* C's comes back, once all is over that C does. */
int cu_managed_down(struct cu_context *c);
/* The same for a caller that may not wait: only where C does nothing. CUDA_ERROR_NOT_READY where
 * the program may expect memory that cannot come yet. */
int cu_managed_down_if_idle(struct cu_context *c);
/* The context goes. */
void cu_managed_forget(struct cu_context *c);
/* Frees the program's side of what begins at ADDRESS, if it is managed. */
void cu_managed_free(CUdeviceptr address);
bool cu_is_managed(CUdeviceptr address);

#endif
