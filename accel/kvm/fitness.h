/*
 * accel/kvm/fitness: whether this host's KVM is fit to run guests, found by running one.
 *
 * That /dev/kvm opens says little: there are hosts whose KVM emulates all privileged code, a
 * hundred times slower than a processor and not all of it. So a guest of a few instructions is run,
 * of which the outcome and the processor time tell.
 */
#ifndef ACCEL_KVM_FITNESS_H
#define ACCEL_KVM_FITNESS_H

#include "base/base.h"

enum kvm_fit {
    KVM_FIT,      /* guests run on the processor */
    KVM_EMULATES, /* guests run, privileged code emulated by the host's kernel */
    KVM_REFUSED,  /* it is there, and cannot be used */
    KVM_ABSENT,
};

/* Facts beyond FIT are those of KVM_FIT and KVM_EMULATES; else zeros. */
struct kvm_fitness {
    enum kvm_fit fit;
    char text[200]; /* a line for people: what it is, or why not */
    int api_version;
    unsigned vcpus;        /* most of a VM */
    unsigned memory_slots; /* most of a VM */
    bool irqfd, ioeventfd, split_irqchip, dirty_ring;
};

/* Opens /dev/kvm and runs the guest: some ms, at most three seconds where KVM hangs. Takes no lock;
 * uses SIGRTMIN in the calling thread. */
void kvm_measure(struct kvm_fitness *out);

/* The same of a device that may be another file. */
void kvm_measure_device(const char *path, struct kvm_fitness *out);

#endif
