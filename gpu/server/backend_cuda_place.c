/*
 * Memory of the CUDA backend at addresses that the driver did not choose, for what moved here.
 *
 * A driver maps memory at given addresses in pieces of its own grain, 2 MiB as a rule, which
 * several allocations and variables are in. A piece is there as long as one of them is; what it has
 * more than they is beside the quota (gpu_quota_beside()). Pieces are the process's, not the
 * driver's context's, so that they are given back one by one.
 */
#include "gpu/server/backend_cuda_priv.h"

enum { PAGE = 4096 }; /* of whoever has memory at the same address */

static struct cuda_memory memory_of(const struct cuda_backend *b)
{
    return (struct cuda_memory){.type = CUDA_MEMORY_PINNED,
                                .location = {CUDA_LOCATION_DEVICE, b->device}};
}

/* What pieces are multiples of; 0: the driver has none. */
static uint64_t grain(const struct cuda_backend *b)
{
    const struct cuda_memory memory = memory_of(b);
    const struct cuda_driver *d = b->driver;
    size_t bytes = 0;

    if (!d->granularity || !d->address_reserve || !d->address_free || !d->memory_new ||
        !d->memory_free || !d->map || !d->unmap || !d->access ||
        d->granularity(&bytes, &memory, 0) || (bytes & (bytes - 1)))
        return 0;
    return bytes;
}

bool cuda__takes(struct gpu_backend *base, GError **err)
{
    const struct cuda_backend *b = container_of(base, struct cuda_backend, base);

    return grain(b) || vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                                "the %s driver has no memory at given addresses (CUDA 10.2 has)",
                                b->driver->name);
}

static struct cuda_piece *piece(const struct gpu_context *c, guint i)
{
    return &g_array_index(c->pieces, struct cuda_piece, i);
}

