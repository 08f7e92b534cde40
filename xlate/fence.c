/*
 * Fences between vCPUs, and pages that hold code. runner.h says how they fit together.
 */
#include "xlate/runner.h"

#include <sched.h>

enum { SPINS = 200 }; /* looks at another vCPU before sleeping */

/* --- requests --------------------------------------------------------------------------------- */

void xlate__request(struct runner *r, uint32_t request)
{
    __atomic_fetch_or(&r->cpu->request, request, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&r->asleep, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&r->lock);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void xlate__attend(struct xl_cpu *cpu)
{
    xlate__request(runner_of(cpu), XL_REQ_IRQ);
}

void xlate__each(struct xl_cpu *cpu, void (*fn)(struct xl_cpu *each))
{
    struct xlate *x = xlate_of(cpu);

    for (unsigned i = 0; i < x->accel.config.vcpus; i++)
        if (x->runner[i])
            fn(x->runner[i]->cpu);
}

/* Wakes those who wait for a fence. After what they wait for, by a sequentially consistent store. */
static void tell_waiters(struct xlate *x)
{
    if (!__atomic_load_n(&x->waiters, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&x->lock);
    pthread_cond_broadcast(&x->passed);
    pthread_mutex_unlock(&x->lock);
}

bool xlate__enter(struct runner *r)
{
    __atomic_exchange_n(&r->place, RUNNER_INSIDE, __ATOMIC_SEQ_CST);
    if (likely(!__atomic_load_n(&r->cpu->request, __ATOMIC_SEQ_CST)))
        return true;
    xlate__leave(r);
    return false;
}

void xlate__leave(struct runner *r)
{
    /* A full fence: stores made inside come before the look at marks. */
    __atomic_exchange_n(&r->place, RUNNER_LEAVING, __ATOMIC_SEQ_CST);
    bool waited = __atomic_load_n(&r->x->waiters, __ATOMIC_SEQ_CST);

    xlate__catch_up_marks(r, true);
    __atomic_store_n(&r->place, RUNNER_OUTSIDE, __ATOMIC_RELEASE);
    if (waited)
        tell_waiters(r->x);
}

/* --- code pages ------------------------------------------------------------------------------- */

void xlate__page_written(void *opaque, struct mem_ram *ram, uint64_t page)
{
    struct xlate *x = opaque;

    /* In this order: whoever flags the page in between has his commit refused. */
    mem_page_clear(ram, page, MEM_PAGE_CODE);
    cache_invalidate_page(x->cache, ram->gpa + page * MEM_PAGE_SIZE);
}

void xlate__code_written(void *opaque, gpa_t gpa, uint64_t length)
{
    struct xlate *x = opaque;
    struct mem_view view;

    mem_map_lookup(x->accel.config.mem, gpa, &view);
    if (view.kind != MEM_RAM || view.length < length)
        return;
    uint64_t first = (gpa - view.ram->gpa) >> MEM_PAGE_SHIFT;
    uint64_t last = (gpa + length - 1 - view.ram->gpa) >> MEM_PAGE_SHIFT;
    for (uint64_t page = first; page <= last; page++) {
        if (mem_page_flags(view.ram, page) & MEM_PAGE_CODE)
            xlate__page_written(x, view.ram, page);
    }
}

void xlate__catch_up_marks(struct runner *r, bool wrote)
{
    uint64_t marks = __atomic_load_n(&r->x->marks, __ATOMIC_SEQ_CST);

    if (likely(marks == r->seen))
        return;
    mmu_drop_code_stores(r->cpu, wrote);
    __atomic_store_n(&r->seen, marks, __ATOMIC_SEQ_CST);
}

void xlate__mark_code(struct runner *r, struct mem_ram *ram, uint64_t page)
{
    if (mem_page_flags(ram, page) & MEM_PAGE_CODE)
        return;
    mem_page_set(ram, page, MEM_PAGE_CODE);
    __atomic_fetch_add(&r->x->marks, 1, __ATOMIC_SEQ_CST);
    xlate__foreign_marked(r->x, ram, page);
    /* Its own entries: what it stored comes before what it will read. */
    xlate__catch_up_marks(r, false);
}

/* --- fences ----------------------------------------------------------------------------------- */

static bool is_all(const struct accel_fence_range *range)
{
    return range->size == UINT64_MAX || (!range->start && !range->size);
}

/* On R's thread. Code fences need only the safepoint that follows, and the marks. */
static void apply(struct runner *r, const struct fence *f)
{
    struct accel_fence_range range = f->range;

    if (f->kind == ACCEL_FENCE_CODE)
        return;
    if (is_all(&range))
        range = (struct accel_fence_range){.size = UINT64_MAX, .asid = range.asid};
    r->x->sys->tlb_fence(r->cpu, range.start, range.size, range.asid,
                         f->kind == ACCEL_FENCE_TLB_ASID);
}

void xlate__do_fences(struct runner *r)
{
    struct fence queue[FENCES_QUEUED];
    unsigned n;
    bool all;
    uint64_t posted;

    __atomic_fetch_and(&r->cpu->request, ~(uint32_t)XL_REQ_FENCE, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&r->lock);
    n = r->queued;
    memcpy(queue, r->queue, n * sizeof(queue[0]));
    all = r->overflow;
    posted = r->posted;
    r->queued = 0;
    r->overflow = false;
    pthread_mutex_unlock(&r->lock);

    if (all)
        mmu_flush_all(r->cpu);
    for (unsigned i = 0; i < n && !all; i++)
        apply(r, &queue[i]);
    xlate__catch_up_marks(r, __atomic_load_n(&r->place, __ATOMIC_RELAXED) == RUNNER_INSIDE);
    __atomic_store_n(&r->done, posted, __ATOMIC_SEQ_CST);
    tell_waiters(r->x);
}

/* Queues FENCE (NULL: only marks) for R; the count that R's done must reach. */
static uint64_t post(struct runner *r, const struct fence *fence)
{
    uint64_t posted;

    pthread_mutex_lock(&r->lock);
    if (fence && r->queued == FENCES_QUEUED)
        r->overflow = true;
    else if (fence)
        r->queue[r->queued++] = *fence;
    posted = ++r->posted;
    pthread_mutex_unlock(&r->lock);
    __atomic_fetch_or(&r->cpu->request, (uint32_t)XL_REQ_FENCE, __ATOMIC_SEQ_CST);
    tell_waiters(r->x); /* it may wait for us meanwhile */
    return posted;
}

/* Has R done what was posted as COUNT, or is it outside, and will before its next instruction? */
static bool passed(const struct runner *r, uint64_t count, bool *leaving)
{
    uint32_t place = __atomic_load_n(&r->place, __ATOMIC_SEQ_CST);

    if (place == RUNNER_OUTSIDE || __atomic_load_n(&r->done, __ATOMIC_SEQ_CST) >= count)
        return true;
    *leaving |= place == RUNNER_LEAVING;
    return false;
}

static bool all_passed(struct xlate *x, uint64_t *targets, const uint64_t *counts, bool *leaving)
{
    *leaving = false;
    for (uint64_t left = *targets; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        if (passed(x->runner[i], counts[i], leaving))
            *targets &= ~(UINT64_C(1) << i);
    }
    return !*targets;
}

/* Waits for the vCPUs in TARGETS; SELF (or NULL), being inside, does its own fences meanwhile. */
static void await(struct xlate *x, struct runner *self, uint64_t targets, const uint64_t *counts)
{
    bool leaving;

    for (unsigned spins = 0; !all_passed(x, &targets, counts, &leaving); spins++) {
        if (self && (__atomic_load_n(&self->cpu->request, __ATOMIC_SEQ_CST) & XL_REQ_FENCE))
            xlate__do_fences(self);
        if (spins < SPINS || leaving) {
            if (spins % 16 == 15)
                sched_yield();
            continue;
        }
        pthread_mutex_lock(&x->lock);
        __atomic_fetch_add(&x->waiters, 1, __ATOMIC_SEQ_CST);
        if (!all_passed(x, &targets, counts, &leaving) && !leaving &&
            !(self && (__atomic_load_n(&self->cpu->request, __ATOMIC_SEQ_CST) & XL_REQ_FENCE)))
            pthread_cond_wait(&x->passed, &x->lock);
        __atomic_fetch_sub(&x->waiters, 1, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&x->lock);
    }
}

/* Adds to TARGETS, by asking them out, the vCPUs whose stores to code pages may be unseen. */
static void post_marks(struct xlate *x, struct runner *self, uint64_t *targets, uint64_t *counts)
{
    uint64_t marks = __atomic_load_n(&x->marks, __ATOMIC_SEQ_CST);

    for (unsigned i = 0; i < x->accel.config.vcpus; i++) {
        struct runner *r = x->runner[i];
        if (!r || r == self || (*targets >> i & 1) ||
            __atomic_load_n(&r->place, __ATOMIC_SEQ_CST) == RUNNER_OUTSIDE ||
            __atomic_load_n(&r->seen, __ATOMIC_SEQ_CST) == marks)
            continue;
        counts[i] = post(r, NULL);
        *targets |= UINT64_C(1) << i;
    }
}

void xlate__fence(struct accel *accel, struct vcpu *from, uint64_t vcpu_mask,
                  enum accel_fence kind, const struct accel_fence_range *range)
{
    struct xlate *x = container_of(accel, struct xlate, accel);
    struct runner *self = from ? x->runner[from->index] : NULL;
    struct fence fence = {.kind = kind};
    uint64_t targets = 0, counts[LIMIT_XLATE_VCPUS];

    if (range)
        fence.range = *range;
    for (unsigned i = 0; i < accel->config.vcpus; i++) {
        struct runner *r = x->runner[i];
        if (!r || !(vcpu_mask >> i & 1))
            continue;
        if (r == self) {
            apply(r, &fence);
            continue;
        }
        counts[i] = post(r, &fence);
        targets |= UINT64_C(1) << i;
    }
    if (kind == ACCEL_FENCE_CODE) {
        if (self) {
            xlate__foreign(self->cpu, NULL);
            xlate__catch_up_marks(self, true);
        }
        post_marks(x, self, &targets, counts);
    }
    await(x, self, targets, counts);
}

void xlate__fence_soon(struct xlate *x, enum accel_fence kind,
                       const struct accel_fence_range *range)
{
    struct fence fence = {.kind = kind, .range = *range};

    for (unsigned i = 0; i < x->accel.config.vcpus; i++) {
        if (x->runner[i])
            post(x->runner[i], &fence);
    }
}

/*
 * Adds to TARGETS, by asking them out, the vCPUs that may still know of dropped units, in their jump caches. One
 * that is outside is asked too: it may have passed its safepoint, and be about to enter.
 */
static void post_behind(struct xlate *x, struct runner *self, uint64_t *targets, uint64_t *counts)
{
    for (unsigned i = 0; i < x->accel.config.vcpus; i++) {
        struct runner *r = x->runner[i];
        if (!r || r == self || !cache_is_behind(r->user))
            continue;
        counts[i] = post(r, NULL);
        *targets |= UINT64_C(1) << i;
    }
}

void xlate__fence_code_all(struct xl_cpu *cpu)
{
    struct runner *self = runner_of(cpu);
    uint64_t targets = 0, counts[LIMIT_XLATE_VCPUS];

    xlate__fence_code(cpu); /* what is to be dropped is dropped then */
    if (self->x->accel.config.vcpus == 1)
        return;
    post_behind(self->x, self, &targets, counts);
    await(self->x, self, targets, counts);
}

void xlate__fence_code(struct xl_cpu *cpu)
{
    struct runner *self = runner_of(cpu);
    uint64_t targets = 0, counts[LIMIT_XLATE_VCPUS];

    /* Its stores come before the look at marks. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    xlate__catch_up_marks(self, true);
    if (self->x->accel.config.vcpus == 1)
        return;
    post_marks(self->x, self, &targets, counts);
    await(self->x, self, targets, counts);
}
