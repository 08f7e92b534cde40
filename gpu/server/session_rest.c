/*
 * How a session comes to rest: it takes no more records, what it submitted ends, and whoever waits
 * for it is answered.
 *
 * What runs may wait for calls that are still to come: the end of a host function, a value that
 * another stream writes, a copy that a kernel looks for. So records are taken while a function of
 * the program's runs, and some now and then where nothing ends otherwise.
 */
#include "gpu/server/session_priv.h"

enum { SLICE_LEAST_US = 20000, SLICE_MOST_US = 1000000, RECORDS = 64, PAUSE_US = 200 };

static bool in_host_function(const struct session *s)
{
    for (guint i = 0; i < s->pending->len; i++) {
        if (((const struct pending *)g_ptr_array_index(s->pending, i))->gate)
            return true;
    }
    return false;
}

static bool is_idle(struct session *s)
{
    for (guint i = 0; i < s->contexts->len; i++) {
        struct gpu_context *c = ((struct object *)g_ptr_array_index(s->contexts, i))->ctx;
        if (OPS(s)->move ? !OPS(s)->move->idle(c) : OPS(s)->context_query(c) == GPU_NOT_READY)
            return false;
    }
    return true;
}

static bool at_rest(struct session *s)
{
    if (s->pending->len)
        return false;
    session__enter_query(s);
    bool idle = is_idle(s);
    session__leave(s);
    return idle;
}

bool session__rest(struct session *s, uint8_t *record)
{
    struct session_seat *seat = s->seat;
    int64_t slice = SLICE_LEAST_US, until = g_get_monotonic_time() + slice;
    unsigned allowed = 0;

    while (hold_wanted(seat->hold)) {
        if (!session__answer_pending(s))
            return false;
        if (at_rest(s)) {
            hold_park(seat->hold, seat->number, seat);
            return true;
        }
        int n = allowed || in_host_function(s) ? link_next(s->link, record) : 0;
        if (n < 0 || (n > 0 && !session__take(s, record, n)))
            return false;
        if (n > 0) {
            allowed -= allowed > 0;
            continue;
        }
        if (g_get_monotonic_time() >= until) {
            allowed = RECORDS;
            slice = MIN(2 * slice, SLICE_MOST_US);
            until = g_get_monotonic_time() + slice;
        }
        g_usleep(PAUSE_US);
    }
    return true;
}
