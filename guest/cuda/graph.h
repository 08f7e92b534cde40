/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/graph: graphs and what is made of them.
 *
 * A graph is this library's alone: nodes in the order in which they were added, each with those it
 * depends on. To instantiate one is to send its calls to the worker as batches (records.txt), which
 * a launch then makes by one record each; only what the program's side has to do, host functions
 * and copies of its memory, stands between them. Branches run in streams of the library's own, tied
 * together by events. An executable graph keeps a copy of its graph, and is made anew from it when
 * a node's parameters were changed, at the next launch.
 *
 * As in CUDA, one thread at a time works with a graph.
 */
#ifndef GUEST_CUDA_GRAPH_H
#define GUEST_CUDA_GRAPH_H

#include "guest/cuda/cuda.h"

struct cu_value {
    bool write;
    CUdeviceptr address;
    uint64_t value;
    unsigned compare, bytes;
};

/* Memory of a graph's: there as long as a node of any copy of it names it, and, launched, until
 * somebody frees it. */
struct cu_hold {
    struct cu_hold *next;
    struct cu_context *context;
    CUdeviceptr address;
    size_t bytes;
    unsigned users;
    bool live; /* launched and not freed: that is a user, too */
};

struct cu_graph_node {
    struct cu_object o;
    enum cu_node_type type;
    struct cu_graph *graph;
    struct cu_graph_node *next; /* in the graph */
    struct cu_graph_node *from; /* what it is a copy of */
    struct cu_tails needs;      /* owned */
    struct cu_context *context; /* in which it works */
    bool off;                   /* of an executable graph: it does nothing */
    /* While a graph is walked: */
    unsigned mark, lane;
    uint64_t done; /* the event that tells others that it is done, or 0 */
    union {
        struct {
            struct cu_function *function;
            struct gpu_call_launch launch;
            char *packed;  /* owned: the parameters */
            void **params; /* owned: where they are */
        } kernel;
        CUDA_MEMCPY3D copy;
        CUDA_MEMSET_NODE_PARAMS fill;
        CUDA_HOST_NODE_PARAMS host;
        struct cu_graph *child; /* owned */
        struct cu_event *event;
        struct cu_value value;
        struct cu_hold *hold; /* counted */
        CUdeviceptr address;
    };
};

struct cu_graph {
    struct cu_object o;
    struct cu_graph_node *first, **last;
    size_t n;
    bool owned; /* by a node */
};

struct cu_graph *cu_graph_new(void);
void cu_graph_free(struct cu_graph *g);
/* A copy whose nodes know where they are FROM. */
struct cu_graph *cu_graph_copy(const struct cu_graph *g);
/* Adds a node like LIKE, of which everything is copied, behind those in NEEDS. */
int cu_graph_add(struct cu_graph *g, const struct cu_graph_node *like,
                 struct cu_graph_node *const *needs, size_t n, struct cu_graph_node **out);
/* Gives NODE what LIKE, of the same type, has. */
int cu_node_set(struct cu_graph_node *node, const struct cu_graph_node *like);
bool cu_tails_add(struct cu_tails *t, struct cu_graph_node *node);
bool cu_tails_copy(struct cu_tails *to, const struct cu_tails *from);
bool cu_tails_have(const struct cu_tails *t, const struct cu_graph_node *node);

/* The nodes of G, of which each comes after those it needs; NULL: they wait for one another, or
 * there is no memory. To be freed. */
struct cu_graph_node **cu_graph_order(struct cu_graph *g);

/* What the parameters of a node say, checked: LIKE is not to outlive them. PACKED is where a
 * kernel's are put together. */
int cu_node_kernel(struct cu_graph_node *like, const CUDA_KERNEL_NODE_PARAMS *p, bool second,
                   char packed[GPU_PARAMS]);
int cu_node_copy(struct cu_graph_node *like, const CUDA_MEMCPY3D *p, struct cu_context *c);
int cu_node_fill(struct cu_graph_node *like, const CUDA_MEMSET_NODE_PARAMS *p,
                 struct cu_context *c);
int cu_node_host(struct cu_graph_node *like, const CUDA_HOST_NODE_PARAMS *p);

/* Memory that C allocates for a graph: the caller is one user of it. */
int cu_hold_new(struct cu_context *c, size_t bytes, struct cu_hold **out);
void cu_hold_put(struct cu_hold *h);
/* Whether ADDRESS is such memory. */
bool cu_graph_holds(CUdeviceptr address);
/* The program frees ADDRESS: false: it is no graph's. *RESULT is 0, or what is wrong: no launch has
 * allocated it since it was freed. */
bool cu_hold_free(CUdeviceptr address, int *result);
/* Whether nodes of G, or of graphs within it, allocate or free memory. */
bool cu_graph_allocates(const struct cu_graph *g);
/* What is wrong with a launch of G, or 0: memory that it allocates is not freed yet, unless AGAIN,
 * or what it frees is free. And what memory it leaves once launched. */
int cu_hold_check(const struct cu_graph *g, bool again);
void cu_hold_launched(const struct cu_graph *g);
/* The context is gone, and what it had with it. */
void cu_hold_forget(const struct cu_context *c);

/* A batch that is put together (graph_batch.c). */
struct cu_sink {
    struct channel *channel;
    uint64_t batch;
    unsigned calls;
    uint32_t used;
    _Alignas(8) uint8_t part[GPU_INLINE];
};
/* A new batch of C's; and its end. */
int cu_sink_begin(struct cu_sink *s, const struct cu_context *c);
int cu_sink_end(struct cu_sink *s);
int cu_sink_put(struct cu_sink *s, unsigned op, const void *fields, const void *payload,
                uint32_t bytes);
int cu_value_post(const struct cu_where *w, const struct cu_value *v);

#endif
