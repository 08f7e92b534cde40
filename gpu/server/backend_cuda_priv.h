/*
 * gpu/server/backend_cuda_priv: what the files of the CUDA backend share.
 *
 * A context belongs to its session's thread. Functions of the host run on a thread of the driver's,
 * and touch only what is under the context's lock.
 */
#ifndef GPU_SERVER_BACKEND_CUDA_PRIV_H
#define GPU_SERVER_BACKEND_CUDA_PRIV_H

#include "gpu/server/backend_cuda.h"
#include "gpu/server/cuda_driver.h"
#include "gpu/server/move.h"

#include <pthread.h>

struct cuda_backend {
    struct gpu_backend base;
    const struct cuda_driver *driver;
    int ordinal, device;
    /* Bytes that were, or are being, freed in all contexts, and those that are no more: atomic. */
    uint64_t releases_begun, releases_ended;
    /* Held for reading while a module's memory is measured, for writing while a context ends: what
     * that gives back of the device is not known. */
    pthread_rwlock_t measuring;
};

/* An allocation, or a variable of a module. */
struct cuda_range {
    uint64_t base, bytes;
    const struct gpu_module *module; /* NULL: an allocation, which can be freed */
    uint64_t charged;                /* of the quota */
    bool placed;                     /* in pieces of memory: see backend_cuda_place.c */
};

/* Memory at an address that the driver did not choose. */
struct cuda_piece {
    uint64_t base, bytes;
    unsigned long long handle;
    unsigned ranges; /* that are in it, or partly */
};

/* Launches that follow each other in a stream, between two events. */
struct cuda_run {
    const struct gpu_stream *stream; /* compared, never looked into */
    struct cuda_event *start, *end;
    unsigned launches;
};

/* A function of the host that a stream will call. */
struct cuda_host_call {
    struct gpu_context *context;
    struct gpu_stream *stream; /* NULL: it was freed */
    void (*fn)(void *opaque);
    void *opaque;
    struct cuda_host_call *next;
    bool over;
};

/* By CUlimit: those whose memory is known. */
enum { CUDA_LIMIT_STACK, CUDA_LIMIT_PRINTED, CUDA_LIMIT_HEAP, CUDA_LIMITS };

/* Pinned memory in blocks, for copies whose bytes are in a record. */
enum { CUDA_BLOCK = 32768, CUDA_SLAB = 1 << 20 };

struct gpu_context {
    struct cuda_backend *backend;
    const struct cuda_driver *d;
    struct cuda_context *handle; /* NULL: its end has come, and with it that of all that is in it */
    struct gpu_quota *quota;
    int error; /* that sticks; 0 */
    struct gpu_stream *first;
    GPtrArray *streams; /* struct gpu_stream, owned, FIRST as well */
    GPtrArray *leaving; /* struct gpu_event: ends of streams that were freed with work in them */
    GPtrArray *spare;   /* struct cuda_event without timing */
    GArray *runs;       /* of launches that are metered */
    uint64_t looked_ns; /* which of them are over */
    struct gpu_context *next;  /* of the program's */
    struct cuda_range *ranges; /* by base */
    size_t n_ranges;
    GPtrArray *slabs;             /* of pinned memory, owned */
    GPtrArray *blocks;            /* free ones of them */
    GArray *late;                 /* struct cuda_range: freed once nothing runs */
    uint64_t late_bytes;          /* of the quota */
    GArray *pieces;               /* struct cuda_piece, by base */
    GArray *absent;               /* struct gpu_place, of modules that moved here: not in memory */
    struct gpu_event *arrived;    /* when the rest moved here; NULL: nothing did */
    uint64_t arrived_ns;          /* the same, of the host's clock */
    GByteArray *printed;          /* before it moved here, and not taken yet */
    uint64_t limits[CUDA_LIMITS]; /* of the quota: what limits take that were raised */
    void *window;                 /* registered; NULL */
    uint64_t nowhere;             /* bytes that were given away of no memory: see move */
    struct gpu_event *epoch;      /* when times were told last; NULL: never */
    uint64_t epoch_ns;            /* the same, of the host's clock */
    /* Functions of the host: */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct cuda_host_call *calls;
    unsigned inside; /* that run now */
    bool dying;
};

struct gpu_module {
    struct gpu_context *context;
    struct cuda_module *handle;
    GPtrArray *kernels; /* struct gpu_kernel, owned */
    /* Of what was saved, as the software device sees it; NULL: it never was. Owned: */
    GArray *places;    /* struct gpu_place: what it has, */
    GArray *functions; /* uint64_t: where that begins with addresses of functions */
    GHashTable *uses;  /* of kernels by name: bits of soft_function_uses() */
    /* Of one that moved here: */
    GHashTable *variables; /* struct cuda_variable by name, owned; NULL: it did not */
    bool asked;            /* where one is that has addresses of functions */
    uint64_t charged;
    bool beside; /* the quota */
};

