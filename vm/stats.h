/* vm/stats: an accelerator's counters as the API shows them. */
#ifndef VM_STATS_H
#define VM_STATS_H

#include "accel/accel.h"
#include "proto/schema/types.h"
#include "vm/vcpus.h"

/*
 * Fills ROW's exits, and those by reason, where VCPU's accelerator counts them; else leaves both
 * alone. Any thread.
 */
void stats_exits(struct vcpu *vcpu, struct vcpu_stats *row);

/* The translator's counters; the caller frees. */
struct vm_xlate_stats *stats_xlate(struct accel *accel, struct vcpus *vcpus);

#endif
