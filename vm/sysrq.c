/*
 * Steps of (key, what the kernel then says, how long it may take to say it). A kernel whose console
 * is quiet says nothing: the next key is then sent when the step's time is over.
 */
#include "vm/sysrq.h"

enum { RETRY_MS = 100 };

static const struct {
    char key;
    const char *said;
    unsigned ms;
} steps[] = {
    {'s', "Emergency Sync complete", 5000},
    {'u', "Emergency Remount complete", 5000},
    {'o', NULL, 0},
};

struct sysrq {
    const struct sysrq_ops *ops;
    void *opaque;
    uv_timer_t timer;
    unsigned step; /* the next to send, or whose answer is awaited; beyond the last: idle */
    bool sent;
    size_t matched; /* bytes of the awaited text seen in a row */
};

struct sysrq *sysrq_new(uv_loop_t *loop, const struct sysrq_ops *ops, void *opaque)
{
    struct sysrq *s = g_new0(struct sysrq, 1);

    s->ops = ops;
    s->opaque = opaque;
    s->step = G_N_ELEMENTS(steps);
    uv_timer_init(loop, &s->timer);
    return s;
}

static void closed(uv_handle_t *handle)
{
    g_free(container_of((uv_timer_t *)handle, struct sysrq, timer));
}

void sysrq_free(struct sysrq *s)
{
    if (s)
        uv_close((uv_handle_t *)&s->timer, closed);
}

static void on_timer(uv_timer_t *timer);

/* Sends the step's key; waits for its answer, or for room to send it. */
static void send_step(struct sysrq *s)
{
    s->sent = s->ops->send_break(s->opaque);
    if (!s->sent) {
        uv_timer_start(&s->timer, on_timer, RETRY_MS, 0);
        return;
    }
    s->ops->type(s->opaque, steps[s->step].key);
    s->matched = 0;
    if (steps[s->step].said)
        uv_timer_start(&s->timer, on_timer, steps[s->step].ms, 0);
    else
        s->step++;
}

static void on_timer(uv_timer_t *timer)
{
    struct sysrq *s = container_of(timer, struct sysrq, timer);

    if (s->sent)
        s->step++;
    send_step(s);
}

void sysrq_power_off(struct sysrq *s)
{
    s->step = 0;
    send_step(s);
}

void sysrq_cancel(struct sysrq *s)
{
    s->step = G_N_ELEMENTS(steps);
    uv_timer_stop(&s->timer);
}

void sysrq_seen(struct sysrq *s, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n && s->step < G_N_ELEMENTS(steps) && s->sent; i++) {
        const char *said = steps[s->step].said;
        if (data[i] != (uint8_t)said[s->matched])
            s->matched = data[i] == (uint8_t)said[0];
        else if (!said[++s->matched]) {
            s->step++;
            send_step(s);
        }
    }
}
