/*
 * daemon/vm_devices: devices that are added to a running VM and removed from it: vmd's side, which is the
 * jobs. What is done is done by the VM process, which tells the job's end; so a job goes on over a restart
 * of vmd. Files that a confined VM process cannot open are opened for it by a process without a VM. Loop
 * thread.
 */
#ifndef DAEMON_VM_DEVICES_H
#define DAEMON_VM_DEVICES_H

#include "daemon/vm.h"
#include "hotplug/host/host_devices.h"

struct vm_devices;

struct vm_devices *vm_devices_new(struct vm *vm);
/* Jobs stay under way, for the next vmd. Takes NULL. */
void vm_devices_free(struct vm_devices *devices);

/* The GPU that the run has, and calls of EACH for that and one that is being added: see attached.h. */
const struct vm_gpu_config *vm_devices_gpu(const struct vm_devices *devices);
void vm_devices_gpus(const struct vm_devices *devices,
                     void (*each)(void *opaque, const struct vm_gpu_config *gpu), void *opaque);
/* SHARE and LAUNCHES of that GPU, where it was added to the run. */
void vm_devices_limit_gpu(struct vm_devices *devices, uint32_t share, uint32_t launches);
/* It is known now which of the host's devices GPUs are. */
void vm_devices_gpus_known(struct vm_devices *devices);

/* The handlers of gpu.attach and gpu.detach of a VM that runs: jobs of the user UID of CALL, which is answered
 * when they are over. GPU is copied. PERSISTENT: the definition, too. */
void vm_devices_attach_gpu(struct vm_devices *devices, const struct vm_gpu_config *gpu,
                           bool persistent, struct rpc_call *call);
void vm_devices_detach_gpu(struct vm_devices *devices, bool persistent, struct rpc_call *call);

/*
 * Has the GPU that the run has moved, so that it is TO, by a job gpu.migrate of the user UID, whose
 * number this is. DONE, which may be NULL, is called when it is over, with why it was not moved (NULL:
 * it was); not where this is freed before.
 */
typedef void (*vm_devices_moved_fn)(void *arg, const GError *err);
uint64_t vm_devices_move_gpu(struct vm_devices *devices, const struct vm_gpu_config *to,
                             uint32_t timeout_s, uid_t uid, vm_devices_moved_fn done, void *arg);
/* DONE is called when the move that is under way is over, however; not where this is freed before. */
void vm_devices_after_move(struct vm_devices *devices, void (*done)(void *arg), void *arg);
/* One is under way. */
bool vm_devices_gpu_moves(const struct vm_devices *devices);

/* The handlers of device.add and device.remove; CALL is answered with the job. */
void vm_devices_add(struct vm_devices *devices, const struct device_add_params *params,
                    struct rpc_call *call);
void vm_devices_remove(struct vm_devices *devices, const struct device_remove_params *params,
                       struct rpc_call *call);
/* That of vm.resize, the same way. */
void vm_devices_resize(struct vm_devices *devices, const struct vm_resize_params *params,
                       struct rpc_call *call);

/* Before a run: claims what the VM's configuration is on. False with ERR where another VM has it. */
bool vm_devices_run_begins(struct vm_devices *devices, GError **err);
/* The host lost something, or the run has begun: devices on what is not there any more are taken from the guest. */
void vm_devices_host_lost(struct vm_devices *devices);
/* The host asks for a device that it lent to the guest: the guest is asked for it, and the next time it is taken. */
void vm_devices_wanted(struct vm_devices *devices, const struct vmi_device_wanted_event *event);
void vm_devices_host_renamed(struct vm_devices *devices, const char *was, const struct host_device *now);
/* VM's configuration as its run has it: with the devices that came, without those that went. The
 * caller frees. */
struct vm_config *vm_devices_config(const struct vm_devices *devices);

/* Members of vm.json: what the devices are on, which came and went, and what jobs do to the
 * definition. Loading takes them out. */
void vm_devices_save(const struct vm_devices *devices, struct json_object *json);
void vm_devices_load(struct vm_devices *devices, struct json_object *json);

/* News of the VM process. */
void vm_devices_news(struct vm_devices *devices, const struct vmi_device_event *event);
void vm_devices_job_ended(struct vm_devices *devices, const struct vmi_job_ended_event *event);
/* Takes up the jobs that an earlier vmd began. */
void vm_devices_take(struct vm_devices *devices);
/* It was found again, and its events up to then are told: jobs that it does not know have failed. */
void vm_devices_recovered(struct vm_devices *devices);
/* The run is over: so are all jobs. */
void vm_devices_run_over(struct vm_devices *devices);

#endif
