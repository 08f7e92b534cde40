/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* What devices are: properties and attributes. See hip.h. */
#include "guest/hip/hip.h"

#include <stdio.h>
#include <string.h>

/* HIP's numbers of attributes, and those of CUDA's that the host tells. */
static const short attributes[] = {
    [0] = 32,  [2] = 40,  [5] = 13,  [6] = 20,  [8] = 31,  [10] = 95,  [12] = 15,  [14] = 79,
    [16] = 18, [18] = 17, [19] = 38, [20] = 80, [23] = 75, [25] = 106, [26] = 2,   [27] = 3,
    [28] = 4,  [29] = 5,  [30] = 6,  [31] = 7,  [55] = 2,  [56] = 1,   [57] = 39,  [58] = 11,
    [59] = 37, [60] = 36, [61] = 76, [63] = 16, [71] = 12, [72] = 82,  [73] = 111, [74] = 8,
    [75] = 97, [76] = 81, [78] = 78, [81] = 14, [83] = 9,  [85] = 41,  [87] = 10,  [88] = 115,
};

enum {
    ATTRIBUTES = 92, /* that CUDA has as well */
    ATTRIBUTE_MEMORY = 84,
    AMD = 10000, /* the first of those that it has not */
    AMD_SHARED = 10002,
    AMD_WAIT_VALUE = 10013,
    AMD_PROCESSORS = 10015,
    AMD_LAST = 10017,
};

HIP_API hipError_t hipDeviceGetAttribute(int *value, int attribute, int device)
{
    int rc = value ? hip_enter() : hipErrorInvalidValue;
    const struct cu_device *d = rc ? NULL : cu_device_of(device);

    if (!d)
        return hip_left(rc ? rc : hipErrorInvalidDevice);
    const int *a = d->attributes;
    if (attribute == ATTRIBUTE_MEMORY)
        *value = d->memory > INT32_MAX ? INT32_MAX : (int)d->memory;
    else if (attribute == AMD_SHARED)
        *value = a[81];
    else if (attribute == AMD_WAIT_VALUE)
        *value = a[122];
    else if (attribute == AMD_PROCESSORS)
        *value = a[16];
    else if (attribute >= 0 && attribute < (int)(sizeof(attributes) / sizeof(attributes[0])))
        *value = attributes[attribute] ? a[attributes[attribute]] : 0;
    else if ((attribute >= 0 && attribute < ATTRIBUTES) ||
             (attribute >= AMD && attribute <= AMD_LAST))
        *value = 0;
    else
        return hip_left(hipErrorInvalidValue);
    return 0;
}

HIP_API hipError_t hipGetDevicePropertiesR0600(struct hip_properties *p, int device)
{
    int rc = p ? hip_enter() : hipErrorInvalidValue;
    const struct cu_device *d = rc ? NULL : cu_device_of(device);
    char target[TARGET_BYTES];

    if (!d)
        return hip_left(rc ? rc : hipErrorInvalidDevice);
    const int *a = d->attributes;
    *p = (struct hip_properties){.total_memory = d->memory,
                                 .shared_per_block = (size_t)a[8],
                                 .registers_per_block = a[12],
                                 .warp = a[10],
                                 .pitch_most = (size_t)a[11],
                                 .threads_per_block = a[1],
                                 .block_most = {a[2], a[3], a[4]},
                                 .grid_most = {a[5], a[6], a[7]},
                                 .clock_khz = a[13],
                                 .constant_memory = (size_t)a[9],
                                 .major = a[75],
                                 .minor = a[76],
                                 .texture_alignment = (size_t)a[14],
                                 .overlap = a[15],
                                 .multiprocessors = a[16],
                                 .kernel_timeout = a[17],
                                 .integrated = a[18],
                                 .compute_mode = a[20],
                                 .concurrent_kernels = a[31],
                                 .ecc = a[32],
                                 .async_engines = a[40],
                                 .unified_addresses = a[41],
                                 .memory_khz = a[36],
                                 .memory_bits = a[37],
                                 .l2_bytes = a[38],
                                 .threads_per_multiprocessor = a[39],
                                 .stream_priorities = a[78],
                                 .l1_of_globals = a[79],
                                 .l1_of_locals = a[80],
                                 .shared_per_multiprocessor = (size_t)a[81],
                                 .registers_per_multiprocessor = a[82],
                                 .cooperative = a[95],
                                 .shared_per_block_optin = (size_t)a[97],
                                 .blocks_per_multiprocessor = a[106],
                                 .reserved_shared = (size_t)a[111],
                                 .registers_host = 1,
                                 .pools = a[115],
                                 .shared_most_per_multiprocessor = (size_t)a[81]};
    snprintf(p->name, sizeof(p->name), "%s", d->name);
    hip_target(device, target);
    snprintf(p->target, sizeof(p->target), "%s", target);
    memcpy(p->uuid, "vmd-gpu\0\0\0\0\0\0\0\0", sizeof(p->uuid));
    p->uuid[15] = (char)device;
    return 0;
}

/* There is nothing to choose by: the first is as good as any. */
HIP_API hipError_t hipChooseDeviceR0600(int *device, const struct hip_properties *like)
{
    int rc = device && like ? hip_enter() : hipErrorInvalidValue;

    if (!rc)
        *device = 0;
    return hip_left(rc);
}

HIP_API hipError_t hipDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    if (least)
        *least = 0;
    if (greatest)
        *greatest = 0;
    return hip_left(hip_enter());
}

HIP_API hipError_t hipDeviceEnablePeerAccess(int peer, unsigned flags)
{
    enum { UNSUPPORTED = 217 };
    int rc = hip_enter();

    if (!rc)
        rc = cu_device_of(peer) ? UNSUPPORTED : hipErrorInvalidDevice;
    return hip_left(rc);
}

HIP_API hipError_t hipDeviceDisablePeerAccess(int peer)
{
    enum { NOT_ENABLED = 705 };
    int rc = hip_enter();

    if (!rc)
        rc = cu_device_of(peer) ? NOT_ENABLED : hipErrorInvalidDevice;
    return hip_left(rc);
}

/* HIP counts them from 0, CUDA from 1. */
HIP_API hipError_t hipDeviceGetP2PAttribute(int *value, int attribute, int from, int to)
{
    enum { LAST = 3 };
    int rc = attribute >= 0 && attribute <= LAST ? hip_enter() : hipErrorInvalidValue;

    return hip_left(rc ? rc : cuDeviceGetP2PAttribute(value, attribute + 1, from, to));
}

HIP_API hipError_t hipSetDeviceFlags(unsigned flags)
{
    return hip_left(hip_enter());
}

HIP_API hipError_t hipGetDeviceFlags(unsigned *flags)
{
    int rc = flags ? hip_enter() : hipErrorInvalidValue;

    if (!rc)
        *flags = cu_current()->flags;
    return hip_left(rc);
}

HIP_API int hipGetStreamDeviceId(CUstream stream)
{
    struct cu_where w;

    return hip_enter() || cu_where_plain(stream, &w) ? -1 : w.context->device;
}
