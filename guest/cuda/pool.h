/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/pool: memory that is allocated and freed in a stream's order.
 *
 * A pool keeps what was freed, as much as its release threshold allows, and gives it out again
 * without asking the worker: to the stream that freed it at once, to others when that stream was
 * waited for. What is kept counts against the quota.
 */
#ifndef GUEST_CUDA_POOL_H
#define GUEST_CUDA_POOL_H

#include "guest/cuda/cuda.h"

/* Frees ADDRESS in W's stream, or, NULL, now: false where it is of no pool. *RESULT is 0, or what
 * is wrong: it is free already. */
bool cu_pool_free(CUdeviceptr address, const struct cu_where *w, int *result);
/* How many blocks were ever freed: to be asked before a wait begins. */
uint64_t cu_pool_freed(void);
/* STREAM, or, with 0, all of the context C have done what they were asked when so many blocks had
 * been FREED: those may go to any. */
void cu_pool_settle(struct cu_context *c, uint64_t stream, uint64_t freed);
/* STREAM is destroyed, and what is in it goes on. */
void cu_pool_gone(uint64_t stream);
/* Gives back all that is kept of C's memory; false: there was none. */
bool cu_pool_release(struct cu_context *c);
/* The pool that ADDRESS is of, or NULL. */
struct cu_pool *cu_pool_at(CUdeviceptr address);
/* The context goes, and all its memory with it. */
void cu_pool_forget(struct cu_context *c);

#endif
