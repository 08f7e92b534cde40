/*
 * The worker of a VM. See vm_gpu.h.
 *
 * A worker is due from the beginning of a run, or when a GPU comes to it, and again whenever the VM
 * process says that it lost one. It is asked for (vmi.gpu_serve) when the one before is dead, and,
 * after some that did not last, not before a pause.
 */
#include "daemon/vm_gpu.h"

#include "base/log.h"
#include "daemon/gpu_share.h"
#include "daemon/gpus.h"
#include "daemon/spawn.h"
#include "daemon/store.h"
#include "proto/jsonrpc/json.h"

#include <signal.h>

enum {
    PAUSE_LEAST_MS = 100,
    PAUSE_MOST_MS = 10000,
    LAST_WORDS = 2048, /* bytes of a dead worker's log that are said again */
    LASTED_MS = 10000, /* a worker that served so long is followed at once */
};

struct vm_gpu {
    struct vm *vm; /* NULL: the VM is gone, and this goes with the worker */
    uv_loop_t *loop;
    struct spawned worker;
    struct gpu_share *share;
    bool wanted; /* the run goes on, and has a GPU */
    bool due;
    bool dismissed;    /* the worker was ended with its GPU */
    bool asked;        /* vmi.gpu_serve was not answered yet */
    unsigned turn;     /* which of the run's GPUs it is, */
    unsigned asked_at; /* and which it was when that was asked */
    uv_timer_t *timer; /* of a pause; freed by its close */
    uint64_t began_ms; /* when the worker was started */
    unsigned pause_ms; /* before the next one */
};

struct vm_gpu *vm_gpu_new(struct vm *vm)
{
    struct vm_gpu *g = g_new0(struct vm_gpu, 1);

    g->vm = vm;
    g->loop = vm_daemon(vm)->loop;
    g->share = gpu_share_new(vm_daemon(vm)->gpu_shares);
    spawned_init(&g->worker);
    return g;
}

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void stop_pause(struct vm_gpu *g)
{
    if (g->timer)
        uv_close((uv_handle_t *)g->timer, timer_closed);
    g->timer = NULL;
}

/* --- starting --------------------------------------------------------------------------------- */

static void proceed(struct vm_gpu *g);

static char *log_path(const struct vm_gpu *g)
{
    g_autofree char *store = paths_vm_store(&vm_daemon(g->vm)->paths, vm_id(g->vm));

    return g_build_filename(store, "gpu.log", NULL);
}

/* Why it ended, which the log of the next one takes the place of. */
static void say_why(const struct vm_gpu *g)
{
    g_autofree char *path = log_path(g);
    g_autofree char *last = store_last_lines(path, LAST_WORDS);
    g_auto(GStrv) lines = g_strsplit(last ? last : "", "\n", -1);

    /* Kernels may print to it what they like. */
    for (char **line = lines; *line; line++) {
        g_autofree char *safe = g_strescape(*line, NULL);
        log_warning("VM %s: its GPU worker's log: %s", vm_name(g->vm), safe);
    }
}

/* How a worker of ours ended that nobody asked to. */
static void say_end(const struct vm_gpu *g)
{
    if (g->worker.exited && g->worker.signal)
        log_warning("VM %s: its GPU worker was killed by signal %d (%s)", vm_name(g->vm),
                    g->worker.signal, g_strsignal(g->worker.signal));
    else if (g->worker.exited && g->worker.status)
        log_warning("VM %s: its GPU worker exited with status %d", vm_name(g->vm),
                    g->worker.status);
    if (g->worker.exited && g->worker.status)
        say_why(g);
}

static void worker_gone(void *opaque)
{
    struct vm_gpu *g = opaque;

    if (g->wanted && !g->dismissed)
        say_end(g);
    g->dismissed = false;
    spawned_forget(&g->worker);
    if (g->share)
        gpu_share_close(g->share);
    if (g->vm)
        proceed(g);
    else
        g_free(g);
}

static bool launch(struct vm_gpu *g, int socket, GError **err)
{
    const struct paths *paths = &vm_daemon(g->vm)->paths;
    g_autofree char *log = log_path(g);
    g_autofree char *runtime = paths_vm_runtime(paths, vm_id(g->vm));
    int pages[2];

    if (!gpu_share_make(g->share, runtime, pages, err))
        return false;
    autofd use = pages[0], grant = pages[1];
    bool runs = spawn_process_with(&g->worker, g->loop, paths->gpu_program, "--fd", log, socket,
                                   pages, G_N_ELEMENTS(pages), worker_gone, g, err);
    if (!runs)
        gpu_share_close(g->share);
    return runs;
}

/* The answer to vmi.gpu_serve. That there is a worker already is none to begin with. */
static void served(void *arg, const void *result, int fd, const GError *err)
{
    struct vm_gpu *g = arg;
    autofd socket = fd;
    g_autoptr(GError) why = NULL;

    g->asked = false;
    if (g->asked_at != g->turn) { /* of a GPU that is gone */
        proceed(g);
        return;
    }
    if (err && !g_error_matches(err, VMD_ERROR, VMD_ERROR_BUSY))
        log_warning("VM %s: its GPU has no worker: %s", vm_name(g->vm), err->message);
    else if (!err && socket < 0)
        log_warning("VM %s: its GPU has no worker: the daemon has no room for its socket",
                    vm_name(g->vm));
    if (!g->wanted || err || socket < 0)
        return;
    if (launch(g, socket, &why))
        vm_store(g->vm);
    else /* its socket is closed: the VM process tells that it is lost, and so it is due again */
        log_warning("VM %s: its GPU has no worker: %s", vm_name(g->vm), why->message);
}

