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
    KIND_POOL
};

struct cu_object {
    uint32_t kind;
    uint64_t id;
    struct channel *channel;
};

struct cu_context {
    struct cu_object o;
    int device;
    unsigned flags, users; /* of a primary one: how often it is retained */
    bool primary;
    pthread_mutex_t lock; /* of its modules */
    struct cu_module *modules;
    struct cu_context *next; /* made before it */
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

struct cu_stream {
    struct cu_object o;
    struct cu_context *context;
    unsigned flags;
    int priority;
    struct cu_graph *capture; /* what is asked goes into this graph */
    bool invalid;             /* the capture cannot be ended in order */
};

struct cu_event {
    struct cu_object o;
    struct cu_context *context;
    unsigned flags;
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
    struct cu_context
        *contexts; /* all that ever were: whoever has an old one hears that it is none */
};

extern struct cu_state cu;

uint64_t cu_new_id(void);
/* The calling thread's context, or NULL. */
struct cu_context *cu_current(void);
/* The current context with *RESULT 0, or what is wrong with it. */
struct cu_context *cu_need(int *result);
/* Opens the channel again where it was lost. */
int cu_reopen(void);

static inline bool cu_is(const void *object, enum cu_kind kind)
{
    return object && ((const struct cu_object *)object)->kind == (uint32_t)kind;
}

/* Frees what this library keeps of a module that the host has no more. */
void cu_module_forget(struct cu_module *m);

/* What a stream argument stands for: 0 and CUDA's own numbers are the current context's default
 * stream. */
struct cu_where {
    struct cu_context *context;
    struct channel *channel;
    uint64_t id;
    struct cu_graph *capture;
};
int cu_where(CUstream stream, struct cu_where *out);

/* A call without data of its own; the answer's fields to ANSWER, which may be NULL. */
int cu_call(struct channel *c, unsigned op, const void *fields, void *answer);
/* The result of waiting for a context or stream, and of what failed before. */
int cu_settle(struct channel *c, int result);

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

#endif
