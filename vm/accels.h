/* vm/accels: what can run guests on this host, and which of it a guest gets. */
#ifndef VM_ACCELS_H
#define VM_ACCELS_H

#include "accel/kvm/fitness.h"
#include "proto/schema/vmi.h"

/* All of them, measured (accel/kvm/fitness.h says how long that takes); the caller's. */
struct vmi_accels *accels_measure(void);

typedef void (*accels_measure_fn)(struct kvm_fitness *out);

/*
 * What runs a guest of ARCH that is to be run by WANTED. KVM is measured, by MEASURE, where it can be the answer. TEXT gets a
 * line for people where OUT is not what one would expect, else NULL; the caller's. VMD_ERROR_UNSUPPORTED says what
 * was found.
 */
bool accels_choose(enum vm_arch arch, enum vm_accel wanted, accels_measure_fn measure, enum vm_accel *out,
                   char **text, GError **err);

#endif
