/*
 * gpu/server/backend_cuda: a GPU of the host by its CUDA driver. Streams and events of a session
 * are the driver's own, one to one; a session's context is a context of the driver.
 */
#ifndef GPU_SERVER_BACKEND_CUDA_H
#define GPU_SERVER_BACKEND_CUDA_H

#include "gpu/server/backend.h"

/* WHICH: see cuda_driver_find(). NULL with VMD_ERROR_UNSUPPORTED, VMD_ERROR_NOT_FOUND. */
struct gpu_backend *backend_cuda_new(const char *which, GError **err);

#endif