/* Index of the first piece that ends behind ADDRESS. */
static guint pieces_from(const struct gpu_context *c, uint64_t address)
{
    guint low = 0, high = c->pieces->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        if (piece(c, middle)->base + piece(c, middle)->bytes <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- one piece -------------------------------------------------------------------------------- */

static int fill(struct gpu_context *c, struct cuda_piece *p)
{
    const struct cuda_access access = {{CUDA_LOCATION_DEVICE, c->backend->device},
                                       CUDA_ACCESS_READ_WRITE};
    const struct cuda_memory memory = memory_of(c->backend);
    int rc = cuda__result(c, c->d->memory_new(&p->handle, p->bytes, &memory, 0));

    if (rc)
        return rc;
    rc = cuda__result(c, c->d->map(p->base, p->bytes, 0, p->handle, 0));
    if (!rc) {
        rc = cuda__result(c, c->d->access(p->base, p->bytes, &access, 1));
        if (rc)
            c->d->unmap(p->base, p->bytes);
    }
    if (rc)
        c->d->memory_free(p->handle);
    return rc;
}

/* A driver that has something at the address reserves another. */
static int reserve(struct gpu_context *c, const struct cuda_piece *p)
{
    uint64_t got = 0;
    int rc = c->d->address_reserve(&got, p->bytes, 0, p->base, 0);

    if (rc || got == p->base)
        return rc;
    c->d->address_free(got, p->bytes);
    return GPU_INVALID_VALUE;
}

static int piece_new(struct gpu_context *c, struct cuda_piece *p)
{
    if (!gpu_quota_beside(c->quota, (int64_t)p->bytes))
        return GPU_OUT_OF_MEMORY;
    int rc = reserve(c, p);
    if (!rc) {
        rc = fill(c, p);
        if (rc)
            c->d->address_free(p->base, p->bytes);
    }
    if (rc)
        gpu_quota_beside(c->quota, -(int64_t)p->bytes);
    return rc;
}

/* Where it cannot be unmapped it stays, and counts. */
static int piece_free(struct gpu_context *c, const struct cuda_piece *p)
{
    int rc = c->d->unmap(p->base, p->bytes);

    if (rc)
        return rc;
    cuda__release_begins(c->backend, p->bytes);
    c->d->memory_free(p->handle);
    c->d->address_free(p->base, p->bytes);
    cuda__release_ends(c->backend, p->bytes);
    gpu_quota_beside_force(c->quota, -(int64_t)p->bytes);
    return rc;
}

/* --- ranges in them --------------------------------------------------------------------------- */

/* One range fewer in what is there from BASE on. What no range is in any more, and the driver does
 * not unmap, is tried again at the context's end. */
static int let_go(struct gpu_context *c, uint64_t base, uint64_t bytes)
{
    guint i = pieces_from(c, base);
    int rc = GPU_SUCCESS;

    while (i < c->pieces->len && piece(c, i)->base < base + bytes) {
        int failed = --piece(c, i)->ranges ? GPU_SUCCESS : piece_free(c, piece(c, i));
        if (piece(c, i)->ranges || failed)
            i++;
        else
            g_array_remove_index(c->pieces, i);
        rc = rc ? rc : failed;
    }
    return rc;
}

/* One range more in what is there from BASE to END; what is not there yet is made. *AT is how far
 * that went. */
static int hold(struct gpu_context *c, uint64_t base, uint64_t end, uint64_t grain, uint64_t *at)
{
    guint i = pieces_from(c, base);
    int rc = GPU_SUCCESS;

    *at = base;
    for (; *at < end; i++) {
        uint64_t next = i < c->pieces->len ? piece(c, i)->base : UINT64_MAX;
        if (next > *at) {
            struct cuda_piece p = {.base = *at & ~(grain - 1)};
            p.bytes = MIN(next, ALIGN_UP(end, grain)) - p.base;
            rc = piece_new(c, &p);
            if (rc)
                return rc;
            g_array_insert_val(c->pieces, i, p);
        }
        piece(c, i)->ranges++;
        *at = piece(c, i)->base + piece(c, i)->bytes;
    }
    return rc;
}

/* What R was charged is its pieces' again, where those stay. */
static void give_back(struct gpu_context *c, const struct cuda_range *r)
{
    gpu_quota_give(c->quota, r->charged);
    gpu_quota_beside_force(c->quota, (int64_t)r->charged);
}

int cuda__place(struct gpu_context *c, const struct gpu_place *place,
                const struct gpu_module *module)
{
    const struct cuda_range r = {.base = place->address,
                                 .bytes = place->bytes,
                                 .charged = place->bytes,
                                 .module = module,
                                 .placed = true};
    uint64_t size = grain(c->backend), at;
    int rc = cuda__enter(c);

    if (rc || !size)
        return rc ? rc : GPU_NOT_SUPPORTED;
    if (!r.base || !r.bytes || r.bytes > (UINT64_C(1) << 48) ||
        r.base > (UINT64_C(1) << 48) - r.bytes || !cuda__range_vacant(c, r.base, r.bytes))
        return GPU_INVALID_VALUE;
    if (!gpu_quota_take(c->quota, r.charged))
        return GPU_OUT_OF_MEMORY;
    gpu_quota_beside(c->quota, -(int64_t)r.charged); /* it is in pieces, which are counted so */
    rc = hold(c, r.base, r.base + r.bytes, size, &at);
    if (!rc) {
        cuda__range_add(c, &r);
        return rc;
    }
    if (at > r.base)
        let_go(c, r.base, at - r.base);
    give_back(c, &r);
    return rc;
}

int cuda__unplace(struct gpu_context *c, const struct cuda_range *r)
{
    int rc = let_go(c, r->base, r->bytes);

    give_back(c, r);
    return rc;
}

int cuda__alloc_at(struct gpu_context *c, uint64_t address, uint64_t bytes)
{
    const struct gpu_place place = {address, ALIGN_UP(bytes, (uint64_t)PAGE)};

    if (address % PAGE || place.bytes < bytes)
        return GPU_INVALID_VALUE;
    return cuda__place(c, &place, NULL);
}

void cuda__places_end(struct gpu_context *c)
{
    for (size_t i = 0; i < c->n_ranges; i++) {
        if (c->ranges[i].placed)
            cuda__unplace(c, &c->ranges[i]);
    }
    for (guint i = 0; i < c->late->len; i++) {
        const struct cuda_range *r = &g_array_index(c->late, struct cuda_range, i);
        if (r->placed)
            cuda__unplace(c, r);
    }
    for (guint i = 0; i < c->pieces->len; i++) {
        if (piece_free(c, piece(c, i))) /* it is the process's until that ends */
            gpu_quota_beside_force(c->quota, -(int64_t)piece(c, i)->bytes);
    }
    g_array_free(c->pieces, TRUE);
}
