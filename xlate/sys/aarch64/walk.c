/*
 * Address translation of the EL1&0 regime (D5): granules of 4, 16 and 64 KiB, 48 bits of address,
 * hierarchical permissions, access flag and dirty state by hardware.
 *
 * The access flag and the dirty state are updated by compare-and-swap; a loser walks again from the root.
 * The contiguous bit is a hint that is not needed.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

#include "xlate/mmu/mmu.h"

#define DESC_VALID   BIT(0)
#define DESC_TABLE   BIT(1) /* or a page, at level 3 */
#define DESC_USER    BIT(6) /* AP[1] */
#define DESC_RO      BIT(7) /* AP[2] */
#define DESC_AF      BIT(10)
#define DESC_NG      BIT(11)
#define DESC_DBM     BIT(51)
#define DESC_PXN     BIT(53)
#define DESC_UXN     BIT(54)
#define TABLE_PXN    BIT(59)
#define TABLE_UXN    BIT(60)
#define TABLE_NOUSER BIT(61)
#define TABLE_RO     BIT(62)
#define ADDRESS_BITS (BIT(48) - 1)

enum { LAST_LEVEL = 3, SH_SHIFT = 8, ATTR_SHIFT = 2, AGAIN = -1, NO_FAULT = 0 };

/* TLB modes as masks. */
enum { M_EL0 = 1 << A64_TLB_EL0, M_EL1 = 1 << A64_TLB_EL1, M_PAN = 1 << A64_TLB_EL1_PAN };

/* A walk under way: what was asked, the table's geometry, what was found. */
struct walk {
    struct a64_cpu *c;
    unsigned tlb_mode;
    gva_t va;
    enum xl_access access;
    bool only_looks;   /* changes no entry, and needs no access flag */
    unsigned high;     /* which half of the address space: TTBR0 or TTBR1 */
    unsigned granule;  /* log2 of its bytes */
    unsigned bits;     /* of input addresses */
    uint64_t denied;   /* TABLE_.. bits of the tables passed */
    uint64_t desc;     /* the leaf */
    unsigned fsc;      /* of the fault; FAULTS says whether there is one */
    bool faults;
    struct xl_walk out;
};

static int fail(struct walk *w, unsigned fsc)
{
    w->fsc = fsc;
    w->faults = true;
    return NO_FAULT;
}

/* --- addresses -------------------------------------------------------------------------------- */

gva_t a64_untagged(const struct a64_cpu *c, gva_t va)
{
    bool high = va >> 55 & 1;

    if (!(c->sctlr & SCTLR_M) || !(c->tcr & (high ? TCR_TBI1 : TCR_TBI0)))
        return va;
    return (gva_t)((int64_t)(va << 8) >> 8);
}

/* Bits of physical addresses (TCR_EL1.IPS; at most 48 are offered). */
static unsigned output_bits(const struct a64_cpu *c)
{
    static const uint8_t bits[] = {32, 36, 40, 42, 44, 48, 48, 48};

    return bits[c->tcr >> TCR_IPS_SHIFT & 7];
}

/* Geometry of the half that VA is in; false where it is in none. VA's tag was taken off. */
static bool find_half(struct walk *w)
{
    static const uint8_t granules[2][4] = {{12, 16, 14, 12}, {12, 14, 12, 16}};
    uint64_t tcr = w->c->tcr;

    w->high = w->va >> 55 & 1;
    unsigned unused = tcr >> (w->high ? 16 : 0) & 63;
    w->bits = 64 - CLAMP(unused, 16u, 39u);
    w->granule = granules[w->high][tcr >> (w->high ? 30 : 14) & 3];
    uint64_t above = (w->high ? ~w->va : w->va) >> w->bits; /* all like bit 55 */
    return !(tcr & (w->high ? TCR_EPD1 : TCR_EPD0)) && !above;
}

/* --- rights ----------------------------------------------------------------------------------- */

/* EL0 is kept out of this half of the address space altogether (E0PD). */
static bool closed_to_el0(const struct walk *w)
{
    return w->c->tcr & (w->high ? TCR_E0PD1 : TCR_E0PD0);
}

