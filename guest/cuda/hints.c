/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* What only hints or tells others: profilers, advice about memory, attributes of streams. */
#include "guest/cuda/cuda.h"
#include "guest/cuda/managed.h"

#include <string.h>

/* No profiler looks on. */
CU_API CUresult cuProfilerStart(void)
{
    return cu.ready ? 0 : CUDA_ERROR_NOT_INITIALIZED;
}

CU_API CUresult cuProfilerStop(void)
{
    return cu.ready ? 0 : CUDA_ERROR_NOT_INITIALIZED;
}

/* No device here has concurrent managed access, without which CUDA knows no device to go to. */
static int advise(CUdeviceptr at, size_t bytes, bool device)
{
    if (!bytes || !cu_is_managed(at))
        return CUDA_ERROR_INVALID_VALUE;
    return device ? CUDA_ERROR_INVALID_DEVICE : 0;
}

enum { CPU = -1 };

CU_API CUresult cuMemPrefetchAsync(CUdeviceptr at, size_t bytes, CUdevice device, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    return rc ? rc : advise(at, bytes, device != CPU);
}

CU_API CUresult cuMemAdvise(CUdeviceptr at, size_t bytes, int advice, CUdevice device)
{
    enum { SET_READ_MOSTLY = 1, UNSET_READ_MOSTLY, SET_PLACE, UNSET_PLACE };

    if (advice < SET_READ_MOSTLY || advice > 6)
        return CUDA_ERROR_INVALID_VALUE;
    return advise(at, bytes, advice > UNSET_READ_MOSTLY && device != CPU);
}

/* Where memory is to be, since CUDA 12.2: a device, or the program's side. */
struct location {
    int type, id;
};

enum { LOCATION_DEVICE = 1 };

CU_API CUresult cuMemPrefetchAsync_v2(CUdeviceptr at, size_t bytes, struct location to,
                                      unsigned flags, CUstream stream)
{
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    return cuMemPrefetchAsync(at, bytes, to.type == LOCATION_DEVICE ? to.id : CPU, stream);
}

CU_API CUresult cuMemAdvise_v2(CUdeviceptr at, size_t bytes, int advice, struct location to)
{
    return cuMemAdvise(at, bytes, advice, to.type == LOCATION_DEVICE ? to.id : CPU);
}

/* --- attributes of streams -------------------------------------------------------------------- */

union stream_attribute {
    char bytes[64];
    int policy, priority;
};

enum { ACCESS_POLICY_WINDOW = 1, SYNCHRONIZATION_POLICY = 3, PRIORITY = 8 };

CU_API CUresult cuStreamGetAttribute(CUstream stream, int attribute, union stream_attribute *value)
{
    struct cu_where w;
    int rc = value ? cu_where_plain(stream, &w) : CUDA_ERROR_INVALID_VALUE;

    if (rc)
        return rc;
    memset(value, 0, sizeof(*value));
    switch (attribute) {
    case PRIORITY:
        value->priority = w.stream ? w.stream->priority : 0;
        return 0;
    case SYNCHRONIZATION_POLICY:
        value->policy = 1; /* as it is best */
        return 0;
    case ACCESS_POLICY_WINDOW:
        return 0;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CU_API CUresult cuStreamSetAttribute(CUstream stream, int attribute,
                                     const union stream_attribute *value)
{
    struct cu_where w;
    int rc = value ? cu_where_plain(stream, &w) : CUDA_ERROR_INVALID_VALUE;

    if (rc)
        return rc;
    return attribute == SYNCHRONIZATION_POLICY || attribute == ACCESS_POLICY_WINDOW
               ? 0
               : CUDA_ERROR_NOT_SUPPORTED;
}

CU_API CUresult cuStreamCopyAttributes(CUstream to, CUstream from)
{
    struct cu_where w;
    int rc = cu_where_plain(to, &w);

    return rc ? rc : cu_where_plain(from, &w);
}

CU_API CUresult cuStreamGetDevice(CUstream stream, CUdevice *device)
{
    struct cu_where w;
    int rc = device ? cu_where_plain(stream, &w) : CUDA_ERROR_INVALID_VALUE;

    if (!rc)
        *device = w.context->device;
    return rc;
}
