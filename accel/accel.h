/*
 * accel: the contract between a VM and what runs its vCPUs (xlate, KVM).
 *
 * A VM has one accel and 1..n vCPUs, each run by its own thread. Device accesses are dispatched
 * to the VM's mem_map from inside accel_vcpu_run(); waiting for interrupts happens inside it too.
 * It comes back only for what the VM must decide. Everything marked "any thread" may be called
 * while vCPUs run.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include "base/base.h"
#include "base/hotlist.h"
#include "base/state.h"
#include "mem/clock.h"
#include "mem/isa.h"
#include "mem/mem.h"

#include <errno.h>

struct accel;
struct vcpu;

enum vcpu_exit {
    VCPU_EXIT_KICKED,   /* accel_vcpu_kick(), or the hypercall handler asked to leave */
    VCPU_EXIT_SHUTDOWN, /* the guest cannot go on (triple fault, unhandled M-mode trap) */
    VCPU_EXIT_DEBUG,    /* a breakpoint, watchpoint or single step of the debugger */
    VCPU_EXIT_ERROR,    /* the accelerator failed; accel_vcpu_error() has the text */
};

/*
 * What a guest's call to the machine's firmware is: SBI ecall on RISC-V (args a0..a7), SMCCC on
 * ARM (x0..x7). The handler runs on the calling vCPU's thread, outside guest code, and may call
 * any "any thread" function. It replaces args[0] and args[1] with the results, on ARM args[0] to
 * args[3]. Returning false makes accel_vcpu_run() return VCPU_EXIT_KICKED once the results are written back.
 */
typedef bool (*accel_hypercall_fn)(void *opaque, unsigned vcpu, uint64_t args[8]);

/* Outputs of an ARM vCPU, levels: its generic timers. */
enum arm_line { ARM_LINE_VIRTUAL_TIMER, ARM_LINE_PHYSICAL_TIMER };

/*
 * An ARM vCPU accesses a system register that the machine has: the interrupt controller's. NUMBER is
 * op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2; WRITE says whether *VALUE goes or comes. False: there
 * is none; the instruction is undefined. On the vCPU's thread, holding no lock; may call any "any
 * thread" function.
 */
typedef bool (*accel_sysreg_fn)(void *opaque, unsigned vcpu, unsigned number, bool write,
                                uint64_t *value);

/* The vCPU's output LINE has changed to LEVEL. Thread and locks as above. */
typedef void (*accel_line_fn)(void *opaque, unsigned vcpu, enum arm_line line, bool level);

/*
 * x86 with split_irqchip: a local APIC has seen the end of interrupt VECTOR, which one of the first 24
 * routes (accel_route()) has as a level. On the vCPU's thread, holding no lock; may call any "any thread" function.
 */
typedef void (*accel_eoi_fn)(void *opaque, uint8_t vector);

struct accel_config {
    enum isa isa;
    unsigned vcpus; /* from 1, as many as the accelerator has */
    struct mem_map *mem;
    struct mem_map *ports; /* x86: the 64 KiB of I/O ports; NULL: all of them read ones */
    struct vm_clock *clock;
    uint64_t timebase_hz; /* of the guest's time CSR or counter */
    bool firmware_mode;   /* RISC-V: true gives harts M-mode for a firmware; false: S-mode over
                             the hypercall handler */
    accel_hypercall_fn hypercall;
    void *hypercall_opaque;
    accel_sysreg_fn sysreg; /* ARM, as the next two; NULL: the machine has none */
    accel_line_fn line;     /* NULL: nobody listens */
    bool split_irqchip;     /* x86: the I/O APIC is the machine's own, not the accelerator's */
    accel_eoi_fn eoi;       /* with split_irqchip */
    gpa_t intc[3]; /* places of the accelerator's own GICv3 (distributor, redistributors, ITS) or AIA (APLIC,
                      IMSICs); zeros: the machine has its interrupt controllers itself */
    bool pit;               /* x86, without split_irqchip: there is an 8254 timer */
    void *machine_opaque;   /* what these get */
    const char *cpu; /* x86: "MODEL,+FEATURE,-FEATURE"; NULL: the accelerator's choice */
    uint64_t code_cache_bytes; /* xlate: most bytes of host code; 0 for the default */
    unsigned tier; /* xlate: highest tier used; 0 interprets everything */
    unsigned warm_threads; /* xlate: threads that compile hot blocks ahead; 0: no warm start */
    const struct hotlist *hot; /* hot blocks of an earlier run, copied; NULL: none */
};

