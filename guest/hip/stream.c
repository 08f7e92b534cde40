/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Streams and events, as far as HIP's are not CUDA's. See hip.h. */
#include "guest/hip/hip.h"

HIP_API hipError_t hipStreamCreate(CUstream *out)
{
    int rc = hip_enter();

    return hip_left(rc ? rc : cuStreamCreate(out, 0));
}

HIP_API hipError_t hipEventCreateWithFlags(CUevent *out, unsigned flags)
{
    const unsigned fences = 0xe0000000u; /* which scope it has: that of the host is every scope */
    int rc = hip_enter();

    return hip_left(rc ? rc : cuEventCreate(out, flags & ~fences));
}

HIP_API hipError_t hipEventCreate(CUevent *out)
{
    return hipEventCreateWithFlags(out, 0);
}

HIP_API hipError_t hipStreamWaitValue32(CUstream stream, void *at, uint32_t value, unsigned flags,
                                        uint32_t mask)
{
    int rc = mask == UINT32_MAX ? hip_enter() : hipErrorNotSupported;

    return hip_left(rc ? rc : cuStreamWaitValue32_v2(stream, (uintptr_t)at, value, flags));
}

HIP_API hipError_t hipStreamWaitValue64(CUstream stream, void *at, uint64_t value, unsigned flags,
                                        uint64_t mask)
{
    int rc = mask == UINT64_MAX ? hip_enter() : hipErrorNotSupported;

    return hip_left(rc ? rc : cuStreamWaitValue64_v2(stream, (uintptr_t)at, value, flags));
}

HIP_API hipError_t hipDeviceGetLimit(size_t *value, int which)
{
    int rc = hip_enter();

    return hip_left(rc ? rc : cuCtxGetLimit(value, which));
}

HIP_API hipError_t hipDeviceSetLimit(int which, size_t value)
{
    int rc = hip_enter();

    return hip_left(rc ? rc : cuCtxSetLimit(which, value));
}
