/*
 * gpu/server/hip_driver: libamdhip64.so of the host, of ROCm 6 or later, by dlopen: its functions,
 * declared anew, in the table that the CUDA backend calls (cuda_driver.h). HIP numbers its errors
 * as CUDA does, where both have one.
 *
 * HIP has no contexts that own what is made in them: here one is a device and a list of what was
 * made while it was the thread's, all of which is freed with it. Arguments of a launch are put
 * together as the code object's metadata has them.
 *
 * VMD_HIP_DRIVER names another library with the same functions: that is how all of this is tested
 * without a GPU.
 */
#ifndef GPU_SERVER_HIP_DRIVER_H
#define GPU_SERVER_HIP_DRIVER_H

#include "gpu/code/bundle.h"
#include "gpu/server/cuda_driver.h"

/* The driver, initialised; the process's own until its end, and one at a time. NULL with
 * VMD_ERROR_UNSUPPORTED, which says why there is none. */
const struct cuda_driver *hip_driver_open(GError **err);

/* The target of DEVICE, "gfx90a:sramecc+:xnack-"; false where the driver does not tell. */
bool hip_driver_target(int device, char out[TARGET_BYTES]);

#endif
