/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Whose library this is: the rest is HIP's as well. See cuda.h. */
#include "guest/cuda/cuda.h"

const uint32_t cu_platform = GPU_PLATFORM_CUDA;
