/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Pools. See pool.h. */
#include "guest/cuda/pool.h"

#include "guest/cuda/capture.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 512, LOCATION_DEVICE = 1, ACCESS_READ_WRITE = 3 };

enum {
    REUSE_FOLLOW_EVENTS = 1,
    REUSE_OPPORTUNISTIC = 2,
    REUSE_INTERNAL = 3,
    RELEASE_THRESHOLD = 4,
    RESERVED_CURRENT = 5,
    RESERVED_HIGH = 6,
    USED_CURRENT = 7,
    USED_HIGH = 8,
};

struct block {
    struct block *next;
    struct cu_pool *pool;
    struct cu_context *context;
    CUdeviceptr at;
    size_t bytes;
    bool idle;       /* freed, and kept */
    uint64_t stream; /* that freed it and is not known to be done; 0: any may have it; or GONE */
    uint64_t number; /* when it was freed last */
};

static const uint64_t GONE = UINT64_MAX; /* a stream that was destroyed since */

struct cu_pool {
    struct cu_object o;
    int device, reuse[REUSE_INTERNAL + 1];
    uint64_t most, threshold, reserved, reserved_high, used, used_high;
    bool built_in, leaving; /* the device's own; destroyed, with blocks in use */
};

struct location {
    int type, id;
};

struct pool_props {
    int alloc_type, handle_types;
    struct location location;
    void *security;
    size_t most;
    unsigned short usage;
    unsigned char reserved[54];
};