/* The TLB modes that may do each access, tables included (D5.4). */
static void rights_of(const struct walk *w, bool read_only, uint8_t allowed[3])
{
    bool hierarchical = !(w->c->tcr & (w->high ? TCR_HPD1 : TCR_HPD0));
    uint64_t denied = hierarchical ? w->denied : 0;
    bool user = (w->desc & DESC_USER) && !(denied & TABLE_NOUSER);
    bool writable = !read_only && !(denied & TABLE_RO);
    bool wxn = writable && (w->c->sctlr & SCTLR_WXN);
    bool uxn = (w->desc & DESC_UXN) || (denied & TABLE_UXN) || (wxn && user);
    bool pxn = (w->desc & DESC_PXN) || (denied & TABLE_PXN) || wxn || (user && writable);

    allowed[XL_LOAD] = (uint8_t)(M_EL1 | (user ? M_EL0 : M_PAN));
    allowed[XL_STORE] = writable ? allowed[XL_LOAD] : 0;
    allowed[XL_FETCH] = (uint8_t)((uxn ? 0 : M_EL0) | (pxn ? 0 : M_EL1 | M_PAN));
    for (unsigned i = 0; i < 3 && closed_to_el0(w); i++)
        allowed[i] &= (uint8_t)~M_EL0;
}

/* --- page tables ------------------------------------------------------------------------------ */

MEM_GUEST_RACES static uint64_t read_desc(const uint64_t *desc)
{
    return GUINT64_FROM_LE(__atomic_load_n(desc, __ATOMIC_ACQUIRE));
}

/* Sets the access flag, and for a store clears the read-only bit of a page whose writes are tracked. */
static int update(struct walk *w, gpa_t at, uint64_t *desc, unsigned level, bool dirty)
{
    uint64_t want = w->desc | DESC_AF;
    bool read_only;

    if (dirty)
        want &= ~DESC_RO;
    if (want == w->desc || w->only_looks)
        return NO_FAULT;
    if (!mmu_pte_replace(&w->c->cpu, at, desc, GUINT64_TO_LE(w->desc), GUINT64_TO_LE(want), &read_only))
        return read_only ? fail(w, A64_FSC_WALK_EXTERNAL + level) : AGAIN;
    w->desc = want;
    return NO_FAULT;
}

/* The leaf *DESC at level LEVEL, of 1 << SHIFT bytes. */
static int leaf(struct walk *w, gpa_t at, uint64_t *desc, unsigned level, unsigned shift)
{
    bool hardware_af = w->c->tcr & TCR_HA;
    bool tracked = hardware_af && (w->c->tcr & TCR_HD) && (w->desc & DESC_DBM);
    bool dirty = tracked && w->access == XL_STORE && (w->desc & DESC_RO);
    gpa_t base = w->desc & ADDRESS_BITS & ~(BIT(shift) - 1);
    uint8_t allowed[3];

    if (base >> output_bits(w->c))
        return fail(w, A64_FSC_ADDRESS_SIZE + level);
    if (!(w->desc & DESC_AF) && !hardware_af && !w->only_looks)
        return fail(w, A64_FSC_ACCESS_FLAG + level);
    rights_of(w, (w->desc & DESC_RO) && !tracked, allowed);
    if (!(allowed[w->access] >> w->tlb_mode & 1))
        return fail(w, A64_FSC_PERMISSION + level);
    int rc = update(w, at, desc, level, dirty);
    if (w->desc & DESC_RO) /* the first store of one that is tracked walks again */
        allowed[XL_STORE] = 0;
    w->out = (struct xl_walk){.gpa = base | (w->va & (BIT(shift) - 1)), .page = BIT(shift),
                              .modes = M_EL0 | M_EL1 | M_PAN, .global = !(w->desc & DESC_NG)};
    memcpy(w->out.allowed, allowed, sizeof(allowed));
    return rc;
}

/* Blocks: of 1 GiB and 2 MiB where the granule is 4 KiB, at level 2 alone where it is larger. */
static bool may_be_block(const struct walk *w, unsigned level)
{
    return level == 2 || (level == 1 && w->granule == 12);
}

/* Does the valid entry map memory? Else it is a table, or reserved. */
static bool is_leaf(const struct walk *w, unsigned level)
{
    bool bit = w->desc & DESC_TABLE;

    return level == LAST_LEVEL ? bit : !bit && may_be_block(w, level);
}

/* From the root down. AGAIN: an entry changed under our hands. */
static int walk_tables(struct walk *w)
{
    unsigned stride = w->granule - 3, levels = (w->bits - w->granule + stride - 1) / stride;
    unsigned first = LAST_LEVEL + 1 - levels;
    unsigned width = w->bits - w->granule - (levels - 1) * stride; /* of the first index */
    gpa_t table = w->c->ttbr[w->high] & ADDRESS_BITS & ~(BIT(MAX(width + 3, 6u)) - 1);

    w->denied = 0;
    w->faults = false;
    for (unsigned level = first; level <= LAST_LEVEL; level++, width = stride) {
        unsigned shift = w->granule + stride * (LAST_LEVEL - level);
        gpa_t at = table + (w->va >> shift & (BIT(width) - 1)) * 8;
        uint64_t *desc = mmu_pte(&w->c->cpu, at);

        if (table >> output_bits(w->c)) /* as the level before has it; the root is level 0 */
            return fail(w, A64_FSC_ADDRESS_SIZE + (level == first ? 0 : level - 1));
        if (!desc)
            return fail(w, A64_FSC_WALK_EXTERNAL + level);
        w->desc = read_desc(desc);
        if ((w->desc & DESC_VALID) && is_leaf(w, level))
            return leaf(w, at, desc, level, shift);
        if (!(w->desc & DESC_VALID) || level == LAST_LEVEL || !(w->desc & DESC_TABLE))
            return fail(w, A64_FSC_TRANSLATION + level);
        w->denied |= w->desc;
        table = w->desc & ADDRESS_BITS & ~(BIT(w->granule) - 1);
    }
    g_assert_not_reached();
}

