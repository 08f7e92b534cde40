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
 * GONE hears of each device that went, after the event host.device of it and before any other; RENAMED of
 * each that was WAS. DEVICE is borrowed for the call. They may ask and release, not claim. What went while
 * no vmd ran is not told here.
 */
typedef void (*hostdevs_gone_fn)(void *arg, const struct host_device *device);
typedef void (*hostdevs_renamed_fn)(void *arg, const struct host_device *device, const char *was);
void hostdevs_on_gone(struct hostdevs *devs, hostdevs_gone_fn gone, hostdevs_renamed_fn renamed,
                      void *arg);

/* The handler of host.devices. */
void hostdevs_answer(struct hostdevs *devs, struct rpc_call *call,
                     const struct host_devices_params *params);

/* host_devices_list(). */
GPtrArray *hostdevs_list(const struct hostdevs *devs);

/* Has VM hold the device ID (of the host): until its run ends, or until it is deleted. See
 * host_devices_claim(). It is on disk when this returns. */
bool hostdevs_claim(struct hostdevs *devs, const char *id, const struct vm *vm, bool run, GError **err);
/* For VM's run: claims the block device that DISK writes to, or the tap interface of NIC. ID, which the caller
 * frees, is set to what it is on, where it is on a device of the host, also to a disk that is only read, which
 * is not claimed. False with ERR where another VM has it. */
bool hostdevs_claim_disk(struct hostdevs *devs, const struct vm_disk_config *disk, const struct vm *vm,
                         char **id, GError **err);
bool hostdevs_claim_nic(struct hostdevs *devs, const struct vm_nic_config *nic, const struct vm *vm,
                        char **id, GError **err);
/* The same of a PCI function, which the host must have. */
bool hostdevs_claim_host(struct hostdevs *devs, const struct vm_host_config *host,
                         const struct vm *vm, char **id, GError **err);
/* Which one ID is now; false: the host has none. */
bool hostdevs_incarnation(const struct hostdevs *devs, const char *id, uint64_t *incarnation);
/* VM's run needs ID no more. */
void hostdevs_release(struct hostdevs *devs, const char *id, const struct vm *vm);
/* A run is over: what was claimed for it is free. */
void hostdevs_end_run(struct hostdevs *devs, const struct vm *vm);
/* VM is deleted: nothing of it stays. */
void hostdevs_forget(struct hostdevs *devs, const struct vm *vm);

#endif
