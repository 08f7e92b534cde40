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

/* Frees ADDRESS in W's stream, or, NULL, now: false where it is of no pool. */
bool cu_pool_free(CUdeviceptr address, const struct cu_where *w);
/* W's stream, or, without one, all of the context C are done: what they freed may go to any. */
void cu_pool_settle(struct cu_context *c, uint64_t stream);
/* STREAM is destroyed, and what is in it goes on. */
void cu_pool_gone(uint64_t stream);
/* Gives back all that is kept of C's memory; false: there was none. */
bool cu_pool_release(struct cu_context *c);
/* The pool that ADDRESS is of, or NULL. */
struct cu_pool *cu_pool_at(CUdeviceptr address);
/* The context goes, and all its memory with it. */
void cu_pool_forget(struct cu_context *c);

#endif
