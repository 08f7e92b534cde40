/*
 * vm/vcpus: the vCPU threads of one VM, and what stops and starts them.
 *
 * Each vCPU has a thread that waits while the VM is halted or while the guest has the vCPU
 * switched off, and is inside accel_vcpu_run() otherwise. One mutex guards all of it; it is never
 * held while guest code runs or a callback is called. vCPU threads take SIGPROF, for samples.
 */
#ifndef VM_VCPUS_H
#define VM_VCPUS_H

#include "accel/accel.h"

#include <sched.h>

struct vcpus;

enum vcpu_power {
    VCPU_OFF,      /* not started by the guest */
    VCPU_STARTING, /* will start at the given state; not while the world stands */
    VCPU_ON,
    VCPU_STOPPING, /* has asked to be switched off and has not left guest code */
};

/* A vCPU cannot go on. On its thread; the vCPU is off and all others soon halt. */
typedef void (*vcpus_failed_fn)(void *opaque, unsigned index, enum vcpu_exit why,
                                const char *text);
/* A vCPU has stopped for the debugger. On its thread; all others soon halt. */
typedef void (*vcpus_stopped_fn)(void *opaque);

/*
 * Makes ACCEL's vCPUs and their threads, halted and off. ACCEL outlives them. NULL with ERR when
 * the accelerator or the host refuses.
 */
struct vcpus *vcpus_new(struct accel *accel, vcpus_failed_fn failed, void *opaque, GError **err);
/* Whom to tell of stops for the debugger; before any runs. The opaque value is that of vcpus_new(). */
void vcpus_on_stop(struct vcpus *vcpus, vcpus_stopped_fn stopped);
/* Halts, ends the threads and frees the vCPUs. Takes NULL. */
void vcpus_free(struct vcpus *vcpus);

/*
 * Any thread but a vCPU's: runs FN while the world stands, then lets it go on. The world stands when
 * no vCPU is inside guest code or enters it, and those that are to start have their state, so that
 * all of it can be looked at and changed. FN may stop the world again, halt it and resume it, which
 * shows when the outermost FN has returned. Two threads take turns.
 */
typedef void (*vcpus_world_fn)(void *opaque);
void vcpus_stop_world(struct vcpus *vcpus, vcpus_world_fn fn, void *opaque);

/* Any thread but a vCPU's: returns when the world stands, which lasts until resume. */
void vcpus_halt(struct vcpus *vcpus);
void vcpus_resume(struct vcpus *vcpus);
/* Any thread, a vCPU's included: the same without the wait. */
void vcpus_halt_async(struct vcpus *vcpus);

/* While the world stands: a vCPU that is held does not run, though others do. */
void vcpus_hold(struct vcpus *vcpus, unsigned index, bool held);
/* While the world stands: why vCPU INDEX stopped for the debugger, once for each stop; false: it
 * has not. */
bool vcpus_take_stop(struct vcpus *vcpus, unsigned index, struct accel_stop *stop);

/* While the world stands: switches all vCPUs off. */
void vcpus_all_off(struct vcpus *vcpus);

/*
 * Any thread: the first N vCPUs may be started, and no others: at first all may. One that runs without leave
 * goes on until it switches itself off.
 */
void vcpus_grant(struct vcpus *vcpus, unsigned n);
/* Any thread: the same of vCPU INDEX alone. */
void vcpus_grant_one(struct vcpus *vcpus, unsigned index, bool granted);
bool vcpus_is_granted(struct vcpus *vcpus, unsigned index);
/* How many may be started. */
unsigned vcpus_granted(struct vcpus *vcpus);

/* Any thread: switches vCPU INDEX on at START. 0, -EALREADY when it is not off, or -EPERM when it may not
 * be started. */
int vcpus_start(struct vcpus *vcpus, unsigned index, const struct vcpu_start *start);
/* On vCPU INDEX's own thread, inside a hypercall that then leaves guest code. */
void vcpus_stop_self(struct vcpus *vcpus, unsigned index);
/* Any thread: switches vCPU INDEX off wherever it is, soon (VCPU_STOPPING until then), and makes it
 * as new. */
void vcpus_stop(struct vcpus *vcpus, unsigned index);
/* Any thread but a vCPU's: whether vCPU INDEX runs guest code, and does not wait for another vCPU
 * to start it; one that was started lately may be told only by the next call. */
bool vcpus_runs(struct vcpus *vcpus, unsigned index);
/* Any thread. */
enum vcpu_power vcpus_power(struct vcpus *vcpus, unsigned index);

/*
 * Any thread but a vCPU's, one at a time: takes what vCPU INDEX was last found at, as far as it was,
 * and asks where it is now. False: nothing was found, or the vCPU is off. Asking interrupts the vCPU
 * where it is, but for one that is halted, which is not woken for it.
 */
bool vcpus_sample(struct vcpus *vcpus, unsigned index, struct accel_sample *out);

/*
 * Any thread but a vCPU's: on which processors of the host vCPU INDEX may run from soon on; CPUS NULL: on all that this
 * process may. VMD_ERROR_INVALID where the process may run on none of them.
 */
bool vcpus_pin(struct vcpus *vcpus, unsigned index, const cpu_set_t *cpus, GError **err);
/* Any thread: on which it may run now. False: the host does not tell. */
bool vcpus_pinned(struct vcpus *vcpus, unsigned index, cpu_set_t *out);

unsigned vcpus_count(const struct vcpus *vcpus);
struct vcpu *vcpus_get(struct vcpus *vcpus, unsigned index);

/* Any thread: counters of vCPU INDEX. */
struct vcpu_times {
    uint64_t cpu_ns; /* processor time of its thread */
    uint64_t exits;  /* returns from accel_vcpu_run() */
};
void vcpus_times(struct vcpus *vcpus, unsigned index, struct vcpu_times *out);

#endif
