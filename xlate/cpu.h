/*
 * xlate/cpu.h: the part of a vCPU that generated code, the MMU and the run loop share.
 *
 * Generated code keeps a pointer to struct xl_cpu in a host register; fields it touches come
 * first, so that their displacements are short. Guest-visible registers live in slots[]; the
 * front end numbers them. Everything here belongs to the vCPU's own thread but for the members
 * marked "any thread".
 *
 * Includes base, mem and accel only: front ends, back ends, cache and mmu all see this file and
 * none of each other.
 */
#ifndef XLATE_CPU_H
#define XLATE_CPU_H

#include "accel/accel.h"

enum {
    XL_SLOTS = 112,         /* guest 64-bit state slots */
    XL_TLB_BITS = 10,       /* fast entries of one TLB mode and direction: 1 << XL_TLB_BITS */
    XL_TLB_SIZE = 1 << XL_TLB_BITS,
    XL_TLB_MODES = 8,       /* translation regimes that have a TLB of their own */
    XL_JUMP_BITS = 12,
    XL_JUMP_SIZE = 1 << XL_JUMP_BITS,
    XL_RAS_SIZE = 32,       /* return stack entries */
    XL_CODE_PAGES = 16384,  /* code pages that have translated code at one time */
    XL_FETCH_MODES = 4,     /* fetch regimes: bits 3..4 of a translation mode */
};

/* The tag of an entry that matches nothing: not page-aligned. */
#define XL_TLB_NONE UINT64_C(1)

/*
 * A fast TLB entry: a guest page whose accesses of one direction need no check. Index:
 * xl_tlb_index(). Host address = guest address + delta. Only whole, plain RAM pages
 * get in; a store entry only once the page is dirty-logged and holds no translated code.
 */
struct xl_tlb_entry {
    uint64_t tag;   /* guest-virtual page address, or XL_TLB_NONE */
    uint64_t delta; /* host minus guest */
};

/* The page number modulo XL_TLB_SIZE, with the bits above it folded in: arrays whose distance is a
 * multiple of XL_TLB_SIZE pages do not fight for the same entries. */
static inline unsigned xl_tlb_index(gva_t va)
{
    uint64_t page = va >> MEM_PAGE_SHIFT;

    return (page ^ page >> XL_TLB_BITS) % XL_TLB_SIZE;
}

struct xl_tlb {
    struct xl_tlb_entry load[XL_TLB_SIZE];
    struct xl_tlb_entry store[XL_TLB_SIZE];
};

/*
 * Jump cache: guest address -> host code. tag = address ^ cpu->jump_salt; index: bits 1..12 of the
 * address, so that a unit can only be in the two entries that its place in its page names.
 */
struct xl_jump {
    uint64_t tag;
    const void *code;
};

/* Return stack: what a CALL exit pushed. */
struct xl_ras {
    uint64_t tag;     /* guest return address ^ cpu->jump_salt */
    const void *code; /* where to go when it matches; checks the mapping itself */
};

/* Requests to a vCPU; any bit set makes generated code leave at its next poll. Any thread sets. */
enum xl_request {
    XL_REQ_KICK = 1,   /* accel_vcpu_kick() */
    XL_REQ_IRQ = 2,    /* an interrupt input or the timer changed: look again */
    XL_REQ_FENCE = 4,  /* fences are queued for this vCPU */
    XL_REQ_PASS = 8,   /* pass a safepoint: the code cache wants memory back */
};

/* cpu->fault of an access that a watchpoint is for: it was not made, and the guest sees nothing. */
#define XL_FAULT_WATCH UINT32_MAX

