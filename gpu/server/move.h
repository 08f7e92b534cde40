/*
 * gpu/server/move: what a backend does beside its calls for sessions that move to another worker,
 * where all that they have is made again at the same addresses.
 *
 * Calls come from the session's thread, while nothing runs in the context.
 */
#ifndef GPU_SERVER_MOVE_H
#define GPU_SERVER_MOVE_H

#include "gpu/server/backend.h"

/* An allocation, a variable of a module, or a block of a module's heap. */
struct gpu_place {
    uint64_t address, bytes;
};

/* Of what ran of a module: it may have memory of the module's heap, or have addresses of functions
 * in memory, which are a device's own. */
enum { GPU_USES_HEAP = 1, GPU_USES_FUNCTIONS = 2 };

/* A module as it was, but for what is in its memory. */
struct gpu_module_state {
    GArray *places; /* struct gpu_place: what it has in memory, in the order of its image */
    GArray *blocks; /* struct gpu_place: what kernels hold of its heap */
    unsigned uses;  /* bits of GPU_USES_* */
};

/* What is saved: IDLE to EVENT_TIME, and PRINT_BACK. What is loaded: the others; all NULL of a
 * backend that nothing can be moved to. */
struct gpu_move_ops {
    /* Whether B has memory at given addresses, and if not why; NULL: it has. */
    bool (*takes)(struct gpu_backend *b, GError **err);
    /* Nothing is queued in C, whatever error sticks to it. */
    bool (*idle)(struct gpu_context *c);
    /* Appends all memory of C to PLACES, of struct gpu_place, by address; that of its modules too.
     */
    void (*places)(struct gpu_context *c, GArray *places);
    /* Allocates just there. */
    int (*alloc)(struct gpu_context *c, const struct gpu_place *place);
    /* BYTES that are in one allocation. DATA NULL, of write: zeros. */
    int (*read)(struct gpu_context *c, uint64_t address, void *data, uint64_t bytes);
    int (*write)(struct gpu_context *c, uint64_t address, const void *data, uint64_t bytes);
    /* Adds what M, of IMAGE, is to STATE. False: it cannot be had elsewhere, and why. */
    bool (*module_state)(struct gpu_context *c, struct gpu_module *m, const GByteArray *image,
                         struct gpu_module_state *state, GError **err);
    /* A module as the one of which that was said. IMAGE ends with a 0 behind LENGTH. WHY may say
     * more than the result. */
    int (*module_new)(struct gpu_context *c, const uint8_t *image, size_t length,
                      const struct gpu_module_state *state, struct gpu_module **out, GError **why);
    /* When E was last recorded, in its device's nanoseconds; false: never. */
    bool (*event_time)(struct gpu_event *e, uint64_t *ns);
    void (*event_set)(struct gpu_event *e, uint64_t ns);
    /* TEXT is printed before all that was not taken yet. */
    void (*print_back)(struct gpu_context *c, const char *text, size_t length);
    /* RC sticks to C. */
    void (*fail)(struct gpu_context *c, int rc);
    /* All of C is there; NULL: that is no matter. */
    int (*loaded)(struct gpu_context *c);
};

#endif
