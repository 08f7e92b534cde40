/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Libraries and their kernels: modules of the context that is current when one is loaded, and
 * functions of those. See cuda.h. */
#include "guest/cuda/cuda.h"

CUresult cuModuleLoadDataEx(CUmodule *m, const void *image, unsigned n, int *options,
                            void **values);
CUresult cuModuleLoad(CUmodule *m, const char *path);
CUresult cuModuleUnload(CUmodule m);
CUresult cuModuleGetFunction(CUfunction *out, CUmodule m, const char *name);
CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule m, const char *name);
CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction f);
CUresult cuFuncSetAttribute(CUfunction f, int attribute, int value);
CUresult cuFuncGetName(const char **name, CUfunction f);
CUresult cuFuncGetParamInfo(CUfunction f, size_t i, size_t *offset, size_t *size);

CU_API CUresult cuLibraryLoadData(CUlibrary *l, const void *code, int *jit, void **jit_values,
                                  unsigned n_jit, int *options, void **values, unsigned n)
{
    return cuModuleLoadDataEx(l, code, n_jit, jit, jit_values);
}

CU_API CUresult cuLibraryLoadFromFile(CUlibrary *l, const char *path, int *jit, void **jit_values,
                                      unsigned n_jit, int *options, void **values, unsigned n)
{
    return cuModuleLoad(l, path);
}

CU_API CUresult cuLibraryUnload(CUlibrary l)
{
    return cuModuleUnload(l);
}

CU_API CUresult cuLibraryGetKernel(CUkernel *k, CUlibrary l, const char *name)
{
    return cuModuleGetFunction(k, l, name);
}

CU_API CUresult cuLibraryGetModule(CUmodule *m, CUlibrary l)
{
    if (!m || !cu_is(l, KIND_MODULE))
        return m ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *m = l;
    return 0;
}

CU_API CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary l,
                                   const char *name)
{
    return cuModuleGetGlobal_v2(address, bytes, l, name);
}

CU_API CUresult cuKernelGetFunction(CUfunction *f, CUkernel k)
{
    if (!f || !cu_is(k, KIND_FUNCTION))
        return f ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *f = k;
    return 0;
}

CU_API CUresult cuKernelGetLibrary(CUlibrary *l, CUkernel k)
{
    if (!l || !cu_is(k, KIND_FUNCTION))
        return l ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *l = k->module;
    return 0;
}

static int check(CUkernel k, CUdevice device)
{
    if (!cu_is(k, KIND_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    return device == k->module->context->device ? 0 : CUDA_ERROR_INVALID_DEVICE;
}

CU_API CUresult cuKernelGetAttribute(int *value, int attribute, CUkernel k, CUdevice device)
{
    int rc = check(k, device);

    return rc ? rc : cuFuncGetAttribute(value, attribute, k);
}

CU_API CUresult cuKernelSetAttribute(int attribute, int value, CUkernel k, CUdevice device)
{
    int rc = check(k, device);

    return rc ? rc : cuFuncSetAttribute(k, attribute, value);
}

CU_API CUresult cuKernelSetCacheConfig(CUkernel k, int config, CUdevice device)
{
    return check(k, device);
}

CU_API CUresult cuKernelGetName(const char **name, CUkernel k)
{
    return cuFuncGetName(name, k);
}

CU_API CUresult cuKernelGetParamInfo(CUkernel k, size_t i, size_t *offset, size_t *size)
{
    return cuFuncGetParamInfo(k, i, offset, size);
}
