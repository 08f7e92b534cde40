/*
 * A move of what a guest's programs have to another worker. See gpu.h and docs/gpu-migration.md.
 *
 * The source answers questions while it saves, and so does the target while it loads; what neither
 * says anything of for SAVE_MOST_MS longer than programs may take is given up. Until the target has
 * loaded all, the source needs no more than WORKER_GO to go on.
 */
#include "vm/gpu_priv.h"

enum { SAVE_MOST_MS = 600000 };

enum stage {
    BEGINS, /* until both workers have said that they are there */
    SAVES,  /* the source was told so */
    LOADS,  /* the target was, and may live on what it has alone */
};

struct gpu_move {
    uint64_t job;
    struct vm_gpu_config *to;
    uint32_t timeout_ms;
    uint64_t until_ms; /* of the loop's clock */
    enum stage stage;
    bool ready;     /* the target has its device */
    bool widow;     /* the source is gone */
    bool cancelled; /* by job.cancel */
    GError *failed; /* why, of one that waits for the source to have saved */
    struct gpu_peer target;
};

static void move_free(struct gpu_move *m)
{
    gpu__disconnect(&m->target);
    vm_gpu_config_free(m->to);
    g_clear_error(&m->failed);
    g_free(m);
}

void gpu__move_free(struct gpu *g)
{
    if (g->move)
        move_free(g_steal_pointer(&g->move));
}

/* --- its end ---------------------------------------------------------------------------------- */

/* The source goes on, where there is one. ERR is taken. */
static void end_failed(struct gpu *g, GError *err)
{
    struct gpu_move *m = g_steal_pointer(&g->move);
    g_autoptr(GError) why = err;
    bool widow = m->widow;

    if (m->stage == LOADS)
        gpu__order(&g->worker, (char[]){WORKER_GO}, 1, -1);
    g->ops.moved(g->opaque, m->job, m->cancelled, why);
    move_free(m);
    if (widow)
        gpu__lost(g, "the GPU worker died while what it had was moved, and that failed");
}

/* ERR is taken; of several the first counts. A source that is in the middle of saving, and answers,
 * is let end that. */
static void fail(struct gpu *g, GError *err)
{
    struct gpu_move *m = g->move;

    if (m->failed)
        g_error_free(err);
    else
        m->failed = err;
    gpu__disconnect(&m->target);
    if (m->stage != SAVES || g->hung)
        end_failed(g, g_steal_pointer(&m->failed));
}

/* Whatever its worker still says, nothing will come of it. */
void gpu__move_going(struct gpu *g)
{
    if (!g->move)
        return;
    g->move->stage = BEGINS;
    if (g->move->failed)
        end_failed(g, g_steal_pointer(&g->move->failed));
    else
        gpu__move_fail(g, VMD_ERROR_GONE, "the GPU was removed meanwhile");
}

void gpu__move_fail(struct gpu *g, enum vmd_error kind, const char *text)
{
    if (g->move)
        fail(g, g_error_new_literal(VMD_ERROR, (int)kind, text));
}

static void end_done(struct gpu *g)
{
    struct gpu_move *m = g_steal_pointer(&g->move);

    vm_gpu_config_free(g->place);
    g->place = g_steal_pointer(&m->to);
    g->used = m->target.said.moved.used;
    g->ops.moved(g->opaque, m->job, false, NULL);
    gpu__take_over(g, &m->target);
    move_free(m);
}

/* --- its stages ------------------------------------------------------------------------------- */

/* Both are there. */
static void save(struct gpu *g)
{
    struct gpu_move *m = g->move;
    uint8_t order[1 + sizeof(uint32_t)] = {WORKER_SAVE};

    if (m->stage != BEGINS || !m->ready || !g->serving)
        return;
    memcpy(order + 1, &m->timeout_ms, sizeof(uint32_t));
    m->until_ms = uv_now(g->loop) + m->timeout_ms + SAVE_MOST_MS;
    if (!gpu__order(&g->worker, order, sizeof(order), -1)) {
        gpu__move_fail(g, VMD_ERROR_IO, "the GPU worker cannot be told to save what it has");
        return;
    }
    m->stage = SAVES;
}

void gpu__move_served(struct gpu *g)
{
    if (g->move)
        save(g);
}

/* What a worker says may be anything. */
static GError *moved_error(const struct worker_moved *moved)
{
    g_autofree char *text = g_strndup(moved->text, sizeof(moved->text));
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    return g_error_new(VMD_ERROR, VMD_ERROR_STATE, "%s", *valid ? valid : "no reason was given");
}

void gpu__move_saved(struct gpu *g)
{
    struct gpu_move *m = g->move;
    const struct worker_moved *moved = &g->worker.said.moved;
    autofd image = steal_fd(&g->worker.with);

    if (!m || m->stage != SAVES)
        return;
    if (!moved->done) {
        m->stage = BEGINS; /* it goes on already */
        end_failed(g, m->failed ? g_steal_pointer(&m->failed) : moved_error(moved));
        return;
    }
    m->stage = LOADS;
    if (m->failed)
        end_failed(g, g_steal_pointer(&m->failed));
    else if (image < 0 || !gpu__order(&m->target, (char[]){WORKER_LOAD}, 1, image))
        gpu__move_fail(g, VMD_ERROR_IO, "the image of what the GPU's programs have is lost");
}

