/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* What is looked up: functions by their names, results' names, what a pointer is. See names.h. */
#include "guest/cuda/cuda.h"
#include "guest/cuda/managed.h"
#include "guest/cuda/names.h"
#include "guest/cuda/pool.h"

#include <stdlib.h>
#include <string.h>

/* --- functions -------------------------------------------------------------------------------- */

static int by_symbol(const void *symbol, const void *entry)
{
    return strcmp(symbol, ((const struct cu_entry *)entry)->symbol);
}

enum { FOUND = 0, NOT_FOUND = 1, TOO_OLD = 2 /* as CUdriverProcAddressQueryResult has them */ };

/* The function that VERSION of CUDA calls NAME. */
static const struct cu_entry *find(const char *name, int version, int *status)
{
    const struct cu_entry *best = NULL;

    *status = NOT_FOUND;
    for (size_t i = 0; i < cu_n_entries; i++) {
        const struct cu_entry *e = &cu_entries[i];
        if (strcmp(e->name, name) != 0)
            continue;
        if (e->since > version)
            *status = *status == NOT_FOUND ? TOO_OLD : *status;
        else if (!best || e->since > best->since)
            best = e;
    }
    if (!best) /* or the symbol itself */
        best = bsearch(name, cu_entries, cu_n_entries, sizeof(cu_entries[0]), by_symbol);
    if (best)
        *status = FOUND;
    return best;
}

CU_API CUresult cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                                    int *status)
{
    int why;

    if (!name || !out || flags > 3)
        return CUDA_ERROR_INVALID_VALUE;
    const struct cu_entry *entry = find(name, version, &why);
    *out = entry ? (void *)entry->function : NULL;
    if (status)
        *status = why;
    return entry ? 0 : CUDA_ERROR_NOT_FOUND;
}

CU_API CUresult cuGetProcAddress(const char *name, void **out, int version, uint64_t flags)
{
    return cuGetProcAddress_v2(name, out, version, flags, NULL);
}

/* --- results ---------------------------------------------------------------------------------- */

static const struct cu_error *error_of(int number)
{
    for (size_t i = 0; i < cu_n_errors; i++) {
        if (cu_errors[i].number == number)
            return &cu_errors[i];
    }
    return NULL;
}

CU_API CUresult cuGetErrorName(CUresult error, const char **name)
{
    const struct cu_error *e = error_of(error);

    if (name)
        *name = e ? e->name : NULL;
    return name && e ? 0 : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuGetErrorString(CUresult error, const char **text)
{
    const struct cu_error *e = error_of(error);

    if (text)
        *text = e ? e->text : NULL;
    return text && e ? 0 : CUDA_ERROR_INVALID_VALUE;
}

/* --- pointers --------------------------------------------------------------------------------- */

enum {
    POINTER_CONTEXT = 1,
    POINTER_MEMORY_TYPE = 2,
    POINTER_DEVICE_POINTER = 3,
    POINTER_HOST_POINTER = 4,
    POINTER_IS_MANAGED = 8,
    POINTER_DEVICE_ORDINAL = 9,
    POINTER_RANGE_START = 11,
    POINTER_RANGE_SIZE = 12,
    POINTER_MAPPED = 13,
    POINTER_POOL = 17,
};

struct pointer {
    CUdeviceptr at, base;
    size_t bytes;
    bool host;
    struct cu_context *context;
};

static int look_at(CUdeviceptr at, struct pointer *out)
{
    int rc;

    *out = (struct pointer){.at = at, .context = cu_need(&rc)};
    if (rc)
        return rc;
    out->host = cu_pinned((const void *)(uintptr_t)at, 1);
    if (out->host)
        return 0;
    CUresult cuMemGetAddressRange_v2(CUdeviceptr * base, size_t * bytes, CUdeviceptr address);
    rc = cuMemGetAddressRange_v2(&out->base, &out->bytes, at);
    return rc == CUDA_ERROR_NOT_FOUND ? CUDA_ERROR_INVALID_VALUE : rc;
}

static int tell(const struct pointer *p, int attribute, void *data)
{
    bool managed = !p->host && cu_is_managed(p->at);

    if (!managed && (attribute == POINTER_HOST_POINTER) != p->host &&
        (attribute == POINTER_HOST_POINTER || attribute == POINTER_DEVICE_POINTER))
        return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case POINTER_CONTEXT:
        *(CUcontext *)data = p->context;
        return 0;
    case POINTER_MEMORY_TYPE:
        *(unsigned *)data = p->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return 0;
    case POINTER_DEVICE_POINTER:
    case POINTER_HOST_POINTER:
        *(CUdeviceptr *)data = p->at;
        return 0;
    case POINTER_IS_MANAGED:
        *(unsigned *)data = managed;
        return 0;
    case POINTER_DEVICE_ORDINAL:
        *(int *)data = p->context->device;
        return 0;
    case POINTER_RANGE_START:
        *(CUdeviceptr *)data = p->base;
        return 0;
    case POINTER_RANGE_SIZE:
        *(size_t *)data = p->bytes;
        return 0;
    case POINTER_MAPPED:
        *(unsigned char *)data = 1;
        return 0;
    case POINTER_POOL:
        *(CUmemoryPool *)data = cu_pool_at(p->at);
        return 0;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CU_API CUresult cuPointerGetAttribute(void *data, int attribute, CUdeviceptr at)
{
    struct pointer p;
    int rc = data ? look_at(at, &p) : CUDA_ERROR_INVALID_VALUE;

    return rc ? rc : tell(&p, attribute, data);
}

CU_API CUresult cuPointerGetAttributes(unsigned n, int *attributes, void **data, CUdeviceptr at)
{
    struct pointer p;
    int rc = n && attributes && data ? look_at(at, &p) : CUDA_ERROR_INVALID_VALUE;

    for (unsigned i = 0; !rc && i < n; i++)
        rc = tell(&p, attributes[i], data[i]);
    return rc;
}
