/*
 * Launches that wait for the meter, of a backend whose streams are a driver's own: the session's
 * next record stays where it is, and with it what the program asks for after it. What was asked
 * before is answered meanwhile.
 */
#include "gpu/server/session_priv.h"

#include <time.h>

enum { PAUSE_NS = 1000000, STANDS_MS = 200 };

/* What is in flight may wait for a record that stands behind the one that is held: a function of
 * the program's, or a value that it writes. */
static bool may_stand(const struct session *s)
{
    bool gates = s->waits_for_values;

    for (guint i = 0; !gates && i < s->pending->len; i++)
        gates = ((const struct pending *)g_ptr_array_index(s->pending, i))->gate != 0;
    return gates;
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
