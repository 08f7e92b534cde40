/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Memory, copies and fills. See hip.h. */
#include "guest/hip/hip.h"

/* --- memory ----------------------------------------------------------------------------------- */

static CUdeviceptr device(const void *at)
{
    return (uintptr_t)at;
}

HIP_API hipError_t hipMalloc(void **out, size_t bytes)
{
    CUdeviceptr at = 0;
    int rc = out ? hip_enter() : hipErrorInvalidValue;

    if (!rc && bytes)
        rc = cuMemAlloc_v2(&at, bytes);
    if (!rc)
        *out = (void *)(uintptr_t)at;
    return hip_left(rc);
}

/* What the flags ask for besides (fine grain, signals) no program in a guest could use. */
HIP_API hipError_t hipExtMallocWithFlags(void **out, size_t bytes, unsigned flags)
{
    return flags ? hip_left(hipErrorNotSupported) : hipMalloc(out, bytes);
}

/* Programs free what is pinned by it as well. */
HIP_API hipError_t hipFree(void *at)
{
    int rc = hip_enter();

    if (!rc && at)
        rc = cu_pinned(at, 1) ? cuMemFreeHost(at) : cuMemFree_v2(device(at));
    return hip_left(rc);
}

HIP_API hipError_t hipMallocPitch(void **out, size_t *pitch, size_t width, size_t height)
{
    CUdeviceptr at = 0;
    int rc = out && pitch ? hip_enter() : hipErrorInvalidValue;

    if (!rc && width && height)
        rc = cuMemAllocPitch_v2(&at, pitch, width, height, 4);
    if (!rc)
        *out = (void *)(uintptr_t)at;
    return hip_left(rc);
}

HIP_API hipError_t hipMalloc3D(struct hip_pitched *out, struct hip_extent extent)
{
    if (!out || (extent.depth && extent.height > SIZE_MAX / extent.depth))
        return hip_left(hipErrorInvalidValue);
    *out = (struct hip_pitched){.xsize = extent.width, .ysize = extent.height};
    return hipMallocPitch(&out->ptr, &out->pitch, extent.width, extent.height * extent.depth);
}

/* Coherent or not, memory of the host is never the device's: it cannot be mapped. */
HIP_API hipError_t hipHostMalloc(void **out, size_t bytes, unsigned flags)
{
    enum { KNOWN = 7, NUMA_USER = 0x20000000 };
    const unsigned hints = NUMA_USER | 0xc0000000u;
    int rc = out && !(flags & ~(KNOWN | hints)) ? hip_enter() : hipErrorInvalidValue;

    if (!rc && !bytes)
        *out = NULL;
    else if (!rc)
        rc = cuMemHostAlloc(out, bytes, flags & KNOWN);
    return hip_left(rc);
}

HIP_API hipError_t hipHostFree(void *at)
{
    int rc = hip_enter();

    return hip_left(rc || !at ? rc : cuMemFreeHost(at));
}

HIP_API hipError_t hipHostRegister(void *at, size_t bytes, unsigned flags)
{
    int rc = hip_enter();

    return hip_left(rc ? rc : cuMemHostRegister_v2(at, bytes, flags & 7));
}

HIP_API hipError_t hipMallocHost(void **out, size_t bytes)
{
    return hipHostMalloc(out, bytes, 0);
}

/* Of memory that HIP has nothing to do with it says so, without an error: since ROCm 6. */
HIP_API hipError_t hipPointerGetAttributes(struct hip_pointer *out, const void *at)
{
    enum { NO_DEVICE = -2 }; /* hipInvalidDeviceId */
    CUdeviceptr base;
    size_t bytes;
    int rc = out && at ? hip_enter() : hipErrorInvalidValue;

    if (rc)
        return hip_left(rc);
    if (cu_pinned(at, 1)) {
        *out = (struct hip_pointer){
            .type = hipMemoryTypeHost, .device = cu_current()->device, .host_pointer = (void *)at};
        return 0;
    }
    rc = cuMemGetAddressRange_v2(&base, &bytes, device(at));
    if (!rc)
        *out = (struct hip_pointer){.type = hipMemoryTypeDevice,
                                    .device = cu_current()->device,
                                    .device_pointer = (void *)at};
    else if (rc == hipErrorInvalidValue || rc == hipErrorNotFound)
        *out = (struct hip_pointer){.type = hipMemoryTypeUnregistered, .device = NO_DEVICE};
    else
        return hip_left(rc);
    return 0;
}

