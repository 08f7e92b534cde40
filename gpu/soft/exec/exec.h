/*
 * Running kernels: what the parts of the execution share.
 *
 * A block's warps run on one thread of the host, a slice of time each in turn. A warp's lanes are at one or
 * more places at once: each such place is a path, a set of lanes with a program counter and a frame. Lanes that
 * part at a branch meet again at its join (the branch's immediate post-dominator): a path that gets there
 * waits until all that are expected have come or exited. Every path that may run gets its turn, so that lanes
 * may wait for one another. All state is the block's, used by its thread alone, but for struct exec_grid.
 */
#ifndef GPU_SOFT_EXEC_EXEC_H
#define GPU_SOFT_EXEC_EXEC_H

#include "gpu/soft/soft_priv.h"

enum { EXEC_BARRIERS = 16, EXEC_SLICE = 512 };

/* One call of a function by some lanes of a warp. */
struct exec_frame {
    const struct soft_function *fn;
    struct exec_frame *up, *next; /* caller; next in the list of free ones */
    struct exec_frame *all;       /* of the warp */
    const struct soft_call *call; /* that made it */
    uint32_t ret_pc, depth, local_base;
    uint8_t *pmem;
    uint8_t *regs;
};

struct exec_join {
    struct exec_join *up;
    struct exec_frame *frame;
    uint32_t pc, expected, arrived;
};

enum exec_state { PATH_READY, PATH_BARRIER, PATH_WARPSYNC };

struct exec_path {
    uint32_t mask;          /* 0: not in use */
    uint32_t pc;
    struct exec_frame *frame;
    struct exec_join *join;
    enum exec_state state;
    uint32_t barrier;       /* PATH_BARRIER */
    uint32_t need;          /* PATH_WARPSYNC: the lanes it waits for */
    bool passed;            /* the operation at pc has met its lanes and may run */
};

/* Where accesses of one state space go: bytes START to START + SIZE are at BASE (+ lane * STRIDE). */
struct exec_view {
    uint8_t *base;
    uint64_t start, size, stride;
};

struct warp {
    /* Of the path that runs now. */
    uint8_t *regs;
    const uint8_t *consts;
    uint32_t exec;          /* lanes that do the operation at hand */
    uint32_t mask;          /* lanes of the path */
    uint32_t pc;            /* of the next operation */
    bool stop;              /* the path must not go on now */
    int budget;
    struct exec_path *path;
    struct exec_frame *frame;

    struct exec_block *block;
    unsigned index, turn;
    uint32_t initial, live;
    struct exec_path paths[SOFT_WARP];
    struct exec_frame *frames, *free_frames;
    uint8_t *local;
    struct exec_view global; /* where the last access to global memory went */
};

struct exec_barrier {
    unsigned arrived, popc;
    unsigned expected;      /* 0: all */
    bool all, any;
};

struct exec_block {
    struct exec_grid *grid;
    uint32_t ctaid[3], id;
    unsigned n_warps, live; /* live: threads that haven't exited */
    struct warp *warps;
    struct exec_barrier barriers[EXEC_BARRIERS];
    uint8_t *shared;
    struct exec_view shared_view;
};

/* One launch, shared by the threads that run it. */
struct exec_grid {
    const struct soft_launch *launch;
    const struct soft_function *fn;
    struct soft_map *map;
    struct exec_view params;
    uint32_t shared_bytes, dynamic; /* all shared memory; where its dynamic part begins */
    uint32_t block_threads;
    uint64_t blocks;
    _Atomic uint64_t next;          /* block to run */
    _Atomic int error;
    pthread_mutex_t lock;           /* guards log and the launch's print() */
    char *log;
    uint64_t workspace[8];          /* of cooperative launches */
    uint64_t workspace_addr;
};

/* ---- Registers ---- */

static inline void *exec_reg(const struct warp *w, int32_t at)
{
    return at >= 0 ? w->regs + at : (uint8_t *)w->consts - at;
}

static inline uint32_t *exec_pred(const struct warp *w, int32_t at)
{
    return exec_reg(w, at);
}

/* ---- run.c ---- */

