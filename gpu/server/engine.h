/*
 * gpu/server/engine: what runs kernels on the CPU, without streams: backend_queue.c puts those
 * around it (queue_priv.h).
 *
 * Calls come from any thread. Memory is the engine's; a kernel may read and write what was
 * allocated and nothing else. Results are numbers of enum gpu_result.
 */
#ifndef GPU_SERVER_ENGINE_H
#define GPU_SERVER_ENGINE_H

#include "gpu/server/move.h"

struct gpu_engine;

struct gpu_engine_ops {
    const char *name;
    int (*device)(struct gpu_device_info *out);
    /* One for each context, with at most MEMORY_MOST bytes. */
    struct gpu_engine *(*open)(uint64_t memory_most);
    void (*close)(struct gpu_engine *e);
    /* What runs, and what will be launched, ends soon. */
    void (*cancel)(struct gpu_engine *e);
    int (*alloc)(struct gpu_engine *e, uint64_t bytes, uint64_t *address);
    /* The same at ADDRESS, a multiple of 4096; NULL: it cannot. */
    int (*alloc_at)(struct gpu_engine *e, uint64_t address, uint64_t bytes);
    int (*free)(struct gpu_engine *e, uint64_t address);
    /* Whether an allocation begins at ADDRESS that free() takes: none is a variable's. */
    bool (*may_free)(struct gpu_engine *e, uint64_t address);
    /* The allocation that ADDRESS is in: false where it is in none. */
    bool (*range)(struct gpu_engine *e, uint64_t address, uint64_t *base, uint64_t *bytes);
    /* LENGTH bytes at ADDRESS for the CPU; NULL unless all of them are in one allocation. */
    void *(*host)(struct gpu_engine *e, uint64_t address, uint64_t length);
    int (*module_new)(struct gpu_engine *e, const uint8_t *image, size_t length, char *log,
                      size_t log_bytes, struct gpu_module **out);
    void (*module_free)(struct gpu_module *m);
    /* What it takes of memory, with its code, as long as it is there. */
    uint64_t (*module_bytes)(const struct gpu_module *m);
    int (*kernel)(struct gpu_module *m, const char *name, struct gpu_kernel **out,
                  struct gpu_kernel_info *info);
    int (*global)(struct gpu_module *m, const char *name, uint64_t *address, uint64_t *bytes);
    /* Returns when all of its blocks are done. */
    int (*launch)(struct gpu_engine *e, struct gpu_kernel *k, const struct gpu_launch *launch);
    /* As those of struct gpu_move_ops; NULL where no session of the engine's moves. */
    void (*places)(struct gpu_engine *e, GArray *places);
    int (*restore)(struct gpu_engine *e, uint64_t address, uint64_t bytes);
    void (*module_state)(struct gpu_module *m, struct gpu_module_state *state);
    int (*module_at)(struct gpu_engine *e, const uint8_t *image, size_t length,
                     const struct gpu_module_state *state, struct gpu_module **out);
};

/* A backend of one device over ENGINE. */
struct gpu_backend *backend_queue_new(const struct gpu_engine_ops *engine);

#endif
