/* See ending.h. */
#include "daemon/ending.h"

#include "base/log.h"

#include <stdlib.h>
#include <unistd.h>

void ending_init(struct ending *e, uv_loop_t *loop)
{
    uv_timer_init(loop, &e->timer);
}

/* Not by exit(), which would wait for the threads. */
static void give_up(uv_timer_t *timer)
{
    log_warning("files that do not answer are waited for no longer");
    _exit(EXIT_SUCCESS);
}

void ending_begin(struct ending *e, unsigned ms)
{
    uv_timer_start(&e->timer, give_up, ms, 0);
}

static void close_others(uv_handle_t *handle, void *timer)
{
    if (handle != timer && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

void ending_run_out(struct ending *e)
{
    uv_loop_t *loop = e->timer.loop;

    uv_walk(loop, close_others, &e->timer);
    uv_unref((uv_handle_t *)&e->timer);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&e->timer, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
}