/* A variable that is not where the driver would have it; or one that is, since addresses of
 * functions are in it. */
struct cuda_variable {
    struct gpu_place place;
    bool functions;
};

/* Where variables are said to be that the driver has not: above all that a process has on x86-64,
 * where CUDA's memory has addresses like its own. */
#define CUDA_NOWHERE (UINT64_C(1) << 47)

struct gpu_kernel {
    struct gpu_context *context;
    struct cuda_function *handle;
    char *name;    /* owned */
    bool launched; /* ever */
    unsigned n_params;
    uint32_t offsets[];
};

struct gpu_stream {
    struct gpu_context *context;
    struct cuda_stream *handle; /* NULL: the default one */
    unsigned waiting;           /* functions of the host that are not over: under the lock */
    unsigned behind;            /* operations that were submitted since there were any */
};

struct gpu_event {
    struct gpu_context *context;
    struct cuda_event *handle;
    unsigned flags;
    bool recorded;     /* ever */
    uint64_t moved_ns; /* when, before it moved here, of the host's clock; 0 */
};

enum { CUDA_EVENT_NO_TIMING = 2 };

extern const struct gpu_backend_ops cuda__ops;
extern const struct gpu_move_ops cuda__move;
/* A backend of the driver D's device WHICH in B; false as cuda_driver_find(). */
bool cuda__backend_init(struct cuda_backend *b, const struct gpu_backend_ops *ops,
                        const struct cuda_driver *d, const char *which, GError **err);
int cuda__device(struct gpu_backend *base, unsigned device, struct gpu_device_info *out);

/* Makes CONTEXT the thread's: 0, or the error that sticks to it. */
int cuda__enter(struct gpu_context *c);
/* RC, of a call of the driver's, remembered where it is an error that sticks. */
int cuda__result(struct gpu_context *c, int rc);

/* Memory: backend_cuda_memory.c. */
int cuda__alloc(struct gpu_context *c, uint64_t bytes, uint64_t *address);
int cuda__free(struct gpu_context *c, uint64_t address);
int cuda__free_on(struct gpu_stream *s, uint64_t address);
int cuda__range(struct gpu_context *c, uint64_t address, uint64_t *base, uint64_t *bytes);
/* The range that begins at ADDRESS, or NULL. */
struct cuda_range *cuda__range_at(struct gpu_context *c, uint64_t address);
/* No range is, or is partly, in BYTES from BASE on. */
bool cuda__range_vacant(const struct gpu_context *c, uint64_t base, uint64_t bytes);
void cuda__range_add(struct gpu_context *c, const struct cuda_range *r);
/* Forgets what is of MODULE. */
void cuda__ranges_drop(struct gpu_context *c, const struct gpu_module *module);
int cuda__memory(struct gpu_context *c, uint64_t *free, uint64_t *total);
void *cuda__buffer_new(struct gpu_context *c, size_t bytes);
void cuda__buffer_free(struct gpu_context *c, void *buffer);
void cuda__window(struct gpu_context *c, void *at, uint64_t bytes);
/* Around what frees BYTES. */
static inline void cuda__release_begins(struct cuda_backend *b, uint64_t bytes)
{
    __atomic_fetch_add(&b->releases_begun, bytes, __ATOMIC_SEQ_CST);
}

static inline void cuda__release_ends(struct cuda_backend *b, uint64_t bytes)
{
    __atomic_fetch_add(&b->releases_ended, bytes, __ATOMIC_SEQ_CST);
}

/* Frees what had to wait: nothing runs. */
void cuda__free_late(struct gpu_context *c);
/* Pinned memory and the window, while there is a context of the driver's. */
void cuda__host_memory_end(struct gpu_context *c);
/* What is kept of all that, when there is none any more. */
void cuda__memory_end(struct gpu_context *c);

/* As struct gpu_move_ops has it. */
bool cuda__takes(struct gpu_backend *base, GError **err);
/* Memory at just PLACE, which is added to the ranges, as MODULE's. GPU_NOT_SUPPORTED: the driver
 * cannot; GPU_INVALID_VALUE: there is something else. */
int cuda__place(struct gpu_context *c, const struct gpu_place *place,
                const struct gpu_module *module);
/* What R had, which is no range any more; 0, or what the driver says. */
int cuda__unplace(struct gpu_context *c, const struct cuda_range *r);
int cuda__alloc_at(struct gpu_context *c, uint64_t address, uint64_t bytes);
/* All of them: nothing runs any more. */
void cuda__places_end(struct gpu_context *c);

