/*
 * The workers of a VM. See vm_gpu.h.
 *
 * Each has a slot, with files of its own: one serves, while its programs move another is there to
 * follow on it, and those that others followed on may take a moment to end.
 *
 * A worker waits for a byte before it does anything, which it gets once it is written down: of one
 * that serves, the next daemon knows, and one whose daemon died before ends by itself.
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

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum {
    PAUSE_LEAST_MS = 100,
    PAUSE_MOST_MS = 10000,
    LAST_WORDS = 2048, /* bytes of a dead worker's log that are said again */
    LASTED_MS = 10000, /* a worker that served so long is followed at once */
    SLOTS = 4,
    NO_SLOT = SLOTS,
};

struct slot {
    struct vm_gpu *gpu;
    char *name; /* what its files begin with */
    struct spawned worker;
    struct gpu_share *share;
    bool dismissed; /* the worker is to end */
};

struct vm_gpu {
    struct vm *vm; /* NULL: the VM is gone, and this goes with the workers */
    uv_loop_t *loop;
    struct slot slots[SLOTS];
    unsigned at;     /* whose worker serves */
    unsigned target; /* whose worker is to follow; NO_SLOT: there is none */
    bool wanted;     /* the run goes on, and has a GPU */
    bool due;
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
    g->target = NO_SLOT;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = &g->slots[i];
        s->gpu = g;
        s->name = i ? g_strdup_printf("gpu.%u", i) : g_strdup("gpu");
        s->share = gpu_share_new(vm_daemon(vm)->gpu_shares, s->name);
        spawned_init(&s->worker);
    }
    return g;
}

/* The one that serves. */
static struct slot *slot_of(struct vm_gpu *g)
{
    return &g->slots[g->at];
}

static void destroy(struct vm_gpu *g)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        g_clear_pointer(&g->slots[i].share, gpu_share_free);
        g_free(g->slots[i].name);
    }
    g_free(g);
}

static bool any_watched(const struct vm_gpu *g)
{
    bool any = false;

    for (unsigned i = 0; i < SLOTS; i++)
        any |= spawned_watched(&g->slots[i].worker);
    return any;
}

/* Nobody asks why it ends. */
static void dismiss(struct slot *s)
{
    spawned_kill(&s->worker, SIGKILL);
    s->dismissed = spawned_watched(&s->worker);
    if (!s->dismissed)
        spawned_forget(&s->worker);
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

static char *log_path(const struct slot *s)
{
    const struct vm *vm = s->gpu->vm;
    g_autofree char *store = paths_vm_store(&vm_daemon(vm)->paths, vm_id(vm));
    g_autofree char *name = g_strconcat(s->name, ".log", NULL);

    return g_build_filename(store, name, NULL);
}

/* Why it ended, which the log of the next one takes the place of. */
static void say_why(const struct slot *s)
{
    g_autofree char *path = log_path(s);
    g_autofree char *last = store_last_lines(path, LAST_WORDS);
    g_auto(GStrv) lines = g_strsplit(last ? last : "", "\n", -1);

    /* Kernels may print to it what they like. */
    for (char **line = lines; *line; line++) {
        g_autofree char *safe = g_strescape(*line, NULL);
        log_warning("VM %s: its GPU worker's log: %s", vm_name(s->gpu->vm), safe);
    }
}

/* How a worker of ours ended that nobody asked to. */
static void say_end(const struct slot *s)
{
    const struct spawned *w = &s->worker;

    if (w->exited && w->signal)
        log_warning("VM %s: its GPU worker was killed by signal %d (%s)", vm_name(s->gpu->vm),
                    w->signal, g_strsignal(w->signal));
    else if (w->exited && w->status)
        log_warning("VM %s: its GPU worker exited with status %d", vm_name(s->gpu->vm), w->status);
    if (w->exited && w->status)
        say_why(s);
}

static void worker_gone(void *opaque)
{
    struct slot *s = opaque;
    struct vm_gpu *g = s->gpu;

    if (g->wanted && !s->dismissed)
        say_end(s);
    s->dismissed = false;
    spawned_forget(&s->worker);
    if (s->share)
        gpu_share_close(s->share);
    if (g->vm)
        proceed(g);
    else if (!any_watched(g))
        destroy(g);
}

/* A worker that waits for let_go() with what is returned; -1: there is none. */
static int launch(struct slot *s, int socket, GError **err)
{
    struct vm_gpu *g = s->gpu;
    const struct paths *paths = &vm_daemon(g->vm)->paths;
    g_autofree char *log = log_path(s);
    g_autofree char *runtime = paths_vm_runtime(paths, vm_id(g->vm));
    int pages[2], ends[2];

    if (!gpu_share_make(s->share, runtime, pages, err))
        return -1;
    autofd use = pages[0], grant = pages[1];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        vmd_set_errno(err, errno, "a pipe for a GPU worker");
        gpu_share_close(s->share);
        return -1;
    }
    autofd wait = ends[0], go = ends[1];
    const int more[] = {use, grant, wait};
    s->dismissed = false;
    if (!spawn_process_with(&s->worker, g->loop, paths->gpu_program, "--fd", log, socket, more,
                            G_N_ELEMENTS(more), worker_gone, s, err)) {
        gpu_share_close(s->share);
        return -1;
    }
    return steal_fd(&go);
}

