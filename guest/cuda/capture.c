/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* Captures. See capture.h. */
#include "guest/cuda/capture.h"

#include <stdlib.h>

struct cu_capture {
    struct cu_capture *next;
    uint64_t id;
    struct cu_graph *graph;
    struct cu_stream *origin, *streams; /* the one it began in; all that are in it */
    int mode;
    pthread_t thread; /* that began it */
    bool invalid;
    bool given; /* the graph was the program's before */
};

unsigned cu_captures;
static struct cu_capture *captures;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

enum { NON_BLOCKING = 1 };

/* The context that it began in is destroyed, or lost: nobody else is in its way any more. */
static bool gone(const struct cu_capture *p)
{
    return !cu_is(p->origin->context, KIND_CONTEXT) || p->origin->o.channel != cu.channel;
}

/* Takes P off the list and its streams. Locked. */
static void forget(struct cu_capture *p)
{
    struct cu_capture **at = &captures;

    for (struct cu_stream *s = p->streams; s; s = s->next_capture) {
        s->capture = NULL;
        free(s->tails.nodes);
        s->tails = (struct cu_tails){0};
    }
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    __atomic_sub_fetch(&cu_captures, 1, __ATOMIC_RELEASE);
}

/* Frees it, and what of its graph nobody gets. */
static void drop(struct cu_capture *p, bool graph)
{
    if (graph && !p->given)
        cu_graph_free(p->graph);
    free(p);
}

/* --- what others ask -------------------------------------------------------------------------- */

