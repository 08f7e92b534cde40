// Threads that work together: cooperative grids, tiles of a warp, asynchronous copies.
#include <cooperative_groups.h>
#include <cuda_pipeline.h>
namespace cg = cooperative_groups;
extern "C" {
__global__ void grid_rounds(int *data, int n, int rounds)
{
    cg::grid_group g = cg::this_grid();
    int i = g.thread_rank();
    for (int k = 0; k < rounds; k++) {
        int v = data[(i + 1) % n];
        g.sync();
        data[i] = v + 1;
        g.sync();
    }
}
__global__ void tiles(int *out)
{
    cg::thread_block_tile<8> t = cg::tiled_partition<8>(cg::this_thread_block());
    int v = threadIdx.x;
    for (int d = 4; d; d >>= 1)
        v += t.shfl_down(v, d);
    out[threadIdx.x] = t.shfl(v, 0);
    cg::coalesced_group c = cg::coalesced_threads();
    if (threadIdx.x & 1)
        out[threadIdx.x] += cg::coalesced_threads().size() * 1000;
}
__global__ void staged(const int *in, int *out)
{
    __shared__ int s[256];
    __pipeline_memcpy_async(&s[threadIdx.x], &in[blockIdx.x * 256 + threadIdx.x], 4);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
    out[blockIdx.x * 256 + threadIdx.x] = s[255 - threadIdx.x];
}
}