/* The worker that was launched just now is written down, and begins. */
static void let_go(struct vm_gpu *g, int go)
{
    vm_store(g->vm);
    if (write(go, "", 1) < 0) /* it is dead, which worker_gone() hears */
        log_debug("VM %s: its GPU worker: %s", vm_name(g->vm), g_strerror(errno));
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
    autofd go = launch(slot_of(g), socket, &why);
    if (go >= 0)
        let_go(g, go);
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
    if (!g->wanted || !g->due || g->asked || g->timer || spawned_watched(&slot_of(g)->worker))
        return;
    g->due = false;
    g->asked = true;
    g->asked_at = g->turn;
    g->began_ms = uv_now(g->loop);
    vm_call(g->vm, VMI_GPU_SERVE, NULL, served, g);
}

/* A worker that an earlier daemon started, which is not watched yet. */
static void find_again(struct slot *s)
{
    struct vm_gpu *g = s->gpu;
    g_autofree char *runtime = paths_vm_runtime(&vm_daemon(g->vm)->paths, vm_id(g->vm));

    if (!s->worker.pid || spawned_watched(&s->worker))
        return;
    gpu_share_find(s->share, runtime);
    if (!spawned_watch(&s->worker, g->loop, worker_gone, s))
        spawned_init(&s->worker);
}

void vm_gpu_begin(struct vm_gpu *g)
{
    if (!vm_run_gpu(g->vm))
        return;
    g->wanted = g->due = true;
    vm_gpu_limit(g);
    for (unsigned i = 0; i < SLOTS; i++)
        find_again(&g->slots[i]);
    proceed(g);
}

void vm_gpu_limit(struct vm_gpu *g)
{
    const struct vm_gpu_config *gpu = vm_run_gpu(g->vm);
    g_autofree char *device = gpu ? gpus_device_name(vm_daemon(g->vm)->gpus, gpu) : NULL;

    if (gpu)
        gpu_share_set(slot_of(g)->share, device, gpu->share, gpu->launches);
}

void vm_gpu_describe(struct vm_gpu *g, struct vm_gpu_use *use)
{
    gpu_share_describe(slot_of(g)->share, use);
}

void vm_gpu_news(struct vm_gpu *g, const struct vmi_gpu_worker_event *event)
{
    /* One that is lost may have closed its connection and live. */
    if (event->state != GPU_WORKER_STATE_SERVING)
        spawned_kill(&slot_of(g)->worker, SIGKILL);
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
    else if (!has && (g->wanted || slot_of(g)->worker.pid))
        vm_gpu_end(g);
}

/* --- moving ----------------------------------------------------------------------------------- */

