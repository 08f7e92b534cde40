/* daemon/gpus_priv: what the files of daemon/gpus share. */
#ifndef DAEMON_GPUS_PRIV_H
#define DAEMON_GPUS_PRIV_H

#include "daemon/gpus.h"
#include "gpu/protocol/contract.h"

/* What NVIDIA's management library said; all 0 where it is not there. */
struct gpus_nvml {
    struct worker_nvml head;
    struct worker_nvml_gpu gpus[GPU_DEVICES];
};

/* What a driver said: COUNT GPUS, or why there are none. */
struct gpus_found {
    bool asked; /* ever */
    uint64_t at_ms;
    struct worker_gpus head;
    struct worker_gpu gpus[GPU_DEVICES];
    struct gpus_nvml nvml;
};

/* Calls FN when the driver was asked within half a minute, at once where it was; ERR, borrowed, is
 * set where no answer is to be had. */
typedef void (*gpus_known_fn)(struct gpus *gpus, void *arg, const GError *err);
void gpus__when_known(struct gpus *gpus, gpus_known_fn fn, void *arg);

enum vm_gpu_backend gpus__backend(const struct worker_gpu *gpu);
/* What names GPU INDEX and no other, wherever it is plugged in where its driver tells that: "GPU-"
 * and its UUID, else "pci:" and its address. The caller frees. */
char *gpus__id(const struct gpus_found *found, int index);
/* The GPU of BACKEND (soft: of any), by its place in FOUND, that DEVICE of a configuration names
 * (NULL: the first); -1 with VMD_ERROR_UNSUPPORTED or VMD_ERROR_NOT_FOUND, or VMD_ERROR_INVALID
 * where it names several. */
int gpus__find(const struct gpus_found *found, enum vm_gpu_backend backend, const char *device,
               GError **err);
/* What VMs that run, but EXCEPT, may hold of GPU INDEX, or of the host's processors (-1). Their
 * names to VMS, which may be NULL. */
uint64_t gpus__promised(struct gpus *gpus, int index, const struct vm *except, GPtrArray *vms);
const struct gpus_found *gpus__found(const struct gpus *gpus);
struct daemon *gpus__daemon(const struct gpus *gpus);

/* Reads what a process that ended said of NVML at socket FD; false, with NVML all 0, where that is
 * nothing or no such thing. */
bool gpus__take_nvml(int fd, struct gpus_nvml *nvml);
/* Adds to R, which has the host's GPUs, what NVML knows of them. */
void gpus__tell_nvml(const struct gpus_nvml *nvml, struct gpu_list_result *r);

#endif
