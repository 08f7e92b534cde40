/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Graphs and their nodes, whatever those do. See graph.h. */
#include "guest/cuda/graph.h"

#include <stdlib.h>
#include <string.h>

/* --- sets of nodes ---------------------------------------------------------------------------- */

bool cu_tails_have(const struct cu_tails *t, const struct cu_graph_node *node)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->nodes[i] == node)
            return true;
    }
    return false;
}

bool cu_tails_add(struct cu_tails *t, struct cu_graph_node *node)
{
    if (cu_tails_have(t, node))
        return true;
    if ((t->n & (t->n - 1)) == 0) { /* full at each power of two */
        struct cu_graph_node **nodes = realloc(t->nodes, (t->n ? t->n * 2 : 1) * sizeof(*nodes));
        if (!nodes)
            return false;
        t->nodes = nodes;
    }
    t->nodes[t->n++] = node;
    return true;
}

bool cu_tails_copy(struct cu_tails *to, const struct cu_tails *from)
{
    struct cu_tails copy = {0};

    for (size_t i = 0; i < from->n; i++) {
        if (!cu_tails_add(&copy, from->nodes[i])) {
            free(copy.nodes);
            return false;
        }
    }
    free(to->nodes);
    *to = copy;
    return true;
}

/* --- memory of graphs ------------------------------------------------------------------------- */

static struct cu_hold *holds;
static pthread_mutex_t holds_lock = PTHREAD_MUTEX_INITIALIZER;

int cu_hold_new(struct cu_context *c, size_t bytes, struct cu_hold **out)
{
    const struct gpu_call_alloc call = {.ctx = c->o.id, .bytes = bytes};
    struct gpu_answer_alloc answer;
    struct cu_hold *h = calloc(1, sizeof(*h));
    int rc = h ? cu_call(c->o.channel, GPU_OP_ALLOC, &call, &answer) : CUDA_ERROR_OUT_OF_MEMORY;

    if (rc) {
        free(h);
        return rc;
    }
    *h = (struct cu_hold){.context = c, .address = answer.address, .bytes = bytes, .users = 1};
    pthread_mutex_lock(&holds_lock);
    h->next = holds;
    holds = h;
    pthread_mutex_unlock(&holds_lock);
    *out = h;
    return 0;
}

static struct cu_hold *hold_get(struct cu_hold *h)
{
    __atomic_add_fetch(&h->users, 1, __ATOMIC_RELAXED);
    return h;
}

/* What was launched before is done with it first: that is how memory is freed. */
void cu_hold_put(struct cu_hold *h)
{
    if (__atomic_sub_fetch(&h->users, 1, __ATOMIC_ACQ_REL))
        return;
    const struct gpu_call_free call = {.ctx = h->context->o.id, .address = h->address};
    pthread_mutex_lock(&holds_lock);
    struct cu_hold **at = &holds;
    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    pthread_mutex_unlock(&holds_lock);
    if (cu_is(h->context, KIND_CONTEXT))
        channel_post(h->context->o.channel, GPU_OP_FREE, &call, NULL, 0);
    free(h);
}

/* Locked. */
static struct cu_hold *hold_at(CUdeviceptr address)
{
    struct cu_hold *h = holds;

    while (h && h->address != address)
        h = h->next;
    return h;
}

bool cu_graph_holds(CUdeviceptr address)
{
    pthread_mutex_lock(&holds_lock);
    const struct cu_hold *h = hold_at(address);
    pthread_mutex_unlock(&holds_lock);
    return h != NULL;
}

bool cu_hold_free(CUdeviceptr address, int *result)
{
    pthread_mutex_lock(&holds_lock);
    struct cu_hold *h = hold_at(address);
    bool live = h && h->live;
    if (live)
        h->live = false;
    pthread_mutex_unlock(&holds_lock);
    *result = h && !live ? CUDA_ERROR_INVALID_VALUE : 0;
    if (live)
        cu_hold_put(h);
    return h != NULL;
}

void cu_hold_forget(const struct cu_context *c)
{
    struct cu_hold *h;

    do {
        pthread_mutex_lock(&holds_lock);
        h = holds;
        while (h && !(h->live && h->context == c))
            h = h->next;
        if (h)
            h->live = false;
        pthread_mutex_unlock(&holds_lock);
        if (h)
            cu_hold_put(h);
    } while (h);
}

bool cu_graph_allocates(const struct cu_graph *g)
{
    const struct cu_graph_node *node = g->first;

    while (node && node->type != CU_GRAPH_NODE_TYPE_MEM_ALLOC &&
           node->type != CU_GRAPH_NODE_TYPE_MEM_FREE &&
           !(node->type == CU_GRAPH_NODE_TYPE_GRAPH && cu_graph_allocates(node->child)))
        node = node->next;
    return node != NULL;
}

