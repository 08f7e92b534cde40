/*
 * The debugger's side of x86 vCPUs: registers, translations, steps, breakpoints and watchpoints.
 *
 * Points are the processor's four debug registers, lent by the guest while there are any: more than
 * fit are refused, and the guest's own breakpoints do not work meanwhile. A processor cannot watch
 * reads alone, so such a watchpoint stops for writes too.
 */
#include "accel/kvm/kvm_priv.h"

#define DEBUG_POINTS 4
#define DR7_RESERVED (1u << 10)
#define XSTATE_BV    (512 / 4) /* word of the XSAVE area: which parts it has */

enum { ON_EXECUTION = 0, ON_WRITE = 1, ON_ACCESS = 3 };

/* --- points -------------------------------------------------------------------------------------
 */

static bool add_point(struct kvm_x86_points *p, gva_t address, unsigned on, unsigned length,
                      enum accel_watch kind)
{
    static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
    unsigned i = p->n;

    if (i == DEBUG_POINTS)
        return false;
    p->point[i].address = address;
    p->point[i].watch = kind;
    p->dr7 |= 2u << 2 * i | (on | (uint32_t)lengths[length] << 2) << (16 + 4 * i);
    p->n++;
    return true;
}

/* In pieces that the processor can watch: 1, 2, 4 or 8 bytes, aligned. */
static bool add_watch(struct kvm_x86_points *p, const struct accel_watchpoint *w)
{
    uint64_t length;

    for (uint64_t done = 0; done < w->length; done += length) {
        gva_t at = w->address + done;
        for (length = 8; at % length || length > w->length - done;)
            length /= 2;
        if (!add_point(p, at, w->kind == ACCEL_WATCH_WRITE ? ON_WRITE : ON_ACCESS, (unsigned)length,
                       w->kind))
            return false;
    }
    return true;
}

static bool make_points(const struct accel_debug *debug, struct kvm_x86_points *p)
{
    bool fit = true;

    *p = (struct kvm_x86_points){.dr7 = DR7_RESERVED};
    for (size_t i = 0; fit && i < debug->n_breakpoints; i++)
        fit = add_point(p, debug->breakpoints[i], ON_EXECUTION, 1, 0);
    for (size_t i = 0; fit && i < debug->n_watchpoints; i++)
        fit = add_watch(p, &debug->watchpoints[i]);
    return fit;
}

static int apply(struct kvm_vcpu *v)
{
    const struct kvm_x86_points *p = &v->kvm->arch.points;
    struct kvm_guest_debug debug = {0};

    if (v->arch.step != ACCEL_STEP_OFF || v->arch.passing)
        debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    if (v->arch.step == ACCEL_STEP_HELD || v->arch.passing)
        debug.control |= KVM_GUESTDBG_BLOCKIRQ;
    if (p->n && !debug.control) {
        debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        for (unsigned i = 0; i < p->n; i++)
            debug.arch.debugreg[i] = p->point[i].address;
        debug.arch.debugreg[7] = p->dr7;
    }
    return kvm__ioctl(v->fd, KVM_SET_GUEST_DEBUG, &debug);
}

bool kvm__arch_debug(struct accel *accel, const struct accel_debug *debug)
{
    struct kvm *k = kvm_from(accel);
    struct kvm_x86_points points;

    if (!make_points(debug, &points))
        return false;
    k->arch.points = points;
    for (unsigned i = 0; i < accel->config.vcpus; i++) {
        if (k->vcpus[i] && apply(k->vcpus[i]) < 0)
            kvm__fail(k, "KVM cannot watch vCPU %u", i);
    }
    return true;
}

/* Whether it is at the breakpoint that it stopped at, which must not stop it again. KVM heeds RF
 * for that on some processors only, so it goes by a step of our own, which a kick may have held up. */