/* --- copies ----------------------------------------------------------------------------------- */

/* Where AT is, by the copy's kind; where that says nothing: memory of the device that the host
 * knows, or else the program's. */
static unsigned side(const void *at, int kind, bool to)
{
    CUdeviceptr base;
    size_t bytes;

    switch (kind) {
    case hipMemcpyHostToHost:
        return CU_MEMORYTYPE_HOST;
    case hipMemcpyHostToDevice:
        return to ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
    case hipMemcpyDeviceToHost:
        return to ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    case hipMemcpyDeviceToDevice:
    case hipMemcpyDeviceToDeviceNoCU:
        return CU_MEMORYTYPE_DEVICE;
    default:
        return !cu_pinned(at, 1) && cuMemGetAddressRange_v2(&base, &bytes, device(at)) == 0
                   ? CU_MEMORYTYPE_DEVICE
                   : CU_MEMORYTYPE_HOST;
    }
}

static bool is_kind(int kind)
{
    return (kind >= hipMemcpyHostToHost && kind <= hipMemcpyDefault) ||
           kind == hipMemcpyDeviceToDeviceNoCU;
}

static void set_ends(CUDA_MEMCPY3D *c, void *to, const void *from, int kind)
{
    c->srcMemoryType = side(from, kind, false);
    c->srcHost = from;
    c->srcDevice = device(from);
    c->dstMemoryType = side(to, kind, true);
    c->dstHost = to;
    c->dstDevice = device(to);
}

static int copy(CUDA_MEMCPY3D *c, void *to, const void *from, int kind, CUstream stream, bool wait)
{
    int rc = is_kind(kind) ? hip_enter() : hipErrorInvalidMemcpyDirection;

    if (rc || !c->WidthInBytes || !c->Height || !c->Depth)
        return hip_left(rc);
    if (!to || !from)
        return hip_left(hipErrorInvalidValue);
    set_ends(c, to, from, kind);
    rc = !wait ? cuMemcpy3DAsync_v2(c, stream) : cuMemcpy3D_v2(c);
    return hip_left(rc);
}

HIP_API hipError_t hipMemcpy(void *to, const void *from, size_t bytes, int kind)
{
    CUDA_MEMCPY3D c = {.WidthInBytes = bytes, .Height = 1, .Depth = 1};

    return copy(&c, to, from, kind, NULL, true);
}

HIP_API hipError_t hipMemcpyAsync(void *to, const void *from, size_t bytes, int kind,
                                  CUstream stream)
{
    CUDA_MEMCPY3D c = {.WidthInBytes = bytes, .Height = 1, .Depth = 1};

    return copy(&c, to, from, kind, stream, false);
}

HIP_API hipError_t hipMemcpyWithStream(void *to, const void *from, size_t bytes, int kind,
                                       CUstream stream)
{
    int rc = hipMemcpyAsync(to, from, bytes, kind, stream);

    return rc ? rc : hip_left(cuStreamSynchronize(stream));
}

HIP_API hipError_t hipMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                                    size_t width, size_t height, int kind, CUstream stream)
{
    CUDA_MEMCPY3D c = {.srcPitch = from_pitch,
                       .dstPitch = to_pitch,
                       .WidthInBytes = width,
                       .Height = height,
                       .Depth = 1};

    return copy(&c, to, from, kind, stream, false);
}

