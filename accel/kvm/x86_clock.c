/*
 * Guest time on x86, and the objects that saved state is taken from.
 *
 * A guest has three clocks that KVM keeps: the time stamp counter, the paravirtual clock, and the
 * timers of local APICs. While the VM's clock is paused all three stand: timers are kept and
 * stopped, then counter and clock are put back to what they showed. KVM shows neither as standing
 * meanwhile, so what is saved then is corrected here. A timer interrupt that KVM had already raised
 * stays raised.
 */
#include "accel/kvm/kvm_priv.h"

#include <x86intrin.h>

#define LAPIC_INITIAL 0x38 /* registers of the timer, by number */
#define LAPIC_CURRENT 0x39

static bool clock_paused(const struct kvm *k)
{
    const struct vm_clock *clock = k->accel.config.clock;

    return vm_clock_host_deadline(clock, vm_clock_now(clock)) == UINT64_MAX;
}

/* --- timers -------------------------------------------------------------------------------------
 */

int kvm__x86_stop_timers(struct kvm_vcpu *v)
{
    struct kvm_x86_timers *t = &v->arch.timers;
    uint32_t lapic[KVM_X86_LAPIC_REGS];
    int rc;

    if ((rc = kvm__x86_get_msr(v, KVM_X86_MSR_TSC_DEADLINE, &t->deadline)) < 0 ||
        (rc = kvm__x86_get_lapic(v, lapic)) < 0)
        return rc;
    t->initial_count = lapic[LAPIC_INITIAL];
    t->current_count = lapic[LAPIC_CURRENT];
    lapic[LAPIC_INITIAL] = lapic[LAPIC_CURRENT] = 0;
    if ((rc = kvm__x86_set_msr(v, KVM_X86_MSR_TSC_DEADLINE, 0)) < 0)
        return rc;
    return kvm__x86_set_lapic(v, lapic);
}

static int start_timers(struct kvm_vcpu *v)
{
    const struct kvm_x86_timers *t = &v->arch.timers;
    uint32_t lapic[KVM_X86_LAPIC_REGS];
    int rc = kvm__x86_get_lapic(v, lapic);

    if (rc < 0)
        return rc;
    lapic[LAPIC_INITIAL] = t->initial_count;
    lapic[LAPIC_CURRENT] = t->current_count;
    if ((rc = kvm__x86_set_lapic(v, lapic)) < 0)
        return rc;
    return kvm__x86_set_msr(v, KVM_X86_MSR_TSC_DEADLINE, t->deadline);
}

/*
 * Takes DELTA off the counter. Writing the MSR would do for long pauses only: KVM takes a value
 * within a second of what it expects for one that is to be in step with the other vCPUs.
 */
static int turn_back(struct kvm_vcpu *v, uint64_t delta)
{
    uint64_t offset;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};
    int rc = kvm__ioctl(v->fd, KVM_GET_DEVICE_ATTR, &attr);

    if (rc >= 0) {
        offset -= delta;
        return kvm__ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr);
    }
    rc = kvm__x86_get_msr(v, KVM_X86_MSR_TSC, &offset);
    return rc < 0 ? rc : kvm__x86_set_msr(v, KVM_X86_MSR_TSC, offset - delta);
}

/* --- pause --------------------------------------------------------------------------------------
 */

static int freeze(struct kvm *k)
{
    struct kvm_clock_data clock = {0};
    int rc = kvm__ioctl(k->vm, KVM_GET_CLOCK, &clock);

    k->arch.frozen_tsc = __rdtsc();
    k->arch.frozen_ns = clock.clock;
    k->arch.frozen = true;
    for (unsigned i = 0; rc >= 0 && i < k->accel.config.vcpus; i++) {
        if (k->vcpus[i])
            rc = kvm__x86_stop_timers(k->vcpus[i]);
    }
    return rc;
}

static int thaw(struct kvm *k)
{
    uint64_t delta = __rdtsc() - k->arch.frozen_tsc;
    int rc = kvm__x86_set_clock(k, k->arch.frozen_ns);

    k->arch.frozen = false;
    for (unsigned i = 0; rc >= 0 && i < k->accel.config.vcpus; i++) {
        struct kvm_vcpu *v = k->vcpus[i];
        if (!v)
            continue;
        rc = turn_back(v, delta);
        if (rc >= 0)
            rc = start_timers(v);
        /* The guest's watchdogs are not to bark; a guest without this clock has none to tell. */
        kvm__ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
    }
    return rc;
}