/* The default stream waits for streams of its context that are captured: it cannot. Locked. */
static int implicit(const struct cu_context *c)
{
    int rc = 0;

    for (struct cu_capture *p = captures; p; p = p->next) {
        for (const struct cu_stream *s = p->streams; s; s = s->next_capture) {
            if (s->context != c || s->flags & NON_BLOCKING)
                continue;
            p->invalid = true;
            rc = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    }
    return rc;
}

int cu_capture_where(const struct cu_where *w)
{
    int rc = 0;

    pthread_mutex_lock(&lock);
    if (!w->stream)
        rc = implicit(w->context);
    else if (w->capture && (w->capture->invalid || gone(w->capture)))
        rc = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    pthread_mutex_unlock(&lock);
    return rc;
}

int cu_capture_refuse(const struct cu_where *w)
{
    pthread_mutex_lock(&lock);
    w->capture->invalid = true;
    pthread_mutex_unlock(&lock);
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

bool cu_capture_stops(struct cu_stream *s)
{
    if (!s->capture)
        return false;
    pthread_mutex_lock(&lock);
    struct cu_capture *p = s->capture;
    bool over = gone(p);
    p->invalid = true;
    if (over)
        forget(p);
    pthread_mutex_unlock(&lock);
    if (over)
        drop(p, true);
    return !over;
}

/* Whether the calling thread's mode, and P's, forbid what is unsafe. */
static bool forbids(const struct cu_capture *p)
{
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED || gone(p))
        return false;
    if (pthread_equal(p->thread, pthread_self()))
        return p->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
    return thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && p->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

int cu_capture_unsafe(void)
{
    int rc = 0;

    if (!cu_capturing())
        return 0;
    pthread_mutex_lock(&lock);
    for (struct cu_capture *p = captures; p; p = p->next) {
        if (!forbids(p))
            continue;
        p->invalid = true;
        rc = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* --- nodes ------------------------------------------------------------------------------------ */

int cu_capture_node(const struct cu_where *w, const struct cu_graph_node *like,
                    struct cu_graph_node **out)
{
    struct cu_stream *s = w->stream;
    struct cu_graph_node made = *like, *node;

    made.context = w->context;
    pthread_mutex_lock(&lock);
    int rc = cu_graph_add(w->capture->graph, &made, s->tails.nodes, s->tails.n, &node);
    if (!rc) {
        s->tails.n = 0;
        if (!cu_tails_add(&s->tails, node))
            rc = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (rc)
        w->capture->invalid = true;
    pthread_mutex_unlock(&lock);
    if (!rc && out)
        *out = node;
    return rc;
}

int cu_capture(const struct cu_where *w, const struct cu_graph_node *like)
{
    return cu_capture_node(w, like, NULL);
}

/* --- events ----------------------------------------------------------------------------------- */

int cu_capture_event(const struct cu_where *w, struct cu_event *event)
{
    pthread_mutex_lock(&lock);
    bool ok = cu_tails_copy(&event->tails, &w->stream->tails);
    event->capture = w->capture->id;
    event->recorded = true;
    pthread_mutex_unlock(&lock);
    return ok ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Locked. */
static struct cu_capture *capture_of(uint64_t id)
{
    struct cu_capture *p = captures;

    while (p && p->id != id)
        p = p->next;
    return p;
}

int cu_capture_of_event(struct cu_event *event)
{
    pthread_mutex_lock(&lock);
    struct cu_capture *p = capture_of(event->capture);
    if (p)
        p->invalid = true;
    pthread_mutex_unlock(&lock);
    return CUDA_ERROR_CAPTURED_EVENT;
}

/* Locked. */
static int join(const struct cu_where *w, struct cu_event *event)
{
    struct cu_capture *theirs = event->capture ? capture_of(event->capture) : NULL;
    struct cu_capture *ours = w->capture;
    struct cu_stream *s = w->stream;

    if (!event->recorded)
        return 0; /* nothing to wait for */
    if (!event->capture) {
        ours->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (!theirs || !s) { /* of one that has ended; or the default stream would join */
        if (theirs)
            theirs->invalid = true;
        if (ours)
            ours->invalid = true;
        return theirs ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_ERROR_CAPTURED_EVENT;
    }
    if (theirs->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (ours && ours != theirs) {
        ours->invalid = true;
        theirs->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (!ours) {
        s->capture = theirs;
        s->next_capture = theirs->streams;
        theirs->streams = s;
        s->tails.n = 0;
    }
    for (size_t i = 0; i < event->tails.n; i++) {
        if (!cu_tails_add(&s->tails, event->tails.nodes[i]))
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return 0;
}

int cu_capture_join(const struct cu_where *w, struct cu_event *event)
{
    pthread_mutex_lock(&lock);
    int rc = join(w, event);
    pthread_mutex_unlock(&lock);
    return rc;
}

/* --- beginning -------------------------------------------------------------------------------- */

/* A capture in S, into a graph of its own or G, from NEEDS on. */
static int begin(struct cu_stream *s, struct cu_graph *g, const CUgraphNode *needs, size_t n,
                 int mode)
{
    struct cu_capture *p = calloc(1, sizeof(*p));
    struct cu_graph *made = g || !p ? g : cu_graph_new();
    int rc = made && p ? 0 : CUDA_ERROR_OUT_OF_MEMORY;

    s->tails.n = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        if (!cu_is(needs[i], KIND_GRAPH_NODE) || needs[i]->graph != g)
            rc = CUDA_ERROR_INVALID_VALUE;
        else if (!cu_tails_add(&s->tails, needs[i]))
            rc = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (rc) {
        if (made && !g)
            cu_graph_free(made);
        free(p);
        return rc;
    }
    *p = (struct cu_capture){.id = cu_new_id(),
                             .graph = made,
                             .origin = s,
                             .streams = s,
                             .mode = mode,
                             .thread = pthread_self(),
                             .given = g != NULL};
    s->next_capture = NULL;
    pthread_mutex_lock(&lock);
    p->next = captures;
    captures = p;
    s->capture = p;
    __atomic_add_fetch(&cu_captures, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return 0;
}

static int begin_checked(CUstream s, struct cu_graph *g, const CUgraphNode *needs, size_t n,
                         int mode)
{
    if ((uintptr_t)s <= 2)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!cu_is(s, KIND_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    if (mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    return s->capture ? CUDA_ERROR_ILLEGAL_STATE : begin(s, g, needs, n, mode);
}

CU_API CUresult cuStreamBeginCapture_v2(CUstream s, int mode)
{
    return begin_checked(s, NULL, NULL, 0, mode);
}

/* As it was in CUDA 10.0. */
CU_API CUresult cuStreamBeginCapture(CUstream s)
{
    return begin_checked(s, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CU_API CUresult cuStreamBeginCaptureToGraph(CUstream s, CUgraph g, const CUgraphNode *needs,
                                            const CUgraphEdgeData *data, size_t n, int mode)
{
    if (!cu_is(g, KIND_GRAPH) || (n && !needs))
        return CUDA_ERROR_INVALID_VALUE;
    return data ? CUDA_ERROR_NOT_SUPPORTED : begin_checked(s, g, needs, n, mode);
}

CU_API CUresult cuThreadExchangeStreamCaptureMode(int *mode)
{
    if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    int old = thread_mode;
    thread_mode = *mode;
    *mode = old;
    return 0;
}

/* --- ending ----------------------------------------------------------------------------------- */

/* Marks all that T comes after, and itself; LEFT has room for all nodes. */
static void mark_needs(const struct cu_tails *t, struct cu_graph_node **left)
{
    size_t n = 0;

    for (;;) {
        for (size_t i = 0; i < t->n; i++) {
            if (!t->nodes[i]->mark)
                left[n++] = t->nodes[i];
            t->nodes[i]->mark = 1;
        }
        if (!n)
            return;
        t = &left[--n]->needs;
    }
}

/* Whether all that was captured is before the end of the stream that it began in. Locked. */
static int joined(const struct cu_capture *p)
{
    struct cu_graph_node **left = calloc(p->graph->n + 1, sizeof(*left));

    if (!left)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (struct cu_graph_node *node = p->graph->first; node; node = node->next)
        node->mark = 0;
    mark_needs(&p->origin->tails, left);
    free(left);
    for (const struct cu_stream *s = p->streams; s; s = s->next_capture) {
        for (size_t i = 0; i < s->tails.n; i++) {
            if (!s->tails.nodes[i]->mark)
                return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
        }
    }
    return 0;
}

CU_API CUresult cuStreamEndCapture(CUstream s, CUgraph *out)
{
    if (!out || ((uintptr_t)s > 2 && !cu_is(s, KIND_STREAM)))
        return out ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *out = NULL;
    if ((uintptr_t)s <= 2 || !s->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    pthread_mutex_lock(&lock);
    struct cu_capture *p = s->capture;
    int rc = p->origin != s ? CUDA_ERROR_STREAM_CAPTURE_UNMATCHED : 0;
    if (!rc && p->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
        !pthread_equal(p->thread, pthread_self()))
        rc = CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    if (rc) {
        p->invalid = true;
        pthread_mutex_unlock(&lock);
        return rc;
    }
    rc = p->invalid || gone(p) ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : joined(p);
    forget(p);
    pthread_mutex_unlock(&lock);
    if (!rc)
        *out = p->graph;
    drop(p, rc);
    return rc;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* What is known of S's capture. Locked. */
static int status_of(CUstream s, int *status)
{
    struct cu_where w;
    int rc = cu_where_plain(s, &w);

    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    if (rc)
        return rc;
    if (!w.stream) {
        pthread_mutex_lock(&lock);
        for (const struct cu_capture *p = captures; p && !rc; p = p->next) {
            for (const struct cu_stream *o = p->streams; o; o = o->next_capture) {
                if (o->context == w.context && !(o->flags & NON_BLOCKING))
                    rc = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            }
        }
        pthread_mutex_unlock(&lock);
        return rc;
    }
    if (w.capture)
        *status = w.capture->invalid || gone(w.capture) ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                                        : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return 0;
}

CU_API CUresult cuStreamIsCapturing(CUstream s, int *status)
{
    return status ? status_of(s, status) : CUDA_ERROR_INVALID_VALUE;
}

CU_API CUresult cuStreamGetCaptureInfo_v2(CUstream s, int *status, uint64_t *id, CUgraph *g,
                                          const CUgraphNode **needs, size_t *n)
{
    int rc = status ? status_of(s, status) : CUDA_ERROR_INVALID_VALUE;

    if (rc || *status != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return rc;
    if (id)
        *id = s->capture->id;
    if (g)
        *g = s->capture->graph;
    if (needs)
        *needs = s->tails.nodes;
    if (n)
        *n = s->tails.n;
    return 0;
}

CU_API CUresult cuStreamGetCaptureInfo(CUstream s, int *status, uint64_t *id)
{
    return cuStreamGetCaptureInfo_v2(s, status, id, NULL, NULL, NULL);
}

CU_API CUresult cuStreamGetCaptureInfo_v3(CUstream s, int *status, uint64_t *id, CUgraph *g,
                                          const CUgraphNode **needs, const CUgraphEdgeData **data,
                                          size_t *n)
{
    if (data)
        *data = NULL; /* all edges are plain ones */
    return cuStreamGetCaptureInfo_v2(s, status, id, g, needs, n);
}

CU_API CUresult cuStreamUpdateCaptureDependencies(CUstream s, CUgraphNode *needs, size_t n,
                                                  unsigned flags)
{
    enum { ADD, SET };
    struct cu_where w;
    int rc = cu_where(s, &w);

    if (rc || !w.capture || flags > SET || (n && !needs))
        return rc ? rc : w.capture ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_ILLEGAL_STATE;
    for (size_t i = 0; i < n; i++) {
        if (!cu_is(needs[i], KIND_GRAPH_NODE) || needs[i]->graph != w.capture->graph)
            return CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_lock(&lock);
    if (flags == SET)
        s->tails.n = 0;
    for (size_t i = 0; i < n && !rc; i++)
        rc = cu_tails_add(&s->tails, needs[i]) ? 0 : CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_unlock(&lock);
    return rc;
}

CU_API CUresult cuStreamUpdateCaptureDependencies_v2(CUstream s, CUgraphNode *needs,
                                                     const CUgraphEdgeData *data, size_t n,
                                                     unsigned flags)
{
    return data ? CUDA_ERROR_NOT_SUPPORTED : cuStreamUpdateCaptureDependencies(s, needs, n, flags);
}
