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
 * that the front end touches lives in numbered 64-bit slots; a V128 takes an even one and the next.
 *
 * A unit belongs to one thread; its arrays are reused from unit to unit (ir_unit_clear()).
 */
#ifndef XLATE_IR_IR_H
#define XLATE_IR_IR_H

#include "base/base.h"

enum ir_type { IR_VOID, IR_I32, IR_I64, IR_F32, IR_F64, IR_HANDLE, IR_V128 };

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
/* Flags of a sum or difference, as ARM has them: C is the carry, of a difference no borrow. Where
 * LAHF and SETO put them. */
enum ir_nzcv { IR_NZCV_V = 1, IR_NZCV_C = 1 << 8, IR_NZCV_Z = 1 << 14, IR_NZCV_N = 1 << 15 };
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
    IR_MEM_SIZE = 7,         /* log2 of the width in bytes: 0..3; of a V128: 4 */
    IR_MEM_SIGNED = 1 << 3,  /* sign-extend (else zero-extend) to insn.type */
    IR_MEM_ACQUIRE = 1 << 4,
    IR_MEM_RELEASE = 1 << 5, /* both: sequentially consistent */
    IR_MEM_ALIGNED = 1 << 6, /* a misaligned address faults (atomics: always) */
    IR_MEM_WRITE = 1 << 7,   /* TR: for stores (and loads); else loads only */
    IR_MEM_RESERVE = 1 << 8, /* LOAD of a load-reserved: faults are reported as loads. RMW, CAS: so are
                                those that a load would raise */
    IR_MEM_USER = 1 << 9,    /* in TLB mode 0, whatever the unit's; TRs and what goes through them */
    IR_MEM_BITS = 10,
};

/*
 * aux of vector operations. Lane 0 is the lowest. What SCALAR and HALF leave out is not computed and
 * raises nothing: it becomes 0.
 */
enum ir_vec {
    IR_V_LANE = 3,          /* log2 of a lane's bytes */
    IR_V_SCALAR = 1 << 2,   /* lane 0 alone */
    IR_V_HALF = 1 << 3,     /* the low 64 bits alone */
    IR_V_UNSIGNED = 1 << 4, /* integers: of lanes that are compared, widened, saturated.. */
    IR_V_HIGH = 1 << 5,     /* takes the upper or odd lanes of its operands */
    IR_V_ROUND = 1 << 6,    /* to nearest, ties up, in place of cutting off */
    IR_V_SAT = 1 << 7,      /* saturates, raising IR_QC */
    IR_V_ALT = 1 << 8,      /* as the operation says */
    IR_V_RM = 7 << 9,       /* floating point: enum ir_rm */
    IR_V_DN = 1 << 12,      /* NaN results are the default one */
    IR_V_FZ = 1 << 13,      /* subnormal numbers are zeros */
    IR_V_AHP = 1 << 14,     /* halves are Arm's alternative ones */
};
enum { IR_V_RM_SHIFT = 9 };
/* imm of VFCMP, VFEST, VCRYPT. */
enum ir_vcmp { IR_VEQ, IR_VGE, IR_VGT };
enum ir_vest { IR_VEST_RECIPROCAL, IR_VEST_ROOT, IR_VEST_EXPONENT, IR_VEST_INT, IR_VEST_INT_ROOT };
enum ir_vcrypt {
    IR_AESE, IR_AESD, IR_AESMC, IR_AESIMC, IR_SHA1C, IR_SHA1P, IR_SHA1M, IR_SHA1H, IR_SHA1SU0,
    IR_SHA1SU1, IR_SHA256H, IR_SHA256H2, IR_SHA256SU0, IR_SHA256SU1, IR_CRYPT_COUNT,
};
struct ir_v128 {
    uint64_t d[2]; /* low half first */
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
    uint8_t from; /* enum ir_type: source type of FCVTFI, FCVTIF, VXTOF */
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

/* IEEE exceptions, in RISC-V's order, and others: what the guest's sticky flags are kept as. */
enum ir_fflag {
    IR_NX = 1, IR_UF = 2, IR_OF = 4, IR_DZ = 8, IR_NV = 16,
    IR_ID = 32, /* Arm: an operand was flushed to zero */
    IR_QC = 64, /* Arm: an integer was saturated */
};

enum {
    IR_SLOTS = 112,  /* slot numbers are below this */
    IR_REACHES = 4,  /* bases whose accesses may share a TR at a time */
    IR_TR_SPAN = 128, /* the widest range that shares one, in bytes: one that crosses a page makes
                        all its accesses slow, so it stays far below a page */
};

/* What the builder, the passes and the front ends recognised; counted for the statistics. */
#define IR_PATTERN(NAME, text, doc) IR_PATTERN_##NAME,
enum ir_pattern {
#include "xlate/ir/patterns.inc"
    IR_PATTERN_COUNT
};
#undef IR_PATTERN
extern const char *const ir_pattern_names[IR_PATTERN_COUNT];

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
    uint16_t pattern[IR_PATTERN_COUNT]; /* times each was found in this unit */

