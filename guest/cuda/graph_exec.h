/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/graph_exec: an executable graph: what a launch does, step by step.
 *
 * Lane 0 is the stream that it is launched in; the others are the context's lanes. A node runs in
 * the lane of one that it depends on, where that is the last of it, and waits for events of others.
 */
#ifndef GUEST_CUDA_GRAPH_EXEC_H
#define GUEST_CUDA_GRAPH_EXEC_H

#include "guest/cuda/graph.h"

/* A batch, or a node that the program's side does. */
struct cu_step {
    uint64_t batch;
    unsigned calls;
    struct cu_graph_node *node; /* NULL: the batch */
    unsigned lane;
};

struct cu_graph_exec {
    struct cu_object o;
    struct cu_graph *graph; /* owned */
    struct cu_context *context;
    uint64_t flags;
    struct cu_step *steps;
    size_t n_steps;
    uint64_t *events; /* of this library's own: the first is recorded when a launch is done */
    size_t n_events, used_events;
    uint64_t last; /* the stream of the last launch */
    bool stale;    /* nodes were changed since the steps were made */
    bool memory;   /* nodes allocate or free some */
};

/* Makes the steps of E from its graph. */
int cu_exec_build(struct cu_graph_exec *e);
/* Frees what the worker has of E. */
void cu_exec_clear(struct cu_graph_exec *e);

#endif