static void pause_over(uv_timer_t *timer)
{
    struct vm_gpu *g = timer->data;

    stop_pause(g);
    proceed(g);
}

/* Asks for a worker's socket if one is due and nothing stands in the way. */
static void proceed(struct vm_gpu *g)
{
    if (!g->wanted || !g->due || g->asked || g->timer || spawned_watched(&g->worker))
        return;
    g->due = false;
    g->asked = true;
    g->asked_at = g->turn;
    g->began_ms = uv_now(g->loop);
    vm_call(g->vm, VMI_GPU_SERVE, NULL, served, g);
}

void vm_gpu_begin(struct vm_gpu *g)
{
    if (!vm_run_gpu(g->vm))
        return;
    g->wanted = g->due = true;
    vm_gpu_limit(g);
    if (g->worker.pid && !spawned_watched(&g->worker)) {
        g_autofree char *runtime = paths_vm_runtime(&vm_daemon(g->vm)->paths, vm_id(g->vm));
        gpu_share_find(g->share, runtime);
    }
    if (g->worker.pid && !spawned_watched(&g->worker) &&
        !spawned_watch(&g->worker, g->loop, worker_gone, g))
        spawned_init(&g->worker);
    proceed(g);
}

void vm_gpu_limit(struct vm_gpu *g)
{
    const struct vm_gpu_config *gpu = vm_run_gpu(g->vm);
    g_autofree char *device = gpu ? gpus_device_name(vm_daemon(g->vm)->gpus, gpu) : NULL;

    if (gpu)
        gpu_share_set(g->share, device, gpu->share, gpu->launches);
}

void vm_gpu_describe(struct vm_gpu *g, struct vm_gpu_use *use)
{
    gpu_share_describe(g->share, use);
}

void vm_gpu_news(struct vm_gpu *g, const struct vmi_gpu_worker_event *event)
{
    /* One that is lost may have closed its connection and live. */
    if (event->state != GPU_WORKER_STATE_SERVING)
        spawned_kill(&g->worker, SIGKILL);
    if (event->state != GPU_WORKER_STATE_LOST || !g->wanted)
        return;
    bool lasted = uv_now(g->loop) - g->began_ms >= LASTED_MS;
    unsigned pause = lasted ? 0 : g->pause_ms;
    g->pause_ms = lasted ? 0 : CLAMP(2 * pause, PAUSE_LEAST_MS, PAUSE_MOST_MS);
    g->due = true;
    if (pause && !g->timer) {
        g->timer = g_new0(uv_timer_t, 1);
        uv_timer_init(g->loop, g->timer);
        g->timer->data = g;
        uv_timer_start(g->timer, pause_over, pause, 0);
    }
    proceed(g);
}

void vm_gpu_follow(struct vm_gpu *g)
{
    bool has = vm_run_gpu(g->vm) != NULL;

    if (has && !g->wanted)
        vm_gpu_begin(g);
    else if (!has && (g->wanted || g->worker.pid))
        vm_gpu_end(g);
}

/* --- ending ----------------------------------------------------------------------------------- */

void vm_gpu_end(struct vm_gpu *g)
{
    g->wanted = g->due = false;
    g->turn++;
    g->pause_ms = 0;
    stop_pause(g);
    /* It ends by itself, as its connection did, unless it hangs. */
    spawned_kill(&g->worker, SIGKILL);
    g->dismissed = spawned_watched(&g->worker);
    if (!g->dismissed)
        spawned_forget(&g->worker);
    gpu_share_end(g->share);
}

void vm_gpu_free(struct vm_gpu *g)
{
    if (!g)
        return;
    stop_pause(g);
    g_clear_pointer(&g->share, gpu_share_free);
    if (!vm_daemon(g->vm)->leaving && spawned_watched(&g->worker)) {
        spawned_kill(&g->worker, SIGKILL);
        g->wanted = false;
        g->vm = NULL; /* worker_gone() ends it */
        return;
    }
    spawned_forget(&g->worker);
    g_free(g);
}

/* --- the store -------------------------------------------------------------------------------- */

struct json_object *vm_gpu_save(const struct vm_gpu *g)
{
    struct json_object *json = json_object_new_object();

    json_object_object_add(json, "pid", json_object_new_int64(g->worker.pid));
    json_object_object_add(json, "start", json_object_new_uint64(g->worker.start_time));
    return json;
}

void vm_gpu_load(struct vm_gpu *g, struct json_object *json)
{
    int64_t pid = json_object_get_int64(json_object_object_get(json, "pid"));

    if (pid > 0 && pid <= INT32_MAX)
        spawned_adopt(&g->worker, (pid_t)pid,
                      json_object_get_uint64(json_object_object_get(json, "start")));
}
