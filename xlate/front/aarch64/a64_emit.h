/*
 * a64_emit.h: what the emitters share. An emitter a64_emit_NAME() turns one decoded instruction into
 * IR; the specification says which with what argument. The ones that end the unit append its
 * terminator and set DONE.
 *
 * Register 31 reads as the constant 0 and is never written, or is the stack pointer, as the
 * instruction has it. Flags go to A64_SLOT_NZCV as one value; what they came from is remembered for the
 * rest of the unit, so that a condition becomes a comparison of those operands.
 */
#ifndef XLATE_FRONT_AARCH64_A64_EMIT_H
#define XLATE_FRONT_AARCH64_A64_EMIT_H

#include "xlate/front/aarch64/a64_bits.h"
#include "xlate/front/aarch64/a64_helpers.h"
#include "xlate/front/aarch64/a64_isa.h"
#include "xlate/front/aarch64/a64_mode.h"
#include "xlate/front/aarch64/a64_slots.h"

/* Arguments of emitters in the specification, beside operations of the IR and masks of enum ir_mem. */
enum {
    ARG_SUB = 1 << 16,     /* a difference, not a sum */
    ARG_FLAGS = 1 << 17,   /* sets the flags */
    ARG_NOT = 1 << 18,     /* of the second operand's inverse */
    ARG_W = 1 << 19,       /* extends to 32 bits */
    ARG_CRC32C = 1 << 16,  /* the other polynomial */
    ARG_UNSIGNED = 1 << 16, /* floating point: to or from an unsigned integer */
    ARG_EXACT = 1 << 17,   /* raises inexact */
    ARG_FIXED = 1 << 18,   /* a fixed-point number */
    ARG_PAIR = 1 << 22,    /* SIMD: neighbours are combined */
    ARG_ELEMENT = 1 << 23, /* SIMD: the second operand is one lane */
    ARG_PRE = 1 << 24,     /* address base + offset, which the base becomes */
    ARG_POST = 1 << 25,    /* address base, which then becomes base + offset */
    ARG_REG = 1 << 26,     /* base + extended index */
    ARG_LITERAL = 1 << 27, /* pc + offset */
    ARG_USER = 1 << 28,    /* as EL0 would */
    ARG_MEM = 0xffff,      /* the part that is a mask of enum ir_mem */
};

/* SIMD instructions that are several operations of the IR; numbered behind those. */
enum a64_simd {
    A64_V_CMGE = 200, A64_V_CMTST, A64_V_ABD, A64_V_ABA, A64_V_MLA, A64_V_MLS, A64_V_ORN, A64_V_BSL,
    A64_V_BIT, A64_V_BIF, A64_V_QRDMLA, A64_V_DOT, A64_V_ADDL, A64_V_ADDW, A64_V_SUBL, A64_V_SUBW,
    A64_V_ABDL, A64_V_ABAL, A64_V_MULL, A64_V_MLAL, A64_V_MLSL, A64_V_QDMULL, A64_V_QDMLAL,
    A64_V_QDMLSL, A64_V_NOT, A64_V_NEG, A64_V_QNEG, A64_V_ADD_OTHER, A64_V_CMGT0, A64_V_CMGE0,
    A64_V_CMEQ0, A64_V_CMLE0, A64_V_CMLT0, A64_V_RIGHT, A64_V_RIGHT_ADD, A64_V_RIGHT_INSERT,
    A64_V_LEFT, A64_V_LEFT_INSERT, A64_V_LEFT_SAT, A64_V_FMLA, A64_V_FMLS, A64_V_FABD, A64_V_FCMEQ,
    A64_V_FCMGE, A64_V_FCMGT, A64_V_FCMLE, A64_V_FCMLT, A64_V_END,
};
G_STATIC_ASSERT((int)IR_OP_COUNT <= (int)A64_V_CMGE && A64_V_END <= 256);

/* The condition field of an instruction. Odd ones are the inverse of the one before. */
enum a64_cond {
    A64_COND_EQ, A64_COND_NE, A64_COND_CS, A64_COND_CC, A64_COND_MI, A64_COND_PL, A64_COND_VS,
    A64_COND_VC, A64_COND_HI, A64_COND_LS, A64_COND_GE, A64_COND_LT, A64_COND_GT, A64_COND_LE,
    A64_COND_AL, A64_COND_NV,
};

/* What A64_SLOT_NZCV was last set from in this unit. */
struct a64_flags {
    enum { A64_FLAGS_SLOT, A64_FLAGS_SUM, A64_FLAGS_DIFFERENCE, A64_FLAGS_LOGIC } from;
    enum ir_type type;
    uint32_t a, b;  /* operands; of LOGIC none */
    uint32_t value; /* the result, of TYPE */
    uint32_t guard; /* these flags hold where it is 1, and OTHERWISE where 0; IR_NONE: always 1 */
    unsigned otherwise; /* mask of enum ir_nzcv */
};

struct a64_translation {
    struct ir_unit *unit;
    uint32_t mode;
    int32_t pc;   /* displacement of the instruction */
    int32_t next; /* of the one after it */
    bool done;    /* the unit has its terminator */
    struct a64_flags flags;
    uint32_t aligned_sp; /* value: stack pointers that differ from it by multiples of 16 are multiples
                            of it, too; or IR_NONE */
};

