/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * The API's copies, each of which is one of boxes in the end (CUDA_MEMCPY3D).
 *
 * An asynchronous copy from the host takes what it copies at once, unless something that was asked
 * before may still write there (cu_writers()): then it is made when the stream comes to it, as are
 * those of graphs. One to memory of the host that is not pinned is over when it returns.
 */
#include "guest/cuda/capture.h"
#include "guest/cuda/managed.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 1 << 20 /* bytes that a copy in order moves through the window, not by a gate */ };

/* --- one copy --------------------------------------------------------------------------------- */

static CUDA_MEMCPY3D line(unsigned to_type, CUdeviceptr to, unsigned from_type, CUdeviceptr from,
                          size_t bytes)
{
    return (CUDA_MEMCPY3D){.srcMemoryType = from_type,
                           .srcHost = (const void *)(uintptr_t)from,
                           .srcDevice = from,
                           .dstMemoryType = to_type,
                           .dstHost = (void *)(uintptr_t)to,
                           .dstDevice = to,
                           .WidthInBytes = bytes,
                           .Height = 1,
                           .Depth = 1};
}

static CUDA_MEMCPY3D box(const CUDA_MEMCPY2D *c)
{
    return (CUDA_MEMCPY3D){.srcXInBytes = c->srcXInBytes,
                           .srcY = c->srcY,
                           .srcMemoryType = c->srcMemoryType,
                           .srcHost = c->srcHost,
                           .srcDevice = c->srcDevice,
                           .srcPitch = c->srcPitch,
                           .dstXInBytes = c->dstXInBytes,
                           .dstY = c->dstY,
                           .dstMemoryType = c->dstMemoryType,
                           .dstHost = c->dstHost,
                           .dstDevice = c->dstDevice,
                           .dstPitch = c->dstPitch,
                           .WidthInBytes = c->WidthInBytes,
                           .Height = c->Height,
                           .Depth = 1};
}

/* One end of a copy: its first byte, and how far rows and slices are apart. */
struct end {
    bool host;
    CUdeviceptr at;
    size_t pitch, slice;
};

/* What is managed is with the device when it is copied, whatever the program calls it. */
static bool is_host(unsigned type, CUdeviceptr at)
{
    if (cu_managing() && cu_is_managed(at))
        return false;
    return type == CU_MEMORYTYPE_HOST ||
           (type == CU_MEMORYTYPE_UNIFIED && cu_pinned((const void *)(uintptr_t)at, 1));
}

static struct end end_of(const CUDA_MEMCPY3D *c, bool to)
{
    unsigned type = to ? c->dstMemoryType : c->srcMemoryType;
    CUdeviceptr device = to ? c->dstDevice : c->srcDevice;
    size_t x = to ? c->dstXInBytes : c->srcXInBytes, y = to ? c->dstY : c->srcY;
    size_t z = to ? c->dstZ : c->srcZ, rows = to ? c->dstHeight : c->srcHeight;
    struct end e = {.at = device, .pitch = to ? c->dstPitch : c->srcPitch};

    if (type == CU_MEMORYTYPE_HOST)
        e.at = (uintptr_t)(to ? c->dstHost : c->srcHost);
    e.host = is_host(type, e.at);
    if (!e.pitch)
        e.pitch = x + c->WidthInBytes;
    e.slice = e.pitch * (rows ? rows : y + c->Height);
    e.at += z * e.slice + y * e.pitch + x;
    return e;
}

static bool nothing(const CUDA_MEMCPY3D *c)
{
    return !c->WidthInBytes || !c->Height || !c->Depth;
}

int cu_copy_check(const CUDA_MEMCPY3D *c)
{
    const unsigned types[] = {c->srcMemoryType, c->dstMemoryType};

    for (int to = 0; to < 2; to++) {
        if (types[to] == 3)
            return CUDA_ERROR_NOT_SUPPORTED; /* an array */
        if (types[to] < CU_MEMORYTYPE_HOST || types[to] > CU_MEMORYTYPE_UNIFIED)
            return CUDA_ERROR_INVALID_VALUE;
        const struct end e = end_of(c, to);
        if (!nothing(c) && (!e.at || e.pitch < c->WidthInBytes))
            return CUDA_ERROR_INVALID_VALUE;
    }
    return 0;
}

