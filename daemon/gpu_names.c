/*
 * Which GPU is which: names of devices, and which of them take no more VMs. See gpus_priv.h.
 *
 * Software devices have numbers below 0 where those that a driver found have their place. What is
 * drained is kept by name in gpus.json of the store.
 */
#include "daemon/gpus_priv.h"

#include "base/log.h"
#include "daemon/store.h"
#include "proto/jsonrpc/json.h"

enum { PCI_ADDRESS = 12 /* characters of 0000:01:00.0 */ };

struct gpus_book {
    char *path;
    GHashTable *drained; /* names, owned */
};

static bool same_pci(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);

    return n >= PCI_ADDRESS && m >= PCI_ADDRESS &&
           g_ascii_strcasecmp(a + n - PCI_ADDRESS, b + m - PCI_ADDRESS) == 0;
}

enum vm_gpu_backend gpus__backend(const struct worker_gpu *gpu)
{
    return strcmp(gpu->backend, "hip") == 0 ? VM_GPU_BACKEND_HIP : VM_GPU_BACKEND_CUDA;
}

static bool is_named(const struct worker_gpu *gpu, const char *device)
{
    const char *uuid = g_ascii_strncasecmp(device, "GPU-", 4) == 0 ? device + 4 : device;
    guint64 number;

    if (g_ascii_string_to_unsigned(device, 10, 0, UINT32_MAX, &number, NULL))
        return gpu->number == number;
    return g_ascii_strcasecmp(gpu->uuid, uuid) == 0 || same_pci(gpu->pci, device);
}

/* AMD's GPUs that have no number of their own say "XX". */
char *gpus__id(const struct gpus_found *found, int index)
{
    const struct worker_gpu *gpu = &found->gpus[index];
    bool alone = g_ascii_strcasecmp(gpu->uuid, "XX") != 0;

    for (int i = 0; alone && i < (int)found->head.count; i++)
        alone = i == index || g_ascii_strcasecmp(found->gpus[i].uuid, gpu->uuid) != 0;
    if (alone)
        return g_strconcat("GPU-", gpu->uuid, NULL);
    g_autofree char *pci = g_ascii_strdown(gpu->pci, -1);
    return g_strconcat("pci:", pci, NULL);
}

static int ambiguous(const struct gpus_found *found, int first, int second, const char *device,
                     GError **err)
{
    g_autofree char *one = gpus__id(found, first), *other = gpus__id(found, second);

    vmd_fail(err, VMD_ERROR_INVALID, "the host has several GPUs %s: name %s (%s) or %s (%s)",
             device, one, found->gpus[first].backend, other, found->gpus[second].backend);
    return -1;
}

int gpus__find(const struct gpus_found *found, enum vm_gpu_backend backend, const char *device,
               GError **err)
{
    bool any = backend == VM_GPU_BACKEND_SOFT;
    int its = -1;

    for (int i = 0; i < (int)found->head.count; i++) {
        const struct worker_gpu *gpu = &found->gpus[i];
        if ((!any && gpus__backend(gpu) != backend) || (device && !is_named(gpu, device)))
            continue;
        if (its >= 0 && device)
            return ambiguous(found, its, i, device, err);
        if (its < 0)
            its = i;
    }
    if (its >= 0)
        return its;
    if (!found->head.count)
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the host has no GPU for guests: %s",
                 found->head.text);
    else
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "the host's %s driver has no GPU%s%s",
                 backend == VM_GPU_BACKEND_HIP ? "HIP" : "CUDA", device ? " " : "",
                 device ? device : "");
    return -1;
}

/* --- devices of both kinds -------------------------------------------------------------------- */

int gpus__soft(unsigned number)
{
    return -1 - (int)number;
}

int gpus__index(const struct gpus *g, const struct vm_gpu_config *gpu)
{
    guint64 number = 0;

    if (gpu->backend == VM_GPU_BACKEND_SOFT) {
        if (gpu->device)
            g_ascii_string_to_unsigned(gpu->device, 10, 0, LIMIT_SOFT_GPUS - 1, &number, NULL);
        return gpus__soft((unsigned)number);
    }
    int index = gpus__find(gpus__found(g), gpu->backend, gpu->device, NULL);
    return index < 0 ? GPUS_NONE : index;
}

char *gpus__name(const struct gpus *g, int index)
{
    if (index >= 0)
        return gpus__id(gpus__found(g), index);
    return index == -1 ? g_strdup("soft") : g_strdup_printf("soft:%d", -1 - index);
}

bool gpus__is_soft(const char *ref)
{
    return strcmp(ref, "soft") == 0 || g_str_has_prefix(ref, "soft:");
}

bool gpus__resolve(const struct gpus *g, const char *ref, int *index, GError **err)
{
    guint64 number = 0;

    if (!gpus__is_soft(ref)) {
        *index = gpus__find(gpus__found(g), VM_GPU_BACKEND_SOFT, ref, err);
        return *index >= 0;
    }
    if (ref[4] && !g_ascii_string_to_unsigned(ref + 5, 10, 0, UINT32_MAX, &number, NULL))
        return vmd_fail(err, VMD_ERROR_INVALID, "%s: software GPUs are soft, soft:1 and on", ref);
    if (number >= gpus__daemon(g)->soft_gpus)
        return vmd_fail(err, VMD_ERROR_NOT_FOUND,
                        "the host has no GPU %s, but %u of soft "
                        "(vmd --soft-gpus)",
                        ref, gpus__daemon(g)->soft_gpus);
    *index = gpus__soft((unsigned)number);
    return true;
}

