/*
 * Address translation and physical memory protection.
 *
 * Sv39 and Sv48 as in the privileged manual's "Virtual Address Translation Process", whose numbered
 * steps the comments name. Accessed and dirty bits are updated by hardware: by compare-and-swap, and
 * a loser walks again from the root. Svvptc needs nothing: no invalid entry is ever cached.
 */
#include "xlate/sys/riscv64/rv_hart.h"

#include "xlate/mmu/mmu.h"

#define PTE_V BIT(0)
#define PTE_R BIT(1)
#define PTE_W BIT(2)
#define PTE_X BIT(3)
#define PTE_U BIT(4)
#define PTE_G BIT(5)
#define PTE_A BIT(6)
#define PTE_D BIT(7)
#define PTE_RESERVED  (~UINT64_C(0) << 54) /* no Svnapot, no Svpbmt */
#define PTE_PPN_SHIFT 10

#define GPA_LIMIT BIT(56)

/* TLB modes as masks. */
#define M(mode) (1u << (mode))
#define M_USER   (M(RV_TLB_U) | M(RV_TLB_U_MXR))
#define M_SUM    (M(RV_TLB_S_SUM) | M(RV_TLB_S_SUM_MXR))
#define M_SUPER  (M(RV_TLB_S) | M(RV_TLB_S_MXR) | M_SUM)
#define M_MXR    (M(RV_TLB_U_MXR) | M(RV_TLB_S_MXR) | M(RV_TLB_S_SUM_MXR))
#define M_PAGED  (M_USER | M_SUPER)

static const enum rv_cause page_cause[] = {RV_LOAD_PAGE, RV_STORE_PAGE, RV_FETCH_PAGE};
static const enum rv_cause access_cause[] = {RV_LOAD_ACCESS, RV_STORE_ACCESS, RV_FETCH_ACCESS};
static const enum rv_cause misaligned_cause[] = {RV_LOAD_MISALIGNED, RV_STORE_MISALIGNED,
                                                 RV_FETCH_MISALIGNED};

/* The walk under way. */
struct walk {
    struct rv_hart *hart;
    unsigned tlb_mode;
    gva_t va;
    enum xl_access access;
};

enum outcome { WALK_OK, WALK_FAULT, WALK_AGAIN };

static enum outcome page_fault(const struct walk *w)
{
    rv_raise(w->hart, page_cause[w->access], w->va);
    return WALK_FAULT;
}

static enum outcome no_access(const struct walk *w)
{
    rv_raise(w->hart, access_cause[w->access], w->va);
    return WALK_FAULT;
}

void rv_access_fault(struct xl_cpu *cpu, gva_t va, enum xl_access access, bool misaligned)
{
    rv_raise(rv_hart(cpu), misaligned ? misaligned_cause[access] : access_cause[access], va);
}

/* --- physical memory protection --------------------------------------------------------------- */

enum { PMP_A = 3 << 3, PMP_TOR = 1 << 3, PMP_NAPOT = 3 << 3, PMP_L = 1 << 7 };

void rv_update_pmp(struct rv_hart *hart)
{
    for (unsigned i = 0; i < RV_PMP_ENTRIES; i++) {
        uint64_t addr = hart->pmpaddr[i];
        struct rv_pmp_range *r = &hart->pmp[i];

        *r = (struct rv_pmp_range){.first = 1, .last = 0};
        if ((hart->pmpcfg[i] & PMP_A) == PMP_TOR) {
            uint64_t from = i ? hart->pmpaddr[i - 1] << 2 : 0, to = addr << 2;
            from &= ~(MEM_PAGE_SIZE - 1);
            to &= ~(MEM_PAGE_SIZE - 1);
            if (from < to)
                *r = (struct rv_pmp_range){.first = from, .last = to - 1};
        } else if ((hart->pmpcfg[i] & PMP_A) == PMP_NAPOT) {
            addr |= BIT(9) - 1;
            unsigned bits = (unsigned)__builtin_ctzll(~addr) + 3;
            r->first = addr << 2 & ~(BIT(bits) - 1);
            r->last = r->first | (BIT(bits) - 1);
        }
    }
    if (hart->cpu.mmu)
        mmu_flush_all(&hart->cpu);
}

