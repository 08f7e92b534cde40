/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Executable graphs, launched and changed. See graph_exec.h. */
#include "guest/cuda/graph_exec.h"

#include "guest/cuda/capture.h"
#include "guest/cuda/managed.h"

#include <stdlib.h>
#include <string.h>

enum {
    AUTO_FREE_ON_LAUNCH = 1,
    UPLOAD = 2,
    DEVICE_LAUNCH = 4,
    USE_NODE_PRIORITY = 8,
};

/* --- instantiating ---------------------------------------------------------------------------- */

/* The context of all of G's nodes; *C stays NULL where they have none. */
static int context_of(const struct cu_graph *g, struct cu_context **c)
{
    int rc = 0;

    for (const struct cu_graph_node *node = g->first; node && !rc; node = node->next) {
        if (node->type == CU_GRAPH_NODE_TYPE_GRAPH)
            rc = context_of(node->child, c);
        else if (node->context && *c && *c != node->context)
            rc = CUDA_ERROR_NOT_SUPPORTED;
        else if (node->context)
            *c = node->context;
    }
    return rc;
}

static int instantiate(CUgraphExec *out, CUgraph g, uint64_t flags, int *result)
{
    struct cu_context *c = NULL;
    int rc;

    *result = CUDA_GRAPH_INSTANTIATE_ERROR;
    if (!out || !cu_is(g, KIND_GRAPH) || flags > 15)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & DEVICE_LAUNCH) {
        *result = CUDA_GRAPH_INSTANTIATE_NODE_OPERATION_NOT_SUPPORTED;
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    rc = context_of(g, &c);
    if (!rc && !c)
        c = cu_need(&rc);
    if (!rc && !cu_is(c, KIND_CONTEXT))
        rc = CUDA_ERROR_INVALID_CONTEXT;
    struct cu_graph_exec *e = rc ? NULL : calloc(1, sizeof(*e));
    if (!e)
        return rc ? rc : CUDA_ERROR_OUT_OF_MEMORY;
    *e = (struct cu_graph_exec){.o = {KIND_GRAPH_EXEC, cu_new_id(), c->o.channel},
                                .graph = cu_graph_copy(g),
                                .context = c,
                                .flags = flags};
    rc = e->graph ? cu_exec_build(e) : CUDA_ERROR_OUT_OF_MEMORY;
    if (rc == CUDA_ERROR_INVALID_VALUE)
        *result = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    if (!rc) {
        *result = CUDA_GRAPH_INSTANTIATE_SUCCESS;
        *out = e;
        return 0;
    }
    cu_exec_clear(e);
    if (e->graph)
        cu_graph_free(e->graph);
    free(e);
    return rc;
}

CU_API CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph g, unsigned long long flags)
{
    int result;

    return instantiate(out, g, flags, &result);
}

CU_API CUresult cuGraphInstantiateWithParams(CUgraphExec *out, CUgraph g,
                                             CUDA_GRAPH_INSTANTIATE_PARAMS *p)
{
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    p->hErrNode_out = NULL;
    return instantiate(out, g, p->flags, &p->result_out);
}

/* As it was before CUDA 12. */
CU_API CUresult cuGraphInstantiate_v2(CUgraphExec *out, CUgraph g, CUgraphNode *bad, char *log,
                                      size_t log_bytes)
{
    int result;

    if (bad)
        *bad = NULL;
    if (log && log_bytes)
        *log = 0;
    return instantiate(out, g, 0, &result);
}

