/*
 * vm/profile: where the vCPUs of a VM are, sampled at a fixed rate and counted by place.
 *
 * A sample is taken a period after it was asked for, when the vCPU has noted where it is; nobody
 * waits for it. Loop thread.
 */
#ifndef VM_PROFILE_H
#define VM_PROFILE_H

#include "proto/schema/types.h"
#include "vm/vcpus.h"

#include <uv.h>

struct profile;

/* Whether the guest runs: while it doesn't there are no samples. */
typedef bool (*profile_runs_fn)(void *opaque);

/* Makes what samples VCPUS, which outlive it, with LOOP's timers. The caller closes it. */
struct profile *profile_new(uv_loop_t *loop, struct vcpus *vcpus, profile_runs_fn runs,
                            void *opaque);
/* Ends it; its memory goes when the loop has turned. Takes NULL. */
void profile_close(struct profile *profile);

/* Begins, forgetting what was counted before. False while it samples already. */
bool profile_start(struct profile *profile, unsigned rate_hz, unsigned seconds);
/* Ends sampling, if that did not end by itself. What was counted, the caller's, once; NULL where
 * nobody began. */
struct xlate_profile *profile_stop(struct profile *profile);

#endif
