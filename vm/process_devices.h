/* vm/process: the methods about devices that come and go, and their events. Loop thread only. */
#ifndef VM_PROCESS_DEVICES_H
#define VM_PROCESS_DEVICES_H

#include "proto/vmipc/vmipc.h"
#include "vm/machine.h"

/* Files that a process without a VM opens for one that cannot. */
struct process_opener {
    GPtrArray *paths; /* of a disk; NULL: nothing was opened */
    bool readonly;
    int host[3]; /* of a function of the host */
    unsigned n_host;
};

void process_opener_clear(struct process_opener *opener);

/* The handlers. Each answers CALL. */
void process_open_disk(struct process_opener *opener, struct rpc_call *call,
                       const struct vmi_open_disk_params *params);
void process_open_tap(struct rpc_call *call, const struct vmi_open_tap_params *params);
void process_open_host(struct process_opener *opener, struct rpc_call *call,
                       const struct vmi_open_host_params *params);
void process_open_file(struct process_opener *opener, struct rpc_call *call,
                       const struct vmi_open_file_params *params);
void process_device_add(struct machine *machine, struct vmipc_server *server, struct rpc_call *call,
                        const struct vmi_device_add_params *params);
void process_device_remove(struct machine *machine, struct rpc_call *call,
                           const struct vmi_device_remove_params *params);
void process_peek(struct machine *machine, struct rpc_call *call,
                  const struct vmi_peek_params *params);
void process_device_resize(struct machine *machine, struct rpc_call *call,
                           const struct vmi_device_resize_params *params);
void process_device_cancel(struct machine *machine, struct rpc_call *call,
                           const struct vmi_device_cancel_params *params);
void process_gpu_move(struct machine *machine, struct rpc_call *call,
                      const struct vmi_gpu_move_params *params);
void process_device_jobs(struct machine *machine, struct rpc_call *call);
void process_resize(struct machine *machine, struct rpc_call *call,
                    const struct vmi_resize_params *params);
void process_devices(struct machine *machine, struct rpc_call *call);
void process_slots(struct machine *machine, struct rpc_call *call);

#endif
