/* The worker's other end. See gpu.h, gpu/protocol/contract.h. */
#include "vm/gpu_priv.h"

#include <sys/socket.h>

struct gpu *gpu_new(uv_loop_t *loop, const struct vm_gpu_config *config, struct gpu_ports *ports,
                    const struct gpu_ops *ops, void *opaque, GError **err)
{
    struct gpu_function *function = gpu_function_new(err);

    if (!function)
        return NULL;
    struct gpu *g = g_new0(struct gpu, 1);
    *g = (struct gpu){.loop = loop,
                      .config = config,
                      .function = function,
                      .ports = ports,
                      .ops = *ops,
                      .opaque = opaque,
                      .worker = {.fd = -1, .with = -1}};
    gpu_ports_add(ports);
    return g;
}

struct pci_function *gpu_pci(struct gpu *g)
{
    return gpu_function_pci(g->function);
}

void gpu_going(struct gpu *g)
{
    g->going = true;
    gpu__move_going(g);
    gpu_function_lost(g->function);
}

const struct mem_ram *gpu_window(const struct gpu *g)
{
    return gpu_function_window(g->function);
}

void gpu_free(struct gpu *g)
{
    if (!g)
        return;
    gpu__move_free(g);
    gpu__disconnect(&g->worker);
    gpu_ports_stop(g->ports, g);
    gpu_ports_remove(g->ports);
    gpu_function_free(g->function);
    vm_gpu_config_free(g->place);
    g_free(g);
}

static void tell(struct gpu *g, enum gpu_worker_state state, const char *text)
{
    g->told = true;
    g->state = state;
    g->workers += state == GPU_WORKER_STATE_SERVING;
    g->ops.changed(g->opaque, state, text);
}

struct gpu_stats *gpu_counts(const struct gpu *g, const char *id)
{
    struct gpu_stats *s = gpu_stats_new();

    s->id = g_strdup(id);
    s->has_state = g->told;
    s->state = g->state;
    s->workers = g->workers;
    s->memory_bytes = g->config->memory;
    s->used_bytes = g->used;
    return s;
}

/* --- what the worker says --------------------------------------------------------------------- */

/* Its end is closed: so it ended, or vmd ends it on being told. */
void gpu__lost(struct gpu *g, const char *text)
{
    gpu__disconnect(&g->worker);
    gpu_ports_stop(g->ports, g);
    gpu_function_lost(g->function);
    g->used = 0;
    tell(g, GPU_WORKER_STATE_LOST, text);
}

/* It stays connected until vmd has ended it: until then it may write to the window. */
static void hang(struct gpu *g, const char *text)
{
    if (g->hung)
        return;
    g->hung = true;
    uv_timer_stop(g->worker.timer);
    g->used = 0;
    tell(g, GPU_WORKER_STATE_HUNG, text);
    if (!gpu__move_loads(g)) /* else another has all that it had */
        gpu__move_fail(g, VMD_ERROR_TIMEOUT, text);
}

/* A stream of a program's, whose other end the worker has. One that does not read its connection
 * gets none, nor does one whose sessions are about to be another's. */
static int join(void *opaque)
{
    const struct gpu *g = opaque;
    int pair[2];

    if (g->hung || g->move || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    autofd ours = pair[0], theirs = pair[1];
    return gpu__order(&g->worker, (char[]){WORKER_STREAM}, 1, theirs) ? steal_fd(&ours) : -1;
}

static void reported(struct gpu *g)
{
    g->used = g->worker.said.report.used;
    if (g->serving)
        return;
    g->serving = true;
    gpu_ports_serve(g->ports, join, g);
    tell(g, GPU_WORKER_STATE_SERVING, "the GPU worker serves");
    gpu__move_served(g);
}

static void heard(struct gpu *g, enum gpu_heard what)
{
    if (g->hung)
        return;
    g->worker.unanswered = 0;
    if (what == GPU_HEARD_REPORT)
        reported(g);
    else if (what == GPU_HEARD_MOVED && (g->move || g->going))
        gpu__move_saved(g);
    else
        hang(g, "the GPU worker does not make sense");
}

static void gone(struct gpu *g)
{
    if (gpu__move_widowed(g))
        gpu__disconnect(&g->worker);
    else
        gpu__lost(g, g->serving ? "the GPU worker died" : "the GPU worker ended before it served");
}

/* Takes what is there, of one that does not end a part. After an error (STATUS) nobody polls any
 * more, so all that there is has to be taken now. */
static void readable(uv_poll_t *poll, int status, int events)
{
    struct gpu *g = poll->data;

    for (unsigned i = 0; status < 0 || i < GPU_REPORTS_MOST; i++) {
        enum gpu_heard what = gpu__hear(&g->worker);
        if (what == GPU_HEARD_END || (what == GPU_HEARD_NOTHING && status < 0)) {
            gone(g);
            return;
        }
        if (what == GPU_HEARD_NOTHING)
            return;
        heard(g, what);
    }
}

/* A worker that begins has as long as one that serves. */
static void ask(uv_timer_t *timer)
{
    struct gpu *g = timer->data;

    if (g->worker.unanswered == GPU_UNANSWERED_MOST) {
        hang(g, "the GPU worker does not answer");
        return;
    }
    g->worker.unanswered++;
    gpu__order(&g->worker, (char[]){WORKER_ASK}, 1, -1);
    if (gpu__move_tick(g))
        hang(g, "the GPU worker does not end to save what its programs have");
}

/* --- connecting ------------------------------------------------------------------------------- */

int gpu_serve(struct gpu *g, GError **err)
{
    if (g->worker.fd >= 0 || gpu__move_loads(g)) {
        vmd_fail(err, VMD_ERROR_BUSY, "there is a GPU worker already");
        return -1;
    }
    g->serving = g->hung = false;
    return gpu__connect(g, &g->worker, WORKER_MAGIC, g->place ? g->place : g->config, readable, ask,
                        err);
}

void gpu__take_over(struct gpu *g, struct gpu_peer *peer)
{
    gpu__disconnect(&g->worker);
    g->worker = *peer;
    *peer = (struct gpu_peer){.fd = -1, .with = -1};
    gpu__order(&g->worker, (char[]){WORKER_GO}, 1, -1);
    uv_poll_start(g->worker.poll, UV_READABLE, readable);
    uv_timer_start(g->worker.timer, ask, GPU_ASK_MS, GPU_ASK_MS);
    g->serving = true;
    g->hung = false;
    gpu_ports_serve(g->ports, join, g);
    tell(g, GPU_WORKER_STATE_SERVING, "the GPU worker serves what was moved to it");
}
