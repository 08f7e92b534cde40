/* What NVIDIA's management library knows. See nvml.h. */
#include "gpu/server/nvml.h"

#include "base/base.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* nvmlReturn_t */
enum { NOT_SUPPORTED = 3, GPU_IS_LOST = 15, RESET_REQUIRED = 16 };

struct nvml_device;

/* nvmlPciInfo_t, third version. */
struct nvml_pci {
    char legacy[16];
    unsigned domain, bus, device, ids, subsystem;
    char id[32];
};

/* nvmlMemory_t: bytes. */
struct nvml_memory {
    unsigned long long total, free, used;
};

G_STATIC_ASSERT(sizeof(struct nvml_pci) == 68);
G_STATIC_ASSERT(sizeof(struct nvml_memory) == 24);

struct nvml {
#define NEED(name, type, symbol, args) type(*name) args;
#define CALL(name, type, symbol, args) type(*name) args; /* NULL where the library is too old */
#include "gpu/server/nvml_calls.inc"
#undef NEED
#undef CALL
};

/* Looks all of it up; what is missing and cannot be is told in HEAD. */
static bool bind_calls(struct nvml *n, void *library, struct worker_nvml *head)
{
    const struct {
        const char *symbol;
        void **to;
        bool needed;
    } calls[] = {
#define NEED(name, type, symbol, args) {symbol, (void **)&n->name, true},
#define CALL(name, type, symbol, args) {symbol, (void **)&n->name, false},
#include "gpu/server/nvml_calls.inc"
#undef NEED
#undef CALL
    };

    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        *calls[i].to = dlsym(library, calls[i].symbol);
        if (!*calls[i].to && calls[i].needed) {
            snprintf(head->text, sizeof(head->text), "it has no %s: it is too old",
                     calls[i].symbol);
            return false;
        }
    }
    return true;
}

/* Words for RC, to OUT of BYTES. */
static void say_error(const struct nvml *n, int rc, char *out, size_t bytes)
{
    const char *words = n->error ? n->error(rc) : NULL;

    if (words)
        g_strlcpy(out, words, bytes);
    else
        snprintf(out, bytes, "error %d", rc);
}

/* Keeps the first thing that failed: what, of GPU INDEX (-1: of all), and how. */
static void note_failure(const struct nvml *n, struct worker_nvml *head, const char *what,
                         int index, int rc)
{
    char words[80];

    if (head->text[0])
        return;
    say_error(n, rc, words, sizeof(words));
    if (index < 0)
        snprintf(head->text, sizeof(head->text), "%s: %s", what, words);
    else
        snprintf(head->text, sizeof(head->text), "its GPU %d: %s: %s", index, what, words);
}

/* True where a call that gave RC told what it was asked for. */
static bool told(const struct nvml *n, struct worker_nvml *head, struct worker_nvml_gpu *gpu,
                 const char *what, int index, int rc)
{
    if ((rc == GPU_IS_LOST || rc == RESET_REQUIRED) && !gpu->text[0])
        say_error(n, rc, gpu->text, sizeof(gpu->text));
    else if (rc && rc != NOT_SUPPORTED && !gpu->text[0])
        note_failure(n, head, what, index, rc);
    return rc == 0;
}

/* What can be known of the GPU INDEX, whose place is known. */
static void describe(const struct nvml *n, struct worker_nvml *head, struct worker_nvml_gpu *gpu,
                     struct nvml_device *device, int index)
{
    struct nvml_memory memory;
    unsigned mig, after_reset;

    if (!n->name ||
        !told(n, head, gpu, "its name", index, n->name(device, gpu->name, sizeof(gpu->name))))
        gpu->name[0] = 0;
    if (!n->uuid ||
        !told(n, head, gpu, "its UUID", index, n->uuid(device, gpu->uuid, sizeof(gpu->uuid))))
        gpu->uuid[0] = 0;
    gpu->name[sizeof(gpu->name) - 1] = gpu->uuid[sizeof(gpu->uuid) - 1] = 0;
    if (n->memory && told(n, head, gpu, "its memory", index, n->memory(device, &memory))) {
        gpu->known |= WORKER_NVML_MEMORY;
        gpu->memory = memory.total;
        gpu->free = MIN(memory.free, memory.total);
    }
    if (n->mig && told(n, head, gpu, "its MIG mode", index, n->mig(device, &mig, &after_reset))) {
        gpu->known |= WORKER_NVML_MIG;
        gpu->mig = mig != 0;
    }
}

/* The GPU INDEX, to GPU; false where not even its place is to be had. */
static bool add(const struct nvml *n, struct worker_nvml *head, struct worker_nvml_gpu *gpu,
                int index)
{
    struct nvml_device *device;
    struct nvml_pci pci;
    int rc = n->device((unsigned)index, &device);

    if (!rc)
        rc = n->pci(device, &pci);
    if (rc) {
        note_failure(n, head, "its place", index, rc);
        return false;
    }
    memset(gpu, 0, sizeof(*gpu));
    /* A GPU is function 0 of its device. */
    snprintf(gpu->pci, sizeof(gpu->pci), "%04x:%02x:%02x.0", pci.domain, pci.bus & 0xff,
             pci.device & 0x1f);
    describe(n, head, gpu, device, index);
    return true;
}

static void ask_library(const struct nvml *n, struct worker_nvml *head,
                        struct worker_nvml_gpu *gpus)
{
    unsigned count = 0;
    int rc = n->init();

    if (rc) {
        note_failure(n, head, "it does not begin", -1, rc);
        return;
    }
    rc = n->release ? n->release(head->release, sizeof(head->release)) : NOT_SUPPORTED;
    if (rc)
        head->release[0] = 0;
    head->release[sizeof(head->release) - 1] = 0;
    if (rc && rc != NOT_SUPPORTED)
        note_failure(n, head, "the driver's release", -1, rc);
    rc = n->count(&count);
    if (rc) {
        note_failure(n, head, "how many GPUs there are", -1, rc);
        count = 0;
    }
    for (unsigned i = 0; i < count && head->count < GPU_DEVICES; i++)
        head->count += add(n, head, &gpus[head->count], (int)i);
    n->shutdown();
}

bool nvml_ask(struct worker_nvml *head, struct worker_nvml_gpu *gpus)
{
    const char *other = getenv("VMD_NVML");
    void *library = dlopen(other ? other : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    struct nvml n;

    if (!library)
        return false;
    *head = (struct worker_nvml){.magic = WORKER_NVML_MAGIC, .size = sizeof(*head)};
    if (bind_calls(&n, library, head))
        ask_library(&n, head, gpus);
    dlclose(library);
    return true;
}
