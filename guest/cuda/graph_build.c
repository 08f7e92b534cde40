/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* From a graph to the steps of its launch. See graph_exec.h. */
#include "guest/cuda/graph_exec.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_MOST = 2048 /* calls of a batch; a stream takes LIMIT_GPU_QUEUED */ };

struct build {
    struct cu_graph_exec *exec;
    struct cu_sink *sink;
    bool begun; /* the sink has a batch */
    struct cu_graph_node *tail[CU_LANES];
    unsigned lanes;
};

/* --- batches and steps ------------------------------------------------------------------------ */

static int step_add(struct cu_graph_exec *e, const struct cu_step *step)
{
    struct cu_step *steps = realloc(e->steps, (e->n_steps + 1) * sizeof(*steps));

    if (!steps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    e->steps = steps;
    steps[e->n_steps++] = *step;
    return 0;
}

/* Where it fails, the batch is still open. */
static int batch_end(struct build *b)
{
    if (!b->begun)
        return 0;
    const struct cu_step step = {.batch = b->sink->batch, .calls = b->sink->calls};
    int rc = cu_sink_end(b->sink);
    if (!rc)
        rc = step_add(b->exec, &step);
    b->begun = rc != 0;
    return rc;
}

static void batch_free(const struct cu_graph_exec *e, uint64_t batch)
{
    const struct gpu_call_batch_free call = {.batch = batch};

    channel_post(e->context->o.channel, GPU_OP_BATCH_FREE, &call, NULL, 0);
}

/* The sink has a batch with room for another call. */
static int batch_ready(struct build *b)
{
    int rc = b->begun && b->sink->calls >= BATCH_MOST ? batch_end(b) : 0;

    if (rc || b->begun)
        return rc;
    rc = cu_sink_begin(b->sink, b->exec->context);
    b->begun = !rc;
    return rc;
}

static struct cu_where where(const struct build *b, unsigned lane)
{
    struct cu_context *c = b->exec->context;

    return (struct cu_where){
        .context = c, .channel = c->o.channel, .id = lane ? c->lanes[lane] : 0, .sink = b->sink};
}

/* --- events ----------------------------------------------------------------------------------- */

static int event_new(struct cu_graph_exec *e, uint64_t *id)
{
    enum { DISABLE_TIMING = 2 };
    const struct gpu_call_event_new call = {
        .ctx = e->context->o.id, .event = cu_new_id(), .flags = DISABLE_TIMING};
    int rc = 0;

    if (e->used_events == e->n_events) {
        uint64_t *events = realloc(e->events, (e->n_events + 1) * sizeof(*events));
        if (!events)
            return CUDA_ERROR_OUT_OF_MEMORY;
        e->events = events;
        rc = channel_post(e->context->o.channel, GPU_OP_EVENT_NEW, &call, NULL, 0);
        if (rc)
            return rc;
        events[e->n_events++] = call.event;
    }
    *id = e->events[e->used_events++];
    return 0;
}

static int record(struct build *b, unsigned lane, uint64_t event)
{
    int rc = batch_ready(b);
    const struct cu_where w = where(b, lane);
    const struct gpu_call_event_record call = {.event = event, .stream = w.id};

    return rc ? rc : cu_post(&w, GPU_OP_EVENT_RECORD, &call, NULL, 0);
}

static int await(struct build *b, unsigned lane, uint64_t event)
{
    int rc = batch_ready(b);
    const struct cu_where w = where(b, lane);
    const struct gpu_call_stream_wait call = {.stream = w.id, .event = event};

    return rc ? rc : cu_post(&w, GPU_OP_STREAM_WAIT, &call, NULL, 0);
}

/* --- lanes ------------------------------------------------------------------------------------ */

/* The context's stream for LANE; false: it can have no more. */
static bool lane_stream(struct cu_context *c, unsigned lane)
{
    pthread_mutex_lock(&c->lock);
    if (!c->lanes[lane]) {
        const struct gpu_call_stream_new call = {.ctx = c->o.id, .stream = cu_new_id(), .flags = 1};
        if (!cu_call(c->o.channel, GPU_OP_STREAM_NEW, &call, NULL))
            c->lanes[lane] = call.stream;
    }
    bool there = c->lanes[lane] != 0;
    pthread_mutex_unlock(&c->lock);
    return there;
}

/* After one that it needs where that is the last of its lane; else in a lane that is free. */
static unsigned choose_lane(struct build *b, const struct cu_graph_node *node)
{
    for (size_t i = 0; i < node->needs.n; i++) {
        if (b->tail[node->needs.nodes[i]->lane] == node->needs.nodes[i])
            return node->needs.nodes[i]->lane;
    }
    if (b->lanes < CU_LANES && (!b->lanes || lane_stream(b->exec->context, b->lanes)))
        return b->lanes++;
    return node->needs.n ? node->needs.nodes[0]->lane : (unsigned)(node->o.id % b->lanes);
}

/* Gives each node a lane, and an event to those that another lane waits for. */
static int spread(struct build *b, struct cu_graph_node **order)
{
    int rc = 0;

    for (size_t n = 0; order[n] && !rc; n++) {
        struct cu_graph_node *node = order[n];
        node->done = 0;
        node->lane = choose_lane(b, node);
        b->tail[node->lane] = node;
        for (size_t i = 0; i < node->needs.n && !rc; i++) {
            struct cu_graph_node *other = node->needs.nodes[i];
            if (other->lane != node->lane && !other->done)
                rc = event_new(b->exec, &other->done);
        }
    }
    return rc;
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* Whether the program's side has to do it. */
static bool by_program(const struct cu_graph_node *node)
{
    if (node->type == CU_GRAPH_NODE_TYPE_HOST)
        return true;
    return node->type == CU_GRAPH_NODE_TYPE_MEMCPY &&
           !(node->copy.srcMemoryType == CU_MEMORYTYPE_DEVICE &&
             node->copy.dstMemoryType == CU_MEMORYTYPE_DEVICE);
}

static int emit_fill(const struct cu_where *w, const CUDA_MEMSET_NODE_PARAMS *p)
{
    const struct gpu_call_fill call = {.stream = w->id,
                                       .address = p->dst,
                                       .pitch = p->pitch,
                                       .width = p->width * p->elementSize,
                                       .height = p->height,
                                       .value = p->value,
                                       .unit = p->elementSize};

    return cu_post(w, GPU_OP_FILL, &call, NULL, 0);
}

static int emit_launch(const struct cu_where *w, const struct cu_graph_node *node)
{
    struct gpu_call_launch call = node->kernel.launch;

    call.stream = w->id;
    return cu_post(w, GPU_OP_LAUNCH, &call, node->kernel.packed,
                   node->kernel.function->params_bytes);
}

static int emit_graph(struct build *b, struct cu_graph *g, unsigned lane);

static int emit(struct build *b, struct cu_graph_node *node, unsigned lane)
{
    if (by_program(node)) {
        const struct cu_step step = {.node = node, .lane = lane};
        int rc = batch_end(b);
        return rc ? rc : step_add(b->exec, &step);
    }
    if (node->type == CU_GRAPH_NODE_TYPE_GRAPH)
        return emit_graph(b, node->child, lane);
    int rc = batch_ready(b);
    if (rc)
        return rc;
    const struct cu_where w = where(b, lane);
    switch (node->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return emit_launch(&w, node);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return cu_copy(&node->copy, &w, false);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return emit_fill(&w, &node->fill);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return await(b, lane, node->event->o.id);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return record(b, lane, node->event->o.id);
    case CU_GRAPH_NODE_TYPE_BATCH_MEM_OP:
        return cu_value_post(&w, &node->value);
    default:
        return 0; /* it only joins others, or names memory that is there all the time */
    }
}

/* A graph within one: all of it in one lane. */
static int emit_graph(struct build *b, struct cu_graph *g, unsigned lane)
{
    struct cu_graph_node **order = cu_graph_order(g);
    int rc = order ? 0 : CUDA_ERROR_INVALID_VALUE;

    for (size_t n = 0; !rc && order[n]; n++)
        rc = order[n]->off ? 0 : emit(b, order[n], lane);
    free(order);
    return rc;
}

/* A node, after what it needs in other lanes; FORK is what the launch's stream has reached. */
static int emit_node(struct build *b, struct cu_graph_node *node, bool begun[], uint64_t fork)
{
    int rc = 0;

    if (node->lane && !begun[node->lane])
        rc = await(b, node->lane, fork);
    begun[node->lane] = true;
    for (size_t i = 0; i < node->needs.n && !rc; i++) {
        const struct cu_graph_node *other = node->needs.nodes[i];
        if (other->lane != node->lane)
            rc = await(b, node->lane, other->done);
    }
    if (!rc && !node->off)
        rc = emit(b, node, node->lane);
    return rc || !node->done ? rc : record(b, node->lane, node->done);
}

static int emit_all(struct build *b, struct cu_graph_node **order)
{
    bool begun[CU_LANES] = {0};
    uint64_t done, fork = 0, event;
    int rc = event_new(b->exec, &done);

    if (!rc)
        rc = spread(b, order);
    if (!rc && b->lanes > 1 && !(rc = event_new(b->exec, &fork)))
        rc = record(b, 0, fork);
    for (size_t n = 0; order[n] && !rc; n++)
        rc = emit_node(b, order[n], begun, fork);
    for (unsigned lane = 1; lane < b->lanes && !rc; lane++) {
        if (!(rc = event_new(b->exec, &event)) && !(rc = record(b, lane, event)))
            rc = await(b, 0, event);
    }
    if (!rc)
        rc = record(b, 0, done);
    return rc ? rc : batch_end(b);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void steps_clear(struct cu_graph_exec *e)
{
    bool there = cu_is(e->context, KIND_CONTEXT);

    for (size_t i = 0; i < e->n_steps && there; i++) {
        if (!e->steps[i].node)
            batch_free(e, e->steps[i].batch);
    }
    free(e->steps);
    e->steps = NULL;
    e->n_steps = 0;
}

int cu_exec_build(struct cu_graph_exec *e)
{
    struct cu_graph_node **order = cu_graph_order(e->graph);
    struct build b = {.exec = e, .sink = malloc(sizeof(*b.sink))};
    int rc = !b.sink ? CUDA_ERROR_OUT_OF_MEMORY : order ? 0 : CUDA_ERROR_INVALID_VALUE;

    if (!rc) {
        steps_clear(e);
        e->used_events = 0;
        e->memory = cu_graph_allocates(e->graph);
        rc = emit_all(&b, order);
    }
    if (b.begun)
        batch_free(e, b.sink->batch);
    free(b.sink);
    free(order);
    return rc;
}

void cu_exec_clear(struct cu_graph_exec *e)
{
    bool there = cu_is(e->context, KIND_CONTEXT);

    steps_clear(e);
    for (size_t i = 0; i < e->n_events && there; i++) {
        const struct gpu_call_event_free call = {.event = e->events[i]};
        channel_post(e->context->o.channel, GPU_OP_EVENT_FREE, &call, NULL, 0);
    }
    free(e->events);
    e->events = NULL;
    e->n_events = 0;
}
