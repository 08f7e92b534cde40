/*
 * gpu/server/backend: what runs the calls of a session: a driver of the host, or the CPU.
 *
 * A backend has devices; a context on one owns memory, modules, streams and events, and dies as a
 * whole. Results are numbers of CUDA's CUresult, 0 for success. A call on a context is made by the
 * thread of the session that made it, one at a time; what a stream does runs on the backend's own
 * threads, in order. An error of what runs in a stream sticks to its context: from then on each
 * call on it gives that error, but for what frees.
 */
#ifndef GPU_SERVER_BACKEND_H
#define GPU_SERVER_BACKEND_H

#include "base/base.h"
#include "gpu/server/meter.h"

/* Of CUDA's CUresult, those that this program makes itself. */
enum gpu_result {
    GPU_SUCCESS = 0,
    GPU_INVALID_VALUE = 1,
    GPU_OUT_OF_MEMORY = 2,
    GPU_NOT_INITIALIZED = 3,
    GPU_NO_DEVICE = 100,
    GPU_INVALID_DEVICE = 101,
    GPU_INVALID_IMAGE = 200,
    GPU_INVALID_CONTEXT = 201,
    GPU_NO_BINARY = 209,
    GPU_UNSUPPORTED_LIMIT = 215,
    GPU_INVALID_PTX = 218,
    GPU_INVALID_HANDLE = 400,
    GPU_NOT_FOUND = 500,
    GPU_NOT_READY = 600,
    GPU_ILLEGAL_ADDRESS = 700,
    GPU_OUT_OF_RESOURCES = 701,
    GPU_LAUNCH_TIMEOUT = 702,
    GPU_CONTEXT_DESTROYED = 709,
    GPU_LAUNCH_FAILED = 719,
    GPU_NOT_SUPPORTED = 801,
    GPU_UNKNOWN = 999,
};

struct compiler;
struct gpu_backend;
struct gpu_move_ops;
struct gpu_context;
struct gpu_module;
struct gpu_kernel;
struct gpu_stream;
struct gpu_event;

struct gpu_device_info {
    char name[128];
    uint64_t memory;
    unsigned n_attributes;
    int attributes[160]; /* by CUdevice_attribute; 0 where unknown */
};

struct gpu_kernel_info {
    unsigned max_threads, static_shared, local, constant, registers, ptx_version, binary_version;
    unsigned n_params;
    struct gpu_param {
        uint32_t offset, size; /* in the parameters as they are passed */
    } params[512];
};

enum gpu_copy_kind { GPU_TO_DEVICE, GPU_FROM_DEVICE, GPU_ON_DEVICE };

/* WIDTH bytes a row. HOST has rows without gaps, and stays until the copy is over. */
struct gpu_copy {
    enum gpu_copy_kind kind;
    void *host;
    uint64_t to, to_pitch, from, from_pitch, width, height;
};

struct gpu_fill {
    uint64_t address, pitch, width, height;
    uint32_t value, unit; /* UNIT bytes of VALUE, again and again: 1, 2 or 4; WIDTH is in bytes */
};

struct gpu_launch {
    uint32_t grid[3], block[3], shared;
    bool cooperative;
    const uint8_t *params;
    uint32_t params_bytes;
    /* Takes what kernels print; one thread at a time; the backend's own. */
    void (*print)(void *opaque, const char *text, size_t length);
    void *opaque;
};

/* What all contexts of a worker hold together: of device memory at most so many bytes; streams, of
 * which each context has one of its own; and how many they are. And, with OF, what those of one
 * program hold of that, which may be gone when the last of its streams is. Any thread. */
struct gpu_quota {
    uint64_t most, used;           /* USED is changed atomically */
    int64_t beside;                /* atomic; see gpu_quota_beside() */
    unsigned streams;              /* atomic */
    unsigned programs;             /* atomic; those that come by streams of bytes */
    unsigned contexts;             /* atomic; counted in all of them alone */
    struct gpu_quota *of;          /* whose bounds count; NULL: this one's own */
    struct meter_program *program; /* of one with OF; NULL: it is not metered */
    struct gpu_context *metered;   /* the backend's own list, of the session's thread */
};

static inline struct gpu_quota *gpu_quota_all(struct gpu_quota *q)
{
    return q->of ? q->of : q;
}

bool gpu_quota_take(struct gpu_quota *q, uint64_t bytes);
void gpu_quota_give(struct gpu_quota *q, uint64_t bytes);
/*
 * What programs came with from another device takes BYTES more of this one than it counts, or
 * (negative) no more. A part of that is free, so that programs see no difference; the rest is not
 * theirs to take any more. False: there is not so much.
 */
bool gpu_quota_beside(struct gpu_quota *q, int64_t bytes);
/* The same of what is so already. */
void gpu_quota_beside_force(struct gpu_quota *q, int64_t bytes);
/* What all may take: the limit without what is not free of that. */
uint64_t gpu_quota_most(const struct gpu_quota *q);