struct vm_gpu_config *gpus__at(const struct gpus *g, int index, const struct vm_gpu_config *like)
{
    struct vm_gpu_config *gpu = like ? vm_gpu_config_copy(like) : vm_gpu_config_new();

    g_clear_pointer(&gpu->device, g_free);
    if (index >= 0) { /* numbers change with the host's slots; this one does not */
        gpu->backend = gpus__backend(&gpus__found(g)->gpus[index]);
        gpu->device = gpus__id(gpus__found(g), index);
    } else {
        gpu->backend = VM_GPU_BACKEND_SOFT;
        gpu->device = index == -1 ? NULL : g_strdup_printf("%d", -1 - index);
    }
    return gpu;
}

char *gpus_ref(const struct gpus *g, const struct vm_gpu_config *gpu)
{
    int index = gpus__index(g, gpu);

    if (index < 0 && index != GPUS_NONE)
        return gpus__name(g, index);
    return g_strdup(gpu->device ? gpu->device : "0");
}

char *gpus_host_device(const struct gpus *g, const struct vm_gpu_config *gpu)
{
    const struct gpus_found *found = gpus__found(g);
    int index = gpus__index(g, gpu);
    const char *pci = index < 0 ? "" : found->gpus[index].pci;

    if (strlen(pci) < PCI_ADDRESS)
        return NULL;
    /* Drivers may tell a domain of more digits. */
    g_autofree char *address = g_ascii_strdown(pci + strlen(pci) - PCI_ADDRESS, -1);
    return g_strconcat("pci:", address, NULL);
}

char *gpus_device_name(const struct gpus *g, const struct vm_gpu_config *gpu)
{
    int index = gpus__index(g, gpu);

    if (gpu->backend == VM_GPU_BACKEND_SOFT)
        return gpus__name(g, index);
    const char *backend = vm_gpu_backend_to_string(gpu->backend);
    return g_strdup_printf("%s %s", backend,
                           index >= 0    ? gpus__found(g)->gpus[index].uuid
                           : gpu->device ? gpu->device
                                         : "");
}

bool gpus__driver_has(const struct gpus_found *f, const char *pci)
{
    for (unsigned n = 0; n < f->head.count; n++) {
        if (same_pci(f->gpus[n].pci, pci))
            return true;
    }
    return false;
}

/* --- drained ones ----------------------------------------------------------------------------- */

struct gpus_book *gpus__book_new(const char *store)
{
    struct gpus_book *b = g_new0(struct gpus_book, 1);
    json_object *json = NULL;
    g_autoptr(GError) err = NULL;

    b->path = g_build_filename(store, "gpus.json", NULL);
    b->drained = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!store_read(b->path, &json, &err))
        log_warning("which GPUs are drained is forgotten: %s", err->message);
    struct json_object *rows = NULL;
    bool is = json_object_is_type(json, json_type_object) &&
              json_object_object_get_ex(json, "drained", &rows) &&
              json_object_is_type(rows, json_type_array);
    for (size_t i = 0; is && i < json_object_array_length(rows); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(rows, i));
        if (name)
            g_hash_table_add(b->drained, g_strdup(name));
    }
    json_object_put(json);
    return b;
}

void gpus__book_free(struct gpus_book *b)
{
    g_hash_table_destroy(b->drained);
    g_free(b->path);
    g_free(b);
}

bool gpus__drained(const struct gpus *g, const char *name)
{
    return g_hash_table_contains(gpus__book(g)->drained, name);
}

static void set_drained(struct gpus_book *b, const char *name, bool drained)
{
    if (drained)
        g_hash_table_add(b->drained, g_strdup(name));
    else
        g_hash_table_remove(b->drained, name);
}

bool gpus__drain(struct gpus *g, const char *name, bool drained, GError **err)
{
    struct gpus_book *b = gpus__book(g);
    g_autoptr(json_object) json = json_object_new_object();
    struct json_object *rows = json_object_new_array();
    GHashTableIter it;
    gpointer key;

    bool was = g_hash_table_contains(b->drained, name);
    set_drained(b, name, drained);
    g_hash_table_iter_init(&it, b->drained);
    while (g_hash_table_iter_next(&it, &key, NULL))
        json_object_array_add(rows, json_object_new_string(key));
    json_object_object_add(json, "drained", rows);
    if (store_write(b->path, json, true, err))
        return true;
    set_drained(b, name, was);
    return false;
}

bool gpus__takes(const struct gpus *g, int index, GError **err)
{
    g_autofree char *name = gpus__name(g, index);
    unsigned most = gpus__daemon(g)->soft_gpus;

    if (index < 0 && index < gpus__soft(most - 1))
        return vmd_fail(err, VMD_ERROR_NOT_FOUND,
                        "the host has no GPU %s, but %u of soft "
                        "(vmd --soft-gpus)",
                        name, most);
    return !gpus__drained(g, name) ||
           vmd_fail(err, VMD_ERROR_STATE,
                    "the GPU %s is drained, and takes no VM until gpu.undrain", name);
}

bool gpus_takes(const struct gpus *g, const struct vm_gpu_config *gpu, GError **err)
{
    int index = gpus__index(g, gpu);

    return index == GPUS_NONE || gpus__takes(g, index, err);
}
