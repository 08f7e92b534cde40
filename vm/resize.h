/*
 * vm/resize: how many processors and how much memory the guest has.
 *
 * A change is a job, one at a time. Processors: the guest is granted those that it is to have, or
 * the grant is withdrawn, then the agent in the guest brings them up or down; what counts is
 * whether they run. An x86 guest is told by ACPI, takes them and lets go of them. Memory: the
 * balloon takes of what the VM began with, and virtio-mem adds to it. A job that does not succeed
 * takes back what the guest does not use. Loop thread only.
 */
#ifndef VM_RESIZE_H
#define VM_RESIZE_H

#include "proto/schema/types.h"
#include "proto/schema/vmi.h"
#include "vm/hotplug.h"

struct cpu_plug;
struct resize;
struct vcpus;

/* All is borrowed, and outlives it. PLUG: by what processors come and go; NULL where the guest
 * starts and stops them by calls. OPS: ended() tells of jobs, resized() of what
 * changed without one. It is held until the machine runs. */
struct resize *resize_new(uv_loop_t *loop, const struct vm_config *config, struct vcpus *vcpus,
                          struct cpu_plug *plug, struct devices *devices,
                          const struct hotplug_ops *ops, void *opaque);
/* Forgets a job without a word. Takes NULL. The handle is freed by the loop's next turns. */
void resize_free(struct resize *resize);

/* Begins a job; ended() follows, not from within. On an error there is none. */
bool resize_begin(struct resize *resize, const struct vmi_resize_params *params, GError **err);
/* False: JOB is not under way here. */
bool resize_cancel(struct resize *resize, uint64_t job);
/* The job under way; 0: none. */
uint64_t resize_job(const struct resize *resize);

/* The guest stands, or goes on: a job's time stands too. */
void resize_hold(struct resize *resize, bool hold);

/* The guest has let go of a processor. Any thread. */
void resize_changed(struct resize *resize);

/* Bytes that the guest has now. */
uint64_t resize_memory(const struct resize *resize);

#endif