/* What is loaded: backend_cuda_load.c. */
int cuda__move_alloc(struct gpu_context *c, const struct gpu_place *place);
int cuda__move_write(struct gpu_context *c, uint64_t address, const void *data, uint64_t bytes);
int cuda__move_module_new(struct gpu_context *c, const uint8_t *image, size_t length,
                          const struct gpu_module_state *state, struct gpu_module **out,
                          GError **why);
void cuda__move_event_set(struct gpu_event *e, uint64_t ns);
void cuda__move_print_back(struct gpu_context *c, const char *text, size_t length);
void cuda__move_fail(struct gpu_context *c, int rc);
uint32_t cuda__printed(struct gpu_context *c, char *to, uint32_t most);
/* When E was recorded, which was before it moved here or is over. */
int cuda__event_since(struct gpu_event *e, uint64_t *ns);
int cuda__move_loaded(struct gpu_context *c);
/* Keeps what kernels of M may do, which SOFT has loaded. */
struct soft_module;
void cuda__note_uses(struct gpu_module *m, struct soft_module *soft);

int cuda__limit(struct gpu_context *c, unsigned limit, bool set, uint64_t *value);

/* Modules: backend_cuda_module.c. */
int cuda__module_new(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                     size_t log_bytes, struct gpu_module **out);
/* The same of one that was elsewhere: what it takes is beside the quota. */
int cuda__module_moved(struct gpu_context *c, const uint8_t *image, size_t length, char *log,
                       size_t log_bytes, struct gpu_module **out);
void cuda__module_free(struct gpu_context *c, struct gpu_module *m);
/* Where the variable NAME of M is. */
int cuda__variable(struct gpu_module *m, const char *name, uint64_t *address, uint64_t *bytes);
int cuda__kernel(struct gpu_context *c, struct gpu_module *m, const char *name,
                 struct gpu_kernel **out, struct gpu_kernel_info *info);
int cuda__kernel_set(struct gpu_kernel *k, unsigned attribute, unsigned value);
int cuda__occupancy(struct gpu_context *c, struct gpu_kernel *k, unsigned block, uint64_t shared,
                    unsigned *blocks);
int cuda__global(struct gpu_context *c, struct gpu_module *m, const char *name, uint64_t *address,
                 uint64_t *bytes);

/* What launches take: backend_cuda_meter.c. */
/* Calls LAUNCH(OPAQUE), which makes one in S, and meters it. */
int cuda__meter_launch(struct gpu_stream *s, int (*launch)(void *opaque), void *opaque);
bool cuda__meter_look(struct gpu_quota *program);
void cuda__meter_begin(struct gpu_context *c);
/* The context has ended, and with it what was in flight. */
void cuda__meter_end(struct gpu_context *c);

/* Streams and what runs in them: backend_cuda_stream.c. */
int cuda__context_query(struct gpu_context *c);
struct gpu_stream *cuda__stream_object(struct gpu_context *c, struct cuda_stream *handle);
int cuda__stream_new(struct gpu_context *c, unsigned flags, int priority, struct gpu_stream **out);
void cuda__stream_free(struct gpu_stream *s);
struct gpu_stream *cuda__stream_default(struct gpu_context *c);
int cuda__stream_query(struct gpu_stream *s);
int cuda__stream_wait(struct gpu_stream *s, struct gpu_event *e);
int cuda__event_new(struct gpu_context *c, unsigned flags, struct gpu_event **out);
void cuda__event_free(struct gpu_event *e);
int cuda__event_record(struct gpu_event *e, struct gpu_stream *s);
int cuda__event_query(struct gpu_event *e);
int cuda__event_elapsed(struct gpu_event *start, struct gpu_event *end, uint64_t *ns);
int cuda__copy(struct gpu_stream *s, const struct gpu_copy *copy);
int cuda__fill(struct gpu_stream *s, const struct gpu_fill *fill);
int cuda__value_write(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes);
int cuda__value_wait(struct gpu_stream *s, uint64_t address, uint64_t value, unsigned bytes,
                     unsigned compare);
int cuda__launch(struct gpu_stream *s, struct gpu_kernel *k, const struct gpu_launch *launch);
int cuda__host(struct gpu_stream *s, void (*fn)(void *opaque), void *opaque);
/* Waits until nothing runs; false: the driver cannot, or there is an error. */
bool cuda__settle(struct gpu_context *c);
/* No function of the host runs any more, and none will. */
void cuda__host_end(struct gpu_context *c);

#endif
