/* See engine_test.h. Addresses of the device are those of the process, looked up before they are
 * used. */
#include "tests/gpu/engine_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct gpu_engine {
    pthread_mutex_t lock;
    GHashTable *blocks; /* address -> size */
    bool cancel;
};

enum which { ADD, SPIN, FAULT, SAY, KERNELS };

struct gpu_kernel {
    enum which which;
};

struct gpu_module {
    struct gpu_engine *engine;
    struct gpu_kernel kernels[KERNELS];
    uint64_t table;
};

static int test_device(struct gpu_device_info *out)
{
    static const int attributes[][2] = {
        {1, 1024},  {2, 1024}, {3, 1024}, {4, 64}, {5, INT32_MAX}, {6, 65535}, {7, 65535},
        {8, 49152}, {10, 32},  {16, 1},   {75, 9}, {76, 0},        {97, 49152}};

    memset(out, 0, sizeof(*out));
    strcpy(out->name, "test engine");
    out->memory = MIB(256);
    out->n_attributes = G_N_ELEMENTS(out->attributes);
    for (size_t i = 0; i < G_N_ELEMENTS(attributes); i++)
        out->attributes[attributes[i][0]] = attributes[i][1];
    return GPU_SUCCESS;
}

static struct gpu_engine *test_open(uint64_t memory_most)
{
    struct gpu_engine *e = g_new0(struct gpu_engine, 1);

    pthread_mutex_init(&e->lock, NULL);
    e->blocks = g_hash_table_new_full(g_direct_hash, g_direct_equal, free, NULL);
    return e;
}

static void test_close(struct gpu_engine *e)
{
    g_hash_table_destroy(e->blocks);
    pthread_mutex_destroy(&e->lock);
    g_free(e);
}

static void test_cancel(struct gpu_engine *e)
{
    __atomic_store_n(&e->cancel, true, __ATOMIC_RELAXED);
}

static int test_alloc(struct gpu_engine *e, uint64_t bytes, uint64_t *address)
{
    void *at = calloc(1, bytes);

    if (!at)
        return GPU_OUT_OF_MEMORY;
    pthread_mutex_lock(&e->lock);
    g_hash_table_insert(e->blocks, at, GSIZE_TO_POINTER(bytes));
    pthread_mutex_unlock(&e->lock);
    *address = (uintptr_t)at;
    return GPU_SUCCESS;
}

static int test_free(struct gpu_engine *e, uint64_t address)
{
    pthread_mutex_lock(&e->lock);
    bool had = g_hash_table_remove(e->blocks, GSIZE_TO_POINTER(address));
    pthread_mutex_unlock(&e->lock);
    return had ? GPU_SUCCESS : GPU_INVALID_VALUE;
}

static bool test_may_free(struct gpu_engine *e, uint64_t address)
{
    pthread_mutex_lock(&e->lock);
    bool has = g_hash_table_contains(e->blocks, GSIZE_TO_POINTER(address));
    pthread_mutex_unlock(&e->lock);
    return has;
}

static bool test_range(struct gpu_engine *e, uint64_t address, uint64_t *base, uint64_t *bytes)
{
    GHashTableIter iter;
    gpointer at, size;
    bool found = false;

    pthread_mutex_lock(&e->lock);
    g_hash_table_iter_init(&iter, e->blocks);
    while (!found && g_hash_table_iter_next(&iter, &at, &size)) {
        *base = (uintptr_t)at;
        *bytes = GPOINTER_TO_SIZE(size);
        found = address >= *base && address - *base < *bytes;
    }
    pthread_mutex_unlock(&e->lock);
    return found;
}

static void *test_host(struct gpu_engine *e, uint64_t address, uint64_t length)
{
    uint64_t base, bytes;

    if (!test_range(e, address, &base, &bytes) || length > bytes - (address - base))
        return NULL;
    return (void *)(uintptr_t)address;
}

static int test_module_new(struct gpu_engine *e, const uint8_t *image, size_t length, char *log,
                           size_t log_bytes, struct gpu_module **out)
{
    if (strcmp((const char *)image, "kernels") != 0) {
        snprintf(log, log_bytes, "line 1: no kernels");
        return GPU_INVALID_PTX;
    }
    struct gpu_module *m = g_new0(struct gpu_module, 1);
    m->engine = e;
    m->kernels[SPIN].which = SPIN;
    m->kernels[FAULT].which = FAULT;
    m->kernels[SAY].which = SAY;
    test_alloc(e, 64, &m->table);
    *out = m;
    return GPU_SUCCESS;
}

static void test_module_free(struct gpu_module *m)
{
    test_free(m->engine, m->table);
    g_free(m);
}

static uint64_t test_module_bytes(const struct gpu_module *m)
{
    return 64;
}

static int test_kernel(struct gpu_module *m, const char *name, struct gpu_kernel **out,
                       struct gpu_kernel_info *info)
{
    static const char *const names[] = {"add", "spin", "fault", "say"};

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = &m->kernels[i];
            info->max_threads = 512;
            info->n_params = i == ADD ? 4 : 0;
            for (unsigned p = 0; p < info->n_params; p++)
                info->params[p] = (struct gpu_param){p * 8, p == 3 ? 4 : 8};
            return GPU_SUCCESS;
        }
    }
    return GPU_NOT_FOUND;
}

static int test_global(struct gpu_module *m, const char *name, uint64_t *address, uint64_t *bytes)
{
    if (strcmp(name, "table") != 0)
        return GPU_NOT_FOUND;
    *address = m->table;
    *bytes = 64;
    return GPU_SUCCESS;
}

static int test_launch(struct gpu_engine *e, struct gpu_kernel *k, const struct gpu_launch *l)
{
    uint64_t params[4];

    if (k->which == FAULT)
        return GPU_ILLEGAL_ADDRESS;
    if (k->which == SPIN) {
        while (!__atomic_load_n(&e->cancel, __ATOMIC_RELAXED))
            g_usleep(100);
        return GPU_LAUNCH_TIMEOUT;
    }
    if (k->which == SAY) {
        l->print(l->opaque, "said\n", 5);
        return GPU_SUCCESS;
    }
    memset(params, 0, sizeof(params));
    memcpy(params, l->params, MIN(sizeof(params), l->params_bytes));
    uint64_t n = (uint32_t)params[3];
    uint32_t *out = test_host(e, params[0], n * 4);
    const uint32_t *a = test_host(e, params[1], n * 4), *b = test_host(e, params[2], n * 4);
    if (!out || !a || !b)
        return GPU_ILLEGAL_ADDRESS;
    for (uint64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
    return GPU_SUCCESS;
}

const struct gpu_engine_ops engine_test = {
    .name = "test",
    .device = test_device,
    .open = test_open,
    .close = test_close,
    .cancel = test_cancel,
    .alloc = test_alloc,
    .free = test_free,
    .may_free = test_may_free,
    .range = test_range,
    .host = test_host,
    .module_new = test_module_new,
    .module_free = test_module_free,
    .module_bytes = test_module_bytes,
    .kernel = test_kernel,
    .global = test_global,
    .launch = test_launch,
};
