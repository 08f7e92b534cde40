/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Memory of the device and of the host. See cuda.h. */
#include "guest/cuda/capture.h"
#include "guest/cuda/managed.h"
#include "guest/cuda/pool.h"

#include <stdlib.h>

/* --- memory of the device --------------------------------------------------------------------- */

CU_API CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    int rc;
    struct cu_context *c = cu_need(&rc);
    struct gpu_answer_alloc answer;

    if (!c || !address || !bytes)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    rc = cu_capture_unsafe();
    if (rc)
        return rc;
    const struct gpu_call_alloc call = {.ctx = c->o.id, .bytes = bytes};
    rc = cu_call(c->o.channel, GPU_OP_ALLOC, &call, &answer);
    if (rc == CUDA_ERROR_OUT_OF_MEMORY && cu_pool_release(c))
        rc = cu_call(c->o.channel, GPU_OP_ALLOC, &call, &answer);
    if (!rc)
        *address = answer.address;
    else if (rc == CUDA_ERROR_INVALID_VALUE) /* more than any device has */
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    return rc;
}

/* What uses the memory is done first. */
CU_API CUresult cuMemFree_v2(CUdeviceptr address)
{
    int rc;
    struct cu_context *c = cu_need(&rc);

    if (!c || !address)
        return rc;
    const uint64_t freed = cu_pool_freed();
    const struct gpu_call_ctx_sync sync = {.ctx = c->o.id};
    const struct gpu_call_free call = {.ctx = c->o.id, .address = address};
    rc = cu_capture_unsafe();
    if (!rc)
        rc = cu_call(c->o.channel, GPU_OP_CTX_SYNC, &sync, NULL);
    if (rc || cu_hold_free(address, &rc))
        return rc;
    if (cu_pool_free(address, NULL, &rc)) {
        cu_pool_settle(c, 0, freed);
        return rc;
    }
    rc = cu_call(c->o.channel, GPU_OP_FREE, &call, NULL);
    if (!rc && cu_managing())
        cu_managed_free(address);
    return rc;
}

CU_API CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
                                   unsigned element)
{
    size_t row = (width + 511) / 512 * 512;

    if (!pitch || !width || !height || row < width || row > SIZE_MAX / height ||
        (element != 4 && element != 8 && element != 16))
        return CUDA_ERROR_INVALID_VALUE;
    int rc = cuMemAlloc_v2(address, row * height);
    if (!rc)
        *pitch = row;
    return rc;
}

CU_API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);
    struct gpu_answer_memory answer;

    if (!c || !free_bytes || !total)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    const struct gpu_call_memory call = {.ctx = c->o.id};
    rc = cu_call(c->o.channel, GPU_OP_MEMORY, &call, &answer);
    if (rc)
        return rc;
    *free_bytes = answer.free;
    *total = answer.total;
    return 0;
}

CU_API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);
    struct gpu_answer_range answer;

    if (!c)
        return rc;
    const struct gpu_call_range call = {.ctx = c->o.id, .address = address};
    rc = cu_call(c->o.channel, GPU_OP_RANGE, &call, &answer);
    if (rc)
        return rc == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_NOT_FOUND : rc;
    if (base)
        *base = answer.base;
    if (bytes)
        *bytes = answer.bytes;
    return 0;
}

/* --- memory of the host ----------------------------------------------------------------------- */

struct pinned {
    struct pinned *next;
    char *at;
    size_t bytes;
    unsigned flags;
    bool ours;
};

static struct pinned *pinned;
static pthread_mutex_t pinned_lock = PTHREAD_MUTEX_INITIALIZER;

bool cu_pinned(const void *host, size_t bytes)
{
    const char *at = host;

    pthread_mutex_lock(&pinned_lock);
    const struct pinned *p = pinned;
    while (p && !(at >= p->at && bytes <= p->bytes && (size_t)(at - p->at) <= p->bytes - bytes))
        p = p->next;
    pthread_mutex_unlock(&pinned_lock);
    return p != NULL;
}

static int pin(void *at, size_t bytes, unsigned flags, bool ours)
{
    struct pinned *p = malloc(sizeof(*p));

    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&pinned_lock);
    *p = (struct pinned){pinned, at, bytes, flags, ours};
    pinned = p;
    pthread_mutex_unlock(&pinned_lock);
    return 0;
}

/* Takes what begins at AT off the list. */
static bool unpin(const void *at, bool ours)
{
    struct pinned *found = NULL;

    pthread_mutex_lock(&pinned_lock);
    for (struct pinned **p = &pinned; *p && !found; p = &(*p)->next) {
        if ((*p)->at == at && (*p)->ours == ours) {
            found = *p;
            *p = found->next;
            break;
        }
    }
    pthread_mutex_unlock(&pinned_lock);
    free(found);
    return found != NULL;
}

CU_API CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned flags)
{
    int rc;

    if (!cu_need(&rc) || !out || !bytes || flags > 7)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (flags & 2) /* mapped into the device */
        return CUDA_ERROR_NOT_SUPPORTED;
    rc = cu_capture_unsafe();
    if (rc)
        return rc;
    void *at = bytes > SIZE_MAX - 4095 ? NULL : aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    rc = at ? pin(at, bytes, flags, true) : CUDA_ERROR_OUT_OF_MEMORY;
    if (rc)
        free(at);
    else
        *out = at;
    return rc;
}

CU_API CUresult cuMemAllocHost_v2(void **out, size_t bytes)
{
    return cuMemHostAlloc(out, bytes, 0);
}

CU_API CUresult cuMemFreeHost(void *at)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);

    if (!c)
        return rc;
    const struct gpu_call_ctx_sync sync = {.ctx = c->o.id};
    cu_call(c->o.channel, GPU_OP_CTX_SYNC, &sync, NULL); /* nothing copies to it any more */
    if (!unpin(at, true))
        return CUDA_ERROR_INVALID_VALUE;
    free(at);
    return 0;
}

CU_API CUresult cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags)
{
    int rc;

    if (!cu_need(&rc) || !at || !bytes)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (flags & 2)
        return CUDA_ERROR_NOT_SUPPORTED;
    return cu_pinned(at, 1) ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
                            : pin(at, bytes, flags, false);
}

CU_API CUresult cuMemHostUnregister(void *at)
{
    return unpin(at, false) ? 0 : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

CU_API CUresult cuMemHostGetFlags(unsigned *flags, void *at)
{
    int rc = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&pinned_lock);
    for (const struct pinned *p = pinned; p; p = p->next) {
        if (p->at == at && flags) {
            *flags = p->flags;
            rc = 0;
        }
    }
    pthread_mutex_unlock(&pinned_lock);
    return rc;
}
