/*
 * xlate/mmu: guest-virtual memory of a vCPU. The full access path behind generated code, the TLBs
 * and how they are dropped.
 *
 * Two levels. The fast entries of struct xl_cpu serve generated code: plain RAM pages of the
 * present address space. Behind them lies a table that keeps each walk's true page size, its
 * address space and whether it is global, so that emptying the fast entries is cheap and most
 * refills walk no page table. The mmu knows no ISA: struct xl_sys walks and raises faults.
 *
 * A page that holds translated code (MEM_PAGE_CODE) has no store entry: the first store to it
 * takes the path here, drops the page's units and clears the flag.
 *
 * All functions belong to the vCPU's own thread.
 */
#ifndef XLATE_MMU_MMU_H
#define XLATE_MMU_MMU_H

#include "xlate/cpu.h"
#include "xlate/xlate_priv.h"

struct mmu;

/* What the mmu asks of the code cache. Any thread. */
struct mmu_code_ops {
    /* Guest stores reach the RAM page PAGE (an index into RAM) that is flagged MEM_PAGE_CODE:
     * drops its units and clears the flag, as one step for whoever adds units. */
    void (*page_written)(void *opaque, struct mem_ram *ram, uint64_t page);
    void *opaque;
};

/* Gives CPU its mmu (cpu->mmu), all TLBs empty. MAP, SYS and what CODE points at outlive it. */
void mmu_init(struct xl_cpu *cpu, struct mem_map *map, const struct xl_sys *sys,
              const struct mmu_code_ops *code);
void mmu_fini(struct xl_cpu *cpu);

/* --- accesses: called by generated code, the interpreter and helpers --------------------------
 *
 * MEM is a mask of enum ir_mem: its size, sign, order and alignment bits count. The TLB mode is
 * that of cpu->mode. On a guest fault cpu->fault is nonzero, memory is as it was and the result
 * means nothing. An access that crosses a page has both pages probed before a byte is written.
 */

/* Loads; the value is extended to 64 bits as MEM says. */
uint64_t mmu_load(struct xl_cpu *cpu, gva_t va, uint32_t mem);
void mmu_store(struct xl_cpu *cpu, gva_t va, uint64_t value, uint32_t mem);
/* The same of 16 bytes, whose halves are accesses by themselves. */
void mmu_load16(struct xl_cpu *cpu, gva_t va, struct ir_v128 *value, uint32_t mem);
void mmu_store16(struct xl_cpu *cpu, gva_t va, const struct ir_v128 *value, uint32_t mem);
/* OP is an enum ir_rmw; the old value, extended as MEM says. */
uint64_t mmu_rmw(struct xl_cpu *cpu, gva_t va, uint64_t operand, uint32_t mem, uint32_t op);
/* The old value, extended as MEM says. */
uint64_t mmu_cas(struct xl_cpu *cpu, gva_t va, uint64_t expected, uint64_t desired, uint32_t mem);
/* 0 when CONDITION and memory held EXPECTED (DESIRED is stored then), else 1. Faults as a store
 * even where CONDITION is 0. */
uint64_t mmu_sc(struct xl_cpu *cpu, gva_t va, uint64_t condition, uint64_t expected,
                uint64_t desired, uint32_t mem);

/*
 * The slow half of IR_TR: the host address of VA if [VA, VA + SPAN) is plain RAM of one page that
 * may be accessed so without a walk (it is in the fast TLB then), else NULL: each access through
 * the handle then takes its full path. MEM: IR_MEM_WRITE for stores. Never faults, never changes
 * guest state.
 */
void *mmu_translate(struct xl_cpu *cpu, gva_t va, uint32_t span, uint32_t mem);

/*
 * Host address of LENGTH bytes at VA in one page of RAM, checked for ACCESS, which the caller does
 * at once (cbo.zero, bulk helpers). NULL with cpu->fault set otherwise.
 */
void *mmu_range(struct xl_cpu *cpu, gva_t va, uint32_t length, enum xl_access access);

/* Host address of VA where generated code would find it for loads, else NULL. Good for as long as
 * the VM is. */
const void *mmu_at_hand(const struct xl_cpu *cpu, gva_t va);

/* Checks that an access of ACCESS at VA would not fault; false with cpu->fault set. Devices pass. */
bool mmu_probe(struct xl_cpu *cpu, gva_t va, enum xl_access access);

