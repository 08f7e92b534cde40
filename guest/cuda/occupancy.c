/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* How many blocks a device runs at once. See cuda.h. */
#include "guest/cuda/cuda.h"

CU_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction f,
                                                                     int block, size_t shared,
                                                                     unsigned flags)
{
    struct gpu_answer_occupancy answer;

    if (!blocks || block < 1 || flags > 1)
        return CUDA_ERROR_INVALID_VALUE;
    if (!cu_is(f, KIND_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    *blocks = 0;
    if (block > (int)f->info.max_threads)
        return 0;
    const struct gpu_call_occupancy call = {
        .function = f->o.id, .block = (uint32_t)block, .shared = shared + f->info.static_shared};
    int rc = cu_call(f->o.channel, GPU_OP_OCCUPANCY, &call, &answer);
    if (!rc)
        *blocks = (int)answer.blocks;
    return rc;
}

CU_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction f, int block,
                                                            size_t shared)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, f, block, shared, 0);
}

/* The block with which the most threads are resident; of equal ones the largest. */
CU_API CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block, CUfunction f,
                                                          CUoccupancyB2DSize shared_of,
                                                          size_t shared, int most, unsigned flags)
{
    int best = 0, rc = 0, blocks = 0;

    if (!grid || !block || !cu_is(f, KIND_FUNCTION))
        return cu_is(f, KIND_FUNCTION) ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    if (most <= 0 || most > (int)f->info.max_threads)
        most = (int)f->info.max_threads;
    for (int size = most; !rc && size > 0; size = (size - 1) / 32 * 32) {
        rc = cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
            &blocks, f, size, shared_of ? shared_of(size) : shared, flags);
        if (!rc && blocks * size > best) {
            best = blocks * size;
            *block = size;
            *grid = blocks * cu.device[f->module->context->device].attributes[16];
        }
    }
    return rc;
}

CU_API CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction f,
                                                 CUoccupancyB2DSize shared_of, size_t shared,
                                                 int most)
{
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, f, shared_of, shared, most, 0);
}

/* What is left for each block when so many share a multiprocessor. */
CU_API CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction f, int blocks,
                                                        int block)
{
    if (!bytes || blocks < 1 || block < 1)
        return CUDA_ERROR_INVALID_VALUE;
    if (!cu_is(f, KIND_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    const int *a = cu.device[f->module->context->device].attributes;
    int rc = 0, fit = blocks;
    size_t most = (size_t)a[97] > f->info.static_shared ? (size_t)a[97] - f->info.static_shared : 0;
    size_t low = 0;
    while (!rc && low < most) { /* the most with which so many blocks fit */
        size_t mid = (low + most + 1) / 2;
        rc = cuOccupancyMaxActiveBlocksPerMultiprocessor(&fit, f, block, mid);
        if (fit >= blocks)
            low = mid;
        else
            most = mid - 1;
    }
    if (!rc)
        *bytes = low;
    return rc;
}
