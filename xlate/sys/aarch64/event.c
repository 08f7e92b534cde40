/*
 * Events (B2.10, D1.6): SEV and SEVL, and WFE, which waits for them.
 *
 * WFE ends by the event register, which SEV of any vCPU, SEVL and ERET set, by an interrupt that is
 * not masked, by the event stream of the counter, and where the exclusive monitor is lost. No store
 * of another vCPU is seen for that: the word that the monitor holds is compared instead. A wait
 * goes from spinning, in the hope that another vCPU is about to do its part, to sleep. WFE may end
 * for no reason at all, and does where the run loop has something else to do.
 *
 * Sleep and SEV: whoever waits says so in WFE before it looks at the event register; whoever
 * signals sets that before it looks at WFE.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

#include <sched.h>

/* CNTKCTL_EL1 */
#define CNTKCTL_EVNTEN  BIT(2)
#define CNTKCTL_EVNTDIR BIT(3)
enum { EVNTI_SHIFT = 4 };

enum {
    SPIN_MONITOR_NS = 100000, /* a lock's holder, or who answers a call, seldom takes longer */
    SPIN_NS = 10000,
    LOOK_NS = 50000,    /* between looks at the monitor's word, asleep */
    LATE_NS = 50000,    /* what a host sleeps too long */
    REST_NS = 10000000, /* without an event stream */
};

static bool take_event(struct a64_cpu *c)
{
    return __atomic_exchange_n(&c->event, 0, __ATOMIC_SEQ_CST);
}

/* --- signals ---------------------------------------------------------------------------------- */

static void signal_event(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);

    __atomic_store_n(&c->event, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&c->wfe, __ATOMIC_SEQ_CST))
        cpu->host->attend(cpu);
}

uint64_t a64_help_sev(struct xl_cpu *cpu, uint64_t local)
{
    if (local)
        __atomic_store_n(&a64_cpu(cpu)->event, 1, __ATOMIC_RELAXED);
    else
        cpu->host->each(cpu, signal_event);
    return 0;
}

/* --- the monitor ------------------------------------------------------------------------------ */

/* Notes the word that the monitor holds; none where it is open, holds a pair, or its page is not at
 * hand. */
static void note_monitor(struct a64_cpu *c)
{
    uint64_t tag = c->cpu.slots[A64_SLOT_EXCL_TAG];
    gva_t va = (gva_t)((int64_t)(tag << 8) >> 8);
    unsigned log2 =
        (unsigned)((tag ^ va) >> 56) - 1; /* an address with a tag of its own has none */

    c->wfe_word = NULL;
    if (tag == A64_EXCL_NONE || log2 > 3)
        return;
    c->wfe_word = mmu_at_hand(&c->cpu, va);
    c->wfe_log2 = (uint8_t)log2;
    c->wfe_value = c->cpu.slots[A64_SLOT_EXCL_VALUE];
}

MEM_GUEST_RACES static bool monitor_lost(const struct a64_cpu *c)
{
    const void *word = c->wfe_word;

    if (!word)
        return false;
    switch (c->wfe_log2) {
    case 0:
        return __atomic_load_n((const uint8_t *)word, __ATOMIC_RELAXED) != (uint8_t)c->wfe_value;
    case 1:
        return __atomic_load_n((const uint16_t *)word, __ATOMIC_RELAXED) !=
               GUINT16_TO_LE((uint16_t)c->wfe_value);
    case 2:
        return __atomic_load_n((const uint32_t *)word, __ATOMIC_RELAXED) !=
               GUINT32_TO_LE((uint32_t)c->wfe_value);
    default:
        return __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED) !=
               GUINT64_TO_LE(c->wfe_value);
    }
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* The guest time by which WFE ends at the latest: the event stream's next event. */
static uint64_t latest(const struct a64_cpu *c, uint64_t now)
{
    unsigned bit = c->cntkctl >> EVNTI_SHIFT & 15;
    uint64_t period = UINT64_C(2) << bit, count = a64_count(c);
    uint64_t phase = c->cntkctl & CNTKCTL_EVNTDIR ? 0 : period / 2; /* the bit falls, or rises */

    if (!(c->cntkctl & CNTKCTL_EVNTEN))
        return now + REST_NS;
    return MIN(now + REST_NS, a64_time_of(c, count + period - (count - phase) % period));
}

/* False where nothing came while it was worth spinning, with a word to look at or without. */
static bool spin(struct a64_cpu *c, uint64_t now)
{
    uint64_t end = now + (c->wfe_word ? SPIN_MONITOR_NS : SPIN_NS);

    do {
        if (monitor_lost(c) || take_event(c) || __atomic_load_n(&c->cpu.request, __ATOMIC_RELAXED))
            return true;
        sched_yield();
    } while (vm_clock_now(a64_config(c)->clock) < end);
    return false;
}

uint64_t a64_help_wfe(struct xl_cpu *cpu)
{
    struct a64_cpu *c = a64_cpu(cpu);
    uint64_t now;

    if (take_event(c)) {
        cpu->pc += 4;
        return 0;
    }
    if (c->el == A64_EL0 && !(c->sctlr & SCTLR_NTWE)) {
        a64_trap_wait(c, true);
        return 0;
    }
    cpu->pc += 4;
    note_monitor(c);
    now = vm_clock_now(a64_config(c)->clock);
    if (a64_config(c)->vcpus > 1 && !c->wfe_tired && spin(c, now))
        return 0;
    c->wfe_until = latest(c, now);
    __atomic_store_n(&c->wfe, 1, __ATOMIC_SEQ_CST);
    cpu->waiting = true;
    return 0;
}

/* A wait that took its whole time is taken up again without spinning. */
static bool wait_ends(struct a64_cpu *c, bool late)
{
    __atomic_store_n(&c->wfe, 0, __ATOMIC_RELAXED);
    c->wfe_tired = late;
    return false;
}

bool a64_wfe_idle(struct a64_cpu *c, uint64_t *deadline)
{
    uint64_t now = vm_clock_now(a64_config(c)->clock), timer;

    if (take_event(c) || monitor_lost(c))
        return wait_ends(c, false);
    if (now + LATE_NS >= c->wfe_until)
        return wait_ends(c, true);
    if (a64_timer_due(c, &timer)) {
        __atomic_fetch_or(&c->cpu.request, (uint32_t)XL_REQ_IRQ, __ATOMIC_SEQ_CST);
        return wait_ends(c, false);
    }
    *deadline = MIN(timer, c->wfe_until - LATE_NS);
    if (c->wfe_word)
        *deadline = MIN(*deadline, now + LOOK_NS);
    return true;
}