HIP_API hipError_t hipMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                               size_t width, size_t height, int kind)
{
    CUDA_MEMCPY3D c = {.srcPitch = from_pitch,
                       .dstPitch = to_pitch,
                       .WidthInBytes = width,
                       .Height = height,
                       .Depth = 1};

    return copy(&c, to, from, kind, NULL, true);
}

/* False where an end is an array. */
static bool box(const struct hip_copy_3d *p, CUDA_MEMCPY3D *out)
{
    *out = (CUDA_MEMCPY3D){.srcXInBytes = p->from_at.x,
                           .srcY = p->from_at.y,
                           .srcZ = p->from_at.z,
                           .srcPitch = p->from.pitch,
                           .srcHeight = p->from.ysize,
                           .dstXInBytes = p->to_at.x,
                           .dstY = p->to_at.y,
                           .dstZ = p->to_at.z,
                           .dstPitch = p->to.pitch,
                           .dstHeight = p->to.ysize,
                           .WidthInBytes = p->extent.width,
                           .Height = p->extent.height,
                           .Depth = p->extent.depth};
    return !p->from_array && !p->to_array;
}

static int copy_box(const struct hip_copy_3d *p, CUstream stream, bool wait)
{
    CUDA_MEMCPY3D c;

    if (!p || !box(p, &c))
        return hip_left(p ? hipErrorNotSupported : hipErrorInvalidValue);
    return copy(&c, p->to.ptr, p->from.ptr, p->kind, stream, wait);
}

HIP_API hipError_t hipMemcpy3D(const struct hip_copy_3d *p)
{
    return copy_box(p, NULL, true);
}

HIP_API hipError_t hipMemcpy3DAsync(const struct hip_copy_3d *p, CUstream stream)
{
    return copy_box(p, stream, false);
}

/* Through the program's memory: no device is another's peer, and one is its own. */
HIP_API hipError_t hipMemcpyPeer(void *to, int to_device, const void *from, int from_device,
                                 size_t bytes)
{
    if (to_device != from_device)
        return hip_left(hipErrorNotSupported);
    return hipMemcpy(to, from, bytes, hipMemcpyDeviceToDevice);
}

HIP_API hipError_t hipMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device,
                                      size_t bytes, CUstream stream)
{
    if (to_device != from_device)
        return hip_left(hipErrorNotSupported);
    return hipMemcpyAsync(to, from, bytes, hipMemcpyDeviceToDevice, stream);
}

/* --- variables -------------------------------------------------------------------------------- */

HIP_API hipError_t hipGetSymbolAddress(void **out, const void *symbol)
{
    CUdeviceptr at = 0;
    size_t bytes;
    int rc = out ? hip_enter() : hipErrorInvalidValue;

    if (!rc)
        rc = hip_variable(symbol, &at, &bytes);
    if (!rc)
        *out = (void *)(uintptr_t)at;
    return hip_left(rc);
}

HIP_API hipError_t hipGetSymbolSize(size_t *out, const void *symbol)
{
    CUdeviceptr at;
    int rc = out ? hip_enter() : hipErrorInvalidValue;

    return hip_left(rc ? rc : hip_variable(symbol, &at, out));
}

/* BYTES at OFFSET of the variable. */
static int part_of(const void *symbol, size_t offset, size_t bytes, char **out)
{
    CUdeviceptr at = 0;
    size_t all = 0;
    int rc = hip_enter();

    if (!rc)
        rc = hip_variable(symbol, &at, &all);
    if (!rc && (offset > all || bytes > all - offset))
        rc = hipErrorInvalidValue;
    *out = (char *)(uintptr_t)at + offset;
    return hip_left(rc);
}

HIP_API hipError_t hipMemcpyToSymbol(const void *symbol, const void *from, size_t bytes,
                                     size_t offset, int kind)
{
    char *at;
    int rc = part_of(symbol, offset, bytes, &at);

    return rc ? rc : hipMemcpy(at, from, bytes, kind);
}

