/* daemon/registry: all VMs, by name and by id. Loop thread. */
#ifndef DAEMON_REGISTRY_H
#define DAEMON_REGISTRY_H

#include "daemon/vm.h"

struct registry;

/* Loads what the store has; a VM that can't be read is left where it is and logged. */
struct registry *registry_open(struct daemon *daemon, GError **err);
/* Finds running VMs again. Once, when the daemon is ready for their events. */
void registry_recover(struct registry *registry);
/* Forgets all in memory; processes go on. Takes NULL. */
void registry_free(struct registry *registry);

/* By name, else by id; NULL. */
struct vm *registry_find(struct registry *registry, const char *ref);
unsigned registry_count(const struct registry *registry, bool active);
/* All VMs by name, borrowed; the caller frees the array. */
GPtrArray *registry_list(struct registry *registry);

/* Before VM starts: whether the host has its memory and other VMs leave it its disks. The locks of images
 * are what counts for disks; this names the VM. */
bool registry_check_start(struct registry *registry, const struct vm *vm, GError **err);
/* For devices that are added later: fills in what the client left to us, and refuses what is wrong. DISK must
 * be free for VM, which runs. */
bool registry_settle_disk(struct registry *registry, const struct vm *vm, struct vm_disk_config *disk,
                          GError **err);
bool registry_check_host(const struct vm_host_config *host, GError **err);
/* GPU is to come to VM, which runs: whether its guest can have one, and the host has memory and a worker for
 * it. What a driver has is daemon/gpus'. */
bool registry_check_gpu(struct registry *registry, const struct vm *vm,
                        const struct vm_gpu_config *gpu, GError **err);
bool registry_check_nic(const struct vm_nic_config *nic, GError **err);
/* A random address for an interface; the caller's. */
char *registry_new_mac(void);
/* Whether CONFIG, in which what the client left to us is filled in, can be a VM's. */
bool registry_check_config(struct vm_config *config, GError **err);
/* Tells all VMs that CONN is gone: vm_connection_gone(). */
void registry_connection_gone(struct registry *registry, const struct rpc_conn *conn);

/* Checks CONFIG (taken) against the host and other VMs, and defines a VM of it for UID; ID, a UUID,
 * or NULL. */
struct vm *registry_create(struct registry *registry, const char *id, struct vm_config *config,
                           uid_t uid, GError **err);
/* vm.configure: the same checks for another configuration (taken) of VM. */
bool registry_configure(struct registry *registry, struct vm *vm, struct vm_config *config,
                        GError **err);

#endif
