/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* The API's copies and fills. Those that are asynchronous return before they are over only where
 * the host's memory is pinned; copies to the device take what is copied at once. See cuda.h. */
#include "guest/cuda/cuda.h"

static int stream_where(CUstream stream, struct cu_where *w)
{
    int rc = cu_where(stream, w);

    return rc ? rc : w->capture ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : 0;
}

/* --- one row ---------------------------------------------------------------------------------- */

CU_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
    struct cu_where w;
    int rc = cu_where(NULL, &w);

    if (rc || !bytes)
        return rc;
    return from ? cu_to_device(&w, to, bytes, from, bytes, bytes, 1, true)
                : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
    struct cu_where w;
    int rc = cu_where(NULL, &w);

    if (rc || !bytes)
        return rc;
    return to ? cu_from_device(&w, to, bytes, from, bytes, bytes, 1, true)
              : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                     CUstream stream)
{
    struct cu_where w;
    int rc = stream_where(stream, &w);

    return rc || !bytes ? rc : cu_on_device(&w, to, bytes, from, bytes, bytes, 1);
}

CU_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    struct cu_where w;
    int rc = cu_where(NULL, &w);
    const struct gpu_call_on_device call = {.stream = w.id,
                                            .to = to,
                                            .to_pitch = bytes,
                                            .from = from,
                                            .from_pitch = bytes,
                                            .width = bytes,
                                            .height = 1};

    return rc || !bytes ? rc : cu_call(w.channel, GPU_OP_ON_DEVICE, &call, NULL);
}

CU_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes,
                                     CUstream stream)
{
    struct cu_where w;
    int rc = stream_where(stream, &w);

    if (rc || !bytes)
        return rc;
    return from ? cu_to_device(&w, to, bytes, from, bytes, bytes, 1, false)
                : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    struct cu_where w;
    int rc = stream_where(stream, &w);

    if (rc || !bytes)
        return rc;
    return to ? cu_from_device(&w, to, bytes, from, bytes, bytes, 1, !cu_pinned(to, bytes))
              : CUDA_ERROR_INVALID_VALUE;
}

/* --- rows and slices -------------------------------------------------------------------------- */

/* One slice of a copy whose ends are memory, not arrays. */
static int copy_2d(const CUDA_MEMCPY2D *c, const struct cu_where *w, bool wait)
{
    bool from_host = c->srcMemoryType == CU_MEMORYTYPE_HOST;
    bool to_host = c->dstMemoryType == CU_MEMORYTYPE_HOST;
    size_t from_pitch = c->srcPitch ? c->srcPitch : c->WidthInBytes + c->srcXInBytes;
    size_t to_pitch = c->dstPitch ? c->dstPitch : c->WidthInBytes + c->dstXInBytes;
    size_t from_at = c->srcY * from_pitch + c->srcXInBytes;
    size_t to_at = c->dstY * to_pitch + c->dstXInBytes;

    if ((!from_host && c->srcMemoryType != CU_MEMORYTYPE_DEVICE) ||
        (!to_host && c->dstMemoryType != CU_MEMORYTYPE_DEVICE))
        return CUDA_ERROR_NOT_SUPPORTED;
    if (from_pitch < c->WidthInBytes || to_pitch < c->WidthInBytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (from_host && to_host)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (from_host)
        return cu_to_device(w, c->dstDevice + to_at, to_pitch, (const char *)c->srcHost + from_at,
                            from_pitch, c->WidthInBytes, c->Height, wait);
    if (to_host)
        return cu_from_device(w, (char *)c->dstHost + to_at, to_pitch, c->srcDevice + from_at,
                              from_pitch, c->WidthInBytes, c->Height, wait);
    return cu_on_device(w, c->dstDevice + to_at, to_pitch, c->srcDevice + from_at, from_pitch,
                        c->WidthInBytes, c->Height);
}

CU_API CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *c)
{
    struct cu_where w;
    int rc = cu_where(NULL, &w);

    if (rc || !c)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    return c->WidthInBytes && c->Height ? copy_2d(c, &w, true) : 0;
}

CU_API CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *c)
{
    return cuMemcpy2D_v2(c);
}