CU_API CUresult cuGraphExecGetFlags(CUgraphExec e, uint64_t *flags)
{
    if (!flags || !cu_is(e, KIND_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    *flags = e->flags;
    return 0;
}

CU_API CUresult cuGraphExecDestroy(CUgraphExec e)
{
    if (!cu_is(e, KIND_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    cu_exec_clear(e);
    cu_graph_free(e->graph);
    e->o.kind = 0;
    free(e);
    return 0;
}

/* --- launching -------------------------------------------------------------------------------- */

static int run_node(const struct cu_graph_node *node, const struct cu_where *w)
{
    const struct cu_host_work work = {.fn = node->host.fn, .data = node->host.userData};

    return node->type == CU_GRAPH_NODE_TYPE_HOST ? cu_host_call(w, &work)
                                                 : cu_copy_ordered(&node->copy, w);
}

static int run_step(const struct cu_graph_exec *e, const struct cu_step *step,
                    const struct cu_where *w)
{
    const struct gpu_call_batch_run call = {.batch = step->batch, .stream = w->id};
    struct cu_where lane = *w;

    if (step->node) {
        lane.id = step->lane ? e->context->lanes[step->lane] : w->id;
        return run_node(step->node, &lane);
    }
    cu_posting(w, step->calls);
    int rc = 0;
    bool due = cu_managed_ask(w, &rc);
    if (!rc)
        rc = channel_post(w->channel, GPU_OP_BATCH_RUN, &call, NULL, 0);
    cu_managed_asked(due);
    if (!rc)
        cu_posted(w, step->calls);
    return rc;
}

/* The launch before was in another stream: it is done first. */
static int after_last(struct cu_graph_exec *e, const struct cu_where *w)
{
    const struct gpu_call_stream_wait call = {.stream = w->id, .event = e->events[0]};

    if (!e->last || e->last == w->id)
        return 0;
    return cu_post(w, GPU_OP_STREAM_WAIT, &call, NULL, 0);
}

CU_API CUresult cuGraphLaunch(CUgraphExec e, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    if (rc || !cu_is(e, KIND_GRAPH_EXEC))
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    if (w.context != e->context)
        return CUDA_ERROR_INVALID_VALUE;
    if (w.capture) {
        const struct cu_graph_node node = {.type = CU_GRAPH_NODE_TYPE_GRAPH, .child = e->graph};
        return cu_capture(&w, &node);
    }
    if (e->stale)
        rc = cu_exec_build(e);
    e->stale = e->stale && rc;
    if (!rc && e->memory)
        rc = cu_hold_check(e->graph, e->flags & AUTO_FREE_ON_LAUNCH);
    if (rc)
        return rc;
    rc = after_last(e, &w);
    for (size_t i = 0; i < e->n_steps && !rc; i++)
        rc = run_step(e, &e->steps[i], &w);
    if (!rc && e->memory)
        cu_hold_launched(e->graph);
    e->last = w.id;
    return rc;
}

/* What a launch needs is there since the graph was instantiated. */
CU_API CUresult cuGraphUpload(CUgraphExec e, CUstream stream)
{
    struct cu_where w;
    int rc = cu_where(stream, &w);

    return rc ? rc : cu_is(e, KIND_GRAPH_EXEC) ? 0 : CUDA_ERROR_INVALID_VALUE;
}

/* --- changing a node -------------------------------------------------------------------------- */

/* E's copy of NODE, which is of the graph that E was made of. */
static struct cu_graph_node *find(struct cu_graph *g, const struct cu_graph_node *node)
{
    struct cu_graph_node *found = NULL;

    for (struct cu_graph_node *n = g->first; n && !found; n = n->next) {
        if (n->from == node)
            found = n;
        else if (n->type == CU_GRAPH_NODE_TYPE_GRAPH)
            found = find(n->child, node);
    }
    return found;
}

static int set(CUgraphExec e, CUgraphNode node, const struct cu_graph_node *like, int rc)
{
    if (rc)
        return rc;
    struct cu_graph_node *n = cu_is(e, KIND_GRAPH_EXEC) && node ? find(e->graph, node) : NULL;
    if (!n || n->type != like->type || (like->context && like->context != n->context))
        return CUDA_ERROR_INVALID_VALUE;
    e->stale = true;
    return cu_node_set(n, like);
}

static int set_kernel(CUgraphExec e, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *p,
                      bool second)
{
    char packed[GPU_PARAMS];
    struct cu_graph_node like;

    return set(e, node, &like,
               p ? cu_node_kernel(&like, p, second, packed) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphExecKernelNodeSetParams(CUgraphExec e, CUgraphNode node,
                                               const CUDA_KERNEL_NODE_PARAMS *p)
{
    return set_kernel(e, node, p, false);
}

CU_API CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec e, CUgraphNode node,
                                                  const CUDA_KERNEL_NODE_PARAMS *p)
{
    return set_kernel(e, node, p, true);
}

CU_API CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec e, CUgraphNode node,
                                               const CUDA_MEMCPY3D *p, CUcontext c)
{
    struct cu_graph_node like;

    return set(e, node, &like, p ? cu_node_copy(&like, p, c) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec e, CUgraphNode node,
                                               const CUDA_MEMSET_NODE_PARAMS *p, CUcontext c)
{
    struct cu_graph_node like;

    return set(e, node, &like, p ? cu_node_fill(&like, p, c) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphExecHostNodeSetParams(CUgraphExec e, CUgraphNode node,
                                             const CUDA_HOST_NODE_PARAMS *p)
{
    struct cu_graph_node like;

    return set(e, node, &like, p ? cu_node_host(&like, p) : CUDA_ERROR_INVALID_VALUE);
}

static int set_event(CUgraphExec e, CUgraphNode node, enum cu_node_type type, CUevent event)
{
    const struct cu_graph_node like = {.type = type, .event = event};

    return set(e, node, &like, cu_is(event, KIND_EVENT) ? 0 : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec e, CUgraphNode node, CUevent event)
{
    return set_event(e, node, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CU_API CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec e, CUgraphNode node, CUevent event)
{
    return set_event(e, node, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CU_API CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec e, CUgraphNode node, CUgraph child)
{
    const struct cu_graph_node like = {.type = CU_GRAPH_NODE_TYPE_GRAPH, .child = child};

    return set(e, node, &like, cu_is(child, KIND_GRAPH) ? 0 : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphExecNodeSetParams(CUgraphExec e, CUgraphNode node, CUgraphNodeParams *p)
{
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    struct cu_context *c = cu_is(node, KIND_GRAPH_NODE) ? node->context : NULL;
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return cuGraphExecKernelNodeSetParams_v2(e, node, &p->kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return cuGraphExecMemcpyNodeSetParams(e, node, &p->memcpy.copyParams, c);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return cuGraphExecMemsetNodeSetParams(e, node, &p->memset.params, c);
    case CU_GRAPH_NODE_TYPE_HOST:
        return cuGraphExecHostNodeSetParams(e, node, &p->host);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        return cuGraphExecChildGraphNodeSetParams(e, node, p->graph);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return set_event(e, node, (enum cu_node_type)p->type, p->event);
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

static struct cu_graph_node *find_switch(CUgraphExec e, CUgraphNode node)
{
    struct cu_graph_node *n = cu_is(e, KIND_GRAPH_EXEC) && node ? find(e->graph, node) : NULL;

    return n && n->type <= CU_GRAPH_NODE_TYPE_MEMSET ? n : NULL;
}

CU_API CUresult cuGraphNodeSetEnabled(CUgraphExec e, CUgraphNode node, unsigned on)
{
    struct cu_graph_node *n = find_switch(e, node);

    if (!n)
        return CUDA_ERROR_INVALID_VALUE;
    n->off = !on;
    e->stale = true;
    return 0;
}

CU_API CUresult cuGraphNodeGetEnabled(CUgraphExec e, CUgraphNode node, unsigned *on)
{
    const struct cu_graph_node *n = find_switch(e, node);

    if (!n || !on)
        return CUDA_ERROR_INVALID_VALUE;
    *on = !n->off;
    return 0;
}

/* --- changing all of it ------------------------------------------------------------------------
 */

static bool same_needs(const struct cu_graph_node *a, const struct cu_graph_node *b)
{
    if (a->needs.n != b->needs.n)
        return false;
    for (size_t i = 0; i < a->needs.n; i++) { /* marks are places in the graphs */
        bool found = false;
        for (size_t k = 0; k < b->needs.n && !found; k++)
            found = b->needs.nodes[k]->mark == a->needs.nodes[i]->mark;
        if (!found)
            return false;
    }
    return true;
}

static void number(struct cu_graph *g)
{
    unsigned i = 0;

    for (struct cu_graph_node *node = g->first; node; node = node->next)
        node->mark = i++;
}

/* Where B differs from A in more than parameters. */
static int compare(struct cu_graph *a, struct cu_graph *b, CUgraphNode *bad)
{
    struct cu_graph_node *x = a->first, *y = b->first;
    int rc =
        a->n == b->n ? CU_GRAPH_EXEC_UPDATE_SUCCESS : CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;

    number(a);
    number(b);
    for (; x && y && !rc; x = x->next, y = y->next) {
        *bad = y;
        if (x->type != y->type)
            return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
        if (!same_needs(x, y))
            return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        if (x->context != y->context)
            return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
        if (x->type == CU_GRAPH_NODE_TYPE_GRAPH)
            rc = compare(x->child, y->child, bad);
    }
    if (!rc)
        *bad = NULL;
    return rc;
}

CU_API CUresult cuGraphExecUpdate_v2(CUgraphExec e, CUgraph g, CUgraphExecUpdateResultInfo *info)
{
    int rc = 0;

    if (!info || !cu_is(e, KIND_GRAPH_EXEC) || !cu_is(g, KIND_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    *info = (CUgraphExecUpdateResultInfo){0};
    info->result = compare(e->graph, g, &info->errorNode);
    if (info->result)
        return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    struct cu_graph_node *y = g->first;
    for (struct cu_graph_node *x = e->graph->first; x && !rc; x = x->next, y = y->next)
        rc = cu_node_set(x, y);
    e->stale = true;
    if (rc)
        info->result = CU_GRAPH_EXEC_UPDATE_ERROR;
    return rc;
}

CU_API CUresult cuGraphExecUpdate(CUgraphExec e, CUgraph g, CUgraphNode *bad, int *result)
{
    CUgraphExecUpdateResultInfo info;
    int rc = cuGraphExecUpdate_v2(e, g, &info);

    if (rc == CUDA_ERROR_INVALID_VALUE)
        return rc;
    if (bad)
        *bad = info.errorNode;
    if (result)
        *result = info.result;
    return rc;
}