bool vm_gpu_launch_target(struct vm_gpu *g, const struct vm_gpu_config *to, int socket,
                          GError **err)
{
    g_autofree char *device = gpus_device_name(vm_daemon(g->vm)->gpus, to);
    unsigned at = 0;

    while (at < SLOTS && (at == g->at || spawned_watched(&g->slots[at].worker)))
        at++;
    if (at == SLOTS || g->target != NO_SLOT)
        return vmd_fail(err, VMD_ERROR_BUSY, "workers that others followed on have not ended yet");
    gpu_share_set(g->slots[at].share, device, to->share, to->launches);
    autofd go = launch(&g->slots[at], socket, err);
    if (go < 0)
        return false;
    g->target = at;
    let_go(g, go);
    return true;
}

void vm_gpu_moved(struct vm_gpu *g)
{
    struct slot *before = slot_of(g);

    if (g->target != NO_SLOT) {
        g->at = g->target;
        g->target = NO_SLOT;
        gpu_share_succeed(slot_of(g)->share, before->share);
        dismiss(before);
        g->began_ms = uv_now(g->loop);
    }
    vm_gpu_limit(g);
}

void vm_gpu_stay(struct vm_gpu *g)
{
    if (g->target == NO_SLOT)
        return;
    dismiss(&g->slots[g->target]);
    g->target = NO_SLOT;
    vm_store(g->vm);
}

/* --- ending ----------------------------------------------------------------------------------- */

void vm_gpu_end(struct vm_gpu *g)
{
    g->wanted = g->due = false;
    g->turn++;
    g->pause_ms = 0;
    stop_pause(g);
    /* It ends by itself, as its connection did, unless it hangs. */
    g->target = NO_SLOT;
    for (unsigned i = 0; i < SLOTS; i++) {
        dismiss(&g->slots[i]);
        gpu_share_end(g->slots[i].share);
    }
}

void vm_gpu_free(struct vm_gpu *g)
{
    if (!g)
        return;
    stop_pause(g);
    bool leaving = vm_daemon(g->vm)->leaving;
    g->wanted = false;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &g->slots[i];
        g_clear_pointer(&slot->share, gpu_share_free);
        if (leaving || !spawned_watched(&slot->worker))
            spawned_forget(&slot->worker);
        else
            spawned_kill(&slot->worker, SIGKILL);
    }
    g->vm = NULL;
    if (!any_watched(g)) /* else worker_gone() ends it */
        destroy(g);
}

/* --- the store -------------------------------------------------------------------------------- */

static struct json_object *save_slot(const struct vm_gpu *g, unsigned at)
{
    struct json_object *json = json_object_new_object();
    const struct spawned *w = &g->slots[at].worker;

    json_object_object_add(json, "pid", json_object_new_int64(w->pid));
    json_object_object_add(json, "start", json_object_new_uint64(w->start_time));
    json_object_object_add(json, "slot", json_object_new_int64(at));
    return json;
}

struct json_object *vm_gpu_save(const struct vm_gpu *g)
{
    struct json_object *json = save_slot(g, g->at);

    if (g->target != NO_SLOT)
        json_object_object_add(json, "target", save_slot(g, g->target));
    return json;
}

/* The slot whose worker JSON has; NO_SLOT where that makes no sense. */
static unsigned load_slot(struct vm_gpu *g, struct json_object *json)
{
    int64_t pid = json_object_get_int64(json_object_object_get(json, "pid"));
    int64_t at = json_object_get_int64(json_object_object_get(json, "slot"));

    if (at < 0 || at >= SLOTS)
        return NO_SLOT;
    if (pid > 0 && pid <= INT32_MAX)
        spawned_adopt(&g->slots[at].worker, (pid_t)pid,
                      json_object_get_uint64(json_object_object_get(json, "start")));
    return (unsigned)at;
}

void vm_gpu_load(struct vm_gpu *g, struct json_object *json)
{
    struct json_object *target = json_object_object_get(json, "target");
    unsigned at = load_slot(g, json);

    g->at = at == NO_SLOT ? 0 : at;
    if (json_object_is_type(target, json_type_object))
        g->target = load_slot(g, target);
    if (g->target == g->at)
        g->target = NO_SLOT;
}
