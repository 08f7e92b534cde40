/* Registers that KVM gives one by one, each with a number: the state of arm64 and riscv64 vCPUs. */
#ifndef ACCEL_KVM_ONE_REG_H
#define ACCEL_KVM_ONE_REG_H

#include "accel/accel.h"

struct kvm_vcpu;

#define KVM_ONE_REGS_MOST 1024

struct kvm_one_reg_value {
    uint64_t id;
    uint64_t value[2]; /* as many bytes of it as the number says */
};

/* All of a vCPU's state, as it is saved. */
struct kvm_one_reg_state {
    uint32_t mp_state;
    uint32_t n;
    struct kvm_one_reg_value regs[KVM_ONE_REGS_MOST];
};

struct kvm_arch_vcpu {
    struct kvm_one_reg_state *lent; /* what kvm__arch_vcpu_state() gave */
    bool is_lent;
};

struct kvm_arch {
    int intc; /* descriptor of the interrupt controllers' device; -1: the machine has its own */
    int its;  /* ARM: likewise */
};

/* One register, of at most 16 bytes. 0 or -errno. */
int kvm__one_reg_get(struct kvm_vcpu *v, uint64_t id, void *value);
int kvm__one_reg_set(struct kvm_vcpu *v, uint64_t id, const void *value);
int kvm__mp_state_set(struct kvm_vcpu *v, uint32_t state);

/* Makes a device of KVM's: its descriptor or -errno. Then an attribute of it. */
int kvm__device(int vm, uint32_t type);
int kvm__device_set(int device, uint32_t group, uint64_t attr, const void *value);

/* The guest's call ARGS goes to the machine. True: go on. */
bool kvm__call(struct kvm_vcpu *v, uint64_t args[8]);

#endif
