/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* What a graph's nodes depend on, and what programs ask about it. See graph.h. */
#include "guest/cuda/graph.h"

#include <string.h>

/* Edges of another kind than "all of it is done" are none of ours. */
static int check_edges(const CUgraphEdgeData *data, size_t n)
{
    static const CUgraphEdgeData plain;

    for (size_t i = 0; data && i < n; i++) {
        if (memcmp(&data[i], &plain, sizeof(plain)) != 0)
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    return 0;
}

CU_API CUresult cuGraphAddDependencies_v2(CUgraph g, const CUgraphNode *from, const CUgraphNode *to,
                                          const CUgraphEdgeData *data, size_t n)
{
    int rc = cu_is(g, KIND_GRAPH) && (!n || (from && to)) ? check_edges(data, n)
                                                          : CUDA_ERROR_INVALID_VALUE;

    for (size_t i = 0; i < n && !rc; i++) {
        if (!cu_is(from[i], KIND_GRAPH_NODE) || !cu_is(to[i], KIND_GRAPH_NODE) ||
            from[i]->graph != g || to[i]->graph != g || from[i] == to[i] ||
            cu_tails_have(&to[i]->needs, from[i]))
            rc = CUDA_ERROR_INVALID_VALUE;
        else if (!cu_tails_add(&to[i]->needs, from[i]))
            rc = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return rc;
}

CU_API CUresult cuGraphAddDependencies(CUgraph g, const CUgraphNode *from, const CUgraphNode *to,
                                       size_t n)
{
    return cuGraphAddDependencies_v2(g, from, to, NULL, n);
}

CU_API CUresult cuGraphRemoveDependencies_v2(CUgraph g, const CUgraphNode *from,
                                             const CUgraphNode *to, const CUgraphEdgeData *data,
                                             size_t n)
{
    int rc = cu_is(g, KIND_GRAPH) && (!n || (from && to)) ? check_edges(data, n)
                                                          : CUDA_ERROR_INVALID_VALUE;

    for (size_t i = 0; i < n && !rc; i++) {
        if (!cu_is(from[i], KIND_GRAPH_NODE) || !cu_is(to[i], KIND_GRAPH_NODE) ||
            to[i]->graph != g || !cu_tails_have(&to[i]->needs, from[i]))
            return CUDA_ERROR_INVALID_VALUE;
        struct cu_tails *needs = &to[i]->needs;
        size_t k = 0;
        while (needs->nodes[k] != from[i])
            k++;
        needs->nodes[k] = needs->nodes[needs->n - 1];
        needs->n--;
    }
    return rc;
}

CU_API CUresult cuGraphRemoveDependencies(CUgraph g, const CUgraphNode *from, const CUgraphNode *to,
                                          size_t n)
{
    return cuGraphRemoveDependencies_v2(g, from, to, NULL, n);
}

/* --- lists: what does not fit is left out, what is too much is set to none ---------------------
 */

struct list {
    CUgraphNode *to, *from;
    CUgraphEdgeData *data;
    size_t most, n;
};

static void list_add(struct list *l, CUgraphNode from, CUgraphNode to)
{
    if (l->n < l->most) {
        if (l->from)
            l->from[l->n] = from;
        if (l->to)
            l->to[l->n] = to;
        if (l->data)
            memset(&l->data[l->n], 0, sizeof(*l->data));
    }
    l->n++;
}

static void list_end(const struct list *l, size_t *n)
{
    bool asked = l->to || l->from;

    for (size_t i = l->n; asked && i < l->most; i++) {
        if (l->to)
            l->to[i] = NULL;
        if (l->from)
            l->from[i] = NULL;
    }
    *n = asked && l->n > l->most ? l->most : l->n;
}

CU_API CUresult cuGraphGetNodes(CUgraph g, CUgraphNode *nodes, size_t *n)
{
    if (!n || !cu_is(g, KIND_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = {.to = nodes, .most = nodes ? *n : 0};
    for (struct cu_graph_node *node = g->first; node; node = node->next)
        list_add(&l, NULL, node);
    list_end(&l, n);
    return 0;
}

CU_API CUresult cuGraphGetRootNodes(CUgraph g, CUgraphNode *nodes, size_t *n)
{
    if (!n || !cu_is(g, KIND_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = {.to = nodes, .most = nodes ? *n : 0};
    for (struct cu_graph_node *node = g->first; node; node = node->next) {
        if (!node->needs.n)
            list_add(&l, NULL, node);
    }
    list_end(&l, n);
    return 0;
}

CU_API CUresult cuGraphGetEdges_v2(CUgraph g, CUgraphNode *from, CUgraphNode *to,
                                   CUgraphEdgeData *data, size_t *n)
{
    if (!n || !cu_is(g, KIND_GRAPH) || !from != !to)
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = {.from = from, .to = to, .data = data, .most = from ? *n : 0};
    for (struct cu_graph_node *node = g->first; node; node = node->next) {
        for (size_t i = 0; i < node->needs.n; i++)
            list_add(&l, node->needs.nodes[i], node);
    }
    list_end(&l, n);
    return 0;
}

CU_API CUresult cuGraphGetEdges(CUgraph g, CUgraphNode *from, CUgraphNode *to, size_t *n)
{
    return cuGraphGetEdges_v2(g, from, to, NULL, n);
}

CU_API CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode *nodes,
                                              CUgraphEdgeData *data, size_t *n)
{
    if (!n || !cu_is(node, KIND_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = {.from = nodes, .data = data, .most = nodes ? *n : 0};
    for (size_t i = 0; i < node->needs.n; i++)
        list_add(&l, node->needs.nodes[i], node);
    list_end(&l, n);
    return 0;
}

CU_API CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode *nodes, size_t *n)
{
    return cuGraphNodeGetDependencies_v2(node, nodes, NULL, n);
}

CU_API CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode *nodes,
                                                CUgraphEdgeData *data, size_t *n)
{
    if (!n || !cu_is(node, KIND_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    struct list l = {.to = nodes, .data = data, .most = nodes ? *n : 0};
    for (struct cu_graph_node *other = node->graph->first; other; other = other->next) {
        if (cu_tails_have(&other->needs, node))
            list_add(&l, node, other);
    }
    list_end(&l, n);
    return 0;
}

CU_API CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode *nodes, size_t *n)
{
    return cuGraphNodeGetDependentNodes_v2(node, nodes, NULL, n);
}

CU_API CUresult cuGraphNodeGetType(CUgraphNode node, int *type)
{
    if (!type || !cu_is(node, KIND_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    *type = node->type;
    return 0;
}
