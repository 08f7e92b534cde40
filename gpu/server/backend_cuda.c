/* The CUDA backend: its device and its contexts. See backend_cuda.h. */
#include "gpu/server/backend_cuda_priv.h"

#include "base/log.h"

#include <stdlib.h>

/* --- errors ----------------------------------------------------------------------------------- */

/* Errors of what ran, after which CUDA's contexts are of no use. */
static bool sticks(int rc)
{
    return rc == GPU_ILLEGAL_ADDRESS || rc == GPU_LAUNCH_TIMEOUT || rc == 214 || rc == 220 ||
           (rc >= 709 && rc <= 719 && rc != 712 && rc != 713) || rc == 721;
}

int cuda__result(struct gpu_context *c, int rc)
{
    if (!c->error && sticks(rc))
        c->error = rc;
    return rc;
}

int cuda__enter(struct gpu_context *c)
{
    if (c->error || !c->handle)
        return c->error ? c->error : GPU_CONTEXT_DESTROYED;
    return cuda__result(c, c->d->ctx_set(c->handle));
}

/* --- the device ------------------------------------------------------------------------------- */

static void cuda_close(struct gpu_backend *b)
{
    g_free(container_of(b, struct cuda_backend, base));
}

static unsigned cuda_devices(struct gpu_backend *b)
{
    return 1;
}

static int cuda_driver_version(struct gpu_backend *b)
{
    /* The calls that the guest's library offers are those of CUDA 12.4. */
    return MIN(container_of(b, struct cuda_backend, base)->driver->version, 12040);
}

/* What a device can and programs in a guest cannot have, by CUdevice_attribute: its place on the
 * host's buses; host memory in the device; what is shared between processes, or with other devices;
 * textures' special ways. */
static const unsigned withheld[] = {19,  33,  34,  50,  83,  84,  85,  86,  88,  89,  91,  96,
                                    99,  100, 101, 102, 103, 104, 105, 108, 110, 116, 117, 118,
                                    119, 124, 126, 127, 128, 129, 130, 131, 132, 134};

int cuda__device(struct gpu_backend *base, unsigned device, struct gpu_device_info *out)
{
    const struct cuda_backend *b = container_of(base, struct cuda_backend, base);
    struct worker_gpu gpu;

    if (device || !cuda_driver_describe(b->driver, b->ordinal, &gpu))
        return device ? GPU_INVALID_DEVICE : GPU_UNKNOWN;
    memset(out, 0, sizeof(*out));
    g_strlcpy(out->name, gpu.name, sizeof(out->name));
    out->memory = gpu.memory;
    out->n_attributes = G_N_ELEMENTS(out->attributes);
    for (int i = 1; i < (int)out->n_attributes; i++) {
        int value = 0;
        if (b->driver->device_attribute(&value, i, b->device) == GPU_SUCCESS)
            out->attributes[i] = value;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(withheld); i++)
        out->attributes[withheld[i]] = 0;
    return GPU_SUCCESS;
}

/* --- contexts --------------------------------------------------------------------------------- */

static struct gpu_context *context_object(struct cuda_backend *b, struct cuda_context *handle,
                                          struct gpu_quota *quota)
{
    struct gpu_context *c = g_new0(struct gpu_context, 1);

    c->backend = b;
    c->d = b->driver;
    c->handle = handle;
    c->quota = quota;
    c->streams = g_ptr_array_new_with_free_func(g_free);
    c->leaving = g_ptr_array_new();
    c->spare = g_ptr_array_new();
    cuda__meter_begin(c);
    c->slabs = g_ptr_array_new();
    c->blocks = g_ptr_array_new();
    c->late = g_array_new(FALSE, FALSE, sizeof(struct cuda_range));
    c->pieces = g_array_new(FALSE, FALSE, sizeof(struct cuda_piece));
    c->printed = g_byte_array_new();
    c->absent = g_array_new(FALSE, FALSE, sizeof(struct gpu_place));
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    c->first = cuda__stream_object(c, NULL);
    return c;
}

static int cuda_context_new(struct gpu_backend *base, unsigned device, struct gpu_quota *quota,
                            void (*wake)(void *opaque), void *opaque, struct gpu_context **out)
{
    struct cuda_backend *b = container_of(base, struct cuda_backend, base);
    struct cuda_context *handle = NULL;

    if (device)
        return GPU_INVALID_DEVICE;
    int rc = b->driver->ctx_new(&handle, 0, b->device);
    if (sticks(rc)) {
        /* "The process must be terminated and relaunched", says CUDA of such errors: another worker
         * is started, and programs find that one. */
        log_error("a context of the %s driver cannot be made after an error (%d): this worker ends",
                  b->driver->name, rc);
        _exit(EXIT_FAILURE);
    }
    if (rc)
        return rc;
    b->driver->ctx_pop(&handle); /* it is made the thread's for each call */
    *out = context_object(b, handle, quota);
    return GPU_SUCCESS;
}