void kvm__arch_clock_changed(struct accel *accel)
{
    struct kvm *k = kvm_from(accel);
    bool paused = clock_paused(k);
    int rc;

    if (paused == k->arch.frozen)
        return;
    rc = paused ? freeze(k) : thaw(k);
    if (rc < 0)
        kvm__fail(k, "KVM did not let the guest's time %s: %s", paused ? "stand" : "go on",
                  g_strerror(-rc));
}

/* --- saved state --------------------------------------------------------------------------------
 */

/* What the clocks showed when they were stopped. */
static void show_frozen(const struct kvm_vcpu *v, struct kvm_x86_state *s)
{
    const struct kvm_x86_timers *t = &v->arch.timers;
    uint64_t delta = __rdtsc() - v->kvm->arch.frozen_tsc;

    for (uint32_t i = 0; i < s->n_msrs; i++) {
        if (s->msrs[i].index == KVM_X86_MSR_TSC)
            s->msrs[i].value -= delta;
        else if (s->msrs[i].index == KVM_X86_MSR_TSC_DEADLINE)
            s->msrs[i].value = t->deadline;
    }
    s->lapic[LAPIC_INITIAL] = t->initial_count;
    s->lapic[LAPIC_CURRENT] = t->current_count;
}

const struct state_desc *kvm__arch_vcpu_state(struct vcpu *vcpu, void **object)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);
    int rc = kvm__x86_get(v, v->arch.lent);

    if (rc < 0)
        kvm__fail(v->kvm, "KVM did not give the state of vCPU %u: %s", vcpu->index,
                  g_strerror(-rc));
    else if (v->kvm->arch.frozen)
        show_frozen(v, v->arch.lent);
    v->arch.is_lent = true;
    *object = v->arch.lent;
    return &kvm__x86_state;
}

const struct state_desc *kvm__arch_state(struct accel *accel, void **object)
{
    struct kvm *k = kvm_from(accel);
    int rc = kvm__x86_get_shared(k, &k->arch.lent);

    if (rc < 0)
        kvm__fail(k, "KVM did not give the VM's state: %s", g_strerror(-rc));
    if (k->arch.frozen)
        k->arch.lent.clock_ns = k->arch.frozen_ns;
    k->arch.is_lent = true;
    *object = &k->arch.lent;
    return &kvm__x86_shared;
}

static int put_vcpus(struct kvm *k, unsigned *index)
{
    int rc = 0;

    for (unsigned i = 0; rc >= 0 && i < k->accel.config.vcpus; i++) {
        struct kvm_vcpu *v = k->vcpus[i];
        if (!v || !v->arch.is_lent)
            continue;
        *index = i;
        v->arch.is_lent = false;
        rc = kvm__x86_set(v, v->arch.lent);
        if (rc >= 0 && k->arch.frozen)
            rc = kvm__x86_stop_timers(v);
    }
    return rc;
}

static int put_shared(struct kvm *k)
{
    int rc;

    if (!k->arch.is_lent)
        return 0;
    k->arch.is_lent = false;
    k->arch.frozen_tsc = __rdtsc();
    k->arch.frozen_ns = k->arch.lent.clock_ns;
    rc = kvm__x86_set_chips(k, &k->arch.lent);
    return rc < 0 ? rc : kvm__x86_set_clock(k, k->arch.lent.clock_ns);
}

/* The chips come first: what they have pending goes to local APICs, which then get their own state.
 */
bool kvm__arch_restored(struct accel *accel, GError **err)
{
    struct kvm *k = kvm_from(accel);
    unsigned index = 0;
    int rc = put_shared(k);

    if (rc < 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "KVM refused the VM's saved state: %s",
                        g_strerror(-rc));
    rc = put_vcpus(k, &index);
    return rc >= 0 || vmd_fail(err, VMD_ERROR_INVALID, "KVM refused the saved state of vCPU %u: %s",
                               index, g_strerror(-rc));
}
