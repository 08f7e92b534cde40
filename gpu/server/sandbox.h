/* gpu/server/sandbox: what a worker gives up, or a compiler: all system calls but those of a list,
 * all files, core dumps. */
#ifndef GPU_SERVER_SANDBOX_H
#define GPU_SERVER_SANDBOX_H

#include "base/base.h"

/* From here on this process computes: it opens nothing, starts nothing and connects to nothing. */
bool sandbox_gpu(GError **err);

/* The same of one that computes by a driver, which is open already: it opens the driver's devices,
 * libraries, and what the kernel tells of processors, buses and itself, and writes to the devices
 * alone. */
bool sandbox_gpu_driver(GError **err);

/* The same of one that compiles a guest's source: it reads what a source may include, and
 * libraries, those in the folder LIBRARY with them, and writes in FOLDER. Fails where the kernel
 * has no Landlock, as then it would read all of the host's files. */
bool sandbox_compiler(const char *folder, const char *library, GError **err);

#endif
