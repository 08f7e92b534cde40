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
    cpu->count.entries++;
    cpu->pc_page = cpu->pc & ~PAGE_MASK;
    *out = back_enter(r->x->back, cpu, unit);
    xlate__leave(r);
}

static void take_fault(struct runner *r)
{
    r->cpu->count.faults++;
    r->x->sys->take_fault(r->cpu);
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
    case XLATE_INTERPRETED:
    case XLATE_AGAIN:
        break;
    }
    if (out.leave == BACK_LEAVE_FAULT)
        take_fault(r);
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
    cache_join(r->user);
    while (!take_requests(r)) {
        if (!cache_safepoint(r->user))
            r->link = CACHE_NO_LINK;
        xlate__catch_up_marks(r, false);
        if (sys->poll(cpu))
            r->link = CACHE_NO_LINK;
        if (cpu->waiting)
            wait_for_interrupt(r);
        else
            turn(r);
    }
    cache_leave(r->user);
    return VCPU_EXIT_KICKED;
}
