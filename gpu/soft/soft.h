/*
 * The software GPU: PTX programs on the host's processor.
 *
 * A space holds what device addresses mean, a module is an image loaded into a space, and a launch runs one
 * of a module's kernels over a grid of blocks. Every result is a number of CUDA's driver API (0 is
 * success), so that a backend may hand it on as it is. Nothing here keeps an error: that a fault sticks to
 * the context is its owner's duty. Whatever the image, the parameters and the kernel do, the caller gets an
 * error, never a crash: images are verified when they are loaded, and every access is checked when it is made.
 *
 * Threads: functions on different spaces are independent. On one space everything may be called from
 * several threads at once, launches too, but for two things: a module must not be unloaded and a space not freed
 * while a launch that uses it runs. Memory freed during a launch stays readable to that launch until it ends.
 */
#ifndef GPU_SOFT_SOFT_H
#define GPU_SOFT_SOFT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers of CUDA's driver API ("CUresult") that this device gives. */
enum soft_error {
    SOFT_OK = 0,
    SOFT_INVALID_VALUE = 1,
    SOFT_OUT_OF_MEMORY = 2,
    SOFT_INVALID_IMAGE = 200,
    SOFT_NO_BINARY_FOR_GPU = 209,
    SOFT_INVALID_PTX = 218,
    SOFT_UNSUPPORTED_PTX_VERSION = 222,
    SOFT_SHARED_OBJECT_SYMBOL_NOT_FOUND = 302,
    SOFT_NOT_FOUND = 500,
    SOFT_ILLEGAL_ADDRESS = 700,
    SOFT_LAUNCH_OUT_OF_RESOURCES = 701,
    SOFT_LAUNCH_TIMEOUT = 702,
    SOFT_ASSERT = 710,
    SOFT_HARDWARE_STACK_ERROR = 714,
    SOFT_ILLEGAL_INSTRUCTION = 715,
    SOFT_MISALIGNED_ADDRESS = 716,
    SOFT_INVALID_PC = 718,
    SOFT_LAUNCH_FAILED = 719,
    SOFT_COOPERATIVE_LAUNCH_TOO_LARGE = 720,
    SOFT_NOT_SUPPORTED = 801,
};

/* What the device is: the attributes that a driver would report. */
enum {
    SOFT_WARP = 32,
    SOFT_MAX_THREADS = 1024,    /* a block */
    SOFT_MAX_BLOCK_Z = 64,      /* threads of a block in z */
    SOFT_MAX_GRID_YZ = 65535,   /* blocks in y and in z; in x 2^31 - 1 */
    SOFT_MAX_SHARED = 232448,   /* bytes of shared memory a block, static and dynamic */
    SOFT_MAX_PARAM = 32764,     /* bytes of a kernel's parameters */
    SOFT_MAX_LOCAL = 256 << 10, /* bytes of local memory a thread, all its calls together */
    SOFT_MAX_IMAGE = 64 << 20,  /* bytes of an image, unpacked */
    SOFT_HEAP = 8 << 20,        /* bytes that malloc() of kernels gives out, a module */
    SOFT_COMPUTE_MAJOR = 9,     /* compute capability: the newest PTX target it takes */
    SOFT_COMPUTE_MINOR = 0,
    SOFT_TARGET = SOFT_COMPUTE_MAJOR * 10 + SOFT_COMPUTE_MINOR, /* as PTX has it */
    SOFT_PTX_VERSION = 90,                                      /* newest PTX version, times ten */
};

struct soft_space;
struct soft_module;
struct soft_function;

/* ---- Device memory ---- */

/* A new, empty address space in which at most LIMIT bytes may be allocated (mappings don't count). The caller
 * frees it, after its modules. */
struct soft_space *soft_space_new(uint64_t limit);
void soft_space_free(struct soft_space *space);

/* Allocates SIZE bytes (not 0) of zeroed device memory, aligned to 512; *ADDR is where. SOFT_OUT_OF_MEMORY
 * where the limit or the host's memory doesn't have them. */