static int copy_slice(const CUDA_MEMCPY3D *c, const struct end *to, const struct end *from,
                      size_t z, const struct cu_where *w, bool wait)
{
    CUdeviceptr t = to->at + z * to->slice, f = from->at + z * from->slice;

    if (from->host && to->host) {
        for (size_t y = 0; y < c->Height; y++)
            memmove((char *)(uintptr_t)t + y * to->pitch,
                    (const char *)(uintptr_t)f + y * from->pitch, c->WidthInBytes);
        return 0;
    }
    if (from->host)
        return cu_to_device(w, t, to->pitch, (const void *)(uintptr_t)f, from->pitch,
                            c->WidthInBytes, c->Height, wait);
    if (to->host)
        return cu_from_device(w, (void *)(uintptr_t)t, to->pitch, f, from->pitch, c->WidthInBytes,
                              c->Height, wait);
    return cu_on_device(w, t, to->pitch, f, from->pitch, c->WidthInBytes, c->Height);
}

int cu_copy(const CUDA_MEMCPY3D *c, const struct cu_where *w, bool wait)
{
    const struct end to = end_of(c, true), from = end_of(c, false);
    int rc = 0;

    for (size_t z = 0; z < (nothing(c) ? 0 : c->Depth) && !rc; z++)
        rc = copy_slice(c, &to, &from, z, w, wait);
    return rc;
}

/* --- copies when the stream comes to them ------------------------------------------------------
 */

/* A copy that a thread of the program makes while the stream W stands, in the context's side
 * stream. */
struct deferred {
    CUDA_MEMCPY3D copy;
    struct cu_where w;
};

static void copy_now(void *opaque, int result)
{
    struct deferred *d = opaque;
    int rc = result ? 0 : cu_copy(&d->copy, &d->w, true);

    if (rc)
        channel_fail(d->w.channel, rc);
    free(d);
}

