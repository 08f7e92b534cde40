/*
 * xlate/xlate_priv.h: the interfaces between the parts of the translator. xlate.c wires them.
 *
 *   front  guest bytes  -> IR                       knows one ISA's instructions
 *   sys    privileged state of that ISA             CSRs, traps, page tables, interrupts
 *   opt    IR -> IR
 *   back   IR -> host code in the cache             knows the host
 *   cache  host code by guest-physical address, links between units; knows no ISA
 *   mmu    TLBs and the full access path; knows no ISA (sys walks the page tables)
 */
#ifndef XLATE_XLATE_PRIV_H
#define XLATE_XLATE_PRIV_H

#include "xlate/cpu.h"
#include "xlate/ir/ir.h"

G_STATIC_ASSERT((int)IR_SLOTS == (int)XL_SLOTS);

/* --- front ---------------------------------------------------------------------------------- */

/* Guest code to translate. CODE starts at displacement START of its page and may run on into the
 * next page only for an instruction that crosses (LENGTH says how much is readable). */
struct xl_source {
    const uint8_t *code;
    uint32_t length;
    int32_t start;      /* displacement of code[0] in its page */
    uint32_t mode;      /* translation mode */
    uint32_t max_insns; /* 1 for single step */
};

struct xl_front {
    enum isa isa;
    uint32_t n_slots;
    const char *const *slot_names;
    const uint8_t *hot_slots; /* integer slots worth a host register, best first; ends with 0xff */
    const uint8_t *hot_fslots; /* the same for floating point, or of pairs for V128s */
    bool wide_fslots;          /* the latter */
    uint32_t n_helpers;       /* sys gives the table; rows in the order of the front end's .inc */

    /*
     * Translates one unit: stops at a branch, at the page's end, at max_insns, or before what it
     * cannot decode (which becomes a unit of its own that raises the illegal-instruction fault).
     * An instruction that crosses into the next page is a unit of its own. Never fails: any bytes
     * mean something. UNIT was cleared.
     */
    void (*translate)(const struct xl_source *source, struct ir_unit *unit);

    /* Is MODE one that a vCPU can be in? */
    bool (*mode_ok)(uint32_t mode);

    /* Disassembles the instruction at CODE (LENGTH readable bytes) for people; returns its bytes. */
    unsigned (*disassemble)(const uint8_t *code, uint32_t length, uint64_t pc, char *text,
                            size_t size);
};

/* --- sys ------------------------------------------------------------------------------------ */

enum xl_access { XL_LOAD, XL_STORE, XL_FETCH };

/* A successful walk. */
struct xl_walk {
    gpa_t gpa;          /* of the address asked for */
    uint64_t page;      /* bytes of the mapping, all of which has these rights: 4K, 2M, 1G.. */
    uint8_t modes;      /* mask of TLB modes that this walk speaks for, the one asked for included */
    uint8_t allowed[3]; /* by enum xl_access: mask of TLB modes that need no further walk for it */
    bool global;        /* the same in every address space */
};

/* What sys asks of the run loop, through cpu->host. */
struct xl_host {
    /* Later fetches of this vCPU see its earlier stores, and those it knows of. vCPU thread. */
    void (*fence_code)(struct xl_cpu *cpu);
    /* Those of every vCPU do, once this returns: nobody runs what was dropped any more. vCPU thread;
     * the unit must end behind it. */
    void (*fence_code_all)(struct xl_cpu *cpu);
    /* Before a fence of code: what a device of the host wrote by itself, and the guest is about to run. HOST: a byte of
     * the page that is named; NULL: any. vCPU thread. */
    void (*code_foreign)(struct xl_cpu *cpu, const void *host);
    /* From now on polls the vCPU once the guest time GUEST_NS has come; UINT64_MAX: never. */
    void (*timer)(struct xl_cpu *cpu, uint64_t guest_ns);
    /* Any thread: polls the vCPU soon, waking it from WFI. */
    void (*attend)(struct xl_cpu *cpu);
    /* Calls FN with every vCPU of the machine, CPU's own included. vCPU thread. */
    void (*each)(struct xl_cpu *cpu, void (*fn)(struct xl_cpu *each));
};

struct xl_sys {
    enum isa isa;
    size_t cpu_size; /* of the ISA's struct, which starts with struct xl_cpu */
    const struct ir_helper *helpers;
    const struct state_desc *state;

    void (*init)(struct xl_cpu *cpu);
    void (*reset)(struct xl_cpu *cpu, const struct vcpu_start *start);
    void (*fini)(struct xl_cpu *cpu);
    /* State was loaded: makes it legal and computes what follows from it. */
    void (*loaded)(struct xl_cpu *cpu);

    /*
     * Translates VA for ACCESS in TLB mode TLB_MODE. True and OUT, or false with cpu->fault and
     * cpu->fault_value set to what the guest will see. Sets accessed and dirty bits atomically.
     */
    bool (*walk)(struct xl_cpu *cpu, unsigned tlb_mode, gva_t va, enum xl_access access,
                 struct xl_walk *out);
    /* The fault for an access that reached no RAM or device, or was misaligned. */
    void (*access_fault)(struct xl_cpu *cpu, gva_t va, enum xl_access access, bool misaligned);

    /* An access of KIND touches, at VA, watch number N of those that the guest itself has set
     * (mmu_watch_own()). True where it is not to be made: cpu->fault is set. NULL where none are
     * set. */
    bool (*watched)(struct xl_cpu *cpu, unsigned n, gva_t va, enum accel_watch kind);

    /* Takes cpu->fault (clears it) at cpu->pc: enters the guest's handler. */
    void (*take_fault)(struct xl_cpu *cpu);
    /* XL_REQ_IRQ was set: looks at the clock. */
    void (*refresh)(struct xl_cpu *cpu);
    /* Looks at interrupts; takes one that may be taken now. True when pc has changed. */
    bool (*poll)(struct xl_cpu *cpu);
    /* WFI: true while nothing would wake the vCPU; DEADLINE gets the guest ns of its next timer. */
    bool (*idle)(struct xl_cpu *cpu, uint64_t *deadline);
    /* A remote fence: drops translations of [START, START + SIZE), in every address space or, where
     * ONE_SPACE, in that of ASID. */
    void (*tlb_fence)(struct xl_cpu *cpu, gva_t start, uint64_t size, uint64_t asid,
                      bool one_space);
    /* Any thread. */
    void (*set_irq)(struct xl_cpu *cpu, unsigned irq, bool level);

    /* The debugger's part; see accel_vcpu_look() and accel_registers(). */
    bool (*look)(struct xl_cpu *cpu, gva_t va, gpa_t *gpa, uint64_t *length);
    const struct accel_register *registers;
    size_t n_registers;
    bool (*register_get)(struct xl_cpu *cpu, unsigned number, uint64_t *value);
    bool (*register_set)(struct xl_cpu *cpu, unsigned number, const uint64_t *value);
    /* What units of MODE run as, for people. */
    const char *(*mode_name)(uint32_t mode);
};

/* TLB mode of data accesses made by units of a translation mode; the ISA puts it in bits 0..2. */
static inline unsigned xl_tlb_mode(uint32_t mode)
{
    return mode & (XL_TLB_MODES - 1);
}

#endif
