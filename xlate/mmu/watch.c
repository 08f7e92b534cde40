/*
 * Watchpoints: the debugger's, whose accesses are not made but stop the vCPU, and the guest's own,
 * which raise exceptions. Nothing here is reached while nothing is watched.
 */
#include "xlate/mmu/mmu_priv.h"

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

/* --- setting ---------------------------------------------------------------------------------- */

static void changed(struct xl_cpu *cpu)
{
    cpu->mmu->watching = cpu->mmu->n_watches || cpu->mmu->n_own;
    mmu__clear_fast(cpu);
}

void mmu_watch(struct xl_cpu *cpu, const struct mmu_watch *watches, size_t n)
{
    cpu->mmu->watches = watches;
    cpu->mmu->n_watches = n;
    mmu_watch_record(cpu, false);
    changed(cpu);
}

void mmu_watch_own(struct xl_cpu *cpu, const struct mmu_watch *watches, size_t n)
{
    cpu->mmu->own = watches;
    cpu->mmu->n_own = n;
    changed(cpu);
}

void mmu_watch_record(struct xl_cpu *cpu, bool on)
{
    cpu->mmu->recording = on;
    if (on)
        cpu->mmu->noted = NULL;
}

bool mmu_watch_noted(const struct xl_cpu *cpu, gva_t *address, enum accel_watch *kind)
{
    const struct mmu_watch *noted = cpu->mmu->noted;

    if (!noted)
        return false;
    *address = MAX(cpu->mmu->noted_at, noted->first);
    *kind = noted->kind;
    return true;
}

/* --- accesses --------------------------------------------------------------------------------- */

static bool touches(const struct mmu_watch *w, gva_t first, gva_t last)
{
    return first <= w->last && last >= w->first;
}

/* An address as the guest's own watches have it: a tag in its top byte does not count. */
static gva_t untagged(gva_t va)
{
    return (gva_t)((int64_t)(va << 8) >> 8);
}

static bool own_touches(const struct mmu_watch *w, unsigned mode, gva_t first, gva_t last)
{
    return (w->modes >> mode & 1) && touches(w, untagged(first), untagged(last));
}

bool mmu__page_watched(const struct mmu *mmu, unsigned mode, gva_t va)
{
    for (size_t i = 0; i < mmu->n_watches; i++)
        if (touches(&mmu->watches[i], va & ~PAGE_MASK, va | PAGE_MASK))
            return true;
    for (size_t i = 0; i < mmu->n_own; i++)
        if (own_touches(&mmu->own[i], mode, va & ~PAGE_MASK, va | PAGE_MASK))
            return true;
    return false;
}

/* Does the address translate for all that KIND does? False with cpu->fault set. */
static bool translates(struct xl_cpu *cpu, unsigned mode, gva_t va, enum accel_watch kind)
{
    struct mmu_place place;

    return (!(kind & ACCEL_WATCH_READ) || mmu__resolve(cpu, mode, va, XL_LOAD, &place)) &&
           (!(kind & ACCEL_WATCH_WRITE) || mmu__resolve(cpu, mode, va, XL_STORE, &place));
}

/* Faults of translation come before watchpoints. */
static bool own_passes(struct xl_cpu *cpu, unsigned mode, gva_t va, gva_t last,
                       enum accel_watch kind)
{
    const struct mmu *mmu = cpu->mmu;

    for (unsigned i = 0; i < mmu->n_own; i++) {
        const struct mmu_watch *w = &mmu->own[i];
        if (!(w->kind & kind) || !own_touches(w, mode, va, last))
            continue;
        if (!translates(cpu, mode, va, kind) ||
            ((va ^ last) & ~PAGE_MASK && !translates(cpu, mode, last & ~PAGE_MASK, kind)))
            return false;
        gva_t at = untagged(va) < w->first ? va + (w->first - untagged(va)) : va;
        if (mmu->sys->watched(cpu, i, at, kind))
            return false;
    }
    return true;
}

bool mmu__watch_passes(struct xl_cpu *cpu, unsigned mode, gva_t va, unsigned size,
                       enum accel_watch kind)
{
    struct mmu *mmu = cpu->mmu;
    gva_t last = va + (size - 1);

    for (size_t i = 0; i < mmu->n_watches; i++) {
        const struct mmu_watch *w = &mmu->watches[i];
        if (!(w->kind & kind) || !touches(w, va, last))
            continue;
        if (!mmu->recording) {
            cpu->fault = XL_FAULT_WATCH;
            return false;
        }
        if (!mmu->noted) {
            mmu->noted = w;
            mmu->noted_at = va;
        }
    }
    return own_passes(cpu, mode, va, last, kind);
}
