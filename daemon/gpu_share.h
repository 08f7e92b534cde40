/*
 * daemon/gpu_share: the pages by which vmd sees what each VM's GPU worker uses of its device, and
 * tells it how far it may go (gpu/protocol/share.h).
 *
 * The pages are files of the VM's run time directory, made with each worker and found again by a
 * daemon that was started anew. Rounds of gpu_credit come every few milliseconds while two workers
 * have work for one device, ever more seldom else. Loop thread.
 */
#ifndef DAEMON_GPU_SHARE_H
#define DAEMON_GPU_SHARE_H

#include "gpu/protocol/share.h"
#include "proto/schema/api.h"

#include <uv.h>

struct gpu_shares;
struct gpu_share;

struct gpu_shares *gpu_shares_new(uv_loop_t *loop);
void gpu_shares_free(struct gpu_shares *shares); /* without any left; takes NULL */

/* Of one worker of a VM, without pages; NAME, which is copied, is what their files begin with. */
struct gpu_share *gpu_share_new(struct gpu_shares *shares, const char *name);
void gpu_share_free(struct gpu_share *s); /* takes NULL */

/* Which device, a name that is alike for those that share one; its WEIGHT against others', and how
 * many LAUNCHES may be in flight, 0 any number. Takes effect at once. */
void gpu_share_set(struct gpu_share *s, const char *device, uint32_t weight, uint32_t launches);

/* Makes pages in DIR for a new worker; FDS, the caller's, are what it gets: the page that it
 * writes, and that which it reads. Those there were before are no longer looked at. */
bool gpu_share_make(struct gpu_share *s, const char *dir, int fds[2], GError **err);
/* The pages in DIR of a worker that an earlier daemon started, where there are some. */
void gpu_share_find(struct gpu_share *s, const char *dir);
/* The worker is gone, or will be: its time is kept. */
void gpu_share_close(struct gpu_share *s);
/* S is of the worker that follows on that of BEFORE, which is closed: what that used counts with
 * it. */
void gpu_share_succeed(struct gpu_share *s, struct gpu_share *before);
/* The run is over. */
void gpu_share_end(struct gpu_share *s);

/* Fills in what USE has of time, launches and programs. */
void gpu_share_describe(struct gpu_share *s, struct vm_gpu_use *use);

/* A round, at NOW of CLOCK_MONOTONIC in nanoseconds: for tests, else the timer does it. */
void gpu_shares_round(struct gpu_shares *shares, uint64_t now);

#endif
