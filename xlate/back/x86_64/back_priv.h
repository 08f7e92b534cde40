/*
 * What the files of the x86-64 back end share.
 *
 * Registers. rsp: the frame below. rbp: the vCPU (+ CPU_BIAS). rax rcx rdx rsi rdi and xmm0..5 are
 * temporaries; the others hold pinned guest slots, always: at every point where the guest's state
 * can be seen, a pinned slot is in its register and every other slot in cpu->slots. An XMM register
 * holds one slot, or a pair of them where the front end has V128s.
 *
 * A unit is compiled in one pass over its insns, after one that finds uses. A value is in a
 * register, or has a home (below) from which it can be fetched, or both. Values used in other
 * blocks than their own have a home on the stack from their definition on; all others live and die
 * in their block, where registers are handed out greedily.
 *
 * Hot code is what runs always; what seldom runs (struct cold) is noted while the hot code is
 * written and comes behind, in the cold part of the segment.
 */
#ifndef XLATE_BACK_X86_64_BACK_PRIV_H
#define XLATE_BACK_X86_64_BACK_PRIV_H

#include "xlate/back/back.h"
#include "xlate/back/x86_64/asm.h"
#include "xlate/xlate_priv.h"

enum {
    NO_REG = 255,
    XMM = 16, /* register numbers: 0..15 general, 16..31 XMM */
    N_REGS = 32,
    PINNED_GPRS = 9,
    PINNED_XMMS = 10,
    STACK_SLOTS = 240,
    MOST_COLD = 1024,
    MOST_BLOCKS = 64,
    MOST_FIXUPS = 512,
    HOT_STEP = 1024,  /* most bytes of an insn, but for those that move all there is */
    CALL_STEP = 4096,
    PARAM_STEP = 48,
    MOST_STEP = HOT_STEP + PARAM_STEP * STACK_SLOTS,
    COLD_STEP = 256,
};

#define TEMP_GPRS (1u << RAX | 1u << RCX | 1u << RDX | 1u << RSI | 1u << RDI)
#define TEMP_XMMS (0x3fu << XMM)
#define NO_VALUE  UINT32_MAX

/* The frame, from rsp in generated code. */
enum {
    FRAME_ARG = 0,       /* 5 words: arguments of what is called */
    FRAME_RESULT = 40,
    FRAME_MXCSR = 48,    /* the host's */
    FRAME_TMP = 56,
    FRAME_GPRS = 64,     /* 9 words */
    FRAME_HOW = 136,     /* of STUB_VEC */
    FRAME_VEC = 144,     /* 3 V128s, operands, and the result */
    FRAME_XMMS = 208,    /* 16 V128s */
    FRAME_STACK = 464,
    FRAME_SIZE = FRAME_STACK + STACK_SLOTS * 8 + 8,
};
G_STATIC_ASSERT(FRAME_VEC % 16 == 0 && FRAME_STACK % 16 == 0);
G_STATIC_ASSERT(FRAME_SIZE % 16 == 8); /* six pushes and the return address come before it */

#define CPU_BIAS ((int32_t)offsetof(struct xl_cpu, slots) + 128)
#define CPU_MEM(offset) asm_mem(RBP, (int32_t)(offset)-CPU_BIAS)
#define CPU_FIELD(field) CPU_MEM(offsetof(struct xl_cpu, field))
#define SLOT_MEM(slot) CPU_MEM(offsetof(struct xl_cpu, slots) + 8 * (size_t)(slot))
#define STACK_MEM(n) asm_mem(RSP, FRAME_STACK + 8 * (int32_t)(n))
#define FRAME_MEM(at) asm_mem(RSP, at)

/* C functions behind operations that are not worth code of their own, or behind rare cases of them.
 * A float argument's bits above its width mean nothing. */
typedef uint64_t (*slow_fn)(uint64_t a, uint64_t b, uint64_t c, uint64_t how);
enum slow {
    SLOW_OP,      /* how: slow_how() */
    SLOW_FMA_NAN, /* a x b + c is a NaN: raises NV for 0 x inf. how: type */
    SLOW_COUNT
};
extern const slow_fn back__slow[SLOW_COUNT];
/* A vector operation by C: three operands and the result are at V. */
void back__slow_vec(struct xl_cpu *cpu, struct ir_v128 *v, uint64_t how);

