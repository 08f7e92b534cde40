/*
 * The state of x86 vCPUs and of their VM, between KVM and the tables that are saved.
 *
 * MSRs: KVM lists what it can save, but some of those (facts of the processor, such as 0x10a) it
 * does not take back, or a guest of ours cannot have (Hyper-V's). The state is made of those that
 * KVM takes as it gave them, tried once a VM.
 */
#include "accel/kvm/kvm_priv.h"

#include <errno.h>

#define HYPERV_FIRST 0x40000000u /* to 0x400001ff */

/* --- the tables ------------------------------------------------------------------------------- */

#define DESC(struct_, name_, fields_)                                                              \
    {                                                                                              \
        .name = (name_), .version = 1, .size = sizeof(struct struct_),                             \
        .n_fields = G_N_ELEMENTS(fields_), .fields = (fields_),                                    \
    }

#define R(m) STATE_FIELD_U64(struct kvm_regs, m, 1)
static const struct state_field regs_fields[] = {
    R(rax), R(rbx), R(rcx), R(rdx), R(rsi), R(rdi), R(rsp), R(rbp), R(r8),
    R(r9),  R(r10), R(r11), R(r12), R(r13), R(r14), R(r15), R(rip), R(rflags),
};
#undef R
static const struct state_desc regs_desc = DESC(kvm_regs, "x86-regs", regs_fields);

#define B(m) STATE_FIELD_U8(struct kvm_segment, m, 1)
static const struct state_field segment_fields[] = {
    STATE_FIELD_U64(struct kvm_segment, base, 1),
    STATE_FIELD_U32(struct kvm_segment, limit, 1),
    STATE_FIELD_U16(struct kvm_segment, selector, 1),
    B(type),
    B(present),
    B(dpl),
    B(db),
    B(s),
    B(l),
    B(g),
    B(avl),
    B(unusable),
};
#undef B
static const struct state_desc segment_desc = DESC(kvm_segment, "x86-segment", segment_fields);

static const struct state_field table_fields[] = {
    STATE_FIELD_U64(struct kvm_dtable, base, 1),
    STATE_FIELD_U16(struct kvm_dtable, limit, 1),
};
static const struct state_desc table_desc = DESC(kvm_dtable, "x86-table", table_fields);

#define S(m) STATE_FIELD_STRUCT(struct kvm_sregs2, m, struct kvm_segment, segment_desc, 1)
#define U(m) STATE_FIELD_U64(struct kvm_sregs2, m, 1)
static const struct state_field sregs_fields[] = {
    S(cs),
    S(ds),
    S(es),
    S(fs),
    S(gs),
    S(ss),
    S(tr),
    S(ldt),
    STATE_FIELD_STRUCT(struct kvm_sregs2, gdt, struct kvm_dtable, table_desc, 1),
    STATE_FIELD_STRUCT(struct kvm_sregs2, idt, struct kvm_dtable, table_desc, 1),
    U(cr0),
    U(cr2),
    U(cr3),
    U(cr4),
    U(cr8),
    U(efer),
    U(apic_base),
    U(flags),
    U(pdptrs),
};
#undef S
#undef U
static const struct state_desc sregs_desc = DESC(kvm_sregs2, "x86-sregs", sregs_fields);

static const struct state_field debug_fields[] = {
    STATE_FIELD_U64(struct kvm_debugregs, db, 1),
    STATE_FIELD_U64(struct kvm_debugregs, dr6, 1),
    STATE_FIELD_U64(struct kvm_debugregs, dr7, 1),
};
static const struct state_desc debug_desc = DESC(kvm_debugregs, "x86-debug", debug_fields);

#define E(m) STATE_FIELD_U8(struct kvm_vcpu_events, m, 1)
static const struct state_field events_fields[] = {
    E(exception.injected),
    E(exception.nr),
    E(exception.has_error_code),
    E(exception.pending),
    STATE_FIELD_U32(struct kvm_vcpu_events, exception.error_code, 1),
    E(interrupt.injected),
    E(interrupt.nr),
    E(interrupt.soft),
    E(interrupt.shadow),
    E(nmi.injected),
    E(nmi.pending),
    E(nmi.masked),
    STATE_FIELD_U32(struct kvm_vcpu_events, sipi_vector, 1),
    STATE_FIELD_U32(struct kvm_vcpu_events, flags, 1),
    E(smi.smm),
    E(smi.pending),
    E(smi.smm_inside_nmi),
    E(smi.latched_init),
    E(triple_fault.pending),
    E(exception_has_payload),
    STATE_FIELD_U64(struct kvm_vcpu_events, exception_payload, 1),
};
#undef E
static const struct state_desc events_desc = DESC(kvm_vcpu_events, "x86-events", events_fields);