static bool at_breakpoint(struct kvm_vcpu *v)
{
    struct kvm_regs regs = {0};
    bool was = v->arch.at_break || v->arch.passing;

    v->arch.at_break = false;
    return was && kvm__ioctl(v->fd, KVM_GET_REGS, &regs) >= 0 && regs.rip == v->arch.stop.address;
}

void kvm__arch_step(struct vcpu *vcpu, enum accel_step step)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);

    bool passing = at_breakpoint(v) && step == ACCEL_STEP_OFF;

    if (step == v->arch.step && passing == v->arch.passing)
        return;
    v->arch.step = step;
    v->arch.passing = passing;
    if (apply(v) < 0)
        kvm__fail(v->kvm, "KVM cannot step vCPU %u", vcpu->index);
}

void kvm__arch_stop(struct vcpu *vcpu, struct accel_stop *out)
{
    *out = kvm_vcpu_from(vcpu)->arch.stop;
}

bool kvm__x86_stopped(struct kvm_vcpu *v)
{
    const struct kvm_debug_exit_arch *exit = &v->run->debug.arch;
    const struct kvm_x86_points *p = &v->kvm->arch.points;

    if (v->arch.passing) {
        v->arch.passing = false;
        apply(v);
        return false;
    }
    v->arch.stop = (struct accel_stop){.kind = ACCEL_STOP_STEP};
    if (v->arch.step != ACCEL_STEP_OFF) {
        v->arch.step = ACCEL_STEP_OFF;
        apply(v);
        return true;
    }
    for (unsigned i = 0; i < p->n; i++) {
        if (!(exit->dr6 & 1u << i))
            continue;
        v->arch.stop = (struct accel_stop){
            .kind = p->point[i].watch ? ACCEL_STOP_WATCH : ACCEL_STOP_BREAK,
            .address = p->point[i].address,
            .watch = p->point[i].watch,
        };
        v->arch.at_break = !p->point[i].watch;
        return true;
    }
    return true;
}

/* --- registers ----------------------------------------------------------------------------------
 */

#define CORE   "org.gnu.gdb.i386.core"
#define SSE    "org.gnu.gdb.i386.sse"
#define BASES  "org.gnu.gdb.i386.segments"
#define SYSTEM "org.vmd.x86.system"

static const struct accel_register registers[] = {
#define REG(number, name, feature, type, bits) {name, feature, type, number, bits},
#include "accel/kvm/x86_registers.inc"
#undef REG
};

/* Where groups of them begin. */
enum {
    RAX,
    EFLAGS = 17,
    CS,
    ST0 = 24,
    FCTRL = 32,
    FTAG = 34,
    XMM0 = 40,
    MXCSR = 56,
    FS_BASE,
    CR0 = 59
};

const struct accel_register *kvm__arch_registers(struct accel *accel, size_t *n)
{
    *n = G_N_ELEMENTS(registers);
    return registers;
}

/* A register in KVM's structs: where it is and how wide. */
struct place {
    void *at;
    unsigned bytes;
};

/* In the legacy area of XSAVE (SDM 1, 10.5.1), whose tags say only which registers are empty. */
static struct place fpu_place(struct kvm_xsave *x, unsigned n)
{
    static const struct {
        uint8_t offset, bytes;
    } control[] = {{0, 2}, {2, 2}, {4, 1}, {12, 2}, {8, 4}, {20, 2}, {16, 4}, {6, 2}};
    uint8_t *area = (uint8_t *)x->region;

    if (n >= XMM0 && n < MXCSR)
        return (struct place){area + 160 + 16 * (n - XMM0), 16};
    if (n == MXCSR)
        return (struct place){area + 24, 4};
    if (n < FCTRL)
        return (struct place){area + 32 + 16 * (n - ST0), 10};
    return (struct place){area + control[n - FCTRL].offset, control[n - FCTRL].bytes};
}

