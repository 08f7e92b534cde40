/*
 * The CPUID of a vCPU, made from what KVM supports by a model's rule and by a list of features.
 *
 * Pure functions: the same arguments give the same leaves on any host.
 */
#ifndef ACCEL_KVM_X86_CPUID_H
#define ACCEL_KVM_X86_CPUID_H

#include "base/base.h"

#include <linux/kvm.h>

/* Which vCPU it is, of which machine. */
struct kvm_x86_topology {
    unsigned cpus;    /* all in one package, one thread a core */
    unsigned index;   /* and local APIC id */
    uint32_t tsc_khz; /* 0: not told */
};

/* What KVM of DEVICE can show guests; the caller frees. NULL with ERR. */
struct kvm_cpuid2 *kvm__x86_supported(int device, GError **err);

/*
 * The leaves of a vCPU of model and features TEXT (kvm_cpu_valid()); the caller frees. NULL with
 * VMD_ERROR_INVALID for a TEXT that is none, VMD_ERROR_UNSUPPORTED for features that SUPPORTED
 * lacks.
 */
struct kvm_cpuid2 *kvm__x86_cpuid(const struct kvm_cpuid2 *supported, const char *text,
                                  const struct kvm_x86_topology *topology, GError **err);

#endif