HIP_API hipError_t hipMemcpyToSymbolAsync(const void *symbol, const void *from, size_t bytes,
                                          size_t offset, int kind, CUstream stream)
{
    char *at;
    int rc = part_of(symbol, offset, bytes, &at);

    return rc ? rc : hipMemcpyAsync(at, from, bytes, kind, stream);
}

HIP_API hipError_t hipMemcpyFromSymbol(void *to, const void *symbol, size_t bytes, size_t offset,
                                       int kind)
{
    char *at;
    int rc = part_of(symbol, offset, bytes, &at);

    return rc ? rc : hipMemcpy(to, at, bytes, kind);
}

HIP_API hipError_t hipMemcpyFromSymbolAsync(void *to, const void *symbol, size_t bytes,
                                            size_t offset, int kind, CUstream stream)
{
    char *at;
    int rc = part_of(symbol, offset, bytes, &at);

    return rc ? rc : hipMemcpyAsync(to, at, bytes, kind, stream);
}

/* --- fills ------------------------------------------------------------------------------------ */

HIP_API hipError_t hipMemset(void *to, int value, size_t bytes)
{
    int rc = hip_enter();

    return hip_left(rc || !bytes ? rc : cuMemsetD8_v2(device(to), (unsigned char)value, bytes));
}

HIP_API hipError_t hipMemsetAsync(void *to, int value, size_t bytes, CUstream stream)
{
    int rc = hip_enter();

    return hip_left(
        rc || !bytes ? rc : cuMemsetD8Async(device(to), (unsigned char)value, bytes, stream));
}

HIP_API hipError_t hipMemset2D(void *to, size_t pitch, int value, size_t width, size_t height)
{
    int rc = hip_enter();

    return hip_left(rc || !width || !height
                        ? rc
                        : cuMemsetD2D8_v2(device(to), pitch, (unsigned char)value, width, height));
}

HIP_API hipError_t hipMemset2DAsync(void *to, size_t pitch, int value, size_t width, size_t height,
                                    CUstream stream)
{
    int rc = hip_enter();

    return hip_left(
        rc || !width || !height
            ? rc
            : cuMemsetD2D8Async(device(to), pitch, (unsigned char)value, width, height, stream));
}

/* A box's slices lie one behind the other, as far as its pitched memory has rows. */
HIP_API hipError_t hipMemset3DAsync(struct hip_pitched to, int value, struct hip_extent extent,
                                    CUstream stream)
{
    int rc = hip_enter();

    for (size_t z = 0; !rc && extent.width && extent.height && z < extent.depth; z++)
        rc = cuMemsetD2D8Async(device(to.ptr) + z * to.pitch * to.ysize, to.pitch,
                               (unsigned char)value, extent.width, extent.height, stream);
    return hip_left(rc);
}

HIP_API hipError_t hipMemset3D(struct hip_pitched to, int value, struct hip_extent extent)
{
    int rc = hipMemset3DAsync(to, value, extent, NULL);

    return rc ? rc : hip_left(cuStreamSynchronize(NULL));
}

/* --- graphs' copies and fills ----------------------------------------------------------------- */

/* What a node copies, with the memory's sides as they are now. */
static int node_box(const struct hip_copy_3d *p, CUDA_MEMCPY3D *out)
{
    int rc = p && is_kind(p->kind) ? hip_enter() : hipErrorInvalidValue;

    if (!rc && !box(p, out))
        rc = hipErrorNotSupported;
    if (!rc)
        set_ends(out, p->to.ptr, p->from.ptr, p->kind);
    return rc;
}

static struct hip_copy_3d line(void *to, const void *from, size_t bytes, int kind)
{
    return (struct hip_copy_3d){.from = {(void *)from, bytes, bytes, 1},
                                .to = {to, bytes, bytes, 1},
                                .extent = {bytes, 1, 1},
                                .kind = kind};
}

