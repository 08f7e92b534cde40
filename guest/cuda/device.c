/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* The library's beginning, and devices. See cuda.h. */
#include "guest/cuda/cuda.h"

#include <string.h>

struct cu_state cu = {.lock = PTHREAD_MUTEX_INITIALIZER};

uint64_t cu_new_id(void)
{
    static uint64_t last;

    return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

int cu_call(struct channel *c, unsigned op, const void *fields, void *answer)
{
    struct channel_data data = {.answer = answer};

    return channel_call(c, op, fields, &data);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static int read_device(struct channel *channel, int i)
{
    struct cu_device *d = &cu.device[i];
    const struct gpu_call_device call = {.device = (uint32_t)i};
    struct gpu_answer_device answer;
    char out[2048];
    struct channel_data data = {.answer = &answer, .out = out, .out_most = sizeof(out)};
    int rc = channel_call(channel, GPU_OP_DEVICE, &call, &data);

    if (rc)
        return rc;
    uint32_t bytes = answer.attributes * (uint32_t)sizeof(int);
    if (answer.attributes > GPU_ATTRIBUTES || bytes + answer.name > data.out_bytes ||
        answer.name >= sizeof(d->name))
        return CUDA_ERROR_INVALID_DEVICE;
    memcpy(d->attributes, out, bytes);
    memcpy(d->name, out + bytes, answer.name);
    d->memory = answer.memory;
    return 0;
}

/* Opens the channel and finds its devices; with an error all is as it was. Locked. */
static int open_devices(void)
{
    int rc;
    struct channel *c = channel_open(&rc);

    if (!c)
        return rc;
    const struct gpu_answer_hello *hello = channel_hello(c);
    int devices = (int)(hello->devices <= GPU_DEVICES ? hello->devices : GPU_DEVICES);
    rc = hello->platform == cu_platform ? 0 : CUDA_ERROR_NO_DEVICE;
    for (int i = 0; !rc && i < devices; i++)
        rc = read_device(c, i);
    if (rc) {
        channel_close(c);
        return rc;
    }
    channel_introduce(c);
    cu.channel = c;
    cu.driver = (int)hello->driver;
    cu.devices = devices;
    for (int i = 0; i < (int)GPU_DEVICES; i++)
        cu.device[i].primary = NULL;
    __atomic_add_fetch(&cu.opened, 1, __ATOMIC_RELEASE);
    return 0;
}

CU_API CUresult cuInit(unsigned flags)
{
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&cu.lock);
    int rc = cu.ready ? 0 : open_devices();
    cu.ready = !rc;
    pthread_mutex_unlock(&cu.lock);
    return rc;
}

/* A lost channel is never closed: objects of it are still around. */
int cu_reopen(void)
{
    int rc = 0;

    pthread_mutex_lock(&cu.lock);
    if (cu.ready && channel_lost(cu.channel)) {
        channel_leave(cu.channel);
        rc = open_devices();
    }
    pthread_mutex_unlock(&cu.lock);
    return cu.ready ? rc : CUDA_ERROR_NOT_INITIALIZED;
}

CU_API CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = cu.ready ? cu.driver : 12040;
    return 0;
}

/* --- devices ---------------------------------------------------------------------------------- */

struct cu_device *cu_device_of(CUdevice i)
{
    return cu.ready && i >= 0 && i < cu.devices ? &cu.device[i] : NULL;
}

int cu_no_device(void)
{
    return cu.ready ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_NOT_INITIALIZED;
}

CU_API CUresult cuDeviceGetCount(int *count)
{
    if (!count || !cu.ready)
        return cu.ready ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_NOT_INITIALIZED;
    *count = cu.devices;
    return 0;
}

CU_API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    if (!device || !cu_device_of(ordinal))
        return device ? cu_no_device() : CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return 0;
}

CU_API CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    const struct cu_device *d = cu_device_of(device);

    if (!name || length <= 0 || !d)
        return d ? CUDA_ERROR_INVALID_VALUE : cu_no_device();
    strncpy(name, d->name, (size_t)length - 1);
    name[length - 1] = 0;
    return 0;
}

CU_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    const struct cu_device *d = cu_device_of(device);

    if (!bytes || !d)
        return d ? CUDA_ERROR_INVALID_VALUE : cu_no_device();
    *bytes = d->memory;
    return 0;
}

CU_API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    const struct cu_device *d = cu_device_of(device);

    if (!value || !d || attribute < 1 || attribute >= (int)GPU_ATTRIBUTES)
        return d ? CUDA_ERROR_INVALID_VALUE : cu_no_device();
    *value = d->attributes[attribute];
    return 0;
}

CU_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    int rc = cuDeviceGetAttribute(major, 75, device);

    return rc ? rc : cuDeviceGetAttribute(minor, 76, device);
}

/* Of this library's own making: the device has none that a guest may see. */
CU_API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
    if (!uuid || !cu_device_of(device))
        return uuid ? cu_no_device() : CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid->bytes, "vmd-gpu\0\0\0\0\0\0\0\0", 16);
    uuid->bytes[15] = (unsigned char)device;
    return 0;
}

CU_API CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device)
{
    if (!id || length < 13 || !cu_device_of(device))
        return id ? cu_no_device() : CUDA_ERROR_INVALID_VALUE;
    memcpy(id, "0000:00:00.0", 13);
    id[9] = (char)('0' + device % 10);
    return 0;
}

CU_API CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *id)
{
    char own[16];

    if (!device || !id)
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < cu.devices; i++) {
        if (!cuDeviceGetPCIBusId(own, sizeof(own), i) && strcmp(own, id) == 0) {
            *device = i;
            return 0;
        }
    }
    return cu.ready ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_NOT_INITIALIZED;
}

/* As it was before there were attributes. */
struct properties {
    int threads, block[3], grid[3], shared, constant, warp, pitch, registers, clock, alignment;
};

CU_API CUresult cuDeviceGetProperties(struct properties *p, CUdevice device)
{
    const struct cu_device *d = cu_device_of(device);

    if (!p || !d)
        return d ? CUDA_ERROR_INVALID_VALUE : cu_no_device();
    const int *a = d->attributes;
    *p = (struct properties){
        a[1], {a[2], a[3], a[4]}, {a[5], a[6], a[7]}, a[8], a[9], a[10], a[11], a[12], a[13],
        a[14]};
    return 0;
}
