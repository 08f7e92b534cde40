/* gpu/server/session: one program's calls, from its link to a backend. */
#ifndef GPU_SERVER_SESSION_H
#define GPU_SERVER_SESSION_H

#include "gpu/server/backend.h"
#include "gpu/server/hold.h"
#include "gpu/server/image.h"
#include "gpu/server/link.h"
#include "gpu/server/watch.h"

/* What all sessions of a worker share. */
struct session_env {
    struct gpu_backend *backend;
    struct gpu_quota *quota;
    struct watch *watch; /* of their calls of the backend; NULL: nobody watches */
    struct meter *meter; /* NULL: nothing is metered */
    int answers_ms;      /* how long programs may leave their answers lying; 0: for ever */
};

/* Serves programs that open LINK, one after the other, until there will be none any more. Blocks;
 * any thread, which is the link's from here on. */
void session_run(const struct session_env *env, struct link *link);

struct session;

/* Where sessions are that can be held: one of the worker's channels. */
struct session_seat {
    const struct session_env *env;
    struct link *link;
    struct hold *hold;
    unsigned number;
    struct session *session; /* the seat's thread's; NULL: no program has the channel open */
};

/* The same, at a seat, which stays. */
void session_serve(struct session_seat *seat);

/*
 * Jobs of a hold (hold.h), of which what parks is a struct session_seat: writes what the session
 * has, and leaves it as it is; or makes again what was written of the seat of that number. False
 * with an error where it cannot be moved, or not to this device; or where it is no such session.
 */
struct session_move {
    struct image *image;
    GError **err;
    unsigned major, minor; /* the device's compute capability */
};
bool session_save(void *seat, void *move);
bool session_load(void *seat, void *move);

#endif
