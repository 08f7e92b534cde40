/* The driver of the host. See cuda_driver.h. */
#include "gpu/server/cuda_driver.h"

#include "gpu/server/cuda_image.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { MAJOR = 75, MINOR = 76 };

/* Looks all of it up; false with what is missing. */
static bool bind_calls(struct cuda_driver *d, void *library, GError **err)
{
    const struct {
        const char *symbol;
        void **to;
        bool needed;
    } calls[] = {
#define NEED(name, symbol, args) {symbol, (void **)&d->name, true},
#define CALL(name, symbol, args) {symbol, (void **)&d->name, false},
#include "gpu/server/cuda_calls.inc"
#undef NEED
#undef CALL
    };

    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        *calls[i].to = dlsym(library, calls[i].symbol);
        if (!*calls[i].to && calls[i].needed)
            return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the CUDA driver has no %s: it is too old",
                            calls[i].symbol);
    }
    return true;
}

/* The driver compiles; LOG gets what it says of that, its errors where it fails. */
static int load(const struct cuda_driver *d, const uint8_t *image, size_t length, char *log,
                size_t log_bytes, struct cuda_module **out)
{
    enum { INFO = 3, INFO_BYTES, ERROR, ERROR_BYTES, INVALID_IMAGE = 200 };
    g_autofree char *errors = g_malloc0(log_bytes);
    int options[] = {INFO, INFO_BYTES, ERROR, ERROR_BYTES};
    void *values[] = {log, (void *)(uintptr_t)log_bytes, errors, (void *)(uintptr_t)log_bytes};

    if (!cuda_image_is_whole(image, length)) {
        g_strlcpy(log, "the image is damaged: its parts do not lie within it", log_bytes);
        return INVALID_IMAGE;
    }
    log[0] = 0;
    int rc = d->module_new(out, image, G_N_ELEMENTS(options), options, values);
    log[log_bytes - 1] = errors[log_bytes - 1] = 0;
    if (rc)
        g_strlcpy(log, errors, log_bytes);
    return rc;
}

const struct cuda_driver *cuda_driver_open(GError **err)
{
    const char *other = getenv("VMD_CUDA_DRIVER");

    /* Kernels are loaded with their module, when that is counted, and not when they first run. */
    setenv("CUDA_MODULE_LOADING", "EAGER", 1);
    void *library = dlopen(other ? other : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "there is no CUDA driver: %s", dlerror());
        return NULL;
    }
    struct cuda_driver *d = g_new0(struct cuda_driver, 1);
    d->name = "CUDA";
    d->backend = "cuda";
    d->load = load;
    if (bind_calls(d, library, err)) {
        int rc = d->init(0);
        if (!rc)
            rc = d->driver_version(&d->version);
        if (!rc)
            return d;
        vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                 rc == 100 ? "the CUDA driver finds no GPU"
                           : "the CUDA driver does not begin: error %d",
                 rc);
    }
    g_free(d);
    dlclose(library);
    return NULL;
}

static void format_uuid(const struct cuda_driver *d, const struct cuda_uuid *u, char out[40])
{
    const unsigned char *b = u->bytes;
    size_t n = 0;

    while (n < sizeof(u->bytes) && (g_ascii_isalnum(b[n]) || b[n] == '-'))
        n++;
    if (d->uuid_is_text && n && (n == sizeof(u->bytes) || !b[n]))
        snprintf(out, 40, "%.*s", (int)n, (const char *)b);
    else
        snprintf(out, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                 b[13], b[14], b[15]);
}

bool cuda_driver_describe(const struct cuda_driver *d, int ordinal, struct worker_gpu *out)
{
    struct cuda_uuid uuid;
    size_t memory;
    int device, major, minor;

    memset(out, 0, sizeof(*out));
    g_strlcpy(out->backend, d->backend, sizeof(out->backend));
    out->number = (uint32_t)ordinal;
    if (d->device_get(&device, ordinal) || d->device_name(out->name, sizeof(out->name), device) ||
        d->device_memory(&memory, device) || d->device_attribute(&major, MAJOR, device) ||
        d->device_attribute(&minor, MINOR, device) || d->device_uuid(&uuid, device) ||
        d->device_pci(out->pci, sizeof(out->pci), device))
        return false;
    out->name[sizeof(out->name) - 1] = out->pci[sizeof(out->pci) - 1] = 0;
    out->memory = memory;
    out->major = (uint32_t)major;
    out->minor = (uint32_t)minor;
    format_uuid(d, &uuid, out->uuid);
    return true;
}

/* "0000:01:00.0", as sysfs has it and as the driver does, which may have a longer domain. */
static bool same_pci(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);

    return n >= 12 && m >= 12 && strcasecmp(a + n - 12, b + m - 12) == 0;
}

int cuda_driver_find(const struct cuda_driver *d, const char *which, GError **err)
{
    const char *uuid = strncasecmp(which, "GPU-", 4) == 0 ? which + 4 : which;
    const char *pci = strncmp(which, "pci:", 4) == 0 ? which + 4 : which;
    struct worker_gpu gpu;
    int count = 0;
    char *end;

    d->device_count(&count);
    long number = strtol(which, &end, 10);
    if (!*end && count > 0 && number >= 0 && number < count)
        return (int)number;
    for (int i = 0; *end && i < count; i++) {
        if (cuda_driver_describe(d, i, &gpu) &&
            (strcasecmp(gpu.uuid, uuid) == 0 || same_pci(gpu.pci, pci)))
            return i;
    }
    vmd_fail(err, VMD_ERROR_NOT_FOUND, "the %s driver has no GPU %s", d->name,
             *which ? which : "at all");
    return -1;
}
