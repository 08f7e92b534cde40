/*
 * gpu/server/backend_hip: an AMD GPU of the host by ROCm's HIP library. All but the driver and what
 * a device runs is the CUDA backend's (backend_cuda.h).
 */
#ifndef GPU_SERVER_BACKEND_HIP_H
#define GPU_SERVER_BACKEND_HIP_H

#include "gpu/server/backend.h"

/* WHICH: see cuda_driver_find(). NULL with VMD_ERROR_UNSUPPORTED, VMD_ERROR_NOT_FOUND. */
struct gpu_backend *backend_hip_new(const char *which, GError **err);

#endif
