/*
 * arm64's side of KVM, as thin as it can be. Nobody has run it on hardware yet.
 *
 * The kernel answers PSCI, and has a GICv3 with an ITS where accel_config.intc places them; without
 * places the machine has a GIC of its own and drives the vCPUs' IRQ and FIQ inputs.
 */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>

const enum isa kvm__arch_isa = ISA_AARCH64;

#define IPA_BITS  44 /* of guest-physical addresses: what the machine's map needs */
#define FIRST_SPI 32
#define SPI_MOST  256

#define PSCI_SYSTEM_OFF   0x84000008u
#define PSCI_SYSTEM_RESET 0x84000009u

#define CORE(name)                                                                                 \
    (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))
#define CORE_X(n) (CORE(regs.regs[0]) + 2 * (uint64_t)(n))

/* --- the VM -------------------------------------------------------------------------------------
 */

bool kvm__arch_check(const struct accel_config *config, int device, GError **err)
{
    return kvm__capability(device, KVM_CAP_ARM_PSCI_0_2) && kvm__capability(device, KVM_CAP_ONE_REG)
               ? kvm_cpu_valid(config->cpu, err)
               : vmd_fail(err, VMD_ERROR_UNSUPPORTED, "this host's KVM lacks PSCI 0.2");
}

unsigned long kvm__arch_type(int device)
{
    unsigned bits = (unsigned)kvm__capability(device, KVM_CAP_ARM_VM_IPA_SIZE);

    return bits ? KVM_VM_TYPE_ARM_IPA_SIZE(MIN(bits, IPA_BITS)) : 0;
}

static int make_gic(struct kvm *k)
{
    const uint64_t *places = k->accel.config.intc;
    uint64_t redist = places[1] | (uint64_t)k->accel.config.vcpus << 52; /* one region of them */
    int rc;

    k->arch.intc = rc = kvm__device(k->vm, KVM_DEV_TYPE_ARM_VGIC_V3);
    if (rc < 0 ||
        (rc = kvm__device_set(rc, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST,
                              &places[0])) < 0 ||
        (rc = kvm__device_set(k->arch.intc, KVM_DEV_ARM_VGIC_GRP_ADDR,
                              KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, &redist)) < 0)
        return rc;
    k->arch.its = rc = kvm__device(k->vm, KVM_DEV_TYPE_ARM_VGIC_ITS);
    return rc < 0
               ? rc
               : kvm__device_set(rc, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, &places[2]);
}

/* Once all vCPUs are there. */
static int finish_gic(struct kvm *k)
{
    uint32_t irqs = SPI_MOST + FIRST_SPI;
    int rc = kvm__device_set(k->arch.intc, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs);

    if (rc >= 0)
        rc = kvm__device_set(k->arch.intc, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT,
                             NULL);
    return rc < 0 ? rc
                  : kvm__device_set(k->arch.its, KVM_DEV_ARM_VGIC_GRP_CTRL,
                                    KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
}

bool kvm__arch_create(struct kvm *k, int device, GError **err)
{
    int rc = k->accel.config.intc[0] ? make_gic(k) : 0;

    return rc >= 0 || vmd_set_errno(err, -rc, "making KVM's GICv3");
}

void kvm__arch_gsi(struct kvm *k, unsigned gsi, bool level)
{
    const struct kvm_irq_level line = {
        .irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (gsi + FIRST_SPI), .level = level};

    if (k->arch.intc > 0 && gsi < SPI_MOST)
        kvm__ioctl(k->vm, KVM_IRQ_LINE, &line);
}

void kvm__arch_set_irq(struct vcpu *vcpu, unsigned irq, bool level)
{
    uint32_t number = irq == ARM_IRQ_FIQ ? KVM_ARM_IRQ_CPU_FIQ : KVM_ARM_IRQ_CPU_IRQ;
    const struct kvm_irq_level line = {.irq = KVM_ARM_IRQ_TYPE_CPU << KVM_ARM_IRQ_TYPE_SHIFT |
                                              vcpu->index << 16 | number,
                                       .level = level};

    kvm__ioctl(kvm_vcpu_from(vcpu)->kvm->vm, KVM_IRQ_LINE, &line);
}

/* --- vCPUs --------------------------------------------------------------------------------------
 */

static int init_vcpu(struct kvm_vcpu *v, bool off)
{
    struct kvm_vcpu_init init = {0};
    int rc = kvm__ioctl(v->kvm->vm, KVM_ARM_PREFERRED_TARGET, &init);

    init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2 | (off ? 1u << KVM_ARM_VCPU_POWER_OFF : 0);
    return rc < 0 ? rc : kvm__ioctl(v->fd, KVM_ARM_VCPU_INIT, &init);
}

bool kvm__arch_vcpu_create(struct kvm_vcpu *v, GError **err)
{
    struct kvm *k = v->kvm;
    int rc = init_vcpu(v, v->vcpu.index > 0);

    if (rc >= 0 && k->arch.intc > 0 && v->vcpu.index + 1 == k->accel.config.vcpus)
        rc = finish_gic(k);
    return rc >= 0 || vmd_set_errno(err, -rc, "preparing vCPU %u", v->vcpu.index);
}

int kvm__arch_vcpu_reset(struct kvm_vcpu *v, const struct vcpu_start *start)
{
    int rc = init_vcpu(v, start->mode == VCPU_MODE_WAIT);

    if (rc >= 0 && start->mode != VCPU_MODE_WAIT)
        rc = kvm__one_reg_set(v, CORE(regs.pc), &start->pc);
    for (unsigned i = 0; rc >= 0 && i < G_N_ELEMENTS(start->args); i++)
        rc = kvm__one_reg_set(v, CORE_X(i), &start->args[i]);
    return rc;
}

/* PSCI's last calls come as events: the machine hears of them as of the calls that they are. */
static void system_event(struct kvm_vcpu *v, int *why)
{
    uint64_t args[8] = {v->run->system_event.type == KVM_SYSTEM_EVENT_RESET ? PSCI_SYSTEM_RESET
                                                                            : PSCI_SYSTEM_OFF};

    if (v->run->system_event.type == KVM_SYSTEM_EVENT_CRASH)
        *why = (int)kvm__vcpu_fail(v, "the guest of vCPU %u crashed", v->vcpu.index);
    else if (!kvm__call(v, args))
        *why = VCPU_EXIT_KICKED;
}

bool kvm__arch_exit(struct kvm_vcpu *v, int *why)
{
    switch (v->run->exit_reason) {
    case KVM_EXIT_SYSTEM_EVENT:
        system_event(v, why);
        return true;
    case KVM_EXIT_ARM_NISV:
        *why = (int)kvm__vcpu_fail(v,
                                   "vCPU %u accessed a device at 0x%" PRIx64
                                   " by an instruction that KVM cannot decode",
                                   v->vcpu.index, (uint64_t)v->run->arm_nisv.fault_ipa);
        return true;
    default:
        return false;
    }
}

void kvm__arch_describe(struct kvm_vcpu *v, GString *out)
{
    uint64_t pc = 0, pstate = 0;

    kvm__one_reg_get(v, CORE(regs.pc), &pc);
    kvm__one_reg_get(v, CORE(regs.pstate), &pstate);
    g_string_append_printf(out, "\n  pc  %016" PRIx64 "  pstate %08" PRIx64, pc, pstate);
    for (unsigned i = 0; i < 31; i++) {
        uint64_t x = 0;
        kvm__one_reg_get(v, CORE_X(i), &x);
        g_string_append_printf(out, "%sx%-2u %016" PRIx64, i % 4 ? "  " : "\n  ", i, x);
    }
}
