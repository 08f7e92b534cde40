/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/hip/api: the types of HIP's runtime and module API, as far as this library has them,
 * declared anew: nothing of ROCm is needed to build it. Handles are guest/cuda's objects.
 */
#ifndef GUEST_HIP_API_H
#define GUEST_HIP_API_H

#include "gpu/code/bundle.h"
#include "gpu/code/hip_properties.h"
#include "guest/cuda/cuda.h"

enum hip_error {
    hipSuccess = 0,
    hipErrorInvalidValue = 1,
    hipErrorOutOfMemory = 2,
    hipErrorInvalidConfiguration = 9,
    hipErrorInvalidSymbol = 13,
    hipErrorInvalidMemcpyDirection = 21,
    hipErrorMissingConfiguration = 52,
    hipErrorInvalidDeviceFunction = 98,
    hipErrorNoDevice = 100,
    hipErrorInvalidDevice = 101,
    hipErrorInvalidImage = 200,
    hipErrorInvalidContext = 201,
    hipErrorNoBinaryForGpu = 209,
    hipErrorFileNotFound = 301,
    hipErrorInvalidHandle = 400,
    hipErrorNotFound = 500,
    hipErrorNotReady = 600,
    hipErrorLaunchFailure = 719,
};

typedef int hipError_t;

struct dim3 {
    unsigned x, y, z;
};

enum hip_copy_kind {
    hipMemcpyHostToHost,
    hipMemcpyHostToDevice,
    hipMemcpyDeviceToHost,
    hipMemcpyDeviceToDevice,
    hipMemcpyDefault,
    hipMemcpyDeviceToDeviceNoCU = 1024,
};

struct hip_pitched {
    void *ptr;
    size_t pitch, xsize, ysize;
};

struct hip_extent {
    size_t width, height, depth;
};

struct hip_position {
    size_t x, y, z;
};

/* hipMemcpy3DParms */
struct hip_copy_3d {
    void *from_array;
    struct hip_position from_at;
    struct hip_pitched from;
    void *to_array;
    struct hip_position to_at;
    struct hip_pitched to;
    struct hip_extent extent;
    int kind;
};

/* hipMemoryType */
enum hip_memory_type {
    hipMemoryTypeUnregistered = 0,
    hipMemoryTypeHost = 1,
    hipMemoryTypeDevice = 2,
    hipMemoryTypeManaged = 3,
    hipMemoryTypeArray = 10,
    hipMemoryTypeUnified = 11,
};

/* HIP_MEMCPY3D: CUDA_MEMCPY3D has two reserved fields besides. */
struct hip_drv_copy_3d {
    struct hip_drv_end {
        size_t x, y, z, lod;
        unsigned type;
        void *host;
        CUdeviceptr device;
        void *array;
        size_t pitch, height;
    } from, to;
    size_t width, height, depth;
};

/* hipKernelNodeParams */
struct hip_kernel_node {
    struct dim3 block;
    void **extra;
    void *function;
    struct dim3 grid;
    void **params;
    unsigned shared;
};

/* hipMemsetParams */
struct hip_fill_node {
    void *to;
    unsigned element;
    size_t height, pitch;
    unsigned value;
    size_t width;
};

/* hipPointerAttribute_t */
struct hip_pointer {
    int type, device;
    void *device_pointer, *host_pointer;
    int managed;
    unsigned flags;
};

/* hipFuncAttributes */
struct hip_function_attributes {
    int binary_version, cache_mode;
    size_t constant_bytes, local_bytes;
    int dynamic_shared_most, threads_most, registers, carveout, ptx_version;
    size_t shared_bytes;
};

_Static_assert(sizeof(struct hip_copy_3d) == 160, "as programs have it");
_Static_assert(sizeof(struct hip_drv_copy_3d) == 184, "as programs have it");
_Static_assert(sizeof(CUDA_MEMCPY2D) == 128, "as programs have hip_Memcpy2D");
_Static_assert(sizeof(struct hip_kernel_node) == 64, "as programs have it");
_Static_assert(sizeof(struct hip_fill_node) == 48, "as programs have it");
_Static_assert(sizeof(struct hip_pointer) == 32, "as programs have it");
_Static_assert(sizeof(struct hip_function_attributes) == 56, "as programs have it");

#endif
