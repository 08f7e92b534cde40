/*
 * What parser, lowering and execution share: a module's functions as operations over numbered registers.
 *
 * A register is a place in a frame: one word of 32 bits for a predicate (a bit a lane), else 32 lanes of 2, 4
 * or 8 bytes. Operands are byte offsets into the frame; a negative one is an offset into the function's
 * constants, which lie there as broadcast registers. Everything here is written while a module is loaded and
 * read only afterwards.
 */
#ifndef GPU_SOFT_SOFT_PRIV_H
#define GPU_SOFT_SOFT_PRIV_H

#include "gpu/soft/soft.h"

#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LIMIT_OPS = 1 << 20,       /* operations of a function */
    LIMIT_FRAME = 4 << 20,     /* bytes of a function's registers */
    LIMIT_FUNCTIONS = 16384,   /* functions of a module */
    LIMIT_OPERANDS = 64,       /* of one instruction */
    LIMIT_SCOPES = 64,         /* nested blocks */
    LIMIT_DEPTH = 512,         /* nested calls of a thread */
};

/* Generic addresses: what their highest byte says. Everything else is global memory, below 2^48. */
#define SOFT_WINDOW_SHARED (1ull << 56)
#define SOFT_WINDOW_LOCAL  (2ull << 56)
#define SOFT_WINDOW_PARAM  (3ull << 56)
#define SOFT_WINDOW_MASK   (0xffull << 56)
/* The "address" of function n of a module, as function pointers hold it. */
#define SOFT_CODE_BASE 0x0f0000000000ull
#define SOFT_CODE_STEP 16

enum soft_space_kind { SPACE_GENERIC, SPACE_GLOBAL, SPACE_CONST, SPACE_SHARED, SPACE_LOCAL, SPACE_PARAM, SPACE_REG };

enum soft_round { ROUND_NEAREST, ROUND_ZERO, ROUND_DOWN, ROUND_UP, ROUND_NONE };

/* Bits of soft_op.flags for arithmetic; memory, cvt and others have their own. */
enum {
    OP_FTZ = 1,
    OP_SAT = 2,
    OP_ROUND = 12, /* enum soft_round << 2 */
    OP_ROUND_SHIFT = 2,
};

enum { GUARD_NONE, GUARD_IF, GUARD_UNLESS };

/* Loads, stores and atomic operations: enum soft_space_kind in the low bits of soft_op.flags, and these. */
enum {
    MEM_SPACE = 7,
    MEM_KERNEL_PARAM = 8, /* SPACE_PARAM is the launch's buffer, not the frame's */
    MEM_NARROW = 16,      /* the address is a 32-bit register */
};

struct warp;
struct soft_op;
typedef void soft_run(struct warp *warp, const struct soft_op *op);

struct soft_op {
    soft_run *run;
    int32_t d, a, b, c;
    int32_t guard;       /* predicate register */
    uint8_t guarded;     /* GUARD_* */
    uint8_t n;           /* elements of a vector, and the like */
    uint16_t flags;
    uint32_t line;
    uint64_t imm;
};

/* How an operation is called in PTX (opcode, the modifiers that choose it, types), what it takes: letters for
 * destination and sources, p predicate, h 16 bits, w 32, d 64. */
struct soft_opdef {
    const char *key;
    const char *operands;
    soft_run *run;
    uint16_t flags; /* those it heeds */
};

/* The operation of that key, or NULL. Any thread. */
const struct soft_opdef *soft_opdef_find(const char *key);

struct soft_formal {
    uint32_t offset, size, align;
};

/* A call's arguments: from where to where, in the parameter bytes of caller and callee. */
struct soft_call {
    const struct soft_function *callee; /* NULL: indirect */
    unsigned args, rets;
    struct soft_formal arg[LIMIT_OPERANDS], ret[LIMIT_OPERANDS]; /* in the caller's bytes */
};

enum soft_builtin { BUILTIN_NONE, BUILTIN_VPRINTF, BUILTIN_MALLOC, BUILTIN_FREE, BUILTIN_ASSERT };

struct soft_function {
    char *name;
    struct soft_module *module;
    unsigned index;
    bool entry, defined;
    enum soft_builtin builtin;
    GArray *params, *rets;     /* struct soft_formal, offsets in the parameter bytes */
    uint32_t param_bytes;      /* an entry's buffer; a function's parameters and results */
    uint32_t pmem;             /* bytes a thread: of those, and of the arguments of its calls */
    uint32_t frame, local, shared; /* bytes: registers, local memory a thread, static shared memory */
    uint32_t max_threads, required[3], registers;
    bool takes_functions;      /* their addresses, as values or of variables */
    struct soft_op *ops;
    unsigned n_ops;
    uint8_t *consts;
    GPtrArray *calls;          /* struct soft_call, by index */
    GPtrArray *tables;         /* GArray of uint32_t: targets of brx.idx */
};

