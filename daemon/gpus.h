/*
 * daemon/gpus: the host's GPUs, and the methods gpu.*: which there are, which VM has which, and how
 * much memory of each is promised.
 *
 * vmd loads no driver. A process of vmd-gpu does, and tells what the driver knows; what
 * hotplug/host finds on the PCI bus beside that is told too, with the reason why it is of no use.
 * Loop thread.
 */
#ifndef DAEMON_GPUS_H
#define DAEMON_GPUS_H

#include "daemon/vm.h"

struct gpus;

struct gpus *gpus_new(struct daemon *daemon);
/* Calls that wait fail. Takes NULL. */
void gpus_free(struct gpus *gpus);

/*
 * Before VM starts: asks the driver where VM is to have one of its GPUs and none is known. True:
 * vm_gpus_known() is called when it has answered, or does not.
 */
bool gpus_ask_for(struct gpus *gpus, const struct vm *vm);
/*
 * Then: whether its GPU is there, with as much memory as VMs that run leave of it. Where no driver
 * could be asked it passes: the worker says then what is wrong.
 */
bool gpus_check_start(struct gpus *gpus, const struct vm *vm, GError **err);

/*
 * Before GPU comes to VM's run: calls DONE with what stands against it, NULL: nothing; at once, or when the
 * driver was asked.
 */
typedef void (*gpus_checked_fn)(void *arg, const GError *err);
void gpus_check_add(struct gpus *gpus, const struct vm *vm, const struct vm_gpu_config *gpu,
                    gpus_checked_fn done, void *arg);
/* Whether the device that GPU is takes VMs: it may have been drained since that was checked. */
bool gpus_takes(const struct gpus *gpus, const struct vm_gpu_config *gpu, GError **err);
/* The id of the host's device that GPU is; the caller frees. NULL: it is none, or not known yet. */
char *gpus_host_device(const struct gpus *gpus, const struct vm_gpu_config *gpu);
/* The host lost a device: what the driver said last may be so no more. */
void gpus_host_lost(struct gpus *gpus);
/* What GPU is called in answers; the caller frees. */
char *gpus_ref(const struct gpus *gpus, const struct vm_gpu_config *gpu);
/* The device that GPU is, alike for all that share it; the caller frees. */
char *gpus_device_name(const struct gpus *gpus, const struct vm_gpu_config *gpu);

/* The handlers of gpu.list and gpu.attach, which may have to ask the driver first. */
void gpus_list(struct gpus *gpus, struct rpc_call *call);
void gpus_attach(struct gpus *gpus, struct vm *vm, const struct gpu_attach_params *params,
                 struct rpc_call *call);
/* Of gpu.migrate, gpu.drain and gpu.undrain. */
void gpus_migrate(struct gpus *gpus, struct vm *vm, const struct gpu_migrate_params *params,
                  struct rpc_call *call);
void gpus_drain(struct gpus *gpus, const struct gpu_drain_params *params, struct rpc_call *call);
void gpus_undrain(struct gpus *gpus, const char *gpu, struct rpc_call *call);
/* Of gpu.detach, gpu.limits and gpu.stats; VM is NULL for all. */
void gpus_detach(struct gpus *gpus, struct vm *vm, struct rpc_call *call);
void gpus_limits(struct gpus *gpus, struct vm *vm, const struct gpu_limits_params *params,
                 struct rpc_call *call);
void gpus_stats(struct gpus *gpus, struct vm *vm, struct rpc_call *call);

#endif
