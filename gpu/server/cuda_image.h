/* gpu/server/cuda_image: what a guest gives as a module, judged before the driver has it. */
#ifndef GPU_SERVER_CUDA_IMAGE_H
#define GPU_SERVER_CUDA_IMAGE_H

#include "base/base.h"

/*
 * Whether LENGTH bytes at IMAGE, with a 0 behind them, are something that the driver can be given,
 * which believes the sizes in it: PTX, an ELF file (a cubin), or a fat binary, each whole. Any
 * bytes.
 */
bool cuda_image_is_whole(const uint8_t *image, size_t length);

#endif