/* The context's stream for such copies, made when the first one comes. */
int cu_side_stream(struct cu_context *c, uint64_t *id)
{
    int rc = 0;

    pthread_mutex_lock(&c->lock);
    if (!c->side) {
        const struct gpu_call_stream_new call = {.ctx = c->o.id, .stream = cu_new_id(), .flags = 1};
        rc = cu_call(c->o.channel, GPU_OP_STREAM_NEW, &call, NULL);
        if (!rc)
            c->side = call.stream;
    }
    *id = c->side;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int defer(const CUDA_MEMCPY3D *c, const struct cu_where *w)
{
    struct deferred *d = malloc(sizeof(*d));
    const struct cu_host_work work = {.ours = copy_now, .data = d};
    int rc = d ? 0 : CUDA_ERROR_OUT_OF_MEMORY;

    if (d) {
        *d = (struct deferred){.copy = *c, .w = {.context = w->context, .channel = w->channel}};
        rc = cu_side_stream(w->context, &d->w.id);
    }
    if (!rc)
        rc = cu_host_call(w, &work);
    if (rc)
        free(d);
    return rc;
}

int cu_copy_ordered(const CUDA_MEMCPY3D *c, const struct cu_where *w)
{
    bool from = end_of(c, false).host, to = end_of(c, true).host;
    size_t bytes;

    if (!from && !to)
        return cu_copy(c, w, false);
    if (__builtin_mul_overflow(c->WidthInBytes, c->Height * c->Depth, &bytes) || bytes > AT_ONCE ||
        (from && (to || cu_writers())))
        return nothing(c) ? 0 : defer(c, w);
    return cu_copy(c, w, false);
}

/* --- as the API has them ------------------------------------------------------------------------
 */

/* What was asked before writes to the host's memory first. */
static int wait_for_writers(const struct cu_where *w)
{
    const struct gpu_call_stream_sync call = {.stream = w->id};

    return cu_writers() ? cu_call(w->channel, GPU_OP_STREAM_SYNC, &call, NULL) : 0;
}

static bool end_pinned(const CUDA_MEMCPY3D *c, bool to)
{
    const struct end e = end_of(c, to);

    return cu_pinned((const void *)(uintptr_t)e.at,
                     (c->Depth - 1) * e.slice + (c->Height - 1) * e.pitch + c->WidthInBytes);
}

static int copy_async(const CUDA_MEMCPY3D *c, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (!rc)
        rc = cu_copy_check(c);
    if (rc || nothing(c))
        return rc;
    if (w.capture) {
        const struct cu_graph_node node = {.type = CU_GRAPH_NODE_TYPE_MEMCPY, .copy = *c};
        return cu_capture(&w, &node);
    }
    bool from = end_of(c, false).host, to = end_of(c, true).host;
    if (from && to)
        return cu_copy_ordered(c, &w);
    if (from && cu_writers()) {
        if (end_pinned(c, false))
            return defer(c, &w);
        rc = wait_for_writers(&w);
    }
    return rc ? rc : cu_copy(c, &w, to && !end_pinned(c, true));
}

static int copy_sync(const CUDA_MEMCPY3D *c)
{
    struct cu_where w;
    int rc = cu_where(NULL, &w);

    if (!rc)
        rc = cu_copy_check(c);
    if (rc || nothing(c))
        return rc;
    rc = wait_for_writers(&w);
    if (!rc)
        rc = cu_copy(c, &w, true);
    cu_prints(w.channel);
    return !rc && cu_managing() ? cu_managed_down(w.context) : rc;
}

#define DEVICE CU_MEMORYTYPE_DEVICE
#define HOST   CU_MEMORYTYPE_HOST

CU_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
    const CUDA_MEMCPY3D c = line(DEVICE, to, HOST, (uintptr_t)from, bytes);

    return copy_sync(&c);
}

CU_API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
    const CUDA_MEMCPY3D c = line(HOST, (uintptr_t)to, DEVICE, from, bytes);

    return copy_sync(&c);
}

CU_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes,
                                     CUstream stream)
{
    const CUDA_MEMCPY3D c = line(DEVICE, to, HOST, (uintptr_t)from, bytes);

    return copy_async(&c, stream);
}

CU_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    const CUDA_MEMCPY3D c = line(HOST, (uintptr_t)to, DEVICE, from, bytes);

    return copy_async(&c, stream);
}

CU_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                     CUstream stream)
{
    const CUDA_MEMCPY3D c = line(DEVICE, to, DEVICE, from, bytes);

    return copy_async(&c, stream);
}

/* It does not wait for the copy, but for whether there can be one. */
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

    return rc || !bytes ? rc : cu_ask(&w, GPU_OP_ON_DEVICE, &call);
}

CU_API CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    const CUDA_MEMCPY3D c = line(CU_MEMORYTYPE_UNIFIED, to, CU_MEMORYTYPE_UNIFIED, from, bytes);

    return copy_sync(&c);
}

CU_API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    const CUDA_MEMCPY3D c = line(CU_MEMORYTYPE_UNIFIED, to, CU_MEMORYTYPE_UNIFIED, from, bytes);

    return copy_async(&c, stream);
}

CU_API CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *copy)
{
    if (!copy)
        return CUDA_ERROR_INVALID_VALUE;
    const CUDA_MEMCPY3D c = box(copy);
    return copy_sync(&c);
}

CU_API CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *copy)
{
    return cuMemcpy2D_v2(copy);
}

CU_API CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    if (!copy)
        return CUDA_ERROR_INVALID_VALUE;
    const CUDA_MEMCPY3D c = box(copy);
    return copy_async(&c, stream);
}

CU_API CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *copy)
{
    return copy ? copy_sync(copy) : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *copy, CUstream stream)
{
    return copy ? copy_async(copy, stream) : CUDA_ERROR_INVALID_VALUE;
}
