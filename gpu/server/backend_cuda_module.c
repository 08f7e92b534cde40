/* Modules and kernels of the CUDA backend. */
#include "gpu/server/backend_cuda_priv.h"

/* --- modules ---------------------------------------------------------------------------------- */

static uint64_t device_free(const struct cuda_driver *d)
{
    size_t left = 0, total;

    return d->memory_info(&left, &total) == GPU_SUCCESS ? left : 0;
}

/*
 * Loads, and says in *BYTES what that took of the device's memory, which is not to be known before,
 * and afterwards only by what is left. What the worker frees meanwhile is added: all that was begun
 * to be freed until the end, less what was freed at the start. What is allocated beside it has it
 * counted too high.
 */
static int load_measured(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                         size_t log_bytes, struct cuda_module **out, uint64_t *bytes)
{
    struct cuda_backend *b = c->backend;

    pthread_rwlock_rdlock(&b->measuring);
    uint64_t freed = __atomic_load_n(&b->releases_ended, __ATOMIC_SEQ_CST);
    uint64_t before = device_free(c->d);
    int rc = cuda__result(c, c->d->load(c->d, image, length, log, log_bytes, out));
    uint64_t after = device_free(c->d);
    before += __atomic_load_n(&b->releases_begun, __ATOMIC_SEQ_CST) - freed;
    pthread_rwlock_unlock(&b->measuring);
    *bytes = before > after ? before - after : 0;
    return rc;
}

static void kernel_free(void *data)
{
    struct gpu_kernel *k = data;

    g_free(k->name);
    g_free(k);
}

static bool take(struct gpu_context *c, uint64_t bytes, bool beside)
{
    return beside ? gpu_quota_beside(c->quota, (int64_t)bytes) : gpu_quota_take(c->quota, bytes);
}

static int module_new(struct gpu_context *c, const uint8_t *image, size_t length, bool beside,
                      char *log, size_t log_bytes, struct gpu_module **out)
{
    struct cuda_module *handle = NULL;
    uint64_t bytes;
    int rc = cuda__enter(c);

    if (rc)
        return rc;
    rc = load_measured(c, image, length, log, log_bytes, &handle, &bytes);
    if (rc)
        return rc;
    bytes = MAX(length, bytes);
    if (!take(c, bytes, beside)) {
        cuda__release_begins(c->backend, bytes);
        c->d->module_free(handle);
        cuda__release_ends(c->backend, bytes);
        g_strlcpy(log, "the module takes more memory than there is left", log_bytes);
        return GPU_OUT_OF_MEMORY;
    }
    struct gpu_module *m = g_new0(struct gpu_module, 1);
    m->context = c;
    m->handle = handle;
    m->kernels = g_ptr_array_new_with_free_func(kernel_free);
    m->charged = bytes;
    m->beside = beside;
    *out = m;
    return GPU_SUCCESS;
}

int cuda__module_new(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                     size_t log_bytes, struct gpu_module **out)
{
    return module_new(c, image, length, false, log, log_bytes, out);
}

int cuda__module_moved(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                       size_t log_bytes, struct gpu_module **out)
{
    return module_new(c, image, length, true, log, log_bytes, out);
}

void cuda__module_free(struct gpu_context *c, struct gpu_module *m)
{
    if (c->handle) {
        cuda__release_begins(c->backend, m->charged);
        c->d->ctx_set(c->handle);
        c->d->module_free(m->handle);
        cuda__release_ends(c->backend, m->charged);
    }
    if (m->beside)
        gpu_quota_beside(c->quota, -(int64_t)m->charged);
    else
        gpu_quota_give(c->quota, m->charged);
    cuda__ranges_drop(c, m);
    g_ptr_array_free(m->kernels, TRUE);
    g_clear_pointer(&m->places, g_array_unref);
    g_clear_pointer(&m->functions, g_array_unref);
    g_clear_pointer(&m->uses, g_hash_table_unref);
    g_clear_pointer(&m->variables, g_hash_table_unref);
    g_free(m);
}