    /* The builder's own. */
    uint32_t cur;            /* the block being built */
    struct ir_side at;       /* the present guest instruction */
    uint32_t at_side;        /* its side entry, or IR_NONE */
    uint32_t zero;           /* the constant 0 of I64 in this block, or IR_NONE */
    uint32_t barrier;        /* number of insns when slots were last seen by something */
    uint32_t slot[IR_SLOTS]; /* value that is in the slot here, or IR_NONE */
    uint32_t set[IR_SLOTS];  /* the SET that put it there, or IR_NONE */
    struct ir_reach {        /* TRs that may still grow */
        uint32_t tr;
        uint32_t root;       /* the base, without a constant added to it */
        int64_t offset;      /* base - root */
    } reach[IR_REACHES];
    uint32_t n_reach, next_reach;
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

/* --- units (unit.c) ------------------------------------------------------------------------- */

/* An empty unit; its arrays grow as needed and never shrink. */
struct ir_unit *ir_unit_new(void);
/* Empties it for the next translation; block 0 is open. */
void ir_unit_clear(struct ir_unit *unit);
/* Takes NULL. */
void ir_unit_free(struct ir_unit *unit);

/* --- the builder (unit.c, build.c) -------------------------------------------------------------
 *
 * Appends to the open block and returns the new value, or an older one that is the same: constants
 * and identities fold, a GET of a slot whose value is known is that value. So a returned value
 * need not be the newest insn. A SET of a slot that is set again before anything can see it
 * becomes a constant without use. Values of other blocks may be used where those dominate.
 *
 * This is all the optimisation of tier 1: it looks at each insn once, when it is made.
 */

/* Begins a guest instruction: its displacement and bytes, for side entries; counts it. */
void ir_at(struct ir_unit *unit, int32_t pc, unsigned length);
/* Appends INSN as it is (side and all); for passes and tests. */
uint32_t ir_append(struct ir_unit *unit, const struct ir_insn *insn);
/* Doubles the array of insns. */
void ir__grow(struct ir_unit *unit);

/* Numbers a block that will be built later, by ir_block_start(); blocks start in number order. */
uint32_t ir_block_reserve(struct ir_unit *unit);
/* Opens BLOCK; the one before must have its terminator. */
void ir_block_start(struct ir_unit *unit, uint32_t block);
/* A parameter of the open block, before all else in it. */
uint32_t ir_param(struct ir_unit *unit, enum ir_type type);

uint32_t ir_const(struct ir_unit *unit, enum ir_type type, int64_t imm);
uint32_t ir_pcrel(struct ir_unit *unit, int64_t displacement);
uint32_t ir_get(struct ir_unit *unit, enum ir_type type, unsigned slot);
void ir_set(struct ir_unit *unit, unsigned slot, uint32_t value);

/* Operations of one, two and three values whose type is TYPE; see ops.inc. */
uint32_t ir_un(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a);
uint32_t ir_bin(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, uint32_t b);
/* With a constant as second operand. */
uint32_t ir_bini(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, int64_t imm);
/* SEXT or ZEXT of the low BITS (8, 16, 32). */
uint32_t ir_ext(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, unsigned bits);
/* TYPE is the operands'. */
uint32_t ir_cmp(struct ir_unit *unit, enum ir_cond cond, enum ir_type type, uint32_t a, uint32_t b);
/* NZCV_ADD or NZCV_SUB of operands of TYPE; NZCV_ADC with CARRY, otherwise IR_NONE. */
uint32_t ir_nzcv(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, uint32_t b,
                 uint32_t carry);
uint32_t ir_select(struct ir_unit *unit, enum ir_type type, uint32_t cond, uint32_t a, uint32_t b);

/* Floating point. B and C are IR_NONE where the operation has fewer operands. */
uint32_t ir_fp(struct ir_unit *unit, enum ir_op op, enum ir_type type, enum ir_rm rm, uint32_t a,
               uint32_t b);
uint32_t ir_fma(struct ir_unit *unit, enum ir_type type, enum ir_rm rm, unsigned negate, uint32_t a,
                uint32_t b, uint32_t c);
uint32_t ir_fcmp(struct ir_unit *unit, enum ir_fcond cond, enum ir_type type, uint32_t a,
                 uint32_t b);
/* FCVTFF, FCVTFI, FCVTIF: from FROM to TYPE. */
uint32_t ir_fcvt(struct ir_unit *unit, enum ir_op op, enum ir_type type, enum ir_type from,
                 enum ir_rm rm, bool is_unsigned, uint32_t a);

/* Vectors: operations whose value is a V128; AUX: mask of enum ir_vec; unused operands IR_NONE. */
uint32_t ir_vec(struct ir_unit *unit, enum ir_op op, unsigned aux, int64_t imm, uint32_t a,
                uint32_t b, uint32_t c);
/* The same whose value is the integer TYPE: VGET, VFTOX, VFNZCV. */
uint32_t ir_vec_int(struct ir_unit *unit, enum ir_op op, enum ir_type type, unsigned aux,
                    int64_t imm, uint32_t a, uint32_t b);

/* VXTOF of an integer of type FROM. */
uint32_t ir_vec_from(struct ir_unit *unit, enum ir_type from, unsigned aux, int64_t imm, uint32_t a);

/* Memory. A handle of [base + imm, base + imm + bytes). */
uint32_t ir_tr(struct ir_unit *unit, uint32_t base, int64_t imm, unsigned bytes, bool write);
/* The same for accesses with IR_MEM_USER. */
uint32_t ir_user_tr(struct ir_unit *unit, uint32_t base, int64_t imm, unsigned bytes, bool write);
/*
 * A handle for an access of BYTES at base + *IMM, shared with earlier accesses off that base, or off
 * another that differs from it by a constant, where they lie near enough; *IMM becomes the
 * access's own. Loads and stores share: in straight code the store comes for certain, so that the
 * page will be one that can be stored to.
 */
uint32_t ir_address(struct ir_unit *unit, uint32_t base, int64_t *imm, unsigned bytes, bool write);
/* MEM: mask of enum ir_mem without IR_MEM_WRITE. IMM: as of the TR. */
uint32_t ir_load(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle,
                 int64_t imm);
void ir_store(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle, int64_t imm,
              uint32_t value);
uint32_t ir_rmw(struct ir_unit *unit, enum ir_rmw op, enum ir_type type, unsigned mem,
                uint32_t handle, int64_t imm, uint32_t value);
uint32_t ir_cas(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle, int64_t imm,
                uint32_t expected, uint32_t desired);
uint32_t ir_sc(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle, int64_t imm,
               uint32_t cond, uint32_t expected, uint32_t desired);
void ir_fence(struct ir_unit *unit, unsigned mask);

/* HELPER's number; unused arguments are IR_NONE. FLAGS: its enum ir_call_flag mask. TYPE is
 * IR_VOID or IR_I64. */
uint32_t ir_call(struct ir_unit *unit, unsigned helper, unsigned flags, enum ir_type type,
                 const uint32_t arg[4]);

/* Helper's fault where any bit of MASK, 1 to 127, is set in VALUE, an I64. */
void ir_trap(struct ir_unit *unit, unsigned helper, uint32_t value, unsigned mask);

/* Terminators. */
void ir_br(struct ir_unit *unit, uint32_t block, const uint32_t *args, unsigned n);
/* EXPECT: 0 unknown, 1 likely taken, 2 unlikely. Targets take no parameters. */
void ir_brif(struct ir_unit *unit, uint32_t cond, unsigned expect, uint32_t then_block,
             uint32_t else_block);
void ir_exit(struct ir_unit *unit, unsigned flags, int32_t disp, int32_t ret);
void ir_exit_ind(struct ir_unit *unit, unsigned flags, uint32_t target, int32_t ret);
void ir_exit_state(struct ir_unit *unit);

/* Is OP one of the vector operations? */
static inline bool ir_is_vec(unsigned op)
{
    return op >= IR_VMOV && op <= IR_VXTOF;
}

static inline bool ir_is_const(const struct ir_unit *unit, uint32_t value)
{
    return unit->insn[value].op == IR_CONST;
}

/* How many of insn.arg the insn uses (CALL: those before the first IR_NONE). */
static inline unsigned ir_n_args(const struct ir_insn *insn)
{
    unsigned n = ir_ops[insn->op].n_args;

    if (insn->op == IR_CALL)
        while (n && insn->arg[n - 1] == IR_NONE)
            n--;
    return n;
}

/* The type of the value that INSN makes; IR_VOID for none. */
static inline enum ir_type ir_result_type(const struct ir_insn *insn)
{
    switch (ir_ops[insn->op].result) {
    case IR_R_TYPE:
        return (enum ir_type)insn->type;
    case IR_R_I64:
        return IR_I64;
    case IR_R_HANDLE:
        return IR_HANDLE;
    default:
        return IR_VOID;
    }
}

/* --- looking at units (verify.c, print.c) ----------------------------------------------------- */

/*
 * Checks every rule of ops.inc and of this header. HELPERS (N_HELPERS rows) may be NULL: then
 * calls are checked for form only. Returns true, or false and an explanation in ERR.
 */
bool ir_verify(const struct ir_unit *unit, const struct ir_helper *helpers, unsigned n_helpers,
               GError **err);

/* The unit as text, one line an insn; SLOT_NAMES and HELPERS may be NULL. */
void ir_print(const struct ir_unit *unit, const char *const *slot_names,
              const struct ir_helper *helpers, GString *out);

#endif
