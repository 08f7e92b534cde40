/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * Several devices: no kernel of one sees another's memory, and copies between contexts go through
 * memory of the program, as CUDA has it where devices are no peers.
 */
#include "guest/cuda/capture.h"
#include "guest/cuda/managed.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4 << 20 };

static bool is_device(int device)
{
    return cu.ready && device >= 0 && device < cu.devices;
}

CU_API CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    if (!can || !is_device(device) || !is_device(peer))
        return can ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
    *can = 0;
    return 0;
}

CU_API CUresult cuDeviceGetP2PAttribute(int *value, int attribute, CUdevice from, CUdevice to)
{
    if (!value || attribute < 1 || attribute > 4)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_device(from) || !is_device(to) || from == to)
        return CUDA_ERROR_INVALID_DEVICE;
    *value = 0;
    return 0;
}

CU_API CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags)
{
    int rc;
    const struct cu_context *c = cu_need(&rc);

    if (!c || flags)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (!cu_is(peer, KIND_CONTEXT) || peer == c)
        return CUDA_ERROR_INVALID_CONTEXT;
    return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
}

CU_API CUresult cuCtxDisablePeerAccess(CUcontext peer)
{
    int rc;

    cu_need(&rc);
    if (!rc && !cu_is(peer, KIND_CONTEXT))
        rc = CUDA_ERROR_INVALID_CONTEXT;
    return rc ? rc : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}

/* --- copies ----------------------------------------------------------------------------------- */

/* A part of a copy of boxes: in its rows, as long as it fits. */
struct part {
    size_t x, y, z, width, rows;
};

static CUDA_MEMCPY3D half(const CUDA_MEMCPY3D *c, const struct part *p, bool from, char *host)
{
    CUDA_MEMCPY3D one = *c;

    one.srcXInBytes += p->x;
    one.srcY += p->y;
    one.srcZ += p->z;
    one.dstXInBytes += p->x;
    one.dstY += p->y;
    one.dstZ += p->z;
    one.WidthInBytes = p->width;
    one.Height = p->rows;
    one.Depth = 1;
    if (from) {
        one.dstMemoryType = CU_MEMORYTYPE_HOST;
        one.dstHost = host;
        one.dstXInBytes = one.dstY = one.dstZ = one.dstHeight = 0;
        one.dstPitch = p->width;
    } else {
        one.srcMemoryType = CU_MEMORYTYPE_HOST;
        one.srcHost = host;
        one.srcXInBytes = one.srcY = one.srcZ = one.srcHeight = 0;
        one.srcPitch = p->width;
    }
    return one;
}

/* What was left out by those who copy one row or slice is said, so that parts find their place. */
static void say_pitches(CUDA_MEMCPY3D *c)
{
    if (!c->srcPitch)
        c->srcPitch = c->srcXInBytes + c->WidthInBytes;
    if (!c->dstPitch)
        c->dstPitch = c->dstXInBytes + c->WidthInBytes;
    if (!c->srcHeight)
        c->srcHeight = c->srcY + c->Height;
    if (!c->dstHeight)
        c->dstHeight = c->dstY + c->Height;
}

static int copy_part(const CUDA_MEMCPY3D *c, const struct part *p, const struct cu_where *from,
                     const struct cu_where *to, char *host)
{
    const CUDA_MEMCPY3D get = half(c, p, true, host), put = half(c, p, false, host);
    int rc = cu_copy(&get, from, true);

    return rc ? rc : cu_copy(&put, to, true);
}

static int copy_through(const CUDA_MEMCPY3D *copy, const struct cu_where *from,
                        const struct cu_where *to)
{
    CUDA_MEMCPY3D c = *copy;
    char *host = malloc(CHUNK);
    int rc = host ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
    struct part p = {0};

    say_pitches(&c);
    for (p.z = 0; p.z < c.Depth && !rc; p.z++) {
        for (p.y = 0; p.y < c.Height && !rc; p.y += p.rows) {
            p.rows = c.WidthInBytes < CHUNK ? CHUNK / c.WidthInBytes : 1;
            if (p.rows > c.Height - p.y)
                p.rows = c.Height - p.y;
            for (p.x = 0; p.x < c.WidthInBytes && !rc; p.x += p.width) {
                p.width = c.WidthInBytes - p.x < CHUNK ? c.WidthInBytes - p.x : CHUNK;
                rc = copy_part(&c, &p, from, to, host);
            }
        }
    }
    free(host);
    return rc;
}