struct xl_cpu {
    struct vcpu vcpu; /* the contract; first */
    uint32_t request; /* enum xl_request; any thread, atomically */
    uint32_t fault;   /* a helper or access raised a guest fault: nonzero = ISA cause + 1 */
    uint64_t fault_value; /* tval, FAR */
    uint64_t pc;      /* guest pc; true only outside generated code, or as IR_CALL_PC says */
    uint64_t pc_page; /* guest-virtual page of the running unit: what PCREL adds to */
    uint64_t jump_salt; /* stands for mode and address space in jump-cache tags */
    uint32_t mode;    /* translation mode: the key of units that may run now */
    uint32_t ras_top; /* the newest entry's place in ras in bytes */
    /*
     * The guest's floating-point environment outside generated code. Inside, host registers have
     * it: entering, and coming back from a helper with IR_CALL_FPENV, sets the host's rounding
     * mode from fp_rm (RMM: nearest even) and its flags from fp_flags; leaving, and going to such a
     * helper, adds the host's flags to fp_flags.
     */
    uint8_t fp_rm;    /* enum ir_rm: what IR_RM_DYN means; never IR_RM_DYN itself */
    uint8_t fp_flags; /* mask of enum ir_fflag, sticky */
    uint64_t slots[XL_SLOTS] __attribute__((aligned(16)));
    struct xl_ras ras[XL_RAS_SIZE];
    struct xl_jump jump[XL_JUMP_SIZE];
    struct xl_tlb tlb[XL_TLB_MODES];

    /*
     * Where code pages are mapped for fetches: the cache numbers each pair of guest-physical page
     * and fetch regime that has code; code_at[number] is the guest-virtual page at which this vCPU
     * last found it, or XL_TLB_NONE. Every edge into a page compares one word here: links, the
     * jump cache and the return stack need no dropping when mappings change. The run loop calls
     * xl_code_map() with what a fetch found; the mmu calls xl_code_unmap() when a mapping changes.
     * The bits name the entries that are not XL_TLB_NONE.
     */
    uint64_t code_at[XL_CODE_PAGES];
    uint64_t code_mapped[2][XL_CODE_PAGES / 64]; /* [1]: global mappings */

    /* The back end's frame while generated code runs, what it calls included; else NULL. */
    void *frame;
    struct mmu *mmu;            /* of this vCPU (mmu/mmu.h) */
    const struct xl_host *host; /* what privileged code asks of the run loop (xlate_priv.h) */
    bool waiting;               /* in WFI: the run loop waits until sys->idle() says no more */

    /* Counters of this vCPU; read by any thread without order. */
    struct xl_counters {
        uint64_t entries;        /* times generated code was entered from the run loop */
        uint64_t lookups, hits;  /* code-cache lookups from the run loop or an indirect miss */
        uint64_t jumps;          /* lookups that the jump cache answered: generated code counts */
        uint64_t tlb_misses;     /* slow fills */
        uint64_t walks;          /* of them, those that read page tables */
        uint64_t slow_accesses;  /* device, page-crossing or code-page accesses */
        uint64_t faults, interrupts;
        uint64_t interpreted;    /* guest instructions of interpreted units */
    } count;
};

/* Adds to a counter of this vCPU, on its thread; others may read it meanwhile. */
static inline void xl_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* A walk in the regime of code page number ID found it at guest-virtual PAGE. vCPU thread. */
static inline void xl_code_map(struct xl_cpu *cpu, uint32_t id, gva_t page, bool global)
{
    __atomic_store_n(&cpu->code_at[id], page, __ATOMIC_RELAXED); /* profiles look from outside */
    cpu->code_mapped[global][id / 64] |= UINT64_C(1) << (id % 64);
    cpu->code_mapped[!global][id / 64] &= ~(UINT64_C(1) << (id % 64));
}

/*
 * Mappings changed: forgets where code pages are, of guest-virtual PAGE alone or, with
 * XL_TLB_NONE, all of them; GLOBAL: also those of global mappings. vCPU thread, outside code.
 */
static inline void xl_code_unmap(struct xl_cpu *cpu, gva_t page, bool global)
{
    for (unsigned g = 0; g <= global; g++) {
        for (unsigned i = 0; i < XL_CODE_PAGES / 64; i++) {
            for (uint64_t bits = cpu->code_mapped[g][i]; bits; bits &= bits - 1) {
                unsigned bit = __builtin_ctzll(bits);
                if (page != XL_TLB_NONE && cpu->code_at[i * 64 + bit] != page)
                    continue;
                __atomic_store_n(&cpu->code_at[i * 64 + bit], XL_TLB_NONE, __ATOMIC_RELAXED);
                cpu->code_mapped[g][i] &= ~(UINT64_C(1) << bit);
            }
        }
    }
}

/* The fetch regime of units of a translation mode; the ISA puts its number in bits 3..4. */
static inline unsigned xl_fetch_mode(uint32_t mode)
{
    return mode >> 3 & (XL_FETCH_MODES - 1);
}

#endif
