/* The HIP backend. See backend_hip.h. */
#include "gpu/server/backend_hip.h"

#include "gpu/server/backend_cuda_priv.h"
#include "gpu/server/compile_serve.h"
#include "gpu/server/compiler.h"
#include "gpu/server/hip_driver.h"

struct hip_backend {
    struct cuda_backend base;
    struct gpu_backend_ops ops;
    char target[TARGET_BYTES];
    struct compiler *compiler; /* owned */
};

static struct hip_backend *hip_of(struct gpu_backend *b)
{
    return container_of(b, struct hip_backend, base.base);
}

static void hip_close(struct gpu_backend *b)
{
    compiler_free(hip_of(b)->compiler);
    g_free(hip_of(b));
}

static int hip_version(struct gpu_backend *b)
{
    return hip_of(b)->base.driver->version;
}

static const char *hip_target(struct gpu_backend *b, unsigned device)
{
    return device ? NULL : hip_of(b)->target;
}

static struct compiler *hip_compiler(struct gpu_backend *b)
{
    return hip_of(b)->compiler;
}

struct gpu_backend *backend_hip_new(const char *which, GError **err)
{
    autofd compiler = compile_start(err); /* before the driver, of which it has nothing */
    const struct cuda_driver *d = compiler < 0 ? NULL : hip_driver_open(err);
    g_autofree struct hip_backend *b = g_new0(struct hip_backend, 1);

    if (!d || !cuda__backend_init(&b->base, &b->ops, d, which, err))
        return NULL;
    if (!hip_driver_target(b->base.device, b->target)) {
        vmd_fail(err, VMD_ERROR_IO, "the HIP driver does not say what GPU %d runs",
                 b->base.ordinal);
        return NULL;
    }
    b->ops = cuda__ops;
    b->ops.name = "hip";
    b->ops.close = hip_close;
    b->ops.driver_version = hip_version;
    b->ops.target = hip_target;
    b->ops.compiler = hip_compiler;
    b->compiler = compiler_new(steal_fd(&compiler));
    b->ops.move = NULL; /* nothing but such a GPU runs what is in it */
    return &g_steal_pointer(&b)->base.base;
}
