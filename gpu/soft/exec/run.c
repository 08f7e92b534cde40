/*
 * Blocks, warps, paths: who runs when, and how lanes part and meet (see exec.h).
 */
#include "gpu/soft/exec/exec.h"

#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

void exec_fault(struct warp *w, const struct soft_op *op, int error, const char *format, ...)
{
    struct exec_grid *g = w->block->grid;
    va_list ap;
    int none = SOFT_OK;

    w->stop = true;
    if (!atomic_compare_exchange_strong(&g->error, &none, error))
        return;
    va_start(ap, format);
    g_autofree char *what = g_strdup_vprintf(format, ap);
    va_end(ap);
    pthread_mutex_lock(&g->lock);
    g->log = g_strdup_printf("%s, line %u, block (%u,%u,%u), warp %u: %s",
                             w->frame ? w->frame->fn->name : g->fn->name, op ? op->line : 0, w->block->ctaid[0],
                             w->block->ctaid[1], w->block->ctaid[2], w->index, what);
    pthread_mutex_unlock(&g->lock);
}

/* ---- Frames ---- */

struct exec_frame *exec_frame_new(struct warp *w, const struct soft_function *fn)
{
    struct exec_frame **at = &w->free_frames, *f;

    while (*at && (*at)->fn != fn)
        at = &(*at)->next;
    f = *at;
    if (f) {
        *at = f->next;
    } else {
        f = g_new0(struct exec_frame, 1);
        f->fn = fn;
        f->regs = g_aligned_alloc(1, fn->frame + (size_t)fn->pmem * SOFT_WARP + 64, 64);
        f->pmem = f->regs + fn->frame;
        f->all = w->frames;
        w->frames = f;
    }
    memset(f->regs, 0, fn->frame + (size_t)fn->pmem * SOFT_WARP);
    f->up = NULL;
    f->call = NULL;
    f->depth = 0;
    f->local_base = 0;
    return f;
}

void exec_frame_free(struct warp *w, struct exec_frame *frame)
{
    frame->next = w->free_frames;
    w->free_frames = frame;
}

/* ---- Paths ---- */

struct exec_path *exec_path_new(struct warp *w, uint32_t mask, uint32_t pc)
{
    struct exec_path *p = w->paths;

    /* Each path has a lane that no other has, so that one of the 32 is free. */
    while (p->mask)
        p++;
    *p = (struct exec_path){.mask = mask, .pc = pc, .frame = w->frame, .join = w->path->join};
    return p;
}

void exec_diverge(struct warp *w, uint32_t taken, uint32_t pc, uint32_t join)
{
    struct exec_join *j = w->path->join;

    if (!j || j->pc != join || j->frame != w->frame) {
        j = g_new0(struct exec_join, 1);
        j->up = w->path->join;
        j->frame = w->frame;
        j->pc = join;
        j->expected = w->mask;
        w->path->join = j;
    }
    w->mask &= ~taken;
    w->path->mask = w->mask;
    exec_path_new(w, taken, pc);
}

bool exec_converge(struct warp *w, const struct soft_op *op, uint32_t need)
{
    bool anywhere = op->run == exec_warpsync;
    uint32_t together = w->mask;

    need &= w->live;
    if (!(need & ~w->mask))
        return true;
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        struct exec_path *p = &w->paths[i];
        bool here = anywhere ? p->frame->fn->ops[p->pc - 1].run == exec_warpsync
                             : p->pc == w->pc && p->frame == w->frame;

        if (p->mask && p != w->path && p->state == PATH_WARPSYNC && (anywhere ? p->mask & need : here) && here)
            together |= p->mask;
    }
    if (need & ~together) {
        w->path->state = PATH_WARPSYNC;
        w->stop = true;
        return false;
    }
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (w->paths[i].mask & together && w->paths[i].state == PATH_WARPSYNC)
            w->paths[i].state = PATH_READY;
    }
    w->exec = together;
    return true;
}

/* Operations of one path until it must stop. */
static void run_path(struct warp *w, struct exec_path *path)
{
    w->path = path;
    w->pc = path->pc;
    w->mask = path->mask;
    w->frame = path->frame;
    w->regs = path->frame->regs;
    w->consts = path->frame->fn->consts;
    w->budget = EXEC_SLICE;
    w->stop = false;
    while (!w->stop) {
        const struct soft_op *op = &w->frame->fn->ops[w->pc++];
        uint32_t exec = w->mask;

        if (op->guarded) {
            uint32_t p = *exec_pred(w, op->guard);

            exec &= op->guarded == GUARD_IF ? p : ~p;
            if (!exec)
                continue;
        }
        w->exec = exec;
        op->run(w, op);
    }
    /* A path that ended has no lanes; its place may be taken by now. */
    if (w->path) {
        path->pc = w->pc;
        path->frame = w->frame;
    }
}

