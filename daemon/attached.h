/*
 * daemon/attached: how the devices of a run differ from its VM's configuration: what came, and what of the
 * configuration went. Kept in vm.json, so that the next vmd knows it too. Loop thread.
 */
#ifndef DAEMON_ATTACHED_H
#define DAEMON_ATTACHED_H

#include "proto/vmipc/vmipc.h"

struct attached;

struct attached *attached_new(void);
/* Takes NULL. */
void attached_free(struct attached *a);
/* Another run begins, with the configuration alone. */
void attached_clear(struct attached *a);

/* JOB is to add SPEC, which is copied; an interface that has no address gets MAC where it comes as a
 * card. */
void attached_begin(struct attached *a, const struct device_spec *spec, const char *mac,
                    uint64_t job);
/* JOB is over; if the guest has not seen its device, there is none. */
void attached_over(struct attached *a, uint64_t job);
/* Of additions under way those are over that JOBS, a table by numbers of jobs, does not have. */
void attached_keep(struct attached *a, GHashTable *jobs);
/* A device of the VM process is at another place of its life. */
void attached_news(struct attached *a, const struct vmi_device_event *event);

/* The GPU that the run has, of CONFIG or added, and one that is being added: calls EACH for both. */
void attached_gpus(const struct attached *a, const struct vm_config *config,
                   void (*each)(void *opaque, const struct vm_gpu_config *gpu), void *opaque);
/* The one that it has; NULL. Borrowed until the next news. */
const struct vm_gpu_config *attached_gpu(const struct attached *a, const struct vm_config *config);
/* JOB is to move the GPU that the run has, so that it is TO, which is copied. */
void attached_move_gpu(struct attached *a, const struct vm_gpu_config *to, uint64_t job);
/* JOB has moved it; false: that was not its job. */
bool attached_moved_gpu(struct attached *a, uint64_t job);
/* JOB is over; false: that was not its job, or it was made. */
bool attached_move_over(struct attached *a, uint64_t job);
/* One is under way. */
bool attached_moves_gpu(const struct attached *a);
/* SHARE and LAUNCHES of a GPU that was added or moved; nothing where the run has another, or none. */
void attached_limit_gpu(struct attached *a, uint32_t share, uint32_t launches);

/* CONFIG with what came and without what went; the caller frees. */
struct vm_config *attached_apply(const struct attached *a, const struct vm_config *config);

struct json_object *attached_encode(const struct attached *a);
/* What makes no sense is left out. JSON is borrowed and may be NULL. */
void attached_decode(struct attached *a, struct json_object *json);

#endif
