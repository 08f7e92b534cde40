/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* What a graph's nodes do, as programs say it. See graph.h. */
#include "guest/cuda/graph.h"

#include <stdlib.h>
#include <string.h>

/* --- parameters, checked ------------------------------------------------------------------------
 */

int cu_node_kernel(struct cu_graph_node *like, const CUDA_KERNEL_NODE_PARAMS *p, bool second,
                   char packed[GPU_PARAMS])
{
    struct cu_function *f = p->func || !second ? p->func : p->kern;
    struct gpu_call_launch launch = {.grid_x = p->gridDimX,
                                     .grid_y = p->gridDimY,
                                     .grid_z = p->gridDimZ,
                                     .block_x = p->blockDimX,
                                     .block_y = p->blockDimY,
                                     .block_z = p->blockDimZ,
                                     .shared = p->sharedMemBytes};

    if (!cu_is(f, KIND_FUNCTION))
        return CUDA_ERROR_INVALID_VALUE;
    int rc = cu_launch_pack(f, &launch, p->kernelParams, p->extra, packed);
    if (rc)
        return rc;
    *like = (struct cu_graph_node){
        .type = CU_GRAPH_NODE_TYPE_KERNEL,
        .context = f->module->context,
        .kernel = {.function = f, .launch = launch, .packed = packed},
    };
    return 0;
}

int cu_node_copy(struct cu_graph_node *like, const CUDA_MEMCPY3D *p, struct cu_context *c)
{
    int rc = cu_is(c, KIND_CONTEXT) ? cu_copy_check(p) : CUDA_ERROR_INVALID_VALUE;

    if (rc || !p->WidthInBytes || !p->Height || !p->Depth)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    *like = (struct cu_graph_node){.type = CU_GRAPH_NODE_TYPE_MEMCPY, .context = c, .copy = *p};
    return 0;
}

int cu_node_fill(struct cu_graph_node *like, const CUDA_MEMSET_NODE_PARAMS *p, struct cu_context *c)
{
    unsigned e = p->elementSize;

    if (!cu_is(c, KIND_CONTEXT) || (e != 1 && e != 2 && e != 4) || !p->width || !p->height ||
        p->dst % e || (p->height > 1 && (p->pitch % e || p->pitch / e < p->width)) ||
        (e < 4 && p->value >> 8 * e))
        return CUDA_ERROR_INVALID_VALUE;
    *like = (struct cu_graph_node){.type = CU_GRAPH_NODE_TYPE_MEMSET, .context = c, .fill = *p};
    return 0;
}

int cu_node_host(struct cu_graph_node *like, const CUDA_HOST_NODE_PARAMS *p)
{
    if (!p->fn)
        return CUDA_ERROR_INVALID_VALUE;
    *like = (struct cu_graph_node){.type = CU_GRAPH_NODE_TYPE_HOST, .host = *p};
    return 0;
}

static int like_event(struct cu_graph_node *like, enum cu_node_type type, CUevent event)
{
    if (!cu_is(event, KIND_EVENT))
        return CUDA_ERROR_INVALID_VALUE;
    *like = (struct cu_graph_node){.type = type, .context = event->context, .event = event};
    return 0;
}

