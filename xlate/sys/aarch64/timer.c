/*
 * The generic timers of a vCPU: the counter, the virtual and the physical timer (D11). Both count the
 * guest's time; the virtual offset is 0.
 *
 * A timer's output is a level. Whoever is told of it (config.line) may drive interrupt inputs at once, so
 * that nothing here runs under a lock.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

#define CTL_ENABLE  BIT(0)
#define CTL_IMASK   BIT(1)
#define CTL_ISTATUS BIT(2)
#define NS_PER_S    UINT64_C(1000000000)

uint64_t a64_count(const struct a64_cpu *c)
{
    const struct accel_config *config = a64_config(c);

    return (uint64_t)((unsigned __int128)vm_clock_now(config->clock) * config->timebase_hz / NS_PER_S);
}

uint64_t a64_time_of(const struct a64_cpu *c, uint64_t count)
{
    uint64_t hz = a64_config(c)->timebase_hz;
    unsigned __int128 ns = ((unsigned __int128)count * NS_PER_S + hz - 1) / hz;

    return ns > INT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

static bool condition(const struct a64_timer *timer, uint64_t count)
{
    return (timer->ctl & CTL_ENABLE) && count >= timer->cval;
}

static bool output(const struct a64_timer *timer, uint64_t count)
{
    return condition(timer, count) && !(timer->ctl & CTL_IMASK);
}

/* Who sees that the condition is met finds the interrupt pending too, before the host's timer has
 * told. */
uint64_t a64_timer_ctl(struct a64_cpu *c, const struct a64_timer *timer)
{
    uint64_t count = a64_count(c);

    if (output(timer, count) != timer->line)
        a64_update_timers(c);
    return timer->ctl | (condition(timer, count) ? CTL_ISTATUS : 0);
}

/* The guest time at which an output that is low rises. */
static uint64_t next_rise(const struct a64_cpu *c, uint64_t count)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < A64_TIMERS; i++) {
        const struct a64_timer *timer = &c->timer[i];
        if ((timer->ctl & (CTL_ENABLE | CTL_IMASK)) == CTL_ENABLE && timer->cval > count)
            next = MIN(next, timer->cval);
    }
    return next == UINT64_MAX ? UINT64_MAX : a64_time_of(c, next);
}

void a64_update_timers(struct a64_cpu *c)
{
    static const enum arm_line lines[A64_TIMERS] = {ARM_LINE_VIRTUAL_TIMER, ARM_LINE_PHYSICAL_TIMER};
    const struct accel_config *config = a64_config(c);
    uint64_t count = a64_count(c);

    for (unsigned i = 0; i < A64_TIMERS; i++) {
        bool level = output(&c->timer[i], count);
        if (level == c->timer[i].line)
            continue;
        c->timer[i].line = level;
        if (config->line)
            config->line(config->machine_opaque, c->cpu.vcpu.index, lines[i], level);
    }
    c->cpu.host->timer(&c->cpu, next_rise(c, count));
}

void a64_refresh(struct xl_cpu *cpu)
{
    a64_update_timers(a64_cpu(cpu));
}

bool a64_timer_due(const struct a64_cpu *c, uint64_t *deadline)
{
    uint64_t count = a64_count(c);

    *deadline = next_rise(c, count);
    for (unsigned i = 0; i < A64_TIMERS; i++)
        if (output(&c->timer[i], count) != c->timer[i].line)
            return true;
    return false;
}
