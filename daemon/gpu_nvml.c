/* What NVIDIA's management library says of the host's GPUs, by a process of vmd-gpu, and where
 * gpu.list tells it. See gpus.h, gpu/server/nvml.h. */
#include "daemon/gpus_priv.h"

#include <sys/socket.h>

enum { TEXT_MAX = 250 /* bytes of a short_text of the schema, with room */ };

static bool is_text(const char *text, size_t size)
{
    return memchr(text, 0, size) && g_utf8_validate(text, -1, NULL);
}

static bool is_whole(const struct worker_nvml_gpu *gpu)
{
    return is_text(gpu->pci, sizeof(gpu->pci)) && gpu->pci[0] &&
           is_text(gpu->name, sizeof(gpu->name)) && is_text(gpu->uuid, sizeof(gpu->uuid)) &&
           is_text(gpu->text, sizeof(gpu->text));
}

bool gpus__take_nvml(int fd, struct gpus_nvml *nvml)
{
    struct worker_nvml *head = &nvml->head;
    bool ok = recv(fd, head, sizeof(*head), MSG_DONTWAIT) == sizeof(*head) &&
              head->magic == WORKER_NVML_MAGIC && head->size == sizeof(*head) &&
              head->count <= GPU_DEVICES && is_text(head->release, sizeof(head->release)) &&
              is_text(head->text, sizeof(head->text));
    size_t bytes = ok ? head->count * sizeof(nvml->gpus[0]) : 0;

    ok = ok && (!bytes || recv(fd, nvml->gpus, bytes, MSG_DONTWAIT) == (ssize_t)bytes);
    for (uint32_t i = 0; ok && i < head->count; i++)
        ok = is_whole(&nvml->gpus[i]);
    if (!ok)
        memset(nvml, 0, sizeof(*nvml));
    return ok;
}

/* The one whose function ID, "pci:0000:01:00.0", is. A driver's domain may have more digits. */
static const struct worker_nvml_gpu *find(const struct gpus_nvml *nvml, const char *id)
{
    for (uint32_t i = 0; i < nvml->head.count; i++) {
        if (g_str_has_suffix(id, nvml->gpus[i].pci))
            return &nvml->gpus[i];
    }
    return NULL;
}

/* A GPU that no compute driver has is called what NVIDIA calls it, and its memory is told. */
static void add_to(struct host_gpu_info *i, const struct worker_nvml_gpu *gpu)
{
    if (gpu->name[0] && !i->has_backend) {
        g_free(i->name);
        i->name = g_strdup(gpu->name);
    }
    if (gpu->uuid[0])
        i->uuid = g_strdup(gpu->uuid);
    if (gpu->known & WORKER_NVML_MEMORY) {
        i->has_free_bytes = true;
        i->free_bytes = gpu->free;
        if (!i->has_memory_bytes)
            i->memory_bytes = gpu->memory;
        i->has_memory_bytes = true;
    }
    if (gpu->known & WORKER_NVML_MIG) {
        i->has_mig = true;
        i->mig = gpu->mig != 0;
    }
    if (gpu->text[0]) {
        g_autofree char *before = g_steal_pointer(&i->text);
        i->text = g_strdup_printf("NVML says: %s%s%.*s", gpu->text, before ? "; " : "",
                                  TEXT_MAX / 2, before ? before : "");
    }
}

void gpus__tell_nvml(const struct gpus_nvml *nvml, struct gpu_list_result *r)
{
    const struct worker_nvml *head = &nvml->head;

    for (size_t n = 0; n < r->n_gpus; n++) {
        const struct worker_nvml_gpu *gpu = r->gpus[n]->pci ? find(nvml, r->gpus[n]->pci) : NULL;
        if (gpu)
            add_to(r->gpus[n], gpu);
    }
    if (head->release[0])
        r->driver_release = g_strdup(head->release);
    if (head->text[0])
        r->nvml_text = g_strdup(head->text);
}