CU_API CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *c, CUstream stream)
{
    struct cu_where w;
    int rc = stream_where(stream, &w);

    if (rc || !c)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    return c->WidthInBytes && c->Height ? copy_2d(c, &w, c->dstMemoryType == CU_MEMORYTYPE_HOST)
                                        : 0;
}

static int copy_3d(const CUDA_MEMCPY3D *c, const struct cu_where *w, bool wait)
{
    size_t from_slice = c->srcPitch * (c->srcHeight ? c->srcHeight : c->Height + c->srcY);
    size_t to_slice = c->dstPitch * (c->dstHeight ? c->dstHeight : c->Height + c->dstY);
    int rc = 0;

    for (size_t z = 0; z < c->Depth && !rc; z++) {
        size_t from = (c->srcZ + z) * from_slice, to = (c->dstZ + z) * to_slice;
        const CUDA_MEMCPY2D slice = {.srcXInBytes = c->srcXInBytes,
                                     .srcY = c->srcY,
                                     .srcMemoryType = c->srcMemoryType,
                                     .srcHost = (const char *)c->srcHost + from,
                                     .srcDevice = c->srcDevice + from,
                                     .srcPitch = c->srcPitch,
                                     .dstXInBytes = c->dstXInBytes,
                                     .dstY = c->dstY,
                                     .dstMemoryType = c->dstMemoryType,
                                     .dstHost = (char *)c->dstHost + to,
                                     .dstDevice = c->dstDevice + to,
                                     .dstPitch = c->dstPitch,
                                     .WidthInBytes = c->WidthInBytes,
                                     .Height = c->Height};
        rc = copy_2d(&slice, w, wait);
    }
    return rc;
}

CU_API CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *c)
{
    struct cu_where w;
    int rc = cu_where(NULL, &w);

    if (rc || !c)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    return c->WidthInBytes && c->Height ? copy_3d(c, &w, true) : 0;
}

CU_API CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *c, CUstream stream)
{
    struct cu_where w;
    int rc = stream_where(stream, &w);

    if (rc || !c)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    return c->WidthInBytes && c->Height ? copy_3d(c, &w, c->dstMemoryType == CU_MEMORYTYPE_HOST)
                                        : 0;
}

/* --- fills ------------------------------------------------------------------------------------ */

static int fill(CUstream stream, CUdeviceptr to, size_t pitch, uint32_t value, unsigned unit,
                size_t width, size_t height, bool wait)
{
    struct cu_where w;
    int rc = stream_where(stream, &w);
    const struct gpu_call_fill call = {.stream = w.id,
                                       .address = to,
                                       .pitch = pitch,
                                       .width = width * unit,
                                       .height = height,
                                       .value = value,
                                       .unit = unit};

    if (rc || !width || !height)
        return rc;
    return wait ? cu_call(w.channel, GPU_OP_FILL, &call, NULL)
                : channel_post(w.channel, GPU_OP_FILL, &call, NULL, 0);
}

#define FILL(bits, type)                                                                           \
    CU_API CUresult cuMemsetD##bits##_v2(CUdeviceptr to, type value, size_t n)                     \
    {                                                                                              \
        return fill(NULL, to, n * sizeof(type), value, sizeof(type), n, 1, true);                  \
    }                                                                                              \
    CU_API CUresult cuMemsetD##bits##Async(CUdeviceptr to, type value, size_t n, CUstream stream)  \
    {                                                                                              \
        return fill(stream, to, n * sizeof(type), value, sizeof(type), n, 1, false);               \
    }                                                                                              \
    CU_API CUresult cuMemsetD2D##bits##_v2(CUdeviceptr to, size_t pitch, type value, size_t width, \
                                           size_t height)                                          \
    {                                                                                              \
        return fill(NULL, to, pitch, value, sizeof(type), width, height, true);                    \
    }                                                                                              \
    CU_API CUresult cuMemsetD2D##bits##Async(CUdeviceptr to, size_t pitch, type value,             \
                                             size_t width, size_t height, CUstream stream)         \
    {                                                                                              \
        return fill(stream, to, pitch, value, sizeof(type), width, height, false);                 \
    }

FILL(8, unsigned char)
FILL(16, unsigned short)
FILL(32, unsigned)