int soft_space_alloc(struct soft_space *space, uint64_t size, uint64_t *addr);

/* The same at ADDR, a multiple of 4096. SOFT_INVALID_VALUE where something is there, or nothing can be. */
int soft_space_alloc_at(struct soft_space *space, uint64_t addr, uint64_t size);

/* Frees what soft_space_alloc() gave, or undoes soft_space_map(): ADDR is the range's first byte, or the
 * answer is SOFT_INVALID_VALUE, as where a module or a launch has it. */
int soft_space_release(struct soft_space *space, uint64_t addr);

/* Whether soft_space_release() would. */
bool soft_space_releasable(struct soft_space *space, uint64_t addr);

/* Shows the caller's SIZE bytes at HOST (pinned or managed memory) to kernels at ADDR. The caller keeps
 * HOST until the range is released and no launch that may use it runs. SOFT_INVALID_VALUE where ADDR is taken or
 * not below 2^48. */
int soft_space_map(struct soft_space *space, uint64_t addr, void *host, uint64_t size);

/* Where the SIZE bytes at ADDR are in this process, or NULL when they aren't all within one range. Good until
 * that range is released. */
void *soft_space_host(struct soft_space *space, uint64_t addr, uint64_t size);

/* The range that ADDR is in: its first address and its size; SOFT_INVALID_VALUE when there is none. */
int soft_space_range(struct soft_space *space, uint64_t addr, uint64_t *base, uint64_t *size);

/* Bytes allocated now. */
uint64_t soft_space_used(struct soft_space *space);

/* ---- A space that is to be like another: gpu/server moves sessions so ---- */

/* An allocation, a variable of a module or a block of a module's heap. */
struct soft_place {
    uint64_t addr, size;
};

/* soft_space_alloc() at ADDR, a multiple of 256; errors as of soft_space_alloc_at(). */
int soft_space_restore(struct soft_space *space, uint64_t addr, uint64_t size);
/* All that is allocated, variables of modules too, by address; their number. *PLACES is to g_free(). */
unsigned soft_space_places(struct soft_space *space, struct soft_place **places);

/* ---- Modules ---- */

/*
 * Loads an image of SIZE bytes (PTX text, with or without a final NUL, or a fat binary that holds PTX) into
 * SPACE: verifies and lowers its functions, allocates and initialises its variables. *MODULE is then the
 * caller's, to unload before the space is freed.
 * On failure *LOG (when LOG isn't NULL) is a text of at most some KiB with line and column, to g_free(); else NULL.
 * SOFT_INVALID_IMAGE: no image; SOFT_INVALID_PTX: malformed; SOFT_NO_BINARY_FOR_GPU: holds no PTX;
 * SOFT_NOT_SUPPORTED: well-formed, but uses what this device lacks, which the log names;
 * SOFT_UNSUPPORTED_PTX_VERSION; SOFT_OUT_OF_MEMORY.
 */
int soft_module_load(struct soft_space *space, const void *image, size_t size,
                     struct soft_module **module, char **log);
void soft_module_unload(struct soft_module *module);
/* What MODULE takes: its variables and heap, and its code, as long as it is loaded. */
uint64_t soft_module_bytes(const struct soft_module *module);

/* What MODULE has in its space, in the order in which that was allocated; their number. *PLACES is to g_free(). */
unsigned soft_module_places(const struct soft_module *module, struct soft_place **places);
/* What those are, one each, in the same order. NAMES are the module's; NULL: the heap. */
struct soft_variable {
    const char *name;
    uint64_t size;
    bool used;      /* by a function, or another variable's value: compilers drop what is not */
    bool functions; /* addresses of some are in its first value, which are a device's own */
};
unsigned soft_module_variables(const struct soft_module *module, struct soft_variable **variables);
/* Blocks of its heap that kernels hold, by address, likewise. */
unsigned soft_module_blocks(struct soft_module *module, struct soft_place **blocks);
/* Bits of soft_function_uses() of all kernels of MODULE that were launched, of those that were noted, and FUNCTIONS where the
 * address of a variable with some was asked for. Any thread. */
