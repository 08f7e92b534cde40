/*
 * Contexts over HIP, which has none: what each program of a VM made, what it has running, and its
 * end. See hip_priv.h.
 *
 * Programs share the device's default stream, and all that HIP offers to look at it waits for what
 * others do. So each context has an event behind its own work there: recorded at once while there
 * are other programs, else when it is asked for.
 *
 * hipFree() waits for every stream of the device, however long. While other programs are at work,
 * what is to be freed is put by, and freed when they are not.
 */
#include "base/log.h"
#include "gpu/server/hip_priv.h"

#include <stdlib.h>

__thread struct cuda_context *hip__current;

/* All contexts, and memory that is put by. Their streams and events come and go under the lock, and
 * ASKED and RECORDED change under it. */
static struct {
    pthread_mutex_t lock;
    GPtrArray *contexts;
    GArray *late; /* struct late */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct late {
    uint64_t address;
    int device;
};

/* --- what runs -------------------------------------------------------------------------------- */

enum { NON_BLOCKING = 1 /* hipStreamNonBlocking */ };

/* What C asked of the default stream. Locked; C's device is the thread's. */
static int default_query(struct cuda_context *c)
{
    int rc = GPU_SUCCESS;

    if (c->asked)
        rc = hip__library.table.event_record(c->last, NULL);
    c->recorded |= c->asked && !rc;
    c->asked = false;
    if (!rc && c->recorded)
        rc = hip__library.table.event_query(c->last);
    c->recorded &= rc == GPU_NOT_READY;
    return rc;
}

/* What C's streams do: all, or those that its default stream waits for, and that one. Locked. */
static int query(struct cuda_context *c, bool blocking_only)
{
    GHashTableIter iter;
    gpointer stream, flags;
    int rc = default_query(c);

    g_hash_table_iter_init(&iter, c->streams);
    while (rc == GPU_SUCCESS && g_hash_table_iter_next(&iter, &stream, &flags)) {
        if (!blocking_only || !(GPOINTER_TO_UINT(flags) & NON_BLOCKING))
            rc = hip__library.table.stream_query(stream);
    }
    return rc;
}

static int stream_query(struct cuda_stream *s)
{
    if (s)
        return hip__library.stream_query(s);
    pthread_mutex_lock(&all.lock);
    int rc = query(hip__current, true);
    pthread_mutex_unlock(&all.lock);
    return rc;
}

int hip__asked(struct cuda_stream *s, int rc)
{
    struct cuda_context *c = hip__current;

    if (s || rc)
        return rc;
    pthread_mutex_lock(&all.lock);
    c->asked = true;
    if (all.contexts->len > 1 && hip__library.table.event_record(c->last, NULL) == GPU_SUCCESS) {
        c->asked = false;
        c->recorded = true;
    }
    pthread_mutex_unlock(&all.lock);
    return rc;
}

/* Whether programs other than C's are at work on its device. Locked. */
static bool others_work(const struct cuda_context *c)
{
    for (guint i = 0; i < all.contexts->len; i++) {
        struct cuda_context *other = g_ptr_array_index(all.contexts, i);
        if (other != c && other->device == c->device && query(other, false) == GPU_NOT_READY)
            return true;
    }
    return false;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Frees what was put by, of C's device, where nothing keeps HIP from it. Whether there was any. */
static bool free_late(const struct cuda_context *c)
{
    g_autoptr(GArray) now = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    pthread_mutex_lock(&all.lock);
    bool can = all.late->len && !others_work(c);
    for (guint i = all.late->len; can && i-- > 0;) {
        const struct late *l = &g_array_index(all.late, struct late, i);
        if (l->device != c->device)
            continue;
        g_array_append_val(now, l->address);
        g_array_remove_index_fast(all.late, i);
    }
    pthread_mutex_unlock(&all.lock);
    for (guint i = 0; i < now->len; i++)
        hip__library.free(g_array_index(now, uint64_t, i));
    return now->len > 0;
}

/* Frees ADDRESS, now or when it can be. It waits for no more than what C does, and what others
 * begin at this moment. */
static int free_or_put_by(const struct cuda_context *c, uint64_t address)
{
    const struct late late = {address, c->device};

    pthread_mutex_lock(&all.lock);
    bool put_by = others_work(c);
    if (put_by)
        g_array_append_val(all.late, late);
    pthread_mutex_unlock(&all.lock);
    if (put_by)
        return GPU_SUCCESS;
    free_late(c);
    return hip__library.free(address);
}

static int memory_alloc(uint64_t *address, size_t bytes)
{
    struct cuda_context *c = hip__current;
    int rc = hip__library.alloc(address, bytes);

    if (rc == GPU_OUT_OF_MEMORY && free_late(c))
        rc = hip__library.alloc(address, bytes);
    if (!rc)
        g_hash_table_add(c->memory, g_memdup2(address, sizeof(*address)));
    return rc;
}

static int memory_free(uint64_t address)
{
    g_hash_table_remove(hip__current->memory, &address);
    return free_or_put_by(hip__current, address);
}

static int host_alloc(void **out, size_t bytes, unsigned flags)
{
    int rc = hip__library.host_alloc(out, bytes, flags);

    if (!rc)
        g_hash_table_insert(hip__current->pinned, *out, GINT_TO_POINTER(false));
    return rc;
}

static int host_free(void *at)
{
    g_hash_table_remove(hip__current->pinned, at);
    return hip__library.host_free(at);
}

static int host_register(void *at, size_t bytes, unsigned flags)
{
    int rc = hip__library.host_register(at, bytes, flags);

    if (!rc)
        g_hash_table_insert(hip__current->pinned, at, GINT_TO_POINTER(true));
    return rc;
}

static int host_unregister(void *at)
{
    g_hash_table_remove(hip__current->pinned, at);
    return hip__library.host_unregister(at);
}

/* --- streams and events ----------------------------------------------------------------------- */

static int stream_new(struct cuda_stream **out, unsigned flags, int priority)
{
    int rc = hip__library.stream_new(out, flags, priority);

    if (rc)
        return rc;
    pthread_mutex_lock(&all.lock);
    g_hash_table_insert(hip__current->streams, *out, GUINT_TO_POINTER(flags));
    pthread_mutex_unlock(&all.lock);
    return GPU_SUCCESS;
}

static int stream_free(struct cuda_stream *s)
{
    pthread_mutex_lock(&all.lock);
    g_hash_table_remove(hip__current->streams, s);
    pthread_mutex_unlock(&all.lock);
    return hip__library.stream_free(s);
}

static int event_new(struct cuda_event **out, unsigned flags)
{
    int rc = hip__library.event_new(out, flags);

    if (!rc)
        g_hash_table_add(hip__current->events, *out);
    return rc;
}

static int event_free(struct cuda_event *e)
{
    g_hash_table_remove(hip__current->events, e);
    return hip__library.event_free(e);
}

/* --- what runs in streams --------------------------------------------------------------------- */

static int stream_wait(struct cuda_stream *s, struct cuda_event *e, unsigned flags)
{
    return hip__asked(s, hip__library.stream_wait(s, e, flags));
}

static int to_device(uint64_t to, const void *from, size_t bytes, struct cuda_stream *s)
{
    return hip__asked(s, hip__library.to_device(to, from, bytes, s));
}

static int from_device(void *to, uint64_t from, size_t bytes, struct cuda_stream *s)
{
    return hip__asked(s, hip__library.from_device(to, from, bytes, s));
}

static int on_device(uint64_t to, uint64_t from, size_t bytes, struct cuda_stream *s)
{
    return hip__asked(s, hip__library.on_device(to, from, bytes, s));
}

static int copy_rows(const struct cuda_rows *rows, struct cuda_stream *s)
{
    return hip__asked(s, hip__library.copy_rows(rows, s));
}

static int launch_host(struct cuda_stream *s, void (*fn)(void *opaque), void *opaque)
{
    return hip__asked(s, hip__library.launch_host(s, fn, opaque));
}

static int fill8(uint64_t to, size_t pitch, unsigned char value, size_t width, size_t height,
                 struct cuda_stream *s)
{
    int rc = GPU_SUCCESS;

    for (size_t y = 0; !rc && y < height; y++)
        rc = hip__library.fill8(to + y * pitch, value, width, s);
    return hip__asked(s, rc);
}

static int fill16(uint64_t to, size_t pitch, unsigned short value, size_t width, size_t height,
                  struct cuda_stream *s)
{
    int rc = GPU_SUCCESS;

    for (size_t y = 0; !rc && y < height; y++)
        rc = hip__library.fill16(to + y * pitch, value, width, s);
    return hip__asked(s, rc);
}

static int fill32(uint64_t to, size_t pitch, unsigned value, size_t width, size_t height,
                  struct cuda_stream *s)
{
    int rc = GPU_SUCCESS;

    for (size_t y = 0; !rc && y < height; y++)
        rc = hip__library.fill32(to + y * pitch, (int)value, width, s);
    return hip__asked(s, rc);
}

static int write32(struct cuda_stream *s, uint64_t address, uint32_t value, unsigned flags)
{
    return hip__asked(s, hip__library.write32(s, address, value, flags));
}

static int write64(struct cuda_stream *s, uint64_t address, uint64_t value, unsigned flags)
{
    return hip__asked(s, hip__library.write64(s, address, value, flags));
}

static int wait32(struct cuda_stream *s, uint64_t address, uint32_t value, unsigned flags)
{
    return hip__asked(s, hip__library.wait32(s, address, value, flags, UINT32_MAX));
}

static int wait64(struct cuda_stream *s, uint64_t address, uint64_t value, unsigned flags)
{
    return hip__asked(s, hip__library.wait64(s, address, value, flags, UINT64_MAX));
}

/* --- contexts --------------------------------------------------------------------------------- */

static int ctx_set(struct cuda_context *c)
{
    hip__current = c;
    return c ? hip__library.set_device(c->device) : GPU_SUCCESS;
}

static int ctx_pop(struct cuda_context **c)
{
    *c = hip__current;
    hip__current = NULL;
    return GPU_SUCCESS;
}

static int ctx_new(struct cuda_context **out, unsigned flags, int device)
{
    enum { NO_TIMING = 2 };
    struct cuda_event *last;
    int rc = hip__library.set_device(device);

    if (!rc)
        rc = hip__library.event_new(&last, NO_TIMING);
    if (rc)
        return rc;
    struct cuda_context *c = g_new0(struct cuda_context, 1);
    c->device = device;
    c->last = last;
    c->memory = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    c->pinned = g_hash_table_new(NULL, NULL);
    c->streams = g_hash_table_new(NULL, NULL);
    c->events = g_hash_table_new(NULL, NULL);
    c->modules = g_hash_table_new_full(NULL, NULL, hip__module_drop, NULL);
    pthread_mutex_lock(&all.lock);
    if (!all.contexts) {
        all.contexts = g_ptr_array_new();
        all.late = g_array_new(FALSE, FALSE, sizeof(struct late));
    }
    g_ptr_array_add(all.contexts, c);
    pthread_mutex_unlock(&all.lock);
    hip__current = *out = c;
    return GPU_SUCCESS;
}

/*
 * HIP ends no kernel: what runs in the context is waited for, and one that does not end, or failed,
 * ends with this process. Another worker is started, and programs find that one.
 */
static void wait_idle(struct cuda_context *c)
{
    enum { MOST_US = 10 * G_USEC_PER_SEC, PAUSE_US = 1000 };
    int64_t until = g_get_monotonic_time() + MOST_US;
    int rc;

    for (;;) {
        pthread_mutex_lock(&all.lock);
        rc = query(c, false);
        pthread_mutex_unlock(&all.lock);
        if (rc != GPU_NOT_READY || g_get_monotonic_time() > until)
            break;
        g_usleep(PAUSE_US);
    }
    if (!rc)
        return;
    if (rc == GPU_NOT_READY)
        log_error("kernels of a program that is gone do not end: this worker ends");
    else
        log_error("the device has failed (%d): this worker ends", rc);
    _exit(EXIT_FAILURE);
}

static void free_all(struct cuda_context *c)
{
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, c->streams);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        hip__library.stream_free(key);
    g_hash_table_iter_init(&iter, c->events);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        hip__library.event_free(key);
    hip__library.event_free(c->last);
    g_hash_table_iter_init(&iter, c->pinned);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (GPOINTER_TO_INT(value))
            hip__library.host_unregister(key);
        else
            hip__library.host_free(key);
    }
    g_hash_table_iter_init(&iter, c->memory);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        free_or_put_by(c, *(const uint64_t *)key);
}

