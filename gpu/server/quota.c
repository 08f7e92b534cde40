/* What all contexts of a worker, or of a program, hold together. See backend.h. */
#include "gpu/server/backend.h"

/* MOST without that part of what is taken beside which is not free. */
static uint64_t most_of(const struct gpu_quota *all)
{
    int64_t beside = __atomic_load_n(&all->beside, __ATOMIC_RELAXED);
    int64_t free = (int64_t)MIN(all->most / 4, MIB(LIMIT_GPU_PLACED_MIB));
    uint64_t counts = beside > free ? (uint64_t)(beside - free) : 0;

    return all->most - MIN(all->most, counts);
}

uint64_t gpu_quota_most(const struct gpu_quota *q)
{
    return most_of(q->of ? q->of : q);
}

void gpu_quota_beside_force(struct gpu_quota *q, int64_t bytes)
{
    __atomic_fetch_add(&gpu_quota_all(q)->beside, bytes, __ATOMIC_RELAXED);
}

bool gpu_quota_beside(struct gpu_quota *q, int64_t bytes)
{
    struct gpu_quota *all = gpu_quota_all(q);

    __atomic_fetch_add(&all->beside, bytes, __ATOMIC_RELAXED);
    if (bytes <= 0 || __atomic_load_n(&all->used, __ATOMIC_RELAXED) <= most_of(all))
        return true;
    __atomic_fetch_sub(&all->beside, bytes, __ATOMIC_RELAXED);
    return false;
}

bool gpu_quota_take(struct gpu_quota *q, uint64_t bytes)
{
    struct gpu_quota *all = gpu_quota_all(q);
    uint64_t used = __atomic_load_n(&all->used, __ATOMIC_RELAXED), most = most_of(all);

    do {
        if (bytes > most || used > most - bytes)
            return false;
    } while (!__atomic_compare_exchange_n(&all->used, &used, used + bytes, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    if (all != q)
        __atomic_fetch_add(&q->used, bytes, __ATOMIC_RELAXED);
    meter_memory(q->program, (int64_t)bytes);
    return true;
}

void gpu_quota_give(struct gpu_quota *q, uint64_t bytes)
{
    struct gpu_quota *all = gpu_quota_all(q);

    meter_memory(q->program, -(int64_t)bytes);
    if (all != q)
        __atomic_fetch_sub(&q->used, bytes, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&all->used, bytes, __ATOMIC_RELAXED);
}
