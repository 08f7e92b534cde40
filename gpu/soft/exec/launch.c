/*
 * Launches: what is checked before, and how threads take blocks one after another.
 */
#include "gpu/soft/exec/exec.h"

#include <string.h>

enum { MAX_RESIDENT = 256 };

static int check(const struct soft_launch *l, struct exec_grid *g)
{
    const struct soft_function *fn = l->function;
    uint64_t threads = (uint64_t)l->block[0] * l->block[1];

    for (unsigned i = 0; i < 3; i++) {
        if (!l->grid[i] || !l->block[i])
            return SOFT_INVALID_VALUE;
        if (fn->required[0] && fn->required[i] != l->block[i])
            return SOFT_INVALID_VALUE;
    }
    if (l->grid[0] > INT32_MAX || l->grid[1] > SOFT_MAX_GRID_YZ || l->grid[2] > SOFT_MAX_GRID_YZ ||
        l->block[2] > SOFT_MAX_BLOCK_Z || l->block[0] > SOFT_MAX_THREADS || l->block[1] > SOFT_MAX_THREADS ||
        threads * l->block[2] > SOFT_MAX_THREADS)
        return SOFT_INVALID_VALUE;
    g->block_threads = threads * l->block[2];
    if (g->block_threads > fn->max_threads)
        return SOFT_LAUNCH_OUT_OF_RESOURCES;
    if (l->param_bytes < fn->param_bytes)
        return SOFT_INVALID_VALUE;
    g->dynamic = (fn->shared + 15) & ~15u;
    if (l->shared > SOFT_MAX_SHARED || g->dynamic + l->shared > SOFT_MAX_SHARED)
        return SOFT_INVALID_VALUE;
    g->shared_bytes = l->shared ? g->dynamic + l->shared : fn->shared;
    g->blocks = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
    if (l->cooperative && g->blocks > MAX_RESIDENT)
        return SOFT_COOPERATIVE_LAUNCH_TOO_LARGE;
    return SOFT_OK;
}

/* Blocks in order, each to its end. */
static void work(void *arg)
{
    struct exec_grid *g = arg;
    struct exec_block block;
    uint64_t id;

    exec_block_init(&block, g);
    while (!g->error && (id = atomic_fetch_add(&g->next, 1)) < g->blocks) {
        exec_block_start(&block, id);
        while (!exec_block_slice(&block))
            continue;
    }
    exec_block_destroy(&block);
}

/* All blocks at once, a slice each in turn, so that they may wait for one another. */
static void work_together(struct exec_grid *g)
{
    struct exec_block *blocks = g_new0(struct exec_block, g->blocks);
    bool *done = g_new0(bool, g->blocks);
    uint64_t left = g->blocks;

    for (uint64_t i = 0; i < g->blocks; i++) {
        exec_block_init(&blocks[i], g);
        exec_block_start(&blocks[i], i);
    }
    while (left && !g->error) {
        for (uint64_t i = 0; i < g->blocks; i++) {
            if (!done[i] && exec_block_slice(&blocks[i])) {
                done[i] = true;
                left--;
            }
        }
    }
    for (uint64_t i = 0; i < g->blocks; i++)
        exec_block_destroy(&blocks[i]);
    g_free(blocks);
    g_free(done);
}

static void run(struct exec_grid *g)
{
    struct soft_pool *pool = soft_space_pool(g->fn->module->space);
    uint64_t threads = g->launch->threads ? g->launch->threads : soft_pool_processors(pool);

    if (g->launch->cooperative)
        work_together(g);
    else
        soft_pool_run(pool, (unsigned)MIN(MIN(threads, g->blocks) - 1, SOFT_HELPERS), work, g);
}

/* A cooperative grid's state, in device memory of its own. */
static int workspace(struct exec_grid *g)
{
    return g->launch->cooperative
               ? soft_space_alloc_own(g->fn->module->space, sizeof(g->workspace), &g->workspace_addr)
               : SOFT_OK;
}

int soft_launch_run(const struct soft_launch *launch, char **log)
{
    struct exec_grid g = {.launch = launch, .fn = launch->function};
    int r;

    if (log)
        *log = NULL;
    r = check(launch, &g);
    if (!r)
        r = workspace(&g);
    if (r)
        return r;
    soft_function_launched(g.fn);
    g.params = (struct exec_view){(uint8_t *)launch->params, 0, g.fn->param_bytes, 0};
    pthread_mutex_init(&g.lock, NULL);
    g.map = soft_map_get(g.fn->module->space);
    run(&g);
    soft_map_put(g.map);
    if (g.workspace_addr)
        soft_space_release_own(g.fn->module->space, g.workspace_addr);
    pthread_mutex_destroy(&g.lock);
    if (log)
        *log = g_steal_pointer(&g.log);
    g_free(g.log);
    return g.error;
}
