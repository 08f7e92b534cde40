/*
 * xlate/ir: the translator's intermediate representation.
 *
 * SSA with block parameters. A unit (struct ir_unit) is what is translated at once: one guest
 * block in tier 1, a region in tier 2. A value is the index of the insn that makes it. Insns of a
 * block are contiguous and in program order; the last is its only terminator. Blocks other than
 * block 0 come after all blocks that dominate them.
 *
 * Guest addresses are displacements from the 4 KiB page in which the unit starts, so that one
 * translation serves every address at which its physical page is mapped. All guest-visible state
 * that the front end touches lives in numbered 64-bit slots.
 *
 * A unit belongs to one thread; its arrays are reused from unit to unit (ir_unit_clear()).
 */
#ifndef XLATE_IR_IR_H
#define XLATE_IR_IR_H

#include "base/base.h"

enum ir_type { IR_VOID, IR_I32, IR_I64, IR_F32, IR_F64, IR_HANDLE };

#define IR_OP(name, text, n, result, flags) IR_##name,
enum ir_op {
#include "xlate/ir/ops.inc"
    IR_OP_COUNT
};
#undef IR_OP

enum ir_cond {
    IR_EQ, IR_NE, IR_LTS, IR_GES, IR_LTU, IR_GEU, IR_GTS, IR_LES, IR_GTU, IR_LEU,
};
/* FEQ is quiet; FLT and FLE raise NV for any NaN. All are 0 on NaN. */
enum ir_fcond { IR_FEQ, IR_FLT, IR_FLE };
enum ir_rmw {
    IR_RMW_SWAP, IR_RMW_ADD, IR_RMW_AND, IR_RMW_OR, IR_RMW_XOR,
    IR_RMW_MINS, IR_RMW_MAXS, IR_RMW_MINU, IR_RMW_MAXU,
};
enum ir_rm { IR_RM_DYN, IR_RM_RNE, IR_RM_RTZ, IR_RM_RDN, IR_RM_RUP, IR_RM_RMM };
enum ir_fma { IR_FMA_NEG_PRODUCT = 1, IR_FMA_NEG_ADDEND = 2 };
/* Earlier accesses of the first kind are seen before later ones of the second. */
enum ir_fence { IR_FENCE_RR = 1, IR_FENCE_RW = 2, IR_FENCE_WR = 4, IR_FENCE_WW = 8 };

/* insn.mem of an access; TR carries IR_MEM_WRITE where a store will go through it. */
enum ir_mem {
    IR_MEM_SIZE = 7,         /* log2 of the width in bytes: 0..3 */
    IR_MEM_SIGNED = 1 << 3,  /* sign-extend (else zero-extend) to insn.type */
    IR_MEM_ACQUIRE = 1 << 4,
    IR_MEM_RELEASE = 1 << 5, /* both: sequentially consistent */
    IR_MEM_ALIGNED = 1 << 6, /* a misaligned address faults (atomics: always) */
    IR_MEM_WRITE = 1 << 7,   /* TR: for stores (and loads); else loads only */
    IR_MEM_RESERVE = 1 << 8, /* LOAD of a load-reserved: faults are reported as loads */
};

/* aux of EXIT and EXIT_IND. */
enum ir_exit {
    IR_EXIT_POLL = 1,   /* a back edge or an indirect one: interrupts are polled here */
    IR_EXIT_CALL = 2,   /* pushes a return address: insn.ret is its displacement */
    IR_EXIT_RETURN = 4, /* likely matched by the newest CALL */
};

#define IR_NONE UINT32_MAX

struct ir_insn {
    uint8_t op;   /* enum ir_op */
    uint8_t type; /* enum ir_type */
    uint8_t from; /* enum ir_type: source type of FCVTFI, FCVTIF */
    uint8_t pad;
    uint16_t aux;
    uint16_t mem;
    uint32_t arg[4]; /* values; IR_NONE where unused */
    union {
        int64_t imm;
        struct {
            int32_t disp; /* EXIT: where to; */
            int32_t ret;  /* CALL exits: return displacement (EXIT_IND has disp unused) */
        };
        struct {
            uint32_t block[2]; /* BR, BRIF */
        };
    };
    uint32_t side;   /* F_FAULT: index into unit->side; else IR_NONE */
    uint32_t params; /* BR: first of its arguments in unit->params, as many as the target takes */
};
G_STATIC_ASSERT(sizeof(struct ir_insn) == 40);

/* What the rest of the world must know of an insn that can fault, or of a poll. */
struct ir_side {
    int32_t pc;      /* displacement of the guest instruction */
    uint8_t length;  /* its bytes */
    uint8_t index;   /* how many guest instructions of the unit come before it */
};

struct ir_block {
    uint32_t first, end; /* insns [first, end) */
    uint32_t n_params;
};

struct ir_unit {
    struct ir_insn *insn;
    uint32_t n, cap;
    struct ir_block *block;
    uint32_t n_blocks, cap_blocks;
    uint32_t *param;
    uint32_t n_param, cap_param;
    struct ir_side *side;
    uint32_t n_side, cap_side;
    int32_t start;       /* displacement of the first guest instruction: 0..4095 */
    uint32_t bytes;      /* guest bytes covered from start on */
    uint32_t n_guest;    /* guest instructions */
    uint32_t mode;       /* translation mode it is valid for */
};

/* What a helper may do; the back end saves and reloads pinned slots accordingly. */
enum ir_call_flag {
    IR_CALL_READS = 1,  /* reads guest slots */
    IR_CALL_WRITES = 2, /* writes guest slots */
    IR_CALL_FAULT = 4,  /* may fault: cpu->fault is then set and the unit is left at this insn's pc */
    IR_CALL_MMU = 8,    /* may change address translation or memory */
    IR_CALL_FPENV = 16, /* reads or writes the floating-point environment (MXCSR on x86-64) */
    IR_CALL_PC = 32,    /* needs cpu->pc: set to this insn's address before the call */
};

/*
 * A helper of the front end: uint64_t fn(struct xl_cpu *cpu, uint64_t a0.. a3). Runs on the vCPU
 * thread. FN is looked up by number so that the front end need not know the privileged code.
 */
struct ir_helper {
    const char *name;
    void (*fn)(void); /* cast to the type above by its arguments */
    uint8_t n_args;
    bool result;
    uint8_t flags; /* enum ir_call_flag */
};

struct ir_op_info {
    const char *text;
    uint8_t n_args;
    uint8_t result;
    uint8_t flags;
};
extern const struct ir_op_info ir_ops[IR_OP_COUNT];

enum { IR_F_PURE = 1, IR_F_READ = 2, IR_F_WRITE = 4, IR_F_FAULT = 8, IR_F_TERM = 16, IR_F_FPENV = 32 };
enum { IR_R_NONE, IR_R_TYPE, IR_R_I64, IR_R_HANDLE };

#endif
