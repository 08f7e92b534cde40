/* What all contexts of a worker, or of a program, hold together. See backend.h. */
#include "gpu/server/backend.h"

bool gpu_quota_take(struct gpu_quota *q, uint64_t bytes)
{
    struct gpu_quota *all = gpu_quota_all(q);
    uint64_t used = __atomic_load_n(&all->used, __ATOMIC_RELAXED);

    do {
        if (bytes > all->most || used > all->most - bytes)
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