/* In which state an x86 vCPU starts. */
enum vcpu_mode {
    VCPU_MODE_RESET, /* the ISA's own reset state, pc too; what all other ISAs do */
    VCPU_MODE_PVH,   /* 32-bit protected mode, flat segments, no paging; args[0] is EBX */
    VCPU_MODE_LONG,  /* 64-bit mode, flat segments, paging by CR3; args[0] is RSI */
    VCPU_MODE_WAIT,  /* waits for INIT and SIPI from another vCPU, inside accel_vcpu_run() */
};

/* Where a vCPU starts: registers a0/x0 = args[0].., all else at its reset value. */
struct vcpu_start {
    gva_t pc;
    uint64_t args[4];
    enum vcpu_mode mode;
    gpa_t cr3; /* VCPU_MODE_LONG */
};

/* RISC-V interrupt inputs of a hart, for accel_vcpu_set_irq(): bit numbers of mip. */
enum riscv_irq {
    RISCV_IRQ_S_SOFT = 1,
    RISCV_IRQ_M_SOFT = 3,
    RISCV_IRQ_S_TIMER = 5,
    RISCV_IRQ_M_TIMER = 7,
    RISCV_IRQ_S_EXT = 9,
    RISCV_IRQ_M_EXT = 11,
};

/* Interrupt inputs of an ARM vCPU, for accel_vcpu_set_irq(). */
enum arm_irq { ARM_IRQ_IRQ, ARM_IRQ_FIQ };

/* MPIDR_EL1 of vCPU INDEX: clusters of 16, as GICv3's lists of targets have them. */
static inline uint64_t arm_mpidr(unsigned index)
{
    return UINT64_C(1) << 31 | (uint64_t)(index / 16) << 8 | index % 16;
}

/* What a remote fence drops on its targets (SBI rfence; TLBI broadcasts). */
enum accel_fence {
    ACCEL_FENCE_CODE,     /* instruction fetch sees all earlier stores */
    ACCEL_FENCE_TLB,      /* address translations of [start, start + size) in all spaces */
    ACCEL_FENCE_TLB_ASID, /* the same, in one address space */
};

struct accel_fence_range {
    gva_t start;
    uint64_t size; /* 0 with start 0, or UINT64_MAX: everything */
    uint64_t asid;
};

/* A named counter or rate of an accelerator, for stats. */
struct accel_stat {
    const char *name;
    uint64_t value;
};

/* The message that an interrupt input stands for. */
struct accel_route {
    uint64_t address;
    uint32_t data;
};

/* What a vCPU does right now. */
struct accel_vcpu_info {
    bool halted;         /* waits for an interrupt (WFI, HLT) */
    bool waiting;        /* with VCPU_MODE_WAIT, for another vCPU; each kick looks again */
    uint64_t interrupts; /* taken by the guest so far */
};

/* --- debugging ------------------------------------------------------------------------------- */

/* Which accesses a watchpoint stops after. */
enum accel_watch { ACCEL_WATCH_WRITE = 1, ACCEL_WATCH_READ = 2, ACCEL_WATCH_ACCESS = 3 };

struct accel_watchpoint {
    gva_t address;
    uint64_t length; /* bytes, at least 1 */
    enum accel_watch kind;
};

/* What stops vCPUs with VCPU_EXIT_DEBUG. Guest memory is never changed for it. */
struct accel_debug {
    const gva_t *breakpoints; /* stop before the instruction at this address, in every space */
    size_t n_breakpoints;     /* at most LIMIT_DEBUG_POINTS, as the next */
    const struct accel_watchpoint *watchpoints;
    size_t n_watchpoints;
};