unsigned soft_module_uses(const struct soft_module *module);
void soft_module_used(struct soft_module *module, unsigned uses);
/*
 * As soft_module_load(), with its memory at just PLACES and with BLOCKS in use of its heap: what
 * the other functions said of a module of the same image. SOFT_INVALID_VALUE or SOFT_OUT_OF_MEMORY
 * where these are no such places. TEXT, where it is not NULL, becomes the image's PTX for another
 * device, to g_free(): with the variables at PLACES, which it neither declares nor initialises, but
 * for those with functions, which are that device's own; and constants are global memory. Of
 * several that of the highest target up to MOST is taken.
 */
int soft_module_load_at(struct soft_space *space, const void *image, size_t size,
                        const struct soft_place *places, unsigned n_places,
                        const struct soft_place *blocks, unsigned n_blocks, unsigned most,
                        struct soft_module **module, char **text, char **log);

/* The kernel called NAME, or SOFT_NOT_FOUND. It lives as long as its module. */
int soft_module_function(struct soft_module *module, const char *name,
                         const struct soft_function **function);

/* The Nth kernel in the order of the text, or NULL when there are no more. */
const struct soft_function *soft_module_kernel(struct soft_module *module, unsigned n);

/* Address and size of the .global or .const variable NAME, or SOFT_NOT_FOUND. */
int soft_module_global(struct soft_module *module, const char *name, uint64_t *addr,
                       uint64_t *size);

struct soft_param {
    uint32_t offset, size, align; /* bytes within the parameter buffer */
};

/* What cuFuncGetAttribute() is asked for. */
struct soft_attributes {
    const char *name;
    uint32_t max_threads;   /* a block: .maxntid, or SOFT_MAX_THREADS */
    uint32_t shared;        /* static shared bytes */
    uint32_t constant;      /* bytes of the module's .const variables */
    uint32_t local;         /* local bytes a thread, without what it calls */
    uint32_t registers;     /* 32-bit registers a thread, as declared, at most 255 */
    uint32_t ptx_version;   /* times ten */
    uint32_t target;        /* of .target, e.g. 80 for sm_80 */
    uint32_t params;        /* number of parameters */
    uint32_t param_bytes;   /* size of the parameter buffer */
    uint32_t required[3];   /* .reqntid, or zeroes */
};

void soft_function_attributes(const struct soft_function *function, struct soft_attributes *out);

/* What FUNCTION does, or a function that it calls by name: has of the heap, or of addresses of functions, so that
 * these may be in memory. */
enum { SOFT_USES_HEAP = 1, SOFT_USES_FUNCTIONS = 2 };
unsigned soft_function_uses(const struct soft_function *function);

/* Parameter N; SOFT_INVALID_VALUE when there are no more. */
int soft_function_param(const struct soft_function *function, unsigned n, struct soft_param *out);

/* ---- Launches ---- */

struct soft_launch {
    const struct soft_function *function;
    uint32_t grid[3], block[3];  /* x, y, z */
    uint32_t shared;             /* dynamic shared bytes */
    const void *params;          /* packed as soft_function_param() says */
    size_t param_bytes;          /* at least the function's */
    bool cooperative;            /* all blocks are resident, so that the grid may wait for itself */
    unsigned threads;            /* of the host, to run on; 0: as many as there are processors */
    const atomic_bool *cancel;   /* when it becomes true the launch ends soon (SOFT_LAUNCH_TIMEOUT); may be NULL */
    /* Takes what kernels print, whole lines or parts of them; called by one thread at a time; may be NULL. */
    void (*print)(void *arg, const char *text, size_t len);
    void *arg;
};

/*
 * Runs a kernel to its end and returns what became of it. Blocks. A fault ends the whole launch; *LOG (when LOG
 * isn't NULL) then says where, to g_free(). What a faulting launch had written stays written.
 */
int soft_launch_run(const struct soft_launch *launch, char **log);

#endif