int cuda__variable(struct gpu_module *m, const char *name, uint64_t *address, uint64_t *bytes)
{
    struct gpu_context *c = m->context;
    size_t size = 0;
    int rc = cuda__enter(c);

    if (!rc)
        rc = cuda__result(c, c->d->module_global(address, &size, m->handle, name));
    *bytes = size;
    return rc;
}

int cuda__global(struct gpu_context *c, struct gpu_module *m, const char *name, uint64_t *address,
                 uint64_t *bytes)
{
    const struct cuda_variable *v = m->variables ? g_hash_table_lookup(m->variables, name) : NULL;
    struct cuda_range r = {.module = m};

    if (m->variables && !v)
        return GPU_NOT_FOUND;
    if (v && !v->functions) {
        *address = v->place.address;
        *bytes = v->place.bytes;
        return GPU_SUCCESS;
    }
    int rc = cuda__variable(m, name, &r.base, &r.bytes);
    if (rc)
        return rc;
    m->asked |= v != NULL;
    if (!cuda__range_at(c, r.base))
        cuda__range_add(c, &r);
    *address = r.base;
    *bytes = r.bytes;
    return GPU_SUCCESS;
}

/* --- kernels ---------------------------------------------------------------------------------- */

/* By CUfunction_attribute. */
static int read_attributes(const struct cuda_driver *d, struct cuda_function *f,
                           struct gpu_kernel_info *info)
{
    unsigned *const values[] = {&info->max_threads,   &info->static_shared, &info->constant,
                                &info->local,         &info->registers,     &info->ptx_version,
                                &info->binary_version};
    int rc = 0, value = 0;

    for (int i = 0; !rc && i < (int)G_N_ELEMENTS(values); i++) {
        rc = d->kernel_attribute(&value, i, f);
        *values[i] = (unsigned)value;
    }
    return rc;
}

static int read_params(const struct cuda_driver *d, struct cuda_function *f,
                       struct gpu_kernel_info *info)
{
    size_t offset, bytes;

    if (!d->kernel_param)
        return GPU_NOT_SUPPORTED; /* a driver before CUDA 12.4 tells nobody what a kernel takes */
    while (d->kernel_param(f, info->n_params, &offset, &bytes) == GPU_SUCCESS) {
        if (info->n_params == G_N_ELEMENTS(info->params) || offset > UINT16_MAX ||
            bytes > UINT16_MAX)
            return GPU_NOT_SUPPORTED;
        info->params[info->n_params++] = (struct gpu_param){(uint32_t)offset, (uint32_t)bytes};
    }
    return GPU_SUCCESS;
}

int cuda__kernel(struct gpu_context *c, struct gpu_module *m, const char *name,
                 struct gpu_kernel **out, struct gpu_kernel_info *info)
{
    struct cuda_function *f;
    int rc = cuda__enter(c);

    memset(info, 0, sizeof(*info));
    if (!rc)
        rc = cuda__result(c, c->d->module_kernel(&f, m->handle, name));
    if (!rc)
        rc = read_attributes(c->d, f, info);
    if (!rc)
        rc = read_params(c->d, f, info);
    if (rc)
        return rc;
    struct gpu_kernel *k = g_malloc0(sizeof(*k) + info->n_params * sizeof(k->offsets[0]));
    k->context = c;
    k->handle = f;
    k->name = g_strdup(name);
    k->n_params = info->n_params;
    for (unsigned i = 0; i < k->n_params; i++)
        k->offsets[i] = info->params[i].offset;
    g_ptr_array_add(m->kernels, k);
    *out = k;
    return GPU_SUCCESS;
}

int cuda__kernel_set(struct gpu_kernel *k, unsigned attribute, unsigned value)
{
    struct gpu_context *c = k->context;
    int rc = cuda__enter(c);

    return rc ? rc : cuda__result(c, c->d->kernel_set(k->handle, (int)attribute, (int)value));
}

int cuda__occupancy(struct gpu_context *c, struct gpu_kernel *k, unsigned block, uint64_t shared,
                    unsigned *blocks)
{
    int n = 0, rc = cuda__enter(c);

    if (!rc)
        rc = cuda__result(c, c->d->occupancy(&n, k->handle, (int)block, shared));
    *blocks = (unsigned)MAX(n, 0);
    return rc;
}