enum accel_stop_kind {
    ACCEL_STOP_STEP,  /* the instruction asked for was run */
    ACCEL_STOP_BREAK, /* pc is at a breakpoint, which was not run */
    ACCEL_STOP_WATCH, /* the instruction before pc accessed what is watched */
};

/* Why a run ended with VCPU_EXIT_DEBUG. */
struct accel_stop {
    enum accel_stop_kind kind;
    gva_t address;          /* WATCH: the first byte accessed of what is watched */
    enum accel_watch watch; /* WATCH: the kind of the watchpoint */
};

/* How a step is made. */
enum accel_step {
    ACCEL_STEP_OFF,  /* no step: runs freely */
    ACCEL_STEP_HELD, /* one instruction; interrupts wait */
    ACCEL_STEP_OPEN, /* one instruction, that of an interrupt's handler where one can be taken */
};

enum { ACCEL_REGISTER_BITS = 128, ACCEL_REGISTER_WORDS = 2 }; /* the most */

/* A register as debuggers know it. */
struct accel_register {
    const char *name;
    const char *feature; /* of the target description that it belongs to */
    const char *type;    /* GDB's name of its type */
    uint16_t number;     /* GDB's number of it */
    uint8_t bits;        /* whole bytes, at most ACCEL_REGISTER_BITS */
};

/* --- profiles -------------------------------------------------------------------------------- */

/* A piece of host code made from guest code. */
struct accel_code {
    const void *host;
    uint64_t bytes;
    gpa_t gpa;        /* of its first guest instruction */
    gva_t pc;         /* an address at which a vCPU runs it; 0 where none is known */
    const char *mode; /* what it runs as, of the guest's ISA */
    unsigned instructions;
};
typedef void (*accel_code_fn)(void *opaque, const struct accel_code *code);

/* What a vCPU was at when it was interrupted. */
enum accel_activity {
    ACCEL_IN_CODE,        /* in code made from the guest's */
    ACCEL_IN_HELPER,      /* in what such code called */
    ACCEL_IN_INTERPRETER,
    ACCEL_IN_DISPATCHER,  /* finds and makes code, takes traps and interrupts */
    ACCEL_HALTED,         /* waits for an interrupt */
};

struct accel_sample {
    enum accel_activity activity;
    gva_t pc;         /* the block's first instruction; HALTED: 0 */
    const char *mode; /* what it runs as, of the guest's ISA */
};

/* What an implementation provides; use the functions below. Any op from state on may be NULL. */
struct accel_ops {
    const char *name;
    bool (*create)(const struct accel_config *config, struct accel **out, GError **err);
    void (*free)(struct accel *accel);
    bool (*vcpu_create)(struct accel *accel, unsigned index, struct vcpu **out, GError **err);
    void (*vcpu_free)(struct vcpu *vcpu);
    void (*vcpu_reset)(struct vcpu *vcpu, const struct vcpu_start *start);
    enum vcpu_exit (*vcpu_run)(struct vcpu *vcpu);
    const char *(*vcpu_error)(struct vcpu *vcpu);
    void (*vcpu_kick)(struct vcpu *vcpu);
    void (*vcpu_set_irq)(struct vcpu *vcpu, unsigned irq, bool level);
    void (*vcpu_info)(struct vcpu *vcpu, struct accel_vcpu_info *out);
    size_t (*vcpu_stats)(struct vcpu *vcpu, struct accel_stat *rows, size_t most);
    const struct state_desc *(*vcpu_state)(struct vcpu *vcpu, void **object);
    void (*clock_changed)(struct accel *accel);
    size_t (*stats)(struct accel *accel, struct accel_stat *rows, size_t most);
    const struct state_desc *(*state)(struct accel *accel, void **object);
    bool (*restored)(struct accel *accel, GError **err);
    void (*reset)(struct accel *accel);
    void (*fence)(struct accel *accel, struct vcpu *from, uint64_t vcpu_mask,
                  enum accel_fence kind, const struct accel_fence_range *range);
    void (*gsi)(struct accel *accel, unsigned gsi, bool level);
    void (*msi)(struct accel *accel, uint64_t address, uint32_t data);
    int (*route)(struct accel *accel, unsigned gsi, const struct accel_route *route);
    int (*irqfd)(struct accel *accel, int fd, unsigned gsi, bool on);
    void (*code_clear)(struct accel *accel);
    bool (*code_limit)(struct accel *accel, uint64_t bytes, GError **err);
    void (*code_trim)(struct accel *accel);
    unsigned (*code_each)(struct accel *accel, unsigned part, accel_code_fn fn, void *opaque);
    void (*vcpu_interrupted)(struct vcpu *vcpu, const void *context);
    bool (*vcpu_sample)(struct vcpu *vcpu, struct accel_sample *out);
    bool (*debug)(struct accel *accel, const struct accel_debug *debug);
    void (*vcpu_step)(struct vcpu *vcpu, enum accel_step step);
    void (*vcpu_stop)(struct vcpu *vcpu, struct accel_stop *out);
    bool (*vcpu_look)(struct vcpu *vcpu, gva_t va, gpa_t *gpa, uint64_t *length);
    const struct accel_register *(*registers)(struct accel *accel, size_t *n);
    bool (*register_get)(struct vcpu *vcpu, const struct accel_register *reg, uint64_t *value);
    bool (*register_set)(struct vcpu *vcpu, const struct accel_register *reg,
                         const uint64_t *value);
    struct hotlist *(*hot_list)(struct accel *accel);
};

