/*
 * What the files of the mmu share.
 *
 * The second level is one set-associative table. An entry's key is the page number at its own size,
 * the size, the TLB modes its walk spoke for, and its address space unless it is global. Entries
 * carry the time of their fill; flushing a space or everything sets a time before which they no
 * longer count, and touches no entry.
 *
 * Invariant: a fast entry taken from a superpage has its superpage's entry in the second level, so
 * that flushing any address of the superpage finds it there and drops what came from it.
 */
#ifndef XLATE_MMU_MMU_PRIV_H
#define XLATE_MMU_MMU_PRIV_H

#include "xlate/mmu/mmu.h"

enum {
    MMU_SET_BITS = 11,
    MMU_SETS = 1 << MMU_SET_BITS,
    MMU_WAYS = 4,
    MMU_SPACE_SLOTS = 256, /* spaces share flush times when they collide */
    MMU_FILTER_BITS = 12,
};

struct mmu_entry {
    uint64_t page;  /* guest-virtual address of the mapping */
    uint64_t gpa;   /* of its first byte */
    uint64_t time;  /* of the fill; 0: empty */
    uint32_t space : 24;
    uint32_t shift : 7; /* log2 of the mapping's bytes */
    uint32_t global : 1;
    uint8_t modes;
    uint8_t allowed[3];
};
G_STATIC_ASSERT(sizeof(struct mmu_entry) == 32);

struct mmu {
    struct mem_map *map;
    const struct xl_sys *sys;
    struct mmu_code_ops code;
    struct mem_ram *ram; /* where the last lookup ended, unless a device shows it: other RAM stays */

    uint32_t space;
    unsigned fetch_mode;

    /* Chunks of 16 fast entries that were filled since they were emptied. */
    uint64_t touched[XL_TLB_MODES][2];

    uint64_t secret; /* what jump-cache tags are salted with, besides the mode */

    /* Pages (hashed) that were fetched from since cpu->code_at was last emptied. */
    uint64_t fetched[1 << (MMU_FILTER_BITS - 6)];
    unsigned fetched_n; /* bits set in it */

    bool watching;                         /* there is any of these */
    const struct mmu_watch *watches, *own; /* the debugger's; the guest's */
    size_t n_watches, n_own;
    bool recording;
    const struct mmu_watch *noted; /* the first that was hit while recording */
    gva_t noted_at;

    uint64_t time;                          /* rises with every flush; starts at 1 */
    uint64_t floor;                         /* entries filled before are gone */
    uint64_t space_floor[MMU_SPACE_SLOTS];  /* .. if they are of such a space and not global */
    uint64_t shifts;                        /* sizes (bits: log2) that the table has had */
    uint8_t victim;
    struct mmu_entry table[MMU_SETS][MMU_WAYS];
};

/* Where an access lands. */
struct mmu_place {
    gpa_t gpa;
    struct mem_ram *ram; /* NULL: a device, or nothing */
    uint8_t *host;       /* in RAM */
    bool global;         /* the same in every address space */
};

/* Finds VA's entry that allows ACCESS in MODE without a walk, or NULL. */
struct mmu_entry *mmu__find(struct mmu *mmu, unsigned mode, gva_t va, enum xl_access access);

/* Translates VA, walking if it must; false with cpu->fault set. */
bool mmu__resolve(struct xl_cpu *cpu, unsigned mode, gva_t va, enum xl_access access,
                  struct mmu_place *place);

/* The RAM that holds GPA, or NULL. */
struct mem_ram *mmu__ram(struct mmu *mmu, gpa_t gpa);

/* Prepares a store to the RAM page of PLACE: logs it, drops code made from it. */
void mmu__before_store(struct mmu *mmu, const struct mmu_place *place);

/*
 * After a store that went past the fast TLB: drops code that was made from the page meanwhile.
 * Whoever translates sets the flag first and then reads, so that one of the two sees the other.
 * (Stores that filled a fast entry need it not: mmu_drop_code_stores() finds the entry.)
 */
void mmu__after_store(struct mmu *mmu, const struct mmu_place *place);

/* Is something in VA's page watched, for accesses in MODE? */
bool mmu__page_watched(const struct mmu *mmu, unsigned mode, gva_t va);

/* An access of KIND in MODE to [VA, VA + SIZE) is due, and aligned as it has to be. True: it may be
 * made; else cpu->fault is set. */
bool mmu__watch_passes(struct xl_cpu *cpu, unsigned mode, gva_t va, unsigned size,
                       enum accel_watch kind);

static inline bool mmu__may_access(struct xl_cpu *cpu, unsigned mode, gva_t va, unsigned size,
                                   enum accel_watch kind)
{
    return likely(!cpu->mmu->watching) || mmu__watch_passes(cpu, mode, va, size, kind);
}

/* Empties the fast TLB. */
void mmu__clear_fast(struct xl_cpu *cpu);

/* Enters VA's page, at host address HOST (of VA itself), into the fast TLB. Not where something in
 * the page is watched. */
void mmu__fill(struct xl_cpu *cpu, unsigned mode, gva_t va, uint8_t *host, bool store);

#endif
