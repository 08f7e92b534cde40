/*
 * gpu/server/nvml: NVIDIA's management library, libnvidia-ml.so.1, by dlopen: what it knows of GPUs
 * that a compute driver does not tell, or that no compute driver has. Its functions are declared
 * anew, by NVIDIA's "NVML API Reference Guide", so that nothing of it is needed to build this.
 *
 * VMD_NVML names another library in its place, as tests have one.
 */
#ifndef GPU_SERVER_NVML_H
#define GPU_SERVER_NVML_H

#include "gpu/protocol/contract.h"

#include <stdbool.h>

/*
 * Asks it for all, into HEAD, whose magic and size are set, and GPUS, which has room for
 * GPU_DEVICES. False: the library is not there. One that is there and does not answer tells why in
 * HEAD's text, and what it fails to tell of a GPU is not marked as known. It blocks as long as the
 * kernel's driver takes, seconds at times. One thread of the process.
 */
bool nvml_ask(struct worker_nvml *head, struct worker_nvml_gpu *gpus);

#endif
