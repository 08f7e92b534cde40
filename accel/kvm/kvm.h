/*
 * accel/kvm: guests of the host's own ISA, run by the host's processor through Linux's KVM.
 *
 * Nothing of KVM shows beyond this header but its name.
 */
#ifndef ACCEL_KVM_KVM_H
#define ACCEL_KVM_KVM_H

#include "accel/accel.h"

/*
 * The accelerator over /dev/kvm, which accel_create() opens. Creating one fails with
 * VMD_ERROR_UNSUPPORTED for another ISA than the host's or a KVM that lacks what is needed,
 * VMD_ERROR_LIMIT for more vCPUs than KVM has, VMD_ERROR_INVALID for a CPU model that is none.
 */
extern const struct accel_ops kvm_accel_ops;

/* What only tests and confined processes choose; all zeros is what accel_create() takes. */
struct kvm_options {
    bool has_device; /* DEVICE counts: an open descriptor of /dev/kvm, which stays the caller's */
    int device;
    bool dirty_bitmap; /* the dirty log by bitmaps, even where KVM has rings */
};

/* accel_create(&kvm_accel_ops) with OPTIONS. */
bool kvm_accel_create(const struct accel_config *config, const struct kvm_options *options,
                      struct accel **out, GError **err);

/* Opens /dev/kvm, close-on-exec, and checks that it is KVM of a version that can be used; -1 with
 * ERR. */
int kvm_open(GError **err);

/* The most vCPUs that a VM of DEVICE may have. */
unsigned kvm_vcpus_most(int device);

/*
 * Whether TEXT can be an accel_config.cpu on this host's ISA: a model and features that exist,
 * whatever this host's processor has. NULL can. VMD_ERROR_INVALID names what is wrong.
 */
bool kvm_cpu_valid(const char *text, GError **err);

#endif
