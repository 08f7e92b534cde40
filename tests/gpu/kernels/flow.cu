// Calls, divergence, locks, printing, faults.
#include <cassert>
#include <cstdio>
#include <cuda_runtime.h>

__device__ __noinline__ int fib(int n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
__device__ __noinline__ int twice(int v) { return 2 * v; }
__device__ __noinline__ int square(int v) { return v * v; }
__device__ __noinline__ int negate(int v) { return -v; }
typedef int (*unary)(int);
__device__ unary table[3] = {twice, square, negate};
__constant__ int weights[4] = {3, 5, 7, 11};
__device__ int lock_word, counter;

extern "C" {

__global__ void recursion(int *out)
{
    out[threadIdx.x] = fib(threadIdx.x % 12);
}

__global__ void indirect(int *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = table[i % 3](i + 1) + weights[i & 3];
}

__global__ void collatz(int *out)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, n = 0;
    for (unsigned long long v = i + 1; v != 1; n++)
        v = v & 1 ? 3 * v + 1 : v / 2;
    out[i] = n;
}

__global__ void switched(int *out, int n)
{
    int i = threadIdx.x, v = 0;
    switch (i % 9) {
    case 0: v = i + n; break;
    case 1: v = i * n; break;
    case 2: v = i - n; break;
    case 3: v = i ^ n; break;
    case 4: v = i / (n + 1); break;
    case 5: v = i | n; break;
    case 6: v = i << (n & 3); break;
    case 7: v = i % (n + 1); break;
    default: v = ~i;
    }
    out[i] = v;
}

__global__ void spin_lock(int *out, int rounds)
{
    for (int k = 0; k < rounds; k++) {
        bool done = false;
        while (!done) {
            if (atomicCAS(&lock_word, 0, 1) == 0) {
                *(volatile int *)&counter += 1;
                __threadfence();
                atomicExch(&lock_word, 0);
                done = true;
            }
        }
    }
    __syncthreads();
    if (threadIdx.x == 0)
        *out = *(volatile int *)&counter;
}

__global__ void ballots(unsigned *out)
{
    unsigned i = threadIdx.x, v = 0;
    if (i & 1)
        v = __ballot_sync(0xaaaaaaaa, i % 3 == 0);
    else
        v = __activemask();
    out[i] = v + __popc(__match_any_sync(~0u, i / 4)) + __reduce_add_sync(~0u, i);
}

__global__ void prints(int n)
{
    printf("thread %d of %d: %5.2f %s %llx %c%%\n", threadIdx.x, n, threadIdx.x * 0.5, "text", 0xabcdef0123ull, 'x');
}

__global__ void asserts(int n)
{
    assert(n > (int)threadIdx.x);
}

__global__ void local_array(int *out, int n)
{
    int a[32];
    for (int i = 0; i < 32; i++)
        a[i] = i * n + threadIdx.x;
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[(i * 7 + threadIdx.x) & 31];
    out[threadIdx.x] = sum;
}

__global__ void heap(int *out)
{
    int *p = (int *)malloc(4 * sizeof(int));
    for (int i = 0; i < 4; i++)
        p[i] = threadIdx.x + i;
    out[threadIdx.x] = p[0] + p[1] + p[2] + p[3];
    free(p);
}

__global__ void out_of_bounds(int *out, int i)
{
    out[i] = 1;
}

__global__ void misaligned(char *out)
{
    *(int *)(out + 1) = 1;
}

__global__ void forever(volatile int *stop)
{
    while (!*stop)
        ;
}

__global__ void barrier_in_branch(int *out)
{
    __shared__ int s[64];
    if (threadIdx.x < 32) {
        s[threadIdx.x] = threadIdx.x;
        __syncthreads();
    } else {
        s[threadIdx.x] = 100 + threadIdx.x;
        __syncthreads();
    }
    out[threadIdx.x] = s[63 - threadIdx.x] + __syncthreads_count(threadIdx.x & 1);
}

}