static const struct state_field msr_fields[] = {
    STATE_FIELD_U32(struct kvm_x86_msr, index, 1),
    STATE_FIELD_U64(struct kvm_x86_msr, value, 1),
};
static const struct state_desc msr_desc = DESC(kvm_x86_msr, "x86-msr", msr_fields);

static const struct state_field state_fields[] = {
    STATE_FIELD_STRUCT(struct kvm_x86_state, regs, struct kvm_regs, regs_desc, 1),
    STATE_FIELD_STRUCT(struct kvm_x86_state, sregs, struct kvm_sregs2, sregs_desc, 1),
    STATE_FIELD_STRUCT(struct kvm_x86_state, debug, struct kvm_debugregs, debug_desc, 1),
    STATE_FIELD_STRUCT(struct kvm_x86_state, events, struct kvm_vcpu_events, events_desc, 1),
    STATE_FIELD_U32(struct kvm_x86_state, mp_state, 1),
    STATE_FIELD_U64(struct kvm_x86_state, xcr0, 1),
    STATE_FIELD_U32(struct kvm_x86_state, xsave, 1),
    STATE_FIELD_U32(struct kvm_x86_state, lapic, 1),
    STATE_FIELD_U32(struct kvm_x86_state, n_msrs, 1),
    STATE_FIELD_STRUCT(struct kvm_x86_state, msrs, struct kvm_x86_msr, msr_desc, 1),
};
const struct state_desc kvm__x86_state = DESC(kvm_x86_state, "kvm-x86-vcpu", state_fields);

#define P(m) STATE_FIELD_U8(struct kvm_pic_state, m, 1)
static const struct state_field pic_fields[] = {
    P(last_irr),
    P(irr),
    P(imr),
    P(isr),
    P(priority_add),
    P(irq_base),
    P(read_reg_select),
    P(poll),
    P(special_mask),
    P(init_state),
    P(auto_eoi),
    P(rotate_on_auto_eoi),
    P(special_fully_nested_mode),
    P(init4),
    P(elcr),
    P(elcr_mask),
};
#undef P
static const struct state_desc pic_desc = DESC(kvm_pic_state, "x86-pic", pic_fields);

static const struct state_field ioapic_fields[] = {
    STATE_FIELD_U64(struct kvm_ioapic_state, base_address, 1),
    STATE_FIELD_U32(struct kvm_ioapic_state, ioregsel, 1),
    STATE_FIELD_U32(struct kvm_ioapic_state, id, 1),
    STATE_FIELD_U32(struct kvm_ioapic_state, irr, 1),
    STATE_FIELD_U64(struct kvm_ioapic_state, redirtbl, 1),
};
static const struct state_desc ioapic_desc = DESC(kvm_ioapic_state, "x86-ioapic", ioapic_fields);

#define C(m) STATE_FIELD_U8(struct kvm_pit_channel_state, m, 1)
static const struct state_field channel_fields[] = {
    STATE_FIELD_U32(struct kvm_pit_channel_state, count, 1),
    STATE_FIELD_U16(struct kvm_pit_channel_state, latched_count, 1),
    C(count_latched),
    C(status_latched),
    C(status),
    C(read_state),
    C(write_state),
    C(write_latch),
    C(rw_mode),
    C(mode),
    C(bcd),
    C(gate),
    STATE_FIELD_U64(struct kvm_pit_channel_state, count_load_time, 1),
};
#undef C
static const struct state_desc channel_desc =
    DESC(kvm_pit_channel_state, "x86-pit-channel", channel_fields);

