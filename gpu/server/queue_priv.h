/*
 * gpu/server/queue_priv: what the files of the queueing backend share.
 *
 * Each stream is a queue of operations and a thread that does them in order. An operation waits for
 * what it depends on: the places ("tickets") in other streams that were last when it was queued.
 * That is how events work, and the default stream, which waits for all streams that do not say
 * otherwise and is waited for by them. One lock a context; operations run without it.
 *
 * A launch begins when the meter lets it (meter.h): its stream stands until then, and so does what
 * waits for that, as for a kernel that is slow. Others go on.
 *
 * A stream's thread ends when the stream was freed and is empty, or its context dies; the object
 * stays as long as somebody names its tickets (REFS). Events live as long as their user and the
 * operations that record them.
 */
#ifndef GPU_SERVER_QUEUE_PRIV_H
#define GPU_SERVER_QUEUE_PRIV_H

#include "gpu/server/engine.h"

#include <pthread.h>

enum op_kind {
    OP_COPY,
    OP_FILL,
    OP_LAUNCH,
    OP_EVENT,
    OP_FREE,
    OP_WRITE,
    OP_WAIT,
    OP_HOST,
    OP_JOIN
};

/* Limits that a program may set, by CUlimit: of a stack, of what is printed, of the heap. */
enum { QUEUE_LIMIT_STACK, QUEUE_LIMIT_PRINTED, QUEUE_LIMIT_HEAP, QUEUE_LIMITS };

struct dependency {
    struct gpu_stream *stream;
    uint64_t ticket;
};

struct op {
    enum op_kind kind;
    uint64_t ticket;
    struct dependency *needs;
    unsigned n_needs;
    union {
        struct gpu_copy copy;
        struct gpu_fill fill;
        struct {
            struct gpu_kernel *kernel;
            struct gpu_launch launch;
            uint64_t began_ns; /* 0: it does not run */
        };
        struct {
            struct gpu_event *event;
            uint64_t generation;
        };
        struct {
            uint64_t address, value;
            unsigned bytes, compare;
        };
        struct {
            void (*fn)(void *opaque);
            void *opaque;
        };
    };
};

struct gpu_stream {
    struct gpu_context *context;
    unsigned flags;
    GQueue ops;
    uint64_t queued, done; /* tickets */
    unsigned refs;
    bool leaving;
    bool held; /* its next launch is, by the meter */
};

struct gpu_event {
    struct gpu_context *context;
    unsigned flags;
    struct dependency at; /* the record that counts; no stream: none yet */
    uint64_t generation;
    uint64_t ns;
    unsigned refs;
};

struct queue_backend {
    struct gpu_backend base;
    const struct gpu_engine_ops *engine;
};

struct gpu_context {
    const struct gpu_engine_ops *ops;
    struct gpu_engine *engine;
    struct gpu_quota *quota;
    uint64_t used; /* of it */
    void (*wake)(void *opaque);
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    GPtrArray *streams; /* those with a thread */
    GString *printed;   /* by kernels, and not taken yet */
    uint64_t limits[QUEUE_LIMITS];
    struct gpu_stream *first;
    int error;
    bool dying;
};

/* Gives BYTES of what C holds back to the quota. */
void queue__give_back(struct gpu_context *c, uint64_t bytes);
/* Frees the allocation that begins at ADDRESS. */
int queue__free_now(struct gpu_context *c, uint64_t address);

/* Of what is locked. */
void queue__stream_unref(struct gpu_stream *s);
void queue__event_unref(struct gpu_event *e);
/* OP runs when STREAM has done TICKET. Locked. */
void queue__needs(struct op *op, struct gpu_stream *stream, uint64_t ticket);

struct op *queue__op(enum op_kind kind);
/* Takes OP, where it is the last of its stream from here on. */
int queue__add(struct gpu_stream *s, struct op *op);
/* A stream's thread. */
void *queue__stream_main(void *stream);

/* BYTES of the quota are C's from here on; false: there are not so many. */
bool queue__take(struct gpu_context *c, uint64_t bytes);
/* Charges C for the new module M, which is *OUT's then, or freed. */
int queue__own_module(struct gpu_context *c, struct gpu_module *m, struct gpu_module **out);
extern const struct gpu_move_ops queue__move;

#endif