/* The rights (pmpcfg's R, W, X) of [GPA, GPA + SIZE) for M-mode or below; -1 where they differ
 * within. */
static int pmp_rights(const struct rv_hart *hart, gpa_t gpa, uint64_t size, bool machine)
{
    if (!hart->firmware)
        return 7;
    for (unsigned i = 0; i < RV_PMP_ENTRIES; i++) {
        const struct rv_pmp_range *r = &hart->pmp[i];
        if (r->last < r->first || r->last < gpa || r->first > gpa + size - 1)
            continue;
        if (r->first > gpa || r->last < gpa + size - 1)
            return -1;
        return machine && !(hart->pmpcfg[i] & PMP_L) ? 7 : hart->pmpcfg[i] & 7;
    }
    return machine ? 7 : 0;
}

/* Does PMP let S-mode's page walker read (and WRITE) the 8 bytes at GPA? */
static bool pte_allowed(const struct rv_hart *hart, gpa_t gpa, bool write)
{
    int rights = pmp_rights(hart, gpa & ~(MEM_PAGE_SIZE - 1), MEM_PAGE_SIZE, false);

    return rights >= 0 && (rights & 1) && (!write || (rights & 2));
}

/*
 * Takes from OUT what PMP refuses, and cuts its page to the largest size that has one answer.
 * False when the access itself is refused.
 */
static bool apply_pmp(const struct walk *w, struct xl_walk *out)
{
    static const uint8_t need[] = {[XL_LOAD] = 1, [XL_STORE] = 2, [XL_FETCH] = 4};
    bool machine = w->tlb_mode == RV_TLB_PHYS;
    int rights;

    if (!w->hart->firmware)
        return true;
    rights = pmp_rights(w->hart, out->gpa & ~(out->page - 1), out->page, machine);
    if (rights < 0) {
        out->page = MEM_PAGE_SIZE; /* entries are of whole pages */
        rights = pmp_rights(w->hart, out->gpa & ~(MEM_PAGE_SIZE - 1), MEM_PAGE_SIZE, machine);
    }
    for (unsigned a = 0; a < 3; a++) {
        if (!(rights & need[a]))
            out->allowed[a] = 0;
    }
    return rights & need[w->access];
}

/* --- page tables ------------------------------------------------------------------------------ */

/* The TLB modes that PTE lets do each access, whatever its A and D bits. */
static void rights_of(uint64_t pte, uint8_t allowed[3])
{
    unsigned read = pte & PTE_R ? M_PAGED : pte & PTE_X ? M_MXR : 0;
    unsigned data = pte & PTE_U ? M_USER | M_SUM : M_SUPER;

    allowed[XL_LOAD] = (uint8_t)(read & data);
    allowed[XL_STORE] = (uint8_t)(pte & PTE_W ? data : 0);
    allowed[XL_FETCH] = (uint8_t)(pte & PTE_X ? (pte & PTE_U ? M_USER : M_SUPER) : 0);
}

/* Step 9: sets the accessed bit, and for a store the dirty bit, in the entry at GPA. */
static enum outcome update_pte(const struct walk *w, gpa_t gpa, uint64_t *pte, uint64_t *value)
{
    uint64_t want = *value | PTE_A | (w->access == XL_STORE ? PTE_D : 0);
    bool read_only;

    if (want == *value)
        return WALK_OK;
    if (!pte_allowed(w->hart, gpa, true))
        return no_access(w);
    if (!mmu_pte_replace(&w->hart->cpu, gpa, pte, GUINT64_TO_LE(*value), GUINT64_TO_LE(want),
                         &read_only))
        return read_only ? no_access(w) : WALK_AGAIN;
    *value = want;
    return WALK_OK;
}