bool gpu__move_loads(const struct gpu *g)
{
    return g->move && g->move->stage == LOADS;
}

bool gpu__move_widowed(struct gpu *g)
{
    struct gpu_move *m = g->move;

    if (!m)
        return false;
    if (m->stage == LOADS) {
        m->widow = true;
        return true;
    }
    m->stage = BEGINS; /* nobody is there to be let go on */
    fail(g, g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE,
                                "the GPU worker died before all was moved"));
    return false;
}

static void target_heard(struct gpu *g, enum gpu_heard what)
{
    struct gpu_move *m = g->move;

    m->target.unanswered = 0;
    if (what == GPU_HEARD_REPORT) {
        m->ready = true;
        save(g);
    } else if (what == GPU_HEARD_MOVED && m->stage == LOADS) {
        if (m->target.said.moved.done)
            end_done(g);
        else
            fail(g, moved_error(&m->target.said.moved));
    } else {
        gpu__move_fail(g, VMD_ERROR_IO, "the worker at the target does not make sense");
    }
}

/* The move may end with any of what is heard, and the connection with it. */
static void target_readable(uv_poll_t *poll, int status, int events)
{
    struct gpu *g = poll->data;
    const struct gpu_move *m = g->move;

    for (unsigned i = 0;
         g->move == m && m->target.poll == poll && (status < 0 || i < GPU_REPORTS_MOST); i++) {
        enum gpu_heard what = gpu__hear(&g->move->target);
        if (what == GPU_HEARD_END || (what == GPU_HEARD_NOTHING && status < 0)) {
            fail(g, g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE,
                                        m->ready
                                            ? "the worker at the target ended before all was moved"
                                            : "no worker began at the target"));
            return;
        }
        if (what == GPU_HEARD_NOTHING)
            return;
        target_heard(g, what);
    }
}

bool gpu__move_tick(struct gpu *g)
{
    const struct gpu_move *m = g->move;

    if (!m || uv_now(g->loop) <= m->until_ms)
        return false;
    if (m->stage == SAVES)
        return true;
    gpu__move_fail(g, VMD_ERROR_TIMEOUT,
                   "the worker at the target does not end to load what there is");
    return false;
}

static void target_tick(uv_timer_t *timer)
{
    struct gpu *g = timer->data;
    struct gpu_move *m = g->move;

    if (m->target.unanswered == GPU_UNANSWERED_MOST) {
        fail(g, g_error_new_literal(VMD_ERROR, VMD_ERROR_TIMEOUT,
                                    "the worker at the target does not answer"));
        return;
    }
    m->target.unanswered++;
    gpu__order(&m->target, (char[]){WORKER_ASK}, 1, -1);
    gpu__move_tick(g);
}

/* --- beginning -------------------------------------------------------------------------------- */

bool gpu_move(struct gpu *g, uint64_t job, const struct vm_gpu_config *to, uint32_t timeout_ms,
              int *fd, GError **err)
{
    if (g->move)
        return vmd_fail(err, VMD_ERROR_BUSY, "the GPU is being moved already");
    if (g->hung)
        return vmd_fail(err, VMD_ERROR_STATE, "the GPU worker does not answer, and is ended");
    if (to->memory != g->config->memory)
        return vmd_fail(err, VMD_ERROR_INVALID, "the limit of memory cannot be changed by a move");
    if (g->worker.fd < 0) {
        vm_gpu_config_free(g->place);
        g->place = vm_gpu_config_copy(to);
        *fd = -1;
        g->ops.moved(g->opaque, job, false, NULL);
        return true;
    }
    struct gpu_move *m = g_new0(struct gpu_move, 1);
    int theirs =
        gpu__connect(g, &m->target, WORKER_MOVED_MAGIC, to, target_readable, target_tick, err);
    if (theirs < 0) {
        g_free(m);
        return false;
    }
    m->job = job;
    m->to = vm_gpu_config_copy(to);
    m->timeout_ms = timeout_ms;
    m->until_ms = uv_now(g->loop) + timeout_ms + SAVE_MOST_MS;
    g->move = m;
    *fd = theirs;
    return true;
}

bool gpu_move_cancel(struct gpu *g, uint64_t job)
{
    if (!g || !g->move || g->move->job != job || g->move->failed)
        return g && g->move && g->move->job == job;
    g->move->cancelled = true;
    fail(g, g_error_new_literal(VMD_ERROR, VMD_ERROR_STATE, "the job was cancelled"));
    return true;
}

uint64_t gpu_move_job(const struct gpu *g)
{
    return g && g->move ? g->move->job : 0;
}
