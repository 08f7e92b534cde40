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
/* Changed with both, the turn first; read with either. Nobody waits for the worker with the lock
 * held. */
static struct managed *list;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER, lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool moving; /* the calling thread moves memory: what it asks is no reason to */

/* Moves what is WITH_DEVICE or not to the other side, in C's side stream. In turn. */
static int move(struct cu_context *c, bool down)
{
    struct cu_where w = {.context = c, .channel = c->o.channel};
    int rc = cu_side_stream(c, &w.id);

    moving = true;
    for (struct managed *m = list; m && !rc; m = m->next) {
        if (m->context != c || m->with_device != down)
            continue;
        uint64_t at = (uintptr_t)m->at;
        rc = down ? cu_from_device(&w, m->at, m->bytes, at, m->bytes, m->bytes, 1, true)
                  : cu_to_device(&w, at, m->bytes, m->at, m->bytes, m->bytes, 1, true);
        pthread_mutex_lock(&lock);
        m->with_device = rc ? down : !down;
        pthread_mutex_unlock(&lock);
    }
    moving = false;
    return rc;
}

static bool any(const struct cu_context *c, bool with_device)
{
    const struct managed *m = list;

    while (m && (m->context != c || m->with_device != with_device))
        m = m->next;
    return m != NULL;
}

/* STREAM was asked something since C was known to be idle. In turn. */
static int note_busy(struct cu_context *c, uint64_t stream)
{
    for (size_t i = 0; i < c->n_busy; i++) {
        if (c->busy[i] == stream)
            return 0;
    }
    uint64_t *busy = realloc(c->busy, (c->n_busy + 1) * sizeof(*busy));
    if (!busy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    c->busy = busy;
    busy[c->n_busy++] = stream;
    return 0;
}

bool cu_managed_ask(const struct cu_where *w, int *result)
{
    if (!cu_managing() || moving || channel_is_urgent())
        return false;
    pthread_mutex_lock(&turn);
    int rc = any(w->context, false) ? move(w->context, false) : 0;
    if (!rc)
        rc = note_busy(w->context, w->id);
    if (rc)
        *result = rc;
    return true;
}

void cu_managed_asked(bool due)
{
    if (due)
        pthread_mutex_unlock(&turn);
}

/* In turn. */
static int down(struct cu_context *c)
{
    int rc = any(c, true) ? move(c, true) : 0;

    if (!rc)
        c->n_busy = 0;
    return rc;
}

static int wait_for(const struct cu_context *c)
{
    const struct gpu_call_ctx_sync sync = {.ctx = c->o.id};

    return cu_call(c->o.channel, GPU_OP_CTX_SYNC, &sync, NULL);
}

/* It waits twice, so that others have their turn while what they asked before goes on. */
int cu_managed_down(struct cu_context *c)
{
    pthread_mutex_lock(&lock);
    bool there = any(c, true);
    pthread_mutex_unlock(&lock);
    int rc = there ? wait_for(c) : 0;
    if (rc || !there)
        return rc;
    pthread_mutex_lock(&turn);
    rc = wait_for(c);
    if (!rc)
        rc = down(c);
    pthread_mutex_unlock(&turn);
    return rc;
}

int cu_managed_down_if_idle(struct cu_context *c)
{
    int rc = 0;

    if (pthread_mutex_trylock(&turn))
        return CUDA_ERROR_NOT_READY; /* the next time */
    while (c->n_busy && !rc) {
        const struct gpu_call_stream_query call = {.stream = c->busy[c->n_busy - 1]};
        rc = cu_call(c->o.channel, GPU_OP_STREAM_QUERY, &call, NULL);
        c->n_busy -= !rc;
    }
    if (rc == CUDA_ERROR_INVALID_HANDLE) /* destroyed: only a wait tells when it is over */
        rc = CUDA_ERROR_NOT_READY;
    if (!rc)
        rc = down(c);
    else if (rc == CUDA_ERROR_NOT_READY && !c->narrowed)
        rc = 0;
    pthread_mutex_unlock(&turn);
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

static void lock_list(void)
{
    pthread_mutex_lock(&turn);
    pthread_mutex_lock(&lock);
}

static void unlock_list(void)
{
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&turn);
}

void cu_managed_forget(struct cu_context *c)
{
    if (!cu_managing() && !c->busy)
        return;
    lock_list();
    for (struct managed **at = &list; *at;) {
        if ((*at)->context == c)
            drop(at);
        else
            at = &(*at)->next;
    }
    free(c->busy);
    c->busy = NULL;
    c->n_busy = 0;
    unlock_list();
}

void cu_managed_free(CUdeviceptr address)
{
    lock_list();
    for (struct managed **at = &list; *at; at = &(*at)->next) {
        if ((uintptr_t)(*at)->at == address) {
            drop(at);
            break;
        }
    }
    unlock_list();
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
    lock_list();
    m->next = list;
    list = m;
    unlock_list();
    __atomic_add_fetch(&cu_managed, 1, __ATOMIC_RELEASE);
    *out = (uintptr_t)m->at;
    return 0;
}

/* All of it is always attached to all streams. A program that asked for less may touch it while
 * other streams go on, so that no query tells it that one is through before all are. */
CU_API CUresult cuStreamAttachMemAsync(CUstream stream, CUdeviceptr at, size_t bytes,
                                       unsigned flags)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !cu_is_managed(at) || !(flags == 1 || flags == 2 || flags == 4))
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (flags != ATTACH_GLOBAL)
        __atomic_store_n(&w.context->narrowed, true, __ATOMIC_RELAXED);
    return 0;
}
