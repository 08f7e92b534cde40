/*
 * A program of the driver API, as users write them: it loads PTX that nvcc made, runs its kernels
 * and compares what they leave with the same work done by the CPU. It runs in guests with vmd's
 * libcuda.so.1, and wherever there is another. One case after the other, each with a context of its
 * own; the first that fails ends it.
 */
#ifndef TESTS_GPU_PROGRAM_PROGRAM_H
#define TESTS_GPU_PROGRAM_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;

CUresult cuInit(unsigned flags);
CUresult cuGetErrorName(CUresult result, const char **name);
CUresult cuDeviceGet(CUdevice *device, int ordinal);
CUresult cuDeviceGetName(char *name, int length, CUdevice device);
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device);
CUresult cuCtxDestroy_v2(CUcontext context);
CUresult cuCtxSynchronize(void);
CUresult cuModuleLoadData(CUmodule *module, const void *image);
CUresult cuModuleUnload(CUmodule module);
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule module,
                              const char *name);
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes);
CUresult cuMemFree_v2(CUdeviceptr address);
CUresult cuMemGetInfo_v2(size_t *free, size_t *total);
CUresult cuMemAllocHost_v2(void **host, size_t bytes);
CUresult cuMemFreeHost(void *host);
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes);
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes);
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream);
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream);
CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count);
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, CUstream stream, void **params,
                        void **extra);
CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz,
                                   unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                   CUstream stream, void **params);
CUresult cuStreamCreate(CUstream *stream, unsigned flags);
CUresult cuStreamDestroy_v2(CUstream stream);
CUresult cuStreamSynchronize(CUstream stream);
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags);
CUresult cuEventCreate(CUevent *event, unsigned flags);
CUresult cuEventDestroy_v2(CUevent event);
CUresult cuEventRecord(CUevent event, CUstream stream);
CUresult cuEventSynchronize(CUevent event);
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end);

/* Ends the program where a call does not give RC. */
#define CU(call)        program_check(call, 0, #call, __FILE__, __LINE__)
#define CU_IS(rc, call) program_check(call, rc, #call, __FILE__, __LINE__)
/* Ends the program where WHAT is not so; I says for which element. */
#define SAME(what, i) program_expect(what, #what, (long)(i), __FILE__, __LINE__)

void program_check(CUresult got, CUresult want, const char *call, const char *file, int line);
void program_expect(bool so, const char *what, long i, const char *file, int line);

/* Whoever started the program with VMD_GPU_STEPS does something meanwhile, and says a line then. */
void program_step(const char *name);
/* The module that the case has loaded, and a kernel of it. */
CUmodule program_module(void);
CUfunction program_kernel(const char *name);
/* The running case does not go on: this device has no WHAT. It is counted as left out. */
void program_lacks(const char *what);
/* New device memory with BYTES of FROM, or of zeros where that is NULL. */
CUdeviceptr program_put(const void *from, size_t bytes);
void program_get(void *to, CUdeviceptr from, size_t bytes);

struct dims {
    unsigned gx, gy, bx, by, shared;
};

/* Launches NAME on the default stream; each argument has 8 bytes, of which the kernel takes what it
 * wants. */
void program_launch(const char *name, struct dims dims, uint64_t *args);
#define LAUNCH(name, gx, gy, bx, by, shared, ...)                                                  \
    program_launch(name, (struct dims){gx, gy, bx, by, shared}, (uint64_t[]){__VA_ARGS__})

/* Numbers without a pattern. */
uint32_t program_mix(uint32_t i);
uint64_t program_bits(float f);

struct program_case {
    const char *name, *module; /* a file of the folder of kernels; NULL: none is loaded */
    void (*run)(void);
    bool breaks; /* it leaves its context with an error */
};

extern const struct program_case basic_cases[], flow_cases[], number_cases[], graph_cases[],
    managed_cases[], api_cases[];

/* What is asked for by a word in place of cases. */
int measure_run(void);
void graphs_measure(void);
int lost_run(void);
int gone_run(void);
int hang_run(void);
int quota_run(void);
int through_run(void);
int figures_run(void);
int share_run(void);
int moved_run(void);

/* A context with the module FILE, and its end. */
void program_begin(const char *file);
void program_end(void);
double program_seconds(void);

#endif