static const struct state_field pit_fields[] = {
    STATE_FIELD_STRUCT(struct kvm_pit_state2, channels, struct kvm_pit_channel_state, channel_desc,
                       1),
    STATE_FIELD_U32(struct kvm_pit_state2, flags, 1),
};
static const struct state_desc pit_desc = DESC(kvm_pit_state2, "x86-pit", pit_fields);

static const struct state_field shared_fields[] = {
    STATE_FIELD_STRUCT(struct kvm_x86_shared, pic, struct kvm_pic_state, pic_desc, 1),
    STATE_FIELD_STRUCT(struct kvm_x86_shared, ioapic, struct kvm_ioapic_state, ioapic_desc, 1),
    STATE_FIELD_STRUCT(struct kvm_x86_shared, pit, struct kvm_pit_state2, pit_desc, 1),
    STATE_FIELD_U64(struct kvm_x86_shared, clock_ns, 1),
};
const struct state_desc kvm__x86_shared = DESC(kvm_x86_shared, "kvm-x86", shared_fields);

/* --- MSRs ---------------------------------------------------------------------------------------
 */

/* As many as KVM has at once; it stops before the first that it refuses. */
union msr_batch {
    struct kvm_msrs msrs;
    uint8_t room[sizeof(struct kvm_msrs) + KVM_X86_MSRS_MOST * sizeof(struct kvm_msr_entry)];
};

int kvm__x86_get_msr(struct kvm_vcpu *v, uint32_t index, uint64_t *value)
{
    union msr_batch batch = {.room = {0}};

    batch.msrs.nmsrs = 1;
    batch.msrs.entries[0].index = index;
    int rc = kvm__ioctl(v->fd, KVM_GET_MSRS, &batch);
    *value = batch.msrs.entries[0].data;
    return rc == 1 ? 0 : rc < 0 ? rc : -EINVAL;
}

int kvm__x86_set_msr(struct kvm_vcpu *v, uint32_t index, uint64_t value)
{
    union msr_batch batch = {.room = {0}};

    batch.msrs.nmsrs = 1;
    batch.msrs.entries[0] = (struct kvm_msr_entry){.index = index, .data = value};
    int rc = kvm__ioctl(v->fd, KVM_SET_MSRS, &batch);
    return rc == 1 ? 0 : rc < 0 ? rc : -EINVAL;
}

/* KVM's list of REQUEST; the caller frees. NULL where it has none. */
static struct kvm_msr_list *msr_list(int device, unsigned long request)
{
    struct kvm_msr_list none = {0};

    if (kvm__ioctl(device, request, &none) != -E2BIG)
        return NULL;
    struct kvm_msr_list *list = g_malloc0(sizeof(*list) + none.nmsrs * sizeof(list->indices[0]));
    list->nmsrs = none.nmsrs;
    if (kvm__ioctl(device, request, list) < 0)
        g_clear_pointer(&list, g_free);
    return list;
}

static bool is_listed(const struct kvm_msr_list *list, uint32_t index)
{
    for (uint32_t i = 0; list && i < list->nmsrs; i++) {
        if (list->indices[i] == index)
            return true;
    }
    return false;
}

int kvm__x86_list_msrs(struct kvm *k, int device)
{
    g_autofree struct kvm_msr_list *all = msr_list(device, KVM_GET_MSR_INDEX_LIST);
    g_autofree struct kvm_msr_list *facts = msr_list(device, KVM_GET_MSR_FEATURE_INDEX_LIST);
    struct kvm_arch *arch = &k->arch;

    for (uint32_t i = 0; all && i < all->nmsrs; i++) {
        if (all->indices[i] - HYPERV_FIRST < 0x200 || is_listed(facts, all->indices[i]))
            continue;
        if (arch->n_msrs == KVM_X86_MSRS_MOST)
            return -E2BIG; /* state that would be lost in silence */
        arch->msrs[arch->n_msrs++] = all->indices[i];
    }
    return all ? 0 : -ENOTSUP;
}

void kvm__x86_try_msrs(struct kvm_vcpu *v)
{
    struct kvm_arch *arch = &v->kvm->arch;
    uint32_t n = 0;
    uint64_t value;

    if (arch->msrs_tried)
        return;
    for (uint32_t i = 0; i < arch->n_msrs; i++) {
        uint32_t index = arch->msrs[i];
        if (kvm__x86_get_msr(v, index, &value) == 0 && kvm__x86_set_msr(v, index, value) == 0)
            arch->msrs[n++] = index;
    }
    arch->n_msrs = n;
    arch->msrs_tried = true;
}