/* Implementations embed these as their first member. */
struct accel {
    const struct accel_ops *ops;
    struct accel_config config;
};
struct vcpu {
    struct accel *accel;
    unsigned index;
};

/* Makes an accel. CONFIG is copied; what it points at must outlive the accel. */
static inline bool accel_create(const struct accel_ops *ops, const struct accel_config *config,
                                struct accel **out, GError **err)
{
    return ops->create(config, out, err);
}

/* Frees it; its vCPUs have been freed before. Takes NULL. */
static inline void accel_free(struct accel *accel)
{
    if (accel)
        accel->ops->free(accel);
}

/* Makes vCPU INDEX (0-based; hart ids equal indexes). It is not runnable before a reset. */
static inline bool accel_vcpu_create(struct accel *accel, unsigned index, struct vcpu **out,
                                     GError **err)
{
    return accel->ops->vcpu_create(accel, index, out, err);
}

static inline void accel_vcpu_free(struct vcpu *vcpu)
{
    if (vcpu)
        vcpu->accel->ops->vcpu_free(vcpu);
}

/* Puts all state at its reset value and sets where to start. While the vCPU is not running. */
static inline void accel_vcpu_reset(struct vcpu *vcpu, const struct vcpu_start *start)
{
    vcpu->accel->ops->vcpu_reset(vcpu, start);
}

/* Runs guest code on the calling thread until there is a reason to leave. */
static inline enum vcpu_exit accel_vcpu_run(struct vcpu *vcpu)
{
    return vcpu->accel->ops->vcpu_run(vcpu);
}

/* Why the last run ended with SHUTDOWN or ERROR; owned by the vCPU, good until the next run. */
static inline const char *accel_vcpu_error(struct vcpu *vcpu)
{
    return vcpu->accel->ops->vcpu_error(vcpu);
}

/* Any thread: makes the current run, or the next one, return VCPU_EXIT_KICKED soon. Kicks are
 * not counted: several before a return are one. */
static inline void accel_vcpu_kick(struct vcpu *vcpu)
{
    vcpu->accel->ops->vcpu_kick(vcpu);
}

/* Any thread: drives interrupt input IRQ (enum riscv_irq, enum arm_irq) to LEVEL. x86 has none. */
static inline void accel_vcpu_set_irq(struct vcpu *vcpu, unsigned irq, bool level)
{
    if (vcpu->accel->ops->vcpu_set_irq)
        vcpu->accel->ops->vcpu_set_irq(vcpu, irq, level);
}

/* Any thread. */
static inline void accel_vcpu_info(struct vcpu *vcpu, struct accel_vcpu_info *out)
{
    vcpu->accel->ops->vcpu_info(vcpu, out);
}

/* Any thread: as accel_stats(), of one vCPU. */
static inline size_t accel_vcpu_stats(struct vcpu *vcpu, struct accel_stat *rows, size_t most)
{
    return vcpu->accel->ops->vcpu_stats(vcpu, rows, most);
}

