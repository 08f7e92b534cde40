/* gpu/server/engine_soft: PTX on the CPU (gpu/soft) as an engine. */
#ifndef GPU_SERVER_ENGINE_SOFT_H
#define GPU_SERVER_ENGINE_SOFT_H

#include "gpu/server/engine.h"

extern const struct gpu_engine_ops engine_soft;

#endif
