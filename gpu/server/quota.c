/* What all contexts of a worker hold together. See backend.h. */
#include "gpu/server/backend.h"

bool gpu_quota_take(struct gpu_quota *q, uint64_t bytes)
{
    uint64_t used = __atomic_load_n(&q->used, __ATOMIC_RELAXED);

    do {
        if (bytes > q->most || used > q->most - bytes)
            return false;
    } while (!__atomic_compare_exchange_n(&q->used, &used, used + bytes, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

void gpu_quota_give(struct gpu_quota *q, uint64_t bytes)
{
    __atomic_fetch_sub(&q->used, bytes, __ATOMIC_RELAXED);
}
