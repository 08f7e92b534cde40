/* daemon/vm: what its files share. Loop thread. */
#ifndef DAEMON_VM_PRIV_H
#define DAEMON_VM_PRIV_H

#include "daemon/spawn.h"
#include "daemon/vm.h"
#include "daemon/vm_devices.h"
#include "daemon/vm_gpu.h"
#include "daemon/waiters.h"

enum {
    CALL_MS = 30000,   /* a VM process answers an ordinary call within this */
    RESIZE_MS = 1800000, /* and has flushed a disk and given it its size within this */
    START_MS = 60000,  /* and has its VM started within this */
    KILL_MS = 8000,    /* from vmi.quit to SIGKILL */
    LAST_WORDS = 8192, /* bytes of a dead process's log that are said again */
    REOPEN_MOST = 3,   /* times a broken link to a living process is opened again, a run */
};

/* Tags of waiters. */
enum { WAIT_END, WAIT_RUNNING, WAIT_KILLED, WAIT_DELETED };

struct vm {
    struct daemon *daemon;
    char *id;
    struct vm_config *config;
    struct vm_config *next; /* of the next run on; NULL: the same */
    uid_t uid;
    enum vm_state state;
    uint64_t created_ns, started_ns, runs;
    bool has_accel;
    enum vm_accel accel;
    char *accel_text; /* NULL: as one would expect */
    uint64_t acked;   /* latest stored event of the present process */
    uint64_t in_file; /* the latest that vm.json had, when it was read */
    struct vm_end *end;
    struct vm_pause_info *pause; /* why it is paused; NULL: it is not */
    struct resize_result *size;  /* what the run has now; NULL: what it began with */
    struct vm_pins *pins;        /* likewise where vCPUs may run; NULL: as it began */
    bool has_memory_period;      /* likewise how often the guest is asked about its memory */
    uint32_t memory_period_s;

    struct spawned process;
    struct vmipc_link *link;
    struct vm_devices *devices;
    struct vm_gpu *gpu;
    bool end_known;            /* of this run: vm->end is set, the process is leaving */
    bool killed;               /* a client wants this run over */
    bool leaving;              /* vm_free(): what is still asked of the process has no answer */
    unsigned reopened;         /* times the link broke and was opened again */
    bool starting_process;     /* vmi.start was not answered yet */
    bool awaits_gpus;          /* the host's GPUs are asked for before there is a process */
    struct rpc_call *starting; /* answered when the start is decided */
    GError *start_err;         /* why it fails; told when the process is gone */
    bool start_new;            /* forget the VM if it does not start */
    bool start_paused;
    const struct rpc_conn *maker; /* see vm_made_by() */
    struct waiters *waiters;
    struct job *stop_job;
    bool stop_force, deleting;
    bool rebooting; /* it is to be reset when the guest has powered off */
    uint32_t stop_timeout_s;
    uv_timer_t *timer; /* of the stop job, or of a kill; freed by its close */
};

/* vm.c */
uint64_t vm__now_ns(void);
/* SYNC for what must survive the host's crash: that a VM exists, and what it is. */
bool vm__save(struct vm *vm, bool sync, GError **err);

/* vm_run.c */
void vm__emit(struct vm *vm, enum api_event event, const void *data);
void vm__set_state(struct vm *vm, enum vm_state to);
void vm__reply_info(struct rpc_call *call, void *opaque);
void vm__reply_deleted(struct rpc_call *call, void *opaque);
void vm__stop_timer(struct vm *vm);
void vm__start_timer(struct vm *vm, uv_timer_cb cb, uint64_t ms);
void vm__kill_timeout(uv_timer_t *timer);
void vm__end_stop_job(struct vm *vm, bool cancelled, const GError *err);
/* Cuts the connection to a process that is over. */
void vm__forget_process(struct vm *vm);
/* The run will not come about, for the reason WHY (taken). What there is of a process is reaped
 * before anybody hears of it; VM may be free after this. */
void vm__fail_start(struct vm *vm, GError *why);

/* vm_stop.c */
void vm__stop_over(struct vm *vm, bool cancelled, const GError *err);

#endif