static struct block *blocks;
static uint64_t freed; /* so many times a block was */
static struct cu_pool *built_in[GPU_DEVICES], *current[GPU_DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct cu_pool *pool_new(int device, uint64_t most)
{
    struct cu_pool *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->o = (struct cu_object){.kind = KIND_POOL, .id = cu_new_id()};
    p->device = device;
    p->most = most;
    for (int i = REUSE_FOLLOW_EVENTS; i <= REUSE_INTERNAL; i++)
        p->reuse[i] = 1;
    return p;
}

/* The device's pools, made when somebody asks for them. Locked. */
static struct cu_pool *pool_of(int device)
{
    if (!built_in[device]) {
        built_in[device] = pool_new(device, 0);
        if (built_in[device])
            built_in[device]->built_in = true;
    }
    if (!current[device])
        current[device] = built_in[device];
    return current[device];
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void count(struct cu_pool *p, uint64_t *now, uint64_t *high, int64_t change)
{
    *now += (uint64_t)change;
    if (*now > *high)
        *high = *now;
}

/* Takes the block that *AT names off the list; its memory is somebody else's affair. Locked. */
static void block_drop(struct block **at)
{
    struct block *b = *at;
    struct cu_pool *p = b->pool;

    *at = b->next;
    if (!b->idle)
        p->used -= b->bytes;
    p->reserved -= b->bytes;
    if (p->leaving && !p->reserved) {
        p->o.kind = 0;
        free(p);
    }
    free(b);
}

/* Frees kept blocks of P, or of all pools, and of C, or of any context, until no more than KEEP
 * bytes are reserved; those that a stream may still use go in its order. How many went. Locked. */
static unsigned release(const struct cu_pool *p, const struct cu_context *c, uint64_t keep)
{
    unsigned n = 0;

    for (struct block **at = &blocks; *at;) {
        struct block *b = *at;
        if (!b->idle || (p && b->pool != p) || (c && b->context != c) ||
            b->pool->reserved <= keep) {
            at = &b->next;
            continue;
        }
        const struct gpu_call_free now = {.ctx = b->context->o.id, .address = b->at};
        const struct gpu_call_free_on later = {.stream = b->stream, .address = b->at};
        if (b->stream && b->stream != GONE)
            channel_post(b->context->o.channel, GPU_OP_FREE_ON, &later, NULL, 0);
        else
            channel_post(b->context->o.channel, GPU_OP_FREE, &now, NULL, 0);
        block_drop(at);
        n++;
    }
    return n;
}

bool cu_pool_release(struct cu_context *c)
{
    const struct gpu_call_ctx_sync sync = {.ctx = c->o.id};

    pthread_mutex_lock(&lock);
    unsigned n = release(NULL, c, 0);
    pthread_mutex_unlock(&lock);
    return n && !cu_call(c->o.channel, GPU_OP_CTX_SYNC, &sync, NULL);
}

uint64_t cu_pool_freed(void)
{
    pthread_mutex_lock(&lock);
    uint64_t n = freed;
    pthread_mutex_unlock(&lock);
    return n;
}

void cu_pool_settle(struct cu_context *c, uint64_t stream, uint64_t until)
{
    pthread_mutex_lock(&lock);
    for (struct block *b = blocks; b; b = b->next) {
        if (b->context == c && b->idle && b->number <= until && (!stream || b->stream == stream))
            b->stream = 0;
    }
    for (struct block **at = &blocks; *at;) {
        struct block *b = *at;
        if (b->context == c && b->idle && !b->stream && b->pool->reserved > b->pool->threshold) {
            const struct gpu_call_free call = {.ctx = c->o.id, .address = b->at};
            channel_post(c->o.channel, GPU_OP_FREE, &call, NULL, 0);
            block_drop(at);
        } else {
            at = &b->next;
        }
    }
    pthread_mutex_unlock(&lock);
}

void cu_pool_gone(uint64_t stream)
{
    pthread_mutex_lock(&lock);
    for (struct block *b = blocks; b; b = b->next) {
        if (b->stream == stream)
            b->stream = GONE;
    }
    pthread_mutex_unlock(&lock);
}

void cu_pool_forget(struct cu_context *c)
{
    pthread_mutex_lock(&lock);
    for (struct block **at = &blocks; *at;) {
        if ((*at)->context == c)
            block_drop(at);
        else
            at = &(*at)->next;
    }
    pthread_mutex_unlock(&lock);
}

/* C's own first: contexts may have the same addresses. Locked. */
static struct block *block_at(CUdeviceptr address, const struct cu_context *c)
{
    struct block *other = NULL;

    for (struct block *b = blocks; b; b = b->next) {
        if (b->at == address && b->context == c)
            return b;
        if (b->at == address && !b->idle)
            other = b;
    }
    return other;
}

bool cu_pool_free(CUdeviceptr address, const struct cu_where *w, int *result)
{
    pthread_mutex_lock(&lock);
    struct block *b = block_at(address, w ? w->context : cu_current());
    *result = b && b->idle ? CUDA_ERROR_INVALID_VALUE : 0;
    if (b && !b->idle) {
        b->idle = true;
        b->stream = w ? w->id : 0;
        b->number = ++freed;
        b->pool->used -= b->bytes;
        if (b->pool->leaving)
            release(b->pool, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return b != NULL;
}

/* The smallest kept block that is not much too large. Locked. */
static struct block *find(const struct cu_pool *p, const struct cu_where *w, size_t bytes)
{
    struct block *best = NULL;

    for (struct block *b = blocks; b; b = b->next) {
        if (b->pool == p && b->context == w->context && b->idle && b->bytes >= bytes &&
            b->bytes / 2 <= bytes && (!b->stream || b->stream == w->id) &&
            (!best || b->bytes < best->bytes))
            best = b;
    }
    return best;
}

static int alloc_new(struct cu_pool *p, const struct cu_where *w, size_t bytes, CUdeviceptr *out)
{
    const struct gpu_call_alloc_on call = {.stream = w->id, .bytes = bytes};
    struct gpu_answer_alloc_on answer;
    struct block *b = malloc(sizeof(*b));
    int rc = b ? cu_call(w->channel, GPU_OP_ALLOC_ON, &call, &answer) : CUDA_ERROR_OUT_OF_MEMORY;

    if (rc == CUDA_ERROR_OUT_OF_MEMORY && b && cu_pool_release(w->context))
        rc = cu_call(w->channel, GPU_OP_ALLOC_ON, &call, &answer);
    if (rc) {
        free(b);
        return rc == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_OUT_OF_MEMORY : rc;
    }
    pthread_mutex_lock(&lock);
    *b = (struct block){
        .next = blocks, .pool = p, .context = w->context, .at = answer.address, .bytes = bytes};
    blocks = b;
    count(p, &p->reserved, &p->reserved_high, (int64_t)bytes);
    count(p, &p->used, &p->used_high, (int64_t)bytes);
    pthread_mutex_unlock(&lock);
    *out = answer.address;
    return 0;
}

static int alloc(struct cu_pool *p, const struct cu_where *w, size_t bytes, CUdeviceptr *out)
{
    size_t rounded = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);

    if (rounded < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    struct block *b = find(p, w, rounded);
    bool full = !b && p->most && p->reserved + rounded > p->most;
    if (b) {
        b->idle = false;
        b->stream = 0;
        count(p, &p->used, &p->used_high, (int64_t)b->bytes);
        *out = b->at;
    }
    pthread_mutex_unlock(&lock);
    return b ? 0 : full ? CUDA_ERROR_OUT_OF_MEMORY : alloc_new(p, w, rounded, out);
}

/* --- as the API has them ------------------------------------------------------------------------
 */

/* Memory of a graph is there from now on, at the address that the node tells. */
static int alloc_captured(const struct cu_where *w, size_t bytes, CUdeviceptr *out)
{
    struct cu_graph_node like = {.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC};
    int rc = cu_hold_new(w->context, bytes, &like.hold);

    if (rc)
        return rc;
    CUdeviceptr at = like.hold->address;
    rc = cu_capture(w, &like);
    cu_hold_put(like.hold); /* the node has one of its own */
    if (!rc)
        *out = at;
    return rc;
}

static int alloc_from(CUdeviceptr *out, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !out || !bytes)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (w.capture)
        return alloc_captured(&w, bytes, out);
    pthread_mutex_lock(&lock);
    struct cu_pool *p = pool ? pool : pool_of(w.context->device);
    pthread_mutex_unlock(&lock);
    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return p->device == w.context->device ? alloc(p, &w, bytes, out) : CUDA_ERROR_INVALID_DEVICE;
}

CU_API CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream)
{
    return alloc_from(address, bytes, NULL, stream);
}

CU_API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool,
                                        CUstream stream)
{
    if (!cu_is(pool, KIND_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    return alloc_from(address, bytes, pool, stream);
}

CU_API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !address)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (w.capture) {
        const struct cu_graph_node like = {.type = CU_GRAPH_NODE_TYPE_MEM_FREE, .address = address};
        return cu_graph_holds(address) ? cu_capture(&w, &like) : CUDA_ERROR_INVALID_VALUE;
    }
    if (cu_hold_free(address, &rc) || cu_pool_free(address, &w, &rc))
        return rc;
    const struct gpu_call_free_on call = {.stream = w.id, .address = address};
    return cu_post(&w, GPU_OP_FREE_ON, &call, NULL, 0);
}

static bool is_device(int device)
{
    return cu.ready && device >= 0 && device < cu.devices;
}

CU_API CUresult cuMemPoolCreate(CUmemoryPool *out, const struct pool_props *props)
{
    if (!out || !props || props->alloc_type != 1 || props->location.type != LOCATION_DEVICE ||
        !is_device(props->location.id))
        return CUDA_ERROR_INVALID_VALUE;
    if (props->handle_types)
        return CUDA_ERROR_NOT_SUPPORTED; /* no other process can have it */
    *out = pool_new(props->location.id, props->most);
    return *out ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}

CU_API CUresult cuMemPoolDestroy(CUmemoryPool p)
{
    if (!cu_is(p, KIND_POOL) || p->built_in)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    if (current[p->device] == p)
        current[p->device] = NULL;
    release(p, NULL, 0);
    bool used = p->reserved;
    p->leaving = true;
    p->o.kind = 0;
    pthread_mutex_unlock(&lock);
    if (!used)
        free(p);
    return 0;
}

CU_API CUresult cuMemPoolTrimTo(CUmemoryPool p, size_t keep)
{
    if (!cu_is(p, KIND_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    release(p, NULL, keep);
    pthread_mutex_unlock(&lock);
    return 0;
}

/* Both high marks may only be set to 0: they begin anew with what there is. */
static int set(struct cu_pool *p, int attribute, const void *value)
{
    switch (attribute) {
    case REUSE_FOLLOW_EVENTS:
    case REUSE_OPPORTUNISTIC:
    case REUSE_INTERNAL:
        p->reuse[attribute] = *(const int *)value != 0;
        return 0;
    case RELEASE_THRESHOLD:
        p->threshold = *(const uint64_t *)value;
        return 0;
    case RESERVED_HIGH:
    case USED_HIGH:
        if (*(const uint64_t *)value)
            return CUDA_ERROR_INVALID_VALUE;
        if (attribute == RESERVED_HIGH)
            p->reserved_high = p->reserved;
        else
            p->used_high = p->used;
        return 0;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static int get(const struct cu_pool *p, int attribute, void *value)
{
    const uint64_t numbers[] = {p->threshold, p->reserved, p->reserved_high, p->used, p->used_high};

    if (attribute < REUSE_FOLLOW_EVENTS || attribute > USED_HIGH)
        return CUDA_ERROR_INVALID_VALUE;
    if (attribute <= REUSE_INTERNAL)
        *(int *)value = p->reuse[attribute];
    else
        *(uint64_t *)value = numbers[attribute - RELEASE_THRESHOLD];
    return 0;
}

CU_API CUresult cuMemPoolSetAttribute(CUmemoryPool p, int attribute, void *value)
{
    if (!value || !cu_is(p, KIND_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int rc = set(p, attribute, value);
    pthread_mutex_unlock(&lock);
    return rc;
}

CU_API CUresult cuMemPoolGetAttribute(CUmemoryPool p, int attribute, void *value)
{
    if (!value || !cu_is(p, KIND_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int rc = get(p, attribute, value);
    pthread_mutex_unlock(&lock);
    return rc;
}

struct access {
    struct location location;
    int flags;
};

/* Its own device has all rights to a pool, and no other device any. */
CU_API CUresult cuMemPoolSetAccess(CUmemoryPool p, const struct access *list, size_t n)
{
    if (!cu_is(p, KIND_POOL) || (n && !list))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < n; i++) {
        if (list[i].location.type != LOCATION_DEVICE || !is_device(list[i].location.id))
            return CUDA_ERROR_INVALID_DEVICE;
        if ((list[i].location.id == p->device) != (list[i].flags == ACCESS_READ_WRITE))
            return list[i].location.id == p->device ? CUDA_ERROR_INVALID_VALUE
                                                    : CUDA_ERROR_NOT_SUPPORTED;
    }
    return 0;
}

CU_API CUresult cuMemPoolGetAccess(int *flags, CUmemoryPool p, const struct location *location)
{
    if (!flags || !location || !cu_is(p, KIND_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    *flags = location->type == LOCATION_DEVICE && location->id == p->device ? ACCESS_READ_WRITE : 0;
    return 0;
}

static int device_pool(CUmemoryPool *out, int device, bool own)
{
    if (!out || !is_device(device))
        return out ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct cu_pool *p = pool_of(device);
    *out = own ? built_in[device] : p;
    pthread_mutex_unlock(&lock);
    return *out ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}

CU_API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *out, CUdevice device)
{
    return device_pool(out, device, true);
}

CU_API CUresult cuDeviceGetMemPool(CUmemoryPool *out, CUdevice device)
{
    return device_pool(out, device, false);
}

CU_API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool p)
{
    if (!is_device(device) || !cu_is(p, KIND_POOL) || p->device != device)
        return is_device(device) ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    current[device] = p;
    pthread_mutex_unlock(&lock);
    return 0;
}

struct cu_pool *cu_pool_at(CUdeviceptr address)
{
    pthread_mutex_lock(&lock);
    const struct block *b = blocks;
    while (b && (b->idle || address < b->at || address - b->at >= b->bytes))
        b = b->next;
    struct cu_pool *p = b ? b->pool : NULL;
    pthread_mutex_unlock(&lock);
    return p;
}