/* Translation is off: addresses are physical. */
static void walk_flat(struct walk *w)
{
    const uint8_t all = M_EL0 | M_EL1 | M_PAN;

    w->faults = false;
    if (w->va >> 48)
        fail(w, A64_FSC_ADDRESS_SIZE);
    w->out = (struct xl_walk){.gpa = w->va, .page = MEM_PAGE_SIZE, .modes = all,
                              .allowed = {all, all, all}};
}

static void walk(struct walk *w)
{
    int rc = NO_FAULT;

    if (!(w->c->sctlr & SCTLR_M)) {
        walk_flat(w);
        return;
    }
    if (!find_half(w) || (w->tlb_mode == A64_TLB_EL0 && closed_to_el0(w))) {
        fail(w, A64_FSC_TRANSLATION);
        return;
    }
    do
        rc = walk_tables(w);
    while (rc == AGAIN);
}

/* --- what the others ask ---------------------------------------------------------------------- */

static void raise_abort(struct a64_cpu *c, gva_t va, enum xl_access access, unsigned fsc)
{
    a64_raise_at(c, access == XL_FETCH ? A64_EC_FETCH_ABORT : A64_EC_DATA_ABORT,
                 fsc | (access == XL_STORE ? ISS_WNR : 0), va);
}

bool a64_walk(struct xl_cpu *cpu, unsigned tlb_mode, gva_t va, enum xl_access access,
              struct xl_walk *out)
{
    struct a64_cpu *c = a64_cpu(cpu);
    struct walk w = {.c = c, .tlb_mode = tlb_mode, .va = a64_untagged(c, va), .access = access};

    if (w.va != va && access == XL_FETCH) { /* the pc is never tagged (AArch64.BranchAddr()) */
        cpu->fault = A64_FAULT_TAGGED_PC;
        return false;
    }
    if (w.va != va)
        c->tagged = 1;
    walk(&w);
    if (w.faults)
        raise_abort(c, va, access, w.fsc);
    else
        *out = w.out;
    return !w.faults;
}

void a64_access_fault(struct xl_cpu *cpu, gva_t va, enum xl_access access, bool misaligned)
{
    raise_abort(a64_cpu(cpu), va, access, misaligned ? A64_FSC_ALIGNMENT : A64_FSC_EXTERNAL);
}

uint64_t a64_translate(struct a64_cpu *c, unsigned tlb_mode, gva_t va, enum xl_access access)
{
    struct walk w = {.c = c, .tlb_mode = tlb_mode, .va = a64_untagged(c, va), .access = access};

    walk(&w);
    if (w.faults)
        return BIT(0) | (uint64_t)w.fsc << 1 | BIT(11);
    if (!(c->sctlr & SCTLR_M)) /* device memory */
        return (w.out.gpa & ADDRESS_BITS & ~(MEM_PAGE_SIZE - 1)) | BIT(11) | UINT64_C(2) << 7;
    uint64_t attributes = c->mair >> (8 * (w.desc >> ATTR_SHIFT & 7)) & 0xff;
    return (w.out.gpa & ADDRESS_BITS & ~(MEM_PAGE_SIZE - 1)) | attributes << 56 | BIT(11) |
           (w.desc >> SH_SHIFT & 3) << 7;
}

bool a64_look(struct xl_cpu *cpu, gva_t va, gpa_t *gpa, uint64_t *length)
{
    static const enum xl_access kinds[] = {XL_LOAD, XL_FETCH};
    struct a64_cpu *c = a64_cpu(cpu);

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        struct walk w = {.c = c, .tlb_mode = A64_TLB_EL1, .va = a64_untagged(c, va),
                         .access = kinds[i], .only_looks = true};
        walk(&w);
        if (w.faults)
            continue;
        *gpa = w.out.gpa;
        *length = w.out.page - (w.va & (w.out.page - 1));
        return true;
    }
    return false;
}