/*
 * The vCPU's saved state: its table and the object it describes, as of now. While it is not running.
 * What is changed in the object counts from accel_restored() on.
 */
static inline const struct state_desc *accel_vcpu_state(struct vcpu *vcpu, void **object)
{
    return vcpu->accel->ops->vcpu_state(vcpu, object);
}

/* The same of what belongs to no vCPU: interrupt controllers, clock. NULL: there is nothing. */
static inline const struct state_desc *accel_state(struct accel *accel, void **object)
{
    return accel->ops->state ? accel->ops->state(accel, object) : NULL;
}

/*
 * The objects of accel_state() and accel_vcpu_state() that were asked for since the last call have been
 * filled from a saved state. False: it cannot be that of this machine; reset the vCPUs. While no vCPU
 * runs, and before any does.
 */
static inline bool accel_restored(struct accel *accel, GError **err)
{
    return !accel->ops->restored || accel->ops->restored(accel, err);
}

/* Interrupt controllers of the accelerator go to their reset state. While no vCPU runs. */
static inline void accel_reset(struct accel *accel)
{
    if (accel->ops->reset)
        accel->ops->reset(accel);
}

/*
 * Any thread: returns when every vCPU of VCPU_MASK has done the fence, or is outside guest code
 * and will have done it before its next instruction. FROM is the calling vCPU, or NULL. Two vCPUs
 * that fence each other don't deadlock. Where the host's processor runs the guest, it does fences.
 */
static inline void accel_fence(struct accel *accel, struct vcpu *from, uint64_t vcpu_mask,
                               enum accel_fence kind, const struct accel_fence_range *range)
{
    if (accel->ops->fence)
        accel->ops->fence(accel, from, vcpu_mask, kind, range);
}

/* --- interrupt controllers of the accelerator: any thread, no lock needed ------------------------ */

/* Drives input GSI of the I/O APIC (x86, without split_irqchip) or GIC (its shared interrupts). */
static inline void accel_gsi(struct accel *accel, unsigned gsi, bool level)
{
    if (accel->ops->gsi)
        accel->ops->gsi(accel, gsi, level);
}

/* Delivers a message that a device wrote to the interrupt controllers' addresses. */
static inline void accel_msi(struct accel *accel, uint64_t address, uint32_t data)
{
    if (accel->ops->msi)
        accel->ops->msi(accel, address, data);
}

/*
 * Makes GSI stand for a message, for accel_irqfd(); NULL: for nothing. Free ones are those from
 * ACCEL_GSI_FREE on, and with split_irqchip all. 0, -ENOTSUP, -EINVAL for a GSI too high, or
 * the host's -errno.
 */
#define ACCEL_GSI_FREE 32
static inline int accel_route(struct accel *accel, unsigned gsi, const struct accel_route *route)
{
    return accel->ops->route ? accel->ops->route(accel, gsi, route) : -ENOTSUP;
}

/* From now on (ON), or no more, each signal of eventfd FD raises GSI once. 0 or as above. */
static inline int accel_irqfd(struct accel *accel, int fd, unsigned gsi, bool on)
{
    return accel->ops->irqfd ? accel->ops->irqfd(accel, fd, gsi, on) : -ENOTSUP;
}

/* --- time and counters --------------------------------------------------------------------------- */

/* The clock was paused, resumed or set: timers are armed anew. While no vCPU runs. */
static inline void accel_clock_changed(struct accel *accel)
{
    accel->ops->clock_changed(accel);
}

/* Any thread: fills at most MOST rows of counters and returns their number. */
static inline size_t accel_stats(struct accel *accel, struct accel_stat *rows, size_t most)
{
    return accel->ops->stats(accel, rows, most);
}

/* --- what only a translator has ------------------------------------------------------------------ */

/* Any thread: drops all translated code. */
static inline void accel_code_clear(struct accel *accel)
{
    if (accel->ops->code_clear)
        accel->ops->code_clear(accel);
}

