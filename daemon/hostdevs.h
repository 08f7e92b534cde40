/*
 * daemon/hostdevs: the host's devices, for clients and for VMs: answers, events, and the claims on disk.
 *
 * hotplug/host knows what there is. Here it gets the API's words, each change becomes an event
 * host.device, and who holds what is kept in host-claims.json of the store. Loop thread.
 */
#ifndef DAEMON_HOSTDEVS_H
#define DAEMON_HOSTDEVS_H

#include "daemon/daemon.h"
#include "hotplug/host/host_devices.h"

struct hostdevs;
struct vm;

/* Looks at the host, and takes up the claims of those VMs that the registry still has. After
 * registry_open(). A host without devices, and one that cannot be watched, are no errors. */
struct hostdevs *hostdevs_open(struct daemon *daemon);
/* Its handles close on the loop. Takes NULL. */
void hostdevs_free(struct hostdevs *devs);

/*
 * FN hears of each device that went while the VM VM_ID held it, after the event host.device of it and before
 * any other: the VM lost it by surprise. DEVICE is borrowed for the call. FN may ask and release; it may
 * not claim. One that went while no vmd ran is a claim whose device is not present, and not told here.
 */
typedef void (*hostdevs_gone_fn)(void *arg, const struct host_device *device, const char *vm_id);
void hostdevs_on_gone(struct hostdevs *devs, hostdevs_gone_fn fn, void *arg);

/* The handler of host.devices. */
void hostdevs_answer(struct hostdevs *devs, struct rpc_call *call,
                     const struct host_devices_params *params);

/* Has VM hold the device ID (of the host): until its run ends, or until it is deleted. See
 * host_devices_claim(). It is on disk when this returns. */
bool hostdevs_claim(struct hostdevs *devs, const char *id, const struct vm *vm, bool run, GError **err);
/* Before a run: claims the block devices that VM's disks write to, and its tap interfaces. False with ERR
 * where another VM has one; then nothing new is claimed. */
bool hostdevs_begin_run(struct hostdevs *devs, const struct vm *vm, GError **err);
/* A run is over: what was claimed for it is free. */
void hostdevs_end_run(struct hostdevs *devs, const struct vm *vm);
/* VM is deleted: nothing of it stays. */
void hostdevs_forget(struct hostdevs *devs, const struct vm *vm);

#endif
