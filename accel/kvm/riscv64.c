/*
 * riscv64's side of KVM, as thin as it can be. Nobody has run it on hardware yet.
 *
 * The kernel answers SBI, harts' state included, and has APLIC and IMSICs (Linux 6.5) where
 * accel_config.intc places them; without places the machine has interrupt controllers of its own
 * and drives the harts' external interrupt. Guests start in S-mode; there is no M-mode for a
 * firmware.
 */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>

const enum isa kvm__arch_isa = ISA_RISCV64;

/* Headers before Linux 6.5 lack the AIA device. */
enum { DEV_TYPE_AIA = 11 };
enum { AIA_CONFIG, AIA_ADDRESS, AIA_CONTROL }; /* groups */
enum { AIA_CONFIG_IDS = 1, AIA_CONFIG_SOURCES = 2, AIA_CONFIG_HART_BITS = 5 };
enum { AIA_APLIC = 0, AIA_FIRST_IMSIC = 1 };

#define AIA_IDS     255
#define AIA_SOURCES 96
#define IMSIC_SIZE  0x1000

#define SBI_EXT_SRST  0x53525354
#define SRST_SHUTDOWN 0
#define SRST_REBOOT   1

#define MODE_S 1

#define CORE(name)                                                                                 \
    (KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CORE | KVM_REG_RISCV_CORE_REG(name))
#define CSR(name)                                                                                  \
    (KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CSR | KVM_REG_RISCV_CSR_REG(name))

/* --- the VM -------------------------------------------------------------------------------------
 */

bool kvm__arch_check(const struct accel_config *config, int device, GError **err)
{
    if (config->firmware_mode)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "KVM gives riscv64 guests no M-mode");
    return kvm__capability(device, KVM_CAP_ONE_REG)
               ? kvm_cpu_valid(config->cpu, err)
               : vmd_fail(err, VMD_ERROR_UNSUPPORTED, "this host's KVM lacks single registers");
}

unsigned long kvm__arch_type(int device)
{
    return 0;
}

bool kvm__arch_create(struct kvm *k, int device, GError **err)
{
    int rc = k->accel.config.intc[0] ? kvm__device(k->vm, DEV_TYPE_AIA) : 0;

    k->arch.intc = rc;
    return rc >= 0 || vmd_set_errno(err, -rc, "making KVM's APLIC and IMSICs");
}

/* Once all harts are there. */
static int finish_aia(struct kvm *k)
{
    const uint64_t *places = k->accel.config.intc;
    uint32_t ids = AIA_IDS, sources = AIA_SOURCES, bits = 0;
    int rc;

    while (1u << bits < k->accel.config.vcpus)
        bits++;
    if ((rc = kvm__device_set(k->arch.intc, AIA_CONFIG, AIA_CONFIG_IDS, &ids)) < 0 ||
        (rc = kvm__device_set(k->arch.intc, AIA_CONFIG, AIA_CONFIG_SOURCES, &sources)) < 0 ||
        (rc = kvm__device_set(k->arch.intc, AIA_CONFIG, AIA_CONFIG_HART_BITS, &bits)) < 0 ||
        (rc = kvm__device_set(k->arch.intc, AIA_ADDRESS, AIA_APLIC, &places[0])) < 0)
        return rc;
    for (unsigned i = 0; rc >= 0 && i < k->accel.config.vcpus; i++) {
        uint64_t place = places[1] + (uint64_t)i * IMSIC_SIZE;
        rc = kvm__device_set(k->arch.intc, AIA_ADDRESS, AIA_FIRST_IMSIC + i, &place);
    }
    return rc < 0 ? rc : kvm__device_set(k->arch.intc, AIA_CONTROL, 0, NULL);
}

void kvm__arch_gsi(struct kvm *k, unsigned gsi, bool level)
{
    const struct kvm_irq_level line = {.irq = gsi, .level = level};

    if (k->arch.intc > 0 && gsi < AIA_SOURCES)
        kvm__ioctl(k->vm, KVM_IRQ_LINE, &line);
}