/* Where an instruction comes from. */
struct mmu_fetched {
    gpa_t gpa;
    const uint8_t *host; /* good until the next safepoint */
    struct mem_ram *ram;
    bool global;         /* so it is in every address space */
};

/*
 * Loops of accesses (bulk.c): N elements of 1 << LOG2 bytes are copied one after the other in ascending order, each
 * loaded and stored once, so that ranges may overlap; or VALUE's low bytes are stored to each. As far as TO's and
 * FROM's pages go, and only where both have entries in the fast TLB; how many there were. *LAST: the last
 * one copied, zero-extended.
 */
uint64_t mmu_copy(struct xl_cpu *cpu, gva_t to, gva_t from, unsigned log2, uint64_t n, uint64_t *last);
uint64_t mmu_fill(struct xl_cpu *cpu, gva_t to, uint64_t value, unsigned log2, uint64_t n);

/* Translates an instruction fetch at PC. False with cpu->fault set. */
bool mmu_fetch(struct xl_cpu *cpu, gva_t pc, struct mmu_fetched *out);

/* --- watchpoints ------------------------------------------------------------------------------
 *
 * Pages with something watched have no fast entries, so that their accesses come here. One that
 * touches what is watched raises XL_FAULT_WATCH in place of being made; while the mmu records, it
 * is made, and noted.
 */

struct mmu_watch {
    gva_t first, last; /* of the bytes */
    enum accel_watch kind;
    uint8_t modes; /* the guest's own: mask of TLB modes whose accesses count */
};

/* Watches N places in place of those before; WATCHES is kept by reference. While CPU isn't inside. */
void mmu_watch(struct xl_cpu *cpu, const struct mmu_watch *watches, size_t n);
/*
 * The same of places that the guest itself watches. Of addresses the low 56 bits count. Where an
 * access touches one and would not fault otherwise, struct xl_sys's watched() says what becomes of
 * it. vCPU thread, also in a helper with IR_CALL_MMU.
 */
void mmu_watch_own(struct xl_cpu *cpu, const struct mmu_watch *watches, size_t n);
/* From now on notes accesses, having forgotten what was noted; or faults again. */
void mmu_watch_record(struct xl_cpu *cpu, bool on);
/* The first access that was noted; false where there is none. */
bool mmu_watch_noted(const struct xl_cpu *cpu, gva_t *address, enum accel_watch *kind);

/* --- page tables ------------------------------------------------------------------------------ */

/* Host address of an aligned 8-byte word of RAM at GPA, or NULL where there is no RAM. */
uint64_t *mmu_pte(struct xl_cpu *cpu, gpa_t gpa);
/* Replaces *PTE (from mmu_pte()) if it still holds EXPECTED; true when it did. *READ_ONLY says that
 * it cannot be written (nothing was done). */
bool mmu_pte_replace(struct xl_cpu *cpu, gpa_t gpa, uint64_t *pte, uint64_t expected,
                     uint64_t desired, bool *read_only);

/* --- what changes translations ---------------------------------------------------------------- */

#define MMU_EVERY_SPACE UINT32_MAX

/*
 * Sets what runs from now on: the translation mode (cpu->mode), the TLB mode that instruction
 * fetches use, and the address space (ASID, VMID..; below 1 << 24) of accesses. Drops what the
 * change makes wrong and gives cpu->jump_salt its value. Called by sys whenever one changes.
 */
void mmu_set_context(struct xl_cpu *cpu, uint32_t mode, unsigned fetch_mode, uint32_t space);

/* Drops translations of every page in [START, START + SIZE), of a superpage that touches it too,
 * in SPACE (global ones are kept) or in MMU_EVERY_SPACE (and global ones). SIZE UINT64_MAX: all. */
void mmu_flush(struct xl_cpu *cpu, gva_t start, uint64_t size, uint32_t space);

/* Drops everything: reset, a state load, a change of physical protection. */
void mmu_flush_all(struct xl_cpu *cpu);

/*
 * Pages may have got MEM_PAGE_CODE since their store entries were made: drops those entries. Where
 * WROTE, the vCPU may have stored through them after that: code.page_written() is called for each.
 */
void mmu_drop_code_stores(struct xl_cpu *cpu, bool wrote);

#endif