/*
 * What runs ends with the driver's context, which takes all that is in it along. To let go of one
 * thing after the other would be to wait for what runs, perhaps for ever; only pinned memory, which
 * would else be the process's, is let go of where nothing runs.
 */
static void cuda_context_end(struct gpu_context *c)
{
    bool idle = cuda__context_query(c) == GPU_SUCCESS;

    cuda__host_end(c);
    c->d->ctx_set(c->handle);
    if (idle)
        cuda__host_memory_end(c);
    pthread_rwlock_wrlock(&c->backend->measuring);
    c->d->ctx_free(c->handle);
    pthread_rwlock_unlock(&c->backend->measuring);
    c->handle = NULL;
    cuda__meter_end(c);
}

static void cuda_context_free(struct gpu_context *c)
{
    for (guint i = 0; i < c->leaving->len; i++)
        cuda__event_free(g_ptr_array_index(c->leaving, i));
    if (c->epoch)
        cuda__event_free(c->epoch);
    if (c->arrived)
        cuda__event_free(c->arrived);
    cuda__memory_end(c);
    g_byte_array_free(c->printed, TRUE);
    g_array_free(c->absent, TRUE);
    g_ptr_array_free(c->leaving, TRUE);
    g_ptr_array_free(c->spare, TRUE);
    g_array_free(c->runs, TRUE);
    g_ptr_array_free(c->streams, TRUE);
    while (c->calls) {
        struct cuda_host_call *next = c->calls->next;
        g_free(c->calls);
        c->calls = next;
    }
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    g_free(c);
}

const struct gpu_backend_ops cuda__ops = {
    .name = "cuda",
    .polled = true,
    .close = cuda_close,
    .devices = cuda_devices,
    .driver_version = cuda_driver_version,
    .device = cuda__device,
    .context_new = cuda_context_new,
    .context_end = cuda_context_end,
    .context_free = cuda_context_free,
    .context_query = cuda__context_query,
    .meter_look = cuda__meter_look,
    .window = cuda__window,
    .buffer_new = cuda__buffer_new,
    .buffer_free = cuda__buffer_free,
    .memory = cuda__memory,
    .limit = cuda__limit,
    .printed = cuda__printed,
    .alloc = cuda__alloc,
    .alloc_at = cuda__alloc_at,
    .free = cuda__free,
    .free_on = cuda__free_on,
    .range = cuda__range,
    .module_new = cuda__module_new,
    .module_free = cuda__module_free,
    .kernel = cuda__kernel,
    .kernel_set = cuda__kernel_set,
    .occupancy = cuda__occupancy,
    .global = cuda__global,
    .stream_new = cuda__stream_new,
    .stream_free = cuda__stream_free,
    .stream_default = cuda__stream_default,
    .stream_query = cuda__stream_query,
    .stream_wait = cuda__stream_wait,
    .event_new = cuda__event_new,
    .event_free = cuda__event_free,
    .event_record = cuda__event_record,
    .event_query = cuda__event_query,
    .event_elapsed = cuda__event_elapsed,
    .copy = cuda__copy,
    .fill = cuda__fill,
    .value_write = cuda__value_write,
    .value_wait = cuda__value_wait,
    .launch = cuda__launch,
    .host = cuda__host,
    .move = &cuda__move,
};

bool cuda__backend_init(struct cuda_backend *b, const struct gpu_backend_ops *ops,
                        const struct cuda_driver *d, const char *which, GError **err)
{
    int ordinal = cuda_driver_find(d, which, err), device;

    if (ordinal < 0)
        return false;
    if (d->device_get(&device, ordinal))
        return vmd_fail(err, VMD_ERROR_IO, "the %s driver does not give GPU %d", d->name, ordinal);
    *b = (struct cuda_backend){.base = {.ops = ops},
                               .driver = d,
                               .ordinal = ordinal,
                               .device = device,
                               .measuring = PTHREAD_RWLOCK_INITIALIZER};
    return true;
}

struct gpu_backend *backend_cuda_new(const char *which, GError **err)
{
    const struct cuda_driver *d = cuda_driver_open(err);
    g_autofree struct cuda_backend *b = g_new0(struct cuda_backend, 1);

    if (!d || !cuda__backend_init(b, &cuda__ops, d, which, err))
        return NULL;
    return &g_steal_pointer(&b)->base;
}