/* KVM keeps timers and software interrupts itself. */
void kvm__arch_set_irq(struct vcpu *vcpu, unsigned irq, bool level)
{
    const struct kvm_interrupt interrupt = {.irq = level ? KVM_INTERRUPT_SET : KVM_INTERRUPT_UNSET};

    if (irq == RISCV_IRQ_S_EXT)
        kvm__ioctl(kvm_vcpu_from(vcpu)->fd, KVM_INTERRUPT, &interrupt);
}

/* --- vCPUs --------------------------------------------------------------------------------------
 */

bool kvm__arch_vcpu_create(struct kvm_vcpu *v, GError **err)
{
    struct kvm *k = v->kvm;
    int rc = 0;

    if (k->arch.intc > 0 && v->vcpu.index + 1 == k->accel.config.vcpus)
        rc = finish_aia(k);
    return rc >= 0 || vmd_set_errno(err, -rc, "placing KVM's APLIC and IMSICs");
}

/* Translation and interrupts are off; other registers are the guest's to set (SBI, hart state
 * management). */
int kvm__arch_vcpu_reset(struct kvm_vcpu *v, const struct vcpu_start *start)
{
    const uint64_t zero = 0, mode = MODE_S;
    int rc;

    if (start->mode == VCPU_MODE_WAIT)
        return kvm__mp_state_set(v, KVM_MP_STATE_STOPPED);
    if ((rc = kvm__one_reg_set(v, CSR(satp), &zero)) < 0 ||
        (rc = kvm__one_reg_set(v, CSR(sstatus), &zero)) < 0 ||
        (rc = kvm__one_reg_set(v, CSR(sie), &zero)) < 0 ||
        (rc = kvm__one_reg_set(v, CORE(mode), &mode)) < 0 ||
        (rc = kvm__one_reg_set(v, CORE(regs.pc), &start->pc)) < 0 ||
        (rc = kvm__one_reg_set(v, CORE(regs.a0), &start->args[0])) < 0 ||
        (rc = kvm__one_reg_set(v, CORE(regs.a1), &start->args[1])) < 0 ||
        (rc = kvm__one_reg_set(v, CORE(regs.a2), &start->args[2])) < 0)
        return rc;
    return kvm__mp_state_set(v, KVM_MP_STATE_RUNNABLE);
}

/* A call that the kernel leaves to the machine. */
static void sbi_call(struct kvm_vcpu *v, int *why)
{
    struct kvm_run *run = v->run;
    uint64_t args[8];

    for (unsigned i = 0; i < 6; i++)
        args[i] = run->riscv_sbi.args[i];
    args[6] = run->riscv_sbi.function_id;
    args[7] = run->riscv_sbi.extension_id;
    if (!kvm__call(v, args))
        *why = VCPU_EXIT_KICKED;
    run->riscv_sbi.ret[0] = args[0];
    run->riscv_sbi.ret[1] = args[1];
}

/* The system's end or reset comes as an event: the machine hears of it as of the call that it is.
 */
static void system_event(struct kvm_vcpu *v, int *why)
{
    bool reset = v->run->system_event.type == KVM_SYSTEM_EVENT_RESET;
    uint64_t args[8] = {reset ? SRST_REBOOT : SRST_SHUTDOWN,
                        v->run->system_event.data[0], [7] = SBI_EXT_SRST};

    if (!kvm__call(v, args))
        *why = VCPU_EXIT_KICKED;
}

bool kvm__arch_exit(struct kvm_vcpu *v, int *why)
{
    switch (v->run->exit_reason) {
    case KVM_EXIT_RISCV_SBI:
        sbi_call(v, why);
        return true;
    case KVM_EXIT_SYSTEM_EVENT:
        system_event(v, why);
        return true;
    default:
        return false;
    }
}

void kvm__arch_describe(struct kvm_vcpu *v, GString *out)
{
    uint64_t value = 0;

    kvm__one_reg_get(v, CSR(scause), &value);
    g_string_append_printf(out, "\n  scause %016" PRIx64, value);
    for (unsigned i = 0; i < 32; i++) { /* pc, then x1 to x31, as KVM numbers them */
        kvm__one_reg_get(v, CORE(regs.pc) + i, &value);
        g_string_append_printf(out, "%s%s%-2u %016" PRIx64, i % 4 ? "  " : "\n  ", i ? "x" : "pc",
                               i, value);
    }
}
