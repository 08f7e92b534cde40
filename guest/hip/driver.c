/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Copies as HIP's driver API describes them: records of its own, with its own numbers of kinds of
 * memory. See hip.h. */
#include "guest/hip/hip.h"

/* --- kinds of memory -------------------------------------------------------------------------- */

/* The kind TYPE, hipMemoryType, as CUmemorytype. */
static int to_cuda(unsigned type, unsigned *out)
{
    switch (type) {
    case hipMemoryTypeHost:
        *out = CU_MEMORYTYPE_HOST;
        return 0;
    case hipMemoryTypeDevice:
        *out = CU_MEMORYTYPE_DEVICE;
        return 0;
    case hipMemoryTypeManaged:
    case hipMemoryTypeUnified:
        *out = CU_MEMORYTYPE_UNIFIED;
        return 0;
    case hipMemoryTypeArray:
        return hipErrorNotSupported;
    default:
        return hipErrorInvalidValue;
    }
}

static unsigned from_cuda(unsigned type)
{
    return type == CU_MEMORYTYPE_UNIFIED ? hipMemoryTypeUnified : type;
}

/* --- rows ------------------------------------------------------------------------------------- */

/* hip_Memcpy2D is laid out as CUDA_MEMCPY2D. */
static int rows(const CUDA_MEMCPY2D *p, CUDA_MEMCPY2D *out)
{
    int rc = p ? hip_enter() : hipErrorInvalidValue;

    if (rc)
        return rc;
    *out = *p;
    rc = to_cuda(p->srcMemoryType, &out->srcMemoryType);
    return rc ? rc : to_cuda(p->dstMemoryType, &out->dstMemoryType);
}

HIP_API hipError_t hipMemcpyParam2D(const CUDA_MEMCPY2D *p)
{
    CUDA_MEMCPY2D c;
    int rc = rows(p, &c);

    return hip_left(rc ? rc : cuMemcpy2D_v2(&c));
}

HIP_API hipError_t hipMemcpyParam2DAsync(const CUDA_MEMCPY2D *p, CUstream stream)
{
    CUDA_MEMCPY2D c;
    int rc = rows(p, &c);

    return hip_left(rc ? rc : cuMemcpy2DAsync_v2(&c, stream));
}

HIP_API hipError_t hipDrvMemcpy2DUnaligned(const CUDA_MEMCPY2D *p)
{
    CUDA_MEMCPY2D c;
    int rc = rows(p, &c);

    return hip_left(rc ? rc : cuMemcpy2DUnaligned_v2(&c));
}

/* --- boxes ------------------------------------------------------------------------------------ */

static int box(const struct hip_drv_copy_3d *p, CUDA_MEMCPY3D *out)
{
    int rc = p ? hip_enter() : hipErrorInvalidValue;

    if (rc)
        return rc;
    *out = (CUDA_MEMCPY3D){.srcXInBytes = p->from.x,
                           .srcY = p->from.y,
                           .srcZ = p->from.z,
                           .srcLOD = p->from.lod,
                           .srcHost = p->from.host,
                           .srcDevice = p->from.device,
                           .srcPitch = p->from.pitch,
                           .srcHeight = p->from.height,
                           .dstXInBytes = p->to.x,
                           .dstY = p->to.y,
                           .dstZ = p->to.z,
                           .dstLOD = p->to.lod,
                           .dstHost = p->to.host,
                           .dstDevice = p->to.device,
                           .dstPitch = p->to.pitch,
                           .dstHeight = p->to.height,
                           .WidthInBytes = p->width,
                           .Height = p->height,
                           .Depth = p->depth};
    rc = to_cuda(p->from.type, &out->srcMemoryType);
    return rc ? rc : to_cuda(p->to.type, &out->dstMemoryType);
}

HIP_API hipError_t hipDrvMemcpy3D(const struct hip_drv_copy_3d *p)
{
    CUDA_MEMCPY3D c;
    int rc = box(p, &c);

    return hip_left(rc ? rc : cuMemcpy3D_v2(&c));
}

HIP_API hipError_t hipDrvMemcpy3DAsync(const struct hip_drv_copy_3d *p, CUstream stream)
{
    CUDA_MEMCPY3D c;
    int rc = box(p, &c);

    return hip_left(rc ? rc : cuMemcpy3DAsync_v2(&c, stream));
}

/* --- nodes of graphs -------------------------------------------------------------------------- */

HIP_API hipError_t hipDrvGraphAddMemcpyNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                            size_t n, const struct hip_drv_copy_3d *p,
                                            CUcontext context)
{
    CUDA_MEMCPY3D c;
    int rc = box(p, &c);

    return hip_left(rc ? rc : cuGraphAddMemcpyNode(out, g, needs, n, &c, context));
}

HIP_API hipError_t hipDrvGraphMemcpyNodeSetParams(CUgraphNode node, const struct hip_drv_copy_3d *p)
{
    CUDA_MEMCPY3D c;
    int rc = box(p, &c);

    return hip_left(rc ? rc : cuGraphMemcpyNodeSetParams(node, &c));
}

HIP_API hipError_t hipDrvGraphExecMemcpyNodeSetParams(CUgraphExec e, CUgraphNode node,
                                                      const struct hip_drv_copy_3d *p,
                                                      CUcontext context)
{
    CUDA_MEMCPY3D c;
    int rc = box(p, &c);

    return hip_left(rc ? rc : cuGraphExecMemcpyNodeSetParams(e, node, &c, context));
}

HIP_API hipError_t hipDrvGraphMemcpyNodeGetParams(CUgraphNode node, struct hip_drv_copy_3d *p)
{
    CUDA_MEMCPY3D c;
    int rc = p ? hip_enter() : hipErrorInvalidValue;

    if (!rc)
        rc = cuGraphMemcpyNodeGetParams(node, &c);
    if (!rc)
        *p = (struct hip_drv_copy_3d){
            .from = {c.srcXInBytes, c.srcY, c.srcZ, c.srcLOD, from_cuda(c.srcMemoryType),
                     (void *)c.srcHost, c.srcDevice, NULL, c.srcPitch, c.srcHeight},
            .to = {c.dstXInBytes, c.dstY, c.dstZ, c.dstLOD, from_cuda(c.dstMemoryType), c.dstHost,
                   c.dstDevice, NULL, c.dstPitch, c.dstHeight},
            .width = c.WidthInBytes,
            .height = c.Height,
            .depth = c.Depth};
    return hip_left(rc);
}
