/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/cuda/cuda: what the files of libcuda.so.1 share: the process's state, its objects, and how
 * calls are made.
 *
 * Objects are made by this library and stand for handles of numbers that it makes up. Each begins
 * with its kind and the channel it belongs to; an object whose channel is lost gives
 * CUDA_ERROR_CONTEXT_IS_DESTROYED. The current context is a stack of each thread's.
 */
#ifndef GUEST_CUDA_CUDA_H
#define GUEST_CUDA_CUDA_H

#include "guest/cuda/api.h"
#include "guest/cuda/channel.h"

#include <pthread.h>

enum cu_kind {
    KIND_CONTEXT = 0x43555801,
    KIND_MODULE,
    KIND_FUNCTION,
    KIND_STREAM,
    KIND_EVENT,
    KIND_GRAPH,
    KIND_GRAPH_EXEC,
    KIND_GRAPH_NODE,
    KIND_POOL,
    KIND_LINK
};

struct cu_object {
    uint32_t kind;
    uint64_t id;
    struct channel *channel;
};

/* How much was posted to a stream: after so many calls the next ones wait for those before, since
 * no stream takes more than so many. */
struct cu_flow {
    unsigned posted;
    struct cu_fence *fence; /* what was posted before it is done when this is over */
};

enum { CU_LANES = 4 /* streams that a graph's branches run in, the launch's own with them */ };

struct cu_context {
    struct cu_object o;
    int device;
    unsigned flags, users; /* of a primary one: how often it is retained */
    bool primary;
    pthread_mutex_t lock; /* of its modules */
    struct cu_module *modules;
    struct cu_context *next;  /* made before it */
    struct cu_flow flow;      /* of the default stream */
    unsigned gates;           /* host functions that are not over */
    unsigned behind;          /* calls that were posted since there are any */
    uint64_t lanes[CU_LANES]; /* of graphs: streams of this library's own; 0: none yet */
    unsigned cache_config, shared_config;
    uint64_t side; /* the stream of copies that others wait for, or 0 */
    /* Of managed memory (managed.c): streams that may not be idle, and whether some of it was
     * attached to one stream or to the host. */
    uint64_t *busy;
    size_t n_busy;
    bool narrowed;
};

struct cu_module {
    struct cu_object o;
    struct cu_context *context;
    struct cu_function *functions; /* that were asked for */
    struct cu_module *next;
};

struct cu_param {
    uint32_t offset, size;
};

struct cu_function {
    struct cu_object o;
    struct cu_function *next;
    struct cu_module *module;
    char *name;
    struct gpu_answer_function info;
    struct cu_param *params;
    uint32_t params_bytes;
    unsigned dynamic_shared;
};

/* Nodes of a graph. */
struct cu_tails {
    struct cu_graph_node **nodes;
    size_t n;
};

struct cu_stream {
    struct cu_object o;
    struct cu_context *context;
    unsigned flags;
    int priority;
    struct cu_flow flow;
    struct cu_capture *capture;     /* what is asked goes into its graph (capture.h) */
    struct cu_stream *next_capture; /* another stream of that capture */
    struct cu_tails tails;          /* what the next node depends on */
};

struct cu_event {
    struct cu_object o;
    struct cu_context *context;
    unsigned flags;
    bool recorded;
    uint64_t capture; /* it was recorded last in this capture, when these were the tails; or 0 */
    struct cu_tails tails;
};

struct cu_device {
    char name[128];
    uint64_t memory;
    int attributes[GPU_ATTRIBUTES];
    struct cu_context *primary;
    unsigned primary_flags;
};

struct cu_state {
    pthread_mutex_t lock;
    struct channel *channel; /* that new contexts are made in */
    int devices, driver;
    struct cu_device device[GPU_DEVICES];
    bool ready;
    unsigned opened; /* how often devices were found: another time they may be others */
    struct cu_context
        *contexts; /* all that ever were: whoever has an old one hears that it is none */
};

extern struct cu_state cu;

/* Whose code devices run that this library takes for its own: GPU_PLATFORM_*. */
extern const uint32_t cu_platform;

uint64_t cu_new_id(void);
/* The device of that number, or NULL; and why there is none. */
struct cu_device *cu_device_of(CUdevice i);
int cu_no_device(void);
/* The calling thread's context, or NULL. */
struct cu_context *cu_current(void);
/* The current context with *RESULT 0, or what is wrong with it. */
struct cu_context *cu_need(int *result);
/* Opens the channel again where it was lost, and finds the devices that are there now. */
int cu_reopen(void);