static bool warp_slice(struct warp *w)
{
    bool ran = false;

    for (unsigned i = 0; i < SOFT_WARP && !w->block->grid->error; i++) {
        struct exec_path *p = &w->paths[(w->turn + i) % SOFT_WARP];

        if (!p->mask || p->state != PATH_READY)
            continue;
        run_path(w, p);
        ran = true;
    }
    w->turn = (w->turn + 1) % SOFT_WARP;
    return ran;
}

/* ---- Blocks ---- */

int exec_block_init(struct exec_block *block, struct exec_grid *grid)
{
    memset(block, 0, sizeof(*block));
    block->grid = grid;
    block->n_warps = (grid->block_threads + SOFT_WARP - 1) / SOFT_WARP;
    block->warps = g_new0(struct warp, block->n_warps);
    block->shared = g_aligned_alloc0(1, MAX(grid->shared_bytes, 64u), 64);
    block->shared_view = (struct exec_view){block->shared, 0, grid->shared_bytes, 0};
    return 0;
}

static void warp_start(struct warp *w, struct exec_block *block, unsigned index)
{
    unsigned left = block->grid->block_threads - index * SOFT_WARP;

    w->block = block;
    w->index = index;
    w->initial = w->live = left >= SOFT_WARP ? ~0u : (1u << left) - 1;
    w->free_frames = NULL;
    for (struct exec_frame *f = w->frames; f; f = f->all)
        exec_frame_free(w, f);
    memset(w->paths, 0, sizeof(w->paths));
    w->global = (struct exec_view){0};
    w->frame = exec_frame_new(w, block->grid->fn);
    w->path = &w->paths[0];
    w->paths[0] = (struct exec_path){.mask = w->live, .frame = w->frame};
}

void exec_block_start(struct exec_block *block, uint64_t id)
{
    const uint32_t *grid = block->grid->launch->grid;

    block->ctaid[0] = id % grid[0];
    block->ctaid[1] = id / grid[0] % grid[1];
    block->ctaid[2] = id / grid[0] / grid[1];
    block->live = block->grid->block_threads;
    memset(block->barriers, 0, sizeof(block->barriers));
    memset(block->shared, 0, block->grid->shared_bytes);
    for (unsigned i = 0; i < block->n_warps; i++)
        warp_start(&block->warps[i], block, i);
}

bool exec_block_slice(struct exec_block *block)
{
    const struct soft_launch *l = block->grid->launch;
    bool ran = false;

    for (unsigned i = 0; i < block->n_warps && !block->grid->error; i++)
        ran |= warp_slice(&block->warps[i]);
    if (block->live && !ran && !block->grid->error)
        exec_fault(&block->warps[0], NULL, SOFT_LAUNCH_TIMEOUT, "%u threads wait for one another for ever", block->live);
    if (block->live && l->cancel && atomic_load_explicit(l->cancel, memory_order_relaxed)) {
        int none = SOFT_OK;

        atomic_compare_exchange_strong(&block->grid->error, &none, SOFT_LAUNCH_TIMEOUT);
    }
    return !block->live || block->grid->error;
}

static void joins_free(struct warp *w)
{
    /* A join is held by its paths and inner joins: each chain is walked once, from the innermost on. */
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_direct_hash, g_direct_equal, g_free, NULL);

    for (unsigned i = 0; i < SOFT_WARP; i++) {
        for (struct exec_join *j = w->paths[i].mask ? w->paths[i].join : NULL; j; j = j->up) {
            if (g_hash_table_contains(seen, j))
                break;
            g_hash_table_add(seen, j);
        }
    }
}

void exec_block_destroy(struct exec_block *block)
{
    for (unsigned i = 0; i < block->n_warps; i++) {
        struct warp *w = &block->warps[i];

        joins_free(w);
        while (w->frames) {
            struct exec_frame *f = w->frames;

            w->frames = f->all;
            g_aligned_free(f->regs);
            g_free(f);
        }
        if (w->local)
            munmap(w->local, (size_t)SOFT_MAX_LOCAL * SOFT_WARP);
    }
    g_free(block->warps);
    g_aligned_free(block->shared);
}
