/*
 * The run loop: safepoint -> requests -> interrupts -> unit for (pc, mode) -> enter -> reason.
 */
#include "xlate/runner.h"

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

/* Deals with what was asked of R. True: leave accel_vcpu_run(). */
static bool take_requests(struct runner *r)
{
    struct xl_cpu *cpu = r->cpu;
    uint32_t request = __atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST);

    if (likely(!request))
        return false;
    __atomic_fetch_and(&cpu->request, ~(request & ~(uint32_t)XL_REQ_FENCE), __ATOMIC_SEQ_CST);
    if (request & XL_REQ_FENCE)
        xlate__do_fences(r);
    if (request & XL_REQ_IRQ)
        r->x->sys->refresh(cpu);
    return request & XL_REQ_KICK;
}

/* The vCPU waits for an interrupt: so does its thread. */
static void wait_for_interrupt(struct runner *r)
{
    cache_leave(r->user);
    xlate__sleep(r);
    cache_join(r->user);
    r->link = CACHE_NO_LINK;
}

static void enter(struct runner *r, struct cache_unit *unit, struct back_exit *out)
{
    struct xl_cpu *cpu = r->cpu;

    if (!unit->linkable)
        r->link = CACHE_NO_LINK;
    else if (r->link != CACHE_NO_LINK)
        cache_link(r->user, r->link, unit);
    else if (r->jumped)
        cache_remember(r->user, cpu->pc, unit);
    r->link = CACHE_NO_LINK;
    *out = (struct back_exit){.leave = BACK_LEAVE_POLL, .link = CACHE_NO_LINK};
    xlate__timer_arm(r);
    if (!xlate__enter(r))
        return;
    xl_count(&cpu->count.entries, 1);
    cpu->pc_page = cpu->pc & ~PAGE_MASK;
    *out = back_enter(r->x->back, cpu, unit);
    xlate__leave(r);
}

static void take_fault(struct runner *r)
{
    xl_count(&r->cpu->count.faults, 1);
    r->x->sys->take_fault(r->cpu);
}

/* --- the debugger ----------------------------------------------------------------------------- */

static void stop(struct runner *r, enum accel_stop_kind kind)
{
    r->stopped = true;
    r->stop = (struct accel_stop){.kind = kind};
}

/* Runs one instruction, and notes what it accesses of what is watched. False: a request is due,
 * and nothing was run. */
static bool step(struct runner *r)
{
    struct xl_cpu *cpu = r->cpu;
    uint64_t pc = cpu->pc;
    uint32_t mode;
    struct back_exit out = {.leave = BACK_LEAVE_STATE};
    enum xlate_found found;

    cpu->waiting = false;
    xlate__timer_arm(r);
    do { /* twice where the instruction only changed the mode, to be started anew in it */
        mode = cpu->mode;
        mmu_watch_record(cpu, true);
        found = xlate__one(r, &out);
        mmu_watch_record(cpu, false);
    } while (found == XLATE_INTERPRETED && out.leave == BACK_LEAVE_STATE && cpu->pc == pc &&
             cpu->mode != mode);
    r->link = CACHE_NO_LINK;
    r->jumped = false;
    if (found == XLATE_AGAIN)
        return false;
    if (found == XLATE_FAULTED || out.leave == BACK_LEAVE_FAULT) {
        take_fault(r);
    } else {
        struct accel_stop hit = {.kind = ACCEL_STOP_WATCH};
        if (mmu_watch_noted(cpu, &hit.address, &hit.watch)) {
            r->stopped = true;
            r->stop = hit;
        }
    }
    return true;
}

/* The step that the debugger asked for. */
static void asked_step(struct runner *r)
{
    if (r->step == ACCEL_STEP_OPEN)
        r->x->sys->poll(r->cpu);
    if (!step(r))
        return;
    r->step = ACCEL_STEP_OFF;
    if (!r->stopped)
        stop(r, ACCEL_STOP_STEP);
}

/* An instruction left generated code with cpu->fault. */
static void left_by_fault(struct runner *r)
{
    if (likely(r->cpu->fault != XL_FAULT_WATCH)) {
        take_fault(r);
        return;
    }
    r->cpu->fault = 0;
    step(r);
}

/* One turn: from a guest address to the next one that generated code has no answer for. */
static void turn(struct runner *r)
{
    struct cache_unit *unit = NULL;
    struct back_exit out = {.leave = BACK_LEAVE_STATE, .link = CACHE_NO_LINK};

    xlate__timer_arm(r);
    switch (xlate__find(r, &unit, &out)) {
    case XLATE_FAULTED:
        take_fault(r);
        break;
    case XLATE_UNIT:
        enter(r, unit, &out);
        break;
    case XLATE_STOPPED:
        stop(r, ACCEL_STOP_BREAK);
        break;
    case XLATE_INTERPRETED:
    case XLATE_AGAIN:
        break;
    }
    if (out.leave == BACK_LEAVE_FAULT)
        left_by_fault(r);
    r->jumped = out.leave == BACK_LEAVE_MISS;
    r->link = r->jumped ? (uint32_t)out.link : CACHE_NO_LINK;
}

enum vcpu_exit xlate__run(struct vcpu *vcpu)
{
    struct xl_cpu *cpu = container_of(vcpu, struct xl_cpu, vcpu);
    struct runner *r = runner_of(cpu);
    const struct xl_sys *sys = r->x->sys;

    if (r->state_lent)
        sys->loaded(cpu);
    r->state_lent = false;
    r->link = CACHE_NO_LINK;
    r->stopped = false;
    cache_join(r->user);
    while (!r->stopped && !take_requests(r)) {
        if (!cache_safepoint(r->user))
            r->link = CACHE_NO_LINK;
        xlate__catch_up_marks(r, false);
        if (unlikely(r->step)) {
            asked_step(r);
            continue;
        }
        if (sys->poll(cpu))
            r->link = CACHE_NO_LINK;
        if (cpu->waiting)
            wait_for_interrupt(r);
        else
            turn(r);
    }
    cache_leave(r->user);
    return r->stopped ? VCPU_EXIT_DEBUG : VCPU_EXIT_KICKED;
}