static int like_child(struct cu_graph_node *like, CUgraph child)
{
    if (!cu_is(child, KIND_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    *like = (struct cu_graph_node){.type = CU_GRAPH_NODE_TYPE_GRAPH, .child = child};
    return 0;
}

/* --- adding ----------------------------------------------------------------------------------- */

static int add(CUgraphNode *out, CUgraph g, const CUgraphNode *needs, size_t n,
               const struct cu_graph_node *like, int rc)
{
    if (rc)
        return rc;
    if (!out || !cu_is(g, KIND_GRAPH) || (n && !needs))
        return CUDA_ERROR_INVALID_VALUE;
    return cu_graph_add(g, like, needs, n, out);
}

static int add_kernel(CUgraphNode *out, CUgraph g, const CUgraphNode *needs, size_t n,
                      const CUDA_KERNEL_NODE_PARAMS *p, bool second)
{
    char packed[GPU_PARAMS];
    struct cu_graph_node like;

    return add(out, g, needs, n, &like,
               p ? cu_node_kernel(&like, p, second, packed) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphAddKernelNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                     size_t n, const CUDA_KERNEL_NODE_PARAMS *p)
{
    return add_kernel(out, g, needs, n, p, false);
}

CU_API CUresult cuGraphAddKernelNode_v2(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                        size_t n, const CUDA_KERNEL_NODE_PARAMS *p)
{
    return add_kernel(out, g, needs, n, p, true);
}

CU_API CUresult cuGraphAddMemcpyNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                     size_t n, const CUDA_MEMCPY3D *p, CUcontext c)
{
    struct cu_graph_node like;

    return add(out, g, needs, n, &like, p ? cu_node_copy(&like, p, c) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphAddMemsetNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                     size_t n, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext c)
{
    struct cu_graph_node like;

    return add(out, g, needs, n, &like, p ? cu_node_fill(&like, p, c) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphAddHostNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs, size_t n,
                                   const CUDA_HOST_NODE_PARAMS *p)
{
    struct cu_graph_node like;

    return add(out, g, needs, n, &like, p ? cu_node_host(&like, p) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphAddChildGraphNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                         size_t n, CUgraph child)
{
    struct cu_graph_node like;

    return add(out, g, needs, n, &like,
               child == g ? CUDA_ERROR_INVALID_VALUE : like_child(&like, child));
}

CU_API CUresult cuGraphAddEmptyNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs, size_t n)
{
    const struct cu_graph_node like = {.type = CU_GRAPH_NODE_TYPE_EMPTY};

    return add(out, g, needs, n, &like, 0);
}

CU_API CUresult cuGraphAddEventRecordNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                          size_t n, CUevent event)
{
    struct cu_graph_node like;

    return add(out, g, needs, n, &like, like_event(&like, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event));
}

CU_API CUresult cuGraphAddEventWaitNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                        size_t n, CUevent event)
{
    struct cu_graph_node like;

    return add(out, g, needs, n, &like, like_event(&like, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event));
}

/* The memory is there from now on, as long as the graph is, and longer where a launch leaves it. */
CU_API CUresult cuGraphAddMemAllocNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                       size_t n, CUDA_MEM_ALLOC_NODE_PARAMS *p)
{
    enum { PINNED = 1, DEVICE = 1 };
    int rc;
    struct cu_context *c = cu_need(&rc);
    struct cu_graph_node like = {.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC, .context = c};

    if (!c || !p || !p->bytesize || p->pool.alloc_type != PINNED ||
        p->pool.location_type != DEVICE || p->pool.location != c->device)
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    rc = p->pool.handle_types ? CUDA_ERROR_NOT_SUPPORTED : cu_hold_new(c, p->bytesize, &like.hold);
    if (rc)
        return rc;
    rc = add(out, g, needs, n, &like, 0);
    if (!rc)
        p->dptr = like.hold->address;
    cu_hold_put(like.hold); /* the node has one of its own */
    return rc;
}

CU_API CUresult cuGraphAddMemFreeNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                      size_t n, CUdeviceptr address)
{
    const struct cu_graph_node like = {.type = CU_GRAPH_NODE_TYPE_MEM_FREE, .address = address};

    return add(out, g, needs, n, &like, cu_graph_holds(address) ? 0 : CUDA_ERROR_INVALID_VALUE);
}

/* A context that is not said is the current one. */
static struct cu_context *context_of(CUcontext c)
{
    return c ? c : cu_current();
}

