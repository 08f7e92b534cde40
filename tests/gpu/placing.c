/*
 * A stand-in for a driver that has memory at given addresses: vmd's own library, with what that lacks
 * of CUDA's virtual memory management. What a driver refuses is refused here: pieces that are no
 * multiples of 2 MiB, an address twice, memory that is mapped nowhere or to nobody.
 *
 * TAKEN, where it is set, is an address that something else has: of what would lie over it another
 * place is reserved, as drivers do.
 */
#include "guest/cuda/cuda.h"

#include <stdlib.h>

enum { PIECES = 4096, GRAIN = 2 << 20, PINNED = 1, DEVICE = 1, READ_WRITE = 3 };
/* What pieces lie in: allocations of the device behind this, which are larger, so that copies may
 * go over several pieces. They end with their contexts. */
/* Addresses of a process end here, and with them a driver's. */
#define PROCESS (UINT64_C(1) << 47)
#define ARENA   (UINT64_C(1) << 30)

struct location {
    int type, device;
};

struct properties {
    int type, handle_types;
    struct location location;
    void *windows;
    unsigned char flags[8];
};

struct access {
    struct location location;
    int flags;
};

/* A reservation, and what is mapped there. */
struct piece {
    CUdeviceptr at;
    size_t bytes;
    unsigned long long handle; /* 0: nothing is mapped */
    bool usable;
};

struct arena {
    uint64_t context, at; /* 0: none */
};

struct memory {
    size_t bytes; /* 0: none */
    bool released, mapped;
};

static struct piece pieces[PIECES];
static struct memory memories[PIECES];
static struct arena arenas[PIECES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool proper(const struct properties *p)
{
    return p && p->type == PINNED && !p->handle_types && p->location.type == DEVICE &&
           !p->location.device && !p->windows;
}

static struct piece *find(CUdeviceptr at, size_t bytes)
{
    for (unsigned i = 0; i < PIECES; i++) {
        if (pieces[i].bytes && pieces[i].at == at && pieces[i].bytes == bytes)
            return &pieces[i];
    }
    return NULL;
}

/* Whether something is in BYTES from AT on. */
static bool taken(CUdeviceptr at, size_t bytes)
{
    const char *text = getenv("TAKEN");
    CUdeviceptr other = text ? strtoull(text, NULL, 0) : 0;

    for (unsigned i = 0; i < PIECES; i++) {
        if (pieces[i].bytes && pieces[i].at < at + bytes && at < pieces[i].at + pieces[i].bytes)
            return true;
    }
    return other >= at && other - at < bytes;
}

CU_API CUresult cuMemGetAllocationGranularity(size_t *bytes, const struct properties *p, int option)
{
    if (!bytes || !proper(p) || option)
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = GRAIN;
    return 0;
}

CU_API CUresult cuMemAddressReserve(CUdeviceptr *out, size_t bytes, size_t alignment,
                                    CUdeviceptr at, unsigned long long flags)
{
    int rc = CUDA_ERROR_OUT_OF_MEMORY;

    if (!out || !bytes || bytes % GRAIN || alignment || at % GRAIN || !at || at + bytes > PROCESS ||
        flags)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    while (taken(at, bytes))
        at += GRAIN;
    for (unsigned i = 0; rc && i < PIECES; i++) {
        if (pieces[i].bytes)
            continue;
        pieces[i] = (struct piece){.at = at, .bytes = bytes};
        *out = at;
        rc = 0;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

CU_API CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes)
{
    pthread_mutex_lock(&lock);
    struct piece *p = find(at, bytes);
    bool ok = p && !p->handle;
    if (ok)
        p->bytes = 0;
    pthread_mutex_unlock(&lock);
    return ok ? 0 : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuMemCreate(unsigned long long *handle, size_t bytes, const struct properties *p,
                            unsigned long long flags)
{
    int rc = CUDA_ERROR_OUT_OF_MEMORY;

    if (!handle || !bytes || bytes % GRAIN || !proper(p) || flags)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; rc && i < PIECES; i++) {
        if (memories[i].bytes)
            continue;
        memories[i] = (struct memory){.bytes = bytes};
        *handle = i + 1;
        rc = 0;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* What is neither mapped nor held any more is gone. */
static void settle(struct memory *m)
{
    if (m->released && !m->mapped)
        m->bytes = 0;
}

static struct memory *memory(unsigned long long handle)
{
    return handle && handle <= PIECES && memories[handle - 1].bytes ? &memories[handle - 1] : NULL;
}

CU_API CUresult cuMemRelease(unsigned long long handle)
{
    pthread_mutex_lock(&lock);
    struct memory *m = memory(handle);
    bool ok = m && !m->released;
    if (ok) {
        m->released = true;
        settle(m);
    }
    pthread_mutex_unlock(&lock);
    return ok ? 0 : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t offset, unsigned long long handle,
                         unsigned long long flags)
{
    pthread_mutex_lock(&lock);
    struct piece *p = find(at, bytes);
    struct memory *m = memory(handle);
    bool ok = p && m && !p->handle && !m->mapped && !m->released && m->bytes == bytes && !offset &&
              !flags;
    if (ok) {
        p->handle = handle;
        m->mapped = true;
    }
    pthread_mutex_unlock(&lock);
    return ok ? 0 : CUDA_ERROR_INVALID_VALUE;
}

static int arena(const struct cu_context *c, CUdeviceptr at)
{
    const struct gpu_call_alloc_at call = {
        .ctx = c->o.id, .address = at / ARENA * ARENA, .bytes = ARENA};
    unsigned i = 0;

    while (i < PIECES && arenas[i].context &&
           (arenas[i].context != c->o.id || arenas[i].at != call.address))
        i++;
    if (i == PIECES || arenas[i].context)
        return i == PIECES ? CUDA_ERROR_OUT_OF_MEMORY : 0;
    int rc = cu_call(c->o.channel, GPU_OP_ALLOC_AT, &call, NULL);
    if (!rc)
        arenas[i] = (struct arena){c->o.id, call.address};
    return rc;
}

/* The memory is of one context here, that which is current. */
CU_API CUresult cuMemSetAccess(CUdeviceptr at, size_t bytes, const struct access *a, size_t n)
{
    int rc;
    struct cu_context *c = cu_need(&rc);

    if (!c)
        return rc;
    pthread_mutex_lock(&lock);
    struct piece *p = find(at, bytes);
    rc = CUDA_ERROR_INVALID_VALUE;
    if (p && p->handle && !p->usable && a && n == 1 && a->location.type == DEVICE &&
        !a->location.device && a->flags == READ_WRITE) {
        rc = 0;
        for (size_t i = 0; !rc && i < bytes; i += GRAIN)
            rc = arena(c, at + i);
        p->usable = !rc;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

CU_API CUresult cuMemUnmap(CUdeviceptr at, size_t bytes)
{
    int rc = CUDA_ERROR_INVALID_VALUE;

    pthread_mutex_lock(&lock);
    struct piece *p = find(at, bytes);
    if (p && p->handle) {
        struct memory *m = memory(p->handle);
        m->mapped = false;
        settle(m);
        *p = (struct piece){.at = at, .bytes = bytes};
        rc = 0;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
