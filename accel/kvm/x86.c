/*
 * x86's side of KVM: the VM's interrupt controllers, how vCPUs start, their exits, and time.
 *
 * Local APICs are always KVM's. The I/O APIC, PICs and the old timer are KVM's too, unless the
 * machine has an I/O APIC of its own (split_irqchip); then KVM keeps no inputs and tells of the
 * ends of level interrupts.
 */
#include "accel/kvm/kvm_priv.h"

#include "accel/kvm/x86_cpuid.h"

const enum isa kvm__arch_isa = ISA_X86_64;

#define IOAPIC_PINS 24
#define PIC_PINS    16

#define CR0_PE   (1u << 0)
#define CR0_ET   (1u << 4)
#define CR0_NE   (1u << 5)
#define CR0_WP   (1u << 16)
#define CR0_PG   (1u << 31)
#define CR4_PAE  (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)

/* --- the VM -------------------------------------------------------------------------------------
 */

bool kvm__arch_check(const struct accel_config *config, int device, GError **err)
{
    static const struct {
        unsigned cap;
        const char *name;
    } needed[] = {
        {KVM_CAP_IRQCHIP, "interrupt controllers"},
        {KVM_CAP_SREGS2, "whole system registers (Linux 5.14)"},
        {KVM_CAP_XSAVE, "extended state"},
        {KVM_CAP_XCRS, "extended control registers"},
        {KVM_CAP_DEBUGREGS, "debug registers"},
        {KVM_CAP_VCPU_EVENTS, "pending events"},
        {KVM_CAP_ADJUST_CLOCK, "a clock that can be set"},
        {KVM_CAP_SET_TSS_ADDR, "a place for its own pages"},
        {KVM_CAP_PIT_STATE2, "a timer that can be saved"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (!kvm__capability(device, needed[i].cap))
            return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "this host's KVM lacks %s", needed[i].name);
    }
    if (config->split_irqchip && !kvm__capability(device, KVM_CAP_SPLIT_IRQCHIP))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "this host's KVM has no split interrupt controllers");
    return kvm_cpu_valid(config->cpu, err);
}

unsigned long kvm__arch_type(int device)
{
    return 0;
}

static int enable(struct kvm *k, unsigned cap, uint64_t argument)
{
    struct kvm_enable_cap enable = {.cap = cap, .args = {argument}};

    return kvm__ioctl(k->vm, KVM_ENABLE_CAP, &enable);
}

/* The old timer, whose speaker port is answered without a speaker. */
static int make_pit(struct kvm *k)
{
    const struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};

    return k->arch.pit ? kvm__ioctl(k->vm, KVM_CREATE_PIT2, &config) : 0;
}

static bool make_chips(struct kvm *k, GError **err)
{
    int rc = k->arch.in_kernel ? kvm__ioctl(k->vm, KVM_CREATE_IRQCHIP, 0)
                               : enable(k, KVM_CAP_SPLIT_IRQCHIP, IOAPIC_PINS);

    if (rc >= 0)
        rc = make_pit(k);
    return rc >= 0 || vmd_set_errno(err, -rc, "making KVM's interrupt controllers");
}

