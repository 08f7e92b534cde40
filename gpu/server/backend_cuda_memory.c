/* Memory of the CUDA backend: allocations, which a quota counts, and pinned memory of the host. */
#include "gpu/server/backend_cuda_priv.h"

enum {
    UNIT = 512,  /* what the driver aligns allocations to, and is counted at least */
    PORTABLE = 1 /* CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTREGISTER_PORTABLE */
};

/* --- ranges ----------------------------------------------------------------------------------- */

/* The number of ranges that begin at ADDRESS or before. */
static size_t ranges_before(const struct gpu_context *c, uint64_t address)
{
    size_t low = 0, high = c->n_ranges;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->ranges[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct cuda_range *range_of(struct gpu_context *c, uint64_t address)
{
    size_t n = ranges_before(c, address);
    struct cuda_range *r = n ? &c->ranges[n - 1] : NULL;

    return r && address - r->base < r->bytes ? r : NULL;
}

struct cuda_range *cuda__range_at(struct gpu_context *c, uint64_t address)
{
    struct cuda_range *r = range_of(c, address);

    return r && r->base == address ? r : NULL;
}

bool cuda__range_vacant(const struct gpu_context *c, uint64_t base, uint64_t bytes)
{
    size_t n = ranges_before(c, base + bytes - 1);

    return !n || c->ranges[n - 1].base + c->ranges[n - 1].bytes <= base;
}

void cuda__range_add(struct gpu_context *c, const struct cuda_range *r)
{
    size_t at = ranges_before(c, r->base);

    if ((c->n_ranges & (c->n_ranges - 1)) == 0) /* room for twice as many at each power of two */
        c->ranges = g_renew(struct cuda_range, c->ranges, MAX(2 * c->n_ranges, 16));
    memmove(c->ranges + at + 1, c->ranges + at, (c->n_ranges - at) * sizeof(*r));
    c->ranges[at] = *r;
    c->n_ranges++;
}

static void range_drop(struct gpu_context *c, struct cuda_range *r)
{
    size_t at = (size_t)(r - c->ranges);

    memmove(r, r + 1, (c->n_ranges - at - 1) * sizeof(*r));
    c->n_ranges--;
}

void cuda__ranges_drop(struct gpu_context *c, const struct gpu_module *module)
{
    for (size_t i = c->n_ranges; i-- > 0;) {
        const struct cuda_range r = c->ranges[i];
        if (r.module != module)
            continue;
        range_drop(c, &c->ranges[i]);
        if (r.placed)
            cuda__unplace(c, &r);
    }
}

int cuda__range(struct gpu_context *c, uint64_t address, uint64_t *base, uint64_t *bytes)
{
    const struct cuda_range *r = range_of(c, address);

    if (!r)
        return GPU_INVALID_VALUE;
    *base = r->base;
    *bytes = r->bytes;
    return GPU_SUCCESS;
}

/* --- allocations ------------------------------------------------------------------------------ */

int cuda__memory(struct gpu_context *c, uint64_t *free, uint64_t *total)
{
    const struct gpu_quota *all = gpu_quota_all(c->quota);
    uint64_t used = __atomic_load_n(&all->used, __ATOMIC_RELAXED) - c->late_bytes;
    uint64_t most = gpu_quota_most(all);
    size_t device_free = 0, device_total = 0;
    int rc = cuda__enter(c);

    if (!rc)
        rc = cuda__result(c, c->d->memory_info(&device_free, &device_total));
    if (rc)
        return rc;
    *total = MIN(all->most, device_total);
    *free = MIN(most - MIN(used, most), device_free + c->late_bytes);
    return GPU_SUCCESS;
}

static int alloc_now(struct gpu_context *c, struct cuda_range *r)
{
    if (!gpu_quota_take(c->quota, r->charged))
        return GPU_OUT_OF_MEMORY;
    int rc = cuda__result(c, c->d->alloc(&r->base, r->bytes));
    if (rc)
        gpu_quota_give(c->quota, r->charged);
    return rc;
}

int cuda__alloc(struct gpu_context *c, uint64_t bytes, uint64_t *address)
{
    struct cuda_range r = {.bytes = bytes, .charged = ALIGN_UP(bytes, (uint64_t)UNIT)};
    int rc = cuda__enter(c);

    if (!rc)
        rc = alloc_now(c, &r);
    if (rc == GPU_OUT_OF_MEMORY && c->late->len) {
        rc = cuda__context_query(c);
        if (!rc) /* what was to be freed is */
            rc = alloc_now(c, &r);
    }
    if (rc)
        return rc;
    cuda__range_add(c, &r);
    *address = r.base;
    return GPU_SUCCESS;
}

/* The quota is given back what R took, whatever the driver says. */
static int release(struct gpu_context *c, const struct cuda_range *r)
{
    if (r->placed)
        return cuda__unplace(c, r);
    cuda__release_begins(c->backend, r->charged);
    int rc = cuda__result(c, c->d->free(r->base));
    cuda__release_ends(c->backend, r->charged);
    gpu_quota_give(c->quota, r->charged);
    return rc;
}

/*
 * The driver frees only when all that runs is done, and keeps its caller waiting until then; and
 * what runs may wait for this very session, by a function of the host. So it is asked to free when
 * nothing runs: until then the memory is nobody's, and counts.
 */
int cuda__free(struct gpu_context *c, uint64_t address)
{
    struct cuda_range *r = range_of(c, address);
    int rc = cuda__enter(c);

    if (!r || r->base != address || r->module)
        return GPU_INVALID_VALUE;
    const struct cuda_range freed = *r;
    range_drop(c, r);
    if (rc || cuda__context_query(c) != GPU_NOT_READY)
        return release(c, &freed);
    g_array_append_val(c->late, freed);
    c->late_bytes += freed.charged;
    return GPU_SUCCESS;
}

int cuda__free_on(struct gpu_stream *s, uint64_t address)
{
    struct gpu_context *c = s->context;
    int rc = cuda__free(c, address);

    /* As every error of what a stream does. */
    return rc == GPU_INVALID_VALUE && c->error ? c->error : rc;
}

void cuda__free_late(struct gpu_context *c)
{
    for (guint i = 0; i < c->late->len; i++)
        release(c, &g_array_index(c->late, struct cuda_range, i));
    g_array_set_size(c->late, 0);
    c->late_bytes = 0;
}

/* --- memory of the host ----------------------------------------------------------------------- */

void *cuda__buffer_new(struct gpu_context *c, size_t bytes)
{
    void *slab;

    g_assert(bytes <= CUDA_BLOCK);
    if (!c->blocks->len) {
        if (cuda__enter(c) || c->d->host_alloc(&slab, CUDA_SLAB, PORTABLE))
            return NULL;
        g_ptr_array_add(c->slabs, slab);
        for (size_t at = 0; at < CUDA_SLAB; at += CUDA_BLOCK)
            g_ptr_array_add(c->blocks, (uint8_t *)slab + at);
    }
    void *block = g_ptr_array_index(c->blocks, c->blocks->len - 1);
    g_ptr_array_set_size(c->blocks, (int)c->blocks->len - 1);
    memset(block, 0, bytes);
    return block;
}

void cuda__buffer_free(struct gpu_context *c, void *buffer)
{
    g_ptr_array_add(c->blocks, buffer);
}

/* Where it cannot be registered, or is already for another context of the same program, copies take
 * the driver's own way. */
void cuda__window(struct gpu_context *c, void *at, uint64_t bytes)
{
    if (!cuda__enter(c) && c->d->host_register(at, bytes, PORTABLE) == GPU_SUCCESS)
        c->window = at;
}

void cuda__host_memory_end(struct gpu_context *c)
{
    if (c->window)
        c->d->host_unregister(c->window);
    for (guint i = 0; i < c->slabs->len; i++)
        c->d->host_free(g_ptr_array_index(c->slabs, i));
}

void cuda__memory_end(struct gpu_context *c)
{
    for (size_t i = 0; i < c->n_ranges; i++) {
        if (!c->ranges[i].placed)
            gpu_quota_give(c->quota, c->ranges[i].charged);
    }
    for (guint i = 0; i < c->late->len; i++) {
        const struct cuda_range *r = &g_array_index(c->late, struct cuda_range, i);
        if (!r->placed)
            gpu_quota_give(c->quota, r->charged);
    }
    cuda__places_end(c);
    for (unsigned i = 0; i < CUDA_LIMITS; i++)
        gpu_quota_give(c->quota, c->limits[i]);
    g_ptr_array_free(c->slabs, TRUE);
    g_ptr_array_free(c->blocks, TRUE);
    g_array_free(c->late, TRUE);
    g_free(c->ranges);
}