static int get_msrs(struct kvm_vcpu *v, struct kvm_x86_state *state)
{
    const struct kvm_arch *arch = &v->kvm->arch;
    union msr_batch batch = {.room = {0}};
    const struct kvm_msr_entry *entries = batch.msrs.entries;

    batch.msrs.nmsrs = arch->n_msrs;
    for (uint32_t i = 0; i < arch->n_msrs; i++)
        batch.msrs.entries[i].index = arch->msrs[i];
    int rc = kvm__ioctl(v->fd, KVM_GET_MSRS, &batch);
    if (rc != (int)arch->n_msrs)
        return rc < 0 ? rc : -EIO;
    state->n_msrs = arch->n_msrs;
    for (uint32_t i = 0; i < arch->n_msrs; i++)
        state->msrs[i] = (struct kvm_x86_msr){entries[i].index, entries[i].data};
    return 0;
}

/* All but the deadline, which counts in the local APIC's mode and in the counter that are set
 * before. */
static int set_msrs(struct kvm_vcpu *v, const struct kvm_x86_state *state)
{
    union msr_batch batch = {.room = {0}};
    uint32_t n = 0;

    for (uint32_t i = 0; i < state->n_msrs; i++) {
        if (state->msrs[i].index != KVM_X86_MSR_TSC_DEADLINE)
            batch.msrs.entries[n++] =
                (struct kvm_msr_entry){.index = state->msrs[i].index, .data = state->msrs[i].value};
    }
    batch.msrs.nmsrs = n;
    int rc = kvm__ioctl(v->fd, KVM_SET_MSRS, &batch);
    return rc < 0 ? rc : rc == (int)n ? 0 : -EINVAL;
}

static int set_deadline(struct kvm_vcpu *v, const struct kvm_x86_state *state)
{
    for (uint32_t i = 0; i < state->n_msrs; i++) {
        if (state->msrs[i].index == KVM_X86_MSR_TSC_DEADLINE)
            return kvm__x86_set_msr(v, KVM_X86_MSR_TSC_DEADLINE, state->msrs[i].value);
    }
    return 0;
}

/* --- vCPUs --------------------------------------------------------------------------------------
 */

int kvm__x86_get_lapic(struct kvm_vcpu *v, uint32_t regs[KVM_X86_LAPIC_REGS])
{
    struct kvm_lapic_state lapic = {0};
    int rc = kvm__ioctl(v->fd, KVM_GET_LAPIC, &lapic);

    for (unsigned i = 0; rc >= 0 && i < KVM_X86_LAPIC_REGS; i++)
        memcpy(&regs[i], lapic.regs + 16 * i, 4);
    return rc;
}

int kvm__x86_set_lapic(struct kvm_vcpu *v, const uint32_t regs[KVM_X86_LAPIC_REGS])
{
    struct kvm_lapic_state lapic = {0};

    for (unsigned i = 0; i < KVM_X86_LAPIC_REGS; i++)
        memcpy(lapic.regs + 16 * i, &regs[i], 4);
    return kvm__ioctl(v->fd, KVM_SET_LAPIC, &lapic);
}

int kvm__x86_get(struct kvm_vcpu *v, struct kvm_x86_state *state)
{
    struct kvm_mp_state mp = {0};
    struct kvm_xcrs xcrs = {0};
    struct kvm_xsave xsave = {0};
    int rc;

    /* Which comes first: it may bring a vCPU to the state that an INIT or SIPI gives it. */
    if ((rc = kvm__ioctl(v->fd, KVM_GET_MP_STATE, &mp)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_GET_REGS, &state->regs)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_GET_SREGS2, &state->sregs)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_GET_DEBUGREGS, &state->debug)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_GET_XSAVE, &xsave)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_GET_XCRS, &xcrs)) < 0 || (rc = get_msrs(v, state)) < 0 ||
        (rc = kvm__x86_get_lapic(v, state->lapic)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_GET_VCPU_EVENTS, &state->events)) < 0)
        return rc;
    state->mp_state = mp.mp_state;
    memcpy(state->xsave, xsave.region, sizeof(state->xsave));
    state->xcr0 = xcrs.nr_xcrs ? xcrs.xcrs[0].value : 1;
    return 0;
}