/* --- registers -------------------------------------------------------------------------------- */

static inline uint32_t a64_x(struct a64_translation *t, unsigned number)
{
    return number == 31 ? ir_const(t->unit, IR_I64, 0)
                        : ir_get(t->unit, IR_I64, A64_SLOT_X + number);
}

/* The same where 31 is the stack pointer. */
static inline uint32_t a64_xsp(struct a64_translation *t, unsigned number)
{
    return ir_get(t->unit, IR_I64, A64_SLOT_X + number);
}
G_STATIC_ASSERT(A64_SLOT_SP == A64_SLOT_X + 31);

/* The low half of a register. */
static inline uint32_t a64_w(struct a64_translation *t, unsigned number)
{
    return number == 31 ? ir_const(t->unit, IR_I32, 0)
                        : ir_un(t->unit, IR_TRUNC, IR_I32, a64_x(t, number));
}

static inline enum ir_type a64_type(const struct a64_insn *i)
{
    return i->sf ? IR_I64 : IR_I32;
}

/* A register of the width that sf says. */
static inline uint32_t a64_r(struct a64_translation *t, const struct a64_insn *i, unsigned number)
{
    return i->sf ? a64_x(t, number) : a64_w(t, number);
}

static inline uint32_t a64_rsp(struct a64_translation *t, const struct a64_insn *i, unsigned number)
{
    uint32_t value = a64_xsp(t, number);

    return i->sf ? value : ir_un(t->unit, IR_TRUNC, IR_I32, value);
}

static inline void a64_set_x(struct a64_translation *t, unsigned number, uint32_t value)
{
    if (number != 31)
        ir_set(t->unit, A64_SLOT_X + number, value);
}

/* VALUE, an I32 or I64 as sf says, becomes a register; 32 bits are zero-extended. */
static inline void a64_set_rsp(struct a64_translation *t, const struct a64_insn *i, unsigned number,
                               uint32_t value)
{
    if (!i->sf)
        value = ir_ext(t->unit, IR_ZEXT, IR_I64, value, 32);
    ir_set(t->unit, A64_SLOT_X + number, value);
}

static inline void a64_set_r(struct a64_translation *t, const struct a64_insn *i, unsigned number,
                             uint32_t value)
{
    if (number != 31)
        a64_set_rsp(t, i, number, value);
}

/* --- flags (a64_emit_flags.c) ----------------------------------------------------------------- */

/* Flags of A + B or A - B, of which VALUE is the result. */
void a64_set_flags(struct a64_translation *t, enum ir_type type, bool difference, uint32_t a,
                   uint32_t b, uint32_t value);
/* N and Z of VALUE; C and V are 0. */
void a64_set_flags_logic(struct a64_translation *t, enum ir_type type, uint32_t value);
/* Any: VALUE is a mask of enum ir_nzcv. */
void a64_set_flags_value(struct a64_translation *t, uint32_t value);
/* What the flags are now where COND_VALUE is 1, else OTHERWISE: what follows a conditional compare. */
void a64_guard_flags(struct a64_translation *t, uint32_t cond_value, unsigned otherwise);
/* 1 where COND holds, else 0. */
uint32_t a64_condition(struct a64_translation *t, enum a64_cond cond);
/* The nzcv field of an instruction as enum ir_nzcv. */
unsigned a64_nzcv(unsigned field);

/* --- memory (a64_emit_mem.c) ------------------------------------------------------------------ */

struct a64_address {
    uint32_t base;    /* value */
    int64_t imm;      /* added to it */
    uint32_t updated; /* what the base register becomes, or IR_NONE */
};

/* The base register of an access: comes before all else that may fault in it, but for the trap of
 * floating point. */
uint32_t a64_base(struct a64_translation *t, unsigned number);
/* The address of an access with ARG_PRE.. of MODE; LOG2: what a register offset is shifted by. */
struct a64_address a64_address(struct a64_translation *t, const struct a64_insn *i, uint32_t mode,
                               unsigned log2);
/* A handle for BYTES at it, shared with others; IMM gets the access's displacement. */
uint32_t a64_handle(struct a64_translation *t, const struct a64_address *address, unsigned bytes,
                    bool write, int64_t *imm);
/* After the access: writes the base register back where the addressing mode says so. */
void a64_update_base(struct a64_translation *t, const struct a64_insn *i,
                     const struct a64_address *address);
/* IR_MEM_ALIGNED where every access has to be. */
unsigned a64_alignment(const struct a64_translation *t);

/* --- ends and helpers ------------------------------------------------------------------------- */

/* Calls a helper with the arguments up to the first IR_NONE; its result where it has one. */
uint32_t a64_call(struct a64_translation *t, enum a64_helper helper, uint32_t a, uint32_t b,
                  uint32_t c, uint32_t d);

/* Ends the unit after a helper that has set cpu->pc. */
void a64_end(struct a64_translation *t);

/* The instruction is undefined here. */
void a64_undefined(struct a64_translation *t);

/* Goes on at a displacement; polls where it does not lie ahead. */
void a64_go(struct a64_translation *t, int64_t displacement, unsigned flags, int32_t ret);

#endif
