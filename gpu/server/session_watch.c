/*
 * How long a session's calls may take: what is told to the worker's watch.
 *
 * A driver may keep whoever submits work waiting while its queue is full, and whoever allocates or
 * frees until what runs is over: for as long as kernels run, which is as long as they like. So such
 * calls have no limit, but only where there may be work that they wait for: what was submitted is
 * counted, until the contexts are seen to be idle.
 */
#include "gpu/server/session_priv.h"

enum {
    CALL_S = 20,      /* of what waits for nothing */
    BEGIN_S = 120,    /* a context is made; the first one has the driver set the GPU up */
    COMPILE_S = 1200, /* a module is compiled */
    END_S = 60,       /* what runs in a context that is ended may go on so long */
    QUEUE = 256,      /* operations that every driver takes at once */
};

/* What a call may wait for. */
enum patience {
    SYNCS = 0, /* what runs */
    QUERIES,   /* nothing */
    SUBMITS,   /* room in a queue */
};

static const uint8_t patience[GPU_OP_END] = {
    [GPU_OP_HELLO] = QUERIES,        [GPU_OP_DEVICE] = QUERIES,
    [GPU_OP_MEMORY] = QUERIES,       [GPU_OP_PRINTED] = QUERIES,
    [GPU_OP_CTX_SYNC] = QUERIES,     [GPU_OP_STREAM_SYNC] = QUERIES,
    [GPU_OP_EVENT_SYNC] = QUERIES,   [GPU_OP_STREAM_QUERY] = QUERIES,
    [GPU_OP_EVENT_QUERY] = QUERIES,  [GPU_OP_EVENT_ELAPSED] = QUERIES,
    [GPU_OP_GATE_OPEN] = QUERIES,    [GPU_OP_RANGE] = QUERIES,
    [GPU_OP_TARGET] = QUERIES,       [GPU_OP_IMAGE] = QUERIES,
    [GPU_OP_IMAGE_PART] = QUERIES,   [GPU_OP_BATCH_NEW] = QUERIES,
    [GPU_OP_BATCH_PART] = QUERIES,   [GPU_OP_BATCH_RUN] = QUERIES,
    [GPU_OP_BATCH_FREE] = QUERIES,   [GPU_OP_FREE_ON] = SUBMITS,
    [GPU_OP_TO_DEVICE] = SUBMITS,    [GPU_OP_FROM_DEVICE] = SUBMITS,
    [GPU_OP_ON_DEVICE] = SUBMITS,    [GPU_OP_FILL] = SUBMITS,
    [GPU_OP_STREAM_WAIT] = SUBMITS,  [GPU_OP_VALUE_WAIT] = SUBMITS,
    [GPU_OP_VALUE_WRITE] = SUBMITS,  [GPU_OP_EVENT_RECORD] = SUBMITS,
    [GPU_OP_GATE] = SUBMITS,         [GPU_OP_LAUNCH] = SUBMITS,
    [GPU_OP_COMPILE] = QUERIES,      [GPU_OP_COMPILED] = QUERIES,
    [GPU_OP_COMPILE_FREE] = QUERIES,
};

/* Counts from the start again where all contexts are idle. */
static void look_for_work(struct session *s)
{
    bool idle = true;

    watch_enter(&s->watched, "query", CALL_S);
    for (guint i = 0; idle && i < s->contexts->len; i++) {
        const struct object *o = g_ptr_array_index(s->contexts, i);
        idle = OPS(s)->context_query(o->ctx) != GPU_NOT_READY;
    }
    watch_leave(&s->watched);
    if (idle)
        s->submitted = 0;
}

void session__idle(struct session *s)
{
    if (s->submitted >= QUEUE / 2)
        look_for_work(s);
}

void session__enter(struct session *s, unsigned op)
{
    uint32_t most = CALL_S;

    if (op == GPU_OP_MODULE_NEW) {
        most = COMPILE_S;
    } else if (op == GPU_OP_CTX_NEW) {
        most = BEGIN_S;
    } else if (op == GPU_OP_CTX_FREE) {
        most = END_S;
    } else if (patience[op] == SUBMITS) {
        most = ++s->submitted > QUEUE ? 0 : CALL_S;
    } else if (patience[op] == SYNCS && s->submitted) {
        look_for_work(s);
        most = s->submitted ? 0 : CALL_S;
    }
    watch_enter(&s->watched, record_desc(op)->name, most);
}

void session__enter_query(struct session *s)
{
    watch_enter(&s->watched, "query", CALL_S);
}

void session__leave(struct session *s)
{
    watch_leave(&s->watched);
}