static inline bool cu_is(const void *object, enum cu_kind kind)
{
    return object && ((const struct cu_object *)object)->kind == (uint32_t)kind;
}

/* Frees what this library keeps of a module that the host has no more. */
void cu_module_forget(struct cu_module *m);

/* Sends the BYTES of an image, and then asks OP, which is about it, as channel_begin() does. */
int cu_image_begin(struct channel *c, const void *image, size_t bytes, unsigned op,
                   const void *fields, channel_done done, void *opaque);

/* What a stream argument stands for: 0 and CUDA's own numbers are the current context's default
 * stream. */
struct cu_where {
    struct cu_context *context;
    struct channel *channel;
    uint64_t id;
    struct cu_stream *stream;   /* NULL: the default one */
    struct cu_capture *capture; /* what is asked is captured */
    struct cu_sink *sink;       /* what is posted goes into this batch */
};
/* Fails, as CUDA does, where the default stream would wait for one that is captured, or the capture
 * is invalid. */
int cu_where(CUstream stream, struct cu_where *out);
/* The same, whatever is captured. */
int cu_where_plain(CUstream stream, struct cu_where *out);

/* Asks OP of the stream W without waiting for it: posts it, or puts it into a batch. */
int cu_post(const struct cu_where *w, unsigned op, const void *fields, const void *payload,
            uint32_t bytes);
/* Asks OP of the default stream W, waits for whether it can be done, and, where there is managed
 * memory, until it is. */
int cu_ask(const struct cu_where *w, unsigned op, const void *fields);
/* CALLS are to be posted to W's stream: waits where too much stands behind host functions. */
void cu_posting(const struct cu_where *w, unsigned calls);
/* CALLS were posted to W's stream: waits where there is too much that is not done. */
void cu_posted(const struct cu_where *w, unsigned calls);
void cu_flow_end(struct cu_flow *flow);

/* Runs FN(DATA), or CALLBACK, in W's stream on a thread of the program, and the stream stands
 * meanwhile. FN is not called where the stream failed before; CALLBACK and OURS, which is this
 * library's and may use managed memory, hear of that. */
struct cu_host_work {
    CUhostFn fn;
    CUstreamCallback callback;
    void (*ours)(void *data, int result);
    CUstream stream; /* the callback's */
    void *data;
};
int cu_host_call(const struct cu_where *w, const struct cu_host_work *work);
/* How many host functions and copies to the host are on their way: what may still change the
 * memory of the host. */
unsigned cu_writers(void);
void cu_writer(int add);

/* Writes out what kernels printed, where an answer said that there is something; or what those of C
 * did. */
void cu_prints(struct channel *c);
void cu_prints_of(const struct cu_context *c);

/* A call without data of its own; the answer's fields to ANSWER, which may be NULL. */
int cu_call(struct channel *c, unsigned op, const void *fields, void *answer);
/* The result of waiting for a context or stream, and of what failed before; what kernels printed
 * until then is written out. And the same of asking without waiting. */
int cu_settle(struct cu_context *c, int result);
int cu_settle_query(struct cu_context *c, int result);

/* Whether BYTES at HOST were allocated, or registered, for asynchronous copies. */
bool cu_pinned(const void *host, size_t bytes);

/* Copies of rows; WAIT: until they are over. PITCH of the host's memory, which for the device is in
 * the call. */
int cu_to_device(const struct cu_where *w, CUdeviceptr to, size_t to_pitch, const void *from,
                 size_t from_pitch, size_t width, size_t height, bool wait);
int cu_from_device(const struct cu_where *w, void *to, size_t to_pitch, CUdeviceptr from,
                   size_t from_pitch, size_t width, size_t height, bool wait);
int cu_on_device(const struct cu_where *w, CUdeviceptr to, size_t to_pitch, CUdeviceptr from,
                 size_t from_pitch, size_t width, size_t height);

/* One copy as it is asked for; WAIT: until it is over. */
int cu_copy(const CUDA_MEMCPY3D *c, const struct cu_where *w, bool wait);
/* The same in the order of W's stream, at both ends, without waiting. */
int cu_copy_ordered(const CUDA_MEMCPY3D *c, const struct cu_where *w);
/* The stream of C's for copies that others wait for. */
int cu_side_stream(struct cu_context *c, uint64_t *id);
/* What is wrong with the copy C, or 0. */
int cu_copy_check(const CUDA_MEMCPY3D *c);

/* Puts the parameters of F together as it has them, into TO, and checks the launch L, whose stream
 * it leaves alone. */
int cu_launch_pack(const struct cu_function *f, struct gpu_call_launch *l, void **params,
                   void **extra, char to[GPU_PARAMS]);

#endif
