/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/capture: streams whose calls become nodes of a graph.
 *
 * A capture begins in one stream; others join it when they wait for an event that was recorded in
 * it. Each stream keeps the nodes that its next one depends on (tails). A capture that cannot be
 * ended in order is invalid: everything in it fails until it is ended. One lock covers all
 * captures.
 */
#ifndef GUEST_CUDA_CAPTURE_H
#define GUEST_CUDA_CAPTURE_H

#include "guest/cuda/graph.h"

extern unsigned cu_captures; /* how many there are */

/* Whether any stream is captured: where none is, nothing else here is called. */
static inline bool cu_capturing(void)
{
    return __atomic_load_n(&cu_captures, __ATOMIC_ACQUIRE) != 0;
}

/* What cu_where() says beside the stream being there. */
int cu_capture_where(const struct cu_where *w);
/* The next node of W's stream, like LIKE. */
int cu_capture(const struct cu_where *w, const struct cu_graph_node *like);
/* The same of a node that is told. */
int cu_capture_node(const struct cu_where *w, const struct cu_graph_node *like,
                    struct cu_graph_node **out);
/* W's stream is captured, and what it is asked cannot be: the capture is invalid from here on. */
int cu_capture_refuse(const struct cu_where *w);
/* EVENT is recorded in the captured stream W; and W waits for one that was, or is captured. */
int cu_capture_event(const struct cu_where *w, struct cu_event *event);
int cu_capture_join(const struct cu_where *w, struct cu_event *event);
/* An event that was recorded in a capture is asked for: that fails. */
int cu_capture_of_event(struct cu_event *event);
/* The stream is about to go; true: it is captured, and must not. */
bool cu_capture_stops(struct cu_stream *s);
/* A call that may not be made while the calling thread's mode forbids it. */
int cu_capture_unsafe(void);

#endif
