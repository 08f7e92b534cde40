/* What a VM and a vCPU have on x86 beyond what all ISAs have, and the parts of x86's side. */
#ifndef ACCEL_KVM_X86_H
#define ACCEL_KVM_X86_H

#include "accel/accel.h"

#include <linux/kvm.h>

struct kvm;
struct kvm_vcpu;

#define KVM_X86_MSRS_MOST  255 /* of a vCPU's saved state: what KVM takes at once; it lists fewer than 200 */
#define KVM_X86_LAPIC_REGS (KVM_APIC_REG_SIZE / 16)
#define KVM_X86_OWN_PAGES                                                                          \
    UINT64_C(0xfeffc000) /* four that Intel's processors need in real mode                         \
                          */

#define KVM_X86_MSR_TSC          0x10
#define KVM_X86_MSR_TSC_DEADLINE 0x6e0

struct kvm_x86_msr {
    uint32_t index;
    uint64_t value;
};

/* All of a vCPU's state, as it is saved. */
struct kvm_x86_state {
    struct kvm_regs regs;
    struct kvm_sregs2 sregs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    uint32_t mp_state;
    uint64_t xcr0;
    uint32_t xsave[1024];
    uint32_t lapic[KVM_X86_LAPIC_REGS];
    uint32_t n_msrs;
    struct kvm_x86_msr msrs[KVM_X86_MSRS_MOST];
};

/* What belongs to no vCPU: interrupt controllers, timer, clock. */
struct kvm_x86_shared {
    struct kvm_pic_state pic[2];
    struct kvm_ioapic_state ioapic;
    struct kvm_pit_state2 pit;
    uint64_t clock_ns; /* of the paravirtual clock */
};

/* A vCPU's timers as they were when the VM's clock was paused. */
struct kvm_x86_timers {
    uint64_t deadline;
    uint32_t initial_count, current_count; /* of the local APIC's timer */
};

/* The debug registers that the debugger has. */
struct kvm_x86_points {
    unsigned n;
    uint32_t dr7;
    struct {
        uint64_t address;
        enum accel_watch watch; /* 0: of execution */
    } point[4];
};

struct kvm_arch_vcpu {
    struct kvm_x86_state *initial; /* after creation */
    struct kvm_x86_state *lent;    /* what kvm__arch_vcpu_state() gave */
    bool is_lent;
    struct kvm_x86_timers timers; /* while kvm.arch.frozen */
    enum accel_step step;
    struct accel_stop stop; /* the last one */
    bool at_break;          /* which was at a breakpoint */
    bool passing;           /* steps over that breakpoint, then runs on */
};

struct kvm_arch {
    bool in_kernel; /* the I/O APIC is KVM's; local APICs always are */
    bool pit;
    bool msrs_tried;
    uint32_t n_msrs; /* those that make up the state */
    uint32_t msrs[KVM_X86_MSRS_MOST];
    struct kvm_cpuid2 *supported; /* what KVM can show a guest; owned */
    uint32_t tsc_khz;
    struct kvm_x86_points points;
    struct kvm_x86_shared initial, lent;
    bool is_lent;
    bool frozen;         /* the VM's clock is paused, since: */
    uint64_t frozen_tsc; /* the host's counter */
    uint64_t frozen_ns;  /* the paravirtual clock */
};

/* --- x86_state.c: all return 0 or -errno -------------------------------------------------------
 */

extern const struct state_desc kvm__x86_state, kvm__x86_shared;

/* Finds out which MSRs make up the state: those that KVM lists and, of a first vCPU, takes as it
 * gave them. */
int kvm__x86_list_msrs(struct kvm *k, int device);
void kvm__x86_try_msrs(struct kvm_vcpu *v);
int kvm__x86_get(struct kvm_vcpu *v, struct kvm_x86_state *state);
int kvm__x86_set(struct kvm_vcpu *v, const struct kvm_x86_state *state);
int kvm__x86_get_shared(struct kvm *k, struct kvm_x86_shared *shared);
int kvm__x86_set_chips(struct kvm *k, const struct kvm_x86_shared *shared); /* all but the clock */
int kvm__x86_set_clock(struct kvm *k, uint64_t ns);
int kvm__x86_get_msr(struct kvm_vcpu *v, uint32_t index, uint64_t *value);
int kvm__x86_set_msr(struct kvm_vcpu *v, uint32_t index, uint64_t value);
int kvm__x86_get_lapic(struct kvm_vcpu *v, uint32_t regs[KVM_X86_LAPIC_REGS]);
int kvm__x86_set_lapic(struct kvm_vcpu *v, const uint32_t regs[KVM_X86_LAPIC_REGS]);

/* --- x86_debug.c ---------------------------------------------------------------------------------
 */

/* KVM left for the debugger: notes why. False: for our own sake, it goes on. */
bool kvm__x86_stopped(struct kvm_vcpu *v);

/* --- x86_clock.c ---------------------------------------------------------------------------------
 */

/* Keeps the timers of a vCPU and stops them, while the clock is paused. 0 or -errno. */
int kvm__x86_stop_timers(struct kvm_vcpu *v);

#endif
