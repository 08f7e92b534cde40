/* vm/gpu_priv: a worker's connection, and what the files of vm/gpu share. */
#ifndef VM_GPU_PRIV_H
#define VM_GPU_PRIV_H

#include "vm/gpu.h"

#include "gpu/device/gpu_function.h"
#include "gpu/protocol/contract.h"

enum {
    GPU_ASK_MS = 2000,       /* how often a worker is asked whether it is there */
    GPU_REPORTS_MOST = 16,   /* that are taken at once */
    GPU_UNANSWERED_MOST = 5, /* questions without an answer, after which it hangs */
};

/* What a worker may say, one at a time. */
union gpu_said {
    struct {
        uint32_t magic, size;
    } head;
    struct worker_report report;
    struct worker_moved moved;
};

/* The end of a connection; fd -1, NULL: there is none. The handles are freed by their closes. */
struct gpu_peer {
    int fd;
    uv_poll_t *poll;
    uv_timer_t *timer;
    unsigned unanswered;
    union gpu_said said; /* what came of it so far */
    size_t have;
    int with; /* a descriptor that came with it; -1 */
};

struct gpu_move;

struct gpu {
    uv_loop_t *loop;
    const struct vm_gpu_config *config;
    struct vm_gpu_config *place; /* the device to which it was moved; NULL: CONFIG's */
    struct gpu_function *function;
    struct gpu_ports *ports; /* NULL: the VM has none */
    struct gpu_ops ops;
    void *opaque;
    struct gpu_peer worker;
    struct gpu_move *move; /* NULL: none is under way */
    bool serving, hung;
    bool going; /* its function is off its bus, or about to be */
    bool told; /* STATE is: what was told last */
    enum gpu_worker_state state;
    uint64_t workers; /* that have served */
    uint64_t used;    /* of the quota */
};

/* --- a connection ----------------------------------------------------------------------------- */

enum gpu_heard {
    GPU_HEARD_NOTHING, /* more has to come */
    GPU_HEARD_REPORT,
    GPU_HEARD_MOVED,
    GPU_HEARD_NONSENSE,
    GPU_HEARD_END,
};

/*
 * A new connection, of which PEER is told by READABLE and TICK (each GPU_ASK_MS), whose data is G,
 * and on which a hello with MAGIC for PLACE waits for the worker: its end, the caller's. -1 with an
 * error.
 */
int gpu__connect(struct gpu *g, struct gpu_peer *peer, uint32_t magic,
                 const struct vm_gpu_config *place, uv_poll_cb readable, uv_timer_cb tick,
                 GError **err);
/* Closes it. */
void gpu__disconnect(struct gpu_peer *peer);
/* The next that it says: in PEER->said, with PEER->with, until the next call. */
enum gpu_heard gpu__hear(struct gpu_peer *peer);
/* An order of BYTES, with the descriptor WITH where that is not -1. */
bool gpu__order(const struct gpu_peer *peer, const void *order, size_t bytes, int with);

/* --- its worker ------------------------------------------------------------------------------- */

/* PEER, which has loaded what there was, is the worker, and goes on; the one before ends. */
void gpu__take_over(struct gpu *g, struct gpu_peer *peer);
/* The worker is of no use any more. */
void gpu__lost(struct gpu *g, const char *text);

/* --- a move ----------------------------------------------------------------------------------- */

/* The worker serves. */
void gpu__move_served(struct gpu *g);
/* It says what became of its saving, in G->worker. */
void gpu__move_saved(struct gpu *g);
/* It is gone. True: nothing is lost by that, since another has all that it had. */
bool gpu__move_widowed(struct gpu *g);
/* There is a target that may live on what it has alone, whatever becomes of the worker. */
bool gpu__move_loads(const struct gpu *g);
/* It hangs, or the function goes. */
void gpu__move_fail(struct gpu *g, enum vmd_error kind, const char *text);
/* Is its time over? True: the source does not end to save. */
bool gpu__move_tick(struct gpu *g);
/* Without a word. */
void gpu__move_free(struct gpu *g);
/* The GPU is about to go: a move ends at once. */
void gpu__move_going(struct gpu *g);

#endif