static bool allocates(const struct cu_graph *g, CUdeviceptr address)
{
    bool found = false;

    for (const struct cu_graph_node *n = g->first; n && !found; n = n->next) {
        if (n->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC)
            found = n->hold->address == address;
        else if (n->type == CU_GRAPH_NODE_TYPE_GRAPH)
            found = allocates(n->child, address);
    }
    return found;
}

/* Of G, which is within ALL or is it. Locked. */
static int check(const struct cu_graph *g, const struct cu_graph *all, bool again)
{
    int rc = 0;

    for (const struct cu_graph_node *n = g->first; n && !rc; n = n->next) {
        if (n->type == CU_GRAPH_NODE_TYPE_GRAPH)
            rc = check(n->child, all, again);
        else if (n->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && n->hold->live && !again)
            rc = CUDA_ERROR_INVALID_VALUE;
        else if (n->type == CU_GRAPH_NODE_TYPE_MEM_FREE && !allocates(all, n->address)) {
            const struct cu_hold *h = hold_at(n->address);
            rc = h && h->live ? 0 : CUDA_ERROR_INVALID_VALUE;
        }
    }
    return rc;
}

int cu_hold_check(const struct cu_graph *g, bool again)
{
    pthread_mutex_lock(&holds_lock);
    int rc = check(g, g, again);
    pthread_mutex_unlock(&holds_lock);
    return rc;
}

/* What is allocated, in the first turn, may be freed by a node that was added before. */
static void launched(const struct cu_graph *g, bool freed)
{
    int rc;

    for (const struct cu_graph_node *n = g->first; n; n = n->next) {
        if (n->type == CU_GRAPH_NODE_TYPE_GRAPH) {
            launched(n->child, freed);
        } else if (n->type == CU_GRAPH_NODE_TYPE_MEM_FREE && freed) {
            cu_hold_free(n->address, &rc);
        } else if (n->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC && !freed) {
            pthread_mutex_lock(&holds_lock);
            if (!n->hold->live)
                hold_get(n->hold)->live = true;
            pthread_mutex_unlock(&holds_lock);
        }
    }
}

void cu_hold_launched(const struct cu_graph *g)
{
    launched(g, false);
    launched(g, true);
}

/* --- nodes ------------------------------------------------------------------------------------ */

static void node_clear(struct cu_graph_node *node)
{
    if (node->type == CU_GRAPH_NODE_TYPE_KERNEL) {
        free(node->kernel.packed);
        free(node->kernel.params);
    } else if (node->type == CU_GRAPH_NODE_TYPE_GRAPH) {
        cu_graph_free(node->child);
    } else if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC) {
        cu_hold_put(node->hold);
    }
}

static void node_free(struct cu_graph_node *node)
{
    node_clear(node);
    free(node->needs.nodes);
    node->o.kind = 0;
    free(node);
}

