/* gpu/server/session: one program's calls, from its link to a backend. */
#ifndef GPU_SERVER_SESSION_H
#define GPU_SERVER_SESSION_H

#include "gpu/server/backend.h"
#include "gpu/server/link.h"
#include "gpu/server/watch.h"

/* What all sessions of a worker share. */
struct session_env {
    struct gpu_backend *backend;
    struct gpu_quota *quota;
    struct watch *watch; /* of their calls of the backend; NULL: nobody watches */
    struct meter *meter; /* NULL: nothing is metered */
};

/* Serves programs that open LINK, one after the other, until there will be none any more. Blocks;
 * any thread, which is the link's from here on. */
void session_run(const struct session_env *env, struct link *link);

#endif
