/* gpu/server/sandbox: what a worker gives up: all system calls but those of a list, all files, core
 * dumps. */
#ifndef GPU_SERVER_SANDBOX_H
#define GPU_SERVER_SANDBOX_H

#include "base/base.h"

/* From here on this process computes: it opens nothing, starts nothing and connects to nothing. */
bool sandbox_gpu(GError **err);

#endif