/* What it leaves behind is put by, where others are at work, for the next one to free. */
static int ctx_free(struct cuda_context *c)
{
    wait_idle(c);
    pthread_mutex_lock(&all.lock);
    g_ptr_array_remove_fast(all.contexts, c);
    pthread_mutex_unlock(&all.lock);
    free_all(c);
    free_late(c);
    g_hash_table_destroy(c->streams);
    g_hash_table_destroy(c->events);
    g_hash_table_destroy(c->pinned);
    g_hash_table_destroy(c->memory);
    g_hash_table_destroy(c->modules);
    if (hip__current == c)
        hip__current = NULL;
    g_free(c);
    return GPU_SUCCESS;
}

void hip__context_calls(struct cuda_driver *table)
{
    table->ctx_new = ctx_new;
    table->ctx_free = ctx_free;
    table->ctx_set = ctx_set;
    table->ctx_pop = ctx_pop;
    table->alloc = memory_alloc;
    table->free = memory_free;
    table->host_alloc = host_alloc;
    table->host_free = host_free;
    table->host_register = host_register;
    table->host_unregister = host_unregister;
    table->stream_new = stream_new;
    table->stream_free = stream_free;
    table->stream_query = stream_query;
    table->stream_wait = stream_wait;
    table->event_new = event_new;
    table->event_free = event_free;
    table->to_device = to_device;
    table->from_device = from_device;
    table->on_device = on_device;
    table->copy_rows = copy_rows;
    table->launch_host = launch_host;
    table->fill8 = fill8;
    table->fill16 = fill16;
    table->fill32 = fill32;
    table->write32 = write32;
    table->write64 = write64;
    table->wait32 = wait32;
    table->wait64 = wait64;
}
