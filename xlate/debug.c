/*
 * The debugger's part: breakpoints, watchpoints, steps.
 *
 * Breakpoints are guest-virtual and units are by guest-physical page, so the pages where breakpoints
 * matter are learnt: wherever a vCPU comes to a code page by an address in whose page a breakpoint
 * is, it comes through xlate__find() (setting a breakpoint makes vCPUs forget where that page is),
 * and a physical page that was not known yet loses its units. In a known page, every place that has a
 * breakpoint's offset begins no unit and is inside none: it is reached through the run loop alone,
 * which stops there, or interprets the instruction where the address is another.
 *
 * What is set changes only while no vCPU runs; PAGES alone changes while they do, under its lock. A
 * vCPU that finds a page flags it before the units are dropped, and whoever compiles looks at the
 * flag after cache_begin(): units made without it are not committed.
 */
#include "xlate/runner.h"

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

enum { INSN_MOST = 16 };

static bool has_offset(const struct debug *d, uint64_t offset)
{
    return d->offsets[offset / 64] >> (offset % 64) & 1;
}

static bool contains(const gva_t *points, size_t n, gva_t va)
{
    for (size_t i = 0; i < n; i++)
        if (points[i] == va)
            return true;
    return false;
}

static bool page_has_point(const struct debug *d, gva_t va)
{
    for (size_t i = 0; i < d->n_points; i++)
        if ((d->points[i] & ~PAGE_MASK) == (va & ~PAGE_MASK))
            return true;
    return false;
}

/* --- setting ---------------------------------------------------------------------------------- */

void xlate__debug_init(struct xlate *x)
{
    pthread_mutex_init(&x->debug.lock, NULL);
    x->debug.pages = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

void xlate__debug_fini(struct xlate *x)
{
    g_hash_table_destroy(x->debug.pages);
    pthread_mutex_destroy(&x->debug.lock);
}

static void set_watches(struct xlate *x, const struct accel_debug *debug)
{
    struct debug *d = &x->debug;

    d->n_watches = MIN(debug->n_watchpoints, LIMIT_DEBUG_POINTS);
    for (size_t i = 0; i < d->n_watches; i++) {
        const struct accel_watchpoint *w = &debug->watchpoints[i];
        gva_t last = w->address + MAX(w->length, 1) - 1;
        d->watches[i] = (struct mmu_watch){
            .first = w->address, .last = last < w->address ? UINT64_MAX : last, .kind = w->kind};
    }
    for (unsigned i = 0; i < x->accel.config.vcpus; i++)
        if (x->runner[i])
            mmu_watch(x->runner[i]->cpu, d->watches, d->n_watches);
}

/* All vCPUs forget where the code page of VA is. */
static void forget_page(struct xlate *x, gva_t va)
{
    for (unsigned i = 0; i < x->accel.config.vcpus; i++)
        if (x->runner[i])
            xl_code_unmap(x->runner[i]->cpu, va & ~PAGE_MASK, true);
}

static void set_points(struct xlate *x, const struct accel_debug *debug)
{
    struct debug *d = &x->debug;
    size_t n = MIN(debug->n_breakpoints, LIMIT_DEBUG_POINTS);
    bool same = n == d->n_points;

    for (size_t i = 0; i < n; i++) {
        if (contains(d->points, d->n_points, debug->breakpoints[i]))
            continue;
        forget_page(x, debug->breakpoints[i]);
        same = false;
    }
    if (same)
        return;
    d->n_points = n;
    d->generation++;
    memset(d->offsets, 0, sizeof(d->offsets));
    for (size_t i = 0; i < n; i++) {
        uint64_t offset = debug->breakpoints[i] & PAGE_MASK;
        d->points[i] = debug->breakpoints[i];
        d->offsets[offset / 64] |= UINT64_C(1) << (offset % 64);
    }
    if (!n)
        g_hash_table_remove_all(d->pages);
}

bool xlate__debug(struct accel *accel, const struct accel_debug *debug)
{
    struct xlate *x = container_of(accel, struct xlate, accel);

    set_points(x, debug);
    set_watches(x, debug);
    __atomic_store_n(&x->debug.on, x->debug.n_points > 0, __ATOMIC_RELAXED);
    return true;
}

/* --- while code is looked for ----------------------------------------------------------------- */

/* The generation for which the units of the page of GPA were dropped; 0: none. */
static uint64_t page_generation(struct debug *d, gpa_t gpa)
{
    gint64 key = (gint64)(gpa & ~PAGE_MASK);

    pthread_mutex_lock(&d->lock);
    uint64_t generation = GPOINTER_TO_SIZE(g_hash_table_lookup(d->pages, &key));
    pthread_mutex_unlock(&d->lock);
    return generation;
}

static void learn_page(struct xlate *x, gpa_t gpa)
{
    struct debug *d = &x->debug;
    gint64 *key;

    if (page_generation(d, gpa) == d->generation)
        return;
    key = g_new(gint64, 1);
    *key = (gint64)(gpa & ~PAGE_MASK);
    pthread_mutex_lock(&d->lock);
    g_hash_table_replace(d->pages, key, GSIZE_TO_POINTER(d->generation));
    pthread_mutex_unlock(&d->lock);
    cache_invalidate_page(x->cache, gpa);
}

enum debug_place xlate__debug_look(struct runner *r, gpa_t gpa)
{
    struct debug *d = &r->x->debug;
    gva_t pc = r->cpu->pc;

    if (page_has_point(d, pc))
        learn_page(r->x, gpa);
    if (!has_offset(d, pc & PAGE_MASK))
        return DEBUG_FREE;
    if (contains(d->points, d->n_points, pc))
        return DEBUG_STOP;
    return page_generation(d, gpa) ? DEBUG_ALONE : DEBUG_FREE;
}

void xlate__debug_cut(struct xlate *x, gpa_t gpa, struct xl_source *source)
{
    struct debug *d = &x->debug;
    uint64_t start = (uint64_t)source->start, end = MIN(start + source->length, MEM_PAGE_SIZE);

    if (!page_generation(d, gpa))
        return;
    for (uint64_t at = start + 1; at < end; at++) {
        if (!has_offset(d, at))
            continue;
        if (at - start < INSN_MOST)
            source->max_insns = 1;
        else
            source->length = (uint32_t)(at - start);
        return;
    }
}

/* --- steps and stops -------------------------------------------------------------------------- */

void xlate__step(struct vcpu *vcpu, enum accel_step step)
{
    runner_of(container_of(vcpu, struct xl_cpu, vcpu))->step = step;
}

void xlate__stop(struct vcpu *vcpu, struct accel_stop *out)
{
    *out = runner_of(container_of(vcpu, struct xl_cpu, vcpu))->stop;
}