/* GDB's tags have two bits a register: 3 for an empty one. */
static uint64_t wide_tags(uint8_t tags)
{
    uint64_t wide = 0;

    for (unsigned i = 0; i < 8; i++)
        wide |= tags & 1u << i ? 0 : UINT64_C(3) << 2 * i;
    return wide;
}

static struct place general_place(struct kvm_regs *r, unsigned n)
{
    __u64 *const at[] = {&r->rax, &r->rbx, &r->rcx, &r->rdx, &r->rsi, &r->rdi,
                         &r->rbp, &r->rsp, &r->r8,  &r->r9,  &r->r10, &r->r11,
                         &r->r12, &r->r13, &r->r14, &r->r15, &r->rip, &r->rflags};

    return (struct place){at[n], n == EFLAGS ? 4 : 8};
}

static struct place system_place(struct kvm_sregs2 *s, unsigned n)
{
    struct kvm_segment *const segments[] = {&s->cs, &s->ss, &s->ds, &s->es, &s->fs, &s->gs};
    __u64 *const at[] = {&s->cr0, &s->cr2, &s->cr3, &s->cr4, &s->cr8, &s->efer};

    if (n < ST0)
        return (struct place){&segments[n - CS]->selector, 2};
    if (n < CR0)
        return (struct place){n == FS_BASE ? &s->fs.base : &s->gs.base, 8};
    return (struct place){at[n - CR0], 8};
}

/* The struct of KVM that a register is in. */
struct block {
    unsigned long get, set;
    struct place place;
    union {
        struct kvm_regs regs;
        struct kvm_sregs2 sregs;
        struct kvm_xsave xsave; /* ends in an array of no length */
    } u;
};

static bool find(struct kvm_vcpu *v, unsigned n, struct block *b)
{
    memset(b, 0, sizeof(*b));
    if (n <= EFLAGS) {
        b->get = KVM_GET_REGS;
        b->set = KVM_SET_REGS;
        b->place = general_place(&b->u.regs, n);
    } else if (n >= ST0 && n <= MXCSR) {
        b->get = KVM_GET_XSAVE;
        b->set = KVM_SET_XSAVE;
        b->place = fpu_place(&b->u.xsave, n);
    } else {
        b->get = KVM_GET_SREGS2;
        b->set = KVM_SET_SREGS2;
        b->place = system_place(&b->u.sregs, n);
    }
    return kvm__ioctl(v->fd, b->get, &b->u) >= 0;
}

bool kvm__arch_register_get(struct vcpu *vcpu, const struct accel_register *reg, uint64_t *value)
{
    struct block b;

    if (!find(kvm_vcpu_from(vcpu), reg->number, &b))
        return false;
    memset(value, 0, reg->bits > 64 ? 16 : 8);
    memcpy(value, b.place.at, b.place.bytes);
    if (reg->number == FTAG)
        *value = wide_tags((uint8_t)*value);
    return true;
}

bool kvm__arch_register_set(struct vcpu *vcpu, const struct accel_register *reg,
                            const uint64_t *value)
{
    struct kvm_vcpu *v = kvm_vcpu_from(vcpu);
    struct block b;

    if (reg->number == FTAG || !find(v, reg->number, &b))
        return false;
    memcpy(b.place.at, value, b.place.bytes);
    if (b.set == KVM_SET_XSAVE)
        b.u.xsave.region[XSTATE_BV] |= 3; /* neither x87 nor SSE is as after a reset */
    return kvm__ioctl(v->fd, b.set, &b.u) >= 0;
}

bool kvm__arch_look(struct vcpu *vcpu, gva_t va, gpa_t *gpa, uint64_t *length)
{
    struct kvm_translation t = {.linear_address = va};

    if (kvm__ioctl(kvm_vcpu_from(vcpu)->fd, KVM_TRANSLATE, &t) < 0 || !t.valid)
        return false;
    *gpa = t.physical_address;
    *length = MEM_PAGE_SIZE - (va & (MEM_PAGE_SIZE - 1));
    return true;
}
