/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Managed memory. See managed.h. */
#include "guest/cuda/managed.h"

#include "guest/cuda/capture.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
    ATTACH_GLOBAL = 1,
    ATTACH_HOST = 2,
    ATTRIBUTE_MANAGED = 83,
    PAGE = 4096,
    PLACES = 8, /* tries to find one where both sides have nothing */
};

struct managed {
    struct managed *next;
    struct cu_context *context;
    void *at;
    size_t bytes;
    bool with_device;
};

unsigned cu_managed;
static struct managed *list;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Moves what is WITH_DEVICE or not to the other side, in C's side stream. */
static int move(struct cu_context *c, bool down)
{
    struct cu_where w = {.context = c, .channel = c->o.channel};
    int rc = cu_side_stream(c, &w.id);

    for (struct managed *m = list; m && !rc; m = m->next) {
        if (m->context != c || m->with_device != down)
            continue;
        uint64_t at = (uintptr_t)m->at;
        rc = down ? cu_from_device(&w, m->at, m->bytes, at, m->bytes, m->bytes, 1, true)
                  : cu_to_device(&w, at, m->bytes, m->at, m->bytes, m->bytes, 1, true);
        if (!rc)
            m->with_device = !down;
    }
    return rc;
}

static bool any(const struct cu_context *c, bool with_device)
{
    const struct managed *m = list;

    while (m && (m->context != c || m->with_device != with_device))
        m = m->next;
    return m != NULL;
}

int cu_managed_up(struct cu_context *c)
{
    pthread_mutex_lock(&lock);
    int rc = any(c, false) ? move(c, false) : 0;
    pthread_mutex_unlock(&lock);
    return rc;
}

int cu_managed_down(struct cu_context *c)
{
    const struct gpu_call_ctx_sync sync = {.ctx = c->o.id};
    int rc = 0;

    pthread_mutex_lock(&lock);
    if (any(c, true)) {
        rc = cu_call(c->o.channel, GPU_OP_CTX_SYNC, &sync, NULL);
        if (!rc)
            rc = move(c, true);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static void drop(struct managed **at)
{
    struct managed *m = *at;

    *at = m->next;
    munmap(m->at, m->bytes);
    free(m);
    __atomic_sub_fetch(&cu_managed, 1, __ATOMIC_RELEASE);
}

void cu_managed_forget(struct cu_context *c)
{
    pthread_mutex_lock(&lock);
    for (struct managed **at = &list; *at;) {
        if ((*at)->context == c)
            drop(at);
        else
            at = &(*at)->next;
    }
    pthread_mutex_unlock(&lock);
}

void cu_managed_free(CUdeviceptr address)
{
    pthread_mutex_lock(&lock);
    for (struct managed **at = &list; *at; at = &(*at)->next) {
        if ((uintptr_t)(*at)->at == address) {
            drop(at);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

bool cu_is_managed(CUdeviceptr address)
{
    pthread_mutex_lock(&lock);
    const struct managed *m = list;
    while (m && (address < (uintptr_t)m->at || address - (uintptr_t)m->at >= m->bytes))
        m = m->next;
    pthread_mutex_unlock(&lock);
    return m != NULL;
}

/* The same place on both sides: where the device has something there, another is tried. */
static int place(struct cu_context *c, size_t bytes, void **out)
{
    void *tried[PLACES];
    int rc = CUDA_ERROR_INVALID_VALUE, n = 0;

    while (rc == CUDA_ERROR_INVALID_VALUE && n < PLACES) {
        void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) {
            rc = CUDA_ERROR_OUT_OF_MEMORY;
            break;
        }
        const struct gpu_call_alloc_at call = {
            .ctx = c->o.id, .address = (uintptr_t)at, .bytes = bytes};
        rc = cu_call(c->o.channel, GPU_OP_ALLOC_AT, &call, NULL);
        tried[n++] = at;
    }
    if (!rc)
        *out = tried[--n];
    while (n)
        munmap(tried[--n], bytes);
    return rc == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_OUT_OF_MEMORY : rc;
}

CU_API CUresult cuMemAllocManaged(CUdeviceptr *out, size_t bytes, unsigned flags)
{
    int rc;
    struct cu_context *c = cu_need(&rc);
    size_t rounded = (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);

    if (!c || !out || !bytes || (flags != ATTACH_GLOBAL && flags != ATTACH_HOST))
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (!cu.device[c->device].attributes[ATTRIBUTE_MANAGED])
        return CUDA_ERROR_NOT_SUPPORTED;
    rc = rounded < bytes ? CUDA_ERROR_OUT_OF_MEMORY : cu_capture_unsafe();
    struct managed *m = rc ? NULL : calloc(1, sizeof(*m));
    if (!m)
        return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
    *m = (struct managed){.context = c, .bytes = rounded};
    rc = place(c, rounded, &m->at);
    if (rc) {
        free(m);
        return rc;
    }
    pthread_mutex_lock(&lock);
    m->next = list;
    list = m;
    pthread_mutex_unlock(&lock);
    __atomic_add_fetch(&cu_managed, 1, __ATOMIC_RELEASE);
    *out = (uintptr_t)m->at;
    return 0;
}

/* All of it is always attached to all streams: a narrower right is one that is not used. */
CU_API CUresult cuStreamAttachMemAsync(CUstream stream, CUdeviceptr at, size_t bytes,
                                       unsigned flags)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !cu_is_managed(at) || !(flags == 1 || flags == 2 || flags == 4))
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    return 0;
}
