/* gpu/server/sandbox: what a worker gives up: all system calls but those of a list, all files, core
 * dumps. */
#ifndef GPU_SERVER_SANDBOX_H
#define GPU_SERVER_SANDBOX_H

#include "base/base.h"

/* From here on this process computes: it opens nothing, starts nothing and connects to nothing. */
bool sandbox_gpu(GError **err);

/* The same of one that computes by a driver, which is open already: it opens the driver's devices,
 * libraries, and what the kernel tells of processors, buses and itself, and writes to the devices
 * alone. */
bool sandbox_gpu_driver(GError **err);

#endif
