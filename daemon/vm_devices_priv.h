/*
 * daemon/vm_devices_priv.h: what the files of vm_devices share: the jobs of a VM's devices. Those
 * for one device are told to the VM process in their order.
 */
#ifndef DAEMON_VM_DEVICES_PRIV_H
#define DAEMON_VM_DEVICES_PRIV_H

#include "daemon/vm_devices.h"

struct vm_devices {
    struct vm *vm;
    GHashTable *jobs;          /* number -> struct device_job, owned */
    GPtrArray *holdings;       /* what its devices are on */
    GPtrArray *keeping;        /* jobs that change the definition too */
    struct attached *attached; /* which came and went since the run began */
    GArray *after_move;        /* struct after_move */
    unsigned *alive;           /* shared with calls under way: 0 once this is freed */
};

/* Who waits for the end of the move that is under way. */
struct after_move {
    void (*done)(void *arg);
    void *arg;
};

/* A job under way. */
struct device_job {
    struct vm_devices *devices;
    uint64_t number;
    struct job *job;
    char *device;             /* NULL: it has no name yet, or the VM process knows */
    struct device_spec *spec; /* of an addition; NULL */
    char *mac;                /* of an interface that was given none; NULL */
    enum device_until until;
    bool force;
    uint32_t timeout_ms;
    struct opener *opener; /* NULL: not at work */
    bool sent;             /* the VM process was told; requests for one device in their order */
    bool in_doubt; /* it was told by a call that broke, or by a vmd before this one, and is asked */
    struct device_job *next;   /* for the same device, waits for SENT; NULL */
    struct rpc_call *caller;   /* is answered when the job is over; NULL */
    struct vm_gpu_config *to;  /* what a move makes of the GPU; NULL: it is none */
    vm_devices_moved_fn moved; /* and who hears of its end; NULL */
    void *moved_arg;
};

/* A call to the VM process on behalf of a job, which may be over by the time of the answer. */
struct job_call {
    unsigned *alive;
    struct vm_devices *devices;
    uint64_t number;
};

/* --- jobs --- */

/* A job of the user UID that can be cancelled, and is not begun. DEVICE (NULL: none yet) is copied.
 */
struct device_job *device_job__new(struct vm_devices *d, uid_t uid, const char *kind,
                                   const char *device, const char *text);
/* The last use of the struct device_job P, whose job stays. */
void device_job__free(gpointer p);
/* The job begun last for DEVICE that the VM process was not told yet; NULL. */
struct device_job *vm_devices__latest_unsent(struct vm_devices *d, const char *device);
/* Begins J, now or when BEFORE, which may be NULL, was sent. */
void device_job__follow(struct device_job *before, struct device_job *j);
void device_job__begin(struct device_job *j);
/* The ways to begin one, by what it does. */
void device_job__begin_add(struct device_job *j);
void device_job__begin_remove(struct device_job *j);
void device_job__begin_move(struct device_job *j);
/* Of JOB's result; each may be NULL. */
void device_job__result(struct job *job, const char *device, const char *outcome);
/* Ends and frees J, and begins what waits for it. ERR is borrowed; NULL: success. */
void device_job__end(struct device_job *j, bool cancelled, const GError *err);
void device_job__refuse(struct device_job *j, const GError *err);

/* --- calls to the VM process --- */

struct job_call *job_call__new(const struct device_job *j);
/* The job of C, which is freed; NULL: it is over. */
struct device_job *job_call__end(struct job_call *c);
/* Whether the VM process may have the job of a call that failed with ERR. */
bool job_call__may_have_begun(const GError *err);
/* Replies: the job of the call ARG has begun, or is refused; nobody cares. */
void job_call__begun(void *arg, const void *result, int fd, const GError *err);
void job_call__ignore(void *arg, const void *result, int fd, const GError *err);

/* --- what devices are on --- */

/* What the device of EVENT is on: it is there, or released. */
void vm_devices__note_holding(struct vm_devices *d, const struct vmi_device_event *event);
/* Takes each device away from the guest that the host has not got any more, once. */
void vm_devices__take_lost(struct vm_devices *d);
/* The same once the VM process has said which jobs it has. */
void vm_devices__take_lost_again(struct vm_devices *d);

/* --- a GPU that moves --- */

/* The run has its GPU elsewhere. */
void vm_devices__gpu_moved(struct vm_devices *d);
/* A job is over: where it was the move, those who wait hear of it. */
void vm_devices__tell_after_move(struct vm_devices *d);

#endif
