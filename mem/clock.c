/*
 * guest = host + offset while running, = frozen while paused. A sequence count makes the pair one
 * value for readers; there is one writer.
 */
#include "mem/clock.h"

#include <time.h>

struct vm_clock {
    unsigned seq; /* odd while the writer is inside */
    int64_t offset;
    uint64_t frozen;
    bool paused;
    uint64_t epoch; /* time of day at guest time 0, modulo 2^64; never changes */
};

static uint64_t host_time(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t host_now(void)
{
    return host_time(CLOCK_MONOTONIC);
}

struct vm_clock *vm_clock_new(uint64_t start_ns)
{
    struct vm_clock *clock = g_new0(struct vm_clock, 1);

    clock->offset = (int64_t)(start_ns - host_now());
    clock->epoch = host_time(CLOCK_REALTIME) - start_ns;
    return clock;
}

void vm_clock_free(struct vm_clock *clock)
{
    g_free(clock);
}

struct sample {
    int64_t offset;
    uint64_t frozen;
    bool paused;
};

static struct sample sample(const struct vm_clock *clock)
{
    struct sample s;
    unsigned before;

    do {
        before = __atomic_load_n(&clock->seq, __ATOMIC_ACQUIRE);
        s.offset = __atomic_load_n(&clock->offset, __ATOMIC_RELAXED);
        s.frozen = __atomic_load_n(&clock->frozen, __ATOMIC_RELAXED);
        s.paused = __atomic_load_n(&clock->paused, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while ((before & 1) || before != __atomic_load_n(&clock->seq, __ATOMIC_RELAXED));
    return s;
}

static void publish(struct vm_clock *clock, struct sample s)
{
    __atomic_store_n(&clock->seq, clock->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&clock->offset, s.offset, __ATOMIC_RELAXED);
    __atomic_store_n(&clock->frozen, s.frozen, __ATOMIC_RELAXED);
    __atomic_store_n(&clock->paused, s.paused, __ATOMIC_RELAXED);
    __atomic_store_n(&clock->seq, clock->seq + 1, __ATOMIC_RELEASE);
}

uint64_t vm_clock_now(const struct vm_clock *clock)
{
    struct sample s = sample(clock);

    return s.paused ? s.frozen : host_now() + (uint64_t)s.offset;
}

uint64_t vm_clock_time_of_day(const struct vm_clock *clock, uint64_t now_ns)
{
    return clock->epoch + now_ns;
}

void vm_clock_pause(struct vm_clock *clock)
{
    struct sample s = sample(clock);

    if (s.paused)
        return;
    s.frozen = host_now() + (uint64_t)s.offset;
    s.paused = true;
    publish(clock, s);
}

void vm_clock_resume(struct vm_clock *clock)
{
    struct sample s = sample(clock);

    if (!s.paused)
        return;
    s.offset = (int64_t)(s.frozen - host_now());
    s.paused = false;
    publish(clock, s);
}

uint64_t vm_clock_host_deadline(const struct vm_clock *clock, uint64_t guest_ns)
{
    struct sample s = sample(clock);
    uint64_t host;

    if (s.paused)
        return UINT64_MAX;
    host = guest_ns - (uint64_t)s.offset;
    /* A guest time so far off that the sum wraps never comes. */
    return (int64_t)guest_ns < 0 || (int64_t)host < 0 ? UINT64_MAX : host;
}
