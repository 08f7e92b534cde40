/*
 * gpu/server/cuda_driver: libcuda.so.1 of the host, by dlopen: its functions, declared anew, so
 * that nothing of a CUDA toolkit is needed to build this. HIP's library has the same functions by
 * other names, or nearly so: hip_driver.h makes such a table of it.
 *
 * VMD_CUDA_DRIVER names another library with the same functions, such as vmd's own for guests,
 * which then has to be told where its worker is: that is how all of this is tested without a GPU.
 */
#ifndef GPU_SERVER_CUDA_DRIVER_H
#define GPU_SERVER_CUDA_DRIVER_H

#include "base/base.h"
#include "gpu/protocol/contract.h"

struct cuda_context;
struct cuda_module;
struct cuda_function;
struct cuda_stream;
struct cuda_event;

struct cuda_uuid {
    unsigned char bytes[16];
};

/* CUDA_MEMCPY2D: of either end host, device or array by TYPE. */
enum { CUDA_HOST = 1, CUDA_DEVICE = 2 };

struct cuda_rows {
    size_t from_x, from_y;
    unsigned from_type;
    const void *from_host;
    uint64_t from_device;
    void *from_array;
    size_t from_pitch;
    size_t to_x, to_y;
    unsigned to_type;
    void *to_host;
    uint64_t to_device;
    void *to_array;
    size_t to_pitch;
    size_t width, height;
};

/* CUmemLocation; CUmemAllocationProp, of pinned memory that no other process has; CUmemAccessDesc.
 */
struct cuda_location {
    int type, device;
};

enum { CUDA_LOCATION_DEVICE = 1, CUDA_MEMORY_PINNED = 1, CUDA_ACCESS_READ_WRITE = 3 };

struct cuda_memory {
    int type, handle_types;
    struct cuda_location location;
    void *windows;
    unsigned char flags[8];
};

struct cuda_access {
    struct cuda_location location;
    int flags;
};

struct cuda_driver {
    const char *name, *backend; /* for people: "CUDA"; the backend's: "cuda" */
    int version;                /* as cuDriverGetVersion() tells */
    bool uuid_is_text;          /* 16 characters, as HIP has it, and no number of 128 bits */
    /* Loads the image of LENGTH bytes, behind which there is a 0; LOG gets words for people. */
    int (*load)(const struct cuda_driver *d, const uint8_t *image, size_t length, char *log,
                size_t log_bytes, struct cuda_module **out);
#define NEED(name, symbol, args) int(*name) args;
#define CALL(name, symbol, args) int(*name) args; /* NULL where the driver is too old for it */
#include "gpu/server/cuda_calls.inc"
#undef NEED
#undef CALL
};

/* The driver, initialised; the process's own until its end. NULL with VMD_ERROR_UNSUPPORTED, which
 * says why there is none. */
const struct cuda_driver *cuda_driver_open(GError **err);

/* What the device ORDINAL is. */
bool cuda_driver_describe(const struct cuda_driver *d, int ordinal, struct worker_gpu *out);

/*
 * The device that WHICH names: its number, its UUID with or without "GPU-", its PCI address, or
 * none for the first. -1 with VMD_ERROR_NOT_FOUND or VMD_ERROR_INVALID.
 */
int cuda_driver_find(const struct cuda_driver *d, const char *which, GError **err);

#endif