static inline uint32_t slow_how(unsigned op, unsigned type, unsigned rm, unsigned imm,
                                unsigned from)
{
    return op | type << 8 | rm << 12 | imm << 16 | from << 20;
}

/* The fixed part. Offsets of code that units call or jump to; constants and tables. */
enum fixed_stub {
    STUB_LOAD, STUB_STORE, STUB_RMW, STUB_CAS, STUB_SC, STUB_LOAD16, STUB_STORE16, STUB_SLOW,
    STUB_VEC, /* the operation in FRAME_HOW, operands and result in FRAME_VEC */
    STUB_HELPER, /* 8 of them: bit 0 stores slots, bit 1 loads them again, bit 2 FP environment */
    STUB_MISS_REL = STUB_HELPER + 8, /* rax: displacement, edx: link */
    STUB_MISS_ABS,                   /* rax: guest address, edx: link */
    STUB_MISS,                       /* rax: guest address */
    STUB_POLL_REL,
    STUB_POLL_ABS,
    STUB_STATE,
    STUB_FAULT,  /* cpu->pc is set */
    STUB_JUMP,   /* rax: guest address: by way of the jump cache */
    STUB_ENTER,
    STUB_COUNT
};

/* Constants, each of 16 bytes. */
enum fixed_const {
    K_SIGN64, K_SIGN32, K_ABS64, K_ABS32, K_BOX, K_NAN64, K_NAN32, K_TWO32_64, K_TWO32_32,
    K_TWO63_64, K_TWO63_32, K_MINUS1_64, K_MINUS1_32, K_LEAST64, K_LEAST32, K_ONES_OF_4, K_SHA1C,
    K_SHA1P, K_SHA1M, K_REV16_8,
    K_REV32_8, K_REV32_16, K_REV64_8, K_REV64_16, K_REV64_32, K_NARROW8, K_NARROW16, K_NARROW32,
    K_COUNT
};

struct back {
    struct back_config config;
    uint8_t *fixed; /* write address */
    ptrdiff_t run_delta;
    uint32_t stub[STUB_COUNT];
    uint32_t constants;
    uint32_t helper_table, slow_table, rm_table, flag_table;
    bool bmi, fma, crypto, sha;
    uint8_t pin_of[IR_SLOTS];     /* register, or NO_REG */
    uint8_t high_of[IR_SLOTS];    /* the register whose upper half it is, or NO_REG */
    uint8_t slot_of[N_REGS];      /* slot pinned there, or 255 */
    bool wide;                    /* XMM registers hold pairs */
    uint32_t pinned;              /* mask of registers */
    struct back_exit (*enter)(struct xl_cpu *cpu, const void *code);
};

enum home { HOME_NONE, HOME_CONST, HOME_PCREL, HOME_SLOT, HOME_STACK };

struct value {
    uint8_t reg;   /* or NO_REG */
    uint8_t home;  /* enum home */
    uint8_t block; /* whose registers and slots reg and HOME_SLOT speak of */
    uint8_t hint;  /* pinned register that a SET of it will want, or NO_REG */
    bool global;   /* used in another block */
    bool fused;    /* emitted by its only user */
    uint16_t stack; /* HOME_STACK: number */
    uint16_t slot;  /* HOME_SLOT */
    uint32_t uses;
    uint32_t last;  /* its last use in its own block */
    uint32_t hint_limit; /* the hint holds for definitions from here on */
    uint32_t pin_next, slot_next; /* chains of values that are in one register or slot */
};

enum cold_kind {
    COLD_ACCESS,   /* a guest access's full path */
    COLD_TR,       /* a shared handle is slow */
    COLD_SLOW,     /* the operation by C; result to a register */
    COLD_NAN,      /* FCANON, UNBOX: the default NaN */
    COLD_FMA_NAN,  /* the same, having looked for 0 x inf */
    COLD_DIV,
    COLD_TRAP,     /* a helper's fault */
    COLD_MINMAX,   /* equal operands */
    COLD_VEC,      /* the vector operation by C */
    COLD_POLL,     /* leave: poll */
    COLD_POLL_ABS,
    COLD_LINK,     /* an unlinked edge */
    COLD_LINK_ABS,
    COLD_LANDING,  /* where a return lands */
};

