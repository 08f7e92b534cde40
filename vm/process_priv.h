/* vm/process: what its files share. Loop thread only. */
#ifndef VM_PROCESS_PRIV_H
#define VM_PROCESS_PRIV_H

#include "proto/vmipc/vmipc.h"
#include "vm/machine.h"
#include "vm/process.h"
#include "vm/process_devices.h"
#include "vm/profile.h"
#include "vm/rates.h"

struct process {
    uv_loop_t *loop;
    struct vmipc_server *server;
    enum vmi_state state;
    struct vmi_start_params *start; /* what was started; NULL while idle */
    char *log_dir;
    char *accel_text; /* why that accelerator; NULL: as expected */
    struct machine *machine;
    uint64_t started_ns; /* CLOCK_REALTIME */
    struct vm_end *end;
    struct vm_pause_info *pause; /* while paused: why */
    bool attached; /* a vmd is connected */
    bool leaving;  /* the server is closing */
    struct rpc_call *waiting; /* answered when an operation of the machine is done */
    struct process_opener opener; /* of a process without a VM */
    uv_timer_t orphan;
    struct rate rates[2]; /* by enum xlate_rate */
    uv_timer_t rate_timer; /* runs while one has a threshold */
    struct profile *profile; /* with the machine */
    uv_timer_t warm; /* writes the list of hot blocks now and then */
    uv_timer_t trim; /* gives memory of code back */
    uv_signal_t signals[2];
};

/* process.c */
struct process *process__of(struct rpc_call *call);
/* The machine, or NULL when CALL was answered with an error. */
struct machine *process__machine(struct rpc_call *call);

/* process_xlate.c */
/* What the run had hot is of use to the next one; that it cannot be written is not worth more
 * than a line. */
void process__save_hot(struct process *p);
void process__warm_timeout(uv_timer_t *timer);
void process__trim_timeout(uv_timer_t *timer);
/* A rate that was not looked at begins with a window from now. */
void process__set_rates(struct process *p, unsigned hit, unsigned link);
/* The handlers. Each answers CALL. */
void process_xlate_stats(struct rpc_call *call, struct vmi_xlate_stats_params *params);
void process_xlate_clear(struct rpc_call *call, struct vmi_xlate_clear_params *params);
void process_xlate_limit(struct rpc_call *call, struct vmi_xlate_limit_params *params);
void process_xlate_warm(struct rpc_call *call, struct vmi_xlate_warm_params *params);
void process_xlate_watch(struct rpc_call *call, struct vmi_xlate_watch_params *params);
void process_xlate_sample(struct rpc_call *call, struct vmi_xlate_sample_params *params);
void process_xlate_profile(struct rpc_call *call, struct vmi_xlate_profile_params *params);
void process_xlate_code(struct rpc_call *call, struct vmi_xlate_code_params *params);

#endif
