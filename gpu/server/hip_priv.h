/* gpu/server/hip_priv: what the files of the HIP driver share: the library's functions, and
 * contexts, which HIP itself does not have. See hip_driver.h. */
#ifndef GPU_SERVER_HIP_PRIV_H
#define GPU_SERVER_HIP_PRIV_H

#include "gpu/code/hip_properties.h"
#include "gpu/server/backend.h"
#include "gpu/server/hip_driver.h"

struct hip_library {
    struct cuda_driver table;
#define SAME(name, symbol)
#define CALL(name, symbol, args) int(*name) args;
#include "gpu/server/hip_calls.inc"
#undef SAME
#undef CALL
};
/* Of the process, as HIP is. Set before the first context is made. */
extern struct hip_library hip__library;

/*
 * What one program has. A context belongs to one thread, which it is current of while it is used;
 * other threads look at what runs in it, under the lock of all contexts (hip_context.c).
 */
struct cuda_context {
    int device;
    GHashTable *memory; /* addresses of the device */
    GHashTable *pinned; /* memory of the host: pointers, with whether they were only registered */
    GHashTable *streams, *events, *modules;
    struct cuda_event *last; /* in the default stream, behind what this context asked of it */
    bool asked;              /* something since that was recorded */
    bool recorded;           /* and has not come yet, as far as is known */
};

extern __thread struct cuda_context *hip__current;

/* Sets the functions of TABLE that are about contexts, and what they have and do in streams. */
void hip__context_calls(struct cuda_driver *table);
/* Notes what a call with result RC asked of stream S, in the current context. RC. */
int hip__asked(struct cuda_stream *s, int rc);
/* Unloads a module; for the list of the context's. */
void hip__module_drop(void *module);

#endif