/* Steps 5 to 10 for the leaf *PTE of a mapping of SIZE bytes. */
static enum outcome leaf(const struct walk *w, gpa_t gpa, uint64_t *pte, uint64_t value,
                         uint64_t size, struct xl_walk *out)
{
    uint8_t allowed[3];
    gpa_t base = value << (MEM_PAGE_SHIFT - PTE_PPN_SHIFT) & (GPA_LIMIT - MEM_PAGE_SIZE);
    enum outcome rc;

    rights_of(value, allowed);
    if (!(allowed[w->access] >> w->tlb_mode & 1))
        return page_fault(w);
    if (base & (size - 1)) /* a misaligned superpage */
        return page_fault(w);
    *out = (struct xl_walk){.gpa = base | (w->va & (size - 1)), .page = size, .modes = M_PAGED,
                            .global = value & PTE_G};
    memcpy(out->allowed, allowed, sizeof(allowed));
    if (!apply_pmp(w, out))
        return no_access(w);
    rc = update_pte(w, gpa, pte, &value);
    if (!(value & PTE_D))
        out->allowed[XL_STORE] = 0;
    return rc;
}

MEM_GUEST_RACES static uint64_t read_pte(const uint64_t *pte)
{
    return GUINT64_FROM_LE(__atomic_load_n(pte, __ATOMIC_ACQUIRE));
}

/* Steps 1 to 4: from the root down. */
static enum outcome walk_tables(const struct walk *w, unsigned levels, struct xl_walk *out)
{
    gpa_t table = (w->hart->satp & SATP_PPN_MASK) << MEM_PAGE_SHIFT;
    bool global = false;

    for (unsigned level = levels; level-- > 0;) {
        unsigned shift = MEM_PAGE_SHIFT + 9 * level;
        gpa_t gpa = table + (w->va >> shift & 511) * 8;
        uint64_t *pte = pte_allowed(w->hart, gpa, false) ? mmu_pte(&w->hart->cpu, gpa) : NULL;

        if (!pte)
            return no_access(w);
        uint64_t value = read_pte(pte);
        if (!(value & PTE_V) || (value & (PTE_R | PTE_W)) == PTE_W || (value & PTE_RESERVED))
            return page_fault(w);
        global |= value & PTE_G;
        if (value & (PTE_R | PTE_X)) {
            enum outcome rc = leaf(w, gpa, pte, value, BIT(shift), out);
            if (rc == WALK_OK)
                out->global |= global; /* of a table: all below it is global */
            return rc;
        }
        if (value & (PTE_A | PTE_D | PTE_U)) /* reserved in a pointer */
            return page_fault(w);
        table = value << (MEM_PAGE_SHIFT - PTE_PPN_SHIFT) & (GPA_LIMIT - MEM_PAGE_SIZE);
    }
    return page_fault(w);
}

/* Physical addresses: M-mode, or satp says Bare. */
static bool walk_bare(const struct walk *w, struct xl_walk *out)
{
    uint8_t modes = w->tlb_mode == RV_TLB_PHYS ? M(RV_TLB_PHYS) : M_PAGED;

    *out = (struct xl_walk){.gpa = w->va, .page = MEM_PAGE_SIZE, .modes = modes,
                            .allowed = {modes, modes, modes}};
    return w->va < GPA_LIMIT && apply_pmp(w, out);
}

bool rv_walk(struct xl_cpu *cpu, unsigned tlb_mode, gva_t va, enum xl_access access,
             struct xl_walk *out)
{
    struct walk w = {rv_hart(cpu), tlb_mode, va, access};
    unsigned levels, unused;
    enum outcome rc;

    switch (tlb_mode == RV_TLB_PHYS ? RV_BARE : w.hart->satp >> SATP_MODE_SHIFT) {
    case RV_BARE:
        return walk_bare(&w, out) || no_access(&w) == WALK_OK;
    case RV_SV39:
        levels = 3;
        break;
    default:
        levels = 4;
        break;
    }
    unused = 64 - (MEM_PAGE_SHIFT + 9 * levels);
    if ((gva_t)((int64_t)(va << unused) >> unused) != va)
        return page_fault(&w) == WALK_OK;
    do
        rc = walk_tables(&w, levels, out);
    while (rc == WALK_AGAIN);
    return rc == WALK_OK;
}
