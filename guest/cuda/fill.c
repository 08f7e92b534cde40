/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* The API's fills. See cuda.h. */
#include "guest/cuda/capture.h"

static int fill(CUstream stream, CUdeviceptr to, size_t pitch, uint32_t value, unsigned unit,
                size_t width, size_t height, bool wait)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);
    const struct gpu_call_fill call = {.stream = w.id,
                                       .address = to,
                                       .pitch = pitch,
                                       .width = width * unit,
                                       .height = height,
                                       .value = value,
                                       .unit = unit};

    if (rc || !width || !height)
        return rc;
    if (w.capture) {
        const struct cu_graph_node node = {.type = CU_GRAPH_NODE_TYPE_MEMSET,
                                           .fill = {to, pitch, value, unit, width, height}};
        return cu_capture(&w, &node);
    }
    return wait ? cu_ask(&w, GPU_OP_FILL, &call) : cu_post(&w, GPU_OP_FILL, &call, NULL, 0);
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
