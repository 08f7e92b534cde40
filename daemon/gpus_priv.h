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

/* Drains that are under way, which end with GPUS where they do not before. */
struct drain;
void gpus__drain_began(struct gpus *gpus, struct drain *drain);
void gpus__drain_over(struct gpus *gpus, struct drain *drain);
void gpus__drain_free(struct drain *drain);

/* --- which is which --------------------------------------------------------------------------- */

enum { GPUS_NONE = G_MININT };

/* The software device NUMBER, where others have their place in what was found. */
int gpus__soft(unsigned number);
/* Which GPU is; GPUS_NONE: none that is known. */
int gpus__index(const struct gpus *gpus, const struct vm_gpu_config *gpu);
/* What names INDEX and no other; the caller frees. */
char *gpus__name(const struct gpus *gpus, int index);
/* REF names a software device, of which it need not be known what drivers have. */
bool gpus__is_soft(const char *ref);
/* Which one REF is; false with VMD_ERROR_NOT_FOUND, VMD_ERROR_INVALID or VMD_ERROR_UNSUPPORTED. */
bool gpus__resolve(const struct gpus *gpus, const char *ref, int *index, GError **err);
/* A configuration as LIKE (NULL: the defaults), on INDEX; the caller frees. */
struct vm_gpu_config *gpus__at(const struct gpus *gpus, int index,
                               const struct vm_gpu_config *like);
bool gpus__driver_has(const struct gpus_found *found, const char *pci);

/* Which devices take no more VMs, in the folder STORE. */
struct gpus_book;
struct gpus_book *gpus__book_new(const char *store);
void gpus__book_free(struct gpus_book *book);
struct gpus_book *gpus__book(const struct gpus *gpus);
/* NAME is what gpus__name() gave, once. */
bool gpus__drained(const struct gpus *gpus, const char *name);
/* False: nothing is changed. */
bool gpus__drain(struct gpus *gpus, const char *name, bool drained, GError **err);
/* Whether INDEX is there and not drained. */
bool gpus__takes(const struct gpus *gpus, int index, GError **err);

#endif