struct gpu_backend_ops {
    const char *name;
    /* What is over shows when it is asked for: nobody wakes the session, which asks again and
     * again while it waits. */
    bool polled;
    void (*close)(struct gpu_backend *b);
    unsigned (*devices)(struct gpu_backend *b);
    int (*driver_version)(struct gpu_backend *b);
    int (*device)(struct gpu_backend *b, unsigned device, struct gpu_device_info *out);
    /* Of one that runs code for AMD's GPUs: what the device's is to be compiled for, or NULL where
     * there is no such device. */
    const char *(*target)(struct gpu_backend *b, unsigned device);
    /* Of one with a target: who compiles for it. NULL: nobody. */
    struct compiler *(*compiler)(struct gpu_backend *b);

    /* QUOTA outlives the context. WAKE(OPAQUE) is called on any thread when something in a stream
     * is over. */
    int (*context_new)(struct gpu_backend *b, unsigned device, struct gpu_quota *quota,
                       void (*wake)(void *opaque), void *opaque, struct gpu_context **out);
    void (*context_end)(struct gpu_context *c);  /* what runs in it ends; nothing else will */
    void (*context_free)(struct gpu_context *c); /* ended, without modules and events */
    int (*context_query)(struct gpu_context *c); /* GPU_NOT_READY: streams have work */
    /* Counts launches of PROGRAM that are over: whether others are in flight. NULL: launches wait
     * in their streams until the meter lets them begin, and count by themselves. */
    bool (*meter_look)(struct gpu_quota *program);
    /* BYTES at AT, which are copied from and to and stay as long as the context. NULL: no matter.
     */
    void (*window)(struct gpu_context *c, void *at, uint64_t bytes);
    /* Memory of the host for a copy: until it is freed, before the context is. Both NULL: any
     * will do. */
    void *(*buffer_new)(struct gpu_context *c, size_t bytes);
    void (*buffer_free)(struct gpu_context *c, void *buffer);
    int (*memory)(struct gpu_context *c, uint64_t *free, uint64_t *total);
    /* Sets a CUlimit, or tells it: *VALUE is what it is then. */
    int (*limit)(struct gpu_context *c, unsigned limit, bool set, uint64_t *value);
    /* Takes at most MOST bytes of what kernels printed to TO; NULL: how many wait. */
    uint32_t (*printed)(struct gpu_context *c, char *to, uint32_t most);
    /* GPU_NOT_READY: there will be some when all that runs in C is over. */
    int (*alloc)(struct gpu_context *c, uint64_t bytes, uint64_t *address);
    /* At just ADDRESS: of memory that the program has at the same. GPU_NOT_SUPPORTED: no such. */
    int (*alloc_at)(struct gpu_context *c, uint64_t address, uint64_t bytes);
    /* Does not wait for what runs. */
    int (*free)(struct gpu_context *c, uint64_t address);
    int (*free_on)(struct gpu_stream *s, uint64_t address);
    int (*range)(struct gpu_context *c, uint64_t address, uint64_t *base, uint64_t *bytes);

    /* LOG, of LOG_BYTES, gets words for people, also where it works. IMAGE ends with a 0 behind
     * LENGTH. */
    int (*module_new)(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                      size_t log_bytes, struct gpu_module **out);
    void (*module_free)(struct gpu_context *c, struct gpu_module *m); /* nothing of it runs */
    /* Belongs to its module. */
    int (*kernel)(struct gpu_context *c, struct gpu_module *m, const char *name,
                  struct gpu_kernel **out, struct gpu_kernel_info *info);
    int (*kernel_set)(struct gpu_kernel *k, unsigned attribute, unsigned value);
    int (*occupancy)(struct gpu_context *c, struct gpu_kernel *k, unsigned block, uint64_t shared,
                     unsigned *blocks);
    int (*global)(struct gpu_context *c, struct gpu_module *m, const char *name, uint64_t *address,
                  uint64_t *bytes);

    int (*stream_new)(struct gpu_context *c, unsigned flags, int priority, struct gpu_stream **out);
    void (*stream_free)(struct gpu_stream *s); /* what is in it goes on */
    struct gpu_stream *(*stream_default)(struct gpu_context *c);
    int (*stream_query)(struct gpu_stream *s);
    int (*stream_wait)(struct gpu_stream *s, struct gpu_event *e);
    int (*event_new)(struct gpu_context *c, unsigned flags, struct gpu_event **out);
    void (*event_free)(struct gpu_event *e);
    int (*event_record)(struct gpu_event *e, struct gpu_stream *s);
    int (*event_query)(struct gpu_event *e);
    int (*event_elapsed)(struct gpu_event *start, struct gpu_event *end, uint64_t *ns);

    int (*copy)(struct gpu_stream *s, const struct gpu_copy *copy);
    int (*fill)(struct gpu_stream *s, const struct gpu_fill *fill);
    int (*value_write)(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes);
    int (*value_wait)(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes,
                      unsigned compare);
    int (*launch)(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *launch);
    /* Calls FN(OPAQUE) in the stream's order, on any thread, also after an error; it may block. */
    int (*host)(struct gpu_stream *s, void (*fn)(void *opaque), void *opaque);
    /* NULL: what is in it cannot be moved. */
    const struct gpu_move_ops *move;
};

/* A backend is its operations; its own state lies behind. */
struct gpu_backend {
    const struct gpu_backend_ops *ops;
};

#endif
