/*
 * What the files of vector operations share: instructions of one, two and three operands in SSE or
 * VEX form, the end of an operation, and the way to C.
 */
#ifndef XLATE_BACK_X86_64_VEC_PRIV_H
#define XLATE_BACK_X86_64_VEC_PRIV_H

#include "xlate/back/x86_64/back_priv.h"

static inline struct operand back__xreg(unsigned reg)
{
    return (struct operand){.kind = OPERAND_REG, .reg = reg};
}

static inline struct operand back__constant(struct back_compiler *c, enum fixed_const k)
{
    return (struct operand){.kind = OPERAND_MEM, .mem = back__const(c, k)};
}

static inline unsigned back__lane(const struct ir_insn *insn)
{
    return insn->aux & IR_V_LANE;
}

static inline uint64_t back__bytes_of(unsigned byte)
{
    return UINT64_C(0x0101010101010101) * (byte & 0xff);
}

/* op dst, src; the same with an immediate byte. */
void back__v2(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned src);
void back__v2i(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned src, unsigned imm);
/* op dst, dst, src. */
void back__v_onto(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned src);
/* dst = a op b, imm; DST is not B unless it is A. */
void back__v3i(struct back_compiler *c, enum asm_op op, unsigned dst, unsigned a, unsigned b,
               unsigned imm);
/* dst = src shifted. */
void back__v_shift(struct back_compiler *c, enum asm_vshift op, unsigned dst, unsigned src,
                   unsigned count);
/* dst = a op b of two values, in a register of its choice. */
unsigned back__v_pair(struct back_compiler *c, enum asm_op op, uint32_t va, uint32_t vb,
                      bool commutes);
void back__v_zero(struct back_compiler *c, unsigned reg);
/* REG = the 64 bits of BITS, twice. */
void back__v_const(struct back_compiler *c, unsigned reg, uint64_t bits);

/* DST = SRC cut to the width of INSN's result; the present value is in DST, cut to its width. */
void back__v_finish_to(struct back_compiler *c, const struct ir_insn *insn, unsigned dst,
                       unsigned src);
void back__v_finish(struct back_compiler *c, const struct ir_insn *insn, unsigned dst);
/* Is all of V above what INSN computes 0 already? */
bool back__v_is_clean(const struct back_compiler *c, uint32_t v, const struct ir_insn *insn);

/* The present operation by C, in place or in a cold piece whose operands are in registers of either
 * kind, or NO_REG. */
void back__v_slow(struct back_compiler *c, const struct ir_insn *insn);
struct cold *back__v_cold(struct back_compiler *c, unsigned dst, unsigned a, unsigned b,
                          unsigned third);

/* --- vec_int.c -------------------------------------------------------------------------------- */

void back__v_binary(struct back_compiler *c, const struct ir_insn *insn);
void back__v_and_not(struct back_compiler *c, const struct ir_insn *insn);
void back__v_greater(struct back_compiler *c, const struct ir_insn *insn);
void back__v_saturating(struct back_compiler *c, const struct ir_insn *insn);
void back__v_shift_lanes(struct back_compiler *c, const struct ir_insn *insn);
void back__v_absolute(struct back_compiler *c, const struct ir_insn *insn);
void back__v_halve(struct back_compiler *c, const struct ir_insn *insn);
void back__v_multiply(struct back_compiler *c, const struct ir_insn *insn);
void back__v_count_ones(struct back_compiler *c, const struct ir_insn *insn);

/* --- vec_move.c ------------------------------------------------------------------------------- */

void back__v_move(struct back_compiler *c, const struct ir_insn *insn);
void back__v_extend(struct back_compiler *c, const struct ir_insn *insn);
void back__v_get_lane(struct back_compiler *c, const struct ir_insn *insn);
void back__v_put_lane(struct back_compiler *c, const struct ir_insn *insn);
void back__v_duplicate(struct back_compiler *c, const struct ir_insn *insn);
void back__v_spread_lane(struct back_compiler *c, const struct ir_insn *insn);
void back__v_reverse(struct back_compiler *c, const struct ir_insn *insn);
void back__v_interleave(struct back_compiler *c, const struct ir_insn *insn);
void back__v_unzip(struct back_compiler *c, const struct ir_insn *insn);
void back__v_transpose(struct back_compiler *c, const struct ir_insn *insn);
void back__v_extract_bytes(struct back_compiler *c, const struct ir_insn *insn);
void back__v_look_up(struct back_compiler *c, const struct ir_insn *insn);
void back__v_widen(struct back_compiler *c, const struct ir_insn *insn);
void back__v_long_product(struct back_compiler *c, const struct ir_insn *insn);
void back__v_narrow(struct back_compiler *c, const struct ir_insn *insn);

/* --- vec_fp.c --------------------------------------------------------------------------------- */

void back__v_arith(struct back_compiler *c, const struct ir_insn *insn);
void back__v_fused(struct back_compiler *c, const struct ir_insn *insn);
void back__v_minmax(struct back_compiler *c, const struct ir_insn *insn);
void back__v_compare(struct back_compiler *c, const struct ir_insn *insn);
void back__v_compare_flags(struct back_compiler *c, const struct ir_insn *insn);
void back__v_round_lanes(struct back_compiler *c, const struct ir_insn *insn);
void back__v_convert(struct back_compiler *c, const struct ir_insn *insn);
void back__v_to_register(struct back_compiler *c, const struct ir_insn *insn);
void back__v_from_register(struct back_compiler *c, const struct ir_insn *insn);
void back__v_lanes_to_float(struct back_compiler *c, const struct ir_insn *insn);
void back__v_lanes_to_int(struct back_compiler *c, const struct ir_insn *insn);

/* --- vec_crypto.c ----------------------------------------------------------------------------- */

void back__v_encrypt(struct back_compiler *c, const struct ir_insn *insn);

#endif
