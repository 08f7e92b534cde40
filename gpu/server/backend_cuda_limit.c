/*
 * Limits of contexts of the CUDA backend: of a stack, of what is printed, and of the heap. The
 * driver takes memory of the device for them, so what they are raised by counts in the quota.
 */
#include "gpu/server/backend_cuda_priv.h"

/* What VALUE takes of the device's memory: stacks are those of all threads that run at once. */
static bool limit_bytes(const struct gpu_context *c, unsigned limit, uint64_t value,
                        uint64_t *bytes)
{
    enum { PROCESSORS = 16, THREADS = 39 };
    int processors = 0, threads = 0;

    *bytes = value;
    if (limit != CUDA_LIMIT_STACK)
        return true;
    if (c->d->device_attribute(&processors, PROCESSORS, c->backend->device) ||
        c->d->device_attribute(&threads, THREADS, c->backend->device))
        return false;
    return !__builtin_mul_overflow(value, (uint64_t)MAX(processors, 1) * (uint64_t)MAX(threads, 1),
                                   bytes);
}

static int get(struct gpu_context *c, unsigned limit, uint64_t *value)
{
    size_t now = 0;
    int rc = cuda__result(c, c->d->limit_get(&now, (int)limit));

    if (!rc)
        *value = now;
    return rc;
}

/* What it is raised to is charged before, and what it is lowered by is given back after. */
static int set(struct gpu_context *c, unsigned limit, uint64_t now, uint64_t value)
{
    uint64_t had, wants, charged = c->limits[limit];

    if (!limit_bytes(c, limit, now, &had) || !limit_bytes(c, limit, value, &wants))
        return GPU_INVALID_VALUE;
    /* The first of them all is the driver's, and counts with what a context takes. */
    uint64_t free = had - MIN(charged, had), charge = wants - MIN(wants, free);
    if (charge > charged && !gpu_quota_take(c->quota, charge - charged))
        return GPU_OUT_OF_MEMORY;
    int rc = cuda__result(c, c->d->limit_set((int)limit, value));
    uint64_t keeps = rc ? charged : charge;
    gpu_quota_give(c->quota, MAX(charge, charged) - keeps);
    c->limits[limit] = keeps;
    return rc;
}

int cuda__limit(struct gpu_context *c, unsigned limit, bool sets, uint64_t *value)
{
    uint64_t now;
    int rc = cuda__enter(c);

    if (rc)
        return rc;
    if (limit >= CUDA_LIMITS || !c->d->limit_get || !c->d->limit_set)
        return GPU_UNSUPPORTED_LIMIT;
    rc = get(c, limit, &now);
    if (!rc && sets)
        rc = set(c, limit, now, *value);
    return rc ? rc : get(c, limit, value);
}
