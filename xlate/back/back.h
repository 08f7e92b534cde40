/*
 * xlate/back: IR to host code.
 *
 * One back end is built in: the host's. Its code lives in the cache; what all units share (entry,
 * exit, slow paths, constants) is in the cache's fixed part.
 *
 * Generated code keeps hot guest slots in host registers, and the guest's floating-point
 * environment in the host's: back_enter() and calls of IR_CALL_FPENV helpers swap it with fp_rm and
 * fp_flags of the vCPU, so the run loop and helpers run in the host's own and see those two. The
 * accesses of struct back_slow are called in the guest's; whoever calls foreign code from there
 * swaps it himself.
 */
#ifndef XLATE_BACK_BACK_H
#define XLATE_BACK_BACK_H

#include "xlate/cache/cache.h"
#include "xlate/cpu.h"
#include "xlate/ir/ir.h"

struct back;
struct back_compiler;

/* The accesses behind the fast path: the functions of mmu/mmu.h, called with cpu->pc set. */
struct back_slow {
    uint64_t (*load)(struct xl_cpu *cpu, gva_t va, uint32_t mem);
    void (*store)(struct xl_cpu *cpu, gva_t va, uint64_t value, uint32_t mem);
    uint64_t (*rmw)(struct xl_cpu *cpu, gva_t va, uint64_t operand, uint32_t mem, uint32_t op);
    uint64_t (*cas)(struct xl_cpu *cpu, gva_t va, uint64_t expected, uint64_t desired,
                    uint32_t mem);
    uint64_t (*sc)(struct xl_cpu *cpu, gva_t va, uint64_t condition, uint64_t expected,
                   uint64_t desired, uint32_t mem);
    void (*load16)(struct xl_cpu *cpu, gva_t va, struct ir_v128 *value, uint32_t mem);
    void (*store16)(struct xl_cpu *cpu, gva_t va, const struct ir_v128 *value, uint32_t mem);
};

/* Host features a back end can do without: a cleared bit keeps it from using what the host has. */
enum back_feature {
    BACK_BMI = 1, /* x86-64: BMI1, BMI2, LZCNT */
    BACK_FMA = 2, /* x86-64: AVX, FMA3 */
    BACK_CRYPTO = 4, /* x86-64: AES, PCLMULQDQ, SHA */
    BACK_ALL = 7,
};

struct back_config {
    struct cache *cache;
    uint32_t n_slots;
    const uint8_t *hot_slots; /* as in struct xl_front; end with 0xff */
    const uint8_t *hot_fslots;
    bool wide_fslots; /* these are V128s */
    const struct ir_helper *helpers; /* by number; must outlive the back end */
    uint32_t n_helpers;
    struct back_slow slow;
    unsigned features; /* mask of enum back_feature: what it may use where the host has it */
};

/* Makes the back end of the host and writes the cache's fixed part. False with an error when the
 * host's CPU lacks what any generated code needs (x86-64-v2). */
bool back_new(const struct back_config *config, struct back **out, GError **err);
/* Takes NULL. */
void back_free(struct back *back);

/* A compiler's working memory: one a thread. */
struct back_compiler *back_compiler_new(struct back *back);
void back_compiler_free(struct back_compiler *compiler);

/*
 * Compiles UNIT into PLACE. 0; -E2BIG when it does not fit (room, links, stack): try fewer guest
 * instructions. A unit of one guest instruction always fits.
 */
int back_compile(struct back_compiler *compiler, const struct ir_unit *unit,
                 struct cache_place *place);

enum back_leave {
    BACK_LEAVE_POLL,  /* a request is set; cpu->pc is where to go on */
    BACK_LEAVE_MISS,  /* no code at hand for cpu->pc; link: the edge that asked */
    BACK_LEAVE_STATE, /* EXIT_STATE: cpu->pc and cpu->mode say where to go on */
    BACK_LEAVE_FAULT, /* cpu->fault is set; cpu->pc is the instruction that faulted */
};

struct back_exit {
    uint64_t leave; /* enum back_leave */
    uint64_t link;  /* MISS: the link to patch, or CACHE_NO_LINK */
};

/* Where a signal found a vCPU's thread that runs generated code, what that calls included. */
struct back_place {
    const void *code; /* in a unit; NULL: on the way between two, or in or out */
    bool called;      /* in what that calls; CODE is behind the call */
    gva_t pc;         /* without CODE: where it goes; 0: cpu->pc says */
};

/* From the signal's handler, with its third argument: fills OUT. cpu->frame is not NULL. */
void back_interrupted(const struct back *back, const struct xl_cpu *cpu, const void *context,
                      struct back_place *out);

/* Runs UNIT and whatever it leads to on the calling vCPU's thread; cpu->pc_page is set. */
struct back_exit back_enter(struct back *back, struct xl_cpu *cpu, const struct cache_unit *unit);

#endif
