/* See pull.h. */
#include "vm/pull.h"

/* Ticks without a request, once the driver has looked at the disk's size; a guest that has no
 * processor of the host at the moment asks for nothing either, so that one that has not looked gets
 * longer. */
enum { TICK_MS = 10, QUIET_TICKS = 10, UNSEEN_TICKS = 30 };

struct pull {
    uv_timer_t timer;
    struct disk *disk;
    uint64_t refused; /* requests, by the last tick */
    unsigned ticks, quiet;
    void (*done)(void *opaque);
    void *opaque;
};

static void closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

void pull_free(struct pull *p)
{
    if (p)
        uv_close((uv_handle_t *)&p->timer, closed);
}

static void on_tick(uv_timer_t *timer)
{
    struct pull *p = timer->data;
    uint64_t refused = 0;
    bool busy = disk_busy(p->disk, &refused);

    p->quiet = busy || refused != p->refused ? 0 : p->quiet + 1;
    p->refused = refused;
    if (++p->ticks < PULL_MS / TICK_MS &&
        p->quiet < (disk_loss_seen(p->disk) ? QUIET_TICKS : UNSEEN_TICKS))
        return;
    uv_timer_stop(timer);
    p->done(p->opaque);
}

struct pull *pull_begin(uv_loop_t *loop, struct disk *disk, void (*done)(void *opaque),
                        void *opaque)
{
    struct pull *p = g_new0(struct pull, 1);

    p->disk = disk;
    p->done = done;
    p->opaque = opaque;
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    disk_lose(disk);
    uv_timer_start(&p->timer, on_tick, TICK_MS, TICK_MS);
    return p;
}
