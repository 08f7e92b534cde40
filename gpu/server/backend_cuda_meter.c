/*
 * How long launches have the device, by pairs of the driver's events around them. See meter.h.
 *
 * One pair is around launches that follow each other in a stream, until it is over or RUN_MOST are
 * in it: what is between them in the stream counts with them. The session's thread looks which are
 * over, now and then.
 */
#include "gpu/server/backend_cuda_priv.h"

enum { RUN_MOST = 32 };

static void run_over(struct gpu_context *c, guint i, uint64_t ns)
{
    struct cuda_run *run = &g_array_index(c->runs, struct cuda_run, i);

    for (unsigned n = 0; n < run->launches; n++)
        meter_over(c->quota->program, n ? 0 : ns);
    if (c->handle) {
        c->d->event_free(run->start);
        c->d->event_free(run->end);
    }
    g_array_remove_index(c->runs, i);
}

static void look(struct gpu_context *c)
{
    enum { APART_NS = 1000000 };
    uint64_t now = meter_now();

    if (!c->runs->len || !c->handle || now - c->looked_ns < APART_NS || c->d->ctx_set(c->handle))
        return;
    c->looked_ns = now;
    for (guint i = 0; i < c->runs->len;) {
        const struct cuda_run *run = &g_array_index(c->runs, struct cuda_run, i);
        float ms = 0;
        int rc = c->d->event_query(run->end);
        if (rc == GPU_NOT_READY) {
            i++;
            continue;
        }
        if (!rc && c->d->event_elapsed(&ms, run->start, run->end))
            ms = 0;
        run_over(c, i, ms > 0 ? (uint64_t)((double)ms * 1e6) : 0);
    }
}

bool cuda__meter_look(struct gpu_quota *program)
{
    bool some = false;

    for (struct gpu_context *c = program->metered; c; c = c->next) {
        look(c);
        some |= c->runs->len > 0;
    }
    return some;
}

void cuda__meter_begin(struct gpu_context *c)
{
    c->runs = g_array_new(FALSE, FALSE, sizeof(struct cuda_run));
    c->next = c->quota->metered;
    c->quota->metered = c;
}

void cuda__meter_end(struct gpu_context *c)
{
    struct gpu_context **at = &c->quota->metered;

    while (c->runs->len)
        run_over(c, c->runs->len - 1, 0);
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
}

/* The run that a launch in S belongs to, its beginning recorded; NULL: the driver has no events. */
static struct cuda_run *run_of(struct gpu_stream *s)
{
    struct gpu_context *c = s->context;
    struct cuda_run run = {.stream = s};

    for (guint i = c->runs->len; i-- > 0;) {
        struct cuda_run *last = &g_array_index(c->runs, struct cuda_run, i);
        if (last->stream == s && last->launches < RUN_MOST &&
            c->d->event_query(last->end) == GPU_NOT_READY)
            return last;
        if (last->stream == s)
            break;
    }
    if (c->d->event_new(&run.start, 0))
        return NULL;
    if (c->d->event_new(&run.end, 0)) {
        c->d->event_free(run.start);
        return NULL;
    }
    c->d->event_record(run.start, s->handle);
    g_array_append_val(c->runs, run);
    return &g_array_index(c->runs, struct cuda_run, c->runs->len - 1);
}

int cuda__meter_launch(struct gpu_stream *s, int (*launch)(void *opaque), void *opaque)
{
    struct gpu_context *c = s->context;

    if (!c->quota->program)
        return launch(opaque);
    struct cuda_run *run = run_of(s);
    int rc = launch(opaque);
    if (!run)
        return rc;
    if (!rc && c->d->event_record(run->end, s->handle) == GPU_SUCCESS) {
        run->launches++;
        meter_submit(c->quota->program);
    } else if (!run->launches) { /* nothing of it is in flight */
        run_over(c, c->runs->len - 1, 0);
    }
    return rc;
}
