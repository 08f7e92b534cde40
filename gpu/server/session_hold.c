/*
 * Launches that wait for the meter, of a backend whose streams are a driver's own: the session's
 * next record stays where it is, and with it what the program asks for after it. What was asked
 * before is answered meanwhile.
 */
#include "gpu/server/session_priv.h"

#include <time.h>

enum {
    PAUSE_NS = 1000000,
    STANDS_MS = 200,
    RECORDS_MOST = 64, /* of an event for waits that may all stand: each takes room in a driver's queue */
};

void session__value_wait(struct session *s, struct gpu_stream *stream, struct object *context)
{
    enum { NO_TIMING = 2 };
    struct value_wait *w = NULL;

    if (!OPS(s)->meter_look || !s->quota.program)
        return;
    for (guint i = 0; !w && i < s->value_waits->len; i++) {
        w = &g_array_index(s->value_waits, struct value_wait, i);
        w = w->stream == stream ? w : NULL;
    }
    if (!w) {
        const struct value_wait none = {.stream = stream, .context = context};
        g_array_append_val(s->value_waits, none);
        w = &g_array_index(s->value_waits, struct value_wait, s->value_waits->len - 1);
        if (OPS(s)->event_new(context->ctx, NO_TIMING, &w->event))
            w->event = NULL;
    }
    if (w->event && w->records == RECORDS_MOST && OPS(s)->event_query(w->event) != GPU_NOT_READY)
        w->records = 0;
    if (w->event && (w->records++ == RECORDS_MOST || OPS(s)->event_record(w->event, stream))) {
        OPS(s)->event_free(w->event);
        w->event = NULL;
    }
    s->submitted += w->event != NULL;
}

static void forget(struct session *s, guint i)
{
    const struct value_wait *w = &g_array_index(s->value_waits, struct value_wait, i);

    if (w->event)
        OPS(s)->event_free(w->event);
    g_array_remove_index(s->value_waits, i);
}

void session__value_waits_end(struct session *s, const struct gpu_stream *stream,
                              const struct object *context)
{
    for (guint i = s->value_waits->len; i-- > 0;) {
        const struct value_wait *w = &g_array_index(s->value_waits, struct value_wait, i);
        if (stream ? w->stream == stream : w->context == context)
            forget(s, i);
    }
}

/* Whether a stream stands for a value, or runs what is before such a wait; those that do no more are forgotten. */
static bool waits_for_value(struct session *s)
{
    session__enter_query(s);
    for (guint i = s->value_waits->len; i-- > 0;) {
        const struct value_wait *w = &g_array_index(s->value_waits, struct value_wait, i);
        int rc = w->event ? OPS(s)->event_query(w->event) : OPS(s)->stream_query(w->stream);
        if (rc != GPU_NOT_READY)
            forget(s, i);
    }
    session__leave(s);
    return s->value_waits->len > 0;
}

/* What is in flight may wait for a record that stands behind the one that is held: a function of
 * the program's, or a value that it writes; and counts as having the device while it does. */
static bool may_stand(struct session *s)
{
    bool gates = false;

    if (!meter_in_flight(s->quota.program))
        return false;
    for (guint i = 0; !gates && i < s->pending->len; i++)
        gates = ((const struct pending *)g_ptr_array_index(s->pending, i))->gate != 0;
    return gates || waits_for_value(s);
}

bool session__look(struct session *s)
{
    return OPS(s)->meter_look && OPS(s)->meter_look(&s->quota);
}

bool session__hold(struct session *s, const uint8_t *record)
{
    struct gpu_call_head head;
    uint64_t now = meter_now();

    memcpy(&head, record, sizeof(head));
    if (!OPS(s)->meter_look || (head.op != GPU_OP_LAUNCH && head.op != GPU_OP_BATCH_RUN))
        return false;
    session__look(s);
    bool held = !meter_may(s->quota.program);
    if (held && !s->held_ns) {
        s->held_ns = now;
        meter_wait(s->quota.program);
    } else if (held && now - s->held_ns > STANDS_MS * UINT64_C(1000000) && may_stand(s)) {
        held = false;
    }
    if (!held)
        session__hold_end(s);
    return held;
}

void session__hold_end(struct session *s)
{
    if (s->held_ns)
        meter_wait_over(s->quota.program);
    s->held_ns = 0;
}

bool session__hold_pause(struct session *s)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    nanosleep(&pause, NULL);
    return !link_gone(s->link);
}