static int add_any(CUgraphNode *out, CUgraph g, const CUgraphNode *needs, size_t n,
                   CUgraphNodeParams *p)
{
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return cuGraphAddKernelNode_v2(out, g, needs, n, &p->kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return cuGraphAddMemcpyNode(out, g, needs, n, &p->memcpy.copyParams,
                                    context_of(p->memcpy.copyCtx));
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return cuGraphAddMemsetNode(out, g, needs, n, &p->memset.params, context_of(p->memset.ctx));
    case CU_GRAPH_NODE_TYPE_HOST:
        return cuGraphAddHostNode(out, g, needs, n, &p->host);
    case CU_GRAPH_NODE_TYPE_GRAPH:
        return cuGraphAddChildGraphNode(out, g, needs, n, p->graph);
    case CU_GRAPH_NODE_TYPE_EMPTY:
        return cuGraphAddEmptyNode(out, g, needs, n);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
        return cuGraphAddEventWaitNode(out, g, needs, n, p->event);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return cuGraphAddEventRecordNode(out, g, needs, n, p->event);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
        return cuGraphAddMemAllocNode(out, g, needs, n, &p->alloc);
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
        return cuGraphAddMemFreeNode(out, g, needs, n, p->address);
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CU_API CUresult cuGraphAddNode(CUgraphNode *out, CUgraph g, const CUgraphNode *needs, size_t n,
                               CUgraphNodeParams *p)
{
    return p ? add_any(out, g, needs, n, p) : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuGraphAddNode_v2(CUgraphNode *out, CUgraph g, const CUgraphNode *needs,
                                  const CUgraphEdgeData *data, size_t n, CUgraphNodeParams *p)
{
    static const CUgraphEdgeData plain;

    for (size_t i = 0; data && i < n; i++) {
        if (memcmp(&data[i], &plain, sizeof(plain)) != 0)
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    return p ? add_any(out, g, needs, n, p) : CUDA_ERROR_INVALID_VALUE;
}

/* --- telling and changing --------------------------------------------------------------------- */

static bool is_node(CUgraphNode node, enum cu_node_type type)
{
    return cu_is(node, KIND_GRAPH_NODE) && node->type == type;
}

static int set(CUgraphNode node, enum cu_node_type type, const struct cu_graph_node *like, int rc)
{
    if (rc || !is_node(node, type))
        return rc ? rc : CUDA_ERROR_INVALID_VALUE;
    return cu_node_set(node, like);
}

static int get_kernel(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *p)
{
    if (!p || !is_node(node, CU_GRAPH_NODE_TYPE_KERNEL))
        return CUDA_ERROR_INVALID_VALUE;
    const struct gpu_call_launch *l = &node->kernel.launch;
    p->func = node->kernel.function;
    p->gridDimX = l->grid_x;
    p->gridDimY = l->grid_y;
    p->gridDimZ = l->grid_z;
    p->blockDimX = l->block_x;
    p->blockDimY = l->block_y;
    p->blockDimZ = l->block_z;
    p->sharedMemBytes = l->shared;
    p->kernelParams = node->kernel.params;
    p->extra = NULL;
    return 0;
}

CU_API CUresult cuGraphKernelNodeGetParams(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *p)
{
    return get_kernel(node, p);
}

CU_API CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *p)
{
    int rc = get_kernel(node, p);

    if (!rc) {
        p->kern = NULL;
        p->ctx = node->context;
    }
    return rc;
}

static int set_kernel(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *p, bool second)
{
    char packed[GPU_PARAMS];
    struct cu_graph_node like;

    return set(node, CU_GRAPH_NODE_TYPE_KERNEL, &like,
               p ? cu_node_kernel(&like, p, second, packed) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *p)
{
    return set_kernel(node, p, false);
}

CU_API CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *p)
{
    return set_kernel(node, p, true);
}

CU_API CUresult cuGraphMemcpyNodeGetParams(CUgraphNode node, CUDA_MEMCPY3D *p)
{
    if (!p || !is_node(node, CU_GRAPH_NODE_TYPE_MEMCPY))
        return CUDA_ERROR_INVALID_VALUE;
    *p = node->copy;
    return 0;
}

CU_API CUresult cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D *p)
{
    struct cu_graph_node like;
    bool is = is_node(node, CU_GRAPH_NODE_TYPE_MEMCPY);

    return set(node, CU_GRAPH_NODE_TYPE_MEMCPY, &like,
               p && is ? cu_node_copy(&like, p, node->context) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphMemsetNodeGetParams(CUgraphNode node, CUDA_MEMSET_NODE_PARAMS *p)
{
    if (!p || !is_node(node, CU_GRAPH_NODE_TYPE_MEMSET))
        return CUDA_ERROR_INVALID_VALUE;
    *p = node->fill;
    return 0;
}

CU_API CUresult cuGraphMemsetNodeSetParams(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS *p)
{
    struct cu_graph_node like;
    bool is = is_node(node, CU_GRAPH_NODE_TYPE_MEMSET);

    return set(node, CU_GRAPH_NODE_TYPE_MEMSET, &like,
               p && is ? cu_node_fill(&like, p, node->context) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphHostNodeGetParams(CUgraphNode node, CUDA_HOST_NODE_PARAMS *p)
{
    if (!p || !is_node(node, CU_GRAPH_NODE_TYPE_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    *p = node->host;
    return 0;
}

CU_API CUresult cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS *p)
{
    struct cu_graph_node like;

    return set(node, CU_GRAPH_NODE_TYPE_HOST, &like,
               p ? cu_node_host(&like, p) : CUDA_ERROR_INVALID_VALUE);
}

CU_API CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *g)
{
    if (!g || !is_node(node, CU_GRAPH_NODE_TYPE_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    *g = node->child;
    return 0;
}

static int get_event(CUgraphNode node, enum cu_node_type type, CUevent *event)
{
    if (!event || !is_node(node, type))
        return CUDA_ERROR_INVALID_VALUE;
    *event = node->event;
    return 0;
}

CU_API CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode node, CUevent *event)
{
    return get_event(node, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CU_API CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode node, CUevent *event)
{
    return get_event(node, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

static int set_event(CUgraphNode node, enum cu_node_type type, CUevent event)
{
    struct cu_graph_node like;

    return set(node, type, &like, like_event(&like, type, event));
}

CU_API CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event)
{
    return set_event(node, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CU_API CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event)
{
    return set_event(node, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CU_API CUresult cuGraphMemAllocNodeGetParams(CUgraphNode node, CUDA_MEM_ALLOC_NODE_PARAMS *p)
{
    if (!p || !is_node(node, CU_GRAPH_NODE_TYPE_MEM_ALLOC))
        return CUDA_ERROR_INVALID_VALUE;
    *p = (CUDA_MEM_ALLOC_NODE_PARAMS){
        .pool = {.alloc_type = 1, .location_type = 1, .location = node->hold->context->device},
        .bytesize = node->hold->bytes,
        .dptr = node->hold->address};
    return 0;
}

CU_API CUresult cuGraphMemFreeNodeGetParams(CUgraphNode node, CUdeviceptr *address)
{
    if (!address || !is_node(node, CU_GRAPH_NODE_TYPE_MEM_FREE))
        return CUDA_ERROR_INVALID_VALUE;
    *address = node->address;
    return 0;
}

CU_API CUresult cuGraphNodeSetParams(CUgraphNode node, CUgraphNodeParams *p)
{
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
        return cuGraphKernelNodeSetParams_v2(node, &p->kernel);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
        return cuGraphMemcpyNodeSetParams(node, &p->memcpy.copyParams);
    case CU_GRAPH_NODE_TYPE_MEMSET:
        return cuGraphMemsetNodeSetParams(node, &p->memset.params);
    case CU_GRAPH_NODE_TYPE_HOST:
        return cuGraphHostNodeSetParams(node, &p->host);
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
        return set_event(node, (enum cu_node_type)p->type, p->event);
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}
