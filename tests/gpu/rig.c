/* See rig.h. */
#include "tests/gpu/rig.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

static int (*cuda_lookup)(const char *name, void **out, int version, uint64_t flags);
struct gpu_quota rig_quota = {.most = MIB(64)};
static struct session_env env = {.quota = &rig_quota};
char rig_path[64];

uint64_t rig_used(void)
{
    return __atomic_load_n(&rig_quota.used, __ATOMIC_RELAXED);
}

void *rig_function(const char *name)
{
    void *fn = NULL;

    ck_assert_msg(cuda_lookup(name, &fn, 12040, 0) == 0, "%s", name);
    return fn;
}

unsigned rig_hosts, rig_lose;
void (*rig_change)(struct gpu_backend_ops *ops);
static struct gpu_backend_ops ops;
static int (*host)(struct gpu_stream *s, void (*fn)(void *opaque), void *opaque);

static int count_host(struct gpu_stream *s, void (*fn)(void *opaque), void *opaque)
{
    int rc = host(s, fn, opaque);

    __atomic_add_fetch(&rig_hosts, 1, __ATOMIC_RELEASE);
    return rc;
}

static void *listener(void *opaque)
{
    int fd = GPOINTER_TO_INT(opaque);

    for (unsigned i = 0; i < rig_lose; i++) {
        autofd program = accept(fd, NULL, NULL);
        char way;
        ck_assert_int_eq(recv(program, &way, 1, 0), 1);
    }
    worker_listen(&env, fd, NULL);
    return NULL;
}

void rig_load(bool stream)
{
    setenv("VMD_GPU_SOCKET", rig_path, 1);
    if (stream)
        setenv("VMD_GPU_STREAM", "1", 1);
    void *lib = dlopen(g_getenv("VMD_CUDA_LIBRARY"), RTLD_NOW);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    cuda_lookup = (int (*)(const char *, void **, int, uint64_t))dlsym(lib, "cuGetProcAddress");
    ck_assert(cuda_lookup != NULL);
}

static void setup(bool stream)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;

    snprintf(rig_path, sizeof(rig_path), "/tmp/test-gpu-%d", getpid());
    strcpy(address.sun_path, rig_path);
    unlink(rig_path);
    ck_assert(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 8) == 0);
    env.backend = backend_queue_new(&engine_test);
    ops = *env.backend->ops;
    host = ops.host;
    ops.host = count_host;
    if (rig_change)
        rig_change(&ops);
    env.backend->ops = &ops;
    ck_assert(pthread_create(&thread, NULL, listener, GINT_TO_POINTER(fd)) == 0);
    pthread_detach(thread);
    rig_load(stream);
}

void rig_end(void)
{
    unlink(rig_path);
}

CUcontext rig_begin(int i)
{
    CUcontext c = NULL;

    setup(i != 0);
    CU_IS(3, CtxCreate_v2, &c, 0, 0);
    CU_OK(Init, 0);
    CU_OK(CtxCreate_v2, &c, 0, 0);
    return c;
}

CUfunction rig_kernel(const char *name)
{
    CUmodule m = NULL;
    CUfunction f = NULL;

    CU_OK(ModuleLoadData, &m, "kernels");
    CU_OK(ModuleGetFunction, &f, m, name);
    return f;
}
