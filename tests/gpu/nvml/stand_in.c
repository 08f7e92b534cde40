/*
 * A stand-in for NVIDIA's management library, with three GPUs: one in the slot of vmd's own
 * software GPU, one that is cut into instances and no compute driver has, and one that fell off the
 * bus. It ends its process where it is called as the real one may not be, and where init=-1 asks
 * it.
 *
 * VMD_NVML_STAND_IN names calls that fail, and how, as in "init=9 name:1=15": a number after a
 * colon is the GPU for which it does. Of OLD, the last calls that were added are missing; of
 * TOO_OLD one without which nothing can be known.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GPUS = 3, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

struct gpu {
    const char *name, *uuid;
    unsigned domain, bus, device;
    unsigned long long total, free;
    unsigned mig;
};

static struct gpu gpus[GPUS] = {
    {"NVIDIA Stand-in 80GB", "GPU-5a7c0001-0000-4000-8000-0000000000a1", 0, 0, 0, 80ull << 30,
     79ull << 30, 0},
    {"NVIDIA Stand-in 40GB", "GPU-5a7c0002-0000-4000-8000-0000000000a2", 0, 0x41, 0, 40ull << 30,
     12ull << 30, 1},
    {"NVIDIA Stand-in 24GB", "GPU-5a7c0003-0000-4000-8000-0000000000a3", 0x1a, 0xc1, 0x1f,
     24ull << 30, 24ull << 30, 0},
};
static int begun;

/* What nvmlPciInfo_t and nvmlMemory_t are. */
struct pci {
    char legacy[16];
    unsigned domain, bus, device, ids, subsystem;
    char id[32];
};

struct memory {
    unsigned long long total, free, used;
};

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **device);
int nvmlDeviceGetPciInfo_v3(struct gpu *device, struct pci *pci);
int nvmlDeviceGetName(struct gpu *device, char *name, unsigned bytes);
int nvmlDeviceGetUUID(struct gpu *device, char *uuid, unsigned bytes);
int nvmlDeviceGetMemoryInfo(struct gpu *device, struct memory *memory);
int nvmlDeviceGetMigMode(struct gpu *device, unsigned *now, unsigned *after_reset);
int nvmlSystemGetDriverVersion(char *release, unsigned bytes);
const char *nvmlErrorString(int rc);

static void require(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "NVML stand-in: %s\n", what);
    abort();
}

/* How CALL fails for GPU (-1: for all of them); 0. */
static int failure(const char *call, int gpu)
{
    const char *list = getenv("VMD_NVML_STAND_IN");
    char words[256], *at = words;

    snprintf(words, sizeof(words), "%s", list ? list : "");
    for (char *word; (word = strsep(&at, " "));) {
        char *code = strchr(word, '=');
        if (!code)
            continue;
        *code++ = 0;
        char *which = strchr(word, ':');
        if (which)
            *which++ = 0;
        if (strcmp(word, call) == 0 && (!which || atoi(which) == gpu))
            return atoi(code);
    }
    return 0;
}

/* Of a call about GPU, which is to have a handle that was given. */
static int fails(const char *call, const struct gpu *gpu)
{
    require(begun, "a call before the library was begun, or after it was ended");
    require(gpu >= gpus && gpu < gpus + GPUS, "a handle that is none");
    return failure(call, (int)(gpu - gpus));
}

static int put(char *to, unsigned bytes, const char *text, unsigned least)
{
    require(bytes >= least, "a buffer that is shorter than texts may be");
    snprintf(to, bytes, "%s", text);
    return 0;
}

int nvmlInit_v2(void)
{
    int rc = failure("init", -1);

    require(!begun, "it was begun twice");
    require(rc >= 0, "it is to die");
    begun = !rc;
    return rc;
}

int nvmlShutdown(void)
{
    require(begun, "it was ended, and had not begun");
    begun = 0;
    return 0;
}

/* When the library goes. */
__attribute__((destructor)) static void gone(void)
{
    require(!begun, "it was begun and not ended");
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    const char *many = getenv("VMD_NVML_STAND_IN_COUNT");

    require(begun, "a count of GPUs before it was begun");
    *count = many ? (unsigned)atoi(many) : GPUS;
    return failure("count", -1);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **device)
{
    require(begun, "a handle before it was begun");
    *device = &gpus[index % GPUS];
    return failure("device", (int)index);
}

#ifndef TOO_OLD
int nvmlDeviceGetPciInfo_v3(struct gpu *device, struct pci *pci)
{
    int rc = fails("pci", device);

    memset(pci, 0xff, sizeof(*pci));
    if (rc)
        return rc;
    pci->domain = device->domain;
    pci->bus = device->bus;
    pci->device = device->device;
    snprintf(pci->id, sizeof(pci->id), "%08X:%02X:%02X.0", device->domain, device->bus,
             device->device);
    return 0;
}
#endif

int nvmlDeviceGetName(struct gpu *device, char *name, unsigned bytes)
{
    int rc = fails("name", device);

    return rc ? rc : put(name, bytes, device->name, 96);
}

int nvmlDeviceGetUUID(struct gpu *device, char *uuid, unsigned bytes)
{
    int rc = fails("uuid", device);

    return rc ? rc : put(uuid, bytes, device->uuid, 96);
}

int nvmlDeviceGetMemoryInfo(struct gpu *device, struct memory *memory)
{
    int rc = fails("memory", device);

    memset(memory, 0xff, sizeof(*memory));
    if (rc)
        return rc;
    memory->total = device->total;
    memory->free = device->free;
    memory->used = device->total - device->free;
    return 0;
}

int nvmlSystemGetDriverVersion(char *release, unsigned bytes)
{
    int rc = failure("release", -1);

    require(begun, "the driver's release before it was begun");
    return rc ? rc : put(release, bytes, "999.54.14", 80);
}

#ifndef OLD
int nvmlDeviceGetMigMode(struct gpu *device, unsigned *now, unsigned *after_reset)
{
    int rc = fails("mig", device);

    *now = *after_reset = 2; /* neither is one of the modes */
    if (rc)
        return rc;
    *now = device->mig;
    *after_reset = !device->mig;
    return 0;
}

const char *nvmlErrorString(int rc)
{
    return rc == DRIVER_NOT_LOADED ? "Driver Not Loaded"
           : rc == GPU_IS_LOST     ? "GPU is lost"
           : rc == NOT_SUPPORTED   ? "Not Supported"
                                   : "Unknown Error";
}
#endif