struct cold {
    uint8_t kind, op, type, stub;
    uint8_t dst, a, b, c;   /* registers */
    uint16_t mem;
    uint16_t aux;
    bool has_result, is_signed;
    int32_t imm;            /* displacement of the access; of the exit */
    int32_t pc;
    uint32_t how;
    uint32_t insn;          /* COLD_VEC: which */
    uint32_t link;
    uint8_t *from[3];       /* displacements that lead here; NULL where unused */
    uint8_t *back;          /* where it goes on */
};

struct fixup {
    uint8_t *site;
    uint32_t block;
};

struct back_compiler {
    struct back *back;
    const struct ir_unit *unit;
    struct cache_place *place;
    struct asm_buf a;
    uint8_t *hot_end;
    uint32_t idx;        /* insn being compiled */
    uint32_t block;
    uint32_t patterns;
    uint32_t linked_block; /* a block whose only insn is in the jump to it; 0: none */
    bool full;           /* something ran out: -E2BIG */
    bool skip_next;      /* the next insn was compiled with this one */

    struct value *value; /* unit->n of them, and one of IR_NONE */
    uint32_t cap;
    uint32_t locked;     /* registers in use by the present insn */
    uint32_t in_reg[N_REGS];   /* temporaries: the value in it */
    uint32_t pin_chain[N_REGS];
    uint32_t pin_holds[N_REGS]; /* the value last SET into the slot */
    uint32_t slot_chain[IR_SLOTS]; /* of slots in SLOTS */
    uint64_t slots[(IR_SLOTS + 63) / 64]; /* bits: slots that values are in */
    uint64_t touch[IR_SLOTS]; /* scan's: the last GET or SET of a slot, if it is above TOUCH_BASE */
    uint64_t touch_base;      /* + insns of all units before */
    uint32_t in_stack[STACK_SLOTS];
    uint32_t n_stack;    /* slots ever used in this unit */

    struct cold cold[MOST_COLD];
    uint32_t n_cold;
    struct fixup fixup[MOST_FIXUPS];
    uint32_t n_fixups;
    uint8_t *block_at[MOST_BLOCKS];
};

static inline bool is_float(unsigned type)
{
    return type == IR_F32 || type == IR_F64;
}

/* Do values of TYPE live in XMM registers? */
static inline bool back__in_xmm(unsigned type)
{
    return is_float(type) || type == IR_V128;
}

static inline const struct ir_insn *back__insn(const struct back_compiler *c, uint32_t v)
{
    return &c->unit->insn[v];
}

static inline const uint8_t *back__stub(const struct back_compiler *c, unsigned stub)
{
    return c->back->fixed + c->back->stub[stub];
}

static inline struct asm_mem back__const(const struct back_compiler *c, enum fixed_const k)
{
    return asm_rip(c->back->fixed + c->back->constants + 16 * (unsigned)k);
}

/* --- regs.c: where values are ----------------------------------------------------------------- */

/* Forgets registers and slots: a block begins. */
void back__regs_block(struct back_compiler *c);
/* A home on the stack for value V, or c->full. */
void back__stack_home(struct back_compiler *c, uint32_t v);

/* V in a general or XMM register, locked for the present insn. */
unsigned back__gpr(struct back_compiler *c, uint32_t v);
unsigned back__xmm(struct back_compiler *c, uint32_t v); /* 0..15 */
/* A copy of V in the temporary REG, whatever was there having moved away; REG is locked. */
void back__gpr_in(struct back_compiler *c, uint32_t v, unsigned reg);
/* Empties the temporary REG and locks it. */
void back__take(struct back_compiler *c, unsigned reg);
/* An empty temporary, locked. */
unsigned back__temp_gpr(struct back_compiler *c);
unsigned back__temp_xmm(struct back_compiler *c);
void back__unlock(struct back_compiler *c, unsigned reg);

/* A register for the result of the present insn: the pinned one it is headed for unless that is in
 * AVOID (a mask), the register of REUSE (a value that dies here, or NO_VALUE) unless in AVOID, or
 * an empty temporary. Then back__define(). */
unsigned back__dst_gpr(struct back_compiler *c, uint32_t reuse, uint32_t avoid);
unsigned back__dst_xmm(struct back_compiler *c, uint32_t reuse, uint32_t avoid);
/* The present insn's value is in REG (XMM: + XMM). */
void back__define(struct back_compiler *c, unsigned reg);