/* Any thread: sets the most bytes of translated code. */
static inline bool accel_code_limit(struct accel *accel, uint64_t bytes, GError **err)
{
    if (!accel->ops->code_limit)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s translates no code", accel->ops->name);
    return accel->ops->code_limit(accel, bytes, err);
}

/* Any thread, now and then: gives back memory of translated code that did not run since the last call. */
static inline void accel_code_trim(struct accel *accel)
{
    if (accel->ops->code_trim)
        accel->ops->code_trim(accel);
}

/*
 * Any thread: calls FN for the pieces of host code of PART, at most
 * LIMIT_XLATE_CODE_ROWS. Begin with part 0; what is returned is the next part, 0 after the last.
 */
static inline unsigned accel_code_each(struct accel *accel, unsigned part, accel_code_fn fn,
                                       void *opaque)
{
    return accel->ops->code_each ? accel->ops->code_each(accel, part, fn, opaque) : 0;
}

/*
 * From the handler of a signal on the vCPU's thread, which is in accel_vcpu_run(): notes what the
 * vCPU is at, if the note before was taken. CONTEXT is the handler's third argument.
 */
static inline void accel_vcpu_interrupted(struct vcpu *vcpu, const void *context)
{
    if (vcpu->accel->ops->vcpu_interrupted)
        vcpu->accel->ops->vcpu_interrupted(vcpu, context);
}

/* Any other thread, one at a time: takes what was noted last; false where nothing was. */
static inline bool accel_vcpu_sample(struct vcpu *vcpu, struct accel_sample *out)
{
    return vcpu->accel->ops->vcpu_sample && vcpu->accel->ops->vcpu_sample(vcpu, out);
}

/* Any thread: the hot blocks of this run; the caller frees. NULL without warm start. */
static inline struct hotlist *accel_hot_list(struct accel *accel)
{
    return accel->ops->hot_list ? accel->ops->hot_list(accel) : NULL;
}

/* --- debugging ----------------------------------------------------------------------------------- */

/*
 * Sets what stops vCPUs, in place of what was set before; DEBUG is copied. False: it is more than the
 * processor can watch, and nothing has changed. While no vCPU runs.
 * Points that stay cost nothing; without any, code runs as if there were no debugger.
 */
static inline bool accel_debug(struct accel *accel, const struct accel_debug *debug)
{
    return accel->ops->debug(accel, debug);
}

/* How the vCPU's next runs go, until a step was made. While it is not running. A step runs the
 * instruction at pc even where a breakpoint is; it never sleeps: what waits for an interrupt goes
 * on. A fault is a step to the guest's handler. */
static inline void accel_vcpu_step(struct vcpu *vcpu, enum accel_step step)
{
    vcpu->accel->ops->vcpu_step(vcpu, step);
}

/* Why the last run, which returned VCPU_EXIT_DEBUG, ended. */
static inline void accel_vcpu_stop(struct vcpu *vcpu, struct accel_stop *out)
{
    vcpu->accel->ops->vcpu_stop(vcpu, out);
}

/*
 * Where VA is for the vCPU's present translation, whatever the rights; changes nothing. False where
 * it is mapped nowhere. LENGTH gets the bytes from VA on that are mapped likewise. While the vCPU
 * is not running.
 */
static inline bool accel_vcpu_look(struct vcpu *vcpu, gva_t va, gpa_t *gpa, uint64_t *length)
{
    return vcpu->accel->ops->vcpu_look(vcpu, va, gpa, length);
}

/* The registers of every vCPU: N rows by rising number, owned by the accelerator. */
static inline const struct accel_register *accel_registers(struct accel *accel, size_t *n)
{
    return accel->ops->registers(accel, n);
}

/* A register of the vCPU while it is not running: one word of 64 bits, or two, the low one first,
 * where it has 128. False where it has no value, or takes none. */
static inline bool accel_register_get(struct vcpu *vcpu, const struct accel_register *reg,
                                      uint64_t *value)
{
    return vcpu->accel->ops->register_get(vcpu, reg, value);
}
static inline bool accel_register_set(struct vcpu *vcpu, const struct accel_register *reg,
                                      const uint64_t *value)
{
    return vcpu->accel->ops->register_set(vcpu, reg, value);
}

#endif