HIP_API hipError_t hipGraphAddMemcpyNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                         size_t n, const struct hip_copy_3d *p)
{
    CUDA_MEMCPY3D c;
    int rc = node_box(p, &c);

    return hip_left(rc ? rc : cuGraphAddMemcpyNode(out, g, needs, n, &c, cu_current()));
}

HIP_API hipError_t hipGraphAddMemcpyNode1D(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                           size_t n, void *to, const void *from, size_t bytes,
                                           int kind)
{
    const struct hip_copy_3d p = line(to, from, bytes, kind);

    return hipGraphAddMemcpyNode(out, g, needs, n, &p);
}

HIP_API hipError_t hipGraphMemcpyNodeSetParams(CUgraphNode node, const struct hip_copy_3d *p)
{
    CUDA_MEMCPY3D c;
    int rc = node_box(p, &c);

    return hip_left(rc ? rc : cuGraphMemcpyNodeSetParams(node, &c));
}

HIP_API hipError_t hipGraphMemcpyNodeSetParams1D(CUgraphNode node, void *to, const void *from,
                                                 size_t bytes, int kind)
{
    const struct hip_copy_3d p = line(to, from, bytes, kind);

    return hipGraphMemcpyNodeSetParams(node, &p);
}

HIP_API hipError_t hipGraphExecMemcpyNodeSetParams(CUgraphExec e, CUgraphNode node,
                                                   const struct hip_copy_3d *p)
{
    CUDA_MEMCPY3D c;
    int rc = node_box(p, &c);

    return hip_left(rc ? rc : cuGraphExecMemcpyNodeSetParams(e, node, &c, cu_current()));
}

HIP_API hipError_t hipGraphExecMemcpyNodeSetParams1D(CUgraphExec e, CUgraphNode node, void *to,
                                                     const void *from, size_t bytes, int kind)
{
    const struct hip_copy_3d p = line(to, from, bytes, kind);

    return hipGraphExecMemcpyNodeSetParams(e, node, &p);
}

static int node_fill(const struct hip_fill_node *p, CUDA_MEMSET_NODE_PARAMS *out)
{
    if (!p)
        return hipErrorInvalidValue;
    *out = (CUDA_MEMSET_NODE_PARAMS){.dst = device(p->to),
                                     .pitch = p->pitch,
                                     .value = p->value,
                                     .elementSize = p->element,
                                     .width = p->width,
                                     .height = p->height};
    return hip_enter();
}

HIP_API hipError_t hipGraphAddMemsetNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                         size_t n, const struct hip_fill_node *p)
{
    CUDA_MEMSET_NODE_PARAMS c;
    int rc = node_fill(p, &c);

    return hip_left(rc ? rc : cuGraphAddMemsetNode(out, g, needs, n, &c, cu_current()));
}

HIP_API hipError_t hipGraphMemsetNodeGetParams(CUgraphNode node, struct hip_fill_node *p)
{
    CUDA_MEMSET_NODE_PARAMS c;
    int rc = p ? cuGraphMemsetNodeGetParams(node, &c) : hipErrorInvalidValue;

    if (!rc)
        *p = (struct hip_fill_node){
            (void *)(uintptr_t)c.dst, c.elementSize, c.height, c.pitch, c.value, c.width};
    return hip_left(rc);
}

HIP_API hipError_t hipGraphMemsetNodeSetParams(CUgraphNode node, const struct hip_fill_node *p)
{
    CUDA_MEMSET_NODE_PARAMS c;
    int rc = node_fill(p, &c);

    return hip_left(rc ? rc : cuGraphMemsetNodeSetParams(node, &c));
}

HIP_API hipError_t hipGraphExecMemsetNodeSetParams(CUgraphExec e, CUgraphNode node,
                                                   const struct hip_fill_node *p)
{
    CUDA_MEMSET_NODE_PARAMS c;
    int rc = node_fill(p, &c);

    return hip_left(rc ? rc : cuGraphExecMemsetNodeSetParams(e, node, &c, cu_current()));
}