/* True when V's register may be overwritten by the present insn. */
bool back__dies(const struct back_compiler *c, uint32_t v);

/* An integer operand: a register, a memory word, or an immediate that fits 32 bits. */
enum operand_kind { OPERAND_REG, OPERAND_MEM, OPERAND_IMM };
struct operand {
    enum operand_kind kind;
    unsigned reg;
    struct asm_mem mem;
    int32_t imm;
};
struct operand back__operand(struct back_compiler *c, uint32_t v);
/* A float or vector operand: register or memory. */
struct operand back__foperand(struct back_compiler *c, uint32_t v);
/* Where V is in memory, or NULL: never changes anything. */
bool back__in_memory(struct back_compiler *c, uint32_t v, struct asm_mem *mem);

void back__get(struct back_compiler *c, const struct ir_insn *insn);
void back__set(struct back_compiler *c, const struct ir_insn *insn);
/* Before a call: temporaries that live on go home; WRITES: values in slots too. */
void back__spill_all(struct back_compiler *c, bool writes);
/* After it. */
void back__clobber(struct back_compiler *c);
/* Stores V to memory; 8 bytes, or 16. */
void back__store_value(struct back_compiler *c, uint32_t v, struct asm_mem mem);

/* Copies, where the registers differ. */
void back__mov(struct back_compiler *c, unsigned dst, unsigned src);
void back__movx(struct back_compiler *c, unsigned dst, unsigned src);
/* A 64-bit load into any register, a store from any. */
void back__load_reg(struct back_compiler *c, unsigned reg, struct asm_mem mem);
void back__store_reg(struct back_compiler *c, unsigned reg, struct asm_mem mem);
/* The same of the 128 bits of an XMM register (16..31), aligned or not. */
void back__load_wide(struct back_compiler *c, unsigned reg, struct asm_mem mem);
void back__store_wide(struct back_compiler *c, unsigned reg, struct asm_mem mem);

/* --- the operations --------------------------------------------------------------------------- */

/* A new cold piece of the present insn. */
struct cold *back__cold(struct back_compiler *c, enum cold_kind kind);

void back__int_op(struct back_compiler *c, const struct ir_insn *insn);
/* Flags of a CMP or FCMP (FCMP: only conditions that need no parity); the condition that holds. */
enum asm_cc back__compare(struct back_compiler *c, const struct ir_insn *insn);
void back__fp_op(struct back_compiler *c, const struct ir_insn *insn);
void back__vec_op(struct back_compiler *c, const struct ir_insn *insn);
/* Jumps to BLOCK where the FCMP holds. */
void back__fcmp_branch(struct back_compiler *c, const struct ir_insn *insn, uint32_t then_block,
                       uint32_t else_block);
void back__mem_op(struct back_compiler *c, const struct ir_insn *insn);
void back__call(struct back_compiler *c, const struct ir_insn *insn);
void back__trap(struct back_compiler *c, const struct ir_insn *insn);
void back__terminator(struct back_compiler *c, const struct ir_insn *insn);
/* The unit's first bytes. */
void back__entry(struct back_compiler *c);
/* Goes to the guest address in rax by way of the jump cache. */
void back__jump_cache(struct back_compiler *c);
void back__jump_block(struct back_compiler *c, int cc, uint32_t block);

/* One FP instruction of two operands and a result, VEX or SSE. */
void back__fp3(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned a, struct operand b,
               bool commutes);

/* Cold pieces. */
void back__cold_access(struct back_compiler *c, struct cold *cold);
void back__cold_fp(struct back_compiler *c, struct cold *cold);
void back__cold_vec(struct back_compiler *c, struct cold *cold);
void back__cold_div(struct back_compiler *c, struct cold *cold);
void back__cold_trap(struct back_compiler *c, const struct cold *cold);
void back__cold_edge(struct back_compiler *c, struct cold *cold);

/* Calls a stub that keeps all registers; IMM goes with it (see fixed.c). */
void back__call_stub(struct back_compiler *c, unsigned stub, int32_t pc, uint32_t imm);

/* fixed.c: writes the fixed part. */
void back__write_fixed(struct back *back);

#endif