/* XCR0 comes before the XSAVE area, whose parts must be enabled by it. */
int kvm__x86_set(struct kvm_vcpu *v, const struct kvm_x86_state *state)
{
    struct kvm_mp_state mp = {.mp_state = state->mp_state};
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0].value = state->xcr0};
    struct kvm_xsave xsave;
    struct kvm_vcpu_events events = state->events;
    int rc;

    if (state->n_msrs > KVM_X86_MSRS_MOST)
        return -EINVAL;
    memcpy(xsave.region, state->xsave, sizeof(state->xsave));
    /* What KVM_GET_VCPU_EVENTS leaves out of its flags, and counts here: as QEMU's and ours are
     * whole. */
    events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    if ((rc = kvm__ioctl(v->fd, KVM_SET_SREGS2, &state->sregs)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_SET_REGS, &state->regs)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_SET_XCRS, &xcrs)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_SET_XSAVE, &xsave)) < 0 || (rc = set_msrs(v, state)) < 0 ||
        (rc = kvm__x86_set_lapic(v, state->lapic)) < 0 || (rc = set_deadline(v, state)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_SET_MP_STATE, &mp)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events)) < 0 ||
        (rc = kvm__ioctl(v->fd, KVM_SET_DEBUGREGS, &state->debug)) < 0)
        return rc;
    return 0;
}

/* --- the VM -------------------------------------------------------------------------------------
 */

static int get_chip(struct kvm *k, uint32_t id, void *to, size_t bytes)
{
    struct kvm_irqchip chip = {.chip_id = id};
    int rc = kvm__ioctl(k->vm, KVM_GET_IRQCHIP, &chip);

    memcpy(to, &chip.chip, bytes);
    return rc;
}

static int set_chip(struct kvm *k, uint32_t id, const void *from, size_t bytes)
{
    struct kvm_irqchip chip = {.chip_id = id};

    memcpy(&chip.chip, from, bytes);
    return kvm__ioctl(k->vm, KVM_SET_IRQCHIP, &chip);
}

int kvm__x86_get_shared(struct kvm *k, struct kvm_x86_shared *s)
{
    struct kvm_clock_data clock = {0};
    int rc = kvm__ioctl(k->vm, KVM_GET_CLOCK, &clock);

    if (rc < 0)
        return rc;
    s->clock_ns = clock.clock;
    if (k->arch.in_kernel &&
        ((rc = get_chip(k, KVM_IRQCHIP_PIC_MASTER, &s->pic[0], sizeof(s->pic[0]))) < 0 ||
         (rc = get_chip(k, KVM_IRQCHIP_PIC_SLAVE, &s->pic[1], sizeof(s->pic[1]))) < 0 ||
         (rc = get_chip(k, KVM_IRQCHIP_IOAPIC, &s->ioapic, sizeof(s->ioapic))) < 0))
        return rc;
    return k->arch.pit ? kvm__ioctl(k->vm, KVM_GET_PIT2, &s->pit) : 0;
}

/* All but the clock. */
int kvm__x86_set_chips(struct kvm *k, const struct kvm_x86_shared *s)
{
    int rc;

    if (k->arch.in_kernel &&
        ((rc = set_chip(k, KVM_IRQCHIP_PIC_MASTER, &s->pic[0], sizeof(s->pic[0]))) < 0 ||
         (rc = set_chip(k, KVM_IRQCHIP_PIC_SLAVE, &s->pic[1], sizeof(s->pic[1]))) < 0 ||
         (rc = set_chip(k, KVM_IRQCHIP_IOAPIC, &s->ioapic, sizeof(s->ioapic))) < 0))
        return rc;
    return k->arch.pit ? kvm__ioctl(k->vm, KVM_SET_PIT2, &s->pit) : 0;
}

int kvm__x86_set_clock(struct kvm *k, uint64_t ns)
{
    struct kvm_clock_data clock = {.clock = ns};

    return kvm__ioctl(k->vm, KVM_SET_CLOCK, &clock);
}