/* The launch fails with ERROR at the operation at hand. */
void exec_fault(struct warp *w, const struct soft_op *op, int error, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
int exec_block_init(struct exec_block *block, struct exec_grid *grid);
void exec_block_start(struct exec_block *block, uint64_t id);
/* Gives each path that may run a slice; true when the block is done (or the launch has failed). */
bool exec_block_slice(struct exec_block *block);
void exec_block_destroy(struct exec_block *block);
void exec_barrier_check(struct exec_block *block, unsigned id);
struct exec_path *exec_path_new(struct warp *w, uint32_t mask, uint32_t pc);
struct exec_frame *exec_frame_new(struct warp *w, const struct soft_function *fn);
void exec_frame_free(struct warp *w, struct exec_frame *frame);
/* Parts the path: TAKEN lanes go on at PC. JOIN is the operation where they meet again. */
void exec_diverge(struct warp *w, uint32_t taken, uint32_t pc, uint32_t join);
/* True when all lanes of NEED are at the operation at hand, which then runs for all of them (w->exec). */
bool exec_converge(struct warp *w, const struct soft_op *op, uint32_t need);

/* ---- memory.c ---- */

/* The SIZE bytes at ADDR as LANE sees them through the space of OP, or NULL after a fault. */
uint8_t *exec_address(struct warp *w, const struct soft_op *op, unsigned lane, uint64_t addr,
                      unsigned size, unsigned align);
/* As above, in generic space, and NULL without a fault. *LEFT: bytes from there to the end of its range. */
uint8_t *exec_generic(struct warp *w, unsigned lane, uint64_t addr, uint64_t *left);
uint64_t exec_addr_of(const struct warp *w, const struct soft_op *op, unsigned lane);
soft_run *exec_load(unsigned size, bool sign, char width);
soft_run *exec_store(unsigned size, char width);

/* ---- control.c, call.c ---- */

soft_run exec_join, exec_ret, exec_bra, exec_brx, exec_exit, exec_trap, exec_nop, exec_call, exec_call_indirect,
    exec_bar, exec_sleep;
/* soft_op.n of exec_bar */
enum exec_bar_kind { BAR_SYNC, BAR_ARRIVE, BAR_POPC, BAR_AND, BAR_OR };
void exec_builtin(struct warp *w, const struct soft_op *op, const struct soft_call *call,
                  enum soft_builtin which);
void exec_print(struct warp *w, const char *text, size_t len);
uint64_t exec_malloc(struct soft_module *module, uint64_t size);
bool exec_free(struct soft_module *module, uint64_t addr);

/* ---- special.c ---- */

/* A special register's number by its name, or -1. */
int exec_special_find(const char *name);
soft_run exec_special_w, exec_special_d, exec_special_h;

/* ---- others, chosen by the lowering ---- */

soft_run exec_cvt, exec_mov_pred, exec_not_pred, exec_local_addr, exec_shared_dynamic, exec_isspacep,
    exec_pack, exec_unpack, exec_atom, exec_red, exec_cp_async, exec_cp_async_zfill;

/* exec_cvt: imm holds these. */
#define CVT_PACK(dk, ds, sk, ss) ((uint64_t)(dk) | (uint64_t)(ds) << 8 | (uint64_t)(sk) << 16 | (uint64_t)(ss) << 24)
enum { CVT_INTEGER = 0x100, CVT_RELU = 0x200 }; /* in flags: rounds to an integer; negative to 0 */

/* Atomic operations: in soft_op.n. */
enum exec_atom_kind { ATOM_ADD, ATOM_MIN, ATOM_MAX, ATOM_INC, ATOM_DEC, ATOM_AND, ATOM_OR, ATOM_XOR, ATOM_EXCH, ATOM_CAS };
#define ATOM_IMM(kind, size, packed, offset) ((uint64_t)(kind) << 56 | (uint64_t)(size) << 48 | (uint64_t)(packed) << 40 | ((uint64_t)(offset) & 0xffffffffff))

/* Warp-wide operations: soft_op.n says which. */
soft_run exec_shfl, exec_vote, exec_match, exec_redux, exec_warpsync, exec_activemask, exec_elect;
enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };
enum { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };
enum { WARP_SYNC = 1, WARP_PRED = 2, WARP_ALL = 4, WARP_WIDE = 8, WARP_SIGNED = 16 }; /* flags */

#endif