struct soft_global {
    char *name;
    uint64_t addr, size;
    bool used;      /* by a function, or another variable's value */
    bool functions; /* addresses of some are in its first value, or in those that it leads to */
};

struct soft_module {
    struct soft_space *space;
    GPtrArray *functions;      /* struct soft_function */
    GPtrArray *variables;      /* struct soft_global, as they are in the text */
    GHashTable *globals;       /* name: the last of those */
    GArray *owned;             /* addresses to release */
    unsigned version, target;
    uint32_t const_bytes;
    uint64_t heap;             /* of malloc(), or 0 */
    GArray *heap_used;         /* struct soft_global without names, by address */
    atomic_bool *launched;     /* functions by index; owned */
    atomic_uint uses;          /* what those do, and what was asked for: soft_module_uses() */
    pthread_mutex_t heap_lock;
};

/* A kernel of FUNCTION's module is launched, which is noted in its uses. */
void soft_function_launched(const struct soft_function *function);

/* As soft_module_load(); *TEXT, where TEXT is not NULL, to g_free(), is the image's PTX with the addresses of its variables for their names, for a
 * device that places variables itself: see ptx/edit.h. */
int soft_module_load_text(struct soft_space *space, const void *image, size_t size, unsigned most,
                          struct soft_module **module, char **text, char **log);

/* ---- Space, as launches see it ---- */

struct soft_block;  /* memory, counted by who refers to it */

struct soft_range {
    uint64_t addr, size;
    uint8_t *host;
    struct soft_block *block; /* NULL when mapped */
    bool own;                 /* a module's, or a launch's: no program frees it */
};

/* An unchanging picture of a space, ranges by address. */
struct soft_map {
    unsigned refs, n;
    struct soft_range range[];
};

struct soft_map *soft_map_get(struct soft_space *space);
/* As soft_space_alloc() and soft_space_release(), of what no program frees. */
int soft_space_alloc_own(struct soft_space *space, uint64_t size, uint64_t *addr);
void soft_space_release_own(struct soft_space *space, uint64_t addr);
/* From here on allocations are at PLACES, one after the other, which stay until the plan is NULL. */
void soft_space_plan(struct soft_space *space, const struct soft_place *places, unsigned n);
/* All places of the plan are taken. */
bool soft_space_as_planned(struct soft_space *space);
/* The threads that help with launches in SPACE. */
struct soft_pool *soft_space_pool(struct soft_space *space);
void soft_map_put(struct soft_map *map);

/* The range that holds ADDR, or NULL. */
const struct soft_range *soft_map_find(const struct soft_map *map, uint64_t addr);

/* ---- Loading ---- */

/* The PTX in an image, of the highest target up to MOST where there are several (80: sm_80): *TEXT
 * is to g_free(). Errors as soft_module_load() has them. */
int soft_image_ptx(const void *image, size_t size, unsigned most, char **text, size_t *len,
                   char **log);

struct ptx_edits;
/* Parses TEXT into the empty MODULE; on failure *LOG says why. EDITS, which may be NULL, get what it takes to have its
 * variables where they are: see ptx/edit.h. */
int ptx_parse(struct soft_module *module, const char *text, size_t len, struct ptx_edits *edits, char **log);

/* Fills in joins (where divergent lanes meet again) of a function's finished operations, whose last is its
 * only return. */
void ptx_flow(struct soft_function *fn);

struct soft_function *soft_function_new(struct soft_module *module, const char *name, size_t len);

/* ---- exec/pool.c ---- */

enum { SOFT_HELPERS = 63 }; /* most threads that help */

struct soft_pool;

/* The pool of all spaces, without a thread at first; it ends when all who got it have put it back.
 */
struct soft_pool *soft_pool_get(void);
void soft_pool_put(void);
/* Processors of the host, when the pool was made. */
unsigned soft_pool_processors(const struct soft_pool *pool);
/* Calls WORK(ARG) on this thread and on at most so many HELPERS at once, as are free; returns when
 * all have. Any thread, several at once. */
void soft_pool_run(struct soft_pool *pool, unsigned helpers, void (*work)(void *arg), void *arg);

#endif