/* The parameters and where each is, as the getter shows them. */
static int own_params(struct cu_graph_node *node)
{
    const struct cu_function *f = node->kernel.function;
    char *packed = malloc(f->params_bytes + 1);
    void **params = calloc(f->info.params + 1, sizeof(*params));

    if (!packed || !params) {
        free(packed);
        free(params);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memcpy(packed, node->kernel.packed, f->params_bytes);
    for (uint32_t i = 0; i < f->info.params; i++)
        params[i] = packed + f->params[i].offset;
    node->kernel.packed = packed;
    node->kernel.params = params;
    return 0;
}

/* What NODE shares with what it was copied from becomes its own. */
static int node_own(struct cu_graph_node *node)
{
    if (node->type == CU_GRAPH_NODE_TYPE_KERNEL)
        return own_params(node);
    if (node->type == CU_GRAPH_NODE_TYPE_MEM_ALLOC)
        hold_get(node->hold);
    if (node->type != CU_GRAPH_NODE_TYPE_GRAPH)
        return 0;
    node->child = cu_graph_copy(node->child);
    if (!node->child)
        return CUDA_ERROR_OUT_OF_MEMORY;
    node->child->owned = true;
    return 0;
}

int cu_node_set(struct cu_graph_node *node, const struct cu_graph_node *like)
{
    struct cu_graph_node made = *node;

    made.context = like->context ? like->context : node->context;
    memcpy(&made.kernel, &like->kernel, sizeof(made) - offsetof(struct cu_graph_node, kernel));
    int rc = node_own(&made);
    if (rc)
        return rc;
    node_clear(node);
    *node = made;
    return 0;
}

int cu_graph_add(struct cu_graph *g, const struct cu_graph_node *like,
                 struct cu_graph_node *const *needs, size_t n, struct cu_graph_node **out)
{
    struct cu_graph_node *node = malloc(sizeof(*node));
    int rc = node ? 0 : CUDA_ERROR_OUT_OF_MEMORY;

    if (rc)
        return rc;
    *node = *like;
    node->o = (struct cu_object){.kind = KIND_GRAPH_NODE, .id = cu_new_id()};
    node->graph = g;
    node->next = NULL;
    node->needs = (struct cu_tails){0};
    for (size_t i = 0; i < n && !rc; i++) {
        if (!cu_is(needs[i], KIND_GRAPH_NODE) || needs[i]->graph != g)
            rc = CUDA_ERROR_INVALID_VALUE;
        else if (!cu_tails_add(&node->needs, needs[i]))
            rc = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (!rc)
        rc = node_own(node);
    if (rc) {
        free(node->needs.nodes);
        free(node);
        return rc;
    }
    *g->last = node;
    g->last = &node->next;
    g->n++;
    *out = node;
    return 0;
}

/* --- graphs ----------------------------------------------------------------------------------- */

struct cu_graph *cu_graph_new(void)
{
    struct cu_graph *g = calloc(1, sizeof(*g));

    if (!g)
        return NULL;
    g->o = (struct cu_object){.kind = KIND_GRAPH, .id = cu_new_id()};
    g->last = &g->first;
    return g;
}

void cu_graph_free(struct cu_graph *g)
{
    while (g->first) {
        struct cu_graph_node *node = g->first;
        g->first = node->next;
        node_free(node);
    }
    g->o.kind = 0;
    free(g);
}

/* A node's copy is found by its place, so that edges can be copied once all nodes are there. */
struct cu_graph *cu_graph_copy(const struct cu_graph *g)
{
    struct cu_graph *copy = cu_graph_new();
    struct cu_graph_node **nodes = calloc(g->n + 1, sizeof(*nodes));
    unsigned i = 0;
    int rc = copy && nodes ? 0 : CUDA_ERROR_OUT_OF_MEMORY;

    for (struct cu_graph_node *node = g->first; node && !rc; node = node->next) {
        node->mark = i;
        rc = cu_graph_add(copy, node, NULL, 0, &nodes[i]);
        if (!rc)
            nodes[i++]->from = node;
    }
    for (const struct cu_graph_node *node = g->first; node && !rc; node = node->next) {
        for (size_t k = 0; k < node->needs.n && !rc; k++) {
            if (!cu_tails_add(&nodes[node->mark]->needs, nodes[node->needs.nodes[k]->mark]))
                rc = CUDA_ERROR_OUT_OF_MEMORY;
        }
    }
    free(nodes);
    if (rc && copy)
        cu_graph_free(copy);
    return rc ? NULL : copy;
}

/* A node's mark is how many it still waits for. */
struct cu_graph_node **cu_graph_order(struct cu_graph *g)
{
    struct cu_graph_node **order = calloc(g->n + 1, sizeof(*order));
    size_t n = 0;
    bool more = order != NULL;

    for (struct cu_graph_node *node = g->first; node; node = node->next)
        node->mark = 0; /* 1: it is in ORDER */
    while (more) {
        more = false;
        for (struct cu_graph_node *node = g->first; node; node = node->next) {
            bool ready = !node->mark;
            for (size_t i = 0; ready && i < node->needs.n; i++)
                ready = node->needs.nodes[i]->mark;
            if (!ready)
                continue;
            node->mark = 1;
            order[n++] = node;
            more = true;
        }
    }
    if (n == g->n && order)
        return order;
    free(order);
    return NULL;
}

CU_API CUresult cuGraphCreate(CUgraph *g, unsigned flags)
{
    if (!g || flags)
        return CUDA_ERROR_INVALID_VALUE;
    *g = cu_graph_new();
    return *g ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}

CU_API CUresult cuGraphDestroy(CUgraph g)
{
    if (!cu_is(g, KIND_GRAPH) || g->owned)
        return CUDA_ERROR_INVALID_VALUE;
    cu_graph_free(g);
    return 0;
}

CU_API CUresult cuGraphClone(CUgraph *out, CUgraph g)
{
    if (!out || !cu_is(g, KIND_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    *out = cu_graph_copy(g);
    return *out ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}

CU_API CUresult cuGraphNodeFindInClone(CUgraphNode *out, CUgraphNode node, CUgraph clone)
{
    if (!out || !cu_is(node, KIND_GRAPH_NODE) || !cu_is(clone, KIND_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    for (struct cu_graph_node *n = clone->first; n; n = n->next) {
        if (n->from == node) {
            *out = n;
            return 0;
        }
    }
    return CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuGraphDestroyNode(CUgraphNode node)
{
    if (!cu_is(node, KIND_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    struct cu_graph *g = node->graph;
    struct cu_graph_node **at = &g->first;
    for (struct cu_graph_node *n = g->first; n; n = n->next) {
        for (size_t i = 0; i < n->needs.n; i++) {
            if (n->needs.nodes[i] == node)
                n->needs.nodes[i--] = n->needs.nodes[--n->needs.n];
        }
    }
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    if (g->last == &node->next)
        g->last = at;
    g->n--;
    node_free(node);
    return 0;
}