/* Saved state has exceptions in full, and APIC ids beyond 255, where KVM can. */
static void ask_for_more(struct kvm *k)
{
    enable(k, KVM_CAP_EXCEPTION_PAYLOAD, 1);
    enable(k, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1);
    enable(k, KVM_CAP_X2APIC_API,
           KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
}

/* Four pages that processors without unrestricted real mode need, below any firmware. */
static bool set_pages(struct kvm *k, GError **err)
{
    uint64_t identity = KVM_X86_OWN_PAGES;
    int rc = kvm__ioctl(k->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);

    if (rc >= 0)
        rc = kvm__ioctl(k->vm, KVM_SET_TSS_ADDR, (void *)(uintptr_t)(identity + MEM_PAGE_SIZE));
    return rc >= 0 || vmd_set_errno(err, -rc, "placing KVM's own pages");
}

bool kvm__arch_create(struct kvm *k, int device, GError **err)
{
    int rc;

    k->arch.in_kernel = !k->accel.config.split_irqchip;
    k->arch.pit = k->arch.in_kernel && k->accel.config.pit;
    if (!set_pages(k, err) || !make_chips(k, err))
        return false;
    ask_for_more(k);
    k->arch.supported = kvm__x86_supported(device, err);
    if (!k->arch.supported)
        return false;
    rc = kvm__x86_list_msrs(k, device);
    if (rc >= 0)
        rc = kvm__x86_get_shared(k, &k->arch.initial);
    return rc >= 0 || vmd_set_errno(err, -rc, "reading KVM's first state");
}

void kvm__arch_free(struct kvm *k)
{
    g_free(k->arch.supported);
}

void kvm__arch_reset(struct accel *accel)
{
    struct kvm *k = kvm_from(accel);
    int rc = kvm__x86_set_chips(k, &k->arch.initial);

    if (rc < 0)
        kvm__fail(k, "KVM refused the reset of its interrupt controllers: %s", g_strerror(-rc));
}

/* --- inputs -------------------------------------------------------------------------------------
 */

static struct kvm_irq_routing_entry pin_route(unsigned gsi, uint32_t chip, uint32_t pin)
{
    return (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

unsigned kvm__arch_routes(struct kvm *k, struct kvm_irq_routing_entry *routes)
{
    unsigned n = 0;

    for (unsigned gsi = 0; k->arch.in_kernel && gsi < IOAPIC_PINS; gsi++) {
        if (gsi < PIC_PINS)
            routes[n++] =
                pin_route(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
        routes[n++] = pin_route(gsi, KVM_IRQCHIP_IOAPIC, gsi);
    }
    return n;
}

void kvm__arch_gsi(struct kvm *k, unsigned gsi, bool level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level};

    if (k->arch.in_kernel && gsi < IOAPIC_PINS)
        kvm__ioctl(k->vm, KVM_IRQ_LINE, &line);
}

/* --- vCPUs --------------------------------------------------------------------------------------
 */

static bool set_cpuid(struct kvm_vcpu *v, GError **err)
{
    const struct accel_config *config = &v->kvm->accel.config;
    const struct kvm_x86_topology topology = {
        .cpus = config->vcpus, .index = v->vcpu.index, .tsc_khz = v->kvm->arch.tsc_khz};
    g_autofree struct kvm_cpuid2 *cpuid =
        kvm__x86_cpuid(v->kvm->arch.supported, config->cpu, &topology, err);

    if (!cpuid)
        return false;
    int rc = kvm__ioctl(v->fd, KVM_SET_CPUID2, cpuid);
    return rc >= 0 || vmd_set_errno(err, -rc, "KVM refused the CPUID of vCPU %u", v->vcpu.index);
}

bool kvm__arch_vcpu_create(struct kvm_vcpu *v, GError **err)
{
    struct kvm_arch *arch = &v->kvm->arch;
    int rc = kvm__ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

    arch->tsc_khz = rc > 0 ? (uint32_t)rc : 0;
    if (!set_cpuid(v, err))
        return false;
    v->arch.initial = g_new0(struct kvm_x86_state, 1);
    v->arch.lent = g_new0(struct kvm_x86_state, 1);
    kvm__x86_try_msrs(v);
    rc = kvm__x86_get(v, v->arch.initial);
    return rc >= 0 || vmd_set_errno(err, -rc, "reading the first state of vCPU %u", v->vcpu.index);
}

void kvm__arch_vcpu_free(struct kvm_vcpu *v)
{
    g_free(v->arch.initial);
    g_free(v->arch.lent);
}

/* A segment over all addresses. */
static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code64)
{
    return (struct kvm_segment){.limit = UINT32_MAX,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .s = 1,
                                .g = 1,
                                .db = !code64,
                                .l = code64};
}

/* What kernels ask for: Linux's 32-bit and 64-bit boot protocols, and PVH's entry. */
static void start_kernel(struct kvm_x86_state *s, const struct vcpu_start *start)
{
    bool long_mode = start->mode == VCPU_MODE_LONG;
    struct kvm_segment data = flat(0x18, 3, false);

    s->sregs.cs = flat(0x10, 11, long_mode);
    s->sregs.ds = s->sregs.es = s->sregs.fs = s->sregs.gs = s->sregs.ss = data;
    s->sregs.tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
    s->sregs.gdt = s->sregs.idt = (struct kvm_dtable){0};
    s->sregs.cr0 = CR0_PE | CR0_ET | CR0_NE;
    s->regs.rip = start->pc;
    if (!long_mode) {
        s->regs.rbx = start->args[0];
        return;
    }
    s->sregs.cr0 |= CR0_PG | CR0_WP;
    s->sregs.cr3 = start->cr3;
    s->sregs.cr4 = CR4_PAE;
    s->sregs.efer = EFER_LME | EFER_LMA;
    s->regs.rsi = start->args[0];
}

/* The counter of time goes on over resets, as the guest's other clocks do. */
static void keep_time(struct kvm_vcpu *v, struct kvm_x86_state *s)
{
    for (uint32_t i = 0; i < s->n_msrs; i++) {
        if (s->msrs[i].index == KVM_X86_MSR_TSC) {
            s->msrs[i] = s->msrs[--s->n_msrs];
            return;
        }
    }
}

int kvm__arch_vcpu_reset(struct kvm_vcpu *v, const struct vcpu_start *start)
{
    g_autofree struct kvm_x86_state *s = g_memdup2(v->arch.initial, sizeof(*s));
    int rc;

    keep_time(v, s);
    s->mp_state =
        start->mode == VCPU_MODE_WAIT ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE;
    if (start->mode == VCPU_MODE_PVH || start->mode == VCPU_MODE_LONG)
        start_kernel(s, start);
    v->arch.is_lent = false;
    rc = kvm__x86_set(v, s);
    return rc >= 0 && v->kvm->arch.frozen ? kvm__x86_stop_timers(v) : rc;
}

bool kvm__arch_exit(struct kvm_vcpu *v, int *why)
{
    const struct kvm_run *run = v->run;
    const struct accel_config *config = &v->kvm->accel.config;

    switch (run->exit_reason) {
    case KVM_EXIT_IOAPIC_EOI:
        if (config->eoi)
            config->eoi(config->machine_opaque, run->eoi.vector);
        return true;
    case KVM_EXIT_DEBUG:
        if (kvm__x86_stopped(v))
            *why = VCPU_EXIT_DEBUG;
        return true;
    default:
        return false;
    }
}
