/* The compare registers and the guest timers behind them; see the header. */
#include "machine/devices/hart_timer.h"

#include <pthread.h>

struct entry {
    struct hart_timer *owner;
    struct guest_timer timer;
    unsigned cpu;
};

struct hart_timer {
    pthread_mutex_t lock;
    uint64_t compare[LIMIT_XLATE_VCPUS];
    bool level[LIMIT_XLATE_VCPUS]; /* of the harts' inputs */
    struct entry entries[LIMIT_XLATE_VCPUS];
    struct hart_timer_config config;
    uint64_t ns_per_tick;
};

uint64_t hart_timer_now(const struct hart_timer *t)
{
    return guest_timers_now(t->config.timers) / t->ns_per_tick;
}

/* Drives CPU's input by its compare register and arms what must change it. Lock held. */
static void evaluate(struct hart_timer *t, unsigned cpu)
{
    uint64_t compare = t->compare[cpu], deadline = UINT64_MAX;
    bool due = hart_timer_now(t) >= compare;

    if (!due && compare < UINT64_MAX / t->ns_per_tick)
        deadline = compare * t->ns_per_tick;
    guest_timer_set(&t->entries[cpu].timer, deadline);
    if (due != t->level[cpu]) {
        t->level[cpu] = due;
        t->config.set_irq(t->config.opaque, cpu, t->config.irq, due);
    }
}

static void on_timer(void *opaque)
{
    struct entry *e = opaque;

    pthread_mutex_lock(&e->owner->lock);
    evaluate(e->owner, e->cpu);
    pthread_mutex_unlock(&e->owner->lock);
}

struct hart_timer *hart_timer_new(const struct hart_timer_config *config)
{
    struct hart_timer *t = g_new0(struct hart_timer, 1);

    g_assert(config->cpus <= LIMIT_XLATE_VCPUS && 1000000000 % config->hz == 0);
    pthread_mutex_init(&t->lock, NULL);
    t->config = *config;
    t->ns_per_tick = 1000000000 / config->hz;
    for (unsigned i = 0; i < config->cpus; i++) {
        t->compare[i] = UINT64_MAX;
        t->entries[i] = (struct entry){.owner = t, .cpu = i};
        t->entries[i].timer = (struct guest_timer){.fn = on_timer, .opaque = &t->entries[i]};
        guest_timer_add(config->timers, &t->entries[i].timer);
    }
    return t;
}

void hart_timer_free(struct hart_timer *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < t->config.cpus; i++)
        guest_timer_remove(&t->entries[i].timer);
    pthread_mutex_destroy(&t->lock);
    g_free(t);
}

void hart_timer_set(struct hart_timer *t, unsigned cpu, uint64_t ticks)
{
    g_assert(cpu < t->config.cpus);
    pthread_mutex_lock(&t->lock);
    t->compare[cpu] = ticks;
    evaluate(t, cpu);
    pthread_mutex_unlock(&t->lock);
}

uint64_t hart_timer_get(struct hart_timer *t, unsigned cpu)
{
    g_assert(cpu < t->config.cpus);
    pthread_mutex_lock(&t->lock);
    uint64_t ticks = t->compare[cpu];
    pthread_mutex_unlock(&t->lock);
    return ticks;
}

void hart_timer_reset(struct hart_timer *t)
{
    for (unsigned i = 0; i < t->config.cpus; i++)
        hart_timer_set(t, i, UINT64_MAX);
}

void hart_timer_restore(struct hart_timer *t, unsigned cpu, uint64_t ticks)
{
    hart_timer_set(t, cpu, ticks);
    pthread_mutex_lock(&t->lock);
    t->config.set_irq(t->config.opaque, cpu, t->config.irq, t->level[cpu]);
    pthread_mutex_unlock(&t->lock);
}
