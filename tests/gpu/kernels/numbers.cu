// Math functions, half precision, wide integers.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

extern "C" {

__global__ void math_functions(const float *in, float *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    float x = in[i];
    out[i * 8 + 0] = sinf(x);
    out[i * 8 + 1] = cosf(x);
    out[i * 8 + 2] = expf(x);
    out[i * 8 + 3] = logf(fabsf(x) + 1);
    out[i * 8 + 4] = powf(fabsf(x), 1.5f);
    out[i * 8 + 5] = sqrtf(fabsf(x));
    out[i * 8 + 6] = tanhf(x);
    out[i * 8 + 7] = rsqrtf(fabsf(x) + 1);
}

__global__ void math_double(const double *in, double *out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    double x = in[i];
    out[i * 4 + 0] = sin(x);
    out[i * 4 + 1] = exp(x);
    out[i * 4 + 2] = log(fabs(x) + 1) / (x * x + 1);
    out[i * 4 + 3] = pow(fabs(x), 2.5);
}

__global__ void monte_carlo(unsigned *hits, unsigned seed, int rounds)
{
    unsigned s = seed + blockIdx.x * blockDim.x + threadIdx.x, in = 0;
    for (int k = 0; k < rounds; k++) {
        s = s * 1664525u + 1013904223u;
        float x = (s >> 8) * (1.0f / 16777216.0f);
        s = s * 1664525u + 1013904223u;
        float y = (s >> 8) * (1.0f / 16777216.0f);
        in += __fadd_rn(__fmul_rn(x, x), __fmul_rn(y, y)) < 1.0f;
    }
    atomicAdd(hits, in);
}

__global__ void half_axpy(const __half *x, __half *y, float k, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = __hfma(__float2half_rn(k), x[i], y[i]);
}

__global__ void half2_mul(const __half2 *x, __half2 *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = __hadd2(__hmul2(x[i], y[i]), __float2half2_rn(1.0f));
}

__global__ void bfloat_sum(const __nv_bfloat16 *x, __nv_bfloat16 *y, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = __hadd(x[i], y[i]);
}

__global__ void wide_integers(const unsigned long long *a, const unsigned long long *b, unsigned long long *out)
{
    int i = threadIdx.x;
    unsigned __int128 p = (unsigned __int128)a[i] * b[i];
    out[i * 6 + 0] = __umul64hi(a[i], b[i]);
    out[i * 6 + 1] = a[i] / (b[i] | 1);
    out[i * 6 + 2] = a[i] % (b[i] | 1);
    out[i * 6 + 3] = __brevll(a[i]) + __popcll(b[i]) + __clzll(a[i]) + __ffsll(b[i]);
    out[i * 6 + 4] = (unsigned long long)((p + a[i]) >> 64);
    out[i * 6 + 5] = (long long)a[i] >> (b[i] & 63);
}

__global__ void bytes(const unsigned *a, const unsigned *b, unsigned *out)
{
    int i = threadIdx.x;
    out[i * 4 + 0] = __byte_perm(a[i], b[i], 0x6420);
    out[i * 4 + 1] = __dp4a((int)a[i], (int)b[i], 7);
    out[i * 4 + 2] = __funnelshift_l(a[i], b[i], i);
    out[i * 4 + 3] = __vadd4(a[i], b[i]);
}

__global__ void float_atomics(float *f, double *d, unsigned *u)
{
    atomicAdd(f, 1.0f);
    atomicAdd(d, 0.5);
    atomicMax(u, threadIdx.x);
    atomicInc(u + 1, 9);
    atomicXor(u + 2, 1u << (threadIdx.x & 31));
}

}