static struct cu_where where(struct cu_context *c, uint64_t id)
{
    return (struct cu_where){.context = c, .channel = c->o.channel, .id = id};
}

struct peer_copy {
    CUDA_MEMCPY3D copy;
    struct cu_where from, to;
};

static void copy_now(void *opaque, int result)
{
    struct peer_copy *p = opaque;
    int rc = result ? 0 : copy_through(&p->copy, &p->from, &p->to);

    if (rc)
        channel_fail(p->to.channel, rc);
    free(p);
}

static int check(const CUDA_MEMCPY3D *c, CUcontext from, CUcontext to)
{
    if (!cu_is(from, KIND_CONTEXT) || !cu_is(to, KIND_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    return cu_copy_check(c);
}

static bool nothing(const CUDA_MEMCPY3D *c)
{
    return !c->WidthInBytes || !c->Height || !c->Depth;
}

static int copy_sync(const CUDA_MEMCPY3D *c, CUcontext from, CUcontext to)
{
    int rc = cu_capture_unsafe();

    if (!rc)
        rc = check(c, from, to);
    if (rc || nothing(c))
        return rc;
    const struct cu_where f = where(from, from->o.id), t = where(to, to->o.id);
    rc = copy_through(c, &f, &t);
    if (!rc && cu_managing())
        rc = cu_managed_down(from);
    return !rc && cu_managing() ? cu_managed_down(to) : rc;
}

/* The thread that copies asks no turn: the memory goes up now. */
static int managed_up(const struct cu_where *w)
{
    int rc = 0;

    cu_managed_asked(cu_managed_ask(w, &rc));
    return rc;
}

static int copy_async(const CUDA_MEMCPY3D *c, CUcontext from, CUcontext to, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (!rc)
        rc = check(c, from, to);
    if (!rc && w.capture)
        rc = cu_capture_refuse(&w);
    if (rc || nothing(c))
        return rc;
    if (from == to && to == w.context)
        return cu_copy_ordered(c, &w);
    struct peer_copy *p = malloc(sizeof(*p));
    const struct cu_host_work work = {.ours = copy_now, .data = p};
    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *p = (struct peer_copy){.copy = *c, .from = where(from, 0), .to = where(to, 0)};
    rc = cu_side_stream(from, &p->from.id);
    if (!rc)
        rc = cu_side_stream(to, &p->to.id);
    if (!rc)
        rc = managed_up(&p->from);
    if (!rc)
        rc = managed_up(&p->to);
    if (!rc)
        rc = cu_host_call(&w, &work);
    if (rc)
        free(p);
    return rc;
}

static CUDA_MEMCPY3D line(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return (CUDA_MEMCPY3D){.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                           .srcDevice = from,
                           .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                           .dstDevice = to,
                           .WidthInBytes = bytes,
                           .Height = 1,
                           .Depth = 1};
}

CU_API CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                             CUcontext from_context, size_t bytes)
{
    const CUDA_MEMCPY3D c = line(to, from, bytes);

    return copy_sync(&c, from_context, to_context);
}

CU_API CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                                  CUcontext from_context, size_t bytes, CUstream stream)
{
    const CUDA_MEMCPY3D c = line(to, from, bytes);

    return copy_async(&c, from_context, to_context, stream);
}

/* Such a copy has contexts where others have what is reserved. */
CU_API CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D *c)
{
    return c ? copy_sync(c, c->reserved0, c->reserved1) : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D *c, CUstream stream)
{
    return c ? copy_async(c, c->reserved0, c->reserved1, stream) : CUDA_ERROR_INVALID_VALUE;
}
