/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* The library's beginning, the thread's device and its errors. See hip.h. */
#include "guest/hip/hip.h"

#include <stdlib.h>
#include <string.h>

const uint32_t cu_platform = GPU_PLATFORM_HIP;

static __thread int chosen;                     /* the thread's device */
static __thread int last;                       /* its last error that is one */
static char targets[GPU_DEVICES][TARGET_BYTES]; /* under cu.lock */
static unsigned targets_of;                     /* the opening (cu.opened) that they are of */

/* --- errors ----------------------------------------------------------------------------------- */

int hip_left(int rc)
{
    if (rc && rc != hipErrorNotReady)
        last = rc;
    return rc;
}

HIP_API hipError_t hipGetLastError(void)
{
    int rc = last;

    last = 0;
    return rc;
}

HIP_API hipError_t hipExtGetLastError(void)
{
    return hipGetLastError();
}

HIP_API hipError_t hipPeekAtLastError(void)
{
    return last;
}

static const struct hip_error_name *name_of(int rc)
{
    for (size_t i = 0; i < hip_n_errors; i++) {
        if (hip_errors[i].number == rc)
            return &hip_errors[i];
    }
    return NULL;
}

HIP_API const char *hipGetErrorName(hipError_t rc)
{
    const struct hip_error_name *e = name_of(rc);

    return e ? e->name : "hipErrorUnknown";
}

HIP_API const char *hipGetErrorString(hipError_t rc)
{
    const struct hip_error_name *e = name_of(rc);

    return e ? e->text : "unknown error";
}

HIP_API hipError_t hipDrvGetErrorName(hipError_t rc, const char **name)
{
    const struct hip_error_name *e = name_of(rc);

    if (name)
        *name = e ? e->name : NULL;
    return name && e ? 0 : hipErrorInvalidValue;
}

HIP_API hipError_t hipDrvGetErrorString(hipError_t rc, const char **text)
{
    const struct hip_error_name *e = name_of(rc);

    if (text)
        *text = e ? e->text : NULL;
    return text && e ? 0 : hipErrorInvalidValue;
}

/* --- the beginning ---------------------------------------------------------------------------- */

/* Locked, like all of the channel that may be opened again meanwhile. */
static int read_target(int device)
{
    const struct gpu_call_target call = {.device = (uint32_t)device};
    char out[256] = "";
    struct channel_data data = {.out = out, .out_most = sizeof(out)};
    int rc = channel_call(cu.channel, GPU_OP_TARGET, &call, &data);

    if (rc || !data.out_bytes || data.out_bytes >= TARGET_BYTES)
        return rc ? rc : hipErrorInvalidDevice;
    memcpy(targets[device], out, data.out_bytes);
    targets[device][data.out_bytes] = 0;
    return 0;
}

/* Whether the targets are those of the devices that there are now. */
static bool has_begun(void)
{
    unsigned of = __atomic_load_n(&targets_of, __ATOMIC_ACQUIRE);

    return of && of == __atomic_load_n(&cu.opened, __ATOMIC_ACQUIRE);
}

int hip_begin(void)
{
    int rc = has_begun() ? 0 : cuInit(0);

    if (rc || has_begun())
        return rc;
    pthread_mutex_lock(&cu.lock);
    memset(targets, 0, sizeof(targets));
    for (int i = 0; !rc && i < cu.devices; i++)
        rc = read_target(i);
    if (!rc)
        __atomic_store_n(&targets_of, cu.opened, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&cu.lock);
    return rc;
}

void hip_target(int device, char out[TARGET_BYTES])
{
    pthread_mutex_lock(&cu.lock);
    if (device >= 0 && device < (int)GPU_DEVICES)
        memcpy(out, targets[device], TARGET_BYTES);
    else
        out[0] = 0;
    pthread_mutex_unlock(&cu.lock);
}

HIP_API hipError_t hipInit(unsigned flags)
{
    return hip_left(flags ? hipErrorInvalidValue : hip_begin());
}

/* Contexts are made when a device is first used, as one a device that all threads share; where the
 * channel was lost, that one opens it again. */
static int use(int device)
{
    CUcontext c;
    int rc = cuDevicePrimaryCtxRetain(&c, device);

    if (!rc)
        rc = cuCtxSetCurrent(c);
    return rc ? rc : hip_begin();
}

int hip_enter(void)
{
    int rc = hip_begin();

    if (!rc && !cu_is(cu_current(), KIND_CONTEXT))
        rc = use(chosen);
    return rc;
}

HIP_API hipError_t hipGetDeviceCount(int *count)
{
    int rc = count ? hip_begin() : hipErrorInvalidValue;

    if (count)
        *count = rc ? 0 : cu.devices;
    return hip_left(rc);
}

HIP_API hipError_t hipSetDevice(int device)
{
    int rc = hip_begin();

    if (!rc && !cu_device_of(device))
        rc = hipErrorInvalidDevice;
    if (!rc)
        rc = use(device);
    if (!rc)
        chosen = device;
    return hip_left(rc);
}

int hip_chosen(void)
{
    const struct cu_context *c = cu_current();

    return cu_is(c, KIND_CONTEXT) ? c->device : chosen;
}

HIP_API hipError_t hipGetDevice(int *device)
{
    int rc = device ? hip_begin() : hipErrorInvalidValue;

    if (!rc)
        *device = hip_chosen();
    return hip_left(rc);
}

HIP_API hipError_t hipSetValidDevices(int *devices, int n)
{
    return hip_left(n && !devices ? hipErrorInvalidValue : hip_begin());
}

HIP_API hipError_t hipDeviceSynchronize(void)
{
    int rc = hip_enter();

    return hip_left(rc ? rc : cuCtxSynchronize());
}

/* Also the way on after its worker was lost: the next call makes a context anew. */
HIP_API hipError_t hipDeviceReset(void)
{
    int rc = hip_begin();

    if (!rc) {
        cuDevicePrimaryCtxReset_v2(chosen); /* of one that is lost it is done as well */
        rc = cu_reopen();
    }
    return hip_left(rc ? rc : hip_begin());
}

HIP_API hipError_t hipDriverGetVersion(int *version)
{
    if (!version)
        return hip_left(hipErrorInvalidValue);
    *version = hip_begin() ? 60000000 : cu.driver;
    return 0;
}

HIP_API hipError_t hipRuntimeGetVersion(int *version)
{
    return hipDriverGetVersion(version);
}

/* --- symbols ---------------------------------------------------------------------------------- */

static int by_symbol(const void *symbol, const void *entry)
{
    return strcmp(symbol, ((const struct hip_entry *)entry)->symbol);
}

HIP_API hipError_t hipGetProcAddress(const char *symbol, void **out, int version, uint64_t flags,
                                     int *status)
{
    enum { FOUND, NOT_FOUND };

    if (!symbol || !out)
        return hip_left(hipErrorInvalidValue);
    const struct hip_entry *e =
        bsearch(symbol, hip_entries, hip_n_entries, sizeof(hip_entries[0]), by_symbol);
    *out = e ? e->function : NULL;
    if (status)
        *status = e ? FOUND : NOT_FOUND;
    return hip_left(e ? 0 : hipErrorInvalidValue);
}
