/*
 * daemon/vm: one VM of the registry and the process that runs it.
 *
 * State on disk: vm.json in the VM's directory of the store, written at every change. The VM
 * process is found by its socket in the VM's runtime directory, also by a daemon that did not start
 * it. What became of a process that nobody watched is in its end.json. Loop thread.
 */
#ifndef DAEMON_VM_H
#define DAEMON_VM_H

#include "daemon/daemon.h"
#include "proto/vmipc/vmipc.h"

struct vm;
struct vm_gpu;

/* The id of a VM's GPU, of which there is one at a time; vm/devices.h has it too. */
#define VM_GPU_ID "gpu0"

/* Defines a VM of CONFIG (taken) for UID, with the id ID or (NULL) a new one; not yet in the
 * registry. NULL when it can't be stored. */
struct vm *vm_new(struct daemon *daemon, const char *id, struct vm_config *config, uid_t uid,
                  GError **err);
/* Reads the VM ID of the store. */
struct vm *vm_load(struct daemon *daemon, const char *id, GError **err);
/* Finds its process again, or out how it ended. After all VMs are loaded. */
void vm_recover(struct vm *vm);
/* Forgets it in memory alone; a process goes on. Takes NULL. */
void vm_free(struct vm *vm);
/* Removes its files. It has no process. */
void vm_erase(struct vm *vm);

struct daemon *vm_daemon(const struct vm *vm);
struct vm_devices *vm_devices_of(const struct vm *vm);
struct vm_gpu *vm_gpu_of(const struct vm *vm);
const char *vm_id(const struct vm *vm);
const char *vm_name(const struct vm *vm);
uid_t vm_owner(const struct vm *vm);
enum vm_state vm_state(const struct vm *vm);
const struct vm_config *vm_config_of(const struct vm *vm);
/* The GPU of its run, that which was added too; of its definition where it does not run. NULL; borrowed until
 * something happens to the VM. */
const struct vm_gpu_config *vm_run_gpu(const struct vm *vm);
/* Has a process: starting, running, paused or stopping. */
bool vm_active(const struct vm *vm);
/* Its process, or 0. */
pid_t vm_pid(const struct vm *vm);
/* How its latest run ended, why it is paused, what vm.resize left it with: borrowed, or NULL. */
const struct vm_end *vm_end_of(const struct vm *vm);
const struct vm_pause_info *vm_pause_of(const struct vm *vm);
/* Where the vCPUs of the run may run, where that has changed since it began; else NULL. Borrowed. */
const struct vm_pins *vm_pins_of(const struct vm *vm);
/* Seconds between questions to its guest about its memory, in the run under way or the next one. */
uint32_t vm_memory_period_of(const struct vm *vm);
const struct resize_result *vm_size_of(const struct vm *vm);
/* A description; the caller frees. */
struct vm_info *vm_describe(const struct vm *vm);
/* Where the logs of its consoles are; the caller frees. */
char *vm_log_dir(const struct vm *vm);

/* What it is made of from its next run on: vm_config_of(), or what vm_configure() left for then. */
const struct vm_config *vm_next_config_of(const struct vm *vm);
/* vm.configure: CONFIG (taken on success) was checked. While VM is active its name is the present
 * one. */
bool vm_configure(struct vm *vm, struct vm_config *config, GError **err);
/* Starts it for nobody who waits; a failure is logged. */
void vm_autostart(struct vm *vm);

/* What it waits for as it starts (gpus_ask_for()) is known. Nothing where it waits no more. */
void vm_gpus_known(struct vm *vm);

/* Answered when done; each answers CALL exactly once. */
void vm_start(struct vm *vm, bool paused, struct rpc_call *call);
/* Create and start: as vm_start(), but a VM that doesn't start is forgotten. */
void vm_start_new(struct vm *vm, struct rpc_call *call);
void vm_stop(struct vm *vm, const struct vm_stop_params *params, struct rpc_call *call);
void vm_reboot(struct vm *vm, const struct vm_reboot_params *params, struct rpc_call *call);
void vm_kill(struct vm *vm, struct rpc_call *call);
void vm_wait(struct vm *vm, const struct vm_wait_params *params, struct rpc_call *call);
/* Kills it where it runs, then forgets it. */
void vm_delete(struct vm *vm, bool force, struct rpc_call *call);

/* Writes vm.json; an error is logged. */
void vm_store(struct vm *vm);
/* Its process runs the VM and is connected: calls reach it. */
bool vm_reachable(const struct vm *vm);
/* A call to the VM process; REPLY hears VMD_ERROR_STATE where there is none. */
void vm_call(struct vm *vm, enum vmi_method method, const void *params, rpc_client_reply reply,
             void *arg);
/* vmi.fd: hands FD, which is taken, to the VM process under NAME. */
void vm_send_fd(struct vm *vm, const char *name, int fd, rpc_client_reply reply, void *arg);
/* A call to the VM process whose typed answer goes on to CALL. PARAMS is the vmi method's struct.
 * VMD_ERROR_STATE where there is no process. */
void vm_forward(struct vm *vm, enum vmi_method method, const void *params, struct rpc_call *call);

/*
 * CONN made VM without starting it. An ephemeral VM whose run has not begun (made, or started paused by
 * CONN alone) does not outlive CONN: nobody else would know of it.
 */
void vm_made_by(struct vm *vm, const struct rpc_conn *conn);
/* CONN is gone. May free VM. */
void vm_connection_gone(struct vm *vm, const struct rpc_conn *conn);

/* xlate.warm: has the VM process write its hot blocks, and takes them. */
void vm_warm(struct vm *vm, struct rpc_call *call);
/* vm.pin. */
void vm_pin(struct vm *vm, const struct vm_pin_params *params, struct rpc_call *call);
/* vm.ask_memory. */
void vm_ask_memory(struct vm *vm, uint32_t period_s, struct rpc_call *call);
/* device.resize of a disk of a run. VMD_ERROR_TIMEOUT after half an hour: it goes on. */
void vm_resize_disk(struct vm *vm, const char *disk, uint64_t bytes, struct rpc_call *call);

/* Called by registry_drop(): tells that VM is deleted and removes what it had. */
void vm_deleted(struct vm *vm);

/* The registry's: an ephemeral or deleted VM is over and must go. */
void registry_drop(struct registry *registry, struct vm *vm);

#endif
